/* Sleeping on words: between two processes, by a mapping that may only be read. */
#include "support/test.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "wait/wait.h"

#define LONG_NS (60 * NS_PER_S)

static int file;
static _Atomic uint32_t *words;             /* the writer's */
static const _Atomic uint32_t *words_there; /* the same, as a reader has them */

static int setup(void **state)
{
    (void)state;
    file = memfd_create("words", MFD_CLOEXEC);
    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, 4096), 0);
    void *ours = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    void *there = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
    assert_true(ours != MAP_FAILED && there != MAP_FAILED);
    words = ours;
    words_there = there;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    munmap((void *)words, 4096);
    munmap((void *)(uintptr_t)words_there, 4096);
    close(file);
    return 0;
}

/* Whether several can be waited for here. */
static bool has_several(void)
{
    const void *both[] = {&words_there[0], &words_there[1]};
    return wait_words(both, 2, 1) != -ENOSYS;
}

static void test_a_word_that_is_not_0_is_not_waited_for(void **state)
{
    (void)state;
    const void *one[] = {&words_there[0]};
    words[0] = 1;
    assert_int_equal(wait_words(one, 1, LONG_NS), 1);
}

static void test_the_time_ends_it(void **state)
{
    (void)state;
    const void *one[] = {&words_there[0]};
    assert_int_equal(wait_words(one, 1, 1), 0);
    if (has_several()) {
        const void *both[] = {&words_there[0], &words_there[1]};
        assert_int_equal(wait_words(both, 2, 1), 0);
    }
}

static void test_numbers_of_words_have_limits(void **state)
{
    (void)state;
    const void *all[WAIT_WORDS_MAX + 1];
    for (unsigned i = 0; i <= WAIT_WORDS_MAX; i++)
        all[i] = &words_there[i];
    assert_int_equal(wait_words(all, 0, 1), -EINVAL);
    assert_int_equal(wait_words(all, WAIT_WORDS_MAX + 1, 1), -EINVAL);
    if (has_several())
        assert_int_equal(wait_words(all, WAIT_WORDS_MAX, 1), 0);
}

static void test_a_word_that_cannot_be_read_is_an_error(void **state)
{
    (void)state;
    const void *none[] = {NULL};
    assert_int_equal(wait_words(none, 1, 1), -EFAULT);
}

/* Waits on @count words in a process of its own, whose exit status is what wait_words() said. The
 * last of them is woken without being changed, so that it can only be the wake-up that ends it. */
static int woken_on_the_last_of(unsigned count)
{
    const void *all[WAIT_WORDS_MAX];
    int status = 0;
    for (unsigned i = 0; i < count; i++)
        all[i] = &words_there[i];
    pid_t pid = fork();
    if (pid == 0)
        _exit(wait_words(all, count, LONG_NS) == 1 ? 7 : 8);
    assert_true(pid > 0);
    /* Again and again, for it may not be asleep yet. */
    while (waitpid(pid, &status, WNOHANG) == 0) {
        wait_words_wake(&words_there[count - 1]); /* needs no more than reading, either */
        (void)poll(NULL, 0, 1);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_another_process_wakes_who_waits(void **state)
{
    (void)state;
    assert_int_equal(woken_on_the_last_of(1), 7);
}

static void test_any_of_several_wakes_who_waits(void **state)
{
    (void)state;
    if (!has_several()) {
        print_message("skipped: this kernel has no futex_waitv()\n");
        skip();
    }
    assert_int_equal(woken_on_the_last_of(WAIT_WORDS_MAX), 7);
}

/* Nothing else of it sleeps. */
static bool sleeps(pid_t pid)
{
    char path[64], state = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *file_of = fopen(path, "re");
    assert_non_null(file_of);
    assert_int_equal(fscanf(file_of, "%*d (%*[^)]) %c", &state), 1);
    assert_int_equal(fclose(file_of), 0);
    return state == 'S';
}

/* Somebody may wait on a word twice, and look at one of them only. */
static void test_all_who_wait_on_a_word_are_woken_at_once(void **state)
{
    (void)state;
    enum { WAITERS = 3 };
    const void *one[] = {&words_there[0]};
    pid_t pids[WAITERS];
    for (unsigned i = 0; i < WAITERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            _exit(wait_words(one, 1, LONG_NS) == 1 ? 7 : 8);
        while (!sleeps(pids[i]))
            (void)poll(NULL, 0, 1);
    }
    wait_words_wake(&words_there[0]);
    for (unsigned i = 0; i < WAITERS; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(WEXITSTATUS(status), 7);
    }
}

static void on_alarm(int number)
{
    (void)number;
}

static void test_a_signal_ends_it(void **state)
{
    (void)state;
    const void *one[] = {&words_there[0]};
    const struct sigaction action = {.sa_handler = on_alarm};
    const struct itimerval often = {{0, 10000}, {0, 10000}}, never = {0};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    assert_int_equal(wait_words(one, 1, LONG_NS), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
}

#define words_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        words_test(test_a_word_that_is_not_0_is_not_waited_for),
        words_test(test_the_time_ends_it),
        words_test(test_numbers_of_words_have_limits),
        words_test(test_a_word_that_cannot_be_read_is_an_error),
        words_test(test_another_process_wakes_who_waits),
        words_test(test_any_of_several_wakes_who_waits),
        words_test(test_all_who_wait_on_a_word_are_woken_at_once),
        words_test(test_a_signal_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
