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
    spin_slept(&spin, MAX_NS);
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

/* What came was just too late for who would have spun. */
static void sleep_a_little_too_long(struct spin *spin)
{
    miss(spin, SPIN_MISSES_MAX);
    spin_slept(spin, MAX_NS);
}

static void test_a_sleeper_probes_every_so_often(void **state)
{
    (void)state;
    struct spin spin = new_spin();
    sleep_a_little_too_long(&spin);
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
    sleep_a_little_too_long(&spin);
    while (spin_begin(&spin) == 0)
        ;
    spin_hit(&spin);
    assert_int_equal(spin_begin(&spin), MAX_NS);
}

static void test_who_sleeps_for_long_does_not_probe(void **state)
{
    (void)state;
    struct spin spin = new_spin();
    miss(&spin, SPIN_MISSES_MAX);
    for (int i = 0; i < 3 * SPIN_PROBE_WAITS; i++) {
        spin_slept(&spin, SPIN_FAR * MAX_NS);
        assert_int_equal(spin_begin(&spin), 0);
    }
}

static void test_just_less_than_long_is_worth_a_probe(void **state)
{
    (void)state;
    struct spin spin = new_spin();
    miss(&spin, SPIN_MISSES_MAX);
    spin_slept(&spin, SPIN_FAR * MAX_NS - 1);
    for (int i = 0; i < SPIN_PROBE_WAITS - 1; i++)
        assert_int_equal(spin_begin(&spin), 0);
    assert_int_equal(spin_begin(&spin), MAX_NS);
}

static void test_a_sleep_that_spinning_would_have_met_begins_it_again(void **state)
{
    (void)state;
    struct spin spin = new_spin();
    miss(&spin, SPIN_MISSES_MAX);
    spin_slept(&spin, MAX_NS);
    assert_int_equal(spin_begin(&spin), 0);
    spin_slept(&spin, MAX_NS - 1);
    assert_int_equal(spin_begin(&spin), MAX_NS);
}

static void test_who_expects_little_dozes(void **state)
{
    (void)state;
    struct spin soon, late;
    spin_init(&soon, MAX_NS, 0);
    spin_init(&late, MAX_NS, UINT64_MAX);
    assert_int_equal(spin_doze(&soon), SPIN_DOZE_NS);
    assert_int_equal(spin_doze(&late), 0);
}

static void test_the_last_sleep_says_whether_to_doze(void **state)
{
    (void)state;
    struct spin spin = new_spin();
    spin_slept(&spin, SPIN_SHORT_NS);
    assert_int_equal(spin_doze(&spin), 0);
    spin_slept(&spin, SPIN_SHORT_NS - 1);
    assert_int_equal(spin_doze(&spin), SPIN_DOZE_NS);
    spin_slept(&spin, SPIN_SHORT_NS);
    spin_hit(&spin);
    assert_int_equal(spin_doze(&spin), SPIN_DOZE_NS);
}

static void test_a_thread_knows_its_cpu(void **state)
{
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &before))
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
        assert_int_equal(spin_cpu(), cpu + 1);
    }
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
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
    spin_init(&spin, MAX_NS, 0);
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
    spin_init(&spin, MAX_NS, 0);
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
        cmocka_unit_test(test_who_sleeps_for_long_does_not_probe),
        cmocka_unit_test(test_just_less_than_long_is_worth_a_probe),
        cmocka_unit_test(test_a_sleep_that_spinning_would_have_met_begins_it_again),
        cmocka_unit_test(test_who_expects_little_dozes),
        cmocka_unit_test(test_the_last_sleep_says_whether_to_doze),
        cmocka_unit_test(test_a_thread_knows_its_cpu),
        cmocka_unit_test(test_no_budget_stays_none),
        cmocka_unit_test(test_the_budget_follows_the_cpus_of_the_machine),
        cmocka_unit_test(test_a_pinned_thread_still_spins_for_other_cpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
