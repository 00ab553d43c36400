#include "support/test.h"

#include "base/histogram.h"
#include "shm/layout.h"

static void test_bucket_is_monotone_and_floor_inverts_it(void **state)
{
    (void)state;
    uint32_t last = 0;
    for (uint64_t value = 0; value < UINT64_C(1) << 38; value += value / 64 + 1) {
        uint32_t bucket = histogram_bucket(value);
        assert_true(bucket >= last);
        assert_true(bucket < HISTOGRAM_BUCKET_COUNT);
        assert_true(histogram_floor(bucket) <= value);
        if (bucket + 1 < HISTOGRAM_BUCKET_COUNT)
            assert_true(histogram_floor(bucket + 1) > value);
        last = bucket;
    }
}

static void test_values_past_the_end_count_in_the_last_bucket(void **state)
{
    (void)state;
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKET_COUNT - 1);
    assert_int_equal(histogram_bucket(UINT64_C(1) << HISTOGRAM_OCTAVE_MAX),
                     HISTOGRAM_BUCKET_COUNT - 1);
}

static void test_quantile_of_nothing_is_zero(void **state)
{
    (void)state;
    uint64_t counts[HISTOGRAM_BUCKET_COUNT] = {0};
    assert_int_equal(histogram_quantile(counts, 0.5), 0);
}

static void test_quantiles_are_within_an_eighth(void **state)
{
    (void)state;
    uint64_t counts[HISTOGRAM_BUCKET_COUNT] = {0};
    for (uint64_t value = 1; value <= 100000; value++)
        counts[histogram_bucket(value)]++;
    const double quantiles[] = {0.5, 0.9, 0.99, 0.999};
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        double exact = quantiles[i] * 100000;
        double got = (double)histogram_quantile(counts, quantiles[i]);
        assert_true(got > exact * 0.875 && got < exact * 1.125);
    }
}

static void test_layout_has_room_for_the_histogram(void **state)
{
    (void)state;
    assert_int_equal(STATS_BUCKET_COUNT, HISTOGRAM_BUCKET_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bucket_is_monotone_and_floor_inverts_it),
        cmocka_unit_test(test_values_past_the_end_count_in_the_last_bucket),
        cmocka_unit_test(test_quantile_of_nothing_is_zero),
        cmocka_unit_test(test_quantiles_are_within_an_eighth),
        cmocka_unit_test(test_layout_has_room_for_the_histogram),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
