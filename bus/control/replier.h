/*
 * SP's REP side as the bus needs it: requests from any number of connections, each answered when
 * its answer is there, in any order. Backends are behind struct replier_ops: libnng (any URL), and
 * a stream of our own for ipc, tcp and tls+tcp; who uses it cannot tell which.
 *
 * One thread, which is the caller's. One descriptor for an event loop.
 */
#ifndef PARLEY_CONTROL_REPLIER_H
#define PARLEY_CONTROL_REPLIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "control/tls.h"

#define REPLIER_E_AGAIN 1

struct replier;
struct replier_part;    /* replier_ops.h */
struct replier_request; /* one request that waits for its answer */

/* Who asks, as the kernel or TLS says. */
struct replier_peer {
    uint64_t connection; /* never used again by this process; 0: unknown (it has hung up) */
    bool local;          /* uid, gid and pid are set: from the kernel */
    bool off_host;       /* its address is not loopback */
    bool encrypted;
    uid_t uid;
    gid_t gid;
    pid_t pid;
    char identity[128]; /* of a verified client certificate: its common name; "": none */
    char text[96];      /* for people: "user 1000 (pid 811)", "127.0.0.1:40312" */
};

/* Which of SP's sides it is; both get messages and answer them. */
enum replier_protocol {
    REPLIER_REP,        /* of REQ sockets */
    REPLIER_RESPONDENT, /* of SURVEYOR sockets, which take any number of answers; not by ws */
};

struct replier_options {
    enum replier_protocol protocol;
    const char *const *urls;
    size_t url_count;
    bool dial;        /* the URLs are dialled, and again when they are lost; else listened on */
    size_t bytes_max; /* of a request; larger: the connection ends */
    uint32_t connections_max; /* 0: 4,096; further ones are hung up on */
    uint32_t
        unanswered_max; /* of one connection: it is read no further until some are answered.
                         * 0: 4,096. Only a backend of our own can; with libnng the caller counts */
    /* Of libnng's backend, of all connections: requests without an answer, or with one that waits;
     * then nobody is read. 0: 32,768. And how long an answer may wait to be read. 0: 30 s. */
    uint32_t requests_max;
    uint64_t unread_ns;
    bool gather; /* answers may wait for replier_flush(), so that many go with one system call */
    const struct tls_settings *tls; /* NULL: none; then tls+ URLs are refused */
    unsigned mode;                  /* of sockets in the file system; 0: as the umask says */
    const char *backend;            /* "nng", "stream"; NULL: the better one for each URL */
    /* A connection has ended; its requests can be answered all the same, and nobody hears. Runs in
     * replier_receive(). NULL: nobody cares. */
    void (*gone)(uint64_t connection, void *data);
    void (*came)(const struct replier_peer *peer, void *data);
    void *data;
};

/* Return: 0; -EADDRINUSE, -EINVAL, ... with a sentence that says what to do. */
int replier_new(const struct replier_options *options, struct replier **ret_replier,
                struct error_text *error);
/* Answer or drop its requests before. NULL is fine; returns NULL. Nobody is told who is gone. */
struct replier *replier_free(struct replier *replier);

/* @told: the URL at which a broker says that it listens; @by: the one by which it was reached,
 * whose host is put in where the broker names all of its addresses (*, 0.0.0.0, [::]), for it does
 * not know by which of them, or behind which name. Return: allocated; NULL: out of memory. */
char *replier_url_by(const char *told, const char *by);
int replier_fd(const struct replier *replier); /* readable: replier_receive() */
/* When replier_receive() must be called though nothing is readable: CLOCK_MONOTONIC, ns. */
uint64_t replier_next_deadline_ns(const struct replier *replier);
/* Where it listens, ports filled in: of the index-th URL. */
const char *replier_url(const struct replier *replier, size_t index);

/* @ret_data: borrowed until the request is answered or dropped. 0; REPLIER_E_AGAIN; -errno. */
int replier_receive(struct replier *replier, struct replier_request **ret_request,
                    const uint8_t **ret_data, size_t *ret_bytes);
/* Borrowed until the request ends. */
const struct replier_peer *replier_request_peer(const struct replier_request *request);

/* Room for an answer of up to @bytes, which is sent from there without another copy; may be asked
 * for again, larger or smaller: what was written is kept as far as it fits. Return: 0; -ENOMEM. */
int replier_answer_begin(struct replier_request *request, size_t bytes, uint8_t **ret_data);
/* Whether an answer of @bytes can wait for the asker beside what waits already; with one that
 * cannot, it would be hung up on. Short ones, of less than 1 KiB, can for a while longer. */
bool replier_has_room(const struct replier_request *request, size_t bytes);
/* Sends the first @bytes of it and frees the request. An asker that is gone is no error. */
int replier_answer_end(struct replier_request *request, size_t bytes);
/* One of several answers: the request goes on until it is answered or dropped. -ENOSYS: this
 * backend cannot. */
int replier_answer_also(struct replier_request *request, const uint8_t *data, size_t bytes);
/* Both of them. */
int replier_answer(struct replier_request *request, const uint8_t *data, size_t bytes);
/* If they may be gathered: sends those that wait. Without it they go with the next receive, for
 * which a deadline is due then. */
void replier_flush(struct replier *replier);
struct replier_request *replier_drop(struct replier_request *request); /* never answered */

/* Ends a connection, as if it had hung up: `gone` runs later, and its requests can still be
 * answered. What was not sent yet is lost. May be called in `came`. */
void replier_hang_up(struct replier *replier, uint64_t connection);
/* Reads no more of a connection before that time, which costs nobody anything. Requests that had
 * been read come all the same. A backend that cannot hangs up on it. */
void replier_hold(struct replier *replier, uint64_t connection, uint64_t until_ns);

/* Counters, from the beginning. */
struct replier_counts {
    uint64_t connections, refused, requests, answers, too_large, held_back;
    uint32_t connections_now, unanswered_now;
};
void replier_counts(const struct replier *replier, struct replier_counts *ret_counts);

#endif
