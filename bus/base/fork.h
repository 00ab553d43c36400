/*
 * Whether this process is still the one that made a thing, without a system call.
 *
 * A generation that fork(2) counts up in the child. What belongs to one process notes it when it is
 * made, and is nobody's where it differs. A child that is made with clone(2) by hand is not seen.
 */
#ifndef PARLEY_BASE_FORK_H
#define PARLEY_BASE_FORK_H

#include <stdatomic.h>
#include <stdint.h>

extern _Atomic uint32_t fork_generation_now; /* fork_generation()'s */

static inline uint32_t fork_generation(void)
{
    /* relaxed: it changes only while a process has one thread, in the child */
    return atomic_load_explicit(&fork_generation_now, memory_order_relaxed);
}

#endif
