/*
 * The plans that the broker sends, and which of them a channel uses.
 *
 * Rules may change while calls are in flight. The plans for one pair of versions in one direction
 * are a line; the broker sends the next one to the service first, is told that it has arrived, and
 * only then to the client, as an offer. From that moment the client marks its requests with the
 * new plan's tag. The service takes a channel over to the new plan when the first request with that
 * tag arrives: the ring keeps the order, so all that came before was translated by the old plan.
 * The client translates a reply by the plan that its call began with. So both halves of a call are
 * translated by the same rules, no channel is made anew, and no call fails.
 *
 * A channel only ever goes forward in its line, so that a hostile client cannot make a service bind
 * plans over and over. Channels outlive the link: when it is lost, no more plans will follow on
 * them, and they keep what they have.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* ---- What was sent ---- */

const struct plan_entry *plans_find(const struct parley_endpoint *endpoint, uint64_t plan_id)
{
    for (size_t i = 0; i < endpoint->plan_count; i++) {
        if (endpoint->plans[i].plan_id == plan_id)
            return &endpoint->plans[i];
    }
    return NULL;
}

/* Makes room in a line. Return: whether there was any plan of it. */
static bool line_shorten(struct parley_endpoint *endpoint, uint64_t line)
{
    size_t count = 0;
    struct plan_entry *oldest = NULL;
    for (size_t i = 0; i < endpoint->plan_count; i++) {
        struct plan_entry *entry = &endpoint->plans[i];
        if (line == 0 || entry->line != line)
            continue;
        count++;
        if (!oldest || entry->sequence < oldest->sequence)
            oldest = entry;
    }
    if (count >= RPC_LINE_PLANS_MAX) {
        plan_unref(oldest->plan);
        *oldest = endpoint->plans[--endpoint->plan_count];
    }
    return count > 0;
}

static int reserve(struct parley_endpoint *endpoint, struct error_text *error)
{
    if (endpoint->plan_count == RPC_PLANS_MAX)
        return error_set(error, -E2BIG, "the broker sent more than %d plans", RPC_PLANS_MAX);
    if (endpoint->plan_count < endpoint->plan_max)
        return 0;
    size_t max = endpoint->plan_max ? endpoint->plan_max * 2 : 8;
    struct plan_entry *plans = realloc(endpoint->plans, max * sizeof(*plans));
    if (!plans)
        return error_set(error, -ENOMEM, "out of memory for a plan");
    endpoint->plans = plans;
    endpoint->plan_max = max;
    return 0;
}

static void say_taken(struct parley_endpoint *endpoint, uint64_t plan_id)
{
    Parley__PlanTaken body = PARLEY__PLAN_TAKEN__INIT;
    body.has_plan_id = true;
    body.plan_id = plan_id;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_PLAN_TAKEN;
    message.plan_taken = &body;
    (void)endpoint_send(endpoint, &message, NULL, 0);
}

int plans_received(struct parley_endpoint *endpoint, const Parley__Plan *message,
                   struct error_text *error)
{
    if (plans_find(endpoint, message->plan_id))
        return 0;
    struct plan *plan;
    int r = plan_load(message->program.data, message->program.len, &plan, error);
    if (r < 0)
        return r;
    bool follows = line_shorten(endpoint, message->line);
    r = reserve(endpoint, error);
    if (r < 0) {
        plan_unref(plan);
        return r;
    }
    endpoint->plans[endpoint->plan_count++] = (struct plan_entry){
        .plan_id = message->plan_id,
        .line = message->line,
        .sequence = ++endpoint->plan_sequence,
        .tag = (uint16_t)message->tag,
        .plan = plan,
    };
    if (follows)
        say_taken(endpoint, message->plan_id);
    return 0;
}

static void forget_line(struct channel *channel)
{
    if (channel->held)
        channel->held->line = 0;
}

void plans_drop(struct parley_endpoint *endpoint)
{
    for (size_t i = 0; i < endpoint->plan_count; i++)
        plan_unref(endpoint->plans[i].plan);
    endpoint->plan_count = 0;
    struct channel *channel;
    for (uint32_t i = 0; i < endpoint->hot.count; i++)
        forget_line(endpoint->hot.channels[i]);
    TAILQ_FOREACH(channel, &endpoint->cold, entry)
        forget_line(channel);
    struct parley_client *client;
    TAILQ_FOREACH(client, &endpoint->clients, entry) {
        for (size_t i = 0; i < client->offer_count; i++)
            client->offers[i].held->line = 0;
    }
}

/* ---- What is used ---- */

struct held_plan *held_new(const struct plan_entry *entry, struct plan *identity)
{
    struct held_plan *held = calloc(1, sizeof(*held));
    if (!held)
        return NULL;
    held->users = 1;
    held->plan = plan_ref(entry ? entry->plan : identity);
    if (entry) {
        held->plan_id = entry->plan_id;
        held->line = entry->line;
        held->sequence = entry->sequence;
        held->tag = entry->tag;
    }
    return held;
}

void held_free(struct held_plan *held)
{
    plan_binding_unref(held->binding);
    plan_unref(held->plan);
    free(held->served);
    free(held);
}

void channel_hold(struct channel *channel, struct held_plan *held)
{
    held_drop(channel->held);
    channel->held = held;
}

void channel_follow(struct channel *channel, uint16_t tag)
{
    const struct parley_endpoint *endpoint = channel->endpoint;
    const struct held_plan *now = channel->held;
    for (size_t i = 0; i < endpoint->plan_count; i++) {
        const struct plan_entry *entry = &endpoint->plans[i];
        if (entry->line != now->line || entry->line == 0 || entry->tag != tag ||
            entry->sequence <= now->sequence)
            continue;
        struct held_plan *held = held_new(entry, NULL);
        if (held) /* else the next request tries again */
            channel_hold(channel, held);
        return;
    }
}

void held_prepare(const struct held_plan *held)
{
    static const uint8_t source[] = {1 << 3 | 2, 0}; /* field 1, of no bytes */
    ProtobufCMessage *message;
    if (held && held->binding && plan_entry_count(held->plan) > 0 &&
        plan_unpack(held->binding, 0, source, sizeof(source), &message, NULL) == 0)
        wire_free(message);
}
