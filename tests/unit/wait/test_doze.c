/* Sleeping on words with an eye on descriptors: whatever comes ends it, whoever armed the polls. */
#include "support/test.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "wait/wait.h"

#define MOVES_MANY 100 /* more than are put up with */

static struct wait *waiter;
static int ours, peers, file;
static char tag;
static _Atomic uint32_t *words;

static int setup(void **state)
{
    int fds[2];
    struct error_text error;
    (void)state;
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
                       errno);
    ours = fds[0];
    peers = fds[1];
    file = memfd_create("words", MFD_CLOEXEC);
    assert_return_code(ftruncate(file, 4096), errno);
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    assert_true(memory != MAP_FAILED);
    words = memory;
    if (wait_new(WAIT_BACKEND_URING, &waiter, &error) < 0) {
        waiter = NULL;
        assert_int_equal(wait_new(WAIT_BACKEND_EPOLL, &waiter, &error), 0);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    waiter = wait_free(waiter);
    close(ours);
    close(peers);
    close(file);
    munmap((void *)words, 4096);
    return 0;
}

static int doze_for(uint64_t ns)
{
    const void *word = &words[0];
    return wait_doze(waiter, &word, 1, ns);
}

static void need_it(void)
{
    if (doze_for(1) != -ENOSYS)
        return;
    print_message("skipped: no io_uring, or no futex_waitv() here\n");
    skip();
}

static void watch_ours(void)
{
    assert_int_equal(wait_add(waiter, ours, WAIT_IN, &tag), 0);
}

static void expect_event(uint32_t events)
{
    struct wait_event event;
    assert_int_equal(wait_poll(waiter, &event, 1, 0), 1);
    assert_ptr_equal(event.tag, &tag);
    assert_int_equal(event.events & events, events);
}

/* ---- What a helper does once the thread that made it sleeps ---- */

struct helper {
    pthread_t thread;
    pid_t sleeper;
    void (*act)(void);
};

static void *help(void *argument)
{
    const struct helper *helper = argument;
    char path[64], state = 0;
    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)helper->sleeper);
    while (state != 'S') {
        FILE *stat = fopen(path, "re");
        if (!stat || fscanf(stat, "%*d (%*[^)]) %c", &state) != 1)
            state = 'S';
        if (stat)
            (void)fclose(stat);
        (void)poll(NULL, 0, 1);
    }
    helper->act();
    return NULL;
}

/* What a doze without end returns, in which @act is done. */
static int doze_until(void (*act)(void))
{
    struct helper helper = {.sleeper = (pid_t)syscall(SYS_gettid), .act = act};
    assert_int_equal(pthread_create(&helper.thread, NULL, help, &helper), 0);
    int r = doze_for(WAIT_FOREVER);
    assert_int_equal(pthread_join(helper.thread, NULL), 0);
    return r;
}

static void wake_word(void)
{
    wait_words_wake(&words[0]);
}

static void send_byte(void)
{
    if (write(peers, "x", 1) != 1)
        abort();
}

static void hang_up(void)
{
    (void)shutdown(peers, SHUT_RDWR);
}

static void wake_waiter(void)
{
    wait_wake(waiter);
}

static void test_a_word_that_is_woken_ends_it(void **state)
{
    (void)state;
    need_it();
    assert_int_equal(doze_until(wake_word), 1);
}

static void test_a_word_that_is_not_0_is_not_waited_for(void **state)
{
    (void)state;
    need_it();
    words[0] = 1;
    assert_int_equal(doze_for(WAIT_FOREVER), 1);
}

static void test_data_ends_it(void **state)
{
    (void)state;
    need_it();
    watch_ours();
    assert_int_equal(doze_until(send_byte), 1);
    expect_event(WAIT_IN);
}

static void test_data_that_is_there_is_not_waited_for(void **state)
{
    (void)state;
    need_it();
    watch_ours();
    send_byte();
    assert_int_equal(doze_for(WAIT_FOREVER), 1);
    expect_event(WAIT_IN);
}

static void test_a_hang_up_ends_it(void **state)
{
    (void)state;
    need_it();
    watch_ours();
    assert_int_equal(doze_until(hang_up), 1);
    expect_event(WAIT_HUP);
}

static void test_a_wake_up_ends_it(void **state)
{
    (void)state;
    need_it();
    assert_int_equal(doze_until(wake_waiter), 1);
}

static void test_the_time_ends_it_and_not_early(void **state)
{
    (void)state;
    need_it();
    watch_ours();
    uint64_t end = clock_now_ns() + 20 * NS_PER_MS;
    assert_int_equal(doze_for(20 * NS_PER_MS), 0);
    assert_true(clock_now_ns() >= end);
}

static void ignore(int number)
{
    (void)number;
}

static pthread_t sleeper;

static void interrupt(void)
{
    (void)pthread_kill(sleeper, SIGUSR1);
}

static void test_a_signal_ends_it(void **state)
{
    (void)state;
    const struct sigaction action = {.sa_handler = ignore};
    need_it();
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    sleeper = pthread_self();
    assert_int_equal(doze_until(interrupt), 0);
}

/* ---- Threads ---- */

static void *arm_and_leave(void *unused)
{
    (void)unused;
    watch_ours();
    return NULL;
}

static void test_data_is_seen_by_a_poll_of_a_thread_that_has_left(void **state)
{
    pthread_t thread;
    (void)state;
    need_it();
    assert_int_equal(pthread_create(&thread, NULL, arm_and_leave, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    while (doze_for(1) == 1) { /* its poll ended with it, which is told */
        struct wait_event event;
        assert_int_equal(wait_poll(waiter, &event, 1, 0), 0);
    }
    assert_int_equal(doze_until(send_byte), 1);
    expect_event(WAIT_IN);
}

static void *doze_elsewhere(void *ret_result)
{
    int *result = ret_result;
    *result = doze_until(send_byte);
    return NULL;
}

/* The kernel interrupts who armed a poll; here that one does something else. */
static void test_data_is_seen_by_another_thread_than_the_one_that_armed(void **state)
{
    pthread_t thread;
    int result = 0;
    (void)state;
    need_it();
    watch_ours();
    assert_int_equal(pthread_create(&thread, NULL, doze_elsewhere, &result), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(result, 1);
    expect_event(WAIT_IN);
}

static void *doze_a_moment(void *ret_result)
{
    int *result = ret_result;
    *result = doze_for(1);
    return NULL;
}

/* And then nothing is armed anew for it any more; the waiter works on. */
static void test_threads_that_take_turns_are_refused_at_last(void **state)
{
    (void)state;
    need_it();
    watch_ours();
    unsigned dozes = 0;
    for (int r = 0; r != -ENOSYS; dozes++) {
        pthread_t thread;
        assert_true(dozes < MOVES_MANY);
        assert_int_equal(pthread_create(&thread, NULL, doze_a_moment, &r), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        if (r != -ENOSYS)
            r = doze_for(1);
        struct wait_event event;
        assert_int_equal(wait_poll(waiter, &event, 1, 0), 0);
    }
    assert_true(dozes > 1);
    send_byte();
    expect_event(WAIT_IN);
}

/* ---- Limits ---- */

static void test_numbers_of_words_have_limits(void **state)
{
    const void *all[WAIT_DOZE_WORDS_MAX + 1];
    (void)state;
    need_it();
    for (unsigned i = 0; i <= WAIT_DOZE_WORDS_MAX; i++)
        all[i] = &words[i];
    assert_int_equal(wait_doze(waiter, all, 0, 1), -EINVAL);
    assert_int_equal(wait_doze(waiter, all, WAIT_DOZE_WORDS_MAX + 1, 1), -EINVAL);
    assert_int_equal(wait_doze(waiter, all, WAIT_DOZE_WORDS_MAX, 1), 0);
    words[WAIT_DOZE_WORDS_MAX - 1] = 1;
    assert_int_equal(wait_doze(waiter, all, WAIT_DOZE_WORDS_MAX, WAIT_FOREVER), 1);
}

static void test_epoll_has_no_such_word(void **state)
{
    struct error_text error;
    (void)state;
    wait_free(waiter);
    assert_int_equal(wait_new(WAIT_BACKEND_EPOLL, &waiter, &error), 0);
    assert_int_equal(doze_for(1), -ENOSYS);
}

#define doze_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        doze_test(test_a_word_that_is_woken_ends_it),
        doze_test(test_a_word_that_is_not_0_is_not_waited_for),
        doze_test(test_data_ends_it),
        doze_test(test_data_that_is_there_is_not_waited_for),
        doze_test(test_a_hang_up_ends_it),
        doze_test(test_a_wake_up_ends_it),
        doze_test(test_the_time_ends_it_and_not_early),
        doze_test(test_a_signal_ends_it),
        doze_test(test_data_is_seen_by_a_poll_of_a_thread_that_has_left),
        doze_test(test_data_is_seen_by_another_thread_than_the_one_that_armed),
        doze_test(test_threads_that_take_turns_are_refused_at_last),
        doze_test(test_numbers_of_words_have_limits),
        doze_test(test_epoll_has_no_such_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
