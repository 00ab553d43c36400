/* Spans as OTLP, and what becomes of them when who takes them is slow, away, or says no. */
#include "peers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/http_post.h"
#include "opentelemetry/trace.pb-c.h"
#include "support/receiver.h"

#define PATIENCE_NS (UINT64_C(20) * 1000000000)

static struct broker *broker;
static struct receiver receiver;

static struct span_subject client = {.users = 1,
                                     .interface = "catalog",
                                     .method = "Get",
                                     .asked = "1.0.0",
                                     .served = "2.0.0",
                                     .endpoint = "shop",
                                     .endpoint_id = 2,
                                     .pid = 100};
static struct span_subject service = {.users = 1,
                                      .interface = "catalog",
                                      .method = "Get",
                                      .asked = "1.0.0",
                                      .served = "2.0.0",
                                      .service = true,
                                      .endpoint = "catalog-v2",
                                      .endpoint_id = 1,
                                      .pid = 200};

static struct kept_span span_of(struct span_subject *subject, uint8_t id, uint8_t parent)
{
    struct kept_span span = {.trace_id = {0xaa, [15] = 0xbb},
                             .span_id = {id, [7] = 0xcc},
                             .start_unix_ns = UINT64_C(1700000000000000000) + id,
                             .duration_ns = 1000,
                             .class = 2,
                             .crossing_ns = 77,
                             .executed = 1,
                             .attempts = 1,
                             .subject = subject};
    if (parent) {
        span.parent_id[0] = parent;
        span.parent_id[7] = 0xcc;
    }
    return span;
}

static Parley__Otlp__ExportTraceServiceRequest *decode(const uint8_t *data, size_t bytes)
{
    struct error_text error = {""};
    ProtobufCMessage *message;
    if (wire_unpack(&parley__otlp__export_trace_service_request__descriptor, data, bytes, NULL,
                    &message, &error) < 0)
        fail_msg("%s", error.text);
    return (Parley__Otlp__ExportTraceServiceRequest *)message;
}

/* NULL: there is none of that name; fails if there are two. */
static const Parley__Otlp__AnyValue *attribute(Parley__Otlp__KeyValue *const *pairs, size_t count,
                                               const char *key)
{
    const Parley__Otlp__AnyValue *found = NULL;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(pairs[i]->key, key) != 0)
            continue;
        assert_null(found);
        found = pairs[i]->value;
        assert_non_null(found);
    }
    return found;
}

static const char *text_of(const Parley__Otlp__Span *span, const char *key)
{
    const Parley__Otlp__AnyValue *value = attribute(span->attributes, span->n_attributes, key);
    return value && value->value_case == PARLEY__OTLP__ANY_VALUE__VALUE_STRING_VALUE
               ? value->string_value
               : "(none)";
}

static int64_t number_of(const Parley__Otlp__Span *span, const char *key)
{
    const Parley__Otlp__AnyValue *value = attribute(span->attributes, span->n_attributes, key);
    return value && value->value_case == PARLEY__OTLP__ANY_VALUE__VALUE_INT_VALUE ? value->int_value
                                                                                  : -1;
}

static void test_every_part_of_a_span_is_said(void **state)
{
    (void)state;
    struct kept_span first = span_of(&client, 1, 0), second = span_of(&service, 2, 1);
    first.instance_id = UINT64_C(0x123456789abcdef0);
    first.peer_pid = 200;
    first.attempts = 2;
    first.status = PARLEY_NOT_FOUND;
    second.peer_pid = 100;
    second.status = PARLEY_NOT_FOUND;
    second.one_way = true;
    const struct kept_span *spans[] = {&first, &second};
    uint8_t *data;
    size_t bytes;
    assert_int_equal(otlp_encode(spans, 2, &data, &bytes), 0);
    Parley__Otlp__ExportTraceServiceRequest *request = decode(data, bytes);
    assert_int_equal(request->n_resource_spans, 2); /* by endpoint */
    for (size_t i = 0; i < 2; i++) {
        const Parley__Otlp__ResourceSpans *of = request->resource_spans[i];
        const struct span_subject *subject = i == 0 ? &service : &client;
        char id[17];
        (void)snprintf(id, sizeof(id), "%016" PRIx64, subject->endpoint_id);
        assert_int_equal(of->resource->n_attributes, 3);
        assert_string_equal(attribute(of->resource->attributes, 3, "service.name")->string_value,
                            subject->endpoint);
        assert_string_equal(
            attribute(of->resource->attributes, 3, "service.instance.id")->string_value, id);
        assert_int_equal(attribute(of->resource->attributes, 3, "process.pid")->int_value,
                         subject->pid);
        assert_int_equal(of->n_scope_spans, 1);
        assert_string_equal(of->scope_spans[0]->scope->name, "parley");
        assert_int_equal(of->scope_spans[0]->n_spans, 1);
    }
    const Parley__Otlp__Span *server = request->resource_spans[0]->scope_spans[0]->spans[0];
    const Parley__Otlp__Span *caller = request->resource_spans[1]->scope_spans[0]->spans[0];
    assert_string_equal(caller->name, "catalog/Get");
    assert_int_equal(caller->kind, 3);
    assert_int_equal(server->kind, 2);
    assert_int_equal(caller->trace_id.len, 16);
    assert_memory_equal(caller->trace_id.data, first.trace_id, 16);
    assert_int_equal(caller->span_id.len, 8);
    assert_memory_equal(caller->span_id.data, first.span_id, 8);
    assert_int_equal(caller->parent_span_id.len, 0);
    assert_int_equal(server->parent_span_id.len, 8);
    assert_memory_equal(server->parent_span_id.data, caller->span_id.data, 8);
    assert_memory_equal(server->trace_id.data, caller->trace_id.data, 16);
    assert_int_equal(caller->start_time_unix_nano, first.start_unix_ns);
    assert_int_equal(caller->end_time_unix_nano, first.start_unix_ns + 1000);
    assert_int_equal(caller->flags, 1);
    assert_string_equal(text_of(caller, "rpc.system.name"), "parley");
    assert_string_equal(text_of(caller, "rpc.method"), "catalog/Get");
    assert_string_equal(text_of(caller, "parley.interface"), "catalog");
    assert_string_equal(text_of(caller, "parley.version.asked"), "1.0.0");
    assert_string_equal(text_of(caller, "parley.version.served"), "2.0.0");
    assert_string_equal(text_of(caller, "parley.translation"), "carried");
    assert_string_equal(text_of(caller, "parley.peer.instance"), "123456789abcdef0");
    assert_string_equal(text_of(caller, "error.type"), "NOT_FOUND");
    assert_string_equal(text_of(caller, "rpc.response.status_code"), "NOT_FOUND");
    assert_string_equal(text_of(server, "rpc.response.status_code"), "NOT_FOUND");
    assert_string_equal(text_of(server, "error.type"), "(none)");
    assert_int_equal(number_of(caller, "parley.crossing_ns"), 77);
    assert_int_equal(number_of(caller, "parley.peer.pid"), 200);
    assert_int_equal(number_of(caller, "parley.attempts"), 2);
    assert_true(attribute(server->attributes, server->n_attributes, "parley.one_way")->bool_value);
    assert_null(attribute(caller->attributes, caller->n_attributes, "parley.one_way"));
    assert_int_equal(number_of(server, "parley.attempts"), -1);
    /* NOT_FOUND is the caller's error, not the service's. */
    assert_int_equal(caller->status->code, 2);
    assert_null(server->status);
    wire_free(request);
    free(data);
}

static void test_spans_of_an_endpoint_share_a_resource(void **state)
{
    (void)state;
    struct kept_span all[6];
    const struct kept_span *spans[6];
    for (uint8_t i = 0; i < 6; i++) {
        all[i] = span_of(i % 2 ? &client : &service, (uint8_t)(i + 1), 0);
        spans[i] = &all[i];
    }
    all[3].status = PARLEY_UNAVAILABLE;
    uint8_t *data;
    size_t bytes;
    assert_int_equal(otlp_encode(spans, 6, &data, &bytes), 0);
    Parley__Otlp__ExportTraceServiceRequest *request = decode(data, bytes);
    assert_int_equal(request->n_resource_spans, 2);
    assert_int_equal(request->resource_spans[0]->scope_spans[0]->n_spans, 3);
    assert_int_equal(request->resource_spans[1]->scope_spans[0]->n_spans, 3);
    wire_free(request);
    free(data);
    assert_int_equal(otlp_encode(NULL, 0, &data, &bytes), 0);
    assert_int_equal(bytes, 0);
    free(data);
}

/* ---- Sending ---- */

static void begin(const struct receiver_answer *answers, size_t count)
{
    struct error_text error = {""};
    receiver_start(&receiver, answers, count);
    broker = broker_start(NULL);
    assert_int_equal(trace_set(broker, true, 0), 0);
    if (trace_export(broker, receiver.url, &error) < 0)
        fail_msg("%s", error.text);
}

static void end(void)
{
    broker_free(broker);
    receiver_stop(&receiver);
}

/* As if a ring had had them. */
static void keep(size_t count)
{
    struct tracer *tracer = &broker->tracer;
    for (size_t i = 0; i < count; i++) {
        struct kept_span *place = &tracer->kept[tracer->count % TRACE_KEPT_MAX];
        if (tracer->count >= TRACE_KEPT_MAX)
            otlp_forget(tracer->otlp, tracer->count - TRACE_KEPT_MAX);
        if (place->subject)
            place->subject->users--;
        *place = span_of(&client, (uint8_t)(i % 250 + 1), 0);
        client.users++;
        tracer->count++;
    }
}

static struct otlp_counts counts(void)
{
    struct otlp_counts now;
    otlp_counts(broker->tracer.otlp, &now);
    return now;
}

static bool was_posted(size_t posts)
{
    return atomic_load(&receiver.post_count) >= posts;
}

/* Turns the broker until all that waits has found its end, and so many posts were made. */
static void turn_until(size_t posts, uint64_t ended)
{
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    for (;;) {
        struct otlp_counts now = counts();
        if (was_posted(posts) && now.exported + now.lost >= ended && now.waiting == 0)
            return;
        if (clock_now_ns() > until)
            fail_msg("%zu posts, %" PRIu64 " exported, %" PRIu64 " lost, %" PRIu64 " wait: %s",
                     (size_t)receiver.post_count, now.exported, now.lost, now.waiting, now.error);
        assert_int_equal(broker_turn(broker, 20 * NS_PER_MS), 0);
    }
}

static void test_batches_go_out_whole_and_in_order(void **state)
{
    (void)state;
    static const struct receiver_answer ok[] = {{.status = "200 OK"}};
    begin(ok, 1);
    keep(1100);
    turn_until(3, 1100);
    assert_int_equal(counts().exported, 1100);
    assert_int_equal(counts().lost + counts().failed, 0);
    size_t spans = 0, most = 0;
    for (size_t i = 0; i < receiver.post_count; i++) {
        const struct receiver_post *post = &receiver.posts[i];
        assert_int_equal(strncmp(post->head, "POST /v1/traces HTTP/1.1\r\n", 26), 0);
        assert_non_null(strstr(post->head, "Content-Type: application/x-protobuf\r\n"));
        Parley__Otlp__ExportTraceServiceRequest *request = decode(post->body, post->bytes);
        size_t count = request->resource_spans[0]->scope_spans[0]->n_spans;
        spans += count;
        most = count > most ? count : most;
        wire_free(request);
    }
    assert_int_equal(spans, 1100);
    assert_int_equal(most, 512);
    end();
}

static void test_what_is_refused_for_now_is_sent_again(void **state)
{
    (void)state;
    static const struct receiver_answer answers[] = {
        {.status = "503 Service Unavailable", .headers = "Retry-After: 1\r\n"},
        {.status = "429 Too Many Requests", .headers = "Retry-After: 1\r\n"},
        {.status = NULL},
        {.status = "200 OK"},
    };
    begin(answers, 4);
    keep(600);
    turn_until(5, 600);
    assert_int_equal(counts().exported, 600);
    assert_int_equal(counts().lost, 0);
    assert_int_equal(counts().failed, 3);
    for (size_t i = 1; i < 4; i++) { /* the same batch, whatever came meanwhile */
        assert_int_equal(receiver.posts[i].bytes, receiver.posts[0].bytes);
        assert_memory_equal(receiver.posts[i].body, receiver.posts[0].body,
                            receiver.posts[0].bytes);
    }
    end();
}

static void test_what_is_refused_for_good_is_lost_and_counted(void **state)
{
    (void)state;
    static const struct receiver_answer answers[] = {{.status = "400 Bad Request"},
                                                     {.status = "200 OK"}};
    begin(answers, 2);
    keep(700);
    turn_until(2, 700);
    assert_int_equal(counts().exported, 188);
    assert_int_equal(counts().lost, 512);
    assert_int_equal(counts().failed, 1);
    assert_words(counts().error, "HTTP status 400");
    end();
}

static void test_spans_that_a_receiver_rejects_are_counted(void **state)
{
    (void)state;
    static const uint8_t partial[] = {0x0a, 0x07, 0x08, 0x05, 0x12, 0x03, 'w', 'h', 'y'};
    static const uint8_t too_many[] = {0x0a, 0x04, 0x08, 0xff, 0xff, 0x7f};
    static const uint8_t garbage[] = {0xff, 0xff, 0xff};
    static const struct receiver_answer answers[] = {
        {.status = "200 OK", .body = partial, .body_bytes = sizeof(partial)},
        {.status = "200 OK", .body = too_many, .body_bytes = sizeof(too_many)},
        {.status = "200 OK", .body = garbage, .body_bytes = sizeof(garbage)},
    };
    begin(answers, 3);
    keep(3 * 512);
    turn_until(3, 3 * 512);
    assert_int_equal(counts().lost, 5 + 512);
    assert_int_equal(counts().exported, 507 + 512);
    end();
}

static void test_what_waits_too_long_gives_way_and_is_counted(void **state)
{
    (void)state;
    static const struct receiver_answer answers[] = {{.status = "200 OK"}};
    begin(answers, 1);
    keep(TRACE_KEPT_MAX);
    assert_int_equal(counts().lost, 0); /* as many as are kept */
    assert_int_equal(counts().waiting, TRACE_KEPT_MAX);
    keep(10);
    assert_int_equal(counts().lost, 10);
    assert_int_equal(counts().waiting, TRACE_KEPT_MAX);
    turn_until(8, TRACE_KEPT_MAX + 10);
    assert_int_equal(counts().exported, TRACE_KEPT_MAX);
    end();
}

/* Nobody there: it tries again, less and less often; and the broker ends all the same. */
static void test_nobody_who_takes_them_harms_nobody(void **state)
{
    (void)state;
    static const struct receiver_answer answers[] = {{.status = "200 OK"}};
    begin(answers, 1);
    receiver_stop(&receiver);
    keep(512);
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    while (counts().failed < 1 && clock_now_ns() < until)
        assert_int_equal(broker_turn(broker, 20 * NS_PER_MS), 0);
    assert_int_equal(counts().failed, 1);
    assert_int_equal(counts().waiting, 512);
    assert_true(counts().error[0] != '\0');
    broker_free(broker);
}

/* One who never answers: the broker goes on meanwhile, and ends at once. */
static void test_a_receiver_that_never_answers_holds_nothing_up(void **state)
{
    (void)state;
    static const struct receiver_answer answers[] = {{.status = "200 OK"}};
    begin(answers, 1);
    struct receiver deaf = receiver;
    atomic_store(&receiver.stop, 1);
    (void)shutdown(receiver.listener, SHUT_RDWR);
    assert_int_equal(pthread_join(receiver.thread, NULL), 0);
    assert_int_equal(listen(deaf.listener, 16), 0); /* takes connections, and nobody reads */
    keep(512);
    assert_int_equal(broker_turn(broker, 0), 0);
    struct peer peer;
    peer_join(&peer, broker, "meanwhile");
    peer_leave(&peer);
    assert_int_equal(counts().waiting, 512);
    broker_free(broker);
    close(deaf.listener);
}

static void test_a_url_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "nonsense", "ipc:///tmp/x", "ftp://here/x", "http://"};
    broker = broker_start(NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error_text error = {""};
        if (trace_export(broker, bad[i], &error) == 0)
            fail_msg("'%s' is taken", bad[i]);
        assert_true(error.text[0] != '\0');
    }
    char longest[HTTP_POST_URL_BYTES_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    memcpy(longest, "http://", 7);
    longest[HTTP_POST_URL_BYTES_MAX + 1] = '\0';
    struct error_text error = {""};
    assert_true(trace_export(broker, longest, &error) < 0);
    broker_free(broker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_part_of_a_span_is_said),
        cmocka_unit_test(test_spans_of_an_endpoint_share_a_resource),
        cmocka_unit_test(test_batches_go_out_whole_and_in_order),
        cmocka_unit_test(test_what_is_refused_for_now_is_sent_again),
        cmocka_unit_test(test_what_is_refused_for_good_is_lost_and_counted),
        cmocka_unit_test(test_spans_that_a_receiver_rejects_are_counted),
        cmocka_unit_test(test_what_waits_too_long_gives_way_and_is_counted),
        cmocka_unit_test(test_nobody_who_takes_them_harms_nobody),
        cmocka_unit_test(test_a_receiver_that_never_answers_holds_nothing_up),
        cmocka_unit_test(test_a_url_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
