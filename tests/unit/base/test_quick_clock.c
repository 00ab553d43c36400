#include "support/test.h"

#include "base/clock.h"
#include "base/quick_clock.h"

#define MS_TICKS UINT64_C(3000000) /* 3 ticks a nanosecond */

/* A pair @at_ticks, read without an interrupt. */
static uint64_t take(struct quick_clock *clock, uint64_t at_ticks, uint64_t ns)
{
    return quick_clock_take(clock, at_ticks - 50, ns, at_ticks + 50);
}

static void test_it_is_the_real_clock_within_a_few_microseconds(void **state)
{
    (void)state;
    struct quick_clock clock;
    uint64_t good = 0;
    quick_clock_init(&clock);
    for (int i = 0; i < 200000; i++) {
        uint64_t before = clock_now_ns();
        uint64_t now = quick_clock_now_ns(&clock);
        uint64_t after = clock_now_ns();
        good += now + 2000 >= before && now <= after + 2000;
    }
    assert_true(good > 199000); /* the thread may have lost its core in between */
}

static void test_it_never_goes_back(void **state)
{
    (void)state;
    struct quick_clock clock;
    uint64_t last = 0;
    quick_clock_init(&clock);
    for (int i = 0; i < 1000000; i++) {
        uint64_t now = quick_clock_now_ns(&clock);
        assert_true(now >= last);
        last = now;
    }
}

static void test_the_rate_is_measured_between_two_settings(void **state)
{
    (void)state;
    struct quick_clock clock = {.trusted = 1};
    assert_int_equal(take(&clock, MS_TICKS, 5 * NS_PER_MS), 5 * NS_PER_MS);
    assert_int_equal(clock.span, 0);
    assert_int_equal(take(&clock, 2 * MS_TICKS, 6 * NS_PER_MS), 6 * NS_PER_MS);
    assert_true(clock.span > 0);
    assert_int_equal(MS_TICKS * clock.rate >> 32, NS_PER_MS - 1); /* rounded down */
}

static void test_pairs_that_are_too_close_measure_nothing(void **state)
{
    (void)state;
    struct quick_clock clock = {.trusted = 1};
    (void)take(&clock, MS_TICKS, 5 * NS_PER_MS);
    assert_int_equal(take(&clock, MS_TICKS + 300, 5 * NS_PER_MS + 100), 5 * NS_PER_MS + 100);
    assert_int_equal(clock.span, 0);
    assert_int_equal(clock.ticks, MS_TICKS);
}

static void test_a_pair_that_was_torn_apart_is_not_taken(void **state)
{
    (void)state;
    struct quick_clock clock = {.trusted = 1};
    (void)take(&clock, MS_TICKS, 5 * NS_PER_MS);
    uint64_t now = quick_clock_take(&clock, 2 * MS_TICKS, 6 * NS_PER_MS, 2 * MS_TICKS + 3000);
    assert_int_equal(now, 6 * NS_PER_MS);
    assert_int_equal(clock.span, 0);
}

static unsigned slow_reads;
static bool standing; /* at a millisecond */

uint64_t __real_clock_now_ns(void);
uint64_t __wrap_clock_now_ns(void);
uint64_t __wrap_clock_now_ns(void)
{
    const uint64_t start = QUICK_CLOCK_TICKS();
    while (slow_reads > 0 && QUICK_CLOCK_TICKS() - start < 10000)
        continue;
    slow_reads -= slow_reads > 0;
    return standing ? NS_PER_MS : __real_clock_now_ns();
}

#if defined(__x86_64__)
/* Return: in how many of 100 tries the clock was set. */
static unsigned settings_of(unsigned slow)
{
    unsigned good = 0;
    standing = true;
    for (int i = 0; i < 100; i++) {
        struct quick_clock clock = {.trusted = 1};
        slow_reads = slow;
        assert_int_equal(quick_clock_set(&clock), NS_PER_MS);
        good += clock.ticks != 0;
    }
    standing = false;
    return good;
}

static uint64_t leaping_clock(void)
{
    static uint64_t now;
    return now += NS_PER_S;
}

static void test_a_clock_of_a_tests_own_is_asked_each_time(void **state)
{
    (void)state;
    struct quick_clock clock = {.trusted = 1};
    const uint64_t start = clock_now_ns();
    while (clock.span == 0 && clock_now_ns() - start < NS_PER_S)
        (void)quick_clock_set(&clock); /* good for a while, by the real one */
    clock.last = 0;
    clock_set(leaping_clock);
    (void)quick_clock_set(&clock); /* the while is over */
    const uint64_t now = quick_clock_now_ns(&clock);
    assert_int_equal(quick_clock_now_ns(&clock), now + NS_PER_S);
    clock_set(NULL);
}

static void test_who_finds_the_real_clock_cold_reads_it_once_more(void **state)
{
    (void)state;
    assert_true(settings_of(1) > 80); /* others are torn apart by interrupts */
    assert_int_equal(settings_of(2), 0);
}
#endif

static bool yes(void)
{
    return true;
}

static bool no(void)
{
    return false;
}

static void test_a_clock_source_that_is_not_the_counter_is_not_trusted(void **state)
{
    (void)state;
    assert_true(quick_clock_trusts("tsc\n", no));
    assert_true(quick_clock_trusts("kvm-clock\n", yes));
    assert_false(quick_clock_trusts("kvm-clock\n", no));
    assert_false(quick_clock_trusts("hpet\n", yes));
    assert_false(quick_clock_trusts("tsc-early\n", yes));
    assert_false(quick_clock_trusts("", yes));
}

static void test_a_counter_that_changes_its_rate_is_measured_anew(void **state)
{
    (void)state;
    struct quick_clock clock = {.trusted = 1};
    (void)take(&clock, MS_TICKS, 1 * NS_PER_MS);
    (void)take(&clock, 2 * MS_TICKS, 2 * NS_PER_MS);
    (void)take(&clock, 4 * MS_TICKS, 3 * NS_PER_MS); /* twice as fast */
    assert_int_equal(clock.span, 0);
    (void)take(&clock, 6 * MS_TICKS, 4 * NS_PER_MS);
    assert_true(clock.span > 0);
    assert_true((2 * MS_TICKS * clock.rate >> 32) >= NS_PER_MS - 1);
}

static void test_a_long_pause_keeps_the_rate(void **state)
{
    (void)state;
    struct quick_clock clock = {.trusted = 1};
    (void)take(&clock, MS_TICKS, 1 * NS_PER_MS);
    (void)take(&clock, 2 * MS_TICKS, 2 * NS_PER_MS);
    uint64_t rate = clock.rate;
    (void)take(&clock, 20000 * MS_TICKS, 20000 * NS_PER_MS);
    assert_int_equal(clock.rate, rate);
    assert_true(clock.span > 0);
}

static void test_the_span_doubles_while_the_clock_is_right_and_has_an_end(void **state)
{
    (void)state;
    struct quick_clock clock = {.trusted = 1};
    (void)take(&clock, MS_TICKS, 1 * NS_PER_MS);
    (void)take(&clock, 2 * MS_TICKS, 2 * NS_PER_MS);
    const uint64_t first = clock.span;
    uint64_t ms = 2, last = first;
    for (; ms < 100; ms++, last = clock.span) {
        (void)take(&clock, (ms + 1) * MS_TICKS, (ms + 1) * NS_PER_MS);
        assert_true(clock.span == 2 * last || (clock.span == last && last > first));
    }
    assert_int_equal(clock.span, 16 * first);
    (void)take(&clock, (ms + 1) * MS_TICKS, (ms + 1) * NS_PER_MS + 300); /* it was off by that */
    assert_int_equal(clock.span, first);
}

static void test_a_setting_that_is_earlier_does_not_turn_it_back(void **state)
{
    (void)state;
    struct quick_clock clock = {.trusted = 1, .last = 10 * NS_PER_MS};
    assert_int_equal(take(&clock, MS_TICKS, 5 * NS_PER_MS), 10 * NS_PER_MS);
}

static void test_one_that_is_not_trusted_asks_every_time(void **state)
{
    (void)state;
    struct quick_clock clock = {0};
    for (int i = 0; i < 100; i++) {
        uint64_t before = clock_now_ns();
        assert_true(quick_clock_now_ns(&clock) >= before);
    }
    assert_int_equal(clock.span, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_the_real_clock_within_a_few_microseconds),
        cmocka_unit_test(test_it_never_goes_back),
        cmocka_unit_test(test_the_rate_is_measured_between_two_settings),
        cmocka_unit_test(test_pairs_that_are_too_close_measure_nothing),
        cmocka_unit_test(test_a_pair_that_was_torn_apart_is_not_taken),
#if defined(__x86_64__)
        cmocka_unit_test(test_a_clock_of_a_tests_own_is_asked_each_time),
        cmocka_unit_test(test_who_finds_the_real_clock_cold_reads_it_once_more),
#endif
        cmocka_unit_test(test_a_clock_source_that_is_not_the_counter_is_not_trusted),
        cmocka_unit_test(test_a_counter_that_changes_its_rate_is_measured_anew),
        cmocka_unit_test(test_a_long_pause_keeps_the_rate),
        cmocka_unit_test(test_the_span_doubles_while_the_clock_is_right_and_has_an_end),
        cmocka_unit_test(test_a_setting_that_is_earlier_does_not_turn_it_back),
        cmocka_unit_test(test_one_that_is_not_trusted_asks_every_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
