#include "support/test.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "cli/cli.h"
#include "unit/cli/bus.h"
#include "unit/cli/run.h"

#define WEIGHT_MAX 64 /* of cmd_route.c */

/* What the last request asked for. */
static struct {
    unsigned count;
    char interface[64];
    size_t weight_count;
    char version[64];
    double weight;
} asked;

static Parley__RouteWeight weights[] = {
    {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__route_weight__descriptor),
        .version = (char *)"1.0.0",
        .has_weight = 1,
        .weight = 94.5,
    },
    {
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__route_weight__descriptor),
        .version = (char *)"2.0.0",
        .has_weight = 1,
        .weight = 5.5,
    },
};
static Parley__RouteWeight *weight_pointers[] = {&weights[1], &weights[0]};
static Parley__RouteReply route = {
    .base = PROTOBUF_C_MESSAGE_INIT(&parley__route_reply__descriptor),
    .interface = (char *)"catalog",
    .n_weight = 2,
    .weight = weight_pointers,
    .has_generation = 1,
    .generation = 8,
};
static Parley__ControlReply reply = {
    .base = PROTOBUF_C_MESSAGE_INIT(&parley__control_reply__descriptor),
    .body_case = PARLEY__CONTROL_REPLY__BODY_ROUTE,
    .route = &route,
};

static void answer(void *userdata, const Parley__ControlRequest *request,
                   struct fake_answer *ret_answer)
{
    (void)userdata;
    if (request->body_case != PARLEY__CONTROL_REQUEST__BODY_ROUTE)
        return;
    const Parley__RouteRequest *body = request->route;
    asked.count++;
    snprintf(asked.interface, sizeof(asked.interface), "%s", body->interface);
    asked.weight_count = body->n_weight;
    if (body->n_weight > 0) {
        const Parley__RouteWeight *last = body->weight[body->n_weight - 1];
        snprintf(asked.version, sizeof(asked.version), "%s", last->version);
        asked.weight = last->weight;
    }
    ret_answer->reply = strcmp(body->interface, "nothing") == 0 ? bus_refusal() : &reply;
}

static struct fake_broker *broker;

static int set_up(void **state)
{
    (void)state;
    broker = fake_broker_new(answer, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    broker = fake_broker_free(broker);
    return 0;
}

static void test_without_weights_the_shares_are_shown(void **state)
{
    (void)state;
    struct run run = RUN("route", "catalog", "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(run.out, "INTERFACE  VERSION   SHARE\n"
                                 "catalog    1.0.0    94.5 %\n"
                                 "catalog    2.0.0     5.5 %\n");
    run_free(&run);
    assert_string_equal(asked.interface, "catalog");
    assert_int_equal(asked.weight_count, 0);
}

static void test_weights_are_sent_as_they_were_given(void **state)
{
    (void)state;
    struct run run =
        RUN("route", "catalog", "1.0.0=95", "2.0.0-rc.1=0.25", "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_OK);
    run_free(&run);
    assert_int_equal(asked.weight_count, 2);
    assert_string_equal(asked.version, "2.0.0-rc.1");
    assert_true(asked.weight == 0.25);
}

static void test_json_has_shares_and_generation(void **state)
{
    (void)state;
    struct run run = RUN("route", "--json", "catalog", "--url", fake_broker_url(broker));
    json_t *json = json_loads(run.out, 0, NULL);
    int generation = 0;
    double share = 0;
    assert_int_equal(json_unpack(json, "{s:i,s:[{},{s:f}]}", "route_generation", &generation,
                                 "versions", "share_percent", &share),
                     0);
    assert_int_equal(generation, 8);
    assert_true(share == 5.5);
    json_decref(json);
    run_free(&run);
}

static void test_the_brokers_no_is_exit_1(void **state)
{
    (void)state;
    struct run run = RUN("route", "nothing", "1.0.0=1", "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_REFUSED);
    assert_string_equal(run.out, "");
    assert_contains(run.err, "NOT_FOUND");
    run_free(&run);
}

static void assert_refused(const char *weight, const char *sentence)
{
    unsigned before = asked.count;
    struct run run = RUN("route", "catalog", "1.0.0=0", weight, "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    assert_contains(run.err, sentence);
    assert_string_equal(run.out, "");
    run_free(&run);
    assert_int_equal(asked.count, before); /* nothing was sent */
}

static void test_garbage_is_refused_before_it_is_sent(void **state)
{
    (void)state;
    assert_refused("2.0.0", "'2.0.0' is no VERSION=WEIGHT");
    assert_refused("two=5", "'two' is no version");
    assert_refused("=5", "'' is no version");
    assert_refused("2.0=5", "'2.0' is no version");
    assert_refused("2.0.0=", "the weight of 2.0.0 is no number");
    assert_refused("2.0.0=5x", "is no number: '5x'");
    assert_refused("2.0.0=5%", "is no number: '5%'");
    assert_refused("2.0.0=nan", "is no number");
    assert_refused("2.0.0=inf", "is no number");
    assert_refused("2.0.0=0x10", "is no number");
    assert_refused("2.0.0=1.2.3", "is no number");
    assert_refused("2.0.0=-5", "the weight of 2.0.0 is negative (-5)");
    assert_refused("2.0.0=1000000001", "above 1000000000");
    assert_refused("1.0.0=5", "1.0.0 has two weights");
    assert_refused("2.0.0=0", "all weights are 0");
}

static void test_names_are_checked_before_they_are_sent(void **state)
{
    (void)state;
    struct run run = RUN("route");
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    assert_contains(run.err, "which interface?");
    run_free(&run);
    run = RUN("route", "Catalog", "1.0.0=1");
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    assert_contains(run.err, "'Catalog' is no name of an interface");
    run_free(&run);
}

static void test_as_many_weights_as_the_limit_are_sent_and_no_more(void **state)
{
    (void)state;
    char texts[WEIGHT_MAX + 1][32];
    const char *argv[WEIGHT_MAX + 8] = {"route", "--url", fake_broker_url(broker), "catalog"};
    for (size_t i = 0; i < WEIGHT_MAX; i++) {
        snprintf(texts[i], sizeof(texts[i]), "1.%zu.0=1", i);
        argv[4 + i] = texts[i];
    }
    struct run run = run_cli(argv, NULL);
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_int_equal(asked.weight_count, WEIGHT_MAX);
    run_free(&run);
    argv[4 + WEIGHT_MAX] = "2.0.0=1";
    run = run_cli(argv, NULL);
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    assert_contains(run.err, "more than 64 weights");
    run_free(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_weights_the_shares_are_shown),
        cmocka_unit_test(test_weights_are_sent_as_they_were_given),
        cmocka_unit_test(test_json_has_shares_and_generation),
        cmocka_unit_test(test_the_brokers_no_is_exit_1),
        cmocka_unit_test(test_garbage_is_refused_before_it_is_sent),
        cmocka_unit_test(test_names_are_checked_before_they_are_sent),
        cmocka_unit_test(test_as_many_weights_as_the_limit_are_sent_and_no_more),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
