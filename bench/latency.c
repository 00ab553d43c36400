/*
 * What does a 64-byte unary call cost, awake?
 *
 * Beside its floors, and beside a bare NNG round trip, in one run.
 */
#include <stdio.h>

#include "bench.h"
#include "floors.h"

enum { CACHE_LINE, CLOCK, RING, PROTOBUF, NNG, NNG_APART, NNG_TOGETHER };

static const struct bench_subject subjects[] = {
    [CACHE_LINE] = {.name = "cache-line",
                    .about = "cache line, there and back",
                    .sample_count = 100000,
                    .run = floor_cache_line},
    [CLOCK] = {.name = "clock",
               .about = "one look at the clock (in every row)",
               .sample_count = 100000,
               .run = floor_clock},
    [RING] = {.name = "ring",
              .about = "ring, header and message, echoed",
              .sample_count = 100000,
              .run = floor_ring},
    [PROTOBUF] = {.name = "protobuf",
                  .about = "protobuf-c, pack and unpack once",
                  .sample_count = 100000,
                  .run = floor_protobuf},
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

static const struct bench bench = {
    .name = "latency",
    .question = "What does a 64-byte unary call cost, awake?",
    .subjects = subjects,
    .subject_count = sizeof(subjects) / sizeof(subjects[0]),
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, &bench);
}
