/*
 * Spans: read from rings that endpoints write, as statistics are.
 *
 * Whether calls are traced, and how many, stands in the route page's header; endpoints look there
 * for each call. One that traces its first call makes a ring and hands it over; we read all rings
 * on a timer, every 10 ms while much comes and every second while nothing does, and when somebody
 * asks. While tracing is off, or nobody has a ring, there is no timer. A writer waits for nobody:
 * what it overwrote before we came is counted as lost, by the difference of two positions.
 *
 * A ring is a seqlock of its own kind: the writer stores `begun` before it writes a slot and
 * `written` after; we copy a slot and then look at `begun` to see whether it was still the same
 * span. What is copied is the endpoint's word for it and is bounded before it is kept: times to
 * before now, indexes to what there is, names as copied and cleaned once from its statistics. So a
 * liar has spans of its own that lie, and every span says whose it is.
 *
 * The newest spans are kept, in memory that is allocated when tracing is switched on.
 */
#include "broker/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "broker/broker.h"

#define SPANS_REGION_BYTES (SPANS_SLOTS_OFFSET + SPANS_SLOT_COUNT * sizeof(struct spans_slot))

struct traced {
    struct region region;
    uint64_t read;                                 /* spans of the ring that we are done with */
    struct span_subject *subjects[STATS_CELL_MAX]; /* NULL: not needed yet */
};

/* ---- Subjects ---- */

static void subject_drop(struct span_subject *subject)
{
    if (subject && --subject->users == 0)
        free(subject);
}

static struct span_subject *subject_new(const struct endpoint *endpoint, uint32_t index)
{
    const struct stats_cell *cell =
        (const struct stats_cell *)((const uint8_t *)endpoint->stats.base + STATS_CELLS_OFFSET) +
        index;
    struct span_subject *subject = calloc(1, sizeof(*subject));
    if (!subject)
        return NULL;
    subject->users = 1;
    stats_copy_name(subject->interface, cell->interface_name, sizeof(subject->interface));
    stats_copy_name(subject->method, cell->method, sizeof(subject->method));
    stats_copy_name(subject->asked, cell->asked, sizeof(subject->asked));
    stats_copy_name(subject->served, cell->served, sizeof(subject->served));
    subject->service = *(const volatile uint32_t *)&cell->side == 1;
    static_assert(sizeof(subject->endpoint) == sizeof(endpoint->name), "names fit");
    memcpy(subject->endpoint, endpoint->name, sizeof(subject->endpoint));
    subject->endpoint_id = endpoint->id;
    subject->pid = (uint32_t)endpoint->peer.pid;
    return subject;
}

/* NULL: there is no such cell; or no memory. */
static struct span_subject *subject_of(struct endpoint *endpoint, uint32_t index)
{
    const struct stats_header *header = endpoint->stats.base;
    if (index >= STATS_CELL_MAX)
        return NULL;
    struct span_subject **subject = &endpoint->traced->subjects[index];
    /* acquire: pairs with the release in stats_cell_find(); names below it are written. */
    if (!*subject && index < atomic_load_explicit(&header->cell_count, memory_order_acquire))
        *subject = subject_new(endpoint, index);
    return *subject;
}

/* ---- Keeping ---- */

static void keep(struct tracer *tracer, const struct kept_span *span)
{
    struct kept_span *place = &tracer->kept[tracer->count % TRACE_KEPT_MAX];
    if (tracer->otlp && tracer->count >= TRACE_KEPT_MAX)
        otlp_forget(tracer->otlp, tracer->count - TRACE_KEPT_MAX);
    subject_drop(place->subject);
    *place = *span;
    place->subject->users++;
    tracer->count++;
}

static unsigned bits(uint64_t word, unsigned shift, unsigned mask)
{
    return (unsigned)(word >> shift) & mask;
}

/* False: no span. @now_ns, and @epoch_ns, by which the two clocks differ: of this reading. */
static bool bound(struct endpoint *endpoint, const uint64_t words[SPANS_WORDS], uint64_t now_ns,
                  uint64_t epoch_ns, struct kept_span *ret_span)
{
    uint64_t rest = words[SPANS_REST];
    struct span_subject *subject = subject_of(endpoint, bits(rest, SPANS_CELL_SHIFT, 0xff));
    if (!subject || words[SPANS_SPAN_ID] == 0 ||
        (words[SPANS_TRACE_ID] | words[SPANS_TRACE_ID + 1]) == 0)
        return false;
    uint64_t start = words[SPANS_START_NS] < now_ns ? words[SPANS_START_NS] : now_ns;
    uint64_t duration = words[SPANS_DURATION_NS];
    unsigned status = bits(rest, SPANS_STATUS_SHIFT, 0xff);
    *ret_span = (struct kept_span){
        .start_unix_ns = epoch_ns + start,
        .duration_ns = duration < now_ns - start ? duration : now_ns - start,
        .crossing_ns = (uint32_t)rest,
        .status = (uint8_t)(status < PARLEY_STATUS_COUNT ? status : PARLEY_UNKNOWN),
        .class = (uint8_t)bits(rest, SPANS_CLASS_SHIFT, 3),
        .executed = (uint8_t)bits(rest, SPANS_EXECUTED_SHIFT, 3),
        .attempts = (uint8_t)bits(rest, SPANS_ATTEMPTS_SHIFT, 15),
        .one_way = bits(rest, SPANS_ONE_WAY_SHIFT, 1),
        .subject = subject,
    };
    if (ret_span->executed > 2)
        ret_span->executed = 2;
    memcpy(ret_span->trace_id, &words[SPANS_TRACE_ID], sizeof(ret_span->trace_id));
    memcpy(ret_span->span_id, &words[SPANS_SPAN_ID], sizeof(ret_span->span_id));
    memcpy(ret_span->parent_id, &words[SPANS_PARENT_ID], sizeof(ret_span->parent_id));
    if (subject->service) {
        ret_span->peer_pid = (uint32_t)words[SPANS_PEER];
    } else if (words[SPANS_PEER] != 0) {
        const struct instance *instance =
            directory_instance(&endpoint->broker->directory, words[SPANS_PEER]);
        ret_span->instance_id = words[SPANS_PEER];
        ret_span->peer_pid = instance ? (uint32_t)instance->endpoint->peer.pid : 0;
    }
    return true;
}

/* Return: spans that were there, read or not. */
static uint64_t read_ring(struct endpoint *endpoint, uint64_t now_ns, uint64_t epoch_ns)
{
    struct tracer *tracer = &endpoint->broker->tracer;
    struct traced *traced = endpoint->traced;
    const struct spans_header *header = traced->region.base;
    const struct spans_slot *slots =
        (const struct spans_slot *)((const uint8_t *)traced->region.base + SPANS_SLOTS_OFFSET);
    /* acquire: pairs with the release in the writer's put(); slots below it are whole */
    uint64_t written = atomic_load_explicit(&header->written, memory_order_acquire);
    uint64_t there = written - traced->read;
    if (there > UINT32_MAX) { /* backwards, or further than anybody gets: a liar begins anew */
        traced->read = written;
        tracer->bad++;
        return 0;
    }
    if (there > SPANS_SLOT_COUNT) {
        tracer->lost += there - SPANS_SLOT_COUNT;
        traced->read = written - SPANS_SLOT_COUNT;
    }
    for (; traced->read != written; traced->read++) {
        const struct spans_slot *slot = &slots[traced->read % SPANS_SLOT_COUNT];
        uint64_t words[SPANS_WORDS];
        for (unsigned i = 0; i < SPANS_WORDS; i++)
            words[i] = atomic_load_explicit(&slot->word[i], memory_order_acquire);
        /* relaxed: the acquire loads above keep it behind them */
        uint64_t begun = atomic_load_explicit(&header->begun, memory_order_relaxed);
        struct kept_span span;
        if (begun - traced->read > SPANS_SLOT_COUNT)
            tracer->lost++; /* overwritten while we read it */
        else if (bound(endpoint, words, now_ns, epoch_ns, &span))
            keep(tracer, &span);
        else
            tracer->bad++;
    }
    return there;
}

/* What to add to the monotonic clock for the time of day. */
static uint64_t epoch(uint64_t now_ns)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec - now_ns;
}

/* Return: the most that was in one ring. */
static uint64_t read_all(struct broker *broker, uint64_t now_ns)
{
    uint64_t epoch_ns = epoch(now_ns), most = 0;
    struct endpoint *endpoint;
    TAILQ_FOREACH (endpoint, &broker->endpoints, entry) {
        uint64_t there = endpoint->traced ? read_ring(endpoint, now_ns, epoch_ns) : 0;
        most = there > most ? there : most;
    }
    return most;
}

void trace_read(struct broker *broker)
{
    if (broker->tracer.kept && broker->tracer.rings > 0)
        (void)read_all(broker, clock_now_ns());
}

/* ---- Rings ---- */

static int ring_map(struct endpoint *endpoint, int fd, struct region *ret_region,
                    struct error_text *error)
{
    struct region region;
    size_t bytes_max =
        (SPANS_REGION_BYTES + LAYOUT_PAGE_BYTES - 1) & ~(size_t)(LAYOUT_PAGE_BYTES - 1);
    int r = region_map(&region, fd, SPANS_REGION_BYTES, bytes_max, error);
    if (r < 0)
        return r;
    const struct spans_header *header = region.base;
    if (header->magic != SPANS_MAGIC || header->version != LAYOUT_VERSION ||
        header->slot_count != SPANS_SLOT_COUNT || header->slot_bytes != sizeof(struct spans_slot) ||
        header->endpoint_id != endpoint->id) {
        region_deinit(&region);
        return error_set(error, -EPROTO,
                         "not this endpoint's, or not of layout version %d: upgrade the older of "
                         "endpoint and broker",
                         LAYOUT_VERSION);
    }
    *ret_region = region;
    return 0;
}

void trace_on_spans(struct endpoint *endpoint, const Parley__Spans *message, int fd)
{
    struct error_text error = {""};
    if (endpoint->traced) {
        session_refuse(endpoint, PARLEY_INVALID_ARGUMENT, "a second ring of spans");
        return;
    }
    struct traced *traced = calloc(1, sizeof(*traced));
    int r = traced ? ring_map(endpoint, fd, &traced->region, &error) : -ENOMEM;
    if (r < 0) {
        free(traced);
        session_refuse(endpoint, session_status(r == -EPROTO ? -EINVAL : r),
                       "the ring of spans: %s", error.text[0] ? error.text : strerror(-r));
        return;
    }
    traced->read = message->from;
    endpoint->traced = traced;
    struct tracer *tracer = &endpoint->broker->tracer;
    tracer->rings++;
    tracer->poll_every_ns = TRACE_POLL_NS_MIN;
    tracer->poll_at_ns = 0;
}

void trace_endpoint_gone(struct endpoint *endpoint)
{
    struct traced *traced = endpoint->traced;
    if (!traced)
        return;
    uint64_t now_ns = clock_now_ns();
    if (endpoint->broker->tracer.kept)
        (void)read_ring(endpoint, now_ns, epoch(now_ns));
    for (unsigned i = 0; i < STATS_CELL_MAX; i++)
        subject_drop(traced->subjects[i]);
    region_deinit(&traced->region);
    free(traced);
    endpoint->traced = NULL;
    endpoint->broker->tracer.rings--;
}

/* ---- On and off ---- */

int trace_set(struct broker *broker, bool on, uint32_t rate)
{
    struct tracer *tracer = &broker->tracer;
    if (on && !tracer->kept) {
        tracer->kept = calloc(TRACE_KEPT_MAX, sizeof(*tracer->kept));
        if (!tracer->kept)
            return -ENOMEM;
    }
    if (!on)
        trace_read(broker); /* what there is */
    tracer->on = on;
    tracer->rate = on ? rate : 0;
    tracer->poll_every_ns = TRACE_POLL_NS_MIN;
    tracer->poll_at_ns = 0;
    struct route_header *header = broker->routes.region.base;
    /* relaxed: a call sooner or later makes no difference */
    atomic_store_explicit(&header->trace_per_100000, on ? ROUTE_TRACE_ON | tracer->rate : 0,
                          memory_order_relaxed);
    return 0;
}

int trace_export(struct broker *broker, const char *url, struct error_text *error)
{
    return otlp_new(broker, url, &broker->tracer.otlp, error);
}

void trace_deinit(struct broker *broker)
{
    struct tracer *tracer = &broker->tracer;
    tracer->otlp = otlp_free(tracer->otlp);
    for (uint32_t i = 0; tracer->kept && i < TRACE_KEPT_MAX; i++)
        subject_drop(tracer->kept[i].subject);
    free(tracer->kept);
    tracer->kept = NULL;
}

uint64_t trace_next_ns(const struct broker *broker)
{
    const struct tracer *tracer = &broker->tracer;
    uint64_t at = tracer->on && tracer->rings > 0 ? tracer->poll_at_ns : CLOCK_NEVER;
    uint64_t otlp = tracer->otlp ? otlp_next_ns(tracer->otlp) : CLOCK_NEVER;
    return otlp < at ? otlp : at;
}

void trace_turn(struct broker *broker, uint64_t now_ns)
{
    struct tracer *tracer = &broker->tracer;
    if (tracer->on && tracer->rings > 0 && now_ns >= tracer->poll_at_ns) {
        uint64_t most = read_all(broker, now_ns);
        if (most > SPANS_SLOT_COUNT / 8)
            tracer->poll_every_ns = TRACE_POLL_NS_MIN;
        else if (most > 0 && tracer->poll_every_ns > TRACE_POLL_NS_MAX / 8)
            tracer->poll_every_ns = TRACE_POLL_NS_MAX / 8;
        else if (tracer->poll_every_ns < TRACE_POLL_NS_MAX)
            tracer->poll_every_ns += tracer->poll_every_ns / 4;
        tracer->poll_at_ns = now_ns + tracer->poll_every_ns;
    }
    if (tracer->otlp)
        otlp_turn(tracer->otlp, now_ns);
}

/* ---- Answering ---- */

/* A span and what its message points to, in one block. */
struct span_reply {
    Parley__Span message;
    struct kept_span span;
};

static bool is_wanted(const struct kept_span *span, const Parley__TraceRequest *request)
{
    if (request->has_trace_id &&
        memcmp(request->trace_id.data, span->trace_id, sizeof(span->trace_id)) != 0)
        return false;
    if (request->interface && strcmp(request->interface, span->subject->interface) != 0)
        return false;
    if (request->has_status && request->status != span->status)
        return false;
    if (request->failed && span->status == PARLEY_OK)
        return false;
    return span->duration_ns >= request->min_duration_ns;
}

static void fill_span(struct span_reply *reply, const struct kept_span *span, uint64_t number)
{
    static const uint8_t none[8];
    reply->span = *span;
    const struct span_subject *subject = span->subject;
    Parley__Span *out = &reply->message;
    parley__span__init(out);
    out->has_number = out->has_trace_id = out->has_span_id = out->has_service = true;
    out->number = number;
    out->trace_id = (ProtobufCBinaryData){sizeof(span->trace_id), reply->span.trace_id};
    out->span_id = (ProtobufCBinaryData){sizeof(span->span_id), reply->span.span_id};
    out->has_parent_id = memcmp(span->parent_id, none, sizeof(none)) != 0;
    out->parent_id = (ProtobufCBinaryData){sizeof(span->parent_id), reply->span.parent_id};
    out->service = subject->service;
    out->interface = (char *)(uintptr_t)subject->interface;
    out->method = (char *)(uintptr_t)subject->method;
    out->asked = (char *)(uintptr_t)subject->asked;
    out->served = (char *)(uintptr_t)subject->served;
    out->endpoint = (char *)(uintptr_t)subject->endpoint;
    out->has_pid = out->has_start_unix_ns = out->has_duration_ns = out->has_status = true;
    out->pid = subject->pid;
    out->start_unix_ns = span->start_unix_ns;
    out->duration_ns = span->duration_ns;
    out->status = span->status;
    out->has_translation = out->has_crossing_ns = out->has_executed = out->has_attempts = true;
    out->translation = span->class;
    out->crossing_ns = span->crossing_ns;
    out->executed = span->executed;
    out->attempts = span->attempts;
    out->has_peer_pid = span->peer_pid != 0;
    out->peer_pid = span->peer_pid;
    out->has_instance_id = span->instance_id != 0;
    out->instance_id = span->instance_id;
    out->has_one_way = span->one_way;
    out->one_way = span->one_way;
}

/* The first number that the request is about. */
static uint64_t first_of(const struct tracer *tracer, const Parley__TraceRequest *request)
{
    uint64_t oldest = tracer->count > TRACE_KEPT_MAX ? tracer->count - TRACE_KEPT_MAX : 0;
    if (request->has_since && request->since > oldest)
        return request->since < tracer->count ? request->since : tracer->count;
    return oldest;
}

/* Those that fit: the newest of them, or, after `since`, the oldest, so that none is passed over.
 */
static int fill_spans(const struct tracer *tracer, const Parley__TraceRequest *request,
                      struct span_reply *replies, Parley__TraceReply *trace)
{
    uint64_t max =
        request->limit && request->limit < TRACE_REPLY_MAX ? request->limit : TRACE_REPLY_MAX;
    uint64_t number = first_of(tracer, request), found = 0;
    uint64_t from = number;
    if (!request->has_since) { /* where the newest @max begin */
        for (from = tracer->count; from > number && found < max; from--)
            found += is_wanted(&tracer->kept[(from - 1) % TRACE_KEPT_MAX], request);
    }
    for (number = from; number < tracer->count && trace->n_span < max; number++) {
        const struct kept_span *span = &tracer->kept[number % TRACE_KEPT_MAX];
        if (!is_wanted(span, request))
            continue;
        struct span_reply *reply = &replies[trace->n_span];
        fill_span(reply, span, number);
        trace->span[trace->n_span++] = &reply->message;
    }
    trace->has_next = true;
    trace->next = number;
    return 0;
}

static void fill_counts(const struct tracer *tracer, struct otlp_counts *counts,
                        Parley__TraceReply *trace)
{
    trace->has_on = trace->has_rate_per_100000 = true;
    trace->on = tracer->on;
    trace->rate_per_100000 = tracer->rate;
    trace->has_read = trace->has_lost = trace->has_bad = true;
    trace->read = tracer->count;
    trace->lost = tracer->lost;
    trace->bad = tracer->bad;
    if (!tracer->otlp)
        return;
    otlp_counts(tracer->otlp, counts);
    trace->has_exported = trace->has_export_lost = trace->has_export_waiting = true;
    trace->has_export_failed = true;
    trace->exported = counts->exported;
    trace->export_lost = counts->lost;
    trace->export_failed = counts->failed;
    trace->export_waiting = counts->waiting;
    trace->export_error = counts->error[0] ? counts->error : NULL;
}

static int refuse(Parley__ControlReply *reply, const char *text, uint8_t **ret_data,
                  size_t *ret_bytes)
{
    reply->status = PARLEY_INVALID_ARGUMENT;
    reply->text = (char *)(uintptr_t)text;
    return control_pack(reply, ret_data, ret_bytes);
}

static int change(struct broker *broker, const Parley__TraceRequest *request)
{
    const struct tracer *tracer = &broker->tracer;
    bool on = !request->off;
    if (on == tracer->on && (!on || request->rate_per_100000 == tracer->rate))
        return 0;
    int r = trace_set(broker, on, request->rate_per_100000);
    if (r < 0)
        return r;
    const struct event event = {.topic = "trace"};
    if (on)
        event_publish(broker, &event, "%g %% of calls are traced",
                      request->rate_per_100000 / 1000.0);
    else
        event_publish(broker, &event, "no call is traced");
    return 0;
}

int control_trace(struct broker *broker, const Parley__TraceRequest *request,
                  Parley__ControlReply *reply, uint8_t **ret_data, size_t *ret_bytes)
{
    struct tracer *tracer = &broker->tracer;
    if (request->has_trace_id && request->trace_id.len != sizeof(tracer->kept->trace_id))
        return refuse(reply, "a trace id has 16 bytes", ret_data, ret_bytes);
    if (request->has_rate_per_100000 && request->rate_per_100000 > ROUTE_BUCKETS)
        return refuse(reply, "a rate is 0 to 100,000 of 100,000 calls", ret_data, ret_bytes);
    if (request->has_rate_per_100000 || request->off) {
        int r = change(broker, request);
        if (r < 0)
            return r;
    }
    trace_read(broker);
    struct span_reply *replies = calloc(TRACE_REPLY_MAX, sizeof(*replies));
    Parley__Span **spans = calloc(TRACE_REPLY_MAX, sizeof(*spans));
    Parley__TraceReply trace = PARLEY__TRACE_REPLY__INIT;
    struct otlp_counts counts = {0};
    int r = replies && spans ? 0 : -ENOMEM;
    if (r == 0) {
        trace.span = spans;
        if (tracer->kept)
            fill_spans(tracer, request, replies, &trace);
        fill_counts(tracer, &counts, &trace);
        reply->body_case = PARLEY__CONTROL_REPLY__BODY_TRACE;
        reply->trace = &trace;
        r = control_pack(reply, ret_data, ret_bytes);
    }
    free(spans);
    free(replies);
    return r;
}
