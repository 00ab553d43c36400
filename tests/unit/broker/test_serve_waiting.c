/* What waits for a REP socket: so many calls and bytes, and no more. */
#include "guests.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "broker/guest.h"

static void test_so_many_calls_wait_and_no_more(void **state)
{
    (void)state;
    struct guest_ask ask;
    struct guest_call_end first = {0}, waiting = {0}, past = {0};
    guests_start(guests.client, FAIL, 0, &first);
    guests_take(&guests.echo, &ask);
    for (unsigned i = 0; i < SERVE_WAITING_MAX; i++)
        guests_start(guests.client, FAIL, 0, &waiting);
    guests_await_counter("waiting", SERVE_WAITING_MAX);
    guests_start(guests.client, FAIL, 0, &past);
    guests_await(&past, 1);
    assert_int_equal(past.status, PARLEY_RESOURCE_EXHAUSTED);
    assert_int_equal(past.executed, PARLEY_EXECUTED_NO);
    assert_non_null(strstr(past.text, "1024 calls wait for the instance already"));
    guests_await_counter("full", 1);
    assert_int_equal(waiting.count, 0);
    for (unsigned i = 0; i < SERVE_WAITING_MAX; i++) {
        guests_reply(&guests.echo, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
        guests_take(&guests.echo, &ask);
    }
    guests_reply(&guests.echo, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&waiting, SERVE_WAITING_MAX);
    assert_int_equal(waiting.status, PARLEY_OK);
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
    struct guest_ask ask;
    struct guest_call_end ends = {0}, behind = {0};
    fill(&guests.echo, guests.client, SERVE_WAITING_MAX - 1, &ask, &ends);
    send_one_ways(guests.client, 1, 2); /* the last place */
    guests_await_counter("waiting", SERVE_WAITING_MAX);
    assert_int_equal(guests_counter("held"), 0);
    send_one_ways(guests.client, 2, 12);
    guests_await_counter("held", 1);
    guests_start(guests.client, FAIL, 0, &behind);
    for (unsigned i = 0; i < 20; i++)
        guests_turn();
    assert_int_equal(guests_counter("waiting"), SERVE_WAITING_MAX);
    assert_int_equal(guests_counter("full"), 0); /* nobody has looked at what is behind them */
    assert_int_equal(behind.count, 0);
    assert_int_equal(guests_counter("held"), 1);
    for (unsigned i = 0; i < SERVE_WAITING_MAX - 1; i++) {
        next(&guests.echo, &ask);
        assert_int_equal(ask.frame.header.kind, FRAME_REQUEST);
    }
    expect_one_ways(&guests.echo, &ask, 1, 12);
    guests_await(&ends, SERVE_WAITING_MAX);
    guests_await(&behind, 1); /* the last of them took the last place */
    assert_int_equal(behind.status, PARLEY_RESOURCE_EXHAUSTED);
    assert_int_equal(behind.executed, PARLEY_EXECUTED_NO);
    assert_int_equal(guests_counter("full"), 1);
    expect_nothing(&guests.echo, &ask);
}

static void test_one_way_calls_that_wait_outlive_their_caller(void **state)
{
    (void)state;
    struct guest_ask ask;
    struct guest_call_end ends = {0};
    fill(&guests.echo, guests.client, SERVE_WAITING_MAX, &ask, &ends);
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
        next(&guests.echo, &ask);
    expect_one_ways(&guests.echo, &ask, 1, 6);
    expect_nothing(&guests.echo, &ask);
    guests_await(&ends, SERVE_WAITING_MAX + 1);
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
    struct guest_ask ask;
    struct guest_call_end ends[2] = {0};
    size_t bytes;
    uint8_t *packed = large_message(3000000, &bytes);
    for (unsigned i = 0; i < 2; i++)
        guests_start_with(guests.client, FAIL, 0, packed, bytes, &ends[i]);
    guests_await_counter("waiting", 1);
    for (unsigned i = 0; i < 2; i++) {
        guests_take(&guests.echo, &ask);
        assert_int_equal(ask.frame.payload_bytes, bytes);
        assert_memory_equal(ask.frame.payload, packed, bytes);
        guests_reply(&guests.echo, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, packed, bytes);
        guests_await(&ends[i], 1);
        assert_int_equal(ends[i].status, PARLEY_OK);
        assert_int_equal(ends[i].bytes, bytes);
        assert_memory_equal(ends[i].payload, packed, sizeof(ends[i].payload));
    }
    free(packed);
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

#define UNIT(test) cmocka_unit_test_setup_teardown(test, guests_set_up, guests_tear_down)
#define ECHO_UNIT(test) cmocka_unit_test_setup_teardown(test, guests_begin_echo, guests_end_echo)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ECHO_UNIT(test_so_many_calls_wait_and_no_more),
        UNIT(test_so_many_bytes_wait_and_no_more),
        ECHO_UNIT(test_a_one_way_call_that_finds_no_room_waits_with_its_caller),
        ECHO_UNIT(test_one_way_calls_that_wait_outlive_their_caller),
        ECHO_UNIT(test_large_messages_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
