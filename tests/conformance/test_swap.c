/*
 * Rules that change while calls run: no call fails, no channel is made anew, and each call is
 * translated there and back by the same rules.
 *
 * The service says what weight it saw; version 2 counts in milligrams, by one rule a thousand to
 * the gram and by the other ten. The gram that comes back must be the gram that was sent: half of a
 * call by one rule and half by the other would not give that.
 */
#include "support/test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/bus.h"
#include "ware_v1.parley.h"
#include "ware_v2.parley.h"

#define IN_FLIGHT 64

static struct bus bus;
static struct parley_endpoint *endpoint;
static struct parley_client *client;

/* ---- The service ---- */

static void v2__weigh(Ware__V2__Store_Service *service, const Ware__V2__Ware *input,
                      Ware__V2__Ware_Closure closure, void *data)
{
    (void)service;
    Ware__V2__Ware reply = *input;
    char title[64];
    (void)snprintf(title, sizeof(title), "%llu mg", (unsigned long long)input->milligrams);
    reply.title = title;
    closure(&reply, data);
}

static void v1__weigh(Ware__V1__Store_Service *service, const Ware__V1__Ware *input,
                      Ware__V1__Ware_Closure closure, void *data)
{
    (void)service;
    Ware__V1__Ware reply = *input;
    char name[64];
    (void)snprintf(name, sizeof(name), "%u g", input->grams);
    reply.name = name;
    closure(&reply, data);
}

static void v1__count(Ware__V1__Store_Service *service, const Ware__V1__Ware *input,
                      Ware__V1__Ware_Closure closure, void *data)
{
    v1__weigh(service, input, closure, data);
}

static uint8_t set[65536];

/* As if the program had been built from the other .proto. */
static struct parley_interface mended_interface(void)
{
    struct parley_interface interface = ware__v2__store__interface;
    int fd = open(WARE_SETS "/ware_v2_mended.binpb", O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, set, sizeof(set));
    if (n <= 0)
        abort();
    close(fd);
    interface.descriptor_set = set;
    interface.descriptor_set_bytes = (size_t)n;
    return interface;
}

/* @argument: "1", "2", "2 mended" */
static int serve(struct bus *b, void *argument)
{
    static Ware__V1__Store_Service v1 = WARE__V1__STORE__INIT(v1__);
    static Ware__V2__Store_Service v2 = WARE__V2__STORE__INIT(v2__);
    const char *which = argument;
    static struct parley_interface interface;
    interface = which[0] == '1' ? ware__v1__store__interface
                : which[1]      ? mended_interface()
                                : ware__v2__store__interface;
    struct parley_endpoint *served = bus_endpoint(b, argument);
    struct parley_service *published;
    if (parley_service_new(served, &interface, which[0] == '1' ? &v1.base : &v2.base, NULL,
                           &published) != PARLEY_OK)
        return 2;
    return bus_serve(served, NULL);
}

static pid_t start_service(const char *which)
{
    char text[96];
    pid_t pid = bus_fork(&bus, serve, (void *)(uintptr_t)which);
    (void)snprintf(text, sizeof(text), "ware %c.0.0 of %s ", which[0], which);
    assert_true(bus_log_has(&bus, text));
    return pid;
}

/* ---- The load ---- */

static struct {
    uint64_t sent, ended, wrong, retried;
    uint64_t of_rule[2]; /* a thousand, ten */
    uint64_t of_rule_in_a_row[2];
    uint32_t in_flight;
} load;

static void on_weighed(const Ware__V1__Ware *reply, void *data)
{
    uint32_t grams = (uint32_t)(uintptr_t)data;
    const struct parley_call *call = parley_call_current();
    static const unsigned factors[] = {1000, 10};
    load.in_flight--;
    load.ended++;
    load.retried += call->attempts != 1;
    if (!reply || reply->grams != grams) {
        if (load.wrong++ == 0)
            print_error("%u g: %s, %u g of %s came back\n", grams, call->error,
                        reply ? reply->grams : 0, reply ? reply->name : "");
        return;
    }
    for (size_t i = 0; i < 2; i++) {
        char expected[64];
        (void)snprintf(expected, sizeof(expected), "%llu mg",
                       (unsigned long long)grams * factors[i]);
        bool is = strcmp(reply->name, expected) == 0;
        load.of_rule[i] += is;
        load.of_rule_in_a_row[i] = is ? load.of_rule_in_a_row[i] + 1 : 0;
    }
}

/* Keeps calls in flight until that many in a row were answered by a rule. */
static void load_until(size_t rule, uint64_t in_a_row)
{
    uint64_t limit = load.ended + 3000000;
    load.of_rule_in_a_row[rule] = 0;
    while (load.of_rule_in_a_row[rule] < in_a_row && load.wrong == 0) {
        while (load.in_flight < IN_FLIGHT) {
            uint32_t grams = (uint32_t)(++load.sent % 4000000);
            Ware__V1__Ware request = WARE__V1__WARE__INIT;
            request.name = (char *)(uintptr_t) "load";
            request.grams = grams;
            load.in_flight++;
            parley_client_start(client, 0, &request.base, NULL, (ProtobufCClosure)on_weighed,
                                (void *)(uintptr_t)grams);
        }
        assert_int_equal(parley_dispatch(endpoint, 1000000000), PARLEY_OK);
        if (load.ended > limit)
            fail_msg("the rule did not change in 3 million calls");
    }
}

static void load_end(void)
{
    while (load.in_flight > 0)
        assert_int_equal(parley_dispatch(endpoint, 1000000000), PARLEY_OK);
    assert_int_equal(load.wrong, 0);
    assert_int_equal(load.retried, 0);
    assert_int_equal(load.of_rule[0] + load.of_rule[1], load.sent);
}

static void connect_client(size_t channels)
{
    endpoint = bus_endpoint(&bus, "client");
    if (parley_client_new(endpoint, &ware__v1__store__interface, NULL, &client) != PARLEY_OK)
        fail_msg("%s", parley_error_text());
    for (int i = 0; i < 5000 && parley_client_channel_count(client) < channels; i++)
        parley_dispatch(endpoint, 2000000);
    assert_int_equal(parley_client_channel_count(client), channels);
}

static int begin(void **state)
{
    (void)state;
    memset(&load, 0, sizeof(load));
    bus_start_with_schemas(&bus);
    return 0;
}

static int end(void **state)
{
    (void)state;
    endpoint = parley_endpoint_free(endpoint);
    bus_stop(&bus);
    return 0;
}

/* ---- Tests ---- */

static void test_a_file_changes_the_rules_under_load(void **state)
{
    (void)state;
    (void)start_service("2");
    connect_client(1);
    load_until(0, 2000);
    assert_int_equal(load.of_rule[1], 0);
    bus_schema_put(&bus, WARE_SETS "/ware_v2_mended.binpb", "ware.binpb");
    load_until(1, 2000);
    bus_schema_put(&bus, WARE_SETS "/ware_v2.binpb", "ware.binpb");
    load_until(0, 2000);
    load_end();
    assert_true(bus_log_has(&bus, "new plans are in use for 1 offers"));
}

static void test_every_instance_and_every_client_swaps(void **state)
{
    (void)state;
    (void)start_service("2");
    (void)bus_fork(&bus, serve, (void *)(uintptr_t) "2");
    (void)bus_fork(&bus, serve, (void *)(uintptr_t) "2");
    connect_client(3);
    struct parley_client *other;
    assert_int_equal(parley_client_new(endpoint, &ware__v1__store__interface, NULL, &other),
                     PARLEY_OK);
    load_until(0, 2000);
    bus_schema_put(&bus, WARE_SETS "/ware_v2_mended.binpb", "ware.binpb");
    load_until(1, 5000);
    client = other;
    load_until(1, 5000);
    load_end();
    assert_true(bus_log_has(&bus, "new plans are in use for 2 offers"));
}

static void test_rules_that_do_not_compile_leave_the_old_plans_in_force(void **state)
{
    (void)state;
    (void)start_service("2");
    connect_client(1);
    load_until(0, 500);
    bus_schema_put(&bus, WARE_SETS "/ware_v2_wrong.binpb", "ware.binpb");
    assert_true(bus_log_has(&bus, "changed rules of ware are not taken"));
    assert_true(bus_log_has(&bus, "no_such_field"));
    load_until(0, 2000);
    assert_int_equal(load.of_rule[1], 0);
    bus_schema_put(&bus, WARE_SETS "/ware_v2_mended.binpb", "ware.binpb");
    load_until(1, 2000);
    load_end();
}

static void test_a_file_that_leaves_gives_the_published_rules_back(void **state)
{
    (void)state;
    char path[160];
    bus_schema_put(&bus, WARE_SETS "/ware_v2_mended.binpb", "ware.binpb");
    assert_true(bus_log_has(&bus, "ware 2.0.0 is known from the folder"));
    (void)start_service("2");
    connect_client(1);
    load_until(1, 500);
    assert_int_equal(load.of_rule[0], 0);
    (void)snprintf(path, sizeof(path), "%s/ware.binpb", bus.schemas);
    assert_int_equal(unlink(path), 0);
    load_until(0, 2000);
    load_end();
}

static void test_an_instance_that_publishes_other_rules_changes_them(void **state)
{
    (void)state;
    (void)start_service("2");
    connect_client(1);
    load_until(0, 2000);
    (void)start_service("2 mended");
    load_until(1, 2000);
    load_end();
}

static void test_a_client_of_the_newer_version_swaps_too(void **state)
{
    (void)state;
    (void)start_service("1");
    endpoint = bus_endpoint(&bus, "client");
    assert_int_equal(parley_client_new(endpoint, &ware__v2__store__interface, NULL, &client),
                     PARLEY_OK);
    Ware__V2__Ware request = WARE__V2__WARE__INIT;
    request.title = (char *)(uintptr_t) "x";
    request.milligrams = 7000;
    for (int i = 0, mended = 0; mended < 100; i++) {
        Ware__V2__Ware *reply;
        assert_int_equal(ware__v2__store__weigh_call(client, &request, &reply, NULL), PARLEY_OK);
        assert_int_equal(reply->milligrams, 7000);
        bool new = strcmp(reply->title, "700 g") == 0;
        if (!new)
            assert_string_equal(reply->title, "7 g");
        assert_true(new || mended == 0); /* never back */
        mended += new;
        parley_reply_free(reply);
        if (i == 100)
            bus_schema_put(&bus, WARE_SETS "/ware_v2_mended.binpb", "ware.binpb");
        assert_true(i < 1000000);
    }
}

static void test_calls_go_on_over_the_death_of_an_instance_in_a_swap(void **state)
{
    (void)state;
    (void)start_service("2");
    pid_t stuck = bus_fork(&bus, serve, (void *)(uintptr_t) "2");
    connect_client(2);
    load_until(0, 500);
    /* It cannot say that it has taken the plan: the others' clients wait, and go on meanwhile. */
    while (load.in_flight > 0)
        parley_dispatch(endpoint, 1000000000);
    kill(stuck, SIGSTOP);
    bus_schema_put(&bus, WARE_SETS "/ware_v2_mended.binpb", "ware.binpb");
    assert_true(bus_log_has(&bus, "ware 2.0.0 is known from the folder"));
    kill(stuck, SIGKILL);
    for (int i = 0; i < 5000 && parley_client_channel_count(client) > 1; i++)
        parley_dispatch(endpoint, 2000000);
    load_until(1, 2000);
    load_end();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        TEST(test_a_file_changes_the_rules_under_load),
        TEST(test_every_instance_and_every_client_swaps),
        TEST(test_rules_that_do_not_compile_leave_the_old_plans_in_force),
        TEST(test_a_file_that_leaves_gives_the_published_rules_back),
        TEST(test_an_instance_that_publishes_other_rules_changes_them),
        TEST(test_a_client_of_the_newer_version_swaps_too),
        TEST(test_calls_go_on_over_the_death_of_an_instance_in_a_swap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
