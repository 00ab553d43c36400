/*
 * Which channel a call goes to: the version that the route has for it, and of its instances the
 * less busy of two. All of it is in this process: the client's view of the route, refreshed when
 * the broker's page says that it has changed, and what instances say of themselves.
 */
#include "rpc/internal.h"

#include "base/random.h"
#include "rpc/offers.h"

#define PICKS_PER_LOAD 16 /* plain calls of a client */

/* Of two that have as many of our calls. What it says of itself it writes for each of its calls, on
 * a line with what it has consumed; and a line that its client has just read it must fetch before
 * its answer can leave. So it is not read for each call. */
static inline uint32_t load_of(struct channel *channel, bool fresh)
{
    if (fresh)
        channel->load = atomic_load_explicit(&channel->peer.cells->load, memory_order_relaxed);
    return channel->load;
}

/* The power of two choices (Mitzenmacher 2001): ours in flight, then what the instances say. */
static inline struct channel *less_busy_of_two(struct parley_endpoint *endpoint,
                                               struct channel **channels, uint32_t count,
                                               bool fresh)
{
    if (count == 1)
        return channels[0];
    const uint32_t drawn = (uint32_t)(random_next(&endpoint->random) >> 32);
    const uint32_t i = (drawn >> 16) * count >> 16;
    const uint32_t j = (drawn & 0xffff) * (count - 1) >> 16;
    struct channel *a = channels[i];
    struct channel *b = channels[j + (j >= i)];
    if (a->in_flight != b->in_flight)
        return a->in_flight < b->in_flight ? a : b;
    return load_of(b, fresh) < load_of(a, fresh) ? b : a;
}

struct channel *client_pick_plain(struct parley_client *client)
{
    struct parley_endpoint *endpoint = client->endpoint;
    const bool fresh = client->picks++ % PICKS_PER_LOAD == 0;
    if (__builtin_expect(client->live_alike, 1))
        return less_busy_of_two(endpoint, client->live, client->live_count, fresh);
    const uint32_t version =
        route_version(&client->view, random_below(&endpoint->random, ROUTE_BUCKETS));
    if (version >= ROUTE_VERSION_MAX || client->live_of[version].count == 0)
        return NULL;
    return less_busy_of_two(endpoint, client->live + client->live_of[version].first,
                            client->live_of[version].count, fresh);
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
        return less_busy_of_two(endpoint, live, live_count, true); /* whatever its bucket is */

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
        return less_busy_of_two(endpoint, of_version, count, true);
    if (weighted_count)
        return less_busy_of_two(endpoint, weighted, weighted_count, true);
    if (!picky && client_attaching(client))
        return NULL;
    return less_busy_of_two(endpoint, live, live_count, true);
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
    const bool only = client->live_count == 1 && client->live_plain && !call->ranges;
    return only ? client->live[0] : pick_among(client, call);
}
