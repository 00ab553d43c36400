/*
 * Random numbers: unguessable ones from the kernel, and a fast stream for picking and jitter.
 */
#ifndef PARLEY_BASE_RANDOM_H
#define PARLEY_BASE_RANDOM_H

#include <stdint.h>

/* 64 bits from the kernel's generator, never 0. Aborts if the kernel has none to give. */
uint64_t random_id(void);

/* splitmix64 (Steele, Lea, Flood 2014): one step; not for secrets. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* A number in 0..bound-1, by multiplication (Lemire 2019, without the rejection step). */
static inline uint32_t random_below(uint64_t *state, uint32_t bound)
{
    return (uint32_t)(((random_next(state) >> 32) * bound) >> 32);
}

#endif
