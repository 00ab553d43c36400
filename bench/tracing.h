/* Says how many calls are traced, by the broker's control API. */
#ifndef PARLEY_BENCH_TRACING_H
#define PARLEY_BENCH_TRACING_H

#include <stdint.h>

#include "base/error.h"

struct tracing {
    uint64_t read, lost; /* spans, of this broker so far */
};

/* @folder: parleyd's. @rate: per 100,000; negative: off. Return: 0 or -errno with a sentence. */
int tracing_set(const char *folder, int rate, struct tracing *ret_tracing,
                struct error_text *error);

#endif
