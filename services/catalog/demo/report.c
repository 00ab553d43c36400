/*
 * What it was: for people a summary, for programs one JSON object on one line, last on stdout.
 *
 * The demo has succeeded if nothing went wrong on the way (demo->problem), no call failed, no
 * reply was wrong, both versions served, and, with --chaos, no call ended as UNAVAILABLE but those
 * that were in the killed instance.
 */
#include "demo.h"

#include <string.h>

#include "tally.h"

static json_t *steps_json(const struct step *steps, unsigned count)
{
    json_t *array = json_array();
    for (unsigned i = 0; i < count; i++)
        json_array_append_new(array, json_pack("{s:i,s:f,s:I}", "weight", (int)steps[i].weight,
                                               "share", steps[i].share, "calls",
                                               (json_int_t)steps[i].calls));
    return array;
}

static void set(json_t *json, const char *name, uint64_t value)
{
    json_object_set_new(json, name, json_integer((json_int_t)value));
}

static json_t *chaos_json(const struct demo *demo, const struct tally *total)
{
    const struct chaos_result *result = &demo->after;
    json_t *json = json_object(), *ended = json_object();
    set(json, "broker_kills", result->broker_kills);
    set(json, "instances_killed", result->instances_killed);
    set(json, "calls_retried", total->retried);
    set(ended, "executed_no", total->unavailable_no);
    set(ended, "executed_unknown", total->unavailable_unknown);
    json_object_set_new(json, "ended_unavailable", ended);
    set(json, "ended_unavailable_ns_max", total->unavailable_ns_max);
    set(json, "failed_while_broker_away", result->failed_while_away);
    set(json, "calls_while_broker_away", result->calls_while_away);
    json_object_set_new(json, "broker_away_s", json_real((double)result->away_ns / 1e9));
    json_object_set_new(json, "shares_after_restart",
                        steps_json(result->shares, result->share_count));
    return json;
}

static void print_json(const struct demo *demo, const struct tally *total)
{
    json_t *json = json_object();
    set(json, "calls", total->calls);
    set(json, "failed", total->failed);
    set(json, "wrong", total->wrong);
    set(json, "translated", total->translated);
    json_object_set_new(json, "served",
                        json_pack("{s:I,s:I}", "1.0.0",
                                  (json_int_t)tally_served_by(total, "1.0.0"), "2.0.0",
                                  (json_int_t)tally_served_by(total, "2.0.0")));
    json_object_set_new(json, "latency_ns",
                        json_pack("{s:I,s:I}", "p50",
                                  (json_int_t)tally_quantile_ns(total, 0.5), "p99",
                                  (json_int_t)tally_quantile_ns(total, 0.99)));
    json_object_set_new(json, "steps", steps_json(demo->steps, demo->step_count));
    json_object_set_new(json, "duration_s",
                        json_real((double)(demo->end_ns - demo->start_ns) / 1e9));
    if (demo->chaos)
        json_object_set_new(json, "chaos", chaos_json(demo, total));
    if (demo->rollback) {
        const struct rollback_result *result = &demo->rollback_result;
        json_object_set_new(json, "rolled_back", json_boolean(result->rolled_back));
        set(json, "exposed_calls", result->exposed_calls);
        set(json, "ill_calls", result->ill_calls);
        json_object_set_new(json, "rollback_s", json_real((double)result->took_ns / 1e9));
        json_object_set_new(json, "reason", json_string(result->reason));
    }
    if (demo->problem[0])
        json_object_set_new(json, "problem", json_string(demo->problem));
    json_dumpf(json, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
    putchar('\n');
    fflush(stdout);
    json_decref(json);
}

/* The end of each child's log: what it said of the problem. */
static void print_logs(const struct demo *demo)
{
    for (unsigned i = 0; i < demo->child_count; i++) {
        char path[128], bytes[2048];
        snprintf(path, sizeof(path), "%s/%s.log", demo->folder, demo->children[i].name);
        FILE *log = fopen(path, "r");
        if (!log)
            continue;
        if (fseek(log, -(long)(sizeof(bytes) - 1), SEEK_END) < 0)
            rewind(log);
        size_t count = fread(bytes, 1, sizeof(bytes) - 1, log);
        fclose(log);
        bytes[count] = '\0';
        if (count)
            fprintf(stderr, "--- %s said:\n%s%s", demo->children[i].name, bytes,
                    bytes[count - 1] == '\n' ? "" : "\n");
    }
}

static void print_summary(const struct demo *demo, const struct tally *total)
{
    FILE *out = demo->out;
    fprintf(out, "\n%llu calls in %.1f s: %llu failed, %llu wrong.\n",
            (unsigned long long)total->calls, (double)(demo->end_ns - demo->start_ns) / 1e9,
            (unsigned long long)total->failed, (unsigned long long)total->wrong);
    fprintf(out, "  served by 1.0.0: %llu, by 2.0.0: %llu; translated: %llu\n",
            (unsigned long long)tally_served_by(total, "1.0.0"),
            (unsigned long long)tally_served_by(total, "2.0.0"),
            (unsigned long long)total->translated);
    fprintf(out, "  latency p50 %.1f us, p99 %.1f us\n",
            (double)tally_quantile_ns(total, 0.5) / 1e3,
            (double)tally_quantile_ns(total, 0.99) / 1e3);
    for (unsigned i = 0; i < demo->step_count; i++)
        fprintf(out, "  share of 2.0.0 at %3g %%: %.2f %%\n", demo->steps[i].weight,
                demo->steps[i].share);
    const struct rollback_result *back = &demo->rollback_result;
    if (demo->rollback)
        fprintf(out,
                "  version 2 fell ill at 30 %%: rolled back %s, %.2f s later; %llu calls met it, "
                "of which %llu failed\n  %s\n",
                back->rolled_back ? "by its gates" : "never", (double)back->took_ns / 1e9,
                (unsigned long long)back->exposed_calls, (unsigned long long)back->ill_calls,
                back->reason);
    if (!demo->chaos)
        return;
    fprintf(out,
            "  the broker was killed %u times: %llu calls ended while it was away, %llu failed\n"
            "  %u instance was killed: %llu calls repeated elsewhere; Visits ended as UNAVAILABLE: "
            "%llu not executed, %llu unknown\n",
            demo->after.broker_kills, (unsigned long long)demo->after.calls_while_away,
            (unsigned long long)demo->after.failed_while_away, demo->after.instances_killed,
            (unsigned long long)total->retried, (unsigned long long)total->unavailable_no,
            (unsigned long long)total->unavailable_unknown);
}

static void conclude(struct demo *demo, const struct tally *total)
{
    if (total->failed)
        demo_fail(demo, "A call failed. %s", total->failure);
    if (total->wrong)
        demo_fail(demo, "A reply was wrong. %s", total->difference);
    if (!tally_served_by(total, "1.0.0") || !tally_served_by(total, "2.0.0"))
        demo_fail(demo, "Not both versions served.");
    if (demo->rollback && !demo->rollback_result.rolled_back)
        demo_fail(demo, "Version 2 was not rolled back.");
    if (demo->after.casualties_outside)
        demo_fail(demo, "%llu calls ended as UNAVAILABLE before an instance was killed.",
                  (unsigned long long)demo->after.casualties_outside);
}

int report(struct demo *demo)
{
    struct tally total;
    if (!demo->end_ns)
        demo->end_ns = now_ns();
    demo_last_totals(demo, &total);
    conclude(demo, &total);
    display_end(demo);
    print_summary(demo, &total);
    if (demo->problem[0]) {
        fflush(demo->out);
        print_logs(demo);
        fprintf(stderr, "parley-demo: %s\n", demo->problem);
    } else {
        fprintf(demo->out, "%s\n", demo->rollback ? "It went back by itself." : "Nobody noticed.");
    }
    fflush(demo->out);
    if (demo->json)
        print_json(demo, &total);
    return demo->problem[0] ? 1 : 0;
}
