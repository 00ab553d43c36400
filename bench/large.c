/*
 * What does a large message cost, and how much of that are the copies?
 *
 * A bytes field goes to a service and comes back. Four copies are on its way, and no more: the
 * client packs into its arena, the service's plan copies out of it into memory of its own (that is
 * the checked copy, and the handler's struct points into it), the service packs into its arena, and
 * the client's plan copies out. So the bandwidth of a copy is four times the bytes by the time that
 * is left when a round trip of 64 bytes is taken off, which has all the rest in it.
 *
 * (Below 4 KiB there are two copies more, from where a message is packed into the ring.)
 *
 * Beside it, in the same slices: memcpy() of the same bytes, from one buffer to another of one
 * process, again and again; and the four copies alone, made by two processes on two cores through
 * memory that they share, with a flag for each way. What that one loses against memcpy() is what it
 * costs that the bytes change cores, which no bus between two processes can do without: up to a
 * megabyte memcpy() stays in its core's caches. So there are two goals, and the second can be met.
 *
 * Messages that are not copied, by reference into the sender's arena, are zero_copy.c's.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <parley/parley.h>

#include "base/clock.h"
#include "echo.parley.h"
#include "parley_call.h"
#include "shm/layout.h"
#include "study.h"
#include "wait/wait.h"

#define SIZES 8
#define COPIES 4
#define SLICES 5
#define SMALL_CALLS 5000
#define BYTES_MAX (UINT32_C(16) << 20)
#define CALLS_MAX 2000
#define PATIENCE_NS (20 * NS_PER_S)

static const struct size {
    uint32_t bytes;
    uint32_t calls; /* of a slice */
} sizes[SIZES] = {{1000, 2000},  {2000, 2000}, {4096, 2000},  {8192, 1000},
                  {16384, 1000}, {65536, 400}, {1 << 20, 40}, {16 << 20, 6}};

/* A row of each kind for each size. */
enum { CALL, SHARED, MEMCPY, RATE_CALL, RATE_SHARED, RATE_MEMCPY, KINDS };
#define ROW(size, kind) ((size)*KINDS + (kind))
#define SMALL ROW(SIZES, 0)

/* ---- Four copies through shared memory ---- */

struct passage {
    alignas(LAYOUT_APART) _Atomic uint32_t turn; /* odd: the peer's; 0: the end */
    alignas(LAYOUT_PAGE_BYTES) uint8_t there[BYTES_MAX];
    uint8_t back[BYTES_MAX];
};

struct shared {
    struct passage *passage;
    uint8_t *source, *target; /* each process's own */
    uint32_t bytes;
    uint32_t turn;
};

static int pass_back(const struct study_round *round, void *userdata)
{
    struct shared *shared = userdata;
    struct passage *passage = shared->passage;
    (void)round;
    for (uint32_t turn = 1;; turn += 2) {
        while (atomic_load_explicit(&passage->turn, memory_order_acquire) != turn)
            spin_pause();
        memcpy(shared->target, passage->there, shared->bytes);
        memcpy(passage->back, shared->target, shared->bytes);
        atomic_store_explicit(&passage->turn, turn + 1, memory_order_release);
    }
    return 0;
}

static void pass(struct shared *shared)
{
    struct passage *passage = shared->passage;
    memcpy(passage->there, shared->source, shared->bytes);
    atomic_store_explicit(&passage->turn, ++shared->turn, memory_order_release);
    ++shared->turn;
    while (atomic_load_explicit(&passage->turn, memory_order_acquire) != shared->turn)
        spin_pause();
    memcpy(shared->target, passage->back, shared->bytes);
}

/* ---- Calls ---- */

struct caller {
    struct study_round *round;
    struct parley_endpoint *endpoint;
    struct parley_client *client;
    struct shared shared;
};

static int call_once(struct caller *caller)
{
    Bench__V1__EchoMessage request = BENCH__V1__ECHO_MESSAGE__INIT, *reply = NULL;
    request.payload.data = caller->shared.source;
    request.payload.len = caller->shared.bytes;
    if (bench__v1__echo__echo_call(caller->client, &request, &reply, NULL) != PARLEY_OK)
        return error_set(caller->round->error, -1, "%s", parley_error_text());
    bool whole = reply->payload.len == caller->shared.bytes &&
                 reply->payload.data[reply->payload.len - 1] ==
                     caller->shared.source[caller->shared.bytes - 1];
    parley_reply_free(reply);
    return whole ? 0 : error_set(caller->round->error, -1, "another message came back");
}

static int pass_once(struct caller *caller)
{
    pass(&caller->shared);
    return 0;
}

static int copy_once(struct caller *caller)
{
    memcpy(caller->shared.target, caller->shared.source, caller->shared.bytes);
    __asm__ volatile("" : : "r"(caller->shared.target) : "memory");
    return 0;
}

/* What a size is measured in, in turns. */
static const struct way {
    int (*once)(struct caller *caller);
    size_t kind, rate_kind;
    unsigned copies;
} ways[] = {
    {call_once, CALL, RATE_CALL, COPIES},
    {pass_once, SHARED, RATE_SHARED, COPIES},
    {copy_once, MEMCPY, RATE_MEMCPY, 1},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static int time_slice(struct caller *caller, const struct way *way, uint32_t *samples,
                      uint32_t count)
{
    int r = way->once(caller); /* warm */
    uint64_t last = clock_now_ns();
    for (uint32_t i = 0; r == 0 && i < count; i++) {
        r = way->once(caller);
        uint64_t now = clock_now_ns();
        samples[i] = study_sample(last, now);
        last = now;
    }
    return r;
}

/* The other side of the passage only lives while it is measured: it does not sleep. */
static int time_way(struct caller *caller, const struct way *way, uint32_t *samples, uint32_t count)
{
    struct study_round *round = caller->round;
    if (way->once != pass_once)
        return time_slice(caller, way, samples, count);
    atomic_store_explicit(&caller->shared.passage->turn, 0, memory_order_relaxed);
    caller->shared.turn = 0;
    pid_t peer = study_start(round, round->cpus[1], pass_back, &caller->shared);
    int r = peer < 0 ? error_set(round->error, -1, "fork failed")
                     : time_slice(caller, way, samples, count);
    study_stop(peer);
    return r;
}

static int time_size(struct caller *caller, size_t size)
{
    static uint32_t samples[WAYS][SLICES * CALLS_MAX];
    struct study_round *round = caller->round;
    const uint32_t calls = sizes[size].calls;
    caller->shared.bytes = sizes[size].bytes;
    for (uint32_t slice = 0; slice < SLICES; slice++) {
        for (size_t w = 0; w < WAYS; w++) {
            int r = time_way(caller, &ways[w], samples[w] + slice * calls, calls);
            if (r != 0)
                return r;
        }
    }
    for (size_t w = 0; w < WAYS; w++) {
        memcpy(round->samples_ns, samples[w], SLICES * calls * sizeof(**samples));
        study_put_samples(round, ROW(size, ways[w].kind), SLICES * calls);
        double ns = round->values[ROW(size, ways[w].kind)].p50;
        if (ways[w].once == call_once)
            ns -= round->values[SMALL].p50;
        study_put(round, ROW(size, ways[w].rate_kind),
                  (double)ways[w].copies * sizes[size].bytes / ns * 1e3);
    }
    return 0;
}

/* ---- A round ---- */

static int serve(const struct study_round *round, void *userdata)
{
    struct parley_endpoint *endpoint = NULL;
    struct parley_service *service = NULL;
    (void)userdata;
    enum parley_status status = parley_call_join(round->folder, "large-service", 0, &endpoint);
    if (status == PARLEY_OK)
        status = parley_call_echo.serve(endpoint, &service);
    if (status == PARLEY_OK)
        status = parley_run(endpoint);
    fprintf(stderr, "service: %s\n", parley_error_text());
    return -1;
}

static int prepare(struct caller *caller)
{
    const struct parley_client_options options = {.wait_ns = PATIENCE_NS};
    struct shared *shared = &caller->shared;
    shared->passage = mmap(NULL, sizeof(*shared->passage), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    shared->source = malloc(BYTES_MAX);
    shared->target = malloc(BYTES_MAX);
    if (shared->passage == MAP_FAILED || !shared->source || !shared->target)
        return error_set(caller->round->error, -1, "out of memory");
    for (uint32_t i = 0; i < BYTES_MAX; i++)
        shared->source[i] = (uint8_t)(i * 2654435761u >> 13);
    memset(shared->target, 1, BYTES_MAX);
    if (parley_call_join(caller->round->folder, "large-client", 0, &caller->endpoint) !=
            PARLEY_OK ||
        parley_client_new(caller->endpoint, parley_call_echo.interface, &options,
                          &caller->client) != PARLEY_OK)
        return error_set(caller->round->error, -1, "%s", parley_error_text());
    return 0;
}

static int time_small(struct caller *caller)
{
    caller->shared.bytes = 62;
    int r = time_slice(caller, &ways[0], caller->round->samples_ns, SMALL_CALLS);
    if (r == 0)
        study_put_samples(caller->round, SMALL, SMALL_CALLS);
    return r;
}

static int run(struct study_round *round)
{
    static struct caller caller;
    caller = (struct caller){.round = round};
    pid_t service = study_start(round, round->cpus[1], serve, NULL);
    int r = prepare(&caller);
    if (r == 0)
        r = time_small(&caller);
    for (size_t size = 0; size < SIZES && r == 0; size++)
        r = time_size(&caller, size);
    parley_endpoint_free(caller.endpoint);
    study_stop(service);
    return r;
}

/* ---- The question ---- */

#define SIZE_ROWS(i, text, bytes)                                                                  \
    [ROW(i, CALL)] = {"call-" bytes, text ", there and back", STUDY_NS, "\"bytes\":" bytes},       \
            [ROW(i, SHARED)] = {"shared-" bytes, "  four copies between two processes", STUDY_NS,  \
                                "\"bytes\":" bytes},                                               \
            [ROW(i, MEMCPY)] = {"memcpy-" bytes, "  memcpy(), once", STUDY_NS,                     \
                                "\"bytes\":" bytes},                                               \
            [ROW(i, RATE_CALL)] = {"rate-call-" bytes, "  each copy of the call", STUDY_MB_S,      \
                                   "\"bytes\":" bytes ",\"copies\":4"},                            \
            [ROW(i, RATE_SHARED)] = {"rate-shared-" bytes, "  each of the four copies",            \
                                     STUDY_MB_S, "\"bytes\":" bytes ",\"copies\":4"},              \
            [ROW(i, RATE_MEMCPY)] = {"rate-memcpy-" bytes, "  memcpy()", STUDY_MB_S,               \
                                     "\"bytes\":" bytes}

static const struct study_row rows[] = {
    SIZE_ROWS(0, "1,000 bytes", "1000"),
    SIZE_ROWS(1, "2,000 bytes", "2000"),
    SIZE_ROWS(2, "4 KiB", "4096"),
    SIZE_ROWS(3, "8 KiB", "8192"),
    SIZE_ROWS(4, "16 KiB", "16384"),
    SIZE_ROWS(5, "64 KiB", "65536"),
    SIZE_ROWS(6, "1 MiB", "1048576"),
    SIZE_ROWS(7, "16 MiB", "16777216"),
    [SMALL] = {"call-64", "64 bytes, there and back", STUDY_NS, "\"bytes\":64"},
};

#define SIZE_RATIO(i, text)                                                                        \
    {                                                                                              \
        ROW(i, RATE_CALL), ROW(i, RATE_SHARED), false, 0, 0,                                       \
            text ": bandwidth of each copy, against the same copies between two processes"         \
    }

#define SIZE_GOALS(i, text)                                                                        \
    {ROW(i, RATE_CALL),                                                                            \
     ROW(i, RATE_MEMCPY),                                                                          \
     false,                                                                                        \
     0,                                                                                            \
     0.85,                                                                                         \
     text ": bandwidth of each copy, against memcpy()"},                                           \
        {ROW(i, RATE_CALL),                                                                        \
         ROW(i, RATE_SHARED),                                                                      \
         false,                                                                                    \
         0,                                                                                        \
         0,                                                                                        \
         "  against the same copies between two processes"},                                       \
    {                                                                                              \
        ROW(i, CALL), SMALL, false, 0, 0, "  round trip, against one of 64 bytes"                  \
    }

static const struct study_goal goals[] = {
    SIZE_RATIO(0, "1,000 bytes"),
    SIZE_RATIO(1, "2,000 bytes"),
    SIZE_GOALS(2, "4 KiB"),
    SIZE_RATIO(3, "8 KiB"),
    SIZE_RATIO(4, "16 KiB"),
    SIZE_GOALS(5, "64 KiB"),
    SIZE_GOALS(6, "1 MiB"),
    SIZE_GOALS(7, "16 MiB"),
};

static const struct study study = {
    .name = "large",
    .question = "What does a large message cost, and how much of that are the copies?",
    .method = "A call has four copies: packed into the arena, copied out and checked, and both once"
              " more on the way\nback. Their time is that of the round trip less that of one with"
              " 64 bytes. What is in buffers is not\ncopied: zero_copy.",
    .rows = rows,
    .row_count = sizeof(rows) / sizeof(rows[0]),
    .goals = goals,
    .goal_count = sizeof(goals) / sizeof(goals[0]),
    .rounds = 9,
    .seconds_max = 60,
    .run = run,
};

int main(int argc, char **argv)
{
    return study_main(argc, argv, &study);
}
