/*
 * Calls that the broker makes for askers, and events: the broker in one thread, a service in
 * another, askers in the test's own and in more of them.
 */
#include "support/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "broker/broker.h"
#include "broker/relay.h"
#include "echo.parley.h"
#include "support/echoes.h"
#include "support/served.h"
#include "wire/wire.h"

static char control_url[112], events_url[112];

/* ---- The bus ---- */

/* Not until the service ends. */
static struct {
    struct parley_context *context;
    Echo__V1__Message_Closure closure;
    void *data;
} never[8];
static size_t never_count;

static void handle_never(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                         Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    (void)input;
    assert_true(never_count < 8);
    never[never_count].context = parley_context_current();
    never[never_count].closure = closure;
    never[never_count++].data = data;
}

static enum parley_status serve_echo(struct parley_endpoint *endpoint)
{
    return echo_serve(endpoint, handle_never);
}

static void end_never(void)
{
    for (; never_count > 0; never_count--) {
        parley_context_fail(never[never_count - 1].context, PARLEY_UNAVAILABLE, "the end");
        never[never_count - 1].closure(NULL, never[never_count - 1].data);
    }
}

static void start_service(void)
{
    static const struct served_service echo_service = {"echo", serve_echo, end_never};
    served_start(0, &echo_service);
}

static int begin(void **state)
{
    (void)state;
    served_prepare();
    snprintf(control_url, sizeof(control_url), "ipc://%s/control.ipc", served.folder);
    snprintf(events_url, sizeof(events_url), "ipc://%s/events.ipc", served.folder);
    const char *control[] = {control_url};
    const char *events[] = {events_url};
    const struct broker_options options = {
        .control_urls = control,
        .control_url_count = 1,
        .event_urls = events,
        .event_url_count = 1,
    };
    served_begin(&options);
    return 0;
}

static int end(void **state)
{
    (void)state;
    return served_end(); /* empty: nothing was left behind */
}

/* ---- Askers ---- */

struct asked {
    const char *interface, *version, *method;
    const void *payload;
    size_t payload_bytes;
    uint64_t timeout_ns;
    bool one_way;
    size_t metadata_count;
    const char *key, *value; /* of each of them; NULL: "tenant", "blue" */
    Parley__ControlReply *reply;
};

static void ask(struct asked *asked)
{
    Parley__MetadataPair pair = PARLEY__METADATA_PAIR__INIT;
    const char *value = asked->value ? asked->value : "blue";
    pair.key = (char *)(uintptr_t)(asked->key ? asked->key : "tenant");
    pair.has_value = true;
    pair.value.data = (uint8_t *)(uintptr_t)value;
    pair.value.len = strlen(value);
    Parley__MetadataPair *pairs[64];
    for (size_t i = 0; i < asked->metadata_count; i++)
        pairs[i] = &pair;
    Parley__CallRequest call = PARLEY__CALL_REQUEST__INIT;
    call.interface = (char *)(uintptr_t)(asked->interface ? asked->interface : "echo");
    call.version = (char *)(uintptr_t)asked->version;
    call.method = (char *)(uintptr_t)asked->method;
    call.has_payload = asked->payload_bytes > 0;
    call.payload.data = (uint8_t *)(uintptr_t)asked->payload;
    call.payload.len = asked->payload_bytes;
    call.has_timeout_ns = asked->timeout_ns > 0;
    call.timeout_ns = asked->timeout_ns;
    call.has_one_way = call.one_way = asked->one_way;
    call.n_metadata = asked->metadata_count;
    call.metadata = pairs;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_CALL;
    request.call = &call;
    size_t bytes = parley__control_request__get_packed_size(&request);
    uint8_t *data = malloc(bytes);
    assert_non_null(data);
    parley__control_request__pack(&request, data);

    struct nng_asker *asker;
    struct error_text error = {""};
    uint8_t *answer = NULL;
    size_t answer_bytes = 0;
    if (nng_asker_new(control_url, PATIENCE_NS, &asker, &error) < 0 ||
        nng_asker_ask(asker, data, bytes, &answer, &answer_bytes, &error) < 0)
        fail_msg("%s", error.text);
    nng_asker_free(asker);
    free(data);
    ProtobufCMessage *message;
    assert_int_equal(wire_unpack(&parley__control_reply__descriptor, answer, answer_bytes, NULL,
                                 &message, &error),
                     0);
    asked->reply = (Parley__ControlReply *)message;
    free(answer);
}

static void expect(struct asked *asked, enum parley_status status, enum parley_executed executed,
                   const char *words)
{
    ask(asked);
    if (asked->reply->status != (uint32_t)status)
        fail_msg("status %u instead of %d: %s", asked->reply->status, (int)status,
                 asked->reply->text ? asked->reply->text : "");
    assert_int_equal(asked->reply->call->executed, executed);
    if (words && (!asked->reply->text || !strstr(asked->reply->text, words)))
        fail_msg("\"%s\" does not say \"%s\"", asked->reply->text, words);
}

/* A Message with a number and a text. */
static size_t pack(uint32_t number, const char *text, uint8_t *out)
{
    Echo__V1__Message message = ECHO__V1__MESSAGE__INIT;
    message.number = number;
    message.text = (char *)(uintptr_t)text;
    return echo__v1__message__pack(&message, out);
}

static void test_call_is_made_for_the_asker(void **state)
{
    (void)state;
    start_service();
    uint8_t payload[64];
    struct asked asked = {.method = "Echo", .payload = payload};
    asked.payload_bytes = pack(42, "hello", payload);
    expect(&asked, PARLEY_OK, PARLEY_EXECUTED_YES, NULL);
    assert_string_equal(asked.reply->call->served_by, "1.0.0");
    assert_int_equal(asked.reply->call->payload.len, asked.payload_bytes);
    assert_memory_equal(asked.reply->call->payload.data, payload, asked.payload_bytes);
    wire_free(asked.reply);
}

/* Never is a method that does not answer. */
static void test_a_one_way_call_is_answered_when_it_is_on_its_way(void **state)
{
    (void)state;
    start_service();
    struct asked asked = {.method = "Never", .one_way = true};
    expect(&asked, PARLEY_OK, PARLEY_EXECUTED_UNKNOWN, NULL);
    assert_string_equal(asked.reply->call->served_by, "1.0.0");
    assert_false(asked.reply->call->has_payload);
    wire_free(asked.reply);
}

static void test_large_payloads_pass(void **state)
{
    (void)state;
    start_service();
    const size_t bytes = 3000000;
    Echo__V1__Message message = ECHO__V1__MESSAGE__INIT;
    message.payload.len = bytes;
    message.payload.data = calloc(1, bytes);
    uint8_t *payload = malloc(bytes + 64);
    assert_non_null(payload);
    struct asked asked = {.method = "Echo", .payload = payload};
    asked.payload_bytes = echo__v1__message__pack(&message, payload);
    expect(&asked, PARLEY_OK, PARLEY_EXECUTED_YES, NULL);
    assert_int_equal(asked.reply->call->payload.len, asked.payload_bytes);
    wire_free(asked.reply);
    free(payload);
    free(message.payload.data);
}

static void test_empty_request_is_a_request(void **state)
{
    (void)state;
    start_service();
    struct asked asked = {.method = "Echo", .version = "1.0.0"};
    expect(&asked, PARLEY_OK, PARLEY_EXECUTED_YES, NULL);
    assert_int_equal(asked.reply->call->payload.len, 0);
    wire_free(asked.reply);
}

static void test_failure_of_the_service_is_the_asker_s(void **state)
{
    (void)state;
    start_service();
    uint8_t payload[64];
    struct asked asked = {.method = "Fail", .payload = payload};
    asked.payload_bytes = pack(PARLEY_ABORTED, "no luck", payload);
    expect(&asked, PARLEY_ABORTED, PARLEY_EXECUTED_YES, "no luck");
    wire_free(asked.reply);
}

static void test_garbage_is_refused_by_the_service(void **state)
{
    (void)state;
    start_service();
    struct asked asked = {.method = "Echo", .payload = "\x0a\xff\xff", .payload_bytes = 3};
    ask(&asked);
    assert_int_equal(asked.reply->status, PARLEY_INVALID_ARGUMENT);
    wire_free(asked.reply);
}

/* What an asker says of itself is worth no more than what any caller says. */
static void test_an_asker_can_claim_no_identity_and_no_broken_trace(void **state)
{
    (void)state;
    start_service();
    uint8_t payload[64];
    char uid[16];
    struct asked asked = {.method = "Context", .payload = payload, .metadata_count = 1};
    asked.key = "parley.peer.uid";
    asked.value = "12345";
    asked.payload_bytes = pack(0, "parley.peer.uid", payload);
    expect(&asked, PARLEY_INVALID_ARGUMENT, PARLEY_EXECUTED_NO, "the bus says itself");
    wire_free(asked.reply);
    asked.metadata_count = 0;
    expect(&asked, PARLEY_OK, PARLEY_EXECUTED_YES, NULL);
    Echo__V1__Message *answer = echo__v1__message__unpack(NULL, asked.reply->call->payload.len,
                                                          asked.reply->call->payload.data);
    assert_non_null(answer);
    (void)snprintf(uid, sizeof(uid), "%u", geteuid()); /* the broker's, which makes the call */
    assert_int_equal(answer->payload.len, strlen(uid));
    assert_memory_equal(answer->payload.data, uid, strlen(uid));
    echo__v1__message__free_unpacked(answer, NULL);
    wire_free(asked.reply);

    asked.metadata_count = 1;
    asked.key = "baggage";
    asked.value = "nonsense,plan=pro";
    asked.payload_bytes = pack(0, "baggage", payload);
    expect(&asked, PARLEY_OK, PARLEY_EXECUTED_YES, NULL);
    answer = echo__v1__message__unpack(NULL, asked.reply->call->payload.len,
                                       asked.reply->call->payload.data);
    assert_non_null(answer);
    assert_int_equal(answer->payload.len, 8);
    assert_memory_equal(answer->payload.data, "plan=pro", 8);
    echo__v1__message__free_unpacked(answer, NULL);
    wire_free(asked.reply);
}

static void test_metadata_travel_with_the_call_and_are_bounded(void **state)
{
    (void)state;
    start_service();
    uint8_t payload[64];
    struct asked asked = {.method = "Context", .payload = payload, .metadata_count = 1};
    asked.payload_bytes = pack(0, "tenant", payload);
    expect(&asked, PARLEY_OK, PARLEY_EXECUTED_YES, NULL);
    Echo__V1__Message *got = echo__v1__message__unpack(NULL, asked.reply->call->payload.len,
                                                       asked.reply->call->payload.data);
    assert_non_null(got);
    assert_int_equal(got->payload.len, 4);
    assert_memory_equal(got->payload.data, "blue", 4);
    echo__v1__message__free_unpacked(got, NULL);
    wire_free(asked.reply);
    asked.metadata_count = 33;
    expect(&asked, PARLEY_INVALID_ARGUMENT, PARLEY_EXECUTED_NO, "at most 32");
    wire_free(asked.reply);
}

static void test_deadline_ends_a_call_that_nobody_answers(void **state)
{
    (void)state;
    start_service();
    struct asked asked = {.method = "Never", .timeout_ns = 30 * NS_PER_MS};
    expect(&asked, PARLEY_DEADLINE_EXCEEDED, PARLEY_EXECUTED_UNKNOWN, NULL);
    wire_free(asked.reply);
}

static void *ask_in_thread(void *data)
{
    ask(data);
    return NULL;
}

static void test_slow_call_does_not_keep_others_waiting(void **state)
{
    (void)state;
    start_service();
    pthread_t thread;
    struct asked slow = {.method = "Never", .timeout_ns = 3600 * NS_PER_S};
    assert_int_equal(pthread_create(&thread, NULL, ask_in_thread, &slow), 0);
    for (unsigned i = 0; i < 50; i++) {
        struct asked asked = {.method = "Echo"};
        expect(&asked, PARLEY_OK, PARLEY_EXECUTED_YES, NULL);
        wire_free(asked.reply);
    }
    served_stop(0); /* it takes the slow call along */
    pthread_join(thread, NULL);
    assert_int_equal(slow.reply->status, PARLEY_UNAVAILABLE);
    wire_free(slow.reply);
}

static void *ask_often(void *data)
{
    (void)data;
    for (unsigned i = 0; i < 40; i++) {
        uint8_t payload[64];
        struct asked asked = {.method = "Echo", .payload = payload};
        asked.payload_bytes = pack(i, "often", payload);
        ask(&asked);
        if (asked.reply->status != PARLEY_OK ||
            asked.reply->call->payload.len != asked.payload_bytes ||
            memcmp(asked.reply->call->payload.data, payload, asked.payload_bytes) != 0)
            abort();
        wire_free(asked.reply);
    }
    return NULL;
}

static void test_askers_get_their_own_answers(void **state)
{
    (void)state;
    start_service();
    pthread_t threads[6];
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, NULL), 0);
    for (unsigned i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
}

static void test_service_that_left_is_unavailable_and_found_again(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct asked asked = {.method = "Echo"};
        start_service();
        expect(&asked, PARLEY_OK, PARLEY_EXECUTED_YES, NULL);
        wire_free(asked.reply);
        served_stop(0);
        expect(&asked, PARLEY_UNAVAILABLE, PARLEY_EXECUTED_NO, NULL);
        wire_free(asked.reply);
    }
}

static void test_calls_that_are_under_way_are_answered_when_the_broker_ends(void **state)
{
    (void)state;
    start_service();
    pthread_t thread;
    struct asked slow = {.method = "Never", .timeout_ns = 3600 * NS_PER_S};
    assert_int_equal(pthread_create(&thread, NULL, ask_in_thread, &slow), 0);
    for (;;) {
        served_hold(); /* to look at what is its own */
        if (served.broker->relay && relay_call_count(served.broker->relay) == 1)
            break;
        served_go();
        struct asked asked = {.method = "Echo"};
        ask(&asked);
        wire_free(asked.reply);
    }
    relay_free(served.broker->relay);
    pthread_join(thread, NULL);
    assert_int_equal(slow.reply->status, PARLEY_CANCELLED);
    wire_free(slow.reply);
    served_go();
}

/* ---- Events ---- */

static void expect_event(struct nng_subscriber *subscriber, const char *topic)
{
    uint8_t *data;
    size_t bytes;
    size_t topic_bytes = strlen(topic);
    assert_int_equal(nng_subscriber_receive(subscriber, PATIENCE_NS, &data, &bytes), 0);
    assert_true(bytes > topic_bytes + 1);
    if (memcmp(data, topic, topic_bytes) != 0 || data[topic_bytes] != '\n')
        fail_msg("\"%.*s\" instead of \"%s\"", (int)topic_bytes, (const char *)data, topic);
    ProtobufCMessage *message;
    struct error_text error = {""};
    assert_int_equal(wire_unpack(&parley__event__descriptor, data + topic_bytes + 1,
                                 bytes - topic_bytes - 1, NULL, &message, &error),
                     0);
    const Parley__Event *event = (const Parley__Event *)message;
    assert_string_equal(event->topic, topic);
    assert_string_equal(event->interface, "echo");
    assert_string_equal(event->version, "1.0.0");
    assert_int_equal(event->pid, getpid());
    assert_true(event->instance_id != 0);
    assert_true(event->time_unix_ns > UINT64_C(1600000000) * NS_PER_S);
    assert_non_null(strstr(event->text, "echo 1.0.0"));
    wire_free(message);
    free(data);
}

static void test_events_tell_of_an_instance_s_life(void **state)
{
    (void)state;
    struct nng_subscriber *subscriber;
    struct error_text error;
    const char *topics[] = {"instance."};
    assert_int_equal(nng_subscriber_new(events_url, topics, 1, &subscriber, &error), 0);
    /* The subscription is ours alone until NNG's thread has seen the connection: the first event
     * may be lost, but not the later ones. */
    uint8_t *data;
    size_t bytes;
    for (unsigned i = 0;; i++) {
        assert_true(i < 100);
        start_service();
        if (nng_subscriber_receive(subscriber, 100 * NS_PER_MS, &data, &bytes) == 0)
            break;
        served_stop(0);
    }
    free(data);
    served_stop(0);
    for (bool gone = false; !gone;) { /* drain, gone */
        assert_int_equal(nng_subscriber_receive(subscriber, PATIENCE_NS, &data, &bytes), 0);
        gone = bytes > 14 && memcmp(data, "instance.gone\n", 14) == 0;
        free(data);
    }
    start_service();
    expect_event(subscriber, "instance.up");
    served_stop(0);
    expect_event(subscriber, "instance.drain");
    expect_event(subscriber, "instance.gone");
    nng_subscriber_free(subscriber);
}

#define RELAY(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RELAY(test_call_is_made_for_the_asker),
        RELAY(test_a_one_way_call_is_answered_when_it_is_on_its_way),
        RELAY(test_large_payloads_pass),
        RELAY(test_empty_request_is_a_request),
        RELAY(test_failure_of_the_service_is_the_asker_s),
        RELAY(test_garbage_is_refused_by_the_service),
        RELAY(test_metadata_travel_with_the_call_and_are_bounded),
        RELAY(test_an_asker_can_claim_no_identity_and_no_broken_trace),
        RELAY(test_deadline_ends_a_call_that_nobody_answers),
        RELAY(test_slow_call_does_not_keep_others_waiting),
        RELAY(test_askers_get_their_own_answers),
        RELAY(test_service_that_left_is_unavailable_and_found_again),
        RELAY(test_calls_that_are_under_way_are_answered_when_the_broker_ends),
        RELAY(test_events_tell_of_an_instance_s_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
