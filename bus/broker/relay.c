/*
 * Calls for askers that are no endpoints: the broker as a client of its own bus.
 *
 * The relay is an ordinary endpoint of this process, on one end of a socketpair whose other end the
 * broker serves like any link. So a relayed call is routed, translated, counted and ended like
 * everybody's, and nothing of that is done twice here. What is different: nobody generated code for
 * it, so it works on bytes, with the schema that the broker holds; and it must not wait, so it
 * lives in the broker's loop and answers its asker when the call ends, in whatever order they do.
 *
 * Bytes cross once each way: a request goes from where the asker's message lies into the service's
 * channel, a reply through its plan from the service's memory to where the asker wants it (`room`).
 *
 * Calls and contracts are kept to be used again, so a steady load allocates nothing. A contract is
 * kept for a while after its last call, for the asker that calls again, and then given back, with
 * its channels. Both are bounded; what does not fit is refused.
 *
 * A call's two turns of the loop, one that sends it and one that takes its reply, are one where the
 * service answers at once: the loop waits a moment for it, as any client does, adaptively, and for
 * so short that nobody else notices. Doorbells are armed only when it goes to sleep.
 *
 * The broker, its askers and its services often share a few CPUs, and each wake-up may put another
 * off its CPU. So a service that sleeps is woken once for all requests of a turn, and before the
 * loop sleeps while calls are under way it yields: then who works on them goes on, several answers
 * and requests are there when it looks again, and nobody has had to wake it.
 *
 * What ends while it is being started is told in the next turn, for the asker does not have its
 * number yet.
 */
#include "broker/relay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "broker/front.h"
#include "broker/guard.h"
#include "rpc/rpc.h"
#include "wait/wait.h"

#define RELAY_CONTRACT_MAX 256
#define RELAY_IDLE_NS (30 * NS_PER_S)
#define RELAY_TIMEOUT_NS (10 * NS_PER_S)
#define RELAY_TIMEOUT_NS_MAX (3600 * NS_PER_S)
/* How long a turn of the broker's loop may wait for replies without looking at anything else. */
#define RELAY_SPIN_NS (20 * NS_PER_US)
#define RELAY_YIELDS_MAX 2   /* before it sleeps */
#define RELAY_TEXT_BYTES 256 /* of a call's sentence, with its NUL */

/* What calls of one version share. */
struct relay_contract {
    TAILQ_ENTRY(relay_contract) entry; /* of relay->busy or idle */
    struct schema_entry *schema;       /* one of its users */
    struct parley_client *client;
    struct parley_method *methods;
    uint32_t call_count;
    uint64_t idle_since_ns; /* if it has no calls */
};

/* One asker who waits. */
struct relayed {
    STAILQ_ENTRY(relayed) entry; /* of relay->spare, or ended */
    struct relay *relay;
    struct relay_contract *contract; /* NULL: it has ended */
    uint64_t rpc_id;
    uint32_t index, generation; /* its number */
    bool starting;
    bool one_way;
    uint8_t *(*room)(const struct relay_end *so_far, size_t bytes, void *userdata);
    void (*on_end)(const struct relay_end *end, void *userdata);
    void *userdata;

    /* If it ended while it was being started. */
    struct relay_end end;
    char version[BROKER_VERSION_BYTES];
    char text[RELAY_TEXT_BYTES];
};

struct relay {
    struct source source;
    struct broker *broker;
    struct parley_endpoint *endpoint;
    bool due;        /* something is to be done in this turn */
    bool ready;      /* ... by parley_dispatch(), for its descriptor says so */
    bool turning;    /* its endpoint is, and must not be freed */
    bool connected;  /* it was welcomed once */
    unsigned yields; /* since something was sent, or came */
    struct yield yield;
    uint64_t now_ns;  /* when the turn began */
    uint64_t changes; /* directory.changes, when it last looked at its link */
    TAILQ_HEAD(relay_contracts, relay_contract) busy, idle; /* idle: longest first */
    uint32_t contract_count;
    struct relayed **calls; /* by index */
    uint32_t call_max;      /* that there are */
    uint32_t call_count;    /* under way */
    STAILQ_HEAD(relayed_list, relayed) spare, ended;
};

/* ---- Life ---- */

static void on_relay(struct source *source, uint32_t events)
{
    (void)events;
    struct relay *relay = (struct relay *)source; /* its first member; relay_turn() follows */
    relay->due = relay->ready = true;
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
    rpc_endpoint_trace_by(relay->endpoint, &broker->routes.region); /* its first call, too */
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
    relay->now_ns = clock_now_ns();
    yield_init(&relay->yield);
    TAILQ_INIT(&relay->busy);
    TAILQ_INIT(&relay->idle);
    STAILQ_INIT(&relay->spare);
    STAILQ_INIT(&relay->ended);
    int r = join_bus(broker, relay, error);
    if (r < 0) {
        relay_free(relay);
        return r;
    }
    broker->relay = relay;
    return 0;
}

/* ---- Contracts ---- */

static void contract_busy(struct relay *relay, struct relay_contract *contract)
{
    if (contract->call_count++ > 0)
        return;
    TAILQ_REMOVE(&relay->idle, contract, entry);
    TAILQ_INSERT_HEAD(&relay->busy, contract, entry);
}

static void contract_settle(struct relay *relay, struct relay_contract *contract)
{
    if (--contract->call_count > 0)
        return;
    contract->idle_since_ns = relay->now_ns;
    TAILQ_REMOVE(&relay->busy, contract, entry);
    TAILQ_INSERT_TAIL(&relay->idle, contract, entry);
}

/* It has no calls; or they end now, as CANCELLED. */
static void contract_end(struct relay *relay, struct relay_contract *contract)
{
    parley_client_free(contract->client);
    TAILQ_REMOVE(&relay->idle, contract, entry);
    if (contract->schema->relayed == contract)
        contract->schema->relayed = NULL;
    schema_entry_drop(&relay->broker->negotiator, contract->schema);
    free(contract->methods);
    free(contract);
    relay->contract_count--;
}

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

/* One more, if need be in the place of the one that was idle longest. */
static enum parley_status contract_new(struct relay *relay, struct schema_entry *schema,
                                       struct relay_contract **ret, struct error_text *error)
{
    if (relay->contract_count >= RELAY_CONTRACT_MAX && TAILQ_EMPTY(&relay->idle)) {
        error_set(error, 0, "calls of %d versions are under way: try again later",
                  RELAY_CONTRACT_MAX);
        return PARLEY_RESOURCE_EXHAUSTED;
    }
    if (relay->contract_count >= RELAY_CONTRACT_MAX)
        contract_end(relay, TAILQ_FIRST(&relay->idle));
    struct relay_contract *contract = calloc(1, sizeof(*contract));
    if (!contract) {
        error_set(error, 0, "the broker is out of memory");
        return PARLEY_RESOURCE_EXHAUSTED;
    }
    contract->schema = schema;
    enum parley_status status = contract_make(relay, contract, error);
    if (status != PARLEY_OK) {
        free(contract->methods);
        free(contract);
        return status;
    }
    schema_entry_keep(&relay->broker->negotiator, schema);
    schema->relayed = contract;
    contract->idle_since_ns = relay->now_ns;
    TAILQ_INSERT_TAIL(&relay->idle, contract, entry);
    relay->contract_count++;
    *ret = contract;
    return PARLEY_OK;
}

/* ---- Calls ---- */

static struct relayed *relayed_new(struct relay *relay)
{
    struct relayed *relayed = STAILQ_FIRST(&relay->spare);
    if (relayed) {
        STAILQ_REMOVE_HEAD(&relay->spare, entry);
        return relayed;
    }
    if ((relay->call_max & (relay->call_max - 1)) == 0) {
        uint32_t more = relay->call_max ? 2 * relay->call_max : 1;
        struct relayed **grown = realloc(relay->calls, more * sizeof(struct relayed *));
        if (!grown)
            return NULL;
        relay->calls = grown;
    }
    relayed = calloc(1, sizeof(*relayed));
    if (!relayed)
        return NULL;
    relayed->relay = relay;
    relayed->index = relay->call_max;
    relay->calls[relay->call_max++] = relayed;
    return relayed;
}

static void relayed_free(struct relayed *relayed)
{
    relayed->contract = NULL;
    STAILQ_INSERT_HEAD(&relayed->relay->spare, relayed, entry);
}

static uint64_t number_of(const struct relayed *relayed)
{
    return (uint64_t)relayed->generation << 32 | relayed->index;
}

static struct relayed *relayed_find(const struct relay *relay, uint64_t number)
{
    uint32_t index = (uint32_t)number;
    struct relayed *relayed = index < relay->call_max ? relay->calls[index] : NULL;
    return relayed && relayed->contract && number_of(relayed) == number ? relayed : NULL;
}

static uint8_t *on_room(const struct rpc_outcome *outcome, size_t bytes, void *userdata)
{
    const struct relayed *relayed = userdata;
    const struct relay_end so_far = {
        .status = outcome->status,
        .executed = outcome->executed,
        .translation = outcome->translation,
        .version = outcome->version,
        .text = "",
    };
    return relayed->room(&so_far, bytes, relayed->userdata);
}

/* For relay_start(), or the next turn. A call that has only been sent has no reply. */
static void keep_end(struct relayed *relayed, const struct rpc_outcome *outcome)
{
    (void)snprintf(relayed->version, sizeof(relayed->version), "%s", outcome->version);
    (void)snprintf(relayed->text, sizeof(relayed->text), "%s", outcome->text);
    relayed->end = (struct relay_end){
        .status = outcome->status,
        .executed = outcome->executed,
        .translation = outcome->translation,
        .version = relayed->version,
        .text = relayed->text,
    };
}

static void on_replied(const struct rpc_outcome *outcome, const uint8_t *payload, size_t bytes,
                       void *userdata)
{
    struct relayed *relayed = userdata;
    struct relay *relay = relayed->relay;
    contract_settle(relay, relayed->contract);
    relayed->contract = NULL;
    relay->call_count--;
    if (relayed->starting) {
        keep_end(relayed, outcome);
        return;
    }
    const struct relay_end end = {
        .status = outcome->status,
        .executed = outcome->executed,
        .translation = outcome->translation,
        .version = outcome->version,
        .text = outcome->text,
        .payload = relayed->one_way ? NULL : payload,
        .payload_bytes = relayed->one_way ? 0 : bytes,
    };
    void (*on_end)(const struct relay_end *, void *) = relayed->on_end;
    userdata = relayed->userdata;
    relayed_free(relayed);
    on_end(&end, userdata);
}

/* Those that ended while they were being started. */
static void tell_ended(struct relay *relay)
{
    struct relayed *relayed;
    while ((relayed = STAILQ_FIRST(&relay->ended))) {
        STAILQ_REMOVE_HEAD(&relay->ended, entry);
        relayed->on_end(&relayed->end, relayed->userdata);
        relayed_free(relayed);
    }
}

/* ---- Its end, and its turns ---- */

struct relay *relay_free(struct relay *relay)
{
    if (!relay)
        return NULL;
    if (relay->broker->relay == relay)
        relay->broker->relay = NULL;
    struct relay_contract *contract;
    TAILQ_FOREACH (contract, &relay->busy, entry) {
        contract->schema->relayed = NULL; /* who is told may call, by another relay */
    }
    while ((contract = TAILQ_FIRST(&relay->busy))) {
        contract->client = parley_client_free(contract->client); /* its calls end, it is idle */
        contract_end(relay, contract);
    }
    while ((contract = TAILQ_FIRST(&relay->idle)))
        contract_end(relay, contract);
    tell_ended(relay);
    if (relay->endpoint)
        broker_unwatch(relay->broker, parley_fd(relay->endpoint), &relay->source);
    parley_endpoint_free(relay->endpoint);
    for (uint32_t i = 0; i < relay->call_max; i++)
        free(relay->calls[i]);
    free(relay->calls);
    free(relay);
    return NULL;
}

uint32_t relay_call_count(const struct relay *relay)
{
    return relay->call_count;
}

uint64_t relay_next_deadline_ns(const struct relay *relay)
{
    if (relay->due || !STAILQ_EMPTY(&relay->ended))
        return 0;
    uint64_t deadline = parley_next_deadline_ns(relay->endpoint);
    const struct relay_contract *idle = TAILQ_FIRST(&relay->idle);
    if (idle && idle->idle_since_ns + RELAY_IDLE_NS < deadline)
        deadline = idle->idle_since_ns + RELAY_IDLE_NS;
    return deadline;
}

void relay_tell(struct broker *broker)
{
    if (broker->relay)
        tell_ended(broker->relay);
    front_self_tell(broker);
}

/* Everything, and then doorbells are armed, for the loop may sleep. */
static void dispatch(struct relay *relay)
{
    relay->ready = false;
    relay->turning = true;
    if (parley_dispatch(relay->endpoint, 0) != PARLEY_OK)
        log_error("relay: %s", parley_error_text());
    relay->turning = false;
    relay->connected = relay->connected || parley_connected(relay->endpoint);
}

/* What the broker has told a publisher of its instance, the relay has to know before the next call:
 * it is told by its link like everybody, and may not have looked yet. */
static void catch_up(struct relay *relay)
{
    uint64_t changes = relay->broker->directory.changes;
    if (relay->changes == changes || relay->turning)
        return;
    relay->changes = changes;
    dispatch(relay);
}

static bool take_replies(struct relay *relay)
{
    relay->turning = true;
    bool any = rpc_take_replies(relay->endpoint, RELAY_SPIN_NS);
    relay->turning = false;
    return any;
}

/* Whether the loop is to yield, and to look again, before it sleeps. */
static bool may_yield(struct relay *relay)
{
    if (relay->call_count == 0 || relay->yields == RELAY_YIELDS_MAX ||
        !yield_may_wait(&relay->yield, relay->now_ns))
        return false;
    relay->yields++;
    return true;
}

void relay_yield(struct broker *broker)
{
    struct relay *relay = broker->relay;
    if (!relay || relay->yields == 0)
        return;
    uint64_t start_ns = clock_now_ns();
    yield_cpu();
    yield_took(&relay->yield, start_ns, clock_now_ns());
}

/* While replies come soon after requests, neither side sleeps, and a turn takes no system call
 * here. */
void relay_turn(struct broker *broker)
{
    struct relay *relay = broker->relay;
    relay->now_ns = clock_now_ns();
    if (relay_next_deadline_ns(relay) > relay->now_ns)
        return;
    bool timer = parley_next_deadline_ns(relay->endpoint) <= relay->now_ns;
    relay->due = false;
    rpc_ring_held(relay->endpoint);
    struct relay_contract *idle;
    while ((idle = TAILQ_FIRST(&relay->idle)) &&
           idle->idle_since_ns + RELAY_IDLE_NS <= relay->now_ns)
        contract_end(relay, idle);
    tell_ended(relay);
    bool busy = !relay->ready && !timer;
    if (busy && take_replies(relay)) {
        relay->yields = 0;
        relay->due = true;
    } else if (busy && may_yield(relay)) {
        relay->due = true;
    } else {
        relay->yields = 0;
        dispatch(relay);
    }
}

/* ---- Calling ---- */

/* A version that nobody publishes is known all the same, from a folder or from before: a caller
 * that is built for it is translated, as a native one would be. Not by what only some client
 * brought: that must not decide how the bytes of others are read. */
static struct schema_entry *find_known(struct broker *broker, const char *interface,
                                       const char *version)
{
    struct semver semver;
    struct schema_entry *entry;
    if (!interface || !version || semver_parse(version, &semver) != 0)
        return NULL;
    TAILQ_FOREACH (entry, &broker->negotiator.schemas, entry)
        if (schema_entry_trusted(entry) && semver_compare(&entry->version, &semver) == 0 &&
            strcmp(schema_service(entry->schema)->interface->name, interface) == 0)
            return registry_in_force(&broker->negotiator, entry);
    return NULL;
}

enum parley_status relay_find(struct broker *broker, const char *interface, const char *version,
                              struct schema_entry **ret_schema, struct error_text *error)
{
    if (interface && strcmp(interface, FRONT_SELF_INTERFACE) == 0) {
        *ret_schema = front_self_schema(broker, error);
        return *ret_schema ? PARLEY_OK : PARLEY_INTERNAL;
    }
    const struct version *found = lookup_schema(broker, interface, version, error);
    *ret_schema = found ? found->schema : find_known(broker, interface, version);
    return *ret_schema ? PARLEY_OK : PARLEY_NOT_FOUND;
}

enum parley_status relay_method(const struct schema_entry *entry, const char *name,
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

static enum parley_status relay_ready(struct broker *broker, struct error_text *error)
{
    if (broker->relay && broker->relay->connected && !parley_connected(broker->relay->endpoint)) {
        if (broker->relay->turning) {
            error_set(error, 0, "the broker's own link was lost: try again");
            return PARLEY_UNAVAILABLE;
        }
        relay_free(broker->relay); /* it does not look for another link */
    }
    if (broker->stopping) {
        error_set(error, 0, "the broker ends");
        return PARLEY_UNAVAILABLE;
    }
    if (!broker->relay && relay_new(broker, error) < 0)
        return PARLEY_INTERNAL;
    catch_up(broker->relay);
    if (broker->relay->call_count < RELAY_CALL_MAX)
        return PARLEY_OK;
    error_set(error, 0, "%d calls are under way already: try again later", RELAY_CALL_MAX);
    return PARLEY_RESOURCE_EXHAUSTED;
}

/* One more pair behind @at. Return: behind it. */
static uint8_t *put_pair(uint8_t *at, const char *key, const char *value)
{
    size_t key_bytes = strlen(key), value_bytes = strlen(value);
    at[0] = (uint8_t)key_bytes;
    at[1] = (uint8_t)value_bytes;
    at[2] = (uint8_t)(value_bytes >> 8);
    memcpy(at + 3, key, key_bytes);
    memcpy(at + 3 + key_bytes, value, value_bytes);
    return at + 3 + key_bytes + value_bytes;
}

static uint8_t *put_number(uint8_t *at, const char *key, uint32_t value)
{
    char text[11];
    char *digit = &text[10];
    *digit = '\0';
    do
        *--digit = (char)('0' + value % 10);
    while (value /= 10);
    return put_pair(at, key, digit);
}

/* The asker's metadata behind those that say who it is, which the service believes of us
 * (Attach.relayed). @out: of METADATA_BYTES. Return: bytes. */
static size_t put_peer(const struct replier_peer *peer, uint8_t *out)
{
    uint8_t *at = out;
    if (peer->local) {
        at = put_number(at, "parley.peer.uid", peer->uid);
        at = put_number(at, "parley.peer.gid", peer->gid);
        at = put_number(at, "parley.peer.pid", (uint32_t)peer->pid);
    } else if (peer->text[0]) {
        at = put_pair(at, "parley.peer.address", peer->text);
    }
    if (peer->identity[0])
        at = put_pair(at, "parley.peer.identity", peer->identity);
    return (size_t)(at - out);
}

static size_t pair_count(const uint8_t *block, size_t bytes)
{
    size_t count = 0;
    for (size_t at = 0; at < bytes; count++)
        at += 3 + (size_t)block[at] + (block[at + 1] | (size_t)block[at + 2] << 8);
    return count;
}

#define PEER_PAIRS 4
#define PEER_BYTES 512 /* of them: names, and what replier_peer has room for */
#define METADATA_BYTES (RPC_METADATA_BLOCK_BYTES_MAX + PEER_BYTES)

/* Return: bytes; 0: there are too many of the asker's. */
static size_t put_metadata(const struct relay_ask *ask, uint8_t out[METADATA_BYTES])
{
    static const struct replier_peer nobody = {.text = "the broker's control socket"};
    size_t used = put_peer(ask->peer ? ask->peer : &nobody, out);
    if (ask->metadata_bytes > RPC_METADATA_BLOCK_BYTES_MAX - used ||
        (ask->metadata_bytes &&
         pair_count(ask->metadata, ask->metadata_bytes) > RPC_METADATA_PAIRS_MAX - PEER_PAIRS))
        return 0;
    if (ask->metadata_bytes)
        memcpy(out + used, ask->metadata, ask->metadata_bytes);
    return used + ask->metadata_bytes;
}

static enum parley_status check_metadata(const struct relay_ask *ask, size_t bytes,
                                         struct error_text *error)
{
    if (bytes > 0)
        return PARLEY_OK;
    error_set(
        error, 0,
        "metadata of %zu bytes: at most %d pairs and %d bytes are relayed, with those by which "
        "the bus says who asks",
        ask->metadata_bytes, RPC_METADATA_PAIRS_MAX - PEER_PAIRS,
        RPC_METADATA_BLOCK_BYTES_MAX - PEER_BYTES);
    return PARLEY_INVALID_ARGUMENT;
}

static void submit(struct relayed *relayed, const struct relay_ask *ask, const uint8_t *metadata,
                   size_t metadata_bytes)
{
    uint64_t timeout_ns = ask->timeout_ns ? ask->timeout_ns : RELAY_TIMEOUT_NS;
    const struct rpc_call call = {
        .timeout_ns = timeout_ns < RELAY_TIMEOUT_NS_MAX ? timeout_ns : RELAY_TIMEOUT_NS_MAX,
        .accept = ask->accept,
        .metadata = metadata,
        .metadata_bytes = metadata_bytes,
        .payload = ask->payload,
        .payload_bytes = ask->payload_bytes,
        .payload_stays = ask->payload_stays,
        .one_way = ask->one_way,
        .room = ask->room ? on_room : NULL,
        .replied = on_replied,
        .userdata = relayed,
    };
    struct relay *relay = relayed->relay;
    relayed->starting = true;
    relayed->one_way = ask->one_way;
    relayed->room = ask->room;
    relayed->on_end = ask->ended;
    relayed->userdata = ask->userdata;
    relayed->generation += relayed->generation == UINT32_MAX ? 2 : 1; /* a number is never 0 */
    contract_busy(relay, relayed->contract);
    relay->call_count++;
    relay->due = true;
    relay->yields = 0;
    rpc_hold_rings(relay->endpoint); /* others may follow in this turn of the loop */
    relayed->rpc_id = rpc_call_raw(relayed->contract->client, (unsigned)ask->method, &call);
    relayed->starting = false;
}

/* The broker serves it itself. */
static bool is_own(const struct broker *broker, const struct schema_entry *schema)
{
    return broker->front_self && schema == front_self_served(broker->front_self);
}

/* By the policy. Without a peer it was asked already, of the control API. */
static enum parley_status may_call(struct broker *broker, const struct relay_ask *ask,
                                   struct error_text *error)
{
    if (!broker->policy || !ask->peer)
        return PARLEY_OK;
    const Parley__Interface *interface = schema_service(ask->schema->schema)->interface;
    return guard_allows(broker, ask->peer, POLICY_CALL, interface->name, interface->version, error)
               ? PARLEY_OK
               : PARLEY_PERMISSION_DENIED;
}

uint64_t relay_start(struct broker *broker, const struct relay_ask *ask,
                     enum parley_status *ret_status, struct error_text *error)
{
    if (__builtin_expect(is_own(broker, ask->schema), 0))
        return front_self_start(broker, ask, ret_status, error);
    uint8_t metadata[METADATA_BYTES];
    size_t metadata_bytes = put_metadata(ask, metadata);
    enum parley_status status = check_metadata(ask, metadata_bytes, error);
    if (status == PARLEY_OK)
        status = may_call(broker, ask, error);
    if (status == PARLEY_OK)
        status = relay_ready(broker, error);
    struct relay *relay = broker->relay;
    struct relay_contract *contract = ask->schema->relayed;
    if (status == PARLEY_OK && !contract)
        status = contract_new(relay, ask->schema, &contract, error);
    struct relayed *relayed = status == PARLEY_OK ? relayed_new(relay) : NULL;
    if (status == PARLEY_OK && !relayed) {
        error_set(error, 0, "the broker is out of memory");
        status = PARLEY_RESOURCE_EXHAUSTED;
    }
    *ret_status = status;
    if (status != PARLEY_OK)
        return 0;
    relayed->contract = contract;
    submit(relayed, ask, metadata, metadata_bytes);
    if (relayed->contract)
        return number_of(relayed);
    if (relayed->end.status != PARLEY_OK && relayed->end.executed == PARLEY_EXECUTED_NO) {
        *ret_status = relayed->end.status;
        error_set(error, 0, "%s", relayed->end.text);
        relayed_free(relayed);
        return 0;
    }
    STAILQ_INSERT_TAIL(&relay->ended, relayed, entry);
    return number_of(relayed);
}

enum parley_status relay_cancel(struct broker *broker, uint64_t call)
{
    if (front_self_has(call))
        return front_self_cancel(broker, call);
    struct relay *relay = broker->relay;
    const struct relayed *relayed = relay ? relayed_find(relay, call) : NULL;
    if (!relayed)
        return PARLEY_NOT_FOUND;
    relay->due = true;
    return parley_client_cancel(relayed->contract->client, relayed->rpc_id);
}
