/* A service at an NNG URL: how long its end waits for its last answers to be taken, and which URLs
 * it dials to serve at. */
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

static void test_a_service_dials_what_is_as_safe_as_the_brokers_url(void **state)
{
    (void)state;
    static const struct {
        const char *broker, *url;
        bool may;
    } cases[] = {
        {"ipc:///run/bus", "ipc:///run/serve", true},
        {"ipc:///run/bus", "tcp://127.0.0.1:1", true},
        {"tcp://h:1", "tcp://h:2", true},
        {"tcp4://h:1", "tcp6://h:2", true},
        {"tcp://h:1", "tls+tcp://h:2", true},
        {"ws://h:1/bus", "tcp://h:2", true},
        {"tls+tcp://h:1", "tls+tcp4://h:2", true},
        {"wss://h:1/bus", "tls+tcp://h:2", true},
        {"tls+tcp://h:1", "tcp://h:2", false},
        {"wss://h:1/bus", "tcp://h:2", false},
        {"tcp://h:1", "ipc:///run/other", false},
        {"tls+tcp://h:1", "ipc:///run/other", false},
        {"tcp://h:1", "ws://h:2/x", false},
        {"ipc:///run/bus", "inproc://x", false},
        {"tcp://h:1", "", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (far_service_may_dial(cases[i].broker, cases[i].url) != cases[i].may)
            fail_msg("%s at %s", cases[i].url, cases[i].broker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_does_not_drain_lingers_shortly),
        cmocka_unit_test(test_who_drains_waits_for_the_broker),
        cmocka_unit_test(test_a_service_dials_what_is_as_safe_as_the_brokers_url),
        cmocka_unit_test(test_nobody_waits_past_the_programs_own_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
