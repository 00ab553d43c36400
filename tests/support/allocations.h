/*
 * How often this process has allocated: for programs that link allocations.c, whose malloc(),
 * calloc() and realloc() come before the C library's. Any thread.
 */
#ifndef PARLEY_TESTS_SUPPORT_ALLOCATIONS_H
#define PARLEY_TESTS_SUPPORT_ALLOCATIONS_H

#include <stdatomic.h>
#include <stdint.h>

extern _Atomic uint32_t allocations; /* so far */

/* Ends the test as skipped where they are not counted: under a sanitizer, or without glibc. */
void allocations_are_counted(void);

#endif
