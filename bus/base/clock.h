/*
 * The monotonic clock, in nanoseconds, and a way for tests to replace it.
 */
#ifndef PARLEY_BASE_CLOCK_H
#define PARLEY_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)
#define CLOCK_NEVER UINT64_MAX /* a deadline that does not come */

/* CLOCK_MONOTONIC in nanoseconds, or what the test's clock says. Any thread. */
uint64_t clock_now_ns(void);

/* Tests only: replaces the clock for the whole process; NULL restores it. */
void clock_set(uint64_t (*now_ns)(void));
bool clock_is_real(void);

/* a + b, or CLOCK_NEVER if that would pass the end of time. */
static inline uint64_t clock_add(uint64_t a, uint64_t b)
{
    return a > CLOCK_NEVER - b ? CLOCK_NEVER : a + b;
}

/* What is left until @deadline: 0 if it has passed, CLOCK_NEVER if it never comes. */
static inline uint64_t clock_left(uint64_t deadline, uint64_t now)
{
    if (deadline == CLOCK_NEVER)
        return CLOCK_NEVER;
    return deadline > now ? deadline - now : 0;
}

#endif
