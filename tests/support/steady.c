/*
 * The steady client calls in a loop, each time with another number, and counts; asked over a pipe,
 * it makes STEADY_MORE calls more and then tells its counters. So a check that passes means that
 * calls went on after whatever the test did before it asked.
 */
#include "support/test.h"

#include "support/steady.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "echo.parley.h"
#include "support/echoes.h"

#define STEADY_MORE 50
#define STEADY_WATCHDOG_MS 20000
#define STEADY_LOG_BYTES_MAX 65536

struct report {
    uint64_t calls, failed;
    char first[256]; /* sentence of the first failure */
};

/* ---- The service ---- */

static void handle_other(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                         Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    (void)input;
    parley_context_fail(parley_context_current(), PARLEY_UNIMPLEMENTED, "only echoes");
    closure(NULL, data);
}

static struct parley_endpoint *served;

static void on_term(int number)
{
    (void)number;
    parley_stop(served);
}

static int serve(struct bus *bus, void *argument)
{
    static Echo__V1__Echo_Service implementation =
        ECHO_SERVICE(.echo = echo_returned, .fail = handle_other, .later = handle_other,
                     .context = handle_other, .never = handle_other, .die = handle_other,
                     .die_once = handle_other);
    const struct steady *steady = argument;
    struct parley_service *service;
    int log = open(steady->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dup2(log, STDERR_FILENO);
    log_set_level(LOG_LEVEL_INFO); /* the environment was read before the fork, perhaps */
    served = bus_endpoint(bus, "steady-service");
    signal(SIGTERM, on_term);
    if (parley_service_new(served, &echo__v1__echo__interface, &implementation.base, NULL,
                           &service) != PARLEY_OK)
        return 1;
    enum parley_status status = parley_run(served);
    parley_endpoint_free(served);
    close(log);
    return status == PARLEY_OK ? 0 : 1;
}

/* ---- The client ---- */

static void call_once(struct parley_client *client, struct report *report)
{
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    Echo__V1__Message *reply = NULL;
    request.number = (uint32_t)++report->calls;
    enum parley_status status = echo__v1__echo__echo_call(client, &request, &reply, NULL);
    bool good = status == PARLEY_OK && reply->number == request.number;
    if (!good && report->failed++ == 0)
        snprintf(report->first, sizeof(report->first), "call %u: %s: %.200s",
                 (unsigned)request.number, parley_status_name(status),
                 status == PARLEY_OK ? "a wrong answer" : parley_error_text());
    parley_reply_free(reply);
}

static int call_on(struct bus *bus, void *argument)
{
    const int *pipes = argument; /* ask, answer */
    struct parley_endpoint *endpoint = bus_endpoint(bus, "steady-client");
    const struct parley_client_options options = {.wait_ns = UINT64_C(20000000000)};
    struct parley_client *client;
    struct report report = {.calls = 0};
    if (parley_client_new(endpoint, &echo__v1__echo__interface, &options, &client) != PARLEY_OK)
        return 1;
    for (;;) {
        struct pollfd fd = {.fd = pipes[0], .events = POLLIN};
        char byte;
        call_once(client, &report);
        if (poll(&fd, 1, 0) <= 0)
            continue;
        if (read(pipes[0], &byte, 1) != 1)
            break; /* the test has closed its end */
        for (unsigned i = 0; i < STEADY_MORE; i++)
            call_once(client, &report);
        if (write(pipes[1], &report, sizeof(report)) != sizeof(report))
            break;
    }
    parley_endpoint_free(endpoint);
    return 0;
}

/* ---- The test's side ---- */

void steady_start(struct steady *steady, struct bus *bus)
{
    int ask[2], answer[2];
    *steady = (struct steady){.bus = bus};
    snprintf(steady->log, sizeof(steady->log), "%s/service.log", bus->dir);
    assert_int_equal(pipe2(ask, O_CLOEXEC), 0);
    assert_int_equal(pipe2(answer, O_CLOEXEC), 0);
    steady->ask = ask[1];
    steady->answer = answer[0];
    steady->service = bus_fork(bus, serve, steady);
    int pipes[] = {ask[0], answer[1]};
    steady->client = bus_fork(bus, call_on, pipes);
    close(ask[0]);
    close(answer[1]);
    steady_check(steady);
}

void steady_stop(struct steady *steady)
{
    /* The client's own copy of the pipe's other end keeps it open there: end it by signal. */
    kill(steady->client, SIGKILL);
    assert_int_equal(bus_reap(steady->bus, steady->client), -SIGKILL);
    kill(steady->service, SIGTERM);
    assert_int_equal(bus_reap(steady->bus, steady->service), 0);
    close(steady->ask);
    close(steady->answer);
    unlink(steady->log);
}

void steady_check(struct steady *steady)
{
    struct report report;
    struct pollfd fd = {.fd = steady->answer, .events = POLLIN};
    assert_int_equal(write(steady->ask, "?", 1), 1);
    if (poll(&fd, 1, STEADY_WATCHDOG_MS) != 1)
        fail_msg("the steady client makes no calls any more");
    assert_int_equal(read(steady->answer, &report, sizeof(report)), sizeof(report));
    if (report.failed > 0)
        fail_msg("%llu of the steady client's %llu calls failed; the first: %s",
                 (unsigned long long)report.failed, (unsigned long long)report.calls, report.first);
}

void steady_expect_log(struct steady *steady, const char *text)
{
    char log[STEADY_LOG_BYTES_MAX + 1];
    for (int waited_ms = 0; waited_ms < STEADY_WATCHDOG_MS; waited_ms += 5) {
        FILE *file = fopen(steady->log, "re");
        size_t bytes = file ? fread(log, 1, STEADY_LOG_BYTES_MAX, file) : 0;
        if (file)
            fclose(file);
        log[bytes] = '\0';
        if (strstr(log, text))
            return;
        poll(NULL, 0, 5);
    }
    fail_msg("expected '%s' in the service's log:\n%s", text, log);
}
