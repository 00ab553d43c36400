/*
 * When the policy is another one: what it would not allow any more ends.
 *
 * Whoever asks something of the broker is looked at then: control API, HTTP, bus URLs. What lasts
 * is looked at here: contracts, publications, and the channels that came of them. We are not on the
 * road of calls, so that a channel is ended by the one of its two sides that is still trusted: the
 * service, which tells us who has channels to it and hears on whom to hang up (Callers, Cut); the
 * client, which hears that an instance may not serve (Instances.cut). A client that has closed its
 * contract, or whose link is gone, is found all the same, for it is the service that is asked, also
 * when it comes back to a broker that has just started.
 *
 * A service is heard once each time that it was asked: its list costs a look at the policy for each
 * of its entries, and nobody shall make us look all day.
 */
#include "broker/broker.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "broker/guard.h"
#include "broker/serve.h"

/* ---- Contracts ---- */

static void contract_deny(struct broker *broker, struct contract *contract, const char *why)
{
    struct endpoint *endpoint = contract->endpoint;
    const char *version = schema_service(contract->schema->schema)->interface->version;
    audit_refused_peer(endpoint, "audit.contract", "a contract", contract->interface->name, version,
                       PARLEY_PERMISSION_DENIED, why);
    contract_say_refused(contract, PARLEY_PERMISSION_DENIED, why);
    contract_free(broker, contract);
}

static unsigned deny_contracts(struct broker *broker)
{
    struct interface *interface, *next_interface;
    unsigned count = 0;
    HASH_ITER (hh, broker->directory.interfaces, interface, next_interface) {
        struct contract *contract, *next;
        for (contract = LIST_FIRST(&interface->contracts); contract; contract = next) {
            struct error_text why = {""};
            next = LIST_NEXT(contract, interface_entry); /* with the last, the interface may go */
            if (contract->endpoint->doomed ||
                guard_allows_endpoint(contract->endpoint, POLICY_CALL, interface->name, &why))
                continue;
            contract_deny(broker, contract, why.text);
            count++;
        }
    }
    return count;
}

/* ---- Publications ---- */

static void instance_deny(struct broker *broker, struct instance *instance, const char *why)
{
    struct endpoint *endpoint = instance->endpoint;
    const struct version *version = instance->version;
    audit_refused_peer(endpoint, "audit.publish", "a publication", version->interface->name,
                       version->name, PARLEY_PERMISSION_DENIED, why);
    session_say_published(endpoint, instance->id, PARLEY_PERMISSION_DENIED, why, -1);
    contracts_instance_cut(instance);
    session_instance_gone(broker, instance, "is gone: the policy does not let it serve any more");
}

static unsigned deny_instances(struct broker *broker)
{
    struct instance *instance, *next;
    unsigned count = 0;
    HASH_ITER (hh, broker->directory.instances, instance, next) {
        struct error_text why = {""};
        if (instance->endpoint->doomed ||
            guard_allows_endpoint(instance->endpoint, POLICY_PUBLISH,
                                  instance->version->interface->name, &why))
            continue;
        instance_deny(broker, instance, why.text);
        count++;
    }
    return count;
}

/* ---- Channels ---- */

static void say_cut(const struct instance *instance, const struct replier_peer *who,
                    const char *why)
{
    Parley__Cut body = PARLEY__CUT__INIT;
    body.has_instance_id = body.has_uid = body.has_gid = true;
    body.instance_id = instance->id;
    body.uid = who->uid;
    body.gid = who->gid;
    body.text = (char *)(uintptr_t)why;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_CUT;
    message.cut = &body;
    (void)session_send(instance->endpoint, &message, NULL, 0);
}

static void look_at_caller(struct broker *broker, const struct instance *instance,
                           const Parley__Caller *caller)
{
    struct error_text why = {""};
    struct replier_peer peer = {
        .local = true, .uid = caller->uid, .gid = caller->gid, .pid = (pid_t)caller->pid};
    const char *interface = instance->version->interface->name;
    (void)snprintf(peer.text, sizeof(peer.text), "user %u (pid %d)", (unsigned)peer.uid,
                   (int)peer.pid);
    if (policy_allows(broker->policy, &peer, POLICY_CALL, interface, &why))
        return;
    broker->policy_denied++;
    const struct refusal refusal = {
        .topic = "audit.connect",
        .known = true,
        .who = {.pid = peer.pid, .uid = peer.uid, .gid = peer.gid},
        .from = peer.text,
        .asked = "a channel",
        .interface = interface,
        .version = instance->version->name,
        .status = PARLEY_PERMISSION_DENIED,
    };
    audit_refused(broker, &refusal, "%s", why.text);
    say_cut(instance, &peer, why.text);
}

void session_on_callers(struct endpoint *endpoint, const Parley__Callers *message)
{
    struct broker *broker = endpoint->broker;
    struct instance *instance = directory_instance(&broker->directory, message->instance_id);
    if (!instance || instance->endpoint != endpoint || !instance->callers_wanted)
        return;
    instance->callers_wanted = false;
    for (size_t i = 0; broker->policy && i < message->n_callers && i < REVIEW_CALLER_MAX; i++)
        if (!endpoint->doomed)
            look_at_caller(broker, instance, message->callers[i]);
}

/* ---- All of it ---- */

/* Each hears that it may ask again before it hears what it may not. */
static void tell_everybody(struct broker *broker)
{
    Parley__Review body = PARLEY__REVIEW__INIT;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_REVIEW;
    message.review = &body;
    struct endpoint *endpoint, *next;
    for (endpoint = TAILQ_FIRST(&broker->endpoints); endpoint; endpoint = next) {
        next = TAILQ_NEXT(endpoint, entry); /* no other is doomed by what this one cannot take */
        struct instance *instance;
        LIST_FOREACH (instance, &endpoint->instances, endpoint_entry)
            instance->callers_wanted = true;
        (void)session_send(endpoint, &message, NULL, 0);
    }
}

void policy_review(struct broker *broker)
{
    broker->directory.changes++; /* remote clients ask again, too */
    tell_everybody(broker);
    unsigned contracts = deny_contracts(broker);
    unsigned instances = deny_instances(broker) + serve_review(broker);
    if (contracts + instances > 0)
        log_info("the policy ends %u contracts and %u publications", contracts, instances);
}
