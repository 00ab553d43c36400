/*
 * Tracing: which calls are sampled, and the spans that their two sides write.
 *
 * Whether anything is traced stands in the broker's route page, and every endpoint looks there for
 * each call. A call is sampled if the call that it is made for is; if its metadata say so, by a
 * W3C traceparent with the sampled flag or by gray.trace; or, if it is made for no other call, by
 * the rate. Who begins a trace decides for all of it: what is called from inside a call that was
 * not sampled is not, unless it is marked.
 *
 * The context of a sampled call travels as 24 bytes behind its metadata (FRAME_TRACED): 55 bytes of
 * text would have to be written, checked and read again at each hop. Who asks for the metadata
 * "traceparent" gets the text, made then. One that came as text and is not sampled stays what it
 * is.
 *
 * Each side writes its span when the call ends, into a ring in shared memory that the broker reads
 * (layout.h): eight words, no system call. It waits for nobody; what the broker did not read in
 * time it counts as lost. The ring is made with the first span: an endpoint that is never traced
 * has none. Names are not in it: a span has the number of the statistics cell that has them.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"

static const _Atomic uint32_t wants_nothing;

/* ---- The ring ---- */

void spans_init(struct spans *spans)
{
    spans->region = REGION_NONE;
    spans->ids[0] = random_id();
    spans->ids[1] = random_id();
    spans->wanted = &wants_nothing;
}

void spans_deinit(struct spans *spans)
{
    region_deinit(&spans->region);
}

void spans_routed(struct spans *spans, const struct region *route)
{
    spans->wanted = &((const struct route_header *)route->base)->trace_per_100000;
}

static int make(struct spans *spans, uint64_t endpoint_id, struct error_text *error)
{
    size_t bytes = SPANS_SLOTS_OFFSET + SPANS_SLOT_COUNT * sizeof(struct spans_slot);
    int r = region_create(&spans->region, "spans", bytes, error);
    if (r < 0)
        return r;
    spans->header = spans->region.base;
    spans->slots = (struct spans_slot *)((uint8_t *)spans->region.base + SPANS_SLOTS_OFFSET);
    spans->header->magic = SPANS_MAGIC;
    spans->header->version = LAYOUT_VERSION;
    spans->header->slot_count = SPANS_SLOT_COUNT;
    spans->header->slot_bytes = sizeof(struct spans_slot);
    spans->header->endpoint_id = endpoint_id;
    return 0;
}

void spans_hand_over(struct parley_endpoint *endpoint)
{
    if (!endpoint->spans.region.base || !endpoint->welcomed)
        return;
    Parley__Spans body = PARLEY__SPANS__INIT;
    body.has_from = true;
    body.from = endpoint->spans.from;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_SPANS;
    message.spans = &body;
    (void)endpoint_send(endpoint, &message, &endpoint->spans.region.fd, 1);
}

bool spans_ready(struct parley_endpoint *endpoint)
{
    struct spans *spans = &endpoint->spans;
    if (__builtin_expect(spans->region.base != NULL, 1))
        return true;
    if (spans->failed)
        return false;
    struct error_text error = {""};
    if (make(spans, endpoint->endpoint_id, &error) < 0) {
        log_warn("calls are not traced: %s", error.text);
        spans->failed = true;
        return false;
    }
    spans_hand_over(endpoint);
    return true;
}

static inline void put_word(struct spans_slot *slot, unsigned i, uint64_t word)
{
    /* release: whoever has read it (acquire, in the broker's trace.c) finds `begun` as it was
     * stored before, and so that this slot is not what it was. */
    atomic_store_explicit(&slot->word[i], word, memory_order_release);
}

static inline void put(struct spans *spans, const struct call_span *span, uint64_t start_ns,
                       uint64_t end_ns, uint64_t peer, uint64_t rest)
{
    const uint64_t number = spans->written;
    struct spans_slot *slot = &spans->slots[number % SPANS_SLOT_COUNT];
    struct spans_header *header = spans->header;
    spans->written = number + 1;
    atomic_store_explicit(&header->begun, number + 1, memory_order_relaxed);
    put_word(slot, 0, span->trace_id[0]); /* one by one: an array of them would be read back */
    put_word(slot, 1, span->trace_id[1]);
    put_word(slot, 2, span->span_id);
    put_word(slot, 3, span->parent_id);
    put_word(slot, 4, start_ns);
    put_word(slot, 5, end_ns - start_ns);
    put_word(slot, 6, peer);
    put_word(slot, 7, rest);
    /* release: pairs with the broker's acquire; the slot is whole */
    atomic_store_explicit(&header->written, number + 1, memory_order_release);
}
static_assert(SPANS_WORDS == 8, "all that put() writes");

static uint64_t rest_of(const struct parley_endpoint *endpoint, const struct stats_cell *cell,
                        const struct call_span *span, unsigned status, unsigned class,
                        unsigned executed)
{
    uint64_t index = (uint64_t)(cell - endpoint->stats.cells);
    return span->crossing_ns | index << SPANS_CELL_SHIFT |
           (uint64_t)(status & 0xff) << SPANS_STATUS_SHIFT |
           (uint64_t)(class & 15) << SPANS_CLASS_SHIFT |
           (uint64_t)(executed & 15) << SPANS_EXECUTED_SHIFT;
}

/* ---- W3C's text ---- */

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; /* capitals are not allowed */
}

static bool read_hex(const char *text, uint8_t *out, size_t bytes)
{
    bool zero = true;
    for (size_t i = 0; i < bytes; i++) {
        int high = digit(text[2 * i]);
        int low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
        zero = zero && out[i] == 0;
    }
    return bytes == 1 || !zero; /* of all 0 is no id */
}

int trace_parse(const char *text, size_t bytes, uint64_t ret_trace_id[2], uint64_t *ret_parent_id,
                bool *ret_sampled)
{
    uint8_t version, flags;
    struct frame_trace ids;
    if (bytes < TRACE_PARENT_TEXT_BYTES || text[2] != '-' || text[35] != '-' || text[52] != '-' ||
        !read_hex(text, &version, 1) || !read_hex(text + 3, ids.trace_id, sizeof(ids.trace_id)) ||
        !read_hex(text + 36, ids.span_id, sizeof(ids.span_id)) || !read_hex(text + 53, &flags, 1))
        return -EINVAL;
    /* A later version may say more behind a dash; 255 is none. */
    if (version == 0xff ||
        (bytes > TRACE_PARENT_TEXT_BYTES && (version == 0 || text[TRACE_PARENT_TEXT_BYTES] != '-')))
        return -EINVAL;
    memcpy(ret_trace_id, ids.trace_id, sizeof(ids.trace_id));
    memcpy(ret_parent_id, ids.span_id, sizeof(ids.span_id));
    *ret_sampled = flags & 1;
    return 0;
}

static char *write_hex(char *out, const void *id, size_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *from = id;
    for (size_t i = 0; i < bytes; i++) {
        *out++ = digits[from[i] >> 4];
        *out++ = digits[from[i] & 15];
    }
    return out;
}

const char *trace_context_text(struct parley_context *context, size_t *ret_bytes)
{
    char *out = context->traceparent;
    memcpy(out, "00-", 3);
    out = write_hex(out + 3, context->span.trace_id, sizeof(context->span.trace_id));
    *out++ = '-';
    out = write_hex(out, &context->span.span_id, sizeof(context->span.span_id));
    memcpy(out, "-01", 4);
    if (ret_bytes)
        *ret_bytes = TRACE_PARENT_TEXT_BYTES;
    return context->traceparent;
}

/* ---- A client's side ---- */

static uint64_t new_id(uint64_t *stream)
{
    uint64_t id = random_next(stream);
    return __builtin_expect(id == 0, 0) ? 1 : id;
}

static void begin_trace(struct call_span *span, struct spans *spans)
{
    span->trace_id[0] = new_id(&spans->ids[0]);
    span->trace_id[1] = new_id(&spans->ids[1]);
    span->parent_id = 0;
}

static bool is_marked(const struct call *call)
{
    size_t bytes;
    const char *value = metadata_find(call->metadata, call->metadata_bytes, "gray.trace", &bytes);
    return value && bytes == 1 && *value == '1';
}

/* Sets trace and parent. False: it is not sampled. */
static bool is_sampled(struct call *call, struct spans *spans, const struct parley_context *parent,
                       uint32_t tracing)
{
    struct call_span *span = &call->span;
    size_t bytes;
    const char *text = NULL;
    bool marked = false, sampled;
    if (call->metadata_bytes > 0) {
        text = metadata_find(call->metadata, call->metadata_bytes, "traceparent", &bytes);
        marked = is_marked(call);
    }
    if (text && trace_parse(text, bytes, span->trace_id, &span->parent_id, &sampled) == 0) {
        if (!sampled && !marked)
            return false;
        metadata_remove(call->metadata, &call->metadata_bytes, "traceparent");
        return true;
    }
    if (parent && parent->traced) {
        memcpy(span->trace_id, parent->span.trace_id, sizeof(span->trace_id));
        span->parent_id = parent->span.span_id;
        return true;
    }
    if (!marked && (parent || !spans_sample(spans, tracing)))
        return false;
    begin_trace(span, spans);
    return true;
}

void trace_call_begin(struct call *call, struct parley_endpoint *endpoint,
                      const struct parley_context *parent, uint32_t tracing)
{
    struct call_span *span = &call->span;
    if (!is_sampled(call, &endpoint->spans, parent, tracing) || !spans_ready(endpoint))
        return;
    span->span_id = new_id(&endpoint->spans.ids[1]);
    span->crossing_ns = 0;
    call->traced = true;
    if (call->metadata_bytes == 0)
        return;
    size_t bytes = call->metadata_bytes + sizeof(struct frame_trace);
    if (bytes > call->metadata_bytes_max) {
        uint8_t *grown = realloc(call->metadata, bytes);
        if (!grown) {
            call->traced = false;
            return;
        }
        call->metadata = grown;
        call->metadata_bytes_max = bytes;
    }
    memcpy(call->metadata + call->metadata_bytes, span, sizeof(struct frame_trace));
}

void trace_plain_begin(struct call *call, struct spans *spans)
{
    struct call_span *span = &call->span;
    begin_trace(span, spans);
    span->span_id = new_id(&spans->ids[1]);
    span->crossing_ns = 0;
    call->traced = true;
}

void trace_call_end(const struct call *call, const struct stats_cell *cell, uint64_t now,
                    unsigned status, unsigned executed)
{
    struct parley_endpoint *endpoint = call->client->endpoint;
    uint64_t attempts = call->attempts < 15 ? call->attempts : 15;
    put(&endpoint->spans, &call->span, call->started_ns, now,
        call->channel ? call->channel->instance_id : 0,
        rest_of(endpoint, cell, &call->span, status, call_translation(call), executed) |
            attempts << SPANS_ATTEMPTS_SHIFT | (uint64_t)call->one_way << SPANS_ONE_WAY_SHIFT);
}

/* ---- A service's side ---- */

int trace_context_begin(struct parley_context *context, struct parley_endpoint *endpoint,
                        const uint8_t *trace)
{
    struct call_span *span = &context->span;
    uint64_t words[3]; /* a frame_trace, read once */
    static_assert(sizeof(words) == sizeof(struct frame_trace), "its words");
    memcpy(words, trace, sizeof(words));
    if (__builtin_expect((words[0] | words[1]) == 0 || words[2] == 0, 0))
        return -EBADMSG;
    if (spans_wanted(&endpoint->spans) == 0 || !spans_ready(endpoint))
        return 0; /* whatever the client says */
    span->trace_id[0] = words[0];
    span->trace_id[1] = words[1];
    span->parent_id = words[2];
    span->span_id = new_id(&endpoint->spans.ids[1]);
    span->crossing_ns = 0;
    context->traced = true;
    return 0;
}

void trace_context_end(const struct parley_context *context, uint64_t now, unsigned status)
{
    const struct parley_service *service = context->service;
    const struct channel *channel = context->channel;
    struct parley_endpoint *endpoint = service->endpoint;
    unsigned class = channel ? plan_class(channel->held->plan) : PLAN_IDENTITY;
    put(&endpoint->spans, &context->span, context->started_ns, now,
        (uint32_t)context->peer.pid | (uint64_t)context->peer.uid << 32,
        rest_of(endpoint, context->cell, &context->span, status, class, PARLEY_EXECUTED_YES) |
            UINT64_C(1) << SPANS_ATTEMPTS_SHIFT |
            (uint64_t)context->one_way << SPANS_ONE_WAY_SHIFT);
}
