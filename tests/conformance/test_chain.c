/*
 * Calls from inside handlers, over a chain of three services in three processes: what is left of
 * the time and what belongs to the whole chain get to its end. Run once for each wait backend.
 *
 *     test --echo.Context--> first --ware 1 Weigh--> second --ware 2 Weigh--> third
 *
 * The third answers with what it saw; or, if it is asked to weigh nothing, not until its caller
 * gives up.
 */
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/caller.h"
#include "support/echoes.h"
#include "ware_v1.parley.h"
#include "ware_v2.parley.h"

#define NS_PER_MS UINT64_C(1000000)
#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static struct caller caller;
static struct parley_endpoint *served;
static struct parley_client *next; /* of the chain */

static int failed(void)
{
    fprintf(stderr, "a service of the chain: %s\n", parley_error_text());
    return 2;
}

static const struct parley_client_options patient = {.wait_ns = UINT64_C(20000000000)};

/* ---- The third ---- */

static const char *metadata(const char *key, char text[64])
{
    size_t bytes = 0;
    const char *value = parley_context_metadata(parley_context_current(), key, &bytes);
    (void)snprintf(text, 64, "%.*s", value ? (int)bytes : 1, value ? value : "-");
    return text;
}

static unsigned given_up;

struct kept {
    Ware__V2__Ware_Closure closure;
    void *data;
};

static void caller_gave_up(struct parley_context *context, void *userdata)
{
    struct kept *kept = userdata;
    (void)context;
    given_up++;
    kept->closure(NULL, kept->data);
    free(kept);
}

static void third__weigh(Ware__V2__Store_Service *service, const Ware__V2__Ware *input,
                         Ware__V2__Ware_Closure closure, void *data)
{
    (void)service;
    char title[512], trace[64], baggage[64], user[64], private[64];
    Ware__V2__Ware reply = WARE__V2__WARE__INIT;
    if (input->milligrams == 0) {
        struct kept *kept = malloc(sizeof(*kept));
        *kept = (struct kept){closure, data};
        parley_context_on_cancel(parley_context_current(), caller_gave_up, kept);
        return;
    }
    uint64_t left_ms = parley_context_time_left_ns(parley_context_current()) / NS_PER_MS;
    (void)snprintf(title, sizeof(title), "%s %s %s %s %llu %u", metadata("traceparent", trace),
                   metadata("baggage", baggage), metadata("gray.user.id", user),
                   metadata("private", private), (unsigned long long)left_ms, given_up);
    reply.title = title;
    closure(&reply, data);
}

static int serve_third(struct bus *bus, void *argument)
{
    static Ware__V2__Store_Service third = WARE__V2__STORE__INIT(third__);
    struct parley_service *service;
    (void)argument;
    served = bus_endpoint(bus, "third");
    return ware__v2__store__serve(served, &third, NULL, &service) == PARLEY_OK
               ? bus_serve(served, NULL)
               : failed();
}

/* ---- The second: has a baggage of its own, and patience ---- */

static void second__weigh(Ware__V1__Store_Service *service, const Ware__V1__Ware *input,
                          Ware__V1__Ware_Closure closure, void *data)
{
    (void)service;
    const struct parley_metadata own[] = {{"baggage", "by=second", 9}};
    struct parley_call call = {
        .timeout_ns = 60000 * NS_PER_MS, .metadata = own, .metadata_count = 1};
    Ware__V2__Ware request = WARE__V2__WARE__INIT, *heavy = NULL;
    Ware__V1__Ware reply = WARE__V1__WARE__INIT;
    request.milligrams = input->grams;
    if (ware__v2__store__weigh_call(next, &request, &heavy, &call) != PARLEY_OK) {
        parley_context_fail(parley_context_current(), call.status, call.error);
        closure(NULL, data);
        return;
    }
    reply.name = heavy->title;
    closure(&reply, data);
    parley_reply_free(heavy);
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
    struct parley_client_options options = patient;
    struct parley_service *service;
    (void)argument;
    options.accept = "~2";
    served = bus_endpoint(bus, "second");
    /* In this order: who is served while we connect has its handler run, which needs @next. */
    if (ware__v2__store__connect(served, &options, &next) != PARLEY_OK ||
        ware__v1__store__serve(served, &second, NULL, &service) != PARLEY_OK)
        return failed();
    return bus_serve(served, NULL);
}

/* ---- The first ---- */

enum how { WAITING, DETACHED, LATER };

struct pending {
    struct parley_context *context;
    Echo__V1__Message_Closure closure;
    void *data;
    uint32_t grams;
};

static void first_answer(const Ware__V1__Ware *ware, void *userdata)
{
    struct pending *pending = userdata;
    const struct parley_call *call = parley_call_current();
    Echo__V1__Message reply = ECHO__V1__MESSAGE__INIT;
    if (ware)
        reply.text = ware->name;
    else
        parley_context_fail(pending->context, call->status, call->error);
    pending->closure(ware ? &reply : NULL, pending->data);
    free(pending);
}

/* Outside of the handler: nothing is current. */
static void first_goes_on(const Ware__V1__Ware *counted, void *userdata)
{
    struct pending *pending = userdata;
    (void)counted;
    const struct parley_call call = {.parent = pending->context, .timeout_ns = 30000 * NS_PER_MS};
    Ware__V1__Ware request = WARE__V1__WARE__INIT;
    request.grams = pending->grams;
    parley_client_start(next, 0, &request.base, &call, (ProtobufCClosure)first_answer, pending);
}

static void first__context(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                           Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    const struct parley_metadata own[] = {{"private", "first", 5}};
    struct parley_call call = {.timeout_ns = 30000 * NS_PER_MS,
                               .metadata = own,
                               .metadata_count = 1,
                               .detached = input->number == DETACHED};
    Ware__V1__Ware request = WARE__V1__WARE__INIT, *ware = NULL;
    struct pending *pending = malloc(sizeof(*pending));
    *pending =
        (struct pending){parley_context_current(), closure, data, (uint32_t)input->payload.len};
    request.grams = pending->grams;
    if (input->number == LATER) {
        parley_client_start(next, 1, &request.base, NULL, (ProtobufCClosure)first_goes_on, pending);
        return;
    }
    Echo__V1__Message reply = ECHO__V1__MESSAGE__INIT;
    if (ware__v1__store__weigh_call(next, &request, &ware, &call) == PARLEY_OK)
        reply.text = ware->name;
    else
        parley_context_fail(pending->context, call.status, call.error);
    closure(ware ? &reply : NULL, data);
    parley_reply_free(ware);
    free(pending);
}

static int serve_first(struct bus *bus, void *argument)
{
    static Echo__V1__Echo_Service first = ECHO_SERVICE(.context = first__context);
    struct parley_client_options options = patient;
    struct parley_service *service;
    (void)argument;
    options.accept = "~1";
    served = bus_endpoint(bus, "first");
    if (ware__v1__store__connect(served, &options, &next) != PARLEY_OK ||
        echo__v1__echo__serve(served, &first, NULL, &service) != PARLEY_OK)
        return failed();
    return bus_serve(served, NULL);
}

/* ---- The test ---- */

static int setup(void **state)
{
    (void)state;
    bus_start(&caller.bus);
    bus_fork(&caller.bus, serve_third, NULL); /* who calls a version finds it there */
    assert_true(bus_log_has(&caller.bus, "ware 2.0.0 of third"));
    bus_fork(&caller.bus, serve_second, NULL);
    assert_true(bus_log_has(&caller.bus, "ware 1.0.0 of second"));
    bus_fork(&caller.bus, serve_first, NULL);
    caller.endpoint = bus_endpoint(&caller.bus, "test");
    assert_int_equal(echo__v1__echo__connect(caller.endpoint, &patient, &caller.client), PARLEY_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    caller_end(&caller);
    return 0;
}

struct seen {
    enum parley_status status;
    char trace[64], baggage[64], user[64], private[64];
    unsigned long long left_ms;
    unsigned given_up; /* by callers of the third */
};

static struct seen ask(enum how how, size_t grams, uint64_t timeout_ms)
{
    const struct parley_metadata pairs[] = {{"traceparent", TRACE, sizeof(TRACE) - 1},
                                            {"baggage", "by=test", 7},
                                            {"gray.user.id", "ada", 3},
                                            {"private", "test", 4}};
    struct parley_call call = {
        .timeout_ns = timeout_ms * NS_PER_MS, .metadata = pairs, .metadata_count = 4};
    static uint8_t payload[8];
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    struct seen seen = {0};
    request.number = how;
    request.payload.data = payload;
    request.payload.len = grams;
    seen.status = echo__v1__echo__context_call(caller.client, &request, &reply, &call);
    if (seen.status != PARLEY_OK)
        return seen;
    assert_int_equal(sscanf(reply->text, "%63s %63s %63s %63s %llu %u", seen.trace, seen.baggage,
                            seen.user, seen.private, &seen.left_ms, &seen.given_up),
                     6);
    parley_reply_free(reply);
    return seen;
}

static void test_time_left_and_metadata_get_to_the_end_of_the_chain(void **state)
{
    (void)state;
    struct seen seen = ask(WAITING, 1, 20000);
    assert_int_equal(seen.status, PARLEY_OK);
    assert_string_equal(seen.trace, TRACE);
    assert_string_equal(seen.baggage, "by=second"); /* whose own it is */
    assert_string_equal(seen.user, "ada");
    assert_string_equal(seen.private, "-");
    assert_true(seen.left_ms < 20000);
}

static void test_a_detached_call_inherits_nothing(void **state)
{
    (void)state;
    struct seen seen = ask(DETACHED, 1, 10000);
    assert_int_equal(seen.status, PARLEY_OK);
    assert_string_equal(seen.trace, "-");
    assert_string_equal(seen.baggage, "by=second");
    assert_string_equal(seen.user, "-");
    assert_true(seen.left_ms > 10000);
    assert_true(seen.left_ms <= 30000);
}

static void test_a_handler_that_goes_on_later_says_for_which_call(void **state)
{
    (void)state;
    struct seen seen = ask(LATER, 1, 20000);
    assert_int_equal(seen.status, PARLEY_OK);
    assert_string_equal(seen.trace, TRACE);
    assert_string_equal(seen.user, "ada");
    assert_true(seen.left_ms < 20000);
}

/* The second waits for a minute if it is let: then the next call would find it busy. */
static void test_no_handler_waits_longer_than_its_caller(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask(WAITING, 0, 50).status, PARLEY_DEADLINE_EXCEEDED);
        assert_int_equal(ask(LATER, 0, 50).status, PARLEY_DEADLINE_EXCEEDED);
    }
    assert_int_equal(ask(WAITING, 1, 20000).status, PARLEY_OK);
}

/* The first would wait for half a minute, and so hold up the call that comes after it. */
static void test_a_cancel_goes_down_the_chain(void **state)
{
    (void)state;
    const struct parley_call call = {.timeout_ns = PARLEY_FOREVER};
    struct seen seen = {0};
    for (unsigned i = 1; i <= 5 || (i < 1000 && seen.given_up == 0); i++) {
        struct tally tally = {0};
        uint64_t id = caller_start(&caller, METHOD_CONTEXT, NULL, &call, &tally);
        /* It has come to the third by then, or only to the first: any will do. */
        for (unsigned turns = 0; turns < 2 * i; turns++)
            assert_int_equal(parley_dispatch(caller.endpoint, 1000000), PARLEY_OK);
        assert_int_equal(parley_client_cancel(caller.client, id), PARLEY_OK);
        assert_int_equal(tally.status, PARLEY_CANCELLED);
        seen = ask(WAITING, 1, 20000);
        assert_int_equal(seen.status, PARLEY_OK);
    }
    assert_true(seen.given_up > 0); /* and now and then it got to the end */
}

#define chain_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        chain_test(test_time_left_and_metadata_get_to_the_end_of_the_chain),
        chain_test(test_a_detached_call_inherits_nothing),
        chain_test(test_a_handler_that_goes_on_later_says_for_which_call),
        chain_test(test_no_handler_waits_longer_than_its_caller),
        chain_test(test_a_cancel_goes_down_the_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
