/*
 * The script: what the demo shows, in order.
 *
 * Version 1 serves, with clients of both versions; version 2 joins; its share grows in the steps of a
 * rollout, which an operator promotes; version 1 is told to stop. Shares are measured from what the clients counted
 * between two marks, not from what the broker says it did.
 */
#include "demo.h"

#include <math.h>
#include <signal.h>
#include <string.h>

static const double weights[STEP_COUNT] = {5, 30, 100};

/* Each step is held until it is promoted, for its share is measured first. What a version may take
 * longer is not judged: on a busy machine of two CPUs that is no matter of versions. */
static const char document[] = "apiVersion: parley.dev/v1alpha1\n"
                               "kind: Rollout\n"
                               "metadata:\n"
                               "  name: catalog\n"
                               "spec:\n"
                               "  interface: catalog\n"
                               "  stable: \"^1.0\"\n"
                               "  canary: \"^2.0\"\n"
                               "  steps:\n"
                               "  - {weight: 5, hold: 1h}\n"
                               "  - {weight: 30, hold: 1h}\n"
                               "  - {weight: 100}\n"
                               "  gates:\n"
                               "    maxErrorRate: 2%\n"
                               "    maxP99Ratio: 100\n";

int start_broker(struct demo *demo)
{
    const char *const argv[] = {demo->parleyd, NULL};
    return child_start(demo, CHILD_BROKER, "parleyd", argv) ? 0 : -1;
}

static int start_service(struct demo *demo, bool v2, const char *name)
{
    char program[512], file[512];
    snprintf(program, sizeof(program), "%s/%s", demo->programs, v2 ? "catalog-v2" : "catalog-v1");
    snprintf(file, sizeof(file), "%s/status", demo->admindir);
    /* For --chaos a Visit takes its time, so that there are some in an instance that is killed. */
    const char *const argv[] = {program, "--name",    name, "--status-file",
                                file,    "--hold-us", demo->chaos ? "300" : "0",
                                "--ill", demo->rollback && v2 ? "10" : "0", NULL};
    return child_start(demo, v2 ? CHILD_SERVICE_V2 : CHILD_SERVICE_V1, name, argv) ? 0 : -1;
}

static int start_client(struct demo *demo, const char *name, bool v2, unsigned window)
{
    char program[512], in_flight[16];
    snprintf(program, sizeof(program), "%s/%s", demo->programs,
             v2 ? "catalog-client-v2" : "catalog-client");
    snprintf(in_flight, sizeof(in_flight), "%u", window);
    const char *const argv[] = {program,
                                "--name", name,
                                "--control",
                                "--report-ms", "250",
                                "--window", in_flight,
                                "--admindir", demo->admindir,
                                "--visit", demo->chaos ? "30" : "1",
                                demo->chaos ? "--chaos" : demo->rollback ? "--illness" : NULL,
                                NULL};
    return child_start(demo, CHILD_CLIENT, name, argv) ? 0 : -1;
}

int measure_share(struct demo *demo, double weight, uint64_t ns, struct step *ret_step)
{
    struct tally before, after;
    if (demo_totals(demo, &before) < 0 || demo_run_for(demo, ns) < 0 ||
        demo_totals(demo, &after) < 0)
        return -1;
    double v1 = (double)(tally_served_by(&after, "1.0.0") - tally_served_by(&before, "1.0.0"));
    double v2 = (double)(tally_served_by(&after, "2.0.0") - tally_served_by(&before, "2.0.0"));
    double calls = v1 + v2, p = weight / 100;
    *ret_step = (struct step){.weight = weight, .share = calls > 0 ? 100 * v2 / calls : 0,
                              .calls = (uint64_t)calls};
    if (calls == 0)
        return demo_fail(demo, "No call ended in %g s.", (double)ns / 1e9);
    /* Five standard deviations of as many tosses of a coin, and a point for what was in flight. */
    double tolerance = 500 * sqrt(p * (1 - p) / calls) + 1;
    if (fabs(ret_step->share - weight) > tolerance)
        return demo_fail(demo,
                         "Version 2 was to get %g %% of the calls and got %.2f %% of %.0f, more "
                         "than %.2f points off.",
                         weight, ret_step->share, calls, tolerance);
    return 0;
}

/* ---- The parts ---- */

static int begin(struct demo *demo)
{
    display_phase(demo, "a broker, two instances of version 1, four clients");
    if (start_broker(demo) < 0 || demo_wait_ready(demo, CHILD_BROKER) < 0 ||
        start_service(demo, false, "catalog-v1-a") < 0 ||
        start_service(demo, false, "catalog-v1-b") < 0 ||
        demo_wait_ready(demo, CHILD_SERVICE_V1) < 0)
        return -1;
    unsigned window = demo->chaos ? 8 : 1;
    if (start_client(demo, "client-v1-a", false, 1) < 0 ||
        start_client(demo, "client-v1-b", false, window) < 0 ||
        start_client(demo, "client-v1-c", false, 4) < 0 ||
        start_client(demo, "client-v2", true, 1) < 0)
        return -1;
    return demo_wait_ready(demo, CHILD_CLIENT);
}

static uint64_t calls_of(const struct demo *demo, const char *name, const char *version)
{
    for (unsigned i = 0; i < demo->child_count; i++)
        if (strcmp(demo->children[i].name, name) == 0)
            return tally_served_by(&demo->children[i].tally, version);
    return 0;
}

static int version_1_alone(struct demo *demo)
{
    struct tally total;
    display_phase(demo, "version 1 alone; the version 2 client is served by it");
    if (demo_run_for(demo, demo->part_ns / 2) < 0)
        return -1;
    if (demo->chaos && chaos_broker(demo, demo->part_ns / 8) < 0)
        return -1;
    if (demo_run_for(demo, demo->part_ns / 2) < 0 || demo_totals(demo, &total) < 0)
        return -1;
    demo->v2_client_on_v1 = calls_of(demo, "client-v2", "1.0.0");
    if (demo->v2_client_on_v1 == 0)
        return demo_fail(demo, "The version 2 client was not served by version 1.");
    return 0;
}

static int version_2_joins(struct demo *demo)
{
    display_phase(demo, "two instances of version 2 join, with no share yet");
    if (start_service(demo, true, "catalog-v2-a") < 0 ||
        start_service(demo, true, "catalog-v2-b") < 0)
        return -1;
    if (demo->chaos && (demo_run_for(demo, chaos_moment(20 * MILLISECOND)) < 0 ||
                        chaos_broker(demo, demo->part_ns / 10) < 0))
        return -1;
    if (demo_wait_ready(demo, CHILD_SERVICE_V2) < 0)
        return -1;
    return demo_run_for(demo, demo->part_ns / 2);
}

/* What goes wrong in the middle of a step: a client attaches and the broker dies; the broker dies;
 * it dies again, and then an instance. */
static int chaos_in_step(struct demo *demo, unsigned index)
{
    if (index == 0 && (start_client(demo, "client-v1-d", false, 1) < 0 ||
                       demo_run_for(demo, chaos_moment(200 * MILLISECOND)) < 0))
        return -1;
    if (chaos_broker(demo, demo->part_ns / 8) < 0 || demo_wait_ready(demo, CHILD_CLIENT) < 0)
        return -1;
    struct step *behind = &demo->after.shares[demo->after.share_count++];
    if (measure_share(demo, weights[index], demo->part_ns / 2, behind) < 0)
        return -1;
    display_note(demo, "broker killed and restarted: version 2 gets %.2f %% as before",
                 behind->share);
    return index == STEP_COUNT - 1 ? chaos_instance(demo) : 0;
}

static int step(struct demo *demo, unsigned index)
{
    struct step *result = &demo->steps[index];
    display_phase(demo, "%g %% to version 2", weights[index]);
    int r = index == 0 ? tool_rollout_apply(demo, document) : tool_rollout(demo, "promote");
    if (r < 0 || demo_run_for(demo, 50 * MILLISECOND) < 0 ||
        measure_share(demo, weights[index], demo->part_ns * 6 / 5, result) < 0)
        return -1;
    demo->step_count = index + 1;
    display_note(demo, "%g %% to version 2: it got %.2f %% of %llu calls", result->weight,
                 result->share, (unsigned long long)result->calls);
    return demo->chaos ? chaos_in_step(demo, index) : 0;
}

static int version_1_stops(struct demo *demo)
{
    struct tally before, after;
    display_phase(demo, "version 1 stops; its clients go on, served by version 2");
    for (unsigned i = 0; i < demo->child_count; i++) {
        struct child *child = &demo->children[i];
        if (child->kind != CHILD_SERVICE_V1)
            continue;
        child_signal(child, SIGTERM);
        if (child_wait(demo, child, 15 * SECOND) < 0)
            return -1;
        if (!child_succeeded(child))
            return demo_fail(demo, "%s %s when it was to drain.", child->name, child_end(child));
    }
    if (demo_totals(demo, &before) < 0 || demo_run_for(demo, demo->part_ns) < 0 ||
        demo_totals(demo, &after) < 0)
        return -1;
    if (after.translated == before.translated)
        return demo_fail(demo, "No version 1 client was served once version 1 had stopped.");
    return 0;
}

/* What the broker read from the endpoints' pages has to agree with what the clients counted. With
 * --chaos it cannot: what a killed instance had counted is gone. */
int script_finish(struct demo *demo)
{
    struct tally total;
    display_phase(demo, "the end: clients finish, services drain");
    if (demo_end_clients(demo) < 0)
        return -1;
    demo_last_totals(demo, &total);
    if (!demo->chaos && tool_compare_stats(demo, total.calls) < 0)
        return -1;
    return demo_end_services(demo);
}

int script_begin(struct demo *demo)
{
    return begin(demo) < 0 || version_1_alone(demo) < 0 || version_2_joins(demo) < 0 ? -1 : 0;
}

int run_script(struct demo *demo)
{
    if (script_begin(demo) < 0)
        return -1;
    for (unsigned i = 0; i < STEP_COUNT; i++)
        if (step(demo, i) < 0)
            return -1;
    if (version_1_stops(demo) < 0)
        return -1;
    return script_finish(demo);
}
