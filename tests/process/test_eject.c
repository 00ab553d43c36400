/*
 * One bad instance of three: it gets no calls any more, and has them back when it is well. Bad is
 * to fail, to fail now and then, to be slow, and to be stopped.
 *
 * The broker's times are short here; what is tested does not depend on how long anything takes.
 */
#include "support/test.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "support/caller.h"

#define SERVERS 3
#define IN_FLIGHT 6
#define PATIENCE_MS 30000
#define TIMEOUT_NS UINT64_C(200000000)

enum mode { WELL, FAILS, FAILS_OFTEN, SLOW };

static struct {
    _Atomic uint64_t ok, failed;
    _Atomic uint64_t served[SERVERS];
    _Atomic int mode[SERVERS];
    _Atomic unsigned up;
} * shared;

static struct bus bus;
static pid_t servers[SERVERS], loader;

/* ---- An instance ---- */

static unsigned own_number;

static void handle_echo(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                        Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    uint64_t count = atomic_fetch_add(&shared->served[own_number], 1);
    enum mode mode = (enum mode)atomic_load(&shared->mode[own_number]);
    bool fails = mode == FAILS || (mode == FAILS_OFTEN && count % 3 == 0);
    if (mode == SLOW)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    if (fails)
        parley_context_fail(parley_context_current(), PARLEY_INTERNAL, "as it was told to");
    closure(fails ? NULL : input, data);
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
    parley_endpoint_free(endpoint);
    return status == PARLEY_OK ? 0 : 2;
}

/* ---- A client that keeps calls in flight ---- */

static void ended(const Echo__V1__Message *reply, void *data)
{
    bool *has_ended = data;
    *has_ended = true;
    atomic_fetch_add(reply ? &shared->ok : &shared->failed, 1);
}

static int load(struct bus *on, void *argument)
{
    bool have_ended[IN_FLIGHT];
    struct parley_client *client;
    struct parley_endpoint *endpoint = bus_endpoint(on, "loader");
    const struct parley_client_options options = {.wait_ns = UINT64_C(10000000000)};
    const struct parley_call call = {.timeout_ns = TIMEOUT_NS};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    (void)argument;
    if (parley_stop_on_signals(endpoint) != PARLEY_OK ||
        parley_client_new(endpoint, &echo__v1__echo__interface, &options, &client) != PARLEY_OK)
        return 1;
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        have_ended[i] = true;
    enum parley_status status = PARLEY_OK;
    while (status == PARLEY_OK) {
        for (unsigned i = 0; i < IN_FLIGHT; i++) {
            if (!have_ended[i])
                continue;
            have_ended[i] = false;
            (void)parley_client_start(client, METHOD_ECHO, &request.base, &call,
                                      (ProtobufCClosure)ended, &have_ended[i]);
        }
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
            fail_msg("nothing goes on: %llu calls, %llu failed", (unsigned long long)shared->ok,
                     (unsigned long long)shared->failed);
        poll(NULL, 0, 1);
    }
}

/* Waits until one instance has no call while the others have many. */
static void await_silence(unsigned number)
{
    for (int tries = 0; tries < 1000; tries++) {
        uint64_t before = shared->served[number];
        for (unsigned i = 0; i < SERVERS; i++)
            if (i != number)
                await_more(&shared->served[i], 200);
        if (shared->served[number] == before)
            return;
    }
    fail_msg("instance %u still has calls", number);
}

static int set_up_with(const char *settings)
{
    static unsigned numbers[SERVERS];
    const char *more[] = {"--eject", settings, NULL};
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    bus_start_with(&bus, more);
    for (unsigned i = 0; i < SERVERS; i++) {
        numbers[i] = i;
        servers[i] = bus_fork(&bus, serve, &numbers[i]);
    }
    for (int waited = 0; atomic_load(&shared->up) < SERVERS && waited < PATIENCE_MS; waited++)
        poll(NULL, 0, 1);
    loader = bus_fork(&bus, load, NULL);
    for (unsigned i = 0; i < SERVERS; i++)
        await_more(&shared->served[i], 100);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    return set_up_with("interval=50ms,base=300ms,longest=600ms");
}

static int tear_down(void **state)
{
    (void)state;
    bus_stop(&bus);
    munmap(shared, sizeof(*shared));
    return 0;
}

static void is_ejected_and_comes_back(enum mode mode, const char *why)
{
    shared->mode[1] = mode;
    await_silence(1);
    assert_true(bus_log_has(&bus, why));
    shared->mode[1] = WELL;
    await_more(&shared->served[1], 100);
    assert_true(bus_log_has(&bus, "is let back in"));
}

static void test_one_that_fails(void **state)
{
    (void)state;
    is_ejected_and_comes_back(FAILS, "calls fail in a row");
}

static void test_one_that_fails_often(void **state)
{
    (void)state;
    is_ejected_and_comes_back(FAILS_OFTEN, "more calls fail than of the others");
}

static void test_one_that_is_slow(void **state)
{
    (void)state;
    is_ejected_and_comes_back(SLOW, "it is slower than the others");
}

static void test_one_that_is_stopped(void **state)
{
    (void)state;
    kill(servers[1], SIGSTOP);
    await_silence(1);
    assert_true(bus_log_has(&bus, "is ejected"));
    kill(servers[1], SIGCONT);
    await_more(&shared->served[1], 100);
}

static void test_nobody_is_ejected_if_all_fail(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SERVERS; i++)
        shared->mode[i] = FAILS;
    await_more(&shared->failed, 5000);
    for (unsigned i = 0; i < SERVERS; i++)
        await_more(&shared->served[i], 100);
}

static int set_up_off(void **state)
{
    (void)state;
    return set_up_with("off");
}

static void test_with_eject_off_the_bad_one_keeps_its_calls(void **state)
{
    (void)state;
    shared->mode[1] = FAILS;
    await_more(&shared->ok, 5000);
    await_more(&shared->served[1], 100);
}

#define eject_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        eject_test(test_one_that_fails),
        eject_test(test_one_that_fails_often),
        eject_test(test_one_that_is_slow),
        eject_test(test_one_that_is_stopped),
        eject_test(test_nobody_is_ejected_if_all_fail),
        cmocka_unit_test_setup_teardown(test_with_eject_off_the_bad_one_keeps_its_calls, set_up_off,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
