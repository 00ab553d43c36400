#include "base/random.h"

#include <stdlib.h>
#include <sys/random.h>

uint64_t random_id(void)
{
    uint64_t value = 0;
    while (value == 0) {
        /* Up to 256 bytes are never cut short by a signal once the pool is ready: getrandom(2). */
        if (getrandom(&value, sizeof(value), 0) != (ssize_t)sizeof(value))
            abort();
    }
    return value;
}
