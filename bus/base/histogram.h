/*
 * A log-linear histogram of durations: the bucket layout that statistics pages share.
 *
 * 8 sub-buckets to an octave (a relative error of at most 12.5 %), from 0 to 2^36 ns (69 s), the
 * idea of HdrHistogram (Tene) with fixed bounds. Bucket 0 begins at 0; the last holds all above.
 */
#ifndef PARLEY_BASE_HISTOGRAM_H
#define PARLEY_BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 3
#define HISTOGRAM_OCTAVE_MAX 36
#define HISTOGRAM_BUCKET_COUNT ((HISTOGRAM_OCTAVE_MAX - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

/* The bucket of a value in nanoseconds: 0..HISTOGRAM_BUCKET_COUNT-1, monotone in the value. */
static inline uint32_t histogram_bucket(uint64_t value)
{
    const uint64_t max = (UINT64_C(1) << HISTOGRAM_OCTAVE_MAX) - 1;
    if (value > max)
        value = max;
    /* Without a branch: small values count as if they were in the first octave, with a shift of 0.
     */
    uint32_t octave = 63 - (uint32_t)__builtin_clzll(value | 1u << HISTOGRAM_SUB_BITS);
    uint32_t shift = octave - HISTOGRAM_SUB_BITS;
    return (shift << HISTOGRAM_SUB_BITS) + (uint32_t)(value >> shift);
}

/* The lowest value of a bucket. */
static inline uint64_t histogram_floor(uint32_t bucket)
{
    if (bucket < (1u << HISTOGRAM_SUB_BITS))
        return bucket;
    uint32_t shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
    return (uint64_t)((1u << HISTOGRAM_SUB_BITS) + (bucket & 7)) << shift;
}

/**
 * histogram_quantile() - the value below which a share of the counts lies
 * @counts: HISTOGRAM_BUCKET_COUNT counters
 * @q:      0.0 to 1.0
 *
 * Return: the middle of the bucket that holds the quantile, in ns; 0 if nothing was counted.
 */
uint64_t histogram_quantile(const uint64_t *counts, double q);

#endif
