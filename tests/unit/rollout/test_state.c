#include "support/test.h"

#include <errno.h>

#include "unit/rollout/driver.h"

#define MINUTE (60 * NS_PER_S)

static struct driver d;

static int teardown(void **state)
{
    (void)state;
    d.rollout = rollout_free(d.rollout);
    return 0;
}

static void begin(const char *more)
{
    driver_init(&d, more);
    driver_offer(&d, "1.4.0", "2.0.0", NULL);
}

/* Through text and back, on a clock that begins anew, as after a reboot. */
static void restart(void)
{
    json_t *json = rollout_to_json(d.rollout, d.now);
    assert_non_null(json);
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    assert_non_null(text);
    d.rollout = rollout_free(d.rollout);
    d.now.ns = 5;
    struct error_text error = {""};
    json = json_loads(text, 0, NULL);
    free(text);
    if (rollout_from_json(json, d.now, &d.rollout, &error) != 0)
        fail_msg("%s", error.text);
    json_decref(json);
}

static void test_state_comes_back_as_it_was(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    driver_run(&d, 85 * NS_PER_S);
    json_t *before = rollout_to_json(d.rollout, d.now);
    restart();
    json_t *after = rollout_to_json(d.rollout, d.now);
    assert_true(json_equal(before, after));
    json_decref(before);
    json_decref(after);
}

static void test_every_phase_survives_a_restart(void **state)
{
    (void)state;
    static const struct {
        int verb; /* -1: none */
        enum rollout_phase phase;
        uint32_t buckets;
    } cases[] = {
        {-1, ROLLOUT_PROGRESSING, 10000},
        {ROLLOUT_PAUSE, ROLLOUT_PAUSED, 10000},
        {ROLLOUT_ROLLBACK, ROLLOUT_ROLLED_BACK, 0},
        {ROLLOUT_PROMOTE_FULL, ROLLOUT_COMPLETED, 100000},
    };
    begin(DRIVER_STEPS);
    assert_int_equal(driver_order(&d, ROLLOUT_PROMOTE_FULL), 0);
    assert_int_equal(driver_order(&d, ROLLOUT_ROLLBACK), 0);
    restart();
    (void)teardown(NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        begin(DRIVER_STEPS);
        if (cases[i].verb >= 0)
            assert_int_equal(driver_order(&d, (enum rollout_verb)cases[i].verb), 0);
        restart();
        driver_step(&d);
        driver_expect(&d, cases[i].phase, cases[i].buckets); /* before anybody has come back */
        driver_offer(&d, "1.4.0", NULL, NULL);
        driver_expect(&d, cases[i].phase, cases[i].buckets);
        driver_offer(&d, "1.4.0", "2.0.0", NULL);
        driver_expect(&d, cases[i].phase, cases[i].buckets);
        (void)teardown(NULL);
    }
    driver_init(&d, DRIVER_STEPS);
    restart();
    driver_offer(&d, "1.4.0", "2.0.0", NULL);
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
}

static void test_approval_survives_a_restart(void **state)
{
    (void)state;
    begin(DRIVER_RANGES "  steps: [{weight: 10, approval: true}, {weight: 50}]\n");
    driver_run(&d, MINUTE);
    restart();
    driver_offer(&d, "1.4.0", "2.0.0", NULL);
    driver_expect(&d, ROLLOUT_APPROVAL, 10000);
    assert_int_equal(driver_order(&d, ROLLOUT_APPROVE), 0);
    driver_expect(&d, ROLLOUT_PROGRESSING, 50000);
}

static void test_time_without_a_broker_is_not_held(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    driver_run(&d, 40 * NS_PER_S);
    restart();
    d.now.ns += 500 * MINUTE;
    driver_offer(&d, "1.4.0", "2.0.0", NULL);

    assert_true(driver_view(&d).held_ns == 40 * NS_PER_S);
    driver_run(&d, 19 * NS_PER_S);
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    driver_run(&d, NS_PER_S);
    driver_expect(&d, ROLLOUT_PROGRESSING, 50000);
}

static void test_canary_that_does_not_come_back_loses_its_share(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    restart();
    driver_offer(&d, "1.4.0", NULL, NULL);
    driver_run(&d, 29 * NS_PER_S);
    driver_expect(&d, ROLLOUT_PROGRESSING, 10000);
    driver_run(&d, 2 * NS_PER_S);
    driver_expect(&d, ROLLOUT_PROGRESSING, 0);
    assert_true(driver_view(&d).held_ns == 0);
}

/* Counters of a canary that is fine, and of all its past errors, at once: only differences count.
 */
static void test_figures_that_begin_anew_are_not_judged(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    driver_run(&d, 40 * NS_PER_S);
    restart();
    d.stable = d.canary = (struct rollout_figures){.calls = 0};
    driver_count(&d.canary, &(struct nature){0.9, 9}, 5000);
    driver_count(&d.stable, &d.stable_nature, 5000);
    driver_offer(&d, "1.4.0", "2.0.0", NULL);
    driver_run(&d, 30 * NS_PER_S);
    driver_expect(&d, ROLLOUT_PROGRESSING, 50000);
}

static void test_evidence_survives_a_restart(void **state)
{
    (void)state;
    begin(DRIVER_STEPS);
    d.calls_per_s = 100;
    d.canary_nature.error_rate = 0.011;
    driver_run(&d, 40 * NS_PER_S); /* 400 calls, 4 of them failed */
    double harm = driver_view(&d).errors.harm;
    assert_true(harm > 0);
    restart();
    driver_offer(&d, "1.4.0", "2.0.0", NULL);
    assert_int_equal(driver_view(&d).phase, ROLLOUT_PROGRESSING);
    driver_run(&d, 20 * NS_PER_S);
    assert_true(driver_view(&d).errors.harm > harm);
}

static void test_history_and_undo_survive_a_restart(void **state)
{
    (void)state;
    struct error_text error;
    begin(DRIVER_STEPS);
    assert_int_equal(driver_order(&d, ROLLOUT_PROMOTE_FULL), 0);
    assert_int_equal(
        rollout_apply(d.rollout, driver_spec(DRIVER_STEPS "  mirror: 1\n"), "olga", d.now, &error),
        0);
    uint32_t count = driver_view(&d).history_count;
    restart();
    assert_int_equal(driver_view(&d).history_count, count);
    assert_string_equal(driver_last(&d)->who, "olga");
    driver_offer(&d, "1.4.0", "2.0.0", NULL);
    assert_int_equal(
        rollout_apply(d.rollout, driver_spec(DRIVER_STEPS "  mirror: 1\n"), "olga", d.now, &error),
        ROLLOUT_E_SAME);
    assert_int_equal(driver_order(&d, ROLLOUT_UNDO), 0);
    assert_int_equal(driver_view(&d).spec->mirror_buckets, 0);
    driver_expect(&d, ROLLOUT_COMPLETED, 100000);
}

static void test_words_that_are_no_utf8_are_kept_as_question_marks(void **state)
{
    (void)state;
    struct error_text error;
    char why[ROLLOUT_WHY_BYTES_MAX + 100];
    begin(DRIVER_STEPS);
    memset(why, 'x', sizeof(why));
    memcpy(why, "a\xff\xc3\xa9\xc0\x80\n", 7);
    memcpy(why + ROLLOUT_WHY_BYTES_MAX - 1, "\xc3\xa9", 3); /* is cut in its middle */
    assert_int_equal(rollout_order(d.rollout, ROLLOUT_PAUSE, "olg\xe1", why, d.now, &error), 0);
    assert_string_equal(driver_last(&d)->who, "olg?");
    assert_memory_equal(driver_last(&d)->why, "a?\xc3\xa9???", 7);
    assert_int_equal(driver_last(&d)->why[ROLLOUT_WHY_BYTES_MAX - 1], '?');
    restart();
}

/* ---- States that no controller wrote ---- */

static json_t *good_state(void)
{
    begin(DRIVER_STEPS);
    driver_run(&d, 70 * NS_PER_S);
    struct error_text error;
    assert_int_equal(
        rollout_apply(d.rollout, driver_spec(DRIVER_STEPS "  mirror: 1\n"), "olga", d.now, &error),
        0);
    json_t *json = rollout_to_json(d.rollout, d.now);
    (void)teardown(NULL);
    return json;
}

static void expect_refused(const json_t *json, const char *key)
{
    struct rollout *rollout = NULL;
    struct error_text error = {""};
    int r = rollout_from_json(json, d.now, &rollout, &error);
    if (r != -EINVAL || rollout || !strstr(error.text, key))
        fail_msg("%d, \"%s\" for %s", r, error.text, key);
}

/* Each value anywhere in it taken away, and replaced by one of another type. */
static void spoil(json_t *root, json_t *object)
{
    const char *key;
    json_t *value, *as_it_was = json_copy(object); /* for its order: what is set again comes last */
    json_object_foreach(as_it_was, key, value)
    {
        struct rollout *rollout = NULL;
        struct error_text error = {""};
        if (json_is_object(value))
            spoil(root, value);
        else if (json_is_array(value) && json_is_object(json_array_get(value, 0)))
            spoil(root, json_array_get(value, 0));
        (void)json_object_del(object, key);
        assert_int_equal(rollout_from_json(root, d.now, &rollout, &error), -EINVAL);
        assert_true(error.text[0] != '\0');
        (void)json_object_set_new(object, key, json_true());
        assert_int_equal(rollout_from_json(root, d.now, &rollout, &error), -EINVAL);
        (void)json_object_set(object, key, value);
    }
    json_decref(as_it_was);
}

static void test_state_with_anything_missing_or_of_another_type_is_refused(void **state)
{
    (void)state;
    json_t *json = good_state();
    spoil(json, json);
    struct error_text error = {""};
    assert_int_equal(rollout_from_json(json, d.now, &d.rollout, &error), 0); /* it was good */
    json_decref(json);
}

static void test_state_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    json_t *json = good_state();
    static const struct {
        const char *key, *value, *words;
    } cases[] = {
        {"format", "2", "format"},
        {"revision", "0", "revision"},
        {"revision", "-1", "revision"},
        {"phase", "\"Dead\"", "phase"},
        {"stable", "\"\"", "phase"},
        {"stable", "\"1.x\"", "stable"},
        {"step", "2", "step"},
        {"step", "33", "step"},
        {"round", "0", "round"},
        {"heldNs", "-5", "heldNs"},
        {"document", "\"a\"", "document"},
        {"applied", "\"12345678901234567890123456789012345678901234567890123456789012345\"",
         "applied"},
        {"successes", "1.5", "successes"},
        {"history", "[1]", "serial"},
        {"past", "[[]]", "revision"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *copy = json_deep_copy(json);
        (void)json_object_set_new(copy, cases[i].key,
                                  json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        expect_refused(copy, cases[i].words);
        json_decref(copy);
    }
    json_t *errors = json_object_get(json, "errors");
    (void)json_object_set_new(errors, "canaryHits", json_real(1e9));
    expect_refused(json, "errors");
    (void)json_object_set_new(errors, "canaryHits", json_real(-1));
    expect_refused(json, "canaryHits");
    json_decref(json);
}

static void test_lists_of_a_state_are_bounded(void **state)
{
    (void)state;
    json_t *json = good_state();
    static const struct {
        const char *key;
        size_t max;
    } lists[] = {{"past", ROLLOUT_REVISION_MAX}, {"history", ROLLOUT_HISTORY_MAX}};
    for (size_t i = 0; i < 2; i++) {
        json_t *copy = json_deep_copy(json);
        json_t *list = json_object_get(copy, lists[i].key);
        while (json_array_size(list) < lists[i].max)
            (void)json_array_append_new(list, json_deep_copy(json_array_get(list, 0)));
        struct error_text error = {""};
        assert_int_equal(rollout_from_json(copy, d.now, &d.rollout, &error), 0);
        (void)teardown(NULL);
        (void)json_array_append_new(list, json_deep_copy(json_array_get(list, 0)));
        expect_refused(copy, lists[i].key);
        json_decref(copy);
    }
    json_decref(json);
}

#define T(test) cmocka_unit_test_teardown(test, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_state_comes_back_as_it_was),
        T(test_every_phase_survives_a_restart),
        T(test_approval_survives_a_restart),
        T(test_time_without_a_broker_is_not_held),
        T(test_canary_that_does_not_come_back_loses_its_share),
        T(test_figures_that_begin_anew_are_not_judged),
        T(test_evidence_survives_a_restart),
        T(test_history_and_undo_survive_a_restart),
        T(test_words_that_are_no_utf8_are_kept_as_question_marks),
        T(test_state_with_anything_missing_or_of_another_type_is_refused),
        T(test_state_that_makes_no_sense_is_refused),
        T(test_lists_of_a_state_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
