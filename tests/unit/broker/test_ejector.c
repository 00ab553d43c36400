/* Ejection as the broker does it: whose figures count, what the route page says. */
#include "peers.h"

#include "base/clock.h"

static struct broker *broker;
static struct peer services[3], clients[3];
static struct set v1;
static uint64_t now_ns;

static int begin(void **state)
{
    (void)state;
    broker = broker_start(NULL);
    set_make(&v1, "things", "1.0.0", "things.v1", NULL, 2);
    for (uint64_t i = 0; i < 3; i++) {
        peer_join(&services[i], broker, "service");
        publish(&services[i], i + 1, &v1);
    }
    for (uint64_t i = 0; i < 3; i++) {
        peer_join(&clients[i], broker, "client");
        say_open(&clients[i], 1, &v1, NULL);
        (void)hear_opened(&clients[i], 1, PARLEY_OK);
        (void)hear_instances(&clients[i], 3, 0, 0);
    }
    now_ns = clock_now_ns();
    return 0;
}

static int end(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        peer_leave(&services[i]);
        peer_leave(&clients[i]);
    }
    broker_free(broker);
    set_free(&v1);
    return 0;
}

static void bump(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_store(counter, atomic_load(counter) + by);
}

/* The peer's place of that index says that so many calls to the instance ended since. */
static void count(const struct peer *peer, unsigned index, uint64_t instance_id, uint64_t ended,
                  uint64_t failed)
{
    uint8_t *base = peer->stats.base;
    struct stats_header *header = peer->stats.base;
    struct stats_instance *place = (struct stats_instance *)(base + STATS_INSTANCES_OFFSET) + index;
    if (atomic_load(&header->instance_count) <= index)
        atomic_store(&header->instance_count, index + 1);
    atomic_store(&place->instance_id, instance_id);
    bump(&place->ended, ended);
    bump(&place->failed, failed);
    atomic_store(&place->failed_in_a_row,
                 failed == ended ? place->failed_in_a_row + (uint32_t)failed : 0);
}

static void calls(const struct peer *peer, uint64_t failed_of_second)
{
    count(peer, 0, 1, 100, 0);
    count(peer, 1, 2, 100, failed_of_second);
    count(peer, 2, 3, 100, 0);
}

static void look(void)
{
    now_ns += 8 * NS_PER_S;
    ejector_turn(broker, now_ns);
}

static unsigned states_of(enum route_instance_state wanted)
{
    const struct route_slot *slot = route_slot(&clients[0], 0);
    unsigned found = 0;
    for (uint32_t i = 0; i < slot->instance_count; i++)
        found |= (unsigned)(slot->instance_state[i] == wanted) << slot->instance_id[i];
    return found; /* a bit for each id */
}

static void set_user(const struct peer *peer, uid_t uid)
{
    struct endpoint *endpoint;
    HASH_FIND(hh, broker->endpoints_by_id, &peer->id, sizeof(peer->id), endpoint);
    assert_non_null(endpoint);
    endpoint->peer.uid = uid;
}

static void test_the_one_that_fails_is_ejected_and_restored(void **state)
{
    (void)state;
    calls(&clients[0], 100);
    look();
    assert_int_equal(states_of(ROUTE_INSTANCE_EJECTED), 1u << 2);
    assert_int_equal(states_of(ROUTE_INSTANCE_UP), 1u << 1 | 1u << 3);
    assert_int_equal(ejector_count(broker), 1);
    look(); /* 8 s later; it is 10 that it takes */
    assert_int_equal(states_of(ROUTE_INSTANCE_EJECTED), 1u << 2);
    look();
    assert_int_equal(states_of(ROUTE_INSTANCE_EJECTED), 0);
    assert_int_equal(broker->ejector.ejections, 1);
}

static void test_old_failures_do_not_count_again(void **state)
{
    (void)state;
    calls(&clients[0], 100);
    look();
    for (int i = 0; i < 5; i++)
        look();
    assert_int_equal(broker->ejector.ejections, 1);
    assert_int_equal(states_of(ROUTE_INSTANCE_EJECTED), 0);
}

static void test_a_place_that_is_used_anew_begins_at_nothing(void **state)
{
    (void)state;
    count(&clients[0], 0, 1, 1000, 0);
    count(&clients[0], 2, 3, 1000, 0);
    count(&clients[0], 1, 2, 1000, 0);
    look();
    struct stats_instance *place =
        (struct stats_instance *)((uint8_t *)clients[0].stats.base + STATS_INSTANCES_OFFSET) + 1;
    atomic_store(&place->ended, 0);
    atomic_store(&place->failed, 0);
    count(&clients[0], 1, 2, 60, 60);
    count(&clients[0], 0, 1, 60, 0);
    look();
    assert_int_equal(states_of(ROUTE_INSTANCE_EJECTED), 1u << 2);
}

static void test_one_user_of_two_cannot_eject(void **state)
{
    (void)state;
    set_user(&clients[1], 12345);
    calls(&clients[0], 0);
    calls(&clients[1], 100);
    look();
    assert_int_equal(states_of(ROUTE_INSTANCE_EJECTED), 0);
    calls(&clients[0], 100);
    calls(&clients[1], 100);
    look();
    assert_int_equal(states_of(ROUTE_INSTANCE_EJECTED), 1u << 2);
}

static void test_two_users_of_three_can(void **state)
{
    (void)state;
    set_user(&clients[1], 12345);
    set_user(&clients[2], 12346);
    calls(&clients[0], 100);
    calls(&clients[1], 0);
    calls(&clients[2], 100);
    look();
    assert_int_equal(states_of(ROUTE_INSTANCE_EJECTED), 1u << 2);
}

static void test_who_has_no_contract_has_no_say(void **state)
{
    (void)state;
    calls(&services[0], 100);
    look();
    assert_int_equal(states_of(ROUTE_INSTANCE_EJECTED), 0);
}

static void test_impossible_counters_bring_nothing_down(void **state)
{
    (void)state;
    struct stats_header *header = clients[0].stats.base;
    calls(&clients[0], 0);
    look();
    count(&clients[0], 1, 2, 5, UINT64_MAX / 2); /* more failures than calls */
    count(&clients[0], 0, 1, (uint64_t)-50, 0);  /* backwards */
    count(&clients[0], 2, UINT64_MAX, 1, 1);     /* nobody's */
    atomic_store(&header->instance_count, UINT32_MAX);
    look();
    assert_true(states_of(ROUTE_INSTANCE_UP) != 0);
}

static void test_only_one_of_three_is_ejected(void **state)
{
    (void)state;
    count(&clients[0], 0, 1, 100, 49);
    count(&clients[0], 1, 2, 100, 49);
    count(&clients[0], 2, 3, 1000, 0);
    look();
    assert_int_equal(ejector_count(broker), 1);
}

static void test_without_two_instances_there_is_no_timer(void **state)
{
    (void)state;
    broker_settle(broker);
    assert_true(ejector_next_ns(broker) != CLOCK_NEVER);
    peer_leave(&services[0]);
    peer_leave(&services[1]);
    broker_settle(broker);
    look();
    assert_true(ejector_next_ns(broker) == CLOCK_NEVER);
}

#define ejector_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ejector_test(test_the_one_that_fails_is_ejected_and_restored),
        ejector_test(test_old_failures_do_not_count_again),
        ejector_test(test_a_place_that_is_used_anew_begins_at_nothing),
        ejector_test(test_one_user_of_two_cannot_eject),
        ejector_test(test_two_users_of_three_can),
        ejector_test(test_who_has_no_contract_has_no_say),
        ejector_test(test_impossible_counters_bring_nothing_down),
        ejector_test(test_only_one_of_three_is_ejected),
        ejector_test(test_without_two_instances_there_is_no_timer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
