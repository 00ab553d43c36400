/*
 * Two messages of one name: fields meet by number, since that is what is on the wire.
 *
 * Both lists ascend, so one walk over the two finds what was deleted and what met. What types read
 * of each other is what protobuf's documentation says of updating a message ("Updating A Message
 * Type" and "JSON Mapping"), cut into groups as buf cuts it: within a group, whatever the one type
 * wrote means the same in the other. The groups for JSON are finer: 64-bit integers are strings
 * there, and bytes are base64.
 */
#include "schema/diff_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Groups of types that read each other: on the wire, and in JSON as well. */
static const struct {
    const char *name;
    uint8_t wire, json;
} types[] = {
    [TYPE(INT32)] = {"int32", 1, 1},       [TYPE(UINT32)] = {"uint32", 1, 1},
    [TYPE(INT64)] = {"int64", 1, 2},       [TYPE(UINT64)] = {"uint64", 1, 2},
    [TYPE(BOOL)] = {"bool", 1, 5},         [TYPE(SINT32)] = {"sint32", 2, 6},
    [TYPE(SINT64)] = {"sint64", 2, 7},     [TYPE(FIXED32)] = {"fixed32", 5, 3},
    [TYPE(SFIXED32)] = {"sfixed32", 5, 3}, [TYPE(FIXED64)] = {"fixed64", 6, 4},
    [TYPE(SFIXED64)] = {"sfixed64", 6, 4}, [TYPE(STRING)] = {"string", 3, 8},
    [TYPE(BYTES)] = {"bytes", 4, 9},       [TYPE(DOUBLE)] = {"double", 7, 10},
    [TYPE(FLOAT)] = {"float", 8, 11},      [TYPE(GROUP)] = {"group", 9, 12},
    [TYPE(MESSAGE)] = {"message", 10, 13}, [TYPE(ENUM)] = {"enum", 11, 14},
};

/* Values that are looked at because an enum's name changed; what is past it is taken for another
 * enum. A schema that is not made to waste the broker's time has a few thousand. */
#define ENUM_WORK_MAX (UINT32_C(4) << 20)

/* Of a pair of fields: what every check needs. */
struct pair {
    struct diff *diff;
    const struct schema_message *message; /* the new one */
    const struct schema_message *old_message;
    const struct schema_field *old, *new;
};

static bool equal(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

#define PLACE(pair, which)                                                                         \
    DIFF_PLACE(.message = (pair)->message, .field = (pair)->new, .part = (which))
/* Numbers of FieldDescriptorProto's fields. */
#define PART_NAME 1
#define PART_TYPE 5
#define PART_TYPE_NAME 6
#define PART_DEFAULT 7
#define PART_JSON_NAME 10
/* Of DescriptorProto's. */
#define MESSAGE_OPTIONS 7

/* ---- Types ---- */

static bool is_map(const struct schema_field *field)
{
    return field->message && field->message->map_entry;
}

/* Every name of every number of @old is one of @new: an enum that moved, and may have grown. */
static bool enum_contains(struct diff *diff, const struct schema_enum *new,
                          const struct schema_enum *old)
{
    struct diff_enum_values values;
    if (diff->enum_work + new->value_count + old->value_count > ENUM_WORK_MAX)
        return false;
    diff->enum_work += new->value_count + old->value_count;
    bool all = diff_enum_values_init(&values, new) == 0;
    for (size_t i = 0; i < old->value_count && all; i++)
        all = diff_enum_values_have(&values, &old->values[i]);
    diff_enum_values_deinit(&values);
    return all;
}

static bool enums_fit(struct diff *diff, const struct schema_enum *old,
                      const struct schema_enum *new)
{
    const char *a = strrchr(old->name, '.'), *b = strrchr(new->name, '.');
    return equal(old->name, new->name) ||
           (equal(a ? a + 1 : old->name, b ? b + 1 : new->name) && enum_contains(diff, new, old));
}

static bool fits(struct diff *diff, const struct schema_field *old, const struct schema_field *new)
{
    bool wire = diff->options.category == DIFF_WIRE;
    if (wire && old->type == TYPE(STRING) && new->type == TYPE(BYTES))
        return true;
    if (wire ? types[old->type].wire != types[new->type].wire
             : types[old->type].json != types[new->type].json)
        return false;
    if (old->enumeration)
        return enums_fit(diff, old->enumeration, new->enumeration);
    if (!old->message || equal(old->message->name, new->message->name))
        return true;
    return is_map(old) && is_map(new) &&
           fits(diff, &old->message->fields[0], &new->message->fields[0]) &&
           fits(diff, &old->message->fields[1], &new->message->fields[1]);
}

/* "map<string, x.v1.Item>", "x.v1.Item", "int32" */
static const char *describe(const struct schema_field *field, char *text, size_t bytes)
{
    if (is_map(field)) {
        char value[SCHEMA_NAME_BYTES_MAX + 32];
        (void)snprintf(text, bytes, "map<%s, %s>", types[field->message->fields[0].type].name,
                       describe(&field->message->fields[1], value, sizeof(value)));
        return text;
    }
    (void)snprintf(text, bytes, "%s",
                   field->message       ? field->message->name
                   : field->enumeration ? field->enumeration->name
                                        : types[field->type].name);
    return text;
}

static const char *why_not(const struct schema_field *old, const struct schema_field *new)
{
    if (old->type == TYPE(BYTES) && new->type == TYPE(STRING))
        return "bytes need not be UTF-8, which a string must be";
    if (old->message && new->message)
        return "a reader of the one may take the fields of the other for its own";
    if (old->enumeration && new->enumeration)
        return "the new enum is not the old one under the same name with all of its values";
    return "the new type does not read what the old one wrote";
}

static void check_type(const struct pair *pair)
{
    const struct schema_field *old = pair->old, *new = pair->new;
    bool both_maps = is_map(old) && is_map(new);
    bool same = fits(pair->diff, old, new);
    /* Entries of one name are one message to fits(); what they hold may have changed all the same.
     */
    if (same && both_maps)
        same = fits(pair->diff, &old->message->fields[0], &new->message->fields[0]) &&
               fits(pair->diff, &old->message->fields[1], &new->message->fields[1]);
    if (same)
        return;
    char from[2 * SCHEMA_NAME_BYTES_MAX], to[2 * SCHEMA_NAME_BYTES_MAX];
    diff_report(pair->diff,
                pair->diff->options.category == DIFF_WIRE ? DIFF_FIELD_WIRE_COMPATIBLE_TYPE
                                                          : DIFF_FIELD_WIRE_JSON_COMPATIBLE_TYPE,
                PLACE(pair, new->message || new->enumeration ? PART_TYPE_NAME : PART_TYPE),
                pair->message->name, new->name,
                "field %" PRIu32 " changed its type from %s to %s: %s; keep the type, or add a "
                "field with another number and reserve %" PRIu32,
                new->number, describe(old, from, sizeof(from)), describe(new, to, sizeof(to)),
                why_not(old, new), new->number);
}

/* ---- Cardinality ---- */

enum cardinality {
    SINGULAR, /* with presence or without: both read each other */
    REQUIRED,
    REPEATED,
    MAP,
};

static enum cardinality cardinality_of(const struct schema_field *field)
{
    return is_map(field) ? MAP : field->repeated ? REPEATED : field->required ? REQUIRED : SINGULAR;
}

static void check_cardinality(const struct pair *pair)
{
    static const char *const names[] = {"singular", "required", "repeated", "a map"};
    enum cardinality old = cardinality_of(pair->old), new = cardinality_of(pair->new);
    bool wire = pair->diff->options.category == DIFF_WIRE;
    if (old == new || (wire && old >= REPEATED && new >= REPEATED))
        return;
    diff_report(pair->diff,
                wire ? DIFF_FIELD_WIRE_COMPATIBLE_CARDINALITY
                     : DIFF_FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY,
                PLACE(pair, 0), pair->message->name, pair->new->name,
                "field %" PRIu32 " was %s and is %s, which readers of the other version take for "
                "something else; keep it, or add a field with another number and reserve %" PRIu32,
                pair->new->number, names[old], names[new], pair->new->number);
}

/* ---- Names, oneofs ---- */

static void check_names(const struct pair *pair)
{
    const struct schema_field *old = pair->old, *new = pair->new;
    if (!equal(old->name, new->name))
        diff_report(pair->diff, DIFF_FIELD_SAME_NAME, PLACE(pair, PART_NAME), pair->message->name,
                    new->name,
                    "field %" PRIu32 " changed its name from \"%s\" to \"%s\", and with it its "
                    "meaning in JSON and in other versions' rules; keep the name",
                    new->number, old->name, new->name);
    if (!equal(old->json_name, new->json_name))
        diff_report(pair->diff, DIFF_FIELD_SAME_JSON_NAME, PLACE(pair, PART_JSON_NAME),
                    pair->message->name, new->name,
                    "field %" PRIu32 " changed its name in JSON from \"%s\" to \"%s\", which "
                    "readers of the other version do not know; set json_name = \"%s\"",
                    new->number, PRINTABLE(old->json_name), PRINTABLE(new->json_name),
                    PRINTABLE(old->json_name));
}

static const char *oneof_name(const struct schema_message *message,
                              const struct schema_field *field)
{
    return field->oneof < 0 ? NULL : message->oneofs[field->oneof];
}

static void check_oneof(const struct pair *pair)
{
    const char *old = oneof_name(pair->old_message, pair->old);
    const char *new = oneof_name(pair->message, pair->new);
    if (old == new || (old && new &&equal(old, new))) /* both NULL, too */
        return;
    diff_report(pair->diff, DIFF_FIELD_SAME_ONEOF, PLACE(pair, 0), pair->message->name,
                pair->new->name,
                "field %" PRIu32 " moved from %s%s%s to %s%s%s: what is set together with it in "
                "one version excludes it in the other; leave it where it was",
                pair->new->number, old ? "oneof \"" : "outside of all oneofs", old ? old : "",
                old ? "\"" : "", new ? "oneof \"" : "outside of all oneofs", new ? new : "",
                new ? "\"" : "");
}

/* ---- Defaults ---- */

struct value {
    bool is_text;
    const char *text;
    long double number; /* exact for 64-bit integers */
};

static long double enum_number(const struct schema_enum *enumeration, const char *name)
{
    for (size_t i = 0; name && i < enumeration->value_count; i++)
        if (equal(enumeration->values[i].name, name))
            return enumeration->values[i].number;
    return enumeration->values[0].number; /* the default of an enum that says none */
}

static struct value default_of(const struct schema_field *field)
{
    const char *text = field->default_value;
    if (field->type == TYPE(STRING) || field->type == TYPE(BYTES))
        return (struct value){.is_text = true, .text = text ? text : ""};
    if (field->enumeration)
        return (struct value){.text = text, .number = enum_number(field->enumeration, text)};
    if (!text)
        return (struct value){0};
    if (field->type == TYPE(BOOL))
        return (struct value){.text = text, .number = equal(text, "true")};
    long double number = strtold(text, NULL);
    if (field->type == TYPE(FLOAT))
        number = (float)number;
    return (struct value){.text = text, .number = number};
}

static bool is_zero(const struct value *value)
{
    return value->is_text ? value->text[0] == '\0' : fpclassify(value->number) == FP_ZERO;
}

static bool same_value(const struct schema_field *old, const struct value *a,
                       const struct schema_field *new, const struct value *b)
{
    if (is_zero(a) && is_zero(b))
        return true;
    if (a->is_text || b->is_text)
        return a->is_text && b->is_text && equal(a->text, b->text);
    long double x = a->number, y = b->number;
    if (old->type == TYPE(FLOAT) || new->type == TYPE(FLOAT)) {
        x = (float)x;
        y = (float)y;
    }
    return (isnan(x) && isnan(y)) || (x <= y && x >= y);
}

static void check_default(const struct pair *pair)
{
    const struct schema_field *old = pair->old, *new = pair->new;
    if (old->repeated || new->repeated || old->message || new->message)
        return;
    struct value a = default_of(old), b = default_of(new);
    if (same_value(old, &a, new, &b))
        return;
    diff_report(pair->diff, DIFF_FIELD_SAME_DEFAULT, PLACE(pair, PART_DEFAULT), pair->message->name,
                new->name,
                "field %" PRIu32 " changed its default from %s to %s, so that what is absent means "
                "something else to each version; keep the default",
                new->number, old->default_value ? PRINTABLE(old->default_value) : "none",
                new->default_value ? PRINTABLE(new->default_value) : "none");
}

/* ---- Messages ---- */

static void check_deleted(const struct pair *pair, const struct diff_reserved *reserved)
{
    const struct schema_field *old = pair->old;
    const struct diff_place *place = DIFF_PLACE(.message = pair->message);
    if (!diff_reserved_number(reserved, old->number))
        diff_report(pair->diff, DIFF_FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED, place,
                    pair->message->name, old->name,
                    "field %" PRIu32 " \"%s\" was deleted without reserving its number, which a "
                    "later field could take for another meaning; add: reserved %" PRIu32 ";",
                    old->number, old->name, old->number);
    if (!diff_reserved_name(reserved, old->name))
        diff_report(pair->diff, DIFF_FIELD_NO_DELETE_UNLESS_NAME_RESERVED, place,
                    pair->message->name, old->name,
                    "field %" PRIu32 " \"%s\" was deleted without reserving its name, which a "
                    "later field could take for another meaning in JSON; add: reserved \"%s\";",
                    old->number, old->name, old->name);
}

/* Either of the pair's fields may be NULL: the other version alone has it. */
static void check_required(const struct pair *pair, bool was, bool is)
{
    if (was == is)
        return;
    const struct schema_field *field = pair->new ? pair->new : pair->old;
    diff_report(pair->diff, DIFF_MESSAGE_SAME_REQUIRED_FIELDS,
                DIFF_PLACE(.message = pair->message, .field = pair->new), pair->message->name,
                field->name,
                is ? "field %" PRIu32 " \"%s\" is required now, and messages of the old version "
                     "that lack it are refused; make it optional"
                   : "field %" PRIu32 " \"%s\" is no longer required, and readers of the old "
                     "version refuse messages that lack it; keep it as it was",
                field->number, field->name);
}

static void check_pair(const struct pair *pair)
{
    check_cardinality(pair);
    check_type(pair);
    check_names(pair);
    check_oneof(pair);
    check_default(pair);
    check_required(pair, pair->old->required, pair->new->required);
}

/* Both lists ascend by number. */
static void walk_fields(struct pair pair, const struct diff_reserved *reserved)
{
    const struct schema_message *old = pair.old_message, *new = pair.message;
    for (size_t i = 0, k = 0; i < old->field_count || k < new->field_count;) {
        pair.old = i < old->field_count ? &old->fields[i] : NULL;
        pair.new = k < new->field_count ? &new->fields[k] : NULL;
        if (pair.old && pair.new &&pair.old->number == pair.new->number) {
            check_pair(&pair);
            i++;
            k++;
        } else if (pair.old && (!pair.new || pair.old->number < pair.new->number)) {
            pair.new = NULL;
            check_deleted(&pair, reserved);
            check_required(&pair, pair.old->required, false);
            i++;
        } else {
            pair.old = NULL;
            check_required(&pair, false, pair.new->required);
            k++;
        }
    }
}

static bool is_message_set(const struct schema_message *message)
{
    return message->proto->options && message->proto->options->message_set_wire_format;
}

void diff_message_pair(struct diff *diff, const struct schema_message *old,
                       const struct schema_message *new)
{
    struct diff_reserved before, after;
    if (diff_file_is_proto3(old->file) && !diff_file_is_proto3(new->file))
        diff_report(diff, DIFF_MESSAGE_SAME_JSON_FORMAT, DIFF_PLACE(.message = new), new->name,
                    NULL,
                    "message \"%s\" moved from proto3 to proto2, which promises no JSON form; keep "
                    "syntax = \"proto3\"",
                    new->local);
    if (is_message_set(old) != is_message_set(new))
        diff_report(diff, DIFF_MESSAGE_SAME_MESSAGE_SET_WIRE_FORMAT,
                    DIFF_PLACE(.message = new, .part = MESSAGE_OPTIONS), new->name, NULL,
                    "message \"%s\" %s the message set format, which the other version does not "
                    "read; keep option message_set_wire_format = %s",
                    new->local, is_message_set(new) ? "is now in" : "left",
                    is_message_set(new) ? "false" : "true");
    diff_reserved_message(diff, old->proto, &before);
    diff_reserved_message(diff, new->proto, &after);
    walk_fields((struct pair){.diff = diff, .old_message = old, .message = new}, &after);
    diff_reserved_pair(diff, DIFF_RESERVED_MESSAGE_NO_DELETE, DIFF_PLACE(.message = new), new->name,
                       &before, &after);
    diff_reserved_deinit(&before);
    diff_reserved_deinit(&after);
}
