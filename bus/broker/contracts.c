/*
 * What clients are told of the versions and instances of an interface.
 *
 * A contract is open, or waits: for anything to be published, or, if what is published does not
 * fit, for a version that does. A refusal is an answer at once, but it is not forgotten: after a
 * broker's restart versions come back one by one, and a client that lives well on its channels must
 * not be worse off for having come back before the version it wants. So each version that comes up
 * is offered to every contract of the interface that can take it.
 *
 * In an open contract the order of messages is: Plan, before anything names it; Opened, or the
 * offers in Instances; Instances, also when the list is empty: the client then knows that it knows
 * all.
 *
 * An instance is listed while it is up. Draining or gone, it is told once.
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

const struct offer *contract_offer(const struct contract *contract, const struct version *version)
{
    for (size_t i = 0; i < contract->offer_count; i++)
        if (contract->offers[i].version == version)
            return &contract->offers[i];
    return NULL;
}

/* @version NULL: all. */
static void forget_offers(struct negotiator *negotiator, struct contract *contract,
                          const struct version *version)
{
    size_t kept = 0;
    for (size_t i = 0; i < contract->offer_count; i++) {
        if (version && contract->offers[i].version != version)
            contract->offers[kept++] = contract->offers[i];
        else
            offer_drop(negotiator, &contract->offers[i]);
    }
    contract->offer_count = kept;
}

void contracts_forget_version(struct broker *broker, const struct version *version)
{
    struct contract *contract;
    LIST_FOREACH(contract, &version->interface->contracts, interface_entry)
        forget_offers(&broker->negotiator, contract, version);
}

/* ---- Messages ---- */

struct offer_message {
    Parley__Offer offers[ROUTE_VERSION_MAX];
    Parley__Offer *pointers[ROUTE_VERSION_MAX];
    size_t count;
};

static void put_offer(struct offer_message *message, const struct offer *offer)
{
    Parley__Offer *out = &message->offers[message->count];
    parley__offer__init(out);
    out->version = offer->version->name;
    out->has_translation = true;
    out->translation = offer->bridge ? (Parley__TranslationClass)offer->bridge->class
                                     : PARLEY__TRANSLATION_CLASS__IDENTITY;
    out->has_plan_id = true;
    out->plan_id = offer->bridge ? offer->bridge->replies_id : 0;
    message->pointers[message->count++] = out;
}

/* False: the client cannot have it, and so not the offer. */
static bool send_plan(const struct contract *contract, const struct offer *offer)
{
    if (!offer->bridge)
        return true;
    int r = session_plan(contract->endpoint, offer->bridge, PLAN_REPLIES);
    if (r < 0 && r != -EPIPE)
        log_warn("%s (pid %d) is not offered %s %s: %s", contract->endpoint->name,
                 (int)contract->endpoint->peer.pid, contract->interface->name,
                 offer->version->name, strerror(-r));
    return r == 0;
}

struct instance_message {
    Parley__Instance instances[ROUTE_INSTANCE_MAX];
    Parley__Instance *pointers[ROUTE_INSTANCE_MAX];
    size_t count;
};

static void put_instance(struct instance_message *message, const struct instance *instance)
{
    Parley__Instance *out = &message->instances[message->count];
    parley__instance__init(out);
    out->has_instance_id = true;
    out->instance_id = instance->id;
    out->version = instance->version->name;
    message->pointers[message->count++] = out;
}

static ProtobufCBinaryData transcript_bytes(struct contract *contract)
{
    return (ProtobufCBinaryData){.len = DIGEST_BYTES, .data = contract->transcript.bytes};
}

static void say_instances(const struct contract *contract, Parley__Instances *body)
{
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_INSTANCES;
    message.instances = body;
    (void)session_send(contract->endpoint, &message, NULL, 0);
}

/* @gone: 0: none */
static void send_instances(struct contract *contract, const struct instance_message *up,
                           const struct offer_message *offers, uint64_t gone)
{
    Parley__Instances body = PARLEY__INSTANCES__INIT;
    body.has_contract_id = true;
    body.contract_id = contract->id;
    if (up) {
        body.n_up = up->count;
        body.up = (Parley__Instance **)(uintptr_t)up->pointers;
    }
    if (offers && offers->count > 0) {
        body.n_offers = offers->count;
        body.offers = (Parley__Offer **)(uintptr_t)offers->pointers;
        transcript_answer(&contract->transcript, body.offers, body.n_offers);
        body.has_transcript = true;
        body.transcript = transcript_bytes(contract);
    }
    if (gone) {
        body.n_gone = 1;
        body.gone = &gone;
    }
    say_instances(contract, &body);
}

static void send_opened(struct contract *contract, enum parley_status status,
                        const char *text, const struct offer_message *offers)
{
    Parley__Opened body = PARLEY__OPENED__INIT;
    body.has_contract_id = true;
    body.contract_id = contract->id;
    body.has_status = true;
    body.status = status;
    body.text = (char *)(uintptr_t)text;
    if (status == PARLEY_OK) {
        body.has_route_slot = true;
        body.route_slot = (uint32_t)contract->interface->slot;
        body.n_offers = offers->count;
        body.offers = (Parley__Offer **)(uintptr_t)offers->pointers;
        contract->transcript = contract->asked;
        transcript_answer(&contract->transcript, body.offers, body.n_offers);
        body.has_transcript = true;
        body.transcript = transcript_bytes(contract);
    }
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_OPENED;
    message.opened = &body;
    (void)session_send(contract->endpoint, &message, NULL, 0);
}

/* ---- Opening ---- */

static void list_instances(struct contract *contract)
{
    struct instance_message up = {.count = 0};
    for (size_t i = 0; i < contract->offer_count; i++) {
        const struct instance *instance;
        LIST_FOREACH(instance, &contract->offers[i].version->instances, version_entry)
            if (!instance->draining && up.count < ROUTE_INSTANCE_MAX)
                put_instance(&up, instance);
    }
    send_instances(contract, &up, NULL, 0);
}

/* Takes what is offered over. */
static void open_now(struct broker *broker, struct contract *contract, const struct offer *offered,
                     size_t count)
{
    struct offer_message offers = {.count = 0};
    forget_offers(&broker->negotiator, contract, NULL);
    for (size_t i = 0; i < count; i++) {
        if (!send_plan(contract, &offered[i])) {
            bridge_drop(&broker->negotiator, offered[i].bridge);
            continue;
        }
        contract->offers[contract->offer_count++] = offered[i];
        put_offer(&offers, &offered[i]);
    }
    contract->state = CONTRACT_OPEN;
    send_opened(contract, PARLEY_OK, NULL, &offers);
    list_instances(contract);
}

static void refused(struct broker *broker, const struct contract *contract, const char *text)
{
    const struct event event = {
        .topic = "refused",
        .interface = contract->interface->name,
        .version = schema_service(contract->schema->schema)->interface->version,
        .pid = contract->endpoint->peer.pid,
    };
    event_publish(broker, &event, "%s (pid %d): %s", contract->endpoint->name,
                  (int)contract->endpoint->peer.pid, text);
    audit_refused_peer(contract->endpoint, "audit.contract", "a contract", event.interface,
                       event.version, PARLEY_FAILED_PRECONDITION, text);
}

/* @again: it waits, or was refused, and knows: that nothing is published is then no answer. */
static void answer(struct broker *broker, struct contract *contract, bool again)
{
    struct error_text text = {""};
    struct offer offers[ROUTE_VERSION_MAX];
    size_t count;
    enum parley_status status = negotiate(&broker->negotiator, contract, offers, &count, &text);
    if (status == PARLEY_OK) {
        open_now(broker, contract, offers, count);
        return;
    }
    forget_offers(&broker->negotiator, contract, NULL);
    if (again && (status == PARLEY_UNAVAILABLE || contract->state == CONTRACT_REFUSED))
        return;
    contract->state = status == PARLEY_UNAVAILABLE ? CONTRACT_WAITING : CONTRACT_REFUSED;
    if (contract->state == CONTRACT_REFUSED)
        refused(broker, contract, text.text);
    send_opened(contract, status, text.text, NULL);
}

void contract_open(struct broker *broker, struct contract *contract)
{
    answer(broker, contract, false);
}

/* ---- Afterwards ---- */

/* The offer for an instance's version; a new one is put into @offers. NULL: not for this client. */
static const struct offer *offer_for(struct broker *broker, struct contract *contract,
                                     struct version *version, struct offer_message *offers)
{
    const struct offer *known = contract_offer(contract, version);
    if (known)
        return known;
    struct error_text error = {""};
    if (contract->offer_count == ROUTE_VERSION_MAX)
        return NULL;
    struct offer *offer = &contract->offers[contract->offer_count];
    int r = negotiate_version(&broker->negotiator, contract, version, offer, &error);
    if (r < 0) {
        log_debug("%s: %s %s is not for it: %s", contract->endpoint->name,
                  contract->interface->name, version->name, error.text);
        return NULL;
    }
    if (!send_plan(contract, offer)) {
        bridge_drop(&broker->negotiator, offer->bridge);
        return NULL;
    }
    contract->offer_count++;
    put_offer(offers, offer);
    return offer;
}

void contracts_instance_up(struct broker *broker, struct instance *instance)
{
    struct contract *contract;
    LIST_FOREACH(contract, &instance->version->interface->contracts, interface_entry) {
        if (contract->endpoint->doomed)
            continue;
        if (contract->state != CONTRACT_OPEN) {
            answer(broker, contract, true);
            continue;
        }
        struct offer_message offers = {.count = 0};
        if (!offer_for(broker, contract, instance->version, &offers))
            continue;
        struct instance_message up = {.count = 0};
        put_instance(&up, instance);
        send_instances(contract, &up, &offers, 0);
    }
}

/* Versions that could not be bridged before. */
static void offer_more(struct broker *broker, struct contract *contract)
{
    struct offer_message offers = {.count = 0};
    struct instance_message up = {.count = 0};
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++) {
        struct version *version = contract->interface->versions[i];
        if (!version || !version_up(version) || contract_offer(contract, version) ||
            !offer_for(broker, contract, version, &offers))
            continue;
        const struct instance *instance;
        LIST_FOREACH(instance, &version->instances, version_entry)
            if (!instance->draining && up.count < ROUTE_INSTANCE_MAX)
                put_instance(&up, instance);
    }
    if (offers.count > 0)
        send_instances(contract, &up, &offers, 0);
}

bool contract_offer_again(struct contract *contract, const struct offer *offer,
                          struct bridge *bridge)
{
    const struct offer again = {.version = offer->version, .bridge = bridge};
    struct offer_message offers = {.count = 0};
    if (!send_plan(contract, &again))
        return false;
    put_offer(&offers, &again);
    send_instances(contract, NULL, &offers, 0);
    return !contract->endpoint->doomed;
}

void contracts_refresh(struct broker *broker)
{
    swap_begin(broker);
    struct interface *interface;
    struct interface *next;
    HASH_ITER(hh, broker->directory.interfaces, interface, next) {
        struct contract *contract;
        LIST_FOREACH(contract, &interface->contracts, interface_entry) {
            if (contract->endpoint->doomed)
                continue;
            if (contract->state == CONTRACT_OPEN)
                offer_more(broker, contract);
            else
                answer(broker, contract, true);
        }
    }
}

void contracts_instance_gone(struct broker *broker, const struct instance *instance)
{
    struct contract *contract;
    if (broker->stopping)
        return;
    LIST_FOREACH(contract, &instance->version->interface->contracts, interface_entry)
        if (!contract->endpoint->doomed && contract->state == CONTRACT_OPEN &&
            contract_offer(contract, instance->version))
            send_instances(contract, NULL, NULL, instance->id);
}

void contracts_instance_cut(const struct instance *instance)
{
    struct contract *contract;
    uint64_t cut = instance->id;
    LIST_FOREACH(contract, &instance->version->interface->contracts, interface_entry) {
        if (contract->endpoint->doomed || contract->state != CONTRACT_OPEN)
            continue;
        Parley__Instances body = PARLEY__INSTANCES__INIT;
        body.has_contract_id = true;
        body.contract_id = contract->id;
        body.n_cut = 1;
        body.cut = &cut;
        say_instances(contract, &body);
    }
}

void contract_say_refused(struct contract *contract, enum parley_status status, const char *text)
{
    send_opened(contract, status, text, NULL);
}

void contract_free(struct broker *broker, struct contract *contract)
{
    struct interface *interface = contract->interface;
    HASH_DEL(contract->endpoint->contracts, contract);
    contract->endpoint->contract_count--;
    if (contract->endpoint->account)
        contract->endpoint->account->contracts--;
    LIST_REMOVE(contract, interface_entry);
    interface->contract_count--;
    directory_settle(&broker->directory, interface);
    forget_offers(&broker->negotiator, contract, NULL);
    schema_entry_drop(&broker->negotiator, contract->schema);
    semver_ranges_free(contract->ranges);
    free(contract->accept);
    free(contract);
}
