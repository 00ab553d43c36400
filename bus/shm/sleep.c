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
 * A fence waits until the record's lines have come from the other core, which read them a lap ago:
 * with cores far apart, 15 to 30 % of what a burst of calls takes. So one that has found its peer
 * awake for long says that it is `unfenced`, fences a last time, and from then on only looks. Then
 * who goes to sleep, having set its flag, fences for both (barrier.c), so that of each publication
 * either the look at the flag comes behind that, or the publication before it. It learns which is
 * so from `unfenced`: a sleeper whose fence came before the publisher's last one is seen by it, one
 * whose fence came after that sees `unfenced`; and one that reads that it has been taken back, with
 * acquire, sees all that was published before. Taken back it is when the peer has been found
 * asleep, and by one who goes to sleep itself: where both sleep between calls nobody is
 * interrupted. Who cannot make barriers says so (`barrier`). A hostile peer that always says
 * `unfenced` has us make one for each of our sleeps beside it, which is less than the wake-ups cost
 * that it may send; one that leaves its fences out without saying so delays its own calls only.
 *
 * Proved in tests/model/, together with ring.c; and with channel.c and loop.c of bus/rpc, which
 * decide when to sleep and when to ring.
 */
#include "shm/shm.h"

#include "shm/barrier.h"

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

static void unfenced_end(struct segment *ours)
{
    ours->awake_looks = 0;
    if (!ours->unfenced)
        return;
    ours->unfenced = false;
    /* release: pairs with the acquire in asleep_set() */
    atomic_store_explicit(&ours->cells->unfenced, 0, memory_order_release);
}

void asleep_set(struct segment *ours, const struct peer_segment *peer, enum asleep how)
{
    unfenced_end(ours);
    atomic_store_explicit(&ours->cells->asleep, how, memory_order_relaxed);
    full_fence(); /* pairs with the ones in peer_asleep() and unfenced_begin() */
    /* acquire: pairs with the release in unfenced_end(); what was published before is seen */
    if (peer->cells && atomic_load_explicit(&peer->cells->unfenced, memory_order_acquire) != 0 &&
        !barrier_all())
        atomic_store_explicit(&ours->cells->barrier, 0, memory_order_relaxed);
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

/* Of one that cannot make barriers it will not be asked again soon. */
static void unfenced_begin(struct segment *ours, const struct peer_segment *peer)
{
    ours->awake_looks = 0;
    if (SLEEP_TSAN || !barrier_able() ||
        atomic_load_explicit(&peer->cells->barrier, memory_order_relaxed) == 0)
        return;
    ours->unfenced = true;
    atomic_store_explicit(&ours->cells->unfenced, 1, memory_order_relaxed);
    full_fence(); /* the last one: pairs with the one in asleep_set() */
}

enum asleep peer_asleep_quick(struct segment *ours, const struct peer_segment *peer)
{
    if (ours->unfenced) {
        atomic_signal_fence(
            memory_order_seq_cst); /* the compiler keeps the order; barrier_all() does the rest */
        if (atomic_load_explicit(&peer->cells->asleep, memory_order_relaxed) == ASLEEP_NOT)
            return ASLEEP_NOT;
    }
    enum asleep how = peer_asleep(peer);
    if (how != ASLEEP_NOT)
        unfenced_end(ours);
    else if (!ours->unfenced && peer->cells && ++ours->awake_looks >= UNFENCED_AFTER)
        unfenced_begin(ours, peer);
    return how;
}

void publications_settle(void)
{
    full_fence();
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
