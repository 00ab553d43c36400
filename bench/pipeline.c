/*
 * How many calls a second can one client have of one service, by how many are in flight?
 *
 * From one at a time, through what fits in the ring, to what does not and waits in the client's
 * queue; beside the bare ring and, where it is installed, ZeroMQ's dealer and router with as many,
 * in the same rounds. So the two are compared with equally many in flight, and each with as many as
 * it is best with, for a user may choose. The flows are those of ./run bench peers.
 */
#include "bench.h"
#include "floors.h"
#include "peer.h"
#include "parley_call.h"

#define SAMPLES 12000 /* FLOW_TIMED calls each */
#define ZMQ_GOAL 3.5
#define RING_GOAL 0.1

enum {
    LINE,
    RING_16,
    RING_FULL,
    PARLEY_1,
    PARLEY_16,
    PARLEY_127,
    PARLEY_2048,
    DEFAULT_2048,
    ZMQ_16, /* and all that follow are ZeroMQ's */
    ZMQ_127,
    ZMQ_2048,
    ZMQ_8192,
    SUBJECTS
};

/* The same number in flight, of each; the last is what the goal was set for. */
static const struct pair {
    int parley, zmq;
} pairs[] = {{PARLEY_16, ZMQ_16}, {PARLEY_127, ZMQ_127}, {PARLEY_2048, ZMQ_2048}};

#define PAIRS (sizeof(pairs) / sizeof(pairs[0]))

static int parley_flow(struct bench_run *run)
{
    return peer_parley.flow(run);
}

static int default_flow(struct bench_run *run)
{
    return peer_parley_default.flow(run);
}

#if HAVE_ZMQ
static int zmq_flow(struct bench_run *run)
{
    return peer_zmq.flow(run);
}
#define ZMQ_SKIPPED NULL
#else
#define zmq_flow NULL
#define ZMQ_SKIPPED "ZeroMQ: libzmq3-dev is not installed"
#endif

#define FLOW(subject, text, count, depth, what)                                                    \
    {                                                                                              \
        .name = subject, .about = text, .sample_count = count, .passes = 3,                        \
        .load = {.bytes = 64, .in_flight = depth}, .run = what                                     \
    }

static const struct bench_subject subjects[SUBJECTS] = {
    [LINE] = FLOOR_CACHE_LINE,
    [RING_16] = FLOW("ring/16", "the bare ring, 16 in flight", SAMPLES, 16, floor_ring_flow),
    [RING_FULL] = FLOW("ring/full", "the bare ring, full", SAMPLES, 2048, floor_ring_flow),
    [PARLEY_1] = FLOW("parley/1", "Parley, one at a time", SAMPLES / 8, 1, parley_flow),
    [PARLEY_16] = FLOW("parley/16", "Parley, 16 in flight", SAMPLES, 16, parley_flow),
    [PARLEY_127] = FLOW("parley/127", "Parley, 127, as many as fit", SAMPLES, 127, parley_flow),
    [PARLEY_2048] = FLOW("parley/2048", "Parley, 2,048 in flight", SAMPLES, 2048, parley_flow),
    [DEFAULT_2048] =
        FLOW("parley-default/2048", "the same, default options", SAMPLES, 2048, default_flow),
    [ZMQ_16] = FLOW("zmq/16", "ZeroMQ, 16 in flight", SAMPLES / 4, 16, zmq_flow),
    [ZMQ_127] = FLOW("zmq/127", "ZeroMQ, 127 in flight", SAMPLES / 2, 127, zmq_flow),
    [ZMQ_2048] = FLOW("zmq/2048", "ZeroMQ, 2,048 in flight", SAMPLES, 2048, zmq_flow),
    [ZMQ_8192] = FLOW("zmq/8192", "ZeroMQ, 8,192 in flight", SAMPLES, 8192, zmq_flow),
};

static struct bench_subject placed[SUBJECTS];

static void print(const struct bench_result *results)
{
    printf("%-34s %14s %12s %12s   p50 of the rounds\n", "", "calls a second", "p50", "p99");
    for (int i = 0; i < SUBJECTS; i++) {
        if (results[i].measured)
            printf("%-34s %14.0f %9.1f us %9.1f us   %.1f to %.1f\n", subjects[i].about,
                   results[i].per_s, results[i].ns[BENCH_P50] / 1e3, results[i].ns[BENCH_P99] / 1e3,
                   results[i].p50_least / 1e3, results[i].p50_most / 1e3);
    }
}

static void write_rows(const struct bench_result *results, FILE *file)
{
    const char *separator = "\n";
    fprintf(file, "\"rows\":[");
    for (int i = 0; i < SUBJECTS; i++) {
        const struct bench_result *result = &results[i];
        if (!result->measured)
            continue;
        fprintf(file,
                "%s{\"bench\":\"pipeline\",\"peer\":\"%s\",\"mode\":\"pipelined\",\"bytes\":64,"
                "\"clients\":1,\"in_flight\":%u,\"p50_ns\":%.1f,\"p90_ns\":%.1f,\"p99_ns\":%.1f,"
                "\"p999_ns\":%.1f,\"calls_per_s\":%.0f}",
                separator, subjects[i].name, subjects[i].load.in_flight, result->ns[BENCH_P50],
                result->ns[BENCH_P90], result->ns[BENCH_P99], result->ns[BENCH_P999],
                result->per_s);
        separator = ",\n";
    }
    fprintf(file, "\n]");
}

static int say(const char *what, double ratio, double goal)
{
    printf("%s: %.2f; the goal, %.1f, is %s.\n", what, ratio, goal,
           ratio >= goal ? "met" : "MISSED");
    return ratio >= goal ? 0 : 1;
}

static const struct bench_result *better(const struct bench_result *a, const struct bench_result *b)
{
    return !a || (b->measured && b->per_s > a->per_s) ? b : a;
}

/* Each with as many in flight as it is best with. */
static int conclude_best(const struct bench_result *results)
{
    const struct bench_result *parley = NULL, *zmq = NULL;
    for (size_t i = 0; i < PAIRS; i++) {
        parley = better(parley, &results[pairs[i].parley]);
        zmq = better(zmq, &results[pairs[i].zmq]);
    }
    zmq = better(zmq, &results[ZMQ_8192]);
    if (!parley->measured || !zmq->measured)
        return 0;
    return say("each at its best, times ZeroMQ's rate", bench_rate_ratio(parley, zmq), ZMQ_GOAL);
}

static int conclude(const struct bench_result *results)
{
    int r = 0;
    printf("\n");
    for (size_t i = 0; i < PAIRS; i++) {
        const struct bench_result *parley = &results[pairs[i].parley];
        const struct bench_result *zmq = &results[pairs[i].zmq];
        char what[64];
        (void)snprintf(what, sizeof(what), "%u in flight, times ZeroMQ's rate",
                       subjects[pairs[i].parley].load.in_flight);
        if (parley->measured && zmq->measured)
            r |= say(what, bench_rate_ratio(parley, zmq), ZMQ_GOAL);
    }
    r |= conclude_best(results);
    if (results[PARLEY_2048].measured && results[RING_FULL].measured)
        r |= say("2,048 in flight, times the bare ring's",
                 bench_rate_ratio(&results[PARLEY_2048], &results[RING_FULL]), RING_GOAL);
    return r;
}

int main(int argc, char **argv)
{
    static const struct bench bench = {
        .name = "pipeline",
        .question = "How many calls a second, by how many are in flight?",
        .subjects = placed,
        .subject_count = SUBJECTS,
        .tries = 2,
        .partial = true,
        .begin = parley_call_begin,
        .end = parley_call_end,
        .print = print,
        .write_rows = write_rows,
        .conclude = conclude,
    };
    for (int i = 0; i < SUBJECTS; i++) {
        placed[i] = subjects[i];
        if (i >= ZMQ_16)
            placed[i].skipped = ZMQ_SKIPPED;
    }
    return bench_main(argc, argv, &bench);
}
