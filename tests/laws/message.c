/*
 * Random messages on the wire, with all the freedom that the wire gives: any order, several
 * occurrences of a singular field, messages in pieces, packed and unpacked, duplicates in maps,
 * unknown fields, unknown enum numbers, NaN and -0, long varints, empty everything.
 */
#include "laws.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 5

struct generator {
    uint64_t random;
    unsigned wild;
    bool pieces; /* singular messages may come in several pieces */
};

static uint32_t below(struct generator *generator, uint32_t bound)
{
    return random_below(&generator->random, bound);
}

static const char *const texts[] = {
    "",
    "",
    "a",
    "libc6",
    "Ann <a@b>",
    "x <y <z>",
    "<>",
    " <",
    "n <>",
    " <m>",
    "a:b",
    "libc6:amd64",
    "a/b--c",
    "(a:b>",
    "(",
    "--",
    "stable",
    "a <b> c",
    ":",
    "Gr\xc3\xbcn",
    "\xf0\x9f\x90\xa7",
    "7",
    "true",
    "\xe2\x82\xac>",
};

static const uint64_t extremes[] = {
    UINT64_MAX,
    UINT32_MAX,
    INT32_MAX,
    INT64_MAX,
    UINT64_C(1) << 31,
    UINT64_C(1) << 32,
    UINT64_C(1) << 63,
    UINT64_MAX << 31,
    UINT64_C(0x7ff0000000000000),
    UINT64_C(0x7ff8000000000001),
    UINT64_C(0x7fc00001),
    UINT64_C(0x80000000),
    UINT64_C(0x3ff8000000000000),
    UINT64_C(0x3fc00000),
};

static uint64_t any_bits(struct generator *generator)
{
    if (below(generator, 100) < generator->wild)
        return extremes[below(generator, sizeof(extremes) / sizeof(extremes[0]))];
    if (below(generator, 3))
        return below(generator, 9);
    return random_next(&generator->random) >> (40 + below(generator, 23));
}

static uint64_t enum_bits(struct generator *generator, const struct schema_enum *enumeration)
{
    if (below(generator, 4)) /* one that the type knows */
        return (uint64_t)(int64_t)enumeration
            ->values[below(generator, (uint32_t)enumeration->value_count)]
            .number;
    return (uint64_t)((int64_t)below(generator, 16) - 3);
}

static void long_varint(struct generator *generator, uint64_t value, struct buffer *out)
{
    size_t at = out->bytes;
    buffer_varint(out, value);
    if (below(generator, 30) || out->bytes - at > 9)
        return;
    out->data[out->bytes - 1] |= 0x80; /* the same value in one byte more */
    buffer_add(out, "", 1);
}

static enum wire_type wire_of(int type)
{
    if (type == TYPE(FIXED32) || type == TYPE(SFIXED32) || type == TYPE(FLOAT))
        return WIRE_32BIT;
    if (type == TYPE(FIXED64) || type == TYPE(SFIXED64) || type == TYPE(DOUBLE))
        return WIRE_64BIT;
    return type == TYPE(STRING) || type == TYPE(BYTES) || type == TYPE(MESSAGE) ? WIRE_BYTES
                                                                                : WIRE_VARINT;
}

static void write_scalar(struct generator *generator, const struct schema_field *field, bool packed,
                         struct buffer *out)
{
    uint64_t bits =
        field->enumeration ? enum_bits(generator, field->enumeration) : any_bits(generator);
    enum wire_type wire = wire_of(field->type);
    if (field->type == TYPE(INT32) && below(generator, 4) == 0)
        bits = (uint64_t)(int64_t)(int32_t)(uint32_t)bits; /* negative: ten bytes */
    if (wire != WIRE_VARINT) {
        buffer_add(out, &bits, wire == WIRE_32BIT ? 4 : 8);
    } else if (field->type == TYPE(BOOL)) {
        bits = packed ? bits & 1 : bits;
        buffer_varint(out, bits);
    } else {
        long_varint(generator, bits, out);
    }
}

static void write_message(struct generator *generator, const struct schema_message *type, int depth,
                          struct buffer *out);

static void write_text(struct generator *generator, const struct schema_field *field,
                       struct buffer *out)
{
    const char *text = texts[below(generator, sizeof(texts) / sizeof(texts[0]))];
    if (field->type == TYPE(BYTES) && below(generator, 100) < generator->wild)
        buffer_field_bytes(out, field->number, "\0\xff\x80", 3);
    else
        buffer_field_text(out, field->number, text);
}

static void write_packed(struct generator *generator, const struct schema_field *field,
                         struct buffer *out)
{
    struct buffer packed = {0};
    for (uint32_t n = below(generator, 4); n > 0; n--)
        write_scalar(generator, field, true, &packed);
    buffer_field_message(out, field->number, &packed);
}

static void write_field(struct generator *generator, const struct schema_field *field, int depth,
                        struct buffer *out)
{
    if (field->type == TYPE(MESSAGE)) {
        struct buffer nested = {0};
        write_message(generator, field->message, depth + 1, &nested);
        buffer_field_message(out, field->number, &nested);
    } else if (wire_of(field->type) == WIRE_BYTES) {
        write_text(generator, field, out);
    } else if (field->repeated && below(generator, 2)) {
        write_packed(generator, field, out);
    } else {
        buffer_tag(out, field->number, wire_of(field->type));
        write_scalar(generator, field, false, out);
    }
}

static void write_unknown(struct generator *generator, const struct schema_message *type,
                          struct buffer *out)
{
    static const enum wire_type wires[] = {WIRE_VARINT, WIRE_64BIT, WIRE_BYTES, WIRE_32BIT};
    enum wire_type wire = wires[below(generator, 4)];
    uint32_t number = 1 + below(generator, 40);
    if (below(generator, 12) == 0) { /* what another version, of which we know nothing, carried */
        buffer_field_bytes(out, LAWS_CARRIER_NUMBER, LAWS_FOREIGN_CARRIER,
                           LAWS_FOREIGN_CARRIER_BYTES);
        return;
    }
    if (schema_field_number(type, number))
        return;
    uint64_t bits = any_bits(generator);
    if (wire == WIRE_BYTES) {
        buffer_field_text(out, number, texts[below(generator, sizeof(texts) / sizeof(texts[0]))]);
        return;
    }
    buffer_tag(out, number, wire);
    if (wire == WIRE_VARINT)
        buffer_varint(out, bits);
    else
        buffer_add(out, &bits, wire == WIRE_64BIT ? 8 : 4);
}

static void write_message(struct generator *generator, const struct schema_message *type, int depth,
                          struct buffer *out)
{
    uint32_t count = below(generator, depth == 1 ? 14 : 6);
    uint64_t had = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (type->field_count == 0 || below(generator, 10) == 0) {
            write_unknown(generator, type, out);
            continue;
        }
        uint32_t index = below(generator, (uint32_t)type->field_count);
        const struct schema_field *field = &type->fields[index];
        bool piece = field->message && !field->repeated && (had >> index & 1);
        had |= UINT64_C(1) << index;
        if ((field->type != TYPE(MESSAGE) || depth < DEPTH_MAX) && (!piece || generator->pieces))
            write_field(generator, field, depth, out);
    }
    for (size_t i = 0; i < type->field_count; i++)
        if (type->fields[i].required)
            write_field(generator, &type->fields[i], depth, out);
}

void message_random(const struct schema_message *type, uint64_t seed, unsigned wild,
                    struct buffer *out)
{
    struct generator generator = {seed, wild, true};
    write_message(&generator, type, 1, out);
}

/* ---- Edits, as a program makes them ---- */

static void set_value(struct arena *arena, struct generator *generator,
                      const struct schema_field *field, struct value *value)
{
    if (field->type == TYPE(MESSAGE)) {
        if (!value->tree || below(generator, 2)) {
            struct buffer fresh = {0};
            const char *why;
            write_message(generator, field->message, DEPTH_MAX, &fresh);
            uint8_t *kept = arena_alloc(arena, fresh.bytes);
            if (fresh.bytes > 0)
                memcpy(kept, fresh.data, fresh.bytes);
            value->tree = tree_read(arena, field->message, kept, fresh.bytes, &why);
            if (!value->tree)
                die("a generated message cannot be read: %s", why);
            buffer_free(&fresh);
        } else {
            (void)message_edit(arena, value->tree, random_next(&generator->random));
        }
    } else if (wire_of(field->type) == WIRE_BYTES) {
        value->data = (const uint8_t *)texts[below(generator, sizeof(texts) / sizeof(texts[0]))];
        value->bytes = strlen((const char *)value->data);
    } else if (field->enumeration) {
        value->bits = enum_bits(generator, field->enumeration);
    } else if (field->type == TYPE(BOOL)) {
        value->bits ^= 1;
    } else {
        value->bits = below(generator, 1000);
    }
}

int message_edit(struct arena *arena, struct tree *tree, uint64_t seed)
{
    struct generator generator = {seed, 0, false};
    const struct schema_message *type = tree->type;
    if (type->field_count == 0)
        return -1;
    uint32_t index = below(&generator, (uint32_t)type->field_count);
    const struct schema_field *field = &type->fields[index];
    struct values *values = &tree->fields[index];
    uint32_t what = below(&generator, 4);
    if (what == 0 && values->count > 0 && !field->required) {
        values->count = field->repeated ? values->count - 1 : 0;
    } else if (values->count > 0 && what < 3) {
        set_value(arena, &generator, field,
                  &values->list[below(&generator, (uint32_t)values->count)]);
    } else if (field->repeated || values->count == 0) {
        for (size_t i = 0; field->oneof >= 0 && i < type->field_count; i++)
            if (type->fields[i].oneof == field->oneof)
                tree->fields[i].count = 0;
        struct value *value = values_add(arena, values);
        *value = (struct value){0};
        set_value(arena, &generator, field, value);
    }
    return (int)index;
}

/* ---- Damage ---- */

static const struct schema_field *find_field(const struct schema_message *type, uint64_t *random,
                                             bool (*fits)(const struct schema_field *))
{
    size_t start = type->field_count ? random_below(random, (uint32_t)type->field_count) : 0;
    for (size_t i = 0; i < type->field_count; i++) {
        const struct schema_field *field = &type->fields[(start + i) % type->field_count];
        if (fits(field))
            return field;
    }
    return NULL;
}

static bool is_string(const struct schema_field *field)
{
    return field->type == TYPE(STRING);
}

static bool is_anything(const struct schema_field *field)
{
    return field->number > 0;
}

/* Unusable whatever the type, at the end of the message. */
static const char *spoil_end(uint64_t *random, struct buffer *message)
{
    static const struct {
        const char *what, *bytes;
        size_t count;
    } ends[] = {
        {"a group", "\x93\x3f\x94\x3f", 4}, /* 1010 */
        {"the end of a group", "\x0c", 1},
        {"field number 0", "\x00\x00", 2},
        {"wire type 6", "\x96\x3f\x00", 3},
        {"wire type 7", "\x97\x3f\x00", 3},
        {"a tag that is cut off", "\x80", 1},
        {"a length past the end", "\x92\x3f\x02\x00", 4},
        {"a length that wraps", "\x92\x3f\xff\xff\xff\xff\x0f", 7},
        {"a length of 64 bits", "\x92\x3f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12},
        {"a varint of eleven bytes", "\x90\x3f\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 13},
        {"a varint of more than 64 bits", "\x90\x3f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 12},
        {"a tag of six bytes", "\x90\xbf\x80\x80\x80\x00\x00", 7},
        {"a tag past 32 bits", "\x90\xbf\x80\x80\x10\x00", 6},
        {"a fixed64 that is cut off", "\x91\x3f\x00\x00\x00\x00\x00\x00\x00", 9},
        {"a fixed32 that is cut off", "\x95\x3f\x00\x00\x00", 5},
    };
    uint32_t which = random_below(random, sizeof(ends) / sizeof(ends[0]));
    buffer_add(message, ends[which].bytes, ends[which].count);
    return ends[which].what;
}

const char *message_spoil(const struct schema_message *type, uint64_t seed, struct buffer *message)
{
    static const char *const bad_texts[] = {"\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf5\x80\x80\x80",
                                            "a\xc3"};
    const struct schema_field *field;
    switch (random_below(&seed, 4)) {
    case 0:
        field = find_field(type, &seed, is_string);
        if (!field)
            break;
        buffer_field_text(message, field->number, bad_texts[random_below(&seed, 5)]);
        return "a string that is not UTF-8";
    case 1:
        field = find_field(type, &seed, is_string);
        if (!field)
            break;
        buffer_field_bytes(message, field->number, "a\0b", 3);
        return "a string with NUL";
    case 2:
        field = find_field(type, &seed, is_anything);
        if (!field)
            break;
        buffer_tag(message, field->number,
                   wire_of(field->type) == WIRE_32BIT ? WIRE_64BIT : WIRE_32BIT);
        buffer_add(message, "\0\0\0\0\0\0\0\0", wire_of(field->type) == WIRE_32BIT ? 8 : 4);
        return "a wrong wire type";
    default:
        break;
    }
    return spoil_end(&seed, message);
}

void message_mutate(uint64_t seed, struct buffer *message)
{
    for (uint32_t n = 1 + random_below(&seed, 3); n > 0 && message->bytes > 0; n--) {
        uint8_t *at = &message->data[random_below(&seed, (uint32_t)message->bytes)];
        switch (random_below(&seed, 4)) {
        case 0:
            *at = (uint8_t)random_next(&seed);
            break;
        case 1:
            message->bytes = (size_t)(at - message->data);
            break;
        default:
            *at ^= (uint8_t)(1u << random_below(&seed, 8));
        }
    }
}
