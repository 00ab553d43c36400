/*
 * SP's REQ side for one REP socket that dials, on a socket of our own, over ipc, tcp and tls+tcp:
 * the broker's end of a program that serves without a Parley library. Any number of requests under
 * way, answers in any order. Who dials is who the kernel or a certificate says.
 *
 * One thread, which is the caller's. One descriptor for an event loop. It never sends anything
 * twice. Of the process that made it alone, not of its children.
 */
#ifndef PARLEY_CONTROL_REQUESTER_H
#define PARLEY_CONTROL_REQUESTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "control/replier.h"
#include "control/tls.h"

#define REQUESTER_E_AGAIN 1 /* nothing there; or no connection, or no room: try again later */
#define REQUESTER_STRANGERS_MAX 16 /* who have not greeted yet; the oldest has to go */

struct requester;

struct requester_options {
    const char *url;                /* where it listens */
    size_t bytes_max;               /* of an answer; more: the connection ends */
    const struct tls_settings *tls; /* NULL: none; then tls+ URLs are refused */
    unsigned mode;                  /* of a socket in the file system; 0: as the umask says */
    /* Both run in requester_turn(). @came: while nobody is there, or one who may be replaced.
     * Return: whether this is the one; else it is hung up on, and another may come. */
    bool (*came)(const struct replier_peer *peer, void *data);
    void (*gone)(void *data); /* what was sent will not be answered */
    void *data;
};

/* Return: 0; -EADDRINUSE, -EINVAL, ... with a sentence that says what to do. */
int requester_new(const struct requester_options *options, struct requester **ret_requester,
                  struct error_text *error);
struct requester *requester_free(struct requester *requester); /* NULL is fine; returns NULL */
/* Readable: requester_turn(), then requester_receive(). */
int requester_fd(const struct requester *requester);
uint64_t requester_next_deadline_ns(const struct requester *requester);
const char *requester_url(const struct requester *requester); /* with the port that it has */
bool requester_connected(const struct requester *requester);
/* Whether who is there, or comes now, may be replaced by who comes then. Not so at first. */
void requester_replaceable(struct requester *requester, bool yes);
/* Hangs up on who is there; `gone` does not run. Answers that had come may still be received. */
void requester_hang_up(struct requester *requester);
/* Connections that come and go; what has come to be read, and what waited to be sent. Answers that
 * came before a connection's end are received before `gone` runs. Return: 0; -errno. */
int requester_turn(struct requester *requester);

/* Memory for a request of up to @bytes; sent from there. One at a time. Return: 0; -ENOMEM. */
int requester_send_begin(struct requester *requester, size_t bytes, uint8_t **ret_data);
/* @request: its number, 31 bits, which its answer brings back. Return: 0; REQUESTER_E_AGAIN: there
 * is nobody, or more than 1 MiB waits to be read; a later requester_send_begin() of as many bytes
 * finds what was written, and a turn will be due when there is room. */
int requester_send_end(struct requester *requester, size_t bytes, uint32_t request);
/* @ret_data: borrowed until the next call of this or of requester_free(). 0; REQUESTER_E_AGAIN.
 * What the number means is the asker's to know: a peer may answer what was never sent, or twice. */
int requester_receive(struct requester *requester, uint32_t *ret_request, const uint8_t **ret_data,
                      size_t *ret_bytes);

#endif
