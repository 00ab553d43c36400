/*
 * Negotiation: which published versions a client may be served by, in which order, and with which
 * plans.
 *
 * Schemas are kept once a content: thousands of clients built against one version share one parsed
 * schema, and the pair of plans between it and a service's is compiled once (a bridge), failures
 * included. Nobody has to remember to free any of this: a schema that nobody uses any more stays
 * for a while, for the client that comes back, and takes its bridges along when it goes.
 *
 * The order of offers is the client's: by the index of the alternative that accepts a version, then
 * the higher version. Equal versions are the identity (plan 0), and must then be the same
 * interface: equal bytes, or, for sets that were written by different tools, the same methods in
 * the same order over the same messages, as far as the wire can tell.
 *
 * What is refused says who asked for what, what was on offer, and why each of it was not good
 * enough.
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* ---- Schemas ---- */

void negotiator_init(struct negotiator *negotiator)
{
    *negotiator = (struct negotiator){0};
    TAILQ_INIT(&negotiator->schemas);
    LIST_INIT(&negotiator->bridges);
}

static void bridge_free(struct bridge *bridge)
{
    LIST_REMOVE(bridge, entry);
    plan_unref(bridge->requests);
    plan_unref(bridge->replies);
    free(bridge);
}

static void entry_free(struct negotiator *negotiator, struct schema_entry *entry)
{
    struct bridge *bridge = LIST_FIRST(&negotiator->bridges);
    while (bridge) {
        struct bridge *next = LIST_NEXT(bridge, entry);
        if (bridge->client == entry || bridge->service == entry)
            bridge_free(bridge);
        bridge = next;
    }
    TAILQ_REMOVE(&negotiator->schemas, entry, entry);
    schema_unref(entry->schema);
    free(entry);
}

void negotiator_deinit(struct negotiator *negotiator)
{
    struct schema_entry *entry;
    while ((entry = TAILQ_FIRST(&negotiator->schemas)) != NULL)
        entry_free(negotiator, entry);
}

/* The same set may hold several services, each an interface of its own. */
static struct schema_entry *entry_find(struct negotiator *negotiator, const struct digest *hash,
                                       const char *service)
{
    struct schema_entry *entry;
    TAILQ_FOREACH(entry, &negotiator->schemas, entry)
        if (memcmp(&entry->hash, hash, sizeof(*hash)) == 0 &&
            strcmp(schema_service(entry->schema)->name, service) == 0)
            return entry;
    return NULL;
}

static int check_claims(const struct schema *schema, const char *interface, const char *version,
                        struct error_text *error)
{
    const Parley__Interface *option = schema_service(schema)->interface;
    if (strcmp(option->name, interface) != 0 || strcmp(option->version, version) != 0)
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
    /* Idle until its first user has been counted. */
    TAILQ_INSERT_TAIL(&negotiator->schemas, entry, entry);
    negotiator->idle_count++;
    *ret_entry = entry;
    return 0;
}

static void forget_oldest(struct negotiator *negotiator)
{
    struct schema_entry *entry;
    TAILQ_FOREACH(entry, &negotiator->schemas, entry) {
        if (entry->users == 0) {
            negotiator->idle_count--;
            entry_free(negotiator, entry);
            return;
        }
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
        if (negotiator->idle_count > BROKER_SCHEMA_IDLE_MAX)
            forget_oldest(negotiator);
        return r;
    }
    if (entry->users++ == 0)
        negotiator->idle_count--;
    *ret_entry = entry;
    return 0;
}

struct schema_entry *schema_entry_drop(struct negotiator *negotiator, struct schema_entry *entry)
{
    if (!entry || --entry->users > 0)
        return NULL;
    TAILQ_REMOVE(&negotiator->schemas, entry, entry);
    TAILQ_INSERT_TAIL(&negotiator->schemas, entry, entry);
    if (++negotiator->idle_count > BROKER_SCHEMA_IDLE_MAX)
        forget_oldest(negotiator);
    return NULL;
}

/* ---- The same interface? ---- */

/* Messages may refer to themselves: a pair that is being compared, or was, counts as the same. */
struct comparison {
    const struct schema_message *(*pairs)[2];
    size_t count, max;
    struct error_text *error;
};

static bool differ(struct comparison *comparison, const char *where, const char *what)
{
    error_set(comparison->error, 0, "%s: %s", where, what);
    return false;
}

static bool note_pair(struct comparison *comparison, const struct schema_message *a,
                      const struct schema_message *b, bool *ret_known)
{
    for (size_t i = 0; i < comparison->count; i++)
        if (comparison->pairs[i][0] == a && comparison->pairs[i][1] == b) {
            *ret_known = true;
            return true;
        }
    *ret_known = false;
    if (comparison->count == comparison->max) {
        size_t max = comparison->max ? 2 * comparison->max : 32;
        void *grown = realloc(comparison->pairs, max * sizeof(*comparison->pairs));
        if (!grown || max > 2 * SCHEMA_MESSAGE_MAX) {
            if (grown)
                comparison->pairs = grown;
            return false;
        }
        comparison->pairs = grown;
        comparison->max = max;
    }
    comparison->pairs[comparison->count][0] = a;
    comparison->pairs[comparison->count][1] = b;
    comparison->count++;
    return true;
}

static bool same_enum(struct comparison *comparison, const struct schema_enum *a,
                      const struct schema_enum *b)
{
    if (strcmp(a->name, b->name) != 0 || a->closed != b->closed || a->value_count != b->value_count)
        return differ(comparison, a->name, "another enum");
    for (size_t i = 0; i < a->value_count; i++)
        if (a->values[i].number != b->values[i].number ||
            strcmp(a->values[i].name, b->values[i].name) != 0)
            return differ(comparison, a->name, "other values");
    return true;
}

static bool same_field(struct comparison *comparison, const struct schema_message *message,
                       const struct schema_field *a, const struct schema_field *b)
{
    const char *a_default = a->default_value ? a->default_value : "";
    const char *b_default = b->default_value ? b->default_value : "";
    if (a->number != b->number || a->type != b->type || a->repeated != b->repeated ||
        a->required != b->required || a->presence != b->presence || strcmp(a->name, b->name) != 0 ||
        strcmp(a_default, b_default) != 0)
        return differ(comparison, message->name, "other fields");
    if (a->enumeration && !same_enum(comparison, a->enumeration, b->enumeration))
        return false;
    return true;
}

/* One message's own fields; those that they refer to are put on the list, so that depth is no
 * matter of the stack. */
static bool same_message(struct comparison *comparison, const struct schema_message *a,
                         const struct schema_message *b)
{
    if (strcmp(a->name, b->name) != 0 || a->field_count != b->field_count)
        return differ(comparison, a->name, "another message");
    for (size_t i = 0; i < a->field_count; i++) {
        bool known;
        if (!same_field(comparison, a, &a->fields[i], &b->fields[i]))
            return false;
        if (a->fields[i].message &&
            !note_pair(comparison, a->fields[i].message, b->fields[i].message, &known))
            return differ(comparison, a->name, "too large to compare");
    }
    return true;
}

static bool same_methods(struct comparison *comparison, const struct schema_service *a,
                         const struct schema_service *b)
{
    if (strcmp(a->name, b->name) != 0 || a->method_count != b->method_count)
        return differ(comparison, a->name, "another service");
    for (size_t i = 0; i < a->method_count; i++) {
        const struct schema_method *x = &a->methods[i];
        const struct schema_method *y = &b->methods[i];
        bool known;
        if (strcmp(x->name, y->name) != 0 || x->client_streaming != y->client_streaming ||
            x->server_streaming != y->server_streaming || x->idempotency != y->idempotency)
            return differ(comparison, x->name, "another method");
        if (!note_pair(comparison, x->input, y->input, &known) ||
            !note_pair(comparison, x->output, y->output, &known))
            return differ(comparison, x->name, "too large to compare");
    }
    return true;
}

bool schema_same(const struct schema *a, const struct schema *b, struct error_text *error)
{
    size_t a_bytes;
    size_t b_bytes;
    const uint8_t *a_set = schema_set(a, &a_bytes);
    const uint8_t *b_set = schema_set(b, &b_bytes);
    if (a_bytes == b_bytes && memcmp(a_set, b_set, a_bytes) == 0)
        return true;
    struct comparison comparison = {.error = error};
    bool same = same_methods(&comparison, schema_service(a), schema_service(b));
    for (size_t i = 0; same && i < comparison.count; i++) /* the list grows as we go */
        same = same_message(&comparison, comparison.pairs[i][0], comparison.pairs[i][1]);
    free(comparison.pairs);
    return same;
}

/* ---- Bridges ---- */

static int compile(struct bridge *bridge)
{
    const struct schema *client = bridge->client->schema;
    const struct schema *service = bridge->service->schema;
    int r = plan_compile(client, service, PLAN_REQUESTS, &bridge->requests, &bridge->error);
    if (r == 0)
        r = plan_compile(client, service, PLAN_REPLIES, &bridge->replies, &bridge->error);
    if (r < 0)
        return r;
    /* The worse of the two directions; between different versions it is at best iso. */
    enum plan_class requests = plan_class(bridge->requests);
    enum plan_class replies = plan_class(bridge->replies);
    bridge->class = requests > replies ? requests : replies;
    if (bridge->class == PLAN_IDENTITY)
        bridge->class = PLAN_ISO;
    return 0;
}

int negotiator_bridge(struct negotiator *negotiator, const struct schema_entry *client,
                      const struct schema_entry *service, struct bridge **ret_bridge,
                      struct error_text *error)
{
    struct bridge *bridge;
    LIST_FOREACH(bridge, &negotiator->bridges, entry)
        if (bridge->client == client && bridge->service == service)
            break;
    if (!bridge) {
        bridge = calloc(1, sizeof(*bridge));
        if (!bridge)
            return error_set(error, -ENOMEM, "the broker is out of memory");
        bridge->client = client;
        bridge->service = service;
        LIST_INSERT_HEAD(&negotiator->bridges, bridge, entry);
        bridge->result = compile(bridge);
        bridge->requests_id = ++negotiator->plan_last;
        bridge->replies_id = ++negotiator->plan_last;
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

/* ---- Negotiating ---- */

int negotiate_version(struct negotiator *negotiator, const struct contract *contract,
                      struct version *version, struct offer *ret_offer, struct error_text *error)
{
    struct offer offer = {.version = version};
    if (contract->ranges) {
        offer.rank = semver_ranges_match(contract->ranges, &version->semver);
        if (offer.rank < 0)
            return error_set(error, -ENOENT, "not in the ranges");
    }
    const struct schema_entry *mine = contract->schema;
    if (semver_compare(&mine->version, &version->semver) == 0) {
        struct error_text where = {""};
        if (mine != version->schema && !schema_same(mine->schema, version->schema->schema, &where))
            return error_set(error, -EINVAL,
                             "the client's %s differs from the one that is published (%s): change "
                             "the version with the schema",
                             version->name, where.text);
        *ret_offer = offer;
        return 0;
    }
    int r = negotiator_bridge(negotiator, mine, version->schema, &offer.bridge, error);
    if (r < 0)
        return r == -ENOMEM ? r : -EINVAL;
    *ret_offer = offer;
    return 0;
}

static int compare_offers(const void *a, const void *b)
{
    const struct offer *x = a;
    const struct offer *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return semver_compare(&y->version->semver, &x->version->semver);
}

/* Appends; cut at the end of the buffer. */
static void append(struct error_text *text, const char *piece)
{
    size_t used = strlen(text->text);
    (void)snprintf(text->text + used, sizeof(text->text) - used, "%s", piece);
}

static enum parley_status refuse(const struct contract *contract, const struct error_text *reasons,
                                 struct error_text *ret_text)
{
    char on_offer[128];
    interface_describe(contract->interface, on_offer, sizeof(on_offer));
    error_set(ret_text, 0, "a client of %s %s that accepts %.80s finds no version; on offer: %s%s",
              contract->interface->name,
              schema_service(contract->schema->schema)->interface->version,
              contract->accept ? contract->accept : "anything", on_offer, reasons->text);
    return PARLEY_FAILED_PRECONDITION;
}

static bool out_of_memory(int r, struct error_text *ret_text)
{
    if (r != -ENOMEM)
        return false;
    error_set(ret_text, 0, "the broker is out of memory");
    return true;
}

enum parley_status negotiate(struct negotiator *negotiator, const struct contract *contract,
                             struct offer ret_offers[ROUTE_VERSION_MAX], size_t *ret_count,
                             struct error_text *ret_text)
{
    struct error_text reasons = {""};
    size_t count = 0;
    unsigned published = 0;
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++) {
        struct version *version = contract->interface->versions[i];
        if (!version || !version_up(version))
            continue;
        published++;
        struct error_text error = {""};
        int r = negotiate_version(negotiator, contract, version, &ret_offers[count], &error);
        if (out_of_memory(r, ret_text))
            return PARLEY_RESOURCE_EXHAUSTED;
        if (r == 0) {
            count++;
        } else if (r != -ENOENT) {
            append(&reasons, "; ");
            append(&reasons, version->name);
            append(&reasons, ": ");
            append(&reasons, error.text);
        }
    }
    if (published == 0) {
        error_set(ret_text, 0, "nothing publishes %s yet", contract->interface->name);
        return PARLEY_UNAVAILABLE;
    }
    if (count == 0)
        return refuse(contract, &reasons, ret_text);
    qsort(ret_offers, count, sizeof(ret_offers[0]), compare_offers);
    *ret_count = count;
    return PARLEY_OK;
}
