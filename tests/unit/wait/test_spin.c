#include "support/test.h"

#include <errno.h>
#include <sched.h>

#include "wait/wait.h"

#define MAX_NS 50000

/* As spin_init() on a machine with several CPUs, whatever this one has. */
static struct spin new_spin(uint64_t max)
{
    return (struct spin){.budget_ns_max = max, .interval_ns = max};
}

static void observe_every(struct spin *spin, uint64_t interval, int times)
{
    for (int i = 0; i < times; i++)
        spin_observe(spin, (spin->last_ns ? spin->last_ns : 1) + interval);
}

static void test_before_any_traffic_the_budget_is_the_most(void **state)
{
    (void)state;
    struct spin spin = new_spin(MAX_NS);
    assert_int_equal(spin_budget_ns(&spin), MAX_NS);
}

static void test_dense_traffic_is_spun_for_twice_its_interval(void **state)
{
    (void)state;
    struct spin spin = new_spin(MAX_NS);
    observe_every(&spin, 4000, 200);
    assert_in_range(spin_budget_ns(&spin), 7900, 8100);
}

static void test_budget_never_passes_the_most(void **state)
{
    (void)state;
    struct spin spin = new_spin(MAX_NS);
    observe_every(&spin, MAX_NS - 1000, 200);
    assert_int_equal(spin_budget_ns(&spin), MAX_NS);
}

static void test_sparse_traffic_is_not_spun_for(void **state)
{
    (void)state;
    struct spin spin = new_spin(MAX_NS);
    observe_every(&spin, MAX_NS * 2, 200);
    assert_int_equal(spin_budget_ns(&spin), 0);
}

static void test_one_pause_does_not_end_spinning(void **state)
{
    (void)state;
    struct spin spin = new_spin(MAX_NS);
    observe_every(&spin, 1000, 200);
    observe_every(&spin, UINT64_C(3600) * 1000000000, 1);
    assert_true(spin_budget_ns(&spin) > 0);
}

static void test_a_dozen_fast_arrivals_end_a_quiet_night(void **state)
{
    (void)state;
    struct spin spin = new_spin(MAX_NS);
    observe_every(&spin, UINT64_C(3600) * 1000000000, 100);
    assert_int_equal(spin_budget_ns(&spin), 0);
    observe_every(&spin, 1000, 12);
    assert_true(spin_budget_ns(&spin) > 0);
}

static void test_clock_that_goes_back_changes_nothing(void **state)
{
    (void)state;
    struct spin spin = new_spin(MAX_NS);
    observe_every(&spin, 1000, 200);
    uint64_t before = spin_budget_ns(&spin);
    spin_observe(&spin, 5);
    assert_int_equal(spin_budget_ns(&spin), before);
}

static void test_zero_budget_stays_zero(void **state)
{
    (void)state;
    struct spin spin = new_spin(0);
    observe_every(&spin, 0, 10);
    assert_int_equal(spin_budget_ns(&spin), 0);
}

static void test_forever_is_forever_whatever_the_traffic(void **state)
{
    (void)state;
    struct spin spin = new_spin(UINT64_MAX);
    observe_every(&spin, 1000, 1000);
    assert_true(spin_budget_ns(&spin) == UINT64_MAX);
}

static void test_one_cpu_never_spins(void **state)
{
    (void)state;
    cpu_set_t all, one;
    assert_return_code(sched_getaffinity(0, sizeof(all), &all), errno);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++) {
        if (CPU_ISSET(cpu, &all))
            CPU_SET(cpu, &one);
    }
    assert_return_code(sched_setaffinity(0, sizeof(one), &one), errno);
    struct spin spin;
    spin_init(&spin, MAX_NS);
    unsigned count = spin_cpu_count();
    assert_return_code(sched_setaffinity(0, sizeof(all), &all), errno);
    assert_int_equal(count, 1);
    assert_int_equal(spin_budget_ns(&spin), 0);
    assert_int_equal(spin_cpu_count(), CPU_COUNT(&all));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_before_any_traffic_the_budget_is_the_most),
        cmocka_unit_test(test_dense_traffic_is_spun_for_twice_its_interval),
        cmocka_unit_test(test_budget_never_passes_the_most),
        cmocka_unit_test(test_sparse_traffic_is_not_spun_for),
        cmocka_unit_test(test_one_pause_does_not_end_spinning),
        cmocka_unit_test(test_a_dozen_fast_arrivals_end_a_quiet_night),
        cmocka_unit_test(test_clock_that_goes_back_changes_nothing),
        cmocka_unit_test(test_zero_budget_stays_zero),
        cmocka_unit_test(test_forever_is_forever_whatever_the_traffic),
        cmocka_unit_test(test_one_cpu_never_spins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
