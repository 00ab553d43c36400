/*
 * How does a call depend on how many instances there are behind a client?
 *
 * A round: for each number of instances a service that publishes so many, all on one endpoint, and
 * a client that is attached to all of them and calls one at a time. First with one instance, then
 * with more and more, and back again; a row is of both its turns, so that what changes with time
 * is alike for all. Who has several instances draws two for each call and takes the less busy; the
 * service has as many rings to look at as there are instances.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <parley/parley.h>

#include "base/clock.h"
#include "parley_call.h"
#include "study.h"

#define CALLS 10000 /* of a turn */
#define WARM_UP 20000 /* so that all of 64 rings has been touched */
#define PATIENCE_NS (20 * NS_PER_S)

static const uint32_t counts[] = {1, 2, 8, 64};
enum { ONE, TWO, EIGHT, SIXTY_FOUR, ROWS };

/* The broker may not have seen yet that the service before has ended, and count its instances. */
static enum parley_status publish(struct parley_endpoint *endpoint)
{
    const struct timespec nap = {.tv_nsec = 10 * NS_PER_MS};
    struct parley_service *service = NULL;
    enum parley_status status;
    const uint64_t until = clock_now_ns() + PATIENCE_NS;
    while ((status = parley_call_echo.serve(endpoint, &service)) == PARLEY_RESOURCE_EXHAUSTED &&
           clock_now_ns() < until)
        (void)nanosleep(&nap, NULL);
    return status;
}

static int serve(const struct study_round *round, void *userdata)
{
    const uint32_t *instances = userdata;
    struct parley_endpoint *endpoint = NULL;
    enum parley_status status = parley_call_join(round->folder, "instances", 0, &endpoint);
    for (uint32_t i = 0; status == PARLEY_OK && i < *instances; i++)
        status = publish(endpoint);
    if (status == PARLEY_OK)
        status = parley_run(endpoint);
    fprintf(stderr, "service: %s\n", parley_error_text());
    return -1;
}

static int failed(struct study_round *round)
{
    return error_set(round->error, -1, "%s", parley_error_text());
}

/* The broker may still list instances of the service before: to be attached to so many is to be
 * attached to the new ones, for those that have ended hang up. */
static int await_instances(struct study_round *round, struct parley_endpoint *endpoint,
                           struct parley_client *client, uint32_t instances)
{
    const uint64_t until = clock_now_ns() + PATIENCE_NS;
    while (parley_client_channel_count(client) != instances) {
        if (parley_dispatch(endpoint, 10 * NS_PER_MS) != PARLEY_OK)
            return failed(round);
        if (clock_now_ns() > until)
            return error_set(round->error, -1, "not all %u instances were attached", instances);
    }
    return 0;
}

static int time_calls(struct study_round *round, struct parley_client *client, uint32_t *samples)
{
    for (uint32_t i = 0; i < WARM_UP; i++)
        if (parley_call_echo.call(client, i) != 0)
            return failed(round);
    uint64_t last = clock_now_ns();
    for (uint32_t i = 0; i < CALLS; i++) {
        if (parley_call_echo.call(client, i) != 0)
            return failed(round);
        uint64_t now = clock_now_ns();
        samples[i] = study_sample(last, now);
        last = now;
    }
    return 0;
}

static int turn(struct study_round *round, uint32_t instances, uint32_t *samples)
{
    const struct parley_client_options options = {.wait_ns = PATIENCE_NS};
    struct parley_endpoint *endpoint = NULL;
    struct parley_client *client = NULL;
    pid_t service = study_start(round, round->cpus[1], serve, &instances);
    int r = 0;
    if (parley_call_join(round->folder, "instances-client", 0, &endpoint) != PARLEY_OK ||
        parley_client_new(endpoint, parley_call_echo.interface, &options, &client) != PARLEY_OK)
        r = failed(round);
    if (r == 0)
        r = await_instances(round, endpoint, client, instances);
    if (r == 0)
        r = time_calls(round, client, samples);
    parley_endpoint_free(endpoint);
    study_stop(service);
    return r;
}

static int run(struct study_round *round)
{
    static uint32_t samples[ROWS][2 * CALLS];
    int r = 0;
    for (int i = 0; r == 0 && i < ROWS; i++)
        r = turn(round, counts[i], samples[i]);
    for (int i = ROWS - 1; r == 0 && i >= 0; i--)
        r = turn(round, counts[i], samples[i] + CALLS);
    for (int i = 0; r == 0 && i < ROWS; i++) {
        memcpy(round->samples_ns, samples[i], sizeof(samples[i]));
        study_put_samples(round, (size_t)i, 2 * CALLS);
    }
    return r;
}

/* ---- The question ---- */

#define ROW(count) "\"clients\":1,\"instances\":" #count
static const struct study_row rows[ROWS] = {
    [ONE] = {.name = "one", .about = "a call to the only instance", .json = ROW(1)},
    [TWO] = {.name = "two", .about = "a call to one of two", .json = ROW(2)},
    [EIGHT] = {.name = "eight", .about = "a call to one of eight", .json = ROW(8)},
    [SIXTY_FOUR] = {.name = "64", .about = "a call to one of 64", .json = ROW(64)},
};

static const struct study_goal goals[] = {
    {TWO, ONE, false, 1.5, 0, "A call to one of two instances, against the only one"},
    {EIGHT, ONE, false, 1.5, 0, "One of eight, against the only one"},
    {SIXTY_FOUR, ONE, false, 1.5, 0, "One of 64, against the only one"},
};

static const struct study study = {
    .name = "instances",
    .question = "How does a call depend on how many instances there are behind a client?",
    .method = "Calls carry 64 bytes, one at a time; the client is on the first core, all instances"
              " on one endpoint\non the second.",
    .rows = rows,
    .row_count = ROWS,
    .goals = goals,
    .goal_count = sizeof(goals) / sizeof(goals[0]),
    .rounds = 5,
    .seconds_max = 60,
    .run = run,
};

int main(int argc, char **argv)
{
    return study_main(argc, argv, &study);
}
