/*
 * Versions between real processes: what was negotiated, calls that ask for a version, paths over
 * versions that nobody serves.
 */
#include "support/test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/bus.h"
#include "ware_v1.parley.h"
#include "ware_v2.parley.h"
#include "ware_v3.parley.h"

static struct bus bus;
static struct parley_endpoint *endpoint;
static struct parley_client *client;

/* ---- The services: each answers with what it was asked ---- */

static void v1__weigh(Ware__V1__Store_Service *service, const Ware__V1__Ware *input,
                      Ware__V1__Ware_Closure closure, void *data)
{
    (void)service;
    closure(input, data);
}

static void v1__count(Ware__V1__Store_Service *service, const Ware__V1__Ware *input,
                      Ware__V1__Ware_Closure closure, void *data)
{
    (void)service;
    closure(input, data);
}

static void v2__weigh(Ware__V2__Store_Service *service, const Ware__V2__Ware *input,
                      Ware__V2__Ware_Closure closure, void *data)
{
    (void)service;
    closure(input, data);
}

/* Its label says what it saw. */
static void v3__weigh(Ware__V3__Store_Service *service, const Ware__V3__Ware *input,
                      Ware__V3__Ware_Closure closure, void *data)
{
    (void)service;
    Ware__V3__Ware reply = *input;
    char label[64];
    static char sent[sizeof(label)]; /* what the last one of more than a ton was */
    (void)snprintf(label, sizeof(label), "%s: %llu mg", input->label,
                   (unsigned long long)input->milligrams);
    reply.label = input->milligrams == 0 ? sent : label;
    if (input->milligrams > 1000000000)
        memcpy(sent, label, sizeof(sent));
    closure(&reply, data);
}

/* @argument: "1", "2" or "3" */
static int serve(struct bus *b, void *argument)
{
    static Ware__V1__Store_Service v1 = WARE__V1__STORE__INIT(v1__);
    static Ware__V2__Store_Service v2 = WARE__V2__STORE__INIT(v2__);
    static Ware__V3__Store_Service v3 = WARE__V3__STORE__INIT(v3__);
    char version = *(const char *)argument;
    struct parley_endpoint *served = bus_endpoint(b, argument);
    struct parley_service *published;
    enum parley_status status =
        version == '1'
            ? parley_service_new(served, &ware__v1__store__interface, &v1.base, NULL, &published)
        : version == '2'
            ? parley_service_new(served, &ware__v2__store__interface, &v2.base, NULL, &published)
            : parley_service_new(served, &ware__v3__store__interface, &v3.base, NULL, &published);
    return status == PARLEY_OK ? bus_serve(served, NULL) : 2;
}

static pid_t start_service(const char *version)
{
    char text[96];
    pid_t pid = bus_fork(&bus, serve, (void *)(uintptr_t)version);
    (void)snprintf(text, sizeof(text), "ware %s.0.0 of %s", version, version);
    assert_true(bus_log_has(&bus, text));
    return pid;
}

/* ---- The client, of version 1 ---- */

static void connect_client(const char *accept, size_t channels)
{
    const struct parley_client_options options = {.accept = accept};
    if (!endpoint)
        endpoint = bus_endpoint(&bus, "client");
    enum parley_status status =
        parley_client_new(endpoint, &ware__v1__store__interface, &options, &client);
    if (status != PARLEY_OK)
        fail_msg("%s", parley_error_text());
    for (int i = 0; i < 5000 && parley_client_channel_count(client) < channels; i++)
        parley_dispatch(endpoint, 2000000);
    assert_int_equal(parley_client_channel_count(client), channels);
}

/* Return: the reply's name; static. */
static const char *weigh(struct parley_call *call, uint32_t grams)
{
    static char name[64];
    Ware__V1__Ware request = WARE__V1__WARE__INIT;
    request.name = (char *)(uintptr_t) "bolt";
    request.grams = grams;
    Ware__V1__Ware *reply = NULL;
    name[0] = '\0';
    if (ware__v1__store__weigh_call(client, &request, &reply, call) == PARLEY_OK) {
        assert_int_equal(reply->grams, grams);
        (void)snprintf(name, sizeof(name), "%s", reply->name);
        parley_reply_free(reply);
    }
    return name;
}

static int begin(void **state)
{
    (void)state;
    bus_start_with_schemas(&bus);
    return 0;
}

static int end(void **state)
{
    (void)state;
    endpoint = parley_endpoint_free(endpoint);
    client = NULL;
    bus_stop(&bus);
    return 0;
}

/* ---- What was negotiated ---- */

static void test_a_client_is_told_what_is_on_offer(void **state)
{
    (void)state;
    struct parley_offer offers[PARLEY_OFFER_MAX];
    start_service("1");
    start_service("2");
    connect_client(NULL, 2);
    assert_int_equal(parley_client_offers(client, offers, PARLEY_OFFER_MAX), 2);
    assert_string_equal(offers[0].version, "2.0.0");
    assert_int_not_equal(offers[0].translation, PARLEY_IDENTITY);
    assert_int_equal(offers[0].channels, 1);
    assert_string_equal(offers[1].version, "1.0.0");
    assert_int_equal(offers[1].translation, PARLEY_IDENTITY);
    assert_int_equal(offers[1].channels, 1);

    parley_client_free(client);
    connect_client("~1, ~2", 2); /* its order, not ours */
    assert_int_equal(parley_client_offers(client, offers, 1), 2);
    assert_string_equal(offers[0].version, "1.0.0");
}

static void test_a_version_that_joins_is_put_where_it_belongs(void **state)
{
    (void)state;
    struct parley_offer offers[PARLEY_OFFER_MAX];
    start_service("1");
    connect_client(NULL, 1);
    assert_int_equal(parley_client_offers(client, offers, PARLEY_OFFER_MAX), 1);
    start_service("2");
    for (int i = 0; i < 5000 && parley_client_channel_count(client) < 2; i++)
        parley_dispatch(endpoint, 2000000);
    assert_int_equal(parley_client_offers(client, offers, PARLEY_OFFER_MAX), 2);
    assert_string_equal(offers[0].version, "2.0.0");
    assert_string_equal(offers[1].version, "1.0.0");
}

static bool has_channels(void *argument)
{
    return parley_client_channel_count(client) == *(const size_t *)argument;
}

static void test_a_version_that_has_left_and_comes_back_is_called_again(void **state)
{
    (void)state;
    size_t one = 1, two = 2;
    start_service("1");
    pid_t second = start_service("2");
    connect_client(NULL, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_return_code(kill(second, SIGTERM), errno);
        assert_int_equal(bus_reap(&bus, second), 0);
        assert_true(bus_wait(endpoint, has_channels, &one));
        second = start_service("2");
        assert_true(bus_wait(endpoint, has_channels, &two));
        struct parley_call call = {.accept = "2"};
        assert_string_equal(weigh(&call, 7), "bolt");
        assert_string_equal(call.version, "2.0.0");
    }
}

/* ---- One call's own range ---- */

static void test_a_call_is_served_by_the_version_that_it_asks_for(void **state)
{
    (void)state;
    start_service("1"); /* the first: it has all the weight */
    start_service("2");
    connect_client(NULL, 2);
    static const char *const ranges[] = {NULL, "2", "1", "~9, ~2, ~1", "~9, ~1, ~2", "1 || 2", ""};
    static const char *const served_by[] = {"1.0.0", "2.0.0", "1.0.0", "2.0.0",
                                            "1.0.0", "1.0.0", "1.0.0"};
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        struct parley_call call = {.accept = ranges[i]};
        assert_string_equal(weigh(&call, 7), "bolt");
        assert_string_equal(call.version, served_by[i]);
        bool second = call.version[0] == '2';
        assert_int_equal(call.translated, second);
        assert_int_equal(call.translation != PARLEY_IDENTITY, second);
    }
}

static void test_a_call_out_of_range_ends_at_once_with_what_is_on_offer(void **state)
{
    (void)state;
    start_service("1");
    start_service("2");
    connect_client(NULL, 2);
    struct parley_call call = {.accept = ">=3", .timeout_ns = PARLEY_FOREVER};
    assert_string_equal(weigh(&call, 7), "");
    assert_int_equal(call.status, PARLEY_FAILED_PRECONDITION);
    assert_int_equal(call.executed, PARLEY_EXECUTED_NO);
    assert_int_equal(call.attempts, 0);
    assert_string_equal(call.version, "");
    assert_non_null(strstr(call.error, "on offer: 2.0.0, 1.0.0"));
    assert_non_null(strstr(parley_error_text(), "on offer: 2.0.0, 1.0.0"));
}

static void test_a_call_never_leaves_what_the_client_accepts(void **state)
{
    (void)state;
    start_service("1");
    start_service("2");
    connect_client("~1", 1);
    struct parley_call call = {.accept = "2"};
    assert_string_equal(weigh(&call, 7), "");
    assert_int_equal(call.status, PARLEY_FAILED_PRECONDITION);
    assert_non_null(strstr(call.error, "on offer: 1.0.0"));
}

static void test_a_range_that_is_none_is_refused(void **state)
{
    (void)state;
    start_service("1");
    connect_client(NULL, 1);
    struct parley_call call = {.accept = "newest"};
    assert_string_equal(weigh(&call, 7), "");
    assert_int_equal(call.status, PARLEY_INVALID_ARGUMENT);
    assert_non_null(strstr(call.error, "newest"));
}

static void count_end(const ProtobufCMessage *reply, void *data)
{
    const struct parley_call *call = parley_call_current();
    assert_null(reply);
    assert_int_equal(call->status, PARLEY_FAILED_PRECONDITION);
    (*(unsigned *)data)++;
}

static void test_an_asynchronous_call_out_of_range_ends_once(void **state)
{
    (void)state;
    unsigned ended = 0;
    start_service("1");
    connect_client(NULL, 1);
    const struct parley_call call = {.accept = "2"};
    Ware__V1__Ware request = WARE__V1__WARE__INIT;
    parley_client_start(client, 0, &request.base, &call, count_end, &ended);
    for (int i = 0; i < 5; i++)
        parley_dispatch(endpoint, 0);
    assert_int_equal(ended, 1);
}

/* ---- Methods that a version does not have ---- */

static void test_a_missing_method_is_served_by_the_versions_that_have_it(void **state)
{
    (void)state;
    start_service("2"); /* all the weight, and no Count */
    start_service("1");
    connect_client(NULL, 2);
    for (int i = 0; i < 20; i++) {
        Ware__V1__Ware request = WARE__V1__WARE__INIT;
        Ware__V1__Ware *reply;
        struct parley_call call = {0};
        assert_int_equal(ware__v1__store__count_call(client, &request, &reply, &call), PARLEY_OK);
        assert_string_equal(call.version, "1.0.0");
        parley_reply_free(reply);
    }
    struct parley_call call = {0};
    assert_string_equal(weigh(&call, 7), "bolt");
    assert_string_equal(call.version, "2.0.0"); /* as the weights say */
}

static void test_a_method_that_no_version_has_ends_at_once(void **state)
{
    (void)state;
    start_service("2");
    connect_client(NULL, 1);
    Ware__V1__Ware request = WARE__V1__WARE__INIT;
    Ware__V1__Ware *reply;
    struct parley_call call = {.timeout_ns = PARLEY_FOREVER};
    assert_int_equal(ware__v1__store__count_call(client, &request, &reply, &call),
                     PARLEY_UNIMPLEMENTED);
    assert_int_equal(call.executed, PARLEY_EXECUTED_NO);
    assert_int_equal(call.attempts, bus.url[0] ? 1 : 0); /* by NNG, the broker says so */
    assert_non_null(strstr(call.error, "ware/Count: no version on offer has this method; on offer: "
                                       "2.0.0"));
}

/* ---- Paths ---- */

static void test_versions_meet_over_one_that_nobody_serves(void **state)
{
    (void)state;
    start_service("3");
    const struct parley_client_options options = {.wait_ns = 1000000000};
    endpoint = bus_endpoint(&bus, "client");
    assert_int_equal(parley_client_new(endpoint, &ware__v1__store__interface, &options, &client),
                     PARLEY_FAILED_PRECONDITION);
    assert_non_null(strstr(parley_error_text(), "leads over ware.v2"));
    assert_non_null(strstr(parley_error_text(), "--schemas"));

    bus_schema_put(&bus, WARE_SETS "/ware_v2.binpb", "ware_v2.binpb");
    assert_true(bus_log_has(&bus, "ware 2.0.0 is known from the folder"));
    connect_client(NULL, 1);
    struct parley_call call = {0};
    assert_string_equal(weigh(&call, 7), "bolt: 7000 mg");
    assert_string_equal(call.version, "3.0.0");
    assert_true(call.translated);
}

static void test_a_one_way_call_is_translated(void **state)
{
    (void)state;
    start_service("2");
    start_service("3");
    connect_client("~3", 1);
    Ware__V1__Ware request = WARE__V1__WARE__INIT;
    request.name = (char *)(uintptr_t) "anvil";
    request.grams = 2000000;
    struct parley_call call = {0};
    assert_int_equal(parley_client_send(client, 0, &request.base, &call), PARLEY_OK);
    if (!bus.url[0]) /* by NNG, only an answer would say so */
        assert_true(call.translated);
    assert_string_equal(call.version, "3.0.0");
    assert_string_equal(weigh(NULL, 0), "anvil: 2000000000 mg");
}

static void test_a_refused_contract_opens_when_the_way_becomes_known(void **state)
{
    (void)state;
    start_service("1");
    start_service("3");
    connect_client(NULL, 1); /* version 1 alone */
    bus_schema_put(&bus, WARE_SETS "/ware_v2.binpb", "ware_v2.binpb");
    for (int i = 0; i < 5000 && parley_client_channel_count(client) < 2; i++)
        parley_dispatch(endpoint, 2000000);
    struct parley_call call = {.accept = "3"};
    assert_string_equal(weigh(&call, 7), "bolt: 7000 mg");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        TEST(test_a_client_is_told_what_is_on_offer),
        TEST(test_a_version_that_joins_is_put_where_it_belongs),
        TEST(test_a_version_that_has_left_and_comes_back_is_called_again),
        TEST(test_a_call_is_served_by_the_version_that_it_asks_for),
        TEST(test_a_call_out_of_range_ends_at_once_with_what_is_on_offer),
        TEST(test_a_call_never_leaves_what_the_client_accepts),
        TEST(test_a_range_that_is_none_is_refused),
        TEST(test_an_asynchronous_call_out_of_range_ends_once),
        TEST(test_a_missing_method_is_served_by_the_versions_that_have_it),
        TEST(test_a_method_that_no_version_has_ends_at_once),
        TEST(test_versions_meet_over_one_that_nobody_serves),
        TEST(test_a_one_way_call_is_translated),
        TEST(test_a_refused_contract_opens_when_the_way_becomes_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
