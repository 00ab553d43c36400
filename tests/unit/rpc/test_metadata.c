#include "support/test.h"

#include <errno.h>
#include <stdio.h>
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
    static const char *const bad[] = {"",       "Upper",   "sp ace", "col:on",
                                      "\n", "parley.", "parley.peer.uid"};
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
    assert_int_equal(encode(pairs, 2, &bytes), 0); /* 16,384 bytes of keys and values */
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

/* ---- Inheriting ---- */

static uint8_t served[RPC_METADATA_BLOCK_BYTES_MAX];
static size_t served_bytes;

static void serve(const struct parley_metadata *pairs, size_t count)
{
    struct error_text error = {0};
    assert_int_equal(metadata_encode(pairs, count, served, sizeof(served), &served_bytes, &error),
                     0);
}

static int inherit(size_t *bytes)
{
    struct error_text error = {0};
    int r = metadata_inherit(served, served_bytes, block, bytes, &error);
    if (r < 0)
        assert_non_null(strstr(error.text, "inherited"));
    else
        assert_int_equal(metadata_check(block, *bytes), 0);
    return r;
}

static void test_what_belongs_to_the_chain_is_inherited(void **state)
{
    (void)state;
    const struct parley_metadata pairs[] = {
        {"traceparent", "1", 1}, {"private", "2", 1},  {"tracestate", "3", 1},
        {"baggage", "4", 1},     {"tenant", "5", 1},   {"gray.user.id", "6", 1},
        {"gray.", "7", 1},       {"tracepar", "8", 1}, {"traceparents", "9", 1},
        {"gray", "10", 2},       {"grayx", "11", 2},   {"gray.version", NULL, 0}};
    static const char *const inherited[] = {"traceparent", "tracestate",   "baggage",
                                            "tenant",      "gray.user.id", "gray.version"};
    serve(pairs, 12);
    size_t bytes = 0, value_bytes;
    assert_int_equal(inherit(&bytes), 0);
    for (size_t i = 0; i < 6; i++)
        assert_non_null(metadata_find(block, bytes, inherited[i], &value_bytes));
    size_t others = bytes;
    for (size_t i = 0; i < 12; i++) {
        if (metadata_find(block, bytes, pairs[i].key, &value_bytes))
            others -= 3 + strlen(pairs[i].key) + pairs[i].value_bytes;
    }
    assert_int_equal(others, 0);
    assert_null(metadata_find(block, bytes, "private", &value_bytes));
}

static void test_a_call_s_own_metadata_come_first(void **state)
{
    (void)state;
    const struct parley_metadata pairs[] = {{"baggage", "served", 6}, {"gray.user.id", "ada", 3}};
    const struct parley_metadata own[] = {{"other", "x", 1}, {"baggage", "own", 3}};
    serve(pairs, 2);
    size_t bytes, value_bytes;
    assert_int_equal(encode(own, 2, &bytes), 0);
    assert_int_equal(inherit(&bytes), 0);
    assert_memory_equal(metadata_find(block, bytes, "baggage", &value_bytes), "own", 3);
    assert_memory_equal(metadata_find(block, bytes, "gray.user.id", &value_bytes), "ada", 3);
    size_t again = bytes;
    assert_int_equal(inherit(&again), 0); /* all of it is there */
    assert_int_equal(again, bytes);
}

/* A client may say a key twice: the first counts, as everywhere. */
static void test_a_key_that_comes_twice_is_inherited_once(void **state)
{
    (void)state;
    const struct parley_metadata pairs[] = {{"tenant", "one", 3}, {"tenant", "two", 3}};
    serve(pairs, 2);
    size_t bytes = 0, value_bytes;
    assert_int_equal(inherit(&bytes), 0);
    assert_int_equal(bytes, 3 + 6 + 3);
    assert_memory_equal(metadata_find(block, bytes, "tenant", &value_bytes), "one", 3);
}

static void test_own_and_inherited_metadata_are_bounded_together(void **state)
{
    (void)state;
    static const char text[RPC_METADATA_VALUE_BYTES_MAX];
    struct parley_metadata own[RPC_METADATA_PAIRS_MAX];
    char keys[RPC_METADATA_PAIRS_MAX][8];
    const struct parley_metadata one[] = {{"tenant", "x", 1}};
    size_t bytes;
    for (size_t i = 0; i < RPC_METADATA_PAIRS_MAX; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "k%zu", i);
        own[i] = (struct parley_metadata){keys[i], NULL, 0};
    }
    serve(one, 1);
    assert_int_equal(encode(own, RPC_METADATA_PAIRS_MAX - 1, &bytes), 0);
    assert_int_equal(inherit(&bytes), 0);
    assert_int_equal(encode(own, RPC_METADATA_PAIRS_MAX, &bytes), 0);
    assert_int_equal(inherit(&bytes), -EINVAL);

    /* 8,192 of their own, and keys of 2 + 6 bytes: what is left for the value of one. */
    const struct parley_metadata large[] = {{"kk", text, sizeof(text)}};
    struct parley_metadata rest[] = {{"tenant", text, RPC_METADATA_BYTES_MAX - RPC_METADATA_VALUE_BYTES_MAX - 8}};
    serve(rest, 1);
    assert_int_equal(encode(large, 1, &bytes), 0);
    assert_int_equal(inherit(&bytes), 0);
    rest[0].value_bytes++;
    serve(rest, 1);
    assert_int_equal(encode(large, 1, &bytes), 0);
    assert_int_equal(inherit(&bytes), -EINVAL);
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
        cmocka_unit_test(test_what_belongs_to_the_chain_is_inherited),
        cmocka_unit_test(test_a_call_s_own_metadata_come_first),
        cmocka_unit_test(test_a_key_that_comes_twice_is_inherited_once),
        cmocka_unit_test(test_own_and_inherited_metadata_are_bounded_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
