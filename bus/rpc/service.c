/*
 * A service: an instance of one version, and the calls that it serves.
 *
 * The broker passes a client's segment and doorbell on (Attach); we map and verify them, make our
 * own segment, and answer on the doorbell. A request then crosses once: the plan runner reads the
 * client's memory and writes a private message in our version; only after that is the ring's record
 * given back, and only after that does the handler run, so that a position we have not published
 * means a call we have not executed.
 *
 * Closing is a conversation, so that no call is lost: we say GOAWAY on every channel, each client
 * answers BYE behind its last request, and when that is answered we hang up.
 */
#include "rpc/frames.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/probes.h"
#include "base/random.h"
#include "rpc/offers.h"
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
static void context_answer(const ProtobufCMessage *message, void *data)
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

/* Where there are structs. */
static int bind_structs(struct channel *channel, struct held_plan *held, struct error_text *error)
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
    int r = served_room(held) ? bind_structs(channel, held, &error) : -ENOMEM;
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

static int service_frame(struct channel *channel, const struct frame *frame,
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

/* ---- Withdrawing ---- */

enum leave { LEAVE_CLOSING, LEAVE_GONE, LEAVE_DRAINED };

static void withdraw(struct parley_service *service, enum leave leave)
{
    Parley__Withdraw body = PARLEY__WITHDRAW__INIT;
    body.has_instance_id = true;
    body.instance_id = service->instance_id;
    body.has_gone = true;
    body.gone = leave == LEAVE_GONE;
    body.has_drained = leave == LEAVE_DRAINED;
    body.drained = service->drain_order;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_WITHDRAW;
    message.withdraw = &body;
    (void)endpoint_send(service->endpoint, &message, NULL, 0);
}

/* Of an order of the broker it wants to know when it is done. */
static void tell_if_drained(struct parley_service *service)
{
    if (!service->closing || service->freed || service->drain_order == 0 || service->drain_told ||
        service->channel_count > 0)
        return;
    service->drain_told = true;
    withdraw(service, LEAVE_DRAINED);
}

static void service_channel_dead(struct channel *channel, enum parley_status status,
                                 const char *text)
{
    struct parley_service *service = channel->service;
    (void)status;
    log_debug("channel of a client of %s %s ended: %s", service->interface->name,
              service->interface->version, text);
    channel->serving = 0;
    LIST_REMOVE(channel, owner_entry);
    service->channel_count--;
    contexts_orphan(channel);
    tell_if_drained(service);
}

const struct channel_ops service_channel_ops = {
    .frame = service_frame,
    .dead = service_channel_dead,
};

/* ---- Attaching ---- */

static void reject(int bell, enum parley_status status, const char *text)
{
    struct bell_packet packet = {.kind = BELL_REJECT, .status = (uint8_t)status};
    (void)snprintf(packet.text, sizeof(packet.text), "%.239s", text);
    (void)send(bell, &packet, sizeof(packet), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void say_goaway(struct channel *channel)
{
    if (channel->goaway_sent)
        return;
    channel->goaway_sent = true;
    struct frame_header header = {.kind = FRAME_GOAWAY};
    struct body body = {0};
    if (channel_send_or_queue(channel, &header, &body, NULL) >= 0)
        channel_ring_if_asleep(channel);
}

/* What the first request would have to do first. A failure is that request's. */
static void first_request_prepare(struct channel *channel)
{
    (void)served_room(channel->held);
    contexts_prepare(channel->endpoint);
    wire_block_prepare(RPC_FIRST_MESSAGE_BYTES);
}

static int attach(struct parley_service *service, const Parley__Attach *message, int segment_fd,
                  int *bell, struct error_text *error)
{
    struct parley_endpoint *endpoint = service->endpoint;
    const struct plan_entry *plan = plans_find(endpoint, message->plan_id);
    if (!plan && message->plan_id != 0)
        return error_set(error, -EPROTO, "the broker named a plan that it never sent");
    if (service->closing)
        return error_set(error, -EPIPE, "the instance is draining");
    if (service->channel_count >= RPC_CHANNELS_MAX)
        return error_set(error, -EMFILE, "the instance has %d clients already", RPC_CHANNELS_MAX);
    struct channel *channel;
    int r = channel_new(endpoint, &service_channel_ops, *bell, &channel, error);
    if (r < 0)
        return r;
    *bell = -1; /* the channel's */
    channel->service_side = true;
    channel->service = service;
    channel->peer_id = (struct parley_peer){
        .pid = (pid_t)message->pid, .uid = (uid_t)message->uid, .gid = (gid_t)message->gid};
    channel->relayed = message->relayed;
    (void)snprintf(channel->client_version, sizeof(channel->client_version), "%.31s",
                   message->client_version ? message->client_version : "");
    LIST_INSERT_HEAD(&service->channels, channel, owner_entry);
    service->channel_count++;
    channel->cells = calloc(service->interface->service->n_methods, sizeof(*channel->cells));
    channel->contexts = contexts_new();
    channel->held = held_new(plan, service->identity);
    r = channel->cells && channel->contexts && channel->held
            ? bind_structs(channel, channel->held, error)
            : error_set(error, -ENOMEM, "out of memory");
    if (r == 0)
        r = channel_attach_peer(channel, segment_fd, error);
    struct bell_packet packet = {.kind = BELL_ACCEPT, .instance_id = service->instance_id};
    if (r == 0)
        r = channel_bell_send(channel, &packet, sizeof(packet), channel->ours.region.fd);
    if (r < 0) {
        reject(channel->bell, status_from_errno(r), error->text);
        log_warn("a client of %s %s (pid %u) was turned away: %s", service->interface->name,
                 service->interface->version, message->pid, error->text);
        channel_kill(channel, PARLEY_UNAVAILABLE, "%s", error->text);
        return 0; /* said already */
    }
    segment_sent(&channel->ours);
    first_request_prepare(channel);
    return 0;
}

void service_attach(struct parley_service *service, const Parley__Attach *message, int segment_fd,
                    int bell)
{
    struct error_text error = {.text = "the service could not attach"};
    int r = attach(service, message, segment_fd, &bell, &error);
    if (r < 0) {
        log_info("a client of %s %s (pid %u) was turned away: %s", service->interface->name,
                 service->interface->version, message->pid, error.text);
        reject(bell, status_from_errno(r), error.text);
    }
    fd_close(bell);
}

/* ---- The broker ---- */

void service_link_down(struct parley_service *service)
{
    if (service->route_known)
        (void)route_refresh(&service->view, &service->endpoint->route, service->route_slot);
}

/* Tells the broker of this instance; and one that has just started what the weights were. */
void service_link_up(struct parley_service *service)
{
    Parley__Weight weights[ROUTE_VERSION_MAX];
    Parley__Weight *weight_pointers[ROUTE_VERSION_MAX];
    struct route_view *view = &service->view;
    uint32_t below = 0;
    for (uint32_t i = 0; i < view->version_count; i++) {
        parley__weight__init(&weights[i]);
        weights[i].version = view->version[i];
        weights[i].has_per_100000 = true;
        weights[i].per_100000 = view->threshold[i] > below ? view->threshold[i] - below : 0;
        below = view->threshold[i] > below ? view->threshold[i] : below;
        weight_pointers[i] = &weights[i];
    }
    Parley__Publish body = PARLEY__PUBLISH__INIT;
    body.has_instance_id = true;
    body.instance_id = service->instance_id;
    body.interface = (char *)(uintptr_t)service->interface->name;
    body.version = (char *)(uintptr_t)service->interface->version;
    body.service = (char *)(uintptr_t)service->interface->service->name;
    body.has_descriptor_set = true;
    body.descriptor_set.data = (uint8_t *)(uintptr_t)service->interface->descriptor_set;
    body.descriptor_set.len = service->interface->descriptor_set_bytes;
    body.has_positions = service->interface->positions_bytes > 0;
    body.positions.data = (uint8_t *)(uintptr_t)service->interface->positions;
    body.positions.len = service->interface->positions_bytes;
    body.has_route_generation = service->route_known;
    body.route_generation = view->generation;
    body.n_weights = service->route_known ? view->version_count : 0;
    body.weights = weight_pointers;
    body.has_draining = true;
    body.draining = service->closing;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_PUBLISH;
    message.publish = &body;
    service->route_known = false;
    (void)endpoint_send(service->endpoint, &message, NULL, 0); /* a lost link publishes again */
}

void service_published(struct parley_service *service, const Parley__Published *message)
{
    service->answered = true;
    service->status = (enum parley_status)message->status;
    (void)snprintf(service->text, sizeof(service->text), "%s", message->text ? message->text : "");
    if (service->status == PARLEY_OK) {
        service->route_slot = message->route_slot;
        service->route_known = true;
        service->view.sequence = 1;
        service->drain_told = false; /* this broker may not know */
        tell_if_drained(service);
        service_tell_callers(service);
    } else {
        log_error("the broker refused %s %s: %s: %s", service->interface->name,
                  service->interface->version, parley_status_name(service->status), service->text);
    }
    if (service->status == PARLEY_PERMISSION_DENIED)
        service_denied(service);
    if (service->raw)
        raw_published(service);
}

/* ---- The public side ---- */

static enum parley_status publish_and_wait(struct parley_service *service)
{
    struct parley_endpoint *endpoint = service->endpoint;
    uint64_t deadline = clock_add(clock_now_ns(), RPC_WAIT_TIMEOUT_NS);
    if (endpoint->welcomed)
        service_link_up(service);
    while (!service->answered && clock_now_ns() < deadline) {
        int r = endpoint_turn(endpoint, deadline);
        if (r < 0)
            return status_fail(status_from_errno(r), "waiting for the broker failed: %s",
                               strerror(-r));
    }
    if (!service->answered)
        return status_fail(PARLEY_UNAVAILABLE,
                           "the broker at %s did not answer: is parleyd running?",
                           endpoint->broker);
    if (service->status != PARLEY_OK)
        return status_fail(service->status, "%s %s was refused: %s", service->interface->name,
                           service->interface->version, service->text);
    return PARLEY_OK;
}

void service_join(struct parley_service *service, struct parley_endpoint *endpoint,
                  const struct parley_service_options *options)
{
    service->endpoint = endpoint;
    if (service->instance_id == 0)
        service->instance_id = random_id();
    service->calls_max = options->calls_max ? options->calls_max : RPC_SERVING_MAX;
    service->drain_timeout_ns =
        options->drain_timeout_ns ? options->drain_timeout_ns : RPC_DRAIN_TIMEOUT_NS;
    service->view.sequence = 1;
    LIST_INIT(&service->channels);
    LIST_INIT(&service->orphans);
    LIST_INIT(&service->untold);
    TAILQ_INSERT_TAIL(&endpoint->services, service, entry);
}

enum parley_status parley_service_new(struct parley_endpoint *endpoint,
                                      const struct parley_interface *interface,
                                      ProtobufCService *implementation,
                                      const struct parley_service_options *options,
                                      struct parley_service **ret_service)
{
    static const struct parley_service_options defaults;
    if (endpoint_forked(endpoint))
        return status_forked();
    options = options ? options : &defaults;
    if (!interface || interface->abi != PARLEY_INTERFACE_ABI)
        return status_fail(PARLEY_INVALID_ARGUMENT,
                           "the interface was generated for another version of Parley: run "
                           "protoc-gen-parley again");
    if (!implementation || implementation->descriptor != interface->service)
        return status_fail(PARLEY_INVALID_ARGUMENT, "the implementation is not a service of %s %s",
                           interface->name, interface->version);
    struct plan *identity;
    struct wire_packer *packer = NULL;
    struct error_text error = {0};
    int r = plan_identity(interface->service, PLAN_REQUESTS, &identity, &error);
    if (r < 0)
        return status_fail(status_from_errno(r), "%s %s: %s", interface->name, interface->version,
                           error.text);
    struct parley_service *service = calloc(1, sizeof(*service));
    if (!service || packer_of(interface->service, PLAN_REPLIES, &packer, &error) < 0) {
        plan_unref(identity);
        free(service);
        return status_fail(PARLEY_RESOURCE_EXHAUSTED, "out of memory for a service");
    }
    service->interface = interface;
    service->implementation = implementation;
    service->identity = identity;
    service->packer = packer;
    service_join(service, endpoint, options);
    enum parley_status status = publish_and_wait(service);
    endpoint_leave(endpoint);
    if (status != PARLEY_OK) {
        parley_service_free(service);
        return status;
    }
    *ret_service = service;
    return PARLEY_OK;
}

static void begin_closing(struct parley_service *service)
{
    struct parley_endpoint *endpoint = service->endpoint;
    service->closing = true;
    service->closing_since_ns = clock_now_ns();
    uint64_t hang_up_at_ns = clock_add(service->closing_since_ns, RPC_BYE_GRACE_NS);
    if (hang_up_at_ns < endpoint->hang_up_at_ns)
        endpoint->hang_up_at_ns = hang_up_at_ns;
    struct channel *channel, *next;
    for (channel = LIST_FIRST(&service->channels); channel; channel = next) {
        next = LIST_NEXT(channel, owner_entry);
        say_goaway(channel);
    }
}

void parley_service_close(struct parley_service *service)
{
    if (endpoint_forked(service->endpoint))
        return;
    service->drain_order = 0; /* for good, whoever began */
    if (service->closing)
        return;
    withdraw(service, LEAVE_CLOSING);
    begin_closing(service);
    endpoint_leave(service->endpoint);
}

/* The broker has told the clients already. What it takes back is its own order, no more. */
void service_drain_ordered(struct parley_service *service, const Parley__Drain *message)
{
    bool by_itself = service->closing && service->drain_order == 0;
    if (service->freed || by_itself) {
        if (message->undo)
            withdraw(service, LEAVE_CLOSING);
        return;
    }
    service->drain_order = message->order;
    service->drain_told = false;
    log_info("%s %s %s, by an operator's order", service->interface->name,
             service->interface->version, message->undo ? "serves again" : "drains");
    if (message->undo) {
        service->closing = false;
        service->drain_order = 0;
        return; /* those that were sent away will come again */
    }
    if (!service->closing)
        begin_closing(service);
    tell_if_drained(service);
}

void service_hang_up_silent(struct parley_service *service)
{
    if (clock_now_ns() < clock_add(service->closing_since_ns, RPC_BYE_GRACE_NS))
        return;
    struct channel *channel, *next;
    for (channel = LIST_FIRST(&service->channels); channel; channel = next) {
        next = LIST_NEXT(channel, owner_entry);
        if (!channel->goaway_sent)
            continue;
        /* A program that only calls now and then does not read its channels in between. It loses
         * nothing: what it sends from now on is never consumed, and so sent again elsewhere. */
        if (channel->serving == 0 && channel->queue.count == 0 && !ring_pending(&channel->peer))
            channel_kill(channel, PARLEY_UNAVAILABLE, "drained, and the client is silent");
    }
}

static bool sent_somebody_away(const struct parley_service *service)
{
    const struct channel *channel;
    LIST_FOREACH (channel, &service->channels, owner_entry) {
        if (channel->goaway_sent)
            return true;
    }
    return false;
}

void services_hang_up_due(struct parley_endpoint *endpoint, uint64_t now)
{
    struct parley_service *service;
    endpoint->hang_up_at_ns = CLOCK_NEVER;
    TAILQ_FOREACH (service, &endpoint->services, entry) {
        service_hang_up_silent(service);
        if (sent_somebody_away(service))
            endpoint->hang_up_at_ns = clock_add(now, RPC_BYE_GRACE_NS);
    }
}

bool parley_service_drained(const struct parley_service *service)
{
    return service->closing && service->channel_count == 0;
}

struct parley_service *parley_service_free(struct parley_service *service)
{
    if (!service || service->freed || endpoint_forked(service->endpoint))
        return NULL;
    struct parley_endpoint *endpoint = service->endpoint;
    service->freed = true;
    service->closing = true;
    withdraw(service, LEAVE_GONE);
    struct channel *channel;
    while ((channel = LIST_FIRST(&service->channels)))
        channel_kill(channel, PARLEY_UNAVAILABLE, "the service was closed");
    /* Handlers that have not answered keep their contexts, and find neither caller nor service. */
    contexts_disown(service);
    TAILQ_REMOVE(&endpoint->services, service, entry);
    if (endpoint->turns)
        TAILQ_INSERT_TAIL(&endpoint->dead_services, service, entry);
    else
        service_destroy(service);
    return NULL;
}

void service_destroy(struct parley_service *service)
{
    plan_unref(service->identity);
    wire_packer_free(service->packer);
    raw_free(service->raw);
    free(service);
}
