/*
 * Statistics: read from pages that endpoints write, never asked for.
 *
 * Each endpoint brings a region with its Hello and counts in it; we map it read-only and look when
 * somebody asks, so that counting costs no system call and asking costs the endpoints nothing. The
 * region is the endpoint's, and it may write anything into it at any time: its size and seals were
 * verified when it was mapped, and from then on nothing in it steers us but the number of cells,
 * loaded once and bounded, and names, copied once, cut, and cleaned. A liar can make its own
 * numbers wrong, nothing else.
 *
 * Cells of one name (side, interface, versions, method) are summed over all endpoints. When one
 * leaves, its counters go into a sum that stays, less what was in flight, which has ended. Names
 * are the peers' choice, so there is a limit to how many are summed apart; what is past it counts
 * as
 * "(other)".
 */
#include "broker/broker.h"
#include "broker/front.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/histogram.h"
#include "broker/rollouts.h"

#define STATS_OTHER "(other)"

static_assert(STATS_BUCKET_COUNT == HISTOGRAM_BUCKET_COUNT,
              "cells hold base/histogram.h's buckets");
static_assert(STATS_STATUS_COUNT == PARLEY_STATUS_COUNT, "cells hold one count a status");

struct stats_key {
    char interface[STATS_NAME_BYTES];
    char method[STATS_NAME_BYTES];
    char asked[STATS_VERSION_BYTES];
    char served[STATS_VERSION_BYTES];
    uint32_t side;
};

struct stats_sum {
    UT_hash_handle hh;
    struct stats_key key; /* zeroed behind each name: it is hashed as a whole */
    uint64_t calls, translated, retried, in_flight;
    uint64_t latency_sum_ns, crossings, crossing_sum_ns;
    uint32_t translation; /* as in the cell */
    uint64_t mirrored, mirror_differ, mirror_failed, mirror_skipped;
    uint64_t by_status[STATS_STATUS_COUNT];
    uint64_t bucket[STATS_BUCKET_COUNT];
};

/* ---- Reading ---- */

int stats_map(struct region *region, int fd, uint64_t endpoint_id, struct error_text *error)
{
    struct region mapped;
    /* Regions are rounded up to pages. */
    size_t bytes_max =
        (STATS_REGION_BYTES + LAYOUT_PAGE_BYTES - 1) & ~(size_t)(LAYOUT_PAGE_BYTES - 1);
    int r = region_map(&mapped, fd, STATS_REGION_BYTES, bytes_max, error);
    if (r < 0)
        return r;
    const struct stats_header *header = mapped.base;
    if (header->magic != STATS_MAGIC || header->version != LAYOUT_VERSION ||
        header->cell_bytes != sizeof(struct stats_cell) || header->cell_max != STATS_CELL_MAX ||
        header->endpoint_id != endpoint_id) {
        region_deinit(&mapped);
        return error_set(error, -EPROTO,
                         "not this endpoint's, or not of layout version %d: upgrade the older of "
                         "endpoint and broker",
                         LAYOUT_VERSION);
    }
    *region = mapped;
    return 0;
}

void stats_copy_name(char *out, const char *live, size_t bytes)
{
    memset(out, 0, bytes);
    for (size_t i = 0; i + 1 < bytes; i++) {
        char c = ((const volatile char *)live)[i];
        if (c == '\0')
            return;
        out[i] = c >= 0x20 && c < 0x7f ? c : '?';
    }
}

static uint64_t load(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static struct stats_sum *sum_find(struct stats_sums *sums, const struct stats_key *key)
{
    struct stats_sum *sum;
    HASH_FIND(hh, sums->sums, key, sizeof(*key), sum);
    return sum;
}

static struct stats_sum *sum_add(struct stats_sums *sums, const struct stats_key *key)
{
    struct stats_sum *sum = calloc(1, sizeof(*sum));
    if (!sum)
        return NULL;
    sum->key = *key;
    HASH_ADD(hh, sums->sums, key, sizeof(sum->key), sum);
    sums->count++;
    return sum;
}

/* NULL: no memory. The two places behind the limit are for the two sides of "(other)". */
static struct stats_sum *sum_take(struct stats_sums *sums, const struct stats_key *key)
{
    struct stats_sum *sum = sum_find(sums, key);
    if (sum)
        return sum;
    if (sums->count < STATS_SUM_MAX)
        return sum_add(sums, key);
    struct stats_key other = {.interface = STATS_OTHER, .side = key->side};
    sum = sum_find(sums, &other);
    return sum ? sum : sum_add(sums, &other);
}

static void add_mirror(struct stats_sum *sum, const struct stats_mirror *mirror)
{
    sum->mirrored += load(&mirror->sent);
    sum->mirror_differ += load(&mirror->differ);
    sum->mirror_failed += load(&mirror->failed);
    sum->mirror_skipped += load(&mirror->skipped);
}

static void read_key(const struct stats_cell *cell, struct stats_key *ret_key)
{
    memset(ret_key, 0, sizeof(*ret_key));
    stats_copy_name(ret_key->interface, cell->interface_name, sizeof(ret_key->interface));
    stats_copy_name(ret_key->method, cell->method, sizeof(ret_key->method));
    stats_copy_name(ret_key->asked, cell->asked, sizeof(ret_key->asked));
    stats_copy_name(ret_key->served, cell->served, sizeof(ret_key->served));
    uint32_t side = *(const volatile uint32_t *)&cell->side;
    ret_key->side = side == 1 ? 1 : 0;
}

static void add_counters(struct stats_sum *sum, const struct stats_cell *cell, bool left)
{
    /* Ended first (acquire: before the load of `started` below), so that a call that begins and
     * ends meanwhile cannot make more ended than begun. */
    uint64_t ended = 0;
    for (unsigned i = 0; i < STATS_STATUS_COUNT; i++) {
        uint64_t count = atomic_load_explicit(&cell->by_status[i], memory_order_acquire);
        sum->by_status[i] += count;
        ended += count;
    }
    for (unsigned i = 0; i < STATS_BUCKET_COUNT; i++)
        sum->bucket[i] += load(&cell->bucket[i]);
    sum->translated += load(&cell->translated);
    sum->retried += load(&cell->retried);
    sum->latency_sum_ns += load(&cell->latency_sum_ns);
    sum->crossings += load(&cell->crossing_count);
    sum->crossing_sum_ns += load(&cell->crossing_sum_ns);
    uint32_t translation = atomic_load_explicit(&cell->translation, memory_order_relaxed);
    if (translation <= 1 + PLAN_LOSSY && translation > sum->translation)
        sum->translation = translation; /* of those who say different things, the worst */
    uint64_t started = load(&cell->started);
    sum->calls += started;
    if (!left && started > ended)
        sum->in_flight += started - ended;
}

static void add_cell(struct stats_sums *sums, const struct stats_cell *cell,
                     const struct stats_mirror *mirror, bool left)
{
    struct stats_key key;
    read_key(cell, &key);
    struct stats_sum *sum = sum_take(sums, &key);
    if (!sum)
        return;
    add_counters(sum, cell, left);
    add_mirror(sum, mirror);
}

bool stats_any(const struct region *region)
{
    const struct stats_header *header = region->base;
    return atomic_load_explicit(&header->cell_count, memory_order_relaxed) > 0;
}

/* @ret_count: bounded */
static const struct stats_cell *cells_of(const struct region *region, uint32_t *ret_count)
{
    const struct stats_header *header = region->base;
    /* acquire: pairs with the release in stats_cell_find(); names below it are written. */
    uint32_t count = atomic_load_explicit(&header->cell_count, memory_order_acquire);
    *ret_count = count > STATS_CELL_MAX ? STATS_CELL_MAX : count;
    return (const struct stats_cell *)((const uint8_t *)region->base + STATS_CELLS_OFFSET);
}

void stats_add(struct stats_sums *sums, const struct region *region, bool left)
{
    const struct stats_header *header = region->base;
    uint32_t count;
    const struct stats_cell *cells = cells_of(region, &count);
    const struct stats_mirror *mirrors =
        (const struct stats_mirror *)((const uint8_t *)region->base + STATS_MIRRORS_OFFSET);
    sums->ring_full += load(&header->ring_full);
    sums->late_replies += load(&header->late_replies);
    sums->wakeups += load(&header->wakeups);
    sums->doorbells += load(&header->doorbells);
    sums->spins_hit += load(&header->spins_hit);
    sums->spins_missed += load(&header->spins_missed);
    if (!left)
        sums->channels += load(&header->channels);
    for (uint32_t i = 0; i < count; i++)
        add_cell(sums, &cells[i], &mirrors[i], left);
}

void stats_sums_deinit(struct stats_sums *sums)
{
    struct stats_sum *sum;
    struct stats_sum *next;
    HASH_ITER (hh, sums->sums, sum, next) {
        HASH_DEL(sums->sums, sum);
        free(sum);
    }
    sums->count = 0;
}

static void add_sums(struct stats_sums *sums, const struct stats_sums *more)
{
    const struct stats_sum *from;
    sums->ring_full += more->ring_full;
    sums->late_replies += more->late_replies;
    sums->wakeups += more->wakeups;
    sums->doorbells += more->doorbells;
    sums->spins_hit += more->spins_hit;
    sums->spins_missed += more->spins_missed;
    for (from = more->sums; from; from = from->hh.next) {
        struct stats_sum *sum = sum_take(sums, &from->key);
        if (!sum)
            continue;
        sum->calls += from->calls;
        sum->translated += from->translated;
        sum->retried += from->retried;
        sum->mirrored += from->mirrored;
        sum->mirror_differ += from->mirror_differ;
        sum->mirror_failed += from->mirror_failed;
        sum->mirror_skipped += from->mirror_skipped;
        sum->in_flight += from->in_flight;
        sum->latency_sum_ns += from->latency_sum_ns;
        sum->crossings += from->crossings;
        sum->crossing_sum_ns += from->crossing_sum_ns;
        if (from->translation > sum->translation)
            sum->translation = from->translation;
        for (unsigned i = 0; i < STATS_STATUS_COUNT; i++)
            sum->by_status[i] += from->by_status[i];
        for (unsigned i = 0; i < STATS_BUCKET_COUNT; i++)
            sum->bucket[i] += from->bucket[i];
    }
}

/* ---- For rollouts ---- */

/* @sign: -1 takes away. */
static void add_figures(struct rollout_figures *figures, const struct stats_sum *sum, int sign)
{
    uint64_t factor = sign < 0 ? UINT64_MAX : 1; /* modulo 2^64 */
    for (unsigned i = 0; i < STATS_STATUS_COUNT; i++) {
        figures->calls += factor * sum->by_status[i];
        if (status_is_fault(i))
            figures->errors += factor * sum->by_status[i];
    }
    for (unsigned i = 0; i < STATS_BUCKET_COUNT; i++)
        figures->latency[i] += factor * sum->bucket[i];
}

static void add_if_served(const struct stats_sum *sum, const char *interface,
                          const char *const versions[2], int sign,
                          struct rollout_figures figures[2])
{
    if (sum->key.side != 0 || strcmp(sum->key.interface, interface) != 0)
        return;
    for (unsigned v = 0; v < 2; v++)
        if (strcmp(sum->key.served, versions[v]) == 0)
            add_figures(&figures[v], sum, sign);
}

static void add_sums_of(const struct stats_sums *sums, const char *interface,
                        const char *const versions[2], int sign, struct rollout_figures figures[2])
{
    for (const struct stats_sum *sum = sums->sums; sum; sum = sum->hh.next)
        add_if_served(sum, interface, versions, sign, figures);
}

/* Not by way of sums: there is no limit to how many names are looked at. */
static void add_region_of(const struct region *region, const char *interface,
                          const char *const versions[2], struct rollout_figures figures[2])
{
    if (!region->base)
        return;
    uint32_t count;
    const struct stats_cell *cells = cells_of(region, &count);
    for (uint32_t i = 0; i < count; i++) {
        struct stats_sum sum = {0};
        read_key(&cells[i], &sum.key);
        if (sum.key.side != 0 || strcmp(sum.key.interface, interface) != 0)
            continue;
        add_counters(&sum, &cells[i], true);
        add_if_served(&sum, interface, versions, 1, figures);
    }
}

/* What endpoints brought is taken away: or the first to come back to a broker that was started
 * again would look like a wave of calls. */
void stats_figures(struct broker *broker, const char *interface, const char *const versions[2],
                   struct rollout_figures ret_figures[2])
{
    const struct endpoint *endpoint;
    memset(ret_figures, 0, 2 * sizeof(*ret_figures));
    TAILQ_FOREACH (endpoint, &broker->endpoints, entry)
        add_region_of(&endpoint->stats, interface, versions, ret_figures);
    TAILQ_FOREACH (endpoint, &broker->doomed, entry) /* until it is buried, and in `left` */
        add_region_of(&endpoint->stats, interface, versions, ret_figures);
    add_sums_of(&broker->left, interface, versions, 1, ret_figures);
    add_sums_of(&broker->brought, interface, versions, -1, ret_figures);
}

static void add_mirrored(const struct stats_sums *sums, const char *interface, const char *version,
                         int sign, struct mirror_figures *figures)
{
    uint64_t factor = sign < 0 ? UINT64_MAX : 1; /* modulo 2^64 */
    for (const struct stats_sum *sum = sums->sums; sum; sum = sum->hh.next) {
        if (sum->key.side != 0 || strcmp(sum->key.interface, interface) != 0 ||
            strcmp(sum->key.served, version) != 0)
            continue;
        figures->sent += factor * sum->mirrored;
        figures->differ += factor * sum->mirror_differ;
        figures->failed += factor * sum->mirror_failed;
        figures->skipped += factor * sum->mirror_skipped;
    }
}

/* By way of sums, for it is only shown. */
void stats_mirrored(struct broker *broker, const char *interface, const char *version,
                    struct mirror_figures *ret_figures)
{
    struct stats_sums sums = {0};
    const struct endpoint *endpoint;
    memset(ret_figures, 0, sizeof(*ret_figures));
    TAILQ_FOREACH (endpoint, &broker->endpoints, entry)
        stats_add(&sums, &endpoint->stats, false);
    add_mirrored(&sums, interface, version, 1, ret_figures);
    add_mirrored(&broker->left, interface, version, 1, ret_figures);
    add_mirrored(&broker->brought, interface, version, -1, ret_figures);
    stats_sums_deinit(&sums);
}

/* ---- Answering ---- */

void stats_latency(const uint64_t *bucket, Parley__Latency *ret)
{
    parley__latency__init(ret);
    for (unsigned i = 0; i < STATS_BUCKET_COUNT; i++) {
        ret->count += bucket[i];
        if (bucket[i])
            ret->n_bucket = i + 1; /* zeros behind the last are left out */
    }
    ret->has_count = ret->has_p50_ns = ret->has_p90_ns = true;
    ret->has_p99_ns = ret->has_p999_ns = true;
    ret->p50_ns = histogram_quantile(bucket, 0.5);
    ret->p90_ns = histogram_quantile(bucket, 0.9);
    ret->p99_ns = histogram_quantile(bucket, 0.99);
    ret->p999_ns = histogram_quantile(bucket, 0.999);
    ret->bucket = (uint64_t *)(uintptr_t)bucket;
}

/* A MethodStats and what it points to, in one block. */
struct method_reply {
    Parley__MethodStats message;
    Parley__Latency latency;
    struct stats_sum sum;
};

/* Nothing, where nothing was mirrored. */
static void fill_mirror(Parley__MethodStats *message, const struct stats_sum *sum)
{
    if (sum->mirrored == 0 && sum->mirror_skipped == 0)
        return;
    message->has_mirrored = message->has_mirror_differ = true;
    message->has_mirror_failed = message->has_mirror_skipped = true;
    message->mirrored = sum->mirrored;
    message->mirror_differ = sum->mirror_differ;
    message->mirror_failed = sum->mirror_failed;
    message->mirror_skipped = sum->mirror_skipped;
}

static struct method_reply *method_reply_new(const struct stats_sum *sum)
{
    struct method_reply *reply = calloc(1, sizeof(*reply));
    if (!reply)
        return NULL;
    reply->sum = *sum;
    Parley__MethodStats *message = &reply->message;
    parley__method_stats__init(message);
    message->has_side = true;
    message->side = sum->key.side ? PARLEY__SIDE__SERVICE : PARLEY__SIDE__CLIENT;
    message->interface = reply->sum.key.interface;
    message->method = reply->sum.key.method;
    message->asked = reply->sum.key.asked;
    message->served = reply->sum.key.served;
    message->has_calls = message->has_translated = message->has_retried = true;
    message->has_in_flight = true;
    message->calls = sum->calls;
    message->translated = sum->translated;
    message->retried = sum->retried;
    message->in_flight = sum->in_flight;
    fill_mirror(message, sum);
    message->n_by_status = STATS_STATUS_COUNT;
    message->by_status = reply->sum.by_status;
    message->latency = &reply->latency;

    message->has_latency_sum_ns = message->has_faults = true;
    message->has_crossings = message->has_crossing_sum_ns = true;
    message->latency_sum_ns = sum->latency_sum_ns;
    message->crossings = sum->crossings;
    message->crossing_sum_ns = sum->crossing_sum_ns;
    message->has_translation = sum->translation > 0;
    message->translation = sum->translation > 0 ? sum->translation - 1 : 0;
    for (unsigned i = 0; i < STATS_STATUS_COUNT; i++)
        message->faults += status_is_fault(i) ? sum->by_status[i] : 0;
    stats_latency(reply->sum.bucket, &reply->latency);
    return reply;
}

static int compare_methods(const void *a, const void *b)
{
    const struct stats_key *x = &(*(struct method_reply *const *)a)->sum.key;
    const struct stats_key *y = &(*(struct method_reply *const *)b)->sum.key;
    int order = strcmp(x->interface, y->interface);
    order = order ? order : strcmp(x->method, y->method);
    order = order ? order : (x->side > y->side) - (x->side < y->side);
    order = order ? order : strcmp(x->asked, y->asked);
    return order ? order : strcmp(x->served, y->served);
}

static int fill_methods(const struct stats_sums *sums, Parley__Stats *ret)
{
    struct method_reply **methods = calloc(sums->count + 1, sizeof(struct method_reply *));
    if (!methods)
        return -ENOMEM;
    ret->method = (Parley__MethodStats **)methods;
    for (const struct stats_sum *sum = sums->sums; sum; sum = sum->hh.next) {
        methods[ret->n_method] = method_reply_new(sum);
        if (!methods[ret->n_method])
            return -ENOMEM;
        ret->n_method++;
    }
    qsort(methods, ret->n_method, sizeof(methods[0]), compare_methods);
    return 0;
}

static void fill_totals(const struct stats_sums *sums, Parley__Stats *ret)
{
    ret->has_wakeups = ret->has_doorbells = ret->has_channels = true;
    ret->has_spins_hit = ret->has_spins_missed = true;
    ret->wakeups = sums->wakeups;
    ret->doorbells = sums->doorbells;
    ret->channels = sums->channels;
    ret->spins_hit = sums->spins_hit;
    ret->spins_missed = sums->spins_missed;
}

static void only_json(Parley__Stats *reply, char *json)
{
    stats_reply_free(reply);
    parley__stats__init(reply);
    reply->json = json;
}

/* By policy and limits. */
static void fill_refused(const struct broker *broker, Parley__Stats *ret)
{
    const struct quota_counts *counts = &broker->quota.counts;
    ret->has_denied = ret->has_limited_connections = ret->has_limited_calls = true;
    ret->has_limited_bytes = ret->has_limited_rate = ret->has_limited_messages = true;
    ret->has_held_bad = true;
    ret->denied = broker->policy_denied;
    ret->limited_connections = counts->connections;
    ret->limited_calls = counts->calls;
    ret->limited_bytes = counts->bytes;
    ret->limited_rate = counts->rate;
    ret->limited_messages = counts->message;
    ret->held_bad = counts->bad;
}

int stats_reply(struct broker *broker, bool json, Parley__Stats *ret)
{
    struct stats_sums sums = {0};
    const struct endpoint *endpoint;
    add_sums(&sums, &broker->left);
    TAILQ_FOREACH (endpoint, &broker->endpoints, entry)
        stats_add(&sums, &endpoint->stats, false);

    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    parley__stats__init(ret);
    ret->has_broker_id = ret->has_uptime_ns = ret->has_time_unix_ns = true;
    ret->has_ring_full = ret->has_late_replies = true;
    ret->broker_id = broker->id;
    ret->uptime_ns = clock_now_ns() - broker->started_ns;
    ret->time_unix_ns = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
    ret->ring_full = sums.ring_full;
    ret->late_replies = sums.late_replies;
    ret->has_ejected = ret->has_ejections = true;
    ret->ejected = ejector_count(broker);
    ret->ejections = broker->ejector.ejections;
    fill_totals(&sums, ret);
    fill_refused(broker, ret);
    struct self *self = self_new(broker);
    ret->bus = self ? &self->bus : NULL;
    ret->broker = self ? &self->broker : NULL;
    ret->front = self && front_stats(broker, &self->front) ? &self->front : NULL;
    ret->serve = self ? &self->serve : NULL;
    int r = self ? fill_methods(&sums, ret) : -ENOMEM;
    stats_sums_deinit(&sums);
    if (r == 0 && json) {
        char *text = stats_json(ret);
        if (text)
            only_json(ret, text);
        else
            r = -ENOMEM;
    }
    if (r < 0)
        stats_reply_free(ret);
    return r;
}

void stats_reply_free(Parley__Stats *reply)
{
    for (size_t i = 0; i < reply->n_method; i++)
        free(reply->method[i]); /* the message is at the block's start */
    free(reply->method);
    self_free((struct self *)reply->bus); /* its first member */
    free(reply->json == protobuf_c_empty_string ? NULL : reply->json);
    parley__stats__init(reply);
}
