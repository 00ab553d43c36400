/*
 * A call's beginning: what it was asked for, and what it inherits, before anybody picks a channel.
 *
 * A call that is made while another is served is made for that one: it does not outlast it, and
 * carries on what belongs to the whole chain of calls, its trace, its baggage, its tenant, and by
 * what a gray release tells users apart. What the program says itself comes first. A handler that
 * has returned says for which call it goes on (parent); work that is to outlive the call says that
 * (detached).
 *
 * Nothing is allocated unless a call brings more than one before it in the same slot, which keeps its
 * memory, or asks for ranges of versions that are new (ranges.c).
 */
#include "rpc/internal.h"

#include <errno.h>
#include <string.h>

#include "rpc/offers.h"

static const struct parley_context *parent_of(const struct parley_call *options)
{
    if (options && options->parent)
        return options->parent;
    return options && options->detached ? NULL : parley_context_current();
}

static enum parley_status set_deadline(struct call *call, const struct parley_client *client,
                                       const struct parley_call *options,
                                       const struct parley_context *parent)
{
    call->started_ns = quick_clock_now_ns(&client->endpoint->clock);
    uint64_t timeout = options && options->timeout_ns ? options->timeout_ns : client->timeout_ns;
    call->deadline_ns = call->started_ns + call_timeout_bounded(timeout);
    if (!parent)
        return PARLEY_OK;
    if (parent->cancelled)
        return status_fail(PARLEY_CANCELLED, "the call that this one was made for is cancelled");
    if (parent->deadline_ns < call->deadline_ns)
        call->deadline_ns = parent->deadline_ns;
    if (call->deadline_ns <= call->started_ns)
        return status_fail(PARLEY_DEADLINE_EXCEEDED,
                           "the deadline of the call that this one was made for has passed");
    return PARLEY_OK;
}

static enum parley_status set_ranges(struct call *call, const struct parley_client *client,
                                     const struct parley_call *options)
{
    struct error_text error = {0};
    struct ranges_kept **kept = &client->endpoint->ranges_kept;
    if (ranges_get(kept, options->accept, &call->ranges, &error) < 0)
        return status_fail(PARLEY_INVALID_ARGUMENT, "accept '%.64s': %s", options->accept,
                           error.text);
    call->extras = true;
    return PARLEY_OK;
}

static bool keep_metadata(struct call *call, const uint8_t *block, size_t bytes)
{
    if (bytes > call->metadata_bytes_max) {
        uint8_t *grown = realloc(call->metadata, bytes);
        if (!grown)
            return false;
        call->metadata = grown;
        call->metadata_bytes_max = bytes;
    }
    if (bytes)
        memcpy(call->metadata, block, bytes);
    call->metadata_bytes = bytes;
    call->extras = true;
    return true;
}

/* Of a call on bytes, which is made for no other. */
static enum parley_status take_metadata(struct call *call, const struct rpc_call *raw)
{
    if (!keep_metadata(call, raw->metadata, raw->metadata_bytes))
        return status_fail(PARLEY_RESOURCE_EXHAUSTED, "out of memory for a call's metadata");
    size_t peer = metadata_peer_bytes(call->metadata, raw->metadata_bytes);
    call->metadata_bytes =
        peer + metadata_tidy(call->metadata + peer, raw->metadata_bytes - peer, false);
    return PARLEY_OK;
}

static enum parley_status set_metadata(struct call *call, const struct parley_call *options,
                                       const struct parley_context *parent)
{
    uint8_t block[RPC_METADATA_BLOCK_BYTES_MAX];
    size_t bytes = 0;
    struct error_text error = {0};
    int r = 0;
    if (options && options->metadata_count)
        r = metadata_encode(options->metadata, options->metadata_count, block, sizeof(block),
                            &bytes, &error);
    if (r == 0)
        bytes = metadata_tidy(block, bytes, false); /* what is inherited has been tidied */
    if (r == 0 && parent && parent->metadata_bytes)
        r = metadata_inherit(parent->metadata, parent->metadata_bytes, block, &bytes, &error);
    if (r < 0)
        return status_fail(PARLEY_INVALID_ARGUMENT, "%s", error.text);
    if (!keep_metadata(call, block, bytes))
        return status_fail(PARLEY_RESOURCE_EXHAUSTED, "out of memory for a call's metadata");
    return PARLEY_OK;
}

static enum parley_status fill_in(struct call *call, const struct parley_client *client,
                                  const struct parley_call *options, const struct rpc_call *raw)
{
    const struct parley_context *parent = parent_of(options);
    enum parley_status status = set_deadline(call, client, options, parent);
    if (status == PARLEY_OK && options && options->accept && *options->accept)
        status = set_ranges(call, client, options);
    if (status == PARLEY_OK && raw && raw->metadata_bytes)
        status = take_metadata(call, raw);
    else if (status == PARLEY_OK &&
             ((options && options->metadata_count) || (parent && parent->metadata_bytes)))
        status = set_metadata(call, options, parent);
    call->one_way = options && options->one_way;
    uint32_t tracing = spans_wanted(&client->endpoint->spans);
    if (__builtin_expect(tracing != 0, 0) && status == PARLEY_OK)
        trace_call_begin(call, client->endpoint, parent, tracing);
    return status;
}

static struct call *begin(struct parley_client *client, unsigned method,
                          const struct parley_call *options, const struct rpc_call *raw,
                          enum parley_status *ret_status)
{
    struct parley_endpoint *endpoint = client->endpoint;
    if (endpoint_forked(endpoint)) {
        *ret_status = status_forked();
        return NULL;
    }
    if (method >= client->spec.method_count) {
        *ret_status = status_fail(PARLEY_INVALID_ARGUMENT, "%s has %zu methods, there is no %u",
                                  client->spec.interface, client->spec.method_count, method);
        return NULL;
    }
    struct call *call = endpoint_call_new(endpoint);
    if (!call) {
        *ret_status =
            status_fail(PARLEY_RESOURCE_EXHAUSTED, "%d calls are in flight already", RPC_CALLS_MAX);
        return NULL;
    }
    enum parley_status status = fill_in(call, client, options, raw);
    if (status != PARLEY_OK) {
        endpoint_call_free(endpoint, call);
        *ret_status = status;
        return NULL;
    }
    call_join(call, client, method);
    return call;
}

struct call *call_begin(struct parley_client *client, unsigned method,
                        const struct parley_call *options, enum parley_status *ret_status)
{
    return begin(client, method, options, NULL, ret_status);
}

struct call *call_begin_raw(struct parley_client *client, unsigned method,
                            const struct rpc_call *raw, enum parley_status *ret_status)
{
    const struct parley_call options = {
        .timeout_ns = raw->timeout_ns,
        .accept = raw->accept,
        .one_way = raw->one_way,
        .detached = true,
    };
    return begin(client, method, &options, raw, ret_status);
}
