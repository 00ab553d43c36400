/*
 * An endpoint: one thread's clients, services, channels and calls, and its way to the broker.
 */
#ifndef PARLEY_RPC_ENDPOINT_H
#define PARLEY_RPC_ENDPOINT_H

#include "base/fork.h"
#include "base/quick_clock.h"
#include "base/sanitized.h"
#include "rpc/client.h"
#include "rpc/hot.h"
#include "rpc/service.h"
#include "wait/wait.h"

/* How an endpoint reaches its broker: by a socket (uplink.c), or by NNG (remote.c). */
struct uplink_ops {
    /* reconnect_at_ns has come: looks for the broker, or what else is due; sets it anew. Return: 0;
     * -errno: no broker, and uplink_error says why. */
    int (*turn)(struct parley_endpoint *endpoint);
    int (*send)(struct parley_endpoint *endpoint, const Parley__LinkMessage *message, const int *fds,
                size_t fd_count);
    /* Takes what its clients have sent into their channels, without running anything, for a handler
     * that asks whether it is cancelled. NULL: it is there by itself. */
    void (*look)(struct parley_endpoint *endpoint);
    /* Before descriptors are waited for: sends what was gathered. Return: whether a turn is due. NULL:
     * nothing is. */
    bool (*flush)(struct parley_endpoint *endpoint);
    void (*end)(struct parley_endpoint *endpoint);  /* not in a child of fork(2) */
    void (*free)(struct parley_endpoint *endpoint); /* there, too */
};
extern const struct uplink_ops link_uplink;

/* Peers that may have to be woken, when rpc_ring_held() is called; rings.c. */
struct rings {
    bool held;
    unsigned count;
    struct channel *of[RPC_RINGS_HELD_MAX];
};
/* Return: whether it will be rung then; else there is no room. */
bool rings_hold(struct rings *rings, struct channel *channel);
void rings_forget(struct rings *rings, const struct channel *channel);

struct parley_endpoint {
    struct source link_source;
    const struct uplink_ops *uplink;
    struct remote *remote; /* NULL: it has a link */
    uint32_t generation; /* of the process that made it: base/fork.h */
    struct wait *wait;
    struct quick_clock clock; /* for what is stamped in each call */
    uint64_t stamp_ns;        /* it, a moment ago, while a channel is drained; 0: read it */
    unsigned stamp_uses;
    struct spin spin[2]; /* of waits for whatever comes; for replies */
    struct part part; /* from those who serve us on our CPU */
    struct yield yield; /* to those whom we wait for there */
    uint64_t spin_ns_max;
    uint64_t polled_ns; /* when the descriptors were last looked at */
    uint32_t doze_max;  /* channels at once: WAIT_WORDS_MAX, if the kernel can */
    uint32_t grow_after; /* RPC_RING_GROW_AFTER, but for tests */
    bool sees;          /* descriptors while it dozes: wait_doze() */
    bool watches;       /* words of channels, while it sleeps: wait_watch() */
    uint32_t cpu;       /* as its channels tell their peers: spin_cpu() */
    uint64_t endpoint_id;
    uint64_t random;
    char name[RPC_NAME_BYTES];
    char broker[RPC_BROKER_BYTES]; /* path or URL */
    bool reconnects;

    struct link *link; /* NULL: the broker is away */
    bool link_out;     /* WAIT_OUT is asked for */
    bool welcomed;
    uint64_t reconnect_at_ns;
    uint32_t reconnect_attempt;
    struct error_text uplink_error;     /* of the last try to connect; "": it connected */
    enum parley_status farewell_status; /* OK: none */
    char farewell_text[ERROR_TEXT_BYTES_MAX];
    struct region route;
    uint64_t hang_up_at_ns; /* on silent clients of services that close; CLOCK_NEVER: none closes */
    uint64_t attach_at_ns; /* the earliest of the clients' retry_at_ns; CLOCK_NEVER: none */
    uint64_t pass; /* the last one over the hot channels */
    bool slept;        /* and made all channels cold, since it spun last */
    uint32_t cpu_next; /* the hot channel whose peer's CPU is looked at next */
    uint64_t contract_last;

    struct stats stats;
    struct spans spans; /* of sampled calls */
    struct plan_entry *plans;
    size_t plan_count, plan_max;
    uint64_t plan_sequence;

    TAILQ_HEAD(, parley_client) clients;
    TAILQ_HEAD(, parley_service) services;
    struct hot hot;
    TAILQ_HEAD(channels, channel) cold, dead;
    TAILQ_HEAD(, parley_client) dead_clients;
    TAILQ_HEAD(, parley_service) dead_services;

    struct call **calls; /* by index */
    uint32_t call_count, call_max;
    struct call **call_free;
    uint32_t call_free_count;
    TAILQ_HEAD(deadlines, call) deadlines;
    TAILQ_HEAD(, call) accepted; /* for the end of the turn */

    struct parley_context *contexts_kept; /* not in use */
    uint32_t contexts_kept_count;
    struct parley_context *handling; /* its handler is at work, and it is in no list yet; mostly it has
                                      * answered before it had to be; NULL: none */

    uint8_t *scratch;
    size_t scratch_bytes;
    struct wire_packing *packing;
    struct ranges_kept *ranges_kept; /* NULL: no call has asked for versions yet */

    unsigned crossing_due; /* messages to be read before one that is timed */
    unsigned busy_records; /* taken since the last look at descriptors */
    unsigned turns;    /* nested turns of the loop */
    struct rings rings;
    bool foreign; /* a foreign loop sleeps on parley_fd() */
    bool nudged;  /* it has been told to dispatch */
    bool woke;    /* remote: a channel has woken its peer, since all were about to sleep */
    bool held_back; /* its clients are not read until rpc_service_resume(); counts as a handler */
    unsigned handlers; /* nested handlers: services are not served meanwhile */
    _Atomic int stop;
    _Atomic unsigned stoppers; /* threads in parley_stop(): the endpoint is not freed meanwhile */
};

/* @endpoint: may keep it for the next; NULL: it is gone, or not ours. Slowly: one that
 * is not kept, or has something to give back. */
void context_free_slowly(struct parley_endpoint *endpoint, struct parley_context *context);
static inline void context_free(struct parley_endpoint *endpoint, struct parley_context *context)
{
    if (__builtin_expect(SANITIZED || !endpoint || context->buffers || context->hold ||
                             context->metadata_bytes_max > RPC_METADATA_KEPT_BYTES_MAX ||
                             endpoint->contexts_kept_count == RPC_CONTEXTS_KEPT,
                         0)) {
        context_free_slowly(endpoint, context);
        return;
    }
    /* A steady load allocates nothing. */
    context->next = endpoint->contexts_kept;
    endpoint->contexts_kept = context;
    endpoint->contexts_kept_count++;
}

#define RPC_STAMP_USES_MAX 8 /* records in a row that have come at the same time */

/* Now, for one of the records that are taken from a channel at once: those behind it were there, too,
 * so the clock is read once for several. Never before @after_ns, when the call began. */
static inline uint64_t endpoint_stamp(struct parley_endpoint *endpoint, uint64_t after_ns)
{
    if (endpoint->stamp_uses >= RPC_STAMP_USES_MAX || endpoint->stamp_ns <= after_ns) {
        endpoint->stamp_ns = quick_clock_now_ns(&endpoint->clock);
        endpoint->stamp_uses = 0;
    }
    endpoint->stamp_uses++;
    return endpoint->stamp_ns;
}

#define RPC_CROSSINGS_TIMED 61 /* one in so many; odd, for requests and replies may take turns */

/* Whether the crossing that begins now is one of those that are timed; the first one is. */
static inline bool endpoint_times_crossing(struct parley_endpoint *endpoint)
{
    if (__builtin_expect(endpoint->crossing_due-- != 0, 1))
        return false;
    endpoint->crossing_due = RPC_CROSSINGS_TIMED - 1;
    return true;
}

/* Whether this is a child of fork(2), and the endpoint its parent's: to be left alone. Asked where
 * a public function begins, and after a handler or closure ran. */
static inline bool endpoint_forked(const struct parley_endpoint *endpoint)
{
    return __builtin_expect(endpoint->generation != fork_generation(), 0);
}
/* Sets the text, and returns what every function says then. */
enum parley_status status_forked(void);

/* One turn of the loop: do what is there; if nothing is, wait until @deadline_ns. Return: 0 or
 * -errno; -ESTALE: this is a child of fork(2) by now. */
int endpoint_turn(struct parley_endpoint *endpoint, uint64_t deadline_ns);
/* Grown scratch memory, valid until the next call of this. NULL: no memory. */
uint8_t *endpoint_scratch(struct parley_endpoint *endpoint, size_t bytes);
int endpoint_send(struct parley_endpoint *endpoint, const Parley__LinkMessage *message,
                  const int *fds, size_t fd_count);
/* Tells services and clients that the broker is there: they publish and open. */
void endpoint_link_up(struct parley_endpoint *endpoint);
void endpoint_link_down(struct parley_endpoint *endpoint);
/* By the names that they have on the link. NULL: none, any more. */
struct parley_client *endpoint_client(struct parley_endpoint *endpoint, uint64_t contract_id);
struct parley_service *endpoint_service(struct parley_endpoint *endpoint, uint64_t instance_id);

uint64_t endpoint_timer_next(const struct parley_endpoint *endpoint);
/* Do what is there, without waiting, and arm every doorbell if a foreign loop may sleep next. */
int endpoint_dispatch(struct parley_endpoint *endpoint);
/* A public function other than that returns to the program. It may have left channels awake, whose
 * peers ring no bell: a foreign loop has to dispatch before it sleeps. */
void endpoint_leave(struct parley_endpoint *endpoint);
/* Frees what died during a turn; only outside of turns. */
void endpoint_bury(struct parley_endpoint *endpoint);

/* ---- signals.c ---- */

/* The endpoint is about to be freed: no signal stops it any more. */
void signals_forget(struct parley_endpoint *endpoint);

/* ---- uplink.c ---- */

/* Takes a connected link over and says hello. */
int uplink_begin(struct parley_endpoint *endpoint, struct link *link);
void uplink_ready(struct source *source, uint32_t events);

/* ---- remote.c ---- */

/* Begins to connect to the URL that endpoint->broker is. Return: 0; -errno with a sentence. */
int remote_begin(struct parley_endpoint *endpoint, const struct parley_endpoint_options *options,
                 struct error_text *error);

#include "rpc/calls.h"

#endif
