/* The group of tests of a program that comes by NNG: each test in a process of its own. */
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "support/bus.h"

static int run_one(const char *name, const struct CMUnitTest *test, CMFixtureFunction setup,
                   CMFixtureFunction teardown)
{
    pid_t parent = getpid();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        exit(_cmocka_run_group_tests(name, test, 1, setup, teardown));
    }
    int status = 1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        abort();
    if (status != 0)
        fprintf(stderr, "%s: status %#x\n", test->name, (unsigned)status);
    return status != 0;
}

int bus_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count,
                        int (*setup)(void **state), int (*teardown)(void **state))
{
    if (!getenv("BUS_TRANSPORT"))
        return _cmocka_run_group_tests(name, tests, count, setup, teardown);
    const char *only = getenv("BUS_TEST");
    int failed = 0;
    for (size_t i = 0; i < count; i++)
        if (!only || strcmp(only, tests[i].name) == 0)
            failed += run_one(name, &tests[i], setup, teardown);
    return failed;
}
