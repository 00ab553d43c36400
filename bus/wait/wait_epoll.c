/*
 * Waiting with epoll: where io_uring is denied, for sanitizers (which cannot see through a ring),
 * and wherever PARLEY_WAIT=epoll asks for it.
 *
 * Edge-triggered, like io_uring's multishot poll: a caller that forgets to read until -EAGAIN fails
 * with either backend, not with one of them in production.
 *
 * Nothing here can go stale between two calls: EPOLL_CTL_DEL takes a descriptor's pending event
 * with it. Within one call the key's generation guards, as with io_uring.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "wait/wait_ops.h"

#define EVENTS_MAX 64 /* fetched in one system call */

struct wait_epoll {
    struct wait wait;
    int fd;
    bool no_pwait2; /* the kernel, or what emulates it, has only milliseconds */
};

static struct wait_epoll *epoll_of(struct wait *wait)
{
    return (struct wait_epoll *)wait;
}

static int epoll_new(struct wait **ret_wait, struct error_text *error)
{
    struct wait_epoll *epoll = calloc(1, sizeof(*epoll));
    if (!epoll)
        return error_set(error, -ENOMEM, "out of memory");
    epoll->fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll->fd < 0) {
        int r = -errno;
        free(epoll);
        return error_set(error, r, "epoll_create1: %s", strerror(-r));
    }
    *ret_wait = &epoll->wait;
    return 0;
}

static void epoll_free(struct wait *wait)
{
    fd_close(epoll_of(wait)->fd);
    free(wait);
}

static int epoll_fd(const struct wait *wait)
{
    return ((const struct wait_epoll *)wait)->fd;
}

static int epoll_arm(struct wait *wait, int fd, uint32_t events, uint64_t key)
{
    struct epoll_event event = {
        .events = wait_poll_mask(events) | EPOLLET, /* POLLIN is EPOLLIN, and so on */
        .data.u64 = key,
    };
    return epoll_ctl(epoll_of(wait)->fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static void epoll_disarm(struct wait *wait, int fd, uint64_t key)
{
    (void)key;
    struct epoll_event unused = {0};
    /* Fails only if the caller closed the descriptor too early, and then there is nothing to do. */
    (void)epoll_ctl(epoll_of(wait)->fd, EPOLL_CTL_DEL, fd, &unused);
}

static int timeout_ms(uint64_t timeout_ns)
{
    if (timeout_ns == WAIT_FOREVER)
        return -1;
    uint64_t ms = timeout_ns / NS_PER_MS + (timeout_ns % NS_PER_MS != 0); /* never too early */
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

static int fetch(struct wait_epoll *epoll, struct epoll_event *events, int max, uint64_t timeout_ns)
{
    if (!epoll->no_pwait2) {
        struct timespec ts = {
            .tv_sec = (time_t)(timeout_ns / NS_PER_S),
            .tv_nsec = (long)(timeout_ns % NS_PER_S),
        };
        int n = epoll_pwait2(epoll->fd, events, max, timeout_ns == WAIT_FOREVER ? NULL : &ts, NULL);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM))
            return n < 0 ? -errno : n;
        epoll->no_pwait2 = true;
    }
    int n = epoll_wait(epoll->fd, events, max, timeout_ms(timeout_ns));
    return n < 0 ? -errno : n;
}

static int epoll_collect(struct wait *wait, int max, uint64_t timeout_ns)
{
    struct wait_epoll *epoll = epoll_of(wait);
    struct epoll_event events[EVENTS_MAX];
    if (max > EVENTS_MAX)
        max = EVENTS_MAX;
    uint64_t deadline = timeout_ns == 0 ? 0 : clock_add(clock_now_ns(), timeout_ns);
    for (;;) {
        int n = fetch(epoll, events, max, timeout_ns);
        if (n == -EINTR || n == 0)
            return 0;
        if (n < 0)
            return n;
        for (int i = 0; i < n; i++) {
            struct wait_slot *slot = wait_slot_of(wait, events[i].data.u64);
            if (slot)
                (void)wait_report(wait, slot, events[i].events); /* n <= max: there is room */
        }
        if (wait_done(wait) || timeout_ns == 0)
            return 0;
        timeout_ns = clock_left(deadline, clock_now_ns()); /* what came was nothing: wait on */
    }
}

const struct wait_ops wait_epoll_ops = {
    .name = "epoll",
    .new = epoll_new,
    .free = epoll_free,
    .forget = epoll_free, /* closing our descriptor is all it does */
    .fd = epoll_fd,
    .arm = epoll_arm,
    .disarm = epoll_disarm,
    .collect = epoll_collect,
};
