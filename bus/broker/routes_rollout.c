/*
 * A rollout in the route page.
 *
 * Whoever runs a rollout says which versions are stable and canary and what goes where; here it is
 * checked, kept with the interface, and written with the next write of its slot, so that a client
 * sees all of a decision or nothing of it.
 *
 * Buckets: the canary has those from 0 up to its share, the stable version all others. So widening
 * takes nobody out of the canary, and narrowing takes out those that came in last. The bucket comes
 * from the salt and the value of the sticky key alone: not from weights, instances or the broker's
 * life. Interfaces with one salt put a user into the same bucket, so that with one share a user has
 * the canary everywhere or nowhere.
 *
 * Rules lie in a block of their own, of which there are ROUTE_MATCHES_MAX: an interface takes one
 * while its rollout has rules. They are packed and put in order once, when they come; the block is
 * written, under the seqlock of the slot, only if they differ from those before, for every client
 * compiles them anew then.
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pattern.h"

#define KEY_BYTES_MAX (8 * ROUTE_KEY_WORDS)

/* As they lie in a struct route_matches. No padding is left undefined: they are compared as bytes.
 */
struct packed_rules {
    uint32_t rule_count, condition_count, text_bytes;
    uint8_t rule_version[ROUTE_RULE_MAX];
    struct {
        uint16_t rule, kind, key_bytes, key_at, value_bytes;
    } condition[ROUTE_CONDITION_MAX];
    char text[8 * ROUTE_TEXT_WORDS];
};

struct rollout_route {
    char name[BROKER_NAME_BYTES];
    char sticky_key[KEY_BYTES_MAX + 1];
    uint64_t salt;
    uint32_t stable, canary; /* indices of the slot */
    uint32_t canary_buckets, mirror_buckets;
    uint32_t matches;          /* 1 + the block; 0: none */
    uint32_t matches_sequence; /* of the write that changed it last */
    bool rules_changed;        /* the block has to be written */
    struct packed_rules rules;
};

/* ---- Checking and packing ---- */

static bool key_is_valid(const char *key)
{
    size_t bytes = strnlen(key, KEY_BYTES_MAX + 1);
    return bytes > 0 && bytes <= KEY_BYTES_MAX && strncmp(key, "parley.", 7) != 0 &&
           strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789._-") == bytes;
}

static int check_condition(const struct route_condition_text *condition, struct error_text *error)
{
    if (!condition->key || !key_is_valid(condition->key))
        return error_set(error, -EINVAL,
                         "a match on \"%.80s\": a metadata key is 1 to %d bytes of a-z 0-9 . _ -, "
                         "and does not begin with parley.",
                         condition->key ? condition->key : "", KEY_BYTES_MAX);
    if (condition->kind < ROUTE_MATCH_EXACT || condition->kind > ROUTE_MATCH_PRESENT ||
        (condition->kind != ROUTE_MATCH_PRESENT && !condition->value))
        return error_set(error, -EINVAL, "a match on %s of no known kind", condition->key);
    if (condition->kind != ROUTE_MATCH_REGEX)
        return 0;
    struct pattern *pattern;
    int r = pattern_new(condition->value, strlen(condition->value), &pattern, error);
    if (r < 0)
        return error_prefix(error, r, "a match on %s", condition->key);
    pattern_free(pattern);
    return 0;
}

static int too_much(struct error_text *error)
{
    return error_set(error, -E2BIG,
                     "match rules that are too large: at most %d rules with %d conditions, and "
                     "%d bytes of keys and values together",
                     ROUTE_RULE_MAX, ROUTE_CONDITION_MAX, 8 * ROUTE_TEXT_WORDS);
}

static int pack_condition(struct packed_rules *rules, const struct route_condition_text *condition,
                          struct error_text *error)
{
    int r = check_condition(condition, error);
    if (r < 0)
        return r;
    size_t key_bytes = strlen(condition->key);
    size_t value_bytes = condition->kind == ROUTE_MATCH_PRESENT ? 0 : strlen(condition->value);
    if (rules->condition_count == ROUTE_CONDITION_MAX || value_bytes > sizeof(rules->text) ||
        key_bytes + value_bytes > sizeof(rules->text) - rules->text_bytes)
        return too_much(error);
    uint32_t i = rules->condition_count++;
    rules->condition[i].rule = (uint16_t)rules->rule_count;
    rules->condition[i].kind = (uint16_t)condition->kind;
    rules->condition[i].key_bytes = (uint16_t)key_bytes;
    rules->condition[i].key_at = (uint16_t)rules->text_bytes;
    rules->condition[i].value_bytes = (uint16_t)value_bytes;
    memcpy(rules->text + rules->text_bytes, condition->key, key_bytes);
    rules->text_bytes += (uint32_t)key_bytes;
    if (value_bytes)
        memcpy(rules->text + rules->text_bytes, condition->value, value_bytes);
    rules->text_bytes += (uint32_t)value_bytes;
    return 0;
}

static int pack_rule(struct packed_rules *rules, const struct route_rule *rule, uint32_t version,
                     struct error_text *error)
{
    for (size_t i = 0; i < rule->condition_count; i++) {
        int r = pack_condition(rules, &rule->conditions[i], error);
        if (r < 0)
            return r;
    }
    rules->rule_version[rules->rule_count++] = (uint8_t)version;
    return 0;
}

/* Those with most conditions first; the order of the others stays. */
static int pack_rules(const struct route_rollout *from, struct rollout_route *route,
                      struct error_text *error)
{
    if (from->rule_count > ROUTE_RULE_MAX)
        return too_much(error);
    for (size_t i = 0; i < from->rule_count; i++) {
        if (from->rules[i].condition_count == 0)
            return error_set(error, -EINVAL, "a match rule without conditions");
        if (from->rules[i].condition_count > ROUTE_CONDITION_MAX)
            return too_much(error);
    }
    for (size_t count = ROUTE_CONDITION_MAX; count > 0; count--) {
        for (size_t i = 0; i < from->rule_count; i++) {
            const struct route_rule *rule = &from->rules[i];
            if (rule->condition_count != count)
                continue;
            int r = pack_rule(&route->rules, rule, rule->to_stable ? route->stable : route->canary,
                              error);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int find_version(const struct interface *interface, const char *name, uint32_t *ret_index,
                        struct error_text *error)
{
    struct semver semver;
    const struct version *version = NULL;
    if (name && semver_parse(name, &semver) == 0)
        version = interface_version(interface, &semver);
    if (!version)
        return error_set(error, -ENOENT, "%s has no version %.40s", interface->name,
                         name ? name : "");
    *ret_index = version->index;
    return 0;
}

static int read_rollout(const struct interface *interface, const struct route_rollout *from,
                        struct rollout_route *route, struct error_text *error)
{
    const char *key = from->sticky_key ? from->sticky_key : "";
    if (from->canary_buckets > ROUTE_BUCKETS || from->mirror_buckets > ROUTE_BUCKETS)
        return error_set(error, -EINVAL, "a share of %u or %u: at most %d", from->canary_buckets,
                         from->mirror_buckets, ROUTE_BUCKETS);
    if (*key && !key_is_valid(key))
        return error_set(error, -EINVAL, "\"%.80s\" is no metadata key to be sticky by", key);
    int r = find_version(interface, from->stable, &route->stable, error);
    if (r == 0)
        r = find_version(interface, from->canary, &route->canary, error);
    if (r < 0)
        return r;
    (void)snprintf(route->name, sizeof(route->name), "%s", from->name ? from->name : "");
    (void)snprintf(route->sticky_key, sizeof(route->sticky_key), "%s", key);
    route->salt = from->salt;
    route->canary_buckets = from->canary_buckets;
    route->mirror_buckets = from->mirror_buckets;
    return pack_rules(from, route, error);
}

/* ---- Publishing ---- */

/* The block that the interface has, or a free one. */
static int take_block(struct routes *routes, const struct rollout_route *old,
                      struct rollout_route *route, struct error_text *error)
{
    if (old && old->matches) {
        route->matches = old->matches;
        return 0;
    }
    for (uint32_t i = 0; i < ROUTE_MATCHES_MAX; i++) {
        if (routes->matches_used >> i & 1)
            continue;
        routes->matches_used |= UINT32_C(1) << i;
        route->matches = i + 1;
        return 0;
    }
    return error_set(error, -ENOSPC,
                     "%d interfaces have match rules already: end one's rollout first",
                     ROUTE_MATCHES_MAX);
}

static void give_back(struct routes *routes, uint32_t matches)
{
    static_assert(ROUTE_MATCHES_MAX == 32, "bits");
    if (matches)
        routes->matches_used &= ~(UINT32_C(1) << (matches - 1));
}

static int place_rules(struct routes *routes, const struct rollout_route *old,
                       struct rollout_route *route, struct error_text *error)
{
    if (route->rules.rule_count == 0) {
        if (old)
            give_back(routes, old->matches);
        return 0;
    }
    int r = take_block(routes, old, route, error);
    if (r < 0)
        return r;
    route->rules_changed = !old || !old->matches || old->rules_changed ||
                           memcmp(&old->rules, &route->rules, sizeof(route->rules)) != 0;
    if (!route->rules_changed)
        route->matches_sequence = old->matches_sequence;
    return 0;
}

static bool same(const struct rollout_route *a, const struct rollout_route *b)
{
    return a && !b->rules_changed && a->stable == b->stable && a->canary == b->canary &&
           a->canary_buckets == b->canary_buckets && a->mirror_buckets == b->mirror_buckets &&
           a->matches == b->matches && a->salt == b->salt &&
           strcmp(a->sticky_key, b->sticky_key) == 0;
}

static bool set_weights(struct interface *interface, const struct rollout_route *route)
{
    bool changed = false;
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++) {
        struct version *version = interface->versions[i];
        if (!version)
            continue;
        uint32_t weight = i == route->canary ? route->canary_buckets : 0;
        if (i == route->stable)
            weight += ROUTE_BUCKETS - route->canary_buckets;
        if (route->stable == route->canary && i == route->stable)
            weight = ROUTE_BUCKETS;
        changed = changed || version->weight != weight;
        version->weight = weight;
    }
    return changed;
}

int routes_set_rollout(struct broker *broker, struct interface *interface,
                       const struct route_rollout *rollout, struct error_text *error)
{
    struct rollout_route *route = calloc(1, sizeof(*route));
    if (!route)
        return error_set(error, -ENOMEM, "the broker is out of memory");
    int r = read_rollout(interface, rollout, route, error);
    if (r == 0)
        r = place_rules(&broker->routes, interface->rollout, route, error);
    if (r < 0) {
        free(route);
        return r;
    }
    bool changed = !same(interface->rollout, route);
    free(interface->rollout);
    interface->rollout = route;
    changed |= set_weights(interface, route);
    interface->routed = true;
    if (!changed)
        return 0;
    interface->generation++;
    routes_write(&broker->routes, interface);
    return 1;
}

void routes_rollout_free(struct broker *broker, struct interface *interface)
{
    if (interface->rollout)
        give_back(&broker->routes, interface->rollout->matches);
    free(interface->rollout);
    interface->rollout = NULL;
}

void routes_end_rollout(struct broker *broker, struct interface *interface)
{
    if (!interface->rollout)
        return;
    routes_rollout_free(broker, interface);
    interface->generation++;
    routes_write(&broker->routes, interface);
}

const char *routes_rollout(const struct interface *interface)
{
    return interface->rollout ? interface->rollout->name : NULL;
}

bool routes_rollout_names(const struct version *version)
{
    const struct rollout_route *route = version->interface->rollout;
    return route && (version->index == route->stable || version->index == route->canary);
}

/* ---- Writing ---- */

static void write_rules(struct routes *routes, const struct rollout_route *route)
{
    struct route_matches *matches =
        (struct route_matches *)((uint8_t *)routes->region.base + ROUTE_MATCHES_OFFSET) +
        (route->matches - 1);
    const struct packed_rules *rules = &route->rules;
    /* release, all of them: as in routes.c */
    atomic_store_explicit(&matches->rule_count, rules->rule_count, memory_order_release);
    atomic_store_explicit(&matches->condition_count, rules->condition_count, memory_order_release);
    atomic_store_explicit(&matches->text_bytes, rules->text_bytes, memory_order_release);
    for (uint32_t i = 0; i < rules->rule_count; i++)
        atomic_store_explicit(&matches->rule_version[i], rules->rule_version[i],
                              memory_order_release);
    for (uint32_t i = 0; i < rules->condition_count; i++) {
        struct route_condition *to = &matches->condition[i];
        atomic_store_explicit(&to->rule, (uint8_t)rules->condition[i].rule, memory_order_release);
        atomic_store_explicit(&to->kind, (uint8_t)rules->condition[i].kind, memory_order_release);
        atomic_store_explicit(&to->key_bytes, (uint8_t)rules->condition[i].key_bytes,
                              memory_order_release);
        atomic_store_explicit(&to->key_at, rules->condition[i].key_at, memory_order_release);
        atomic_store_explicit(&to->value_bytes, rules->condition[i].value_bytes,
                              memory_order_release);
    }
    for (uint32_t w = 0; 8 * w < rules->text_bytes; w++) {
        uint64_t word;
        memcpy(&word, rules->text + 8 * w, sizeof(word));
        atomic_store_explicit(&matches->text[w], word, memory_order_release);
    }
}

bool routes_rollout_fill(struct routes *routes, const struct interface *interface,
                         uint32_t next_sequence, struct route_slot_rollout *ret)
{
    struct rollout_route *route = interface->rollout;
    if (!route)
        return false;
    if (route->rules_changed) {
        write_rules(routes, route);
        route->rules_changed = false;
        route->matches_sequence = next_sequence;
    }
    *ret = (struct route_slot_rollout){
        .salt = route->salt,
        .sticky_key = route->sticky_key,
        .stable = route->stable,
        .canary = route->canary,
        .canary_buckets = route->canary_buckets,
        .mirror_buckets = route->mirror_buckets,
        .matches = route->matches,
        .matches_sequence = route->matches_sequence,
    };
    return true;
}
