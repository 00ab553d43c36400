/*
 * A rollout on a clock of its own, with calls as even as calls can be: no chance in it.
 */
#ifndef PARLEY_TESTS_ROLLOUT_DRIVER_H
#define PARLEY_TESTS_ROLLOUT_DRIVER_H

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "rollout/rollout.h"

/* What a version is like. */
struct nature {
    double error_rate;
    double slow; /* how much longer its calls take */
};

struct driver {
    struct rollout *rollout;
    struct rollout_time now;
    struct rollout_decision decision;
    struct rollout_figures stable, canary;
    struct nature stable_nature, canary_nature;
    double calls_per_s;
};

static inline struct rollout_spec *driver_spec(const char *more)
{
    char text[4096];
    struct rollout_spec *spec = NULL;
    struct error_text error = {""};
    (void)snprintf(text, sizeof(text),
                   "apiVersion: parley.dev/v1alpha1\nkind: Rollout\nmetadata: {name: catalog}\n"
                   "spec:\n  interface: catalog.Catalog\n%s",
                   more);
    if (rollout_spec_parse(text, strlen(text), "test", &spec, &error) < 0)
        fail_msg("%s", error.text);
    return spec;
}

#define DRIVER_RANGES "  stable: ^1\n  canary: ^2\n"
#define DRIVER_STEPS                                                                               \
    DRIVER_RANGES "  steps:\n  - {weight: 10, hold: 1m}\n  - {weight: 50, hold: 1m}\n"

static inline void driver_init(struct driver *driver, const char *more)
{
    *driver = (struct driver){
        .now = {.ns = 1000 * NS_PER_S, .wall_ms = 1700000000000},
        .calls_per_s = 1000,
        .stable_nature = {0.001, 1},
        .canary_nature = {0.001, 1},
    };
    assert_int_equal(rollout_new(driver_spec(more), "test", driver->now, &driver->rollout), 0);
}

static inline void driver_step(struct driver *driver)
{
    rollout_step(driver->rollout, driver->now, &driver->stable, &driver->canary, &driver->decision);
}

static inline void driver_offer(struct driver *driver, const char *a, const char *b, const char *c)
{
    const char *names[] = {a, b, c};
    size_t count = c ? 3 : b ? 2 : a ? 1 : 0;
    rollout_offer(driver->rollout, names, count, driver->now);
    driver_step(driver);
}

/* Latencies of 1 ms for most, 10 ms for two in a hundred: so p99 is 10 ms. */
static inline void driver_count(struct rollout_figures *figures, const struct nature *nature,
                                double calls)
{
    uint64_t before = figures->calls;
    figures->calls += (uint64_t)calls;
    figures->errors += (uint64_t)((double)figures->calls * nature->error_rate) -
                       (uint64_t)((double)before * nature->error_rate);
    for (uint64_t i = before; i < figures->calls; i++) {
        double ns = (i % 50 == 0 ? 10.0 : 1.0) * NS_PER_MS * nature->slow;
        figures->latency[histogram_bucket((uint64_t)ns)]++;
    }
}

/* @ns of traffic, a step each second. */
static inline void driver_run(struct driver *driver, uint64_t ns)
{
    for (uint64_t end = driver->now.ns + ns; driver->now.ns < end;) {
        double share = (double)driver->decision.canary_buckets / ROLLOUT_BUCKETS;
        driver->now.ns += NS_PER_S;
        driver->now.wall_ms += 1000;
        driver_count(&driver->canary, &driver->canary_nature, driver->calls_per_s * share);
        driver_count(&driver->stable, &driver->stable_nature, driver->calls_per_s * (1 - share));
        driver_step(driver);
    }
}

static inline int driver_order(struct driver *driver, enum rollout_verb verb)
{
    struct error_text error = {""};
    int r = rollout_order(driver->rollout, verb, "olga", "because", driver->now, &error);
    assert_true((r == 0) == (error.text[0] == '\0'));
    driver_step(driver);
    return r;
}

static inline struct rollout_view driver_view(const struct driver *driver)
{
    struct rollout_view view;
    rollout_view(driver->rollout, &view);
    return view;
}

static inline void driver_expect(const struct driver *driver, enum rollout_phase phase,
                                 uint32_t buckets)
{
    struct rollout_view view = driver_view(driver);
    if (view.phase != phase || view.canary_buckets != buckets)
        fail_msg("%s with %u buckets instead of %s with %u: %s", rollout_phase_name(view.phase),
                 view.canary_buckets, rollout_phase_name(phase), buckets, view.reason);
    assert_int_equal(driver->decision.canary_buckets, buckets);
}

/* The last entry that somebody else than the driver made. */
static inline const struct rollout_entry *driver_last(const struct driver *driver)
{
    return rollout_history(driver->rollout, driver_view(driver).history_count - 1);
}

#endif
