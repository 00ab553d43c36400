#include "support/test.h"

#include <errno.h>
#include <string.h>

#include "base/pattern.h"

static bool fits(const char *pattern_text, const char *text)
{
    struct pattern *pattern;
    struct error_text error = {0};
    if (pattern_new(pattern_text, strlen(pattern_text), &pattern, &error) < 0)
        fail_msg("%s", error.text);
    bool result = pattern_fits(pattern, text, strlen(text));
    assert_true(result == pattern_fits(pattern, text, strlen(text))); /* as often as one likes */
    pattern_free(pattern);
    return result;
}

static void test_a_pattern_is_of_the_whole_value(void **state)
{
    (void)state;
    assert_true(fits("v[0-9]+", "v12"));
    assert_false(fits("v[0-9]+", "av12"));
    assert_false(fits("v[0-9]+", "v12b"));
    assert_false(fits("v[0-9]+$", "v12\n"));
    assert_true(fits("a|ab", "ab"));
    assert_true(fits("(a)(b)(c)(d)", "abcd")); /* more groups than the match block has places */
    assert_true(fits(".*", ""));
    assert_true(fits("a.b", "a\nb"));
}

static void test_values_of_any_bytes_are_tried(void **state)
{
    (void)state;
    struct pattern *pattern;
    struct error_text error = {0};
    assert_int_equal(pattern_new("a..", 3, &pattern, &error), 0);
    assert_true(pattern_fits(pattern, "a\0\xff", 3));
    assert_false(pattern_fits(pattern, "a\0", 2));
    pattern_free(pattern);
}

static void test_what_is_no_pattern_is_refused_with_its_place(void **state)
{
    (void)state;
    struct pattern *pattern;
    struct error_text error = {0};
    assert_int_equal(pattern_new("ab(c", 4, &pattern, &error), -EINVAL);
    assert_non_null(strstr(error.text, "at byte 4"));
    assert_int_equal(pattern_new("[z-a]", 5, &pattern, &error), -EINVAL);
    assert_int_equal(pattern_new("(*UTF)a", 7, &pattern, &error), -EINVAL);
    assert_int_equal(pattern_new("a\\C", 3, &pattern, &error), -EINVAL);
}

static void test_patterns_are_bounded(void **state)
{
    (void)state;
    char text[PATTERN_BYTES_MAX + 1];
    struct pattern *pattern;
    struct error_text error = {0};
    memset(text, 'a', sizeof(text));
    assert_int_equal(pattern_new(text, 0, &pattern, &error), -EINVAL);
    assert_int_equal(pattern_new(text, PATTERN_BYTES_MAX + 1, &pattern, &error), -EINVAL);
    assert_int_equal(pattern_new(text, PATTERN_BYTES_MAX, &pattern, &error), 0);
    assert_true(pattern_fits(pattern, text, PATTERN_BYTES_MAX));
    pattern_free(pattern);
    for (size_t depth = PATTERN_NESTING_MAX; depth <= PATTERN_NESTING_MAX + 1; depth++) {
        memset(text, '(', depth);
        text[depth] = 'a';
        memset(text + depth + 1, ')', depth);
        int r = pattern_new(text, 2 * depth + 1, &pattern, &error);
        assert_int_equal(r, depth == PATTERN_NESTING_MAX ? 0 : -EINVAL);
        if (r == 0)
            pattern_free(pattern);
    }
    /* Compiled, it would be larger than all memory. */
    static const char huge[] = "(((a{255}){255}){255}){255}";
    assert_int_equal(pattern_new(huge, sizeof(huge) - 1, &pattern, &error), -EINVAL);
}

/* Without a limit each of them runs for longer than a test may. */
static void test_what_a_hostile_value_costs_is_bounded(void **state)
{
    (void)state;
    char text[4096];
    static const char *const patterns[] = {"(a+)+b", "(a|aa)*b", "(.*)(.*)(.*)(.*)(.*)(.*)\\1c",
                                           "((a*)*)*b", "(?:(?R)|a)+b"};
    memset(text, 'a', sizeof(text));
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        struct pattern *pattern;
        struct error_text error = {0};
        if (pattern_new(patterns[i], strlen(patterns[i]), &pattern, &error) < 0)
            continue; /* as good */
        assert_false(pattern_fits(pattern, text, sizeof(text)));
        pattern_free(pattern);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_pattern_is_of_the_whole_value),
        cmocka_unit_test(test_values_of_any_bytes_are_tried),
        cmocka_unit_test(test_what_is_no_pattern_is_refused_with_its_place),
        cmocka_unit_test(test_patterns_are_bounded),
        cmocka_unit_test(test_what_a_hostile_value_costs_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
