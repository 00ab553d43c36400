/*
 * Bridges: the two plans between a client's schema and a service's, compiled once for all clients
 * of one content, failures included.
 *
 * Between the two ends lies a path of adjacent versions (registry.c), which is compiled to one
 * program for each direction. The registry may change: rules are mended, a version in between
 * becomes known, a higher one of it. Then the path is looked up again, and if it is another one the
 * bridge is replaced: whoever asks next gets the new one, whoever has the old one keeps it as long
 * as it is told to (swap.c). What does not compile replaces nothing.
 *
 * A bridge that offers use keeps the schemas of its path; one that nobody uses goes with the first
 * of them.
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

void negotiator_init(struct negotiator *negotiator)
{
    *negotiator = (struct negotiator){0};
    TAILQ_INIT(&negotiator->schemas);
    LIST_INIT(&negotiator->bridges);
}

void negotiator_deinit(struct negotiator *negotiator)
{
    struct schema_entry *entry;
    while ((entry = TAILQ_FIRST(&negotiator->schemas)) != NULL)
        entry_free(negotiator, entry);
}

static void bridge_free(struct bridge *bridge)
{
    LIST_REMOVE(bridge, entry);
    plan_unref(bridge->requests);
    plan_unref(bridge->replies);
    free(bridge);
}

static bool bridge_has(const struct bridge *bridge, const struct schema_entry *entry)
{
    bool has = bridge->client == entry || bridge->service == entry;
    for (size_t i = 0; i < bridge->path.count; i++)
        has = has || bridge->path.entries[i] == entry;
    return has;
}

void negotiator_forget_bridges(struct negotiator *negotiator, const struct schema_entry *entry)
{
    struct bridge *bridge = LIST_FIRST(&negotiator->bridges);
    while (bridge) {
        struct bridge *next = LIST_NEXT(bridge, entry);
        if (bridge_has(bridge, entry))
            bridge_free(bridge);
        bridge = next;
    }
}

/* ---- Users ---- */

static void keep_schemas(struct negotiator *negotiator, struct bridge *bridge)
{
    schema_entry_keep(negotiator, bridge->client);
    schema_entry_keep(negotiator, bridge->service);
    for (size_t i = 0; i < bridge->path.count; i++)
        schema_entry_keep(negotiator, bridge->path.entries[i]);
}

/* Last the ends: with them an unused bridge may go. */
static void drop_schemas(struct negotiator *negotiator, const struct bridge *bridge)
{
    const struct bridge was = *bridge;
    for (size_t i = 0; i < was.path.count; i++)
        schema_entry_drop(negotiator, was.path.entries[i]);
    schema_entry_drop(negotiator, was.service);
    schema_entry_drop(negotiator, was.client);
}

struct bridge *bridge_keep(struct negotiator *negotiator, struct bridge *bridge)
{
    if (bridge && bridge->users++ == 0)
        keep_schemas(negotiator, bridge);
    return bridge;
}

struct bridge *bridge_drop(struct negotiator *negotiator, struct bridge *bridge)
{
    if (!bridge || --bridge->users > 0)
        return NULL;
    if (bridge->retired) {
        const struct bridge was = *bridge;
        bridge_free(bridge);
        drop_schemas(negotiator, &was);
    } else {
        drop_schemas(negotiator, bridge);
    }
    return NULL;
}

/* ---- Compiling ---- */

static int compile_path(const struct schema_path *path, enum plan_payload payload,
                        struct plan **ret_plan, struct error_text *error)
{
    const struct schema *versions[BROKER_PATH_MAX];
    for (size_t i = 0; i < path->count; i++)
        versions[i] = path->entries[i]->schema;
    return plan_compile_path(versions, path->count, payload, ret_plan, error);
}

static int compile_both(struct bridge *bridge)
{
    int r = compile_path(&bridge->path, PLAN_REQUESTS, &bridge->requests, &bridge->error);
    if (r == 0)
        r = compile_path(&bridge->path, PLAN_REPLIES, &bridge->replies, &bridge->error);
    if (r < 0) {
        bridge->requests = plan_unref(bridge->requests);
        return r;
    }
    /* The worse of the two directions; between different versions it is at best iso. */
    enum plan_class requests = plan_class(bridge->requests);
    enum plan_class replies = plan_class(bridge->replies);
    bridge->class = requests > replies ? requests : replies;
    if (bridge->class == PLAN_IDENTITY)
        bridge->class = PLAN_ISO;
    return 0;
}

/* By the shortest path; if that cannot be bridged, over the older end's highest minor version,
 * which the rules were probably written against. */
static int compile(struct negotiator *negotiator, struct bridge *bridge)
{
    uint64_t begin_ns = clock_now_ns();
    int r = compile_both(bridge);
    struct error_text first = bridge->error;
    if (r == -EINVAL && registry_detour(negotiator, &bridge->path)) {
        r = compile_both(bridge);
        if (r < 0)
            bridge->error = first;
    }
    bridge->compile_ns = clock_now_ns() - begin_ns;
    return r;
}

static bool same_program(const struct plan *a, const struct plan *b)
{
    size_t a_bytes;
    size_t b_bytes;
    const uint8_t *a_program = plan_program(a, &a_bytes);
    const uint8_t *b_program = plan_program(b, &b_bytes);
    return a_bytes == b_bytes && memcmp(a_program, b_program, a_bytes) == 0;
}

/* Where both were compiled: nothing has to be sent if nothing is different. */
static bool same_plans(const struct bridge *a, const struct bridge *b)
{
    return a->class == b->class && same_program(a->requests, b->requests) &&
           same_program(a->replies, b->replies);
}

static struct bridge *bridge_find(struct negotiator *negotiator, const struct schema_entry *client,
                                  const struct schema_entry *service)
{
    struct bridge *bridge;
    LIST_FOREACH(bridge, &negotiator->bridges, entry)
        if (bridge->client == client && bridge->service == service && !bridge->retired)
            return bridge;
    return NULL;
}

static const Parley__Interface *interface_of(const struct schema_entry *entry)
{
    return schema_service(entry->schema)->interface;
}

/* The plans of a pair of versions are of one line, whatever their contents. */
static void join_line(struct negotiator *negotiator, struct bridge *bridge)
{
    const struct bridge *other;
    bridge->requests_id = ++negotiator->plan_last;
    bridge->replies_id = ++negotiator->plan_last;
    bridge->requests_line = bridge->requests_id;
    bridge->replies_line = bridge->replies_id;
    if (++negotiator->tag_last == 0)
        negotiator->tag_last = 1;
    bridge->tag = negotiator->tag_last;
    LIST_FOREACH(other, &negotiator->bridges, entry) {
        if (other->client != bridge->client ||
            semver_compare(&other->service->version, &bridge->service->version) != 0 ||
            strcmp(interface_of(other->service)->name, interface_of(bridge->service)->name) != 0)
            continue;
        bridge->requests_line = other->requests_line;
        bridge->replies_line = other->replies_line;
        return;
    }
}

/* The same plans as the last ones of the line are those: whoever has them need not be sent them
 * again. Only the last ones, for channels never go back in their line. */
static void share_ids(struct negotiator *negotiator, struct bridge *bridge)
{
    const struct bridge *other;
    LIST_FOREACH(other, &negotiator->bridges, entry) {
        if (other == bridge || other->result < 0 ||
            other->requests_line != bridge->requests_line)
            continue;
        if (!same_plans(other, bridge))
            return;
        bridge->requests_id = other->requests_id;
        bridge->replies_id = other->replies_id;
        bridge->tag = other->tag;
        return;
    }
}

static struct bridge *bridge_new(struct negotiator *negotiator, struct schema_entry *client,
                                 struct schema_entry *service)
{
    struct bridge *bridge = calloc(1, sizeof(*bridge));
    if (!bridge)
        return NULL;
    bridge->client = client;
    bridge->service = service;
    join_line(negotiator, bridge);
    LIST_INSERT_HEAD(&negotiator->bridges, bridge, entry);
    bridge->result = registry_path(negotiator, client, service, &bridge->wanted, &bridge->error);
    bridge->path = bridge->wanted;
    if (bridge->result == 0)
        bridge->result = compile(negotiator, bridge);
    if (bridge->result == 0)
        share_ids(negotiator, bridge);
    return bridge;
}

static bool same_path(const struct schema_path *a, const struct schema_path *b)
{
    return a->count == b->count &&
           memcmp(a->entries, b->entries, a->count * sizeof(a->entries[0])) == 0;
}

/* The registry has changed since the bridge was looked at. */
static bool still_good(struct negotiator *negotiator, struct bridge *bridge)
{
    struct schema_path path;
    struct error_text error;
    if (bridge->checked_at == negotiator->generation)
        return true;
    if (bridge->result < 0 ||
        registry_path(negotiator, bridge->client, bridge->service, &path, &error) < 0)
        return false;
    if (!same_path(&path, &bridge->wanted))
        return false;
    bridge->checked_at = negotiator->generation;
    return true;
}

/* @old takes over what @new was compiled from. */
static void adopt_path(struct negotiator *negotiator, struct bridge *old, struct bridge *new)
{
    const struct bridge was = *old;
    old->path = new->path;
    old->wanted = new->wanted;
    if (old->users > 0) {
        keep_schemas(negotiator, old);
        drop_schemas(negotiator, &was);
    }
}

/* @new replaces @old, unless it is no better. Return: the one that counts. */
static struct bridge *replace(struct negotiator *negotiator, struct bridge *old, struct bridge *new)
{
    if (old->result == 0 && new->result < 0) {
        old->complaint = new->error; /* the old plans stay in force */
        bridge_free(new);
        return old;
    }
    if (old->result == 0 && new->result == 0 && same_plans(old, new)) {
        adopt_path(negotiator, old, new);
        bridge_free(new);
        return old;
    }
    old->retired = true;
    if (old->users == 0)
        bridge_free(old);
    return new;
}

int negotiator_bridge(struct negotiator *negotiator, struct schema_entry *client,
                      struct schema_entry *service, struct bridge **ret_bridge,
                      struct error_text *error)
{
    struct bridge *bridge = bridge_find(negotiator, client, service);
    if (!bridge || !still_good(negotiator, bridge)) {
        struct bridge *new = bridge_new(negotiator, client, service);
        if (!new)
            return error_set(error, -ENOMEM, "the broker is out of memory");
        bridge = bridge ? replace(negotiator, bridge, new) : new;
        bridge->checked_at = negotiator->generation;
    }
    if (bridge->result < 0) {
        int r = error_set(error, bridge->result, "%s", bridge->error.text);
        if (r == -ENOMEM)
            bridge_free(bridge); /* that may pass */
        return r;
    }
    *ret_bridge = bridge;
    return 0;
}
