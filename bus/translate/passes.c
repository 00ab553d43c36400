/*
 * Whether a field's bytes pass: from the source's field to the target's, as they are, and to
 * nothing else. Who has only something that stands for the bytes must know, because a rule may look
 * at them: convert them, join them to others, hash them for a carrier's guard.
 *
 * It is enough to follow the way from the outermost message to the field, through the tables that
 * translate what is on it. Each of them has to do nothing with its field but to write it,
 * translated or not: no slot, no pipe, no stage. That is more than is needed in some cases, and
 * never less.
 */
#include "translate/program.h"
#include "translate/run.h"

static const struct program_table *table_at(const struct plan *plan, uint32_t index)
{
    const struct program_table *table = &plan->tables[index];
    return table->next == 0 ? table : NULL;
}

static bool goes_over(const struct program_op *op)
{
    return op && op->slot == PROGRAM_SLOT_NONE && op->pipe == 0 &&
           (op->flags & ~(OP_REPEATED | OP_OWN_PRESENCE)) == 0 &&
           (op->action == ACTION_VERBATIM || op->action == ACTION_RENUMBER ||
            op->action == ACTION_MESSAGE);
}

/* The field that has @place in its content. Return: its number, 0: none. */
static uint32_t field_at(struct wire_reader *reader, const uint8_t *place,
                         struct wire_reader *ret_content)
{
    while (reader->pos <= place) {
        uint32_t number;
        enum wire_type type;
        const uint8_t *data = NULL;
        size_t bytes = 0;
        if (wire_read_tag(reader, &number, &type) < 0)
            return 0;
        int r = type == WIRE_BYTES ? wire_read_bytes(reader, &data, &bytes)
                                   : wire_skip(reader, number, type);
        if (r < 0 || (reader->pos > place && (type != WIRE_BYTES || data > place)))
            return 0;
        if (reader->pos > place) {
            *ret_content = (struct wire_reader){data, data + bytes};
            return number;
        }
    }
    return 0;
}

bool plan_passes(const struct plan *plan, uint32_t entry, const uint8_t *source,
                 size_t source_bytes, size_t place, size_t bytes)
{
    if (entry >= plan_entry_count(plan) || place > source_bytes || bytes > source_bytes - place)
        return false;
    struct wire_reader reader = {source, source + source_bytes};
    const struct program_table *table = table_at(plan, plan->entries[entry].table);
    for (unsigned depth = 0; table && depth < WIRE_DEPTH_MAX; depth++) {
        struct wire_reader content;
        uint32_t number = field_at(&reader, source + place, &content);
        const struct program_op *op = number ? run_find(plan, table, number) : NULL;
        if (!goes_over(op))
            return false;
        if (op->kind == KIND_BYTES)
            return op->written == KIND_BYTES && content.pos == source + place &&
                   (size_t)(content.end - content.pos) == bytes;
        if (op->kind != KIND_MESSAGE)
            return false;
        table = table_at(plan, op->table);
        reader = content;
    }
    return false;
}
