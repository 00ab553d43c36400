#include "support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "unit/cli/run.h"

static void test_durations_are_read_with_their_unit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ns;
    } cases[] = {
        {"5", 5 * NS_PER_S},        {"5s", 5 * NS_PER_S},     {"1.5s", 1500 * NS_PER_MS},
        {"200ms", 200 * NS_PER_MS}, {"7us", 7 * NS_PER_US},   {"1ns", 1},
        {"2m", 120 * NS_PER_S},     {"2min", 120 * NS_PER_S}, {"1h", 3600 * NS_PER_S},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t ns = 0;
        assert_int_equal(options_parse_duration(cases[i].text, &ns), 0);
        assert_int_equal(ns, cases[i].ns);
    }
}

static void test_what_is_no_duration_is_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {"",      "s",   "-1s", "0",   "0.5ns", "1.2.3s",
                                        "5 s",   "5x",  "inf", "nan", "1e3s",  "0x10",
                                        "3601s", "61m", "5ss", "+5s", "1.0h1"};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t ns = 42;
        assert_int_equal(options_parse_duration(cases[i], &ns), -EINVAL);
        assert_int_equal(ns, 42);
    }
}

static void test_versions_are_ordered_by_precedence(void **state)
{
    (void)state;
    assert_true(version_compare("1.9.0", "1.10.0") < 0);
    assert_true(version_compare("2.0.0-rc.1", "2.0.0") < 0);
    assert_int_equal(version_compare("2.0.0", "2.0.0"), 0);
    assert_true(version_compare("garbage", "0.0.1") > 0);
    assert_true(version_compare("9.0.0", NULL) < 0);
    assert_int_equal(version_compare("garbage", NULL), 0);
}

struct taken {
    bool flag, other;
    const char *text;
    uint64_t duration, count;
    struct option_list list;
    char *operands[16];
    int operand_count;
    char *err;
    struct cli cli;
    int code;
};

static const struct cli_command command = {
    .name = "test", .usage = "[OPTION...]", .details = "", .example = "  parley test\n"};

static bool take(struct taken *taken, const char *const *argv)
{
    const struct option_spec specs[] = {
        {"flag", 'f', OPTION_FLAG, NULL, "", &taken->flag},
        {"other", 'o', OPTION_FLAG, NULL, "", &taken->other},
        {"text", 'x', OPTION_TEXT, "TEXT", "", &taken->text},
        {"duration", 'd', OPTION_DURATION, "DURATION", "", &taken->duration},
        {"count", 'n', OPTION_COUNT, "N", "", &taken->count},
        {"list", 'l', OPTION_LIST, "ITEM", "", &taken->list},
    };
    size_t bytes;
    FILE *err = open_memstream(&taken->err, &bytes);
    taken->cli = (struct cli){.err = err, .out = err, .command = &command};
    for (; argv[taken->operand_count]; taken->operand_count++)
        taken->operands[taken->operand_count] = (char *)argv[taken->operand_count];
    bool go_on =
        options_take(&taken->cli, specs, 6, &taken->operand_count, taken->operands, &taken->code);
    fclose(err);
    return go_on;
}

#define TAKE(taken, ...) take(taken, (const char *const[]){__VA_ARGS__, NULL})

static void test_options_are_read_in_every_form(void **state)
{
    (void)state;
    struct taken taken = {.flag = false};
    assert_true(TAKE(&taken, "-fo", "--text=a=b", "-d", "200ms", "-n7", "--list", "x", "-ly"));
    assert_true(taken.flag);
    assert_true(taken.other);
    assert_string_equal(taken.text, "a=b");
    assert_int_equal(taken.duration, 200 * NS_PER_MS);
    assert_int_equal(taken.count, 7);
    assert_int_equal(taken.list.count, 2);
    assert_string_equal(taken.list.items[0], "x");
    assert_string_equal(taken.list.items[1], "y");
    assert_int_equal(taken.operand_count, 0);
    free(taken.err);
}

static void test_operands_keep_their_order_between_options(void **state)
{
    (void)state;
    struct taken taken = {.flag = false};
    assert_true(TAKE(&taken, "a", "-f", "b", "-", "--", "-o", "--nothing"));
    assert_true(taken.flag);
    assert_false(taken.other);
    assert_int_equal(taken.operand_count, 5);
    assert_string_equal(taken.operands[0], "a");
    assert_string_equal(taken.operands[1], "b");
    assert_string_equal(taken.operands[2], "-");
    assert_string_equal(taken.operands[3], "-o");
    assert_string_equal(taken.operands[4], "--nothing");
    free(taken.err);
}

static void test_global_options_stand_behind_the_command_too(void **state)
{
    (void)state;
    struct taken taken = {.flag = false};
    assert_true(TAKE(&taken, "--url", "tcp://a:1", "--json", "-t", "3s"));
    assert_string_equal(taken.cli.url, "tcp://a:1");
    assert_true(taken.cli.json);
    assert_int_equal(taken.cli.timeout_ns, 3 * NS_PER_S);
    free(taken.err);
}

static void assert_refused(const char *const *argv, const char *sentence)
{
    struct taken taken = {.flag = false};
    assert_false(take(&taken, argv));
    assert_int_equal(taken.code, CLI_EXIT_USAGE);
    assert_contains(taken.err, sentence);
    assert_contains(taken.err, "See parley test --help.");
    free(taken.err);
}

#define REFUSED(sentence, ...) assert_refused((const char *const[]){__VA_ARGS__, NULL}, sentence)

static void test_senseless_options_are_refused_with_a_sentence(void **state)
{
    (void)state;
    REFUSED("unknown option --nothing", "--nothing");
    REFUSED("did you mean --duration?", "--duratoin", "5s");
    REFUSED("unknown option -q", "-q");
    REFUSED("--flag takes no value", "--flag=1");
    REFUSED("--text needs a value", "--text");
    REFUSED("--duration: 'soon' is no duration", "-d", "soon");
    REFUSED("--count: '0' is no whole number above 0", "-n", "0");
    REFUSED("--count: '-1' is no whole number", "-n", "-1");
    REFUSED("--count: '1x' is no whole number", "-n", "1x");
    REFUSED("--count: '18446744073709551616' is no", "-n", "18446744073709551616");
    REFUSED("--count: '' is no whole number", "--count=");
}

static void test_a_list_takes_as_many_as_its_limit(void **state)
{
    (void)state;
    const char *argv[2 * (OPTION_LIST_MAX + 1) + 1] = {NULL};
    struct taken taken = {.flag = false};
    char *operands[2 * (OPTION_LIST_MAX + 1)];
    const struct option_spec spec = {"list", 'l', OPTION_LIST, "ITEM", "", &taken.list};
    size_t bytes;
    for (size_t i = 0; i < OPTION_LIST_MAX + 1; i++) {
        argv[2 * i] = "-l";
        argv[2 * i + 1] = "item";
    }
    FILE *err = open_memstream(&taken.err, &bytes);
    struct cli cli = {.err = err, .out = err, .command = &command};
    memcpy(operands, argv, sizeof(operands));
    int argc = 2 * OPTION_LIST_MAX;
    assert_true(options_take(&cli, &spec, 1, &argc, operands, &taken.code));
    assert_int_equal(taken.list.count, OPTION_LIST_MAX);

    memcpy(operands, argv, sizeof(operands));
    taken.list.count = 0;
    argc = 2 * (OPTION_LIST_MAX + 1);
    assert_false(options_take(&cli, &spec, 1, &argc, operands, &taken.code));
    fclose(err);
    assert_contains(taken.err, "more than 32 times");
    free(taken.err);
}

static void test_without_a_command_the_overview_is_a_complaint(void **state)
{
    (void)state;
    struct run run = run_cli((const char *const[]){NULL}, NULL);
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    assert_string_equal(run.out, "");
    assert_contains(run.err, "Commands:");
    run_free(&run);
}

static void test_help_and_version_are_answers(void **state)
{
    (void)state;
    static const char *const asked[][3] = {
        {"--help", NULL}, {"help", NULL}, {"-h", NULL}, {"help", "--help", NULL}};
    for (size_t i = 0; i < 4; i++) {
        struct run run = run_cli(asked[i], NULL);
        assert_int_equal(run.code, CLI_EXIT_OK);
        assert_contains(run.out, "events     follow what happens on the bus");
        assert_string_equal(run.err, "");
        run_free(&run);
    }
    struct run run = RUN("--version");
    assert_int_equal(run.code, CLI_EXIT_OK);
    assert_string_equal(run.out, "parley " PARLEY_VERSION "\n");
    run_free(&run);
}

static void test_every_command_explains_itself_with_an_example(void **state)
{
    (void)state;
    static const char *const names[] = {"ls",   "stats", "describe", "call",
                                        "diff", "route", "events"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char usage[64], example[64];
        snprintf(usage, sizeof(usage), "Usage: parley %s ", names[i]);
        snprintf(example, sizeof(example), "parley %s", names[i]);
        struct run before = RUN("help", names[i]), behind = RUN(names[i], "--help");
        assert_int_equal(before.code, CLI_EXIT_OK);
        assert_string_equal(before.out, behind.out);
        assert_contains(behind.out, usage);
        assert_contains(strstr(behind.out, "Example:"), example);
        run_free(&before);
        run_free(&behind);
    }
}

static void test_an_unknown_command_suggests_the_nearest(void **state)
{
    (void)state;
    struct run run = RUN("sttas");
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    assert_contains(run.err, "'sttas' is no command; did you mean 'stats'?");
    run_free(&run);
    run = RUN("frobnicate");
    assert_int_equal(run.code, CLI_EXIT_USAGE);
    assert_contains(run.err, "'frobnicate' is no command\n");
    run_free(&run);
}

static void test_output_that_cannot_be_written_is_reported(void **state)
{
    (void)state;
    char *argv[] = {(char *)"parley", (char *)"--help"};
    FILE *full = fopen("/dev/full", "we");
    char *text;
    size_t bytes;
    FILE *err = open_memstream(&text, &bytes);
    assert_non_null(full);
    assert_int_equal(cli_main(2, argv, stdin, full, err), CLI_EXIT_TROUBLE);
    fclose(full);
    fclose(err);
    assert_contains(text, "the output could not be written: No space left");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations_are_read_with_their_unit),
        cmocka_unit_test(test_what_is_no_duration_is_refused),
        cmocka_unit_test(test_versions_are_ordered_by_precedence),
        cmocka_unit_test(test_options_are_read_in_every_form),
        cmocka_unit_test(test_operands_keep_their_order_between_options),
        cmocka_unit_test(test_global_options_stand_behind_the_command_too),
        cmocka_unit_test(test_senseless_options_are_refused_with_a_sentence),
        cmocka_unit_test(test_a_list_takes_as_many_as_its_limit),
        cmocka_unit_test(test_without_a_command_the_overview_is_a_complaint),
        cmocka_unit_test(test_help_and_version_are_answers),
        cmocka_unit_test(test_every_command_explains_itself_with_an_example),
        cmocka_unit_test(test_an_unknown_command_suggests_the_nearest),
        cmocka_unit_test(test_output_that_cannot_be_written_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
