#include "support/test.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"

static void test_set_writes_the_sentence_and_passes_the_code(void **state)
{
    (void)state;
    struct error_text error;
    assert_int_equal(error_set(&error, -ENOENT, "no file \"%s\"", "x"), -ENOENT);
    assert_string_equal(error.text, "no file \"x\"");
}

static void test_nobody_need_listen(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, -EIO, "%d", 1), -EIO);
    assert_int_equal(error_prefix(NULL, 7, "%d", 1), 7);
}

static void test_prefix_goes_before_what_was_said(void **state)
{
    (void)state;
    struct error_text error;
    error_set(&error, 0, "reason");
    assert_int_equal(error_prefix(&error, -EPROTO, "%s %d", "call", 4), -EPROTO);
    assert_string_equal(error.text, "call 4: reason");
}

static void test_sentence_is_cut_at_the_limit(void **state)
{
    (void)state;
    char longest[ERROR_TEXT_BYTES_MAX + 1];
    memset(longest, 'a', sizeof(longest));
    longest[ERROR_TEXT_BYTES_MAX - 1] = '\0';
    struct error_text error;
    error_set(&error, 0, "%s", longest); /* just fits */
    assert_string_equal(error.text, longest);
    longest[ERROR_TEXT_BYTES_MAX - 1] = 'b';
    longest[ERROR_TEXT_BYTES_MAX] = '\0';
    error_set(&error, 0, "%s", longest); /* one more */
    assert_int_equal(strlen(error.text), ERROR_TEXT_BYTES_MAX - 1);
    assert_null(strchr(error.text, 'b'));
}

static void test_prefix_that_fills_the_text_leaves_it_terminated(void **state)
{
    (void)state;
    char prefix[ERROR_TEXT_BYTES_MAX * 2];
    memset(prefix, 'p', sizeof(prefix));
    for (size_t bytes = ERROR_TEXT_BYTES_MAX - 4; bytes <= ERROR_TEXT_BYTES_MAX + 1; bytes++) {
        struct error_text error;
        error_set(&error, 0, "old");
        error_prefix(&error, 0, "%.*s", (int)bytes, prefix);
        assert_int_equal(strnlen(error.text, sizeof(error.text)), ERROR_TEXT_BYTES_MAX - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_writes_the_sentence_and_passes_the_code),
        cmocka_unit_test(test_nobody_need_listen),
        cmocka_unit_test(test_prefix_goes_before_what_was_said),
        cmocka_unit_test(test_sentence_is_cut_at_the_limit),
        cmocka_unit_test(test_prefix_that_fills_the_text_leaves_it_terminated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
