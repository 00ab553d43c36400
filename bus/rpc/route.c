/*
 * Reading the route page.
 *
 * The broker writes a slot an interface as a seqlock (sequence odd while it writes); a reader loads
 * the sequence on every call and copies the slot only if it has changed. The words of a slot are
 * loaded with acquire, so that the second load of the sequence cannot come before them: Boehm, "Can
 * seqlocks get along with programming language memory models?" (2012), without the fence that
 * ThreadSanitizer cannot follow. A broker killed in the middle of a write leaves an
 * odd sequence behind; we then go on with what we copied last, until a new broker hands out a new
 * page. The broker is trusted with weights, not with our memory: every count is bounded.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <string.h>

#define ROUTE_READS_MAX 64

int route_check(const struct region *page, struct error_text *error)
{
    const struct route_header *header = page->base;
    if (header->magic != ROUTE_MAGIC || header->version != LAYOUT_VERSION ||
        header->slot_count != ROUTE_SLOT_MAX || header->slot_bytes != sizeof(struct route_slot) ||
        header->matches_count != ROUTE_MATCHES_MAX ||
        header->matches_bytes != sizeof(struct route_matches))
        return error_set(error, -EPROTO,
                         "the broker's route page has layout version %u, this library reads %d: "
                         "upgrade the older of the two",
                         header->version, LAYOUT_VERSION);
    return 0;
}

static const struct route_slot *slot_of(const struct region *page, uint32_t slot)
{
    return (const struct route_slot *)((const uint8_t *)page->base + ROUTE_SLOTS_OFFSET) + slot;
}

const _Atomic uint32_t *route_sequence(const struct region *page, uint32_t slot)
{
    return page->base && slot < ROUTE_SLOT_MAX ? &slot_of(page, slot)->sequence : NULL;
}

static uint32_t bounded(const _Atomic uint32_t *value, uint32_t max)
{
    uint32_t v = atomic_load_explicit(value, memory_order_acquire);
    return v < max ? v : max;
}

static uint32_t load(const _Atomic uint32_t *value)
{
    return atomic_load_explicit(value, memory_order_acquire);
}

static void copy_key(struct route_view *view, const struct route_slot *slot)
{
    uint64_t words[ROUTE_KEY_WORDS];
    for (uint32_t w = 0; w < ROUTE_KEY_WORDS; w++)
        words[w] = atomic_load_explicit(&slot->sticky_key[w], memory_order_acquire);
    static_assert(sizeof(words) == sizeof(view->sticky_key), "a key");
    memcpy(view->sticky_key, words, sizeof(words));
    view->sticky_bytes = (uint8_t)strnlen(view->sticky_key, sizeof(view->sticky_key));
}

static void copy_rollout(struct route_view *view, const struct route_slot *slot)
{
    view->rollout = load(&slot->rollout) == 1;
    if (!view->rollout) {
        view->stable_version = view->canary_version = view->canary_buckets = 0;
        view->mirror_version = view->mirror_buckets = view->matches_sequence = 0;
        return;
    }
    view->stable_version = load(&slot->stable_version);
    view->canary_version = load(&slot->canary_version);
    view->canary_buckets = bounded(&slot->canary_buckets, ROUTE_BUCKETS);
    view->mirror_version = load(&slot->mirror_version);
    view->mirror_buckets = bounded(&slot->mirror_buckets, ROUTE_BUCKETS);
    view->matches_sequence = load(&slot->matches) ? load(&slot->matches_sequence) : 0;
}

static void copy(struct route_view *view, const struct route_slot *slot)
{
    copy_rollout(view, slot);
    copy_key(view, slot);
    view->version_count = bounded(&slot->version_count, ROUTE_VERSION_MAX);
    view->instance_count = bounded(&slot->instance_count, ROUTE_INSTANCE_MAX);
    view->generation = atomic_load_explicit(&slot->generation, memory_order_acquire);
    view->salt = atomic_load_explicit(&slot->salt, memory_order_acquire);
    for (uint32_t i = 0; i < view->version_count; i++) {
        view->threshold[i] = bounded(&slot->threshold[i], ROUTE_BUCKETS);
        uint64_t words[ROUTE_VERSION_WORDS];
        for (uint32_t w = 0; w < ROUTE_VERSION_WORDS; w++)
            words[w] = atomic_load_explicit(&slot->version_name[i][w], memory_order_acquire);
        static_assert(sizeof(words) == sizeof(view->version[i]), "a version's name");
        memcpy(view->version[i], words, sizeof(words));
        view->version[i][sizeof(words) - 1] = '\0';
    }
    for (uint32_t i = 0; i < view->instance_count; i++) {
        view->instance_id[i] = atomic_load_explicit(&slot->instance_id[i], memory_order_acquire);
        view->instance_state[i] =
            atomic_load_explicit(&slot->instance_state[i], memory_order_acquire);
    }
}

bool route_refresh(struct route_view *view, const struct region *page, uint32_t slot_index)
{
    if (!page->base || slot_index >= ROUTE_SLOT_MAX)
        return false;
    const struct route_slot *slot = slot_of(page, slot_index);
    /* acquire: pairs with the broker's release store of the even sequence */
    uint32_t before = atomic_load_explicit(&slot->sequence, memory_order_acquire);
    if (before == view->sequence)
        return false;
    struct route_view fresh;
    for (unsigned i = 0; i < ROUTE_READS_MAX; i++) {
        if ((before & 1) == 0) {
            copy(&fresh, slot);
            /* relaxed: the copy's acquire loads keep it behind them */
            uint32_t after = atomic_load_explicit(&slot->sequence, memory_order_relaxed);
            if (after == before) {
                fresh.sequence = before;
                *view = fresh;
                return true;
            }
        }
        spin_pause();
        before = atomic_load_explicit(&slot->sequence, memory_order_acquire);
    }
    return false;
}

static void copy_condition(const struct route_condition *condition, struct route_rules *rules,
                           uint32_t i)
{
    rules->condition[i].rule = atomic_load_explicit(&condition->rule, memory_order_acquire);
    rules->condition[i].kind = atomic_load_explicit(&condition->kind, memory_order_acquire);
    rules->condition[i].key_bytes =
        atomic_load_explicit(&condition->key_bytes, memory_order_acquire);
    rules->condition[i].key_at = atomic_load_explicit(&condition->key_at, memory_order_acquire);
    rules->condition[i].value_bytes =
        atomic_load_explicit(&condition->value_bytes, memory_order_acquire);
}

static void copy_rules(const struct route_matches *matches, struct route_rules *rules)
{
    rules->rule_count = bounded(&matches->rule_count, ROUTE_RULE_MAX);
    rules->condition_count = bounded(&matches->condition_count, ROUTE_CONDITION_MAX);
    rules->text_bytes = bounded(&matches->text_bytes, sizeof(rules->text));
    for (uint32_t i = 0; i < rules->rule_count; i++)
        rules->rule_version[i] =
            atomic_load_explicit(&matches->rule_version[i], memory_order_acquire);
    for (uint32_t i = 0; i < rules->condition_count; i++)
        copy_condition(&matches->condition[i], rules, i);
    for (uint32_t w = 0; 8 * w < rules->text_bytes; w++) {
        uint64_t word = atomic_load_explicit(&matches->text[w], memory_order_acquire);
        memcpy(rules->text + 8 * w, &word, sizeof(word));
    }
}

bool route_rules_copy(const struct route_view *view, const struct region *page, uint32_t slot_index,
                      struct route_rules *ret_rules)
{
    ret_rules->rule_count = ret_rules->condition_count = ret_rules->text_bytes = 0;
    if (!page->base || slot_index >= ROUTE_SLOT_MAX)
        return false;
    const struct route_slot *slot = slot_of(page, slot_index);
    uint32_t index = load(&slot->matches) - 1;
    if (view->matches_sequence && index < ROUTE_MATCHES_MAX)
        copy_rules(
            (const struct route_matches *)((const uint8_t *)page->base + ROUTE_MATCHES_OFFSET) +
                index,
            ret_rules);
    /* relaxed: the loads above acquire. Not the view's: index and rules may be of another time. */
    return atomic_load_explicit(&slot->sequence, memory_order_relaxed) == view->sequence;
}

uint32_t route_version(const struct route_view *view, uint32_t bucket)
{
    if (view->rollout)
        return bucket < view->canary_buckets ? view->canary_version : view->stable_version;
    /* From the other end: so who had a version of some share by weights is in the canary of that
     * share, too, if that version has the last place. */
    for (uint32_t i = 0; i < view->version_count; i++) {
        if (ROUTE_BUCKETS - 1 - bucket < view->threshold[i])
            return i;
    }
    return ROUTE_NOBODY;
}

uint32_t route_bucket(const struct route_view *view, const char *key, size_t bytes)
{
    /* FNV-1a (Fowler, Noll, Vo), salted, then mixed: only its spread matters. */
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ view->salt;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ (uint8_t)key[i]) * UINT64_C(0x100000001b3);
    hash ^= hash >> 32;
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(((hash >> 32) * ROUTE_BUCKETS) >> 32);
}

enum route_instance_state route_state(const struct route_view *view, uint64_t instance_id)
{
    for (uint32_t i = 0; i < view->instance_count; i++) {
        if (view->instance_id[i] == instance_id)
            return view->instance_state[i];
    }
    return ROUTE_INSTANCE_UP;
}
