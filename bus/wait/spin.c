/*
 * How long to spin before sleeping.
 *
 * A wake-up through the kernel costs tens of microseconds; a reply that is spun for costs the time
 * it takes. Spinning pays if the next arrival comes sooner than a wake-up would take, and burns a
 * CPU if it does not: so the budget follows the traffic. The average weighs the newest interval by
 * an eighth, as TCP smooths its round-trip times (Jacobson 1988).
 *
 * An interval counts as at most four times the longest budget. Past that the answer is "do not
 * spin" anyway, and without a bound one quiet night would take hundreds of fast calls to forget;
 * with it, a dozen.
 */
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "wait/wait.h"

#define WEIGHT_SHIFT 3 /* the newest interval weighs an eighth */
#define INTERVAL_BUDGETS_MAX 4

unsigned spin_cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        return (unsigned)CPU_COUNT(&set);
    /* A machine with more CPUs than cpu_set_t has bits. */
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 1 ? (unsigned)count : 1;
}

void spin_init(struct spin *spin, uint64_t budget_ns_max)
{
    /* On one CPU, what we spin for cannot run while we do. */
    uint64_t max = spin_cpu_count() > 1 ? budget_ns_max : 0;
    *spin = (struct spin){.budget_ns_max = max, .interval_ns = max};
}

static uint64_t interval_max(const struct spin *spin)
{
    uint64_t max = spin->budget_ns_max;
    return max > UINT64_MAX / INTERVAL_BUDGETS_MAX ? UINT64_MAX : max * INTERVAL_BUDGETS_MAX;
}

void spin_observe(struct spin *spin, uint64_t now_ns)
{
    uint64_t last = spin->last_ns;
    spin->last_ns = now_ns;
    if (last == 0 || now_ns < last)
        return;
    uint64_t interval = now_ns - last;
    if (interval > interval_max(spin))
        interval = interval_max(spin);
    spin->interval_ns -= spin->interval_ns >> WEIGHT_SHIFT;
    spin->interval_ns += interval >> WEIGHT_SHIFT;
}

uint64_t spin_budget_ns(const struct spin *spin)
{
    if (spin->budget_ns_max == UINT64_MAX)
        return UINT64_MAX; /* told never to sleep, whatever the traffic */
    uint64_t expected = spin->interval_ns;
    if (expected > spin->budget_ns_max)
        return 0;
    return expected > spin->budget_ns_max / 2 ? spin->budget_ns_max : expected * 2;
}
