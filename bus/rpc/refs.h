/*
 * Inside the rpc room: bytes that travel as references (refs.c), and the buffers that they are in
 * (buffer.c).
 */
#ifndef PARLEY_RPC_REFS_H
#define PARLEY_RPC_REFS_H

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
    return r;
}

/* ---- refs.c: receiving ---- */

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
