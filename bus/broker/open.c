/*
 * Contracts as an endpoint asks for them: Open, Close, and Connect to one instance.
 *
 * What was opened is negotiated and told in contracts.c. A Connect is passed on: the client's
 * segment and its end of a doorbell go to the service as they came, unread, together with what only
 * we know for sure, which is who the client is, and which plan translates its requests. From there
 * on the two talk to each other, and our copies of the descriptors are closed.
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "broker/guard.h"

/* ---- Contracts ---- */

static void refuse_open(struct endpoint *endpoint, const Parley__Open *open,
                        enum parley_status status, const char *text)
{
    const struct event event = {
        .topic = "refused",
        .interface = open->interface,
        .version = open->version,
        .pid = endpoint->peer.pid,
    };
    event_publish(endpoint->broker, &event, "%s (pid %d) may not open a contract: %s",
                  endpoint->name, (int)endpoint->peer.pid, text);
    audit_refused_peer(endpoint, "audit.contract", "a contract", open->interface, open->version,
                       status, text);
    Parley__Opened body = PARLEY__OPENED__INIT;
    body.has_contract_id = true;
    body.contract_id = open->contract_id;
    body.has_status = true;
    body.status = status;
    body.text = (char *)(uintptr_t)text;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_OPENED;
    message.opened = &body;
    (void)session_send(endpoint, &message, NULL, 0);
}

static int contract_parts(struct endpoint *endpoint, const Parley__Open *open,
                          struct contract *contract, struct error_text *error)
{
    struct broker *broker = endpoint->broker;
    int r = session_check_names(open->interface, open->version, open->service, error);
    if (r == 0 && !guard_allows_endpoint(endpoint, POLICY_CALL, open->interface, error))
        r = -EACCES;
    if (r == 0 && endpoint->account)
        r = admit_registration(&broker->admit, endpoint->account, clock_now_ns(), error);
    if (r < 0)
        return r;
    if (open->accept && open->accept[0]) {
        r = semver_ranges_new(open->accept, &contract->ranges, error);
        if (r < 0)
            return error_prefix(error, r, "accept \"%.80s\"", open->accept);
        contract->accept = strdup(open->accept);
        if (!contract->accept)
            return error_set(error, -ENOMEM, "the broker is out of memory");
    }
    r = schema_entry_take(&broker->negotiator, open->interface, open->version, open->service,
                          open->descriptor_set.data, open->descriptor_set.len, &contract->schema,
                          error);
    if (r < 0)
        return r;
    const struct transcript_offer asked = {
        .interface = open->interface,
        .version = open->version,
        .accept = open->accept,
        .service = open->service,
        .descriptor_set = &contract->schema->hash,
    };
    transcript_begin(&asked, &contract->asked);
    r = directory_interface(&broker->directory, open->interface, &contract->interface);
    if (r == 0 && endpoint->account)
        r = admit_contract(&broker->admit, endpoint->account, error);
    return r;
}

static void contract_unmake(struct broker *broker, struct contract *contract)
{
    if (contract->interface)
        directory_settle(&broker->directory, contract->interface);
    schema_entry_drop(&broker->negotiator, contract->schema);
    semver_ranges_free(contract->ranges);
    free(contract->accept);
    free(contract);
}

void session_on_open(struct endpoint *endpoint, const Parley__Open *open)
{
    struct broker *broker = endpoint->broker;
    struct error_text error = {"the broker is out of memory"};
    struct contract *contract;
    HASH_FIND(hh, endpoint->contracts, &open->contract_id, sizeof(open->contract_id), contract);
    if (contract) {
        session_refuse(endpoint, PARLEY_INVALID_ARGUMENT, "contract %llu is open already",
                       (unsigned long long)open->contract_id);
        return;
    }
    contract = calloc(1, sizeof(*contract));
    int r = contract ? contract_parts(endpoint, open, contract, &error) : -ENOMEM;
    if (r < 0) {
        if (contract)
            contract_unmake(broker, contract);
        refuse_open(endpoint, open, session_status(r), error.text);
        return;
    }
    registry_brought(contract->schema, PARLEY__SCHEMA_INFO__ORIGIN__CLIENT);
    contract->endpoint = endpoint;
    contract->id = open->contract_id;
    HASH_ADD(hh, endpoint->contracts, id, sizeof(contract->id), contract);
    endpoint->contract_count++;
    LIST_INSERT_HEAD(&contract->interface->contracts, contract, interface_entry);
    contract->interface->contract_count++;
    contract_open(broker, contract);
}

static struct contract *find_contract(struct endpoint *endpoint, uint64_t id)
{
    struct contract *contract;
    HASH_FIND(hh, endpoint->contracts, &id, sizeof(id), contract);
    return contract;
}

void session_on_close(struct endpoint *endpoint, const Parley__Close *message)
{
    struct contract *contract = find_contract(endpoint, message->contract_id);
    if (contract)
        contract_free(endpoint->broker, contract);
}

/* ---- Connecting ---- */

static void connect_failed(struct endpoint *endpoint, const Parley__Connect *connect,
                           enum parley_status status, const char *text)
{
    log_debug("%s (pid %d) is not connected: %s", endpoint->name, (int)endpoint->peer.pid, text);
    if (status != PARLEY_UNAVAILABLE)
        audit_refused_peer(endpoint, "audit.connect", "a channel", NULL, NULL, status, text);
    Parley__ConnectFailed body = PARLEY__CONNECT_FAILED__INIT;
    body.has_contract_id = true;
    body.contract_id = connect->contract_id;
    body.has_instance_id = true;
    body.instance_id = connect->instance_id;
    body.has_status = true;
    body.status = status;
    body.text = (char *)(uintptr_t)text;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_CONNECT_FAILED;
    message.connect_failed = &body;
    (void)session_send(endpoint, &message, NULL, 0);
}

static int attach(struct endpoint *client, const struct contract *contract,
                  const struct instance *instance, const struct bridge *bridge, const int *fds)
{
    if (bridge) {
        int r = session_plan(instance->endpoint, bridge, PLAN_REQUESTS);
        if (r < 0)
            return r;
    }
    Parley__Attach body = PARLEY__ATTACH__INIT;
    body.has_instance_id = true;
    body.instance_id = instance->id;
    body.client_version =
        (char *)(uintptr_t)schema_service(contract->schema->schema)->interface->version;
    body.has_plan_id = true;
    body.plan_id = bridge ? bridge->requests_id : 0;
    body.has_pid = body.has_uid = body.has_gid = true;
    body.pid = (uint32_t)client->peer.pid;
    body.uid = client->peer.uid;
    body.gid = client->peer.gid;
    body.client_name = client->name;
    body.has_relayed = body.relayed = client->internal;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_ATTACH;
    message.attach = &body;
    return session_send(instance->endpoint, &message, fds, 2);
}

void session_on_connect(struct endpoint *endpoint, const Parley__Connect *connect, const int *fds)
{
    struct broker *broker = endpoint->broker;
    struct error_text error = {""};
    const struct contract *contract = find_contract(endpoint, connect->contract_id);
    const struct instance *instance = directory_instance(&broker->directory, connect->instance_id);
    if (!contract || contract->state != CONTRACT_OPEN) {
        connect_failed(endpoint, connect, PARLEY_NOT_FOUND, "no such contract is open");
        return;
    }
    if (!instance || instance->draining || instance->endpoint->doomed) {
        connect_failed(endpoint, connect, PARLEY_UNAVAILABLE, "the instance has left");
        return;
    }
    const struct offer *offer = contract_offer(contract, instance->version);
    if (!offer) {
        connect_failed(endpoint, connect, PARLEY_PERMISSION_DENIED,
                       "the instance is not of a version that this contract was offered");
        return;
    }
    /* It was allowed when the contract was opened; the policy may be another one by now. */
    if (!guard_allows_endpoint(endpoint, POLICY_CALL, contract->interface->name, &error)) {
        connect_failed(endpoint, connect, PARLEY_PERMISSION_DENIED, error.text);
        return;
    }
    if (endpoint->account &&
        admit_registration(&broker->admit, endpoint->account, clock_now_ns(), &error) < 0) {
        connect_failed(endpoint, connect, PARLEY_RESOURCE_EXHAUSTED, error.text);
        return;
    }
    const struct bridge *bridge = offer->bridge;
    /* It asked before it read of the new one: its channel begins with the old, and goes on. */
    if (offer->previous && connect->plan_id == offer->previous->replies_id &&
        session_has_plan(instance->endpoint, offer->previous->requests_id))
        bridge = offer->previous;
    int r = attach(endpoint, contract, instance, bridge, fds);
    if (r == -EPIPE)
        connect_failed(endpoint, connect, PARLEY_UNAVAILABLE, "the instance has left");
    else if (r < 0)
        connect_failed(endpoint, connect, session_status(r), strerror(-r));
}
