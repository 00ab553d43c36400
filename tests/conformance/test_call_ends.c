/*
 * What ends calls, other than their answer: services that die, leave, or never answer, and a broker
 * that is away, or has nothing to offer. As test_call.c, once for each wait backend.
 */
#include "conformance/calls.h"
#include "support/echoes.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Death and drain ---- */

static void test_a_service_that_dies_ends_its_calls_at_once(void **state)
{
    (void)state;
    pid_t pid = bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    Echo__V1__Message *reply = NULL;
    struct parley_call call = {.timeout_ns = 60000000000};
    assert_int_equal(echo__v1__echo__die_call(client, &request, &reply, &call), PARLEY_UNAVAILABLE);
    assert_int_equal(call.executed, PARLEY_EXECUTED_UNKNOWN);
    assert_int_equal(call.attempts, 1);
    assert_int_equal(bus_reap(&bus, pid), -SIGKILL);
}

static void test_an_idempotent_call_goes_to_another_instance(void **state)
{
    (void)state;
    char path[96];
    snprintf(path, sizeof(path), "%s/died", bus.dir);
    bus_fork(&bus, calls_serve, NULL);
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(2);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    request.text = path;
    Echo__V1__Message *reply = NULL;
    struct parley_call call = {0};
    assert_int_equal(echo__v1__echo__die_once_call(client, &request, &reply, &call), PARLEY_OK);
    /* By NNG it is the broker that tries again. */
    assert_int_equal(call.attempts, bus.url[0] ? 1 : 2);
    parley_reply_free(reply);
    unlink(path);
}

static void test_what_a_stopped_service_never_took_was_not_executed(void **state)
{
    (void)state;
    pid_t pid = bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    kill(pid, SIGSTOP);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    echo__v1__echo__die(parley_client_service(client), &request, calls_count, &tally);
    kill(pid, SIGKILL);
    assert_int_equal(bus_reap(&bus, pid), -SIGKILL);
    calls_await(&tally, 1);
    assert_int_equal(tally.status, PARLEY_UNAVAILABLE);
    assert_int_equal(tally.executed, PARLEY_EXECUTED_NO);
}

static void test_an_instance_that_never_answers_holds_up_nobody(void **state)
{
    (void)state;
    if (bus_is_remote("it is the broker that attaches to instances"))
        skip();
    pid_t stopped = bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    client = parley_client_free(client);
    kill(stopped, SIGSTOP);
    struct parley_client_options options = {.wait_ns = 100000000};
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, &options, &client),
                     PARLEY_UNAVAILABLE);
    bus_fork(&bus, calls_serve, NULL);
    options.wait_ns = 10000000000;
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, &options, &client),
                     PARLEY_OK);
    calls_echo("the other one", 13);
    kill(stopped, SIGCONT);
    for (int i = 0; i < 5000 && parley_client_channel_count(client) < 2; i++)
        parley_dispatch(endpoint, 2000000);
    assert_int_equal(parley_client_channel_count(client), 2);
}

#define LAST_WORDS 40

/* Answers all that it has kept, and leaves without another turn. */
static int serve_last_words(struct bus *b, void *argument)
{
    static Echo__V1__Echo_Service service = ECHO_SERVICE(.later = calls_handle_later);
    (void)argument;
    if (!calls_publish(b, &service.base))
        return 2;
    while (later_count < LAST_WORDS) {
        if (parley_dispatch(served, UINT64_C(1000000000)) != PARLEY_OK)
            return 3;
    }
    const Echo__V1__Message reply = ECHO__V1__MESSAGE__INIT;
    for (size_t i = 0; i < LAST_WORDS; i++)
        later[i].closure(&reply, later[i].data);
    parley_endpoint_free(served);
    return 0;
}

static void test_what_a_service_answered_before_it_left_is_heard(void **state)
{
    (void)state;
    pid_t pid = bus_fork(&bus, serve_last_words, NULL);
    calls_connect(1);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    for (size_t i = 0; i < LAST_WORDS; i++)
        echo__v1__echo__later(parley_client_service(client), &request, calls_count, &tally);
    calls_await(&tally, LAST_WORDS);
    assert_int_equal(tally.ok, LAST_WORDS);
    assert_int_equal(bus_reap(&bus, pid), 0);
}

static void test_a_service_that_stops_loses_no_call(void **state)
{
    (void)state;
    pid_t first = bus_fork(&bus, calls_serve, NULL);
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(2);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    size_t sent = 0;
    for (int i = 0; i < 200; i++) {
        for (int j = 0; j < 20; j++, sent++)
            echo__v1__echo__echo(parley_client_service(client), &request, calls_count, &tally);
        if (i == 50)
            kill(first, SIGTERM);
        assert_int_equal(parley_dispatch(endpoint, 200000), PARLEY_OK);
    }
    calls_await(&tally, sent);
    if (tally.ok != sent)
        fail_msg("%zu of %zu calls; one ended with status %d, executed %d", (size_t)tally.ok, sent,
                 (int)tally.status, (int)tally.executed);
    assert_int_equal(bus_instances(&bus, endpoint, client, &echo__v1__echo__interface, 1), 1);
    /* Our BYE may still be on its way: the service drains while we dispatch. */
    assert_int_equal(bus_reap(&bus, first), 0);
    calls_echo("still here", 10);
}

static void test_the_last_instance_gone_fails_calls_with_a_sentence(void **state)
{
    (void)state;
    pid_t pid = bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    kill(pid, SIGKILL);
    bus_reap(&bus, pid);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    Echo__V1__Message *reply = NULL;
    struct parley_call call = {0};
    assert_int_equal(echo__v1__echo__echo_call(client, &request, &reply, &call),
                     PARLEY_UNAVAILABLE);
    assert_int_equal(call.executed, PARLEY_EXECUTED_NO);
    assert_non_null(strstr(call.error, "no instance"));
    /* and one that comes up later serves it */
    bus_fork(&bus, calls_serve, NULL);
    assert_int_equal(bus_instances(&bus, endpoint, client, &echo__v1__echo__interface, 1), 1);
    calls_echo("back", 4);
}

/* ---- The broker ---- */

static void test_calls_go_on_while_the_broker_is_away(void **state)
{
    (void)state;
    if (bus_is_remote("calls go through the broker"))
        skip();
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    for (int round = 0; round < 3; round++) {
        bus_broker_kill(&bus);
        for (int i = 0; i < 500; i++)
            calls_echo("no broker", 9);
        /* The kernel may take a while to close what a killed process had open. */
        for (int i = 0; i < 1000000 && parley_connected(endpoint); i++)
            calls_echo("no broker", 9);
        assert_false(parley_connected(endpoint));
        calls_echo("no broker", 9);
        bus_broker_start(&bus);
        for (int i = 0; i < 5000 && !parley_connected(endpoint); i++)
            parley_dispatch(endpoint, 2000000);
        assert_true(parley_connected(endpoint));
        calls_echo("again", 5);
        assert_int_equal(parley_client_channel_count(client), 1);
    }
    /* The new broker knows the old service: a new client finds it. */
    struct parley_client *second;
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, NULL, &second),
                     PARLEY_OK);
}

static void test_no_broker_is_a_clear_error(void **state)
{
    (void)state;
    struct parley_endpoint_options options = {.broker = "/nowhere/parleyd.sock",
                                              .connect_timeout_ns = 50000000};
    struct parley_endpoint *none = NULL;
    assert_int_equal(parley_endpoint_new(&options, &none), PARLEY_UNAVAILABLE);
    assert_null(none);
    assert_non_null(strstr(parley_error_text(), "/nowhere/parleyd.sock"));
    assert_non_null(strstr(parley_error_text(), "parleyd"));
}

static void test_nothing_published_is_a_clear_error(void **state)
{
    (void)state;
    endpoint = bus_endpoint(&bus, "test");
    struct parley_client_options options = {.wait_ns = 50000000};
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, &options, &client),
                     PARLEY_UNAVAILABLE);
    assert_non_null(strstr(parley_error_text(), "echo"));
}

static void test_no_acceptable_version_names_those_on_offer(void **state)
{
    (void)state;
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    struct parley_client_options options = {.accept = "^3"};
    struct parley_client *none;
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, &options, &none),
                     PARLEY_FAILED_PRECONDITION);
    assert_non_null(strstr(parley_error_text(), "1.0.0"));
    options.accept = "not a range";
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, &options, &none),
                     PARLEY_INVALID_ARGUMENT);
}

static void test_a_client_waits_for_a_service_that_starts_later(void **state)
{
    (void)state;
    endpoint = bus_endpoint(&bus, "test");
    bus_fork(&bus, calls_serve, NULL);
    struct parley_client_options options = {.wait_ns = 10000000000};
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, &options, &client),
                     PARLEY_OK);
    calls_echo("there", 5);
}

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        call_test(test_a_service_that_dies_ends_its_calls_at_once),
        call_test(test_an_idempotent_call_goes_to_another_instance),
        call_test(test_what_a_stopped_service_never_took_was_not_executed),
        call_test(test_an_instance_that_never_answers_holds_up_nobody),
        call_test(test_what_a_service_answered_before_it_left_is_heard),
        call_test(test_a_service_that_stops_loses_no_call),
        call_test(test_the_last_instance_gone_fails_calls_with_a_sentence),
        call_test(test_calls_go_on_while_the_broker_is_away),
        call_test(test_no_broker_is_a_clear_error),
        call_test(test_nothing_published_is_a_clear_error),
        call_test(test_no_acceptable_version_names_those_on_offer),
        call_test(test_a_client_waits_for_a_service_that_starts_later),
    };
    if (getenv("TEST_FILTER"))
        cmocka_set_test_filter(getenv("TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
