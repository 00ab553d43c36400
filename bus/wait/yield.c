/*
 * Yielding a CPU that we share with whom we wait for.
 *
 * Where client and service run on one CPU, the way to a reply is that the service runs. To sleep
 * for it takes a system call that sets a timer, and one of the service's that wakes us up.
 * sched_yield(2) does the same without both: the service, which has been woken up or has yielded
 * itself, is what runs next, and when it waits, we do.
 *
 * But so does everybody else who waits for this CPU, and who always runs keeps it for a slice of
 * three milliseconds, where a sleeper that is woken up would have been preferred to him. It shows
 * in the time that a yield takes. So after one that took much longer than a call we sleep instead,
 * for a while, and in a number of waits, for who calls once a second would meet him each time; and
 * for twice as long each time, if it soon happens again. What the time cannot tell is a handler
 * that takes long; for such a call it makes no difference.
 */
#include <sched.h>

#include "base/call_path.h"
#include "wait/wait.h"

void yield_init(struct yield *yield)
{
    *yield = (struct yield){.pause_ns = YIELD_PAUSE_NS_MIN, .well = YIELD_WELL};
}

CALL_PATH void yield_cpu(void)
{
    (void)sched_yield();
}

CALL_PATH void yield_took(struct yield *yield, uint64_t start_ns, uint64_t now_ns)
{
    if (__builtin_expect(now_ns - start_ns < YIELD_LONG_NS, 1)) {
        yield->well += yield->well < YIELD_WELL;
        return;
    }
    bool lasted =
        yield->well >= YIELD_WELL && start_ns - yield->next_ns >= YIELD_LASTED * yield->pause_ns;
    uint64_t pause = lasted ? YIELD_PAUSE_NS_MIN : 2 * yield->pause_ns;
    yield->pause_ns = pause < YIELD_PAUSE_NS_MAX ? pause : YIELD_PAUSE_NS_MAX;
    yield->next_ns = now_ns + yield->pause_ns;
    yield->waits = (uint32_t)(yield->pause_ns / YIELD_PAUSE_NS_MIN) * YIELD_PAUSE_WAITS;
    yield->well = 0;
}
