/*
 * The descriptor loader on any bytes: what it refuses it says why, and what it takes is all there:
 * every type that a field refers to, every name. JSON of the first message is written from nothing.
 */
#include "fuzz.h"

static void check_message(const struct schema *schema, const struct schema_message *message)
{
    FUZZ_CHECK(schema_message_find(schema, message->name) == message);
    FUZZ_CHECK(message->field_count <= SCHEMA_FIELD_MAX);
    for (size_t i = 0; i < message->field_count; i++) {
        const struct schema_field *field = &message->fields[i];
        FUZZ_CHECK(i == 0 || field[-1].number < field->number);
        FUZZ_CHECK(field->name[0] && field->number >= 1 && field->number <= WIRE_NUMBER_MAX);
        FUZZ_CHECK(schema_field_number(message, field->number) == field);
        FUZZ_CHECK(schema_field_find(message, field->name) == field);
        FUZZ_CHECK(field->oneof < 0 || (size_t)field->oneof < message->oneof_count);
        if (field->enumeration)
            FUZZ_CHECK(field->enumeration->value_count > 0);
        if (field->message)
            FUZZ_CHECK(schema_message_find(schema, field->message->name) == field->message);
    }
    char *json = NULL;
    if (json_from_wire(message, NULL, 0, 0, true, &json, NULL) == 0)
        FUZZ_CHECK(json[0] == '{');
    free(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct schema *schema = NULL;
    struct error_text error = {""};
    int r = schema_new(data, size, NULL, &schema, &error);
    FUZZ_CHECK((r == 0) == (schema != NULL));
    if (r < 0) {
        FUZZ_CHECK(error.text[0]);
        return 0;
    }
    FUZZ_CHECK(schema_service(schema)->interface->name);
    size_t count;
    const struct schema_message *const *messages = schema_messages(schema, &count);
    for (size_t i = 0; i < count; i++)
        check_message(schema, messages[i]);
    schema_unref(schema);
    return 0;
}
