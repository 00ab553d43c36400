#include "support/test.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/random.h"
#include "shm/shm.h"
#include "unit/shm/pair.h"

#define SLOTS SEGMENT_RELEASE_SLOTS_DEFAULT
#define ARENA_BYTES 8192
#define MIB ((size_t)1 << 20)

static int setup(void **state)
{
    static struct pair pair;
    pair_init(&pair, &(struct segment_options){.arena_bytes = ARENA_BYTES});
    *state = &pair;
    return 0;
}

static int teardown(void **state)
{
    pair_deinit(*state);
    return 0;
}

static struct frame_ref alloc(struct side *side, size_t bytes)
{
    struct frame_ref ref = {0};
    void *data = NULL;
    assert_int_equal(arena_alloc(&side->ours, bytes, &ref, &data), 0);
    assert_int_equal((uintptr_t)data % 64, 0);
    return ref;
}

static int try_alloc(struct side *side, size_t bytes)
{
    struct frame_ref ref;
    void *data = NULL;
    return arena_alloc(&side->ours, bytes, &ref, &data);
}

static void grow(struct pair *pair, size_t bytes)
{
    struct error_text error = {""};
    int fd = -1;
    assert_int_equal(arena_grow(&pair->a.ours, bytes, &fd, &error), 0);
    assert_int_equal(arena_add(&pair->b.peer, fd, &error), 0);
}

/* ---- Allocating ---- */

static void test_what_is_written_in_a_block_is_resolved_by_the_reader(void **state)
{
    struct pair *pair = *state;
    struct frame_ref ref;
    void *data = NULL;
    const uint8_t *seen = NULL;
    assert_int_equal(arena_alloc(&pair->a.ours, 6, &ref, &data), 0);
    memcpy(data, "hello", 6);
    assert_int_equal(arena_resolve(&pair->b.peer, &ref, 6, &seen), 0);
    assert_string_equal((const char *)seen, "hello");
}

static void test_block_sizes_at_the_limits(void **state)
{
    struct pair *pair = *state;
    assert_int_equal(try_alloc(&pair->a, 0), -EMSGSIZE);
    assert_int_equal(try_alloc(&pair->a, 64 * MIB + 1), -EMSGSIZE);
    assert_int_equal(try_alloc(&pair->a, SIZE_MAX), -EMSGSIZE);
    assert_int_equal(try_alloc(&pair->a, 64 * MIB), ARENA_E_GROW);
    assert_int_equal(try_alloc(&pair->a, ARENA_BYTES + 1), ARENA_E_GROW);
    assert_int_equal(try_alloc(&pair->a, ARENA_BYTES), 0);
    assert_int_equal(try_alloc(&pair->a, 1), ARENA_E_GROW);
}

static void test_largest_block_fits_after_growth(void **state)
{
    struct pair *pair = *state;
    grow(pair, 64 * MIB);
    struct frame_ref ref = alloc(&pair->a, 64 * MIB);
    const uint8_t *seen = NULL;
    assert_int_equal(ref.segment, 1);
    assert_int_equal(arena_resolve(&pair->b.peer, &ref, 64 * MIB, &seen), 0);
    assert_int_equal(arena_resolve(&pair->b.peer, &ref, 64 * MIB + 1, &seen), -EPROTO);
}

static void test_blocks_in_use_are_at_most_the_release_slots(void **state)
{
    struct pair *pair = *state;
    struct frame_ref last = {0};
    for (uint32_t i = 0; i < SLOTS; i++)
        last = alloc(&pair->a, 1);
    assert_int_equal(try_alloc(&pair->a, 1), ARENA_E_FULL);
    arena_free(&pair->a.ours, last.block);
    assert_int_equal(try_alloc(&pair->a, 1), 0);
    assert_int_equal(try_alloc(&pair->a, 1), ARENA_E_FULL);
}

static void test_names_are_never_zero_and_come_back_late(void **state)
{
    struct pair *pair = *state;
    uint32_t recent[SLOTS] = {0};
    for (uint32_t i = 0; i < 100 * SLOTS; i++) {
        struct frame_ref ref = alloc(&pair->a, 100);
        assert_int_not_equal(ref.block, 0);
        for (uint32_t k = 0; k < SLOTS; k++)
            assert_int_not_equal(ref.block, recent[k]);
        recent[i % SLOTS] = ref.block;
        arena_free(&pair->a.ours, ref.block);
    }
}

static void test_neighbours_coalesce_in_any_order(void **state)
{
    struct pair *pair = *state;
    const int orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {0, 2, 1, 3}, {1, 3, 0, 2}, {2, 0, 3, 1}};
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        struct frame_ref refs[4];
        for (int k = 0; k < 4; k++)
            refs[k] = alloc(&pair->a, ARENA_BYTES / 4);
        assert_int_equal(try_alloc(&pair->a, 1), ARENA_E_GROW);
        for (int k = 0; k < 4; k++)
            arena_free(&pair->a.ours, refs[orders[i][k]].block);
        struct frame_ref whole = alloc(&pair->a, ARENA_BYTES);
        arena_free(&pair->a.ours, whole.block);
    }
}

static void test_fragments_that_do_not_touch_do_not_make_one_block(void **state)
{
    struct pair *pair = *state;
    struct frame_ref refs[4];
    for (int k = 0; k < 4; k++)
        refs[k] = alloc(&pair->a, ARENA_BYTES / 4);
    arena_free(&pair->a.ours, refs[0].block);
    arena_free(&pair->a.ours, refs[2].block);
    assert_int_equal(try_alloc(&pair->a, ARENA_BYTES / 4 + 1), ARENA_E_GROW);
    assert_int_equal(try_alloc(&pair->a, ARENA_BYTES / 4), 0);
}

struct block {
    struct frame_ref ref;
    uint8_t *data;
    size_t bytes;
    uint8_t mark;
};

static void check_and_free(struct pair *pair, struct block *block)
{
    for (size_t i = 0; i < block->bytes; i++)
        assert_int_equal(block->data[i], block->mark);
    arena_free(&pair->a.ours, block->ref.block);
    block->bytes = 0;
}

static void test_blocks_never_overlap_whatever_the_order(void **state)
{
    struct pair *pair = *state;
    struct block blocks[SLOTS] = {0};
    uint64_t seed = 3;
    grow(pair, 1);
    for (int round = 0; round < 50000; round++) {
        struct block *block = &blocks[random_below(&seed, SLOTS)];
        if (block->bytes > 0) {
            check_and_free(pair, block);
            continue;
        }
        size_t bytes = 1 + random_below(&seed, random_below(&seed, 8) ? 500 : 30000);
        void *data = NULL;
        int r = arena_alloc(&pair->a.ours, bytes, &block->ref, &data);
        if (r != 0) {
            assert_int_equal(r, ARENA_E_GROW);
            continue;
        }
        *block = (struct block){block->ref, data, bytes, (uint8_t)random_next(&seed)};
        memset(data, block->mark, bytes);
        const uint8_t *seen = NULL;
        assert_int_equal(arena_resolve(&pair->b.peer, &block->ref, bytes, &seen), 0);
        assert_int_equal(seen[bytes - 1], block->mark);
    }
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (blocks[i].bytes > 0)
            check_and_free(pair, &blocks[i]);
    }
    /* All of it has come together again. */
    struct frame_ref first = alloc(&pair->a, 64 << 10);
    struct frame_ref second = alloc(&pair->a, ARENA_BYTES);
    assert_int_equal(first.segment, 1);
    assert_int_equal(second.segment, 0);
}

static void test_freeing_what_is_not_in_use_changes_nothing(void **state)
{
    struct pair *pair = *state;
    struct frame_ref first = alloc(&pair->a, 64);
    arena_free(&pair->a.ours, first.block);
    struct frame_ref second = alloc(&pair->a, ARENA_BYTES);
    arena_free(&pair->a.ours, first.block);
    arena_free(&pair->a.ours, 0);
    arena_free(&pair->a.ours, UINT32_MAX);
    assert_int_equal(try_alloc(&pair->a, 64), ARENA_E_GROW);
    arena_free(&pair->a.ours, second.block);
}

/* ---- Growing ---- */

static void test_growth_stops_at_the_total_and_any_message_still_fits(void **state)
{
    struct pair *pair = *state;
    struct error_text error = {""};
    int fd = -1;
    int r = 0;
    uint32_t count = 0;
    while ((r = arena_grow(&pair->a.ours, 1, &fd, &error)) == 0) {
        count++;
        assert_int_equal(arena_add(&pair->b.peer, fd, &error), 0);
    }
    assert_int_equal(r, ARENA_E_FULL);
    assert_true(count <= ARENA_SEGMENT_MAX);
    uint64_t total = pair->b.peer.arenas[0].bytes;
    for (uint32_t i = 0; i < count; i++)
        total += pair->b.peer.more[i].bytes - LAYOUT_PAGE_BYTES;
    assert_true(total <= ARENA_BYTES_TOTAL_MAX);
    assert_true(total > ARENA_BYTES_TOTAL_MAX - 64 * MIB);
    struct frame_ref whole = alloc(&pair->a, 64 * MIB);
    assert_true(whole.segment > 0);
    while (try_alloc(&pair->a, 64 * MIB) == 0)
        continue;
    assert_int_equal(try_alloc(&pair->a, 64 * MIB), ARENA_E_FULL);
    assert_int_equal(arena_grow(&pair->a.ours, 64 * MIB, &fd, &error), ARENA_E_FULL);
    assert_int_equal(arena_grow(&pair->a.ours, 64 * MIB + 1, &fd, &error), -EMSGSIZE);
    assert_int_equal(arena_grow(&pair->a.ours, 0, &fd, &error), -EMSGSIZE);
}

static void test_a_segment_without_an_arena_grows_one(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, NULL);
    assert_int_equal(pair.a.ours.region.bytes, 4096 + SEGMENT_RING_LINES_DEFAULT * 64);
    assert_int_equal(try_alloc(&pair.a, 1), ARENA_E_GROW);
    assert_int_equal(try_alloc(&pair.a, 64 * MIB), ARENA_E_GROW);
    grow(&pair, 1);
    struct frame_ref ref = alloc(&pair.a, 1);
    assert_int_equal(ref.segment, 1);
    arena_free(&pair.a.ours, ref.block);
    pair_deinit(&pair);
}

static void test_without_an_arena_there_is_nothing_to_release(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, NULL);
    release_push(&pair.b.ours, 64);
    assert_int_equal(release_take(&pair.a.ours, &pair.a.peer), -EPROTO);
    pair_deinit(&pair);
}

static void test_a_block_in_an_arena_not_added_yet_is_unknown(void **state)
{
    struct pair *pair = *state;
    int fd = -1;
    const uint8_t *seen = NULL;
    assert_int_equal(arena_grow(&pair->a.ours, 10000, &fd, NULL), 0);
    struct frame_ref ref = alloc(&pair->a, 10000);
    assert_int_equal(arena_resolve(&pair->b.peer, &ref, 10000, &seen), ARENA_E_UNKNOWN);
    assert_int_equal(arena_add(&pair->b.peer, fd, NULL), 0);
    assert_int_equal(arena_resolve(&pair->b.peer, &ref, 10000, &seen), 0);
}

/* ---- Releasing ---- */

static void test_released_blocks_can_be_allocated_again(void **state)
{
    struct pair *pair = *state;
    for (int round = 0; round < 1000; round++) {
        struct frame_ref first = alloc(&pair->a, ARENA_BYTES / 2);
        struct frame_ref second = alloc(&pair->a, ARENA_BYTES / 2);
        assert_int_equal(try_alloc(&pair->a, 1), ARENA_E_GROW);
        release_push(&pair->b.ours, second.block);
        release_push(&pair->b.ours, first.block);
        assert_int_equal(release_take(&pair->a.ours, &pair->a.peer), 2);
        assert_int_equal(release_take(&pair->a.ours, &pair->a.peer), 0);
    }
}

static void test_all_blocks_can_be_released_at_once(void **state)
{
    struct pair *pair = *state;
    for (int round = 0; round < 3; round++) {
        uint32_t names[SLOTS];
        for (uint32_t i = 0; i < SLOTS; i++)
            names[i] = alloc(&pair->a, 1).block;
        for (uint32_t i = 0; i < SLOTS; i++)
            release_push(&pair->b.ours, names[SLOTS - 1 - i]);
        assert_int_equal(release_take(&pair->a.ours, &pair->a.peer), SLOTS);
    }
}

static void test_limit_is_the_smaller_of_both_sides_release_slots(void **state)
{
    (void)state;
    const uint32_t slots[][3] = {{4096, 64, 64}, {64, 4096, 64}, {4096, 256, 256}};
    for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
        struct side writer = {0};
        struct segment reader = {0};
        struct segment_options options = {.release_slots = slots[i][0], .arena_bytes = MIB};
        assert_int_equal(segment_create(&writer.ours, &options, NULL), 0);
        options.release_slots = slots[i][1];
        assert_int_equal(segment_create(&reader, &options, NULL), 0);
        /* Not known yet: the least that any peer has. */
        for (uint32_t k = 0; k < SEGMENT_RELEASE_SLOTS_MIN; k++)
            (void)alloc(&writer, 1);
        assert_int_equal(try_alloc(&writer, 1), ARENA_E_FULL);
        assert_int_equal(peer_segment_map(&writer.peer, reader.region.fd, NULL), 0);
        assert_int_equal(release_take(&writer.ours, &writer.peer), 0);
        for (uint32_t k = SEGMENT_RELEASE_SLOTS_MIN; k < slots[i][2]; k++)
            (void)alloc(&writer, 1);
        assert_int_equal(try_alloc(&writer, 1), ARENA_E_FULL);
        peer_segment_deinit(&writer.peer);
        segment_deinit(&writer.ours);
        segment_deinit(&reader);
    }
}

/* ---- A hostile reader ---- */

static void assert_release_refused(struct pair *pair, uint32_t block)
{
    release_push(&pair->b.ours, block);
    assert_int_equal(release_take(&pair->a.ours, &pair->a.peer), -EPROTO);
    /* The channel would end here; the test goes on without the entry. */
    pair->a.peer.released = pair->b.ours.released;
}

static void test_release_of_what_was_never_allocated_is_refused(void **state)
{
    struct pair *pair = *state;
    struct frame_ref ref = alloc(&pair->a, 100);
    const uint32_t forged[] = {
        0, 1, UINT32_MAX, ref.block + 1, ref.block ^ (SLOTS << 1), ref.block + SLOTS};
    for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++)
        assert_release_refused(pair, forged[i]);
    release_push(&pair->b.ours, ref.block);
    assert_int_equal(release_take(&pair->a.ours, &pair->a.peer), 1);
}

static void test_release_twice_is_refused(void **state)
{
    struct pair *pair = *state;
    struct frame_ref ref = alloc(&pair->a, 100);
    (void)alloc(&pair->a, 100);
    release_push(&pair->b.ours, ref.block);
    release_push(&pair->b.ours, ref.block);
    assert_int_equal(release_take(&pair->a.ours, &pair->a.peer), -EPROTO);
}

static void test_stale_release_does_not_free_the_slot_s_next_block(void **state)
{
    struct pair *pair = *state;
    struct frame_ref stale = alloc(&pair->a, 100);
    arena_free(&pair->a.ours, stale.block);
    struct frame_ref all[SLOTS];
    bool reused = false;
    for (uint32_t i = 0; i < SLOTS; i++) {
        all[i] = alloc(&pair->a, 100);
        reused = reused || all[i].block % SLOTS == stale.block % SLOTS;
    }
    assert_true(reused);
    assert_release_refused(pair, stale.block);
    for (uint32_t i = 0; i < SLOTS; i++)
        release_push(&pair->b.ours, all[i].block);
    assert_int_equal(release_take(&pair->a.ours, &pair->a.peer), SLOTS);
}

static void test_release_of_the_other_direction_s_block_is_refused(void **state)
{
    struct pair *pair = *state;
    (void)alloc(&pair->b, 100);
    struct frame_ref theirs = alloc(&pair->b, 100);
    (void)alloc(&pair->a, 100);
    assert_release_refused(pair, theirs.block);
}

static void test_impossible_release_counts_are_refused(void **state)
{
    struct pair *pair = *state;
    release_push(&pair->b.ours, alloc(&pair->a, ARENA_BYTES).block);
    const uint64_t forged[] = {2, SLOTS + 1, UINT64_MAX, UINT64_C(1) << 32};
    for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
        atomic_store(&pair->b.ours.cells->released, forged[i]);
        assert_int_equal(release_take(&pair->a.ours, &pair->a.peer), -EPROTO);
        assert_int_equal(try_alloc(&pair->a, 1), ARENA_E_GROW); /* nothing has been freed */
    }
    atomic_store(&pair->b.ours.cells->released, 1);
    assert_int_equal(release_take(&pair->a.ours, &pair->a.peer), 1);
}

static void test_release_count_that_goes_back_is_refused(void **state)
{
    struct pair *pair = *state;
    release_push(&pair->b.ours, alloc(&pair->a, 100).block);
    release_push(&pair->b.ours, alloc(&pair->a, 100).block);
    (void)alloc(&pair->a, 100);
    assert_int_equal(release_take(&pair->a.ours, &pair->a.peer), 2);
    atomic_store(&pair->b.ours.cells->released, 1);
    assert_int_equal(release_take(&pair->a.ours, &pair->a.peer), -EPROTO);
}

/* ---- Buffers ---- */

static struct frame_ref keep(struct side *side, size_t bytes)
{
    struct frame_ref ref = alloc(side, bytes);
    assert_int_equal(arena_keep(&side->ours, ref.block), 0);
    return ref;
}

static void test_a_buffer_is_free_when_it_is_dropped_and_all_its_names_are_back(void **state)
{
    struct pair *pair = *state;
    struct frame_ref buffer = keep(&pair->a, ARENA_BYTES);
    for (int i = 0; i < 3; i++)
        arena_lend(&pair->a.ours, buffer.block);
    release_push(&pair->b.ours, buffer.block);
    assert_int_equal(release_take(&pair->a.ours, &pair->a.peer), 1);
    arena_drop(&pair->a.ours, buffer.block);
    assert_int_equal(try_alloc(&pair->a, 1), ARENA_E_GROW);
    release_push(&pair->b.ours, buffer.block);
    release_push(&pair->b.ours, buffer.block);
    assert_int_equal(release_take(&pair->a.ours, &pair->a.peer), 2);
    buffer = keep(&pair->a, ARENA_BYTES);
    arena_drop(&pair->a.ours, buffer.block);
    assert_int_equal(try_alloc(&pair->a, ARENA_BYTES), 0);
}

static void test_a_buffer_that_is_not_lent_cannot_be_released(void **state)
{
    struct pair *pair = *state;
    struct frame_ref buffer = keep(&pair->a, 100);
    (void)alloc(&pair->a, 100); /* so that a release is possible at all */
    assert_release_refused(pair, buffer.block);
    arena_lend(&pair->a.ours, buffer.block);
    release_push(&pair->b.ours, buffer.block);
    assert_int_equal(release_take(&pair->a.ours, &pair->a.peer), 1);
    assert_release_refused(pair, buffer.block);
}

static void test_no_more_names_are_out_than_the_peer_can_release(void **state)
{
    struct pair *pair = *state;
    struct frame_ref buffer = keep(&pair->a, 100);
    for (uint32_t i = 0; i < SLOTS - 1; i++)
        arena_lend(&pair->a.ours, buffer.block);
    assert_int_equal(arena_lendable(&pair->a.ours), 1);
    struct frame_ref last = alloc(&pair->a, 100);
    assert_int_equal(arena_lendable(&pair->a.ours), 0);
    assert_int_equal(try_alloc(&pair->a, 100), ARENA_E_FULL);
    for (uint32_t i = 0; i < SLOTS - 1; i++)
        release_push(&pair->b.ours, buffer.block);
    release_push(&pair->b.ours, last.block);
    assert_int_equal(release_take(&pair->a.ours, &pair->a.peer), SLOTS);
    assert_int_equal(arena_lendable(&pair->a.ours), SLOTS);
}

static void test_buffers_have_half_of_the_blocks(void **state)
{
    struct pair *pair = *state;
    struct frame_ref buffers[SLOTS / 2];
    for (uint32_t i = 0; i < SLOTS / 2; i++)
        buffers[i] = keep(&pair->a, 1);
    struct frame_ref more = alloc(&pair->a, 1);
    assert_int_equal(arena_keep(&pair->a.ours, more.block), ARENA_E_FULL);
    arena_lend(&pair->a.ours, buffers[0].block);
    arena_drop(&pair->a.ours, buffers[0].block);
    assert_int_equal(arena_keep(&pair->a.ours, more.block), ARENA_E_FULL); /* it is read still */
    release_push(&pair->b.ours, buffers[0].block);
    assert_int_equal(release_take(&pair->a.ours, &pair->a.peer), 1);
    assert_int_equal(arena_keep(&pair->a.ours, more.block), 0);
}

static void test_buffers_have_half_of_the_bytes(void **state)
{
    struct pair *pair = *state;
    for (int i = 0; i < 3; i++)
        grow(pair, ARENA_BLOCK_BYTES_MAX);
    struct frame_ref first = keep(&pair->a, ARENA_BLOCK_BYTES_MAX);
    (void)keep(&pair->a, ARENA_BLOCK_BYTES_MAX);
    struct frame_ref more = alloc(&pair->a, 1);
    assert_int_equal(arena_keep(&pair->a.ours, more.block), ARENA_E_FULL);
    arena_drop(&pair->a.ours, first.block);
    assert_int_equal(arena_keep(&pair->a.ours, more.block), 0);
    assert_int_equal(try_alloc(&pair->a, ARENA_BLOCK_BYTES_MAX), 0); /* a message */
}

/* ---- A hostile writer ---- */

static void test_references_outside_of_the_arena_are_refused(void **state)
{
    struct pair *pair = *state;
    const uint8_t *seen = NULL;
    const struct {
        uint64_t offset, bytes;
        int expected;
    } cases[] = {
        {0, ARENA_BYTES, 0},
        {0, ARENA_BYTES + 1, -EPROTO},
        {ARENA_BYTES - 1, 1, 0},
        {ARENA_BYTES, 0, 0},
        {ARENA_BYTES, 1, -EPROTO},
        {ARENA_BYTES + 1, 0, -EPROTO},
        {64, UINT64_MAX - 63, -EPROTO},
        {UINT64_MAX, 1, -EPROTO},
        {UINT64_MAX, UINT64_MAX, -EPROTO},
        {UINT64_MAX - 63, 64, -EPROTO},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct frame_ref ref = {.block = 1, .offset = cases[i].offset};
        assert_int_equal(arena_resolve(&pair->b.peer, &ref, cases[i].bytes, &seen),
                         cases[i].expected);
    }
}

static void test_references_to_arenas_that_cannot_be_are_refused(void **state)
{
    struct pair *pair = *state;
    const uint8_t *seen = NULL;
    struct frame_ref ref = {.block = 1, .segment = ARENA_SEGMENT_MAX};
    assert_int_equal(arena_resolve(&pair->b.peer, &ref, 1, &seen), ARENA_E_UNKNOWN);
    ref.segment = ARENA_SEGMENT_MAX + 1;
    assert_int_equal(arena_resolve(&pair->b.peer, &ref, 1, &seen), -EPROTO);
    ref.segment = UINT32_MAX;
    assert_int_equal(arena_resolve(&pair->b.peer, &ref, 1, &seen), -EPROTO);
}

static int add_forged(struct pair *pair, struct arena_header header, size_t bytes,
                      struct error_text *error)
{
    struct region region = REGION_NONE;
    assert_int_equal(region_create(&region, "test", bytes, NULL), 0);
    memcpy(region.base, &header, sizeof(header));
    int r = arena_add(&pair->b.peer, region.fd, error);
    region_deinit(&region);
    return r;
}

static void test_every_forged_field_of_a_further_arena_is_refused(void **state)
{
    struct pair *pair = *state;
    const struct arena_header good = {ARENA_MAGIC, LAYOUT_VERSION, 1, 4096, 8192};
    const struct arena_header forged[] = {
        {SEGMENT_MAGIC, LAYOUT_VERSION, 1, 4096, 8192},
        {ARENA_MAGIC, LAYOUT_VERSION + 1, 1, 4096, 8192},
        {ARENA_MAGIC, LAYOUT_VERSION, 0, 4096, 8192},
        {ARENA_MAGIC, LAYOUT_VERSION, 2, 4096, 8192},
        {ARENA_MAGIC, LAYOUT_VERSION, 1, 0, 8192},
        {ARENA_MAGIC, LAYOUT_VERSION, 1, 8192, 8192},
        {ARENA_MAGIC, LAYOUT_VERSION, 1, 4096, 8193},
        {ARENA_MAGIC, LAYOUT_VERSION, 1, 4096, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
        struct error_text error = {""};
        assert_int_equal(add_forged(pair, forged[i], 12288, &error), -EPROTO);
        assert_non_null(strstr(error.text, "further arena"));
    }
    assert_int_equal(pair->b.peer.more_count, 0);
    assert_int_equal(add_forged(pair, good, 12288, NULL), 0);
    assert_int_equal(pair->b.peer.more_count, 1);
    assert_int_equal(add_forged(pair, good, 12288, NULL), -EPROTO); /* the same number again */
}

static void test_further_arenas_are_counted_and_bounded(void **state)
{
    struct pair *pair = *state;
    struct error_text error = {""};
    for (uint32_t i = 1; i <= ARENA_SEGMENT_MAX; i++) {
        struct arena_header header = {ARENA_MAGIC, LAYOUT_VERSION, i, 4096, 4096};
        assert_int_equal(add_forged(pair, header, 8192, &error), 0);
    }
    struct arena_header header = {ARENA_MAGIC, LAYOUT_VERSION, ARENA_SEGMENT_MAX + 1, 4096, 4096};
    assert_int_equal(add_forged(pair, header, 8192, &error), -EPROTO);
    assert_non_null(strstr(error.text, "at most 16"));
}

static void test_further_arenas_past_the_total_are_refused(void **state)
{
    struct pair *pair = *state;
    struct error_text error = {""};
    uint64_t most = ARENA_BYTES_TOTAL_MAX - ARENA_BYTES;
    struct arena_header header = {ARENA_MAGIC, LAYOUT_VERSION, 1, 4096, most + 4096};
    assert_int_equal(add_forged(pair, header, 4096 + most + 4096, &error), -EPROTO);
    assert_non_null(strstr(error.text, "too large"));
    header.bytes = most;
    assert_int_equal(add_forged(pair, header, 4096 + most, &error), 0);
    header = (struct arena_header){ARENA_MAGIC, LAYOUT_VERSION, 2, 4096, 4096};
    assert_int_equal(add_forged(pair, header, 8192, &error), -EPROTO);
}

#define arena_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        arena_test(test_what_is_written_in_a_block_is_resolved_by_the_reader),
        arena_test(test_block_sizes_at_the_limits),
        arena_test(test_largest_block_fits_after_growth),
        arena_test(test_blocks_in_use_are_at_most_the_release_slots),
        arena_test(test_names_are_never_zero_and_come_back_late),
        arena_test(test_neighbours_coalesce_in_any_order),
        arena_test(test_fragments_that_do_not_touch_do_not_make_one_block),
        arena_test(test_blocks_never_overlap_whatever_the_order),
        arena_test(test_freeing_what_is_not_in_use_changes_nothing),
        arena_test(test_growth_stops_at_the_total_and_any_message_still_fits),
        cmocka_unit_test(test_a_segment_without_an_arena_grows_one),
        cmocka_unit_test(test_without_an_arena_there_is_nothing_to_release),
        arena_test(test_a_block_in_an_arena_not_added_yet_is_unknown),
        arena_test(test_released_blocks_can_be_allocated_again),
        arena_test(test_all_blocks_can_be_released_at_once),
        cmocka_unit_test(test_limit_is_the_smaller_of_both_sides_release_slots),
        arena_test(test_release_of_what_was_never_allocated_is_refused),
        arena_test(test_release_twice_is_refused),
        arena_test(test_stale_release_does_not_free_the_slot_s_next_block),
        arena_test(test_release_of_the_other_direction_s_block_is_refused),
        arena_test(test_a_buffer_is_free_when_it_is_dropped_and_all_its_names_are_back),
        arena_test(test_a_buffer_that_is_not_lent_cannot_be_released),
        arena_test(test_no_more_names_are_out_than_the_peer_can_release),
        arena_test(test_buffers_have_half_of_the_blocks),
        arena_test(test_buffers_have_half_of_the_bytes),
        arena_test(test_impossible_release_counts_are_refused),
        arena_test(test_release_count_that_goes_back_is_refused),
        arena_test(test_references_outside_of_the_arena_are_refused),
        arena_test(test_references_to_arenas_that_cannot_be_are_refused),
        arena_test(test_every_forged_field_of_a_further_arena_is_refused),
        arena_test(test_further_arenas_are_counted_and_bounded),
        arena_test(test_further_arenas_past_the_total_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
