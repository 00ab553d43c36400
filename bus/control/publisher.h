/*
 * SP's PUB side on sockets of our own, over ipc, tcp and tls+tcp: what is sent goes to every SUB
 * socket that is connected, which picks what it has subscribed to by the first bytes.
 *
 * One thread, which is the caller's. One descriptor for an event loop.
 */
#ifndef PARLEY_CONTROL_PUBLISHER_H
#define PARLEY_CONTROL_PUBLISHER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "control/replier.h"

#define PUBLISHER_CONNECTIONS_MAX 256
#define PUBLISHER_UNREAD_BYTES_MAX (UINT32_C(256) << 10)

struct publisher;

struct publisher_options {
    const char *const *urls;
    size_t url_count;
    uint32_t connections_max;       /* 0: 256; further ones are hung up on */
    size_t unread_bytes_max;        /* that wait for one subscriber, which loses what would be more.
                                     * 0: 256 KiB. One message may always wait */
    const struct tls_settings *tls; /* NULL: none; then tls+ URLs are refused */
    unsigned mode;                  /* of sockets in the file system; 0: as the umask says */
    /* Run in publisher_turn(); NULL: nobody cares. */
    void (*came)(const struct replier_peer *peer, void *data); /* may hang up on it */
    void (*gone)(uint64_t connection, void *data);
    void *data;
};

struct publisher_counts {
    uint64_t sent, lost; /* messages, once for each subscriber */
    uint64_t connections, refused;
    uint32_t connections_now; /* that hear: SP has said hello both ways */
};

/* Return: 0; -EADDRINUSE, -EINVAL, ... with a sentence that says what to do. */
int publisher_new(const struct publisher_options *options, struct publisher **ret_publisher,
                  struct error_text *error);
struct publisher *publisher_free(struct publisher *publisher); /* NULL is fine; returns NULL */
int publisher_fd(const struct publisher *publisher);           /* readable: publisher_turn() */
/* When a turn is due though nothing is readable; ask after each publisher_send(), too. */
uint64_t publisher_next_deadline_ns(const struct publisher *publisher);
/* Where it listens, ports filled in: of the index-th URL. */
const char *publisher_url(const struct publisher *publisher, size_t index);
/* Subscribers that come, read on, or leave. One who reads nothing for 30 s of what waits is hung
 * up on, and so is one who says anything. Return: 0; -errno. */
int publisher_turn(struct publisher *publisher);
void publisher_hang_up(struct publisher *publisher, uint64_t connection);
/* To all; never blocks. Return: 0, also if some lose it (they are counted), or nobody listens;
 * -ENOMEM: some may not have got it. */
int publisher_send(struct publisher *publisher, const uint8_t *data, size_t bytes);
void publisher_counts(const struct publisher *publisher, struct publisher_counts *ret_counts);

#endif
