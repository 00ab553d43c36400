/*
 * A schedule is made before its first call is due, so that nothing is computed between calls.
 *
 * Whether a subject keeps up is not told by the backlog at one moment: a machine that others use
 * takes a core away for milliseconds, and what is late then is worked off soon. A subject that has
 * less capacity than is asked of it is late all the time, and ever later. So the least backlog of
 * the schedule's last quarter counts, as a share of what was due by then: more than one in a
 * hundred is what no subject has that keeps up.
 */
#include "pace.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

#define BEGIN_NS NS_PER_MS
#define PACE_ENDED UINT64_MAX
#define BEHIND_SHARE 0.01

int pace_schedule(uint64_t seed, uint32_t rate, uint32_t count, uint64_t *ret_due_ns)
{
    double at = 0;
    if (rate < PACE_RATE_MIN || rate > PACE_RATE_MAX || count < 1 || count > BENCH_SAMPLE_MAX)
        return -EINVAL;
    for (uint32_t i = 0; i < count; i++) {
        /* 53 bits, above 0 and up to 1: the logarithm is finite */
        double u = ((double)(random_next(&seed) >> 11) + 1) * 0x1p-53;
        at -= log(u) * (double)NS_PER_S / rate;
        ret_due_ns[i] = (uint64_t)at;
    }
    return 0;
}

int pace_init(struct pace *pace, struct bench_run *run)
{
    const uint32_t count = run->sample_count;
    *pace = (struct pace){.run = run, .total = count, .backlog_least = 1};
    pace->due_ns = malloc(count * sizeof(*pace->due_ns));
    if (!pace->due_ns)
        return error_set(run->error, -1, "no memory for a schedule of %u calls", count);
    uint64_t seed = run->load.seed + (uint64_t)run->round;
    if (pace_schedule(seed, run->load.rate, count, pace->due_ns) < 0)
        return error_set(run->error, -1, "%u calls at %u a second cannot be scheduled", count,
                         run->load.rate);
    pace->begin_ns = clock_now_ns() + BEGIN_NS;
    pace->next_ns = pace->begin_ns + pace->due_ns[0];
    pace->end_ns = pace->begin_ns + pace->due_ns[count - 1];
    return 0;
}

void pace_deinit(struct pace *pace)
{
    free(pace->due_ns);
    pace->due_ns = NULL;
}

/* What should have begun by @now. Those that have ended have lost their times, but were due. */
static void count_due(struct pace *pace, uint64_t now)
{
    while (pace->due_count < pace->total && (pace->due_ns[pace->due_count] == PACE_ENDED ||
                                             pace->begin_ns + pace->due_ns[pace->due_count] <= now))
        pace->due_count++;
}

static void look_at_backlog(struct pace *pace, uint64_t now)
{
    count_due(pace, now);
    if (now > pace->end_ns || pace->due_count < pace->total - pace->total / 4)
        return;
    double share = (double)(pace->due_count - pace->ended) / pace->due_count;
    if (share < pace->backlog_least)
        pace->backlog_least = share;
}

int pace_end(struct pace *pace, uint32_t number)
{
    if (number >= pace->started || pace->due_ns[number] == PACE_ENDED)
        return error_set(pace->run->error, -1, "a reply came to no call: %u", number);
    uint64_t now = clock_now_ns();
    pace->run->samples_ns[number] = bench_sample(pace->begin_ns + pace->due_ns[number], now);
    pace->ended++;
    pace->ended_in_time += now <= pace->end_ns;
    look_at_backlog(pace, now);
    pace->due_ns[number] = PACE_ENDED;
    return 0;
}

void pace_finish(struct pace *pace)
{
    uint64_t now = clock_now_ns();
    for (uint32_t i = 0; i < pace->total; i++) {
        uint64_t due_ns = pace->begin_ns + pace->due_ns[i];
        if (pace->due_ns[i] != PACE_ENDED)
            pace->run->samples_ns[i] = bench_sample(due_ns < now ? due_ns : now, now);
    }
    *pace->run->ret_per_s =
        pace->ended_in_time * (double)NS_PER_S / (double)(pace->end_ns - pace->begin_ns);
    *pace->run->ret_behind = pace->backlog_least > BEHIND_SHARE;
}

int floor_pace(struct bench_run *run)
{
    struct pace pace;
    int r = pace_init(&pace, run);
    while (r == 0 && pace_goes_on(&pace)) {
        if (pace_may_start(&pace))
            r = pace_end(&pace, pace_start(&pace));
        else
            pace_wait(&pace);
    }
    if (r == 0)
        pace_finish(&pace);
    pace_deinit(&pace);
    return r;
}
