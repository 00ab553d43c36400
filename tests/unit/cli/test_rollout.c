#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "cli/cli.h"
#include "unit/cli/bus.h"
#include "unit/cli/run.h"

#define DOCUMENT_BYTES_MAX (64 * 1024) /* of cmd_rollout.c */

/* What the last request asked for. */
static struct {
    unsigned count;
    Parley__RolloutAction action;
    char name[64], file[128], reason[64];
    char *document;
    bool full;
} asked;

#define SHOWN(phase, running)                                                                      \
    "{\"apiVersion\":\"parley.dev/"                                                                \
    "v1alpha1\",\"kind\":\"Rollout\",\"metadata\":{\"name\":\"shop\"},"                            \
    "\"spec\":{\"interface\":\"catalog\",\"stable\":\"~1\",\"canary\":\"~2\",\"steps\":["          \
    "{\"weight\":5.0,\"holdSeconds\":60.0,\"approval\":false},"                                    \
    "{\"weight\":30.0,\"holdSeconds\":0.0,\"approval\":true}]},"                                   \
    "\"status\":{\"phase\":\"" phase "\",\"reason\":\"Why \\u001b[31mnot.\",\"running\":" running  \
    ",\"stable\":\"1.0.0\",\"canary\":\"2.0.0\",\"step\":2,\"steps\":2,\"weight\":30.0,"           \
    "\"heldSeconds\":1.5,\"stableCalls\":700,\"canaryCalls\":300,\"exposedCalls\":350,"            \
    "\"gates\":{\"errorRate\":{\"verdict\":\"undecided\",\"stable\":0.01,\"canary\":0.0125,"       \
    "\"limit\":0.03,\"harm\":0.25,\"health\":0.5},\"p99Ns\":{\"verdict\":\"pass\","                \
    "\"stable\":null,\"canary\":850000.0,\"limit\":null,\"harm\":0.0,\"health\":1.0}},"            \
    "\"mirror\":{\"sent\":500,\"differ\":50,\"failed\":5,\"skipped\":3},"                           \
    "\"file\":\"shop.yaml\",\"overridden\":false,\"history\":[{\"time\":"                          \
    "\"2026-11-27T21:15:13.250Z\",\"who\":\"user 1000 (pid 811)\",\"what\":\"apply\","             \
    "\"why\":\"a new "                                                                             \
    "document\",\"phase\":\"Waiting\",\"revision\":1,\"step\":1,\"weight\":0.0}]}}"

static Parley__RolloutInfo info = {
    .base = PROTOBUF_C_MESSAGE_INIT(&parley__rollout_info__descriptor),
    .name = (char *)"shop",
    .interface = (char *)"catalog",
    .phase = (char *)"Progressing",
    .has_step = 1,
    .step = 2,
    .has_steps = 1,
    .steps = 2,
    .has_weight_per_100000 = 1,
    .weight_per_100000 = 30000,
    .stable = (char *)"1.0.0",
    .canary = (char *)"2.0.0",
    .text = (char *)"Too few calls to judge.",
    .source = (char *)"shop.yaml",
};
static Parley__RolloutInfo *infos[] = {&info};
static Parley__RolloutReply rollouts = {
    .base = PROTOBUF_C_MESSAGE_INIT(&parley__rollout_reply__descriptor),
    .n_rollout = 1,
    .rollout = infos,
};
static Parley__ControlReply reply = {
    .base = PROTOBUF_C_MESSAGE_INIT(&parley__control_reply__descriptor),
    .body_case = PARLEY__CONTROL_REPLY__BODY_ROLLOUT,
    .rollout = &rollouts,
};
/* What SHOW answers, in turn; the last one again and again. */
static const char *const *shown;

static void keep(char *target, size_t bytes, const char *text)
{
    snprintf(target, bytes, "%s", text ? text : "");
}

static void answer(void *userdata, const Parley__ControlRequest *request,
                   struct fake_answer *ret_answer)
{
    (void)userdata;
    if (request->body_case != PARLEY__CONTROL_REQUEST__BODY_ROLLOUT)
        return;
    const Parley__RolloutRequest *body = request->rollout;
    asked.count++;
    asked.action = body->action;
    asked.full = body->full;
    keep(asked.name, sizeof(asked.name), body->name);
    keep(asked.file, sizeof(asked.file), body->file);
    keep(asked.reason, sizeof(asked.reason), body->reason);
    free(asked.document);
    asked.document = body->document ? strdup(body->document) : NULL;
    info.json = (char *)(uintptr_t)shown[0];
    if (body->action == PARLEY__ROLLOUT_ACTION__ROLLOUT_SHOW && shown[1])
        shown++;
    rollouts.n_rollout = body->action != PARLEY__ROLLOUT_ACTION__ROLLOUT_DELETE;
    ret_answer->reply = strcmp(asked.name, "nothing") == 0 ? bus_refusal() : &reply;
}

static struct fake_broker *broker;
#define URL "--url", fake_broker_url(broker)

static int set_up(void **state)
{
    (void)state;
    static const char *const once[] = {SHOWN("Progressing", "true"), NULL};
    shown = once;
    broker = fake_broker_new(answer, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    broker = fake_broker_free(broker);
    free(asked.document);
    asked.document = NULL;
    return 0;
}

static void test_all_rollouts_are_listed(void **state)
{
    (void)state;
    struct run run = RUN("rollout", URL);
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_int_equal(asked.action, PARLEY__ROLLOUT_ACTION__ROLLOUT_LIST);
    assert_string_equal(
        run.out, "NAME  INTERFACE  PHASE        STEP  CANARY  STABLE  TO     REASON\n"
                 "shop  catalog    Progressing   2/2    30 %  1.0.0   2.0.0  Too few calls to "
                 "judge.\n");
    run_free(&run);
    run = RUN("rollout", "ls", "--json", URL);
    json_t *json = json_loads(run.out, 0, NULL);
    const char *phase = NULL;
    double share = 0;
    assert_int_equal(json_unpack(json, "{s:[{s:s, s:f}]}", "rollouts", "phase", &phase,
                                 "canary_percent", &share),
                     0);
    assert_string_equal(phase, "Progressing");
    assert_true(share == 30.0);
    json_decref(json);
    run_free(&run);
}

static void test_one_is_shown_with_its_steps_and_gates(void **state)
{
    (void)state;
    struct run run = RUN("rollout", "show", "shop", URL);
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(asked.name, "shop");
    assert_golden(run.out, "rollout_show.txt"); /* control characters are not passed on */
    run_free(&run);
}

static void test_its_json_is_the_broker_s(void **state)
{
    (void)state;
    struct run run = RUN("rollout", "show", "--json", "shop", URL);
    json_t *json = json_loads(run.out, 0, NULL);
    json_t *theirs = json_loads(SHOWN("Progressing", "true"), 0, NULL);
    assert_true(json_equal(json, theirs));
    json_decref(json);
    json_decref(theirs);
    run_free(&run);
}

static void test_history_says_who_did_what_when(void **state)
{
    (void)state;
    struct run run = RUN("rollout", "history", "shop", URL);
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_contains(run.out, "2026-11-27T21:15:13.250Z  user 1000 (pid 811)  apply");
    assert_contains(run.out, "a new document");
    run_free(&run);
    run = RUN("rollout", "history", "--json", "shop", URL);
    assert_contains(run.out, "\"history\"");
    run_free(&run);
}

static void test_each_action_is_asked_for_by_its_number(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        Parley__RolloutAction action;
    } all[] = {
        {"pause", PARLEY__ROLLOUT_ACTION__ROLLOUT_PAUSE},
        {"resume", PARLEY__ROLLOUT_ACTION__ROLLOUT_RESUME},
        {"approve", PARLEY__ROLLOUT_ACTION__ROLLOUT_APPROVE},
        {"promote", PARLEY__ROLLOUT_ACTION__ROLLOUT_PROMOTE},
        {"rollback", PARLEY__ROLLOUT_ACTION__ROLLOUT_ROLLBACK},
        {"undo", PARLEY__ROLLOUT_ACTION__ROLLOUT_UNDO},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct run run = RUN("rollout", all[i].name, "shop", "--reason", "it is time", URL);
        assert_int_equal(run.code, CLI_EXIT_OK);
        assert_int_equal(asked.action, all[i].action);
        assert_string_equal(asked.name, "shop");
        assert_string_equal(asked.reason, "it is time");
        assert_false(asked.full);
        assert_string_equal(run.out,
                            "shop: Progressing, step 2 of 2, the canary gets 30 %. Too few "
                            "calls to judge.\n");
        run_free(&run);
    }
    struct run run = RUN("rollout", "promote", "--full", "shop", URL);
    assert_true(asked.full);
    run_free(&run);
    run = RUN("rollout", "delete", "shop", URL);
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_int_equal(asked.action, PARLEY__ROLLOUT_ACTION__ROLLOUT_DELETE);
    assert_string_equal(run.out, "shop: deleted\n");
    run_free(&run);
    run = RUN("rollout", "delete", "shop", "--json", URL);
    assert_contains(run.out, "\"deleted\": true");
    run_free(&run);
}

static void test_a_document_is_sent_as_it_is(void **state)
{
    (void)state;
    char path[] = "/tmp/parley-rollout-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "kind: Rollout\n", 14), 14);
    close(fd);
    struct run run = RUN("rollout", "apply", path, URL);
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_int_equal(asked.action, PARLEY__ROLLOUT_ACTION__ROLLOUT_APPLY);
    assert_string_equal(asked.document, "kind: Rollout\n");
    assert_string_equal(asked.file, path);
    run_free(&run);
    unlink(path);
    run = RUN_WITH_INPUT("a: b\n", "rollout", "apply", "-", URL);
    assert_string_equal(asked.document, "a: b\n");
    assert_string_equal(asked.file, "stdin");
    run_free(&run);
}

static void test_a_document_at_the_limit_is_sent_and_one_past_it_is_not(void **state)
{
    (void)state;
    char *text = malloc(DOCUMENT_BYTES_MAX + 2);
    memset(text, '#', DOCUMENT_BYTES_MAX + 1);
    text[DOCUMENT_BYTES_MAX] = '\0';
    struct run run = RUN_WITH_INPUT(text, "rollout", "apply", "-", URL);
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_int_equal(strlen(asked.document), DOCUMENT_BYTES_MAX);
    run_free(&run);
    unsigned before = asked.count;
    text[DOCUMENT_BYTES_MAX] = '#';
    text[DOCUMENT_BYTES_MAX + 1] = '\0';
    run = RUN_WITH_INPUT(text, "rollout", "apply", "-", URL);
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    assert_contains(run.err, "more than 65536 bytes");
    assert_int_equal(asked.count, before);
    run_free(&run);
    free(text);
}

static void test_a_file_that_is_not_there_is_exit_5(void **state)
{
    (void)state;
    struct run run = RUN("rollout", "apply", "/tmp/parley-rollout-nowhere", URL);
    assert_int_equal(run.code, CLI_EXIT_TROUBLE);
    assert_contains(run.err, "/tmp/parley-rollout-nowhere cannot be read: No such file");
    run_free(&run);
}

static void test_following_ends_when_it_is_completed(void **state)
{
    (void)state;
    static const char *const course[] = {SHOWN("Progressing", "true"), SHOWN("Approval", "true"),
                                         SHOWN("Completed", "false"), NULL};
    shown = course;
    struct run run = RUN("rollout", "show", "-w", "--json", "shop", URL);
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_contains(run.out, "Progressing");
    assert_contains(run.out, "Approval");
    assert_contains(run.out, "Completed");
    run_free(&run);
}

static void test_following_one_that_is_rolled_back_is_exit_1(void **state)
{
    (void)state;
    static const char *const course[] = {SHOWN("Progressing", "true"), SHOWN("RolledBack", "false"),
                                         NULL};
    shown = course;
    struct run run = RUN("rollout", "show", "--follow", "shop", URL);
    assert_int_equal(run.code, CLI_EXIT_REFUSED);
    assert_contains(run.out, "RolledBack");
    run_free(&run);
}

static void test_the_brokers_no_is_exit_1(void **state)
{
    (void)state;
    struct run run = RUN("rollout", "pause", "nothing", URL);
    assert_int_equal(run.code, CLI_EXIT_REFUSED);
    assert_contains(run.err, "NOT_FOUND");
    run_free(&run);
}

static void test_an_answer_without_a_rollout_is_exit_4(void **state)
{
    (void)state;
    static const char *const nonsense[] = {"{", NULL};
    shown = nonsense;
    struct run run = RUN("rollout", "show", "shop", URL);
    assert_int_equal(run.code, CLI_EXIT_BAD_REPLY);
    run_free(&run);
    static const char *const odd[] = {"[{\"status\": 3}]", NULL}; /* shown with dashes */
    shown = odd;
    run = RUN("rollout", "show", "shop", URL);
    assert_int_equal(run.code, CLI_EXIT_OK);
    run_free(&run);
}

static void test_what_makes_no_sense_is_not_sent(void **state)
{
    (void)state;
    static const struct {
        const char *words[4], *sentence;
    } all[] = {
        {{"rollout", "pauze", "shop"}, "did you mean 'pause'?"},
        {{"rollout", "pause"}, "pause which rollout?"},
        {{"rollout", "apply"}, "apply which document?"},
        {{"rollout", "ls", "shop"}, "'shop' is one too many"},
        {{"rollout", "show", "shop", "floor"}, "'floor' is one too many"},
    };
    unsigned before = asked.count;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const char *argv[8] = {"--url", fake_broker_url(broker)};
        for (size_t k = 0; k < 4; k++)
            argv[2 + k] = all[i].words[k];
        struct run run = run_cli(argv, NULL);
        assert_int_equal(run.code, CLI_EXIT_USAGE);
        assert_contains(run.err, all[i].sentence);
        run_free(&run);
    }
    assert_int_equal(asked.count, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_rollouts_are_listed),
        cmocka_unit_test(test_one_is_shown_with_its_steps_and_gates),
        cmocka_unit_test(test_its_json_is_the_broker_s),
        cmocka_unit_test(test_history_says_who_did_what_when),
        cmocka_unit_test(test_each_action_is_asked_for_by_its_number),
        cmocka_unit_test(test_a_document_is_sent_as_it_is),
        cmocka_unit_test(test_a_document_at_the_limit_is_sent_and_one_past_it_is_not),
        cmocka_unit_test(test_a_file_that_is_not_there_is_exit_5),
        cmocka_unit_test(test_following_ends_when_it_is_completed),
        cmocka_unit_test(test_following_one_that_is_rolled_back_is_exit_1),
        cmocka_unit_test(test_the_brokers_no_is_exit_1),
        cmocka_unit_test(test_an_answer_without_a_rollout_is_exit_4),
        cmocka_unit_test(test_what_makes_no_sense_is_not_sent),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
