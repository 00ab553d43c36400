/*
 * The table of the short way (fast.h), made from a verified program.
 *
 * What goes this way must come out as it would by the long one. So it is for singular values and
 * for repeated text, bytes and messages, whose records are elements; never for required fields, for
 * what stages and carriers take part in, and for tables that mark what they meet.
 */
#include "translate/fast.h"

#include <stdlib.h>

static enum fast_value value_of(const struct program_op *op)
{
    if (op->required != PROGRAM_REQUIRED_NONE)
        return FAST_NONE;
    if (op->kind == KIND_STRING)
        return FAST_STRING;
    if (op->kind == KIND_BYTES)
        return FAST_BYTES;
    if (op->kind == KIND_MESSAGE)
        return FAST_MESSAGE;
    if (op->flags & OP_REPEATED)
        return FAST_NONE; /* packed or not */
    return op->wire == WIRE_VARINT  ? FAST_VARINT
           : op->wire == WIRE_32BIT ? FAST_FIXED32
                                    : FAST_FIXED64;
}

static enum fast_action action_of(const struct program_table *table, const struct program_op *op)
{
    bool text = op->kind == KIND_STRING || op->kind == KIND_BYTES;
    bool has_slot = op->slot != PROGRAM_SLOT_NONE;
    bool tag = op->tag < FAST_TAG_COUNT; /* of one byte */
    if ((table->flags & TABLE_MARK) || (op->flags & (OP_GATHERED | OP_YIELDS)) || op->pipe != 0)
        return FAST_SLOW;
    /* A text is noted; what else a slot can ask of an op that copies is for the long way. */
    bool notes = has_slot && (!text || (op->flags & OP_OWN_PRESENCE));
    switch (op->action) {
    case ACTION_VERBATIM:
        return notes ? FAST_SLOW : FAST_KEEP;
    case ACTION_RENUMBER:
        return notes || !tag ? FAST_SLOW : FAST_PUT;
    case ACTION_SLOT:
        return text ? FAST_TAKE : FAST_SLOW;
    case ACTION_SCALAR:
        return !tag || op->wire != WIRE_VARINT || (op->tag & 7) != WIRE_VARINT ||
                       op->kind == KIND_MESSAGE
                   ? FAST_SLOW
                   : FAST_SCALAR;
    case ACTION_MESSAGE:
        return tag ? FAST_TRANSLATE : FAST_SLOW;
    default:
        return FAST_SLOW;
    }
}

/* What waits for the message's end there is only for values that have lost something. */
static bool needs_no_frame(const struct plan *plan, const struct program_table *table)
{
    for (uint32_t i = 0; i < table->emit_count; i++) {
        const struct program_emit *emit = &plan->emits[table->emit_first + i];
        if (emit->kind != EMIT_LOST)
            return false;
    }
    return table->required_count == 0 && table->next == 0 &&
           !(table->flags & (TABLE_SHARED | TABLE_MARK));
}

static void fill(const struct plan *plan, const struct program_table *table,
                 struct fast_table *fast)
{
    fast->plain = needs_no_frame(plan, table);
    for (size_t i = 0; i < FAST_NUMBER_COUNT; i++)
        fast->by_number[i].source = FAST_NO_TAG;
    for (uint32_t i = 0; i < table->op_count; i++) {
        const struct program_op *op = &plan->ops[table->op_first + i];
        enum fast_value value = value_of(op);
        if (op->number >= FAST_NUMBER_COUNT)
            break;
        /* What is no field of the source has no kind of its own. */
        if (op->action == ACTION_ALIEN || op->action == ACTION_OPEN || value == FAST_NONE)
            continue;
        enum fast_action action = action_of(table, op);
        uint32_t wire = action == FAST_PUT ? op->wire : op->tag & 7;
        fast->by_number[op->number] = (struct fast){
            .source = (uint16_t)(op->number << 3 | op->wire),
            .value = (uint8_t)value,
            .action = (uint8_t)action,
            .tag = (uint8_t)((op->tag & ~UINT32_C(7)) | wire),
            .repeated = op->flags & OP_REPEATED,
            .op = (uint16_t)i,
            .slot = op->slot,
        };
    }
}

/* A message is plain if all that are in it are, too. */
static bool has_only_plain(const struct plan *plan, const struct program_table *table)
{
    for (uint32_t i = 0; i < table->op_count; i++) {
        const struct program_op *op = &plan->ops[table->op_first + i];
        if (op->action == ACTION_MESSAGE && !plan->fast[op->table].plain)
            return false;
    }
    return true;
}

static void spread(struct plan *plan, uint32_t count)
{
    for (bool changed = true; changed;) { /* at most as often as there are tables */
        changed = false;
        for (uint32_t i = count; i-- > 0;) {
            if (plan->fast[i].plain && !has_only_plain(plan, &plan->tables[i])) {
                plan->fast[i].plain = false;
                changed = true;
            }
        }
    }
}

int fast_make(struct plan *plan)
{
    uint32_t count = plan->header->count[SECTION_TABLE];
    plan->fast = aligned_alloc(alignof(struct fast_table), (count + 1) * sizeof(*plan->fast));
    if (!plan->fast)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        fill(plan, &plan->tables[i], &plan->fast[i]);
    spread(plan, count);
    fast_find_joins(plan, count);
    return 0;
}
