/*
 * Some instances of one service, each a process, and clients that keep calls in flight, processes
 * too, on a bus with a real broker. What they count is in memory that they share with the test.
 */
#ifndef PARLEY_TESTS_SUPPORT_INSTANCES_H
#define PARLEY_TESTS_SUPPORT_INSTANCES_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "support/bus.h"

#define INSTANCES_MAX 12
#define INSTANCES_FIRST 3 /* of them begin */
#define LOADERS_MAX 2

/* How an instance answers. FAILS_OFTEN: it fails one call of three. */
enum instance_mode { WELL, FAILS, FAILS_OFTEN, SLOW };

struct instances_counts {
    _Atomic uint64_t ok, failed;
    _Atomic uint64_t served[INSTANCES_MAX];
    _Atomic int mode[INSTANCES_MAX]; /* the test's to set */
    _Atomic unsigned up;             /* instances published, ever */
    _Atomic unsigned loading;        /* loaders that a signal stops */
    char first[256];                 /* failure, of whoever was first */
};

struct instances {
    struct bus bus;
    pid_t pids[INSTANCES_MAX], loaders[LOADERS_MAX];
    unsigned count, loader_count;
    struct instances_counts *counts;
};
extern struct instances instances;

struct instances_load {
    unsigned loaders;    /* clients */
    unsigned in_flight;  /* calls of each */
    uint64_t timeout_ns; /* of a call; 0: the library's own */
};

/* The bus is up, and each instance has calls. @broker: more arguments of the broker, NULL at the
 * end; or NULL. @load: is kept. */
void instances_begin(const char *const *broker, const struct instances_load *load);
void instances_end(void);

/* One more, which has published when this returns. Return: its number. */
unsigned instances_add(void);
/* Waits until a count has grown by so much. */
void instances_await(const _Atomic uint64_t *count, uint64_t more);
/* Ends the clients, which must be well. */
void instances_unload(void);

#endif
