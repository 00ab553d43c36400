/* What `parley top` makes of two answers of a broker; its screen is tested in
 * tests/process/test_top.py. */
#include "support/test.h"

#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "unit/cli/bus.h"
#include "unit/cli/run.h"

#define STATUS_COUNT 17
#define BUCKET_COUNT 200

/* A bus with one interface in two versions; between two questions for statistics time and counts go
 * on. */
static struct script {
    uint64_t asked, broker_id;
    bool restarts;    /* another broker from the second answer on */
    const char *name; /* of the interface */
} script;

static struct method {
    Parley__MethodStats message;
    Parley__Latency latency;
    uint64_t by_status[STATUS_COUNT], bucket[BUCKET_COUNT];
} methods[2];

static void fill_method(struct method *method, const char *served, uint64_t ok, uint64_t failed,
                        uint64_t refused, unsigned bucket)
{
    parley__method_stats__init(&method->message);
    parley__latency__init(&method->latency);
    method->message.has_side = method->message.has_calls = method->message.has_in_flight = true;
    method->message.side = PARLEY__SIDE__CLIENT;
    method->message.interface = (char *)(uintptr_t)script.name;
    method->message.method = (char *)(uintptr_t) "Get";
    method->message.asked = (char *)(uintptr_t) "1.0.0";
    method->message.served = (char *)(uintptr_t)served;
    method->message.in_flight = 3;
    method->message.calls = ok + failed + refused + 3;
    method->by_status[0] = ok;
    method->by_status[13] = failed; /* INTERNAL: the service's fault */
    method->by_status[5] = refused; /* NOT_FOUND: the caller's */
    method->message.n_by_status = STATUS_COUNT;
    method->message.by_status = method->by_status;
    method->bucket[bucket] = ok + failed + refused;
    method->latency.n_bucket = BUCKET_COUNT;
    method->latency.bucket = method->bucket;
    method->message.latency = &method->latency;
}

static const Parley__ControlReply *stats_reply(void)
{
    static Parley__MethodStats *pointers[2] = {&methods[0].message, &methods[1].message};
    static Parley__Stats stats;
    static Parley__ControlReply reply;
    uint64_t n = ++script.asked;
    fill_method(&methods[0], "1.0.0", 1000 + 300 * n, 5, 0, 100);
    fill_method(&methods[1], "2.0.0", 90 * n, 10 * n, 0, 120);
    parley__stats__init(&stats);
    parley__control_reply__init(&reply);
    stats.has_broker_id = stats.has_uptime_ns = true;
    stats.broker_id = script.restarts ? n : 7;
    stats.uptime_ns = n * 2 * NS_PER_S;
    stats.n_method = 2;
    stats.method = pointers;
    reply.has_status = true;
    reply.body_case = PARLEY__CONTROL_REPLY__BODY_STATS;
    reply.stats = &stats;
    return &reply;
}

static void answer(void *userdata, const Parley__ControlRequest *request,
                   struct fake_answer *ret_answer)
{
    (void)userdata;
    if (request->body_case == PARLEY__CONTROL_REQUEST__BODY_LIST)
        ret_answer->reply = bus_list_empty();
    else if (request->body_case == PARLEY__CONTROL_REQUEST__BODY_STATS)
        ret_answer->reply = stats_reply();
    else
        ret_answer->reply = bus_refusal(); /* an older broker: neither rollouts nor events */
}

static int set_up(void **state)
{
    script = (struct script){.name = "catalog"};
    *state = fake_broker_new(answer, NULL);
    return 0;
}

static int tear_down(void **state)
{
    fake_broker_free(*state);
    return 0;
}

static float number(const json_t *object, const char *key)
{
    return (float)json_number_value(json_object_get(object, key));
}

static void test_figures_are_of_what_happened_between_two_answers(void **state)
{
    struct run run =
        RUN("top", "--once", "--json", "--interval", "1ms", "--url", fake_broker_url(*state));
    assert_string_equal(run.err, "");
    assert_int_equal(run.code, CLI_EXIT_OK);
    json_t *root = json_loads(run.out, 0, NULL);
    assert_non_null(root);
    json_t *versions = json_object_get(root, "versions");
    assert_int_equal(json_array_size(versions), 2);
    const json_t *one = json_array_get(versions, 0), *two = json_array_get(versions, 1);
    assert_string_equal(json_string_value(json_object_get(two, "version")), "2.0.0");
    assert_float_equal(number(one, "share_percent"), 75, 0.001);
    assert_float_equal(number(one, "calls_per_s"), 150, 0.001);
    assert_float_equal(number(one, "error_percent"), 0, 0.001); /* the 5 were before */
    assert_float_equal(number(two, "share_percent"), 25, 0.001);
    assert_float_equal(number(two, "error_percent"), 10, 0.001);
    assert_true(number(two, "p99_ns") > number(one, "p99_ns") && number(one, "p99_ns") > 0);
    assert_true(json_is_null(json_object_get(one, "set_percent"))); /* nothing publishes it */
    assert_float_equal(number(root, "calls_per_s"), 200, 0.001);
    assert_float_equal(number(root, "in_flight"), 6, 0.001);
    assert_int_equal(json_array_size(json_object_get(root, "rollouts")), 0);
    json_decref(root);
    run_free(&run);
}

static void test_nothing_is_said_across_a_restart_of_the_broker(void **state)
{
    script.restarts = true;
    struct run run =
        RUN("top", "--once", "--json", "--interval", "1ms", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    json_t *root = json_loads(run.out, 0, NULL);
    assert_non_null(root);
    assert_true(json_is_null(json_object_get(root, "calls_per_s")));
    const json_t *one = json_array_get(json_object_get(root, "versions"), 0);
    assert_true(json_is_null(json_object_get(one, "share_percent")));
    json_decref(root);
    run_free(&run);
}

static void test_rows_are_sorted_by_what_was_asked_for(void **state)
{
    struct run run = RUN("top", "--once", "--interval", "1ms", "--sort", "errors", "--url",
                         fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    const char *one = strstr(run.out, "1.0.0"), *two = strstr(run.out, "2.0.0");
    assert_true(one && two && two < one);
    run_free(&run);
}

static void test_what_a_terminal_would_obey_is_not_printed(void **state)
{
    script.name = "cat\033[2Jalog";
    struct run run = RUN("top", "--once", "--interval", "1ms", "--url", fake_broker_url(*state));
    assert_contains(run.out, "cat?[2Jalog");
    assert_null(strchr(run.out, '\033'));
    run_free(&run);
}

static void test_without_a_terminal_each_round_is_printed(void **state)
{
    struct run run =
        RUN("top", "--count", "3", "--interval", "1ms", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_int_equal(script.asked, 4); /* the first has nothing to compare with */
    unsigned count = 0;
    for (const char *at = run.out; (at = strstr(at, "INTERFACE")) != NULL; at++)
        count++;
    assert_int_equal(count, 3);
    run_free(&run);
}

static void test_what_makes_no_sense_is_refused(void **state)
{
    struct run run = RUN("top", "--sort", "beauty", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    assert_contains(run.err, "in-flight");
    run_free(&run);
    run = RUN("top", "catalog", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    run_free(&run);
    run = RUN("top", "--once", "--url", "ipc:///nonexistent/control.ipc");
    assert_int_equal(run.code, CLI_EXIT_NO_BROKER);
    run_free(&run);
}

#define TOP(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TOP(test_figures_are_of_what_happened_between_two_answers),
        TOP(test_nothing_is_said_across_a_restart_of_the_broker),
        TOP(test_rows_are_sorted_by_what_was_asked_for),
        TOP(test_what_a_terminal_would_obey_is_not_printed),
        TOP(test_without_a_terminal_each_round_is_printed),
        TOP(test_what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
