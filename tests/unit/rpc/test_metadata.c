#include "support/test.h"

#include <errno.h>
#include <string.h>

#include "rpc/internal.h"

static uint8_t block[RPC_METADATA_BLOCK_BYTES_MAX];

static int encode(const struct parley_metadata *pairs, size_t count, size_t *ret_bytes)
{
    struct error_text error = {0};
    int r = metadata_encode(pairs, count, block, sizeof(block), ret_bytes, &error);
    if (r < 0)
        assert_true(strlen(error.text) > 0);
    return r;
}

static void test_what_is_encoded_is_found(void **state)
{
    (void)state;
    const struct parley_metadata pairs[] = {
        {"traceparent", "00-abc", 6}, {"empty", NULL, 0}, {"gray.user.id", "a\0b", 3}};
    size_t bytes, value_bytes;
    assert_int_equal(encode(pairs, 3, &bytes), 0);
    assert_int_equal(metadata_check(block, bytes), 0);
    const char *value = metadata_find(block, bytes, "gray.user.id", &value_bytes);
    assert_non_null(value);
    assert_int_equal(value_bytes, 3);
    assert_memory_equal(value, "a\0b", 3);
    assert_non_null(metadata_find(block, bytes, "empty", &value_bytes));
    assert_int_equal(value_bytes, 0);
    assert_null(metadata_find(block, bytes, "gray.user", &value_bytes));
    assert_null(metadata_find(NULL, 0, "gray.user", &value_bytes));
}

static void test_keys_are_bounded(void **state)
{
    (void)state;
    char key[RPC_METADATA_KEY_BYTES_MAX + 2];
    memset(key, 'k', sizeof(key));
    key[RPC_METADATA_KEY_BYTES_MAX] = '\0';
    struct parley_metadata pair = {key, "v", 1};
    size_t bytes;
    assert_int_equal(encode(&pair, 1, &bytes), 0);
    key[RPC_METADATA_KEY_BYTES_MAX] = 'k';
    key[RPC_METADATA_KEY_BYTES_MAX + 1] = '\0';
    assert_int_equal(encode(&pair, 1, &bytes), -EINVAL);
    static const char *const bad[] = {"", "Upper", "sp ace", "col:on", "\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        pair.key = bad[i];
        assert_int_equal(encode(&pair, 1, &bytes), -EINVAL);
    }
}

static void test_values_are_bounded(void **state)
{
    (void)state;
    static char value[RPC_METADATA_VALUE_BYTES_MAX + 1];
    struct parley_metadata pairs[3] = {{"a", value, RPC_METADATA_VALUE_BYTES_MAX},
                                       {"b", value, RPC_METADATA_VALUE_BYTES_MAX - 2}};
    size_t bytes;
    assert_int_equal(encode(pairs, 2, &bytes), 0); /* 8,192 bytes of keys and values */
    assert_int_equal(metadata_check(block, bytes), 0);
    pairs[1].value_bytes++;
    assert_int_equal(encode(pairs, 2, &bytes), -EINVAL);
    pairs[0].value_bytes++;
    assert_int_equal(encode(pairs, 1, &bytes), -EINVAL);
}

static void test_pairs_are_bounded(void **state)
{
    (void)state;
    struct parley_metadata pairs[RPC_METADATA_PAIRS_MAX + 1];
    for (size_t i = 0; i < RPC_METADATA_PAIRS_MAX + 1; i++)
        pairs[i] = (struct parley_metadata){"k", "v", 1};
    size_t bytes;
    assert_int_equal(encode(pairs, RPC_METADATA_PAIRS_MAX, &bytes), 0);
    assert_int_equal(metadata_check(block, bytes), 0);
    assert_int_equal(encode(pairs, RPC_METADATA_PAIRS_MAX + 1, &bytes), -EINVAL);
    memcpy(block + bytes, block, 5); /* one pair more than a caller can make */
    assert_int_equal(metadata_check(block, bytes + 5), -EBADMSG);
}

static void test_a_block_cut_anywhere_is_refused(void **state)
{
    (void)state;
    const struct parley_metadata pairs[] = {{"key", "value", 5}, {"other", "x", 1}};
    size_t bytes;
    assert_int_equal(encode(pairs, 2, &bytes), 0);
    size_t first = 3 + 3 + 5;
    for (size_t cut = 1; cut < bytes; cut++)
        assert_int_equal(metadata_check(block, cut), cut == first ? 0 : -EBADMSG);
}

static void test_forged_lengths_are_refused(void **state)
{
    (void)state;
    const uint8_t value_too_long[] = {1, 0xff, 0xff, 'k'};
    assert_int_equal(metadata_check(value_too_long, sizeof(value_too_long)), -EBADMSG);
    const uint8_t key_too_long[] = {200, 0, 0, 'k'};
    assert_int_equal(metadata_check(key_too_long, sizeof(key_too_long)), -EBADMSG);
    const uint8_t no_key[] = {0, 0, 0};
    assert_int_equal(metadata_check(no_key, sizeof(no_key)), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_encoded_is_found),
        cmocka_unit_test(test_keys_are_bounded),
        cmocka_unit_test(test_values_are_bounded),
        cmocka_unit_test(test_pairs_are_bounded),
        cmocka_unit_test(test_a_block_cut_anywhere_is_refused),
        cmocka_unit_test(test_forged_lengths_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
