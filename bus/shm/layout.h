/*
 * Every struct that crosses a process, and nothing else. docs/LAYOUT.md is its description,
 * tests/golden/layout.txt its golden copy.
 *
 * Rules: fixed-width types, offsets instead of pointers, a version first; each struct says who
 * writes it; a region has one writer, the process that created it; every other process maps it
 * read-only and takes each value for hostile: loaded once, bounded, then used.
 */
#ifndef PARLEY_SHM_LAYOUT_H
#define PARLEY_SHM_LAYOUT_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define LAYOUT_VERSION 8
#define LAYOUT_LINE_BYTES 64
#define LAYOUT_APART 128 /* two cache lines: the adjacent-line prefetcher pairs them */
#define LAYOUT_PAGE_BYTES 4096

static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2,
              "atomics in shared memory must be lock-free");

/* ---- A channel's segment: what one side of a channel writes and the other reads. ---- */

#define SEGMENT_MAGIC UINT32_C(0x504c5347) /* "PLSG" */
#define SEGMENT_RING_LINES_MIN 64
#define SEGMENT_RING_LINES_MAX 65536
#define SEGMENT_RELEASE_SLOTS_MIN 64
#define SEGMENT_RELEASE_SLOTS_MAX 4096

/* First page. Written once, before the region is sealed and sent. */
struct segment_header {
    uint32_t magic;          /* SEGMENT_MAGIC */
    uint32_t version;        /* LAYOUT_VERSION */
    uint32_t ring_lines;     /* a power of two, SEGMENT_RING_LINES_MIN to _MAX, of lines */
    uint32_t release_slots;  /* a power of two, SEGMENT_RELEASE_SLOTS_MIN to _MAX */
    uint32_t ring_offset;    /* bytes from the region's start */
    uint32_t release_offset; /* bytes */
    uint32_t arena_offset;   /* bytes */
    uint32_t arena_bytes;
};
static_assert(sizeof(struct segment_header) == 32, "layout");

/* How a side sleeps. */
enum asleep {
    ASLEEP_NOT = 0,
    ASLEEP_BELL = 1, /* until a byte on the channel's socket */
    /* Until a FUTEX_WAKE of the word where the next record will begin: the sequence of the ring
     * prefix at the position that it has consumed, in its peer's segment. Only with nothing to send
     * that waits for room. */
    ASLEEP_WORD = 2,
};

/* At SEGMENT_CELLS_OFFSET: what this side publishes for its peer, each group on lines of its own. */
struct segment_cells {
    /* Ring position, in lines since the channel began, up to which this side has consumed its
     * PEER's ring. Only grows. */
    alignas(LAYOUT_APART) _Atomic uint64_t consumed;
    /* Entries this side has put into its release ring since the channel began. Only grows. */
    _Atomic uint64_t released;
    /* Requests that this side (a service's) has taken and not answered, on all its channels. Here,
     * because it changes with every call, and the peer looks at the flags below on every call. */
    _Atomic uint32_t load;

    /* enum asleep. Not 0: this side sleeps or is about to: whoever publishes for it wakes it up. */
    alignas(LAYOUT_APART) _Atomic uint32_t asleep;
    /* 1: this side waits for room in its own ring or arena: whoever consumes rings the doorbell, if
     * it sleeps, too. */
    _Atomic uint32_t blocked;
    /* The CPU that this side ran on when it last waited, plus 1; 0: not known. Nobody spins for it
     * there. */
    _Atomic uint32_t cpu;
    /* 1: this side has every CPU fence when it goes to sleep, if its peer is `unfenced`. */
    _Atomic uint32_t barrier;
    /* 1: this side looks at its peer's `asleep` without a fence behind what it published. */
    _Atomic uint32_t unfenced;
};
#define SEGMENT_CELLS_OFFSET 128
static_assert(sizeof(struct segment_cells) == 2 * LAYOUT_APART, "layout");
static_assert(offsetof(struct segment_cells, asleep) == LAYOUT_APART, "layout");

/* The start of a record in the ring, at a line's start. */
struct ring_prefix {
    /* ring_sequence() of the record's position, stored last (release); 0 where the next record will
     * begin. */
    _Atomic uint32_t sequence;
    uint32_t bytes; /* of the record's body behind this prefix; RING_PAD: skip to the ring's start */
};
static_assert(sizeof(struct ring_prefix) == 8, "layout");
#define RING_PAD UINT32_MAX
/* As `bytes` of the last record of a ring, which is a line and has no body: the record behind it is
 * in the further ring. */
#define RING_MOVED (UINT32_MAX - 1)

/* A further ring: a region of its own; this header fills the first page, and the ring follows. */
#define RING_MAGIC UINT32_C(0x504c524e) /* "PLRN" */
struct ring_header {
    uint32_t magic;
    uint32_t version;    /* LAYOUT_VERSION */
    uint32_t ring_lines; /* a power of two, more than the segment's, at most SEGMENT_RING_LINES_MAX */
    uint32_t offset;     /* of the first line: LAYOUT_PAGE_BYTES */
};
static_assert(sizeof(struct ring_header) == 16, "layout");

/* What stands in the prefix of a record at @position, in lines since the channel began. Odd, so that
 * it is never the 0 that means "nothing yet", however long a channel lives. */
static inline uint32_t ring_sequence(uint64_t position)
{
    return (uint32_t)position << 1 | 1;
}

/* ---- The call header: the first bytes of a record's body, and of an NNG frame. ---- */

enum frame_kind {
    FRAME_REQUEST = 1,
    FRAME_RESPONSE = 2,
    FRAME_CANCEL = 3,  /* client -> service: the caller has given up */
    FRAME_ONE_WAY = 4, /* a request that nobody awaits an answer to */
    FRAME_GOAWAY = 5,  /* service -> client: send no new request, go elsewhere */
    FRAME_BYE = 6,     /* client -> service: no request follows; after the last answer, hang up */
};

enum frame_flag {
    FRAME_IN_ARENA = 1 << 0, /* metadata and payload are in the arena, by the frame_ref behind */
    FRAME_TRACED = 1 << 1,   /* request: the metadata's last bytes are a frame_trace */
    FRAME_MIRROR = 1 << 2,   /* request: a copy of a call; the caller gets another's reply */
    FRAME_IN_RANGE = 1 << 3, /* request: its call asks for this version, by a range of its own */
};

struct frame_header {
    uint64_t call_id;       /* the client's; a response repeats it */
    uint32_t payload_bytes; /* of protobuf, or of text in a response that is not OK */
    uint32_t time_left_us;  /* request: until the caller gives up; UINT32_MAX: that or longer */
    uint16_t metadata_bytes; /* before the payload */
    uint16_t method;        /* request: index in the client's service; response: 0 */
    uint16_t version_tag;   /* of the writer's version on this channel: FRAME_TAG_* */
    uint8_t kind;           /* enum frame_kind */
    uint8_t flags;          /* enum frame_flag */
    uint8_t status;         /* response: enum parley_status; else 0 */
    uint8_t executed;       /* response: enum parley_executed; else 0 */
    uint16_t plan_tag;      /* request: which of the plans for its pair of versions it began with */
    uint8_t share_count;    /* of places behind the payload; 0..FRAME_SHARES_MAX */
    uint8_t return_count;   /* of names at the record's end; 0..FRAME_RETURNS_MAX */
    uint8_t reserved[2];
};
static_assert(sizeof(struct frame_header) == 32, "layout");
#define FRAME_TAG_CLIENT 1
#define FRAME_TAG_SERVICE 2

/* Of a call that is sampled: W3C's trace context, as bytes. It is behind the metadata's pairs, and
 * metadata_bytes counts it. */
struct frame_trace {
    uint8_t trace_id[16]; /* not all 0 */
    uint8_t span_id[8];   /* the client's span; not all 0 */
};
static_assert(sizeof(struct frame_trace) == 24, "layout");

/* Where a block of the writer's arena is. */
struct frame_ref {
    uint32_t block;   /* the writer's name for the block; the reader returns it when done */
    uint32_t segment; /* 0: the arena in the channel's segment; n: the n-th arena that was added */
    uint64_t offset;  /* bytes from that arena's start */
};
static_assert(sizeof(struct frame_ref) == 16, "layout");

/* The content, in the payload, of a bytes field whose bytes are in a block of the writer's arena.
 * Which fields are such is told by their places, bytes from the payload's start, which lie behind
 * the payload, unaligned and ascending: frame_places_bytes(). So all that a call needs to lend a
 * buffer and to give one back is in a record's first line. The reader returns the block's name once
 * for each. */
#define FRAME_SHARES_MAX 16
#define FRAME_STAND_IN_BYTES 16
struct frame_stand_in { /* unaligned */
    uint32_t block, segment; /* as in frame_ref */
    uint32_t offset; /* of the bytes, from that arena's start: they may begin anywhere in the block */
    uint32_t bytes;  /* that it stands for */
};
static_assert(sizeof(struct frame_stand_in) == FRAME_STAND_IN_BYTES, "layout");

/* Of @count places behind so large a payload: two bytes each, or four. */
static inline uint32_t frame_places_bytes(uint32_t payload_bytes, uint32_t count)
{
    return count << (payload_bytes > UINT16_MAX ? 2 : 1);
}

/* The last words of a record may be names of blocks of the reader's arena that the writer gives back:
 * four bytes each, unaligned, also where metadata and payload are in the arena. Such a name is not in
 * the writer's release ring, too. */
#define FRAME_RETURNS_MAX 8

/* A further arena: a region of its own; its header fills the first page. */
#define ARENA_MAGIC UINT32_C(0x504c4152) /* "PLAR" */
struct arena_header {
    uint32_t magic;
    uint32_t version;
    uint32_t segment; /* as in frame_ref */
    uint32_t offset;  /* of the first usable byte: LAYOUT_PAGE_BYTES */
    uint64_t bytes;   /* usable */
};
static_assert(sizeof(struct arena_header) == 24, "layout");

/* ---- The route page: written by the broker, read by every endpoint on every call. ---- */

#define ROUTE_MAGIC UINT32_C(0x504c5254) /* "PLRT" */
#define ROUTE_SLOT_MAX 256
#define ROUTE_VERSION_MAX 8
#define ROUTE_INSTANCE_MAX 64
#define ROUTE_BUCKETS 100000
#define ROUTE_VERSION_WORDS 4 /* 32 bytes: 31 and a NUL */
#define ROUTE_KEY_WORDS 8     /* of a metadata key: 64 bytes, padded with NULs, without one at 64 */
#define ROUTE_MATCHES_MAX 32  /* interfaces that have match rules at the same time */
#define ROUTE_RULE_MAX 16
#define ROUTE_CONDITION_MAX 64 /* of all rules of an interface */
#define ROUTE_TEXT_WORDS 444   /* keys and values of all conditions: 3,552 bytes */

struct route_header {
    uint32_t magic;
    uint32_t version;    /* LAYOUT_VERSION */
    uint32_t slot_count; /* ROUTE_SLOT_MAX */
    uint32_t slot_bytes; /* sizeof(struct route_slot) */
    uint64_t broker_id;
    uint32_t matches_count; /* ROUTE_MATCHES_MAX; they lie behind the slots */
    uint32_t matches_bytes; /* sizeof(struct route_matches) */
    /* ROUTE_TRACE_ON, or 0; and of calls that begin a trace, how many are sampled: 0..ROUTE_BUCKETS.
     * May change at any time. */
    _Atomic uint32_t trace_per_100000;
    uint32_t reserved;
};
static_assert(sizeof(struct route_header) == 40, "layout");
#define ROUTE_TRACE_ON (UINT32_C(1) << 31) /* calls are traced: by marks at least */
#define ROUTE_TRACE_RATE (ROUTE_TRACE_ON - 1)

enum route_instance_state {
    ROUTE_INSTANCE_NONE = 0,
    ROUTE_INSTANCE_UP = 1,
    ROUTE_INSTANCE_DRAINING = 2,
    ROUTE_INSTANCE_EJECTED = 3, /* fails or is slow: no call while another instance can serve it */
};

/* One interface. A seqlock: `sequence` is odd while the broker writes; readers copy, then check. */
struct route_slot {
    alignas(LAYOUT_APART) _Atomic uint32_t sequence;
    _Atomic uint32_t version_count;  /* 0..ROUTE_VERSION_MAX */
    _Atomic uint32_t instance_count; /* 0..ROUTE_INSTANCE_MAX */
    _Atomic uint32_t
        rollout; /* 1: a rollout runs; 0: stable, canary, mirror, matches mean nothing */
    _Atomic uint64_t generation; /* grows with every change of weights, over broker restarts too */
    _Atomic uint64_t salt;       /* of the buckets */
    /* Version i serves the buckets b with ROUTE_BUCKETS - 1 - b in [threshold[i - 1], threshold[i]);
     * the last is ROUTE_BUCKETS. So the last version has the lowest ones, as a canary. */
    _Atomic uint32_t threshold[ROUTE_VERSION_MAX];
    _Atomic uint64_t instance_id[ROUTE_INSTANCE_MAX];
    _Atomic uint8_t instance_state[ROUTE_INSTANCE_MAX];   /* enum route_instance_state */
    _Atomic uint8_t instance_version[ROUTE_INSTANCE_MAX]; /* index of threshold[] */
    /* Version i's name, "1.0.0", padded with NULs, as words: so that instances can tell a broker
     * that has just started what the weights were. */
    _Atomic uint64_t version_name[ROUTE_VERSION_MAX][ROUTE_VERSION_WORDS];
    /* The metadata key whose value picks the bucket; all 0: it is drawn for each call. */
    _Atomic uint64_t sticky_key[ROUTE_KEY_WORDS];
    /* With a rollout, instead of thresholds: the canary serves the buckets below canary_buckets,
     * the stable version all others. So to widen adds buckets, and takes none away. */
    _Atomic uint32_t stable_version; /* index of threshold[] */
    _Atomic uint32_t canary_version; /* index of threshold[] */
    _Atomic uint32_t canary_buckets; /* 0..ROUTE_BUCKETS */
    _Atomic uint32_t mirror_version; /* index of threshold[]; gets copies of calls */
    _Atomic uint32_t mirror_buckets; /* of calls to others, how many are copied; 0..ROUTE_BUCKETS */
    _Atomic uint32_t matches;        /* 1 + index of its struct route_matches; 0: none */
    /* The sequence of the write that changed the matches last: who has those copies none. */
    _Atomic uint32_t matches_sequence;
};
static_assert(sizeof(struct route_slot) == 1152, "layout");
#define ROUTE_SLOTS_OFFSET 128

enum route_match_kind {
    ROUTE_MATCH_EXACT = 1,
    ROUTE_MATCH_PREFIX = 2,
    ROUTE_MATCH_REGEX = 3, /* of the whole value */
    ROUTE_MATCH_PRESENT = 4,
};

/* One condition of a rule, on one metadata key. */
struct route_condition {
    _Atomic uint8_t rule;      /* index of rule_version[] */
    _Atomic uint8_t kind;      /* enum route_match_kind */
    _Atomic uint8_t key_bytes; /* 1..64 */
    _Atomic uint8_t reserved;
    _Atomic uint16_t key_at;      /* bytes from the text's start; the value is behind the key */
    _Atomic uint16_t value_bytes; /* not 0-terminated */
};
static_assert(sizeof(struct route_condition) == 8, "layout");

/* The match rules of one interface, under the seqlock of its slot. A rule fits if all of its
 * conditions do; the first one that fits picks the version, whatever the bucket. */
struct route_matches {
    alignas(LAYOUT_APART) _Atomic uint32_t rule_count; /* 0..ROUTE_RULE_MAX */
    _Atomic uint32_t condition_count;                  /* 0..ROUTE_CONDITION_MAX */
    _Atomic uint32_t text_bytes;                       /* 0..8 * ROUTE_TEXT_WORDS */
    _Atomic uint32_t reserved;
    _Atomic uint8_t rule_version[ROUTE_RULE_MAX]; /* index of threshold[] */
    struct route_condition condition[ROUTE_CONDITION_MAX];
    _Atomic uint64_t text[ROUTE_TEXT_WORDS];
};
static_assert(sizeof(struct route_matches) == 4096, "layout");
#define ROUTE_MATCHES_OFFSET (ROUTE_SLOTS_OFFSET + ROUTE_SLOT_MAX * sizeof(struct route_slot))
#define ROUTE_PAGE_BYTES (ROUTE_MATCHES_OFFSET + ROUTE_MATCHES_MAX * sizeof(struct route_matches))

/* ---- A statistics region: written by one endpoint, read by the broker. ---- */

#define STATS_MAGIC UINT32_C(0x504c5354) /* "PLST" */
#define STATS_CELL_MAX 64 /* the last one counts all that finds no cell of its own */
#define STATS_STATUS_COUNT 17
#define STATS_BUCKET_COUNT 272
#define STATS_NAME_BYTES 64
#define STATS_VERSION_BYTES 32

struct stats_header {
    uint32_t magic;
    uint32_t version;    /* LAYOUT_VERSION */
    uint32_t cell_bytes; /* sizeof(struct stats_cell) */
    uint32_t cell_max;   /* STATS_CELL_MAX */
    uint64_t endpoint_id;
    _Atomic uint32_t cell_count; /* cells whose names are written; only grows (release) */
    _Atomic uint32_t instance_count; /* places of stats_instance that were ever used; only grows */
    _Atomic uint64_t wakeups;   /* times this endpoint slept and was woken */
    _Atomic uint64_t doorbells; /* times it woke another */
    _Atomic uint64_t ring_full; /* times it found no room */
    _Atomic uint64_t late_replies; /* that came after their calls had ended */
    _Atomic uint64_t channels;     /* that it has now */
    _Atomic uint64_t spins_hit;    /* times it spun, and something came */
    _Atomic uint64_t spins_missed; /* times it spun in vain */
    uint64_t reserved_too[5];
};
static_assert(sizeof(struct stats_header) == 128, "layout");
#define STATS_CELLS_OFFSET 128

/* One side (enum: 0 client, 1 service), interface, pair of versions and method. */
struct stats_cell {
    alignas(LAYOUT_APART) char interface_name[STATS_NAME_BYTES]; /* NUL-terminated, like all names here */
    char method[STATS_NAME_BYTES];
    char asked[STATS_VERSION_BYTES];  /* the client's version */
    char served[STATS_VERSION_BYTES]; /* the service's version */
    uint32_t side;
    _Atomic uint32_t translation; /* 1 + enum plan_class of what this side reads; 0: not known yet */
    alignas(LAYOUT_APART) _Atomic uint64_t started; /* calls begun; in flight: started - sum of by_status */
    _Atomic uint64_t translated;                    /* of those ended */
    _Atomic uint64_t retried;
    _Atomic uint64_t latency_sum_ns;
    _Atomic uint64_t by_status[STATS_STATUS_COUNT]; /* calls ended */
    _Atomic uint64_t bucket[STATS_BUCKET_COUNT];    /* latency, bounds: base/histogram.h */
    _Atomic uint64_t crossing_count; /* messages whose crossing was timed: one in many */
    _Atomic uint64_t crossing_sum_ns; /* copying, checking, translating: theirs together */
};
static_assert(sizeof(struct stats_cell) % LAYOUT_APART == 0, "layout");

/* Behind the cells: what became of the calls of one client to one instance, while there is a
 * channel between them; then the place is used for another. By it instances are compared. */
#define STATS_INSTANCE_MAX 128 /* instances beyond that are not compared */
#define STATS_INSTANCE_BUCKETS 24
struct stats_instance {
    alignas(LAYOUT_APART) _Atomic uint64_t instance_id; /* 0: nobody's; stored last (release) */
    _Atomic uint64_t ended;                             /* calls, but for those cancelled */
    _Atomic uint64_t failed;          /* of these, by the service's fault: parley(7) has the list */
    _Atomic uint32_t failed_in_a_row; /* up to now */
    uint32_t reserved;
    /* Calls that ended OK at the first attempt, by latency: less than 2^(10 + i) ns; the last: all
     * others. They wrap. */
    _Atomic uint32_t bucket[STATS_INSTANCE_BUCKETS];
};
static_assert(sizeof(struct stats_instance) == LAYOUT_APART, "layout");
#define STATS_INSTANCES_OFFSET (STATS_CELLS_OFFSET + STATS_CELL_MAX * sizeof(struct stats_cell))

/* Behind these: what became of copies of calls that a rollout sent to another version. One for each
 * cell of the same index, whose `served` is that version. */
struct stats_mirror {
    _Atomic uint64_t sent;    /* copies */
    _Atomic uint64_t differ;  /* of these, with another reply than the caller got, or status */
    _Atomic uint64_t failed;  /* of these, by the service's fault, where the caller's call did not */
    _Atomic uint64_t skipped; /* not sent: too many were on their way */
};
static_assert(sizeof(struct stats_mirror) == 32, "layout");
#define STATS_MIRRORS_OFFSET                                                                       \
    (STATS_INSTANCES_OFFSET + STATS_INSTANCE_MAX * sizeof(struct stats_instance))
#define STATS_REGION_BYTES (STATS_MIRRORS_OFFSET + STATS_CELL_MAX * sizeof(struct stats_mirror))

/* ---- A ring of spans: written by one endpoint, read by the broker. Made when the endpoint's first
 * call is traced, and handed over the link. Lossy: its writer waits for nobody. ---- */

#define SPANS_MAGIC UINT32_C(0x504c534e) /* "PLSN" */
#define SPANS_SLOT_COUNT 1024
#define SPANS_SLOTS_OFFSET 256
#define SPANS_WORDS 8

struct spans_header {
    uint32_t magic;
    uint32_t version;    /* LAYOUT_VERSION */
    uint32_t slot_count; /* SPANS_SLOT_COUNT */
    uint32_t slot_bytes; /* sizeof(struct spans_slot) */
    uint64_t endpoint_id;
    /* Span number n, from 0, is in slot n % SPANS_SLOT_COUNT. Both only grow. */
    alignas(LAYOUT_APART) _Atomic uint64_t begun; /* spans whose writing has begun: stored first */
    _Atomic uint64_t written;                     /* spans that are whole: stored last (release) */
};
static_assert(sizeof(struct spans_header) <= SPANS_SLOTS_OFFSET, "layout");

/* Words by enum spans_word. */
struct spans_slot {
    alignas(LAYOUT_LINE_BYTES) _Atomic uint64_t word[SPANS_WORDS];
};
static_assert(sizeof(struct spans_slot) == LAYOUT_LINE_BYTES, "layout");

enum spans_word {
    SPANS_TRACE_ID = 0,    /* and the next: 16 bytes, in order */
    SPANS_SPAN_ID = 2,     /* 8 bytes, in order */
    SPANS_PARENT_ID = 3,   /* the same; 0: none */
    SPANS_START_NS = 4,    /* CLOCK_MONOTONIC */
    SPANS_DURATION_NS = 5,
    SPANS_PEER = 6,        /* client's: the instance's id; service's: pid, and uid << 32 */
    SPANS_REST = 7,        /* SPANS_*_SHIFT */
};
/* From the lowest bit: the time of the crossing in nanoseconds, 32 bits; the index of the endpoint's
 * stats_cell, 8; enum parley_status, 8; class of the translation, 4; enum parley_executed, 4;
 * attempts, 4 (15: that or more); 1 if one-way. */
#define SPANS_CELL_SHIFT 32
#define SPANS_STATUS_SHIFT 40
#define SPANS_CLASS_SHIFT 48
#define SPANS_EXECUTED_SHIFT 52
#define SPANS_ATTEMPTS_SHIFT 56
#define SPANS_ONE_WAY_SHIFT 60

/* ---- The doorbell: what one side writes to the channel's socket. One packet each. ---- */

enum bell_kind {
    BELL_RING = 1,   /* wake up; no descriptor */
    BELL_ACCEPT = 2, /* service -> client, first: descriptor: the service's segment */
    BELL_REJECT = 3, /* service -> client, first and last: text says why */
    BELL_GROW = 4,   /* descriptor: a further arena of the sender */
    BELL_BROKEN = 5, /* last: the sender ends the channel; text says why */
    BELL_GROW_RING = 6, /* descriptor: the further ring of the sender; at most once */
};

struct bell_packet {
    uint8_t kind; /* enum bell_kind; a BELL_RING packet may be this byte alone */
    uint8_t status; /* enum parley_status, for BELL_REJECT and BELL_BROKEN */
    uint8_t reserved[6];
    uint64_t instance_id; /* BELL_ACCEPT: which one answers */
    char text[240];       /* NUL-terminated */
};
static_assert(sizeof(struct bell_packet) == 256, "layout");

#endif
