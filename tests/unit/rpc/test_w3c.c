/* The cases of W3C's own test suite of Trace Context, where it says what must happen, and the
 * limits. */
#include "support/test.h"

#include <stdio.h>
#include <string.h>

#include "base/random.h"
#include "rpc/internal.h"

#define PARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static bool parent(const char *text)
{
    return traceparent_is_valid(text, strlen(text));
}

static void test_traceparent_is_checked(void **state)
{
    (void)state;
    assert_true(parent(PARENT));
    assert_true(parent("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    assert_true(parent("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes"));
    static const char *const bad[] = {
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333.-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01",
        " " PARENT,
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (parent(bad[i]))
            fail_msg("valid: %s", bad[i]);
}

static const char *tidy(size_t (*how)(char *, size_t), const char *text)
{
    static char left[16384];
    size_t bytes = strlen(text);
    memcpy(left, text, bytes);
    bytes = how(left, bytes);
    left[bytes] = '\0';
    return left;
}

#define STATE(text) tidy(tracestate_tidy, text)
#define BAGGAGE(text) tidy(baggage_tidy, text)

static void test_tracestate_is_dropped_whole_if_malformed(void **state)
{
    (void)state;
    assert_string_equal(STATE("foo=1,bar=2"), "foo=1,bar=2");
    assert_string_equal(STATE(" foo=1 ,\tbar=2 3\t, ,"), "foo=1,bar=2 3");
    assert_string_equal(STATE("0a@v-_*/=!~"), "0a@v-_*/=!~");
    static const char *const bad[] = {"foo",     "=1",       "foo=",     "foo=1=2",  "Foo=1",
                                      "f o=1",   "-foo=1",   "foo=\x7f", "foo=\xc3", "foo =1",
                                      "foo=1,x", "foo@=1,=", "foo=\x01"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (*STATE(bad[i]))
            fail_msg("kept: %s", bad[i]);
}

static void members(char *text, unsigned count, size_t value_bytes)
{
    size_t used = 0;
    for (unsigned i = 0; i < count; i++)
        used += (size_t)sprintf(text + used, "%sk%02u=%0*d", i ? "," : "", i, (int)value_bytes, 1);
}

static void test_tracestate_is_bounded(void **state)
{
    (void)state;
    char text[16384], expected[16384];
    members(text, 32, 1);
    assert_string_equal(STATE(text), text);
    members(text, 33, 1);
    assert_string_equal(STATE(text), "");
    members(text, 4, 124); /* 4 * 128 and 3 commas: 515 */
    members(expected, 3, 124);
    assert_string_equal(STATE(text), expected);
    /* Larger than 128 bytes: it goes first. */
    char mixed[16384];
    (void)sprintf(mixed, "big=%0130d,", 1);
    members(mixed + strlen(mixed), 3, 124);
    assert_string_equal(STATE(mixed), expected);
    (void)sprintf(mixed, "big=%0130d,small=1", 1); /* together they are not too long */
    assert_string_equal(STATE(mixed), mixed);
    (void)sprintf(mixed, "k=%0256d", 1);
    assert_string_equal(STATE(mixed), mixed);
    (void)sprintf(mixed, "k=%0257d", 1);
    assert_string_equal(STATE(mixed), "");
    (void)sprintf(mixed, "a=%0256d,b=%0248d", 1, 1); /* 258 + 1 + 250 = 509 */
    assert_string_equal(STATE(mixed), mixed);
    (void)sprintf(mixed, "a=%0256d,b=%0251d", 1, 1); /* 512 */
    assert_string_equal(STATE(mixed), mixed);
    (void)sprintf(mixed, "a=%0256d,b=%0252d,c=1", 1, 1);
    assert_string_equal(STATE(mixed), "c=1");
}

static void test_baggage_loses_members_that_are_malformed(void **state)
{
    (void)state;
    assert_string_equal(BAGGAGE("user=ada,plan=pro;since=2020 , a = b"),
                        "user=ada,plan=pro;since=2020,a = b");
    assert_string_equal(BAGGAGE("nothing,,=x,ke y=1,good=1,bad=\"q\",empty="), "good=1,empty=");
    assert_string_equal(BAGGAGE("\x01=1"), "");
}

static void test_baggage_is_bounded(void **state)
{
    (void)state;
    char text[16384], expected[16384];
    members(text, 64, 1);
    assert_string_equal(BAGGAGE(text), text);
    members(expected, 64, 1);
    members(text, 65, 1);
    assert_string_equal(BAGGAGE(text), expected);
    (void)sprintf(text, "k=%08190d", 1);
    assert_string_equal(BAGGAGE(text), text);
    (void)sprintf(text, "k=%08191d,a=1", 1);
    assert_string_equal(BAGGAGE(text), "");
    (void)sprintf(text, "a=1,k=%08186d", 1);
    assert_string_equal(BAGGAGE(text), text);
    (void)sprintf(text, "a=1,k=%08187d", 1);
    assert_string_equal(BAGGAGE(text), "a=1");
}

/* ---- Blocks ---- */

static uint8_t block[RPC_METADATA_BLOCK_BYTES_MAX];
static size_t block_bytes;

static void put(const char *key, const char *value)
{
    size_t key_bytes = strlen(key), value_bytes = strlen(value);
    block[block_bytes++] = (uint8_t)key_bytes;
    block[block_bytes++] = (uint8_t)(value_bytes & 0xff);
    block[block_bytes++] = (uint8_t)(value_bytes >> 8);
    memcpy(block + block_bytes, key, key_bytes);
    memcpy(block + block_bytes + key_bytes, value, value_bytes);
    block_bytes += key_bytes + value_bytes;
}

static bool beside; /* the trace travels beside the block */

static void tidied(const char *expected)
{
    char text[4096] = "";
    size_t used = 0;
    assert_int_equal(metadata_check(block, block_bytes), 0);
    size_t bytes = metadata_tidy(block, block_bytes, beside);
    assert_int_equal(metadata_check(block, bytes), 0);
    for (size_t at = 0; at < bytes;) {
        size_t key_bytes = block[at], value_bytes = block[at + 1] | (size_t)block[at + 2] << 8;
        used += (size_t)sprintf(text + used, "%.*s:%.*s|", (int)key_bytes, block + at + 3,
                                (int)value_bytes, block + at + 3 + key_bytes);
        at += 3 + key_bytes + value_bytes;
    }
    assert_string_equal(text, expected);
    block_bytes = 0;
}

static void test_a_block_keeps_what_may_travel(void **state)
{
    (void)state;
    tidied("");
    put("gray.user.id", "ada");
    put("x", "");
    tidied("gray.user.id:ada|x:|");
    put("a", "1");
    put("tracestate", " foo=1 , ");
    put("baggage", "bad,u=1,worse");
    put("traceparent", PARENT);
    put("z", "2");
    tidied("a:1|tracestate:foo=1|baggage:u=1|traceparent:" PARENT "|z:2|");
}

static void test_a_bad_traceparent_starts_the_trace_anew(void **state)
{
    (void)state;
    put("traceparent", "00-abc");
    put("tracestate", "foo=1");
    put("baggage", "u=1");
    tidied("baggage:u=1|");
    put("tracestate", "foo=1"); /* none at all */
    put("a", "1");
    tidied("a:1|");
    put("traceparent", PARENT); /* two */
    put("traceparent", PARENT);
    put("tracestate", "foo=1");
    tidied("");
    put("traceparent", PARENT);
    put("tracestate", "foo");
    tidied("traceparent:" PARENT "|");
}

static void test_a_trace_that_travels_beside_counts_for_tracestate(void **state)
{
    (void)state;
    beside = true;
    put("tracestate", "foo=1");
    tidied("tracestate:foo=1|");
    put("traceparent", PARENT); /* is none: there is another */
    put("tracestate", "foo");
    put("a", "1");
    tidied("a:1|");
    beside = false;
}

static void test_reserved_keys_do_not_come_in(void **state)
{
    (void)state;
    put("parley.peer.uid", "0");
    put("gray.version", "2");
    put("parley.", "x");
    put("parley", "mine");
    tidied("gray.version:2|parley:mine|");
}

/* Whatever comes: what is left is well-formed, and would be left as it is at the next hop. */
static void test_what_is_left_is_left_at_the_next_hop_too(void **state)
{
    (void)state;
    static const char *const keys[] = {"traceparent", "tracestate", "baggage", "gray.x",
                                       "parley.peer.uid"};
    static const char letters[] = "a=,b; \t0-\"K\x80@";
    uint64_t random = 11;
    for (unsigned round = 0; round < 30000; round++) {
        char value[1024];
        block_bytes = 0;
        for (unsigned i = 0, pairs = random_below(&random, 6); i < pairs; i++) {
            uint32_t bytes = random_below(&random, round % 10 ? 24 : 1000);
            for (uint32_t k = 0; k < bytes; k++)
                value[k] = letters[random_below(&random, sizeof(letters) - 1)];
            value[bytes] = '\0';
            if (random_below(&random, 3) == 0)
                (void)strcpy(value, PARENT);
            put(keys[random_below(&random, 5)], value);
        }
        uint8_t once[RPC_METADATA_BLOCK_BYTES_MAX];
        size_t bytes = metadata_tidy(block, block_bytes, false);
        assert_true(bytes <= block_bytes);
        assert_int_equal(metadata_check(block, bytes), 0);
        assert_null(metadata_find(block, bytes, "parley.peer.uid", NULL));
        memcpy(once, block, bytes);
        assert_int_equal(metadata_tidy(block, bytes, false), bytes);
        assert_memory_equal(block, once, bytes);
    }
    block_bytes = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_traceparent_is_checked),
        cmocka_unit_test(test_tracestate_is_dropped_whole_if_malformed),
        cmocka_unit_test(test_tracestate_is_bounded),
        cmocka_unit_test(test_baggage_loses_members_that_are_malformed),
        cmocka_unit_test(test_baggage_is_bounded),
        cmocka_unit_test(test_a_block_keeps_what_may_travel),
        cmocka_unit_test(test_a_bad_traceparent_starts_the_trace_anew),
        cmocka_unit_test(test_a_trace_that_travels_beside_counts_for_tracestate),
        cmocka_unit_test(test_reserved_keys_do_not_come_in),
        cmocka_unit_test(test_what_is_left_is_left_at_the_next_hop_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
