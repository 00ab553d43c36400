/*
 * What the broker itself serves: interface "parley.bus", schemas/parley/bus.proto.
 *
 * Whoever can call can ask what there is, negotiate for a schema of its own, and become a service.
 * It is reached by relay_start() like any other interface, so frames, JSON and HTTP have it alike:
 * relay_find() gives its schema, and an ask with that schema comes here instead of going to the
 * bus. There is one version, which serves all: what it will learn are optional fields.
 *
 * A handler answers at once, or says so and answers later. Either way the asker is told in the next
 * turn, for it has no number to know the call by before.
 *
 * A contract that Open made is a schema and ranges under a number, for the user who opened it: the
 * asker's own schema, which need not be one that anybody publishes. Calls by it are translated as a
 * native client's would be.
 */
#include "broker/front.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "broker/health.h"
#include "broker/policy.h"
#include "broker/serve.h"
#include "broker/guard.h"
#include "parley/bus.pb-c.h"
#include "wire/wire.h"

#define TIMEOUT_NS (10 * NS_PER_S)
#define TIMEOUT_NS_MAX (3600 * NS_PER_S)
#define NUMBER_MARK (UINT64_C(1) << 31) /* no number of the relay's has it: RELAY_CALL_MAX */
#define VERSION "1.0.0"

static const uint8_t set[] = {
#include "bus_set.inc"
};

struct front_self_call {
    TAILQ_ENTRY(front_self_call) entry; /* of waiting, or ended */
    struct broker *broker;
    uint64_t number;
    uint64_t deadline_ns;
    bool one_way;
    bool answered;
    struct replier_peer peer;
    void (*dropped)(void *data);
    void *dropped_data;
    uint8_t *(*room)(const struct relay_end *so_far, size_t bytes, void *userdata);
    void (*on_end)(const struct relay_end *end, void *userdata);
    void *userdata;

    enum parley_status status;
    enum parley_executed executed;
    uint8_t *reply; /* packed */
    size_t reply_bytes;
    char text[ERROR_TEXT_BYTES_MAX];
};

struct front_contract {
    UT_hash_handle hh;
    TAILQ_ENTRY(front_contract) entry; /* longest unused first */
    uint64_t id;
    struct schema_entry *schema; /* one of its users */
    uint64_t used_at_ns;
    char user[144];
    char accept[SEMVER_RANGE_BYTES_MAX + 1];
};

struct front_self {
    struct schema_entry *schema; /* NULL: nobody asked yet */
    TAILQ_HEAD(front_self_calls, front_self_call) waiting, ended;
    uint32_t call_count;
    uint32_t number_last;
    struct front_contract *contracts; /* hash by id */
    TAILQ_HEAD(, front_contract) unused;
    uint32_t contract_count;
};

static struct front_self *self_of(struct broker *broker)
{
    struct front_self *self = broker->front_self;
    if (self)
        return self;
    self = calloc(1, sizeof(*self));
    if (!self)
        return NULL;
    TAILQ_INIT(&self->waiting);
    TAILQ_INIT(&self->ended);
    TAILQ_INIT(&self->unused);
    return broker->front_self = self;
}

struct schema_entry *front_self_schema(struct broker *broker, struct error_text *error)
{
    struct front_self *self = self_of(broker);
    if (!self) {
        error_set(error, 0, "the broker is out of memory");
        return NULL;
    }
    if (self->schema)
        return self->schema;
    if (schema_entry_take(&broker->negotiator, FRONT_SELF_INTERFACE, VERSION, NULL, set,
                          sizeof(set), &self->schema, error) < 0)
        return NULL;
    registry_brought(self->schema, PARLEY__SCHEMA_INFO__ORIGIN__BROKER);
    return self->schema;
}

const struct schema_entry *front_self_served(const struct front_self *self)
{
    return self->schema;
}

/* ---- Answers ---- */

static void call_done(struct front_self_call *call, enum parley_status status, const char *text)
{
    struct front_self *self = call->broker->front_self;
    call->answered = true;
    call->status = status;
    call->executed = PARLEY_EXECUTED_YES;
    (void)snprintf(call->text, sizeof(call->text), "%s", text);
    if (call->number) { /* else it is still being started */
        TAILQ_REMOVE(&self->waiting, call, entry);
        TAILQ_INSERT_TAIL(&self->ended, call, entry);
    }
}

/* Once a call whose handler returns OK, in it or later. The call is freed in a later turn. */
static void answer(struct front_self_call *call, const ProtobufCMessage *reply)
{
    size_t bytes = protobuf_c_message_get_packed_size(reply);
    call->reply = malloc(bytes ? bytes : 1);
    if (!call->reply) {
        call_done(call, PARLEY_RESOURCE_EXHAUSTED, "the broker is out of memory");
        return;
    }
    call->reply_bytes = protobuf_c_message_pack(reply, call->reply);
    call_done(call, PARLEY_OK, "");
}

/* @dropped: runs if it was cancelled, or its time is over; answer() must not follow. */
static void answer_later(struct front_self_call *call, void (*dropped)(void *data), void *data)
{
    call->dropped = dropped;
    call->dropped_data = data;
}

/* ---- Contracts ---- */

/* The best that is known of who asks: limits are by the same. */
static void user_of(const struct replier_peer *peer, char *user, size_t bytes)
{
    if (!peer)
        (void)snprintf(user, bytes, "nobody");
    else if (peer->local)
        (void)snprintf(user, bytes, "user %u", (unsigned)peer->uid);
    else if (peer->identity[0])
        (void)snprintf(user, bytes, "certificate %.127s", peer->identity);
    else {
        const char *colon = strrchr(peer->text, ':');
        int host_bytes = colon ? (int)(colon - peer->text) : (int)strlen(peer->text);
        (void)snprintf(user, bytes, "address %.*s", host_bytes, peer->text);
    }
}

static void contract_forget(struct broker *broker, struct front_contract *contract)
{
    struct front_self *self = broker->front_self;
    HASH_DEL(self->contracts, contract);
    TAILQ_REMOVE(&self->unused, contract, entry);
    self->contract_count--;
    schema_entry_drop(&broker->negotiator, contract->schema);
    free(contract);
}

static struct front_contract *contract_used(struct front_self *self,
                                            struct front_contract *contract)
{
    contract->used_at_ns = clock_now_ns();
    TAILQ_REMOVE(&self->unused, contract, entry);
    TAILQ_INSERT_TAIL(&self->unused, contract, entry);
    return contract;
}

/* The one that its user has already: who looks again does not use up others'. If there is none:
 * *ret_oldest is the one to forget for another, of the same user's if that has its share, so that
 * nobody can drive out everybody's. NULL: there is room. */
static struct front_contract *contract_same(const struct front_self *self,
                                            const struct schema_entry *schema, const char *accept,
                                            const char *user, struct front_contract **ret_oldest)
{
    struct front_contract *contract, *oldest = NULL;
    uint32_t count = 0;
    TAILQ_FOREACH (contract, &self->unused, entry) {
        if (strcmp(contract->user, user) != 0)
            continue;
        if (contract->schema == schema && strcmp(contract->accept, accept ? accept : "") == 0)
            return contract;
        oldest = oldest ? oldest : contract;
        count++;
    }
    *ret_oldest = count >= FRONT_CONTRACT_USER_MAX             ? oldest
                  : self->contract_count >= FRONT_CONTRACT_MAX ? TAILQ_FIRST(&self->unused)
                                                               : NULL;
    return NULL;
}

/* @schema: a user of it is taken over, on success. */
static struct front_contract *contract_add(struct broker *broker, struct schema_entry *schema,
                                           const char *accept, const struct replier_peer *peer)
{
    struct front_self *self = broker->front_self;
    struct front_contract *contract, *oldest;
    char user[sizeof(contract->user)];
    user_of(peer, user, sizeof(user));
    contract = contract_same(self, schema, accept, user, &oldest);
    if (contract) {
        schema_entry_drop(&broker->negotiator, schema);
        return contract_used(self, contract);
    }
    contract = calloc(1, sizeof(*contract));
    if (!contract)
        return NULL;
    if (oldest)
        contract_forget(broker, oldest);
    contract->id = random_id();
    contract->schema = schema;
    contract->used_at_ns = clock_now_ns();
    memcpy(contract->user, user, sizeof(user));
    (void)snprintf(contract->accept, sizeof(contract->accept), "%s", accept ? accept : "");
    HASH_ADD(hh, self->contracts, id, sizeof(contract->id), contract);
    TAILQ_INSERT_TAIL(&self->unused, contract, entry);
    self->contract_count++;
    return contract;
}

enum parley_status front_contract_find(struct broker *broker, uint64_t id,
                                       const struct replier_peer *peer,
                                       struct schema_entry **ret_schema, const char **ret_accept,
                                       struct error_text *error)
{
    struct front_self *self = broker->front_self;
    struct front_contract *contract = NULL;
    char user[sizeof(contract->user)];
    if (self)
        HASH_FIND(hh, self->contracts, &id, sizeof(id), contract);
    user_of(peer, user, sizeof(user));
    if (!contract || strcmp(contract->user, user) != 0) {
        error_set(error, 0,
                  "contract %016llx is not known: it was not opened here, or not used for %llu s; "
                  "open another",
                  (unsigned long long)id, (unsigned long long)(FRONT_CONTRACT_IDLE_NS / NS_PER_S));
        return PARLEY_FAILED_PRECONDITION;
    }
    (void)contract_used(self, contract);
    *ret_schema = contract->schema;
    *ret_accept = contract->accept;
    return PARLEY_OK;
}

/* ---- Open ---- */

static enum parley_status open_schema(struct broker *broker,
                                      const Parley__Bus__V1__OpenRequest *request,
                                      struct schema_entry **ret_schema, struct error_text *error)
{
    if (!request->interface) {
        error_set(error, 0, "the request names no interface");
        return PARLEY_INVALID_ARGUMENT;
    }
    if (!request->has_descriptor_set) {
        enum parley_status status =
            relay_find(broker, request->interface, request->version, ret_schema, error);
        if (status == PARLEY_OK)
            schema_entry_keep(&broker->negotiator, *ret_schema);
        return status;
    }
    int r = schema_entry_take(&broker->negotiator, request->version ? request->interface : NULL,
                              request->version, request->service, request->descriptor_set.data,
                              request->descriptor_set.len, ret_schema, error);
    if (r == 0 &&
        strcmp(schema_service((*ret_schema)->schema)->interface->name, request->interface) != 0) {
        error_set(error, 0, "the descriptor set is of %s, not of %.63s",
                  schema_service((*ret_schema)->schema)->interface->name, request->interface);
        schema_entry_drop(&broker->negotiator, *ret_schema);
        r = -EINVAL;
    }
    return r == 0 ? PARLEY_OK : session_status(r);
}

/* What a native client with that schema would be offered. */
static enum parley_status offers_of(struct broker *broker, struct contract *contract,
                                    struct error_text *error)
{
    const struct schema_service *service = schema_service(contract->schema->schema);
    contract->interface = directory_find(&broker->directory, service->interface->name);
    if (!contract->interface) {
        error_set(error, 0, "nothing publishes %s yet", service->interface->name);
        return PARLEY_UNAVAILABLE;
    }
    const struct transcript_offer asked = {
        .interface = service->interface->name,
        .version = service->interface->version,
        .accept = contract->accept,
        .service = service->name,
        .descriptor_set = &contract->schema->hash,
    };
    transcript_begin(&asked, &contract->transcript);
    return negotiate(&broker->negotiator, contract, contract->offers, &contract->offer_count,
                     error);
}

static void answer_open(struct front_self_call *call, struct contract *contract, uint64_t id)
{
    Parley__Bus__V1__BusOffer offers[ROUTE_VERSION_MAX];
    Parley__Bus__V1__BusOffer *pointers[ROUTE_VERSION_MAX];
    Parley__Offer told[ROUTE_VERSION_MAX];
    Parley__Offer *told_pointers[ROUTE_VERSION_MAX];
    for (size_t i = 0; i < contract->offer_count; i++) {
        const struct offer *offer = &contract->offers[i];
        parley__offer__init(&told[i]);
        told[i].version = offer->version->name;
        told[i].has_translation = true;
        told[i].translation = offer->bridge ? (Parley__TranslationClass)offer->bridge->class
                                            : PARLEY__TRANSLATION_CLASS__IDENTITY;
        told_pointers[i] = &told[i];
        parley__bus__v1__bus_offer__init(&offers[i]);
        offers[i].version = offer->version->name;
        offers[i].has_translation = true;
        offers[i].translation = (uint32_t)told[i].translation;
        pointers[i] = &offers[i];
    }
    transcript_answer(&contract->transcript, told_pointers, contract->offer_count);
    Parley__Bus__V1__OpenReply reply = PARLEY__BUS__V1__OPEN_REPLY__INIT;
    reply.has_contract = reply.has_transcript = reply.has_broker_id = true;
    reply.contract = id;
    reply.n_offer = contract->offer_count;
    reply.offer = pointers;
    reply.transcript.data = contract->transcript.bytes;
    reply.transcript.len = DIGEST_BYTES;
    reply.broker_id = call->broker->id;
    answer(call, &reply.base);
}

static enum parley_status handle_open(struct front_self_call *call, const void *message,
                                      struct error_text *error)
{
    const Parley__Bus__V1__OpenRequest *request = message;
    struct broker *broker = call->broker;
    struct contract contract = {.accept = request->accept};
    enum parley_status status = open_schema(broker, request, &contract.schema, error);
    if (status != PARLEY_OK)
        return status;
    if (request->accept && request->accept[0] &&
        semver_ranges_new(request->accept, &contract.ranges, error) < 0) {
        error_prefix(error, -EINVAL, "accept \"%.80s\"", request->accept);
        status = PARLEY_INVALID_ARGUMENT;
    }
    if (status == PARLEY_OK)
        status = offers_of(broker, &contract, error);
    if (status == PARLEY_OK)
        registry_brought(contract.schema, PARLEY__SCHEMA_INFO__ORIGIN__CLIENT);
    const struct front_contract *opened =
        status == PARLEY_OK ? contract_add(broker, contract.schema, request->accept, &call->peer)
                            : NULL;
    if (opened)
        answer_open(call, &contract, opened->id);
    else
        schema_entry_drop(&broker->negotiator, contract.schema);
    for (size_t i = 0; i < contract.offer_count; i++)
        bridge_drop(&broker->negotiator, contract.offers[i].bridge);
    semver_ranges_free(contract.ranges);
    return status == PARLEY_OK && !opened ? PARLEY_RESOURCE_EXHAUSTED : status;
}

/* ---- The other methods ---- */

static void reply_list(void *call, const Parley__ListReply *list)
{
    answer(call, &list->base);
}

static enum parley_status handle_list(struct front_self_call *call, const void *message,
                                      struct error_text *error)
{
    (void)error;
    return control_list(call->broker, message, reply_list, call) == 0 ? PARLEY_OK
                                                                      : PARLEY_RESOURCE_EXHAUSTED;
}

static enum parley_status handle_describe(struct front_self_call *call, const void *message,
                                          struct error_text *error)
{
    Parley__DescribeReply reply;
    enum parley_status status = control_describe(call->broker, message, &reply, error);
    if (status == PARLEY_OK)
        answer(call, &reply.base);
    return status;
}

static enum parley_status handle_ping(struct front_self_call *call, const void *message,
                                      struct error_text *error)
{
    (void)error;
    const Parley__Bus__V1__PingRequest *request = message;
    Parley__Bus__V1__PingReply reply = PARLEY__BUS__V1__PING_REPLY__INIT;
    reply.has_number = request->has_number;
    reply.number = request->number;
    reply.has_broker_id = true;
    reply.broker_id = call->broker->id;
    reply.has_changes = true;
    reply.changes = front_changes(call->broker);
    answer(call, &reply.base);
    return PARLEY_OK;
}

static void on_health(const Parley__Bus__V1__HealthReply *reply, void *data)
{
    answer(data, &reply->base);
}

static void health_dropped(void *data)
{
    health_drop(data);
}

static enum parley_status handle_health(struct front_self_call *call, const void *message,
                                        struct error_text *error)
{
    const Parley__Bus__V1__HealthRequest *request = message;
    struct health_round *round = health_ask(
        call->broker, request->interface, request->timeout_ms * NS_PER_MS, on_health, call, error);
    if (!round)
        return PARLEY_RESOURCE_EXHAUSTED;
    answer_later(call, health_dropped, round);
    return PARLEY_OK;
}

static enum parley_status handle_publish(struct front_self_call *call, const void *message,
                                         struct error_text *error)
{
    struct serve_published published;
    enum parley_status status =
        serve_publish(call->broker, message, &call->peer, &published, error);
    if (status != PARLEY_OK) {
        serve_refused(call->broker, message, &call->peer, status, error->text);
        return status;
    }
    Parley__PublishReply reply = serve_reply(&published);
    answer(call, &reply.base);
    return PARLEY_OK;
}

static enum parley_status handle_withdraw(struct front_self_call *call, const void *message,
                                          struct error_text *error)
{
    enum parley_status status = serve_withdraw(call->broker, message, &call->peer, error);
    Parley__WithdrawReply reply = PARLEY__WITHDRAW_REPLY__INIT;
    if (status == PARLEY_OK)
        answer(call, &reply.base);
    return status;
}

/* In the order of the service. */
static const struct {
    const char *name;
    enum policy_action action;
    /* Not OK: it fails with that and @error. OK: it is answered, or will be. */
    enum parley_status (*handle)(struct front_self_call *call, const void *message,
                                 struct error_text *error);
} methods[] = {
    {"List", POLICY_LOOK, handle_list},
    {"Describe", POLICY_LOOK, handle_describe},
    {"Open", POLICY_CALL, handle_open},
    {"Publish", POLICY_PUBLISH, handle_publish},
    {"Withdraw", POLICY_PUBLISH, handle_withdraw},
    {"Health", POLICY_LOOK, handle_health},
    {"Ping", POLICY_LOOK, handle_ping},
};
#define METHOD_COUNT (sizeof(methods) / sizeof(methods[0]))

/* ---- Calls ---- */

static struct relay_end end_of(const struct front_self_call *call)
{
    return (struct relay_end){
        .status = call->status,
        .executed = call->executed,
        .version = VERSION,
        .text = call->text,
    };
}

static void call_free(struct front_self_call *call)
{
    call->broker->front_self->call_count--;
    free(call->reply);
    free(call);
}

/* Out of its list. */
static void call_tell(struct front_self_call *call)
{
    struct relay_end end = end_of(call);
    if (end.status == PARLEY_OK && !call->one_way) {
        uint8_t *out = call->room ? call->room(&end, call->reply_bytes, call->userdata) : NULL;
        if (out)
            memcpy(out, call->reply, call->reply_bytes);
        end.payload = out ? out : call->reply;
        end.payload_bytes = call->reply_bytes;
    }
    call->on_end(&end, call->userdata);
    call_free(call);
}

static void drop(struct front_self_call *call, enum parley_status status, const char *text)
{
    struct front_self *self = call->broker->front_self;
    TAILQ_REMOVE(&self->waiting, call, entry);
    if (call->dropped)
        call->dropped(call->dropped_data);
    call->status = status;
    call->executed = PARLEY_EXECUTED_UNKNOWN;
    (void)snprintf(call->text, sizeof(call->text), "%s", text);
    call_tell(call);
}

/* By the policy. Anybody may ask whether the broker is there; and who withdraws what is its own has
 * published it. */
static bool may(const struct front_self_call *call, size_t method, const ProtobufCMessage *message,
                struct error_text *error)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(message->descriptor, "interface");
    const char *interface =
        field ? *(char *const *)((const uint8_t *)message + field->offset) : NULL;
    const char *name = methods[method].name;
    return !call->broker->policy || strcmp(name, "Ping") == 0 || strcmp(name, "Withdraw") == 0 ||
           guard_allows(call->broker, &call->peer, methods[method].action, interface, NULL, error);
}

static enum parley_status run(struct front_self_call *call, const struct relay_ask *ask,
                              struct error_text *error)
{
    const ProtobufCServiceDescriptor *service = &parley__bus__v1__bus__descriptor;
    if (ask->method >= METHOD_COUNT || !methods[ask->method].handle) {
        error_set(error, 0, "this broker does not serve %s",
                  ask->method < METHOD_COUNT ? methods[ask->method].name : "that method");
        return PARLEY_UNIMPLEMENTED;
    }
    ProtobufCMessage *message;
    int r = wire_unpack(service->methods[ask->method].input, ask->payload, ask->payload_bytes, NULL,
                        &message, error);
    if (r < 0) {
        error_prefix(error, r, "the request of %s", methods[ask->method].name);
        return r == -ENOMEM ? PARLEY_RESOURCE_EXHAUSTED : PARLEY_INVALID_ARGUMENT;
    }
    enum parley_status status = may(call, ask->method, message, error)
                                    ? methods[ask->method].handle(call, message, error)
                                    : PARLEY_PERMISSION_DENIED;
    wire_free(message);
    return status;
}

static enum parley_status call_new(struct broker *broker, const struct relay_ask *ask,
                                   struct front_self_call **ret, struct error_text *error)
{
    struct front_self *self = broker->front_self;
    struct front_self_call *call =
        self->call_count < FRONT_SELF_CALL_MAX ? calloc(1, sizeof(*call)) : NULL;
    if (!call) {
        error_set(error, 0, "%u calls of the broker are under way: try again later",
                  self->call_count);
        return PARLEY_RESOURCE_EXHAUSTED;
    }
    self->call_count++;
    uint64_t timeout_ns = ask->timeout_ns ? ask->timeout_ns : TIMEOUT_NS;
    call->broker = broker;
    call->deadline_ns =
        clock_now_ns() + (timeout_ns < TIMEOUT_NS_MAX ? timeout_ns : TIMEOUT_NS_MAX);
    call->one_way = ask->one_way;
    if (ask->peer)
        call->peer = *ask->peer;
    call->room = ask->room;
    call->on_end = ask->ended;
    call->userdata = ask->userdata;
    *ret = call;
    return PARLEY_OK;
}

uint64_t front_self_start(struct broker *broker, const struct relay_ask *ask,
                          enum parley_status *ret_status, struct error_text *error)
{
    struct front_self *self = broker->front_self;
    struct front_self_call *call;
    *ret_status = call_new(broker, ask, &call, error);
    if (*ret_status != PARLEY_OK)
        return 0;
    *ret_status = run(call, ask, error);
    if (*ret_status != PARLEY_OK) {
        call_free(call);
        return 0;
    }
    call->number = (uint64_t)++self->number_last << 32 | NUMBER_MARK;
    if (call->answered)
        TAILQ_INSERT_TAIL(&self->ended, call, entry);
    else
        TAILQ_INSERT_TAIL(&self->waiting, call, entry);
    return call->number;
}

bool front_self_has(uint64_t call)
{
    return call & NUMBER_MARK;
}

enum parley_status front_self_cancel(struct broker *broker, uint64_t number)
{
    struct front_self *self = broker->front_self;
    struct front_self_call *call;
    TAILQ_FOREACH (call, &self->waiting, entry) {
        if (call->number == number) {
            drop(call, PARLEY_CANCELLED, "the caller cancelled it");
            return PARLEY_OK;
        }
    }
    return PARLEY_NOT_FOUND;
}

/* ---- Turning ---- */

uint64_t front_self_next_deadline_ns(const struct broker *broker)
{
    const struct front_self *self = broker->front_self;
    uint64_t deadline = CLOCK_NEVER;
    if (!self)
        return deadline;
    if (!TAILQ_EMPTY(&self->ended))
        return 0;
    const struct front_self_call *call;
    TAILQ_FOREACH (call, &self->waiting, entry) {
        if (call->deadline_ns < deadline)
            deadline = call->deadline_ns;
    }
    const struct front_contract *unused = TAILQ_FIRST(&self->unused);
    if (unused && unused->used_at_ns + FRONT_CONTRACT_IDLE_NS < deadline)
        deadline = unused->used_at_ns + FRONT_CONTRACT_IDLE_NS;
    return deadline;
}

static void expire(struct broker *broker, uint64_t now_ns)
{
    struct front_self *self = broker->front_self;
    struct front_self_call *call, *next;
    for (call = TAILQ_FIRST(&self->waiting); call; call = next) {
        next = TAILQ_NEXT(call, entry);
        if (call->deadline_ns <= now_ns)
            drop(call, PARLEY_DEADLINE_EXCEEDED, "no answer before the deadline");
    }
    struct front_contract *unused;
    while ((unused = TAILQ_FIRST(&self->unused)) &&
           unused->used_at_ns + FRONT_CONTRACT_IDLE_NS <= now_ns)
        contract_forget(broker, unused);
}

static void tell_ended(struct front_self *self)
{
    struct front_self_call *call;
    while ((call = TAILQ_FIRST(&self->ended))) {
        TAILQ_REMOVE(&self->ended, call, entry);
        call_tell(call);
    }
}

void front_self_tell(struct broker *broker)
{
    if (broker->front_self)
        tell_ended(broker->front_self);
}

void front_self_turn(struct broker *broker)
{
    struct front_self *self = broker->front_self;
    uint64_t deadline = front_self_next_deadline_ns(broker);
    if (deadline == CLOCK_NEVER)
        return;
    tell_ended(self);
    uint64_t now_ns = clock_now_ns();
    if (deadline <= now_ns)
        expire(broker, now_ns);
}

void front_self_free(struct broker *broker)
{
    struct front_self *self = broker->front_self;
    struct front_self_call *call;
    if (!self)
        return;
    while ((call = TAILQ_FIRST(&self->waiting)))
        drop(call, PARLEY_CANCELLED, "the broker ends");
    tell_ended(self);
    while (!TAILQ_EMPTY(&self->unused))
        contract_forget(broker, TAILQ_FIRST(&self->unused));
    if (self->schema)
        schema_entry_drop(&broker->negotiator, self->schema);
    free(self);
    broker->front_self = NULL;
}
