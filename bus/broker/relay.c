/*
 * Calls for askers on the control API: the broker as a client of its own bus.
 *
 * The relay is an ordinary endpoint of this process, on one end of a socketpair whose other end the
 * broker serves like any link. So a relayed call is routed, translated, counted and ended like
 * everybody's, and nothing of that is done twice here. What is different: nobody generated code for
 * it, so it works on bytes, with the schema that the broker holds; and it must not wait, so it
 * lives in the broker's loop and answers its asker when the call ends, in whatever order they do.
 *
 * A contract is kept for a while after its last call, for the asker that calls again, and then
 * given back, with its channels. Contracts and calls are bounded; what does not fit is refused.
 *
 * The asker's identity is the control socket's: a service sees the broker as the caller.
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "rpc/rpc.h"

#define RELAY_CONTRACT_MAX 16
#define RELAY_CALL_MAX 1024
#define RELAY_METADATA_MAX 32
#define RELAY_IDLE_NS (30 * NS_PER_S)
#define RELAY_TIMEOUT_NS (10 * NS_PER_S)
#define RELAY_TIMEOUT_NS_MAX (3600 * NS_PER_S)

/* What calls of one version share. */
struct relay_contract {
    struct schema_entry *schema; /* one of its users; NULL: free */
    struct parley_client *client;
    struct parley_method *methods;
    uint64_t used_at_ns;
};

struct relay {
    struct source source;
    struct broker *broker;
    struct parley_endpoint *endpoint;
    bool due;       /* parley_dispatch() */
    bool connected; /* it was welcomed once */
    uint32_t call_count;
    struct relay_contract contracts[RELAY_CONTRACT_MAX];
};

/* One asker who waits. */
struct relayed {
    struct relay *relay;
    struct nng_request *request; /* NULL: nobody (tests) */
    bool one_way;
};

/* ---- Life ---- */

static void on_relay(struct source *source, uint32_t events)
{
    (void)events;
    ((struct relay *)source)->due = true; /* its first member; relay_turn() follows */
}

static int join_bus(struct broker *broker, struct relay *relay, struct error_text *error)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return error_set(error, -errno, "cannot make a socket: %s", strerror(errno));
    struct link *link;
    int r = link_new(pair[0], &link);
    if (r < 0) {
        fd_close(pair[0]);
        fd_close(pair[1]);
        return error_set(error, r, "cannot make a link: %s", strerror(-r));
    }
    struct endpoint *session;
    r = session_new(broker, link, true, &session);
    if (r < 0) {
        fd_close(pair[1]);
        return error_set(error, r, "cannot make a link: %s", strerror(-r));
    }
    /* The endpoint takes the descriptor, on failure too; the session then hangs up by itself. */
    if (rpc_endpoint_attach(pair[1], "parleyd", &relay->endpoint) != PARLEY_OK)
        return error_set(error, -EIO, "%s", parley_error_text());
    relay->source.ready = on_relay;
    r = broker_watch(broker, parley_fd(relay->endpoint), WAIT_IN, &relay->source);
    return r < 0 ? error_set(error, r, "cannot wait for calls: %s", strerror(-r)) : 0;
}

static int relay_new(struct broker *broker, struct error_text *error)
{
    struct relay *relay = calloc(1, sizeof(*relay));
    if (!relay)
        return error_set(error, -ENOMEM, "the broker is out of memory");
    relay->broker = broker;
    int r = join_bus(broker, relay, error);
    if (r < 0) {
        relay_free(relay);
        return r;
    }
    broker->relay = relay;
    return 0;
}

static void contract_release(struct relay *relay, struct relay_contract *contract)
{
    parley_client_free(contract->client); /* its calls end as CANCELLED, and are answered */
    free(contract->methods);
    schema_entry_drop(&relay->broker->negotiator, contract->schema);
    *contract = (struct relay_contract){0};
}

struct relay *relay_free(struct relay *relay)
{
    if (!relay)
        return NULL;
    for (size_t i = 0; i < RELAY_CONTRACT_MAX; i++)
        if (relay->contracts[i].schema)
            contract_release(relay, &relay->contracts[i]);
    if (relay->endpoint)
        broker_unwatch(relay->broker, parley_fd(relay->endpoint), &relay->source);
    parley_endpoint_free(relay->endpoint);
    if (relay->broker->relay == relay)
        relay->broker->relay = NULL;
    free(relay);
    return NULL;
}

uint32_t relay_call_count(const struct relay *relay)
{
    return relay->call_count;
}

static bool contract_idle(const struct relay_contract *contract)
{
    return contract->schema && rpc_calls_pending(contract->client) == 0;
}

uint64_t relay_next_deadline_ns(const struct relay *relay)
{
    uint64_t deadline = parley_next_deadline_ns(relay->endpoint);
    for (size_t i = 0; i < RELAY_CONTRACT_MAX; i++) {
        const struct relay_contract *contract = &relay->contracts[i];
        if (contract_idle(contract) && contract->used_at_ns + RELAY_IDLE_NS < deadline)
            deadline = contract->used_at_ns + RELAY_IDLE_NS;
    }
    return relay->due ? 0 : deadline;
}

void relay_turn(struct broker *broker)
{
    struct relay *relay = broker->relay;
    uint64_t now_ns = clock_now_ns();
    if (!relay->due && relay_next_deadline_ns(relay) > now_ns)
        return;
    relay->due = false;
    for (size_t i = 0; i < RELAY_CONTRACT_MAX; i++) {
        struct relay_contract *contract = &relay->contracts[i];
        if (contract_idle(contract) && contract->used_at_ns + RELAY_IDLE_NS <= now_ns)
            contract_release(relay, contract);
    }
    if (parley_dispatch(relay->endpoint, 0) != PARLEY_OK)
        log_error("relay: %s", parley_error_text());
    relay->connected = relay->connected || parley_connected(relay->endpoint);
}

/* ---- Contracts ---- */

static int describe_methods(struct relay_contract *contract, struct rpc_contract_spec *spec)
{
    const struct schema_service *service = schema_service(contract->schema->schema);
    contract->methods = calloc(service->method_count + 1, sizeof(*contract->methods));
    if (!contract->methods)
        return -ENOMEM;
    for (size_t i = 0; i < service->method_count; i++)
        contract->methods[i] = (struct parley_method){
            .name = service->methods[i].name,
            .idempotency = (enum parley_idempotency)service->methods[i].idempotency,
        };
    spec->methods = contract->methods;
    spec->method_count = service->method_count;
    return 0;
}

static enum parley_status contract_make(struct relay *relay, struct relay_contract *contract,
                                        struct error_text *error)
{
    const struct schema *schema = contract->schema->schema;
    const struct schema_service *service = schema_service(schema);
    struct rpc_contract_spec spec = {
        .interface = service->interface->name,
        .version = service->interface->version,
        .service = service->name,
    };
    spec.descriptor_set = schema_set(schema, &spec.descriptor_set_bytes);
    int r = describe_methods(contract, &spec);
    if (r == 0)
        r = plan_compile(schema, schema, PLAN_REPLIES, &spec.replies, error);
    if (r < 0)
        return r == -ENOMEM ? PARLEY_RESOURCE_EXHAUSTED : PARLEY_INTERNAL;
    enum parley_status status =
        rpc_contract_open(relay->endpoint, &spec, NULL, NULL, &contract->client);
    plan_unref(spec.replies);
    if (status != PARLEY_OK)
        error_set(error, 0, "%s", parley_error_text());
    return status;
}

/* A free place, or that of the contract that was idle longest. NULL: all are busy. */
static struct relay_contract *place(struct relay *relay)
{
    struct relay_contract *best = NULL;
    for (size_t i = 0; i < RELAY_CONTRACT_MAX; i++) {
        struct relay_contract *contract = &relay->contracts[i];
        if (!contract->schema)
            return contract;
        if (contract_idle(contract) && (!best || contract->used_at_ns < best->used_at_ns))
            best = contract;
    }
    if (best)
        contract_release(relay, best);
    return best;
}

static enum parley_status contract_take(struct relay *relay, struct schema_entry *schema,
                                        struct relay_contract **ret, struct error_text *error)
{
    for (size_t i = 0; i < RELAY_CONTRACT_MAX; i++) {
        if (relay->contracts[i].schema == schema) {
            *ret = &relay->contracts[i];
            return PARLEY_OK;
        }
    }
    struct relay_contract *contract = place(relay);
    if (!contract) {
        error_set(error, 0, "calls of %d versions are under way: try again later",
                  RELAY_CONTRACT_MAX);
        return PARLEY_RESOURCE_EXHAUSTED;
    }
    contract->schema = schema;
    schema_entry_keep(&relay->broker->negotiator, schema);
    enum parley_status status = contract_make(relay, contract, error);
    if (status != PARLEY_OK) {
        contract_release(relay, contract);
        return status;
    }
    *ret = contract;
    return PARLEY_OK;
}

/* ---- Calls ---- */

static void on_replied(const struct parley_call *call, const uint8_t *payload, size_t bytes,
                       void *userdata)
{
    struct relayed *relayed = userdata;
    relayed->relay->call_count--;
    Parley__CallReply body = PARLEY__CALL_REPLY__INIT;
    body.has_executed = true;
    body.executed = call->executed;
    body.has_translation = call->version[0] != '\0';
    body.translation = (uint32_t)call->translation;
    body.served_by = (char *)(uintptr_t)(call->version[0] ? call->version : NULL);
    if (call->status == PARLEY_OK && !relayed->one_way) {
        body.has_payload = true;
        body.payload.data = (uint8_t *)(uintptr_t)payload;
        body.payload.len = bytes;
    }
    Parley__ControlReply reply = PARLEY__CONTROL_REPLY__INIT;
    reply.has_status = true;
    reply.status = call->status;
    reply.text = (char *)(uintptr_t)(call->error[0] ? call->error : NULL);
    reply.body_case = PARLEY__CONTROL_REPLY__BODY_CALL;
    reply.call = &body;
    uint8_t *data = NULL;
    size_t data_bytes;
    if (!relayed->request || control_pack(&reply, &data, &data_bytes) < 0)
        nng_request_drop(relayed->request);
    else if (nng_request_answer(relayed->request, data, data_bytes) < 0)
        log_warn("the answer to a relayed call was not sent");
    free(data);
    free(relayed);
}

static enum parley_status read_metadata(const Parley__CallRequest *request,
                                        struct parley_metadata *pairs, struct error_text *error)
{
    if (request->n_metadata > RELAY_METADATA_MAX) {
        error_set(error, 0, "%zu pairs of metadata: at most %d", request->n_metadata,
                  RELAY_METADATA_MAX);
        return PARLEY_INVALID_ARGUMENT;
    }
    for (size_t i = 0; i < request->n_metadata; i++)
        pairs[i] = (struct parley_metadata){
            .key = request->metadata[i]->key ? request->metadata[i]->key : "",
            .value = (const char *)request->metadata[i]->value.data,
            .value_bytes = request->metadata[i]->value.len,
        };
    return PARLEY_OK;
}

static enum parley_status find_method(const struct schema_entry *entry, const char *name,
                                      size_t *ret_index, struct error_text *error)
{
    const struct schema_service *service = schema_service(entry->schema);
    const struct schema_method *method =
        name ? schema_method_find(entry->schema, name, ret_index) : NULL;
    if (!method) {
        char all[256] = "none";
        size_t used = 0;
        for (size_t i = 0; i < service->method_count && used < sizeof(all); i++)
            used += (size_t)snprintf(all + used, sizeof(all) - used, "%s%s", i ? ", " : "",
                                     service->methods[i].name);
        error_set(error, 0, "%s %s has no method \"%.80s\"; there is: %s", service->interface->name,
                  service->interface->version, name ? name : "", all);
        return PARLEY_NOT_FOUND;
    }
    if (method->client_streaming || method->server_streaming) {
        error_set(error, 0, "%s streams: only unary methods can be called here", method->name);
        return PARLEY_UNIMPLEMENTED;
    }
    return PARLEY_OK;
}

static enum parley_status start(struct relay *relay, struct relay_contract *contract, size_t method,
                                const Parley__CallRequest *request, struct nng_request *asker,
                                struct error_text *error)
{
    struct parley_metadata pairs[RELAY_METADATA_MAX];
    enum parley_status status = read_metadata(request, pairs, error);
    if (status != PARLEY_OK)
        return status;
    struct relayed *relayed = malloc(sizeof(*relayed));
    if (!relayed) {
        error_set(error, 0, "the broker is out of memory");
        return PARLEY_RESOURCE_EXHAUSTED;
    }
    *relayed = (struct relayed){.relay = relay, .request = asker, .one_way = request->one_way};
    uint64_t timeout_ns = request->timeout_ns ? request->timeout_ns : RELAY_TIMEOUT_NS;
    const struct parley_call call = {
        .timeout_ns = timeout_ns < RELAY_TIMEOUT_NS_MAX ? timeout_ns : RELAY_TIMEOUT_NS_MAX,
        .metadata = pairs,
        .metadata_count = request->n_metadata,
        .accept = request->accept,
        .one_way = request->one_way,
    };
    static const uint8_t nothing[1];
    relay->call_count++;
    relay->due = true;
    contract->used_at_ns = clock_now_ns();
    rpc_call_raw(contract->client, (unsigned)method,
                 request->payload.len ? request->payload.data : nothing, request->payload.len,
                 &call, on_replied, relayed);
    return PARLEY_OK;
}

enum parley_status relay_call(struct broker *broker, struct version *version,
                              const Parley__CallRequest *request, struct nng_request *asker,
                              struct error_text *error)
{
    size_t method;
    enum parley_status status = find_method(version->schema, request->method, &method, error);
    if (status != PARLEY_OK)
        return status;
    if (broker->relay && broker->relay->connected && !parley_connected(broker->relay->endpoint))
        relay_free(broker->relay); /* it lost its link, and does not look for another */
    if (!broker->relay && relay_new(broker, error) < 0)
        return PARLEY_INTERNAL;
    struct relay *relay = broker->relay;
    if (relay->call_count >= RELAY_CALL_MAX) {
        error_set(error, 0, "%d calls are under way already: try again later", RELAY_CALL_MAX);
        return PARLEY_RESOURCE_EXHAUSTED;
    }
    struct relay_contract *contract;
    status = contract_take(relay, version->schema, &contract, error);
    if (status != PARLEY_OK)
        return status;
    return start(relay, contract, method, request, asker, error);
}
