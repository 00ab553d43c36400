/*
 * What does a 64-byte unary call cost, awake?
 *
 * Beside its floors, and beside a bare NNG round trip, in one run. The goal is a fiftieth of NNG's,
 * wherever NNG does best.
 */
#include <stdio.h>

#include "bench.h"
#include "floors.h"
#include "parley_call.h"

#define GOAL 50

enum { CACHE_LINE, CLOCK, RING, PROTOBUF, PARLEY, PARLEY_DEFAULT, NNG, NNG_APART, NNG_TOGETHER };

static const struct bench_subject subjects[] = {
    [CACHE_LINE] = FLOOR_CACHE_LINE,
    [CLOCK] = FLOOR_CLOCK,
    [RING] = {.name = "ring",
              .about = "ring, header and message, echoed",
              .sample_count = 100000,
              .run = floor_ring},
    [PROTOBUF] = {.name = "protobuf",
                  .about = "protobuf-c, pack and unpack once",
                  .sample_count = 100000,
                  .run = floor_protobuf},
    [PARLEY] = {.name = "parley",
                .about = "Parley, a call, never sleeping",
                .sample_count = 50000,
                .run = parley_call_spinning},
    [PARLEY_DEFAULT] = {.name = "parley-default",
                        .about = "Parley, a call, default options",
                        .sample_count = 50000,
                        /* Pinned to one core, it would take that for all there is, and not spin. */
                        .placement = BENCH_ANYWHERE,
                        .run = parley_call_default},
    [NNG] = {.name = "nng-ipc",
             .about = "NNG REQ/REP, ipc://, any core",
             .sample_count = 5000,
             .placement = BENCH_ANYWHERE,
             .run = floor_nng},
    [NNG_APART] = {.name = "nng-ipc-apart",
                   .about = "NNG REQ/REP, ipc://, a core each",
                   .sample_count = 5000,
                   .placement = BENCH_APART,
                   .run = floor_nng},
    [NNG_TOGETHER] = {.name = "nng-ipc-together",
                      .about = "NNG REQ/REP, ipc://, one core for both",
                      .sample_count = 5000,
                      .placement = BENCH_TOGETHER,
                      .run = floor_nng},
};

static double p50(const struct bench_result *results, int subject)
{
    return results[subject].ns[BENCH_P50];
}

static double fastest_nng(const struct bench_result *results)
{
    double best = p50(results, NNG);
    for (int i = NNG_APART; i <= NNG_TOGETHER; i++) {
        if (p50(results, i) < best)
            best = p50(results, i);
    }
    return best;
}

static int conclude(const struct bench_result *results)
{
    double call = p50(results, PARLEY);
    double ratio = fastest_nng(results) / call;
    printf("A call takes %.0f ns at p50: the ring %.0f, protobuf-c twice %.0f, and %.0f for the"
           " checked copies, routing, deadline and statistics of both sides.\n",
           call, p50(results, RING), 2 * p50(results, PROTOBUF),
           call - p50(results, RING) - 2 * p50(results, PROTOBUF));
    printf("That is 1/%.0f of a bare NNG round trip where NNG is fastest (1/%.0f on any core), and"
           " %.1f times the cache line. The goal, 1/%d, is %s.\n",
           ratio, p50(results, NNG) / call, call / p50(results, CACHE_LINE), GOAL,
           ratio >= GOAL ? "met" : "MISSED");
    return ratio >= GOAL ? 0 : 1;
}

static const struct bench bench = {
    .name = "latency",
    .question = "What does a 64-byte unary call cost, awake?",
    .subjects = subjects,
    .subject_count = sizeof(subjects) / sizeof(subjects[0]),
    .begin = parley_call_begin,
    .end = parley_call_end,
    .conclude = conclude,
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, &bench);
}
