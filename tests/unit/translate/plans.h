/* Plans for tests: of two sets, run both ways, and messages compared as what protobuf-c reads. */
#ifndef PARLEY_TESTS_TRANSLATE_PLANS_H
#define PARLEY_TESTS_TRANSLATE_PLANS_H

#include "support/test.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../schema/sets.h"
#include "base/random.h"
#include "catalog_v1.pb-c.h"
#include "catalog_v2.pb-c.h"
#include "shapes_v1.pb-c.h"
#include "shapes_v2.pb-c.h"
#include "translate/plan.h"

/* Two versions of an interface with all plans between them. */
struct versions {
    struct schema *v1, *v2;
    struct plan *up_requests;   /* of a v1 client to a v2 service */
    struct plan *down_replies;  /* and back */
    struct plan *down_requests; /* of a v2 client to a v1 service */
    struct plan *up_replies;
};

static inline struct plan *compile(const struct schema *client, const struct schema *service,
                                   enum plan_payload payload)
{
    struct plan *plan = NULL;
    struct error_text error = {""};
    int r = plan_compile(client, service, payload, &plan, &error);
    if (r < 0)
        fail_msg("plan_compile: %d: %s", r, error.text);
    return plan;
}

static inline void versions_init(struct versions *versions, const char *v1, const char *v2)
{
    versions->v1 = schema_read(v1);
    versions->v2 = schema_read(v2);
    versions->up_requests = compile(versions->v1, versions->v2, PLAN_REQUESTS);
    versions->down_replies = compile(versions->v1, versions->v2, PLAN_REPLIES);
    versions->down_requests = compile(versions->v2, versions->v1, PLAN_REQUESTS);
    versions->up_replies = compile(versions->v2, versions->v1, PLAN_REPLIES);
}

static inline void versions_deinit(struct versions *versions)
{
    plan_unref(versions->up_requests);
    plan_unref(versions->down_replies);
    plan_unref(versions->down_requests);
    plan_unref(versions->up_replies);
    schema_unref(versions->v1);
    schema_unref(versions->v2);
}

struct bytes {
    uint8_t *data;
    size_t bytes;
};

static inline struct bytes bytes_of(const void *data, size_t bytes)
{
    struct bytes copy = {malloc(bytes + 1), bytes};
    assert_non_null(copy.data);
    if (bytes > 0)
        memcpy(copy.data, data, bytes);
    return copy;
}

static inline struct bytes pack(const void *message)
{
    struct bytes packed = {NULL, protobuf_c_message_get_packed_size(message)};
    packed.data = malloc(packed.bytes + 1);
    assert_non_null(packed.data);
    assert_int_equal(protobuf_c_message_pack(message, packed.data), packed.bytes);
    return packed;
}

/* Runs a plan in memory of exactly the sizes it was promised. */
static inline int run(const struct plan *plan, uint32_t entry, struct bytes in,
                      struct bytes *ret_out, struct plan_failure *ret_failure)
{
    size_t max = plan_output_bytes_max(plan, in.bytes);
    uint8_t *source = malloc(in.bytes + (in.bytes == 0)), *out = malloc(max + (max == 0));
    assert_non_null(source);
    assert_non_null(out);
    if (in.bytes > 0)
        memcpy(source, in.data, in.bytes);
    size_t bytes = 0;
    int r = plan_run(plan, entry, source, in.bytes, out, max, &bytes, ret_failure);
    free(source);
    if (r == 0)
        *ret_out = (struct bytes){out, bytes};
    else
        free(out);
    return r;
}

static inline struct bytes must_run(const struct plan *plan, uint32_t entry, struct bytes in)
{
    struct bytes out = {NULL, 0};
    struct plan_failure failure = {0, 0, "?"};
    int r = run(plan, entry, in, &out, &failure);
    if (r < 0)
        fail_msg("plan_run: %d at byte %zu, field %u: %s", r, failure.offset, failure.number,
                 failure.what);
    return out;
}

static inline void *must_unpack(const ProtobufCMessageDescriptor *type, struct bytes in)
{
    ProtobufCMessage *message = NULL;
    struct error_text error = {""};
    int r = wire_unpack(type, in.data, in.bytes, NULL, &message, &error);
    if (r < 0)
        fail_msg("wire_unpack: %d: %s", r, error.text);
    return message;
}

/* ---- Comparing ---- */

static inline struct bytes merged(const ProtobufCMessageDescriptor *type, struct bytes in);

/* Whether the two are different members of one oneof, so that one clears the other. */
static inline bool excludes(const ProtobufCFieldDescriptor *a, const ProtobufCFieldDescriptor *b)
{
    return a && b && a != b && (a->flags & b->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
           a->quantifier_offset == b->quantifier_offset;
}

/* Whether there is a record of the field in it. */
static inline bool has_record(const ProtobufCFieldDescriptor *field, struct wire_reader reader)
{
    while (reader.pos < reader.end) {
        uint32_t number = 0;
        enum wire_type type = WIRE_VARINT;
        assert_int_equal(wire_read_tag(&reader, &number, &type), 0);
        assert_int_equal(wire_skip(&reader, number, type), 0);
        if (number == field->id)
            return true;
    }
    return false;
}

/* All records of a singular message field, as one. */
static inline struct bytes merge_pieces(const ProtobufCMessageDescriptor *type_of,
                                        const ProtobufCFieldDescriptor *field, struct bytes in)
{
    struct bytes all = bytes_of(in.data, in.bytes); /* room enough */
    all.bytes = 0;
    struct wire_reader reader = {in.data, in.data + in.bytes};
    while (reader.pos < reader.end) {
        uint32_t number = 0;
        enum wire_type type = WIRE_VARINT;
        const uint8_t *data;
        size_t bytes;
        assert_int_equal(wire_read_tag(&reader, &number, &type), 0);
        struct wire_reader value = reader;
        assert_int_equal(wire_skip(&reader, number, type), 0);
        if (excludes(field, protobuf_c_message_descriptor_get_field(type_of, number)))
            all.bytes = 0;
        if (number != field->id)
            continue;
        assert_int_equal(wire_read_bytes(&value, &data, &bytes), 0);
        memcpy(all.data + all.bytes, data, bytes);
        all.bytes += bytes;
    }
    struct bytes one = merged(field->descriptor, all);
    free(all.data);
    return one;
}

/* The message with its pieces put together, as protobuf says. protobuf-c does not when it reads: of
 * a proto3 message in pieces it loses scalars and unknown fields of all pieces but the last. */
static inline struct bytes merged(const ProtobufCMessageDescriptor *type, struct bytes in)
{
    struct bytes out = {malloc(in.bytes * 2 + 64), 0};
    assert_non_null(out.data);
    uint8_t *end = out.data;
    struct wire_reader reader = {in.data, in.data + in.bytes};
    while (reader.pos < reader.end) {
        const uint8_t *at = reader.pos;
        uint32_t number = 0;
        enum wire_type wire = WIRE_VARINT;
        assert_int_equal(wire_read_tag(&reader, &number, &wire), 0);
        struct wire_reader value = reader;
        assert_int_equal(wire_skip(&reader, number, wire), 0);
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(type, number);
        if (!field || field->type != PROTOBUF_C_TYPE_MESSAGE) {
            memcpy(end, at, (size_t)(reader.pos - at));
            end += reader.pos - at;
            continue;
        }
        bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
        if (!repeated && has_record(field, reader))
            continue; /* where the last one is: another member of a oneof may come before */
        const uint8_t *data;
        size_t bytes;
        assert_int_equal(wire_read_bytes(&value, &data, &bytes), 0);
        struct bytes piece = {(uint8_t *)(uintptr_t)data, bytes};
        struct bytes one =
            repeated ? merged(field->descriptor, piece) : merge_pieces(type, field, in);
        end = wire_write_tag(end, number, WIRE_BYTES);
        end = wire_write_varint(end, one.bytes);
        memcpy(end, one.data, one.bytes);
        end += one.bytes;
        free(one.data);
    }
    out.bytes = (size_t)(end - out.data);
    return out;
}

/* What is read of it, packed again: equal for messages that are equal. */
static inline struct bytes canonical(const ProtobufCMessageDescriptor *type, struct bytes in)
{
    struct bytes whole = merged(type, in);
    void *message = must_unpack(type, whole);
    struct bytes packed = pack(message);
    wire_free(message);
    free(whole.data);
    return packed;
}

static inline bool same_message(const ProtobufCMessageDescriptor *type, struct bytes a,
                                struct bytes b)
{
    struct bytes x = canonical(type, a), y = canonical(type, b);
    bool same = x.bytes == y.bytes && memcmp(x.data, y.data, x.bytes) == 0;
    free(x.data);
    free(y.data);
    return same;
}

static inline void print_bytes(const char *what, struct bytes in)
{
    print_message("%s:", what);
    for (size_t i = 0; i < in.bytes; i++)
        print_message(" %02x", in.data[i]);
    print_message("\n");
}

/* ---- Random messages, on the wire: any order, duplicates, packed or not, unknown fields ---- */

#define MESSAGE_BYTES_MAX 65536

struct generator {
    uint64_t random;
    uint8_t *out;
    unsigned wild; /* of 100: values that may have no place in the other version */
};

static const char *const generator_texts[] = {
    "",           "a",         "libc6", "amd64",       "Ann Example <ann@example.org>",
    "x <y <z>",   "<>",        " <",    "n <>",        " <m>",
    "<name/tag>", "<a/libc6>", "a:b",   "libc6:amd64", "Gr\xc3\xbcn",
    "a <b> c",
};

static inline uint64_t generator_number(struct generator *generator)
{
    static const uint64_t wild[] = {
        0,         UINT64_MAX,        UINT32_MAX,        INT32_MAX,
        INT64_MAX, UINT64_C(1) << 31, UINT64_C(1) << 32, UINT64_MAX << 31};
    if (random_below(&generator->random, 100) < generator->wild)
        return wild[random_below(&generator->random, sizeof(wild) / sizeof(wild[0]))];
    uint64_t value = random_next(&generator->random) & 0x1fff;
    return random_below(&generator->random, 3) ? value & 7
                                               : value << random_below(&generator->random, 9);
}

static inline void generate_message(struct generator *generator,
                                    const ProtobufCMessageDescriptor *type, unsigned depth);

static inline enum wire_type generate_scalar_type(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_32BIT;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_64BIT;
    default:
        return WIRE_VARINT;
    }
}

static inline void generate_scalar(struct generator *generator, ProtobufCType type)
{
    uint64_t value = generator_number(generator);
    if (type == PROTOBUF_C_TYPE_BOOL)
        value &= 1;
    switch (generate_scalar_type(type)) {
    case WIRE_VARINT:
        generator->out = wire_write_varint(generator->out, value);
        break;
    case WIRE_32BIT:
        memcpy(generator->out, &value, 4);
        generator->out += 4;
        break;
    default:
        memcpy(generator->out, &value, 8);
        generator->out += 8;
    }
}

/* Writes a value behind a length of its own. */
static inline void generate_bytes(struct generator *generator,
                                  const ProtobufCFieldDescriptor *field, unsigned depth)
{
    uint8_t *content = malloc(MESSAGE_BYTES_MAX), *after = generator->out;
    assert_non_null(content);
    generator->out = content;
    if (field && field->type == PROTOBUF_C_TYPE_MESSAGE) {
        generate_message(generator, field->descriptor, depth + 1);
    } else if (field && field->type != PROTOBUF_C_TYPE_STRING &&
               field->type != PROTOBUF_C_TYPE_BYTES) {
        for (uint32_t n = random_below(&generator->random, 4); n > 0; n--)
            generate_scalar(generator, field->type);
    } else {
        const char *text = generator_texts[random_below(
            &generator->random, sizeof(generator_texts) / sizeof(generator_texts[0]))];
        memcpy(content, text, strlen(text));
        generator->out = content + strlen(text);
    }
    size_t bytes = (size_t)(generator->out - content);
    generator->out = wire_write_varint(after, bytes);
    memcpy(generator->out, content, bytes);
    generator->out += bytes;
    free(content);
}

static inline void generate_field(struct generator *generator,
                                  const ProtobufCFieldDescriptor *field, unsigned depth)
{
    bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
    bool bytes = field->type == PROTOBUF_C_TYPE_MESSAGE || field->type == PROTOBUF_C_TYPE_STRING ||
                 field->type == PROTOBUF_C_TYPE_BYTES;
    if (bytes || (repeated && random_below(&generator->random, 2))) {
        generator->out = wire_write_tag(generator->out, field->id, WIRE_BYTES);
        generate_bytes(generator, field, depth);
        return;
    }
    generator->out = wire_write_tag(generator->out, field->id, generate_scalar_type(field->type));
    generate_scalar(generator, field->type);
}

static inline void generate_unknown(struct generator *generator)
{
    static const enum wire_type types[] = {WIRE_VARINT, WIRE_64BIT, WIRE_BYTES, WIRE_32BIT};
    enum wire_type type = types[random_below(&generator->random, 4)];
    uint32_t number = 1 + random_below(&generator->random, 40);
    generator->out = wire_write_tag(generator->out, number, type);
    if (type == WIRE_VARINT)
        generator->out = wire_write_varint(generator->out, generator_number(generator));
    else if (type == WIRE_BYTES)
        generate_bytes(generator, NULL, 0);
    else
        for (unsigned i = 0; i < (type == WIRE_64BIT ? 8 : 4); i++)
            *generator->out++ = (uint8_t)i;
}

static inline void generate_message(struct generator *generator,
                                    const ProtobufCMessageDescriptor *type, unsigned depth)
{
    uint32_t count = random_below(&generator->random, depth == 1 ? 14 : 5);
    for (uint32_t i = 0; i < count; i++) {
        if (type->n_fields > 0 && random_below(&generator->random, 8)) {
            const ProtobufCFieldDescriptor *field =
                &type->fields[random_below(&generator->random, type->n_fields)];
            if (field->type != PROTOBUF_C_TYPE_MESSAGE || depth < 4)
                generate_field(generator, field, depth);
            continue;
        }
        uint8_t *before = generator->out;
        generate_unknown(generator);
        /* Not unknown after all? Then not with any wire type. */
        struct wire_reader reader = {before, generator->out};
        uint32_t number = 0;
        enum wire_type wire;
        assert_int_equal(wire_read_tag(&reader, &number, &wire), 0);
        if (protobuf_c_message_descriptor_get_field(type, number))
            generator->out = before;
    }
}

static inline struct bytes generate(const ProtobufCMessageDescriptor *type, uint64_t seed,
                                    unsigned wild)
{
    uint8_t *out = malloc(MESSAGE_BYTES_MAX);
    assert_non_null(out);
    struct generator generator = {seed, out, wild};
    generate_message(&generator, type, 1);
    struct bytes message = bytes_of(out, (size_t)(generator.out - out));
    free(out);
    return message;
}

#endif
