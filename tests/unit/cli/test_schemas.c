#include "support/test.h"

#include <jansson.h>
#include <string.h>

#include "cli/cli.h"
#include "unit/cli/bus.h"
#include "unit/cli/run.h"

static char asked[64];

static void answer(void *userdata, const Parley__ControlRequest *request,
                   struct fake_answer *ret_answer)
{
    (void)userdata;
    static uint8_t hash[32] = {0xab, 0xcd, 0xef, 0x01, 0x23, 0x45};
    static Parley__SchemaInfo infos[4];
    static Parley__SchemaInfo *pointers[4];
    static Parley__SchemasReply schemas = PARLEY__SCHEMAS_REPLY__INIT;
    static Parley__ControlReply reply = PARLEY__CONTROL_REPLY__INIT;
    static const char *const versions[] = {"2.0.0", "10.0.0", "1.0.0", "1.1.0"};
    if (request->body_case != PARLEY__CONTROL_REQUEST__BODY_SCHEMAS)
        return;
    snprintf(asked, sizeof(asked), "%s",
             request->schemas->interface ? request->schemas->interface : "(all)");
    for (size_t i = 0; i < 4; i++) {
        parley__schema_info__init(&infos[i]);
        infos[i].interface = (char *)(uintptr_t) "catalog";
        infos[i].version = (char *)(uintptr_t)versions[i];
        infos[i].service = (char *)(uintptr_t) "catalog.Catalog";
        infos[i].has_hash = true;
        infos[i].hash.data = hash;
        infos[i].hash.len = sizeof(hash);
        infos[i].has_bytes = infos[i].has_in_force = infos[i].has_published = true;
        infos[i].bytes = 100;
        infos[i].in_force = i % 2 == 0;
        pointers[i] = &infos[i];
    }
    infos[0].file = (char *)(uintptr_t) "two.binpb";
    infos[0].previous = (char *)(uintptr_t) "catalog.v1";
    infos[1].published = true; /* as an older broker says it */
    infos[3].has_origin = true;
    infos[3].origin = PARLEY__SCHEMA_INFO__ORIGIN__REFUSED;
    schemas.n_schema = asked[0] == 'n' ? 0 : 4;
    schemas.schema = pointers;
    reply.has_status = true;
    reply.body_case = PARLEY__CONTROL_REPLY__BODY_SCHEMAS;
    reply.schemas = &schemas;
    ret_answer->reply = &reply;
}

static int set_up(void **state)
{
    *state = fake_broker_new(answer, NULL);
    return 0;
}

static int tear_down(void **state)
{
    fake_broker_free(*state);
    return 0;
}

static void test_each_content_has_a_row_by_version(void **state)
{
    struct run run = RUN("schemas", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(asked, "(all)");
    const char *one = strstr(run.out, "1.0.0");
    const char *two = strstr(run.out, "2.0.0");
    const char *ten = strstr(run.out, "10.0.0");
    assert_true(one && two && ten && one < two && two < ten);
    assert_non_null(strstr(run.out, "abcdef012345 "));
    assert_non_null(strstr(one, " client     in force\n"));
    assert_non_null(strstr(run.out, " refused    -\n"));
    assert_non_null(strstr(two, " two.binpb  in force\n"));
    assert_non_null(strstr(ten, " instance   -\n"));
    run_free(&run);
}

static void test_json_has_the_whole_hash(void **state)
{
    struct run run = RUN("schemas", "catalog", "--json", "--url", fake_broker_url(*state));
    assert_string_equal(asked, "catalog");
    json_t *json = json_loads(run.out, 0, NULL);
    const char *version = NULL, *hash = NULL, *client = NULL, *refused = NULL, *folder = NULL;
    int in_force = -1;
    assert_int_equal(json_unpack(json, "{s:[{s:s},{s:s},{s:s,s:s,s:b,s:s}]}", "schemas", "origin",
                                 &client, "origin", &refused, "version", &version, "sha256", &hash,
                                 "in_force", &in_force, "origin", &folder),
                     0);
    assert_string_equal(client, "client");
    assert_string_equal(refused, "refused");
    assert_string_equal(folder, "folder");
    assert_string_equal(version, "2.0.0");
    assert_string_equal(hash, "abcdef0123450000000000000000000000000000000000000000000000000000");
    assert_int_equal(in_force, 1);
    json_decref(json);
    run_free(&run);
}

static void test_an_empty_registry_says_so(void **state)
{
    struct run run = RUN("schemas", "none", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(run.out, "The broker has seen no schema of none.\n");
    run_free(&run);
}

static void test_what_is_no_name_is_refused(void **state)
{
    (void)state;
    struct run run = RUN("schemas", "No/Name");
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    assert_contains(run.err, "'No/Name' is no name of an interface");
    run_free(&run);
}

static void test_two_interfaces_are_one_too_many(void **state)
{
    struct run run = RUN("schemas", "a", "b", "--url", fake_broker_url(*state));
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    run_free(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_content_has_a_row_by_version, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_json_has_the_whole_hash, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_empty_registry_says_so, set_up, tear_down),
        cmocka_unit_test(test_what_is_no_name_is_refused),
        cmocka_unit_test_setup_teardown(test_two_interfaces_are_one_too_many, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
