/*
 * How long to spin before sleeping.
 *
 * A wake-up through the kernel costs tens of microseconds; what is spun for costs the time it
 * takes. Spinning pays if the next arrival comes sooner than a wake-up would, and burns a CPU if
 * not.
 *
 * An average of the time between arrivals is the obvious guide, and wrong: two sides that both
 * sleep see each other arrive a wake-up late, for ever, and neither finds out that the other would
 * answer in a microsecond if only both were awake. So the guide is what spinning brings. It must be
 * tried for longer than one wake-up of the other side takes, so that a side that wakes up for us is
 * still met spinning: with the default of 100 us, one probe of ours meets a reply from a sleeper
 * (about 40 us a leg here), and then its next probe meets our next request.
 *
 * A miss costs the budget; three in a row end it. A sleeper needs no probes to find out whether
 * spinning would bring something: it knows how long it slept. Shorter than the budget, and it would
 * have met what came. Much longer, and there is nothing to find out: what comes once a millisecond
 * is not waited for spinning. In between, where the wake-ups themselves may be what takes long, a
 * probe every sixteenth wait bounds what it costs.
 *
 * The same knowledge says how to sleep. A doze (words.c) is the fastest way to be woken up, but a
 * short one only; so who slept for a second last time does not try it.
 */
#include <sched.h>
#include <stddef.h>
#include <unistd.h>

#if defined(__x86_64__) && defined(__LP64__) && defined(__has_include)
#if __has_include(<sys/rseq.h>) /* glibc 2.35 */
#include <sys/rseq.h>
#define HAS_RSEQ
#endif
#endif

#include "wait/wait.h"

unsigned spin_cpu_count(void)
{
    /* Not the CPUs that this thread is pinned to: on one of many it still spins for a peer that is
     * on another. If they share that one, they know it (the cells' cpu). */
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 1 ? (unsigned)count : 1;
}

/* sched_getcpu(3), without a call: the kernel keeps the number in the thread's rseq area. Less than
 * 0: not here. */
static inline int cpu_of_rseq(void)
{
#ifdef HAS_RSEQ
    int cpu;
    __asm__ volatile("movl %%fs:%c1(%2), %0"
                     : "=r"(cpu)
                     : "i"(offsetof(struct rseq, cpu_id)), "r"(__rseq_offset));
    return cpu;
#else
    return -1;
#endif
}

uint32_t spin_cpu(void)
{
    int cpu = cpu_of_rseq();
    return __builtin_expect(cpu >= 0, 1) ? (uint32_t)cpu + 1 : (uint32_t)(sched_getcpu() + 1);
}

void spin_init(struct spin *spin, uint64_t budget_ns_max, uint64_t first_ns)
{
    /* On one CPU, what we spin for cannot run while we do. */
    *spin = (struct spin){
        .budget_ns_max = spin_cpu_count() > 1 ? budget_ns_max : 0,
        .last_ns = first_ns,
    };
}

uint64_t spin_begin(struct spin *spin)
{
    if (spin->misses < SPIN_MISSES_MAX)
        return spin->budget_ns_max;
    if (spin->last_ns / SPIN_FAR >= spin->budget_ns_max) {
        spin->waits = 0;
        return 0;
    }
    if (spin->last_ns >= spin->budget_ns_max && ++spin->waits < SPIN_PROBE_WAITS)
        return 0;
    spin->waits = 0;
    return spin->budget_ns_max;
}

void spin_hit(struct spin *spin)
{
    spin->misses = 0;
    spin->last_ns = 0;
}

void spin_miss(struct spin *spin)
{
    if (spin->misses < SPIN_MISSES_MAX)
        spin->misses++;
}

uint64_t spin_doze(const struct spin *spin)
{
    return spin->last_ns < SPIN_SHORT_NS ? SPIN_DOZE_NS : 0;
}

void spin_slept(struct spin *spin, uint64_t wait_ns)
{
    spin->last_ns = wait_ns;
}
