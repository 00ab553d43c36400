/*
 * The ring: records from one producer to one consumer, in 64-byte lines.
 *
 * A position counts lines since the channel began; its line is position modulo ring_lines. A record
 * begins at a line's start with a prefix (sequence, length) and is contiguous. What does not fit
 * before the ring's end goes to its start, behind a RING_PAD record that fills the rest.
 *
 * The producer writes body and length, then the sequence, with release. The consumer polls that one
 * word, so a small message is one cache line that moves once. Two rules make the poll safe:
 *
 *   The word where the next record will begin is 0 before a record becomes visible. Lines are
 * reused, and what lies there is old payload, that is, whatever an application sent: without the
 * zero it could pass for a prefix. So one line behind the last record must be free, too: a ring of
 * n lines holds n - 1.
 *
 *   No record's sequence is 0 (see ring_sequence()).
 *
 * Zeroing that word in ring_commit() costs a second cache miss in front of the publication, as the
 * consumer read that line a lap ago. So the producer, when it has published and has time, zeroes
 * the word where the record after the next will begin if the next is as long as this one, and
 * remembers that (`zeroed`). A round trip of records of one line takes 150 ns with it and 180
 * without (EPYC, two cores; a bare cache line takes 120); longer records gain nothing.
 *
 * Cursors that a side relies on are its own (head, tail). Of the peer's it believes little:
 * consumed is read once, and must lie between the last value and what was published; a length is
 * read once, and must be one that ring_reserve() could have granted at that place.
 *
 * A ring that is too small is left for a larger one, once (ring_grow.c): the line behind its last record
 * is free, and says so. Positions go on, and each means a line of one of the two.
 *
 * What is done for each record is in ring.h. tests/model/ proves both files, release.c and sleep.c
 * as they are, with mutants of their lines: who changes the order of stores here, or an order of
 * memory, finds it there.
 */
#include "shm/ring.h"

#include <assert.h>

/* Whether the lines up to and with @position are ours to write, as far as we know. */
static bool is_free(const struct segment *segment, uint64_t position)
{
    return position - segment->peer_consumed < segment->ring_lines;
}

static int refresh_consumed(struct segment *segment, const struct peer_segment *peer)
{
    if (!peer->cells)
        return 0;
    /* acquire: pairs with the release in ring_pass(); the peer's reads of those lines are over */
    uint64_t consumed = atomic_load_explicit(&peer->cells->consumed, memory_order_acquire);
    if (consumed < segment->peer_consumed || consumed > segment->head)
        return -EPROTO;
    segment->peer_consumed = consumed;
    return 0;
}

/* Up to where a record needs no pad, and the lines are free, with the one behind it. */
static uint64_t straight_end(const struct segment *segment)
{
    uint64_t lap_end = (segment->head | (segment->ring_lines - 1)) + 1;
    uint64_t free_end = segment->peer_consumed + segment->ring_lines - 1;
    return lap_end < free_end ? lap_end : free_end;
}

int ring_room_far(struct segment *segment, const struct peer_segment *peer, uint32_t lines,
                  struct ring_room *ret_room)
{
    uint32_t lines_to_end =
        segment->ring_lines - ring_line_index(segment->head, segment->ring_lines);
    uint32_t pad_lines = lines > lines_to_end ? lines_to_end : 0;
    uint64_t next = segment->head + pad_lines + lines;
    if (!is_free(segment, next)) {
        int r = refresh_consumed(segment, peer);
        if (r < 0)
            return r;
        if (!is_free(segment, next))
            return RING_E_FULL;
    }
    segment->straight_end = straight_end(segment);
    if (next > segment->zeroed)
        segment->zeroed = 0; /* as in ring_room_take() */
    ret_room->record = ring_our_prefix(segment, segment->head + pad_lines);
    ret_room->lines = lines;
    ret_room->pad_lines = pad_lines;
    return 0;
}

void ring_pad_commit(struct segment *segment, struct ring_prefix *record, uint32_t pad_lines,
                     uint32_t bytes)
{
    struct ring_prefix *pad = ring_our_prefix(segment, segment->head);
    record->bytes = bytes;
    /* relaxed: out of sight until the pad in front of it is published */
    atomic_store_explicit(&record->sequence, ring_sequence(segment->head + pad_lines),
                          memory_order_relaxed);
    pad->bytes = RING_PAD;
    /* release: as in ring_room_commit() */
    atomic_store_explicit(&pad->sequence, ring_sequence(segment->head), memory_order_release);
}

int ring_reserve(struct segment *segment, const struct peer_segment *peer, uint32_t bytes,
                 void **ret_body)
{
    segment->reserved_bytes = 0;
    if (bytes == 0 || bytes > ring_record_bytes_max(segment->ring_lines))
        return -EMSGSIZE;
    int r = ring_room_take(segment, peer, bytes, &segment->reserved);
    if (r != 0)
        return r;
    segment->reserved_bytes = bytes;
    *ret_body = segment->reserved.record + 1;
    return 0;
}

void ring_commit(struct segment *segment, uint32_t bytes)
{
    assert(bytes > 0 && bytes <= segment->reserved_bytes);
    segment->reserved.lines = ring_record_lines(bytes);
    segment->reserved_bytes = 0;
    ring_room_commit(segment, segment->reserved, bytes);
}

/* The record at @position, or behind the pad that is there: then @position moves over the pad. */
static int look(const struct peer_segment *peer, uint64_t *position, uint32_t *ret_lines,
                uint32_t *ret_bytes)
{
    uint32_t bytes = 0;
    int r = ring_prefix_read(ring_peer_prefix(peer, *position), *position, &bytes);
    if (r == 0 && bytes == RING_PAD) {
        uint32_t index = ring_line_index(*position, peer->ring_lines);
        if (index == 0)
            return -EPROTO; /* a pad leads to the start and cannot be there */
        *position += peer->ring_lines - index;
        r = ring_prefix_read(ring_peer_prefix(peer, *position), *position, &bytes);
    }
    if (r != 0)
        return r;
    if (bytes == RING_MOVED)
        return RING_E_MOVED;
    if (!ring_record_fits(peer, *position, bytes))
        return -EPROTO;
    *ret_lines = ring_record_lines(bytes);
    *ret_bytes = bytes;
    return 0;
}

int ring_peek_far(struct peer_segment *peer, const void **ret_body, uint32_t *ret_bytes)
{
    int r = look(peer, &peer->tail, &peer->peeked_lines, ret_bytes);
    if (r == 0)
        *ret_body = ring_peer_prefix(peer, peer->tail) + 1;
    return r;
}

int ring_peek(struct peer_segment *peer, const void **ret_body, uint32_t *ret_bytes)
{
    peer->peeked_lines = 0;
    return peer->ring ? ring_next(peer, ret_body, ret_bytes) : RING_E_EMPTY;
}

int ring_look_ahead(const struct peer_segment *peer, uint64_t *position, const void **ret_body,
                    uint32_t *ret_bytes)
{
    uint64_t at = *position < peer->tail ? peer->tail : *position;
    uint32_t lines;
    /* A peer that obeys has no more than a ring ahead of us. One that does not could lead us in
     * circles. */
    if (!peer->ring || at - peer->tail >= peer->ring_lines)
        return RING_E_EMPTY;
    int r = look(peer, &at, &lines, ret_bytes);
    if (r != 0)
        return r == RING_E_MOVED ? RING_E_EMPTY : r;
    *ret_body = ring_peer_prefix(peer, at) + 1;
    *position = at + lines;
    return 0;
}

void ring_consume(struct peer_segment *peer, struct segment *ours)
{
    assert(peer->peeked_lines > 0);
    ring_pass(peer, ours);
}

void ring_move(struct segment *segment)
{
    struct ring_prefix *last = ring_our_prefix(segment, segment->head);
    assert(segment->further_ring && segment->moved_to == 0);
    last->bytes = RING_MOVED;
    /* release: as in ring_room_commit() */
    atomic_store_explicit(&last->sequence, ring_sequence(segment->head), memory_order_release);
    segment->head++;
    segment->moved_to = segment->head;
    segment->ring_before = segment->ring;
    segment->lines_before = segment->ring_lines;
    segment->ring = segment->further_ring;
    segment->ring_lines = segment->further_lines;
    segment->straight_end = 0; /* both were of the ring before */
    segment->zeroed = 0;
}

bool ring_follow(struct peer_segment *peer, struct segment *ours)
{
    if (!peer->further_ring || peer->ring == peer->further_ring)
        return false;
    peer->ring = peer->further_ring;
    peer->ring_lines = peer->further_lines;
    peer->peeked_lines = 1;
    ring_pass(peer, ours);
    return true;
}

uint64_t peer_consumed(const struct segment *ours, const struct peer_segment *peer)
{
    if (!peer->cells)
        return ours->peer_consumed;
    /* acquire: pairs with the release in ring_consume() */
    uint64_t consumed = atomic_load_explicit(&peer->cells->consumed, memory_order_acquire);
    if (consumed < ours->peer_consumed)
        return ours->peer_consumed;
    return consumed < ours->head ? consumed : ours->head;
}
