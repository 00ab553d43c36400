#include "support/test.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "unit/cli/run.h"

#define TOPIC_MAX 16 /* of cmd_events.c */

#define KEPT_COUNT 3
#define KEPT_NS UINT64_C(1700000000000000000)

static struct fake_broker *broker;

static Parley__Event kept_event(uint64_t sequence)
{
    static const char *const topics[] = {"", "route", "instance.up", "route", "route"};
    static const char *const texts[] = {"", "one", "two", "three", "four"};
    Parley__Event event = PARLEY__EVENT__INIT;
    event.topic = (char *)(uintptr_t)topics[sequence];
    event.text = (char *)(uintptr_t)texts[sequence];
    event.has_time_unix_ns = event.has_sequence = true;
    event.time_unix_ns = KEPT_NS + sequence;
    event.sequence = sequence;
    return event;
}

/* A broker that has kept three. */
static void answer(void *userdata, const Parley__ControlRequest *request,
                   struct fake_answer *ret_answer)
{
    (void)userdata;
    static Parley__Event events[KEPT_COUNT];
    static Parley__Event *pointers[KEPT_COUNT];
    static Parley__EventsReply list;
    static Parley__ControlReply reply;
    if (request->body_case != PARLEY__CONTROL_REQUEST__BODY_EVENTS)
        return;
    for (size_t i = 0; i < KEPT_COUNT; i++) {
        events[i] = kept_event(i + 1);
        pointers[i] = &events[i];
    }
    parley__events_reply__init(&list);
    parley__control_reply__init(&reply);
    list.n_event = KEPT_COUNT;
    list.event = pointers;
    reply.has_status = true;
    reply.body_case = PARLEY__CONTROL_REPLY__BODY_EVENTS;
    reply.events = &list;
    ret_answer->reply = &reply;
}

static int set_up(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    broker = fake_broker_new(answer, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    broker = fake_broker_free(broker);
    return 0;
}

static Parley__Event some_event(void)
{
    Parley__Event event = PARLEY__EVENT__INIT;
    event.topic = (char *)"instance.up";
    event.has_time_unix_ns = true;
    event.time_unix_ns = UINT64_C(1700000000123456789);
    event.interface = (char *)"catalog";
    event.version = (char *)"2.0.0";
    event.has_instance_id = true;
    event.instance_id = 0xabc;
    event.has_pid = true;
    event.pid = 811;
    event.text = (char *)"catalog 2.0.0 joined\033[2J";
    return event;
}

static void publish(const Parley__Event *event)
{
    uint8_t data[512];
    size_t topic = strlen(event->topic);
    memcpy(data, event->topic, topic);
    data[topic] = '\n';
    size_t bytes = topic + 1 + protobuf_c_message_pack(&event->base, data + topic + 1);
    fake_broker_publish(broker, data, bytes);
}

static void test_an_event_is_a_line(void **state)
{
    (void)state;
    Parley__Event event = some_event();
    publish(&event);
    struct run run = RUN("events", "--count", "2", "--events", fake_broker_events_url(broker));
    assert_int_equal(run.code, CLI_EXIT_OK);
    const char *line = "22:13:20.123 instance.up catalog 2.0.0 instance 0000000000000abc pid 811: "
                       "catalog 2.0.0 joined?[2J\n";
    assert_memory_equal(run.out, line, strlen(line));
    assert_string_equal(run.out + strlen(line), line);
    run_free(&run);
}

static void test_an_event_as_json_is_one_object_a_line(void **state)
{
    (void)state;
    Parley__Event event = some_event();
    publish(&event);
    struct run run =
        RUN("events", "--json", "-n1", "instance", "--events", fake_broker_events_url(broker));
    assert_int_equal(run.code, CLI_EXIT_OK);
    json_t *json = json_loads(run.out, 0, NULL);
    const char *topic = NULL, *instance = NULL;
    assert_int_equal(json_unpack(json, "{s:s,s:s}", "topic", &topic, "instance", &instance), 0);
    assert_string_equal(topic, "instance.up");
    assert_string_equal(instance, "0000000000000abc");
    assert_ptr_equal(strchr(run.out, '\n'), run.out + strlen(run.out) - 1);
    json_decref(json);
    run_free(&run);
}

static void test_other_topics_are_not_shown(void **state)
{
    (void)state;
    Parley__Event event = some_event();
    publish(&event);
    struct run run =
        RUN("events", "--timeout", "100ms", "route", "--events", fake_broker_events_url(broker));
    assert_int_equal(run.code, CLI_EXIT_NO_BROKER);
    assert_string_equal(run.out, "");
    assert_contains(run.err, "no event came from ipc://");
    run_free(&run);
}

static void test_what_is_no_event_is_passed_over_with_a_complaint(void **state)
{
    (void)state;
    static const uint8_t no_topic[] = {1, 2, 3}, no_event[] = {'r', '\n', 0xff, 0xff};
    uint8_t long_topic[80];
    memset(long_topic, 't', sizeof(long_topic));
    long_topic[64] = '\n'; /* one past what a topic may have */
    fake_broker_publish(broker, no_topic, sizeof(no_topic));
    fake_broker_publish(broker, no_event, sizeof(no_event));
    fake_broker_publish(broker, long_topic, sizeof(long_topic));
    Parley__Event event = some_event();
    publish(&event);
    struct run run = RUN("events", "--count", "2", "--events", fake_broker_events_url(broker));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_contains(run.err, "passed over 3 bytes without a topic");
    assert_contains(run.err, "passed over 80 bytes without a topic");
    assert_contains(run.err, "passed over an event that cannot be read");
    assert_contains(run.out, "instance.up");
    run_free(&run);
}

static void test_garbage_does_not_put_the_timeout_off(void **state)
{
    (void)state;
    fake_broker_publish(broker, (const uint8_t *)"garbage", 7);
    struct run run = RUN("events", "--timeout", "50ms", "--events", fake_broker_events_url(broker));
    assert_int_equal(run.code, CLI_EXIT_NO_BROKER);
    assert_contains(run.err, "no event came from ipc://");
    run_free(&run);
}

static void test_last_shows_what_was_kept_and_ends(void **state)
{
    (void)state;
    struct run run = RUN("events", "--last", "2", "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(run.out, "22:13:20.000 instance.up: two\n22:13:20.000 route: three\n");
    run_free(&run);
}

static void test_last_of_a_topic_counts_that_topic(void **state)
{
    (void)state;
    struct run run = RUN("events", "-l2", "route", "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(run.out, "22:13:20.000 route: one\n22:13:20.000 route: three\n");
    run_free(&run);
}

static void test_follow_shows_what_was_kept_and_then_what_happens_each_once(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 4; i++) {
        Parley__Event event = kept_event(i);
        publish(&event);
    }
    struct run run = RUN("events", "--follow", "--count", "1", "--url", fake_broker_url(broker),
                         "--events", fake_broker_events_url(broker));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(run.out, "22:13:20.000 route: one\n22:13:20.000 instance.up: two\n"
                                 "22:13:20.000 route: three\n22:13:20.000 route: four\n");
    run_free(&run);
}

static void test_event_of_a_later_broker_is_shown_though_its_number_is_low(void **state)
{
    (void)state;
    Parley__Event event = kept_event(1);
    event.time_unix_ns += NS_PER_S;
    publish(&event);
    struct run run = RUN("events", "--follow", "--last", "1", "--count", "1", "--url",
                         fake_broker_url(broker), "--events", fake_broker_events_url(broker));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(run.out, "22:13:20.000 route: three\n22:13:21.000 route: one\n");
    run_free(&run);
}

static void test_nobody_there_is_no_broker(void **state)
{
    (void)state;
    struct run run = RUN("events", "--events", "ipc:///nonexistent/events.ipc");
    assert_int_equal(run.code, CLI_EXIT_NO_BROKER);
    assert_contains(run.err, "ipc:///nonexistent/events.ipc");
    run_free(&run);
}

static void test_as_many_topics_as_the_limit_are_followed_and_no_more(void **state)
{
    (void)state;
    const char *argv[32] = {"events", "-n1", "--events", fake_broker_events_url(broker)};
    for (size_t i = 0; i < TOPIC_MAX; i++)
        argv[4 + i] = i + 1 < TOPIC_MAX ? "refused" : "instance.up";
    Parley__Event event = some_event();
    publish(&event);
    struct run run = run_cli(argv, NULL);
    assert_int_equal(run.code, CLI_EXIT_OK);
    run_free(&run);
    argv[4 + TOPIC_MAX] = "route";
    run = run_cli(argv, NULL);
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    assert_contains(run.err, "more than 16 topics");
    run_free(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_event_is_a_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_event_as_json_is_one_object_a_line, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_other_topics_are_not_shown, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_event_is_passed_over_with_a_complaint,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_garbage_does_not_put_the_timeout_off, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_last_shows_what_was_kept_and_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_last_of_a_topic_counts_that_topic, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_follow_shows_what_was_kept_and_then_what_happens_each_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_event_of_a_later_broker_is_shown_though_its_number_is_low, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nobody_there_is_no_broker, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_as_many_topics_as_the_limit_are_followed_and_no_more,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
