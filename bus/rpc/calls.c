/*
 * An endpoint's calls: a table by index, and a list by deadline.
 *
 * A call's id on the wire is its index and a generation, so that an answer that comes after its
 * call has ended finds nobody. Slots are kept, with the memory that they grew for a packed request,
 * so that a steady load allocates nothing.
 *
 * The list by deadline is the only one that all calls are in. Which of them are on a channel is
 * asked when that dies, and then all of them are looked at.
 */
#include "rpc/internal.h"

#include <stdlib.h>
#include <string.h>

bool endpoint_calls_grow(struct parley_endpoint *endpoint)
{
    if (endpoint->call_count == RPC_CALLS_MAX)
        return false;
    if (endpoint->call_count == endpoint->call_max) {
        uint32_t max = endpoint->call_max ? endpoint->call_max * 2 : 16;
        struct call **calls = realloc(endpoint->calls, max * sizeof(*calls));
        if (calls)
            endpoint->calls = calls;
        struct call **free_list = realloc(endpoint->call_free, max * sizeof(*free_list));
        if (free_list)
            endpoint->call_free = free_list;
        if (!calls || !free_list)
            return false;
        endpoint->call_max = max;
    }
    struct call *fresh = aligned_alloc(_Alignof(struct call), sizeof(*fresh));
    if (!fresh)
        return false;
    memset(fresh, 0, sizeof(*fresh));
    fresh->id = CALL_ID_FRESH | endpoint->call_count;
    endpoint->calls[endpoint->call_count++] = fresh;
    endpoint->call_free[endpoint->call_free_count++] = fresh;
    return true;
}

void call_drop_extras(struct call *call)
{
    call->extras = false;
    call->metadata_bytes = 0;
    if (call->metadata_bytes_max > RPC_METADATA_KEPT_BYTES_MAX) {
        free(call->metadata);
        call->metadata = NULL;
        call->metadata_bytes_max = 0;
    }
    call->ranges = semver_ranges_free(call->ranges);
    if (call->packed_bytes_max > RPC_PACKED_KEPT_BYTES_MAX) {
        free(call->packed);
        call->packed = NULL;
        call->packed_bytes_max = 0;
    }
    call->given = call->raw = NULL;
    call->told = false;
    call->raw_bytes = 0;
    call->room = NULL;
}

void endpoint_deadline_insert(struct parley_endpoint *endpoint, struct call *call)
{
    struct call *before = TAILQ_LAST(&endpoint->deadlines, deadlines);
    while (before && before->deadline_ns > call->deadline_ns)
        before = TAILQ_PREV(before, deadlines, deadline_entry);
    if (before)
        TAILQ_INSERT_AFTER(&endpoint->deadlines, before, call, deadline_entry);
    else
        TAILQ_INSERT_HEAD(&endpoint->deadlines, call, deadline_entry);
}

void channel_gather_calls(struct channel *channel)
{
    struct call *call;
    uint32_t left = channel->in_flight;
    TAILQ_FOREACH (call, &channel->endpoint->deadlines, deadline_entry) {
        if (left == 0)
            return;
        if (call->channel != channel)
            continue;
        left--;
        if (call->list == CALL_GATHERED)
            continue;
        call->list = CALL_GATHERED;
        TAILQ_INSERT_TAIL(&channel->calls, call, entry);
    }
}

uint8_t *endpoint_scratch(struct parley_endpoint *endpoint, size_t bytes)
{
    if (bytes > endpoint->scratch_bytes || !endpoint->scratch) {
        size_t want = bytes < 4096 ? 4096 : bytes;
        uint8_t *fresh = malloc(want);
        if (!fresh)
            return NULL;
        free(endpoint->scratch);
        endpoint->scratch = fresh;
        endpoint->scratch_bytes = want;
    }
    return endpoint->scratch;
}
