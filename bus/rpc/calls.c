/*
 * An endpoint's calls: a table by index, and a list by deadline.
 *
 * A call's id on the wire is its index and a generation, so that an answer that comes after its call
 * has ended finds nobody. Slots are kept, with the memory that they grew for a packed request, so
 * that a steady load allocates nothing.
 */
#include "rpc/internal.h"

#include <stdlib.h>

#define CALL_PACKED_KEPT_BYTES_MAX 65536

struct call *endpoint_call_new(struct parley_endpoint *endpoint)
{
    if (endpoint->call_free_count == 0) {
        if (endpoint->call_count == RPC_CALLS_MAX)
            return NULL;
        if (endpoint->call_count == endpoint->call_max) {
            uint32_t max = endpoint->call_max ? endpoint->call_max * 2 : 16;
            struct call **calls = realloc(endpoint->calls, max * sizeof(*calls));
            if (calls)
                endpoint->calls = calls;
            uint32_t *free_list = realloc(endpoint->call_free, max * sizeof(*free_list));
            if (free_list)
                endpoint->call_free = free_list;
            if (!calls || !free_list)
                return NULL;
            endpoint->call_max = max;
        }
        struct call *fresh = calloc(1, sizeof(*fresh));
        if (!fresh)
            return NULL;
        fresh->index = endpoint->call_count;
        endpoint->calls[endpoint->call_count++] = fresh;
        endpoint->call_free[endpoint->call_free_count++] = fresh->index;
    }
    struct call *call = endpoint->calls[endpoint->call_free[--endpoint->call_free_count]];
    call->client = NULL; /* until it has begun */
    if (++call->generation == 0)
        call->generation = 1; /* an id is never 0 */
    call->channel = NULL;
    call->held = NULL;
    call->ring_end = 0;
    call->attempts = 0;
    call->done = call->waiting = call->counted = call->queued = false;
    call->one_way = call->accepted = call->traced = call->mirror = false;
    call->message = NULL;
    call->given = NULL;
    call->packed_bytes = 0;
    call->reply = NULL;
    call->raw = NULL;
    call->raw_bytes = 0;
    call->closure = NULL;
    call->replied = NULL;
    call->room = NULL;
    call->translated = false;
    call->translation = PARLEY_IDENTITY;
    call->version[0] = '\0';
    return call;
}

void endpoint_call_free(struct parley_endpoint *endpoint, struct call *call)
{
    call->metadata_bytes = 0;
    if (call->metadata_bytes_max > RPC_METADATA_KEPT_BYTES_MAX) {
        free(call->metadata);
        call->metadata = NULL;
        call->metadata_bytes_max = 0;
    }
    if (call->ranges)
        call->ranges = semver_ranges_free(call->ranges);
    call->client = NULL;
    if (call->packed_bytes_max > CALL_PACKED_KEPT_BYTES_MAX) {
        free(call->packed);
        call->packed = NULL;
        call->packed_bytes_max = 0;
    }
    endpoint->call_free[endpoint->call_free_count++] = call->index;
}

struct call *endpoint_call_find(struct parley_endpoint *endpoint, uint64_t id)
{
    uint32_t index = (uint32_t)id;
    if (index >= endpoint->call_count)
        return NULL;
    struct call *call = endpoint->calls[index];
    return call->client && call->generation == (uint32_t)(id >> 32) ? call : NULL;
}

/* Most calls have the same time-out, so the place is nearly always the tail. */
void endpoint_deadline_add(struct parley_endpoint *endpoint, struct call *call)
{
    struct call *before = TAILQ_LAST(&endpoint->deadlines, deadlines);
    while (before && before->deadline_ns > call->deadline_ns)
        before = TAILQ_PREV(before, deadlines, deadline_entry);
    if (before)
        TAILQ_INSERT_AFTER(&endpoint->deadlines, before, call, deadline_entry);
    else
        TAILQ_INSERT_HEAD(&endpoint->deadlines, call, deadline_entry);
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
