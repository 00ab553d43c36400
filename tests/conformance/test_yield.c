/*
 * Yielding: a wait for a reply from a service that runs on the same CPU.
 *
 * sched_yield(2) is defined here, before the C library's own: it is counted, and takes long if a
 * test says so, as it does where a third program always runs.
 */
#include "support/test.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "support/caller.h"
#include "support/echoes.h"
#include "wait/wait.h"

#define CALLS 60

static struct caller caller;
static cpu_set_t before;
static unsigned yields;
static uint64_t yield_ns; /* that one takes, besides */

static void nap(uint64_t ns)
{
    const struct timespec time = {.tv_nsec = (long)ns};
    (void)nanosleep(&time, NULL);
}

int sched_yield(void)
{
    yields++;
    if (yield_ns)
        nap(yield_ns);
    return (int)syscall(SYS_sched_yield);
}

/* Sleeps itself, so that who has asked comes to wait. */
static void handle_echo(Echo__V1__Echo_Service *service, const Echo__V1__Message *request,
                        Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    nap(10 * NS_PER_US);
    closure(request, data);
}

static Echo__V1__Echo_Service implementation = ECHO_SERVICE(.echo = handle_echo);

/* Return: false: there are not so many. */
static bool pin_to(unsigned which)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &before) && which-- == 0) {
            CPU_SET(cpu, &one);
            return sched_setaffinity(0, sizeof(one), &one) == 0;
        }
    }
    return false;
}

static void make_calls(void)
{
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    for (unsigned i = 0; i < CALLS; i++) {
        assert_int_equal(echo__v1__echo__echo_call(caller.client, &request, &reply, NULL),
                         PARLEY_OK);
        parley_reply_free(reply);
    }
}

static int setup(void **state)
{
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    yields = 0;
    yield_ns = 0;
    bus_start(&caller.bus);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    caller_end(&caller);
    (void)sched_setaffinity(0, sizeof(before), &before);
    return 0;
}

static void test_who_shares_a_cpu_with_its_service_yields(void **state)
{
    (void)state;
    assert_true(pin_to(0));
    caller_fork(&caller.bus, &implementation, NULL);
    caller_connect(&caller, 1);
    make_calls();
    assert_true(yields > 0);
}

static void test_who_has_a_cpu_of_its_own_does_not(void **state)
{
    (void)state;
    if (!pin_to(1)) {
        print_message("this takes two CPUs\n");
        skip();
    }
    caller_fork(&caller.bus, &implementation, NULL);
    assert_true(pin_to(0));
    caller_connect(&caller, 1);
    make_calls();
    assert_int_equal(yields, 0);
}

/* However long the calls take: it is tried once in each pause, and they grow. */
static void test_yields_that_take_long_end(void **state)
{
    (void)state;
    assert_true(pin_to(0));
    caller_fork(&caller.bus, &implementation, NULL);
    caller_connect(&caller, 1);
    yield_ns = 2 * YIELD_LONG_NS;
    yields = 0;
    const uint64_t start = clock_now_ns();
    make_calls();
    assert_in_range(yields, 1, 1 + (clock_now_ns() - start) / YIELD_PAUSE_NS_MIN);
}

#define yield_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        yield_test(test_who_shares_a_cpu_with_its_service_yields),
        yield_test(test_who_has_a_cpu_of_its_own_does_not),
        yield_test(test_yields_that_take_long_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
