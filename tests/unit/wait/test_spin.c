#include "support/test.h"

#include <sched.h>

#include "wait/wait.h"

#define MAX_NS 100000

/* As spin_init() on a machine with several CPUs, whatever this one has. */
static struct spin new_spin(void)
{
    return (struct spin){.budget_ns_max = MAX_NS};
}

static void miss(struct spin *spin, int times)
{
    for (int i = 0; i < times; i++) {
        assert_int_equal(spin_begin(spin), MAX_NS);
        spin_miss(spin);
    }
}

static void test_before_any_traffic_it_spins_the_most(void **state)
{
    (void)state;
    struct spin spin = new_spin();
    assert_int_equal(spin_begin(&spin), MAX_NS);
}

static void test_misses_in_a_row_end_spinning(void **state)
{
    (void)state;
    struct spin spin = new_spin();
    miss(&spin, SPIN_MISSES_MAX);
    assert_int_equal(spin_begin(&spin), 0);
}

static void test_one_miss_fewer_does_not(void **state)
{
    (void)state;
    struct spin spin = new_spin();
    miss(&spin, SPIN_MISSES_MAX - 1);
    assert_int_equal(spin_begin(&spin), MAX_NS);
}

static void test_a_hit_forgets_misses(void **state)
{
    (void)state;
    struct spin spin = new_spin();
    miss(&spin, SPIN_MISSES_MAX - 1);
    assert_int_equal(spin_begin(&spin), MAX_NS);
    spin_hit(&spin);
    miss(&spin, SPIN_MISSES_MAX - 1);
    assert_int_equal(spin_begin(&spin), MAX_NS);
}

static void test_a_sleeper_probes_every_so_often(void **state)
{
    (void)state;
    struct spin spin = new_spin();
    miss(&spin, SPIN_MISSES_MAX);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < SPIN_PROBE_WAITS - 1; i++)
            assert_int_equal(spin_begin(&spin), 0);
        assert_int_equal(spin_begin(&spin), MAX_NS);
        spin_miss(&spin);
    }
}

static void test_a_probe_that_hits_wakes_it(void **state)
{
    (void)state;
    struct spin spin = new_spin();
    miss(&spin, SPIN_MISSES_MAX);
    while (spin_begin(&spin) == 0)
        ;
    spin_hit(&spin);
    assert_int_equal(spin_begin(&spin), MAX_NS);
}

static void test_no_budget_stays_none(void **state)
{
    (void)state;
    struct spin spin = {.budget_ns_max = 0};
    for (int i = 0; i < 2 * SPIN_PROBE_WAITS; i++) {
        assert_int_equal(spin_begin(&spin), 0);
        spin_miss(&spin);
    }
}

static void test_the_budget_follows_the_cpus_of_the_machine(void **state)
{
    (void)state;
    struct spin spin;
    spin_init(&spin, MAX_NS);
    assert_int_equal(spin_begin(&spin), spin_cpu_count() > 1 ? MAX_NS : 0);
}

static void test_a_pinned_thread_still_spins_for_other_cpus(void **state)
{
    (void)state;
    if (spin_cpu_count() < 2) {
        print_message("skipped: this machine has one CPU\n");
        skip();
    }
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    CPU_ZERO(&one);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &before))
        cpu++;
    CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    struct spin spin;
    spin_init(&spin, MAX_NS);
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
    assert_int_equal(spin_begin(&spin), MAX_NS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_before_any_traffic_it_spins_the_most),
        cmocka_unit_test(test_misses_in_a_row_end_spinning),
        cmocka_unit_test(test_one_miss_fewer_does_not),
        cmocka_unit_test(test_a_hit_forgets_misses),
        cmocka_unit_test(test_a_sleeper_probes_every_so_often),
        cmocka_unit_test(test_a_probe_that_hits_wakes_it),
        cmocka_unit_test(test_no_budget_stays_none),
        cmocka_unit_test(test_the_budget_follows_the_cpus_of_the_machine),
        cmocka_unit_test(test_a_pinned_thread_still_spins_for_other_cpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
