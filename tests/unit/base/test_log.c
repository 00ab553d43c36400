#include "support/test.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

struct sink {
    int lines;
    enum log_level level;
    char text[4096];
};

static void collect(enum log_level level, const char *line, void *userdata)
{
    struct sink *sink = userdata;
    sink->lines++;
    sink->level = level;
    snprintf(sink->text, sizeof(sink->text), "%s", line);
}

static int set_up(void **state)
{
    struct sink *sink = calloc(1, sizeof(*sink));
    if (!sink)
        return -1;
    log_set_sink(collect, sink);
    log_set_level(LOG_LEVEL_INFO);
    *state = sink;
    return 0;
}

static int tear_down(void **state)
{
    log_set_sink(NULL, NULL);
    log_set_level(LOG_LEVEL_NONE);
    free(*state);
    return 0;
}

static void test_line_reaches_the_sink_with_its_level(void **state)
{
    struct sink *sink = *state;
    log_warn("peer %d is gone", 7);
    assert_int_equal(sink->lines, 1);
    assert_int_equal(sink->level, LOG_LEVEL_WARN);
    assert_string_equal(sink->text, "peer 7 is gone");
}

static void test_lines_below_the_level_are_left_out(void **state)
{
    struct sink *sink = *state;
    log_debug("detail");
    assert_int_equal(sink->lines, 0);
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("detail");
    assert_int_equal(sink->lines, 1);
    log_set_level(LOG_LEVEL_NONE);
    log_error("loud");
    assert_int_equal(sink->lines, 1);
}

static void test_control_characters_cannot_forge_a_line(void **state)
{
    struct sink *sink = *state;
    char evil[34];
    for (int i = 0; i < 31; i++)
        evil[i] = (char)(i + 1); /* \n, \r, \033 and the rest of C0 */
    evil[31] = 0x7f;
    evil[32] = 'x';
    evil[33] = '\0';
    log_info("name: %s", evil);
    assert_int_equal(sink->lines, 1);
    for (const char *c = sink->text; *c; c++)
        assert_true((unsigned char)*c >= 0x20 && *c != 0x7f);
    assert_string_equal(sink->text + strlen(sink->text) - 1, "x");
}

static void test_letters_of_other_scripts_survive(void **state)
{
    struct sink *sink = *state;
    log_info("Grüße, 世界");
    assert_string_equal(sink->text, "Grüße, 世界");
}

static void test_long_line_is_cut(void **state)
{
    struct sink *sink = *state;
    char text[3000];
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_info("%s", text);
    assert_int_equal(sink->lines, 1);
    assert_int_equal(strlen(sink->text), 1023);
}

static void test_errno_survives_a_line(void **state)
{
    (void)state;
    errno = ENOTTY;
    log_info("%s", "anything");
    assert_int_equal(errno, ENOTTY);
}

static void test_without_a_sink_one_line_goes_to_stderr(void **state)
{
    (void)state;
    log_set_sink(NULL, NULL);
    FILE *file = tmpfile();
    assert_non_null(file);
    int saved = dup(STDERR_FILENO);
    assert_return_code(dup2(fileno(file), STDERR_FILENO), errno);
    log_error("first\nerror: forged");
    assert_return_code(dup2(saved, STDERR_FILENO), errno);
    close(saved);
    rewind(file);
    char line[200], rest[10], expected[200];
    snprintf(expected, sizeof(expected), "%s: error: first error: forged\n",
             program_invocation_short_name);
    assert_non_null(fgets(line, sizeof(line), file));
    assert_string_equal(line, expected);
    assert_null(fgets(rest, sizeof(rest), file));
    fclose(file);
}

static void test_level_names_are_parsed(void **state)
{
    (void)state;
    const char *names[] = {"none", "error", "warn", "info", "debug"};
    enum log_level level = LOG_LEVEL_NONE;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(log_level_parse(names[i], &level), 0);
        assert_int_equal(level, i);
    }
    assert_int_equal(log_level_parse("Debug", &level), -EINVAL);
    assert_int_equal(log_level_parse("", &level), -EINVAL);
    assert_int_equal(level, LOG_LEVEL_DEBUG); /* untouched */
}

#define LOG_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

/* What log_write() writes to stderr where JOURNAL_STREAM is as @stream says. */
static void written(const char *stream, char *text, size_t bytes)
{
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);
    struct stat status;
    char here[48];
    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &status), 0);
    snprintf(here, sizeof(here), "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
    setenv("JOURNAL_STREAM", stream ? stream : here, 1);
    dup2(fileno(file), STDERR_FILENO);
    log_error("no");
    log_warn("peer %d is gone", 7);
    log_info("well");
    dup2(saved, STDERR_FILENO);
    close(saved);
    unsetenv("JOURNAL_STREAM");
    rewind(file);
    text[fread(text, 1, bytes - 1, file)] = '\0';
    fclose(file);
}

static void test_the_journal_gets_levels_as_priorities(void **state)
{
    (void)state;
    char text[256];
    log_set_sink(NULL, NULL);
    written(NULL, text, sizeof(text));
    assert_string_equal(text, "<3>no\n<4>peer 7 is gone\n<6>well\n");
}

static void test_another_stream_than_the_journals_gets_the_name_of_the_program(void **state)
{
    (void)state;
    char text[256];
    log_set_sink(NULL, NULL);
    written("1:2", text, sizeof(text));
    assert_non_null(strstr(text, ": warn: peer 7 is gone\n"));
    assert_null(strchr(text, '<'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(test_line_reaches_the_sink_with_its_level),
        LOG_TEST(test_lines_below_the_level_are_left_out),
        LOG_TEST(test_control_characters_cannot_forge_a_line),
        LOG_TEST(test_letters_of_other_scripts_survive),
        LOG_TEST(test_long_line_is_cut),
        LOG_TEST(test_errno_survives_a_line),
        LOG_TEST(test_without_a_sink_one_line_goes_to_stderr),
        LOG_TEST(test_the_journal_gets_levels_as_priorities),
        LOG_TEST(test_another_stream_than_the_journals_gets_the_name_of_the_program),
        LOG_TEST(test_level_names_are_parsed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
