/* A rollout, from what the broker is told to where a client's call goes. */
#include "peers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "chooser.h"

static struct broker *broker;
static struct peer service;
static struct set v1, v2, v3, other1, other2;
static struct interface *things, *others;
static struct chooser *chooser, *other_chooser;

static int begin(void **state)
{
    (void)state;
    broker = broker_start(NULL);
    set_make(&v1, "things", "1.0.0", "things.v1", NULL, 2);
    set_make(&v2, "things", "2.0.0", "things.v2", NULL, 3);
    set_make(&v3, "things", "3.0.0", "things.v3", NULL, 3);
    set_make(&other1, "others", "1.0.0", "others.v1", NULL, 2);
    set_make(&other2, "others", "2.0.0", "others.v2", NULL, 3);
    peer_join(&service, broker, "service");
    publish(&service, 1, &v1);
    publish(&service, 2, &v2);
    publish(&service, 3, &other2); /* their places in the slot are the other way round */
    publish(&service, 4, &other1);
    things = directory_find(&broker->directory, "things");
    others = directory_find(&broker->directory, "others");
    chooser = chooser_new(&service.route, (uint32_t)things->slot);
    other_chooser = chooser_new(&service.route, (uint32_t)others->slot);
    return 0;
}

static int end(void **state)
{
    (void)state;
    chooser_free(chooser);
    chooser_free(other_chooser);
    peer_leave(&service);
    broker_free(broker);
    set_free(&v1);
    set_free(&v2);
    set_free(&v3);
    set_free(&other1);
    set_free(&other2);
    return 0;
}

static int set(struct interface *interface, const struct route_rollout *rollout)
{
    struct error_text error = {""};
    int r = routes_set_rollout(broker, interface, rollout, &error);
    if (r < 0)
        assert_true(strlen(error.text) > 0);
    return r;
}

static void roll(struct interface *interface, struct route_rollout rollout)
{
    rollout.name = "new-things";
    rollout.stable = "1.0.0";
    rollout.canary = "2.0.0";
    if (set(interface, &rollout) < 0)
        fail_msg("refused");
}

static bool is_canary(struct chooser *of, const char *key, const char *value)
{
    const struct parley_metadata pair = {key, value, strlen(value)};
    const char *version = chooser_version(of, &pair, 1);
    bool canary = strcmp(version, "2.0.0") == 0;
    assert_true(canary || strcmp(version, "1.0.0") == 0);
    return canary;
}

/* ---- Buckets ---- */

#define USERS 2000

static void users(struct chooser *of, bool is[USERS])
{
    char user[16];
    for (unsigned i = 0; i < USERS; i++) {
        (void)snprintf(user, sizeof(user), "u%u", i);
        is[i] = is_canary(of, "gray.user.id", user);
    }
}

static void test_widening_takes_nobody_out_and_narrowing_takes_the_last(void **state)
{
    (void)state;
    static bool before[USERS], now[USERS];
    uint64_t random = 1;
    uint32_t share = 0;
    roll(things, (struct route_rollout){.sticky_key = "gray.user.id"});
    users(chooser, before);
    for (unsigned step = 0; step < 100; step++) {
        uint32_t next = random_below(&random, ROUTE_BUCKETS + 1);
        roll(things,
             (struct route_rollout){.sticky_key = "gray.user.id", .canary_buckets = next});
        users(chooser, now);
        unsigned came = 0, went = 0;
        for (unsigned i = 0; i < USERS; i++) {
            came += now[i] && !before[i];
            went += !now[i] && before[i];
        }
        if (next >= share)
            assert_int_equal(went, 0);
        else
            assert_int_equal(came, 0);
        share = next;
        memcpy(before, now, sizeof(before));
    }
}

static void test_a_share_is_what_it_says(void **state)
{
    (void)state;
    static bool now[USERS];
    unsigned count = 0;
    roll(things, (struct route_rollout){.sticky_key = "gray.user.id", .canary_buckets = 30000});
    users(chooser, now);
    for (unsigned i = 0; i < USERS; i++)
        count += now[i];
    /* 30 % of 2,000; four standard deviations are 82 */
    assert_in_range(count, 600 - 82, 600 + 82);
    count = 0;
    for (unsigned i = 0; i < USERS; i++)
        count += strcmp(chooser_version(chooser, NULL, 0), "2.0.0") == 0; /* no key: drawn */
    assert_in_range(count, 600 - 82, 600 + 82);
    roll(things, (struct route_rollout){.canary_buckets = 0});
    for (unsigned i = 0; i < USERS; i++)
        assert_string_equal(chooser_version(chooser, NULL, 0), "1.0.0");
    roll(things, (struct route_rollout){.canary_buckets = ROUTE_BUCKETS});
    for (unsigned i = 0; i < USERS; i++)
        assert_string_equal(chooser_version(chooser, NULL, 0), "2.0.0");
}

static void test_interfaces_with_one_salt_have_the_same_users(void **state)
{
    (void)state;
    static bool here[USERS], there[USERS];
    unsigned different = 0;
    struct route_rollout rollout = {
        .sticky_key = "gray.user.id", .canary_buckets = 20000, .salt = 77};
    roll(things, rollout);
    roll(others, rollout);
    users(chooser, here);
    users(other_chooser, there);
    assert_memory_equal(here, there, sizeof(here));
    rollout.salt = 0;
    roll(things, rollout);
    roll(others, rollout);
    users(chooser, here);
    users(other_chooser, there);
    for (unsigned i = 0; i < USERS; i++)
        different += here[i] != there[i];
    assert_true(different > USERS / 10);
}

/* Whoever had the new version by weights has it as a canary of the same share, and the other way. */
static void test_users_stay_when_a_rollout_takes_over_from_weights(void **state)
{
    (void)state;
    static bool before[USERS], now[USERS];
    things->versions[0]->weight = 90000;
    things->versions[1]->weight = 10000;
    routes_write(&broker->routes, things);
    users(chooser, before);
    roll(things, (struct route_rollout){.sticky_key = "gray.user.id", .canary_buckets = 10000});
    users(chooser, now);
    assert_memory_equal(before, now, sizeof(before));
    routes_end_rollout(broker, things);
    assert_null(routes_rollout(things));
    users(chooser, now);
    assert_memory_equal(before, now, sizeof(before));
}

static void test_another_key_may_be_sticky_or_none(void **state)
{
    (void)state;
    unsigned canary = 0;
    roll(things, (struct route_rollout){.sticky_key = "tenant", .canary_buckets = 50000});
    bool first = is_canary(chooser, "tenant", "acme");
    for (unsigned i = 0; i < 100; i++)
        assert_true(is_canary(chooser, "tenant", "acme") == first);
    for (unsigned i = 0; i < 100; i++)
        canary += is_canary(chooser, "gray.user.id", "ada");
    assert_in_range(canary, 1, 99);
    roll(things, (struct route_rollout){.canary_buckets = 50000});
    canary = 0;
    for (unsigned i = 0; i < 100; i++)
        canary += is_canary(chooser, "tenant", "acme");
    assert_in_range(canary, 1, 99);
}

/* ---- Rules ---- */

#define RULE(...)                                                                                  \
    {                                                                                              \
        .conditions = (const struct route_condition_text[]){__VA_ARGS__},                         \
        .condition_count =                                                                         \
            sizeof((const struct route_condition_text[]){__VA_ARGS__}) /                          \
            sizeof(struct route_condition_text)                                                   \
    }
#define RULES(array) .rules = (array), .rule_count = sizeof(array) / sizeof((array)[0])

static void test_calls_that_fit_a_rule_go_to_the_canary(void **state)
{
    (void)state;
    const struct route_rule rules[] = {
        RULE({ROUTE_MATCH_EXACT, "gray.version", "2"}),
        RULE({ROUTE_MATCH_PREFIX, "gray.user.id", "test-"}),
        RULE({ROUTE_MATCH_REGEX, "gray.user.id", "qa[0-9]+"}),
        RULE({ROUTE_MATCH_PRESENT, "gray.debug", NULL}),
    };
    roll(things, (struct route_rollout){RULES(rules), .sticky_key = "gray.user.id"});
    assert_true(is_canary(chooser, "gray.version", "2"));
    assert_false(is_canary(chooser, "gray.version", "20"));
    assert_false(is_canary(chooser, "gray.version", ""));
    assert_true(is_canary(chooser, "gray.user.id", "test-"));
    assert_true(is_canary(chooser, "gray.user.id", "test-ada"));
    assert_false(is_canary(chooser, "gray.user.id", "test"));
    assert_true(is_canary(chooser, "gray.user.id", "qa12"));
    assert_false(is_canary(chooser, "gray.user.id", "qa12x"));
    assert_true(is_canary(chooser, "gray.debug", ""));
    assert_false(is_canary(chooser, "gray.debugger", ""));
    assert_string_equal(chooser_version(chooser, NULL, 0), "1.0.0");
    routes_end_rollout(broker, things);
    assert_false(is_canary(chooser, "gray.version", "2"));
}

static void test_all_conditions_of_a_rule_must_hold(void **state)
{
    (void)state;
    const struct route_rule rules[] = {
        RULE({ROUTE_MATCH_EXACT, "gray.region", "eu"}, {ROUTE_MATCH_PREFIX, "tenant", "a"},
             {ROUTE_MATCH_REGEX, "tenant", ".*z"}),
    };
    const struct parley_metadata pairs[] = {
        {"gray.region", "eu", 2}, {"tenant", "abcz", 4}, {"tenant", "no", 2}};
    roll(things, (struct route_rollout){RULES(rules)});
    assert_string_equal(chooser_version(chooser, pairs, 3), "2.0.0");
    assert_string_equal(chooser_version(chooser, pairs, 1), "1.0.0");
    assert_string_equal(chooser_version(chooser, pairs + 1, 2), "1.0.0");
    const struct parley_metadata nearly[] = {{"gray.region", "eu", 2}, {"tenant", "abc", 3}};
    assert_string_equal(chooser_version(chooser, nearly, 2), "1.0.0");
}

static void test_a_rule_with_more_conditions_goes_first(void **state)
{
    (void)state;
    struct route_rule rules[] = {
        RULE({ROUTE_MATCH_PRESENT, "a", NULL}),
        RULE({ROUTE_MATCH_PRESENT, "b", NULL}),
        RULE({ROUTE_MATCH_PRESENT, "a", NULL}, {ROUTE_MATCH_PRESENT, "b", NULL}),
    };
    const struct parley_metadata both[] = {{"a", "", 0}, {"b", "", 0}};
    rules[2].to_stable = true;
    roll(things, (struct route_rollout){RULES(rules)});
    assert_string_equal(chooser_version(chooser, both, 1), "2.0.0");
    assert_string_equal(chooser_version(chooser, both, 2), "1.0.0");
    rules[2].to_stable = false;
    rules[1].to_stable = true;
    rules[2].condition_count = 1; /* like the first, and behind it */
    roll(things, (struct route_rollout){RULES(rules)});
    assert_string_equal(chooser_version(chooser, both, 2), "2.0.0");
    rules[0].to_stable = true;
    roll(things, (struct route_rollout){RULES(rules)});
    assert_string_equal(chooser_version(chooser, both, 2), "1.0.0");
}

static void test_rules_are_compiled_when_they_change_and_not_before(void **state)
{
    (void)state;
    const struct route_rule rules[] = {RULE({ROUTE_MATCH_EXACT, "gray.version", "2"})};
    const struct route_rule longer[] = {RULE({ROUTE_MATCH_EXACT, "gray.version", "20"})};
    for (uint32_t share = 1; share < 50; share++) {
        roll(things, (struct route_rollout){RULES(rules), .canary_buckets = share});
        assert_true(is_canary(chooser, "gray.version", "2"));
    }
    assert_int_equal(chooser_compiled(chooser), 1);
    say_withdraw(&service, 1, false); /* an instance drains */
    peer_hears_nothing(&service);
    assert_true(is_canary(chooser, "gray.version", "2"));
    assert_int_equal(chooser_compiled(chooser), 1);
    roll(things, (struct route_rollout){RULES(longer)});
    assert_true(is_canary(chooser, "gray.version", "20"));
    assert_false(is_canary(chooser, "gray.version", "2"));
    assert_int_equal(chooser_compiled(chooser), 2);
    roll(things, (struct route_rollout){0});
    assert_false(is_canary(chooser, "gray.version", "20"));
    roll(things, (struct route_rollout){RULES(longer)});
    assert_true(is_canary(chooser, "gray.version", "20"));
    assert_int_equal(chooser_compiled(chooser), 3);
}

static void test_rules_that_make_no_sense_are_refused_and_nothing_changes(void **state)
{
    (void)state;
    const struct route_rule good[] = {RULE({ROUTE_MATCH_EXACT, "gray.version", "2"})};
    static const struct route_condition_text bad[] = {
        {ROUTE_MATCH_EXACT, "", "x"},        {ROUTE_MATCH_EXACT, "Upper", "x"},
        {ROUTE_MATCH_EXACT, NULL, "x"},      {ROUTE_MATCH_EXACT, "parley.peer.uid", "0"},
        {ROUTE_MATCH_EXACT, "a", NULL},      {ROUTE_MATCH_REGEX, "a", "("},
        {ROUTE_MATCH_REGEX, "a", ""},        {(enum route_match_kind)0, "a", "x"},
        {(enum route_match_kind)5, "a", "x"}};
    roll(things, (struct route_rollout){RULES(good), .canary_buckets = 7});
    uint32_t sequence = route_slot(&service, (uint32_t)things->slot)->sequence;
    struct route_rollout rollout = {.stable = "1.0.0", .canary = "2.0.0", .rule_count = 1};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const struct route_rule rule = {.conditions = &bad[i], .condition_count = 1};
        rollout.rules = &rule;
        assert_int_equal(set(things, &rollout), -EINVAL);
    }
    const struct route_rule empty = {.condition_count = 0};
    rollout.rules = &empty;
    assert_int_equal(set(things, &rollout), -EINVAL);
    rollout.rule_count = 0;
    rollout.canary = "4.0.0";
    assert_int_equal(set(things, &rollout), -ENOENT);
    rollout.canary = NULL;
    assert_int_equal(set(things, &rollout), -ENOENT);
    rollout.canary = "2.0.0";
    rollout.sticky_key = "No Key";
    assert_int_equal(set(things, &rollout), -EINVAL);
    rollout.sticky_key = NULL;
    rollout.canary_buckets = ROUTE_BUCKETS + 1;
    assert_int_equal(set(things, &rollout), -EINVAL);
    rollout.canary_buckets = 0;
    rollout.mirror_buckets = ROUTE_BUCKETS + 1;
    assert_int_equal(set(things, &rollout), -EINVAL);
    assert_int_equal(route_slot(&service, (uint32_t)things->slot)->sequence, sequence);
    assert_string_equal(routes_rollout(things), "new-things");
    assert_true(is_canary(chooser, "gray.version", "2"));
}

static void test_rules_are_bounded(void **state)
{
    (void)state;
    struct route_rule rules[ROUTE_RULE_MAX + 1];
    struct route_condition_text many[ROUTE_CONDITION_MAX + 1];
    static char text[8 * ROUTE_TEXT_WORDS + 1];
    const struct route_condition_text one = {ROUTE_MATCH_PRESENT, "a", NULL};
    struct route_rollout rollout = {.stable = "1.0.0", .canary = "2.0.0", .rules = rules};
    for (size_t i = 0; i < ROUTE_RULE_MAX + 1; i++)
        rules[i] = (struct route_rule){.conditions = &one, .condition_count = 1};
    for (size_t i = 0; i < ROUTE_CONDITION_MAX + 1; i++)
        many[i] = one;
    rollout.rule_count = ROUTE_RULE_MAX;
    assert_int_equal(set(things, &rollout), 1);
    assert_true(is_canary(chooser, "a", "x"));
    rollout.rule_count++;
    assert_int_equal(set(things, &rollout), -E2BIG);

    rollout.rule_count = 1;
    rules[0] = (struct route_rule){.conditions = many, .condition_count = ROUTE_CONDITION_MAX};
    assert_int_equal(set(things, &rollout), 1);
    assert_true(is_canary(chooser, "a", "x"));
    rules[0].condition_count++;
    assert_int_equal(set(things, &rollout), -E2BIG);
    rules[0].condition_count = ROUTE_CONDITION_MAX; /* and one in another rule */
    rollout.rule_count = 2;
    assert_int_equal(set(things, &rollout), -E2BIG);

    struct route_condition_text large = {ROUTE_MATCH_EXACT, "kk", text};
    memset(text, 'v', sizeof(text) - 1);
    text[8 * ROUTE_TEXT_WORDS - 2] = '\0';
    rules[0] = (struct route_rule){.conditions = &large, .condition_count = 1};
    rollout.rule_count = 1;
    assert_int_equal(set(things, &rollout), 1);
    assert_true(is_canary(chooser, "kk", text));
    text[8 * ROUTE_TEXT_WORDS - 2] = 'v';
    assert_int_equal(set(things, &rollout), -E2BIG);
}

/* ---- Blocks, versions, mirrors ---- */

static void test_blocks_of_rules_are_given_back(void **state)
{
    (void)state;
    const struct route_rule rules[] = {RULE({ROUTE_MATCH_EXACT, "gray.version", "2"})};
    struct set sets[ROUTE_MATCHES_MAX + 1];
    struct interface *interfaces[ROUTE_MATCHES_MAX + 1];
    struct route_rollout rollout = {.stable = "1.0.0", .canary = "1.0.0", RULES(rules)};
    for (unsigned i = 0; i < ROUTE_MATCHES_MAX + 1; i++) {
        char name[16], package[16];
        (void)snprintf(name, sizeof(name), "many%u", i);
        (void)snprintf(package, sizeof(package), "many%u.v1", i);
        set_make(&sets[i], name, "1.0.0", package, NULL, 1);
        publish(&service, 100 + i, &sets[i]);
        interfaces[i] = directory_find(&broker->directory, name);
        assert_int_equal(set(interfaces[i], &rollout), i < ROUTE_MATCHES_MAX ? 1 : -ENOSPC);
    }
    assert_null(routes_rollout(interfaces[ROUTE_MATCHES_MAX]));
    routes_end_rollout(broker, interfaces[5]);
    assert_int_equal(set(interfaces[ROUTE_MATCHES_MAX], &rollout), 1);
    rollout.rule_count = 0; /* needs none */
    assert_int_equal(set(interfaces[5], &rollout), 1);
    for (unsigned i = 0; i < ROUTE_MATCHES_MAX + 1; i++)
        set_free(&sets[i]);
}

static void test_versions_of_a_rollout_keep_their_places(void **state)
{
    (void)state;
    roll(things, (struct route_rollout){.canary_buckets = 0});
    say_withdraw(&service, 2, true); /* the canary: no instance, and no weight */
    peer_hears_nothing(&service);
    struct set sets[ROUTE_VERSION_MAX];
    for (unsigned i = 0; i < ROUTE_VERSION_MAX - 2; i++) {
        char version[16], package[16];
        (void)snprintf(version, sizeof(version), "3.%u.0", i);
        (void)snprintf(package, sizeof(package), "things.w%u", i);
        set_make(&sets[i], "things", version, package, NULL, 1);
        publish(&service, 100 + i, &sets[i]);
    }
    set_make(&sets[6], "things", "4.0.0", "things.x", NULL, 1);
    publish_refused(&service, 200, &sets[6], PARLEY_RESOURCE_EXHAUSTED, "no room");
    routes_end_rollout(broker, things);
    publish(&service, 200, &sets[6]);
    for (unsigned i = 0; i < ROUTE_VERSION_MAX - 1; i++)
        set_free(&sets[i]);
}

static void test_a_mirror_and_the_weights_are_in_the_page(void **state)
{
    (void)state;
    const char *version;
    roll(things, (struct route_rollout){.canary_buckets = 25000, .mirror_buckets = 5000});
    assert_int_equal(chooser_mirrored(chooser, &version), 5000);
    assert_string_equal(version, "2.0.0");
    assert_int_equal(things->versions[0]->weight, 75000);
    assert_int_equal(things->versions[1]->weight, 25000);
    uint64_t generation = things->generation;
    uint32_t sequence = route_slot(&service, (uint32_t)things->slot)->sequence;
    roll(things, (struct route_rollout){.canary_buckets = 25000, .mirror_buckets = 5000});
    assert_true(things->generation == generation); /* nothing new: nothing is written */
    assert_int_equal(route_slot(&service, (uint32_t)things->slot)->sequence, sequence);
    publish(&service, 9, &v3); /* gets nothing */
    assert_int_equal(things->versions[2]->weight, 0);
    routes_end_rollout(broker, things);
    assert_int_equal(chooser_mirrored(chooser, &version), 0);
    assert_int_equal(things->versions[1]->weight, 25000);
}

#define ROLLOUT(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROLLOUT(test_widening_takes_nobody_out_and_narrowing_takes_the_last),
        ROLLOUT(test_a_share_is_what_it_says),
        ROLLOUT(test_interfaces_with_one_salt_have_the_same_users),
        ROLLOUT(test_users_stay_when_a_rollout_takes_over_from_weights),
        ROLLOUT(test_another_key_may_be_sticky_or_none),
        ROLLOUT(test_calls_that_fit_a_rule_go_to_the_canary),
        ROLLOUT(test_all_conditions_of_a_rule_must_hold),
        ROLLOUT(test_a_rule_with_more_conditions_goes_first),
        ROLLOUT(test_rules_are_compiled_when_they_change_and_not_before),
        ROLLOUT(test_rules_that_make_no_sense_are_refused_and_nothing_changes),
        ROLLOUT(test_rules_are_bounded),
        ROLLOUT(test_blocks_of_rules_are_given_back),
        ROLLOUT(test_versions_of_a_rollout_keep_their_places),
        ROLLOUT(test_a_mirror_and_the_weights_are_in_the_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
