/* Between the frame's two files: what a session measured, and what is printed of it. */
#ifndef PARLEY_BENCH_SESSION_H
#define PARLEY_BENCH_SESSION_H

#include "bench.h"

#define ROUND_COUNT_MAX 100
#define FLOOR_RATIO_MAX 1.3

struct figures {
    bool measured;
    bool behind;
    double ns[BENCH_PERCENTILES];
    double per_s;
};

struct session {
    const struct bench *bench;
    uint32_t round_count; /* wanted */
    const char *json_path;
    const char *report_path;
    const char *only; /* names, with commas between them */
    char folder[BENCH_PATH_BYTES];
    struct shared *shared;
    int cpus[2]; /* -1: not pinned */
    bool one_core;
    uint32_t repeated;
    bool disturbed; /* the bound was reached */
    uint32_t rounds_done;
    bool failed[BENCH_SUBJECT_MAX];
    bool behind[BENCH_SUBJECT_MAX]; /* in this round, or what it is higher than was */
    bool any_failed;
    struct figures passes[BENCH_SUBJECT_MAX][BENCH_PASSES_MAX]; /* of this round */
    struct figures figures[BENCH_SUBJECT_MAX][ROUND_COUNT_MAX];
};

/* Return: -1 to go on, else the program's exit status. */
int session_parse_options(struct session *session, int argc, char **argv);
/* The first subject is wanted whatever --only says. */
bool session_wants(const struct session *session, size_t subject);
/* Sorts @samples. */
void figures_compute(uint32_t *samples, uint32_t count, struct figures *ret_figures);
/* Table, JSON and conclusion. Return: the program's exit status. */
int session_report(const struct session *session);

#endif
