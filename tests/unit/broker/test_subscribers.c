/* SUB sockets at the broker's URLs for events: who hears, who does not, and who may. */
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/pubsub0/sub.h>

#include "base/clock.h"
#include "broker/guard.h"
#include "broker/subscribers.h"
#include "control/nng.h"
#include "support/policy.h"
#include "support/sp.h"
#include "support/until.h"

#define SP_PUB 0x20
#define SP_SUB 0x21
static char folder[64], ipc[96], policy_path[96];
static struct broker *broker;
static struct error_text error;

static int begin(void **state)
{
    (void)state;
    (void)strcpy(folder, "/tmp/parley-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(ipc, sizeof(ipc), "ipc://%s/events.ipc", folder);
    (void)snprintf(policy_path, sizeof(policy_path), "%s/policy", folder);
    policy_write(policy_path, "- {who: [local], allow: [look]}\n");
    const char *urls[] = {ipc, "tcp://127.0.0.1:0"};
    const struct broker_options options = {
        .event_urls = urls, .event_url_count = 2, .socket_mode = 0600, .policy = policy_path};
    if (broker_new(&options, &broker, &error) < 0)
        fail_msg("%s", error.text);
    return 0;
}

static int end(void **state)
{
    (void)state;
    broker = broker_free(broker);
    (void)unlink(policy_path);
    return rmdir(folder); /* the socket is gone, too */
}

static void happen(const char *topic, const char *text)
{
    const struct event event = {.topic = topic, .quiet = true};
    event_publish(broker, &event, "%s", text);
}

static struct publisher_counts counts(void)
{
    struct publisher_counts counts;
    subscribers_counts(broker, &counts);
    return counts;
}

static void turn(void)
{
    assert_int_equal(broker_turn(broker, NS_PER_MS), 0);
}

/* Counted, and let in or hung up on. */
static struct sp *subscriber(const char *url)
{
    uint64_t before = counts().connections;
    struct sp *sp = sp_connect(url);
    sp_send_hello(sp, SP_SUB);
    UNTIL(turn(), (sp_has_hello(sp) && counts().connections > before) || sp->hung_up);
    if (sp_has_hello(sp))
        assert_int_equal(sp_take_hello(sp), SP_PUB);
    return sp;
}

/* The next message begins so. */
static void hears(struct sp *sp, const char *words)
{
    uint8_t *data;
    size_t bytes;
    UNTIL(turn(), sp_has_message(sp));
    sp_take_message(sp, &data, &bytes);
    assert_in_range(strlen(words), 1, bytes);
    assert_memory_equal(data, words, strlen(words));
    free(data);
}

static void test_events_are_heard_as_json_and_packed(void **state)
{
    (void)state;
    struct sp *sub = subscriber(ipc);
    happen("instance.up", "here");
    hears(sub, "json.instance.up\n{\"sequence\":");
    hears(sub, "instance.up\n\x0a\x0binstance.up"); /* field 1: the topic */
    sp_free(sub);
    UNTIL(turn(), counts().connections_now == 0);
}

/* libnng 1.5.2's listener on ipc:// heard nobody any more after one of these. */
static void test_two_hundred_that_hang_up_as_they_come_keep_nobody_out(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        struct sp *sp = sp_connect(ipc);
        if (i % 2)
            sp_send_hello(sp, SP_SUB);
        if (i % 4 < 2)
            assert_int_equal(broker_turn(broker, 0), 0);
        sp_free(sp);
    }
    nng_socket sub;
    char data[512];
    size_t bytes = sizeof(data);
    assert_int_equal(nng_sub0_open(&sub), 0);
    assert_int_equal(nng_socket_set(sub, NNG_OPT_SUB_SUBSCRIBE, "json.instance.", 14), 0);
    assert_int_equal(nng_dial(sub, ipc, NULL, NNG_FLAG_NONBLOCK), 0);
    UNTIL(turn(), (happen("route", "no"), happen("instance.up", "yes"),
                   nng_recv(sub, data, &bytes, NNG_FLAG_NONBLOCK) == 0));
    assert_memory_equal(data, "json.instance.up\n{", 18);
    (void)nng_close_socket(sub.id); /* nng_close() may never return */
}

static void test_a_slow_one_loses_events_and_others_do_not(void **state)
{
    (void)state;
    char text[512];
    struct sp *slow = subscriber(ipc), *good = subscriber(ipc);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (unsigned i = 0; counts().lost == 0; i++) {
        assert_in_range(i, 0, 100000);
        happen("route", text);
        hears(good, "json.route\n");
        hears(good, "route\n");
    }
    assert_false(sp_has_ended(slow));
    happen("instance.up", text);
    hears(good, "json.instance.up\n");
    sp_free(slow);
    sp_free(good);
}

static void test_who_may_not_look_hears_nothing(void **state)
{
    (void)state;
    struct sp *stranger = subscriber(subscribers_url(broker, 1));
    UNTIL(turn(), sp_has_ended(stranger));
    assert_false(sp_has_message(stranger)); /* not even that it was refused */
    UNTIL(turn(), counts().connections_now == 0);
    struct events_list list;
    assert_int_equal(events_since(&broker->events, 0, &list), 0);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.items[0]->topic, "audit.look");
    assert_non_null(strstr(list.items[0]->text, "may not look"));
    events_list_free(&list);
    sp_free(stranger);
}

static void test_a_policy_that_changes_ends_who_may_not_look_any_more(void **state)
{
    (void)state;
    struct sp *sub = subscriber(ipc);
    happen("instance.up", "here");
    hears(sub, "json.instance.up\n");
    hears(sub, "instance.up\n");
    policy_write(policy_path, "- {who: [anybody], allow: [call]}\n");
    guard_reload(broker);
    UNTIL(turn(), sp_has_ended(sub));
    assert_false(sp_has_message(sub)); /* that the policy was read is not for it any more */
    policy_write(policy_path, "- {who: [anybody], allow: [look]}\n");
    guard_reload(broker);
    struct sp *stranger = subscriber(subscribers_url(broker, 1));
    happen("instance.up", "again");
    hears(stranger, "json.instance.up\n");
    sp_free(sub);
    sp_free(stranger);
}

static void test_events_do_not_go_by_ws(void **state)
{
    (void)state;
    struct broker *other;
    const char *urls[] = {"ws://127.0.0.1:0/events"};
    const struct broker_options options = {.event_urls = urls, .event_url_count = 1};
    assert_true(broker_new(&options, &other, &error) < 0);
    assert_non_null(strstr(error.text, urls[0]));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_events_are_heard_as_json_and_packed),
        TEST(test_two_hundred_that_hang_up_as_they_come_keep_nobody_out),
        TEST(test_a_slow_one_loses_events_and_others_do_not),
        TEST(test_who_may_not_look_hears_nothing),
        TEST(test_a_policy_that_changes_ends_who_may_not_look_any_more),
        TEST(test_events_do_not_go_by_ws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
