/*
 * What --chaos adds: SIGKILL, to the broker and to an instance of a service.
 *
 * The broker is not on the road: while it is away the clients' totals have to grow, and not one
 * call may fail. Started again, it has to know everybody, and the shares, from what the endpoints
 * tell it.
 *
 * The instance is stopped for a moment before it is killed, so that calls are in it for certain.
 * Those that may be repeated must have been, on the other instance; Visits must have ended as
 * UNAVAILABLE, and soon: the longest is in the JSON.
 */
#include "demo.h"

#include <signal.h>
#include <stdlib.h>

uint64_t chaos_moment(uint64_t ns)
{
    uint64_t dice = now_ns() * UINT64_C(0x2545f4914f6cdd1d);
    return (dice >> 16) % (ns + 1);
}

static struct child *find(struct demo *demo, enum child_kind kind)
{
    for (unsigned i = 0; i < demo->child_count; i++)
        if (demo->children[i].kind == kind && demo->children[i].pid > 0)
            return &demo->children[i];
    return NULL;
}

static int kill_now(struct demo *demo, struct child *child)
{
    child_signal(child, SIGKILL);
    return child_wait(demo, child, 15 * SECOND);
}

int chaos_broker(struct demo *demo, uint64_t away_ns)
{
    struct tally before, away, back;
    struct chaos_result *result = &demo->after;
    if (demo_totals(demo, &before) < 0)
        return -1;
    uint64_t killed_ns = now_ns();
    result->broker_kills++;
    if (kill_now(demo, find(demo, CHILD_BROKER)) < 0)
        return -1;
    if (demo_run_for(demo, away_ns) < 0 || demo_totals(demo, &away) < 0)
        return -1;
    result->away_ns += now_ns() - killed_ns;
    if (start_broker(demo) < 0 || tool_wait_for_all(demo) < 0 || demo_totals(demo, &back) < 0)
        return -1;
    uint64_t calls = away.calls - before.calls, failed = back.failed - before.failed;
    result->calls_while_away += calls;
    result->failed_while_away += failed;
    display_note(demo, "broker killed: %llu calls ended while it was away, %llu failed",
                 (unsigned long long)calls, (unsigned long long)failed);
    if (calls == 0)
        return demo_fail(demo, "No call ended while the broker was away.");
    return 0;
}

int chaos_instance(struct demo *demo)
{
    struct tally before, after, since;
    struct child *victim = find(demo, CHILD_SERVICE_V2);
    if (demo_totals(demo, &before) < 0)
        return -1;
    kill(victim->pid, SIGSTOP);
    if (demo_run_for(demo, 20 * MILLISECOND) < 0 || kill_now(demo, victim) < 0)
        return -1;
    demo->after.instances_killed++;
    if (demo_run_for(demo, demo->part_ns / 2) < 0 || demo_totals(demo, &after) < 0)
        return -1;
    tally_since(&after, &before, &since);
    demo->after.casualties_outside = before.unavailable_no + before.unavailable_unknown;
    display_note(demo,
                 "%s killed: %llu calls repeated elsewhere, %llu Visits ended as UNAVAILABLE",
                 victim->name, (unsigned long long)since.retried,
                 (unsigned long long)(since.unavailable_no + since.unavailable_unknown));
    if (since.retried + since.unavailable_no + since.unavailable_unknown == 0)
        return demo_fail(demo, "No call was in %s when it was killed.", victim->name);
    return 0;
}
