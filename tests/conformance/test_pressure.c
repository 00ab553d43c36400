/*
 * Back-pressure: a ring or an arena that is full makes calls wait, until their deadline and no
 * longer; each ends with a status and a sentence; and nobody else notices. Run once for each wait
 * backend.
 *
 * A service that takes nothing is a process that is stopped. A client that reads nothing is an
 * endpoint that is not dispatched.
 */
#include "support/test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "rpc/internal.h"
#include "support/caller.h"
#include "support/echoes.h"
#include "ware_v1.parley.h"

#define MIB ((size_t)1 << 20)
#define LARGE (60 * MIB) /* four of them are all that one side's arena may be */
#define SHORT_NS UINT64_C(300000000)
#define PATIENCE_NS UINT64_C(60000000000)

static struct bus bus;
static pid_t echo_pid;

/* ---- The other service ---- */

static void handle_weigh(Ware__V1__Store_Service *service, const Ware__V1__Ware *input,
                         Ware__V1__Ware_Closure closure, void *data)
{
    (void)service;
    closure(input, data);
}

static int serve_ware(struct bus *b, void *argument)
{
    static Ware__V1__Store_Service service = {
        .base = {.descriptor = &ware__v1__store__descriptor,
                 .invoke = protobuf_c_service_invoke_internal},
        .weigh = handle_weigh,
    };
    struct parley_endpoint *served = bus_endpoint(b, "ware");
    struct parley_service *published;
    (void)argument;
    if (parley_service_new(served, &ware__v1__store__interface, &service.base, NULL, &published) !=
        PARLEY_OK)
        return 2;
    return parley_run(served) == PARLEY_OK ? 0 : 3;
}

/* ---- The clients ---- */

/* Pressed: its service takes nothing, or it reads nothing. The other one goes on. */
static struct parley_endpoint *endpoint, *other_endpoint;
static struct parley_client *pressed, *other_echo, *other_ware;

struct ends {
    size_t ended, ok, late, exhausted, others;
    size_t not_executed, perhaps_executed;
    size_t without_words;
};

static void count(const Echo__V1__Message *message, void *data)
{
    struct ends *tally = data;
    const struct parley_call *call = parley_call_current();
    tally->ended++;
    if (message) {
        tally->ok++;
        return;
    }
    tally->without_words += call->error[0] == '\0';
    tally->not_executed += call->executed == PARLEY_EXECUTED_NO;
    tally->perhaps_executed += call->executed == PARLEY_EXECUTED_UNKNOWN;
    if (call->status == PARLEY_DEADLINE_EXCEEDED)
        tally->late++;
    else if (call->status == PARLEY_RESOURCE_EXHAUSTED)
        tally->exhausted++;
    else
        tally->others++;
}

static Echo__V1__Message a_message(size_t bytes)
{
    static uint8_t *content;
    if (!content)
        content = calloc(1, LARGE);
    Echo__V1__Message message = ECHO__V1__MESSAGE__INIT;
    message.payload.data = content;
    message.payload.len = bytes;
    return message;
}

static void start_calls(size_t calls, size_t bytes, uint64_t timeout_ns, struct ends *tally)
{
    Echo__V1__Message request = a_message(bytes);
    const struct parley_call options = {.timeout_ns = timeout_ns};
    for (size_t i = 0; i < calls; i++)
        parley_client_start(pressed, 0, &request.base, &options, (ProtobufCClosure)count, tally);
}

/* A call on the same endpoint, to another service. */
static void assert_others_go_on(void)
{
    Ware__V1__Ware request = WARE__V1__WARE__INIT, *reply;
    struct parley_call call = {.timeout_ns = PATIENCE_NS};
    request.grams = 7;
    assert_int_equal(ware__v1__store__weigh_call(other_ware, &request, &reply, &call), PARLEY_OK);
    assert_int_equal(reply->grams, 7);
    parley_reply_free(reply);
}

static void assert_echo(struct parley_client *client, size_t bytes)
{
    Echo__V1__Message request = a_message(bytes), *reply;
    struct parley_call call = {.timeout_ns = PATIENCE_NS};
    assert_int_equal(echo__v1__echo__echo_call(client, &request, &reply, &call), PARLEY_OK);
    assert_int_equal(reply->payload.len, bytes);
    parley_reply_free(reply);
}

static Echo__V1__Echo_Service pressed_service =
    ECHO_SERVICE(.echo = echo_returned, .context = echo_context);

static int setup(void **state)
{
    (void)state;
    bus_start(&bus);
    echo_pid = caller_fork(&bus, &pressed_service, NULL);
    bus_fork(&bus, serve_ware, NULL);
    endpoint = bus_endpoint(&bus, "pressed");
    other_endpoint = bus_endpoint(&bus, "other");
    const struct parley_client_options options = {.wait_ns = PATIENCE_NS};
    assert_int_equal(parley_client_new(endpoint, &echo__v1__echo__interface, &options, &pressed),
                     PARLEY_OK);
    assert_int_equal(
        parley_client_new(endpoint, &ware__v1__store__interface, &options, &other_ware), PARLEY_OK);
    assert_int_equal(
        parley_client_new(other_endpoint, &echo__v1__echo__interface, &options, &other_echo),
        PARLEY_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    endpoint = parley_endpoint_free(endpoint);
    other_endpoint = parley_endpoint_free(other_endpoint);
    bus_stop(&bus);
    return 0;
}

/* ---- A service that takes nothing ---- */

static void test_calls_to_a_full_ring_end_by_their_deadline(void **state)
{
    (void)state;
    struct ends tally = {0};
    kill(echo_pid, SIGSTOP);
    start_calls(1000, 64, SHORT_NS, &tally);
    while (tally.ended < 1000)
        assert_others_go_on();
    assert_int_equal(tally.late, 1000);
    assert_int_equal(tally.without_words, 0);
    /* What was in the ring may have been taken; what waited for room was not. */
    assert_true(tally.perhaps_executed > 0);
    assert_true(tally.not_executed > 0);
    assert_int_equal(tally.perhaps_executed + tally.not_executed, 1000);
    kill(echo_pid, SIGCONT);
    assert_echo(pressed, 64);
}

static enum parley_executed assert_late(size_t bytes)
{
    Echo__V1__Message request = a_message(bytes), *reply;
    struct parley_call call = {.timeout_ns = SHORT_NS};
    assert_int_equal(echo__v1__echo__echo_call(pressed, &request, &reply, &call),
                     PARLEY_DEADLINE_EXCEEDED);
    assert_non_null(strstr(call.error, "before the deadline"));
    return call.executed;
}

static void test_calls_to_an_arena_full_at_its_limit_end_by_their_deadline(void **state)
{
    (void)state;
    kill(echo_pid, SIGSTOP);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(assert_late(LARGE), PARLEY_EXECUTED_UNKNOWN);
        assert_others_go_on();
    }
    assert_int_equal(assert_late(LARGE), PARLEY_EXECUTED_NO); /* it found no room */

    /* Two may wait for room, and no third. */
    struct ends tally = {0};
    start_calls(3, LARGE, SHORT_NS, &tally);
    assert_int_equal(tally.exhausted, 1); /* at once */
    while (tally.ended < 3)
        assert_others_go_on();
    assert_int_equal(tally.late, 2);
    assert_int_equal(tally.not_executed, 3);
    assert_int_equal(tally.without_words, 0);
    kill(echo_pid, SIGCONT);
    assert_echo(pressed, LARGE);
}

static void test_calls_to_an_arena_without_a_name_left_end_by_their_deadline(void **state)
{
    (void)state;
    struct ends tally = {0};
    kill(echo_pid, SIGSTOP);
    start_calls(100, 5000, SHORT_NS, &tally); /* 64 blocks may be in use */
    while (tally.ended < 100)
        assert_others_go_on();
    assert_int_equal(tally.late, 100);
    assert_int_equal(tally.perhaps_executed, 64);
    assert_int_equal(tally.not_executed, 36);
    kill(echo_pid, SIGCONT);
    assert_echo(pressed, 5000);
}

/* ---- What waits ---- */

/* A call that waits behind a ring that is full: what it has, and what became of it. */
struct waiting {
    uint64_t id;
    char value[16]; /* of its metadata; "": it has none */
    bool cancelled, ended;
};

#define WAITING 3000
static struct waiting waiting[WAITING];
static size_t waiting_ended, last_ended;
static bool disorderly, wrong;

static void waited(const Echo__V1__Message *reply, void *data)
{
    struct waiting *call = data;
    size_t index = (size_t)(call - waiting);
    waiting_ended++;
    wrong = wrong || call->ended;
    call->ended = true;
    if (call->cancelled) {
        wrong = wrong || reply || parley_call_current()->status != PARLEY_CANCELLED;
        return;
    }
    size_t bytes = strlen(call->value);
    wrong = wrong || !reply || reply->payload.len != bytes ||
            (bytes > 0 && memcmp(reply->payload.data, call->value, bytes) != 0);
    disorderly = disorderly || (last_ended > 0 && index < last_ended);
    last_ended = index;
}

/* Each third has metadata, and each seventh a text by which its frame is longer than a line or two.
 */
static void start_waiting(size_t i)
{
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    static char text[300];
    struct parley_metadata pair = {.key = "key", .value = waiting[i].value};
    struct parley_call options = {.timeout_ns = PATIENCE_NS};
    if (i % 3 == 0) {
        int n = snprintf(waiting[i].value, sizeof(waiting[i].value), "%zu", i);
        pair.value_bytes = (size_t)n;
        options.metadata = &pair;
        options.metadata_count = 1;
    }
    memset(text, 'x', sizeof(text) - 1);
    request.text = (char *)"key";
    request.number = (uint32_t)i;
    if (i % 7 == 0) {
        request.payload.data = (uint8_t *)text;
        request.payload.len = i % sizeof(text);
    }
    waiting[i].id = parley_client_start(pressed, METHOD_CONTEXT, &request.base, &options,
                                        (ProtobufCClosure)waited, &waiting[i]);
    assert_true(waiting[i].id != 0);
}

static void test_what_waits_goes_in_order_with_all_that_it_has(void **state)
{
    (void)state;
    memset(waiting, 0, sizeof(waiting));
    waiting_ended = last_ended = 0;
    disorderly = wrong = false;
    kill(echo_pid, SIGSTOP);
    for (size_t i = 0; i < WAITING; i++)
        start_waiting(i);
    /* Some leave: the last, one among the others, and many in a row, which the queue begins with.
     */
    for (size_t i = 0; i < WAITING; i++) {
        if (i % 11 != 0 && i != WAITING - 1 && (i < 200 || i >= 400))
            continue;
        waiting[i].cancelled = true;
        assert_int_equal(parley_client_cancel(pressed, waiting[i].id), PARLEY_OK);
    }
    kill(echo_pid, SIGCONT);
    uint64_t due = clock_now_ns() + PATIENCE_NS;
    while (waiting_ended < WAITING && clock_now_ns() < due)
        assert_int_equal(parley_dispatch(endpoint, SHORT_NS), PARLEY_OK);
    assert_int_equal(waiting_ended, WAITING);
    assert_false(wrong);
    assert_false(disorderly);
    assert_others_go_on();
}

/* While one waits for long others come and leave, any number of them: what keeps them does not
 * grow. */
static void test_who_leaves_the_queue_leaves_no_place_behind(void **state)
{
    (void)state;
    struct ends tally = {0};
    Echo__V1__Message request = a_message(64);
    const struct parley_call options = {.timeout_ns = PATIENCE_NS};
    kill(echo_pid, SIGSTOP);
    start_calls(300, 64, PATIENCE_NS, &tally); /* a ring full, and some that wait */
    const struct frame_queue *queue = &LIST_FIRST(&pressed->channels)->queue;
    const uint32_t waiting_now = queue->count;
    assert_true(waiting_now > 0);
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t id = parley_client_start(pressed, METHOD_ECHO, &request.base, &options,
                                          (ProtobufCClosure)count, &tally);
        assert_int_equal(parley_client_cancel(pressed, id), PARLEY_OK);
    }
    assert_int_equal(queue->count, waiting_now);
    assert_true(queue->place_max <= 1024);
    kill(echo_pid, SIGCONT);
    while (tally.ended < 300 + 20000)
        assert_int_equal(parley_dispatch(endpoint, SHORT_NS), PARLEY_OK);
    assert_int_equal(tally.ok, 300);
}

/* ---- A client that reads nothing ---- */

static void assert_unread_replies_stall_nobody(size_t calls, size_t bytes)
{
    struct ends tally = {0};
    start_calls(calls, bytes, PATIENCE_NS, &tally);
    for (int i = 0; i < 200; i++)
        assert_echo(other_echo, bytes);
    assert_int_equal(tally.ended, 0); /* nobody has looked */
    while (tally.ended < calls)
        assert_int_equal(parley_dispatch(endpoint, SHORT_NS), PARLEY_OK);
    assert_int_equal(tally.ok, calls);
}

static void test_a_full_ring_of_replies_stalls_nobody_else(void **state)
{
    (void)state;
    assert_unread_replies_stall_nobody(2000, 64);
}

static void test_a_full_arena_of_replies_stalls_nobody_else(void **state)
{
    (void)state;
    assert_unread_replies_stall_nobody(300, 5000);
}

static void test_what_was_not_read_in_time_ends_as_late(void **state)
{
    (void)state;
    struct ends tally = {0};
    start_calls(2000, 64, 1000000, &tally);
    uint64_t due = clock_now_ns() + 1000000;
    while (clock_now_ns() < due)
        assert_echo(other_echo, 64);
    while (tally.ended < 2000)
        assert_int_equal(parley_dispatch(endpoint, SHORT_NS), PARLEY_OK);
    /* Answers that were there in time count, though nobody looked. */
    assert_int_equal(tally.late + tally.ok, 2000);
    assert_true(tally.late > 0);
    assert_echo(pressed, 64);
}

#define pressure_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        pressure_test(test_calls_to_a_full_ring_end_by_their_deadline),
        pressure_test(test_calls_to_an_arena_full_at_its_limit_end_by_their_deadline),
        pressure_test(test_calls_to_an_arena_without_a_name_left_end_by_their_deadline),
        pressure_test(test_what_waits_goes_in_order_with_all_that_it_has),
        pressure_test(test_who_leaves_the_queue_leaves_no_place_behind),
        pressure_test(test_a_full_ring_of_replies_stalls_nobody_else),
        pressure_test(test_a_full_arena_of_replies_stalls_nobody_else),
        pressure_test(test_what_was_not_read_in_time_ends_as_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
