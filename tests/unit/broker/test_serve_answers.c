/* What REP sockets answer, right and wrong, and late, and never. */
#include "guests.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "broker/guest.h"
#include "wire/wire.h"

static int begin_with_little_patience(void **state)
{
    (void)state;
    const struct serve_options options = {.silent_ns = 50 * NS_PER_MS};
    guests_begin(&options, NULL);
    return 0;
}

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
    struct frame_header header = {.kind = FRAME_RESPONSE, .version_tag = FRAME_TAG_SERVICE};
    uint8_t frame[sizeof(header) + 2];
    assert_ends(&guests.echo, guests.client, "", 0, PARLEY_INTERNAL, "is no response");
    assert_ends(&guests.echo, guests.client,
                "{\"status\": \"OK\"}, and more of it to be long enough", 49, PARLEY_INTERNAL,
                "is no response");
    header.payload_bytes = 2;
    memcpy(frame, &header, sizeof(header));
    memcpy(frame + sizeof(header), seven, sizeof(seven));
    for (size_t bytes = 0; bytes < sizeof(frame); bytes++)
        assert_ends(&guests.echo, guests.client, frame, bytes, PARLEY_INTERNAL, "is no response");
    frame[offsetof(struct frame_header, status)] = 17;
    assert_ends(&guests.echo, guests.client, frame, sizeof(frame), PARLEY_INTERNAL, "status");
    frame[offsetof(struct frame_header, status)] = 0;
    frame[offsetof(struct frame_header, executed)] = 3;
    assert_ends(&guests.echo, guests.client, frame, sizeof(frame), PARLEY_INTERNAL, "executed");
    frame[offsetof(struct frame_header, executed)] = 0;
    frame[offsetof(struct frame_header, kind)] = FRAME_REQUEST;
    assert_ends(&guests.echo, guests.client, frame, sizeof(frame), PARLEY_INTERNAL,
                "is no response");
    frame[offsetof(struct frame_header, kind)] = FRAME_RESPONSE;
    frame[sizeof(header)] = 0xff; /* no tag of protobuf */
    assert_ends(&guests.echo, guests.client, frame, sizeof(frame), PARLEY_DATA_LOSS, "was refused");
    frame[sizeof(header)] = 0x10;
    struct guest_call_end end = {0};
    struct guest_ask ask;
    guests_start(guests.client, ECHO, 0, &end);
    guests_take(&guests.echo, &ask);
    guests_send(&guests.echo, &ask, frame, sizeof(frame), false);
    guests_await(&end, 1);
    assert_int_equal(end.status, PARLEY_OK);
    guests_await_counter("malformed", 2 + sizeof(frame) + 3);
}

static void test_who_answers_twice_is_heard_once(void **state)
{
    (void)state;
    struct guest_ask ask, next;
    struct guest_call_end ends[2] = {0};
    guests_start(guests.client, ECHO, 0, &ends[0]);
    guests_start(guests.client, ECHO, 0, &ends[1]);
    guests_take(&guests.echo, &ask);
    guests_send(&guests.echo, &ask, "nonsense", 8, true);
    guests_await(&ends[0], 1);
    guests_take(&guests.echo, &next);
    guests_reply(&guests.echo, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await_counter("stray", 1);
    assert_int_equal(ends[1].count, 0);
    guests_reply(&guests.echo, &next, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&ends[1], 1);
    assert_int_equal(ends[1].status, PARLEY_OK);
    assert_int_equal(ends[0].count, 1);
}

static void test_who_answers_late_is_given_the_next_meanwhile(void **state)
{
    (void)state;
    struct guest_ask ask, next;
    struct guest_call_end ends[2] = {0};
    guests_start(guests.client, NEVER, 30 * NS_PER_MS, &ends[0]);
    guests_start(guests.client, ECHO, 0, &ends[1]);
    guests_take(&guests.echo, &ask);
    guests_await(&ends[0], 1);
    assert_int_equal(ends[0].status, PARLEY_DEADLINE_EXCEEDED);
    guests_take(&guests.echo, &next);
    guests_await_counter("abandoned", 1);
    guests_reply(&guests.echo, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await_counter("late", 1);
    guests_reply(&guests.echo, &next, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&ends[1], 1);
    assert_int_equal(ends[1].status, PARLEY_OK);
    assert_int_equal(ends[0].count, 1);
}

static void test_what_is_cancelled_while_it_waits_is_never_sent(void **state)
{
    (void)state;
    struct guest_ask ask;
    struct guest_call_end ends[3] = {0};
    guests_start(guests.client, ECHO, 0, &ends[0]);
    uint64_t second = guests_start(guests.client, NEVER, 0, &ends[1]);
    guests_start(guests.client, FAIL, 0, &ends[2]);
    guests_await_counter("waiting", 2);
    parley_client_cancel(guests.client, second);
    guests_await(&ends[1], 1);
    assert_int_equal(ends[1].status, PARLEY_CANCELLED);
    guests_await_counter("waiting", 1);
    guests_take(&guests.echo, &ask);
    guests_reply(&guests.echo, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_take(&guests.echo, &ask);
    assert_true(bus_text_is(&ask.frame.method, "Fail"));
    guests_reply(&guests.echo, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&ends[2], 1);
}

static void test_who_never_answers_is_given_no_more_after_a_while(void **state)
{
    (void)state;
    struct guest_ask asks[SERVE_ABANDONED_MAX];
    struct guest_call_end end = {0}, last = {0};
    for (unsigned i = 0; i < SERVE_ABANDONED_MAX; i++) {
        uint64_t call = guests_start(guests.client, NEVER, 0, &end);
        guests_take(&guests.echo, &asks[i]);
        parley_client_cancel(guests.client, call);
    }
    guests_await(&end, SERVE_ABANDONED_MAX);
    guests_await_counter("abandoned", SERVE_ABANDONED_MAX);
    guests_start(guests.client, ECHO, 0, &last);
    guests_await_counter("waiting", 1);
    assert_true(guests_quiet(&guests.echo));
    guests_send(&guests.echo, &asks[5], "late", 4, false);
    guests_take(&guests.echo, &asks[5]);
    assert_true(bus_text_is(&asks[5].frame.method, "Echo"));
    guests_reply(&guests.echo, &asks[5], PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&last, 1);
    assert_int_equal(last.status, PARLEY_OK);
    for (unsigned i = 0; i < SERVE_ABANDONED_MAX; i++)
        if (i != 5)
            nng_msg_free(asks[i].message);
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
    guests_await_channels(client, 2);
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

#define ECHO_UNIT(test) cmocka_unit_test_setup_teardown(test, guests_begin_echo, guests_end_echo)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ECHO_UNIT(test_what_is_no_response_ends_its_call_and_no_other),
        ECHO_UNIT(test_who_answers_twice_is_heard_once),
        ECHO_UNIT(test_who_answers_late_is_given_the_next_meanwhile),
        ECHO_UNIT(test_what_is_cancelled_while_it_waits_is_never_sent),
        ECHO_UNIT(test_who_never_answers_is_given_no_more_after_a_while),
        cmocka_unit_test_setup_teardown(test_who_never_answers_is_given_up_in_the_end,
                                        begin_with_little_patience, guests_tear_down),
        cmocka_unit_test_setup_teardown(test_who_answers_nonsense_is_ejected,
                                        begin_with_a_quick_jury, guests_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
