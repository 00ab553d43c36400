/* Outlier ejection as arithmetic: injected figures, injected time. */
#include "support/test.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "broker/eject.h"

#define INSTANCES 3
#define FAST 4  /* bucket: below 16 us */
#define SLOW 14 /* below 16 ms */

static const struct eject_settings defaults = EJECT_DEFAULTS;
static struct eject_figures figures[INSTANCES];
static enum eject_reason reasons[INSTANCES];

static void see(size_t i, uint64_t ended, uint64_t failed, unsigned bucket)
{
    figures[i] = (struct eject_figures){.ended = ended, .failed = failed};
    figures[i].bucket[bucket] = (uint32_t)(ended - failed);
}

static void compare(void)
{
    eject_compare(&defaults, figures, figures, INSTANCES, reasons);
}

static void all_are_well(uint64_t ended)
{
    for (size_t i = 0; i < INSTANCES; i++)
        see(i, ended, 0, FAST);
}

static void test_instances_that_are_alike_are_left_alone(void **state)
{
    (void)state;
    all_are_well(1000);
    compare();
    for (size_t i = 0; i < INSTANCES; i++)
        assert_int_equal(reasons[i], EJECT_NONE);
}

static void test_failures_in_a_row_are_enough_without_volume(void **state)
{
    (void)state;
    all_are_well(1);
    see(1, 5, 5, FAST);
    figures[1].in_a_row = 4;
    compare();
    assert_int_equal(reasons[1], EJECT_NONE);
    figures[1].in_a_row = 5;
    compare();
    assert_int_equal(reasons[1], EJECT_IN_A_ROW);
    assert_int_equal(reasons[0], EJECT_NONE);
}

/* Of many clients one has bad luck, or is at fault itself. */
static void test_a_row_that_one_client_saw_is_nothing_if_most_calls_end_well(void **state)
{
    (void)state;
    all_are_well(1000);
    see(1, 20, 9, FAST);
    figures[1].in_a_row = 9;
    compare();
    assert_int_equal(reasons[1], EJECT_NONE);
}

static void test_more_failures_than_the_others_need_volume_and_points(void **state)
{
    (void)state;
    all_are_well(1000);
    see(1, 49, 20, FAST);
    compare();
    assert_int_equal(reasons[1], EJECT_NONE); /* the volume is 50 */
    see(1, 50, 20, FAST);
    compare();
    assert_int_equal(reasons[1], EJECT_RATE);
    see(1, 100000, 9900, FAST);
    see(0, 100000, 0, FAST);
    compare();
    assert_int_equal(reasons[1], EJECT_NONE); /* 9.9 points */
    see(1, 100000, 10100, FAST);
    compare();
    assert_int_equal(reasons[1], EJECT_RATE);
}

static void test_what_chance_can_do_is_no_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < INSTANCES; i++)
        see(i, 50, 10, FAST);
    see(1, 50, 17, FAST); /* 14 points more, z is 2 */
    compare();
    assert_int_equal(reasons[1], EJECT_NONE);
}

static void test_who_fails_as_all_others_do_is_left(void **state)
{
    (void)state;
    for (size_t i = 0; i < INSTANCES; i++) {
        see(i, 1000, 600, FAST);
        figures[i].in_a_row = 100;
    }
    see(1, 1000, 1000, FAST);
    figures[1].in_a_row = 1000;
    compare();
    assert_int_equal(reasons[1], EJECT_NONE);
}

static void test_the_slow_one_is_seen_by_the_median(void **state)
{
    (void)state;
    all_are_well(1000);
    see(2, 10, 0, SLOW); /* who is slow has few calls: a fifth of the volume */
    compare();
    assert_int_equal(reasons[2], EJECT_SLOW);
    see(2, 9, 0, SLOW);
    compare();
    assert_int_equal(reasons[2], EJECT_NONE);
    see(2, 1000, 0, FAST);
    figures[2].bucket[SLOW] = 999; /* a stall, or a slow method: not half of them */
    compare();
    assert_int_equal(reasons[2], EJECT_NONE);
}

static void test_slower_by_microseconds_is_not_slow(void **state)
{
    (void)state;
    all_are_well(1000);
    see(2, 1000, 0, FAST + 6); /* 64 times, but below a millisecond */
    compare();
    assert_int_equal(reasons[2], EJECT_NONE);
}

static void test_alone_nobody_is_ejected(void **state)
{
    (void)state;
    see(0, 1000, 1000, FAST);
    figures[0].in_a_row = 1000;
    eject_compare(&defaults, figures, figures, 1, reasons);
    assert_int_equal(reasons[0], EJECT_NONE);
    assert_false(eject_may(&defaults, 1, 0));
}

static void test_one_of_two_or_more_may_be_ejected_and_then_a_tenth(void **state)
{
    (void)state;
    assert_true(eject_may(&defaults, 2, 0));
    assert_false(eject_may(&defaults, 2, 1));
    assert_true(eject_may(&defaults, 19, 0));
    assert_false(eject_may(&defaults, 19, 1));
    assert_true(eject_may(&defaults, 20, 1));
    assert_false(eject_may(&defaults, 20, 2));
    struct eject_settings all = defaults;
    all.share = 1;
    assert_true(eject_may(&all, 3, 1));
    assert_false(eject_may(&all, 3, 2)); /* somebody must be left */
}

static void test_each_ejection_in_a_row_is_longer_and_one_is_forgiven_in_a_base_time(void **state)
{
    (void)state;
    struct eject_state one = {0};
    const uint64_t base = defaults.base_ns;
    assert_int_equal(eject_begin(&defaults, 0, &one), base);
    assert_false(eject_restore(&defaults, base - 1, &one));
    assert_true(one.ejected);
    assert_true(eject_restore(&defaults, base, &one));
    assert_false(one.ejected);
    assert_int_equal(eject_begin(&defaults, base, &one), 2 * base);
    assert_true(eject_restore(&defaults, 3 * base, &one));
    assert_int_equal(one.times, 2);
    assert_false(eject_restore(&defaults, 4 * base, &one)); /* it was not ejected */
    assert_int_equal(one.times, 1);
    assert_false(eject_restore(&defaults, 5 * base, &one));
    assert_int_equal(one.times, 0);
    assert_int_equal(eject_begin(&defaults, 5 * base, &one), base);
}

static void test_no_ejection_is_longer_than_the_longest(void **state)
{
    (void)state;
    struct eject_state one = {.times = 28};
    assert_int_equal(eject_begin(&defaults, 0, &one), 29 * defaults.base_ns);
    assert_int_equal(eject_begin(&defaults, 0, &one), defaults.longest_ns);
    one.times = UINT32_MAX - 1;
    assert_int_equal(eject_begin(&defaults, 0, &one), defaults.longest_ns);
}

static void test_settings_are_read(void **state)
{
    (void)state;
    struct eject_settings settings;
    struct error_text error = {""};
    assert_int_equal(eject_parse("on", &settings, &error), 0);
    assert_memory_equal(&settings.interval_ns, &defaults.interval_ns, sizeof(uint64_t));
    assert_false(settings.off);
    assert_int_equal(eject_parse("off", &settings, &error), 0);
    assert_true(settings.off);
    assert_int_equal(eject_parse("interval=50ms,failures=3,volume=10,points=0.05,slow=2.5,"
                                 "slow-by=10ms,base=1s,longest=5m,share=0.5",
                                 &settings, &error),
                     0);
    assert_int_equal(settings.interval_ns, 50 * NS_PER_MS);
    assert_int_equal(settings.failures, 3);
    assert_int_equal(settings.volume, 10);
    assert_true(settings.points == 0.05 && settings.slow == 2.5 && settings.share == 0.5);
    assert_int_equal(settings.slow_ns, 10 * NS_PER_MS);
    assert_int_equal(settings.base_ns, NS_PER_S);
    assert_int_equal(settings.longest_ns, 300 * NS_PER_S);
}

static void test_settings_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",           "perhaps",     "interval",          "interval=",
        "interval=5", "interval=0s", "base=2d",           "base=1441m",
        "failures=0", "failures=-1", "volume=1e3",        "points=0",
        "points=1.1", "share=2",     "slow=0.5",          "slow=nan",
        "other=1",    "share=0.1,",  "share=0.1,,slow=2",
    };
    struct eject_settings settings;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error_text error = {""};
        if (eject_parse(bad[i], &settings, &error) != -EINVAL || !error.text[0])
            fail_msg("'%s' was accepted", bad[i]);
    }
    assert_int_equal(eject_parse("base=1440m", &settings, &(struct error_text){""}), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instances_that_are_alike_are_left_alone),
        cmocka_unit_test(test_failures_in_a_row_are_enough_without_volume),
        cmocka_unit_test(test_a_row_that_one_client_saw_is_nothing_if_most_calls_end_well),
        cmocka_unit_test(test_more_failures_than_the_others_need_volume_and_points),
        cmocka_unit_test(test_what_chance_can_do_is_no_reason),
        cmocka_unit_test(test_who_fails_as_all_others_do_is_left),
        cmocka_unit_test(test_the_slow_one_is_seen_by_the_median),
        cmocka_unit_test(test_slower_by_microseconds_is_not_slow),
        cmocka_unit_test(test_alone_nobody_is_ejected),
        cmocka_unit_test(test_one_of_two_or_more_may_be_ejected_and_then_a_tenth),
        cmocka_unit_test(test_each_ejection_in_a_row_is_longer_and_one_is_forgiven_in_a_base_time),
        cmocka_unit_test(test_no_ejection_is_longer_than_the_longest),
        cmocka_unit_test(test_settings_are_read),
        cmocka_unit_test(test_settings_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
