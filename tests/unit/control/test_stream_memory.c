#include "support/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/sanitized.h"
#include "control/stream_memory.h"

static uint64_t now_ns;

static uint64_t test_now_ns(void)
{
    return now_ns;
}

static void *take(struct stream_memory *memory, size_t bytes)
{
    size_t has;
    uint8_t *block = stream_memory_take(memory, bytes, bytes, &has);
    assert_non_null(block);
    assert_true(has >= bytes);
    memset(block, 1, has);
    return block;
}

static int set_up(void **state)
{
    now_ns = NS_PER_S;
    clock_set(test_now_ns);
    *state = malloc(sizeof(struct stream_memory));
    stream_memory_init(*state);
    return 0;
}

static int tear_down(void **state)
{
    stream_memory_check(*state, CLOCK_NEVER);
    free(*state);
    clock_set(NULL);
    return 0;
}

static void test_a_small_block_is_not_kept(void **state)
{
    struct stream_memory *memory = *state;
    stream_memory_give(memory, take(memory, STREAM_LARGE_BYTES - 1));
    stream_memory_give(memory, NULL);
    assert_int_equal(memory->count, 0);
    assert_true(memory->until_ns == CLOCK_NEVER);
}

static void test_a_large_block_is_used_again(void **state)
{
    struct stream_memory *memory = *state;
    void *block = take(memory, 4 * STREAM_LARGE_BYTES);
    stream_memory_give(memory, block);
    assert_int_equal(memory->count, 1);
    assert_ptr_equal(take(memory, STREAM_LARGE_BYTES), block);
    assert_int_equal(memory->count + memory->bytes, 0);
    stream_memory_give(memory, block);
    void *larger = take(memory, 4 * STREAM_LARGE_BYTES + 1); /* it is too small, and stays */
    assert_int_equal(memory->count, 1);
    stream_memory_give(memory, larger);
}

/* A message that has not come yet gets what it asks for, or all that it will need. */
static void test_what_is_best_is_only_taken_if_it_is_kept(void **state)
{
    struct stream_memory *memory = *state;
    size_t has;
    void *block = stream_memory_take(memory, STREAM_LARGE_BYTES, STREAM_SPARE_BYTES / 2, &has);
    assert_int_equal(has, STREAM_LARGE_BYTES);
    block = stream_memory_grow(block, STREAM_SPARE_BYTES / 2);
    assert_non_null(block);
    stream_memory_give(memory, block);
    assert_ptr_equal(stream_memory_take(memory, STREAM_LARGE_BYTES, STREAM_SPARE_BYTES / 2, &has),
                     block);
    assert_int_equal(has, STREAM_SPARE_BYTES / 2);
    stream_memory_give(memory, block);
    void *small = take(memory, STREAM_LARGE_BYTES); /* not one so much larger */
    assert_ptr_not_equal(small, block);
    stream_memory_give(memory, small);
}

static void test_no_more_is_kept_than_the_limits(void **state)
{
    struct stream_memory *memory = *state;
    void *blocks[STREAM_SPARE_COUNT + 1];
    for (size_t i = 0; i <= STREAM_SPARE_COUNT; i++)
        blocks[i] = take(memory, STREAM_LARGE_BYTES);
    for (size_t i = 0; i <= STREAM_SPARE_COUNT; i++)
        stream_memory_give(memory, blocks[i]);
    assert_int_equal(memory->count, STREAM_SPARE_COUNT);
    assert_ptr_equal(memory->spares[0], blocks[1]);               /* the oldest has gone */
    stream_memory_give(memory, take(memory, STREAM_SPARE_BYTES)); /* the rest goes for it */
    assert_int_equal(memory->count, 1);
    assert_int_equal(memory->bytes, STREAM_SPARE_BYTES);
    stream_memory_give(memory, take(memory, STREAM_SPARE_BYTES + 1));
    assert_int_equal(memory->bytes, STREAM_SPARE_BYTES);
}

static void test_what_is_not_needed_for_long_is_given_back(void **state)
{
    struct stream_memory *memory = *state;
    stream_memory_give(memory, take(memory, STREAM_LARGE_BYTES));
    now_ns += STREAM_SPARE_NS / 2;
    stream_memory_give(memory, take(memory, STREAM_LARGE_BYTES));
    stream_memory_check(memory, now_ns + STREAM_SPARE_NS - 1);
    assert_int_equal(memory->count, 1);
    stream_memory_check(memory, now_ns + STREAM_SPARE_NS);
    assert_int_equal(memory->count + memory->bytes, 0);
    assert_true(memory->until_ns == CLOCK_NEVER);
}

static void test_more_than_there_can_be_is_refused(void **state)
{
    struct stream_memory *memory = *state;
    size_t has;
    assert_null(stream_memory_take(memory, SIZE_MAX, SIZE_MAX, &has));
    void *block = take(memory, 10);
    assert_null(stream_memory_grow(block, SIZE_MAX));
    assert_int_equal(*(uint8_t *)block, 1);
    stream_memory_give(memory, block);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest always[] = {
        TEST(test_a_small_block_is_not_kept),
        TEST(test_more_than_there_can_be_is_refused),
    };
    const struct CMUnitTest kept[] = {
        TEST(test_a_large_block_is_used_again),
        TEST(test_what_is_best_is_only_taken_if_it_is_kept),
        TEST(test_no_more_is_kept_than_the_limits),
        TEST(test_what_is_not_needed_for_long_is_given_back),
    };
    int failed = cmocka_run_group_tests(always, NULL, NULL);
    return failed + (SANITIZED ? 0 : cmocka_run_group_tests(kept, NULL, NULL));
}
