/*
 * iceoryx 2.0: request and response by its C binding, through shared memory. Twice: both sides poll
 * without pause, which is its fastest, and both wait in a WaitSet, which is how it sleeps.
 *
 * It moves chunks that sender and receiver share and writes into directly; what is in them is not
 * checked, packed or versioned. It needs RouDi, a daemon of which a machine has one: it is started
 * before the first round, and ended after the last (roudi.c).
 */
#include "peer.h"
#include "roudi.h"

#include <glob.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <iceoryx_binding_c/client.h>
#include <iceoryx_binding_c/log.h>
#include <iceoryx_binding_c/runtime.h>
#include <iceoryx_binding_c/server.h>
#include <iceoryx_binding_c/wait_set.h>

/* ---- RouDi ---- */

#define ROUDI_READY_MS 10000
/* It looks for programs that say nothing for 1.5 s. If it is ended while it takes one for alive
 * that was killed, it aborts. */
#define ROUDI_NOTICES_MS 2000
#define NAME_BYTES 96

/* Of both sides, with their process group, the subject's: so it is told what they left. */
static void name_of(char name[NAME_BYTES], const char *side)
{
    (void)snprintf(name, NAME_BYTES, "parley-iox-%d-%s-%d", (int)getpgid(0), side, (int)getpid());
}

/* Each has a socket and a lock in /tmp, which stay if it is killed, as services are here. */
static void remove_sockets(pid_t group)
{
    char pattern[NAME_BYTES];
    glob_t found;
    (void)snprintf(pattern, sizeof(pattern), "/tmp/parley-iox-%d-*", (int)group);
    if (glob(pattern, GLOB_NOSORT, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++)
        (void)unlink(found.gl_pathv[i]);
    globfree(&found);
}

int peer_iceoryx_begin(const char *folder, struct error_text *error)
{
    static struct roudi_places places = {
        .shm = "/dev/shm",
        .tmp = "/tmp",
        .ready_ms = ROUDI_READY_MS,
        .notice_ms = ROUDI_NOTICES_MS,
    };
    places.folder = folder;
    return roudi_start(&places, error);
}

void peer_iceoryx_end(void)
{
    roudi_stop();
}

/* ---- Both sides ---- */

/* What differs between the two: how to wait for something to arrive. */
struct waiting {
    bool sleeps;
    iox_ws_t set;
    iox_ws_storage_t storage;
};

static void join(const struct bench_run *run, const char *side)
{
    char name[NAME_BYTES];
    name_of(name, side);
    (void)run;
    iox_set_loglevel(Iceoryx_LogLevel_Error);
    iox_runtime_init(name);
}

static void await_something(const struct bench_run *run, const struct waiting *waiting)
{
    iox_notification_info_t info;
    uint64_t missed = 0;
    if (waiting->sleeps)
        (void)iox_ws_wait(waiting->set, &info, 1, &missed);
    else
        bench_pause(run);
}

static int answer(iox_server_t server, const void *request, uint32_t bytes)
{
    void *response = NULL;
    if (iox_server_loan_response(server, request, &response, bytes) != AllocationResult_SUCCESS)
        return -1;
    memcpy(response, request, bytes);
    iox_server_release_request(server, request);
    return iox_server_send(server, response) == ServerSendResult_SUCCESS ? 0 : -1;
}

static int serve(const struct bench_run *run, struct peer_place *place)
{
    struct waiting waiting = {.sleeps = place->data != NULL};
    iox_server_storage_t storage;
    const void *request = NULL;
    join(run, "service");
    iox_server_t server =
        iox_server_init(&storage, "bench", strrchr(place->path, '/') + 1, "echo", NULL);
    if (waiting.sleeps) {
        waiting.set = iox_ws_init(&waiting.storage);
        if (iox_ws_attach_server_event(waiting.set, server, ServerEvent_REQUEST_RECEIVED, 0,
                                       NULL) != WaitSetResult_SUCCESS)
            return -1;
    }
    peer_ready(place);
    for (;;) {
        while (iox_server_take_request(server, &request) == ServerRequestResult_SUCCESS) {
            if (answer(server, request, run->load.bytes) != 0)
                return -1;
        }
        await_something(run, &waiting);
    }
}

struct caller {
    struct waiting waiting;
    iox_client_t client;
};

static int call(struct bench_run *run, void *data, uint32_t i)
{
    struct caller *caller = data;
    const uint32_t bytes = run->load.bytes;
    void *request = NULL;
    const void *response = NULL;
    if (iox_client_loan_request(caller->client, &request, bytes) != AllocationResult_SUCCESS)
        return error_set(run->error, -1, "iceoryx has no chunk");
    peer_mark(request, bytes, i);
    if (iox_client_send(caller->client, request) != ClientSendResult_SUCCESS)
        return error_set(run->error, -1, "iceoryx did not send");
    while (iox_client_take_response(caller->client, &response) != ChunkReceiveResult_SUCCESS)
        await_something(run, &caller->waiting);
    bool same = peer_is_marked(response, bytes, bytes, i);
    iox_client_release_response(caller->client, response);
    return same ? 0 : error_set(run->error, -1, "iceoryx gave back another message");
}

static int await_connection(struct bench_run *run, iox_client_t client)
{
    uint64_t until = clock_now_ns() + PEER_TIMEOUT_MS * NS_PER_MS;
    const struct timespec pause = {.tv_nsec = 1000 * 1000};
    while (iox_client_get_connection_state(client) != ConnectionState_CONNECTED) {
        if (clock_now_ns() > until)
            return error_set(run->error, -1, "iceoryx did not connect");
        (void)nanosleep(&pause, NULL);
    }
    return 0;
}

static int ask(struct bench_run *run, struct peer_place *place)
{
    struct caller caller = {.waiting.sleeps = place->data != NULL};
    iox_client_storage_t storage;
    join(run, "client");
    caller.client = iox_client_init(&storage, "bench", strrchr(place->path, '/') + 1, "echo", NULL);
    if (caller.waiting.sleeps) {
        caller.waiting.set = iox_ws_init(&caller.waiting.storage);
        if (iox_ws_attach_client_event(caller.waiting.set, caller.client,
                                       ClientEvent_RESPONSE_RECEIVED, 0,
                                       NULL) != WaitSetResult_SUCCESS)
            return error_set(run->error, -1, "no WaitSet");
    }
    int r = await_connection(run, caller.client);
    if (r == 0)
        r = peer_time(run, call, &caller);
    if (caller.waiting.sleeps)
        iox_ws_deinit(caller.waiting.set);
    iox_client_deinit(caller.client);
    iox_runtime_shutdown();
    return r;
}

/* ---- The peers ---- */

static int run_sides(struct bench_run *run, void *sleeps)
{
    int r = peer_run(run, serve, ask, sleeps);
    remove_sockets(getpgid(0));
    return r;
}

static int echo_spinning(struct bench_run *run)
{
    return run_sides(run, NULL);
}

static int echo_waiting(struct bench_run *run)
{
    static char sleeps;
    return run_sides(run, &sleeps);
}

const struct peer peer_iceoryx = {
    .name = "iceoryx",
    .about = "iceoryx 2.0, spinning",
    .placements = PEER_APART,
    .echo_count = 20000,
    .bytes_max = 64,
    .echo = echo_spinning,
};

const struct peer peer_iceoryx_waiting = {
    .name = "iceoryx-waitset",
    .about = "iceoryx 2.0, WaitSet",
    .placements = PEER_ALL,
    .echo_count = 3000,
    .bytes_max = 64,
    .echo = echo_waiting,
    .asleep = echo_waiting,
};
