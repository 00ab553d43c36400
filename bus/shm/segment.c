/*
 * A segment: one side of a channel, in one region that only that side writes.
 *
 *   0      segment_header   written once, before the region is sent
 *   128    segment_cells    consumed, released | asleep, blocked, load
 *   384    release ring     names of blocks, written by this side
 *   page   ring             records, written by this side
 *   page   arena            blocks, written by this side
 *
 * The first page holds the default release ring, too. All offsets are in the header, so that
 * another version may choose others; the cells are where they are.
 *
 * Whatever this side relies on is in `struct segment`, in private memory: what is in the region is
 * there for the peer to read, and is never read back.
 */
#include "shm/internal.h"

#include <errno.h>

#include "base/cleanup.h"
#include "shm/barrier.h"
#include "shm/ring.h"

#define SEGMENT_RELEASE_OFFSET (SEGMENT_CELLS_OFFSET + (uint32_t)sizeof(struct segment_cells))

static uint32_t round_to_page(uint32_t bytes)
{
    return (bytes + LAYOUT_PAGE_BYTES - 1) / LAYOUT_PAGE_BYTES * LAYOUT_PAGE_BYTES;
}

static int check_options(const struct segment_options *options, struct error_text *error)
{
    if (!is_power_of_two(options->ring_lines, SEGMENT_RING_LINES_MIN, SEGMENT_RING_LINES_MAX))
        return error_set(error, -EINVAL, "a ring of %u lines: must be a power of two from %u to %u",
                         options->ring_lines, SEGMENT_RING_LINES_MIN, SEGMENT_RING_LINES_MAX);
    if (!is_power_of_two(options->release_slots, SEGMENT_RELEASE_SLOTS_MIN,
                         SEGMENT_RELEASE_SLOTS_MAX))
        return error_set(
            error, -EINVAL, "a release ring of %u slots: must be a power of two from %u to %u",
            options->release_slots, SEGMENT_RELEASE_SLOTS_MIN, SEGMENT_RELEASE_SLOTS_MAX);
    if (options->arena_bytes > SEGMENT_ARENA_BYTES_MAX)
        return error_set(error, -EINVAL, "an arena of %u bytes: at most %u are possible",
                         options->arena_bytes, SEGMENT_ARENA_BYTES_MAX);
    return 0;
}

/* Fills defaults in, checks, and says where everything goes. */
static int plan_layout(const struct segment_options *options, struct segment_header *ret_header,
                       struct error_text *error)
{
    struct segment_options chosen = options ? *options : (struct segment_options){0};
    if (chosen.ring_lines == 0)
        chosen.ring_lines = SEGMENT_RING_LINES_DEFAULT;
    if (chosen.release_slots == 0)
        chosen.release_slots = SEGMENT_RELEASE_SLOTS_DEFAULT;
    if (chosen.arena_bytes == 0)
        chosen.arena_bytes = SEGMENT_ARENA_BYTES_DEFAULT;
    int r = check_options(&chosen, error);
    if (r < 0)
        return r;
    uint32_t release_bytes = chosen.release_slots * (uint32_t)sizeof(uint32_t);
    uint32_t ring_offset = round_to_page(SEGMENT_RELEASE_OFFSET + release_bytes);
    *ret_header = (struct segment_header){
        .magic = SEGMENT_MAGIC,
        .version = LAYOUT_VERSION,
        .ring_lines = chosen.ring_lines,
        .release_slots = chosen.release_slots,
        .ring_offset = ring_offset,
        .release_offset = SEGMENT_RELEASE_OFFSET,
        .arena_offset = ring_offset + chosen.ring_lines * LAYOUT_LINE_BYTES,
        .arena_bytes = round_to_page(chosen.arena_bytes),
    };
    return 0;
}

int segment_create(struct segment *segment, const struct segment_options *options,
                   struct error_text *error)
{
    struct segment_header header;
    struct region region = REGION_NONE;
    struct arena *arena = NULL;
    int r = plan_layout(options, &header, error);
    if (r < 0)
        return r;
    r = region_create(&region, "channel", (size_t)header.arena_offset + header.arena_bytes, error);
    if (r < 0)
        return r;
    uint8_t *base = region.base;
    r = arena_new(base + header.arena_offset, header.arena_bytes, header.release_slots, &arena);
    if (r < 0) {
        region_deinit(&region);
        return error_set(error, r, "no memory for the tables of a channel's arena");
    }
    arena_limit(arena, SEGMENT_RELEASE_SLOTS_MIN); /* until the peer is known: release_take() */
    *(struct segment_header *)region.base = header;
    *segment = (struct segment){
        .region = region,
        .cells = (struct segment_cells *)(base + SEGMENT_CELLS_OFFSET),
        .ring = base + header.ring_offset,
        .ring_lines = header.ring_lines,
        .release = (_Atomic uint32_t *)(base + header.release_offset),
        .release_slots = header.release_slots,
        .arena = arena,
    };
    /* What the first call writes: it is mapped, but a hypervisor with page tables of its own learns
     * of a page when it is first used, and of its being written when that first happens. */
    ring_zero(segment, 0);
    asleep_clear(segment);
    atomic_init(&segment->cells->barrier, barrier_able());
    return 0;
}

void segment_sent(struct segment *segment)
{
    segment->region.fd = fd_close(segment->region.fd);
}

void segment_deinit(struct segment *segment)
{
    segment->arena = arena_destroy(segment->arena);
    region_deinit(&segment->further);
    region_deinit(&segment->region);
    *segment = (struct segment){.region = REGION_NONE};
}
