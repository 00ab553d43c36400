/*
 * REP sockets as instances: what they are sent, what becomes of their answers, right and wrong, and
 * of them when they leave.
 */
#include "guests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "broker/guest.h"
#include "ware_v1.parley.h"
#include "ware_v2.parley.h"
#include "wire/wire.h"

static const uint8_t seven[] = {0x10, 7}; /* a Message whose number is 7 */

enum { ECHO = 0, FAIL = 1, NEVER = 4 };

static int begin(void **state)
{
    (void)state;
    guests_begin(NULL, NULL);
    return 0;
}

/* Where nobody dials, or answers, for long. */
static int begin_in_a_hurry(void **state)
{
    (void)state;
    const struct serve_options options = {.dial_ns = 50 * NS_PER_MS};
    guests_begin(&options, NULL);
    return 0;
}

static int begin_with_little_patience(void **state)
{
    (void)state;
    const struct serve_options options = {.silent_ns = 50 * NS_PER_MS};
    guests_begin(&options, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    guests_end();
    return 0;
}

static bool is(struct bus_text text, const char *expected)
{
    return text.text && text.bytes == strlen(expected) &&
           memcmp(text.text, expected, text.bytes) == 0;
}

/* ---- Calls ---- */

static void test_a_socket_is_an_instance_like_any_other(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask;
    struct guest_call_end end = {0};
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    guests_start(client, ECHO, 5 * NS_PER_S, &end);
    guests_take(&guest, &ask);
    assert_int_equal(ask.frame.header.kind, FRAME_REQUEST);
    assert_in_range(ask.frame.header.time_left_us, 1, 5000000);
    assert_true(is(ask.frame.interface, "echo"));
    assert_true(is(ask.frame.version, "1.0.0"));
    assert_true(is(ask.frame.method, "Echo"));
    assert_true(ask.frame.says_peer);
    assert_int_equal(ask.frame.payload_bytes, sizeof(seven));
    assert_memory_equal(ask.frame.payload, seven, sizeof(seven));
    guests_reply(&guest, &ask, PARLEY_OK, PARLEY_EXECUTED_NO, seven, sizeof(seven));
    guests_await(&end, 1);
    assert_int_equal(end.status, PARLEY_OK);
    assert_int_equal(end.executed, PARLEY_EXECUTED_YES);
    assert_memory_equal(end.payload, seven, sizeof(seven));

    Parley__ControlRequest control = PARLEY__CONTROL_REQUEST__INIT;
    Parley__ListRequest list = PARLEY__LIST_REQUEST__INIT;
    control.body_case = PARLEY__CONTROL_REQUEST__BODY_LIST;
    control.list = &list;
    Parley__ControlReply *reply = guests_ask(&control);
    const Parley__InstanceInfo *info = reply->list->interface[0]->version[0]->instance[0];
    assert_int_equal(info->instance_id, guest.id);
    assert_string_equal(info->endpoint, "guest");
    assert_int_equal(info->pid, getpid());
    assert_int_equal(info->uid, getuid());
    wire_free(reply);
    guests_leave(&guest);
}

static const uint8_t *metadata_of(const struct guest_ask *ask, const char *key, size_t *ret_bytes)
{
    for (size_t at = 0; at < ask->frame.metadata_bytes;) {
        const uint8_t *pair = ask->frame.metadata + at;
        size_t bytes = pair[1] | (size_t)pair[2] << 8;
        if (pair[0] == strlen(key) && memcmp(pair + 3, key, pair[0]) == 0) {
            *ret_bytes = bytes;
            return pair + 3 + pair[0];
        }
        at += 3 + pair[0] + bytes;
    }
    return NULL;
}

static void on_nothing(const Ware__V1__Ware *reply, void *data)
{
    assert_non_null(reply);
    assert_string_equal(reply->name, "pepper");
    assert_int_equal(reply->grams, 2);
    ++*(size_t *)data;
}

static void test_its_messages_are_in_its_own_version(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask;
    guests_join(&guest, &ware__v2__store__interface, 0);
    struct parley_client *client = guests_client(&ware__v1__store__interface);
    Ware__V1__Ware request = WARE__V1__WARE__INIT;
    request.name = (char *)(uintptr_t) "salt";
    request.grams = 3;
    size_t done = 0, bytes;
    ware__v1__store__weigh(parley_client_service(client), &request, on_nothing, &done);
    guests_take(&guest, &ask);
    assert_true(is(ask.frame.version, "2.0.0"));
    assert_true(is(ask.frame.client, "1.0.0"));
    Ware__V2__Ware *got = ware__v2__ware__unpack(NULL, ask.frame.payload_bytes, ask.frame.payload);
    assert_non_null(got);
    assert_string_equal(got->title, "salt");
    assert_int_equal(got->milligrams, 3000);
    ware__v2__ware__free_unpacked(got, NULL);
    char uid[16];
    snprintf(uid, sizeof(uid), "%u", (unsigned)getuid());
    const uint8_t *value = metadata_of(&ask, "parley.peer.uid", &bytes);
    assert_non_null(value);
    assert_int_equal(bytes, strlen(uid));
    assert_memory_equal(value, uid, bytes);
    Ware__V2__Ware answer = WARE__V2__WARE__INIT;
    uint8_t packed[64];
    answer.title = (char *)(uintptr_t) "pepper";
    answer.milligrams = 2000;
    guests_reply(&guest, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, packed,
                 ware__v2__ware__pack(&answer, packed));
    for (uint64_t until = clock_now_ns() + PATIENCE_NS; done == 0 && clock_now_ns() < until;)
        guests_turn();
    assert_int_equal(done, 1);
    guests_leave(&guest);
}

static void test_its_failure_is_the_caller_s(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask;
    struct guest_call_end end = {0};
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    guests_start(client, FAIL, 0, &end);
    guests_take(&guest, &ask);
    guests_reply(&guest, &ask, PARLEY_ABORTED, PARLEY_EXECUTED_UNKNOWN, "no luck", 7);
    guests_await(&end, 1);
    assert_int_equal(end.status, PARLEY_ABORTED);
    assert_int_equal(end.executed, PARLEY_EXECUTED_UNKNOWN);
    assert_non_null(strstr(end.text, "no luck"));
    guests_leave(&guest);
}

static void test_a_plain_socket_is_given_one_call_at_a_time(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask;
    struct guest_call_end ends[3] = {0};
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    for (unsigned i = 0; i < 3; i++)
        guests_start(client, i == 1 ? FAIL : ECHO, 0, &ends[i]);
    guests_await_counter("waiting", 2);
    for (unsigned i = 0; i < 3; i++) {
        guests_take(&guest, &ask);
        assert_true(is(ask.frame.method, i == 1 ? "Fail" : "Echo"));
        assert_true(guests_quiet(&guest));
        guests_reply(&guest, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
        guests_await(&ends[i], 1);
        assert_int_equal(ends[i].status, PARLEY_OK);
    }
    guests_await_counter("waiting", 0);
    guests_await_counter("waiting_bytes", 0);
    guests_await_counter("calls", 0);
    guests_leave(&guest);
}

static void test_who_takes_several_answers_in_any_order(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask asks[4];
    struct guest_call_end ends[4] = {0};
    guests_join(&guest, &echo__v1__echo__interface, 3);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    for (unsigned i = 0; i < 4; i++)
        guests_start(client, ECHO, 0, &ends[i]);
    for (unsigned i = 0; i < 3; i++)
        guests_take(&guest, &asks[i]);
    assert_true(guests_quiet(&guest));
    for (unsigned i = 3; i-- > 0;) {
        const uint8_t number[] = {0x10, (uint8_t)i};
        guests_reply(&guest, &asks[i], PARLEY_OK, PARLEY_EXECUTED_YES, number, 2);
        guests_await(&ends[i], 1);
        assert_int_equal(ends[i].bytes ? ends[i].payload[1] : 0, i);
    }
    guests_take(&guest, &asks[3]);
    guests_reply(&guest, &asks[3], PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&ends[3], 1);
    guests_leave(&guest);
}

static void test_a_one_way_call_is_told_apart_and_its_answer_goes_nowhere(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask;
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    assert_int_equal(parley_client_send(client, ECHO, &request.base, NULL), PARLEY_OK);
    assert_int_equal(parley_client_send(client, FAIL, &request.base, NULL), PARLEY_OK);
    guests_take(&guest, &ask);
    assert_int_equal(ask.frame.header.kind, FRAME_ONE_WAY);
    guests_send(&guest, &ask, "anything", 8, false);
    guests_take(&guest, &ask);
    assert_true(is(ask.frame.method, "Fail"));
    guests_reply(&guest, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, NULL, 0);
    guests_await_counter("calls", 0);
    guests_leave(&guest);
}

/* ---- Answers that are none ---- */

/* @status: what the call ends as, with the words in its sentence. */
static void assert_ends(struct guest_socket *guest, struct parley_client *client, const void *data,
                        size_t bytes, enum parley_status status, const char *words)
{
    struct guest_ask ask;
    struct guest_call_end end = {0};
    guests_start(client, ECHO, 0, &end);
    guests_take(guest, &ask);
    guests_send(guest, &ask, data, bytes, false);
    guests_await(&end, 1);
    if (end.status != status || !strstr(end.text, words))
        fail_msg("%zu bytes: %s \"%s\" instead of %s \"%s\"", bytes, parley_status_name(end.status),
                 end.text, parley_status_name(status), words);
    assert_int_equal(end.executed, PARLEY_EXECUTED_YES);
}

static void test_what_is_no_response_ends_its_call_and_no_other(void **state)
{
    (void)state;
    struct guest_socket guest;
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    struct frame_header header = {.kind = FRAME_RESPONSE, .version_tag = FRAME_TAG_SERVICE};
    uint8_t frame[sizeof(header) + 2];
    assert_ends(&guest, client, "", 0, PARLEY_INTERNAL, "is no response");
    assert_ends(&guest, client, "{\"status\": \"OK\"}, and more of it to be long enough", 49,
                PARLEY_INTERNAL, "is no response");
    header.payload_bytes = 2;
    memcpy(frame, &header, sizeof(header));
    memcpy(frame + sizeof(header), seven, sizeof(seven));
    for (size_t bytes = 0; bytes < sizeof(frame); bytes++)
        assert_ends(&guest, client, frame, bytes, PARLEY_INTERNAL, "is no response");
    frame[offsetof(struct frame_header, status)] = 17;
    assert_ends(&guest, client, frame, sizeof(frame), PARLEY_INTERNAL, "status");
    frame[offsetof(struct frame_header, status)] = 0;
    frame[offsetof(struct frame_header, executed)] = 3;
    assert_ends(&guest, client, frame, sizeof(frame), PARLEY_INTERNAL, "executed");
    frame[offsetof(struct frame_header, executed)] = 0;
    frame[offsetof(struct frame_header, kind)] = FRAME_REQUEST;
    assert_ends(&guest, client, frame, sizeof(frame), PARLEY_INTERNAL, "is no response");
    frame[offsetof(struct frame_header, kind)] = FRAME_RESPONSE;
    frame[sizeof(header)] = 0xff; /* no tag of protobuf */
    assert_ends(&guest, client, frame, sizeof(frame), PARLEY_DATA_LOSS, "was refused");
    frame[sizeof(header)] = 0x10;
    struct guest_call_end end = {0};
    struct guest_ask ask;
    guests_start(client, ECHO, 0, &end);
    guests_take(&guest, &ask);
    guests_send(&guest, &ask, frame, sizeof(frame), false);
    guests_await(&end, 1);
    assert_int_equal(end.status, PARLEY_OK);
    guests_await_counter("malformed", 2 + sizeof(frame) + 3);
    guests_leave(&guest);
}

static void test_who_answers_twice_is_heard_once(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask, next;
    struct guest_call_end ends[2] = {0};
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    guests_start(client, ECHO, 0, &ends[0]);
    guests_start(client, ECHO, 0, &ends[1]);
    guests_take(&guest, &ask);
    guests_send(&guest, &ask, "nonsense", 8, true);
    guests_await(&ends[0], 1);
    guests_take(&guest, &next);
    guests_reply(&guest, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await_counter("stray", 1);
    assert_int_equal(ends[1].count, 0);
    guests_reply(&guest, &next, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&ends[1], 1);
    assert_int_equal(ends[1].status, PARLEY_OK);
    assert_int_equal(ends[0].count, 1);
    guests_leave(&guest);
}

static void test_who_answers_late_is_given_the_next_meanwhile(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask, next;
    struct guest_call_end ends[2] = {0};
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    guests_start(client, NEVER, 30 * NS_PER_MS, &ends[0]);
    guests_start(client, ECHO, 0, &ends[1]);
    guests_take(&guest, &ask);
    guests_await(&ends[0], 1);
    assert_int_equal(ends[0].status, PARLEY_DEADLINE_EXCEEDED);
    guests_take(&guest, &next);
    guests_await_counter("abandoned", 1);
    guests_reply(&guest, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await_counter("late", 1);
    guests_reply(&guest, &next, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&ends[1], 1);
    assert_int_equal(ends[1].status, PARLEY_OK);
    assert_int_equal(ends[0].count, 1);
    guests_leave(&guest);
}

static void test_what_is_cancelled_while_it_waits_is_never_sent(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask;
    struct guest_call_end ends[3] = {0};
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    guests_start(client, ECHO, 0, &ends[0]);
    uint64_t second = guests_start(client, NEVER, 0, &ends[1]);
    guests_start(client, FAIL, 0, &ends[2]);
    guests_await_counter("waiting", 2);
    parley_client_cancel(client, second);
    guests_await(&ends[1], 1);
    assert_int_equal(ends[1].status, PARLEY_CANCELLED);
    guests_await_counter("waiting", 1);
    guests_take(&guest, &ask);
    guests_reply(&guest, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_take(&guest, &ask);
    assert_true(is(ask.frame.method, "Fail"));
    guests_reply(&guest, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&ends[2], 1);
    guests_leave(&guest);
}

static void test_who_never_answers_is_given_no_more_after_a_while(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask asks[SERVE_ABANDONED_MAX];
    struct guest_call_end end = {0}, last = {0};
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    for (unsigned i = 0; i < SERVE_ABANDONED_MAX; i++) {
        uint64_t call = guests_start(client, NEVER, 0, &end);
        guests_take(&guest, &asks[i]);
        parley_client_cancel(client, call);
    }
    guests_await(&end, SERVE_ABANDONED_MAX);
    guests_await_counter("abandoned", SERVE_ABANDONED_MAX);
    guests_start(client, ECHO, 0, &last);
    guests_await_counter("waiting", 1);
    assert_true(guests_quiet(&guest));
    guests_send(&guest, &asks[5], "late", 4, false);
    guests_take(&guest, &asks[5]);
    assert_true(is(asks[5].frame.method, "Echo"));
    guests_reply(&guest, &asks[5], PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&last, 1);
    assert_int_equal(last.status, PARLEY_OK);
    for (unsigned i = 0; i < SERVE_ABANDONED_MAX; i++)
        if (i != 5)
            nng_msg_free(asks[i].message);
    guests_leave(&guest);
}

static void test_who_never_answers_is_given_up_in_the_end(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask;
    struct guest_call_end end = {0}, last = {0};
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    for (unsigned i = 0; i < SERVE_ABANDONED_MAX; i++) {
        uint64_t call = guests_start(client, NEVER, 0, &end);
        guests_take(&guest, &ask);
        nng_msg_free(ask.message);
        parley_client_cancel(client, call);
        guests_turn();
    }
    guests_start(client, FAIL, 0, &last);
    guests_await_counter("instances", 0);
    parley_client_free(client); /* else it waits for another instance */
    guests_leave(&guest);
}

static void await_channels(const struct parley_client *client, size_t count)
{
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    while (parley_client_channel_count(client) != count && clock_now_ns() < until)
        guests_turn();
    assert_int_equal(parley_client_channel_count(client), count);
}

static bool is_ejected(uint64_t id)
{
    Parley__ControlRequest control = PARLEY__CONTROL_REQUEST__INIT;
    Parley__ListRequest list = PARLEY__LIST_REQUEST__INIT;
    control.body_case = PARLEY__CONTROL_REQUEST__BODY_LIST;
    control.list = &list;
    bool ejected = false;
    Parley__ControlReply *reply = guests_ask(&control);
    const Parley__VersionInfo *version = reply->list->interface[0]->version[0];
    for (size_t i = 0; i < version->n_instance; i++)
        ejected |= version->instance[i]->instance_id == id && version->instance[i]->ejected;
    wire_free(reply);
    return ejected;
}

static int begin_with_a_quick_jury(void **state)
{
    (void)state;
    struct eject_settings settings = EJECT_DEFAULTS;
    settings.interval_ns = 20 * NS_PER_MS;
    guests_begin(NULL, &settings);
    return 0;
}

static void test_who_answers_nonsense_is_ejected(void **state)
{
    (void)state;
    struct guest_socket good, bad;
    guests_join(&good, &echo__v1__echo__interface, 0);
    guests_join(&bad, &echo__v1__echo__interface, 0);
    guests_await_counter("instances", 2);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    await_channels(client, 2);
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    unsigned refused = 0;
    for (unsigned i = 0; clock_now_ns() < until && (i % 20 != 19 || !is_ejected(bad.id)); i++) {
        struct guest_ask ask;
        struct guest_call_end end = {0};
        guests_start(client, FAIL, 0, &end);
        while (end.count == 0 && clock_now_ns() < until) {
            if (guests_try(&good, &ask))
                guests_reply(&good, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
            else if (guests_try(&bad, &ask))
                guests_send(&bad, &ask, "nonsense", 8, false);
            guests_turn();
        }
        refused += end.status == PARLEY_INTERNAL;
    }
    assert_true(is_ejected(bad.id));
    assert_true(refused > 0);
    assert_false(is_ejected(good.id));
    guests_leave(&good);
    guests_leave(&bad);
}

/* ---- Leaving ---- */

static void test_calls_end_when_the_socket_hangs_up(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask;
    struct guest_call_end had = {0}, waited = {0};
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    guests_start(client, FAIL, 0, &had);
    guests_take(&guest, &ask);
    guests_start(client, FAIL, 300 * NS_PER_MS, &waited);
    guests_await_counter("waiting", 1);
    nng_msg_free(ask.message);
    guests_leave(&guest);
    guests_await(&had, 1);
    assert_int_equal(had.status, PARLEY_UNAVAILABLE);
    assert_int_equal(had.executed, PARLEY_EXECUTED_UNKNOWN);
    guests_await(&waited, 1); /* nobody else was there */
    assert_int_equal(waited.executed, PARLEY_EXECUTED_NO);
    guests_await_counter("instances", 0);
    guests_await_counter("waiting", 0);
}

static void test_what_waited_goes_to_another_instance(void **state)
{
    (void)state;
    struct guest_socket first, second;
    struct guest_ask ask;
    struct guest_call_end had = {0}, waited = {0};
    guests_join(&first, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    guests_start(client, FAIL, 0, &had);
    guests_take(&first, &ask);
    guests_start(client, FAIL, 0, &waited);
    guests_await_counter("waiting", 1);
    guests_join(&second, &echo__v1__echo__interface, 0);
    guests_await_counter("instances", 2);
    nng_msg_free(ask.message);
    guests_leave(&first);
    guests_await(&had, 1);
    guests_take(&second, &ask);
    guests_reply(&second, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&waited, 1);
    assert_int_equal(waited.status, PARLEY_OK);
    guests_leave(&second);
}

static enum parley_status withdraw(uint64_t id, bool drain)
{
    Parley__WithdrawRequest request = PARLEY__WITHDRAW_REQUEST__INIT;
    Parley__ControlRequest control = PARLEY__CONTROL_REQUEST__INIT;
    request.has_instance_id = request.has_drain = true;
    request.instance_id = id;
    request.drain = drain;
    control.body_case = PARLEY__CONTROL_REQUEST__BODY_WITHDRAW;
    control.withdraw = &request;
    Parley__ControlReply *reply = guests_ask(&control);
    enum parley_status status = (enum parley_status)reply->status;
    wire_free(reply);
    return status;
}

static void test_it_withdraws_and_drains(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask;
    struct guest_call_end end = {0};
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    guests_start(client, FAIL, 0, &end);
    guests_take(&guest, &ask);
    assert_int_equal(withdraw(guest.id, true), PARLEY_OK);
    assert_true(guests_quiet(&guest));
    guests_await_counter("instances", 1);
    guests_reply(&guest, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&end, 1);
    assert_int_equal(end.status, PARLEY_OK);
    guests_await_counter("instances", 0);
    assert_int_equal(withdraw(guest.id, true), PARLEY_NOT_FOUND);
    guests_leave(&guest);
}

static void test_it_withdraws_at_once(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask;
    struct guest_call_end end = {0};
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    guests_start(client, FAIL, 0, &end);
    guests_take(&guest, &ask);
    assert_int_equal(withdraw(guest.id, false), PARLEY_OK);
    guests_await(&end, 1);
    assert_int_equal(end.status, PARLEY_UNAVAILABLE);
    guests_await_counter("instances", 0);
    nng_msg_free(ask.message);
    guests_leave(&guest);
}

static enum parley_status order_drain(uint64_t id, bool undo)
{
    Parley__DrainRequest request = PARLEY__DRAIN_REQUEST__INIT;
    Parley__ControlRequest control = PARLEY__CONTROL_REQUEST__INIT;
    request.n_instance_id = 1;
    request.instance_id = &id;
    request.has_action = request.has_force = request.force = true;
    request.action = undo ? PARLEY__DRAIN_ACTION__UNDO : PARLEY__DRAIN_ACTION__BEGIN;
    control.body_case = PARLEY__CONTROL_REQUEST__BODY_DRAIN;
    control.drain = &request;
    Parley__ControlReply *reply = guests_ask(&control);
    enum parley_status status = (enum parley_status)reply->status;
    wire_free(reply);
    return status;
}

static void test_an_operator_drains_it_and_takes_that_back(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask;
    struct guest_call_end end = {0};
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    assert_int_equal(order_drain(guest.id, false), PARLEY_OK);
    await_channels(client, 0);
    guests_await_counter("instances", 1);
    assert_int_equal(order_drain(guest.id, true), PARLEY_OK);
    await_channels(client, 1);
    guests_start(client, ECHO, 0, &end);
    guests_take(&guest, &ask);
    guests_reply(&guest, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&end, 1);
    assert_int_equal(end.status, PARLEY_OK);
    guests_leave(&guest);
}

/* ---- Publications that are refused, or come to nothing ---- */

static void assert_refused(const Parley__PublishRequest *request, enum parley_status status,
                           const char *words)
{
    Parley__ControlReply *reply = guests_publish(request);
    if (reply->status != (uint32_t)status || !reply->text || !strstr(reply->text, words))
        fail_msg("%u \"%s\" instead of %d \"%s\"", reply->status, reply->text ? reply->text : "",
                 (int)status, words);
    wire_free(reply);
}

static void test_what_could_be_refused_is_refused_at_once(void **state)
{
    (void)state;
    struct guest_socket guest;
    Parley__PublishRequest request = guests_request(&echo__v1__echo__interface);
    request.has_calls_max = true;
    assert_refused(&request, PARLEY_INVALID_ARGUMENT, "calls_max is 0");
    request.calls_max = SERVE_CALLS_MAX + 1;
    assert_refused(&request, PARLEY_INVALID_ARGUMENT, "calls_max is 1025");
    request = guests_request(&echo__v1__echo__interface);
    request.name = (char *)(uintptr_t) "";
    assert_refused(&request, PARLEY_INVALID_ARGUMENT, "printable bytes");
    char name[65] = "";
    memset(name, 'n', 64);
    request.name = name;
    assert_refused(&request, PARLEY_INVALID_ARGUMENT, "printable bytes");
    request = guests_request(&echo__v1__echo__interface);
    request.has_instance_id = true;
    assert_refused(&request, PARLEY_INVALID_ARGUMENT, "id is not 0");
    request = guests_request(&echo__v1__echo__interface);
    request.interface = (char *)(uintptr_t) "ware";
    assert_refused(&request, PARLEY_INVALID_ARGUMENT, "echo");
    request = guests_request(&echo__v1__echo__interface);
    request.service = (char *)(uintptr_t) "echo.v1.Nothing";
    assert_refused(&request, PARLEY_INVALID_ARGUMENT, "echo.v1.Nothing");
    request = guests_request(&echo__v1__echo__interface);
    request.descriptor_set.len--;
    assert_refused(&request, PARLEY_INVALID_ARGUMENT, "");
    request.has_descriptor_set = false;
    request.descriptor_set.len = 0;
    assert_refused(&request, PARLEY_INVALID_ARGUMENT, "");
    guests_join(&guest, &echo__v1__echo__interface, SERVE_CALLS_MAX);
    guests_await_counter("instances", 1);
    request = guests_request(&echo__v1__echo__interface);
    request.has_instance_id = true;
    request.instance_id = guest.id;
    assert_refused(&request, PARLEY_ALREADY_EXISTS, "is published already");
    guests_leave(&guest);
}

static void test_a_name_of_its_longest_and_an_id_of_before_are_kept(void **state)
{
    (void)state;
    char name[64] = "";
    memset(name, 'n', 63);
    Parley__PublishRequest request = guests_request(&echo__v1__echo__interface);
    request.name = name;
    request.has_instance_id = true;
    request.instance_id = 0x1234;
    request.interface = (char *)(uintptr_t) "echo";
    request.version = (char *)(uintptr_t) "1.0.0";
    Parley__ControlReply *reply = guests_publish(&request);
    assert_int_equal(reply->status, PARLEY_OK);
    assert_int_equal(reply->publish->instance_id, 0x1234);
    assert_non_null(strstr(reply->publish->url, "/serve-0000000000001234.ipc"));
    assert_int_equal(reply->publish->dial_within_ms, 10000);
    wire_free(reply);
    assert_refused(&request, PARLEY_ALREADY_EXISTS, "is published already");
}

static void test_one_peer_has_so_many_and_no_more(void **state)
{
    (void)state;
    uint64_t first = 0;
    Parley__PublishRequest request = guests_request(&echo__v1__echo__interface);
    for (unsigned i = 0; i < SERVE_PEER_MAX; i++) {
        Parley__ControlReply *reply = guests_publish(&request);
        assert_int_equal(reply->status, PARLEY_OK);
        first = first ? first : reply->publish->instance_id;
        wire_free(reply);
    }
    guests_await_counter("expected", SERVE_PEER_MAX);
    assert_refused(&request, PARLEY_RESOURCE_EXHAUSTED, "at most 64");
    assert_int_equal(withdraw(first, true), PARLEY_OK);
    guests_await_counter("expected", SERVE_PEER_MAX - 1);
    Parley__ControlReply *reply = guests_publish(&request);
    assert_int_equal(reply->status, PARLEY_OK);
    wire_free(reply);
}

static void test_who_does_not_dial_is_forgotten(void **state)
{
    (void)state;
    Parley__PublishRequest request = guests_request(&echo__v1__echo__interface);
    Parley__ControlReply *reply = guests_publish(&request);
    assert_int_equal(reply->status, PARLEY_OK);
    assert_int_equal(access(reply->publish->url + strlen("ipc://"), F_OK), 0);
    guests_await_counter("expected", 0);
    assert_int_not_equal(access(reply->publish->url + strlen("ipc://"), F_OK), 0);
    wire_free(reply);
}

static void test_so_many_calls_wait_and_no_more(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask;
    struct guest_call_end first = {0}, waiting = {0}, past = {0};
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    guests_start(client, FAIL, 0, &first);
    guests_take(&guest, &ask);
    for (unsigned i = 0; i < SERVE_WAITING_MAX; i++)
        guests_start(client, FAIL, 0, &waiting);
    guests_await_counter("waiting", SERVE_WAITING_MAX);
    guests_start(client, FAIL, 0, &past);
    guests_await(&past, 1);
    assert_int_equal(past.status, PARLEY_RESOURCE_EXHAUSTED);
    assert_int_equal(past.executed, PARLEY_EXECUTED_NO);
    assert_non_null(strstr(past.text, "1024 calls wait for the instance already"));
    guests_await_counter("full", 1);
    assert_int_equal(waiting.count, 0);
    for (unsigned i = 0; i < SERVE_WAITING_MAX; i++) {
        guests_reply(&guest, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
        guests_take(&guest, &ask);
    }
    guests_reply(&guest, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&waiting, SERVE_WAITING_MAX);
    assert_int_equal(waiting.status, PARLEY_OK);
    guests_leave(&guest);
}

static void send_one_ways(struct parley_client *client, int32_t first, int32_t end)
{
    for (int32_t i = first; i < end; i++) {
        Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
        request.number = i;
        assert_int_equal(parley_client_send(client, ECHO, &request.base, NULL), PARLEY_OK);
    }
}

/* The socket has one, and @count wait. */
static void fill(struct guest_socket *guest, struct parley_client *client, unsigned count,
                 struct guest_ask *ret_first, struct guest_call_end *ends)
{
    guests_start(client, FAIL, 0, ends);
    guests_take(guest, ret_first);
    for (unsigned i = 0; i < count; i++)
        guests_start(client, FAIL, 0, ends);
    guests_await_counter("waiting", count);
}

/* Answers what it has, and takes the next. */
static void next(struct guest_socket *guest, struct guest_ask *ask)
{
    guests_reply(guest, ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_take(guest, ask);
}

/* The next ones are one-way calls with these numbers. */
static void expect_one_ways(struct guest_socket *guest, struct guest_ask *ask, int32_t first,
                            int32_t end)
{
    for (int32_t i = first; i < end; i++) {
        next(guest, ask);
        assert_int_equal(ask->frame.header.kind, FRAME_ONE_WAY);
        Echo__V1__Message *got =
            echo__v1__message__unpack(NULL, ask->frame.payload_bytes, ask->frame.payload);
        assert_non_null(got);
        assert_int_equal(got->number, i);
        echo__v1__message__free_unpacked(got, NULL);
    }
}

static void expect_nothing(struct guest_socket *guest, struct guest_ask *ask)
{
    guests_reply(guest, ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await_counter("calls", 0);
    assert_true(guests_quiet(guest));
}

static void test_a_one_way_call_that_finds_no_room_waits_with_its_caller(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask;
    struct guest_call_end ends = {0}, behind = {0};
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    fill(&guest, client, SERVE_WAITING_MAX - 1, &ask, &ends);
    send_one_ways(client, 1, 2); /* the last place */
    guests_await_counter("waiting", SERVE_WAITING_MAX);
    assert_int_equal(guests_counter("held"), 0);
    send_one_ways(client, 2, 12);
    guests_await_counter("held", 1);
    guests_start(client, FAIL, 0, &behind);
    for (unsigned i = 0; i < 20; i++)
        guests_turn();
    assert_int_equal(guests_counter("waiting"), SERVE_WAITING_MAX);
    assert_int_equal(guests_counter("full"), 0); /* nobody has looked at what is behind them */
    assert_int_equal(behind.count, 0);
    assert_int_equal(guests_counter("held"), 1);
    for (unsigned i = 0; i < SERVE_WAITING_MAX - 1; i++) {
        next(&guest, &ask);
        assert_int_equal(ask.frame.header.kind, FRAME_REQUEST);
    }
    expect_one_ways(&guest, &ask, 1, 12);
    guests_await(&ends, SERVE_WAITING_MAX);
    guests_await(&behind, 1); /* the last of them took the last place */
    assert_int_equal(behind.status, PARLEY_RESOURCE_EXHAUSTED);
    assert_int_equal(behind.executed, PARLEY_EXECUTED_NO);
    assert_int_equal(guests_counter("full"), 1);
    expect_nothing(&guest, &ask);
    guests_leave(&guest);
}

static void test_one_way_calls_that_wait_outlive_their_caller(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask;
    struct guest_call_end ends = {0};
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    fill(&guest, client, SERVE_WAITING_MAX, &ask, &ends);
    struct parley_endpoint *mine = guests.endpoint, *another;
    const struct parley_endpoint_options options = {
        .broker = guests.socket, .name = "another", .connect_timeout_ns = PATIENCE_NS};
    assert_int_equal(parley_endpoint_new(&options, &another), PARLEY_OK);
    guests.endpoint = another;
    struct parley_client *leaving = guests_client(&echo__v1__echo__interface);
    send_one_ways(leaving, 1, 6);
    guests_await_counter("held", 1);
    parley_endpoint_free(another);
    guests.endpoint = mine;
    for (unsigned i = 0; i < SERVE_WAITING_MAX; i++)
        next(&guest, &ask);
    expect_one_ways(&guest, &ask, 1, 6);
    expect_nothing(&guest, &ask);
    guests_await(&ends, SERVE_WAITING_MAX + 1);
    guests_leave(&guest);
}

static void test_who_comes_by_tcp_serves_by_tcp(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask;
    struct guest_call_end end = {0};
    ProtobufCMessage *reply = NULL;
    Parley__PublishRequest request = guests_request(&echo__v1__echo__interface);
    assert_int_equal(
        guests_bus_call("Publish", &request.base, &parley__publish_reply__descriptor, &reply),
        PARLEY_OK);
    assert_memory_equal(((Parley__PublishReply *)reply)->url, "tcp://127.0.0.1:", 16);
    guests_dial(&guest, (Parley__PublishReply *)reply);
    wire_free(reply);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    guests_start(client, ECHO, 0, &end);
    guests_take(&guest, &ask);
    guests_reply(&guest, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&end, 1);
    assert_int_equal(end.status, PARLEY_OK);

    /* Whose process it is nobody knows. */
    Parley__ControlRequest control = PARLEY__CONTROL_REQUEST__INIT;
    Parley__ListRequest list = PARLEY__LIST_REQUEST__INIT;
    control.body_case = PARLEY__CONTROL_REQUEST__BODY_LIST;
    control.list = &list;
    Parley__ControlReply *listed = guests_ask(&control);
    const Parley__InstanceInfo *info = listed->list->interface[0]->version[0]->instance[0];
    assert_int_equal(info->instance_id, guest.id);
    assert_false(info->has_uid);
    assert_false(info->has_pid);
    wire_free(listed);

    Parley__WithdrawRequest withdrawal = PARLEY__WITHDRAW_REQUEST__INIT;
    withdrawal.has_instance_id = true;
    assert_int_equal(
        guests_bus_call("Withdraw", &withdrawal.base, &parley__withdraw_reply__descriptor, &reply),
        PARLEY_NOT_FOUND);
    withdrawal.instance_id = guest.id;
    assert_int_equal(
        guests_bus_call("Withdraw", &withdrawal.base, &parley__withdraw_reply__descriptor, &reply),
        PARLEY_OK);
    wire_free(reply);
    guests_await_counter("instances", 0);
    guests_leave(&guest);
}

static void test_who_may_not_publish_is_in_the_audit_trail(void **state)
{
    (void)state;
    ProtobufCMessage *reply = NULL;
    Parley__PublishRequest request = guests_request(&echo__v1__echo__interface);
    request.interface = (char *)(uintptr_t) "ware";
    assert_int_equal(
        guests_bus_call("Publish", &request.base, &parley__publish_reply__descriptor, &reply),
        PARLEY_INVALID_ARGUMENT);
    assert_true(guests_audited("a publication was refused (INVALID_ARGUMENT)"));
}

static void test_what_the_broker_serves_is_nobody_else_s(void **state)
{
    (void)state;
    ProtobufCMessage *reply = NULL;
    Parley__DescribeRequest describe = PARLEY__DESCRIBE_REQUEST__INIT;
    describe.interface = (char *)(uintptr_t) "parley.bus";
    assert_int_equal(
        guests_bus_call("Describe", &describe.base, &parley__describe_reply__descriptor, &reply),
        PARLEY_OK);
    Parley__PublishRequest request = PARLEY__PUBLISH_REQUEST__INIT;
    request.has_descriptor_set = true;
    request.descriptor_set = ((Parley__DescribeReply *)reply)->descriptor_set;
    assert_refused(&request, PARLEY_INVALID_ARGUMENT, "the broker itself serves");
    wire_free(reply);
}

static void test_nobody_withdraws_another_s(void **state)
{
    (void)state;
    ProtobufCMessage *reply = NULL;
    Parley__PublishRequest request = guests_request(&echo__v1__echo__interface);
    Parley__ControlReply *published = guests_publish(&request);
    assert_int_equal(published->status, PARLEY_OK);
    Parley__WithdrawRequest withdrawal = PARLEY__WITHDRAW_REQUEST__INIT;
    withdrawal.has_instance_id = true;
    withdrawal.instance_id = published->publish->instance_id;
    assert_int_equal(
        guests_bus_call("Withdraw", &withdrawal.base, &parley__withdraw_reply__descriptor, &reply),
        PARLEY_PERMISSION_DENIED); /* by tcp it is somebody, here it was a user */
    guests_await_counter("expected", 1);
    wire_free(published);
}

/* A Message of about that length. */
static uint8_t *large_message(size_t bytes, size_t *ret_bytes)
{
    Echo__V1__Message message = ECHO__V1__MESSAGE__INIT;
    message.payload.len = bytes;
    message.payload.data = malloc(bytes);
    uint8_t *packed = malloc(bytes + 64);
    assert_non_null(message.payload.data);
    assert_non_null(packed);
    memset(message.payload.data, 'x', bytes);
    *ret_bytes = echo__v1__message__pack(&message, packed);
    free(message.payload.data);
    return packed;
}

/* One goes right on, the other one waits before. */
static void test_large_messages_pass(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask;
    struct guest_call_end ends[2] = {0};
    size_t bytes;
    uint8_t *packed = large_message(3000000, &bytes);
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    for (unsigned i = 0; i < 2; i++)
        guests_start_with(client, FAIL, 0, packed, bytes, &ends[i]);
    guests_await_counter("waiting", 1);
    for (unsigned i = 0; i < 2; i++) {
        guests_take(&guest, &ask);
        assert_int_equal(ask.frame.payload_bytes, bytes);
        assert_memory_equal(ask.frame.payload, packed, bytes);
        guests_reply(&guest, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, packed, bytes);
        guests_await(&ends[i], 1);
        assert_int_equal(ends[i].status, PARLEY_OK);
        assert_int_equal(ends[i].bytes, bytes);
        assert_memory_equal(ends[i].payload, packed, sizeof(ends[i].payload));
    }
    free(packed);
    guests_leave(&guest);
}

static void test_so_many_bytes_wait_and_no_more(void **state)
{
    (void)state;
    struct guest_socket guest;
    struct guest_ask ask;
    struct guest_call_end first = {0}, waiting = {0}, past = {0};
    size_t bytes;
    uint8_t *packed = large_message(SERVE_WAITING_BYTES_MAX / 4, &bytes);
    guests_join(&guest, &echo__v1__echo__interface, 0);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    guests_start(client, FAIL, 0, &first);
    guests_take(&guest, &ask);
    for (uint64_t i = 1; i <= 3; i++) {
        guests_start_with(client, FAIL, 0, packed, bytes, &waiting);
        guests_await_counter("waiting", i);
    }
    guests_start_with(client, FAIL, 0, packed, bytes, &past);
    guests_await(&past, 1);
    assert_int_equal(past.status, PARLEY_RESOURCE_EXHAUSTED);
    assert_int_equal(past.executed, PARLEY_EXECUTED_NO);
    assert_non_null(strstr(past.text, "bytes wait for the instance already"));
    guests_start(client, FAIL, 0, &waiting); /* a small one finds its place */
    guests_await_counter("waiting", 4);
    assert_int_equal(waiting.count, 0);
    nng_msg_free(ask.message);
    free(packed);
    parley_client_free(client);
    guests_leave(&guest);
}

static void test_who_is_told_apart(void **state)
{
    (void)state;
    const struct replier_peer one = {.local = true, .uid = 1}, two = {.local = true, .uid = 2};
    const struct replier_peer far = {.text = "10.0.0.1:1"}, further = {.text = "10.0.0.2:1"};
    const struct replier_peer named = {.identity = "shop"}, other = {.identity = "till"};
    assert_true(guest_peers_alike(&one, &one));
    assert_false(guest_peers_alike(&one, &two));
    assert_false(guest_peers_alike(&one, &far));
    assert_false(guest_peers_alike(&far, &one));
    assert_true(guest_peers_alike(&far, &further)); /* either may be anybody */
    assert_true(guest_peers_alike(&named, &named));
    assert_false(guest_peers_alike(&named, &other));
    assert_false(guest_peers_alike(&far, &named));
    assert_false(guest_peers_alike(&named, &far));
}

#define UNIT(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_a_socket_is_an_instance_like_any_other),
        UNIT(test_its_messages_are_in_its_own_version),
        UNIT(test_its_failure_is_the_caller_s),
        UNIT(test_a_plain_socket_is_given_one_call_at_a_time),
        UNIT(test_who_takes_several_answers_in_any_order),
        UNIT(test_a_one_way_call_is_told_apart_and_its_answer_goes_nowhere),
        UNIT(test_what_is_no_response_ends_its_call_and_no_other),
        UNIT(test_who_answers_twice_is_heard_once),
        UNIT(test_who_answers_late_is_given_the_next_meanwhile),
        UNIT(test_what_is_cancelled_while_it_waits_is_never_sent),
        UNIT(test_who_never_answers_is_given_no_more_after_a_while),
        cmocka_unit_test_setup_teardown(test_who_never_answers_is_given_up_in_the_end,
                                        begin_with_little_patience, end),
        cmocka_unit_test_setup_teardown(test_who_answers_nonsense_is_ejected,
                                        begin_with_a_quick_jury, end),
        UNIT(test_calls_end_when_the_socket_hangs_up),
        UNIT(test_what_waited_goes_to_another_instance),
        UNIT(test_it_withdraws_and_drains),
        UNIT(test_it_withdraws_at_once),
        UNIT(test_an_operator_drains_it_and_takes_that_back),
        UNIT(test_what_could_be_refused_is_refused_at_once),
        UNIT(test_a_name_of_its_longest_and_an_id_of_before_are_kept),
        UNIT(test_one_peer_has_so_many_and_no_more),
        cmocka_unit_test_setup_teardown(test_who_does_not_dial_is_forgotten, begin_in_a_hurry, end),
        UNIT(test_so_many_calls_wait_and_no_more),
        UNIT(test_so_many_bytes_wait_and_no_more),
        UNIT(test_a_one_way_call_that_finds_no_room_waits_with_its_caller),
        UNIT(test_one_way_calls_that_wait_outlive_their_caller),
        UNIT(test_large_messages_pass),
        UNIT(test_who_comes_by_tcp_serves_by_tcp),
        UNIT(test_who_may_not_publish_is_in_the_audit_trail),
        UNIT(test_what_the_broker_serves_is_nobody_else_s),
        UNIT(test_nobody_withdraws_another_s),
        cmocka_unit_test(test_who_is_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
