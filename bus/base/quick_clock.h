/*
 * CLOCK_MONOTONIC without asking for it: from the processor's time-stamp counter, set by the real
 * clock once in a millisecond, and less often while it is right. For what is stamped several times
 * in each call.
 *
 * clock_gettime(2) takes 27 ns where this takes 11 (EPYC, a virtual machine): it waits until all
 * that came before is done, and reads what the kernel knows of the counter's rate. Here the rate is
 * what it was between the last two settings, and the counter is read whenever the processor gets to
 * it. So a stamp may be off by some hundreds of nanoseconds; it never goes back. Where the kernel
 * itself does not trust the counter (its clocksource is another), or the processor is another, this
 * is clock_now_ns().
 *
 * One thread at a time, as an endpoint.
 */
#ifndef PARLEY_BASE_QUICK_CLOCK_H
#define PARLEY_BASE_QUICK_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#if defined(QUICK_CLOCK_TICKS) /* by tests/model/: what is read there is in no state */
#elif defined(__x86_64__)
#define QUICK_CLOCK_TICKS() __builtin_ia32_rdtsc()
#else
#define QUICK_CLOCK_TICKS() UINT64_C(0)
#endif

/* Zeroed: asks clock_now_ns() every time, until quick_clock_init(). */
struct quick_clock {
    uint64_t ticks, ns; /* when it was set last */
    uint64_t span;      /* for so many ticks that is good; 0: it is not */
    uint64_t rate;      /* nanoseconds a tick, times 2^32; 0: not known */
    uint64_t last;      /* that was returned */
    int trusted;
};

/* Finds out whether the counter can be trusted: reads a file. */
void quick_clock_init(struct quick_clock *clock);

/* The rest of quick_clock_now_ns(): asks the real clock. */
uint64_t quick_clock_set(struct quick_clock *clock);

/* In nanoseconds; never less than the last time. */
static inline uint64_t quick_clock_now_ns(struct quick_clock *clock)
{
    uint64_t passed = QUICK_CLOCK_TICKS() - clock->ticks;
    if (__builtin_expect(passed >= clock->span, 0))
        return quick_clock_set(clock);
    uint64_t now = clock->ns + (passed * clock->rate >> 32);
    if (now > clock->last)
        clock->last = now;
    return clock->last;
}

/* For tests: whether the counter can be trusted, by the name of the kernel's clock source, a line,
 * and whether programs read that without a system call. */
bool quick_clock_trusts(const char *source, bool (*by_programs)(void));

/* For tests: what quick_clock_set() does with a reading of both, the counter's between @before and
 * @after. Return: as quick_clock_now_ns(). */
uint64_t quick_clock_take(struct quick_clock *clock, uint64_t before, uint64_t ns, uint64_t after);

#endif
