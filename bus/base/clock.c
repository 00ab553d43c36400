#include "base/clock.h"

#include <stddef.h>
#include <time.h>

#include "base/call_path.h"

static uint64_t (*test_clock)(void);

CALL_PATH uint64_t clock_now_ns(void)
{
    if (__builtin_expect(test_clock != NULL, 0))
        return test_clock();
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

void clock_set(uint64_t (*now_ns)(void))
{
    test_clock = now_ns;
}

CALL_PATH bool clock_is_real(void)
{
    return test_clock == NULL;
}
