/*
 * Large bytes without copies.
 *
 * A buffer is memory that the peer can read already. A field of type bytes that points into one,
 * and is at least PARLEY_BUFFER_BYTES_MIN long, is not copied into the message: the reader gets a
 * pointer into its own read-only mapping, whatever version it speaks, unless a rule of translation
 * looks at the bytes. Nobody has to care: where it cannot be done the bytes are copied, as all
 * others are, and the message is the same.
 *
 * Bytes that arrive so are *live*: they are the writer's memory, and may change while you read if
 * the peer is hostile (or writes into a buffer before the call has ended). Whoever decides by them,
 * or parses them, copies them first: parley_bytes_copy().
 */
#ifndef PARLEY_BUFFER_H
#define PARLEY_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include <parley/client.h>
#include <parley/service.h>
#include <parley/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PARLEY_BUFFER_BYTES_MIN 4096       /* what is shorter is copied: that is faster */
#define PARLEY_BUFFER_BYTES_MAX 0x04000000 /* 64 MiB: more fits into no message */
/* Fields of one message that are not copied; further ones are. */
#define PARLEY_BUFFER_FIELDS_MAX 16

struct parley_buffer;

/**
 * parley_buffer_new() - memory for the bytes of requests
 * @bytes:      1..PARLEY_BUFFER_BYTES_MAX
 * @ret_buffer: the caller's; parley_buffer_free()
 *
 * It is shared with one instance, that which a call would go to now. Calls that go to another one,
 * those that are made with parley_client_start(), and what has to wait in a queue, copy. Not
 * cleared. Fill it before the call, and leave it alone until the call has ended; after that it can
 * be used again, or for several calls.
 *
 * Return: PARLEY_OK; UNAVAILABLE if no instance is attached; RESOURCE_EXHAUSTED if half of what
 * this client may share with the instance (128 MiB, 32 buffers) is in use, by buffers that the
 * instance may still be reading, too; INVALID_ARGUMENT.
 */
PARLEY_API enum parley_status parley_buffer_new(struct parley_client *client, size_t bytes,
                                                struct parley_buffer **ret_buffer);
/* Its memory, aligned to 64 bytes; valid until it is freed, whatever becomes of the client. */
PARLEY_API void *parley_buffer_data(const struct parley_buffer *buffer);
/* Calls in flight that refer to it go on: the memory is used again when they have ended. On the
 * endpoint's thread. NULL is fine. Returns NULL. */
PARLEY_API struct parley_buffer *parley_buffer_free(struct parley_buffer *buffer);

/**
 * parley_context_buffer() - memory for the bytes of a handler's reply
 * @bytes:    1..PARLEY_BUFFER_BYTES_MAX
 * @ret_data: valid until the closure is called; aligned to 64 bytes, not cleared
 *
 * Given back when the client has freed the reply, or at once if the reply does not refer to it.
 *
 * Return: PARLEY_OK; UNAVAILABLE if the client is gone; RESOURCE_EXHAUSTED as for
 * parley_buffer_new(), so that a client which keeps its replies does not keep others waiting: use
 * other memory then; INVALID_ARGUMENT.
 */
PARLEY_API enum parley_status parley_context_buffer(struct parley_context *context, size_t bytes,
                                                    void **ret_data);

/* Whether the bytes, of a request or of a reply that is still there, are the peer's memory. They
 * are valid, those of a request until its handler's closure is called, those of a reply until it is
 * freed, even if the peer or the client has gone by then. A reply that has live bytes is freed on
 * its endpoint's thread. */
PARLEY_API bool parley_bytes_is_live(ProtobufCBinaryData bytes);
/* A private copy of them, at @out, which has room for as many. Each byte is read once. */
PARLEY_API void parley_bytes_copy(ProtobufCBinaryData bytes, void *out);

#ifdef __cplusplus
}
#endif
#endif
