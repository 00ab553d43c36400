/*
 * A message to JSON, by descriptor: protobuf's JSON mapping.
 *
 * On the wire, a field may come in any order and more than once: the last scalar wins, parts of a
 * message merge, a later member of a oneof takes the place of an earlier one. So a message is first
 * collected into a tree, where all of that has happened, and then written field by field, by
 * ascending number. The tree holds values only (a number is its 64 bits in a JSON integer, bytes
 * are base64 already); what they look like is the writer's business, which has the descriptor.
 *
 * Unknown fields, and values that a closed enum does not have, are left out. The well-known types
 * are plain messages here, as in json_to_wire.c.
 */
#include "schema/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "schema/json.h"
#include "wire/wire.h"

#define INDENT_MAX 8

struct decoder {
    uint32_t elements;
    struct error_text *error;
};

struct writer {
    char *text;
    size_t bytes, room;
    unsigned indent;
    bool all;
    bool failed; /* no memory: said once, at the end */
    struct error_text *error;
};

static int decode_message(struct decoder *decoder, const struct schema_message *message,
                          json_t *tree, const uint8_t *data, size_t bytes, unsigned depth);

/* ---- From the wire into a tree ---- */

static int field_error(const struct decoder *decoder, const struct schema_message *message,
                       const struct schema_field *field, int code, const char *text)
{
    return error_set(decoder->error, code, "message %s: field %s %s", message->name, field->name,
                     text);
}

static uint64_t little_endian(const uint8_t *data, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)data[i] << (8 * i);
    return value;
}

static int read_fixed(struct wire_reader *reader, size_t bytes, uint64_t *ret_value)
{
    if ((size_t)(reader->end - reader->pos) < bytes)
        return -EBADMSG;
    *ret_value = little_endian(reader->pos, bytes);
    reader->pos += bytes;
    return 0;
}

/* The bits on the wire into the value's: sign, width, zigzag. */
static uint64_t normal_bits(const struct schema_field *field, uint64_t bits)
{
    switch (field->type) {
    case TYPE(INT32):
    case TYPE(ENUM):
    case TYPE(SFIXED32):
        return (uint64_t)(int64_t)(int32_t)(uint32_t)bits;
    case TYPE(UINT32):
        return (uint32_t)bits;
    case TYPE(SINT32):
        bits = (uint32_t)bits;
        return (uint64_t)(int64_t)(int32_t)((uint32_t)(bits >> 1) ^ (uint32_t) - (bits & 1));
    case TYPE(SINT64):
        return bits >> 1 ^ (~(bits & 1) + 1);
    case TYPE(BOOL):
        return bits != 0;
    default:
        return bits;
    }
}

static int read_number(const struct schema_field *field, struct wire_reader *reader,
                       json_t **ret_value)
{
    enum wire_type type = json_wire_type(field);
    uint64_t bits;
    int r = type == WIRE_64BIT   ? read_fixed(reader, 8, &bits)
            : type == WIRE_32BIT ? read_fixed(reader, 4, &bits)
                                 : wire_read_varint(reader, &bits);
    if (r < 0)
        return r;
    *ret_value = json_integer((json_int_t)normal_bits(field, bits));
    return *ret_value ? 0 : -ENOMEM;
}

static int read_text(const struct schema_field *field, struct wire_reader *reader,
                     json_t **ret_value)
{
    const uint8_t *data;
    size_t bytes;
    int r = wire_read_bytes(reader, &data, &bytes);
    if (r < 0)
        return r;
    if (field->type == TYPE(STRING)) {
        if (wire_check_string(data, bytes) < 0)
            return -EBADMSG;
        *ret_value = json_stringn_nocheck((const char *)data, bytes);
        return *ret_value ? 0 : -ENOMEM;
    }
    _cleanup_(freep) char *text = NULL;
    r = base64_encode(data, bytes, &text, &bytes);
    if (r < 0)
        return r;
    *ret_value = json_stringn_nocheck(text, bytes);
    return *ret_value ? 0 : -ENOMEM;
}

static int read_scalar(const struct schema_field *field, struct wire_reader *reader,
                       json_t **ret_value)
{
    return json_wire_type(field) == WIRE_BYTES ? read_text(field, reader, ret_value)
                                               : read_number(field, reader, ret_value);
}

static const struct schema_enum_value *find_value(const struct schema_enum *enumeration,
                                                  int32_t number)
{
    for (size_t i = 0; i < enumeration->value_count; i++) {
        if (enumeration->values[i].number == number)
            return &enumeration->values[i];
    }
    return NULL;
}

/* Whether it is a value at all: to a closed enum, an unknown number is an unknown field. */
static bool is_value(const struct schema_field *field, const json_t *value)
{
    return !field->enumeration || !field->enumeration->closed ||
           find_value(field->enumeration, (int32_t)json_integer_value(value));
}

/* The list or map of a repeated field, made when its first element comes; borrowed. */
static json_t *get_container(json_t *tree, const struct schema_field *field)
{
    json_t *container = json_object_get(tree, field->name);
    if (container)
        return container;
    container = field->message && field->message->map_entry ? json_object() : json_array();
    return json_object_set_new(tree, field->name, container) < 0 ? NULL : container;
}

static int append(struct decoder *decoder, json_t *tree, const struct schema_field *field,
                  json_t *value)
{
    if (decoder->elements == WIRE_ELEMENTS_MAX) {
        json_decref(value);
        return -E2BIG;
    }
    decoder->elements++;
    json_t *list = get_container(tree, field);
    if (!list) {
        json_decref(value);
        return -ENOMEM;
    }
    return json_array_append_new(list, value) < 0 ? -ENOMEM : 0;
}

static void leave_oneof(const struct schema_message *message, const struct schema_field *field,
                        json_t *tree)
{
    for (size_t i = 0; field->oneof >= 0 && i < message->field_count; i++) {
        const struct schema_field *other = &message->fields[i];
        if (other != field && other->oneof == field->oneof)
            (void)json_object_del(tree, other->name);
    }
}

static int decode_scalar(struct decoder *decoder, const struct schema_message *message,
                         const struct schema_field *field, json_t *tree, struct wire_reader *reader)
{
    json_t *value = NULL;
    int r = read_scalar(field, reader, &value);
    if (r < 0)
        return r;
    if (!is_value(field, value)) {
        json_decref(value);
        return 0;
    }
    if (field->repeated)
        return append(decoder, tree, field, value);
    leave_oneof(message, field, tree);
    return json_object_set_new(tree, field->name, value) < 0 ? -ENOMEM : 0;
}

static int decode_packed(struct decoder *decoder, const struct schema_message *message,
                         const struct schema_field *field, json_t *tree, struct wire_reader *reader)
{
    struct wire_reader elements;
    size_t bytes;
    int r = wire_read_bytes(reader, &elements.pos, &bytes);
    if (r < 0)
        return r;
    elements.end = elements.pos + bytes;
    while (r == 0 && elements.pos < elements.end)
        r = decode_scalar(decoder, message, field, tree, &elements);
    return r;
}

/* The text of a map's key; of a key that is not there, that of the default. */
static void key_text(const struct schema_field *field, const json_t *key, char *text, size_t room)
{
    json_int_t bits = json_integer_value(key); /* 0 of NULL */
    if (field->type == TYPE(BOOL))
        (void)snprintf(text, room, "%s", bits ? "true" : "false");
    else if (field->type == TYPE(UINT64) || field->type == TYPE(FIXED64))
        (void)snprintf(text, room, "%" PRIu64, (uint64_t)bits);
    else
        (void)snprintf(text, room, "%" PRId64, (int64_t)bits);
}

static int put_entry(const struct schema_field *field, json_t *entry, json_t *map)
{
    const struct schema_field *const fields = field->message->fields; /* key and value */
    json_t *key = json_object_get(entry, fields[0].name);
    json_t *value = json_object_get(entry, fields[1].name);
    if (!value && fields[1].enumeration && fields[1].enumeration->closed)
        return 0; /* its value was unknown: left out as a whole */
    json_t *stored = value                                      ? json_incref(value)
                     : fields[1].message                        ? json_object()
                     : json_wire_type(&fields[1]) == WIRE_BYTES ? json_string("")
                                                                : json_integer(0);
    char number[32];
    key_text(&fields[0], key, number, sizeof(number));
    const char *text = fields[0].type != TYPE(STRING) ? number : key ? json_string_value(key) : "";
    return json_object_set_new_nocheck(map, text, stored) < 0 ? -ENOMEM : 0;
}

static int decode_entry(struct decoder *decoder, const struct schema_field *field, json_t *tree,
                        const uint8_t *data, size_t bytes, unsigned depth)
{
    if (decoder->elements == WIRE_ELEMENTS_MAX)
        return -E2BIG;
    decoder->elements++;
    json_t *map = get_container(tree, field);
    json_t *entry = json_object();
    int r = map && entry ? 0 : -ENOMEM;
    if (r == 0)
        r = decode_message(decoder, field->message, entry, data, bytes, depth);
    if (r == 0)
        r = put_entry(field, entry, map);
    json_decref(entry);
    return r;
}

static int decode_submessage(struct decoder *decoder, const struct schema_message *message,
                             const struct schema_field *field, json_t *tree,
                             struct wire_reader *reader, unsigned depth)
{
    const uint8_t *data;
    size_t bytes;
    int r = wire_read_bytes(reader, &data, &bytes);
    if (r < 0)
        return r;
    if (field->message->map_entry)
        return decode_entry(decoder, field, tree, data, bytes, depth + 1);
    json_t *value = field->repeated ? NULL : json_incref(json_object_get(tree, field->name));
    if (!value)
        value = json_object();
    if (!value)
        return -ENOMEM;
    r = decode_message(decoder, field->message, value, data, bytes, depth + 1);
    if (r < 0) {
        json_decref(value);
        return r;
    }
    if (field->repeated)
        return append(decoder, tree, field, value);
    leave_oneof(message, field, tree);
    return json_object_set_new(tree, field->name, value) < 0 ? -ENOMEM : 0;
}

static int decode_field(struct decoder *decoder, const struct schema_message *message, json_t *tree,
                        struct wire_reader *reader, unsigned depth)
{
    uint32_t number;
    enum wire_type type;
    int r = wire_read_tag(reader, &number, &type);
    if (r < 0)
        return error_set(decoder->error, r, "message %s: a field's tag cannot be read",
                         message->name);
    const struct schema_field *field = schema_field_number(message, number);
    enum wire_type own = field ? json_wire_type(field) : WIRE_VARINT;
    if (field && type == own && type == WIRE_BYTES && field->message)
        r = decode_submessage(decoder, message, field, tree, reader, depth);
    else if (field && type == own && !field->message)
        r = decode_scalar(decoder, message, field, tree, reader);
    else if (field && field->repeated && type == WIRE_BYTES && own != WIRE_GROUP_START)
        r = decode_packed(decoder, message, field, tree, reader);
    else
        return wire_skip(reader, number, type) < 0
                   ? error_set(decoder->error, -EBADMSG,
                               "message %s: unknown field %" PRIu32 " cannot be read",
                               message->name, number)
                   : 0;
    if (r == -E2BIG && decoder->elements == WIRE_ELEMENTS_MAX)
        return field_error(decoder, message, field, r, "has too many elements");
    if (r == -EBADMSG && !decoder->error->text[0])
        return field_error(decoder, message, field, r, "cannot be read");
    return r;
}

static int decode_message(struct decoder *decoder, const struct schema_message *message,
                          json_t *tree, const uint8_t *data, size_t bytes, unsigned depth)
{
    if (depth > WIRE_DEPTH_MAX)
        return error_set(decoder->error, -E2BIG, "message %s is nested more than %d deep",
                         message->name, WIRE_DEPTH_MAX);
    struct wire_reader reader = {data, data + bytes};
    int r = 0;
    while (r == 0 && reader.pos < reader.end)
        r = decode_field(decoder, message, tree, &reader, depth);
    return r;
}

/* ---- From the tree into text ---- */

static int write_message(struct writer *writer, const struct schema_message *message,
                         const json_t *tree, unsigned level);

static void put(struct writer *writer, const char *text, size_t bytes)
{
    if (writer->failed)
        return;
    if (writer->bytes + bytes + 1 > writer->room) {
        size_t room = writer->room + writer->room / 2 + bytes + 256;
        char *more = realloc(writer->text, room);
        if (!more) {
            writer->failed = true;
            return;
        }
        writer->text = more;
        writer->room = room;
    }
    memcpy(writer->text + writer->bytes, text, bytes);
    writer->bytes += bytes;
    writer->text[writer->bytes] = '\0';
}

static void put_text(struct writer *writer, const char *text)
{
    put(writer, text, strlen(text));
}

__attribute__((format(printf, 2, 3))) static void put_format(struct writer *writer,
                                                             const char *format, ...)
{
    char text[64];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    put(writer, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

/* What a terminal would obey is escaped, too: DEL, and C1, which is 0xc2 0x80..0x9f in UTF-8. */
static void put_quoted(struct writer *writer, const char *text, size_t bytes)
{
    put(writer, "\"", 1);
    size_t from = 0;
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        bool c1 = c == 0xc2 && i + 1 < bytes && ((unsigned char)text[i + 1] & 0xe0) == 0x80;
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f && !c1)
            continue;
        put(writer, text + from, i - from);
        if (c1)
            c = (unsigned char)text[++i];
        from = i + 1;
        if (c == '"' || c == '\\')
            put_format(writer, "\\%c", c);
        else if (c == '\n')
            put_text(writer, "\\n");
        else if (c == '\t')
            put_text(writer, "\\t");
        else
            put_format(writer, "\\u%04x", c);
    }
    put(writer, text + from, bytes - from);
    put(writer, "\"", 1);
}

/* A new line at @level, if there are lines. */
static void put_line(struct writer *writer, unsigned level)
{
    static const char spaces[] = "        ";
    if (writer->indent == 0)
        return;
    put(writer, "\n", 1);
    for (unsigned i = 0; i < level; i++)
        put(writer, spaces, writer->indent);
}

/* Before each member or element but the first: a comma; then where it begins. */
static void put_separator(struct writer *writer, bool *first, unsigned level)
{
    if (!*first)
        put_text(writer, writer->indent > 0 ? "," : ", ");
    *first = false;
    put_line(writer, level);
}

static void put_name(struct writer *writer, const char *name)
{
    put_quoted(writer, name, strlen(name));
    put_text(writer, ": ");
}

/* The fewest digits that read back as the same number. */
static void put_real(struct writer *writer, double value, bool single)
{
    if (isnan(value)) {
        put_text(writer, "\"NaN\"");
        return;
    }
    if (isinf(value)) {
        put_text(writer, value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
        return;
    }
    if (value == 0 && signbit(value)) {
        put_text(writer, "-0.0"); /* "-0" would be read as an integer, without its sign */
        return;
    }
    char text[40];
    const int digits_max = single ? 9 : 17;
    for (int digits = single ? 6 : 15; digits <= digits_max; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, value);
        if (single ? strtof(text, NULL) == (float)value : strtod(text, NULL) == value)
            break;
    }
    put_text(writer, text);
}

static void put_real_bits(struct writer *writer, const struct schema_field *field, uint64_t bits)
{
    if (field->type == TYPE(DOUBLE)) {
        double value;
        memcpy(&value, &bits, sizeof(value));
        put_real(writer, value, false);
        return;
    }
    uint32_t low = (uint32_t)bits;
    float value;
    memcpy(&value, &low, sizeof(value));
    put_real(writer, (double)value, true);
}

static void put_enum(struct writer *writer, const struct schema_field *field, int32_t number)
{
    const struct schema_enum_value *value = find_value(field->enumeration, number);
    if (value)
        put_quoted(writer, value->name, strlen(value->name));
    else
        put_format(writer, "%" PRId32, number);
}

/* @value NULL: the default. */
static void write_scalar(struct writer *writer, const struct schema_field *field,
                         const json_t *value)
{
    int64_t bits = json_integer_value(value);
    switch (field->type) {
    case TYPE(DOUBLE):
    case TYPE(FLOAT):
        put_real_bits(writer, field, (uint64_t)bits);
        return;
    case TYPE(INT64):
    case TYPE(SINT64):
    case TYPE(SFIXED64):
        put_format(writer, "\"%" PRId64 "\"", bits);
        return;
    case TYPE(UINT64):
    case TYPE(FIXED64):
        put_format(writer, "\"%" PRIu64 "\"", (uint64_t)bits);
        return;
    case TYPE(BOOL):
        put_text(writer, bits ? "true" : "false");
        return;
    case TYPE(ENUM):
        put_enum(writer, field, (int32_t)bits);
        return;
    case TYPE(STRING):
    case TYPE(BYTES):
        put_quoted(writer, value ? json_string_value(value) : "", json_string_length(value));
        return;
    default:
        put_format(writer, "%" PRId64, bits);
        return;
    }
}

static int write_value(struct writer *writer, const struct schema_field *field, const json_t *value,
                       unsigned level)
{
    if (field->message)
        return write_message(writer, field->message, value, level);
    write_scalar(writer, field, value);
    return 0;
}

static int write_map(struct writer *writer, const struct schema_field *field, json_t *map,
                     unsigned level)
{
    const struct schema_field *value_field = &field->message->fields[1];
    bool first = true;
    int r = 0;
    const char *key;
    json_t *value;
    put_text(writer, "{");
    json_object_foreach(map, key, value)
    {
        put_separator(writer, &first, level + 1);
        put_name(writer, key);
        r = write_value(writer, value_field, value, level + 1);
        if (r < 0)
            return r;
    }
    if (!first)
        put_line(writer, level);
    put_text(writer, "}");
    return r;
}

static int write_list(struct writer *writer, const struct schema_field *field, const json_t *list,
                      unsigned level)
{
    bool first = true;
    put_text(writer, "[");
    for (size_t i = 0; i < json_array_size(list); i++) {
        put_separator(writer, &first, level + 1);
        int r = write_value(writer, field, json_array_get(list, i), level + 1);
        if (r < 0)
            return r;
    }
    if (!first)
        put_line(writer, level);
    put_text(writer, "]");
    return 0;
}

/* Whether the value is what a reader assumes where there is none. */
static bool is_default(const json_t *value)
{
    return json_is_string(value) ? json_string_length(value) == 0 : json_integer_value(value) == 0;
}

static bool is_shown(const struct writer *writer, const struct schema_field *field,
                     const json_t *value)
{
    if (field->presence)
        return value != NULL;
    return writer->all || (value && (field->repeated || !is_default(value)));
}

static int write_field(struct writer *writer, const struct schema_field *field, json_t *value,
                       unsigned level)
{
    put_name(writer, field->json_name);
    if (field->repeated && field->message && field->message->map_entry)
        return write_map(writer, field, value, level);
    if (field->repeated)
        return write_list(writer, field, value, level);
    return write_value(writer, field, value, level);
}

static int write_message(struct writer *writer, const struct schema_message *message,
                         const json_t *tree, unsigned level)
{
    bool first = true;
    put_text(writer, "{");
    for (size_t i = 0; i < message->field_count; i++) {
        const struct schema_field *field = &message->fields[i];
        json_t *value = json_object_get(tree, field->name);
        if (field->required && !value)
            return error_set(writer->error, -EBADMSG,
                             "message %s: the required field %s is not there", message->name,
                             field->name);
        if (!is_shown(writer, field, value))
            continue;
        put_separator(writer, &first, level + 1);
        int r = write_field(writer, field, value, level + 1);
        if (r < 0)
            return r;
    }
    if (!first)
        put_line(writer, level);
    put_text(writer, "}");
    return 0;
}

int json_from_wire(const struct schema_message *message, const uint8_t *data, size_t bytes,
                   unsigned indent, bool all, char **ret_json, struct error_text *error)
{
    struct error_text local;
    if (!error)
        error = &local;
    error->text[0] = '\0';
    if (bytes > WIRE_MESSAGE_BYTES_MAX)
        return error_set(error, -E2BIG, "the message has %zu bytes; at most %u may be", bytes,
                         (unsigned)WIRE_MESSAGE_BYTES_MAX);
    json_t *tree = json_object();
    struct decoder decoder = {.error = error};
    struct writer writer = {
        .indent = indent < INDENT_MAX ? indent : INDENT_MAX, .all = all, .error = error};
    int r = tree ? decode_message(&decoder, message, tree, data, bytes, 1) : -ENOMEM;
    if (r == 0)
        r = write_message(&writer, message, tree, 0);
    json_decref(tree);
    if (r == -ENOMEM || (r == 0 && writer.failed))
        r = error_set(error, -ENOMEM, "no memory for the JSON text");
    if (r < 0) {
        free(writer.text);
        return r;
    }
    *ret_json = writer.text;
    return 0;
}
