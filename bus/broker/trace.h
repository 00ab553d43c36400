/*
 * Tracing in the broker: rings of spans that endpoints write, read on a timer; the newest spans
 * kept; and, if somebody wants them elsewhere, sent on as OTLP. trace.c and otlp.c say how.
 */
#ifndef PARLEY_BROKER_TRACE_H
#define PARLEY_BROKER_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "parley/control.pb-c.h"
#include "parley/link.pb-c.h"
#include "shm/shm.h"

#define TRACE_KEPT_MAX 4096  /* spans; about half a megabyte, once tracing is switched on */
#define TRACE_REPLY_MAX 1024 /* spans in one answer */
#define TRACE_POLL_NS_MIN (UINT64_C(10) * 1000000)
#define TRACE_POLL_NS_MAX (UINT64_C(1000) * 1000000) /* when nothing comes */

struct broker;
struct endpoint;
struct otlp;
struct traced; /* an endpoint's ring */

/* What the spans of one endpoint have in common that come from one statistics cell. */
struct span_subject {
    uint32_t users;
    char interface[STATS_NAME_BYTES];
    char method[STATS_NAME_BYTES];
    char asked[STATS_VERSION_BYTES];
    char served[STATS_VERSION_BYTES];
    bool service; /* the service's side */
    char endpoint[64];
    uint64_t endpoint_id;
    uint32_t pid;
};

/* A span, bounded: whatever its endpoint wrote. */
struct kept_span {
    uint8_t trace_id[16], span_id[8], parent_id[8]; /* parent: 0s: none */
    uint64_t start_unix_ns, duration_ns;
    uint64_t instance_id; /* client's: of the peer; 0: none */
    uint32_t peer_pid;    /* 0: not known */
    uint32_t crossing_ns;
    uint8_t status, class, executed, attempts;
    bool one_way;
    struct span_subject *subject;
};

struct tracer {
    bool on;
    uint32_t rate; /* per 100,000; of calls that nothing else decides for */
    uint64_t poll_at_ns, poll_every_ns;
    uint32_t rings;         /* endpoints that have one */
    struct kept_span *kept; /* TRACE_KEPT_MAX; NULL: tracing was never on */
    uint64_t count;         /* spans kept since then: number n is in place n % TRACE_KEPT_MAX */
    uint64_t lost;          /* overwritten before they were read */
    uint64_t bad;           /* that no endpoint of ours writes */
    struct otlp *otlp;      /* NULL: they go nowhere */
};

/* Switches tracing on with a rate, or off. Return: 0, -ENOMEM. */
int trace_set(struct broker *broker, bool on, uint32_t rate);
/* Sends spans on from now on, to an URL. Return: 0, -EINVAL or so with a sentence. */
int trace_export(struct broker *broker, const char *url, struct error_text *error);
void trace_deinit(struct broker *broker);

/* A message of the link. @fd: borrowed. */
void trace_on_spans(struct endpoint *endpoint, const Parley__Spans *message, int fd);
/* It leaves: its last spans are read. */
void trace_endpoint_gone(struct endpoint *endpoint);

uint64_t trace_next_ns(const struct broker *broker); /* CLOCK_NEVER: nothing is due */
void trace_turn(struct broker *broker, uint64_t now_ns);

/* Reads what is in all rings now. */
void trace_read(struct broker *broker);

/* control API */
int control_trace(struct broker *broker, const Parley__TraceRequest *request,
                  Parley__ControlReply *reply, uint8_t **ret_data, size_t *ret_bytes);

/* ---- otlp.c ---- */

struct otlp_counts {
    uint64_t exported, lost,
        failed; /* spans; spans; posts that came to nothing, tried again or not */
    uint64_t waiting;
    char error[128]; /* of the last post that failed; "": none */
};
/* Exports spans from number @from of @tracer's on. */
int otlp_new(struct broker *broker, const char *url, struct otlp **ret_otlp,
             struct error_text *error);
struct otlp *otlp_free(struct otlp *otlp);
uint64_t otlp_next_ns(const struct otlp *otlp);
void otlp_turn(struct otlp *otlp, uint64_t now_ns);
void otlp_counts(const struct otlp *otlp, struct otlp_counts *ret_counts);
/* Span number @number is about to give its place to another. */
void otlp_forget(struct otlp *otlp, uint64_t number);
/* One ExportTraceServiceRequest. @ret_data: free(). Return: 0, -ENOMEM. */
int otlp_encode(const struct kept_span *const *spans, size_t count, uint8_t **ret_data,
                size_t *ret_bytes);

#endif
