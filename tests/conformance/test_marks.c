/*
 * The mark that travels: what a caller says of a call gets to the last of four services in four
 * processes, each behind another version than its caller was built against. Run once for each wait
 * backend.
 *
 *     test --echo--> first --ware 1--> second --ware 1 as 2--> third --ware 2 as 3--> fourth
 *
 * The fourth answers with what it saw of the metadata whose keys the title names.
 */
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/caller.h"
#include "support/echoes.h"
#include "ware_v1.parley.h"
#include "ware_v2.parley.h"
#include "ware_v3.parley.h"

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static struct caller caller;
static struct parley_endpoint *served;
static struct parley_client *next; /* of the chain */

static int run(enum parley_status status)
{
    if (status != PARLEY_OK) {
        fprintf(stderr, "a service of the chain: %s\n", parley_error_text());
        return 2;
    }
    return bus_serve(served, NULL);
}

static const struct parley_client_options *accepting(const char *range)
{
    static struct parley_client_options options = {.wait_ns = UINT64_C(20000000000)};
    options.accept = range;
    return &options;
}

static void answer_failed(const struct parley_call *call)
{
    parley_context_fail(parley_context_current(), call->status, call->error);
}

/* ---- The fourth ---- */

static void fourth__weigh(Ware__V3__Store_Service *service, const Ware__V3__Ware *input,
                          Ware__V3__Ware_Closure closure, void *data)
{
    (void)service;
    size_t bytes = 0;
    const char *value = parley_context_metadata(parley_context_current(), input->label, &bytes);
    Ware__V3__Ware reply = WARE__V3__WARE__INIT;
    char *text = malloc(bytes + 2);
    (void)sprintf(text, "%.*s", value ? (int)bytes : 1, value ? value : "-");
    reply.label = text;
    closure(&reply, data);
    free(text);
}

static int serve_fourth(struct bus *bus, void *argument)
{
    static Ware__V3__Store_Service fourth = WARE__V3__STORE__INIT(fourth__);
    struct parley_service *service;
    (void)argument;
    served = bus_endpoint(bus, "fourth");
    return run(ware__v3__store__serve(served, &fourth, NULL, &service));
}

/* ---- Those between ---- */

static void third__weigh(Ware__V2__Store_Service *service, const Ware__V2__Ware *input,
                         Ware__V2__Ware_Closure closure, void *data)
{
    (void)service;
    struct parley_call call = {0};
    Ware__V2__Ware *reply = NULL;
    if (ware__v2__store__weigh_call(next, input, &reply, &call) != PARLEY_OK)
        answer_failed(&call);
    closure(reply, data);
    parley_reply_free(reply);
}

static int serve_third(struct bus *bus, void *argument)
{
    static Ware__V2__Store_Service third = WARE__V2__STORE__INIT(third__);
    struct parley_service *service;
    (void)argument;
    served = bus_endpoint(bus, "third");
    enum parley_status status = ware__v2__store__connect(served, accepting("~3"), &next);
    return run(status == PARLEY_OK ? ware__v2__store__serve(served, &third, NULL, &service)
                                   : status);
}

static void second__weigh(Ware__V1__Store_Service *service, const Ware__V1__Ware *input,
                          Ware__V1__Ware_Closure closure, void *data)
{
    (void)service;
    const struct parley_metadata own[] = {{"gray.second", "here", 4}, {"private", "second", 6}};
    struct parley_call call = {.metadata = own, .metadata_count = 2};
    Ware__V1__Ware *reply = NULL;
    if (ware__v1__store__weigh_call(next, input, &reply, &call) != PARLEY_OK)
        answer_failed(&call);
    closure(reply, data);
    parley_reply_free(reply);
}

static void second__count(Ware__V1__Store_Service *service, const Ware__V1__Ware *input,
                          Ware__V1__Ware_Closure closure, void *data)
{
    (void)service;
    closure(input, data);
}

static int serve_second(struct bus *bus, void *argument)
{
    static Ware__V1__Store_Service second = WARE__V1__STORE__INIT(second__);
    struct parley_service *service;
    (void)argument;
    served = bus_endpoint(bus, "second");
    enum parley_status status = ware__v1__store__connect(served, accepting("~2"), &next);
    return run(status == PARLEY_OK ? ware__v1__store__serve(served, &second, NULL, &service)
                                   : status);
}

static void first__context(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                           Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    struct parley_call call = {0};
    Ware__V1__Ware request = WARE__V1__WARE__INIT, *ware = NULL;
    Echo__V1__Message reply = ECHO__V1__MESSAGE__INIT;
    request.name = input->text;
    if (ware__v1__store__weigh_call(next, &request, &ware, &call) == PARLEY_OK)
        reply.text = ware->name;
    else
        answer_failed(&call);
    closure(ware ? &reply : NULL, data);
    parley_reply_free(ware);
}

static int serve_first(struct bus *bus, void *argument)
{
    static Echo__V1__Echo_Service first = ECHO_SERVICE(.context = first__context);
    struct parley_service *service;
    (void)argument;
    served = bus_endpoint(bus, "first");
    enum parley_status status = ware__v1__store__connect(served, accepting("~1"), &next);
    return run(status == PARLEY_OK ? echo__v1__echo__serve(served, &first, NULL, &service)
                                   : status);
}

/* ---- The test ---- */

static pid_t third_pid;

static int setup(void **state)
{
    (void)state;
    bus_start(&caller.bus);
    bus_fork(&caller.bus, serve_fourth, NULL); /* who calls a version finds it there */
    assert_true(bus_log_has(&caller.bus, "ware 3.0.0 of fourth"));
    third_pid = bus_fork(&caller.bus, serve_third, NULL);
    assert_true(bus_log_has(&caller.bus, "ware 2.0.0 of third"));
    bus_fork(&caller.bus, serve_second, NULL);
    assert_true(bus_log_has(&caller.bus, "ware 1.0.0 of second"));
    bus_fork(&caller.bus, serve_first, NULL);
    caller.endpoint = bus_endpoint(&caller.bus, "test");
    assert_int_equal(echo__v1__echo__connect(caller.endpoint, accepting(NULL), &caller.client),
                     PARLEY_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    caller_end(&caller);
    return 0;
}

/* What the fourth sees of @key. */
static const char *seen(const struct parley_metadata *pairs, size_t count, const char *key)
{
    static char text[16384];
    struct parley_call call = {.metadata = pairs, .metadata_count = count};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    request.text = (char *)(uintptr_t)key;
    if (echo__v1__echo__context_call(caller.client, &request, &reply, &call) != PARLEY_OK)
        fail_msg("%s", call.error);
    (void)snprintf(text, sizeof(text), "%s", reply->text);
    parley_reply_free(reply);
    return text;
}

static void test_marks_get_to_the_last_of_four_services(void **state)
{
    (void)state;
    const struct parley_metadata pairs[] = {
        {"gray.version", "2", 1},   {"gray.user.id", "ada", 3},
        {"gray.region", "eu", 2},   {"traceparent", TRACE, sizeof(TRACE) - 1},
        {"tenant", "acme", 4},      {"tracestate", "a=1, b=2", 8},
        {"baggage", "plan=pro", 8}, {"private", "test", 4}};
    assert_string_equal(seen(pairs, 8, "gray.version"), "2");
    assert_string_equal(seen(pairs, 8, "gray.user.id"), "ada");
    assert_string_equal(seen(pairs, 8, "gray.region"), "eu");
    assert_string_equal(seen(pairs, 8, "tenant"), "acme");
    assert_string_equal(seen(pairs, 8, "tracestate"), "a=1,b=2");
    assert_string_equal(seen(pairs, 8, "baggage"), "plan=pro");
    assert_memory_equal(seen(pairs, 8, "traceparent"), TRACE, 35); /* the trace, if not the span */
    assert_string_equal(seen(pairs, 8, "gray.second"), "here");    /* set on the way */
    assert_string_equal(seen(pairs, 8, "private"), "-");           /* of one call only */
    assert_string_equal(seen(NULL, 0, "gray.version"), "-");
}

static void test_the_largest_baggage_gets_there_and_no_larger(void **state)
{
    (void)state;
    static char text[8193];
    struct parley_metadata pair = {"baggage", text, 8192};
    memset(text, 'v', sizeof(text));
    memcpy(text, "k=", 2);
    assert_int_equal(strlen(seen(&pair, 1, "baggage")), 8192);
    memcpy(text, "a=1,k=", 6);
    memcpy(text + 8000, ",b=", 3); /* as many bytes in three members */
    assert_int_equal(strlen(seen(&pair, 1, "baggage")), 8192);
    pair.value_bytes++;
    struct parley_call call = {.metadata = &pair, .metadata_count = 1};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    assert_int_equal(echo__v1__echo__context_call(caller.client, &request, &reply, &call),
                     PARLEY_INVALID_ARGUMENT);
}

static void test_what_is_malformed_does_not_travel(void **state)
{
    (void)state;
    const struct parley_metadata bad[] = {
        {"traceparent", "00-trace", 8}, {"tracestate", "a=1", 3}, {"baggage", "x,good=1,=y", 11}};
    assert_string_equal(seen(bad, 3, "tracestate"), "-");
    assert_string_equal(seen(bad, 3, "baggage"), "good=1");
    assert_string_not_equal(seen(bad, 3, "traceparent"), "00-trace");
}

static void test_nobody_can_claim_to_be_another(void **state)
{
    (void)state;
    static const char *const keys[] = {"parley.peer.uid", "parley.peer.pid", "parley.anything"};
    char expected[32];
    for (size_t i = 0; i < 3; i++) {
        const struct parley_metadata pair = {keys[i], "12345", 5};
        struct parley_call call = {.metadata = &pair, .metadata_count = 1};
        Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
        assert_int_equal(echo__v1__echo__context_call(caller.client, &request, &reply, &call),
                         PARLEY_INVALID_ARGUMENT);
    }
    (void)snprintf(expected, sizeof(expected), "%u", geteuid());
    assert_string_equal(seen(NULL, 0, "parley.peer.uid"), expected);
    (void)snprintf(expected, sizeof(expected), "%u", getegid());
    assert_string_equal(seen(NULL, 0, "parley.peer.gid"), expected);
    (void)snprintf(expected, sizeof(expected), "%d", (int)third_pid); /* whoever calls it */
    assert_string_equal(seen(NULL, 0, "parley.peer.pid"), expected);
    assert_string_equal(seen(NULL, 0, "parley.anything"), "-");
}

#define marks_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        marks_test(test_marks_get_to_the_last_of_four_services),
        marks_test(test_the_largest_baggage_gets_there_and_no_larger),
        marks_test(test_what_is_malformed_does_not_travel),
        marks_test(test_nobody_can_claim_to_be_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
