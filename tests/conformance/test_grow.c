/*
 * Channels whose rings are too small: they get larger ones, and nothing is lost on the way. Run
 * once for each wait backend.
 */
#include "support/test.h"

#include <signal.h>
#include <stdint.h>

#include "rpc/internal.h"
#include "support/caller.h"

#define BURST 1000
#define FURTHER_CALLS (SEGMENT_RING_LINES_GROWN + SEGMENT_RING_LINES_DEFAULT)

static struct caller caller;
static pid_t service;

/* The service, whose ring grows as soon as it is full. */
static void handle_echo(Echo__V1__Echo_Service *implementation, const Echo__V1__Message *input,
                        Echo__V1__Message_Closure closure, void *data)
{
    (void)implementation;
    ((struct parley_endpoint *)(uintptr_t)caller_serving())->grow_after = 0;
    closure(input, data);
}

static int setup(void **state)
{
    static Echo__V1__Echo_Service implementation = {.echo = handle_echo};
    (void)state;
    implementation.base = caller_echo.base;
    service = caller_begin(&caller, &implementation);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    caller_end(&caller);
    return 0;
}

static struct channel *channel(void)
{
    return LIST_FIRST(&caller.client->channels);
}

static bool has_grown(void)
{
    return channel()->ours.moved_to > 0;
}

/* Numbered from @first; their replies come in this order. */
static void start(struct tally *tally, uint32_t first, uint32_t count)
{
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    for (uint32_t i = 0; i < count; i++) {
        request.number = first + i;
        caller_start(&caller, METHOD_ECHO, &request, NULL, tally);
    }
}

static void test_a_burst_or_two_fit_the_small_ring(void **state)
{
    (void)state;
    struct tally tally = {0};
    for (uint32_t round = 0; round < 2; round++) {
        start(&tally, round * BURST, BURST);
        caller_await(&caller, &tally.ended, (round + 1) * BURST);
    }
    assert_int_equal(tally.ok, 2 * BURST);
    assert_false(has_grown());
}

static void test_a_ring_that_is_full_again_and_again_grows_once(void **state)
{
    (void)state;
    struct tally tally = {0};
    uint32_t started = 0;
    while (!has_grown() && started < 100 * BURST) {
        start(&tally, started, BURST);
        started += BURST;
        caller_await(&caller, &tally.ended, started - BURST / 2);
    }
    assert_true(has_grown());
    assert_true(started >= RPC_RING_GROW_AFTER);
    assert_int_equal(channel()->ours.ring_lines, SEGMENT_RING_LINES_GROWN);
    assert_int_equal(channel()->ours.further.fd, -1); /* it has been sent */
    const uint64_t moved_to = channel()->ours.moved_to;
    for (uint32_t round = 0; round < 20; round++) {
        start(&tally, started, FURTHER_CALLS);
        started += FURTHER_CALLS;
        caller_await(&caller, &tally.ended, started);
        assert_int_equal(tally.last, started - 1);
    }
    assert_int_equal(tally.ok, started);
    assert_int_equal(channel()->ours.moved_to, moved_to);
}

static void test_a_service_that_stands_still_finds_all_in_order(void **state)
{
    (void)state;
    struct tally tally = {0};
    caller.endpoint->grow_after = 0;
    start(&tally, 0, 1);
    caller_await(&caller, &tally.ended, 1);
    kill(service, SIGSTOP);
    start(&tally, 1, FURTHER_CALLS);
    assert_true(has_grown());
    assert_true(channel()->queue.count > 0); /* that one is full, too */
    kill(service, SIGCONT);
    caller_await(&caller, &tally.ended, 1 + FURTHER_CALLS);
    assert_int_equal(tally.ok, 1 + FURTHER_CALLS);
    assert_int_equal(tally.last, FURTHER_CALLS);
    assert_ptr_equal(channel()->peer.ring,
                     channel()->peer.further_ring); /* the replies' has, too */
}

static void test_a_service_that_dies_before_it_has_followed_leaves_its_calls_told(void **state)
{
    (void)state;
    struct tally tally = {0};
    caller.endpoint->grow_after = 0;
    kill(service, SIGSTOP);
    start(&tally, 0, BURST);
    assert_true(has_grown());
    kill(service, SIGKILL);
    (void)caller_reap(&caller, service);
    caller_await(&caller, &tally.ended, BURST);
    assert_int_equal(tally.ok, 0);
}

#define grow_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        grow_test(test_a_burst_or_two_fit_the_small_ring),
        grow_test(test_a_ring_that_is_full_again_and_again_grows_once),
        grow_test(test_a_service_that_stands_still_finds_all_in_order),
        grow_test(test_a_service_that_dies_before_it_has_followed_leaves_its_calls_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
