/*
 * Calls by the bus URL: their answers, their end, what is wrong with them, and how they are
 * counted.
 */
#include "fronts.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "broker/metrics.h"
#include "echo.parley.h"
#include "support/echoes.h"

static int begin_with_few_calls(void **state)
{
    (void)state;
    int r = fronts_begin(&(struct broker_options){.quota = {.calls = 4}});
    served_start(0, &echo_service);
    return r;
}

#define LARGE_BYTES (1u << 20)

static void answer_large(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                         Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    (void)input;
    static uint8_t large[LARGE_BYTES];
    Echo__V1__Message reply = ECHO__V1__MESSAGE__INIT;
    reply.payload = (ProtobufCBinaryData){sizeof(large), large};
    closure(&reply, data);
}

static enum parley_status serve_large(struct parley_endpoint *endpoint)
{
    return echo_serve(endpoint, answer_large);
}

static int begin_with_large_answers(void **state)
{
    static const struct served_service service = {"service", serve_large, NULL};
    (void)state;
    int r = fronts_begin(&(struct broker_options){.quota = {0}});
    served_start(0, &service);
    return r;
}

/* ---- Calls ---- */

static void test_a_frame_is_answered_with_the_reply_and_who_served(void **state)
{
    (void)state;
    uint8_t payload[64];
    struct bus_frame frame = frame_of("echo", "Echo", UINT64_C(0xfedcba9876543210));
    frame.payload_bytes = echo_pack(42, "hello", payload);
    for (unsigned i = 0; i < 3; i++) { /* the first looks its target up */
        asker_say(&asker, 5 + i, &frame, payload);
        asker_expect(&asker, UINT64_C(0xfedcba9876543210), PARLEY_OK, NULL);
        assert_int_equal(asker.answer.request, 5 + i);
        assert_int_equal(asker.answer.frame.header.executed, PARLEY_EXECUTED_YES);
        assert_true(bus_text_is(&asker.answer.frame.version, "1.0.0"));
        assert_true(bus_text_is(&asker.answer.frame.translation, "identity"));
        assert_int_equal(asker.answer.frame.payload_bytes, frame.payload_bytes);
        assert_memory_equal(asker.answer.frame.payload, payload, frame.payload_bytes);
    }
}

static void test_a_method_can_be_named_by_its_number(void **state)
{
    (void)state;
    struct bus_frame frame = frame_of("echo", "", 1);
    frame.method.text = NULL;
    frame.header.method = 0;
    asker_say(&asker, 1, &frame, NULL);
    asker_expect(&asker, 1, PARLEY_OK, NULL);
    frame.header.method = 7;
    asker_say(&asker, 2, &frame, NULL);
    asker_expect(&asker, 1, PARLEY_NOT_FOUND, "has 7 methods");
}

static void test_a_target_that_is_remembered_changes_with_the_bus(void **state)
{
    (void)state;
    struct bus_frame frame = frame_of("echo", "Echo", 1);
    for (unsigned i = 0; i < 2; i++) {
        asker_say(&asker, 1, &frame, NULL);
        asker_expect(&asker, 1, PARLEY_OK, NULL);
        served_stop(0);
        asker_say(&asker, 2, &frame, NULL);
        asker_expect(&asker, 1, PARLEY_UNAVAILABLE, NULL);
        assert_int_equal(asker.answer.frame.header.executed, PARLEY_EXECUTED_NO);
        served_start(0, &echo_service);
    }
    /* More targets than are remembered. */
    const char *methods[] = {"Echo", "Context", "Nope", "Fail", "Later", "Die", "Echo"};
    for (size_t i = 0; i < 7; i++) {
        frame = frame_of("echo", methods[i], i);
        frame.accept = TEXT("^9");
        asker_say(&asker, 1, &frame, NULL);
        asker_expect(&asker, i, i == 2 ? PARLEY_NOT_FOUND : PARLEY_FAILED_PRECONDITION, NULL);
    }
}

static void test_metadata_travel_but_not_the_bus_s_own(void **state)
{
    (void)state;
    uint8_t payload[64];
    const struct {
        const char *key, *value;
    } cases[] = {{"tenant", "blue"},
                 {"gray.version", "2"},
                 {"parley.interface", NULL},
                 {"parley.method", NULL}};
    for (size_t i = 0; i < 4; i++) {
        struct bus_frame frame = frame_of("echo", "Context", i);
        frame.metadata = (const uint8_t *)"\x06\x04\0tenantblue\x0c\x01\0gray.version2";
        frame.metadata_bytes = 13 + 16;
        frame.payload_bytes = echo_pack(0, cases[i].key, payload);
        asker_say(&asker, 1, &frame, payload);
        asker_expect(&asker, i, PARLEY_OK, NULL);
        Echo__V1__Message *got = echo__v1__message__unpack(NULL, asker.answer.frame.payload_bytes,
                                                           asker.answer.frame.payload);
        assert_non_null(got);
        size_t want = cases[i].value ? strlen(cases[i].value) : 0;
        assert_int_equal(got->payload.len, want);
        if (want)
            assert_memory_equal(got->payload.data, cases[i].value, want);
        echo__v1__message__free_unpacked(got, NULL);
    }
}

static void test_the_service_s_refusal_is_the_asker_s(void **state)
{
    (void)state;
    uint8_t payload[64];
    struct bus_frame frame = frame_of("echo", "Fail", 1);
    frame.payload_bytes = echo_pack(PARLEY_ABORTED, "no luck", payload);
    asker_say(&asker, 1, &frame, payload);
    asker_expect(&asker, 1, PARLEY_ABORTED, "no luck");
    assert_int_equal(asker.answer.frame.header.executed, PARLEY_EXECUTED_YES);
    assert_true(bus_text_is(&asker.answer.frame.version, "1.0.0"));
    frame = frame_of("echo", "Echo", 2);
    frame.payload_bytes = 3;
    asker_say(&asker, 2, &frame, "\x0a\xff\xff"); /* not of the schema */
    asker_expect(&asker, 2, PARLEY_INVALID_ARGUMENT, NULL);
}

static void test_large_payloads_pass(void **state)
{
    (void)state;
    Echo__V1__Message message = ECHO__V1__MESSAGE__INIT;
    message.payload.len = 3000000;
    message.payload.data = malloc(message.payload.len);
    uint8_t *payload = malloc(message.payload.len + 64);
    assert_true(payload && message.payload.data);
    for (size_t i = 0; i < message.payload.len; i++)
        message.payload.data[i] = (uint8_t)(i * 7);
    struct bus_frame frame = frame_of("echo", "Echo", 1);
    frame.payload_bytes = echo__v1__message__pack(&message, payload);
    asker_say(&asker, 1, &frame, payload);
    asker_expect(&asker, 1, PARLEY_OK, NULL);
    assert_int_equal(asker.answer.frame.payload_bytes, frame.payload_bytes);
    assert_memory_equal(asker.answer.frame.payload, payload, frame.payload_bytes);
    free(payload);
    free(message.payload.data);
}

static void test_one_way_is_answered_when_it_is_on_its_way(void **state)
{
    (void)state;
    struct bus_frame frame = frame_of("echo", "Never", 1);
    frame.header.kind = FRAME_ONE_WAY;
    for (unsigned i = 0; i < 2; i++) {
        asker_say(&asker, 1, &frame, NULL);
        asker_expect(&asker, 1, PARLEY_OK, NULL);
        assert_int_equal(asker.answer.frame.header.executed, PARLEY_EXECUTED_UNKNOWN);
        assert_int_equal(asker.answer.frame.payload_bytes, 0);
    }
    fronts_wait(&never_count, 2);
}

static void test_deadline_ends_a_call(void **state)
{
    (void)state;
    struct bus_frame frame = frame_of("echo", "Never", 1);
    frame.header.time_left_us = 30000;
    asker_say(&asker, 1, &frame, NULL);
    asker_expect(&asker, 1, PARLEY_DEADLINE_EXCEEDED, NULL);
    assert_int_equal(asker.answer.frame.header.executed, PARLEY_EXECUTED_UNKNOWN);
    fronts_wait(&cancelled_count, 1);
}

/* ---- Cancelling, and hanging up ---- */

static void test_cancel_ends_calls_of_its_own_connection_only(void **state)
{
    (void)state;
    struct asker other = asker_new();
    struct bus_frame frame = frame_of("echo", "Never", 7);
    frame.header.time_left_us = UINT32_MAX;
    asker_say(&asker, 1, &frame, NULL);
    fronts_wait(&never_count, 1);
    const struct bus_frame cancel = {.header = {.call_id = 7, .kind = FRAME_CANCEL}};
    asker_say(&other, 2, &cancel, NULL);
    asker_expect(&other, 7, PARLEY_NOT_FOUND, "no such call");
    assert_int_equal(atomic_load(&cancelled_count), 0);
    asker_say(&asker, 3, &cancel, NULL);
    asker_expect(&asker, 7, PARLEY_CANCELLED, NULL);
    assert_int_equal(asker.answer.request, 1);
    assert_int_equal(asker.answer.frame.header.executed, PARLEY_EXECUTED_UNKNOWN);
    asker_expect(&asker, 7, PARLEY_OK, NULL);
    assert_int_equal(asker.answer.request, 3);
    fronts_wait(&cancelled_count, 1);
    asker_say(&asker, 4, &cancel, NULL);
    asker_expect(&asker, 7, PARLEY_NOT_FOUND, "no such call");
    assert_int_equal(fronts_counts().cancelled, 1);
    asker_hang_up(&other);
}

static void test_who_hangs_up_has_its_calls_cancelled(void **state)
{
    (void)state;
    struct asker other = asker_new();
    struct bus_frame frame = frame_of("echo", "Never", 7);
    for (unsigned i = 0; i < 100; i++)
        asker_say(&asker, i, &frame, NULL);
    asker_say(&other, 1, &frame, NULL);
    fronts_wait(&never_count, 101);
    assert_int_equal(fronts_counts().calls_now, 101);
    asker_hang_up(&asker);
    fronts_wait(&cancelled_count, 100);
    asker_is_served(&other);
    struct front_counts now = fronts_counts();
    assert_int_equal(now.calls_now, 1);
    assert_int_equal(now.calls_most, 101 + (now.calls_most == 102));
    assert_int_equal(now.abandoned, 100);
    assert_int_equal(now.replier.connections_now, 1);
    assert_int_equal(atomic_load(&cancelled_count), 100);
    asker_hang_up(&other);
}

/* Under way on many connections; nobody's answer waits for them. */
static void test_thousands_are_under_way(void **state)
{
    (void)state;
    struct asker askers[50], other = asker_new();
    struct bus_frame frame = frame_of("echo", "Never", 7);
    for (unsigned i = 0; i < 50; i++) {
        askers[i] = asker_new();
        for (unsigned j = 0; j < 50; j++)
            asker_say(&askers[i], j, &frame, NULL);
    }
    fronts_wait(&never_count, 2500);
    assert_int_equal(fronts_counts().calls_now, 2500);
    frame = frame_of("echo", "Echo", 8);
    asker_say(&other, 1, &frame, NULL);
    asker_expect(&other, 8, PARLEY_OK, NULL);
    served_stop(0);
    for (unsigned i = 0; i < 50; i++) {
        bool seen[50] = {false};
        for (unsigned j = 0; j < 50; j++) {
            asker_expect(&askers[i], 7, PARLEY_UNAVAILABLE, NULL);
            assert_true(askers[i].answer.request < 50 && !seen[askers[i].answer.request]);
            seen[askers[i].answer.request] = true;
        }
        asker_hang_up(&askers[i]);
    }
    asker_hang_up(&other);
}

static void test_a_connection_has_so_many_calls_at_once(void **state)
{
    (void)state;
    struct asker other = asker_new();
    for (unsigned i = 0; i < 4; i++) {
        struct bus_frame frame = frame_of("echo", "Never", i);
        asker_say(&asker, i, &frame, NULL);
    }
    fronts_wait(&never_count, 4);
    struct bus_frame frame = frame_of("echo", "Echo", 4);
    asker_say(&asker, 4, &frame, NULL);
    asker_expect(&asker, 4, PARLEY_RESOURCE_EXHAUSTED, "--limit calls=N");
    assert_int_equal(asker.answer.frame.header.executed, PARLEY_EXECUTED_NO);
    asker_say(&other, 4, &frame, NULL);
    asker_expect(&other, 4, PARLEY_OK, NULL);
    assert_int_equal(fronts_counts().limited, 1);
    asker_hang_up(&other);
}

/* All are asked for before the first answer shows how large they are. */
static void test_what_waits_unread_has_no_room_for_more_but_says_so(void **state)
{
    (void)state;
    enum { COUNT = 60 };
    struct bus_frame frame = frame_of("echo", "Never", 7);
    served_hold();
    for (unsigned i = 0; i < COUNT; i++)
        asker_say(&asker, i, &frame, NULL);
    served_go();
    const struct timespec nap = {.tv_nsec = 1000000};
    for (uint64_t until = clock_now_ns() + PATIENCE_NS;
         fronts_counts().calls_most < COUNT || fronts_counts().calls_now > 0;) {
        assert_true(clock_now_ns() < until);
        nanosleep(&nap, NULL);
    }
    unsigned good = 0, refused = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        asker_hear(&asker);
        bool is_good = asker.answer.frame.header.status == PARLEY_OK;
        good += is_good;
        refused += asker.answer.frame.header.status == PARLEY_RESOURCE_EXHAUSTED;
        assert_int_equal(asker.answer.frame.header.executed, PARLEY_EXECUTED_YES);
        assert_true(!is_good || asker.answer.frame.payload_bytes > LARGE_BYTES);
    }
    assert_true(good >= 31 && refused >= 8); /* of 32 MiB and what the kernel keeps */
    assert_int_equal(good + refused, COUNT);
    assert_int_equal(fronts_counts().limited, refused);
    asker_say(&asker, 99, &frame, NULL); /* who reads is served again */
    asker_expect(&asker, 7, PARLEY_OK, NULL);
}

static void test_what_is_under_way_is_answered_or_not_when_the_broker_ends(void **state)
{
    struct asker late = asker_new();
    struct bus_frame frame = frame_of("echo", "Never", 1);
    for (unsigned i = 0; i < 10; i++)
        asker_say(&late, i, &frame, NULL);
    fronts_wait(&never_count, 10);
    served_stop(0);
    fronts_end(state);
    fronts_begin(NULL);
    asker_hang_up(&late);
}

/* ---- What is wrong ---- */

static void test_names_that_are_not_there_are_answered_with_those_that_are(void **state)
{
    (void)state;
    struct bus_frame frame = frame_of("nix", "Get", 1);
    asker_say(&asker, 1, &frame, NULL);
    asker_expect(&asker, 1, PARLEY_NOT_FOUND, "there is: echo");
    frame = frame_of("echo", "Get", 2);
    asker_say(&asker, 1, &frame, NULL);
    asker_expect(&asker, 2, PARLEY_NOT_FOUND, "there is: Echo, Fail");
    frame = frame_of("echo", "Echo", 3);
    frame.version = TEXT("9.0.0");
    asker_say(&asker, 1, &frame, NULL);
    asker_expect(&asker, 3, PARLEY_NOT_FOUND, "there is: 1.0.0");
    frame = frame_of("", "Echo", 4);
    frame.interface.text = NULL;
    asker_say(&asker, 1, &frame, NULL);
    asker_expect(&asker, 4, PARLEY_INVALID_ARGUMENT, "parley.interface");
}

static void test_who_asks_cannot_say_who_it_is(void **state)
{
    (void)state;
    struct bus_frame frame = frame_of("echo", "Echo", 1);
    frame.metadata = (const uint8_t *)"\x0f\x01\0parley.peer.uid0";
    frame.metadata_bytes = 19;
    asker_say(&asker, 1, &frame, NULL);
    asker_expect(&asker, 1, PARLEY_INVALID_ARGUMENT, "the bus says itself");
}

static void test_a_service_s_frames_are_refused(void **state)
{
    (void)state;
    const uint8_t kinds[] = {FRAME_RESPONSE, FRAME_GOAWAY, FRAME_BYE};
    for (size_t i = 0; i < 3; i++) {
        const struct bus_frame frame = {.header = {.call_id = i, .kind = kinds[i]}};
        asker_say(&asker, 1, &frame, NULL);
        asker_expect(&asker, i, PARLEY_INVALID_ARGUMENT, "who asks sends");
    }
}

static void test_wrong_or_cut_at_every_byte_it_is_answered(void **state)
{
    (void)state;
    struct bus_frame frame = frame_of("echo", "Echo", 1);
    uint8_t payload[64], message[256];
    frame.version = TEXT("1.0.0");
    frame.payload_bytes = echo_pack(1, "hello", payload);
    size_t head_bytes = bus_frame_head_bytes(&frame);
    size_t bytes = head_bytes + frame.payload_bytes;
    assert_int_equal(bus_frame_write(&frame, message, head_bytes), 0);
    memcpy(message + head_bytes, payload, frame.payload_bytes);
    for (size_t i = 0; i < bytes; i++) { /* cut */
        if (i > 22) {
            sp_ask(asker.sp, 1, message, i);
            asker_expect(&asker, i >= 32, PARLEY_INVALID_ARGUMENT, NULL);
            assert_true(strlen(asker.answer.text) > 10);
        }
    }
    for (size_t i = 0; i < bytes; i++) { /* wrong */
        for (unsigned bit = 0; bit < 8; bit++) {
            message[i] ^= (uint8_t)(1u << bit);
            if (bus_frame_is(message, bytes) && i != 22) {
                sp_ask(asker.sp, 1, message, bytes);
                asker_hear(&asker);
                if (i >= 32 && asker.answer.frame.header.status)
                    assert_true(strlen(asker.answer.text) > 10);
                else if (i >= 8 && i < 32 && (i < 12 || i > 15)) /* not an id, nor a time */
                    assert_int_equal(asker.answer.frame.header.status, PARLEY_INVALID_ARGUMENT);
            }
            message[i] ^= (uint8_t)(1u << bit);
        }
    }
    asker_is_served(&asker);
    assert_true(fronts_counts().malformed > 0);
}

/* ---- Statistics ---- */

static void test_what_came_is_counted(void **state)
{
    (void)state;
    struct bus_frame frame = frame_of("echo", "Echo", 1);
    for (unsigned i = 0; i < 3; i++) {
        asker_say(&asker, 1, &frame, NULL);
        asker_expect(&asker, 1, PARLEY_OK, NULL);
    }
    sp_ask(asker.sp, 1, "nonsense", 8);
    asker_expect(&asker, 0, PARLEY_INVALID_ARGUMENT, "8 bytes are no frame");
    frame = frame_of("echo", "Never", 2);
    asker_say(&asker, 1, &frame, NULL);
    fronts_wait(&never_count, 1);
    served_hold();
    Parley__Stats stats;
    assert_int_equal(stats_reply(served.broker, false, &stats), 0);
    assert_non_null(stats.front);
    assert_int_equal(stats.front->connections, 1);
    assert_int_equal(stats.front->connections_ever, 1);
    assert_int_equal(stats.front->frames, 4);
    assert_int_equal(stats.front->malformed, 1);
    assert_int_equal(stats.front->calls, 1);
    assert_int_equal(stats.front->calls_most, 1);
    assert_true(stats.front->bytes_in > 4 * 32 && stats.front->bytes_out > 4 * 32);
    stats_reply_free(&stats);
    assert_int_equal(stats_reply(served.broker, true, &stats), 0);
    assert_non_null(strstr(stats.json, "\"frames\":4,\"json\":0,\"malformed\":1"));
    stats_reply_free(&stats);
    struct metrics metrics = {.failed = false};
    assert_int_equal(metrics_stats(&metrics, served.broker), 0);
    metrics_end(&metrics);
    assert_non_null(
        strstr(metrics.text, "parley_front_messages_total{parley_message=\"frame\"} 4"));
    metrics_deinit(&metrics);
    served_go();
}

#define FRONT(name) cmocka_unit_test_setup_teardown(name, fronts_begin_echo, fronts_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRONT(test_a_frame_is_answered_with_the_reply_and_who_served),
        FRONT(test_a_method_can_be_named_by_its_number),
        FRONT(test_a_target_that_is_remembered_changes_with_the_bus),
        FRONT(test_metadata_travel_but_not_the_bus_s_own),
        FRONT(test_the_service_s_refusal_is_the_asker_s),
        FRONT(test_large_payloads_pass),
        FRONT(test_one_way_is_answered_when_it_is_on_its_way),
        FRONT(test_deadline_ends_a_call),
        FRONT(test_cancel_ends_calls_of_its_own_connection_only),
        FRONT(test_who_hangs_up_has_its_calls_cancelled),
        FRONT(test_thousands_are_under_way),
        cmocka_unit_test_setup_teardown(test_a_connection_has_so_many_calls_at_once,
                                        begin_with_few_calls, fronts_end),
        cmocka_unit_test_setup_teardown(test_what_waits_unread_has_no_room_for_more_but_says_so,
                                        begin_with_large_answers, fronts_end),
        FRONT(test_what_is_under_way_is_answered_or_not_when_the_broker_ends),
        FRONT(test_names_that_are_not_there_are_answered_with_those_that_are),
        FRONT(test_who_asks_cannot_say_who_it_is),
        FRONT(test_a_service_s_frames_are_refused),
        FRONT(test_wrong_or_cut_at_every_byte_it_is_answered),
        FRONT(test_what_came_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
