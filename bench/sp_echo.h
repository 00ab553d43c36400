/* A REP socket without libnng, which sends each whole request back. For ./run bench nng. */
#ifndef PARLEY_BENCH_SP_ECHO_H
#define PARLEY_BENCH_SP_ECHO_H

#include <stdbool.h>

/* Listens at @url, ipc://PATH or tcp://127.0.0.1:PORT; writes a byte to @ready, and serves one
 * connection after the other. @uring: with multishot receive and, on tcp, zero-copy send; else by
 * epoll. Return: -1 with errno; not otherwise. */
int sp_echo(const char *url, bool uring, int ready);

#endif
