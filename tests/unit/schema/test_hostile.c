/* Descriptor sets that a peer has cut or changed: an error, or a schema that holds together. */
#include "sets.h"

#include "base/random.h"

static unsigned refused, accepted;

/* Follows every pointer that a schema hands out. */
static void walk(const struct schema *schema)
{
    size_t count, sum = 0;
    const struct schema_message *const *messages = schema_messages(schema, &count);
    for (size_t i = 0; i < count; i++) {
        const struct schema_message *message = messages[i];
        assert_ptr_equal(schema_message_find(schema, message->name), message);
        sum += strlen(message->local) + strlen(message->package);
        for (size_t k = 0; k < message->field_count; k++) {
            const struct schema_field *field = &message->fields[k];
            assert_ptr_equal(schema_field_number(message, field->number), field);
            sum += strlen(field->name) + strlen(field->json_name);
            assert_true(field->oneof < (int32_t)message->oneof_count);
            assert_int_equal(
                field->message != NULL,
                field->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_MESSAGE ||
                    field->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_GROUP);
            if (field->message)
                assert_ptr_equal(messages[field->message->index], field->message);
            if (field->enumeration) {
                assert_ptr_equal(schema_enum_find(schema, field->enumeration->name),
                                 field->enumeration);
                assert_true(field->enumeration->value_count > 0);
            }
            if (field->rule && field->rule->from)
                sum += strlen(field->rule->from);
        }
        for (size_t k = 0; k < message->oneof_count; k++)
            sum += strlen(message->oneofs[k]);
    }
    const struct schema_service *service = schema_service(schema);
    assert_int_equal(schema_check_interface_name(service->interface->name), 0);
    for (size_t i = 0; i < service->method_count; i++)
        sum += strlen(service->methods[i].input->name) + strlen(service->methods[i].output->name);
    assert_true(sum > 0);
}

static void try(const uint8_t *data, size_t bytes)
{
    uint8_t *exact = malloc(bytes + 1); /* so that a read past the end is seen */
    assert_non_null(exact);
    memcpy(exact, data, bytes);
    exact = realloc(exact, bytes > 0 ? bytes : 1);
    struct schema *schema = NULL;
    struct error_text error = {""};
    int r = schema_new(exact, bytes, NULL, &schema, &error);
    free(exact);
    if (r < 0) {
        assert_null(schema);
        assert_true(error.text[0] != '\0');
        for (const char *c = error.text; *c; c++)
            assert_true(*c >= 0x20 && *c != 0x7f);
        refused++;
        return;
    }
    walk(schema);
    schema_unref(schema);
    accepted++;
}

static struct set own_files_only(const char *path)
{
    struct set set = set_read(path);
    Google__Protobuf__FileDescriptorSet *files = set_unpack(&set);
    /* Without the imports: the interesting bytes are the file's own. */
    files->file[0] = files->file[files->n_file - 1];
    files->n_file = 1;
    struct set own = set_pack(files);
    wire_free(files);
    free(set.data);
    return own;
}

static void test_set_cut_at_any_byte_is_refused_or_consistent(void **state)
{
    (void)state;
    const char *const paths[] = {KINDS_SET, KINDS2_SET, CATALOG_V2_SET};
    refused = accepted = 0;
    for (size_t i = 0; i < 3; i++) {
        struct set set = own_files_only(paths[i]);
        for (size_t bytes = 0; bytes < set.bytes; bytes++)
            try(set.data, bytes);
        assert_int_equal(accepted, 0); /* one file: every cut goes through it */
        try(set.data, set.bytes);
        assert_int_equal(accepted, 1);
        accepted = 0;
        free(set.data);
    }
    assert_true(refused > 1000);
}

static void test_set_with_random_bytes_changed_is_refused_or_consistent(void **state)
{
    (void)state;
    const char *const paths[] = {KINDS_SET, KINDS2_SET, CATALOG_V2_SET};
    uint64_t random = 20;
    refused = accepted = 0;
    for (size_t i = 0; i < 3; i++) {
        struct set set = own_files_only(paths[i]);
        uint8_t *data = malloc(set.bytes);
        assert_non_null(data);
        for (unsigned round = 0; round < 3000; round++) {
            memcpy(data, set.data, set.bytes);
            for (uint32_t n = 1 + random_below(&random, 3); n > 0; n--)
                data[random_below(&random, (uint32_t)set.bytes)] ^=
                    (uint8_t)(1u << random_below(&random, 8));
            try(data, set.bytes);
        }
        free(data);
        free(set.data);
    }
    assert_true(refused > 1000 && accepted > 100);
}

static void test_garbage_is_refused(void **state)
{
    (void)state;
    uint64_t random = 7;
    uint8_t data[256];
    refused = accepted = 0;
    for (unsigned round = 0; round < 2000; round++) {
        for (size_t i = 0; i < sizeof(data); i++)
            data[i] = (uint8_t)random_next(&random);
        try(data, random_below(&random, sizeof(data)));
    }
    assert_int_equal(accepted, 0);
}

/* Every single bit of what a client would send as JSON, and what a service would answer. */
static void test_messages_with_random_bytes_changed_become_json_or_errors(void **state)
{
    (void)state;
    static const char json[] =
        "{\"doubleValue\":1.5,\"int64Value\":\"-9\",\"bytesValue\":\"AAEC\",\"colour\":\"COLOUR_"
        "RED\","
        "\"inner\":{\"name\":\"x\",\"deep\":{\"text\":\"y\"}},\"numbers\":[1,2,3],\"texts\":[\"a\"]"
        ","
        "\"inners\":[{\"name\":\"b\"},{}],\"counts\":{\"one\":1,\"two\":2},\"byNumber\":{\"-1\":{}}"
        ","
        "\"byFlag\":{\"true\":\"t\"},\"maybe\":0,\"thing\":{\"next\":{}},\"reals\":[1,0.1]}";
    struct schema *schema = schema_read(KINDS_SET);
    const struct schema_message *message = schema_message_find(schema, "kinds.v1.Kinds");
    uint8_t *wire = NULL;
    size_t bytes;
    struct error_text error = {""};
    if (json_to_wire(message, json, &wire, &bytes, &error) < 0)
        fail_msg("%s", error.text);
    for (size_t i = 0; i < 8 * bytes; i++) {
        uint8_t *data = malloc(bytes);
        assert_non_null(data);
        memcpy(data, wire, bytes);
        data[i / 8] ^= (uint8_t)(1u << i % 8);
        char *text = NULL;
        error.text[0] = '\0';
        int r = json_from_wire(message, data, bytes - i % 3, 0, true, &text, &error);
        assert_int_equal(r < 0, error.text[0] != '\0');
        if (r == 0) {
            /* What was read can be written: the mapping has one idea of a message. */
            uint8_t *again = NULL;
            size_t again_bytes;
            if (json_to_wire(message, text, &again, &again_bytes, &error) < 0)
                fail_msg("%s: %s", text, error.text);
            free(again);
        }
        free(text);
        free(data);
    }
    free(wire);
    schema_unref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_cut_at_any_byte_is_refused_or_consistent),
        cmocka_unit_test(test_set_with_random_bytes_changed_is_refused_or_consistent),
        cmocka_unit_test(test_garbage_is_refused),
        cmocka_unit_test(test_messages_with_random_bytes_changed_become_json_or_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
