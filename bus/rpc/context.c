/*
 * What a handler can learn of the call that it serves, and what it can say of its end.
 *
 * A context is private memory: nothing in it points into the channel, so a handler may keep it
 * until it answers, whatever becomes of the client meanwhile.
 *
 * Cancelling. Contexts hang on their channel, in lists by call id, so that a cancel finds its own
 * among thousands and a client reaches nobody else's. A handler that has returned is told through
 * on_cancel(). One that is at work has the thread, so that nobody takes frames: when it asks, we
 * look for its cancel among the records that wait in the client's ring, each of them once for each
 * handler (looked_ahead). They are taken later as ever, and on_cancel() runs then, if there is one.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Asked for each call that is made: the short way to it. */
__attribute__((
    tls_model("initial-exec"))) static _Thread_local struct parley_context *current_context;

struct parley_context *context_enter(struct parley_context *context)
{
    struct parley_endpoint *endpoint = context->service->endpoint;
    struct parley_context *outer = current_context;
    if (__builtin_expect(endpoint->handling != NULL, 0))
        contexts_settle(endpoint);
    endpoint->handling = context;
    current_context = context;
    return outer;
}

void context_return(struct parley_endpoint *endpoint, struct parley_context *outer)
{
    if (endpoint->handling)
        contexts_settle(endpoint);
    current_context = outer;
}

void context_leave(struct parley_context *context, struct parley_service *service)
{
    if (service && service->endpoint->handling == context)
        service->endpoint->handling = NULL;
    else if (service)
        LIST_REMOVE(context, entry);
    if (current_context == context)
        current_context = NULL;
}

static void context_destroy(struct parley_context *context)
{
    free(context->metadata);
    free(context);
}

void context_free_slowly(struct parley_endpoint *endpoint, struct parley_context *context)
{
    const bool gives = context->buffers || context->hold;
    context_give_back(context);
    if (gives && endpoint)
        context_free(endpoint, context);
    else
        context_destroy(context);
}

void contexts_drop_kept(struct parley_endpoint *endpoint)
{
    struct parley_context *context;
    while ((context = endpoint->contexts_kept)) {
        endpoint->contexts_kept = context->next;
        context_destroy(context);
    }
    endpoint->contexts_kept_count = 0;
}

static inline struct parley_context *context_take(struct parley_endpoint *endpoint)
{
    struct parley_context *context = endpoint->contexts_kept;
    if (__builtin_expect(context != NULL, 1)) {
        endpoint->contexts_kept = context->next;
        endpoint->contexts_kept_count--;
        return context;
    }
    context = malloc(sizeof(*context));
    if (context) {
        context->metadata = NULL;
        context->metadata_bytes_max = 0;
    }
    return context;
}

void contexts_prepare(struct parley_endpoint *endpoint)
{
    struct parley_context *context = context_take(endpoint);
    if (!context)
        return;
    context->buffers = NULL;
    context->hold = NULL;
    context_free(endpoint, context);
}

static int copy_metadata(struct parley_context *context, const struct channel *channel,
                         const struct frame *frame)
{
    size_t bytes = frame->header.metadata_bytes;
    context->metadata_bytes = (uint16_t)bytes;
    if (bytes == 0)
        return 0;
    if (bytes > context->metadata_bytes_max) {
        uint8_t *grown = realloc(context->metadata, bytes);
        if (!grown)
            return -ENOMEM;
        context->metadata = grown;
        context->metadata_bytes_max = bytes;
    }
    memcpy(context->metadata, frame->metadata, bytes); /* once; checked in our copy */
    int r = 0;
    if (__builtin_expect(frame->header.flags & FRAME_TRACED, 0)) {
        if (bytes < sizeof(struct frame_trace))
            return -EBADMSG;
        bytes -= sizeof(struct frame_trace);
        r = trace_context_begin(context, channel->endpoint, context->metadata + bytes);
    }
    if (r == 0)
        r = metadata_check(context->metadata, bytes);
    if (r < 0)
        return r;
    size_t peer = channel->relayed ? metadata_peer_bytes(context->metadata, bytes) : 0;
    context->metadata_bytes =
        (uint16_t)(peer + metadata_tidy(context->metadata + peer, bytes - peer,
                                        frame->header.flags & FRAME_TRACED));
    return 0;
}

/* A number of the broker's, in digits. @none: it said nothing of it. */
static uint32_t relayed_number(const struct parley_context *context, const char *key, uint32_t none)
{
    size_t bytes;
    uint32_t value = 0;
    const char *text = metadata_find(context->metadata, context->metadata_bytes, key, &bytes);
    for (size_t i = 0; text && i < bytes && i < 10; i++)
        value = value * 10 + (uint32_t)(text[i] - '0');
    return text ? value : none;
}

/* For whom the broker relays: who has no uid, because he is not of this host or of a kind that
 * nobody vouches for, has that of nobody. */
static struct parley_peer relayed_peer(const struct parley_context *context)
{
    return (struct parley_peer){
        .pid = (pid_t)relayed_number(context, "parley.peer.pid", 0),
        .uid = relayed_number(context, "parley.peer.uid", UINT32_MAX),
        .gid = relayed_number(context, "parley.peer.gid", UINT32_MAX),
    };
}

/* Whether it is a request like most but for the context of its trace. */
static inline bool frame_is_just_traced(const struct channel *channel, const struct frame *frame)
{
    return frame->header.kind == FRAME_REQUEST && frame->header.flags == FRAME_TRACED &&
           frame->header.metadata_bytes == sizeof(struct frame_trace) && !channel->relayed;
}

/* What few calls have. Return: as context_new(). */
__attribute__((noinline)) static int make_special(struct parley_context *context,
                                                  const struct channel *channel,
                                                  const struct frame *frame)
{
    context->one_way = frame->header.kind == FRAME_ONE_WAY;
    context->mirror = frame->header.flags & FRAME_MIRROR;
    context->relayed = channel->relayed;
    int r = copy_metadata(context, channel, frame);
    if (r == 0 && context->relayed)
        context->peer = relayed_peer(context);
    return r;
}

int context_new(struct channel *channel, const struct frame *frame,
                struct parley_context **ret_context)
{
    struct parley_context *context = context_take(channel->endpoint);
    if (__builtin_expect(!context, 0))
        return -ENOMEM;
    context->channel = channel;
    context->service = channel->service;
    context->call_id = frame->header.call_id;
    /* Of one that is traced it is where its crossing begins, too: it shares no reading. */
    context->started_ns =
        endpoint_stamp(channel->endpoint,
                       __builtin_expect(frame->header.flags & FRAME_TRACED, 0) ? CLOCK_NEVER : 0);
    context->deadline_ns = frame->header.time_left_us == UINT32_MAX
                               ? CLOCK_NEVER
                               : context->started_ns + frame->header.time_left_us * NS_PER_US;
    context->special = 0;
    context->on_cancel = NULL;
    context->buffers = NULL;
    context->hold = NULL;
    context->peer = channel->peer_id;
    memcpy(context->client_version, channel->client_version, sizeof(context->client_version));
    *ret_context = context;
    if (__builtin_expect(frame->header.kind == FRAME_REQUEST && frame->header.metadata_bytes == 0 &&
                             !(frame->header.flags & FRAME_MIRROR) && !channel->relayed,
                         1))
        return 0;
    int r = frame_is_just_traced(channel, frame)
                ? trace_context_begin(context, channel->endpoint, frame->metadata)
                : make_special(context, channel, frame);
    if (__builtin_expect(r < 0, 0))
        context_free(channel->endpoint, context);
    return r;
}

struct parley_context *parley_context_current(void)
{
    return current_context;
}

void parley_context_fail(struct parley_context *context, enum parley_status status,
                         const char *text)
{
    context->failed = true;
    context->status =
        status == PARLEY_OK || (unsigned)status >= PARLEY_STATUS_COUNT ? PARLEY_UNKNOWN : status;
    (void)snprintf(context->text, sizeof(context->text), "%s", text ? text : "");
}

uint64_t parley_context_time_left_ns(const struct parley_context *context)
{
    return clock_left(context->deadline_ns, clock_now_ns());
}

/* parley.peer.*: as the kernel said, whatever the caller's metadata did; of a call that the broker
 * relays, as the broker said. NULL: no such key. */
static const char *peer_metadata(const struct parley_context *context, const char *key,
                                 size_t *ret_bytes)
{
    if (context->mirror && strcmp(key, "parley.mirror") == 0) {
        if (ret_bytes)
            *ret_bytes = 1;
        return "1";
    }
    if (context->relayed) /* any other key that is reserved was never sent */
        return strncmp(key, "parley.peer.", 12) == 0
                   ? metadata_find(context->metadata, context->metadata_bytes, key, ret_bytes)
                   : NULL;
    static const char *const keys[] = {"parley.peer.pid", "parley.peer.uid", "parley.peer.gid"};
    const unsigned values[] = {(unsigned)context->peer.pid, context->peer.uid, context->peer.gid};
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(key, keys[i]) != 0)
            continue;
        char *text = ((struct parley_context *)(uintptr_t)context)->peer_text[i]; /* ours to keep */
        int written = snprintf(text, sizeof(context->peer_text[i]), "%u", values[i]);
        if (ret_bytes)
            *ret_bytes = (size_t)written;
        return text;
    }
    return NULL;
}

const char *parley_context_metadata(const struct parley_context *context, const char *key,
                                    size_t *ret_bytes)
{
    if (metadata_key_is_reserved(key, strlen(key)))
        return peer_metadata(context, key, ret_bytes);
    if (__builtin_expect(context->traced, 0) && strcmp(key, "traceparent") == 0)
        return trace_context_text((struct parley_context *)(uintptr_t)context, ret_bytes);
    return metadata_find(context->metadata, context->metadata_bytes, key, ret_bytes);
}

const char *parley_context_client_version(const struct parley_context *context)
{
    return context->client_version;
}

void parley_context_peer(const struct parley_context *context, struct parley_peer *ret_peer)
{
    *ret_peer = context->peer;
}

/* ---- Cancelling ---- */

static struct contexts *bucket(struct channel *channel, uint64_t call_id)
{
    /* The low half is an index that clients use from 0 up, the high half a generation. */
    uint64_t mixed = (call_id ^ call_id >> 32) & (RPC_CONTEXT_BUCKETS - 1);
    return &channel->contexts[mixed];
}

struct contexts *contexts_new(void)
{
    return calloc(RPC_CONTEXT_BUCKETS, sizeof(struct contexts)); /* zero is an empty list */
}

void contexts_add(struct channel *channel, struct parley_context *context)
{
    LIST_INSERT_HEAD(bucket(channel, context->call_id), context, entry);
    channel->looked_ahead = 0; /* its cancel may have been passed before it was there */
}

void contexts_settle(struct parley_endpoint *endpoint)
{
    struct parley_context *context = endpoint->handling;
    endpoint->handling = NULL;
    if (context)
        contexts_add(context->channel, context);
}

/* What it runs may answer, which frees the context. */
static void tell(struct parley_context *context)
{
    void (*on_cancel)(struct parley_context *, void *) = context->on_cancel;
    context->on_cancel = NULL;
    if (on_cancel)
        on_cancel(context, context->on_cancel_userdata);
}

static void mark(struct channel *channel, uint64_t call_id)
{
    struct parley_context *context;
    LIST_FOREACH (context, bucket(channel, call_id), entry) {
        if (context->call_id == call_id)
            context->cancelled = true;
    }
}

static struct parley_context *find_untold(struct channel *channel, uint64_t call_id)
{
    struct parley_context *context;
    LIST_FOREACH (context, bucket(channel, call_id), entry) {
        if (context->call_id == call_id && context->on_cancel)
            return context;
    }
    return NULL;
}

void contexts_cancel(struct channel *channel, uint64_t call_id)
{
    struct parley_endpoint *endpoint = channel->endpoint;
    contexts_settle(endpoint);
    mark(channel, call_id);
    /* One, unless a client uses an id twice; looked up anew, for what runs may change the list. */
    struct parley_context *context;
    endpoint->handlers++;
    while ((context = find_untold(channel, call_id)))
        tell(context);
    endpoint->handlers--;
}

void contexts_orphan(struct channel *channel)
{
    struct parley_service *service = channel->service;
    contexts_settle(channel->endpoint);
    for (uint32_t i = 0; channel->contexts && i < RPC_CONTEXT_BUCKETS; i++) {
        struct parley_context *context;
        while ((context = LIST_FIRST(&channel->contexts[i]))) {
            LIST_REMOVE(context, entry);
            context->channel = NULL; /* the handler's closure will find nobody */
            context->cancelled = true;
            LIST_INSERT_HEAD(context->on_cancel ? &service->untold : &service->orphans, context,
                             entry);
        }
    }
    struct parley_context *context;
    channel->endpoint->handlers++;
    while ((context = LIST_FIRST(&service->untold))) {
        LIST_REMOVE(context, entry);
        LIST_INSERT_HEAD(&service->orphans, context, entry);
        tell(context);
    }
    channel->endpoint->handlers--;
}

static void disown(struct contexts *contexts)
{
    struct parley_context *context;
    while ((context = LIST_FIRST(contexts))) {
        LIST_REMOVE(context, entry);
        context->service = NULL;
        context->channel = NULL;
    }
}

void contexts_forget(struct channel *channel)
{
    contexts_settle(channel->endpoint);
    for (uint32_t i = 0; channel->contexts && i < RPC_CONTEXT_BUCKETS; i++)
        disown(&channel->contexts[i]);
}

void contexts_disown(struct parley_service *service)
{
    disown(&service->orphans);
    disown(&service->untold);
}

/* What the records say that wait in the client's ring. */
static void look_ahead(struct channel *channel)
{
    const void *record;
    uint32_t bytes;
    struct frame_header header;
    contexts_settle(channel->endpoint);
    while (ring_look_ahead(&channel->peer, &channel->looked_ahead, &record, &bytes) == 0) {
        if (bytes < sizeof(header))
            return; /* not a frame: the channel ends when it is taken */
        memcpy(&header, record, sizeof(header));
        if (header.kind == FRAME_CANCEL)
            mark(channel, header.call_id);
    }
}

bool context_given_up(struct parley_context *context)
{
    struct channel *channel = context->channel;
    if (context->cancelled || !channel || channel->hung_up || endpoint_forked(channel->endpoint))
        return true;
    if (__builtin_expect(channel->endpoint->uplink->look != NULL, 0))
        channel->endpoint->uplink->look(channel->endpoint);
    look_ahead(channel);
    return context->cancelled;
}

bool parley_context_cancelled(struct parley_context *context)
{
    return context_given_up(context) || clock_now_ns() >= context->deadline_ns;
}

void parley_context_on_cancel(struct parley_context *context,
                              void (*cancelled)(struct parley_context *context, void *userdata),
                              void *userdata)
{
    context->on_cancel = cancelled;
    context->on_cancel_userdata = userdata;
    if (context->cancelled)
        tell(context);
}
