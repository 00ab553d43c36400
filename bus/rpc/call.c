/*
 * A call's life: picked a channel for, sent, answered or ended some other way, exactly once.
 *
 * A call that is not answered ends with a status and with whether it was executed: `no` if the
 * service never took it out of our ring (it publishes its position before it runs a handler), or it
 * never got there; `unknown` if it died, or the deadline passed, holding it. A call that was not
 * executed is sent again to another instance; one that may have been, only if its method declares
 * an idempotency_level, and only while the client's retry tokens last: each such retry takes one,
 * each success gives a tenth back, as in gRPC's retry throttling (proposal A6).
 */
#include "rpc/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/probes.h"
#include "base/random.h"
#include "rpc/refs.h"

#define RETRY_COST 10        /* tenths of a token */
#define RETRY_TOKENS_MAX 320 /* tenths */

/* What parley_call_current() tells, while a closure runs. Filled in when it is asked for. */
struct outcome {
    const struct call *ended; /* NULL: nothing is to be filled in */
    struct parley_call call;
};

static _Thread_local struct outcome *current_outcome;

static void fill(struct parley_call *outcome, const struct call *call);

const struct parley_call *parley_call_current(void)
{
    struct outcome *current = current_outcome;
    if (!current)
        return NULL;
    if (current->ended) {
        current->call = (struct parley_call){0};
        fill(&current->call, current->ended);
        current->ended = NULL;
    }
    return &current->call;
}

static const char *method_name(const struct call *call)
{
    return call->client->spec.methods[call->method].name;
}

/* ---- Picking ---- */

static struct channel *less_busy_of_two(struct parley_endpoint *endpoint, struct channel **channels,
                                        uint32_t count)
{
    if (count == 1)
        return channels[0];
    /* The power of two choices (Mitzenmacher 2001): ours in flight, then what the instances say. */
    uint32_t i = random_below(&endpoint->random, count);
    uint32_t j = random_below(&endpoint->random, count - 1);
    j += j >= i;
    struct channel *a = channels[i];
    struct channel *b = channels[j];
    if (a->in_flight != b->in_flight)
        return a->in_flight < b->in_flight ? a : b;
    uint32_t load_a = atomic_load_explicit(&a->peer.cells->load, memory_order_relaxed);
    uint32_t load_b = atomic_load_explicit(&b->peer.cells->load, memory_order_relaxed);
    return load_b < load_a ? b : a;
}

/* Of several, or none. */
__attribute__((noinline)) static struct channel *pick_among(struct parley_client *client,
                                                            const struct call *call)
{
    struct parley_endpoint *endpoint = client->endpoint;
    struct channel **live = client->live;
    struct channel *in_range[ROUTE_INSTANCE_MAX];
    uint32_t live_count = client->live_count;
    bool picky = call->ranges || client->methods_missing;
    if (__builtin_expect(picky, 0)) {
        live = in_range;
        live_count = client_live_suit(client, call, in_range);
    }
    if (live_count == 0)
        return NULL;
    if (live_count == 1 && picky)
        return live[0];
    if (!picky && client->live_alike)
        return less_busy_of_two(endpoint, live, live_count); /* whatever its bucket is */

    uint32_t version = route_choose(&client->view, client->matcher, call->metadata,
                                    call->metadata_bytes, &endpoint->random);
    struct channel *of_version[ROUTE_INSTANCE_MAX], *weighted[ROUTE_INSTANCE_MAX];
    uint32_t count = 0, weighted_count = 0;
    for (uint32_t i = 0; i < live_count; i++) {
        if (live[i]->route_version == version)
            of_version[count++] = live[i];
        if (live[i]->weighted)
            weighted[weighted_count++] = live[i];
    }
    /* A version that has weight but nobody there must not fail calls that another can serve. One
     * without weight serves only if nobody with weight is there or about to be. */
    if (count)
        return less_busy_of_two(endpoint, of_version, count);
    if (weighted_count)
        return less_busy_of_two(endpoint, weighted, weighted_count);
    if (!picky && client_attaching(client))
        return NULL;
    return less_busy_of_two(endpoint, live, live_count);
}

struct channel *client_pick(struct parley_client *client, const struct call *call)
{
    const struct region *page = &client->endpoint->route;
    if (client->routed && route_is_news(&client->view, page, client->route_slot) &&
        route_refresh(&client->view, page, client->route_slot))
        client_route_changed(client);
    if (client->live_count == 1 && client->live[0]->weighted && !call->ranges &&
        !client->methods_missing)
        return client->live[0];
    return pick_among(client, call);
}

/* ---- Sending ---- */

__attribute__((noinline, cold)) static struct stats_cell *find_cell(struct call *call)
{
    struct parley_client *client = call->client;
    struct channel *channel = call->channel;
    struct stats_cell *cell =
        stats_cell_find(&client->endpoint->stats, STATS_CLIENT, client->spec.interface,
                        method_name(call), client->spec.version, call->version);
    if (channel && channel->cells) {
        channel->cells[call->method] = cell;
        stats_translation(cell, plan_class(channel->held->plan));
    }
    return cell;
}

static inline struct stats_cell *cell_of(struct call *call)
{
    const struct channel *channel = call->channel;
    if (channel && channel->cells && channel->cells[call->method])
        return channel->cells[call->method];
    return find_cell(call);
}

static uint64_t now_ns(const struct call *call)
{
    return quick_clock_now_ns(&call->client->endpoint->clock);
}

static void wait_for_channel(struct call *call)
{
    call->waiting = true;
    TAILQ_INSERT_TAIL(&call->client->waiting, call, entry);
}

static uint32_t time_left_us(const struct call *call, uint64_t now)
{
    uint64_t left = clock_left(call->deadline_ns, now) / NS_PER_US;
    return left < UINT32_MAX ? (uint32_t)left : UINT32_MAX;
}

static void call_refuse_request(struct call *call, int r)
{
    const char *why;
    char text[RPC_TEXT_BYTES];
    enum parley_status status = packing_failed(r, &why);
    (void)snprintf(text, sizeof(text), "the request %s", why);
    call_finish(call, status, PARLEY_EXECUTED_NO, text);
}

static int call_body(struct call *call, struct channel *channel, struct body *ret_body)
{
    struct parley_client *client = call->client;
    *ret_body = (struct body){.metadata = call->metadata, .metadata_bytes = call->metadata_bytes};
    if (__builtin_expect(call->traced, 0))
        ret_body->metadata_bytes += sizeof(struct frame_trace);
    if (call->message)
        return refs_pack(channel, client->packer, call->method, call->message, ret_body);
    ret_body->data = call_packed(call);
    ret_body->bytes = call->packed_bytes;
    return 0;
}

static void call_send(struct call *call, struct channel *channel, uint64_t now)
{
    struct body body;
    int r = call_body(call, channel, &body);
    if (r < 0) {
        call_refuse_request(call, r);
        return;
    }
    struct frame_header header = {
        .call_id = call_id(call),
        .time_left_us = time_left_us(call, now),
        .method = (uint16_t)call->method,
        .kind = call->one_way ? FRAME_ONE_WAY : FRAME_REQUEST,
        .flags = (uint8_t)((call->traced ? FRAME_TRACED : 0) | (call->mirror ? FRAME_MIRROR : 0) |
                           (call->ranges ? FRAME_IN_RANGE : 0)),
        .plan_tag = channel->held->tag,
    };
    call->channel = channel;
    call->counted = true;
    call->attempts++;
    call->ring_end = 0;
    call->held = held_keep(channel->held);
    call->translated = channel->held->plan_id != 0;
    call->translation = channel->held->translation;
    memcpy(call->version, channel->version, sizeof(call->version));
    TAILQ_INSERT_TAIL(&channel->calls, call, entry);
    channel->in_flight++;
    if (__builtin_expect(!call->mirror, 1)) {
        call->cell = cell_of(call);
        stats_started(call->cell);
    }

    if (!call->one_way)
        channel_wake(channel); /* first: a fast answer rings no bell */
    r = channel_send_or_queue(channel, &header, &body, call);
    if (r >= 0) {
        bool accepted = call->one_way && !call->queued;
        if (call->queued)
            channel_wake(channel); /* room will come */
        channel_ring_if_asleep(channel);
        if (accepted)
            call_accepted(call);
        return;
    }
    if (r == -EPROTO)
        channel_break(channel, "an impossible cursor");
    else if (r == -EMSGSIZE)
        call_refuse_request(call, -E2BIG);
    else if (r == -ESTALE)
        call_refuse_request(call, r);
    else if (r == -ENOBUFS)
        call_finish(call, PARLEY_RESOURCE_EXHAUSTED, PARLEY_EXECUTED_NO,
                    "too much waits for this instance to take it");
    else
        channel_kill(channel, PARLEY_UNAVAILABLE, "sending failed: %s", strerror(-r));
    /* The channel's end has ended the call, or sent it elsewhere. */
}

void call_submit_to(struct call *call, struct channel *channel)
{
    call_send(call, channel, call->started_ns);
}

/* Whether no version on offer can serve the call: then it has ended. */
static bool nothing_suits(struct call *call)
{
    struct parley_client *client = call->client;
    if (!(call->ranges || client->methods_missing) || !client->answered ||
        client->opened_status != PARLEY_OK || client_offers_suit(client, call))
        return false;
    char offered[128];
    char text[RPC_TEXT_BYTES];
    client_offers_describe(client, offered, sizeof(offered));
    (void)snprintf(text, sizeof(text),
                   call->ranges ? "no version in the range that the call asks for; on offer: %.120s"
                                : "no version on offer has this method; on offer: %.120s",
                   offered);
    call_finish(call, call->ranges ? PARLEY_FAILED_PRECONDITION : PARLEY_UNIMPLEMENTED,
                PARLEY_EXECUTED_NO, text);
    return true;
}

void call_submit(struct call *call)
{
    struct parley_client *client = call->client;
    if (endpoint_forked(client->endpoint))
        return;
    struct channel *channel = client_pick(client, call);
    if (channel) {
        PROBE3(call_start, call, client->spec.interface, call->method);
        call_send(call, channel, call->attempts ? now_ns(call) : call->started_ns);
        return;
    }
    if (client->answered && client->opened_status != PARLEY_OK &&
        client->opened_status != PARLEY_UNAVAILABLE)
        call_finish(call, client->opened_status, PARLEY_EXECUTED_NO, client->opened_text);
    else if (nothing_suits(call))
        return;
    else if (!client->instances_known || client_attaching(client))
        wait_for_channel(call);
    else
        call_finish(call, PARLEY_UNAVAILABLE, PARLEY_EXECUTED_NO,
                    client->live_count ? "no instance of a version that can serve it is up"
                                       : "no instance is up");
}

void calls_resume(struct parley_client *client)
{
    struct calls calls = TAILQ_HEAD_INITIALIZER(calls);
    TAILQ_CONCAT(&calls, &client->waiting, entry);
    struct call *call;
    while ((call = TAILQ_FIRST(&calls))) {
        TAILQ_REMOVE(&calls, call, entry);
        call->waiting = false;
        call_submit(call);
    }
}

/* ---- Ending ---- */

static void fill(struct parley_call *outcome, const struct call *call)
{
    outcome->status = call->status;
    outcome->executed = call->executed;
    outcome->attempts = call->attempts;
    outcome->translated = call->translated;
    outcome->translation = call->translation;
    memcpy(outcome->version, call->version, sizeof(outcome->version));
    memcpy(outcome->error, call->error, strlen(call->error) + 1);
}

/* @status: what it is, or is about to be. */
static struct rpc_outcome raw_outcome(const struct call *call, enum parley_status status,
                                      enum parley_executed executed)
{
    return (struct rpc_outcome){
        .status = status,
        .executed = executed,
        .translation = call->translation,
        .version = call->version,
        .text = status == PARLEY_OK ? "" : call->error,
    };
}

static void deliver_raw(struct call *call)
{
    const struct rpc_outcome outcome = raw_outcome(call, call->status, call->executed);
    bool ok = call->status == PARLEY_OK;
    call->replied(&outcome, ok ? call->raw : NULL, ok ? call->raw_bytes : 0, call->userdata);
}

/* To whom does not wait for it. */
static void deliver(struct call *call)
{
    struct parley_endpoint *endpoint = call->client->endpoint;
    struct outcome outcome, *outer = current_outcome;
    outcome.ended = call;
    current_outcome = &outcome;
    if (call->delivery == CALL_RAW && call->replied)
        deliver_raw(call);
    else if (call->delivery == CALL_CLOSURE && call->closure)
        call->closure(call->reply, call->userdata);
    current_outcome = outer;
    wire_free(call->reply);
    call->reply = NULL;
    endpoint_call_free(endpoint, call);
}

static inline void detach(struct call *call)
{
    struct channel *channel = call->channel;
    if (call->waiting) {
        TAILQ_REMOVE(&call->client->waiting, call, entry);
        call->waiting = false;
    }
    if (!channel)
        return;
    if (call->accepted)
        TAILQ_REMOVE(&channel->endpoint->accepted, call, accepted_entry);
    call->accepted = false;
    TAILQ_REMOVE(&channel->calls, call, entry);
    channel->in_flight--;
    if (call->queued) {
        channel_forget_queued(channel, call);
        call->queued = false;
    }
    call->held = held_drop(call->held);
    call->channel = NULL;
}

static void count_for_instance(const struct call *call, enum parley_status status, uint64_t now)
{
    const struct channel *channel = call->channel;
    if (channel && channel->figures)
        stats_instance_ended(channel->figures, status,
                             call->attempts == 1 ? now - call->started_ns : 0);
}

static void count_end(const struct call *call, struct stats_cell *cell, enum parley_status status,
                      uint64_t now)
{
    stats_ended(cell, status, now - call->started_ns, call->translated);
    count_for_instance(call, status, now);
}

static void call_end(struct call *call, uint64_t now, enum parley_status status,
                     enum parley_executed executed, const char *text)
{
    struct parley_client *client = call->client;
    uint32_t served = call->channel ? call->channel->route_version : ROUTE_NOBODY;
    if (__builtin_expect(!call->mirror, 1)) {
        struct stats_cell *cell = call->counted ? call->cell : cell_of(call);
        if (!call->counted)
            stats_started(cell); /* it waits for a channel: begun and ended at once */
        count_end(call, cell, status, now);
        PROBE4(call_end, call, status, executed, now - call->started_ns);
        if (__builtin_expect(call->traced, 0))
            trace_call_end(call, cell, now, status, executed);
    }
    detach(call);
    TAILQ_REMOVE(&client->endpoint->deadlines, call, deadline_entry);
    client->pending--;
    call->done = true;
    call->status = status;
    call->executed = executed;
    if (status == PARLEY_OK) {
        call->error[0] = '\0';
        if (client->retry_tokens < RETRY_TOKENS_MAX && !call->mirror)
            client->retry_tokens++;
    } else {
        (void)snprintf(call->error, sizeof(call->error), "%s/%s: %.180s", client->spec.interface,
                       method_name(call), text && *text ? text : parley_status_name(status));
    }
    if (__builtin_expect(client->view.mirror_buckets != 0, 0))
        mirror_consider(call, served);
    if (call->delivery != CALL_SYNC) /* parley_client_call() takes it from here */
        deliver(call);
}

void call_finish(struct call *call, enum parley_status status, enum parley_executed executed,
                 const char *text)
{
    call_end(call, now_ns(call), status, executed, text);
}

void call_accepted(struct call *call)
{
    call_finish(call, PARLEY_OK, PARLEY_EXECUTED_UNKNOWN, NULL);
}

static bool may_retry(struct call *call, enum parley_status status, enum parley_executed executed)
{
    struct parley_client *client = call->client;
    if (client->freed || call->mirror || status != PARLEY_UNAVAILABLE ||
        call->attempts >= RPC_ATTEMPTS_MAX || clock_now_ns() >= call->deadline_ns)
        return false;
    if (executed == PARLEY_EXECUTED_NO)
        return true;
    if (executed == PARLEY_EXECUTED_YES ||
        client->spec.methods[call->method].idempotency == PARLEY_IDEMPOTENCY_UNKNOWN ||
        client->retry_tokens < RETRY_COST)
        return false;
    client->retry_tokens -= RETRY_COST;
    return true;
}

void call_fail_attempt(struct call *call, enum parley_status status, enum parley_executed executed,
                       const char *text)
{
    if (!may_retry(call, status, executed)) {
        call_finish(call, status, executed, text);
        return;
    }
    struct stats_cell *cell = cell_of(call);
    uint64_t now = now_ns(call);
    count_end(call, cell, status, now);
    stats_bump(&cell->retried);
    call->counted = false;
    detach(call);
    call_submit(call);
}

/* ---- The reply ---- */

/* Takes a refusal's text across. */
static void reply_refused(struct call *call, const struct frame *frame)
{
    struct channel *channel = call->channel;
    char text[RPC_TEXT_BYTES];
    size_t bytes = frame->header.payload_bytes;
    if (bytes > sizeof(text) - 1)
        bytes = sizeof(text) - 1;
    memcpy(text, frame->payload, bytes);
    text[bytes] = '\0';
    for (size_t i = 0; i < bytes; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = text[i] ? ' ' : '?';
    }
    channel_consume(channel, frame);
    enum parley_status status = frame->header.status < PARLEY_STATUS_COUNT
                                    ? (enum parley_status)frame->header.status
                                    : PARLEY_UNKNOWN;
    enum parley_executed executed = frame->header.executed <= PARLEY_EXECUTED_UNKNOWN
                                        ? (enum parley_executed)frame->header.executed
                                        : PARLEY_EXECUTED_UNKNOWN;
    call_fail_attempt(call, status, executed, text);
}

__attribute__((noinline, cold)) static int
reply_cross_timed(struct call *call, const struct frame *frame, struct plan_failure *failure)
{
    struct quick_clock *clock = &call->client->endpoint->clock;
    uint64_t began = quick_clock_now_ns(clock);
    int r =
        refs_unpack(call->channel, frame, call->held->binding, call->method, &call->reply, failure);
    stats_crossed(cell_of(call), plan_class(call->held->plan), quick_clock_now_ns(clock) - began);
    return r;
}

/* As bytes, for who has no structs: into the memory that it names. */
static int reply_enter_raw(struct call *call, const struct frame *frame,
                           struct plan_failure *failure)
{
    _cleanup_(freep) uint8_t *expanded = NULL;
    const struct plan *plan = call->held->plan;
    const uint8_t *payload = frame->payload;
    size_t bytes = frame->header.payload_bytes;
    int r = frame->refs->count > 0 ? refs_expand(frame, &expanded, &bytes) : 0;
    if (r < 0)
        return r;
    if (expanded)
        payload = expanded;
    size_t out_max = plan_output_bytes_max(plan, bytes);
    uint8_t *out = NULL;
    if (call->room) {
        const struct rpc_outcome outcome = raw_outcome(call, PARLEY_OK, PARLEY_EXECUTED_YES);
        out = call->room(&outcome, out_max, call->userdata);
    }
    if (!out)
        out = endpoint_scratch(call->client->endpoint, out_max);
    if (!out)
        return -ENOMEM;
    r = plan_run(plan, call->method, payload, bytes, out, out_max, &call->raw_bytes, failure);
    call->raw = r == 0 ? out : NULL;
    return r;
}

/* One crossing: from the service's memory, through the plan, into our structs, or as bytes. */
static int reply_enter(struct call *call, const struct frame *frame, struct plan_failure *failure,
                       struct error_text *error)
{
    struct channel *channel = call->channel;
    struct parley_client *client = call->client;
    if (call->delivery != CALL_RAW) {
        int r = channel_bind(channel, call->held, client->descriptor, error);
        if (r < 0)
            failure->what = error->text;
        else if (endpoint_times_crossing(client->endpoint))
            r = reply_cross_timed(call, frame, failure);
        else
            r = refs_unpack(channel, frame, call->held->binding, call->method, &call->reply,
                            failure);
        return r;
    }
    return reply_enter_raw(call, frame, failure);
}

void call_reply(struct call *call, const struct frame *frame)
{
    struct channel *channel = call->channel;
    if (frame->header.status != PARLEY_OK) {
        reply_refused(call, frame);
        return;
    }
    struct plan_failure failure = {.what = "out of memory"};
    struct error_text error; /* a kilobyte: not cleared for each reply */
    error.text[0] = '\0';
    uint64_t began = call->traced ? now_ns(call) : 0;
    PROBE3(translate_start, call, frame->header.payload_bytes, 0);
    int r = reply_enter(call, frame, &failure, &error);
    PROBE3(translate_end, call, r, 0);
    if (__builtin_expect(call->traced, 0))
        call->span.crossing_ns = span_ns(now_ns(call) - began);
    channel_consume(channel, frame);
    if (r == 0) {
        call_end(call, endpoint_stamp(channel->endpoint, call->started_ns), PARLEY_OK,
                 PARLEY_EXECUTED_YES, NULL);
        return;
    }
    char text[RPC_TEXT_BYTES];
    (void)snprintf(text, sizeof(text),
                   "the reply of version %s was refused: %s (field %u, byte %zu)", channel->version,
                   failure.what ? failure.what : strerror(-r), failure.number, failure.offset);
    call_finish(call, r == -ENOMEM ? PARLEY_RESOURCE_EXHAUSTED : PARLEY_DATA_LOSS,
                PARLEY_EXECUTED_YES, text);
}

/* ---- Beginning ---- */

static enum parley_status refused(struct parley_call *outcome, enum parley_status status)
{
    if (outcome) {
        outcome->status = status;
        outcome->executed = PARLEY_EXECUTED_NO;
        outcome->attempts = 0;
        outcome->translated = false;
        outcome->translation = PARLEY_IDENTITY;
        outcome->version[0] = '\0';
        (void)snprintf(outcome->error, sizeof(outcome->error), "%.255s", parley_error_text());
    }
    return status;
}

/* One turn of a call that waits. @served: the call whose handler it waits in; NULL: in none. A
 * closure that runs meanwhile may answer that one, and then it is no more. */
static void wait_a_turn(struct call *call, struct parley_context *served)
{
    struct parley_endpoint *endpoint = call->client->endpoint;
    int r = endpoint_turn(endpoint, call->deadline_ns);
    if (endpoint_forked(endpoint) || call->done)
        return;
    if (r < 0)
        call_finish(call, status_from_errno(r), PARLEY_EXECUTED_UNKNOWN, strerror(-r));
    else if (served && served == parley_context_current() && context_given_up(served))
        call_orphaned(call);
}

enum parley_status parley_client_call(struct parley_client *client, unsigned method,
                                      const ProtobufCMessage *request, ProtobufCMessage **ret_reply,
                                      struct parley_call *outcome)
{
    struct parley_endpoint *endpoint = client->endpoint;
    enum parley_status status = PARLEY_OK;
    if (endpoint->turns >= RPC_NESTING_MAX)
        return refused(outcome, status_fail(PARLEY_RESOURCE_EXHAUSTED,
                                            "calls are nested more than %d deep", RPC_NESTING_MAX));
    struct call *call = call_begin(client, method, outcome, &status);
    if (!call)
        return refused(outcome, status);
    call->delivery = CALL_SYNC;
    call->message = request;
    call_submit(call);
    struct parley_context *served = outcome && outcome->detached ? NULL : parley_context_current();
    while (!call->done) {
        wait_a_turn(call, served);
        if (endpoint_forked(endpoint))
            return refused(outcome, status_forked()); /* a closure forked; the call is not ours */
    }
    status = call->status;
    if (outcome)
        fill(outcome, call);
    if (status == PARLEY_OK)
        *ret_reply = steal_ptr(&call->reply);
    else
        status_fail(status, "%s", call->error);
    endpoint_call_free(endpoint, call);
    endpoint_leave(endpoint);
    return status;
}

enum parley_status parley_client_send(struct parley_client *client, unsigned method,
                                      const ProtobufCMessage *request, struct parley_call *call)
{
    struct parley_call defaults = {0};
    struct parley_call *outcome = call ? call : &defaults;
    bool asked = outcome->one_way;
    ProtobufCMessage *none;
    outcome->one_way = true;
    enum parley_status status = parley_client_call(client, method, request, &none, outcome);
    outcome->one_way = asked;
    return status;
}

static bool keep_packed(struct call *call, size_t bytes)
{
    if (bytes > call->packed_bytes_max) {
        uint8_t *grown = realloc(call->packed, bytes);
        if (!grown)
            return false;
        call->packed = grown;
        call->packed_bytes_max = bytes;
    }
    call->packed_bytes = bytes;
    return true;
}

/* A call that never began still ends once, through its closure. */
static void refuse_closure(enum parley_status status, ProtobufCClosure closure, void *closure_data)
{
    struct outcome outcome = {0}, *outer = current_outcome;
    refused(&outcome.call, status);
    current_outcome = &outcome;
    if (closure)
        closure(NULL, closure_data);
    current_outcome = outer;
}

uint64_t parley_client_start(struct parley_client *client, unsigned method,
                             const ProtobufCMessage *request, const struct parley_call *options,
                             ProtobufCClosure closure, void *closure_data)
{
    enum parley_status status = PARLEY_OK;
    struct parley_endpoint *endpoint = client->endpoint;
    struct call *call = call_begin(client, method, options, &status);
    if (!call) {
        refuse_closure(status, closure, closure_data);
        return 0;
    }
    uint64_t id = call_id(call);
    call->delivery = CALL_CLOSURE;
    call->closure = closure;
    call->userdata = closure_data;
    struct wire_packing *packing = endpoint->packing;
    size_t bytes;
    int r = wire_pack(packing, client->packer, method, request, &bytes);
    if (r == 0 && !keep_packed(call, bytes))
        r = -ENOMEM;
    if (r == 0 && bytes)
        r = wire_pack_write(packing, call->packed);
    if (r < 0)
        call_refuse_request(call, r);
    else
        call_submit(call);
    endpoint_leave(endpoint);
    /* Its closure may have run, and freed the client. */
    return endpoint_call_find(endpoint, id) ? id : 0;
}

static bool keep_payload(struct call *call, const struct rpc_call *raw)
{
    if (raw->payload_stays) {
        call->given = raw->payload;
        call->packed_bytes = raw->payload_bytes;
        return true;
    }
    if (!keep_packed(call, raw->payload_bytes))
        return false;
    if (raw->payload_bytes)
        memcpy(call->packed, raw->payload, raw->payload_bytes);
    return true;
}

uint64_t rpc_call_raw(struct parley_client *client, unsigned method, const struct rpc_call *raw)
{
    enum parley_status status = PARLEY_OK;
    struct parley_endpoint *endpoint = client->endpoint;
    struct call *call = call_begin_raw(client, method, raw, &status);
    if (!call) {
        const struct rpc_outcome outcome = {
            .status = status, .version = "", .text = parley_error_text()};
        raw->replied(&outcome, NULL, 0, raw->userdata);
        return 0;
    }
    uint64_t id = call_id(call);
    call->delivery = CALL_RAW;
    call->replied = raw->replied;
    call->room = raw->room;
    call->userdata = raw->userdata;
    if (raw->payload_bytes > WIRE_MESSAGE_BYTES_MAX || !keep_payload(call, raw))
        call_finish(call, PARLEY_RESOURCE_EXHAUSTED, PARLEY_EXECUTED_NO,
                    "the request is too large");
    else
        call_submit(call);
    return endpoint_call_find(endpoint, id) ? id : 0;
}

void parley_reply_free(void *reply)
{
    wire_free(reply);
}
