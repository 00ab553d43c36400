#include "support/test.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "unit/cli/bus.h"
#include "unit/cli/run.h"

#define TRACE_ID "aa0000000000000000000000000000bb"

static uint8_t trace_id[16] = {0xaa, [15] = 0xbb};
static uint8_t ids[][8] = {{0}, {1}, {2}, {3}, {4}, {5}};

/* What the fake broker was asked last, and what it answers. */
static struct script {
    unsigned asked;
    Parley__TraceRequest last;
    char interface[64];
    Parley__ControlReply reply;
    Parley__TraceReply trace;
    Parley__Span spans[5], *pointers[5];
} script;

static void answer(void *userdata, const Parley__ControlRequest *request,
                   struct fake_answer *ret_answer)
{
    (void)userdata;
    if (request->body_case != PARLEY__CONTROL_REQUEST__BODY_TRACE)
        return;
    script.asked++;
    script.last = *request->trace;
    (void)snprintf(script.interface, sizeof(script.interface), "%s",
                   request->trace->interface ? request->trace->interface : "-");
    if (request->trace->has_since) { /* one more each time */
        script.trace.n_span = 1;
        script.spans[0].number = request->trace->since;
        script.trace.next = request->trace->since + 1;
    }
    ret_answer->reply = &script.reply;
}

static void span(size_t index, uint8_t parent, bool service, uint64_t start_ns, const char *method)
{
    Parley__Span *out = &script.spans[index];
    parley__span__init(out);
    out->has_number = out->has_trace_id = out->has_span_id = out->has_service = true;
    out->number = index;
    out->trace_id = (ProtobufCBinaryData){16, trace_id};
    out->span_id = (ProtobufCBinaryData){8, ids[index + 1]};
    out->has_parent_id = parent != 0;
    out->parent_id = (ProtobufCBinaryData){8, ids[parent]};
    out->service = service;
    out->interface = (char *)(uintptr_t) "catalog";
    out->method = (char *)(uintptr_t)method;
    out->asked = (char *)(uintptr_t) "1.0.0";
    out->served = (char *)(uintptr_t) "2.0.0";
    out->endpoint = (char *)(uintptr_t) "shop";
    out->has_pid = out->has_start_unix_ns = out->has_duration_ns = out->has_status = true;
    out->pid = 100 + (uint32_t)index;
    out->start_unix_ns = UINT64_C(1700000000000000000) + start_ns;
    out->duration_ns = 1500;
    out->has_translation = out->has_crossing_ns = true;
    out->translation = 2;
    out->crossing_ns = 250;
    script.pointers[index] = out;
}

static int set_up(void **state)
{
    memset(&script, 0, sizeof(script));
    parley__control_reply__init(&script.reply);
    parley__trace_reply__init(&script.trace);
    script.reply.has_status = true;
    script.reply.body_case = PARLEY__CONTROL_REPLY__BODY_TRACE;
    script.reply.trace = &script.trace;
    script.trace.has_on = script.trace.on = true;
    script.trace.has_rate_per_100000 = script.trace.has_next = true;
    script.trace.rate_per_100000 = 1000;
    script.trace.span = script.pointers;
    /* In another order than that of their starts. */
    span(0, 2, false, 2000, "Inner");
    span(1, 3, true, 1000, "Outer");
    span(2, 0, false, 0, "Outer");
    span(3, 1, true, 3000, "Inner\033[31m");
    span(4, 0, false, 9000, "Other");
    script.trace.n_span = 5;
    script.trace.next = 5;
    *state = fake_broker_new(answer, NULL);
    return 0;
}

static int tear_down(void **state)
{
    fake_broker_free(*state);
    return 0;
}

static void test_a_trace_is_a_tree(void **state)
{
    struct run run = RUN("trace", TRACE_ID, "--url", fake_broker_url(*state));
    assert_string_equal(run.err, "");
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_int_equal(script.last.trace_id.len, 16);
    const char *rows[] = {"client catalog/Outer", "  service catalog/Outer",
                          "    client catalog/Inner", "      service catalog/Inner?[31m",
                          "client catalog/Other"};
    const char *at = run.out;
    for (size_t i = 0; i < 5; i++) {
        at = strchr(at, '\n') + 1; /* below the titles, or the row before */
        if (strncmp(at, rows[i], strlen(rows[i])) != 0)
            fail_msg("row %zu is not '%s':\n%s", i, rows[i], run.out);
    }
    assert_contains(run.out, "+3.00 us");
    assert_contains(run.out, "1.50 us");
    assert_contains(run.out, "250 ns");
    assert_contains(run.out, "1.0.0>2.0.0");
    assert_contains(run.out, "carried");
    run_free(&run);
}

static void test_parents_in_a_ring_are_shown_once(void **state)
{
    script.spans[2].has_parent_id = true; /* its own grandchild's child */
    script.spans[2].parent_id.data = ids[4];
    struct run run = RUN("trace", TRACE_ID, "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    size_t lines = 0;
    for (const char *c = run.out; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, 6); /* titles and five spans */
    run_free(&run);
}

static void test_json_has_every_span(void **state)
{
    struct run run = RUN("trace", "--json", TRACE_ID, "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    json_t *root = json_loads(run.out, 0, NULL);
    assert_non_null(root);
    json_t *spans = json_object_get(root, "spans");
    assert_int_equal(json_array_size(spans), 5);
    json_t *first = json_array_get(spans, 0), *second = json_array_get(spans, 1);
    assert_string_equal(json_string_value(json_object_get(first, "trace_id")), TRACE_ID);
    assert_string_equal(json_string_value(json_object_get(first, "side")), "client");
    assert_true(json_is_null(json_object_get(first, "parent_id")));
    assert_string_equal(json_string_value(json_object_get(second, "parent_id")),
                        json_string_value(json_object_get(first, "span_id")));
    assert_int_equal(json_integer_value(json_object_get(second, "duration_ns")), 1500);
    assert_int_equal(json_integer_value(json_object_get(second, "crossing_ns")), 250);
    assert_string_equal(json_string_value(json_object_get(second, "status")), "OK");
    json_decref(root);
    run_free(&run);
}

static void test_a_trace_that_is_not_kept_is_refused(void **state)
{
    script.trace.n_span = 0;
    struct run run = RUN("trace", TRACE_ID, "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_REFUSED);
    assert_contains(run.err, "no span of that trace is kept");
    run_free(&run);
}

static void test_following_asks_for_what_comes_after_the_last(void **state)
{
    struct run run = RUN("trace", "--count", "7", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_int_equal(script.asked, 3); /* five, and one more twice */
    assert_int_equal(script.last.since, 6);
    size_t lines = 0;
    for (const char *c = run.out; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, 7);
    assert_contains(run.out,
                    "service catalog/Outer 1.0.0>2.0.0 carried 1.50 us, crossing 250 ns, OK,"
                    " shop (101), trace " TRACE_ID);
    run_free(&run);
}

static void test_filters_are_the_brokers_to_apply(void **state)
{
    struct run run = RUN("trace", "--last", "--interface", "catalog", "--status", "unavailable",
                         "--failed", "--min-duration", "2ms", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(script.interface, "catalog");
    assert_true(script.last.has_status);
    assert_int_equal(script.last.status, 14);
    assert_true(script.last.failed);
    assert_int_equal(script.last.min_duration_ns, 2000000);
    assert_false(script.last.has_since);
    run_free(&run);
}

static void test_the_rate_is_set_and_shown(void **state)
{
    struct run run = RUN("trace", "--rate", "1%", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_true(script.last.has_rate_per_100000);
    assert_int_equal(script.last.rate_per_100000, 1000);
    assert_contains(run.out, "1 % of calls are traced");
    run_free(&run);
    run = RUN("trace", "--rate", "off", "--url", fake_broker_url(*state));
    assert_true(script.last.off);
    run_free(&run);
    script.trace.has_exported = script.trace.has_export_waiting = script.trace.has_lost = true;
    script.trace.exported = 10;
    script.trace.export_waiting = 2;
    script.trace.lost = 3;
    script.trace.export_error = (char *)(uintptr_t) "it answers with HTTP status 503";
    run = RUN("trace", "--rate", "show", "--url", fake_broker_url(*state));
    assert_false(script.last.has_rate_per_100000 || script.last.off);
    assert_contains(run.out, "3 spans were lost");
    assert_contains(run.out, "10 spans were exported, 2 wait");
    assert_contains(run.out, "HTTP status 503");
    run_free(&run);
    run = RUN("trace", "--json", "--rate", "show", "--url", fake_broker_url(*state));
    json_t *root = json_loads(run.out, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(root, "rate_per_100000")), 1000);
    assert_int_equal(json_integer_value(json_object_get(root, "exported")), 10);
    json_decref(root);
    run_free(&run);
}

static void test_what_makes_no_sense_is_refused(void **state)
{
    const char *url = fake_broker_url(*state);
    struct run runs[] = {
        RUN("trace", "--rate", "101", "--url", url),
        RUN("trace", "--rate", "many", "--url", url),
        RUN("trace", "aa", "--url", url),
        RUN("trace", TRACE_ID "0", "--url", url),
        RUN("trace", TRACE_ID, TRACE_ID, "--url", url),
        RUN("trace", "--status", "BROKEN", "--url", url),
        RUN("trace", "--interface", "No Name", "--url", url),
        RUN("trace", "--count", "0", "--url", url),
    };
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
        assert_int_equal(runs[i].code, CLI_EXIT_USAGE);
        run_free(&runs[i]);
    }
    assert_int_equal(script.asked, 0);
}

static void test_spans_without_ids_are_no_brokers(void **state)
{
    script.spans[3].span_id.len = 7;
    struct run run = RUN("trace", "--last", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_BAD_REPLY);
    run_free(&run);
}

static void test_it_says_that_nothing_is_traced(void **state)
{
    script.trace.on = false;
    script.trace.n_span = 0;
    struct run run = RUN("trace", "--last", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_contains(run.err, "no call is traced");
    run_free(&run);
}

static void test_it_says_that_no_span_is_kept(void **state)
{
    script.trace.n_span = 0;
    struct run run = RUN("trace", "--last", "--failed", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(run.out, "");
    assert_contains(run.err, "no span is kept that was asked for");
    run_free(&run);
}

#define TRACE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TRACE(test_a_trace_is_a_tree),
        TRACE(test_parents_in_a_ring_are_shown_once),
        TRACE(test_json_has_every_span),
        TRACE(test_a_trace_that_is_not_kept_is_refused),
        TRACE(test_following_asks_for_what_comes_after_the_last),
        TRACE(test_filters_are_the_brokers_to_apply),
        TRACE(test_the_rate_is_set_and_shown),
        TRACE(test_what_makes_no_sense_is_refused),
        TRACE(test_spans_without_ids_are_no_brokers),
        TRACE(test_it_says_that_nothing_is_traced),
        TRACE(test_it_says_that_no_span_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
