/*
 * The ring's way of nearly every record, to be part of those who send and take one (ring.c says how
 * the ring works, and has what is rare: a lap's end, a look at the peer's cursor, a pad).
 *
 * A writer knows a position up to which records may end without any of that, and so compares once.
 * What it found out when it reserved it keeps in a struct ring_room until it commits, in registers.
 */
#ifndef PARLEY_SHM_RING_H
#define PARLEY_SHM_RING_H

#include <errno.h>

#include "shm/shm.h"

/* Out of the way of what is done for each record. */
#define RING_RARE __attribute__((noinline, cold))
#define RING_INLINE static inline __attribute__((always_inline))

/* ---- Places ---- */

RING_INLINE uint32_t ring_record_lines(uint32_t bytes)
{
    return (bytes + (uint32_t)sizeof(struct ring_prefix) + LAYOUT_LINE_BYTES - 1) /
           LAYOUT_LINE_BYTES;
}

RING_INLINE uint32_t ring_line_index(uint64_t position, uint32_t ring_lines)
{
    return (uint32_t)position & (ring_lines - 1);
}

RING_INLINE struct ring_prefix *ring_our_prefix(const struct segment *segment, uint64_t position)
{
    return (struct ring_prefix *)(segment->ring +
                                  (size_t)ring_line_index(position, segment->ring_lines) *
                                      LAYOUT_LINE_BYTES);
}

RING_INLINE const struct ring_prefix *ring_peer_prefix(const struct peer_segment *peer,
                                                       uint64_t position)
{
    return (const struct ring_prefix *)(peer->ring +
                                        (size_t)ring_line_index(position, peer->ring_lines) *
                                            LAYOUT_LINE_BYTES);
}

/* ---- Writing ---- */

/* ring_room_take() where it does not fit before segment->straight_end. */
RING_RARE int ring_room_far(struct segment *segment, const struct peer_segment *peer,
                            uint32_t lines, struct ring_room *ret_room);

/* As ring_reserve(), which see. @bytes: must be possible. */
RING_INLINE int ring_room_take(struct segment *segment, const struct peer_segment *peer,
                               uint32_t bytes, struct ring_room *ret_room)
{
    uint32_t lines = ring_record_lines(bytes);
    uint64_t next = segment->head + lines;
    if (__builtin_expect(next > segment->straight_end, 0)) {
        struct ring_room room = {0}; /* of its own: so that the other can be in registers */
        int r = ring_room_far(segment, peer, lines, &room);
        ret_room->record = room.record;
        ret_room->lines = room.lines;
        ret_room->pad_lines = room.pad_lines;
        return r;
    }
    if (next > segment->zeroed)
        segment->zeroed = 0; /* the caller may write over that word, even if it does not commit */
    ret_room->record = ring_our_prefix(segment, segment->head);
    ret_room->lines = lines;
    ret_room->pad_lines = 0;
    return 0;
}

RING_INLINE void ring_zero(struct segment *segment, uint64_t position)
{
    /* relaxed: the next release store of a sequence orders it */
    atomic_store_explicit(&ring_our_prefix(segment, position)->sequence, 0, memory_order_relaxed);
}

/* ring_room_commit() of a record behind a pad. */
RING_RARE void ring_pad_commit(struct segment *segment, struct ring_prefix *record,
                               uint32_t pad_lines, uint32_t bytes);

/* As ring_commit(). @bytes: as in ring_room_take(), or less and room.lines with it. */
RING_INLINE void ring_room_commit(struct segment *segment, struct ring_room room, uint32_t bytes)
{
    uint64_t next = segment->head + room.pad_lines + room.lines;
    if (next != segment->zeroed)
        ring_zero(segment, next);
    if (__builtin_expect(room.pad_lines > 0, 0)) {
        ring_pad_commit(segment, room.record, room.pad_lines, bytes);
    } else {
        room.record->bytes = bytes;
        /* release: pairs with the acquire in ring_prefix_read() */
        atomic_store_explicit(&room.record->sequence, ring_sequence(segment->head),
                              memory_order_release);
    }
    segment->head = next;
    /* Ahead, if that line is known to be free. */
    uint64_t position = next + room.lines;
    segment->zeroed = 0;
    if (position - segment->peer_consumed < segment->ring_lines) {
        ring_zero(segment, position);
        segment->zeroed = position;
    }
}

/* ---- Reading ---- */

/* Return: 0 with the length at @position, RING_E_EMPTY or -EPROTO. */
RING_INLINE int ring_prefix_read(const struct ring_prefix *prefix, uint64_t position,
                                 uint32_t *ret_bytes)
{
    /* acquire: pairs with the release in ring_room_commit() */
    uint32_t sequence = atomic_load_explicit(&prefix->sequence, memory_order_acquire);
    if (sequence != ring_sequence(position))
        return sequence == 0 ? RING_E_EMPTY : -EPROTO;
    /* Once: a hostile peer may change it between the check and the use. */
    *ret_bytes = __atomic_load_n(&prefix->bytes, __ATOMIC_RELAXED);
    return 0;
}

/* Whether a record of so many bytes can be at @position. A pad cannot. */
RING_INLINE bool ring_record_fits(const struct peer_segment *peer, uint64_t position,
                                  uint32_t bytes)
{
    return bytes - 1 < ring_record_bytes_max(peer->ring_lines) && /* nor 0 bytes */
           ring_record_lines(bytes) <=
               peer->ring_lines - ring_line_index(position, peer->ring_lines);
}

/* ring_peek() where there is no record, but a pad or nonsense. */
RING_RARE int ring_peek_far(struct peer_segment *peer, const void **ret_body, uint32_t *ret_bytes);

#define RING_ASK_LINES_MAX 8

/* A record's further lines (most have one at most) come while the first is read: all at once, and
 * not when whoever reads them gets there. @bytes: of a record that fits. */
RING_INLINE void ring_ask_for_rest(const struct ring_prefix *prefix, uint32_t bytes)
{
    const uint8_t *first = (const uint8_t *)prefix;
    const uint32_t lines = ring_record_lines(bytes);
    __builtin_prefetch(first + (lines > 1) * LAYOUT_LINE_BYTES);
    for (uint32_t i = 2; __builtin_expect(i < lines, 0) && i < RING_ASK_LINES_MAX; i++)
        __builtin_prefetch(first + i * LAYOUT_LINE_BYTES);
}

/* As ring_peek(). @peer must be attached. */
RING_INLINE int ring_next(struct peer_segment *peer, const void **ret_body, uint32_t *ret_bytes)
{
    const struct ring_prefix *prefix = ring_peer_prefix(peer, peer->tail);
    uint32_t bytes = 0;
    peer->peeked_lines = 0;
    int r = ring_prefix_read(prefix, peer->tail, &bytes);
    if (r != 0)
        return r;
    if (__builtin_expect(!ring_record_fits(peer, peer->tail, bytes), 0))
        return ring_peek_far(peer, ret_body, ret_bytes);
    peer->peeked_lines = ring_record_lines(bytes);
    ring_ask_for_rest(prefix, bytes);
    *ret_bytes = bytes;
    *ret_body = prefix + 1;
    return 0;
}

/* Of a burst the next record is there, or nearly: its lines come while this one is taken. One
 * further on is still being written too often, which takes a sixth from a burst of thousands; and
 * where there is no burst even the next one is, which costs a call on far cores a twentieth. */
RING_INLINE void ring_ask_for_next(const struct peer_segment *peer)
{
    const uint8_t *next = (const uint8_t *)ring_peer_prefix(peer, peer->tail + peer->peeked_lines);
    __builtin_prefetch(next);
    __builtin_prefetch(next + LAYOUT_LINE_BYTES); /* there may be none behind the last: no matter */
}

/* As ring_consume(). */
RING_INLINE void ring_pass(struct peer_segment *peer, struct segment *ours)
{
    peer->tail += peer->peeked_lines;
    peer->peeked_lines = 0;
    /* release: pairs with the acquire in refresh_consumed(); our reads of the record are over */
    atomic_store_explicit(&ours->cells->consumed, peer->tail, memory_order_release);
}

#endif
