/* How an endpoint lives on the bus when nothing is wrong. */
#include "peers.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

struct world {
    struct broker *broker;
    unsigned fds_before;
    struct set v1, v2, v3;
    struct peer service, client; /* joined, and nothing more */
};

static int world_begin(void **state)
{
    static struct world world;
    world.fds_before = open_fd_count();
    world.broker = broker_start(NULL);
    set_make(&world.v1, "things", "1.0.0", "things.v1", NULL, 2);
    set_make(&world.v2, "things", "2.0.0", "things.v2", "things.v1", 3);
    set_make(&world.v3, "things", "3.0.0", "things.v3", "things.v2", 4);
    peer_join(&world.service, world.broker, "service");
    peer_join(&world.client, world.broker, "client");
    *state = &world;
    return 0;
}

static int world_end(void **state)
{
    struct world *world = *state;
    peer_leave(&world->service);
    peer_leave(&world->client);
    broker_free(world->broker);
    set_free(&world->v1);
    set_free(&world->v2);
    set_free(&world->v3);
    assert_int_equal(open_fd_count(), world->fds_before);
    return 0;
}

static void say_connect(struct peer *peer, uint64_t contract_id, uint64_t instance_id)
{
    Parley__Connect body = PARLEY__CONNECT__INIT;
    body.has_contract_id = body.has_instance_id = true;
    body.contract_id = contract_id;
    body.instance_id = instance_id;
    int pair[2];
    assert_int_equal(pipe(pair), 0);
    peer_say(peer, PARLEY__LINK_MESSAGE__BODY_CONNECT, &body, pair, 2);
    close(pair[0]);
    close(pair[1]);
}

static void connect_fails(struct peer *peer, uint64_t contract_id, uint64_t instance_id,
                          enum parley_status status)
{
    say_connect(peer, contract_id, instance_id);
    const Parley__ConnectFailed *failed =
        peer_hear(peer, PARLEY__LINK_MESSAGE__BODY_CONNECT_FAILED);
    assert_int_equal(failed->status, status);
    assert_true(failed->contract_id == contract_id && failed->instance_id == instance_id);
    assert_true(failed->text && failed->text[0]);
}

/* It has the contract, and these many instances. */
static void open_contract(struct peer *peer, uint64_t contract_id, const struct set *set,
                          const char *accept, size_t instances)
{
    say_open(peer, contract_id, set, accept);
    (void)hear_opened(peer, contract_id, PARLEY_OK);
    (void)hear_instances(peer, instances, 0, 0);
}

static void test_client_of_the_same_version_is_attached_without_a_plan(void **state)
{
    struct world *world = *state;
    publish(&world->service, 7, &world->v1);
    say_open(&world->client, 1, &world->v1, NULL);
    const Parley__Opened *opened = hear_opened(&world->client, 1, PARLEY_OK);
    assert_int_equal(opened->n_offers, 1);
    assert_string_equal(opened->offers[0]->version, "1.0.0");
    assert_int_equal(opened->offers[0]->translation, PARLEY__TRANSLATION_CLASS__IDENTITY);
    assert_true(opened->offers[0]->plan_id == 0);
    const Parley__Instances *instances = hear_instances(&world->client, 1, 0, 0);
    assert_true(instances->up[0]->instance_id == 7);
    assert_string_equal(instances->up[0]->version, "1.0.0");

    say_connect(&world->client, 1, 7);
    const Parley__Attach *attach = peer_hear(&world->service, PARLEY__LINK_MESSAGE__BODY_ATTACH);
    assert_true(attach->instance_id == 7 && attach->plan_id == 0);
    assert_string_equal(attach->client_version, "1.0.0");
    assert_string_equal(attach->client_name, "client");
    assert_int_equal(attach->pid, getpid()); /* from the kernel */
    assert_int_equal(attach->uid, getuid());
    assert_int_equal(world->service.fd_count, 2);
    assert_int_equal(write(world->service.fds[1], "x", 1), 1); /* the pipe, as it was sent */
    char byte = 0;
    assert_int_equal(read(world->service.fds[0], &byte, 1), 1);
    assert_int_equal(byte, 'x');
    peer_hears_nothing(&world->client);
}

static void test_client_of_another_version_gets_plans_first(void **state)
{
    struct world *world = *state;
    publish(&world->service, 7, &world->v2);
    say_open(&world->client, 1, &world->v1, NULL);
    const Parley__Plan *plan = peer_hear(&world->client, PARLEY__LINK_MESSAGE__BODY_PLAN);
    uint64_t replies = plan->plan_id;
    assert_true(replies != 0 && plan->program.len > 0);
    struct plan *loaded;
    struct error_text error = {""};
    if (plan_load(plan->program.data, plan->program.len, &loaded, &error) < 0)
        fail_msg("%s", error.text);
    assert_int_equal(plan_entry_count(loaded), 1);
    plan_unref(loaded);
    const Parley__Opened *opened = hear_opened(&world->client, 1, PARLEY_OK);
    assert_true(opened->offers[0]->plan_id == replies);
    assert_int_not_equal(opened->offers[0]->translation, PARLEY__TRANSLATION_CLASS__IDENTITY);
    (void)hear_instances(&world->client, 1, 0, 0);

    for (unsigned i = 0; i < 2; i++) { /* the plan travels once */
        say_connect(&world->client, 1, 7);
        if (i == 0) {
            plan = peer_hear(&world->service, PARLEY__LINK_MESSAGE__BODY_PLAN);
            assert_true(plan->plan_id != 0 && plan->plan_id != replies);
        }
        const Parley__Attach *attach =
            peer_hear(&world->service, PARLEY__LINK_MESSAGE__BODY_ATTACH);
        assert_true(attach->plan_id != 0 && attach->plan_id != replies);
        assert_string_equal(attach->client_version, "1.0.0");
    }
    say_open(&world->client, 2, &world->v1, NULL); /* nor is it sent again for another contract */
    (void)hear_opened(&world->client, 2, PARLEY_OK);
    (void)hear_instances(&world->client, 1, 0, 0);
}

static void test_client_waits_for_what_is_not_published_yet(void **state)
{
    struct world *world = *state;
    say_open(&world->client, 5, &world->v1, "~1");
    assert_words(hear_opened(&world->client, 5, PARLEY_UNAVAILABLE)->text,
                 "nothing publishes things");
    publish(&world->service, 7, &world->v1);
    assert_int_equal(hear_opened(&world->client, 5, PARLEY_OK)->n_offers, 1);
    (void)hear_instances(&world->client, 1, 0, 0);
}

static void test_instances_that_come_and_go_are_told_once(void **state)
{
    struct world *world = *state;
    struct peer first;
    struct peer second;
    peer_join(&first, world->broker, "first");
    peer_join(&second, world->broker, "second");
    publish(&first, 1, &world->v1);
    open_contract(&world->client, 1, &world->v1, NULL, 1);
    publish(&second, 2, &world->v1);
    assert_true(hear_instances(&world->client, 1, 0, 0)->up[0]->instance_id == 2);
    publish(&second, 3, &world->v1);
    assert_true(hear_instances(&world->client, 1, 0, 0)->up[0]->instance_id == 3);

    say_withdraw(&second, 2, false);
    assert_true(hear_instances(&world->client, 0, 1, 0)->gone[0] == 2);
    connect_fails(&world->client, 1, 2, PARLEY_UNAVAILABLE);
    say_withdraw(&second, 2, true); /* told already */
    peer_hears_nothing(&second);
    peer_hears_nothing(&world->client);
    say_withdraw(&second, 3, true);
    assert_true(hear_instances(&world->client, 0, 1, 0)->gone[0] == 3);

    peer_leave(&first); /* as a killed process does */
    assert_true(hear_instances(&world->client, 0, 1, 0)->gone[0] == 1);
    connect_fails(&world->client, 1, 1, PARLEY_UNAVAILABLE);
    peer_leave(&second);
}

static void test_versions_that_join_later_are_offered(void **state)
{
    struct world *world = *state;
    struct peer strict;
    peer_join(&strict, world->broker, "strict");
    publish(&world->service, 1, &world->v1);
    open_contract(&world->client, 1, &world->v1, NULL, 1);
    open_contract(&strict, 1, &world->v1, "~1", 1);

    publish(&world->service, 2, &world->v2);
    const Parley__Plan *plan = peer_hear(&world->client, PARLEY__LINK_MESSAGE__BODY_PLAN);
    uint64_t plan_id = plan->plan_id;
    const Parley__Instances *instances = hear_instances(&world->client, 1, 0, 1);
    assert_string_equal(instances->offers[0]->version, "2.0.0");
    assert_true(instances->offers[0]->plan_id == plan_id);
    publish(&world->service, 3, &world->v2); /* the offer is known */
    (void)hear_instances(&world->client, 1, 0, 0);
    peer_hears_nothing(&strict); /* it accepts ~1 only */
    connect_fails(&strict, 1, 2, PARLEY_PERMISSION_DENIED);
    peer_leave(&strict);
}

static void test_the_transcript_covers_the_offer_and_every_answer(void **state)
{
    struct world *world = *state;
    publish(&world->service, 1, &world->v1);
    say_open(&world->client, 7, &world->v1, "~1, ~2");
    struct digest set;
    struct digest transcript;
    digest_of(world->v1.data, world->v1.bytes, &set);
    const struct transcript_offer asked = {world->v1.interface, world->v1.version, "~1, ~2",
                                           world->v1.service, &set};
    transcript_begin(&asked, &transcript);
    const Parley__Opened *opened = hear_opened(&world->client, 7, PARLEY_OK);
    transcript_answer(&transcript, opened->offers, opened->n_offers);
    assert_true(transcript_is(&transcript, opened->has_transcript, &opened->transcript));
    assert_false(
        hear_instances(&world->client, 1, 0, 0)->has_transcript); /* nothing is offered in it */

    publish(&world->service, 2, &world->v2);
    (void)peer_hear(&world->client, PARLEY__LINK_MESSAGE__BODY_PLAN);
    const Parley__Instances *later = hear_instances(&world->client, 1, 0, 1);
    transcript_answer(&transcript, later->offers, later->n_offers);
    assert_true(transcript_is(&transcript, later->has_transcript, &later->transcript));
}

static void test_offers_are_in_the_order_of_preference(void **state)
{
    struct world *world = *state;
    publish(&world->service, 1, &world->v1);
    publish(&world->service, 2, &world->v2);
    const char *const accept[] = {NULL, "~1, ~2", "~2, ~1"};
    const char *const best[] = {"2.0.0", "1.0.0", "2.0.0"};
    for (unsigned i = 0; i < 3; i++) {
        say_open(&world->client, i, &world->v1, accept[i]);
        if (i == 0)
            (void)peer_hear(&world->client, PARLEY__LINK_MESSAGE__BODY_PLAN);
        const Parley__Opened *opened = hear_opened(&world->client, i, PARLEY_OK);
        assert_int_equal(opened->n_offers, 2);
        assert_string_equal(opened->offers[0]->version, best[i]);
        (void)hear_instances(&world->client, 2, 0, 0);
    }
}

static void test_refused_client_is_told_why_and_again_when_it_fits(void **state)
{
    struct world *world = *state;
    publish(&world->service, 2, &world->v2);
    say_open(&world->client, 1, &world->v1, "~1");
    const char *text = hear_opened(&world->client, 1, PARLEY_FAILED_PRECONDITION)->text;
    assert_words(text, "things 1.0.0");
    assert_words(text, "~1");
    assert_words(text, "2.0.0");
    /* A broker that has just started sees versions come back one by one. */
    publish(&world->service, 1, &world->v1);
    assert_string_equal(hear_opened(&world->client, 1, PARLEY_OK)->offers[0]->version, "1.0.0");
    (void)hear_instances(&world->client, 1, 0, 0);
}

static void test_version_that_cannot_be_bridged_is_refused_with_the_reason(void **state)
{
    struct world *world = *state;
    struct set alien;
    set_make(&alien, "things", "9.0.0", "other.v9", NULL, 1);
    publish(&world->service, 9, &alien);
    say_open(&world->client, 1, &world->v1, NULL);
    const char *text = hear_opened(&world->client, 1, PARLEY_FAILED_PRECONDITION)->text;
    assert_words(text, "things 1.0.0");
    assert_words(text, "; 9.0.0: ");
    set_free(&alien);
}

static void test_same_version_of_another_schema_is_no_identity(void **state)
{
    struct world *world = *state;
    struct set other;
    set_make(&other, "things", "1.0.0", "things.v1", NULL, 3); /* a field more than is served */
    publish(&world->service, 1, &world->v1);
    say_open(&world->client, 1, &other, NULL);
    assert_words(hear_opened(&world->client, 1, PARLEY_FAILED_PRECONDITION)->text,
                 "change the version with the schema");
    set_free(&other);
}

static void test_closed_contract_hears_no_more(void **state)
{
    struct world *world = *state;
    publish(&world->service, 1, &world->v1);
    open_contract(&world->client, 1, &world->v1, NULL, 1);
    Parley__Close body = PARLEY__CLOSE__INIT;
    body.has_contract_id = true;
    body.contract_id = 1;
    peer_say(&world->client, PARLEY__LINK_MESSAGE__BODY_CLOSE, &body, NULL, 0);
    peer_say(&world->client, PARLEY__LINK_MESSAGE__BODY_CLOSE, &body, NULL, 0); /* no harm */
    peer_hears_nothing(&world->client);
    publish(&world->service, 2, &world->v1);
    peer_hears_nothing(&world->client);
    connect_fails(&world->client, 1, 1, PARLEY_NOT_FOUND);
}

static void test_draining_instance_that_comes_back_is_not_offered(void **state)
{
    struct world *world = *state;
    say_open(&world->client, 1, &world->v1, NULL);
    (void)hear_opened(&world->client, 1, PARLEY_UNAVAILABLE);
    Parley__Publish body = PARLEY__PUBLISH__INIT;
    body.has_instance_id = body.has_descriptor_set = body.has_draining = true;
    body.instance_id = 1;
    body.interface = world->v1.interface;
    body.version = world->v1.version;
    body.service = world->v1.service;
    body.descriptor_set.data = world->v1.data;
    body.descriptor_set.len = world->v1.bytes;
    body.draining = true;
    peer_say(&world->service, PARLEY__LINK_MESSAGE__BODY_PUBLISH, &body, NULL, 0);
    const Parley__Published *published =
        peer_hear(&world->service, PARLEY__LINK_MESSAGE__BODY_PUBLISHED);
    assert_int_equal(published->status, PARLEY_OK);
    const struct route_slot *slot = route_slot(&world->service, published->route_slot);
    assert_int_equal(slot->instance_state[0], ROUTE_INSTANCE_DRAINING);
    peer_hears_nothing(&world->client);
}

static void test_endpoint_that_comes_back_replaces_itself(void **state)
{
    struct world *world = *state;
    struct peer old;
    struct peer fresh;
    peer_join(&old, world->broker, "service");
    publish(&old, 1, &world->v1);
    open_contract(&world->client, 1, &world->v1, NULL, 1);

    peer_connect(&fresh, world->broker);
    fresh.id = old.id;
    peer_make_stats(&fresh);
    peer_say_hello(&fresh, LINK_PROTOCOL, "service", &fresh.stats.fd, 1);
    say_publish(&fresh, 1, &world->v1); /* in the same breath */
    (void)peer_hear(&fresh, PARLEY__LINK_MESSAGE__BODY_WELCOME);
    const Parley__Published *published = peer_hear(&fresh, PARLEY__LINK_MESSAGE__BODY_PUBLISHED);
    assert_int_equal(published->status, PARLEY_OK);
    (void)hear_instances(&world->client, 0, 1, 0);
    (void)hear_instances(&world->client, 1, 0, 0);
    peer_hangs_up(&old);
    peer_leave(&old);
    peer_leave(&fresh);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_client_of_the_same_version_is_attached_without_a_plan),
        TEST(test_client_of_another_version_gets_plans_first),
        TEST(test_client_waits_for_what_is_not_published_yet),
        TEST(test_instances_that_come_and_go_are_told_once),
        TEST(test_versions_that_join_later_are_offered),
        TEST(test_the_transcript_covers_the_offer_and_every_answer),
        TEST(test_offers_are_in_the_order_of_preference),
        TEST(test_refused_client_is_told_why_and_again_when_it_fits),
        TEST(test_version_that_cannot_be_bridged_is_refused_with_the_reason),
        TEST(test_same_version_of_another_schema_is_no_identity),
        TEST(test_closed_contract_hears_no_more),
        TEST(test_draining_instance_that_comes_back_is_not_offered),
        TEST(test_endpoint_that_comes_back_replaces_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
