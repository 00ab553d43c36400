/*
 * A frame for benchmarks whose figures belong together: a round is one story, told by one process
 * and those that it starts, and fills all rows; what is held against each other is of one round.
 *
 * Beside bench.h, where a subject is one thing, timed alone. Here a row may be bytes or a count as
 * well as a time, and a figure is measured among others that are its yardstick: the same client,
 * service and cores, seconds apart.
 */
#ifndef PARLEY_BENCH_STUDY_H
#define PARLEY_BENCH_STUDY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define STUDY_ROW_MAX 64
#define STUDY_GOAL_MAX 48
#define STUDY_ROUND_MAX 100
#define STUDY_SAMPLE_MAX 100000u

enum study_unit { STUDY_NS, STUDY_BYTES, STUDY_COUNT, STUDY_MB_S };

struct study_row {
    const char *name;  /* in JSON: "one-of-1000" */
    const char *about; /* in the table, up to 46 columns */
    enum study_unit unit;
    const char *json; /* further members of its row: "\"clients\":1000"; NULL: none */
};

/* What is missed if it is not so. The ratio to @against is taken within each round. */
struct study_goal {
    size_t row;
    size_t against; /* STUDY_ALONE: the value itself */
    bool p99;       /* of both; else p50 */
    double most;    /* 0: no goal */
    double least;   /* 0: no goal */
    const char *what;
};
#define STUDY_ALONE SIZE_MAX

struct study_value {
    double p50, p99; /* bytes, counts, rates: p50 only */
};

/* What a round finds. */
struct study_round {
    const char *folder; /* parleyd's */
    int cpus[2];        /* ours, which we are on; the other side's. -1: not pinned */
    uint32_t number;
    uint32_t minutes; /* --minutes; 0: not given */
    struct error_text *error;
    struct study_value *values; /* one a row; not a number: not measured */
    uint32_t *samples_ns;       /* room for STUDY_SAMPLE_MAX; ours alone */
};

struct study {
    const char *name;
    const char *question;
    const char *method; /* below the table: how it was measured */
    const struct study_row *rows;
    size_t row_count;
    const struct study_goal *goals;
    size_t goal_count;
    uint32_t rounds;           /* by default */
    uint32_t seconds_max;      /* for one round */
    const char *minutes_about; /* NULL: there is no --minutes */
    /* In a process of its own, with a broker running. Return: 0, or -1 and *round->error. */
    int (*run)(struct study_round *round);
};

int study_main(int argc, char **argv, const struct study *study);

/* ---- For rounds ---- */

void study_put(struct study_round *round, size_t row, double value);
/* p50 and p99 of the samples, which it sorts. */
void study_put_samples(struct study_round *round, size_t row, uint32_t count);

/* Runs a side in a process of its own, which dies with this one; pinned unless @cpu is -1. Return:
 * its pid, or -errno. */
pid_t study_start(const struct study_round *round, int cpu,
                  int (*side)(const struct study_round *round, void *userdata), void *userdata);
/* Kills and reaps it. */
void study_stop(pid_t pid);

/* Samples beyond 4.29 s are cut to that. */
static inline uint32_t study_sample(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns - from_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)(to_ns - from_ns);
}

#endif
