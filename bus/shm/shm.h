/*
 * The shm room: sealed regions, and the two halves of a channel in them.
 *
 * Each side of a channel creates one region, its segment: its ring, its release ring, its arena and
 * its cells. It writes all of that and nothing else; the peer maps it read-only. So what one side
 * holds of a channel is a `struct segment` (its own, writable) and a `struct peer_segment` (the
 * other's, read-only and hostile).
 *
 * Nothing here blocks, makes a system call on the message path, or logs. Single thread.
 */
#ifndef PARLEY_SHM_SHM_H
#define PARLEY_SHM_SHM_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "shm/layout.h"

/* ---- Regions ---- */

#define REGION_BYTES_MAX (UINT64_C(512) << 20)

struct region {
    void *base; /* NULL: nothing mapped */
    size_t bytes;
    int fd;              /* creator: the memfd, to be sent; reader: -1 */
    uint32_t generation; /* of the process that mapped it: base/fork.h */
};

/**
 * region_create() - make a region to be written here and read elsewhere
 * @name:  for /proc/PID/maps, without prefix
 * @bytes: 1..REGION_BYTES_MAX, rounded up to pages
 *
 * A memfd, allocated and touched (so that ENOSPC strikes here and not as SIGBUS, and no first touch
 * lands on a call), mapped read-write, then sealed SHRINK|GROW|FUTURE_WRITE|SEAL. Zeroed.
 * Return: 0, or -errno.
 */
int region_create(struct region *region, const char *name, size_t bytes, struct error_text *error);

/**
 * region_map() - map a peer's region, read-only
 * @fd: borrowed; may be closed afterwards
 * @bytes_min, @bytes_max: what size is acceptable
 *
 * Verifies before mapping that it is a memfd with those seals and of such a size: without
 * F_SEAL_SHRINK the peer could make us fault.
 * Return: 0; -EPROTO with a sentence in @error if it is not; or -errno.
 */
int region_map(struct region *region, int fd, size_t bytes_min, size_t bytes_max,
               struct error_text *error);

/* Unmaps and closes; safe on a zeroed region and twice. Neither kind of region is mapped in a child
 * of fork(2): there it only closes. */
void region_deinit(struct region *region);
#define REGION_NONE ((struct region){.fd = -1})

/* ---- Segments ---- */

#define SEGMENT_RING_LINES_DEFAULT 256
#define SEGMENT_RING_LINES_GROWN 4096 /* of the further ring, where the first was too small */
#define SEGMENT_RELEASE_SLOTS_DEFAULT 64
#define SEGMENT_ARENA_BYTES_DEFAULT 0 /* most channels never need one; it grows on demand */
#define SEGMENT_ARENA_BYTES_MAX (UINT32_C(64) << 20)
#define ARENA_BLOCK_BYTES_MAX (UINT32_C(64) << 20)
#define ARENA_SEGMENT_MAX 16                        /* further arenas of one side */
#define ARENA_BYTES_TOTAL_MAX (UINT64_C(256) << 20) /* of one side, all arenas */

struct segment_options {
    uint32_t ring_lines; /* 0: default */
    /* 0: default. Also the most arena blocks in use, and names of them out, at once; the peer's, if
     * that is less. */
    uint32_t release_slots;
    uint32_t arena_bytes; /* 0: default */
};

struct arena; /* arena.c: the allocator's private tables */

/* Room in our ring for a record that is being written (ring.h). */
struct ring_room {
    struct ring_prefix *record; /* its body is behind it */
    uint32_t lines;
    uint32_t pad_lines; /* in front of it, to the ring's end */
};

/* Our own side. */
struct segment {
    struct region region;
    struct segment_cells *cells; /* ours, in the region */
    /* ring producer */
    uint8_t *ring;
    uint64_t head;          /* lines published since the channel began */
    uint64_t peer_consumed; /* the last value read from the peer and found possible */
    uint64_t zeroed;        /* position ahead of head whose prefix is 0 already; 0: none */
    uint64_t straight_end;  /* where records may end without another look: ring.h */
    uint32_t awake_looks;   /* of peer_asleep_quick(), in a row */
    bool unfenced;          /* as our cells say */
    uint32_t ring_lines;
    uint32_t reserved_bytes; /* by ring_reserve(), for ring_commit(); 0: nothing */
    struct ring_room reserved;
    /* release ring producer */
    _Atomic uint32_t *release;
    uint64_t released; /* entries pushed since the channel began */
    uint32_t release_slots;
    /* arena */
    struct arena *arena;
    /* the further ring; until ring_move() it is not `ring` */
    struct region further; /* base NULL: none */
    uint8_t *further_ring;
    uint32_t further_lines;
    uint32_t lines_before; /* of ring_before */
    const uint8_t *ring_before; /* after ring_move(): the first one */
    uint64_t moved_to;     /* position from which on records are in the further ring; 0: not moved */
};

/* The other side. */
/* What of a segment is arena. */
struct peer_arena {
    const uint8_t *base; /* NULL: it has not been added */
    uint64_t bytes;
};

struct peer_segment {
    struct region region; /* base NULL: not attached yet */
    const struct segment_cells *cells;
    /* ring consumer */
    const uint8_t *ring;
    uint64_t tail; /* lines consumed since the channel began */
    uint32_t ring_lines;
    uint32_t peeked_lines; /* of the record that ring_peek() showed; 0: none */
    /* release ring consumer */
    const _Atomic uint32_t *release;
    uint64_t released; /* entries taken */
    uint32_t release_slots;
    /* arenas */
    struct peer_arena arenas[1 + ARENA_SEGMENT_MAX]; /* index: frame_ref.segment */
    struct region more[ARENA_SEGMENT_MAX];           /* index: frame_ref.segment - 1 */
    uint32_t more_count;
    /* the further ring; until ring_follow() it is not `ring` */
    struct region further; /* base NULL: none */
    const uint8_t *further_ring;
    uint32_t further_lines;
};

/* Creates our side; its descriptor to send is segment->region.fd. Return: 0, -EINVAL for impossible
 * options, or -errno. */
int segment_create(struct segment *segment, const struct segment_options *options,
                   struct error_text *error);
/* It has been sent: the mapping stays, the descriptor is not needed any more. */
void segment_sent(struct segment *segment);
void segment_deinit(struct segment *segment); /* safe on a zeroed one and twice */

/* Maps and verifies the peer's side. @fd: borrowed. Return: 0, -EPROTO with a sentence, -errno. */
int peer_segment_map(struct peer_segment *peer, int fd, struct error_text *error);
void peer_segment_deinit(struct peer_segment *peer);

/* ---- Ring: records of 1..ring_record_bytes_max() bytes, in order ---- */

#define RING_E_FULL 1
#define RING_E_EMPTY 2
#define RING_E_MOVED 6 /* ring_follow() first */

/* A quarter of the ring less the prefix: what does not fit goes to the arena. */
static inline uint32_t ring_record_bytes_max(uint32_t ring_lines)
{
    return ring_lines / 4 * LAYOUT_LINE_BYTES - (uint32_t)sizeof(struct ring_prefix);
}

/**
 * ring_reserve() - claim space for one record in our ring
 * @peer:     the reader, for what it has consumed; may be unattached
 * @bytes:    1..ring_record_bytes_max()
 * @ret_body: borrowed; @bytes contiguous bytes behind the prefix, 8-aligned; valid until
 *            ring_commit(). A second reserve without a commit drops the first.
 *
 * Return: 0, RING_E_FULL, -EMSGSIZE, or -EPROTO if the peer's cursor is impossible.
 */
int ring_reserve(struct segment *segment, const struct peer_segment *peer, uint32_t bytes,
                 void **ret_body);

/* Publishes the reserved record; @bytes <= what was reserved is its final length. */
void ring_commit(struct segment *segment, uint32_t bytes);

/**
 * ring_peek() - look at the next record of the peer's ring
 * @ret_body:  borrowed, the peer's live memory, until ring_consume(); may change under a hostile
 *             peer: read each byte once
 * @ret_bytes: its length, bounded to the ring
 *
 * Return: 0, RING_E_EMPTY, RING_E_MOVED, or -EPROTO if the record is impossible.
 */
int ring_peek(struct peer_segment *peer, const void **ret_body, uint32_t *ret_bytes);

/* Consumes the record that ring_peek() showed and publishes that in our cells. */
void ring_consume(struct peer_segment *peer, struct segment *ours);

/**
 * ring_look_ahead() - look at a record without consuming what is before it
 * @position: in lines, 0 at first; moves behind the record, and never behind the tail
 * @ret_body, @ret_bytes: as ring_peek()
 *
 * For a reader that is in the middle of something and wants to know whether it still matters. The
 * record comes again with ring_peek(), and may say something else by then. Not seen is what is in a
 * further ring that the reader has not come to.
 * Return: 0, RING_E_EMPTY, or -EPROTO.
 */
int ring_look_ahead(const struct peer_segment *peer, uint64_t *position, const void **ret_body,
                    uint32_t *ret_bytes);

/* Whether ring_peek() would find something: one load. @peer must be attached. */
static inline bool ring_pending(const struct peer_segment *peer)
{
    const struct ring_prefix *prefix =
        (const struct ring_prefix *)(peer->ring +
                                     (peer->tail & (peer->ring_lines - 1)) * LAYOUT_LINE_BYTES);
    return atomic_load_explicit(&prefix->sequence, memory_order_relaxed) ==
           ring_sequence(peer->tail);
}

/**
 * ring_grow() - make the further ring, SEGMENT_RING_LINES_GROWN long
 * @ret_fd: borrowed until ring_move() or ring_grow_undo(); to be sent to the peer (BELL_GROW_RING)
 *
 * Return: 0; RING_E_FULL: that ring has grown, or is as large; or -errno.
 */
int ring_grow(struct segment *segment, int *ret_fd, struct error_text *error);
void ring_grow_undo(struct segment *segment); /* it could not be sent */

/* Publishes, in the line that a ring always has free, that what follows is in the further ring, whose
 * descriptor must have been sent. Nothing may be reserved. */
void ring_move(struct segment *segment);

/* Reader: the peer's further ring. @fd borrowed. Return: 0, -EPROTO with a sentence, -errno. */
int ring_add(struct peer_segment *peer, int fd, struct error_text *error);

/* Reader, after RING_E_MOVED: on to the further ring, and publishes that in our cells. False: there is
 * none (read the doorbell), or we are in it. */
bool ring_follow(struct peer_segment *peer, struct segment *ours);

/* ---- Arena: blocks that only their writer allocates and frees ---- */

#define ARENA_E_FULL 3 /* try again when the peer has released something */
#define ARENA_E_GROW 4 /* arena_grow() first */

/**
 * arena_alloc() - take a block of our arena for a message
 * @bytes:    1..ARENA_BLOCK_BYTES_MAX
 * @ret_ref:  its name and place, for the frame
 * @ret_data: borrowed until the peer releases it or arena_free(); 64-aligned
 *
 * Return: 0; ARENA_E_GROW if a further arena would help; ARENA_E_FULL if only time will; -EMSGSIZE.
 */
int arena_alloc(struct segment *segment, size_t bytes, struct frame_ref *ret_ref, void **ret_data);

/* Gives back a block that was never sent, or that cannot be read any more. Nothing happens if it is
 * not in use: a hostile peer may have released it first. */
void arena_free(struct segment *segment, uint32_t block);

/* ---- Buffers: blocks that their owner keeps, and lends with each frame that names them. ---- */

/* Makes the block that arena_alloc() gave a buffer: from now on it is lent to nobody. Return: 0, or
 * ARENA_E_FULL: buffers have half of all blocks, and of ARENA_BYTES_TOTAL_MAX. */
int arena_keep(struct segment *segment, uint32_t block);
/* How many names may still go out, of buffers and of blocks that are allocated. */
uint32_t arena_lendable(const struct segment *segment);
/* A frame names it: the peer will release it once more. There must be something lendable. */
void arena_lend(struct segment *segment, uint32_t block);
/* Of one that is kept: whether the peer may still read it. */
bool arena_is_lent(const struct segment *segment, uint32_t block);
/* Its owner is done with it: free as soon as the peer is. */
void arena_drop(struct segment *segment, uint32_t block);

/**
 * arena_grow() - add a further arena that holds at least @bytes
 * @ret_fd: borrowed; to be sent to the peer (BELL_GROW) before a frame that refers to it
 *
 * Return: 0, ARENA_E_FULL at ARENA_SEGMENT_MAX or ARENA_BYTES_TOTAL_MAX, or -errno.
 */
int arena_grow(struct segment *segment, size_t bytes, int *ret_fd, struct error_text *error);

/* Reader: adds the peer's further arena. @fd borrowed. Return: 0, -EPROTO, -errno. */
int arena_add(struct peer_segment *peer, int fd, struct error_text *error);

#define ARENA_E_UNKNOWN 5

/* Where these bytes of the peer are; NULL: it has no such, or not yet. */
static inline const uint8_t *arena_bytes(const struct peer_segment *peer, uint32_t segment,
                                         uint64_t offset, uint64_t bytes)
{
    if (__builtin_expect(segment > ARENA_SEGMENT_MAX, 0))
        return NULL;
    const struct peer_arena *arena = &peer->arenas[segment]; /* of none that was not added */
    if (__builtin_expect(offset > arena->bytes || bytes > arena->bytes - offset, 0))
        return NULL;
    return arena->base ? arena->base + offset : NULL;
}

/**
 * arena_resolve() - where a block that the peer named is
 * @ref: a private copy of what the peer wrote
 * Return: 0; ARENA_E_UNKNOWN if that arena has not been added yet (read the doorbell); -EPROTO if
 * it lies outside of the arena.
 */
static inline int arena_resolve(const struct peer_segment *peer, const struct frame_ref *ref,
                                uint64_t bytes, const uint8_t **ret_data)
{
    const uint8_t *data = arena_bytes(peer, ref->segment, ref->offset, bytes);
    if (__builtin_expect(!data, 0))
        return ref->segment > peer->more_count && ref->segment <= ARENA_SEGMENT_MAX
                   ? ARENA_E_UNKNOWN
                   : -EPROTO;
    *ret_data = data;
    return 0;
}

/* Reader: tells the peer that it may reuse the block, once for each frame that named it: an entry
 * in our release ring. */
void release_push(struct segment *ours, uint32_t block);

/* The peer gave @block back, in a frame instead. Return: 0, or -EPROTO if it does not hold it. */
int release_named(struct segment *ours, uint32_t block);

/**
 * release_take() - free what the peer has released
 * Each entry is checked against our own table before it is believed. Also the moment at which we
 * learn how many names the peer has room to release: SEGMENT_RELEASE_SLOTS_MIN until then.
 * Return: number of names taken, or -EPROTO if the peer released what it did not hold.
 */
int release_take(struct segment *ours, struct peer_segment *peer);

/* ---- Sleeping and being blocked: the fences of the protocol are in here, nowhere else ---- */

/* Sets our flag, fences, and has the peer fence if it does not do so itself: re-check its ring
 * (ring_pending) afterwards, then sleep. @peer: need not be attached. */
void asleep_set(struct segment *ours, const struct peer_segment *peer, enum asleep how);
void asleep_clear(struct segment *ours);
/* After a publication: whether the peer must be woken up, and how. Fences first. */
enum asleep peer_asleep(const struct peer_segment *peer);

/* As often in a row a publication finds the peer awake, and the next ones go without a fence: so that a
 * peer's barrier_all(), up to 50 us, is a hundredth of what is done for it. */
#ifndef UNFENCED_AFTER
#define UNFENCED_AFTER 4096
#endif
/* The same after each of many publications: a peer that is awake for long is looked at without a
 * fence. */
enum asleep peer_asleep_quick(struct segment *ours, const struct peer_segment *peer);

/* The word that one who sleeps by ASLEEP_WORD waits on, and its peer wakes: where the record at
 * this position will begin. 0 until it is published. */
static inline const _Atomic uint32_t *ring_word(const uint8_t *ring, uint32_t ring_lines,
                                                uint64_t position)
{
    size_t line = position & (ring_lines - 1);
    return &((const struct ring_prefix *)(ring + line * LAYOUT_LINE_BYTES))->sequence;
}

/* The same in our ring, or, for a peer that has not come further, in the one before. */
static inline const _Atomic uint32_t *ring_our_word(const struct segment *ours, uint64_t position)
{
    return position < ours->moved_to ? ring_word(ours->ring_before, ours->lines_before, position)
                                     : ring_word(ours->ring, ours->ring_lines, position);
}

/* For who is about to look for an answer again and again: until what it published is where the peer can read it.
 * A look that comes before the peer has written takes the line away from it. */
void publications_settle(void);

/* Where we run, for a peer that might spin for us there. relaxed: a hint. */
static inline void cpu_publish(struct segment *ours, uint32_t cpu)
{
    atomic_store_explicit(&ours->cells->cpu, cpu, memory_order_relaxed);
}

/* For comparing, and for nothing else: it is what a hostile peer writes. @peer must be attached. */
static inline uint32_t peer_cpu(const struct peer_segment *peer)
{
    return atomic_load_explicit(&peer->cells->cpu, memory_order_relaxed);
}

/* The same pair for a side that waits for room. After blocked_set(), try ring_reserve() again. */
void blocked_set(struct segment *ours);
void blocked_clear(struct segment *ours);
/* After ring_consume() or release_push(): whether the doorbell must be rung. Fences first. */
bool peer_blocked(const struct peer_segment *peer);

/* What the peer has consumed and released: whether trying again for room is worth it. For nothing
 * else: it is what a hostile peer writes. @peer must be attached. */
static inline void peer_progress(const struct peer_segment *peer, uint64_t *ret_consumed,
                                 uint64_t *ret_released)
{
    *ret_consumed = atomic_load_explicit(&peer->cells->consumed, memory_order_relaxed);
    *ret_released = atomic_load_explicit(&peer->cells->released, memory_order_relaxed);
}

/* Position up to which the peer has consumed our ring; a hostile or dead peer's value is bounded
 * to what we have published. For telling whether a record was taken. */
uint64_t peer_consumed(const struct segment *ours, const struct peer_segment *peer);

#endif
