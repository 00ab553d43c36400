/*
 * Calls a second are the median of slices, as latency is a median of calls: a slice is as long as
 * two windows, for within one calls may come and go in bursts, and of each but the first, which is
 * the warm-up, the time is taken. So a subject that was not running for a while, on a machine that
 * others use, loses a slice by that and not its rate.
 */
#include "flow.h"

#include <stdlib.h>
#include <string.h>

void flow_init(struct flow *flow, struct bench_run *run)
{
    memset(flow, 0, sizeof(*flow));
    flow->run = run;
    flow->total = run->sample_count * FLOW_TIMED;
    flow->slice_calls = 2 * run->load.in_flight;
    if (flow->slice_calls > flow->total / 2)
        flow->slice_calls = flow->total / 2;
    if (flow->slice_calls < flow->total / FLOW_SLICES_MAX)
        flow->slice_calls = flow->total / FLOW_SLICES_MAX + 1;
    flow->next_slice = flow->slice_calls;
}

static int compare_times(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double median_rate(const struct flow *flow)
{
    uint64_t times[FLOW_SLICES_MAX];
    const uint32_t count = flow->slice_count - 1;
    for (uint32_t i = 0; i < count; i++)
        times[i] = flow->slice_ns[i + 1] - flow->slice_ns[i];
    qsort(times, count, sizeof(*times), compare_times);
    return flow->slice_calls * (double)NS_PER_S / (double)times[count / 2];
}

int flow_end(struct flow *flow, uint32_t number)
{
    uint32_t *sample = &flow->run->samples_ns[number / FLOW_TIMED];
    if (number >= flow->started || flow->ended >= flow->started)
        return error_set(flow->run->error, -1, "a reply came to no call: %u", number);
    if (number % FLOW_TIMED == 0) /* modulo 2^32: right for up to four seconds */
        *sample = (uint32_t)clock_now_ns() - *sample;
    if (++flow->ended == flow->next_slice) {
        flow->slice_ns[flow->slice_count++] = clock_now_ns();
        flow->next_slice += flow->slice_calls;
    }
    if (flow_done(flow))
        *flow->run->ret_per_s = median_rate(flow);
    return 0;
}
