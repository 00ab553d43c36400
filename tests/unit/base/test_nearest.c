#include "support/test.h"

#include <string.h>

#include "base/nearest.h"

static const char *const names[] = {"ls", "stats", "describe", "call", "route", "events"};

static const char *of_commands(const char *word)
{
    return nearest(word, names, 6);
}

static void test_a_mistyped_word_finds_its_neighbour(void **state)
{
    (void)state;
    assert_string_equal(of_commands("stat"), "stats");
    assert_string_equal(of_commands("sttas"), "stats");
    assert_string_equal(of_commands("CALL"), "call");
    assert_string_equal(of_commands("desc"), "describe");
    assert_string_equal(of_commands("event"), "events");
}

static void test_a_word_far_from_all_has_no_neighbour(void **state)
{
    (void)state;
    assert_null(of_commands("frobnicate"));
    assert_null(of_commands(""));
}

static void test_a_word_past_the_limit_has_no_neighbour(void **state)
{
    (void)state;
    char word[67];
    memset(word, 'a', sizeof(word));
    const char *const same[] = {word};
    word[64] = '\0';
    assert_ptr_equal(nearest(word, same, 1), word);
    word[64] = 'a';
    word[65] = '\0';
    assert_null(nearest(word, same, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_mistyped_word_finds_its_neighbour),
        cmocka_unit_test(test_a_word_far_from_all_has_no_neighbour),
        cmocka_unit_test(test_a_word_past_the_limit_has_no_neighbour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
