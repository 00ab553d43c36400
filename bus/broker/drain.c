/*
 * Draining: an operator takes an instance out of service, and no call is lost.
 *
 * What happens is what happens when an instance withdraws by itself. The route page says first that
 * it is draining, so that every client's next call goes elsewhere; clients are told that it is
 * gone; then the instance gets the order (Drain), says GOAWAY on its channels, answers what it has,
 * and tells us that it has drained. It stays published, as draining, until its process ends or the
 * order is taken back. Nothing waits here: who asked looks again.
 *
 * Orders are numbered: an answer to an order that was taken back meanwhile is worth nothing.
 *
 * The last instance of an interface that is up is drained only if the operator insists, for there
 * is nowhere that its calls could go.
 */
#include "broker/broker.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- One instance ---- */

static void send_order(struct broker *broker, struct instance *instance, bool undo)
{
    instance->drain_order = ++broker->drain_last;
    Parley__Drain body = PARLEY__DRAIN__INIT;
    body.has_instance_id = body.has_order = body.has_undo = true;
    body.instance_id = instance->id;
    body.order = instance->drain_order;
    body.undo = undo;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_DRAIN;
    message.drain = &body;
    (void)session_send(instance->endpoint, &message, NULL, 0);
}

/* One that is draining by itself is left alone. */
static void begin(struct broker *broker, struct instance *instance)
{
    if (instance->draining)
        return;
    instance_drain(broker, instance);
    send_order(broker, instance, false);
}

/* The order first: what clients do then comes behind it on the same link. */
static void undo(struct broker *broker, struct instance *instance)
{
    if (!instance->draining)
        return;
    send_order(broker, instance, true);
    instance->draining = instance->drained = false;
    instance->version->draining_count--;
    routes_write(&broker->routes, instance->version->interface);
    instance_event(broker, "instance.up", instance, "is up again");
    contracts_instance_up(broker, instance);
}

void drain_done(struct broker *broker, struct instance *instance, uint64_t order)
{
    bool ours =
        instance->drain_order == 0 || order == instance->drain_order; /* 0: a broker's before us */
    if (!instance->draining || instance->drained || !ours)
        return;
    instance->drained = true;
    instance_event(broker, "instance.drained", instance, "has drained");
}

/* ---- Those that a request names ---- */

static bool has_id(const Parley__DrainRequest *request, uint64_t id)
{
    for (size_t i = 0; i < request->n_instance_id; i++)
        if (request->instance_id[i] == id)
            return true;
    return request->n_instance_id == 0;
}

static bool is_named(const Parley__DrainRequest *request, const struct instance *instance)
{
    const struct endpoint *endpoint = instance->endpoint;
    return !endpoint->doomed && has_id(request, instance->id) &&
           (!request->has_pid || request->pid == (uint32_t)endpoint->peer.pid) &&
           (!request->endpoint || strcmp(request->endpoint, endpoint->name) == 0) &&
           (!request->interface ||
            strcmp(request->interface, instance->version->interface->name) == 0);
}

struct named {
    struct instance **instances;
    size_t count;
};

static int find_named(const struct broker *broker, const Parley__DrainRequest *request,
                      struct named *ret)
{
    unsigned count = HASH_COUNT(broker->directory.instances);
    ret->count = 0;
    ret->instances = calloc(count + 1, sizeof(struct instance *));
    if (!ret->instances)
        return -ENOMEM;
    for (struct instance *i = broker->directory.instances; i; i = i->hh.next)
        if (is_named(request, i))
            ret->instances[ret->count++] = i;
    return 0;
}

/* How many of the interface would still be up. */
static size_t left_up(const struct interface *interface, const struct named *named)
{
    size_t up = 0;
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++)
        if (interface->versions[i])
            up += interface->versions[i]->instance_count - interface->versions[i]->draining_count;
    for (size_t i = 0; i < named->count; i++)
        up -=
            named->instances[i]->version->interface == interface && !named->instances[i]->draining;
    return up;
}

/* ---- The request ---- */

static enum parley_status check(const Parley__DrainRequest *request, const struct named *named,
                                struct error_text *error)
{
    if (request->n_instance_id == 0 && !request->endpoint && !request->has_pid) {
        error_set(error, 0, "say which: an instance's id, an endpoint's name or a pid");
        return PARLEY_INVALID_ARGUMENT;
    }
    if (request->n_instance_id > DRAIN_INSTANCE_MAX) {
        error_set(error, 0, "%zu ids: at most %d", request->n_instance_id, DRAIN_INSTANCE_MAX);
        return PARLEY_INVALID_ARGUMENT;
    }
    bool look = request->action == PARLEY__DRAIN_ACTION__LOOK;
    if (named->count == 0 && !(look && request->n_instance_id > 0)) {
        error_set(error, 0, "no instance is named so; parley ls shows what there is");
        return PARLEY_NOT_FOUND;
    }
    if (request->action != PARLEY__DRAIN_ACTION__BEGIN || request->force)
        return PARLEY_OK;
    for (size_t i = 0; i < named->count; i++) {
        const struct instance *instance = named->instances[i];
        const struct interface *interface = instance->version->interface;
        if (instance->draining || left_up(interface, named) > 0)
            continue;
        error_set(error, 0,
                  "no other instance of %s is up: its calls would end as UNAVAILABLE; start one "
                  "first, or insist (--force)",
                  interface->name);
        return PARLEY_FAILED_PRECONDITION;
    }
    return PARLEY_OK;
}

static void act(struct broker *broker, const Parley__DrainRequest *request,
                const struct named *named)
{
    for (size_t i = 0; i < named->count; i++) {
        if (request->action == PARLEY__DRAIN_ACTION__BEGIN)
            begin(broker, named->instances[i]);
        else if (request->action == PARLEY__DRAIN_ACTION__UNDO)
            undo(broker, named->instances[i]);
    }
}

static void fill_info(const struct instance *instance, Parley__DrainInfo *info)
{
    info->instance_id = instance->id;
    info->interface = instance->version->interface->name;
    info->version = instance->version->name;
    info->endpoint = instance->endpoint->name;
    info->has_pid = true;
    info->pid = (uint32_t)instance->endpoint->peer.pid;
    info->state = instance->drained    ? PARLEY__DRAIN_STATE__DRAINED
                  : instance->draining ? PARLEY__DRAIN_STATE__DRAINING
                                       : PARLEY__DRAIN_STATE__SERVING;
}

/* What is named, and with LOOK the ids that are gone. */
static int answer(struct broker *broker, const Parley__DrainRequest *request,
                  const struct named *named, Parley__ControlReply *reply, uint8_t **ret_data,
                  size_t *ret_bytes)
{
    size_t max = named->count + request->n_instance_id;
    Parley__DrainInfo *infos = calloc(max + 1, sizeof(*infos));
    Parley__DrainInfo **pointers = calloc(max + 1, sizeof(*pointers));
    Parley__DrainReply drain = PARLEY__DRAIN_REPLY__INIT;
    int r = -ENOMEM;
    if (infos && pointers) {
        for (size_t i = 0; i < max; i++) {
            Parley__DrainInfo *info = &infos[drain.n_instance];
            parley__drain_info__init(info);
            info->has_instance_id = info->has_state = true;
            if (i < named->count) {
                fill_info(named->instances[i], info);
            } else {
                info->instance_id = request->instance_id[i - named->count];
                info->state = PARLEY__DRAIN_STATE__GONE;
                if (directory_instance(&broker->directory, info->instance_id))
                    continue;
            }
            pointers[drain.n_instance++] = info;
        }
        drain.instance = pointers;
        reply->body_case = PARLEY__CONTROL_REPLY__BODY_DRAIN;
        reply->drain = &drain;
        r = control_pack(reply, ret_data, ret_bytes);
    }
    free(infos);
    free(pointers);
    return r;
}

int control_drain(struct broker *broker, const Parley__DrainRequest *request,
                  Parley__ControlReply *reply, uint8_t **ret_data, size_t *ret_bytes)
{
    struct error_text error = {""};
    struct named named;
    int r = find_named(broker, request, &named);
    if (r < 0)
        return r;
    enum parley_status status = check(request, &named, &error);
    if (status == PARLEY_OK) {
        act(broker, request, &named);
        r = answer(broker, request, &named, reply, ret_data, ret_bytes);
    } else {
        reply->status = status;
        reply->text = error.text;
        r = control_pack(reply, ret_data, ret_bytes);
    }
    free(named.instances);
    return r;
}
