#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/internal.h"

#define PAGE_BYTES ROUTE_PAGE_BYTES

/* A route page in this process's memory: we are the broker that writes it. */
static _Alignas(4096) uint8_t page_bytes[PAGE_BYTES];
static struct region page = {.base = page_bytes, .bytes = PAGE_BYTES, .fd = -1};

static struct route_slot *slot(uint32_t index)
{
    return (struct route_slot *)(page_bytes + ROUTE_SLOTS_OFFSET) + index;
}

static int setup(void **state)
{
    (void)state;
    memset(page_bytes, 0, sizeof(page_bytes));
    struct route_header *header = (struct route_header *)page_bytes;
    header->magic = ROUTE_MAGIC;
    header->version = LAYOUT_VERSION;
    header->slot_count = ROUTE_SLOT_MAX;
    header->slot_bytes = sizeof(struct route_slot);
    header->matches_count = ROUTE_MATCHES_MAX;
    header->matches_bytes = sizeof(struct route_matches);
    struct route_slot *s = slot(3);
    s->sequence = 2;
    s->version_count = 2;
    s->threshold[0] = 95000;
    s->threshold[1] = 100000;
    s->instance_count = 2;
    s->instance_id[0] = 11;
    s->instance_id[1] = 22;
    s->instance_state[0] = ROUTE_INSTANCE_UP;
    s->instance_state[1] = ROUTE_INSTANCE_DRAINING;
    s->generation = 7;
    memcpy((void *)s->version_name[0], "1.0.0", 6);
    memcpy((void *)s->version_name[1], "2.0.0", 6);
    return 0;
}

static void test_a_slot_is_copied_once_until_it_changes(void **state)
{
    (void)state;
    struct route_view view = {.sequence = 1};
    assert_true(route_refresh(&view, &page, 3));
    assert_int_equal(view.generation, 7);
    assert_string_equal(view.version[1], "2.0.0");
    assert_false(route_refresh(&view, &page, 3));
    slot(3)->generation = 8;
    slot(3)->sequence = 4;
    assert_true(route_refresh(&view, &page, 3));
    assert_int_equal(view.generation, 8);
}

static void test_buckets_map_to_versions_by_threshold(void **state)
{
    (void)state;
    struct route_view view = {.sequence = 1};
    assert_true(route_refresh(&view, &page, 3));
    assert_int_equal(route_version(&view, 99999), 0); /* the last version has the lowest ones */
    assert_int_equal(route_version(&view, 5000), 0);
    assert_int_equal(route_version(&view, 4999), 1);
    assert_int_equal(route_version(&view, 0), 1);
    view.threshold[1] = 99999;
    assert_int_equal(route_version(&view, 0), ROUTE_NOBODY);
}

static void test_a_writer_that_died_leaves_the_old_view(void **state)
{
    (void)state;
    struct route_view view = {.sequence = 1};
    assert_true(route_refresh(&view, &page, 3));
    slot(3)->generation = 9;
    slot(3)->sequence = 3; /* odd for ever */
    assert_false(route_refresh(&view, &page, 3));
    assert_int_equal(view.generation, 7);
}

static void test_forged_counts_are_bounded(void **state)
{
    (void)state;
    slot(3)->version_count = UINT32_MAX;
    slot(3)->instance_count = UINT32_MAX;
    slot(3)->threshold[0] = UINT32_MAX;
    struct route_view view = {.sequence = 1};
    assert_true(route_refresh(&view, &page, 3));
    assert_int_equal(view.version_count, ROUTE_VERSION_MAX);
    assert_int_equal(view.instance_count, ROUTE_INSTANCE_MAX);
    assert_int_equal(view.threshold[0], ROUTE_BUCKETS);
}

static void test_a_slot_past_the_last_is_no_slot(void **state)
{
    (void)state;
    struct route_view view = {.sequence = 1};
    assert_true(route_refresh(&view, &page, ROUTE_SLOT_MAX - 1));
    assert_false(route_refresh(&view, &page, ROUTE_SLOT_MAX));
    assert_false(route_refresh(&view, &REGION_NONE, 0));
}

static void test_draining_instances_are_told(void **state)
{
    (void)state;
    struct route_view view = {.sequence = 1};
    assert_true(route_refresh(&view, &page, 3));
    assert_int_equal(route_state(&view, 11), ROUTE_INSTANCE_UP);
    assert_int_equal(route_state(&view, 22), ROUTE_INSTANCE_DRAINING);
    assert_int_equal(route_state(&view, 33), ROUTE_INSTANCE_UP); /* nothing says otherwise */
}

/* ---- Rollouts ---- */

static struct route_matches *matches(uint32_t index)
{
    return (struct route_matches *)(page_bytes + ROUTE_MATCHES_OFFSET) + index;
}

static void begin_rollout(void)
{
    slot(3)->rollout = 1;
    slot(3)->stable_version = 0;
    slot(3)->canary_version = 1;
    slot(3)->canary_buckets = 10;
    slot(3)->matches = 1 + 2;
    slot(3)->matches_sequence = 2;
    matches(2)->rule_count = 1;
    matches(2)->condition_count = 1;
    matches(2)->text_bytes = 9;
    matches(2)->rule_version[0] = 1;
    matches(2)->condition[0].kind = ROUTE_MATCH_PRESENT;
    matches(2)->condition[0].key_bytes = 9;
    memcpy((void *)matches(2)->text, "gray.test", 9);
}

static void test_a_rollout_splits_at_the_canary_s_share(void **state)
{
    (void)state;
    struct route_view view = {.sequence = 1};
    begin_rollout();
    assert_true(route_refresh(&view, &page, 3));
    assert_int_equal(route_version(&view, 0), 1);
    assert_int_equal(route_version(&view, 9), 1);
    assert_int_equal(route_version(&view, 10), 0);
    assert_int_equal(route_version(&view, 99999), 0);
}

static void test_without_a_rollout_its_fields_mean_nothing(void **state)
{
    (void)state;
    struct route_view view = {.sequence = 1};
    struct route_rules rules;
    begin_rollout();
    slot(3)->mirror_buckets = 5;
    slot(3)->rollout = 0;
    assert_true(route_refresh(&view, &page, 3));
    assert_false(view.rollout);
    assert_int_equal(view.mirror_buckets, 0);
    assert_int_equal(view.matches_sequence, 0);
    assert_true(route_rules_copy(&view, &page, 3, &rules));
    assert_int_equal(rules.rule_count, 0);
    assert_int_equal(route_version(&view, 0), 1); /* by weight: 5,000 */
    assert_int_equal(route_version(&view, 4999), 1);
}

static void test_forged_fields_of_a_rollout_are_bounded(void **state)
{
    (void)state;
    struct route_view view = {.sequence = 1};
    struct route_rules rules;
    begin_rollout();
    slot(3)->canary_buckets = slot(3)->mirror_buckets = UINT32_MAX;
    slot(3)->stable_version = slot(3)->canary_version = UINT32_MAX;
    memset((void *)slot(3)->sticky_key, 'k', sizeof(slot(3)->sticky_key));
    matches(2)->rule_count = matches(2)->condition_count = matches(2)->text_bytes = UINT32_MAX;
    assert_true(route_refresh(&view, &page, 3));
    assert_int_equal(view.canary_buckets, ROUTE_BUCKETS);
    assert_int_equal(view.mirror_buckets, ROUTE_BUCKETS);
    assert_int_equal(view.sticky_bytes, 64);
    assert_true(route_rules_copy(&view, &page, 3, &rules));
    assert_int_equal(rules.rule_count, ROUTE_RULE_MAX);
    assert_int_equal(rules.condition_count, ROUTE_CONDITION_MAX);
    assert_int_equal(rules.text_bytes, sizeof(rules.text));
    const uint32_t blocks[] = {ROUTE_MATCHES_MAX, ROUTE_MATCHES_MAX + 1, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        slot(3)->matches = blocks[i];
        assert_true(route_rules_copy(&view, &page, 3, &rules));
        assert_int_equal(rules.rule_count, 0); /* the last block is empty, the others are none */
    }
    assert_false(route_rules_copy(&view, &page, ROUTE_SLOT_MAX, &rules));
    assert_false(route_rules_copy(&view, &REGION_NONE, 3, &rules));
}

static void test_rules_belong_to_the_view_that_they_are_copied_for(void **state)
{
    (void)state;
    struct route_view view = {.sequence = 1};
    struct route_rules rules;
    begin_rollout();
    assert_true(route_refresh(&view, &page, 3));
    slot(3)->sequence = 3;
    assert_false(route_rules_copy(&view, &page, 3, &rules));
    slot(3)->sequence = 4;
    assert_false(route_rules_copy(&view, &page, 3, &rules));
    assert_true(route_refresh(&view, &page, 3));
    assert_true(route_rules_copy(&view, &page, 3, &rules));
    assert_int_equal(rules.rule_count, 1);
    assert_memory_equal(rules.text, "gray.test", 9);
}

/* ---- Who is live ---- */

#define CHANNELS 6

struct live {
    struct parley_client client;
    struct channel channels[CHANNELS]; /* 101, 102, ...: four of version 0, two of version 1 */
};

static struct live *live_new(void)
{
    struct live *live = calloc(1, sizeof(*live));
    LIST_INIT(&live->client.channels);
    slot(3)->instance_count = CHANNELS;
    for (uint32_t i = 0; i < CHANNELS; i++) {
        struct channel *channel = &live->channels[i];
        channel->state = CHANNEL_UP;
        channel->instance_id = 101 + i;
        (void)strcpy(channel->version, i < 4 ? "1.0.0" : "2.0.0");
        LIST_INSERT_HEAD(&live->client.channels, channel, owner_entry);
        slot(3)->instance_id[i] = 101 + i;
        slot(3)->instance_state[i] = ROUTE_INSTANCE_UP;
    }
    return live;
}

/* Bits: those that calls may go to. */
static unsigned live_bits(struct live *live)
{
    unsigned bits = 0;
    live->client.view.sequence = 1;
    assert_true(route_refresh(&live->client.view, &page, 3));
    client_live_update(&live->client);
    for (uint32_t i = 0; i < live->client.live_count; i++)
        bits |= 1U << (live->client.live[i]->instance_id - 101);
    assert_int_equal(__builtin_popcount(bits), live->client.live_count);
    return bits;
}

static void test_ejected_instances_are_left_out_until_they_are_most(void **state)
{
    (void)state;
    struct live *live = live_new();
    assert_int_equal(live_bits(live), 0x3f);
    slot(3)->instance_state[1] = ROUTE_INSTANCE_EJECTED;
    assert_int_equal(live_bits(live), 0x3d);
    slot(3)->instance_state[2] = ROUTE_INSTANCE_EJECTED; /* half of them */
    assert_int_equal(live_bits(live), 0x39);
    slot(3)->instance_state[3] = ROUTE_INSTANCE_EJECTED; /* most: all are used alike */
    assert_int_equal(live_bits(live), 0x3f);
    slot(3)->instance_state[0] = ROUTE_INSTANCE_EJECTED; /* all of that version */
    assert_int_equal(live_bits(live), 0x3f);
    slot(3)->instance_state[4] = ROUTE_INSTANCE_EJECTED; /* another version's count is its own */
    assert_int_equal(live_bits(live), 0x2f);
    slot(3)->instance_state[0] = ROUTE_INSTANCE_DRAINING; /* no panic brings that back */
    assert_int_equal(live_bits(live), 0x2e);
    free(live);
}

static void test_sticky_buckets_spread_and_stay(void **state)
{
    (void)state;
    struct route_view view = {.salt = 42};
    uint32_t low = 0;
    for (unsigned i = 0; i < 10000; i++) {
        char key[16];
        int n = snprintf(key, sizeof(key), "user-%u", i);
        uint32_t bucket = route_bucket(&view, key, (size_t)n);
        assert_true(bucket < ROUTE_BUCKETS);
        assert_int_equal(bucket, route_bucket(&view, key, (size_t)n));
        low += bucket < ROUTE_BUCKETS / 20;
    }
    /* 5 % of 10,000 users; four standard deviations of a binomial are 87 */
    assert_in_range(low, 500 - 87, 500 + 87);
}

static void test_a_page_of_another_layout_is_refused(void **state)
{
    (void)state;
    struct error_text error = {0};
    assert_int_equal(route_check(&page, &error), 0);
    ((struct route_header *)page_bytes)->version = LAYOUT_VERSION + 1;
    assert_true(route_check(&page, &error) < 0);
    assert_non_null(strstr(error.text, "upgrade"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_slot_is_copied_once_until_it_changes, setup),
        cmocka_unit_test_setup(test_buckets_map_to_versions_by_threshold, setup),
        cmocka_unit_test_setup(test_a_writer_that_died_leaves_the_old_view, setup),
        cmocka_unit_test_setup(test_forged_counts_are_bounded, setup),
        cmocka_unit_test_setup(test_a_slot_past_the_last_is_no_slot, setup),
        cmocka_unit_test_setup(test_draining_instances_are_told, setup),
        cmocka_unit_test_setup(test_a_rollout_splits_at_the_canary_s_share, setup),
        cmocka_unit_test_setup(test_without_a_rollout_its_fields_mean_nothing, setup),
        cmocka_unit_test_setup(test_forged_fields_of_a_rollout_are_bounded, setup),
        cmocka_unit_test_setup(test_rules_belong_to_the_view_that_they_are_copied_for, setup),
        cmocka_unit_test_setup(test_ejected_instances_are_left_out_until_they_are_most, setup),
        cmocka_unit_test_setup(test_sticky_buckets_spread_and_stay, setup),
        cmocka_unit_test_setup(test_a_page_of_another_layout_is_refused, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
