/*
 * Endpoints whose broker is at a URL, and loses them: a broker that is killed and starts anew, and
 * one that says nothing any more. Only by NNG; what is the same for all endpoints is in the other
 * files.
 */
#include "support/test.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "rpc/internal.h"
#include "support/caller.h"
#include "support/until.h"
#include "ware_v1.parley.h"
#include "ware_v2.parley.h"

static struct caller caller;

static pid_t service;

static int setup(void **state)
{
    (void)state;
    service = caller_begin(&caller, &caller_echo);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    caller_end(&caller);
    return 0;
}

static enum parley_status echo(uint32_t number)
{
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    request.number = number;
    enum parley_status status = echo__v1__echo__echo_call(caller.client, &request, &reply, NULL);
    if (status == PARLEY_OK) {
        assert_int_equal(reply->number, number);
        parley_reply_free(reply);
    }
    return status;
}

static bool is_lost(void *argument)
{
    (void)argument;
    return !parley_connected(caller.endpoint);
}

/* The client has found the broker, and the service has published itself there. */
static bool is_served(void *argument)
{
    (void)argument;
    return parley_connected(caller.endpoint) && echo(1) == PARLEY_OK;
}

static void test_a_broker_that_starts_anew_is_found_by_client_and_service(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        assert_int_equal(echo(round), PARLEY_OK);
        bus_broker_kill(&caller.bus);
        assert_true(bus_wait(caller.endpoint, is_lost, NULL));
        bus_broker_start(&caller.bus);
        assert_true(bus_wait(caller.endpoint, is_served, NULL));
    }
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(echo(i), PARLEY_OK);
    assert_int_equal(kill(service, SIGTERM), 0); /* it still drains, too */
    assert_int_equal(bus_reap(&caller.bus, service), 0);
}

/* What serves "ware"; nobody calls it. */
struct ware {
    bool second; /* 2.0.0, else 1.0.0 */
    int told[2]; /* a pipe: "w" once it knows the weights; 0: nobody is to be told */
};

static int serve_ware(struct bus *bus, void *argument)
{
    static Ware__V1__Store_Service v1 = {
        {.descriptor = &ware__v1__store__descriptor, .invoke = protobuf_c_service_invoke_internal}};
    static Ware__V2__Store_Service v2 = {
        {.descriptor = &ware__v2__store__descriptor, .invoke = protobuf_c_service_invoke_internal}};
    const struct ware *ware = argument;
    const struct parley_interface *interface =
        ware->second ? &ware__v2__store__interface : &ware__v1__store__interface;
    struct parley_service *published;
    struct parley_endpoint *endpoint = bus_endpoint(bus, "ware");
    if (parley_service_new(endpoint, interface, ware->second ? &v2.base : &v1.base, NULL,
                           &published) != PARLEY_OK)
        return 3;
    while (ware->told[1] && published->view.version_count == 0)
        (void)parley_dispatch(endpoint, 1000000);
    if (ware->told[1] && write(ware->told[1], "w", 1) != 1)
        return 4;
    return bus_serve(endpoint, published);
}

/* With shares: sets them. Return: whether the broker has them then. */
static bool ware_has(const char *set, const char *first, const char *second)
{
    char command[320], said[1024];
    snprintf(command, sizeof(command), "'%s' --url ipc://%s/control.ipc route ware %s 2>&1",
             getenv("PARLEY"), caller.bus.dir, set);
    FILE *program = popen(command, "r");
    assert_non_null(program);
    said[fread(said, 1, sizeof(said) - 1, program)] = '\0';
    return pclose(program) == 0 && strstr(said, first) && strstr(said, second);
}

static bool takes_shares(void *argument)
{
    (void)argument;
    return ware_has("1.0.0=30 2.0.0=70", "30", "70");
}

static bool has_shares(void *argument)
{
    (void)argument;
    return ware_has("", "30", "70");
}

static bool has_told(void *argument)
{
    struct pollfd told = {.fd = ((struct ware *)argument)->told[0], .events = POLLIN};
    return poll(&told, 1, 0) == 1 && told.revents & POLLIN;
}

static int setup_ware(void **state)
{
    (void)state;
    struct ware first = {0}, second = {.second = true};
    bus_start(&caller.bus);
    bus_fork(&caller.bus, serve_ware, &first);
    bus_fork(&caller.bus, serve_ware, &second);
    return 0;
}

static int teardown_ware(void **state)
{
    (void)state;
    bus_stop(&caller.bus);
    return 0;
}

/* This process is no endpoint: services that it starts would come by the socket then. What was told
 * after a ping is tests/unit/rpc/test_prove.c's. */
static void test_a_broker_that_starts_anew_is_told_the_weights(void **state)
{
    struct ware third = {0};
    (void)state;
    assert_return_code(pipe(third.told), errno);
    assert_true(bus_wait(NULL, takes_shares, NULL));
    bus_fork(&caller.bus, serve_ware, &third);
    close(third.told[1]);
    assert_true(bus_wait(NULL, has_told, &third));
    close(third.told[0]);
    bus_broker_kill(&caller.bus);
    bus_broker_start(&caller.bus);
    assert_true(bus_wait(NULL, has_shares, NULL));
}

/* Both ends of its channels are its own. */
static void test_a_remote_endpoint_rings_no_bell(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(echo(i), PARLEY_OK);
    assert_int_equal(caller.endpoint->stats.header->doorbells, 0);
}

static _Thread_local unsigned *writes; /* of this thread, to connections; NULL: not counted */

static void count_write(int fd)
{
    int type = 0;
    socklen_t bytes = sizeof(type);
    if (writes && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 && type == SOCK_STREAM)
        ++*writes;
}

/* In the place of the C library's. */
ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    count_write(fd);
    return syscall(SYS_sendmsg, fd, message, flags);
}

ssize_t send(int fd, const void *data, size_t bytes, int flags)
{
    count_write(fd);
    return syscall(SYS_sendto, fd, data, bytes, flags, NULL, 0);
}

/* TLS and libnng have theirs elsewhere. A ping may be due, too. */
static void test_requests_of_a_turn_leave_in_one_write(void **state)
{
    (void)state;
    struct tally tally = {0};
    unsigned count = 0;
    const struct parley_call call = {.timeout_ns = PARLEY_FOREVER};
    assert_int_equal(echo(1), PARLEY_OK);
    writes = &count;
    for (unsigned i = 0; i < 32; i++)
        caller_start(&caller, METHOD_ECHO, NULL, &call, &tally);
    caller_await(&caller, &tally.ended, 32);
    writes = NULL;
    assert_int_equal(tally.ok, 32);
    assert_true(count <= 4);
}

static void test_what_is_under_way_when_the_broker_dies_ends_once(void **state)
{
    (void)state;
    struct tally tally = {0};
    const struct parley_call call = {.timeout_ns = PARLEY_FOREVER};
    assert_int_equal(echo(1), PARLEY_OK);
    kill(service, SIGSTOP);
    for (unsigned i = 0; i < 100; i++)
        caller_start(&caller, METHOD_ECHO, NULL, &call, &tally);
    bus_broker_kill(&caller.bus);
    assert_true(bus_wait(caller.endpoint, is_lost, NULL));
    assert_int_equal(tally.ok, 0);
    kill(service, SIGCONT);
    bus_broker_start(&caller.bus);
    caller_await(&caller, &tally.ended, 100); /* called again, if the service was there in time */
    assert_true(bus_wait(caller.endpoint, is_served, NULL));
    assert_int_equal(tally.ended, 100);
    assert_true(tally.status == PARLEY_OK || tally.status == PARLEY_UNAVAILABLE);
}

static uint64_t passed_ns;

static uint64_t later_ns(void)
{
    return until_now_ns() + passed_ns;
}

static bool is_lost_later(void *argument)
{
    passed_ns += 100 * NS_PER_MS;
    return is_lost(argument);
}

/* Half-open: the kernel keeps the connection of a process that is stopped. */
static void test_a_broker_that_says_nothing_is_given_up(void **state)
{
    (void)state;
    struct tally tally = {0};
    const struct parley_call call = {.timeout_ns = PARLEY_FOREVER};
    assert_int_equal(echo(1), PARLEY_OK);
    kill(caller.bus.broker, SIGSTOP);
    caller_start(&caller, METHOD_ECHO, NULL, &call, &tally);
    clock_set(later_ns);
    assert_true(bus_wait(caller.endpoint, is_lost_later, NULL));
    kill(caller.bus.broker, SIGCONT);
    caller_await(&caller, &tally.ended, 1);
    assert_int_equal(tally.ok, 1);
}

#define remote_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (!getenv("BUS_TRANSPORT")) {
        printf("skipped: it is of endpoints by NNG\n");
        return BUS_EXIT_SKIP;
    }
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        remote_test(test_a_broker_that_starts_anew_is_found_by_client_and_service),
        cmocka_unit_test_setup_teardown(test_a_broker_that_starts_anew_is_told_the_weights,
                                        setup_ware, teardown_ware),
        remote_test(test_a_remote_endpoint_rings_no_bell),
        remote_test(test_requests_of_a_turn_leave_in_one_write),
        remote_test(test_what_is_under_way_when_the_broker_dies_ends_once),
        remote_test(test_a_broker_that_says_nothing_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
