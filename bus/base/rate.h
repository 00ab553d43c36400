/*
 * A share of calls, as people write it.
 */
#ifndef PARLEY_BASE_RATE_H
#define PARLEY_BASE_RATE_H

#include <stdint.h>

#define RATE_ALL 100000

/* "1", "1%", "0.05 %": per cent, 0 to 100. @ret_rate: of 100,000, rounded; what is not 0 is at
 * least 1. Return: 0, -EINVAL. */
int rate_parse(const char *text, uint32_t *ret_rate);

#endif
