/* Rollouts in the broker: what documents, figures and operators do to the route page, and what is
 * on disk meanwhile. The clock is the test's. */
#include "peers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/histogram.h"
#include "broker/rollouts.h"

#define PATIENCE_NS (20 * NS_PER_S)

#define DOCUMENT_OF(name, interface, rest)                                                         \
    "apiVersion: parley.dev/v1alpha1\n"                                                            \
    "kind: Rollout\n"                                                                              \
    "metadata:\n"                                                                                  \
    "  name: " name "\n"                                                                           \
    "spec:\n"                                                                                      \
    "  interface: " interface "\n"                                                                 \
    "  stable: \"~1\"\n"                                                                           \
    "  canary: \"~2\"\n" rest
#define STEPS                                                                                      \
    "  steps:\n"                                                                                   \
    "  - {weight: 5, hold: 10s}\n"                                                                 \
    "  - {weight: 30, hold: 10s}\n"                                                                \
    "  gates: {minCalls: 50, interval: 1s}\n"
#define DOCUMENT DOCUMENT_OF("shop", "things", STEPS)

static struct world {
    struct broker *broker;
    struct peer service, client;
    struct set v1, v2;
    char folder[64], state[64];
    Parley__ControlReply *reply;
} world;

static uint64_t now_ns;

static uint64_t test_clock(void)
{
    return now_ns;
}

static void start(bool with_folder)
{
    struct broker_options options = {.state = world.state,
                                     .rollouts = with_folder ? world.folder : NULL};
    struct error_text error = {""};
    if (broker_new(&options, &world.broker, &error) < 0)
        fail_msg("%s", error.text);
    peer_join(&world.service, world.broker, "service");
    peer_join(&world.client, world.broker, "client");
}

static void stop(void)
{
    peer_leave(&world.service);
    peer_leave(&world.client);
    world.broker = broker_free(world.broker);
}

static int begin(void **state)
{
    (void)state;
    now_ns = 1000 * NS_PER_S;
    clock_set(test_clock);
    set_make(&world.v1, "things", "1.0.0", "things.v1", NULL, 2);
    set_make(&world.v2, "things", "2.0.0", "things.v2", "things.v1", 3);
    strcpy(world.folder, "/tmp/parley-rollouts-XXXXXX");
    assert_non_null(mkdtemp(world.folder));
    (void)snprintf(world.state, sizeof(world.state), "%.40s/state", world.folder);
    start(false);
    return 0;
}

static int end(void **state)
{
    (void)state;
    char command[128];
    if (world.broker)
        stop();
    clock_set(NULL);
    set_free(&world.v1);
    set_free(&world.v2);
    world.reply = wire_free(world.reply);
    (void)snprintf(command, sizeof(command), "rm -r %s", world.folder);
    return system(command);
}

static void start_again(bool with_folder)
{
    stop();
    start(with_folder);
}

static void both_publish(void)
{
    publish(&world.service, 1, &world.v1);
    publish(&world.service, 2, &world.v2);
    broker_settle(world.broker);
}

static void go_on(uint64_t ns)
{
    now_ns += ns;
    broker_settle(world.broker);
}

/* ---- Asking ---- */

static void ask(int body_case, void *body)
{
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    request.body_case = (Parley__ControlRequest__BodyCase)body_case;
    request.list = body; /* a union of pointers */
    size_t bytes = parley__control_request__get_packed_size(&request);
    uint8_t *data = malloc(bytes), *answer;
    size_t answer_bytes;
    (void)parley__control_request__pack(&request, data);
    assert_int_equal(control_handle(world.broker, data, bytes, NULL, &answer, &answer_bytes), 0);
    free(data);
    wire_free(world.reply);
    ProtobufCMessage *message;
    struct error_text error = {""};
    if (wire_unpack(&parley__control_reply__descriptor, answer, answer_bytes, NULL, &message,
                    &error) < 0)
        fail_msg("%s", error.text);
    world.reply = (Parley__ControlReply *)message;
    free(answer);
}

static void order(Parley__RolloutAction action, const char *name)
{
    Parley__RolloutRequest request = PARLEY__ROLLOUT_REQUEST__INIT;
    request.has_action = true;
    request.action = action;
    request.name = (char *)(uintptr_t)name;
    request.reason = (char *)(uintptr_t) "because";
    ask(PARLEY__CONTROL_REQUEST__BODY_ROLLOUT, &request);
}
#define ORDER(action, name) order(PARLEY__ROLLOUT_ACTION__ROLLOUT_##action, name)

static void apply(const char *document)
{
    Parley__RolloutRequest request = PARLEY__ROLLOUT_REQUEST__INIT;
    request.has_action = true;
    request.action = PARLEY__ROLLOUT_ACTION__ROLLOUT_APPLY;
    request.document = (char *)(uintptr_t)document;
    request.file = (char *)(uintptr_t) "shop.yaml";
    ask(PARLEY__CONTROL_REQUEST__BODY_ROLLOUT, &request);
}

static void succeeds(void)
{
    if (world.reply->status != PARLEY_OK)
        fail_msg("%s", world.reply->text);
}

static void is_refused(enum parley_status status, const char *words)
{
    assert_int_equal(world.reply->status, status);
    assert_words(world.reply->text, words);
}

static void route(double v1, double v2, bool force)
{
    Parley__RouteWeight weights[2] = {PARLEY__ROUTE_WEIGHT__INIT, PARLEY__ROUTE_WEIGHT__INIT};
    Parley__RouteWeight *pointers[] = {&weights[0], &weights[1]};
    weights[0].version = (char *)(uintptr_t) "1.0.0";
    weights[1].version = (char *)(uintptr_t) "2.0.0";
    weights[0].has_weight = weights[1].has_weight = true;
    weights[0].weight = v1;
    weights[1].weight = v2;
    Parley__RouteRequest request = PARLEY__ROUTE_REQUEST__INIT;
    request.interface = (char *)(uintptr_t) "things";
    request.n_weight = 2;
    request.weight = pointers;
    request.has_force = force;
    request.force = force;
    ask(PARLEY__CONTROL_REQUEST__BODY_ROUTE, &request);
}

/* What the canary gets by the interface's weights. */
static uint32_t canary_share(void)
{
    const struct interface *interface = directory_find(&world.broker->directory, "things");
    assert_non_null(interface);
    struct semver semver;
    assert_int_equal(semver_parse("2.0.0", &semver), 0);
    const struct version *version = interface_version(interface, &semver);
    return version ? version->weight : 0;
}

static const char *phase(void)
{
    ORDER(SHOW, "shop");
    succeeds();
    return world.reply->rollout->rollout[0]->phase;
}

static unsigned step(void)
{
    ORDER(SHOW, "shop");
    succeeds();
    return world.reply->rollout->rollout[0]->step;
}

/* The client counts more calls that a version served. */
static void count(const char *served, uint64_t calls, uint64_t errors)
{
    unsigned index = served[0] == '1' ? 0 : 1;
    struct stats_header *header = world.client.stats.base;
    struct stats_cell *cell = (struct stats_cell *)((uint8_t *)header + STATS_CELLS_OFFSET) + index;
    strcpy(cell->interface_name, "things");
    strcpy(cell->method, "Get");
    strcpy(cell->asked, "1.0.0");
    strcpy(cell->served, served);
    cell->side = 0;
    cell->started += calls;
    cell->by_status[PARLEY_OK] += calls - errors;
    cell->by_status[PARLEY_INTERNAL] += errors;
    cell->bucket[histogram_bucket(1000)] += calls;
    header->cell_count = 2;
}

static void traffic(uint64_t canary_errors)
{
    for (unsigned i = 0; i < 12; i++) {
        count("1.0.0", 9000, 0);
        count("2.0.0", 1000, canary_errors);
        go_on(NS_PER_S);
    }
}

/* Copies of stable calls that went to the canary, of which one in ten was answered differently. */
static void count_copies(uint64_t copies)
{
    uint8_t *base = world.client.stats.base;
    struct stats_mirror *mirror = (struct stats_mirror *)(base + STATS_MIRRORS_OFFSET) + 1;
    mirror->sent += copies;
    mirror->differ += copies / 10;
    mirror->failed += copies / 100;
    mirror->skipped += 3;
}

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
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_a_rollout_waits_for_its_versions_then_takes_its_share),
        TEST(test_what_a_document_says_is_in_the_page),
        TEST(test_time_that_was_held_is_kept_though_nothing_happens),
        TEST(test_good_figures_lead_through_the_steps),
        TEST(test_bad_figures_lead_back_at_once),
        TEST(test_what_is_mirrored_is_shown),
        TEST(test_a_bad_document_is_refused_with_its_place),
        TEST(test_an_interface_has_one_rollout),
        TEST(test_as_many_rollouts_as_the_limit_and_no_more),
        TEST(test_nothing_is_waited_for_without_a_rollout_that_moves),
        TEST(test_operators_act_and_the_history_says_who),
        TEST(test_an_action_that_is_not_known_is_refused),
        TEST(test_weights_by_hand_need_force_and_pause_it),
        TEST(test_weights_by_hand_are_free_once_it_has_ended),
        TEST(test_deleting_takes_calls_back_unless_it_was_completed),
        TEST(test_a_new_broker_finds_it_in_the_step_where_it_was),
        TEST(test_what_was_deleted_stays_so),
        TEST(test_weights_by_hand_stay_in_force),
        TEST(test_a_damaged_state_is_put_aside),
        TEST(test_a_state_under_another_name_is_not_believed),
        TEST(test_what_endpoints_counted_before_is_not_counted_again),
        TEST(test_a_document_in_the_folder_runs_until_it_is_gone),
        TEST(test_a_bad_file_leaves_in_force_what_it_said),
        TEST(test_a_file_may_become_another_rollout),
        TEST(test_a_file_that_was_in_another_s_way_is_read_when_that_is_gone),
        TEST(test_what_is_a_file_s_is_changed_there),
        TEST(test_a_file_that_went_while_no_broker_ran_is_gone),
        TEST(test_a_folder_that_is_not_there_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
