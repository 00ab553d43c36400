/* Structs of protobuf-c, compared field by field: everything that a program can see of them. */
#ifndef PARLEY_TESTS_SUPPORT_SAME_STRUCTS_H
#define PARLEY_TESTS_SUPPORT_SAME_STRUCTS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <protobuf-c/protobuf-c.h>

static inline bool same_structs(const ProtobufCMessage *a, const ProtobufCMessage *b);

static inline bool same_bytes(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
    /* Empty ones have no data, or a default's. */
    return a->len == b->len && (a->len > 0 ? memcmp(a->data, b->data, a->len) == 0
                                           : (a->data == NULL) == (b->data == NULL));
}

static inline size_t struct_element_bytes(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return 8;
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4;
    }
}

static inline bool same_values(ProtobufCType type, const void *a, const void *b)
{
    const void *const *x = a, *const *y = b;
    switch (type) {
    case PROTOBUF_C_TYPE_STRING:
        return *x == *y || (*x && *y && strcmp(*x, *y) == 0);
    case PROTOBUF_C_TYPE_MESSAGE:
        return *x == *y || (*x && *y && same_structs(*x, *y));
    case PROTOBUF_C_TYPE_BYTES:
        return same_bytes(a, b);
    default:
        return memcmp(a, b, struct_element_bytes(type)) == 0;
    }
}

static inline bool same_fields(const ProtobufCFieldDescriptor *field, const uint8_t *a,
                               const uint8_t *b)
{
    uint32_t had_a, had_b;
    memcpy(&had_a, a + field->quantifier_offset, 4);
    memcpy(&had_b, b + field->quantifier_offset, 4);
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t count_a, count_b, bytes = struct_element_bytes(field->type);
        const uint8_t *array_a, *array_b;
        memcpy(&count_a, a + field->quantifier_offset, sizeof(count_a));
        memcpy(&count_b, b + field->quantifier_offset, sizeof(count_b));
        memcpy(&array_a, a + field->offset, sizeof(array_a));
        memcpy(&array_b, b + field->offset, sizeof(array_b));
        if (count_a != count_b)
            return false;
        for (size_t i = 0; i < count_a; i++)
            if (!same_values(field->type, array_a + i * bytes, array_b + i * bytes))
                return false;
        return true;
    }
    if (field->quantifier_offset != 0 && had_a != had_b)
        return false;
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) && had_a != field->id)
        return true;
    return same_values(field->type, a + field->offset, b + field->offset);
}

/* Everything that a program can see of two messages. */
static inline bool same_structs(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    if (a->descriptor != b->descriptor || a->n_unknown_fields != b->n_unknown_fields)
        return false;
    for (unsigned i = 0; i < a->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *x = &a->unknown_fields[i], *y = &b->unknown_fields[i];
        if (x->tag != y->tag || x->wire_type != y->wire_type || x->len != y->len ||
            memcmp(x->data, y->data, x->len) != 0)
            return false;
    }
    for (unsigned i = 0; i < a->descriptor->n_fields; i++)
        if (!same_fields(&a->descriptor->fields[i], (const uint8_t *)a, (const uint8_t *)b))
            return false;
    return true;
}

#endif
