/*
 * Structs of protobuf-c filled at random, by their descriptors: with what the wire cannot say, but
 * a program can. Texts that are NULL, empty, or the default by its address; has_ without a value
 * and a value without has_; cases that name no member; NaN, -0.0, negative enums; bytes without
 * data; arrays that are empty but not NULL. As protobuf-c wants it, there is no NULL in arrays.
 */
#ifndef PARLEY_TESTS_SUPPORT_RANDOM_STRUCT_H
#define PARLEY_TESTS_SUPPORT_RANDOM_STRUCT_H

#include <protobuf-c/protobuf-c.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "same_structs.h"

/* Where the structs are, until `used` is set to 0. */
static alignas(16) uint8_t random_struct_block[64 << 20];

struct random_structs {
    uint64_t random;
    uint32_t large_of_1000; /* texts, bytes and arrays that are long */
    size_t used;
};

static inline void *random_struct_alloc(struct random_structs *structs, size_t bytes)
{
    bytes = (bytes + 15) & ~(size_t)15;
    if (bytes > sizeof(random_struct_block) - structs->used)
        abort();
    void *memory = random_struct_block + structs->used;
    structs->used += bytes;
    return memory;
}

static inline size_t random_struct_length(struct random_structs *structs, uint32_t most)
{
    if (random_below(&structs->random, 1000) < structs->large_of_1000)
        return random_below(&structs->random, 100000);
    return random_below(&structs->random, random_below(&structs->random, 4) ? most / 4 : most);
}

static inline uint64_t random_struct_bits(struct random_structs *structs)
{
    static const uint64_t odd[] = {0,
                                   UINT64_C(0x8000000000000000),
                                   UINT64_C(0x80000000),
                                   UINT64_MAX,
                                   UINT32_MAX,
                                   UINT64_C(0x7ff8000000000001),
                                   UINT64_C(0x7fc00001),
                                   127,
                                   128,
                                   16383,
                                   16384};
    uint32_t dice = random_below(&structs->random, 4);
    if (dice == 0)
        return odd[random_below(&structs->random, sizeof(odd) / sizeof(odd[0]))];
    return random_next(&structs->random) >> random_below(&structs->random, dice == 1 ? 64 : 32);
}

static inline ProtobufCMessage *random_struct(struct random_structs *structs,
                                              const ProtobufCMessageDescriptor *type,
                                              unsigned depth);

static inline void random_struct_value(struct random_structs *structs,
                                       const ProtobufCFieldDescriptor *field, unsigned depth,
                                       bool may_be_null, void *at)
{
    size_t bytes = struct_element_bytes(field->type);
    uint64_t bits = random_struct_bits(structs);
    bool null = may_be_null && random_below(&structs->random, 4) == 0;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        ProtobufCMessage *message = null ? NULL : random_struct(structs, field->descriptor, depth);
        memcpy(at, &message, sizeof(message));
    } else if (field->type == PROTOBUF_C_TYPE_STRING) {
        size_t length = random_struct_length(structs, 140);
        char *text = random_struct_alloc(structs, length + 1);
        memset(text, 'a' + (int)random_below(&structs->random, 26), length);
        text[length] = '\0';
        if (null)
            text = NULL;
        else if (may_be_null && random_below(&structs->random, 4) == 0)
            text = (char *)(uintptr_t)field->default_value;
        memcpy(at, &text, sizeof(text));
    } else if (field->type == PROTOBUF_C_TYPE_BYTES) {
        ProtobufCBinaryData data = {.len = random_struct_length(structs, 300)};
        data.data = random_struct_alloc(structs, data.len + 1);
        memset(data.data, (int)bits, data.len);
        if (data.len == 0 && null)
            data.data = NULL;
        memcpy(at, &data, sizeof(data));
    } else {
        memcpy(at, &bits, bytes);
    }
}

static inline void random_struct_array(struct random_structs *structs,
                                       const ProtobufCFieldDescriptor *field, unsigned depth,
                                       uint8_t *message)
{
    bool message_type = field->type == PROTOBUF_C_TYPE_MESSAGE;
    size_t bytes = struct_element_bytes(field->type), count = 0;
    if (message_type)
        count = depth > 0 ? random_below(&structs->random, 4) : 0;
    else if (field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_BYTES)
        count = random_below(&structs->random, 6);
    else
        count = random_struct_length(structs, 60);
    uint8_t *array = random_struct_alloc(structs, count * bytes + 1);
    for (size_t i = 0; i < count; i++)
        random_struct_value(structs, field, depth, false, array + i * bytes);
    memcpy(message + field->quantifier_offset, &count, sizeof(count));
    memcpy(message + field->offset, &array, sizeof(array));
}

static inline void random_struct_unknown(struct random_structs *structs, ProtobufCMessage *message)
{
    message->n_unknown_fields = 1 + random_below(&structs->random, 3);
    message->unknown_fields =
        random_struct_alloc(structs, message->n_unknown_fields * sizeof(*message->unknown_fields));
    for (unsigned i = 0; i < message->n_unknown_fields; i++) {
        ProtobufCMessageUnknownField *field = &message->unknown_fields[i];
        field->tag = 1 + random_below(&structs->random, 536870911);
        field->wire_type = PROTOBUF_C_WIRE_TYPE_32BIT; /* it is not asked */
        field->len = random_struct_length(structs, 40);
        field->data = random_struct_alloc(structs, field->len + 1);
        memset(field->data, 0x55, field->len);
    }
}

/* @depth: of messages in it. */
static inline ProtobufCMessage *random_struct(struct random_structs *structs,
                                              const ProtobufCMessageDescriptor *type,
                                              unsigned depth)
{
    ProtobufCMessage *message = random_struct_alloc(structs, type->sizeof_message);
    type->message_init(message);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        bool oneof = field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
        if (random_below(&structs->random, 4) == 0)
            continue;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            random_struct_array(structs, field, depth ? depth - 1 : 0, (uint8_t *)message);
            continue;
        }
        if (oneof || (field->label == PROTOBUF_C_LABEL_OPTIONAL && field->quantifier_offset)) {
            uint32_t there = oneof ? field->id : random_below(&structs->random, 3);
            if (oneof && random_below(&structs->random, 2))
                continue; /* else the last member has it */
            memcpy((uint8_t *)message + field->quantifier_offset, &there, sizeof(there));
        }
        if (field->type != PROTOBUF_C_TYPE_MESSAGE || depth > 0)
            random_struct_value(structs, field, depth ? depth - 1 : 0, true,
                                (uint8_t *)message + field->offset);
        else if (oneof)
            memset((uint8_t *)message + field->offset, 0, sizeof(void *));
    }
    if (random_below(&structs->random, 6) == 0)
        random_struct_unknown(structs, message);
    return message;
}

#endif
