/*
 * Do two sides that came to share a core part again?
 *
 * With default options and not pinned, both sides of a busy channel are best on a core each, where
 * they spin for each other. Where they share one nobody can spin: each sleeps while the other runs,
 * and to the scheduler two tasks that mostly sleep may be well where they are. Here both are held
 * on one core for a moment, as a busy machine may hold them, and let go; what then becomes of them
 * is counted in slices of ten milliseconds. Alone; beside a program that runs for one millisecond
 * in three; beside one that always runs, where to share the other core is right; and pinned to one
 * core for good, where whatever is done to part them is in vain.
 *
 * What everybody else used meanwhile is counted, too: the figures are of a machine that does
 * nothing else only if that is near 0, 33, 100 and 0.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <parley/parley.h>

#include "base/clock.h"
#include "cores.h"
#include "parley_call.h"
#include "study.h"
#include "wait/wait.h"

#define FREE_NS (300 * NS_PER_MS)
#define HELD_NS (150 * NS_PER_MS)
#define AFTER_NS (1200 * NS_PER_MS)
#define SLICE_NS (10 * NS_PER_MS)
#define BURST_NS NS_PER_MS
#define REST_US 2000
#define SLICE_TOGETHER_NS 3000 /* a call takes so long on average only if its sides sleep */

enum { BEFORE, HELD, AFTER, RATE, SHARE, CPU, OTHERS, ROWS_OF_A_CASE };
enum { ALONE, BESIDE, CROWDED, PINNED, CASES };
#define ROW(which, row) ((size_t)((which)*ROWS_OF_A_CASE + (row)))

static struct study_row rows[CASES * ROWS_OF_A_CASE];
static char texts[CASES * ROWS_OF_A_CASE][2][96];

static cpu_set_t anywhere; /* before the study pinned us */

struct pair {
    const struct study_round *round;
    struct parley_client *client;
    pid_t service;
    uint32_t calls;
    uint32_t samples; /* of the phase; the last ones are kept */
};

static enum parley_status join(const struct study_round *round, const char *side, int which,
                               struct parley_endpoint **ret_endpoint)
{
    char name[64];
    (void)snprintf(name, sizeof(name), "%s-%u-%d", side, round->number, which);
    return parley_call_join(round->folder, name, 0, ret_endpoint);
}

static int serve(const struct study_round *round, void *userdata)
{
    struct parley_endpoint *endpoint = NULL;
    struct parley_service *service = NULL;
    enum parley_status status = join(round, "service", *(const int *)userdata, &endpoint);
    if (status == PARLEY_OK)
        status = parley_call_echo.serve(endpoint, &service);
    if (status == PARLEY_OK)
        status = parley_run(endpoint);
    fprintf(stderr, "service: %s\n", parley_error_text());
    return -1;
}

static int burn(const struct study_round *round, void *userdata)
{
    const useconds_t rest_us = *(const useconds_t *)userdata;
    (void)round;
    for (volatile bool more = true; more;) {
        const uint64_t start = clock_now_ns();
        while (clock_now_ns() - start < BURST_NS)
            spin_pause();
        if (rest_us)
            (void)usleep(rest_us);
    }
    return 0;
}

static void allow(const struct pair *pair, const cpu_set_t *set)
{
    (void)sched_setaffinity(pair->service, sizeof(*set), set);
    (void)sched_setaffinity(0, sizeof(*set), set);
}

static void hold(const struct pair *pair)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(pair->round->cpus[0], &one);
    allow(pair, &one);
}

static uint64_t cpu_ns(const struct pair *pair)
{
    struct timespec ours = {0}, theirs = {0};
    clockid_t clock;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ours);
    if (clock_getcpuclockid(pair->service, &clock) == 0)
        (void)clock_gettime(clock, &theirs);
    return (uint64_t)(ours.tv_sec + theirs.tv_sec) * NS_PER_S +
           (uint64_t)(ours.tv_nsec + theirs.tv_nsec);
}

/* What everybody has used of the machine, in steps of a hundredth of a second. 0: not known. */
static uint64_t everybody_ns(void)
{
    unsigned long long user, nice, system, idle, waits, irq, soft;
    FILE *file = fopen("/proc/stat", "re");
    int n = file ? fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system,
                          &idle, &waits, &irq, &soft)
                 : 0;
    if (file)
        (void)fclose(file);
    return n == 7 ? (uint64_t)(user + nice + system + irq + soft) * (NS_PER_S / 100) : 0;
}

struct outcome {
    uint32_t together, slices; /* of the time */
};

static int make_calls(struct pair *pair, uint64_t for_ns, struct outcome *ret_outcome)
{
    const uint64_t start = clock_now_ns();
    uint64_t last = start, slice = start, calls = 0;
    *ret_outcome = (struct outcome){0};
    for (pair->samples = 0; last - start < for_ns; pair->samples++) {
        if (parley_call_echo.call(pair->client, pair->calls++) != 0)
            return error_set(pair->round->error, -1, "a call failed: %s", parley_error_text());
        uint64_t now = clock_now_ns();
        pair->round->samples_ns[pair->samples % STUDY_SAMPLE_MAX] = study_sample(last, now);
        last = now;
        calls++;
        if (now - slice < SLICE_NS)
            continue;
        ret_outcome->slices++;
        if ((now - slice) / calls > SLICE_TOGETHER_NS)
            ret_outcome->together++;
        slice = now;
        calls = 0;
    }
    return 0;
}

static int run_phase(struct study_round *round, struct pair *pair, size_t row, uint64_t for_ns,
                     struct outcome *ret_outcome)
{
    int r = make_calls(pair, for_ns, ret_outcome);
    if (r == 0)
        study_put_samples(round, row,
                          pair->samples < STUDY_SAMPLE_MAX ? pair->samples : STUDY_SAMPLE_MAX);
    return r;
}

static int run_pair(struct study_round *round, struct pair *pair, int which)
{
    struct outcome outcome;
    int r = run_phase(round, pair, ROW(which, BEFORE), FREE_NS, &outcome);
    hold(pair);
    if (r == 0)
        r = run_phase(round, pair, ROW(which, HELD), HELD_NS, &outcome);
    if (which != PINNED)
        allow(pair, &anywhere);
    const uint64_t start = clock_now_ns(), cpu = cpu_ns(pair), everybody = everybody_ns();
    if (r == 0)
        r = run_phase(round, pair, ROW(which, AFTER), AFTER_NS, &outcome);
    if (r != 0)
        return r;
    const double took = (double)(clock_now_ns() - start), used = (double)(cpu_ns(pair) - cpu);
    study_put(round, ROW(which, RATE), pair->samples / took * (double)NS_PER_S / 1000);
    study_put(round, ROW(which, SHARE), 100.0 * outcome.together / outcome.slices);
    study_put(round, ROW(which, CPU), 100 * used / took);
    study_put(round, ROW(which, OTHERS),
              100 * ((double)(everybody_ns() - everybody) - used) / took);
    return 0;
}

static int run_case(struct study_round *round, int which)
{
    const struct parley_client_options options = {.wait_ns = 5 * NS_PER_S};
    struct pair pair = {.round = round};
    struct parley_endpoint *endpoint = NULL;
    (void)sched_setaffinity(0, sizeof(anywhere), &anywhere);
    useconds_t rest_us = which == BESIDE ? REST_US : 0;
    pid_t other = which == BESIDE || which == CROWDED ? study_start(round, -1, burn, &rest_us) : 0;
    pair.service = study_start(round, -1, serve, &which);
    enum parley_status status = join(round, "client", which, &endpoint);
    if (status == PARLEY_OK)
        status = parley_client_new(endpoint, parley_call_echo.interface, &options, &pair.client);
    int r = status == PARLEY_OK ? run_pair(round, &pair, which)
                                : error_set(round->error, -1, "%s", parley_error_text());
    parley_client_free(pair.client);
    parley_endpoint_free(endpoint);
    study_stop(pair.service);
    study_stop(other);
    return r;
}

static int run(struct study_round *round)
{
    int r = 0;
    for (int which = 0; r == 0 && which < CASES; which++)
        r = run_case(round, which);
    return r;
}

static void add_rows(int which, const char *name, const char *about)
{
    static const struct {
        const char *name, *about;
        enum study_unit unit;
    } kinds[ROWS_OF_A_CASE] = {
        [BEFORE] = {"before", "a call before", STUDY_NS},
        [HELD] = {"held", "a call while held on one core", STUDY_NS},
        [AFTER] = {"after", "a call after", STUDY_NS},
        [RATE] = {"rate", "1,000 calls a second after", STUDY_COUNT},
        [SHARE] = {"share", "of that time together, %", STUDY_COUNT},
        [CPU] = {"cpu", "CPU of both after, %", STUDY_COUNT},
        [OTHERS] = {"others", "CPU of all others, %", STUDY_COUNT},
    };
    for (size_t i = 0; i < ROWS_OF_A_CASE; i++) {
        char(*text)[96] = texts[ROW(which, i)];
        (void)snprintf(text[0], sizeof(text[0]), "%s/%s", name, kinds[i].name);
        (void)snprintf(text[1], sizeof(text[1]), "%s: %s", about, kinds[i].about);
        rows[ROW(which, i)] =
            (struct study_row){.name = text[0], .about = text[1], .unit = kinds[i].unit};
    }
}

int main(int argc, char **argv)
{
    static const struct study_goal goals[] = {
        {ROW(ALONE, SHARE), STUDY_ALONE, false, 10, 0, "Alone: of the time together, %"},
        {ROW(BESIDE, SHARE), STUDY_ALONE, false, 34, 0, "Beside a third: together, %"},
    };
    static const struct study study = {
        .name = "together",
        .question = "Do two sides that came to share a core part again?",
        .method = "64 bytes, echoed, default options; let go after 150 ms on one core.",
        .rows = rows,
        .row_count = CASES * ROWS_OF_A_CASE,
        .goals = goals,
        .goal_count = sizeof(goals) / sizeof(goals[0]),
        .rounds = 5,
        .seconds_max = 30,
        .run = run,
    };
    (void)sched_getaffinity(0, sizeof(anywhere), &anywhere);
    add_rows(ALONE, "alone", "alone");
    add_rows(BESIDE, "beside", "beside a third");
    add_rows(CROWDED, "crowded", "beside a whole");
    add_rows(PINNED, "pinned", "pinned to one core");
    return study_main(argc, argv, &study);
}
