/*
 * Inside serve.c, guest.c and guest_*.c: one REP socket that serves.
 */
#ifndef PARLEY_BROKER_GUEST_H
#define PARLEY_BROKER_GUEST_H

#include "broker/serve.h"
#include "rpc/rpc.h"

struct guest;

struct serve {
    struct broker *broker;
    TAILQ_HEAD(, guest) guests;
    uint64_t next_ns; /* no guest needs a turn before; CLOCK_NEVER: unless something comes */
    uint32_t held;    /* guests that are */
    struct serve_counts counts;
};

enum guest_state {
    GUEST_EXPECTED, /* has not dialled */
    GUEST_PROVING,  /* somebody has, who is to show that it is the publisher */
    GUEST_JOINING,  /* has; its instance is being published */
    GUEST_UP,
    GUEST_ENDED, /* to be freed */
};

struct guest_call; /* guest.c */

/* guest_proof.c: what the publisher alone was told. */
struct guest_proof {
    bool asked; /* for */
    bool due;   /* the question is to be sent */
    uint8_t token[SERVE_TOKEN_BYTES];
    uint32_t number;          /* of the question */
    uint64_t by_ns;           /* it is to be answered */
    struct replier_peer peer; /* who is asked */
};

struct guest {
    TAILQ_ENTRY(guest) entry;
    struct serve *serve;
    enum guest_state state;
    bool due;
    bool came;        /* it has dialled */
    bool leaving;     /* it was withdrawn, and drains */
    bool cancels;     /* it takes frames of kind CANCEL */
    bool held;        /* its clients are not read until there is room for a one-way call */
    uint64_t next_ns; /* when it needs a turn; CLOCK_NEVER: when something comes */
    uint64_t instance_id;
    uint64_t dial_by_ns;
    uint32_t calls_max;
    char name[BROKER_NAME_BYTES];
    struct replier_peer peer;    /* who published it */
    struct schema_entry *schema; /* one of its users */
    const char *version;
    struct guest_proof proof;
    struct source line_source, endpoint_source;
    struct requester *line;           /* to the socket that it dials with */
    struct parley_endpoint *endpoint; /* the broker's own, for this one; NULL: not yet */
    struct parley_service *service;
    TAILQ_HEAD(guest_calls, guest_call) waiting, sent; /* in the order they came */
    struct guest_call *by_number;                      /* hash: sent */
    struct guest_call *arriving;                       /* between room() and serve() */
    uint32_t waiting_count, sent_count;
    uint32_t abandoned;    /* of sent: nobody waits for them any more */
    uint64_t silent_ns;    /* how long it may leave as many unanswered as may be */
    uint64_t silent_by_ns; /* then that time is over; CLOCK_NEVER: fewer are abandoned */
    size_t waiting_bytes;
    uint64_t expire_ns;         /* no call's deadline is before */
    uint32_t number;            /* of the last that was sent */
    struct rpc_weights weights; /* that it saw of a broker before us */
};

struct guest_spec {
    struct schema_entry *schema; /* handed over */
    uint64_t instance_id;
    uint32_t calls_max;
    bool cancels;
    bool proves; /* who dials has to */
    uint64_t dial_ns, silent_ns;
    const char *name;
    const struct replier_peer *peer;
    const struct rpc_weights *weights;
    const struct requester_options *line; /* url, tls, mode */
};

int guest_new(struct serve *serve, const struct guest_spec *spec, struct guest **ret_guest,
              struct error_text *error);
struct guest *guest_free(struct guest *guest); /* ends its calls */
void guest_turn(struct guest *guest, uint64_t now_ns);
/* It is to leave; @drain: when it has answered what it has. */
void guest_withdraw(struct guest *guest, bool drain);
void guest_proof_init(struct guest_proof *proof, bool asked);
/* Somebody has dialled. */
void guest_proof_begin(struct guest_proof *proof, const struct replier_peer *peer);
/* Sends the question, if it is due. */
void guest_proof_ask(struct guest_proof *proof, struct requester *line);
enum guest_proven {
    GUEST_PROVEN,
    GUEST_WRONG,
    GUEST_OLD, /* it is of somebody before, who has been hung up on */
};
enum guest_proven guest_proof_check(const struct guest_proof *proof, uint32_t number,
                                    const uint8_t *data, size_t bytes);

/* guest_join.c: it comes onto the bus. */
bool guest_dialled(const struct replier_peer *peer, void *guest); /* as requester_options.came */
void guest_hung_up(void *guest);                                  /* as requester_options.gone */
/* What who dialled has said, before it was an instance. */
void guest_proof_answered(struct guest *guest, uint32_t number, const uint8_t *data, size_t bytes);
/* Another may come, as long as the publisher is waited for. */
void guest_turn_away(struct guest *guest);
/* Whether both are the same, as far as can be known. */
bool guest_peers_alike(const struct replier_peer *a, const struct replier_peer *b);

/* guest.c, for guest_join.c. */
extern const struct rpc_service_ops guest_ops;
/* From anywhere in its turn; it is freed behind it. */
void guest_end(struct guest *guest, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline void guest_mark_due(struct guest *guest)
{
    guest->due = true;
    guest->serve->next_ns = 0;
}

#endif
