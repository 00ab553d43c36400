/* Somebody who sends to the bus what nobody should, as fast as it can: for `bench flood`, and
 * tests. */
#ifndef PARLEY_BENCH_GARBAGE_H
#define PARLEY_BENCH_GARBAGE_H

#include <stdbool.h>
#include <stdint.h>

/* Where it tells how far it is; in memory that others may see. */
struct garbage_counts {
    uint64_t messages, connections, bytes;
};

enum garbage_kind {
    /* On one connection for as long as that lives: noise, halves of frames, frames to nowhere, and
     * lengths that cannot be, each as a message of its own. */
    GARBAGE_MESSAGES,
    /* What ends a connection, and then the next one: no greeting, no way back, a length without
     * end, 64 MiB that never come. */
    GARBAGE_STORM,
};

/* @path: of the bus's socket. Until the process is killed. Answers are read on every other
 * connection only. Return: -1 if nobody listens there. */
int garbage_send(const char *path, enum garbage_kind kind, volatile struct garbage_counts *counts);

#endif
