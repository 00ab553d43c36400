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
 * tests/model/ proves this file, release.c and sleep.c as they are, with mutants of their lines:
 * who changes the order of stores here, or an order of memory, finds it there.
 */
#include "shm/shm.h"

#include <errno.h>

static uint32_t record_lines(uint32_t bytes)
{
    return (bytes + (uint32_t)sizeof(struct ring_prefix) + LAYOUT_LINE_BYTES - 1) /
           LAYOUT_LINE_BYTES;
}

static uint32_t line_index(uint64_t position, uint32_t ring_lines)
{
    return (uint32_t)position & (ring_lines - 1);
}

static struct ring_prefix *our_prefix(const struct segment *segment, uint64_t position)
{
    return (struct ring_prefix *)(segment->ring +
                                  (size_t)line_index(position, segment->ring_lines) *
                                      LAYOUT_LINE_BYTES);
}

static const struct ring_prefix *peer_prefix(const struct peer_segment *peer, uint64_t position)
{
    return (const struct ring_prefix *)(peer->ring +
                                        (size_t)line_index(position, peer->ring_lines) *
                                            LAYOUT_LINE_BYTES);
}

/* Whether the lines up to and with @position are ours to write, as far as we know. */
static bool is_free(const struct segment *segment, uint64_t position)
{
    return position - segment->peer_consumed < segment->ring_lines;
}

/* Out of the way of what is done for each record. */
#define COLD __attribute__((noinline, cold))

COLD static int refresh_consumed(struct segment *segment, const struct peer_segment *peer)
{
    if (!peer->cells)
        return 0;
    /* acquire: pairs with the release in ring_consume(); the peer's reads of those lines are over
     */
    uint64_t consumed = atomic_load_explicit(&peer->cells->consumed, memory_order_acquire);
    if (consumed < segment->peer_consumed || consumed > segment->head)
        return -EPROTO;
    segment->peer_consumed = consumed;
    return 0;
}

int ring_reserve(struct segment *segment, const struct peer_segment *peer, uint32_t bytes,
                 void **ret_body)
{
    segment->reserved_bytes = 0;
    if (__builtin_expect(bytes == 0 || bytes > ring_record_bytes_max(segment->ring_lines), 0))
        return -EMSGSIZE;
    uint32_t lines = record_lines(bytes);
    uint32_t lines_to_end = segment->ring_lines - line_index(segment->head, segment->ring_lines);
    uint32_t pad_lines = lines > lines_to_end ? lines_to_end : 0;
    uint64_t next = segment->head + pad_lines + lines;
    if (__builtin_expect(!is_free(segment, next), 0)) {
        int r = refresh_consumed(segment, peer);
        if (r < 0)
            return r;
        if (!is_free(segment, next))
            return RING_E_FULL;
    }
    if (next > segment->zeroed)
        segment->zeroed = 0; /* the caller may write over that word, even if it does not commit */
    segment->reserved_bytes = bytes;
    segment->reserved_pad_lines = pad_lines;
    *ret_body = our_prefix(segment, segment->head + pad_lines) + 1;
    return 0;
}

static void zero_prefix(struct segment *segment, uint64_t position)
{
    /* relaxed: the next release store of a sequence orders it */
    atomic_store_explicit(&our_prefix(segment, position)->sequence, 0, memory_order_relaxed);
}

static void zero_ahead(struct segment *segment, uint32_t lines)
{
    uint64_t position = segment->head + lines;
    segment->zeroed = 0;
    if (!is_free(segment, position))
        return;
    zero_prefix(segment, position);
    segment->zeroed = position;
}

void ring_commit(struct segment *segment, uint32_t bytes)
{
    assert(bytes > 0 && bytes <= segment->reserved_bytes);
    uint32_t lines = record_lines(bytes);
    uint64_t start = segment->head + segment->reserved_pad_lines;
    uint64_t next = start + lines;
    if (next != segment->zeroed)
        zero_prefix(segment, next);
    struct ring_prefix *first = our_prefix(segment, segment->head);
    if (segment->reserved_pad_lines > 0) {
        struct ring_prefix *record = our_prefix(segment, start);
        record->bytes = bytes;
        /* relaxed: out of sight until the pad in front of it is published */
        atomic_store_explicit(&record->sequence, ring_sequence(start), memory_order_relaxed);
        first->bytes = RING_PAD;
    } else {
        first->bytes = bytes;
    }
    /* release: pairs with the acquire in ring_peek() */
    atomic_store_explicit(&first->sequence, ring_sequence(segment->head), memory_order_release);
    segment->head = next;
    segment->reserved_bytes = 0;
    zero_ahead(segment, lines);
}

/* Return: 0 with the length at @position, RING_E_EMPTY or -EPROTO. */
static inline __attribute__((always_inline)) int read_prefix(const struct peer_segment *peer,
                                                             uint64_t position, uint32_t *ret_bytes)
{
    const struct ring_prefix *prefix = peer_prefix(peer, position);
    /* acquire: pairs with the release in ring_commit() */
    uint32_t sequence = atomic_load_explicit(&prefix->sequence, memory_order_acquire);
    if (sequence == 0)
        return RING_E_EMPTY;
    if (sequence != ring_sequence(position))
        return -EPROTO;
    /* Once: a hostile peer may change it between the check and the use. */
    *ret_bytes = __atomic_load_n(&prefix->bytes, __ATOMIC_RELAXED);
    return 0;
}

COLD static int pass_pad(const struct peer_segment *peer, uint64_t *position, uint32_t *ret_bytes)
{
    uint32_t index = line_index(*position, peer->ring_lines);
    if (index == 0)
        return -EPROTO; /* a pad leads to the start and cannot be there */
    *position += peer->ring_lines - index;
    return read_prefix(peer, *position, ret_bytes);
}

/* The record at @position, or behind the pad that is there: then @position moves over the pad. */
static inline __attribute__((always_inline)) int
look(const struct peer_segment *peer, uint64_t *position, uint32_t *ret_lines, uint32_t *ret_bytes)
{
    uint32_t bytes = 0;
    int r = read_prefix(peer, *position, &bytes);
    if (r != 0)
        return r;
    if (__builtin_expect(bytes == RING_PAD, 0)) {
        r = pass_pad(peer, position, &bytes);
        if (r != 0)
            return r;
    }
    if (bytes == 0 || bytes > ring_record_bytes_max(peer->ring_lines))
        return -EPROTO; /* RING_PAD, too, is larger than any record */
    uint32_t lines = record_lines(bytes);
    if (lines > peer->ring_lines - line_index(*position, peer->ring_lines))
        return -EPROTO;
    *ret_lines = lines;
    *ret_bytes = bytes;
    return 0;
}

int ring_peek(struct peer_segment *peer, const void **ret_body, uint32_t *ret_bytes)
{
    peer->peeked_lines = 0;
    if (!peer->ring)
        return RING_E_EMPTY;
    int r = look(peer, &peer->tail, &peer->peeked_lines, ret_bytes);
    if (r == 0)
        *ret_body = peer_prefix(peer, peer->tail) + 1;
    return r;
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
        return r;
    *ret_body = peer_prefix(peer, at) + 1;
    *position = at + lines;
    return 0;
}

void ring_consume(struct peer_segment *peer, struct segment *ours)
{
    assert(peer->peeked_lines > 0);
    peer->tail += peer->peeked_lines;
    peer->peeked_lines = 0;
    /* release: pairs with the acquire in refresh_consumed(); our reads of the record are over */
    atomic_store_explicit(&ours->cells->consumed, peer->tail, memory_order_release);
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
