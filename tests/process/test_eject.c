/*
 * One bad instance of three: it gets no calls any more, and has them back when it is well. Bad is
 * to fail, to fail now and then, to be slow, and to be stopped.
 *
 * The broker's times are short here; what is tested does not depend on how long anything takes.
 */
#include "support/test.h"

#include <signal.h>

#include "support/instances.h"

/* Waits until one instance has no call while the others have many. */
static void await_silence(unsigned number)
{
    for (int tries = 0; tries < 1000; tries++) {
        uint64_t before = instances.counts->served[number];
        for (unsigned i = 0; i < INSTANCES_FIRST; i++)
            if (i != number)
                instances_await(&instances.counts->served[i], 200);
        if (instances.counts->served[number] == before)
            return;
    }
    fail_msg("instance %u still has calls", number);
}

static int set_up_with(const char *settings)
{
    static const struct instances_load load = {
        .loaders = 1, .in_flight = 6, .timeout_ns = UINT64_C(200000000)};
    const char *more[] = {"--eject", settings, NULL};
    instances_begin(more, &load);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    return set_up_with("interval=50ms,base=300ms,longest=600ms");
}

static int tear_down(void **state)
{
    (void)state;
    instances_end();
    return 0;
}

static void is_ejected_and_comes_back(enum instance_mode mode, const char *why)
{
    instances.counts->mode[1] = mode;
    await_silence(1);
    assert_true(bus_log_has(&instances.bus, why));
    instances.counts->mode[1] = WELL;
    instances_await(&instances.counts->served[1], 100);
    assert_true(bus_log_has(&instances.bus, "is let back in"));
}

static void test_one_that_fails(void **state)
{
    (void)state;
    is_ejected_and_comes_back(FAILS, "calls fail in a row");
}

static void test_one_that_fails_often(void **state)
{
    (void)state;
    is_ejected_and_comes_back(FAILS_OFTEN, "more calls fail than of the others");
}

static void test_one_that_is_slow(void **state)
{
    (void)state;
    is_ejected_and_comes_back(SLOW, "it is slower than the others");
}

static void test_one_that_is_stopped(void **state)
{
    (void)state;
    kill(instances.pids[1], SIGSTOP);
    await_silence(1);
    assert_true(bus_log_has(&instances.bus, "is ejected"));
    kill(instances.pids[1], SIGCONT);
    instances_await(&instances.counts->served[1], 100);
}

static void test_nobody_is_ejected_if_all_fail(void **state)
{
    (void)state;
    for (unsigned i = 0; i < INSTANCES_FIRST; i++)
        instances.counts->mode[i] = FAILS;
    instances_await(&instances.counts->failed, 5000);
    for (unsigned i = 0; i < INSTANCES_FIRST; i++)
        instances_await(&instances.counts->served[i], 100);
}

static int set_up_off(void **state)
{
    (void)state;
    return set_up_with("off");
}

static void test_with_eject_off_the_bad_one_keeps_its_calls(void **state)
{
    (void)state;
    instances.counts->mode[1] = FAILS;
    instances_await(&instances.counts->ok, 5000);
    instances_await(&instances.counts->served[1], 100);
}

#define eject_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        eject_test(test_one_that_fails),
        eject_test(test_one_that_fails_often),
        eject_test(test_one_that_is_slow),
        eject_test(test_one_that_is_stopped),
        eject_test(test_nobody_is_ejected_if_all_fail),
        cmocka_unit_test_setup_teardown(test_with_eject_off_the_bad_one_keeps_its_calls, set_up_off,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
