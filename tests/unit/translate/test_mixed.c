/* Fields that change both their value and their structure: as if in two versions, one at a time. */
#include "rows.h"

#include "translate/between.h"

static struct versions versions;
static struct pairs wrapped, unwrapped, texts, picked, entries, choice, moved;

static int setup(void **state)
{
    (void)state;
    versions_init(&versions, MIXED_V1_SET, MIXED_V2_SET);
    wrapped = pairs_of(&versions, "mixed.v1.Wrapped", "mixed.v2.Wrapped", "Wrap");
    unwrapped = pairs_of(&versions, "mixed.v1.Unwrapped", "mixed.v2.Unwrapped", "Unwrap");
    texts = pairs_of(&versions, "mixed.v1.Texts", "mixed.v2.Texts", "Text");
    picked = pairs_of(&versions, "mixed.v1.Picked", "mixed.v2.Picked", "Pick");
    entries = pairs_of(&versions, "mixed.v1.Entries", "mixed.v2.Entries", "Entry");
    choice = pairs_of(&versions, "mixed.v1.Choice", "mixed.v2.Choice", "Choose");
    moved = pairs_of(&versions, "mixed.v1.Moved", "mixed.v2.Moved", "Move");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    versions_deinit(&versions);
    return 0;
}

static void test_text_becomes_a_number_in_a_message(void **state)
{
    (void)state;
    TRY_UP(&wrapped,
           {"{\"price\":\"7\"}", "{\"price\":{\"amount\":7}}", "{\"price\":{\"amount\":8}}",
            "{\"price\":\"8\"}"},
           {"{\"price\":\"007\"}", "{\"price\":{\"amount\":7}}", "{\"price\":{\"amount\":8}}",
            "{\"price\":\"8\"}"},
           {"{\"price\":\"x\"}", NULL, NULL, NULL},
           {"{\"prices\":[\"7\",\"08\"]}", "{\"prices\":[{\"amount\":7},{\"amount\":8}]}",
            "{\"prices\":[{\"amount\":7},{\"amount\":9}]}", "{\"prices\":[\"7\",\"9\"]}"},
           {"{\"seen\":{\"seconds\":\"5\",\"nanos\":3}}", "{\"seen\":{\"seconds\":\"5\"}}",
            "{\"seen\":{\"seconds\":\"6\"}}", "{\"seen\":{\"seconds\":\"6\"}}"});
    TRY_DOWN(&wrapped,
             {"{\"price\":{\"amount\":7,\"currency\":\"EUR\"}}", "{\"price\":\"7\"}",
              "{\"price\":\"9\"}", "{\"price\":{\"amount\":9,\"currency\":\"EUR\"}}"},
             {"{\"price\":{}}", "{}", "{\"price\":\"1\"}", "{\"price\":{\"amount\":1}}"});
}

static void test_values_of_an_enum_are_carried_beside_a_message(void **state)
{
    (void)state;
    TRY_UP(&wrapped, {"{\"grade\":\"GRADE_B\"}", "{\"grade\":{\"grade\":\"GRADE_B\"}}", NULL, NULL},
           {"{\"grade\":\"GRADE_C\"}", "{}", "{\"grade\":{\"grade\":\"GRADE_A\"}}",
            "{\"grade\":\"GRADE_A\"}"});
    TRY_DOWN(&wrapped,
             {"{\"grade\":{\"grade\":\"GRADE_PLUS\",\"by\":\"x\"}}", "{\"grade\":\"GRADE_A\"}",
              "{\"grade\":\"GRADE_B\"}", "{\"grade\":{\"grade\":\"GRADE_B\",\"by\":\"x\"}}"});
}

static void test_number_in_a_message_becomes_text(void **state)
{
    (void)state;
    TRY_UP(&unwrapped,
           {"{\"price\":{\"cents\":7,\"currency\":\"EUR\"}}", "{\"price\":\"7\"}",
            "{\"price\":\"08\"}", "{\"price\":{\"cents\":8,\"currency\":\"EUR\"}}"},
           {"{\"prices\":[{\"cents\":7},{\"cents\":8,\"currency\":\"EUR\"}]}",
            "{\"prices\":[\"7\",\"8\"]}", "{\"prices\":[\"8\"]}",
            "{\"prices\":[{\"cents\":8,\"currency\":\"EUR\"}]}"});
    TRY_DOWN(&unwrapped, {"{\"price\":\"007\"}", "{\"price\":{\"cents\":7}}",
                          "{\"price\":{\"cents\":8}}", "{\"price\":\"8\"}"});
}

static void test_bytes_are_split_as_text_and_texts_merge_to_bytes(void **state)
{
    (void)state;
    /* "YW55IDxhQGI+" is "any <a@b>", of which the bytes are base64 once more in JSON. */
    TRY_UP(&texts,
           {"{\"contact\":\"YZ8=\"}", "{\"contact\":{\"name\":\"YZ8=\"}}",
            "{\"contact\":{\"name\":\"YWI=\"}}", "{\"contact\":\"YWI=\"}"},
           {"{\"code\":{\"family\":\"ab01\"}}", "{\"code\":\"qwE=\"}", "{\"code\":\"qwI=\"}",
            "{\"code\":{\"family\":\"ab02\"}}"},
           {"{\"code\":{\"given\":\"a\",\"family\":\"b\"}}", NULL, NULL, NULL});
}

static void test_the_picked_one_is_converted(void **state)
{
    (void)state;
    TRY_UP(
        &picked,
        {"{\"sizes\":[\"07\",\"x\"]}", "{\"sizes\":7}", "{\"sizes\":8}",
         "{\"sizes\":[\"8\",\"x\"]}"},
        {"{\"grades\":[\"GRADE_C\",\"GRADE_B\"]}", "{}", "{\"grades\":\"GRADE_A\"}",
         "{\"grades\":[\"GRADE_A\",\"GRADE_B\"]}"},
        {"{\"weight\":5}", "{\"weight\":[\"5\"]}", "{\"weight\":[\"5\",\"6\"]}", "{\"weight\":6}"});
    TRY_DOWN(&picked, {"{\"weight\":[\"x\",\"05\"]}", "{\"weight\":5}", "{\"weight\":6}",
                       "{\"weight\":[\"x\",\"6\"]}"});
}

static void test_values_of_entries_are_converted(void **state)
{
    (void)state;
    TRY_UP(&entries,
           {"{\"stock\":{\"a\":\"01\"}}", "{\"stock\":[{\"name\":\"a\",\"count\":1}]}",
            "{\"stock\":[{\"name\":\"a\",\"count\":2}]}", "{\"stock\":{\"a\":\"2\"}}"},
           {"{\"rest\":[{\"name\":\"a\",\"count\":1,\"note\":\"n\"}]}", "{\"rest\":{\"a\":\"1\"}}",
            "{\"rest\":{\"a\":\"2\"}}",
            "{\"rest\":[{\"name\":\"a\",\"count\":2,\"note\":\"n\"}]}"});
    TRY_DOWN(&entries, {"{\"stock\":[{\"name\":\"a\",\"count\":1,\"note\":\"n\"}]}",
                        "{\"stock\":{\"a\":\"1\"}}", "{\"stock\":{\"a\":\"3\"}}",
                        "{\"stock\":[{\"name\":\"a\",\"count\":3,\"note\":\"n\"}]}"});
}

static void test_members_of_new_oneofs_are_converted(void **state)
{
    (void)state;
    TRY_UP(&choice,
           {"{\"number\":\"07\"}", "{\"number\":7}", "{\"text\":\"t\"}", "{\"text\":\"t\"}"},
           {"{\"number\":\"07\",\"text\":\"t\"}", "{\"text\":\"t\"}", "{\"number\":8}",
            "{\"number\":\"8\"}"});
}

static void test_moved_values_are_converted(void **state)
{
    (void)state;
    TRY_UP(&moved,
           {"{\"size\":\"07\"}", "{\"place\":{\"size\":\"7\"}}", "{\"place\":{\"size\":\"8\"}}",
            "{\"size\":\"8\"}"},
           {"{\"place\":{\"floor\":3,\"street\":\"s\"}}",
            "{\"place\":{\"street\":\"s\"},\"floor\":\"3\"}",
            "{\"place\":{\"street\":\"s\"},\"floor\":\"04\"}",
            "{\"place\":{\"floor\":4,\"street\":\"s\"}}"},
           {"{\"grade\":\"GRADE_C\"}", "{}", "{\"place\":{\"grade\":\"GRADE_B\"}}",
            "{\"grade\":\"GRADE_B\"}"},
           {"{\"kib\":4}", "{\"room\":{\"bytes\":\"4096\"}}", "{\"room\":{\"bytes\":\"8193\"}}",
            "{\"kib\":8}"});
    TRY_DOWN(&moved,
             {"{\"room\":{\"bytes\":\"4113\"}}", "{\"kib\":4}", "{\"kib\":8}",
              "{\"room\":{\"bytes\":\"8192\"}}"},
             {"{\"place\":{\"grade\":\"GRADE_PLUS\"}}", "{\"grade\":\"GRADE_A\"}",
              "{\"grade\":\"GRADE_B\"}", "{\"place\":{\"grade\":\"GRADE_B\"}}"});
}

/* ---- Limits ---- */

/* The version with @count more fields like Picked.sizes. */
static struct schema *with_more(const char *path, unsigned count)
{
    typedef Google__Protobuf__FieldDescriptorProto Field;
    struct set set = set_read(path);
    Google__Protobuf__FileDescriptorSet *files = set_unpack(&set);
    Google__Protobuf__FileDescriptorProto *file = files->file[files->n_file - 1];
    Google__Protobuf__DescriptorProto *message = NULL;
    for (size_t i = 0; i < file->n_message_type; i++)
        if (strcmp(file->message_type[i]->name, "Picked") == 0)
            message = file->message_type[i];
    assert_non_null(message);
    Field **fields = calloc(message->n_field + count, sizeof(*fields));
    Field *more = calloc(count + 1, sizeof(*more));
    char(*names)[16] = calloc(count + 1, sizeof(*names));
    assert_true(fields && more && names);
    memcpy(fields, message->field, message->n_field * sizeof(*fields));
    for (unsigned i = 0; i < count; i++) {
        more[i] = *message->field[0];
        more[i].name = more[i].json_name = names[i];
        (void)snprintf(names[i], sizeof(names[i]), "more%u", i);
        more[i].number = (int32_t)(100 + i);
        fields[message->n_field + i] = &more[i];
    }
    struct set packed;
    Field **before = message->field;
    message->field = fields;
    message->n_field += count;
    packed = set_pack(files);
    message->field = before;
    message->n_field -= count;
    struct schema *schema = NULL;
    struct error_text error = {""};
    if (schema_new(packed.data, packed.bytes, NULL, &schema, &error) < 0)
        fail_msg("%s", error.text);
    wire_free(files);
    free(set.data);
    free(packed.data);
    free(fields);
    free(more);
    free(names);
    return schema;
}

/* How many of this schema do already, apart from those that are added. */
#define DIVIDED_HERE 18

static void test_256_fields_may_change_both_and_not_257(void **state)
{
    (void)state;
    for (unsigned past = 0; past <= 1; past++) {
        struct schema *v1 = with_more(MIXED_V1_SET, 256 - DIVIDED_HERE + past);
        struct schema *v2 = with_more(MIXED_V2_SET, 256 - DIVIDED_HERE + past);
        struct between between;
        struct error_text error = {""};
        int r = between_make(v1, v2, &between, &error);
        assert_int_equal(r, past ? -EINVAL : 1);
        if (past)
            assert_non_null(strstr(error.text, "more than 256 fields"));
        between_deinit(&between);
        schema_unref(v1);
        schema_unref(v2);
    }
}

static void test_what_has_one_kind_of_rule_is_not_divided(void **state)
{
    (void)state;
    struct schema *v1 = schema_read(CONVERT_V1_SET), *v2 = schema_read(CONVERT_V2_SET);
    struct between between;
    assert_int_equal(between_make(v1, v2, &between, NULL), 0);
    between_deinit(&between);
    schema_unref(v1);
    schema_unref(v2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_becomes_a_number_in_a_message),
        cmocka_unit_test(test_values_of_an_enum_are_carried_beside_a_message),
        cmocka_unit_test(test_number_in_a_message_becomes_text),
        cmocka_unit_test(test_bytes_are_split_as_text_and_texts_merge_to_bytes),
        cmocka_unit_test(test_the_picked_one_is_converted),
        cmocka_unit_test(test_values_of_entries_are_converted),
        cmocka_unit_test(test_members_of_new_oneofs_are_converted),
        cmocka_unit_test(test_moved_values_are_converted),
        cmocka_unit_test(test_256_fields_may_change_both_and_not_257),
        cmocka_unit_test(test_what_has_one_kind_of_rule_is_not_divided),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
