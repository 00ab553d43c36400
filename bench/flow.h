/*
 * Many calls in flight: counts them, times some, and takes calls a second.
 *
 * A closed loop: a call begins when another has ended, load.in_flight at most are on their way. So
 * the latency of one is mostly the time it waits for those before it, and no call that should have
 * begun is left out: nobody promised a rate. Calls are numbered from 0 and may end in any order.
 */
#ifndef PARLEY_BENCH_FLOW_H
#define PARLEY_BENCH_FLOW_H

#include "bench.h"

#define FLOW_TIMED 16 /* one call of so many is timed */
#define FLOW_SLICES_MAX 512

struct flow {
    struct bench_run *run;
    uint32_t total;
    uint32_t started, ended;
    uint32_t slice_calls, next_slice;   /* the next ends with this call */
    uint32_t slice_count;               /* that have ended; the first is the warm-up */
    uint64_t slice_ns[FLOW_SLICES_MAX]; /* when each ended */
};

/* As many calls as there are samples, FLOW_TIMED times. */
void flow_init(struct flow *flow, struct bench_run *run);
/* Return: 0, or -1 if no such call is on its way. */
int flow_end(struct flow *flow, uint32_t number);

/* Whether another call may begin now. */
static inline bool flow_may_start(const struct flow *flow)
{
    return flow->started < flow->total && flow->started - flow->ended < flow->run->load.in_flight;
}

/* Return: the number of the call that begins. */
static inline uint32_t flow_start(struct flow *flow)
{
    uint32_t number = flow->started++;
    if (number % FLOW_TIMED == 0)
        flow->run->samples_ns[number / FLOW_TIMED] = (uint32_t)clock_now_ns();
    return number;
}

static inline bool flow_done(const struct flow *flow)
{
    return flow->ended == flow->total;
}

#endif
