/*
 * Swapping plans while calls are under way.
 *
 * The registry has changed: a file of --schemas, another content of a version, a version in between.
 * For every offer that a client has, the bridge is looked up again. If it is another one, its plans
 * go out in two steps. First the plan for requests to every instance that has the old one; each
 * says when it has taken it. Only then the client gets the plan for replies and the offer, and
 * marks its requests with the new plan's tag (rpc/plans.c); so no request is ever marked with a
 * plan that its reader does not have. Calls in flight end under the plan that they began with.
 *
 * An offer swaps once at a time: what changes meanwhile is looked up again when all are done. A
 * client that asked to connect just before it was told still names its old plan, which the service
 * then begins with: so the last bridge is kept beside the present one.
 *
 * What does not compile leaves the old plans in force, and is told.
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

/* ---- What an endpoint has ---- */

static struct sent_plan *sent_find(const struct endpoint *endpoint, uint64_t plan_id)
{
    for (size_t i = 0; i < endpoint->plans_sent_count; i++)
        if (endpoint->plans_sent[i].id == plan_id)
            return &endpoint->plans_sent[i];
    return NULL;
}

/* As the endpoint does (docs/PROTOCOL.md). Return: how many of the line it had. */
static size_t line_shorten(struct endpoint *endpoint, uint64_t line)
{
    size_t count = 0;
    size_t oldest = 0;
    for (size_t i = 0; i < endpoint->plans_sent_count; i++) {
        if (endpoint->plans_sent[i].line != line)
            continue;
        if (count++ == 0 ||
            endpoint->plans_sent[i].sequence < endpoint->plans_sent[oldest].sequence)
            oldest = i;
    }
    if (count >= BROKER_LINE_PLANS_MAX)
        endpoint->plans_sent[oldest] = endpoint->plans_sent[--endpoint->plans_sent_count];
    return count;
}

static int reserve(struct endpoint *endpoint)
{
    if (endpoint->plans_sent_count < endpoint->plans_sent_max)
        return 0;
    size_t max = endpoint->plans_sent_max ? 2 * endpoint->plans_sent_max : 8;
    if (max > BROKER_PLANS_SENT_MAX)
        return -ENOSPC;
    struct sent_plan *grown = realloc(endpoint->plans_sent, max * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    endpoint->plans_sent = grown;
    endpoint->plans_sent_max = max;
    return 0;
}

int session_plan(struct endpoint *endpoint, const struct bridge *bridge, enum plan_payload payload)
{
    bool requests = payload == PLAN_REQUESTS;
    uint64_t id = requests ? bridge->requests_id : bridge->replies_id;
    uint64_t line = requests ? bridge->requests_line : bridge->replies_line;
    if (sent_find(endpoint, id))
        return 0;
    size_t before = line_shorten(endpoint, line);
    int r = reserve(endpoint);
    if (r < 0)
        return r;
    Parley__Plan body = PARLEY__PLAN__INIT;
    body.has_plan_id = body.has_program = body.has_line = body.has_tag = true;
    body.plan_id = id;
    body.line = line;
    body.tag = bridge->tag;
    body.program.data = (uint8_t *)(uintptr_t)plan_program(
        requests ? bridge->requests : bridge->replies, &body.program.len);
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_PLAN;
    message.plan = &body;
    r = session_send(endpoint, &message, NULL, 0);
    if (r == 0)
        endpoint->plans_sent[endpoint->plans_sent_count++] =
            (struct sent_plan){.id = id,
                               .line = line,
                               .sequence = ++endpoint->plan_sequence,
                               .taken = before == 0};
    return r;
}

bool session_has_plan(const struct endpoint *endpoint, uint64_t plan_id)
{
    return sent_find(endpoint, plan_id) != NULL;
}

/* Whether requests may be marked with the bridge's tag. Sends the plan if that is what is missing. */
static bool service_ready(struct endpoint *endpoint, const struct bridge *bridge)
{
    const struct sent_plan *sent = sent_find(endpoint, bridge->requests_id);
    if (sent)
        return sent->taken;
    for (size_t i = 0; i < endpoint->plans_sent_count; i++) {
        if (endpoint->plans_sent[i].line != bridge->requests_line)
            continue;
        int r = session_plan(endpoint, bridge, PLAN_REQUESTS);
        if (r < 0 && r != -EPIPE)
            log_warn("%s (pid %d) cannot be sent a new plan: %s", endpoint->name,
                     (int)endpoint->peer.pid, strerror(-r));
        return false;
    }
    return true; /* it has no channel of that pair yet */
}

/* ---- One offer ---- */

void offer_drop(struct negotiator *negotiator, struct offer *offer)
{
    negotiator->swapping -= offer->next != NULL;
    offer->next = bridge_drop(negotiator, offer->next);
    offer->previous = bridge_drop(negotiator, offer->previous);
    offer->bridge = bridge_drop(negotiator, offer->bridge);
}

static void complain(struct broker *broker, const struct contract *contract,
                     const struct version *version, const char *why)
{
    const struct event event = {
        .topic = "refused", .interface = contract->interface->name, .version = version->name};
    event_publish(broker, &event,
                  "changed rules of %s are not taken, the plans between %s and %s stay: %s",
                  contract->interface->name,
                  schema_service(contract->schema->schema)->interface->version, version->name, why);
}

/* Looks the bridge up again. */
static void offer_review(struct broker *broker, struct contract *contract, struct offer *offer)
{
    struct negotiator *negotiator = &broker->negotiator;
    struct bridge *bridge;
    struct error_text error = {""};
    int r = negotiator_bridge(negotiator, contract->schema, offer->version->schema, &bridge,
                              &error);
    if (r < 0) {
        complain(broker, contract, offer->version, error.text);
        return;
    }
    if (bridge->complaint.text[0]) {
        complain(broker, contract, offer->version, bridge->complaint.text);
        bridge->complaint.text[0] = '\0';
    }
    if (offer->next) {
        negotiator->swap_again = negotiator->swap_again || offer->next != bridge;
        return;
    }
    if (bridge == offer->bridge)
        return;
    if (bridge->requests_id == offer->bridge->requests_id) { /* the same plans */
        bridge_keep(negotiator, bridge);
        bridge_drop(negotiator, offer->bridge);
        offer->bridge = bridge;
        return;
    }
    if (negotiator->swapping++ == 0) {
        negotiator->swap_begun_ns = clock_now_ns();
        negotiator->swapped = 0;
    }
    offer->next = bridge_keep(negotiator, bridge);
}

static bool instances_ready(const struct offer *offer)
{
    bool ready = true;
    const struct instance *instance;
    LIST_FOREACH(instance, &offer->version->instances, version_entry)
        if (!instance->endpoint->doomed)
            ready = service_ready(instance->endpoint, offer->next) && ready;
    return ready;
}

static void offer_step(struct broker *broker, struct contract *contract, struct offer *offer)
{
    struct negotiator *negotiator = &broker->negotiator;
    if (!offer->next || !instances_ready(offer))
        return;
    struct bridge *next = offer->next;
    offer->next = NULL;
    negotiator->swapping--;
    if (!contract_offer_again(contract, offer, next)) {
        bridge_drop(negotiator, next); /* its link is at its end, or has no room: it keeps its own */
        return;
    }
    bridge_drop(negotiator, offer->previous);
    offer->previous = offer->bridge;
    offer->bridge = next;
    negotiator->swapped++;
}

/* ---- All of them ---- */

static void for_all_offers(struct broker *broker, void (*act)(struct broker *broker,
                                                              struct contract *contract,
                                                              struct offer *offer))
{
    struct interface *interface;
    struct interface *next;
    HASH_ITER(hh, broker->directory.interfaces, interface, next) {
        struct contract *contract;
        LIST_FOREACH(contract, &interface->contracts, interface_entry)
            for (size_t i = 0; i < contract->offer_count && !contract->endpoint->doomed; i++)
                if (contract->offers[i].bridge && contract->state == CONTRACT_OPEN)
                    act(broker, contract, &contract->offers[i]);
    }
}

static void tell_done(struct broker *broker)
{
    struct negotiator *negotiator = &broker->negotiator;
    const struct event event = {.topic = "schema"};
    if (negotiator->swapped > 0)
        event_publish(broker, &event, "new plans are in use for %u offers, after %.1f ms",
                      negotiator->swapped,
                      (double)(clock_now_ns() - negotiator->swap_begun_ns) / NS_PER_MS);
    negotiator->swapped = 0;
}

void swap_go_on(struct broker *broker)
{
    struct negotiator *negotiator = &broker->negotiator;
    while (negotiator->swapping > 0) {
        for_all_offers(broker, offer_step);
        if (negotiator->swapping > 0)
            return;
        tell_done(broker);
        if (!negotiator->swap_again)
            return;
        negotiator->swap_again = false;
        for_all_offers(broker, offer_review);
    }
}

void swap_begin(struct broker *broker)
{
    for_all_offers(broker, offer_review);
    swap_go_on(broker);
}

void session_on_plan_taken(struct endpoint *endpoint, const Parley__PlanTaken *message)
{
    struct sent_plan *sent = sent_find(endpoint, message->plan_id);
    if (!sent || sent->taken)
        return; /* another has taken its place */
    sent->taken = true;
    swap_go_on(endpoint->broker);
}

/* ---- Before a publication ---- */

int swap_possible(struct broker *broker, const struct version *version, struct schema_entry *schema,
                  struct error_text *error)
{
    const struct contract *contract;
    LIST_FOREACH(contract, &version->interface->contracts, interface_entry) {
        const struct offer *offer = contract_offer(contract, version);
        struct bridge *bridge;
        if (!offer || !offer->bridge)
            continue;
        int r = negotiator_bridge(&broker->negotiator, contract->schema, schema, &bridge, error);
        if (r < 0)
            return error_prefix(error, r, "it cannot serve the clients of %s any more",
                                schema_service(contract->schema->schema)->interface->version);
    }
    return 0;
}
