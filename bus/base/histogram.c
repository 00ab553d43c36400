#include "base/histogram.h"

#include <math.h>

uint64_t histogram_quantile(const uint64_t *counts, double q)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKET_COUNT; i++)
        total += counts[i];
    if (total == 0)
        return 0;
    double rank = ceil(q * (double)total);
    uint64_t want = rank < 1 ? 1 : (uint64_t)rank;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKET_COUNT; i++) {
        seen += counts[i];
        if (seen >= want) {
            uint64_t low = histogram_floor(i);
            uint64_t high = i + 1 < HISTOGRAM_BUCKET_COUNT ? histogram_floor(i + 1) : low;
            return low + (high - low) / 2;
        }
    }
    return histogram_floor(HISTOGRAM_BUCKET_COUNT - 1);
}
