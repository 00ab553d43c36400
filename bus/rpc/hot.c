/*
 * Which channels are awake, and where to look for what comes on them.
 *
 * To find the next record an endpoint looks at one word of each: where its peer will store the
 * sequence of the next record, which is 0 until then. The addresses of these words stand together,
 * eight in a line, so that nothing of a channel is touched in which nothing has come, and no look
 * waits for another: 64 channels are 64 loads, of lines that stay in the cache until they are
 * written. By way of the channels themselves it would be four more lines for each.
 *
 * What else there is to do for a channel, a bell that rang, a hang-up, frames that wait for room,
 * is rare: then its word is one that is never 0. A word only says that it is worth a look. Within a
 * turn it may be old, for a channel that is just being read: turns that nest look at the channels.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <stdlib.h>

static const _Atomic uint32_t always = 1;

static void arrays_free(struct hot *hot)
{
    if (hot->channels == hot->few_channels)
        return;
    free(hot->channels);
    free(hot->words);
}

static int grow(struct hot *hot)
{
    const uint32_t room = 2 * hot->room;
    if (room == 0) {
        hot->channels = hot->few_channels;
        hot->words = hot->few_words;
        hot->room = HOT_FEW;
        return 0;
    }
    struct channel **more = malloc(room * sizeof(struct channel *));
    const _Atomic uint32_t **words = malloc(room * sizeof(*words));
    if (!more || !words) {
        free(more);
        free(words);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < hot->count; i++) {
        more[i] = hot->channels[i];
        words[i] = hot->words[i];
    }
    arrays_free(hot);
    hot->channels = more;
    hot->words = words;
    hot->room = room;
    return 0;
}

int hot_reserve(struct hot *hot)
{
    int r = hot->reserved < hot->room ? 0 : grow(hot);
    if (r == 0)
        hot->reserved++;
    return r;
}

void hot_unreserve(struct hot *hot)
{
    hot->reserved--;
}

void hot_free(struct hot *hot)
{
    arrays_free(hot);
    *hot = (struct hot){0};
}

void hot_update(struct hot *hot, struct channel *channel)
{
    const struct peer_segment *peer = &channel->peer;
    const bool more = channel->rang || channel->hung_up || channel->queue.count > 0;
    hot->words[channel->hot_index] =
        __builtin_expect(more, 0) ? &always : ring_word(peer->ring, peer->ring_lines, peer->tail);
}

void hot_add(struct hot *hot, struct channel *channel)
{
    if (hot->count == 1)
        hot_update(hot, hot->channels[0]);
    channel->hot_index = hot->count;
    hot->channels[hot->count++] = channel;
    hot_update(hot, channel);
}

void hot_remove(struct hot *hot, struct channel *channel)
{
    const uint32_t index = channel->hot_index, last = --hot->count;
    hot->channels[index] = hot->channels[last];
    hot->words[index] = hot->words[last];
    hot->channels[index]->hot_index = index;
}

void hot_again(struct parley_endpoint *endpoint)
{
    struct channel *channel = TAILQ_LAST(&endpoint->cold, channels), *before;
    for (unsigned looks = 0; channel && looks < HOT_AGAIN_MAX; looks++, channel = before) {
        const uint64_t pass = channel->pass;
        before = TAILQ_PREV(channel, channels, entry);
        if (endpoint->pass - pass > HOT_QUIET_PASSES_MAX)
            return; /* it went before, and so did those in front of it */
        if (channel->service_side && !channel->paused) {
            channel_wake(channel);
            channel->pass = pass;
        }
    }
}
