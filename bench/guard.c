/*
 * Has a change made Parley slower?
 *
 * A test, so it must not depend on the machine: it compares ratios, of a call to a floor that was
 * measured in the same round, with those of bench/baseline.json, and is generous: what became 2.5
 * times worse fails. What a machine does to both sides of a ratio does not show in it. What it does
 * to one may (two cores that are near each other one second, and far the next, change a ratio to a
 * socket by two), so whoever fails is measured again, twice, and the best of three counts.
 *
 * Instrumented code has other ratios, and two sides that never sleep need two cores: elsewhere it
 * is skipped. After a change that is meant to move a ratio, ./run bench guard prints what it is
 * now.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "floors.h"
#include "parley_call.h"
#include "peer.h"

#define WORSE_MOST 2.5
#define TRIES 3
#define SKIPPED 77 /* for meson */
#define PAUSE_NS NS_PER_MS
#define IN_FLIGHT 256 /* less than the ring holds: both flows are alike */

#if defined(__has_feature)
#define HAS_FEATURE(feature) __has_feature(feature)
#else
#define HAS_FEATURE(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
    HAS_FEATURE(address_sanitizer) || HAS_FEATURE(thread_sanitizer)
#define IS_INSTRUMENTED true
#else
#define IS_INSTRUMENTED false
#endif

enum {
    LINE,
    RING,
    RING_FLOW,
    UNIX,
    UNIX_ASLEEP,
    UNIX_PAGE,
    PARLEY,
    PARLEY_ASLEEP,
    PARLEY_PAGE,
    PARLEY_FLOW,
    SUBJECT_COUNT,
};

static struct bench_subject subjects[] = {
    [LINE] = {.name = "cache-line",
              .about = "cache line, there and back",
              .sample_count = 20000,
              .run = floor_cache_line},
    [RING] =
        {.name = "ring", .about = "ring", .sample_count = 20000, .passes = 3, .run = floor_ring},
    [RING_FLOW] = {.name = "ring-pipelined",
                   .about = "ring, many at once",
                   .sample_count = 10000,
                   .load = {.bytes = 64, .in_flight = IN_FLIGHT},
                   .run = floor_ring_flow},
    [UNIX] = {.name = "unix",
              .about = "unix socket, 64 bytes",
              .passes = 3,
              .sample_count = 2000,
              .placement = BENCH_ANYWHERE,
              .load.bytes = 64},
    [UNIX_ASLEEP] = {.name = "unix-asleep",
                     .about = "unix socket, 64 bytes, asleep",
                     .sample_count = 200,
                     .placement = BENCH_ANYWHERE,
                     .load = {.bytes = 64, .pause_ns = PAUSE_NS}},
    [UNIX_PAGE] = {.name = "unix-4096",
                   .about = "unix socket, 4,096 bytes",
                   .passes = 3,
                   .sample_count = 2000,
                   .placement = BENCH_ANYWHERE,
                   .load.bytes = 4096},
    [PARLEY] = {.name = "parley",
                .about = "Parley, 64 bytes",
                .passes = 3,
                .sample_count = 10000,
                .load.bytes = 64},
    [PARLEY_ASLEEP] = {.name = "parley-asleep",
                       .about = "Parley, 64 bytes, asleep",
                       .sample_count = 200,
                       .placement = BENCH_ANYWHERE,
                       .load = {.bytes = 64, .pause_ns = PAUSE_NS}},
    [PARLEY_PAGE] = {.name = "parley-4096",
                     .about = "Parley, 4,096 bytes",
                     .passes = 3,
                     .sample_count = 5000,
                     .load.bytes = 4096},
    [PARLEY_FLOW] = {.name = "parley-pipelined",
                     .about = "Parley, many at once",
                     .sample_count = 5000,
                     .load = {.bytes = 64, .in_flight = IN_FLIGHT}},
};

struct ratio {
    const char *name; /* in the baseline */
    int subject, floor;
    double best; /* of all tries */
};

static struct ratio ratios[] = {
    {"awake/ring", PARLEY, RING, 0},
    {"awake/unix", PARLEY, UNIX, 0},
    {"awake-4096/unix", PARLEY_PAGE, UNIX_PAGE, 0},
    {"asleep/unix", PARLEY_ASLEEP, UNIX_ASLEEP, 0},
    {"pipelined/ring", PARLEY_FLOW, RING_FLOW, 0}, /* of latencies with as many in flight */
};
#define RATIO_COUNT (sizeof(ratios) / sizeof(ratios[0]))

static json_t *baseline;
static bool judged; /* once at least */

/* Return: whether it is too bad. */
static bool judge(struct ratio *ratio, const struct bench_result *results)
{
    double seen = bench_ratio(&results[ratio->subject], &results[ratio->floor]);
    double was = json_number_value(json_object_get(baseline, ratio->name));
    if (ratio->best <= 0 || seen < ratio->best)
        ratio->best = seen;
    bool failed = ratio->best > was * WORSE_MOST; /* without a baseline that is 0, always */
    printf("%-16s %8.3f   baseline %8.3f, at most %8.3f: %s\n", ratio->name, ratio->best, was,
           was * WORSE_MOST, failed ? "WORSE" : "fine");
    return failed;
}

static int conclude(const struct bench_result *results)
{
    int failed = 0;
    judged = true;
    for (size_t i = 0; i < RATIO_COUNT; i++)
        failed |= judge(&ratios[i], results);
    return failed;
}

static const char *reason_to_skip(void)
{
    cpu_set_t set;
    const char *preloaded = getenv("LD_PRELOAD");
    if (IS_INSTRUMENTED)
        return "a sanitizer's code has other ratios";
    if (preloaded && strstr(preloaded, "vgpreload"))
        return "under valgrind there are other ratios";
    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) < 2)
        return "two sides that never sleep need two cores";
    return NULL;
}

static void find_subjects(void)
{
    subjects[UNIX].run = peer_unix.echo;
    subjects[UNIX_ASLEEP].run = peer_unix.asleep;
    subjects[UNIX_PAGE].run = peer_unix.echo;
    subjects[PARLEY].run = peer_parley.echo;
    subjects[PARLEY_ASLEEP].run = peer_parley_default.asleep;
    subjects[PARLEY_PAGE].run = peer_parley.echo;
    subjects[PARLEY_FLOW].run = peer_parley.flow;
}

static const struct bench bench = {
    .name = "guard",
    .question = "Has a change made Parley slower, as times a floor?",
    .subjects = subjects,
    .subject_count = SUBJECT_COUNT,
    .round_count = 2,
    .tries = 1, /* main() repeats all of it, and only if it fails */
    .begin = parley_call_begin,
    .end = parley_call_end,
    .conclude = conclude,
};

/* Over the last minute, in which our own two sides ran, too. */
static bool others_have_the_cores(void)
{
    double load = 0;
    return getloadavg(&load, 1) != 1 || load > (double)sysconf(_SC_NPROCESSORS_ONLN) + 1;
}

int main(int argc, char **argv)
{
    const char *path = getenv("PARLEY_BASELINE"), *why = reason_to_skip();
    json_error_t error;
    int r = 1;
    if (why) {
        printf("skipped: %s\n", why);
        return SKIPPED;
    }
    baseline = json_load_file(path ? path : BENCH_BASELINE, 0, &error);
    if (!baseline) {
        fprintf(stderr, "no baseline: %s: %s\n", error.source, error.text);
        return 1;
    }
    find_subjects();
    for (int i = 0; i < TRIES && r == 1 && (i == 0 || judged); i++) {
        if (i > 0)
            printf("\nOnce more, for the machine may have been busy.\n");
        optind = 0; /* getopt's own beginning */
        r = bench_main(argc, argv, &bench);
    }
    json_decref(baseline);
    if (r == 1 && !judged && others_have_the_cores()) {
        printf("skipped: what is busy here leaves no cores to measure with\n");
        return SKIPPED;
    }
    return r;
}
