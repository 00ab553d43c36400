/*
 * Frames on their usual way, to be part of those who send and take one for each call: by the ring,
 * with room, nothing in the arena. send.c and channel.c have what is rare, and are made of the same pieces.
 *
 * A header is given as the four words that it is written in: where this is part of its sender it
 * goes from registers to the ring in four stores. Once it was filled in member by member and then
 * copied, and each load waited until the store buffer was empty, behind lines of the ring that were
 * on their way from the other core: an eighth of a call. Then each word was put together where it
 * was written, and a compiler that ran out of registers kept a byte on the stack and read it back
 * as a word, which waits as long: with thousands in flight a fifth of the client's time.
 */
#ifndef PARLEY_RPC_FRAMES_H
#define PARLEY_RPC_FRAMES_H

#include <string.h>

#include "base/copy.h"
#include "rpc/internal.h"
#include "shm/ring.h"

/* ---- Sending ---- */

static_assert(CHANNEL_E_FULL == RING_E_FULL, "one is handed on as the other");
static_assert(offsetof(struct frame_header, payload_bytes) == 8 &&
                  offsetof(struct frame_header, metadata_bytes) == 16 &&
                  offsetof(struct frame_header, status) == 24 && sizeof(struct frame_header) == 32,
              "these are the words of frame_header_write()");

/* A struct frame_header. */
struct frame_words {
    uint64_t id, sizes, kinds, ends;
};

/* A value that is kept as it is: all of it, and by itself, not as a part of a vector. */
RING_INLINE uint64_t frame_word(uint64_t word)
{
    __asm__("" : "+r"(word));
    return word;
}

RING_INLINE struct frame_words frame_words_of(const struct frame_header *header)
{
    struct frame_words words;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    words.id = frame_word(header->call_id);
    words.sizes = frame_word(header->payload_bytes | (uint64_t)header->time_left_us << 32);
    words.kinds = frame_word(header->metadata_bytes | (uint64_t)header->method << 16 |
                             (uint64_t)header->version_tag << 32 | (uint64_t)header->kind << 48 |
                             (uint64_t)header->flags << 56);
    words.ends = frame_word(header->status | (uint64_t)header->executed << 8 |
                            (uint64_t)header->plan_tag << 16 | (uint64_t)header->share_count << 32 |
                            (uint64_t)header->return_count << 40);
#else
    memcpy(&words, header, sizeof(words));
#endif
    return words;
}

/* @words: of no bytes of either yet. */
RING_INLINE void frame_words_add_bytes(struct frame_words *words, uint32_t payload_bytes,
                                       uint16_t metadata_bytes)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    words->sizes |= payload_bytes;
    words->kinds |= metadata_bytes;
#else
    words->sizes |= (uint64_t)payload_bytes << 32;
    words->kinds |= (uint64_t)metadata_bytes << 48;
#endif
}

RING_INLINE void frame_words_write(uint8_t *out, const struct frame_words *words)
{
    const uint64_t id = frame_word(words->id), sizes = frame_word(words->sizes);
    const uint64_t kinds = frame_word(words->kinds), ends = frame_word(words->ends);
    memcpy(out, &id, sizeof(id));
    memcpy(out + 8, &sizes, sizeof(sizes));
    memcpy(out + 16, &kinds, sizeof(kinds));
    memcpy(out + 24, &ends, sizeof(ends));
}

RING_INLINE struct frame_header frame_header_of(const struct frame_words *words)
{
    struct frame_header header;
    memcpy(&header, words, sizeof(header));
    return header;
}

/* Member by member: who is given the copy's address, and that is what is rare, does not keep the
 * original from being in registers. */
RING_INLINE struct frame_header frame_header_copy(const struct frame_header *header)
{
    return (struct frame_header){
        .call_id = header->call_id,
        .payload_bytes = header->payload_bytes,
        .time_left_us = header->time_left_us,
        .metadata_bytes = header->metadata_bytes,
        .method = header->method,
        .version_tag = header->version_tag,
        .kind = header->kind,
        .flags = header->flags,
        .status = header->status,
        .executed = header->executed,
        .plan_tag = header->plan_tag,
        .share_count = header->share_count,
        .return_count = header->return_count,
    };
}

RING_INLINE struct body body_copy(const struct body *body)
{
    return (struct body){
        .metadata = body->metadata,
        .metadata_bytes = body->metadata_bytes,
        .packing = body->packing,
        .data = body->data,
        .bytes = body->bytes,
        .ref_count = body->ref_count,
    };
}

RING_INLINE size_t body_bytes(const struct body *body)
{
    return body->metadata_bytes + body->bytes +
           frame_places_bytes((uint32_t)body->bytes, (uint32_t)body->ref_count);
}

/* Without the references. Return: 0, or as wire_pack_write(). */
RING_INLINE int body_write(uint8_t *out, const struct body *body)
{
    if (__builtin_expect(body->metadata_bytes > 0, 0))
        memcpy(out, body->metadata, body->metadata_bytes);
    out += body->metadata_bytes;
    if (body->data && body->bytes > COPY_FEW_BYTES_MAX)
        copy_over(out, body->data, body->bytes);
    else if (body->data && body->bytes > 0)
        copy_few(out, body->data, body->bytes);
    return body->data || !body->packing ? 0 : wire_pack_write(body->packing, out);
}

/* A record's first line is the one that its reader looks at again and again: what is written to it
 * long before the record is committed has to get that line from there twice. So where more than
 * this is written, the first line comes last, in one go; and a message that is likely to be as long
 * is not packed in place. */
#define FRAME_SHORT_BYTES 128

/* Of a body in the ring: in the record's first line. */
#define FRAME_FIRST_LINE_BYTES                                                                     \
    (LAYOUT_LINE_BYTES - sizeof(struct ring_prefix) - sizeof(struct frame_header))

/* Of a message's references, and names to give back. */
RING_INLINE uint32_t frame_more_bytes_any(const struct channel *channel, size_t bytes,
                                          size_t ref_count)
{
    return frame_places_bytes((uint32_t)bytes, (uint32_t)ref_count) +
           channel->return_count * (uint32_t)sizeof(channel->returns[0]);
}

/* The names to give back. The frame must be sent then. Return: behind them. */
RING_INLINE uint8_t *returns_write(struct channel *channel, uint8_t *out, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t name = channel->returns[i];
        __asm__("" : "+r"(name)); /* mostly one: no call of memcpy() */
        memcpy(out + i * sizeof(name), &name, sizeof(name));
    }
    channel->return_count = 0;
    return out + count * sizeof(channel->returns[0]);
}

/* send.c: writes what a frame has more to a record whose header and body are there, @at the
 * body's end, and into the header how much it is; the message has @bytes. The frame must be sent
 * then. Return: 0, or as refs_write(). */
int frame_more_write(struct channel *channel, struct wire_packing *packing, size_t bytes,
                     size_t ref_count, uint8_t *record, uint8_t *at) __attribute__((noinline));

/* Behind the body, in a record, most have nothing: neither references nor names to give back. */
RING_INLINE uint32_t frame_more_bytes(const struct channel *channel, const struct body *body)
{
    return __builtin_expect((body->ref_count | channel->return_count) == 0, 1)
               ? 0
               : frame_more_bytes_any(channel, body->bytes, body->ref_count);
}

RING_INLINE size_t frame_record_bytes(const struct channel *channel, const struct body *body)
{
    return sizeof(struct frame_header) + body->metadata_bytes + body->bytes +
           frame_more_bytes(channel, body);
}

/* Whether a frame of so many bytes in all goes by the ring; else by the arena. */
RING_INLINE bool frame_fits_ring(const struct channel *channel, size_t bytes)
{
    return bytes <= ring_record_bytes_max(channel->ours.ring_lines);
}

/* A frame that fits: @bytes is its frame_record_bytes(), @given have neither its bytes nor what it
 * has more. The channel must be up. Return: as channel_send(). */
RING_INLINE int frame_by_ring(struct channel *channel, const struct frame_words *given,
                              const struct body *body, uint32_t bytes)
{
    struct frame_words words = {given->id, given->sizes, given->kinds, given->ends};
    struct ring_room room;
    int r = ring_room_take(&channel->ours, &channel->peer, bytes, &room);
    if (__builtin_expect(r != 0, 0))
        return r;
    uint8_t *record = (uint8_t *)(room.record + 1);
    frame_words_add_bytes(&words, (uint32_t)body->bytes, (uint16_t)body->metadata_bytes);
    r = body_write(record + sizeof(words), body);
    if (__builtin_expect(r < 0, 0))
        return r; /* a record that is not committed is nothing */
    frame_words_write(record, &words);
    if (__builtin_expect((body->ref_count | channel->return_count) != 0, 0) &&
        (r = frame_more_write(channel, body->packing, body->bytes, body->ref_count, record,
                              record + sizeof(words) + body->metadata_bytes + body->bytes)) < 0)
        return r;
    ring_room_commit(&channel->ours, room, bytes);
    return 0;
}

RING_INLINE void frame_words_add_more(struct frame_words *words, size_t shares, size_t returns)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    words->ends |= (uint64_t)shares << 32 | (uint64_t)returns << 40;
#else
    words->ends |= (uint64_t)shares << 24 | (uint64_t)returns << 16;
#endif
}

/* That a message may need to be packed where it goes, WIRE_PACK_AT_SLACK among them. */
#define FRAME_IN_PLACE_BYTES 512
static_assert(sizeof(struct frame_header) + sizeof(struct frame_trace) + FRAME_IN_PLACE_BYTES <=
                  SEGMENT_RING_LINES_MIN / 4 * LAYOUT_LINE_BYTES - sizeof(struct ring_prefix),
              "a record of any ring");

/* refs.c: frame_in_place() of what is made elsewhere first, for whom there is room: it may have
 * more behind its body, or takes long to pack. */
bool frame_at_once(struct channel *channel, const struct frame_words *given,
                   const struct wire_packer *packer, size_t type, const ProtobufCMessage *message)
    __attribute__((noinline));

/* send.c: the same, packed into a block of the arena, if messages have been longer than what goes
 * by the ring. */
bool frame_in_arena(struct channel *channel, const struct frame_words *given,
                    const struct wire_packer *packer, size_t type,
                    const ProtobufCMessage *message);

/* A frame of a message and no metadata, packed into the ring, if there is room for it that goes on.
 * @trace: its frame_trace; or NULL, a constant. False: nothing was sent, and it is to be packed
 * before. */
RING_INLINE bool frame_in_place(struct channel *channel, const struct frame_words *given,
                                const void *trace, const struct wire_packer *packer, size_t type,
                                const ProtobufCMessage *message)
{
    struct segment *ours = &channel->ours;
    const uint32_t trace_bytes = trace ? sizeof(struct frame_trace) : 0;
    const uint32_t lines = ring_record_lines((uint32_t)sizeof(struct frame_header) + trace_bytes +
                                             FRAME_IN_PLACE_BYTES);
    if (__builtin_expect(channel->state != CHANNEL_UP || channel->queue.count > 0 ||
                             ours->head + lines > ours->straight_end,
                         0))
        return false;
    struct frame_words words = {given->id, given->sizes, given->kinds, given->ends};
    /* How long it is shows when it has been packed: mostly as long as the one before. */
    if (__builtin_expect(!LIST_EMPTY(&channel->buffers) || channel->return_count > 0 ||
                             channel->packed_bytes > FRAME_SHORT_BYTES - trace_bytes,
                         0)) {
        if (trace)
            return false; /* it is made elsewhere just so */
        const struct frame_words words_again = {words.id, words.sizes, words.kinds, words.ends};
        return frame_at_once(channel, &words_again, packer, type, message);
    }
    struct ring_room room = {.record = ring_our_prefix(ours, ours->head)};
    uint8_t *header = (uint8_t *)(room.record + 1);
    uint8_t *body = header + sizeof(struct frame_header) + trace_bytes;
    size_t bytes;
    if (__builtin_expect(wire_pack_at(channel->endpoint->packing, packer, type, message, body,
                                      FRAME_IN_PLACE_BYTES, &bytes) != 0,
                         0)) {
        ours->zeroed = 0; /* it may have been written over */
        return false;
    }
    channel->packed_bytes = (uint32_t)bytes;
    const uint32_t record_bytes = (uint32_t)(sizeof(struct frame_header) + trace_bytes + bytes);
    frame_words_add_bytes(&words, (uint32_t)bytes, (uint16_t)trace_bytes);
    if (trace)
        memcpy(header + sizeof(struct frame_header), trace, sizeof(struct frame_trace));
    frame_words_write(header, &words);
    room.lines = ring_record_lines(record_bytes);
    if (sizeof(struct ring_prefix) + record_bytes + WIRE_PACK_AT_OVER >
        room.lines * LAYOUT_LINE_BYTES)
        ours->zeroed = 0;
    ring_room_commit(ours, room, record_bytes);
    return true;
}

/* How many frames are queued between two looks for room. */
#define QUEUED_PER_LOOK 16

/* queue.c: channel_send_frame() of a call that has its message, behind others. Return:
 * CHANNEL_E_FULL; -ENOBUFS: they are too many. */
int channel_wait_behind(struct channel *channel, struct call *call) __attribute__((noinline));
/* The same if that is not all that there is to do. */
int channel_send_anyhow(struct channel *channel, const struct frame_words *words, struct body *body,
                        struct call *call) __attribute__((noinline, cold));

/* As channel_send_or_queue(), of a header whose version_tag is set, and no bytes. */
RING_INLINE int channel_send_frame(struct channel *channel, const struct frame_words *words,
                                   const struct body *body, struct call *call)
{
    const size_t bytes = frame_record_bytes(channel, body);
    if (__builtin_expect(channel->state == CHANNEL_UP && channel->queue.count == 0 &&
                             frame_fits_ring(channel, bytes),
                         1)) {
        int r = frame_by_ring(channel, words, body, (uint32_t)bytes);
        if (__builtin_expect(r == 0, 1)) {
            if (call)
                call->ring_end = channel->ours.head;
            return 0;
        }
        if (r != CHANNEL_E_FULL)
            return r;
    } else if (call && !body->packing && channel->queue.count % QUEUED_PER_LOOK != 0) {
        return channel_wait_behind(channel, call);
    }
    const struct frame_words words_again = {words->id, words->sizes, words->kinds, words->ends};
    struct body body_again = body_copy(body);
    return channel_send_anyhow(channel, &words_again, &body_again, call);
}

/* ---- Taking ---- */

/* channel.c: gives back what a frame has of the peer's arena. */
void frame_release(struct channel *channel, const struct frame *frame)
    __attribute__((noinline, cold));

/* The frame has been read: its record and what it names are the peer's again. */
RING_INLINE void channel_consume(struct channel *channel, const struct frame *frame)
{
    if (__builtin_expect(frame->in_arena || frame->refs->count > 0, 0))
        frame_release(channel, frame);
    ring_pass(&channel->peer, &channel->ours);
}

#endif
