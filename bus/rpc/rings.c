/*
 * Waking peers once for many calls.
 *
 * A peer that sleeps is woken for the first record that it has not taken. If it is quicker than we
 * are it has taken that, and sleeps again, when the next comes: a wake-up for each, and where both
 * share a CPU each puts us off it. So who has many calls to make at once holds the rings until the
 * last one is published.
 *
 * What is held is only that somebody may have to be woken: whether it sleeps is asked again then.
 * Who holds rings must not sleep. More peers than there is room for are woken at once.
 */
#include "rpc/internal.h"
#include "rpc/rpc.h"

void rpc_hold_rings(struct parley_endpoint *endpoint)
{
    endpoint->rings.held = true;
}

bool rings_hold(struct rings *rings, struct channel *channel)
{
    for (unsigned i = 0; i < rings->count; i++)
        if (rings->of[i] == channel)
            return true;
    if (rings->count == RPC_RINGS_HELD_MAX)
        return false;
    rings->of[rings->count++] = channel;
    return true;
}

void rings_forget(struct rings *rings, const struct channel *channel)
{
    for (unsigned i = 0; i < rings->count; i++)
        if (rings->of[i] == channel) {
            rings->of[i] = rings->of[--rings->count];
            return;
        }
}

void rpc_ring_held(struct parley_endpoint *endpoint)
{
    struct rings *rings = &endpoint->rings;
    rings->held = false;
    while (rings->count > 0)
        channel_ring_if_asleep(rings->of[--rings->count]);
}
