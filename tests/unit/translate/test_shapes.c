/* The rules on structure, by value: what docs/TRANSLATION.md promises of each. */
#include "forms.h"

/* ---- Methods ---- */

static void test_renamed_method_is_found_by_its_old_name(void **state)
{
    (void)state;
    uint32_t was = entry_of(forms.v1, "Was"), is = entry_of(forms.v2, "Is");
    assert_int_equal(plan_method(forms.up_requests, was), is);
    assert_int_equal(plan_method(forms.down_replies, was), is);
    assert_int_equal(plan_method(forms.down_requests, is), was);
    assert_int_equal(plan_method(forms.up_replies, is), was);
}

static void test_method_whose_name_was_taken_over_is_missing(void **state)
{
    (void)state;
    assert_int_equal(plan_method(forms.up_requests, entry_of(forms.v1, "Is")), PLAN_METHOD_NONE);
    assert_int_equal(plan_method(forms.down_requests, entry_of(forms.v2, "New")),
                     PLAN_METHOD_NONE);
}

/* ---- Merge ---- */

static void test_merged_message_is_split_again(void **state)
{
    (void)state;
    static const struct trip trips[] = {
        {UP, "{\"author\":{\"name\":\"Ann\",\"mail\":\"a@b\"},\"title\":\"t\"}",
         "{\"author\":\"Ann <a@b>\",\"title\":\"t\"}", {0}, NULL, NULL},
        {UP, "{\"author\":{\"name\":\"Ann\"}}", "{\"author\":\"Ann\"}", {0}, NULL, NULL},
        {UP, "{\"author\":{\"name\":\"Ann\",\"since\":7}}", "{\"author\":\"Ann\"}", {0}, NULL,
         NULL},
        {UP, "{\"author\":{}}", "{}", {0}, NULL, NULL},
        {UP, "{\"author\":{\"name\":\"Ann\",\"since\":7}}", NULL, {0}, "{\"author\":\"Bob <b>\"}",
         "{\"author\":{\"name\":\"Bob\",\"mail\":\"b\"}}"},
        {UP, "{\"author\":{\"name\":\"Ann\",\"since\":7}}", NULL, {3}, NULL, "{}"},
        {DOWN, "{\"author\":\"Ann <a@b>\"}", "{\"author\":{\"name\":\"Ann\",\"mail\":\"a@b\"}}",
         {0}, NULL, NULL},
        {DOWN, "{\"author\":\" <>\"}", "{\"author\":{\"name\":\" <>\"}}", {0}, NULL, NULL},
    };
    assert_trips("Merged", trips);
    assert_form_comes_back("Merged", merge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_renamed_method_is_found_by_its_old_name),
        cmocka_unit_test(test_method_whose_name_was_taken_over_is_missing),
        cmocka_unit_test(test_merged_message_is_split_again),
    };
    return cmocka_run_group_tests(tests, forms_setup, forms_teardown);
}
