/*
 * What may be published: a minor version must not break the ones beside it.
 *
 * A schema is compared with the nearest lower and the nearest higher version of its major version
 * that the registry knows by publication or from --schemas, in whatever order they come. What
 * breaks is said in the words of `parley diff`, and is let pass if the newer of the two accepts it
 * in its options, with a reason. Versions are promises from 1.0.0 on: of 0.x, each minor version
 * stands alone, and a pre-release binds nobody who comes after it (semver.org, 4 and 9). Another
 * major version may differ as it likes; what then cannot be bridged, the compiler says.
 *
 * One version may come with other contents while it is served, as long as one of the two could
 * follow the other: rules that were mended, a field that was added and not counted as a version.
 */
#include "broker/broker.h"

#include <errno.h>
#include <string.h>

#include "schema/diff.h"

static const struct schema_service *service_of(const struct schema_entry *entry)
{
    return schema_service(entry->schema);
}

/* Return: 0; -EINVAL with the breaks; -ENOMEM. */
static int compare(const struct schema_entry *older, const struct schema_entry *newer,
                   struct error_text *error)
{
    const struct diff_options located = {.positions = newer->positions,
                                         .positions_bytes = newer->positions_bytes};
    struct diff *diff;
    int r = diff_compare(older->schema, newer->schema, &located, &diff, error);
    if (r == -EBADMSG) /* positions that nobody can read hide no break */
        r = diff_compare(older->schema, newer->schema, NULL, &diff, error);
    if (r < 0)
        return r;
    if (diff_break_count(diff) > 0) {
        diff_summarize(diff, error);
        r = -EINVAL;
    }
    diff_free(diff);
    return r;
}

/* Whether the two have promised each other anything. */
static bool promised(const struct schema_entry *older, const struct schema_entry *newer)
{
    const struct schema_service *a = service_of(older);
    const struct schema_service *b = service_of(newer);
    return strcmp(a->interface->name, b->interface->name) == 0 &&
           strcmp(a->package, b->package) == 0 && older->version.major == newer->version.major &&
           (older->version.major > 0 || older->version.minor == newer->version.minor) &&
           older->version.prerelease[0] == '\0';
}

/* The nearest below (@direction -1) or above (1) that has promised anything. */
static const struct schema_entry *neighbour(const struct negotiator *negotiator,
                                            const struct schema_entry *entry, int direction)
{
    const struct schema_entry *best = NULL;
    const struct schema_entry *other;
    TAILQ_FOREACH(other, &negotiator->schemas, entry) {
        int order = semver_compare(&other->version, &entry->version);
        if (!schema_entry_trusted(other) || (order < 0 ? -1 : order > 0) != direction)
            continue;
        if (!(direction < 0 ? promised(other, entry) : promised(entry, other)))
            continue;
        int nearer = best ? semver_compare(&other->version, &best->version) * -direction : 1;
        if (nearer > 0 || (nearer == 0 && schema_entry_prevails(other, best)))
            best = other;
    }
    return best;
}

int compat_neighbours(const struct negotiator *negotiator, const struct schema_entry *entry,
                      struct error_text *error)
{
    for (int direction = -1; direction <= 1; direction += 2) {
        const struct schema_entry *other = neighbour(negotiator, entry, direction);
        if (!other)
            continue;
        const struct schema_entry *older = direction < 0 ? other : entry;
        const struct schema_entry *newer = direction < 0 ? entry : other;
        int r = compare(older, newer, error);
        if (r == -EINVAL)
            return error_prefix(error, r, "%s %s breaks %s", service_of(newer)->interface->name,
                                service_of(newer)->interface->version,
                                service_of(older)->interface->version);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Calls name methods by their index: those of the one that came first stay where they are. */
static int compare_methods(const struct schema_entry *older, const struct schema_entry *newer,
                           struct error_text *error)
{
    const struct schema_service *a = service_of(older);
    const struct schema_service *b = service_of(newer);
    for (size_t i = 0; i < a->method_count; i++)
        if (i >= b->method_count || strcmp(a->methods[i].name, b->methods[i].name) != 0)
            return error_set(error, -EINVAL,
                             "%s: method %zu is %s in one and %s in the other; within a version "
                             "methods stay in their order, and new ones come last",
                             a->name, i + 1, a->methods[i].name,
                             i < b->method_count ? b->methods[i].name : "none");
    return 0;
}

int compat_follows(const struct schema_entry *older, const struct schema_entry *newer,
                   struct error_text *error)
{
    if (schema_same(older->schema, newer->schema, error))
        return 0;
    int r = compare(older, newer, error);
    return r == 0 ? compare_methods(older, newer, error) : r;
}
