#include "support/test.h"

#include <errno.h>

#include "base/clock.h"
#include "base/duration.h"

static void test_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ns;
    } cases[] = {{"1", NS_PER_S},
                 {"1.5s", 1500 * NS_PER_MS},
                 {"200ms", 200 * NS_PER_MS},
                 {"3us", 3000},
                 {"1ns", 1},
                 {"2m", 120 * NS_PER_S},
                 {"2min", 120 * NS_PER_S},
                 {"1h", 3600 * NS_PER_S}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t ns = 0;
        assert_int_equal(duration_parse(cases[i].text, 3600 * NS_PER_S, &ns), 0);
        assert_int_equal(ns, cases[i].ns);
    }
}

static void test_what_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",    "s",    "-1s",  "+1s", "0",   "0.1ns", "1x",
                                        "1 s", "1e3s", "0x1s", "nan", "inf", "1.1.1s"};
    uint64_t ns = 77;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(duration_parse(texts[i], 3600 * NS_PER_S, &ns), -EINVAL);
    assert_int_equal(ns, 77);
}

static void test_longest_is_the_limit(void **state)
{
    (void)state;
    uint64_t ns = 0;
    assert_int_equal(duration_parse("60m", 3600 * NS_PER_S, &ns), 0);
    assert_int_equal(duration_parse("3600.001s", 3600 * NS_PER_S, &ns), -EINVAL);
    assert_int_equal(duration_parse("99999999999999999999999h", UINT64_MAX, &ns), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_what_is_none_is_refused),
        cmocka_unit_test(test_longest_is_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
