/*
 * Waiting without io_uring: a call that blocks, epoll, and what the library does today.
 */
#include "bells.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

static const struct timespec timeout_ts = {.tv_sec = BELLS_TIMEOUT_NS / NS_PER_S};

static const struct timespec *timeout_of(const struct bell_side *side)
{
    return side->what->timeout == TIMEOUT_ARGUMENT ? &timeout_ts : NULL;
}

static int begin_nothing(struct bell_side *side)
{
    (void)side;
    return 0;
}

/* EAGAIN: it has changed already. */
static int answer(long r)
{
    return r >= 0 || errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

/* ---- A call that blocks ---- */

static int block(struct bell_side *side)
{
    if (side->what->kind != BELL_WORD)
        return bell_take(side);
    return answer(
        syscall(SYS_futex, side->theirs, FUTEX_WAIT, side->turn - 1, timeout_of(side), NULL, 0));
}

const struct bell_waiter bells_block = {begin_nothing, bell_ring, block, false};

static int waitv(struct bell_side *side)
{
    struct futex_waitv words[FUTEX_WAITV_MAX];
    const uint32_t count = bell_watched(side->what);
    for (uint32_t i = 0; i < count; i++)
        words[i] = (struct futex_waitv){
            .val = i == 0 ? side->turn - 1 : 0,
            .uaddr = (uintptr_t)(side->theirs + i),
            .flags = FUTEX_32,
        };
    return answer(syscall(SYS_futex_waitv, words, count, 0, NULL, CLOCK_MONOTONIC));
}

const struct bell_waiter bells_waitv = {begin_nothing, bell_ring, waitv, false};

static int wait_ppoll(struct bell_side *side)
{
    struct pollfd waited = {.fd = side->in, .events = POLLIN};
    return ppoll(&waited, 1, timeout_of(side), NULL) < 0 ? -errno : bell_take(side);
}

const struct bell_waiter bells_ppoll = {begin_nothing, bell_ring, wait_ppoll, false};

/* ---- epoll ---- */

static int watch(struct bell_side *side, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | (side->what->edge ? EPOLLET : 0u),
                                .data.fd = fd};
    return epoll_ctl(side->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int begin_epoll(struct bell_side *side)
{
    side->epoll = epoll_create1(EPOLL_CLOEXEC);
    int r = side->epoll < 0 ? -errno : watch(side, side->in);
    for (uint32_t i = 0; r == 0 && i + 1 < bell_watched(side->what); i++)
        r = watch(side, side->idle[i]);
    if (r == 0 && side->what->timeout == TIMEOUT_TIMERFD) {
        side->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        r = side->timer < 0 ? -errno : watch(side, side->timer);
    }
    return r;
}

static int wait_in_epoll(struct bell_side *side)
{
    struct epoll_event events[64];
    const struct itimerspec timer = {.it_value = timeout_ts};
    if (side->what->timeout == TIMEOUT_TIMERFD && timerfd_settime(side->timer, 0, &timer, NULL) < 0)
        return -errno;
    int n = epoll_pwait2(side->epoll, events, 64, timeout_of(side), NULL);
    if (n <= 0)
        return n == 0 ? -ETIMEDOUT : -errno;
    return bell_drain(side);
}

const struct bell_waiter bells_epoll = {begin_epoll, bell_ring, wait_in_epoll, false};

/* ---- The library ---- */

static int begin_backend(struct bell_side *side, enum wait_backend backend)
{
    struct error_text error = {""};
    int r = wait_new(backend, &side->wait, &error);
    if (r < 0)
        return r;
    r = wait_add(side->wait, side->in, WAIT_IN, side);
    for (uint32_t i = 0; r == 0 && i + 1 < bell_watched(side->what); i++)
        r = wait_add(side->wait, side->idle[i], WAIT_IN, NULL);
    return r;
}

static int begin_library(struct bell_side *side)
{
    return begin_backend(side, WAIT_BACKEND_URING);
}

static int begin_library_epoll(struct bell_side *side)
{
    return begin_backend(side, WAIT_BACKEND_EPOLL);
}

/* As bus/rpc/channel.c: a packet may carry a descriptor. */
static int drain_as_channel(struct bell_side *side)
{
    char control[64];
    struct iovec iov = {.iov_base = side->received, .iov_len = 512};
    ssize_t n;
    if (side->what->drain == DRAIN_SELDOM && ++side->seldom % BELLS_SELDOM != 0)
        return 0;
    do {
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof(control)};
        n = recvmsg(side->in, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n > 0);
    return n < 0 && errno == EAGAIN ? 0 : n == 0 ? -EPIPE : -errno;
}

static int wait_as_library(struct bell_side *side)
{
    struct wait_event events[64];
    int n = wait_poll(side->wait, events, 64,
                      side->what->timeout == TIMEOUT_NONE ? WAIT_FOREVER : BELLS_TIMEOUT_NS);
    return n < 0 ? n : drain_as_channel(side);
}

const struct bell_waiter bells_library = {begin_library, bell_ring, wait_as_library, true};
const struct bell_waiter bells_library_epoll = {begin_library_epoll, bell_ring, wait_as_library,
                                                false};
