/*
 * What cannot be bridged is told when it is published, and refused when it is negotiated, by name
 * and with the way out. And how changed plans go out: to the services first, to clients when all
 * have them.
 */
#include "peers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct broker *broker;
static struct peer service, client;
static struct set v1, v2;

static int begin(void **state)
{
    (void)state;
    broker = broker_start(NULL);
    peer_join(&service, broker, "service");
    peer_join(&client, broker, "client");
    set_make(&v1, "things", "1.0.0", "things.v1", NULL, 2);
    set_make(&v2, "things", "2.0.0", "things.v2", "things.v1", 3);
    return 0;
}

static int end(void **state)
{
    (void)state;
    peer_leave(&service);
    peer_leave(&client);
    broker_free(broker);
    set_free(&v1);
    set_free(&v2);
    return 0;
}

/* ---- What cannot be bridged ---- */

/* A client of one is refused by an instance of the other, in both roles. */
static void assert_refused(const struct set *one, const struct set *other, const char *words,
                           const char *way_out)
{
    const struct set *sets[] = {one, other};
    for (unsigned i = 0; i < 2; i++) {
        publish(&service, i + 1, sets[i]);
        say_open(&client, i + 1, sets[1 - i], sets[i]->version);
        const Parley__Opened *opened =
            hear_opened(&client, i + 1, PARLEY_FAILED_PRECONDITION);
        assert_words(opened->text, words);
        assert_words(opened->text, way_out);
        assert_words(opened->text, sets[1 - i]->version);
        assert_words(opened->text, "on offer: ");
        say_withdraw(&service, i + 1, true);
        Parley__Close close = PARLEY__CLOSE__INIT;
        close.has_contract_id = true;
        close.contract_id = i + 1;
        peer_say(&client, PARLEY__LINK_MESSAGE__BODY_CLOSE, &close, NULL, 0);
        broker_settle(broker);
    }
}

static void test_unary_and_streaming_are_refused_by_name(void **state)
{
    (void)state;
    struct set streams;
    set_make_odd(&streams, "things", "2.0.0", "things.v2", "things.v1", 2, SET_STREAMS);
    assert_refused(&v1, &streams, "method Get is unary in one version and streaming in the other",
                   "give the new form another name");
    set_free(&streams);
}

static void test_a_required_value_without_source_is_refused_by_name(void **state)
{
    (void)state;
    struct set requires;
    set_make_odd(&requires, "things", "2.0.0", "things.v2", "things.v1", 3, SET_REQUIRES);
    assert_refused(&v1, &requires, "text3", "required");
    set_free(&requires);
}

static void test_versions_that_say_nothing_of_each_other_are_refused(void **state)
{
    (void)state;
    struct set alone;
    set_make(&alone, "things", "2.0.0", "things.v2", NULL, 2);
    assert_refused(&v1, &alone, "no relation is declared", "(parley.interface).previous");
    set_free(&alone);
}

/* ---- Changed plans ---- */

/* v2 with another content of the same shape: another name in its file's comment-like part. */
static void other_content(struct set *set)
{
    set_make_accepting(set, "things", "2.0.0", "things.v2", "things.v1", 3, "FIELD_SAME_NAME",
                       NULL);
}

static void say_taken(struct peer *peer, uint64_t plan_id)
{
    Parley__PlanTaken body = PARLEY__PLAN_TAKEN__INIT;
    body.has_plan_id = true;
    body.plan_id = plan_id;
    peer_say(peer, PARLEY__LINK_MESSAGE__BODY_PLAN_TAKEN, &body, NULL, 0);
}

static void test_the_same_plans_are_not_sent_again(void **state)
{
    (void)state;
    struct set other;
    other_content(&other);
    publish(&service, 1, &v2);
    say_open(&client, 1, &v1, NULL);
    (void)peer_hear(&client, PARLEY__LINK_MESSAGE__BODY_PLAN);
    (void)hear_opened(&client, 1, PARLEY_OK);
    (void)hear_instances(&client, 1, 0, 0);
    publish(&service, 2, &other); /* another content; its rules are the same */
    (void)hear_instances(&client, 1, 0, 0);
    peer_hears_nothing(&client);
    peer_hears_nothing(&service);
    set_free(&other);
}

/* ---- Plans on their way ---- */

/* Asks to connect; the instance must be attached with that plan. The instance hears it. */
static void connect_with(struct peer *instance, uint64_t contract_id, uint64_t instance_id,
                         uint64_t plan_id, uint64_t attached_with)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    Parley__Connect body = PARLEY__CONNECT__INIT;
    body.has_contract_id = body.has_instance_id = body.has_plan_id = true;
    body.contract_id = contract_id;
    body.instance_id = instance_id;
    body.plan_id = plan_id;
    const int fds[] = {client.stats.fd, pair[1]};
    peer_say(&client, PARLEY__LINK_MESSAGE__BODY_CONNECT, &body, fds, 2);
    const Parley__Attach *attach = peer_hear(instance, PARLEY__LINK_MESSAGE__BODY_ATTACH);
    assert_true(attach->plan_id == attached_with);
    close(pair[0]);
    close(pair[1]);
}

static void test_clients_are_told_when_all_services_have_the_new_plan(void **state)
{
    (void)state;
    struct peer second;
    struct peer third;
    struct set larger;
    set_make(&larger, "things", "2.0.0", "things.v2", "things.v1", 4);
    peer_join(&second, broker, "second");
    peer_join(&third, broker, "third");
    publish(&service, 1, &v2);
    publish(&second, 2, &v2);
    say_open(&client, 1, &v1, NULL);
    const Parley__Plan *plan = peer_hear(&client, PARLEY__LINK_MESSAGE__BODY_PLAN);
    const uint64_t replies = plan->plan_id, replies_line = plan->line;
    const uint32_t tag = plan->tag;
    assert_int_not_equal(tag, 0);
    (void)hear_opened(&client, 1, PARLEY_OK);
    (void)hear_instances(&client, 2, 0, 0);

    /* Both instances get the plan for requests with their first channel. */
    struct peer *instances[] = {&service, &second};
    uint64_t requests = 0, requests_line = 0;
    for (unsigned i = 0; i < 2; i++) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        Parley__Connect connect = PARLEY__CONNECT__INIT;
        connect.has_contract_id = connect.has_instance_id = true;
        connect.contract_id = 1;
        connect.instance_id = i + 1;
        const int fds[] = {client.stats.fd, pair[1]};
        peer_say(&client, PARLEY__LINK_MESSAGE__BODY_CONNECT, &connect, fds, 2);
        plan = peer_hear(instances[i], PARLEY__LINK_MESSAGE__BODY_PLAN);
        requests = plan->plan_id;
        requests_line = plan->line;
        assert_int_equal(plan->tag, tag);
        (void)peer_hear(instances[i], PARLEY__LINK_MESSAGE__BODY_ATTACH);
        close(pair[0]);
        close(pair[1]);
    }

    publish(&third, 3, &larger);
    (void)hear_instances(&client, 1, 0, 0); /* the instance; not the plan */
    uint64_t new_requests = 0;
    for (unsigned i = 0; i < 2; i++) {
        plan = peer_hear(instances[i], PARLEY__LINK_MESSAGE__BODY_PLAN);
        new_requests = plan->plan_id;
        assert_true(plan->plan_id != requests && plan->line == requests_line);
        assert_int_not_equal(plan->tag, tag);
    }
    peer_hears_nothing(&third); /* it has no channel yet */
    peer_hears_nothing(&client);
    connect_with(&service, 1, 1, replies, requests); /* as the client knows it */
    say_taken(&service, new_requests);
    peer_hears_nothing(&client); /* the second has not */
    say_taken(&second, new_requests);
    plan = peer_hear(&client, PARLEY__LINK_MESSAGE__BODY_PLAN);
    const uint64_t new_replies = plan->plan_id;
    assert_true(new_replies != replies && plan->line == replies_line);
    const Parley__Instances *told = hear_instances(&client, 0, 0, 1);
    assert_true(told->has_transcript);
    assert_string_equal(told->offers[0]->version, "2.0.0");
    assert_true(told->offers[0]->plan_id == new_replies);

    connect_with(&service, 1, 1, replies, requests); /* it had not read of the new one */
    connect_with(&service, 1, 1, new_replies, new_requests);
    peer_leave(&second);
    peer_leave(&third);
    set_free(&larger);
}

static void test_an_instance_that_dies_is_not_waited_for(void **state)
{
    (void)state;
    struct peer second;
    struct set larger;
    set_make(&larger, "things", "2.0.0", "things.v2", "things.v1", 4);
    peer_join(&second, broker, "second");
    publish(&service, 1, &v2);
    say_open(&client, 1, &v1, NULL);
    uint64_t replies =
        ((const Parley__Plan *)peer_hear(&client, PARLEY__LINK_MESSAGE__BODY_PLAN))->plan_id;
    (void)hear_opened(&client, 1, PARLEY_OK);
    (void)hear_instances(&client, 1, 0, 0);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    Parley__Connect connect = PARLEY__CONNECT__INIT;
    connect.has_contract_id = connect.has_instance_id = true;
    connect.contract_id = connect.instance_id = 1;
    const int fds[] = {client.stats.fd, pair[1]};
    peer_say(&client, PARLEY__LINK_MESSAGE__BODY_CONNECT, &connect, fds, 2);
    close(pair[0]);
    close(pair[1]);
    publish(&second, 2, &larger);
    (void)hear_instances(&client, 1, 0, 0);
    peer_hears_nothing(&client);
    peer_leave(&service); /* without having taken the plan */
    const Parley__Plan *plan = peer_hear(&client, PARLEY__LINK_MESSAGE__BODY_PLAN);
    assert_true(plan->plan_id != replies);
    (void)hear_instances(&client, 0, 0, 1);
    (void)hear_instances(&client, 0, 1, 0);
    peer_leave(&second);
    set_free(&larger);
}

static void test_an_instance_that_cannot_serve_the_clients_is_refused(void **state)
{
    (void)state;
    struct set requires;
    publish(&service, 1, &v2);
    say_open(&client, 1, &v1, NULL);
    (void)peer_hear(&client, PARLEY__LINK_MESSAGE__BODY_PLAN);
    (void)hear_opened(&client, 1, PARLEY_OK);
    (void)hear_instances(&client, 1, 0, 0);
    set_make(&requires, "things", "2.0.0", "things.v2", NULL, 3); /* names no previous any more */
    publish_refused(&service, 2, &requires, PARLEY_FAILED_PRECONDITION,
                    "it cannot serve the clients of 1.0.0 any more");
    peer_hears_nothing(&client);
    set_free(&requires);
}

static void test_taking_a_plan_that_was_never_sent_changes_nothing(void **state)
{
    (void)state;
    say_taken(&client, 0);
    say_taken(&client, UINT64_MAX);
    peer_hears_nothing(&client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_unary_and_streaming_are_refused_by_name),
        TEST(test_a_required_value_without_source_is_refused_by_name),
        TEST(test_versions_that_say_nothing_of_each_other_are_refused),
        TEST(test_the_same_plans_are_not_sent_again),
        TEST(test_clients_are_told_when_all_services_have_the_new_plan),
        TEST(test_an_instance_that_dies_is_not_waited_for),
        TEST(test_an_instance_that_cannot_serve_the_clients_is_refused),
        TEST(test_taking_a_plan_that_was_never_sent_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
