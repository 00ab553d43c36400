/*
 * The route page, and the weights in it.
 *
 * The page is ours alone to write; every endpoint has it mapped read-only and looks at its slot on
 * every call. So a change must be all or nothing for a reader in the middle of it: each slot is a
 * seqlock. The sequence is odd while we write; readers copy between two looks at it, and copy again
 * if it was odd or has changed (rpc/route.c). We never wait for them.
 *
 * Weights are shares of ROUTE_BUCKETS, and sum to it exactly: real weights are scaled, cut, and
 * what is missing goes one bucket each to the largest remainders. They belong to the interface, not
 * to its instances: a version keeps its weight, and its place in the slot, while none of its
 * instances is there.
 *
 * Their generation grows with every change, also from one broker to the next: an instance tells a
 * broker that has just started which weights it saw last, and the highest generation is the truth.
 * Unless an operator has spoken to this broker: then the order stands, and only its generation is
 * lifted above what came in.
 */
#include "broker/broker.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* ---- The page ---- */

static struct route_slot *slot_of(struct routes *routes, uint32_t slot)
{
    return (struct route_slot *)((uint8_t *)routes->region.base + ROUTE_SLOTS_OFFSET) + slot;
}

int routes_init(struct routes *routes, uint64_t broker_id, struct error_text *error)
{
    static_assert(ROUTE_SLOTS_OFFSET >= sizeof(struct route_header), "the header is in front");
    int r = region_create(&routes->region, "parley-routes", ROUTE_PAGE_BYTES, error);
    if (r < 0)
        return r;
    struct route_header *header = routes->region.base;
    *header = (struct route_header){
        .magic = ROUTE_MAGIC,
        .version = LAYOUT_VERSION,
        .slot_count = ROUTE_SLOT_MAX,
        .slot_bytes = sizeof(struct route_slot),
        .broker_id = broker_id,
        .matches_count = ROUTE_MATCHES_MAX,
        .matches_bytes = sizeof(struct route_matches),
    };
    return 0;
}

void routes_deinit(struct routes *routes)
{
    region_deinit(&routes->region);
}

/*
 * release, for each word: whoever has read one of them (acquire, in route_refresh()) sees the odd
 * sequence that was stored before, when it looks a second time. A fence would do, too; but
 * ThreadSanitizer knows none, and here the stores cost no more.
 */
static void set8(_Atomic uint8_t *cell, uint8_t value)
{
    atomic_store_explicit(cell, value, memory_order_release);
}

static void set32(_Atomic uint32_t *cell, uint32_t value)
{
    atomic_store_explicit(cell, value, memory_order_release);
}

static void set64(_Atomic uint64_t *cell, uint64_t value)
{
    atomic_store_explicit(cell, value, memory_order_release);
}

static void write_begin(struct route_slot *slot)
{
    uint32_t sequence = atomic_load_explicit(&slot->sequence, memory_order_relaxed);
    atomic_store_explicit(&slot->sequence, sequence + 1, memory_order_relaxed); /* before set*() */
}

static void write_end(struct route_slot *slot)
{
    uint32_t sequence = atomic_load_explicit(&slot->sequence, memory_order_relaxed);
    /* release: pairs with the acquire of the reader's first look in route_refresh(). */
    atomic_store_explicit(&slot->sequence, sequence + 1, memory_order_release);
}

static void write_versions(struct route_slot *slot, const struct interface *interface)
{
    uint32_t count = 0;
    uint32_t threshold = 0;
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++) {
        const struct version *version = interface->versions[i];
        uint64_t words[ROUTE_VERSION_WORDS] = {0};
        if (version) {
            count = i + 1;
            threshold += version->weight;
            memcpy(words, version->name, strlen(version->name));
        }
        set32(&slot->threshold[i], threshold);
        for (uint32_t w = 0; w < ROUTE_VERSION_WORDS; w++)
            set64(&slot->version_name[i][w], words[w]);
    }
    set32(&slot->version_count, count);
}

static void write_instances(struct route_slot *slot, const struct interface *interface)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++) {
        if (!interface->versions[i])
            continue;
        const struct instance *instance;
        LIST_FOREACH (instance, &interface->versions[i]->instances, version_entry) {
            set64(&slot->instance_id[count], instance->id);
            set8(&slot->instance_state[count], instance->draining        ? ROUTE_INSTANCE_DRAINING
                                               : instance->eject.ejected ? ROUTE_INSTANCE_EJECTED
                                                                         : ROUTE_INSTANCE_UP);
            set8(&slot->instance_version[count], (uint8_t)i);
            count++;
        }
    }
    set32(&slot->instance_count, count);
    for (; count < ROUTE_INSTANCE_MAX; count++) {
        set64(&slot->instance_id[count], 0);
        set8(&slot->instance_state[count], ROUTE_INSTANCE_NONE);
        set8(&slot->instance_version[count], 0);
    }
}

/* Of the name, so that a user stays in its bucket over a broker's restart. FNV-1a. */
static uint64_t salt_of(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return hash;
}

static void write_key(struct route_slot *slot, const char *key)
{
    uint64_t words[ROUTE_KEY_WORDS] = {0};
    memcpy(words, key, strnlen(key, sizeof(words)));
    for (uint32_t w = 0; w < ROUTE_KEY_WORDS; w++)
        set64(&slot->sticky_key[w], words[w]);
}

static void write_rollout(struct routes *routes, struct route_slot *slot,
                          const struct interface *interface)
{
    uint32_t next = atomic_load_explicit(&slot->sequence, memory_order_relaxed) + 1;
    struct route_slot_rollout rollout = {.sticky_key = interface->slot < 0 ? "" : "gray.user.id"};
    bool runs = routes_rollout_fill(routes, interface, next, &rollout);
    set32(&slot->rollout, runs);
    write_key(slot, rollout.sticky_key);
    set64(&slot->salt,
          rollout.salt || interface->slot < 0 ? rollout.salt : salt_of(interface->name));
    set32(&slot->stable_version, rollout.stable);
    set32(&slot->canary_version, rollout.canary);
    set32(&slot->canary_buckets, rollout.canary_buckets);
    set32(&slot->mirror_version, rollout.canary);
    set32(&slot->mirror_buckets, rollout.mirror_buckets);
    set32(&slot->matches, rollout.matches);
    set32(&slot->matches_sequence, rollout.matches_sequence);
}

void routes_write(struct routes *routes, const struct interface *interface)
{
    if (interface->slot < 0)
        return;
    routes->writes++;
    struct route_slot *slot = slot_of(routes, (uint32_t)interface->slot);
    write_begin(slot);
    write_versions(slot, interface);
    write_instances(slot, interface);
    set64(&slot->generation, interface->generation);
    write_rollout(routes, slot, interface);
    write_end(slot);
}

void routes_clear(struct routes *routes, uint32_t index)
{
    static const struct interface nothing = {.slot = -1};
    routes->writes++;
    struct route_slot *slot = slot_of(routes, index);
    write_begin(slot);
    write_versions(slot, &nothing);
    write_instances(slot, &nothing);
    set64(&slot->generation, 0);
    write_rollout(routes, slot, &nothing);
    write_end(slot);
}

/* ---- Weights ---- */

static int largest(const double *weights, size_t count, double *ret_largest)
{
    double max = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(weights[i]) || weights[i] < 0)
            return -EINVAL;
        max = weights[i] > max ? weights[i] : max;
    }
    if (max == 0)
        return -EINVAL;
    *ret_largest = max;
    return 0;
}

int weights_normalise(const double *weights, size_t count, uint32_t *ret_shares)
{
    double max;
    if (count == 0 || count > ROUTE_VERSION_MAX || largest(weights, count, &max) < 0)
        return -EINVAL;
    /* By the largest first: the sum of what is at most 1 each cannot overflow. */
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += weights[i] / max;
    double remainders[ROUTE_VERSION_MAX];
    uint32_t given = 0;
    for (size_t i = 0; i < count; i++) {
        double exact = weights[i] / max / sum * ROUTE_BUCKETS;
        ret_shares[i] = (uint32_t)floor(exact);
        remainders[i] = exact - floor(exact);
        given += ret_shares[i];
    }
    for (; given < ROUTE_BUCKETS; given++) {
        size_t best = 0;
        for (size_t i = 1; i < count; i++)
            if (remainders[i] > remainders[best])
                best = i;
        ret_shares[best]++;
        remainders[best] = -1;
    }
    return 0;
}

static uint32_t weight_sum(const struct interface *interface)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++)
        sum += interface->versions[i] ? interface->versions[i]->weight : 0;
    return sum;
}

bool weights_first(struct interface *interface, struct version *version)
{
    if (weight_sum(interface) > 0)
        return false;
    version->weight = ROUTE_BUCKETS;
    interface->generation++;
    return true;
}

/* Checks what came and makes shares of it. */
static int read_weights(Parley__Weight *const *weights, size_t count, uint32_t *ret_shares,
                        struct error_text *error)
{
    double values[ROUTE_VERSION_MAX];
    if (count > ROUTE_VERSION_MAX)
        return error_set(error, -EINVAL, "weights of %zu versions: at most %d", count,
                         ROUTE_VERSION_MAX);
    for (size_t i = 0; i < count; i++) {
        struct semver semver;
        const char *name = weights[i]->version ? weights[i]->version : "";
        if (strlen(name) > SEMVER_BYTES_MAX || semver_parse(name, &semver) < 0)
            return error_set(error, -EINVAL, "a weight of \"%.40s\", which is no version", name);
        if (weights[i]->per_100000 > ROUTE_BUCKETS)
            return error_set(error, -EINVAL, "a weight of %u: at most %d", weights[i]->per_100000,
                             ROUTE_BUCKETS);
        for (size_t k = 0; k < i; k++)
            if (strcmp(weights[k]->version, name) == 0)
                return error_set(error, -EINVAL, "two weights of %s", name);
        values[i] = weights[i]->per_100000;
    }
    if (weights_normalise(values, count, ret_shares) < 0)
        return error_set(error, -EINVAL, "weights that are all 0");
    return 0;
}

int weights_check(uint64_t generation, Parley__Weight *const *weights, size_t count,
                  uint32_t ret_shares[ROUTE_VERSION_MAX], struct error_text *error)
{
    if (generation == 0 || count == 0)
        return 0;
    if (generation > BROKER_GENERATION_MAX)
        return error_set(error, -EINVAL, "route generation %llu is beyond all reason",
                         (unsigned long long)generation);
    int r = read_weights(weights, count, ret_shares, error);
    return r < 0 ? r : 1;
}

/* Where not all that was learned found a place, or two names were one version. */
static void share_among_those_here(struct interface *interface)
{
    double weights[ROUTE_VERSION_MAX] = {0};
    uint32_t shares[ROUTE_VERSION_MAX];
    if (weight_sum(interface) == ROUTE_BUCKETS)
        return;
    bool any = weight_sum(interface) > 0;
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++)
        if (interface->versions[i])
            weights[i] = any ? interface->versions[i]->weight : 1;
    if (weights_normalise(weights, ROUTE_VERSION_MAX, shares) < 0)
        return;
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++)
        if (interface->versions[i])
            interface->versions[i]->weight = shares[i];
}

int weights_learn(struct broker *broker, struct interface *interface, uint64_t generation,
                  Parley__Weight *const *weights, size_t count, struct error_text *error)
{
    uint32_t shares[ROUTE_VERSION_MAX];
    int r = weights_check(generation, weights, count, shares, error);
    if (r <= 0)
        return r;
    if (generation <= interface->generation)
        return 0;
    if (interface->routed) {
        interface->generation = generation + 1;
        return 1;
    }
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++)
        if (interface->versions[i])
            interface->versions[i]->weight = 0;
    interface->generation = generation;
    for (size_t i = 0; i < count; i++) {
        struct version *version;
        if (shares[i] == 0)
            continue; /* it will say so itself when it comes */
        if (interface_version_take(broker, interface, weights[i]->version, &version, NULL) == 0)
            version->weight = shares[i];
    }
    share_among_those_here(interface);
    return 1;
}

void weights_effective(const struct interface *interface, uint32_t ret_shares[ROUTE_VERSION_MAX])
{
    double weights[ROUTE_VERSION_MAX] = {0};
    double counts[ROUTE_VERSION_MAX] = {0};
    bool any = false;
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++) {
        const struct version *version = interface->versions[i];
        ret_shares[i] = 0;
        if (!version || !version_up(version))
            continue;
        weights[i] = version->weight;
        /* Clients that find nobody with weight take any instance, whatever its version. */
        counts[i] = version->instance_count - version->draining_count;
        any = any || version->weight > 0;
    }
    (void)weights_normalise(any ? weights : counts, ROUTE_VERSION_MAX, ret_shares);
}
