/* Rings of spans that endpoints write as they like, and what the broker makes of them. */
#include "peers.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

static struct broker *broker;
static struct peer peer;
static struct region ring;

static struct spans_header *header_of(const struct region *region)
{
    return region->base;
}

static void make_ring(struct region *region, uint64_t endpoint_id)
{
    struct error_text error;
    size_t bytes = SPANS_SLOTS_OFFSET + SPANS_SLOT_COUNT * sizeof(struct spans_slot);
    assert_int_equal(region_create(region, "test-spans", bytes, &error), 0);
    struct spans_header *header = region->base;
    header->magic = SPANS_MAGIC;
    header->version = LAYOUT_VERSION;
    header->slot_count = SPANS_SLOT_COUNT;
    header->slot_bytes = sizeof(struct spans_slot);
    header->endpoint_id = endpoint_id;
}

static void say_spans(struct peer *whose, const struct region *region)
{
    Parley__Spans spans = PARLEY__SPANS__INIT;
    peer_say(whose, PARLEY__LINK_MESSAGE__BODY_SPANS, &spans, &region->fd, 1);
    broker_settle(broker);
}

static void name_cell(struct peer *whose, unsigned index, const char *method, uint32_t side)
{
    struct stats_cell *cell =
        (struct stats_cell *)((uint8_t *)whose->stats.base + STATS_CELLS_OFFSET) + index;
    strcpy(cell->interface_name, "things");
    strcpy(cell->method, method);
    strcpy(cell->asked, "1.0.0");
    strcpy(cell->served, "2.0.0");
    cell->side = side;
    struct stats_header *header = whose->stats.base;
    header->cell_count = index + 1;
}

static int begin(void **state)
{
    (void)state;
    broker = broker_start(NULL);
    assert_int_equal(trace_set(broker, true, 1000), 0);
    peer_join(&peer, broker, "tracer");
    name_cell(&peer, 0, "Get", 0);
    name_cell(&peer, 1, "Get", 1);
    make_ring(&ring, peer.id);
    return 0;
}

static int end(void **state)
{
    (void)state;
    peer_leave(&peer);
    region_deinit(&ring);
    broker_free(broker);
    return 0;
}

/* A span as an endpoint writes it, but for what @words says. */
static void put(const uint64_t words[SPANS_WORDS])
{
    struct spans_header *header = ring.base;
    struct spans_slot *slots = (struct spans_slot *)((uint8_t *)ring.base + SPANS_SLOTS_OFFSET);
    struct spans_slot *slot = &slots[header->written % SPANS_SLOT_COUNT];
    header->begun = header->written + 1;
    for (unsigned i = 0; i < SPANS_WORDS; i++)
        slot->word[i] = words[i];
    header->written = header->begun;
}

static uint64_t rest(unsigned cell, unsigned status)
{
    return (uint64_t)cell << SPANS_CELL_SHIFT | (uint64_t)status << SPANS_STATUS_SHIFT;
}

static void put_plain(uint64_t trace, uint64_t span, uint64_t took, uint64_t rest_word)
{
    put((const uint64_t[SPANS_WORDS]){trace, 1, span, 0, clock_now_ns() - took, took, 0,
                                      rest_word});
}

/* What the control API answers; wire_free(). */
static const Parley__ControlReply *ask(const Parley__TraceRequest *trace)
{
    static ProtobufCMessage *last;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_TRACE;
    request.trace = (Parley__TraceRequest *)(uintptr_t)trace;
    uint8_t data[512], *answer;
    size_t bytes = parley__control_request__pack(&request, data), answer_bytes;
    assert_true(bytes <= sizeof(data));
    assert_int_equal(control_handle(broker, data, bytes, NULL, &answer, &answer_bytes), 0);
    struct error_text error;
    wire_free(last);
    assert_int_equal(
        wire_unpack(&parley__control_reply__descriptor, answer, answer_bytes, NULL, &last, &error),
        0);
    free(answer);
    return (const Parley__ControlReply *)last;
}

static const Parley__TraceReply *ask_ok(const Parley__TraceRequest *trace)
{
    const Parley__ControlReply *reply = ask(trace);
    assert_int_equal(reply->status, PARLEY_OK);
    assert_int_equal(reply->body_case, PARLEY__CONTROL_REPLY__BODY_TRACE);
    return reply->trace;
}

static const Parley__TraceRequest everything = PARLEY__TRACE_REQUEST__INIT;

/* The static reply is freed. */
static void forget(void)
{
    Parley__TraceRequest request = everything;
    request.has_limit = true;
    request.limit = 1;
    (void)ask(&request);
}

static void test_a_span_is_read_as_it_was_written(void **state)
{
    (void)state;
    say_spans(&peer, &ring);
    uint64_t now = clock_now_ns();
    put((const uint64_t[SPANS_WORDS]){
        0x1111, 0x2222, 0x3333, 0x4444, now - 5000, 3000, 7777 | UINT64_C(1000) << 32,
        UINT64_C(250) | rest(1, PARLEY_NOT_FOUND) | UINT64_C(2) << SPANS_CLASS_SHIFT |
            UINT64_C(1) << SPANS_EXECUTED_SHIFT | UINT64_C(3) << SPANS_ATTEMPTS_SHIFT |
            UINT64_C(1) << SPANS_ONE_WAY_SHIFT});
    const Parley__TraceReply *trace = ask_ok(&everything);
    assert_int_equal(trace->n_span, 1);
    const Parley__Span *span = trace->span[0];
    uint64_t id = 0x3333, parent = 0x4444, trace_id[2] = {0x1111, 0x2222};
    assert_int_equal(span->trace_id.len, 16);
    assert_memory_equal(span->trace_id.data, trace_id, 16);
    assert_memory_equal(span->span_id.data, &id, 8);
    assert_true(span->has_parent_id);
    assert_memory_equal(span->parent_id.data, &parent, 8);
    assert_true(span->service);
    assert_string_equal(span->interface, "things");
    assert_string_equal(span->method, "Get");
    assert_string_equal(span->asked, "1.0.0");
    assert_string_equal(span->served, "2.0.0");
    assert_string_equal(span->endpoint, "tracer");
    assert_int_equal(span->pid, getpid());
    assert_int_equal(span->duration_ns, 3000);
    assert_int_equal(span->crossing_ns, 250);
    assert_int_equal(span->status, PARLEY_NOT_FOUND);
    assert_int_equal(span->translation, 2);
    assert_int_equal(span->executed, 1);
    assert_int_equal(span->attempts, 3);
    assert_true(span->one_way);
    assert_int_equal(span->peer_pid, 7777);
    assert_true(trace->on);
    assert_int_equal(trace->rate_per_100000, 1000);
    assert_int_equal(trace->lost + trace->bad, 0);
    forget();
}

static void test_what_is_overwritten_is_counted_as_lost(void **state)
{
    (void)state;
    say_spans(&peer, &ring);
    for (unsigned i = 0; i < SPANS_SLOT_COUNT; i++)
        put_plain(1, i + 1, 10, rest(0, 0));
    assert_int_equal(ask_ok(&everything)->lost, 0); /* as many as there are places */
    for (unsigned i = 0; i < SPANS_SLOT_COUNT + 5; i++)
        put_plain(2, i + 1, 10, rest(0, 0));
    const Parley__TraceReply *trace = ask_ok(&everything);
    assert_int_equal(trace->lost, 5);
    assert_int_equal(trace->read, 2 * SPANS_SLOT_COUNT);
    forget();
}

static void test_a_span_that_is_being_overwritten_is_lost(void **state)
{
    (void)state;
    say_spans(&peer, &ring);
    for (unsigned i = 0; i < SPANS_SLOT_COUNT; i++)
        put_plain(1, i + 1, 10, rest(0, 0));
    header_of(&ring)->begun++; /* the writer is at the first place again, and not yet done */
    const Parley__TraceReply *trace = ask_ok(&everything);
    assert_int_equal(trace->lost, 1);
    assert_int_equal(trace->read, SPANS_SLOT_COUNT - 1);
    forget();
}

static void test_forged_positions_end_nothing(void **state)
{
    (void)state;
    say_spans(&peer, &ring);
    put_plain(1, 1, 10, rest(0, 0));
    assert_int_equal(ask_ok(&everything)->read, 1);
    header_of(&ring)->written = 0; /* backwards */
    assert_int_equal(ask_ok(&everything)->bad, 1);
    header_of(&ring)->written = UINT64_MAX;
    assert_int_equal(ask_ok(&everything)->bad, 2);
    header_of(&ring)->written = 17;
    header_of(&ring)->begun = UINT64_MAX / 2;
    (void)ask_ok(&everything);
    header_of(&ring)->begun = header_of(&ring)->written;
    put_plain(3, 9, 10, rest(0, 0));
    const Parley__TraceReply *trace = ask_ok(&everything);
    assert_true(trace->n_span > 0);
    assert_true(trace->lost < 10 * SPANS_SLOT_COUNT);
    assert_int_equal(*(uint64_t *)trace->span[trace->n_span - 1]->span_id.data, 9);
    forget();
}

static void test_forged_values_are_bounded(void **state)
{
    (void)state;
    say_spans(&peer, &ring);
    uint64_t before = clock_now_ns();
    put((const uint64_t[SPANS_WORDS]){1, 0, 1, 0, UINT64_MAX, UINT64_MAX, 0,
                                      rest(0, 255) | 0xffffffff});
    put((const uint64_t[SPANS_WORDS]){1, 0, 2, 0, before - 100, UINT64_MAX, 0,
                                      UINT64_MAX & ~(UINT64_C(0xff) << SPANS_CELL_SHIFT)});
    const Parley__TraceReply *trace = ask_ok(&everything);
    assert_int_equal(trace->n_span, 2);
    assert_int_equal(trace->span[0]->duration_ns, 0);
    assert_int_equal(trace->span[0]->status, PARLEY_UNKNOWN);
    assert_true(trace->span[1]->duration_ns >= 100);
    assert_true(trace->span[1]->duration_ns < NS_PER_S * 60);
    assert_true(trace->span[1]->translation <= 3);
    assert_true(trace->span[1]->executed <= 2);
    assert_int_equal(trace->bad, 0);
    /* Not a cell that there is; at the limit and past it; no ids. */
    put_plain(1, 1, 10, rest(2, 0));
    put_plain(1, 1, 10, rest(63, 0));
    put_plain(1, 1, 10, rest(64, 0));
    put_plain(1, 1, 10, rest(255, 0));
    put_plain(1, 0, 10, rest(0, 0));
    put((const uint64_t[SPANS_WORDS]){0, 0, 1, 0, before, 1, 0, rest(0, 0)});
    trace = ask_ok(&everything);
    assert_int_equal(trace->n_span, 2);
    assert_int_equal(trace->bad, 6);
    forget();
}

static void test_names_are_taken_once_and_cleaned(void **state)
{
    (void)state;
    say_spans(&peer, &ring);
    struct stats_cell *cell =
        (struct stats_cell *)((uint8_t *)peer.stats.base + STATS_CELLS_OFFSET);
    memset(cell->method, '\xff', sizeof(cell->method));
    put_plain(1, 1, 10, rest(0, 0));
    (void)ask_ok(&everything);
    strcpy(cell->method, "Other"); /* names never change; this one's do */
    put_plain(1, 2, 10, rest(0, 0));
    const Parley__TraceReply *trace = ask_ok(&everything);
    assert_int_equal(trace->n_span, 2);
    assert_int_equal(strspn(trace->span[0]->method, "?"), STATS_NAME_BYTES - 1);
    assert_string_equal(trace->span[1]->method, trace->span[0]->method);
    forget();
}

static void test_a_foreign_ring_and_a_second_one_are_refused(void **state)
{
    (void)state;
    struct peer other;
    struct region wrong;
    peer_join(&other, broker, "other");
    say_spans(&other, &ring); /* says another id */
    peer_is_refused(&other, PARLEY_INVALID_ARGUMENT, "the ring of spans: not this endpoint's");
    peer_leave(&other);

    peer_join(&other, broker, "other");
    make_ring(&wrong, other.id);
    header_of(&wrong)->slot_count = SPANS_SLOT_COUNT * 2;
    say_spans(&other, &wrong);
    peer_is_refused(&other, PARLEY_INVALID_ARGUMENT, "the ring of spans");
    peer_leave(&other);
    region_deinit(&wrong);

    peer_join(&other, broker, "other");
    say_spans(&other, &other.stats); /* of another kind and size */
    peer_is_refused(&other, PARLEY_INVALID_ARGUMENT, "the ring of spans");
    peer_leave(&other);

    say_spans(&peer, &ring);
    say_spans(&peer, &ring);
    peer_is_refused(&peer, PARLEY_INVALID_ARGUMENT, "a second ring of spans");
}

static void test_the_last_spans_of_who_leaves_are_read(void **state)
{
    (void)state;
    say_spans(&peer, &ring);
    put_plain(1, 1, 10, rest(0, 0));
    peer_leave(&peer);
    broker_settle(broker);
    const Parley__TraceReply *trace = ask_ok(&everything);
    assert_int_equal(trace->n_span, 1);
    assert_string_equal(trace->span[0]->endpoint, "tracer");
    assert_int_equal(broker->tracer.rings, 0);
    assert_int_equal(trace_next_ns(broker), CLOCK_NEVER);
    forget();
}

static void test_the_newest_spans_are_kept_and_numbered(void **state)
{
    (void)state;
    say_spans(&peer, &ring);
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < SPANS_SLOT_COUNT; i++)
            put_plain(1, round * SPANS_SLOT_COUNT + i + 1, 10, rest(0, 0));
        trace_read(broker);
    }
    Parley__TraceRequest request = everything;
    const Parley__TraceReply *trace = ask_ok(&request);
    assert_int_equal(trace->n_span, TRACE_REPLY_MAX); /* the newest */
    assert_int_equal(trace->span[0]->number, 5 * SPANS_SLOT_COUNT - TRACE_REPLY_MAX);
    assert_int_equal(trace->next, 5 * SPANS_SLOT_COUNT);
    /* From a number on, which is gone: the oldest that are left, and then the next ones. */
    request.has_since = true;
    uint64_t number = SPANS_SLOT_COUNT; /* 5 * 1,024 - 4,096 */
    for (unsigned i = 0; i < 4; i++) {
        trace = ask_ok(&request);
        assert_int_equal(trace->n_span, TRACE_REPLY_MAX);
        for (size_t j = 0; j < trace->n_span; j++)
            assert_int_equal(trace->span[j]->number, number++);
        request.since = trace->next;
    }
    trace = ask_ok(&request);
    assert_int_equal(trace->n_span, 0);
    assert_int_equal(trace->next, number);
    request.since = UINT64_MAX;
    assert_int_equal(ask_ok(&request)->n_span, 0);
    request.has_since = false;
    request.has_limit = true;
    request.limit = 3;
    trace = ask_ok(&request);
    assert_int_equal(trace->n_span, 3);
    assert_int_equal(trace->span[2]->number, number - 1);
    forget();
}

static void test_filters_choose(void **state)
{
    (void)state;
    say_spans(&peer, &ring);
    put_plain(1, 1, 10, rest(0, PARLEY_OK));
    put_plain(1, 2, 2000, rest(0, PARLEY_UNAVAILABLE));
    put_plain(2, 3, 3000, rest(1, PARLEY_INTERNAL));
    Parley__TraceRequest request = everything;
    request.has_failed = request.failed = true;
    assert_int_equal(ask_ok(&request)->n_span, 2);
    request.has_failed = request.failed = false;
    request.has_status = true;
    request.status = PARLEY_INTERNAL;
    assert_int_equal(ask_ok(&request)->n_span, 1);
    request.has_status = false;
    request.has_min_duration_ns = true;
    request.min_duration_ns = 2000;
    assert_int_equal(ask_ok(&request)->n_span, 2);
    request.min_duration_ns = 2001;
    assert_int_equal(ask_ok(&request)->n_span, 1);
    request.has_min_duration_ns = false;
    request.min_duration_ns = 0;
    uint64_t id[2] = {1, 1};
    request.has_trace_id = true;
    request.trace_id = (ProtobufCBinaryData){16, (uint8_t *)id};
    assert_int_equal(ask_ok(&request)->n_span, 2);
    request.has_trace_id = false;
    request.interface = (char *)(uintptr_t) "things";
    assert_int_equal(ask_ok(&request)->n_span, 3);
    request.interface = (char *)(uintptr_t) "others";
    assert_int_equal(ask_ok(&request)->n_span, 0);
    forget();
}

static uint32_t page(void)
{
    const struct route_header *header = peer.route.base;
    return header->trace_per_100000;
}

static void test_the_rate_is_in_the_route_page(void **state)
{
    (void)state;
    assert_int_equal(page(), ROUTE_TRACE_ON | 1000);
    Parley__TraceRequest request = everything;
    request.has_rate_per_100000 = true;
    request.rate_per_100000 = ROUTE_BUCKETS;
    assert_int_equal(ask_ok(&request)->rate_per_100000, ROUTE_BUCKETS);
    assert_int_equal(page(), ROUTE_TRACE_ON | ROUTE_BUCKETS);
    request.rate_per_100000 = ROUTE_BUCKETS + 1;
    assert_int_equal(ask(&request)->status, PARLEY_INVALID_ARGUMENT);
    assert_int_equal(page(), ROUTE_TRACE_ON | ROUTE_BUCKETS);
    request.rate_per_100000 = 0;
    assert_true(ask_ok(&request)->on);
    assert_int_equal(page(), ROUTE_TRACE_ON);
    request.has_rate_per_100000 = false;
    request.has_off = request.off = true;
    assert_false(ask_ok(&request)->on);
    assert_int_equal(page(), 0);
    uint8_t id[17] = {1};
    request = everything;
    request.has_trace_id = true;
    request.trace_id = (ProtobufCBinaryData){17, id};
    assert_int_equal(ask(&request)->status, PARLEY_INVALID_ARGUMENT);
    request.trace_id.len = 15;
    assert_int_equal(ask(&request)->status, PARLEY_INVALID_ARGUMENT);
    forget();
}

/* Nothing is read, and there is no timer, unless tracing is on and somebody has a ring. */
static void test_there_is_no_timer_while_there_is_nothing_to_read(void **state)
{
    (void)state;
    assert_int_equal(trace_next_ns(broker), CLOCK_NEVER);
    say_spans(&peer, &ring);
    assert_true(trace_next_ns(broker) != CLOCK_NEVER);
    assert_int_equal(trace_set(broker, false, 0), 0);
    assert_int_equal(trace_next_ns(broker), CLOCK_NEVER);
}

static void test_a_broker_that_never_traced_keeps_no_memory_for_it(void **state)
{
    (void)state;
    struct broker *plain = broker_start(NULL);
    struct broker *traced = broker;
    struct peer other;
    assert_null(plain->tracer.kept);
    broker = plain;
    peer_join(&other, broker, "other");
    say_spans(&other, &(struct region){.fd = ring.fd}); /* refused: another's */
    peer_leave(&other);
    const Parley__TraceReply *trace = ask_ok(&everything);
    assert_false(trace->on);
    assert_int_equal(trace->n_span, 0);
    forget();
    assert_null(plain->tracer.kept);
    broker_free(plain);
    broker = traced;
}

#define TRACE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TRACE(test_a_span_is_read_as_it_was_written),
        TRACE(test_what_is_overwritten_is_counted_as_lost),
        TRACE(test_a_span_that_is_being_overwritten_is_lost),
        TRACE(test_forged_positions_end_nothing),
        TRACE(test_forged_values_are_bounded),
        TRACE(test_names_are_taken_once_and_cleaned),
        TRACE(test_a_foreign_ring_and_a_second_one_are_refused),
        TRACE(test_the_last_spans_of_who_leaves_are_read),
        TRACE(test_the_newest_spans_are_kept_and_numbered),
        TRACE(test_filters_choose),
        TRACE(test_the_rate_is_in_the_route_page),
        TRACE(test_there_is_no_timer_while_there_is_nothing_to_read),
        TRACE(test_a_broker_that_never_traced_keeps_no_memory_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
