/* The policy at work in a broker: native endpoints, the file read anew, URLs. */
#include "peers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/guard.h"
#include "support/policy.h"

static struct broker *broker;
static char path[64];
static struct error_text error;
static struct set set;

static void with(const char *rules)
{
    policy_write(path, rules);
    if (guard_init(broker, path, &error) < 0)
        fail_msg("%s", error.text);
}

static int begin(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof(path), "/tmp/parley-guard-%d", (int)getpid());
    broker = broker_start(NULL);
    set_make(&set, "orders", "1.0.0", "orders.v1", NULL, 1);
    return 0;
}

static int end(void **state)
{
    (void)state;
    broker_free(broker);
    set_free(&set);
    (void)unlink(path);
    return 0;
}

/* The last event that is kept. */
static void last_event_is(const char *topic, const char *words)
{
    struct events_list list;
    assert_int_equal(events_since(&broker->events, broker->events.last - 1, &list), 0);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.items[0]->topic, topic);
    assert_words(list.items[0]->text, words);
    events_list_free(&list);
}

static void test_who_may_not_publish_is_told_so(void **state)
{
    (void)state;
    struct peer peer;
    with("- {who: [local], allow: [publish], interfaces: ['catalog*']}\n");
    peer_join(&peer, broker, "cuckoo");
    publish_refused(&peer, 1, &set, PARLEY_PERMISSION_DENIED,
                    "may not publish orders: no rule of the broker's policy allows it");
    assert_int_equal(broker->policy_denied, 1);
    last_event_is("audit.publish", "a publication was refused (PERMISSION_DENIED)");
    with("- {who: [local], allow: [publish], interfaces: ['ord*']}\n");
    publish(&peer, 2, &set);
    peer_leave(&peer);
}

static void test_who_may_not_call_gets_no_contract(void **state)
{
    (void)state;
    struct peer service, client;
    with("- {who: [anybody], deny: [call], interfaces: [orders]}\n"
         "- {who: [anybody], allow: [everything]}\n");
    peer_join(&service, broker, "service");
    publish(&service, 1, &set);
    peer_join(&client, broker, "client");
    say_open(&client, 1, &set, NULL);
    const Parley__Opened *opened = hear_opened(&client, 1, PARLEY_PERMISSION_DENIED);
    assert_words(opened->text, "may not call orders: the broker's policy denies it in line 4");
    last_event_is("audit.contract", "a contract was refused (PERMISSION_DENIED)");
    peer_leave(&client);
    peer_leave(&service);
}

static void say_connect(struct peer *peer, uint64_t contract_id, uint64_t instance_id)
{
    int fds[2] = {peer->stats.fd, peer->stats.fd};
    Parley__Connect connect = PARLEY__CONNECT__INIT;
    connect.has_contract_id = connect.has_instance_id = true;
    connect.contract_id = contract_id;
    connect.instance_id = instance_id;
    peer_say(peer, PARLEY__LINK_MESSAGE__BODY_CONNECT, &connect, fds, 2);
}

static void test_a_policy_that_has_changed_counts_for_the_next_channel(void **state)
{
    (void)state;
    struct peer service, client;
    with("- {who: [anybody], allow: [everything]}\n");
    peer_join(&service, broker, "service");
    publish(&service, 1, &set);
    peer_join(&client, broker, "client");
    say_open(&client, 1, &set, NULL);
    (void)hear_opened(&client, 1, PARLEY_OK);
    (void)hear_instances(&client, 1, 0, 0);
    say_connect(&client, 1, 1);
    (void)peer_hear(&service, PARLEY__LINK_MESSAGE__BODY_ATTACH);
    policy_write(path, "- {who: [anybody], allow: [publish]}\n");
    guard_reload(broker);
    (void)peer_hear(&service, PARLEY__LINK_MESSAGE__BODY_REVIEW);
    (void)peer_hear(&client, PARLEY__LINK_MESSAGE__BODY_REVIEW);
    assert_words(hear_opened(&client, 1, PARLEY_PERMISSION_DENIED)->text, "may not call orders");
    say_connect(&client, 1, 1);
    const Parley__ConnectFailed *failed =
        peer_hear(&client, PARLEY__LINK_MESSAGE__BODY_CONNECT_FAILED);
    assert_int_equal(failed->status, PARLEY_NOT_FOUND);
    assert_words(failed->text, "no such contract is open");
    peer_leave(&client);
    peer_leave(&service);
}

/* @uids: of its callers, one after the other; each with a gid that is the same */
static void say_callers(struct peer *peer, uint64_t instance_id, const uint32_t *uids, size_t count)
{
    Parley__Caller callers[8], *pointers[8];
    Parley__Callers body = PARLEY__CALLERS__INIT;
    assert_true(count <= 8);
    for (size_t i = 0; i < count; i++) {
        parley__caller__init(&callers[i]);
        callers[i].has_uid = callers[i].has_gid = true;
        callers[i].uid = callers[i].gid = uids[i];
        pointers[i] = &callers[i];
    }
    body.has_instance_id = true;
    body.instance_id = instance_id;
    body.n_callers = count;
    body.callers = pointers;
    peer_say(peer, PARLEY__LINK_MESSAGE__BODY_CALLERS, &body, NULL, 0);
}

/* It has come back to a broker that started under this policy. */
static void test_a_service_hears_whom_to_hang_up_on(void **state)
{
    (void)state;
    static const uint32_t uids[] = {4001, 4002, 4003};
    struct peer service;
    with("- {who: [anybody], allow: [publish]}\n- {who: ['user:4002'], allow: [call]}\n");
    peer_join(&service, broker, "service");
    publish(&service, 1, &set);
    say_callers(&service, 1, uids, 3);
    const Parley__Cut *cut = peer_hear(&service, PARLEY__LINK_MESSAGE__BODY_CUT);
    assert_int_equal(cut->instance_id, 1);
    assert_int_equal(cut->uid, 4001);
    assert_int_equal(cut->gid, 4001);
    assert_words(cut->text, "user 4001 (pid 0) may not call orders");
    cut = peer_hear(&service, PARLEY__LINK_MESSAGE__BODY_CUT);
    assert_int_equal(cut->uid, 4003);
    last_event_is("audit.connect", "a channel was refused (PERMISSION_DENIED)");
    assert_int_equal(broker->policy_denied, 2);
    peer_hears_nothing(&service);
    peer_leave(&service);
}

static void test_a_service_is_heard_once_each_time_that_it_was_asked(void **state)
{
    (void)state;
    static const uint32_t uids[] = {4001};
    struct peer service, other;
    with("- {who: [anybody], allow: [publish]}\n");
    peer_join(&service, broker, "service");
    peer_join(&other, broker, "other");
    publish(&service, 1, &set);
    say_callers(&other, 1, uids, 1); /* not its instance */
    peer_hears_nothing(&other);
    peer_hears_nothing(&service);
    say_callers(&service, 2, uids, 1); /* nobody's */
    say_callers(&service, 1, uids, 1);
    (void)peer_hear(&service, PARLEY__LINK_MESSAGE__BODY_CUT);
    say_callers(&service, 1, uids, 1);
    peer_hears_nothing(&service);
    policy_write(path, "- {who: [anybody], allow: [publish]}\n");
    broker->policy_path = path;
    guard_reload(broker);
    (void)peer_hear(&service, PARLEY__LINK_MESSAGE__BODY_REVIEW);
    say_callers(&service, 1, uids, 1);
    (void)peer_hear(&service, PARLEY__LINK_MESSAGE__BODY_CUT);
    peer_leave(&other);
    peer_leave(&service);
}

static void test_a_bad_policy_leaves_the_old_one(void **state)
{
    (void)state;
    struct peer peer;
    with("- {who: [anybody], allow: [publish]}\n");
    policy_write(path, "- {who: [anybody], alow: [publish]}\n");
    guard_reload(broker);
    last_event_is("policy.bad", ":4:20: rules[0] has no key \"alow\"");
    (void)unlink(path);
    guard_reload(broker);
    last_event_is("policy.bad", "the policy stays as it was");
    peer_join(&peer, broker, "service");
    publish(&peer, 1, &set);
    peer_leave(&peer);
}

static void test_a_policy_that_is_not_there_is_no_start(void **state)
{
    (void)state;
    assert_int_equal(guard_init(broker, "/nowhere/policy.yaml", &error), -ENOENT);
    assert_words(error.text, "cannot read the policy /nowhere/policy.yaml");
}

static void test_without_a_policy_reading_it_anew_does_nothing(void **state)
{
    (void)state;
    uint64_t before = broker->events.last;
    guard_reload(broker);
    assert_int_equal(broker->events.last, before);
}

static void test_urls_that_other_machines_reach_need_tls(void **state)
{
    (void)state;
    static const char *const fine[] = {
        "ipc:///run/parley/bus.ipc", "tcp://127.0.0.1:7400", "tcp://127.9.8.7:7400",
        "tcp://localhost:7400",      "tcp://[::1]:7400",     "ws://127.0.0.1:80/bus",
        "tls+tcp://0.0.0.0:7433",    "wss://0.0.0.0/bus",    "abstract://parley",
    };
    static const char *const open[] = {
        "tcp://0.0.0.0:7400", "tcp://*:7400",
        "tcp://:7400",        "tcp://10.1.2.3:7400",
        "tcp://[::]:7400",    "tcp://[fe80::1]:7400",
        "ws://10.1.2.3/x",    "tcp://example.org:7400",
        "tcp4://0.0.0.0:1",   "tcp://127.0.0.1.example.org:7400",
        "tcp6://[::]:1",      "tcp://localhost.example.org:7400",
    };
    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
        if (guard_url(fine[i], false, &error) < 0)
            fail_msg("%s", error.text);
    for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
        if (guard_url(open[i], false, &error) != -EPERM)
            fail_msg("%s is fine?", open[i]);
        assert_words(error.text, "can be reached by other machines, and is not encrypted");
        assert_int_equal(guard_url(open[i], true, &error), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_who_may_not_publish_is_told_so),
        TEST(test_who_may_not_call_gets_no_contract),
        TEST(test_a_policy_that_has_changed_counts_for_the_next_channel),
        TEST(test_a_service_hears_whom_to_hang_up_on),
        TEST(test_a_service_is_heard_once_each_time_that_it_was_asked),
        TEST(test_a_bad_policy_leaves_the_old_one),
        TEST(test_a_policy_that_is_not_there_is_no_start),
        TEST(test_without_a_policy_reading_it_anew_does_nothing),
        TEST(test_urls_that_other_machines_reach_need_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
