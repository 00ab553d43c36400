/* Pages that endpoints write as they like, and what the broker makes of them. */
#include "peers.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/histogram.h"

static struct broker *broker;
static struct peer peer;

static int begin(void **state)
{
    (void)state;
    broker = broker_start(NULL);
    peer_join(&peer, broker, "counter");
    return 0;
}

static int end(void **state)
{
    (void)state;
    peer_leave(&peer);
    broker_free(broker);
    return 0;
}

static struct stats_header *header(void)
{
    return peer.stats.base;
}

static struct stats_cell *cell_of(struct peer *whose, unsigned index)
{
    return (struct stats_cell *)((uint8_t *)whose->stats.base + STATS_CELLS_OFFSET) + index;
}

static void name_cell(struct stats_cell *cell, const char *method, uint32_t side)
{
    strcpy(cell->interface_name, "things");
    strcpy(cell->method, method);
    strcpy(cell->asked, "1.0.0");
    strcpy(cell->served, "2.0.0");
    cell->side = side;
}

static Parley__Stats read_stats(void)
{
    Parley__Stats stats;
    assert_int_equal(stats_reply(broker, false, &stats), 0);
    return stats;
}

static void test_counters_of_all_endpoints_are_summed_by_name(void **state)
{
    (void)state;
    struct peer other;
    peer_join(&other, broker, "other");
    struct peer *both[] = {&peer, &other};
    for (unsigned i = 0; i < 2; i++) {
        struct stats_cell *cell = cell_of(both[i], i); /* wherever it is */
        name_cell(cell, "Get", 0);
        cell->started = 10;
        cell->by_status[PARLEY_OK] = 7;
        cell->by_status[PARLEY_UNAVAILABLE] = 1;
        cell->translated = 5;
        cell->retried = 2;
        cell->bucket[histogram_bucket(1000)] = 8;
        struct stats_header *head = both[i]->stats.base;
        head->cell_count = i + 1;
        head->ring_full = 3 + i;
        head->late_replies = 10 + i;
    }
    Parley__Stats stats = read_stats();
    /* The other's first cell has no name, but is counted as what it says. */
    assert_int_equal(stats.n_method, 2);
    assert_int_equal(stats.ring_full, 7);
    assert_int_equal(stats.late_replies, 21);
    const Parley__MethodStats *get = stats.method[1];
    assert_string_equal(get->interface, "things");
    assert_string_equal(get->method, "Get");
    assert_string_equal(get->asked, "1.0.0");
    assert_string_equal(get->served, "2.0.0");
    assert_int_equal(get->side, PARLEY__SIDE__CLIENT);
    assert_int_equal(get->calls, 20);
    assert_int_equal(get->by_status[PARLEY_OK], 14);
    assert_int_equal(get->by_status[PARLEY_UNAVAILABLE], 2);
    assert_int_equal(get->n_by_status, 17);
    assert_int_equal(get->translated, 10);
    assert_int_equal(get->retried, 4);
    assert_int_equal(get->in_flight, 4);
    assert_int_equal(get->latency->count, 16);
    assert_int_equal(get->latency->n_bucket, histogram_bucket(1000) + 1);
    assert_true(get->latency->p50_ns > 875 && get->latency->p50_ns < 1125);
    stats_reply_free(&stats);

    /* What left stays counted, but nothing of it is in flight. */
    peer_leave(&other);
    broker_settle(broker);
    stats = read_stats();
    assert_int_equal(stats.method[stats.n_method - 1]->calls, 20);
    assert_int_equal(stats.method[stats.n_method - 1]->in_flight, 2);
    assert_int_equal(stats.ring_full, 7);
    assert_int_equal(stats.late_replies, 21);
    stats_reply_free(&stats);
}

static void test_client_and_service_side_are_apart(void **state)
{
    (void)state;
    name_cell(cell_of(&peer, 0), "Get", 0);
    name_cell(cell_of(&peer, 1), "Get", 1);
    header()->cell_count = 2;
    Parley__Stats stats = read_stats();
    assert_int_equal(stats.n_method, 2);
    assert_int_equal(stats.method[0]->side, PARLEY__SIDE__CLIENT);
    assert_int_equal(stats.method[1]->side, PARLEY__SIDE__SERVICE);
    stats_reply_free(&stats);
}

static void test_forged_cell_count_is_bounded(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STATS_CELL_MAX; i++) {
        name_cell(cell_of(&peer, i), "M", 0);
        cell_of(&peer, i)->method[1] = (char)('0' + i);
    }
    header()->cell_count = UINT32_MAX;
    Parley__Stats stats = read_stats();
    assert_int_equal(stats.n_method, STATS_CELL_MAX);
    stats_reply_free(&stats);
}

static void test_forged_header_does_not_steer_after_hello(void **state)
{
    (void)state;
    name_cell(cell_of(&peer, 0), "Get", 0);
    header()->cell_count = 1;
    header()->cell_bytes = UINT32_MAX;
    header()->cell_max = UINT32_MAX;
    header()->version = 99;
    Parley__Stats stats = read_stats();
    assert_int_equal(stats.n_method, 1);
    assert_string_equal(stats.method[0]->method, "Get");
    stats_reply_free(&stats);
}

static void test_names_without_an_end_are_cut_and_cleaned(void **state)
{
    (void)state;
    struct stats_cell *cell = cell_of(&peer, 0);
    memset(cell->interface_name, 'i', sizeof(cell->interface_name));
    memset(cell->method, '\xff', sizeof(cell->method)); /* no UTF-8 */
    memset(cell->asked, '\n', sizeof(cell->asked));
    memset(cell->served, '2', sizeof(cell->served));
    cell->side = 77;
    header()->cell_count = 1;
    Parley__Stats stats = read_stats();
    assert_int_equal(stats.n_method, 1);
    assert_int_equal(strlen(stats.method[0]->interface), STATS_NAME_BYTES - 1);
    assert_int_equal(strspn(stats.method[0]->method, "?"), STATS_NAME_BYTES - 1);
    assert_int_equal(strspn(stats.method[0]->asked, "?"), STATS_VERSION_BYTES - 1);
    assert_int_equal(strlen(stats.method[0]->served), STATS_VERSION_BYTES - 1);
    assert_int_equal(stats.method[0]->side, PARLEY__SIDE__CLIENT);
    stats_reply_free(&stats);
}

static void test_more_ended_than_begun_is_nothing_in_flight(void **state)
{
    (void)state;
    struct stats_cell *cell = cell_of(&peer, 0);
    name_cell(cell, "Get", 0);
    cell->started = 1;
    cell->by_status[0] = UINT64_MAX;
    header()->cell_count = 1;
    Parley__Stats stats = read_stats();
    assert_int_equal(stats.method[0]->in_flight, 0);
    stats_reply_free(&stats);
}

static void test_names_are_bounded_and_the_rest_counts_as_other(void **state)
{
    (void)state;
    /* 17 endpoints that leave, of 64 names each: 1,088. */
    for (unsigned p = 0; p < 17; p++) {
        struct peer liar;
        peer_join(&liar, broker, "liar");
        for (unsigned i = 0; i < STATS_CELL_MAX; i++) {
            struct stats_cell *cell = cell_of(&liar, i);
            name_cell(cell, "M", 1);
            cell->method[1] = (char)('0' + i);
            cell->method[2] = (char)('A' + p);
            cell->started = cell->by_status[0] = 1;
        }
        ((struct stats_header *)liar.stats.base)->cell_count = STATS_CELL_MAX;
        peer_leave(&liar);
        broker_settle(broker);
    }
    Parley__Stats stats = read_stats();
    assert_int_equal(stats.n_method, STATS_SUM_MAX + 1);
    assert_string_equal(stats.method[0]->interface, "(other)");
    assert_int_equal(stats.method[0]->calls, 64);
    uint64_t calls = 0;
    for (size_t i = 0; i < stats.n_method; i++)
        calls += stats.method[i]->calls;
    assert_int_equal(calls, 17 * STATS_CELL_MAX);
    stats_reply_free(&stats);
}

static void test_json_says_the_same(void **state)
{
    (void)state;
    struct stats_cell *cell = cell_of(&peer, 0);
    name_cell(cell, "Get", 1);
    cell->started = 3;
    cell->by_status[PARLEY_OK] = 2;
    cell->by_status[PARLEY_NOT_FOUND] = 1;
    cell->bucket[histogram_bucket(5000)] = 3;
    header()->cell_count = 1;
    Parley__Stats stats;
    assert_int_equal(stats_reply(broker, true, &stats), 0);
    assert_int_equal(stats.n_method, 0);
    assert_false(stats.has_broker_id);
    json_error_t error;
    json_t *root = json_loads(stats.json, 0, &error);
    assert_non_null(root);
    json_t *method = json_array_get(json_object_get(root, "methods"), 0);
    assert_string_equal(json_string_value(json_object_get(method, "side")), "service");
    assert_string_equal(json_string_value(json_object_get(method, "method")), "Get");
    assert_int_equal(json_integer_value(json_object_get(method, "calls")), 3);
    json_t *by_status = json_object_get(method, "by_status");
    assert_int_equal(json_object_size(by_status), 2);
    assert_int_equal(json_integer_value(json_object_get(by_status, "NOT_FOUND")), 1);
    json_t *latency = json_object_get(method, "latency");
    assert_int_equal(json_integer_value(json_object_get(latency, "count")), 3);
    assert_int_equal(json_array_size(json_object_get(latency, "buckets")), 1);
    json_decref(root);
    stats_reply_free(&stats);
}

static void test_the_bus_and_the_broker_are_told(void **state)
{
    (void)state;
    struct set set;
    set_make(&set, "things", "1.0.0", "things.v1", NULL, 1);
    publish(&peer, 1, &set);
    broker_settle(broker);
    Parley__Stats stats = read_stats();
    assert_int_equal(stats.bus->endpoints, 1);
    assert_int_equal(stats.bus->interfaces, 1);
    assert_int_equal(stats.bus->versions, 1);
    assert_int_equal(stats.bus->instances, 1);
    assert_int_equal(stats.bus->schemas, 1);
    assert_int_equal(stats.bus->n_route, 1);
    assert_string_equal(stats.bus->route[0]->interface, "things");
    assert_string_equal(stats.bus->route[0]->version, "1.0.0");
    assert_int_equal(stats.bus->route[0]->share_per_100000, ROUTE_BUCKETS);
    assert_int_equal(stats.bus->route[0]->instances, 1);
    assert_true(stats.broker->private_bytes > 0);
    assert_true(stats.broker->private_bytes <= stats.broker->resident_bytes);
    assert_true(stats.broker->descriptors > 3);
    assert_true(stats.broker->turn->count > 0);
    assert_true(stats.broker->start_unix_ns < stats.time_unix_ns);
    stats_reply_free(&stats);
    set_free(&set);
}

static void test_faults_are_those_of_the_service_or_the_bus(void **state)
{
    (void)state;
    struct stats_cell *cell = cell_of(&peer, 0);
    name_cell(cell, "Get", 0);
    for (unsigned i = 0; i < STATS_STATUS_COUNT; i++)
        cell->by_status[i] = 1u << i;
    header()->cell_count = 1;
    Parley__Stats stats = read_stats();
    assert_int_equal(stats.method[0]->faults,
                     1u << PARLEY_UNKNOWN | 1u << PARLEY_DEADLINE_EXCEEDED |
                         1u << PARLEY_UNIMPLEMENTED | 1u << PARLEY_INTERNAL |
                         1u << PARLEY_UNAVAILABLE | 1u << PARLEY_DATA_LOSS);
    stats_reply_free(&stats);
}

#define STATS(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STATS(test_counters_of_all_endpoints_are_summed_by_name),
        STATS(test_client_and_service_side_are_apart),
        STATS(test_forged_cell_count_is_bounded),
        STATS(test_forged_header_does_not_steer_after_hello),
        STATS(test_names_without_an_end_are_cut_and_cleaned),
        STATS(test_more_ended_than_begun_is_nothing_in_flight),
        STATS(test_names_are_bounded_and_the_rest_counts_as_other),
        STATS(test_json_says_the_same),
        STATS(test_the_bus_and_the_broker_are_told),
        STATS(test_faults_are_those_of_the_service_or_the_bus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
