/*
 * malloc() and its family with a counter before them, for the whole process: the definitions in a
 * program come before those of the C library, also for the libraries that it links. What they do is
 * left to glibc's own.
 *
 * Under a sanitizer, which does the same, nothing is defined here and nothing is counted.
 */
#include "compare.h"

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define COUNTED 0
#endif
#endif
#if !defined(COUNTED) && defined(__GLIBC__)
#define COUNTED 1
#elif !defined(COUNTED)
#define COUNTED 0
#endif

static uint64_t count; /* benchmarks of functions have one thread */

bool allocations_counted(void)
{
    return COUNTED;
}

uint64_t allocations(void)
{
    return count;
}

#if COUNTED
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t number, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);

void *malloc(size_t bytes)
{
    count++;
    return __libc_malloc(bytes);
}

void *calloc(size_t number, size_t bytes)
{
    count++;
    return __libc_calloc(number, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    count++;
    return __libc_realloc(memory, bytes);
}
#endif
