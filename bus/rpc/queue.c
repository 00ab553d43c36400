/*
 * Frames that find no room in ring or arena: they wait in a private queue, in order, with our
 * `blocked` flag set. We look for room while we are awake, and a peer that consumes rings if we
 * sleep.
 *
 * A program that starts thousands of calls at once has most of them here, so this is nearly as
 * short a way as the one through the ring: a call that has packed its message keeps it, and waits
 * as it is.
 */
#include "rpc/frames.h"

#include <errno.h>

#define QUEUED_PER_LOOK 16 /* frames that are queued between two looks for room */

static void queued_free(struct queued *queued)
{
    if (!queued->call || queued != &queued->call->frame)
        free(queued);
}

void channel_queue_free(struct channel *channel)
{
    while (!STAILQ_EMPTY(&channel->queue)) {
        struct queued *queued = STAILQ_FIRST(&channel->queue);
        STAILQ_REMOVE_HEAD(&channel->queue, entry);
        queued_free(queued);
    }
}

/* With a copy of the body. Return: 0, -ENOBUFS, or as body_write(). */
static int queued_new(const struct body *body, struct queued **ret_queued)
{
    struct queued *queued = malloc(sizeof(*queued) + body->metadata_bytes + body->bytes);
    if (!queued)
        return -ENOBUFS;
    uint8_t *copy = (uint8_t *)(queued + 1);
    int r = body_write(copy, body);
    if (r < 0) {
        free(queued);
        return r;
    }
    queued->metadata = copy;
    queued->payload = copy + body->metadata_bytes;
    *ret_queued = queued;
    return 0;
}

static int enqueue(struct channel *channel, const struct frame_header *header,
                   const struct body *body, struct call *call)
{
    size_t bytes = body->metadata_bytes + body->bytes;
    struct queued *queued;
    if (channel->queue_bytes + bytes > RPC_QUEUE_BYTES_MAX ||
        channel->queue_frames >= RPC_QUEUE_FRAMES_MAX)
        return -ENOBUFS;
    if (call && !body->packing) { /* the call keeps what it has packed */
        queued = &call->frame;
        queued->metadata = body->metadata;
        queued->payload = body->data;
    } else {
        int r = queued_new(body, &queued);
        if (r < 0)
            return r;
    }
    queued->call = call;
    queued->header = *header;
    queued->header.payload_bytes = (uint32_t)body->bytes;
    queued->header.metadata_bytes = (uint16_t)body->metadata_bytes;
    channel_return_now(channel); /* what waits gives nothing back */
    STAILQ_INSERT_TAIL(&channel->queue, queued, entry);
    channel->queue_bytes += bytes;
    channel->queue_frames++;
    if (call)
        call->queued = true;
    stats_bump(&channel->endpoint->stats.header->ring_full);
    return CHANNEL_E_FULL;
}

int channel_send_anyhow(struct channel *channel, const struct frame_header *header,
                        struct body *body, struct call *call)
{
    /* Every so often, while the program starts one call after the other: each look may cost a cache
     * line that the peer has just written. */
    if (!STAILQ_EMPTY(&channel->queue) && channel->queue_frames % QUEUED_PER_LOOK == 0 &&
        channel_has_room(channel))
        channel_flush(channel);
    int r = STAILQ_EMPTY(&channel->queue) ? channel_send(channel, header, body) : CHANNEL_E_FULL;
    if (r == 0) {
        if (call)
            call->ring_end = channel->ours.head;
        return 0;
    }
    if (r != CHANNEL_E_FULL)
        return r;
    if (body->ref_count > 0 && (r = refs_forgo(body)) < 0)
        return r; /* what waits refers to nothing */
    if (body->bytes > WIRE_MESSAGE_BYTES_MAX)
        return -EMSGSIZE;
    r = enqueue(channel, header, body, call);
    if (r == CHANNEL_E_FULL && !channel->blocked) {
        channel->blocked = true;
        blocked_set(&channel->ours);
        channel_flush(channel); /* the re-check that blocked_set() asks for */
        channel_wake(channel);
        return STAILQ_EMPTY(&channel->queue) ? 0 : CHANNEL_E_FULL;
    }
    return r;
}

int channel_send_or_queue(struct channel *channel, const struct frame_header *header,
                          const struct body *body, struct call *call)
{
    struct frame_header tagged = frame_header_copy(header);
    tagged.version_tag = channel->service_side ? FRAME_TAG_SERVICE : FRAME_TAG_CLIENT;
    return channel_send_frame(channel, &tagged, body, call);
}

/* Sends what waits. Return: number of frames sent, or -errno after killing the channel. */
int channel_flush(struct channel *channel)
{
    int sent = 0;
    /* First: what comes later is news. */
    peer_progress(&channel->peer, &channel->tried, &channel->tried_released);
    while (!STAILQ_EMPTY(&channel->queue)) {
        struct queued *queued = STAILQ_FIRST(&channel->queue);
        struct body body = {
            .metadata = queued->metadata,
            .metadata_bytes = queued->header.metadata_bytes,
            .data = queued->payload,
            .bytes = queued->header.payload_bytes,
        };
        int r = channel_send(channel, &queued->header, &body);
        if (r == CHANNEL_E_FULL)
            break;
        if (r == -EPROTO) {
            channel_break(channel, "an impossible cursor");
            return r;
        }
        if (r < 0)
            return r; /* dead already */
        if (queued->call) {
            queued->call->queued = false;
            queued->call->ring_end = channel->ours.head;
            if (queued->call->one_way) {
                queued->call->accepted = true;
                TAILQ_INSERT_TAIL(&channel->endpoint->accepted, queued->call, accepted_entry);
            }
        }
        STAILQ_REMOVE_HEAD(&channel->queue, entry);
        channel->queue_bytes -= body.metadata_bytes + body.bytes;
        channel->queue_frames--;
        queued_free(queued);
        sent++;
    }
    if (sent)
        channel_ring_if_asleep(channel);
    if (STAILQ_EMPTY(&channel->queue) && channel->blocked) {
        channel->blocked = false;
        blocked_clear(&channel->ours);
    }
    return sent;
}

void channel_forget_queued(struct channel *channel, const struct call *call)
{
    struct queued *queued, *next;
    for (queued = STAILQ_FIRST(&channel->queue); queued; queued = next) {
        next = STAILQ_NEXT(queued, entry);
        if (queued->call != call)
            continue;
        channel->queue_bytes -=
            queued->header.metadata_bytes + (size_t)queued->header.payload_bytes;
        channel->queue_frames--;
        STAILQ_REMOVE(&channel->queue, queued, queued, entry);
        queued_free(queued);
        return;
    }
}
