/* The control API, request by request. */
#include "peers.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct broker *broker;
static struct peer service, client;
static struct set v1, v2;
static Parley__ControlReply *reply; /* the last one */

static int begin(void **state)
{
    (void)state;
    broker = broker_start(NULL);
    set_make(&v1, "things", "1.0.0", "things.v1", NULL, 2);
    set_make(&v2, "things", "2.0.0", "things.v2", "things.v1", 3);
    peer_join(&service, broker, "service");
    peer_join(&client, broker, "client");
    publish(&service, 1, &v1);
    publish(&service, 2, &v2);
    say_open(&client, 1, &v1, "~1");
    (void)hear_opened(&client, 1, PARLEY_OK);
    return 0;
}

static int end(void **state)
{
    (void)state;
    reply = wire_free(reply);
    peer_leave(&service);
    peer_leave(&client);
    broker_free(broker);
    set_free(&v1);
    set_free(&v2);
    return 0;
}

static void ask_bytes(const uint8_t *data, size_t bytes)
{
    uint8_t *answer;
    size_t answer_bytes;
    assert_int_equal(control_handle(broker, data, bytes, NULL, &answer, &answer_bytes), 0);
    wire_free(reply);
    ProtobufCMessage *message;
    struct error_text error = {""};
    if (wire_unpack(&parley__control_reply__descriptor, answer, answer_bytes, NULL, &message,
                    &error) < 0)
        fail_msg("%s", error.text);
    reply = (Parley__ControlReply *)message;
    free(answer);
}

static void ask(int body_case, void *body)
{
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    request.body_case = (Parley__ControlRequest__BodyCase)body_case;
    request.list = body; /* a union of pointers */
    uint8_t data[65536];
    assert_true(parley__control_request__get_packed_size(&request) <= sizeof(data));
    ask_bytes(data, parley__control_request__pack(&request, data));
}

static void expect_failure(enum parley_status status, const char *words)
{
    assert_int_equal(reply->status, status);
    assert_words(reply->text, words);
}

static void test_list_shows_interfaces_instances_and_endpoints(void **state)
{
    (void)state;
    Parley__ListRequest request = PARLEY__LIST_REQUEST__INIT;
    ask(PARLEY__CONTROL_REQUEST__BODY_LIST, &request);
    assert_int_equal(reply->status, PARLEY_OK);
    const Parley__ListReply *list = reply->list;
    assert_true(list->broker_id == broker->id);
    assert_int_equal(list->n_interface, 1);
    assert_string_equal(list->interface[0]->name, "things");
    assert_int_equal(list->interface[0]->clients, 1);
    assert_int_equal(list->interface[0]->n_version, 2);
    assert_int_equal(list->interface[0]->n_offer, 1);
    assert_string_equal(list->interface[0]->offer[0]->client_version, "1.0.0");
    assert_string_equal(list->interface[0]->offer[0]->version, "1.0.0");
    assert_int_equal(list->interface[0]->offer[0]->translation, 0);
    assert_int_equal(list->interface[0]->offer[0]->clients, 1);
    assert_int_equal(list->interface[0]->offer[0]->n_over, 0);
    const Parley__VersionInfo *version = list->interface[0]->version[0];
    assert_string_equal(version->version, "1.0.0");
    assert_string_equal(version->service, "things.v1.Things");
    assert_int_equal(version->weight_per_100000, ROUTE_BUCKETS);
    assert_int_equal(version->n_method, 1);
    assert_string_equal(version->method[0], "Get");
    assert_int_equal(version->n_instance, 1);
    assert_true(version->instance[0]->instance_id == 1);
    assert_string_equal(version->instance[0]->endpoint, "service");
    assert_int_equal(version->instance[0]->pid, getpid());
    assert_false(version->instance[0]->draining);
    assert_int_equal(list->n_endpoint, 2);
    assert_string_equal(list->endpoint[0]->name, "service");
    assert_int_equal(list->endpoint[0]->instances, 2);
    assert_int_equal(list->endpoint[1]->contracts, 1);
}

static void test_list_of_one_interface_has_no_other_and_no_endpoints(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t count;
    } cases[] = {{"things", 1}, {"thing", 0}, {"things2", 0}, {"", 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Parley__ListRequest request = PARLEY__LIST_REQUEST__INIT;
        request.interface = (char *)(uintptr_t)cases[i].name;
        ask(PARLEY__CONTROL_REQUEST__BODY_LIST, &request);
        assert_int_equal(reply->status, PARLEY_OK);
        assert_int_equal(reply->list->n_interface, cases[i].count);
        assert_int_equal(reply->list->n_endpoint, 0);
    }
}

static void test_list_of_an_empty_bus_is_empty(void **state)
{
    (void)state;
    peer_leave(&service);
    peer_leave(&client);
    struct broker *empty = broker;
    broker_settle(empty);
    broker_free(empty);
    broker = broker_start(NULL);
    Parley__ListRequest request = PARLEY__LIST_REQUEST__INIT;
    ask(PARLEY__CONTROL_REQUEST__BODY_LIST, &request);
    assert_int_equal(reply->list->n_interface, 0);
    assert_int_equal(reply->list->n_endpoint, 0);
}

static void test_interface_that_was_only_asked_for_is_not_listed(void **state)
{
    (void)state;
    struct set absent;
    set_make(&absent, "absent", "1.0.0", "absent.v1", NULL, 1);
    say_open(&service, 9, &absent, NULL);
    (void)hear_opened(&service, 9, PARLEY_UNAVAILABLE);
    Parley__ListRequest request = PARLEY__LIST_REQUEST__INIT;
    ask(PARLEY__CONTROL_REQUEST__BODY_LIST, &request);
    assert_int_equal(reply->list->n_interface, 1);
    set_free(&absent);
}

/* ---- Route ---- */

static void route(const char *interface, size_t count, const char *const *versions,
                  const double *weights)
{
    Parley__RouteWeight weight[16];
    Parley__RouteWeight *pointers[16];
    for (size_t i = 0; i < count; i++) {
        parley__route_weight__init(&weight[i]);
        weight[i].version = (char *)(uintptr_t)versions[i];
        weight[i].has_weight = true;
        weight[i].weight = weights[i];
        pointers[i] = &weight[i];
    }
    Parley__RouteRequest request = PARLEY__ROUTE_REQUEST__INIT;
    request.interface = (char *)(uintptr_t)interface;
    request.n_weight = count;
    request.weight = pointers;
    ask(PARLEY__CONTROL_REQUEST__BODY_ROUTE, &request);
}

static const char *const both[] = {"1.0.0", "2.0.0"};

static void test_route_sets_shares_and_says_so_in_per_cent(void **state)
{
    (void)state;
    route("things", 2, both, (double[]){19, 1});
    assert_int_equal(reply->status, PARLEY_OK);
    assert_string_equal(reply->route->interface, "things");
    assert_int_equal(reply->route->n_weight, 2);
    assert_string_equal(reply->route->weight[1]->version, "2.0.0");
    assert_true(reply->route->weight[1]->weight == 5.0);
    uint64_t generation = reply->route->generation;
    const struct route_slot *slot = route_slot(&service, 0);
    assert_int_equal(slot->threshold[0], 95000);
    assert_int_equal(slot->threshold[1], ROUTE_BUCKETS);
    assert_true(slot->generation == generation);

    route("things", 1, both + 1, (double[]){0.25}); /* who is not named gets nothing */
    assert_true(reply->route->weight[0]->weight == 0.0);
    assert_true(reply->route->weight[1]->weight == 100.0);
    assert_true(reply->route->generation > generation);
    generation = reply->route->generation;

    route("things", 1, both + 1, (double[]){7}); /* as it is already */
    assert_true(reply->route->generation == generation);
    route("things", 0, NULL, NULL); /* only shown */
    assert_true(reply->route->weight[1]->weight == 100.0);
    assert_true(reply->route->generation == generation);
}

/* A rollout in the slot would decide instead of the weights. */
static void test_weights_by_hand_end_a_rollout_in_the_slot(void **state)
{
    (void)state;
    struct error_text error = {""};
    const struct route_condition_text condition = {ROUTE_MATCH_PRESENT, "gray.version", NULL};
    const struct route_rule rule = {.conditions = &condition, .condition_count = 1};
    const struct route_rollout rollout = {.stable = "1.0.0",
                                          .canary = "2.0.0",
                                          .canary_buckets = 5000,
                                          .rules = &rule,
                                          .rule_count = 1};
    struct interface *things = directory_find(&broker->directory, "things");
    assert_int_equal(routes_set_rollout(broker, things, &rollout, &error), 1);
    const struct route_slot *slot = route_slot(&service, 0);
    assert_int_equal(slot->rollout, 1);
    assert_int_equal(slot->matches, 1);
    uint64_t generation = slot->generation;
    route("things", 2, both, (double[]){95, 5}); /* the very same shares */
    assert_int_equal(reply->status, PARLEY_OK);
    assert_int_equal(slot->rollout, 0);
    assert_int_equal(slot->matches, 0);
    assert_true(slot->generation > generation);
    assert_null(routes_rollout(things));
}

static void test_route_to_what_is_not_there_says_what_is(void **state)
{
    (void)state;
    route("thongs", 1, both, (double[]){1});
    expect_failure(PARLEY_NOT_FOUND, "there is: things");
    route("things", 1, (const char *const[]){"3.0.0"}, (double[]){1});
    expect_failure(PARLEY_NOT_FOUND, "there is: 1.0.0, 2.0.0");
    route("things", 1, (const char *const[]){"newest"}, (double[]){1});
    expect_failure(PARLEY_NOT_FOUND, "there is: 1.0.0, 2.0.0");
    route("things", 1, (const char *const[]){NULL}, (double[]){1});
    expect_failure(PARLEY_NOT_FOUND, "there is: 1.0.0, 2.0.0");
    assert_int_equal(route_slot(&service, 0)->threshold[0], ROUTE_BUCKETS); /* nothing was done */
}

static void test_route_with_weights_that_are_none_changes_nothing(void **state)
{
    (void)state;
    const double bad[][2] = {{0, 0}, {-1, 2}, {NAN, 1}, {INFINITY, 1}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        route("things", 2, both, bad[i]);
        expect_failure(PARLEY_INVALID_ARGUMENT, "0 or more");
    }
    route("things", 2, (const char *const[]){"1.0.0", "1.0.0"}, (double[]){1, 1});
    expect_failure(PARLEY_INVALID_ARGUMENT, "two weights");
    assert_int_equal(route_slot(&service, 0)->threshold[0], ROUTE_BUCKETS);
    assert_true(route_slot(&service, 0)->generation == 1);
}

/* ---- Describe ---- */

static void describe(const char *interface, const char *version)
{
    Parley__DescribeRequest request = PARLEY__DESCRIBE_REQUEST__INIT;
    request.interface = (char *)(uintptr_t)interface;
    request.version = (char *)(uintptr_t)version;
    ask(PARLEY__CONTROL_REQUEST__BODY_DESCRIBE, &request);
}

static void test_describe_gives_the_set_as_it_was_published(void **state)
{
    (void)state;
    describe("things", "2.0.0");
    assert_int_equal(reply->status, PARLEY_OK);
    assert_string_equal(reply->describe->version, "2.0.0");
    assert_string_equal(reply->describe->service, "things.v2.Things");
    assert_int_equal(reply->describe->descriptor_set.len, v2.bytes);
    assert_memory_equal(reply->describe->descriptor_set.data, v2.data, v2.bytes);
}

static void test_describe_without_a_version_takes_the_one_with_most_calls(void **state)
{
    (void)state;
    describe("things", NULL);
    assert_string_equal(reply->describe->version, "1.0.0");
    route("things", 2, both, (double[]){1, 2});
    describe("things", "");
    assert_string_equal(reply->describe->version, "2.0.0");
}

static void test_describe_of_what_is_not_there_says_what_is(void **state)
{
    (void)state;
    describe("thongs", NULL);
    expect_failure(PARLEY_NOT_FOUND, "there is: things");
    describe("things", "9.9.9");
    expect_failure(PARLEY_NOT_FOUND, "there is: 1.0.0, 2.0.0");
    describe(NULL, NULL);
    expect_failure(PARLEY_NOT_FOUND, "there is: things");
}

/* ---- Others ---- */

static void test_garbage_is_answered(void **state)
{
    (void)state;
    ask_bytes((const uint8_t *)"\x0a\xff nonsense", 11);
    expect_failure(PARLEY_INVALID_ARGUMENT, "no ControlRequest");
    ask_bytes((const uint8_t *)"", 0);
    expect_failure(PARLEY_UNIMPLEMENTED, "empty");
    ask_bytes((const uint8_t *)"\xfa\x01\x00", 3); /* field 31 */
    expect_failure(PARLEY_UNIMPLEMENTED, "does not know");
}

static void test_stats_are_answered_in_both_forms(void **state)
{
    (void)state;
    Parley__StatsRequest request = PARLEY__STATS_REQUEST__INIT;
    ask(PARLEY__CONTROL_REQUEST__BODY_STATS, &request);
    assert_int_equal(reply->status, PARLEY_OK);
    assert_true(reply->stats->broker_id == broker->id);
    assert_null(reply->stats->json);
    request.has_json = request.json = true;
    ask(PARLEY__CONTROL_REQUEST__BODY_STATS, &request);
    assert_words(reply->stats->json, "\"methods\":[]");
}

static void call(const char *interface, const char *version, const char *method)
{
    Parley__CallRequest request = PARLEY__CALL_REQUEST__INIT;
    request.interface = (char *)(uintptr_t)interface;
    request.version = (char *)(uintptr_t)version;
    request.method = (char *)(uintptr_t)method;
    ask(PARLEY__CONTROL_REQUEST__BODY_CALL, &request);
    assert_int_equal(reply->call->executed, PARLEY_EXECUTED_NO);
}

static void test_calls_to_what_is_not_there_say_what_is(void **state)
{
    (void)state;
    call("thongs", "1.0.0", "Get");
    expect_failure(PARLEY_NOT_FOUND, "there is: things");
    call("things", "1.5.0", "Get");
    expect_failure(PARLEY_NOT_FOUND, "there is: 1.0.0, 2.0.0");
    call("things", "1.0.0", "Put");
    expect_failure(PARLEY_NOT_FOUND, "there is: Get");
    call("things", "1.0.0", NULL);
    expect_failure(PARLEY_NOT_FOUND, "there is: Get");
}

#define CONTROL(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTROL(test_list_shows_interfaces_instances_and_endpoints),
        CONTROL(test_list_of_one_interface_has_no_other_and_no_endpoints),
        CONTROL(test_list_of_an_empty_bus_is_empty),
        CONTROL(test_interface_that_was_only_asked_for_is_not_listed),
        CONTROL(test_route_sets_shares_and_says_so_in_per_cent),
        CONTROL(test_weights_by_hand_end_a_rollout_in_the_slot),
        CONTROL(test_route_to_what_is_not_there_says_what_is),
        CONTROL(test_route_with_weights_that_are_none_changes_nothing),
        CONTROL(test_describe_gives_the_set_as_it_was_published),
        CONTROL(test_describe_without_a_version_takes_the_one_with_most_calls),
        CONTROL(test_describe_of_what_is_not_there_says_what_is),
        CONTROL(test_garbage_is_answered),
        CONTROL(test_stats_are_answered_in_both_forms),
        CONTROL(test_calls_to_what_is_not_there_say_what_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
