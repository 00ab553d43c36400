#include "support/test.h"

#include "base/clock.h"
#include "wait/wait.h"

static void yield_once(struct yield *yield, uint64_t *now_ns, uint64_t took_ns)
{
    uint64_t start_ns = *now_ns;
    *now_ns += took_ns;
    yield_took(yield, start_ns, *now_ns);
}

/* Return: how long it is until it may be done again; the waits in between are over. */
static uint64_t pause_of(struct yield *yield, uint64_t now_ns)
{
    yield->waits = 0;
    return yield_may(yield, now_ns) ? 0 : yield->next_ns - now_ns;
}

static void test_short_ones_go_on(void **state)
{
    (void)state;
    struct yield yield;
    uint64_t now_ns = NS_PER_S;
    yield_init(&yield);
    for (int i = 0; i < 1000; i++) {
        assert_true(yield_may(&yield, now_ns));
        yield_once(&yield, &now_ns, YIELD_LONG_NS - 1);
    }
}

static void test_a_long_one_is_the_last_for_a_while(void **state)
{
    (void)state;
    struct yield yield;
    uint64_t now_ns = NS_PER_S;
    yield_init(&yield);
    yield_once(&yield, &now_ns, YIELD_LONG_NS);
    assert_false(yield_may(&yield, now_ns + YIELD_PAUSE_NS_MIN));
    assert_int_equal(pause_of(&yield, now_ns), YIELD_PAUSE_NS_MIN);
    assert_false(yield_may(&yield, now_ns + YIELD_PAUSE_NS_MIN - 1));
    assert_true(yield_may(&yield, now_ns + YIELD_PAUSE_NS_MIN));
}

/* Who waits once a second: @count waits, of which so many may yield, each of them long. */
static unsigned yields_of(struct yield *yield, uint64_t *now_ns, unsigned count)
{
    unsigned yields = 0;
    for (unsigned i = 0; i < count; i++) {
        *now_ns += NS_PER_S;
        if (!yield_may_wait(yield, *now_ns))
            continue;
        yields++;
        yield_once(yield, now_ns, YIELD_LONG_NS);
    }
    return yields;
}

static void test_who_seldom_waits_sleeps_instead_most_times(void **state)
{
    (void)state;
    struct yield yield;
    uint64_t now_ns = NS_PER_S;
    yield_init(&yield);
    assert_int_equal(yields_of(&yield, &now_ns, 1), 1);
    assert_int_equal(yields_of(&yield, &now_ns, YIELD_PAUSE_WAITS), 0);
    assert_int_equal(yields_of(&yield, &now_ns, 1 + 2 * YIELD_PAUSE_WAITS), 1); /* doubled */
    assert_int_equal(yields_of(&yield, &now_ns, 1 + 4 * YIELD_PAUSE_WAITS), 1);
    assert_in_range(yields_of(&yield, &now_ns, 10000), 10, 20);
}

/* Waits within the pause are not those that are counted. */
static void test_waits_are_counted_after_the_pause(void **state)
{
    (void)state;
    struct yield yield;
    uint64_t now_ns = NS_PER_S;
    yield_init(&yield);
    yield_once(&yield, &now_ns, YIELD_LONG_NS);
    for (unsigned i = 0; i < 100; i++)
        assert_false(yield_may_wait(&yield, now_ns + YIELD_PAUSE_NS_MIN - 1));
    for (unsigned i = 0; i < YIELD_PAUSE_WAITS; i++)
        assert_false(yield_may_wait(&yield, now_ns + YIELD_PAUSE_NS_MIN));
    assert_true(yield_may_wait(&yield, now_ns + YIELD_PAUSE_NS_MIN));
}

static void test_the_while_doubles_up_to_the_longest(void **state)
{
    (void)state;
    struct yield yield;
    uint64_t now_ns = NS_PER_S;
    yield_init(&yield);
    yield_once(&yield, &now_ns, YIELD_LONG_NS);
    for (uint64_t expected = YIELD_PAUSE_NS_MIN, i = 0; i < 70; i++) {
        assert_int_equal(pause_of(&yield, now_ns), expected);
        now_ns = yield.next_ns + YIELD_LASTED * expected - 1; /* well until now */
        yield_once(&yield, &now_ns, YIELD_LONG_NS);
        expected = 2 * expected < YIELD_PAUSE_NS_MAX ? 2 * expected : YIELD_PAUSE_NS_MAX;
    }
}

static void test_what_went_well_for_long_is_tried_again_soon(void **state)
{
    (void)state;
    struct yield yield;
    uint64_t now_ns = NS_PER_S;
    yield_init(&yield);
    for (int i = 0; i < 5; i++) {
        now_ns = yield.next_ns > now_ns ? yield.next_ns : now_ns;
        yield_once(&yield, &now_ns, YIELD_LONG_NS);
    }
    assert_true(pause_of(&yield, now_ns) > YIELD_PAUSE_NS_MIN);
    now_ns = yield.next_ns + YIELD_LASTED * yield.pause_ns;
    for (int i = 0; i < YIELD_WELL; i++)
        yield_once(&yield, &now_ns, 1);
    yield_once(&yield, &now_ns, YIELD_LONG_NS);
    assert_int_equal(pause_of(&yield, now_ns), YIELD_PAUSE_NS_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_ones_go_on),
        cmocka_unit_test(test_a_long_one_is_the_last_for_a_while),
        cmocka_unit_test(test_who_seldom_waits_sleeps_instead_most_times),
        cmocka_unit_test(test_waits_are_counted_after_the_pause),
        cmocka_unit_test(test_the_while_doubles_up_to_the_longest),
        cmocka_unit_test(test_what_went_well_for_long_is_tried_again_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
