/*
 * Fusing tables: one that does what two do, one after another, without the message in between.
 *
 * a is a table of a single step, b one of all steps behind it. Every field that a writes is a field
 * that b reads, so the fused table has a's ops with b's effect (fuse_field.c); b's ops for numbers
 * that a lets through as unknown; a's emits, then b's. Nested messages fuse as pairs of their own,
 * each pair once, from a list, so that types may refer to themselves.
 *
 * Who reads a message in between finds in its carrier what belongs to it. So there are now several
 * owners: what a carries is the source's; what b carries is of the version between, under that
 * version's numbers, in ops that say so (fuse_prepare()). A carrier of the version between is
 * opened, too: by a's table for it, whose ops are fused with b's as well.
 *
 * What cannot be fused is left in stages: the message (not the one around it, nor those in it if
 * they are met elsewhere) is written as the version between has it, and then translated by b.
 */
#include "translate/fuse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct fusion {
    uint32_t a, b, table;
    uint32_t head; /* in stages: the table of the first; PROGRAM_NONE: it is one table */
};

void fuser_deinit(struct fuser *fuser)
{
    free(fuser->list);
}

static struct program_table table_at(struct builder *builder, uint32_t index)
{
    return *(struct program_table *)builder_at(builder, SECTION_TABLE, index);
}

struct program_op fuse_op_at(struct builder *builder, uint32_t index)
{
    return *(struct program_op *)builder_at(builder, SECTION_OP, index);
}

struct program_emit fuse_emit_at(struct builder *builder, uint32_t index)
{
    return *(struct program_emit *)builder_at(builder, SECTION_EMIT, index);
}

bool fuse_find(struct builder *builder, const struct program_table *table, uint32_t number,
               struct program_op *ret_op)
{
    uint32_t low = 0, high = table->op_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (fuse_op_at(builder, table->op_first + middle).number < number)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == table->op_count)
        return false;
    *ret_op = fuse_op_at(builder, table->op_first + low);
    return ret_op->number == number;
}

/* ---- After a step ---- */

static void own_ops(struct builder *builder, const struct program_table *table, uint32_t owner)
{
    for (uint32_t i = 0; i < table->op_count; i++) {
        struct program_op *op = builder_at(builder, SECTION_OP, table->op_first + i);
        op->owner = owner;
    }
}

/* The number of the field whose record the slot keeps. */
static uint32_t number_of_slot(struct builder *builder, const struct program_table *table,
                               uint16_t slot)
{
    for (uint32_t i = 0; i < table->op_count; i++) {
        struct program_op op = fuse_op_at(builder, table->op_first + i);
        if (op.slot == slot)
            return op.number;
    }
    return 0;
}

void fuse_prepare(struct builder *builder, uint32_t first)
{
    for (uint32_t i = first; i < builder->sections[SECTION_TABLE].count && !builder->error; i++) {
        struct program_table table = table_at(builder, i);
        if (table.flags & TABLE_SHARED)
            continue;
        own_ops(builder, &table, table.source_id);
        if (table.restore != PROGRAM_NONE) {
            struct program_table restore = table_at(builder, table.restore);
            own_ops(builder, &restore, table.source_id);
        }
        for (uint32_t j = 0; j < table.emit_count; j++) {
            struct program_emit *emit = builder_at(builder, SECTION_EMIT, table.emit_first + j);
            emit->owner = table.source_id;
            emit->opens = table.target_id;
            if (emit->kind == EMIT_LOST)
                emit->carry = number_of_slot(builder, &table, emit->slot);
        }
    }
}

/* ---- Pairs ---- */

uint32_t fuse_tables(struct fuser *fuser, uint32_t a, uint32_t b)
{
    for (size_t i = 0; i < fuser->count; i++)
        if (fuser->list[i].a == a && fuser->list[i].b == b)
            return fuser->list[i].table;
    if (fuser->count == fuser->capacity) {
        size_t capacity = 2 * fuser->capacity + 16;
        struct fusion *list = realloc(fuser->list, capacity * sizeof(*list));
        if (!list) {
            fuser->builder->error = -ENOMEM;
            return 0;
        }
        fuser->list = list;
        fuser->capacity = capacity;
    }
    fuser->list[fuser->count] = (struct fusion){a, b, PROGRAM_NONE, PROGRAM_NONE};
    return fuser->list[fuser->count++].table = builder_add(fuser->builder, SECTION_TABLE, 1);
}

static bool add_op(struct mix *mix, struct program_op op)
{
    if (mix->op_count == mix->op_capacity) {
        size_t capacity = 2 * mix->op_capacity + 32;
        struct program_op *ops = realloc(mix->ops, capacity * sizeof(*ops));
        if (!ops) {
            mix->builder->error = -ENOMEM;
            return false;
        }
        mix->ops = ops;
        mix->op_capacity = capacity;
    }
    mix->ops[mix->op_count++] = op;
    return true;
}

static bool add_emit(struct mix *mix, struct program_emit emit)
{
    if (mix->emit_count == mix->emit_capacity) {
        size_t capacity = 2 * mix->emit_capacity + 32;
        struct program_emit *emits = realloc(mix->emits, capacity * sizeof(*emits));
        if (!emits) {
            mix->builder->error = -ENOMEM;
            return false;
        }
        mix->emits = emits;
        mix->emit_capacity = capacity;
    }
    mix->emits[mix->emit_count++] = emit;
    return true;
}

/* The ops of a's table @table (itself, or for carriers) with b's; and b's for what passes it. */
/* Checking what is left out anyway takes a table for each type of each version. */
static struct program_op lean_op(struct program_op op)
{
    if (op.action == ACTION_SKIP && op.kind == KIND_MESSAGE) {
        op.kind = op.written = KIND_BYTES;
        op.table = PROGRAM_NONE;
    }
    return op;
}

static bool mix_ops(struct mix *mix, const struct program_table *table, bool in_carrier)
{
    struct program_op op, fused;
    mix->op_count = 0;
    for (uint32_t i = 0; i < table->op_count; i++) {
        op = fuse_op_at(mix->builder, table->op_first + i);
        if (in_carrier && mix->fuser->lean)
            op = lean_op(op);
        if (op.action != ACTION_OPEN &&
            (!fuse_op(mix, &op, in_carrier, &fused) || !add_op(mix, fused)))
            return false;
    }
    for (uint32_t i = 0; i < mix->b.op_count; i++) {
        struct program_op before;
        op = fuse_op_at(mix->builder, mix->b.op_first + i);
        if (!fuse_knows_op(&op))
            return false;
        if (op.action != ACTION_OPEN && !fuse_find(mix->builder, table, op.number, &before) &&
            !add_op(mix, op))
            return false;
    }
    return true;
}

/* ---- Required fields: b's bits, then those of a's that none of b's stands for ---- */

static void count_setters(struct mix *mix, const struct program_table *table, uint8_t bit,
                          unsigned *count)
{
    for (uint32_t i = 0; i < table->op_count; i++)
        *count += fuse_op_at(mix->builder, table->op_first + i).required == bit;
    for (uint32_t i = 0; i < table->emit_count; i++)
        *count += fuse_emit_at(mix->builder, table->emit_first + i).required == bit;
}

/* The number in the version between that sets a's bit. */
static uint32_t number_of_bit(struct mix *mix, uint8_t bit)
{
    for (uint32_t i = 0; i < mix->a.op_count; i++) {
        struct program_op op = fuse_op_at(mix->builder, mix->a.op_first + i);
        if (op.required == bit)
            return op.tag >> 3;
    }
    for (uint32_t i = 0; i < mix->a.emit_count; i++) {
        struct program_emit emit = fuse_emit_at(mix->builder, mix->a.emit_first + i);
        if (emit.required == bit)
            return emit.tag >> 3;
    }
    return 0;
}

static bool map_required(struct mix *mix)
{
    mix->required_count = mix->b.required_count;
    for (uint32_t i = 0; i < mix->a.required_count; i++) {
        struct program_op b;
        unsigned setters = 0;
        bool both = fuse_find(mix->builder, &mix->b, number_of_bit(mix, (uint8_t)i), &b) &&
                    b.required != PROGRAM_REQUIRED_NONE;
        if (both)
            count_setters(mix, &mix->b, b.required, &setters);
        if (!both && mix->required_count == PROGRAM_REQUIRED_MAX)
            return false;
        if (both && setters != 1)
            return false;
        mix->required[i] = both ? b.required : (uint8_t)mix->required_count++;
    }
    return true;
}

/* ---- Carriers ---- */

static bool opens(struct mix *mix, uint32_t id)
{
    if (mix->b.restore != PROGRAM_NONE && mix->b.target_id == id)
        return true;
    for (uint32_t i = 0; i < mix->b.owner_count; i++) {
        struct program_owner *owner =
            builder_at(mix->builder, SECTION_OWNER, mix->b.owner_first + i);
        if (owner->id == id)
            return true;
    }
    return false;
}

static void write_ops(struct mix *mix, uint32_t table)
{
    builder_set_ops(mix->builder, table, mix->ops, mix->op_count);
}

/* The tables for carriers of all versions between: a's target, then b's. */
static bool mix_owners(struct mix *mix, struct program_table *fused)
{
    struct builder *builder = mix->builder;
    uint32_t restore = PROGRAM_NONE;
    if (mix->a.restore != PROGRAM_NONE) {
        struct program_table a = table_at(builder, mix->a.restore);
        if (!mix_ops(mix, &a, true))
            return false;
        restore = builder_add(builder, SECTION_TABLE, 1);
        write_ops(mix, restore);
        if (builder->error)
            return false;
        struct program_table *table = builder_at(builder, SECTION_TABLE, restore);
        table->flags = TABLE_SHARED;
        table->slot_count = fused->slot_count;
        table->required_count = fused->required_count;
        table->restore = PROGRAM_NONE;
        table->level = fused->level;
    }
    uint32_t own = restore != PROGRAM_NONE;
    fused->owner_count = mix->b.owner_count + own;
    fused->owner_first = builder_add(builder, SECTION_OWNER, fused->owner_count);
    fused->restore = mix->b.restore;
    if (builder->error)
        return false;
    for (uint32_t i = 0; i < mix->b.owner_count; i++) {
        struct program_owner owner = *(struct program_owner *)builder_at(
            builder, SECTION_OWNER, mix->b.owner_first + i);
        *(struct program_owner *)builder_at(builder, SECTION_OWNER, fused->owner_first + own + i) =
            owner;
    }
    if (own)
        *(struct program_owner *)builder_at(builder, SECTION_OWNER, fused->owner_first) =
            (struct program_owner){mix->a.target_id, restore};
    return true;
}

/* ---- Tables ---- */

static bool add_restore(struct mix *mix, uint32_t owner)
{
    return add_emit(mix, (struct program_emit){
                             .kind = EMIT_RESTORE,
                             .written = KIND_BYTES,
                             .required = PROGRAM_REQUIRED_NONE,
                             .tag = CARRIER_TAG,
                             .table = PROGRAM_NONE,
                             .template = PROGRAM_NONE,
                             .number = CARRIER_NUMBER,
                             .owner = owner,
                         });
}

/* b did that in one go until now. */
static bool add_restores(struct mix *mix)
{
    for (uint32_t i = 0; i < mix->b.owner_count; i++) {
        struct program_owner *owner =
            builder_at(mix->builder, SECTION_OWNER, mix->b.owner_first + i);
        if (!add_restore(mix, owner->id))
            return false;
    }
    return mix->b.restore == PROGRAM_NONE || add_restore(mix, mix->b.target_id);
}

static bool mix_emits(struct mix *mix, struct program_table *fused)
{
    struct builder *builder = mix->builder;
    struct program_emit emit;
    bool was_ordered = mix->b.flags & TABLE_ORDERED;
    /* In its place, should it turn out to be needed. */
    if (!add_restore(mix, mix->a.target_id))
        return false;
    for (uint32_t i = 0; i < mix->a.emit_count; i++) {
        struct program_emit a = fuse_emit_at(builder, mix->a.emit_first + i);
        if (!fuse_emit(mix, &a, &emit) || !add_emit(mix, emit))
            return false;
    }
    mix->ordered |= was_ordered;
    if (mix->ordered && !was_ordered && !add_restores(mix))
        return false;
    if (!mix->ordered)
        memmove(mix->emits, mix->emits + 1, --mix->emit_count * sizeof(mix->emits[0]));
    fused->flags |= mix->ordered ? TABLE_ORDERED : 0;
    for (uint32_t i = 0; i < mix->b.emit_count; i++) {
        struct program_emit b = fuse_emit_at(builder, mix->b.emit_first + i);
        if (!fuse_emit_behind(mix, &b, &emit) || !add_emit(mix, emit))
            return false;
    }
    fused->emit_first = builder_add(builder, SECTION_EMIT, mix->emit_count);
    fused->emit_count = (uint32_t)mix->emit_count;
    for (uint32_t i = 0; i < mix->emit_count && !builder->error; i++)
        *(struct program_emit *)builder_at(builder, SECTION_EMIT, fused->emit_first + i) =
            mix->emits[i];
    return !builder->error;
}

static bool can_mix(struct mix *mix)
{
    const uint32_t known = TABLE_VERBATIM | TABLE_ORDERED;
    if (mix->fuser->stages_only || mix->b.next || ((mix->a.flags | mix->b.flags) & ~known) ||
        mix->a.slot_count + mix->b.slot_count > PROGRAM_SLOT_MAX)
        return false;
    /* A version that is twice on the path, or two names with one hash. */
    return !opens(mix, mix->a.source_id) &&
           (mix->a.restore == PROGRAM_NONE || !opens(mix, mix->a.target_id));
}

static bool mix_tables(struct mix *mix, uint32_t index)
{
    struct builder *builder = mix->builder;
    if (!can_mix(mix) || !map_required(mix))
        return false;
    struct program_table fused = {
        .slot_count = mix->a.slot_count + mix->b.slot_count,
        .required_count = mix->required_count,
        .source_id = mix->a.source_id,
        .target_id = mix->b.target_id,
        .level = mix->b.level + 1,
    };
    if (!mix_owners(mix, &fused) || !mix_emits(mix, &fused) || !mix_ops(mix, &mix->a, false))
        return false;
    if (fused.restore != PROGRAM_NONE || fused.owner_count > 0) {
        struct program_op open = program_op_default(CARRIER_NUMBER, KIND_BYTES);
        open.action = ACTION_OPEN;
        if (!add_op(mix, open))
            return false;
    }
    if (builder->error)
        return false;
    *(struct program_table *)builder_at(builder, SECTION_TABLE, index) = fused;
    write_ops(mix, index);
    return true;
}

/* @head one after another with @next. */
static void put_in_stages(struct fuser *fuser, struct fusion *fusion, uint32_t head, uint32_t next)
{
    struct program_table table = table_at(fuser->builder, head);
    table.flags &= ~TABLE_VERBATIM;
    table.next = next + 1;
    fusion->head = head;
    *(struct program_table *)builder_at(fuser->builder, SECTION_TABLE, fusion->table) = table;
}

static const struct fusion *made_as(const struct fuser *fuser, uint32_t table)
{
    for (size_t i = 0; i < fuser->count; i++)
        if (fuser->list[i].table == table)
            return &fuser->list[i];
    return NULL;
}

/* b is in stages. So that there are no more than there have to be, a goes together with the first
 * of them. False: that is not known yet; it is in the list now, before @index. */
static bool join_first_stage(struct fuser *fuser, size_t index)
{
    struct fusion fusion = fuser->list[index];
    struct program_table b = table_at(fuser->builder, fusion.b);
    const struct fusion *staged = made_as(fuser, fusion.b);
    uint32_t first = staged ? fuse_tables(fuser, fusion.a, staged->head) : PROGRAM_NONE;
    const struct fusion *together = staged ? made_as(fuser, first) : NULL;
    if (!together || (size_t)(together - fuser->list) < index) {
        bool one = together && together->head == PROGRAM_NONE;
        put_in_stages(fuser, &fuser->list[index], one ? first : fusion.a,
                      one ? b.next - 1 : fusion.b);
        return true;
    }
    struct fusion first_now = *together;
    fuser->list[together - fuser->list] = fusion;
    fuser->list[index] = first_now;
    return false;
}

static void fuse_pair(struct fuser *fuser, size_t index)
{
    const struct fusion fusion = fuser->list[index];
    struct mix mix = {
        .fuser = fuser,
        .builder = fuser->builder,
        .a = table_at(fuser->builder, fusion.a),
        .b = table_at(fuser->builder, fusion.b),
    };
    if (!mix_tables(&mix, fusion.table) && !fuser->builder->error)
        put_in_stages(fuser, &fuser->list[index], fusion.a, fusion.b);
    free(mix.ops);
    free(mix.emits);
}

int fuse_all(struct fuser *fuser)
{
    while (fuser->done < fuser->count && !fuser->builder->error) {
        uint32_t b = fuser->list[fuser->done].b;
        if (!fuser->stages_only && table_at(fuser->builder, b).next) {
            fuser->done += join_first_stage(fuser, fuser->done);
            continue;
        }
        fuse_pair(fuser, fuser->done++);
    }
    return fuser->builder->error;
}
