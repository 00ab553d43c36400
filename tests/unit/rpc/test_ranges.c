/* Ranges of versions that calls ask for, parsed once. */
#include "support/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "rpc/offers.h"

static struct ranges_kept *kept;
static struct error_text error;

static int end(void **state)
{
    (void)state;
    kept = ranges_free(kept);
    return 0;
}

static struct semver_ranges *get(const char *text)
{
    struct semver_ranges *ranges;
    if (ranges_get(&kept, text, &ranges, &error) < 0)
        fail_msg("%s", error.text);
    return ranges;
}

/* Has @count other texts parsed. */
static void others(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "~1.%u", i);
        semver_ranges_free(get(text));
    }
}

static void test_the_same_text_is_parsed_once(void **state)
{
    (void)state;
    struct semver_ranges *first = get("~2.1, ~1.4"), *second = get("~2.1, ~1.4");
    assert_ptr_equal(first, second);
    semver_ranges_free(first);
    semver_ranges_free(second);
    assert_ptr_equal(get("~2.1, ~1.4"), first);
    semver_ranges_free(first);
}

static void test_another_text_is_another_range(void **state)
{
    (void)state;
    struct semver version;
    struct semver_ranges *one = get("~1"), *two = get("~2");
    assert_int_equal(semver_parse("2.0.0", &version), 0);
    assert_int_equal(semver_ranges_match(one, &version), -1);
    assert_int_equal(semver_ranges_match(two, &version), 0);
    semver_ranges_free(one);
    semver_ranges_free(two);
}

static void test_so_many_are_kept_and_no_more(void **state)
{
    (void)state;
    struct semver_ranges *first = get(">=3"), *again;
    others(RPC_RANGES_KEPT - 1);
    again = get(">=3");
    assert_ptr_equal(again, first);
    semver_ranges_free(again);
    others(RPC_RANGES_KEPT); /* the first is replaced, and lives on in our hands */
    again = get(">=3");
    assert_ptr_not_equal(again, first);
    struct semver version;
    assert_int_equal(semver_parse("3.0.0", &version), 0);
    assert_int_equal(semver_ranges_match(first, &version), 0);
    semver_ranges_free(first);
    semver_ranges_free(again);
}

static void test_what_does_not_parse_is_not_kept(void **state)
{
    (void)state;
    struct semver_ranges *ranges;
    char text[SEMVER_RANGE_BYTES_MAX + 2];
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(ranges_get(&kept, "~x.y.z.", &ranges, &error), -EINVAL);
    memset(text, ' ', sizeof(text));
    text[0] = '1';
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(ranges_get(&kept, text, &ranges, &error), -EINVAL);
    text[sizeof(text) - 2] = '\0'; /* as long as may be */
    ranges = get(text);
    semver_ranges_free(ranges);
}

#define TEST(name) cmocka_unit_test_teardown(name, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_same_text_is_parsed_once),
        TEST(test_another_text_is_another_range),
        TEST(test_so_many_are_kept_and_no_more),
        TEST(test_what_does_not_parse_is_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
