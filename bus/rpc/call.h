/*
 * What the two halves of a call's life have in common: its beginning (call.c) and its end
 * (call_end.c).
 */
#ifndef PARLEY_RPC_CALL_H
#define PARLEY_RPC_CALL_H

#include "rpc/frames.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define COLD __attribute__((noinline, cold))

static inline const char *call_method_name(const struct call *call)
{
    return call->client->spec.methods[call->method].name;
}

static inline uint64_t call_now_ns(const struct call *call)
{
    return quick_clock_now_ns(&call->client->endpoint->clock);
}

/* ---- call.c ---- */

/* call_cell() where it is not known yet. */
struct stats_cell *call_cell_find(struct call *call) COLD;

/* Its statistics. */
static inline struct stats_cell *call_cell(struct call *call)
{
    const struct channel *channel = call->channel;
    if (channel && channel->cells && channel->cells[call->method])
        return channel->cells[call->method];
    return call_cell_find(call);
}

/* ---- call_end.c ---- */

/* What has become of one that has ended. */
void call_fill(struct parley_call *outcome, const struct call *call);
/* The same of one that never began, for parley_error_text(). @outcome: NULL is fine. Returns
 * @status. */
enum parley_status call_refused(struct parley_call *outcome, enum parley_status status);
/* Such a call still ends once, through its closure. */
void call_refuse_closure(enum parley_status status, ProtobufCClosure closure, void *closure_data);

#endif
