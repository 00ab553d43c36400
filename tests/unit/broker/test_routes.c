/* Weights: their arithmetic, who sets them, and what the page says. */
#include "peers.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "reader.h"

static struct broker *broker;
static struct peer service;
static struct set v1, v2, v3;

static int begin(void **state)
{
    (void)state;
    broker = broker_start(NULL);
    set_make(&v1, "things", "1.0.0", "things.v1", NULL, 2);
    set_make(&v2, "things", "2.0.0", "things.v2", NULL, 3);
    set_make(&v3, "things", "3.0.0", "things.v3", NULL, 3);
    peer_join(&service, broker, "service");
    return 0;
}

static int end(void **state)
{
    (void)state;
    peer_leave(&service);
    broker_free(broker);
    set_free(&v1);
    set_free(&v2);
    set_free(&v3);
    return 0;
}

/* ---- Arithmetic ---- */

static void shares(const double *weights, size_t count, const uint32_t *expected)
{
    uint32_t got[ROUTE_VERSION_MAX];
    assert_int_equal(weights_normalise(weights, count, got), 0);
    uint32_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        if (expected)
            assert_int_equal(got[i], expected[i]);
        sum += got[i];
    }
    assert_int_equal(sum, ROUTE_BUCKETS);
}

static void test_weights_of_any_unit_become_shares(void **state)
{
    (void)state;
    shares((double[]){5, 95}, 2, (uint32_t[]){5000, 95000});
    shares((double[]){0.05, 0.95}, 2, (uint32_t[]){5000, 95000});
    shares((double[]){0, 7}, 2, (uint32_t[]){0, ROUTE_BUCKETS});
    shares((double[]){1e-300}, 1, (uint32_t[]){ROUTE_BUCKETS});
}

static void test_what_is_missing_goes_to_the_largest_remainders(void **state)
{
    (void)state;
    shares((double[]){1, 1, 1}, 3, (uint32_t[]){33334, 33333, 33333});
    /* 14285.7, 28571.4, 57142.9: the cut bucket goes to .9, the next to .7 */
    shares((double[]){1, 2, 4}, 3, (uint32_t[]){14286, 28571, 57143});
    shares((double[]){1, 1, 1, 1, 1, 1, 1}, 7, NULL);
}

static void test_huge_and_tiny_weights_do_not_overflow(void **state)
{
    (void)state;
    shares((double[]){DBL_MAX, DBL_MAX, DBL_MAX, DBL_MAX}, 4,
           (uint32_t[]){25000, 25000, 25000, 25000});
    shares((double[]){DBL_MAX, DBL_TRUE_MIN}, 2, (uint32_t[]){ROUTE_BUCKETS, 0});
    shares((double[]){DBL_TRUE_MIN, DBL_TRUE_MIN}, 2, (uint32_t[]){50000, 50000});
}

static void test_any_weights_sum_to_all_buckets(void **state)
{
    (void)state;
    uint64_t random = 42;
    for (unsigned i = 0; i < 20000; i++) {
        double weights[ROUTE_VERSION_MAX];
        size_t count = 1 + i % ROUTE_VERSION_MAX;
        for (size_t k = 0; k < count; k++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
            weights[k] = (double)(random >> 40) / 1000.0;
        }
        weights[0] += 0.001;
        shares(weights, count, NULL);
    }
}

static void test_weights_that_are_none_are_refused(void **state)
{
    (void)state;
    uint32_t got[ROUTE_VERSION_MAX + 1];
    double many[ROUTE_VERSION_MAX + 1] = {1};
    assert_true(weights_normalise((double[]){0, 0}, 2, got) < 0);
    assert_true(weights_normalise((double[]){-1, 2}, 2, got) < 0);
    assert_true(weights_normalise((double[]){NAN, 2}, 2, got) < 0);
    assert_true(weights_normalise((double[]){INFINITY, 2}, 2, got) < 0);
    assert_true(weights_normalise(many, 0, got) < 0);
    assert_true(weights_normalise(many, ROUTE_VERSION_MAX + 1, got) < 0);
    assert_int_equal(weights_normalise(many, ROUTE_VERSION_MAX, got), 0);
}

/* ---- The page ---- */

static const struct interface *the_interface(void)
{
    const struct interface *found = directory_find(&broker->directory, "things");
    assert_non_null(found);
    return found;
}

static const struct route_slot *slot(void)
{
    const struct route_slot *found = route_slot(&service, (uint32_t)the_interface()->slot);
    assert_int_equal(found->sequence & 1, 0);
    return found;
}

static void expect_thresholds(uint32_t count, const uint32_t *expected)
{
    assert_int_equal(slot()->version_count, count);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(slot()->threshold[i], expected[i]);
}

static void test_page_has_its_header(void **state)
{
    (void)state;
    const struct route_header *header = service.route.base;
    assert_int_equal(header->magic, ROUTE_MAGIC);
    assert_int_equal(header->version, LAYOUT_VERSION);
    assert_int_equal(header->slot_count, ROUTE_SLOT_MAX);
    assert_int_equal(header->slot_bytes, sizeof(struct route_slot));
    assert_true(header->broker_id == broker->id);
}

static void test_first_version_gets_all_and_the_next_nothing(void **state)
{
    (void)state;
    publish(&service, 1, &v1);
    expect_thresholds(1, (uint32_t[]){ROUTE_BUCKETS});
    assert_true(slot()->generation == 1);
    assert_string_equal((const char *)&slot()->version_name[0], "1.0.0");
    uint32_t before = slot()->sequence;
    publish(&service, 2, &v2);
    expect_thresholds(2, (uint32_t[]){ROUTE_BUCKETS, ROUTE_BUCKETS});
    assert_true(slot()->generation == 1); /* no weight has changed */
    assert_true(slot()->sequence > before);
    assert_string_equal((const char *)&slot()->version_name[1], "2.0.0");
    assert_true(slot()->salt != 0);
}

static void test_page_lists_instances_with_state_and_version(void **state)
{
    (void)state;
    publish(&service, 1, &v1);
    publish(&service, 2, &v2);
    say_withdraw(&service, 2, false);
    peer_hears_nothing(&service);
    assert_int_equal(slot()->instance_count, 2);
    assert_true(slot()->instance_id[0] == 1 && slot()->instance_id[1] == 2);
    assert_int_equal(slot()->instance_state[0], ROUTE_INSTANCE_UP);
    assert_int_equal(slot()->instance_state[1], ROUTE_INSTANCE_DRAINING);
    assert_int_equal(slot()->instance_version[0], 0);
    assert_int_equal(slot()->instance_version[1], 1);
    say_withdraw(&service, 1, true);
    peer_hears_nothing(&service);
    assert_int_equal(slot()->instance_count, 1);
    assert_true(slot()->instance_id[0] == 2);
    assert_int_equal(slot()->instance_version[0], 1); /* indices stay */
    assert_int_equal(slot()->instance_state[1], ROUTE_INSTANCE_NONE);
}

static void test_weights_outlive_the_last_instance(void **state)
{
    (void)state;
    publish(&service, 1, &v1);
    say_withdraw(&service, 1, true);
    publish(&service, 2, &v2);
    expect_thresholds(2, (uint32_t[]){ROUTE_BUCKETS, ROUTE_BUCKETS});
    uint32_t effective[ROUTE_VERSION_MAX];
    weights_effective(the_interface(), effective); /* what clients do meanwhile */
    assert_int_equal(effective[0], 0);
    assert_int_equal(effective[1], ROUTE_BUCKETS);
    publish(&service, 1, &v1);
    weights_effective(the_interface(), effective);
    assert_int_equal(effective[0], ROUTE_BUCKETS);
}

static void test_effective_weights_are_of_who_is_up(void **state)
{
    (void)state;
    publish(&service, 1, &v1);
    publish(&service, 2, &v2);
    publish(&service, 3, &v3);
    struct interface *things = directory_find(&broker->directory, "things");
    things->versions[0]->weight = 50000;
    things->versions[1]->weight = 30000;
    things->versions[2]->weight = 20000;
    uint32_t effective[ROUTE_VERSION_MAX];
    say_withdraw(&service, 1, false); /* draining does not count */
    peer_hears_nothing(&service);
    weights_effective(things, effective);
    assert_int_equal(effective[0], 0);
    assert_int_equal(effective[1], 60000);
    assert_int_equal(effective[2], 40000);
}

static void test_page_is_never_seen_half_written(void **state)
{
    (void)state;
    publish(&service, 1, &v1);
    publish(&service, 2, &v2);
    struct interface *things = directory_find(&broker->directory, "things");
    struct reading reading = {.page = &service.route};
    things->generation = 0;
    things->versions[0]->weight = 0;
    things->versions[1]->weight = ROUTE_BUCKETS;
    routes_write(&broker->routes, things);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_on, &reading), 0);
    /* On a busy machine it takes a while until the reader runs at all. */
    uint64_t watchdog = clock_now_ns() + 30 * NS_PER_S;
    for (unsigned i = 1;
         i < 50000 || (atomic_load(&reading.changes) < 100 && clock_now_ns() < watchdog); i++) {
        unsigned weight = i % 50000;
        things->generation = weight;
        things->versions[0]->weight = weight;
        things->versions[1]->weight = ROUTE_BUCKETS - weight;
        routes_write(&broker->routes, things);
        if (i % 1000 == 0)
            sched_yield();
    }
    atomic_store(&reading.done, true);
    pthread_join(thread, NULL);
    assert_int_equal(reading.torn, 0);
    assert_true(reading.changes > 0);
}

static void test_rules_are_never_seen_half_written(void **state)
{
    (void)state;
    publish(&service, 1, &v1);
    publish(&service, 2, &v2);
    struct interface *things = directory_find(&broker->directory, "things");
    struct reading reading = {.page = &service.route};
    char value[8];
    const struct route_condition_text condition = {ROUTE_MATCH_EXACT, "k", value};
    const struct route_rule rule = {.conditions = &condition, .condition_count = 1};
    struct route_rollout rollout = {.stable = "1.0.0", .canary = "2.0.0", .rules = &rule};
    struct error_text error = {""};
    assert_int_equal(routes_set_rollout(broker, things, &rollout, &error), 1); /* 0: no rules */
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_rules_on, &reading), 0);
    uint64_t watchdog = clock_now_ns() + 30 * NS_PER_S;
    for (unsigned i = 1;
         i < 20000 || (atomic_load(&reading.changes) < 100 && clock_now_ns() < watchdog); i++) {
        rollout.canary_buckets = 10000 + i % 80000;
        rollout.rule_count = rollout.canary_buckets % 7 != 0;
        (void)snprintf(value, sizeof(value), "%05u", rollout.canary_buckets);
        assert_int_equal(routes_set_rollout(broker, things, &rollout, &error), 1);
        if (i % 1000 == 0)
            sched_yield();
    }
    atomic_store(&reading.done, true);
    pthread_join(thread, NULL);
    assert_int_equal(reading.torn, 0);
    assert_true(reading.changes > 0);
}

/* ---- A broker that has just started ---- */

static void say_learned(uint64_t instance_id, const struct set *set, uint64_t generation,
                        const char *const *versions, const uint32_t *weights, size_t count)
{
    Parley__Weight weight[16];
    Parley__Weight *pointers[16];
    for (size_t i = 0; i < count; i++) {
        parley__weight__init(&weight[i]);
        weight[i].version = (char *)(uintptr_t)versions[i];
        weight[i].has_per_100000 = true;
        weight[i].per_100000 = weights[i];
        pointers[i] = &weight[i];
    }
    Parley__Publish body = PARLEY__PUBLISH__INIT;
    body.has_instance_id = body.has_descriptor_set = body.has_route_generation = true;
    body.instance_id = instance_id;
    body.interface = (char *)(uintptr_t)set->interface;
    body.version = (char *)(uintptr_t)set->version;
    body.service = (char *)(uintptr_t)set->service;
    body.descriptor_set.data = set->data;
    body.descriptor_set.len = set->bytes;
    body.route_generation = generation;
    body.n_weights = count;
    body.weights = pointers;
    peer_say(&service, PARLEY__LINK_MESSAGE__BODY_PUBLISH, &body, NULL, 0);
}

static void learn(uint64_t instance_id, const struct set *set, uint64_t generation,
                  const char *const *versions, const uint32_t *weights, size_t count)
{
    say_learned(instance_id, set, generation, versions, weights, count);
    const Parley__Published *published = peer_hear(&service, PARLEY__LINK_MESSAGE__BODY_PUBLISHED);
    if (published->status != PARLEY_OK)
        fail_msg("%s", published->text);
}

static const char *const both[] = {"1.0.0", "2.0.0"};

static void test_weights_are_learned_and_keep_a_place_for_who_is_not_here_yet(void **state)
{
    (void)state;
    learn(2, &v2, 7, both, (uint32_t[]){70000, 30000}, 2);
    expect_thresholds(2, (uint32_t[]){70000, ROUTE_BUCKETS});
    assert_true(slot()->generation == 7);
    assert_string_equal((const char *)&slot()->version_name[0], "1.0.0");
    assert_int_equal(slot()->instance_version[0], 1);
    publish(&service, 1, &v1); /* comes back without a memory */
    expect_thresholds(2, (uint32_t[]){70000, ROUTE_BUCKETS});
    publish(&service, 3, &v3); /* a new one has no weight */
    expect_thresholds(3, (uint32_t[]){70000, ROUTE_BUCKETS, ROUTE_BUCKETS});
    assert_true(slot()->generation == 7);
}

static void test_highest_generation_wins_in_any_order(void **state)
{
    (void)state;
    publish(&service, 1, &v1); /* generation 1: all to 1.0.0 */
    learn(2, &v2, 5, both, (uint32_t[]){60000, 40000}, 2);
    learn(3, &v1, 4, both, (uint32_t[]){95000, 5000}, 2); /* older: ignored */
    expect_thresholds(2, (uint32_t[]){60000, ROUTE_BUCKETS});
    learn(4, &v1, 5, both, (uint32_t[]){1000, 99000}, 2); /* as old: ignored */
    expect_thresholds(2, (uint32_t[]){60000, ROUTE_BUCKETS});
    learn(5, &v1, 9, both, (uint32_t[]){10000, 90000}, 2);
    expect_thresholds(2, (uint32_t[]){10000, ROUTE_BUCKETS});
    assert_true(slot()->generation == 9);
}

static void test_operator_s_word_stands_against_memories(void **state)
{
    (void)state;
    publish(&service, 1, &v1);
    struct interface *things = directory_find(&broker->directory, "things");
    things->routed = true;
    learn(2, &v2, 50, both, (uint32_t[]){0, 100000}, 2);
    expect_thresholds(2, (uint32_t[]){ROUTE_BUCKETS, ROUTE_BUCKETS});
    assert_true(slot()->generation == 51); /* above all that anybody has seen */
}

static void test_learned_weights_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const char *const nine[] = {"1.0.0", "1.0.1", "1.0.2", "1.0.3", "1.0.4",
                                       "1.0.5", "1.0.6", "1.0.7", "1.0.8"};
    static const uint32_t some[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const char *const nonsense[] = {"1.0.0", "two"};
    static const char *const twice[] = {"1.0.0", "1.0.0"};
    const struct {
        const char *const *versions;
        uint32_t weights[9];
        size_t count;
        uint64_t generation;
        const char *words;
    } bad[] = {
        {nine, {1, 1, 1, 1, 1, 1, 1, 1, 1}, 9, 5, "at most 8"},
        {nonsense, {1, 1}, 2, 5, "no version"},
        {twice, {1, 1}, 2, 5, "two weights of 1.0.0"},
        {both, {100001, 1}, 2, 5, "at most 100000"},
        {both, {0, 0}, 2, 5, "all 0"},
        {both, {1, 1}, 2, BROKER_GENERATION_MAX + 1, "beyond all reason"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        say_learned(1, &v1, bad[i].generation, bad[i].versions, bad[i].weights, bad[i].count);
        const Parley__Published *published =
            peer_hear(&service, PARLEY__LINK_MESSAGE__BODY_PUBLISHED);
        assert_int_equal(published->status, PARLEY_INVALID_ARGUMENT);
        assert_words(published->text, bad[i].words);
    }
    learn(1, &v1, BROKER_GENERATION_MAX, nine, some, 8);
    assert_int_equal(slot()->threshold[ROUTE_VERSION_MAX - 1], ROUTE_BUCKETS);
}

static void test_learned_versions_without_a_place_leave_their_share_to_the_others(void **state)
{
    (void)state;
    struct set sets[ROUTE_VERSION_MAX];
    char version[16];
    char package[16];
    for (unsigned i = 0; i < ROUTE_VERSION_MAX; i++) { /* all places are taken, by who is here */
        (void)snprintf(version, sizeof(version), "1.%u.0", i);
        (void)snprintf(package, sizeof(package), "things.w%u", i);
        set_make(&sets[i], "things", version, package, NULL, 1);
        publish(&service, 100 + i, &sets[i]);
    }
    learn(200, &sets[0], 9, (const char *const[]){"1.0.0", "8.0.0"}, (uint32_t[]){50000, 50000}, 2);
    uint32_t sum = 0;
    for (unsigned i = 0; i < ROUTE_VERSION_MAX; i++) {
        sum += the_interface()->versions[i]->weight;
        set_free(&sets[i]);
    }
    assert_int_equal(sum, ROUTE_BUCKETS);
    assert_int_equal(the_interface()->versions[0]->weight, ROUTE_BUCKETS);
}

#define ROUTES(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights_of_any_unit_become_shares),
        cmocka_unit_test(test_what_is_missing_goes_to_the_largest_remainders),
        cmocka_unit_test(test_huge_and_tiny_weights_do_not_overflow),
        cmocka_unit_test(test_any_weights_sum_to_all_buckets),
        cmocka_unit_test(test_weights_that_are_none_are_refused),
        ROUTES(test_page_has_its_header),
        ROUTES(test_first_version_gets_all_and_the_next_nothing),
        ROUTES(test_page_lists_instances_with_state_and_version),
        ROUTES(test_weights_outlive_the_last_instance),
        ROUTES(test_effective_weights_are_of_who_is_up),
        ROUTES(test_page_is_never_seen_half_written),
        ROUTES(test_rules_are_never_seen_half_written),
        ROUTES(test_weights_are_learned_and_keep_a_place_for_who_is_not_here_yet),
        ROUTES(test_highest_generation_wins_in_any_order),
        ROUTES(test_operator_s_word_stands_against_memories),
        ROUTES(test_learned_weights_that_make_no_sense_are_refused),
        ROUTES(test_learned_versions_without_a_place_leave_their_share_to_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
