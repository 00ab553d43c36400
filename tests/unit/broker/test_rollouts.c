/* Rollouts in the broker: what documents, figures and operators do to the route page. What is on
 * disk meanwhile: test_rollouts_kept.c. The clock is the test's. */
#include "rolling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"

/* ---- Documents, and the route ---- */

static void test_a_rollout_waits_for_its_versions_then_takes_its_share(void **state)
{
    (void)state;
    apply(DOCUMENT);
    succeeds();
    assert_string_equal(world.reply->rollout->rollout[0]->name, "shop");
    assert_string_equal(phase(), "Waiting");
    publish(&world.service, 1, &world.v1);
    broker_settle(world.broker);
    assert_string_equal(phase(), "Waiting");
    publish(&world.service, 2, &world.v2);
    broker_settle(world.broker);
    assert_string_equal(phase(), "Progressing");
    assert_int_equal(canary_share(), 5000);
}

static void test_what_a_document_says_is_in_the_page(void **state)
{
    (void)state;
    both_publish();
    const struct route_slot *slot = route_slot(&world.service, 0);
    apply(DOCUMENT_OF("shop", "things",
                      "  stickyKey: shop.user\n"
                      "  match:\n"
                      "  - headers: [{name: gray.version, exact: \"2\"}]\n"
                      "  mirror: 1\n" STEPS));
    succeeds();
    assert_int_equal(slot->rollout, 1);
    assert_int_equal(slot->canary_buckets, 5000);
    assert_int_equal(slot->mirror_buckets, 1000);
    assert_int_equal(slot->matches, 1);
    assert_memory_equal((const void *)slot->sticky_key, "shop.user", 10);
    ORDER(ROLLBACK, "shop"); /* nobody meets the canary then, whatever the match */
    assert_int_equal(slot->canary_buckets, 0);
    assert_int_equal(slot->mirror_buckets, 0);
    assert_int_equal(slot->matches, 0);
    ORDER(DELETE, "shop");
    assert_int_equal(slot->rollout, 0);
    assert_int_equal(slot->threshold[0], ROUTE_BUCKETS);
}

static void test_time_that_was_held_is_kept_though_nothing_happens(void **state)
{
    (void)state;
    both_publish();
    apply(DOCUMENT_OF("shop", "things", "  steps: [{weight: 5, hold: 1h}]\n"));
    for (unsigned i = 0; i < 60; i++)
        go_on(NS_PER_S);
    char path[128], text[65536];
    (void)snprintf(path, sizeof(path), "%s/rollout-shop.json", world.state);
    FILE *file = fopen(path, "r"); /* as the next broker would, were this one killed */
    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    (void)fclose(file);
    json_t *json = json_loads(text, 0, NULL);
    struct rollout *rollout;
    struct error_text error = {""};
    assert_int_equal(
        rollout_from_json(json_object_get(json, "rollout"), rollouts_now(), &rollout, &error), 0);
    struct rollout_view view;
    rollout_view(rollout, &view);
    assert_true(view.held_ns >= 60 * NS_PER_S - 2 * ROLLOUTS_KEEP_NS);
    rollout_free(rollout);
    json_decref(json);
}

static void test_good_figures_lead_through_the_steps(void **state)
{
    (void)state;
    both_publish();
    apply(DOCUMENT);
    assert_int_equal(canary_share(), 5000);
    traffic(0);
    assert_int_equal(step(), 2);
    assert_int_equal(canary_share(), 30000);
    traffic(0);
    assert_string_equal(phase(), "Completed");
    assert_int_equal(canary_share(), 100000);
}

static void test_bad_figures_lead_back_at_once(void **state)
{
    (void)state;
    both_publish();
    apply(DOCUMENT);
    traffic(200);
    assert_string_equal(phase(), "RolledBack");
    assert_int_equal(canary_share(), 0);
    ORDER(SHOW, "shop");
    json_t *json = json_loads(world.reply->rollout->rollout[0]->json, 0, NULL);
    json_t *history = json_object_get(json_object_get(json, "status"), "history");
    json_t *last = json_array_get(history, json_array_size(history) - 1);
    assert_string_equal(json_string_value(json_object_get(last, "what")), "rollback");
    assert_string_equal(json_string_value(json_object_get(last, "who")), "controller");
    assert_true(json_integer_value(
                    json_object_get(json_object_get(json, "status"), "exposedCalls")) >= 1000);
    json_decref(json);
}

static void test_what_is_mirrored_is_shown(void **state)
{
    (void)state;
    both_publish();
    apply(DOCUMENT);
    traffic(0);
    ORDER(SHOW, "shop");
    json_t *json = json_loads(world.reply->rollout->rollout[0]->json, 0, NULL);
    assert_true(json_is_null(json_object_get(json_object_get(json, "status"), "mirror")));
    json_decref(json);
    count_copies(500);
    ORDER(SHOW, "shop");
    json = json_loads(world.reply->rollout->rollout[0]->json, 0, NULL);
    json_t *mirror = json_object_get(json_object_get(json, "status"), "mirror");
    json_int_t sent = 0, differ = 0, failed = 0, skipped = 0;
    assert_int_equal(json_unpack(mirror, "{s:I,s:I,s:I,s:I}", "sent", &sent, "differ", &differ,
                                 "failed", &failed, "skipped", &skipped),
                     0);
    assert_int_equal(sent, 500);
    assert_int_equal(differ, 50);
    assert_int_equal(failed, 5);
    assert_int_equal(skipped, 3);
    json_decref(json);
}

static void test_a_bad_document_is_refused_with_its_place(void **state)
{
    (void)state;
    both_publish();
    apply(DOCUMENT);
    apply(DOCUMENT_OF("shop", "things", "  steps: [{weight: 500}]\n"));
    is_refused(PARLEY_INVALID_ARGUMENT, "shop.yaml:9:");
    assert_words(world.reply->text, "expected");
    assert_string_equal(phase(), "Progressing");
    assert_int_equal(canary_share(), 5000);
    apply("");
    is_refused(PARLEY_INVALID_ARGUMENT, "shop.yaml:");
}

static void test_an_interface_has_one_rollout(void **state)
{
    (void)state;
    apply(DOCUMENT);
    apply(DOCUMENT_OF("other", "things", STEPS));
    is_refused(PARLEY_ALREADY_EXISTS, "rollout shop has interface things already");
    apply(DOCUMENT_OF("shop", "others", STEPS));
    is_refused(PARLEY_INVALID_ARGUMENT, "rollout shop is one of things");
    ORDER(LIST, NULL);
    assert_int_equal(world.reply->rollout->n_rollout, 1);
}

static void test_as_many_rollouts_as_the_limit_and_no_more(void **state)
{
    (void)state;
    char document[1024];
    for (unsigned i = 0; i <= ROLLOUTS_MAX; i++) {
        (void)snprintf(document, sizeof(document), DOCUMENT_OF("r%u", "i%u", STEPS), i, i);
        apply(document);
        if (i < ROLLOUTS_MAX)
            succeeds();
    }
    is_refused(PARLEY_INVALID_ARGUMENT, "256 rollouts already");
    ORDER(LIST, NULL);
    assert_int_equal(world.reply->rollout->n_rollout, ROLLOUTS_MAX);
}

static void test_nothing_is_waited_for_without_a_rollout_that_moves(void **state)
{
    (void)state;
    assert_true(rollouts_next_ns(world.broker) == CLOCK_NEVER);
    both_publish();
    apply(DOCUMENT);
    broker_settle(world.broker);
    assert_true(rollouts_next_ns(world.broker) < CLOCK_NEVER);
    ORDER(PAUSE, "shop");
    broker_settle(world.broker);
    assert_true(rollouts_next_ns(world.broker) == CLOCK_NEVER);
    ORDER(RESUME, "shop");
    ORDER(ROLLBACK, "shop");
    broker_settle(world.broker);
    assert_true(rollouts_next_ns(world.broker) == CLOCK_NEVER);
}

/* ---- Operators ---- */

static void test_operators_act_and_the_history_says_who(void **state)
{
    (void)state;
    both_publish();
    apply(DOCUMENT);
    ORDER(PROMOTE, "shop");
    succeeds();
    assert_int_equal(canary_share(), 30000);
    ORDER(ROLLBACK, "shop");
    assert_int_equal(canary_share(), 0);
    ORDER(ROLLBACK, "shop");
    is_refused(PARLEY_FAILED_PRECONDITION, "RolledBack");
    ORDER(RESUME, "shop");
    assert_int_equal(canary_share(), 5000);
    ORDER(PAUSE, "nothing");
    is_refused(PARLEY_NOT_FOUND, "no rollout \"nothing\"");
    ORDER(SHOW, "shop");
    assert_words(world.reply->rollout->rollout[0]->json, "\"what\":\"promote\"");
    assert_words(world.reply->rollout->rollout[0]->json, "\"who\":\"the broker\"");
    assert_words(world.reply->rollout->rollout[0]->json, "because");
}

static void test_an_action_that_is_not_known_is_refused(void **state)
{
    (void)state;
    apply(DOCUMENT);
    order((Parley__RolloutAction)77, "shop");
    assert_int_not_equal(world.reply->status, PARLEY_OK);
}

static void test_weights_by_hand_need_force_and_pause_it(void **state)
{
    (void)state;
    both_publish();
    apply(DOCUMENT);
    route(50, 50, false);
    is_refused(PARLEY_FAILED_PRECONDITION, "rollout shop sets the shares of things");
    assert_int_equal(canary_share(), 5000);
    route(0, 0, true); /* weights that are none: nothing happens to the rollout either */
    is_refused(PARLEY_INVALID_ARGUMENT, "not all 0");
    assert_string_equal(phase(), "Progressing");
    route(50, 50, true);
    succeeds();
    assert_string_equal(phase(), "Paused");
    assert_int_equal(canary_share(), 50000);
    go_on(100 * NS_PER_S);
    say_withdraw(&world.service, 2, true); /* something that it looks at */
    broker_settle(world.broker);
    publish(&world.service, 2, &world.v2);
    broker_settle(world.broker);
    assert_int_equal(canary_share(), 50000);
    ORDER(RESUME, "shop");
    assert_int_equal(canary_share(), 5000); /* its own again */
}

static void test_weights_by_hand_are_free_once_it_has_ended(void **state)
{
    (void)state;
    both_publish();
    apply(DOCUMENT);
    ORDER(ROLLBACK, "shop");
    route(50, 50, false);
    succeeds();
    broker_settle(world.broker);
    assert_int_equal(canary_share(), 50000);
    ORDER(RESUME, "shop");
    assert_int_equal(canary_share(), 5000);
}

static void test_deleting_takes_calls_back_unless_it_was_completed(void **state)
{
    (void)state;
    both_publish();
    apply(DOCUMENT);
    ORDER(DELETE, "shop");
    succeeds();
    assert_int_equal(world.reply->rollout->n_rollout, 0);
    assert_int_equal(canary_share(), 0);
    ORDER(SHOW, "shop");
    is_refused(PARLEY_NOT_FOUND, "shop");
    apply(DOCUMENT);
    order(PARLEY__ROLLOUT_ACTION__ROLLOUT_PROMOTE, "shop");
    ORDER(PROMOTE, "shop");
    assert_string_equal(phase(), "Completed");
    ORDER(DELETE, "shop");
    assert_int_equal(canary_share(), 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rolling_test(test_a_rollout_waits_for_its_versions_then_takes_its_share),
        rolling_test(test_what_a_document_says_is_in_the_page),
        rolling_test(test_time_that_was_held_is_kept_though_nothing_happens),
        rolling_test(test_good_figures_lead_through_the_steps),
        rolling_test(test_bad_figures_lead_back_at_once),
        rolling_test(test_what_is_mirrored_is_shown),
        rolling_test(test_a_bad_document_is_refused_with_its_place),
        rolling_test(test_an_interface_has_one_rollout),
        rolling_test(test_as_many_rollouts_as_the_limit_and_no_more),
        rolling_test(test_nothing_is_waited_for_without_a_rollout_that_moves),
        rolling_test(test_operators_act_and_the_history_says_who),
        rolling_test(test_an_action_that_is_not_known_is_refused),
        rolling_test(test_weights_by_hand_need_force_and_pause_it),
        rolling_test(test_weights_by_hand_are_free_once_it_has_ended),
        rolling_test(test_deleting_takes_calls_back_unless_it_was_completed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
