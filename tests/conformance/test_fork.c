/*
 * fork(): the child's inherited handles are inert and say so, and whatever it does with them, its
 * parent's calls go on. Run once for each wait backend.
 */
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rpc/internal.h"
#include "support/caller.h"
#include "support/echoes.h"

static struct caller caller;

/* ---- In children: no cmocka, a line number instead ---- */

static int check_failed(int line)
{
    fprintf(stderr, "in the child: line %d: %s\n", line, parley_error_text());
    return 1;
}
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return check_failed(__LINE__);                                                         \
    } while (0)
#define REFUSED(call) CHECK((call) == PARLEY_FAILED_PRECONDITION)

/* Waits for a child that is not the bus's. */
static int reap(pid_t pid)
{
    int status = 0;
    pid_t r;
    do {
        r = waitpid(pid, &status, 0);
    } while (r < 0 && errno == EINTR);
    return r != pid ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* ---- The service: forks, or tells its pid ---- */

static pid_t forked;

static int fork_and_return(void)
{
    forked = fork();
    if (forked != 0)
        return forked < 0 ? -1 : reap(forked);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return 0;
}

/* What the child that returned to the loop found there, as its exit status: 77 is right. */
static void handle_later(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                         Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    (void)input;
    Echo__V1__Message reply = ECHO__V1__MESSAGE__INIT;
    reply.number = (uint32_t)fork_and_return();
    closure(&reply, data); /* in the child: to nobody */
}

static struct parley_endpoint *served;

/* Leaves a child behind that has freed what it inherited, and lives until the test kills it. */
static void handle_die(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                       Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    Echo__V1__Message reply = *input;
    int ready[2];
    char byte;
    if (pipe2(ready, O_CLOEXEC) < 0)
        _exit(9);
    pid_t pid = fork();
    if (pid == 0) {
        /* Of course the parent could not free it here, in a handler. */
        parley_endpoint_free(served);
        if (write(ready[1], "!", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    reply.number = read(ready[0], &byte, 1) == 1 ? (uint32_t)pid : 0;
    closure(&reply, data);
}

static Echo__V1__Echo_Service implementation =
    ECHO_SERVICE(.echo = echo_returned, .later = handle_later, .die = handle_die);

static void stop(int signal)
{
    (void)signal;
    parley_stop(served);
}

static int serve(struct bus *bus, void *argument)
{
    struct parley_service *service;
    (void)argument;
    served = bus_endpoint(bus, "echo");
    signal(SIGTERM, stop);
    if (parley_service_new(served, &echo__v1__echo__interface, &implementation.base, NULL,
                           &service) != PARLEY_OK)
        return 2;
    enum parley_status status = parley_run(served);
    if (forked == 0 && status == PARLEY_FAILED_PRECONDITION) {
        /* The child that came back from a handler. */
        REFUSED(parley_run(served));
        parley_endpoint_free(served);
        return 77;
    }
    parley_endpoint_free(served);
    return status == PARLEY_OK ? 0 : 3;
}

/* ---- The test's side ---- */

static pid_t service_pid;
static struct parley_service *own_service;

static int setup(void **state)
{
    (void)state;
    bus_start(&caller.bus);
    service_pid = bus_fork(&caller.bus, serve, NULL);
    caller_connect(&caller, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    caller_leave(&caller);
    own_service = NULL;
    bus_stop(&caller.bus);
    return 0;
}

static enum parley_status echo(struct parley_client *client, uint32_t number)
{
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    request.number = number;
    enum parley_status status = echo__v1__echo__echo_call(client, &request, &reply, NULL);
    if (status == PARLEY_OK) {
        status = reply->number == number ? PARLEY_OK : PARLEY_DATA_LOSS;
        parley_reply_free(reply);
    }
    return status;
}

static pid_t fork_child(void)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGSEGV, SIG_DFL); /* cmocka's would go on with the next test, here */
        signal(SIGBUS, SIG_DFL);
    }
    assert_true(pid >= 0);
    return pid;
}

/* Runs it in a child, calling all the while, and a bit longer. */
static void in_child(int (*child)(void))
{
    pid_t pid = fork_child();
    if (pid == 0)
        _exit(child());
    int status;
    for (uint32_t i = 0; waitpid(pid, &status, WNOHANG) == 0; i++)
        assert_int_equal(echo(caller.client, i), PARLEY_OK);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(echo(caller.client, i), PARLEY_OK);
    assert_true(parley_connected(caller.endpoint));
}

static int use_everything(void)
{
    struct tally ended = {0};
    struct parley_client *client;
    struct parley_service *service;
    const Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    struct parley_call call = {0};
    ProtobufCMessage *reply;
    REFUSED(parley_client_call(caller.client, METHOD_ECHO, &request.base, &reply, &call));
    CHECK(call.status == PARLEY_FAILED_PRECONDITION && call.executed == PARLEY_EXECUTED_NO);
    CHECK(strstr(parley_error_text(), "forked") && strstr(call.error, "forked"));
    REFUSED(parley_client_send(caller.client, METHOD_ECHO, &request.base, NULL));
    CHECK(parley_client_start(caller.client, METHOD_ECHO, &request.base, NULL,
                              (ProtobufCClosure)tally, &ended) == 0);
    CHECK(ended.ended == 1 && ended.status == PARLEY_FAILED_PRECONDITION);
    echo__v1__echo__echo(parley_client_service(caller.client), &request, tally, &ended);
    CHECK(ended.ended == 2);
    REFUSED(parley_client_cancel(caller.client, 1));
    CHECK(parley_client_channel_count(caller.client) == 0);
    REFUSED(parley_client_new(caller.endpoint, &echo__v1__echo__interface, NULL, &client));
    REFUSED(parley_service_new(caller.endpoint, &echo__v1__echo__interface, &implementation.base,
                               NULL, &service));
    parley_service_close(own_service);
    CHECK(!parley_service_drained(own_service));
    REFUSED(parley_dispatch(caller.endpoint, 0));
    REFUSED(parley_dispatch(caller.endpoint, 1000));
    REFUSED(parley_run(caller.endpoint));
    CHECK(parley_fd(caller.endpoint) == -1);
    CHECK(parley_next_deadline_ns(caller.endpoint) == PARLEY_FOREVER);
    CHECK(!parley_connected(caller.endpoint));
    parley_stop(caller.endpoint);
    CHECK(parley_client_free(caller.client) == NULL);
    CHECK(parley_service_free(own_service) == NULL);
    CHECK(parley_endpoint_free(caller.endpoint) == NULL);
    return 0;
}

static void test_every_public_call_says_that_the_endpoint_is_the_parent_s(void **state)
{
    (void)state;
    struct tally tally = {0};
    const size_t both = caller.bus.url[0] ? 1 : 2; /* by NNG there is one, to the broker */
    assert_int_equal(parley_service_new(caller.endpoint, &echo__v1__echo__interface,
                                        &implementation.base, NULL, &own_service),
                     PARLEY_OK);
    /* All calls are answered by the other process: this thread does not serve while it waits. */
    for (int i = 0; i < 5000 && parley_client_channel_count(caller.client) < both; i++)
        parley_dispatch(caller.endpoint, 2000000);
    parley_service_close(own_service);
    for (int i = 0; i < 5000 && parley_client_channel_count(caller.client) > 1; i++)
        parley_dispatch(caller.endpoint, 2000000);
    caller_start(&caller, METHOD_ECHO, NULL, NULL, &tally);
    in_child(use_everything);
    assert_int_equal(tally.ok, 1);
    assert_int_equal(parley_dispatch(caller.endpoint, 0), PARLEY_OK); /* nobody has stopped it */
}

static int free_endpoint(void)
{
    /* Where shared memory was in the parent, something else is by now. */
    const struct channel *channel = TAILQ_FIRST(&caller.endpoint->cold);
    if (!channel && caller.endpoint->hot.count > 0)
        channel = caller.endpoint->hot.channels[0];
    CHECK(channel);
    uint8_t *place = channel->ours.region.base;
    uint8_t *other = mmap(place, 4096, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(other == place);
    *other = 42;
    parley_endpoint_free(caller.endpoint);
    CHECK(*other == 42);
    return 0;
}

static void test_freeing_in_the_child_leaves_the_parent_alone(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++)
        in_child(free_endpoint);
}

static int free_with_calls_in_flight(void)
{
    REFUSED(echo(caller.client, 1));
    REFUSED(parley_dispatch(caller.endpoint, 0));
    parley_endpoint_free(caller.endpoint);
    return 0;
}

static void test_calls_in_flight_are_the_parent_s(void **state)
{
    (void)state;
    struct tally tally = {0};
    uint8_t payload[30000] = {1};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    request.payload.data = payload;
    request.payload.len = sizeof(payload);
    kill(service_pid, SIGSTOP);
    for (int i = 0; i < 500; i++) /* in the ring, in the arena, in the queue */
        caller_start(&caller, METHOD_ECHO, &request, NULL, &tally);
    pid_t pid = fork_child();
    if (pid == 0)
        _exit(free_with_calls_in_flight());
    assert_int_equal(reap(pid), 0);
    kill(service_pid, SIGCONT);
    caller_await(&caller, &tally.ended, 500);
    assert_int_equal(tally.ok, 500);
}

static int make_another(void)
{
    struct parley_client *client;
    struct parley_endpoint *endpoint = bus_endpoint(&caller.bus, "child");
    CHECK(parley_client_new(endpoint, &echo__v1__echo__interface, NULL, &client) == PARLEY_OK);
    for (uint32_t i = 0; i < 500; i++)
        CHECK(echo(client, i) == PARLEY_OK);
    REFUSED(echo(caller.client, 1));
    parley_endpoint_free(caller.endpoint);
    for (uint32_t i = 0; i < 500; i++)
        CHECK(echo(client, i) == PARLEY_OK);
    parley_endpoint_free(endpoint);
    return 0;
}

static void test_a_child_makes_an_endpoint_of_its_own(void **state)
{
    (void)state;
    in_child(make_another);
}

/* How many mappings of the bus's this process has. */
static int shared_mappings(void)
{
    char line[512];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps && fgets(line, sizeof(line), maps))
        count += strstr(line, "memfd:parley-") || strstr(line, "io_uring");
    if (maps)
        fclose(maps);
    return maps ? count : -1;
}

static void test_no_shared_memory_is_mapped_in_the_child(void **state)
{
    (void)state;
    assert_true(shared_mappings() >= 4); /* statistics, routes, and a segment each way */
    in_child(shared_mappings);
}

static void test_every_descriptor_is_close_on_exec(void **state)
{
    (void)state;
    assert_int_equal(parley_service_new(caller.endpoint, &echo__v1__echo__interface,
                                        &implementation.base, NULL, &own_service),
                     PARLEY_OK);
    unsigned seen = 0;
    for (int fd = 3; fd < 1024; fd++) {
        int flags = fcntl(fd, F_GETFD);
        char path[64], name[256];
        if (flags < 0)
            continue;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(path, name, sizeof(name) - 1);
        name[n > 0 ? n : 0] = '\0';
        bool of_bus = strstr(name, "parley") || strstr(name, "socket:") ||
                      strstr(name, "eventfd") || strstr(name, "io_uring") ||
                      strstr(name, "eventpoll");
        if (of_bus && !(flags & FD_CLOEXEC))
            fail_msg("descriptor %d, %s, is inherited by other programs", fd, name);
        seen += of_bus;
    }
    assert_true(seen >= 5); /* the ring or epoll, eventfd, link, statistics, a bell */
}

static void test_a_child_that_returns_from_its_handler_leaves_the_loop(void **state)
{
    (void)state;
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(echo__v1__echo__later_call(caller.client, &request, &reply, NULL),
                         PARLEY_OK);
        assert_int_equal(reply->number, 77);
        parley_reply_free(reply);
        assert_int_equal(echo(caller.client, 5), PARLEY_OK);
    }
}

/* A closure that forks; the child returns to the loop as well. */
static int from_closure = -1;
static void fork_in_closure(const Echo__V1__Message *reply, void *data)
{
    tally(reply, data);
    from_closure = fork_and_return();
}

static void test_a_child_that_returns_from_a_closure_leaves_the_loop(void **state)
{
    (void)state;
    struct tally tally = {0}, others = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    fflush(NULL);
    pid_t parent = getpid();
    parley_client_start(caller.client, METHOD_ECHO, &request.base, NULL,
                        (ProtobufCClosure)fork_in_closure, &tally);
    for (int i = 0; i < 10; i++)
        caller_start(&caller, METHOD_ECHO, NULL, NULL, &others);
    /* Waiting for another call, inside which the closure runs. */
    enum parley_status status = echo(caller.client, 7);
    if (getpid() != parent) {
        bool right = status == PARLEY_FAILED_PRECONDITION &&
                     parley_dispatch(caller.endpoint, 1000) == PARLEY_FAILED_PRECONDITION;
        parley_endpoint_free(caller.endpoint);
        _exit(right ? 77 : 1);
    }
    assert_int_equal(status, PARLEY_OK);
    assert_int_equal(from_closure, 77);
    caller_await(&caller, &others.ended, 10);
    assert_int_equal(others.ok, 10);
}

static void test_a_parent_s_death_is_seen_although_its_child_lives(void **state)
{
    (void)state;
    if (bus_is_remote(
            "a child keeps the parent's sockets open, for libnng may not be touched there"))
        skip();
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); /* so that we can reap the child */
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    assert_int_equal(echo__v1__echo__die_call(caller.client, &request, &reply, NULL), PARLEY_OK);
    pid_t child = (pid_t)reply->number;
    parley_reply_free(reply);
    assert_true(child > 0);
    kill(service_pid, SIGKILL);
    assert_int_equal(bus_reap(&caller.bus, service_pid), -SIGKILL);
    for (int i = 0; i < 5000 && parley_client_channel_count(caller.client) > 0; i++)
        parley_dispatch(caller.endpoint, 2000000);
    assert_int_equal(parley_client_channel_count(caller.client), 0);
    assert_int_equal(kill(child, SIGKILL), 0); /* it was there */
    assert_int_equal(reap(child), -SIGKILL);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
}

#define fork_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        fork_test(test_every_public_call_says_that_the_endpoint_is_the_parent_s),
        fork_test(test_freeing_in_the_child_leaves_the_parent_alone),
        fork_test(test_calls_in_flight_are_the_parent_s),
        fork_test(test_a_child_makes_an_endpoint_of_its_own),
        fork_test(test_no_shared_memory_is_mapped_in_the_child),
        fork_test(test_every_descriptor_is_close_on_exec),
        fork_test(test_a_child_that_returns_from_its_handler_leaves_the_loop),
        fork_test(test_a_child_that_returns_from_a_closure_leaves_the_loop),
        fork_test(test_a_parent_s_death_is_seen_although_its_child_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
