/*
 * How much does a greedy client take from another?
 *
 * Both call the same service, which is on a core of its own. The polite client's calls are timed.
 * The greedy one is an endpoint of its own in the same thread, on the same core: where it runs, it
 * could only take processor time from the polite one, which is the scheduler's matter, and with two
 * cores there is no third place for it.
 *
 * So that the service really has its hands full when the polite call comes, a call of the polite
 * client before it keeps the handler busy, for HOLD_NS. Meanwhile the greedy one starts IN_FLIGHT
 * calls: its ring is full, the others wait behind. When the handler is done, the polite client
 * calls a few times, and then once more, which is timed. The yardstick is the same without the
 * greedy calls, taken in turns with it, one by one: so both find the same service, on its core, and
 * the same caches, and the same time has passed since the call before. On a machine that is shared,
 * a core is taken away for milliseconds now and then; a call during which the scheduler did that to
 * either side is left out, and counted, for it says nothing. So is one whose handler was done
 * before all was started.
 *
 * Calls without anything between them are timed, too: alone, and beside a client that reads
 * nothing. That one starts calls until its ring and the service's are full, and is then not run
 * again.
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
#include "wait/wait.h"

#define IN_FLIGHT 2000
#define HOLD_NS NS_PER_MS /* starting so many calls takes about 0.6 ms */
#define HOLD_BYTES 1      /* of the message that asks for it */
#define WARM 1            /* calls behind it: some of the 127 in the ring go meanwhile */
#define UNREAD 10000
#define CALLS 200
#define CLOSE_CALLS 10000
#define GREEDY_BYTES 62
#define PATIENCE_NS (20 * NS_PER_S)

enum { ALONE, FLOOD, CLOSE, CLOSE_UNREAD, OUT_ALONE, OUT_FLOOD };

struct party {
    struct parley_endpoint *endpoint;
    struct parley_client *client;
};

struct meeting {
    struct study_round *round;
    struct party polite, greedy;
    int slices[2]; /* of this process; of the service */
    uint32_t in_flight;
    bool held; /* the handler is done */
    enum parley_status failed;
};

/* ---- The greedy client ---- */

static void on_reply(const Bench__V1__EchoMessage *reply, void *data)
{
    struct meeting *meeting = data;
    meeting->in_flight--;
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

static void on_held(const Bench__V1__EchoMessage *reply, void *data)
{
    struct meeting *meeting = data;
    meeting->held = true;
    if (!reply)
        meeting->failed = parley_call_current()->status;
}

static void hold(struct meeting *meeting)
{
    static uint8_t content[HOLD_BYTES];
    Bench__V1__EchoMessage request = BENCH__V1__ECHO_MESSAGE__INIT;
    request.payload = (ProtobufCBinaryData){.len = sizeof(content), .data = content};
    meeting->held = false;
    bench__v1__echo__echo(parley_client_service(meeting->polite.client), &request, on_held,
                          meeting);
}

struct timed {
    size_t row, out_row;
    uint32_t count, out;
    uint32_t samples[CALLS];
};

static uint64_t slices(const struct meeting *meeting)
{
    return proc_slices(meeting->slices[0]) + proc_slices(meeting->slices[1]);
}

/* A call right after the handler was held, with so many of the greedy one's waiting. */
static int call_after_hold(struct meeting *meeting, uint32_t greedy, struct timed *timed)
{
    hold(meeting);
    start_calls(meeting, greedy);
    (void)parley_dispatch(meeting->polite.endpoint, 0);
    bool in_time = !meeting->held;
    while (!meeting->held)
        (void)parley_dispatch(meeting->polite.endpoint, 0);
    int r = 0;
    for (int i = 0; i < WARM && r == 0; i++)
        r = call(meeting, &timed->samples[timed->count]);
    uint64_t before = slices(meeting);
    if (r == 0)
        r = call(meeting, &timed->samples[timed->count]);
    if (in_time && slices(meeting) == before)
        timed->count++;
    else
        timed->out++;
    be_answered(meeting);
    return r;
}

static void put(struct study_round *round, const struct timed *timed)
{
    study_put(round, timed->out_row, timed->out);
    if (timed->count == 0)
        return;
    memcpy(round->samples_ns, timed->samples, timed->count * sizeof(*timed->samples));
    study_put_samples(round, timed->row, timed->count);
}

static int time_flood(struct meeting *meeting)
{
    static struct timed flood, alone;
    flood = (struct timed){.row = FLOOD, .out_row = OUT_FLOOD};
    alone = (struct timed){.row = ALONE, .out_row = OUT_ALONE};
    for (uint32_t i = 0; i < CALLS; i++) {
        int r = call_after_hold(meeting, IN_FLIGHT, &flood);
        if (r == 0)
            r = call_after_hold(meeting, 0, &alone);
        if (r != 0)
            return r;
    }
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

static void answer_echo(Bench__V1__Echo_Service *service, const Bench__V1__EchoMessage *request,
                        Bench__V1__EchoMessage_Closure closure, void *closure_data)
{
    (void)service;
    uint64_t until = clock_now_ns() + HOLD_NS;
    while (request->payload.len == HOLD_BYTES && clock_now_ns() < until)
        spin_pause();
    closure(request, closure_data);
}

static int serve(const struct study_round *round, void *userdata)
{
    static Bench__V1__Echo_Service implementation = BENCH__V1__ECHO__INIT(answer_);
    struct parley_endpoint *endpoint = NULL;
    struct parley_service *service = NULL;
    (void)userdata;
    enum parley_status status =
        parley_call_join(round->folder, "fair-service", PARLEY_FOREVER, &endpoint);
    if (status == PARLEY_OK)
        status = bench__v1__echo__serve(endpoint, &implementation, NULL, &service);
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
    [ALONE] = {.name = "alone", .about = "a call, alone"},
    [FLOOD] = {.name = "flood", .about = "  while 2,000 of another's wait"},
    [CLOSE] = {.name = "close", .about = "calls without a pause, alone"},
    [CLOSE_UNREAD] = {.name = "unread", .about = "  while another reads nothing"},
    [OUT_ALONE] = {.name = "left-out-alone", .about = "calls of 200 left out, alone", STUDY_COUNT},
    [OUT_FLOOD] = {.name = "left-out-flood",
                   .about = "  while 2,000 of another's wait",
                   STUDY_COUNT},
};

static const struct study_goal goals[] = {
    {FLOOD, ALONE, true, 1.2, 0, "p99 beside a flood, against alone"},
    {FLOOD, ALONE, false, 0, 0, "  p50"},
    {CLOSE_UNREAD, CLOSE, true, 1.2, 0, "p99 beside one that reads nothing, against alone"},
    {CLOSE_UNREAD, CLOSE, false, 0, 0, "  p50"},
};

static const struct study study = {
    .name = "fairness",
    .question = "How much does a greedy client take from another?",
    .method = "Calls carry 64 bytes. Both clients are in one thread on the first core, the service"
              " is on the second.\nBefore each timed call a handler is kept busy while the greedy"
              " client fills its ring.",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
    .goals = goals,
    .goal_count = sizeof(goals) / sizeof(goals[0]),
    .rounds = 9,
    .seconds_max = 120,
    .run = run,
};

int main(int argc, char **argv)
{
    return study_main(argc, argv, &study);
}
