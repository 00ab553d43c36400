/*
 * A client: one contract with the broker, and a channel to each instance that may serve it.
 *
 * The broker is asked once (Open) and then only listened to: Opened brings the versions on offer
 * with the plans for their replies, Instances who is there. Each instance is attached to at once: we
 * make our segment and a doorbell socketpair, the broker passes both on (Connect), the service
 * answers on the doorbell. What this client then needs to route a call is in its own memory and in
 * the route page.
 *
 * When the link is lost nothing happens to the channels. When it is back, the contract is opened
 * again under the same id, and Instances tells which of our channels are still listed; versions are
 * matched by name, so that a new broker may number them as it likes.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/probes.h"
#include "rpc/offers.h"

void client_link_up(struct parley_client *client)
{
    Parley__Open body = PARLEY__OPEN__INIT;
    body.has_contract_id = true;
    body.contract_id = client->contract_id;
    body.interface = (char *)(uintptr_t)client->spec.interface;
    body.version = (char *)(uintptr_t)client->spec.version;
    body.accept = client->accept[0] ? client->accept : NULL;
    body.service = (char *)(uintptr_t)client->spec.service;
    body.has_descriptor_set = true;
    body.descriptor_set.data = (uint8_t *)(uintptr_t)client->spec.descriptor_set;
    body.descriptor_set.len = client->spec.descriptor_set_bytes;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_OPEN;
    message.open = &body;
    client->route_sequence = NULL;
    client->instances_known = false;
    client->listed_count = 0; /* the broker lists them anew */
    (void)endpoint_send(client->endpoint, &message, NULL, 0); /* a lost link opens again */
}

void client_link_down(struct parley_client *client)
{
    client->instances_known = false;
}

/* Both sides must have heard the same question and the same answer. */
static bool transcript_holds(struct parley_client *client, const char *what,
                             protobuf_c_boolean has_hash, const ProtobufCBinaryData *hash)
{
    if (transcript_is(&client->transcript, has_hash, hash))
        return true;
    (void)snprintf(client->opened_text, sizeof(client->opened_text),
                   "the broker's %s for %s %s does not belong to what was asked: its transcript "
                   "hash is %s; use the same release of Parley in the broker and in the programs",
                   what, client->spec.interface, client->spec.version,
                   has_hash ? "another than ours" : "missing");
    log_error("%s", client->opened_text);
    return false;
}

static void answer_read(struct parley_client *client, const Parley__Opened *message)
{
    client->answered = true;
    client->opened_status = message->has_status ? (enum parley_status)message->status : PARLEY_OK;
    (void)snprintf(client->opened_text, sizeof(client->opened_text), "%s",
                   message->text ? message->text : "");
    if (client->opened_status != PARLEY_OK)
        return;
    client->transcript = client->asked;
    transcript_answer(&client->transcript, message->offers, message->n_offers);
    if (!transcript_holds(client, "answer", message->has_transcript, &message->transcript))
        client->opened_status = PARLEY_FAILED_PRECONDITION;
}

void client_opened(struct parley_client *client, const Parley__Opened *message)
{
    answer_read(client, message);
    if (client->opened_status == PARLEY_OK) {
        client->route_slot = message->route_slot;
        client->route_sequence = route_sequence(&client->endpoint->route, client->route_slot);
        client->view.sequence = 1; /* odd: never seen, so the next look copies */
        client->matcher_sequence = UINT32_MAX; /* another page may be at the same one */
        client_offers_add(client, message->offers, message->n_offers);
    } else if (client->opened_status == PARLEY_UNAVAILABLE) {
        client->instances_known = true; /* that there are none */
    }
    PROBE4(negotiate, client->spec.interface, client->spec.version, client->opened_status,
           client->offer_count);
    if (client->opened)
        client->opened(client, client->opened_status, client->opened_text,
                       client->opened_userdata);
    if (client->opened_status == PARLEY_PERMISSION_DENIED)
        client_denied(client);
    if (client->opened_status != PARLEY_OK)
        calls_resume(client);
}

static void instance_gone(struct parley_client *client, uint64_t instance_id)
{
    struct listed *listed = client_listed(client, instance_id);
    if (listed)
        *listed = client->listed[--client->listed_count];
    struct channel *channel = client_channel(client, instance_id);
    /* One that is up hangs up by itself if it is really gone, and is well if only its link was
     * lost. */
    if (channel && channel->state == CHANNEL_CONNECTING)
        channel_kill(channel, PARLEY_UNAVAILABLE, "the instance left before it answered");
}

static void instance_up(struct parley_client *client, const Parley__Instance *instance)
{
    if (!instance->version || strlen(instance->version) >= RPC_VERSION_BYTES)
        return;
    struct listed *listed = client_listed(client, instance->instance_id);
    if (!listed) {
        if (client->listed_count == ROUTE_INSTANCE_MAX)
            return;
        listed = &client->listed[client->listed_count++];
        *listed = (struct listed){.instance_id = instance->instance_id};
        (void)snprintf(listed->version, sizeof(listed->version), "%s", instance->version);
    }
    if (!listed->retry_at_ns && !client_channel(client, instance->instance_id))
        client_attach(client, listed);
}

void client_instances(struct parley_client *client, const Parley__Instances *message)
{
    if (message->n_offers > 0) {
        transcript_answer(&client->transcript, message->offers, message->n_offers);
        if (transcript_holds(client, "later offer", message->has_transcript, &message->transcript))
            client_offers_add(client, message->offers, message->n_offers);
    }
    client->instances_known = true;
    for (size_t i = 0; i < message->n_gone; i++)
        instance_gone(client, message->gone[i]);
    for (size_t i = 0; i < message->n_cut && !client->freed; i++)
        client_cut(client, message->cut[i]);
    for (size_t i = 0; i < message->n_up && !client->freed; i++)
        instance_up(client, message->up[i]);
    client_live_update(client);
    calls_resume(client);
}

void client_connect_failed(struct parley_client *client, const Parley__ConnectFailed *message)
{
    struct channel *channel = client_channel(client, message->instance_id);
    if (channel && channel->state == CHANNEL_CONNECTING)
        channel_kill(channel, (enum parley_status)message->status, "%s",
                     message->text ? message->text : "the broker could not connect");
}

/* ---- protobuf-c's service ---- */

static void client_invoke(ProtobufCService *service, unsigned method, const ProtobufCMessage *input,
                          ProtobufCClosure closure, void *closure_data)
{
    struct parley_client *client = (struct parley_client *)service;
    parley_client_start(client, method, input, NULL, closure, closure_data);
}

ProtobufCService *parley_client_service(struct parley_client *client)
{
    return &client->service;
}

/* ---- Life ---- */

static enum parley_status client_make(struct parley_endpoint *endpoint,
                                      const struct rpc_contract_spec *spec,
                                      struct parley_client **ret_client)
{
    if (spec->method_count == 0 || spec->method_count > PLAN_ENTRY_MAX)
        return status_fail(PARLEY_INVALID_ARGUMENT, "interface %s has %zu methods, 1 to %d can be",
                           spec->interface, spec->method_count, PLAN_ENTRY_MAX);
    struct semver_ranges *ranges = NULL;
    struct error_text error = {0};
    if (spec->accept && *spec->accept && semver_ranges_new(spec->accept, &ranges, &error) < 0)
        return status_fail(PARLEY_INVALID_ARGUMENT, "accept '%.64s': %s", spec->accept, error.text);
    struct parley_client *client = calloc(1, sizeof(*client));
    if (!client) {
        semver_ranges_free(ranges);
        return status_fail(PARLEY_RESOURCE_EXHAUSTED, "out of memory for a client");
    }
    client->ranges = ranges;
    client->endpoint = endpoint;
    client->spec = *spec;
    client->spec.replies = plan_ref(spec->replies);
    (void)snprintf(client->accept, sizeof(client->accept), "%s", spec->accept ? spec->accept : "");
    client->timeout_ns =
        call_timeout_bounded(spec->timeout_ns ? spec->timeout_ns : RPC_CALL_TIMEOUT_NS);
    client->timeout_us = (uint32_t)(client->timeout_ns / NS_PER_US);
    client->contract_id = ++endpoint->contract_last;
    struct digest set;
    digest_of(spec->descriptor_set, spec->descriptor_set_bytes, &set);
    const struct transcript_offer asked = {
        .interface = spec->interface,
        .version = spec->version,
        .accept = client->accept,
        .service = spec->service,
        .descriptor_set = &set,
    };
    transcript_begin(&asked, &client->asked);
    client->transcript = client->asked;
    client->view.sequence = 1;
    client->retry_tokens = 100;
    LIST_INIT(&client->channels);
    TAILQ_INIT(&client->waiting);
    TAILQ_INSERT_TAIL(&endpoint->clients, client, entry);
    *ret_client = client;
    return PARLEY_OK;
}

enum parley_status rpc_contract_open(struct parley_endpoint *endpoint,
                                     const struct rpc_contract_spec *spec, rpc_opened opened,
                                     void *userdata, struct parley_client **ret_client)
{
    enum parley_status status = client_make(endpoint, spec, ret_client);
    if (status != PARLEY_OK)
        return status;
    (*ret_client)->opened = opened;
    (*ret_client)->opened_userdata = userdata;
    if (endpoint->welcomed)
        client_link_up(*ret_client);
    return PARLEY_OK;
}

static enum parley_status client_wait(struct parley_client *client, uint64_t wait_ns)
{
    struct parley_endpoint *endpoint = client->endpoint;
    uint64_t deadline = clock_add(clock_now_ns(), wait_ns);
    while (client->live_count == 0) {
        if (client->answered && client->opened_status != PARLEY_OK &&
            client->opened_status != PARLEY_UNAVAILABLE)
            return status_fail(client->opened_status, "%s", client->opened_text);
        if (atomic_load_explicit(&endpoint->stop, memory_order_relaxed))
            return status_fail(PARLEY_CANCELLED, "the endpoint is stopping");
        if (clock_now_ns() >= deadline)
            break;
        int r = endpoint_turn(endpoint, deadline);
        if (r < 0)
            return status_fail(status_from_errno(r), "waiting for %s failed: %s",
                               client->spec.interface, strerror(-r));
    }
    if (client->live_count > 0)
        return PARLEY_OK;
    if (!endpoint->welcomed)
        return status_fail(PARLEY_UNAVAILABLE,
                           "the broker at %s went away while %s was negotiated: is parleyd running?",
                           endpoint->broker, client->spec.interface);
    if (client->opened_status == PARLEY_UNAVAILABLE || !client->answered)
        return status_fail(PARLEY_UNAVAILABLE,
                           "nothing publishes %s: start a service, or wait longer (wait_ns)",
                           client->spec.interface);
    return status_fail(PARLEY_UNAVAILABLE, "no instance of %s could be attached in time",
                       client->spec.interface);
}

static enum parley_status interface_check(const struct parley_interface *interface)
{
    if (!interface || interface->abi != PARLEY_INTERFACE_ABI)
        return status_fail(PARLEY_INVALID_ARGUMENT,
                           "the interface was generated for ABI %u, this library has %d: run "
                           "protoc-gen-parley of this version again",
                           interface ? interface->abi : 0, PARLEY_INTERFACE_ABI);
    return PARLEY_OK;
}

enum parley_status parley_client_new(struct parley_endpoint *endpoint,
                                     const struct parley_interface *interface,
                                     const struct parley_client_options *options,
                                     struct parley_client **ret_client)
{
    static const struct parley_client_options defaults;
    if (endpoint_forked(endpoint))
        return status_forked();
    options = options ? options : &defaults;
    enum parley_status status = interface_check(interface);
    if (status != PARLEY_OK)
        return status;
    struct rpc_contract_spec spec = {
        .interface = interface->name,
        .version = interface->version,
        .accept = options->accept,
        .service = interface->service->name,
        .descriptor_set = interface->descriptor_set,
        .descriptor_set_bytes = interface->descriptor_set_bytes,
        .methods = interface->methods,
        .method_count = interface->service->n_methods,
        .timeout_ns = options->timeout_ns,
    };
    struct error_text error = {0};
    int r = plan_identity(interface->service, PLAN_REPLIES, &spec.replies, &error);
    if (r < 0)
        return status_fail(status_from_errno(r), "%s %s: %s", spec.interface, spec.version,
                           error.text);
    struct parley_client *client;
    status = rpc_contract_open(endpoint, &spec, NULL, NULL, &client);
    plan_unref(spec.replies);
    if (status != PARLEY_OK)
        return status;
    client->descriptor = interface->service;
    if (packer_of(interface->service, PLAN_REQUESTS, &client->packer, &error) < 0) {
        parley_client_free(client);
        return status_fail(PARLEY_RESOURCE_EXHAUSTED, "%s", error.text);
    }
    client->service = (ProtobufCService){
        .descriptor = interface->service,
        .invoke = client_invoke,
    };
    status = client_wait(client, options->wait_ns ? options->wait_ns : RPC_WAIT_TIMEOUT_NS);
    endpoint_leave(endpoint);
    if (status != PARLEY_OK) {
        parley_client_free(client);
        return status;
    }
    *ret_client = client;
    return PARLEY_OK;
}

struct parley_client *parley_client_free(struct parley_client *client)
{
    if (!client || client->freed || endpoint_forked(client->endpoint))
        return NULL;
    struct parley_endpoint *endpoint = client->endpoint;
    client->freed = true;
    client->opened = NULL;
    endpoint->turns++; /* a closure that waits must not bury the channel that we are at */
    struct channel *channel;
    while ((channel = LIST_FIRST(&client->channels))) {
        struct call *call;
        channel_gather_calls(channel);
        while ((call = TAILQ_FIRST(&channel->calls))) {
            bool taken = !call->queued;
            if (call->accepted) {
                call_accepted(call);
                continue;
            }
            call_finish(call, PARLEY_CANCELLED,
                        taken ? PARLEY_EXECUTED_UNKNOWN : PARLEY_EXECUTED_NO,
                        "the client was closed");
        }
        channel_kill(channel, PARLEY_CANCELLED, "the client was closed");
    }
    struct call *call;
    while ((call = TAILQ_FIRST(&client->waiting)))
        call_finish(call, PARLEY_CANCELLED, PARLEY_EXECUTED_NO, "the client was closed");

    Parley__Close body = PARLEY__CLOSE__INIT;
    body.has_contract_id = true;
    body.contract_id = client->contract_id;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_CLOSE;
    message.close = &body;
    (void)endpoint_send(endpoint, &message, NULL, 0);
    TAILQ_REMOVE(&endpoint->clients, client, entry);
    if (--endpoint->turns)
        TAILQ_INSERT_TAIL(&endpoint->dead_clients, client, entry);
    else
        client_destroy(client);
    return NULL;
}

void client_destroy(struct parley_client *client)
{
    for (size_t i = 0; i < client->offer_count; i++)
        held_drop(client->offers[i].held);
    plan_unref(client->spec.replies);
    semver_ranges_free(client->ranges);
    wire_packer_free(client->packer);
    matcher_free(client->matcher);
    free(client);
}

size_t parley_client_channel_count(const struct parley_client *client)
{
    return endpoint_forked(client->endpoint) ? 0 : client->live_count;
}
