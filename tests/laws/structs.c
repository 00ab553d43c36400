/*
 * What protoc-gen-c would generate for a version, made at run time: descriptors of messages with
 * the same labels, defaults and layout rules (a `has_` or `n_` beside the value, one union for a
 * oneof), so that plans can end in structs for versions that no compiler has seen.
 *
 * A generated type has a function that makes an empty message, and is given nothing but the memory.
 * Here a function cannot know its type by itself: there are as many functions as types can be in
 * use at once, each with a place in a table.
 */
#include "laws.h"

#include <stdlib.h>
#include <string.h>

#define TYPE_MAX 256

static const ProtobufCMessageDescriptor *types_in_use[TYPE_MAX];

static size_t scalar_bytes(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    default:
        return 4;
    }
}

static void init_message(const ProtobufCMessageDescriptor *type, ProtobufCMessage *message)
{
    memset(message, 0, type->sizeof_message);
    message->descriptor = type;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        uint8_t *member = (uint8_t *)message + field->offset;
        if (!field->default_value || field->label == PROTOBUF_C_LABEL_REPEATED ||
            (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
            continue;
        if (field->type == PROTOBUF_C_TYPE_STRING)
            memcpy(member, &field->default_value, sizeof(field->default_value));
        else
            memcpy(member, field->default_value, scalar_bytes(field->type));
    }
}

#define INIT(n)                                                                                    \
    static void init_##n(ProtobufCMessage *message)                                                \
    {                                                                                              \
        init_message(types_in_use[0x##n], message);                                                \
    }
#define INIT_16(h)                                                                                 \
    INIT(h##0)                                                                                     \
    INIT(h##1)                                                                                     \
    INIT(h##2)                                                                                     \
    INIT(h##3)                                                                                     \
    INIT(h##4)                                                                                     \
    INIT(h##5) INIT(h##6) INIT(h##7) INIT(h##8) INIT(h##9) INIT(h##a) INIT(h##b) INIT(h##c)        \
        INIT(h##d) INIT(h##e) INIT(h##f)
INIT_16(0)
INIT_16(1)
INIT_16(2)
INIT_16(3)
INIT_16(4)
INIT_16(5) INIT_16(6) INIT_16(7) INIT_16(8) INIT_16(9) INIT_16(a) INIT_16(b) INIT_16(c) INIT_16(d)
    INIT_16(e) INIT_16(f)

#define NAME_16(h)                                                                                 \
    init_##h##0, init_##h##1, init_##h##2, init_##h##3, init_##h##4, init_##h##5, init_##h##6,     \
        init_##h##7, init_##h##8, init_##h##9, init_##h##a, init_##h##b, init_##h##c, init_##h##d, \
        init_##h##e, init_##h##f
        static const ProtobufCMessageInit inits[TYPE_MAX] = {
            NAME_16(0), NAME_16(1), NAME_16(2), NAME_16(3), NAME_16(4), NAME_16(5),
            NAME_16(6), NAME_16(7), NAME_16(8), NAME_16(9), NAME_16(a), NAME_16(b),
            NAME_16(c), NAME_16(d), NAME_16(e), NAME_16(f),
};

struct structs {
    struct arena arena;
    ProtobufCMessageDescriptor *types; /* by index of the schema's message */
    size_t type_count;
    unsigned first_init;
    ProtobufCServiceDescriptor *service;
};

static unsigned inits_in_use;

/* ---- Fields ---- */

static ProtobufCType type_of(const struct schema_field *field)
{
    static const ProtobufCType types[] = {
        [TYPE(DOUBLE)] = PROTOBUF_C_TYPE_DOUBLE,     [TYPE(FLOAT)] = PROTOBUF_C_TYPE_FLOAT,
        [TYPE(INT64)] = PROTOBUF_C_TYPE_INT64,       [TYPE(UINT64)] = PROTOBUF_C_TYPE_UINT64,
        [TYPE(INT32)] = PROTOBUF_C_TYPE_INT32,       [TYPE(FIXED64)] = PROTOBUF_C_TYPE_FIXED64,
        [TYPE(FIXED32)] = PROTOBUF_C_TYPE_FIXED32,   [TYPE(BOOL)] = PROTOBUF_C_TYPE_BOOL,
        [TYPE(STRING)] = PROTOBUF_C_TYPE_STRING,     [TYPE(MESSAGE)] = PROTOBUF_C_TYPE_MESSAGE,
        [TYPE(BYTES)] = PROTOBUF_C_TYPE_BYTES,       [TYPE(UINT32)] = PROTOBUF_C_TYPE_UINT32,
        [TYPE(ENUM)] = PROTOBUF_C_TYPE_ENUM,         [TYPE(SFIXED32)] = PROTOBUF_C_TYPE_SFIXED32,
        [TYPE(SFIXED64)] = PROTOBUF_C_TYPE_SFIXED64, [TYPE(SINT32)] = PROTOBUF_C_TYPE_SINT32,
        [TYPE(SINT64)] = PROTOBUF_C_TYPE_SINT64,
    };
    return types[field->type];
}

static const void *default_of(struct arena *arena, const struct schema_field *field, bool proto3)
{
    if (field->type == TYPE(STRING) && proto3)
        return &protobuf_c_empty_string;
    if (!field->default_value)
        return NULL;
    if (field->type == TYPE(STRING)) {
        char *text = arena_alloc(arena, strlen(field->default_value) + 1);
        strcpy(text, field->default_value);
        return text;
    }
    int64_t *value = arena_alloc(arena, sizeof(*value));
    *value = strcmp(field->default_value, "true") == 0 ? 1 : strtoll(field->default_value, NULL, 0);
    return value; /* little-endian: of four bytes as well */
}

static void lay_out_field(struct structs *structs, const struct schema_field *field, bool proto3,
                          unsigned *oneofs, unsigned *size, ProtobufCFieldDescriptor *out)
{
    bool pointer = field->type == TYPE(STRING) || field->type == TYPE(MESSAGE);
    *out = (ProtobufCFieldDescriptor){
        .name = field->name,
        .id = field->number,
        .type = type_of(field),
        .label = field->repeated                                    ? PROTOBUF_C_LABEL_REPEATED
                 : field->required                                  ? PROTOBUF_C_LABEL_REQUIRED
                 : !proto3                                          ? PROTOBUF_C_LABEL_OPTIONAL
                 : field->oneof >= 0 || !field->presence || pointer ? PROTOBUF_C_LABEL_NONE
                                                                    : PROTOBUF_C_LABEL_OPTIONAL,
        .descriptor = field->message ? &structs->types[field->message->index] : NULL,
        .default_value = default_of(&structs->arena, field, proto3),
    };
    if (field->type == TYPE(STRING) && proto3 && field->presence && field->oneof < 0) {
        out->label = PROTOBUF_C_LABEL_OPTIONAL; /* absent is NULL */
        out->default_value = NULL;
    }
    if (field->repeated && field->packed)
        out->flags |= PROTOBUF_C_FIELD_FLAG_PACKED;
    if (field->oneof >= 0) {
        unsigned *at = &oneofs[field->oneof];
        if (*at == 0) {
            *at = *size;
            *size += 24; /* the case, and room for the largest member */
        }
        out->flags |= PROTOBUF_C_FIELD_FLAG_ONEOF;
        out->quantifier_offset = *at;
        out->offset = *at + 8;
        return;
    }
    bool has = out->label == PROTOBUF_C_LABEL_OPTIONAL && !pointer;
    if (field->repeated || has) {
        out->quantifier_offset = *size;
        *size += 8;
    }
    out->offset = *size;
    *size += 16;
}

/* ---- Types ---- */

static void lay_out_ranges(struct structs *structs, ProtobufCMessageDescriptor *type)
{
    ProtobufCIntRange *ranges =
        arena_alloc(&structs->arena, (type->n_fields + 1) * sizeof(*ranges));
    unsigned count = 0;
    for (unsigned i = 0; i < type->n_fields; i++)
        if (i == 0 || type->fields[i].id != type->fields[i - 1].id + 1)
            ranges[count++] = (ProtobufCIntRange){(int)type->fields[i].id, i};
    ranges[count] = (ProtobufCIntRange){0, type->n_fields};
    type->n_field_ranges = count;
    type->field_ranges = ranges;
}

static void lay_out_type(struct structs *structs, const struct schema_message *message)
{
    ProtobufCMessageDescriptor *type = &structs->types[message->index];
    bool proto3 = message->file->syntax && strcmp(message->file->syntax, "proto3") == 0;
    unsigned size = (sizeof(ProtobufCMessage) + 7) & ~7u;
    unsigned *oneofs = arena_alloc(&structs->arena, message->oneof_count * sizeof(*oneofs) + 1);
    ProtobufCFieldDescriptor *fields =
        arena_alloc(&structs->arena, message->field_count * sizeof(*fields) + 1);
    for (size_t i = 0; i < message->field_count; i++)
        lay_out_field(structs, &message->fields[i], proto3, oneofs, &size, &fields[i]);
    *type = (ProtobufCMessageDescriptor){
        .magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
        .name = message->name,
        .short_name = message->local,
        .c_name = message->local,
        .package_name = message->package,
        .sizeof_message = size,
        .n_fields = (unsigned)message->field_count,
        .fields = fields,
        .message_init = inits[structs->first_init + message->index],
    };
    lay_out_ranges(structs, type);
    types_in_use[structs->first_init + message->index] = type;
}

struct structs *structs_new(const struct schema *schema)
{
    size_t count;
    const struct schema_message *const *messages = schema_messages(schema, &count);
    const struct schema_service *service = schema_service(schema);
    struct structs *structs = must_alloc(sizeof(*structs));
    if (inits_in_use + count > TYPE_MAX)
        die("more than %d types of structs at once", TYPE_MAX);
    structs->first_init = inits_in_use;
    structs->type_count = count;
    inits_in_use += (unsigned)count;
    structs->types = arena_alloc(&structs->arena, count * sizeof(*structs->types));
    for (size_t i = 0; i < count; i++)
        lay_out_type(structs, messages[i]);
    ProtobufCMethodDescriptor *method = arena_alloc(&structs->arena, sizeof(*method));
    *method = (ProtobufCMethodDescriptor){
        .name = service->methods[0].name,
        .input = &structs->types[service->methods[0].input->index],
        .output = &structs->types[service->methods[0].output->index],
    };
    structs->service = arena_alloc(&structs->arena, sizeof(*structs->service));
    *structs->service = (ProtobufCServiceDescriptor){
        .magic = PROTOBUF_C__SERVICE_DESCRIPTOR_MAGIC,
        .name = service->name,
        .n_methods = 1,
        .methods = method,
    };
    return structs;
}

/* The last one first. */
struct structs *structs_free(struct structs *structs)
{
    if (!structs)
        return NULL;
    inits_in_use -= (unsigned)structs->type_count;
    arena_free(&structs->arena);
    free(structs);
    return NULL;
}

const ProtobufCServiceDescriptor *structs_service(const struct structs *structs)
{
    return structs->service;
}
