/* Files that outlive the broker. */
#include "support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/state.h"

static char folder[64], dir[80];

static int begin(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/parley-state-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(dir, sizeof(dir), "%s/state", folder);
    return 0;
}

static int end(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

/* What was read, as "NAME=DATA;" or "NAME!SENTENCE;". */
static char seen[1024];

static void on_read(void *user, const char *name, int result, const char *data, size_t bytes)
{
    (void)user;
    size_t used = strlen(seen);
    (void)snprintf(seen + used, sizeof(seen) - used, "%s%c%.*s;", name, result < 0 ? '!' : '=',
                   (int)(bytes < 100 ? bytes : 100), data);
}

static const char *all(void)
{
    struct error_text error = {""};
    seen[0] = '\0';
    if (state_read_all(dir, "a-", ".json", on_read, NULL, &error) < 0)
        fail_msg("%s", error.text);
    return seen;
}

static void write_one(const char *name, const char *text)
{
    struct error_text error = {""};
    if (state_write(dir, name, text, strlen(text), &error) < 0)
        fail_msg("%s", error.text);
}

static void test_what_was_written_is_read_by_name(void **state)
{
    (void)state;
    assert_string_equal(all(), ""); /* there is no folder yet */
    write_one("a-two.json", "2");
    write_one("a-one.json", "1");
    write_one("a-two.json", "two");
    write_one("b-one.json", "another's");
    write_one("a-.json", "no name");
    assert_string_equal(all(), "a-one.json=1;a-two.json=two;");
}

static void test_what_is_being_written_is_nobody_s(void **state)
{
    (void)state;
    char path[128];
    write_one("a-one.json", "1");
    (void)snprintf(path, sizeof(path), "%s/.a-one.json.new", dir); /* a broker died in it */
    assert_int_equal(access(path, F_OK), -1);
    FILE *file = fopen(path, "w");
    assert_true(fputs("longer than what is written next", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_string_equal(all(), "a-one.json=1;");
    write_one("a-one.json", "2");
    assert_string_equal(all(), "a-one.json=2;");
}

static void test_what_is_put_aside_or_removed_is_not_read_again(void **state)
{
    (void)state;
    struct error_text error = {""};
    write_one("a-one.json", "1");
    write_one("a-two.json", "2");
    assert_int_equal(state_put_aside(dir, "a-one.json", &error), 0);
    assert_string_equal(all(), "a-two.json=2;");
    assert_int_equal(state_remove(dir, "a-two.json", &error), 0);
    assert_int_equal(state_remove(dir, "a-two.json", &error), 0); /* it is gone, as was asked */
    assert_string_equal(all(), "");
}

static void test_a_file_at_the_limit_is_read_and_one_past_it_is_refused(void **state)
{
    (void)state;
    char path[128];
    write_one("a-one.json", "1");
    (void)snprintf(path, sizeof(path), "%s/a-one.json", dir);
    assert_int_equal(truncate(path, STATE_BYTES_MAX), 0);
    assert_memory_equal(all(), "a-one.json=1", 12);
    assert_int_equal(truncate(path, STATE_BYTES_MAX + 1), 0);
    assert_memory_equal(all(), "a-one.json!it has 1048577 bytes", 31);
}

static void test_what_is_no_file_is_refused(void **state)
{
    (void)state;
    char path[128];
    write_one("b-one.json", "1");
    (void)snprintf(path, sizeof(path), "%s/a-one.json", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_string_equal(all(), "a-one.json!it is no file;");
}

static void test_a_folder_that_cannot_be_made_is_an_error_with_its_name(void **state)
{
    (void)state;
    struct error_text error = {""};
    assert_int_equal(state_write("/dev/null/state", "a", "1", 1, &error), -ENOTDIR);
    assert_non_null(strstr(error.text, "/dev/null/state/a cannot be written"));
    assert_int_equal(state_read_all("/dev/null", "a", "b", on_read, NULL, &error), -ENOTDIR);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_what_was_written_is_read_by_name),
        TEST(test_what_is_being_written_is_nobody_s),
        TEST(test_what_is_put_aside_or_removed_is_not_read_again),
        TEST(test_a_file_at_the_limit_is_read_and_one_past_it_is_refused),
        TEST(test_what_is_no_file_is_refused),
        TEST(test_a_folder_that_cannot_be_made_is_an_error_with_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
