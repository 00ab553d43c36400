/* RouDi, the daemon that iceoryx needs, of which a machine has one: ours while the benchmark runs.
 */
#ifndef PARLEY_BENCH_ROUDI_H
#define PARLEY_BENCH_ROUDI_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct roudi_places {
    const char *shm;    /* where its shared memory appears: "/dev/shm" */
    const char *tmp;    /* where its lock is: "/tmp"; iceoryx has no other */
    const char *folder; /* for its configuration and its words; the benchmark's */
    uint32_t ready_ms;  /* patience, until it says that it is ready */
    uint32_t notice_ms; /* before it is ended, so that it notices which clients have died; and to
                         * one that was killed, to be gone */
};

/**
 * roudi_start() - start iox-roudi, and wait until it is ready
 * @places: must stay until roudi_stop()
 *
 * It dies with this thread. First removes the shared memory that one of ours left behind which was
 * killed; nobody else's, and not while any RouDi lives. Return: 0, or -1 with a sentence in @error:
 * another one runs, it is not installed, or what it said.
 */
int roudi_start(const struct roudi_places *places, struct error_text *error);
/* Ends it, and sees to it that no shared memory of it stays. Nothing if none was started. */
void roudi_stop(void);
/* Its pid; 0: none runs. */
pid_t roudi_pid(void);

#endif
