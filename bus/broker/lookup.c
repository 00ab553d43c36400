/*
 * What requests name: interfaces and versions, by whatever way they come in. A name that is not
 * there is answered with those that are.
 */
#include "broker/broker.h"

#include <stdio.h>

static void describe_interfaces(const struct broker *broker, char *buffer, size_t bytes)
{
    size_t used = 0;
    (void)snprintf(buffer, bytes, "nothing");
    for (const struct interface *i = broker->directory.interfaces; i; i = i->hh.next) {
        if (i->slot < 0 || used >= bytes)
            continue;
        int n = snprintf(buffer + used, bytes - used, "%s%s", used ? ", " : "", i->name);
        used += n > 0 ? (size_t)n : 0;
    }
}

struct interface *lookup_interface(struct broker *broker, const char *name,
                                   struct error_text *error)
{
    struct interface *interface = name ? directory_find(&broker->directory, name) : NULL;
    if (interface && interface->slot >= 0)
        return interface;
    char here[256];
    describe_interfaces(broker, here, sizeof(here));
    error_set(error, 0, "no interface \"%.80s\" is published; there is: %s", name ? name : "",
              here);
    return NULL;
}

struct version *lookup_version(struct interface *interface, const char *name,
                               struct error_text *error)
{
    struct semver semver;
    struct version *version =
        semver_parse(name, &semver) == 0 ? interface_version(interface, &semver) : NULL;
    if (version)
        return version;
    char here[256];
    interface_describe(interface, here, sizeof(here));
    error_set(error, 0, "%s has no version \"%.40s\"; there is: %s", interface->name, name, here);
    return NULL;
}

/* The one with the largest share that has a schema; of equals the highest. */
static struct version *main_version(const struct interface *interface)
{
    uint32_t shares[ROUTE_VERSION_MAX];
    weights_effective(interface, shares);
    struct version *best = NULL;
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++) {
        struct version *version = interface->versions[i];
        if (!version || !version->schema)
            continue;
        if (!best || shares[i] > shares[best->index] ||
            (shares[i] == shares[best->index] &&
             semver_compare(&version->semver, &best->semver) > 0))
            best = version;
    }
    return best;
}

struct version *lookup_schema(struct broker *broker, const char *interface_name,
                              const char *version_name, struct error_text *error)
{
    struct version *version;
    struct interface *interface = lookup_interface(broker, interface_name, error);
    if (!interface)
        return NULL;
    if (version_name && version_name[0])
        version = lookup_version(interface, version_name, error);
    else
        version = main_version(interface);
    if (version && version->schema)
        return version;
    if (!error->text[0])
        error_set(error, 0, "nothing publishes that version of %s now", interface->name);
    return NULL;
}
