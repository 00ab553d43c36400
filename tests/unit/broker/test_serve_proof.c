/*
 * Who dials in the place of a publisher that nobody knows: only the token tells the two apart.
 */
#include "guests.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "broker/serve.h"
#include "wire/wire.h"

static Parley__PublishReply *publish(bool proves)
{
    ProtobufCMessage *reply = NULL;
    Parley__PublishRequest request = guests_request(&echo__v1__echo__interface);
    request.has_proves = request.proves = proves;
    assert_int_equal(
        guests_bus_call("Publish", &request.base, &parley__publish_reply__descriptor, &reply),
        PARLEY_OK);
    return (Parley__PublishReply *)reply;
}

static void take_question(struct guest_socket *guest, struct guest_ask *ask)
{
    guests_take(guest, ask);
    assert_int_equal(ask->frame.header.kind, FRAME_REQUEST);
    assert_int_equal(ask->frame.interface.bytes, strlen("parley.bus"));
    assert_memory_equal(ask->frame.interface.text, "parley.bus", strlen("parley.bus"));
    assert_int_equal(ask->frame.method.bytes, strlen("Prove"));
    assert_memory_equal(ask->frame.method.text, "Prove", strlen("Prove"));
    assert_int_equal(ask->frame.payload_bytes, 0);
}

static void prove(struct guest_socket *guest, const Parley__PublishReply *reply)
{
    struct guest_ask ask;
    take_question(guest, &ask);
    guests_reply(guest, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, reply->token.data, reply->token.len);
}

/* Calls come to @guest. */
static void expect_serves(struct guest_socket *guest)
{
    struct guest_ask ask;
    struct guest_call_end end = {0};
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    guests_start(client, ECHO, 0, &end);
    guests_take(guest, &ask);
    guests_reply(guest, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&end, 1);
    assert_int_equal(end.status, PARLEY_OK);
}

/* The publisher dials, proves who it is, serves a call, and leaves. */
static void come_and_serve(const Parley__PublishReply *reply)
{
    struct guest_socket guest;
    guests_dial(&guest, reply);
    prove(&guest, reply);
    guests_await_counter("instances", 1);
    expect_serves(&guest);
    guests_leave(&guest);
}

static void await_audit(const char *words)
{
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    while (!guests_audited(words) && clock_now_ns() < until)
        guests_turn();
    assert_true(guests_audited(words));
}

static void test_who_has_the_token_serves(void **state)
{
    (void)state;
    Parley__PublishReply *reply = publish(true);
    assert_true(reply->has_token);
    assert_int_equal(reply->token.len, SERVE_TOKEN_BYTES);
    come_and_serve(reply);
    wire_free(&reply->base);
}

static void test_who_has_another_token_is_hung_up_on_and_the_publisher_may_come(void **state)
{
    (void)state;
    struct guest_socket stranger;
    struct guest_ask ask;
    Parley__PublishReply *reply = publish(true);
    uint8_t wrong[SERVE_TOKEN_BYTES];
    memcpy(wrong, reply->token.data, sizeof(wrong));
    wrong[sizeof(wrong) - 1] ^= 1;
    guests_dial(&stranger, reply);
    take_question(&stranger, &ask);
    guests_reply(&stranger, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, wrong, sizeof(wrong));
    await_audit("dialled in place of");
    guests_leave(&stranger);
    assert_int_equal(guests_counter("instances"), 0);
    assert_int_equal(guests_counter("expected"), 1);
    come_and_serve(reply);
    wire_free(&reply->base);
}

/* Each answer that is none: a part of the token, more than it, a status, no frame. */
static void test_only_the_whole_token_is_one(void **state)
{
    (void)state;
    Parley__PublishReply *reply = publish(true);
    uint8_t longer[SERVE_TOKEN_BYTES + 1] = {0};
    static const size_t lengths[] = {SERVE_TOKEN_BYTES - 1, SERVE_TOKEN_BYTES + 1,
                                     SERVE_TOKEN_BYTES};
    memcpy(longer, reply->token.data, SERVE_TOKEN_BYTES);
    for (int i = 0; i < 4; i++) {
        struct guest_socket stranger;
        struct guest_ask ask;
        guests_dial(&stranger, reply);
        take_question(&stranger, &ask);
        if (i == 3)
            guests_send(&stranger, &ask, longer, SERVE_TOKEN_BYTES, false);
        else
            guests_reply(&stranger, &ask, i == 2 ? PARLEY_INTERNAL : PARLEY_OK, PARLEY_EXECUTED_YES,
                         longer, lengths[i]);
        for (int turn = 0; turn < 30; turn++)
            guests_turn(); /* it would be an instance by then */
        guests_leave(&stranger);
        assert_int_equal(guests_counter("instances"), 0);
        assert_int_equal(guests_counter("expected"), 1);
    }
    wire_free(&reply->base);
}

static void test_who_says_nothing_does_not_keep_the_publisher_away(void **state)
{
    (void)state;
    struct guest_socket silent, guest;
    struct guest_ask ask;
    Parley__PublishReply *reply = publish(true);
    guests_dial(&silent, reply);
    take_question(&silent, &ask);
    guests_dial(&guest, reply);
    /* The other one dials anew, and may be quicker once. */
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    while (guests_counter("instances") == 0 && clock_now_ns() < until) {
        struct guest_ask again;
        guests_turn();
        if (guests_try(&guest, &again))
            guests_reply(&guest, &again, PARLEY_OK, PARLEY_EXECUTED_YES, reply->token.data,
                         reply->token.len);
    }
    assert_int_equal(guests_counter("instances"), 1);
    guests_reply(&silent, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven,
                 sizeof(seven)); /* too late */
    guests_leave(&silent);
    expect_serves(&guest);
    wire_free(&reply->base);
    guests_leave(&guest);
}

static void test_who_says_nothing_for_a_second_is_hung_up_on(void **state)
{
    (void)state;
    struct guest_socket silent;
    struct guest_ask ask;
    Parley__PublishReply *reply = publish(true);
    guests_dial(&silent, reply);
    take_question(&silent, &ask);
    await_audit("dialled in place of");
    nng_msg_free(ask.message);
    guests_leave(&silent);
    assert_int_equal(guests_counter("instances"), 0);
    wire_free(&reply->base);
}

static void test_who_has_not_served_yet_may_publish_again(void **state)
{
    (void)state;
    ProtobufCMessage *first = NULL, *second = NULL;
    struct guest_socket guest;
    Parley__PublishRequest request = guests_request(&echo__v1__echo__interface);
    request.has_instance_id = request.has_proves = request.proves = true;
    request.instance_id = 5;
    const ProtobufCMessageDescriptor *type = &parley__publish_reply__descriptor;
    assert_int_equal(guests_bus_call("Publish", &request.base, type, &first), PARLEY_OK);
    assert_int_equal(guests_bus_call("Publish", &request.base, type, &second), PARLEY_OK);
    guests_await_counter("expected", 1);
    guests_dial(&guest, (Parley__PublishReply *)second);
    prove(&guest, (Parley__PublishReply *)second);
    guests_await_counter("instances", 1);
    wire_free(first);
    assert_int_equal(guests_bus_call("Publish", &request.base, type, &first),
                     PARLEY_ALREADY_EXISTS);
    expect_serves(&guest);
    wire_free(second);
    guests_leave(&guest);
}

static void test_who_does_not_ask_for_it_or_is_known_anyhow_is_asked_nothing(void **state)
{
    (void)state;
    struct guest_socket guest;
    Parley__PublishReply *reply = publish(false);
    assert_false(reply->has_token);
    guests_dial(&guest, reply);
    guests_await_counter("instances", 1);
    expect_serves(&guest);
    wire_free(&reply->base);
    guests_leave(&guest);
    guests_await_counter("instances", 0);
    Parley__PublishRequest request = guests_request(&echo__v1__echo__interface);
    request.has_proves = request.proves = true;
    Parley__ControlReply *local = guests_publish(&request);
    assert_int_equal(local->status, PARLEY_OK);
    assert_false(local->publish->has_token);
    wire_free(local);
}

#define UNIT(test) cmocka_unit_test_setup_teardown(test, guests_set_up, guests_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_who_has_the_token_serves),
        UNIT(test_who_has_another_token_is_hung_up_on_and_the_publisher_may_come),
        UNIT(test_only_the_whole_token_is_one),
        UNIT(test_who_says_nothing_does_not_keep_the_publisher_away),
        UNIT(test_who_says_nothing_for_a_second_is_hung_up_on),
        UNIT(test_who_has_not_served_yet_may_publish_again),
        UNIT(test_who_does_not_ask_for_it_or_is_known_anyhow_is_asked_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
