/*
 * The ways in which a plan runs, one by one: as it is, with machine code, if this machine has any;
 * by the loop of the short way; by the long way alone. They have to give the same bytes, and the
 * same errors.
 */
#ifndef PARLEY_TESTS_LAWS_WAYS_H
#define PARLEY_TESTS_LAWS_WAYS_H

#include <string.h>

#include "guarded.h"
#include "translate/machine.h"

enum way { WAY_LONG, WAY_LOOP, WAY_COUNT };

/* Code from the first run on. Before a plan runs. */
static inline void ways_begin(void)
{
    machine_set_runs(1);
}

/* A way other than the plan's own. Return: as plan_run(). */
static inline int way_run(enum way way, const struct plan *plan, uint32_t entry,
                          const uint8_t *source, size_t source_bytes, uint8_t *out,
                          size_t out_bytes, size_t *ret_bytes, struct plan_failure *ret_failure)
{
    static const struct fast none[FAST_NUMBER_COUNT + 1];
    const uint32_t count = plan->header->count[SECTION_TABLE];
    struct fast_table *tables = must_alloc((count + 1) * sizeof(*tables));
    for (uint32_t i = 0; i < count; i++) {
        tables[i] = plan->fast[i];
        atomic_init(&tables[i].translates.made, NULL);
        atomic_init(&tables[i].translates.runs, MACHINE_NEVER);
        atomic_init(&tables[i].checks.made, NULL);
        atomic_init(&tables[i].checks.runs, MACHINE_NEVER);
        if (way == WAY_LOOP)
            continue;
        tables[i].by_number = none; /* records of which none is of a field */
        tables[i].number_count = 0;
        tables[i].ends = false;
    }
    struct plan without = *plan;
    without.fast = tables;
    int r = plan_run(&without, entry, source, source_bytes, out, out_bytes, ret_bytes, ret_failure);
    free(tables);
    return r;
}

/* The plan's own way, with the output where memory ends, and once more where it begins: so what
 * code reads or writes outside is seen, though no sanitizer knows of it. Return: as plan_run(); the
 * output is at *ret_out until the next call. */
static inline int way_run_guarded(const struct plan *plan, uint32_t entry, const uint8_t *data,
                                  size_t bytes, const uint8_t **ret_out, size_t *ret_bytes,
                                  struct plan_failure *ret_failure)
{
    static struct guarded sources, outputs;
    const size_t max = plan_output_bytes_max(plan, bytes);
    if (bytes > sources.room || max > outputs.room) {
        if (sources.base) {
            guarded_free(&sources);
            guarded_free(&outputs);
        }
        sources = guarded_new(bytes < 65536 ? 65536 : bytes);
        outputs = guarded_new(max < (1u << 19) ? 1u << 19 : max);
    }
    uint8_t *source = guarded_at_end(&sources, bytes), *out = guarded_at_end(&outputs, max);
    if (bytes > 0)
        memcpy(source, data, bytes);
    struct plan_failure failure = {0, 0, NULL};
    size_t first = 0, again = 0;
    int r = plan_run(plan, entry, source, bytes, out, max, &first, &failure);
    if (!guarded_is_intact(&outputs, out))
        die("wrote in front of the output");
    *ret_bytes = first;
    if (ret_failure)
        *ret_failure = failure;
    uint8_t *kept = must_alloc(first);
    if (r == 0 && first > 0)
        memcpy(kept, out, first);
    *ret_out = outputs.base;
    if (plan_run(plan, entry, source, bytes, outputs.base, max, &again, &failure) != r ||
        again != first || (r == 0 && first > 0 && memcmp(kept, outputs.base, first) != 0))
        die("two runs of one plan differ");
    free(kept);
    return r;
}

#endif
