/*
 * Several endpoints in one process, each in a thread of its own, that call each other; and one
 * channel with thousands of calls in flight that are answered in any order; and a channel that ends
 * while its service is busy with others. Run once for each wait backend.
 */
#include "support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/random.h"
#include "rpc/internal.h"
#include "support/caller.h"
#include "support/echoes.h"
#include "support/until.h"

static struct caller caller;

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

/* ---- Threads ---- */

#define THREADS 4
#define CALLS_EACH 4000
#define AT_ONCE 100

struct worker {
    pthread_t thread;
    struct parley_endpoint *endpoint;
    struct parley_client *client;
    uint32_t started, ended, ok;
    _Atomic uint32_t served; /* by this thread */
    const char *failure;     /* NULL: none */
};
static struct worker workers[THREADS];
static _Atomic uint32_t connected, finished;
static _Thread_local struct worker *self;

static void handle_echo(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                        Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    self->served++;
    closure(input, data);
}

static void call_next(const Echo__V1__Message *reply, void *data);

static void start_next(struct worker *worker)
{
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    static const uint8_t payload[5000]; /* some of them do not fit into the ring */
    request.number = worker->started++;
    request.payload.data = (uint8_t *)(uintptr_t)payload;
    request.payload.len = request.number % 50 ? request.number % 200 : sizeof(payload);
    echo__v1__echo__echo(parley_client_service(worker->client), &request, call_next, worker);
}

static void call_next(const Echo__V1__Message *reply, void *data)
{
    struct worker *worker = data;
    worker->ended++;
    worker->ok += reply != NULL;
    if (!reply && !worker->failure)
        worker->failure = parley_status_name(parley_call_current()->status);
    if (worker->started < CALLS_EACH)
        start_next(worker);
}

static const char *work(struct worker *worker)
{
    Echo__V1__Echo_Service implementation = ECHO_SERVICE(.echo = handle_echo);
    const struct parley_client_options options = {.timeout_ns = 60000000000};
    struct parley_service *service;
    worker->endpoint = bus_endpoint(&caller.bus, "thread");
    if (parley_service_new(worker->endpoint, &echo__v1__echo__interface, &implementation.base, NULL,
                           &service) != PARLEY_OK ||
        parley_client_new(worker->endpoint, &echo__v1__echo__interface, &options,
                          &worker->client) != PARLEY_OK)
        return "it could not connect";
    /* Everybody has a channel to everybody, and to itself; by NNG one to the broker. */
    while (parley_client_channel_count(worker->client) < (caller.bus.url[0] ? 1 : THREADS))
        (void)parley_dispatch(worker->endpoint, 1000000);
    connected++;
    while (connected < THREADS)
        (void)parley_dispatch(worker->endpoint, 1000000);
    for (uint32_t i = 0; i < AT_ONCE; i++)
        start_next(worker);
    while (worker->ended < CALLS_EACH && parley_dispatch(worker->endpoint, 1000000) == PARLEY_OK)
        ;
    finished++;
    while (finished < THREADS) /* others still call us */
        (void)parley_dispatch(worker->endpoint, 1000000);
    parley_endpoint_free(worker->endpoint);
    return worker->failure;
}

static void *run(void *argument)
{
    self = argument;
    self->failure = work(self);
    return NULL;
}

static void test_endpoints_in_threads_call_each_other(void **state)
{
    (void)state;
    uint32_t served = 0;
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, run, &workers[i]), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    for (size_t i = 0; i < THREADS; i++) {
        if (workers[i].failure)
            fail_msg("thread %zu: %s", i, workers[i].failure);
        assert_int_equal(workers[i].ok, CALLS_EACH);
        assert_true(workers[i].served > 0);
        served += workers[i].served;
    }
    assert_int_equal(served, THREADS * CALLS_EACH);
}

/* ---- Thousands in flight, in any order ---- */

#define IN_FLIGHT 4000 /* a service takes 4,096; by NNG 1,024, and more wait before it */
#define KEPT_MAX 3000
#define KEPT_MAX_NNG 900
#define CALLS 30000

struct kept {
    Echo__V1__Message_Closure closure;
    void *data;
    uint32_t number;
};
static struct kept kept[KEPT_MAX];
static uint32_t kept_count, kept_max; /* at most KEPT_MAX */
static uint64_t dice = 4711;

static void answer_any(void)
{
    uint32_t i = random_below(&dice, kept_count);
    struct kept any = kept[i];
    kept[i] = kept[--kept_count];
    Echo__V1__Message reply = ECHO__V1__MESSAGE__INIT;
    reply.number = any.number;
    any.closure(&reply, any.data);
}

/* Keeps it, and answers some of those that are kept, so that sometimes there are many. */
static void handle_later(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                         Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    kept[kept_count++] = (struct kept){closure, data, input->number};
    uint32_t keep = random_below(&dice, 100) ? kept_max - 1 : random_below(&dice, kept_max);
    while (kept_count > keep)
        answer_any();
}

/* Answers all. */
static void handle_context(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                           Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    while (kept_count)
        answer_any();
    closure(input, data);
}

struct expected {
    uint32_t number;
    uint32_t ended;
};
static struct expected expected[CALLS];
static size_t ended, wrong, out_of_order;
static uint32_t last_number;

static void check(const Echo__V1__Message *reply, void *data)
{
    struct expected *call = data;
    ended++;
    wrong += !reply || reply->number != call->number || call->ended++ > 0;
    out_of_order += reply && reply->number < last_number;
    last_number = reply ? reply->number : 0;
}

static void test_thousands_in_flight_are_answered_in_any_order(void **state)
{
    (void)state;
    static Echo__V1__Echo_Service implementation =
        ECHO_SERVICE(.later = handle_later, .context = handle_context);
    struct tally tally = {0};
    const struct parley_call call = {.timeout_ns = 60000000000};
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    uint8_t payload[300] = {0};
    request.payload.data = payload;
    kept_max = caller.bus.url[0] ? KEPT_MAX_NNG : KEPT_MAX;
    caller_fork(&caller.bus, &implementation, NULL);
    caller_connect(&caller, 1);
    for (uint32_t i = 0; i < CALLS; i++) {
        expected[i].number = request.number = i;
        request.payload.len = i % sizeof(payload);
        (void)parley_client_start(caller.client, METHOD_LATER, &request.base, &call,
                                  (ProtobufCClosure)check, &expected[i]);
        if (i + 1 - ended >= IN_FLIGHT)
            caller_await(&caller, &ended, i + 2 - IN_FLIGHT);
    }
    caller_start(&caller, METHOD_CONTEXT, NULL, &call, &tally);
    caller_await(&caller, &ended, CALLS);
    caller_await(&caller, &tally.ended, 1);
    assert_int_equal(tally.ok, 1);
    assert_int_equal(wrong, 0);
    assert_int_equal(ended, CALLS);
    assert_true(out_of_order > CALLS / 4);
}

/* ---- A channel that ends among others ---- */

static _Atomic bool enough;
static bool ends; /* the first one, in whose place the last one comes, with its next reply */

static void handle_last(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                        Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    struct channel *channel = parley_context_current()->channel;
    if (ends && channel == caller.endpoint->hot.channels[0]) {
        channel->bye = true;
        ends = false;
    }
    closure(input, data);
}

/* Calls by all of them in turn. One that has ended is made anew: no call need succeed. */
static void *call_by_four(void *unused)
{
    (void)unused;
    struct parley_endpoint *mine = bus_endpoint(&caller.bus, "four");
    struct parley_client *clients[THREADS];
    const char *problem = NULL;
    for (size_t i = 0; i < THREADS && !problem; i++) {
        if (parley_client_new(mine, &echo__v1__echo__interface, NULL, &clients[i]) != PARLEY_OK)
            problem = "it could not connect";
    }
    for (size_t i = 0; !problem && !atomic_load(&enough); i++) {
        const Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
        Echo__V1__Message *reply;
        if (echo__v1__echo__echo_call(clients[i % THREADS], &request, &reply, NULL) == PARLEY_OK)
            parley_reply_free(reply);
    }
    parley_endpoint_free(mine);
    return (void *)(uintptr_t)problem;
}

/* Where the service looks for the next record of each is where that will be. */
static bool looks_in_the_right_places(const struct hot *hot)
{
    for (uint32_t i = 0; hot->count > 1 && i < hot->count; i++) {
        const struct channel *channel = hot->channels[i];
        const struct peer_segment *peer = &channel->peer;
        if (!channel->rang && !channel->hung_up && channel->queue.count == 0 &&
            hot->words[i] != ring_word(peer->ring, peer->ring_lines, peer->tail))
            return false;
    }
    return true;
}

static void test_a_channel_that_ends_leaves_the_others_as_they_are(void **state)
{
    (void)state;
    Echo__V1__Echo_Service implementation = ECHO_SERVICE(.echo = handle_last);
    struct parley_service *service;
    pthread_t thread;
    void *problem = NULL;
    if (bus_is_remote("there are no hot channels of others then"))
        skip();
    atomic_store(&enough, false);
    caller.endpoint = bus_endpoint(&caller.bus, "service");
    assert_int_equal(parley_service_new(caller.endpoint, &echo__v1__echo__interface,
                                        &implementation.base, NULL, &service),
                     PARLEY_OK);
    assert_int_equal(pthread_create(&thread, NULL, call_by_four, NULL), 0);
    const struct hot *hot = &caller.endpoint->hot;
    for (unsigned times = 0; times < THREADS; times++) {
        UNTIL(assert_int_equal(parley_dispatch(caller.endpoint, 0), PARLEY_OK),
              hot->count == THREADS);
        ends = true;
        UNTIL(
            {
                assert_int_equal(parley_dispatch(caller.endpoint, 0), PARLEY_OK);
                assert_true(looks_in_the_right_places(hot));
            },
            hot->count < THREADS);
    }
    atomic_store(&enough, true);
    parley_service_free(service);
    caller_leave(&caller);
    assert_int_equal(pthread_join(thread, &problem), 0);
    if (problem)
        fail_msg("%s", (const char *)problem);
}

#define threads_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        threads_test(test_endpoints_in_threads_call_each_other),
        threads_test(test_thousands_in_flight_are_answered_in_any_order),
        threads_test(test_a_channel_that_ends_leaves_the_others_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
