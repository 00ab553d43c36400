#include "base/fork.h"

#include <pthread.h>

_Atomic uint32_t fork_generation_now;

static void in_child(void)
{
    atomic_store_explicit(&fork_generation_now, fork_generation() + 1, memory_order_relaxed);
}

/* Before main(), so that no thread can fork between a thing's making and this. Fails only for want
 * of memory, with which nothing else would begin either. */
__attribute__((constructor)) static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, in_child);
}
