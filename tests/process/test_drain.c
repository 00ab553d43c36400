/*
 * An instance leaves under load and no call is lost: by SIGTERM, by `parley drain`, again and
 * again; and comes back by `parley drain --undo`.
 *
 * Clients and instances are processes; what they count is in memory that they share with the test.
 */
#include "support/test.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "support/caller.h"
#include "support/program.h"

#define SERVER_MAX 12
#define IN_FLIGHT 32
#define LOADER_COUNT 2
#define PATIENCE_MS 20000

static struct {
    _Atomic uint64_t ok, failed;
    _Atomic uint64_t served[SERVER_MAX];
    _Atomic unsigned up;      /* instances published, ever */
    _Atomic unsigned loading; /* loaders that a signal stops */
    char first[256];          /* failure, of whoever was first */
} * shared;

static struct bus bus;
static pid_t servers[SERVER_MAX], loaders[LOADER_COUNT];
static unsigned server_count;

/* ---- An instance ---- */

static unsigned own_number;

static void handle_echo(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                        Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    atomic_fetch_add(&shared->served[own_number], 1);
    closure(input, data);
}

static int serve(struct bus *on, void *argument)
{
    static Echo__V1__Echo_Service implementation = {
        .base = {.descriptor = &echo__v1__echo__descriptor,
                 .invoke = protobuf_c_service_invoke_internal},
        .echo = handle_echo,
    };
    char name[16];
    struct parley_service *service;
    own_number = *(unsigned *)argument;
    snprintf(name, sizeof(name), "server-%u", own_number);
    struct parley_endpoint *endpoint = bus_endpoint(on, name);
    if (parley_stop_on_signals(endpoint) != PARLEY_OK ||
        parley_service_new(endpoint, &echo__v1__echo__interface, &implementation.base, NULL,
                           &service) != PARLEY_OK)
        return 1;
    atomic_fetch_add(&shared->up, 1);
    enum parley_status status = parley_run(endpoint);
    (void)signal(SIGTERM, SIG_IGN); /* it is ending; with the endpoint the library's handler goes */
    parley_endpoint_free(endpoint);
    return status == PARLEY_OK ? 0 : 2;
}

/* ---- A client that keeps calls in flight ---- */

struct caller_loop {
    struct parley_client *client;
    uint32_t number;
    bool ended;
};

static void ended(const Echo__V1__Message *reply, void *data)
{
    struct caller_loop *loop = data;
    const struct parley_call *call = parley_call_current();
    loop->ended = true;
    if (call->status == PARLEY_OK && reply && reply->number == loop->number)
        atomic_fetch_add(&shared->ok, 1);
    else if (call->status != PARLEY_CANCELLED && atomic_fetch_add(&shared->failed, 1) == 0)
        snprintf(shared->first, sizeof(shared->first), "%.200s (executed %d)", call->error,
                 (int)call->executed);
}

static void start(struct caller_loop *loop)
{
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    request.number = ++loop->number;
    loop->ended = false;
    (void)parley_client_start(loop->client, METHOD_ECHO, &request.base, NULL,
                              (ProtobufCClosure)ended, loop);
}

static int load(struct bus *on, void *argument)
{
    struct caller_loop loops[IN_FLIGHT] = {0};
    struct parley_client *client;
    struct parley_endpoint *endpoint = bus_endpoint(on, "loader");
    const struct parley_client_options options = {.wait_ns = UINT64_C(10000000000)};
    (void)argument;
    if (parley_stop_on_signals(endpoint) != PARLEY_OK ||
        parley_client_new(endpoint, &echo__v1__echo__interface, &options, &client) != PARLEY_OK)
        return 1;
    atomic_fetch_add(&shared->loading, 1);
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        loops[i] = (struct caller_loop){.client = client, .ended = true};
    enum parley_status status = PARLEY_OK;
    while (status == PARLEY_OK) {
        for (unsigned i = 0; i < IN_FLIGHT; i++)
            if (loops[i].ended)
                start(&loops[i]);
        status = parley_dispatch(endpoint, 1000000);
    }
    parley_endpoint_free(endpoint);
    return status == PARLEY_CANCELLED ? 0 : 2;
}

/* ---- The test's side ---- */

static void await_more(const _Atomic uint64_t *count, uint64_t more)
{
    uint64_t before = atomic_load(count);
    for (int waited = 0; atomic_load(count) < before + more; waited++) {
        if (waited > PATIENCE_MS)
            fail_msg("nothing goes on: %llu calls, %llu failed; %s", (unsigned long long)shared->ok,
                     (unsigned long long)shared->failed, shared->first);
        poll(NULL, 0, 1);
    }
}

static unsigned start_server(void)
{
    static unsigned numbers[SERVER_MAX];
    unsigned number = server_count++;
    unsigned up = atomic_load(&shared->up);
    numbers[number] = number;
    servers[number] = bus_fork(&bus, serve, &numbers[number]);
    for (int waited = 0; atomic_load(&shared->up) == up && waited < PATIENCE_MS; waited++)
        poll(NULL, 0, 1);
    return number;
}

static int set_up(void **state)
{
    (void)state;
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    server_count = 0;
    bus_start(&bus);
    for (unsigned i = 0; i < 3; i++)
        (void)start_server();
    for (unsigned i = 0; i < LOADER_COUNT; i++)
        loaders[i] = bus_fork(&bus, load, NULL);
    for (int waited = 0; shared->loading < LOADER_COUNT && waited < PATIENCE_MS; waited++)
        poll(NULL, 0, 1);
    for (unsigned i = 0; i < 3; i++)
        await_more(&shared->served[i], 100);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bus_stop(&bus);
    munmap(shared, sizeof(*shared));
    return 0;
}

static void expect_no_failure(void)
{
    await_more(&shared->ok, 1000);
    if (shared->failed > 0)
        fail_msg("%llu calls failed, of %llu; the first: %s", (unsigned long long)shared->failed,
                 (unsigned long long)shared->ok, shared->first);
    for (unsigned i = 0; i < LOADER_COUNT; i++) {
        kill(loaders[i], SIGTERM);
        assert_int_equal(bus_reap(&bus, loaders[i]), 0);
    }
}

static void drain(int expected, const char *option, const char *target, const char *words)
{
    char control[128], output[2048];
    snprintf(control, sizeof(control), "ipc://%s/control.ipc", bus.dir);
    const char *argv[] = {getenv("PARLEY"), "--url", control, "drain", target, option, NULL};
    int code = program_run(argv, output, sizeof(output));
    if (code != expected || !strstr(output, words))
        fail_msg("parley drain %s: exit code %d, it said: %s", target, code, output);
}

static void test_no_call_is_lost_when_instances_get_sigterm_under_load(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SERVER_MAX - 3; i++) {
        unsigned fresh = start_server();
        await_more(&shared->served[fresh], 100);
        kill(servers[i], SIGTERM);
        assert_int_equal(bus_reap(&bus, servers[i]), 0);
        await_more(&shared->ok, 500);
    }
    expect_no_failure();
}

static void test_a_second_sigterm_changes_nothing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++)
        kill(servers[0], SIGTERM);
    assert_int_equal(bus_reap(&bus, servers[0]), 0);
    expect_no_failure();
}

static void test_no_call_is_lost_when_an_instance_is_drained_and_put_back(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        drain(0, "--json", "server-1", "\"state\": \"drained\"");
        uint64_t served = shared->served[1];
        await_more(&shared->ok, 1000);
        assert_int_equal(shared->served[1], served);
        drain(0, "--undo", "server-1", "up");
        await_more(&shared->served[1], 100);
    }
    drain(0, "--interface=echo", "server-1", "drained");
    kill(servers[1], SIGTERM);
    assert_int_equal(bus_reap(&bus, servers[1]), 0);
    expect_no_failure();
}

static void test_an_instance_is_drained_by_its_pid(void **state)
{
    (void)state;
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", (int)servers[2]);
    drain(1, "--interface=other", "server-1", "no instance is named so");
    drain(0, "--json", pid, "\"state\": \"drained\"");
    uint64_t served = shared->served[2];
    expect_no_failure();
    assert_int_equal(shared->served[2], served);
}

/* It is the broker that knows of the draining; a new one is told. */
static void test_drained_stays_drained_when_the_broker_is_killed(void **state)
{
    (void)state;
    drain(0, "--json", "server-1", "\"state\": \"drained\"");
    uint64_t served = shared->served[1];
    bus_broker_kill(&bus);
    bus_broker_start(&bus);
    for (int waited = 0; waited < PATIENCE_MS; waited += 10) {
        char control[128], output[4096];
        snprintf(control, sizeof(control), "ipc://%s/control.ipc", bus.dir);
        const char *argv[] = {getenv("PARLEY"), "--url", control, "drain", "server-1", NULL};
        if (program_run(argv, output, sizeof(output)) == 0 && strstr(output, "drained"))
            break;
        poll(NULL, 0, 10);
    }
    await_more(&shared->ok, 1000);
    assert_int_equal(shared->served[1], served);
    drain(0, "--undo", "server-1", "up");
    await_more(&shared->served[1], 100);
    expect_no_failure();
}

#define drain_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        drain_test(test_no_call_is_lost_when_instances_get_sigterm_under_load),
        drain_test(test_a_second_sigterm_changes_nothing),
        drain_test(test_no_call_is_lost_when_an_instance_is_drained_and_put_back),
        drain_test(test_an_instance_is_drained_by_its_pid),
        drain_test(test_drained_stays_drained_when_the_broker_is_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
