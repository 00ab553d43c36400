/*
 * An instance leaves under load and no call is lost: by SIGTERM, by `parley drain`, again and
 * again; and comes back by `parley drain --undo`.
 */
#include "support/test.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/instances.h"
#include "support/program.h"

static int set_up(void **state)
{
    static const struct instances_load load = {.loaders = 2, .in_flight = 32};
    (void)state;
    instances_begin(NULL, &load);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    instances_end();
    return 0;
}

static void expect_no_failure(void)
{
    const struct instances_counts *counts = instances.counts;
    instances_await(&counts->ok, 1000);
    if (counts->failed > 0)
        fail_msg("%llu calls failed, of %llu; the first: %s", (unsigned long long)counts->failed,
                 (unsigned long long)counts->ok, counts->first);
    instances_unload();
}

static void drain(int expected, const char *option, const char *target, const char *words)
{
    char control[128], output[2048];
    snprintf(control, sizeof(control), "ipc://%s/control.ipc", instances.bus.dir);
    const char *argv[] = {getenv("PARLEY"), "--url", control, "drain", target, option, NULL};
    int code = program_run(argv, output, sizeof(output));
    if (code != expected || !strstr(output, words))
        fail_msg("parley drain %s: exit code %d, it said: %s", target, code, output);
}

static void test_no_call_is_lost_when_instances_get_sigterm_under_load(void **state)
{
    (void)state;
    for (unsigned i = 0; i < INSTANCES_MAX - INSTANCES_FIRST; i++) {
        unsigned fresh = instances_add();
        instances_await(&instances.counts->served[fresh], 100);
        kill(instances.pids[i], SIGTERM);
        assert_int_equal(bus_reap(&instances.bus, instances.pids[i]), 0);
        instances_await(&instances.counts->ok, 500);
    }
    expect_no_failure();
}

static void test_a_second_sigterm_changes_nothing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++)
        kill(instances.pids[0], SIGTERM);
    assert_int_equal(bus_reap(&instances.bus, instances.pids[0]), 0);
    expect_no_failure();
}

static void test_no_call_is_lost_when_an_instance_is_drained_and_put_back(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        drain(0, "--json", "server-1", "\"state\": \"drained\"");
        uint64_t served = instances.counts->served[1];
        instances_await(&instances.counts->ok, 1000);
        assert_int_equal(instances.counts->served[1], served);
        drain(0, "--undo", "server-1", "up");
        instances_await(&instances.counts->served[1], 100);
    }
    drain(0, "--interface=echo", "server-1", "drained");
    kill(instances.pids[1], SIGTERM);
    assert_int_equal(bus_reap(&instances.bus, instances.pids[1]), 0);
    expect_no_failure();
}

static void test_an_instance_is_drained_by_its_pid(void **state)
{
    (void)state;
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", (int)instances.pids[2]);
    drain(1, "--interface=other", "server-1", "no instance is named so");
    drain(0, "--json", pid, "\"state\": \"drained\"");
    uint64_t served = instances.counts->served[2];
    expect_no_failure();
    assert_int_equal(instances.counts->served[2], served);
}

#define DRAINED_MS 20000 /* patience */

/* It is the broker that knows of the draining; a new one is told. */
static void test_drained_stays_drained_when_the_broker_is_killed(void **state)
{
    (void)state;
    drain(0, "--json", "server-1", "\"state\": \"drained\"");
    uint64_t served = instances.counts->served[1];
    bus_broker_kill(&instances.bus);
    bus_broker_start(&instances.bus);
    for (int waited = 0; waited < DRAINED_MS; waited += 10) {
        char control[128], output[4096];
        snprintf(control, sizeof(control), "ipc://%s/control.ipc", instances.bus.dir);
        const char *argv[] = {getenv("PARLEY"), "--url", control, "drain", "server-1", NULL};
        if (program_run(argv, output, sizeof(output)) == 0 && strstr(output, "drained"))
            break;
        poll(NULL, 0, 10);
    }
    instances_await(&instances.counts->ok, 1000);
    assert_int_equal(instances.counts->served[1], served);
    drain(0, "--undo", "server-1", "up");
    instances_await(&instances.counts->served[1], 100);
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
