/*
 * The peer's side of a channel: its segment and its further arenas, mapped read-only.
 *
 * The peer can write what we read at any time, headers included. So every value is loaded once,
 * into private memory, bounded there, and only then used; after a segment is mapped nobody looks at
 * its header again. The bounds make our own reads safe, no more: where a peer lets its own parts
 * overlap, it garbles its own messages, and the plan runner checks those byte for byte.
 */
#include "shm/internal.h"

#include <errno.h>

/* Of a word that a hostile peer may be changing: exactly one load. */
#define load_once(place) __atomic_load_n((place), __ATOMIC_RELAXED)

static struct segment_header read_segment_header(const struct region *region)
{
    const struct segment_header *shared = region->base;
    return (struct segment_header){
        .magic = load_once(&shared->magic),
        .version = load_once(&shared->version),
        .ring_lines = load_once(&shared->ring_lines),
        .release_slots = load_once(&shared->release_slots),
        .ring_offset = load_once(&shared->ring_offset),
        .release_offset = load_once(&shared->release_offset),
        .arena_offset = load_once(&shared->arena_offset),
        .arena_bytes = load_once(&shared->arena_bytes),
    };
}

/* Whether [offset, offset + bytes) lies behind the cells, in the region, at a line's start. */
static bool lies_within(const struct region *region, uint32_t offset, uint64_t bytes)
{
    return offset >= SEGMENT_CELLS_OFFSET + sizeof(struct segment_cells) &&
           offset % LAYOUT_LINE_BYTES == 0 && offset <= region->bytes &&
           bytes <= region->bytes - offset;
}

int peer_check_kind(uint32_t magic, uint32_t magic_expected, uint32_t version, const char *what,
                    struct error_text *error)
{
    if (magic != magic_expected)
        return error_set(error, -EPROTO, "the peer's memfd is no %s: it begins with %#x, not %#x",
                         what, magic, magic_expected);
    if (version != LAYOUT_VERSION)
        return error_set(error, -EPROTO,
                         "the peer's %s has layout version %u, this library has %u: use the same"
                         " release of Parley on both sides",
                         what, version, LAYOUT_VERSION);
    return 0;
}

static int check_segment(const struct region *region, const struct segment_header *header,
                         struct error_text *error)
{
    int r =
        peer_check_kind(header->magic, SEGMENT_MAGIC, header->version, "channel segment", error);
    if (r < 0)
        return r;
    if (!is_power_of_two(header->ring_lines, SEGMENT_RING_LINES_MIN, SEGMENT_RING_LINES_MAX) ||
        !lies_within(region, header->ring_offset, (uint64_t)header->ring_lines * LAYOUT_LINE_BYTES))
        return error_set(error, -EPROTO,
                         "the peer's segment is impossible: a ring of %u lines at %u, in %zu bytes",
                         header->ring_lines, header->ring_offset, region->bytes);
    if (!is_power_of_two(header->release_slots, SEGMENT_RELEASE_SLOTS_MIN,
                         SEGMENT_RELEASE_SLOTS_MAX) ||
        !lies_within(region, header->release_offset,
                     (uint64_t)header->release_slots * sizeof(uint32_t)))
        return error_set(error, -EPROTO,
                         "the peer's segment is impossible: %u release slots at %u, in %zu bytes",
                         header->release_slots, header->release_offset, region->bytes);
    if (header->arena_bytes > SEGMENT_ARENA_BYTES_MAX ||
        !lies_within(region, header->arena_offset, header->arena_bytes))
        return error_set(
            error, -EPROTO,
            "the peer's segment is impossible: an arena of %u bytes at %u, in %zu bytes",
            header->arena_bytes, header->arena_offset, region->bytes);
    return 0;
}

/* The largest segment that segment_create() makes. */
#define SEGMENT_BYTES_MAX                                                                          \
    (2 * (size_t)LAYOUT_PAGE_BYTES + SEGMENT_RELEASE_SLOTS_MAX * sizeof(uint32_t) +                \
     (size_t)SEGMENT_RING_LINES_MAX * LAYOUT_LINE_BYTES + SEGMENT_ARENA_BYTES_MAX)
#define SEGMENT_BYTES_MIN                                                                          \
    ((size_t)LAYOUT_PAGE_BYTES + (size_t)SEGMENT_RING_LINES_MIN * LAYOUT_LINE_BYTES)

int peer_segment_map(struct peer_segment *peer, int fd, struct error_text *error)
{
    struct region region = REGION_NONE;
    int r = region_map(&region, fd, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX, error);
    if (r < 0)
        return r;
    struct segment_header header = read_segment_header(&region);
    r = check_segment(&region, &header, error);
    if (r < 0) {
        region_deinit(&region);
        return r;
    }
    const uint8_t *base = region.base;
    *peer = (struct peer_segment){
        .region = region,
        .cells = (const struct segment_cells *)(base + SEGMENT_CELLS_OFFSET),
        .ring = base + header.ring_offset,
        .ring_lines = header.ring_lines,
        .release = (const _Atomic uint32_t *)(base + header.release_offset),
        .release_slots = header.release_slots,
        .arenas = {{.base = base + header.arena_offset, .bytes = header.arena_bytes}},
    };
    /* What the first call reads: as in segment_create(). */
    (void)ring_pending(peer);
    (void)atomic_load_explicit(&peer->cells->asleep, memory_order_relaxed);
    return 0;
}

void peer_segment_deinit(struct peer_segment *peer)
{
    for (uint32_t i = 0; i < peer->more_count; i++)
        region_deinit(&peer->more[i]);
    region_deinit(&peer->further);
    region_deinit(&peer->region);
    *peer = (struct peer_segment){.region = REGION_NONE};
}

static uint64_t arena_bytes_total(const struct peer_segment *peer)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i <= peer->more_count; i++)
        total += peer->arenas[i].bytes;
    return total;
}

static int check_arena(const struct peer_segment *peer, const struct region *region,
                       struct error_text *error)
{
    const struct arena_header *shared = region->base;
    int r = peer_check_kind(load_once(&shared->magic), ARENA_MAGIC, load_once(&shared->version),
                            "further arena", error);
    if (r < 0)
        return r;
    uint32_t number = load_once(&shared->segment);
    uint32_t offset = load_once(&shared->offset);
    uint64_t bytes = load_once(&shared->bytes);
    if (number != peer->more_count + 1)
        return error_set(error, -EPROTO, "the peer's further arena has number %u: %u was next",
                         number, peer->more_count + 1);
    if (offset != LAYOUT_PAGE_BYTES || bytes != region->bytes - LAYOUT_PAGE_BYTES)
        return error_set(error, -EPROTO,
                         "the peer's further arena is impossible: %llu bytes at %u, in %zu bytes",
                         (unsigned long long)bytes, offset, region->bytes);
    return 0;
}

int arena_add(struct peer_segment *peer, int fd, struct error_text *error)
{
    if (peer->more_count >= ARENA_SEGMENT_MAX)
        return error_set(error, -EPROTO, "the peer adds arena %u: at most %u are accepted",
                         peer->more_count + 1, ARENA_SEGMENT_MAX);
    uint64_t left = ARENA_BYTES_TOTAL_MAX - arena_bytes_total(peer);
    struct region region = REGION_NONE;
    int r = region_map(&region, fd, 2 * LAYOUT_PAGE_BYTES, LAYOUT_PAGE_BYTES + left, error);
    if (r < 0)
        return error_prefix(error, r, "further arena");
    r = check_arena(peer, &region, error);
    if (r < 0) {
        region_deinit(&region);
        return r;
    }
    peer->more[peer->more_count++] = region;
    peer->arenas[peer->more_count] =
        (struct peer_arena){.base = (const uint8_t *)region.base + LAYOUT_PAGE_BYTES,
                            .bytes = region.bytes - LAYOUT_PAGE_BYTES};
    return 0;
}
