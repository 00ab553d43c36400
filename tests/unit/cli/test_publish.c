#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "echo.parley.h"
#include "unit/cli/bus.h"
#include "unit/cli/run.h"

/* What was asked for. */
static struct {
    unsigned count;
    Parley__ControlRequest__BodyCase body;
    size_t set_bytes;
    char name[64], service[64];
    bool has_calls, drain;
    uint32_t calls;
    uint64_t id;
} asked;

static Parley__PublishReply published;
static Parley__WithdrawReply withdrawn;
static Parley__ControlReply reply;
static struct fake_broker *broker;
static char set[] = "/tmp/parley-test-XXXXXX.binpb";

static void answer(void *userdata, const Parley__ControlRequest *request,
                   struct fake_answer *ret_answer)
{
    (void)userdata;
    asked.count++;
    asked.body = request->body_case;
    if (request->body_case == PARLEY__CONTROL_REQUEST__BODY_PUBLISH) {
        const Parley__PublishRequest *body = request->publish;
        asked.set_bytes = body->descriptor_set.len;
        asked.has_calls = body->has_calls_max;
        asked.calls = body->calls_max;
        snprintf(asked.name, sizeof(asked.name), "%s", body->name ? body->name : "");
        snprintf(asked.service, sizeof(asked.service), "%s", body->service ? body->service : "");
    } else if (request->body_case == PARLEY__CONTROL_REQUEST__BODY_WITHDRAW) {
        asked.id = request->withdraw->instance_id;
        asked.drain = request->withdraw->drain;
    }
    ret_answer->reply = asked.id == 1 ? bus_refusal() : &reply;
}

static int set_up(void **state)
{
    (void)state;
    memset(&asked, 0, sizeof(asked));
    strcpy(set, "/tmp/parley-test-XXXXXX.binpb");
    int fd = mkstemps(set, 6);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, echo__v1__echo__interface.descriptor_set,
                           echo__v1__echo__interface.descriptor_set_bytes),
                     (ssize_t)echo__v1__echo__interface.descriptor_set_bytes);
    close(fd);
    parley__publish_reply__init(&published);
    published.has_instance_id = published.has_dial_within_ms = true;
    published.instance_id = 0x5a1f0c9b7d3e2468;
    published.url = (char *)(uintptr_t) "ipc:///run/parley/serve-5a1f0c9b7d3e2468.ipc";
    published.dial_within_ms = 10000;
    parley__withdraw_reply__init(&withdrawn);
    parley__control_reply__init(&reply);
    reply.body_case = PARLEY__CONTROL_REPLY__BODY_PUBLISH;
    reply.publish = &published;
    broker = fake_broker_new(answer, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(set);
    broker = fake_broker_free(broker);
    return 0;
}

static void test_publish_prints_where_to_dial(void **state)
{
    (void)state;
    struct run run = RUN("publish", set, "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(run.out, "ipc:///run/parley/serve-5a1f0c9b7d3e2468.ipc\n");
    assert_string_equal(run.err, "");
    run_free(&run);
    assert_int_equal(asked.set_bytes, echo__v1__echo__interface.descriptor_set_bytes);
    assert_false(asked.has_calls);
    assert_string_equal(asked.name, "");
    assert_string_equal(asked.service, "");
    run = RUN("publish", "--json", "--name", "shell", "--calls", "1024", "--service",
              "echo.v1.Echo", set, "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_contains(run.out, "\"instance\": \"5a1f0c9b7d3e2468\"");
    assert_contains(run.out, "\"url\": \"ipc:///run/parley/serve-5a1f0c9b7d3e2468.ipc\"");
    assert_contains(run.out, "\"dial_within_ms\": 10000");
    run_free(&run);
    assert_int_equal(asked.calls, 1024);
    assert_string_equal(asked.name, "shell");
    assert_string_equal(asked.service, "echo.v1.Echo");
}

static void assert_usage(struct run run, const char *words)
{
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    assert_contains(run.err, words);
    run_free(&run);
    assert_int_equal(asked.count, 0);
}

static void test_what_makes_no_sense_is_not_asked(void **state)
{
    (void)state;
    assert_usage(RUN("publish"), "which schema?");
    assert_usage(RUN("publish", set, set), "one schema at a time");
    assert_usage(RUN("publish", "--calls", "0", set), "'0' is no number of calls: 1 to 1024");
    assert_usage(RUN("publish", "--calls", "1025", set), "1 to 1024");
    assert_usage(RUN("publish", "--calls", "4x", set), "'4x' is no number of calls");
    assert_usage(RUN("publish", "/nowhere/at.all"), "/nowhere/at.all");
    assert_usage(RUN("withdraw"), "which instance?");
    assert_usage(RUN("withdraw", "12"), "'12' is no instance");
    assert_usage(RUN("withdraw", "5a1f0c9b7d3e246g"), "is no instance");
    assert_usage(RUN("withdraw", "5a1f0c9b7d3e2468", "2"), "one instance at a time");
}

static void test_an_answer_without_a_url_is_none(void **state)
{
    (void)state;
    published.url = NULL;
    struct run run = RUN("publish", set, "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_BAD_REPLY);
    run_free(&run);
}

static void test_withdraw_lets_it_drain_unless_told(void **state)
{
    (void)state;
    reply.body_case = PARLEY__CONTROL_REPLY__BODY_WITHDRAW;
    reply.withdraw = &withdrawn;
    struct run run = RUN("withdraw", "5A1f0c9b7d3e2468", "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(run.out, "");
    run_free(&run);
    assert_true(asked.id == 0x5a1f0c9b7d3e2468);
    assert_true(asked.drain);
    run = RUN("withdraw", "--now", "5a1f0c9b7d3e2468", "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_OK);
    run_free(&run);
    assert_false(asked.drain);
    run = RUN("withdraw", "0000000000000001", "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_REFUSED);
    assert_contains(run.err, "NOT_FOUND");
    run_free(&run);
}

#define UNIT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_publish_prints_where_to_dial),
        UNIT(test_what_makes_no_sense_is_not_asked),
        UNIT(test_an_answer_without_a_url_is_none),
        UNIT(test_withdraw_lets_it_drain_unless_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
