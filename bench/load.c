/*
 * How long does a call take, when so many a second begin?
 *
 * An open loop: calls of 64 bytes begin at the times of a Poisson process, whatever the replies do,
 * and a call's latency is from the time at which it should have begun. So a subject that stalls is
 * charged for all calls that came meanwhile, not for one of them; that is what its users see, and
 * what a closed loop (./run bench peers) cannot show.
 *
 * Each subject climbs the rates until it is saturated: until in the last quarter of the schedule at
 * no time 99 % of what was due had ended. Higher rates are not tried in that round. The client
 * never sleeps, for its lateness would be in the figures; the service does, as its library has it.
 * The floor is the same loop with no call in it.
 */
#include "load.h"

#include <assert.h>
#include <inttypes.h>

#include "floors.h"
#include "parley_call.h"

#define IN_FLIGHT 4096 /* at most; a call that finds no room waits, and its clock runs */
#define NAME_BYTES 48
#define COUNT_LEAST 2000u /* samples, if that takes no longer than SECONDS_MOST */
#define SECONDS_MOST 2u
#define COUNT_MOST 900000u /* what the frame has room for, with its warm-up */

static const struct peer *const peers[] = {
    &peer_parley_default, &peer_unix, &peer_nng_ipc, &peer_zmq, &peer_capnp, &peer_grpc,
};
#define PEER_COUNT (sizeof(peers) / sizeof(peers[0]))
static const char *const titles[] = {"no call", "Parley",   "unix socket", "NNG",
                                     "ZeroMQ",  "Cap'n P.", "gRPC"};

struct load_rates load_rates = {
    .count = 10,
    .rates = {1000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2000000, 4000000},
};
uint64_t load_seed = 1;

static struct bench_subject subjects[BENCH_SUBJECT_MAX] = {FLOOR_CACHE_LINE};
static char names[BENCH_SUBJECT_MAX][NAME_BYTES];
static char reasons[PEER_COUNT][128];

size_t load_column_count(void)
{
    return 1 + PEER_COUNT;
}

const struct peer *load_peer(size_t column)
{
    return column == 0 ? NULL : peers[column - 1];
}

const char *load_name(size_t column)
{
    return titles[column];
}

const char *load_skipped(size_t column)
{
    return column > 0 && reasons[column - 1][0] ? reasons[column - 1] : NULL;
}

size_t load_subject(size_t column, size_t rate)
{
    return 1 + column * load_rates.count + rate;
}

enum load_state load_state(const struct bench_result *results, size_t column, size_t rate)
{
    const struct bench_result *result = &results[load_subject(column, rate)];
    if (!result->measured)
        return LOAD_NOT_TRIED;
    /* In what rounds it was not measured a lower rate was too much. */
    uint32_t kept_up = result->round_count - result->behind_count;
    return 2 * kept_up > results[0].round_count ? LOAD_KEPT_UP : LOAD_SATURATED;
}

/* ---- The subjects ---- */

/* About a second of it, where that is enough and not too much. */
static uint32_t samples_of(uint32_t rate)
{
    uint32_t count = rate > COUNT_LEAST ? rate : COUNT_LEAST;
    if (count > rate * SECONDS_MOST)
        count = rate * SECONDS_MOST;
    return count < COUNT_MOST ? count : COUNT_MOST;
}

static void make_subject(size_t column, size_t index)
{
    const struct peer *peer = load_peer(column);
    const uint32_t rate = load_rates.rates[index];
    size_t subject = load_subject(column, index);
    (void)snprintf(names[subject], NAME_BYTES, "%s/%u", peer ? peer->name : "schedule", rate);
    subjects[subject] = (struct bench_subject){
        .name = names[subject],
        .about = load_name(column),
        .sample_count = samples_of(rate),
        .placement = peer ? peer->paced_placement : BENCH_APART,
        .load = {.bytes = LOAD_BYTES, .in_flight = IN_FLIGHT, .rate = rate, .seed = load_seed},
        .higher = index > 0,
        .skipped = load_skipped(column),
        .run = peer ? peer->paced : floor_pace,
    };
}

static struct bench bench;

static void make_subjects(void)
{
    for (size_t i = 0; i < PEER_COUNT; i++) {
        if (peers[i]->package)
            (void)snprintf(reasons[i], sizeof(reasons[i]), "%s: %s is not installed",
                           peers[i]->about, peers[i]->package);
    }
    for (size_t column = 0; column < load_column_count(); column++) {
        for (size_t i = 0; i < load_rates.count; i++)
            make_subject(column, i);
    }
    bench.subject_count = load_subject(load_column_count(), 0);
}

/* ---- Options ---- */

static int take_rates(const char *value, struct error_text *error)
{
    int r = load_parse_rates(value, &load_rates, error);
    if (r == 0)
        make_subjects();
    return r;
}

static int take_seed(const char *value, struct error_text *error)
{
    int r = load_parse_seed(value, &load_seed, error);
    if (r == 0)
        make_subjects();
    return r;
}

static const struct bench_option options[] = {
    {"rates", "LIST",
     "calls a second, ascending, with commas between them; 1000 to 4000000 by default", take_rates},
    {"seed", "N", "of the times at which calls begin; 1 by default", take_seed},
};

/* ---- The program ---- */

static int begin(const char *folder, struct error_text *error)
{
    for (size_t i = 0; i < load_column_count(); i++) {
        if (load_skipped(i))
            fprintf(stderr, "skipped: %s\n", load_skipped(i));
    }
    return parley_call_begin(folder, error);
}

static struct bench bench = {
    .name = "load",
    .question = "How long does a call take, when so many a second begin?",
    .subjects = subjects,
    .round_count = 3,
    .tries = 2,
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .partial = true,
    .begin = begin,
    .end = parley_call_end,
    .print = load_print,
    .write_rows = load_write_rows,
    .write_report = load_write_report,
};

int main(int argc, char **argv)
{
    static_assert(1 + (1 + PEER_COUNT) * LOAD_RATE_COUNT_MAX <= BENCH_SUBJECT_MAX, "too many");
    static_assert(sizeof(titles) / sizeof(titles[0]) == 1 + PEER_COUNT, "a title for each column");
    make_subjects();
    return bench_main(argc, argv, &bench);
}
