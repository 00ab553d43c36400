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
 * But whoever waits here sees no descriptor meanwhile. So it is for short times only; unless
 * something in memory changes when a descriptor has something, as the tail of io_uring's queue of
 * completions does (wait_uring.c): then it is one more word to wait on. The kernel does not wake
 * that one, but it interrupts a thread that sleeps to post a completion, begins its system call
 * anew, and then compares.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/call_path.h"
#include "base/clock.h"
#include "base/probes.h"
#include "wait/wait_ops.h"

/* Who dozes on a word may have a wait of his io_uring for it, from before, or one that is being
 * cancelled: to wake the first only could wake what nobody looks at any more. A hostile peer may
 * have any number of waits, and is not to hold us up. */
#define WAKE_MOST 16

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

/* syscall(2) in line, for it stands between a record and who sleeps for it. Return: >= 0; -errno.
 */
static inline long system_call(long number, const void *a, long b, long c, const void *d, long e)
{
#if defined(__x86_64__) && defined(__LP64__)
    long result;
    register long fourth __asm__("r10") = (long)d;
    register long fifth __asm__("r8") = e;
    register long sixth __asm__("r9") = 0;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth)
                     : "rcx", "r11", "memory", "cc");
    return result;
#else
    long result = syscall(number, a, b, c, d, e, 0L);
    return result < 0 ? -errno : result;
#endif
}

CALL_PATH static int wait_one(const void *word, uint64_t timeout_ns)
{
    struct timespec timeout = timespec_of(timeout_ns);
    return (int)system_call(SYS_futex, word, FUTEX_WAIT, 0, &timeout, 0);
}

/* Linux 5.16. @tail: of this process alone, besides, while it is @value; NULL: none. */
CALL_PATH static int wait_several(const void *const *words, unsigned count, const void *tail,
                                  uint32_t value, uint64_t timeout_ns)
{
#ifdef SYS_futex_waitv
    struct futex_waitv waiters[WAIT_WORDS_MAX];
    struct timespec until;
    for (unsigned i = 0; i < count; i++)
        waiters[i] = (struct futex_waitv){.uaddr = (uintptr_t)words[i], .flags = FUTEX_32};
    if (tail)
        waiters[count++] = (struct futex_waitv){
            .val = value, .uaddr = (uintptr_t)tail, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG};
    if (timeout_ns != WAIT_FOREVER)
        until = timespec_of(clock_add(clock_now_ns(), timeout_ns));
    return (int)system_call(SYS_futex_waitv, waiters, (long)count, 0,
                            timeout_ns == WAIT_FOREVER ? NULL : &until, CLOCK_MONOTONIC);
#else
    (void)words, (void)count, (void)tail, (void)value, (void)timeout_ns;
    return -ENOSYS;
#endif
}

/* @r: of a wait. Return: as wait_words(). */
static int ended(int r)
{
    if (r >= 0 || r == -EAGAIN)
        return 1;
    return r == -ETIMEDOUT || r == -EINTR ? 0 : r;
}

CALL_PATH int wait_words(const void *const *words, unsigned count, uint64_t timeout_ns)
{
    if (count == 0 || count > WAIT_WORDS_MAX)
        return -EINVAL;
    PROBE3(sleep, words, timeout_ns, count);
    int r = count == 1 ? wait_one(words[0], timeout_ns)
                       : wait_several(words, count, NULL, 0, timeout_ns);
    PROBE2(wake, words, r);
    return ended(r);
}

CALL_PATH int wait_doze(struct wait *wait, const void *const *words, unsigned count,
                        uint64_t timeout_ns)
{
    const void *tail;
    uint32_t value;
    if (count == 0 || count > WAIT_DOZE_WORDS_MAX)
        return -EINVAL;
    int r = wait->ops->tail ? wait->ops->tail(wait, &tail, &value) : -ENOSYS;
    if (r != 0)
        return r;
    PROBE3(sleep, words, timeout_ns, count);
    r = wait_several(words, count, tail, value, timeout_ns);
    PROBE2(wake, words, r);
    return ended(r);
}

CALL_PATH void wait_words_wake(const void *word)
{
    (void)system_call(SYS_futex, word, FUTEX_WAKE, WAKE_MOST, NULL, 0);
}
