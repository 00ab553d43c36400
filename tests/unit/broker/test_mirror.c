/*
 * Mirrored calls, from the rollout in the route page to the statistics: the broker in one thread,
 * two versions of a service in two others, the client in the test's own.
 */
#include "support/test.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "broker/broker.h"
#include "rpc/rpc.h"
#include "support/served.h"
#include "ware_v1.parley.h"
#include "ware_v2.parley.h"

#define CALLS 200

enum mode { ALIKE, OTHER, FAILS, SILENT };

static struct parley_endpoint *caller;
static struct parley_client *client;
static _Atomic int mode;
static _Atomic unsigned mirrored, unmarked; /* by the canary */
static struct method {
    uint64_t sent, differ, failed, skipped, calls;
} counted;

/* ---- The bus ---- */

static void weigh_v1(Ware__V1__Store_Service *service, const Ware__V1__Ware *input,
                     Ware__V1__Ware_Closure closure, void *data)
{
    (void)service;
    if (parley_context_metadata(parley_context_current(), "parley.mirror", NULL))
        abort(); /* this is no copy */
    closure(input, data);
}

/* Calls that the canary has not answered; its thread's. */
#define SILENT_MAX 256
static struct {
    Ware__V2__Ware_Closure closure;
    void *data;
} silent[SILENT_MAX];
static unsigned silent_count;

static void weigh_v2(Ware__V2__Store_Service *service, const Ware__V2__Ware *input,
                     Ware__V2__Ware_Closure closure, void *data)
{
    (void)service;
    Ware__V2__Ware reply = *input;
    size_t bytes = 0;
    const char *mark = parley_context_metadata(parley_context_current(), "parley.mirror", &bytes);
    bool copy = mark && bytes == 1 && *mark == '1';
    atomic_fetch_add(copy ? &mirrored : &unmarked, 1);
    if (atomic_load(&mode) == SILENT && silent_count < SILENT_MAX) {
        silent[silent_count].closure = closure;
        silent[silent_count++].data = data;
        return; /* until the end */
    }
    if (atomic_load(&mode) == OTHER)
        reply.milligrams += 1000;
    if (atomic_load(&mode) == FAILS)
        parley_context_fail(parley_context_current(), PARLEY_INTERNAL, "as it was told to");
    closure(atomic_load(&mode) == FAILS ? NULL : &reply, data);
}

static enum parley_status serve(struct parley_endpoint *endpoint,
                                const struct parley_interface *interface,
                                ProtobufCService *implementation)
{
    const struct parley_service_options quick = {.drain_timeout_ns = NS_PER_MS};
    struct parley_service *service;
    return parley_service_new(endpoint, interface, implementation, &quick, &service);
}

static enum parley_status serve_stable(struct parley_endpoint *endpoint)
{
    static Ware__V1__Store_Service service = {
        .base = {.descriptor = &ware__v1__store__descriptor,
                 .invoke = protobuf_c_service_invoke_internal},
        .weigh = weigh_v1,
    };
    return serve(endpoint, &ware__v1__store__interface, &service.base);
}

static enum parley_status serve_canary(struct parley_endpoint *endpoint)
{
    static Ware__V2__Store_Service service = {
        .base = {.descriptor = &ware__v2__store__descriptor,
                 .invoke = protobuf_c_service_invoke_internal},
        .weigh = weigh_v2,
    };
    return serve(endpoint, &ware__v2__store__interface, &service.base);
}

static void end_canary(void)
{
    while (silent_count > 0) {
        silent_count--;
        silent[silent_count].closure(NULL, silent[silent_count].data);
    }
}

/* As a rollout would: all calls to the stable version, copies of that share to the canary. */
static void set_mirror(uint32_t buckets)
{
    struct error_text error = {""};
    const struct route_rollout rollout = {
        .name = "test",
        .stable = "1.0.0",
        .canary = "2.0.0",
        .mirror_buckets = buckets,
    };
    served_hold();
    struct interface *interface = directory_find(&served.broker->directory, "ware");
    assert_non_null(interface);
    if (routes_set_rollout(served.broker, interface, &rollout, &error) < 0)
        fail_msg("%s", error.text);
    served_go();
}

static bool both_are_there(void)
{
    return parley_client_channel_count(client) == 2;
}

static void connect_client(enum parley_idempotency idempotency)
{
    static struct parley_interface interface;
    static struct parley_method methods[2];
    const struct parley_endpoint_options options = {.broker = served.socket, .name = "caller"};
    interface = ware__v1__store__interface;
    methods[0] = (struct parley_method){"Weigh", idempotency};
    methods[1] = (struct parley_method){"Count", PARLEY_IDEMPOTENCY_UNKNOWN};
    interface.methods = methods;
    assert_int_equal(parley_endpoint_new(&options, &caller), PARLEY_OK);
    if (parley_client_new(caller, &interface, NULL, &client) != PARLEY_OK)
        fail_msg("%s", parley_error_text());
    for (uint64_t until = clock_now_ns() + PATIENCE_NS; !both_are_there();) {
        assert_true(clock_now_ns() < until);
        (void)parley_dispatch(caller, NS_PER_MS);
    }
}

static int begin(void **state)
{
    (void)state;
    static const struct served_service stable = {"store", serve_stable, NULL};
    static const struct served_service canary = {"store", serve_canary, end_canary};
    atomic_store(&mode, ALIKE);
    atomic_store(&mirrored, 0);
    atomic_store(&unmarked, 0);
    served_prepare();
    served_begin(&(struct broker_options){0});
    served_start(0, &stable);
    served_start(1, &canary);
    return 0;
}

static int end(void **state)
{
    (void)state;
    caller = parley_endpoint_free(caller);
    return served_end();
}

/* Of the client's cell of that version. */
static void count(const char *version)
{
    Parley__Stats stats;
    served_hold();
    assert_int_equal(stats_reply(served.broker, false, &stats), 0);
    counted = (struct method){0};
    for (size_t i = 0; i < stats.n_method; i++) {
        const Parley__MethodStats *method = stats.method[i];
        if (method->side != PARLEY__SIDE__CLIENT || strcmp(method->served, version) != 0)
            continue;
        counted.sent += method->mirrored;
        counted.differ += method->mirror_differ;
        counted.failed += method->mirror_failed;
        counted.skipped += method->mirror_skipped;
        counted.calls += method->calls;
    }
    stats_reply_free(&stats);
    served_go();
}

static void call_many(void)
{
    for (uint32_t i = 0; i < CALLS; i++) {
        Ware__V1__Ware request = WARE__V1__WARE__INIT, *reply = NULL;
        struct parley_call call = {0};
        request.name = (char *)(uintptr_t) "nut";
        request.grams = i;
        if (ware__v1__store__weigh_call(client, &request, &reply, &call) != PARLEY_OK)
            fail_msg("%s", parley_error_text());
        assert_int_equal(reply->grams, i); /* the stable version's, whatever the copy's is */
        assert_string_equal(call.version, "1.0.0");
        assert_int_equal(call.attempts, 1);
        parley_reply_free(reply);
    }
    /* Copies that are on their way end by their deadline. */
    for (uint64_t until = clock_now_ns() + PATIENCE_NS;;) {
        count("2.0.0");
        if (counted.sent + counted.skipped >= CALLS || clock_now_ns() >= until)
            break;
        (void)parley_dispatch(caller, 10 * NS_PER_MS);
    }
}

static void test_all_calls_are_copied_and_the_same_after_translation(void **state)
{
    (void)state;
    connect_client(PARLEY_IDEMPOTENT);
    set_mirror(ROUTE_BUCKETS);
    call_many();
    assert_int_equal(counted.sent + counted.skipped, CALLS);
    assert_int_equal(counted.differ, 0);
    assert_int_equal(counted.failed, 0);
    assert_int_equal(counted.calls, 0); /* they are no calls of that version */
    assert_int_equal(atomic_load(&mirrored), counted.sent);
    assert_int_equal(atomic_load(&unmarked), 0);
    count("1.0.0");
    assert_int_equal(counted.calls, CALLS);
}

static void test_replies_that_differ_are_counted_and_the_caller_gets_the_right_one(void **state)
{
    (void)state;
    connect_client(PARLEY_NO_SIDE_EFFECTS);
    atomic_store(&mode, OTHER);
    set_mirror(ROUTE_BUCKETS);
    call_many();
    assert_true(counted.sent > 0);
    assert_int_equal(counted.differ, counted.sent);
    assert_int_equal(counted.failed, 0);
    /* And an example is published. */
    for (uint64_t until = clock_now_ns() + PATIENCE_NS; served.broker->mirrored_ns == 0;
         count("2.0.0"))
        assert_true(clock_now_ns() < until);
}

static void test_copies_that_fail_are_counted_and_fail_nobody(void **state)
{
    (void)state;
    connect_client(PARLEY_IDEMPOTENT);
    atomic_store(&mode, FAILS);
    set_mirror(ROUTE_BUCKETS);
    call_many();
    assert_true(counted.sent > 0);
    assert_int_equal(counted.failed, counted.sent);
    assert_int_equal(counted.differ, counted.sent);
}

/* What answers nothing holds up a few copies, the others are skipped, and no call waits. */
static void test_a_canary_that_does_not_answer_delays_nobody(void **state)
{
    (void)state;
    connect_client(PARLEY_IDEMPOTENT);
    atomic_store(&mode, SILENT);
    set_mirror(ROUTE_BUCKETS);
    call_many();
    assert_int_equal(counted.sent + counted.skipped, CALLS);
    assert_true(counted.skipped > 0);
    assert_int_equal(counted.failed, counted.sent); /* by their deadline */
}

static void test_methods_that_do_not_declare_it_are_not_copied(void **state)
{
    (void)state;
    connect_client(PARLEY_IDEMPOTENCY_UNKNOWN);
    set_mirror(ROUTE_BUCKETS);
    Ware__V1__Ware request = WARE__V1__WARE__INIT, *reply = NULL;
    for (unsigned i = 0; i < CALLS; i++) {
        assert_int_equal(ware__v1__store__weigh_call(client, &request, &reply, NULL), PARLEY_OK);
        parley_reply_free(reply);
    }
    count("2.0.0");
    assert_int_equal(counted.sent + counted.skipped, 0);
}

static void test_a_share_is_about_that_share(void **state)
{
    (void)state;
    connect_client(PARLEY_IDEMPOTENT);
    set_mirror(ROUTE_BUCKETS / 2);
    Ware__V1__Ware request = WARE__V1__WARE__INIT, *reply = NULL;
    for (unsigned i = 0; i < 4 * CALLS; i++) {
        assert_int_equal(ware__v1__store__weigh_call(client, &request, &reply, NULL), PARLEY_OK);
        parley_reply_free(reply);
    }
    for (unsigned i = 0; i < 100; i++)
        (void)parley_dispatch(caller, NS_PER_MS);
    count("2.0.0");
    uint64_t copies = counted.sent + counted.skipped; /* of 800: 400, deviation 14 */
    assert_in_range(copies, 250, 550);
}

#define mirror_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        mirror_test(test_all_calls_are_copied_and_the_same_after_translation),
        mirror_test(test_replies_that_differ_are_counted_and_the_caller_gets_the_right_one),
        mirror_test(test_copies_that_fail_are_counted_and_fail_nobody),
        mirror_test(test_a_canary_that_does_not_answer_delays_nobody),
        mirror_test(test_methods_that_do_not_declare_it_are_not_copied),
        mirror_test(test_a_share_is_about_that_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
