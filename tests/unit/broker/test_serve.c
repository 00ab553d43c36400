/*
 * REP sockets as instances: what they are sent, how they come, and what becomes of their calls when
 * they leave.
 */
#include "guests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "broker/guest.h"
#include "broker/routes.h"
#include "ware_v1.parley.h"
#include "ware_v2.parley.h"
#include "wire/wire.h"

/* Where nobody dials, or answers, for long. */
static int begin_in_a_hurry(void **state)
{
    (void)state;
    const struct serve_options options = {.dial_ns = 50 * NS_PER_MS};
    guests_begin(&options, NULL);
    return 0;
}

/* ---- Calls ---- */

static void test_a_socket_is_an_instance_like_any_other(void **state)
{
    (void)state;
    struct guest_ask ask;
    struct guest_call_end end = {0};
    guests_start(guests.client, ECHO, 5 * NS_PER_S, &end);
    guests_take(&guests.echo, &ask);
    assert_int_equal(ask.frame.header.kind, FRAME_REQUEST);
    assert_in_range(ask.frame.header.time_left_us, 1, 5000000);
    assert_true(bus_text_is(&ask.frame.interface, "echo"));
    assert_true(bus_text_is(&ask.frame.version, "1.0.0"));
    assert_true(bus_text_is(&ask.frame.method, "Echo"));
    assert_true(ask.frame.says_peer);
    assert_int_equal(ask.frame.payload_bytes, sizeof(seven));
    assert_memory_equal(ask.frame.payload, seven, sizeof(seven));
    guests_reply(&guests.echo, &ask, PARLEY_OK, PARLEY_EXECUTED_NO, seven, sizeof(seven));
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
    assert_int_equal(info->instance_id, guests.echo.id);
    assert_string_equal(info->endpoint, "guest");
    assert_int_equal(info->pid, getpid());
    assert_int_equal(info->uid, getuid());
    wire_free(reply);
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
    assert_true(bus_text_is(&ask.frame.version, "2.0.0"));
    assert_true(bus_text_is(&ask.frame.client, "1.0.0"));
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
    struct guest_ask ask;
    struct guest_call_end end = {0};
    guests_start(guests.client, FAIL, 0, &end);
    guests_take(&guests.echo, &ask);
    guests_reply(&guests.echo, &ask, PARLEY_ABORTED, PARLEY_EXECUTED_UNKNOWN, "no luck", 7);
    guests_await(&end, 1);
    assert_int_equal(end.status, PARLEY_ABORTED);
    assert_int_equal(end.executed, PARLEY_EXECUTED_UNKNOWN);
    assert_non_null(strstr(end.text, "no luck"));
}

static void test_a_plain_socket_is_given_one_call_at_a_time(void **state)
{
    (void)state;
    struct guest_ask ask;
    struct guest_call_end ends[3] = {0};
    for (unsigned i = 0; i < 3; i++)
        guests_start(guests.client, i == 1 ? FAIL : ECHO, 0, &ends[i]);
    guests_await_counter("waiting", 2);
    for (unsigned i = 0; i < 3; i++) {
        guests_take(&guests.echo, &ask);
        assert_true(bus_text_is(&ask.frame.method, i == 1 ? "Fail" : "Echo"));
        assert_true(guests_quiet(&guests.echo));
        guests_reply(&guests.echo, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
        guests_await(&ends[i], 1);
        assert_int_equal(ends[i].status, PARLEY_OK);
    }
    guests_await_counter("waiting", 0);
    guests_await_counter("waiting_bytes", 0);
    guests_await_counter("calls", 0);
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
    struct guest_ask ask;
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    assert_int_equal(parley_client_send(guests.client, ECHO, &request.base, NULL), PARLEY_OK);
    assert_int_equal(parley_client_send(guests.client, FAIL, &request.base, NULL), PARLEY_OK);
    guests_take(&guests.echo, &ask);
    assert_int_equal(ask.frame.header.kind, FRAME_ONE_WAY);
    guests_send(&guests.echo, &ask, "anything", 8, false);
    guests_take(&guests.echo, &ask);
    assert_true(bus_text_is(&ask.frame.method, "Fail"));
    guests_reply(&guests.echo, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, NULL, 0);
    guests_await_counter("calls", 0);
}

/* ---- Leaving ---- */

static void test_calls_end_when_the_socket_hangs_up(void **state)
{
    (void)state;
    struct guest_ask ask;
    struct guest_call_end had = {0}, waited = {0};
    guests_start(guests.client, FAIL, 0, &had);
    guests_take(&guests.echo, &ask);
    guests_start(guests.client, FAIL, 300 * NS_PER_MS, &waited);
    guests_await_counter("waiting", 1);
    nng_msg_free(ask.message);
    guests_leave(&guests.echo);
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
    struct guest_ask ask;
    struct guest_call_end end = {0};
    guests_start(guests.client, FAIL, 0, &end);
    guests_take(&guests.echo, &ask);
    assert_int_equal(withdraw(guests.echo.id, true), PARLEY_OK);
    assert_true(guests_quiet(&guests.echo));
    guests_await_counter("instances", 1);
    guests_reply(&guests.echo, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&end, 1);
    assert_int_equal(end.status, PARLEY_OK);
    guests_await_counter("instances", 0);
    assert_int_equal(withdraw(guests.echo.id, true), PARLEY_NOT_FOUND);
}

static void test_it_withdraws_at_once(void **state)
{
    (void)state;
    struct guest_ask ask;
    struct guest_call_end end = {0};
    guests_start(guests.client, FAIL, 0, &end);
    guests_take(&guests.echo, &ask);
    assert_int_equal(withdraw(guests.echo.id, false), PARLEY_OK);
    guests_await(&end, 1);
    assert_int_equal(end.status, PARLEY_UNAVAILABLE);
    guests_await_counter("instances", 0);
    nng_msg_free(ask.message);
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
    struct guest_ask ask;
    struct guest_call_end end = {0};
    assert_int_equal(order_drain(guests.echo.id, false), PARLEY_OK);
    guests_await_channels(guests.client, 0);
    guests_await_counter("instances", 1);
    assert_int_equal(order_drain(guests.echo.id, true), PARLEY_OK);
    guests_await_channels(guests.client, 1);
    guests_start(guests.client, ECHO, 0, &end);
    guests_take(&guests.echo, &ask);
    guests_reply(&guests.echo, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&end, 1);
    assert_int_equal(end.status, PARLEY_OK);
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

/* What Route tells of echo's weights: generation, and 1.0.0's share. */
static bool echo_is_routed(uint64_t generation, uint32_t share)
{
    Parley__ControlRequest control = PARLEY__CONTROL_REQUEST__INIT;
    Parley__RouteRequest route = PARLEY__ROUTE_REQUEST__INIT;
    control.body_case = PARLEY__CONTROL_REQUEST__BODY_ROUTE;
    control.route = &route;
    route.interface = (char *)(uintptr_t) "echo";
    Parley__ControlReply *reply = guests_ask(&control);
    bool is = false; /* and there may be none of that name yet */
    for (size_t i = 0; reply->status == PARLEY_OK && i < reply->route->n_weight; i++)
        is |= reply->route->generation == generation &&
              strcmp(reply->route->weight[i]->version, "1.0.0") == 0 &&
              (uint32_t)(reply->route->weight[i]->weight * ROUTE_BUCKETS / 100 + 0.5) == share;
    wire_free(reply);
    return is;
}

static void await_route(uint64_t generation, uint32_t share)
{
    for (uint64_t until = clock_now_ns() + PATIENCE_NS; !echo_is_routed(generation, share);)
        assert_true(clock_now_ns() < until);
}

/* To a broker that has just started, as this one has. */
static void test_weights_of_before_are_learned_when_it_comes(void **state)
{
    (void)state;
    Parley__Weight one = PARLEY__WEIGHT__INIT, two = PARLEY__WEIGHT__INIT;
    Parley__Weight *weights[] = {&one, &two};
    one.version = (char *)(uintptr_t) "1.0.0";
    two.version = (char *)(uintptr_t) "2.0.0";
    one.has_per_100000 = two.has_per_100000 = true;
    one.per_100000 = 30000;
    two.per_100000 = 70000;
    Parley__PublishRequest request = guests_request(&echo__v1__echo__interface);
    request.has_route_generation = true;
    request.route_generation = 7;
    request.n_weights = 2;
    request.weights = weights;
    Parley__ControlReply *reply = guests_publish(&request);
    assert_int_equal(reply->status, PARLEY_OK);
    struct guest_socket guest, newer;
    guests_dial(&guest, reply->publish);
    wire_free(reply);
    await_route(7, 30000);
    request.route_generation = 9; /* another, which saw more */
    one.per_100000 = 100000;
    two.per_100000 = 0;
    reply = guests_publish(&request);
    assert_int_equal(reply->status, PARLEY_OK);
    guests_dial(&newer, reply->publish);
    wire_free(reply);
    await_route(9, ROUTE_BUCKETS);
    guests_leave(&guest);
    guests_leave(&newer);
}

static void test_weights_that_are_none_are_refused_at_once(void **state)
{
    (void)state;
    Parley__Weight weight[ROUTE_VERSION_MAX + 1], *weights[ROUTE_VERSION_MAX + 1];
    char names[ROUTE_VERSION_MAX + 1][16];
    for (size_t i = 0; i <= ROUTE_VERSION_MAX; i++) {
        parley__weight__init(weights[i] = &weight[i]);
        snprintf(names[i], sizeof(names[i]), "1.%zu.0", i);
        weight[i].version = names[i];
        weight[i].has_per_100000 = true;
        weight[i].per_100000 = 100000; /* each the most; shares are made of them */
    }
    Parley__PublishRequest request = guests_request(&echo__v1__echo__interface);
    request.has_route_generation = true;
    request.route_generation = BROKER_GENERATION_MAX;
    request.weights = weights;
    request.n_weights = ROUTE_VERSION_MAX + 1;
    assert_refused(&request, PARLEY_INVALID_ARGUMENT, "weights of 9 versions: at most 8");
    request.n_weights = ROUTE_VERSION_MAX;
    request.route_generation++;
    assert_refused(&request, PARLEY_INVALID_ARGUMENT, "beyond all reason");
    request.route_generation--;
    weight[3].per_100000 = 100001;
    assert_refused(&request, PARLEY_INVALID_ARGUMENT, "a weight of 100001: at most 100000");
    weight[3].per_100000 = 100000;
    weight[3].version = names[2];
    assert_refused(&request, PARLEY_INVALID_ARGUMENT, "two weights of 1.2.0");
    weight[3].version = NULL;
    assert_refused(&request, PARLEY_INVALID_ARGUMENT, "which is no version");
    weight[3].version = names[3];
    Parley__ControlReply *reply = guests_publish(&request);
    assert_int_equal(reply->status, PARLEY_OK);
    struct guest_socket guest;
    guests_dial(&guest, reply->publish);
    wire_free(reply);
    await_route(BROKER_GENERATION_MAX, ROUTE_BUCKETS / ROUTE_VERSION_MAX);
    guests_leave(&guest);
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

#define UNIT(test) cmocka_unit_test_setup_teardown(test, guests_set_up, guests_tear_down)
#define ECHO_UNIT(test) cmocka_unit_test_setup_teardown(test, guests_begin_echo, guests_end_echo)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ECHO_UNIT(test_a_socket_is_an_instance_like_any_other),
        UNIT(test_its_messages_are_in_its_own_version),
        ECHO_UNIT(test_its_failure_is_the_caller_s),
        ECHO_UNIT(test_a_plain_socket_is_given_one_call_at_a_time),
        UNIT(test_who_takes_several_answers_in_any_order),
        ECHO_UNIT(test_a_one_way_call_is_told_apart_and_its_answer_goes_nowhere),
        ECHO_UNIT(test_calls_end_when_the_socket_hangs_up),
        UNIT(test_what_waited_goes_to_another_instance),
        ECHO_UNIT(test_it_withdraws_and_drains),
        ECHO_UNIT(test_it_withdraws_at_once),
        ECHO_UNIT(test_an_operator_drains_it_and_takes_that_back),
        UNIT(test_what_could_be_refused_is_refused_at_once),
        UNIT(test_a_name_of_its_longest_and_an_id_of_before_are_kept),
        UNIT(test_weights_of_before_are_learned_when_it_comes),
        UNIT(test_weights_that_are_none_are_refused_at_once),
        UNIT(test_one_peer_has_so_many_and_no_more),
        cmocka_unit_test_setup_teardown(test_who_does_not_dial_is_forgotten, begin_in_a_hurry,
                                        guests_tear_down),
        UNIT(test_who_comes_by_tcp_serves_by_tcp),
        UNIT(test_who_may_not_publish_is_in_the_audit_trail),
        UNIT(test_what_the_broker_serves_is_nobody_else_s),
        UNIT(test_nobody_withdraws_another_s),
        cmocka_unit_test(test_who_is_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
