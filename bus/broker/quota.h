/*
 * How much a peer of the bus URL may have and do at once: connections, calls under way, calls a
 * second, bytes. Counted for each connection, and for each user: a uid, a certificate's name, or an
 * address, whatever is the best that is known of it. Native endpoints have admit.c instead.
 *
 *     quota_connect()  a connection has come    quota_disconnect()  it has gone
 *     quota_begin()    a request has come       quota_end()         it has been answered
 *     quota_bad()      it sent what nobody can read
 *
 * What is too much is a status with a sentence, and counted. One thread. Nothing here allocates but
 * quota_connect().
 */
#ifndef PARLEY_BROKER_QUOTA_H
#define PARLEY_BROKER_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <uthash.h>

#include <parley/status.h>

#include "base/error.h"
#include "control/replier.h"

/* 0: the default. `--limit` has them by these names. */
struct quota_settings {
    uint64_t message;     /* bytes of a request, its header and metadata counted */
    uint64_t bytes;       /* of the requests of a user that are under way */
    uint32_t connections; /* of a user */
    uint32_t calls;       /* under way, of a connection */
    uint32_t user_calls;  /* under way, of a user: "user-calls" */
    uint32_t rate;        /* requests a second of a user, in the long run */
    uint32_t burst;       /* of them at once */
    uint32_t bad; /* of a connection: messages a second that are none, or to nowhere; twice as many
                     at once */
};
#define QUOTA_MESSAGE ((UINT64_C(64) << 20) + (64 << 10)) /* the largest body, and metadata */
#define QUOTA_BYTES (UINT64_C(256) << 20)
#define QUOTA_CONNECTIONS 1024
#define QUOTA_CALLS 4096
#define QUOTA_USER_CALLS 16384
#define QUOTA_RATE 1000000
#define QUOTA_BURST 1000000
#define QUOTA_BAD 100
#define QUOTA_COUNT_MAX 1000000000         /* that a setting may have */
#define QUOTA_SIZE_MAX (UINT64_C(1) << 40) /* of bytes */
#define QUOTA_IDLE_MAX 1024 /* users without a connection that are remembered: for their rates */

/* Tokens in thousandths, so that slow rates do not lose what is left over. */
struct quota_bucket {
    uint64_t tokens;
    uint64_t filled_at_ns;
};

struct quota_user {
    UT_hash_handle hh;            /* by name */
    TAILQ_ENTRY(quota_user) idle; /* if it has no connection */
    char name[144];               /* "user 1000", "certificate orders", "address 10.1.2.3" */
    uint32_t connections, calls;
    uint64_t bytes;
    struct quota_bucket rate;
};

/* Of one connection; a part of whatever else its owner knows of it. Zeroed: not known. */
struct quota_connection {
    struct quota_user *user; /* NULL: it is hung up on, or has gone */
    bool refused;            /* one too many */
    uint32_t calls;
    struct quota_bucket bad;
};

/* What was refused, from the beginning. */
struct quota_counts {
    uint64_t connections, calls, rate, bytes, message, bad;
};

struct quota {
    struct quota_settings settings; /* without zeroes */
    struct quota_user *users;       /* hash by name */
    TAILQ_HEAD(, quota_user) idle;  /* longest first */
    uint32_t idle_count;
    struct quota_counts counts;
};

/* NULL: the defaults. */
void quota_init(struct quota *quota, const struct quota_settings *settings);
void quota_deinit(struct quota *quota); /* every connection is forgotten */

/**
 * quota_parse() - "KEY=VALUE,..." into what is there already
 * Values are whole numbers; of bytes with K, M or G behind them if wanted (1,024 each).
 * Return: 0; -EINVAL with a sentence that names the key.
 */
int quota_parse(const char *text, struct quota_settings *settings, struct error_text *error);

/* What a replier must be able to receive, so that what is a little too large gets an answer. */
size_t quota_receive_max(const struct quota *quota);

/* Return: 0; with a sentence -EDQUOT: one too many, all its requests will be refused with the like;
 * -ECONNREFUSED: there are twice as many, hang up on it; -ENOMEM. */
int quota_connect(struct quota *quota, const struct replier_peer *peer, uint64_t now_ns,
                  struct quota_connection *ret_connection, struct error_text *error);
/* After quota_end() for each of its requests. Safe twice. */
void quota_disconnect(struct quota *quota, struct quota_connection *connection);

/* @bytes: of the whole message. Return: PARLEY_OK: quota_end() with the same bytes, once;
 * RESOURCE_EXHAUSTED with a sentence: nothing is counted as under way. */
enum parley_status quota_begin(struct quota *quota, struct quota_connection *connection,
                               size_t bytes, uint64_t now_ns, struct error_text *error);
void quota_end(struct quota *quota, struct quota_connection *connection, size_t bytes);
/* True: it has sent too much of that, and is not to be read for a second. */
bool quota_bad(struct quota *quota, struct quota_connection *connection, uint64_t now_ns);

#endif
