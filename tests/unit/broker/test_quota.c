/* Limits of the bus URL's peers: each at its limit, and one past it. */
#include "support/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "broker/quota.h"

#define NOW_NS (UINT64_C(1000) * NS_PER_S)

static struct quota quota;
static struct error_text error;
static struct quota_connection a, b;

static const struct replier_peer alice = {
    .connection = 1, .local = true, .uid = 1000, .text = "user 1000 (pid 811)"};
static const struct replier_peer bob = {
    .connection = 2, .local = true, .uid = 1001, .text = "user 1001 (pid 812)"};

static int begin(void **state)
{
    (void)state;
    quota_init(&quota, NULL);
    error.text[0] = '\0';
    a = b = (struct quota_connection){0};
    return 0;
}

static int end(void **state)
{
    (void)state;
    quota_deinit(&quota);
    return 0;
}

static void with(const char *text)
{
    struct quota_settings settings = {0};
    if (quota_parse(text, &settings, &error) < 0)
        fail_msg("%s", error.text);
    quota_init(&quota, &settings);
}

static void join(struct quota_connection *connection, const struct replier_peer *peer)
{
    assert_int_equal(quota_connect(&quota, peer, NOW_NS, connection, &error), 0);
}

static void takes(struct quota_connection *connection, size_t bytes, uint64_t now_ns)
{
    if (quota_begin(&quota, connection, bytes, now_ns, &error) != PARLEY_OK)
        fail_msg("%s", error.text);
}

static void refuses(struct quota_connection *connection, size_t bytes, uint64_t now_ns,
                    const char *words)
{
    assert_int_equal(quota_begin(&quota, connection, bytes, now_ns, &error),
                     PARLEY_RESOURCE_EXHAUSTED);
    if (!strstr(error.text, words))
        fail_msg("\"%s\" does not say \"%s\"", error.text, words);
}

static void test_connections_of_a_user_are_limited(void **state)
{
    (void)state;
    struct quota_connection c;
    with("connections=2");
    join(&a, &alice);
    join(&b, &alice);
    assert_int_equal(quota_connect(&quota, &alice, NOW_NS, &c, &error), -EDQUOT);
    assert_non_null(strstr(error.text, "user 1000 has 2 connections already: at most 2"));
    refuses(&c, 10, NOW_NS, "at most 2 are allowed");
    struct quota_connection e, f;
    assert_int_equal(quota_connect(&quota, &alice, NOW_NS, &e, &error), -EDQUOT);
    assert_int_equal(quota_connect(&quota, &alice, NOW_NS, &f, &error), -ECONNREFUSED);
    assert_non_null(strstr(error.text, "user 1000 has 4 connections already"));
    refuses(&f, 10, NOW_NS, "at most 2 are allowed");
    quota_disconnect(&quota, &f); /* it had not been counted */
    quota_disconnect(&quota, &e);
    quota_disconnect(&quota, &c);
    assert_int_equal(quota.counts.connections, 5);
    struct quota_connection d;
    join(&d, &bob); /* another user has his own */
    quota_disconnect(&quota, &a);
    join(&c, &alice);
    takes(&c, 10, NOW_NS);
}

static void test_calls_of_a_connection_are_limited(void **state)
{
    (void)state;
    with("calls=2,user-calls=3");
    join(&a, &alice);
    join(&b, &alice);
    takes(&a, 10, NOW_NS);
    takes(&a, 10, NOW_NS);
    refuses(&a, 10, NOW_NS, "2 calls of this connection are under way: at most 2");
    takes(&b, 10, NOW_NS);
    refuses(&b, 10, NOW_NS, "user 1000 has 3 calls under way: at most 3");
    assert_int_equal(quota.counts.calls, 2);
    quota_end(&quota, &a, 10);
    takes(&b, 10, NOW_NS);
    struct quota_connection c;
    join(&c, &bob);
    takes(&c, 10, NOW_NS);
}

static void test_a_message_is_limited(void **state)
{
    (void)state;
    with("message=1K");
    join(&a, &alice);
    takes(&a, 1024, NOW_NS);
    refuses(&a, 1025, NOW_NS, "a message of 1025 bytes: at most 1024 are allowed");
    assert_int_equal(quota.counts.message, 1);
    assert_true(quota_receive_max(&quota) > 1025);
}

static void test_bytes_under_way_are_limited(void **state)
{
    (void)state;
    with("bytes=100");
    join(&a, &alice);
    join(&b, &alice);
    takes(&a, 60, NOW_NS);
    takes(&b, 40, NOW_NS);
    refuses(&b, 1, NOW_NS, "requests of 100 bytes under way, and 1 more came: at most 100");
    assert_int_equal(quota.counts.bytes, 1);
    quota_end(&quota, &a, 60);
    takes(&b, 60, NOW_NS);
    refuses(&b, SIZE_MAX, NOW_NS, "a message of"); /* and nothing overflows */
}

static void test_a_rate_is_limited_and_refills(void **state)
{
    (void)state;
    with("rate=10,burst=3");
    join(&a, &alice);
    for (unsigned i = 0; i < 3; i++)
        takes(&a, 10, NOW_NS);
    refuses(&a, 10, NOW_NS, "user 1000 calls too fast: at most 10 a second after 3 at once");
    refuses(&a, 10, NOW_NS + 99 * NS_PER_MS, "too fast");
    takes(&a, 10, NOW_NS + 100 * NS_PER_MS);
    refuses(&a, 10, NOW_NS + 100 * NS_PER_MS, "too fast");
    for (unsigned i = 0; i < 3; i++) /* never more than a burst */
        takes(&a, 10, NOW_NS + 3600 * NS_PER_S);
    refuses(&a, 10, NOW_NS + 3600 * NS_PER_S, "too fast");
    assert_int_equal(quota.counts.rate, 4);
}

static void test_hanging_up_does_not_refill(void **state)
{
    (void)state;
    with("rate=1,burst=2");
    join(&a, &alice);
    takes(&a, 10, NOW_NS);
    takes(&a, 10, NOW_NS);
    quota_end(&quota, &a, 10);
    quota_end(&quota, &a, 10);
    quota_disconnect(&quota, &a);
    join(&a, &alice);
    refuses(&a, 10, NOW_NS, "too fast");
}

static void test_users_that_left_are_forgotten_oldest_first(void **state)
{
    (void)state;
    with("rate=1,burst=1");
    struct replier_peer peer = alice;
    for (unsigned i = 0; i <= QUOTA_IDLE_MAX; i++) {
        peer.uid = 5000 + i;
        join(&a, &peer);
        takes(&a, 10, NOW_NS);
        quota_end(&quota, &a, 10);
        quota_disconnect(&quota, &a);
    }
    assert_int_equal(HASH_COUNT(quota.users), QUOTA_IDLE_MAX);
    peer.uid = 5001; /* still known */
    join(&a, &peer);
    refuses(&a, 10, NOW_NS, "too fast");
    peer.uid = 5000;
    join(&b, &peer);
    takes(&b, 10, NOW_NS);
}

static void test_who_is_one_user(void **state)
{
    (void)state;
    static const struct {
        struct replier_peer peer;
        const char *name;
    } cases[] = {
        {{.local = true, .uid = 7, .identity = "orders"}, "user 7"},
        {{.identity = "orders", .text = "10.1.2.3:4711"}, "certificate orders"},
        {{.text = "10.1.2.3:4711"}, "address 10.1.2.3"},
        {{.text = "[fe80::1]:4711"}, "address [fe80::1]"},
        {{.text = "[fe80::1]"}, "address [fe80::1]"},
        {{.text = ""}, "address "},
        {{.text = "somebody"}, "address somebody"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        join(&a, &cases[i].peer);
        assert_string_equal(a.user->name, cases[i].name);
        quota_disconnect(&quota, &a);
        quota_disconnect(&quota, &a);
    }
}

static void test_what_is_no_message_is_too_much_in_the_end(void **state)
{
    (void)state;
    with("bad=5");
    join(&a, &alice);
    for (unsigned i = 0; i < 10; i++)
        assert_false(quota_bad(&quota, &a, NOW_NS));
    assert_true(quota_bad(&quota, &a, NOW_NS));
    assert_false(quota_bad(&quota, &a, NOW_NS + NS_PER_S));
    assert_int_equal(quota.counts.bad, 1);
}

static void test_settings_are_read(void **state)
{
    (void)state;
    struct quota_settings settings = {0};
    assert_int_equal(quota_parse("message=1G,bytes=1024G,connections=1,calls=1000000000,rate=5",
                                 &settings, &error),
                     0);
    assert_int_equal(settings.message, UINT64_C(1) << 30);
    assert_int_equal(settings.bytes, QUOTA_SIZE_MAX);
    assert_int_equal(settings.connections, 1);
    assert_int_equal(settings.calls, QUOTA_COUNT_MAX);
    assert_int_equal(settings.rate, 5);
    assert_int_equal(settings.burst, 0); /* as before */
    quota_init(&quota, &settings);
    assert_int_equal(quota.settings.burst, QUOTA_BURST);
}

static void test_wrong_settings_are_refused_and_change_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "'' is no limit: KEY=VALUE was expected, with one of message, bytes, connections"},
        {"calls", "'calls' is no limit"},
        {"call=1", "'call=1' is no limit"},
        {"calls=1,", "'' is no limit"},
        {"calls=", "calls is '': a whole number from 1 to 1000000000"},
        {"calls=0", "calls is '0'"},
        {"calls=1000000001", "calls is '1000000001'"},
        {"calls=99999999999999999999999", "calls is"},
        {"calls=1K", "calls is '1K'"},
        {"calls=-1", "calls is '-1'"},
        {"message=1025G", "message is '1025G': a whole number from 1 to 1099511627776 was "
                          "expected, with K, M or G"},
        {"message=1KK", "message is '1KK'"},
        {"message=K", "message is 'K'"},
        {"rate=5,calls=x", "calls is 'x'"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct quota_settings settings = {.rate = 3};
        assert_int_equal(quota_parse(cases[i].text, &settings, &error), -EINVAL);
        if (!strstr(error.text, cases[i].words))
            fail_msg("\"%s\" does not say \"%s\"", error.text, cases[i].words);
        assert_int_equal(settings.rate, 3);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_connections_of_a_user_are_limited),
        TEST(test_calls_of_a_connection_are_limited),
        TEST(test_a_message_is_limited),
        TEST(test_bytes_under_way_are_limited),
        TEST(test_a_rate_is_limited_and_refills),
        TEST(test_hanging_up_does_not_refill),
        TEST(test_users_that_left_are_forgotten_oldest_first),
        TEST(test_who_is_one_user),
        TEST(test_what_is_no_message_is_too_much_in_the_end),
        TEST(test_settings_are_read),
        TEST(test_wrong_settings_are_refused_and_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
