/*
 * The controller: a state machine that is told the time, the versions on offer and what they
 * counted.
 *
 *     Waiting --- both versions are there ---> Progressing ---> ... ---> Completed
 *                                               |   ^    \
 *                             a gate fails, or  |   |     \ approval: true
 *                             an operator says  v   |      v
 *                                     RolledBack/Paused   Approval
 *
 * A step is over when it was held long enough and its gates passed as often as they must; both are
 * counted here and are part of the state, never taken from the clock's value: so neither a restart
 * nor another clock can shorten a step. Figures are cumulative, and only differences of two
 * readings count: after a restart, a change of versions or of weight, the next reading is where the
 * window begins. A counter that went down makes that reading a beginning, too.
 *
 * What is in force is decided in one place, rollout_buckets(), from phase and step.
 */
#include "rollout/internal.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Changes of state ---- */

void rollout_enter(struct rollout *rollout, enum rollout_phase phase, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(rollout->reason, sizeof(rollout->reason), format, args);
    va_end(args);
    text_make_printable(rollout->reason);
    rollout->phase = phase;
    rollout->changed = true;
}

/* The window begins anew, and the gates with it. */
void rollout_enter_stage(struct rollout *rollout, uint32_t stage)
{
    rollout->stage = stage;
    rollout->held_ns = 0;
    rollout->stable_calls = rollout->canary_calls = 0;
    rollout->failures = rollout->successes = 0;
    rollout->rebase = true;
    rollout->changed = true;
    memset(rollout->canary_latency, 0, sizeof(rollout->canary_latency));
    judge_begin(&rollout->judge);
}

uint32_t rollout_buckets(const struct rollout *rollout)
{
    if (!rollout->canary[0] || !rollout->canary_here)
        return 0;
    switch (rollout->phase) {
    case ROLLOUT_PROGRESSING:
    case ROLLOUT_APPROVAL:
    case ROLLOUT_PAUSED:
        return rollout->spec->stages[rollout->stage].buckets;
    case ROLLOUT_COMPLETED:
        return ROLLOUT_BUCKETS;
    default:
        return 0;
    }
}

int rollout_revise(struct rollout *rollout)
{
    char *document = strdup(rollout->spec->document);
    if (!document)
        return -ENOMEM;
    if (rollout->past_count == ROLLOUT_REVISION_MAX) {
        free(rollout->past[0].document);
        memmove(rollout->past, rollout->past + 1, sizeof(rollout->past[0]) * --rollout->past_count);
    }
    struct past *past = &rollout->past[rollout->past_count++];
    past->revision = rollout->revision++;
    past->phase = rollout->phase;
    memcpy(past->stable, rollout->stable, VERSION_BYTES);
    memcpy(past->canary, rollout->canary, VERSION_BYTES);
    past->document = document;
    rollout->exposed_calls = 0;
    return 0;
}

void rollout_complete(struct rollout *rollout, const char *why)
{
    rollout_enter(rollout, ROLLOUT_COMPLETED, "%s", why);
    rollout->stage = rollout->spec->stage_count;
    memcpy(rollout->promoted, rollout->canary, VERSION_BYTES);
}

static void set_stable(struct rollout *rollout, const char *stable)
{
    (void)snprintf(rollout->stable, VERSION_BYTES, "%s", stable);
    rollout->stable_here = stable[0] != '\0';
    rollout->rebase = true;
    uint32_t round = rollout->judge.round;
    judge_reset(&rollout->judge);
    rollout->judge.round = round;
    rollout->changed = true;
}

/* ---- Versions ---- */

/* The first step, with the versions that are in rollout->stable and ->canary. */
void rollout_begin(struct rollout *rollout, struct rollout_time now)
{
    rollout->canary_here = rollout->stable_here = true;
    rollout->restored = false;
    rollout->judge.round = 0;
    if (versions_better(rollout->spec, rollout->canary, rollout->newest))
        memcpy(rollout->newest, rollout->canary, VERSION_BYTES);
    rollout_enter(rollout, ROLLOUT_PROGRESSING, "%s is compared with %s", rollout->canary,
                  rollout->stable);
    rollout_enter_stage(rollout, 0);
    history_add(rollout, now, "controller", "begin", "%s against %s", rollout->canary,
                rollout->stable);
}

static void follow_stable(struct rollout *rollout, struct rollout_time now)
{
    const char *stable = versions_stable(rollout, rollout->canary);
    if (rollout->phase == ROLLOUT_COMPLETED && stable[0] == '\0')
        return; /* it has been retired */
    if (stable[0] && strcmp(stable, rollout->stable) != 0) {
        if (rollout->stable[0])
            history_add(rollout, now, "controller", "stable", "%s takes the place of %s", stable,
                        rollout->stable);
        set_stable(rollout, stable);
        judge_begin(&rollout->judge);
        rollout->successes = 0;
    }
    bool here = versions_has(rollout, rollout->stable);
    if (rollout->stable[0] && here != rollout->stable_here) {
        rollout->stable_here = here;
        rollout->rebase = true;
        history_add(rollout, now, "controller", here ? "stable back" : "stable gone",
                    "no instance of %s, nothing to compare with", rollout->stable);
    }
}

static void follow_canary(struct rollout *rollout, struct rollout_time now)
{
    bool here = versions_has(rollout, rollout->canary);
    if (here == rollout->canary_here)
        return;
    rollout->canary_here = here;
    rollout->changed = true;
    if (rollout->phase < ROLLOUT_ROLLED_BACK)
        rollout_enter_stage(rollout, rollout->stage);
    history_add(rollout, now, "controller", here ? "canary back" : "canary gone",
                here ? "%s has an instance again" : "%s has no instance: all to the stable version",
                rollout->canary);
}

/* A better canary than any that this document has had: a new revision, from the first step. */
static bool take_newer(struct rollout *rollout, struct rollout_time now)
{
    const char *canary = versions_canary(rollout);
    if (!versions_better(rollout->spec, canary, rollout->newest))
        return false;
    const char *stable = versions_stable(rollout, canary);
    if (!stable[0])
        return false;
    if (rollout->canary[0] && rollout_revise(rollout) < 0)
        return false;
    (void)snprintf(rollout->canary, VERSION_BYTES, "%s", canary);
    if (strcmp(stable, rollout->stable) != 0)
        set_stable(rollout, stable);
    rollout_begin(rollout, now);
    return true;
}

/* After a restart instances come back one after another: until both versions have one, or until
 * that has taken too long, they count as there, and nothing is resolved anew. */
static bool awaits_return(struct rollout *rollout, uint64_t now_ns)
{
    if (rollout->restored &&
        (now_ns >= rollout->restored_until_ns ||
         (versions_has(rollout, rollout->canary) && versions_has(rollout, rollout->stable)))) {
        rollout->restored = false;
        rollout->stepped_ns = now_ns; /* what was before is not held */
    }
    return rollout->restored;
}

void rollout_resolve(struct rollout *rollout, struct rollout_time now)
{
    if (awaits_return(rollout, now.ns))
        return;
    if (take_newer(rollout, now))
        return;
    follow_stable(rollout, now);
    if (rollout->canary[0])
        follow_canary(rollout, now);
    else if (rollout->phase == ROLLOUT_WAITING)
        (void)snprintf(rollout->reason, sizeof(rollout->reason), "no version on offer fits %s %s",
                       rollout->stable[0] ? "canary" : "stable",
                       rollout->stable[0] ? rollout->spec->canary_text
                                          : rollout->spec->stable_text);
}

void rollout_offer(struct rollout *rollout, const char *const *versions, size_t count,
                   struct rollout_time now)
{
    struct semver parsed;
    rollout->offer_count = 0;
    for (size_t i = 0; i < count && rollout->offer_count < OFFER_MAX; i++)
        if (semver_parse(versions[i], &parsed) == 0)
            (void)snprintf(rollout->offer[rollout->offer_count++], VERSION_BYTES, "%s",
                           versions[i]);
    rollout_resolve(rollout, now);
}

/* ---- Figures ---- */

/* What was counted between two readings; false: it is not known, for a counter went down. */
static bool difference(const struct rollout_figures *now, const struct rollout_figures *before,
                       struct rollout_figures *ret)
{
    if (now->calls < before->calls || now->errors < before->errors)
        return false;
    ret->calls = now->calls - before->calls;
    ret->errors = now->errors - before->errors;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKET_COUNT; i++) {
        if (now->latency[i] < before->latency[i])
            return false;
        ret->latency[i] = now->latency[i] - before->latency[i];
    }
    /* They are read while they change; and nothing errs more often than it is called. */
    ret->errors = ret->errors < ret->calls ? ret->errors : ret->calls;
    return true;
}

struct window {
    struct rollout_figures stable, canary;
};

/* What both have counted since the last reading, which this one replaces. False: nothing to judge.
 */
static bool take_window(struct rollout *rollout, const struct rollout_figures *stable,
                        const struct rollout_figures *canary, struct window *ret_window)
{
    struct baseline *baseline = &rollout->baseline;
    if (!stable || !canary) {
        baseline->known = false;
        return false;
    }
    bool good = baseline->known && difference(stable, &baseline->stable, &ret_window->stable) &&
                difference(canary, &baseline->canary, &ret_window->canary);
    if (good)
        rollout->exposed_calls += ret_window->canary.calls;
    *baseline = (struct baseline){.known = true, .stable = *stable, .canary = *canary};
    return good;
}

/* ---- Steps ---- */

/* Both versions are there. */
static bool is_complete(const struct rollout *rollout)
{
    return rollout->canary_here && rollout->stable_here && !rollout->restored;
}

static bool is_judged(const struct rollout *rollout)
{
    return (rollout->phase == ROLLOUT_PROGRESSING || rollout->phase == ROLLOUT_APPROVAL) &&
           is_complete(rollout);
}

static void describe_failure(const struct rollout *rollout, char *ret_text, size_t bytes)
{
    const struct judge_test *errors = &rollout->judge.errors, *p99 = &rollout->judge.p99;
    if (errors->verdict == ROLLOUT_FAIL)
        (void)snprintf(ret_text, bytes,
                       "%.2f %% of %.0f calls of %s failed, of %s %.2f %%; at most %g points more",
                       100 * errors->canary_hits / errors->canary_calls, errors->canary_calls,
                       rollout->canary, rollout->stable,
                       100 * errors->stable_hits / errors->stable_calls,
                       100 * rollout->spec->gates.max_error_rate);
    else
        (void)snprintf(ret_text, bytes,
                       "%.2f %% of %.0f calls of %s took longer than %g times the p99 of %s "
                       "(%.3g ms); at most 1 %%",
                       100 * p99->canary_hits / p99->canary_calls, p99->canary_calls,
                       rollout->canary, rollout->spec->gates.max_p99_ratio, rollout->stable,
                       judge_reference_p99(&rollout->judge.reference) / 1e6);
}

static void fail(struct rollout *rollout, struct rollout_time now)
{
    char why[REASON_BYTES_MAX + 1];
    describe_failure(rollout, why, sizeof(why));
    rollout->successes = 0;
    if (rollout->failures++ < rollout->spec->gates.failure_limit) {
        history_add(rollout, now, "controller", "failure borne", "%s", why);
        judge_begin(&rollout->judge);
        return;
    }
    bool pause = rollout->spec->on_failure == ROLLOUT_ON_FAILURE_PAUSE;
    rollout_enter(rollout, pause ? ROLLOUT_PAUSED : ROLLOUT_ROLLED_BACK, "%s", why);
    history_add(rollout, now, "controller", pause ? "pause" : "rollback", "%s", why);
}

static void look(struct rollout *rollout, struct rollout_time now, const struct window *window)
{
    const struct rollout_gates *gates = &rollout->spec->gates;
    rollout->stable_calls += window->stable.calls;
    rollout->canary_calls += window->canary.calls;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKET_COUNT; i++)
        rollout->canary_latency[i] += window->canary.latency[i];
    switch (judge_look(&rollout->judge, gates, &window->stable, &window->canary,
                       rollout->canary_calls >= gates->min_calls)) {
    case ROLLOUT_FAIL:
        fail(rollout, now);
        break;
    case ROLLOUT_PASS:
        rollout->successes++;
        rollout->changed = true;
        judge_begin(&rollout->judge);
        break;
    case ROLLOUT_UNDECIDED:
        break;
    }
}

/* Whether time in this step counts. */
static bool is_held(const struct rollout *rollout)
{
    return rollout->phase == ROLLOUT_PROGRESSING && is_complete(rollout);
}

/* With all calls or none of them there is nothing to compare: the hold alone counts. */
static bool gates_hold(const struct rollout *rollout)
{
    uint32_t buckets = rollout->spec->stages[rollout->stage].buckets;
    return buckets == 0 || buckets == ROLLOUT_BUCKETS ||
           rollout->successes >= rollout->spec->gates.consecutive_success_limit;
}

static bool is_over(const struct rollout *rollout)
{
    return is_held(rollout) && rollout->held_ns >= rollout->spec->stages[rollout->stage].hold_ns &&
           gates_hold(rollout);
}

static void step_forward(struct rollout *rollout, struct rollout_time now)
{
    if (rollout->stage + 1 == rollout->spec->stage_count) {
        rollout_complete(rollout, "all steps are done");
        history_add(rollout, now, "controller", "complete", "all steps are done");
        return;
    }
    rollout_enter(rollout, ROLLOUT_PROGRESSING, "%s is compared with %s", rollout->canary,
                  rollout->stable);
    rollout_enter_stage(rollout, rollout->stage + 1);
    history_add(rollout, now, "controller", "step", "step %u of %u: %g %% of the calls",
                rollout->stage + 1, rollout->spec->stage_count, rollout_buckets(rollout) / 1e3);
}

static void end_step(struct rollout *rollout, struct rollout_time now)
{
    if (!rollout->spec->stages[rollout->stage].approval) {
        step_forward(rollout, now);
        return;
    }
    rollout_enter(rollout, ROLLOUT_APPROVAL, "step %u waits for an operator's approval",
                  rollout->stage + 1);
    history_add(rollout, now, "controller", "wait for approval", "step %u", rollout->stage + 1);
}

static uint64_t next_step(const struct rollout *rollout, uint64_t now_ns)
{
    uint64_t next = UINT64_MAX;
    if (rollout->restored)
        next = rollout->restored_until_ns;
    if (is_judged(rollout) && rollout->look_ns < next)
        next = rollout->look_ns;
    if (is_held(rollout) && gates_hold(rollout)) {
        uint64_t hold = rollout->spec->stages[rollout->stage].hold_ns;
        uint64_t left = hold > rollout->held_ns ? hold - rollout->held_ns : 0;
        if (now_ns + left < next)
            next = now_ns + left;
    }
    return next;
}

static void decide(struct rollout *rollout, uint64_t now_ns, struct rollout_decision *ret_decision)
{
    bool shared = rollout->phase == ROLLOUT_PROGRESSING || rollout->phase == ROLLOUT_APPROVAL ||
                  rollout->phase == ROLLOUT_PAUSED;
    bool here = rollout->canary[0] && rollout->canary_here;
    *ret_decision = (struct rollout_decision){
        .changed = rollout->changed,
        .versions_known = rollout->stable[0] != '\0',
        .stable = rollout->stable,
        .canary = rollout->canary,
        .canary_buckets = rollout_buckets(rollout),
        .match = shared && here,
        .mirror_buckets = shared && here ? rollout->spec->mirror_buckets : 0,
        .next_ns = next_step(rollout, now_ns),
    };
    rollout->changed = false;
}

static void count_time(struct rollout *rollout, uint64_t now_ns)
{
    if (now_ns > rollout->stepped_ns) {
        if (is_held(rollout))
            rollout->held_ns += now_ns - rollout->stepped_ns;
        rollout->stepped_ns = now_ns;
    }
}

/* Figures are taken at each interval, and where a window begins. */
static void count_calls(struct rollout *rollout, struct rollout_time now,
                        const struct rollout_figures *stable, const struct rollout_figures *canary)
{
    struct window window;
    bool due = now.ns >= rollout->look_ns;
    if (!due && !rollout->rebase)
        return;
    bool known = take_window(rollout, stable, canary, &window);
    if (known && due && !rollout->rebase && is_judged(rollout))
        look(rollout, now, &window);
    rollout->rebase = false;
    rollout->look_ns = now.ns + rollout->spec->gates.interval_ns;
}

void rollout_step(struct rollout *rollout, struct rollout_time now,
                  const struct rollout_figures *stable, const struct rollout_figures *canary,
                  struct rollout_decision *ret_decision)
{
    if (rollout->restored)
        rollout_resolve(rollout, now);
    count_time(rollout, now.ns);
    count_calls(rollout, now, stable, canary);
    for (uint32_t i = 0; i <= ROLLOUT_STEP_MAX && is_over(rollout); i++)
        end_step(rollout, now);
    if (rollout->rebase) /* the step that begins now counts from here on */
        count_calls(rollout, now, stable, canary);
    decide(rollout, now.ns, ret_decision);
}

/* ---- Life ---- */

int rollout_new(struct rollout_spec *spec, const char *who, struct rollout_time now,
                struct rollout **ret_rollout)
{
    struct rollout *rollout = calloc(1, sizeof(*rollout));
    if (!rollout) {
        (void)rollout_spec_free(spec);
        return -ENOMEM;
    }
    rollout->spec = spec;
    rollout->revision = 1;
    rollout->stepped_ns = now.ns;
    memcpy(rollout->applied, spec->digest, sizeof(rollout->applied));
    rollout_enter(rollout, ROLLOUT_WAITING, "no version is on offer");
    history_add(rollout, now, who, "apply", "%s of %s", spec->canary_text, spec->interface);
    *ret_rollout = rollout;
    return 0;
}

struct rollout *rollout_free(struct rollout *rollout)
{
    if (!rollout)
        return NULL;
    (void)rollout_spec_free(rollout->spec);
    for (uint32_t i = 0; i < rollout->past_count; i++)
        free(rollout->past[i].document);
    free(rollout);
    return NULL;
}

/* ---- How it stands ---- */

/* A new round begins with each success: until it knows more, that is what stands. */
static void view_gate(const struct rollout *rollout, const struct judge_test *test,
                      struct rollout_gate_view *ret_view)
{
    bool passed = test->verdict == ROLLOUT_UNDECIDED && rollout->successes > 0;
    *ret_view = (struct rollout_gate_view){
        .verdict = passed ? ROLLOUT_PASS : test->verdict,
        .stable = NAN,
        .canary = NAN,
        .limit = NAN,
        .harm = test->harm_share,
        .health = test->health_share,
    };
}

static void view_errors(const struct rollout *rollout, struct rollout_gate_view *ret_view)
{
    const struct judge_test *test = &rollout->judge.errors;
    view_gate(rollout, test, ret_view);
    if (test->canary_calls > 0)
        ret_view->canary = test->canary_hits / test->canary_calls;
    if (test->stable_calls <= 0)
        return;
    ret_view->stable = test->stable_hits / test->stable_calls;
    ret_view->limit = ret_view->stable + rollout->spec->gates.max_error_rate;
}

static void view_p99(const struct rollout *rollout, struct rollout_gate_view *ret_view)
{
    double p99 = judge_reference_p99(&rollout->judge.reference);
    view_gate(rollout, &rollout->judge.p99, ret_view);
    double canary = judge_p99(rollout->canary_latency);
    if (canary > 0)
        ret_view->canary = canary;
    if (p99 > 0) {
        ret_view->stable = p99;
        ret_view->limit = p99 * rollout->spec->gates.max_p99_ratio;
    }
}

void rollout_view(const struct rollout *rollout, struct rollout_view *ret_view)
{
    *ret_view = (struct rollout_view){
        .spec = rollout->spec,
        .revision = rollout->revision,
        .phase = rollout->phase,
        .reason = rollout->reason,
        .stable = rollout->stable,
        .canary = rollout->canary,
        .stage = rollout->stage,
        .canary_buckets = rollout_buckets(rollout),
        .held_ns = rollout->held_ns,
        .stable_calls = rollout->stable_calls,
        .canary_calls = rollout->canary_calls,
        .failures = rollout->failures,
        .successes = rollout->successes,
        .exposed_calls = rollout->exposed_calls,
        .history_count = rollout->history_count,
    };
    view_errors(rollout, &ret_view->errors);
    view_p99(rollout, &ret_view->p99);
}
