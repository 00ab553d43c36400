/*
 * A call that we make: what is kept of it, and what may become of it (begin.c, call.c,
 * call_end.c, mirror.c, cancel.c).
 */
#ifndef PARLEY_RPC_CALL_STATE_H
#define PARLEY_RPC_CALL_STATE_H

#include "rpc/channel.h"
#include "rpc/rpc.h"
#include "rpc/trace.h"

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

/* call.c, call_end.c */
void call_submit(struct call *call); /* pick a channel and send, or wait for one */
void call_finish(struct call *call, enum parley_status status, enum parley_executed executed,
                 const char *text);
/* The attempt on a channel came to nothing: try again or finish. */
void call_fail_attempt(struct call *call, enum parley_status status, enum parley_executed executed,
                       const char *text);

void calls_resume(struct parley_client *client); /* those that waited for a channel */
void call_accepted(struct call *call); /* one-way, and on its way: it has ended */

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

#endif
