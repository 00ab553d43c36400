/*
 * A rollout with real clients and services: the broker in a thread, each service in another.
 *
 *     test --echo.Context--> front --ware.Weigh--> ware 1.0.0 or ware 2.0.0
 *
 * Who is asked to weigh answers with its version. The front knows nothing of rollouts.
 */
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "broker/broker.h"
#include "echo.parley.h"
#include "support/echoes.h"
#include "support/served.h"
#include "ware_v1.parley.h"
#include "ware_v2.parley.h"

/* ---- The services ---- */

static void old__weigh(Ware__V1__Store_Service *service, const Ware__V1__Ware *input,
                       Ware__V1__Ware_Closure closure, void *data)
{
    (void)service;
    (void)input;
    Ware__V1__Ware reply = WARE__V1__WARE__INIT;
    reply.name = (char *)(uintptr_t) "old";
    closure(&reply, data);
}

static void old__count(Ware__V1__Store_Service *service, const Ware__V1__Ware *input,
                       Ware__V1__Ware_Closure closure, void *data)
{
    (void)service;
    closure(input, data);
}

static enum parley_status serve_old(struct parley_endpoint *endpoint)
{
    static Ware__V1__Store_Service old = WARE__V1__STORE__INIT(old__);
    struct parley_service *service;
    return ware__v1__store__serve(endpoint, &old, NULL, &service);
}

static void new__weigh(Ware__V2__Store_Service *service, const Ware__V2__Ware *input,
                       Ware__V2__Ware_Closure closure, void *data)
{
    (void)service;
    (void)input;
    Ware__V2__Ware reply = WARE__V2__WARE__INIT;
    reply.title = (char *)(uintptr_t) "new";
    closure(&reply, data);
}

static enum parley_status serve_new(struct parley_endpoint *endpoint)
{
    static Ware__V2__Store_Service new = WARE__V2__STORE__INIT(new__);
    struct parley_service *service;
    return ware__v2__store__serve(endpoint, &new, NULL, &service);
}

static struct parley_client *ware;

static void front__context(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                           Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    (void)input;
    Ware__V1__Ware request = WARE__V1__WARE__INIT, *reply = NULL;
    Echo__V1__Message answer = ECHO__V1__MESSAGE__INIT;
    if (ware__v1__store__weigh_call(ware, &request, &reply, NULL) == PARLEY_OK)
        answer.text = reply->name;
    closure(&answer, data);
    parley_reply_free(reply);
}

static enum parley_status serve_front(struct parley_endpoint *endpoint)
{
    static Echo__V1__Echo_Service front = ECHO_SERVICE(.context = front__context);
    struct parley_service *service;
    enum parley_status status = ware__v1__store__connect(endpoint, NULL, &ware);
    for (uint64_t until = clock_now_ns() + PATIENCE_NS;
         status == PARLEY_OK && parley_client_channel_count(ware) < 2 && clock_now_ns() < until;)
        (void)parley_dispatch(endpoint, NS_PER_MS);
    return status == PARLEY_OK ? echo__v1__echo__serve(endpoint, &front, NULL, &service) : status;
}

/* ---- The test ---- */

static struct parley_endpoint *endpoint;
static struct parley_client *client;

static int begin(void **state)
{
    (void)state;
    static const struct served_service services[] = {
        {"old", serve_old, NULL}, {"new", serve_new, NULL}, {"front", serve_front, NULL}};
    served_prepare();
    served_begin(&(struct broker_options){0});
    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++)
        served_start(i, &services[i]);
    const struct parley_endpoint_options mine = {.broker = served.socket, .name = "test"};
    assert_int_equal(parley_endpoint_new(&mine, &endpoint), PARLEY_OK);
    assert_int_equal(echo__v1__echo__connect(endpoint, NULL, &client), PARLEY_OK);
    return 0;
}

static int end(void **state)
{
    (void)state;
    parley_endpoint_free(endpoint);
    return served_end(); /* empty: nothing was left behind */
}

/* The broker's thread does nothing meanwhile; its page is what clients read at their next call. */
static void roll(const struct route_rollout *rollout)
{
    struct error_text error = {""};
    served_hold();
    struct interface *interface = directory_find(&served.broker->directory, "ware");
    assert_non_null(interface);
    if (!rollout)
        routes_end_rollout(served.broker, interface);
    else if (routes_set_rollout(served.broker, interface, rollout, &error) < 0)
        fail_msg("%s", error.text);
    served_go();
}

static bool is_new(const char *key, const char *value)
{
    const struct parley_metadata pair = {key, value, strlen(value)};
    struct parley_call call = {.metadata = &pair, .metadata_count = 1};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    if (echo__v1__echo__context_call(client, &request, &reply, &call) != PARLEY_OK)
        fail_msg("%s", call.error);
    bool new = strcmp(reply->text, "new") == 0;
    assert_true(new || strcmp(reply->text, "old") == 0);
    parley_reply_free(reply);
    return new;
}

#define USERS 200

static unsigned new_users(bool is[USERS])
{
    char user[16];
    unsigned count = 0;
    for (unsigned i = 0; i < USERS; i++) {
        (void)snprintf(user, sizeof(user), "u%u", i);
        is[i] = is_new("gray.user.id", user);
        count += is[i];
    }
    return count;
}

static void test_a_mark_is_matched_at_the_second_hop(void **state)
{
    (void)state;
    const struct route_condition_text conditions[] = {
        {ROUTE_MATCH_EXACT, "gray.version", "2"},
        {ROUTE_MATCH_REGEX, "gray.user.id", "(ada|bob)@.+"}};
    const struct route_rule rules[] = {{&conditions[0], 1, false}, {&conditions[1], 1, false}};
    struct route_rollout rollout = {
        .name = "r", .stable = "1.0.0", .canary = "2.0.0", .rules = rules, .rule_count = 2};
    assert_false(is_new("gray.version", "2"));
    roll(&rollout);
    assert_true(is_new("gray.version", "2")); /* at the very next call */
    assert_false(is_new("gray.version", "1"));
    assert_true(is_new("gray.user.id", "ada@example"));
    assert_false(is_new("gray.user.id", "eve@example"));
    assert_false(is_new("private", "2"));
    rollout.rule_count = 0;
    roll(&rollout);
    assert_false(is_new("gray.version", "2"));
    roll(NULL);
    assert_false(is_new("gray.version", "2"));
}

static void test_users_of_the_canary_stay_there_while_it_widens(void **state)
{
    (void)state;
    static bool before[USERS], now[USERS];
    struct route_rollout rollout = {
        .name = "r", .stable = "1.0.0", .canary = "2.0.0", .sticky_key = "gray.user.id"};
    unsigned count = 0;
    for (unsigned step = 0; step <= 5; step++) {
        rollout.canary_buckets = step * (ROUTE_BUCKETS / 5);
        roll(&rollout);
        unsigned next = new_users(now);
        assert_true(next >= count);
        for (unsigned i = 0; i < USERS; i++)
            assert_true(now[i] || !before[i]);
        memcpy(before, now, sizeof(before));
        count = next;
    }
    assert_int_equal(count, USERS);
    rollout.canary_buckets = 0;
    roll(&rollout);
    assert_int_equal(new_users(now), 0); /* straight back: nobody more */
}

#define CANARY(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CANARY(test_a_mark_is_matched_at_the_second_hop),
        CANARY(test_users_of_the_canary_stay_there_while_it_widens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
