/*
 * Match rules: which version a call goes to because of its metadata, whatever its bucket.
 *
 * A rule has conditions, all of which must hold; the first rule that fits counts. The broker has
 * put them in order: most conditions first, then as they were written, which is what the Gateway
 * API says of a GRPCRoute's rules ("the largest number of header matches", then "the first matching
 * rule"). Nothing orders exact values before patterns there, and nothing does here. Two conditions
 * on one key must both hold.
 *
 * A client compiles the rules of a slot when the page says that they changed, never for a call.
 * They come from the broker's page, so every index and length is bounded here; a rule with a
 * condition that makes no sense, or a pattern that PCRE2 does not take, fits nothing, nor does one
 * without conditions: a page that is wrong in this way costs the canary its special calls, no more.
 */
#include "rpc/internal.h"

#include <string.h>

#include "base/pattern.h"
#include "base/random.h"

struct condition {
    uint8_t kind, key_bytes; /* enum route_match_kind */
    uint16_t value_bytes;
    const char *key, *value; /* in the matcher's text */
    struct pattern *pattern;
};

struct rule {
    uint32_t version;
    uint32_t first, end; /* conditions */
    bool broken;
};

struct matcher {
    uint32_t rule_count;
    struct rule rules[ROUTE_RULE_MAX];
    struct condition conditions[ROUTE_CONDITION_MAX];
    char text[8 * ROUTE_TEXT_WORDS];
};

/* False: it makes no sense. */
static bool condition_read(const struct route_rules *rules, uint32_t i, struct matcher *matcher,
                           struct condition *ret)
{
    uint32_t at = rules->condition[i].key_at;
    *ret = (struct condition){
        .kind = rules->condition[i].kind,
        .key_bytes = rules->condition[i].key_bytes,
        .value_bytes = rules->condition[i].value_bytes,
    };
    if (ret->key_bytes == 0 || ret->key_bytes > RPC_METADATA_KEY_BYTES_MAX ||
        at + ret->key_bytes + ret->value_bytes > rules->text_bytes)
        return false;
    ret->key = matcher->text + at;
    ret->value = ret->key + ret->key_bytes;
    if (ret->kind != ROUTE_MATCH_REGEX)
        return ret->kind >= ROUTE_MATCH_EXACT && ret->kind <= ROUTE_MATCH_PRESENT;
    struct error_text error;
    return pattern_new(ret->value, ret->value_bytes, &ret->pattern, &error) == 0;
}

struct matcher *matcher_new(const struct route_rules *rules)
{
    if (rules->rule_count == 0)
        return NULL;
    struct matcher *matcher = calloc(1, sizeof(*matcher));
    if (!matcher)
        return NULL;
    memcpy(matcher->text, rules->text, rules->text_bytes);
    matcher->rule_count = rules->rule_count;
    uint32_t used = 0;
    for (uint32_t r = 0; r < rules->rule_count; r++) {
        struct rule *rule = &matcher->rules[r];
        rule->version = rules->rule_version[r];
        rule->first = used;
        for (uint32_t i = 0; i < rules->condition_count; i++) {
            if (rules->condition[i].rule != r)
                continue;
            rule->broken |= !condition_read(rules, i, matcher, &matcher->conditions[used]);
            used++;
        }
        rule->end = used;
        rule->broken |= rule->end == rule->first || rule->version >= ROUTE_VERSION_MAX;
    }
    return matcher;
}

struct matcher *matcher_free(struct matcher *matcher)
{
    if (!matcher)
        return NULL;
    for (uint32_t i = 0; i < ROUTE_CONDITION_MAX; i++)
        pattern_free(matcher->conditions[i].pattern);
    free(matcher);
    return NULL;
}

static bool holds(const struct condition *condition, const uint8_t *metadata, size_t bytes)
{
    size_t value_bytes;
    const char *value =
        metadata_get(metadata, bytes, condition->key, condition->key_bytes, &value_bytes);
    if (!value)
        return false;
    switch (condition->kind) {
    case ROUTE_MATCH_EXACT:
        return value_bytes == condition->value_bytes &&
               memcmp(value, condition->value, value_bytes) == 0;
    case ROUTE_MATCH_PREFIX:
        return value_bytes >= condition->value_bytes &&
               memcmp(value, condition->value, condition->value_bytes) == 0;
    case ROUTE_MATCH_REGEX:
        return pattern_fits(condition->pattern, value, value_bytes);
    default:
        return true;
    }
}

static bool fits(const struct matcher *matcher, const struct rule *rule, const uint8_t *metadata,
                 size_t bytes)
{
    if (rule->broken)
        return false;
    for (uint32_t i = rule->first; i < rule->end; i++)
        if (!holds(&matcher->conditions[i], metadata, bytes))
            return false;
    return true;
}

uint32_t matcher_version(const struct matcher *matcher, const uint8_t *metadata, size_t bytes)
{
    for (uint32_t r = 0; r < matcher->rule_count; r++)
        if (fits(matcher, &matcher->rules[r], metadata, bytes))
            return matcher->rules[r].version;
    return ROUTE_NOBODY;
}

uint32_t route_choose(const struct route_view *view, const struct matcher *matcher,
                      const uint8_t *metadata, size_t bytes, uint64_t *random)
{
    size_t key_bytes = 0;
    const char *key = NULL;
    if (bytes && matcher) {
        uint32_t version = matcher_version(matcher, metadata, bytes);
        if (version != ROUTE_NOBODY)
            return version;
    }
    if (bytes && view->sticky_bytes)
        key = metadata_get(metadata, bytes, view->sticky_key, view->sticky_bytes, &key_bytes);
    return route_version(view, key ? route_bucket(view, key, key_bytes)
                                   : random_below(random, ROUTE_BUCKETS));
}
