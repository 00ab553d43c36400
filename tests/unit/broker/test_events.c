/* The events that are kept: how many, which, and as what they are told. */
#include "peers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static struct broker *broker;

static int begin(void **state)
{
    (void)state;
    broker = broker_start(NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    broker_free(broker);
    return 0;
}

static void happen(const char *text)
{
    const struct event event = {.topic = "test", .interface = "things", .version = "1.0.0"};
    event_publish(broker, &event, "%s", text);
}

static struct events_list since(uint64_t sequence)
{
    struct events_list list;
    assert_int_equal(events_since(&broker->events, sequence, &list), 0);
    return list;
}

static void test_event_is_kept_with_its_place(void **state)
{
    (void)state;
    struct events_list list = since(0);
    assert_int_equal(list.count, 0);
    events_list_free(&list);
    happen("one");
    happen("two");
    list = since(0);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.items[0]->text, "one");
    assert_string_equal(list.items[0]->topic, "test");
    assert_string_equal(list.items[1]->interface, "things");
    assert_int_equal(list.items[0]->sequence, 1);
    assert_int_equal(list.items[1]->sequence, 2);
    events_list_free(&list);
}

static void test_only_later_ones_are_told(void **state)
{
    (void)state;
    happen("one");
    happen("two");
    struct events_list list = since(1);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.items[0]->text, "two");
    events_list_free(&list);
    const uint64_t none[] = {2, 3, UINT64_MAX};
    for (size_t i = 0; i < 3; i++) {
        list = since(none[i]);
        assert_int_equal(list.count, 0);
        events_list_free(&list);
    }
}

static void test_as_many_are_kept_as_there_is_room_for_and_no_more(void **state)
{
    (void)state;
    for (unsigned i = 0; i < EVENTS_KEPT_MAX; i++)
        happen("x");
    struct events_list list = since(0);
    assert_int_equal(list.count, EVENTS_KEPT_MAX);
    assert_int_equal(list.items[0]->sequence, 1);
    events_list_free(&list);
    happen("one more");
    list = since(0);
    assert_int_equal(list.count, EVENTS_KEPT_MAX);
    assert_int_equal(list.items[0]->sequence, 2);
    assert_string_equal(list.items[EVENTS_KEPT_MAX - 1]->text, "one more");
    events_list_free(&list);
}

static void test_long_texts_push_more_of_the_old_ones_out(void **state)
{
    (void)state;
    char text[ERROR_TEXT_BYTES_MAX];
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (unsigned i = 0; i < EVENTS_KEPT_MAX; i++) {
        happen(text);
        assert_true(broker->events.bytes <= EVENTS_KEPT_BYTES_MAX);
    }
    struct events_list list = since(0);
    assert_true(list.count < EVENTS_KEPT_MAX);
    assert_true(list.count >= EVENTS_KEPT_BYTES_MAX / (sizeof(text) + 64));
    assert_int_equal(list.items[list.count - 1]->sequence, EVENTS_KEPT_MAX);
    events_list_free(&list);
}

static void test_text_that_was_cut_in_a_letter_is_told_nevertheless(void **state)
{
    (void)state;
    happen("caf\xc3");
    happen("caf\xc3\xa9\x1b[2J");
    struct events_list list = since(0);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.items[0]->text, "caf?");
    assert_string_equal(list.items[1]->text, "caf\xc3\xa9?[2J");
    events_list_free(&list);
}

static void test_json_has_what_an_event_has(void **state)
{
    (void)state;
    happen("one");
    const struct event event = {.topic = "instance.up", .instance_id = 0xabc, .pid = 7};
    event_publish(broker, &event, "two \"quoted\"");
    char *text = events_json(broker, 0), id[17];
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    (void)snprintf(id, sizeof(id), "%016llx", (unsigned long long)broker->id);
    assert_string_equal(json_string_value(json_object_get(root, "broker")), id);
    assert_int_equal(json_integer_value(json_object_get(root, "last")), 2);
    json_t *events = json_object_get(root, "events");
    assert_int_equal(json_array_size(events), 2);
    json_t *one = json_array_get(events, 0), *two = json_array_get(events, 1);
    assert_int_equal(json_integer_value(json_object_get(one, "sequence")), 1);
    assert_string_equal(json_string_value(json_object_get(one, "version")), "1.0.0");
    assert_null(json_object_get(one, "instance"));
    assert_string_equal(json_string_value(json_object_get(two, "topic")), "instance.up");
    assert_string_equal(json_string_value(json_object_get(two, "text")), "two \"quoted\"");
    assert_string_equal(json_string_value(json_object_get(two, "instance")), "0000000000000abc");
    assert_int_equal(json_integer_value(json_object_get(two, "pid")), 7);
    json_decref(root);
    free(text);
}

static void test_control_request_tells_the_same(void **state)
{
    (void)state;
    happen("one");
    happen("two");
    Parley__EventsRequest events = PARLEY__EVENTS_REQUEST__INIT;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    events.has_since = true;
    events.since = 1;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_EVENTS;
    request.events = &events;
    uint8_t data[64], *answer;
    size_t bytes = parley__control_request__pack(&request, data);
    assert_int_equal(control_handle(broker, data, bytes, NULL, &answer, &bytes), 0);
    ProtobufCMessage *message;
    struct error_text error = {""};
    assert_int_equal(
        wire_unpack(&parley__control_reply__descriptor, answer, bytes, NULL, &message, &error), 0);
    free(answer);
    const Parley__ControlReply *reply = (const Parley__ControlReply *)message;
    assert_int_equal(reply->status, PARLEY_OK);
    assert_int_equal(reply->body_case, PARLEY__CONTROL_REPLY__BODY_EVENTS);
    assert_true(reply->events->broker_id == broker->id);
    assert_int_equal(reply->events->last, 2);
    assert_int_equal(reply->events->n_event, 1);
    assert_string_equal(reply->events->event[0]->text, "two");
    wire_free(message);
}

#define EVENTS(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVENTS(test_event_is_kept_with_its_place),
        EVENTS(test_only_later_ones_are_told),
        EVENTS(test_as_many_are_kept_as_there_is_room_for_and_no_more),
        EVENTS(test_long_texts_push_more_of_the_old_ones_out),
        EVENTS(test_text_that_was_cut_in_a_letter_is_told_nevertheless),
        EVENTS(test_json_has_what_an_event_has),
        EVENTS(test_control_request_tells_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
