/*
 * Calls that end before they are answered: at the caller at once and once, at the handler as soon
 * as it looks. Run once for each wait backend.
 */
#include "support/test.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rpc/internal.h"
#include "support/caller.h"
#include "support/echoes.h"

static struct caller caller;

/* ---- The service ---- */

/* What the service has seen; its reply to Echo has it as payload. */
struct report {
    uint32_t told;     /* contexts whose on_cancel() ran */
    uint32_t stopped;  /* handlers that stopped working */
    uint32_t kept;     /* contexts that Later keeps, ... */
    uint32_t given_up; /* ... whose callers have given up */
};
static struct report report;

#define KEPT_MAX 4096
static struct kept {
    struct parley_context *context;
    Echo__V1__Message_Closure closure;
    void *data;
} kept[KEPT_MAX];

static void handle_echo(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                        Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    Echo__V1__Message reply = *input;
    if (input->payload.len == 0) {
        report.given_up = 0;
        for (uint32_t i = 0; i < report.kept; i++)
            report.given_up += parley_context_cancelled(kept[i].context);
        reply.payload.data = (uint8_t *)&report;
        reply.payload.len = sizeof(report);
    }
    closure(&reply, data);
}

static void handle_later(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                         Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    (void)input;
    kept[report.kept++] = (struct kept){parley_context_current(), closure, data};
}

/* Answers all that Later keeps, and itself. */
static void handle_context(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                           Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    while (report.kept) {
        struct kept *last = &kept[--report.kept];
        last->closure(input, last->data);
    }
    closure(input, data);
}

static void told(struct parley_context *context, void *userdata)
{
    struct kept *own = userdata;
    report.told += parley_context_cancelled(context);
    own->closure(NULL, own->data);
    free(own);
}

static void handle_never(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                         Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    (void)input;
    struct kept *own = malloc(sizeof(*own));
    *own = (struct kept){NULL, closure, data};
    parley_context_on_cancel(parley_context_current(), told, own);
}

/* Works until its caller has given up. */
static void handle_fail(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                        Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    (void)input;
    time_t patience = time(NULL) + 20;
    while (!parley_context_cancelled(parley_context_current()) && time(NULL) < patience)
        ;
    report.stopped += parley_context_cancelled(parley_context_current());
    closure(NULL, data);
}

static Echo__V1__Echo_Service implementation =
    ECHO_SERVICE(.echo = handle_echo, .fail = handle_fail, .later = handle_later,
                 .context = handle_context, .never = handle_never);

/* ---- The client ---- */

static pid_t service;

static struct report ask(void)
{
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    struct report said;
    assert_int_equal(echo__v1__echo__echo_call(caller.client, &request, &reply, NULL), PARLEY_OK);
    assert_int_equal(reply->payload.len, sizeof(said));
    memcpy(&said, reply->payload.data, sizeof(said));
    parley_reply_free(reply);
    return said;
}

static int setup(void **state)
{
    (void)state;
    service = caller_begin(&caller, &implementation);
    if (caller.bus.url[0])
        (void)ask(); /* the broker has its channel, or it would keep the first calls itself */
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    caller_end(&caller);
    return 0;
}

static void assert_cancelled(const struct tally *tally, enum parley_executed executed)
{
    assert_int_equal(tally->ended, 1);
    assert_int_equal(tally->status, PARLEY_CANCELLED);
    assert_int_equal(tally->executed, executed);
}

static void test_a_cancelled_call_ends_at_once_and_once(void **state)
{
    (void)state;
    struct tally tally = {0};
    uint64_t id = caller_start(&caller, METHOD_NEVER, NULL, NULL, &tally);
    assert_int_not_equal(id, 0);
    assert_int_equal(parley_client_cancel(caller.client, id), PARLEY_OK);
    assert_cancelled(&tally, PARLEY_EXECUTED_UNKNOWN);
    assert_int_equal(parley_client_cancel(caller.client, id), PARLEY_NOT_FOUND);
    assert_int_equal(ask().told, 1);
    assert_int_equal(tally.ended, 1);
}

static void test_a_handler_at_work_sees_that_it_is_cancelled(void **state)
{
    (void)state;
    struct tally tally = {0};
    /* A REP socket that leaves 64 unanswered is given no more until it has answered one. */
    const uint32_t rounds = caller.bus.url[0] ? 50 : 100;
    for (uint32_t i = 1; i <= rounds; i++) {
        uint64_t id = caller_start(&caller, METHOD_FAIL, NULL, NULL, &tally);
        assert_int_equal(parley_client_cancel(caller.client, id), PARLEY_OK);
        assert_int_equal(tally.ended, i);
    }
    assert_int_equal(ask().stopped, rounds);
}

static void test_a_handler_at_work_sees_cancels_of_others_too(void **state)
{
    (void)state;
    struct tally tally = {0};
    uint64_t ids[3];
    for (size_t i = 0; i < 2; i++)
        ids[i] = caller_start(&caller, METHOD_NEVER, NULL, NULL, &tally);
    ids[2] = caller_start(&caller, METHOD_FAIL, NULL, NULL, &tally);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(parley_client_cancel(caller.client, ids[i]), PARLEY_OK);
    struct report said = ask();
    assert_int_equal(said.stopped, 1);
    assert_int_equal(said.told, 2);
}

static void test_a_deadline_that_passes_tells_the_handler(void **state)
{
    (void)state;
    struct tally tally = {0};
    struct parley_call call = {.timeout_ns = 1000000};
    for (size_t i = 1; i <= 10; i++) {
        caller_start(&caller, METHOD_NEVER, NULL, &call, &tally);
        caller_await(&caller, &tally.ended, i);
        assert_int_equal(tally.status, PARLEY_DEADLINE_EXCEEDED);
    }
    assert_int_equal(ask().told, 10);
}

static void test_a_handler_that_kept_its_call_can_ask(void **state)
{
    (void)state;
    struct tally tally = {0};
    uint64_t ids[KEPT_MAX];
    for (size_t i = 0; i < 1000; i++)
        ids[i] = caller_start(&caller, METHOD_LATER, NULL, NULL, &tally);
    assert_int_equal(ask().kept, 1000);
    for (size_t i = 0; i < 1000; i += 2)
        assert_int_equal(parley_client_cancel(caller.client, ids[i]), PARLEY_OK);
    assert_int_equal(ask().given_up, 500);
    /* All of them are answered: those that were cancelled, to nobody. */
    caller_start(&caller, METHOD_CONTEXT, NULL, NULL, &tally);
    caller_await(&caller, &tally.ended, 1001);
    assert_int_equal(tally.ok, 501);
}

static void test_a_call_that_was_not_sent_was_not_executed(void **state)
{
    (void)state;
    if (bus_is_remote("what stands for the service takes them, whatever it does"))
        skip();
    struct tally sent = {0}, unsent = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    uint8_t payload[1000] = {1};
    request.payload.data = payload;
    request.payload.len = sizeof(payload);
    kill(service, SIGSTOP);
    for (size_t i = 0; i < 100; i++)
        caller_start(&caller, METHOD_ECHO, &request, NULL, &sent);
    uint64_t id = caller_start(&caller, METHOD_NEVER, NULL, NULL, &unsent);
    assert_int_equal(parley_client_cancel(caller.client, id), PARLEY_OK);
    assert_cancelled(&unsent, PARLEY_EXECUTED_NO);
    kill(service, SIGCONT);
    caller_await(&caller, &sent.ended, 100);
    assert_int_equal(sent.ok, 100);
    assert_int_equal(ask().told, 0);
}

static bool reply_is_there(void *argument)
{
    const struct channel *channel = LIST_FIRST(&((struct parley_client *)argument)->channels);
    return ring_pending(&channel->peer);
}

static void test_a_reply_that_comes_too_late_is_dropped_and_counted(void **state)
{
    (void)state;
    if (bus_is_remote("a reply is in the ring only once the endpoint has put it there itself"))
        skip();
    const struct stats_header *stats = caller.endpoint->stats.header;
    for (size_t i = 1; i <= 10; i++) {
        struct tally tally = {0};
        uint64_t id = caller_start(&caller, METHOD_ECHO, NULL, NULL, &tally);
        assert_true(bus_wait(NULL, reply_is_there, caller.client));
        assert_int_equal(parley_client_cancel(caller.client, id), PARLEY_OK);
        assert_cancelled(&tally, PARLEY_EXECUTED_UNKNOWN);
        (void)ask();
        assert_int_equal(tally.ended, 1);
        assert_int_equal(stats->late_replies, i);
    }
}

static void test_the_memory_of_cancelled_calls_comes_back(void **state)
{
    (void)state;
    struct tally tally = {0};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    request.payload.len = 400000;
    request.payload.data = calloc(1, request.payload.len);
    /* More than all arenas of a side can hold. */
    size_t rounds = ARENA_BYTES_TOTAL_MAX / request.payload.len + 100, early = 0;
    for (size_t i = 0; i < rounds; i++) {
        uint64_t id = caller_start(&caller, METHOD_ECHO, &request, NULL, &tally);
        /* Over NNG it may be answered by the time its frame is known to be with the broker. */
        bool answered = caller.bus.url[0] && tally.ok > early;
        assert_int_equal(parley_client_cancel(caller.client, id),
                         answered ? PARLEY_NOT_FOUND : PARLEY_OK);
        early += answered;
        assert_int_equal(tally.ok, early);
        if (i % 16 == 0)
            (void)ask();
    }
    assert_int_equal(tally.ended, rounds);
    assert_int_equal(echo__v1__echo__echo_call(caller.client, &request, &reply, NULL), PARLEY_OK);
    assert_int_equal(reply->payload.len, request.payload.len);
    parley_reply_free(reply);
    free(request.payload.data);
}

static void test_a_caller_that_leaves_has_cancelled(void **state)
{
    (void)state;
    struct tally tally = {0};
    struct parley_client *first = caller.client;
    for (size_t i = 0; i < 3; i++)
        caller_start(&caller, METHOD_NEVER, NULL, NULL, &tally);
    caller_start(&caller, METHOD_LATER, NULL, NULL, &tally);
    (void)ask();
    assert_int_equal(
        parley_client_new(caller.endpoint, &echo__v1__echo__interface, NULL, &caller.client),
        PARLEY_OK);
    parley_client_free(first);
    assert_int_equal(tally.ended, 4);
    struct report said = {0};
    for (int i = 0; i < 100000 && said.told < 3; i++)
        said = ask();
    assert_int_equal(said.told, 3);
    assert_int_equal(said.given_up, 1);
}

static void test_nobody_cancels_the_call_of_another_client(void **state)
{
    (void)state;
    struct tally tally = {0};
    struct parley_client *other;
    assert_int_equal(parley_client_new(caller.endpoint, &echo__v1__echo__interface, NULL, &other),
                     PARLEY_OK);
    uint64_t id = caller_start(&caller, METHOD_LATER, NULL, NULL, &tally);
    assert_int_equal(parley_client_cancel(other, id), PARLEY_NOT_FOUND);
    assert_int_equal(parley_client_cancel(caller.client, 0), PARLEY_NOT_FOUND);
    assert_int_equal(parley_client_cancel(caller.client, UINT64_MAX), PARLEY_NOT_FOUND);
    assert_int_equal(tally.ended, 0);
    assert_int_equal(parley_client_cancel(caller.client, id), PARLEY_OK);
    assert_int_equal(tally.ended, 1);
}

/* A closure that cancels its own call, and another. */
struct pair {
    uint64_t own, other;
    enum parley_status own_status, other_status;
    struct tally tally;
};

static void cancel_both(const Echo__V1__Message *reply, void *data)
{
    struct pair *pair = data;
    tally(reply, &pair->tally);
    pair->own_status = parley_client_cancel(caller.client, pair->own);
    pair->other_status = parley_client_cancel(caller.client, pair->other);
}

static void test_a_closure_may_cancel_others_but_not_itself(void **state)
{
    (void)state;
    struct tally other = {0};
    struct pair pair = {.other = caller_start(&caller, METHOD_NEVER, NULL, NULL, &other)};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    pair.own = parley_client_start(caller.client, METHOD_ECHO, &request.base, NULL,
                                   (ProtobufCClosure)cancel_both, &pair);
    caller_await(&caller, &pair.tally.ended, 1);
    assert_int_equal(pair.own_status, PARLEY_NOT_FOUND);
    assert_int_equal(pair.other_status, PARLEY_OK);
    assert_cancelled(&other, PARLEY_EXECUTED_UNKNOWN);
}

static bool has_no_channel(void *argument)
{
    return parley_client_channel_count(argument) == 0;
}

static void cancel_other(const Echo__V1__Message *reply, void *data)
{
    struct pair *pair = data;
    tally(reply, &pair->tally);
    pair->other_status = parley_client_cancel(caller.client, pair->other);
}

/* Nobody is there to serve them, and no broker to say so. */
static void two_wait(struct pair *first, struct tally *last)
{
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    first->own = parley_client_start(caller.client, METHOD_ECHO, &request.base, NULL,
                                     (ProtobufCClosure)cancel_other, first);
    first->other = caller_start(&caller, METHOD_ECHO, NULL, NULL, last);
    assert_int_not_equal(first->other, 0);
    assert_int_equal(first->tally.ended + last->ended, 0);
}

static void test_a_closure_may_cancel_the_last_of_those_that_wait(void **state)
{
    (void)state;
    if (bus_is_remote("without a broker nothing waits there"))
        skip();
    kill(service, SIGKILL);
    (void)bus_reap(&caller.bus, service);
    assert_true(bus_wait(caller.endpoint, has_no_channel, caller.client));
    for (unsigned round = 0; round < 2; round++) { /* the second finds the list as it was left */
        struct pair first = {0};
        struct tally last = {0};
        bus_broker_kill(&caller.bus);
        while (caller.endpoint->link)
            (void)parley_dispatch(caller.endpoint, 1000000);
        two_wait(&first, &last);
        bus_broker_start(&caller.bus);
        caller_await(&caller, &first.tally.ended, 1);
        assert_int_equal(first.tally.status, PARLEY_UNAVAILABLE);
        assert_int_equal(first.other_status, PARLEY_OK);
        assert_cancelled(&last, PARLEY_EXECUTED_NO);
    }
}

#define cancel_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        cancel_test(test_a_cancelled_call_ends_at_once_and_once),
        cancel_test(test_a_handler_at_work_sees_that_it_is_cancelled),
        cancel_test(test_a_handler_at_work_sees_cancels_of_others_too),
        cancel_test(test_a_deadline_that_passes_tells_the_handler),
        cancel_test(test_a_handler_that_kept_its_call_can_ask),
        cancel_test(test_a_call_that_was_not_sent_was_not_executed),
        cancel_test(test_a_reply_that_comes_too_late_is_dropped_and_counted),
        cancel_test(test_the_memory_of_cancelled_calls_comes_back),
        cancel_test(test_a_caller_that_leaves_has_cancelled),
        cancel_test(test_nobody_cancels_the_call_of_another_client),
        cancel_test(test_a_closure_may_cancel_others_but_not_itself),
        cancel_test(test_a_closure_may_cancel_the_last_of_those_that_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
