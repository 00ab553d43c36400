/*
 * The judging of a canary: evidence that it is worse than the stable version, and evidence that it
 * is not. rollout/ only; judge.c says how, and where it comes from.
 */
#ifndef PARLEY_ROLLOUT_JUDGE_H
#define PARLEY_ROLLOUT_JUDGE_H

#include "rollout/rollout.h"

#define JUDGE_RATIO_COUNT 6 /* how many times worse a canary may be: hypotheses at once */

/* The latest calls of the stable version, older ones forgotten: what is usual now. */
struct judge_reference {
    double calls, errors;
    double latency[HISTOGRAM_BUCKET_COUNT];
};

/* Hits are the calls that count against a version: errors, or those slower than a bound. Since the
 * round began. */
struct judge_test {
    double stable_calls, stable_hits;
    double canary_calls, canary_hits;
    double harm[JUDGE_RATIO_COUNT];  /* log likelihood ratios, one for each hypothesis */
    enum rollout_verdict verdict;    /* of this round */
    double harm_share, health_share; /* of the evidence that a verdict needs, 0..1 */
};

/* How much the stable version's hits scatter from one interval to the next, and how much they would
 * if each came by itself. */
struct judge_spread {
    double seen, expected;
    double calls, hits; /* of the interval before */
};

struct judge {
    struct judge_reference reference;
    struct judge_spread error_spread, p99_spread;
    struct judge_test errors, p99;
    uint32_t round; /* from 1: how many were begun in this revision */
};

/* Forgets all; the stable version is another one. */
void judge_reset(struct judge *judge);
/* A new round, with the same reference. */
void judge_begin(struct judge *judge);
/**
 * judge_look() - one interval's figures in
 * @stable, @canary: what was counted since the last look
 * @enough: whether the canary has had minCalls: else nothing is decided, only counted
 *
 * Return: ROLLOUT_FAIL as soon as one gate fails, ROLLOUT_PASS when both have passed in this round:
 * then another judge_begin() is due.
 */
enum rollout_verdict judge_look(struct judge *judge, const struct rollout_gates *gates,
                                const struct rollout_figures *stable,
                                const struct rollout_figures *canary, bool enough);
/* The 99th percentile of the reference in ns, interpolated in its bucket; 0: too few calls. */
double judge_reference_p99(const struct judge_reference *reference);
/* The same of HISTOGRAM_BUCKET_COUNT counts. */
double judge_p99(const uint64_t *counts);
/* How many of @counts are above @bound_ns, interpolated in the bucket that it is in. */
double judge_above(const uint64_t *counts, double bound_ns);

#endif
