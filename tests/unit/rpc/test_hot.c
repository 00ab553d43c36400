#include "support/test.h"

#include <stdlib.h>
#include <string.h>

#include "rpc/internal.h"

#define COUNT 9 /* more than there is room for at first, and than it grows to next */
#define RING_LINES 4

/* Channels of nothing but a ring that a peer writes, which is this test. */
static struct hot hot;
static struct channel channels[COUNT];
static alignas(LAYOUT_LINE_BYTES) uint8_t rings[COUNT][RING_LINES * LAYOUT_LINE_BYTES];

static int setup(void **state)
{
    (void)state;
    memset(channels, 0, sizeof(channels));
    memset(rings, 0, sizeof(rings));
    for (size_t i = 0; i < COUNT; i++) {
        channels[i].peer.ring = rings[i];
        channels[i].peer.ring_lines = RING_LINES;
        assert_int_equal(hot_reserve(&hot), 0);
        hot_add(&hot, &channels[i]);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    hot_free(&hot);
    return 0;
}

static void publish(size_t channel, uint64_t position)
{
    struct ring_prefix *prefix =
        (struct ring_prefix *)(rings[channel] + position % RING_LINES * LAYOUT_LINE_BYTES);
    prefix->sequence = ring_sequence(position);
}

/* Who is found, from whose turn it is on; COUNT: nobody. */
static size_t find(uint32_t most)
{
    uint32_t i = hot_find(&hot, &most);
    return i == hot.count ? COUNT : (size_t)(hot.channels[i] - channels);
}

static void test_nothing_is_found_where_nothing_has_come(void **state)
{
    (void)state;
    assert_int_equal(find(UINT32_MAX), COUNT);
}

static void test_each_that_has_something_is_found_in_turn_and_around(void **state)
{
    (void)state;
    publish(2, 0);
    publish(7, 0);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(find(COUNT), 2);
        hot.next++;
        assert_int_equal(find(COUNT), 7);
        hot.next++;
    }
}

static void test_no_more_are_looked_at_than_asked_for(void **state)
{
    (void)state;
    uint32_t most = 3;
    publish(3, 0);
    assert_int_equal(hot_find(&hot, &most), hot.count);
    assert_int_equal(most, 0);
    assert_int_equal(hot.next, 3); /* where the next look goes on */
    most = 3;
    assert_int_equal(hot_find(&hot, &most), 3);
    assert_int_equal(most, 3);
}

static void test_a_ring_that_was_read_on_is_looked_at_further_on(void **state)
{
    (void)state;
    publish(4, 0);
    channels[4].peer.tail = 1;
    hot_update(&hot, &channels[4]);
    assert_int_equal(find(COUNT), COUNT);
    publish(4, 1);
    assert_int_equal(find(COUNT), 4);
}

static void test_what_is_not_in_the_ring_is_found_as_well(void **state)
{
    (void)state;
    channels[1].rang = true;
    hot_update(&hot, &channels[1]);
    assert_int_equal(find(COUNT), 1);
    channels[1].rang = false;
    hot_update(&hot, &channels[1]);
    channels[5].hung_up = true;
    hot_update(&hot, &channels[5]);
    assert_int_equal(find(COUNT), 5);
    channels[5].hung_up = false;
    hot_update(&hot, &channels[5]);
    channels[6].queue.count = 1;
    hot_update(&hot, &channels[6]);
    assert_int_equal(find(COUNT), 6);
}

static void test_who_has_left_is_not_found_and_all_others_are(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++)
        publish(i, 0);
    hot_remove(&hot, &channels[0]);
    hot_remove(&hot, &channels[COUNT - 1]);
    hot_remove(&hot, &channels[4]);
    unsigned found = 0;
    for (uint32_t i = 0; i < hot.count; i++, hot.next++) {
        const size_t channel = find(COUNT);
        assert_int_equal(hot.channels[hot.next], &channels[channel]);
        assert_int_equal(channels[channel].hot_index, hot.next);
        found |= 1u << channel;
    }
    assert_int_equal(found, ((1u << COUNT) - 1) & ~(1u | 1u << 4 | 1u << (COUNT - 1)));
}

static void test_the_last_one_leaves_an_empty_set(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++)
        hot_remove(&hot, &channels[i]);
    assert_int_equal(hot.count, 0);
    hot.next = COUNT;
    assert_int_equal(hot_find(&hot, &(uint32_t){COUNT}), 0);
}

/* ---- After a sleep ---- */

static struct parley_endpoint endpoint;
static struct segment_cells cells[COUNT];

/* As they are when all have gone to sleep; the last of them first. */
static void all_are_cold(void)
{
    endpoint = (struct parley_endpoint){.pass = 2 * HOT_QUIET_PASSES_MAX};
    TAILQ_INIT(&endpoint.cold);
    for (size_t i = 0; i < COUNT; i++) {
        channels[i].endpoint = &endpoint;
        channels[i].state = CHANNEL_UP;
        channels[i].service_side = true;
        channels[i].pass = endpoint.pass;
        channels[i].ours.cells = &cells[i];
        asleep_set(&channels[i].ours, &channels[i].peer, ASLEEP_BELL);
        TAILQ_INSERT_TAIL(&endpoint.cold, &channels[i], entry);
        assert_int_equal(hot_reserve(&endpoint.hot), 0);
    }
}

static void test_who_went_cold_with_the_sleep_is_hot_again(void **state)
{
    (void)state;
    all_are_cold();
    hot_again(&endpoint);
    assert_int_equal(endpoint.hot.count, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(channels[i].awake);
        assert_int_equal(atomic_load(&cells[i].asleep), ASLEEP_NOT);
    }
    hot_free(&endpoint.hot);
}

static void test_who_had_been_quiet_stays_cold_and_so_does_who_went_before(void **state)
{
    (void)state;
    all_are_cold();
    channels[6].pass = endpoint.pass - HOT_QUIET_PASSES_MAX - 1;
    channels[7].pass = endpoint.pass - HOT_QUIET_PASSES_MAX;
    hot_again(&endpoint);
    assert_int_equal(endpoint.hot.count, 2);
    assert_true(channels[8].awake && channels[7].awake);
    hot_free(&endpoint.hot);
}

static void test_to_be_hot_again_is_not_to_have_been_called(void **state)
{
    (void)state;
    all_are_cold();
    channels[3].pass -= 7;
    hot_again(&endpoint);
    assert_int_equal(channels[3].pass, endpoint.pass - 7);
    hot_free(&endpoint.hot);
}

static void test_a_client_s_channels_and_those_that_are_paused_stay_cold(void **state)
{
    (void)state;
    all_are_cold();
    channels[2].service_side = false;
    channels[3].paused = true;
    hot_again(&endpoint);
    assert_int_equal(endpoint.hot.count, COUNT - 2);
    assert_false(channels[2].awake || channels[3].awake);
    hot_free(&endpoint.hot);
}

/* One more than there may be. */
static void test_no_more_are_made_hot_again_than_64(void **state)
{
    (void)state;
    static struct channel many[HOT_AGAIN_MAX + 1];
    static struct segment_cells many_cells[HOT_AGAIN_MAX + 1];
    endpoint = (struct parley_endpoint){0};
    TAILQ_INIT(&endpoint.cold);
    for (size_t i = 0; i <= HOT_AGAIN_MAX; i++) {
        many[i] =
            (struct channel){.endpoint = &endpoint, .state = CHANNEL_UP, .service_side = true};
        many[i].ours.cells = &many_cells[i];
        many[i].peer.ring = rings[0];
        many[i].peer.ring_lines = RING_LINES;
        TAILQ_INSERT_TAIL(&endpoint.cold, &many[i], entry);
        assert_int_equal(hot_reserve(&endpoint.hot), 0);
    }
    hot_again(&endpoint);
    assert_int_equal(endpoint.hot.count, HOT_AGAIN_MAX);
    assert_false(many[0].awake);
    hot_free(&endpoint.hot);
}

#define hot_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        hot_test(test_nothing_is_found_where_nothing_has_come),
        hot_test(test_each_that_has_something_is_found_in_turn_and_around),
        hot_test(test_no_more_are_looked_at_than_asked_for),
        hot_test(test_a_ring_that_was_read_on_is_looked_at_further_on),
        hot_test(test_what_is_not_in_the_ring_is_found_as_well),
        hot_test(test_who_has_left_is_not_found_and_all_others_are),
        hot_test(test_the_last_one_leaves_an_empty_set),
        hot_test(test_who_went_cold_with_the_sleep_is_hot_again),
        hot_test(test_who_had_been_quiet_stays_cold_and_so_does_who_went_before),
        hot_test(test_to_be_hot_again_is_not_to_have_been_called),
        hot_test(test_a_client_s_channels_and_those_that_are_paused_stay_cold),
        hot_test(test_no_more_are_made_hot_again_than_64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
