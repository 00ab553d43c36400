#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "unit/cli/bus.h"
#include "unit/cli/run.h"

static struct fake_answer scripted;

static void answer(void *userdata, const Parley__ControlRequest *request,
                   struct fake_answer *ret_answer)
{
    (void)userdata;
    (void)request;
    *ret_answer = scripted;
}

static struct fake_broker *broker;

static int set_up(void **state)
{
    (void)state;
    broker = fake_broker_new(answer, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    broker = fake_broker_free(broker);
    return 0;
}

static void assert_ls(struct fake_answer answered, int code, const char *sentence)
{
    scripted = answered;
    struct run run = RUN("ls", "--url", fake_broker_url(broker), "--timeout", "5s");
    assert_int_equal(run.code, code);
    assert_string_equal(run.out, "");
    assert_contains(run.err, sentence);
    run_free(&run);
}

static void test_garbage_is_no_broker_of_ours(void **state)
{
    (void)state;
    static const uint8_t garbage[] = {0xff, 0xff, 0xff, 0xff, 0x07};
    assert_ls((struct fake_answer){.data = garbage, .bytes = sizeof(garbage)}, CLI_EXIT_BAD_REPLY,
              "is no Parley broker, or one of another version");
}

static void test_a_truncated_reply_is_no_broker_of_ours(void **state)
{
    (void)state;
    size_t bytes = protobuf_c_message_get_packed_size(&bus_list()->base);
    uint8_t *packed = malloc(bytes);
    protobuf_c_message_pack(&bus_list()->base, packed);
    assert_ls((struct fake_answer){.data = packed, .bytes = bytes - 1}, CLI_EXIT_BAD_REPLY,
              "is no Parley broker");
    free(packed);
}

static void test_an_empty_reply_does_not_hold_what_was_asked_for(void **state)
{
    (void)state;
    assert_ls((struct fake_answer){.bytes = 0}, CLI_EXIT_BAD_REPLY,
              "answered without what was asked for");
}

static void test_a_reply_of_another_kind_does_not_hold_what_was_asked_for(void **state)
{
    (void)state;
    assert_ls((struct fake_answer){.reply = bus_stats()}, CLI_EXIT_BAD_REPLY,
              "answered without what was asked for");
}

static void test_a_status_is_named_with_its_sentence(void **state)
{
    (void)state;
    assert_ls((struct fake_answer){.reply = bus_refusal()}, CLI_EXIT_REFUSED,
              "parley: NOT_FOUND: no interface 'nothing' is published");
}

static void test_a_status_that_is_none_is_a_number(void **state)
{
    (void)state;
    Parley__ControlReply reply = PARLEY__CONTROL_REPLY__INIT;
    reply.has_status = true;
    reply.status = 4000000000;
    assert_ls((struct fake_answer){.reply = &reply}, CLI_EXIT_REFUSED,
              "STATUS_4000000000: the broker gave no reason");
}

static void test_a_sentence_cannot_command_the_terminal(void **state)
{
    (void)state;
    Parley__ControlReply reply = PARLEY__CONTROL_REPLY__INIT;
    reply.has_status = true;
    reply.status = 13;
    reply.text = (char *)"\033[2Jbroken";
    assert_ls((struct fake_answer){.reply = &reply}, CLI_EXIT_REFUSED, "INTERNAL: ?[2Jbroken");
}

static void test_silence_is_no_broker(void **state)
{
    (void)state;
    scripted = (struct fake_answer){.silent = true};
    struct run run = RUN("ls", "--url", fake_broker_url(broker), "--timeout", "20ms");
    assert_int_equal(run.code, CLI_EXIT_NO_BROKER);
    assert_contains(run.err, "no answer from ipc://");
    run_free(&run);
}

static void test_nobody_there_says_where_and_what_to_do(void **state)
{
    (void)state;
    struct run run = RUN("ls", "--url", "ipc:///nonexistent/control.ipc");
    assert_int_equal(run.code, CLI_EXIT_NO_BROKER);
    assert_contains(run.err, "ipc:///nonexistent/control.ipc");
    assert_contains(run.err, "Start parleyd");
    run_free(&run);
}

static void test_what_is_no_url_is_the_users_mistake(void **state)
{
    (void)state;
    struct run run = RUN("ls", "--url", "/run/parley/control.ipc");
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    assert_contains(run.err, "use a URL such as");
    run_free(&run);
}

static void test_the_environment_says_where_the_broker_is(void **state)
{
    (void)state;
    scripted = (struct fake_answer){.reply = bus_list()};
    setenv("PARLEY_CONTROL", fake_broker_url(broker), 1);
    struct run run = RUN("ls", "--names");
    unsetenv("PARLEY_CONTROL");
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_contains(run.out, "catalog");
    run_free(&run);
}

static void test_a_folder_too_long_for_a_socket_is_said_so(void **state)
{
    (void)state;
    char folder[200];
    memset(folder, 'd', sizeof(folder));
    folder[0] = '/';
    folder[sizeof(folder) - 1] = '\0';
    setenv("PARLEY_DIR", folder, 1);
    struct run run = RUN("ls");
    unsetenv("PARLEY_DIR");
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    assert_contains(run.err, "too long; give --url");
    run_free(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_garbage_is_no_broker_of_ours),
        cmocka_unit_test(test_a_truncated_reply_is_no_broker_of_ours),
        cmocka_unit_test(test_an_empty_reply_does_not_hold_what_was_asked_for),
        cmocka_unit_test(test_a_reply_of_another_kind_does_not_hold_what_was_asked_for),
        cmocka_unit_test(test_a_status_is_named_with_its_sentence),
        cmocka_unit_test(test_a_status_that_is_none_is_a_number),
        cmocka_unit_test(test_a_sentence_cannot_command_the_terminal),
        cmocka_unit_test(test_silence_is_no_broker),
        cmocka_unit_test(test_nobody_there_says_where_and_what_to_do),
        cmocka_unit_test(test_what_is_no_url_is_the_users_mistake),
        cmocka_unit_test(test_the_environment_says_where_the_broker_is),
        cmocka_unit_test(test_a_folder_too_long_for_a_socket_is_said_so),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
