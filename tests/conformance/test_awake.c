/*
 * What an awake call asks of the C library's allocator and of the kernel: nothing, counted in
 * client and service. And one whose sides sleep: one wake-up a leg at most.
 *
 * Allocations are counted by definitions of malloc() and its family before the C library's own, in
 * this program and so in both processes. System calls are counted from outside, by a debugger's
 * means: the process that is looked at stops at each of them; getppid() says where the count begins
 * and ends. Run once for each wait backend; epoll, other than io_uring, has to ask the kernel what
 * is ready, so there is nothing to count there.
 */
#include "support/test.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sanitized.h"
#include "rpc/internal.h"
#include "support/allocations.h"
#include "support/caller.h"
#include "support/echoes.h"
#include "support/tracing.h"
#include "wait/wait.h"

#define WARM 2000
#define COUNTED 10000

static struct caller caller;

/* ---- The service ---- */

static void mark(void)
{
    (void)syscall(SYS_getppid);
}

static uint32_t served;

/* Its reply's number: allocations so far. */
static void handle_echo(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                        Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    Echo__V1__Message reply = *input;
    reply.number = allocations;
    if (++served == WARM || served == WARM + COUNTED)
        mark(); /* between two calls, as far as counting goes */
    closure(&reply, data);
}

static Echo__V1__Echo_Service implementation = ECHO_SERVICE(.echo = handle_echo);

/* ---- The client ---- */

static uint8_t payload[3000];

/* As a program calls: with a generated stub, of any small size, now and then with metadata. Returns
 * the service's allocations, or -1. */
static int64_t call(struct parley_client *client, uint32_t number)
{
    const struct parley_metadata pairs[] = {
        {"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 55},
        {"gray.user.id", "ada", 3}};
    struct parley_call options = {.metadata = pairs, .metadata_count = number % 3 ? 0 : 2};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    request.text = (char *)(uintptr_t) "a text";
    request.payload.data = payload;
    request.payload.len = number % 40 ? number % 500 : sizeof(payload);
    if (echo__v1__echo__echo_call(client, &request, &reply, &options) != PARLEY_OK)
        return -1;
    int64_t count = reply->payload.len == request.payload.len ? (int64_t)reply->number : -1;
    parley_reply_free(reply);
    return count;
}

static int setup(void **state)
{
    (void)state;
    bus_start(&caller.bus);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    caller_end(&caller);
    return 0;
}

static void assert_warm_calls_allocate_nothing(int traced)
{
    allocations_are_counted();
    caller_fork(&caller.bus, &implementation, NULL);
    caller_connect(&caller, 1);
    tracing_set(&caller.bus, traced);
    for (uint32_t i = 0; i < WARM; i++)
        assert_true(call(caller.client, i) >= 0);
    int64_t theirs = call(caller.client, 0), last = theirs;
    uint32_t ours = allocations;
    for (uint32_t i = 0; i < COUNTED; i++)
        last = call(caller.client, i);
    assert_int_equal(allocations - ours, 0);
    assert_int_equal(last - theirs, 0);
    assert_true(ours > 0 && theirs > 0); /* it does count */
}

static void test_a_warm_call_allocates_nothing(void **state)
{
    (void)state;
    assert_warm_calls_allocate_nothing(-1);
}

static void test_a_warm_call_that_is_traced_allocates_nothing(void **state)
{
    (void)state;
    assert_warm_calls_allocate_nothing(100000);
    assert_true(caller.endpoint->spans.written > COUNTED);
}

/* Those that do not wait are copied into their slot, and answered in bursts. */
static void test_calls_in_flight_allocate_nothing_when_warm(void **state)
{
    (void)state;
    allocations_are_counted();
    caller_fork(&caller.bus, &implementation, NULL);
    caller_connect(&caller, 1);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    struct tally ended = {0};
    uint32_t ours = 0, theirs = 0;
    request.payload.data = payload;
    request.payload.len = 100;
    for (uint32_t round = 0; round < 200; round++) {
        for (uint32_t i = 0; i < 30; i++)
            caller_start(&caller, METHOD_ECHO, &request, NULL, &ended);
        caller_await(&caller, &ended.ended, 30 * (round + 1));
        if (round == 100) {
            ours = allocations;
            theirs = ended.last;
        }
    }
    assert_int_equal(ended.ok, 30 * 200);
    assert_int_equal(allocations - ours, 0);
    assert_int_equal(ended.last - theirs, 0);
}

/* More than the ring holds: what waits for room is in the calls. */
static void test_calls_that_wait_for_room_allocate_nothing_when_warm(void **state)
{
    (void)state;
    allocations_are_counted();
    caller_fork(&caller.bus, &implementation, NULL);
    caller_connect(&caller, 1);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    struct tally ended = {0};
    uint32_t ours = 0;
    request.payload.data = payload;
    request.payload.len = 100;
    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < 1000; i++)
            caller_start(&caller, METHOD_ECHO, &request, NULL, &ended);
        caller_await(&caller, &ended.ended, 1000 * (round + 1));
        if (round == 10)
            ours = allocations;
    }
    assert_int_equal(ended.ok, 1000 * 20);
    assert_int_equal(allocations - ours, 0);
}

/* ---- System calls ---- */

/* How both sides wait, and which of them is looked at. */
struct side {
    bool traced;
    uint64_t spin_ns_max;
};

static int be_traced(void)
{
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 && raise(SIGSTOP) == 0 ? 0 : -1;
}

/* Who shares a CPU with the other side does not spin, however long it may: so on a machine that is
 * busy with something else each has one of its own, the @last that it may run on or the first. */
static void keep_apart(const struct side *side, bool last)
{
    cpu_set_t allowed, one;
    int chosen = -1;
    if (side->spin_ns_max != PARLEY_FOREVER || sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE && (last || chosen < 0); cpu++)
        chosen = CPU_ISSET(cpu, &allowed) ? cpu : chosen;
    CPU_ZERO(&one);
    CPU_SET(chosen, &one);
    (void)sched_setaffinity(0, sizeof(one), &one);
}

static int call_in_child(struct bus *bus, void *argument)
{
    const struct side *side = argument;
    keep_apart(side, false);
    const bool traced = side->traced;
    struct parley_endpoint_options options = {.spin_ns_max = side->spin_ns_max};
    struct parley_client *client;
    struct parley_endpoint *endpoint;
    const struct parley_client_options patient = {.wait_ns = UINT64_C(20000000000),
                                                  .timeout_ns = UINT64_C(60000000000)};
    options.broker = bus->socket;
    if ((traced && be_traced() < 0) || parley_endpoint_new(&options, &endpoint) != PARLEY_OK ||
        parley_client_new(endpoint, &echo__v1__echo__interface, &patient, &client) != PARLEY_OK)
        return 2;
    for (uint32_t i = 0; i < WARM + COUNTED + 1; i++) {
        if (traced && (i == WARM || i == WARM + COUNTED))
            mark();
        if (call(client, i) < 0)
            return 3;
    }
    parley_endpoint_free(endpoint);
    return 0;
}

static int serve_in_child(struct bus *bus, void *argument)
{
    const struct side *side = argument;
    keep_apart(side, true);
    const bool traced = side->traced;
    struct parley_endpoint_options options = {.spin_ns_max = side->spin_ns_max};
    struct parley_service *service;
    struct parley_endpoint *endpoint;
    options.broker = bus->socket;
    if ((traced && be_traced() < 0) || parley_endpoint_new(&options, &endpoint) != PARLEY_OK ||
        parley_service_new(endpoint, &echo__v1__echo__interface, &implementation.base, NULL,
                           &service) != PARLEY_OK)
        return 2;
    return parley_run(endpoint) == PARLEY_OK ? 0 : 3; /* until it is killed */
}

struct counted {
    unsigned marks;
    unsigned calls;  /* between the marks */
    unsigned clocks; /* beside them, where the kernel has to be asked for the time */
    unsigned rings;  /* of them, that wake somebody up */
    uint64_t first;  /* number of the first that is not a clock's */
};

static bool is_ring(uint64_t number, const uint64_t *arguments)
{
    return number == SYS_sendto || number == SYS_sendmsg || number == SYS_write ||
           (number == SYS_futex && arguments[1] == FUTEX_WAKE);
}

static void count(struct counted *counted, uint64_t number, const uint64_t *arguments)
{
    if (number == SYS_getppid) {
        counted->marks++;
    } else if (counted->marks == 1 && number == SYS_clock_gettime) {
        counted->clocks++;
    } else if (counted->marks == 1) {
        counted->rings += is_ring(number, arguments);
        if (counted->calls++ == 0)
            counted->first = number;
    }
}

/* Lets it run from one system call to the next, until the second mark; and then go. */
static struct counted trace(pid_t pid)
{
    struct counted counted = {0};
    siginfo_t info;
    int status = 0, deliver = 0;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WSTOPPED | WNOWAIT), 0);
    if (info.si_code == CLD_EXITED) {
        assert_int_equal(bus_reap(&caller.bus, pid), 2);
        print_message("a process may not be traced here\n");
        skip();
    }
    assert_int_equal(waitpid(pid, &status, __WALL), pid);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(
        ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL), 0);
    while (counted.marks < 2) {
        assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, deliver), 0);
        assert_int_equal(waitpid(pid, &status, __WALL), pid);
        if (!WIFSTOPPED(status))
            fail_msg("it ended before it was counted: %#x", (unsigned)status);
        deliver = WSTOPSIG(status) == (SIGTRAP | 0x80) ? 0 : WSTOPSIG(status);
        struct __ptrace_syscall_info call;
        if (deliver == 0 && ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(call), &call) > 0 &&
            call.op == PTRACE_SYSCALL_INFO_ENTRY)
            count(&counted, call.entry.nr, (const uint64_t *)call.entry.args);
    }
    assert_int_equal(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
    return counted;
}

/* Skips if it cannot be counted. */
static struct counted counted_calls(bool of_client, uint64_t spin_ns_max)
{
    struct side looked_at = {true, spin_ns_max}, other = {false, spin_ns_max};
    pid_t service = bus_fork(&caller.bus, serve_in_child, of_client ? &other : &looked_at);
    struct counted counted;
    pid_t client;
    if (of_client) {
        client = bus_fork(&caller.bus, call_in_child, &looked_at);
        counted = trace(client);
    } else {
        client = bus_fork(&caller.bus, call_in_child, &other);
        counted = trace(service);
    }
    assert_int_equal(bus_reap(&caller.bus, client), 0);
    return counted;
}

static void assert_no_system_call(bool of_client)
{
    const char *backend = getenv("PARLEY_WAIT");
    if (backend && strcmp(backend, "epoll") == 0) {
        print_message("epoll is a system call\n");
        skip();
    }
    if (SANITIZED) {
        print_message("a sanitizer makes system calls of its own\n");
        skip();
    }
    if (spin_cpu_count() == 1) {
        print_message("on one CPU nobody stays awake\n");
        skip();
    }
    struct counted counted = counted_calls(of_client, PARLEY_FOREVER);
    if (counted.clocks)
        print_message("the clock is a system call here: %u\n", counted.clocks);
    if (counted.calls)
        fail_msg("%u system calls in %d calls, the first is number %llu", counted.calls, COUNTED,
                 (unsigned long long)counted.first);
}

static void test_an_awake_client_makes_no_system_call(void **state)
{
    (void)state;
    assert_no_system_call(true);
}

static void test_an_awake_service_makes_no_system_call(void **state)
{
    (void)state;
    assert_no_system_call(false);
}

/* Who never spins sleeps in each of these calls. What else is counted between the marks is the mark
 * itself, and the reply or the request that it is in the middle of. */
static void assert_one_wake_up_a_leg(bool of_client)
{
    if (SANITIZED) {
        print_message("a sanitizer makes system calls of its own\n");
        skip();
    }
    struct counted counted = counted_calls(of_client, 1);
    print_message("%u wake-ups, %u system calls in %d calls\n", counted.rings, counted.calls,
                  COUNTED);
    assert_true(counted.rings > 0);
    assert_true(counted.rings <= COUNTED + 1);
}

static void test_a_client_wakes_its_service_once_a_call(void **state)
{
    (void)state;
    assert_one_wake_up_a_leg(true);
}

static void test_a_service_wakes_its_client_once_a_call(void **state)
{
    (void)state;
    assert_one_wake_up_a_leg(false);
}

static void test_a_loop_of_dispatches_arms_only_if_the_descriptor_was_asked_for(void **state)
{
    (void)state;
    caller_fork(&caller.bus, &caller_echo, NULL);
    caller_connect(&caller, 1);
    const struct channel *channel = LIST_FIRST(&caller.client->channels);
    struct tally tally = {0};
    caller_start(&caller, METHOD_ECHO, NULL, NULL, &tally);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(parley_dispatch(caller.endpoint, 0), PARLEY_OK);
    assert_true(channel->awake);
    while (tally.ended == 0)
        assert_int_equal(parley_dispatch(caller.endpoint, 0), PARLEY_OK);
    assert_int_equal(tally.ok, 1);

    assert_true(parley_fd(caller.endpoint) >= 0);
    while (channel->awake)
        assert_int_equal(parley_dispatch(caller.endpoint, 0), PARLEY_OK);
    assert_true(atomic_load(&channel->ours.cells->asleep) != ASLEEP_NOT);
}

static void test_a_client_that_is_attached_has_what_its_first_call_needs(void **state)
{
    (void)state;
    caller_fork(&caller.bus, &caller_echo, NULL);
    caller_connect(&caller, 1);
    assert_true(caller.endpoint->call_free_count > 0);
    assert_false(client_route_is_news(caller.client));
}

/* Where io_uring tells of descriptors meanwhile, it need not wait for them with the bell. */
static void test_a_service_that_was_never_called_sleeps_on_a_word(void **state)
{
    static const uint32_t one = 1;
    const void *const words[] = {&one, &one};
    (void)state;
    caller_fork(&caller.bus, &caller_echo, NULL);
    caller_connect(&caller, 1);
    if (strcmp(parley_wait_backend(caller.endpoint), "io_uring") != 0 ||
        wait_words(words, 2, 1) < 0) {
        print_message("needs io_uring, and futex_waitv(2)\n");
        skip();
    }
    const struct channel *channel = LIST_FIRST(&caller.client->channels);
    for (int i = 0; i < 5000 && peer_asleep(&channel->peer) != ASLEEP_WORD; i++)
        assert_int_equal(parley_dispatch(caller.endpoint, NS_PER_MS), PARLEY_OK);
    assert_int_equal(peer_asleep(&channel->peer), ASLEEP_WORD);
    struct tally tally = {0};
    caller_start(&caller, METHOD_ECHO, NULL, NULL, &tally);
    caller_await(&caller, &tally.ended, 1);
    assert_int_equal(tally.ok, 1);
}

static void await_instances(size_t count)
{
    caller_fork(&caller.bus, &caller_echo, NULL);
    while (parley_client_channel_count(caller.client) < count)
        assert_int_equal(parley_dispatch(caller.endpoint, 10 * NS_PER_MS), PARLEY_OK);
}

/* It says of the next record only that it has not come yet. */
static void test_what_comes_by_a_descriptor_is_not_taken_for_a_record(void **state)
{
    (void)state;
    caller_fork(&caller.bus, &caller_echo, NULL);
    caller_connect(&caller, 1);
    struct spin *spin = &caller.endpoint->spin[false];
    spin->last_ns = CLOCK_NEVER;
    await_instances(2);
    assert_true(spin->last_ns == CLOCK_NEVER);
    spin->last_ns = 0;
    await_instances(3);
    assert_true(spin->last_ns > 0);
}

#define awake_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        awake_test(test_a_warm_call_allocates_nothing),
        awake_test(test_a_warm_call_that_is_traced_allocates_nothing),
        awake_test(test_calls_in_flight_allocate_nothing_when_warm),
        awake_test(test_calls_that_wait_for_room_allocate_nothing_when_warm),
        awake_test(test_an_awake_client_makes_no_system_call),
        awake_test(test_an_awake_service_makes_no_system_call),
        awake_test(test_a_client_wakes_its_service_once_a_call),
        awake_test(test_a_service_wakes_its_client_once_a_call),
        awake_test(test_a_loop_of_dispatches_arms_only_if_the_descriptor_was_asked_for),
        awake_test(test_a_client_that_is_attached_has_what_its_first_call_needs),
        awake_test(test_a_service_that_was_never_called_sleeps_on_a_word),
        awake_test(test_what_comes_by_a_descriptor_is_not_taken_for_a_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
