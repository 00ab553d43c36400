/* W3C's traceparent, and what becomes of it in metadata. */
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

#include "rpc/internal.h"

#define TRACE_ID "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN_ID "00f067aa0ba902b7"

static int parse(const char *text, bool *ret_sampled)
{
    uint64_t trace_id[2], parent_id;
    /* Exactly so many bytes: what is behind them must not be looked at. */
    char *copy = malloc(strlen(text) ? strlen(text) : 1);
    memcpy(copy, text, strlen(text));
    int r = trace_parse(copy, strlen(text), trace_id, &parent_id, ret_sampled);
    free(copy);
    return r;
}

static void test_ids_are_read_in_the_order_of_their_bytes(void **state)
{
    (void)state;
    const char *text = "00-" TRACE_ID "-" SPAN_ID "-01";
    static const uint8_t trace[16] = {0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6,
                                      0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36};
    static const uint8_t parent[8] = {0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7};
    uint64_t trace_id[2], parent_id;
    bool sampled;
    assert_int_equal(trace_parse(text, strlen(text), trace_id, &parent_id, &sampled), 0);
    assert_memory_equal(trace_id, trace, 16);
    assert_memory_equal(&parent_id, parent, 8);
    assert_true(sampled);

    struct parley_context context = {.traced = true};
    memcpy(context.span.trace_id, trace, 16);
    memcpy(&context.span.span_id, parent, 8);
    size_t bytes;
    assert_string_equal(parley_context_metadata(&context, "traceparent", &bytes), text);
    assert_int_equal(bytes, strlen(text));
}

static void test_only_the_first_flag_says_that_it_is_sampled(void **state)
{
    (void)state;
    bool sampled;
    assert_int_equal(parse("00-" TRACE_ID "-" SPAN_ID "-00", &sampled), 0);
    assert_false(sampled);
    assert_int_equal(parse("00-" TRACE_ID "-" SPAN_ID "-02", &sampled), 0);
    assert_false(sampled);
    assert_int_equal(parse("00-" TRACE_ID "-" SPAN_ID "-ff", &sampled), 0);
    assert_true(sampled);
}

static void test_a_later_version_may_say_more(void **state)
{
    (void)state;
    bool sampled;
    assert_int_equal(parse("01-" TRACE_ID "-" SPAN_ID "-01", &sampled), 0);
    assert_int_equal(parse("fe-" TRACE_ID "-" SPAN_ID "-01-what-the-future-will-be", &sampled), 0);
    assert_true(sampled);
    assert_true(parse("01-" TRACE_ID "-" SPAN_ID "-01.what", &sampled) < 0);
}

static void test_what_is_malformed_counts_as_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "00",
        "00-" TRACE_ID "-" SPAN_ID "-0",
        "00-" TRACE_ID "-" SPAN_ID "-01-",
        "00-" TRACE_ID "-" SPAN_ID "-011",
        "ff-" TRACE_ID "-" SPAN_ID "-01",
        "00-00000000000000000000000000000000-" SPAN_ID "-01",
        "00-" TRACE_ID "-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN_ID "-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473g-" SPAN_ID "-01",
        "00-" TRACE_ID "-00F067AA0BA902B7-01",
        "00_" TRACE_ID "-" SPAN_ID "-01",
        "00-" TRACE_ID "_" SPAN_ID "-01",
        "00-" TRACE_ID "-" SPAN_ID "_01",
        "0g-" TRACE_ID "-" SPAN_ID "-01",
        "00-" TRACE_ID "-" SPAN_ID "-0x",
    };
    bool sampled;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (parse(bad[i], &sampled) == 0)
            fail_msg("'%s' is taken", bad[i]);
}

static void test_a_key_is_taken_out_of_metadata(void **state)
{
    (void)state;
    const struct parley_metadata pairs[] = {{"traceparent", "x", 1},
                                            {"a", "1", 1},
                                            {"traceparent", "", 0},
                                            {"b", "2", 1},
                                            {"traceparent", "yy", 2}};
    uint8_t block[128];
    size_t bytes;
    struct error_text error;
    for (size_t first = 0; first < 2; first++) { /* at the beginning, in the middle, at the end */
        assert_int_equal(
            metadata_encode(pairs + first, 5 - first, block, sizeof(block), &bytes, &error), 0);
        metadata_remove(block, &bytes, "traceparent");
        assert_int_equal(bytes, 2 * (3 + 1 + 1));
        assert_int_equal(metadata_check(block, bytes), 0);
        assert_null(metadata_find(block, bytes, "traceparent", NULL));
        assert_int_equal(*metadata_find(block, bytes, "a", NULL), '1');
        assert_int_equal(*metadata_find(block, bytes, "b", NULL), '2');
    }
    metadata_remove(block, &bytes, "c");
    assert_int_equal(bytes, 10);
    bytes = 0;
    metadata_remove(block, &bytes, "a");
    assert_int_equal(bytes, 0);
}

static void test_as_many_are_sampled_as_the_rate_says(void **state)
{
    (void)state;
    static const uint32_t rates[] = {0, 1, ROUTE_BUCKETS / 10, ROUTE_BUCKETS - 1, ROUTE_BUCKETS};
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct spans spans = {.ids = {1, 2 + i}};
        unsigned sampled = 0;
        for (unsigned n = 0; n < 10000; n++)
            sampled += spans_sample(&spans, ROUTE_TRACE_ON | rates[i]);
        assert_true(rates[i] != 0 || sampled == 0);
        assert_true(rates[i] != ROUTE_BUCKETS || sampled == 10000);
        assert_true(rates[i] != ROUTE_BUCKETS / 10 || (sampled > 800 && sampled < 1200));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_are_read_in_the_order_of_their_bytes),
        cmocka_unit_test(test_only_the_first_flag_says_that_it_is_sampled),
        cmocka_unit_test(test_a_later_version_may_say_more),
        cmocka_unit_test(test_what_is_malformed_counts_as_none),
        cmocka_unit_test(test_a_key_is_taken_out_of_metadata),
        cmocka_unit_test(test_as_many_are_sampled_as_the_rate_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
