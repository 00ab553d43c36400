/*
 * What all peers have in common: two processes that find each other, and a loop with a clock.
 *
 * Every sample is one call. Without a pause a call begins where the one before it ended, and the
 * clock is read once between them. With one, the caller sleeps before each call, long enough that
 * the other side has gone to sleep, too, and the clock is read after that sleep: so waking the
 * caller up from its pause is not in the sample, waking the service and waking the caller with the
 * reply are.
 */
#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

static void rest(uint64_t ns)
{
    struct timespec time = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &time) == EINTR)
        continue;
}

int peer_time(struct bench_run *run, int (*call)(struct bench_run *run, void *data, uint32_t i),
              void *data)
{
    const uint64_t pause_ns = run->load.pause_ns;
    uint64_t last = clock_now_ns();
    for (uint32_t i = 0; i < run->sample_count; i++) {
        if (pause_ns) {
            rest(pause_ns);
            last = clock_now_ns();
        }
        if (call(run, data, i) != 0)
            return -1;
        uint64_t now = clock_now_ns();
        run->samples_ns[i] = bench_sample(last, now);
        last = now;
    }
    return 0;
}

void peer_ready(const struct peer_place *place)
{
    ssize_t written = write(place->ready[1], &place->port, sizeof(place->port));
    (void)written; /* the other side has a patience of its own */
}

static int await_ready(struct peer_place *place)
{
    struct pollfd waited = {.fd = place->ready[0], .events = POLLIN};
    int r;
    do
        r = poll(&waited, 1, PEER_TIMEOUT_MS);
    while (r < 0 && errno == EINTR);
    if (r != 1)
        return -1;
    return read(place->ready[0], &place->port, sizeof(place->port)) == sizeof(place->port) ? 0 : -1;
}

struct server {
    int (*serve)(const struct bench_run *, struct peer_place *);
    struct peer_place *place;
};

static int run_server(const struct bench_run *run, void *userdata)
{
    const struct server *server = userdata;
    close(server->place->ready[0]);
    return server->serve(run, server->place);
}

int peer_run(struct bench_run *run, int (*serve)(const struct bench_run *, struct peer_place *),
             int (*ask)(struct bench_run *, struct peer_place *), void *data)
{
    struct peer_place place = {.data = data};
    struct server server = {serve, &place};
    int length =
        snprintf(place.path, sizeof(place.path), "%s/%s-%d", run->folder, run->name, run->round);
    for (char *at = place.path + strlen(run->folder) + 1; *at; at++)
        *at = *at == '/' ? '-' : *at;
    if (length >= (int)sizeof(place.path) || pipe(place.ready) != 0)
        return error_set(run->error, -1, "no place to meet");
    pid_t pid = bench_peer_start(run, run_server, &server);
    if (pid < 0)
        return error_set(run->error, -1, "fork failed");
    close(place.ready[1]);
    int r = await_ready(&place) == 0 ? ask(run, &place)
                                     : error_set(run->error, -1, "the service did not come up");
    bench_peer_stop(pid);
    return r;
}
