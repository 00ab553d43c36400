#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/internal.h"

#define CHANNELS 4
#define PICKS 2000 /* each of four is missed in all of them once in 10^249 times */

/* A client with channels of nothing but what is looked at when one is picked. */
static struct parley_endpoint endpoint;
static struct parley_client client;
static struct channel channels[CHANNELS];
static struct segment_cells cells[CHANNELS];
static unsigned picked[CHANNELS];

static void channel_init(size_t i, const char *version)
{
    (void)snprintf(channels[i].version, sizeof(channels[i].version), "%s", version);
    channels[i].state = CHANNEL_UP;
    channels[i].endpoint = &endpoint;
    channels[i].peer.cells = &cells[i];
    LIST_INSERT_HEAD(&client.channels, &channels[i], owner_entry);
}

/* A route of two versions; @first: the share of the first, in buckets. */
static void route_init(uint32_t first)
{
    client.view.version_count = 2;
    (void)snprintf(client.view.version[0], RPC_VERSION_BYTES, "1.0.0");
    (void)snprintf(client.view.version[1], RPC_VERSION_BYTES, "2.0.0");
    client.view.threshold[0] = first;
    client.view.threshold[1] = ROUTE_BUCKETS;
}

static int setup(void **state)
{
    (void)state;
    memset(&client, 0, sizeof(client));
    memset(channels, 0, sizeof(channels));
    memset(cells, 0, sizeof(cells));
    memset(picked, 0, sizeof(picked));
    endpoint = (struct parley_endpoint){.random = 4711};
    client.endpoint = &endpoint;
    return 0;
}

static void pick_plain(void)
{
    for (unsigned i = 0; i < PICKS; i++) {
        const struct channel *channel = client_pick_plain(&client);
        assert_non_null(channel);
        picked[channel - channels]++;
    }
}

static void all_of_one_version(void)
{
    for (size_t i = 0; i < CHANNELS; i++)
        channel_init(i, "1.0.0");
    client_live_update(&client);
    assert_true(client.live_plain);
}

static void test_all_instances_are_picked(void **state)
{
    (void)state;
    all_of_one_version();
    pick_plain();
    for (size_t i = 0; i < CHANNELS; i++)
        assert_true(picked[i] > 0);
}

static void test_who_has_the_most_of_our_calls_is_not_picked(void **state)
{
    (void)state;
    all_of_one_version();
    channels[2].in_flight = 1;
    pick_plain();
    assert_int_equal(picked[2], 0);
}

/* Once it has been asked for, as it is for each 16th call. */
static void test_who_says_that_it_is_busy_is_not_picked_any_more(void **state)
{
    (void)state;
    all_of_one_version();
    atomic_store(&cells[1].load, 3);
    pick_plain();
    memset(picked, 0, sizeof(picked));
    pick_plain();
    assert_int_equal(picked[1], 0);
    atomic_store(&cells[1].load, 0);
    pick_plain();
    assert_true(picked[1] > 0);
}

static void test_a_version_gets_its_share_of_plain_calls(void **state)
{
    (void)state;
    channel_init(0, "2.0.0");
    channel_init(1, "1.0.0");
    channel_init(2, "2.0.0");
    channel_init(3, "1.0.0");
    route_init(ROUTE_BUCKETS / 4);
    client_live_update(&client);
    assert_true(client.live_plain);
    pick_plain();
    /* 500 of 2,000 expected, 19 its standard deviation. */
    assert_in_range(picked[1] + picked[3], 300, 700);
    for (size_t i = 0; i < CHANNELS; i++)
        assert_true(picked[i] > 0);
}

static void test_a_version_without_share_is_not_picked(void **state)
{
    (void)state;
    channel_init(0, "2.0.0");
    channel_init(1, "1.0.0");
    channel_init(2, "1.0.0");
    route_init(ROUTE_BUCKETS);
    client_live_update(&client);
    pick_plain();
    assert_int_equal(picked[0], 0);
}

static void test_a_version_that_nobody_serves_is_left_to_the_long_way(void **state)
{
    (void)state;
    channel_init(0, "3.0.0"); /* not in the route */
    channel_init(1, "2.0.0");
    route_init(ROUTE_BUCKETS); /* all to 1.0.0 */
    client_live_update(&client);
    assert_null(client_pick_plain(&client));
    assert_ptr_equal(client_pick(&client, &(struct call){0}), &channels[0]); /* which knows */
}

static void test_a_lone_instance_without_share_is_no_plain_matter(void **state)
{
    (void)state;
    channel_init(0, "2.0.0");
    route_init(ROUTE_BUCKETS);
    client_live_update(&client);
    assert_false(client.live_plain);
}

#define pick_test(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        pick_test(test_all_instances_are_picked),
        pick_test(test_who_has_the_most_of_our_calls_is_not_picked),
        pick_test(test_who_says_that_it_is_busy_is_not_picked_any_more),
        pick_test(test_a_version_gets_its_share_of_plain_calls),
        pick_test(test_a_version_without_share_is_not_picked),
        pick_test(test_a_version_that_nobody_serves_is_left_to_the_long_way),
        pick_test(test_a_lone_instance_without_share_is_no_plain_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
