/*
 * The floors below a call, each measured the way the call is: one side at a time, as fast as it
 * can, one clock reading a round trip (which is in the sample).
 *
 * cache line   the machine's own limit: one line changes hands twice. Nothing that shares memory
 *              between two cores is faster.
 * ring         the same with two of our records in between: written, published, polled, copied out,
 *              consumed, and the look at whether the other side sleeps. What a call could cost if
 *              messages needed no packing, no check and no routing.
 * protobuf     packing and unpacking one message. A call does it twice, on both ends.
 */
#include "floors.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "echo.pb-c.h"
#include "flow.h"
#include "shm/shm.h"

/* ---- The clock ---- */

int floor_clock(struct bench_run *run)
{
    uint64_t last = clock_now_ns();
    for (uint32_t i = 0; i < run->sample_count; i++) {
        uint64_t now = clock_now_ns();
        run->samples_ns[i] = bench_sample(last, now);
        last = now;
    }
    return 0;
}

/* ---- One cache line ---- */

struct line {
    alignas(LAYOUT_APART) _Atomic uint64_t turn; /* odd: the peer's */
};

static int bounce(const struct bench_run *run, void *userdata)
{
    struct line *line = userdata;
    for (uint64_t turn = 1;; turn += 2) {
        while (atomic_load_explicit(&line->turn, memory_order_acquire) != turn)
            bench_pause(run);
        atomic_store_explicit(&line->turn, turn + 1, memory_order_release);
    }
    return 0;
}

int floor_cache_line(struct bench_run *run)
{
    struct line *line = mmap(NULL, LAYOUT_PAGE_BYTES, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (line == MAP_FAILED)
        return error_set(run->error, -1, "mmap failed");
    pid_t pid = bench_peer_start(run, bounce, line);
    if (pid < 0)
        return error_set(run->error, -1, "fork failed");
    uint64_t last = clock_now_ns();
    for (uint32_t i = 0; i < run->sample_count; i++) {
        uint64_t turn = (uint64_t)i * 2 + 1;
        atomic_store_explicit(&line->turn, turn, memory_order_release);
        while (atomic_load_explicit(&line->turn, memory_order_acquire) != turn + 1)
            bench_pause(run);
        uint64_t now = clock_now_ns();
        run->samples_ns[i] = bench_sample(last, now);
        last = now;
    }
    bench_peer_stop(pid);
    return 0;
}

/* ---- The ring ---- */

struct ring_side {
    struct segment ours;
    struct peer_segment peer;
};

struct ring_record {
    struct frame_header header;
    uint8_t message[FLOOR_MESSAGE_BYTES];
};

static int send_record(struct ring_side *side, const struct ring_record *record)
{
    void *body = NULL;
    int r = ring_reserve(&side->ours, &side->peer, sizeof(*record), &body);
    if (r != 0)
        return r;
    memcpy(body, record, sizeof(*record));
    ring_commit(&side->ours, sizeof(*record));
    (void)peer_asleep_quick(&side->ours,
                            &side->peer); /* never true here, but nobody can know without looking */
    return 0;
}

static int receive_record(const struct bench_run *run, struct ring_side *side,
                          struct ring_record *ret_record)
{
    const void *body = NULL;
    uint32_t bytes = 0;
    while (!ring_pending(&side->peer))
        bench_pause(run);
    int r = ring_peek(&side->peer, &body, &bytes);
    if (r != 0 || bytes != sizeof(*ret_record))
        return -1;
    memcpy(ret_record, body, sizeof(*ret_record));
    ring_consume(&side->peer, &side->ours);
    return 0;
}

static int echo_records(const struct bench_run *run, void *userdata)
{
    struct ring_side *side = userdata;
    struct ring_record record;
    for (;;) {
        if (receive_record(run, side, &record) != 0 || send_record(side, &record) != 0)
            return -1;
    }
}

static int time_records(struct bench_run *run, struct ring_side *side)
{
    struct ring_record record = {.header = {.kind = FRAME_REQUEST}}, reply;
    uint64_t last = clock_now_ns();
    for (uint32_t i = 0; i < run->sample_count; i++) {
        record.header.call_id = i;
        if (send_record(side, &record) != 0 || receive_record(run, side, &reply) != 0 ||
            reply.header.call_id != i)
            return error_set(run->error, -1, "the ring gave back another record");
        uint64_t now = clock_now_ns();
        run->samples_ns[i] = bench_sample(last, now);
        last = now;
    }
    return 0;
}

/* The other side is forked when all is mapped, and a region is its maker's alone unless told. */
static int inherit(const struct ring_side *side)
{
    const struct region *ours = &side->ours.region, *peers = &side->peer.region;
    return madvise(ours->base, ours->bytes, MADV_DOFORK) == 0 &&
                   madvise(peers->base, peers->bytes, MADV_DOFORK) == 0
               ? 0
               : -1;
}

static int run_ring(struct bench_run *run, int (*serve)(const struct bench_run *, void *),
                    int (*ask)(struct bench_run *, struct ring_side *))
{
    static struct ring_side near, far;
    if (segment_create(&near.ours, NULL, run->error) != 0 ||
        segment_create(&far.ours, NULL, run->error) != 0 ||
        peer_segment_map(&near.peer, far.ours.region.fd, run->error) != 0 ||
        peer_segment_map(&far.peer, near.ours.region.fd, run->error) != 0)
        return -1;
    if (inherit(&far) < 0)
        return error_set(run->error, -1, "madvise failed");
    pid_t pid = bench_peer_start(run, serve, &far);
    if (pid < 0)
        return error_set(run->error, -1, "fork failed");
    int r = ask(run, &near);
    bench_peer_stop(pid);
    return r;
}

int floor_ring(struct bench_run *run)
{
    return run_ring(run, echo_records, time_records);
}

static int echo_flow(const struct bench_run *run, void *userdata)
{
    struct ring_side *side = userdata;
    struct ring_record record;
    for (;;) {
        int r = receive_record(run, side, &record);
        while (r == 0 && (r = send_record(side, &record)) == RING_E_FULL) {
            bench_pause(run);
            r = 0;
        }
        if (r != 0)
            return -1;
    }
}

/* Sends while there is room, then takes what has come: a batch of each, as with a real caller. */
static int time_flow(struct bench_run *run, struct ring_side *side)
{
    struct ring_record record = {.header = {.kind = FRAME_REQUEST}}, reply;
    struct flow flow;
    flow_init(&flow, run);
    while (!flow_done(&flow)) {
        while (flow_may_start(&flow)) {
            record.header.call_id = flow.started;
            if (send_record(side, &record) != 0)
                break;
            (void)flow_start(&flow);
        }
        do {
            if (receive_record(run, side, &reply) != 0 ||
                flow_end(&flow, (uint32_t)reply.header.call_id) != 0)
                return -1;
        } while (ring_pending(&side->peer));
    }
    return 0;
}

int floor_ring_flow(struct bench_run *run)
{
    return run_ring(run, echo_flow, time_flow);
}

/* ---- protobuf-c ---- */

int floor_protobuf(struct bench_run *run)
{
    uint8_t content[FLOOR_MESSAGE_BYTES - 2] = {1, 2, 3}, packed[FLOOR_MESSAGE_BYTES];
    Bench__V1__EchoMessage message = BENCH__V1__ECHO_MESSAGE__INIT;
    message.payload = (ProtobufCBinaryData){.len = sizeof(content), .data = content};
    if (bench__v1__echo_message__get_packed_size(&message) != FLOOR_MESSAGE_BYTES)
        return error_set(run->error, -1, "the message is not of 64 bytes");
    uint64_t last = clock_now_ns();
    for (uint32_t i = 0; i < run->sample_count; i++) {
        memcpy(content, &i, sizeof(i));
        size_t bytes = bench__v1__echo_message__pack(&message, packed);
        Bench__V1__EchoMessage *unpacked = bench__v1__echo_message__unpack(NULL, bytes, packed);
        if (!unpacked || unpacked->payload.len != sizeof(content) ||
            memcmp(unpacked->payload.data, &i, sizeof(i)) != 0)
            return error_set(run->error, -1, "protobuf-c unpacked another message");
        bench__v1__echo_message__free_unpacked(unpacked, NULL);
        uint64_t now = clock_now_ns();
        run->samples_ns[i] = bench_sample(last, now);
        last = now;
    }
    return 0;
}
