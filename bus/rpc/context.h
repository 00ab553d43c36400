/*
 * A call that we serve (context.c).
 */
#ifndef PARLEY_RPC_CONTEXT_H
#define PARLEY_RPC_CONTEXT_H

#include "rpc/channel.h"
#include "rpc/trace.h"

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

/* ---- context.c ---- */

/* Copies what must outlive the frame. Return: 0, -ENOMEM, or -EBADMSG: malformed metadata. */
int context_new(struct channel *channel, const struct frame *frame,
                struct parley_context **ret_context);
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

#endif
