/*
 * A bus for a test: parleyd in a folder of its own, and processes that serve on it.
 *
 * Everything is reaped by its pid in bus_stop(), killed if it does not end within a few seconds;
 * children also die with the test (PR_SET_PDEATHSIG). The program parleyd is found by $PARLEYD.
 */
#ifndef PARLEY_TESTS_SUPPORT_BUS_H
#define PARLEY_TESTS_SUPPORT_BUS_H

#include <stdbool.h>
#include <sys/types.h>

#include <parley/parley.h>

#define BUS_CHILD_MAX 16

/* With $BUS_TRANSPORT ("ipc", "tcp", "ws", "tls+tcp") endpoints reach the broker by NNG; each test
 * is then a process of its own, for libnng does not outlive a fork. */
struct bus {
    char dir[64];
    char socket[96];
    char log[96];     /* what parleyd says */
    char schemas[96]; /* a folder for --schemas; "": none */
    char url[160];    /* of the bus, if $BUS_TRANSPORT says that endpoints come by it; "": none */
    int port;            /* a socket that holds the port of the URL; -1: it has none */
    const char *more[4]; /* of parleyd's arguments, NULL at the end; borrowed */
    pid_t guard;         /* of the folder */
    pid_t broker;        /* 0: not running */
    pid_t children[BUS_CHILD_MAX];
    size_t child_count;
};

#define BUS_EXIT_SKIP 77 /* meson's */

/* Where an endpoint that is made by hand finds the broker: the URL; the socket in a child whose
 * parent has used libnng (ws). */
const char *bus_broker(const struct bus *bus);
/* Whether endpoints are reached by NNG; for tests of what only memory that is shared can do: says
 * that it is skipped, and why. Use: if (bus_is_remote("...")) skip(); */
bool bus_is_remote(const char *why);

/* bus_tests.c: as cmocka's. */
struct CMUnitTest;
int bus_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count,
                        int (*setup)(void **state), int (*teardown)(void **state));
#ifdef cmocka_run_group_tests
#undef cmocka_run_group_tests
#define cmocka_run_group_tests(tests, setup, teardown)                                             \
    bus_run_group_tests(#tests, tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)
#endif

/* Whether the backend that PARLEY_WAIT forces does not work here; says so. */
bool bus_must_skip(void);

/* Starts parleyd and waits until it answers. Fails the test if it does not. */
void bus_start(struct bus *bus);
/* With up to 3 more arguments for parleyd, NULL at the end; borrowed. */
void bus_start_with(struct bus *bus, const char *const *more);
/* With a folder for --schemas, which is empty. */
void bus_start_with_schemas(struct bus *bus);
/* Puts a copy of a file into the folder, at once. */
void bus_schema_put(struct bus *bus, const char *from, const char *name);
void bus_broker_start(struct bus *bus); /* again, after bus_broker_kill() */
void bus_broker_kill(struct bus *bus);  /* SIGKILL, and reaped */
void bus_stop(struct bus *bus);         /* ends and removes everything */

/* Forks; the child runs `serve(bus, argument)` and exits with what it returns. */
pid_t bus_fork(struct bus *bus, int (*serve)(struct bus *bus, void *argument), void *argument);
/* In the child: serves until SIGTERM, and frees the endpoint. Return: 0; 3: it ended otherwise, or
 * left calls of @service unanswered (NULL: nobody looks). */
int bus_serve(struct parley_endpoint *endpoint, const struct parley_service *service);
/* Waits for a child: its exit status, or -signal. Fails the test after 10 s. */
int bus_reap(struct bus *bus, pid_t pid);
bool bus_has_ended(pid_t pid); /* a child: bus_reap() would not wait */

/* An endpoint on this bus. Fails the test if there is none. */
struct parley_endpoint *bus_endpoint(struct bus *bus, const char *name);
/* Waits until the client has so many instances to call, and returns how many: its channels, or by NNG
 * those that the broker has. */
size_t bus_instances(struct bus *bus, struct parley_endpoint *endpoint,
                     struct parley_client *client, const struct parley_interface *interface,
                     size_t wanted);
/* Whether the broker's log has the text, waiting up to 5 s for it. */
bool bus_log_has(struct bus *bus, const char *text);

/* Waits until `ready(argument)` is true, dispatching the endpoint (NULL: none); false after 10 s.
 */
bool bus_wait(struct parley_endpoint *endpoint, bool (*ready)(void *argument), void *argument);

#endif
