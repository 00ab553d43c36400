/*
 * Tracing: which calls are sampled, and the spans that their two sides write. trace.c says how it
 * hangs together.
 */
#ifndef PARLEY_RPC_TRACE_H
#define PARLEY_RPC_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/random.h"
#include "shm/shm.h"

#define TRACE_PARENT_TEXT_BYTES 55 /* "00-" 32 hex "-" 16 hex "-" 2 hex */

struct call;
struct error_text;
struct parley_context;
struct parley_endpoint;

/* One side's part of a sampled call. Ids are bytes in order, whatever the machine's. */
struct call_span {
    uint64_t trace_id[2];
    uint64_t span_id; /* our own. Up to here it is what travels, a frame_trace */
    uint64_t parent_id;
    uint32_t crossing_ns; /* reading, translating and unpacking what the other side has sent */
};
static_assert(offsetof(struct call_span, parent_id) == sizeof(struct frame_trace),
              "the same bytes");

/* An endpoint's ring of spans. */
struct spans {
    struct region region; /* base NULL: not made yet */
    struct spans_header *header;
    struct spans_slot *slots;
    uint64_t written;
    uint64_t from; /* written when the last broker was lost: it may have read those before */
    uint64_t ids[2]; /* streams that ids come from */
    bool failed;     /* it could not be made, and somebody was told */
    /* What the broker says of tracing, in its route page; 0 until there is one. */
    const _Atomic uint32_t *wanted;
};

void spans_init(struct spans *spans);
void spans_deinit(struct spans *spans);
/* There is a route page, another than before. */
void spans_routed(struct spans *spans, const struct region *route);
/* Makes the ring if there is none, and hands it over. False: it cannot be made: nothing is traced.
 */
bool spans_ready(struct parley_endpoint *endpoint);
/* The broker's link is there, perhaps again: hands a ring that there is over. */
void spans_hand_over(struct parley_endpoint *endpoint);

/* As crossing_ns holds it. */
static inline uint32_t span_ns(uint64_t ns)
{
    return ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

/* ROUTE_TRACE_*; 0: nothing is to be traced. */
static inline uint32_t spans_wanted(const struct spans *spans)
{
    /* relaxed: a call sooner or later makes no difference */
    return atomic_load_explicit(spans->wanted, memory_order_relaxed);
}

/* Whether the next call, which has no metadata and is made for no other, is sampled. @tracing: not
 * 0. */
static inline bool spans_sample(struct spans *spans, uint32_t tracing)
{
    return random_below(&spans->ids[1], ROUTE_BUCKETS) < (tracing & ROUTE_TRACE_RATE);
}

/* Decides whether a call that is beginning is sampled, and makes it a span. @tracing: not 0. Its
 * metadata are complete; @parent: that it is made for; NULL: none. */
void trace_call_begin(struct call *call, struct parley_endpoint *endpoint,
                      const struct parley_context *parent, uint32_t tracing);
/* Makes a call a span that is sampled, and has no metadata, and for which spans_ready(). */
void trace_plain_begin(struct call *call, struct spans *spans);
/* It has ended, and still has its channel if it had one. */
void trace_call_end(const struct call *call, const struct stats_cell *cell, uint64_t now,
                    unsigned status, unsigned executed);
/* @trace: the request's frame_trace, unaligned; it is read once. Return: 0, or -EBADMSG. */
int trace_context_begin(struct parley_context *context, struct parley_endpoint *endpoint,
                        const uint8_t *trace);
void trace_context_end(const struct parley_context *context, uint64_t now, unsigned status);

/* What a handler reads as its call's traceparent: its own span. */
const char *trace_context_text(struct parley_context *context, size_t *ret_bytes);
/* W3C's text. Return: 0, or -EINVAL: it counts as none. */
int trace_parse(const char *text, size_t bytes, uint64_t ret_trace_id[2], uint64_t *ret_parent_id,
                bool *ret_sampled);

#endif
