/*
 * Calls that end before they are answered, because the caller no longer wants them or their time is
 * over.
 *
 * Either way the call ends here and now, and its slot gets another generation: an answer that comes
 * later finds nobody, is counted and dropped. If the request is in the service's hands, or in our
 * ring where it may be taken at any moment, a cancel frame goes after it. It is told, not asked:
 * nothing comes back for it, and nothing depends on its arrival. At most one is sent for a call
 * that was sent, so that those that wait for room are bounded as calls are. The bell is rung in any
 * case: a service whose handler waits for another service sleeps without having said so on its
 * clients' channels, for requests are not to wake it.
 *
 * Whether it was executed nobody knows, unless it never left our queue. A one-way call has ended
 * when it has left it, even if its closure has not run yet.
 */
#include "rpc/internal.h"

/* The request is in our ring, or was. */
static bool is_sent(const struct call *call)
{
    return call->channel && !call->queued;
}

/* Before the call ends, for its closure may take the channel down. */
static void say_cancel(struct call *call)
{
    struct channel *channel = call->channel;
    struct frame_header header = {.call_id = call->id, .kind = FRAME_CANCEL};
    struct body body = {0};
    /* What is wrong with the channel shows again where it ends the channel. */
    if (channel_send_or_queue(channel, &header, &body, NULL) >= 0)
        channel_ring(channel);
}

static void give_up(struct call *call, enum parley_status status, const char *text)
{
    if (call->accepted) {
        call_accepted(call); /* on its way before */
        return;
    }
    bool sent = is_sent(call);
    if (sent)
        say_cancel(call);
    call_finish(call, status, sent ? PARLEY_EXECUTED_UNKNOWN : PARLEY_EXECUTED_NO, text);
}

void call_expire(struct call *call)
{
    const char *text = "no answer before the deadline";
    if (!call->channel)
        text = "no instance could be attached before the deadline";
    else if (call->queued)
        text = "the instance took nothing before the deadline";
    give_up(call, PARLEY_DEADLINE_EXCEEDED, text);
}

void call_orphaned(struct call *call)
{
    give_up(call, PARLEY_CANCELLED, "the call that this one was made for is cancelled");
}

enum parley_status parley_client_cancel(struct parley_client *client, uint64_t call_id)
{
    if (endpoint_forked(client->endpoint))
        return status_forked();
    struct parley_endpoint *endpoint = client->endpoint; /* a closure may free the client */
    struct call *call = endpoint_call_find(endpoint, call_id);
    /* Of the same endpoint but another client's, or inside its own closure: not there to end. */
    bool there = call && call->client == client && !call->done;
    bool accepted = there && call->accepted;
    if (there)
        give_up(call, PARLEY_CANCELLED, "the caller cancelled it");
    endpoint_leave(endpoint);
    if (!there || accepted)
        return status_fail(PARLEY_NOT_FOUND, "this client has no such call: it has ended");
    return PARLEY_OK;
}
