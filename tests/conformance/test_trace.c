/*
 * Traces over a chain of processes: who is sampled, whose child each span is, and what a handler
 * sees. Run once for each wait backend.
 *
 *     test --echo.Context--> first --ware 1 Weigh--> second, which serves ware 2 only
 *
 * The second answers with the metadata that it saw.
 */
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rpc/internal.h"
#include "support/caller.h"
#include "support/echoes.h"
#include "support/tracing.h"
#include "ware_v1.parley.h"
#include "ware_v2.parley.h"

#define TRACE_ID "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN_ID "00f067aa0ba902b7"

static struct caller caller;
static struct parley_endpoint *served;
static struct parley_client *next;
static uint64_t seen_spans; /* number of the first that a test has not seen */

static const struct parley_client_options patient = {.wait_ns = UINT64_C(20000000000)};

/* ---- The second ---- */

static void second__weigh(Ware__V2__Store_Service *service, const Ware__V2__Ware *input,
                          Ware__V2__Ware_Closure closure, void *data)
{
    (void)service;
    static const char *const keys[] = {"traceparent", "tracestate"};
    char title[256] = "";
    if (input->milligrams == 0) {
        parley_context_fail(parley_context_current(), PARLEY_NOT_FOUND, "weighs nothing");
        closure(NULL, data);
        return;
    }
    for (size_t i = 0; i < 2; i++) {
        size_t bytes = 0, used = strlen(title);
        const char *value = parley_context_metadata(parley_context_current(), keys[i], &bytes);
        (void)snprintf(title + used, sizeof(title) - used, "%.*s ", value ? (int)bytes : 1,
                       value ? value : "-");
    }
    Ware__V2__Ware reply = WARE__V2__WARE__INIT;
    reply.title = title;
    closure(&reply, data);
}

static int serve_second(struct bus *bus, void *argument)
{
    static Ware__V2__Store_Service second = WARE__V2__STORE__INIT(second__);
    struct parley_service *service;
    (void)argument;
    served = bus_endpoint(bus, "second");
    return ware__v2__store__serve(served, &second, NULL, &service) == PARLEY_OK
               ? bus_serve(served, NULL)
               : 2;
}

/* ---- The first ---- */

static void first__context(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                           Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    Ware__V1__Ware request = WARE__V1__WARE__INIT, *ware = NULL;
    struct parley_call call = {.detached = input->payload.len > 0};
    request.grams = input->number;
    Echo__V1__Message reply = ECHO__V1__MESSAGE__INIT;
    if (ware__v1__store__weigh_call(next, &request, &ware, &call) == PARLEY_OK)
        reply.text = ware->name;
    else
        parley_context_fail(parley_context_current(), call.status, call.error);
    closure(ware ? &reply : NULL, data);
    parley_reply_free(ware);
}

static int serve_first(struct bus *bus, void *argument)
{
    static Echo__V1__Echo_Service first =
        ECHO_SERVICE(.echo = echo_returned, .context = first__context);
    struct parley_service *service;
    (void)argument;
    served = bus_endpoint(bus, "first");
    if (ware__v1__store__connect(served, &patient, &next) != PARLEY_OK ||
        echo__v1__echo__serve(served, &first, NULL, &service) != PARLEY_OK)
        return 2;
    return bus_serve(served, NULL);
}

/* ---- The test ---- */

static int setup(void **state)
{
    (void)state;
    bus_start(&caller.bus);
    bus_fork(&caller.bus, serve_second, NULL);
    assert_true(bus_log_has(&caller.bus, "ware 2.0.0 of second"));
    bus_fork(&caller.bus, serve_first, NULL);
    caller.endpoint = bus_endpoint(&caller.bus, "test");
    assert_int_equal(echo__v1__echo__connect(caller.endpoint, &patient, &caller.client), PARLEY_OK);
    seen_spans = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    caller_end(&caller);
    return 0;
}

/* A call over the chain, of so many grams. @pairs: its metadata. What the second saw, if it
 * answers. */
static enum parley_status ask(uint32_t grams, bool detached, const struct parley_metadata *pairs,
                              size_t count, char seen[256])
{
    static uint8_t payload[1];
    struct parley_call call = {.metadata = pairs, .metadata_count = count};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    request.number = grams;
    request.payload.data = payload;
    request.payload.len = detached;
    enum parley_status status =
        echo__v1__echo__context_call(caller.client, &request, &reply, &call);
    if (status != PARLEY_OK)
        return status;
    if (seen)
        (void)snprintf(seen, 256, "%s", reply->text);
    parley_reply_free(reply);
    return status;
}

static bool same(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static const Parley__Span *find(const Parley__TraceReply *trace, const char *endpoint, bool service)
{
    for (size_t i = 0; i < trace->n_span; i++)
        if (strcmp(trace->span[i]->endpoint, endpoint) == 0 && trace->span[i]->service == service)
            return trace->span[i];
    fail_msg("%s has no span of that side", endpoint);
    return NULL;
}

static void assert_hex(const ProtobufCBinaryData *id, const char *text)
{
    char hex[33] = "";
    for (size_t i = 0; i < id->len && i < 16; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", id->data[i]);
    assert_string_equal(hex, text);
}

/* The four spans of one call over the chain, each the child of the one before. @reply: wire_free().
 */
static Parley__ControlReply *the_chain(const Parley__Span *ret_spans[4])
{
    Parley__ControlReply *reply = tracing_await(&caller.bus, seen_spans, 4);
    const Parley__TraceReply *trace = reply->trace;
    assert_int_equal(trace->n_span, 4);
    seen_spans = trace->next;
    ret_spans[0] = find(trace, "test", false);
    ret_spans[1] = find(trace, "first", true);
    ret_spans[2] = find(trace, "first", false);
    ret_spans[3] = find(trace, "second", true);
    for (size_t i = 1; i < 4; i++) {
        assert_true(same(&ret_spans[i]->trace_id, &ret_spans[0]->trace_id));
        assert_true(ret_spans[i]->has_parent_id);
        assert_true(same(&ret_spans[i]->parent_id, &ret_spans[i - 1]->span_id));
        assert_false(same(&ret_spans[i]->span_id, &ret_spans[i - 1]->span_id));
    }
    return reply;
}

/* Nothing was sampled: a marked call comes next, and its spans are all that there is. */
static void nothing_was_sampled(void)
{
    const struct parley_metadata mark[] = {{"gray.trace", "1", 1}};
    const Parley__Span *spans[4];
    assert_int_equal(ask(1, false, mark, 1, NULL), PARLEY_OK);
    wire_free(the_chain(spans));
}

static void test_spans_of_a_chain_are_each_the_child_of_the_one_before(void **state)
{
    (void)state;
    char seen[256];
    const Parley__Span *spans[4];
    tracing_set(&caller.bus, 100000);
    assert_int_equal(ask(1, false, NULL, 0, seen), PARLEY_OK);
    Parley__ControlReply *reply = the_chain(spans);
    assert_false(spans[0]->has_parent_id);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(spans[i]->interface, i < 2 ? "echo" : "ware");
        assert_string_equal(spans[i]->method, i < 2 ? "Context" : "Weigh");
        assert_string_equal(spans[i]->asked, "1.0.0");
        assert_string_equal(spans[i]->served, i < 2 ? "1.0.0" : "2.0.0");
        assert_int_equal(spans[i]->translation != 0, i >= 2);
        assert_int_equal(spans[i]->status, PARLEY_OK);
        assert_int_equal(spans[i]->attempts, 1);
        assert_int_equal(spans[i]->executed, PARLEY_EXECUTED_YES);
        assert_true(spans[i]->duration_ns > 0);
        assert_true(spans[i]->crossing_ns <= spans[i]->duration_ns);
        assert_true(spans[i]->start_unix_ns > UINT64_C(1500000000000000000));
    }
    assert_int_equal(spans[0]->pid, getpid());
    assert_int_equal(spans[1]->peer_pid, getpid());
    assert_int_equal(spans[0]->peer_pid, spans[1]->pid);
    assert_int_equal(spans[2]->peer_pid, spans[3]->pid);
    assert_int_equal(spans[3]->peer_pid, spans[2]->pid);
    /* A handler reads its own span. */
    char parent[64], trace_id[40] = "", span_id[20] = "";
    for (size_t i = 0; i < 16; i++)
        (void)snprintf(trace_id + 2 * i, 3, "%02x", spans[3]->trace_id.data[i]);
    for (size_t i = 0; i < 8; i++)
        (void)snprintf(span_id + 2 * i, 3, "%02x", spans[3]->span_id.data[i]);
    (void)snprintf(parent, sizeof(parent), "00-%s-%s-01 - ", trace_id, span_id);
    assert_string_equal(seen, parent);
    wire_free(reply);
}

static void test_nothing_is_traced_while_it_is_off(void **state)
{
    (void)state;
    char seen[256];
    const struct parley_metadata marks[] = {{"gray.trace", "1", 1},
                                            {"traceparent", "00-" TRACE_ID "-" SPAN_ID "-01", 55}};
    assert_int_equal(ask(1, false, marks, 2, seen), PARLEY_OK);
    assert_string_equal(seen, "00-" TRACE_ID "-" SPAN_ID "-01 - "); /* travels as it is */
    assert_null(caller.endpoint->spans.region.base);                /* nobody pays for a ring */
    tracing_set(&caller.bus, 100000);
    assert_int_equal(ask(1, false, NULL, 0, NULL), PARLEY_OK);
    const Parley__Span *spans[4];
    wire_free(the_chain(spans));
    tracing_set(&caller.bus, -1);
    assert_int_equal(ask(1, false, marks, 2, NULL), PARLEY_OK);
    tracing_set(&caller.bus, 0);
    nothing_was_sampled();
}

static void test_a_mark_traces_one_call(void **state)
{
    (void)state;
    const struct parley_metadata mark[] = {{"gray.trace", "1", 1}};
    const struct parley_metadata no_mark[] = {{"gray.trace", "0", 1}};
    const Parley__Span *spans[4];
    tracing_set(&caller.bus, 0);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(ask(1, false, NULL, 0, NULL), PARLEY_OK);
        assert_int_equal(ask(1, false, no_mark, 1, NULL), PARLEY_OK);
    }
    assert_int_equal(ask(1, false, mark, 1, NULL), PARLEY_OK);
    wire_free(the_chain(spans));
}

static void test_a_traceparent_that_is_sampled_goes_on(void **state)
{
    (void)state;
    char seen[256];
    const struct parley_metadata pairs[] = {{"traceparent", "00-" TRACE_ID "-" SPAN_ID "-01", 55},
                                            {"tracestate", "vendor=1", 8}};
    const Parley__Span *spans[4];
    tracing_set(&caller.bus, 0);
    assert_int_equal(ask(1, false, pairs, 2, seen), PARLEY_OK);
    Parley__ControlReply *reply = the_chain(spans);
    assert_hex(&spans[0]->trace_id, TRACE_ID);
    assert_true(spans[0]->has_parent_id);
    assert_hex(&spans[0]->parent_id, SPAN_ID);
    assert_memory_equal(seen, "00-" TRACE_ID "-", 36);
    assert_memory_not_equal(seen + 36, SPAN_ID, 16);
    assert_string_equal(seen + 52, "-01 vendor=1 ");
    wire_free(reply);
}

/* Who begins a trace decides for all of it. */
static void test_a_traceparent_that_is_not_sampled_stays_so(void **state)
{
    (void)state;
    char seen[256];
    const struct parley_metadata pairs[] = {{"traceparent", "00-" TRACE_ID "-" SPAN_ID "-00", 55},
                                            {"tracestate", "vendor=1", 8}};
    tracing_set(&caller.bus, 100000);
    assert_int_equal(ask(1, false, pairs, 2, seen), PARLEY_OK);
    assert_string_equal(seen, "00-" TRACE_ID "-" SPAN_ID "-00 vendor=1 ");
    tracing_set(&caller.bus, 0);
    nothing_was_sampled();
}

static void test_what_a_call_that_is_not_sampled_calls_is_not_either(void **state)
{
    (void)state;
    /* One in ten by the test; the first would add its own if it drew, too. */
    tracing_set(&caller.bus, 10000);
    enum { CALLS = 1000 };
    for (unsigned i = 0; i < CALLS; i++)
        assert_int_equal(ask(1, false, NULL, 0, NULL), PARLEY_OK);
    tracing_set(&caller.bus, 0);
    Parley__ControlReply *reply = tracing_read(&caller.bus, 0);
    size_t roots = 0;
    for (size_t i = 0; i < reply->trace->n_span; i++)
        roots += !reply->trace->span[i]->has_parent_id;
    assert_int_equal(reply->trace->n_span, 4 * roots);
    /* 100 are expected; 9.5 is the standard deviation, and this is 6 of it. */
    assert_true(roots > 43);
    assert_true(roots < 157);
    wire_free(reply);
}

static void test_a_detached_call_begins_a_trace_of_its_own(void **state)
{
    (void)state;
    tracing_set(&caller.bus, 100000);
    assert_int_equal(ask(1, true, NULL, 0, NULL), PARLEY_OK);
    Parley__ControlReply *reply = tracing_await(&caller.bus, 0, 4);
    const Parley__Span *root = find(reply->trace, "first", false);
    const Parley__Span *other = find(reply->trace, "first", true);
    assert_false(root->has_parent_id);
    assert_false(same(&root->trace_id, &other->trace_id));
    wire_free(reply);
}

static void test_a_status_is_in_the_spans_of_both_sides(void **state)
{
    (void)state;
    const Parley__Span *spans[4];
    tracing_set(&caller.bus, 100000);
    assert_int_equal(ask(0, false, NULL, 0, NULL), PARLEY_NOT_FOUND);
    Parley__ControlReply *reply = the_chain(spans);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(spans[i]->status, PARLEY_NOT_FOUND);
    wire_free(reply);
}

/* Nothing has crossed back to it, whatever has to the call before it. */
static void test_a_call_that_fails_has_no_crossing(void **state)
{
    (void)state;
    static uint8_t payload[100000];
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    size_t crossed = 0, failed = 0;
    tracing_set(&caller.bus, 100000);
    request.payload.data = payload;
    request.payload.len = sizeof(payload);
    for (unsigned i = 0; i < 2; i++) { /* a method's first call goes a way of its own */
        assert_int_equal(echo__v1__echo__echo_call(caller.client, &request, &reply, NULL),
                         PARLEY_OK);
        parley_reply_free(reply);
        assert_int_equal(ask(0, false, NULL, 0, NULL), PARLEY_NOT_FOUND);
    }
    Parley__ControlReply *read = tracing_await(&caller.bus, 0, 2 * (2 + 4));
    for (size_t i = 0; i < read->trace->n_span; i++) {
        const Parley__Span *span = read->trace->span[i];
        crossed += !span->service && span->crossing_ns > 0;
        failed += !span->service && span->status == PARLEY_NOT_FOUND;
    }
    assert_int_equal(crossed, 2);
    assert_int_equal(failed, 4);
    wire_free(read);
}

/* In the ring, by the arena, and in the queue of what finds no room. */
static void test_calls_of_any_size_and_any_number_are_traced(void **state)
{
    (void)state;
    enum { CALLS = 400 }; /* the ring holds 127 */
    static uint8_t payload[100000];
    const struct parley_metadata pairs[] = {{"tracestate", "vendor=1", 8}, {"own", "x", 1}};
    struct parley_call call = {.metadata = pairs, .metadata_count = 2};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    struct tally ended = {0};
    tracing_set(&caller.bus, 100000);
    request.payload.data = payload;
    request.payload.len = sizeof(payload);
    assert_int_equal(echo__v1__echo__echo_call(caller.client, &request, &reply, &call), PARLEY_OK);
    assert_int_equal(reply->payload.len, sizeof(payload));
    parley_reply_free(reply);
    request.payload.len = 10;
    for (unsigned i = 0; i < CALLS; i++)
        caller_start(&caller, METHOD_ECHO, &request, &call, &ended);
    caller_await(&caller, &ended.ended, CALLS);
    assert_int_equal(ended.ok, CALLS);
    call.one_way = true;
    assert_int_equal(parley_client_send(caller.client, METHOD_ECHO, &request.base, &call),
                     PARLEY_OK);
    Parley__ControlReply *read = tracing_await(&caller.bus, 0, 2 * (CALLS + 2));
    assert_int_equal(read->trace->n_span, 2 * (CALLS + 2));
    size_t one_way = 0;
    for (size_t i = 0; i < read->trace->n_span; i++)
        one_way += read->trace->span[i]->one_way;
    assert_int_equal(one_way, 2);
    wire_free(read);
}

/* Each span of the service's is the child of one of the caller's, which has no other. */
static void assert_in_pairs(const Parley__TraceReply *trace)
{
    for (size_t i = 0; i < trace->n_span; i++) {
        const Parley__Span *span = trace->span[i];
        size_t relatives = 0;
        for (size_t k = 0; k < trace->n_span; k++) {
            const Parley__Span *other = trace->span[k];
            if (other->service != span->service)
                relatives += same(&other->trace_id, &span->trace_id) &&
                             (span->service ? same(&other->span_id, &span->parent_id)
                                            : same(&other->parent_id, &span->span_id));
        }
        assert_int_equal(relatives, 1);
        assert_int_equal(span->has_parent_id, span->service);
        assert_int_equal(span->status, PARLEY_OK);
        assert_int_equal(span->attempts, 1);
        assert_true(span->crossing_ns <= span->duration_ns);
    }
}

/* The same of calls that have nothing else about them: of each length that goes by the ring in some
 * way of its own, also right after others. */
static void test_calls_with_nothing_but_a_trace_are_traced_however_long_they_are(void **state)
{
    (void)state;
    enum { CALLS = 400 };
    static uint8_t payload[100000];
    static const size_t sizes[] = {0,   1,   31,  60,  61,   95,   104,    105, 127,  128,  129,
                                   200, 450, 480, 500, 511,  512,  513,    600, 2000, 8000, 1,
                                   64,  500, 64,  64,  3000, 3000, 100000, 10,  10};
    enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    struct tally ended = {0};
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 7 + i / 251);
    tracing_set(&caller.bus, 100000);
    request.payload.data = payload;
    for (size_t i = 0; i < SIZES; i++) {
        request.payload.len = sizes[i];
        assert_int_equal(echo__v1__echo__echo_call(caller.client, &request, &reply, NULL),
                         PARLEY_OK);
        assert_int_equal(reply->payload.len, sizes[i]);
        assert_memory_equal(reply->payload.data, payload, sizes[i]);
        parley_reply_free(reply);
    }
    request.payload.len = 10;
    for (unsigned i = 0; i < CALLS; i++) /* the ring holds 127 */
        caller_start(&caller, METHOD_ECHO, &request, NULL, &ended);
    caller_await(&caller, &ended.ended, CALLS);
    assert_int_equal(ended.ok, CALLS);
    Parley__ControlReply *read = tracing_await(&caller.bus, 0, 2 * (CALLS + SIZES));
    assert_int_equal(read->trace->n_span, 2 * (CALLS + SIZES));
    assert_in_pairs(read->trace);
    wire_free(read);
}

static bool is_connected(void *endpoint)
{
    return parley_connected(endpoint);
}

static size_t count_of(const Parley__TraceReply *trace, const uint8_t id[16])
{
    size_t count = 0;
    for (size_t i = 0; i < trace->n_span; i++)
        count += memcmp(trace->span[i]->trace_id.data, id, 16) == 0;
    return count;
}

static void test_a_broker_that_comes_back_is_given_the_rings_again(void **state)
{
    (void)state;
    const struct parley_metadata pairs[] = {{"traceparent", "00-" TRACE_ID "-" SPAN_ID "-01", 55}};
    static const uint8_t marked[16] = {0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6,
                                       0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36};
    uint8_t first[16];
    const Parley__Span *spans[4];
    tracing_set(&caller.bus, 100000);
    assert_int_equal(ask(1, false, NULL, 0, NULL), PARLEY_OK);
    Parley__ControlReply *reply = the_chain(spans);
    memcpy(first, spans[0]->trace_id.data, sizeof(first));
    wire_free(reply);
    bus_broker_kill(&caller.bus);
    assert_int_equal(ask(1, false, NULL, 0, NULL), PARLEY_OK); /* nobody reads: nobody waits */
    bus_broker_start(&caller.bus);
    assert_true(bus_wait(caller.endpoint, is_connected, caller.endpoint));
    tracing_set(&caller.bus, 0);
    for (size_t found = 0; found < 4;) {
        assert_int_equal(ask(1, false, pairs, 1, NULL), PARLEY_OK);
        reply = tracing_read(&caller.bus, 0);
        found = count_of(reply->trace, marked);
        assert_int_equal(count_of(reply->trace, first), 0); /* the broker before had them */
        wire_free(reply);
    }
}

#define trace_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        trace_test(test_spans_of_a_chain_are_each_the_child_of_the_one_before),
        trace_test(test_nothing_is_traced_while_it_is_off),
        trace_test(test_a_mark_traces_one_call),
        trace_test(test_a_traceparent_that_is_sampled_goes_on),
        trace_test(test_a_traceparent_that_is_not_sampled_stays_so),
        trace_test(test_what_a_call_that_is_not_sampled_calls_is_not_either),
        trace_test(test_a_detached_call_begins_a_trace_of_its_own),
        trace_test(test_a_status_is_in_the_spans_of_both_sides),
        trace_test(test_a_call_that_fails_has_no_crossing),
        trace_test(test_calls_of_any_size_and_any_number_are_traced),
        trace_test(test_calls_with_nothing_but_a_trace_are_traced_however_long_they_are),
        trace_test(test_a_broker_that_comes_back_is_given_the_rings_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
