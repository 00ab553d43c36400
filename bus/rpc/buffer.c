/*
 * Buffers: blocks of a channel's arena that a program writes, and that messages then refer to.
 *
 * A buffer belongs to one channel, for only its peer maps that arena. It is in the channel's list,
 * where packing looks for what a message's bytes are in, and keeps the channel's memory: so it can
 * be written and freed after the channel has died, though nothing refers to it any more.
 *
 * What is freed while a peer may still read it is used again when the peer has given its name back
 * as often as it was lent (shm/arena.c). A reply's buffers are the context's and go with it; the
 * reply has been sent by then, or has not used them.
 *
 * Those who need one buffer mostly need such a one again. So a few that were freed are parked:
 * their blocks stay ours, and the next buffer of about that size that the peer does not read any
 * more is one of them. When the arena is short of room, or buffers have their share of it, parked
 * ones go first.
 */
#include <parley/buffer.h>

#include <errno.h>
#include <string.h>

#include "rpc/refs.h"

static_assert(PARLEY_BUFFER_BYTES_MAX == ARENA_BLOCK_BYTES_MAX, "any block can be a buffer");
static_assert(PARLEY_BUFFER_BYTES_MIN == WIRE_REF_BYTES_MIN, "what is shorter is copied");
static_assert(PARLEY_BUFFER_FIELDS_MAX == FRAME_SHARES_MAX, "further ones are copied");

#define PARKED_MAX 4            /* of a channel */
#define PARKED_WASTE_FRACTION 8 /* of a parked buffer, that a new one may leave unused */

struct parley_buffer *buffer_find(const struct channel *channel, const uint8_t *data, size_t bytes)
{
    struct parley_buffer *buffer;
    LIST_FOREACH (buffer, &channel->buffers, entry) {
        size_t at = (size_t)((uintptr_t)data - (uintptr_t)buffer->data);
        if (at <= buffer->bytes && bytes <= buffer->bytes - at)
            return buffer;
    }
    return NULL;
}

static enum parley_status no_block(int r)
{
    if (r == ARENA_E_FULL || r == ARENA_E_GROW)
        return status_fail(PARLEY_RESOURCE_EXHAUSTED,
                           "what can be shared with this peer is in use");
    return status_fail(r == -EPIPE ? PARLEY_UNAVAILABLE : status_from_errno(r),
                       "no memory that this peer can read: %s", strerror(-r));
}

/* ---- Parked buffers: in the order in which they came, the last one first ---- */

static bool suits(const struct channel *channel, const struct parley_buffer *buffer, size_t bytes)
{
    size_t most = buffer->bytes_max;
    return bytes <= most && most - bytes <= most / PARKED_WASTE_FRACTION &&
           !arena_is_lent(&channel->ours, buffer->ref.block);
}

static struct parley_buffer *parked_find(struct channel *channel, size_t bytes)
{
    for (struct parley_buffer **at = &channel->parked; *at; at = &(*at)->next) {
        struct parley_buffer *buffer = *at;
        if (!suits(channel, buffer, bytes))
            continue;
        *at = buffer->next;
        channel->parked_count--;
        return buffer;
    }
    return NULL;
}

/* NULL: there is none. */
static struct parley_buffer *parked_take(struct channel *channel, size_t bytes)
{
    if (!channel->parked)
        return NULL;
    struct parley_buffer *buffer = parked_find(channel, bytes);
    /* What is wrong in what came back shows again. */
    if (!buffer && release_take(&channel->ours, &channel->peer) > 0)
        buffer = parked_find(channel, bytes);
    return buffer;
}

static void parked_drop(struct channel *channel, struct parley_buffer **at)
{
    struct parley_buffer *buffer = *at;
    *at = buffer->next;
    channel->parked_count--;
    arena_drop(&channel->ours, buffer->ref.block);
    spare_put(&channel->spare_buffers, buffer);
}

static void park(struct channel *channel, struct parley_buffer *buffer)
{
    if (channel->parked_count == PARKED_MAX) {
        struct parley_buffer **last = &channel->parked;
        while ((*last)->next)
            last = &(*last)->next;
        parked_drop(channel, last);
    }
    buffer->next = channel->parked;
    channel->parked = buffer;
    channel->parked_count++;
}

bool buffers_unpark(struct channel *channel)
{
    bool any = channel->parked != NULL;
    while (channel->parked)
        parked_drop(channel, &channel->parked);
    return any;
}

/* ---- New ones ---- */

static int take_block(struct channel *channel, size_t bytes, struct parley_buffer *buffer)
{
    void *data;
    int r = channel_arena_take(channel, bytes, &buffer->ref, &data);
    if (r != 0)
        return r;
    r = arena_keep(&channel->ours, buffer->ref.block);
    if (r == ARENA_E_FULL && buffers_unpark(channel))
        r = arena_keep(&channel->ours, buffer->ref.block);
    if (r != 0) {
        arena_free(&channel->ours, buffer->ref.block);
        return r;
    }
    buffer->data = data;
    buffer->bytes_max = bytes;
    return 0;
}

/* One that is parked, but the first; or another. */
__attribute__((noinline)) static int find_or_make(struct channel *channel, size_t bytes,
                                                  struct parley_buffer **ret_buffer)
{
    struct parley_buffer *buffer = parked_take(channel, bytes);
    int r = 0;
    if (!buffer) {
        buffer = spare_take(&channel->spare_buffers, sizeof(*buffer));
        if (!buffer)
            return -ENOMEM;
        r = take_block(channel, bytes, buffer);
    }
    if (r == 0)
        *ret_buffer = buffer;
    else
        spare_put(&channel->spare_buffers, buffer);
    return r;
}

__attribute__((noinline, cold)) static enum parley_status refused(const struct channel *channel,
                                                                  size_t bytes)
{
    if (channel && endpoint_forked(channel->endpoint))
        return status_forked();
    if (!channel || channel->state != CHANNEL_UP)
        return status_fail(PARLEY_UNAVAILABLE, "there is nobody to share memory with");
    return status_fail(PARLEY_INVALID_ARGUMENT, "a buffer of %zu bytes: 1 to %d are possible",
                       bytes, PARLEY_BUFFER_BYTES_MAX);
}

static inline __attribute__((always_inline)) enum parley_status
buffer_new(struct channel *channel, size_t bytes, struct parley_buffer **ret_buffer)
{
    if (__builtin_expect(!channel || endpoint_forked(channel->endpoint) ||
                             channel->state != CHANNEL_UP || bytes - 1 >= PARLEY_BUFFER_BYTES_MAX,
                         0))
        return refused(channel, bytes);
    struct parley_buffer *buffer = channel->parked;
    if (__builtin_expect(buffer && suits(channel, buffer, bytes), 1)) {
        channel->parked = buffer->next;
        channel->parked_count--;
    } else {
        int r = find_or_make(channel, bytes, &buffer);
        if (r != 0)
            return no_block(r);
    }
    buffer->bytes = bytes;
    buffer->next = NULL;
    buffer->channel = channel_keep(channel);
    LIST_INSERT_HEAD(&channel->buffers, buffer, entry);
    *ret_buffer = buffer;
    return PARLEY_OK;
}

enum parley_status parley_buffer_new(struct parley_client *client, size_t bytes,
                                     struct parley_buffer **ret_buffer)
{
    struct call call = {.client = client};
    if (endpoint_forked(client->endpoint))
        return status_forked();
    return buffer_new(client_pick(client, &call), bytes, ret_buffer);
}

void *parley_buffer_data(const struct parley_buffer *buffer)
{
    return buffer->data;
}

struct parley_buffer *parley_buffer_free(struct parley_buffer *buffer)
{
    if (!buffer)
        return NULL;
    struct channel *channel = buffer->channel;
    LIST_REMOVE(buffer, entry);
    park(channel, buffer);
    channel_let_go(channel);
    return NULL;
}

enum parley_status parley_context_buffer(struct parley_context *context, size_t bytes,
                                         void **ret_data)
{
    struct parley_buffer *buffer = NULL;
    enum parley_status status = buffer_new(context->channel, bytes, &buffer);
    if (status != PARLEY_OK)
        return status;
    buffer->next = context->buffers;
    context->buffers = buffer;
    *ret_data = buffer->data;
    return PARLEY_OK;
}

void context_give_back(struct parley_context *context)
{
    while (context->buffers) {
        struct parley_buffer *buffer = context->buffers;
        context->buffers = buffer->next;
        parley_buffer_free(buffer);
    }
    struct wire_hold *hold = steal_ptr(&context->hold);
    if (hold)
        hold->release(hold);
}
