/*
 * Which channel a call goes to: the version that the route has for it, and of its instances the
 * less busy of two. All of it is in this process: the client's view of the route, refreshed when
 * the broker's page says that it has changed, and what instances say of themselves.
 */
#include "rpc/internal.h"

#include "base/random.h"
#include "rpc/offers.h"

static struct channel *less_busy_of_two(struct parley_endpoint *endpoint, struct channel **channels,
                                        uint32_t count)
{
    if (count == 1)
        return channels[0];
    /* The power of two choices (Mitzenmacher 2001): ours in flight, then what the instances say. */
    uint32_t i = random_below(&endpoint->random, count);
    uint32_t j = random_below(&endpoint->random, count - 1);
    j += j >= i;
    struct channel *a = channels[i];
    struct channel *b = channels[j];
    if (a->in_flight != b->in_flight)
        return a->in_flight < b->in_flight ? a : b;
    uint32_t load_a = atomic_load_explicit(&a->peer.cells->load, memory_order_relaxed);
    uint32_t load_b = atomic_load_explicit(&b->peer.cells->load, memory_order_relaxed);
    return load_b < load_a ? b : a;
}

/* Of several, or none. */
__attribute__((noinline)) static struct channel *pick_among(struct parley_client *client,
                                                            const struct call *call)
{
    struct parley_endpoint *endpoint = client->endpoint;
    struct channel **live = client->live;
    struct channel *in_range[ROUTE_INSTANCE_MAX];
    uint32_t live_count = client->live_count;
    bool picky = call->ranges || client->methods_missing;
    if (__builtin_expect(picky, 0)) {
        live = in_range;
        live_count = client_live_suit(client, call, in_range);
    }
    if (live_count == 0)
        return NULL;
    if (live_count == 1 && picky)
        return live[0];
    if (!picky && client->live_alike)
        return less_busy_of_two(endpoint, live, live_count); /* whatever its bucket is */

    uint32_t version = route_choose(&client->view, client->matcher, call->metadata,
                                    call->metadata_bytes, &endpoint->random);
    struct channel *of_version[ROUTE_INSTANCE_MAX], *weighted[ROUTE_INSTANCE_MAX];
    uint32_t count = 0, weighted_count = 0;
    for (uint32_t i = 0; i < live_count; i++) {
        if (live[i]->route_version == version)
            of_version[count++] = live[i];
        if (live[i]->weighted)
            weighted[weighted_count++] = live[i];
    }
    /* A version that has weight but nobody there must not fail calls that another can serve. One
     * without weight serves only if nobody with weight is there or about to be. */
    if (count)
        return less_busy_of_two(endpoint, of_version, count);
    if (weighted_count)
        return less_busy_of_two(endpoint, weighted, weighted_count);
    if (!picky && client_attaching(client))
        return NULL;
    return less_busy_of_two(endpoint, live, live_count);
}

void client_route_read(struct parley_client *client)
{
    if (client_route_is_news(client) &&
        route_refresh(&client->view, &client->endpoint->route, client->route_slot))
        client_route_changed(client);
}

struct channel *client_pick(struct parley_client *client, const struct call *call)
{
    client_route_read(client);
    return client->only && !call->ranges ? client->only : pick_among(client, call);
}
