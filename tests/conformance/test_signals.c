/*
 * A signal every 200 us, in a process that sleeps in each call, and in the one that serves it:
 * system calls end with EINTR all the time, and no call fails. Run once for each wait backend.
 */
#include "support/test.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>

#include "support/caller.h"
#include "support/echoes.h"

#define SIGNAL_US 200
#define CALLS 3000

static struct caller caller;
static volatile sig_atomic_t signals;

static void on_alarm(int number)
{
    (void)number;
    signals++;
}

static void signals_begin(void)
{
    /* Without SA_RESTART: everything that can be interrupted is. */
    const struct sigaction action = {.sa_handler = on_alarm};
    const struct itimerval timer = {{0, SIGNAL_US}, {0, SIGNAL_US}};
    if (sigaction(SIGALRM, &action, NULL) < 0 || setitimer(ITIMER_REAL, &timer, NULL) < 0)
        abort();
}

static void signals_end(void)
{
    const struct itimerval timer = {0};
    setitimer(ITIMER_REAL, &timer, NULL);
}

/* ---- The service ---- */

static void handle_echo(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                        Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    Echo__V1__Message reply = *input;
    reply.number = (uint32_t)signals;
    closure(&reply, data);
}

static Echo__V1__Echo_Service implementation = ECHO_SERVICE(.echo = handle_echo);

static struct parley_endpoint *served;

static void stop(int number)
{
    (void)number;
    parley_stop(served);
}

/* Never spins. */
static struct parley_endpoint *connect_to(struct bus *bus)
{
    const struct parley_endpoint_options options = {
        .broker = bus_broker(bus), .connect_timeout_ns = 10000000000, .spin_ns_max = 1};
    struct parley_endpoint *endpoint;
    return parley_endpoint_new(&options, &endpoint) == PARLEY_OK ? endpoint : NULL;
}

static int serve(struct bus *bus, void *argument)
{
    struct parley_service *service;
    (void)argument;
    signals_begin();
    served = connect_to(bus);
    if (!served)
        return 2;
    signal(SIGTERM, stop);
    if (parley_service_new(served, &echo__v1__echo__interface, &implementation.base, NULL,
                           &service) != PARLEY_OK)
        return 3;
    int r = parley_run(served) == PARLEY_OK && parley_service_drained(service) ? 0 : 4;
    parley_endpoint_free(served);
    return r;
}

/* ---- The client ---- */

static pid_t service;

static int setup(void **state)
{
    (void)state;
    bus_start(&caller.bus);
    service = bus_fork(&caller.bus, serve, NULL);
    signals = 0;
    signals_begin();
    caller.endpoint = connect_to(&caller.bus);
    const struct parley_client_options options = {.wait_ns = 20000000000,
                                                  .timeout_ns = 60000000000};
    return caller.endpoint && parley_client_new(caller.endpoint, &echo__v1__echo__interface,
                                                &options, &caller.client) == PARLEY_OK
               ? 0
               : -1;
}

static int teardown(void **state)
{
    (void)state;
    signals_end();
    caller_end(&caller);
    return 0;
}

/* Returns how many signals the service has had. */
static uint32_t call(size_t bytes)
{
    static uint8_t payload[1000000];
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    request.payload.data = payload;
    request.payload.len = bytes;
    if (echo__v1__echo__echo_call(caller.client, &request, &reply, NULL) != PARLEY_OK)
        fail_msg("after %d signals: %s", (int)signals, parley_error_text());
    assert_int_equal(reply->payload.len, bytes);
    uint32_t had = reply->number;
    parley_reply_free(reply);
    return had;
}

static void test_no_sleeping_call_fails(void **state)
{
    (void)state;
    uint32_t served_signals = 0;
    for (size_t i = 0; i < CALLS; i++)
        served_signals = call(i % 2000);
    /* Until it has mattered, on both sides, however fast this machine is. */
    for (size_t i = 0; i < 1000000 && (signals < 100 || served_signals < 100); i++)
        served_signals = call(0);
    assert_true(signals >= 100);
    assert_true(served_signals >= 100);
}

static void test_no_large_call_fails(void **state)
{
    (void)state;
    for (size_t i = 0; i < 200; i++)
        (void)call(i * 5000);
}

static void test_calls_in_flight_all_end_and_the_service_drains(void **state)
{
    (void)state;
    struct tally tally = {0};
    for (size_t i = 0; i < CALLS; i++)
        caller_start(&caller, METHOD_ECHO, NULL, NULL, &tally);
    for (int i = 0; i < 1000000 && tally.ended < CALLS; i++)
        assert_int_equal(parley_dispatch(caller.endpoint, 50000000), PARLEY_OK);
    assert_int_equal(tally.ok, CALLS);
    /* And a service that drains is waited for. */
    kill(service, SIGTERM);
    for (int i = 0; i < 100000 && !bus_has_ended(service); i++)
        assert_int_equal(parley_dispatch(caller.endpoint, 10000000), PARLEY_OK);
    signals_end(); /* what waits for the child is the test's */
    assert_int_equal(bus_reap(&caller.bus, service), 0);
}

#define signals_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        signals_test(test_no_sleeping_call_fails),
        signals_test(test_no_large_call_fails),
        signals_test(test_calls_in_flight_all_end_and_the_service_drains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
