#include "support/test.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "support/caller.h"
#include "support/echoes.h"
#include "support/instances.h"

#define PATIENCE_MS 30000
#define IN_FLIGHT_MAX 32
#define SLOW_NS 20000000

struct instances instances;

/* ---- An instance ---- */

static unsigned own_number;

static void handle_echo(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                        Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    uint64_t count = atomic_fetch_add(&instances.counts->served[own_number], 1);
    enum instance_mode mode = (enum instance_mode)atomic_load(&instances.counts->mode[own_number]);
    bool fails = mode == FAILS || (mode == FAILS_OFTEN && count % 3 == 0);
    if (mode == SLOW)
        nanosleep(&(struct timespec){.tv_nsec = SLOW_NS}, NULL);
    if (fails)
        parley_context_fail(parley_context_current(), PARLEY_INTERNAL, "as it was told to");
    closure(fails ? NULL : input, data);
}

static int serve(struct bus *on, void *argument)
{
    static Echo__V1__Echo_Service implementation = ECHO_SERVICE(.echo = handle_echo);
    char name[16];
    struct parley_service *service;
    own_number = *(unsigned *)argument;
    snprintf(name, sizeof(name), "server-%u", own_number);
    struct parley_endpoint *endpoint = bus_endpoint(on, name);
    if (parley_stop_on_signals(endpoint) != PARLEY_OK ||
        parley_service_new(endpoint, &echo__v1__echo__interface, &implementation.base, NULL,
                           &service) != PARLEY_OK)
        return 1;
    atomic_fetch_add(&instances.counts->up, 1);
    enum parley_status status = parley_run(endpoint);
    (void)signal(SIGTERM, SIG_IGN); /* it is ending; with the endpoint the library's handler goes */
    parley_endpoint_free(endpoint);
    return status == PARLEY_OK ? 0 : 2;
}

/* ---- A client that keeps calls in flight ---- */

struct loop {
    struct parley_client *client;
    struct parley_call call;
    uint32_t number;
    bool ended;
};

static void ended(const Echo__V1__Message *reply, void *data)
{
    struct loop *loop = data;
    struct instances_counts *counts = instances.counts;
    const struct parley_call *call = parley_call_current();
    loop->ended = true;
    if (call->status == PARLEY_OK && reply && reply->number == loop->number)
        atomic_fetch_add(&counts->ok, 1);
    else if (call->status != PARLEY_CANCELLED && atomic_fetch_add(&counts->failed, 1) == 0)
        snprintf(counts->first, sizeof(counts->first), "%.200s (executed %d)", call->error,
                 (int)call->executed);
}

static void start(struct loop *loop)
{
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    request.number = ++loop->number;
    loop->ended = false;
    (void)parley_client_start(loop->client, METHOD_ECHO, &request.base, &loop->call,
                              (ProtobufCClosure)ended, loop);
}

static int run_loops(struct bus *on, void *argument)
{
    const struct instances_load *load = argument;
    struct loop loops[IN_FLIGHT_MAX];
    struct parley_client *client;
    struct parley_endpoint *endpoint = bus_endpoint(on, "loader");
    const struct parley_client_options options = {.wait_ns = UINT64_C(10000000000)};
    if (parley_stop_on_signals(endpoint) != PARLEY_OK ||
        parley_client_new(endpoint, &echo__v1__echo__interface, &options, &client) != PARLEY_OK)
        return 1;
    atomic_fetch_add(&instances.counts->loading, 1);
    for (unsigned i = 0; i < load->in_flight; i++)
        loops[i] = (struct loop){
            .client = client, .call = {.timeout_ns = load->timeout_ns}, .ended = true};
    enum parley_status status = PARLEY_OK;
    while (status == PARLEY_OK) {
        for (unsigned i = 0; i < load->in_flight; i++)
            if (loops[i].ended)
                start(&loops[i]);
        status = parley_dispatch(endpoint, 1000000);
    }
    parley_endpoint_free(endpoint);
    return status == PARLEY_CANCELLED ? 0 : 2;
}

/* ---- The test's side ---- */

void instances_await(const _Atomic uint64_t *count, uint64_t more)
{
    uint64_t before = atomic_load(count);
    for (int waited = 0; atomic_load(count) < before + more; waited++) {
        if (waited > PATIENCE_MS)
            fail_msg("nothing goes on: %llu calls, %llu failed; %s",
                     (unsigned long long)instances.counts->ok,
                     (unsigned long long)instances.counts->failed, instances.counts->first);
        poll(NULL, 0, 1);
    }
}

static void await_number(const _Atomic unsigned *number, unsigned value)
{
    for (int waited = 0; atomic_load(number) < value && waited < PATIENCE_MS; waited++)
        poll(NULL, 0, 1);
    assert_true(atomic_load(number) >= value);
}

unsigned instances_add(void)
{
    static unsigned numbers[INSTANCES_MAX];
    unsigned number = instances.count++;
    unsigned up = atomic_load(&instances.counts->up);
    assert_true(number < INSTANCES_MAX);
    numbers[number] = number;
    instances.pids[number] = bus_fork(&instances.bus, serve, &numbers[number]);
    await_number(&instances.counts->up, up + 1);
    return number;
}

void instances_begin(const char *const *broker, const struct instances_load *load)
{
    assert_true(load->loaders <= LOADERS_MAX && load->in_flight <= IN_FLIGHT_MAX);
    instances = (struct instances){.loader_count = load->loaders};
    instances.counts = mmap(NULL, sizeof(*instances.counts), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(instances.counts, MAP_FAILED);
    bus_start_with(&instances.bus, broker);
    for (unsigned i = 0; i < INSTANCES_FIRST; i++)
        (void)instances_add();
    for (unsigned i = 0; i < load->loaders; i++)
        instances.loaders[i] = bus_fork(&instances.bus, run_loops, (void *)(uintptr_t)load);
    await_number(&instances.counts->loading, load->loaders);
    for (unsigned i = 0; i < INSTANCES_FIRST; i++)
        instances_await(&instances.counts->served[i], 100);
}

void instances_end(void)
{
    bus_stop(&instances.bus);
    munmap(instances.counts, sizeof(*instances.counts));
}

void instances_unload(void)
{
    for (unsigned i = 0; i < instances.loader_count; i++) {
        kill(instances.loaders[i], SIGTERM);
        assert_int_equal(bus_reap(&instances.bus, instances.loaders[i]), 0);
    }
}
