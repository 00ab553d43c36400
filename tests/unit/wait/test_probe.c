/*
 * How a way to wait is chosen. Machines where io_uring is denied are made with a seccomp filter in
 * a child process, which answers with its exit status.
 */
#include "support/test.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/seccomp.h"
#include "wait/wait.h"

enum { CHILD_OK = 0, CHILD_WRONG = 1, CHILD_SKIP = 77 };

static int in_child(int (*run)(long, int), long number, int error)
{
    pid_t pid = fork();
    if (pid == 0) {
        alarm(30);
        _exit(run(number, error));
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CHILD_SKIP) {
        print_message("seccomp filters, or io_uring, do not work here\n");
        skip();
    }
    return WEXITSTATUS(status);
}

static int falls_back(long number, int error)
{
    unsetenv("PARLEY_WAIT");
    if (!seccomp_filter(number, SECCOMP_RET_ERRNO | (uint32_t)error))
        return CHILD_SKIP;
    struct wait *wait = NULL;
    struct error_text text;
    if (wait_new(WAIT_BACKEND_AUTO, &wait, &text) != 0 || strcmp(wait_name(wait), "epoll") != 0)
        return CHILD_WRONG;
    wait_free(wait);
    return CHILD_OK;
}

static int says_why(long number, int error)
{
    if (!seccomp_filter(number, SECCOMP_RET_ERRNO | (uint32_t)error))
        return CHILD_SKIP;
    struct wait *wait = NULL;
    struct error_text text;
    setenv("PARLEY_WAIT", "io_uring", 1);
    if (wait_new(WAIT_BACKEND_AUTO, &wait, &text) != -ENOSYS || wait)
        return CHILD_WRONG;
    return strstr(text.text, strerror(error)) && strstr(text.text, "PARLEY_WAIT") ? CHILD_OK
                                                                                  : CHILD_WRONG;
}

static void test_denied_set_up_falls_back_to_epoll(void **state)
{
    (void)state;
    const int errors[] = {ENOSYS, EPERM, ENOMEM, EACCES};
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        assert_int_equal(in_child(falls_back, SYS_io_uring_setup, errors[i]), CHILD_OK);
}

static void test_denied_entry_falls_back_to_epoll(void **state)
{
    (void)state;
    assert_int_equal(in_child(falls_back, SYS_io_uring_enter, EPERM), CHILD_OK);
}

static void test_forced_io_uring_that_is_denied_says_why(void **state)
{
    (void)state;
    assert_int_equal(in_child(says_why, SYS_io_uring_setup, EPERM), CHILD_OK);
    assert_int_equal(in_child(says_why, SYS_io_uring_enter, EPERM), CHILD_OK);
}

/* With io_uring, looking for events costs no system call: here it would be the last one. */
static int polls_in_memory(long number, int error)
{
    (void)error;
    struct wait *wait = NULL;
    int fd = eventfd(0, EFD_NONBLOCK);
    char tag;
    if (wait_new(WAIT_BACKEND_URING, &wait, NULL) != 0)
        return CHILD_SKIP;
    if (wait_add(wait, fd, WAIT_IN, &tag) != 0 || !seccomp_filter(number, SECCOMP_RET_KILL_PROCESS))
        return CHILD_SKIP;
    struct wait_event event;
    const uint64_t one = 1;
    for (int i = 0; i < 1000; i++) {
        if (wait_poll(wait, &event, 1, 0) != 0)
            return CHILD_WRONG;
    }
    /* An event is in memory too once this thread has been in the kernel. */
    if (write(fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
        return CHILD_WRONG;
    if (wait_poll(wait, &event, 1, 0) != 1 || event.tag != &tag)
        return CHILD_WRONG;
    return CHILD_OK;
}

static void test_looking_for_events_makes_no_system_call(void **state)
{
    (void)state;
    assert_int_equal(in_child(polls_in_memory, SYS_io_uring_enter, 0), CHILD_OK);
}

static void test_environment_forces_epoll(void **state)
{
    (void)state;
    setenv("PARLEY_WAIT", "epoll", 1);
    struct wait *wait = NULL;
    assert_int_equal(wait_new(WAIT_BACKEND_AUTO, &wait, NULL), 0);
    assert_string_equal(wait_name(wait), "epoll");
    wait_free(wait);
}

static void test_unknown_name_is_refused_with_the_known_ones(void **state)
{
    (void)state;
    const char *names[] = {"select", "EPOLL", "epoll ", "uring"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        setenv("PARLEY_WAIT", names[i], 1);
        struct wait *wait = NULL;
        struct error_text error;
        assert_int_equal(wait_new(WAIT_BACKEND_AUTO, &wait, &error), -EINVAL);
        assert_null(wait);
        assert_non_null(strstr(error.text, names[i]));
        assert_non_null(strstr(error.text, "io_uring or epoll"));
    }
}

static void test_empty_name_means_choose(void **state)
{
    (void)state;
    setenv("PARLEY_WAIT", "", 1);
    struct wait *wait = NULL;
    assert_int_equal(wait_new(WAIT_BACKEND_AUTO, &wait, NULL), 0);
    const char *name = wait_name(wait);
    assert_true(strcmp(name, "io_uring") == 0 || strcmp(name, "epoll") == 0);
    wait_free(wait);
}

static void test_explicit_backend_beats_the_environment(void **state)
{
    (void)state;
    setenv("PARLEY_WAIT", "nonsense", 1);
    struct wait *wait = NULL;
    assert_int_equal(wait_new(WAIT_BACKEND_EPOLL, &wait, NULL), 0);
    assert_string_equal(wait_name(wait), "epoll");
    wait_free(wait);
}

static void test_nothing_is_freed_without_complaint(void **state)
{
    (void)state;
    assert_null(wait_free(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_denied_set_up_falls_back_to_epoll),
        cmocka_unit_test(test_denied_entry_falls_back_to_epoll),
        cmocka_unit_test(test_forced_io_uring_that_is_denied_says_why),
        cmocka_unit_test(test_looking_for_events_makes_no_system_call),
        cmocka_unit_test(test_environment_forces_epoll),
        cmocka_unit_test(test_unknown_name_is_refused_with_the_known_ones),
        cmocka_unit_test(test_empty_name_means_choose),
        cmocka_unit_test(test_explicit_backend_beats_the_environment),
        cmocka_unit_test(test_nothing_is_freed_without_complaint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
