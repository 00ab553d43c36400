/*
 * bench_nng's askers and services that use libparley at the bus's URL, as a C program on another
 * machine does.
 */
#ifndef PARLEY_BENCH_NNG_LIBRARY_H
#define PARLEY_BENCH_NNG_LIBRARY_H

#include "peer.h"

/* Calls as run->load says, of the order's first version, or, if @large_bytes is not 0, of the echo
 * with so many bytes. Return: 0, or -1 with a sentence in run->error. */
int nng_library_ask(struct bench_run *run, const char *url, size_t large_bytes);
/* Serves both (the order's second version) on the bus at @broker, a URL or a socket, for ever; a
 * byte goes to @ready once they are published. Return: -1, having said why. */
int nng_library_serve(const char *broker, int ready);

#endif
