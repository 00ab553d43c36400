/*
 * A call's end: its reply, or what else becomes of it, and to whom that is told (call.c).
 */
#include "rpc/call.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/call_path.h"
#include "base/probes.h"
#include "rpc/offers.h"
#include "rpc/refs.h"

#define RETRY_COST 10        /* tenths of a token */
#define RETRY_TOKENS_MAX 320 /* tenths */

/* What parley_call_current() tells, while a closure runs. Filled in when it is asked for. */
struct outcome {
    const struct call *ended; /* NULL: nothing is to be filled in */
    struct parley_call call;
};

__attribute__((tls_model("initial-exec"))) static _Thread_local struct outcome *current_outcome;

const struct parley_call *parley_call_current(void)
{
    struct outcome *current = current_outcome;
    if (!current)
        return NULL;
    if (current->ended) {
        current->call = (struct parley_call){0};
        call_fill(&current->call, current->ended);
        current->ended = NULL;
    }
    return &current->call;
}

/* ---- Ending ---- */

enum parley_status call_refused(struct parley_call *outcome, enum parley_status status)
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

void call_refuse_closure(enum parley_status status, ProtobufCClosure closure, void *closure_data)
{
    struct outcome outcome = {0}, *outer = current_outcome;
    call_refused(&outcome.call, status);
    current_outcome = &outcome;
    if (closure)
        closure(NULL, closure_data);
    current_outcome = outer;
}

void call_fill(struct parley_call *outcome, const struct call *call)
{
    outcome->status = (enum parley_status)call->status;
    outcome->executed = (enum parley_executed)call->executed;
    outcome->attempts = call->attempts;
    outcome->translated = call_is_translated(call);
    outcome->translation = call_translation(call);
    strcpy(outcome->version, call_version(call)); /* both hold RPC_VERSION_BYTES */
    if (call->status == PARLEY_OK)
        outcome->error[0] = '\0';
    else
        memcpy(outcome->error, call->error, strlen(call->error) + 1);
}

/* @status: what it is, or is about to be. */
static struct rpc_outcome raw_outcome(const struct call *call, enum parley_status status,
                                      enum parley_executed executed)
{
    return (struct rpc_outcome){
        .status = status,
        .executed = executed,
        .translation = call_translation(call),
        .version = call_version(call),
        .text = status == PARLEY_OK ? "" : call->error,
    };
}

static void deliver_raw(struct call *call)
{
    const struct rpc_outcome outcome =
        raw_outcome(call, (enum parley_status)call->status, (enum parley_executed)call->executed);
    bool ok = call->status == PARLEY_OK;
    if (call->replied)
        call->replied(&outcome, ok ? call->raw : NULL, ok ? call->raw_bytes : 0, call->userdata);
}

/* To whom does not wait for it. The slot is free afterwards. */
static ALWAYS_INLINE void deliver(struct call *call, ProtobufCMessage *reply)
{
    struct parley_endpoint *endpoint = call->client->endpoint;
    struct outcome outcome, *outer = current_outcome;
    outcome.ended = call;
    current_outcome = &outcome;
    if (__builtin_expect(call->delivery == CALL_RAW, 0))
        deliver_raw(call);
    else if (call->closure)
        call->closure(reply, call->userdata);
    current_outcome = outer;
    wire_free(reply);
    endpoint_call_free(endpoint, call);
}

static void unlist(struct call *call)
{
    if (call->list == CALL_WAITING)
        TAILQ_REMOVE(&call->client->waiting, call, entry);
    else
        TAILQ_REMOVE(&call->channel->calls, call, entry);
    call->list = CALL_UNLISTED;
}

/* Off its channel, and out of all lists but that of deadlines. @channel: call->channel; @plain:
 * call_is_plain() */
static ALWAYS_INLINE void detach(struct call *call, struct channel *channel, const bool plain)
{
    if (!plain) {
        if (call->list != CALL_UNLISTED)
            unlist(call);
        if (!channel)
            return;
        if (call->accepted)
            TAILQ_REMOVE(&channel->endpoint->accepted, call, accepted_entry);
        call->accepted = false;
        if (call->queued)
            channel_forget_queued(channel, call);
        call->queued = false;
    }
    channel->in_flight--;
    call->channel = NULL;
}

/* @channel: call->channel; @translated: call_is_translated() */
static ALWAYS_INLINE void count_end(const struct call *call, const struct channel *channel,
                                    struct stats_cell *cell, enum parley_status status,
                                    uint64_t took, bool translated)
{
    stats_ended(cell, status, took, translated);
    if (channel && channel->figures)
        stats_instance_ended(channel->figures, status, call->attempts == 1 ? took : 0);
}

/* It is over: not counted any more, and on no list. What is left is to deliver it. */
static ALWAYS_INLINE void settle(struct call *call, struct channel *channel,
                                 enum parley_status status, enum parley_executed executed,
                                 const bool plain)
{
    struct parley_client *client = call->client;
    detach(call, channel, plain);
    TAILQ_REMOVE(&client->endpoint->deadlines, call, deadline_entry);
    client->pending--;
    call->done = true;
    call->status = (uint8_t)status;
    call->executed = (uint8_t)executed;
    if (status == PARLEY_OK && (plain || !call->mirror) && client->retry_tokens < RETRY_TOKENS_MAX)
        client->retry_tokens++;
}

static void call_end(struct call *call, uint64_t now, enum parley_status status,
                     enum parley_executed executed, const char *text)
{
    struct parley_client *client = call->client;
    struct channel *channel = call->channel;
    uint32_t served = channel ? channel->route_version : ROUTE_NOBODY;
    if (__builtin_expect(!call->mirror, 1)) {
        struct stats_cell *cell = call->counted ? call->cell : call_cell(call);
        if (!call->counted)
            stats_started(cell); /* it waits for a channel: begun and ended at once */
        uint64_t took = now - call->started_ns;
        count_end(call, channel, cell, status, took, call_is_translated(call));
        PROBE4(call_end, call, status, executed, took);
        if (__builtin_expect(call->traced, 0))
            trace_call_end(call, cell, now, status, executed);
    }
    settle(call, channel, status, executed, false);
    if (status != PARLEY_OK)
        (void)snprintf(call->error, sizeof(call->error), "%s/%s: %.180s", client->spec.interface,
                       call_method_name(call), text && *text ? text : parley_status_name(status));
    if (__builtin_expect(client->view.mirror_buckets != 0, 0))
        mirror_consider(call, served);
    if (call->delivery != CALL_SYNC) /* parley_client_call() takes it from here */
        deliver(call, steal_ptr(&call->reply));
}

/* The same for a reply to a plain call, or one that is but @traced, that has crossed. */
static ALWAYS_INLINE void call_end_plain(struct call *call, struct channel *channel, uint64_t now,
                                         const bool traced, ProtobufCMessage *reply)
{
    uint64_t took = now - call->started_ns;
    count_end(call, channel, call->cell, PARLEY_OK, took, call->held->plan_id != 0);
    PROBE4(call_end, call, PARLEY_OK, PARLEY_EXECUTED_YES, took);
    if (traced)
        trace_call_end(call, call->cell, now, PARLEY_OK, PARLEY_EXECUTED_YES);
    settle(call, channel, PARLEY_OK, PARLEY_EXECUTED_YES, true);
    if (call->delivery == CALL_SYNC)
        call->reply = reply;
    else
        deliver(call, reply);
}

void call_finish(struct call *call, enum parley_status status, enum parley_executed executed,
                 const char *text)
{
    call_end(call, call_now_ns(call), status, executed, text);
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
    struct stats_cell *cell = call_cell(call);
    uint64_t now = call_now_ns(call);
    count_end(call, call->channel, cell, status, now - call->started_ns, call_is_translated(call));
    stats_bump(&cell->retried);
    call->counted = false;
    detach(call, call->channel, false);
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

COLD static int reply_cross_timed(struct call *call, const struct frame *frame,
                                  ProtobufCMessage **ret_reply, struct plan_failure *failure)
{
    struct quick_clock *clock = &call->client->endpoint->clock;
    uint64_t began = quick_clock_now_ns(clock);
    int r =
        refs_unpack(call->channel, frame, call->held->binding, call->method, ret_reply, failure);
    stats_crossed(call_cell(call), plan_class(call->held->plan), quick_clock_now_ns(clock) - began);
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
            r = reply_cross_timed(call, frame, &call->reply, failure);
        else
            r = refs_unpack(channel, frame, call->held->binding, call->method, &call->reply,
                            failure);
        return r;
    }
    return reply_enter_raw(call, frame, failure);
}

/* The frame has been consumed. */
COLD static void reply_spoilt(struct call *call, int r, const struct plan_failure *failure)
{
    char text[RPC_TEXT_BYTES];
    const char *what = failure->what ? failure->what : strerror(-r);
    (void)snprintf(text, sizeof(text),
                   "the reply of version %s was refused: %s (field %u, byte %zu)",
                   call->channel->version, r == -ENOMEM ? "out of memory" : what, failure->number,
                   failure->offset);
    call_finish(call, r == -ENOMEM ? PARLEY_RESOURCE_EXHAUSTED : PARLEY_DATA_LOSS,
                PARLEY_EXECUTED_YES, text);
}

/* Whatever the call and the reply are. */
__attribute__((noinline)) static void take_reply(struct call *call, const struct frame *frame)
{
    struct channel *channel = call->channel;
    if (frame->header.status != PARLEY_OK) {
        reply_refused(call, frame);
        return;
    }
    struct plan_failure failure = {0};
    struct error_text error; /* a kilobyte: not cleared for each reply */
    error.text[0] = '\0';
    uint64_t began = call->traced ? call_now_ns(call) : 0;
    PROBE3(translate_start, call, frame->header.payload_bytes, 0);
    int r = reply_enter(call, frame, &failure, &error);
    PROBE3(translate_end, call, r, 0);
    if (__builtin_expect(call->traced, 0))
        call->span.crossing_ns = span_ns(call_now_ns(call) - began);
    channel_consume(channel, frame);
    if (r == 0)
        call_end(call, endpoint_stamp(channel->endpoint, call->started_ns), PARLEY_OK,
                 PARLEY_EXECUTED_YES, NULL);
    else
        reply_spoilt(call, r, &failure);
}

/* The same for a plain call, and a reply that has structs to become. */
static ALWAYS_INLINE void take_plain_reply(struct channel *channel, struct call *call,
                                           const struct frame *frame)
{
    struct parley_endpoint *endpoint = channel->endpoint;
    struct plan_failure failure = {0};
    ProtobufCMessage *reply;
    int r;
    PROBE3(translate_start, call, frame->header.payload_bytes, 0);
    if (endpoint_times_crossing(endpoint))
        r = reply_cross_timed(call, frame, &reply, &failure);
    else
        r = refs_unpack(channel, frame, call->held->binding, call->method, &reply, &failure);
    PROBE3(translate_end, call, r, 0);
    channel_consume(channel, frame);
    if (__builtin_expect(r == 0, 1))
        call_end_plain(call, channel, endpoint_stamp(endpoint, call->started_ns), false, reply);
    else
        reply_spoilt(call, r, &failure);
}

/* The same if it is traced: how long the crossing takes is told of each. */
__attribute__((noinline)) static void take_traced_reply(struct channel *channel, struct call *call,
                                                        const struct frame *frame)
{
    struct parley_endpoint *endpoint = channel->endpoint;
    struct plan_failure failure = {0};
    ProtobufCMessage *reply;
    const uint64_t began = call_now_ns(call);
    PROBE3(translate_start, call, frame->header.payload_bytes, 0);
    int r = refs_unpack(channel, frame, call->held->binding, call->method, &reply, &failure);
    PROBE3(translate_end, call, r, 0);
    const uint64_t now = endpoint_stamp(endpoint, CLOCK_NEVER);
    call->span.crossing_ns = span_ns(now - began);
    if (__builtin_expect(endpoint_times_crossing(endpoint), 0))
        stats_crossed(call->cell, plan_class(call->held->plan), now - began);
    channel_consume(channel, frame);
    if (__builtin_expect(r == 0, 1))
        call_end_plain(call, channel, now, true, reply);
    else
        reply_spoilt(call, r, &failure);
}

/* @traced: see call_is_plain_but(). */
static ALWAYS_INLINE bool reply_is_plain(const struct call *call, const bool traced,
                                         const struct frame *frame)
{
    return call_is_plain_but(call, traced) && call->delivery != CALL_RAW && !call->told &&
           call->held->binding && frame->header.status == PARLEY_OK &&
           call->client->view.mirror_buckets == 0;
}

/* Nobody waits for it, or not any more. */
COLD static void reply_unasked(struct channel *channel, const struct frame *frame)
{
    stats_bump(&channel->endpoint->stats.header->late_replies);
    channel_consume(channel, frame);
}

CALL_PATH int client_frame(struct channel *channel, const struct frame *frame,
                           struct error_text *error)
{
    if (__builtin_expect(frame->header.kind != FRAME_RESPONSE, 0))
        return client_told(channel, frame, error);
    struct call *call = endpoint_call_slot(channel->endpoint, frame->header.call_id);
    if (__builtin_expect(!call || call->channel != channel, 0)) /* that of a free slot is NULL */
        reply_unasked(channel, frame);
    else if (__builtin_expect(reply_is_plain(call, false, frame), 1))
        take_plain_reply(channel, call, frame);
    else if (reply_is_plain(call, true, frame))
        take_traced_reply(channel, call, frame);
    else if (call->one_way)
        reply_unasked(channel, frame);
    else
        take_reply(call, frame);
    return 0;
}
