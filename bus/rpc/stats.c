/*
 * Statistics: an endpoint counts in a region of its own, the broker only reads it.
 *
 * One cell for each side, interface, pair of versions and method; found once and kept by the
 * channel, so that counting is a few plain stores to memory that nobody else writes. A cell's names
 * are written before cell_count is stored (release; the broker's reader acquires). The last cell
 * takes what finds no room, so nothing goes uncounted.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <string.h>

int stats_init(struct stats *stats, uint64_t endpoint_id, struct error_text *error)
{
    int r = region_create(&stats->region, "parley-stats", STATS_REGION_BYTES, error);
    if (r < 0)
        return r;
    uint8_t *base = stats->region.base;
    stats->header = stats->region.base;
    stats->cells = (struct stats_cell *)(base + STATS_CELLS_OFFSET);
    stats->instances = (struct stats_instance *)(base + STATS_INSTANCES_OFFSET);
    stats->mirrors = (struct stats_mirror *)(base + STATS_MIRRORS_OFFSET);
    stats->count = 0;
    stats->header->magic = STATS_MAGIC;
    stats->header->version = LAYOUT_VERSION;
    stats->header->cell_bytes = sizeof(struct stats_cell);
    stats->header->cell_max = STATS_CELL_MAX;
    stats->header->endpoint_id = endpoint_id;
    return 0;
}

void stats_deinit(struct stats *stats)
{
    region_deinit(&stats->region);
}

static bool cell_is(const struct stats_cell *cell, enum stats_side side, const char *interface,
                    const char *method, const char *asked, const char *served)
{
    return cell->side == side &&
           strncmp(cell->interface_name, interface, STATS_NAME_BYTES - 1) == 0 &&
           strncmp(cell->method, method, STATS_NAME_BYTES - 1) == 0 &&
           strncmp(cell->asked, asked, STATS_VERSION_BYTES - 1) == 0 &&
           strncmp(cell->served, served, STATS_VERSION_BYTES - 1) == 0;
}

/* Cut at the limit. Not snprintf(), which took more than all the rest of a first call. */
static void name_put(char *out, size_t size, const char *name)
{
    size_t bytes = strnlen(name, size - 1);
    memcpy(out, name, bytes);
    out[bytes] = '\0';
}

struct stats_cell *stats_cell_find(struct stats *stats, enum stats_side side, const char *interface,
                                   const char *method, const char *asked, const char *served)
{
    for (uint32_t i = 0; i < stats->count; i++) {
        if (cell_is(&stats->cells[i], side, interface, method, asked, served))
            return &stats->cells[i];
    }
    if (stats->count == STATS_CELL_MAX)
        return &stats->cells[STATS_CELL_MAX - 1];
    bool last = stats->count == STATS_CELL_MAX - 1;
    struct stats_cell *cell = &stats->cells[stats->count++];
    cell->side = side;
    name_put(cell->interface_name, sizeof(cell->interface_name), last ? "(others)" : interface);
    name_put(cell->method, sizeof(cell->method), last ? "" : method);
    name_put(cell->asked, sizeof(cell->asked), last ? "" : asked);
    name_put(cell->served, sizeof(cell->served), last ? "" : served);
    /* release: pairs with the acquire in the broker's reader, which then reads the names */
    atomic_store_explicit(&stats->header->cell_count, stats->count, memory_order_release);
    return cell;
}

void stats_bump(_Atomic uint64_t *counter)
{
    stats_add(counter, 1);
}

void stats_grow(_Atomic uint64_t *counter, uint64_t value)
{
    stats_add(counter, value);
}

void stats_translation(struct stats_cell *cell, enum plan_class class)
{
    atomic_store_explicit(&cell->translation, 1 + (uint32_t) class, memory_order_relaxed);
}

void stats_crossed(struct stats_cell *cell, enum plan_class class, uint64_t ns)
{
    stats_translation(cell, class);
    stats_bump(&cell->crossing_count);
    stats_grow(&cell->crossing_sum_ns, ns);
}

/* ---- Instances ---- */

struct stats_instance *stats_instance_take(struct stats *stats, uint64_t instance_id)
{
    struct stats_instance *place = stats->instances;
    uint32_t count = atomic_load_explicit(&stats->header->instance_count, memory_order_relaxed);
    uint32_t i = 0;
    while (i < count && atomic_load_explicit(&place[i].instance_id, memory_order_relaxed) != 0)
        i++;
    if (i == STATS_INSTANCE_MAX)
        return NULL;
    if (i == count)
        atomic_store_explicit(&stats->header->instance_count, count + 1, memory_order_relaxed);
    atomic_store_explicit(&place[i].ended, 0, memory_order_relaxed);
    atomic_store_explicit(&place[i].failed, 0, memory_order_relaxed);
    atomic_store_explicit(&place[i].failed_in_a_row, 0, memory_order_relaxed);
    for (uint32_t b = 0; b < STATS_INSTANCE_BUCKETS; b++)
        atomic_store_explicit(&place[i].bucket[b], 0, memory_order_relaxed);
    /* release: pairs with the acquire in the broker's reader, which then reads the counters */
    atomic_store_explicit(&place[i].instance_id, instance_id, memory_order_release);
    return &place[i];
}

void stats_instance_drop(struct stats_instance *place)
{
    if (place)
        atomic_store_explicit(&place->instance_id, 0, memory_order_release);
}
