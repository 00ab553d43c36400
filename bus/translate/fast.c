/*
 * The records of the short way (fast.h), made from a verified program.
 *
 * What goes this way must come out as it would by the long one. So it is for singular values and
 * for repeated text, bytes and messages, whose records are elements; never for required fields, for
 * what stages take part in, and for what tables mark that they meet. Whatever depends on the
 * program alone is worked out here: the bytes of tags, how large a number may be before its
 * conversion needs a second look, what small numbers of a map become.
 *
 * All is in one block: the tables, their records, the conversions.
 */
#include "translate/fast.h"

#include <stdlib.h>

static const struct fast no_fields[FAST_NUMBER_COUNT + 1];

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

/* ---- What is done with a field ---- */

static enum fast_code code_of_message(const struct plan *plan, const struct program_op *op)
{
    const struct program_table *inner = &plan->tables[op->table];
    bool shared = inner->flags & TABLE_SHARED, marks = inner->flags & TABLE_MARK;
    if (inner->required_count > 0 || inner->next != 0)
        return FAST_SLOW;
    switch (op->action) {
    case ACTION_VERBATIM:
    case ACTION_RENUMBER:
    case ACTION_MESSAGE:
        return op->slot != PROGRAM_SLOT_NONE || shared || marks ? FAST_SLOW : FAST_PUT_MESSAGE;
    case ACTION_RESIDUE:
        return shared && !marks && !(op->flags & OP_REPEATED) ? FAST_RESIDUE : FAST_SLOW;
    case ACTION_JOIN:
        return shared && !(op->flags & OP_REPEATED) ? FAST_JOIN : FAST_SLOW;
    default:
        return FAST_SLOW;
    }
}

static enum fast_code put_code(enum fast_value value)
{
    return value == FAST_STRING   ? FAST_PUT_STRING
           : value == FAST_BYTES  ? FAST_PUT_BYTES
           : value == FAST_VARINT ? FAST_PUT_VARINT
                                  : FAST_PUT_FIXED;
}

static enum fast_code code_of(const struct plan *plan, const struct program_table *table,
                              const struct program_op *op, enum fast_value value)
{
    bool text = value == FAST_STRING || value == FAST_BYTES;
    bool has_slot = op->slot != PROGRAM_SLOT_NONE;
    if ((op->flags & (OP_GATHERED | OP_YIELDS)) || op->pipe != 0)
        return FAST_SLOW;
    if ((table->flags & TABLE_MARK) && op->action != ACTION_SLOT)
        return FAST_SLOW;
    if (value == FAST_MESSAGE)
        return code_of_message(plan, op);
    switch (op->action) {
    case ACTION_VERBATIM:
    case ACTION_RENUMBER:
        /* A text is noted; what else a slot can ask of an op that copies is for the long way. */
        return has_slot && (!text || (op->flags & OP_OWN_PRESENCE)) ? FAST_SLOW : put_code(value);
    case ACTION_SLOT:
        return !text ? FAST_SLOW : value == FAST_STRING ? FAST_TAKE_STRING : FAST_TAKE_BYTES;
    case ACTION_SCALAR:
        return op->wire == WIRE_VARINT && (op->tag & 7) == WIRE_VARINT ? FAST_SCALAR : FAST_SLOW;
    case ACTION_CARRY:
        return text && op->tag >> 3 == op->number ? FAST_CARRY : FAST_SLOW;
    default:
        return FAST_SLOW;
    }
}

/* ---- Conversions ---- */

/* Up to which integers are what their bytes say. 0: of this kind none are. */
static uint64_t most_of(unsigned kind)
{
    switch (kind) {
    case KIND_INT32:
    case KIND_ENUM:
        return INT32_MAX;
    case KIND_UINT32:
        return UINT32_MAX;
    case KIND_INT64:
    case KIND_UINT64:
        return INT64_MAX;
    default:
        return 0;
    }
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void fill_map(const struct plan *plan, const struct program_map *map,
                     struct fast_scalar *scalar)
{
    for (int i = 0; i < FAST_MAP_COUNT; i++)
        scalar->map[i] = (int8_t)i; /* declared by neither: it stays what it is */
    for (uint32_t i = 0; i < map->pair_count; i++) {
        const struct program_pair *pair = &plan->pairs[map->pair_first + i];
        bool fits = pair->target >= 0 && pair->target <= INT8_MAX && !(pair->flags & PAIR_LOST);
        if (pair->source >= 0 && pair->source < FAST_MAP_COUNT)
            scalar->map[pair->source] = fits ? (int8_t)pair->target : FAST_MAP_ASK;
    }
}

enum fast_code fast_number_of(const struct plan *plan, const struct program_op *op,
                              struct fast_number *ret_number)
{
    const uint64_t source = most_of(op->kind), target = most_of(op->written);
    if (source == 0 || target == 0 || (op->flags & OP_OWN_PRESENCE))
        return FAST_SCALAR;
    *ret_number = (struct fast_number){.most = least(source, target), .factor = 1};
    if (op->convert == PROGRAM_NONE)
        return FAST_MULTIPLY;
    const struct program_convert *convert = &plan->converts[op->convert];
    const uint64_t factor = convert->factor; /* of the two, verified: 1..INT64_MAX */
    switch (convert->mode) {
    case CONVERT_NONE:
        return FAST_MULTIPLY;
    case CONVERT_MULTIPLY:
        *ret_number =
            (struct fast_number){.most = least(source, target / factor), .factor = factor};
        return FAST_MULTIPLY;
    case CONVERT_DIVIDE:
        if (factor == 1)
            return FAST_SCALAR;
        *ret_number = (struct fast_number){
            .most = target > INT64_MAX / factor ? source : least(source, target * factor),
            .factor = factor,
            .reciprocal = UINT64_MAX / factor,
        };
        return FAST_DIVIDE;
    case CONVERT_MAP:
        return FAST_MAP;
    default:
        return FAST_SCALAR;
    }
}

/* FAST_SCALAR: it is another conversion. */
static enum fast_code work_out(const struct plan *plan, const struct program_op *op,
                               struct fast_scalar *scalar)
{
    enum fast_code code = fast_number_of(plan, op, &scalar->number);
    if (code != FAST_MAP)
        return code;
    const struct program_map *map = &plan->maps[plan->converts[op->convert].map];
    if (map->flags & (MAP_OTHERWISE | MAP_ONE_WAY))
        return FAST_SCALAR;
    fill_map(plan, map, scalar);
    scalar->number.most = FAST_MAP_COUNT - 1;
    return FAST_MAP;
}

/* ---- Records ---- */

static unsigned tag_bytes_of(uint32_t tag, uint32_t *ret_bytes)
{
    uint8_t bytes[8] = {0};
    unsigned count = (unsigned)(wire_write_varint(bytes, tag) - bytes);
    *ret_bytes = 0;
    for (unsigned i = 0; i < count && i < 4; i++)
        *ret_bytes |= (uint32_t)bytes[i] << (8 * i);
    return count;
}

/* False: the field goes the long way whatever happens. */
static bool fill_record(const struct plan *plan, const struct program_table *table,
                        const struct program_op *op, struct fast *record,
                        struct fast_scalar **scalars)
{
    enum fast_value value = value_of(op);
    uint32_t source;
    /* What is no field of the source has no kind of its own. */
    if (op->action == ACTION_ALIEN || op->action == ACTION_OPEN || value == FAST_NONE)
        return false;
    enum fast_code code = code_of(plan, table, op, value);
    uint32_t wire = op->action == ACTION_SCALAR ? op->tag & 7 : op->wire;
    uint32_t target = op->action == ACTION_VERBATIM ? op->number << 3 | op->wire
                                                    : (op->tag & ~UINT32_C(7)) | wire;
    (void)tag_bytes_of(op->number << 3 | op->wire, &source);
    *record = (struct fast){
        .source = (uint16_t)source,
        .value = (uint8_t)value,
        .code = (uint8_t)code,
        .repeated = op->flags & OP_REPEATED,
        .slot = op->slot,
        .op = op,
    };
    record->tag_bytes = (uint8_t)tag_bytes_of(target, &record->tag);
    if (record->tag_bytes > 4)
        record->code = FAST_SLOW;
    if (value == FAST_MESSAGE)
        record->table = &plan->fast[op->table]; /* which may not be filled yet */
    if (record->code == FAST_SCALAR) {
        record->code = (uint8_t)work_out(plan, op, *scalars);
        record->scalar = (*scalars)++;
    }
    return true;
}

static uint32_t number_count(const struct plan *plan, const struct program_table *table)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < table->op_count; i++) {
        const struct program_op *op = &plan->ops[table->op_first + i];
        if (op->number <= FAST_NUMBER_MAX && value_of(op) != FAST_NONE &&
            op->action != ACTION_ALIEN && op->action != ACTION_OPEN)
            most = op->number;
    }
    return most == 0 ? 0 : most < FAST_NUMBER_COUNT ? FAST_NUMBER_COUNT : most + 1;
}

/* ---- Tables ---- */

static bool ends_simply(const struct plan *plan, const struct program_emit *emit)
{
    if (emit->pipe != 0 || emit->required != PROGRAM_REQUIRED_NONE)
        return false;
    switch (emit->kind) {
    case EMIT_MOVE:
    case EMIT_SPLIT:
    case EMIT_TEXT:
    case EMIT_JOIN:
    case EMIT_LOST:
    case EMIT_DROPPED:
        return true;
    case EMIT_GATHER: {
        const struct program_node *node = &plan->nodes[emit->node];
        bool simple = node->child_count == 0 && emit->flags == 0;
        for (uint32_t i = 0; i < node->leaf_count; i++) {
            const struct program_emit *leaf = &plan->emits[node->leaf_first + i];
            simple = simple && leaf->kind == EMIT_MOVE && ends_simply(plan, leaf);
        }
        return simple;
    }
    default:
        return false;
    }
}

static void fill_table(const struct plan *plan, const struct program_table *table,
                       struct fast_table *fast)
{
    fast->ends = table->required_count == 0 && table->next == 0 &&
                 !(table->flags & (TABLE_SHARED | TABLE_MARK | TABLE_ORDERED));
    fast->framed = table->flags & TABLE_SHARED;
    for (uint32_t i = 0; i < table->emit_count; i++) {
        const struct program_emit *emit = &plan->emits[table->emit_first + i];
        fast->ends = fast->ends && ends_simply(plan, emit);
        fast->framed = fast->framed || emit->kind != EMIT_LOST;
    }
    for (uint32_t i = 0; i < table->op_count; i++) {
        const struct program_op *op = &plan->ops[table->op_first + i];
        fast->ends = fast->ends && op->pipe == 0;
        fast->carries = fast->carries || op->action == ACTION_CARRY;
        fast->framed = fast->framed || op->action == ACTION_CARRY || op->action == ACTION_SLOT ||
                       op->action == ACTION_RESIDUE || op->action == ACTION_JOIN;
    }
}

static void fill_records(const struct plan *plan, const struct program_table *table,
                         struct fast *records, struct fast_scalar **scalars)
{
    for (uint32_t i = 0; i < table->op_count; i++) {
        const struct program_op *op = &plan->ops[table->op_first + i];
        if (op->number <= FAST_NUMBER_MAX)
            (void)fill_record(plan, table, op, &records[op->number], scalars);
    }
}

/* What depends on other tables. A message whose end is not simple does not go this way, if it has
 * one. */
static void settle_records(const struct plan *plan, const struct fast_table *table,
                           struct fast *records)
{
    for (uint32_t i = 0; i < table->number_count; i++) {
        struct fast *record = &records[i];
        if (record->value != FAST_MESSAGE)
            continue;
        record->joins = fast_joins(plan, table->table, record->op);
        if (record->code == FAST_PUT_MESSAGE && record->table->framed && !record->table->ends)
            record->code = FAST_SLOW;
    }
}

int fast_make(struct plan *plan)
{
    const uint32_t count = plan->header->count[SECTION_TABLE];
    size_t record_count = 1, scalar_count = 0; /* behind each table's comes the next one's 0 */
    for (uint32_t i = 0; i < count; i++)
        record_count += number_count(plan, &plan->tables[i]);
    for (uint32_t i = 0; i < plan->header->count[SECTION_OP]; i++)
        scalar_count += plan->ops[i].action == ACTION_SCALAR;
    const size_t table_bytes = ((count + 1) * sizeof(struct fast_table) + 15) & ~(size_t)15;
    plan->fast = calloc(1, table_bytes + record_count * sizeof(struct fast) +
                               scalar_count * sizeof(struct fast_scalar));
    if (!plan->fast)
        return -ENOMEM;
    struct fast *const all = (struct fast *)(void *)((uint8_t *)plan->fast + table_bytes);
    struct fast *records = all;
    struct fast_scalar *scalars = (struct fast_scalar *)(void *)(records + record_count);
    for (uint32_t i = 0; i < count; i++) {
        const struct program_table *table = &plan->tables[i];
        struct fast_table *fast = &plan->fast[i];
        fast->table = table;
        fast->number_count = number_count(plan, table);
        fast->by_number = fast->number_count ? records : no_fields;
        fill_records(plan, table, records, &scalars);
        records += fast->number_count;
        fill_table(plan, table, fast);
    }
    fast_find_joins(plan, count);
    records = all;
    for (uint32_t i = 0; i < count; i++) {
        settle_records(plan, &plan->fast[i], records);
        records += plan->fast[i].number_count;
    }
    return 0;
}
