/*
 * A client of the echo interface on a bus of its own, and what became of its calls.
 */
#ifndef PARLEY_TESTS_SUPPORT_CALLER_H
#define PARLEY_TESTS_SUPPORT_CALLER_H

#include <stdbool.h>
#include <stddef.h>

#include "echo.parley.h"
#include "support/bus.h"

struct caller {
    struct bus bus;
    struct parley_endpoint *endpoint;
    struct parley_client *client;
};

/* Makes endpoint and client, and waits for channels to so many instances. */
void caller_connect(struct caller *caller, size_t instances);
void caller_leave(struct caller *caller);

/* In a service's handler: its endpoint. */
const struct parley_endpoint *caller_serving(void);
/* A bus, one process that publishes the implementation, and a client of it. Return: its pid. */
pid_t caller_begin(struct caller *caller, Echo__V1__Echo_Service *implementation);
void caller_end(struct caller *caller);
/* Dispatches until the service has ended: as bus_reap(). */
int caller_reap(struct caller *caller, pid_t service);

/* Dispatches until *number >= value; fails the test after 10 s. */
void caller_await(struct caller *caller, const size_t *number, size_t value);

/* Forks a process that publishes the implementation until SIGTERM, with an endpoint of its own. Its
 * exit status is 0 if it has drained. */
pid_t caller_fork(struct bus *bus, Echo__V1__Echo_Service *implementation,
                  const struct parley_endpoint_options *options);

/* Echo gives its request back; there is nothing else. */
extern Echo__V1__Echo_Service caller_echo;

/* How calls ended: their closure is tally(), its data a struct tally. */
struct tally {
    size_t ended, ok;
    uint32_t last; /* of the replies' numbers */
    enum parley_status status;
    enum parley_executed executed;
};
void tally(const Echo__V1__Message *reply, void *data);

/* Starts a call of a method whose closure is tally(). */
uint64_t caller_start(struct caller *caller, unsigned method, const Echo__V1__Message *request,
                      const struct parley_call *call, struct tally *tally);

enum echo_method {
    METHOD_ECHO,
    METHOD_FAIL,
    METHOD_LATER,
    METHOD_CONTEXT,
    METHOD_NEVER,
    METHOD_DIE,
    METHOD_DIE_ONCE,
};

#endif
