/*
 * What was negotiated for a client: the versions that the broker offers, best first, each with the
 * plan for its replies and the class of its translation.
 *
 * The order is the client's own: by the index of the alternative in its ranges, then the higher
 * version. The broker sends it so; versions that join later are put where they belong.
 *
 * A call may ask for a narrower range than its client. It is then served by the offers in that
 * range alone, by the best of its alternatives that somebody serves; within them the route's weights
 * decide as ever, and a version without weight serves, because it was asked for by name. In the same
 * way a call of a method that not all versions have is served by those that have it.
 */
#include "rpc/offers.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

static int compare_offers(const void *a, const void *b)
{
    const struct offer *x = a;
    const struct offer *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return semver_compare(&y->semver, &x->semver);
}

/* A new one, or the one of that version. NULL: no room, or no version. */
static struct offer *offer_take(struct parley_client *client, const char *version)
{
    struct offer *offer = client_offer(client, version);
    if (offer)
        return offer;
    struct offer fresh = {.rank = 0};
    if (client->offer_count == ROUTE_VERSION_MAX || semver_parse(version, &fresh.semver) < 0)
        return NULL;
    if (client->ranges)
        fresh.rank = semver_ranges_match(client->ranges, &fresh.semver);
    if (fresh.rank < 0)
        return NULL; /* not what we asked for */
    (void)snprintf(fresh.version, sizeof(fresh.version), "%s", version);
    offer = &client->offers[client->offer_count++];
    *offer = fresh;
    return offer;
}

/* Its channels go on with the new plan if it follows theirs, which the service then has, too. */
static void swap_plans(struct parley_client *client, const struct offer *offer)
{
    struct channel *channel;
    struct error_text error = {0};
    LIST_FOREACH(channel, &client->channels, owner_entry) {
        if (channel->state == CHANNEL_DEAD || channel->held->line == 0 ||
            channel->held->line != offer->held->line ||
            strcmp(channel->version, offer->version) != 0)
            continue;
        if (client->descriptor &&
            channel_bind(channel, offer->held, client->descriptor, &error) < 0) {
            log_error("%s %s: a new plan for version %s is of no use: %s", client->spec.interface,
                      client->spec.version, offer->version, error.text);
            return;
        }
        channel_hold(channel, held_keep(offer->held));
    }
}

/* Said when it is negotiated, not only when it is called. */
static void note_missing(struct parley_client *client, const struct offer *offer)
{
    for (size_t i = 0; i < client->spec.method_count; i++) {
        if (plan_method(offer->held->plan, (uint32_t)i) != PLAN_METHOD_NONE)
            continue;
        client->methods_missing = true;
        client->live_plain = false;
        log_info("%s %s, on offer to this program of %s, has no method %s: calls of it go to "
                 "versions that have it",
                 client->spec.interface, offer->version, client->spec.version,
                 client->spec.methods[i].name);
    }
}

static void offer_read(struct parley_client *client, const Parley__Offer *from)
{
    const struct plan_entry *entry = plans_find(client->endpoint, from->plan_id);
    const struct plan *plan = entry ? entry->plan : client->spec.replies;
    if ((from->plan_id && !entry) || plan_entry_count(plan) < client->spec.method_count) {
        log_warn("the broker offers %s %s without a plan for it", client->spec.interface,
                 from->version);
        return;
    }
    struct held_plan *held = held_new(entry, client->spec.replies);
    struct offer *offer = held ? offer_take(client, from->version) : NULL;
    if (!offer) {
        held_drop(held);
        return;
    }
    held->translation = (enum parley_translation)from->translation;
    memcpy(held->version, offer->version, sizeof(held->version));
    held_drop(offer->held);
    offer->held = held;
    note_missing(client, offer);
    swap_plans(client, offer);
}

void client_offers_add(struct parley_client *client, Parley__Offer *const *offers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (offers[i]->version && strlen(offers[i]->version) < RPC_VERSION_BYTES)
            offer_read(client, offers[i]);
    qsort(client->offers, client->offer_count, sizeof(client->offers[0]), compare_offers);
}

void client_offers_describe(const struct parley_client *client, char *text, size_t bytes)
{
    size_t used = 0;
    (void)snprintf(text, bytes, "nothing");
    for (size_t i = 0; i < client->offer_count && used < bytes; i++) {
        int n = snprintf(text + used, bytes - used, "%s%s", used ? ", " : "",
                         client->offers[i].version);
        used += n > 0 ? (size_t)n : 0;
    }
}

/* The index of the call's alternative that the offer serves, 0 without; -1: it does not. */
static int offer_rank(const struct offer *offer, const struct call *call)
{
    if (plan_method(offer->held->plan, call->method) == PLAN_METHOD_NONE)
        return -1;
    return call->ranges ? semver_ranges_match(call->ranges, &offer->semver) : 0;
}

bool client_offers_suit(const struct parley_client *client, const struct call *call)
{
    for (size_t i = 0; i < client->offer_count; i++)
        if (offer_rank(&client->offers[i], call) >= 0)
            return true;
    return false;
}

uint32_t client_live_suit(struct parley_client *client, const struct call *call,
                          struct channel **ret_channels)
{
    uint32_t count = 0;
    int best = INT32_MAX;
    for (uint32_t i = 0; i < client->live_count; i++) {
        const struct offer *offer = client_offer(client, client->live[i]->version);
        int rank = offer ? offer_rank(offer, call) : -1;
        if (rank < 0 || rank > best)
            continue;
        if (rank < best)
            count = 0;
        best = rank;
        ret_channels[count++] = client->live[i];
    }
    return count;
}

size_t parley_client_offers(const struct parley_client *client, struct parley_offer *offers,
                            size_t offer_count)
{
    for (size_t i = 0; i < client->offer_count && i < offer_count; i++) {
        const struct offer *from = &client->offers[i];
        offers[i] = (struct parley_offer){.translation = from->held->translation};
        memcpy(offers[i].version, from->version, sizeof(offers[i].version));
        for (uint32_t c = 0; c < client->live_count; c++)
            offers[i].channels += strcmp(client->live[c]->version, from->version) == 0;
    }
    return client->offer_count;
}

const char *parley_translation_name(enum parley_translation translation)
{
    switch (translation) {
    case PARLEY_IDENTITY:
        return "identity";
    case PARLEY_ISO:
        return "iso";
    case PARLEY_CARRIED:
        return "carried";
    case PARLEY_LOSSY:
        return "lossy";
    }
    return "unknown";
}
