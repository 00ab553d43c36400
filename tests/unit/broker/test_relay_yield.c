/*
 * The broker's own yield, before it sleeps: to those who work on the calls that it makes.
 *
 * Once there is a service, the broker's turns are done here, one by one; they never sleep, for none
 * may. sched_yield(2) is defined here, before the C library's own: what the test's thread does of
 * it is counted. The clock is the test's as well: it goes on by itself only a little with each
 * reading, and by as much as a yield is said to take.
 */
#include "support/test.h"

#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "broker/relay.h"
#include "support/echoes.h"
#include "support/served.h"
#include "support/until.h"
#include "wait/wait.h"

#define YIELDS_MAX 2 /* of the broker's, before it sleeps */
#define TURNS 10     /* more than it takes until it would sleep */

static _Atomic uint64_t clock_ns;
static _Thread_local bool counted; /* yields of this thread */
static unsigned yields;
static uint64_t yield_ns;  /* that one takes */
static bool answers;       /* the service, in a yield */
static sem_t go, answered; /* for the handler; by it */
static _Atomic unsigned at_work;
static unsigned ended_count;

static uint64_t clock_that_creeps(void)
{
    return atomic_fetch_add(&clock_ns, 10) + 10;
}

static void answer(void)
{
    (void)sem_post(&go);
    while (sem_wait(&answered) != 0)
        continue;
}

int sched_yield(void)
{
    if (!counted)
        return (int)syscall(SYS_sched_yield);
    yields++;
    atomic_fetch_add(&clock_ns, yield_ns);
    if (answers)
        answer();
    return 0;
}

static void handle_never(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                         Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    at_work++;
    while (sem_wait(&go) != 0)
        continue;
    closure(input, data);
    at_work--;
    (void)sem_post(&answered);
}

static enum parley_status serve_echo(struct parley_endpoint *endpoint)
{
    return echo_serve(endpoint, handle_never);
}

/* ---- The broker's part ---- */

static void turn(void)
{
    assert_int_equal(broker_turn(served.broker, 0), 0);
}

static void turns(void)
{
    for (unsigned i = 0; i < TURNS; i++)
        turn();
}

static void on_end(const struct relay_end *end, void *userdata)
{
    (void)userdata;
    assert_int_equal(end->status, PARLEY_OK);
    ended_count++;
}

static void start_call(void)
{
    struct relay_ask ask = {.payload = (const uint8_t *)"", .ended = on_end};
    struct error_text error = {""};
    enum parley_status status;
    if (relay_find(served.broker, "echo", NULL, &ask.schema, &error) != PARLEY_OK ||
        relay_method(ask.schema, "Never", &ask.method, &error) != PARLEY_OK ||
        relay_start(served.broker, &ask, &status, &error) == 0)
        fail_msg("%s", error.text);
    ended_count = 0;
    yields = 0;
}

static void end_call(void)
{
    if (ended_count == 0)
        answer();
    UNTIL(turn(), ended_count > 0);
}

/* A whole call, of which the broker yields so often before it would sleep. */
static unsigned yields_of_a_call(void)
{
    start_call();
    UNTIL(turn(), at_work > 0);
    turns();
    unsigned count = yields;
    end_call();
    turns();
    return count;
}

static int begin(void **state)
{
    static const struct served_service service = {"echo", serve_echo, NULL};
    static const struct broker_options options = {0};
    (void)state;
    atomic_store(&clock_ns, clock_now_ns());
    clock_set(clock_that_creeps);
    served_prepare();
    served_begin(&options);
    served_start(0, &service);
    served_hold();
    counted = true;
    yield_ns = 0;
    answers = false;
    assert_int_equal(sem_init(&go, 0, 0), 0);
    assert_int_equal(sem_init(&answered, 0, 0), 0);
    (void)yields_of_a_call(); /* the first one: a channel is made */
    return 0;
}

static int end(void **state)
{
    (void)state;
    counted = false;
    (void)sem_post(&go); /* of a test that has failed: its handler still waits */
    served_go();
    int r = served_end();
    clock_set(NULL);
    return r;
}

/* ---- Tests ---- */

static void test_who_works_on_a_call_is_yielded_to_and_then_the_broker_sleeps(void **state)
{
    (void)state;
    assert_int_equal(yields_of_a_call(), YIELDS_MAX);
    assert_int_equal(yields_of_a_call(), YIELDS_MAX);
}

static void test_without_a_call_the_broker_does_not_yield(void **state)
{
    (void)state;
    yields = 0;
    turns();
    assert_int_equal(yields, 0);
}

static void test_an_answer_given_in_a_yield_is_taken_without_another(void **state)
{
    (void)state;
    answers = true;
    start_call();
    turns();
    assert_int_equal(ended_count, 1);
    assert_int_equal(yields, 1);
}

static void test_after_a_yield_that_took_long_the_broker_sleeps_instead(void **state)
{
    (void)state;
    yield_ns = YIELD_LONG_NS;
    assert_int_equal(yields_of_a_call(), 1);
    assert_int_equal(yields_of_a_call(), 0);
    atomic_fetch_add(&clock_ns, YIELD_PAUSE_NS_MIN);
    for (unsigned i = 0; i < YIELD_PAUSE_WAITS; i++)
        assert_int_equal(yields_of_a_call(), 0);
    assert_int_equal(yields_of_a_call(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_who_works_on_a_call_is_yielded_to_and_then_the_broker_sleeps, begin, end),
        cmocka_unit_test_setup_teardown(test_without_a_call_the_broker_does_not_yield, begin, end),
        cmocka_unit_test_setup_teardown(test_an_answer_given_in_a_yield_is_taken_without_another,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_after_a_yield_that_took_long_the_broker_sleeps_instead,
                                        begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
