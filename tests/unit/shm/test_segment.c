#include "support/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "shm/shm.h"
#include "unit/shm/pair.h"

static void test_default_segment_is_small_and_maps(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, NULL);
    assert_int_equal(pair.a.ours.region.bytes,
                     4096 + SEGMENT_RING_LINES_DEFAULT * 64 + SEGMENT_ARENA_BYTES_DEFAULT);
    assert_int_equal(pair.b.peer.ring_lines, SEGMENT_RING_LINES_DEFAULT);
    assert_int_equal(pair.b.peer.release_slots, SEGMENT_RELEASE_SLOTS_DEFAULT);
    assert_int_equal(pair.b.peer.arenas[0].bytes, SEGMENT_ARENA_BYTES_DEFAULT);
    pair_deinit(&pair);
}

static void test_parts_do_not_overlap_at_any_size(void **state)
{
    (void)state;
    const uint32_t lines[] = {SEGMENT_RING_LINES_MIN, SEGMENT_RING_LINES_MAX};
    const uint32_t slots[] = {SEGMENT_RELEASE_SLOTS_MIN, SEGMENT_RELEASE_SLOTS_MAX};
    const uint32_t bytes[] = {1, 5000, SEGMENT_ARENA_BYTES_MAX};
    for (int i = 0; i < 12; i++) {
        struct segment_options options = {lines[i & 1], slots[i >> 1 & 1], bytes[i >> 2]};
        struct segment ours = {0};
        struct peer_segment peer = {0};
        struct error_text error = {""};
        assert_int_equal(segment_create(&ours, &options, &error), 0);
        const struct segment_header *header = ours.region.base;
        assert_true(header->release_offset >= SEGMENT_CELLS_OFFSET + sizeof(struct segment_cells));
        assert_true(header->ring_offset >=
                    header->release_offset + header->release_slots * sizeof(uint32_t));
        assert_true(header->arena_offset >=
                    header->ring_offset + header->ring_lines * LAYOUT_LINE_BYTES);
        assert_true(header->arena_bytes >= options.arena_bytes);
        assert_int_equal(header->arena_offset + header->arena_bytes, ours.region.bytes);
        assert_int_equal(header->ring_offset % LAYOUT_APART, 0);
        assert_int_equal(header->arena_offset % LAYOUT_APART, 0);
        assert_int_equal(peer_segment_map(&peer, ours.region.fd, &error), 0);
        peer_segment_deinit(&peer);
        segment_deinit(&ours);
    }
}

static void assert_impossible(struct segment_options options)
{
    struct segment segment = {0};
    struct error_text error = {""};
    assert_int_equal(segment_create(&segment, &options, &error), -EINVAL);
    assert_true(error.text[0] != '\0');
    assert_null(segment.region.base);
    segment_deinit(&segment);
}

static void test_impossible_options_are_refused(void **state)
{
    (void)state;
    assert_impossible((struct segment_options){.ring_lines = 32});
    assert_impossible((struct segment_options){.ring_lines = 65});
    assert_impossible((struct segment_options){.ring_lines = SEGMENT_RING_LINES_MAX * 2});
    assert_impossible((struct segment_options){.release_slots = 32});
    assert_impossible((struct segment_options){.release_slots = 100});
    assert_impossible((struct segment_options){.release_slots = SEGMENT_RELEASE_SLOTS_MAX * 2});
    assert_impossible((struct segment_options){.arena_bytes = SEGMENT_ARENA_BYTES_MAX + 1});
    assert_impossible((struct segment_options){.arena_bytes = UINT32_MAX});
}

static void test_deinit_is_safe_on_zeroed_ones_and_twice(void **state)
{
    (void)state;
    struct pair pair = {0};
    pair_deinit(&pair);
    pair_init(&pair, NULL);
    pair_deinit(&pair);
    pair_deinit(&pair);
}

/* ---- A hostile header ---- */

struct forgery {
    size_t field; /* offset in struct segment_header */
    uint32_t value;
    const char *words; /* of the sentence */
};

/* Lines at 4096, arena at 4096 + 16384, 8192 bytes of it: 28,672 in all. */
static const struct segment_options with_arena = {.arena_bytes = 8192};
static const struct forgery forgeries[] = {
    {offsetof(struct segment_header, magic), 0, "no channel segment"},
    {offsetof(struct segment_header, magic), ARENA_MAGIC, "no channel segment"},
    {offsetof(struct segment_header, version), 0, "layout version 0"},
    {offsetof(struct segment_header, version), LAYOUT_VERSION + 1, "same release"},
    {offsetof(struct segment_header, ring_lines), 0, "ring of 0 lines"},
    {offsetof(struct segment_header, ring_lines), 32, "ring of 32 lines"},
    {offsetof(struct segment_header, ring_lines), 255, "ring of 255 lines"},
    {offsetof(struct segment_header, ring_lines), 512, "ring of 512 lines"},
    {offsetof(struct segment_header, ring_lines), 65536, "ring of 65536 lines"},
    {offsetof(struct segment_header, ring_lines), UINT32_C(1) << 31, "lines"},
    {offsetof(struct segment_header, ring_offset), 0, "lines at 0"},
    {offsetof(struct segment_header, ring_offset), 320, "lines at 320"},
    {offsetof(struct segment_header, ring_offset), 4097, "lines at 4097"},
    {offsetof(struct segment_header, ring_offset), 28672 - 16384 + 64, "lines at"},
    {offsetof(struct segment_header, ring_offset), UINT32_MAX - 63, "lines at"},
    {offsetof(struct segment_header, release_slots), 0, "0 release slots"},
    {offsetof(struct segment_header, release_slots), 32, "32 release slots"},
    {offsetof(struct segment_header, release_slots), 65, "65 release slots"},
    {offsetof(struct segment_header, release_slots), 8192, "8192 release slots"},
    {offsetof(struct segment_header, release_offset), 0, "release slots at 0"},
    {offsetof(struct segment_header, release_offset), 386, "release slots at 386"},
    {offsetof(struct segment_header, release_offset), 28672 - 192, "release slots at"},
    {offsetof(struct segment_header, release_offset), UINT32_MAX - 63, "release slots at"},
    {offsetof(struct segment_header, arena_offset), 0, "bytes at 0"},
    {offsetof(struct segment_header, arena_offset), 28672 - 8192 + 64, "an arena of"},
    {offsetof(struct segment_header, arena_offset), UINT32_MAX - 63, "an arena of"},
    {offsetof(struct segment_header, arena_bytes), 8193, "an arena of 8193"},
    {offsetof(struct segment_header, arena_bytes), SEGMENT_ARENA_BYTES_MAX + 1, "an arena of"},
    {offsetof(struct segment_header, arena_bytes), UINT32_MAX, "an arena of"},
};

static void test_every_forged_header_field_is_refused_with_a_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(forgeries) / sizeof(forgeries[0]); i++) {
        struct segment hostile = {0};
        struct peer_segment peer = {0};
        struct error_text error = {""};
        assert_int_equal(segment_create(&hostile, &with_arena, NULL), 0);
        memcpy((uint8_t *)hostile.region.base + forgeries[i].field, &forgeries[i].value,
               sizeof(forgeries[i].value));
        assert_int_equal(peer_segment_map(&peer, hostile.region.fd, &error), -EPROTO);
        if (!strstr(error.text, forgeries[i].words))
            fail_msg("forgery %zu: \"%s\" lacks \"%s\"", i, error.text, forgeries[i].words);
        assert_null(peer.region.base);
        segment_deinit(&hostile);
    }
}

static void test_offsets_at_the_very_end_are_accepted(void **state)
{
    (void)state;
    struct segment odd = {0};
    struct peer_segment peer = {0};
    struct error_text error = {""};
    assert_int_equal(segment_create(&odd, &with_arena, NULL), 0);
    struct segment_header *header = odd.region.base;
    header->ring_offset = 28672 - 16384;
    header->release_offset = 28672 - 256;
    header->arena_offset = 28672;
    header->arena_bytes = 0;
    assert_int_equal(peer_segment_map(&peer, odd.region.fd, &error), 0);
    const uint8_t *data = NULL;
    assert_int_equal(arena_resolve(&peer, &(struct frame_ref){.block = 1}, 1, &data), -EPROTO);
    peer_segment_deinit(&peer);
    segment_deinit(&odd);
}

static void test_a_header_forged_after_mapping_changes_nothing(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, NULL);
    memset(pair.a.ours.region.base, 0xff, sizeof(struct segment_header));
    void *body = NULL;
    const void *seen = NULL;
    uint32_t bytes = 0;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(ring_reserve(&pair.a.ours, &pair.a.peer, 1000, &body), 0);
        ring_commit(&pair.a.ours, 1000);
        assert_int_equal(ring_peek(&pair.b.peer, &seen, &bytes), 0);
        ring_consume(&pair.b.peer, &pair.b.ours);
    }
    pair_deinit(&pair);
}

static void test_regions_too_small_and_too_large_are_refused(void **state)
{
    (void)state;
    struct peer_segment peer = {0};
    struct error_text error = {""};
    struct region region = REGION_NONE;
    assert_int_equal(region_create(&region, "test", 4096, NULL), 0);
    assert_int_equal(peer_segment_map(&peer, region.fd, &error), -EPROTO);
    assert_non_null(strstr(error.text, "truncated"));
    region_deinit(&region);
    assert_int_equal(region_create(&region, "test", UINT32_C(70) << 20, NULL), 0);
    assert_int_equal(peer_segment_map(&peer, region.fd, &error), -EPROTO);
    assert_non_null(strstr(error.text, "too large"));
    region_deinit(&region);
    assert_null(peer.region.base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_segment_is_small_and_maps),
        cmocka_unit_test(test_parts_do_not_overlap_at_any_size),
        cmocka_unit_test(test_impossible_options_are_refused),
        cmocka_unit_test(test_deinit_is_safe_on_zeroed_ones_and_twice),
        cmocka_unit_test(test_every_forged_header_field_is_refused_with_a_sentence),
        cmocka_unit_test(test_offsets_at_the_very_end_are_accepted),
        cmocka_unit_test(test_a_header_forged_after_mapping_changes_nothing),
        cmocka_unit_test(test_regions_too_small_and_too_large_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
