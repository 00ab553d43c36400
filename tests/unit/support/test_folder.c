#include "support/test.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/folder.h"

#define WATCHDOG_MS 10000

struct told {
    char path[sizeof("/tmp/parley-test-XXXXXX")];
    pid_t guard;
};

/* Makes a guarded folder with something in it, tells its name, and waits to be killed. */
static void live(int out)
{
    struct told told = {.path = "/tmp/parley-test-XXXXXX"};
    char *path = told.path, inner[64];
    told.guard = folder_guard(path);
    if (told.guard < 0)
        _exit(1);
    snprintf(inner, sizeof(inner), "%s/inner", path);
    (void)mkdir(inner, 0700);
    snprintf(inner, sizeof(inner), "%s/inner/file", path);
    FILE *file = fopen(inner, "w");
    if (file)
        (void)fclose(file);
    if (write(out, &told, sizeof(told)) != sizeof(told))
        _exit(1);
    for (;;)
        (void)pause();
}

static void test_folder_of_a_killed_test_is_removed(void **state)
{
    (void)state;
    struct told told;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        live(ends[1]);
    assert_int_equal(read(ends[0], &told, sizeof(told)), sizeof(told));
    assert_int_equal(access(told.path, F_OK), 0);
    struct pollfd guard = {.fd = (int)syscall(SYS_pidfd_open, told.guard, 0), .events = POLLIN};
    assert_true(guard.fd >= 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(poll(&guard, 1, WATCHDOG_MS), 1); /* it has done its work and ended */
    assert_int_not_equal(access(told.path, F_OK), 0);
    (void)close(guard.fd);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void test_guard_ends_when_it_is_told_to(void **state)
{
    (void)state;
    char path[] = "/tmp/parley-test-XXXXXX";
    pid_t guard = folder_guard(path);
    assert_true(guard > 0);
    folder_unguard(guard);
    assert_int_not_equal(kill(guard, 0), 0);
    assert_int_equal(rmdir(path), 0);
}

static void test_folder_that_cannot_be_made_has_no_guard(void **state)
{
    (void)state;
    char path[] = "/nonexistent/parley-test-XXXXXX";
    assert_int_equal(folder_guard(path), -1);
}

static char run_path[] = "/tmp/parley-test-XXXXXX";

static int run_in_it(void)
{
    FILE *file = fopen(folder_path(run_path, "left-behind"), "we");
    return file && fclose(file) == 0 ? 7 : 1;
}

static void test_folder_that_tests_ran_in_is_removed_with_what_they_left(void **state)
{
    (void)state;
    assert_int_equal(folder_run(run_path, run_in_it), 7);
    assert_int_not_equal(access(run_path, F_OK), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nor a guard */
    char path[] = "/nonexistent/parley-test-XXXXXX";
    assert_int_equal(folder_run(path, run_in_it), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder_of_a_killed_test_is_removed),
        cmocka_unit_test(test_guard_ends_when_it_is_told_to),
        cmocka_unit_test(test_folder_that_cannot_be_made_has_no_guard),
        cmocka_unit_test(test_folder_that_tests_ran_in_is_removed_with_what_they_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
