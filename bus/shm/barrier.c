/*
 * membarrier(2): a full fence on every CPU that runs one of the processes which agreed to it, made
 * by the one that needs it, so that the others go without (sleep.c says who and when). The kernel
 * interrupts those CPUs: 1.2 us if there is nobody to interrupt, 49 us if there is, on a virtual
 * machine whose hypervisor delivers the interrupt (EPYC, two cores).
 */
#include "shm/barrier.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static bool able;

/* While the process has one thread: later the kernel waits until all CPUs have scheduled, tens of
 * milliseconds. A child of fork() is registered as its parent is. */
__attribute__((constructor)) static void barrier_register(void)
{
    able = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

bool barrier_able(void)
{
    return able;
}

bool barrier_all(void)
{
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0)
        return true;
    /* Forbidden since. No store waits in its core's buffer for so long. */
    (void)nanosleep(&(const struct timespec){.tv_nsec = 1000000}, NULL);
    return false;
}
