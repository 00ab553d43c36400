/*
 * Who sleeps and who rings: Dekker's protocol between two processes, twice.
 *
 * The one that wants to sleep sets its flag, fences, and looks once more whether there is something
 * to do. The one that publishes does so, fences, and reads the flag. Both fences are sequentially
 * consistent, so at least one of the two sees what the other wrote: either the sleeper finds the
 * record, or the publisher finds the flag and rings. Acquire and release would not do: each side
 * stores to one place and then loads from another, which even x86 reorders.
 *
 * `asleep` is for a side with nothing to read, `blocked` for one with no room to write. Each flag
 * is written by its owner only; the other side only reads it. So a flag is an offer, not an order:
 * a publisher that rings twice costs the sleeper a look, and a hostile one that never rings hurts
 * only its own channel.
 *
 * Proved in tests/model/, together with ring.c; and with channel.c and loop.c of bus/rpc, which
 * decide when to sleep and when to ring.
 */
#include "shm/shm.h"

#ifndef SLEEP_TSAN /* tests/model/ sees fences and sets it to 0 */
#if defined(__SANITIZE_THREAD__)
#define SLEEP_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SLEEP_TSAN 1
#endif
#endif
#endif
#ifndef SLEEP_TSAN
#define SLEEP_TSAN 0
#endif

/*
 * ThreadSanitizer does not model fences (gcc refuses to compile one with it: -Wtsan). There a
 * sequentially consistent read-modify-write stands in, which is as full a barrier in the machines
 * that TSan runs on. It is on a word of the thread's own, so that TSan takes it for no
 * synchronisation between threads, and goes on finding what lacks one.
 */
static inline void full_fence(void)
{
#if SLEEP_TSAN
    static _Thread_local _Atomic uint32_t word;
    (void)atomic_fetch_add_explicit(&word, 1, memory_order_seq_cst);
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

void asleep_set(struct segment *ours, enum asleep how)
{
    atomic_store_explicit(&ours->cells->asleep, how, memory_order_relaxed);
    full_fence(); /* pairs with the one in peer_asleep() */
}

void asleep_clear(struct segment *ours)
{
    /* relaxed: one who reads a stale 1 rings once too often */
    atomic_store_explicit(&ours->cells->asleep, ASLEEP_NOT, memory_order_relaxed);
}

enum asleep peer_asleep(const struct peer_segment *peer)
{
    if (!peer->cells)
        return ASLEEP_NOT;
    full_fence(); /* pairs with the one in asleep_set() */
    uint32_t how = atomic_load_explicit(&peer->cells->asleep, memory_order_relaxed);
    return how == ASLEEP_NOT || how == ASLEEP_WORD ? (enum asleep)how : ASLEEP_BELL;
}

void blocked_set(struct segment *ours)
{
    atomic_store_explicit(&ours->cells->blocked, 1, memory_order_relaxed);
    full_fence(); /* pairs with the one in peer_blocked() */
}

void blocked_clear(struct segment *ours)
{
    atomic_store_explicit(&ours->cells->blocked, 0,
                          memory_order_relaxed); /* as in asleep_clear() */
}

bool peer_blocked(const struct peer_segment *peer)
{
    if (!peer->cells)
        return false;
    full_fence(); /* pairs with the one in blocked_set() */
    return atomic_load_explicit(&peer->cells->blocked, memory_order_relaxed) != 0;
}
