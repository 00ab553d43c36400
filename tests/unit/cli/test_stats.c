#include "support/test.h"

#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "unit/cli/bus.h"
#include "unit/cli/run.h"

/* What the fake broker does from one question to the next. */
struct script {
    unsigned asked;
    unsigned stop_at; /* ask the program to stop at this question; 0: never */
    bool refuse;
    bool full; /* the answer has all that a broker of today says */
    uint32_t folders_lost;
    Parley__ControlReply reply;
    Parley__Stats stats;
    Parley__MethodStats method;
    Parley__MethodStats *methods[1];
    Parley__BusStats bus;
    Parley__RouteStats route;
    Parley__RouteStats *routes[1];
    Parley__BrokerStats broker;
    Parley__Latency turn;
    Parley__FrontStats front;
    Parley__ServeStats serve;
};

static void say_all(struct script *script)
{
    parley__bus_stats__init(&script->bus);
    parley__route_stats__init(&script->route);
    parley__broker_stats__init(&script->broker);
    parley__latency__init(&script->turn);
    parley__front_stats__init(&script->front);
    parley__serve_stats__init(&script->serve);
    script->front.has_frames = script->front.has_too_large = true;
    script->front.frames = 21;
    script->front.too_large = 3;
    script->serve.has_answered = script->serve.has_full = script->serve.has_held = true;
    script->serve.answered = 31;
    script->serve.full = 6;
    script->serve.held = 2;
    script->stats.front = &script->front;
    script->stats.serve = &script->serve;
    script->stats.has_denied = script->stats.has_limited_rate = script->stats.has_held_bad = true;
    script->stats.denied = 41;
    script->stats.limited_rate = 42;
    script->stats.held_bad = 43;
    script->bus.endpoints = 7;
    script->bus.has_endpoints = true;
    script->route.interface = (char *)(uintptr_t) "catalog";
    script->route.version = (char *)(uintptr_t) "2.0.0";
    script->route.has_share_per_100000 = true;
    script->route.share_per_100000 = 30000;
    script->routes[0] = &script->route;
    script->bus.route = script->routes;
    script->bus.n_route = 1;
    script->broker.has_private_bytes = true;
    script->broker.private_bytes = 3 << 19;
    script->broker.has_folders_lost = true;
    script->broker.folders_lost = script->folders_lost;
    script->broker.turn = &script->turn;
    script->turn.has_p99_ns = true;
    script->turn.p99_ns = 12000;
    script->stats.bus = &script->bus;
    script->stats.broker = &script->broker;
    script->stats.has_wakeups = script->stats.has_spins_hit = script->stats.has_spins_missed = true;
    script->stats.wakeups = 5;
    script->stats.spins_hit = 8;
    script->stats.spins_missed = 2;
    script->method.has_translation = script->method.has_faults = true;
    script->method.translation = 2;
    script->method.faults = 4;
}

/* The same numbers each time, but for the calls: 1,000 more and two seconds later. */
static void answer(void *userdata, const Parley__ControlRequest *request,
                   struct fake_answer *ret_answer)
{
    struct script *script = userdata;
    if (request->body_case != PARLEY__CONTROL_REQUEST__BODY_STATS)
        return;
    ret_answer->reply = script->refuse ? bus_refusal() : bus_stats();
    if (++script->asked == script->stop_at)
        stop_request();
    if (script->refuse || (script->asked == 1 && !script->full))
        return;
    script->reply = *bus_stats();
    script->stats = *script->reply.stats;
    script->method = *script->stats.method[0];
    script->method.calls += (script->asked - 1) * 1000;
    script->stats.uptime_ns += (script->asked - 1) * 2 * NS_PER_S;
    script->methods[0] = &script->method;
    script->stats.method = script->methods;
    script->stats.n_method = 1;
    script->reply.stats = &script->stats;
    if (script->full)
        say_all(script);
    ret_answer->reply = &script->reply;
}

static struct script script;

static int set_up(void **state)
{
    script = (struct script){.asked = 0};
    *state = fake_broker_new(answer, &script);
    return 0;
}

static int tear_down(void **state)
{
    fake_broker_free(*state);
    return 0;
}

static void test_the_table_is_as_the_golden_file_has_it(void **state)
{
    struct run run = RUN("stats", "--url", fake_broker_url(*state));
    assert_string_equal(run.err, "");
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_golden(run.out, "stats.txt");
    run_free(&run);
}

static void test_json_is_as_the_golden_file_has_it(void **state)
{
    struct run run = RUN("stats", "--json", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_golden(run.out, "stats.json");
    run_free(&run);
}

static void test_folders_that_are_not_there_are_told(void **state)
{
    script.full = true;
    struct run run = RUN("stats", "--url", fake_broker_url(*state));
    assert_null(strstr(run.out, "not there"));
    run_free(&run);
    script.folders_lost = 1;
    run = RUN("stats", "--url", fake_broker_url(*state));
    assert_non_null(strstr(run.out, "1 of the broker's watched folders (--rollouts, --schemas) is "
                                    "not there: see 'parley events --last 10 folder'"));
    run_free(&run);
}

static void test_verbose_adds_the_bus_and_the_broker(void **state)
{
    script.full = true;
    struct run run = RUN("stats", "--verbose", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_non_null(strstr(run.out, "woken 5 times; spun 10 times, 2 of them in vain"));
    assert_non_null(strstr(run.out, "Bus: 7 endpoints"));
    assert_non_null(strstr(run.out, "Broker: 1.5 MiB of its own"));
    assert_non_null(strstr(run.out, "21 frames, 0 in JSON, 0 malformed, 3 over a limit"));
    assert_non_null(strstr(run.out, "answered 31, malformed 0"));
    assert_non_null(strstr(run.out, "refused 6, held back 2."));
    assert_non_null(strstr(run.out, "Refused: 41 by the policy"));
    assert_non_null(strstr(run.out, "42 for the rate"));
    assert_non_null(strstr(run.out, "43 times a connection was slowed"));
    run_free(&run);

    run = RUN("stats", "catalog", "--verbose", "--url", fake_broker_url(*state));
    assert_non_null(strstr(run.out, "Bus: 7 endpoints"));
    run_free(&run);

    run = RUN("stats", "--url", fake_broker_url(*state));
    assert_null(strstr(run.out, "Bus:"));
    run_free(&run);
}

static void test_json_has_the_bus_and_the_broker(void **state)
{
    script.full = true;
    struct run run = RUN("stats", "--json", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    json_t *root = json_loads(run.out, 0, NULL);
    assert_non_null(root);
    json_t *bus = json_object_get(root, "bus");
    json_t *route = json_array_get(json_object_get(bus, "routes"), 0);
    json_t *method = json_array_get(json_object_get(root, "methods"), 0);
    assert_int_equal(json_integer_value(json_object_get(root, "wakeups")), 5);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "front"), "frames")),
                     21);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(root, "serve"), "answered")), 31);
    assert_int_equal(json_integer_value(json_object_get(root, "denied")), 41);
    assert_int_equal(json_integer_value(json_object_get(root, "limited_rate")), 42);
    assert_null(json_object_get(root, "limited_calls"));
    assert_int_equal(json_integer_value(json_object_get(bus, "endpoints")), 7);
    assert_int_equal(json_integer_value(json_object_get(route, "share_per_100000")), 30000);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(root, "process"), "private_bytes")),
        3 << 19);
    assert_string_equal(json_string_value(json_object_get(method, "translation")), "carried");
    assert_int_equal(json_integer_value(json_object_get(method, "faults")), 4);
    json_decref(root);
    run_free(&run);
}

static void test_one_interface_shows_its_rows_alone(void **state)
{
    struct run run = RUN("stats", "orders", "--url", fake_broker_url(*state));
    assert_contains(run.out, "Place");
    assert_null(strstr(run.out, "catalog"));
    run_free(&run);
}

static void test_an_interface_without_calls_says_so(void **state)
{
    struct run run = RUN("stats", "silent", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(run.out, "No calls of silent yet.\n");
    run_free(&run);
}

static void test_watching_shows_the_rate_between_answers(void **state)
{
    struct run run = RUN("stats", "--watch", "--interval", "1ms", "--count", "3", "catalog",
                         "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_int_equal(script.asked, 3);
    assert_golden(run.out, "stats_watch.txt");
    run_free(&run);
}

static void test_watching_as_json_prints_one_object_a_line(void **state)
{
    struct run run = RUN("stats", "--watch", "--json", "--interval", "1ms", "--count", "2", "--url",
                         fake_broker_url(*state));
    char *second = strchr(run.out, '\n');
    assert_non_null(second);
    *second++ = '\0';
    for (unsigned i = 0; i < 2; i++) {
        json_t *json = json_loads(i == 0 ? run.out : second, 0, NULL);
        assert_non_null(json);
        json_decref(json);
    }
    assert_ptr_equal(strchr(second, '\n'), second + strlen(second) - 1);
    run_free(&run);
}

static void test_watching_ends_cleanly_when_asked_to_stop(void **state)
{
    script.stop_at = 2;
    struct run run = RUN("stats", "--watch", "--interval", "1ms", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_int_equal(script.asked, 2);
    run_free(&run);
}

static void test_a_refusal_ends_the_watch(void **state)
{
    script.refuse = true;
    struct run run = RUN("stats", "--watch", "--interval", "1ms", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_REFUSED);
    assert_contains(run.err, "parley: NOT_FOUND: no interface 'nothing' is published");
    assert_int_equal(script.asked, 1);
    run_free(&run);
}

static void test_what_is_no_name_is_refused(void **state)
{
    (void)state;
    struct run run = RUN("stats", "No/Name");
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    assert_contains(run.err, "'No/Name' is no name of an interface");
    run_free(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_table_is_as_the_golden_file_has_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_json_is_as_the_golden_file_has_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folders_that_are_not_there_are_told, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_verbose_adds_the_bus_and_the_broker, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_json_has_the_bus_and_the_broker, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_interface_shows_its_rows_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_interface_without_calls_says_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_watching_shows_the_rate_between_answers, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_watching_as_json_prints_one_object_a_line, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_watching_ends_cleanly_when_asked_to_stop, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_refusal_ends_the_watch, set_up, tear_down),
        cmocka_unit_test(test_what_is_no_name_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
