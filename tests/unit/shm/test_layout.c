/*
 * Compares the shared-memory layout, as this compiler lays it out, with its golden copy.
 *
 *   test_shm_layout          compares
 *   test_shm_layout --write  writes the golden copy anew, after an intended change
 *
 * Every struct, field and constant of shm/layout.h has its line here. A field that is forgotten
 * here shows as a gap between its neighbours, which the listing prints too.
 */
#include "support/test.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/layout.h"

#ifndef LAYOUT_GOLDEN
#error "LAYOUT_GOLDEN is the path of tests/golden/layout.txt: tests/meson.build defines it"
#endif

#define LISTING_BYTES_MAX 16384

struct listing {
    char text[LISTING_BYTES_MAX];
    size_t bytes;
    size_t end; /* of the last field, from its struct's start */
};

static void put(struct listing *listing, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void put(struct listing *listing, const char *format, ...)
{
    va_list args;
    size_t left = LISTING_BYTES_MAX - listing->bytes;
    va_start(args, format);
    int written = vsnprintf(listing->text + listing->bytes, left, format, args);
    va_end(args);
    assert_true(written > 0 && (size_t)written < left);
    listing->bytes += (size_t)written;
}

static void put_gap(struct listing *listing, size_t offset)
{
    if (offset != listing->end)
        put(listing, "    %-24s %5zu %5zu\n", "gap", listing->end, offset - listing->end);
}

static void put_field(struct listing *listing, const char *name, size_t offset, size_t bytes)
{
    put_gap(listing, offset);
    put(listing, "    %-24s %5zu %5zu\n", name, offset, bytes);
    listing->end = offset + bytes;
}

#define BEGIN(type)                                                                                \
    put(l, "struct %s: %zu bytes, aligned to %zu\n", #type, sizeof(struct type),                   \
        alignof(struct type));                                                                     \
    l->end = 0
#define FIELD(type, field)                                                                         \
    put_field(l, #field, offsetof(struct type, field), sizeof(((struct type *)0)->field))
#define END(type) put_gap(l, sizeof(struct type))
#define CONSTANT(name) put(l, "%s = %llu\n", #name, (unsigned long long)(name))

static void list_constants(struct listing *l)
{
    CONSTANT(LAYOUT_VERSION);
    CONSTANT(LAYOUT_LINE_BYTES);
    CONSTANT(LAYOUT_APART);
    CONSTANT(LAYOUT_PAGE_BYTES);
    CONSTANT(SEGMENT_MAGIC);
    CONSTANT(SEGMENT_RING_LINES_MIN);
    CONSTANT(SEGMENT_RING_LINES_MAX);
    CONSTANT(SEGMENT_RELEASE_SLOTS_MIN);
    CONSTANT(SEGMENT_RELEASE_SLOTS_MAX);
    CONSTANT(SEGMENT_CELLS_OFFSET);
    CONSTANT(RING_PAD);
    CONSTANT(ring_sequence(0));
    CONSTANT(ring_sequence(1));
    CONSTANT(ring_sequence((UINT64_C(1) << 31) - 1));
    CONSTANT(ring_sequence(UINT64_C(1) << 31));
    CONSTANT(ASLEEP_NOT);
    CONSTANT(ASLEEP_BELL);
    CONSTANT(ASLEEP_WORD);
    CONSTANT(FRAME_REQUEST);
    CONSTANT(FRAME_RESPONSE);
    CONSTANT(FRAME_CANCEL);
    CONSTANT(FRAME_ONE_WAY);
    CONSTANT(FRAME_GOAWAY);
    CONSTANT(FRAME_BYE);
    CONSTANT(FRAME_IN_ARENA);
    CONSTANT(FRAME_TRACED);
    CONSTANT(FRAME_MIRROR);
    CONSTANT(FRAME_IN_RANGE);
    CONSTANT(FRAME_TAG_CLIENT);
    CONSTANT(FRAME_TAG_SERVICE);
    CONSTANT(FRAME_SHARES_MAX);
    CONSTANT(FRAME_STAND_IN_BYTES);
    CONSTANT(FRAME_RETURNS_MAX);
    CONSTANT(ARENA_MAGIC);
    CONSTANT(ROUTE_MAGIC);
    CONSTANT(ROUTE_SLOT_MAX);
    CONSTANT(ROUTE_VERSION_MAX);
    CONSTANT(ROUTE_INSTANCE_MAX);
    CONSTANT(ROUTE_BUCKETS);
    CONSTANT(ROUTE_VERSION_WORDS);
    CONSTANT(ROUTE_KEY_WORDS);
    CONSTANT(ROUTE_MATCHES_MAX);
    CONSTANT(ROUTE_RULE_MAX);
    CONSTANT(ROUTE_CONDITION_MAX);
    CONSTANT(ROUTE_TEXT_WORDS);
    CONSTANT(ROUTE_SLOTS_OFFSET);
    CONSTANT(ROUTE_MATCHES_OFFSET);
    CONSTANT(ROUTE_PAGE_BYTES);
    CONSTANT(ROUTE_INSTANCE_NONE);
    CONSTANT(ROUTE_INSTANCE_UP);
    CONSTANT(ROUTE_INSTANCE_DRAINING);
    CONSTANT(ROUTE_INSTANCE_EJECTED);
    CONSTANT(ROUTE_MATCH_EXACT);
    CONSTANT(ROUTE_MATCH_PREFIX);
    CONSTANT(ROUTE_MATCH_REGEX);
    CONSTANT(ROUTE_MATCH_PRESENT);
    CONSTANT(STATS_MAGIC);
    CONSTANT(STATS_CELL_MAX);
    CONSTANT(STATS_STATUS_COUNT);
    CONSTANT(STATS_BUCKET_COUNT);
    CONSTANT(STATS_NAME_BYTES);
    CONSTANT(STATS_VERSION_BYTES);
    CONSTANT(STATS_CELLS_OFFSET);
    CONSTANT(STATS_INSTANCE_MAX);
    CONSTANT(STATS_INSTANCE_BUCKETS);
    CONSTANT(STATS_INSTANCES_OFFSET);
    CONSTANT(STATS_MIRRORS_OFFSET);
    CONSTANT(ROUTE_TRACE_ON);
    CONSTANT(ROUTE_TRACE_RATE);
    CONSTANT(SPANS_MAGIC);
    CONSTANT(SPANS_SLOT_COUNT);
    CONSTANT(SPANS_SLOTS_OFFSET);
    CONSTANT(SPANS_WORDS);
    CONSTANT(SPANS_TRACE_ID);
    CONSTANT(SPANS_SPAN_ID);
    CONSTANT(SPANS_PARENT_ID);
    CONSTANT(SPANS_START_NS);
    CONSTANT(SPANS_DURATION_NS);
    CONSTANT(SPANS_PEER);
    CONSTANT(SPANS_REST);
    CONSTANT(SPANS_CELL_SHIFT);
    CONSTANT(SPANS_STATUS_SHIFT);
    CONSTANT(SPANS_CLASS_SHIFT);
    CONSTANT(SPANS_EXECUTED_SHIFT);
    CONSTANT(SPANS_ATTEMPTS_SHIFT);
    CONSTANT(SPANS_ONE_WAY_SHIFT);
    CONSTANT(BELL_RING);
    CONSTANT(BELL_ACCEPT);
    CONSTANT(BELL_REJECT);
    CONSTANT(BELL_GROW);
    CONSTANT(BELL_BROKEN);
    CONSTANT(BELL_GROW_RING);
    CONSTANT(RING_MOVED);
    CONSTANT(RING_MAGIC);
}

static void list_segment(struct listing *l)
{
    BEGIN(segment_header);
    FIELD(segment_header, magic);
    FIELD(segment_header, version);
    FIELD(segment_header, ring_lines);
    FIELD(segment_header, release_slots);
    FIELD(segment_header, ring_offset);
    FIELD(segment_header, release_offset);
    FIELD(segment_header, arena_offset);
    FIELD(segment_header, arena_bytes);
    END(segment_header);
    BEGIN(segment_cells);
    FIELD(segment_cells, consumed);
    FIELD(segment_cells, released);
    FIELD(segment_cells, load);
    FIELD(segment_cells, asleep);
    FIELD(segment_cells, blocked);
    FIELD(segment_cells, cpu);
    FIELD(segment_cells, barrier);
    FIELD(segment_cells, unfenced);
    END(segment_cells);
    BEGIN(ring_prefix);
    FIELD(ring_prefix, sequence);
    FIELD(ring_prefix, bytes);
    END(ring_prefix);
    BEGIN(arena_header);
    FIELD(arena_header, magic);
    FIELD(arena_header, version);
    FIELD(arena_header, segment);
    FIELD(arena_header, offset);
    FIELD(arena_header, bytes);
    END(arena_header);
    BEGIN(ring_header);
    FIELD(ring_header, magic);
    FIELD(ring_header, version);
    FIELD(ring_header, ring_lines);
    FIELD(ring_header, offset);
    END(ring_header);
}

static void list_frame(struct listing *l)
{
    BEGIN(frame_header);
    FIELD(frame_header, call_id);
    FIELD(frame_header, payload_bytes);
    FIELD(frame_header, time_left_us);
    FIELD(frame_header, metadata_bytes);
    FIELD(frame_header, method);
    FIELD(frame_header, version_tag);
    FIELD(frame_header, kind);
    FIELD(frame_header, flags);
    FIELD(frame_header, status);
    FIELD(frame_header, executed);
    FIELD(frame_header, plan_tag);
    FIELD(frame_header, share_count);
    FIELD(frame_header, return_count);
    FIELD(frame_header, reserved);
    END(frame_header);
    BEGIN(frame_trace);
    FIELD(frame_trace, trace_id);
    FIELD(frame_trace, span_id);
    END(frame_trace);
    BEGIN(frame_ref);
    FIELD(frame_ref, block);
    FIELD(frame_ref, segment);
    FIELD(frame_ref, offset);
    END(frame_ref);
    BEGIN(frame_stand_in);
    FIELD(frame_stand_in, block);
    FIELD(frame_stand_in, segment);
    FIELD(frame_stand_in, offset);
    FIELD(frame_stand_in, bytes);
    END(frame_stand_in);
    BEGIN(bell_packet);
    FIELD(bell_packet, kind);
    FIELD(bell_packet, status);
    FIELD(bell_packet, reserved);
    FIELD(bell_packet, instance_id);
    FIELD(bell_packet, text);
    END(bell_packet);
}

static void list_pages(struct listing *l)
{
    BEGIN(route_header);
    FIELD(route_header, magic);
    FIELD(route_header, version);
    FIELD(route_header, slot_count);
    FIELD(route_header, slot_bytes);
    FIELD(route_header, broker_id);
    FIELD(route_header, matches_count);
    FIELD(route_header, matches_bytes);
    FIELD(route_header, trace_per_100000);
    FIELD(route_header, reserved);
    END(route_header);
    BEGIN(route_slot);
    FIELD(route_slot, sequence);
    FIELD(route_slot, version_count);
    FIELD(route_slot, instance_count);
    FIELD(route_slot, rollout);
    FIELD(route_slot, generation);
    FIELD(route_slot, salt);
    FIELD(route_slot, threshold);
    FIELD(route_slot, instance_id);
    FIELD(route_slot, instance_state);
    FIELD(route_slot, instance_version);
    FIELD(route_slot, version_name);
    FIELD(route_slot, sticky_key);
    FIELD(route_slot, stable_version);
    FIELD(route_slot, canary_version);
    FIELD(route_slot, canary_buckets);
    FIELD(route_slot, mirror_version);
    FIELD(route_slot, mirror_buckets);
    FIELD(route_slot, matches);
    FIELD(route_slot, matches_sequence);
    END(route_slot);
    BEGIN(route_condition);
    FIELD(route_condition, rule);
    FIELD(route_condition, kind);
    FIELD(route_condition, key_bytes);
    FIELD(route_condition, reserved);
    FIELD(route_condition, key_at);
    FIELD(route_condition, value_bytes);
    END(route_condition);
    BEGIN(route_matches);
    FIELD(route_matches, rule_count);
    FIELD(route_matches, condition_count);
    FIELD(route_matches, text_bytes);
    FIELD(route_matches, reserved);
    FIELD(route_matches, rule_version);
    FIELD(route_matches, condition);
    FIELD(route_matches, text);
    END(route_matches);
    BEGIN(stats_header);
    FIELD(stats_header, magic);
    FIELD(stats_header, version);
    FIELD(stats_header, cell_bytes);
    FIELD(stats_header, cell_max);
    FIELD(stats_header, endpoint_id);
    FIELD(stats_header, cell_count);
    FIELD(stats_header, instance_count);
    FIELD(stats_header, wakeups);
    FIELD(stats_header, doorbells);
    FIELD(stats_header, ring_full);
    FIELD(stats_header, late_replies);
    FIELD(stats_header, channels);
    FIELD(stats_header, spins_hit);
    FIELD(stats_header, spins_missed);
    FIELD(stats_header, reserved_too);
    END(stats_header);
    BEGIN(stats_cell);
    FIELD(stats_cell, interface_name);
    FIELD(stats_cell, method);
    FIELD(stats_cell, asked);
    FIELD(stats_cell, served);
    FIELD(stats_cell, side);
    FIELD(stats_cell, translation);
    FIELD(stats_cell, started);
    FIELD(stats_cell, translated);
    FIELD(stats_cell, retried);
    FIELD(stats_cell, latency_sum_ns);
    FIELD(stats_cell, by_status);
    FIELD(stats_cell, bucket);
    FIELD(stats_cell, crossing_count);
    FIELD(stats_cell, crossing_sum_ns);
    END(stats_cell);
    BEGIN(stats_instance);
    FIELD(stats_instance, instance_id);
    FIELD(stats_instance, ended);
    FIELD(stats_instance, failed);
    FIELD(stats_instance, failed_in_a_row);
    FIELD(stats_instance, reserved);
    FIELD(stats_instance, bucket);
    END(stats_instance);
    BEGIN(stats_mirror);
    FIELD(stats_mirror, sent);
    FIELD(stats_mirror, differ);
    FIELD(stats_mirror, failed);
    FIELD(stats_mirror, skipped);
    END(stats_mirror);
    BEGIN(spans_header);
    FIELD(spans_header, magic);
    FIELD(spans_header, version);
    FIELD(spans_header, slot_count);
    FIELD(spans_header, slot_bytes);
    FIELD(spans_header, endpoint_id);
    FIELD(spans_header, begun);
    FIELD(spans_header, written);
    END(spans_header);
    BEGIN(spans_slot);
    FIELD(spans_slot, word);
    END(spans_slot);
}

static const struct listing *list_all(void)
{
    static struct listing listing;
    listing = (struct listing){0};
    put(&listing,
        "# Struct: fields with offset and size in bytes. tests/unit/shm/test_layout.c.\n");
    list_constants(&listing);
    list_segment(&listing);
    list_frame(&listing);
    list_pages(&listing);
    return &listing;
}

/* Where the two first differ: a line of each, "(end)" for none. */
static void fail_at_difference(const char *golden, const char *now)
{
    int line = 1;
    const char *golden_line = golden, *now_line = now;
    for (size_t i = 0; golden[i] == now[i] && golden[i] != '\0'; i++) {
        if (golden[i] == '\n') {
            line++;
            golden_line = golden + i + 1;
            now_line = now + i + 1;
        }
    }
    fail_msg("the shared-memory layout has changed: line %d of tests/golden/layout.txt was\n"
             "    %.*s\nand is now\n    %.*s\n"
             "Processes built before and after the change would misread each other. If it is\n"
             "intended: raise LAYOUT_VERSION in bus/shm/layout.h, describe the change in\n"
             "docs/LAYOUT.md, and run `test_shm_layout --write`. If not: undo it.",
             line, (int)strcspn(golden_line, "\n"), golden_line, (int)strcspn(now_line, "\n"),
             now_line);
}

static void test_layout_is_the_golden_one(void **state)
{
    (void)state;
    static char golden[LISTING_BYTES_MAX];
    FILE *file = fopen(LAYOUT_GOLDEN, "re");
    if (!file)
        fail_msg("%s is missing: run `test_shm_layout --write`", LAYOUT_GOLDEN);
    size_t bytes = fread(golden, 1, sizeof(golden) - 1, file);
    (void)fclose(file);
    golden[bytes] = '\0';
    const struct listing *now = list_all();
    if (strcmp(golden, now->text) != 0)
        fail_at_difference(golden, now->text);
}

static void test_what_two_processes_write_is_apart(void **state)
{
    (void)state;
    /* A line with a cell that one side writes holds nothing that the other side writes: each
     * segment has one writer, and its cells begin and end on boundaries of their own. */
    assert_int_equal(SEGMENT_CELLS_OFFSET % LAYOUT_APART, 0);
    assert_int_equal(sizeof(struct segment_cells) % LAYOUT_APART, 0);
    assert_true(SEGMENT_CELLS_OFFSET >= sizeof(struct segment_header));
    assert_int_equal(ROUTE_SLOTS_OFFSET % alignof(struct route_slot), 0);
    assert_true(ROUTE_SLOTS_OFFSET >= sizeof(struct route_header));
    assert_int_equal(ROUTE_MATCHES_OFFSET % alignof(struct route_matches), 0);
    assert_int_equal(STATS_CELLS_OFFSET % alignof(struct stats_cell), 0);
    assert_true(STATS_CELLS_OFFSET >= sizeof(struct stats_header));
}

static int write_golden(void)
{
    const struct listing *now = list_all();
    FILE *file = fopen(LAYOUT_GOLDEN, "we");
    if (!file || fputs(now->text, file) < 0 || fclose(file) != 0) {
        perror(LAYOUT_GOLDEN);
        return 1;
    }
    printf("wrote %s\n", LAYOUT_GOLDEN);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--write") == 0)
        return write_golden();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout_is_the_golden_one),
        cmocka_unit_test(test_what_two_processes_write_is_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
