/*
 * Plans that the broker has sent, and those that channels and calls hold (plans.c).
 */
#ifndef PARLEY_RPC_PLANS_H
#define PARLEY_RPC_PLANS_H

#include <parley/parley.h>

#include "control/link.h"
#include "rpc/bounds.h"
#include "rpc/route.h"
#include "translate/plan.h"

struct channel;

struct plan_entry {
    uint64_t plan_id;
    uint64_t line;
    uint64_t sequence;
    uint16_t tag;
    struct plan *plan;
};
#define RPC_LINE_PLANS_MAX 4 /* of one line */

/* A plan as a channel uses it. Calls hold the one that they began with. One thread's. */
struct held_plan {
    uint32_t users;
    struct plan *plan;
    struct plan_binding *binding; /* NULL: not needed yet */
    uint64_t plan_id;             /* 0: the identity */
    uint64_t line;                /* 0: no plan follows it */
    uint64_t sequence;            /* of its arrival */
    uint16_t tag;
    enum parley_translation translation; /* client's */
    char version[RPC_VERSION_BYTES];     /* client's: of the services that it is for */
    /* A service's: what has been found out about the client's methods, by their index. */
    struct served_method *served; /* NULL: nothing yet */
    uint32_t served_count;
};

/* A method of a client's version, for which there is a service, a plan and its binding. */
struct served_method {
    struct stats_cell *cell; /* NULL: has not been called by this plan */
    uint32_t method;         /* the service's */
};

int plans_received(struct parley_endpoint *endpoint, const Parley__Plan *message,
                   struct error_text *error);
void plans_drop(struct parley_endpoint *endpoint);
/* Borrowed until the next message; NULL: the broker never sent it, or another took its place. */
const struct plan_entry *plans_find(const struct parley_endpoint *endpoint, uint64_t plan_id);
/* One user: held_drop(). @entry NULL: @identity. NULL: no memory. */
struct held_plan *held_new(const struct plan_entry *entry, struct plan *identity);
/* Unpacks a message, so that the first one that comes does not find code and tables that nobody has
 * looked at yet. */
void held_prepare(const struct held_plan *held);
static inline struct held_plan *held_keep(struct held_plan *held)
{
    held->users++;
    return held;
}
void held_free(struct held_plan *held);
static inline struct held_plan *held_drop(struct held_plan *held)
{
    if (held && --held->users == 0)
        held_free(held);
    return NULL;
}

/* From now on. Takes @held over. */
void channel_hold(struct channel *channel, struct held_plan *held);
/* A service's: a request names another plan of the line. Stays with the one it has if there is none
 * that is newer. */
void channel_follow(struct channel *channel, uint16_t tag);

#endif
