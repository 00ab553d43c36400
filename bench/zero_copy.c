/*
 * What do large bytes cost that are in a buffer?
 *
 * A request whose bytes are in a parley_buffer, and a reply whose bytes are in a
 * parley_context_buffer, are never copied, so they should cost what 64 bytes cost; what is allowed
 * is 1.3 times that. A handler that wants a copy which nobody can change makes one: then the
 * request should go at 0.85 times the speed of memcpy() at least. And beside them the same bytes in
 * memory of the program's own, which are copied twice: into the arena, and out of it as they are
 * checked. memcpy() is from one buffer to another in one process, whose bytes never leave its core;
 * so there is also the same copy by another process, which is all that a handler could do.
 *
 * The bytes are made once, not for each call: what it costs to make them, and to read them, is the
 * program's. That it was this call's message is told by its length, which differs from call to
 * call.
 */
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <parley/parley.h>

#include "bench.h"
#include "echo.parley.h"
#include "floors.h"
#include "parley_call.h"
#include "shm/shm.h"

#define MIB ((size_t)1 << 20)
#define LARGE (16 * MIB)
#define ASKED_MAX 20
#define LENGTHS 64 /* that the bytes have, in turn */
#define GOAL 1.3
#define GOAL_BANDWIDTH 0.85

enum {
    CACHE_LINE,
    SMALL,
    REFERRED_1,
    REFERRED_16,
    COPIED_1,
    COPIED_16,
    PLAIN_1,
    PLAIN_16,
    MEMCPY_1,
    MEMCPY_16,
    OTHER_1,
    OTHER_16
};

/* Whether the bytes are where they should be. Asked at the beginning only: it takes a lock. */
static bool is_as_expected(ProtobufCBinaryData bytes, bool live)
{
    static unsigned asked;
    return asked == ASKED_MAX || (asked++, parley_bytes_is_live(bytes) == live);
}

/* ---- Services ---- */

/* As many bytes as came, in a buffer. */
static void refer_echo(Bench__V1__Echo_Service *service, const Bench__V1__EchoMessage *request,
                       Bench__V1__EchoMessage_Closure closure, void *closure_data)
{
    (void)service;
    Bench__V1__EchoMessage reply = BENCH__V1__ECHO_MESSAGE__INIT;
    size_t bytes = request->payload.len;
    void *data;
    if (is_as_expected(request->payload, true) &&
        parley_context_buffer(parley_context_current(), bytes, &data) == PARLEY_OK) {
        reply.payload = (ProtobufCBinaryData){bytes, data};
    }
    closure(&reply, closure_data);
}

static uint8_t *private; /* the handler's copy */

static void copy_echo(Bench__V1__Echo_Service *service, const Bench__V1__EchoMessage *request,
                      Bench__V1__EchoMessage_Closure closure, void *closure_data)
{
    (void)service;
    Bench__V1__EchoMessage reply = BENCH__V1__ECHO_MESSAGE__INIT;
    if (is_as_expected(request->payload, true)) {
        parley_bytes_copy(request->payload, private);
        reply.payload = (ProtobufCBinaryData){request->payload.len % LENGTHS, private};
    }
    closure(&reply, closure_data);
}

static void plain_echo(Bench__V1__Echo_Service *service, const Bench__V1__EchoMessage *request,
                       Bench__V1__EchoMessage_Closure closure, void *closure_data)
{
    (void)service;
    Bench__V1__EchoMessage reply = BENCH__V1__ECHO_MESSAGE__INIT;
    if (is_as_expected(request->payload, false))
        reply.payload =
            (ProtobufCBinaryData){request->payload.len % LENGTHS, request->payload.data};
    closure(&reply, closure_data);
}

static enum parley_status serve_refer(struct parley_endpoint *endpoint,
                                      struct parley_service **ret_service)
{
    static Bench__V1__Echo_Service service = BENCH__V1__ECHO__INIT(refer_);
    return bench__v1__echo__serve(endpoint, &service, NULL, ret_service);
}

static void *touched(size_t bytes)
{
    void *memory = malloc(bytes);
    if (!memory)
        abort();
    memset(memory, 1, bytes);
    return memory;
}

static enum parley_status serve_copy(struct parley_endpoint *endpoint,
                                     struct parley_service **ret_service)
{
    static Bench__V1__Echo_Service service = BENCH__V1__ECHO__INIT(copy_);
    private = touched(LARGE);
    return bench__v1__echo__serve(endpoint, &service, NULL, ret_service);
}

static enum parley_status serve_plain(struct parley_endpoint *endpoint,
                                      struct parley_service **ret_service)
{
    static Bench__V1__Echo_Service service = BENCH__V1__ECHO__INIT(plain_);
    return bench__v1__echo__serve(endpoint, &service, NULL, ret_service);
}

/* ---- The client ---- */

/* Set by the subject before the first call; each subject has a process of its own. */
static struct {
    size_t bytes;
    bool shared;   /* the request's bytes are in a buffer */
    bool refers;   /* and so are the reply's */
    uint8_t *data; /* NULL: not made yet */
} what;

static bool make_data(struct parley_client *client)
{
    struct parley_buffer *buffer;
    if (!what.shared) {
        what.data = touched(what.bytes);
        return true;
    }
    if (parley_buffer_new(client, what.bytes, &buffer) != PARLEY_OK)
        return false;
    what.data = parley_buffer_data(buffer);
    memset(what.data, 1, what.bytes);
    return true;
}

static int call(struct parley_client *client, uint32_t i)
{
    if (!what.data && !make_data(client))
        return -1;
    Bench__V1__EchoMessage request = BENCH__V1__ECHO_MESSAGE__INIT;
    Bench__V1__EchoMessage *reply = NULL;
    size_t bytes = what.bytes - i % LENGTHS;
    request.payload = (ProtobufCBinaryData){bytes, what.data};
    if (bench__v1__echo__echo_call(client, &request, &reply, NULL) != PARLEY_OK)
        return -1;
    bool same = reply->payload.len == (what.refers ? bytes : bytes % LENGTHS) &&
                is_as_expected(reply->payload, what.refers);
    parley_reply_free(reply);
    return same ? 0 : 1;
}

typedef enum parley_status (*serving)(struct parley_endpoint *endpoint,
                                      struct parley_service **ret_service);

static int run_calls(struct bench_run *run, serving serve, size_t bytes)
{
    const struct parley_call_kind kind = {
        .interface = &bench__v1__echo__interface, .serve = serve, .call = call};
    what.bytes = bytes;
    what.shared = serve != serve_plain;
    what.refers = serve == serve_refer;
    return parley_call_run(run, &kind, PARLEY_FOREVER);
}

static int run_referred_1(struct bench_run *run)
{
    return run_calls(run, serve_refer, MIB);
}

static int run_referred_16(struct bench_run *run)
{
    return run_calls(run, serve_refer, LARGE);
}

static int run_copied_1(struct bench_run *run)
{
    return run_calls(run, serve_copy, MIB);
}

static int run_copied_16(struct bench_run *run)
{
    return run_calls(run, serve_copy, LARGE);
}

static int run_plain_1(struct bench_run *run)
{
    return run_calls(run, serve_plain, MIB);
}

static int run_plain_16(struct bench_run *run)
{
    return run_calls(run, serve_plain, LARGE);
}

/* ---- memcpy() ---- */

static int run_memcpy(struct bench_run *run, size_t bytes)
{
    uint8_t *from = touched(bytes), *to = touched(bytes);
    uint64_t last = clock_now_ns();
    for (uint32_t i = 0; i < run->sample_count; i++) {
        memcpy(from, &i, sizeof(i));
        memcpy(to, from, bytes);
        if (memcmp(to, &i, sizeof(i)) != 0)
            abort();
        uint64_t now = clock_now_ns();
        run->samples_ns[i] = bench_sample(last, now);
        last = now;
    }
    free(from);
    free(to);
    return 0;
}

static int run_memcpy_1(struct bench_run *run)
{
    return run_memcpy(run, MIB);
}

static int run_memcpy_16(struct bench_run *run)
{
    return run_memcpy(run, LARGE);
}

/* ---- The same copy by another process ---- */

/* What a handler's copy is, and nothing else: memory that one process has written, which another
 * one copies to memory of its own, each time that it is told to. */
struct handed {
    alignas(LAYOUT_APART) _Atomic uint64_t turn; /* odd: the copying side's */
    alignas(LAYOUT_PAGE_BYTES) uint8_t bytes[LARGE];
};

static int copy_handed(const struct bench_run *run, void *userdata)
{
    struct handed *handed = userdata;
    size_t bytes = what.bytes;
    uint8_t *to = touched(bytes);
    for (uint64_t turn = 1;; turn += 2) {
        while (atomic_load_explicit(&handed->turn, memory_order_acquire) != turn)
            bench_pause(run);
        memcpy(to, handed->bytes, bytes);
        /* Or nobody would need the copy. */
        __asm__ volatile("" : : "r"(to) : "memory");
        atomic_store_explicit(&handed->turn, turn + 1, memory_order_release);
    }
    return 0;
}

static int run_other(struct bench_run *run, size_t bytes)
{
    struct handed *handed = mmap(NULL, sizeof(*handed), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (handed == MAP_FAILED)
        return error_set(run->error, -1, "mmap failed");
    what.bytes = bytes;
    memset(handed->bytes, 1, bytes);
    pid_t pid = bench_peer_start(run, copy_handed, handed);
    if (pid < 0)
        return error_set(run->error, -1, "fork failed");
    uint64_t last = clock_now_ns();
    for (uint32_t i = 0; i < run->sample_count; i++) {
        uint64_t turn = (uint64_t)i * 2 + 1;
        atomic_store_explicit(&handed->turn, turn, memory_order_release);
        while (atomic_load_explicit(&handed->turn, memory_order_acquire) != turn + 1)
            bench_pause(run);
        uint64_t now = clock_now_ns();
        run->samples_ns[i] = bench_sample(last, now);
        last = now;
    }
    bench_peer_stop(pid);
    (void)munmap(handed, sizeof(*handed));
    return 0;
}

static int run_other_1(struct bench_run *run)
{
    return run_other(run, MIB);
}

static int run_other_16(struct bench_run *run)
{
    return run_other(run, LARGE);
}

/* ---- The question ---- */

static const struct bench_subject subjects[] = {
    [CACHE_LINE] = FLOOR_CACHE_LINE,
    [SMALL] = {.name = "64",
               .about = "64 bytes, echoed",
               .sample_count = 30000,
               .run = parley_call_spinning},
    [REFERRED_1] = {.name = "referred-1",
                    .about = "1 MiB there and back, in buffers",
                    .sample_count = 30000,
                    .run = run_referred_1},
    [REFERRED_16] = {.name = "referred-16",
                     .about = "16 MiB there and back, in buffers",
                     .sample_count = 30000,
                     .run = run_referred_16},
    [COPIED_1] = {.name = "copied-1",
                  .about = "1 MiB in a buffer, copied by the handler",
                  .sample_count = 1000,
                  .run = run_copied_1},
    [COPIED_16] = {.name = "copied-16",
                   .about = "16 MiB in a buffer, copied by it",
                   .sample_count = 60,
                   .run = run_copied_16},
    [PLAIN_1] = {.name = "plain-1",
                 .about = "1 MiB of plain memory, there",
                 .sample_count = 1000,
                 .run = run_plain_1},
    [PLAIN_16] = {.name = "plain-16",
                  .about = "16 MiB of plain memory, there",
                  .sample_count = 60,
                  .run = run_plain_16},
    [MEMCPY_1] = {.name = "memcpy-1",
                  .about = "memcpy() of 1 MiB",
                  .sample_count = 1000,
                  .run = run_memcpy_1},
    [MEMCPY_16] = {.name = "memcpy-16",
                   .about = "memcpy() of 16 MiB",
                   .sample_count = 60,
                   .run = run_memcpy_16},
    [OTHER_1] = {.name = "other-1",
                 .about = "1 MiB, copied by another process",
                 .sample_count = 1000,
                 .run = run_other_1},
    [OTHER_16] = {.name = "other-16",
                  .about = "16 MiB, copied by another process",
                  .sample_count = 60,
                  .run = run_other_16},
};

static bool tell_referred(const struct bench_result *results, int subject, const char *size)
{
    double ratio = bench_ratio(&results[subject], &results[SMALL]);
    bool met = ratio <= GOAL;
    printf("%s in buffers take %.2f x what 64 bytes take, at p50 and within a round. The goal is at"
           " most %.1f x: %s.\n",
           size, ratio, GOAL, met ? "met" : "MISSED");
    return met;
}

static bool tell_copied(const struct bench_result *results, int copied, int plain, int memory,
                        int other, const char *size)
{
    double bandwidth = 1 / bench_ratio(&results[copied], &results[memory]);
    bool met = bandwidth >= GOAL_BANDWIDTH;
    printf("%s in a buffer, and copied once by the handler: %.2f x the bandwidth of memcpy(). The"
           " goal is at least %.2f x: %s. Of plain memory, copied twice: %.2f x.\n",
           size, bandwidth, GOAL_BANDWIDTH, met ? "met" : "MISSED",
           1 / bench_ratio(&results[plain], &results[memory]));
    printf(
        "  Another process that is only told to copy them: %.2f x memcpy()'s; of that, the handler"
        " gets %.2f x.\n",
        1 / bench_ratio(&results[other], &results[memory]),
        1 / bench_ratio(&results[copied], &results[other]));
    return met;
}

static int conclude(const struct bench_result *results)
{
    bool met = tell_referred(results, REFERRED_1, "1 MiB");
    met = tell_referred(results, REFERRED_16, "16 MiB") && met;
    met = tell_copied(results, COPIED_1, PLAIN_1, MEMCPY_1, OTHER_1, "1 MiB") && met;
    met = tell_copied(results, COPIED_16, PLAIN_16, MEMCPY_16, OTHER_16, "16 MiB") && met;
    return met ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct bench bench = {
        .name = "zero_copy",
        .question = "What do large bytes cost that are in a buffer?",
        .subjects = subjects,
        .subject_count = sizeof(subjects) / sizeof(subjects[0]),
        .begin = parley_call_begin,
        .end = parley_call_end,
        .conclude = conclude,
    };
    return bench_main(argc, argv, &bench);
}
