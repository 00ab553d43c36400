/* Rules as a hostile page has them: nothing that it says is followed out of bounds. */
#include "support/test.h"

#include <string.h>

#include "rpc/internal.h"

static struct route_rules rules;
static uint8_t block[64];
static size_t block_bytes;

/* One rule, a = x, and a block that fits it. */
static int setup(void **state)
{
    (void)state;
    const struct parley_metadata pair = {"a", "x", 1};
    struct error_text error = {0};
    rules = (struct route_rules){.rule_count = 1, .condition_count = 1, .text_bytes = 2};
    rules.rule_version[0] = 3;
    rules.condition[0].kind = ROUTE_MATCH_EXACT;
    rules.condition[0].key_bytes = rules.condition[0].value_bytes = 1;
    memcpy(rules.text, "ax", 2);
    return metadata_encode(&pair, 1, block, sizeof(block), &block_bytes, &error);
}

static uint32_t version(void)
{
    struct matcher *matcher = matcher_new(&rules);
    assert_non_null(matcher);
    uint32_t found = matcher_version(matcher, block, block_bytes);
    assert_int_equal(matcher_version(matcher, block, 0), ROUTE_NOBODY);
    matcher_free(matcher);
    return found;
}

static void test_a_rule_that_is_right_fits(void **state)
{
    (void)state;
    assert_int_equal(version(), 3);
    rules.condition[0].kind = ROUTE_MATCH_PRESENT;
    assert_int_equal(version(), 3);
    rules.rule_count = 0;
    assert_null(matcher_new(&rules));
}

static void test_text_past_the_end_is_not_read(void **state)
{
    (void)state;
    rules.text_bytes = 1;
    assert_int_equal(version(), ROUTE_NOBODY);
    rules.text_bytes = sizeof(rules.text);
    rules.condition[0].key_at = sizeof(rules.text) - 2;
    memcpy(rules.text + sizeof(rules.text) - 2, "ax", 2);
    assert_int_equal(version(), 3);
    rules.condition[0].key_at++;
    assert_int_equal(version(), ROUTE_NOBODY);
    rules.condition[0].key_at = UINT16_MAX;
    assert_int_equal(version(), ROUTE_NOBODY);
    rules.condition[0].key_at = 0;
    rules.condition[0].value_bytes = UINT16_MAX;
    assert_int_equal(version(), ROUTE_NOBODY);
}

static void test_conditions_that_make_no_sense_fit_nothing(void **state)
{
    (void)state;
    rules.condition[0].key_bytes = 0;
    assert_int_equal(version(), ROUTE_NOBODY);
    rules.condition[0].key_bytes = 65;
    rules.text_bytes = sizeof(rules.text);
    assert_int_equal(version(), ROUTE_NOBODY);
    (void)setup(NULL);
    rules.condition[0].kind = 0;
    assert_int_equal(version(), ROUTE_NOBODY);
    rules.condition[0].kind = 5;
    assert_int_equal(version(), ROUTE_NOBODY);
    rules.condition[0].kind = ROUTE_MATCH_REGEX;
    assert_int_equal(version(), 3);
    rules.text[1] = '(';
    assert_int_equal(version(), ROUTE_NOBODY);
    rules.condition[0].value_bytes = 0;
    assert_int_equal(version(), ROUTE_NOBODY);
}

static void test_rules_and_versions_are_bounded(void **state)
{
    (void)state;
    rules.rule_version[0] = ROUTE_VERSION_MAX;
    assert_int_equal(version(), ROUTE_NOBODY);
    rules.rule_version[0] = ROUTE_VERSION_MAX - 1;
    assert_int_equal(version(), ROUTE_VERSION_MAX - 1);
    rules.condition[0].rule = 1; /* of no rule: and the only one has none */
    assert_int_equal(version(), ROUTE_NOBODY);
    rules.condition[0].rule = UINT8_MAX;
    assert_int_equal(version(), ROUTE_NOBODY);
}

static void test_the_most_rules_and_conditions_in_any_order(void **state)
{
    (void)state;
    rules.rule_count = ROUTE_RULE_MAX;
    rules.condition_count = ROUTE_CONDITION_MAX;
    for (uint32_t i = 0; i < ROUTE_CONDITION_MAX; i++) {
        rules.condition[i] = rules.condition[0];
        rules.condition[i].rule = (uint8_t)(ROUTE_RULE_MAX - 1 - i % ROUTE_RULE_MAX);
        rules.rule_version[i % ROUTE_RULE_MAX] = (uint8_t)(i % 8);
    }
    assert_int_equal(version(), 0);
    for (uint32_t i = 0; i < ROUTE_CONDITION_MAX; i++)
        if (rules.condition[i].rule == 0 && i > 32)
            rules.condition[i].kind = 0; /* one is wrong: the rule fits nothing */
    assert_int_equal(version(), 1);
}

#define MATCH(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MATCH(test_a_rule_that_is_right_fits),
        MATCH(test_text_past_the_end_is_not_read),
        MATCH(test_conditions_that_make_no_sense_fit_nothing),
        MATCH(test_rules_and_versions_are_bounded),
        MATCH(test_the_most_rules_and_conditions_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
