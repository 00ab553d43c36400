/*
 * Inside the rpc room: bytes that travel as references (refs.c), and the buffers that they are in
 * (buffer.c).
 */
#ifndef PARLEY_RPC_REFS_H
#define PARLEY_RPC_REFS_H

#include <string.h>

#include "rpc/internal.h"

/* ---- buffer.c ---- */

struct parley_buffer {
    LIST_ENTRY(parley_buffer) entry; /* of its channel */
    struct channel *channel;         /* whose memory it keeps */
    struct frame_ref ref;            /* of its start */
    uint8_t *data;
    size_t bytes;
    size_t bytes_max;           /* that its block was taken for */
    struct parley_buffer *next; /* of its context's; parked: of its channel's */
};

/* The buffer that all of the bytes are in, or NULL. */
struct parley_buffer *buffer_find(const struct channel *channel, const uint8_t *data, size_t bytes);

/* ---- refs.c: objects that come and go with each message; a channel keeps a few of each kind ----
 */

/* Return: not cleared; NULL: no memory. */
void *spare_take(struct spares *spares, size_t bytes);
void spare_put(struct spares *spares, void *object);

/* ---- refs.c: sending ---- */

/* As wire_pack(), into @body, with references to the channel's buffers. The second is for a channel
 * that has some. */
int refs_pack_shared(struct channel *channel, const struct wire_packer *packer, size_t type,
                     const ProtobufCMessage *message, struct body *body);
static inline int refs_pack(struct channel *channel, const struct wire_packer *packer, size_t type,
                            const ProtobufCMessage *message, struct body *body)
{
    struct wire_packing *packing = channel->endpoint->packing;
    body->packing = packing;
    int r = __builtin_expect(LIST_EMPTY(&channel->buffers), 1)
                ? wire_pack(packing, packer, type, message, &body->bytes)
                : refs_pack_shared(channel, packer, type, message, body);
    body->data = wire_packed(packing)->data;
    if (r == 0)
        channel->packed_bytes = (uint32_t)body->bytes; /* the next goes the way for as many */
    return r;
}

/* ---- refs.c: receiving ---- */

/* Return: -EPROTO, with a sentence. */
int share_refused(const struct frame *frame, uint64_t place, uint32_t bytes,
                  struct error_text *error) __attribute__((noinline, cold));

/* Reads what a stand-in says, bounds and resolves it, into reference @index. @before: where the one
 * before it ends. Return: 0, or -EPROTO with a sentence. */
static inline __attribute__((always_inline)) int
share_read(struct channel *channel, const struct frame *frame, uint32_t index, uint64_t place,
           uint64_t before, struct error_text *error)
{
    struct frame_refs *refs = frame->refs;
    struct wire_ref *ref = &refs->refs[index];
    if (__builtin_expect(
            place < before || place + FRAME_STAND_IN_BYTES > frame->header.payload_bytes, 0))
        return share_refused(frame, place, 0, error);
    struct frame_stand_in in;
    memcpy(&in, frame->payload + place, sizeof(in)); /* once, as for what it says */
    const uint32_t block = in.block, segment = in.segment, offset = in.offset, bytes = in.bytes;
    if (__builtin_expect(bytes > WIRE_MESSAGE_BYTES_MAX, 0))
        return share_refused(frame, place, bytes, error);
    ref->data = arena_bytes(&channel->peer, segment, offset, bytes);
    if (__builtin_expect(!ref->data, 0)) {
        const struct frame_ref unknown = {block, segment, offset};
        int r = channel_resolve(channel, &unknown, bytes, &ref->data, error);
        if (r < 0)
            return r;
    }
    ref->bytes = bytes;
    ref->place = (uint32_t)place;
    refs->blocks[index] = block;
    refs->segments |= UINT32_C(1) << segment;
    return 0;
}

/* refs.c: those of frame_read_refs() that are more than one, or far behind in their payload. */
int frame_read_refs_any(struct channel *channel, const struct frame *frame,
                        struct error_text *error) __attribute__((noinline));

/* Reads the frame's stand-ins, of which there is one at least, into its references. Return: 0, or
 * -EPROTO with a sentence. */
static inline __attribute__((always_inline)) int
frame_read_refs(struct channel *channel, const struct frame *frame, struct error_text *error)
{
    const uint32_t payload_bytes = frame->header.payload_bytes;
    if (__builtin_expect(frame->header.share_count != 1 || payload_bytes > UINT16_MAX, 0))
        return frame_read_refs_any(channel, frame, error);
    uint16_t place;
    memcpy(&place, frame->payload + payload_bytes, sizeof(place));
    frame->refs->segments = 0;
    int r = share_read(channel, frame, 0, place, 0, error);
    frame->refs->count = r == 0;
    return r;
}
/* As plan_unpack(), of a frame's payload. Where the message refers to the peer's memory it gets a
 * hold, and the frame has no references any more. The second is for those that have some. */
int refs_unpack_shared(struct channel *channel, const struct frame *frame,
                       const struct plan_binding *binding, uint32_t entry,
                       ProtobufCMessage **ret_message, struct plan_failure *ret_failure);
static inline int refs_unpack(struct channel *channel, const struct frame *frame,
                              const struct plan_binding *binding, uint32_t entry,
                              ProtobufCMessage **ret_message, struct plan_failure *ret_failure)
{
    if (__builtin_expect(frame->refs->count > 0, 0))
        return refs_unpack_shared(channel, frame, binding, entry, ret_message, ret_failure);
    return plan_unpack(binding, entry, frame->payload, frame->header.payload_bytes, ret_message,
                       ret_failure);
}
/* A frame's payload with its references replaced by what they refer to. Return: 0 with *ret_payload
 * malloc'ed; or as wire_expand(). */
int refs_expand(const struct frame *frame, uint8_t **ret_payload, size_t *ret_bytes);

#endif
