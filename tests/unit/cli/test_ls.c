#include "support/test.h"

#include <jansson.h>

#include "cli/cli.h"
#include "unit/cli/bus.h"
#include "unit/cli/run.h"

static void answer(void *userdata, const Parley__ControlRequest *request,
                   struct fake_answer *ret_answer)
{
    const Parley__ControlReply *(*reply)(void) = *(const Parley__ControlReply *(**)(void))userdata;
    if (request->body_case == PARLEY__CONTROL_REQUEST__BODY_LIST)
        ret_answer->reply = reply();
}

static const Parley__ControlReply *(*listed)(void);

static int set_up(void **state)
{
    listed = bus_list;
    *state = fake_broker_new(answer, &listed);
    return 0;
}

static int tear_down(void **state)
{
    fake_broker_free(*state);
    return 0;
}

static void assert_prints(struct fake_broker *broker, const char *option, const char *golden)
{
    struct run run = RUN("ls", "--url", fake_broker_url(broker), option);
    assert_string_equal(run.err, "");
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_golden(run.out, golden);
    run_free(&run);
}

static void test_tables_are_as_the_golden_file_has_them(void **state)
{
    assert_prints(*state, NULL, "ls.txt");
}

static void test_json_is_as_the_golden_file_has_it(void **state)
{
    assert_prints(*state, "--json", "ls.json");
}

static void test_json_is_json_with_every_instance(void **state)
{
    struct run run = RUN("ls", "--json", "--url", fake_broker_url(*state));
    json_t *json = json_loads(run.out, 0, NULL);
    const char *broker = NULL, *version = NULL;
    json_t *instances = NULL;
    assert_non_null(json);
    assert_int_equal(json_unpack(json, "{s:s,s:[{s:[{s:s,s:o}]}]}", "broker", &broker, "interfaces",
                                 "versions", "version", &version, "instances", &instances),
                     0);
    assert_string_equal(broker, "0123456789abcdef");
    assert_string_equal(version, "1.0.0");
    assert_int_equal(json_array_size(instances), 2);
    json_decref(json);
    run_free(&run);
}

static void test_names_are_one_a_line(void **state)
{
    struct run run = RUN("ls", "--names", "--url", fake_broker_url(*state));
    assert_string_equal(run.out, "catalog\norders\n");
    run_free(&run);
}

static void test_methods_of_several_versions_are_listed_once(void **state)
{
    struct run run = RUN("ls", "--methods", "--url", fake_broker_url(*state));
    assert_string_equal(run.out, "catalog/Get\ncatalog/List\ncatalog/Search\n");
    run_free(&run);
}

static void test_an_empty_bus_is_said_to_be_empty(void **state)
{
    listed = bus_list_empty;
    struct run run = RUN("ls", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(run.out, "Nothing is published. parley(7) tells how a service joins.\n");
    run_free(&run);
    run = RUN("ls", "--json", "--url", fake_broker_url(*state));
    json_t *json = json_loads(run.out, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(json, "interfaces")), 0);
    json_decref(json);
    run_free(&run);
}

static void test_an_argument_too_many_is_refused(void **state)
{
    struct run run = RUN("ls", "catalog", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    assert_contains(run.err, "'catalog' is one too many");
    run_free(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tables_are_as_the_golden_file_has_them, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_json_is_as_the_golden_file_has_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_json_is_json_with_every_instance, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_are_one_a_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_methods_of_several_versions_are_listed_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_an_empty_bus_is_said_to_be_empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_argument_too_many_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
