/*
 * The script of --rollback: a canary that starts to fail at 30 %.
 *
 * The rollout goes through its first step by itself, for nothing is wrong with version 2 yet. In the
 * second, both its instances are made ill: one call in ten ends as INTERNAL. Nobody helps then: the
 * gates have to see it. What is reported is what clients counted, not what the broker says of itself:
 * how many calls met version 2 while it was ill, and that none does afterwards.
 */
#include "demo.h"

#include <signal.h>
#include <string.h>

#define PATIENCE_NS (20 * SECOND)

/* No judging by latency, as in steps.c. */
static const char document[] = "apiVersion: parley.dev/v1alpha1\n"
                               "kind: Rollout\n"
                               "metadata:\n"
                               "  name: catalog\n"
                               "spec:\n"
                               "  interface: catalog\n"
                               "  stable: \"^1.0\"\n"
                               "  canary: \"^2.0\"\n"
                               "  steps:\n"
                               "  - {weight: 5, hold: 1s}\n"
                               "  - {weight: 30, hold: 1h}\n"
                               "  - {weight: 100}\n"
                               "  gates:\n"
                               "    minCalls: 100\n"
                               "    interval: 100ms\n"
                               "    maxErrorRate: 2%\n"
                               "    maxP99Ratio: 100\n"
                               "  onFailure: rollback\n";

/* Until the rollout is in that phase, and at least in that step. */
static int wait_until(struct demo *demo, const char *phase, unsigned step,
                      struct rollout_status *ret_status)
{
    uint64_t end = now_ns() + PATIENCE_NS;
    for (;;) {
        if (tool_rollout_status(demo, ret_status) < 0)
            return -1;
        if (strcmp(ret_status->phase, phase) == 0 && ret_status->step >= step)
            return 0;
        if (now_ns() > end)
            return demo_fail(demo, "The rollout is %s in step %u, and not %s in step %u: %s",
                             ret_status->phase, ret_status->step, phase, step, ret_status->reason);
        if (demo_run_for(demo, 20 * MILLISECOND) < 0)
            return -1;
    }
}

static void make_ill(struct demo *demo)
{
    for (unsigned i = 0; i < demo->child_count; i++)
        if (demo->children[i].kind == CHILD_SERVICE_V2 && demo->children[i].pid > 0)
            kill(demo->children[i].pid, SIGUSR1);
}

static int good_steps(struct demo *demo)
{
    struct rollout_status status;
    display_phase(demo, "a rollout: 5 %% to version 2, then 30 %%");
    if (tool_rollout_apply(demo, document) < 0 || wait_until(demo, "Progressing", 2, &status) < 0)
        return -1;
    display_note(demo, "5 %% went well; version 2 gets %g %%", status.weight);
    struct step *result = &demo->steps[demo->step_count++];
    return measure_share(demo, status.weight, demo->part_ns / 2, result);
}

/* @before: the clients' totals when nothing was wrong yet */
static int falls_ill(struct demo *demo, struct tally *ret_before)
{
    struct rollout_status status;
    display_phase(demo, "version 2 falls ill: one call in ten ends as INTERNAL");
    if (demo_totals(demo, ret_before) < 0)
        return -1;
    uint64_t since_ns = now_ns();
    make_ill(demo);
    if (wait_until(demo, "RolledBack", 0, &status) < 0)
        return -1;
    demo->rollback_result.took_ns = now_ns() - since_ns;
    demo->rollback_result.rolled_back = true;
    snprintf(demo->rollback_result.reason, sizeof(demo->rollback_result.reason), "%s",
             status.reason);
    return 0;
}

static int run_ill(struct demo *demo)
{
    struct rollback_result *result = &demo->rollback_result;
    struct tally before, back, after, exposed, since;
    if (falls_ill(demo, &before) < 0 || demo_totals(demo, &back) < 0)
        return -1;
    tally_since(&back, &before, &exposed);
    result->exposed_calls = tally_served_by(&exposed, "2.0.0");
    result->ill_calls = exposed.ill;
    display_note(demo, "rolled back after %.2f s: %s", (double)result->took_ns / 1e9,
                 result->reason);
    display_phase(demo, "all calls go to version 1 again");
    if (demo_run_for(demo, demo->part_ns) < 0 || demo_totals(demo, &after) < 0)
        return -1;
    tally_since(&after, &back, &since);
    if (tally_served_by(&since, "2.0.0") > 0)
        return demo_fail(demo, "%llu calls met version 2 after it was rolled back.",
                         (unsigned long long)tally_served_by(&since, "2.0.0"));
    return 0;
}

int run_rollback(struct demo *demo)
{
    if (script_begin(demo) < 0 || good_steps(demo) < 0 || run_ill(demo) < 0)
        return -1;
    return script_finish(demo);
}
