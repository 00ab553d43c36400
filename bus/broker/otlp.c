/*
 * Spans, sent on as OTLP over HTTP: the protobuf form, which every receiver takes.
 *
 * Spans wait where they are kept (trace.c): we have a position there and no queue. A batch goes out
 * when 512 wait, or a second after the first of them came; one post at a time, made by NNG's
 * threads, so that the broker's loop never waits. What is posted stays until the receiver has it:
 * 429, 502, 503, 504 and no answer at all are tried again, after a pause that doubles, is jittered,
 * and is what the receiver asks for if it does; any other refusal is final. Meanwhile spans go on
 * to be kept, and those that have to give way before we got to them are counted as lost.
 *
 * Attributes are OpenTelemetry's for RPC, as far as it has names, and parley.* for the rest. A
 * resource is an endpoint: its name is the service.name.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/random.h"
#include "broker/broker.h"
#include "control/http_post.h"
#include "opentelemetry/trace.pb-c.h"
#include "parley/client.h"
#include "wire/wire.h"

#define OTLP_BATCH_MAX 512 /* spans */
#define OTLP_DELAY_NS NS_PER_S
#define OTLP_TIMEOUT_NS (10 * NS_PER_S)
#define OTLP_PAUSE_NS_MIN NS_PER_S
#define OTLP_PAUSE_NS_MAX (30 * NS_PER_S)
#define OTLP_ATTRIBUTE_MAX 14 /* of a span */

struct otlp {
    struct source source;
    struct broker *broker;
    struct http_post *post;
    uint64_t next;  /* number of the first span that is not in a batch yet */
    uint64_t at_ns; /* when a batch is due, or tried again; CLOCK_NEVER: not */
    uint64_t pause_ns;
    uint64_t random;
    bool posting;
    bool failing;   /* the last post did, and that was logged */
    uint8_t *batch; /* NULL: none */
    size_t batch_bytes, batch_spans;
    struct otlp_counts counts;
};

/* ---- Encoding ---- */

struct attributes {
    Parley__Otlp__KeyValue pairs[OTLP_ATTRIBUTE_MAX];
    Parley__Otlp__AnyValue values[OTLP_ATTRIBUTE_MAX];
    Parley__Otlp__KeyValue *pointers[OTLP_ATTRIBUTE_MAX];
    size_t count;
};

/* All that is made for one span. */
struct encoded_span {
    Parley__Otlp__Span span;
    Parley__Otlp__Status status;
    struct attributes attributes;
    char name[2 * STATS_NAME_BYTES];
    char instance[17];
    /* If it is the first of its endpoint in the batch: */
    Parley__Otlp__ResourceSpans resource_spans;
    Parley__Otlp__ScopeSpans scope_spans, *scope_pointer;
    Parley__Otlp__Resource resource;
    Parley__Otlp__InstrumentationScope scope;
    struct attributes resource_attributes;
    char endpoint[17];
};

static Parley__Otlp__AnyValue *add(struct attributes *attributes, const char *key)
{
    size_t i = attributes->count++;
    Parley__Otlp__KeyValue *pair = &attributes->pairs[i];
    Parley__Otlp__AnyValue *value = &attributes->values[i];
    parley__otlp__key_value__init(pair);
    parley__otlp__any_value__init(value);
    pair->key = (char *)(uintptr_t)key;
    pair->value = value;
    attributes->pointers[i] = pair;
    return value;
}

static void add_text(struct attributes *attributes, const char *key, const char *text)
{
    Parley__Otlp__AnyValue *value = add(attributes, key);
    value->value_case = PARLEY__OTLP__ANY_VALUE__VALUE_STRING_VALUE;
    value->string_value = (char *)(uintptr_t)text;
}

static void add_number(struct attributes *attributes, const char *key, uint64_t number)
{
    Parley__Otlp__AnyValue *value = add(attributes, key);
    value->value_case = PARLEY__OTLP__ANY_VALUE__VALUE_INT_VALUE;
    value->int_value = (int64_t)number;
}

static void add_flag(struct attributes *attributes, const char *key)
{
    Parley__Otlp__AnyValue *value = add(attributes, key);
    value->value_case = PARLEY__OTLP__ANY_VALUE__VALUE_BOOL_VALUE;
    value->bool_value = true;
}

/* By OpenTelemetry's list for gRPC: of a service, what is its fault; for a client, each is one. */
static bool is_error(const struct kept_span *span)
{
    return status_is_fault(span->status) || (span->status != PARLEY_OK && !span->subject->service);
}

static void encode_attributes(const struct kept_span *span, struct encoded_span *out)
{
    const struct span_subject *subject = span->subject;
    struct attributes *attributes = &out->attributes;
    const char *status = parley_status_name((enum parley_status)span->status);
    add_text(attributes, "rpc.system.name", "parley");
    add_text(attributes, "rpc.method", out->name);
    add_text(attributes, "rpc.response.status_code", status);
    add_text(attributes, "parley.interface", subject->interface);
    add_text(attributes, "parley.version.asked", subject->asked);
    if (subject->served[0])
        add_text(attributes, "parley.version.served", subject->served);
    add_text(attributes, "parley.translation",
             parley_translation_name((enum parley_translation)span->class));
    add_number(attributes, "parley.crossing_ns", span->crossing_ns);
    if (span->peer_pid)
        add_number(attributes, "parley.peer.pid", span->peer_pid);
    if (span->instance_id) {
        (void)snprintf(out->instance, sizeof(out->instance), "%016" PRIx64, span->instance_id);
        add_text(attributes, "parley.peer.instance", out->instance);
    }
    if (span->attempts > 1)
        add_number(attributes, "parley.attempts", span->attempts);
    if (span->one_way)
        add_flag(attributes, "parley.one_way");
    if (is_error(span))
        add_text(attributes, "error.type", status);
}

static void encode_span(const struct kept_span *span, struct encoded_span *out)
{
    static const uint8_t none[8];
    const struct span_subject *subject = span->subject;
    Parley__Otlp__Span *message = &out->span;
    parley__otlp__span__init(message);
    (void)snprintf(out->name, sizeof(out->name), "%s/%s", subject->interface, subject->method);
    message->name = out->name;
    message->trace_id = (ProtobufCBinaryData){16, (uint8_t *)(uintptr_t)span->trace_id};
    message->span_id = (ProtobufCBinaryData){8, (uint8_t *)(uintptr_t)span->span_id};
    if (memcmp(span->parent_id, none, sizeof(none)) != 0)
        message->parent_span_id = (ProtobufCBinaryData){8, (uint8_t *)(uintptr_t)span->parent_id};
    message->kind = subject->service ? PARLEY__OTLP__SPAN__SPAN_KIND__SERVER
                                     : PARLEY__OTLP__SPAN__SPAN_KIND__CLIENT;
    message->start_time_unix_nano = span->start_unix_ns;
    message->end_time_unix_nano = span->start_unix_ns + span->duration_ns;
    message->flags = 1;
    encode_attributes(span, out);
    message->n_attributes = out->attributes.count;
    message->attributes = out->attributes.pointers;
    if (is_error(span)) {
        parley__otlp__status__init(&out->status);
        out->status.code = PARLEY__OTLP__STATUS__STATUS_CODE__ERROR;
        out->status.message =
            (char *)(uintptr_t)parley_status_name((enum parley_status)span->status);
        message->status = &out->status;
    }
}

static void begin_resource(const struct span_subject *subject, struct encoded_span *out,
                           Parley__Otlp__Span **spans)
{
    struct attributes *attributes = &out->resource_attributes;
    (void)snprintf(out->endpoint, sizeof(out->endpoint), "%016" PRIx64, subject->endpoint_id);
    add_text(attributes, "service.name", subject->endpoint);
    add_text(attributes, "service.instance.id", out->endpoint);
    add_number(attributes, "process.pid", subject->pid);
    parley__otlp__resource__init(&out->resource);
    out->resource.n_attributes = attributes->count;
    out->resource.attributes = attributes->pointers;
    parley__otlp__instrumentation_scope__init(&out->scope);
    out->scope.name = (char *)(uintptr_t) "parley";
    out->scope.version = (char *)(uintptr_t)PARLEY_VERSION;
    parley__otlp__scope_spans__init(&out->scope_spans);
    out->scope_spans.scope = &out->scope;
    out->scope_spans.spans = spans;
    parley__otlp__resource_spans__init(&out->resource_spans);
    out->scope_pointer = &out->scope_spans;
    out->resource_spans.resource = &out->resource;
    out->resource_spans.n_scope_spans = 1;
    out->resource_spans.scope_spans = &out->scope_pointer;
}

static int compare_endpoints(const void *a, const void *b)
{
    const struct kept_span *x = *(const struct kept_span *const *)a;
    const struct kept_span *y = *(const struct kept_span *const *)b;
    uint64_t p = x->subject->endpoint_id, q = y->subject->endpoint_id;
    return p < q ? -1 : p > q;
}

/* Fills in @request, whose arrays have room. @spans: by endpoint. */
static void encode_all(const struct kept_span *const *spans, size_t count,
                       struct encoded_span *encoded, Parley__Otlp__Span **pointers,
                       Parley__Otlp__ExportTraceServiceRequest *request)
{
    struct encoded_span *first = NULL;
    uint64_t endpoint_id = 0;
    for (size_t i = 0; i < count; i++) {
        encode_span(spans[i], &encoded[i]);
        pointers[i] = &encoded[i].span;
        if (!first || spans[i]->subject->endpoint_id != endpoint_id) {
            first = &encoded[i];
            endpoint_id = spans[i]->subject->endpoint_id;
            begin_resource(spans[i]->subject, first, &pointers[i]);
            request->resource_spans[request->n_resource_spans++] = &first->resource_spans;
        }
        first->scope_spans.n_spans++;
    }
}

int otlp_encode(const struct kept_span *const *spans, size_t count, uint8_t **ret_data,
                size_t *ret_bytes)
{
    size_t room = count ? count : 1;
    const struct kept_span **sorted = calloc(room, sizeof(*sorted));
    struct encoded_span *encoded = calloc(room, sizeof(*encoded));
    Parley__Otlp__Span **pointers = calloc(room, sizeof(*pointers));
    Parley__Otlp__ResourceSpans **resources = calloc(room, sizeof(*resources));
    uint8_t *data = NULL;
    if (sorted && encoded && pointers && resources) {
        Parley__Otlp__ExportTraceServiceRequest request =
            PARLEY__OTLP__EXPORT_TRACE_SERVICE_REQUEST__INIT;
        request.resource_spans = resources;
        if (count)
            memcpy(sorted, spans, count * sizeof(*sorted));
        qsort(sorted, count, sizeof(*sorted), compare_endpoints);
        encode_all(sorted, count, encoded, pointers, &request);
        size_t bytes = parley__otlp__export_trace_service_request__get_packed_size(&request);
        data = malloc(bytes ? bytes : 1);
        if (data)
            *ret_bytes = parley__otlp__export_trace_service_request__pack(&request, data);
    }
    free(sorted);
    free(encoded);
    free(pointers);
    free(resources);
    *ret_data = data;
    return data ? 0 : -ENOMEM;
}

/* ---- Sending ---- */

static void drop_batch(struct otlp *otlp)
{
    free(otlp->batch);
    otlp->batch = NULL;
    otlp->batch_bytes = otlp->batch_spans = 0;
}

static void try_later(struct otlp *otlp, uint64_t now_ns, unsigned asked_s)
{
    uint64_t pause = asked_s ? asked_s * NS_PER_S : otlp->pause_ns;
    if (!asked_s) { /* anywhere in its second half */
        pause = pause / 2 + random_next(&otlp->random) % (pause / 2);
        otlp->pause_ns =
            otlp->pause_ns * 2 < OTLP_PAUSE_NS_MAX ? otlp->pause_ns * 2 : OTLP_PAUSE_NS_MAX;
    }
    otlp->at_ns = now_ns + pause;
}

static void complain(struct otlp *otlp, const char *what)
{
    otlp->counts.failed++;
    (void)snprintf(otlp->counts.error, sizeof(otlp->counts.error), "%s", what);
    if (!otlp->failing)
        log_warn("spans are not taken by the OTLP receiver: %s", what);
    otlp->failing = true;
}

/* What a receiver that took the batch says of single spans. */
static uint64_t rejected(const struct otlp *otlp, const struct http_answer *answer)
{
    struct error_text error;
    ProtobufCMessage *message;
    if (!answer->body || wire_unpack(&parley__otlp__export_trace_service_response__descriptor,
                                     answer->body, answer->body_bytes, NULL, &message, &error) < 0)
        return 0;
    const Parley__Otlp__ExportTracePartialSuccess *partial =
        ((const Parley__Otlp__ExportTraceServiceResponse *)message)->partial_success;
    int64_t count = partial ? partial->rejected_spans : 0;
    wire_free(message);
    return count <= 0                            ? 0
           : (uint64_t)count < otlp->batch_spans ? (uint64_t)count
                                                 : otlp->batch_spans;
}

static void answered(struct otlp *otlp, const struct http_answer *answer, uint64_t now_ns)
{
    char what[96];
    unsigned status = answer->status;
    if (answer->error < 0) {
        complain(otlp, strerror(-answer->error));
        try_later(otlp, now_ns, 0);
        return;
    }
    if (status >= 200 && status < 300) {
        uint64_t refused = rejected(otlp, answer);
        otlp->counts.lost += refused;
        otlp->counts.exported += otlp->batch_spans - refused;
        otlp->pause_ns = OTLP_PAUSE_NS_MIN;
        if (otlp->failing)
            log_info("spans are taken by the OTLP receiver again");
        otlp->failing = false;
    } else {
        (void)snprintf(what, sizeof(what), "it answers with HTTP status %u", status);
        complain(otlp, what);
        if (status == 429 || status == 502 || status == 503 || status == 504) {
            try_later(otlp, now_ns, answer->retry_after_s);
            return;
        }
        otlp->counts.lost += otlp->batch_spans;
    }
    drop_batch(otlp);
    otlp->at_ns = CLOCK_NEVER;
}

static void take_answer(struct otlp *otlp)
{
    struct http_answer answer;
    if (http_post_take(otlp->post, &answer) != 0)
        return;
    otlp->posting = false;
    answered(otlp, &answer, clock_now_ns());
}

static void on_posted(struct source *source, uint32_t events)
{
    (void)events;
    take_answer((struct otlp *)source); /* its first member; the turn goes on with otlp_turn() */
}

static void make_batch(struct otlp *otlp)
{
    const struct tracer *tracer = &otlp->broker->tracer;
    const struct kept_span *spans[OTLP_BATCH_MAX];
    size_t count = 0;
    for (; otlp->next < tracer->count && count < OTLP_BATCH_MAX; otlp->next++)
        spans[count++] = &tracer->kept[otlp->next % TRACE_KEPT_MAX];
    if (otlp_encode(spans, count, &otlp->batch, &otlp->batch_bytes) < 0) {
        complain(otlp, "out of memory");
        otlp->counts.lost += count;
        return;
    }
    otlp->batch_spans = count;
}

uint64_t otlp_next_ns(const struct otlp *otlp)
{
    return otlp->posting ? CLOCK_NEVER : otlp->at_ns;
}

void otlp_turn(struct otlp *otlp, uint64_t now_ns)
{
    if (otlp->posting)
        return;
    uint64_t waiting = otlp->broker->tracer.count - otlp->next;
    if (!otlp->batch && waiting > 0 && otlp->at_ns == CLOCK_NEVER)
        otlp->at_ns = now_ns + OTLP_DELAY_NS;
    if (otlp->at_ns > now_ns && (otlp->batch || waiting < OTLP_BATCH_MAX))
        return;
    if (!otlp->batch)
        make_batch(otlp);
    otlp->at_ns = CLOCK_NEVER;
    if (!otlp->batch)
        return;
    int r = http_post_send(otlp->post, otlp->batch, otlp->batch_bytes, OTLP_TIMEOUT_NS);
    if (r == 0) {
        otlp->posting = true;
        return;
    }
    complain(otlp, strerror(-r));
    try_later(otlp, now_ns, 0);
}

void otlp_forget(struct otlp *otlp, uint64_t number)
{
    if (otlp->next > number)
        return;
    otlp->counts.lost += number + 1 - otlp->next;
    otlp->next = number + 1;
}

void otlp_counts(const struct otlp *otlp, struct otlp_counts *ret_counts)
{
    *ret_counts = otlp->counts;
    ret_counts->waiting = otlp->broker->tracer.count - otlp->next + otlp->batch_spans;
}

int otlp_new(struct broker *broker, const char *url, struct otlp **ret_otlp,
             struct error_text *error)
{
    struct otlp *otlp = calloc(1, sizeof(*otlp));
    if (!otlp)
        return error_set(error, -ENOMEM, "out of memory");
    otlp->source.ready = on_posted;
    otlp->broker = broker;
    otlp->next = broker->tracer.count;
    otlp->at_ns = CLOCK_NEVER;
    otlp->pause_ns = OTLP_PAUSE_NS_MIN;
    otlp->random = random_id();
    int r = http_post_new(url, "application/x-protobuf", &otlp->post, error);
    if (r == 0) {
        r = broker_watch(broker, http_post_fd(otlp->post), WAIT_IN, &otlp->source);
        if (r < 0) {
            otlp->post = http_post_free(otlp->post);
            (void)error_set(error, r, "cannot wait for the OTLP receiver: %s", strerror(-r));
        }
    }
    if (r < 0) {
        free(otlp);
        return r;
    }
    *ret_otlp = otlp;
    return 0;
}

struct otlp *otlp_free(struct otlp *otlp)
{
    if (!otlp)
        return NULL;
    broker_unwatch(otlp->broker, http_post_fd(otlp->post), &otlp->source);
    http_post_free(otlp->post);
    drop_batch(otlp);
    free(otlp);
    return NULL;
}
