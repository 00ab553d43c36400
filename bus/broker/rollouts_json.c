/*
 * A rollout as JSON, in the shape of a Kubernetes resource: metadata, spec, status. What
 * `parley rollout show --json` prints and GET /rollouts answers.
 */
#include "broker/rollouts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"

static void set(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, value ? value : json_null());
}

static json_t *integer(uint64_t value)
{
    return json_integer((json_int_t)value);
}

/* null: not known */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *percent(uint32_t buckets)
{
    return json_real(buckets * 100.0 / ROLLOUT_BUCKETS);
}

static json_t *seconds(uint64_t ns)
{
    return json_real((double)ns / (double)NS_PER_S);
}

/* "": null */
static json_t *text(const char *value)
{
    return value && value[0] ? json_string(value) : json_null();
}

/* 2026-11-27T21:15:13.250Z */
static json_t *wall_time(int64_t wall_ms)
{
    char buffer[40];
    struct tm tm;
    time_t s = (time_t)(wall_ms / 1000);
    if (!gmtime_r(&s, &tm))
        return json_null();
    size_t n = strftime(buffer, sizeof(buffer), "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(buffer + n, sizeof(buffer) - n, ".%03dZ", (int)(wall_ms % 1000));
    return json_string(buffer);
}

/* ---- Spec ---- */

static json_t *match_json(const struct rollout_spec *spec, const struct rollout_match *match)
{
    static const char *const kinds[] = {"exact", "prefix", "regex", "present"};
    json_t *array = json_array();
    json_t *headers = json_object();
    for (uint32_t i = 0; i < match->header_count; i++) {
        const struct rollout_header *header = &spec->headers[match->first_header + i];
        json_t *object = json_object();
        set(object, "name", json_string(header->key));
        set(object, kinds[header->kind],
            header->kind == ROLLOUT_MATCH_PRESENT ? json_true() : json_string(header->value));
        (void)json_array_append_new(array, object);
    }
    set(headers, "headers", array);
    return headers;
}

static json_t *steps_json(const struct rollout_spec *spec)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < spec->stage_count; i++) {
        json_t *object = json_object();
        set(object, "weight", percent(spec->stages[i].buckets));
        set(object, "holdSeconds", seconds(spec->stages[i].hold_ns));
        set(object, "approval", json_boolean(spec->stages[i].approval));
        (void)json_array_append_new(array, object);
    }
    return array;
}

static json_t *gates_spec_json(const struct rollout_gates *gates)
{
    json_t *object = json_object();
    set(object, "minCalls", integer(gates->min_calls));
    set(object, "maxErrorRate", number(gates->max_error_rate));
    set(object, "maxP99Ratio", number(gates->max_p99_ratio));
    set(object, "intervalSeconds", seconds(gates->interval_ns));
    set(object, "failureLimit", integer(gates->failure_limit));
    set(object, "consecutiveSuccessLimit", integer(gates->consecutive_success_limit));
    return object;
}

static json_t *spec_json(const struct rollout_spec *spec)
{
    json_t *object = json_object();
    json_t *matches = json_array();
    for (uint32_t i = 0; i < spec->match_count; i++)
        (void)json_array_append_new(matches, match_json(spec, &spec->matches[i]));
    set(object, "interface", json_string(spec->interface));
    set(object, "stable", json_string(spec->stable_text));
    set(object, "canary", json_string(spec->canary_text));
    set(object, "match", matches);
    set(object, "stickyKey", text(spec->sticky_key));
    set(object, "saltGroup", text(spec->salt_group));
    set(object, "steps", steps_json(spec));
    set(object, "gates", gates_spec_json(&spec->gates));
    set(object, "onFailure",
        json_string(spec->on_failure == ROLLOUT_ON_FAILURE_PAUSE ? "pause" : "rollback"));
    set(object, "mirror", percent(spec->mirror_buckets));
    return object;
}

/* ---- Status ---- */

static json_t *gate_json(const struct rollout_gate_view *gate)
{
    json_t *object = json_object();
    set(object, "verdict", json_string(rollout_verdict_name(gate->verdict)));
    set(object, "stable", number(gate->stable));
    set(object, "canary", number(gate->canary));
    set(object, "limit", number(gate->limit));
    set(object, "harm", number(gate->harm));
    set(object, "health", number(gate->health));
    return object;
}

static json_t *history_json(const struct rollout *rollout)
{
    json_t *array = json_array();
    const struct rollout_entry *entry;
    for (uint32_t i = 0; (entry = rollout_history(rollout, i)) != NULL; i++) {
        json_t *object = json_object();
        set(object, "time", wall_time(entry->wall_ms));
        set(object, "who", json_string(entry->who));
        set(object, "what", json_string(entry->what));
        set(object, "why", text(entry->why));
        set(object, "phase", json_string(rollout_phase_name(entry->phase)));
        set(object, "revision", integer(entry->revision));
        set(object, "step", integer(entry->stage + 1));
        set(object, "weight", percent(entry->canary_buckets));
        (void)json_array_append_new(array, object);
    }
    return array;
}

/* null: nothing is mirrored, and nothing was. */
static json_t *mirror_json(const struct rollouts_item *item, const struct rollout_view *view)
{
    struct mirror_figures figures;
    stats_mirrored(item->broker, view->spec->interface, view->canary, &figures);
    if (view->spec->mirror_buckets == 0 && figures.sent == 0)
        return json_null();
    json_t *object = json_object();
    set(object, "sent", integer(figures.sent));
    set(object, "differ", integer(figures.differ));
    set(object, "failed", integer(figures.failed));
    set(object, "skipped", integer(figures.skipped));
    return object;
}

static json_t *status_json(const struct rollouts_item *item, const struct rollout_view *view)
{
    json_t *object = json_object();
    json_t *gates = json_object();
    set(gates, "errorRate", gate_json(&view->errors));
    set(gates, "p99Ns", gate_json(&view->p99));
    set(object, "phase", json_string(rollout_phase_name(view->phase)));
    set(object, "reason", text(view->reason));
    set(object, "running", json_boolean(rollout_running(view->phase)));
    set(object, "revision", integer(view->revision));
    set(object, "stable", text(view->stable));
    set(object, "canary", text(view->canary));
    set(object, "step",
        integer(view->stage < view->spec->stage_count ? view->stage + 1 : view->spec->stage_count));
    set(object, "steps", integer(view->spec->stage_count));
    set(object, "weight", percent(view->canary_buckets));
    set(object, "heldSeconds", seconds(view->held_ns));
    set(object, "stableCalls", integer(view->stable_calls));
    set(object, "canaryCalls", integer(view->canary_calls));
    set(object, "failures", integer(view->failures));
    set(object, "successes", integer(view->successes));
    set(object, "exposedCalls", integer(view->exposed_calls));
    set(object, "gates", gates);
    set(object, "mirror", mirror_json(item, view));
    set(object, "file", text(item->file));
    set(object, "overridden", json_boolean(item->overridden));
    set(object, "history", history_json(item->rollout));
    return object;
}

json_t *rollouts_item_json(const struct rollouts_item *item)
{
    struct rollout_view view;
    rollout_view(item->rollout, &view);
    json_t *metadata = json_object();
    set(metadata, "name", json_string(view.spec->name));
    json_t *object = json_object();
    set(object, "apiVersion", json_string("parley.dev/v1alpha1"));
    set(object, "kind", json_string("Rollout"));
    set(object, "metadata", metadata);
    set(object, "spec", spec_json(view.spec));
    set(object, "status", status_json(item, &view));
    return object;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct rollouts_item *const *)a)->name,
                  (*(struct rollouts_item *const *)b)->name);
}

size_t rollouts_sorted(struct broker *broker, struct rollouts_item *items[ROLLOUTS_MAX])
{
    size_t count = 0;
    for (struct rollouts_item *item = broker->rollouts->items; item; item = item->hh.next)
        items[count++] = item;
    qsort(items, count, sizeof(items[0]), by_name);
    return count;
}

json_t *rollouts_json(struct broker *broker)
{
    struct rollouts_item *items[ROLLOUTS_MAX];
    size_t count = rollouts_sorted(broker, items);
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(array, rollouts_item_json(items[i]));
    json_t *object = json_object();
    set(object, "rollouts", array);
    return object;
}
