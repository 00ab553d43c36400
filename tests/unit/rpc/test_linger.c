/* How long the end of a service at an NNG URL waits for its last answers to be taken. */
#include "support/test.h"

#include "rpc/remote.h"

#define ANSWERED_NS (1000 * NS_PER_S)

static uint64_t lingers(bool withdrawn, uint64_t drain_by_ns)
{
    const struct far_service service = {
        .idle_since_ns = ANSWERED_NS, .withdrawn = withdrawn, .drain_by_ns = drain_by_ns};
    return far_service_linger_ns(&service) - ANSWERED_NS;
}

static void test_who_does_not_drain_lingers_shortly(void **state)
{
    (void)state;
    assert_int_equal(lingers(false, 0), REMOTE_LINGER_NS);
    assert_int_equal(lingers(false, CLOCK_NEVER), REMOTE_LINGER_NS);
}

static void test_who_drains_waits_for_the_broker(void **state)
{
    (void)state;
    assert_int_equal(lingers(true, CLOCK_NEVER), REMOTE_DRAINED_NS);
}

static void test_nobody_waits_past_the_programs_own_limit(void **state)
{
    (void)state;
    assert_int_equal(lingers(true, ANSWERED_NS + NS_PER_S), NS_PER_S);
    /* It has passed: only what was answered a moment ago may still be on its way. */
    assert_int_equal(lingers(true, ANSWERED_NS), REMOTE_LINGER_NS);
    assert_int_equal(lingers(true, 1), REMOTE_LINGER_NS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_does_not_drain_lingers_shortly),
        cmocka_unit_test(test_who_drains_waits_for_the_broker),
        cmocka_unit_test(test_nobody_waits_past_the_programs_own_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
