/*
 * Sleeping on words in shared memory: futex(2).
 *
 * Nothing that sleeps wakes up for less: two system calls a leg, and no file between the two sides
 * (PERFORMANCE.md). It needs no write access: both the kernel's comparison and the wake-up go by
 * where a word lies in its file, so a sleeper may wait on a word that its peer alone can write, and
 * the peer, having changed it, wakes it there. A peer cannot write to our page either way, and what
 * it can do to who waits on its own is to wake it, or not.
 *
 * The kernel compares and falls asleep in one step: a word that is not as expected by then ends the
 * wait, so a wake-up between a last look and the sleep is not lost.
 *
 * But whoever waits here sees no descriptor meanwhile. So it is for short times only.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/probes.h"
#include "wait/wait.h"

/* Who dozes on a word may have a wait of his io_uring for it, from before, or one that is being
 * cancelled: to wake the first only could wake what nobody looks at any more. A hostile peer may
 * have any number of waits, and is not to hold us up. */
#define WAKE_MOST 16

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

static int wait_one(const void *word, uint64_t timeout_ns)
{
    struct timespec timeout = timespec_of(timeout_ns);
    return (int)syscall(SYS_futex, word, FUTEX_WAIT, 0, &timeout, NULL, 0);
}

/* Linux 5.16. */
static int wait_several(const void *const *words, unsigned count, uint64_t timeout_ns)
{
#ifdef SYS_futex_waitv
    struct futex_waitv waiters[WAIT_WORDS_MAX] = {0};
    struct timespec until = timespec_of(clock_add(clock_now_ns(), timeout_ns));
    for (unsigned i = 0; i < count; i++) {
        waiters[i].uaddr = (uintptr_t)words[i];
        waiters[i].flags = FUTEX_32;
    }
    return (int)syscall(SYS_futex_waitv, waiters, count, 0, &until, CLOCK_MONOTONIC);
#else
    (void)words, (void)count, (void)timeout_ns;
    errno = ENOSYS;
    return -1;
#endif
}

int wait_words(const void *const *words, unsigned count, uint64_t timeout_ns)
{
    if (count == 0 || count > WAIT_WORDS_MAX)
        return -EINVAL;
    PROBE3(sleep, words, timeout_ns, count);
    int r = count == 1 ? wait_one(words[0], timeout_ns) : wait_several(words, count, timeout_ns);
    PROBE2(wake, words, r);
    if (r >= 0 || errno == EAGAIN)
        return 1;
    return errno == ETIMEDOUT || errno == EINTR ? 0 : -errno;
}

void wait_words_wake(const void *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE, WAKE_MOST, NULL, NULL, 0);
}
