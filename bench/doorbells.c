/*
 * Which doorbell wakes another process up soonest, and which way to wait for it?
 *
 * Two processes ring each other in turns, and each sleeps until it is rung (bells.c). A contender
 * is one line of the table below: what is rung, who waits and how, and how many system calls a leg
 * takes, which is one ring and one wait, by construction. Each is measured with both sides on one
 * core, where a wake-up is a change of tasks; on a core each, where it is an interrupt of a core
 * that idles; and wherever the scheduler likes. All are held against the plain futex of the same
 * placement in the same round: nothing that sleeps wakes up for less.
 *
 * Not here: IORING_OP_MSG_RING. It posts a completion into another ring, whose descriptor it needs;
 * that would give a process the other's ring to submit to, and so is for threads of one process
 * only. Nor IORING_OP_SEND_ZC: unix sockets refuse it.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "bells.h"

#define SAMPLE_COUNT 1500
#define NAME_BYTES 48
#define PLACEMENTS 3

#define S .kind = BELL_STREAM
#define E .kind = BELL_EVENTFD
#define W .kind = BELL_WORD
#define URING(way) .waiter = &uring_##way, .setup = URING_COOP
#define NEEDS(operation) .opcode = BELLS_OP_##operation

static const struct contender contenders[] = {
    {"A call that blocks", "futex", "futex (the floor)", 2, W, .waiter = &bells_block},
    {NULL, "futex-read-only", "futex, word in the waker's sealed memfd", 2, W,
     .waiter = &bells_block, .read_only = true},
    {NULL, "futex-waitv", "futex_waitv()", 2, W, .waiter = &bells_waitv},
    {NULL, "eventfd", "eventfd: write, read", 2, E, .waiter = &bells_block},
    {NULL, "pipe", "pipe: write, read", 2, .kind = BELL_PIPE, .waiter = &bells_block},
    {NULL, "socket", "socketpair, stream: send, recv", 2, S, .waiter = &bells_block},
    {NULL, "seqpacket", "socketpair, seqpacket: send, recv", 2, .kind = BELL_SEQPACKET,
     .waiter = &bells_block},
    {NULL, "socket-ppoll", "socketpair: send, ppoll, recv", 3, S, .waiter = &bells_ppoll},

    {"epoll", "epoll-level", "socketpair, level, one recv", 3, S, .waiter = &bells_epoll},
    {NULL, "epoll-edge", "socketpair, edge, recv until empty", 4, S, .waiter = &bells_epoll,
     .edge = true, .drain = DRAIN_EMPTY},
    {NULL, "epoll-seldom", "socketpair, edge, recv once in 128", 2, S, .waiter = &bells_epoll,
     .edge = true, .drain = DRAIN_SELDOM},
    {NULL, "epoll-eventfd", "eventfd, level, read", 3, E, .waiter = &bells_epoll},
    {NULL, "epoll-eventfd-never", "eventfd, edge, never read", 2, E, .waiter = &bells_epoll,
     .edge = true, .drain = DRAIN_SELDOM},
    {NULL, "epoll-pipe", "pipe, level, read", 3, .kind = BELL_PIPE, .waiter = &bells_epoll},

    {"io_uring, polls, COOP_TASKRUN", "uring-poll", "socketpair, poll, one recv", 3, S,
     URING(poll)},
    {NULL, "uring-multi", "socketpair, multishot poll, one recv", 3, S, URING(poll_multi)},
    {NULL, "uring-multi-seldom", "socketpair, multishot poll, recv once in 128", 2, S,
     URING(poll_multi), .drain = DRAIN_SELDOM},
    {NULL, "uring-eventfd", "eventfd, multishot poll, read", 3, E, URING(poll_multi)},
    {NULL, "uring-eventfd-never", "eventfd, multishot poll, never read", 2, E, URING(poll_multi),
     .drain = DRAIN_SELDOM},

    {"io_uring, receives", "uring-recv", "socketpair, recv posted", 2, S, URING(receive)},
    {NULL, "uring-recv-first", "the same, which polls first", 2, S, URING(receive),
     .uring = URING_POLL_FIRST},
    {NULL, "uring-recv-multi", "socketpair, multishot recv, buffers", 2, S, URING(receive_multi)},
    {NULL, "uring-read", "eventfd, read posted", 2, E, URING(receive)},
    {NULL, "uring-read-multi", "eventfd, multishot read, buffers", 2, E, URING(receive_multi),
     NEEDS(READ_MULTISHOT)},
    {NULL, "uring-both", "socketpair, send and recv posted at once", 1, S, URING(receive),
     .uring = URING_RINGS},
    {NULL, "uring-both-multi", "socketpair, send posted, multishot recv", 1, S,
     URING(receive_multi), .uring = URING_RINGS},
    {NULL, "uring-both-eventfd", "eventfd, write and read posted at once", 1, E, URING(receive),
     .uring = URING_RINGS},

    {"io_uring, futexes", "uring-futex", "FUTEX_WAIT posted", 2, W, URING(futex),
     NEEDS(FUTEX_WAIT)},
    {NULL, "uring-futex-read-only", "the same, word in the waker's sealed memfd", 2, W,
     URING(futex), NEEDS(FUTEX_WAIT), .read_only = true},
    {NULL, "uring-futexv", "FUTEX_WAITV posted", 2, W, URING(futexv), NEEDS(FUTEX_WAITV)},
    {NULL, "uring-both-futex", "FUTEX_WAKE and FUTEX_WAIT posted at once", 1, W, URING(futex),
     NEEDS(FUTEX_WAIT), .uring = URING_RINGS},

    {"io_uring, its set-up", "uring-recv-none", "socketpair, recv posted, no flags", 2, S,
     .waiter = &uring_receive},
    {NULL, "uring-recv-defer", "the same, DEFER_TASKRUN", 2, S, .waiter = &uring_receive,
     .setup = URING_DEFER},
    {NULL, "uring-multi-defer", "socketpair, multishot poll, DEFER_TASKRUN", 3, S,
     .waiter = &uring_poll_multi, .setup = URING_DEFER},
    {NULL, "uring-futex-defer", "FUTEX_WAIT posted, DEFER_TASKRUN", 2, W, .waiter = &uring_futex,
     .setup = URING_DEFER, NEEDS(FUTEX_WAIT)},
    {NULL, "uring-both-none", "socketpair, send and recv at once, no flags", 1, S,
     .waiter = &uring_receive, .uring = URING_RINGS},
    {NULL, "uring-both-defer", "the same, DEFER_TASKRUN", 1, S, .waiter = &uring_receive,
     .setup = URING_DEFER, .uring = URING_RINGS},
    {NULL, "uring-both-sqpoll", "the same, SQPOLL: a kernel thread spins", 1, S,
     .waiter = &uring_receive, .samples = 60, .setup = IORING_SETUP_SQPOLL, .uring = URING_RINGS},
    {NULL, "uring-both-ring", "the same, COOP, registered ring", 1, S, URING(receive),
     .uring = URING_RINGS | URING_FIXED_RING},
    {NULL, "uring-both-files", "the same, registered files", 1, S, URING(receive),
     .uring = URING_RINGS | URING_FIXED_FILES},
    {NULL, "uring-both-buffers", "the same, registered buffers", 1, S, URING(receive),
     .uring = URING_RINGS | URING_FIXED_BYTES},
    {NULL, "uring-both-all", "the same, all of these and DEFER_TASKRUN", 1, S,
     .waiter = &uring_receive, .setup = URING_DEFER,
     .uring = URING_RINGS | URING_FIXED_RING | URING_FIXED_FILES | URING_FIXED_BYTES},

    {"With a time-out of a second, which does not pass", "timeout-futex", "futex, its argument", 2,
     W, .waiter = &bells_block, .timeout = TIMEOUT_ARGUMENT},
    {NULL, "timeout-epoll", "socketpair, epoll_pwait2's argument", 3, S, .waiter = &bells_epoll,
     .timeout = TIMEOUT_ARGUMENT},
    {NULL, "timeout-timerfd", "socketpair, epoll and a timerfd, set each time", 4, S,
     .waiter = &bells_epoll, .timeout = TIMEOUT_TIMERFD},
    {NULL, "timeout-uring", "socketpair, recv posted, io_uring_enter's argument", 2, S,
     URING(receive), .timeout = TIMEOUT_ARGUMENT},
    {NULL, "timeout-linked", "socketpair, recv posted, LINK_TIMEOUT", 2, S, URING(receive),
     .timeout = TIMEOUT_LINKED},

    {"What the library does", "library", "socketpair, bus/wait with io_uring, recv until empty", 4,
     S, .waiter = &bells_library, .drain = DRAIN_EMPTY, .timeout = TIMEOUT_ARGUMENT},
    {NULL, "library-epoll", "socketpair, bus/wait with epoll, recv until empty", 4, S,
     .waiter = &bells_library_epoll, .drain = DRAIN_EMPTY, .timeout = TIMEOUT_ARGUMENT},

    {"One of many rings", "many-waitv", "64 words, futex_waitv() (128 at most)", 2, W,
     .waiter = &bells_waitv, .watched = 64},
    {NULL, "many-futexv", "64 words, FUTEX_WAITV posted", 2, W, URING(futexv), NEEDS(FUTEX_WAITV),
     .watched = 64},
    {NULL, "many-futex", "64 words, FUTEX_WAIT posted for each", 2, W, URING(futex),
     NEEDS(FUTEX_WAIT), .watched = 64},
    {NULL, "many-epoll", "1,000 socketpairs, epoll, level, one recv", 3, S, .waiter = &bells_epoll,
     .watched = 1000},
    {NULL, "many-uring", "1,000 socketpairs, multishot poll, one recv", 3, S, URING(poll_multi),
     .watched = 1000},
    {NULL, "many-recv-multi", "1,000 socketpairs, multishot recv, buffers", 2, S,
     URING(receive_multi), .watched = 1000},

    {"64 KiB instead of a byte", "payload-socket", "socketpair: send, recv", 2, S,
     .waiter = &bells_block, .bytes = BELLS_BYTES_MAX},
    {NULL, "payload-uring", "send and recv posted", 1, S, URING(receive), .uring = URING_RINGS,
     .bytes = BELLS_BYTES_MAX},
    {NULL, "payload-fixed", "the same, from and to registered buffers", 1, S, URING(receive),
     .uring = URING_RINGS | URING_FIXED_BYTES, .bytes = BELLS_BYTES_MAX},
};
#define CONTENDER_COUNT (sizeof(contenders) / sizeof(contenders[0]))

static const enum bench_placement placements[PLACEMENTS] = {BENCH_TOGETHER, BENCH_APART,
                                                            BENCH_ANYWHERE};
static const char *const place_names[PLACEMENTS] = {"together", "apart", "anywhere"};

/* Contender by contender, and of each the placements: so the first is the floor, together. */
static struct bench_subject subjects[CONTENDER_COUNT * PLACEMENTS];
static char names[CONTENDER_COUNT * PLACEMENTS][NAME_BYTES];

static int run(struct bench_run *run)
{
    const size_t bytes = strcspn(run->name, "/");
    for (size_t i = 0; i < CONTENDER_COUNT; i++) {
        if (strlen(contenders[i].name) == bytes &&
            strncmp(contenders[i].name, run->name, bytes) == 0)
            return bells_run(run, &contenders[i]);
    }
    return -1;
}

static void make_subjects(void)
{
    for (size_t i = 0; i < CONTENDER_COUNT * PLACEMENTS; i++) {
        const struct contender *what = &contenders[i / PLACEMENTS];
        assert(strlen(what->about) <= BELLS_ABOUT);
        (void)snprintf(names[i], NAME_BYTES, "%s/%s", what->name, place_names[i % PLACEMENTS]);
        subjects[i] = (struct bench_subject){
            .name = names[i],
            .about = what->about,
            .sample_count = what->samples ? what->samples : SAMPLE_COUNT,
            .placement = placements[i % PLACEMENTS],
            .skipped = bells_missing(what),
            .run = run,
        };
    }
}

/* ---- Output ---- */

/* 0: the futex was not measured there. */
static double times_floor(const struct bench_result *results, size_t index)
{
    if (!results[index % PLACEMENTS].measured)
        return 0;
    return bench_ratio(&results[index], &results[index % PLACEMENTS]);
}

static void print_place(const struct bench_result *results, size_t index)
{
    const double *ns = results[index].ns;
    if (!results[index].measured)
        printf(" | %27s", "-");
    else
        printf(" | %6.1f %6.1f %6.1f %5.2fx", ns[BENCH_P50] / 1e3, ns[BENCH_P90] / 1e3,
               ns[BENCH_P99] / 1e3, times_floor(results, index));
}

static bool is_measured(const struct bench_result *results, size_t contender)
{
    for (size_t k = 0; k < PLACEMENTS; k++) {
        if (results[contender * PLACEMENTS + k].measured)
            return true;
    }
    return false;
}

static void print(const struct bench_result *results)
{
    const char *heading = NULL;
    printf("A round trip in us: p50, p90, p99, and how many times the futex's p50.\n\n%-*s %5s",
           BELLS_ABOUT + 2, "", "calls");
    for (size_t k = 0; k < PLACEMENTS; k++)
        printf(" | %-27s", place_names[k]);
    printf("\n");
    for (size_t i = 0; i < CONTENDER_COUNT; i++) {
        const struct contender *what = &contenders[i];
        heading = what->group ? what->group : heading;
        if (subjects[i * PLACEMENTS].skipped) {
            printf("skipped: %s: %s\n", what->name, subjects[i * PLACEMENTS].skipped);
            continue;
        }
        if (!is_measured(results, i))
            continue;
        if (heading)
            printf("%s\n", heading);
        heading = NULL;
        printf("  %-*s %5.0f", BELLS_ABOUT, what->about, what->calls);
        for (size_t k = 0; k < PLACEMENTS; k++)
            print_place(results, i * PLACEMENTS + k);
        printf("\n");
    }
    printf("\ncalls: system calls a leg, one ring and one wait.\n");
}

static void write_rows(const struct bench_result *results, FILE *file)
{
    const char *separator = "\n";
    fprintf(file, "\"rows\":[");
    for (size_t i = 0; i < CONTENDER_COUNT * PLACEMENTS; i++) {
        const double *ns = results[i].ns;
        if (!results[i].measured)
            continue;
        fprintf(file,
                "%s{\"name\":\"%s\",\"placement\":\"%s\",\"calls_a_leg\":%.0f,\"p50_ns\":%.0f,"
                "\"p90_ns\":%.0f,\"p99_ns\":%.0f,\"p50_least_ns\":%.0f,\"p50_most_ns\":%.0f,"
                "\"times_futex\":%.3f}",
                separator, contenders[i / PLACEMENTS].name, place_names[i % PLACEMENTS],
                contenders[i / PLACEMENTS].calls, ns[BENCH_P50], ns[BENCH_P90], ns[BENCH_P99],
                results[i].p50_least, results[i].p50_most, times_floor(results, i));
        separator = ",\n";
    }
    fprintf(file, "\n]");
}

int main(int argc, char **argv)
{
    make_subjects();
    const struct bench bench = {
        .name = "doorbells",
        .question =
            "Which doorbell wakes another process up soonest, and which way to wait for it?",
        .subjects = subjects,
        .subject_count = CONTENDER_COUNT * PLACEMENTS,
        .round_count = 3,
        .partial = true,
        .print = print,
        .write_rows = write_rows,
    };
    return bench_main(argc, argv, &bench);
}
