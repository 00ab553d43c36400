/*
 * How much does a greedy client take from another?
 *
 * Both call the same service, which is on a core of its own. The polite client calls, waits and
 * calls; its calls are timed. The greedy one is an endpoint of its own in the same thread, on the
 * same core: where it runs, it could only take processor time from the polite one, which is the
 * scheduler's matter, and with two cores there is no third place for it. So it gets its turn
 * between two timed calls, outside of the clock: there it reads what has been answered and starts
 * new calls, until IN_FLIGHT wait. While a polite call is timed, the service has its hands full.
 *
 * The yardstick is the polite client alone, in the same thread, on the same cores, in slices that
 * alternate with those under load. What a greedy turn before each call costs by the caches alone is
 * shown beside it: the same turns, but everything answered before the clock starts.
 *
 * One that reads nothing starts calls until its ring and the service's are full, and is then not
 * run again.
 */
#include <stdio.h>
#include <string.h>

#include <parley/parley.h>

#include "base/clock.h"
#include "echo.parley.h"
#include "parley_call.h"
#include "study.h"

#define IN_FLIGHT 2000
#define UNREAD 10000
#define SLICES 8
#define SLICE_CALLS 2000
#define FLOOD_CALLS 300 /* of a slice: the other's turn before each takes milliseconds */
#define PACED_CALLS 50
#define PACE_NS (5 * NS_PER_MS)
#define WARM_UP 20
#define GREEDY_BYTES 62
#define PATIENCE_NS (20 * NS_PER_S)

enum { ALONE, TURNS, FLOOD, UNREAD_REPLIES, PACED_ALONE, PACED_FLOOD, GREEDY_RATE };

struct party {
    struct parley_endpoint *endpoint;
    struct parley_client *client;
};

struct meeting {
    struct study_round *round;
    struct party polite, greedy;
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

static void take_turn_and_be_answered(struct meeting *meeting)
{
    start_calls(meeting, 32); /* about what is answered between two calls of a flood */
    be_answered(meeting);
}

/* ---- The polite one ---- */

static int failed(struct meeting *meeting)
{
    return error_set(meeting->round->error, -1, "%s", parley_error_text());
}

static void pause_until(uint64_t at_ns)
{
    while (clock_now_ns() < at_ns)
        continue;
}

/* @greed: before each call; NULL: none. @pace_ns: between two calls; 0: none. */
static int time_calls(struct meeting *meeting, void (*greed)(struct meeting *), uint64_t pace_ns,
                      uint32_t *samples, uint32_t count)
{
    uint64_t due = clock_now_ns();
    for (uint32_t i = 0; i < WARM_UP + count; i++) {
        if (greed)
            greed(meeting);
        due += pace_ns;
        pause_until(pace_ns ? due : 0);
        uint64_t start = clock_now_ns();
        if (parley_call_echo.call(meeting->polite.client, i) != 0)
            return failed(meeting);
        if (i >= WARM_UP)
            samples[i - WARM_UP] = study_sample(start, clock_now_ns());
    }
    if (meeting->failed != PARLEY_OK)
        return error_set(meeting->round->error, -1, "a call of the greedy client ended as %s",
                         parley_status_name(meeting->failed));
    return 0;
}

struct kind {
    size_t row;
    void (*greed)(struct meeting *);
    uint64_t pace_ns;
    uint32_t calls;
};

static const struct kind kinds[] = {
    {ALONE, NULL, 0, SLICE_CALLS},
    {FLOOD, take_turn, 0, FLOOD_CALLS},
    {TURNS, take_turn_and_be_answered, 0, SLICE_CALLS},
    {PACED_ALONE, NULL, PACE_NS, PACED_CALLS},
    {PACED_FLOOD, take_turn, PACE_NS, PACED_CALLS},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static int time_slices(struct meeting *meeting)
{
    static uint32_t samples[KINDS][SLICES * SLICE_CALLS];
    uint64_t flooded_ns = 0, answered = 0;
    for (uint32_t slice = 0; slice < SLICES; slice++) {
        for (size_t i = 0; i < KINDS; i++) {
            const struct kind *kind = &kinds[i];
            uint64_t start = clock_now_ns(), before = meeting->answered;
            int r = time_calls(meeting, kind->greed, kind->pace_ns,
                               samples[i] + slice * kind->calls, kind->calls);
            if (r != 0)
                return r;
            if (kind->row == FLOOD) {
                flooded_ns += clock_now_ns() - start;
                answered += meeting->answered - before;
            }
            be_answered(meeting);
        }
    }
    for (size_t i = 0; i < KINDS; i++) {
        memcpy(meeting->round->samples_ns, samples[i], SLICES * kinds[i].calls * sizeof(**samples));
        study_put_samples(meeting->round, kinds[i].row, SLICES * kinds[i].calls);
    }
    study_put(meeting->round, GREEDY_RATE, (double)answered * NS_PER_S / (double)flooded_ns);
    return 0;
}

/* Last, for afterwards there are 10,000 calls that nobody reads. */
static int time_unread(struct meeting *meeting)
{
    start_calls(meeting, UNREAD);
    int r = time_calls(meeting, NULL, 0, meeting->round->samples_ns, SLICES * SLICE_CALLS);
    if (r == 0)
        study_put_samples(meeting->round, UNREAD_REPLIES, SLICES * SLICE_CALLS);
    return r;
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
    int r = join(&meeting, &meeting.polite, "polite");
    if (r == 0)
        r = join(&meeting, &meeting.greedy, "greedy");
    if (r == 0)
        r = time_slices(&meeting);
    if (r == 0)
        r = time_unread(&meeting);
    study_stop(service);
    return r; /* what waits for an answer goes with this process */
}

/* ---- The question ---- */

static const struct study_row rows[] = {
    [ALONE] = {.name = "alone", .about = "a call, alone"},
    [TURNS] = {.name = "turns", .about = "  after another's turn, which is answered"},
    [FLOOD] = {.name = "flood", .about = "  while 2,000 of another's wait"},
    [UNREAD_REPLIES] = {.name = "unread", .about = "  while another reads nothing"},
    [PACED_ALONE] = {.name = "paced-alone", .about = "a call every 5 ms, alone"},
    [PACED_FLOOD] = {.name = "paced-flood", .about = "  while 2,000 of another's wait"},
    [GREEDY_RATE] = {.name = "greedy", .about = "calls a second of the other", STUDY_COUNT},
};

static const struct study_goal goals[] = {
    {FLOOD, ALONE, true, 1.2, 0, "p99 beside a flood, against alone"},
    {FLOOD, TURNS, true, 0, 0, "  against the same turns, answered"},
    {FLOOD, ALONE, false, 0, 0, "  p50, against alone"},
    {UNREAD_REPLIES, ALONE, true, 1.2, 0, "p99 beside one that reads nothing, against alone"},
    {PACED_FLOOD, PACED_ALONE, true, 1.2, 0, "p99 beside a flood, one call every 5 ms"},
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
