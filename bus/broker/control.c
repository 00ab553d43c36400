/*
 * The control API: one ControlRequest in, one ControlReply out, whoever asks and from wherever. It
 * knows nothing of NNG but that a call's answer comes later.
 *
 * What is wrong with a request is said in the reply: a status, and a sentence with what would have
 * been right. A request that is no ControlRequest gets an answer, too.
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "broker/relay.h"
#include "broker/guard.h"
#include "broker/rollouts.h"
#include "wire/wire.h"

int control_pack(const Parley__ControlReply *reply, uint8_t **ret_data, size_t *ret_bytes)
{
    size_t bytes = parley__control_reply__get_packed_size(reply);
    uint8_t *data = malloc(bytes ? bytes : 1);
    if (!data)
        return -ENOMEM;
    *ret_bytes = parley__control_reply__pack(reply, data);
    *ret_data = data;
    return 0;
}

static void fail(Parley__ControlReply *reply, enum parley_status status, struct error_text *error,
                 const char *text)
{
    reply->status = status;
    if (text)
        error_set(error, 0, "%s", text);
    reply->text = error->text;
}

/* ---- List ---- */

/* Everything a list holds, to be freed in one go. */
struct block {
    struct block *next;
    max_align_t data[];
};
struct blocks {
    struct block *first;
    bool failed;
};

/* Zeroed; never NULL unless blocks->failed. */
static void *take(struct blocks *blocks, size_t bytes)
{
    struct block *block = calloc(1, sizeof(*block) + bytes + 1);
    if (!block) {
        blocks->failed = true;
        return NULL;
    }
    block->next = blocks->first;
    blocks->first = block;
    return block->data;
}

static void free_blocks(struct blocks *blocks)
{
    while (blocks->first) {
        struct block *next = blocks->first->next;
        free(blocks->first);
        blocks->first = next;
    }
}

/* Whether a process of this machine is behind it: of a REP socket that came by tcp:// nobody knows
 * user and process. */
static bool is_local(const struct endpoint *endpoint)
{
    return endpoint->peer.uid != (uid_t)-1;
}

static void list_instances(struct blocks *blocks, const struct version *version,
                           Parley__VersionInfo *info)
{
    Parley__InstanceInfo *infos = take(blocks, version->instance_count * sizeof(*infos));
    info->instance = take(blocks, version->instance_count * sizeof(*info->instance));
    const struct instance *instance;
    if (blocks->failed)
        return;
    LIST_FOREACH (instance, &version->instances, version_entry) {
        Parley__InstanceInfo *out = &infos[info->n_instance];
        parley__instance_info__init(out);
        out->has_instance_id = out->has_draining = true;
        out->instance_id = instance->id;
        out->endpoint = instance->endpoint->name;
        out->has_pid = out->has_uid = is_local(instance->endpoint);
        out->pid = out->has_pid ? (uint32_t)instance->endpoint->peer.pid : 0;
        out->uid = out->has_uid ? instance->endpoint->peer.uid : 0;
        out->draining = instance->draining;
        out->has_ejected = true;
        out->ejected = instance->eject.ejected;
        info->instance[info->n_instance++] = out;
    }
}

static void list_methods(struct blocks *blocks, const struct schema_service *service,
                         Parley__VersionInfo *info)
{
    info->service = (char *)(uintptr_t)service->name;
    info->method = take(blocks, service->method_count * sizeof(*info->method));
    if (blocks->failed)
        return;
    for (size_t i = 0; i < service->method_count; i++)
        info->method[info->n_method++] = (char *)(uintptr_t)service->methods[i].name;
}

static void list_versions(struct blocks *blocks, const struct interface *interface,
                          Parley__InterfaceInfo *info)
{
    uint32_t shares[ROUTE_VERSION_MAX];
    weights_effective(interface, shares);
    Parley__VersionInfo *infos = take(blocks, ROUTE_VERSION_MAX * sizeof(*infos));
    info->version = take(blocks, ROUTE_VERSION_MAX * sizeof(*info->version));
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX && !blocks->failed; i++) {
        const struct version *version = interface->versions[i];
        if (!version || (version->instance_count == 0 && version->weight == 0))
            continue;
        Parley__VersionInfo *out = &infos[info->n_version];
        parley__version_info__init(out);
        out->version = (char *)(uintptr_t)version->name;
        out->has_weight_per_100000 = true;
        out->weight_per_100000 = shares[i];
        if (version->schema)
            list_methods(blocks, schema_service(version->schema->schema), out);
        list_instances(blocks, version, out);
        info->version[info->n_version++] = out;
    }
}

/* Without the broker's own. */
static uint32_t clients_of(const struct interface *interface)
{
    uint32_t count = 0;
    const struct contract *contract;
    LIST_FOREACH (contract, &interface->contracts, interface_entry)
        count += !contract->endpoint->internal;
    return count;
}

#define LIST_OFFER_MAX 64

/* One for each pair of versions, and class: contents of a version may differ. NULL: no room. */
static Parley__OfferInfo *offer_info(Parley__InterfaceInfo *info, Parley__OfferInfo *infos,
                                     const char *client_version, const char *version,
                                     uint32_t translation)
{
    for (size_t i = 0; i < info->n_offer; i++)
        if (infos[i].translation == translation && strcmp(infos[i].version, version) == 0 &&
            strcmp(infos[i].client_version, client_version) == 0)
            return &infos[i];
    if (info->n_offer == LIST_OFFER_MAX)
        return NULL;
    Parley__OfferInfo *out = &infos[info->n_offer];
    parley__offer_info__init(out);
    out->has_translation = out->has_clients = true;
    out->client_version = (char *)(uintptr_t)client_version;
    out->version = (char *)(uintptr_t)version;
    out->translation = translation;
    info->offer[info->n_offer++] = out;
    return out;
}

static void list_path(struct blocks *blocks, const struct bridge *bridge, Parley__OfferInfo *info)
{
    if (!bridge || bridge->path.count <= 2 || info->over)
        return;
    info->over = take(blocks, bridge->path.count * sizeof(*info->over));
    for (size_t i = 1; i + 1 < bridge->path.count && info->over; i++)
        info->over[info->n_over++] =
            schema_service(bridge->path.entries[i]->schema)->interface->version;
}

static void list_offers(struct blocks *blocks, const struct interface *interface,
                        Parley__InterfaceInfo *info)
{
    Parley__OfferInfo *infos = take(blocks, LIST_OFFER_MAX * sizeof(*infos));
    info->offer = take(blocks, LIST_OFFER_MAX * sizeof(*info->offer));
    const struct contract *contract;
    if (blocks->failed)
        return;
    LIST_FOREACH (contract, &interface->contracts, interface_entry) {
        const char *own = schema_service(contract->schema->schema)->interface->version;
        for (size_t i = 0; i < contract->offer_count && !contract->endpoint->internal; i++) {
            const struct offer *offer = &contract->offers[i];
            Parley__OfferInfo *out =
                offer_info(info, infos, own, offer->version->name,
                           offer->bridge ? offer->bridge->class : PLAN_IDENTITY);
            if (!out)
                continue;
            out->clients++;
            list_path(blocks, offer->bridge, out);
        }
    }
}

static void list_interfaces(struct blocks *blocks, struct broker *broker, const char *only,
                            Parley__ListReply *list)
{
    Parley__InterfaceInfo *infos = take(blocks, ROUTE_SLOT_MAX * sizeof(*infos));
    list->interface = take(blocks, ROUTE_SLOT_MAX * sizeof(*list->interface));
    for (const struct interface *i = broker->directory.interfaces; i && !blocks->failed;
         i = i->hh.next) {
        if (i->slot < 0)
            continue; /* asked for, never published */
        if (only && strcmp(only, i->name) != 0)
            continue;
        Parley__InterfaceInfo *out = &infos[list->n_interface];
        parley__interface_info__init(out);
        out->name = (char *)(uintptr_t)i->name;
        out->has_clients = out->has_route_generation = true;
        out->clients = clients_of(i);
        out->route_generation = i->generation;
        list_versions(blocks, i, out);
        list_offers(blocks, i, out);
        list->interface[list->n_interface++] = out;
    }
}

static void list_endpoints(struct blocks *blocks, struct broker *broker, Parley__ListReply *list)
{
    Parley__EndpointInfo *infos = take(blocks, broker->endpoint_count * sizeof(*infos));
    list->endpoint = take(blocks, broker->endpoint_count * sizeof(*list->endpoint));
    struct endpoint *endpoint;
    if (blocks->failed)
        return;
    TAILQ_FOREACH (endpoint, &broker->endpoints, entry) {
        if (endpoint->internal)
            continue;
        Parley__EndpointInfo *out = &infos[list->n_endpoint];
        parley__endpoint_info__init(out);
        out->has_endpoint_id = out->has_contracts = out->has_instances = true;
        out->endpoint_id = endpoint->id;
        out->name = endpoint->name;
        out->has_pid = out->has_uid = is_local(endpoint);
        out->pid = out->has_pid ? (uint32_t)endpoint->peer.pid : 0;
        out->uid = out->has_uid ? endpoint->peer.uid : 0;
        out->contracts = endpoint->contract_count;
        out->instances = endpoint->instance_count;
        list->endpoint[list->n_endpoint++] = out;
    }
}

/* @only: NULL: all interfaces, and endpoints */
static void fill_list(struct blocks *blocks, struct broker *broker, const char *only,
                      Parley__ListReply *list)
{
    parley__list_reply__init(list);
    list->has_broker_id = true;
    list->broker_id = broker->id;
    list_interfaces(blocks, broker, only, list);
    if (!only)
        list_endpoints(blocks, broker, list);
}

int control_list(struct broker *broker, const Parley__ListRequest *request,
                 void (*with)(void *data, const Parley__ListReply *list), void *data)
{
    struct blocks blocks = {0};
    Parley__ListReply list;
    fill_list(&blocks, broker, request->interface, &list);
    int r = blocks.failed ? -ENOMEM : 0;
    if (r == 0)
        with(data, &list);
    free_blocks(&blocks);
    return r;
}

static int on_list(struct broker *broker, const Parley__ListRequest *request,
                   Parley__ControlReply *reply, uint8_t **ret_data, size_t *ret_bytes)
{
    struct blocks blocks = {0};
    Parley__ListReply list;
    fill_list(&blocks, broker, request->interface, &list);
    reply->body_case = PARLEY__CONTROL_REPLY__BODY_LIST;
    reply->list = &list;
    int r = blocks.failed ? -ENOMEM : control_pack(reply, ret_data, ret_bytes);
    free_blocks(&blocks);
    return r;
}

char *control_list_json(struct broker *broker)
{
    struct blocks blocks = {0};
    Parley__ListReply list;
    fill_list(&blocks, broker, NULL, &list);
    char *text = blocks.failed ? NULL : list_json(&list, broker->allow_control);
    free_blocks(&blocks);
    return text;
}

/* ---- Stats ---- */

static int on_stats(struct broker *broker, const Parley__StatsRequest *request,
                    Parley__ControlReply *reply, uint8_t **ret_data, size_t *ret_bytes)
{
    Parley__Stats stats;
    int r = stats_reply(broker, request->json, &stats);
    if (r < 0)
        return r;
    reply->body_case = PARLEY__CONTROL_REPLY__BODY_STATS;
    reply->stats = &stats;
    r = control_pack(reply, ret_data, ret_bytes);
    stats_reply_free(&stats);
    return r;
}

/* ---- Route ---- */

/* Fills in @weights by the index of the version. */
static enum parley_status read_weights(struct interface *interface,
                                       const Parley__RouteRequest *request,
                                       double weights[ROUTE_VERSION_MAX], struct error_text *error)
{
    bool named[ROUTE_VERSION_MAX] = {false};
    for (size_t i = 0; i < request->n_weight; i++) {
        const Parley__RouteWeight *weight = request->weight[i];
        const char *name = weight->version ? weight->version : "";
        const struct version *version = lookup_version(interface, name, error);
        if (!version)
            return PARLEY_NOT_FOUND;
        if (named[version->index]) {
            error_set(error, 0, "%s has two weights: give it one", version->name);
            return PARLEY_INVALID_ARGUMENT;
        }
        named[version->index] = true;
        weights[version->index] = weight->weight;
    }
    return PARLEY_OK;
}

static enum parley_status set_route(struct broker *broker, struct interface *interface,
                                    const Parley__RouteRequest *request, struct error_text *error)
{
    double weights[ROUTE_VERSION_MAX] = {0};
    uint32_t shares[ROUTE_VERSION_MAX];
    enum parley_status status = read_weights(interface, request, weights, error);
    if (status != PARLEY_OK)
        return status;
    if (weights_normalise(weights, ROUTE_VERSION_MAX, shares) < 0) {
        error_set(error, 0, "weights must be 0 or more, finite, and not all 0");
        return PARLEY_INVALID_ARGUMENT;
    }
    bool changed = !interface->routed || routes_rollout(interface);
    routes_rollout_free(broker, interface); /* else its buckets would count, not these weights */
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++) {
        struct version *version = interface->versions[i];
        if (!version)
            continue;
        changed = changed || version->weight != shares[i];
        version->weight = shares[i];
    }
    interface->routed = true;
    if (!changed)
        return PARLEY_OK;
    interface->generation++;
    routes_write(&broker->routes, interface);
    return PARLEY_OK;
}

static void route_event(struct broker *broker, const struct interface *interface)
{
    char shares[256];
    size_t used = 0;
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX && used < sizeof(shares); i++) {
        const struct version *version = interface->versions[i];
        if (!version || (version->weight == 0 && version->instance_count == 0))
            continue;
        int n = snprintf(shares + used, sizeof(shares) - used, "%s%s %g %%", used ? ", " : "",
                         version->name, version->weight * 100.0 / ROUTE_BUCKETS);
        used += n > 0 ? (size_t)n : 0;
    }
    const struct event event = {.topic = "route", .interface = interface->name};
    event_publish(broker, &event, "%s is routed: %s", interface->name, shares);
}

static enum parley_status route_by_hand(struct broker *broker, struct interface *interface,
                                        const Parley__RouteRequest *request,
                                        const struct replier_request *asker,
                                        struct error_text *error)
{
    char who[ROLLOUT_WHO_BYTES_MAX + 1];
    enum parley_status status = rollouts_who(asker, who, error);
    if (status == PARLEY_OK)
        status = rollouts_allow_route(broker, interface, request->force, error);
    if (status == PARLEY_OK)
        status = set_route(broker, interface, request, error);
    if (status != PARLEY_OK)
        return status;
    rollouts_route_set(broker, interface, who);
    return PARLEY_OK;
}

static int on_route(struct broker *broker, const Parley__RouteRequest *request,
                    const struct replier_request *asker, Parley__ControlReply *reply,
                    uint8_t **ret_data, size_t *ret_bytes)
{
    struct error_text error = {""};
    struct interface *interface = lookup_interface(broker, request->interface, &error);
    enum parley_status status = interface ? PARLEY_OK : PARLEY_NOT_FOUND;
    if (interface && request->n_weight > 0) {
        uint64_t before = interface->generation;
        status = route_by_hand(broker, interface, request, asker, &error);
        if (status == PARLEY_OK && interface->generation != before)
            route_event(broker, interface);
    }
    if (status != PARLEY_OK) {
        fail(reply, status, &error, NULL);
        return control_pack(reply, ret_data, ret_bytes);
    }
    Parley__RouteWeight weights[ROUTE_VERSION_MAX];
    Parley__RouteWeight *pointers[ROUTE_VERSION_MAX];
    Parley__RouteReply route = PARLEY__ROUTE_REPLY__INIT;
    route.interface = interface->name;
    route.has_generation = true;
    route.generation = interface->generation;
    route.weight = pointers;
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++) {
        const struct version *version = interface->versions[i];
        if (!version || (version->weight == 0 && version->instance_count == 0))
            continue;
        Parley__RouteWeight *out = &weights[route.n_weight];
        parley__route_weight__init(out);
        out->version = (char *)(uintptr_t)version->name;
        out->has_weight = true;
        out->weight = version->weight * 100.0 / ROUTE_BUCKETS;
        pointers[route.n_weight++] = out;
    }
    reply->body_case = PARLEY__CONTROL_REPLY__BODY_ROUTE;
    reply->route = &route;
    return control_pack(reply, ret_data, ret_bytes);
}

/* ---- Describe ---- */

enum parley_status control_describe(struct broker *broker, const Parley__DescribeRequest *request,
                                    Parley__DescribeReply *ret, struct error_text *error)
{
    struct schema_entry *entry;
    enum parley_status status =
        relay_find(broker, request->interface, request->version, &entry, error);
    if (status != PARLEY_OK)
        return status;
    const struct schema_service *service = schema_service(entry->schema);
    parley__describe_reply__init(ret);
    ret->interface = (char *)(uintptr_t)service->interface->name;
    ret->version = (char *)(uintptr_t)service->interface->version;
    ret->service = (char *)(uintptr_t)service->name;
    ret->has_descriptor_set = true;
    ret->descriptor_set.data =
        (uint8_t *)(uintptr_t)schema_set(entry->schema, &ret->descriptor_set.len);
    return PARLEY_OK;
}

static int on_describe(struct broker *broker, const Parley__DescribeRequest *request,
                       Parley__ControlReply *reply, uint8_t **ret_data, size_t *ret_bytes)
{
    struct error_text error = {""};
    Parley__DescribeReply describe;
    enum parley_status status = control_describe(broker, request, &describe, &error);
    if (status != PARLEY_OK) {
        fail(reply, status, &error, NULL);
        return control_pack(reply, ret_data, ret_bytes);
    }
    reply->body_case = PARLEY__CONTROL_REPLY__BODY_DESCRIBE;
    reply->describe = &describe;
    return control_pack(reply, ret_data, ret_bytes);
}

/* ---- All of them ---- */

static int on_call(struct broker *broker, const Parley__CallRequest *request,
                   struct replier_request *asker, Parley__ControlReply *reply, uint8_t **ret_data,
                   size_t *ret_bytes)
{
    struct error_text error = {""};
    enum parley_status status = control_call(broker, request, asker, &error);
    if (status == PARLEY_OK)
        return CONTROL_E_LATER;
    Parley__CallReply call = PARLEY__CALL_REPLY__INIT;
    call.has_executed = true;
    call.executed = PARLEY_EXECUTED_NO;
    fail(reply, status, &error, NULL);
    reply->body_case = PARLEY__CONTROL_REPLY__BODY_CALL;
    reply->call = &call;
    return control_pack(reply, ret_data, ret_bytes);
}

static int dispatch(struct broker *broker, const Parley__ControlRequest *request,
                    struct replier_request *asker, uint8_t **ret_data, size_t *ret_bytes)
{
    struct error_text error = {""};
    Parley__ControlReply reply = PARLEY__CONTROL_REPLY__INIT;
    reply.has_status = true;
    reply.status = PARLEY_OK;
    if (!guard_allows_control(broker, request, asker, &error)) {
        fail(&reply, PARLEY_PERMISSION_DENIED, &error, NULL);
        return control_pack(&reply, ret_data, ret_bytes);
    }
    switch (request->body_case) {
    case PARLEY__CONTROL_REQUEST__BODY_LIST:
        return on_list(broker, request->list, &reply, ret_data, ret_bytes);
    case PARLEY__CONTROL_REQUEST__BODY_STATS:
        return on_stats(broker, request->stats, &reply, ret_data, ret_bytes);
    case PARLEY__CONTROL_REQUEST__BODY_ROUTE:
        return on_route(broker, request->route, asker, &reply, ret_data, ret_bytes);
    case PARLEY__CONTROL_REQUEST__BODY_DESCRIBE:
        return on_describe(broker, request->describe, &reply, ret_data, ret_bytes);
    case PARLEY__CONTROL_REQUEST__BODY_SCHEMAS:
        return control_schemas(broker, request->schemas, &reply, ret_data, ret_bytes);
    case PARLEY__CONTROL_REQUEST__BODY_EVENTS:
        return control_events(broker, request->events, &reply, ret_data, ret_bytes);
    case PARLEY__CONTROL_REQUEST__BODY_ROLLOUT:
        return control_rollout(broker, request->rollout, asker, &reply, ret_data, ret_bytes);
    case PARLEY__CONTROL_REQUEST__BODY_TRACE:
        return control_trace(broker, request->trace, &reply, ret_data, ret_bytes);
    case PARLEY__CONTROL_REQUEST__BODY_DRAIN:
        return control_drain(broker, request->drain, &reply, ret_data, ret_bytes);
    case PARLEY__CONTROL_REQUEST__BODY_PUBLISH:
        return control_publish(broker, request->publish, asker, &reply, ret_data, ret_bytes);
    case PARLEY__CONTROL_REQUEST__BODY_WITHDRAW:
        return control_withdraw(broker, request->withdraw, asker, &reply, ret_data, ret_bytes);
    case PARLEY__CONTROL_REQUEST__BODY_CALL:
        return on_call(broker, request->call, asker, &reply, ret_data, ret_bytes);
    default:
        fail(&reply, PARLEY_UNIMPLEMENTED, &error,
             "the request is empty, or of a kind that this broker does not know");
        return control_pack(&reply, ret_data, ret_bytes);
    }
}

int control_handle(struct broker *broker, const uint8_t *data, size_t bytes,
                   struct replier_request *request, uint8_t **ret_data, size_t *ret_bytes)
{
    struct error_text error = {""};
    ProtobufCMessage *message;
    int r = wire_unpack(&parley__control_request__descriptor, data, bytes, NULL, &message, &error);
    if (r == -ENOMEM)
        return r;
    if (r < 0) {
        error_prefix(&error, r, "the request is no ControlRequest");
        log_warn("control: %s", error.text);
        Parley__ControlReply reply = PARLEY__CONTROL_REPLY__INIT;
        reply.has_status = true;
        fail(&reply, PARLEY_INVALID_ARGUMENT, &error, NULL);
        r = control_pack(&reply, ret_data, ret_bytes);
        if (r == 0)
            audit_control(broker, NULL, request, *ret_data, *ret_bytes);
        return r;
    }
    const Parley__ControlRequest *asked = (const Parley__ControlRequest *)message;
    r = dispatch(broker, asked, request, ret_data, ret_bytes);
    if (r == 0)
        audit_control(broker, asked, request, *ret_data, *ret_bytes);
    wire_free(message);
    return r;
}
