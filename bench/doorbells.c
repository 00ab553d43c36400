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

#define SAMPLE_COUNT 500
#define NAME_BYTES 48
#define PLACEMENTS 3

#define S .kind = BELL_SEQPACKET
#define E .kind = BELL_EVENTFD
#define P .kind = BELL_PIPE
#define W .kind = BELL_WORD
#define URING(way) .waiter = &uring_##way, .setup = URING_COOP
#define DEFER(way) .waiter = &uring_##way, .setup = URING_DEFER
#define RESTED .pause_ns = NS_PER_MS, .samples = 100
#define NEEDS(operation) .opcode = BELLS_OP_##operation

static const struct contender contenders[] = {
    {"A call that blocks", true, "futex", "futex (the floor)", 2, W, .waiter = &bells_block},
    {NULL, 0, "futex-read-only", "futex, word in the waker's sealed memfd", 2, W,
     .waiter = &bells_block, .read_only = true},
    {NULL, 0, "futex-waitv", "futex_waitv()", 2, W, .waiter = &bells_waitv},
    {NULL, 0, "eventfd", "eventfd: write, read", 2, E, .waiter = &bells_block},
    {NULL, 0, "pipe", "pipe: write, read", 2, P, .waiter = &bells_block},
    {NULL, 0, "socket", "socketpair, seqpacket: send, recv", 2, S, .waiter = &bells_block},
    {NULL, 0, "stream", "socketpair, stream: send, recv", 2, .kind = BELL_STREAM,
     .waiter = &bells_block},
    {NULL, 0, "socket-ppoll", "socketpair: send, ppoll, recv", 3, S, .waiter = &bells_ppoll},

    {"epoll", 0, "epoll-level", "socketpair, level, one recv", 3, S, .waiter = &bells_epoll},
    {NULL, 0, "epoll-edge", "socketpair, edge, recv until empty", 4, S, .waiter = &bells_epoll,
     .edge = true, .drain = DRAIN_EMPTY},
    {NULL, 0, "epoll-seldom", "socketpair, edge, recv once in 128", 2, S, .waiter = &bells_epoll,
     .edge = true, .drain = DRAIN_SELDOM},
    {NULL, 0, "epoll-eventfd", "eventfd, level, read", 3, E, .waiter = &bells_epoll},
    {NULL, 0, "epoll-eventfd-never", "eventfd, edge, never read", 2, E, .waiter = &bells_epoll,
     .edge = true, .drain = DRAIN_SELDOM},
    {NULL, 0, "epoll-pipe", "pipe, level, read", 3, P, .waiter = &bells_epoll},
    {NULL, 0, "epoll-pipe-seldom", "pipe, edge, read once in 128", 2, P, .waiter = &bells_epoll,
     .edge = true, .drain = DRAIN_SELDOM},

    {"io_uring, polls, COOP_TASKRUN", 0, "uring-poll", "socketpair, poll, one recv", 3, S,
     URING(poll)},
    {NULL, 0, "uring-multi", "socketpair, multishot poll, one recv", 3, S, URING(poll_multi)},
    {NULL, 0, "uring-multi-empty", "socketpair, multishot poll, recv until empty", 4, S,
     URING(poll_multi), .drain = DRAIN_EMPTY},
    {NULL, 0, "uring-multi-seldom", "socketpair, multishot poll, recv once in 128", 2, S,
     URING(poll_multi), .drain = DRAIN_SELDOM},
    {NULL, 0, "uring-eventfd", "eventfd, multishot poll, read", 3, E, URING(poll_multi)},
    {NULL, 0, "uring-eventfd-never", "eventfd, multishot poll, never read", 2, E, URING(poll_multi),
     .drain = DRAIN_SELDOM},
    {NULL, 0, "uring-pipe-seldom", "pipe, multishot poll, read once in 128", 2, P,
     URING(poll_multi), .drain = DRAIN_SELDOM},

    {"io_uring, receives", 0, "uring-recv", "socketpair, recv posted", 2, S, URING(receive)},
    {NULL, 0, "uring-recv-first", "the same, which polls first", 2, S, URING(receive),
     .uring = URING_POLL_FIRST},
    {NULL, 0, "uring-recv-multi", "socketpair, multishot recv, buffers", 2, S,
     URING(receive_multi)},
    {NULL, 0, "uring-read", "eventfd, read posted", 2, E, URING(receive)},
    {NULL, 0, "uring-read-multi", "eventfd, multishot read, buffers", 2, E, URING(receive_multi),
     NEEDS(READ_MULTISHOT)},
    {NULL, 0, "uring-both", "socketpair, send and recv posted at once", 1, S, URING(receive),
     .uring = URING_RINGS},
    {NULL, 0, "uring-both-multi", "socketpair, send posted, multishot recv", 1, S,
     URING(receive_multi), .uring = URING_RINGS},
    {NULL, 0, "uring-both-eventfd", "eventfd, write and read posted at once", 1, E, URING(receive),
     .uring = URING_RINGS, .samples = 200},

    {"io_uring, futexes", 0, "uring-futex", "FUTEX_WAIT posted", 2, W, URING(futex),
     NEEDS(FUTEX_WAIT)},
    {NULL, 0, "uring-futex-read-only", "the same, word in the waker's sealed memfd", 2, W,
     URING(futex), NEEDS(FUTEX_WAIT), .read_only = true},
    {NULL, 0, "uring-futexv", "FUTEX_WAITV posted", 2, W, URING(futexv), NEEDS(FUTEX_WAITV)},
    {NULL, 0, "uring-both-futex", "FUTEX_WAKE and FUTEX_WAIT posted at once", 1, W, URING(futex),
     NEEDS(FUTEX_WAIT), .uring = URING_RINGS},

    {"io_uring, DEFER_TASKRUN and SINGLE_ISSUER", 0, "defer-multi",
     "socketpair, multishot poll, one recv", 3, S, DEFER(poll_multi)},
    {NULL, 0, "defer-multi-seldom", "socketpair, multishot poll, recv once in 128", 2, S,
     DEFER(poll_multi), .drain = DRAIN_SELDOM},
    {NULL, 0, "defer-eventfd-never", "eventfd, multishot poll, never read", 2, E, DEFER(poll_multi),
     .drain = DRAIN_SELDOM},
    {NULL, 0, "defer-pipe-seldom", "pipe, multishot poll, read once in 128", 2, P,
     DEFER(poll_multi), .drain = DRAIN_SELDOM},
    {NULL, 0, "defer-recv", "socketpair, recv posted", 2, S, DEFER(receive)},
    {NULL, 0, "defer-both", "socketpair, send and recv posted at once", 1, S, DEFER(receive),
     .uring = URING_RINGS},
    {NULL, 0, "defer-futex", "FUTEX_WAIT posted", 2, W, DEFER(futex), NEEDS(FUTEX_WAIT)},
    {NULL, 0, "defer-futex-read-only", "the same, word in the waker's sealed memfd", 2, W,
     DEFER(futex), NEEDS(FUTEX_WAIT), .read_only = true},

    {"io_uring, registered things and other flags", 0, "none-both",
     "socketpair, send and recv posted at once, no flags", 1, S, .waiter = &uring_receive,
     .uring = URING_RINGS},
    {NULL, 0, "sqpoll-both", "the same, SQPOLL: a kernel thread spins", 1, S,
     .waiter = &uring_receive, .samples = 20, .setup = IORING_SETUP_SQPOLL, .uring = URING_RINGS},
    {NULL, 0, "ring-both", "the same, COOP, registered ring", 1, S, URING(receive),
     .uring = URING_RINGS | URING_FIXED_RING},
    {NULL, 0, "files-both", "the same, registered files", 1, S, URING(receive),
     .uring = URING_RINGS | URING_FIXED_FILES},
    {NULL, 0, "buffers-both", "the same, registered buffers", 1, S, URING(receive),
     .uring = URING_RINGS | URING_FIXED_BYTES},
    {NULL, 0, "all-both", "the same, all of these and DEFER_TASKRUN", 1, S, DEFER(receive),
     .uring = URING_RINGS | URING_FIXED_RING | URING_FIXED_FILES | URING_FIXED_BYTES},

    {"With a time-out of a second, which does not pass", 0, "timeout-futex", "futex, its argument",
     2, W, .waiter = &bells_block, .timeout = TIMEOUT_ARGUMENT},
    {NULL, 0, "timeout-epoll", "socketpair, epoll_pwait2's argument", 3, S, .waiter = &bells_epoll,
     .timeout = TIMEOUT_ARGUMENT},
    {NULL, 0, "timeout-timerfd", "socketpair, epoll and a timerfd, set each time", 4, S,
     .waiter = &bells_epoll, .timeout = TIMEOUT_TIMERFD},
    {NULL, 0, "timeout-uring", "socketpair, recv posted, io_uring_enter's argument", 2, S,
     URING(receive), .timeout = TIMEOUT_ARGUMENT},
    {NULL, 0, "timeout-linked", "socketpair, recv posted, LINK_TIMEOUT", 2, S, URING(receive),
     .timeout = TIMEOUT_LINKED},

    {"As the library waits: bus/wait", 0, "library", "io_uring: socketpair, recvmsg until empty", 4,
     S, .waiter = &bells_library, .drain = DRAIN_EMPTY, .timeout = TIMEOUT_ARGUMENT},
    {NULL, 0, "library-seldom", "the same, recvmsg once in 128", 2, S, .waiter = &bells_library,
     .drain = DRAIN_SELDOM, .timeout = TIMEOUT_ARGUMENT},
    {NULL, 0, "library-epoll", "epoll: socketpair, recvmsg until empty", 4, S,
     .waiter = &bells_library_epoll, .drain = DRAIN_EMPTY, .timeout = TIMEOUT_ARGUMENT},
    {NULL, 0, "library-epoll-seldom", "the same, recvmsg once in 128", 2, S,
     .waiter = &bells_library_epoll, .drain = DRAIN_SELDOM, .timeout = TIMEOUT_ARGUMENT},

    {"epoll to sleep in, a ring beside it that watches the epoll descriptor", 0, "over",
     "socketpair, edge, recv until empty", 4, S, URING(over_epoll), .edge = true,
     .drain = DRAIN_EMPTY, .timeout = TIMEOUT_ARGUMENT},
    {NULL, 0, "over-seldom", "socketpair, edge, recv once in 128", 2, S, URING(over_epoll),
     .edge = true, .drain = DRAIN_SELDOM, .timeout = TIMEOUT_ARGUMENT},
    {NULL, 0, "over-pipe", "pipe, edge, read once in 128", 2, P, URING(over_epoll), .edge = true,
     .drain = DRAIN_SELDOM, .timeout = TIMEOUT_ARGUMENT},

    {"One of many rings", 0, "many-waitv", "64 words, futex_waitv() (128 at most)", 2, W,
     .waiter = &bells_waitv, .watched = 64},
    {NULL, 0, "many-futexv", "64 words, FUTEX_WAITV posted", 2, W, URING(futexv),
     NEEDS(FUTEX_WAITV), .watched = 64},
    {NULL, 0, "many-futex", "1,000 words, FUTEX_WAIT posted for each", 2, W, URING(futex),
     NEEDS(FUTEX_WAIT), .watched = 1000},
    {NULL, 0, "many-epoll", "1,000 socketpairs, epoll, level, one recv", 3, S,
     .waiter = &bells_epoll, .watched = 1000},
    {NULL, 0, "many-uring", "1,000 socketpairs, multishot poll, one recv", 3, S, URING(poll_multi),
     .watched = 1000},
    {NULL, 0, "many-recv-multi", "1,000 socketpairs, multishot recv, buffers", 2, S,
     URING(receive_multi), .watched = 1000},

    {"After a pause of a millisecond", true, "rested-futex", "futex", 2, W, RESTED,
     .waiter = &bells_block},
    {NULL, 0, "rested-eventfd", "eventfd, multishot poll, never read", 2, E, RESTED,
     URING(poll_multi), .drain = DRAIN_SELDOM},
    {NULL, 0, "rested-pipe", "pipe, multishot poll, read once in 128", 2, P, RESTED,
     URING(poll_multi), .drain = DRAIN_SELDOM},
    {NULL, 0, "rested-epoll-pipe", "pipe, epoll, edge, read once in 128", 2, P, RESTED,
     .waiter = &bells_epoll, .edge = true, .drain = DRAIN_SELDOM},
    {NULL, 0, "rested-defer-pipe", "pipe, multishot poll, DEFER_TASKRUN", 2, P, RESTED,
     DEFER(poll_multi), .drain = DRAIN_SELDOM},
    {NULL, 0, "rested-multi", "socketpair, multishot poll, recv once in 128", 2, S, RESTED,
     URING(poll_multi), .drain = DRAIN_SELDOM},
    {NULL, 0, "rested-epoll", "socketpair, epoll, edge, recv once in 128", 2, S, RESTED,
     .waiter = &bells_epoll, .edge = true, .drain = DRAIN_SELDOM},
    {NULL, 0, "rested-defer-multi", "socketpair, multishot poll, DEFER_TASKRUN", 2, S, RESTED,
     DEFER(poll_multi), .drain = DRAIN_SELDOM},
    {NULL, 0, "rested-defer-futex", "FUTEX_WAIT posted, sealed memfd, DEFER_TASKRUN", 2, W, RESTED,
     DEFER(futex), NEEDS(FUTEX_WAIT), .read_only = true},
    {NULL, 0, "rested-uring-futex", "FUTEX_WAIT posted, the waker's sealed memfd", 2, W, RESTED,
     URING(futex), NEEDS(FUTEX_WAIT), .read_only = true},
    {NULL, 0, "rested-socket", "socketpair: send, recv", 2, S, RESTED, .waiter = &bells_block},
    {NULL, 0, "rested-library", "socketpair, as the library", 4, S, RESTED,
     .waiter = &bells_library, .drain = DRAIN_EMPTY, .timeout = TIMEOUT_ARGUMENT},
    {NULL, 0, "rested-library-seldom", "the same, recvmsg once in 128", 2, S, RESTED,
     .waiter = &bells_library, .drain = DRAIN_SELDOM, .timeout = TIMEOUT_ARGUMENT},
    {NULL, 0, "rested-library-epoll", "socketpair, as the library with epoll", 4, S, RESTED,
     .waiter = &bells_library_epoll, .drain = DRAIN_EMPTY, .timeout = TIMEOUT_ARGUMENT},
    {NULL, 0, "rested-library-epoll-seldom", "the same, recvmsg once in 128", 2, S, RESTED,
     .waiter = &bells_library_epoll, .drain = DRAIN_SELDOM, .timeout = TIMEOUT_ARGUMENT},
    {NULL, 0, "rested-over-seldom", "socketpair, epoll beside a ring, recv once in 128", 2, S,
     RESTED, URING(over_epoll), .edge = true, .drain = DRAIN_SELDOM, .timeout = TIMEOUT_ARGUMENT},

    {"64 KiB instead of a byte", true, "payload-socket", "socketpair: send, recv", 2,
     .kind = BELL_STREAM, .waiter = &bells_block, .bytes = BELLS_BYTES_MAX},
    {NULL, 0, "payload-uring", "send and recv posted", 1, .kind = BELL_STREAM, URING(receive),
     .uring = URING_RINGS, .bytes = BELLS_BYTES_MAX},
    {NULL, 0, "payload-fixed", "the same, from and to registered buffers", 1, .kind = BELL_STREAM,
     URING(receive), .uring = URING_RINGS | URING_FIXED_BYTES, .bytes = BELLS_BYTES_MAX},
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
            .load.pause_ns = what->pause_ns,
            .skipped = bells_missing(what),
            .run = run,
        };
    }
}

/* ---- Output ---- */

/* 0: the floor was not measured there. */
static double times_floor(const struct bench_result *results, size_t index)
{
    size_t floor = index;
    while (!contenders[floor / PLACEMENTS].floor)
        floor -= PLACEMENTS;
    return results[floor].measured ? bench_ratio(&results[index], &results[floor]) : 0;
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
    printf("A round trip in us: p50, p90, p99, and how many times the floor's p50.\n\n%-*s %5s",
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
                "\"times_floor\":%.3f}",
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
        .round_count = 7,
        .partial = true,
        .print = print,
        .write_rows = write_rows,
    };
    return bench_main(argc, argv, &bench);
}
