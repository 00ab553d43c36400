/*
 * The release ring: how a reader gives blocks back to their writer.
 *
 * It is in the reader's segment, since the reader writes it: names of blocks, in any order, one
 * word each, and a count of all that were ever put there (cells->released), stored last. The writer
 * takes what is new when it needs room. It believes a name only if its own table says that such a
 * block is lent; and a count only if no more names came back than are out.
 *
 * Names also come back in frames, of which they are a part: release_named().
 *
 * The ring cannot overflow: a writer has at most as many names out as its reader's ring has slots.
 * Until it has seen that ring it keeps to SEGMENT_RELEASE_SLOTS_MIN, which every ring has.
 * Proved in tests/model/test_channel.c.
 */
#include "shm/internal.h"

#include <errno.h>

void release_push(struct segment *ours, uint32_t block)
{
    /* relaxed: ordered by the store of the count. Only a hostile peer, who has more blocks in use
     * than fit here, makes this overwrite an entry that was not taken: one of its own. */
    atomic_store_explicit(&ours->release[ours->released & (ours->release_slots - 1)], block,
                          memory_order_relaxed);
    ours->released++;
    /* release: pairs with the acquire in release_take(); our reads of the block are over */
    atomic_store_explicit(&ours->cells->released, ours->released, memory_order_release);
}

int release_named(struct segment *ours, uint32_t block)
{
    return arena_release(ours->arena, block);
}

int release_take(struct segment *ours, struct peer_segment *peer)
{
    if (!peer->cells)
        return 0;
    arena_limit(ours->arena, peer->release_slots);
    /* acquire: pairs with the release in release_push() */
    uint64_t released = atomic_load_explicit(&peer->cells->released, memory_order_acquire);
    uint64_t count = released - peer->released; /* a count that went back is a huge one */
    if (count > peer->release_slots || count > arena_lent(ours->arena))
        return -EPROTO;
    for (; peer->released != released; peer->released++) {
        uint32_t block = atomic_load_explicit(
            &peer->release[peer->released & (peer->release_slots - 1)], memory_order_relaxed);
        int r = arena_release(ours->arena, block);
        if (r < 0)
            return r;
    }
    return (int)count;
}
