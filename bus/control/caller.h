/*
 * SP's REQ side as libparley needs it: any number of requests under way on one connection that it
 * dials, answers in any order. That which listens is requester.h.
 *
 * One thread, which is the caller's. One descriptor for an event loop. It never sends anything
 * twice: who asks decides that. A connection that is lost is dialled anew, with jitter.
 */
#ifndef PARLEY_CONTROL_CALLER_H
#define PARLEY_CONTROL_CALLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "control/replier.h"
#include "control/tls.h"

#define CALLER_E_AGAIN 1 /* nothing there; or no connection, or no room: try again later */

struct caller;

struct caller_options {
    const char *url;
    size_t bytes_max; /* of an answer */
    const struct tls_settings *tls;
    bool gather; /* requests may wait for caller_flush(), so that many go with one system call */
    const char *backend; /* "nng", "stream"; NULL: the better one for the URL */
    /* Run in caller_turn(). */
    void (*came)(const struct replier_peer *peer, void *data);
    void (*gone)(void *data); /* what was sent will not be answered */
    void *data;
};

/* Returns at once: the connection comes later, or is tried for again and again. Return: 0; -EINVAL,
 * ...; -ENOSYS in a child of fork(2) whose parent had one by libnng, if this is one; with a
 * sentence. */
int caller_new(const struct caller_options *options, struct caller **ret_caller,
               struct error_text *error);
/* In a child of fork(2) it closes descriptors at most, and nobody else hears of it; those of
 * libnng, which must not be touched there, stay open until the child ends or executes another
 * program. NULL is fine. Returns NULL. */
struct caller *caller_free(struct caller *caller);
int caller_fd(const struct caller *caller); /* readable: caller_turn(), then caller_receive() */
uint64_t caller_next_deadline_ns(const struct caller *caller);
bool caller_connected(const struct caller *caller);
/* Why there is no connection, for people, naming the URL; "": not known (yet). */
const char *caller_problem(const struct caller *caller);
/* Lets the connection go, which seems dead, and dials anew; `gone` runs in the next turn. */
void caller_hang_up(struct caller *caller);
/* Connections that came and went, dialling anew, jitter. Answers that came before a connection's
 * end are received before `gone` runs. */
void caller_turn(struct caller *caller);

/* Memory for a request of up to @bytes; sent from there. One at a time. Return: 0; -ENOMEM. */
int caller_send_begin(struct caller *caller, size_t bytes, uint8_t **ret_data);
/* @request: the asker's number for it, 31 bits, which its answer brings back. Return: 0;
 * CALLER_E_AGAIN: begin again later; caller_send_begin() of as many bytes finds what was written,
 * as long as nothing else was begun; -errno. */
int caller_send_end(struct caller *caller, size_t bytes, uint32_t request);
/* If they may be gathered: sends those that wait. Without it they go with the next turn, for which
 * a deadline is due then. */
void caller_flush(struct caller *caller);
/* @ret_data: borrowed until the next call of this or of caller_free(). 0; CALLER_E_AGAIN; -errno.
 * What the number means is the asker's to know: a peer may answer one that was never sent, twice,
 * or that of a connection before. What is no answer in SP's form ends the connection. */
int caller_receive(struct caller *caller, uint32_t *ret_request, const uint8_t **ret_data,
                   size_t *ret_bytes);

#endif
