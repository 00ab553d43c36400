#include "support/test.h"

#include "base/clock.h"

static uint64_t stopped_at;

static uint64_t stopped(void)
{
    return stopped_at;
}

static void test_clock_does_not_go_back(void **state)
{
    (void)state;
    uint64_t last = clock_now_ns();
    assert_true(last > 0);
    for (int i = 0; i < 10000; i++) {
        uint64_t now = clock_now_ns();
        assert_true(now >= last);
        last = now;
    }
}

static void test_clock_can_be_replaced_and_restored(void **state)
{
    (void)state;
    uint64_t before = clock_now_ns();
    stopped_at = 42;
    clock_set(stopped);
    uint64_t seen = clock_now_ns();
    clock_set(NULL);
    assert_int_equal(seen, 42);
    assert_true(clock_now_ns() >= before);
}

static void test_sum_stops_at_the_end_of_time(void **state)
{
    (void)state;
    assert_true(clock_add(1, 2) == 3);
    assert_true(clock_add(CLOCK_NEVER - 1, 1) == CLOCK_NEVER);
    assert_true(clock_add(CLOCK_NEVER, 1) == CLOCK_NEVER);
    assert_true(clock_add(5, CLOCK_NEVER) == CLOCK_NEVER);
}

static void test_time_left_is_never_negative(void **state)
{
    (void)state;
    assert_true(clock_left(10, 4) == 6);
    assert_true(clock_left(10, 10) == 0);
    assert_true(clock_left(10, 11) == 0);
    assert_true(clock_left(CLOCK_NEVER, CLOCK_NEVER) == CLOCK_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clock_does_not_go_back),
        cmocka_unit_test(test_clock_can_be_replaced_and_restored),
        cmocka_unit_test(test_sum_stops_at_the_end_of_time),
        cmocka_unit_test(test_time_left_is_never_negative),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
