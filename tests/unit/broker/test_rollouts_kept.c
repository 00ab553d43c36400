/* Rollouts in the broker: what is on disk, and outlives it: its state, and the folder of documents.
 * The clock is the test's. */
#include "rolling.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/histogram.h"

/* ---- What outlives the broker ---- */

static void test_a_new_broker_finds_it_in_the_step_where_it_was(void **state)
{
    (void)state;
    both_publish();
    apply(DOCUMENT);
    traffic(0);
    assert_int_equal(step(), 2);
    start_again(false);
    assert_int_equal(step(), 2);
    assert_string_equal(phase(), "Progressing");
    publish(&world.service, 1, &world.v1);
    broker_settle(world.broker);
    publish(&world.service, 2, &world.v2);
    broker_settle(world.broker);
    assert_int_equal(step(), 2);
    assert_int_equal(canary_share(), 30000);
    traffic(0);
    assert_string_equal(phase(), "Completed");
}

static void test_what_was_deleted_stays_so(void **state)
{
    (void)state;
    apply(DOCUMENT);
    ORDER(DELETE, "shop");
    start_again(false);
    ORDER(LIST, NULL);
    assert_int_equal(world.reply->rollout->n_rollout, 0);
}

static void test_weights_by_hand_stay_in_force(void **state)
{
    (void)state;
    both_publish();
    apply(DOCUMENT);
    route(50, 50, true);
    start_again(false);
    assert_string_equal(phase(), "Paused");
    both_publish();
    assert_int_not_equal(canary_share(),
                         5000); /* what instances remember; these remember nothing */
}

static void write_state(const char *name, const char *text)
{
    char path[128];
    (void)mkdir(world.state, 0700);
    (void)snprintf(path, sizeof(path), "%s/%s", world.state, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static bool state_has(const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", world.state, name);
    return access(path, F_OK) == 0;
}

static void test_a_damaged_state_is_put_aside(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{\"format\": 1",
        "[]",
        "{\"format\": 2, \"file\": \"\", \"overridden\": false, \"rollout\": {}}",
        "{\"format\": 1, \"file\": \"\", \"overridden\": false, \"rollout\": {}}",
        "{\"format\": 1, \"file\": \"\", \"overridden\": false, \"rollout\": 7}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        stop();
        write_state("rollout-shop.json", bad[i]);
        start(false);
        ORDER(LIST, NULL);
        assert_int_equal(world.reply->rollout->n_rollout, 0);
        assert_false(state_has("rollout-shop.json"));
        assert_true(state_has("rollout-shop.json.damaged"));
    }
    apply(DOCUMENT); /* and nothing is in the way of a new one */
    succeeds();
    assert_true(state_has("rollout-shop.json"));
}

static void test_a_state_under_another_name_is_not_believed(void **state)
{
    (void)state;
    char from[128], to[128];
    apply(DOCUMENT);
    stop();
    (void)snprintf(from, sizeof(from), "%s/rollout-shop.json", world.state);
    (void)snprintf(to, sizeof(to), "%s/rollout-shap.json", world.state);
    assert_int_equal(rename(from, to), 0);
    start(false);
    ORDER(LIST, NULL);
    assert_int_equal(world.reply->rollout->n_rollout, 0);
    assert_true(state_has("rollout-shap.json.damaged"));
}

static void test_what_endpoints_counted_before_is_not_counted_again(void **state)
{
    (void)state;
    struct rollout_figures figures[2];
    static const char *const versions[] = {"1.0.0", "2.0.0"};
    count("2.0.0", 100, 10);
    stats_figures(world.broker, "things", versions, figures);
    assert_int_equal(figures[0].calls, 0);
    assert_int_equal(figures[1].calls, 100);
    assert_int_equal(figures[1].errors, 10);
    assert_int_equal(figures[1].latency[histogram_bucket(1000)], 100);
    struct peer back = {.broker = world.broker};
    peer_connect(&back, world.broker); /* with what it had counted elsewhere */
    peer_make_stats(&back);
    memcpy((uint8_t *)back.stats.base + STATS_CELLS_OFFSET,
           (uint8_t *)world.client.stats.base + STATS_CELLS_OFFSET, 2 * sizeof(struct stats_cell));
    ((struct stats_header *)back.stats.base)->cell_count = 2;
    peer_say_hello(&back, LINK_PROTOCOL, "back", &back.stats.fd, 1);
    (void)peer_hear(&back, PARLEY__LINK_MESSAGE__BODY_WELCOME);
    stats_figures(world.broker, "things", versions, figures);
    assert_int_equal(figures[1].calls, 100);
    ((struct stats_cell *)((uint8_t *)back.stats.base + STATS_CELLS_OFFSET))[1]
        .by_status[PARLEY_OK] += 5;
    stats_figures(world.broker, "things", versions, figures);
    assert_int_equal(figures[1].calls, 105);
    peer_leave(&back);
    broker_settle(world.broker);
    stats_figures(world.broker, "things", versions, figures);
    assert_int_equal(figures[1].calls, 105);
}

/* ---- The folder ---- */

static void put(const char *name, const char *text)
{
    char beside[128], path[128];
    (void)snprintf(beside, sizeof(beside), "%s/.new", world.folder);
    (void)snprintf(path, sizeof(path), "%s/%s", world.folder, name);
    FILE *file = fopen(beside, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(beside, path), 0);
    broker_settle(world.broker);
}

static void take_away(const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", world.folder, name);
    assert_int_equal(unlink(path), 0);
    broker_settle(world.broker);
}

static void test_a_document_in_the_folder_runs_until_it_is_gone(void **state)
{
    (void)state;
    start_again(true);
    both_publish();
    put("shop.yaml", DOCUMENT);
    assert_int_equal(canary_share(), 5000);
    ORDER(PROMOTE, "shop");
    assert_int_equal(canary_share(), 30000);
    put("shop.yaml", DOCUMENT); /* the same again */
    assert_int_equal(canary_share(), 30000);
    take_away("shop.yaml");
    assert_string_equal(phase(), "Progressing"); /* not yet: it might come back */
    put("shop.yml", DOCUMENT);                   /* which it does, by another name */
    go_on(2 * ROLLOUTS_GONE_NS);
    assert_int_equal(canary_share(), 30000);
    take_away("shop.yml");
    go_on(2 * ROLLOUTS_GONE_NS);
    ORDER(LIST, NULL);
    assert_int_equal(world.reply->rollout->n_rollout, 0);
    assert_int_equal(canary_share(), 0);
    assert_false(state_has("rollout-shop.json"));
}

static void test_a_bad_file_leaves_in_force_what_it_said(void **state)
{
    (void)state;
    start_again(true);
    both_publish();
    put("shop.yaml", DOCUMENT);
    put("shop.yaml", "kind: nonsense\n");
    go_on(2 * ROLLOUTS_GONE_NS);
    assert_string_equal(phase(), "Progressing");
    assert_int_equal(canary_share(), 5000);
    start_again(true); /* also to the next broker */
    both_publish();
    go_on(2 * ROLLOUTS_GONE_NS);
    assert_string_equal(phase(), "Progressing");
    put("shop.yaml", DOCUMENT_OF("shop", "things", "  steps: [{weight: 7, hold: 1h}]\n"));
    assert_int_equal(canary_share(), 7000);
}

static void test_a_file_may_become_another_rollout(void **state)
{
    (void)state;
    start_again(true);
    both_publish();
    put("shop.yaml", DOCUMENT);
    put("shop.yaml", DOCUMENT_OF("other", "others", STEPS));
    ORDER(LIST, NULL);
    assert_int_equal(world.reply->rollout->n_rollout, 1);
    assert_string_equal(world.reply->rollout->rollout[0]->name, "other");
    assert_int_equal(canary_share(), 0);
}

static void test_a_file_that_was_in_another_s_way_is_read_when_that_is_gone(void **state)
{
    (void)state;
    start_again(true);
    both_publish();
    put("shop.yaml", DOCUMENT);
    take_away("shop.yaml");
    put("other.yaml", DOCUMENT_OF("other", "things", "  steps: [{weight: 7, hold: 1h}]\n"));
    ORDER(SHOW, "other");
    is_refused(PARLEY_NOT_FOUND, "other"); /* the interface is taken still */
    go_on(2 * ROLLOUTS_GONE_NS);
    ORDER(SHOW, "other");
    succeeds();
    assert_int_equal(canary_share(), 7000);
}

static void test_what_is_a_file_s_is_changed_there(void **state)
{
    (void)state;
    start_again(true);
    put("shop.yaml", DOCUMENT);
    apply(DOCUMENT_OF("shop", "things", "  steps: [{weight: 7, hold: 1h}]\n"));
    is_refused(PARLEY_ALREADY_EXISTS, "shop.yaml: change it there");
    put("twice.yaml", DOCUMENT); /* nor may another file have it */
    ORDER(SHOW, "shop");
    assert_string_equal(world.reply->rollout->rollout[0]->source, "shop.yaml");
    ORDER(DELETE, "shop");
    is_refused(PARLEY_FAILED_PRECONDITION, "shop.yaml: remove that");
}

static void test_a_file_that_went_while_no_broker_ran_is_gone(void **state)
{
    (void)state;
    start_again(true);
    both_publish();
    put("shop.yaml", DOCUMENT);
    stop();
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/shop.yaml", world.folder);
    assert_int_equal(unlink(path), 0);
    start(true);
    both_publish();
    go_on(2 * ROLLOUTS_GONE_NS);
    ORDER(LIST, NULL);
    assert_int_equal(world.reply->rollout->n_rollout, 0);
}

/* Its state could not be kept: the next broker would begin anew. */
static void test_a_file_whose_name_is_no_text_is_refused(void **state)
{
    (void)state;
    start_again(true);
    both_publish();
    put("sh\xf6p.yaml", DOCUMENT);
    assert_int_equal(canary_share(), 0);
    struct events_list list;
    assert_int_equal(events_since(&world.broker->events, world.broker->events.last - 1, &list), 0);
    assert_int_equal(list.count, 1);
    assert_words(list.items[0]->text, "sh?p.yaml: its name is no UTF-8");
    events_list_free(&list);
    put("sh\xc3\xb6p.yaml", DOCUMENT);
    assert_int_equal(canary_share(), 5000);
    assert_true(state_has("rollout-shop.json"));
}

static void test_a_folder_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    struct broker_options options = {.rollouts = "/tmp/parley-rollouts-nowhere"};
    struct broker *broker;
    struct error_text error = {""};
    assert_int_equal(broker_new(&options, &broker, &error), -ENOENT);
    assert_words(error.text, "--rollouts /tmp/parley-rollouts-nowhere");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        rolling_test(test_a_new_broker_finds_it_in_the_step_where_it_was),
        rolling_test(test_what_was_deleted_stays_so),
        rolling_test(test_weights_by_hand_stay_in_force),
        rolling_test(test_a_damaged_state_is_put_aside),
        rolling_test(test_a_state_under_another_name_is_not_believed),
        rolling_test(test_what_endpoints_counted_before_is_not_counted_again),
        rolling_test(test_a_document_in_the_folder_runs_until_it_is_gone),
        rolling_test(test_a_bad_file_leaves_in_force_what_it_said),
        rolling_test(test_a_file_may_become_another_rollout),
        rolling_test(test_a_file_that_was_in_another_s_way_is_read_when_that_is_gone),
        rolling_test(test_what_is_a_file_s_is_changed_there),
        rolling_test(test_a_file_that_went_while_no_broker_ran_is_gone),
        rolling_test(test_a_file_whose_name_is_no_text_is_refused),
        rolling_test(test_a_folder_that_is_not_there_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
