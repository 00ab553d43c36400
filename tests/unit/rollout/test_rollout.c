#include "support/test.h"

#include <errno.h>

#include "unit/rollout/driver.h"

#define MINUTE (60 * NS_PER_S)

static struct driver d;

static void begin(const char *more)
{
    driver_init(&d, more);
    driver_offer(&d, "1.4.0", "2.0.0", NULL);
}

static int teardown(void **state)
{
    (void)state;
    d.rollout = rollout_free(d.rollout);
    return 0;
}

/* ---- Waiting ---- */

static void test_nothing_is_decided_without_versions(void **state)
{
    (void)state;
    driver_init(&d, DRIVER_STEPS);
    driver_step(&d);
    driver_expect(&d, ROLLOUT_WAITING, 0);
    assert_false(d.decision.versions_known);
    assert_true(d.decision.next_ns == UINT64_MAX);
    driver_offer(&d, "2.0.0", "not a version", NULL);
    driver_expect(&d, ROLLOUT_WAITING, 0);
    assert_false(d.decision.versions_known);
}

static void test_stable_version_has_all_until_a_canary_comes(void **state)
{
    (void)state;
    driver_init(&d, DRIVER_STEPS);
    driver_offer(&d, "1.3.0", "1.4.0", NULL);
    driver_expect(&d, ROLLOUT_WAITING, 0);
    assert_true(d.decision.versions_known);
    assert_string_equal(d.decision.stable, "1.4.0");
    assert_string_equal(d.decision.canary, "");
    driver_offer(&d, "1.3.0", "1.4.0", "2.0.0");
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    assert_string_equal(d.decision.canary, "2.0.0");
}

static void test_ranges_may_overlap(void **state)
{
    (void)state;
    driver_init(&d, "  stable: ^1\n  canary: ^1.3\n  steps: [{weight: 1}]\n");
    driver_offer(&d, "1.2.0", "1.3.0", NULL);
    assert_string_equal(d.decision.stable, "1.2.0");
    assert_string_equal(d.decision.canary, "1.3.0");
}

static void test_first_alternative_is_preferred(void **state)
{
    (void)state;
    driver_init(&d, "  stable: ~1.2, ~1.4\n  canary: ~2.1, ^2\n  steps: [{weight: 1}]\n");
    driver_offer(&d, "1.4.0", "1.2.0", "2.5.0");
    assert_string_equal(d.decision.stable, "1.2.0");
    assert_string_equal(d.decision.canary, "2.5.0");
    driver_offer(&d, "1.2.0", "2.5.0", "2.1.0");
    assert_string_equal(d.decision.canary, "2.1.0");
    assert_int_equal(driver_view(&d).revision, 2);
}

/* ---- Steps ---- */

static void test_healthy_canary_goes_through_all_steps(void **state)
{
    (void)state;
    begin(DRIVER_STEPS "  mirror: 3\n");
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    assert_true(d.decision.match);
    assert_int_equal(d.decision.mirror_buckets, 3000);
    driver_run(&d, MINUTE - NS_PER_S);
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    driver_run(&d, NS_PER_S);
    driver_expect(&d, ROLLOUT_PROGRESSING, 50000);
    driver_run(&d, MINUTE);
    driver_expect(&d, ROLLOUT_COMPLETED, 100000);
    assert_false(d.decision.match);
    assert_int_equal(d.decision.mirror_buckets, 0);
    assert_true(d.decision.next_ns == UINT64_MAX);
    assert_int_equal(driver_view(&d).stage, 2);
}

static void test_decision_says_when_it_changed_and_when_to_come_again(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    assert_true(d.decision.changed);
    assert_true(d.decision.next_ns == d.now.ns + 10 * NS_PER_S);
    driver_step(&d);
    assert_false(d.decision.changed);
    driver_run(&d, 55 * NS_PER_S); /* the gates hold: the hold's end is what is next */
    assert_true(d.decision.next_ns == d.now.ns + 5 * NS_PER_S);
}

static void test_step_waits_for_data_however_long(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    d.calls_per_s = 0;
    driver_run(&d, 600 * MINUTE);
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    assert_int_equal(driver_view(&d).errors.verdict, ROLLOUT_UNDECIDED);
    d.calls_per_s = 1000;
    driver_run(&d, MINUTE);
    driver_expect(&d, ROLLOUT_PROGRESSING, 50000);
}

static void test_nothing_is_judged_below_min_calls(void **state)
{
    (void)state;
    begin(DRIVER_STEPS "  gates: {minCalls: 7000}\n");
    driver_run(&d, MINUTE); /* 6,000 calls of the canary */
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    assert_int_equal(driver_view(&d).canary_calls, 6000);
    driver_run(&d, 10 * NS_PER_S);
    driver_expect(&d, ROLLOUT_PROGRESSING, 50000);
}

static void test_failures_count_for_nothing_below_min_calls(void **state)
{
    (void)state;
    begin(DRIVER_STEPS "  gates: {minCalls: 7000}\n");
    d.canary_nature.error_rate = 1;
    driver_run(&d, MINUTE);
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    driver_run(&d, 10 * NS_PER_S);
    driver_expect(&d, ROLLOUT_ROLLED_BACK, 0);
}

static void test_step_wants_as_many_successes_in_a_row_as_it_says(void **state)
{
    (void)state;
    begin(DRIVER_STEPS "  gates: {consecutiveSuccessLimit: 12}\n");
    driver_run(&d, 2 * MINUTE - NS_PER_S); /* one at most in each interval */
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    driver_run(&d, 8 * MINUTE);
    driver_expect(&d, ROLLOUT_COMPLETED, 100000);
}

static void test_step_without_weight_keeps_the_weight(void **state)
{
    (void)state;
    begin(DRIVER_RANGES "  steps: [{weight: 10}, {hold: 1m}, {weight: 20}]\n");
    driver_run(&d, 30 * NS_PER_S);
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    assert_int_equal(driver_view(&d).stage, 1);
    driver_run(&d, 2 * MINUTE);
    driver_expect(&d, ROLLOUT_COMPLETED, 100000);
}

static void test_step_of_none_or_all_waits_for_its_hold_only(void **state)
{
    (void)state;
    begin(DRIVER_RANGES "  steps: [{weight: 0, hold: 1m}, {weight: 100, hold: 1m}]\n");
    driver_run(&d, MINUTE - NS_PER_S);
    driver_expect(&d, ROLLOUT_PROGRESSING, 0);
    assert_true(d.decision.match);
    driver_run(&d, NS_PER_S);
    driver_expect(&d, ROLLOUT_PROGRESSING, 100000);
    driver_run(&d, MINUTE);
    driver_expect(&d, ROLLOUT_COMPLETED, 100000);
}

/* ---- Approval ---- */

static void test_step_with_approval_waits_for_it(void **state)
{
    (void)state;
    begin(DRIVER_RANGES "  steps: [{weight: 10, approval: true}, {weight: 50}]\n");
    assert_int_equal(driver_order(&d, ROLLOUT_APPROVE), -EINVAL);
    driver_run(&d, 10 * MINUTE);
    driver_expect(&d, ROLLOUT_APPROVAL, 10000);
    assert_true(d.decision.match);
    assert_int_equal(driver_order(&d, ROLLOUT_APPROVE), 0);
    driver_expect(&d, ROLLOUT_PROGRESSING, 50000);
}

static void test_canary_that_fails_while_it_awaits_approval_goes_back(void **state)
{
    (void)state;
    begin(DRIVER_RANGES "  steps: [{weight: 10, approval: true}, {weight: 50}]\n");
    driver_run(&d, 10 * MINUTE);
    d.canary_nature.error_rate = 0.5;
    driver_run(&d, MINUTE);
    driver_expect(&d, ROLLOUT_ROLLED_BACK, 0);
    assert_int_equal(driver_order(&d, ROLLOUT_APPROVE), -EINVAL);
}

/* ---- Failure ---- */

static void test_canary_with_more_errors_goes_back(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    d.canary_nature.error_rate = 0.021;
    driver_run(&d, MINUTE);
    driver_expect(&d, ROLLOUT_ROLLED_BACK, 0);
    assert_false(d.decision.match);
    assert_true(d.decision.next_ns == UINT64_MAX);
    assert_non_null(strstr(driver_view(&d).reason, "calls of 2.0.0 failed"));
    assert_string_equal(driver_last(&d)->who, "controller");
    assert_string_equal(driver_last(&d)->what, "rollback");
    assert_int_equal(driver_last(&d)->canary_buckets, 0);
    driver_run(&d, 60 * MINUTE);
    driver_expect(&d, ROLLOUT_ROLLED_BACK, 0);
}

static void test_slower_canary_goes_back(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    d.canary_nature.slow = 2.3; /* a bucket more than twice */
    driver_run(&d, 2 * MINUTE);
    driver_expect(&d, ROLLOUT_ROLLED_BACK, 0);
    assert_non_null(strstr(driver_view(&d).reason, "took longer than 1.75 times the p99 of 1.4.0"));
}

static void test_trouble_of_both_versions_is_not_the_canarys(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    d.stable_nature = d.canary_nature = (struct nature){0.2, 8};
    driver_run(&d, 10 * MINUTE);
    driver_expect(&d, ROLLOUT_COMPLETED, 100000);
}

static void test_difference_that_the_gate_allows_is_borne(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    d.calls_per_s = 10000;
    d.canary_nature = (struct nature){0.005, 1.3};
    driver_run(&d, 10 * MINUTE);
    driver_expect(&d, ROLLOUT_COMPLETED, 100000);
}

static void test_failures_up_to_the_limit_are_borne(void **state)
{
    (void)state;
    begin(DRIVER_STEPS "  gates: {failureLimit: 2}\n");
    d.canary_nature.error_rate = 0.5;
    driver_run(&d, 20 * NS_PER_S); /* the first look only knows where to begin */
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    assert_int_equal(driver_view(&d).failures, 2);
    assert_string_equal(driver_last(&d)->what, "failure borne");
    driver_run(&d, 10 * NS_PER_S);
    driver_expect(&d, ROLLOUT_ROLLED_BACK, 0);
}

static void test_failure_pauses_where_the_document_says_so(void **state)
{
    (void)state;
    begin(DRIVER_STEPS "  onFailure: pause\n");
    d.canary_nature.error_rate = 0.5;
    driver_run(&d, MINUTE);
    driver_expect(&d, ROLLOUT_PAUSED, 10000);
    assert_int_equal(driver_order(&d, ROLLOUT_ROLLBACK), 0);
    driver_expect(&d, ROLLOUT_ROLLED_BACK, 0);
}

static void test_canary_that_breaks_late_goes_back(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    driver_run(&d, 90 * NS_PER_S);
    driver_expect(&d, ROLLOUT_PROGRESSING, 50000);
    d.canary_nature.error_rate = 0.05;
    driver_run(&d, 30 * NS_PER_S);
    driver_expect(&d, ROLLOUT_ROLLED_BACK, 0);
    assert_true(driver_view(&d).exposed_calls > 10000);
}

/* ---- Figures ---- */

static void test_figures_of_before_are_not_judged(void **state)
{
    (void)state;
    driver_init(&d, DRIVER_STEPS);
    driver_count(&d.canary, &(struct nature){1, 9}, 100000);
    driver_count(&d.stable, &d.stable_nature, 100000);
    driver_offer(&d, "1.4.0", "2.0.0", NULL);
    driver_run(&d, 30 * NS_PER_S);
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    assert_int_equal(driver_view(&d).exposed_calls, 3000);
}

static void test_counters_that_go_down_begin_anew(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    driver_run(&d, 30 * NS_PER_S);
    uint64_t calls = driver_view(&d).canary_calls;
    d.canary = (struct rollout_figures){.calls = 0};
    driver_count(&d.canary, &(struct nature){1, 9}, 2000); /* of an earlier life */
    driver_run(&d, 10 * NS_PER_S);
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    assert_int_equal(driver_view(&d).canary_calls, calls);
    d.canary_nature.error_rate = 0.001;
    driver_run(&d, 10 * NS_PER_S);
    assert_int_equal(driver_view(&d).canary_calls, calls + 1000);
}

static void test_figures_may_be_missing(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    for (int i = 0; i < 100; i++) {
        d.now.ns += NS_PER_S;
        rollout_step(d.rollout, d.now, NULL, NULL, &d.decision);
    }
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
}

/* ---- Operators ---- */

static void test_paused_step_stays_and_goes_on(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    driver_run(&d, 50 * NS_PER_S);
    assert_int_equal(driver_order(&d, ROLLOUT_PAUSE), 0);
    assert_int_equal(driver_order(&d, ROLLOUT_PAUSE), -EINVAL);
    driver_run(&d, 60 * MINUTE);
    driver_expect(&d, ROLLOUT_PAUSED, 10000);
    assert_true(d.decision.match);
    assert_int_equal(driver_order(&d, ROLLOUT_RESUME), 0);
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    assert_true(driver_view(&d).held_ns == 50 * NS_PER_S);
    driver_run(&d, 30 * NS_PER_S);
    driver_expect(&d, ROLLOUT_PROGRESSING, 50000);
}

static void test_promote_is_the_next_step_at_once(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    assert_int_equal(driver_order(&d, ROLLOUT_PROMOTE), 0);
    driver_expect(&d, ROLLOUT_PROGRESSING, 50000);
    assert_int_equal(driver_order(&d, ROLLOUT_PROMOTE), 0);
    driver_expect(&d, ROLLOUT_COMPLETED, 100000);
    assert_int_equal(driver_order(&d, ROLLOUT_PROMOTE), -EINVAL);
}

static void test_promote_full_is_all_at_once(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    assert_int_equal(driver_order(&d, ROLLOUT_PROMOTE_FULL), 0);
    driver_expect(&d, ROLLOUT_COMPLETED, 100000);
}

static void test_rollback_is_none_at_once_and_resume_begins_again(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    driver_run(&d, 70 * NS_PER_S);
    driver_expect(&d, ROLLOUT_PROGRESSING, 50000);
    assert_int_equal(driver_order(&d, ROLLOUT_ROLLBACK), 0);
    driver_expect(&d, ROLLOUT_ROLLED_BACK, 0);
    assert_int_equal(driver_order(&d, ROLLOUT_ROLLBACK), -EINVAL);
    assert_int_equal(driver_order(&d, ROLLOUT_PROMOTE), -EINVAL);
    assert_int_equal(driver_order(&d, ROLLOUT_RESUME), 0);
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    assert_true(driver_view(&d).held_ns == 0);
}

static void test_completed_rollout_can_be_rolled_back(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    assert_int_equal(driver_order(&d, ROLLOUT_PROMOTE_FULL), 0);
    assert_int_equal(driver_order(&d, ROLLOUT_ROLLBACK), 0);
    driver_expect(&d, ROLLOUT_ROLLED_BACK, 0);
    assert_string_equal(d.decision.stable, "1.4.0");
    driver_offer(&d, "1.4.0", "2.0.0", NULL);
    driver_expect(&d, ROLLOUT_ROLLED_BACK, 0);
}

static void test_nobody_goes_back_to_what_is_not_there(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    assert_int_equal(driver_order(&d, ROLLOUT_PROMOTE_FULL), 0);
    driver_offer(&d, "2.0.0", NULL, NULL);
    driver_expect(&d, ROLLOUT_COMPLETED, 100000);
    assert_int_equal(driver_order(&d, ROLLOUT_ROLLBACK), -EINVAL);
    assert_int_equal(driver_order(&d, ROLLOUT_UNDO), -EINVAL);
    driver_expect(&d, ROLLOUT_COMPLETED, 100000);
}

/* Every order in every phase: what it leads to, or that it is refused. */
static void test_every_order_in_every_phase(void **state)
{
    (void)state;
    enum { NO = -1, W, P, A, S, R, C }; /* the phases, in the order of the enum */
    static const struct {
        const char *about;
        int phase;
        int after[ROLLOUT_VERB_COUNT]; /* pause resume approve promote full rollback undo */
    } cases[] = {
        {"waiting", W, {NO, NO, NO, NO, NO, NO, NO}},
        {"progressing", P, {S, NO, NO, P, C, R, R}},
        {"approval", A, {S, NO, P, P, C, R, R}},
        {"paused", S, {NO, P, NO, P, C, R, R}},
        {"rolled back", R, {NO, P, NO, NO, NO, NO, NO}},
        {"completed", C, {NO, NO, NO, NO, NO, R, R}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int verb = 0; verb < ROLLOUT_VERB_COUNT; verb++) {
            driver_init(&d,
                        DRIVER_RANGES "  steps: [{weight: 10, approval: true}, {weight: 50}]\n");
            if (cases[i].phase != W)
                driver_offer(&d, "1.4.0", "2.0.0", NULL);
            if (cases[i].phase == A)
                driver_run(&d, MINUTE);
            if (cases[i].phase == S)
                assert_int_equal(driver_order(&d, ROLLOUT_PAUSE), 0);
            if (cases[i].phase == R)
                assert_int_equal(driver_order(&d, ROLLOUT_ROLLBACK), 0);
            if (cases[i].phase == C)
                assert_int_equal(driver_order(&d, ROLLOUT_PROMOTE_FULL), 0);
            assert_int_equal(driver_view(&d).phase, cases[i].phase);
            uint32_t entries = driver_view(&d).history_count;
            int r = driver_order(&d, (enum rollout_verb)verb);
            int want = cases[i].after[verb];
            if (r != (want == NO ? -EINVAL : 0) ||
                (int)driver_view(&d).phase != (want == NO ? cases[i].phase : want))
                fail_msg("%s, %s: %d, %s", cases[i].about,
                         rollout_verb_name((enum rollout_verb)verb), r,
                         rollout_phase_name(driver_view(&d).phase));
            assert_true((driver_view(&d).history_count > entries) == (r == 0));
            (void)teardown(NULL);
        }
    }
}

static void test_no_such_order_is_refused(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    assert_int_equal(driver_order(&d, ROLLOUT_VERB_COUNT), -EINVAL);
}

/* ---- Undo ---- */

static int apply(const char *more)
{
    struct error_text error = {""};
    int r = rollout_apply(d.rollout, driver_spec(more), "olga", d.now, &error);
    driver_step(&d);
    return r;
}

static void test_undo_brings_the_last_document_back(void **state)
{
    (void)state;
    static const char next[] = "  stable: ^2\n  canary: ^3\n  steps: [{weight: 20, hold: 1m}]\n";
    begin(DRIVER_STEPS);
    assert_int_equal(driver_order(&d, ROLLOUT_PROMOTE_FULL), 0);
    driver_offer(&d, "1.4.0", "2.0.0", "3.0.0");
    assert_int_equal(apply(next), 0);
    driver_expect(&d, ROLLOUT_PROGRESSING, 20000);
    assert_string_equal(d.decision.stable, "2.0.0");
    assert_string_equal(d.decision.canary, "3.0.0");
    assert_int_equal(driver_order(&d, ROLLOUT_UNDO), 0);
    driver_expect(&d, ROLLOUT_COMPLETED, 100000);
    assert_string_equal(d.decision.canary, "2.0.0");
    assert_int_equal(driver_view(&d).revision, 3);
    assert_string_equal(driver_view(&d).spec->canary_text, "^2");
    /* The file that is read again is no news. */
    assert_int_equal(apply(next), ROLLOUT_E_SAME);
    driver_offer(&d, "1.4.0", "2.0.0", "3.0.0");
    driver_expect(&d, ROLLOUT_COMPLETED, 100000);
    /* And undoing it is a redo: as that revision ended, which had not been completed. */
    assert_int_equal(driver_order(&d, ROLLOUT_UNDO), 0);
    driver_expect(&d, ROLLOUT_ROLLED_BACK, 0);
    assert_string_equal(d.decision.stable, "2.0.0");
    driver_offer(&d, "1.4.0", "2.0.0", "3.0.0");
    driver_expect(&d, ROLLOUT_ROLLED_BACK, 0);
}

static void test_undo_of_a_newer_canary_is_the_one_before(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    assert_int_equal(driver_order(&d, ROLLOUT_PROMOTE_FULL), 0);
    driver_offer(&d, "1.4.0", "2.0.0", "2.0.1");
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    assert_int_equal(driver_order(&d, ROLLOUT_UNDO), 0);
    driver_expect(&d, ROLLOUT_COMPLETED, 100000);
    assert_string_equal(d.decision.canary, "2.0.0");
    driver_offer(&d, "1.4.0", "2.0.0", "2.0.1"); /* somebody did not want it */
    assert_string_equal(d.decision.canary, "2.0.0");
}

static void test_undo_is_refused_where_the_version_is_gone(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    assert_int_equal(driver_order(&d, ROLLOUT_PROMOTE_FULL), 0);
    driver_offer(&d, "2.0.0", "3.0.0", NULL);
    assert_int_equal(apply("  stable: ^2\n  canary: ^3\n  steps: [{weight: 20}]\n"), 0);
    driver_offer(&d, "3.0.0", NULL, NULL);
    assert_int_equal(driver_order(&d, ROLLOUT_UNDO), -EINVAL);
    assert_int_equal(driver_view(&d).revision, 2);
}

static void test_eight_revisions_are_kept(void **state)
{
    (void)state;
    char more[256];
    begin(DRIVER_STEPS);
    for (int i = 0; i < 20; i++) {
        (void)snprintf(more, sizeof(more), DRIVER_RANGES "  steps: [{weight: %d}]\n", i + 1);
        assert_int_equal(apply(more), 0);
    }
    assert_int_equal(driver_view(&d).revision, 21);
    json_t *json = rollout_to_json(d.rollout, d.now);
    assert_int_equal(json_array_size(json_object_get(json, "past")), ROLLOUT_REVISION_MAX);
    json_decref(json);
}

/* ---- Documents ---- */

static void test_same_document_is_no_change(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    driver_run(&d, 30 * NS_PER_S);
    assert_int_equal(apply(DRIVER_STEPS), ROLLOUT_E_SAME);
    assert_int_equal(driver_view(&d).revision, 1);
    assert_true(driver_view(&d).held_ns == 30 * NS_PER_S);
}

static void test_changed_document_begins_at_its_first_step(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    driver_run(&d, 70 * NS_PER_S);
    assert_int_equal(apply(DRIVER_STEPS "  mirror: 1\n"), 0);
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    assert_int_equal(driver_view(&d).revision, 2);
    assert_int_equal(driver_view(&d).exposed_calls, 0);
}

static void test_completed_rollout_stays_so_if_the_document_means_the_same(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    assert_int_equal(driver_order(&d, ROLLOUT_PROMOTE_FULL), 0);
    assert_int_equal(apply(DRIVER_STEPS "  - hold: 1m\n"), 0);
    driver_expect(&d, ROLLOUT_COMPLETED, 100000);
    assert_int_equal(driver_view(&d).stage, 3);
}

static void test_document_of_another_rollout_is_refused(void **state)
{
    (void)state;
    static const char other[] = "apiVersion: parley.dev/v1alpha1\nkind: Rollout\n"
                                "metadata: {name: %s}\nspec: {interface: %s, stable: '1', "
                                "canary: '2', steps: [{weight: 1}]}\n";
    static const char *const names[][2] = {{"other", "catalog.Catalog"}, {"catalog", "other"}};
    begin(DRIVER_STEPS);
    for (int i = 0; i < 2; i++) {
        char text[512];
        struct rollout_spec *spec;
        struct error_text error = {""};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        (void)snprintf(text, sizeof(text), other, names[i][0], names[i][1]);
#pragma GCC diagnostic pop
        assert_int_equal(rollout_spec_parse(text, strlen(text), "test", &spec, &error), 0);
        assert_int_equal(rollout_apply(d.rollout, spec, "olga", d.now, &error), -EINVAL);
        assert_true(error.text[0] != '\0');
    }
    assert_int_equal(driver_view(&d).revision, 1);
}

/* ---- Versions that come and go ---- */

static void test_newer_canary_begins_at_the_first_step(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    driver_run(&d, 70 * NS_PER_S);
    driver_expect(&d, ROLLOUT_PROGRESSING, 50000);
    driver_offer(&d, "1.4.0", "2.0.0", "2.0.1");
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    assert_string_equal(d.decision.canary, "2.0.1");
    assert_string_equal(d.decision.stable, "1.4.0");
    assert_int_equal(driver_view(&d).revision, 2);
    driver_offer(&d, "1.4.0", "2.0.0", NULL); /* the older one does not take its place */
    driver_expect(&d, ROLLOUT_PROGRESSING, 0);
    assert_string_equal(d.decision.canary, "2.0.1");
}

static void test_newer_canary_begins_after_a_rollback(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    assert_int_equal(driver_order(&d, ROLLOUT_ROLLBACK), 0);
    driver_offer(&d, "1.4.0", "2.0.0", NULL);
    driver_expect(&d, ROLLOUT_ROLLED_BACK, 0);
    driver_offer(&d, "1.4.0", "2.0.0", "2.0.1");
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
}

static void test_next_canary_is_compared_with_the_promoted_one(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    assert_int_equal(driver_order(&d, ROLLOUT_PROMOTE_FULL), 0);
    driver_offer(&d, "1.4.0", "2.0.0", "2.0.1");
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    assert_string_equal(d.decision.stable, "2.0.0");
    assert_string_equal(d.decision.canary, "2.0.1");
    assert_int_equal(driver_order(&d, ROLLOUT_ROLLBACK), 0);
    assert_string_equal(d.decision.stable, "2.0.0");
}

static void test_canary_that_vanishes_has_no_calls_until_it_is_back(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    driver_run(&d, 70 * NS_PER_S);
    driver_offer(&d, "1.4.0", NULL, NULL);
    driver_expect(&d, ROLLOUT_PROGRESSING, 0);
    assert_false(d.decision.match);
    driver_run(&d, 60 * MINUTE);
    driver_expect(&d, ROLLOUT_PROGRESSING, 0);
    driver_offer(&d, "1.4.0", "2.0.0", NULL);
    driver_expect(&d, ROLLOUT_PROGRESSING, 50000); /* in the step where it was */
    assert_true(driver_view(&d).held_ns == 0);
}

static void test_completed_canary_that_vanishes_leaves_all_to_stable(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    assert_int_equal(driver_order(&d, ROLLOUT_PROMOTE_FULL), 0);
    driver_offer(&d, "1.4.0", NULL, NULL);
    driver_expect(&d, ROLLOUT_COMPLETED, 0);
    driver_offer(&d, "1.4.0", "2.0.0", NULL);
    driver_expect(&d, ROLLOUT_COMPLETED, 100000);
}

static void test_step_waits_while_the_stable_version_is_gone(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    driver_offer(&d, "2.0.0", NULL, NULL);
    driver_run(&d, 60 * MINUTE);
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    assert_true(driver_view(&d).held_ns == 0);
    driver_offer(&d, "1.4.0", "2.0.0", NULL);
    driver_run(&d, MINUTE);
    driver_expect(&d, ROLLOUT_PROGRESSING, 50000);
}

static void test_newer_stable_version_is_compared_with_from_then_on(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    driver_run(&d, 70 * NS_PER_S);
    driver_offer(&d, "1.4.0", "1.4.1", "2.0.0");
    driver_expect(&d, ROLLOUT_PROGRESSING, 50000);
    assert_string_equal(d.decision.stable, "1.4.1");
    d.stable = (struct rollout_figures){.calls = 0};
    driver_run(&d, 2 * MINUTE);
    driver_expect(&d, ROLLOUT_COMPLETED, 100000);
}

static void test_more_versions_than_there_is_room_for_are_left_out(void **state)
{
    (void)state;
    static char texts[200][16];
    const char *names[200];
    driver_init(&d, DRIVER_STEPS);
    for (int i = 0; i < 200; i++) {
        (void)snprintf(texts[i], sizeof(texts[i]), "1.0.%d", i);
        names[i] = texts[i];
    }
    rollout_offer(d.rollout, names, 64, d.now);
    assert_string_equal(driver_view(&d).stable, "1.0.63");
    rollout_offer(d.rollout, names, 200, d.now);
    assert_string_equal(driver_view(&d).stable, "1.0.63");
}

/* ---- History ---- */

static void test_history_says_who_did_what_why_and_when(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    d.now.wall_ms += 5000;
    assert_int_equal(driver_order(&d, ROLLOUT_PAUSE), 0);
    const struct rollout_entry *entry = driver_last(&d);
    assert_string_equal(entry->who, "olga");
    assert_string_equal(entry->what, "pause");
    assert_string_equal(entry->why, "because");
    assert_int_equal(entry->wall_ms, d.now.wall_ms);
    assert_int_equal(entry->phase, ROLLOUT_PAUSED);
    assert_int_equal(entry->canary_buckets, 10000);
    assert_int_equal(entry->serial, 3); /* apply, begin, pause */
    assert_string_equal(rollout_history(d.rollout, 0)->what, "apply");
    assert_null(rollout_history(d.rollout, 3));
}

static void test_history_is_bounded(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    for (int i = 0; i < ROLLOUT_HISTORY_MAX; i++)
        assert_int_equal(driver_order(&d, i % 2 ? ROLLOUT_RESUME : ROLLOUT_PAUSE), 0);
    assert_int_equal(driver_view(&d).history_count, ROLLOUT_HISTORY_MAX);
    assert_int_equal(rollout_history(d.rollout, 0)->serial, 3);
    assert_int_equal(driver_last(&d)->serial, ROLLOUT_HISTORY_MAX + 2);
    assert_null(rollout_history(d.rollout, ROLLOUT_HISTORY_MAX));
}

#define T(test) cmocka_unit_test_teardown(test, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_nothing_is_decided_without_versions),
        T(test_stable_version_has_all_until_a_canary_comes),
        T(test_ranges_may_overlap),
        T(test_first_alternative_is_preferred),
        T(test_healthy_canary_goes_through_all_steps),
        T(test_decision_says_when_it_changed_and_when_to_come_again),
        T(test_step_waits_for_data_however_long),
        T(test_nothing_is_judged_below_min_calls),
        T(test_failures_count_for_nothing_below_min_calls),
        T(test_step_wants_as_many_successes_in_a_row_as_it_says),
        T(test_step_without_weight_keeps_the_weight),
        T(test_step_of_none_or_all_waits_for_its_hold_only),
        T(test_step_with_approval_waits_for_it),
        T(test_canary_that_fails_while_it_awaits_approval_goes_back),
        T(test_canary_with_more_errors_goes_back),
        T(test_slower_canary_goes_back),
        T(test_trouble_of_both_versions_is_not_the_canarys),
        T(test_difference_that_the_gate_allows_is_borne),
        T(test_failures_up_to_the_limit_are_borne),
        T(test_failure_pauses_where_the_document_says_so),
        T(test_canary_that_breaks_late_goes_back),
        T(test_figures_of_before_are_not_judged),
        T(test_counters_that_go_down_begin_anew),
        T(test_figures_may_be_missing),
        T(test_paused_step_stays_and_goes_on),
        T(test_promote_is_the_next_step_at_once),
        T(test_promote_full_is_all_at_once),
        T(test_rollback_is_none_at_once_and_resume_begins_again),
        T(test_completed_rollout_can_be_rolled_back),
        T(test_nobody_goes_back_to_what_is_not_there),
        T(test_every_order_in_every_phase),
        T(test_no_such_order_is_refused),
        T(test_undo_brings_the_last_document_back),
        T(test_undo_of_a_newer_canary_is_the_one_before),
        T(test_undo_is_refused_where_the_version_is_gone),
        T(test_eight_revisions_are_kept),
        T(test_same_document_is_no_change),
        T(test_changed_document_begins_at_its_first_step),
        T(test_completed_rollout_stays_so_if_the_document_means_the_same),
        T(test_document_of_another_rollout_is_refused),
        T(test_newer_canary_begins_at_the_first_step),
        T(test_newer_canary_begins_after_a_rollback),
        T(test_next_canary_is_compared_with_the_promoted_one),
        T(test_canary_that_vanishes_has_no_calls_until_it_is_back),
        T(test_completed_canary_that_vanishes_leaves_all_to_stable),
        T(test_step_waits_while_the_stable_version_is_gone),
        T(test_newer_stable_version_is_compared_with_from_then_on),
        T(test_more_versions_than_there_is_room_for_are_left_out),
        T(test_history_says_who_did_what_why_and_when),
        T(test_history_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
