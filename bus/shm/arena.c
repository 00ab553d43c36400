/*
 * The arena: blocks of shared memory that only their writer allocates and frees, in any order.
 *
 * Every table is in the writer's private memory. In the arena itself there is nothing but payload,
 * so a peer has nothing to corrupt, and its death leaves nothing to repair.
 *
 * Memory is cut into extents, multiples of 64 bytes. An extent knows its neighbours by address, for
 * coalescing; a free one is also in a bin, by the power of two of its size. An allocation looks for
 * the first that fits in its own bin, then takes any of the next bin that is not empty, and splits
 * it. No two free extents touch, so with u blocks in use there are at most u + 1 free extents an
 * arena, the tables have a fixed size, 48 bytes a block, and an allocation cannot fail for want of
 * one.
 *
 * A block's name, which travels in the frame and comes back in the release ring, is a slot and how
 * often that slot has been used: (generation << slot_bits) | slot. Slots are handed out in the
 * order in which they came back, so that a name returns as late as possible. A release is believed
 * only if its slot is in use in that generation. What a peer could still do is to guess the name of
 * a block that it has not been sent yet; then it garbles what is sent to itself.
 *
 * A block that holds a message is lent to the peer once, and free when its name comes back. One
 * that is kept, a buffer, is lent by each frame that names it, and free when its owner has dropped
 * it and the name has come back as often. At most `limit` blocks are in use at once, and as many
 * names are out: that many releases fit into the peer's release ring, so that ring never overflows.
 * Of blocks and of bytes buffers have half at most: the other half is for messages, so that a
 * program that keeps buffers for long holds up its own buffers, and no call.
 *
 * When the arena is too small, further ones are added, each at least as large as all before it: the
 * number of steps is logarithmic, and the largest message finds an arena large enough before the
 * total's limit strikes. They stay until the channel ends. The first may have no bytes at all: a
 * channel whose messages fit in its ring needs neither memory nor tables, and has neither.
 */
#include "shm/internal.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define NONE UINT16_MAX
#define BIN_COUNT 32
#define GROW_BYTES_MIN (UINT64_C(64) << 10)
#define ARENA_COUNT_MAX (1 + ARENA_SEGMENT_MAX)

struct extent {
    uint32_t start; /* units from its arena's start */
    uint32_t units;
    uint16_t before, after; /* neighbours by address, or NONE */
    uint16_t previous;      /* free: in its bin, or NONE */
    uint16_t next;          /* free: in its bin, or NONE; unused: the next unused one */
    uint16_t segment;
    uint16_t slot; /* in use: its slot; free: NONE */
};

struct slot {
    uint32_t generation; /* of the block that has it, or had it last */
    uint16_t extent;     /* NONE: not in use */
    uint16_t next;       /* not in use: the next in the queue, or NONE */
    uint32_t uses;       /* SLOT_ */
};

/* One word: what is written as a part of one and then read as a whole waits until it has left the
 * store buffer, behind lines of the ring that are on their way from the other core. */
#define SLOT_LENT 0xffffu      /* times that the peer may release it */
#define SLOT_KEPT (1u << 16)   /* by its owner */
#define SLOT_BUFFER (1u << 17) /* it was, and counts as one until it is free */
static_assert(SEGMENT_RELEASE_SLOTS_MAX <= SLOT_LENT, "a name is out so often, at most");

struct arena {
    struct extent *extents; /* NULL, and so are the slots: there is no memory yet */
    struct slot *slots;
    uint16_t unused;                /* extents that stand for nothing: head of a stack */
    uint16_t slot_first, slot_last; /* slots not in use: a queue */
    uint32_t slot_bits;
    uint32_t slot_count;
    uint32_t limit;
    uint32_t in_use;
    uint32_t lent; /* of all blocks */
    uint32_t buffers;
    uint64_t buffer_bytes;
    uint32_t bin_bits; /* bins that are not empty */
    uint16_t bins[BIN_COUNT];
    uint32_t more_count;
    uint64_t bytes_total; /* usable, of all */
    uint8_t *base[ARENA_COUNT_MAX];
    struct region more[ARENA_SEGMENT_MAX];
};

static_assert(SEGMENT_RELEASE_SLOTS_MAX <= UINT16_MAX, "names of a block are counted in 16 bits");
static_assert(2 * SEGMENT_RELEASE_SLOTS_MAX + ARENA_COUNT_MAX < NONE,
              "extents are numbered in 16 bits");
static_assert(ARENA_BYTES_TOTAL_MAX / ARENA_UNIT_BYTES < UINT32_MAX,
              "units are counted in 32 bits");

/* ---- Extents and bins ---- */

static uint32_t bin_of(uint32_t units)
{
    return 31 - (uint32_t)__builtin_clz(units);
}

static void bin_insert(struct arena *arena, uint16_t index)
{
    struct extent *extent = &arena->extents[index];
    uint32_t bin = bin_of(extent->units);
    extent->slot = NONE;
    extent->previous = NONE;
    extent->next = arena->bins[bin];
    if (extent->next != NONE)
        arena->extents[extent->next].previous = index;
    arena->bins[bin] = index;
    arena->bin_bits |= UINT32_C(1) << bin;
}

static void bin_remove(struct arena *arena, uint16_t index)
{
    struct extent *extent = &arena->extents[index];
    uint32_t bin = bin_of(extent->units);
    if (extent->next != NONE)
        arena->extents[extent->next].previous = extent->previous;
    if (extent->previous != NONE)
        arena->extents[extent->previous].next = extent->next;
    else
        arena->bins[bin] = extent->next;
    if (arena->bins[bin] == NONE)
        arena->bin_bits &= ~(UINT32_C(1) << bin);
}

static uint16_t find(const struct arena *arena, uint32_t units)
{
    uint32_t bin = bin_of(units);
    for (uint16_t i = arena->bins[bin]; i != NONE; i = arena->extents[i].next) {
        if (arena->extents[i].units >= units)
            return i;
    }
    uint32_t larger = arena->bin_bits & ~((UINT32_C(2) << bin) - 1);
    return larger == 0 ? NONE : arena->bins[__builtin_ctz(larger)];
}

static uint16_t extent_new(struct arena *arena)
{
    uint16_t index = arena->unused;
    assert(index != NONE); /* the essay above says why */
    arena->unused = arena->extents[index].next;
    return index;
}

static void extent_drop(struct arena *arena, uint16_t index)
{
    arena->extents[index].next = arena->unused;
    arena->unused = index;
}

/* Cuts what is behind the first @units off, as a free extent. */
static void extent_split(struct arena *arena, uint16_t index, uint32_t units)
{
    struct extent *extent = &arena->extents[index];
    uint16_t rest_index = extent_new(arena);
    struct extent *rest = &arena->extents[rest_index];
    *rest = (struct extent){
        .start = extent->start + units,
        .units = extent->units - units,
        .before = index,
        .after = extent->after,
        .segment = extent->segment,
    };
    if (rest->after != NONE)
        arena->extents[rest->after].before = rest_index;
    extent->after = rest_index;
    extent->units = units;
    bin_insert(arena, rest_index);
}

/* Appends @second, the neighbour behind @first, to it. Both are out of the bins. */
static void extent_join(struct arena *arena, uint16_t first, uint16_t second)
{
    struct extent *extent = &arena->extents[first];
    extent->units += arena->extents[second].units;
    extent->after = arena->extents[second].after;
    if (extent->after != NONE)
        arena->extents[extent->after].before = first;
    extent_drop(arena, second);
}

static bool extent_is_free(const struct arena *arena, uint16_t index)
{
    return index != NONE && arena->extents[index].slot == NONE;
}

static void extent_free(struct arena *arena, uint16_t index)
{
    uint16_t after = arena->extents[index].after;
    if (extent_is_free(arena, after)) {
        bin_remove(arena, after);
        extent_join(arena, index, after);
    }
    uint16_t before = arena->extents[index].before;
    if (extent_is_free(arena, before)) {
        bin_remove(arena, before);
        extent_join(arena, before, index);
        index = before;
    }
    bin_insert(arena, index);
}

static void extent_add_arena(struct arena *arena, uint32_t segment, uint8_t *base, size_t bytes)
{
    uint16_t index = extent_new(arena);
    arena->extents[index] = (struct extent){
        .units = (uint32_t)(bytes / ARENA_UNIT_BYTES),
        .before = NONE,
        .after = NONE,
        .segment = (uint16_t)segment,
    };
    arena->base[segment] = base;
    arena->bytes_total += bytes;
    bin_insert(arena, index);
}

/* ---- Slots and names ---- */

/* Takes the slot that has been out of use for longest; its name is one that is never 0. */
static uint32_t slot_take(struct arena *arena, uint16_t extent)
{
    uint16_t index = arena->slot_first;
    struct slot *slot = &arena->slots[index];
    arena->slot_first = slot->next;
    if (arena->slot_first == NONE)
        arena->slot_last = NONE;
    slot->extent = extent;
    slot->generation = (slot->generation + 1) & (UINT32_MAX >> arena->slot_bits);
    if (slot->generation == 0)
        slot->generation = 1;
    slot->uses = 1;
    arena->lent++;
    arena->extents[extent].slot = index;
    arena->in_use++;
    return slot->generation << arena->slot_bits | index;
}

static void slot_return(struct arena *arena, uint16_t index)
{
    arena->slots[index].extent = NONE;
    arena->slots[index].next = NONE;
    if (arena->slot_last == NONE)
        arena->slot_first = index;
    else
        arena->slots[arena->slot_last].next = index;
    arena->slot_last = index;
    arena->in_use--;
}

/* Of a block in use; else NULL. */
static struct slot *slot_find(const struct arena *arena, uint32_t block)
{
    if (!arena->slots)
        return NULL; /* there has been no block yet */
    struct slot *slot = &arena->slots[block & (arena->slot_count - 1)];
    bool in_use = slot->extent != NONE && slot->generation == block >> arena->slot_bits;
    return in_use ? slot : NULL;
}

/* Of a block that is kept, which nobody but its owner can free. */
static struct slot *slot_kept(const struct arena *arena, uint32_t block)
{
    struct slot *slot = &arena->slots[block & (arena->slot_count - 1)];
    assert(slot->uses & SLOT_KEPT);
    return slot;
}

static uint64_t slot_bytes(const struct arena *arena, const struct slot *slot)
{
    return (uint64_t)arena->extents[slot->extent].units * ARENA_UNIT_BYTES;
}

/* Nobody uses it any more. */
__attribute__((noinline)) static void slot_free(struct arena *arena, struct slot *slot)
{
    if (slot->uses & SLOT_BUFFER) {
        arena->buffers--;
        arena->buffer_bytes -= slot_bytes(arena, slot);
    }
    uint16_t extent = slot->extent;
    slot_return(arena, (uint16_t)(slot - arena->slots));
    extent_free(arena, extent);
}

int arena_release(struct arena *arena, uint32_t block)
{
    struct slot *slot = slot_find(arena, block);
    if (!slot || (slot->uses & SLOT_LENT) == 0)
        return -EPROTO;
    slot->uses--;
    arena->lent--;
    if (__builtin_expect((slot->uses & (SLOT_KEPT | SLOT_LENT)) == 0, 0))
        slot_free(arena, slot);
    return 0;
}

/* ---- Lifetime ---- */

static void link_all(struct arena *arena, uint32_t extent_count)
{
    for (uint32_t i = 0; i < extent_count; i++)
        arena->extents[i].next = i + 1 < extent_count ? (uint16_t)(i + 1) : NONE;
    arena->unused = 0;
    for (uint32_t i = 0; i < arena->slot_count; i++) {
        arena->slots[i].extent = NONE;
        arena->slots[i].next = i + 1 < arena->slot_count ? (uint16_t)(i + 1) : NONE;
    }
    arena->slot_first = 0;
    arena->slot_last = (uint16_t)(arena->slot_count - 1);
}

/* Before there is memory to allocate. Return: 0, -ENOMEM. */
static int tables_make(struct arena *arena)
{
    if (arena->slots)
        return 0;
    uint32_t extent_count = 2 * arena->slot_count + ARENA_COUNT_MAX;
    _cleanup_(freep) struct extent *extents = calloc(extent_count, sizeof(*extents));
    arena->slots = calloc(arena->slot_count, sizeof(*arena->slots));
    if (!extents || !arena->slots) {
        free(arena->slots);
        arena->slots = NULL;
        return -ENOMEM;
    }
    arena->extents = steal_ptr(&extents);
    link_all(arena, extent_count);
    return 0;
}

int arena_new(uint8_t *base, size_t bytes, uint32_t block_max, struct arena **ret_arena)
{
    struct arena *arena = calloc(1, sizeof(*arena));
    if (!arena)
        return -ENOMEM;
    arena->slot_count = block_max;
    arena->slot_bits = (uint32_t)__builtin_ctz(block_max);
    arena->limit = block_max;
    for (uint32_t i = 0; i < BIN_COUNT; i++)
        arena->bins[i] = NONE;
    if (bytes > 0 && tables_make(arena) < 0) {
        arena_destroy(arena);
        return -ENOMEM;
    }
    if (bytes > 0)
        extent_add_arena(arena, 0, base, bytes);
    *ret_arena = arena;
    return 0;
}

struct arena *arena_destroy(struct arena *arena)
{
    if (!arena)
        return NULL;
    for (uint32_t i = 0; i < arena->more_count; i++)
        region_deinit(&arena->more[i]);
    free(arena->extents);
    free(arena->slots);
    free(arena);
    return NULL;
}

void arena_limit(struct arena *arena, uint32_t block_max)
{
    arena->limit = block_max < arena->slot_count ? block_max : arena->slot_count;
}

uint32_t arena_lent(const struct arena *arena)
{
    return arena->lent;
}

/* ---- The room's interface ---- */

static uint64_t round_to_page(size_t bytes)
{
    return ((uint64_t)bytes + LAYOUT_PAGE_BYTES - 1) / LAYOUT_PAGE_BYTES * LAYOUT_PAGE_BYTES;
}

static bool can_grow(const struct arena *arena, size_t bytes)
{
    return arena->more_count < ARENA_SEGMENT_MAX &&
           arena->bytes_total + round_to_page(bytes) <= ARENA_BYTES_TOTAL_MAX;
}

int arena_alloc(struct segment *segment, size_t bytes, struct frame_ref *ret_ref, void **ret_data)
{
    struct arena *arena = segment->arena;
    if (bytes == 0 || bytes > ARENA_BLOCK_BYTES_MAX)
        return -EMSGSIZE;
    if (arena->in_use >= arena->limit || arena->lent >= arena->limit)
        return ARENA_E_FULL;
    uint32_t units = (uint32_t)((bytes + ARENA_UNIT_BYTES - 1) / ARENA_UNIT_BYTES);
    uint16_t index = find(arena, units);
    if (index == NONE)
        return can_grow(arena, bytes) ? ARENA_E_GROW : ARENA_E_FULL;
    bin_remove(arena, index);
    struct extent *extent = &arena->extents[index];
    if (extent->units > units)
        extent_split(arena, index, units);
    *ret_ref = (struct frame_ref){
        .block = slot_take(arena, index),
        .segment = extent->segment,
        .offset = (uint64_t)extent->start * ARENA_UNIT_BYTES,
    };
    *ret_data = arena->base[extent->segment] + ret_ref->offset;
    return 0;
}

void arena_free(struct segment *segment, uint32_t block)
{
    (void)arena_release(segment->arena, block);
}

/* ---- Buffers ---- */

int arena_keep(struct segment *segment, uint32_t block)
{
    struct arena *arena = segment->arena;
    struct slot *slot = slot_find(arena, block);
    assert(slot && slot->uses == 1);
    uint64_t bytes = slot_bytes(arena, slot);
    if (arena->buffers >= arena->limit / 2 ||
        bytes > ARENA_BYTES_TOTAL_MAX / 2 - arena->buffer_bytes)
        return ARENA_E_FULL;
    slot->uses = SLOT_KEPT | SLOT_BUFFER;
    arena->lent--;
    arena->buffers++;
    arena->buffer_bytes += bytes;
    return 0;
}

uint32_t arena_lendable(const struct segment *segment)
{
    const struct arena *arena = segment->arena;
    return arena->limit > arena->lent ? arena->limit - arena->lent : 0;
}

void arena_lend(struct segment *segment, uint32_t block)
{
    struct slot *slot = slot_kept(segment->arena, block);
    assert(arena_lendable(segment) > 0);
    slot->uses++;
    segment->arena->lent++;
}

bool arena_is_lent(const struct segment *segment, uint32_t block)
{
    return (slot_kept(segment->arena, block)->uses & SLOT_LENT) > 0;
}

void arena_drop(struct segment *segment, uint32_t block)
{
    struct slot *slot = slot_kept(segment->arena, block);
    slot->uses &= ~SLOT_KEPT;
    if ((slot->uses & SLOT_LENT) == 0)
        slot_free(segment->arena, slot);
}

/* At least @bytes; else as much as there is already; within the limits. */
static uint64_t grow_bytes(const struct arena *arena, size_t bytes)
{
    uint64_t least = round_to_page(bytes);
    uint64_t wanted = round_to_page(arena->bytes_total);
    if (wanted < GROW_BYTES_MIN)
        wanted = GROW_BYTES_MIN;
    if (wanted > ARENA_BLOCK_BYTES_MAX)
        wanted = ARENA_BLOCK_BYTES_MAX;
    if (wanted > ARENA_BYTES_TOTAL_MAX - arena->bytes_total)
        wanted = least;
    return wanted > least ? wanted : least;
}

int arena_grow(struct segment *segment, size_t bytes, int *ret_fd, struct error_text *error)
{
    struct arena *arena = segment->arena;
    if (bytes == 0 || bytes > ARENA_BLOCK_BYTES_MAX)
        return error_set(error, -EMSGSIZE, "a message of %zu bytes: 1 to %u are possible", bytes,
                         ARENA_BLOCK_BYTES_MAX);
    if (!can_grow(arena, bytes))
        return ARENA_E_FULL;
    if (tables_make(arena) < 0)
        return error_set(error, -ENOMEM, "no memory for the tables of a channel's arena");
    uint64_t usable = grow_bytes(arena, bytes);
    struct region *region = &arena->more[arena->more_count];
    int r = region_create(region, "arena", LAYOUT_PAGE_BYTES + usable, error);
    if (r < 0)
        return r;
    uint32_t number = ++arena->more_count;
    *(struct arena_header *)region->base = (struct arena_header){
        .magic = ARENA_MAGIC,
        .version = LAYOUT_VERSION,
        .segment = number,
        .offset = LAYOUT_PAGE_BYTES,
        .bytes = usable,
    };
    extent_add_arena(arena, number, (uint8_t *)region->base + LAYOUT_PAGE_BYTES, usable);
    *ret_fd = region->fd;
    return 0;
}
