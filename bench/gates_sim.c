/*
 * A rollout on a virtual clock, with calls drawn at random, interval by interval.
 *
 * Each rollout is of a service of its own: how often it errs (0.02 % to 5 %), how long its calls
 * take and how they scatter (log-normal, sigma 0.4 to 1.4, and up to one call in a hundred eight
 * times as long, as by a collector's pause) are drawn first. Then, for each interval, what is
 * common to both versions: traffic over the day and in bursts, minutes in which all is slower,
 * outages behind both. Then each version's calls: how many, how many of them fail, and into which
 * bucket of latency they fall. Many calls are drawn by the bucket (Poisson), few one by one.
 */
#include "gates_sim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "rollout/rollout.h"

#define INTERVAL_S 10.0
#define LIMIT_S (60.0 * 24 * 3600) /* a rollout that takes longer is one that waits */
#define CARRIES 30000              /* buckets */
#define ONE_BY_ONE 150             /* calls */
#define PAUSE 8.0

#define STEPS_USUAL                                                                                \
    "[{weight: 1, hold: 5m}, {weight: 5, hold: 5m}, {weight: 10, hold: 5m}, {weight: 25, hold: "   \
    "5m}, {weight: 50, hold: 5m}]"
#define STEPS_FEW_CALLS "[{weight: 10, hold: 5m}, {weight: 25, hold: 5m}, {weight: 50, hold: 5m}]"

#define FOUR(prefix, words, rate, noise, steps)                                                    \
    {prefix "/healthy", words ", no fault", rate, noise, 1, SIM_HEALTHY, steps, ""},               \
        {prefix "/errors", words ", 2 points more errors", rate, noise, 1, SIM_ERRORS, steps, ""}, \
        {prefix "/slow", words ", all calls twice as long", rate, noise, 1, SIM_SLOW, steps, ""},  \
    {                                                                                              \
        prefix "/tail", words ", p99 doubled by few calls", rate, noise, 1, SIM_TAIL, steps, ""    \
    }

const struct sim_scenario sim_scenarios[] = {
    FOUR("high-even", "10,000 calls/s", 10000, false, STEPS_USUAL),
    FOUR("high-noisy", "10,000 calls/s, common noise", 10000, true, STEPS_USUAL),
    FOUR("middle-even", "100 calls/s", 100, false, STEPS_USUAL),
    FOUR("middle-noisy", "100 calls/s, common noise", 100, true, STEPS_USUAL),
    FOUR("low-even", "1 call/s, from 10 %", 1, false, STEPS_FEW_CALLS),
    FOUR("low-noisy", "1 call/s, from 10 %, common noise", 1, true, STEPS_FEW_CALLS),
    /* Not what the tests assume: each call errs by itself. */
    {"clusters/healthy", "100 calls/s, common noise, errors two at a time, no fault", 100, true, 2,
     SIM_HEALTHY, STEPS_USUAL, ""},
    {"clusters/errors", "100 calls/s, common noise, errors two at a time, 2 points more", 100, true,
     2, SIM_ERRORS, STEPS_USUAL, ""},
};
const unsigned sim_scenario_count = sizeof(sim_scenarios) / sizeof(sim_scenarios[0]);

/* ---- Chance ---- */

struct chance {
    uint64_t state;
    double spare;
    bool has_spare;
};

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next(struct chance *chance)
{
    uint64_t z = chance->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* In (0, 1). */
static double uniform(struct chance *chance)
{
    return ((double)(next(chance) >> 12) + 0.5) / 4503599627370496.0;
}

/* Marsaglia's polar method (1964). */
static double normal(struct chance *chance)
{
    double a, b, square;
    if (chance->has_spare) {
        chance->has_spare = false;
        return chance->spare;
    }
    do {
        a = 2 * uniform(chance) - 1;
        b = 2 * uniform(chance) - 1;
        square = a * a + b * b;
    } while (square >= 1 || square == 0);
    double factor = sqrt(-2 * log(square) / square);
    chance->spare = b * factor;
    chance->has_spare = true;
    return a * factor;
}

static uint64_t poisson(struct chance *chance, double mean)
{
    if (mean > 60) {
        double value = floor(mean + sqrt(mean) * normal(chance) + 0.5);
        return value < 0 ? 0 : (uint64_t)value;
    }
    double limit = exp(-mean), product = uniform(chance);
    uint64_t count = 0;
    for (; product > limit; count++)
        product *= uniform(chance);
    return count;
}

static uint64_t binomial(struct chance *chance, uint64_t n, double p)
{
    uint64_t count = 0;
    if ((double)n * p > 60 && (double)n * (1 - p) > 60) {
        double mean = (double)n * p,
               value = floor(mean + sqrt(mean * (1 - p)) * normal(chance) + 0.5);
        return value < 0 ? 0 : value > (double)n ? n : (uint64_t)value;
    }
    if (n > 400 && p < 0.1) {
        count = poisson(chance, (double)n * p);
        return count < n ? count : n;
    }
    for (uint64_t i = 0; i < n; i++)
        count += uniform(chance) < p;
    return count;
}

/* ---- A service ---- */

struct service {
    double error_rate;
    double median_ns, sigma, pauses; /* the share of calls that take PAUSE times as long */
};

/* What a fault makes of the canary. */
struct fault {
    double errors, scale, tail,
        tail_factor; /* the share of calls that take so many times as long */
};

struct common {
    double traffic, slow, errors; /* factor, factor, points */
    double log_slow, day;
    double burst_left_s, outage_left_s;
};

static double log_uniform(struct chance *chance, double low, double high)
{
    return low * pow(high / low, uniform(chance));
}

static void draw_service(struct chance *chance, struct service *service)
{
    service->error_rate = log_uniform(chance, 0.0002, 0.05);
    service->median_ns = log_uniform(chance, 20e3, 20e6);
    service->sigma = 0.4 + uniform(chance);
    service->pauses = uniform(chance) < 0.5 ? 0 : 0.01 * uniform(chance);
}

static double above(const struct service *service, double ns)
{
    double z = log(ns / service->median_ns) / service->sigma;
    double z_pause = log(ns / (PAUSE * service->median_ns)) / service->sigma;
    return (1 - service->pauses) * 0.5 * erfc(z * M_SQRT1_2) +
           service->pauses * 0.5 * erfc(z_pause * M_SQRT1_2);
}

static double p99_of(const struct service *service)
{
    double low = service->median_ns, high = 1e6 * service->median_ns;
    for (int i = 0; i < 60; i++) {
        double middle = sqrt(low * high);
        if (above(service, middle) > 0.01)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static struct fault make_fault(const struct service *service, enum sim_fault kind)
{
    struct fault fault = {.scale = 1, .tail_factor = PAUSE};
    switch (kind) {
    case SIM_HEALTHY:
        break;
    case SIM_ERRORS:
        fault.errors = 0.02;
        break;
    case SIM_SLOW:
        fault.scale = 2;
        break;
    case SIM_TAIL: {
        /* So many that one call in a hundred is above twice the p99. */
        double bound = 2 * p99_of(service), before = above(service, bound);
        fault.tail = (0.01 - before) / (above(service, bound / PAUSE) - before);
        break;
    }
    }
    return fault;
}

/* What the next interval is like for both. */
static void draw_common(struct chance *chance, struct common *common, double now_s)
{
    const double keep = exp(-INTERVAL_S / 120);
    common->log_slow = keep * common->log_slow + sqrt(1 - keep * keep) * 0.25 * normal(chance);
    common->slow = exp(common->log_slow);
    common->traffic = 1 + 0.7 * sin(2 * M_PI * (now_s / 86400 + common->day));
    common->burst_left_s -= INTERVAL_S;
    common->outage_left_s -= INTERVAL_S;
    if (common->burst_left_s <= 0 && uniform(chance) < INTERVAL_S / 300)
        common->burst_left_s = -60 * log(uniform(chance));
    if (common->outage_left_s <= 0 && uniform(chance) < INTERVAL_S / 3600)
        common->outage_left_s = -60 * log(uniform(chance));
    if (common->burst_left_s > 0)
        common->traffic *= 4;
    common->errors = common->outage_left_s > 0 ? 0.15 : 0;
    if (common->outage_left_s > 0)
        common->slow *= 3;
}

/* ---- Calls ---- */

/* The normal distribution's upper tail, from a table: this is most of the time that it takes. */
static double tail_of(double z)
{
    enum { PER_UNIT = 256, UNITS = 7 };
    static double table[2 * UNITS * PER_UNIT + 2];
    if (table[0] == 0)
        for (int i = 0; i <= 2 * UNITS * PER_UNIT + 1; i++)
            table[i] = 0.5 * erfc(((double)i / PER_UNIT - UNITS) * M_SQRT1_2);
    double place = (z + UNITS) * PER_UNIT;
    if (place < 0)
        return 1;
    if (place >= 2 * UNITS * PER_UNIT)
        return 0;
    int index = (int)place;
    return table[index] + (table[index + 1] - table[index]) * (place - index);
}

/* @count calls around a median: each bucket's by its share. */
static void draw_buckets(struct chance *chance, double count, double median_ns, double sigma,
                         struct rollout_figures *figures)
{
    static double floors[HISTOGRAM_BUCKET_COUNT];
    if (floors[1] == 0)
        for (uint32_t i = 1; i < HISTOGRAM_BUCKET_COUNT; i++)
            floors[i] = log((double)histogram_floor(i));
    double log_median = log(median_ns), upper = 1;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKET_COUNT && upper > 0; i++) {
        double next_upper =
            i + 1 < HISTOGRAM_BUCKET_COUNT ? tail_of((floors[i + 1] - log_median) / sigma) : 0;
        double mean = count * (upper - next_upper);
        upper = next_upper;
        if (mean > 1e-12)
            figures->latency[i] += poisson(chance, mean);
    }
}

static void draw_latencies(struct chance *chance, uint64_t calls, const struct service *service,
                           const struct fault *fault, double slow, struct rollout_figures *figures)
{
    double median_ns = service->median_ns * slow * fault->scale;
    double shares[2][2] = {
        {(1 - fault->tail) * (1 - service->pauses), (1 - fault->tail) * service->pauses},
        {fault->tail * (1 - service->pauses), fault->tail * service->pauses}};
    if (calls > ONE_BY_ONE) {
        for (int tail = 0; tail < 2; tail++)
            for (int pause = 0; pause < 2; pause++)
                if (shares[tail][pause] > 0)
                    draw_buckets(chance, (double)calls * shares[tail][pause],
                                 median_ns * (tail ? fault->tail_factor : 1) * (pause ? PAUSE : 1),
                                 service->sigma, figures);
        return;
    }
    for (uint64_t i = 0; i < calls; i++) {
        double ns = median_ns * exp(service->sigma * normal(chance));
        ns *= uniform(chance) < service->pauses ? PAUSE : 1;
        ns *= uniform(chance) < fault->tail ? fault->tail_factor : 1;
        figures->latency[histogram_bucket(ns < 1e18 ? (uint64_t)ns : UINT64_C(1) << 60)]++;
    }
}

static uint64_t draw_calls(struct chance *chance, const struct sim_scenario *scenario, double mean,
                           const struct service *service, const struct fault *fault,
                           const struct common *common, struct rollout_figures *figures)
{
    uint64_t calls = poisson(chance, mean), errors = 0;
    double rate = fmin(service->error_rate + fault->errors + common->errors, 1);
    if (scenario->cluster <= 1) {
        errors = binomial(chance, calls, rate);
    } else {
        /* Clusters of geometric length: who is refused tries again. */
        uint64_t clusters = poisson(chance, (double)calls * rate / scenario->cluster);
        for (uint64_t i = 0; i < clusters; i++)
            for (errors++; uniform(chance) > 1 / scenario->cluster;)
                errors++;
        errors = errors < calls ? errors : calls;
    }
    figures->calls += calls;
    figures->errors += errors;
    draw_latencies(chance, calls, service, fault, common->slow, figures);
    return calls;
}

/* ---- A rollout ---- */

static struct rollout *make_rollout(const struct sim_scenario *scenario, struct rollout_time now)
{
    static const char *const versions[] = {"1.0.0", "2.0.0"};
    char text[2048];
    struct error_text error = {""};
    struct rollout_spec *spec = NULL;
    struct rollout *rollout = NULL;
    (void)snprintf(text, sizeof(text),
                   "apiVersion: parley.dev/v1alpha1\nkind: Rollout\nmetadata: {name: simulated}\n"
                   "spec:\n  interface: a\n  stable: ^1\n  canary: ^2\n  steps: %s\n%s",
                   scenario->steps, scenario->gates);
    if (rollout_spec_parse(text, strlen(text), scenario->name, &spec, &error) < 0 ||
        rollout_new(spec, "gates", now, &rollout) < 0) {
        (void)fprintf(stderr, "%s\n", error.text);
        abort();
    }
    rollout_offer(rollout, versions, 2, now);
    return rollout;
}

struct sim_outcome sim_run(const struct sim_scenario *scenario, uint64_t seed)
{
    struct chance chance = {.state = seed};
    struct service service;
    struct common common = {.traffic = 1, .slow = 1};
    static const struct fault none = {.scale = 1, .tail_factor = 1};
    static struct rollout_figures stable, canary;
    struct rollout_time now = {.ns = NS_PER_S};
    struct rollout_decision decision;
    struct sim_outcome outcome = {.seconds = 0};
    draw_service(&chance, &service);
    common.day = uniform(&chance);
    const struct fault fault = make_fault(&service, scenario->fault);
    struct rollout *rollout = make_rollout(scenario, now);
    stable = canary = (struct rollout_figures){.calls = 0};
    rollout_step(rollout, now, &stable, &canary, &decision);
    while (outcome.seconds < LIMIT_S) {
        struct rollout_view view;
        double share = (double)decision.canary_buckets / ROLLOUT_BUCKETS;
        if (scenario->noisy)
            draw_common(&chance, &common, outcome.seconds);
        double calls = scenario->calls_per_s * common.traffic * INTERVAL_S;
        outcome.exposed += (double)draw_calls(&chance, scenario, calls * share, &service, &fault,
                                              &common, &canary);
        (void)draw_calls(&chance, scenario, calls * (1 - share), &service, &none, &common, &stable);
        outcome.seconds += INTERVAL_S;
        now.ns += (uint64_t)(INTERVAL_S * 1e9);
        rollout_step(rollout, now, &stable, &canary, &decision);
        rollout_view(rollout, &view);
        outcome.rolled_back = view.phase == ROLLOUT_ROLLED_BACK;
        outcome.completed = view.phase == ROLLOUT_COMPLETED;
        outcome.late = outcome.late || decision.canary_buckets >= CARRIES;
        if (outcome.rolled_back || outcome.completed ||
            (outcome.late && scenario->fault != SIM_HEALTHY))
            break;
    }
    (void)rollout_free(rollout);
    return outcome;
}
