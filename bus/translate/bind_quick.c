/*
 * The records of the short way (bind.h), made of a binding's tables when all of these are there.
 *
 * A field has one if it is singular and no member of a oneof, or repeated with a length; if its tag
 * has one byte, or two; and if it is not required, for what is required has to be noted. What the
 * record does not foresee when a message comes is left to the long way, which goes by the bound op.
 */
#include "translate/bind.h"

#include <errno.h>
#include <stdlib.h>

/* ---- Conversions ---- */

static enum quick_way number_way(const struct plan *plan, const struct bound_op *bound,
                                 struct quick *quick)
{
    bool wide = bound->size == 8;
    switch (fast_number_of(plan, bound->op, &quick->u.number)) {
    case FAST_MULTIPLY:
        return wide ? QUICK_MULTIPLY64 : QUICK_MULTIPLY32;
    case FAST_DIVIDE: /* a remainder is refused, if it is strict */
        return bound->op->flags & OP_STRICT ? QUICK_NONE : wide ? QUICK_DIVIDE64 : QUICK_DIVIDE32;
    default:
        return QUICK_NONE;
    }
}

/* Only what has a pair: numbers that have none are for the long way. */
static enum quick_way map_way(const struct plan *plan, const struct bound_op *bound,
                              struct quick_map *map, struct quick *quick)
{
    const struct program_op *op = bound->op;
    const struct program_map *from = &plan->maps[plan->converts[op->convert].map];
    if (from->flags != 0 || bound->size != 4 ||
        (op->kind != KIND_ENUM && op->kind != KIND_INT32 && op->kind != KIND_UINT32) ||
        (op->written != KIND_ENUM && op->written != KIND_INT32))
        return QUICK_NONE;
    for (uint32_t i = 0; i < from->pair_count; i++) {
        const struct program_pair *pair = &plan->pairs[from->pair_first + i];
        if (pair->source < 0 || pair->source >= QUICK_MAP_COUNT || (pair->flags & ~PAIR_LOST) != 0)
            continue;
        bool lost = pair->flags & PAIR_LOST;
        if (lost && (op->slot == PROGRAM_SLOT_NONE || (op->flags & OP_STRICT)))
            continue;
        map->targets[pair->source] = pair->target;
        map->known |= UINT32_C(1) << pair->source;
        map->lost |= (uint32_t)lost << pair->source;
    }
    quick->u.map = map;
    return QUICK_MAP;
}

static bool is_map(const struct plan *plan, const struct bound_op *op)
{
    return op->code == CODE_CONVERT && op->op->convert != PROGRAM_NONE &&
           plan->converts[op->op->convert].mode == CONVERT_MAP;
}

/* ---- Fields ---- */

static enum quick_way way_of(const struct bound_op *op)
{
    switch (op->code) {
    case CODE_STRING:
        return QUICK_STRING;
    case CODE_NOTED: /* with a presence of its own, the slot has the record */
        return op->op->flags & OP_OWN_PRESENCE ? QUICK_NONE : QUICK_NOTED;
    case CODE_SLOT_TEXT:
        return QUICK_TEXT;
    case CODE_STRINGS:
        return QUICK_STRINGS;
    case CODE_INT32:
        return QUICK_INT32;
    case CODE_SINT32:
        return QUICK_SINT32;
    case CODE_INT64:
        return QUICK_INT64;
    case CODE_SINT64:
        return QUICK_SINT64;
    case CODE_BOOL:
        return QUICK_BOOL;
    case CODE_FIXED32:
        return QUICK_FIXED32;
    case CODE_FIXED64:
        return QUICK_FIXED64;
    case CODE_MESSAGE:
        return QUICK_MESSAGE;
    case CODE_MESSAGES:
        return QUICK_MESSAGES;
    case CODE_TAKEN:
        return QUICK_TAKEN;
    case CODE_CARRY:
        return op->op->kind == KIND_STRING && !op->counted ? QUICK_CARRIED : QUICK_NONE;
    default:
        return op->code == CODE_VALUE && op->kind == KIND_BYTES && !op->repeated && !op->oneof
                   ? QUICK_BYTES
                   : QUICK_NONE;
    }
}

static enum quick_way bind_way(const struct plan *plan, const struct bound_op *op,
                               struct quick_map **maps, struct quick *quick)
{
    enum quick_way way = way_of(op);
    if (op->code == CODE_CONVERT && op->wire == WIRE_VARINT && !(op->op->flags & OP_OWN_PRESENCE))
        way = is_map(plan, op) ? map_way(plan, op, (*maps)++, quick) : number_way(plan, op, quick);
    if (way == QUICK_MESSAGE || way == QUICK_MESSAGES || way == QUICK_TAKEN ||
        way == QUICK_CARRIED) {
        quick->u.message.op = op;
        quick->u.message.table = op->table;
        quick->u.message.piece = op->piece ? UINT64_C(1) << (op->piece - 1) : 0;
    }
    return way;
}

static void fill(const struct plan *plan, const struct bound_op *op, struct quick_map **maps,
                 struct quick *quick)
{
    if (op->required != PROGRAM_REQUIRED_NONE || op->offset > UINT16_MAX ||
        op->quantifier > UINT16_MAX)
        return;
    *quick = (struct quick){
        .tag =
            (uint8_t)(op->number < QUICK_NUMBER_COUNT ? op->number << 3 | op->wire
                                                      : 0x80 | (op->number & 15) << 3 | op->wire),
        .offset = (uint16_t)op->offset,
        .quantifier = (uint16_t)(op->quantifier ? op->quantifier : op->offset),
        .slot = op->slot,
    };
    quick->way = (uint8_t)bind_way(plan, op, maps, quick);
}

/* How many records for wide tags a table has: up to its highest number, if they are not far
 * between. */
static uint32_t wide_count(const struct bound_table *table)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < table->op_count && table->ops[i].number < QUICK_WIDE_MAX; i++)
        most = table->ops[i].number;
    if (most < QUICK_NUMBER_COUNT || most > 4 * table->op_count + 2 * QUICK_NUMBER_COUNT)
        return 0;
    return most - QUICK_NUMBER_COUNT + 1;
}

static void fill_table(const struct plan *plan, struct bound_table *table, struct quick *wide,
                       struct quick_map **maps)
{
    table->wide = wide;
    table->wide_count = wide_count(table);
    for (uint32_t i = 0; i < table->op_count; i++) {
        uint32_t number = table->ops[i].number;
        if (number < QUICK_NUMBER_COUNT)
            fill(plan, &table->ops[i], maps, &table->quick[number]);
        else if (number - QUICK_NUMBER_COUNT < table->wide_count)
            fill(plan, &table->ops[i], maps, &wide[number - QUICK_NUMBER_COUNT]);
    }
}

/* ---- Pieces ---- */

#define PASS_MAX 64

/* Whether a message in this field is looked into by the runner alone, and may have pieces in it
 * that would have to be joined first. */
static bool hides_pieces(const struct plan *plan, const struct bound_op *op)
{
    if (!op->op || op->op->kind != KIND_MESSAGE || op->op->action == ACTION_ALIEN)
        return false;
    if (op->code >= CODE_DIRECT)
        return op->table && op->table->hides_pieces;
    const struct program_table *table = &plan->tables[op->op->table];
    for (uint32_t i = 0; i < table->op_count; i++)
        if (plan->ops[table->op_first + i].kind == KIND_MESSAGE)
            return true;
    return false;
}

static bool table_hides_pieces(const struct plan *plan, const struct bound_table *table)
{
    bool hides = table->staged;
    for (uint32_t i = 0; i < table->op_count && table->translated && !hides; i++)
        hides = hides_pieces(plan, &table->ops[i]);
    return hides;
}

/* Messages lead to others in a few steps; where they do not, all may hide some. */
static void find_hidden_pieces(struct plan_binding *binding, uint32_t table_count)
{
    bool changed = true;
    for (unsigned pass = 0; changed; pass++) {
        changed = false;
        for (uint32_t i = table_count; i-- > 0;) {
            struct bound_table *table = &binding->tables[i];
            if (!table->hides_pieces &&
                (pass == PASS_MAX || table_hides_pieces(binding->plan, table)))
                changed = table->hides_pieces = true;
        }
    }
}

int bind_quick(struct plan_binding *binding, uint32_t table_count)
{
    const struct plan *plan = binding->plan;
    size_t wide = 0, maps = 0;
    for (uint32_t i = 0; i < table_count; i++) {
        wide += wide_count(&binding->tables[i]);
        for (uint32_t j = 0; j < binding->tables[i].op_count; j++)
            maps += is_map(plan, &binding->tables[i].ops[j]);
    }
    binding->wide = calloc(wide + 1, sizeof(binding->wide[0]));
    binding->maps = calloc(maps + 1, sizeof(binding->maps[0]));
    if (!binding->wide || !binding->maps)
        return -ENOMEM;
    struct quick *next_wide = binding->wide;
    struct quick_map *next_map = binding->maps;
    for (uint32_t i = 0; i < table_count; i++) {
        fill_table(plan, &binding->tables[i], next_wide, &next_map);
        next_wide += binding->tables[i].wide_count;
    }
    find_hidden_pieces(binding, table_count);
    return 0;
}
