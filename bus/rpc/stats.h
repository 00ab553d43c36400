/*
 * Statistics, of an endpoint (stats.c). What each call counts is part of its callers: plain
 * loads and stores, for a counter has one writer.
 */
#ifndef PARLEY_RPC_STATS_H
#define PARLEY_RPC_STATS_H

#include "base/error.h"
#include "base/fault.h"
#include "base/histogram.h"
#include "shm/shm.h"
#include "translate/plan.h"

struct stats {
    struct region region;
    struct stats_header *header;
    struct stats_cell *cells;
    uint32_t count;
    struct stats_instance *instances;
    struct stats_mirror *mirrors; /* of the cell of the same index */
};
int stats_init(struct stats *stats, uint64_t endpoint_id, struct error_text *error);
void stats_deinit(struct stats *stats);
enum stats_side { STATS_CLIENT = 0, STATS_SERVICE = 1 };
/* The cell of that name; the last one of all if there is no room. Never NULL. */
struct stats_cell *stats_cell_find(struct stats *stats, enum stats_side side, const char *interface,
                                   const char *method, const char *asked, const char *served);
/* A crossing that was timed, of a message that this side reads. */
void stats_crossed(struct stats_cell *cell, enum plan_class class, uint64_t ns);
void stats_translation(struct stats_cell *cell, enum plan_class class);
/* A place for a channel to that instance; NULL: none is left. */
struct stats_instance *stats_instance_take(struct stats *stats, uint64_t instance_id);
void stats_instance_drop(struct stats_instance *place); /* NULL is fine */

void stats_bump(_Atomic uint64_t *counter);                 /* only its one writer calls this */
void stats_grow(_Atomic uint64_t *counter, uint64_t value); /* the same; it may wrap: -1 */

static inline void stats_add(_Atomic uint64_t *counter, uint64_t value)
{
    /* Relaxed load and store, not a locked add: this thread is the only writer. */
    uint64_t before = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, before + value, memory_order_relaxed);
}

static inline void stats_started(struct stats_cell *cell)
{
    stats_add(&cell->started, 1);
}

static inline void stats_ended(struct stats_cell *cell, unsigned status, uint64_t latency_ns,
                               bool translated)
{
    stats_add(&cell->bucket[histogram_bucket(latency_ns)], 1);
    stats_add(&cell->by_status[status < STATS_STATUS_COUNT ? status : PARLEY_UNKNOWN], 1);
    stats_add(&cell->latency_sum_ns, latency_ns);
    if (translated)
        stats_add(&cell->translated, 1);
}

static inline uint32_t stats_instance_bucket(uint64_t ns)
{
    uint32_t bucket = 54 - (uint32_t)__builtin_clzll(ns | 512); /* the first: below 1,024 */
    return bucket < STATS_INSTANCE_BUCKETS ? bucket : STATS_INSTANCE_BUCKETS - 1;
}

/* @latency_ns: 0: it tells nothing, for it was not the first attempt */
static inline void stats_instance_ended(struct stats_instance *place, enum parley_status status,
                                        uint64_t latency_ns)
{
    if (status == PARLEY_CANCELLED)
        return; /* the caller's wish */
    stats_add(&place->ended, 1);
    uint32_t row = atomic_load_explicit(&place->failed_in_a_row, memory_order_relaxed);
    if (status_is_fault(status)) {
        stats_add(&place->failed, 1);
        atomic_store_explicit(&place->failed_in_a_row, row + 1, memory_order_relaxed);
        return;
    }
    if (row)
        atomic_store_explicit(&place->failed_in_a_row, 0, memory_order_relaxed);
    if (status != PARLEY_OK || latency_ns == 0)
        return;
    _Atomic uint32_t *bucket = &place->bucket[stats_instance_bucket(latency_ns)];
    uint32_t value = atomic_load_explicit(bucket, memory_order_relaxed);
    atomic_store_explicit(bucket, value + 1, memory_order_relaxed);
}

#endif
