/*
 * The registry: every schema that the broker has seen, once a content.
 *
 * Thousands of clients that were built against one version share one parsed schema. What nobody
 * uses any more stays, for whoever comes back and as the middle of a path, until there are too
 * many; those that only clients brought go first, so that no client can flush what was published.
 *
 * A version of an interface may have been seen with several contents. Which of them is *in force*,
 * whose rules count, is for the operator, then for who publishes: the content of a file of
 * --schemas, else the one that was published last. It stands for another content only if the two
 * are the same interface as far as calls can tell (same.c): a program's messages are always read as
 * the program itself declares them.
 *
 * Rules connect adjacent versions only: a version names the package before it. A path leads from
 * the newer of two ends along these names to the older one. Of several versions of a package in
 * between, the highest counts; several of one path's length cannot be told apart otherwise, and the
 * highest knows the most. In the middle only what was published, or lies in --schemas, counts: a
 * client may not decide how the messages of others are read.
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "schema/diff.h"

static const char *package_of(const struct schema_entry *entry)
{
    return schema_service(entry->schema)->package;
}

static const char *previous_of(const struct schema_entry *entry)
{
    return schema_service(entry->schema)->interface->previous;
}

static const char *interface_of(const struct schema_entry *entry)
{
    return schema_service(entry->schema)->interface->name;
}

static size_t bytes_of(const struct schema_entry *entry)
{
    size_t bytes;
    (void)schema_set(entry->schema, &bytes);
    return bytes + entry->positions_bytes;
}

/* ---- Keeping ---- */

void entry_free(struct negotiator *negotiator, struct schema_entry *entry)
{
    negotiator_forget_bridges(negotiator, entry);
    TAILQ_REMOVE(&negotiator->schemas, entry, entry);
    schema_unref(entry->schema);
    free(entry->positions);
    free(entry);
    negotiator->schema_count--;
    negotiator->generation++;
}

/* The same set may hold several services, each an interface of its own. */
static struct schema_entry *entry_find(struct negotiator *negotiator, const struct digest *hash,
                                       const char *service)
{
    struct schema_entry *entry;
    TAILQ_FOREACH (entry, &negotiator->schemas, entry)
        if (memcmp(&entry->hash, hash, sizeof(*hash)) == 0 &&
            (!service || strcmp(schema_service(entry->schema)->name, service) == 0))
            return entry;
    return NULL;
}

static int check_claims(const struct schema *schema, const char *interface, const char *version,
                        struct error_text *error)
{
    const Parley__Interface *option = schema_service(schema)->interface;
    if (interface &&
        (strcmp(option->name, interface) != 0 || strcmp(option->version, version) != 0))
        return error_set(error, -EINVAL,
                         "the descriptor set is of %s %s, not of %s %s: generate the code again",
                         option->name, option->version, interface, version);
    return 0;
}

static int entry_new(struct negotiator *negotiator, const struct digest *hash, const char *service,
                     const uint8_t *set, size_t bytes, struct schema_entry **ret_entry,
                     struct error_text *error)
{
    struct schema_entry *entry = calloc(1, sizeof(*entry));
    if (!entry)
        return error_set(error, -ENOMEM, "the broker is out of memory");
    int r = schema_new(set, bytes, service, &entry->schema, error);
    if (r == 0) {
        r = semver_parse(schema_service(entry->schema)->interface->version, &entry->version);
        if (r < 0)
            (void)error_set(error, r, "version \"%s\" is no semantic version",
                            schema_service(entry->schema)->interface->version);
    }
    if (r < 0) {
        schema_unref(entry->schema);
        free(entry);
        return r;
    }
    entry->hash = *hash;
    entry->checked_at = UINT64_MAX;
    /* Idle until its first user has been counted. */
    TAILQ_INSERT_TAIL(&negotiator->schemas, entry, entry);
    negotiator->schema_count++;
    negotiator->idle_count++;
    negotiator->idle_bytes += bytes;
    *ret_entry = entry;
    return 0;
}

static struct schema_entry *oldest_idle(struct negotiator *negotiator, bool of_clients_only)
{
    struct schema_entry *entry;
    TAILQ_FOREACH (entry, &negotiator->schemas, entry)
        if (entry->users == 0 && !(of_clients_only && schema_entry_trusted(entry)))
            return entry;
    return NULL;
}

static void forget_surplus(struct negotiator *negotiator)
{
    while (negotiator->idle_count > BROKER_SCHEMA_IDLE_MAX ||
           negotiator->idle_bytes > BROKER_SCHEMA_IDLE_BYTES_MAX) {
        struct schema_entry *entry = oldest_idle(negotiator, true);
        if (!entry)
            entry = oldest_idle(negotiator, false);
        negotiator->idle_count--;
        negotiator->idle_bytes -= bytes_of(entry);
        entry_free(negotiator, entry);
    }
}

int schema_entry_take(struct negotiator *negotiator, const char *interface, const char *version,
                      const char *service, const uint8_t *set, size_t bytes,
                      struct schema_entry **ret_entry, struct error_text *error)
{
    struct digest hash;
    digest_of(set, bytes, &hash);
    struct schema_entry *entry = entry_find(negotiator, &hash, service);
    int r = entry ? 0 : entry_new(negotiator, &hash, service, set, bytes, &entry, error);
    if (r == 0)
        r = check_claims(entry->schema, interface, version, error);
    if (r < 0) {
        forget_surplus(negotiator);
        return r;
    }
    schema_entry_keep(negotiator, entry);
    *ret_entry = entry;
    return 0;
}

/* In place of those that it had: who publishes last knows best where the schema is written now. */
static int keep_positions(struct schema_entry *entry, const uint8_t *positions, size_t bytes)
{
    if (bytes == 0 ||
        (entry->positions_bytes == bytes && memcmp(entry->positions, positions, bytes) == 0))
        return 0;
    uint8_t *copy = malloc(bytes);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, positions, bytes);
    free(entry->positions);
    entry->positions = copy;
    entry->positions_bytes = bytes;
    return 0;
}

int schema_entry_take_located(struct negotiator *negotiator, const Parley__Publish *publish,
                              struct schema_entry **ret_entry, struct error_text *error)
{
    ProtobufCBinaryData set = publish->descriptor_set, positions = publish->positions;
    _cleanup_(freep) uint8_t *bare = NULL;
    size_t bytes = 0;
    /* What is no set is refused by who reads it. */
    if (diff_strip_positions(set.data, set.len, &bare, &bytes) == 0 && bytes < set.len) {
        positions = positions.len > 0 ? positions : set;
        set = (ProtobufCBinaryData){.len = bytes, .data = bare};
    }
    if (positions.len > SCHEMA_SET_BYTES_MAX)
        return error_set(error, -E2BIG,
                         "the schema's positions are %zu bytes; at most %u may be: leave them out",
                         positions.len, (unsigned)SCHEMA_SET_BYTES_MAX);
    struct schema_entry *entry;
    int r = schema_entry_take(negotiator, publish->interface, publish->version, publish->service,
                              set.data, set.len, &entry, error);
    if (r < 0)
        return r;
    r = keep_positions(entry, positions.data, positions.len);
    if (r < 0) {
        schema_entry_drop(negotiator, entry);
        return error_set(error, r, "the broker is out of memory");
    }
    *ret_entry = entry;
    return 0;
}

void schema_entry_keep(struct negotiator *negotiator, struct schema_entry *entry)
{
    if (entry->users++ > 0)
        return;
    negotiator->idle_count--;
    negotiator->idle_bytes -= bytes_of(entry);
}

struct schema_entry *schema_entry_drop(struct negotiator *negotiator, struct schema_entry *entry)
{
    if (!entry || --entry->users > 0)
        return NULL;
    TAILQ_REMOVE(&negotiator->schemas, entry, entry);
    TAILQ_INSERT_TAIL(&negotiator->schemas, entry, entry);
    negotiator->idle_count++;
    negotiator->idle_bytes += bytes_of(entry);
    forget_surplus(negotiator);
    return NULL;
}

static bool same_version(const struct schema_entry *a, const struct schema_entry *b)
{
    return strcmp(interface_of(a), interface_of(b)) == 0 &&
           semver_compare(&a->version, &b->version) == 0;
}

void registry_brought(struct schema_entry *entry, Parley__SchemaInfo__Origin by)
{
    if (by > entry->origin)
        entry->origin = by;
}

void registry_published(struct negotiator *negotiator, struct schema_entry *entry)
{
    bool news = entry->published == 0;
    const struct schema_entry *other;
    TAILQ_FOREACH (other, &negotiator->schemas, entry)
        news = news || (other->published > entry->published && same_version(other, entry));
    entry->published = ++negotiator->published_last;
    negotiator->generation += news;
}

int registry_file(struct negotiator *negotiator, struct schema_entry *entry, const char *name,
                  struct error_text *error)
{
    const struct schema_entry *other;
    TAILQ_FOREACH (other, &negotiator->schemas, entry)
        if (other->file[0] && same_version(other, entry))
            return error_set(error, -EEXIST, "is in %s already: remove one of the two",
                             other->file);
    schema_entry_keep(negotiator, entry);
    (void)snprintf(entry->file, sizeof(entry->file), "%s", name);
    registry_brought(entry, PARLEY__SCHEMA_INFO__ORIGIN__FOLDER);
    negotiator->generation++;
    return 0;
}

void registry_unfile(struct negotiator *negotiator, struct schema_entry *entry)
{
    entry->file[0] = '\0';
    negotiator->generation++;
    schema_entry_drop(negotiator, entry);
}

/* ---- What is in force ---- */

/* Of two contents of one version: the operator's file, else what was published last. */
bool schema_entry_prevails(const struct schema_entry *a, const struct schema_entry *b)
{
    if ((a->file[0] != '\0') != (b->file[0] != '\0'))
        return a->file[0] != '\0';
    return a->published > b->published;
}

struct schema_entry *registry_in_force(struct negotiator *negotiator, struct schema_entry *entry)
{
    if (entry->checked_at == negotiator->generation)
        return entry->in_force;
    struct schema_entry *best = entry;
    struct schema_entry *other;
    TAILQ_FOREACH (other, &negotiator->schemas, entry) {
        struct error_text error;
        if (other != entry && schema_entry_trusted(other) && schema_entry_prevails(other, best) &&
            same_version(other, entry) && schema_same(entry->schema, other->schema, &error))
            best = other;
    }
    entry->in_force = best;
    entry->checked_at = negotiator->generation;
    return best;
}

/* The highest version of a package that may lie in the middle; NULL: none was seen. */
static struct schema_entry *best_of(struct negotiator *negotiator, const char *interface,
                                    const char *package)
{
    struct schema_entry *best = NULL;
    struct schema_entry *entry;
    TAILQ_FOREACH (entry, &negotiator->schemas, entry) {
        if (!schema_entry_trusted(entry) || strcmp(package_of(entry), package) != 0 ||
            strcmp(interface_of(entry), interface) != 0)
            continue;
        int order = best ? semver_compare(&entry->version, &best->version) : 1;
        if (order > 0 || (order == 0 && schema_entry_prevails(entry, best)))
            best = entry;
    }
    return best;
}

struct schema_entry *registry_previous(struct negotiator *negotiator,
                                       const struct schema_entry *entry)
{
    const char *previous = previous_of(entry);
    return previous ? best_of(negotiator, interface_of(entry), previous) : NULL;
}

struct schema_entry *registry_next(struct negotiator *negotiator, const struct schema_entry *entry)
{
    struct schema_entry *best = NULL;
    struct schema_entry *other;
    TAILQ_FOREACH (other, &negotiator->schemas, entry) {
        const char *previous = previous_of(other);
        if (!schema_entry_trusted(other) || !previous || strcmp(previous, package_of(entry)) != 0 ||
            strcmp(interface_of(other), interface_of(entry)) != 0)
            continue;
        int order = best ? semver_compare(&other->version, &best->version) : 1;
        if (order > 0 || (order == 0 && schema_entry_prevails(other, best)))
            best = other;
    }
    return best;
}

/* ---- Paths ---- */

#define PATH_E_UNRELATED 1

/* From the newer end along `previous`. Return: 0; PATH_E_UNRELATED: the names do not lead there;
 * -EINVAL with the version that is missing; -E2BIG. */
static int walk(struct negotiator *negotiator, struct schema_entry *newer,
                struct schema_entry *older, struct schema_path *ret_path, struct error_text *error)
{
    struct schema_path path = {.count = 1, .entries = {newer}};
    for (struct schema_entry *at = newer;;) {
        const char *previous = previous_of(at);
        if (!previous || strcmp(previous, package_of(at)) == 0)
            return PATH_E_UNRELATED;
        if (path.count == BROKER_PATH_MAX)
            return error_set(error, -E2BIG, "more than %d versions lie between %s and %s",
                             BROKER_PATH_MAX - 2, package_of(newer), package_of(older));
        if (strcmp(previous, package_of(older)) == 0)
            break;
        struct schema_entry *next = best_of(negotiator, interface_of(newer), previous);
        if (!next)
            return error_set(error, -EINVAL,
                             "the way from %s to %s leads over %s, which this broker has never "
                             "seen: publish a version of it once, or put its descriptor set into "
                             "the folder of parleyd --schemas",
                             package_of(newer), package_of(older), previous);
        at = next;
        path.entries[path.count++] = at;
    }
    path.entries[path.count++] = older;
    *ret_path = path;
    return 0;
}

static void reverse(struct schema_path *path)
{
    for (size_t i = 0; i < path->count / 2; i++) {
        struct schema_entry *entry = path->entries[i];
        path->entries[i] = path->entries[path->count - 1 - i];
        path->entries[path->count - 1 - i] = entry;
    }
}

int registry_path(struct negotiator *negotiator, struct schema_entry *client,
                  struct schema_entry *service, struct schema_path *ret_path,
                  struct error_text *error)
{
    struct schema_entry *ends[2] = {registry_in_force(negotiator, client),
                                    registry_in_force(negotiator, service)};
    struct schema_path path = {.count = 2, .entries = {ends[0], ends[1]}};
    /* One package: protobuf's own rules. */
    if (strcmp(package_of(ends[0]), package_of(ends[1])) == 0) {
        *ret_path = path;
        return 0;
    }
    /* The higher version is the newer one, most probably: what is missing on its way is told. */
    int newer = semver_compare(&ends[1]->version, &ends[0]->version) > 0;
    struct error_text other = {""};
    int r = walk(negotiator, ends[newer], ends[!newer], &path, error);
    int r2 = r == 0 ? 0 : walk(negotiator, ends[!newer], ends[newer], &path, &other);
    if (r != 0 && r2 == 0) {
        newer = !newer;
        r = 0;
    }
    if (r == PATH_E_UNRELATED && r2 < 0)
        r = error_set(error, r2, "%s", other.text);
    if (r < 0)
        return r;
    if (r == 0 && newer == 1)
        reverse(&path);
    /* Unrelated: the compiler says so, and how to relate them. */
    *ret_path = path;
    return 0;
}

bool registry_detour(struct negotiator *negotiator, struct schema_path *path)
{
    struct schema_entry *first = path->entries[0];
    struct schema_entry *last = path->entries[path->count - 1];
    const char *before = previous_of(first);
    bool older_is_last = before && strcmp(package_of(path->entries[1]), before) == 0;
    struct schema_entry *older = older_is_last ? last : first;
    if (path->count == BROKER_PATH_MAX || strcmp(package_of(first), package_of(last)) == 0)
        return false;
    struct schema_entry *best = best_of(negotiator, interface_of(older), package_of(older));
    if (!best || semver_compare(&best->version, &older->version) <= 0)
        return false;
    size_t at = older_is_last ? path->count - 1 : 1;
    memmove(&path->entries[at + 1], &path->entries[at],
            (path->count - at) * sizeof(path->entries[0]));
    path->entries[at] = best;
    path->count++;
    return true;
}
