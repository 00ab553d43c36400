/*
 * Durations as people write them.
 */
#ifndef PARLEY_BASE_DURATION_H
#define PARLEY_BASE_DURATION_H

#include <stdint.h>

/* "5s", "200ms", "1.5" (seconds), also us, ns, m or min, h. @ns_max: the longest, in ns. Return: 0;
 * -EINVAL: no duration, less than 1 ns, or longer. */
int duration_parse(const char *text, uint64_t ns_max, uint64_t *ret_ns);

#endif
