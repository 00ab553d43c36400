/*
 * Slots of a step that is fused with those behind it: theirs come first, so that nothing of theirs
 * has to be changed, and its own follow. Its ops, emits, texts, nodes, and the tables that share its
 * slots are copied with the new numbers.
 */
#include "translate/fuse.h"

static bool rebase_shared(struct mix *mix, uint32_t *index);

static uint32_t rebase_template(struct mix *mix, uint32_t index)
{
    struct builder *builder = mix->builder;
    struct program_template template =
        *(struct program_template *)builder_at(builder, SECTION_TEMPLATE, index);
    uint32_t first = builder_add(builder, SECTION_PART, template.part_count);
    for (uint32_t i = 0; i < template.part_count && !builder->error; i++) {
        struct program_part part =
            *(struct program_part *)builder_at(builder, SECTION_PART, template.part_first + i);
        if (part.slot != PROGRAM_SLOT_NONE)
            part.slot = (uint16_t)(part.slot + mix->b.slot_count);
        *(struct program_part *)builder_at(builder, SECTION_PART, first + i) = part;
    }
    template.part_first = first;
    uint32_t copy = builder_add(builder, SECTION_TEMPLATE, 1);
    if (!builder->error)
        *(struct program_template *)builder_at(builder, SECTION_TEMPLATE, copy) = template;
    return copy;
}

bool rebase_op(struct mix *mix, struct program_op *op)
{
    if (mix->b.slot_count == 0)
        return true;
    if (op->slot != PROGRAM_SLOT_NONE)
        op->slot = (uint16_t)(op->slot + mix->b.slot_count);
    if (op->template != PROGRAM_NONE)
        op->template = rebase_template(mix, op->template);
    if (op->action == ACTION_RESIDUE || op->action == ACTION_JOIN)
        return rebase_shared(mix, &op->table);
    return true;
}

/* A table that uses the slots of the one around it. */
static bool rebase_shared(struct mix *mix, uint32_t *index)
{
    struct builder *builder = mix->builder;
    struct program_table table =
        *(struct program_table *)builder_at(builder, SECTION_TABLE, *index);
    if (builder->error)
        return false;
    uint32_t first = builder_add(builder, SECTION_OP, table.op_count);
    for (uint32_t i = 0; i < table.op_count && !builder->error; i++) {
        struct program_op op = fuse_op_at(builder, table.op_first + i);
        if (!fuse_knows_op(&op) || !rebase_op(mix, &op))
            return false;
        if (!builder->error)
            *(struct program_op *)builder_at(builder, SECTION_OP, first + i) = op;
    }
    table.op_first = first;
    table.slot_count += mix->b.slot_count;
    *index = builder_add(builder, SECTION_TABLE, 1);
    if (!builder->error)
        *(struct program_table *)builder_at(builder, SECTION_TABLE, *index) = table;
    return !builder->error;
}

static bool rebase_node(struct mix *mix, uint32_t from, uint32_t to, unsigned level)
{
    struct builder *builder = mix->builder;
    if (builder->error || level > PROGRAM_PATH_MAX)
        return false;
    struct program_node node = *(struct program_node *)builder_at(builder, SECTION_NODE, from);
    uint32_t leaves = builder_add(builder, SECTION_EMIT, node.leaf_count);
    uint32_t children = builder_add(builder, SECTION_NODE, node.child_count);
    for (uint32_t i = 0; i < node.leaf_count && !builder->error; i++) {
        struct program_emit leaf = fuse_emit_at(builder, node.leaf_first + i);
        leaf.slot = (uint16_t)(leaf.slot + mix->b.slot_count);
        *(struct program_emit *)builder_at(builder, SECTION_EMIT, leaves + i) = leaf;
    }
    for (uint32_t i = 0; i < node.child_count; i++)
        if (!rebase_node(mix, node.child_first + i, children + i, level + 1))
            return false;
    node.leaf_first = leaves;
    node.child_first = children;
    if (!rebase_shared(mix, &node.table))
        return false;
    *(struct program_node *)builder_at(builder, SECTION_NODE, to) = node;
    return true;
}

bool rebase_emit(struct mix *mix, struct program_emit *emit)
{
    if (mix->b.slot_count == 0)
        return true;
    emit->slot = (uint16_t)(emit->slot + mix->b.slot_count);
    if (emit->template != PROGRAM_NONE)
        emit->template = rebase_template(mix, emit->template);
    if (emit->kind != EMIT_GATHER)
        return true;
    uint32_t node = emit->node;
    emit->node = builder_add(mix->builder, SECTION_NODE, 1);
    return rebase_node(mix, node, emit->node, 0);
}
