#include "support/test.h"

#include "base/rate.h"

static void test_per_cent_become_shares(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t rate;
    } good[] = {
        {"0", 0},         {"1", 1000},        {"1%", 1000}, {"1 %", 1000},       {"100", 100000},
        {"100%", 100000}, {"0.05", 50},       {".5", 500},  {"0.001", 1},        {"0.0001", 1},
        {"0.0004%", 1},   {"33.3333", 33333}, {"0.0", 0},   {"100.000", 100000},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        uint32_t rate = 77;
        assert_int_equal(rate_parse(good[i].text, &rate), 0);
        assert_int_equal(rate, good[i].rate);
    }
}

static void test_what_is_no_share_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",     "%",   "-1",  "100.001", "101",  "1%%",
                                      "1 % ", "one", "nan", "inf",     "0x1",  "1e1",
                                      " 1",   "1,5", ".",   "+1",      "1.2.3"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint32_t rate = 77;
        if (rate_parse(bad[i], &rate) == 0)
            fail_msg("'%s' is taken", bad[i]);
        assert_int_equal(rate, 77);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_per_cent_become_shares),
        cmocka_unit_test(test_what_is_no_share_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
