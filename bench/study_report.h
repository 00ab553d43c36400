/* Between the two files of the frame for studies. */
#ifndef PARLEY_BENCH_STUDY_REPORT_H
#define PARLEY_BENCH_STUDY_REPORT_H

#include "study.h"

struct study_session {
    const struct study *study;
    uint32_t round_count; /* wanted */
    uint32_t minutes;
    const char *json_path;
    char folder[64];
    int cpus[2];
    bool one_core;
    uint32_t rounds_done;
    struct study_value values[STUDY_ROUND_MAX][STUDY_ROW_MAX];
};

/* Table, goals and JSON. Return: 0, or 1 if a goal was missed or the file cannot be written. */
int study_report(const struct study_session *session);

#endif
