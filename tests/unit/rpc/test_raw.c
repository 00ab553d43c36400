/*
 * Services that work on bytes: a broker in a thread, and service and client in the test's own.
 */
#include "support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <parley/buffer.h>

#include "base/clock.h"
#include "broker/broker.h"
#include "echo.parley.h"
#include "rpc/rpc.h"
#include "support/served.h"
#include "support/wakings.h"
#include "ware_v1.parley.h"
#include "ware_v2.parley.h"

#define SEEN_MAX 8

static struct parley_endpoint *server, *caller;
static struct schema *schema;
static struct parley_service *service;

/* ---- The service ---- */

static struct {
    bool hold, no_room;
    size_t published, rooms, count, cancelled;
    enum parley_status status;
    char text[256];
    uint8_t *room;
    struct parley_context *contexts[SEEN_MAX];
    unsigned method;
    uint8_t payload[1 << 17];
    size_t bytes;
    uint8_t metadata[256];
    size_t metadata_bytes;
    bool one_way;
    uint64_t left_ns;
    enum parley_status answer; /* if not OK: instead of the request's bytes */
    enum parley_executed executed;
    const char *says; /* with it, or with OK instead of the request's bytes */
} seen;

static void on_published(struct parley_service *which, enum parley_status status, const char *text,
                         void *userdata)
{
    (void)which;
    assert_ptr_equal(userdata, &seen);
    seen.published++;
    seen.status = status;
    (void)snprintf(seen.text, sizeof(seen.text), "%.255s", text);
}

static uint8_t *on_room(struct parley_context *context, unsigned method, size_t bytes,
                        void *userdata)
{
    assert_ptr_equal(userdata, &seen);
    assert_non_null(context);
    (void)method;
    free(seen.room);
    seen.room = seen.no_room ? NULL : malloc(bytes);
    seen.rooms++;
    return seen.room;
}

static void on_cancelled(struct parley_context *context, void *userdata)
{
    (void)userdata;
    seen.cancelled++;
    rpc_context_answer(context, PARLEY_CANCELLED, PARLEY_EXECUTED_UNKNOWN, NULL, 0);
}

static void on_serve(struct parley_context *context, unsigned method, uint8_t *payload,
                     size_t bytes, void *userdata)
{
    assert_ptr_equal(userdata, &seen);
    assert_ptr_equal(payload, seen.room);
    assert_true(bytes <= sizeof(seen.payload));
    seen.method = method;
    memcpy(seen.payload, payload, bytes);
    seen.bytes = bytes;
    const uint8_t *block = rpc_context_metadata(context, &seen.metadata_bytes);
    assert_true(seen.metadata_bytes <= sizeof(seen.metadata));
    if (seen.metadata_bytes)
        memcpy(seen.metadata, block, seen.metadata_bytes);
    seen.one_way = rpc_context_one_way(context);
    seen.left_ns = clock_left(rpc_context_deadline_ns(context), clock_now_ns());
    if (seen.hold) {
        assert_true(seen.count < SEEN_MAX);
        seen.contexts[seen.count++] = context;
        parley_context_on_cancel(context, on_cancelled, NULL);
        return;
    }
    seen.count++;
    const uint8_t *data = seen.says ? (const uint8_t *)seen.says : payload;
    rpc_context_answer(context, seen.answer, seen.executed, data,
                       seen.says ? strlen(seen.says) : bytes);
}

static const struct rpc_service_ops ops = {
    .published = on_published, .room = on_room, .serve = on_serve};

/* ---- The bus ---- */

static struct parley_endpoint *endpoint_of(const char *name)
{
    struct parley_endpoint *endpoint;
    const struct parley_endpoint_options options = {
        .broker = served.socket, .name = name, .connect_timeout_ns = PATIENCE_NS};
    assert_int_equal(parley_endpoint_new(&options, &endpoint), PARLEY_OK);
    return endpoint;
}

static int setup(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof(seen));
    seen.executed = PARLEY_EXECUTED_YES;
    served_prepare();
    served_begin(&(struct broker_options){0});
    server = endpoint_of("raw");
    caller = endpoint_of("caller");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    parley_endpoint_free(caller);
    parley_endpoint_free(server);
    schema = schema_unref(schema);
    free(seen.room);
    return served_end();
}

static void turn_until(const size_t *number, size_t value)
{
    uint64_t deadline = clock_now_ns() + PATIENCE_NS;
    while (*number < value && clock_now_ns() < deadline) {
        assert_int_equal(parley_dispatch(server, 0), PARLEY_OK);
        assert_int_equal(parley_dispatch(caller, NS_PER_MS), PARLEY_OK);
    }
    assert_true(*number >= value);
}

static enum parley_status publish(const struct parley_interface *interface, uint32_t calls_max)
{
    struct error_text error = {""};
    assert_int_equal(schema_new(interface->descriptor_set, interface->descriptor_set_bytes,
                                interface->service->name, &schema, &error),
                     0);
    const struct rpc_service_spec spec = {
        .schema = schema, .calls_max = calls_max, .ops = &ops, .userdata = &seen};
    assert_int_equal(rpc_service_open(server, &spec, &service), PARLEY_OK);
    turn_until(&seen.published, 1);
    return seen.status;
}

static _Atomic int attached;

static void *run_server(void *data)
{
    while (!atomic_load(&attached))
        if (parley_dispatch(server, NS_PER_MS) != PARLEY_OK)
            abort();
    return data;
}

/* The client waits for a channel, so that meanwhile another thread has to serve. */
static struct parley_client *client_of(const struct parley_interface *interface)
{
    struct parley_client *client;
    pthread_t thread;
    atomic_store(&attached, 0);
    assert_int_equal(pthread_create(&thread, NULL, run_server, NULL), 0);
    assert_int_equal(parley_client_new(caller, interface, NULL, &client), PARLEY_OK);
    uint64_t deadline = clock_now_ns() + PATIENCE_NS;
    while (parley_client_channel_count(client) == 0 && clock_now_ns() < deadline)
        assert_int_equal(parley_dispatch(caller, NS_PER_MS), PARLEY_OK);
    atomic_store(&attached, 1);
    pthread_join(thread, NULL);
    assert_int_equal(parley_client_channel_count(client), 1);
    return client;
}

/* ---- Calls ---- */

struct ended {
    size_t count;
    enum parley_status status;
    enum parley_executed executed;
    char error[256];
    uint8_t payload[1 << 17];
    size_t bytes;
};
static struct ended ended;

static void on_replied(const struct rpc_outcome *outcome, const uint8_t *payload, size_t bytes,
                       void *userdata)
{
    (void)userdata;
    ended.count++;
    ended.status = outcome->status;
    ended.executed = outcome->executed;
    (void)snprintf(ended.error, sizeof(ended.error), "%s", outcome->text ? outcome->text : "");
    assert_true(bytes <= sizeof(ended.payload));
    if (payload)
        memcpy(ended.payload, payload, bytes);
    ended.bytes = payload ? bytes : 0;
}

static void start(struct parley_client *client, unsigned method, const void *payload, size_t bytes,
                  const struct rpc_call *options)
{
    struct rpc_call call = options ? *options : (struct rpc_call){0};
    call.payload = payload;
    call.payload_bytes = bytes;
    call.replied = on_replied;
    (void)rpc_call_raw(client, method, &call);
}

static enum parley_status ask(struct parley_client *client, unsigned method, const void *payload,
                              size_t bytes, const struct rpc_call *call)
{
    memset(&ended, 0, sizeof(ended));
    start(client, method, payload, bytes, call);
    turn_until(&ended.count, 1);
    return ended.status;
}

static const uint8_t seven[] = {0x10, 7}; /* number: 7 */

static void test_a_call_is_answered_with_bytes(void **state)
{
    (void)state;
    assert_int_equal(publish(&echo__v1__echo__interface, 0), PARLEY_OK);
    struct parley_client *client = client_of(&echo__v1__echo__interface);
    assert_int_equal(ask(client, 3, seven, sizeof(seven), NULL), PARLEY_OK);
    assert_int_equal(seen.method, 3);
    assert_int_equal(ended.executed, PARLEY_EXECUTED_YES);
    assert_int_equal(ended.bytes, sizeof(seven));
    assert_memory_equal(ended.payload, seven, sizeof(seven));
    assert_int_equal(ask(client, 0, seven, 0, NULL), PARLEY_OK);
    assert_int_equal(ended.bytes, 0);
}

static void test_bytes_are_in_the_service_s_own_version(void **state)
{
    (void)state;
    assert_int_equal(publish(&ware__v2__store__interface, 0), PARLEY_OK);
    struct parley_client *client = client_of(&ware__v1__store__interface);
    uint8_t packed[64];
    Ware__V1__Ware request = WARE__V1__WARE__INIT;
    request.name = (char *)(uintptr_t) "salt";
    request.grams = 3;
    size_t bytes = ware__v1__ware__pack(&request, packed);
    assert_int_equal(ask(client, 0, packed, bytes, NULL), PARLEY_OK);
    Ware__V2__Ware *got = ware__v2__ware__unpack(NULL, seen.bytes, seen.payload);
    assert_non_null(got);
    assert_string_equal(got->title, "salt");
    assert_int_equal(got->milligrams, 3000);
    ware__v2__ware__free_unpacked(got, NULL);
    Ware__V1__Ware *back = ware__v1__ware__unpack(NULL, ended.bytes, ended.payload);
    assert_non_null(back);
    assert_string_equal(back->name, "salt");
    assert_int_equal(back->grams, 3);
    ware__v1__ware__free_unpacked(back, NULL);
}

static void test_it_sees_metadata_deadline_and_kind(void **state)
{
    (void)state;
    assert_int_equal(publish(&echo__v1__echo__interface, 0), PARLEY_OK);
    struct parley_client *client = client_of(&echo__v1__echo__interface);
    static const uint8_t block[] = "\6\4\0tenantblue";
    struct rpc_call call = {
        .timeout_ns = 30 * NS_PER_S, .metadata = block, .metadata_bytes = sizeof(block) - 1};
    assert_int_equal(ask(client, 0, seven, sizeof(seven), &call), PARLEY_OK);
    assert_int_equal(seen.metadata_bytes, sizeof(block) - 1);
    assert_memory_equal(seen.metadata, block, sizeof(block) - 1);
    assert_false(seen.one_way);
    assert_in_range(seen.left_ns, 1, 30 * NS_PER_S);
    call.one_way = true;
    start(client, 0, seven, sizeof(seven), &call);
    turn_until(&seen.count, 2);
    assert_true(seen.one_way);
    assert_int_equal(ask(client, 0, seven, sizeof(seven), NULL), PARLEY_OK);
    assert_int_equal(seen.metadata_bytes, 0);
}

static void test_a_status_and_its_sentence_reach_the_caller(void **state)
{
    (void)state;
    assert_int_equal(publish(&echo__v1__echo__interface, 0), PARLEY_OK);
    struct parley_client *client = client_of(&echo__v1__echo__interface);
    seen.answer = PARLEY_ABORTED;
    seen.says = "somebody was faster";
    assert_int_equal(ask(client, 0, seven, sizeof(seven), NULL), PARLEY_ABORTED);
    assert_string_equal(ended.error, "echo/Echo: somebody was faster");
    assert_int_equal(ended.executed, PARLEY_EXECUTED_YES);
    seen.answer = (enum parley_status)99;
    assert_int_equal(ask(client, 1, seven, sizeof(seven), NULL), PARLEY_UNKNOWN);
    seen.answer = PARLEY_UNAVAILABLE; /* Fail may not be tried again */
    seen.executed = PARLEY_EXECUTED_UNKNOWN;
    assert_int_equal(ask(client, 1, seven, sizeof(seven), NULL), PARLEY_UNAVAILABLE);
    assert_int_equal(ended.executed, PARLEY_EXECUTED_UNKNOWN);
    char text[600];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    seen.says = text;
    assert_int_equal(ask(client, 1, seven, sizeof(seven), NULL), PARLEY_UNAVAILABLE);
    assert_in_range(strlen(ended.error), 100, 255);
}

static void test_calls_are_answered_later_and_in_any_order(void **state)
{
    (void)state;
    assert_int_equal(publish(&echo__v1__echo__interface, 0), PARLEY_OK);
    struct parley_client *client = client_of(&echo__v1__echo__interface);
    seen.hold = true;
    memset(&ended, 0, sizeof(ended));
    for (uint8_t i = 0; i < 4; i++)
        start(client, 0, (const uint8_t[]){0x10, i + 1}, 2, NULL);
    turn_until(&seen.count, 4);
    assert_int_equal(ended.count, 0);
    for (uint8_t i = 4; i-- > 0;) {
        rpc_context_answer(seen.contexts[i], PARLEY_OK, PARLEY_EXECUTED_YES,
                           (const uint8_t[]){0x10, i + 1}, 2);
        turn_until(&ended.count, (size_t)4 - i);
        assert_int_equal(ended.payload[1], i + 1);
    }
    assert_int_equal(rpc_service_serving(service), 0);
}

static void test_who_answers_later_is_told_that_nobody_waits(void **state)
{
    (void)state;
    assert_int_equal(publish(&echo__v1__echo__interface, 0), PARLEY_OK);
    struct parley_client *client = client_of(&echo__v1__echo__interface);
    seen.hold = true;
    const struct rpc_call call = {.timeout_ns = 50 * NS_PER_MS};
    assert_int_equal(ask(client, 4, seven, sizeof(seven), &call), PARLEY_DEADLINE_EXCEEDED);
    turn_until(&seen.cancelled, 1);
    assert_int_equal(rpc_service_serving(service), 0);
    memset(&ended, 0, sizeof(ended));
    start(client, 4, seven, sizeof(seven), NULL);
    turn_until(&seen.count, 2);
    parley_client_free(client); /* its caller is gone */
    turn_until(&seen.cancelled, 2);
    assert_int_equal(rpc_service_serving(service), 0);
}

static void test_what_is_no_reply_is_data_loss(void **state)
{
    (void)state;
    assert_int_equal(publish(&echo__v1__echo__interface, 0), PARLEY_OK);
    struct parley_client *client = client_of(&echo__v1__echo__interface);
    seen.says = "no protobuf at all";
    assert_int_equal(ask(client, 0, seven, sizeof(seven), NULL), PARLEY_DATA_LOSS);
    assert_non_null(strstr(ended.error, "the reply of version 1.0.0 was refused"));
    assert_int_equal(ended.executed, PARLEY_EXECUTED_YES);
}

static void test_what_is_no_request_is_refused_before_it_is_served(void **state)
{
    (void)state;
    assert_int_equal(publish(&echo__v1__echo__interface, 0), PARLEY_OK);
    struct parley_client *client = client_of(&echo__v1__echo__interface);
    assert_int_equal(ask(client, 0, "\x12\x7f", 2, NULL), PARLEY_INVALID_ARGUMENT);
    assert_non_null(strstr(ended.error, "the request is not a echo.v1.Message"));
    assert_int_equal(ended.executed, PARLEY_EXECUTED_NO);
    assert_int_equal(seen.rooms, 1);
    assert_int_equal(seen.count, 0);
    seen.no_room = true;
    assert_int_equal(ask(client, 0, seven, sizeof(seven), NULL), PARLEY_RESOURCE_EXHAUSTED);
    assert_int_equal(seen.count, 0);
    seen.no_room = false;
    assert_int_equal(ask(client, 0, seven, sizeof(seven), NULL), PARLEY_OK);
}

static void test_it_is_given_as_many_calls_as_it_takes(void **state)
{
    (void)state;
    assert_int_equal(publish(&echo__v1__echo__interface, 3), PARLEY_OK);
    struct parley_client *client = client_of(&echo__v1__echo__interface);
    seen.hold = true;
    memset(&ended, 0, sizeof(ended));
    for (uint8_t i = 0; i < 3; i++)
        start(client, 4, seven, sizeof(seven), NULL);
    turn_until(&seen.count, 3);
    start(client, 4, seven, sizeof(seven), NULL);
    turn_until(&ended.count, 1);
    assert_int_equal(ended.status, PARLEY_RESOURCE_EXHAUSTED);
    assert_string_equal(ended.error, "echo/Never: the instance serves 3 calls already");
    assert_int_equal(ended.executed, PARLEY_EXECUTED_NO);
    for (uint8_t i = 0; i < 3; i++)
        rpc_context_answer(seen.contexts[i], PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    turn_until(&ended.count, 4);
}

static void test_a_reply_over_the_limit_is_refused(void **state)
{
    (void)state;
    assert_int_equal(publish(&echo__v1__echo__interface, 0), PARLEY_OK);
    struct parley_client *client = client_of(&echo__v1__echo__interface);
    seen.hold = true;
    memset(&ended, 0, sizeof(ended));
    start(client, 4, seven, sizeof(seven), NULL);
    turn_until(&seen.count, 1);
    uint8_t *large = calloc(1, WIRE_MESSAGE_BYTES_MAX + 1);
    assert_non_null(large);
    rpc_context_answer(seen.contexts[0], PARLEY_OK, PARLEY_EXECUTED_YES, large,
                       WIRE_MESSAGE_BYTES_MAX + 1);
    free(large);
    turn_until(&ended.count, 1);
    assert_int_equal(ended.status, PARLEY_RESOURCE_EXHAUSTED);
    assert_string_equal(ended.error, "echo/Never: the reply is too large");
}

static void on_reply(const Echo__V1__Message *reply, void *data)
{
    assert_non_null(reply);
    assert_int_equal(reply->payload.len, 100000);
    assert_int_equal(reply->payload.data[99999], 5);
    ++*(size_t *)data;
}

static void test_bytes_by_reference_come_whole(void **state)
{
    (void)state;
    assert_int_equal(publish(&echo__v1__echo__interface, 0), PARLEY_OK);
    struct parley_client *client = client_of(&echo__v1__echo__interface);
    struct parley_buffer *buffer;
    assert_int_equal(parley_buffer_new(client, 100000, &buffer), PARLEY_OK);
    memset(parley_buffer_data(buffer), 5, 100000);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    request.payload.data = parley_buffer_data(buffer);
    request.payload.len = 100000;
    size_t done = 0;
    echo__v1__echo__echo(parley_client_service(client), &request, on_reply, &done);
    turn_until(&done, 1);
    parley_buffer_free(buffer);
}

static void test_a_publication_that_is_refused_says_why(void **state)
{
    (void)state;
    assert_int_equal(publish(&echo__v1__echo__interface, 0), PARLEY_OK);
    const struct rpc_service_spec spec = {
        .schema = schema, .instance_id = rpc_service_id(service), .ops = &ops, .userdata = &seen};
    struct parley_service *second;
    assert_int_equal(rpc_service_open(server, &spec, &second), PARLEY_OK);
    turn_until(&seen.published, 2);
    assert_int_equal(seen.status, PARLEY_ALREADY_EXISTS);
    assert_non_null(strstr(seen.text, "is published already"));
    parley_service_free(second);
}

static void test_it_drains_like_any_other(void **state)
{
    (void)state;
    assert_int_equal(publish(&echo__v1__echo__interface, 0), PARLEY_OK);
    struct parley_client *client = client_of(&echo__v1__echo__interface);
    seen.hold = true;
    memset(&ended, 0, sizeof(ended));
    start(client, 4, seven, sizeof(seven), NULL);
    turn_until(&seen.count, 1);
    parley_service_close(service);
    for (int i = 0; i < 20; i++) {
        (void)parley_dispatch(server, 0);
        (void)parley_dispatch(caller, NS_PER_MS);
    }
    assert_false(parley_service_drained(service));
    rpc_context_answer(seen.contexts[0], PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    turn_until(&ended.count, 1);
    assert_int_equal(ended.status, PARLEY_OK);
    uint64_t deadline = clock_now_ns() + PATIENCE_NS;
    while (!parley_service_drained(service) && clock_now_ns() < deadline) {
        (void)parley_dispatch(server, 0);
        (void)parley_dispatch(caller, NS_PER_MS);
    }
    assert_true(parley_service_drained(service));
    service = parley_service_free(service);
}

/* ---- Rings that are held ---- */

/* The server, on its descriptor. */
static void fall_asleep(void)
{
    (void)parley_fd(server);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(parley_dispatch(caller, 0), PARLEY_OK);
        assert_int_equal(parley_dispatch(server, 0), PARLEY_OK);
    }
}

static void test_a_service_is_woken_for_calls_when_rings_are_held_no_more(void **state)
{
    (void)state;
    assert_int_equal(publish(&echo__v1__echo__interface, 0), PARLEY_OK);
    struct parley_client *client = client_of(&echo__v1__echo__interface);
    memset(&ended, 0, sizeof(ended));
    fall_asleep();
    uint64_t before = wakings_by(caller);
    rpc_hold_rings(caller);
    for (int i = 0; i < 3; i++)
        start(client, 0, seven, sizeof(seven), NULL);
    assert_int_equal(wakings_by(caller), before);
    rpc_ring_held(caller);
    assert_int_equal(wakings_by(caller), before + 1);
    turn_until(&ended.count, 3);
    fall_asleep();
    before = wakings_by(caller);
    start(client, 0, seven, sizeof(seven), NULL);
    assert_int_equal(wakings_by(caller), before + 1);
    turn_until(&ended.count, 4);
}

static void test_rings_of_more_services_than_are_remembered_are_not_held(void **state)
{
    (void)state;
    struct parley_client *clients[RPC_RINGS_HELD_MAX + 1];
    assert_int_equal(publish(&echo__v1__echo__interface, 0), PARLEY_OK);
    for (size_t i = 0; i <= RPC_RINGS_HELD_MAX; i++)
        clients[i] = client_of(&echo__v1__echo__interface);
    memset(&ended, 0, sizeof(ended));
    fall_asleep();
    uint64_t before = wakings_by(caller);
    rpc_hold_rings(caller);
    for (size_t i = 0; i < RPC_RINGS_HELD_MAX; i++)
        start(clients[i], 0, seven, sizeof(seven), NULL);
    assert_int_equal(wakings_by(caller), before);
    start(clients[RPC_RINGS_HELD_MAX], 0, seven, sizeof(seven), NULL);
    assert_int_equal(wakings_by(caller), before + 1);
    rpc_ring_held(caller);
    assert_int_equal(wakings_by(caller), before + 1 + RPC_RINGS_HELD_MAX);
    turn_until(&ended.count, RPC_RINGS_HELD_MAX + 1);
}

static void test_who_is_freed_is_not_rung(void **state)
{
    (void)state;
    assert_int_equal(publish(&echo__v1__echo__interface, 0), PARLEY_OK);
    struct parley_client *client = client_of(&echo__v1__echo__interface);
    memset(&ended, 0, sizeof(ended));
    fall_asleep();
    rpc_hold_rings(caller);
    start(client, 0, seven, sizeof(seven), NULL);
    parley_client_free(client);
    assert_int_equal(ended.count, 1);
    assert_int_equal(ended.status, PARLEY_CANCELLED);
    assert_int_equal(parley_dispatch(caller, 0), PARLEY_OK); /* buries its channel */
    uint64_t before = wakings_by(caller);
    rpc_ring_held(caller);
    assert_int_equal(wakings_by(caller), before);
}

#define UNIT(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_a_call_is_answered_with_bytes),
        UNIT(test_bytes_are_in_the_service_s_own_version),
        UNIT(test_it_sees_metadata_deadline_and_kind),
        UNIT(test_a_status_and_its_sentence_reach_the_caller),
        UNIT(test_calls_are_answered_later_and_in_any_order),
        UNIT(test_who_answers_later_is_told_that_nobody_waits),
        UNIT(test_what_is_no_reply_is_data_loss),
        UNIT(test_what_is_no_request_is_refused_before_it_is_served),
        UNIT(test_it_is_given_as_many_calls_as_it_takes),
        UNIT(test_a_reply_over_the_limit_is_refused),
        UNIT(test_bytes_by_reference_come_whole),
        UNIT(test_a_publication_that_is_refused_says_why),
        UNIT(test_it_drains_like_any_other),
        UNIT(test_a_service_is_woken_for_calls_when_rings_are_held_no_more),
        UNIT(test_rings_of_more_services_than_are_remembered_are_not_held),
        UNIT(test_who_is_freed_is_not_rung),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
