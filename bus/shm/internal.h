/* What the room's files need of each other, and show to nobody else. */
#ifndef PARLEY_SHM_INTERNAL_H
#define PARLEY_SHM_INTERNAL_H

#include "shm/shm.h"

static inline bool is_power_of_two(uint32_t value, uint32_t least, uint32_t most)
{
    return value >= least && value <= most && (value & (value - 1)) == 0;
}

/* peer.c: whether a region begins as @what does. Return: 0, or -EPROTO with a sentence. */
int peer_check_kind(uint32_t magic, uint32_t magic_expected, uint32_t version, const char *what,
                    struct error_text *error);

/* ---- The allocator ---- */

#define ARENA_UNIT_BYTES 64

/* @base, @bytes: the arena in the segment; a multiple of ARENA_UNIT_BYTES, or 0. Return: 0,
 * -ENOMEM. */
int arena_new(uint8_t *base, size_t bytes, uint32_t block_max, struct arena **ret_arena);
/* Frees tables and further arenas; NULL is fine. Returns NULL. */
struct arena *arena_destroy(struct arena *arena);

/* How many blocks may be in use at once; at most the block_max of arena_new(). */
void arena_limit(struct arena *arena, uint32_t block_max);
/* Names that the peer may give back. */
uint32_t arena_lent(const struct arena *arena);

/* Return: 0, or -EPROTO if no block that is lent has this name. */
int arena_release(struct arena *arena, uint32_t block);

#endif
