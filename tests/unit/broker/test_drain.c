/* Draining by an operator's order, as the broker sees it. */
#include "peers.h"

#include <stdlib.h>
#include <unistd.h>

static struct broker *broker;
static struct peer service, other, client;
static struct set v1;
static Parley__ControlReply *reply; /* the last one */

static int begin(void **state)
{
    (void)state;
    broker = broker_start(NULL);
    set_make(&v1, "things", "1.0.0", "things.v1", NULL, 2);
    peer_join(&service, broker, "service");
    peer_join(&other, broker, "other");
    peer_join(&client, broker, "client");
    publish(&service, 1, &v1);
    publish(&other, 2, &v1);
    say_open(&client, 1, &v1, NULL);
    (void)hear_opened(&client, 1, PARLEY_OK);
    (void)hear_instances(&client, 2, 0, 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    reply = wire_free(reply);
    peer_leave(&service);
    peer_leave(&other);
    peer_leave(&client);
    broker_free(broker);
    set_free(&v1);
    return 0;
}

static void ask(const Parley__DrainRequest *drain)
{
    uint8_t data[4096], *answer;
    size_t answer_bytes;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_DRAIN;
    request.drain = (Parley__DrainRequest *)(uintptr_t)drain;
    size_t bytes = parley__control_request__pack(&request, data);
    assert_int_equal(control_handle(broker, data, bytes, NULL, &answer, &answer_bytes), 0);
    wire_free(reply);
    ProtobufCMessage *message;
    struct error_text error = {""};
    assert_int_equal(wire_unpack(&parley__control_reply__descriptor, answer, answer_bytes, NULL,
                                 &message, &error),
                     0);
    reply = (Parley__ControlReply *)message;
    free(answer);
    broker_settle(broker);
}

static void order(uint64_t id, Parley__DrainAction action, bool force)
{
    Parley__DrainRequest request = PARLEY__DRAIN_REQUEST__INIT;
    request.n_instance_id = 1;
    request.instance_id = &id;
    request.has_action = request.has_force = true;
    request.action = action;
    request.force = force;
    ask(&request);
}

static void expect_state(Parley__DrainState state)
{
    assert_int_equal(reply->status, PARLEY_OK);
    assert_int_equal(reply->drain->n_instance, 1);
    assert_int_equal(reply->drain->instance[0]->state, state);
}

static void say_drained(struct peer *peer, uint64_t instance_id, uint64_t number)
{
    Parley__Withdraw body = PARLEY__WITHDRAW__INIT;
    body.has_instance_id = body.has_drained = true;
    body.instance_id = instance_id;
    body.drained = number;
    peer_say(peer, PARLEY__LINK_MESSAGE__BODY_WITHDRAW, &body, NULL, 0);
    broker_settle(broker);
}

static uint64_t hear_order(struct peer *peer, uint64_t instance_id, bool undo)
{
    const Parley__Drain *drain = peer_hear(peer, PARLEY__LINK_MESSAGE__BODY_DRAIN);
    assert_int_equal(drain->instance_id, instance_id);
    assert_int_equal(drain->undo, undo);
    return drain->order;
}

static void expect_refusal(enum parley_status status, const char *words)
{
    assert_int_equal(reply->status, status);
    assert_words(reply->text, words);
}

static void test_an_order_tells_clients_and_the_instance(void **state)
{
    (void)state;
    order(1, PARLEY__DRAIN_ACTION__BEGIN, false);
    expect_state(PARLEY__DRAIN_STATE__DRAINING);
    const Parley__Instances *instances = hear_instances(&client, 0, 1, 0);
    assert_int_equal(instances->gone[0], 1);
    uint64_t number = hear_order(&service, 1, false);
    say_drained(&service, 1, number);
    order(1, PARLEY__DRAIN_ACTION__LOOK, false);
    expect_state(PARLEY__DRAIN_STATE__DRAINED);
    peer_hears_nothing(&other);
}

static void test_a_second_order_changes_nothing(void **state)
{
    (void)state;
    order(1, PARLEY__DRAIN_ACTION__BEGIN, false);
    (void)hear_order(&service, 1, false);
    order(1, PARLEY__DRAIN_ACTION__BEGIN, false);
    expect_state(PARLEY__DRAIN_STATE__DRAINING);
    peer_hears_nothing(&service);
}

static void test_what_is_taken_back_is_offered_again(void **state)
{
    (void)state;
    order(1, PARLEY__DRAIN_ACTION__BEGIN, false);
    (void)hear_instances(&client, 0, 1, 0);
    uint64_t number = hear_order(&service, 1, false);
    order(1, PARLEY__DRAIN_ACTION__UNDO, false);
    expect_state(PARLEY__DRAIN_STATE__SERVING);
    assert_true(hear_order(&service, 1, true) > number);
    (void)hear_instances(&client, 1, 0, 0);
    /* What it said of the old order comes too late, also when there is a new one. */
    say_drained(&service, 1, number);
    order(1, PARLEY__DRAIN_ACTION__LOOK, false);
    expect_state(PARLEY__DRAIN_STATE__SERVING);
    order(1, PARLEY__DRAIN_ACTION__BEGIN, false);
    say_drained(&service, 1, number);
    order(1, PARLEY__DRAIN_ACTION__LOOK, false);
    expect_state(PARLEY__DRAIN_STATE__DRAINING);
}

static void test_the_last_one_is_drained_only_by_force(void **state)
{
    (void)state;
    order(1, PARLEY__DRAIN_ACTION__BEGIN, false);
    (void)hear_order(&service, 1, false);
    order(2, PARLEY__DRAIN_ACTION__BEGIN, false);
    expect_refusal(PARLEY_FAILED_PRECONDITION, "no other instance of things is up");
    peer_hears_nothing(&other);
    order(2, PARLEY__DRAIN_ACTION__BEGIN, true);
    expect_state(PARLEY__DRAIN_STATE__DRAINING);
    (void)hear_order(&other, 2, false);
}

static void test_all_of_them_at_once_are_the_last_ones(void **state)
{
    (void)state;
    Parley__DrainRequest request = PARLEY__DRAIN_REQUEST__INIT;
    request.has_pid = true;
    request.pid = (uint32_t)getpid(); /* of all peers */
    ask(&request);
    expect_refusal(PARLEY_FAILED_PRECONDITION, "no other instance of things is up");
}

static void test_endpoint_and_interface_name_instances(void **state)
{
    (void)state;
    Parley__DrainRequest request = PARLEY__DRAIN_REQUEST__INIT;
    request.endpoint = (char *)(uintptr_t) "other";
    request.interface = (char *)(uintptr_t) "nothing";
    ask(&request);
    expect_refusal(PARLEY_NOT_FOUND, "no instance is named so");
    request.interface = (char *)(uintptr_t) "things";
    ask(&request);
    expect_state(PARLEY__DRAIN_STATE__DRAINING);
    assert_int_equal(reply->drain->instance[0]->instance_id, 2);
    (void)hear_order(&other, 2, false);
}

static void test_what_names_nothing_is_refused(void **state)
{
    (void)state;
    Parley__DrainRequest request = PARLEY__DRAIN_REQUEST__INIT;
    ask(&request);
    expect_refusal(PARLEY_INVALID_ARGUMENT, "say which");
    request.interface = (char *)(uintptr_t) "things"; /* too much to mean it */
    ask(&request);
    expect_refusal(PARLEY_INVALID_ARGUMENT, "say which");
    order(3, PARLEY__DRAIN_ACTION__BEGIN, false);
    expect_refusal(PARLEY_NOT_FOUND, "no instance is named so");
}

static void test_ids_are_taken_up_to_the_limit(void **state)
{
    (void)state;
    uint64_t ids[DRAIN_INSTANCE_MAX + 1] = {1};
    Parley__DrainRequest request = PARLEY__DRAIN_REQUEST__INIT;
    request.has_action = true;
    request.action = PARLEY__DRAIN_ACTION__LOOK;
    request.instance_id = ids;
    request.n_instance_id = DRAIN_INSTANCE_MAX + 1;
    ask(&request);
    expect_refusal(PARLEY_INVALID_ARGUMENT, "at most 64");
    request.n_instance_id = DRAIN_INSTANCE_MAX;
    ask(&request);
    assert_int_equal(reply->status, PARLEY_OK);
    assert_int_equal(reply->drain->n_instance, DRAIN_INSTANCE_MAX);
    assert_int_equal(reply->drain->instance[0]->state, PARLEY__DRAIN_STATE__SERVING);
    assert_int_equal(reply->drain->instance[1]->state, PARLEY__DRAIN_STATE__GONE);
}

static void test_one_that_left_is_gone(void **state)
{
    (void)state;
    order(1, PARLEY__DRAIN_ACTION__BEGIN, false);
    (void)hear_order(&service, 1, false);
    say_withdraw(&service, 1, true);
    broker_settle(broker);
    order(1, PARLEY__DRAIN_ACTION__LOOK, false);
    expect_state(PARLEY__DRAIN_STATE__GONE);
}

#define drain_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        drain_test(test_an_order_tells_clients_and_the_instance),
        drain_test(test_a_second_order_changes_nothing),
        drain_test(test_what_is_taken_back_is_offered_again),
        drain_test(test_the_last_one_is_drained_only_by_force),
        drain_test(test_all_of_them_at_once_are_the_last_ones),
        drain_test(test_endpoint_and_interface_name_instances),
        drain_test(test_what_names_nothing_is_refused),
        drain_test(test_ids_are_taken_up_to_the_limit),
        drain_test(test_one_that_left_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
