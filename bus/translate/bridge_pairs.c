/*
 * Which versions of what is compared are to be bridged.
 *
 * A newer version names the package of the one before it, and that is looked for beside it, in the
 * new set, then in the old one. If it names none, or one that is in neither, although another
 * package has the same interface in a lower version, that is a finding itself: clients of that
 * version would be refused for want of a relation. Versions of one package need none.
 */
#include "translate/bridge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

DEFINE_CLEANUP(struct schema *, schema_unref);

struct candidate {
    const struct schema *set;
    const struct schema_service *service; /* NULL: none */
};

static bool equal(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static const char *local_name(const struct schema_service *service)
{
    return service->package[0] ? service->name + strlen(service->package) + 1 : service->name;
}

/* The service of @set that @newer came from: of its name, else the first of that package. */
static struct candidate find_previous(const struct schema *set, const struct schema_service *newer)
{
    struct candidate found = {set, NULL};
    size_t count;
    const struct schema_service *const *services = schema_services(set, &count);
    for (size_t i = 0; i < count && newer->interface->previous; i++) {
        if (!services[i]->interface || !equal(services[i]->package, newer->interface->previous))
            continue;
        if (!found.service || equal(local_name(services[i]), local_name(newer)))
            found.service = services[i];
    }
    return found;
}

/* <0, 0, >0; what is no version has been refused when the schema was read. */
static int compare_versions(const struct schema_service *a, const struct schema_service *b)
{
    struct semver x = {0}, y = {0};
    (void)semver_parse(a->interface->version, &x);
    (void)semver_parse(b->interface->version, &y);
    return semver_compare(&x, &y);
}

/* The highest version below @newer of the same interface in another package of @set; @best: so far.
 */
static const struct schema_service *find_lower(const struct schema *set,
                                               const struct schema_service *newer,
                                               const struct schema_service *best)
{
    size_t count;
    const struct schema_service *const *services = schema_services(set, &count);
    for (size_t i = 0; i < count; i++) {
        const struct schema_service *service = services[i];
        if (!service->interface || !equal(service->interface->name, newer->interface->name) ||
            equal(service->package, newer->package) || compare_versions(service, newer) >= 0)
            continue;
        if (!best || compare_versions(service, best) > 0)
            best = service;
    }
    return best;
}

static void report_unrelated(struct diff *diff, const struct schema_service *newer,
                             const struct schema_service *older)
{
    const char *previous = newer->interface->previous;
    diff_report(diff, DIFF_PARLEY_VERSION_NEEDS_RULE,
                &(struct diff_place){.file = newer->file, .part = 8}, newer->name, NULL,
                "%s %s %s%s%s, so that nothing relates it to %s %s of package %s; add previous: "
                "\"%s\" to (parley.interface)",
                newer->interface->name, newer->interface->version,
                previous ? "names the previous package \"" : "names no previous package",
                previous ? previous : "", previous ? "\", which is not here" : "",
                older->interface->name, older->interface->version, older->package, older->package);
}

static int as_interface(const struct schema *set, const struct schema_service *service,
                        struct schema **ret_schema, struct error_text *error)
{
    size_t bytes;
    const uint8_t *data = schema_set(set, &bytes);
    return schema_new(data, bytes, service->name, ret_schema, error);
}

static int bridge_pair(struct diff *diff, const struct candidate *older,
                       const struct candidate *newer, struct error_text *error)
{
    _cleanup_(schema_unrefp) struct schema *before = NULL;
    _cleanup_(schema_unrefp) struct schema *after = NULL;
    int r = as_interface(older->set, older->service, &before, error);
    if (r == 0)
        r = as_interface(newer->set, newer->service, &after, error);
    return r == 0 ? diff_bridge(diff, before, after, error) : r;
}

int diff_bridges(struct diff *diff, const struct schema *old, const struct schema *new,
                 struct error_text *error)
{
    size_t count;
    const struct schema_service *const *services = schema_services(new, &count);
    for (size_t i = 0; i < count; i++) {
        struct candidate newer = {new, services[i]};
        if (!newer.service->interface)
            continue;
        struct candidate older = find_previous(new, newer.service);
        if (!older.service)
            older = find_previous(old, newer.service);
        int r = older.service ? bridge_pair(diff, &older, &newer, error) : 0;
        if (r < 0)
            return r;
        const struct schema_service *lower =
            find_lower(old, newer.service, find_lower(new, newer.service, NULL));
        if (!older.service && lower)
            report_unrelated(diff, newer.service, lower);
    }
    return 0;
}
