/*
 * Serving: what becomes of a frame that a client has sent, up to the answer.
 *
 * A request crosses once: the plan runner reads the client's memory and writes a private message in
 * our version; only after that is the ring's record given back, and only after that does the
 * handler run, so that a position we have not published means a call we have not executed.
 */
#include "rpc/frames.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/call_path.h"
#include "base/log.h"
#include "base/probes.h"
#include "rpc/refs.h"

/* ---- Answers ---- */

static void set_load(struct channel *channel, struct parley_service *service)
{
    atomic_store_explicit(&channel->ours.cells->load, service->serving, memory_order_relaxed);
}

static void hang_up_if_done(struct channel *channel)
{
    if (channel->state == CHANNEL_UP && channel->bye && channel->serving == 0 &&
        channel->queue.count == 0)
        channel_kill(channel, PARLEY_UNAVAILABLE, "drained");
}

RING_INLINE struct frame_words response_words(const struct frame_header *given)
{
    struct frame_header header = frame_header_copy(given);
    header.kind = FRAME_RESPONSE;
    header.version_tag = FRAME_TAG_SERVICE;
    return frame_words_of(&header);
}

RING_INLINE int send_response(struct channel *channel, const struct frame_header *given,
                              const struct body *body)
{
    const struct frame_words words = response_words(given);
    int r = channel_send_frame(channel, &words, body, NULL);
    if (__builtin_expect(r >= 0, 1))
        channel_ring_if_asleep(channel);
    else if (r == -EPROTO)
        channel_break(channel, "an impossible cursor");
    else if (r == -ENOBUFS)
        channel_kill(channel, PARLEY_RESOURCE_EXHAUSTED, "the client takes no answers");
    return r == -ESTALE ? r : 0;
}

int service_send_response(struct channel *channel, struct frame_header *header, struct body *body)
{
    return send_response(channel, header, body);
}

/* Ends a request that no handler saw. Of @frame the header is needed, no more. */
static void refuse(struct channel *channel, const struct frame *frame, enum parley_status status,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));
static void refuse(struct channel *channel, const struct frame *frame, enum parley_status status,
                   const char *format, ...)
{
    char text[RPC_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    size_t bytes = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
    struct frame_header header = {.call_id = frame->header.call_id,
                                  .status = (uint8_t)status,
                                  .executed = PARLEY_EXECUTED_NO};
    struct body body = {.data = (const uint8_t *)text, .bytes = bytes};
    log_info("refused a call: %s: %s", parley_status_name(status), text);
    if (frame->header.kind != FRAME_ONE_WAY)
        (void)service_send_response(channel, &header, &body);
}

__attribute__((noinline)) static int send_failure(struct parley_context *context,
                                                  enum parley_status status, const char *text)
{
    struct frame_header header = {
        .call_id = context->call_id, .status = (uint8_t)status, .executed = PARLEY_EXECUTED_YES};
    struct body body = {.data = (const uint8_t *)text, .bytes = strlen(text)};
    return service_send_response(context->channel, &header, &body);
}

/* False: it is still to be sent. */
RING_INLINE bool reply_in_place(struct parley_context *context, const ProtobufCMessage *message)
{
    struct channel *channel = context->channel;
    const struct frame_header header = {.call_id = context->call_id,
                                        .executed = PARLEY_EXECUTED_YES};
    const struct frame_words words = response_words(&header);
    if (!frame_in_place(channel, &words, NULL, channel->service->packer, context->method, message))
        return false;
    channel_ring_if_asleep(channel);
    return true;
}

__attribute__((noinline)) static int send_reply(struct parley_context *context,
                                                const ProtobufCMessage *message)
{
    struct channel *channel = context->channel;
    struct frame_header header = {.call_id = context->call_id, .executed = PARLEY_EXECUTED_YES};
    struct body body = {0};
    if (reply_in_place(context, message))
        return 0;
    int r = refs_pack(channel, channel->service->packer, context->method, message, &body);
    return r == 0 ? send_response(channel, &header, &body) : r;
}

/* @r: why the reply could not be packed. Return: what the call has ended as. */
__attribute__((noinline, cold)) static enum parley_status
answer_unpackable(struct parley_context *context, int r)
{
    const char *why;
    char text[RPC_TEXT_BYTES];
    enum parley_status status = packing_failed(r, &why);
    if (status == PARLEY_INVALID_ARGUMENT)
        status = PARLEY_INTERNAL; /* the service's mistake, not the caller's */
    (void)snprintf(text, sizeof(text), "the reply %s", why);
    (void)send_failure(context, status, text);
    return status;
}

/* Return: what the call has ended as. @raw: the answer instead of @message; else NULL. */
static inline __attribute__((always_inline)) enum parley_status
answer(struct parley_context *context, enum parley_status status, const ProtobufCMessage *message,
       const struct raw_answer *raw)
{
    if (raw)
        return raw_send(context, raw);
    int r = __builtin_expect(message != NULL, 1)
                ? send_reply(context, message)
                : send_failure(context, status, context->failed ? context->text : "");
    return __builtin_expect(r == 0, 1) ? status : answer_unpackable(context, r);
}

/* In a child of fork(2): the call is the parent's, which will answer it. */
__attribute__((noinline, cold)) static void context_drop(struct parley_context *context)
{
    context_leave(context, context->service);
    context_free(NULL, context);
}

static inline void count_end(struct parley_context *context, struct parley_endpoint *endpoint,
                             enum parley_status status, bool translated)
{
    /* What the next record that is there begins with, too. */
    endpoint->stamp_ns = quick_clock_now_ns(&endpoint->clock);
    endpoint->stamp_uses = 0;
    stats_ended(context->cell, status, endpoint->stamp_ns - context->started_ns, translated);
}

/* @status: what the service says that it ends as. Of @message and @raw one is NULL. */
static inline __attribute__((always_inline)) void context_end(struct parley_context *context,
                                                              enum parley_status status,
                                                              const ProtobufCMessage *message,
                                                              const struct raw_answer *raw)
{
    struct channel *channel = context->channel;
    struct parley_service *service = context->service;
    if (service && endpoint_forked(service->endpoint)) {
        context_drop(context);
        return;
    }
    if (context->cancelled)
        status = PARLEY_CANCELLED; /* whatever it says: nobody hears it */
    context_leave(context, service);
    if (service)
        service->serving--;
    if (channel) {
        channel->serving--;
        set_load(channel, service);
        if (!context->one_way && !context->cancelled) {
            /* The answer copies what it still needs of the request before it is published. */
            if (__builtin_expect(context->hold != NULL, 0))
                refs_give_back_with_next(context->hold);
            status = answer(context, status, message, raw);
        }
        hang_up_if_done(channel);
    }
    if (service) {
        count_end(context, service->endpoint, status, channel && channel->held->plan_id != 0);
        if (__builtin_expect(context->traced, 0))
            trace_context_end(context, service->endpoint->stamp_ns, status);
    }
    context_free(service ? service->endpoint : NULL, context);
    if (service)
        endpoint_leave(service->endpoint);
}

__attribute__((noinline)) static void answer_any(struct parley_context *context,
                                                 const ProtobufCMessage *message)
{
    enum parley_status status = PARLEY_OK;
    if (!message)
        status = context->failed ? context->status : PARLEY_UNKNOWN;
    context_end(context, status, message, NULL);
}

/* Whether there is nothing about it that few calls have, but that it may be sampled. */
static inline bool context_is_plain(const struct parley_context *context)
{
    static_assert(
        offsetof(struct parley_context, traced) - offsetof(struct parley_context, special) == 4,
        "its bits");
    const unsigned traced = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 32 : 24;
    return (context->special & ~(UINT64_C(1) << traced)) == 0;
}

/* The closure that a handler calls. Nearly every answer is a message, given while its handler runs,
 * to a call about which there is nothing special. */
CALL_PATH static void context_answer(const ProtobufCMessage *message, void *data)
{
    struct parley_context *context = data;
    struct parley_service *service = context->service;
    struct channel *channel = context->channel;
    if (__builtin_expect(!message || !channel || !service || !context_is_plain(context) ||
                             context->hold || service->endpoint->handling != context ||
                             endpoint_forked(service->endpoint),
                         0)) {
        answer_any(context, message);
        return;
    }
    struct parley_endpoint *endpoint = service->endpoint;
    const bool translated = channel->held->plan_id != 0;
    context_leave(context, service);
    service->serving--;
    channel->serving--;
    set_load(channel, service);
    enum parley_status status = PARLEY_OK;
    if (__builtin_expect(!reply_in_place(context, message), 0))
        status = answer(context, PARLEY_OK, message, NULL);
    if (__builtin_expect(channel->bye, 0))
        hang_up_if_done(channel);
    count_end(context, endpoint, status, translated);
    if (__builtin_expect(context->traced, 0))
        trace_context_end(context, endpoint->stamp_ns, status);
    context_free(endpoint, context);
    endpoint_leave(endpoint);
}

void raw_context_end(struct parley_context *context, const struct raw_answer *answer)
{
    context_end(context, answer->status, NULL, answer);
}

/* ---- Requests ---- */

static struct stats_cell *cell_of(struct channel *channel, uint32_t method)
{
    const struct parley_service *service = channel->service;
    if (!channel->cells[method])
        channel->cells[method] =
            stats_cell_find(&channel->endpoint->stats, STATS_SERVICE, service->interface->name,
                            service->interface->methods[method].name, channel->client_version,
                            service->interface->version);
    return channel->cells[method];
}

static const char *service_input_name(const struct parley_service *service, uint32_t method)
{
    return service->raw ? raw_input_name(service, method)
                        : service->implementation->descriptor->methods[method].input->name;
}

static void refuse_message(struct channel *channel, const struct frame *frame, uint32_t method,
                           int r, const struct plan_failure *failure)
{
    if (r == -ENOMEM)
        refuse(channel, frame, PARLEY_RESOURCE_EXHAUSTED, "the service is out of memory");
    else
        refuse(channel, frame, r == -ERANGE ? PARLEY_OUT_OF_RANGE : PARLEY_INVALID_ARGUMENT,
               "the request is not a %s: %s (field %u, byte %zu)",
               service_input_name(channel->service, method),
               failure->what ? failure->what : "it cannot be unpacked", failure->number,
               failure->offset);
}

int service_bind(struct channel *channel, struct held_plan *held, struct error_text *error)
{
    const struct parley_service *service = channel->service;
    return service->raw ? 0
                        : channel_bind(channel, held, service->implementation->descriptor, error);
}

/* Room for what is found out about a plan's methods. False: no memory. */
static bool served_room(struct held_plan *held)
{
    if (!held->served)
        held->served = calloc(plan_entry_count(held->plan), sizeof(*held->served));
    return held->served != NULL;
}

static void refuse_binding(struct channel *channel, const struct frame *frame, uint32_t method,
                           int r, const char *why)
{
    const struct plan_failure failure = {.what = why};
    channel_consume(channel, frame);
    refuse_message(channel, frame, method, r, &failure);
}

/* The first request for a method by this plan: finds out what a request has to know, once. Return:
 * NULL: it was refused. */
__attribute__((noinline, cold)) static const struct served_method *
find_served(struct channel *channel, const struct frame *frame)
{
    const struct parley_service *service = channel->service;
    if (frame->header.plan_tag != channel->held->tag)
        channel_follow(channel, frame->header.plan_tag);
    struct held_plan *held = channel->held;
    const uint32_t method = plan_method(held->plan, frame->header.method);
    if (method >= service->interface->service->n_methods) {
        channel_consume(channel, frame);
        refuse(channel, frame, PARLEY_UNIMPLEMENTED, "%s %s has no method for the %u of version %s",
               service->interface->name, service->interface->version, frame->header.method,
               channel->client_version);
        return NULL;
    }
    struct error_text error; /* a kilobyte: not cleared */
    error.text[0] = '\0';
    int r = served_room(held) ? service_bind(channel, held, &error) : -ENOMEM;
    if (r < 0) {
        refuse_binding(channel, frame, method, r, error.text);
        return NULL;
    }
    held->served_count = plan_entry_count(held->plan);
    struct served_method *served = &held->served[frame->header.method];
    served->cell = cell_of(channel, method);
    served->method = method;
    stats_translation(served->cell, plan_class(held->plan));
    return served;
}

/* Mostly a look at what is known already; tags that differ, too, may name the plan that we have. */
static inline const struct served_method *served_of(struct channel *channel,
                                                    const struct frame *frame)
{
    const struct held_plan *held = channel->held;
    const uint32_t index = frame->header.method;
    if (__builtin_expect(frame->header.plan_tag == held->tag && index < held->served_count &&
                             held->served[index].cell != NULL,
                         1))
        return &held->served[index];
    return find_served(channel, frame);
}

__attribute__((noinline, cold)) static int
request_cross_timed(struct channel *channel, const struct frame *frame, struct stats_cell *cell,
                    ProtobufCMessage **ret_input, struct plan_failure *failure)
{
    struct quick_clock *clock = &channel->endpoint->clock;
    uint64_t began = quick_clock_now_ns(clock);
    int r = refs_unpack(channel, frame, channel->held->binding, frame->header.method, ret_input,
                        failure);
    stats_crossed(cell, plan_class(channel->held->plan), quick_clock_now_ns(clock) - began);
    return r;
}

/* One crossing: from the client's memory, through the plan, into our structs. */
static inline __attribute__((always_inline)) int request_enter(struct channel *channel,
                                                               const struct frame *frame,
                                                               const struct served_method *served,
                                                               ProtobufCMessage **ret_input)
{
    struct plan_failure failure = {0};
    int r = __builtin_expect(endpoint_times_crossing(channel->endpoint), 0)
                ? request_cross_timed(channel, frame, served->cell, ret_input, &failure)
                : refs_unpack(channel, frame, channel->held->binding, frame->header.method,
                              ret_input, &failure);
    channel_consume(channel, frame);
    if (__builtin_expect(r < 0, 0))
        refuse_message(channel, frame, served->method, r, &failure);
    return r;
}

/* It is being served from now on. */
static inline void begin(struct parley_context *context, const struct served_method *served)
{
    struct channel *channel = context->channel;
    struct parley_service *service = context->service;
    context->method = served->method;
    context->cell = served->cell;
    stats_started(served->cell);
    channel->serving++;
    service->serving++;
    set_load(channel, service);
}

static inline void serve(struct parley_context *context, const struct served_method *served,
                         ProtobufCMessage *input)
{
    struct parley_service *service = context->service;
    struct parley_endpoint *endpoint = service->endpoint;
    begin(context, served);
    struct parley_context *outer = context_enter(context);
    endpoint->handlers++;
    service->implementation->invoke(service->implementation, served->method, input, context_answer,
                                    context);
    endpoint->handlers--;
    context_return(endpoint, outer);
    wire_free(input);
}

/* The same for a service that works on bytes. */
__attribute__((noinline)) static int request_raw(struct parley_context *context,
                                                 const struct frame *frame,
                                                 const struct served_method *served)
{
    struct channel *channel = context->channel;
    struct parley_endpoint *endpoint = channel->endpoint;
    struct plan_failure failure = {0};
    uint64_t began = quick_clock_now_ns(&endpoint->clock);
    uint8_t *payload;
    size_t bytes;
    int r = raw_enter(context, frame, served->method, &payload, &bytes, &failure);
    uint64_t took = quick_clock_now_ns(&endpoint->clock) - began;
    if (r == CHANNEL_E_FULL) { /* it stays where it is */
        context_free(endpoint, context);
        return r;
    }
    channel_consume(channel, frame);
    if (r < 0) {
        refuse_message(channel, frame, served->method, r, &failure);
        context_free(endpoint, context);
        return 0;
    }
    if (endpoint_times_crossing(endpoint))
        stats_crossed(served->cell, plan_class(channel->held->plan), took);
    if (context->traced)
        context->span.crossing_ns = span_ns(took);
    begin(context, served);
    contexts_add(channel, context);
    endpoint->handlers++;
    raw_serve(context, served->method, payload, bytes);
    endpoint->handlers--;
    return 0;
}

/* Ends a request that has no context. @r: of context_new(); 0: there are too many. */
__attribute__((noinline, cold)) static int refuse_context(struct channel *channel,
                                                          const struct frame *frame, int r)
{
    channel_consume(channel, frame);
    if (r == 0)
        refuse(channel, frame, PARLEY_RESOURCE_EXHAUSTED, "the instance serves %u calls already",
               channel->service->calls_max);
    else if (r == -ENOMEM)
        refuse(channel, frame, PARLEY_RESOURCE_EXHAUSTED, "the service is out of memory");
    else
        refuse(channel, frame, PARLEY_INVALID_ARGUMENT, "the call's metadata is malformed");
    return 0;
}

static inline int request_received(struct channel *channel, const struct frame *frame)
{
    struct parley_service *service = channel->service;
    const struct served_method *served = served_of(channel, frame);
    if (__builtin_expect(!served, 0))
        return 0;
    if (__builtin_expect(service->serving >= service->calls_max, 0))
        return refuse_context(channel, frame, 0);
    struct parley_context *context;
    int r = context_new(channel, frame, &context);
    if (__builtin_expect(r < 0, 0))
        return refuse_context(channel, frame, r);
    if (__builtin_expect(service->raw != NULL, 0))
        return request_raw(context, frame, served);
    ProtobufCMessage *input;
    PROBE3(translate_start, context, frame->header.payload_bytes, 1);
    r = request_enter(channel, frame, served, &input);
    PROBE3(translate_end, context, r, 1);
    if (__builtin_expect(r < 0, 0)) {
        context_free(channel->endpoint, context);
        return 0;
    }
    if (__builtin_expect(context->traced, 0))
        context->span.crossing_ns =
            span_ns(quick_clock_now_ns(&channel->endpoint->clock) - context->started_ns);
    if (__builtin_expect(frame->header.share_count > 0, 0))
        context->hold = wire_hold_take(input);
    serve(context, served, input);
    return 0;
}

CALL_PATH int service_frame(struct channel *channel, const struct frame *frame,
                            struct error_text *error)
{
    const uint8_t kind = frame->header.kind;
    if (__builtin_expect(kind == FRAME_REQUEST || kind == FRAME_ONE_WAY, 1)) {
        if (channel->bye)
            return error_set(error, -EPROTO, "a request after BYE");
        return request_received(channel, frame);
    }
    switch (kind) {
    case FRAME_CANCEL:
        channel_consume(channel, frame);
        contexts_cancel(channel, frame->header.call_id);
        return 0;
    case FRAME_BYE:
        channel_consume(channel, frame);
        channel->bye = true;
        hang_up_if_done(channel);
        return 0;
    default:
        return error_set(error, -EPROTO, "a frame of kind %u from a client", frame->header.kind);
    }
}

void service_prepare(struct channel *channel)
{
    (void)served_room(channel->held);
    contexts_prepare(channel->endpoint);
    wire_block_prepare(RPC_FIRST_MESSAGE_BYTES);
    held_prepare(channel->held);
}
