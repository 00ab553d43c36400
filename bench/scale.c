/*
 * What do many clients cost the few that are busy?
 *
 * A round: a service, one client, then ten, calling in turns; then a crowd of clients that are
 * connected and idle joins, the same calls again, the crowd leaves, and the same once more. What
 * the busy ones took before and after is their yardstick. Each client is an endpoint of its own,
 * 248 of the crowd in a process. While nobody calls, the sleeps of all of them are counted.
 *
 * A service that sleeps makes its channels cold. So there is another round of calls, to a service
 * that never sleeps: 250 clients call in turns, and then one of them goes on alone. A channel that
 * was hot once must not stay so.
 *
 * Memory is counted where it is: pages of shared memory by /proc/PID/smaps, in a process that maps
 * both sides of its channels; what is private by the growth of RssAnon, in a process whose clients
 * are all on one endpoint, and in the service.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <parley/parley.h>

#include "base/clock.h"
#include "crowd.h"
#include "parley_call.h"
#include "proc.h"
#include "study.h"

#define BUSY 10
#define CROWD 990
#define CROWD_PROCESSES 4
#define CROWD_EACH ((CROWD + CROWD_PROCESSES - 1) / CROWD_PROCESSES)
#define STIRRED 250
#define MEMORY_CLIENTS 500
#define CALLS 10000 /* of a row; of those that are their yardstick, half before, half after */
#define WARM_UP 2000
#define OPENS 100
#define FLOOR_TRIPS 2000
#define IDLE_S 2
#define PATIENCE_NS (20 * NS_PER_S)

enum {
    SOCKET_APART,
    SOCKET_TOGETHER,
    OPEN_ALONE,
    OPEN_CROWD,
    ONE,
    ONE_CROWD,
    ONE_STIRRED,
    TEN,
    TEN_CROWD,
    BYTES_SHARED,
    BYTES_CLIENT,
    BYTES_SERVICE,
    BYTES_CHANNEL,
    BYTES_ENDPOINT,
    SLEEPS_SERVICE,
    SLEEPS_CLIENTS,
};

/* ---- A socket's round trip ---- */

static int echo_packets(const struct study_round *round, void *userdata)
{
    char packet[64];
    const int fd = *(const int *)userdata;
    (void)round;
    while (read(fd, packet, sizeof(packet)) == sizeof(packet)) {
        if (write(fd, packet, sizeof(packet)) != sizeof(packet))
            return -1;
    }
    return 0;
}

static int time_socket(struct study_round *round, size_t row, int cpu)
{
    int pair[2];
    char packet[64] = "";
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set(round->error, -1, "socketpair: %s", strerror(errno));
    pid_t pid = study_start(round, cpu, echo_packets, &pair[1]);
    uint64_t last = clock_now_ns();
    for (uint32_t i = 0; i < FLOOR_TRIPS; i++) {
        if (write(pair[0], packet, sizeof(packet)) != sizeof(packet) ||
            read(pair[0], packet, sizeof(packet)) != sizeof(packet))
            return error_set(round->error, -1, "a socket's echo failed");
        uint64_t now = clock_now_ns();
        round->samples_ns[i] = study_sample(last, now);
        last = now;
    }
    study_put_samples(round, row, FLOOR_TRIPS);
    study_stop(pid);
    close(pair[0]);
    close(pair[1]);
    return 0;
}

/* ---- The service ---- */

static int serve(const struct study_round *round, void *userdata)
{
    const uint64_t *spin_ns_max = userdata;
    struct parley_endpoint *endpoint = NULL;
    struct parley_service *service = NULL;
    enum parley_status status =
        parley_call_join(round->folder, "scale-service", *spin_ns_max, &endpoint);
    if (status == PARLEY_OK)
        status = parley_call_echo.serve(endpoint, &service);
    if (status == PARLEY_OK)
        status = parley_run(endpoint);
    fprintf(stderr, "service: %s\n", parley_error_text());
    return -1;
}

/* ---- The busy clients ---- */

struct busy {
    struct parley_endpoint *endpoints[STIRRED];
    struct parley_client *clients[STIRRED];
    uint32_t count;
    uint32_t half[2][CALLS / 2]; /* one, ten: what they took before the crowd */
};

static int failed(struct study_round *round)
{
    return error_set(round->error, -1, "%s", parley_error_text());
}

static int open_client(struct study_round *round, struct busy *busy)
{
    const struct parley_client_options options = {.wait_ns = PATIENCE_NS};
    uint32_t i = busy->count;
    if (parley_call_join(round->folder, "busy", 0, &busy->endpoints[i]) != PARLEY_OK ||
        parley_client_new(busy->endpoints[i], parley_call_echo.interface, &options,
                          &busy->clients[i]) != PARLEY_OK)
        return failed(round);
    busy->count++;
    return 0;
}

/* In turns, one call at a time: @clients of them. */
static int time_calls(struct study_round *round, struct busy *busy, uint32_t clients,
                      uint32_t *samples, uint32_t count)
{
    for (uint32_t i = 0; i < WARM_UP; i++) {
        if (parley_call_echo.call(busy->clients[i % clients], i) != 0)
            return failed(round);
    }
    uint64_t last = clock_now_ns();
    for (uint32_t i = 0; i < count; i++) {
        if (parley_call_echo.call(busy->clients[i % clients], i) != 0)
            return failed(round);
        uint64_t now = clock_now_ns();
        samples[i] = study_sample(last, now);
        last = now;
    }
    return 0;
}

static int time_row(struct study_round *round, struct busy *busy, uint32_t clients, size_t row)
{
    int r = time_calls(round, busy, clients, round->samples_ns, CALLS);
    if (r == 0)
        study_put_samples(round, row, CALLS);
    return r;
}

static int time_before(struct study_round *round, struct busy *busy)
{
    int r = time_calls(round, busy, 1, busy->half[0], CALLS / 2);
    while (r == 0 && busy->count < BUSY)
        r = open_client(round, busy);
    return r == 0 ? time_calls(round, busy, BUSY, busy->half[1], CALLS / 2) : r;
}

static int time_after(struct study_round *round, struct busy *busy)
{
    static const uint32_t clients[] = {1, BUSY};
    static const size_t rows[] = {ONE, TEN};
    for (int i = 0; i < 2; i++) {
        int r = time_calls(round, busy, clients[i], round->samples_ns, CALLS / 2);
        if (r != 0)
            return r;
        memcpy(round->samples_ns + CALLS / 2, busy->half[i], sizeof(busy->half[i]));
        study_put_samples(round, rows[i], CALLS);
    }
    return 0;
}

/* Clients on an endpoint that is there, negotiated and attached, one after the other. */
static int time_opens(struct study_round *round, struct busy *busy, size_t row)
{
    const struct parley_client_options options = {.wait_ns = PATIENCE_NS};
    for (uint32_t i = 0; i < OPENS; i++) {
        struct parley_client *client;
        uint64_t start = clock_now_ns();
        if (parley_client_new(busy->endpoints[0], parley_call_echo.interface, &options, &client) !=
            PARLEY_OK)
            return failed(round);
        round->samples_ns[i] = study_sample(start, clock_now_ns());
        parley_client_free(client);
    }
    study_put_samples(round, row, OPENS);
    return 0;
}

/* ---- The crowd ---- */

struct crowds {
    struct crowd all[CROWD_PROCESSES];
    uint32_t count;
};

static int gather(struct study_round *round, struct crowds *crowds)
{
    struct crowd_report report = {0};
    for (uint32_t left = CROWD; left > 0; crowds->count++) {
        uint32_t here = left < CROWD_EACH ? left : CROWD_EACH;
        int r = crowd_start(round, here, 1, &crowds->all[crowds->count], &report);
        if (r != 0)
            return r;
        left -= here;
    }
    double grown = report.private_bytes - report.private_first;
    study_put(round, BYTES_ENDPOINT, grown / (CROWD_EACH - 1));
    return 0;
}

static void close_clients(struct busy *busy, uint32_t left)
{
    while (busy->count > left)
        parley_endpoint_free(busy->endpoints[--busy->count]);
}

static void disperse(struct crowds *crowds)
{
    while (crowds->count > 0)
        crowd_stop(&crowds->all[--crowds->count]);
}

/* ---- Idling ---- */

static double sleeps_of(const struct crowds *crowds)
{
    double sum = 0;
    for (uint32_t i = 0; i < crowds->count; i++)
        sum += proc_sleeps(crowds->all[i].pid);
    return sum;
}

/* Until it has gone to sleep and stayed there for a while. */
static void await_quiet(pid_t pid)
{
    double before = -1, now = proc_sleeps(pid);
    for (int i = 0; i < 100 && now != before; i++) {
        (void)poll(NULL, 0, 100);
        before = now;
        now = proc_sleeps(pid);
    }
}

static void count_sleeps(struct study_round *round, pid_t service, const struct crowds *crowds)
{
    await_quiet(service);
    double service_before = proc_sleeps(service), crowd_before = sleeps_of(crowds);
    const struct timespec idle = {.tv_sec = round->minutes ? round->minutes * 60 : IDLE_S};
    (void)nanosleep(&idle, NULL);
    study_put(round, SLEEPS_SERVICE, proc_sleeps(service) - service_before);
    study_put(round, SLEEPS_CLIENTS, sleeps_of(crowds) - crowd_before);
}

/* ---- Memory ---- */

static int count_memory(struct study_round *round, pid_t service)
{
    struct crowd crowd;
    struct crowd_report report;
    double before = proc_private_bytes(service);
    int r = crowd_start(round, MEMORY_CLIENTS, MEMORY_CLIENTS, &crowd, &report);
    if (r != 0)
        return r;
    double shared = proc_memfd_bytes(crowd.pid, "parley-channel") / MEMORY_CLIENTS;
    double client = (report.private_bytes - report.private_first) / (MEMORY_CLIENTS - 1);
    double serving = (proc_private_bytes(service) - before) / MEMORY_CLIENTS;
    crowd_stop(&crowd);
    study_put(round, BYTES_SHARED, shared);
    study_put(round, BYTES_CLIENT, client);
    study_put(round, BYTES_SERVICE, serving);
    study_put(round, BYTES_CHANNEL, shared + client + serving);
    return 0;
}

/* ---- A round ---- */

static int with_crowd(struct study_round *round, pid_t service, struct busy *busy)
{
    struct crowds crowds = {.count = 0};
    int r = gather(round, &crowds);
    if (r == 0)
        r = time_row(round, busy, 1, ONE_CROWD);
    if (r == 0)
        r = time_row(round, busy, BUSY, TEN_CROWD);
    if (r == 0)
        r = time_opens(round, busy, OPEN_CROWD);
    if (r == 0)
        count_sleeps(round, service, &crowds);
    disperse(&crowds);
    return r;
}

static int with_one_instance(struct study_round *round, struct busy *busy)
{
    uint64_t spin_ns_max = 0;
    pid_t service = study_start(round, round->cpus[1], serve, &spin_ns_max);
    int r = count_memory(round, service); /* of a heap that nobody has used before */
    if (r == 0)
        r = open_client(round, busy);
    if (r == 0)
        r = time_opens(round, busy, OPEN_ALONE);
    if (r == 0)
        r = time_before(round, busy);
    if (r == 0)
        r = with_crowd(round, service, busy);
    if (r == 0)
        r = time_after(round, busy);
    close_clients(busy, 0);
    study_stop(service);
    return r;
}

static int with_sleepless(struct study_round *round, struct busy *busy)
{
    uint64_t spin_ns_max = PARLEY_FOREVER;
    pid_t service = study_start(round, round->cpus[1], serve, &spin_ns_max);
    int r = 0;
    *busy = (struct busy){.count = 0};
    while (r == 0 && busy->count < STIRRED)
        r = open_client(round, busy);
    if (r == 0)
        r = time_calls(round, busy, STIRRED, round->samples_ns, STIRRED);
    if (r == 0)
        r = time_row(round, busy, 1, ONE_STIRRED);
    close_clients(busy, 0);
    study_stop(service);
    return r;
}

static int run(struct study_round *round)
{
    static struct busy busy;
    int r = time_socket(round, SOCKET_APART, round->cpus[1]);
    if (r == 0)
        r = time_socket(round, SOCKET_TOGETHER, round->cpus[0]);
    if (r == 0)
        r = with_one_instance(round, &busy);
    return r == 0 ? with_sleepless(round, &busy) : r;
}

/* ---- The question ---- */

static const struct study_row rows[] = {
    [SOCKET_APART] = {.name = "socket-apart", .about = "unix socket, there and back, a core each"},
    [SOCKET_TOGETHER] = {.name = "socket-together",
                         .about = "unix socket, there and back, on one core"},
    [OPEN_ALONE] = {.name = "open", .about = "opening a client", .json = "\"clients\":1"},
    [OPEN_CROWD] = {.name = "open-of-1000",
                    .about = "opening a client where 1,000 are connected",
                    .json = "\"clients\":1000"},
    [ONE] = {.name = "one",
             .about = "a call, nobody else is connected",
             .json = "\"clients\":1,\"calling\":1"},
    [ONE_CROWD] = {.name = "one-of-1000",
                   .about = "a call, 1,000 are connected",
                   .json = "\"clients\":1000,\"calling\":1"},
    [ONE_STIRRED] = {.name = "one-of-250-stirred",
                     .about = "a call, 250 have called, none sleeps",
                     .json = "\"clients\":250,\"calling\":1"},
    [TEN] = {.name = "ten",
             .about = "ten call in turns, nobody else is connected",
             .json = "\"clients\":10,\"calling\":10"},
    [TEN_CROWD] = {.name = "ten-of-1000",
                   .about = "ten call in turns, 1,000 are connected",
                   .json = "\"clients\":1000,\"calling\":10"},
    [BYTES_SHARED] = {.name = "shared", .about = "an idle channel: shared memory", STUDY_BYTES},
    [BYTES_CLIENT] = {.name = "client", .about = "  private to its client", STUDY_BYTES},
    [BYTES_SERVICE] = {.name = "service", .about = "  private to its service", STUDY_BYTES},
    [BYTES_CHANNEL] = {.name = "channel", .about = "  together", STUDY_BYTES},
    [BYTES_ENDPOINT] = {.name = "endpoint",
                        .about = "an endpoint with one client: private",
                        STUDY_BYTES},
    [SLEEPS_SERVICE] = {.name = "sleeps-service",
                        .about = "sleeps of the idle service (wake-ups)",
                        STUDY_COUNT},
    [SLEEPS_CLIENTS] = {.name = "sleeps-clients",
                        .about = "sleeps of 990 idle clients",
                        STUDY_COUNT},
};

static const struct study_goal goals[] = {
    {ONE_CROWD, ONE, false, 1.5, 0, "A call among 1,000 clients, against one among one"},
    {ONE_STIRRED, ONE, false, 1.5, 0, "A call after 250 called in turns, against one among one"},
    {TEN_CROWD, TEN, false, 1.5, 0, "Ten that call in turns among 1,000, against ten among ten"},
    {TEN_CROWD, ONE, false, 1.5, 0, "The same against one among one"},
    {OPEN_ALONE, SOCKET_APART, false, 30, 0, "Opening a client, in round trips of a socket, apart"},
    {OPEN_CROWD, SOCKET_APART, false, 30, 0, "The same where 1,000 are connected"},
    {OPEN_ALONE, SOCKET_TOGETHER, false, 0, 0, "Opening a client, in round trips on one core"},
    {BYTES_CHANNEL, STUDY_ALONE, false, 65536, 0, "Memory of an idle channel, both sides"},
    {SLEEPS_SERVICE, STUDY_ALONE, false, 0.5, 0, "Wake-ups of an idle service"},
    {SLEEPS_CLIENTS, STUDY_ALONE, false, 0.5, 0, "Wake-ups of 990 idle clients"},
};

static const struct study study = {
    .name = "scale",
    .question = "What do many clients cost the few that are busy?",
    .method = "Calls carry 64 bytes; clients are on the first core, service and idle clients on the"
              " second. Before and\nafter the idle ones the yardsticks are measured, half and"
              " half. Private memory is resident pages.",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
    .goals = goals,
    .goal_count = sizeof(goals) / sizeof(goals[0]),
    .rounds = 5,
    .seconds_max = 180,
    .minutes_about = "how long all idle while wake-ups are counted, in a round; 2 s by default",
    .run = run,
};

int main(int argc, char **argv)
{
    return study_main(argc, argv, &study);
}
