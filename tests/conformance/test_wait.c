/*
 * What every backend of the wait room does with descriptors, time and signals: one suite, run over
 * each of them. Words: test_wait_words.c.
 */
#include "conformance/waits.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#define MANY 1500 /* more than any backend's queue holds */

/* ---- Events ---- */

static void test_data_makes_an_event(struct fixture *f)
{
    add(f, WAIT_IN);
    expect_nothing(f);
    send_byte(f->peers);
    assert_int_equal(expect(f, &f->tag), WAIT_IN);
}

static void test_data_that_is_there_at_add_makes_an_event(struct fixture *f)
{
    send_byte(f->peers);
    add(f, WAIT_IN);
    assert_int_equal(expect(f, &f->tag), WAIT_IN);
}

static void test_new_data_after_draining_makes_a_new_event(struct fixture *f)
{
    add(f, WAIT_IN);
    for (int i = 0; i < 1000; i++) {
        send_byte(f->peers);
        assert_int_equal(expect(f, &f->tag), WAIT_IN);
        drain(f->ours);
    }
    struct wait_event event;
    while (wait_poll(f->wait, &event, 1, 0) == 1)
        assert_ptr_equal(event.tag, &f->tag); /* spurious ones are allowed, endless ones are not */
}

static void test_free_space_makes_an_event(struct fixture *f)
{
    add(f, WAIT_OUT);
    assert_int_equal(expect(f, &f->tag), WAIT_OUT);
    fill(f->ours);
    struct wait_event event;
    while (wait_poll(f->wait, &event, 1, 0) == 1)
        ;
    drain(f->peers);
    assert_int_equal(expect(f, &f->tag), WAIT_OUT);
}

static void test_only_what_was_asked_for_is_reported(struct fixture *f)
{
    add(f, WAIT_OUT);
    send_byte(f->peers);
    assert_int_equal(expect(f, &f->tag), WAIT_OUT);
}

static void test_hang_up_is_reported_without_being_asked_for(struct fixture *f)
{
    add(f, 0);
    expect_nothing(f);
    close(f->peers);
    f->peers = -1;
    assert_int_equal(expect(f, &f->tag), WAIT_HUP);
}

static void test_hang_up_comes_with_what_is_left_to_read(struct fixture *f)
{
    add(f, WAIT_IN);
    send_byte(f->peers);
    close(f->peers);
    f->peers = -1;
    uint32_t seen = 0;
    while (!(seen & WAIT_HUP))
        seen |= expect(f, &f->tag);
    assert_true(seen & WAIT_IN);
    char byte;
    assert_int_equal(read(f->ours, &byte, 1), 1);
}

static void test_hang_up_before_add_is_reported(struct fixture *f)
{
    close(f->peers);
    f->peers = -1;
    add(f, WAIT_IN);
    assert_true(expect(f, &f->tag) & WAIT_HUP);
}

static void test_closing_the_end_of_a_pipe_hangs_up(struct fixture *f)
{
    int fds[2];
    assert_return_code(pipe2(fds, O_CLOEXEC | O_NONBLOCK), errno);
    assert_int_equal(wait_add(f->wait, fds[0], WAIT_IN, &f->tag), 0);
    close(fds[1]);
    assert_true(expect(f, &f->tag) & WAIT_HUP);
    assert_int_equal(wait_remove(f->wait, fds[0]), 0);
    close(fds[0]);
}

/* ---- Registrations ---- */

static void test_removed_descriptor_is_silent(struct fixture *f)
{
    add(f, WAIT_IN);
    assert_int_equal(wait_remove(f->wait, f->ours), 0);
    send_byte(f->peers);
    expect_nothing(f);
}

static void test_pending_event_goes_with_its_registration(struct fixture *f)
{
    add(f, WAIT_IN);
    send_byte(f->peers);
    assert_int_equal(wait_remove(f->wait, f->ours), 0);
    expect_nothing(f);
}

static void test_same_number_again_gets_only_its_own_events(struct fixture *f)
{
    add(f, WAIT_IN);
    send_byte(f->peers);
    assert_int_equal(wait_remove(f->wait, f->ours), 0);
    int number = f->ours;
    close(f->ours);
    close(f->peers);
    int a, b;
    socket_pair(&a, &b);
    f->peers = a == number ? b : a;
    if (a != number && b != number)
        assert_int_equal(dup2(a, number), number), close(a), f->peers = b;
    assert_int_equal(wait_add(f->wait, number, WAIT_IN, &f->other_tag), 0);
    expect_nothing(f);
    send_byte(f->peers);
    assert_int_equal(expect(f, &f->other_tag), WAIT_IN);
}

static void test_stale_event_behind_a_good_one_finds_no_registration(struct fixture *f)
{
    int a, b;
    socket_pair(&a, &b);
    assert_int_equal(wait_add(f->wait, a, WAIT_IN, &a), 0);
    add(f, WAIT_IN);
    send_byte(b);
    send_byte(f->peers);
    drain(f->ours); /* so that adding it again makes no event of its own */
    assert_int_equal(wait_remove(f->wait, f->ours), 0);
    assert_int_equal(wait_add(f->wait, f->ours, WAIT_IN, &f->other_tag), 0);
    assert_int_equal(expect(f, &a), WAIT_IN);
    drain(a);
    expect_nothing(f);
    assert_int_equal(wait_remove(f->wait, a), 0);
    close(a);
    close(b);
}

static void test_mistakes_are_told_apart(struct fixture *f)
{
    assert_int_equal(wait_remove(f->wait, f->ours), -ENOENT);
    assert_int_equal(wait_modify(f->wait, f->ours, WAIT_IN), -ENOENT);
    assert_int_equal(wait_remove(f->wait, -1), -ENOENT);
    assert_int_equal(wait_add(f->wait, -1, WAIT_IN, NULL), -EBADF);
    add(f, WAIT_IN);
    assert_int_equal(wait_add(f->wait, f->ours, WAIT_IN, &f->other_tag), -EEXIST);
    assert_int_equal(wait_remove(f->wait, f->ours), 0);
    assert_int_equal(wait_remove(f->wait, f->ours), -ENOENT);
    int closed = f->ours;
    close(closed);
    f->ours = -1;
    assert_int_equal(wait_add(f->wait, closed, WAIT_IN, NULL), -EBADF);
    struct wait_event event;
    assert_int_equal(wait_poll(f->wait, &event, 0, 0), -EINVAL);
}

static void test_modify_changes_what_is_waited_for(struct fixture *f)
{
    add(f, WAIT_IN);
    assert_int_equal(wait_modify(f->wait, f->ours, WAIT_OUT), 0);
    assert_int_equal(expect(f, &f->tag), WAIT_OUT);
    assert_int_equal(wait_modify(f->wait, f->ours, 0), 0);
    send_byte(f->peers);
    expect_nothing(f);
    /* What became ready meanwhile is reported now. */
    assert_int_equal(wait_modify(f->wait, f->ours, WAIT_IN), 0);
    assert_int_equal(expect(f, &f->tag), WAIT_IN);
    drain(f->ours);
    assert_int_equal(wait_modify(f->wait, f->ours, WAIT_IN | WAIT_OUT), 0);
    assert_int_equal(expect(f, &f->tag), WAIT_OUT);
}

static void test_peer_sees_hang_up_after_remove_and_close(struct fixture *f)
{
    add(f, WAIT_IN);
    assert_int_equal(wait_remove(f->wait, f->ours), 0);
    close(f->ours);
    f->ours = -1;
    assert_true(hung_up(f->peers));
}

static void test_peer_sees_hang_up_after_free_and_close(struct fixture *f)
{
    add(f, WAIT_IN);
    f->wait = wait_free(f->wait);
    assert_null(f->wait);
    close(f->ours);
    f->ours = -1;
    assert_true(hung_up(f->peers));
}

static void test_highest_descriptor_is_accepted_and_the_next_is_not(struct fixture *f)
{
    assert_int_equal(wait_add(f->wait, WAIT_FD_MAX, WAIT_IN, NULL), -ENOSPC);
    struct rlimit old, limit = {WAIT_FD_MAX + 1, WAIT_FD_MAX + 1};
    assert_return_code(getrlimit(RLIMIT_NOFILE, &old), errno);
    if (old.rlim_max > limit.rlim_max)
        limit.rlim_max = old.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
        print_message("RLIMIT_NOFILE cannot be raised to %d here: %s\n", WAIT_FD_MAX + 1,
                      strerror(errno));
        return; /* the first half was tested */
    }
    int highest = fcntl(f->ours, F_DUPFD_CLOEXEC, WAIT_FD_MAX - 1);
    assert_int_equal(highest, WAIT_FD_MAX - 1);
    assert_int_equal(wait_add(f->wait, highest, WAIT_IN, &f->tag), 0);
    send_byte(f->peers);
    assert_int_equal(expect(f, &f->tag), WAIT_IN);
    assert_int_equal(wait_remove(f->wait, highest), 0);
    close(highest);
    assert_return_code(setrlimit(RLIMIT_NOFILE, &old), errno);
}

static void *add_in_thread(void *userdata)
{
    struct fixture *f = userdata;
    return (void *)(intptr_t)wait_add(f->wait, f->ours, WAIT_IN, &f->tag);
}

static void test_registration_outlives_the_thread_that_made_it(struct fixture *f)
{
    pthread_t thread;
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, add_in_thread, f), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal((intptr_t)result, 0);
    send_byte(f->peers);
    assert_int_equal(expect(f, &f->tag), WAIT_IN);
    drain(f->ours);
    send_byte(f->peers);
    assert_int_equal(expect(f, &f->tag), WAIT_IN);
}

/* ---- Many ---- */

static void many_add(struct fixture *f, int *fds, int count)
{
    for (int i = 0; i < count; i++) {
        fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        assert_return_code(fds[i], errno);
        assert_int_equal(wait_add(f->wait, fds[i], WAIT_IN, &fds[i]), 0);
    }
}

static void many_remove(struct fixture *f, const int *fds, int count)
{
    for (int i = 0; i < count; i++) {
        assert_int_equal(wait_remove(f->wait, fds[i]), 0);
        close(fds[i]);
    }
}

static void many_write(const int *fds, int count)
{
    const uint64_t one = 1;
    for (int i = 0; i < count; i++)
        assert_int_equal(write(fds[i], &one, sizeof(one)), sizeof(one));
}

/* Reads each descriptor that is reported until all were, @max at a time. They are ready already:
 * no call may come back empty, even if it may not wait. */
static void many_collect(struct fixture *f, const int *fds, int count, int max, uint64_t timeout_ns)
{
    struct wait_event events[100];
    bool seen[MANY] = {false};
    int left = count;
    while (left > 0) {
        int n = wait_poll(f->wait, events, max, timeout_ns);
        assert_in_range(n, 1, max);
        for (int i = 0; i < n; i++) {
            for (int j = 0; j < i; j++)
                assert_ptr_not_equal(events[j].tag, events[i].tag);
            const int *fd = events[i].tag;
            uint64_t value;
            if (read(*fd, &value, sizeof(value)) == (ssize_t)sizeof(value) && !seen[fd - fds]) {
                seen[fd - fds] = true;
                left--;
            }
        }
    }
}

static void test_no_more_events_than_there_is_room_for(struct fixture *f)
{
    int fds[50];
    many_add(f, fds, 50);
    for (int round = 0; round < 3; round++) {
        many_write(fds, 50);
        many_collect(f, fds, 50, 7, PATIENCE_NS);
    }
    many_remove(f, fds, 50);
}

static void test_burst_beyond_every_queue_loses_nothing(struct fixture *f)
{
    static int fds[MANY];
    struct rlimit limit;
    assert_return_code(getrlimit(RLIMIT_NOFILE, &limit), errno);
    rlim_t old = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    assert_return_code(setrlimit(RLIMIT_NOFILE, &limit), errno);
    int count = limit.rlim_max > MANY + 100 ? MANY : (int)limit.rlim_max - 100;
    many_add(f, fds, count);
    for (int round = 0; round < 3; round++) {
        many_write(fds, count);
        many_write(fds, count);
        many_collect(f, fds, count, 100, round == 0 ? PATIENCE_NS : 0);
    }
    many_remove(f, fds, count);
    limit.rlim_cur = old;
    assert_return_code(setrlimit(RLIMIT_NOFILE, &limit), errno);
}

static void test_registration_is_named_once_in_an_array(struct fixture *f)
{
    add(f, WAIT_IN | WAIT_OUT);
    for (int i = 0; i < 10; i++) {
        send_byte(f->peers);
        (void)
            getppid(); /* a way into the kernel, so that each write can make an event of its own */
    }
    struct wait_event events[16];
    assert_int_equal(wait_poll(f->wait, events, 16, PATIENCE_NS), 1);
    assert_int_equal(events[0].events, WAIT_IN | WAIT_OUT);
}

static void test_quiet_ends_with_what_is_to_be_returned(struct fixture *f)
{
    struct wait_event event;
    add(f, WAIT_IN);
    for (int i = 0; i < 100; i++) {
        while (wait_poll(f->wait, &event, 1, 0) == 1)
            ;
        /* epoll cannot tell without a system call. */
        assert_int_equal(wait_quiet(f->wait), strcmp(wait_name(f->wait), "io_uring") == 0);
        send_byte(f->peers);
        assert_false(wait_quiet(f->wait));
        assert_int_equal(expect(f, &f->tag), WAIT_IN);
        drain(f->ours);
    }
}

static void test_quiet_ends_with_a_wake_up(struct fixture *f)
{
    wait_wake(f->wait);
    assert_false(wait_quiet(f->wait));
}

/* ---- Time, signals, wake-ups ---- */

static void test_timeout_is_not_early(struct fixture *f)
{
    add(f, WAIT_IN);
    const uint64_t timeouts[] = {1, 300 * NS_PER_US, 5 * NS_PER_MS};
    for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
        /* One that comes early may have been interrupted (the kernel does so while it takes down
         * the ring of a case before); all of them cannot. */
        bool early = true;
        for (int tries = 0; tries < 20 && early; tries++) {
            struct wait_event event;
            uint64_t start = clock_now_ns();
            assert_int_equal(wait_poll(f->wait, &event, 1, timeouts[i]), 0);
            early = clock_now_ns() - start < timeouts[i];
        }
        assert_false(early);
    }
}

static void ignore_signal(int number)
{
    (void)number;
}

/* A signal every millisecond, so that one certainly comes while the case waits. */
static void signals_start(void (*handler)(int))
{
    const struct sigaction action = {.sa_handler = handler};
    assert_return_code(sigaction(SIGALRM, &action, NULL), errno);
    const struct itimerval timer = {{0, 1000}, {0, 1000}};
    assert_return_code(setitimer(ITIMER_REAL, &timer, NULL), errno);
}

static void signals_stop(void)
{
    const struct itimerval timer = {{0, 0}, {0, 0}};
    assert_return_code(setitimer(ITIMER_REAL, &timer, NULL), errno);
    const struct sigaction action = {.sa_handler = SIG_IGN};
    assert_return_code(sigaction(SIGALRM, &action, NULL), errno);
}

static void test_signal_ends_the_wait_without_an_event(struct fixture *f)
{
    struct wait_event event;
    signals_start(ignore_signal);
    int r = wait_poll(f->wait, &event, 1, WAIT_FOREVER);
    signals_stop();
    assert_int_equal(r, 0);
}

static struct wait *woken_by_signal;

static void wake_from_signal(int number)
{
    (void)number;
    wait_wake(woken_by_signal);
}

static void test_signal_handler_can_wake(struct fixture *f)
{
    woken_by_signal = f->wait;
    struct wait_event event;
    signals_start(wake_from_signal);
    int r = wait_poll(f->wait, &event, 1, WAIT_FOREVER);
    signals_stop();
    assert_int_equal(r, 0);
}

static void test_wake_up_before_the_wait_is_not_lost(struct fixture *f)
{
    wait_wake(f->wait);
    wait_wake(f->wait);
    struct wait_event event;
    assert_int_equal(wait_poll(f->wait, &event, 1, WAIT_FOREVER), 0);
    assert_false(readable(wait_fd(f->wait))); /* the two were one */
}

static void *wake_in_thread(void *userdata)
{
    wait_wake(userdata);
    return NULL;
}

static void test_other_thread_can_wake(struct fixture *f)
{
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        struct wait_event event;
        assert_int_equal(pthread_create(&thread, NULL, wake_in_thread, f->wait), 0);
        assert_int_equal(wait_poll(f->wait, &event, 1, WAIT_FOREVER), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
}

static void test_wake_up_does_not_hide_an_event(struct fixture *f)
{
    add(f, WAIT_IN);
    wait_wake(f->wait);
    send_byte(f->peers);
    struct wait_event event;
    int n = wait_poll(f->wait, &event, 1, PATIENCE_NS);
    if (n == 0) /* the wake-up came first, alone */
        n = wait_poll(f->wait, &event, 1, PATIENCE_NS);
    assert_int_equal(n, 1);
    assert_ptr_equal(event.tag, &f->tag);
}

/* ---- In another event loop ---- */

static void test_foreign_loop_sees_an_event(struct fixture *f)
{
    int loop = epoll_create1(EPOLL_CLOEXEC);
    assert_return_code(loop, errno);
    struct epoll_event event = {.events = EPOLLIN};
    assert_return_code(epoll_ctl(loop, EPOLL_CTL_ADD, wait_fd(f->wait), &event), errno);
    add(f, WAIT_IN); /* no wait_poll() between this and the foreign wait */
    for (int i = 0; i < 100; i++) {
        assert_int_equal(epoll_wait(loop, &event, 1, 0), 0);
        send_byte(f->peers);
        int n;
        do {
            n = epoll_wait(loop, &event, 1, 20000);
        } while (n < 0 && errno == EINTR); /* as wait.h says */
        assert_int_equal(n, 1);
        assert_int_equal(expect(f, &f->tag), WAIT_IN);
        drain(f->ours);
        expect_nothing(f);
    }
    close(loop);
}

static void test_foreign_loop_sees_a_wake_up(struct fixture *f)
{
    assert_false(readable(wait_fd(f->wait)));
    wait_wake(f->wait);
    assert_true(readable(wait_fd(f->wait)));
    expect_nothing(f);
    assert_false(readable(wait_fd(f->wait)));
}

static void test_foreign_loop_is_not_troubled_by_what_was_removed(struct fixture *f)
{
    add(f, WAIT_IN);
    send_byte(f->peers);
    assert_int_equal(wait_remove(f->wait, f->ours), 0);
    assert_false(readable(wait_fd(f->wait)));
}

int main(void)
{
    static const struct test_case cases[] = {
        CASE(test_data_makes_an_event),
        CASE(test_data_that_is_there_at_add_makes_an_event),
        CASE(test_new_data_after_draining_makes_a_new_event),
        CASE(test_free_space_makes_an_event),
        CASE(test_only_what_was_asked_for_is_reported),
        CASE(test_hang_up_is_reported_without_being_asked_for),
        CASE(test_hang_up_comes_with_what_is_left_to_read),
        CASE(test_hang_up_before_add_is_reported),
        CASE(test_closing_the_end_of_a_pipe_hangs_up),
        CASE(test_removed_descriptor_is_silent),
        CASE(test_pending_event_goes_with_its_registration),
        CASE(test_same_number_again_gets_only_its_own_events),
        CASE(test_stale_event_behind_a_good_one_finds_no_registration),
        CASE(test_mistakes_are_told_apart),
        CASE(test_modify_changes_what_is_waited_for),
        CASE(test_peer_sees_hang_up_after_remove_and_close),
        CASE(test_peer_sees_hang_up_after_free_and_close),
        CASE(test_highest_descriptor_is_accepted_and_the_next_is_not),
        CASE(test_registration_outlives_the_thread_that_made_it),
        CASE(test_no_more_events_than_there_is_room_for),
        CASE(test_burst_beyond_every_queue_loses_nothing),
        CASE(test_registration_is_named_once_in_an_array),
        CASE(test_quiet_ends_with_what_is_to_be_returned),
        CASE(test_quiet_ends_with_a_wake_up),
        CASE(test_timeout_is_not_early),
        CASE(test_signal_ends_the_wait_without_an_event),
        CASE(test_signal_handler_can_wake),
        CASE(test_wake_up_before_the_wait_is_not_lost),
        CASE(test_other_thread_can_wake),
        CASE(test_wake_up_does_not_hide_an_event),
        CASE(test_foreign_loop_sees_an_event),
        CASE(test_foreign_loop_sees_a_wake_up),
        CASE(test_foreign_loop_is_not_troubled_by_what_was_removed),
    };
    return run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
