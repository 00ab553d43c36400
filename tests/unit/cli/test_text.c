#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static void assert_duration(uint64_t ns, const char *expected)
{
    char buffer[TEXT_DURATION_BYTES];
    assert_string_equal(text_duration(ns, buffer), expected);
}

static void test_times_are_as_documents_have_them(void **state)
{
    static const struct {
        uint64_t s;
        const char *text;
    } times[] = {{59, "59.0 s"},       {60, "1m"},
                 {90, "1m30s"},        {600, "10m"},
                 {3600, "1h"},         {5400, "1h30m"},
                 {3601, "1h1s"},       {2592000, "720h"},
                 {86399, "23h59m59s"}, {UINT64_MAX / 1000000000, "5124095h34m33s"}};
    char buffer[TEXT_DURATION_BYTES];
    (void)state;
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
        assert_string_equal(text_time(times[i].s * 1000000000, buffer), times[i].text);
}

static void test_durations_have_three_digits_and_a_unit(void **state)
{
    (void)state;
    assert_duration(0, "0 ns");
    assert_duration(999, "999 ns");
    assert_duration(1000, "1.00 us");
    assert_duration(9994, "9.99 us");
    assert_duration(9995, "10.0 us");
    assert_duration(45678, "45.7 us");
    assert_duration(99949, "99.9 us");
    assert_duration(99950, "100 us");
    assert_duration(999499, "999 us");
    assert_duration(999500, "1.00 ms");
    assert_duration(12345678, "12.3 ms");
    assert_duration(UINT64_C(69000000000), "69.0 s");
}

static void test_the_longest_duration_fits_its_buffer(void **state)
{
    (void)state;
    char buffer[TEXT_DURATION_BYTES];
    const char *text = text_duration(UINT64_MAX, buffer);
    assert_string_equal(text, "18446744074 s");
}

static void assert_share(double percent, const char *expected)
{
    char buffer[TEXT_SHARE_BYTES];
    assert_string_equal(text_share(percent, buffer), expected);
}

static void test_shares_have_no_needless_digits(void **state)
{
    (void)state;
    assert_share(0, "0 %");
    assert_share(5, "5 %");
    assert_share(33.333, "33.333 %");
    assert_share(99.5, "99.5 %");
    assert_share(100, "100 %");
}

static void test_a_tiny_share_is_not_shown_as_none(void **state)
{
    (void)state;
    assert_share(0.0004, "<0.001 %");
}

static void test_a_share_that_is_none_is_bounded(void **state)
{
    (void)state;
    assert_share(-1, "0 %");
    assert_share(1e300, "100 %");
    assert_share(0.0 / 0.0, "0 %");
}

static char *printed(const struct table *table)
{
    char *text;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    table_print(table, out);
    fclose(out);
    return text;
}

static void test_columns_are_as_wide_as_their_widest_cell(void **state)
{
    (void)state;
    struct table *table = table_new((const char *const[]){"NAME", ">COUNT", "LAST", NULL});
    table_cell(table, "a");
    table_cell(table, "%d", 1);
    table_cell(table, "x");
    table_cell(table, "longer");
    table_cell(table, "%d", 1234567);
    table_cell(table, "y");
    char *text = printed(table);
    assert_string_equal(text, "NAME      COUNT  LAST\n"
                              "a             1  x\n"
                              "longer  1234567  y\n");
    free(text);
    table_free(table);
}

static void test_no_line_of_a_table_ends_in_a_blank(void **state)
{
    (void)state;
    struct table *table = table_new((const char *const[]){"A", "LONG TITLE", NULL});
    table_cell(table, "a");
    table_cell(table, "b");
    char *text = printed(table);
    assert_null(strstr(text, " \n"));
    free(text);
    table_free(table);
}

static void test_width_counts_characters_not_bytes(void **state)
{
    (void)state;
    struct table *table = table_new((const char *const[]){"A", "B", NULL});
    table_cell(table, "\xc3\xa9t\xc3\xa9"); /* three characters in five bytes */
    table_cell(table, "x");
    char *text = printed(table);
    assert_string_equal(text, "A    B\n\xc3\xa9t\xc3\xa9  x\n");
    free(text);
    table_free(table);
}

static void test_a_name_cannot_command_the_terminal(void **state)
{
    (void)state;
    struct table *table = table_new((const char *const[]){"A", NULL});
    table_cell(table, "x\033[2Jy\r\n\x7f\xc2\x9bz");
    char *text = printed(table);
    assert_string_equal(text, "A\nx?[2Jy??\?\?\?z\n");
    free(text);
    table_free(table);
}

static void test_many_rows_fit(void **state)
{
    (void)state;
    struct table *table = table_new((const char *const[]){"A", "B", NULL});
    for (int i = 0; i < 1000; i++) {
        table_cell(table, "%d", i);
        table_cell(table, "b");
    }
    char *text = printed(table);
    assert_non_null(strstr(text, "\n999  b\n"));
    free(text);
    table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times_are_as_documents_have_them),
        cmocka_unit_test(test_durations_have_three_digits_and_a_unit),
        cmocka_unit_test(test_the_longest_duration_fits_its_buffer),
        cmocka_unit_test(test_shares_have_no_needless_digits),
        cmocka_unit_test(test_a_tiny_share_is_not_shown_as_none),
        cmocka_unit_test(test_a_share_that_is_none_is_bounded),
        cmocka_unit_test(test_columns_are_as_wide_as_their_widest_cell),
        cmocka_unit_test(test_no_line_of_a_table_ends_in_a_blank),
        cmocka_unit_test(test_width_counts_characters_not_bytes),
        cmocka_unit_test(test_a_name_cannot_command_the_terminal),
        cmocka_unit_test(test_many_rows_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
