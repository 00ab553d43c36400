/*
 * JSON to a message, by descriptor: protobuf's JSON mapping.
 *
 * A person or a script wrote the JSON, so every refusal says where it is ("maintainer.email",
 * "package[3].depends[0]") and what would have been right. Nothing is guessed: a name that the
 * message does not have is an error that lists those that it has, a number out of range is one, a
 * field given twice (by its two names) or two members of a oneof too.
 *
 * Fields are written by ascending number whatever their order in the text, so that equal content
 * gives equal bytes. A message's length stands before it but is known behind it: the content is
 * written first and moved up by the length of its length.
 *
 * google.protobuf.Timestamp and the other well-known types are plain messages here; groups are
 * refused, as everywhere in Parley.
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

#define PATH_BYTES_MAX 200
/* Halfway from FLT_MAX to what would come after it: what is below rounds to a float. */
#define FLOAT_OVERFLOW 0x1.ffffffp127

struct encoder {
    uint8_t *data;
    size_t bytes, room;
    uint32_t elements;
    char path[PATH_BYTES_MAX]; /* of the value at hand, for errors; "" at the top */
    struct error_text *error;
};

/* A scalar as it goes on the wire. */
struct scalar {
    uint64_t bits;
    const char *data; /* of strings and bytes */
    size_t bytes;
    char *owned; /* free() */
};

static int encode_message(struct encoder *encoder, const struct schema_message *message,
                          json_t *json, unsigned depth);

/* ---- Where we are, and what is wrong there ---- */

__attribute__((format(printf, 2, 3))) static size_t path_push(struct encoder *encoder,
                                                              const char *format, ...)
{
    size_t before = strlen(encoder->path);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(encoder->path + before, sizeof(encoder->path) - before, format, args);
    va_end(args);
    return before;
}

static void path_pop(struct encoder *encoder, size_t before)
{
    encoder->path[before] = '\0';
}

__attribute__((format(printf, 3, 4))) static int value_error(const struct encoder *encoder,
                                                             int code, const char *format, ...)
{
    char text[ERROR_TEXT_BYTES_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return error_set(encoder->error, code, "%s: %s",
                     encoder->path[0] ? encoder->path : "the JSON text", text);
}

static int type_error(const struct encoder *encoder, const char *expected, const json_t *json)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number",  [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null",
    };
    return value_error(encoder, -EINVAL, "%s was expected, not %s", expected,
                       names[json_typeof(json)]);
}

/* ---- Bytes ---- */

static int ensure(struct encoder *encoder, size_t bytes)
{
    if (bytes > WIRE_MESSAGE_BYTES_MAX - encoder->bytes)
        return value_error(encoder, -E2BIG, "the message is longer than %u bytes",
                           (unsigned)WIRE_MESSAGE_BYTES_MAX);
    if (encoder->bytes + bytes <= encoder->room)
        return 0;
    size_t room = encoder->room + encoder->room / 2 + bytes + 64;
    uint8_t *data = realloc(encoder->data, room);
    if (!data)
        return value_error(encoder, -ENOMEM, "no memory for the message");
    encoder->data = data;
    encoder->room = room;
    return 0;
}

static int put_varint(struct encoder *encoder, uint64_t value)
{
    int r = ensure(encoder, 10);
    if (r == 0)
        encoder->bytes =
            (size_t)(wire_write_varint(encoder->data + encoder->bytes, value) - encoder->data);
    return r;
}

static int put_tag(struct encoder *encoder, const struct schema_field *field, enum wire_type type)
{
    return put_varint(encoder, (uint64_t)field->number << 3 | (uint64_t)type);
}

static int put_bytes(struct encoder *encoder, const void *data, size_t bytes)
{
    int r = ensure(encoder, bytes);
    if (r == 0 && bytes > 0) {
        memcpy(encoder->data + encoder->bytes, data, bytes);
        encoder->bytes += bytes;
    }
    return r;
}

static int put_fixed(struct encoder *encoder, uint64_t value, size_t bytes)
{
    uint8_t little[8];
    for (size_t i = 0; i < bytes; i++)
        little[i] = (uint8_t)(value >> (8 * i));
    return put_bytes(encoder, little, bytes);
}

/* Puts the length of what was written since @start before it. */
static int insert_length(struct encoder *encoder, size_t start)
{
    size_t content = encoder->bytes - start, prefix = wire_varint_size(content);
    int r = ensure(encoder, prefix);
    if (r < 0)
        return r;
    memmove(encoder->data + start + prefix, encoder->data + start, content);
    (void)wire_write_varint(encoder->data + start, content);
    encoder->bytes += prefix;
    return 0;
}

/* ---- Scalars ---- */

static uint64_t zigzag(int64_t value)
{
    return (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
}

struct integer {
    bool has_sign;
    unsigned bits;
};

static int range_error(const struct encoder *encoder, struct integer kind)
{
    return value_error(encoder, -EINVAL, "the number does not fit %sint%u",
                       kind.has_sign ? "" : "u", kind.bits);
}

/* @magnitude with a sign into two's complement, if it fits. */
static int fit_integer(const struct encoder *encoder, struct integer kind, bool negative,
                       uint64_t magnitude, uint64_t *ret_bits)
{
    uint64_t max = UINT64_MAX >> (64 - kind.bits + (kind.has_sign ? 1 : 0));
    if (negative && magnitude > 0) {
        if (!kind.has_sign || magnitude > max + 1)
            return range_error(encoder, kind);
        *ret_bits = ~magnitude + 1;
        return 0;
    }
    if (magnitude > max)
        return range_error(encoder, kind);
    *ret_bits = magnitude;
    return 0;
}

static int integer_from_real(const struct encoder *encoder, struct integer kind, double value,
                             uint64_t *ret_bits)
{
    if (value != floor(value)) /* NaN too */
        return value_error(encoder, -EINVAL, "a whole number was expected, not %g", value);
    if (fabs(value) >= 0x1p64)
        return range_error(encoder, kind);
    return fit_integer(encoder, kind, value < 0, (uint64_t)fabs(value), ret_bits);
}

static int integer_from_text(const struct encoder *encoder, struct integer kind, const char *text,
                             uint64_t *ret_bits)
{
    bool negative = text[0] == '-';
    const char *digits = text + negative;
    size_t n = strspn(digits, "0123456789");
    char *end;
    errno = 0;
    if (n > 0 && digits[n] == '\0') {
        uint64_t magnitude = strtoull(digits, &end, 10);
        if (errno)
            return range_error(encoder, kind);
        return fit_integer(encoder, kind, negative, magnitude, ret_bits);
    }
    if (n > 0 && digits[strspn(digits, "0123456789.eE+-")] == '\0') {
        double value = strtod(text, &end);
        if (*end == '\0')
            return integer_from_real(encoder, kind, value, ret_bits);
    }
    return value_error(encoder, -EINVAL, "a whole number was expected, not \"%s\"",
                       PRINTABLE(text));
}

static int read_integer(const struct encoder *encoder, struct integer kind, const json_t *json,
                        uint64_t *ret_bits)
{
    if (json_is_integer(json)) {
        json_int_t value = json_integer_value(json);
        uint64_t magnitude = value < 0 ? ~(uint64_t)value + 1 : (uint64_t)value;
        return fit_integer(encoder, kind, value < 0, magnitude, ret_bits);
    }
    if (json_is_real(json))
        return integer_from_real(encoder, kind, json_real_value(json), ret_bits);
    if (json_is_string(json))
        return integer_from_text(encoder, kind, json_string_value(json), ret_bits);
    return type_error(encoder, "a whole number", json);
}

static int read_double(const struct encoder *encoder, const json_t *json, double *ret_value)
{
    if (json_is_number(json)) {
        *ret_value = json_number_value(json);
        return 0;
    }
    if (!json_is_string(json))
        return type_error(encoder, "a number", json);
    const char *text = json_string_value(json);
    if (strcmp(text, "NaN") == 0) {
        *ret_value = (double)NAN;
    } else if (strcmp(text, "Infinity") == 0) {
        *ret_value = (double)INFINITY;
    } else if (strcmp(text, "-Infinity") == 0) {
        *ret_value = -(double)INFINITY;
    } else {
        char *end;
        *ret_value = strtod(text, &end);
        if (!text[0] || text[strspn(text, "0123456789.eE+-")] || *end || isinf(*ret_value))
            return value_error(encoder, -EINVAL, "a number was expected, not \"%s\"",
                               PRINTABLE(text));
    }
    return 0;
}

static int read_real(const struct encoder *encoder, const struct schema_field *field,
                     const json_t *json, uint64_t *ret_bits)
{
    double value = 0;
    int r = read_double(encoder, json, &value);
    if (r < 0)
        return r;
    if (field->type == TYPE(DOUBLE)) {
        memcpy(ret_bits, &value, sizeof(value));
        return 0;
    }
    if (!isinf(value) && !isnan(value) && fabs(value) >= FLOAT_OVERFLOW)
        return value_error(encoder, -EINVAL, "%g does not fit float", value);
    float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof(bits));
    *ret_bits = bits;
    return 0;
}

static int read_enum(const struct encoder *encoder, const struct schema_enum *enumeration,
                     const json_t *json, uint64_t *ret_bits)
{
    if (!json_is_string(json)) {
        int r = read_integer(encoder, (struct integer){true, 32}, json, ret_bits);
        for (size_t i = 0; r == 0 && enumeration->closed && i <= enumeration->value_count; i++) {
            if (i == enumeration->value_count)
                return value_error(encoder, -EINVAL, "%s has no value %" PRId32, enumeration->name,
                                   (int32_t)*ret_bits);
            if (enumeration->values[i].number == (int32_t)*ret_bits)
                break;
        }
        return r;
    }
    const char *name = json_string_value(json);
    for (size_t i = 0; i < enumeration->value_count; i++) {
        if (strcmp(enumeration->values[i].name, name) == 0) {
            *ret_bits = (uint64_t)(int64_t)enumeration->values[i].number;
            return 0;
        }
    }
    char known[256] = "";
    for (size_t i = 0, n = 0; i < enumeration->value_count && n < sizeof(known); i++)
        n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", i > 0 ? ", " : "",
                              enumeration->values[i].name);
    return value_error(encoder, -EINVAL, "%s has no value \"%s\"; it has %s", enumeration->name,
                       PRINTABLE(name), known);
}

static int read_bytes(const struct encoder *encoder, const json_t *json, struct scalar *scalar)
{
    if (!json_is_string(json))
        return type_error(encoder, "a base64 string", json);
    int r = base64_decode(json_string_value(json), json_string_length(json), &scalar->owned,
                          &scalar->bytes);
    if (r == -EINVAL)
        return value_error(encoder, r, "the string is not base64");
    scalar->data = scalar->owned;
    return r;
}

static int read_scalar(const struct encoder *encoder, const struct schema_field *field,
                       const json_t *json, struct scalar *scalar)
{
    switch (field->type) {
    case TYPE(DOUBLE):
    case TYPE(FLOAT):
        return read_real(encoder, field, json, &scalar->bits);
    case TYPE(INT32):
    case TYPE(SINT32):
    case TYPE(SFIXED32):
        return read_integer(encoder, (struct integer){true, 32}, json, &scalar->bits);
    case TYPE(INT64):
    case TYPE(SINT64):
    case TYPE(SFIXED64):
        return read_integer(encoder, (struct integer){true, 64}, json, &scalar->bits);
    case TYPE(UINT32):
    case TYPE(FIXED32):
        return read_integer(encoder, (struct integer){false, 32}, json, &scalar->bits);
    case TYPE(UINT64):
    case TYPE(FIXED64):
        return read_integer(encoder, (struct integer){false, 64}, json, &scalar->bits);
    case TYPE(BOOL):
        if (!json_is_boolean(json))
            return type_error(encoder, "true or false", json);
        scalar->bits = json_is_true(json);
        return 0;
    case TYPE(ENUM):
        return read_enum(encoder, field->enumeration, json, &scalar->bits);
    case TYPE(STRING):
        if (!json_is_string(json))
            return type_error(encoder, "a string", json);
        scalar->data = json_string_value(json);
        scalar->bytes = json_string_length(json);
        return 0;
    case TYPE(BYTES):
        return read_bytes(encoder, json, scalar);
    default:
        return value_error(encoder, -EINVAL, "groups are not supported");
    }
}

static int put_scalar(struct encoder *encoder, const struct schema_field *field,
                      const struct scalar *scalar)
{
    int r;
    switch (field->type) {
    case TYPE(DOUBLE):
    case TYPE(FIXED64):
    case TYPE(SFIXED64):
        return put_fixed(encoder, scalar->bits, 8);
    case TYPE(FLOAT):
    case TYPE(FIXED32):
    case TYPE(SFIXED32):
        return put_fixed(encoder, scalar->bits, 4);
    case TYPE(SINT32):
    case TYPE(SINT64):
        return put_varint(encoder, zigzag((int64_t)scalar->bits));
    case TYPE(STRING):
    case TYPE(BYTES):
        r = put_varint(encoder, scalar->bytes);
        return r < 0 ? r : put_bytes(encoder, scalar->data, scalar->bytes);
    default:
        return put_varint(encoder, scalar->bits);
    }
}

static int encode_scalar(struct encoder *encoder, const struct schema_field *field,
                         const json_t *json, bool tag, bool leave_out_default)
{
    struct scalar scalar = {0};
    int r = read_scalar(encoder, field, json, &scalar);
    if (r == 0 && !(leave_out_default && scalar.bits == 0 && scalar.bytes == 0)) {
        if (tag)
            r = put_tag(encoder, field, json_wire_type(field));
        if (r == 0)
            r = put_scalar(encoder, field, &scalar);
    }
    free(scalar.owned);
    return r;
}

/* ---- Lists and maps ---- */

static int count_elements(struct encoder *encoder, size_t count)
{
    if (count > WIRE_ELEMENTS_MAX - encoder->elements)
        return value_error(encoder, -E2BIG, "lists have more than %u elements altogether",
                           (unsigned)WIRE_ELEMENTS_MAX);
    encoder->elements += (uint32_t)count;
    return 0;
}

static int encode_submessage(struct encoder *encoder, const struct schema_field *field,
                             json_t *json, unsigned depth)
{
    if (field->type == TYPE(GROUP))
        return value_error(encoder, -EINVAL, "groups are not supported");
    int r = put_tag(encoder, field, WIRE_BYTES);
    size_t start = encoder->bytes;
    if (r == 0)
        r = encode_message(encoder, field->message, json, depth + 1);
    return r < 0 ? r : insert_length(encoder, start);
}

static int encode_list(struct encoder *encoder, const struct schema_field *field, json_t *json,
                       unsigned depth)
{
    if (!json_is_array(json))
        return type_error(encoder, "an array", json);
    size_t count = json_array_size(json);
    int r = count_elements(encoder, count);
    if (r < 0 || count == 0)
        return r;
    if (field->packed)
        r = put_tag(encoder, field, WIRE_BYTES);
    size_t start = encoder->bytes;
    for (size_t i = 0; r == 0 && i < count; i++) {
        size_t path = path_push(encoder, "[%zu]", i);
        json_t *element = json_array_get(json, i);
        r = field->message ? encode_submessage(encoder, field, element, depth)
                           : encode_scalar(encoder, field, element, !field->packed, false);
        if (r == 0)
            path_pop(encoder, path);
    }
    return r == 0 && field->packed ? insert_length(encoder, start) : r;
}

/* A map's key is a string in JSON, whatever its type. */
static int encode_key(struct encoder *encoder, const struct schema_field *field, const char *key)
{
    json_t *json;
    if (field->type == TYPE(BOOL) && (strcmp(key, "true") == 0 || strcmp(key, "false") == 0))
        json = json_boolean(key[0] == 't');
    else
        json = json_string(key);
    if (!json)
        return value_error(encoder, -ENOMEM, "no memory for the message");
    int r = encode_scalar(encoder, field, json, true, false);
    json_decref(json);
    return r;
}

static int encode_entry(struct encoder *encoder, const struct schema_field *field, const char *key,
                        json_t *value, unsigned depth)
{
    const struct schema_field *const fields = field->message->fields; /* key and value */
    int r = put_tag(encoder, field, WIRE_BYTES);
    size_t start = encoder->bytes;
    if (r == 0)
        r = encode_key(encoder, &fields[0], key);
    if (r == 0)
        r = fields[1].message ? encode_submessage(encoder, &fields[1], value, depth + 1)
                              : encode_scalar(encoder, &fields[1], value, true, false);
    return r < 0 ? r : insert_length(encoder, start);
}

static int encode_map(struct encoder *encoder, const struct schema_field *field, json_t *json,
                      unsigned depth)
{
    if (!json_is_object(json))
        return type_error(encoder, "an object", json);
    if (depth >= WIRE_DEPTH_MAX)
        return value_error(encoder, -E2BIG, "messages are nested more than %d deep",
                           WIRE_DEPTH_MAX);
    int r = count_elements(encoder, json_object_size(json));
    const char *key;
    json_t *value;
    json_object_foreach(json, key, value)
    {
        size_t path = path_push(encoder, "[\"%s\"]", PRINTABLE(key));
        if (r == 0)
            r = encode_entry(encoder, field, key, value, depth);
        if (r < 0)
            return r;
        path_pop(encoder, path);
    }
    return r;
}

/* ---- Messages ---- */

static const struct schema_field *find_field(const struct schema_message *message, const char *name)
{
    for (size_t i = 0; i < message->field_count; i++) {
        if (strcmp(message->fields[i].json_name, name) == 0)
            return &message->fields[i];
    }
    return schema_field_find(message, name);
}

static int unknown_error(struct encoder *encoder, const struct schema_message *message,
                         const char *name)
{
    char known[256] = "none";
    for (size_t i = 0, n = 0; i < message->field_count && n < sizeof(known); i++)
        n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", i > 0 ? ", " : "",
                              message->fields[i].json_name);
    return value_error(encoder, -EINVAL, "%s has no field \"%s\"; its fields: %s", message->name,
                       PRINTABLE(name), known);
}

/* Puts each member of @json into the slot of its field in @values. */
static int sort_members(struct encoder *encoder, const struct schema_message *message, json_t *json,
                        json_t **values)
{
    const char *name;
    json_t *value;
    json_object_foreach(json, name, value)
    {
        const struct schema_field *field = find_field(message, name);
        if (!field)
            return unknown_error(encoder, message, name);
        if (json_is_null(value))
            continue; /* null is not there */
        size_t slot = (size_t)(field - message->fields);
        if (values[slot])
            return value_error(encoder, -EINVAL, "field %s is there twice, as \"%s\" too",
                               field->name, PRINTABLE(name));
        values[slot] = value;
    }
    return 0;
}

static int check_oneofs(const struct encoder *encoder, const struct schema_message *message,
                        json_t *const *values, const struct schema_field **members)
{
    for (size_t i = 0; i < message->field_count; i++) {
        const struct schema_field *field = &message->fields[i];
        if (!values[i] && field->required)
            return value_error(encoder, -EINVAL, "%s requires field \"%s\"", message->name,
                               PRINTABLE(field->json_name));
        if (!values[i] || field->oneof < 0)
            continue;
        if (members[field->oneof])
            return value_error(encoder, -EINVAL,
                               "\"%s\" and \"%s\" are both there; of oneof %s "
                               "only one may be",
                               PRINTABLE(members[field->oneof]->json_name),
                               PRINTABLE(field->json_name), message->oneofs[field->oneof]);
        members[field->oneof] = field;
    }
    return 0;
}

static int encode_field(struct encoder *encoder, const struct schema_field *field, json_t *json,
                        unsigned depth)
{
    size_t path =
        path_push(encoder, "%s%s", encoder->path[0] ? "." : "", PRINTABLE(field->json_name));
    int r;
    if (field->message && field->message->map_entry)
        r = encode_map(encoder, field, json, depth);
    else if (field->repeated)
        r = encode_list(encoder, field, json, depth);
    else if (field->message)
        r = encode_submessage(encoder, field, json, depth);
    else
        r = encode_scalar(encoder, field, json, true, !field->presence);
    if (r == 0)
        path_pop(encoder, path);
    return r;
}

static int encode_message(struct encoder *encoder, const struct schema_message *message,
                          json_t *json, unsigned depth)
{
    if (depth > WIRE_DEPTH_MAX)
        return value_error(encoder, -E2BIG, "messages are nested more than %d deep",
                           WIRE_DEPTH_MAX);
    if (!json_is_object(json))
        return type_error(encoder, "an object", json);
    _cleanup_(freep) json_t **values = calloc(message->field_count + 1, sizeof(json_t *));
    _cleanup_(freep) const struct schema_field **members =
        calloc(message->oneof_count + 1, sizeof(*members));
    if (!values || !members)
        return value_error(encoder, -ENOMEM, "no memory for the message");
    int r = sort_members(encoder, message, json, values);
    if (r == 0)
        r = check_oneofs(encoder, message, values, members);
    for (size_t i = 0; r == 0 && i < message->field_count; i++) {
        if (values[i])
            r = encode_field(encoder, &message->fields[i], values[i], depth);
    }
    return r;
}

int json_value_to_wire(const struct schema_message *message, const json_t *json, uint8_t **ret_data,
                       size_t *ret_bytes, struct error_text *error)
{
    struct encoder encoder = {.error = error};
    int r = ensure(&encoder, 1);
    if (r == 0)
        r = encode_message(&encoder, message, (json_t *)(uintptr_t)json, 1); /* only reads it */
    if (r < 0) {
        free(encoder.data);
        return r;
    }
    *ret_data = encoder.data;
    *ret_bytes = encoder.bytes;
    return 0;
}

int json_to_wire(const struct schema_message *message, const char *json, uint8_t **ret_data,
                 size_t *ret_bytes, struct error_text *error)
{
    json_error_t where;
    json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &where);
    if (!root)
        return error_set(error, -EINVAL, "the JSON text, line %d, column %d: %s%s", where.line,
                         where.column, where.text,
                         json_error_code(&where) == json_error_numeric_overflow
                             ? "; write large numbers as strings"
                             : "");
    int r = json_value_to_wire(message, root, ret_data, ret_bytes, error);
    json_decref(root);
    return r;
}
