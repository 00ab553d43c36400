/*
 * The further ring: what a channel's ring becomes that was too small again and again.
 *
 * A ring begins small, for most channels are idle, and grows once, to a region of its own. The
 * writer makes it, sends its descriptor by the doorbell, and then publishes in the old ring that
 * what follows is in the new one (ring_move()). The reader, when it comes to that, reads the
 * doorbell if it has not done so yet, and goes on at the next position (ring_follow()). Both are in
 * ring.c.
 *
 * The old ring is in the segment and stays mapped: nobody writes there any more.
 */
#include "shm/internal.h"

#include <errno.h>

#include "base/cleanup.h"

/* Of a word that a hostile peer may be changing: exactly one load. */
#define load_once(place) __atomic_load_n((place), __ATOMIC_RELAXED)

static size_t region_bytes(uint32_t ring_lines)
{
    return LAYOUT_PAGE_BYTES + (size_t)ring_lines * LAYOUT_LINE_BYTES;
}

int ring_grow(struct segment *segment, int *ret_fd, struct error_text *error)
{
    if (segment->further.base || segment->ring_lines >= SEGMENT_RING_LINES_GROWN)
        return RING_E_FULL;
    struct region region = REGION_NONE;
    int r = region_create(&region, "ring", region_bytes(SEGMENT_RING_LINES_GROWN), error);
    if (r < 0)
        return r;
    *(struct ring_header *)region.base = (struct ring_header){
        .magic = RING_MAGIC,
        .version = LAYOUT_VERSION,
        .ring_lines = SEGMENT_RING_LINES_GROWN,
        .offset = LAYOUT_PAGE_BYTES,
    };
    segment->further = region;
    segment->further_ring = (uint8_t *)region.base + LAYOUT_PAGE_BYTES;
    segment->further_lines = SEGMENT_RING_LINES_GROWN;
    *ret_fd = region.fd;
    return 0;
}

void ring_grow_undo(struct segment *segment)
{
    region_deinit(&segment->further);
    segment->further_ring = NULL;
}

static int check(const struct peer_segment *peer, const struct region *region, uint32_t *ret_lines,
                 struct error_text *error)
{
    const struct ring_header *shared = region->base;
    int r = peer_check_kind(load_once(&shared->magic), RING_MAGIC, load_once(&shared->version),
                            "further ring", error);
    if (r < 0)
        return r;
    const uint32_t lines = load_once(&shared->ring_lines), offset = load_once(&shared->offset);
    if (!is_power_of_two(lines, SEGMENT_RING_LINES_MIN, SEGMENT_RING_LINES_MAX) ||
        lines <= peer->ring_lines || offset != LAYOUT_PAGE_BYTES ||
        region->bytes != region_bytes(lines))
        return error_set(error, -EPROTO,
                         "the peer's further ring is impossible: %u lines at %u, in %zu bytes,"
                         " behind one of %u lines",
                         lines, offset, region->bytes, peer->ring_lines);
    *ret_lines = lines;
    return 0;
}

int ring_add(struct peer_segment *peer, int fd, struct error_text *error)
{
    if (peer->further.base)
        return error_set(error, -EPROTO, "the peer adds a second further ring");
    struct region region = REGION_NONE;
    uint32_t lines = 0;
    int r = region_map(&region, fd, region_bytes(SEGMENT_RING_LINES_MIN),
                       region_bytes(SEGMENT_RING_LINES_MAX), error);
    if (r < 0)
        return error_prefix(error, r, "further ring");
    r = check(peer, &region, &lines, error);
    if (r < 0) {
        region_deinit(&region);
        return r;
    }
    peer->further = region;
    peer->further_ring = (const uint8_t *)region.base + LAYOUT_PAGE_BYTES;
    peer->further_lines = lines;
    return 0;
}
