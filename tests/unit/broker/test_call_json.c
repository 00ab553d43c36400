/*
 * Calls in JSON, over a relay that does as it is told: what comes out of a text, and what an end
 * becomes.
 */
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/call_http.h"
#include "broker/call_json.h"
#include "fake_relay.h"
#include "rpc/rpc.h"
#include "wire/wire.h"

static struct broker broker;
static char *answer; /* the last one */
static unsigned answers;

static void on_answered(char *text, size_t bytes, void *userdata)
{
    assert_ptr_equal(userdata, &answer);
    assert_non_null(text);
    assert_int_equal(strlen(text), bytes);
    free(answer);
    answer = text;
    answers++;
}

static uint64_t ask_bytes(const char *text, size_t bytes)
{
    static const struct replier_peer peer = {.text = "a test"};
    return call_json_text(&broker, (const uint8_t *)text, bytes, &peer, on_answered, &answer);
}

static uint64_t ask(const char *text)
{
    return ask_bytes(text, strlen(text));
}

static int set_up(void **state)
{
    (void)state;
    fake_relay_set_up(&broker);
    answers = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(fake_schema_users, 0);
    fake_relay_tear_down();
    free(answer);
    answer = NULL;
    return 0;
}

static void has(const char *part)
{
    if (!answer || !strstr(answer, part))
        fail_msg("no %s in %s", part, answer ? answer : "nothing");
}

static void refused(const char *text, const char *why)
{
    unsigned before = answers;
    assert_int_equal(ask(text), 0);
    assert_int_equal(answers, before + 1);
    has("\"status\":\"INVALID_ARGUMENT\"");
    has("\"executed\":\"no\"");
    has(why);
    assert_false(fake_call.waits);
}

static const struct relay_end fine = {.status = PARLEY_OK,
                                      .executed = PARLEY_EXECUTED_YES,
                                      .translation = PARLEY_CARRIED,
                                      .version = "2.0.0",
                                      .payload = (const uint8_t *)"\x10\x05\x1a\x02hi",
                                      .payload_bytes = 6};

/* ---- The whole call in one text ---- */

static void test_call_is_made_of_its_text(void **state)
{
    (void)state;
    assert_int_equal(ask("{\"interface\": \"echo\", \"method\": \"Fail\", \"version\": \"1.0.0\", "
                         "\"accept\": \"~2.1, ~1.4\", \"timeout\": \"250ms\", "
                         "\"metadata\": {\"tenant\": \"blue\"}, \"body\": {\"number\": 5}}"),
                     7);
    assert_int_equal(answers, 0);
    assert_string_equal(fake_call.version, "1.0.0");
    assert_string_equal(fake_call.accept, "~2.1, ~1.4");
    assert_int_equal(fake_call.ask.timeout_ns, 250000000);
    assert_int_equal(fake_call.ask.method, 1);
    assert_int_equal(fake_call.ask.payload_bytes, 2);
    assert_memory_equal(fake_call.payload, "\x10\x05", 2);
    assert_int_equal(fake_call.ask.metadata_bytes, 3 + 6 + 4);
    assert_memory_equal(fake_call.metadata, "\x06\x04\0tenantblue", 13);
    assert_int_equal(fake_schema_users, 1);
    fake_end(&fine);
    assert_string_equal(answer, "{\"status\":\"OK\",\"executed\":\"yes\",\"version\":\"1.0.0\","
                                "\"served_by\":\"2.0.0\",\"translation\":\"carried\","
                                "\"reply\":{\"number\": 5, \"text\": \"hi\"}}");
}

static void test_least_call_has_interface_and_method(void **state)
{
    (void)state;
    assert_int_equal(ask(" \n{\"interface\":\"echo\",\"method\":\"Echo\"}"), 7);
    assert_int_equal(fake_call.ask.payload_bytes, 0);
    assert_int_equal(fake_call.ask.metadata_bytes, 0);
    assert_int_equal(fake_call.ask.timeout_ns, 0);
    assert_string_equal(fake_call.version, "");
    fake_end(&fine);
    has("\"status\":\"OK\"");
}

static void test_range_means_the_best_version_in_it(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"^1", "1.2.0"}, {"~3.0, ~1.0, *", "1.0.0"}, {"*", "2.0.0"}, {"<1.1 || 2.x", "2.0.0"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[128];
        (void)snprintf(text, sizeof(text),
                       "{\"interface\":\"echo\",\"method\":\"Echo\",\"version\":\"%s\"}",
                       cases[i][0]);
        assert_int_equal(ask(text), 7);
        assert_string_equal(fake_call.version, cases[i][1]);
        fake_end(&fine);
    }
    assert_int_equal(ask("{\"interface\":\"echo\",\"method\":\"Echo\",\"version\":\"~3\"}"), 0);
    has("\"status\":\"NOT_FOUND\"");
    has("no version of echo is in the range \\\"~3\\\"; there is: 1.0.0, 1.2.0, 2.0.0");
    refused("{\"interface\":\"echo\",\"method\":\"Echo\",\"version\":\"~~\"}", "~~");
}

static void test_one_way_has_no_reply(void **state)
{
    (void)state;
    assert_int_equal(ask("{\"interface\":\"echo\",\"method\":\"Echo\",\"one_way\":true}"), 7);
    assert_true(fake_call.ask.one_way);
    fake_end(&(struct relay_end){
        .status = PARLEY_OK, .executed = PARLEY_EXECUTED_UNKNOWN, .version = ""});
    has("\"executed\":\"unknown\"");
    assert_null(strstr(answer, "reply"));
}

static void test_end_that_is_not_ok_has_its_sentence(void **state)
{
    (void)state;
    assert_int_equal(ask("{\"interface\":\"echo\",\"method\":\"Echo\"}"), 7);
    fake_end(&(struct relay_end){.status = PARLEY_UNAVAILABLE,
                                 .executed = PARLEY_EXECUTED_UNKNOWN,
                                 .version = "",
                                 .text = "the service \"died\"\n"});
    has("\"status\":\"UNAVAILABLE\",\"text\":\"the service \\\"died\\\"\\n\",\"executed\":"
        "\"unknown\"");
    assert_null(strstr(answer, "served_by"));
}

static void test_sentence_that_is_no_text_is_not_passed_on(void **state)
{
    (void)state;
    assert_int_equal(ask("{\"interface\":\"echo\",\"method\":\"Echo\"}"), 7);
    fake_end(&(struct relay_end){.status = PARLEY_INTERNAL, .version = "", .text = "\xff\xfe"});
    has("\"text\":\"?\"");
}

static void test_reply_that_is_no_message_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(ask("{\"interface\":\"echo\",\"method\":\"Echo\"}"), 7);
    struct relay_end end = fine;
    end.payload_bytes = 5;
    fake_end(&end);
    has("\"status\":\"INTERNAL\"");
    has("\"executed\":\"yes\"");
}

static void test_what_the_relay_refuses_is_answered(void **state)
{
    (void)state;
    fake_refusal = PARLEY_RESOURCE_EXHAUSTED;
    assert_int_equal(ask("{\"interface\":\"echo\",\"method\":\"Echo\"}"), 0);
    has("\"status\":\"RESOURCE_EXHAUSTED\",\"text\":\"refused\",\"executed\":\"no\"");
}

/* ---- Bad texts ---- */

static void test_what_is_not_there_is_not_found(void **state)
{
    (void)state;
    assert_int_equal(ask("{\"interface\":\"ehco\",\"method\":\"Echo\"}"), 0);
    has("\"status\":\"NOT_FOUND\"");
    has("there is: echo");
    assert_int_equal(ask("{\"interface\":\"echo\",\"method\":\"Ecko\"}"), 0);
    has("\"status\":\"NOT_FOUND\"");
    has("Ecko");
}

static void test_every_member_is_checked(void **state)
{
    (void)state;
#define CALL "{\"interface\":\"echo\",\"method\":\"Echo\","
    refused("{\"method\":\"Echo\"}", "\\\"interface\\\" is missing");
    refused("{\"interface\":\"echo\"}", "\\\"method\\\" is missing");
    refused("{\"interface\":5,\"method\":\"Echo\"}", "\\\"interface\\\" is not a string");
    refused("{\"interface\":\"\",\"method\":\"Echo\"}", "\\\"interface\\\" is not a string");
    refused("{\"interface\":\"echo\",\"method\":\"E\\u0000\"}", "neither a frame nor JSON");
    refused(CALL "\"acept\":\"*\"}", "\\\"acept\\\" is not known");
    refused(CALL "\"accept\":[]}", "\\\"accept\\\" is not a string");
    refused(CALL "\"version\":1.0}", "\\\"version\\\" is not a string");
    refused(CALL "\"one_way\":1}", "\\\"one_way\\\" is not true or false");
    refused(CALL "\"timeout\":5}", "\\\"timeout\\\" is not a duration");
    refused(CALL "\"timeout\":\"0s\"}", "\\\"timeout\\\" is not a duration");
    refused(CALL "\"timeout\":\"61m\"}", "\\\"timeout\\\" is not a duration");
    refused(CALL "\"body\":[]}", "\\\"body\\\" is not an object");
    refused(CALL "\"body\":{\"numbr\":1}}", "the body is no echo.v1.Message");
    refused(CALL "\"body\":{\"number\":\"x\"}}", "number");
    refused(CALL "\"metadata\":[]}", "\\\"metadata\\\" is not an object");
    refused(CALL "\"metadata\":{\"a\":1}}", "\\\"a\\\" is no string");
    refused(CALL "\"metadata\":{\"A\":\"\"}}", "a key is 1 to 64 bytes");
    refused(CALL "\"metadata\":{\"parley.peer.uid\":\"0\"}}", "the bus says itself");
    refused(CALL "\"body\":{},\"body\":{}}", "duplicate");
}

static void test_text_that_is_no_object_is_refused(void **state)
{
    (void)state;
    refused("", "neither a frame nor JSON");
    refused("[]", "the JSON is no object");
    refused("{\"interface\":\"echo\",\"method\":\"Echo\"} x", "neither a frame nor JSON");
    refused("{\"interface\":\"\xff\"}", "neither a frame nor JSON");
    assert_int_equal(ask_bytes("{}\0", 3), 0);
    has("neither a frame nor JSON");
}

static void test_every_truncation_is_refused(void **state)
{
    (void)state;
    static const char whole[] =
        "{\"interface\":\"echo\",\"method\":\"Echo\",\"body\":{\"number\":1}}";
    for (size_t bytes = 0; bytes < sizeof(whole) - 1; bytes++) {
        /* behind it is what must not be read */
        char *text = malloc(bytes ? bytes : 1);
        memcpy(text, whole, bytes);
        assert_int_equal(ask_bytes(text, bytes), 0);
        has("\"status\":\"INVALID_ARGUMENT\"");
        free(text);
    }
}

static void test_pairs_of_metadata_are_bounded(void **state)
{
    (void)state;
    for (int count = RPC_METADATA_PAIRS_MAX; count <= RPC_METADATA_PAIRS_MAX + 1; count++) {
        char text[1024];
        int used = snprintf(text, sizeof(text), CALL "\"metadata\":{\"k0\":\"\"");
        for (int i = 1; i < count; i++)
            used += snprintf(text + used, sizeof(text) - (size_t)used, ",\"k%d\":\"\"", i);
        (void)snprintf(text + used, sizeof(text) - (size_t)used, "}}");
        if (count == RPC_METADATA_PAIRS_MAX) {
            assert_int_equal(ask(text), 7);
            fake_end(&fine);
        } else {
            refused(text, "\\\"metadata\\\" has 33 members: at most 32");
        }
    }
}

static void test_text_is_bounded(void **state)
{
    (void)state;
    char *text = malloc(CALL_JSON_BYTES_MAX + 2);
    static const char whole[] = "{\"interface\":\"echo\",\"method\":\"Echo\"}";
    memset(text, ' ', CALL_JSON_BYTES_MAX + 1);
    memcpy(text, whole, sizeof(whole) - 1);
    assert_int_equal(ask_bytes(text, CALL_JSON_BYTES_MAX), 7);
    fake_end(&fine);
    assert_int_equal(ask_bytes(text, CALL_JSON_BYTES_MAX + 1), 0);
    has("at most 4 MiB");
    free(text);
}

static void test_reply_is_bounded(void **state)
{
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        /* {"text": "..."} around it takes 12 bytes */
        size_t text_bytes = CALL_JSON_BYTES_MAX - 12 + over;
        uint8_t *payload = malloc(text_bytes + 16);
        size_t used = 0;
        payload[used++] = 0x1a;
        for (size_t left = text_bytes;; left >>= 7) {
            payload[used++] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
            if (left <= 0x7f)
                break;
        }
        memset(payload + used, 'x', text_bytes);
        assert_int_equal(ask("{\"interface\":\"echo\",\"method\":\"Echo\"}"), 7);
        struct relay_end end = fine;
        end.payload = payload;
        end.payload_bytes = used + text_bytes;
        fake_end(&end);
        free(payload);
        has(over ? "\"status\":\"RESOURCE_EXHAUSTED\"" : "\"status\":\"OK\"");
        if (over)
            has("more than 4 MiB as JSON");
    }
}

/* ---- HTTP's status ---- */

static void test_http_status_is_grpc_gateways(void **state)
{
    (void)state;
    static const unsigned codes[PARLEY_STATUS_COUNT] = {200, 499, 500, 400, 504, 404, 409, 403, 429,
                                                        400, 409, 400, 501, 500, 503, 500, 401};
    for (unsigned i = 0; i < PARLEY_STATUS_COUNT; i++)
        assert_int_equal(call_http_status((enum parley_status)i), codes[i]);
    assert_int_equal(call_http_status((enum parley_status)PARLEY_STATUS_COUNT), 500);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_call_is_made_of_its_text),
        TEST(test_least_call_has_interface_and_method),
        TEST(test_range_means_the_best_version_in_it),
        TEST(test_one_way_has_no_reply),
        TEST(test_end_that_is_not_ok_has_its_sentence),
        TEST(test_sentence_that_is_no_text_is_not_passed_on),
        TEST(test_reply_that_is_no_message_is_an_error),
        TEST(test_what_the_relay_refuses_is_answered),
        TEST(test_what_is_not_there_is_not_found),
        TEST(test_every_member_is_checked),
        TEST(test_text_that_is_no_object_is_refused),
        TEST(test_every_truncation_is_refused),
        TEST(test_pairs_of_metadata_are_bounded),
        TEST(test_text_is_bounded),
        TEST(test_reply_is_bounded),
        TEST(test_http_status_is_grpc_gateways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
