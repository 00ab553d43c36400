/*
 * Binding what a table does at a message's end: which of its emits can go straight into the struct.
 *
 * Messages of texts, texts made of texts, what moves, and what is carried only if something was
 * lost: that is most of what rules make. It needs no wire bytes if the struct has the field as the
 * program says, and if what the slots hold is text that has been checked as such: a program that
 * comes from elsewhere may say otherwise, and then it is written, and read with the reader's own
 * eyes, as is whatever else an emit does.
 */
#include "translate/bind.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EMIT_MAX (1u << 20)
#define SHARED_DEPTH_MAX 8
#define LOOK_MAX 4096

/* The field of that tag, if it is what @code says. */
static const struct bound_op *find_as(const struct bound_table *plain, uint32_t tag,
                                      enum bound_code code)
{
    const struct bound_op *op = bound_find(plain, tag >> 3);
    return op && op->code == code && op->wire == (tag & 7) ? op : NULL;
}

static const struct bound_op *find_optional(const struct bound_table *plain, uint32_t tag,
                                            enum bound_code code)
{
    const struct bound_op *op = find_as(plain, tag, code);
    return op && op->required == PROGRAM_REQUIRED_NONE ? op : NULL;
}

/* ---- Slots that hold text ---- */

static bool is_text_op(const struct program_op *op)
{
    switch (op->action) {
    case ACTION_SLOT:
        return op->kind == KIND_STRING;
    case ACTION_VERBATIM:
    case ACTION_RENUMBER: /* with a presence of its own, the slot has the record */
        return op->kind == KIND_STRING && !(op->flags & OP_OWN_PRESENCE);
    case ACTION_GUARDED:
        return true; /* asks, and stores nothing */
    default:
        return false;
    }
}

/* A look for what comes into a slot. */
struct look {
    const struct plan *plan;
    uint16_t slot;
    unsigned left; /* how much may still be looked at; a program may lead in many ways to one */
};

static bool leaves_text(struct look *look, uint32_t index, unsigned depth);

static bool op_leaves_text(struct look *look, const struct program_op *op, unsigned depth)
{
    if (look->left == 0)
        return false;
    look->left--;
    if ((op->action == ACTION_RESIDUE || op->action == ACTION_JOIN) &&
        !leaves_text(look, op->table, depth + 1))
        return false;
    return op->slot != look->slot || is_text_op(op);
}

/* Whether nothing but text comes into the slot, from the table's fields or from what carriers have
 * of them. */
static bool leaves_text(struct look *look, uint32_t index, unsigned depth)
{
    const struct plan *plan = look->plan;
    const struct program_table *table = &plan->tables[index];
    if (depth > SHARED_DEPTH_MAX || look->left == 0)
        return false;
    look->left--;
    for (uint32_t i = 0; i < table->op_count; i++)
        if (!op_leaves_text(look, &plan->ops[table->op_first + i], depth))
            return false;
    if (table->restore != PROGRAM_NONE && !leaves_text(look, table->restore, depth + 1))
        return false;
    for (uint32_t i = 0; i < table->owner_count; i++)
        if (!leaves_text(look, plan->owners[table->owner_first + i].table, depth + 1))
            return false;
    return true;
}

static bool slot_is_text(const struct plan *plan, const struct bound_table *table, uint16_t slot)
{
    struct look look = {plan, slot, LOOK_MAX};
    return leaves_text(&look, (uint32_t)(table->table - plan->tables), 0);
}

static bool template_is_text(const struct plan *plan, const struct bound_table *table,
                             uint32_t index)
{
    const struct program_template *template = &plan->templates[index];
    for (uint32_t i = 0; i < template->part_count; i++) {
        uint16_t slot = plan->parts[template->part_first + i].slot;
        if (slot != PROGRAM_SLOT_NONE && !slot_is_text(plan, table, slot))
            return false;
    }
    return true;
}

/* ---- Emits ---- */

static bool bind_split(const struct plan *plan, const struct bound_table *table,
                       const struct program_emit *emit, struct bound_emit *bound)
{
    const struct bound_table *inner = bound->field->table;
    const struct program_template *template = &plan->templates[emit->template];
    if (!slot_is_text(plan, table, emit->slot))
        return false;
    for (uint32_t i = 0; i < template->part_count; i++) {
        const struct program_part *part = &plan->parts[template->part_first + i];
        bound->parts[i] = find_as(inner, part->tag, CODE_STRING);
        if (part->slot != PROGRAM_SLOT_NONE && !bound->parts[i])
            return false;
    }
    return true;
}

static bool bind_gather(const struct plan *plan, const struct bound_table *table,
                        const struct program_emit *emit, struct bound_emit *bound)
{
    const struct bound_table *inner = bound->field->table;
    const struct program_node *node = &plan->nodes[emit->node];
    if (node->child_count > 0 || node->leaf_count > PROGRAM_PART_MAX)
        return false;
    for (uint32_t i = 0; i < node->leaf_count; i++) {
        const struct program_emit *leaf = &plan->emits[node->leaf_first + i];
        bound->parts[i] = find_as(inner, leaf->tag, CODE_STRING);
        if (leaf->kind != EMIT_MOVE || leaf->written != KIND_STRING || leaf->pipe != 0 ||
            !bound->parts[i] || !slot_is_text(plan, table, leaf->slot))
            return false;
    }
    return true;
}

static enum bound_make bind_message(const struct plan *plan, const struct bound_table *table,
                                    const struct program_emit *emit, struct bound_emit *bound)
{
    bool split = emit->kind == EMIT_SPLIT;
    uint32_t tag = split ? emit->tag : plan->nodes[emit->node].tag;
    bound->field = find_optional(table->plain, tag, CODE_MESSAGE);
    if (!bound->field || bound->field->table->required_count > 0)
        return MAKE_SLOWLY;
    if (split)
        return bind_split(plan, table, emit, bound) ? MAKE_SPLIT : MAKE_SLOWLY;
    return bind_gather(plan, table, emit, bound) ? MAKE_GATHERED : MAKE_SLOWLY;
}

static enum bound_make bind_move(const struct plan *plan, const struct bound_table *table,
                                 const struct program_emit *emit, struct bound_emit *bound)
{
    if (emit->written == KIND_STRING) {
        bound->field = find_optional(table->plain, emit->tag, CODE_STRING);
        return bound->field && slot_is_text(plan, table, emit->slot) ? MAKE_MOVED_TEXT
                                                                     : MAKE_SLOWLY;
    }
    const struct bound_op *field = bound_find(table->plain, emit->tag >> 3);
    if (!field || field->kind != emit->written || field->code < CODE_INT32 ||
        field->code > CODE_FIXED64 || field->required != PROGRAM_REQUIRED_NONE)
        return MAKE_SLOWLY;
    bound->field = field;
    return MAKE_MOVED_NUMBER;
}

static enum bound_make bind_emit(const struct plan *plan, const struct bound_table *table,
                                 const struct program_emit *emit, struct bound_emit *bound)
{
    if (emit->pipe != 0)
        return MAKE_SLOWLY;
    switch (emit->kind) {
    case EMIT_SPLIT:
    case EMIT_GATHER:
        return bind_message(plan, table, emit, bound);
    case EMIT_MOVE:
        return bind_move(plan, table, emit, bound);
    case EMIT_LOST:
        return emit->carry == 0 ? MAKE_LOST : MAKE_SLOWLY;
    case EMIT_DROPPED:
        return MAKE_DROPPED;
    case EMIT_TEXT:
    case EMIT_JOIN:
        bound->field = find_optional(table->plain, emit->tag, CODE_STRING);
        if (!bound->field || !template_is_text(plan, table, emit->template))
            return MAKE_SLOWLY;
        return emit->kind == EMIT_TEXT ? MAKE_TEXT : MAKE_JOIN;
    default:
        return MAKE_SLOWLY;
    }
}

static bool has_emits(const struct bound_table *table)
{
    return table->translated && !table->staged;
}

int bind_emits(struct plan_binding *binding, uint32_t table_count)
{
    const struct plan *plan = binding->plan;
    size_t count = 0;
    for (uint32_t i = 0; i < table_count; i++)
        if (has_emits(&binding->tables[i]))
            count += binding->tables[i].table->emit_count;
    if (count > EMIT_MAX)
        return -E2BIG;
    struct bound_emit *bound = binding->emits = calloc(count + 1, sizeof(binding->emits[0]));
    const uint32_t text_bytes = plan->header->count[SECTION_TEXT];
    binding->text = malloc(text_bytes + TEXT_BEHIND_BYTES);
    if (!bound || !binding->text)
        return -ENOMEM;
    memcpy(binding->text, plan->text, text_bytes);
    memset(binding->text + text_bytes, 0, TEXT_BEHIND_BYTES);
    for (uint32_t i = 0; i < table_count; i++) {
        struct bound_table *table = &binding->tables[i];
        if (!has_emits(table))
            continue;
        table->emits = bound;
        table->restores = !(table->table->flags & TABLE_ORDERED);
        for (uint32_t j = 0; j < table->table->emit_count; j++, bound++) {
            const struct program_emit *emit = &plan->emits[table->table->emit_first + j];
            bound->emit = emit;
            bound->slot = emit->slot;
            bound->make = (uint8_t)bind_emit(plan, table, emit, bound);
            table->restores &= bound->make != MAKE_SLOWLY;
        }
    }
    return 0;
}
