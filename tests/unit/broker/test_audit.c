/* The audit trail: what is written, how much of it, and where to. */
#include "peers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/clock.h"

#define NOW_NS (UINT64_C(1000) * NS_PER_S)

static struct broker *broker;
static char path[64], moved[80];
static json_t *lines[64];
static size_t line_count;

static int begin(void **state)
{
    (void)state;
    struct error_text error = {""};
    (void)snprintf(path, sizeof(path), "/tmp/parley-audit-%d", (int)getpid());
    (void)snprintf(moved, sizeof(moved), "%s.1", path);
    (void)unlink(path);
    broker = broker_start(NULL);
    assert_int_equal(audit_init(&broker->audit, path, &error), 0);
    line_count = 0;
    return 0;
}

static int end(void **state)
{
    (void)state;
    while (line_count > 0)
        json_decref(lines[--line_count]);
    broker_free(broker);
    (void)unlink(path);
    (void)unlink(moved);
    return 0;
}

static void read_lines(const char *file_path)
{
    char text[4096];
    while (line_count > 0)
        json_decref(lines[--line_count]);
    FILE *file = fopen(file_path, "re");
    assert_non_null(file);
    while (line_count < 64 && fgets(text, sizeof(text), file)) {
        lines[line_count] = json_loads(text, 0, NULL);
        if (!lines[line_count])
            fail_msg("no JSON: %s", text);
        line_count++;
    }
    (void)fclose(file);
}

static void expect(size_t index, const char *key, const char *value)
{
    const char *got = json_string_value(json_object_get(lines[index], key));
    if (!got || !strstr(got, value))
        fail_msg("%s is '%s', not '%s'", key, got ? got : "(missing)", value);
}

static json_int_t number(size_t index, const char *key)
{
    return json_integer_value(json_object_get(lines[index], key));
}

static void test_a_link_that_is_refused_is_written_down_as_the_kernel_knows_it(void **state)
{
    (void)state;
    struct peer peer;
    peer_connect(&peer, broker);
    peer_make_stats(&peer);
    peer_say_hello(&peer, 99, "old\nprogram", &peer.stats.fd, 1);
    peer_is_refused(&peer, PARLEY_FAILED_PRECONDITION, "protocol 99");
    peer_leave(&peer);
    read_lines(path);
    assert_int_equal(line_count, 1);
    expect(0, "topic", "audit.link");
    expect(0, "why", "protocol 99");
    expect(0, "status", "FAILED_PRECONDITION");
    expect(0, "time", "Z");
    expect(0, "program", "test_broker_aud"); /* the kernel keeps 15 bytes */
    assert_int_equal(number(0, "pid"), getpid());
    assert_int_equal(number(0, "uid"), getuid());
    assert_int_equal(number(0, "gid"), getgid());
}

static void test_publications_and_contracts_that_are_refused_are_written_down(void **state)
{
    (void)state;
    struct peer peer;
    struct set v1, v2;
    set_make(&v1, "things", "1.0.0", "things.v1", NULL, 2);
    set_make(&v2, "things", "2.0.0", "things.v2", NULL, 2);
    peer_join(&peer, broker, "a program");
    publish(&peer, 1, &v1);
    publish_refused(&peer, 1, &v1, PARLEY_ALREADY_EXISTS, "published already");
    say_open(&peer, 1, &v1, "nonsense");
    (void)hear_opened(&peer, 1, PARLEY_INVALID_ARGUMENT);
    say_open(&peer, 2, &v2, NULL);
    (void)hear_opened(&peer, 2, PARLEY_FAILED_PRECONDITION);
    peer_leave(&peer);
    read_lines(path);
    assert_int_equal(line_count, 3);
    expect(0, "topic", "audit.publish");
    expect(0, "from", "a program");
    expect(0, "interface", "things");
    expect(0, "version", "1.0.0");
    expect(1, "topic", "audit.contract");
    expect(1, "status", "INVALID_ARGUMENT");
    expect(2, "topic", "audit.contract");
    expect(2, "version", "2.0.0");
    set_free(&v1);
    set_free(&v2);
}

static void control(const void *data, size_t bytes)
{
    uint8_t *answer;
    size_t answer_bytes;
    assert_int_equal(control_handle(broker, data, bytes, NULL, &answer, &answer_bytes), 0);
    free(answer);
}

static void test_the_control_api_s_refusals_are_written_down_and_answers_are_not(void **state)
{
    (void)state;
    uint8_t data[256];
    Parley__ListRequest list = PARLEY__LIST_REQUEST__INIT;
    Parley__DrainRequest drain = PARLEY__DRAIN_REQUEST__INIT;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_LIST;
    request.list = &list;
    control(data, parley__control_request__pack(&request, data));
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_DRAIN;
    request.drain = &drain;
    control(data, parley__control_request__pack(&request, data));
    control("\xff\xff", 2);
    read_lines(path);
    assert_int_equal(line_count, 2);
    expect(0, "topic", "audit.control");
    expect(0, "asked", "drain");
    expect(0, "why", "say which");
    expect(1, "asked", "a control request");
    expect(1, "why", "no ControlRequest");
}

static void test_what_peers_say_cannot_make_lines(void **state)
{
    (void)state;
    const struct refusal refusal = {.topic = "audit.http",
                                    .from = "a\n{\"topic\":\"audit.link\"}\xff\x1b[2J",
                                    .asked = "POST \"/\\",
                                    .status = PARLEY_PERMISSION_DENIED};
    audit_refused(broker, &refusal, "no\r\nway");
    read_lines(path);
    assert_int_equal(line_count, 1);
    expect(0, "from", "a?{\"topic\":\"audit.link\"}??[2J");
    expect(0, "asked", "POST \"/\\");
    expect(0, "why", "no??way");
    assert_null(json_object_get(lines[0], "uid"));
}

static void test_the_file_is_opened_anew(void **state)
{
    (void)state;
    const struct refusal refusal = {.topic = "audit.http", .status = PARLEY_PERMISSION_DENIED};
    audit_refused(broker, &refusal, "first");
    assert_int_equal(rename(path, moved), 0);
    audit_refused(broker, &refusal, "second");
    audit_reopen(&broker->audit);
    audit_refused(broker, &refusal, "third");
    read_lines(moved);
    assert_int_equal(line_count, 2);
    read_lines(path);
    assert_int_equal(line_count, 1);
    expect(0, "why", "third");
}

static void test_a_file_that_cannot_be_opened_anew_leaves_the_old(void **state)
{
    (void)state;
    const struct refusal refusal = {.topic = "audit.http", .status = PARLEY_PERMISSION_DENIED};
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(symlink("/tmp/nothing-here", path), 0); /* is not followed */
    audit_reopen(&broker->audit);
    audit_refused(broker, &refusal, "first");
    read_lines(moved);
    assert_int_equal(line_count, 1);
}

static void test_what_is_no_file_is_refused(void **state)
{
    (void)state;
    struct audit audit;
    struct error_text error = {""};
    assert_int_equal(audit_init(&audit, "/tmp", &error), -EISDIR);
    assert_words(error.text, "cannot open /tmp for the audit trail");
    assert_int_equal(audit_init(&audit, "/dev/null", &error), -EINVAL);
    assert_words(error.text, "/dev/null is no file");
    assert_int_equal(audit_init(&audit, NULL, &error), 0);
    audit_deinit(&audit);
}

static void test_a_user_fills_in_a_burst_and_then_one_a_second(void **state)
{
    (void)state;
    struct audit audit = {.fd = -1};
    for (unsigned i = 0; i < AUDIT_USER_BURST; i++)
        assert_true(audit_admits(&audit, true, 7, NOW_NS));
    assert_false(audit_admits(&audit, true, 7, NOW_NS));
    assert_false(audit_admits(&audit, true, 7, NOW_NS + AUDIT_USER_NS - 1));
    assert_true(audit_admits(&audit, true, 8, NOW_NS)); /* another one is seen all the same */
    assert_true(audit_admits(&audit, true, 7, NOW_NS + AUDIT_USER_NS));
    assert_false(audit_admits(&audit, true, 7, NOW_NS + AUDIT_USER_NS));
    assert_int_equal(audit.suppressed, 3);
}

static void test_all_users_together_fill_in_a_burst_and_then_ten_a_second(void **state)
{
    (void)state;
    struct audit audit = {.fd = -1};
    unsigned admitted = 0;
    for (uid_t uid = 0; uid < 200; uid++)
        for (unsigned i = 0; i < 20; i++)
            admitted += audit_admits(&audit, true, uid, NOW_NS);
    assert_int_equal(admitted, AUDIT_BURST);
    assert_false(audit_admits(&audit, false, 0, NOW_NS));
    assert_true(audit_admits(&audit, true, 3, NOW_NS + AUDIT_NS));
    assert_false(audit_admits(&audit, true, 3, NOW_NS + AUDIT_NS));
}

/* Users beyond those that are told apart share what one has. */
static void test_users_beyond_the_limit_share_a_burst(void **state)
{
    (void)state;
    struct audit audit = {.fd = -1};
    for (uid_t uid = 0; uid < AUDIT_USER_MAX; uid++)
        assert_true(audit_admits(&audit, true, uid, NOW_NS));
    unsigned admitted = 0;
    for (uid_t uid = 1000; uid < 1000 + 2 * AUDIT_USER_BURST; uid++)
        admitted += audit_admits(&audit, true, uid, NOW_NS);
    assert_int_equal(admitted, AUDIT_USER_BURST);
    assert_int_equal(audit.user_count, AUDIT_USER_MAX);
}

static void test_the_next_line_says_how_many_were_left_out(void **state)
{
    (void)state;
    const struct refusal refusal = {.topic = "audit.http", .status = PARLEY_PERMISSION_DENIED};
    broker->audit.suppressed = 41;
    audit_refused(broker, &refusal, "no");
    audit_refused(broker, &refusal, "no");
    broker->audit.suppressed = 2;
    audit_deinit(&broker->audit); /* nothing follows: it says so at the end */
    read_lines(path);
    assert_int_equal(line_count, 3);
    assert_int_equal(number(0, "suppressed"), 41);
    assert_null(json_object_get(lines[1], "suppressed"));
    assert_int_equal(number(2, "suppressed"), 2);
}

#define audit_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        audit_test(test_a_link_that_is_refused_is_written_down_as_the_kernel_knows_it),
        audit_test(test_publications_and_contracts_that_are_refused_are_written_down),
        audit_test(test_the_control_api_s_refusals_are_written_down_and_answers_are_not),
        audit_test(test_what_peers_say_cannot_make_lines),
        audit_test(test_the_file_is_opened_anew),
        audit_test(test_a_file_that_cannot_be_opened_anew_leaves_the_old),
        audit_test(test_what_is_no_file_is_refused),
        cmocka_unit_test(test_a_user_fills_in_a_burst_and_then_one_a_second),
        cmocka_unit_test(test_all_users_together_fill_in_a_burst_and_then_ten_a_second),
        cmocka_unit_test(test_users_beyond_the_limit_share_a_burst),
        audit_test(test_the_next_line_says_how_many_were_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
