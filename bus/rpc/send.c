/*
 * A frame's way into our memory: into the ring, or, if it does not fit there, into the arena, and
 * then its record names the block. What has been packed is copied; what has not is packed in place,
 * in one pass where its length can be guessed. The frame's header goes first, the record's sequence
 * last: a record that is not committed is nothing.
 *
 * Where there is no room the arena grows, by a segment more, and a ring that is full again and
 * again moves to a larger one. Their descriptors go by the doorbell, before anything that is in
 * them.
 */
#include "rpc/frames.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "rpc/refs.h"

int channel_arena_take(struct channel *channel, size_t bytes, struct frame_ref *ret_ref,
                       void **ret_data)
{
    int r = release_take(&channel->ours, &channel->peer);
    if (r < 0)
        return r;
    r = arena_alloc(&channel->ours, bytes, ret_ref, ret_data);
    if (r > 0 && channel->parked && buffers_unpark(channel))
        r = arena_alloc(&channel->ours, bytes, ret_ref, ret_data);
    if (r != ARENA_E_GROW)
        return r;
    int fd = -1;
    struct error_text error = {0};
    r = arena_grow(&channel->ours, bytes, &fd, &error);
    if (r != 0)
        return r;
    struct bell_packet packet = {.kind = BELL_GROW};
    r = channel_bell_send(channel, &packet, sizeof(packet), fd);
    if (r < 0) {
        /* The peer would not know the arena that our next frame names. */
        channel_kill(channel, PARLEY_UNAVAILABLE, "cannot hand a further arena over: %s",
                     strerror(-r));
        return -EPIPE;
    }
    return arena_alloc(&channel->ours, bytes, ret_ref, ret_data);
}

void channel_grow_ring(struct channel *channel)
{
    int fd = -1;
    struct error_text error = {0};
    const struct bell_packet packet = {.kind = BELL_GROW_RING};
    channel->waited = 0;
    int r = ring_grow(&channel->ours, &fd, &error);
    if (r < 0)
        log_warn("a channel keeps its small ring: %s", error.text);
    if (r != 0)
        return;
    if (channel_bell_send(channel, &packet, sizeof(packet), fd) < 0) {
        ring_grow_undo(&channel->ours); /* the socket is full: another time */
        return;
    }
    ring_move(&channel->ours);
    channel->ours.further.fd = fd_close(channel->ours.further.fd);
}

int frame_more_write(struct channel *channel, struct wire_packing *packing, size_t bytes,
                     size_t ref_count, uint8_t *record, uint8_t *at)
{
    const uint32_t return_count = channel->return_count;
    if (ref_count > 0) {
        int r = refs_write(channel, packing, bytes, ref_count, at);
        if (r < 0)
            return r;
        record[offsetof(struct frame_header, share_count)] = (uint8_t)ref_count;
        at += frame_places_bytes((uint32_t)bytes, (uint32_t)ref_count);
    }
    if (return_count > 0)
        (void)returns_write(channel, at, return_count);
    record[offsetof(struct frame_header, return_count)] = (uint8_t)return_count;
    return 0;
}

/* A record that names a block. */
static int reserve_for_block(struct channel *channel, void **ret_record, uint32_t *ret_bytes)
{
    *ret_bytes = (uint32_t)(sizeof(struct frame_header) + sizeof(struct frame_ref)) +
                 frame_more_bytes_any(channel, 0, 0);
    return ring_reserve(&channel->ours, &channel->peer, *ret_bytes, ret_record);
}

/* @header: all of it but the flag. */
static void commit_block(struct channel *channel, struct frame_header *header,
                         const struct frame_ref *ref, uint8_t *record, uint32_t record_bytes)
{
    header->flags |= FRAME_IN_ARENA;
    const struct frame_words words = frame_words_of(header);
    frame_words_write(record, &words);
    memcpy(record + sizeof(*header), ref, sizeof(*ref));
    (void)frame_more_write(channel, NULL, 0, 0, record, record + sizeof(*header) + sizeof(*ref));
    ring_commit(&channel->ours, record_bytes);
}

static int send_by_arena(struct channel *channel, const struct frame_header *given,
                         const struct body *body)
{
    struct frame_header header = *given;
    struct frame_ref ref;
    void *data, *record;
    uint32_t record_bytes;
    int r = channel_arena_take(channel, body_bytes(body), &ref, &data);
    if (r == ARENA_E_FULL || r == ARENA_E_GROW)
        return CHANNEL_E_FULL;
    if (r != 0)
        return r;
    r = reserve_for_block(channel, &record, &record_bytes);
    if (r == 0)
        r = body_write(data, body);
    if (r == 0 && body->ref_count > 0)
        r = refs_write(channel, body->packing, body->bytes, body->ref_count,
                       (uint8_t *)data + body->metadata_bytes + body->bytes);
    if (r != 0) {
        arena_free(&channel->ours, ref.block);
        return r; /* a record that is not committed is nothing */
    }
    header.payload_bytes = (uint32_t)body->bytes;
    header.metadata_bytes = (uint16_t)body->metadata_bytes;
    header.share_count = (uint8_t)body->ref_count;
    commit_block(channel, &header, &ref, record, record_bytes);
    return 0;
}

/* How long a message is shows when it has been packed: mostly about as long as the one before. */
bool frame_in_arena(struct channel *channel, const struct frame_words *given,
                    const struct wire_packer *packer, size_t type, const ProtobufCMessage *message)
{
    const size_t room = channel->packed_bytes + channel->packed_bytes / 8 + WIRE_PACK_AT_SLACK;
    struct frame_header header = frame_header_of(given);
    struct frame_ref ref;
    void *data, *record;
    uint32_t record_bytes;
    size_t bytes;
    if (!LIST_EMPTY(&channel->buffers) || room > WIRE_PACK_WINDOW_BYTES ||
        frame_fits_ring(channel, sizeof(header) + channel->packed_bytes) ||
        channel_arena_take(channel, room, &ref, &data) != 0)
        return false; /* what is wrong shows again */
    int r = wire_pack_at(channel->endpoint->packing, packer, type, message, data, room, &bytes);
    const struct body body = {.data = data, .bytes = r == 0 ? bytes : 0};
    const size_t whole = frame_record_bytes(channel, &body);
    const bool shrunk = r == 0 && frame_fits_ring(channel, whole);
    if (shrunk)
        r = frame_by_ring(channel, given, &body, (uint32_t)whole);
    else if (r == 0)
        r = reserve_for_block(channel, &record, &record_bytes);
    if (r == 0)
        channel->packed_bytes = (uint32_t)bytes;
    if (r != 0 || shrunk) {
        arena_free(&channel->ours, ref.block);
        return r == 0;
    }
    header.payload_bytes = (uint32_t)bytes;
    commit_block(channel, &header, &ref, record, record_bytes);
    return true;
}

int channel_send(struct channel *channel, const struct frame_header *header,
                 const struct body *body)
{
    if (channel->state != CHANNEL_UP)
        return -EPIPE;
    if (body->bytes > WIRE_MESSAGE_BYTES_MAX)
        return -EMSGSIZE;
    const size_t bytes = frame_record_bytes(channel, body);
    if (!frame_fits_ring(channel, bytes))
        return send_by_arena(channel, header, body);
    const struct frame_words words = frame_words_of(header);
    return frame_by_ring(channel, &words, body, (uint32_t)bytes);
}
