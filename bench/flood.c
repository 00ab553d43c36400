/*
 * Does garbage on one connection slow down others?
 *
 * Two polite clients call the same echo service, some calls each, one after the other: one
 * natively, and one as a program without the library, by a REQ socket of libnng on the bus URL.
 * Beside them a process sends garbage to the bus URL as fast as the broker lets it (garbage.h). It
 * has no core of its own: the broker and it are where the scheduler puts them, as anywhere.
 *
 * It begins and ends in turns with the polite ones' calls alone, so both find the same machine. The
 * broker does not read for a second from who sent it some hundred messages of garbage: turns are
 * longer, so that each has garbage at its beginning and at its end; and it is ended between them,
 * not stopped, or what lies in its socket would come in the turn of those who are to be alone.
 *
 * A second flood is of connections rather than messages: each ends after a few bytes.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <parley/parley.h>

#include "base/clock.h"
#include "control/bus_frame.h"
#include "echo.parley.h"
#include "garbage.h"
#include "parley_call.h"
#include "study.h"

#define TURNS 4
#define TURN_NS (1200 * NS_PER_MS) /* more than the second that garbage is not read */
#define CALLS 20                   /* of each client; then the other's */
#define SAMPLES STUDY_SAMPLE_MAX
#define PATIENCE_NS (20 * NS_PER_S)

enum {
    NNG_ALONE,
    NNG_FLOOD,
    NNG_STORM,
    NATIVE_ALONE,
    NATIVE_FLOOD,
    NATIVE_STORM,
    GROWTH,
    SENT,
    CAME
};
enum { ALONE, FLOOD, STORM, WAYS };

struct meeting {
    struct study_round *round;
    struct parley_endpoint *endpoint;
    struct parley_client *client;
    nng_socket socket;
    uint8_t request[512];
    size_t request_bytes;
    uint32_t samples[2][WAYS][SAMPLES];
    uint32_t counts[2][WAYS];
    volatile struct garbage_counts *garbage; /* two, shared with those who send it */
};

static const char *bus_path(const struct study_round *round)
{
    static char path[108];
    (void)snprintf(path, sizeof(path), "%s/bus.ipc", round->folder);
    return path;
}

/* ---- The polite clients ---- */

static int call_nng(struct meeting *meeting)
{
    void *reply;
    size_t bytes;
    int n = nng_send(meeting->socket, meeting->request, meeting->request_bytes, 0);
    if (n == 0)
        n = nng_recv(meeting->socket, &reply, &bytes, NNG_FLAG_ALLOC);
    if (n != 0)
        return error_set(meeting->round->error, -1, "NNG: %s", nng_strerror(n));
    const struct frame_header *header = reply;
    bool good = bytes > sizeof(*header) && header->status == PARLEY_OK;
    nng_free(reply, bytes);
    return good ? 0 : error_set(meeting->round->error, -1, "a call over NNG failed");
}

static int call_native(struct meeting *meeting)
{
    static uint32_t i;
    return parley_call_echo.call(meeting->client, i++) == 0
               ? 0
               : error_set(meeting->round->error, -1, "%s", parley_error_text());
}

/* @who: 0, by NNG; 1, natively. */
static int call_some(struct meeting *meeting, int way, int who)
{
    static int (*const calls[])(struct meeting *) = {call_nng, call_native};
    for (uint32_t i = 0; i < CALLS; i++) {
        uint64_t start = clock_now_ns();
        int r = calls[who](meeting);
        if (r != 0)
            return r;
        if (meeting->counts[who][way] < SAMPLES)
            meeting->samples[who][way][meeting->counts[who][way]++] =
                study_sample(start, clock_now_ns());
    }
    return 0;
}

static int turn(struct meeting *meeting, int way)
{
    uint64_t until_ns = clock_now_ns() + TURN_NS;
    int r = 0;
    while (r == 0 && clock_now_ns() < until_ns) {
        r = call_some(meeting, way, 0);
        if (r == 0)
            r = call_some(meeting, way, 1);
    }
    return r;
}

static int join_nng(struct meeting *meeting)
{
    static uint8_t payload[66] = {0x0a, 64}; /* field 1, 64 bytes */
    struct bus_frame frame = {
        .header = {.call_id = 1, .kind = FRAME_REQUEST, .method = BUS_FRAME_METHOD_BY_NAME},
        .interface = {parley_call_echo.interface->name, strlen(parley_call_echo.interface->name)},
        .method = {"Echo", 4},
        .payload_bytes = sizeof(payload),
    };
    char url[128];
    size_t head = bus_frame_head_bytes(&frame);
    (void)bus_frame_write(&frame, meeting->request, head);
    memcpy(meeting->request + head, payload, sizeof(payload));
    meeting->request_bytes = head + sizeof(payload);
    (void)snprintf(url, sizeof(url), "ipc://%s", bus_path(meeting->round));
    int n = nng_req0_open(&meeting->socket);
    if (n == 0)
        n = nng_socket_set_ms(meeting->socket, NNG_OPT_RECVTIMEO, 20000);
    if (n == 0)
        n = nng_dial(meeting->socket, url, NULL, 0);
    return n == 0 ? 0 : error_set(meeting->round->error, -1, "%s: %s", url, nng_strerror(n));
}

static int join(struct meeting *meeting)
{
    const struct parley_client_options options = {.wait_ns = PATIENCE_NS,
                                                  .timeout_ns = PATIENCE_NS};
    if (parley_call_join(meeting->round->folder, "polite", 0, &meeting->endpoint) != PARLEY_OK ||
        parley_client_new(meeting->endpoint, parley_call_echo.interface, &options,
                          &meeting->client) != PARLEY_OK)
        return error_set(meeting->round->error, -1, "%s", parley_error_text());
    int r = call_native(meeting);
    return r == 0 ? join_nng(meeting) : r;
}

/* ---- The others ---- */

static int serve(const struct study_round *round, void *userdata)
{
    struct parley_endpoint *endpoint = NULL;
    struct parley_service *service = NULL;
    (void)userdata;
    enum parley_status status =
        parley_call_join(round->folder, "flood-service", PARLEY_FOREVER, &endpoint);
    if (status == PARLEY_OK)
        status = parley_call_echo.serve(endpoint, &service);
    if (status == PARLEY_OK)
        status = parley_run(endpoint);
    fprintf(stderr, "service: %s\n", parley_error_text());
    return -1;
}

static int send_messages(const struct study_round *round, void *userdata)
{
    return garbage_send(bus_path(round), GARBAGE_MESSAGES, userdata);
}

static int send_storm(const struct study_round *round, void *userdata)
{
    return garbage_send(bus_path(round), GARBAGE_STORM, userdata);
}

/* The broker: who listens there. */
static pid_t broker_pid(const struct study_round *round)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ucred peer = {0};
    socklen_t length = sizeof(peer);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", bus_path(round));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        (void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length);
    if (fd >= 0)
        close(fd);
    return peer.pid;
}

/* The most that it ever had in RAM. */
static double peak_bytes(pid_t pid)
{
    char line[128];
    double kib = -1;
    (void)snprintf(line, sizeof(line), "/proc/%d/status", (int)pid);
    FILE *file = fopen(line, "re");
    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "VmHWM: %lf", &kib) == 1)
            break;
    if (file)
        (void)fclose(file);
    return kib * 1024;
}

/* ---- A round ---- */

static int measure_way(struct meeting *meeting, int way)
{
    static int (*const senders[])(const struct study_round *, void *) = {NULL, send_messages,
                                                                         send_storm};
    if (way == ALONE)
        return turn(meeting, way);
    pid_t sender = study_start(meeting->round, -1, senders[way],
                               (void *)(uintptr_t)&meeting->garbage[way == STORM]);
    int r = turn(meeting, way);
    study_stop(sender);
    return r;
}

/* The storm comes last: what the kernel has to clear away behind it is nobody's yardstick. */
static int measure(struct meeting *meeting)
{
    int r = 0;
    for (int i = 0; i < 2 * TURNS && r == 0; i++)
        r = measure_way(meeting, i % 2 ? FLOOD : ALONE);
    for (int i = 0; i < TURNS && r == 0; i++)
        r = measure_way(meeting, STORM);
    return r;
}

static int run(struct study_round *round)
{
    static struct meeting meeting;
    meeting = (struct meeting){.round = round};
    meeting.garbage = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (meeting.garbage == MAP_FAILED)
        return error_set(round->error, -1, "no memory");
    pid_t service = study_start(round, round->cpus[1], serve, NULL), broker = broker_pid(round);
    int r = join(&meeting);
    if (r == 0)
        r = turn(&meeting, ALONE);
    double before = peak_bytes(broker);
    memset(meeting.counts, 0, sizeof(meeting.counts)); /* that was to warm up */
    if (r == 0)
        r = measure(&meeting);
    study_put(round, GROWTH, peak_bytes(broker) - before);
    study_put(round, SENT, (double)meeting.garbage[0].messages);
    study_put(round, CAME, (double)meeting.garbage[1].connections);
    for (int who = 0; who < 2; who++) {
        for (int way = 0; r == 0 && way < WAYS; way++) {
            memcpy(round->samples_ns, meeting.samples[who][way],
                   meeting.counts[who][way] * sizeof(uint32_t));
            study_put_samples(round, (size_t)(who * WAYS + way), meeting.counts[who][way]);
        }
    }
    study_stop(service);
    return r;
}

/* ---- The question ---- */

static const struct study_row rows[] = {
    [NNG_ALONE] = {.name = "nng-alone", .about = "a call by a REQ socket, alone"},
    [NNG_FLOOD] = {.name = "nng-flood", .about = "  beside a flood of garbage"},
    [NNG_STORM] = {.name = "nng-storm", .about = "  beside one that connects without end"},
    [NATIVE_ALONE] = {.name = "native-alone", .about = "a native call, alone"},
    [NATIVE_FLOOD] = {.name = "native-flood", .about = "  beside a flood of garbage"},
    [NATIVE_STORM] = {.name = "native-storm", .about = "  beside one that connects without end"},
    [GROWTH] = {.name = "broker-growth", .about = "the broker's peak grew by", STUDY_BYTES},
    [SENT] = {.name = "garbage", .about = "messages of garbage that it took", STUDY_COUNT},
    [CAME] = {.name = "connections",
              .about = "connections that ended after a few bytes",
              STUDY_COUNT},
};

static const struct study_goal goals[] = {
    {NNG_FLOOD, NNG_ALONE, true, 1.2, 0, "p99 of a REQ socket beside a flood, against alone"},
    {NATIVE_FLOOD, NATIVE_ALONE, true, 1.2, 0, "p99 of a native client beside a flood"},
    {GROWTH, STUDY_ALONE, false, 64 << 20, 0, "the broker's memory"},
    {NNG_STORM, NNG_ALONE, true, 0, 0, "p99 of a REQ socket beside a storm of connections"},
    {NATIVE_STORM, NATIVE_ALONE, true, 0, 0, "p99 of a native client beside it"},
};

static const struct study study = {
    .name = "flood",
    .question = "Does garbage on one connection slow down others?",
    .method =
        "Calls carry 64 bytes. Whoever sends garbage does so in turns with calls alone, of 1.2 s\n"
        "each; it and the broker have no core of their own.",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
    .goals = goals,
    .goal_count = sizeof(goals) / sizeof(goals[0]),
    .rounds = 5,
    .seconds_max = 120,
    .run = run,
};

int main(int argc, char **argv)
{
    return study_main(argc, argv, &study);
}
