/*
 * What does a waiter cost besides waking up?
 *
 * bench/doorbells.c has what one ring takes. Here is the rest of a waiter's work, in one process:
 * many descriptors that become readable at once, as in a broker; a look that finds nothing, as a
 * spinning endpoint takes; watching a descriptor and letting go of it; making a waiter; and how
 * late a time-out is. The library's two backends (bus/wait), and beside them what they could be
 * made of.
 */
#include <errno.h>
#include <liburing.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "bench.h"
#include "floors.h"

#define CROWD 64 /* descriptors */
#define LOOKS 64 /* looks in a sample */
#define LATE_NS (200 * NS_PER_US)

struct crowd {
    struct wait *wait;
    int near[CROWD], far[CROWD]; /* we ring far, and wait for near */
};

static int fail(struct bench_run *run, const char *what, int r)
{
    return error_set(run->error, -1, "%s: %s", what, strerror(-r));
}

/* ---- Many at once ---- */

static int make_pairs(struct bench_run *run, struct crowd *crowd)
{
    for (int i = 0; i < CROWD; i++) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
            return fail(run, "socketpair", -errno);
        crowd->near[i] = ends[0];
        crowd->far[i] = ends[1];
    }
    return 0;
}

static int ring_all(struct crowd *crowd)
{
    for (int i = 0; i < CROWD; i++) {
        if (send(crowd->far[i], "", 1, MSG_NOSIGNAL) != 1)
            return -1;
    }
    return 0;
}

static int collect_all(struct crowd *crowd)
{
    struct wait_event events[CROWD];
    char byte;
    for (int taken = 0; taken < CROWD;) {
        int n = wait_poll(crowd->wait, events, CROWD, NS_PER_S);
        if (n <= 0)
            return n < 0 ? n : -ETIMEDOUT;
        for (int i = 0; i < n; i++) {
            const int *fd = events[i].tag;
            if (recv(*fd, &byte, 1, MSG_DONTWAIT) != 1)
                return -errno;
        }
        taken += n;
    }
    return 0;
}

static int make_crowd(struct bench_run *run, struct crowd *crowd, enum wait_backend backend)
{
    if (make_pairs(run, crowd) != 0)
        return -1;
    if (wait_new(backend, &crowd->wait, run->error) != 0)
        return -1;
    for (int i = 0; i < CROWD; i++) {
        int r = wait_add(crowd->wait, crowd->near[i], WAIT_IN, &crowd->near[i]);
        if (r != 0)
            return fail(run, "wait_add", r);
    }
    return 0;
}

static int burst(struct bench_run *run, enum wait_backend backend)
{
    static struct crowd crowd;
    if (make_crowd(run, &crowd, backend) != 0)
        return -1;
    for (uint32_t i = 0; i < run->sample_count; i++) {
        uint64_t start = clock_now_ns();
        int r = ring_all(&crowd);
        if (r == 0)
            r = collect_all(&crowd);
        if (r != 0)
            return fail(run, "a burst", r);
        run->samples_ns[i] = bench_sample(start, clock_now_ns()) / CROWD;
    }
    return 0;
}

static int burst_uring(struct bench_run *run)
{
    return burst(run, WAIT_BACKEND_URING);
}

static int burst_epoll(struct bench_run *run)
{
    return burst(run, WAIT_BACKEND_EPOLL);
}

/* One posted receive for each, posted again with the next wait: no system call for each message. */
static int burst_receives(struct bench_run *run)
{
    static struct crowd crowd;
    static char bytes[CROWD];
    struct io_uring ring;
    int r = io_uring_queue_init(CROWD, &ring, IORING_SETUP_COOP_TASKRUN);
    if (r != 0)
        return fail(run, "io_uring", r);
    if (make_pairs(run, &crowd) != 0)
        return -1;
    for (uint32_t i = 0; i < run->sample_count; i++) {
        uint64_t start = clock_now_ns();
        for (int k = 0; k < CROWD; k++)
            io_uring_prep_recv(io_uring_get_sqe(&ring), crowd.near[k], &bytes[k], 1, 0);
        r = io_uring_submit(&ring);
        if (r == CROWD && ring_all(&crowd) == 0)
            r = io_uring_submit_and_wait(&ring, CROWD);
        if (r < 0)
            return fail(run, "io_uring", r);
        io_uring_cq_advance(&ring, io_uring_cq_ready(&ring));
        run->samples_ns[i] = bench_sample(start, clock_now_ns()) / CROWD;
    }
    return 0;
}

/* ---- A look, a watch, a waiter ---- */

static int look(struct bench_run *run, enum wait_backend backend)
{
    static struct crowd crowd;
    struct wait_event events[CROWD];
    if (make_crowd(run, &crowd, backend) != 0)
        return -1;
    for (uint32_t i = 0; i < run->sample_count; i++) {
        uint64_t start = clock_now_ns();
        for (int k = 0; k < LOOKS; k++) {
            if (wait_poll(crowd.wait, events, CROWD, 0) != 0)
                return error_set(run->error, -1, "an event out of nothing");
        }
        run->samples_ns[i] = bench_sample(start, clock_now_ns()) / LOOKS;
    }
    return 0;
}

static int look_uring(struct bench_run *run)
{
    return look(run, WAIT_BACKEND_URING);
}

static int look_epoll(struct bench_run *run)
{
    return look(run, WAIT_BACKEND_EPOLL);
}

static int watch(struct bench_run *run, enum wait_backend backend)
{
    static struct crowd crowd;
    if (make_crowd(run, &crowd, backend) != 0)
        return -1;
    for (uint32_t i = 0; i < run->sample_count; i++) {
        uint64_t start = clock_now_ns();
        int r = wait_add(crowd.wait, crowd.far[0], WAIT_IN, NULL);
        if (r == 0)
            r = wait_remove(crowd.wait, crowd.far[0]);
        if (r != 0)
            return fail(run, "a watch", r);
        run->samples_ns[i] = bench_sample(start, clock_now_ns());
    }
    return 0;
}

static int watch_uring(struct bench_run *run)
{
    return watch(run, WAIT_BACKEND_URING);
}

static int watch_epoll(struct bench_run *run)
{
    return watch(run, WAIT_BACKEND_EPOLL);
}

static int make(struct bench_run *run, enum wait_backend backend)
{
    for (uint32_t i = 0; i < run->sample_count; i++) {
        struct wait *wait;
        uint64_t start = clock_now_ns();
        if (wait_new(backend, &wait, run->error) != 0)
            return -1;
        wait_free(wait);
        run->samples_ns[i] = bench_sample(start, clock_now_ns());
    }
    return 0;
}

static int make_uring(struct bench_run *run)
{
    return make(run, WAIT_BACKEND_URING);
}

static int make_epoll(struct bench_run *run)
{
    return make(run, WAIT_BACKEND_EPOLL);
}

/* ---- A time-out that passes ---- */

static const struct timespec late_ts = {.tv_nsec = LATE_NS};

/* Samples are what it took beyond LATE_NS. @sleep: 0, or -errno. */
static int late(struct bench_run *run, int (*sleep)(void *), void *data)
{
    for (uint32_t i = 0; i < run->sample_count; i++) {
        uint64_t start = clock_now_ns();
        int r = sleep(data);
        uint64_t now = clock_now_ns();
        if (r != 0)
            return fail(run, "a time-out", r);
        if (now < start + LATE_NS)
            return error_set(run->error, -1, "a time-out came too early");
        run->samples_ns[i] = bench_sample(start + LATE_NS, now);
    }
    return 0;
}

static int sleep_in_futex(void *data)
{
    long r = syscall(SYS_futex, data, FUTEX_WAIT, 0, &late_ts, NULL, 0);
    return r < 0 && errno != ETIMEDOUT ? -errno : 0;
}

static int late_futex(struct bench_run *run)
{
    static _Atomic uint32_t word;
    return late(run, sleep_in_futex, &word);
}

static int sleep_in_wait(void *data)
{
    struct wait_event event;
    return wait_poll(data, &event, 1, LATE_NS);
}

static int late_backend(struct bench_run *run, enum wait_backend backend)
{
    struct wait *wait;
    return wait_new(backend, &wait, run->error) != 0 ? -1 : late(run, sleep_in_wait, wait);
}

static int late_uring(struct bench_run *run)
{
    return late_backend(run, WAIT_BACKEND_URING);
}

static int late_epoll(struct bench_run *run)
{
    return late_backend(run, WAIT_BACKEND_EPOLL);
}

struct timer {
    int epoll, fd;
};

static int sleep_with_timerfd(void *data)
{
    const struct itimerspec time = {.it_value = late_ts};
    struct timer *timer = data;
    struct epoll_event event;
    if (timerfd_settime(timer->fd, 0, &time, NULL) != 0)
        return -errno;
    return epoll_wait(timer->epoll, &event, 1, -1) == 1 ? 0 : -errno;
}

static int late_timerfd(struct bench_run *run)
{
    struct timer timer = {epoll_create1(EPOLL_CLOEXEC),
                          timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    if (epoll_ctl(timer.epoll, EPOLL_CTL_ADD, timer.fd, &event) != 0)
        return fail(run, "timerfd", -errno);
    return late(run, sleep_with_timerfd, &timer);
}

struct linked {
    struct io_uring ring;
    int ends[2]; /* of a socketpair that nobody writes to */
};

static int sleep_linked(void *data)
{
    struct linked *linked = data;
    struct __kernel_timespec ts = {.tv_nsec = LATE_NS};
    char byte;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&linked->ring);
    io_uring_prep_recv(sqe, linked->ends[0], &byte, 1, 0);
    sqe->flags |= IOSQE_IO_LINK;
    io_uring_prep_link_timeout(io_uring_get_sqe(&linked->ring), &ts, 0);
    int r = io_uring_submit_and_wait(&linked->ring, 2);
    io_uring_cq_advance(&linked->ring, io_uring_cq_ready(&linked->ring));
    return r < 0 ? r : 0;
}

static int late_linked(struct bench_run *run)
{
    static struct linked linked;
    int r = io_uring_queue_init(4, &linked.ring, IORING_SETUP_COOP_TASKRUN);
    if (r == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, linked.ends) != 0)
        r = -errno;
    return r != 0 ? fail(run, "io_uring", r) : late(run, sleep_linked, &linked);
}

/* ---- Death ---- */

static int watch_for_ever(const struct bench_run *run, void *data)
{
    struct crowd *crowd = data;
    struct wait_event event;
    (void)run;
    for (int i = 0; i < CROWD; i++)
        (void)close(crowd->far[i]);
    for (int i = 0; i < CROWD; i++) {
        if (wait_add(crowd->wait, crowd->near[i], WAIT_IN, NULL) != 0)
            return -1;
    }
    (void)send(crowd->near[0], "", 1, MSG_NOSIGNAL); /* ready */
    return wait_poll(crowd->wait, &event, 1, WAIT_FOREVER);
}

struct mortal {
    struct crowd crowd;
    enum wait_backend backend;
};

static int live(const struct bench_run *run, void *data)
{
    struct mortal *mortal = data;
    struct error_text error = {""};
    return wait_new(mortal->backend, &mortal->crowd.wait, &error) == 0
               ? watch_for_ever(run, &mortal->crowd)
               : -1;
}

/* From the kill until the last of its sockets hangs up. */
static int death(struct bench_run *run, enum wait_backend backend)
{
    for (uint32_t i = 0; i < run->sample_count; i++) {
        static struct mortal mortal;
        char byte;
        mortal.backend = backend;
        if (make_pairs(run, &mortal.crowd) != 0)
            return -1;
        pid_t pid = bench_peer_start(run, live, &mortal);
        for (int k = 0; k < CROWD; k++)
            (void)close(mortal.crowd.near[k]);
        if (pid < 0 || recv(mortal.crowd.far[0], &byte, 1, 0) != 1)
            return error_set(run->error, -1, "the one that is to die did not come up");
        uint64_t start = clock_now_ns();
        (void)kill(pid, SIGKILL);
        for (int k = 0; k < CROWD; k++)
            (void)recv(mortal.crowd.far[k], &byte, 1, 0);
        run->samples_ns[i] = bench_sample(start, clock_now_ns());
        bench_peer_stop(pid);
        for (int k = 0; k < CROWD; k++)
            (void)close(mortal.crowd.far[k]);
    }
    return 0;
}

static int death_uring(struct bench_run *run)
{
    return death(run, WAIT_BACKEND_URING);
}

static int death_epoll(struct bench_run *run)
{
    return death(run, WAIT_BACKEND_EPOLL);
}

/* ---- The table ---- */

static struct bench_subject subjects[] = {
    FLOOR_CACHE_LINE,
    {"burst-uring", "64 rung at once, bus/wait io_uring: each", 3000, .run = burst_uring},
    {"burst-epoll", "the same, bus/wait epoll", 3000, .run = burst_epoll},
    {"burst-receives", "the same, a recv posted for each", 3000, .run = burst_receives},
    {"look-uring", "a look at 64, nothing there, io_uring", 3000, .run = look_uring},
    {"look-epoll", "the same, epoll", 3000, .run = look_epoll},
    {"watch-uring", "to watch one and let go, io_uring", 3000, .run = watch_uring},
    {"watch-epoll", "the same, epoll", 3000, .run = watch_epoll},
    {"make-uring", "to make a waiter and free it, io_uring", 100, .run = make_uring},
    {"make-epoll", "the same, epoll", 100, .run = make_epoll},
    {"death-uring", "a kill, till 64 sockets hang up, io_uring", 100, .run = death_uring},
    {"death-epoll", "the same, epoll", 100, .run = death_epoll},
    {"late-futex", "how late 200 us are, FUTEX_WAIT", 1000, .run = late_futex},
    {"late-uring", "io_uring_enter's argument (bus/wait)", 1000, .run = late_uring},
    {"late-epoll", "epoll_pwait2's argument (bus/wait)", 1000, .run = late_epoll},
    {"late-timerfd", "a timerfd, set anew, in epoll", 1000, .run = late_timerfd},
    {"late-linked", "recv posted and LINK_TIMEOUT", 1000, .run = late_linked},
};

int main(int argc, char **argv)
{
    struct io_uring ring;
    const bool uring = io_uring_queue_init(1, &ring, IORING_SETUP_COOP_TASKRUN) == 0;
    for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
        const char *name = subjects[i].name;
        if (!uring &&
            (strstr(name, "uring") || strstr(name, "receives") || strstr(name, "linked"))) {
            subjects[i].skipped = "io_uring is not to be had here";
            fprintf(stderr, "skipped: %s: %s\n", name, subjects[i].skipped);
        }
    }
    if (uring)
        io_uring_queue_exit(&ring);
    const struct bench bench = {
        .name = "waiting",
        .question = "What does a waiter cost besides waking up?",
        .subjects = subjects,
        .subject_count = sizeof(subjects) / sizeof(subjects[0]),
        .partial = true,
    };
    return bench_main(argc, argv, &bench);
}
