/*
 * Ways to wake another process up, and to wait for that: what the files of `bench doorbells` share.
 *
 * A contender is a doorbell, a way to wait for it, and options of both. Two sides ring each other
 * in turns; each owns a word, which it sets to the number of its turn before it rings, as a record
 * would be published before a ring. The waiter looks at the other's word once it was woken, so that
 * a doorbell that is lost, or rings too early, is found out.
 */
#ifndef PARLEY_BENCH_BELLS_H
#define PARLEY_BENCH_BELLS_H

#include <liburing.h>
#include <stdatomic.h>

#include "bench.h"

#define BELLS_WATCHED_MAX 1000
#define BELLS_WORDS_MAX 1024u /* in a page */
#define BELLS_BYTES_MAX (64u << 10)
#define BELLS_SELDOM 128          /* of rings that are left in a socket, before they are read */
#define BELLS_TIMEOUT_NS NS_PER_S /* where a wait has one; it never passes */

enum bell_kind {
    BELL_WORD,      /* a futex on the owner's word */
    BELL_EVENTFD,   /* one for each direction */
    BELL_SEQPACKET, /* one socketpair for both directions, as Parley's */
    BELL_STREAM,    /* the same */
    BELL_PIPE,      /* one for each direction */
};

enum bell_drain {
    DRAIN_ONCE,   /* one read: it is known that one ring is there */
    DRAIN_EMPTY,  /* until there is nothing, as it takes if several may have rung */
    DRAIN_SELDOM, /* once in BELLS_SELDOM, or never if the doorbell is a counter */
};

enum bell_timeout {
    TIMEOUT_NONE,
    TIMEOUT_ARGUMENT, /* of the system call that waits */
    TIMEOUT_LINKED,   /* io_uring: an entry of its own after each wait */
    TIMEOUT_TIMERFD,  /* set anew for each wait */
};

/* Of io_uring, besides the flags of its set-up. */
#define URING_RINGS 1u       /* the doorbell is rung by the ring, submitted with the wait */
#define URING_FIXED_FILES 2u /* registered files */
#define URING_FIXED_RING 4u  /* the ring's own descriptor registered */
#define URING_FIXED_BYTES 8u /* registered buffers, read and written as such */
#define URING_POLL_FIRST 16u /* a receive does not try before it waits */

/* Operations, by number: Debian 12's headers do not have them. */
#define BELLS_OP_READ_MULTISHOT 49
#define BELLS_OP_FUTEX_WAIT 51
#define BELLS_OP_FUTEX_WAKE 52
#define BELLS_OP_FUTEX_WAITV 53

/* What the library uses, and what only a thread that is alone with its ring can. */
#define URING_COOP (IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG)
#define URING_DEFER (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)

struct bell_side;

/* Each: 0, or -errno. */
struct bell_waiter {
    int (*begin)(struct bell_side *side); /* in the side's own process */
    int (*ring)(struct bell_side *side);
    int (*wait)(struct bell_side *side); /* for one ring, or what looks like one */
    bool uring;
};

struct contender {
    const char *group; /* a heading, where one begins */
    bool floor;        /* what follows is held against it */
    const char *name;  /* "uring-recv" */
    const char *about; /* up to BELLS_ABOUT columns */
    double calls;      /* system calls a leg, by construction: one ring and one wait */
    enum bell_kind kind;
    const struct bell_waiter *waiter;
    enum bell_drain drain;
    enum bell_timeout timeout;
    uint32_t bytes;    /* that are sent for a ring; 0: as few as can be */
    uint32_t watched;  /* doorbells that the waiter waits for, of which one rings; 0: 1 */
    uint64_t pause_ns; /* before each round trip: both sides have slept for long */
    uint32_t samples;  /* 0: as many as others */
    bool read_only;    /* the other's word is in a sealed memfd, mapped to be read only */
    bool edge;         /* epoll */
    unsigned setup;    /* io_uring's flags */
    unsigned uring;    /* URING_... */
    int opcode;        /* of io_uring, that the kernel may lack; 0: none */
};
#define BELLS_ABOUT 52

struct bell_side {
    const struct contender *what;
    _Atomic uint32_t *ours; /* its page: watched words, the first is the one that counts */
    const _Atomic uint32_t *theirs;
    uint32_t turn;               /* that is waited for */
    int in, out;                 /* what we wait for, what we ring */
    int idle[BELLS_WATCHED_MAX]; /* doorbells that never ring, watched - 1 of them */
    uint32_t seldom;
    /* Of whoever waits. */
    int epoll, timer;
    struct wait *wait;
    struct io_uring uring;
    struct io_uring_buf_ring *buffers;
    bool armed;
    uint32_t received_bytes; /* of the ring that is waited for, if it is a long one */
    uint8_t sent[BELLS_BYTES_MAX], received[BELLS_BYTES_MAX];
};

extern const struct bell_waiter bells_block, bells_waitv, bells_ppoll, bells_epoll;
extern const struct bell_waiter bells_library, bells_library_epoll;
extern const struct bell_waiter uring_poll, uring_poll_multi, uring_receive, uring_receive_multi;
extern const struct bell_waiter uring_futex, uring_futexv, uring_over_epoll;

/* ---- bells.c ---- */

static inline uint32_t bell_watched(const struct contender *what)
{
    return what->watched ? what->watched : 1;
}

static inline bool bell_is_socket(const struct contender *what)
{
    return what->kind == BELL_STREAM || what->kind == BELL_SEQPACKET;
}

static inline uint32_t bell_bytes(const struct contender *what)
{
    return what->kind == BELL_EVENTFD ? sizeof(uint64_t) : what->bytes ? what->bytes : 1;
}

/* Rings with a system call: a wake-up of the word, or a write. */
int bell_ring(struct bell_side *side);
/* Takes one ring off the descriptor. Return: 0, or -errno. */
int bell_take(struct bell_side *side);
/* Takes what the contender's way to drain takes, after a wait that did not. */
int bell_drain(struct bell_side *side);

/* Both sides of a subject: fork, rounds of turns, and a look at each turn's number. */
int bells_run(struct bench_run *run, const struct contender *what);
/* Why this kernel cannot do it, or NULL. */
const char *bells_missing(const struct contender *what);

#endif
