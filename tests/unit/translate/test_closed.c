/* Closed enums, of proto2: what they do not declare is no value of the field, on either side. */
#include "rows.h"

static struct versions versions;
static struct pairs kinds;

static int setup(void **state)
{
    (void)state;
    versions_init(&versions, CLOSED_V1_SET, CLOSED_V2_SET);
    kinds = pairs_of(&versions, "closed.v1.Kinds", "closed.v2.Kinds", "Get");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    versions_deinit(&versions);
    return 0;
}

/* The other version reads @there; unedited, the same bytes come back. */
static void assert_left_out(const uint8_t *sent, size_t bytes, const char *there)
{
    struct bytes in = bytes_of(sent, bytes), got = must_run(kinds.up, kinds.entry, in);
    assert_json(kinds.v2, got, there, "left out");
    struct bytes back = must_run(kinds.down, kinds.entry, got);
    assert_int_equal(back.bytes, bytes);
    assert_memory_equal(back.data, sent, bytes);
    free(in.data);
    free(got.data);
    free(back.data);
}

#define LEFT_OUT(there, ...)                                                                       \
    do {                                                                                           \
        const uint8_t sent_[] = {__VA_ARGS__};                                                     \
        assert_left_out(sent_, sizeof(sent_), there);                                              \
    } while (0)

static void test_values_that_the_other_enum_lacks_are_left_out_and_come_back(void **state)
{
    (void)state;
    LEFT_OUT("{}", 0x08, 9);    /* KIND_OLD */
    LEFT_OUT("{}", 0x08, 3);    /* KIND_GONE: 3 is KIND_NEW there */
    LEFT_OUT("{}", 0x08, 0x4d); /* nobody's */
    LEFT_OUT("{\"list\": [\"KIND_ONE\", \"KIND_TWO\"]}", 0x10, 1, 0x10, 9, 0x10, 2);
    LEFT_OUT("{\"packed\": [\"KIND_TWO\"]}", 0x1a, 4, 2, 3, 9, 5);
    LEFT_OUT("{\"packed\": []}", 0x1a, 1, 3);
    LEFT_OUT("{}", 0x28, 9); /* in the oneof */
}

static void test_a_field_of_values_that_are_left_out_can_be_edited(void **state)
{
    (void)state;
    TRY_UP(&kinds,
           {"{\"single\": \"KIND_GONE\"}", "{}", "{\"single\": \"KIND_ONE\"}",
            "{\"single\": \"KIND_ONE\"}"},
           {"{\"list\": [\"KIND_ONE\", \"KIND_OLD\"]}", "{\"list\": [\"KIND_ONE\"]}",
            "{\"list\": [\"KIND_ONE\", \"KIND_ONE\"]}", "{\"list\": [\"KIND_ONE\", \"KIND_ONE\"]}"},
           {"{\"kind\": \"KIND_OLD\"}", "{}", "{\"text\": \"x\"}", "{\"text\": \"x\"}"});
    TRY_DOWN(&kinds,
             {"{\"single\": \"KIND_FREE\"}", "{}", "{\"single\": \"KIND_TWO\"}",
              "{\"single\": \"KIND_TWO\"}"},
             {"{\"single\": \"KIND_NEW\"}", "{\"single\": \"KIND_ONE\"}", "{}", "{}"},
             {"{\"byName\": {\"a\": \"SORT_D\", \"b\": \"SORT_A\"}}",
              "{\"byName\": {\"b\": \"SORT_A\"}}", "{\"byName\": {\"b\": \"SORT_B\"}}",
              "{\"byName\": {\"b\": \"SORT_B\"}}"});
}

static void test_what_came_before_a_value_that_is_left_out_is_not_what_a_oneof_holds(void **state)
{
    (void)state;
    const uint8_t sent[] = {0x22, 1, 'x', 0x28, 9};
    struct bytes in = bytes_of(sent, sizeof(sent)), got = must_run(kinds.up, kinds.entry, in);
    struct bytes back = must_run(kinds.down, kinds.entry, got);
    assert_json(kinds.v2, got, "{}", "text, then KIND_OLD");
    assert_json(kinds.v1, back, "{\"kind\": \"KIND_OLD\"}", "and back");
    free(in.data);
    free(got.data);
    free(back.data);
}

static void test_a_closed_enum_beside_text_and_numbers_has_what_it_declares(void **state)
{
    (void)state;
    TRY_UP(&kinds,
           {"{\"name\": \"KIND_TWO\", \"number\": 2}",
            "{\"name\": \"two\", \"number\": \"KIND_ONE\"}", "{\"name\": \"one\"}",
            "{\"name\": \"KIND_ONE\"}"},
           {"{\"number\": 77}", "{\"number\": \"KIND_TWO\"}", "{\"number\": \"KIND_ONE\"}",
            "{\"number\": 2}"});
    LEFT_OUT("{}", 0x38, 0x4d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_that_the_other_enum_lacks_are_left_out_and_come_back),
        cmocka_unit_test(test_a_field_of_values_that_are_left_out_can_be_edited),
        cmocka_unit_test(test_what_came_before_a_value_that_is_left_out_is_not_what_a_oneof_holds),
        cmocka_unit_test(test_a_closed_enum_beside_text_and_numbers_has_what_it_declares),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
