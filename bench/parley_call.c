/*
 * The thing itself: a call through the generated stub, to a service made with protobuf-c's INIT
 * macro, in another process; with packing, the checked copy and unpacking on both ends, routing,
 * deadline and statistics. What a user gets, and only public headers to get it with.
 *
 * The broker runs beside it and has nothing to do.
 */
#include "parley_call.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <parley/parley.h>

#include "echo.parley.h"
#include "floors.h"

#define CONNECT_TIMEOUT_NS (5 * NS_PER_S)
#define BROKER_END_MS 5000

/* ---- The broker ---- */

static pid_t broker;

static void run_broker(const char *program, const char *folder)
{
    char log[BENCH_PATH_BYTES + 16], schemas[BENCH_PATH_BYTES + 16];
    (void)snprintf(schemas, sizeof(schemas), "%s/%s", folder, PARLEY_CALL_SCHEMAS);
    if (mkdir(schemas, 0700) != 0)
        _exit(126);
    (void)snprintf(log, sizeof(log), "%s/parleyd.log", folder);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
        _exit(126);
    (void)execl(program, program, "--dir", folder, "--schemas", schemas, (char *)NULL);
    _exit(127);
}

int parley_call_begin(const char *folder, struct error_text *error)
{
    const char *program = getenv("PARLEYD");
    pid_t parent = getpid();
    if (!program)
        program = BENCH_PARLEYD;
    if (access(program, X_OK) != 0)
        return error_set(error, -errno, "cannot run the broker, %s: %s; build it, or set PARLEYD",
                         program, strerror(errno));
    broker = fork();
    if (broker < 0)
        return error_set(error, -errno, "cannot start the broker: %s", strerror(errno));
    if (broker == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            run_broker(program, folder);
        _exit(1);
    }
    return 0;
}

void parley_call_end(void)
{
    if (broker <= 0)
        return;
    int fd = pidfd_open(broker, 0);
    struct pollfd waited = {.fd = fd, .events = POLLIN};
    (void)kill(broker, SIGTERM);
    if (fd < 0 || poll(&waited, 1, BROKER_END_MS) <= 0)
        (void)kill(broker, SIGKILL);
    if (fd >= 0)
        close(fd);
    while (waitpid(broker, NULL, 0) < 0 && errno == EINTR)
        continue;
    broker = 0;
}

enum parley_status parley_call_join(const char *folder, const char *name, uint64_t spin_ns_max,
                                    struct parley_endpoint **ret_endpoint)
{
    char path[BENCH_PATH_BYTES + 16];
    (void)snprintf(path, sizeof(path), "%s/parleyd.sock", folder);
    struct parley_endpoint_options options = {
        .broker = path,
        .name = name,
        .connect_timeout_ns = CONNECT_TIMEOUT_NS,
        .spin_ns_max = spin_ns_max,
    };
    return parley_endpoint_new(&options, ret_endpoint);
}

/* ---- Both sides ---- */

struct side {
    const struct parley_call_kind *kind;
    uint64_t spin_ns_max;
};

static int serve(const struct bench_run *run, void *userdata)
{
    const struct side *side = userdata;
    struct parley_endpoint *endpoint = NULL;
    struct parley_service *service = NULL;
    enum parley_status status =
        parley_call_join(run->folder, "bench-service", side->spin_ns_max, &endpoint);
    if (status == PARLEY_OK)
        status = side->kind->serve(endpoint, &service);
    if (status == PARLEY_OK)
        status = parley_run(endpoint);
    fprintf(stderr, "service: %s\n", parley_error_text());
    return -1;
}

static int time_calls(struct bench_run *run, const struct parley_call_kind *kind,
                      struct parley_client *client)
{
    uint64_t last = clock_now_ns();
    for (uint32_t i = 0; i < run->sample_count; i++) {
        int r = kind->call(client, i);
        if (r != 0)
            return error_set(run->error, -1, "call %u: %s", i,
                             r < 0 ? parley_error_text() : "another message came back");
        uint64_t now = clock_now_ns();
        run->samples_ns[i] = bench_sample(last, now);
        last = now;
    }
    return 0;
}

static int call_service(struct bench_run *run, const struct side *side)
{
    struct parley_endpoint *endpoint = NULL;
    struct parley_client *client = NULL;
    const struct parley_client_options options = {.wait_ns = CONNECT_TIMEOUT_NS};
    uint64_t spin_ns_max = side->kind->client_never_sleeps ? PARLEY_FOREVER : side->spin_ns_max;
    enum parley_status status =
        parley_call_join(run->folder, "bench-client", spin_ns_max, &endpoint);
    if (status == PARLEY_OK)
        status = parley_client_new(endpoint, side->kind->interface, &options, &client);
    int r;
    if (status != PARLEY_OK)
        r = error_set(run->error, -1, "%s", parley_error_text());
    else if (side->kind->drive)
        r = side->kind->drive(run, endpoint, client);
    else
        r = time_calls(run, side->kind, client);
    parley_client_free(client);
    parley_endpoint_free(endpoint);
    return r;
}

int parley_call_run(struct bench_run *run, const struct parley_call_kind *kind,
                    uint64_t spin_ns_max)
{
    struct side side = {kind, spin_ns_max};
    pid_t pid = bench_peer_start(run, serve, &side);
    if (pid < 0)
        return error_set(run->error, -1, "fork failed");
    int r = call_service(run, &side);
    bench_peer_stop(pid);
    return r;
}

/* ---- The echo ---- */

static void answer_echo(Bench__V1__Echo_Service *service, const Bench__V1__EchoMessage *request,
                        Bench__V1__EchoMessage_Closure closure, void *closure_data)
{
    (void)service;
    closure(request, closure_data);
}

static enum parley_status serve_echo(struct parley_endpoint *endpoint,
                                     struct parley_service **ret_service)
{
    static Bench__V1__Echo_Service service = BENCH__V1__ECHO__INIT(answer_);
    return bench__v1__echo__serve(endpoint, &service, NULL, ret_service);
}

static int call_echo(struct parley_client *client, uint32_t i)
{
    static uint8_t content[FLOOR_MESSAGE_BYTES - 2] = {1, 2, 3};
    Bench__V1__EchoMessage request = BENCH__V1__ECHO_MESSAGE__INIT;
    request.payload = (ProtobufCBinaryData){.len = sizeof(content), .data = content};
    memcpy(content, &i, sizeof(i));
    Bench__V1__EchoMessage *reply = NULL;
    if (bench__v1__echo__echo_call(client, &request, &reply, NULL) != PARLEY_OK)
        return -1;
    bool same = reply->payload.len == sizeof(content) &&
                memcmp(reply->payload.data, content, sizeof(content)) == 0;
    parley_reply_free(reply);
    return same ? 0 : 1;
}

const struct parley_call_kind parley_call_echo = {
    .interface = &bench__v1__echo__interface,
    .serve = serve_echo,
    .call = call_echo,
};

int parley_call_spinning(struct bench_run *run)
{
    return parley_call_run(run, &parley_call_echo, PARLEY_FOREVER);
}

int parley_call_default(struct bench_run *run)
{
    return parley_call_run(run, &parley_call_echo, 0);
}
