#include "support/test.h"

#include <sched.h>

#include "base/clock.h"
#include "wait/wait.h"

#define SHORT_NS (PART_WINDOW_NS / PART_WAITS / 2) /* between two waits of a busy channel */

static struct part new_part(void)
{
    struct part part;
    part_init(&part);
    return part;
}

/* Waits together, one after the other. Return: how many it took until it was due. */
static unsigned wait_until_due(struct part *part, uint64_t *now_ns, uint64_t between_ns)
{
    for (unsigned i = 1; i <= 1000000; i++) {
        *now_ns += between_ns;
        if (part_due(part, *now_ns))
            return i;
    }
    return 0;
}

static void test_busy_waits_together_are_worth_leaving(void **state)
{
    (void)state;
    struct part part = new_part();
    uint64_t now_ns = NS_PER_S;
    assert_int_equal(wait_until_due(&part, &now_ns, SHORT_NS), PART_WAITS);
}

static void test_rare_waits_are_not(void **state)
{
    (void)state;
    struct part part = new_part();
    uint64_t now_ns = NS_PER_S;
    assert_int_equal(wait_until_due(&part, &now_ns, NS_PER_MS), 0);
}

/* Left, and together again after @apart_ns: how long it is from leaving once to leaving again. */
static uint64_t leave_again_ns(struct part *part, uint64_t *now_ns, uint64_t apart_ns)
{
    uint64_t left_ns = *now_ns;
    part_done(part, true, left_ns);
    *now_ns += apart_ns;
    assert_int_not_equal(wait_until_due(part, now_ns, NS_PER_US), 0);
    return *now_ns - left_ns;
}

static void test_who_is_together_again_at_once_waits_twice_as_long(void **state)
{
    (void)state;
    struct part part = new_part();
    uint64_t now_ns = NS_PER_S;
    (void)wait_until_due(&part, &now_ns, SHORT_NS);
    uint64_t pause_ns = PART_PAUSE_NS_MIN;
    part_done(&part, true, now_ns);
    for (int i = 0; i < 40; i++) {
        uint64_t left_ns = now_ns;
        pause_ns = 2 * pause_ns < PART_PAUSE_NS_MAX ? 2 * pause_ns : PART_PAUSE_NS_MAX;
        now_ns += PART_LASTED_NS - 1;
        assert_false(part_due(&part, now_ns));
        now_ns = left_ns + pause_ns - 1;
        for (unsigned wait = 0; wait < 2 * PART_WAITS; wait++)
            assert_false(part_due(&part, now_ns));
        now_ns++;
        assert_true(part_due(&part, now_ns));
        part_done(&part, true, now_ns);
    }
}

static void test_what_lasted_is_done_again_soon(void **state)
{
    (void)state;
    struct part part = new_part();
    uint64_t now_ns = NS_PER_S;
    (void)wait_until_due(&part, &now_ns, SHORT_NS);
    for (int i = 0; i < 5; i++)
        (void)leave_again_ns(&part, &now_ns, 0);
    assert_in_range(leave_again_ns(&part, &now_ns, PART_LASTED_NS), PART_PAUSE_NS_MIN,
                    PART_PAUSE_NS_MIN + 2 * PART_WAITS * NS_PER_US);
}

static void test_where_there_is_no_room_it_is_looked_again_soon(void **state)
{
    (void)state;
    struct part part = new_part();
    uint64_t now_ns = NS_PER_S;
    (void)wait_until_due(&part, &now_ns, SHORT_NS);
    for (int i = 0; i < 5; i++) {
        uint64_t looked_ns = now_ns;
        part_done(&part, false, now_ns);
        assert_int_not_equal(wait_until_due(&part, &now_ns, NS_PER_US), 0);
        assert_in_range(now_ns - looked_ns, PART_PAUSE_NS_MIN,
                        PART_PAUSE_NS_MIN + PART_WAITS * NS_PER_US);
    }
}

static void test_what_runs_is_in_the_fourth_field(void **state)
{
    (void)state;
    assert_int_equal(part_running("0.20 0.18 0.12 1/80 11206\n"), 1);
    assert_int_equal(part_running("10.20 0.18 0.12 2147483647/80 11206\n"), 2147483647);
    assert_int_equal(part_running("0 0 0 0/80 11206\n"), 0);
    assert_true(part_running("0 0 0 2147483648/80 11206\n") < 0);
    assert_true(part_running("0 0 0 -1/80 11206\n") < 0);
    assert_true(part_running("0 0 0 /80 11206\n") < 0);
    assert_true(part_running("0 0 0 7") < 0);
    assert_true(part_running("0 0 0 ") < 0);
    assert_true(part_running("0.20 0.18 0.12") < 0);
    assert_true(part_running("") < 0);
}

static void test_leaving_moves_to_another_cpu(void **state)
{
    (void)state;
    cpu_set_t before, after;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    unsigned count = (unsigned)CPU_COUNT(&before);
    if (count < 2 || count < spin_cpu_count())
        skip(); /* it takes another CPU, and to be placed nowhere */
    int cpu, moved_to, tries = 0;
    do {
        cpu = sched_getcpu();
        assert_true(part_leave_cpu());
        moved_to = sched_getcpu();
    } while (moved_to == cpu && ++tries < 1000); /* the scheduler may take us back */
    assert_int_not_equal(moved_to, cpu);
    assert_int_equal(sched_getaffinity(0, sizeof(after), &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
}

static void test_who_is_pinned_stays(void **state)
{
    (void)state;
    cpu_set_t before, one, after;
    int cpu = sched_getcpu();
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    if (spin_cpu_count() < 2)
        skip();
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    bool left = part_leave_cpu();
    assert_int_equal(sched_getaffinity(0, sizeof(after), &after), 0);
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
    assert_false(left);
    assert_true(CPU_EQUAL(&one, &after));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_busy_waits_together_are_worth_leaving),
        cmocka_unit_test(test_rare_waits_are_not),
        cmocka_unit_test(test_who_is_together_again_at_once_waits_twice_as_long),
        cmocka_unit_test(test_what_lasted_is_done_again_soon),
        cmocka_unit_test(test_where_there_is_no_room_it_is_looked_again_soon),
        cmocka_unit_test(test_what_runs_is_in_the_fourth_field),
        cmocka_unit_test(test_leaving_moves_to_another_cpu),
        cmocka_unit_test(test_who_is_pinned_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
