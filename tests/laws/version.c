/*
 * A random first version: messages that refer to each other and to themselves, enums, oneofs, maps,
 * all scalar types, proto2 and proto3.
 *
 * Every message but the first is used by one before it, so that all of them are reached from the
 * method. Names are short and never given twice, so that nothing pairs by accident.
 */
#include "laws.h"

#include <stdlib.h>
#include <string.h>

static const int integer_types[] = {
    TYPE(INT32),  TYPE(INT64),   TYPE(UINT32),  TYPE(UINT64),   TYPE(SINT32),
    TYPE(SINT64), TYPE(FIXED32), TYPE(FIXED64), TYPE(SFIXED32), TYPE(SFIXED64),
};

bool type_is_integer(int type)
{
    for (size_t i = 0; i < sizeof(integer_types) / sizeof(integer_types[0]); i++)
        if (integer_types[i] == type)
            return true;
    return false;
}

int type_random_integer(uint64_t *random)
{
    return integer_types[random_below(random, sizeof(integer_types) / sizeof(integer_types[0]))];
}

void version_name(struct version *version, const char *stem, char *ret_name)
{
    (void)snprintf(ret_name, LAWS_NAME_BYTES, "%s%d", stem, version->names++);
}

static bool number_taken(const struct message *message, uint32_t number)
{
    for (int i = 0; i < message->field_count; i++)
        if (message->fields[i].number == number)
            return true;
    return false;
}

uint32_t field_free_number(const struct message *message, uint64_t *random)
{
    uint32_t number;
    do {
        switch (random_below(random, 20)) {
        case 0:
            number = 200 + random_below(random, 200); /* around the dense index's end */
            break;
        case 1:
            number = random_below(random, 2) ? LAWS_CARRIER_NUMBER - 1 - random_below(random, 5)
                                             : 20000 + random_below(random, 60000);
            break;
        default:
            number = 1 + random_below(random, 35);
        }
    } while (number_taken(message, number));
    return number;
}

static int random_scalar(uint64_t *random)
{
    static const int others[] = {TYPE(STRING), TYPE(STRING), TYPE(BYTES),
                                 TYPE(BOOL),   TYPE(FLOAT),  TYPE(DOUBLE)};
    if (random_below(random, 2))
        return type_random_integer(random);
    return others[random_below(random, sizeof(others) / sizeof(others[0]))];
}

static int random_key(uint64_t *random)
{
    int type = random_below(random, 2) ? TYPE(STRING) : type_random_integer(random);
    return random_below(random, 10) ? type : TYPE(BOOL);
}

static void pick_type(struct version *version, struct field *field, uint64_t *random, int messages)
{
    uint32_t what = random_below(random, 10);
    field->ref = REF_NONE;
    if (what < 2 && messages > 0) {
        field->type = TYPE(MESSAGE);
        field->ref = (int)random_below(random, (uint32_t)messages);
        if (random_below(random, 6) == 0)
            field->ref = REF_ANY + (int)random_below(random, 3);
    } else if (what < 4 && version->enum_count > 0) {
        field->type = TYPE(ENUM);
        field->ref = (int)random_below(random, (uint32_t)version->enum_count);
    } else {
        field->type = random_scalar(random);
    }
}

static void pick_default(struct field *field, uint64_t *random)
{
    if (random_below(random, 6))
        return;
    if (field->type == TYPE(STRING))
        strcpy(field->default_value, "stable");
    else if (field->type == TYPE(BOOL))
        strcpy(field->default_value, "true");
    else if (type_is_integer(field->type))
        strcpy(field->default_value, "7");
}

struct field field_random(struct version *version, struct message *message, uint64_t *random,
                          int messages)
{
    struct field field = {.oneof = -1, .packed = -1, .origin = -1};
    version_name(version, "f", field.name);
    field.number = field_free_number(message, random);
    pick_type(version, &field, random, messages);
    uint32_t label = random_below(random, 10);
    if (label < 3)
        field.label = LABEL_REPEATED;
    else if (label < 4)
        field.label = LABEL_MAP;
    else if (label < 6 && version->proto3 && field.type != TYPE(MESSAGE))
        field.label = LABEL_OPTIONAL;
    else if (label < 6 && !version->proto3 && field.type != TYPE(MESSAGE) &&
             random_below(random, 4) == 0)
        field.label = LABEL_REQUIRED;
    if (field.label == LABEL_MAP)
        field.key_type = random_key(random);
    bool packable =
        field.type != TYPE(STRING) && field.type != TYPE(BYTES) && field.type != TYPE(MESSAGE);
    if (field.label == LABEL_REPEATED && packable && random_below(random, 3) == 0)
        field.packed = (int)random_below(random, 2);
    if (!version->proto3 && field.label == LABEL_PLAIN)
        pick_default(&field, random);
    return field;
}

static void add_oneof(struct version *version, struct message *message, uint64_t *random)
{
    int members = 1 + (int)random_below(random, 3);
    if (message->oneof_count == LAWS_ONEOF_MAX || message->field_count + members > LAWS_FIELD_MAX)
        return;
    int oneof = message->oneof_count++;
    version_name(version, "o", message->oneofs[oneof]);
    for (int i = 0; i < members; i++) {
        struct field field = {.oneof = oneof, .packed = -1, .origin = -1};
        version_name(version, "f", field.name);
        field.number = field_free_number(message, random);
        pick_type(version, &field, random, version->message_count);
        message->fields[message->field_count++] = field;
    }
}

static void random_enum(struct version *version, struct enumeration *enumeration, uint64_t *random)
{
    int count = 1 + (int)random_below(random, 6);
    int32_t next = 0;
    version_name(version, "E", enumeration->name);
    version_name(version, "P", enumeration->prefix);
    for (int i = 0; i < count; i++) {
        struct value_name *value = &enumeration->values[enumeration->value_count++];
        version_name(version, "V", value->name);
        value->origin = -1;
        value->number = next;
        if (i > 0 && random_below(random, 12) == 0)
            value->number = -1 - i;
        next += 1 + (int32_t)random_below(random, 3);
    }
}

void version_random(struct version *version, uint64_t seed)
{
    uint64_t random = seed;
    *version = (struct version){.proto3 = random_below(&random, 3) > 0};
    for (uint32_t n = random_below(&random, 4); n > 0; n--)
        random_enum(version, &version->enums[version->enum_count++], &random);
    int count = 1 + (int)random_below(&random, 4);
    for (int i = 0; i < count; i++) {
        struct message *message = &version->messages[version->message_count++];
        version_name(version, "M", message->name);
        if (i == 0)
            continue;
        struct message *user = &version->messages[random_below(&random, (uint32_t)i)];
        struct field field = {.type = TYPE(MESSAGE), .ref = i, .oneof = -1, .packed = -1};
        field.origin = -1;
        version_name(version, "f", field.name);
        field.number = field_free_number(user, &random);
        field.label = random_below(&random, 2) ? LABEL_REPEATED : LABEL_PLAIN;
        user->fields[user->field_count++] = field;
    }
    for (int i = 0; i < count; i++) {
        struct message *message = &version->messages[i];
        for (uint32_t n = random_below(&random, i == 0 ? 9 : 5); n > 0; n--) {
            struct field field = field_random(version, message, &random, count);
            message->fields[message->field_count++] = field;
        }
        if (random_below(&random, 3) == 0)
            add_oneof(version, message, &random);
        for (uint32_t n = random_below(&random, 3); n > 0; n--) { /* what templates are made of */
            struct field field = {.type = TYPE(STRING), .ref = REF_NONE, .oneof = -1};
            field.packed = field.origin = -1;
            version_name(version, "f", field.name);
            field.number = field_free_number(message, &random);
            message->fields[message->field_count++] = field;
        }
    }
}
