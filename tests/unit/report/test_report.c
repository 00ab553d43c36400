/* What the broker says of itself, as JSON. */
#include "support/test.h"

#include "parley/client.h"
#include "report/report.h"
#include "report/set.h"

static json_int_t number(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static const char *text(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));
    assert_non_null(value);
    return value;
}

static void test_counts_that_are_there_have_their_names(void **state)
{
    (void)state;
    Parley__ServeStats stats = PARLEY__SERVE_STATS__INIT;
    stats.has_calls = stats.has_waiting_bytes = true;
    stats.calls = UINT32_MAX;
    stats.waiting_bytes = UINT64_C(1) << 53;
    stats.full = 7; /* it was not told */
    json_t *object = json_object();
    report_set_counts(object, &stats.base, UINT32_MAX);
    assert_int_equal(json_object_size(object), 2);
    assert_int_equal(number(object, "calls"), UINT32_MAX);
    assert_int_equal(number(object, "waiting_bytes"), INT64_C(1) << 53);
    json_decref(object);
}

static void test_fields_from_a_number_on_are_left_out(void **state)
{
    (void)state;
    Parley__ServeStats stats = PARLEY__SERVE_STATS__INIT;
    stats.has_calls = stats.has_waiting = true; /* 3 and 4 */
    json_t *object = json_object();
    report_set_counts(object, &stats.base, 4);
    assert_int_equal(json_object_size(object), 1);
    assert_int_equal(number(object, "calls"), 0);
    json_decref(object);
}

static void test_an_id_is_text_and_no_number(void **state)
{
    (void)state;
    Parley__Stats stats = PARLEY__STATS__INIT;
    Parley__Event event = PARLEY__EVENT__INIT;
    stats.has_broker_id = event.has_instance_id = true;
    stats.broker_id = event.instance_id = UINT64_C(0xfedcba9876543210);
    json_t *object = report_stats(&stats);
    assert_string_equal(text(object, "broker"), "fedcba9876543210");
    assert_string_equal(text(object, "broker_id"), "fedcba9876543210");
    json_decref(object);
    object = report_event(&event);
    assert_string_equal(text(object, "instance"), "fedcba9876543210");
    assert_null(json_object_get(object, "instance_id"));
    json_decref(object);
}

static void test_a_method_has_names_for_numbers(void **state)
{
    (void)state;
    uint64_t by_status[PARLEY_STATUS_COUNT + 1] = {[0] = 5, [PARLEY_NOT_FOUND] = 2};
    by_status[PARLEY_STATUS_COUNT] = 1; /* of a newer broker: an error, without a name here */
    Parley__MethodStats method = PARLEY__METHOD_STATS__INIT;
    method.has_side = method.has_translation = method.has_mirrored = true;
    method.side = PARLEY__SIDE__SERVICE;
    method.translation = PARLEY_CARRIED;
    method.mirrored = 3;
    method.n_by_status = PARLEY_STATUS_COUNT + 1;
    method.by_status = by_status;
    json_t *object = report_method(&method), *counts = json_object_get(object, "by_status");
    assert_string_equal(text(object, "side"), "service");
    assert_string_equal(text(object, "translation"), "carried");
    assert_int_equal(number(object, "errors"), 3);
    assert_int_equal(json_object_size(counts), 2);
    assert_int_equal(number(counts, "OK"), 5);
    assert_int_equal(number(counts, "NOT_FOUND"), 2);
    assert_int_equal(number(json_object_get(object, "mirror"), "sent"), 3);
    assert_null(json_object_get(object, "mirrored"));
    assert_true(json_is_null(json_object_get(object, "latency_ns")));
    json_decref(object);
}

static void test_what_is_not_told_is_left_out(void **state)
{
    (void)state;
    Parley__Event event = PARLEY__EVENT__INIT;
    event.topic = (char *)"route";
    event.text = (char *)"\xff"; /* no UTF-8 */
    json_t *object = report_event(&event);
    assert_int_equal(json_object_size(object), 1);
    assert_string_equal(text(object, "topic"), "route");
    json_decref(object);
    Parley__Stats stats = PARLEY__STATS__INIT;
    object = report_stats(&stats);
    assert_null(json_object_get(object, "bus"));
    assert_null(json_object_get(object, "front"));
    assert_null(json_object_get(object, "uptime_ns"));
    json_decref(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_that_are_there_have_their_names),
        cmocka_unit_test(test_fields_from_a_number_on_are_left_out),
        cmocka_unit_test(test_an_id_is_text_and_no_number),
        cmocka_unit_test(test_a_method_has_names_for_numbers),
        cmocka_unit_test(test_what_is_not_told_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
