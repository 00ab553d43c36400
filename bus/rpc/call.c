/*
 * A call's life: picked a channel for, sent, answered or ended some other way (call_end.c), exactly
 * once.
 *
 * A call that is not answered ends with a status and with whether it was executed: `no` if the
 * service never took it out of our ring (it publishes its position before it runs a handler), or it
 * never got there; `unknown` if it died, or the deadline passed, holding it. A call that was not
 * executed is sent again to another instance; one that may have been, only if its method declares
 * an idempotency_level, and only while the client's retry tokens last: each such retry takes one,
 * each success gives a tenth back, as in gRPC's retry throttling (proposal A6).
 *
 * Nearly every call is plain: there is nothing to find out about it, and nothing that few calls
 * have. It goes from the public function to the ring in one function, and so does its reply from
 * the ring to the closure. That is no second way: what is ALWAYS_INLINE here is part of both, and
 * takes what is known of a plain call as a constant. A plain call that turns out to be none,
 * because it finds no room, say, is like any other from there on.
 */
#include "rpc/call.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/call_path.h"
#include "base/probes.h"
#include "rpc/offers.h"
#include "rpc/refs.h"

/* ---- Sending ---- */

struct stats_cell *call_cell_find(struct call *call)
{
    struct parley_client *client = call->client;
    struct channel *channel = call->channel;
    struct stats_cell *cell =
        stats_cell_find(&client->endpoint->stats, STATS_CLIENT, client->spec.interface,
                        call_method_name(call), client->spec.version, call_version(call));
    if (channel && channel->cells) {
        channel->cells[call->method] = cell;
        stats_translation(cell, plan_class(channel->held->plan));
    }
    return cell;
}

static void wait_for_channel(struct call *call)
{
    call->list = CALL_WAITING;
    TAILQ_INSERT_TAIL(&call->client->waiting, call, entry);
}

static void call_refuse_request(struct call *call, int r)
{
    const char *why;
    char text[RPC_TEXT_BYTES];
    enum parley_status status = packing_failed(r, &why);
    (void)snprintf(text, sizeof(text), "the request %s", why);
    call_finish(call, status, PARLEY_EXECUTED_NO, text);
}

/* @plain, @traced, @delivery: see call_send(). */
static ALWAYS_INLINE int call_body(struct call *call, struct channel *channel, const bool plain,
                                   const bool traced, const enum call_delivery delivery,
                                   struct body *ret_body)
{
    struct parley_client *client = call->client;
    *ret_body = call_metadata_body(call, plain);
    if (traced) {
        ret_body->metadata = (const uint8_t *)&call->span;
        ret_body->metadata_bytes = sizeof(struct frame_trace);
    }
    if (delivery == CALL_SYNC)
        return refs_pack(channel, client->packer, call->method, call->message, ret_body);
    ret_body->data = plain ? call->packed : call_packed(call);
    ret_body->bytes = call->packed_bytes;
    return 0;
}

/* It is the channel's now, and counted. */
static ALWAYS_INLINE void attempt_begins(struct call *call, struct channel *channel,
                                         const bool plain)
{
    struct held_plan *held = channel->held;
    call->channel = channel;
    call->counted = true;
    call->attempts = plain ? 1 : (uint8_t)(call->attempts + 1);
    call->ring_end = 0;
    if (!plain) {
        call->told = false; /* of the attempt before, as is the plan */
        held_drop(call->held);
    }
    call->held = held_keep(held);
    channel->in_flight++;
    if (plain || !call->mirror) {
        call->cell = plain ? channel->cells[call->method] : call_cell(call);
        stats_started(call->cell);
    }
}

/* The channel's end ends the call, or sends it elsewhere. */
COLD static void send_failed(struct call *call, struct channel *channel, int r)
{
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
}

/* @plain: there is nothing about the call that few have, or only that it is @traced, it is the
 * first attempt, and the channel is from plain_channel(); constants, and so may be @delivery, the
 * call's. Return: whether it is on its way; false: it may have ended. */
static ALWAYS_INLINE bool call_send(struct call *call, struct channel *channel, uint64_t now,
                                    const bool plain, const bool traced,
                                    const enum call_delivery delivery)
{
    struct body body;
    int r = call_body(call, channel, plain, traced, delivery, &body);
    if (__builtin_expect(r < 0, 0)) {
        call_refuse_request(call, r);
        return false;
    }
    struct frame_header header =
        call_request_header(call, plain ? call->client->timeout_us : call_time_left_us(call, now),
                            channel->held->tag, plain);
    if (traced)
        header.flags = FRAME_TRACED;
    const struct frame_words words = frame_words_of(&header);
    attempt_begins(call, channel, plain);
    if (!channel->awake && (plain || !call->one_way))
        channel_wake(channel); /* first: a fast answer rings no bell */
    channel->endpoint->hot.expected = channel->hot_index;
    r = channel_send_frame(channel, &words, &body, call);
    if (__builtin_expect(r < 0, 0)) {
        send_failed(call, channel, r);
        return false;
    }
    bool accepted = !plain && call->one_way && !call->queued;
    if (__builtin_expect(call->queued, 0)) {
        channel_wake(channel); /* room will come */
        return true;           /* and who sends from the queue rings */
    }
    channel_ring_if_asleep(channel);
    if (accepted)
        call_accepted(call);
    return !accepted;
}

/* The same of a plain call that waits, whose message is packed where it goes. False: it is still to
 * be sent. */
static ALWAYS_INLINE bool call_send_in_place(struct call *call, struct channel *channel,
                                             const bool traced, const ProtobufCMessage *message)
{
    struct frame_header header =
        call_request_header(call, call->client->timeout_us, channel->held->tag, true);
    if (traced)
        header.flags = FRAME_TRACED;
    const struct frame_words words = frame_words_of(&header);
    if (!channel->awake)
        channel_wake(channel);
    channel->endpoint->hot.expected = channel->hot_index;
    if (!frame_in_place(channel, &words, traced ? &call->span : NULL, call->client->packer,
                        call->method, message))
        return false;
    attempt_begins(call, channel, true);
    call->ring_end = channel->ours.head;
    channel_ring_if_asleep(channel);
    return true;
}

void call_submit_to(struct call *call, struct channel *channel)
{
    (void)call_send(call, channel, call->started_ns, false, false, call->delivery);
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
        (void)call_send(call, channel, call->attempts ? call_now_ns(call) : call->started_ns, false,
                        false, call->delivery);
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
    struct call *call;
    size_t left = 0;
    TAILQ_FOREACH (call, &client->waiting, entry) {
        left++;
    }
    /* Those that go on waiting come behind them. Closures may end any of them meanwhile. */
    for (; left > 0 && (call = TAILQ_FIRST(&client->waiting)); left--) {
        TAILQ_REMOVE(&client->waiting, call, entry);
        call->list = CALL_UNLISTED;
        call_submit(call);
    }
}

/* ---- Beginning ---- */

static ALWAYS_INLINE bool asks_for_nothing(const struct parley_call *options)
{
    return !options || (!options->timeout_ns && !options->metadata_count && !options->accept &&
                        !options->one_way && !options->parent && !options->detached);
}

/* Where a call of that method goes without anything to find out about it: it is made for no other,
 * and the route is as it was. NULL: not so. @ret_traced: it is sampled. */
static ALWAYS_INLINE struct channel *plain_channel(struct parley_client *client, unsigned method,
                                                   const struct parley_call *options,
                                                   bool *ret_traced)
{
    struct parley_endpoint *endpoint = client->endpoint;
    if (!asks_for_nothing(options) || endpoint_forked(endpoint) ||
        method >= client->spec.method_count || client_route_is_news(client) ||
        parley_context_current())
        return NULL;
    if (!client->live_plain)
        return NULL;
    struct channel *channel = client->live_count == 1 ? client->live[0] : client_pick_plain(client);
    if (__builtin_expect(!channel || !channel->cells[method], 0))
        return NULL;
    const uint32_t tracing = spans_wanted(&endpoint->spans);
    *ret_traced = __builtin_expect(tracing != 0, 0) && spans_sample(&endpoint->spans, tracing) &&
                  spans_ready(endpoint);
    return channel;
}

/* call_begin() of such a call. NULL: that will say why. */
static ALWAYS_INLINE struct call *plain_begin(struct parley_client *client, unsigned method)
{
    struct parley_endpoint *endpoint = client->endpoint;
    struct call *call = endpoint_call_new(endpoint);
    if (__builtin_expect(!call, 0))
        return NULL;
    call->started_ns = quick_clock_now_ns(&endpoint->clock);
    call->deadline_ns = call->started_ns + client->timeout_ns;
    call_join(call, client, method);
    return call;
}

/* Sends a plain call that is sampled: the context of its trace is in front of its message. */
__attribute__((noinline)) static bool send_traced(struct call *call, struct channel *channel,
                                                  const ProtobufCMessage *message)
{
    trace_plain_begin(call, &channel->endpoint->spans);
    if (!message)
        return call_send(call, channel, call->started_ns, true, true, CALL_CLOSURE);
    return call_send_in_place(call, channel, true, message) ||
           call_send(call, channel, call->started_ns, true, true, CALL_SYNC);
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

CALL_PATH enum parley_status parley_client_call(struct parley_client *client, unsigned method,
                                                const ProtobufCMessage *request,
                                                ProtobufCMessage **ret_reply,
                                                struct parley_call *outcome)
{
    struct parley_endpoint *endpoint = client->endpoint;
    enum parley_status status = PARLEY_OK;
    if (endpoint->turns >= RPC_NESTING_MAX)
        return call_refused(outcome,
                            status_fail(PARLEY_RESOURCE_EXHAUSTED,
                                        "calls are nested more than %d deep", RPC_NESTING_MAX));
    bool traced = false;
    struct channel *channel = plain_channel(client, method, outcome, &traced);
    struct call *call = channel ? plain_begin(client, method) : NULL;
    const bool plain = call != NULL;
    if (__builtin_expect(!plain, 0))
        call = call_begin(client, method, outcome, &status);
    if (!call)
        return call_refused(outcome, status);
    call->delivery = CALL_SYNC;
    call->message = request;
    if (__builtin_expect(plain, 1)) {
        PROBE3(call_start, call, client->spec.interface, method);
        if (__builtin_expect(traced, 0))
            (void)send_traced(call, channel, request);
        else if (!call_send_in_place(call, channel, false, request))
            (void)call_send(call, channel, call->started_ns, true, false, CALL_SYNC);
    } else {
        call_submit(call);
    }
    struct parley_context *served = outcome && outcome->detached ? NULL : parley_context_current();
    while (!call->done) {
        wait_a_turn(call, served);
        if (endpoint_forked(endpoint))
            return call_refused(outcome,
                                status_forked()); /* a closure forked; the call is not ours */
    }
    status = (enum parley_status)call->status;
    if (outcome)
        call_fill(outcome, call);
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

bool call_keep_more(struct call *call, size_t bytes)
{
    size_t room = bytes + WIRE_PACK_AT_SLACK; /* so that the next one is packed straight to there */
    if (room < RPC_PACKED_BYTES_MIN)
        room = RPC_PACKED_BYTES_MIN;
    uint8_t *grown = realloc(call->packed, room);
    if (!grown)
        return false;
    call->packed = grown;
    call->packed_bytes_max = (uint32_t)room;
    call->extras |= room > RPC_PACKED_KEPT_BYTES_MAX;
    return true;
}

__attribute__((noinline)) static int pack_kept_any(struct call *call,
                                                   const ProtobufCMessage *request)
{
    struct parley_client *client = call->client;
    struct wire_packing *packing = client->endpoint->packing;
    size_t bytes;
    int r = wire_pack(packing, client->packer, call->method, request, &bytes);
    if (r == 0 && !call_keep(call, bytes))
        r = -ENOMEM;
    return r == 0 && bytes ? wire_pack_write(packing, call->packed) : r;
}

/* The request, into memory that the call keeps; straight, if it is large enough. */
static ALWAYS_INLINE int pack_kept(struct call *call, const ProtobufCMessage *request)
{
    struct parley_client *client = call->client;
    size_t bytes;
    if (__builtin_expect(call->packed_bytes_max >= RPC_PACKED_BYTES_MIN, 1) &&
        __builtin_expect(wire_pack_at(client->endpoint->packing, client->packer, call->method,
                                      request, call->packed, call->packed_bytes_max, &bytes) == 0,
                         1)) {
        call->packed_bytes = (uint32_t)bytes;
        return 0;
    }
    return pack_kept_any(call, request);
}

/* Whatever there is about the call. */
__attribute__((noinline)) static uint64_t start_any(struct parley_client *client, unsigned method,
                                                    const ProtobufCMessage *request,
                                                    const struct parley_call *options,
                                                    ProtobufCClosure closure, void *closure_data)
{
    enum parley_status status = PARLEY_OK;
    struct parley_endpoint *endpoint = client->endpoint;
    struct call *call = call_begin(client, method, options, &status);
    if (!call) {
        call_refuse_closure(status, closure, closure_data);
        return 0;
    }
    uint64_t id = call->id;
    call->delivery = CALL_CLOSURE;
    call->closure = closure;
    call->userdata = closure_data;
    int r = pack_kept(call, request);
    if (r < 0)
        call_refuse_request(call, r);
    else
        call_submit(call);
    endpoint_leave(endpoint);
    /* Its closure may have run, and freed the client. */
    return endpoint_call_find(endpoint, id) ? id : 0;
}

uint64_t parley_client_start(struct parley_client *client, unsigned method,
                             const ProtobufCMessage *request, const struct parley_call *options,
                             ProtobufCClosure closure, void *closure_data)
{
    bool traced = false;
    struct channel *channel = plain_channel(client, method, options, &traced);
    struct call *call = channel ? plain_begin(client, method) : NULL;
    if (__builtin_expect(!call, 0))
        return start_any(client, method, request, options, closure, closure_data);
    struct parley_endpoint *endpoint = client->endpoint;
    uint64_t id = call->id;
    call->delivery = CALL_CLOSURE;
    call->closure = closure;
    call->userdata = closure_data;
    bool sent = false;
    int r = pack_kept(call, request);
    if (__builtin_expect(r < 0, 0)) {
        call_refuse_request(call, r);
    } else {
        PROBE3(call_start, call, client->spec.interface, call->method);
        sent = __builtin_expect(traced, 0)
                   ? send_traced(call, channel, NULL)
                   : call_send(call, channel, call->started_ns, true, false, CALL_CLOSURE);
    }
    endpoint_leave(endpoint);
    return __builtin_expect(sent, 1) || endpoint_call_find(endpoint, id) ? id : 0;
}

static bool keep_payload(struct call *call, const struct rpc_call *raw)
{
    if (raw->payload_stays) {
        call->given = raw->payload;
        call->packed_bytes = (uint32_t)raw->payload_bytes;
        return true;
    }
    if (!call_keep(call, raw->payload_bytes))
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
    uint64_t id = call->id;
    call->delivery = CALL_RAW;
    call->extras = true;
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

CALL_PATH void parley_reply_free(void *reply)
{
    wire_free(reply);
}
