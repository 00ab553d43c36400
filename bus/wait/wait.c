/*
 * Choosing a way to wait, and what is the same for both.
 *
 * The choice is made here and nowhere else: what the caller asks for, else what PARLEY_WAIT says,
 * else io_uring if a real multishot poll works on this machine at this moment, else epoll. Nothing
 * is concluded from kernel versions: io_uring is denied by seccomp (Docker's default profile), by
 * sysctl, by locked-memory limits, or emulated in part, and only trying tells.
 *
 * The table of registrations is here too, indexed by descriptor (the kernel hands out the lowest
 * free number, so it stays dense), and only the waiter's thread touches it. The backends call
 * wait_report() with a slot; it keeps three promises of wait.h for both: events of a registration
 * that is gone are not reported (wait_slot_of() finds no slot for their key), a registration is
 * named once in an array, and only what was asked for, or WAIT_HUP, is named.
 *
 * A wake-up is a write to an eventfd that is registered like any other descriptor: write(2) is
 * async-signal-safe, and the counter remembers a wake-up that comes before the wait. It is drained
 * by the wait_poll() that sees it, so that wake-ups before that merge into one.
 */
#include "wait/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/call_path.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fork.h"
#include "base/log.h"
#include "base/probes.h"
#include "wait/wait_ops.h"

#define SLOT_COUNT_MIN 64

DEFINE_CLEANUP(struct wait *, wait_free);

/* ---- What backends use ---- */

uint32_t wait_poll_mask(uint32_t events)
{
    return (events & WAIT_IN ? POLLIN : 0u) | (events & WAIT_OUT ? POLLOUT : 0u);
}

struct wait_slot *wait_slot_of(struct wait *wait, uint64_t key)
{
    uint32_t fd = (uint32_t)key;
    if (fd >= wait->slot_count)
        return NULL;
    struct wait_slot *slot = &wait->slots[fd];
    return slot->used && slot->generation == key >> 32 ? slot : NULL;
}

static void drain_wake(struct wait *wait)
{
    uint64_t count;
    /* Nothing to read is fine: an event may be spurious. */
    ssize_t n = read(wait->wake_fd, &count, sizeof(count));
    wait->woken |= n == (ssize_t)sizeof(count);
}

static bool report(struct wait *wait, struct wait_slot *slot, uint32_t events)
{
    if (slot->batch == wait->batch) {
        wait->out[slot->index].events |= events;
        return true;
    }
    if (wait->out_count == wait->out_max)
        return false;
    slot->batch = wait->batch;
    slot->index = (uint32_t)wait->out_count;
    wait->out[wait->out_count++] = (struct wait_event){slot->tag, events};
    return true;
}

bool wait_report(struct wait *wait, struct wait_slot *slot, uint32_t poll_mask)
{
    if (wait_is_wake(wait, slot)) {
        drain_wake(wait);
        return true;
    }
    uint32_t events = (poll_mask & POLLIN ? WAIT_IN : 0) | (poll_mask & POLLOUT ? WAIT_OUT : 0);
    events &= slot->events;
    if (poll_mask & (POLLHUP | POLLERR | POLLNVAL))
        events |= WAIT_HUP;
    return events == 0 || report(wait, slot, events);
}

bool wait_report_word(struct wait *wait, struct wait_slot *slot)
{
    if (!report(wait, slot, WAIT_WORD))
        return false;
    slot->word = NULL;
    return true;
}

/* ---- Registrations ---- */

static int table_reserve(struct wait *wait, uint32_t fd)
{
    if (fd < wait->slot_count)
        return 0;
    uint32_t count = wait->slot_count ? wait->slot_count : SLOT_COUNT_MIN;
    while (count <= fd)
        count *= 2;
    struct wait_slot *slots = realloc(wait->slots, count * sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    memset(slots + wait->slot_count, 0, (count - wait->slot_count) * sizeof(*slots));
    wait->slots = slots;
    wait->slot_count = count;
    return 0;
}

static struct wait_slot *find(struct wait *wait, int fd)
{
    if (fd < 0 || (uint32_t)fd >= wait->slot_count || !wait->slots[fd].used)
        return NULL;
    return &wait->slots[fd];
}

static int arm(struct wait *wait, int fd, struct wait_slot *slot, uint32_t events)
{
    slot->used = true;
    slot->unarmed = false;
    slot->events = events;
    slot->generation++;
    int r = wait->ops->arm(wait, fd, events, wait_key(fd, slot->generation));
    if (r < 0)
        slot->used = false;
    return r;
}

static void disarm(struct wait *wait, int fd, struct wait_slot *slot)
{
    uint64_t key = wait_key(fd, slot->generation);
    slot->used = false; /* first: what still comes in finds no registration */
    wait->ops->disarm(wait, fd, key);
    slot->word = NULL;
}

int wait_add(struct wait *wait, int fd, uint32_t events, void *tag)
{
    if (fd >= WAIT_FD_MAX)
        return -ENOSPC;
    if (fd < 0 || fcntl(fd, F_GETFD) < 0)
        return -EBADF;
    if (find(wait, fd))
        return -EEXIST;
    int r = table_reserve(wait, (uint32_t)fd);
    if (r < 0)
        return r;
    struct wait_slot *slot = &wait->slots[fd];
    slot->tag = tag;
    return arm(wait, fd, slot, events);
}

int wait_modify(struct wait *wait, int fd, uint32_t events)
{
    struct wait_slot *slot = find(wait, fd);
    if (!slot)
        return -ENOENT;
    disarm(wait, fd, slot);
    return arm(wait, fd, slot, events);
}

int wait_remove(struct wait *wait, int fd)
{
    struct wait_slot *slot = find(wait, fd);
    if (!slot)
        return -ENOENT;
    disarm(wait, fd, slot);
    return 0;
}

int wait_watch(struct wait *wait, int fd, const void *word)
{
    struct wait_slot *slot = find(wait, fd);
    if (!slot)
        return -ENOENT;
    if (!wait->ops->watch)
        return -ENOSYS;
    if (slot->word == word)
        return 0;
    int r = wait->ops->watch(wait, fd, slot, word);
    if (r == 0)
        slot->word = word;
    return r;
}

CALL_PATH bool wait_quiet(const struct wait *wait)
{
    return wait->ops->quiet && wait->ops->quiet(wait);
}

int wait_poll(struct wait *wait, struct wait_event *ret_events, int max, uint64_t timeout_ns)
{
    if (max <= 0)
        return -EINVAL;
    wait->batch++;
    wait->out = ret_events;
    wait->out_max = max;
    wait->out_count = 0;
    wait->woken = false;
    PROBE3(sleep, wait, timeout_ns, 0);
    int r = wait->ops->collect(wait, max, timeout_ns);
    PROBE2(wake, wait, r);
    wait->out = NULL;
    if (wait->out_count > 0)
        return wait->out_count; /* an error, if there was one, comes again */
    return r < 0 ? r : 0;
}

void wait_wake(struct wait *wait)
{
    int saved_errno = errno;
    const uint64_t one = 1;
    /* Fails only with EAGAIN, when 2^64 - 2 wake-ups are waiting already. */
    ssize_t n = write(wait->wake_fd, &one, sizeof(one));
    (void)n;
    errno = saved_errno;
}

const char *wait_name(const struct wait *wait)
{
    return wait->ops->name;
}

int wait_fd(const struct wait *wait)
{
    return wait->ops->fd(wait);
}

/* ---- Making one ---- */

struct wait *wait_free(struct wait *wait)
{
    if (!wait)
        return NULL;
    bool ours = wait->generation == fork_generation();
    /* One by one, so that the kernel has let go of every file when this returns. */
    for (uint32_t fd = 0; ours && fd < wait->slot_count; fd++) {
        if (wait->slots[fd].used)
            disarm(wait, (int)fd, &wait->slots[fd]);
    }
    fd_close(wait->wake_fd);
    free(wait->slots);
    if (ours)
        wait->ops->free(wait);
    else
        wait->ops->forget(wait);
    return NULL;
}

/* Arms the eventfd, and has it report a wake-up: if this works, so will the rest. */
static int try_wake(struct wait *wait)
{
    wait->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wait->wake_fd < 0)
        return -errno;
    int r = wait_add(wait, wait->wake_fd, WAIT_IN, NULL);
    if (r < 0)
        return r;
    wait_wake(wait);
    struct wait_event event;
    r = wait_poll(wait, &event, 1, NS_PER_S); /* it is there: this does not wait */
    if (r < 0)
        return r;
    return wait->woken ? 0 : -ENOSYS;
}

static int new_with(const struct wait_ops *ops, struct wait **ret_wait, struct error_text *error)
{
    _cleanup_(wait_freep) struct wait *wait = NULL;
    int r = ops->new (&wait, error);
    if (r < 0)
        return r;
    wait->ops = ops;
    wait->wake_fd = -1;
    wait->generation = fork_generation();
    r = try_wake(wait);
    if (r < 0)
        return error_set(error, r, "a test of polling with %s failed: %s", ops->name, strerror(-r));
    *ret_wait = steal_ptr(&wait);
    return 0;
}

static int backend_from_environment(enum wait_backend *ret_backend, struct error_text *error)
{
    const char *name = getenv("PARLEY_WAIT");
    if (!name || !*name)
        return 0;
    if (strcmp(name, wait_uring_ops.name) == 0)
        *ret_backend = WAIT_BACKEND_URING;
    else if (strcmp(name, wait_epoll_ops.name) == 0)
        *ret_backend = WAIT_BACKEND_EPOLL;
    else
        return error_set(error, -EINVAL,
                         "PARLEY_WAIT is \"%s\", which is no way to wait: set it to io_uring or "
                         "epoll, or unset it",
                         name);
    return 0;
}

static bool out_of_descriptors(int r)
{
    return r == -EMFILE || r == -ENFILE; /* epoll would not fare better */
}

int wait_new(enum wait_backend backend, struct wait **ret_wait, struct error_text *error)
{
    if (backend == WAIT_BACKEND_AUTO) {
        int r = backend_from_environment(&backend, error);
        if (r < 0)
            return r;
    }
    if (backend == WAIT_BACKEND_EPOLL)
        return new_with(&wait_epoll_ops, ret_wait, error);

    struct error_text reason = {""};
    int r = new_with(&wait_uring_ops, ret_wait, &reason);
    if (r == 0)
        return 0;
    if (out_of_descriptors(r))
        return error_set(error, r, "io_uring: %s", reason.text);
    if (backend == WAIT_BACKEND_URING)
        return error_set(error, -ENOSYS,
                         "io_uring does not work here: %s; unset PARLEY_WAIT, or set it to epoll",
                         reason.text);
    log_info("io_uring does not work here (%s): waiting with epoll", reason.text);
    return new_with(&wait_epoll_ops, ret_wait, error);
}
