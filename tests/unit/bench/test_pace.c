#include "support/test.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "bench/pace.h"

/* ---- The schedule ---- */

#define COUNT 100000u
#define RATE 1000000u

static uint64_t *schedule(uint64_t seed)
{
    uint64_t *due_ns = calloc(COUNT, sizeof(*due_ns));
    assert_non_null(due_ns);
    assert_int_equal(pace_schedule(seed, RATE, COUNT, due_ns), 0);
    return due_ns;
}

static void test_seed_gives_the_same_times_everywhere(void **state)
{
    (void)state;
    /* splitmix64 of 1, 53 bits of each, through -log(u) / 1000 per second, summed: by hand. */
    static const uint64_t known[] = {568169, 861491, 890917, 1702039};
    uint64_t due_ns[4], other[4];
    assert_int_equal(pace_schedule(1, 1000, 4, due_ns), 0);
    for (int i = 0; i < 4; i++)
        assert_in_range(due_ns[i], known[i] - 1, known[i] + 1); /* another libm */
    assert_int_equal(pace_schedule(2, 1000, 4, other), 0);
    assert_true(other[0] != due_ns[0]);
}

static void test_times_ascend_and_their_mean_is_the_rate(void **state)
{
    (void)state;
    uint64_t *due_ns = schedule(7);
    for (uint32_t i = 1; i < COUNT; i++)
        assert_true(due_ns[i] >= due_ns[i - 1]);
    double seconds = (double)due_ns[COUNT - 1] / 1e9;
    assert_true(fabs(seconds * RATE / COUNT - 1) < 0.01);
    free(due_ns);
}

/* The share of gaps that are longer than so many means. */
static double share_longer(const uint64_t *due_ns, double means)
{
    uint32_t longer = 0;
    for (uint32_t i = 1; i < COUNT; i++)
        longer += (double)(due_ns[i] - due_ns[i - 1]) > means * 1e9 / RATE;
    return (double)longer / (COUNT - 1);
}

static void test_gaps_are_exponential(void **state)
{
    (void)state;
    uint64_t *due_ns = schedule(7);
    for (double means = 0.25; means < 5; means *= 2)
        assert_true(fabs(share_longer(due_ns, means) - exp(-means)) < 0.005);
    free(due_ns);
}

/* Of a Poisson process the variance of what begins in a time is its mean. */
static void test_calls_come_independently(void **state)
{
    (void)state;
    enum { WINDOWS = 1000, WINDOW_NS = 90000 };
    uint64_t *due_ns = schedule(7);
    double counts[WINDOWS] = {0}, mean = 0, variance = 0;
    for (uint32_t i = 0; i < COUNT && due_ns[i] < (uint64_t)WINDOWS * WINDOW_NS; i++)
        counts[due_ns[i] / WINDOW_NS]++;
    for (int i = 0; i < WINDOWS; i++)
        mean += counts[i] / WINDOWS;
    for (int i = 0; i < WINDOWS; i++)
        variance += (counts[i] - mean) * (counts[i] - mean) / WINDOWS;
    assert_true(fabs(mean / 90 - 1) < 0.02);
    assert_true(fabs(variance / mean - 1) < 0.15);
    free(due_ns);
}

static void test_schedule_past_its_limits_is_refused(void **state)
{
    (void)state;
    uint64_t *due_ns = calloc(BENCH_SAMPLE_MAX, sizeof(*due_ns));
    assert_non_null(due_ns);
    assert_int_equal(pace_schedule(1, PACE_RATE_MIN, 1, due_ns), 0);
    assert_int_equal(pace_schedule(1, PACE_RATE_MAX, BENCH_SAMPLE_MAX, due_ns), 0);
    assert_int_equal(pace_schedule(1, PACE_RATE_MIN - 1, 1, due_ns), -EINVAL);
    assert_int_equal(pace_schedule(1, PACE_RATE_MAX + 1, 1, due_ns), -EINVAL);
    assert_int_equal(pace_schedule(1, PACE_RATE_MIN, 0, due_ns), -EINVAL);
    assert_int_equal(pace_schedule(1, PACE_RATE_MIN, BENCH_SAMPLE_MAX + 1, due_ns), -EINVAL);
    free(due_ns);
}

/* ---- Calls, by a clock that the test turns ---- */

#define CALLS 20000u
#define CALLS_PER_S 100000u
#define TICK_NS 1000u
#define STALL_NS (50 * NS_PER_MS)

static uint64_t now_ns;

static uint64_t virtual_clock(void)
{
    return now_ns;
}

struct test_run {
    struct bench_run run;
    uint32_t samples_ns[CALLS];
    uint64_t due_ns[CALLS]; /* by the clock; the pace forgets its own */
    double per_s;
    bool behind;
    struct error_text error;
    struct pace pace;
};

static int begin(void **state)
{
    struct test_run *test = calloc(1, sizeof(*test));
    if (!test)
        return -1;
    now_ns = NS_PER_S;
    clock_set(virtual_clock);
    test->run = (struct bench_run){
        .samples_ns = test->samples_ns,
        .sample_count = CALLS,
        .ret_per_s = &test->per_s,
        .ret_behind = &test->behind,
        .load = {.bytes = 64, .in_flight = CALLS, .rate = CALLS_PER_S, .seed = 3},
        .error = &test->error,
    };
    if (pace_init(&test->pace, &test->run) != 0)
        return -1;
    for (uint32_t i = 0; i < CALLS; i++)
        test->due_ns[i] = test->pace.begin_ns + test->pace.due_ns[i];
    *state = test;
    return 0;
}

static int end(void **state)
{
    struct test_run *test = *state;
    clock_set(NULL);
    pace_deinit(&test->pace);
    free(test);
    return 0;
}

/* One that takes calls in their order, @service_ns for each, and does nothing in its stall. */
struct server {
    uint64_t service_ns;
    uint64_t stall_from_ns, stall_to_ns;
    uint64_t free_ns; /* when it has done what it has begun */
    uint32_t ended;
    uint64_t done_ns[CALLS]; /* of what it has been sent */
};

static void serve(struct server *server, uint32_t number)
{
    uint64_t from = server->free_ns > now_ns ? server->free_ns : now_ns;
    uint64_t to = from + server->service_ns;
    if (to > server->stall_from_ns && from < server->stall_to_ns)
        to += server->stall_to_ns - (from > server->stall_from_ns ? from : server->stall_from_ns);
    server->free_ns = server->done_ns[number] = to;
}

/* Until all is over. Return: the most that were in flight at once. */
static uint32_t run_open_loop(struct test_run *test, struct server *server)
{
    struct pace *pace = &test->pace;
    uint32_t most = 0;
    while (pace_goes_on(pace)) {
        while (pace_may_start(pace))
            serve(server, pace_start(pace));
        most = pace->started - pace->ended > most ? pace->started - pace->ended : most;
        for (; server->ended < pace->started && server->done_ns[server->ended] <= now_ns;
             server->ended++)
            assert_int_equal(pace_end(pace, server->ended), 0);
        now_ns += TICK_NS;
    }
    pace_finish(pace);
    return most;
}

static struct server *server_new(uint64_t service_ns)
{
    struct server *server = calloc(1, sizeof(*server));
    assert_non_null(server);
    server->service_ns = service_ns;
    return server;
}

/* Of every call that should have begun in the stall, at least what was left of it. Return: how many
 * those are. */
static uint32_t check_stall(const struct test_run *test, uint64_t from_ns, uint64_t to_ns)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < CALLS; i++) {
        if (test->due_ns[i] < from_ns || test->due_ns[i] >= to_ns)
            continue;
        assert_true(test->samples_ns[i] >= to_ns - test->due_ns[i]);
        count++;
    }
    return count;
}

static void test_stalled_server_shows_in_all_calls_meanwhile(void **state)
{
    struct test_run *test = *state;
    struct server *server = server_new(2000);
    server->stall_from_ns = test->pace.begin_ns + 80 * NS_PER_MS;
    server->stall_to_ns = server->stall_from_ns + STALL_NS;
    (void)run_open_loop(test, server);
    uint32_t count = check_stall(test, server->stall_from_ns, server->stall_to_ns);
    assert_in_range(count, 4700, 5300);    /* 50 ms of 100,000 a second */
    for (uint32_t i = 0; i < CALLS; i++) { /* and nobody waited longer than for it and its queue */
        assert_true(test->samples_ns[i] >= 2000);
        assert_true(test->samples_ns[i] < STALL_NS + NS_PER_MS);
    }
    assert_false(test->behind);
    free(server);
}

/* A closed loop would have seen one slow call here. */
static void test_caller_that_is_held_up_owes_the_calls_it_missed(void **state)
{
    struct test_run *test = *state;
    struct pace *pace = &test->pace;
    uint64_t held_from = pace->begin_ns + 80 * NS_PER_MS, held_to = 0;
    while (pace_goes_on(pace)) {
        if (!pace_may_start(pace)) {
            now_ns += TICK_NS;
            continue;
        }
        uint32_t number = pace_start(pace);
        now_ns += 500;
        if (held_to == 0 && now_ns >= held_from) {
            held_from = now_ns;
            held_to = now_ns += STALL_NS;
        }
        assert_int_equal(pace_end(pace, number), 0);
    }
    pace_finish(pace);
    assert_in_range(check_stall(test, held_from, held_to), 4700, 5300);
}

static void test_samples_are_from_the_time_that_was_scheduled(void **state)
{
    struct test_run *test = *state;
    struct server *server = server_new(7000);
    (void)run_open_loop(test, server);
    uint64_t free_ns = 0;
    for (uint32_t i = 0; i < CALLS; i++) { /* Lindley's recursion */
        uint64_t from = free_ns > test->due_ns[i] ? free_ns : test->due_ns[i];
        free_ns = from + 7000;
        /* The clock of the test has ticks, on which calls begin and are seen to end. */
        assert_in_range(test->samples_ns[i], free_ns - test->due_ns[i],
                        free_ns - test->due_ns[i] + 2 * TICK_NS);
        free_ns = server->done_ns[i];
    }
    free(server);
}

static void test_who_has_half_the_capacity_falls_behind(void **state)
{
    struct test_run *test = *state;
    struct server *server = server_new(20000);
    (void)run_open_loop(test, server);
    assert_true(test->behind);
    assert_true(fabs(test->per_s / 50000 - 1) < 0.02);
    free(server);
}

/* Though at the schedule's end there is much left of it. */
static void test_a_stall_that_is_worked_off_is_not_falling_behind(void **state)
{
    struct test_run *test = *state;
    struct server *server = server_new(5000);
    server->stall_from_ns = test->pace.end_ns - 25 * NS_PER_MS;
    server->stall_to_ns = test->pace.end_ns - 5 * NS_PER_MS;
    (void)run_open_loop(test, server);
    assert_false(test->behind);
    assert_true(CALLS - test->pace.ended_in_time > CALLS / 50);
    free(server);
}

static void test_unanswered_calls_count_with_the_time_they_took_so_far(void **state)
{
    struct test_run *test = *state;
    struct server *server = server_new(1);
    const uint64_t length_ns = test->pace.end_ns - test->pace.begin_ns;
    server->stall_from_ns = test->pace.begin_ns + length_ns / 2;
    server->stall_to_ns = CLOCK_NEVER / 2;
    (void)run_open_loop(test, server);
    assert_true(test->behind);
    assert_true(test->pace.ended < CALLS);
    for (uint32_t i = test->pace.ended; i < CALLS; i++)
        assert_true(test->samples_ns[i] >= length_ns); /* it gave up after as long again */
    free(server);
}

static void test_calls_in_flight_are_bounded_and_lateness_counts(void **state)
{
    struct test_run *test = *state;
    struct server *server = server_new(20000);
    test->run.load.in_flight = 8;
    assert_int_equal(run_open_loop(test, server), 8);
    /* Of two that come for each that is done, the last waits about as long as the schedule is. */
    assert_true(test->samples_ns[CALLS / 2] > 90 * NS_PER_MS);
    free(server);
}

static void test_reply_to_no_call_is_an_error(void **state)
{
    struct test_run *test = *state;
    struct pace *pace = &test->pace;
    assert_int_equal(pace_end(pace, 0), -1);
    now_ns = pace->end_ns;
    assert_true(pace_goes_on(pace));
    assert_int_equal(pace_start(pace), 0);
    assert_int_equal(pace_end(pace, 1), -1);
    assert_int_equal(pace_end(pace, 0), 0);
    assert_int_equal(pace_end(pace, 0), -1);
    assert_string_equal(test->error.text, "a reply came to no call: 0");
}

static void test_rate_that_cannot_be_scheduled_is_said(void **state)
{
    struct test_run *test = *state;
    struct pace pace;
    test->run.load.rate = 0;
    assert_int_equal(pace_init(&pace, &test->run), -1);
    assert_string_equal(test->error.text, "20000 calls at 0 a second cannot be scheduled");
    pace_deinit(&pace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seed_gives_the_same_times_everywhere),
        cmocka_unit_test(test_times_ascend_and_their_mean_is_the_rate),
        cmocka_unit_test(test_gaps_are_exponential),
        cmocka_unit_test(test_calls_come_independently),
        cmocka_unit_test(test_schedule_past_its_limits_is_refused),
        cmocka_unit_test_setup_teardown(test_stalled_server_shows_in_all_calls_meanwhile, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_caller_that_is_held_up_owes_the_calls_it_missed, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_samples_are_from_the_time_that_was_scheduled, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_who_has_half_the_capacity_falls_behind, begin, end),
        cmocka_unit_test_setup_teardown(test_a_stall_that_is_worked_off_is_not_falling_behind,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_unanswered_calls_count_with_the_time_they_took_so_far,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_calls_in_flight_are_bounded_and_lateness_counts, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_reply_to_no_call_is_an_error, begin, end),
        cmocka_unit_test_setup_teardown(test_rate_that_cannot_be_scheduled_is_said, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
