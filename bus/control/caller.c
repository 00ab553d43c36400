/*
 * Which backend calls: our own sockets where they speak the URL's scheme, else libnng.
 */
#include "control/caller_ops.h"

#include <errno.h>
#include <string.h>

#include "control/stream.h"

int caller_new(const struct caller_options *options, struct caller **ret_caller,
               struct error_text *error)
{
    const struct caller_ops *ops =
        stream_url_is(options->url) ? &caller_stream_ops : &caller_nng_ops;
    if (options->backend)
        ops = strcmp(options->backend, "nng") == 0 ? &caller_nng_ops : &caller_stream_ops;
    struct caller *caller;
    int r = ops->new (options, &caller, error);
    if (r < 0)
        return r;
    caller->ops = ops;
    *ret_caller = caller;
    return 0;
}

struct caller *caller_free(struct caller *caller)
{
    if (caller)
        caller->ops->free(caller);
    return NULL;
}

int caller_fd(const struct caller *caller)
{
    return caller->ops->fd(caller);
}

uint64_t caller_next_deadline_ns(const struct caller *caller)
{
    return caller->ops->next_deadline_ns(caller);
}

bool caller_connected(const struct caller *caller)
{
    return caller->ops->connected(caller);
}

const char *caller_problem(const struct caller *caller)
{
    return caller->ops->problem(caller);
}

void caller_hang_up(struct caller *caller)
{
    caller->ops->hang_up(caller);
}

void caller_turn(struct caller *caller)
{
    caller->ops->turn(caller);
}

int caller_send_begin(struct caller *caller, size_t bytes, uint8_t **ret_data)
{
    return caller->ops->send_begin(caller, bytes, ret_data);
}

int caller_send_end(struct caller *caller, size_t bytes, uint32_t request)
{
    return caller->ops->send_end(caller, bytes, request);
}

void caller_flush(struct caller *caller)
{
    if (caller->ops->flush)
        caller->ops->flush(caller);
}

int caller_receive(struct caller *caller, uint32_t *ret_request, const uint8_t **ret_data,
                   size_t *ret_bytes)
{
    return caller->ops->receive(caller, ret_request, ret_data, ret_bytes);
}
