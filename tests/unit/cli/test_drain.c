#include "support/test.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "cli/cli.h"
#include "unit/cli/bus.h"
#include "unit/cli/run.h"

#define LOOKS 3 /* until it has drained */

/* What was asked for. */
static struct {
    unsigned count, looks;
    size_t ids;
    uint64_t id;
    uint32_t pid;
    char endpoint[64], interface[64];
    Parley__DrainAction action;
    bool force;
} asked;

static Parley__DrainInfo info, gone;
static Parley__DrainInfo *infos[] = {&info, &gone};
static Parley__DrainReply drain;
static Parley__ControlReply reply;

static void answer(void *userdata, const Parley__ControlRequest *request,
                   struct fake_answer *ret_answer)
{
    (void)userdata;
    if (request->body_case != PARLEY__CONTROL_REQUEST__BODY_DRAIN)
        return;
    const Parley__DrainRequest *body = request->drain;
    asked.count++;
    if (body->action == PARLEY__DRAIN_ACTION__LOOK) {
        asked.looks++;
        asked.id = body->instance_id[0];
        if (asked.looks == LOOKS)
            info.state = PARLEY__DRAIN_STATE__DRAINED;
    } else {
        asked.ids = body->n_instance_id;
        asked.id = body->n_instance_id ? body->instance_id[0] : 0;
        asked.pid = body->pid;
        asked.action = body->action;
        asked.force = body->force;
        snprintf(asked.endpoint, sizeof(asked.endpoint), "%s",
                 body->endpoint ? body->endpoint : "");
        snprintf(asked.interface, sizeof(asked.interface), "%s",
                 body->interface ? body->interface : "");
    }
    bool refused = body->endpoint && strcmp(body->endpoint, "nothing") == 0;
    ret_answer->reply = refused ? bus_refusal() : &reply;
}

static struct fake_broker *broker;

static int set_up(void **state)
{
    (void)state;
    memset(&asked, 0, sizeof(asked));
    parley__drain_info__init(&info);
    info.has_instance_id = info.has_pid = info.has_state = true;
    info.instance_id = 0x5a1f0c9b7d3e2468;
    info.interface = (char *)(uintptr_t) "catalog";
    info.version = (char *)(uintptr_t) "1.0.0";
    info.endpoint = (char *)(uintptr_t) "catalog-v1";
    info.pid = 811;
    info.state = PARLEY__DRAIN_STATE__DRAINING;
    parley__drain_info__init(&gone);
    gone.has_instance_id = gone.has_state = true;
    gone.instance_id = 2;
    gone.state = PARLEY__DRAIN_STATE__GONE;
    parley__drain_reply__init(&drain);
    drain.n_instance = 1;
    drain.instance = infos;
    parley__control_reply__init(&reply);
    reply.body_case = PARLEY__CONTROL_REPLY__BODY_DRAIN;
    reply.drain = &drain;
    broker = fake_broker_new(answer, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    broker = fake_broker_free(broker);
    return 0;
}

static void test_it_waits_until_all_have_drained(void **state)
{
    (void)state;
    drain.n_instance = 2;
    struct run run = RUN("drain", "catalog-v1", "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(run.out, "INTERFACE  VERSION  INSTANCE          ENDPOINT    PID  STATE\n"
                                 "catalog    1.0.0    5a1f0c9b7d3e2468  catalog-v1  811  drained\n"
                                 "-          -        0000000000000002  -             0  gone\n");
    assert_string_equal(run.err, "");
    run_free(&run);
    assert_int_equal(asked.looks, LOOKS);
    assert_true(asked.id == info.instance_id);
    assert_string_equal(asked.endpoint, "catalog-v1");
}

static void test_who_has_to_wait_is_told_so_once(void **state)
{
    (void)state;
    asked.looks = (unsigned)LOOKS - 9; /* so that it drains with the ninth */
    struct run run = RUN("drain", "catalog-v1", "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(run.err,
                        "parley: 1 draining: waiting for their calls (Ctrl-C leaves them so)\n");
    run_free(&run);
}

static void test_time_over_is_said_with_what_to_do(void **state)
{
    (void)state;
    asked.looks = LOOKS; /* so that it never drains */
    struct run run =
        RUN("drain", "catalog-v1", "--timeout", "50ms", "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_REFUSED);
    assert_non_null(strstr(run.err, "1 still draining: calls are in flight there"));
    run_free(&run);
}

static void test_no_wait_and_undo_ask_once(void **state)
{
    (void)state;
    struct run run = RUN("drain", "--no-wait", "--force", "812", "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_OK);
    run_free(&run);
    assert_int_equal(asked.count, 1);
    assert_int_equal(asked.pid, 812);
    assert_true(asked.force);
    run = RUN("drain", "--undo", "-i", "catalog", "812", "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_OK);
    run_free(&run);
    assert_int_equal(asked.count, 2);
    assert_int_equal(asked.action, PARLEY__DRAIN_ACTION__UNDO);
    assert_string_equal(asked.interface, "catalog");
    assert_false(asked.force);
}

static void test_sixteen_hexadecimal_digits_are_an_id(void **state)
{
    (void)state;
    const char *url = fake_broker_url(broker);
    struct run run = RUN("drain", "--no-wait", "5a1f0c9b7d3e2468", "--url", url);
    run_free(&run);
    assert_int_equal(asked.ids, 1);
    assert_true(asked.id == info.instance_id);
    run = RUN("drain", "--no-wait", "5a1f0c9b7d3e246", "--url", url); /* a name */
    run_free(&run);
    assert_int_equal(asked.ids, 0);
    assert_string_equal(asked.endpoint, "5a1f0c9b7d3e246");
}

static void test_json_names_instance_and_state(void **state)
{
    (void)state;
    info.state = PARLEY__DRAIN_STATE__DRAINED;
    struct run run = RUN("drain", "--json", "catalog-v1", "--url", fake_broker_url(broker));
    json_t *json = json_loads(run.out, 0, NULL);
    const char *instance, *named;
    assert_int_equal(
        json_unpack(json, "{s:[{s:s,s:s}]}", "instances", "instance", &instance, "state", &named),
        0);
    assert_string_equal(instance, "5a1f0c9b7d3e2468");
    assert_string_equal(named, "drained");
    json_decref(json);
    run_free(&run);
}

static void test_arguments_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct run run = RUN("drain");
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    run_free(&run);
    run = RUN("drain", "a", "b");
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    run_free(&run);
    run = RUN("drain", "nothing", "--url", fake_broker_url(broker));
    assert_int_equal(run.code, CLI_EXIT_REFUSED);
    run_free(&run);
}

#define drain_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        drain_test(test_it_waits_until_all_have_drained),
        drain_test(test_who_has_to_wait_is_told_so_once),
        drain_test(test_time_over_is_said_with_what_to_do),
        drain_test(test_no_wait_and_undo_ask_once),
        drain_test(test_sixteen_hexadecimal_digits_are_an_id),
        drain_test(test_json_names_instance_and_state),
        drain_test(test_arguments_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
