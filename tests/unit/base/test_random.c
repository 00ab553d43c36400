#include "support/test.h"

#include <stdlib.h>

#include "base/random.h"

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void test_ids_are_never_zero_and_differ(void **state)
{
    (void)state;
    static uint64_t ids[1000];
    for (int i = 0; i < 1000; i++) {
        ids[i] = random_id();
        assert_true(ids[i] != 0);
    }
    qsort(ids, 1000, sizeof(ids[0]), compare);
    for (int i = 1; i < 1000; i++)
        assert_true(ids[i] != ids[i - 1]);
}

/* First outputs for seed 0, as in the algorithm's published reference. */
static void test_stream_is_splitmix64(void **state)
{
    (void)state;
    uint64_t seed = 0;
    assert_true(random_next(&seed) == UINT64_C(0xe220a8397b1dcdaf));
    assert_true(random_next(&seed) == UINT64_C(0x6e789e6aa1b965f4));
    assert_true(random_next(&seed) == UINT64_C(0x06c45d188009454f));
}

static void test_numbers_stay_below_their_bound(void **state)
{
    (void)state;
    uint64_t seed = 1;
    const uint32_t bounds[] = {1, 2, 3, 100000, UINT32_MAX};
    for (size_t b = 0; b < sizeof(bounds) / sizeof(bounds[0]); b++) {
        for (int i = 0; i < 10000; i++)
            assert_true(random_below(&seed, bounds[b]) < bounds[b]);
    }
}

static void test_numbers_are_spread_evenly(void **state)
{
    (void)state;
    uint64_t seed = 2;
    int counts[10] = {0};
    for (int i = 0; i < 100000; i++)
        counts[random_below(&seed, 10)]++;
    for (int i = 0; i < 10; i++)
        assert_in_range(counts[i], 9500, 10500); /* five standard deviations; the seed is fixed */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_are_never_zero_and_differ),
        cmocka_unit_test(test_stream_is_splitmix64),
        cmocka_unit_test(test_numbers_stay_below_their_bound),
        cmocka_unit_test(test_numbers_are_spread_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
