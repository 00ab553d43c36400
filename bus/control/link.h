/*
 * The link: an endpoint's connection to the broker. SOCK_SEQPACKET, one LinkMessage a packet, at
 * most two descriptors with it. Both sides use this. Single thread, never blocks.
 */
#ifndef PARLEY_CONTROL_LINK_H
#define PARLEY_CONTROL_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/error.h"
#include "parley/link.pb-c.h"

#define LINK_PROTOCOL 1
#define LINK_FD_MAX 2
#define LINK_INLINE_BYTES_MAX 32768             /* a larger body travels in a sealed memfd */
#define LINK_MESSAGE_BYTES_MAX (UINT32_C(8) << 20)
#define LINK_QUEUE_MAX 4096                     /* messages that wait for the socket */
#define LINK_QUEUE_BYTES_MAX (UINT32_C(32) << 20)
#define LINK_QUEUE_FD_MAX 512                   /* descriptors that wait with them */

struct link;

/* Connects to a broker's socket. Return: 0; -ENOENT, -ECONNREFUSED, -EACCES, ... with a sentence
 * that names the path and says what to do. */
int link_connect(const char *path, struct link **ret_link, struct error_text *error);
/* Takes a connected SOCK_SEQPACKET socket over: the caller's @fd is the link's afterwards, unless
 * this fails (-EPROTOTYPE: no such socket; -ENOMEM; -errno). */
int link_new(int fd, struct link **ret_link);
struct link *link_free(struct link *link); /* closes; drops what is queued; returns NULL */

int link_fd(const struct link *link);
/* The peer as the kernel knows it (SO_PEERCRED). */
void link_peer(const struct link *link, struct ucred *ret_peer);

/**
 * link_send() - send, or queue if the socket is full
 * @fds: borrowed; duplicated if the message is queued
 * Return: 0; -EPIPE if the peer is gone; -ENOBUFS if the queue is full; -ETOOMANYREFS if it has no
 * room for more descriptors, or the kernel has not; -EMSGSIZE: over
 * LINK_MESSAGE_BYTES_MAX or too many descriptors (a body over LINK_INLINE_BYTES_MAX takes one);
 * -EINVAL: a message without a body; -errno.
 */
int link_send(struct link *link, const Parley__LinkMessage *message, const int *fds,
              size_t fd_count);
/* Whether link_flush() is needed when the socket is writable. */
bool link_queued(const struct link *link);
int link_flush(struct link *link); /* 0, also when something stays queued; -EPIPE; -errno */

#define LINK_E_AGAIN 1

/**
 * link_receive() - take the next message
 * @ret_message: the caller's; wire_free(). Checked and bounded
 * @ret_fds:     the caller's to close, @ret_fd_count of them; -1 in the others
 *
 * Return: 0; LINK_E_AGAIN: nothing there; -EPIPE: the peer is gone; -EBADMSG with a sentence: no
 * LinkMessage, or too many descriptors (all of which have been closed): close the link.
 */
int link_receive(struct link *link, Parley__LinkMessage **ret_message, int ret_fds[LINK_FD_MAX],
                 size_t *ret_fd_count, struct error_text *error);

/* ---- Listening, for the broker ---- */

struct link_listener;
/**
 * link_listen() - bind and listen on a path
 *
 * A socket file that nobody listens on any more is replaced; one in use is refused: -EADDRINUSE.
 * @mode: of the socket file.
 * Holds PATH.lock meanwhile. Both files are removed by link_listener_free().
 */
int link_listen(const char *path, mode_t mode, struct link_listener **ret_listener,
                struct error_text *error);
struct link_listener *link_listener_free(struct link_listener *listener); /* unlinks the path */
int link_listener_fd(const struct link_listener *listener);
/* 0; LINK_E_AGAIN; -EMFILE, -ENFILE: one that could not be taken was hung up on; -errno. */
int link_accept(struct link_listener *listener, struct link **ret_link);

#endif
