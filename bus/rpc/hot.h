/*
 * The channels of an endpoint that are awake: looked at in every turn, and rung by nobody. Thread:
 * the endpoint's.
 */
#ifndef PARLEY_RPC_HOT_H
#define PARLEY_RPC_HOT_H

#include <stdatomic.h>
#include <stdint.h>

struct channel;
struct parley_endpoint;

/* After so many passes that found it quiet and others not, a channel goes cold: as long as looking
 * at it costs what waking it up will, a few microseconds (the ski rental's answer). */
#define HOT_QUIET_PASSES_MAX 4096
#define HOT_AGAIN_MAX 64
#define HOT_FEW 2 /* that need no memory of their own */

/* Not to be moved while there are channels. */
struct hot {
    uint32_t count, room;
    uint32_t reserved;         /* channels that there are, hot or not */
    uint32_t next;             /* whose turn it is to be looked at; may be @count */
    uint32_t expected;         /* called last, so that its answer may be next; may be anything */
    struct channel **channels; /* in no order */
    /* Of each, where there are several: not 0 where there may be something to do for it. The words
     * where the records come next, in memory of the peers. */
    const _Atomic uint32_t **words;
    struct channel *few_channels[HOT_FEW];
    const _Atomic uint32_t *few_words[HOT_FEW];
};

/* There is one channel more, for which hot_add() must not fail; until hot_unreserve(). Return: 0 or
 * -ENOMEM. */
int hot_reserve(struct hot *hot);
void hot_unreserve(struct hot *hot);
void hot_free(struct hot *hot);
void hot_add(struct hot *hot, struct channel *channel);
void hot_remove(struct hot *hot, struct channel *channel);
/* The word of a hot one: its ring has been read on, or what else there is to do for it has changed.
 * Of the only one, nobody asks. */
void hot_update(struct hot *hot, struct channel *channel);

/**
 * hot_again() - after a sleep, make those hot again that it made cold
 *
 * A service's, at most HOT_AGAIN_MAX, the last ones first; not those that had gone cold before,
 * being quiet. For who spins, having been woken by one of them: the others would ring a bell each.
 * It does not count as something that came on them.
 */
void hot_again(struct parley_endpoint *endpoint);

/* The next one, from @hot->next on and around, that may have something to do. @most: looks at most;
 * those left are put back. Return: its index, which @hot->next then is; @hot->count: none. */
static inline uint32_t hot_find(struct hot *hot, uint32_t *most)
{
    const uint32_t count = hot->count;
    uint32_t i = hot->next < count ? hot->next : 0;
    uint32_t left = *most < count ? *most : count;
    for (; left > 0; left--) {
        /* relaxed: who takes a record looks again */
        if (atomic_load_explicit(hot->words[i], memory_order_relaxed) != 0)
            break;
        i = i + 1 < count ? i + 1 : 0;
    }
    hot->next = i;
    *most = left;
    return left > 0 ? i : count;
}

#endif
