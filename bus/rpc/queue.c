/*
 * What finds no room in ring or arena: it waits in a private queue, in order, with our `blocked`
 * flag set. We look for room while we are awake, and a peer that consumes rings if we sleep.
 *
 * A program that starts thousands of calls at once has most of them here, so their way is short: a
 * call waits by its address alone. It has its message packed, and all else that its frame says; the
 * frame is made when there is room for it. Whatever else waits is a copy.
 */
#include "rpc/frames.h"

#include <errno.h>

#define PLACES_MIN 16
#define PLACES_KEPT_MAX 16384 /* when nothing waits any more */

/* A frame that is no call's request, and its body behind it. */
struct queued {
    struct frame_header header; /* has the body's lengths */
    uint8_t body[];
};

/* A place has the address of one of the two, and says which; 0: who waited there has left. */
#define PLACE_IS_CALL 1

static inline uintptr_t *place_at(const struct frame_queue *queue, uint32_t index)
{
    return &queue->places[(queue->first + index) & (queue->place_max - 1)];
}

static inline struct call *place_call(uintptr_t place)
{
    return place & PLACE_IS_CALL ? (struct call *)(place - PLACE_IS_CALL) : NULL;
}

static size_t queued_bytes(const struct queued *queued)
{
    return queued->header.metadata_bytes + (size_t)queued->header.payload_bytes;
}

/* Whether it is a request and a message, and nothing else. */
static inline bool is_bare(const struct call *call)
{
    return call_is_plain(call) && !call->extras;
}

/* The same of one that waits. Asked before it is `queued` no more: a byte that has just been
 * written must not be read as a part of a word. */
static inline bool is_bare_and_waits(const struct call *call)
{
    struct call bits;
    bits.states = 0;
    bits.counted = bits.queued = true;
    return call->states == bits.states && !call->extras;
}

static inline struct body call_body(const struct call *call, bool bare)
{
    struct body body = call_metadata_body(call, bare);
    body.data = bare ? call->packed : call_packed(call);
    body.bytes = call->packed_bytes;
    return body;
}

static inline size_t call_bytes(const struct call *call, bool bare)
{
    return call->packed_bytes + (bare ? 0 : call_metadata_body(call, false).metadata_bytes);
}

/* ---- Places ---- */

/* Room for one more. Places that have been left go: where the first waits for long, and others come
 * and leave, they would grow without end. */
static bool places_grow(struct frame_queue *queue)
{
    uint32_t max = queue->place_max ? queue->place_max : PLACES_MIN;
    if (queue->count > max / 2)
        max *= 2;
    uintptr_t *places = malloc(max * sizeof(*places));
    if (!places)
        return false;
    uint32_t used = 0;
    for (uint32_t i = 0; i < queue->used; i++) {
        uintptr_t place = *place_at(queue, i);
        if (place != 0)
            places[used++] = place;
    }
    free(queue->places);
    queue->used = used;
    queue->places = places;
    queue->place_max = max;
    queue->first = 0;
    return true;
}

/* Return: 0, or -ENOBUFS. */
static inline int push(struct frame_queue *queue, uintptr_t place, size_t bytes)
{
    if (queue->bytes + bytes > RPC_QUEUE_BYTES_MAX || queue->count >= RPC_QUEUE_FRAMES_MAX)
        return -ENOBUFS;
    if (queue->used == queue->place_max && !places_grow(queue))
        return -ENOBUFS;
    *place_at(queue, queue->used++) = place;
    queue->count++;
    queue->bytes += bytes;
    return 0;
}

/* The first place is nobody's any more, nor are those behind it that have been left. */
static inline void pass(struct frame_queue *queue)
{
    do {
        queue->first++;
        queue->used--;
    } while (queue->used > 0 && *place_at(queue, 0) == 0);
}

static inline void leave(struct frame_queue *queue, size_t bytes)
{
    queue->count--;
    queue->bytes -= bytes;
}

void channel_queue_free(struct channel *channel)
{
    struct frame_queue *queue = &channel->queue;
    for (uint32_t i = 0; i < queue->used; i++) {
        uintptr_t place = *place_at(queue, i);
        if (!place_call(place))
            free((struct queued *)place);
    }
    free(queue->places);
    *queue = (struct frame_queue){0};
}

/* ---- To wait ---- */

/* With a copy of the body. Return: 0, -ENOBUFS, or as body_write(). */
static int queued_new(const struct frame_header *header, const struct body *body,
                      struct queued **ret_queued)
{
    struct queued *queued = malloc(sizeof(*queued) + body->metadata_bytes + body->bytes);
    if (!queued)
        return -ENOBUFS;
    int r = body_write(queued->body, body);
    if (r < 0) {
        free(queued);
        return r;
    }
    queued->header = *header;
    queued->header.payload_bytes = (uint32_t)body->bytes;
    queued->header.metadata_bytes = (uint16_t)body->metadata_bytes;
    *ret_queued = queued;
    return 0;
}

static int wait_as_frame(struct channel *channel, const struct frame_header *header,
                         const struct body *body)
{
    struct queued *queued;
    int r = queued_new(header, body, &queued);
    if (r == 0 && (r = push(&channel->queue, (uintptr_t)queued, queued_bytes(queued))) < 0)
        free(queued);
    return r;
}

static inline int wait_as_call(struct channel *channel, struct call *call)
{
    int r = push(&channel->queue, (uintptr_t)call | PLACE_IS_CALL, call_bytes(call, is_bare(call)));
    call->queued = r == 0;
    return r;
}

/* What is packed elsewhere the call keeps from now on. */
static int keep_message(struct call *call, const struct body *body)
{
    if (!body->packing)
        return 0;
    if (!call_keep(call, body->bytes))
        return -ENOBUFS;
    const struct body message = {
        .packing = body->packing, .data = body->data, .bytes = body->bytes};
    return body_write(call->packed, &message);
}

static inline int waits(struct channel *channel)
{
    stats_bump(&channel->endpoint->stats.header->ring_full);
    if (channel->awake)
        hot_update(&channel->endpoint->hot, channel);
    return CHANNEL_E_FULL;
}

int channel_wait_behind(struct channel *channel, struct call *call)
{
    int r = wait_as_call(channel, call);
    return r < 0 ? r : waits(channel);
}

static int enqueue(struct channel *channel, const struct frame_header *header,
                   const struct body *body, struct call *call)
{
    int r;
    if (!call)
        r = wait_as_frame(channel, header, body);
    else if ((r = keep_message(call, body)) == 0)
        r = wait_as_call(channel, call);
    if (r < 0)
        return r;
    channel_return_now(channel); /* what waits gives nothing back */
    return waits(channel);
}

int channel_send_anyhow(struct channel *channel, const struct frame_words *words, struct body *body,
                        struct call *call)
{
    const struct frame_header header = frame_header_of(words);
    /* Every so often, while the program starts one call after the other: each look may cost a cache
     * line that the peer has just written. */
    if (channel->queue.count > 0 && channel->queue.count % QUEUED_PER_LOOK == 0 &&
        channel_has_room(channel))
        channel_flush(channel);
    int r = channel->queue.count == 0 ? channel_send(channel, &header, body) : CHANNEL_E_FULL;
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
    r = enqueue(channel, &header, body, call);
    if (r == CHANNEL_E_FULL && !channel->blocked) {
        channel->blocked = true;
        blocked_set(&channel->ours);
        channel_flush(channel); /* the re-check that blocked_set() asks for */
        channel_wake(channel);
        return channel->queue.count == 0 ? 0 : CHANNEL_E_FULL;
    }
    return r;
}

int channel_send_or_queue(struct channel *channel, const struct frame_header *header,
                          const struct body *body, struct call *call)
{
    struct frame_header tagged = frame_header_copy(header);
    tagged.version_tag = channel->service_side ? FRAME_TAG_SERVICE : FRAME_TAG_CLIENT;
    const struct frame_words words = frame_words_of(&tagged);
    return channel_send_frame(channel, &words, body, call);
}

void channel_forget_queued(struct channel *channel, struct call *call)
{
    struct frame_queue *queue = &channel->queue;
    for (uint32_t i = 0; i < queue->used; i++) {
        if (place_call(*place_at(queue, i)) != call)
            continue;
        *place_at(queue, i) = 0;
        leave(queue, call_bytes(call, is_bare_and_waits(call)));
        call->queued = false;
        if (i == 0)
            pass(queue);
        return;
    }
}

/* ---- When there is room ---- */

/* Return: as channel_send(). */
RING_INLINE int send_waiting(struct channel *channel, const struct frame_header *header,
                             const struct body *body)
{
    const size_t bytes = frame_record_bytes(channel, body);
    const struct frame_words words = frame_words_of(header);
    if (__builtin_expect(channel->state == CHANNEL_UP && frame_fits_ring(channel, bytes), 1))
        return frame_by_ring(channel, &words, body, (uint32_t)bytes);
    const struct frame_header again = frame_header_of(&words);
    return channel_send(channel, &again, body);
}

static void one_way_is_sent(struct channel *channel, struct call *call)
{
    call->accepted = true;
    TAILQ_INSERT_TAIL(&channel->endpoint->accepted, call, accepted_entry);
}

/* @bare: is_bare(), a constant. */
RING_INLINE int send_request(struct channel *channel, const struct call *call, uint64_t now,
                             const bool bare)
{
    const struct body body = call_body(call, bare);
    const struct frame_header header =
        call_request_header(call, call_time_left_us(call, now), call->held->tag, bare);
    return send_waiting(channel, &header, &body);
}

__attribute__((noinline)) static int send_any_request(struct channel *channel,
                                                      const struct call *call, uint64_t now)
{
    return send_request(channel, call, now, false);
}

static inline int send_call(struct channel *channel, struct call *call, uint64_t now)
{
    const bool bare = is_bare_and_waits(call);
    call->queued = false;
    int r = __builtin_expect(bare, 1) ? send_request(channel, call, now, true)
                                      : send_any_request(channel, call, now);
    if (__builtin_expect(r != 0, 0)) {
        call->queued = true;
        return r;
    }
    leave(&channel->queue, call_bytes(call, bare));
    call->ring_end = channel->ours.head;
    if (__builtin_expect(call->one_way, 0))
        one_way_is_sent(channel, call);
    return 0;
}

__attribute__((noinline)) static int send_queued(struct channel *channel, struct queued *queued)
{
    const struct frame_header *header = &queued->header;
    const struct body body = {
        .metadata = queued->body,
        .metadata_bytes = header->metadata_bytes,
        .data = queued->body + header->metadata_bytes,
        .bytes = header->payload_bytes,
    };
    int r = send_waiting(channel, header, &body);
    if (r != 0)
        return r;
    leave(&channel->queue, queued_bytes(queued));
    free(queued);
    return 0;
}

/* Return: number of frames sent, or as channel_send() of the first that was not, but for
 * CHANNEL_E_FULL. */
static int send_first(struct channel *channel)
{
    struct frame_queue *queue = &channel->queue;
    uint64_t now = queue->count > 0 ? quick_clock_now_ns(&channel->endpoint->clock) : 0;
    int sent = 0;
    while (queue->count > 0) {
        uintptr_t place = *place_at(queue, 0);
        struct call *call = place_call(place);
        int r = call ? send_call(channel, call, now) : send_queued(channel, (struct queued *)place);
        if (r == CHANNEL_E_FULL)
            break;
        if (r < 0)
            return r;
        pass(queue);
        sent++;
    }
    return sent;
}

/* Whether it is the ring that is full, and has been for so many frames: not for one burst. */
static bool ring_is_small(const struct channel *channel)
{
    const struct segment *ours = &channel->ours;
    return ours->head - ours->peer_consumed >= ours->ring_lines - ours->ring_lines / 4 &&
           channel->waited >= channel->endpoint->grow_after && ours->moved_to == 0;
}

int channel_flush(struct channel *channel)
{
    struct frame_queue *queue = &channel->queue;
    /* First: what comes later is news. */
    peer_progress(&channel->peer, &channel->tried, &channel->tried_released);
    int sent = send_first(channel);
    if (sent >= 0 && queue->count > 0) {
        channel->waited += (uint32_t)sent;
        if (ring_is_small(channel)) {
            channel_grow_ring(channel);
            int more = send_first(channel);
            sent = more < 0 ? more : sent + more;
        }
    }
    if (sent == -EPROTO)
        channel_break(channel, "an impossible cursor");
    if (sent < 0)
        return sent; /* dead already */
    if (sent)
        channel_ring_if_asleep(channel);
    if (queue->count == 0 && queue->place_max > PLACES_KEPT_MAX)
        channel_queue_free(channel);
    if (queue->count == 0 && channel->blocked) {
        channel->blocked = false;
        blocked_clear(&channel->ours);
    }
    return sent;
}
