/*
 * The identity plan, from the descriptors that protoc-gen-c has compiled into this program: one
 * table for each message type that the methods reach, every op VERBATIM. Running it is a copy and
 * then a check of the copy.
 *
 * The descriptors are our own program's and trusted, but a type may refer to itself: a table is
 * reserved for a type when it is first met, and filled later, from a list, so that nothing
 * recurses.
 */
#include "translate/program.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

struct types {
    const ProtobufCMessageDescriptor **list; /* list[i] has table i */
    size_t count, capacity;
};

enum kind program_kind(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
        return KIND_INT32;
    case PROTOBUF_C_TYPE_SINT32:
        return KIND_SINT32;
    case PROTOBUF_C_TYPE_SFIXED32:
        return KIND_SFIXED32;
    case PROTOBUF_C_TYPE_INT64:
        return KIND_INT64;
    case PROTOBUF_C_TYPE_SINT64:
        return KIND_SINT64;
    case PROTOBUF_C_TYPE_SFIXED64:
        return KIND_SFIXED64;
    case PROTOBUF_C_TYPE_UINT32:
        return KIND_UINT32;
    case PROTOBUF_C_TYPE_FIXED32:
        return KIND_FIXED32;
    case PROTOBUF_C_TYPE_UINT64:
        return KIND_UINT64;
    case PROTOBUF_C_TYPE_FIXED64:
        return KIND_FIXED64;
    case PROTOBUF_C_TYPE_FLOAT:
        return KIND_FLOAT;
    case PROTOBUF_C_TYPE_DOUBLE:
        return KIND_DOUBLE;
    case PROTOBUF_C_TYPE_BOOL:
        return KIND_BOOL;
    case PROTOBUF_C_TYPE_ENUM:
        return KIND_ENUM;
    case PROTOBUF_C_TYPE_STRING:
        return KIND_STRING;
    case PROTOBUF_C_TYPE_BYTES:
        return KIND_BYTES;
    case PROTOBUF_C_TYPE_MESSAGE:
        return KIND_MESSAGE;
    }
    return KIND_BYTES;
}

/* The table of a type, reserved if it is new. */
static uint32_t table_of(struct builder *builder, struct types *types,
                         const ProtobufCMessageDescriptor *type)
{
    for (size_t i = 0; i < types->count; i++)
        if (types->list[i] == type)
            return (uint32_t)i;
    if (types->count == types->capacity) {
        size_t capacity = 2 * types->capacity + 16;
        const ProtobufCMessageDescriptor **list = realloc(types->list, capacity * sizeof(*list));
        if (!list) {
            builder->error = -ENOMEM;
            return 0;
        }
        types->list = list;
        types->capacity = capacity;
    }
    types->list[types->count++] = type;
    return builder_add(builder, SECTION_TABLE, 1);
}

static int fill_table(struct builder *builder, struct types *types, uint32_t index,
                      struct error_text *error)
{
    const ProtobufCMessageDescriptor *type = types->list[index];
    if (type->n_fields > WIRE_DECLARED_MAX)
        return error_set(error, -E2BIG, "%s: %u fields, the limit is %d", type->name,
                         type->n_fields, WIRE_DECLARED_MAX);
    _cleanup_(freep) struct program_op *ops = calloc(type->n_fields + 1, sizeof(*ops));
    if (!ops)
        return error_set(error, -ENOMEM, "out of memory while making a plan");
    uint32_t required = 0;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        ops[i] = program_op_default(field->id, program_kind(field->type));
        if (field->label == PROTOBUF_C_LABEL_REPEATED)
            ops[i].flags |= OP_REPEATED;
        if (field->label == PROTOBUF_C_LABEL_REQUIRED) {
            if (required == PROGRAM_REQUIRED_MAX)
                return error_set(error, -E2BIG, "%s: more than %d required fields", type->name,
                                 PROGRAM_REQUIRED_MAX);
            ops[i].required = (uint8_t)required++;
        }
        if (field->type == PROTOBUF_C_TYPE_MESSAGE)
            ops[i].table = table_of(builder, types, field->descriptor);
    }
    builder_set_ops(builder, index, ops, type->n_fields);
    struct program_table *table = builder_at(builder, SECTION_TABLE, index);
    table->flags = TABLE_VERBATIM;
    table->required_count = required;
    table->source_id = table->target_id = program_type_id(type->name);
    table->restore = PROGRAM_NONE;
    return 0;
}

int plan_identity(const ProtobufCServiceDescriptor *service, enum plan_payload payload,
                  struct plan **ret_plan, struct error_text *error)
{
    if (service->n_methods > PLAN_ENTRY_MAX)
        return error_set(error, -E2BIG, "%s: %u methods, the limit is %d", service->name,
                         service->n_methods, PLAN_ENTRY_MAX);
    _cleanup_(builder_deinit) struct builder builder = {0};
    struct types types = {0};
    builder_add(&builder, SECTION_ENTRY, service->n_methods);
    for (unsigned i = 0; i < service->n_methods; i++) {
        const ProtobufCMethodDescriptor *method = &service->methods[i];
        uint32_t table =
            table_of(&builder, &types, payload == PLAN_REQUESTS ? method->input : method->output);
        struct program_entry *entry = builder_at(&builder, SECTION_ENTRY, i);
        *entry = (struct program_entry){i, table};
    }
    int r = 0;
    for (uint32_t i = 0; i < types.count && r == 0 && !builder.error; i++)
        r = fill_table(&builder, &types, i, error);
    free(types.list);
    if (r < 0)
        return r;
    return builder_finish(&builder, PLAN_IDENTITY, ret_plan, error);
}
