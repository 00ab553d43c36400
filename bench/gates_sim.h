/* Simulated rollouts, for judging the gates: bench/gates.c, and a small one as a unit test. */
#ifndef PARLEY_BENCH_GATES_SIM_H
#define PARLEY_BENCH_GATES_SIM_H

#include <stdbool.h>
#include <stdint.h>

enum sim_fault {
    SIM_HEALTHY,
    SIM_ERRORS, /* the canary's error rate is 2 points higher */
    SIM_SLOW,   /* each of its calls takes twice as long */
    SIM_TAIL,   /* few of its calls take much longer, so that its p99 is twice as high */
};

struct sim_scenario {
    const char *name;
    const char *about;
    double calls_per_s;
    bool noisy;     /* daily rhythm, bursts, slow minutes and outages of both versions */
    double cluster; /* errors that come at once, on average: 1: each by itself */
    enum sim_fault fault;
    const char *steps; /* of the document, in flow style */
    const char *gates; /* lines of the document's gates, or "" */
};

struct sim_outcome {
    bool rolled_back, completed; /* neither: it waits still, or carries 30 % with a fault */
    bool late;       /* the canary had 30 % or more when, or before, it was rolled back */
    double seconds;  /* from its beginning to its end */
    double exposed;  /* calls that the canary served until then */
    double low_rate; /* not used by figures: the stable version's error rate */
};

/* One rollout: the same numbers give the same outcome. */
struct sim_outcome sim_run(const struct sim_scenario *scenario, uint64_t seed);

extern const struct sim_scenario sim_scenarios[];
extern const unsigned sim_scenario_count;

#endif
