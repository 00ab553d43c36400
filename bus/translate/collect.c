/*
 * The last thing that is done to a program over a path: out with the tables of single steps that
 * fusing has made superfluous, and the levels of the others, as low as they are.
 *
 * Tables, ops, emits, nodes and owners refer to each other and are copied with new numbers, beginning
 * at the entries; what they refer to besides (conversions, texts, ...) stays where it is.
 */
#include "translate/fuse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* Who adds a field that refers to a table, an op, an emit or a node has to see to it here as well. */
static_assert(sizeof(struct program_table) == 64 && sizeof(struct program_op) == 40 &&
                  sizeof(struct program_emit) == 44 && sizeof(struct program_node) == 24,
              "a record has changed: what does it refer to?");

struct collector {
    struct builder *from;
    struct builder to;
    uint32_t *new_of;        /* by old index; PROGRAM_NONE: not reached yet */
    uint32_t *list, count;   /* old indices, in the order of the new */
};

static uint32_t reach(struct collector *collector, uint32_t table)
{
    if (collector->new_of[table] == PROGRAM_NONE) {
        collector->new_of[table] = collector->count;
        collector->list[collector->count++] = table;
    }
    return collector->new_of[table];
}

static uint32_t reach_stage(struct collector *collector, uint32_t stage)
{
    return stage ? reach(collector, stage - 1) + 1 : 0;
}

static void copy_ops(struct collector *collector, struct program_table *table)
{
    struct builder *from = collector->from, *to = &collector->to;
    uint32_t first = builder_add(to, SECTION_OP, table->op_count);
    uint32_t dense = builder_add(to, SECTION_DENSE, table->dense_count);
    for (uint32_t i = 0; i < table->op_count && !to->error; i++) {
        struct program_op op = fuse_op_at(from, table->op_first + i);
        if (op.table != PROGRAM_NONE)
            op.table = reach(collector, op.table);
        op.pipe = reach_stage(collector, op.pipe);
        *(struct program_op *)builder_at(to, SECTION_OP, first + i) = op;
    }
    for (uint32_t i = 0; i < table->dense_count && !to->error; i++)
        *(uint16_t *)builder_at(to, SECTION_DENSE, dense + i) =
            *(uint16_t *)builder_at(from, SECTION_DENSE, table->dense_first + i);
    table->op_first = first;
    table->dense_first = dense;
}

static void copy_emits(struct collector *collector, uint32_t *first, uint32_t count);

static void copy_nodes(struct collector *collector, uint32_t *first, uint32_t count)
{
    struct builder *to = &collector->to;
    uint32_t at = builder_add(to, SECTION_NODE, count);
    for (uint32_t i = 0; i < count && !to->error; i++) {
        struct program_node node =
            *(struct program_node *)builder_at(collector->from, SECTION_NODE, *first + i);
        copy_emits(collector, &node.leaf_first, node.leaf_count);
        copy_nodes(collector, &node.child_first, node.child_count);
        node.table = reach(collector, node.table);
        if (!to->error)
            *(struct program_node *)builder_at(to, SECTION_NODE, at + i) = node;
    }
    *first = at;
}

static void copy_emits(struct collector *collector, uint32_t *first, uint32_t count)
{
    struct builder *to = &collector->to;
    uint32_t at = builder_add(to, SECTION_EMIT, count);
    for (uint32_t i = 0; i < count && !to->error; i++) {
        struct program_emit emit = fuse_emit_at(collector->from, *first + i);
        if (emit.kind == EMIT_GATHER)
            copy_nodes(collector, &emit.node, 1);
        if (emit.table != PROGRAM_NONE)
            emit.table = reach(collector, emit.table);
        emit.pipe = reach_stage(collector, emit.pipe);
        if (!to->error)
            *(struct program_emit *)builder_at(to, SECTION_EMIT, at + i) = emit;
    }
    *first = at;
}

static void copy_owners(struct collector *collector, struct program_table *table)
{
    struct builder *to = &collector->to;
    uint32_t first = builder_add(to, SECTION_OWNER, table->owner_count);
    for (uint32_t i = 0; i < table->owner_count && !to->error; i++) {
        struct program_owner owner = *(struct program_owner *)builder_at(
            collector->from, SECTION_OWNER, table->owner_first + i);
        owner.table = reach(collector, owner.table);
        *(struct program_owner *)builder_at(to, SECTION_OWNER, first + i) = owner;
    }
    table->owner_first = first;
}

static void copy_tables(struct collector *collector)
{
    struct builder *to = &collector->to;
    for (uint32_t i = 0; i < collector->count && !to->error; i++) {
        struct program_table table = *(struct program_table *)builder_at(
            collector->from, SECTION_TABLE, collector->list[i]);
        if (table.restore != PROGRAM_NONE)
            table.restore = reach(collector, table.restore);
        table.next = reach_stage(collector, table.next);
        copy_ops(collector, &table);
        copy_emits(collector, &table.emit_first, table.emit_count);
        copy_owners(collector, &table);
        builder_add(to, SECTION_TABLE, 1);
        if (!to->error)
            *(struct program_table *)builder_at(to, SECTION_TABLE, i) = table;
    }
}

static void copy_rest(struct collector *collector)
{
    static const enum section kept[] = {SECTION_TABLE, SECTION_OP,   SECTION_DENSE,
                                        SECTION_EMIT,  SECTION_NODE, SECTION_OWNER};
    struct builder *from = collector->from, *to = &collector->to;
    for (unsigned i = 0; i < SECTION_COUNT; i++) {
        bool copied = false;
        for (size_t j = 0; j < sizeof(kept) / sizeof(kept[0]); j++)
            copied |= kept[j] == (enum section)i;
        size_t count = from->sections[i].count;
        if (copied || count == 0)
            continue;
        builder_add(to, (enum section)i, count);
        if (!to->error)
            memcpy(to->sections[i].data, from->sections[i].data,
                   count * program_element_bytes[i]);
    }
}

static int leave_out(struct builder *builder)
{
    size_t count = builder->sections[SECTION_TABLE].count;
    _cleanup_(freep) uint32_t *new_of = malloc((count + 1) * sizeof(*new_of));
    _cleanup_(freep) uint32_t *list = malloc((count + 1) * sizeof(*list));
    if (!new_of || !list)
        return -ENOMEM;
    memset(new_of, 0xff, (count + 1) * sizeof(*new_of)); /* PROGRAM_NONE */
    struct collector collector = {.from = builder, .new_of = new_of, .list = list};
    for (uint32_t i = 0; i < builder->sections[SECTION_ENTRY].count; i++) {
        struct program_entry *entry = builder_at(builder, SECTION_ENTRY, i);
        if (entry->table != PROGRAM_NONE)
            entry->table = reach(&collector, entry->table);
    }
    copy_tables(&collector);
    copy_rest(&collector);
    builder_deinit(builder);
    *builder = collector.to;
    return builder->error;
}

/* ---- Levels ---- */

/* Not without end: past the limit the verifier refuses it. */
static bool raise_to(uint32_t *level, uint32_t at_least)
{
    if (*level >= at_least || *level > PROGRAM_LEVEL_MAX)
        return false;
    *level = at_least;
    return true;
}

static uint32_t level_of(struct builder *builder, uint32_t table)
{
    return ((struct program_table *)builder_at(builder, SECTION_TABLE, table))->level;
}

static uint32_t level_of_stage(struct builder *builder, uint32_t stage)
{
    return stage ? level_of(builder, stage - 1) + 1 : 0;
}

static bool raise_table(struct builder *builder, uint32_t index)
{
    struct program_table table = *(struct program_table *)builder_at(builder, SECTION_TABLE, index);
    uint32_t behind = level_of_stage(builder, table.next);
    bool raised = raise_to(&table.level, behind);
    for (uint32_t i = 0; i < table.op_count; i++) {
        struct program_op op = fuse_op_at(builder, table.op_first + i);
        uint32_t nested = op.table == PROGRAM_NONE ? 0 : level_of(builder, op.table);
        raised |= raise_to(&table.level, nested + level_of_stage(builder, op.pipe) + behind);
    }
    for (uint32_t i = 0; i < table.emit_count; i++) {
        struct program_emit emit = fuse_emit_at(builder, table.emit_first + i);
        uint32_t nested = emit.table == PROGRAM_NONE ? 0 : level_of(builder, emit.table);
        raised |= raise_to(&table.level, nested + level_of_stage(builder, emit.pipe) + behind);
    }
    if (table.restore != PROGRAM_NONE)
        raised |= raise_to(&table.level, level_of(builder, table.restore) + behind);
    for (uint32_t i = 0; i < table.owner_count; i++) {
        struct program_owner *owner = builder_at(builder, SECTION_OWNER, table.owner_first + i);
        raised |= raise_to(&table.level, level_of(builder, owner->table) + behind);
    }
    if (raised)
        *(struct program_table *)builder_at(builder, SECTION_TABLE, index) = table;
    return raised;
}

static void set_levels(struct builder *builder)
{
    size_t count = builder->sections[SECTION_TABLE].count;
    for (uint32_t i = 0; i < count; i++)
        ((struct program_table *)builder_at(builder, SECTION_TABLE, i))->level = 0;
    for (bool raised = true; raised;) {
        raised = false;
        for (uint32_t i = 0; i < count; i++)
            raised |= raise_table(builder, i);
    }
}

int collect(struct builder *builder)
{
    if (builder->error)
        return builder->error;
    int r = leave_out(builder);
    if (r == 0)
        set_levels(builder);
    return r;
}
