/*
 * Unpacking into protobuf-c's structs, in one block.
 *
 * protobuf-c allocates each string, array and struct by itself. Its allocator is ours here: it
 * bumps through chunks (bump.h) and frees nothing, so that a message costs one block mostly, which
 * its thread may have kept from one before it (blocks.c).
 *
 *     first chunk:  | struct chunk | message | strings, arrays, structs ... | spare |
 *                                  ^ what the caller holds
 *     chunk.next -> | struct chunk | more ...
 *
 * The message is protobuf-c's first allocation (it needs the struct before it can fill it), hence
 * wire_free() finds the first chunk's header right before it. When protobuf-c fails it "frees" what
 * it made and returns NULL: the chunks go then, here.
 *
 * The first chunk is guessed from the length: text keeps its size, structs take more. Later ones
 * double. Everything together is bounded by wire_unpacked_bytes_max(), since protobuf-c's merge of
 * sub-messages that come in pieces copies the arrays for each piece, and with no free in between
 * that is quadratic in what a peer sends.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/call_path.h"
#include "wire/bump.h"
#include "wire/wire.h"

#define CHUNK_BYTES_MAX ((size_t)4 << 20) /* of one made ahead of need */
#define SLACK_BYTES 256

void wire_bump_free(struct wire_bump *bump)
{
    struct wire_chunk *chunk = bump->first;
    while (chunk) {
        struct wire_chunk *next = chunk->next;
        wire_block_free(chunk);
        chunk = next;
    }
    bump->first = bump->last = NULL;
}

int wire_bump_grow(struct wire_bump *bump, size_t bytes)
{
    size_t size = bump->chunk_bytes < CHUNK_BYTES_MAX / 2 ? 2 * bump->chunk_bytes : CHUNK_BYTES_MAX;
    if (size < bytes)
        size = bytes;
    if (size > bump->left) {
        size = bytes;
        if (bytes > bump->left)
            return bump->error = -E2BIG;
    }
    size_t room = size;
    struct wire_chunk *chunk = wire_block_new(&room);
    if (!chunk)
        return bump->error = -ENOMEM;
    chunk->next = NULL;
    chunk->hold = NULL;
    if (bump->last)
        bump->last->next = chunk;
    else
        bump->first = chunk;
    bump->last = chunk;
    bump->pos = (uint8_t *)(chunk + 1);
    bump->end = bump->pos + room;
    bump->chunk_bytes = size;
    bump->left -= size;
    return 0;
}

static void *bump_alloc(void *data, size_t bytes)
{
    return wire_bump_alloc(data, bytes);
}

static void bump_free(void *data, void *pointer)
{
    (void)data;
    (void)pointer;
}

int wire_unpack_checked(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data,
                        size_t bytes, ProtobufCMessage **ret_message)
{
    struct wire_bump bump = {.left = wire_unpacked_bytes_max(bytes)};
    ProtobufCAllocator allocator = {bump_alloc, bump_free, &bump};
    size_t first = ((descriptor->sizeof_message + 7) & ~(size_t)7) + 2 * bytes + SLACK_BYTES;
    if (wire_bump_grow(&bump, first) < 0)
        return bump.error;
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, &allocator, bytes, data);
    if (!message) {
        wire_bump_free(&bump);
        return bump.error ? bump.error : -EBADMSG;
    }
    assert((struct wire_chunk *)message == bump.first + 1); /* wire_free() counts on it */
    *ret_message = message;
    return 0;
}

int wire_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t bytes,
                const struct wire_limits *limits, ProtobufCMessage **ret_message,
                struct error_text *error)
{
    int r = wire_check(descriptor, data, bytes, limits, error);
    if (r < 0)
        return r;
    r = wire_unpack_checked(descriptor, data, bytes, ret_message);
    if (r < 0)
        return error_set(error, r, "%s: %s", descriptor->name,
                         r == -ENOMEM  ? "out of memory"
                         : r == -E2BIG ? "unpacking it would take more memory than the limit"
                                       : "protobuf-c does not unpack it");
    return 0;
}

/* Out of the way of a message of one block that refers to nobody's memory. */
__attribute__((noinline)) static void *free_more(struct wire_chunk *chunk)
{
    struct wire_hold *hold = chunk->hold;
    while (chunk) {
        struct wire_chunk *next = chunk->next;
        wire_block_free(chunk);
        chunk = next;
    }
    if (hold)
        hold->release(hold);
    return NULL;
}

CALL_PATH void *wire_free(void *message)
{
    if (!message)
        return NULL;
    struct wire_chunk *chunk = (struct wire_chunk *)message - 1;
    if (__builtin_expect(chunk->next || chunk->hold, 0))
        return free_more(chunk);
    return wire_block_free(chunk);
}

void wire_hold_on(void *message, struct wire_hold *hold)
{
    struct wire_chunk *chunk = (struct wire_chunk *)message - 1;
    assert(!chunk->hold);
    chunk->hold = hold;
}

struct wire_hold *wire_hold_take(void *message)
{
    struct wire_chunk *chunk = (struct wire_chunk *)message - 1;
    struct wire_hold *hold = chunk->hold;
    chunk->hold = NULL;
    return hold;
}
