/*
 * The rpc room's own structs. Nothing here leaves the room.
 *
 * An endpoint has clients and services; a client has calls and channels, a service has channels and
 * contexts (calls that it serves); a channel belongs to one client or one service. All of it is one
 * thread's. What a closure or handler may free while we are in the middle of it goes through the
 * endpoint's graveyard and is freed when the outermost turn of the loop ends.
 */
#ifndef PARLEY_RPC_INTERNAL_H
#define PARLEY_RPC_INTERNAL_H

#include <parley/parley.h>
#include <stdarg.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/fork.h"
#include "base/quick_clock.h"
#include "base/sanitized.h"
#include "control/link.h"
#include "control/transcript.h"
#include "rpc/route.h"
#include "rpc/rpc.h"
#include "rpc/trace.h"
#include "shm/shm.h"
#include "translate/plan.h"
#include "wait/wait.h"
#include "wire/wire.h"

#define RPC_NAME_BYTES 64
#define RPC_TEXT_BYTES 256
#define RPC_BROKER_BYTES 256

#define RPC_CONNECT_TIMEOUT_NS NS_PER_S
#define RPC_WAIT_TIMEOUT_NS (5 * NS_PER_S)
#define RPC_CALL_TIMEOUT_NS (10 * NS_PER_S)
#define RPC_CALL_TIMEOUT_NS_MAX (3600 * NS_PER_S)
#define RPC_DRAIN_TIMEOUT_NS (10 * NS_PER_S)
#define RPC_BYE_GRACE_NS NS_PER_S /* how long a draining service waits for a client that says nothing */
#define RPC_SPIN_NS_MAX (100 * NS_PER_US)
#define RPC_ATTEMPTS_MAX 5
#define RPC_CALLS_MAX 65536            /* in flight on one endpoint */
#define RPC_SERVING_MAX 4096           /* a service's, by default */
#define RPC_QUEUE_BYTES_MAX (UINT32_C(128) << 20) /* a channel's frames that wait for room */
#define RPC_RING_GROW_AFTER 4096 /* frames that waited for room: the channel gets a larger ring */
#define RPC_QUEUE_FRAMES_MAX (2 * RPC_CALLS_MAX)   /* for many have no bytes */
#define RPC_ATTACH_NS_MIN (10 * NS_PER_MS) /* pause before attaching again; doubles */
#define RPC_ATTACH_NS_MAX NS_PER_S
#define RPC_ATTACH_HOPES 5             /* attempts for which calls wait */
#define RPC_ATTACH_TIMEOUT_NS NS_PER_S /* for one attempt */
#define RPC_NESTING_MAX 16             /* calls from inside closures from inside calls ... */
#define RPC_CONTEXT_BUCKETS 64         /* of one channel; a power of two */
#define RPC_CONTEXTS_KEPT 64           /* that an endpoint keeps for later */
#define RPC_FIRST_MESSAGE_BYTES 512     /* unpacked: a block of so many is there for the first call */
#define RPC_METADATA_KEPT_BYTES_MAX 1024 /* with a context, and with a call's slot */
#define RPC_PACKED_BYTES_MIN 256         /* that a call has room for, once it has any */
#define RPC_PACKED_KEPT_BYTES_MAX 65536  /* with a call's slot */
#define RPC_CHANNELS_MAX 4096          /* of one service */
#define RPC_PLANS_MAX 1024             /* that one broker sends */
#define RPC_BATCH_MAX 64               /* records taken in a turn from a channel that is hot alone */

/* ---- status.c ---- */

/* Sets this thread's parley_error_text() and returns @status. */
enum parley_status status_fail(enum parley_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
enum parley_status status_from_errno(int code);
/* Whether it speaks against who serves, and not against who asks: OpenTelemetry's list for gRPC. */
static inline bool status_is_fault(enum parley_status status)
{
    const uint32_t faults = 1u << PARLEY_UNKNOWN | 1u << PARLEY_DEADLINE_EXCEEDED |
                            1u << PARLEY_UNIMPLEMENTED | 1u << PARLEY_INTERNAL |
                            1u << PARLEY_UNAVAILABLE | 1u << PARLEY_DATA_LOSS;
    return (unsigned)status < 32 && (faults >> status & 1);
}

/* ---- metadata.c ---- */

/* Adds those pairs of a checked block that calls inherit, unless @out has their keys. @out has room
 * for RPC_METADATA_BLOCK_BYTES_MAX, and *@bytes_used in it. Return: 0 or -EINVAL: too much. */
int metadata_inherit(const uint8_t *block, size_t bytes, uint8_t *out, size_t *bytes_used,
                     struct error_text *error);
int metadata_check(const uint8_t *block, size_t bytes); /* 0 or -EBADMSG */
const char *metadata_find(const uint8_t *block, size_t bytes, const char *key, size_t *ret_bytes);
void metadata_remove(uint8_t *block, size_t *bytes, const char *key); /* all of that key */
const char *metadata_get(const uint8_t *block, size_t bytes, const char *key, size_t key_bytes,
                         size_t *ret_bytes);
/* "parley." and on: the bus says these, nobody else can. */
bool metadata_key_is_reserved(const char *key, size_t bytes);

/* ---- w3c.c ---- */

bool traceparent_is_valid(const char *text, size_t bytes);
/* Each shortens in place to what may travel on. Return: the bytes left; 0: nothing. */
size_t tracestate_tidy(char *text, size_t bytes);
size_t baggage_tidy(char *text, size_t bytes);
/* A checked block: what the W3C lets travel, and no reserved key. @beside: the call's trace travels
 * as bytes of its own, and a traceparent in the block is none. Return: the bytes left. */
size_t metadata_tidy(uint8_t *block, size_t bytes, bool beside);
/* How many bytes at the beginning of a block are pairs parley.peer.*: the relay's, who asks. */
size_t metadata_peer_bytes(const uint8_t *block, size_t bytes);

/* ---- What the endpoint waits for ---- */

struct source {
    void (*ready)(struct source *source, uint32_t events); /* NULL: dead, ignore */
};

#include "rpc/stats.h"

/* ---- channel.c ---- */

struct channel;
struct call;
struct parley_context;
LIST_HEAD(contexts, parley_context);

/* What waits for room, in order: calls, each of which has what it will send, and other frames, which
 * are copies. queue.c. */
struct frame_queue {
    uintptr_t *places; /* a ring */
    uint32_t place_max; /* a power of two */
    uint32_t first, used; /* places, some of which may have been left */
    uint32_t count; /* that wait */
    size_t bytes; /* of their bodies */
};

/* What a frame carries: metadata, then what wire_pack() had last, or bytes. Of a small message that was
 * packed it has the bytes, too. */
struct body {
    const uint8_t *metadata;
    size_t metadata_bytes;
    struct wire_packing *packing; /* NULL: @data, which is the call's, if there is one */
    const uint8_t *data;          /* NULL: wire_pack_write() makes it, of @packing */
    size_t bytes;     /* of the packed message or of @data */
    size_t ref_count; /* of the packed message, to our arena: refs.c */
};

/* What a frame that arrived refers to (refs.c). */
struct frame_refs {
    uint32_t count;    /* 0: nothing, or somebody has taken them over */
    uint32_t segments; /* bits: the peer's arenas that they are in */
    uint32_t blocks[FRAME_SHARES_MAX];
    struct wire_ref refs[FRAME_SHARES_MAX];
};

/* A frame that arrived: the header is private, the rest is the peer's live memory. */
struct frame {
    struct frame_header header;
    const uint8_t *metadata;
    const uint8_t *payload;
    uint32_t block; /* of the peer's arena; valid if in_arena */
    bool in_arena;
    struct frame_refs *refs; /* private */
};

struct channel_ops {
    /* One frame arrived. Must call channel_consume() (frames.h) once it has copied what it needs.
     * Returns 0; CHANNEL_E_FULL: it was not consumed, and is to come again, as the channel is
     * paused, or services are not served now; or a negative code with a sentence: the channel then
     * breaks. */
    int (*frame)(struct channel *channel, const struct frame *frame, struct error_text *error);
    /* The peer's segment was attached (client) . */
    void (*attached)(struct channel *channel);
    /* The channel is dead: no frame will come. Runs once; frees the owner's part. */
    void (*dead)(struct channel *channel, enum parley_status status, const char *text);
};

enum channel_state {
    CHANNEL_CONNECTING, /* client: waits for BELL_ACCEPT */
    CHANNEL_UP,
    CHANNEL_DEAD,
};

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

/* Freed objects of one size, to be used again (refs.h). */
struct spares {
    struct spare *first;
    uint32_t count;
};

struct channel {
    struct source source; /* the doorbell */
    TAILQ_ENTRY(channel) entry; /* of the endpoint */
    LIST_ENTRY(channel) owner_entry; /* of the client or the service */
    struct parley_endpoint *endpoint;
    const struct channel_ops *ops;
    enum channel_state state;
    bool awake; /* in the endpoint's hot list; its asleep flag is clear */
    bool service_side;
    bool blocked; /* frames wait in `queue` */
    bool hung_up;
    bool rang; /* the bell did: to be looked at, whatever its ring seems to hold */
    uint8_t deaf; /* dozes in a row that it did not end, though it published: CHANNEL_DEAF_MAX */
    bool due;  /* this pass over the hot list has something to do for it */
    bool paused; /* a far end's: what waits stays there for now */
    struct far *far; /* it stands for somebody who is reached by NNG: remote.h; NULL: it is one's own */
    uint64_t pass; /* the last one that had */
    int bell;
    uint64_t rung;      /* position in our ring up to which the sleeping peer was rung */
    uint64_t tried;     /* the peer's position in our ring at the last try to send what waits */
    uint64_t tried_released; /* and what it had released */
    uint64_t room_told; /* position in the peer's ring at which it was rung for room */
    struct segment ours;
    struct peer_segment peer;
    struct frame_queue queue;
    uint32_t waited; /* frames sent that had, while others went on waiting; of ring_is_small() */
    LIST_HEAD(, parley_buffer) buffers; /* in our arena, that packing refers to */
    struct parley_buffer *parked; /* freed ones, to be used again */
    uint32_t parked_count;
    uint32_t refs_most;    /* in the message that is being packed */
    uint32_t packed_bytes; /* of our last message: frame_in_place() */
    uint32_t keepers; /* of its memory: buffers, and what refers to the peer's */
    uint32_t live;    /* bits: the peer's arenas that messages have pointed into */
    struct spares spare_holds, spare_buffers; /* refs.c, buffer.c */
    uint32_t return_count; /* names that our next frame gives back */
    uint32_t returns[FRAME_RETURNS_MAX];
    uint64_t returned_at; /* position behind the start of the peer's record that gave some back last */
    bool destroyed;   /* but for its memory */

    /* client's */
    struct parley_client *client;
    uint64_t instance_id;
    char version[RPC_VERSION_BYTES]; /* the service's */
    uint32_t route_version; /* index in the client's route view; UINT32_MAX: not in it */
    bool weighted; /* the route gives its version a share; or does not know it */
    uint64_t connecting_since_ns;
    bool goaway; /* no new calls */
    bool draining; /* the route page says so */
    struct held_plan *held; /* for what arrives */
    TAILQ_HEAD(calls, call) calls; /* gathered, once it is about to die: calls.c */
    uint32_t in_flight;
    struct stats_cell **cells; /* one a method, made at first use */
    struct stats_instance *figures; /* by which instances are compared; NULL: not this one */

    /* service's */
    struct parley_service *service;
    char client_version[RPC_VERSION_BYTES];
    struct parley_peer peer_id;
    bool relayed; /* a service's: the client is the broker's relay, and its calls say who makes them */
    bool bye; /* the client will send no more */
    bool goaway_sent;
    struct contexts *contexts; /* RPC_CONTEXT_BUCKETS lists, by call id */
    uint32_t serving;
    uint64_t looked_ahead; /* in the peer's ring, for cancels; lines */

    const struct parley_buffer *packed[FRAME_SHARES_MAX]; /* refs.c: of the message being packed */
};

int channel_new(struct parley_endpoint *endpoint, const struct channel_ops *ops, int bell,
                struct channel **ret_channel, struct error_text *error);
/* Marks it dead, tells its owner, frees it when the turn ends. @status: what its calls end as. */
void channel_kill(struct channel *channel, enum parley_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The peer broke the rules: log, tell it why, kill. */
void channel_break(struct channel *channel, const char *text);

#define CHANNEL_E_FULL 1
/* Sends now. Return: 0; CHANNEL_E_FULL: no room, queue it; what wire_pack_write() returned;
 * -EMSGSIZE, -EPROTO, -errno. */
int channel_send(struct channel *channel, const struct frame_header *header,
                 const struct body *body);
/* Sends now or puts it in the queue; @body may refer to nothing afterwards. @call: whose request it is,
 * which is told when it is in the ring, and which keeps its message meanwhile; NULL: nobody's. Return: 0 sent; CHANNEL_E_FULL: queued; -ENOBUFS:
 * the queue is full too; and as channel_send(). For each call there is channel_send_frame(), frames.h. */
int channel_send_or_queue(struct channel *channel, const struct frame_header *header,
                          const struct body *body, struct call *call);
/* Rings the peer's doorbell. */
void channel_ring(struct channel *channel);
/* Rings if the peer sleeps. After one or several channel_send(). */
void channel_ring_if_asleep(struct channel *channel);
/* Sends what waits. Return: number of frames sent, or -errno after killing the channel. */
int channel_flush(struct channel *channel);
/* The call waits no more. */
void channel_forget_queued(struct channel *channel, struct call *call);
void channel_queue_free(struct channel *channel);
/* To a larger ring, if that can be had. */
void channel_grow_ring(struct channel *channel) __attribute__((noinline, cold));
/* Gives back what our next frame would have. */
void channel_return_names(struct channel *channel) __attribute__((noinline, cold));
static inline void channel_return_now(struct channel *channel)
{
    if (__builtin_expect(channel->return_count > 0, 0))
        channel_return_names(channel);
}
/* Whether what waits should be tried again: the peer has released something, or consumed all that we
 * sent or a quarter of the ring, for one record's room is not worth the cache line that tells it. No
 * more than a hint: these are a peer's values. */
static inline bool channel_has_room(const struct channel *channel)
{
    uint64_t consumed, released;
    peer_progress(&channel->peer, &consumed, &released);
    return consumed - channel->tried >= channel->ours.ring_lines / 4 ||
           (consumed == channel->ours.head && consumed != channel->tried) ||
           released != channel->tried_released;
}
/* Whether there is something to take, or room for what waits. */
static inline bool channel_pending(const struct channel *channel)
{
    return ring_pending(&channel->peer) ||
           (__builtin_expect(channel->queue.count > 0, 0) && channel_has_room(channel));
}
/* Takes what has arrived, at most @batch frames. Returns how many. */
int channel_drain(struct channel *channel, unsigned batch);
void channel_wake(struct channel *channel);  /* put it on the hot list */
bool channel_sleep(struct channel *channel); /* arm the doorbell; false: something is there */
/* Dozing, while hot: until a word is woken, and not for long (wait_words()). A peer that does not
 * wake it, so that it is the time that ends the doze, is soon slept for by the doorbell again. */
#define CHANNEL_DEAF_MAX 3
bool channel_may_doze(const struct channel *channel);
/* Sets the flag. Return: the word to wait on; the kernel has the last look at it. */
const void *channel_doze(struct channel *channel);
void channel_doze_end(struct channel *channel, bool in_time);
void channel_doze_woken(struct channel *channel); /* instead, before it is drained */
/* Of a peer that was last seen on our CPU: whether it needs it now. */
bool channel_wants_cpu(const struct channel *channel);
int channel_bell_send(struct channel *channel, const struct bell_packet *packet, size_t bytes, int fd);
int channel_attach_peer(struct channel *channel, int fd, struct error_text *error);
/* Binds the channel's plan, or one that it had, to the structs of @descriptor, ours, unless that has
 * been done; with the binding that another channel of the same owner has, if there is one. Return: 0,
 * or as plan_bind(). */
int channel_bind(struct channel *channel, struct held_plan *held,
                 const ProtobufCServiceDescriptor *descriptor, struct error_text *error);
void channel_destroy(struct channel *channel); /* endpoint's, at the end of a turn */
/* Its memory, ours and the peer's, stays until it is let go, whatever becomes of the channel. */
struct channel *channel_keep(struct channel *channel);
void channel_let_go(struct channel *channel);
/* A block of our arena, after taking back what the peer has released, and growing if that helps.
 * Return: 0, ARENA_E_FULL, ARENA_E_GROW, or -errno. */
int channel_arena_take(struct channel *channel, size_t bytes, struct frame_ref *ret_ref,
                       void **ret_data);
/* Where in the peer's arenas this is. @ref: private. Return: 0, or -EPROTO with a sentence. */
int channel_resolve(struct channel *channel, const struct frame_ref *ref, uint64_t bytes,
                    const uint8_t **ret_data, struct error_text *error);
/* Names of the peer's blocks that we need no more. A client's that has no call on its way go with its
 * next frame, for until then nobody there needs the memory; others at once. */
void channel_give_back(struct channel *channel, const uint32_t *blocks, uint32_t count);
/* The same with our next frame, which follows at once. False: it has no room for so many, or others
 * wait to be sent. */
bool channel_give_back_with_next(struct channel *channel, const uint32_t *blocks, uint32_t count);

/* ---- buffer.c, refs.c: for channel.c; the rest is in refs.h ---- */

/* Gives the blocks of parked buffers back to the arena. Return: whether there were any. */
bool buffers_unpark(struct channel *channel);

/* The packed message once more, without references. Return: as wire_pack(). */
int refs_forgo(struct body *body);
/* Writes the places of the stand-ins of a packed message, which has @bytes and has been written in
 * front of them, and lends what they name: the frame must be sent now. Return: 0, or -ESTALE. */
int refs_write(struct channel *channel, struct wire_packing *packing, size_t bytes,
               size_t ref_count, uint8_t *out);
/* The names of a hold, which a message has or had, go back with our next frame, that follows. */
void refs_give_back_with_next(struct wire_hold *hold);
/* Nothing points into the peer's memory any more. */
void refs_memory_gone(struct channel *channel);

/* ---- pack.c ---- */

/* For the requests (replies) of a service's methods, by index. */
int packer_of(const ProtobufCServiceDescriptor *service, enum plan_payload payload,
              struct wire_packer **ret_packer, struct error_text *error);
/* What a call ends as whose message wire_pack() or wire_pack_write() refused; @ret_why is what
 * follows "the request" or "the reply". */
enum parley_status packing_failed(int r, const char **ret_why);

/* ---- client.c, call.c ---- */

enum call_delivery { CALL_SYNC, CALL_CLOSURE, CALL_RAW };

enum call_list { CALL_UNLISTED, CALL_WAITING, CALL_GATHERED }; /* that call->entry is in */

/* Generations are odd, so an id is never 0. It is one word because it is read right after it was
 * changed: a word of which a half has just been written can be read only when that has left the
 * store buffer, behind all that was written before it. */
#define CALL_GENERATION_STEP (UINT64_C(2) << 32)
#define CALL_ID_FRESH (UINT64_C(0xffffffff) << 32) /* of a slot that no call has had */

/*
 * One call, in a slot that is used again. What each call writes is in the first three cache lines;
 * a free slot keeps what is marked so, and for the next call only `states` is cleared.
 */
struct __attribute__((aligned(64))) call {
    TAILQ_ENTRY(call) deadline_entry; /* of the endpoint, by deadline: all that have not ended */
    struct parley_client *client;     /* NULL: free */
    struct channel *channel;          /* NULL: waits for one; free */
    struct held_plan *held;           /* of its last attempt; NULL: there was none */
    struct stats_cell *cell;          /* in which it is counted, if `counted` */
    uint64_t id;                      /* below its index in the endpoint's table, above a generation */
    union {
        struct {
            bool done;    /* it has ended; its closure may be running */
            uint8_t list; /* enum call_list */
            bool counted; /* begun in statistics, and not ended */
            bool queued;  /* it waits in its channel's queue */
            bool one_way;
            bool mirror;   /* a copy of another call: counted nowhere but as such, tried once */
            bool accepted; /* one-way, was queued and is sent: to be ended */
            bool traced;   /* it is sampled: a frame_trace is behind its metadata, if it has any */
        };
        uint64_t states; /* all of them at once */
    };

    uint64_t deadline_ns;
    uint64_t started_ns;
    uint64_t ring_end; /* our ring's head behind the request; 0: not in the ring */
    union {
        const ProtobufCMessage *message; /* sync: the caller's */
        ProtobufCClosure closure;
        rpc_replied replied; /* raw */
    };
    void *userdata;
    uint8_t *packed; /* closure, raw, and what is queued: our copy; kept with the slot */
    uint32_t packed_bytes, packed_bytes_max;
    uint16_t method;
    uint8_t attempts;
    uint8_t delivery; /* enum call_delivery */
    bool extras;      /* some of what few calls have, to be dropped when it ends */
    uint8_t status;   /* when it has ended: enum parley_status */
    uint8_t executed; /* and enum parley_executed */
    bool told;        /* by a broker that it went through, what served it, and how */

    /* What most calls do not need, out of the way of what each touches. In a free slot all of it is
     * 0, but for the memory that is kept. */
    size_t metadata_bytes;
    struct semver_ranges *ranges; /* of versions that it asks for; NULL: any */
    uint8_t *metadata;            /* kept with the slot */
    size_t metadata_bytes_max;
    const uint8_t *given;    /* raw: the caller's, until the call ends; NULL: `packed` */
    ProtobufCMessage *reply; /* sync, closure: from the crossing to the delivery */
    const uint8_t *raw;      /* raw: in the endpoint's scratch memory, or in `room` */
    size_t raw_bytes;
    uint8_t *(*room)(const struct rpc_outcome *outcome, size_t bytes, void *userdata);
    enum parley_translation told_translation;
    char told_version[RPC_VERSION_BYTES];
    TAILQ_ENTRY(call) entry;    /* of a list, see `list` */
    char error[RPC_TEXT_BYTES]; /* if status is not OK */
    struct call_span span; /* if traced */
    TAILQ_ENTRY(call) accepted_entry; /* of the endpoint */
};
static_assert(sizeof(((struct call *)0)->states) == 8 && offsetof(struct call, deadline_ns) == 64,
              "a line");
static_assert(offsetof(struct call, metadata_bytes) == 128, "two lines");
static_assert(PLAN_ENTRY_MAX <= UINT16_MAX && RPC_ATTEMPTS_MAX <= UINT8_MAX, "its small members");

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
    struct channel *live[ROUTE_INSTANCE_MAX]; /* up, not told to go away */
    uint32_t live_count;
    bool live_alike; /* all of one version, which has weight */
    struct channel *only; /* that each call goes to which names no range, as long as the route stays
                           * as it is; NULL: it takes a look at those that are live */
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

/* begin.c */
/* Return: the call, or NULL with this thread's error text set and *ret_status: it never began. */
struct call *call_begin(struct parley_client *client, unsigned method,
                        const struct parley_call *options, enum parley_status *ret_status);
/* The same for a call on bytes, whose metadata are encoded already. */
struct call *call_begin_raw(struct parley_client *client, unsigned method,
                            const struct rpc_call *raw, enum parley_status *ret_status);
/* What served it, or was to; "" before the first attempt. */
static inline const char *call_version(const struct call *call)
{
    return call->told ? call->told_version : call->held ? call->held->version : "";
}
static inline enum parley_translation call_translation(const struct call *call)
{
    return call->told   ? call->told_translation
           : call->held ? call->held->translation
                        : PARLEY_IDENTITY;
}
/* Whether messages are translated here, or were elsewhere. */
static inline bool call_is_translated(const struct call *call)
{
    return call->told ? call->told_translation != PARLEY_IDENTITY
                      : call->held && call->held->plan_id != 0;
}
/* Whether there is nothing about it that few calls have, and it is with a service. @traced: but that
 * it is sampled. */
static inline bool call_is_plain_but(const struct call *call, bool traced)
{
    static_assert(offsetof(struct call, counted) - offsetof(struct call, states) == 2 &&
                      offsetof(struct call, traced) - offsetof(struct call, states) == 7,
                  "its bits");
    const bool little = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
    const uint64_t counted = UINT64_C(1) << (little ? 16 : 40);
    return call->states == (traced ? counted | UINT64_C(1) << (little ? 56 : 0) : counted);
}
static inline bool call_is_plain(const struct call *call)
{
    return call_is_plain_but(call, false);
}
static inline const uint8_t *call_packed(const struct call *call)
{
    return call->given ? call->given : call->packed;
}

/* Makes its packed message so large, whatever was in it. False: no memory. */
bool call_keep_more(struct call *call, size_t bytes) __attribute__((noinline, cold)); /* call.c */
static inline bool call_keep(struct call *call, size_t bytes)
{
    if (__builtin_expect(bytes > call->packed_bytes_max, 0) && !call_keep_more(call, bytes))
        return false;
    call->packed_bytes = (uint32_t)bytes;
    return true;
}
/* What the call has to say with the frame that it sends; @plain: call_is_plain(), but not yet with a
 * service, and then its message is in `packed`. A constant, where both are one way. */
static inline __attribute__((always_inline)) struct frame_header
call_request_header(const struct call *call, uint32_t time_left_us, uint16_t plan_tag,
                    const bool plain)
{
    struct frame_header header = {
        .call_id = call->id,
        .time_left_us = time_left_us,
        .method = (uint16_t)call->method,
        .version_tag = FRAME_TAG_CLIENT,
        .kind = !plain && call->one_way ? FRAME_ONE_WAY : FRAME_REQUEST,
        .plan_tag = plan_tag,
    };
    if (!plain)
        header.flags =
            (uint8_t)((call->traced ? FRAME_TRACED : 0) | (call->mirror ? FRAME_MIRROR : 0) |
                      (call->ranges ? FRAME_IN_RANGE : 0));
    return header;
}
/* Without the message. */
static inline __attribute__((always_inline)) struct body call_metadata_body(const struct call *call,
                                                                           const bool plain)
{
    struct body body = {0};
    if (!plain) {
        body.metadata = call->metadata;
        body.metadata_bytes = call->metadata_bytes;
        if (call->traced && body.metadata_bytes == 0)
            body.metadata = (const uint8_t *)&call->span; /* begins with it */
        if (call->traced)
            body.metadata_bytes += sizeof(struct frame_trace);
    }
    return body;
}
static inline uint32_t call_time_left_us(const struct call *call, uint64_t now)
{
    uint64_t left = clock_left(call->deadline_ns, now) / NS_PER_US;
    return left < UINT32_MAX ? (uint32_t)left : UINT32_MAX;
}

/* call.c */
void call_submit(struct call *call); /* pick a channel and send, or wait for one */
void call_finish(struct call *call, enum parley_status status, enum parley_executed executed,
                 const char *text);
/* The attempt on a channel came to nothing: try again or finish. */
void call_fail_attempt(struct call *call, enum parley_status status, enum parley_executed executed,
                       const char *text);
/* channel_ops.frame of a client's channel. */
int client_frame(struct channel *channel, const struct frame *frame, struct error_text *error);
/* attach.c: the frames that are no responses. */
int client_told(struct channel *channel, const struct frame *frame, struct error_text *error);
void calls_resume(struct parley_client *client); /* those that waited for a channel */
void call_accepted(struct call *call); /* one-way, and on its way: it has ended */
struct channel *client_pick(struct parley_client *client, const struct call *call);
void client_route_read(struct parley_client *client); /* brings the view up to date */
/* Whether the view is an old one: one load, for each call. */
static inline bool client_route_is_news(const struct parley_client *client)
{
    /* relaxed: who copies the slot looks again */
    return client->route_sequence &&
           atomic_load_explicit(client->route_sequence, memory_order_relaxed) !=
               client->view.sequence;
}
static inline uint64_t call_timeout_bounded(uint64_t timeout_ns)
{
    return timeout_ns < RPC_CALL_TIMEOUT_NS_MAX ? timeout_ns : RPC_CALL_TIMEOUT_NS_MAX;
}

/* Sends it on that channel, or ends it. */
void call_submit_to(struct call *call, struct channel *channel);

/* ---- mirror.c ---- */

/* The call has ended, and not been delivered; @served: index of the version that answered. Sends a
 * copy to the version that the rollout names, if it is this call's turn. */
void mirror_consider(struct call *call, uint32_t served);
/* Whether two messages of one type say the same, as far as that type knows. False: where and how
 * they differ first. @ret_path: of @bytes */
bool mirror_same(const ProtobufCMessage *a, const ProtobufCMessage *b, char *ret_path,
                 size_t bytes, const char **ret_how);

/* ---- cancel.c ---- */

/* Its deadline has passed. */
void call_expire(struct call *call);
/* The call that it was made for was cancelled. */
void call_orphaned(struct call *call);

/* ---- service.c ---- */

struct parley_context {
    union {
        LIST_ENTRY(parley_context) entry; /* of its channel, or the service's orphans */
        struct parley_context *next;      /* of those that are kept */
    };
    struct channel *channel;          /* NULL: the caller is gone */
    struct parley_service *service;   /* NULL: freed; then the entry is in no list */
    struct stats_cell *cell;
    uint64_t call_id;
    uint64_t started_ns;

    uint64_t deadline_ns;
    uint32_t method;
    union {
        struct {
            bool one_way;
            bool mirror;    /* a copy: the caller gets another's reply */
            bool relayed;   /* parley.peer.* in the metadata are the broker's words */
            bool cancelled; /* its caller said so; or is gone: then `channel` is NULL, too */
            bool traced;
            bool failed; /* parley_context_fail(): `status` and `text` */
            uint16_t metadata_bytes;
        };
        uint64_t special; /* all of them at once; 0: of most calls */
    };
    void (*on_cancel)(struct parley_context *context, void *userdata); /* NULL: nobody to tell */
    struct parley_buffer *buffers; /* for the reply */
    struct wire_hold *hold;        /* of the request's bytes; NULL: none are live */
    struct parley_peer peer;

    char client_version[RPC_VERSION_BYTES];

    /* What most calls do not need. */
    size_t metadata_bytes_max;
    uint8_t *metadata; /* kept with the context */
    void *on_cancel_userdata;
    enum parley_status status;
    char text[RPC_TEXT_BYTES];
    struct call_span span; /* if traced */
    char traceparent[TRACE_PARENT_TEXT_BYTES + 1]; /* its text, if somebody asked */
    char peer_text[3][12]; /* pid, uid, gid in digits, once they are asked for as metadata */
};

struct parley_service {
    TAILQ_ENTRY(parley_service) entry;
    struct parley_endpoint *endpoint;
    const struct parley_interface *interface;
    ProtobufCService *implementation;
    struct plan *identity; /* for requests */
    struct wire_packer *packer; /* of replies */
    uint64_t instance_id;
    uint32_t calls_max;
    uint64_t drain_timeout_ns;
    bool answered; /* the broker has */
    enum parley_status status;
    char text[ERROR_TEXT_BYTES_MAX];
    uint32_t route_slot;
    bool route_known;
    struct route_view view; /* to remember the weights over a broker's restart */
    bool closing;
    bool freed;
    uint64_t closing_since_ns;
    uint64_t drain_order; /* of the broker, for which it is closing; 0: it closes by itself */
    bool drain_told;      /* that it has drained */
    LIST_HEAD(, channel) channels;
    uint32_t channel_count;
    struct contexts orphans; /* whose callers are gone */
    struct contexts untold;  /* as well, and on_cancel() has still to be run */
    uint32_t serving; /* contexts not answered */
    struct raw_service *raw; /* it works on bytes: raw.c; NULL: on structs */
};

/* Onto the endpoint's list, with what is the same for all. An instance_id that is set stays. */
void service_join(struct parley_service *service, struct parley_endpoint *endpoint,
                  const struct parley_service_options *options);
/* Return: 0; -ESTALE: it could not be packed, something else must be sent. */
int service_send_response(struct channel *channel, struct frame_header *header, struct body *body);
/* channel_bind() to the service's structs, if it works on such. Return: as that. */
int service_bind(struct channel *channel, struct held_plan *held, struct error_text *error);
/* What a channel's first request would have to do first. A failure is that request's. */
void service_prepare(struct channel *channel);
/* channel_ops.frame */
int service_frame(struct channel *channel, const struct frame *frame, struct error_text *error);
void service_link_up(struct parley_service *service);
void service_link_down(struct parley_service *service); /* remembers the weights */
struct rpc_weights;
/* As if it had seen them on the page; NULL, or none: what it has stays. Each at most ROUTE_BUCKETS. */
void service_remember_weights(struct parley_service *service, const struct rpc_weights *weights);
void service_published(struct parley_service *service, const Parley__Published *message);
void service_attach(struct parley_service *service, const Parley__Attach *message, int segment_fd,
                    int bell);
/* The broker says that it is to drain, or no longer. */
void service_drain_ordered(struct parley_service *service, const Parley__Drain *message);
/* endpoint->hang_up_at_ns has come. */
void services_hang_up_due(struct parley_endpoint *endpoint, uint64_t now);
/* Hangs up on clients that have not answered GOAWAY in time and have nothing in flight. */
void service_hang_up_silent(struct parley_service *service);
void service_destroy(struct parley_service *service);

/* ---- raw.c: services that work on bytes (rpc.h) ---- */

struct raw_answer {
    enum parley_status status;
    enum parley_executed executed;
    const uint8_t *data; /* a packed reply; a sentence if the status is not OK */
    size_t bytes;
};
/* service.c: answers for good. */
void raw_context_end(struct parley_context *context, const struct raw_answer *answer);
/* Return: what the call has ended as. */
enum parley_status raw_send(struct parley_context *context, const struct raw_answer *answer);
/* One crossing into the memory that the service names. Return: 0, or as plan_run(); -ENOMEM. */
int raw_enter(struct parley_context *context, const struct frame *frame, uint32_t method,
              uint8_t **ret_payload, size_t *ret_bytes, struct plan_failure *failure);
void raw_serve(struct parley_context *context, uint32_t method, uint8_t *payload, size_t bytes);
void raw_published(struct parley_service *service);
const char *raw_input_name(const struct parley_service *service, uint32_t method);
struct raw_service *raw_free(struct raw_service *raw); /* NULL is fine; returns NULL */

/* ---- context.c ---- */

/* Copies what must outlive the frame. Return: 0, -ENOMEM, or -EBADMSG: malformed metadata. */
int context_new(struct channel *channel, const struct frame *frame,
                struct parley_context **ret_context);
/* @endpoint: may keep it for the next; NULL: it is gone, or not ours. The second is for those that are
 * not kept, or have something to give back. */
static inline void context_free(struct parley_endpoint *endpoint, struct parley_context *context);
void context_free_slowly(struct parley_endpoint *endpoint, struct parley_context *context);
void contexts_drop_kept(struct parley_endpoint *endpoint);
/* buffer.c: its buffers, and the memory of the client that its request refers to. */
void context_give_back(struct parley_context *context);
/* Makes it the thread's current one, and the one that is being handled; returns the outer one. */
struct parley_context *context_enter(struct parley_context *context);
/* The handler has returned: @outer is current again. If the call has not ended, it is in its list. */
void context_return(struct parley_endpoint *endpoint, struct parley_context *outer);
/* The call has ended: it is current no more, and in no list. @service NULL: it was in none. */
void context_leave(struct parley_context *context, struct parley_service *service);
/* Whether it is cancelled, or its caller gone, as far as can be seen without taking frames. */
bool context_given_up(struct parley_context *context);
/* The lists of a service's channel. NULL: no memory. */
struct contexts *contexts_new(void);
void contexts_prepare(struct parley_endpoint *endpoint); /* so that the next request finds one */
void contexts_add(struct channel *channel, struct parley_context *context);
/* The one that is being handled is in its list from now on: before anybody looks for it there. */
void contexts_settle(struct parley_endpoint *endpoint);
/* A cancel came. What it names may be answered already, or never have been. */
void contexts_cancel(struct channel *channel, uint64_t call_id);
/* The channel is dead: its contexts have no caller any more. */
void contexts_orphan(struct channel *channel);
/* The service is freed: its contexts have neither caller nor service. */
void contexts_disown(struct parley_service *service);
/* The same for those of a channel, in a child of fork(2): nobody is told. */
void contexts_forget(struct channel *channel);
extern const struct channel_ops service_channel_ops;

/* ---- endpoint.c ---- */

struct plan_entry {
    uint64_t plan_id;
    uint64_t line;
    uint64_t sequence;
    uint16_t tag;
    struct plan *plan;
};
#define RPC_LINE_PLANS_MAX 4 /* of one line */

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
    uint64_t pass; /* the last one over the hot list */
    uint64_t contract_last;

    struct stats stats;
    struct spans spans; /* of sampled calls */
    struct plan_entry *plans;
    size_t plan_count, plan_max;
    uint64_t plan_sequence;

    TAILQ_HEAD(, parley_client) clients;
    TAILQ_HEAD(, parley_service) services;
    TAILQ_HEAD(channels, channel) hot, cold, dead;
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
    bool held_back; /* its clients are not read until rpc_service_resume(); counts as a handler */
    unsigned handlers; /* nested handlers: services are not served meanwhile */
    _Atomic int stop;
    _Atomic unsigned stoppers; /* threads in parley_stop(): the endpoint is not freed meanwhile */
};

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

/* ---- plans.c ---- */

int plans_received(struct parley_endpoint *endpoint, const Parley__Plan *message,
                   struct error_text *error);
void plans_drop(struct parley_endpoint *endpoint);
/* Borrowed until the next message; NULL: the broker never sent it, or another took its place. */
const struct plan_entry *plans_find(const struct parley_endpoint *endpoint, uint64_t plan_id);
/* One user: held_drop(). @entry NULL: @identity. NULL: no memory. */
struct held_plan *held_new(const struct plan_entry *entry, struct plan *identity);
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

#include "rpc/calls.h"

#endif
