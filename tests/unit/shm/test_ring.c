#include "support/test.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/random.h"
#include "shm/shm.h"
#include "unit/shm/pair.h"

#define LINES 64u
#define LINE_BODY_BYTES (LAYOUT_LINE_BYTES - (uint32_t)sizeof(struct ring_prefix))
#define BYTES_MAX ring_record_bytes_max(LINES)

static const struct segment_options small = {.ring_lines = LINES};

static int setup(void **state)
{
    static struct pair pair;
    pair_init(&pair, &small);
    *state = &pair;
    return 0;
}

static int teardown(void **state)
{
    pair_deinit(*state);
    return 0;
}

static void push(struct pair *pair, const void *data, uint32_t bytes)
{
    void *body = NULL;
    assert_int_equal(ring_reserve(&pair->a.ours, &pair->a.peer, bytes, &body), 0);
    memcpy(body, data, bytes);
    ring_commit(&pair->a.ours, bytes);
}

/* b takes one record, which must be @data. */
static void take(struct pair *pair, const void *data, uint32_t bytes)
{
    const void *body = NULL;
    uint32_t got = 0;
    assert_true(ring_pending(&pair->b.peer));
    assert_int_equal(ring_peek(&pair->b.peer, &body, &got), 0);
    assert_int_equal(got, bytes);
    assert_memory_equal(body, data, bytes);
    ring_consume(&pair->b.peer, &pair->b.ours);
}

static void assert_empty(struct pair *pair)
{
    const void *body = NULL;
    uint32_t bytes = 0;
    assert_false(ring_pending(&pair->b.peer));
    assert_int_equal(ring_peek(&pair->b.peer, &body, &bytes), RING_E_EMPTY);
}

static struct ring_prefix *prefix_of_a(struct pair *pair, uint32_t index)
{
    return (struct ring_prefix *)(pair->a.ours.ring + index * LAYOUT_LINE_BYTES);
}

/* The same of the ring that it has left. */
static struct ring_prefix *prefix_of_a_before(struct pair *pair, uint32_t index)
{
    return (struct ring_prefix *)(uintptr_t)(pair->a.ours.ring_before + index * LAYOUT_LINE_BYTES);
}

/* Moves both sides' cursors to @position as if the channel had come that far. */
static void begin_at(struct pair *pair, uint64_t position)
{
    pair->a.ours.head = position;
    pair->a.ours.peer_consumed = position;
    pair->b.peer.tail = position;
    atomic_store(&pair->b.ours.cells->consumed, position);
}

static int peek_at_b(struct pair *pair)
{
    const void *body = NULL;
    uint32_t bytes = 0;
    return ring_peek(&pair->b.peer, &body, &bytes);
}

/* ---- What it does ---- */

static void test_new_ring_is_empty(void **state)
{
    assert_empty(*state);
}

static void test_unattached_peer_is_empty_and_has_consumed_nothing(void **state)
{
    struct pair *pair = *state;
    struct peer_segment none = {0};
    const void *body = NULL;
    void *own = NULL;
    uint32_t bytes = 0;
    assert_int_equal(ring_peek(&none, &body, &bytes), RING_E_EMPTY);
    assert_int_equal(ring_reserve(&pair->a.ours, &none, 8, &own), 0);
    ring_commit(&pair->a.ours, 8);
    assert_int_equal(peer_consumed(&pair->a.ours, &none), 0);
    assert_false(peer_asleep(&none));
    assert_false(peer_blocked(&none));
    assert_int_equal(release_take(&pair->a.ours, &none), 0);
}

static void test_records_of_every_size_arrive_whole_and_in_order(void **state)
{
    struct pair *pair = *state;
    uint8_t data[LINES / 4 * LAYOUT_LINE_BYTES];
    for (uint32_t bytes = 1; bytes <= BYTES_MAX; bytes++) {
        memset(data, (int)(bytes % 251) + 1, bytes);
        push(pair, data, bytes);
        uint8_t second = (uint8_t)~bytes;
        push(pair, &second, 1);
        take(pair, data, bytes);
        take(pair, &second, 1);
        assert_empty(pair);
    }
}

static void test_body_is_aligned_and_nothing_shows_before_commit(void **state)
{
    struct pair *pair = *state;
    void *body = NULL;
    assert_int_equal(ring_reserve(&pair->a.ours, &pair->a.peer, 100, &body), 0);
    assert_int_equal((uintptr_t)body % 8, 0);
    memset(body, 0xff, 100);
    assert_empty(pair);
    ring_commit(&pair->a.ours, 100);
    assert_true(ring_pending(&pair->b.peer));
}

static void test_largest_record_passes_and_one_more_byte_is_refused(void **state)
{
    struct pair *pair = *state;
    void *body = NULL;
    assert_int_equal(ring_reserve(&pair->a.ours, &pair->a.peer, BYTES_MAX, &body), 0);
    assert_int_equal(ring_reserve(&pair->a.ours, &pair->a.peer, BYTES_MAX + 1, &body), -EMSGSIZE);
    assert_int_equal(ring_reserve(&pair->a.ours, &pair->a.peer, UINT32_MAX, &body), -EMSGSIZE);
    assert_int_equal(ring_reserve(&pair->a.ours, &pair->a.peer, 0, &body), -EMSGSIZE);
}

static void test_full_ring_reports_full_with_one_line_spare(void **state)
{
    struct pair *pair = *state;
    void *body = NULL;
    const uint64_t word = 42;
    for (uint32_t i = 0; i < LINES - 1; i++)
        push(pair, &word, sizeof(word));
    assert_int_equal(ring_reserve(&pair->a.ours, &pair->a.peer, 1, &body), RING_E_FULL);
    take(pair, &word, sizeof(word));
    assert_int_equal(ring_reserve(&pair->a.ours, &pair->a.peer, LINE_BODY_BYTES + 1, &body),
                     RING_E_FULL);
    push(pair, &word, sizeof(word));
    assert_int_equal(ring_reserve(&pair->a.ours, &pair->a.peer, 1, &body), RING_E_FULL);
    for (uint32_t i = 0; i < LINES - 1; i++)
        take(pair, &word, sizeof(word));
    assert_empty(pair);
}

static void test_record_that_does_not_fit_before_the_end_goes_to_the_start(void **state)
{
    struct pair *pair = *state;
    uint8_t data[5 * LAYOUT_LINE_BYTES];
    memset(data, 7, sizeof(data));
    begin_at(pair, LINES - 3);
    push(pair, data, 4 * LAYOUT_LINE_BYTES);
    assert_int_equal(prefix_of_a(pair, LINES - 3)->bytes, RING_PAD);
    take(pair, data, 4 * LAYOUT_LINE_BYTES);
    assert_int_equal(pair->b.peer.tail, LINES + 5);
    assert_int_equal(peer_consumed(&pair->a.ours, &pair->a.peer), LINES + 5);
    assert_empty(pair);
}

static void test_record_that_ends_at_the_end_needs_no_pad(void **state)
{
    struct pair *pair = *state;
    uint8_t data[3 * LAYOUT_LINE_BYTES - sizeof(struct ring_prefix)];
    memset(data, 9, sizeof(data));
    begin_at(pair, LINES - 3);
    push(pair, data, sizeof(data));
    take(pair, data, sizeof(data));
    assert_int_equal(pair->b.peer.tail, LINES);
    push(pair, data, sizeof(data));
    take(pair, data, sizeof(data));
}

static void test_pad_counts_towards_full(void **state)
{
    struct pair *pair = *state;
    void *body = NULL;
    begin_at(pair, LINES - 3);
    /* 3 lines of padding, then 13 records of 4 lines: 55 of 64, and 9 are left. */
    uint8_t data[4 * LAYOUT_LINE_BYTES - sizeof(struct ring_prefix)] = {0};
    for (int i = 0; i < 13; i++)
        push(pair, data, sizeof(data));
    assert_int_equal(ring_reserve(&pair->a.ours, &pair->a.peer, 9 * LAYOUT_LINE_BYTES - 8, &body),
                     RING_E_FULL);
    assert_int_equal(ring_reserve(&pair->a.ours, &pair->a.peer, 8 * LAYOUT_LINE_BYTES - 8, &body),
                     0);
}

static void test_commit_may_be_shorter_than_what_was_reserved(void **state)
{
    struct pair *pair = *state;
    void *body = NULL;
    for (uint32_t round = 0; round < 3 * LINES; round++) {
        assert_int_equal(ring_reserve(&pair->a.ours, &pair->a.peer, 400, &body), 0);
        memset(body, 0xff, 400);
        memcpy(body, &round, sizeof(round));
        ring_commit(&pair->a.ours, sizeof(round));
        take(pair, &round, sizeof(round));
        assert_empty(pair);
    }
}

static void test_second_reserve_drops_the_first(void **state)
{
    struct pair *pair = *state;
    void *first = NULL, *second = NULL;
    assert_int_equal(ring_reserve(&pair->a.ours, &pair->a.peer, 900, &first), 0);
    memset(first, 0xff, 900);
    assert_int_equal(ring_reserve(&pair->a.ours, &pair->a.peer, 3, &second), 0);
    assert_ptr_equal(first, second);
    memcpy(second, "abc", 3);
    ring_commit(&pair->a.ours, 3);
    take(pair, "abc", 3);
    assert_empty(pair);
}

/* Fills memory that will hold a record's body with what would be valid prefixes in the next lap, at
 * whichever line one were read. */
static void write_forged_prefixes(struct pair *pair, uint8_t *body, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        uint32_t offset = (uint32_t)(body + i - pair->a.ours.ring);
        uint32_t line = offset / LAYOUT_LINE_BYTES;
        uint64_t position = pair->a.ours.head / LINES * LINES + line;
        while (position <= pair->a.ours.head)
            position += LINES;
        struct ring_prefix forged = {.bytes = 8};
        atomic_init(&forged.sequence, ring_sequence(position));
        uint32_t within = offset % LAYOUT_LINE_BYTES;
        body[i] = within < sizeof(forged) ? ((const uint8_t *)&forged)[within] : 0xee;
    }
}

static void test_stale_payload_is_never_taken_for_a_record(void **state)
{
    struct pair *pair = *state;
    uint64_t seed = 1;
    void *body = NULL;
    for (int round = 0; round < 200000; round++) {
        uint32_t reserved = 1 + random_below(&seed, random_below(&seed, 4) ? 200 : BYTES_MAX);
        int r = ring_reserve(&pair->a.ours, &pair->a.peer, reserved, &body);
        if (r == 0) {
            write_forged_prefixes(pair, body, reserved);
            if (random_below(&seed, 4) != 0)
                ring_commit(&pair->a.ours, 1 + random_below(&seed, reserved));
        }
        /* Now and then let it fill up, else empty it. The consumer must end where the producer is.
         */
        while (random_below(&seed, 3) != 0 && peek_at_b(pair) == 0)
            ring_consume(&pair->b.peer, &pair->b.ours);
        if (random_below(&seed, 8) == 0) {
            while ((r = peek_at_b(pair)) == 0)
                ring_consume(&pair->b.peer, &pair->b.ours);
            assert_int_equal(r, RING_E_EMPTY);
            assert_int_equal(pair->b.peer.tail, pair->a.ours.head);
        }
    }
}

static void test_sequences_survive_the_wrap_of_their_32_bits(void **state)
{
    struct pair *pair = *state;
    const uint64_t starts[] = {(UINT64_C(1) << 31) - 70, (UINT64_C(1) << 32) - 70};
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        begin_at(pair, starts[i]);
        memset(pair->a.ours.ring, 0, LINES * LAYOUT_LINE_BYTES);
        for (uint32_t word = 0; word < 4 * LINES; word++) {
            push(pair, &word, sizeof(word));
            take(pair, &word, sizeof(word));
            assert_empty(pair);
        }
    }
}

static void test_consumed_position_tells_what_the_peer_has_taken(void **state)
{
    struct pair *pair = *state;
    push(pair, "one", 3);
    push(pair, "two", 3);
    assert_int_equal(peer_consumed(&pair->a.ours, &pair->a.peer), 0);
    take(pair, "one", 3);
    assert_int_equal(peer_consumed(&pair->a.ours, &pair->a.peer), 1);
    take(pair, "two", 3);
    assert_int_equal(peer_consumed(&pair->a.ours, &pair->a.peer), pair->a.ours.head);
}

static void test_flags_are_seen_by_the_peer_until_cleared(void **state)
{
    struct pair *pair = *state;
    assert_false(peer_asleep(&pair->b.peer));
    asleep_set(&pair->a.ours, &pair->a.peer, ASLEEP_BELL);
    assert_true(peer_asleep(&pair->b.peer));
    assert_false(peer_blocked(&pair->b.peer));
    asleep_clear(&pair->a.ours);
    assert_false(peer_asleep(&pair->b.peer));
    blocked_set(&pair->a.ours);
    assert_true(peer_blocked(&pair->b.peer));
    assert_false(peer_asleep(&pair->b.peer));
    blocked_clear(&pair->a.ours);
    assert_false(peer_blocked(&pair->b.peer));
}

/* ---- A hostile reader ---- */

static void fill(struct pair *pair)
{
    void *body = NULL;
    while (ring_reserve(&pair->a.ours, &pair->a.peer, 8, &body) == 0)
        ring_commit(&pair->a.ours, 8);
}

static void test_consumed_position_beyond_what_was_sent_is_refused(void **state)
{
    struct pair *pair = *state;
    void *body = NULL;
    fill(pair);
    const uint64_t forged[] = {LINES, UINT64_MAX, UINT64_C(1) << 32};
    for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
        atomic_store(&pair->b.ours.cells->consumed, forged[i]);
        assert_int_equal(ring_reserve(&pair->a.ours, &pair->a.peer, 8, &body), -EPROTO);
        assert_int_equal(peer_consumed(&pair->a.ours, &pair->a.peer), pair->a.ours.head);
    }
    atomic_store(&pair->b.ours.cells->consumed, pair->a.ours.head);
    assert_int_equal(ring_reserve(&pair->a.ours, &pair->a.peer, 8, &body), 0);
}

static void test_consumed_position_that_goes_back_is_refused(void **state)
{
    struct pair *pair = *state;
    void *body = NULL;
    fill(pair);
    atomic_store(&pair->b.ours.cells->consumed, 10);
    fill(pair); /* has seen 10 */
    atomic_store(&pair->b.ours.cells->consumed, 9);
    assert_int_equal(ring_reserve(&pair->a.ours, &pair->a.peer, 8, &body), -EPROTO);
    assert_int_equal(peer_consumed(&pair->a.ours, &pair->a.peer), 10);
}

/* ---- A hostile writer ---- */

/* The writer puts @bytes in a record at line @index, where b is. */
static int peek_forged(struct pair *pair, uint32_t index, uint32_t bytes)
{
    pair->b.peer.tail = index;
    prefix_of_a(pair, index)->bytes = bytes;
    atomic_store(&prefix_of_a(pair, index)->sequence, ring_sequence(index));
    return peek_at_b(pair);
}

static void test_absurd_lengths_are_refused(void **state)
{
    struct pair *pair = *state;
    assert_int_equal(peek_forged(pair, 0, 0), -EPROTO);
    assert_int_equal(peek_forged(pair, 0, BYTES_MAX), 0);
    assert_int_equal(peek_forged(pair, 0, BYTES_MAX + 1), -EPROTO);
    assert_int_equal(peek_forged(pair, 0, LINES * LAYOUT_LINE_BYTES), -EPROTO);
    assert_int_equal(peek_forged(pair, 0, INT32_MAX), -EPROTO);
    assert_int_equal(peek_forged(pair, 0, UINT32_MAX - 2), -EPROTO);
}

static void test_record_over_the_ring_s_end_is_refused(void **state)
{
    struct pair *pair = *state;
    assert_int_equal(peek_forged(pair, LINES - 2, 2 * LAYOUT_LINE_BYTES - 8), 0);
    assert_int_equal(peek_forged(pair, LINES - 2, 2 * LAYOUT_LINE_BYTES - 7), -EPROTO);
    assert_int_equal(peek_forged(pair, LINES - 1, BYTES_MAX), -EPROTO);
}

static void test_pad_at_the_start_is_refused(void **state)
{
    struct pair *pair = *state;
    assert_int_equal(peek_forged(pair, 0, RING_PAD), -EPROTO);
    assert_int_equal(pair->b.peer.tail, 0);
    /* A pad that leads to a pad. */
    prefix_of_a(pair, 0)->bytes = RING_PAD;
    atomic_store(&prefix_of_a(pair, 0)->sequence, ring_sequence(LINES));
    assert_int_equal(peek_forged(pair, 5, RING_PAD), -EPROTO);
}

static void test_pad_with_nothing_behind_it_is_empty(void **state)
{
    struct pair *pair = *state;
    assert_int_equal(peek_forged(pair, 5, RING_PAD), RING_E_EMPTY);
    assert_int_equal(peek_at_b(pair), RING_E_EMPTY);
}

static void test_wrong_sequence_is_refused(void **state)
{
    struct pair *pair = *state;
    const uint32_t forged[] = {2, 3, UINT32_MAX, ring_sequence(LINES)};
    for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
        atomic_store(&prefix_of_a(pair, 0)->sequence, forged[i]);
        assert_false(ring_pending(&pair->b.peer));
        assert_int_equal(peek_at_b(pair), -EPROTO);
    }
}

static void test_random_ring_contents_never_lead_outside(void **state)
{
    struct pair *pair = *state;
    uint64_t seed = 7;
    uint64_t sum = 0;
    for (int round = 0; round < 50000; round++) {
        uint32_t index = random_below(&seed, LINES);
        uint32_t bytes = random_below(&seed, 2) ? random_below(&seed, 2 * BYTES_MAX) : RING_PAD;
        const void *body = NULL;
        uint32_t got = 0;
        prefix_of_a(pair, 0)->bytes = random_below(&seed, 2 * BYTES_MAX);
        atomic_store(&prefix_of_a(pair, 0)->sequence, ring_sequence(LINES));
        (void)peek_forged(pair, index, bytes);
        pair->b.peer.tail = index;
        if (ring_peek(&pair->b.peer, &body, &got) != 0)
            continue;
        const uint8_t *first = body;
        assert_true(first >= pair->b.peer.ring);
        assert_true(first + got <= pair->b.peer.ring + LINES * LAYOUT_LINE_BYTES);
        for (uint32_t i = 0; i < got; i++)
            sum += first[i];
    }
    (void)sum;
}

/* ---- Looking ahead ---- */

static void look(struct pair *pair, uint64_t *position, const void *data, uint32_t bytes)
{
    const void *body = NULL;
    uint32_t got = 0;
    assert_int_equal(ring_look_ahead(&pair->b.peer, position, &body, &got), 0);
    assert_int_equal(got, bytes);
    assert_memory_equal(body, data, bytes);
}

static void test_what_is_looked_at_ahead_is_still_there(void **state)
{
    struct pair *pair = *state;
    const void *body;
    uint32_t bytes;
    uint64_t position = 0;
    uint8_t long_one[4 * LAYOUT_LINE_BYTES - sizeof(struct ring_prefix)] = "long";
    begin_at(pair, LINES - 3); /* the long one goes behind a pad */
    push(pair, "one", 4);
    push(pair, long_one, sizeof(long_one));
    push(pair, "three", 6);
    look(pair, &position, "one", 4);
    look(pair, &position, long_one, sizeof(long_one));
    take(pair, "one", 4);
    look(pair, &position, "three", 6);
    assert_int_equal(ring_look_ahead(&pair->b.peer, &position, &body, &bytes), RING_E_EMPTY);
    push(pair, "four", 5);
    look(pair, &position, "four", 5);
    take(pair, long_one, sizeof(long_one));
    take(pair, "three", 6);
    take(pair, "four", 5);
    position = 0; /* before what was taken: begins at the tail */
    assert_int_equal(ring_look_ahead(&pair->b.peer, &position, &body, &bytes), RING_E_EMPTY);
    push(pair, "five", 5);
    look(pair, &position, "five", 5);
}

/* A peer that fills its ring again and again without waiting for us. */
static void test_looking_ahead_ends_after_one_lap(void **state)
{
    struct pair *pair = *state;
    const void *body;
    uint32_t bytes, seen = 0;
    uint64_t position = 0;
    for (uint64_t at = 0; at < 3 * (uint64_t)LINES; at++) {
        struct ring_prefix *prefix = prefix_of_a(pair, (uint32_t)at % LINES);
        prefix->bytes = 1;
        atomic_store(&prefix->sequence, ring_sequence(at));
        while (ring_look_ahead(&pair->b.peer, &position, &body, &bytes) == 0)
            seen++;
    }
    assert_int_equal(seen, LINES);
}

static void test_looking_ahead_refuses_what_taking_refuses(void **state)
{
    struct pair *pair = *state;
    const void *body;
    uint32_t bytes;
    uint64_t position = 0;
    push(pair, "one", 4);
    look(pair, &position, "one", 4);
    struct ring_prefix *prefix = prefix_of_a(pair, 1);
    prefix->bytes = BYTES_MAX + 1;
    atomic_store(&prefix->sequence, ring_sequence(1));
    assert_int_equal(ring_look_ahead(&pair->b.peer, &position, &body, &bytes), -EPROTO);
    atomic_store(&prefix->sequence, ring_sequence(7));
    assert_int_equal(ring_look_ahead(&pair->b.peer, &position, &body, &bytes), -EPROTO);
    assert_int_equal(position, 1);
}

/* ---- The further ring ---- */

/* a makes its further ring, and b gets it. */
static void grow(struct pair *pair)
{
    struct error_text error = {""};
    int fd = -1;
    assert_int_equal(ring_grow(&pair->a.ours, &fd, &error), 0);
    assert_int_equal(ring_add(&pair->b.peer, fd, &error), 0);
}

static uint32_t fill_numbered(struct pair *pair, uint32_t first)
{
    void *body = NULL;
    uint32_t next = first;
    while (ring_reserve(&pair->a.ours, &pair->a.peer, sizeof(next), &body) == 0) {
        memcpy(body, &next, sizeof(next));
        ring_commit(&pair->a.ours, sizeof(next));
        next++;
    }
    return next;
}

static uint32_t take_all(struct pair *pair, uint32_t first)
{
    const void *body;
    uint32_t bytes, next = first;
    while (ring_peek(&pair->b.peer, &body, &bytes) == 0) {
        assert_int_equal(bytes, sizeof(next));
        assert_memory_equal(body, &next, sizeof(next));
        ring_consume(&pair->b.peer, &pair->b.ours);
        next++;
    }
    return next;
}

/* Wherever in the old ring it happens, and whether that is full, empty, or between. */
static void test_a_full_ring_goes_on_in_a_larger_one(void **state)
{
    (void)state;
    for (uint32_t at = 0; at < LINES; at += 9) {
        struct pair pair;
        pair_init(&pair, &small);
        begin_at(&pair, at);
        uint32_t end = fill_numbered(&pair, 0);
        assert_int_equal(end, LINES - 1);
        grow(&pair);
        assert_int_equal(fill_numbered(&pair, end),
                         end); /* until it has moved, it is the old one */
        ring_move(&pair.a.ours);
        end = fill_numbered(&pair, end);
        /* What is not taken, the line that says so and the one that stays free count. */
        assert_int_equal(end, SEGMENT_RING_LINES_GROWN - 2);
        assert_int_equal(take_all(&pair, 0), LINES - 1);
        assert_int_equal(peek_at_b(&pair), RING_E_MOVED);
        assert_int_equal(peer_consumed(&pair.a.ours, &pair.a.peer), at + LINES - 1);
        assert_true(ring_follow(&pair.b.peer, &pair.b.ours));
        assert_int_equal(take_all(&pair, LINES - 1), end);
        assert_int_equal(peek_at_b(&pair), RING_E_EMPTY);
        assert_int_equal(peer_consumed(&pair.a.ours, &pair.a.peer), pair.a.ours.head);
        for (int lap = 0; lap < 3; lap++) {
            uint32_t begin = end;
            end = fill_numbered(&pair, begin);
            assert_int_equal(end - begin, SEGMENT_RING_LINES_GROWN - 1);
            assert_int_equal(take_all(&pair, begin), end);
        }
        pair_deinit(&pair);
    }
}

static void test_a_ring_that_is_left_empty_is_followed(void **state)
{
    struct pair *pair = *state;
    grow(pair);
    ring_move(&pair->a.ours);
    assert_true(ring_pending(&pair->b.peer));
    assert_int_equal(peek_at_b(pair), RING_E_MOVED);
    assert_true(ring_follow(&pair->b.peer, &pair->b.ours));
    assert_empty(pair);
    push(pair, "one", 4);
    take(pair, "one", 4);
}

static void test_who_has_not_followed_is_woken_in_the_old_ring(void **state)
{
    struct pair *pair = *state;
    const struct segment *a = &pair->a.ours;
    push(pair, "one", 4);
    grow(pair);
    ring_move(&pair->a.ours);
    take(pair, "one", 4);
    assert_ptr_equal(ring_our_word(a, 1), &prefix_of_a_before(pair, 1)->sequence);
    assert_true(ring_follow(&pair->b.peer, &pair->b.ours));
    assert_ptr_equal(ring_our_word(a, 2), &prefix_of_a(pair, 2)->sequence);
}

static void test_looking_ahead_ends_where_the_ring_does(void **state)
{
    struct pair *pair = *state;
    const void *body;
    uint32_t bytes;
    uint64_t position = 0;
    push(pair, "one", 4);
    grow(pair);
    ring_move(&pair->a.ours);
    push(pair, "two", 4);
    look(pair, &position, "one", 4);
    assert_int_equal(ring_look_ahead(&pair->b.peer, &position, &body, &bytes), RING_E_EMPTY);
    take(pair, "one", 4);
    assert_int_equal(ring_look_ahead(&pair->b.peer, &position, &body, &bytes), RING_E_EMPTY);
    assert_int_equal(peek_at_b(pair), RING_E_MOVED);
    assert_true(ring_follow(&pair->b.peer, &pair->b.ours));
    look(pair, &position, "two", 4);
    take(pair, "two", 4);
}

static void test_a_ring_is_followed_once_and_only_if_it_is_there(void **state)
{
    struct pair *pair = *state;
    struct error_text error = {""};
    int fd = -1;
    assert_int_equal(ring_grow(&pair->a.ours, &fd, &error), 0);
    ring_move(&pair->a.ours);
    assert_int_equal(peek_at_b(pair), RING_E_MOVED);
    assert_false(ring_follow(&pair->b.peer, &pair->b.ours));
    assert_int_equal(peek_at_b(pair), RING_E_MOVED);
    assert_int_equal(ring_add(&pair->b.peer, fd, &error), 0);
    assert_true(ring_follow(&pair->b.peer, &pair->b.ours));
    /* A hostile writer says so again. */
    struct ring_prefix *prefix = prefix_of_a(pair, 1);
    prefix->bytes = RING_MOVED;
    atomic_store(&prefix->sequence, ring_sequence(1));
    assert_int_equal(peek_at_b(pair), RING_E_MOVED);
    assert_false(ring_follow(&pair->b.peer, &pair->b.ours));
    assert_int_equal(ring_grow(&pair->a.ours, &fd, &error), RING_E_FULL);
    assert_int_equal(ring_add(&pair->b.peer, fd, &error), -EPROTO);
    assert_non_null(strstr(error.text, "second further ring"));
}

static void test_a_ring_that_could_not_be_sent_is_made_again(void **state)
{
    struct pair *pair = *state;
    int fd = -1;
    assert_int_equal(ring_grow(&pair->a.ours, &fd, NULL), 0);
    ring_grow_undo(&pair->a.ours);
    push(pair, "one", 4);
    take(pair, "one", 4);
    grow(pair);
}

/* What the header of a region of @lines lines says instead. */
static void assert_no_ring(struct pair *pair, uint32_t lines, struct ring_header header,
                           const char *text)
{
    struct error_text error = {""};
    struct region region = REGION_NONE;
    size_t bytes = LAYOUT_PAGE_BYTES + (size_t)lines * LAYOUT_LINE_BYTES;
    assert_int_equal(region_create(&region, "ring", bytes, &error), 0);
    *(struct ring_header *)region.base = header;
    int r = ring_add(&pair->b.peer, region.fd, &error);
    region_deinit(&region);
    if (!text) {
        assert_int_equal(r, 0);
        return;
    }
    assert_int_equal(r, -EPROTO);
    assert_null(pair->b.peer.further.base);
    if (!strstr(error.text, text))
        fail_msg("expected '%s' in: %s", text, error.text);
}

/* The right header, with this version. */
static struct ring_header further(uint32_t lines, uint32_t version)
{
    return (struct ring_header){
        .magic = RING_MAGIC, .version = version, .ring_lines = lines, .offset = LAYOUT_PAGE_BYTES};
}

static void test_an_impossible_further_ring_is_refused(void **state)
{
    struct pair *pair = *state;
    const uint32_t most = SEGMENT_RING_LINES_MAX;
    struct ring_header header = further(4096, LAYOUT_VERSION);
    header.magic = ARENA_MAGIC;
    assert_no_ring(pair, 4096, header, "no further ring");
    assert_no_ring(pair, 4096, further(4096, LAYOUT_VERSION - 1), "layout version");
    assert_no_ring(pair, LINES, further(LINES, LAYOUT_VERSION), "impossible"); /* not larger */
    assert_no_ring(pair, 192, further(192, LAYOUT_VERSION), "impossible");     /* no power of two */
    assert_no_ring(pair, 128, further(256, LAYOUT_VERSION), "impossible");
    assert_no_ring(pair, 256, further(128, LAYOUT_VERSION), "impossible");
    header = further(128, LAYOUT_VERSION);
    header.offset = 0;
    assert_no_ring(pair, 128, header, "impossible");
    assert_no_ring(pair, 2 * most, further(2 * most, LAYOUT_VERSION), "further ring");
    assert_no_ring(pair, most, further(most, LAYOUT_VERSION), NULL);
}

#define ring_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ring_test(test_new_ring_is_empty),
        ring_test(test_unattached_peer_is_empty_and_has_consumed_nothing),
        ring_test(test_records_of_every_size_arrive_whole_and_in_order),
        ring_test(test_body_is_aligned_and_nothing_shows_before_commit),
        ring_test(test_largest_record_passes_and_one_more_byte_is_refused),
        ring_test(test_full_ring_reports_full_with_one_line_spare),
        ring_test(test_record_that_does_not_fit_before_the_end_goes_to_the_start),
        ring_test(test_record_that_ends_at_the_end_needs_no_pad),
        ring_test(test_pad_counts_towards_full),
        ring_test(test_commit_may_be_shorter_than_what_was_reserved),
        ring_test(test_second_reserve_drops_the_first),
        ring_test(test_stale_payload_is_never_taken_for_a_record),
        ring_test(test_sequences_survive_the_wrap_of_their_32_bits),
        ring_test(test_consumed_position_tells_what_the_peer_has_taken),
        ring_test(test_flags_are_seen_by_the_peer_until_cleared),
        ring_test(test_consumed_position_beyond_what_was_sent_is_refused),
        ring_test(test_consumed_position_that_goes_back_is_refused),
        ring_test(test_absurd_lengths_are_refused),
        ring_test(test_record_over_the_ring_s_end_is_refused),
        ring_test(test_pad_at_the_start_is_refused),
        ring_test(test_pad_with_nothing_behind_it_is_empty),
        ring_test(test_wrong_sequence_is_refused),
        ring_test(test_random_ring_contents_never_lead_outside),
        ring_test(test_what_is_looked_at_ahead_is_still_there),
        ring_test(test_looking_ahead_ends_after_one_lap),
        ring_test(test_looking_ahead_refuses_what_taking_refuses),
        ring_test(test_a_full_ring_goes_on_in_a_larger_one),
        ring_test(test_a_ring_that_is_left_empty_is_followed),
        ring_test(test_who_has_not_followed_is_woken_in_the_old_ring),
        ring_test(test_looking_ahead_ends_where_the_ring_does),
        ring_test(test_a_ring_is_followed_once_and_only_if_it_is_there),
        ring_test(test_a_ring_that_could_not_be_sent_is_made_again),
        ring_test(test_an_impossible_further_ring_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
