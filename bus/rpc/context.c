/*
 * What a handler can learn of the call that it serves, and what it can say of its end.
 *
 * A context is private memory: nothing in it points into the channel, so a handler may keep it until
 * it answers, whatever becomes of the client meanwhile.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static _Thread_local struct parley_context *current_context;

struct parley_context *context_enter(struct parley_context *context)
{
    struct parley_context *outer = current_context;
    current_context = context;
    return outer;
}

void context_leave(struct parley_context *context)
{
    if (current_context == context)
        current_context = NULL;
}

void context_free(struct parley_context *context)
{
    free(context->metadata);
    free(context);
}

static int copy_metadata(struct parley_context *context, const struct frame *frame)
{
    size_t bytes = frame->header.metadata_bytes;
    context->metadata = NULL;
    context->metadata_bytes = (uint16_t)bytes;
    if (bytes == 0)
        return 0;
    context->metadata = malloc(bytes);
    if (!context->metadata)
        return -ENOMEM;
    memcpy(context->metadata, frame->metadata, bytes); /* once; checked in our copy */
    return metadata_check(context->metadata, bytes);
}

int context_new(struct channel *channel, const struct frame *frame,
                struct parley_context **ret_context)
{
    struct parley_context *context = malloc(sizeof(*context));
    if (!context)
        return -ENOMEM;
    int r = copy_metadata(context, frame);
    if (r < 0) {
        context_free(context);
        return r;
    }
    context->channel = channel;
    context->service = channel->service;
    context->call_id = frame->header.call_id;
    context->started_ns = clock_now_ns();
    context->deadline_ns = frame->header.time_left_us == UINT32_MAX
                               ? CLOCK_NEVER
                               : context->started_ns + frame->header.time_left_us * NS_PER_US;
    context->cell = NULL;
    context->status = PARLEY_OK;
    context->one_way = frame->header.kind == FRAME_ONE_WAY;
    context->cancelled = false;
    context->text[0] = '\0';
    context->peer = channel->peer_id;
    memcpy(context->client_version, channel->client_version, sizeof(context->client_version));
    *ret_context = context;
    return 0;
}

struct parley_context *parley_context_current(void)
{
    return current_context;
}

void parley_context_fail(struct parley_context *context, enum parley_status status,
                         const char *text)
{
    context->status = status == PARLEY_OK || (unsigned)status >= PARLEY_STATUS_COUNT
                          ? PARLEY_UNKNOWN
                          : status;
    (void)snprintf(context->text, sizeof(context->text), "%s", text ? text : "");
}

uint64_t parley_context_time_left_ns(const struct parley_context *context)
{
    return clock_left(context->deadline_ns, clock_now_ns());
}

const char *parley_context_metadata(const struct parley_context *context, const char *key,
                                    size_t *ret_bytes)
{
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
