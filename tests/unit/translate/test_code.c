/* The memory that code which was made runs in: who may make it, run it, and write to it. */
#include "support/test.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "translate/code.h"

typedef uint64_t (*made)(void);

static bool skipped(void)
{
    code_set_switch(CODE_AS_SET);
    if (!code_allowed())
        print_message("no machine code here: skipped\n");
    return !code_allowed();
}

static const uint8_t returns[] = {0xb8, 0x2a, 0, 0, 0, 0xc3}; /* mov eax, 42; ret */

static void test_code_larger_than_the_limit_is_refused(void **state)
{
    (void)state;
    struct code *code = NULL;
    if (skipped())
        skip();
    uint8_t *large = calloc(1, CODE_BYTES_MAX + 1);
    assert_non_null(large);
    memcpy(large, returns, sizeof(returns));
    assert_int_equal(code_new(large, CODE_BYTES_MAX + 1, &code), -E2BIG);
    assert_int_equal(code_new(large, 0, &code), -E2BIG);
    assert_null(code);
    assert_int_equal(code_new(large, CODE_BYTES_MAX, &code), 0);
    assert_int_equal(code_bytes(code), CODE_BYTES_MAX);
    assert_int_equal(((made)code_function(code, 0))(), 42);
    code_free(code);
    free(large);
}

/* In a child, for the environment is looked at once in a process. Return: what it exits with. */
static int in_child(int (*body)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(body());
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int switched_off(void)
{
    struct code *code = NULL;
    code_set_switch(CODE_AS_SET);
    setenv("PARLEY_MACHINE_CODE", "0", 1);
    return !code_allowed() && code_new(returns, sizeof(returns), &code) == -ENOTSUP && !code ? 0
                                                                                             : 1;
}

static void test_the_environment_switches_it_off(void **state)
{
    (void)state;
    assert_int_equal(in_child(switched_off), 0);
}

static int refused_by_the_system(void)
{
#if defined(PR_SET_MDWE)
    const int mdwe = PR_SET_MDWE;
#else
    const int mdwe = 65;
#endif
    struct code *code = NULL;
    if (prctl(mdwe, 1, 0, 0, 0) < 0) /* no gain of executability */
        return 77;
    if (!code_allowed())
        return 1;
    if (code_new(returns, sizeof(returns), &code) != -EACCES || code)
        return 2;
    if (code_allowed()) /* and is not asked again */
        return 3;
    return code_new(returns, sizeof(returns), &code) == -EACCES ? 0 : 4;
}

static void test_a_system_that_refuses_is_asked_once(void **state)
{
    (void)state;
    if (skipped())
        skip();
    int status = in_child(refused_by_the_system);
    if (status == 77) {
        print_message("this kernel has no PR_SET_MDWE: skipped\n");
        skip();
    }
    assert_int_equal(status, 0);
}

static struct code *inherited;

static int run_inherited(void)
{
    uint64_t got = ((made)code_function(inherited, 0))();
    code_free(inherited);
    return got == 42 ? 0 : 1;
}

static int write_to_it(void)
{
    (void)signal(SIGSEGV, SIG_DFL); /* and not cmocka's, which goes on with the tests */
    *(volatile uint8_t *)(uintptr_t)code_function(inherited, 0) = 0xc3;
    return 0;
}

static void test_a_child_runs_what_its_parent_made_and_nobody_writes_to_it(void **state)
{
    (void)state;
    if (skipped())
        skip();
    assert_int_equal(code_new(returns, sizeof(returns), &inherited), 0);
    assert_int_equal(in_child(run_inherited), 0);
    assert_int_not_equal(in_child(write_to_it), 0); /* a signal, or the sanitizer's report */
    assert_int_equal(((made)code_function(inherited, 0))(), 42);
    code_free(inherited);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_code_larger_than_the_limit_is_refused),
        cmocka_unit_test(test_the_environment_switches_it_off),
        cmocka_unit_test(test_a_system_that_refuses_is_asked_once),
        cmocka_unit_test(test_a_child_runs_what_its_parent_made_and_nobody_writes_to_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
