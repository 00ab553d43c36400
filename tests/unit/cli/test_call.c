#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "parley/link.pb-c.h"
#include "schema/schema.h"
#include "unit/cli/bus.h"
#include "unit/cli/run.h"
#include "wire/wire.h"

/* The fake broker: describes the demo's catalogue, and answers calls as `call_*` say. */
static struct {
    char *set;
    size_t set_bytes;
    struct schema *schema;
    /* answers */
    uint32_t status;
    const char *text;
    Parley__DescribeReply describe;
    Parley__CallReply call;
    Parley__ControlReply reply;
    uint8_t *payload;
    size_t payload_bytes;
    /* what was asked */
    unsigned calls;
    char described_version[32];
    char version[32], method[32], json[256], metadata[64], accept[64];
    uint64_t timeout_ns;
    bool one_way;
} bus;

static void describe(const Parley__DescribeRequest *request)
{
    snprintf(bus.described_version, sizeof(bus.described_version), "%s",
             request->version ? request->version : "none");
    parley__describe_reply__init(&bus.describe);
    bus.describe.interface = (char *)"catalog";
    bus.describe.version = (char *)"2.0.0";
    bus.describe.service = (char *)"catalog.v2.Catalog";
    bus.describe.has_descriptor_set = true;
    bus.describe.descriptor_set.data = (uint8_t *)bus.set;
    bus.describe.descriptor_set.len = bus.set_bytes;
    bus.reply.body_case = PARLEY__CONTROL_REPLY__BODY_DESCRIBE;
    bus.reply.describe = &bus.describe;
}

static void record(const Parley__CallRequest *request)
{
    size_t index;
    char *json = NULL;
    const struct schema_method *method = schema_method_find(bus.schema, request->method, &index);
    bus.calls++;
    snprintf(bus.version, sizeof(bus.version), "%s", request->version);
    snprintf(bus.method, sizeof(bus.method), "%s", request->method);
    bus.timeout_ns = request->timeout_ns;
    bus.one_way = request->one_way;
    snprintf(bus.accept, sizeof(bus.accept), "%s", request->accept ? request->accept : "(any)");
    if (method && json_from_wire(method->input, request->payload.data, request->payload.len, 0,
                                 false, &json, NULL) == 0)
        snprintf(bus.json, sizeof(bus.json), "%s", json);
    free(json);
    bus.metadata[0] = '\0';
    for (size_t i = 0; i < request->n_metadata; i++) {
        size_t at = strlen(bus.metadata);
        snprintf(bus.metadata + at, sizeof(bus.metadata) - at, "%s=%.*s;",
                 request->metadata[i]->key, (int)request->metadata[i]->value.len,
                 (char *)request->metadata[i]->value.data);
    }
}

static void call(const Parley__CallRequest *request)
{
    record(request);
    parley__call_reply__init(&bus.call);
    bus.call.has_executed = true;
    bus.call.executed = bus.status == 0 ? 1 : 2;
    bus.call.served_by = (char *)"1.0.0";
    bus.call.has_translation = true;
    bus.call.translation = PARLEY__TRANSLATION_CLASS__CARRIED;
    bus.call.has_payload = bus.status == 0 && !request->one_way;
    bus.call.payload.data = bus.payload;
    bus.call.payload.len = bus.payload_bytes;
    bus.reply.has_status = true;
    bus.reply.status = bus.status;
    bus.reply.text = (char *)bus.text;
    bus.reply.body_case = PARLEY__CONTROL_REPLY__BODY_CALL;
    bus.reply.call = &bus.call;
}

static void answer(void *userdata, const Parley__ControlRequest *request,
                   struct fake_answer *ret_answer)
{
    (void)userdata;
    parley__control_reply__init(&bus.reply);
    ret_answer->reply = &bus.reply;
    if (request->body_case == PARLEY__CONTROL_REQUEST__BODY_CALL)
        call(request->call);
    else if (strcmp(request->describe->interface, "nothing") == 0)
        ret_answer->reply = bus_refusal();
    else
        describe(request->describe);
}

static struct fake_broker *broker;

static int set_up(void **state)
{
    (void)state;
    struct error_text error = {.text = ""};
    memset(&bus, 0, sizeof(bus));
    bus.set = read_file(CATALOG_V2_SET, &bus.set_bytes);
    if (schema_new((uint8_t *)bus.set, bus.set_bytes, NULL, &bus.schema, &error) < 0)
        fail_msg("%s", error.text);
    const struct schema_message *package = schema_message_find(bus.schema, "catalog.v2.Package");
    assert_int_equal(json_to_wire(package,
                                  "{\"name\": \"libc6\", \"priority\": \"PRIORITY_EXTRA\", "
                                  "\"installedBytes\": \"13000000\"}",
                                  &bus.payload, &bus.payload_bytes, &error),
                     0);
    broker = fake_broker_new(answer, NULL);
    setenv("PARLEY_CONTROL", fake_broker_url(broker), 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unsetenv("PARLEY_CONTROL");
    broker = fake_broker_free(broker);
    schema_unref(bus.schema);
    free(bus.set);
    free(bus.payload);
    return 0;
}

static void test_the_request_is_encoded_and_the_reply_decoded(void **state)
{
    (void)state;
    struct run run = RUN("call", "catalog/Get", "{\"package\": \"libc6\"}");
    assert_string_equal(run.err, "");
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(bus.described_version, "none");
    assert_string_equal(bus.version, "2.0.0");
    assert_string_equal(bus.method, "Get");
    json_t *sent = json_loads(bus.json, 0, NULL), *got = json_loads(run.out, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(sent, "package")), "libc6");
    assert_string_equal(json_string_value(json_object_get(got, "priority")), "PRIORITY_EXTRA");
    assert_string_equal(json_string_value(json_object_get(got, "installedBytes")), "13000000");
    json_decref(sent);
    json_decref(got);
    run_free(&run);
}

static void test_a_version_that_was_given_is_asked_for(void **state)
{
    (void)state;
    struct run run = RUN("call", "catalog@2.0.0/Get");
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(bus.described_version, "2.0.0");
    run_free(&run);
}

static void test_without_json_the_request_is_empty(void **state)
{
    (void)state;
    struct run run = RUN("call", "catalog/Get");
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(bus.json, "{}");
    run_free(&run);
}

static void test_json_comes_from_the_standard_input(void **state)
{
    (void)state;
    struct run run = RUN_WITH_INPUT("{\"package\":\n\"dpkg\"}\n", "call", "catalog/Get", "-");
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_contains(bus.json, "dpkg");
    run_free(&run);
}

static void test_json_comes_from_a_file(void **state)
{
    (void)state;
    char path[] = "/tmp/parley-call-XXXXXX", argument[64];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "{\"package\":\"bash\"}", 18), 18);
    close(fd);
    snprintf(argument, sizeof(argument), "@%s", path);
    struct run run = RUN("call", "catalog/Get", argument);
    unlink(path);
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_contains(bus.json, "bash");
    run_free(&run);
    run = RUN("call", "catalog/Get", argument);
    assert_int_equal(run.code, CLI_EXIT_TROUBLE);
    assert_contains(run.err, "cannot be read: No such file");
    run_free(&run);
}

static void test_a_large_input_is_read_whole(void **state)
{
    (void)state;
    size_t blanks = 200000; /* several times the buffer that is read into first */
    char *in = malloc(blanks + 32);
    memset(in, ' ', blanks);
    strcpy(in + blanks, "{\"package\":\"tail\"}");
    struct run run = RUN_WITH_INPUT(in, "call", "catalog/Get", "-");
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_contains(bus.json, "tail");
    run_free(&run);
    free(in);
}

static void test_metadata_and_timeout_travel(void **state)
{
    (void)state;
    struct run run =
        RUN("call", "-m", "tenant=blue", "-m", "x.y_z-1=a=b", "-t", "250ms", "catalog/Get");
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(bus.metadata, "tenant=blue;x.y_z-1=a=b;");
    assert_int_equal(bus.timeout_ns, 250 * NS_PER_MS);
    run_free(&run);
}

static void test_without_a_timeout_the_call_has_ten_seconds(void **state)
{
    (void)state;
    struct run run = RUN("call", "catalog/Get");
    assert_int_equal(bus.timeout_ns, 10 * NS_PER_S);
    run_free(&run);
}

static void test_the_versions_that_may_serve_it_travel(void **state)
{
    struct run run = RUN("call", "--accept", "~2.1, ~1.4", "catalog/Get", "--url",
                         fake_broker_url(broker));
    (void)state;
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(bus.accept, "~2.1, ~1.4");
    run_free(&run);
    run = RUN("call", "catalog/Get", "--json", "--url", fake_broker_url(broker));
    assert_string_equal(bus.accept, "(any)");
    assert_contains(run.out, "\"translation\":");
    run_free(&run);
}

static void test_a_one_way_call_prints_nothing(void **state)
{
    (void)state;
    struct run run = RUN("call", "catalog/Get");
    assert_false(bus.one_way);
    run_free(&run);
    run = RUN("call", "--one-way", "catalog/Get", "{\"package\": \"libc6\"}");
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_true(bus.one_way);
    assert_contains(bus.json, "libc6");
    assert_string_equal(run.out, "");
    assert_string_equal(run.err, "");
    run_free(&run);
    run = RUN("call", "-1", "--json", "catalog/Get");
    assert_true(bus.one_way);
    assert_contains(run.out, "{\"status\": \"OK\"");
    assert_null(strstr(run.out, "reply"));
    run_free(&run);
}

static void test_a_one_way_call_that_was_not_sent_is_exit_1(void **state)
{
    (void)state;
    bus.status = 14;
    bus.text = "nobody is there";
    struct run run = RUN("call", "--one-way", "catalog/Get");
    assert_int_equal(run.code, CLI_EXIT_REFUSED);
    assert_contains(run.err, "parley: UNAVAILABLE: nobody is there\n");
    run_free(&run);
}

static void test_verbose_tells_status_and_version_on_stderr(void **state)
{
    (void)state;
    struct run run = RUN("call", "-v", "catalog/Get");
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_contains(run.err, "parley: OK, served by 1.0.0 (carried), executed: yes, ");
    run_free(&run);
}

static void test_a_failed_call_is_exit_1_with_status_and_sentence(void **state)
{
    (void)state;
    bus.status = 14;
    bus.text = "the service died";
    struct run run = RUN("call", "-v", "catalog/Get");
    assert_int_equal(run.code, CLI_EXIT_REFUSED);
    assert_string_equal(run.out, "");
    assert_contains(run.err, "UNAVAILABLE, served by 1.0.0 (carried), executed: unknown");
    assert_contains(run.err, "parley: UNAVAILABLE: the service died\n");
    run_free(&run);
}

static void test_json_wraps_the_reply_with_its_status(void **state)
{
    (void)state;
    struct run run = RUN("call", "--json", "catalog/Get");
    json_t *json = json_loads(run.out, 0, NULL);
    const char *status = NULL, *served = NULL, *name = NULL;
    assert_int_equal(json_unpack(json, "{s:s,s:s,s:{s:s}}", "status", &status, "served_by", &served,
                                 "reply", "name", &name),
                     0);
    assert_string_equal(status, "OK");
    assert_string_equal(served, "1.0.0");
    assert_string_equal(name, "libc6");
    json_decref(json);
    run_free(&run);
}

static void test_json_of_a_failed_call_has_status_and_text(void **state)
{
    (void)state;
    bus.status = 5;
    bus.text = "no such package";
    struct run run = RUN("call", "--json", "catalog/Get");
    assert_int_equal(run.code, CLI_EXIT_REFUSED);
    assert_string_equal(run.out, "{\"status\": \"NOT_FOUND\", \"text\": \"no such package\", "
                                 "\"executed\": \"unknown\", \"served_by\": \"1.0.0\", "
                                 "\"translation\": \"carried\"}\n");
    run_free(&run);
}

static void test_a_reply_that_is_no_message_is_a_bad_reply(void **state)
{
    (void)state;
    bus.payload[0] = 0xff;
    struct run run = RUN("call", "catalog/Get");
    assert_int_equal(run.code, CLI_EXIT_BAD_REPLY);
    assert_contains(run.err, "the reply is no catalog.v2.Package");
    run_free(&run);
}

static void assert_refused(const char *const *argv, const char *sentence)
{
    struct run run = run_cli(argv, NULL);
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    assert_contains(run.err, sentence);
    assert_string_equal(run.out, "");
    run_free(&run);
    assert_int_equal(bus.calls, 0);
}

#define REFUSED(sentence, ...) assert_refused((const char *const[]){__VA_ARGS__, NULL}, sentence)

static void test_a_senseless_call_is_refused_before_it_is_made(void **state)
{
    (void)state;
    REFUSED("which method?", "call");
    REFUSED("which method of catalog?", "call", "catalog");
    REFUSED("'Catalog' is no name of an interface", "call", "Catalog/Get");
    REFUSED("'2' is no version", "call", "catalog@2/Get");
    REFUSED("'' is no name of a method", "call", "catalog/");
    REFUSED("'Get/x' is no name of a method", "call", "catalog/Get/x");
    REFUSED("quote the JSON", "call", "catalog/Get", "{\"package\":", "\"x\"}");
    REFUSED("has no method 'Gett'; did you mean 'Get'?", "call", "catalog/Gett");
    REFUSED("has no method 'Frobnicate'; parley describe catalog", "call", "catalog/Frobnicate");
    REFUSED("the request is no catalog.v2.GetRequest", "call", "catalog/Get", "{\"nothing\": 1}");
    REFUSED("the request is no catalog.v2.GetRequest", "call", "catalog/Get", "{\"package\":");
    REFUSED("metadata is KEY=VALUE", "call", "catalog/Get", "-m", "tenant");
    REFUSED("a key is 1 to 64 bytes", "call", "catalog/Get", "-m", "=x");
    REFUSED("a key is 1 to 64 bytes", "call", "catalog/Get", "-m", "Tenant=x");
}

static void test_the_longest_target_is_read_and_one_longer_refused(void **state)
{
    (void)state;
    char target[TARGET_BYTES_MAX + 1];
    struct target parsed;
    struct cli cli = {.err = fopen("/dev/null", "we")};
    memset(target, 'm', sizeof(target));
    memcpy(target, "catalog/", 8);
    target[TARGET_BYTES_MAX - 1] = '\0';
    assert_true(target_parse(&cli, target, &parsed));
    target[TARGET_BYTES_MAX - 1] = 'm';
    target[TARGET_BYTES_MAX] = '\0';
    assert_false(target_parse(&cli, target, &parsed));
    fclose(cli.err);
}

/* "k" * @key_bytes = "v" * @value_bytes */
static char *pair(size_t key_bytes, size_t value_bytes)
{
    char *text = malloc(key_bytes + value_bytes + 2);
    memset(text, 'k', key_bytes);
    text[key_bytes] = '=';
    memset(text + key_bytes + 1, 'v', value_bytes);
    text[key_bytes + 1 + value_bytes] = '\0';
    return text;
}

static void test_metadata_are_taken_to_their_limits_and_not_past_them(void **state)
{
    (void)state;
    char *longest = pair(64, 8128), *more = pair(1, 8191), *key = pair(65, 1),
         *value = pair(1, 8193);
    struct run run = RUN("call", "-m", longest, "-m", more, "catalog/Get"); /* 16,384 in all */
    assert_int_equal(run.code, CLI_EXIT_OK);
    run_free(&run);
    bus.calls = 0;
    REFUSED("longer than 16384 bytes", "call", "-m", longest, "-m", more, "-m", "k=", "catalog/Get");
    REFUSED("a key is 1 to 64 bytes", "call", "-m", key, "catalog/Get");
    REFUSED("the value is longer than 8192 bytes", "call", "-m", value, "catalog/Get");
    free(longest);
    free(more);
    free(key);
    free(value);
}

static void test_what_is_not_published_is_the_buss_no(void **state)
{
    (void)state;
    struct run run = RUN("call", "nothing/Get");
    assert_int_equal(run.code, CLI_EXIT_REFUSED);
    assert_contains(run.err, "NOT_FOUND: no interface 'nothing' is published");
    run_free(&run);
}

static void test_descriptors_that_do_not_parse_are_a_bad_reply(void **state)
{
    (void)state;
    bus.set_bytes /= 2;
    struct run run = RUN("call", "catalog/Get");
    assert_int_equal(run.code, CLI_EXIT_BAD_REPLY);
    assert_contains(run.err, "the broker's descriptors of catalog cannot be read");
    run_free(&run);
}

static void test_describe_prints_what_the_golden_file_has(void **state)
{
    (void)state;
    struct run run = RUN("describe", "catalog");
    assert_string_equal(run.err, "");
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_golden(run.out, "describe.txt");
    struct run list = RUN("call", "catalog", "--list");
    assert_string_equal(run.out, list.out);
    assert_int_equal(bus.calls, 0);
    run_free(&run);
    run_free(&list);
}

static void test_describing_one_method_leaves_the_others_out(void **state)
{
    (void)state;
    struct run run = RUN("describe", "catalog/Visit");
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_contains(run.out, "rpc Visit(GetRequest) returns (VisitReply);");
    assert_contains(run.out, "message GetRequest {");
    assert_null(strstr(run.out, "rpc Search"));
    assert_null(strstr(run.out, "message SearchRequest"));
    assert_null(strstr(run.out, "enum Priority"));
    run_free(&run);
}

static void test_describe_as_json_lists_the_methods(void **state)
{
    (void)state;
    struct run run = RUN("describe", "--json", "catalog");
    json_t *json = json_loads(run.out, 0, NULL);
    const char *method = NULL, *input = NULL;
    assert_int_equal(
        json_unpack(json, "{s:[{s:s,s:s}]}", "methods", "method", &method, "input", &input), 0);
    assert_string_equal(method, "Get");
    assert_string_equal(input, "catalog.v2.GetRequest");
    json_decref(json);
    run_free(&run);
}

static void test_describe_writes_the_descriptor_set_to_a_file(void **state)
{
    (void)state;
    char path[] = "/tmp/parley-set-XXXXXX";
    size_t bytes;
    close(mkstemp(path));
    struct run run = RUN("describe", "catalog", "-o", path);
    assert_int_equal(run.code, CLI_EXIT_OK);
    char *written = read_file(path, &bytes);
    unlink(path);
    assert_int_equal(bytes, bus.set_bytes);
    assert_memory_equal(written, bus.set, bytes);
    free(written);
    run_free(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_request_is_encoded_and_the_reply_decoded, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_version_that_was_given_is_asked_for, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_without_json_the_request_is_empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_json_comes_from_the_standard_input, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_json_comes_from_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_large_input_is_read_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_metadata_and_timeout_travel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_a_timeout_the_call_has_ten_seconds, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_versions_that_may_serve_it_travel, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_one_way_call_prints_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_one_way_call_that_was_not_sent_is_exit_1, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_verbose_tells_status_and_version_on_stderr, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_call_is_exit_1_with_status_and_sentence,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_json_wraps_the_reply_with_its_status, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_json_of_a_failed_call_has_status_and_text, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_reply_that_is_no_message_is_a_bad_reply, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_senseless_call_is_refused_before_it_is_made, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_longest_target_is_read_and_one_longer_refused,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_metadata_are_taken_to_their_limits_and_not_past_them,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_not_published_is_the_buss_no, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_descriptors_that_do_not_parse_are_a_bad_reply, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_describe_prints_what_the_golden_file_has, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_describing_one_method_leaves_the_others_out, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_describe_as_json_lists_the_methods, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_describe_writes_the_descriptor_set_to_a_file, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
