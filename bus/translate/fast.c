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
    if ((table->flags & TABLE_MARK) || (op->flags & (OP_GATHERED | OP_YIELDS)) || op->pipe != 0)
        return FAST_SLOW;
    switch (op->action) {
    case ACTION_VERBATIM:
        return has_slot ? FAST_NOTE : FAST_KEEP;
    case ACTION_RENUMBER:
        return has_slot && !text ? FAST_SLOW : FAST_RENUMBER;
    case ACTION_SLOT:
        return text ? FAST_SLOT : FAST_SLOW;
    case ACTION_SCALAR:
        return text || op->kind == KIND_MESSAGE ? FAST_SLOW : FAST_SCALAR;
    case ACTION_MESSAGE:
        return FAST_TRANSLATE;
    default:
        return FAST_SLOW;
    }
}

static void fill(const struct plan *plan, const struct program_table *table,
                 struct fast_table *fast)
{
    for (uint32_t i = 0; i < table->op_count; i++) {
        const struct program_op *op = &plan->ops[table->op_first + i];
        enum fast_value value = value_of(op);
        if (op->number >= FAST_TAG_COUNT / 8)
            break;
        /* What is no field of the source has no kind of its own. */
        if (op->action == ACTION_ALIEN || op->action == ACTION_OPEN)
            continue;
        fast->by_tag[op->number << 3 | op->wire] = (struct fast){
            .value = (uint8_t)value,
            .action = (uint8_t)(value == FAST_NONE ? FAST_SLOW : action_of(table, op)),
            .op = (uint16_t)i,
        };
    }
}

int fast_make(struct plan *plan)
{
    uint32_t count = plan->header->count[SECTION_TABLE];
    plan->fast = calloc(count + 1, sizeof(*plan->fast));
    if (!plan->fast)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        fill(plan, &plan->tables[i], &plan->fast[i]);
    return 0;
}
