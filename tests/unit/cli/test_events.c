#include "support/test.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "cli/cli.h"
#include "unit/cli/run.h"

#define TOPIC_MAX 16 /* of cmd_events.c */

static struct fake_broker *broker;

static int set_up(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    broker = fake_broker_new(NULL, NULL);
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
        cmocka_unit_test_setup_teardown(test_nobody_there_is_no_broker, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_as_many_topics_as_the_limit_are_followed_and_no_more,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
