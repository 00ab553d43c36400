/*
 * An open loop: calls begin at times given beforehand, whatever the replies do.
 *
 * The times are a Poisson process: of many users who know nothing of each other. A call's latency
 * is from the time at which it should have begun, so the wait for a caller that was held up by an
 * earlier reply is in it (no "coordinated omission", Tene). Calls are numbered from 0 and may end
 * in any order.
 */
#ifndef PARLEY_BENCH_PACE_H
#define PARLEY_BENCH_PACE_H

#include "bench.h"

#define PACE_RATE_MIN 100u /* calls a second */
#define PACE_RATE_MAX 50000000u

/**
 * pace_schedule() - when calls begin
 * @rate:       calls a second, PACE_RATE_MIN to PACE_RATE_MAX
 * @count:      1 to BENCH_SAMPLE_MAX
 * @ret_due_ns: room for @count; ns from the start, ascending
 *
 * The same seed gives the same times. Return: 0, or -EINVAL if a number is out of its bounds.
 */
int pace_schedule(uint64_t seed, uint32_t rate, uint32_t count, uint64_t *ret_due_ns);

struct pace {
    struct bench_run *run;
    uint64_t *due_ns; /* by call; PACE_ENDED when it has ended */
    uint32_t total, started, ended;
    uint64_t now_ns;           /* at the last look */
    uint64_t begin_ns, end_ns; /* of the schedule, by the clock */
    uint64_t next_ns;          /* when the next call is due, by the clock */
    uint32_t due_count;        /* that should have begun by the last look */
    uint32_t ended_in_time;    /* before end_ns */
    double backlog_least;      /* in the schedule's last quarter, as a share of what was due */
};

/* As many calls as there are samples, at load.rate, by load.seed and the round. The schedule begins
 * a millisecond later. Return: 0, or -1 with the run's error set. */
int pace_init(struct pace *pace, struct bench_run *run);
void pace_deinit(struct pace *pace);

/* A reply has come: its sample. Return: 0, or -1 with the error set if no such call is on its way.
 */
int pace_end(struct pace *pace, uint32_t number);

/* A look at the clock, in every turn. Return: false when all have ended, or it is too late for what
 * has not: as long again after the schedule's end as the schedule was. */
static inline bool pace_goes_on(struct pace *pace)
{
    pace->now_ns = clock_now_ns();
    return pace->ended < pace->total && pace->now_ns <= 2 * pace->end_ns - pace->begin_ns;
}

/* Of what has not ended, how long it has taken so far; and calls a second, and whether the subject
 * fell behind: in the last quarter of the schedule at no time 99 % of what was due had ended. */
void pace_finish(struct pace *pace);

/* Whether a call is due, and there is room for it: load.in_flight are on their way at most. One
 * that finds no room begins later; its latency is from when it was due. */
static inline bool pace_may_start(const struct pace *pace)
{
    return pace->started < pace->total && pace->now_ns >= pace->next_ns &&
           pace->started - pace->ended < pace->run->load.in_flight;
}

/* Return: the number of the call that begins. */
static inline uint32_t pace_start(struct pace *pace)
{
    uint32_t number = pace->started++;
    if (pace->started < pace->total)
        pace->next_ns = pace->begin_ns + pace->due_ns[pace->started];
    return number;
}

/* For a subject that waits for replies and the clock itself: ns from the last look until there is
 * something else to do, 1 at least. */
static inline uint64_t pace_left_ns(const struct pace *pace)
{
    bool room = pace->started - pace->ended < pace->run->load.in_flight;
    uint64_t until =
        pace->started < pace->total && room ? pace->next_ns : 2 * pace->end_ns - pace->begin_ns;
    return until > pace->now_ns ? until - pace->now_ns : 1;
}

/* Between two looks at replies and the clock. Nothing sleeps: waking up late would be in the
 * latency, and be nobody's but the load's. */
static inline void pace_wait(const struct pace *pace)
{
    if (pace->run->peer_cpu < 0)
        (void)sched_yield(); /* the subject's own threads are on this core, maybe */
    else
        bench_pause(pace->run);
}

/* No call at all: what is in every sample. A bench_subject's run(). */
int floor_pace(struct bench_run *run);

#endif
