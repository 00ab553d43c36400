#include "support/test.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "rollout/judge.h"

static const struct rollout_gates gates = {
    .min_calls = 1, .max_error_rate = 0.02, .max_p99_ratio = 2, .consecutive_success_limit = 1};

static struct judge judge;
static struct rollout_figures stable, canary;

static int setup(void **state)
{
    (void)state;
    judge_reset(&judge);
    judge_begin(&judge);
    return 0;
}

/* @slow of the calls take 10 ms, the others 1 ms. */
static struct rollout_figures figures(uint64_t calls, uint64_t errors, uint64_t slow)
{
    struct rollout_figures made = {.calls = calls, .errors = errors};
    made.latency[histogram_bucket(NS_PER_MS)] = calls - slow;
    made.latency[histogram_bucket(10 * NS_PER_MS)] = slow;
    return made;
}

static enum rollout_verdict look(void)
{
    return judge_look(&judge, &gates, &stable, &canary, true);
}

/* Until it is known that hits come one by one. */
static void settle(void)
{
    const struct rollout_figures kept = canary;
    canary = figures(0, 0, 0);
    for (int i = 0; i < 1000; i++)
        (void)look();
    canary = kept;
    judge_begin(&judge);
    judge.round = 1;
}

static void test_p99_is_interpolated_in_its_bucket(void **state)
{
    (void)state;
    uint64_t counts[HISTOGRAM_BUCKET_COUNT] = {0};
    uint32_t bucket = histogram_bucket(NS_PER_MS);
    double low = (double)histogram_floor(bucket), high = (double)histogram_floor(bucket + 1);
    counts[bucket] = 1000;
    assert_true(fabs(judge_p99(counts) - (low + 0.99 * (high - low))) < 1);
    counts[bucket + 20] = 10; /* 1 in 101 */
    assert_true(fabs(judge_p99(counts) - high) < 0.02 * (high - low));
}

static void test_p99_of_few_calls_is_not_known(void **state)
{
    (void)state;
    uint64_t counts[HISTOGRAM_BUCKET_COUNT] = {0};
    counts[100] = 299;
    assert_true(judge_p99(counts) == 0);
    counts[100] = 300;
    assert_true(judge_p99(counts) > 0);
}

static void test_what_is_above_a_bound_is_interpolated(void **state)
{
    (void)state;
    uint64_t counts[HISTOGRAM_BUCKET_COUNT] = {0};
    double low = (double)histogram_floor(100), high = (double)histogram_floor(101);
    counts[100] = 80;
    counts[101] = 5;
    assert_true(judge_above(counts, low) == 85);
    assert_true(fabs(judge_above(counts, low + (high - low) / 4) - 65) < 1e-6);
    assert_true(judge_above(counts, high) == 5);
    assert_true(judge_above(counts, 1e18) == 0);
    counts[HISTOGRAM_BUCKET_COUNT - 1] =
        7; /* no top: half of it is above once and a half its floor */
    assert_true(judge_above(counts, 1.5 * (double)histogram_floor(HISTOGRAM_BUCKET_COUNT - 1)) ==
                3.5);
}

/* Wald's identity, which Ville's inequality needs: if the canary is as good, the likelihood ratios
 * are 1 on average over all that chance can do. */
static void test_evidence_of_harm_is_a_martingale(void **state)
{
    (void)state;
    static const uint64_t hits = 12;
    double mean[JUDGE_RATIO_COUNT] = {0};
    for (uint64_t k = 0; k <= hits; k++) {
        setup(NULL);
        stable = figures(9000, hits - k, 0);
        canary = figures(1000, k, 0);
        (void)look();
        double chance =
            exp(lgamma((double)hits + 1) - lgamma((double)k + 1) - lgamma((double)(hits - k) + 1)) *
            pow(0.1, (double)k) * pow(0.9, (double)(hits - k));
        for (int i = 0; i < JUDGE_RATIO_COUNT; i++)
            mean[i] += chance * exp(judge.errors.harm[i]);
    }
    for (int i = 0; i < JUDGE_RATIO_COUNT; i++)
        assert_true(fabs(mean[i] - 1) < 1e-9);
}

static void test_no_calls_are_no_evidence(void **state)
{
    (void)state;
    stable = figures(1000, 5, 5);
    canary = figures(0, 0, 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(look(), ROLLOUT_UNDECIDED);
    assert_true(judge.errors.health_share == 0 && judge.errors.harm_share == 0);
    setup(NULL);
    stable = figures(0, 0, 0);
    canary = figures(1000, 900, 900);
    for (int i = 0; i < 100; i++)
        assert_int_equal(look(), ROLLOUT_UNDECIDED); /* nothing to compare with */
}

static void test_equal_versions_pass_after_enough_calls(void **state)
{
    (void)state;
    int looks = 1;
    stable = figures(9000, 9, 0);
    canary = figures(100, 0, 0);
    settle();
    while (look() == ROLLOUT_UNDECIDED)
        looks++;
    assert_int_equal(judge.errors.verdict, ROLLOUT_PASS);
    assert_int_equal(judge.p99.verdict, ROLLOUT_PASS);
    assert_in_range(looks, 4, 8); /* about 620 calls for latency, 320 for errors */
}

static void test_two_points_more_errors_fail(void **state)
{
    (void)state;
    int looks = 1;
    stable = figures(9000, 90, 0);
    canary = figures(200, 6, 0); /* 3 % beside 1 % */
    while (look() == ROLLOUT_UNDECIDED)
        looks++;
    assert_int_equal(judge.errors.verdict, ROLLOUT_FAIL);
    assert_in_range(looks, 2, 6);
}

static void test_p99_beyond_its_bound_fails(void **state)
{
    (void)state;
    stable = figures(9000, 0, 0);
    canary = figures(500, 0, 8);
    int looks = 1;
    while (look() == ROLLOUT_UNDECIDED)
        looks++;
    assert_int_equal(judge.p99.verdict, ROLLOUT_FAIL);
    assert_in_range(looks, 1, 3);
}

static void test_certain_but_small_difference_does_not_fail(void **state)
{
    (void)state;
    stable = figures(1000000, 1000, 0);
    canary = figures(1000000, 5000, 0); /* 0.4 points: as certain as anything */
    assert_int_equal(look(), ROLLOUT_PASS);
    assert_true(judge.errors.harm_share == 1);
}

static void test_same_trouble_for_both_does_not_fail(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        bool outage = i % 20 < 4;
        stable = figures(90, outage ? 45 : 0, outage ? 45 : 0);
        canary = figures(10, outage ? 5 : 0, outage ? 5 : 0);
        enum rollout_verdict verdict = look();
        assert_int_not_equal(verdict, ROLLOUT_FAIL);
        if (verdict == ROLLOUT_PASS)
            judge_begin(&judge);
    }
}

static void test_nothing_is_decided_before_there_is_enough(void **state)
{
    (void)state;
    stable = figures(9000, 9, 0);
    canary = figures(1000, 900, 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(judge_look(&judge, &gates, &stable, &canary, false), ROLLOUT_UNDECIDED);
    assert_int_equal(look(), ROLLOUT_FAIL);
}

static void test_each_round_has_a_smaller_budget(void **state)
{
    (void)state;
    double last = 2;
    stable = figures(9000, 90, 0);
    canary = figures(100, 3, 0);
    settle();
    for (int round = 0; round < 5; round++) {
        (void)look();
        assert_true(judge.errors.harm_share > 0 && judge.errors.harm_share < last);
        last = judge.errors.harm_share;
        judge_begin(&judge);
    }
    judge.round = UINT32_MAX;
    judge_begin(&judge);
    (void)look();
    assert_true(judge.errors.harm_share > 0 && judge.errors.harm_share < last);
}

static void test_hits_that_come_in_heaps_are_less_evidence(void **state)
{
    (void)state;
    double harm[2];
    for (int heaps = 0; heaps < 2; heaps++) {
        setup(NULL);
        for (int i = 0; i < 1000; i++) { /* 50 hits in two intervals, or 0 and 100 */
            stable = figures(5000, heaps ? 100 * (uint64_t)(i % 2) : 50, 0);
            canary = figures(0, 0, 0);
            (void)look();
        }
        judge_begin(&judge);
        stable = figures(5000, 50, 0);
        canary = figures(100, 6, 0);
        (void)look();
        harm[heaps] = judge.errors.harm_share;
    }
    assert_true(harm[1] > 0 && harm[1] < 0.2 * harm[0]);
}

static void test_what_is_usual_forgets(void **state)
{
    (void)state;
    stable = figures(10000, 0, 0);
    canary = figures(0, 0, 0);
    for (int i = 0; i < 10; i++)
        (void)look();
    assert_true(judge.reference.calls == 20000);
    stable = figures(10000, 0, 10000);
    (void)look();
    (void)look();
    assert_true(judge.reference.calls == 20000);
    double p99 = judge_reference_p99(&judge.reference);
    assert_true(p99 > 9.0 * NS_PER_MS);
    stable = figures(100000, 0, 0); /* more than it holds: then that alone is usual */
    (void)look();
    assert_true(judge.reference.calls == 100000);
    assert_true(judge_reference_p99(&judge.reference) < 2.0 * NS_PER_MS);
}

#define T(test) cmocka_unit_test_setup(test, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_p99_is_interpolated_in_its_bucket),
        T(test_p99_of_few_calls_is_not_known),
        T(test_what_is_above_a_bound_is_interpolated),
        T(test_evidence_of_harm_is_a_martingale),
        T(test_no_calls_are_no_evidence),
        T(test_equal_versions_pass_after_enough_calls),
        T(test_two_points_more_errors_fail),
        T(test_p99_beyond_its_bound_fails),
        T(test_certain_but_small_difference_does_not_fail),
        T(test_same_trouble_for_both_does_not_fail),
        T(test_nothing_is_decided_before_there_is_enough),
        T(test_each_round_has_a_smaller_budget),
        T(test_hits_that_come_in_heaps_are_less_evidence),
        T(test_what_is_usual_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
