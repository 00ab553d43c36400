/*
 * A client: what it asked for, was offered, and has channels to (client.c; offers.h has how it
 * comes to them).
 */
#ifndef PARLEY_RPC_CLIENT_H
#define PARLEY_RPC_CLIENT_H

#include "base/digest.h"
#include "rpc/call_state.h"

/* A version that may serve a client. */
struct offer {
    char version[RPC_VERSION_BYTES];
    struct semver semver;
    int rank;          /* index of the client's alternative that accepts it */
    struct held_plan *held; /* the identity's if none is needed; for channels that are made */
};

/* An instance that the broker lists. */
struct listed {
    uint64_t instance_id;
    uint64_t retry_at_ns; /* attach again then; 0: there is a channel */
    uint32_t attempts;    /* that came to nothing, in a row */
    char version[RPC_VERSION_BYTES];
};

struct parley_client {
    ProtobufCService service; /* what parley_client_service() returns */
    TAILQ_ENTRY(parley_client) entry;
    struct parley_endpoint *endpoint;
    uint64_t contract_id;
    struct rpc_contract_spec spec; /* strings borrowed; spec.replies is our reference */
    const ProtobufCServiceDescriptor *descriptor; /* NULL: raw only */
    struct wire_packer *packer;                   /* of requests; NULL: raw only */
    char accept[SEMVER_RANGE_BYTES_MAX + 1];
    struct semver_ranges *ranges; /* of `accept`; NULL: anything */
    uint64_t timeout_ns;          /* of calls that name none; bounded */
    uint32_t timeout_us;          /* the same, as frames have it */
    bool freed;

    /* the broker's answer */
    bool answered;
    enum parley_status opened_status;
    char opened_text[ERROR_TEXT_BYTES_MAX];
    rpc_opened opened;
    void *opened_userdata;
    struct digest asked;      /* the transcript of what Open says */
    struct digest transcript; /* of what the broker answered, too */
    /* In the route page that is mapped now, the sequence of our slot; NULL: we have none. */
    const _Atomic uint32_t *route_sequence;
    bool instances_known; /* the broker has listed them since the link came up */
    uint32_t route_slot;
    struct offer offers[ROUTE_VERSION_MAX]; /* best first */
    size_t offer_count;
    bool methods_missing; /* an offer does not have all of ours */

    struct listed listed[ROUTE_INSTANCE_MAX];
    uint32_t listed_count;
    LIST_HEAD(, channel) channels;
    uint32_t channel_count;
    struct channel *live[ROUTE_INSTANCE_MAX]; /* up, not told to go away; by version */
    uint32_t live_count;
    bool live_alike; /* all of one version, which has weight */
    /* Whether a call that says nothing of where it goes needs no more than these: as long as the
     * route stays as it is. */
    bool live_plain;
    struct { /* where those of a version of the route are, in `live` */
        uint8_t first, count;
    } live_of[ROUTE_VERSION_MAX];
    uint32_t picks; /* for plain calls */
    struct route_view view;
    struct matcher *matcher;    /* of the rules of the view; NULL: there are none */
    uint32_t matcher_sequence;  /* view.matches_sequence that it was made for */

    TAILQ_HEAD(, call) waiting;
    size_t pending; /* calls not ended */
    uint32_t mirrors;         /* copies on their way */
    uint64_t mirror_told_ns;  /* when the broker was told of a difference last */
    uint32_t retry_tokens; /* tenths */
};

void client_link_up(struct parley_client *client); /* send Open (again) */
void client_opened(struct parley_client *client, const Parley__Opened *message);
void client_instances(struct parley_client *client, const Parley__Instances *message);
void client_connect_failed(struct parley_client *client, const Parley__ConnectFailed *message);
void client_link_down(struct parley_client *client);
void client_destroy(struct parley_client *client); /* endpoint's, at the end of a turn */
void client_live_update(struct parley_client *client);
/* The view has changed: rules, and who is live. */
void client_route_changed(struct parley_client *client);

/* call_end.c */
/* channel_ops.frame of a client's channel. */
int client_frame(struct channel *channel, const struct frame *frame, struct error_text *error);
/* attach.c: the frames that are no responses. */
int client_told(struct channel *channel, const struct frame *frame, struct error_text *error);

/* pick.c */
struct channel *client_pick(struct parley_client *client, const struct call *call);
/* Of a client that is live_plain, with more than one that is live: for a call that says nothing of
 * where it goes. NULL: client_pick() knows. */
struct channel *client_pick_plain(struct parley_client *client);
void client_route_read(struct parley_client *client); /* brings the view up to date */
/* Whether the view is an old one: one load, for each call. */
static inline bool client_route_is_news(const struct parley_client *client)
{
    /* relaxed: who copies the slot looks again */
    return client->route_sequence &&
           atomic_load_explicit(client->route_sequence, memory_order_relaxed) !=
               client->view.sequence;
}

#endif
