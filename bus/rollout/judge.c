/*
 * Two sequential tests for each gate. Looked at again and again, as a rollout does, a test of fixed
 * size would find a difference sooner or later in anything; these may be looked at as often as one
 * likes.
 *
 * A *hit* is a call that counts against its version: an error, or a call slower than maxP99Ratio
 * times the stable version's 99th percentile. (A canary's p99 is beyond that bound exactly if more
 * than one call in a hundred is: so a comparison of quantiles is a comparison of two shares, exact
 * for any distribution, and needs no model of latency.)
 *
 * Harm. Of the hits of both versions in an interval, some are the canary's. If it is as good as the
 * stable version, each is so with the canary's share of the calls, whatever the hit rate is: what
 * troubles both (a slow disk, a busy evening, an outage behind both) cancels out. If it has r times
 * the hits, the odds are r times as high. The likelihood ratio of the two is Wald's sequential
 * probability ratio [1]; as r is not known, six of them are mixed (Robbins' mixture, the mSPRT of
 * A/B tests [2]). The mixture is a martingale under "as good", so by Ville's inequality it ever
 * exceeds 1/alpha with probability alpha at most: an "always valid" p-value. The canary has failed
 * when it does, and when the difference that is seen is at least half of what the gate allows: with
 * very many calls the smallest difference becomes certain, but is not worth a rollback.
 *
 * Health. "It is as good" is accepted by the other boundary of Wald's test, against "it is worse by
 * all that the gate allows": not finding harm is no proof of health, so a step waits until there is
 * one. That ratio needs the stable version's rate, which is an estimate; the ratio is scaled by
 * what that costs (the variance of a difference of two rates over that of one).
 *
 * Spending. When both gates have passed, a new round begins, so that what breaks later is not
 * weighed against a good past. All rounds of a revision share one budget of false alarms, round k
 * gets 1/(k (k + 1)) of it (these sum to 1; spending functions: Lan and DeMets [3]).
 *
 * Heaps. All this takes each hit for a fact of its own, and callers that try again at once, or
 * batches that fail as one, make several of one. So the evidence is divided by how much more the
 * stable version's hits scatter than single ones would (quasi-likelihood: Wedderburn [5]). That is
 * taken from the differences of neighbouring intervals (von Neumann's ratio [6]), so that an
 * evening's slow rise is not taken for scatter, and each is cut, so that the two edges of an outage
 * are not either. Until it is known, it is taken for SPREAD_FIRST.
 *
 * Why not what Kayenta does [4]: Mann-Whitney on a time series of one metric, once, compares
 * medians of aggregates. It sees neither a tail nor 2 points of errors in a few hundred calls, and
 * a test of fixed size that is repeated errs more often than it says (Johari [2] has by how much).
 *
 * [1] A. Wald, Sequential Tests of Statistical Hypotheses, Ann. Math. Stat. 16, 1945.
 * [2] R. Johari, P. Koomen, L. Pekelis, D. Walsh, Peeking at A/B Tests, KDD 2017;
 *     H. Robbins, Statistical Methods Related to the Law of the Iterated Logarithm, 1970.
 * [3] K. Lan, D. DeMets, Discrete Sequential Boundaries for Clinical Trials, Biometrika 70, 1983.
 * [4] Netflix and Google, Kayenta, 2018 (its judge: NetflixACAJudge, Mann-Whitney U).
 * [5] R. Wedderburn, Quasi-Likelihood Functions, Generalized Linear Models, and the Gauss-Newton
 *     Method, Biometrika 61, 1974.
 * [6] J. von Neumann, Distribution of the Ratio of the Mean Square Successive Difference to the
 *     Variance, Ann. Math. Stat. 12, 1941.
 */
#include "rollout/judge.h"

#include <math.h>
#include <string.h>

#define FALSE_ALARMS 0.004 /* of each gate, in a revision: 0.8 % for both */
#define FALSE_PASSES 0.001 /* of each gate, in a round */

#define REFERENCE_CALLS 20000.0   /* how many calls back it goes, at least one interval */
#define REFERENCE_CALLS_MIN 300.0 /* 3 above the 99th percentile */
#define REFERENCE_WEIGHT 200.0    /* what it counts beside the round's own calls */
#define SPREAD_FIRST 3.0
#define SPREAD_FIRST_INTERVALS 5.0 /* that this counts for */
#define SPREAD_KEEP 0.998          /* of what was learned, in each interval */
#define SPREAD_CUT 9.0             /* times what single hits give */
#define TAIL 0.01
#define RATE_MIN 0.0005 /* a version that never errs, so far, may err that often */

static const double ratios[JUDGE_RATIO_COUNT] = {1.5, 2, 3, 5, 10, 30};

void judge_reset(struct judge *judge)
{
    memset(judge, 0, sizeof(*judge));
}

void judge_begin(struct judge *judge)
{
    judge->errors = judge->p99 = (struct judge_test){.verdict = ROLLOUT_UNDECIDED};
    judge->round += judge->round < UINT32_MAX;
}

/* ---- Latency ---- */

static double bucket_top(uint32_t bucket)
{
    return bucket + 1 < HISTOGRAM_BUCKET_COUNT ? (double)histogram_floor(bucket + 1)
                                               : 2.0 * (double)histogram_floor(bucket);
}

/* The share of a bucket that is above @bound, as if it were filled evenly. */
static double share_above(uint32_t bucket, double bound)
{
    double low = (double)histogram_floor(bucket), high = bucket_top(bucket);
    double share = (high - bound) / (high - low);
    return share < 0 ? 0 : share > 1 ? 1 : share;
}

double judge_above(const uint64_t *counts, double bound_ns)
{
    double sum = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKET_COUNT; i++)
        if (counts[i] > 0)
            sum += (double)counts[i] * share_above(i, bound_ns);
    return sum;
}

static double reference_above(const struct judge_reference *reference, double bound_ns)
{
    double sum = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKET_COUNT; i++)
        if (reference->latency[i] > 0)
            sum += reference->latency[i] * share_above(i, bound_ns);
    return sum;
}

static double sum_of(const uint64_t *counts)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKET_COUNT; i++)
        sum += counts[i];
    return (double)sum;
}

static double latency_count(const struct judge_reference *reference)
{
    double total = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKET_COUNT; i++)
        total += reference->latency[i];
    return total;
}

double judge_reference_p99(const struct judge_reference *reference)
{
    double total = latency_count(reference), above = 0;
    if (total < REFERENCE_CALLS_MIN)
        return 0;
    for (uint32_t i = HISTOGRAM_BUCKET_COUNT; i-- > 0;) {
        double count = reference->latency[i];
        if (count > 0 && above + count >= TAIL * total) {
            double low = (double)histogram_floor(i), high = bucket_top(i);
            return high - (high - low) * (TAIL * total - above) / count;
        }
        above += count;
    }
    return 0;
}

double judge_p99(const uint64_t *counts)
{
    struct judge_reference reference = {.calls = 0};
    for (uint32_t i = 0; i < HISTOGRAM_BUCKET_COUNT; i++)
        reference.latency[i] = (double)counts[i];
    return judge_reference_p99(&reference);
}

/* ---- The reference ---- */

static void refer(struct judge_reference *reference, const struct rollout_figures *stable)
{
    double added = (double)stable->calls;
    double room = REFERENCE_CALLS > added ? REFERENCE_CALLS - added : 0;
    double keep = reference->calls > room ? room / reference->calls : 1;
    reference->calls = reference->calls * keep + added;
    reference->errors = reference->errors * keep + (double)stable->errors;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKET_COUNT; i++)
        reference->latency[i] = reference->latency[i] * keep + (double)stable->latency[i];
}

/* ---- The tests ---- */

struct counts {
    double stable_calls, stable_hits, canary_calls, canary_hits;
};

static void add_harm(struct judge_test *test, const struct counts *counts)
{
    double share = counts->canary_calls / (counts->canary_calls + counts->stable_calls);
    double hits = counts->canary_hits + counts->stable_hits;
    if (counts->canary_calls <= 0 || counts->stable_calls <= 0 || hits <= 0)
        return;
    for (int i = 0; i < JUDGE_RATIO_COUNT; i++)
        test->harm[i] +=
            counts->canary_hits * log(ratios[i]) - hits * log1p(share * (ratios[i] - 1));
}

/* The logarithm of the mixture of all hypotheses. */
static double harm_of(const struct judge_test *test)
{
    double most = test->harm[0], sum = 0;
    for (int i = 1; i < JUDGE_RATIO_COUNT; i++)
        most = fmax(most, test->harm[i]);
    for (int i = 0; i < JUDGE_RATIO_COUNT; i++)
        sum += exp(test->harm[i] - most);
    return most + log(sum / JUDGE_RATIO_COUNT);
}

/* Minus the logarithm of "worse by all that is allowed" over "as good": @rate is the stable
 * version's,
 * @worst what the gate allows. */
static double health_of(const struct judge_test *test, double rate, double worst)
{
    double calls = test->canary_calls, hits = test->canary_hits;
    double ratio = hits * log(worst / rate) + (calls - hits) * (log1p(-worst) - log1p(-rate));
    return -ratio * test->stable_calls / (test->stable_calls + calls);
}

static double share_of(double value, double bound)
{
    double share = value / bound;
    return share < 0 ? 0 : share > 1 ? 1 : share;
}

static void learn_spread(struct judge_spread *spread, double calls, double hits)
{
    if (calls <= 0)
        return;
    if (spread->calls > 0) {
        double rate = (hits + spread->hits) / (calls + spread->calls);
        double difference = hits / calls - spread->hits / spread->calls;
        double expected = rate * (1 - rate);
        double seen = difference * difference / (1 / calls + 1 / spread->calls);
        /* Where there are no hits, there is no scatter: that much in each interval. */
        const double least = RATE_MIN / 2;
        spread->seen = spread->seen * SPREAD_KEEP + fmin(seen, SPREAD_CUT * expected) + least;
        spread->expected = spread->expected * SPREAD_KEEP + expected + least;
    }
    spread->calls = calls;
    spread->hits = hits;
}

/* How many hits make one fact, from 1 up. */
static double spread_of(const struct judge_spread *spread, double rate)
{
    double first = SPREAD_FIRST_INTERVALS * rate * (1 - rate);
    return fmax((spread->seen + SPREAD_FIRST * first) / (spread->expected + first), 1);
}

/* @rate: of the stable version; @worst: the most that is allowed; both of hits to calls. */
static void decide(struct judge_test *test, uint32_t round, double spread, double rate,
                   double worst)
{
    double budget = FALSE_ALARMS / ((double)round * ((double)round + 1));
    test->harm_share = share_of(harm_of(test) / spread, -log(budget));
    if (test->harm_share >= 1 &&
        test->canary_hits / test->canary_calls >= rate + (worst - rate) / 2) {
        test->verdict = ROLLOUT_FAIL;
        return;
    }
    double health = share_of(health_of(test, rate, worst) / spread, -log(FALSE_PASSES));
    if (test->verdict != ROLLOUT_PASS)
        test->health_share = health;
    if (health >= 1)
        test->verdict = ROLLOUT_PASS;
}

static void add(struct judge_test *test, const struct counts *counts)
{
    test->stable_calls += counts->stable_calls;
    test->stable_hits += counts->stable_hits;
    test->canary_calls += counts->canary_calls;
    test->canary_hits += counts->canary_hits;
    add_harm(test, counts);
}

/* The round's own rate, held by what is usual while it has few calls; in 0..1, exclusively. */
static double rate_of(const struct judge_test *test, double usual)
{
    double rate =
        (test->stable_hits + REFERENCE_WEIGHT * usual) / (test->stable_calls + REFERENCE_WEIGHT);
    return fmin(fmax(rate, RATE_MIN), 0.98);
}

static void look_at_errors(struct judge *judge, const struct rollout_gates *gates,
                           const struct rollout_figures *stable,
                           const struct rollout_figures *canary, bool enough)
{
    struct judge_test *test = &judge->errors;
    const struct counts counts = {(double)stable->calls, (double)stable->errors,
                                  (double)canary->calls, (double)canary->errors};
    if (judge->reference.calls < REFERENCE_CALLS_MIN)
        return;
    add(test, &counts);
    learn_spread(&judge->error_spread, counts.stable_calls, counts.stable_hits);
    double rate = rate_of(test, judge->reference.errors / judge->reference.calls);
    if (enough && test->canary_calls > 0 && test->stable_calls > 0)
        decide(test, judge->round, spread_of(&judge->error_spread, rate), rate,
               fmin(rate + gates->max_error_rate, 0.99));
}

static void look_at_p99(struct judge *judge, const struct rollout_gates *gates,
                        const struct rollout_figures *stable, const struct rollout_figures *canary,
                        bool enough)
{
    struct judge_test *test = &judge->p99;
    double usual_p99 = judge_reference_p99(&judge->reference);
    if (usual_p99 <= 0)
        return;
    double bound = usual_p99 * gates->max_p99_ratio;
    const struct counts counts = {sum_of(stable->latency), judge_above(stable->latency, bound),
                                  sum_of(canary->latency), judge_above(canary->latency, bound)};
    add(test, &counts);
    learn_spread(&judge->p99_spread, counts.stable_calls, counts.stable_hits);
    double usual =
        fmax(reference_above(&judge->reference, bound) / judge->reference.calls, RATE_MIN);
    double rate = rate_of(test, usual);
    double worst = fmax(TAIL, rate * fmin(TAIL / usual, 10));
    if (enough && test->canary_calls > 0 && test->stable_calls > 0)
        decide(test, judge->round, spread_of(&judge->p99_spread, rate), rate,
               fmin(fmax(worst, 1.5 * rate), 0.99));
}

enum rollout_verdict judge_look(struct judge *judge, const struct rollout_gates *gates,
                                const struct rollout_figures *stable,
                                const struct rollout_figures *canary, bool enough)
{
    refer(&judge->reference, stable);
    look_at_errors(judge, gates, stable, canary, enough);
    look_at_p99(judge, gates, stable, canary, enough);
    if (judge->errors.verdict == ROLLOUT_FAIL || judge->p99.verdict == ROLLOUT_FAIL)
        return ROLLOUT_FAIL;
    if (judge->errors.verdict == ROLLOUT_PASS && judge->p99.verdict == ROLLOUT_PASS)
        return ROLLOUT_PASS;
    return ROLLOUT_UNDECIDED;
}
