/*
 * The directory: interfaces by name, their versions, and the instances that serve them.
 *
 * An interface comes into being when somebody first asks for it or publishes it. With the first
 * publication it gets a slot of the route page, and versions get indices in that slot. Both stay as
 * they are while somebody may be looking at them, and longer: weights must outlive the last
 * instance (all instances of a version may be restarted at once), so nothing is taken back when the
 * last one leaves, but only when the place is needed: an interface's slot when all are taken and
 * nobody serves or uses it, a version's index when all of the interface are taken and it has
 * neither instances nor weight. What cannot be had then is refused by name.
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Interfaces ---- */

struct interface *directory_find(const struct directory *directory, const char *name)
{
    struct interface *interface;
    HASH_FIND_STR(directory->interfaces, name, interface);
    return interface;
}

int directory_interface(struct directory *directory, const char *name, struct interface **ret)
{
    struct interface *interface = directory_find(directory, name);
    if (!interface) {
        interface = calloc(1, sizeof(*interface));
        if (!interface)
            return -ENOMEM;
        (void)snprintf(interface->name, sizeof(interface->name), "%s", name);
        interface->slot = -1;
        LIST_INIT(&interface->contracts);
        HASH_ADD_STR(directory->interfaces, name, interface);
    }
    *ret = interface;
    return 0;
}

static void interface_free(struct directory *directory, struct interface *interface)
{
    HASH_DEL(directory->interfaces, interface);
    free(interface);
}

void directory_settle(struct directory *directory, struct interface *interface)
{
    if (interface->slot < 0 && interface->contract_count == 0)
        interface_free(directory, interface);
}

/* Takes the slot of an interface that nobody serves or uses. Return: its index, or -1. */
static int32_t reclaim_slot(struct broker *broker)
{
    struct directory *directory = &broker->directory;
    for (int32_t i = 0; i < ROUTE_SLOT_MAX; i++) {
        struct interface *interface = directory->slots[i];
        if (interface->instance_count > 0 || interface->contract_count > 0)
            continue;
        for (uint32_t v = 0; v < ROUTE_VERSION_MAX; v++)
            if (interface->versions[v])
                interface_version_free(broker, interface->versions[v]);
        directory->slots[i] = NULL;
        routes_rollout_free(broker, interface);
        routes_clear(&broker->routes, (uint32_t)i);
        interface_free(directory, interface);
        return i;
    }
    return -1;
}

int directory_slot(struct broker *broker, struct interface *interface, struct error_text *error)
{
    struct directory *directory = &broker->directory;
    if (interface->slot >= 0)
        return 0;
    int32_t slot = -1;
    for (int32_t i = 0; i < ROUTE_SLOT_MAX && slot < 0; i++)
        if (!directory->slots[i])
            slot = i;
    if (slot < 0)
        slot = reclaim_slot(broker);
    if (slot < 0)
        return error_set(error, -ENOSPC,
                         "no room for interface %s: the broker has %d already, all in use",
                         interface->name, ROUTE_SLOT_MAX);
    directory->slots[slot] = interface;
    interface->slot = slot;
    return 0;
}

/* ---- Versions ---- */

struct version *interface_version(const struct interface *interface, const struct semver *semver)
{
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++)
        if (interface->versions[i] && semver_compare(&interface->versions[i]->semver, semver) == 0)
            return interface->versions[i];
    return NULL;
}

static int free_index(struct broker *broker, struct interface *interface, uint32_t *ret_index)
{
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++) {
        if (!interface->versions[i]) {
            *ret_index = i;
            return 0;
        }
    }
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++) {
        struct version *version = interface->versions[i];
        if (version->instance_count == 0 && version->weight == 0 &&
            !routes_rollout_names(version)) {
            interface_version_free(broker, version);
            *ret_index = i;
            return 0;
        }
    }
    return -ENOSPC;
}

int interface_version_take(struct broker *broker, struct interface *interface, const char *name,
                           struct version **ret_version, struct error_text *error)
{
    struct semver semver;
    if (strlen(name) >= BROKER_VERSION_BYTES || semver_parse(name, &semver) < 0)
        return error_set(error, -EINVAL, "\"%.40s\" is no semantic version of at most %d bytes",
                         name, SEMVER_BYTES_MAX);
    struct version *version = interface_version(interface, &semver);
    if (version) {
        *ret_version = version;
        return 0;
    }
    uint32_t index;
    if (free_index(broker, interface, &index) < 0) {
        char here[128];
        interface_describe(interface, here, sizeof(here));
        return error_set(error, -ENOSPC,
                         "no room for %s %s: at most %d versions at once, and there are %s: stop "
                         "the oldest first",
                         interface->name, name, ROUTE_VERSION_MAX, here);
    }
    version = calloc(1, sizeof(*version));
    if (!version)
        return error_set(error, -ENOMEM, "the broker is out of memory");
    version->interface = interface;
    version->index = index;
    version->semver = semver;
    (void)snprintf(version->name, sizeof(version->name), "%s", name);
    LIST_INIT(&version->instances);
    interface->versions[index] = version;
    *ret_version = version;
    return 0;
}

void interface_version_free(struct broker *broker, struct version *version)
{
    contracts_forget_version(broker, version);
    version->interface->versions[version->index] = NULL;
    schema_entry_drop(&broker->negotiator, version->schema);
    free(version);
}

void interface_describe(const struct interface *interface, char *buffer, size_t bytes)
{
    size_t used = 0;
    (void)snprintf(buffer, bytes, "nothing");
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++) {
        const struct version *version = interface->versions[i];
        if (!version || !version_up(version) || used >= bytes)
            continue;
        int n = snprintf(buffer + used, bytes - used, "%s%s", used ? ", " : "", version->name);
        used += n > 0 ? (size_t)n : 0;
    }
}

/* ---- Instances ---- */

struct instance *directory_instance(const struct directory *directory, uint64_t id)
{
    struct instance *instance;
    HASH_FIND(hh, directory->instances, &id, sizeof(id), instance);
    return instance;
}

int directory_instance_add(struct directory *directory, struct endpoint *endpoint,
                           struct version *version, uint64_t id, bool draining,
                           struct instance **ret_instance)
{
    struct instance *instance = calloc(1, sizeof(*instance));
    if (!instance)
        return -ENOMEM;
    *instance =
        (struct instance){.endpoint = endpoint, .version = version, .id = id, .draining = draining};
    HASH_ADD(hh, directory->instances, id, sizeof(instance->id), instance);
    LIST_INSERT_HEAD(&endpoint->instances, instance, endpoint_entry);
    LIST_INSERT_HEAD(&version->instances, instance, version_entry);
    endpoint->instance_count++;
    version->instance_count++;
    version->draining_count += draining;
    version->interface->instance_count++;
    directory->changes++;
    *ret_instance = instance;
    return 0;
}

void directory_instance_remove(struct directory *directory, struct instance *instance)
{
    HASH_DEL(directory->instances, instance);
    LIST_REMOVE(instance, endpoint_entry);
    LIST_REMOVE(instance, version_entry);
    instance->endpoint->instance_count--;
    instance->version->instance_count--;
    instance->version->draining_count -= instance->draining;
    instance->version->interface->instance_count--;
    directory->changes++;
    ejector_forget(instance);
    free(instance);
}

void directory_deinit(struct broker *broker)
{
    struct interface *interface;
    struct interface *next;
    HASH_ITER(hh, broker->directory.interfaces, interface, next) {
        for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++)
            if (interface->versions[i])
                interface_version_free(broker, interface->versions[i]);
        routes_rollout_free(broker, interface);
        interface_free(&broker->directory, interface);
    }
}
