/* Between the frame's two files: what a session measured, and what is printed of it. */
#ifndef PARLEY_BENCH_SESSION_H
#define PARLEY_BENCH_SESSION_H

#include "bench.h"

#define ROUND_COUNT_MAX 100
#define FLOOR_RATIO_MAX 1.3

struct figures {
    double ns[BENCH_PERCENTILES];
};

struct session {
    const struct bench *bench;
    uint32_t round_count; /* wanted */
    const char *json_path;
    const char *only;
    char folder[BENCH_PATH_BYTES];
    struct shared *shared;
    int cpus[2]; /* -1: not pinned */
    bool one_core;
    uint32_t repeated;
    bool disturbed; /* the bound was reached */
    uint32_t rounds_done;
    struct figures figures[BENCH_SUBJECT_MAX][ROUND_COUNT_MAX];
};

bool session_wants(const struct session *session, size_t subject);
/* Sorts @samples. */
void figures_compute(uint32_t *samples, uint32_t count, struct figures *ret_figures);
/* Table, JSON and conclusion. Return: the program's exit status. */
int session_report(const struct session *session);

#endif
