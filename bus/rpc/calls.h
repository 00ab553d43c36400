/*
 * An endpoint's calls: a table by index, and a list by deadline. What each call does to them, and
 * so is part of its callers; for endpoint.h, which includes this. The rest is in calls.c.
 */
#ifndef PARLEY_RPC_CALLS_H
#define PARLEY_RPC_CALLS_H

/* A slot for endpoint_call_new(). False: there are RPC_CALLS_MAX, or no memory. */
bool endpoint_calls_grow(struct parley_endpoint *endpoint);

/* Not begun: its client is NULL. NULL: no slot. */
static inline struct call *endpoint_call_new(struct parley_endpoint *endpoint)
{
    if (__builtin_expect(endpoint->call_free_count == 0, 0) && !endpoint_calls_grow(endpoint))
        return NULL;
    struct call *call = endpoint->call_free[--endpoint->call_free_count];
    call->id += CALL_GENERATION_STEP;
    call->states = 0;
    call->attempts = 0;
    return call;
}

/* What few calls have. */
void call_drop_extras(struct call *call);

/* @call: in no list, and without a channel. */
static inline void endpoint_call_free(struct parley_endpoint *endpoint, struct call *call)
{
    if (__builtin_expect(call->extras, 0))
        call_drop_extras(call);
    call->held = held_drop(call->held);
    call->client = NULL;
    endpoint->call_free[endpoint->call_free_count++] = call;
}

/* The slot that has this id, or had it last, or will have it next if somebody guesses. NULL: none.
 */
static inline struct call *endpoint_call_slot(const struct parley_endpoint *endpoint, uint64_t id)
{
    uint32_t index = (uint32_t)id;
    if (__builtin_expect(index >= endpoint->call_count, 0))
        return NULL;
    struct call *call = endpoint->calls[index];
    return call->id == id ? call : NULL;
}

/* NULL: it has ended, or never was. */
static inline struct call *endpoint_call_find(const struct parley_endpoint *endpoint, uint64_t id)
{
    struct call *call = endpoint_call_slot(endpoint, id);
    return call && call->client ? call : NULL;
}

/* Before those behind which it is not due. */
void endpoint_deadline_insert(struct parley_endpoint *endpoint, struct call *call);

/* Most calls have the same time-out, so the place is nearly always the tail. */
static inline void endpoint_deadline_add(struct parley_endpoint *endpoint, struct call *call)
{
    const struct call *last = TAILQ_LAST(&endpoint->deadlines, deadlines);
    if (__builtin_expect(!last || last->deadline_ns <= call->deadline_ns, 1))
        TAILQ_INSERT_TAIL(&endpoint->deadlines, call, deadline_entry);
    else
        endpoint_deadline_insert(endpoint, call);
}

/* It has begun: its times are known. */
static inline void call_join(struct call *call, struct parley_client *client, uint32_t method)
{
    call->client = client;
    call->method = method;
    endpoint_deadline_add(client->endpoint, call);
    client->pending++;
}

/* Puts all calls that are on the channel, as they are now, in its list. */
void channel_gather_calls(struct channel *channel);

#endif
