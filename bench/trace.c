/*
 * What does it cost a call that calls are traced?
 *
 * One client and one service, a core each, never sleeping; calls of 64 bytes, one after the other,
 * each timed. The rate is changed every few milliseconds, at the broker, as an operator would:
 * none, one in a hundred, all, and none once more, which shows what the machine itself does to such
 * ratios. The order rotates. What is compared is of one round, and so of the same two processes on
 * the same cores, taken in turns.
 *
 * With all of them traced, more spans are written than a broker can read on its timer, and most are
 * lost; that is counted beside it, for it is no cost of a call.
 */
#include <stdio.h>
#include <string.h>

#include <parley/parley.h>

#include "base/clock.h"
#include "echo.parley.h"
#include "parley_call.h"
#include "study.h"
#include "tracing.h"

#define BLOCKS 12  /* of each row in a round */
#define CALLS 2500 /* timed in a block */
#define WARM 500   /* before them */
#define PATIENCE_NS (20 * NS_PER_S)

enum { OFF, AGAIN, ONE, ALL, RATES, READ = RATES, LOST };

static const int rates[RATES] = {[OFF] = -1, [AGAIN] = -1, [ONE] = 1000, [ALL] = 100000};
static uint32_t samples[RATES][BLOCKS * CALLS];

static void answer_echo(Bench__V1__Echo_Service *service, const Bench__V1__EchoMessage *request,
                        Bench__V1__EchoMessage_Closure closure, void *closure_data)
{
    (void)service;
    closure(request, closure_data);
}

static int serve(const struct study_round *round, void *userdata)
{
    static Bench__V1__Echo_Service implementation = BENCH__V1__ECHO__INIT(answer_);
    struct parley_endpoint *endpoint = NULL;
    struct parley_service *service = NULL;
    (void)userdata;
    enum parley_status status =
        parley_call_join(round->folder, "traced-service", PARLEY_FOREVER, &endpoint);
    if (status == PARLEY_OK)
        status = bench__v1__echo__serve(endpoint, &implementation, NULL, &service);
    if (status == PARLEY_OK)
        status = parley_run(endpoint);
    fprintf(stderr, "service: %s\n", parley_error_text());
    return -1;
}

static int block(struct study_round *round, struct parley_client *client, size_t row, size_t number)
{
    struct tracing tracing;
    int r = tracing_set(round->folder, rates[row], &tracing, round->error);
    for (uint32_t i = 0; r == 0 && i < WARM + CALLS; i++) {
        uint64_t start = clock_now_ns();
        r = parley_call_echo.call(client, i);
        if (r != 0)
            return error_set(round->error, -1, "%s", parley_error_text());
        if (i >= WARM)
            samples[row][number * CALLS + i - WARM] = study_sample(start, clock_now_ns());
    }
    return r;
}

/* The clock ticks in steps of some 10 ns here, which is 2 % of a call: half of the samples may have
 * the median's value. So where in its step the half of all samples is reached (the median of
 * grouped data). The samples are sorted. */
static double median(const uint32_t *sorted, size_t count)
{
    size_t below = count / 2, end = below;
    double value = sorted[below];
    while (below > 0 && sorted[below - 1] == sorted[end])
        below--;
    while (end < count && sorted[end] == sorted[below])
        end++;
    double from = below > 0 ? sorted[below - 1] : value, to = end < count ? sorted[end] : value;
    double width = (to - from) / 2;
    return (from + value) / 2 + ((double)count / 2 - (double)below) / (double)(end - below) * width;
}

static int measure(struct study_round *round, struct parley_client *client)
{
    for (size_t number = 0; number < BLOCKS; number++) {
        for (size_t turn = 0; turn < RATES; turn++) {
            int r = block(round, client, (turn + number) % RATES, number);
            if (r != 0)
                return r;
        }
    }
    struct tracing tracing;
    if (tracing_set(round->folder, -1, &tracing, round->error) < 0)
        return -1;
    for (size_t row = 0; row < RATES; row++) {
        memcpy(round->samples_ns, samples[row], sizeof(samples[row]));
        study_put_samples(round, row, BLOCKS * CALLS);
        round->values[row].p50 = median(round->samples_ns, BLOCKS * CALLS);
    }
    study_put(round, READ, (double)tracing.read);
    study_put(round, LOST, (double)tracing.lost);
    return 0;
}

static int run(struct study_round *round)
{
    const struct parley_client_options options = {.wait_ns = PATIENCE_NS,
                                                  .timeout_ns = PATIENCE_NS};
    struct parley_endpoint *endpoint;
    struct parley_client *client;
    pid_t service = study_start(round, round->cpus[1], serve, NULL);
    int r = 0;
    if (parley_call_join(round->folder, "traced-client", PARLEY_FOREVER, &endpoint) != PARLEY_OK ||
        parley_client_new(endpoint, parley_call_echo.interface, &options, &client) != PARLEY_OK)
        r = error_set(round->error, -1, "%s", parley_error_text());
    if (r == 0)
        r = measure(round, client);
    study_stop(service);
    return r;
}

static const struct study_row rows[] = {
    [OFF] = {.name = "off", .about = "a call, nothing is traced"},
    [AGAIN] = {.name = "off-again", .about = "  the same once more, in its turn"},
    [ONE] = {.name = "one-in-100", .about = "1 % of calls are traced"},
    [ALL] = {.name = "all", .about = "all calls are traced"},
    [READ] = {.name = "read", .about = "spans that the broker read", STUDY_COUNT},
    [LOST] = {.name = "lost", .about = "  that it could not read in time", STUDY_COUNT},
};

static const struct study_goal goals[] = {
    {ONE, OFF, false, 1.02, 0, "p50 with 1 % traced, against none"},
    {ALL, OFF, false, 1.2, 0, "p50 with all traced, against none"},
    {AGAIN, OFF, false, 0, 0, "  none, against none: the noise"},
    {ONE, OFF, true, 0, 0, "p99 with 1 % traced, against none"},
    {ALL, OFF, true, 0, 0, "p99 with all traced, against none"},
};

static const struct study study = {
    .name = "trace",
    .question = "What does it cost a call that calls are traced?",
    .method = "Client and service are on a core each and never sleep. The rate changes every 3,000"
              " calls, in turns.",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
    .goals = goals,
    .goal_count = sizeof(goals) / sizeof(goals[0]),
    .rounds = 7,
    .seconds_max = 60,
    .run = run,
};

int main(int argc, char **argv)
{
    return study_main(argc, argv, &study);
}
