/*
 * A channel, to one instance or one client, and what it carries: frames (send.c, channel.c, queue.c; their
 * usual way is in frames.h).
 */
#ifndef PARLEY_RPC_CHANNEL_H
#define PARLEY_RPC_CHANNEL_H

#include <parley/parley.h>
#include <sys/queue.h>

#include "base/error.h"
#include "control/link.h"
#include "rpc/bounds.h"
#include "rpc/plans.h"
#include "rpc/route.h"
#include "rpc/stats.h"
#include "shm/shm.h"
#include "wire/wire.h"

/* ---- What the endpoint waits for ---- */

struct source {
    void (*ready)(struct source *source, uint32_t events); /* NULL: dead, ignore */
};

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

/* Freed objects of one size, to be used again (refs.h). */
struct spares {
    struct spare *first;
    uint32_t count;
};

struct channel {
    struct source source; /* the doorbell */
    TAILQ_ENTRY(channel) entry; /* of the endpoint's cold or dead ones */
    LIST_ENTRY(channel) owner_entry; /* of the client or the service */
    struct parley_endpoint *endpoint;
    const struct channel_ops *ops;
    enum channel_state state;
    bool awake; /* one of the endpoint's hot ones; its asleep flag is clear */
    bool service_side;
    bool blocked; /* frames wait in `queue` */
    bool hung_up;
    bool rang; /* the bell did: to be looked at, whatever its ring seems to hold */
    uint8_t deaf; /* dozes in a row that it did not end, though it published: CHANNEL_DEAF_MAX */
    bool paused; /* a far end's: what waits stays there for now */
    struct far *far; /* it stands for somebody who is reached by NNG: remote.h; NULL: it is one's own */
    uint32_t hot_index; /* while it is awake */
    uint64_t pass; /* the last one that had something to do for it */
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
    uint32_t load; /* what the service last said, or a little before: struct segment_cells */
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
void channel_wake(struct channel *channel);  /* make it one of the hot ones */
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

#endif
