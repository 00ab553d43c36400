/*
 * Clients that are connected and do nothing: in what they cost others, they are the question.
 *
 * They wait as a program with an event loop of its own would, in one poll() over all endpoints, and
 * are asleep in it: what is sent to them would ring.
 */
#include "crowd.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <parley/parley.h>

#include "base/cleanup.h"
#include "parley_call.h"
#include "proc.h"

#define MEMBER_MAX 1024
#define REPORT_PATIENCE_MS 60000

struct members {
    uint32_t count, per_endpoint;
    int fd;
    struct parley_endpoint *endpoints[MEMBER_MAX];
    struct parley_client *clients[MEMBER_MAX];
    struct pollfd waited[MEMBER_MAX + 1]; /* the last one: fd */
};

static uint32_t endpoint_count(const struct members *members)
{
    return (members->count + members->per_endpoint - 1) / members->per_endpoint;
}

/* ---- In the crowd's process ---- */

static bool call_once(struct members *members, uint32_t i)
{
    return parley_call_echo.call(members->clients[i], i) == 0 &&
           /* which puts it to sleep */
           parley_dispatch(members->endpoints[i / members->per_endpoint], 0) == PARLEY_OK;
}

static bool connect_one(const struct study_round *round, struct members *members, uint32_t i)
{
    struct parley_endpoint **endpoint = &members->endpoints[i / members->per_endpoint];
    const struct parley_client_options options = {.wait_ns = 20000000000};
    if (!*endpoint && parley_call_join(round->folder, "crowd", 0, endpoint) != PARLEY_OK)
        return false;
    return parley_client_new(*endpoint, parley_call_echo.interface, &options,
                             &members->clients[i]) == PARLEY_OK &&
           call_once(members, i);
}

static int report(struct members *members, const char *error, double first)
{
    struct crowd_report said = {
        .private_bytes = proc_private_bytes(getpid()),
        .private_first = first,
    };
    if (error)
        (void)error_set(&said.error, -1, "%s", error);
    return write(members->fd, &said, sizeof(said)) == sizeof(said) && !error ? 0 : -1;
}

static int connect_all(const struct study_round *round, struct members *members)
{
    double first = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        if (!connect_one(round, members, i))
            return report(members, parley_error_text(), 0);
        if (i == 0)
            first = proc_private_bytes(getpid());
    }
    return report(members, NULL, first);
}

static int dispatch_ready(struct members *members, uint32_t endpoints)
{
    for (uint32_t i = 0; i < endpoints; i++) {
        if (members->waited[i].revents && parley_dispatch(members->endpoints[i], 0) != PARLEY_OK)
            return -1;
    }
    return 0;
}

/* They have no timers: nothing is called, and the broker is there. */
static int sleep_on(struct members *members)
{
    const uint32_t endpoints = endpoint_count(members);
    for (uint32_t i = 0; i < endpoints; i++)
        members->waited[i] =
            (struct pollfd){.fd = parley_fd(members->endpoints[i]), .events = POLLIN};
    members->waited[endpoints] = (struct pollfd){.fd = members->fd}; /* its end */
    while (!members->waited[endpoints].revents) {
        if (poll(members->waited, endpoints + 1, -1) < 0 && errno != EINTR)
            return -1;
        if (dispatch_ready(members, endpoints) < 0)
            return -1;
    }
    return 0;
}

static int live(const struct study_round *round, void *userdata)
{
    struct members *members = userdata;
    int r = connect_all(round, members);
    return r == 0 ? sleep_on(members) : r;
}

/* ---- Outside ---- */

static int read_report(struct study_round *round, const struct crowd *crowd,
                       struct crowd_report *ret_report)
{
    struct pollfd waited = {.fd = crowd->fd, .events = POLLIN};
    if (poll(&waited, 1, REPORT_PATIENCE_MS) <= 0 ||
        read(crowd->fd, ret_report, sizeof(*ret_report)) != sizeof(*ret_report))
        return error_set(round->error, -1, "the idle clients did not connect in time");
    if (ret_report->error.text[0])
        return error_set(round->error, -1, "an idle client: %s", ret_report->error.text);
    return 0;
}

int crowd_start(struct study_round *round, uint32_t clients, uint32_t per_endpoint,
                struct crowd *ret_crowd, struct crowd_report *ret_report)
{
    static struct members members;
    int pair[2];
    if (clients > MEMBER_MAX || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set(round->error, -1, "no socket for the idle clients");
    members = (struct members){.count = clients, .per_endpoint = per_endpoint, .fd = pair[1]};
    *ret_crowd = (struct crowd){
        .fd = pair[0],
        .pid = study_start(round, round->cpus[1], live, &members),
    };
    fd_close(pair[1]);
    if (ret_crowd->pid < 0)
        return error_set(round->error, -1, "fork failed");
    return read_report(round, ret_crowd, ret_report);
}

void crowd_stop(struct crowd *crowd)
{
    study_stop(crowd->pid);
    fd_close(crowd->fd);
    *crowd = (struct crowd){.fd = -1};
}
