/*
 * Waiting for what a right program does sooner or later: step what makes it come true, with a
 * patience that is never used up if it does.
 */
#ifndef PARLEY_TESTS_SUPPORT_UNTIL_H
#define PARLEY_TESTS_SUPPORT_UNTIL_H

#include "support/test.h"

#include <time.h>

#define PATIENCE_NS (UINT64_C(20) * 1000000000)

/* CLOCK_MONOTONIC, whatever the test makes of the program's clock. */
static inline uint64_t until_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Does @step as long as @condition does not hold; fails the test if that takes too long. */
#define UNTIL(step, condition)                                                                     \
    do {                                                                                           \
        uint64_t until_ns_ = until_now_ns() + PATIENCE_NS;                                         \
        while (!(condition)) {                                                                     \
            assert_true(until_now_ns() < until_ns_);                                               \
            step;                                                                                  \
        }                                                                                          \
    } while (0)

#endif
