/*
 * Rollouts as metrics: the phase of each, its step, the canary's share, and what its gates saw
 * last. At most ROLLOUTS_MAX of them, so that the number of series is bounded.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "broker/metrics.h"
#include "broker/rollouts.h"

#define ROLLOUT_LABELS 2

struct shown {
    const char *name;
    struct rollout_view view;
};

static void labels_of(const struct shown *shown, struct label labels[ROLLOUT_LABELS + 1])
{
    labels[0] = (struct label){"parley_rollout", shown->name};
    labels[1] = (struct label){"parley_interface", shown->view.spec->interface};
}

static void write_phases(struct metrics *metrics, const struct shown *shown, size_t count)
{
    struct label labels[ROLLOUT_LABELS + 1];
    metrics_family(metrics, "parley_rollout_phase", METRIC_GAUGE,
                   "1 for the phase that a rollout is in, 0 for the others.");
    for (size_t i = 0; i < count; i++) {
        labels_of(&shown[i], labels);
        for (unsigned phase = 0; phase < ROLLOUT_PHASE_COUNT; phase++) {
            labels[ROLLOUT_LABELS] =
                (struct label){"parley_phase", rollout_phase_name((enum rollout_phase)phase)};
            metrics_count(metrics, labels, ROLLOUT_LABELS + 1, shown[i].view.phase == phase);
        }
    }
}

static void write_figure(struct metrics *metrics, const struct shown *shown, size_t count,
                         const char *name, const char *help,
                         double (*figure)(const struct rollout_view *view))
{
    metrics_family(metrics, name, METRIC_GAUGE, help);
    for (size_t i = 0; i < count; i++) {
        struct label labels[ROLLOUT_LABELS + 1];
        labels_of(&shown[i], labels);
        metrics_value(metrics, labels, ROLLOUT_LABELS, figure(&shown[i].view));
    }
}

static double share_of(const struct rollout_view *view)
{
    return view->canary_buckets / (double)ROLLOUT_BUCKETS;
}

static double step_of(const struct rollout_view *view)
{
    return view->stage;
}

static double steps_of(const struct rollout_view *view)
{
    return view->spec->stage_count;
}

static double exposed_of(const struct rollout_view *view)
{
    return (double)view->exposed_calls;
}

static void write_versions(struct metrics *metrics, const struct shown *shown, size_t count)
{
    struct label labels[ROLLOUT_LABELS + 2];
    metrics_family(metrics, "parley_rollout_info", METRIC_GAUGE,
                   "1, with the versions between which a rollout moves calls.");
    for (size_t i = 0; i < count; i++) {
        labels_of(&shown[i], labels);
        labels[ROLLOUT_LABELS] = (struct label){"parley_version_stable", shown[i].view.stable};
        labels[ROLLOUT_LABELS + 1] = (struct label){"parley_version_canary", shown[i].view.canary};
        metrics_count(metrics, labels, ROLLOUT_LABELS + 2, 1);
    }
}

/* ---- Gates ---- */

enum gate_figure { GATE_VERDICT, GATE_HARM, GATE_HEALTH };

static double gate_figure(const struct rollout_gate_view *gate, enum gate_figure figure)
{
    if (figure == GATE_HARM)
        return gate->harm;
    if (figure == GATE_HEALTH)
        return gate->health;
    return gate->verdict == ROLLOUT_PASS ? 1 : gate->verdict == ROLLOUT_FAIL ? -1 : 0;
}

/* What is not known is left out. */
static void put_gate(struct metrics *metrics, const struct shown *shown, const char *name,
                     double value)
{
    struct label labels[ROLLOUT_LABELS + 1];
    if (isnan(value))
        return;
    labels_of(shown, labels);
    labels[ROLLOUT_LABELS] = (struct label){"parley_gate", name};
    metrics_value(metrics, labels, ROLLOUT_LABELS + 1, value);
}

static void write_gates(struct metrics *metrics, const struct shown *shown, size_t count)
{
    static const struct {
        const char *name, *help;
    } families[] = {
        [GATE_VERDICT] = {"parley_rollout_gate_verdict",
                          "What a gate of the step found last: 1 pass, -1 fail, 0 undecided."},
        [GATE_HARM] = {"parley_rollout_gate_harm",
                       "Evidence that the canary is worse: at 1 the gate fails."},
        [GATE_HEALTH] = {"parley_rollout_gate_health",
                         "Evidence that the canary is not worse: at 1 the gate passes."},
    };
    for (unsigned f = GATE_VERDICT; f <= GATE_HEALTH; f++) {
        metrics_family(metrics, families[f].name, METRIC_GAUGE, families[f].help);
        for (size_t i = 0; i < count; i++) {
            const struct rollout_view *view = &shown[i].view;
            put_gate(metrics, &shown[i], "errors", gate_figure(&view->errors, f));
            put_gate(metrics, &shown[i], "p99", gate_figure(&view->p99, f));
        }
    }
}

/* ---- All of them ---- */

int metrics_rollouts(struct metrics *metrics, struct broker *broker)
{
    struct rollouts_item *items[ROLLOUTS_MAX];
    size_t count = broker->rollouts ? rollouts_sorted(broker, items) : 0;
    struct shown *shown = calloc(count + 1, sizeof(*shown));
    if (!shown)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        shown[i].name = items[i]->name;
        rollout_view(items[i]->rollout, &shown[i].view);
    }
    write_phases(metrics, shown, count);
    write_versions(metrics, shown, count);
    write_figure(metrics, shown, count, "parley_rollout_canary_ratio",
                 "The canary's share of the calls that are free to choose.", share_of);
    write_figure(metrics, shown, count, "parley_rollout_step",
                 "The step that a rollout is in, from 0; as many as there are: all are done.",
                 step_of);
    write_figure(metrics, shown, count, "parley_rollout_steps", "Steps that a rollout has.",
                 steps_of);
    write_figure(metrics, shown, count, "parley_rollout_exposed_calls",
                 "Calls that the canary has served in this revision.", exposed_of);
    write_gates(metrics, shown, count);
    free(shown);
    return metrics->failed ? -ENOMEM : 0;
}
