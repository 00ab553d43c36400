/*
 * A frame for benchmarks: subjects, rounds, percentiles, rows.
 *
 * A subject is one thing to be measured. It runs in a process of its own, forked for it, pinned to
 * one core; the other side of it, if it has one, is forked in turn and pinned to another. So no
 * subject inherits threads, caches of an allocator or signal handlers of another.
 *
 * A benchmark program is a `struct bench` and a main() of one line: `return bench_main(...)`.
 */
#ifndef PARLEY_BENCH_BENCH_H
#define PARLEY_BENCH_BENCH_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/error.h"
#include "wait/wait.h"

#define BENCH_SUBJECT_MAX 256
#define BENCH_SAMPLE_MAX (1u << 20)
#define BENCH_PASSES_MAX 5
#define BENCH_PATH_BYTES 64
#define BENCH_OPTION_MAX 4

enum {
    BENCH_P1,
    BENCH_P10,
    BENCH_P25,
    BENCH_P50,
    BENCH_P75,
    BENCH_P90,
    BENCH_P95,
    BENCH_P99,
    BENCH_P995,
    BENCH_P999,
    BENCH_P9995,
    BENCH_P9999,
    BENCH_PERCENTILES,
};

extern const double bench_percentiles[BENCH_PERCENTILES]; /* 0.01 ... 0.9999 */

/* What a subject is to do, if it can do more than one thing. */
struct bench_load {
    uint32_t bytes;     /* of a message */
    uint32_t in_flight; /* calls at once; 0: one after the other */
    uint64_t pause_ns;  /* before each call; 0: none */
    uint32_t rate;      /* calls a second that begin whatever the replies do, pace.h; 0: no such */
    uint64_t seed;      /* of the times at which they begin */
};

/* What a subject finds when it runs. */
struct bench_run {
    uint32_t *samples_ns; /* to be filled; shared with the program that reads them */
    uint32_t sample_count;
    double *ret_per_s; /* calls a second, where that is not 1 / latency; shared, too */
    bool *ret_behind;  /* did not keep up with load.rate; shared, too */
    struct bench_load load;
    bool one_core;      /* whoever spins must yield */
    const char *folder; /* an empty temporary folder, for sockets */
    int round;          /* from 0; with `name`, makes names unique */
    const char *name;
    struct error_text *error; /* why it failed */
    int peer_cpu;             /* -1: not pinned */
};

enum bench_placement {
    BENCH_APART,    /* each side on a core of its own */
    BENCH_TOGETHER, /* both on one core */
    BENCH_ANYWHERE, /* as the scheduler likes: for those that have threads of their own */
};

struct bench_subject {
    const char *name;  /* in rows and JSON: "nng-ipc" */
    const char *about; /* in the table, up to 39 columns */
    uint32_t sample_count;
    enum bench_placement placement;
    struct bench_load load;
    int passes;  /* a round measures it so often, and takes the median; 0: once */
    bool higher; /* the one before it, at a higher load.rate: not measured in a round in which
                  * that one fell behind */
    const char *skipped; /* why it cannot be measured here; NULL: it can */
    int (*run)(struct bench_run *run);
};

struct bench_result {
    bool measured;
    double ns[BENCH_PERCENTILES]; /* the medians of all rounds */
    double per_s;                 /* as well; 0: the subject did not say */
    double p50_least, p50_most;   /* of all rounds */
    const double *p50_of_round;   /* in their order */
    const double *per_s_of_round;
    uint32_t round_count;  /* in which it was measured: all, but for what is `higher` */
    uint32_t behind_count; /* in which it did not keep up with load.rate */
};

/* An option of one benchmark: "--rates LIST". */
struct bench_option {
    const char *name, *argument; /* "rates", "LIST" */
    const char *about;           /* of --help, a line */
    /* Before the subjects are looked at. Return: 0, or -1 with a sentence in @error. */
    int (*take)(const char *value, struct error_text *error);
};

struct bench {
    const char *name;
    const char *question;
    const struct bench_subject
        *subjects; /* the first is the floor that every round is checked by */
    size_t subject_count;
    uint32_t round_count;               /* without --rounds; 0: 5 */
    uint32_t tries;                     /* of each round, on average, if it is disturbed; 0: 3 */
    const struct bench_option *options; /* of its own, up to BENCH_OPTION_MAX; NULL: none */
    size_t option_count;
    /* Some subjects may be missing from the results: not asked for, skipped, or failed, which does
     * not end the session then. Whoever reads results looks at `measured`. */
    bool partial;
    /* Each may be NULL. begin: before the first round, end: after the last, also on failure. */
    int (*begin)(const char *folder, struct error_text *error);
    void (*end)(void);
    /* Instead of the frame's own: a table on stdout, the rows of the JSON. */
    void (*print)(const struct bench_result *results);
    void (*write_rows)(const struct bench_result *results, FILE *file);
    /* --report DIR: an option if this is not NULL. Return: 0, or 1, having said why. */
    int (*write_report)(const struct bench_result *results, const char *folder);
    /* What the figures say, in sentences; prints to stdout. Return: 0, or 1 if a goal was missed.
     */
    int (*conclude)(const struct bench_result *results);
};

int bench_main(int argc, char **argv, const struct bench *bench);

/* Whether --only leaves this subject in. For begin(). */
bool bench_wants(const struct bench_subject *subject);

/* "AMD EPYC": no quotes, no control characters. */
void bench_cpu_name(char *buffer, size_t bytes);

/* How many times the p50 of @of: the median of what it is in each round. For conclude(). */
double bench_ratio(const struct bench_result *result, const struct bench_result *of);
/* The same of calls a second. */
double bench_rate_ratio(const struct bench_result *result, const struct bench_result *of);

/* ---- For subjects ---- */

/**
 * bench_peer_start() - run the other side in a process of its own
 * @side: runs in the child, which ends when it returns; its failure is printed by the child
 *
 * The child dies with its parent. Return: its pid, or -errno.
 */
pid_t bench_peer_start(const struct bench_run *run,
                       int (*side)(const struct bench_run *run, void *), void *userdata);
/* Kills and reaps it. */
void bench_peer_stop(pid_t pid);

/* One turn of a spin loop. */
static inline void bench_pause(const struct bench_run *run)
{
    if (run->one_core)
        (void)sched_yield();
    else
        spin_pause();
}

/* Samples beyond 4.29 s are cut to that. */
static inline uint32_t bench_sample(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns - from_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)(to_ns - from_ns);
}

#endif
