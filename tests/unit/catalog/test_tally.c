#include "support/test.h"

#include <string.h>

#include "tally.h"

static void test_latency_quantiles_are_within_an_eighth(void **state)
{
    (void)state;
    struct tally tally = {0};
    for (uint64_t ns = 1; ns <= 100000; ns++)
        tally_latency(&tally, ns);
    const double quantiles[] = {0.5, 0.9, 0.99};
    for (size_t i = 0; i < 3; i++) {
        double exact = quantiles[i] * 100000, got = (double)tally_quantile_ns(&tally, quantiles[i]);
        assert_true(got > exact * 0.875 && got < exact * 1.125);
    }
}

static void test_quantile_of_no_calls_is_zero(void **state)
{
    (void)state;
    struct tally tally = {0};
    assert_int_equal(tally_quantile_ns(&tally, 0.99), 0);
}

static void test_latencies_past_the_end_count_in_the_last_bucket(void **state)
{
    (void)state;
    struct tally tally = {0};
    tally_latency(&tally, (UINT64_C(1) << TALLY_OCTAVE_MAX) - 1);
    tally_latency(&tally, UINT64_C(1) << TALLY_OCTAVE_MAX);
    tally_latency(&tally, UINT64_MAX);
    tally_latency(&tally, 0);
    assert_int_equal(tally.latency[TALLY_BUCKET_COUNT - 1], 3);
    assert_int_equal(tally.latency[0], 1);
}

static void test_a_version_beyond_the_limit_is_not_counted(void **state)
{
    (void)state;
    struct tally tally = {0};
    const char *versions[] = {"1.0.0", "2.0.0", "3.0.0", "4.0.0", "5.0.0"};
    for (size_t i = 0; i < 5; i++)
        tally_served(&tally, versions[i]);
    assert_int_equal(tally_served_by(&tally, versions[TALLY_VERSION_MAX - 1]), 1);
    assert_int_equal(tally_served_by(&tally, versions[TALLY_VERSION_MAX]), 0);
}

static struct tally some(void)
{
    struct tally tally = {.calls = 10, .failed = 1, .wrong = 2, .translated = 3, .retried = 4,
                          .visits = 5, .unavailable_no = 6, .unavailable_unknown = 7,
                          .unavailable_ns_max = 8, .ill = 9, .failure = "a \"failure\"\n"};
    tally_served(&tally, "1.0.0");
    tally_served(&tally, "2.0.0");
    tally_served(&tally, "2.0.0");
    tally_latency(&tally, 1000);
    return tally;
}

static void test_json_there_and_back_loses_nothing(void **state)
{
    (void)state;
    struct tally tally = some(), back;
    json_t *json = tally_to_json(&tally);
    char *text = json_dumps(json, 0);
    json_t *read = json_loads(text, 0, NULL);
    assert_int_equal(tally_from_json(read, &back), 0);
    assert_memory_equal(&tally, &back, sizeof(tally));
    json_decref(json);
    json_decref(read);
    free(text);
}

static void test_what_is_no_tally_is_refused(void **state)
{
    (void)state;
    const char *texts[] = {"{}", "[]", "{\"calls\":1}"};
    struct tally tally;
    for (size_t i = 0; i < 3; i++) {
        json_t *json = json_loads(texts[i], 0, NULL);
        assert_int_equal(tally_from_json(json, &tally), -1);
        json_decref(json);
    }
}

static void test_hostile_buckets_are_left_out(void **state)
{
    (void)state;
    struct tally tally = some(), back;
    json_t *json = tally_to_json(&tally);
    json_t *latency = json_object_get(json, "latency");
    json_array_append_new(latency, json_pack("[iI]", TALLY_BUCKET_COUNT, (json_int_t)1));
    json_array_append_new(latency, json_pack("[iI]", -1, (json_int_t)1));
    json_array_append_new(latency, json_pack("[i]", 3));
    json_array_append_new(latency, json_string("x"));
    assert_int_equal(tally_from_json(json, &back), 0);
    assert_memory_equal(&tally, &back, sizeof(tally));
    json_decref(json);
}

static void test_add_then_since_gives_back_what_was_added(void **state)
{
    (void)state;
    struct tally before = {0}, added = some(), now, since;
    tally_served(&before, "2.0.0");
    before.calls = 100;
    now = before;
    tally_add(&now, &added);
    assert_int_equal(now.calls, 110);
    assert_int_equal(tally_served_by(&now, "2.0.0"), 3);
    tally_since(&now, &before, &since);
    assert_int_equal(since.calls, 10);
    assert_int_equal(since.unavailable_unknown, 7);
    assert_int_equal(tally_served_by(&since, "1.0.0"), 1);
    assert_int_equal(tally_served_by(&since, "2.0.0"), 2);
    assert_memory_equal(since.latency, added.latency, sizeof(since.latency));
    assert_string_equal(now.failure, added.failure);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_latency_quantiles_are_within_an_eighth),
        cmocka_unit_test(test_quantile_of_no_calls_is_zero),
        cmocka_unit_test(test_latencies_past_the_end_count_in_the_last_bucket),
        cmocka_unit_test(test_a_version_beyond_the_limit_is_not_counted),
        cmocka_unit_test(test_json_there_and_back_loses_nothing),
        cmocka_unit_test(test_what_is_no_tally_is_refused),
        cmocka_unit_test(test_hostile_buckets_are_left_out),
        cmocka_unit_test(test_add_then_since_gives_back_what_was_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
