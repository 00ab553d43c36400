/* What anything that goes from one process to another and back costs at least, and what it costs
 * elsewhere. Each is a bench_subject's run(). */
#ifndef PARLEY_BENCH_FLOORS_H
#define PARLEY_BENCH_FLOORS_H

#include "bench.h"

#define FLOOR_MESSAGE_BYTES 64 /* of protobuf, on the wire */

/* One cache line, written by two processes in turns. */
int floor_cache_line(struct bench_run *run);
/* Reading the clock, which is in every sample of every subject. */
int floor_clock(struct bench_run *run);
/* The two as subjects, for every benchmark that has them beside its own. */
#define FLOOR_CACHE_LINE                                                                           \
    {                                                                                              \
        .name = "cache-line", .about = "cache line, there and back", .sample_count = 100000,       \
        .run = floor_cache_line                                                                    \
    }
#define FLOOR_CLOCK                                                                                \
    {                                                                                              \
        .name = "clock", .about = "one look at the clock (in every row)", .sample_count = 100000,  \
        .run = floor_clock                                                                         \
    }
/* A record of call header and message through the channel's ring, and one back. */
int floor_ring(struct bench_run *run);
/* The same with many records on their way: load.in_flight, or what the ring holds. */
int floor_ring_flow(struct bench_run *run);
/* protobuf-c: pack and unpack one message. */
int floor_protobuf(struct bench_run *run);
/* A word that two processes wake each other by (futex), made before the fork. NULL: no memory. */
struct floor_word;
struct floor_word *floor_word_new(void);
void floor_word_serve(struct floor_word *word); /* for ever */
bool floor_word_is_called(const struct floor_word *word);
/* As peer_time() wants it; @i from 0 on, one after the other. */
int floor_word_call(struct bench_run *run, void *word, uint32_t i);
/* A copy of load.bytes. */
int floor_memcpy(struct bench_run *run);
/* libnng: REQ and REP over ipc://, synchronous, the message's bytes untouched. */
int floor_nng(struct bench_run *run);

#endif
