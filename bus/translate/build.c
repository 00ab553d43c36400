/*
 * Putting a program together.
 *
 * The identity's maker (identity.c) and the compiler (compile.c, rules.c) append records to growing
 * sections and refer to them by index; nothing is laid out before the end. An allocation that
 * fails, or a program that grows past PLAN_BYTES_MAX, sets `error` and turns every later call into
 * one that does nothing harmful, so that a maker checks once, at the end. What was built goes
 * through the same verifier as a program from outside.
 */
#include "translate/program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const size_t program_element_bytes[SECTION_COUNT] = {
    [SECTION_ENTRY] = sizeof(struct program_entry),
    [SECTION_TABLE] = sizeof(struct program_table),
    [SECTION_OP] = sizeof(struct program_op),
    [SECTION_DENSE] = sizeof(uint16_t),
    [SECTION_EMIT] = sizeof(struct program_emit),
    [SECTION_CONVERT] = sizeof(struct program_convert),
    [SECTION_MAP] = sizeof(struct program_map),
    [SECTION_PAIR] = sizeof(struct program_pair),
    [SECTION_TEMPLATE] = sizeof(struct program_template),
    [SECTION_PART] = sizeof(struct program_part),
    [SECTION_NODE] = sizeof(struct program_node),
    [SECTION_OWNER] = sizeof(struct program_owner),
    [SECTION_MEMBER] = sizeof(struct program_member),
    [SECTION_NAME] = sizeof(struct program_name),
    [SECTION_STEP] = sizeof(struct program_step),
    [SECTION_TEXT] = 1,
};

uint32_t program_type_id(const char *name)
{
    uint32_t hash = UINT32_C(2166136261);
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * UINT32_C(16777619);
    return hash;
}

enum wire_type program_wire_type(enum kind kind)
{
    switch (kind) {
    case KIND_FIXED32:
    case KIND_SFIXED32:
    case KIND_FLOAT:
        return WIRE_32BIT;
    case KIND_FIXED64:
    case KIND_SFIXED64:
    case KIND_DOUBLE:
        return WIRE_64BIT;
    case KIND_STRING:
    case KIND_BYTES:
    case KIND_MESSAGE:
        return WIRE_BYTES;
    default:
        return WIRE_VARINT;
    }
}

void builder_deinit(struct builder *builder)
{
    for (size_t i = 0; i < SECTION_COUNT; i++)
        free(builder->sections[i].data);
    memset(builder, 0, sizeof(*builder));
}

uint32_t builder_add(struct builder *builder, enum section section, size_t count)
{
    size_t size = program_element_bytes[section];
    size_t have = builder->sections[section].count, capacity = builder->sections[section].capacity;
    if (builder->error || count == 0)
        return (uint32_t)have;
    size_t max = builder->bytes_max ? builder->bytes_max : PLAN_BYTES_MAX;
    if (count > max / size - have) {
        builder->error = -E2BIG;
        return 0;
    }
    if (have + count > capacity) {
        capacity = 2 * (have + count) + 16;
        uint8_t *data = realloc(builder->sections[section].data, capacity * size);
        if (!data) {
            builder->error = -ENOMEM;
            return 0;
        }
        builder->sections[section].data = data;
        builder->sections[section].capacity = capacity;
    }
    memset(builder->sections[section].data + have * size, 0, count * size);
    builder->sections[section].count = have + count;
    return (uint32_t)have;
}

void *builder_at(struct builder *builder, enum section section, uint32_t index)
{
    /* After a failure there may be nothing: a place to write to that nobody reads. */
    static _Thread_local union {
        struct program_table table;
        struct program_op op;
        struct program_emit emit;
        struct program_convert convert;
        struct program_map map;
        uint64_t align;
    } nowhere;
    if (builder->error)
        return &nowhere;
    return builder->sections[section].data + index * program_element_bytes[section];
}

struct program_op program_op_default(uint32_t number, enum kind kind)
{
    enum wire_type wire = program_wire_type(kind);
    return (struct program_op){
        .number = number,
        .tag = number << 3 | (uint32_t)wire,
        .action = ACTION_VERBATIM,
        .kind = (uint8_t)kind,
        .written = (uint8_t)kind,
        .wire = (uint8_t)wire,
        .required = PROGRAM_REQUIRED_NONE,
        .slot = PROGRAM_SLOT_NONE,
        .table = PROGRAM_NONE,
        .convert = PROGRAM_NONE,
        .template = PROGRAM_NONE,
    };
}

static int compare_ops(const void *a, const void *b)
{
    const struct program_op *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

void builder_index_ops(struct builder *builder, uint32_t table, uint32_t first, size_t count)
{
    uint32_t dense_count = 0;
    for (uint32_t i = 0; i < count && !builder->error; i++) {
        const struct program_op *op = builder_at(builder, SECTION_OP, first + i);
        if (op->number < PROGRAM_DENSE_MAX)
            dense_count = op->number + 1;
    }
    uint32_t dense_first = builder_add(builder, SECTION_DENSE, dense_count);
    if (builder->error)
        return;
    for (uint32_t i = 0; i < count; i++) {
        const struct program_op *op = builder_at(builder, SECTION_OP, first + i);
        if (op->number < dense_count)
            *(uint16_t *)builder_at(builder, SECTION_DENSE, dense_first + op->number) =
                (uint16_t)(i + 1);
    }
    struct program_table *t = builder_at(builder, SECTION_TABLE, table);
    t->op_first = first;
    t->op_count = (uint32_t)count;
    t->dense_first = dense_first;
    t->dense_count = dense_count;
}

void builder_set_ops(struct builder *builder, uint32_t table, struct program_op *ops, size_t count)
{
    if (count > 1)
        qsort(ops, count, sizeof(*ops), compare_ops);
    uint32_t first = builder_add(builder, SECTION_OP, count);
    if (!builder->error && count > 0)
        memcpy(builder_at(builder, SECTION_OP, first), ops, count * sizeof(*ops));
    builder_index_ops(builder, table, first, count);
}

/* Whether running it may need room for what a stage has written. */
static uint8_t program_flags(struct builder *builder)
{
    bool staged = false;
    for (uint32_t i = 0; i < builder->sections[SECTION_TABLE].count; i++)
        staged |= ((const struct program_table *)builder_at(builder, SECTION_TABLE, i))->level > 0;
    return staged ? PROGRAM_STAGED : 0;
}

int builder_finish(struct builder *builder, enum plan_class class, struct plan **ret_plan,
                   struct error_text *error)
{
    struct program_header header = {
        .magic = PROGRAM_MAGIC,
        .version = PROGRAM_VERSION,
        .class = (uint8_t) class,
        .flags = program_flags(builder),
    };
    size_t bytes = sizeof(header);
    for (size_t i = 0; i < SECTION_COUNT; i++) {
        header.count[i] = (uint32_t)builder->sections[i].count;
        bytes += (builder->sections[i].count * program_element_bytes[i] + 7) & ~(size_t)7;
    }
    if (builder->error == -ENOMEM)
        return error_set(error, -ENOMEM, "out of memory while making a plan");
    if (builder->error || bytes > PLAN_BYTES_MAX)
        return error_set(error, -E2BIG,
                         "the plan would be larger than %u bytes: the interface has too many types",
                         PLAN_BYTES_MAX);
    header.bytes = (uint32_t)bytes;
    uint8_t *program = calloc(1, bytes);
    if (!program)
        return error_set(error, -ENOMEM, "out of memory while making a plan");
    memcpy(program, &header, sizeof(header));
    size_t at = sizeof(header);
    for (size_t i = 0; i < SECTION_COUNT; i++) {
        size_t size = builder->sections[i].count * program_element_bytes[i];
        if (size > 0)
            memcpy(program + at, builder->sections[i].data, size);
        at += (size + 7) & ~(size_t)7;
    }
    int r = plan_load(program, bytes, ret_plan, error);
    free(program);
    return r;
}
