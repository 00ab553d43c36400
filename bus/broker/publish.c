/*
 * Publishing: how an instance comes onto the bus, drains, and goes.
 *
 * What is published is checked against its own descriptor set before anybody hears of it, and
 * against what is there: one version is one schema for as long as anybody serves it. The order of
 * the rest is what readers see: the route page first, then the answer to the service, then the
 * clients; so that nobody is told of an instance that the page does not have yet.
 *
 * An instance may bring the weights that it saw of a broker before us (routes.c).
 */
#include "broker/broker.h"
#include "broker/front.h"

#include <errno.h>

#include "base/clock.h"
#include "broker/guard.h"
#include "broker/health.h"

/* ---- Instances that come and go ---- */

void instance_event(struct broker *broker, const char *topic, const struct instance *instance,
                    const char *what)
{
    const struct interface *interface = instance->version->interface;
    const struct event event = {
        .topic = topic,
        .interface = interface->name,
        .version = instance->version->name,
        .instance_id = instance->id,
        .pid = instance->endpoint->peer.pid,
    };
    event_publish(broker, &event, "%s %s of %s (pid %d) %s", interface->name,
                  instance->version->name, instance->endpoint->name,
                  (int)instance->endpoint->peer.pid, what);
}

void session_instance_gone(struct broker *broker, struct instance *instance, const char *why)
{
    const struct instance was = *instance;
    directory_instance_remove(&broker->directory, instance);
    if (was.endpoint->account)
        was.endpoint->account->instances--;
    routes_write(&broker->routes, was.version->interface);
    if (!broker->stopping)
        swap_go_on(broker);
    if (!was.draining)
        contracts_instance_gone(broker, &was);
    health_on_gone(broker);
    if (!broker->stopping)
        instance_event(broker, "instance.gone", &was, why);
}

void instance_drain(struct broker *broker, struct instance *instance)
{
    instance->draining = true;
    broker->directory.changes++;
    instance->version->draining_count++;
    routes_write(&broker->routes, instance->version->interface);
    contracts_instance_gone(broker, instance);
    instance_event(broker, "instance.drain", instance, "is draining");
}

/* ---- Publishing ---- */

void session_say_published(struct endpoint *endpoint, uint64_t instance_id,
                           enum parley_status status, const char *text, int32_t slot)
{
    Parley__Published body = PARLEY__PUBLISHED__INIT;
    body.has_instance_id = true;
    body.instance_id = instance_id;
    body.has_status = true;
    body.status = status;
    body.text = status == PARLEY_OK ? NULL : (char *)(uintptr_t)text;
    body.has_route_slot = slot >= 0;
    body.route_slot = slot >= 0 ? (uint32_t)slot : 0;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_PUBLISHED;
    message.published = &body;
    (void)session_send(endpoint, &message, NULL, 0);
}

/* Its rules are in force from now on, if the clients that there are can live with them. */
static int try_rules(struct broker *broker, const struct version *version,
                     struct schema_entry *schema, struct error_text *error)
{
    uint64_t before = schema->published;
    registry_published(&broker->negotiator, schema);
    int r = swap_possible(broker, version, schema, error);
    if (r < 0) {
        schema->published = before;
        broker->negotiator.generation++;
    }
    return r;
}

/* Whether a schema may be published while another content of its version is served. An instance
 * that comes back with an older content is welcome, too, but changes nothing: *ret_follows. */
static int may_join(struct broker *broker, const struct version *version,
                    struct schema_entry *schema, bool *ret_follows, struct error_text *error)
{
    const struct schema_entry *before = version->schema;
    struct error_text backwards = {""};
    int r = compat_follows(before, schema, error);
    *ret_follows = r == 0;
    if (r == 0)
        return try_rules(broker, version, schema, error);
    if (r == -EINVAL && compat_follows(schema, before, &backwards) == 0)
        return 0;
    if (r == -EINVAL)
        return error_prefix(error, r,
                            "%s %s is published already with another descriptor set; give the "
                            "changed schema a version of its own",
                            schema_service(schema->schema)->interface->name,
                            schema_service(schema->schema)->interface->version);
    return r;
}

/* A version keeps its schema while anybody serves it, unless the new one may follow it; after that
 * the next publisher may bring another. The schema is handed over. */
static enum parley_status adopt_schema(struct broker *broker, struct version *version,
                                       struct schema_entry *schema, struct error_text *error)
{
    struct negotiator *negotiator = &broker->negotiator;
    bool served = version->schema && version->instance_count > 0;
    bool follows = true;
    int r = compat_neighbours(negotiator, schema, error);
    if (r == 0 && served && version->schema != schema)
        r = may_join(broker, version, schema, &follows, error);
    else if (r == 0)
        registry_published(negotiator, schema);
    if (r == 0)
        registry_brought(schema, PARLEY__SCHEMA_INFO__ORIGIN__INSTANCE);
    if (r < 0 || !follows || version->schema == schema) {
        schema_entry_drop(negotiator, schema); /* one user a version is enough */
        return r == -EINVAL ? PARLEY_FAILED_PRECONDITION : r < 0 ? session_status(r) : PARLEY_OK;
    }
    if (!served)
        contracts_forget_version(broker, version);
    schema_entry_drop(negotiator, version->schema);
    version->schema = schema;
    return PARLEY_OK;
}

/* With the schema in hand, which is handed over. */
static enum parley_status enter(struct endpoint *endpoint, const Parley__Publish *publish,
                                struct interface *interface, struct schema_entry *schema,
                                struct instance **ret_instance, struct error_text *error)
{
    struct broker *broker = endpoint->broker;
    struct version *version;
    int r = 0;
    if (interface->instance_count >= ROUTE_INSTANCE_MAX)
        r = error_set(error, -ENOSPC, "%s has %u instances already: at most %d are allowed",
                      interface->name, interface->instance_count, ROUTE_INSTANCE_MAX);
    if (r == 0)
        r = directory_slot(broker, interface, error);
    if (r == 0)
        r = weights_learn(broker, interface, publish->route_generation, publish->weights,
                          publish->n_weights, error);
    if (r >= 0)
        r = interface_version_take(broker, interface, publish->version, &version, error);
    if (r < 0) {
        schema_entry_drop(&broker->negotiator, schema);
        return session_status(r);
    }
    enum parley_status status = adopt_schema(broker, version, schema, error);
    if (status != PARLEY_OK)
        return status;
    r = directory_instance_add(&broker->directory, endpoint, version, publish->instance_id,
                               publish->draining, ret_instance);
    if (r < 0)
        return session_status(error_set(error, r, "the broker is out of memory"));
    (void)weights_first(interface, version);
    return PARLEY_OK;
}

static int check_not_ours(const char *interface, struct error_text *error)
{
    return strcmp(interface, FRONT_SELF_INTERFACE) != 0
               ? 0
               : error_set(error, -EINVAL,
                           "%s is what the broker itself serves: publish under another name",
                           FRONT_SELF_INTERFACE);
}

static enum parley_status publish(struct endpoint *endpoint, const Parley__Publish *publish,
                                  struct instance **ret_instance, struct error_text *error)
{
    struct broker *broker = endpoint->broker;
    if (publish->instance_id == 0) {
        error_set(error, 0, "an instance needs an id");
        return PARLEY_INVALID_ARGUMENT;
    }
    if (directory_instance(&broker->directory, publish->instance_id)) {
        error_set(error, 0, "instance %016llx is published already",
                  (unsigned long long)publish->instance_id);
        return PARLEY_ALREADY_EXISTS;
    }
    struct schema_entry *schema;
    int r = session_check_names(publish->interface, publish->version, publish->service, error);
    if (r == 0 && !guard_allows_endpoint(endpoint, POLICY_PUBLISH, publish->interface, error))
        r = -EACCES;
    if (r == 0)
        r = check_not_ours(publish->interface, error);
    if (r == 0 && endpoint->account)
        r = admit_registration(&broker->admit, endpoint->account, clock_now_ns(), error);
    if (r == 0)
        r = schema_entry_take_located(&broker->negotiator, publish, &schema, error);
    if (r < 0)
        return session_status(r);
    struct interface *interface;
    r = directory_interface(&broker->directory, publish->interface, &interface);
    if (r == 0 && endpoint->account) {
        r = admit_instance(&broker->admit, endpoint->account, error);
        if (r < 0)
            directory_settle(&broker->directory, interface);
    }
    if (r < 0) {
        schema_entry_drop(&broker->negotiator, schema);
        return session_status(r);
    }
    enum parley_status status = enter(endpoint, publish, interface, schema, ret_instance, error);
    routes_write(&broker->routes, interface);
    if (status != PARLEY_OK) {
        if (endpoint->account)
            endpoint->account->instances--;
        directory_settle(&broker->directory, interface);
    }
    return status;
}

/* ---- For who comes later ---- */

static int could_join(struct broker *broker, const char *interface_name, const char *version_name,
                      struct schema_entry *schema, struct error_text *error)
{
    struct semver semver;
    const struct interface *interface = directory_find(&broker->directory, interface_name);
    const struct version *version = interface && semver_parse(version_name, &semver) == 0
                                        ? interface_version(interface, &semver)
                                        : NULL;
    struct error_text backwards = {""};
    if (interface && interface->instance_count >= ROUTE_INSTANCE_MAX)
        return error_set(error, -ENOSPC, "%s has %u instances already: at most %d are allowed",
                         interface->name, interface->instance_count, ROUTE_INSTANCE_MAX);
    if (!version || !version->schema || version->instance_count == 0 || version->schema == schema ||
        compat_follows(version->schema, schema, error) == 0 ||
        compat_follows(schema, version->schema, &backwards) == 0)
        return 0;
    return error_prefix(error, -EINVAL,
                        "%s %s is published already with another descriptor set; give the changed "
                        "schema a version of its own",
                        interface_name, version_name);
}

enum parley_status publish_check(struct broker *broker, const Parley__Publish *publish,
                                 struct schema_entry **ret_schema, struct error_text *error)
{
    struct schema_entry *schema;
    int r = schema_entry_take_located(&broker->negotiator, publish, &schema, error);
    if (r < 0)
        return session_status(r);
    const struct schema_service *service = schema_service(schema->schema);
    const Parley__Interface *declared = service->interface;
    r = session_check_names(declared->name, declared->version, service->name, error);
    if (r == 0)
        r = check_not_ours(declared->name, error);
    enum parley_status status = r < 0 ? session_status(r) : PARLEY_OK;
    if (r == 0) {
        r = compat_neighbours(&broker->negotiator, schema, error);
        if (r == 0)
            r = could_join(broker, declared->name, declared->version, schema, error);
        status = r == -EINVAL ? PARLEY_FAILED_PRECONDITION : r < 0 ? session_status(r) : PARLEY_OK;
    }
    if (r < 0) {
        schema_entry_drop(&broker->negotiator, schema);
        return status;
    }
    registry_brought(schema, PARLEY__SCHEMA_INFO__ORIGIN__INSTANCE);
    *ret_schema = schema;
    return PARLEY_OK;
}

/* ---- What a new schema can be bridged with ---- */

static void check_bridge(struct broker *broker, struct schema_entry *older,
                         struct schema_entry *newer)
{
    struct error_text error = {""};
    struct bridge *bridge;
    if (!older || !newer ||
        (negotiator_bridge(&broker->negotiator, older, newer, &bridge, &error) == 0 &&
         negotiator_bridge(&broker->negotiator, newer, older, &bridge, &error) == 0))
        return;
    const Parley__Interface *interface = schema_service(newer->schema)->interface;
    const struct event event = {
        .topic = "refused", .interface = interface->name, .version = interface->version};
    event_publish(broker, &event, "%s %s and %s will not be bridged: %s", interface->name,
                  schema_service(older->schema)->interface->version, interface->version,
                  error.text);
}

/* Clients of the versions beside it will be refused if it cannot be bridged: that is told now, not
 * only when the first of them comes. */
static void check_bridges(struct broker *broker, struct schema_entry *entry)
{
    check_bridge(broker, registry_previous(&broker->negotiator, entry), entry);
    check_bridge(broker, entry, registry_next(&broker->negotiator, entry));
}

void session_on_publish(struct endpoint *endpoint, const Parley__Publish *message)
{
    struct broker *broker = endpoint->broker;
    struct error_text error = {""};
    struct instance *instance;
    uint64_t before = broker->negotiator.generation;
    enum parley_status status = publish(endpoint, message, &instance, &error);
    if (status != PARLEY_OK) {
        const struct event event = {
            .topic = "refused",
            .interface = message->interface,
            .version = message->version,
            .instance_id = message->instance_id,
            .pid = endpoint->peer.pid,
        };
        event_publish(broker, &event, "%s (pid %d) may not publish: %s", endpoint->name,
                      (int)endpoint->peer.pid, error.text);
        audit_refused_peer(endpoint, "audit.publish", "a publication", message->interface,
                           message->version, status, error.text);
        session_say_published(endpoint, message->instance_id, status, error.text, -1);
        return;
    }
    instance->callers_wanted = true; /* it may have served under another policy before */
    session_say_published(endpoint, instance->id, PARLEY_OK, NULL,
                          instance->version->interface->slot);
    instance_event(broker, instance->draining ? "instance.drain" : "instance.up", instance,
                   instance->draining ? "is draining" : "is up");
    if (!instance->draining)
        contracts_instance_up(broker, instance);
    if (broker->negotiator.generation == before)
        return;
    contracts_refresh(broker);
    if (instance->version->schema)
        check_bridges(broker, instance->version->schema);
}

void session_on_withdraw(struct endpoint *endpoint, const Parley__Withdraw *message)
{
    struct broker *broker = endpoint->broker;
    struct instance *instance = directory_instance(&broker->directory, message->instance_id);
    if (!instance || instance->endpoint != endpoint)
        return; /* its publication was refused */
    if (message->gone)
        session_instance_gone(broker, instance, "is gone: it has drained");
    else if (message->drained)
        drain_done(broker, instance, message->drained);
    else if (!instance->draining)
        instance_drain(broker, instance);
}
