/*
 * What cannot be bridged is told when it is published, and refused when it is negotiated, by name
 * and with the way out. And how changed plans go out: to the services first, to clients when all
 * have them.
 */
#include "peers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
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
        TEST(test_taking_a_plan_that_was_never_sent_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
