/*
 * How long does it take until a changed schema is in force, while calls go on?
 *
 * A client of version 1 calls a service of version 2 without pause; their interface has 200
 * messages. A descriptor set with another unit in each of them is put into the broker's folder of
 * schemas, and a sample is the time from the rename that puts it there to the first reply that was
 * translated by it: noticing, reading, diff, compiling, sending, verifying, and the call itself.
 * Any call that fails, or whose two halves were translated by different rules, fails the benchmark.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <parley/parley.h>

#include "bench.h"
#include "floors.h"
#include "large_v1.parley.h"
#include "large_v2.parley.h"
#include "parley_call.h"
#include "swap_twelve.h"

#define GOAL_NS (300 * NS_PER_MS)
#define UNIT_BUILT_IN 1000
#define UNIT_MENDED 1024
#define SET_BYTES_MAX (1 << 20)
#define PATIENCE_NS (20 * NS_PER_S)

enum { CACHE_LINE, SWAP, TWELVE };

/* ---- The service ---- */

/* Put00: what came comes back, and what size was seen in `created`. */
static void invoke(ProtobufCService *service, unsigned method, const ProtobufCMessage *input,
                   ProtobufCClosure closure, void *closure_data)
{
    (void)service;
    (void)method;
    Large__V2__Message000 reply = *(const Large__V2__Message000 *)input;
    reply.created = reply.size_units;
    closure(&reply.base, closure_data);
}

static enum parley_status serve(struct parley_endpoint *endpoint,
                                struct parley_service **ret_service)
{
    static ProtobufCService service;
    service = (ProtobufCService){.descriptor = &large__v2__large__descriptor, .invoke = invoke};
    return parley_service_new(endpoint, &large__v2__large__interface, &service, NULL, ret_service);
}

/* ---- The schema ---- */

/* Puts a copy of a set that the build made into the broker's folder, in one step. */
static int put_schema(const char *folder, const char *name)
{
    static uint8_t set[SET_BYTES_MAX];
    char from[512], part[128], to[128];
    (void)snprintf(from, sizeof(from), "%s/%s.set", LARGE_DIR, name);
    (void)snprintf(part, sizeof(part), "%s/" PARLEY_CALL_SCHEMAS "/part", folder);
    (void)snprintf(to, sizeof(to), "%s/" PARLEY_CALL_SCHEMAS "/large.set", folder);
    FILE *in = fopen(from, "re"), *out = fopen(part, "we");
    size_t bytes = in ? fread(set, 1, sizeof(set), in) : 0;
    bool written = out && bytes > 0 && fwrite(set, 1, bytes, out) == bytes;
    if (in)
        (void)fclose(in);
    if (out)
        written = fclose(out) == 0 && written;
    return written ? rename(part, to) : -1;
}

/* ---- The client ---- */

/* Return: the unit that the call was translated by; 0 if it failed. */
static uint64_t call_once(struct parley_client *client, uint32_t i)
{
    Large__V1__Message000 request = LARGE__V1__MESSAGE000__INIT, *reply = NULL;
    request.name = (char *)"load";
    request.size = 1 + i % 1000;
    if (large__v1__large__put00_call(client, &request, &reply, NULL) != PARLEY_OK)
        return 0;
    uint64_t unit = reply->size == request.size ? reply->created / request.size : 0;
    parley_reply_free(reply);
    return unit;
}

static int call_until(struct bench_run *run, struct parley_client *client, uint64_t unit)
{
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    for (uint32_t i = 0; clock_now_ns() < until; i++) {
        uint64_t seen = call_once(client, i);
        if (seen == unit)
            return 0;
        if (seen != UNIT_BUILT_IN && seen != UNIT_MENDED)
            return error_set(run->error, -1, "a call failed: %s", parley_error_text());
    }
    return error_set(run->error, -1, "the schema did not change in %" PRIu64 " s",
                     PATIENCE_NS / NS_PER_S);
}

static int time_swaps(struct bench_run *run, struct parley_endpoint *endpoint,
                      struct parley_client *client)
{
    (void)endpoint;
    uint64_t unit = UNIT_BUILT_IN;
    int r = put_schema(run->folder, "large_v2") == 0 ? call_until(run, client, unit) : -1;
    for (uint32_t i = 0; r == 0 && i < run->sample_count; i++) {
        unit = unit == UNIT_MENDED ? UNIT_BUILT_IN : UNIT_MENDED;
        if (put_schema(run->folder, unit == UNIT_MENDED ? "large_v2_mended" : "large_v2") != 0)
            return error_set(run->error, -1, "cannot put a schema into %s", run->folder);
        uint64_t start = clock_now_ns();
        r = call_until(run, client, unit);
        run->samples_ns[i] = bench_sample(start, clock_now_ns());
    }
    return r;
}

static const struct parley_call_kind kind = {
    .interface = &large__v1__large__interface,
    .serve = serve,
    .drive = time_swaps,
};

static int run_swaps(struct bench_run *run)
{
    return parley_call_run(run, &kind, 0);
}

/* ---- The question ---- */

static const struct bench_subject subjects[] = {
    [CACHE_LINE] = FLOOR_CACHE_LINE,
    [SWAP] = {.name = "swap",
              .about = "a schema's rename to the first reply by it",
              .sample_count = 20,
              .placement = BENCH_ANYWHERE,
              .run = run_swaps},
    [TWELVE] = {.name = "twelve",
                .about = "the same, to the last of 12 endpoints",
                .sample_count = 20,
                .placement = BENCH_ANYWHERE,
                .run = swap_twelve},
};

static int conclude(const struct bench_result *results)
{
    double most = results[SWAP].ns[BENCH_P99];
    double twelve = results[TWELVE].ns[BENCH_P99];
    bool met = most <= (double)GOAL_NS && twelve <= (double)GOAL_NS;
    printf("A changed schema of 200 messages is in force after %.1f ms at p50 and %.1f ms at p99."
           " The last of twelve endpoints has it after %.1f and %.1f. The goal, %.0f ms, is %s.\n",
           results[SWAP].ns[BENCH_P50] / NS_PER_MS, most / NS_PER_MS,
           results[TWELVE].ns[BENCH_P50] / NS_PER_MS, twelve / NS_PER_MS,
           (double)GOAL_NS / NS_PER_MS,
           met ? "met" : "MISSED");
    return met ? 0 : 1;
}

static const struct bench bench = {
    .name = "swap",
    .question = "How long does it take until a changed schema is in force, while calls go on?",
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
