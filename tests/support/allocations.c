/* The functions that allocate, counted. */
#include "support/test.h"

#include "support/allocations.h"

#include <stdlib.h>

#include "base/sanitized.h"

_Atomic uint32_t allocations;

#if defined(__GLIBC__) && !SANITIZED
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t number, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);

void *malloc(size_t bytes)
{
    allocations++;
    return __libc_malloc(bytes);
}

void *calloc(size_t number, size_t bytes)
{
    allocations++;
    return __libc_calloc(number, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    allocations++;
    return __libc_realloc(memory, bytes);
}

void allocations_are_counted(void)
{
}
#else
void allocations_are_counted(void)
{
    print_message("allocations are not counted under a sanitizer\n");
    skip();
}
#endif
