#include "support/test.h"

#include <sys/wait.h>
#include <unistd.h>

#include "base/fork.h"

/* Return: what a child of this process sees, as its exit status. */
static int in_child(int (*look)(uint32_t parent_s))
{
    uint32_t generation = fork_generation();
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(look(generation));
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

static int differs(uint32_t parent_s)
{
    return fork_generation() != parent_s;
}

/* A child's child differs from both. */
static int grandchild_differs(uint32_t parent_s)
{
    int status = 0;
    uint32_t own = fork_generation();
    pid_t pid = fork();
    if (pid == 0)
        _exit(fork_generation() != own && fork_generation() != parent_s);
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

static void test_every_child_is_another_generation(void **state)
{
    (void)state;
    assert_int_equal(in_child(differs), 1);
    assert_int_equal(in_child(grandchild_differs), 1);
}

static void test_the_parent_stays_what_it_was(void **state)
{
    (void)state;
    uint32_t before = fork_generation();
    (void)in_child(differs);
    assert_int_equal(fork_generation(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_child_is_another_generation),
        cmocka_unit_test(test_the_parent_stays_what_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
