/*
 * A channel in one process: two sides, each with its own segment and the other's mapped read-only.
 * To play a hostile peer, a test writes what it likes into the segment of the side it plays.
 */
#ifndef PARLEY_TESTS_UNIT_SHM_PAIR_H
#define PARLEY_TESTS_UNIT_SHM_PAIR_H

#include "shm/shm.h"

struct side {
    struct segment ours;
    struct peer_segment peer;
};

struct pair {
    struct side a, b;
};

static inline void pair_init(struct pair *pair, const struct segment_options *options)
{
    struct error_text error = {""};
    *pair = (struct pair){0};
    assert_int_equal(segment_create(&pair->a.ours, options, &error), 0);
    assert_int_equal(segment_create(&pair->b.ours, options, &error), 0);
    assert_int_equal(peer_segment_map(&pair->a.peer, pair->b.ours.region.fd, &error), 0);
    assert_int_equal(peer_segment_map(&pair->b.peer, pair->a.ours.region.fd, &error), 0);
}

static inline void pair_deinit(struct pair *pair)
{
    segment_deinit(&pair->a.ours);
    segment_deinit(&pair->b.ours);
    peer_segment_deinit(&pair->a.peer);
    peer_segment_deinit(&pair->b.peer);
}

/* Makes @peer read through the writer's own mapping. ThreadSanitizer tells memory by its address:
 * of one page mapped twice it would see two that nobody shares. */
static inline void side_alias(struct peer_segment *peer, const struct segment *writer)
{
    const struct segment_header *header = writer->region.base;
    peer->cells = writer->cells;
    peer->ring = writer->ring;
    peer->release = writer->release;
    peer->arenas[0].base = (const uint8_t *)writer->region.base + header->arena_offset;
}

#endif
