/*
 * The call path, from stub to handler and back, against a real broker and services in processes of
 * their own. Run once for each wait backend. What ends calls otherwise is in test_call_ends.c.
 */
#include "conformance/calls.h"
#include "support/echoes.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void test_a_call_is_answered(void **state)
{
    (void)state;
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    calls_echo("hello", 5);
    calls_echo("", 0);
}

static void test_sizes_around_every_limit_cross_unharmed(void **state)
{
    (void)state;
    if (strncmp(bus.url, "tls", 3) == 0) {
        printf("skipped over TLS: 64 MiB may take longer there than a call has\n");
        skip();
    }
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    static const size_t sizes[] = {1,    15,    16,    31,     32,      33,      63,      64,
                                   127,  128,   1000,  4000,   4030,    4040,    4050,    4064,
                                   8191, 65536, 70000, 300000, 1000000, 5000000, 20000000};
    uint8_t *payload = malloc(20000000);
    for (size_t i = 0; i < 20000000; i++)
        payload[i] = (uint8_t)(i * 2654435761u >> 13);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
            calls_echo(payload, sizes[i]);
    }
    free(payload);
}

/* A message is given room as for the one before it, and a little more. Of bytes that begin with a
 * page, as they are copied in another way. */
static void test_messages_that_grow_and_shrink_cross_unharmed(void **state)
{
    (void)state;
    enum { BYTES = 8000, MORE = BYTES / 8, ROOM = 65536, ROUNDS = 200 };
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    uint8_t *payload = aligned_alloc(4096, 2 * ROOM);
    for (size_t i = 0; i < 2 * ROOM; i++)
        payload[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t more = MORE - 140; more < MORE + 140; more++) {
        calls_echo(payload, BYTES);
        calls_echo(payload, BYTES + more);
    }
    static const size_t sizes[] = {BYTES, 10, BYTES, 4000, 4090, BYTES, 58000, 59000, ROOM, 5000};
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
            calls_echo(payload, sizes[i]);
    }
    free(payload);
}

static void test_many_calls_wrap_the_ring_many_times(void **state)
{
    (void)state;
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    uint8_t payload[600]; /* each byte another one than near it: no piece can be for another */
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t i = 0; i < 20000; i++)
        calls_echo(payload, i % sizeof(payload));
}

static void test_a_request_over_64_MiB_is_refused_here(void **state)
{
    (void)state;
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    request.payload.len = (64u << 20) + 1;
    request.payload.data = calloc(1, request.payload.len);
    Echo__V1__Message *reply;
    struct parley_call call = {0};
    assert_int_equal(echo__v1__echo__echo_call(client, &request, &reply, &call),
                     PARLEY_RESOURCE_EXHAUSTED);
    assert_int_equal(call.executed, PARLEY_EXECUTED_NO);
    free(request.payload.data);
    calls_echo("still here", 10);
}

static void refused_closure(const Echo__V1__Message *reply, void *data)
{
    const struct parley_call *call = parley_call_current();
    assert_null(reply);
    assert_int_equal(call->status, PARLEY_INVALID_ARGUMENT);
    assert_int_equal(call->executed, PARLEY_EXECUTED_NO);
    *(bool *)data = true;
}

static void test_a_message_of_another_type_is_not_sent(void **state)
{
    (void)state;
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    Echo__V1__Message *reply;
    struct parley_call call = {0};
    request.base.descriptor = calls_other_type();
    assert_int_equal(echo__v1__echo__echo_call(client, &request, &reply, &call),
                     PARLEY_INVALID_ARGUMENT);
    assert_int_equal(call.executed, PARLEY_EXECUTED_NO);
    assert_non_null(strstr(call.error, "the request is not of the method's type"));
    bool refused = false;
    echo__v1__echo__echo(parley_client_service(client), &request, refused_closure, &refused);
    assert_true(refused);

    request.base.descriptor = &echo__v1__message__descriptor;
    request.text = (char *)"answer with another type";
    assert_int_equal(echo__v1__echo__echo_call(client, &request, &reply, &call), PARLEY_INTERNAL);
    assert_int_equal(call.executed, PARLEY_EXECUTED_YES);
    assert_non_null(strstr(call.error, "the reply is not of the method's type"));
    calls_echo("still here", 10);
}

static void test_a_handler_fails_with_status_and_sentence(void **state)
{
    (void)state;
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    Echo__V1__Message *reply = NULL;
    struct parley_call call = {0};
    for (uint32_t status = 1; status < PARLEY_STATUS_COUNT; status++) {
        if (status == PARLEY_UNAVAILABLE)
            continue; /* it was executed, so it is not retried: below */
        request.number = status;
        request.text = (char *)"no such thing";
        assert_int_equal(echo__v1__echo__fail_call(client, &request, &reply, &call), status);
        assert_int_equal(call.executed, PARLEY_EXECUTED_YES);
        assert_non_null(strstr(call.error, "no such thing"));
        assert_non_null(strstr(parley_error_text(), "no such thing"));
    }
    request.number = PARLEY_UNAVAILABLE;
    assert_int_equal(echo__v1__echo__fail_call(client, &request, &reply, &call),
                     PARLEY_UNAVAILABLE);
    assert_int_equal(call.attempts, 1);
    request.number = 99;
    assert_int_equal(echo__v1__echo__fail_call(client, &request, &reply, &call), PARLEY_UNKNOWN);
    assert_null(reply);
}

static void test_metadata_and_identity_reach_the_handler(void **state)
{
    (void)state;
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    request.text = (char *)"gray.mark";
    struct parley_metadata metadata[] = {{"gray.user.id", "ada", 3}, {"gray.mark", "00-1", 4}};
    struct parley_call call = {.metadata = metadata, .metadata_count = 2};
    Echo__V1__Message *reply;
    assert_int_equal(echo__v1__echo__context_call(client, &request, &reply, &call), PARLEY_OK);
    assert_string_equal(reply->text, "00-1");
    if (!bus.url[0]) { /* else it is the broker that calls, and nobody whom the kernel knows */
        assert_int_equal(reply->payload.len, 5);
        assert_memory_equal(reply->payload.data, "1.0.0", 5);
        assert_int_equal(reply->number, getpid());
    }
    parley_reply_free(reply);

    metadata[0].key = "Bad Key";
    assert_int_equal(echo__v1__echo__context_call(client, &request, &reply, &call),
                     PARLEY_INVALID_ARGUMENT);
    assert_int_equal(call.executed, PARLEY_EXECUTED_NO);
}

static void test_a_deadline_ends_a_call_that_is_not_answered(void **state)
{
    (void)state;
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    Echo__V1__Message *reply = NULL;
    struct parley_call call = {.timeout_ns = 20000000};
    assert_int_equal(echo__v1__echo__never_call(client, &request, &reply, &call),
                     PARLEY_DEADLINE_EXCEEDED);
    assert_int_equal(call.executed, PARLEY_EXECUTED_UNKNOWN);
    calls_echo("still here", 10);
}

/* ---- Calls in flight ---- */

static void test_generated_client_functions_call_without_waiting(void **state)
{
    (void)state;
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    for (uint32_t i = 0; i < 2000; i++) {
        request.number = i;
        echo__v1__echo__echo(parley_client_service(client), &request, calls_count, &tally);
    }
    calls_await(&tally, 2000);
    assert_int_equal(tally.ok, 2000);
    assert_int_equal(tally.last, 1999);
}

static void test_large_calls_in_flight_wait_for_room(void **state)
{
    (void)state;
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    request.payload.len = 200000;
    request.payload.data = calloc(1, request.payload.len);
    for (uint32_t i = 0; i < 300; i++)
        echo__v1__echo__echo(parley_client_service(client), &request, calls_count, &tally);
    calls_await(&tally, 300);
    assert_int_equal(tally.ok, 300);
    free(request.payload.data);
}

static void test_a_handler_may_answer_later_and_out_of_order(void **state)
{
    (void)state;
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    request.number = 1;
    echo__v1__echo__later(parley_client_service(client), &request, calls_count, &tally);
    calls_echo("first", 5);
    assert_int_equal(tally.ended, 0);
    calls_echo("second", 6);
    calls_await(&tally, 1);
    assert_int_equal(tally.last, 1000);
}

static void test_freeing_a_client_cancels_its_calls(void **state)
{
    (void)state;
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    for (int i = 0; i < 3; i++)
        echo__v1__echo__never(parley_client_service(client), &request, calls_count, &tally);
    client = parley_client_free(client);
    assert_int_equal(tally.ended, 3);
    assert_int_equal(tally.status, PARLEY_CANCELLED);
}

static struct parley_client *freed_inside;
static void free_client(const Echo__V1__Message *message, void *data)
{
    calls_count(message, data);
    freed_inside = parley_client_free(freed_inside);
}

static void test_a_closure_may_free_its_client(void **state)
{
    (void)state;
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    freed_inside = client;
    echo__v1__echo__echo(parley_client_service(client), &request, free_client, &tally);
    echo__v1__echo__never(parley_client_service(client), &request, calls_count, &tally);
    client = NULL;
    calls_await(&tally, 2);
    assert_int_equal(tally.ok, 1);
    assert_int_equal(tally.status, PARLEY_CANCELLED);
}

static void call_again(const Echo__V1__Message *message, void *data)
{
    calls_count(message, data);
    calls_echo("from a closure", 14);
}

static void test_a_closure_may_call_and_wait(void **state)
{
    (void)state;
    bus_fork(&bus, calls_serve, NULL);
    calls_connect(1);
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    echo__v1__echo__echo(parley_client_service(client), &request, call_again, &tally);
    calls_await(&tally, 1);
    assert_int_equal(tally.ok, 1);
}

/* A service that keeps a call whose caller leaves, frees itself, and answers then. */
static int serve_and_answer_too_late(struct bus *b, void *argument)
{
    static Echo__V1__Echo_Service service =
        ECHO_SERVICE(.echo = calls_handle_echo, .later = calls_handle_later);
    (void)argument;
    struct parley_service *published = calls_publish(b, &service.base);
    if (!published)
        return 2;
    while (parley_dispatch(served, 100000000) == PARLEY_OK)
        ;
    if (later_count != 2)
        return 4;
    parley_service_free(published);
    later[0].closure(NULL, later[0].data);
    parley_endpoint_free(served);
    later[1].closure(NULL, later[1].data);
    return 0;
}

static void test_a_handler_may_answer_after_caller_and_service_are_gone(void **state)
{
    (void)state;
    pid_t pid = bus_fork(&bus, serve_and_answer_too_late, NULL);
    calls_connect(1);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    struct tally tally = {0};
    request.number = 1000;
    echo__v1__echo__later(parley_client_service(client), &request, calls_count, &tally);
    echo__v1__echo__later(parley_client_service(client), &request, calls_count, &tally);
    calls_echo("both were taken", 15);
    client = parley_client_free(client);
    assert_int_equal(tally.ended, 2);
    kill(pid, SIGTERM);
    assert_int_equal(bus_reap(&bus, pid), 0);
}

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        call_test(test_a_call_is_answered),
        call_test(test_sizes_around_every_limit_cross_unharmed),
        call_test(test_messages_that_grow_and_shrink_cross_unharmed),
        call_test(test_many_calls_wrap_the_ring_many_times),
        call_test(test_a_request_over_64_MiB_is_refused_here),
        call_test(test_a_message_of_another_type_is_not_sent),
        call_test(test_a_handler_fails_with_status_and_sentence),
        call_test(test_metadata_and_identity_reach_the_handler),
        call_test(test_a_deadline_ends_a_call_that_is_not_answered),
        call_test(test_generated_client_functions_call_without_waiting),
        call_test(test_large_calls_in_flight_wait_for_room),
        call_test(test_a_handler_may_answer_later_and_out_of_order),
        call_test(test_freeing_a_client_cancels_its_calls),
        call_test(test_a_closure_may_free_its_client),
        call_test(test_a_closure_may_call_and_wait),
        call_test(test_a_handler_may_answer_after_caller_and_service_are_gone),
    };
    if (getenv("TEST_FILTER"))
        cmocka_set_test_filter(getenv("TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
