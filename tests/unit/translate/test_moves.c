/* Moves between nesting levels, of everything that can move, in both directions. */
#include "forms.h"

static void test_values_move_into_a_new_message_and_out_of_it(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP,
         "{\"title\":\"t\",\"words\":[\"a\",\"b\"],\"part\":{\"name\":\"p\"},\"marks\":[1,2]}",
         "{\"info\":{\"title\":\"t\",\"words\":[\"a\",\"b\"],\"part\":{\"name\":\"p\"},\"marks\":["
         "1,2]}}",
         {0},
         NULL,
         NULL},
        {UP, "{\"words\":[\"\"]}", "{\"info\":{\"words\":[\"\"]}}", {0}, NULL, NULL},
        {UP, "{\"part\":{}}", "{\"info\":{\"part\":{}}}", {0}, NULL, NULL},
        {UP, "{}", "{}", {0}, NULL, NULL},
        {DOWN, "{\"info\":{}}", "{}", {0}, NULL, NULL},
        {DOWN, "{\"info\":{\"more\":\"m\",\"sizes\":[\"SIZE_LARGE\"]}}", "{}", {0}, NULL, NULL},
        {DOWN,
         "{\"info\":{\"words\":[\"a\"],\"more\":\"m\"}}",
         "{\"words\":[\"a\"]}",
         {0},
         NULL,
         NULL},
        {DOWN,
         "{\"info\":{\"words\":[\"a\"],\"more\":\"m\"}}",
         NULL,
         {0},
         "{\"words\":[\"b\"],\"part\":{\"weight\":1}}",
         "{\"info\":{\"words\":[\"a\",\"b\"],\"part\":{\"weight\":\"1\"},\"more\":\"m\"}}"},
        {DOWN,
         "{\"info\":{\"words\":[\"a\"],\"more\":\"m\"}}",
         NULL,
         {2},
         NULL,
         "{\"info\":{\"more\":\"m\"}}"},
    };
    assert_trips("Moved", trips);
}

static void test_values_move_out_of_a_message_that_is_gone(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP,
         "{\"links\":{\"homepage\":\"h\",\"mirrors\":[\"m\",\"n\"]}}",
         "{\"homepage\":\"h\",\"mirrors\":[\"m\",\"n\"]}",
         {0},
         NULL,
         NULL},
        {UP,
         "{\"links\":{\"homepage\":\"h\",\"bugs\":\"b\"}}",
         NULL,
         {0},
         "{\"homepage\":\"i\"}",
         "{\"links\":{\"homepage\":\"i\",\"bugs\":\"b\"}}"},
        {UP, "{\"links\":{\"bugs\":\"b\"}}", "{}", {0}, NULL, NULL},
        {UP, "{\"links\":{}}", "{}", {0}, NULL, NULL},
        {UP,
         "{\"links\":{\"deep\":{\"x\":3,\"note\":\"n\"}}}",
         "{\"info\":{\"x\":3}}",
         {0},
         NULL,
         NULL},
        {UP, "{\"links\":{\"deep\":{}}}", "{}", {0}, NULL, NULL},
        {DOWN,
         "{\"homepage\":\"h\",\"info\":{\"x\":4,\"more\":\"m\"}}",
         "{\"links\":{\"homepage\":\"h\",\"deep\":{\"x\":4}}}",
         {0},
         NULL,
         NULL},
    };
    assert_trips("Moved", trips);
}

static void test_values_move_into_and_out_of_messages_that_both_have(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP,
         "{\"place\":{\"city\":\"c\",\"tags\":[\"t\"],\"floor\":2},\"code\":\"k\"}",
         "{\"place\":{\"city\":\"c\",\"code\":\"k\",\"spot\":{\"tags\":[\"t\"]}},\"level\":2}",
         {0},
         NULL,
         NULL},
        {UP, "{\"code\":\"k\"}", "{\"place\":{\"code\":\"k\"}}", {0}, NULL, NULL},
        {UP, "{\"place\":{},\"code\":\"k\"}", "{\"place\":{\"code\":\"k\"}}", {0}, NULL, NULL},
        {UP, "{\"place\":{}}", "{\"place\":{}}", {0}, NULL, NULL},
        {UP, "{\"place\":{\"floor\":3}}", "{\"level\":3}", {0}, NULL, NULL},
        {UP,
         "{\"place\":{\"tags\":[\"t\"]}}",
         "{\"place\":{\"spot\":{\"tags\":[\"t\"]}}}",
         {0},
         NULL,
         NULL},
        {UP,
         "{\"a\":{\"x\":1,\"keep\":\"k\"},\"b\":{\"keep\":\"l\"}}",
         "{\"a\":{\"keep\":\"k\"},\"b\":{\"x\":1,\"keep\":\"l\"}}",
         {0},
         NULL,
         NULL},
        {UP,
         "{\"a\":{\"x\":1,\"part\":{\"name\":\"p\"}}}",
         "{\"b\":{\"x\":1,\"box\":{\"part\":{\"name\":\"p\"}}}}",
         {0},
         NULL,
         NULL},
        {UP, "{\"a\":{\"x\":1},\"b\":{}}", "{\"b\":{\"x\":1}}", {0}, NULL, NULL},
        {DOWN,
         "{\"b\":{\"box\":{\"part\":{},\"label\":\"l\"}}}",
         "{\"a\":{\"part\":{}},\"b\":{}}",
         {0},
         NULL,
         NULL},
        {DOWN, "{\"b\":{\"box\":{}}}", "{\"b\":{}}", {0}, NULL, NULL},
        {DOWN,
         "{\"level\":5,\"place\":{\"spot\":{\"tags\":[\"t\"],\"extra\":\"e\"}}}",
         NULL,
         {0},
         NULL,
         NULL},
        {DOWN, "{\"a\":{},\"b\":{\"x\":2}}", "{\"a\":{\"x\":2}}", {0}, NULL, NULL},
    };
    assert_trips("Moved", trips);
}

static void test_edit_of_a_moved_value_wins_and_a_deleted_message_stays_deleted(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP,
         "{\"place\":{},\"code\":\"k\"}",
         NULL,
         {0},
         "{\"place\":{\"code\":\"l\"}}",
         "{\"place\":{},\"code\":\"l\"}"},
        {UP, "{\"place\":{},\"code\":\"k\"}", NULL, {5}, NULL, "{}"},
        {UP, "{\"a\":{\"x\":1},\"b\":{}}", NULL, {7}, NULL, "{}"},
        {UP,
         "{\"place\":{\"city\":\"c\",\"floor\":2}}",
         NULL,
         {6},
         "{\"place\":{\"city\":\"d\"}}",
         "{\"place\":{\"city\":\"d\"}}"},
        {DOWN,
         "{\"b\":{\"box\":{\"part\":{\"name\":\"p\"},\"label\":\"l\"}}}",
         NULL,
         {0},
         "{\"a\":{\"part\":{\"name\":\"q\"}}}",
         "{\"b\":{\"box\":{\"part\":{\"name\":\"q\"},\"label\":\"l\"}}}"},
    };
    assert_trips("Moved", trips);
}

static void test_lists_and_maps_are_moved_dropped_and_carried(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP,
         "{\"parts\":{\"k\":{\"name\":\"p\",\"weight\":3}}}",
         "{\"info\":{\"parts\":{\"k\":{\"name\":\"p\",\"weight\":\"3\"}}}}",
         {0},
         NULL,
         NULL},
        {UP,
         "{\"gone\":{\"1\":\"a\",\"2\":\"b\"},\"gone_parts\":[{\"name\":\"p\"},{}]}",
         "{}",
         {0},
         NULL,
         NULL},
        {DOWN,
         "{\"added\":{\"k\":\"v\"},\"info\":{\"more\":\"m\"}}",
         "{}",
         {0},
         "{\"title\":\"t\"}",
         "{\"added\":{\"k\":\"v\"},\"info\":{\"title\":\"t\",\"more\":\"m\"}}"},
    };
    assert_trips("Moved", trips);
}

static void test_moved_fields_of_every_message_come_back(void **state)
{
    (void)state;
    assert_form_comes_back("Moved", move);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_move_into_a_new_message_and_out_of_it),
        cmocka_unit_test(test_values_move_out_of_a_message_that_is_gone),
        cmocka_unit_test(test_values_move_into_and_out_of_messages_that_both_have),
        cmocka_unit_test(test_edit_of_a_moved_value_wins_and_a_deleted_message_stays_deleted),
        cmocka_unit_test(test_lists_and_maps_are_moved_dropped_and_carried),
        cmocka_unit_test(test_moved_fields_of_every_message_come_back),
    };
    return cmocka_run_group_tests(tests, forms_setup, forms_teardown);
}
