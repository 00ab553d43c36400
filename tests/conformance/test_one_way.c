/*
 * Calls that nobody awaits an answer to. Run once for each wait backend.
 */
#include "support/test.h"

#include <signal.h>
#include <string.h>

#include "rpc/remote.h"
#include "support/caller.h"
#include "support/echoes.h"

static struct caller caller;

/* ---- The service ---- */

static uint32_t heard, in_order;

/* Counts, and whether numbers came as they were sent. */
static void handle_later(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                         Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    in_order += input->number == heard++;
    switch (input->number % 3) {
    case 0:
        closure(input, data);
        break;
    case 1:
        closure(NULL, data);
        break;
    default:
        parley_context_fail(parley_context_current(), PARLEY_ABORTED, "to nobody");
        closure(NULL, data);
    }
}

/* How often this endpoint has heard nothing for so long that it asked whether the broker lives. */
static uint32_t count_pings(void)
{
    static uint64_t last_ns;
    static uint32_t count;
    const struct remote *remote = caller_serving()->remote;
    if (remote && remote->pinged_ns != last_ns)
        count++;
    last_ns = remote ? remote->pinged_ns : 0;
    return count;
}

static void handle_echo(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                        Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    Echo__V1__Message reply = *input;
    uint32_t numbers[] = {heard, in_order, count_pings()};
    reply.payload.data = (uint8_t *)numbers;
    reply.payload.len = sizeof(numbers);
    closure(&reply, data);
}

static Echo__V1__Echo_Service implementation =
    ECHO_SERVICE(.echo = handle_echo, .later = handle_later);

/* ---- The client ---- */

static pid_t service;

static int setup(void **state)
{
    (void)state;
    service = caller_begin(&caller, &implementation);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    caller_end(&caller);
    return 0;
}

/* Everything that was sent before has been heard when this returns: how often the service had to
 * ask whether its broker lives. */
static uint32_t assert_heard(uint32_t expected)
{
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    uint32_t numbers[3];
    assert_int_equal(echo__v1__echo__echo_call(caller.client, &request, &reply, NULL), PARLEY_OK);
    assert_int_equal(reply->payload.len, sizeof(numbers));
    memcpy(numbers, reply->payload.data, sizeof(numbers));
    parley_reply_free(reply);
    assert_int_equal(numbers[0], expected);
    assert_int_equal(numbers[1], expected);
    assert_int_equal(caller.endpoint->stats.header->late_replies, 0);
    return numbers[2];
}

static enum parley_status send_number(uint32_t number, struct parley_call *call)
{
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    request.number = number;
    return parley_client_send(caller.client, METHOD_LATER, &request.base, call);
}

static void test_a_one_way_call_is_heard_and_not_answered(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 5000; i++) {
        struct parley_call call = {0};
        assert_int_equal(send_number(i, &call), PARLEY_OK);
        assert_int_equal(call.executed, PARLEY_EXECUTED_UNKNOWN);
        assert_int_equal(call.attempts, 1);
        assert_string_equal(call.version, "1.0.0");
        assert_false(call.one_way); /* as it was given */
        if (caller.bus.url[0] && i % 500 == 499)
            (void)assert_heard(i + 1); /* the broker keeps so many for a service, and drops more */
    }
    (void)assert_heard(5000);
}

/* What a service has read and not taken yet makes no descriptor readable: it slept until it asked
 * whether its broker lives. */
static void test_no_burst_waits_for_a_heartbeat(void **state)
{
    (void)state;
    if (!caller.bus.url[0])
        skip();
    uint32_t pings = 0;
    for (uint32_t i = 0; i < 50 * 500; i++) {
        assert_int_equal(send_number(i, NULL), PARLEY_OK);
        if (i % 500 == 499)
            pings = assert_heard(i + 1);
    }
    assert_true(pings < 25); /* of 50 bursts; a machine that stands still is silent, too */
}

static void test_a_stub_whose_call_is_one_way_has_no_reply(void **state)
{
    (void)state;
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply = &request;
    struct parley_call call = {.one_way = true};
    assert_int_equal(echo__v1__echo__later_call(caller.client, &request, &reply, &call), PARLEY_OK);
    assert_null(reply);
    (void)assert_heard(1);
}

static void test_a_one_way_stub_is_heard(void **state)
{
    (void)state;
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    struct parley_call call = {0};
    assert_int_equal(echo__v1__echo__later_send(caller.client, &request, &call), PARLEY_OK);
    assert_int_equal(call.executed, PARLEY_EXECUTED_UNKNOWN);
    (void)assert_heard(1);
}

static void start_number(uint32_t number, size_t payload_bytes, struct tally *tally)
{
    static uint8_t payload[100000];
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    struct parley_call call = {.one_way = true};
    request.number = number;
    request.payload.data = payload;
    request.payload.len = payload_bytes;
    (void)caller_start(&caller, METHOD_LATER, &request, &call, tally);
}

static void test_the_closure_runs_when_the_call_is_on_its_way(void **state)
{
    (void)state;
    struct tally tally = {0};
    for (uint32_t i = 0; i < 100; i++)
        start_number(i, 0, &tally);
    caller_await(&caller, &tally.ended, 100);
    assert_int_equal(tally.ok, 100);
    assert_int_equal(tally.executed, PARLEY_EXECUTED_UNKNOWN);
    (void)assert_heard(100);
}

static void test_a_full_ring_makes_one_way_calls_wait(void **state)
{
    (void)state;
    if (bus_is_remote("what stands for the service takes them, whatever it does"))
        skip();
    struct tally tally = {0};
    kill(service, SIGSTOP);
    for (uint32_t i = 0; i < 300; i++)
        start_number(i, i % 8 ? 1000 : 100000, &tally);
    assert_int_equal(parley_dispatch(caller.endpoint, 0), PARLEY_OK);
    assert_true(tally.ended < 300);
    kill(service, SIGCONT);
    caller_await(&caller, &tally.ended, 300);
    assert_int_equal(tally.ok, 300);
    (void)assert_heard(300);
    assert_int_equal(tally.ended, 300);
}

static void test_waiting_for_room_ends_at_the_deadline(void **state)
{
    (void)state;
    if (bus_is_remote("the broker takes them, whatever the service does"))
        skip();
    uint32_t sent = 0;
    struct parley_call call = {.timeout_ns = 10000000};
    kill(service, SIGSTOP);
    while (sent < 10000 && send_number(sent, &call) == PARLEY_OK)
        sent++;
    assert_true(sent > 0 && sent < 10000);
    assert_int_equal(call.status, PARLEY_DEADLINE_EXCEEDED);
    assert_int_equal(call.executed, PARLEY_EXECUTED_NO);
    kill(service, SIGCONT);
    (void)assert_heard(sent); /* and no more */
}

static void test_what_waits_for_room_can_be_cancelled(void **state)
{
    (void)state;
    if (bus_is_remote("what stands for the service takes them, whatever it does"))
        skip();
    struct tally sent = {0}, cancelled = {0};
    uint32_t count = 0;
    uint64_t id = 0;
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    struct parley_call call = {.one_way = true};
    kill(service, SIGSTOP);
    for (; count < 10000 && sent.ended == count; count++)
        start_number(count, 0, &sent); /* the last of them waits */
    id = caller_start(&caller, METHOD_LATER, &request, &call, &cancelled);
    assert_int_equal(cancelled.ended, 0);
    assert_int_equal(parley_client_cancel(caller.client, id), PARLEY_OK);
    assert_int_equal(cancelled.status, PARLEY_CANCELLED);
    assert_int_equal(cancelled.executed, PARLEY_EXECUTED_NO);
    kill(service, SIGCONT);
    caller_await(&caller, &sent.ended, count);
    (void)assert_heard(count);
}

static void test_freeing_the_client_ends_what_waits_for_room(void **state)
{
    (void)state;
    if (bus_is_remote("what stands for the service takes them, whatever it does"))
        skip();
    struct tally tally = {0};
    kill(service, SIGSTOP);
    for (uint32_t i = 0; i < 1000; i++)
        start_number(i, 0, &tally);
    caller.client = parley_client_free(caller.client);
    assert_int_equal(tally.ended, 1000);
    assert_int_equal(tally.status, PARLEY_CANCELLED);
    assert_int_equal(tally.executed, PARLEY_EXECUTED_NO);
    kill(service, SIGCONT);
}

/* A closure that frees its client, while the call waits to be told that it is on its way. */
static void free_client(const Echo__V1__Message *reply, void *data)
{
    tally(reply, data);
    caller.client = parley_client_free(caller.client);
}

static void test_a_closure_of_a_one_way_call_may_free_the_client(void **state)
{
    (void)state;
    struct tally first = {0}, others = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    struct parley_call call = {.one_way = true};
    uint32_t count = 0;
    kill(service, SIGSTOP);
    /* By NNG none waits: it is the loop's next turn that tells. */
    for (; count < (caller.bus.url[0] ? 100 : 10000) && others.ended == count; count++)
        start_number(count, 0, &others);
    parley_client_start(caller.client, METHOD_LATER, &request.base, &call,
                        (ProtobufCClosure)free_client, &first);
    for (uint32_t i = 0; i < 3 && caller.client; i++, count++)
        start_number(i, 0, &others);
    kill(service, SIGCONT);
    caller_await(&caller, &first.ended, 1);
    assert_null(caller.client);
    assert_int_equal(others.ended, count);
}

static void test_one_way_calls_are_counted(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(send_number(i, NULL), PARLEY_OK);
    const struct stats_cell *cell =
        stats_cell_find(&caller.endpoint->stats, STATS_CLIENT, "echo", "Later", "1.0.0", "1.0.0");
    assert_int_equal(cell->started, 10);
    assert_int_equal(cell->by_status[PARLEY_OK], 10);
}

static void test_a_service_that_stops_hears_what_was_sent_before(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2000; i++)
        assert_int_equal(send_number(i, NULL), PARLEY_OK);
    (void)assert_heard(2000);
    struct tally tally = {0};
    for (uint32_t i = 0; i < 1000; i++)
        start_number(2000 + i, 0, &tally);
    kill(service, SIGTERM);
    caller_await(&caller, &tally.ended, 1000);
    /* It drains while we dispatch: 0 is a service whose every call was answered. */
    assert_int_equal(caller_reap(&caller, service), 0);
}

#define one_way_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        one_way_test(test_a_one_way_call_is_heard_and_not_answered),
        one_way_test(test_no_burst_waits_for_a_heartbeat),
        one_way_test(test_a_stub_whose_call_is_one_way_has_no_reply),
        one_way_test(test_a_one_way_stub_is_heard),
        one_way_test(test_the_closure_runs_when_the_call_is_on_its_way),
        one_way_test(test_a_full_ring_makes_one_way_calls_wait),
        one_way_test(test_waiting_for_room_ends_at_the_deadline),
        one_way_test(test_what_waits_for_room_can_be_cancelled),
        one_way_test(test_freeing_the_client_ends_what_waits_for_room),
        one_way_test(test_a_closure_of_a_one_way_call_may_free_the_client),
        one_way_test(test_one_way_calls_are_counted),
        one_way_test(test_a_service_that_stops_hears_what_was_sent_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
