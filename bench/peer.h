/*
 * Peers: what a user could pick instead of Parley, each used as its own documentation advises.
 *
 * A peer is a file of its own with one or more `struct peer` in it; peers.c lists them and makes
 * subjects of them: an echo, awake or asleep, of several sizes, and many calls at once. What is
 * echoed is `load.bytes` long and differs from call to call; both ends of it are checked.
 */
#ifndef PARLEY_BENCH_PEER_H
#define PARLEY_BENCH_PEER_H

#include <string.h>

#include "bench.h"
#include "flow.h"
#include "pace.h"

#ifdef __cplusplus
extern "C" {
#endif

#define PEER_BYTES_MAX (1u << 20)
#define PEER_TIMEOUT_MS 10000

/* Placements that make sense for it, as 1 << BENCH_APART ... */
#define PEER_APART (1u << BENCH_APART)
#define PEER_TOGETHER (1u << BENCH_TOGETHER)
#define PEER_ANYWHERE (1u << BENCH_ANYWHERE)
#define PEER_ALL (PEER_APART | PEER_TOGETHER | PEER_ANYWHERE)

struct peer {
    const char *name;    /* in names and JSON: "nng-ipc" */
    const char *about;   /* in tables, up to 30 columns */
    const char *package; /* what it is not in this build for want of; NULL: it is in it */
    unsigned placements; /* of the echo and the flow */
    uint32_t echo_count; /* samples of 64 bytes; fewer of more */
    uint32_t flow_count; /* samples, FLOW_TIMED calls each */
    uint32_t bytes_max;  /* of the echo; 64 where more would tell nothing */
    int (*echo)(struct bench_run *run);
    int (*asleep)(struct bench_run *run); /* the echo with pauses; NULL: not measured */
    int (*flow)(struct bench_run *run);   /* many calls at once; NULL: it has no such thing */
    int (*paced)(struct bench_run *run);  /* calls at load.rate, pace.h; NULL: not measured */
    enum bench_placement paced_placement; /* where that is best */
};

extern const struct peer peer_parley, peer_parley_default, peer_unix, peer_futex;
extern const struct peer peer_futex_within; /* between processes that have called by Parley */
extern const struct peer peer_nng_ipc, peer_nng_tcp, peer_nng_inproc, peer_zmq, peer_sdbus;
extern const struct peer peer_iceoryx, peer_iceoryx_waiting;
extern const struct peer peer_grpc, peer_capnp;

/* RouDi, which iceoryx needs. Return: 0, or -1 with a sentence in @error. */
int peer_iceoryx_begin(const char *folder, struct error_text *error);
void peer_iceoryx_end(void);

/* ---- For peers ---- */

/* Where both sides meet. */
struct peer_place {
    char path[BENCH_PATH_BYTES + 96]; /* of a socket in the benchmark's folder */
    uint16_t port;                    /* set by the service, of one on the loopback */
    int ready[2];                     /* a pipe: the service is there */
    void *data;                       /* the peer's own, from before the fork */
};

/**
 * peer_run() - both sides of a subject
 * @serve: in a process of its own; calls peer_ready(), then serves for ever
 * @ask:   here, once the other side is ready
 */
int peer_run(struct bench_run *run, int (*serve)(const struct bench_run *, struct peer_place *),
             int (*ask)(struct bench_run *, struct peer_place *), void *data);
/* Tells the other side, and the port with it. */
void peer_ready(const struct peer_place *place);

/**
 * peer_time() - calls one after the other, into the samples
 * @call: makes call @i and checks its reply. Return: 0, or -1 with the error set
 */
int peer_time(struct bench_run *run, int (*call)(struct bench_run *run, void *data, uint32_t i),
              void *data);

/* Puts a number at both ends of a message of 4 bytes or more. */
static inline void peer_mark(void *message, size_t bytes, uint32_t i)
{
    memcpy(message, &i, sizeof(i));
    memcpy((char *)message + bytes - sizeof(i), &i, sizeof(i));
}

static inline bool peer_is_marked(const void *message, size_t bytes, size_t wanted, uint32_t i)
{
    return bytes == wanted && memcmp(message, &i, sizeof(i)) == 0 &&
           memcmp((const char *)message + bytes - sizeof(i), &i, sizeof(i)) == 0;
}

/* Of a protobuf message with one field of bytes: 64 bytes on the wire are 62. More are not made
 * fewer: the few bytes around them do not matter there. */
static inline uint32_t peer_payload_bytes(const struct bench_run *run)
{
    return run->load.bytes > 64 ? run->load.bytes : run->load.bytes - 2;
}

#ifdef __cplusplus
}
#endif

#endif
