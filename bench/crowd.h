/* Many connected clients in processes of their own, which sleep. */
#ifndef PARLEY_BENCH_CROWD_H
#define PARLEY_BENCH_CROWD_H

#include "study.h"

struct crowd {
    pid_t pid;
    int fd; /* its report; it ends with it */
};

struct crowd_report {
    struct error_text error; /* "": all is well */
    double private_bytes;    /* of the process, with all its clients */
    double private_first;    /* with the first one */
};

/* @clients connected clients, @per_endpoint on an endpoint; each has called once. Return: 0, or -1
 * and *round->error. */
int crowd_start(struct study_round *round, uint32_t clients, uint32_t per_endpoint,
                struct crowd *ret_crowd, struct crowd_report *ret_report);
void crowd_stop(struct crowd *crowd);

#endif
