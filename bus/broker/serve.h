/*
 * Services of programs that have no Parley library: a REP socket becomes an instance like any other
 * (serve.c, guest.c). docs/PROTOCOL.md, "Serving", is what such a program sees.
 */
#ifndef PARLEY_BROKER_SERVE_H
#define PARLEY_BROKER_SERVE_H

#include "broker/broker.h"
#include "control/replier.h"
#include "control/requester.h"

#define SERVE_PEER_MAX 64       /* instances of one peer: of a uid, an identity, or a host */
#define SERVE_INSTANCE_MAX 1024 /* of all */
#define SERVE_DIAL_NS                                                                              \
    (UINT64_C(10) * 1000000000) /* from Publish until the REP socket has dialled */
#define SERVE_CALLS_MAX 1024    /* that a publisher may ask to be given at once */
#define SERVE_CALLS 1           /* if it does not say: what a plain REP socket takes */
#define SERVE_WAITING_MAX 1024  /* calls of one instance that wait for their turn */
#define SERVE_WAITING_BYTES_MAX ((size_t)64 << 20) /* of them, but for one that is longer alone */
#define SERVE_BYTES_MAX ((size_t)256 << 20)        /* of all instances' together */
/* Calls whose callers have given up, and which the REP socket has still not answered: with so many
 * it is given no more. */
#define SERVE_ABANDONED_MAX 64
#define SERVE_SILENT_NS (UINT64_C(30) * 1000000000) /* so for that long: it is given up */
#define SERVE_URL_BYTES 256

/* Totals since the broker started, and what there is now. */
struct serve_counts {
    uint32_t expected;       /* that have not dialled yet */
    uint32_t instances;      /* that have */
    uint32_t calls, waiting; /* that they have been given; that wait for their turn */
    size_t waiting_bytes;
    uint64_t answered;
    uint64_t malformed; /* answers that were no response */
    uint64_t late;      /* answers to calls that had ended */
    uint64_t stray;     /* answers to what was never asked, or once more */
    uint64_t abandoned; /* calls that ended while a REP socket had them */
    uint64_t full;      /* calls that were refused because too many waited */
    uint64_t held;      /* times that a one-way call was left with its caller because of that */
};

#define SERVE_TOKEN_BYTES 16

struct serve_published {
    uint64_t instance_id;
    bool proves; /* who dials is asked for the token */
    uint8_t token[SERVE_TOKEN_BYTES];
    char url[SERVE_URL_BYTES];
    uint32_t dial_within_ms;
};

/* Return: PARLEY_OK; else nothing has changed, and @error says why. */
enum parley_status serve_publish(struct broker *broker, const Parley__PublishRequest *request,
                                 const struct replier_peer *peer, struct serve_published *ret,
                                 struct error_text *error);
/* As it is told; borrows from @published. */
Parley__PublishReply serve_reply(struct serve_published *published);
/* Tells the audit trail, which bounds how often. The control API does so by itself. */
void serve_refused(struct broker *broker, const Parley__PublishRequest *request,
                   const struct replier_peer *peer, enum parley_status status, const char *why);
/* Only by who published it. NOT_FOUND; PERMISSION_DENIED. */
enum parley_status serve_withdraw(struct broker *broker, const Parley__WithdrawRequest *request,
                                  const struct replier_peer *peer, struct error_text *error);

/* Ends those that the policy does not let serve any more. Return: how many. */
unsigned serve_review(struct broker *broker);

void serve_counts(const struct broker *broker, struct serve_counts *ret);

#endif
