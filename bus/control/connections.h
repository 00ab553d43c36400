/*
 * Limits on TCP connections that somebody else accepts: how many may be open, and for how long.
 * libnng's HTTP server sets neither. One thread, from beginning to end, in which SIGURG and SIGIO
 * are blocked meanwhile; the accepting goes on in others.
 */
#ifndef PARLEY_CONTROL_CONNECTIONS_H
#define PARLEY_CONTROL_CONNECTIONS_H

#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"

#define CONNECTIONS_MAX 64 /* that one may allow */

struct connections;

/**
 * connections_new() - watch over what a listening socket of this process accepts
 * @address:   where it listens; port not 0
 * @count_max: 1..CONNECTIONS_MAX open ones; of more the oldest are hung up on
 * @life_ns:   what one has, from the sweep that sees it first
 * Return: 0; -ENOENT: nothing here listens there; -errno, with a sentence.
 */
int connections_new(const struct sockaddr *address, uint32_t count_max, uint64_t life_ns,
                    struct connections **ret_connections, struct error_text *error);
struct connections *connections_free(struct connections *connections); /* hangs up on none */

/* Readable when a connection has come: connections_heard(). */
int connections_fd(const struct connections *connections);
void connections_heard(struct connections *connections);
/* Hangs up on the too many and the too old. Return: when to do so again; CLOCK_NEVER: none is
 * open. */
uint64_t connections_sweep(struct connections *connections, uint64_t now_ns);

#endif
