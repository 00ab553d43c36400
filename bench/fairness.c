/*
 * How much does a greedy client take from another?
 *
 * Both call the same service, which is on a core of its own. The polite client calls, waits and
 * calls; its calls are timed. The greedy one is an endpoint of its own in the same thread, on the
 * same core: where it runs, it could only take processor time from the polite one, which is the
 * scheduler's matter, and with two cores there is no third place for it. So it gets its turn
 * between two timed calls, outside of the clock: there it reads what has been answered and starts
 * new calls, until IN_FLIGHT wait, so that the service has its hands full while the polite call is
 * timed.
 *
 * The yardstick is the polite client alone. It is taken in turns with the calls under load, one by
 * one: the greedy one has just had its turn, but all is answered. So both find the same caches, and
 * the same time has passed since the call before: on a machine that is shared, a core is taken away
 * for milliseconds now and then, and who calls a thousand times as often would see a thousandth of
 * that in its p99. Either call comes right behind another one of the polite client, which finds its
 * channel cold and the service perhaps without a core; that one is shown apart. A call during which
 * the scheduler took the core of either side is left out, and counted: with milliseconds of
 * somebody else's work in it, it says nothing. Calls without anything between them are shown, too.
 *
 * One that reads nothing starts calls until its ring and the service's are full, and is then not
 * run again.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <parley/parley.h>

#include "base/clock.h"
#include "echo.parley.h"
#include "parley_call.h"
#include "proc.h"
#include "study.h"

#define IN_FLIGHT 2000
#define UNREAD 10000
#define CALLS 1000 /* beside each flood; it takes milliseconds */
#define CLOSE_CALLS 20000
#define GREEDY_BYTES 62
#define PATIENCE_NS (20 * NS_PER_S)

enum {
    ALONE,
    FLOOD,
    COLD_ALONE,
    COLD_FLOOD,
    CLOSE,
    CLOSE_UNREAD,
    GREEDY_RATE,
    OUT_ALONE,
    OUT_FLOOD
};

struct party {
    struct parley_endpoint *endpoint;
    struct parley_client *client;
};

struct meeting {
    struct study_round *round;
    struct party polite, greedy;
    int slices[2]; /* of this process; of the service */
    uint32_t in_flight;
    uint64_t answered;
    enum parley_status failed;
};

/* ---- The greedy client ---- */

static void on_reply(const Bench__V1__EchoMessage *reply, void *data)
{
    struct meeting *meeting = data;
    meeting->in_flight--;
    meeting->answered++;
    if (!reply)
        meeting->failed = parley_call_current()->status;
}

static void start_calls(struct meeting *meeting, uint32_t in_flight)
{
    static uint8_t content[GREEDY_BYTES];
    Bench__V1__EchoMessage request = BENCH__V1__ECHO_MESSAGE__INIT;
    request.payload = (ProtobufCBinaryData){.len = sizeof(content), .data = content};
    ProtobufCService *service = parley_client_service(meeting->greedy.client);
    while (meeting->in_flight < in_flight) {
        meeting->in_flight++;
        bench__v1__echo__echo(service, &request, on_reply, meeting);
    }
}

static void take_turn(struct meeting *meeting)
{
    (void)parley_dispatch(meeting->greedy.endpoint, 0);
    start_calls(meeting, IN_FLIGHT);
}

static void be_answered(struct meeting *meeting)
{
    while (meeting->in_flight > 0 && meeting->failed == PARLEY_OK)
        (void)parley_dispatch(meeting->greedy.endpoint, 0); /* without sleeping */
}

/* ---- The polite one ---- */

static int failed(struct meeting *meeting)
{
    return error_set(meeting->round->error, -1, "%s", parley_error_text());
}

static int call(struct meeting *meeting, uint32_t *ret_sample)
{
    uint64_t start = clock_now_ns();
    if (parley_call_echo.call(meeting->polite.client, (uint32_t)start) != 0)
        return failed(meeting);
    *ret_sample = study_sample(start, clock_now_ns());
    if (meeting->failed != PARLEY_OK)
        return error_set(meeting->round->error, -1, "a call of the greedy client ended as %s",
                         parley_status_name(meeting->failed));
    return 0;
}

struct timed {
    size_t row, cold_row, out_row;
    uint32_t count, cold_count;
    uint32_t samples[CALLS], cold_samples[CALLS];
};

static uint64_t slices(const struct meeting *meeting)
{
    return proc_slices(meeting->slices[0]) + proc_slices(meeting->slices[1]);
}

/* The first call after a while, and the next. */
static int call_twice(struct meeting *meeting, struct timed *timed)
{
    int r = call(meeting, &timed->cold_samples[timed->cold_count++]);
    uint64_t before = slices(meeting);
    if (r == 0)
        r = call(meeting, &timed->samples[timed->count]);
    if (slices(meeting) == before)
        timed->count++;
    return r;
}

static void put(struct study_round *round, const struct timed *timed)
{
    memcpy(round->samples_ns, timed->cold_samples, sizeof(timed->cold_samples));
    study_put_samples(round, timed->cold_row, CALLS);
    study_put(round, timed->out_row, CALLS - timed->count);
    if (timed->count == 0)
        return;
    memcpy(round->samples_ns, timed->samples, timed->count * sizeof(*timed->samples));
    study_put_samples(round, timed->row, timed->count);
}

/* In turns: the greedy one's calls wait; they are answered. */
static int time_flood(struct meeting *meeting)
{
    static struct timed flood, alone;
    uint64_t start = clock_now_ns();
    int r = 0;
    flood = (struct timed){.row = FLOOD, .cold_row = COLD_FLOOD, .out_row = OUT_FLOOD};
    alone = (struct timed){.row = ALONE, .cold_row = COLD_ALONE, .out_row = OUT_ALONE};
    while (r == 0 && flood.cold_count < CALLS) {
        take_turn(meeting);
        r = call_twice(meeting, &flood);
        be_answered(meeting);
        if (r == 0)
            r = call_twice(meeting, &alone);
    }
    if (r != 0)
        return r;
    double s = (double)(clock_now_ns() - start) / NS_PER_S;
    study_put(meeting->round, GREEDY_RATE, (double)meeting->answered / s);
    put(meeting->round, &flood);
    put(meeting->round, &alone);
    return 0;
}

static int time_close(struct meeting *meeting, size_t row)
{
    for (uint32_t i = 0; i < CLOSE_CALLS; i++) {
        int r = call(meeting, &meeting->round->samples_ns[i]);
        if (r != 0)
            return r;
    }
    study_put_samples(meeting->round, row, CLOSE_CALLS);
    return 0;
}

/* ---- A round ---- */

static int serve(const struct study_round *round, void *userdata)
{
    struct parley_endpoint *endpoint = NULL;
    struct parley_service *service = NULL;
    (void)userdata;
    enum parley_status status = parley_call_join(round->folder, "fair-service", 0, &endpoint);
    if (status == PARLEY_OK)
        status = parley_call_echo.serve(endpoint, &service);
    if (status == PARLEY_OK)
        status = parley_run(endpoint);
    fprintf(stderr, "service: %s\n", parley_error_text());
    return -1;
}

static int join(struct meeting *meeting, struct party *party, const char *name)
{
    const struct parley_client_options options = {.wait_ns = PATIENCE_NS,
                                                  .timeout_ns = PATIENCE_NS};
    if (parley_call_join(meeting->round->folder, name, 0, &party->endpoint) != PARLEY_OK ||
        parley_client_new(party->endpoint, parley_call_echo.interface, &options, &party->client) !=
            PARLEY_OK)
        return failed(meeting);
    return 0;
}

static int run(struct study_round *round)
{
    static struct meeting meeting;
    meeting = (struct meeting){.round = round};
    pid_t service = study_start(round, round->cpus[1], serve, NULL);
    meeting.slices[0] = proc_slices_open(getpid());
    meeting.slices[1] = proc_slices_open(service);
    int r = join(&meeting, &meeting.polite, "polite");
    if (r == 0)
        r = join(&meeting, &meeting.greedy, "greedy");
    if (r == 0)
        r = time_flood(&meeting);
    if (r == 0)
        r = time_close(&meeting, CLOSE);
    if (r == 0) {
        start_calls(&meeting, UNREAD); /* last, for nobody will read them */
        r = time_close(&meeting, CLOSE_UNREAD);
    }
    study_stop(service);
    return r; /* what waits for an answer goes with this process */
}

/* ---- The question ---- */

static const struct study_row rows[] = {
    [ALONE] = {.name = "alone", .about = "a call, when another's 2,000 are answered"},
    [FLOOD] = {.name = "flood", .about = "  while they wait"},
    [COLD_ALONE] = {.name = "cold-alone", .about = "the call before, its channel cold"},
    [COLD_FLOOD] = {.name = "cold-flood", .about = "  while they wait"},
    [CLOSE] = {.name = "close", .about = "calls without a pause, alone"},
    [CLOSE_UNREAD] = {.name = "unread", .about = "  while another reads nothing"},
    [OUT_ALONE] = {.name = "left-out-alone",
                   .about = "calls of 1,000 left out, alone",
                   STUDY_COUNT},
    [OUT_FLOOD] = {.name = "left-out-flood", .about = "  while they wait", STUDY_COUNT},
    [GREEDY_RATE] = {.name = "greedy", .about = "calls a second of the other", STUDY_COUNT},
};

static const struct study_goal goals[] = {
    {FLOOD, ALONE, true, 1.2, 0, "p99 beside a flood, against alone"},
    {FLOOD, ALONE, false, 0, 0, "  p50"},
    {COLD_FLOOD, COLD_ALONE, false, 0, 0, "  p50 where the channel is cold"},
    {CLOSE_UNREAD, CLOSE, true, 1.2, 0, "p99 beside one that reads nothing, against alone"},
    {CLOSE_UNREAD, CLOSE, false, 0, 0, "  p50"},
};

static const struct study study = {
    .name = "fairness",
    .question = "How much does a greedy client take from another?",
    .method = "Calls carry 64 bytes. Both clients are in one thread on the first core, the service"
              " is on the second;\nthe greedy one runs between timed calls, and its calls wait at"
              " the service while one is timed.",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
    .goals = goals,
    .goal_count = sizeof(goals) / sizeof(goals[0]),
    .rounds = 9,
    .seconds_max = 60,
    .run = run,
};

int main(int argc, char **argv)
{
    return study_main(argc, argv, &study);
}
