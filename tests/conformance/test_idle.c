/*
 * An endpoint that has nothing to do sleeps, and stays asleep: a client and a service that are
 * connected, and have called, do not wake up. Run once for each wait backend.
 *
 * How often a process went to sleep by itself is counted by the kernel; one that was not woken did
 * not do so again.
 */
#include "support/test.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/caller.h"

#define WINDOW_MS 2000
#define QUIET_MS 1500 /* the timer of attaching runs out after a second, once */
#define PATIENCE_MS 60000

static struct bus bus;

/* ---- The clients ---- */

/* Calls, says so, and then only waits: in our loop, or in one of its own. */
static int call(struct bus *b, void *argument, bool own_loop)
{
    const int said = *(const int *)argument;
    struct parley_endpoint *endpoint = bus_endpoint(b, "client");
    struct parley_client *client;
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    if (parley_client_new(endpoint, &echo__v1__echo__interface, NULL, &client) != PARLEY_OK ||
        echo__v1__echo__echo_call(client, &request, &reply, NULL) != PARLEY_OK)
        return 2;
    parley_reply_free(reply);
    if (write(said, "c", 1) != 1)
        return 3;
    if (!own_loop)
        return parley_run(endpoint) == PARLEY_OK ? 0 : 4;
    struct pollfd waited = {.fd = parley_fd(endpoint), .events = POLLIN};
    while (parley_dispatch(endpoint, 0) == PARLEY_OK) {
        if (poll(&waited, 1, -1) < 0 && errno != EINTR)
            return 5;
    }
    return 6;
}

static int call_and_run(struct bus *b, void *argument)
{
    return call(b, argument, false);
}

static int call_and_poll(struct bus *b, void *argument)
{
    return call(b, argument, true);
}

/* ---- Counting ---- */

/* How often it went to sleep; -1: it does not sleep now, though it may wait for a processor. */
static long sleeps(pid_t pid)
{
    static const char key[] = "voluntary_ctxt_switches:", state[] = "State:\tS";
    char path[64], line[256];
    long count = -1;
    bool asleep = false;
    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (count < 0 && fgets(line, sizeof(line), file)) {
        asleep = asleep || strncmp(line, state, sizeof(state) - 1) == 0;
        if (strncmp(line, key, sizeof(key) - 1) == 0)
            count = strtol(line + sizeof(key) - 1, NULL, 10);
    }
    (void)fclose(file);
    assert_true(count >= 0);
    return asleep ? count : -1;
}

static void await_quiet(pid_t pid)
{
    long before = -1, now = sleeps(pid);
    for (int waited = 0; (now < 0 || now != before) && waited < PATIENCE_MS; waited += QUIET_MS) {
        (void)poll(NULL, 0, QUIET_MS);
        before = now;
        now = sleeps(pid);
    }
    assert_true(now >= 0);
    assert_int_equal(now, before);
}

static void await_call(int said)
{
    char byte;
    assert_int_equal(read(said, &byte, 1), 1); /* the pipe ends if a client fails */
}

static void test_idle_sides_stay_asleep(void **state)
{
    int said[2];
    long before[3];
    (void)state;
    bus_start(&bus);
    assert_int_equal(pipe(said), 0);
    const pid_t pids[] = {
        caller_fork(&bus, &caller_echo, NULL),
        bus_fork(&bus, call_and_run, &said[1]),
        bus_fork(&bus, call_and_poll, &said[1]),
    };
    close(said[1]);
    await_call(said[0]);
    await_call(said[0]);
    for (int i = 0; i < 3; i++)
        await_quiet(pids[i]);
    for (int i = 0; i < 3; i++)
        before[i] = sleeps(pids[i]);
    (void)poll(NULL, 0, WINDOW_MS);
    for (int i = 0; i < 3; i++)
        assert_int_equal(sleeps(pids[i]) - before[i], 0);
    close(said[0]);
    bus_stop(&bus);
}

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle_sides_stay_asleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
