/*
 * Endpoints in somebody else's event loop: libuv watches parley_fd() and keeps the time of
 * parley_next_deadline_ns(), and calls parley_dispatch(endpoint, 0) for either. Nothing else wakes
 * anybody up here: what is not announced by those two hangs, and the watchdog tells. Run once for
 * each wait backend; skipped if libuv was not there when this was built.
 */
#include "support/test.h"

#include "support/caller.h"
#include "support/echoes.h"

#ifndef HAVE_LIBUV
int main(void)
{
    print_message("skipped: libuv is not installed (libuv1-dev)\n");
    return BUS_EXIT_SKIP;
}
#else

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <uv.h>

#define WATCHDOG_MS 30000
#define CALLS 3000

/* ---- An endpoint in a loop ---- */

struct watched {
    struct parley_endpoint *endpoint;
    uv_poll_t poll;
    uv_timer_t timer;
    uv_prepare_t prepare;
    bool failed;
};

static void dispatch(struct watched *watched)
{
    watched->failed |= parley_dispatch(watched->endpoint, 0) != PARLEY_OK;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct watched *watched = poll->data;
    watched->failed |= status < 0;
    dispatch(watched);
}

static void on_time(uv_timer_t *timer)
{
    dispatch(timer->data);
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Before the loop sleeps: when must it wake? */
static void on_prepare(uv_prepare_t *prepare)
{
    struct watched *watched = prepare->data;
    uint64_t at = parley_next_deadline_ns(watched->endpoint), now = now_ns();
    uv_timer_stop(&watched->timer);
    if (at != PARLEY_FOREVER)
        uv_timer_start(&watched->timer, on_time, at > now ? (at - now + 999999) / 1000000 : 0, 0);
}

static void watch(uv_loop_t *loop, struct watched *watched, struct parley_endpoint *endpoint)
{
    *watched = (struct watched){.endpoint = endpoint};
    if (uv_poll_init(loop, &watched->poll, parley_fd(endpoint)) < 0 ||
        uv_timer_init(loop, &watched->timer) < 0 || uv_prepare_init(loop, &watched->prepare) < 0)
        abort();
    watched->poll.data = watched->timer.data = watched->prepare.data = watched;
    uv_poll_start(&watched->poll, UV_READABLE, on_readable);
    uv_prepare_start(&watched->prepare, on_prepare);
}

static void unwatch(struct watched *watched)
{
    if (!watched->poll.data)
        return;
    uv_close((uv_handle_t *)&watched->poll, NULL);
    uv_close((uv_handle_t *)&watched->timer, NULL);
    uv_close((uv_handle_t *)&watched->prepare, NULL);
}

/* ---- The service ---- */

static Echo__V1__Echo_Service implementation =
    ECHO_SERVICE(.echo = echo_returned, .never = echo_unanswered);

static struct parley_service *publish(struct parley_endpoint *endpoint)
{
    struct parley_service *service;
    if (parley_service_new(endpoint, &echo__v1__echo__interface, &implementation.base, NULL,
                           &service) != PARLEY_OK)
        abort();
    return service;
}

/* In a process and a loop of its own, until it is killed. */
static int serve(struct bus *bus, void *argument)
{
    uv_loop_t loop;
    struct watched watched;
    (void)argument;
    uv_loop_init(&loop);
    struct parley_endpoint *endpoint = bus_endpoint(bus, "uv-service");
    publish(endpoint);
    watch(&loop, &watched, endpoint);
    parley_dispatch(endpoint, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    return 1;
}

/* ---- The client ---- */

static struct caller caller;
static uv_loop_t loop;
static uv_timer_t watchdog;
static struct watched client_side, service_side;
static bool barked;

static void on_watchdog(uv_timer_t *timer)
{
    barked = true;
    uv_stop(timer->loop);
}

static int setup(void **state)
{
    (void)state;
    bus_start(&caller.bus);
    barked = false;
    uv_loop_init(&loop);
    uv_timer_init(&loop, &watchdog);
    uv_timer_start(&watchdog, on_watchdog, WATCHDOG_MS, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unwatch(&client_side);
    unwatch(&service_side);
    parley_endpoint_free(service_side.endpoint);
    caller_leave(&caller);
    uv_close((uv_handle_t *)&watchdog, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    client_side = service_side = (struct watched){0};
    bus_stop(&caller.bus);
    return 0;
}

static void run_until_stopped(void)
{
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_false(barked);
    assert_false(client_side.failed);
    assert_false(service_side.failed);
}

static void connect_in_loop(void)
{
    caller_connect(&caller, 1);
    watch(&loop, &client_side, caller.endpoint);
    dispatch(&client_side);
}

static void connect_to_another_process(void)
{
    bus_fork(&caller.bus, serve, NULL);
    connect_in_loop();
}

static _Atomic bool connecting;

static void *serve_meanwhile(void *endpoint)
{
    while (connecting)
        parley_dispatch(endpoint, 1000000);
    return NULL;
}

/* Client and service in one thread and one loop, so that neither may wait for the other; except for
 * parley_client_new(), which does: then another thread has the service. */
static void connect_in_one_loop(bool one_endpoint)
{
    struct parley_endpoint *serving = bus_endpoint(&caller.bus, "uv-service");
    publish(serving);
    if (one_endpoint) {
        caller.endpoint = serving;
        assert_int_equal(
            parley_client_new(serving, &echo__v1__echo__interface, NULL, &caller.client),
            PARLEY_OK);
    } else {
        pthread_t thread;
        connecting = true;
        assert_int_equal(pthread_create(&thread, NULL, serve_meanwhile, serving), 0);
        caller_connect(&caller, 1);
        connecting = false;
        pthread_join(thread, NULL);
        watch(&loop, &service_side, serving);
        dispatch(&service_side);
    }
    watch(&loop, &client_side, caller.endpoint);
    dispatch(&client_side);
}

struct chain {
    struct tally tally;
    uint32_t started;
};

static void call_next(const Echo__V1__Message *reply, void *data);

static void start_next(struct chain *chain)
{
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    uint8_t payload[100] = {0};
    request.number = chain->started++;
    request.payload.data = payload;
    request.payload.len = chain->started % sizeof(payload);
    (void)parley_client_start(caller.client, METHOD_ECHO, &request.base, NULL,
                              (ProtobufCClosure)call_next, chain);
}

/* Each reply starts the next call. */
static void call_next(const Echo__V1__Message *reply, void *data)
{
    struct chain *chain = data;
    tally(reply, &chain->tally);
    if (chain->started < CALLS)
        start_next(chain);
    else if (chain->tally.ended == CALLS)
        uv_stop(&loop);
}

static void assert_a_chain_of_calls(uint32_t at_once)
{
    struct chain chain = {0};
    for (uint32_t i = 0; i < at_once; i++)
        start_next(&chain);
    run_until_stopped();
    assert_int_equal(chain.tally.ended, CALLS);
    assert_int_equal(chain.tally.ok, CALLS);
}

static void test_calls_to_a_service_in_another_loop(void **state)
{
    (void)state;
    connect_to_another_process();
    assert_a_chain_of_calls(1);
    assert_a_chain_of_calls(100);
}

static void test_calls_to_a_service_in_the_same_loop(void **state)
{
    (void)state;
    connect_in_one_loop(false);
    assert_a_chain_of_calls(1);
    assert_a_chain_of_calls(100);
}

static void test_calls_to_a_service_of_the_same_endpoint(void **state)
{
    (void)state;
    connect_in_one_loop(true);
    assert_a_chain_of_calls(1);
    assert_a_chain_of_calls(100);
}

static void stop_at_200(const Echo__V1__Message *reply, void *data)
{
    struct chain *chain = data;
    tally(reply, &chain->tally);
    if (chain->tally.ended == 200)
        uv_stop(&loop);
}

/* Calls that begin where libuv says, and not in parley_dispatch(). */
static void start_one(uv_timer_t *timer)
{
    struct chain *chain = timer->data;
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    const struct parley_call call = {.timeout_ns = PARLEY_FOREVER}; /* no deadline helps it */
    if (chain->started == chain->tally.ended && chain->started++ < 200)
        (void)parley_client_start(caller.client, METHOD_ECHO, &request.base, &call,
                                  (ProtobufCClosure)stop_at_200, chain);
}

static void test_a_call_that_starts_outside_of_dispatch_is_answered(void **state)
{
    (void)state;
    connect_to_another_process();
    struct chain chain = {0};
    static uv_timer_t timer; /* closed when the test is over */
    uv_timer_init(&loop, &timer);
    timer.data = &chain;
    uv_timer_start(&timer, start_one, 1, 1);
    run_until_stopped();
    assert_int_equal(chain.tally.ok, 200);
    uv_close((uv_handle_t *)&timer, NULL);
}

static void stop_at_end(const Echo__V1__Message *reply, void *data)
{
    struct tally *ended = data;
    tally(reply, ended);
    if (ended->ended == 10)
        uv_stop(&loop);
    else if (ended->ended < 10) {
        const struct parley_call call = {.timeout_ns = 3000000};
        Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
        (void)parley_client_start(caller.client, METHOD_NEVER, &request.base, &call,
                                  (ProtobufCClosure)stop_at_end, ended);
    }
}

static void test_deadlines_pass_without_anything_to_read(void **state)
{
    (void)state;
    connect_to_another_process();
    struct tally ended = {0};
    const struct parley_call call = {.timeout_ns = 3000000};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    (void)parley_client_start(caller.client, METHOD_NEVER, &request.base, &call,
                              (ProtobufCClosure)stop_at_end, &ended);
    run_until_stopped();
    assert_int_equal(ended.ended, 10);
    assert_int_equal(ended.status, PARLEY_DEADLINE_EXCEEDED);
}

/* A call that waits, inside a callback of the loop. */
static void wait_in_callback(uv_timer_t *timer)
{
    struct tally *ended = timer->data;
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    ended->status = echo__v1__echo__echo_call(caller.client, &request, &reply, NULL);
    if (ended->status == PARLEY_OK)
        parley_reply_free(reply);
    if (++ended->ended == 50 || ended->status != PARLEY_OK)
        uv_stop(&loop);
}

static void test_a_callback_may_call_and_wait(void **state)
{
    (void)state;
    connect_to_another_process();
    struct tally ended = {0};
    static uv_timer_t timer; /* closed when the test is over */
    uv_timer_init(&loop, &timer);
    timer.data = &ended;
    uv_timer_start(&timer, wait_in_callback, 0, 1);
    run_until_stopped();
    assert_int_equal(ended.status, PARLEY_OK);
    uv_close((uv_handle_t *)&timer, NULL);
    assert_a_chain_of_calls(10);
}

#define loop_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        loop_test(test_calls_to_a_service_in_another_loop),
        loop_test(test_calls_to_a_service_in_the_same_loop),
        loop_test(test_calls_to_a_service_of_the_same_endpoint),
        loop_test(test_a_call_that_starts_outside_of_dispatch_is_answered),
        loop_test(test_deadlines_pass_without_anything_to_read),
        loop_test(test_a_callback_may_call_and_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
