#include "support/tracing.h"

#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/nng.h"
#include "wire/wire.h"

static Parley__ControlReply *ask(const struct bus *bus, Parley__TraceRequest *trace)
{
    char url[128];
    uint8_t data[256], *answer;
    size_t answer_bytes;
    struct nng_asker *asker;
    struct error_text error = {""};
    ProtobufCMessage *message;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_TRACE;
    request.trace = trace;
    size_t bytes = parley__control_request__pack(&request, data);
    (void)snprintf(url, sizeof(url), "ipc://%s/control.ipc", bus->dir);
    if (nng_asker_new(url, 10 * NS_PER_S, &asker, &error) < 0 ||
        nng_asker_ask(asker, data, bytes, &answer, &answer_bytes, &error) < 0 ||
        wire_unpack(&parley__control_reply__descriptor, answer, answer_bytes, NULL, &message,
                    &error) < 0)
        fail_msg("%s", error.text);
    nng_asker_free(asker);
    free(answer);
    Parley__ControlReply *reply = (Parley__ControlReply *)message;
    assert_int_equal(reply->status, PARLEY_OK);
    assert_int_equal(reply->body_case, PARLEY__CONTROL_REPLY__BODY_TRACE);
    return reply;
}

void tracing_set(const struct bus *bus, int rate)
{
    Parley__TraceRequest trace = PARLEY__TRACE_REQUEST__INIT;
    trace.has_rate_per_100000 = rate >= 0;
    trace.rate_per_100000 = rate >= 0 ? (uint32_t)rate : 0;
    trace.has_off = trace.off = rate < 0;
    wire_free(ask(bus, &trace));
}

Parley__ControlReply *tracing_read(const struct bus *bus, uint64_t since)
{
    Parley__TraceRequest trace = PARLEY__TRACE_REQUEST__INIT;
    trace.has_since = true;
    trace.since = since;
    return ask(bus, &trace);
}

Parley__ControlReply *tracing_await(const struct bus *bus, uint64_t since, size_t count)
{
    uint64_t until = clock_now_ns() + 10 * NS_PER_S;
    for (;;) {
        Parley__ControlReply *reply = tracing_read(bus, since);
        if (reply->trace->n_span >= count)
            return reply;
        if (clock_now_ns() > until)
            fail_msg("%zu spans instead of %zu", reply->trace->n_span, count);
        wire_free(reply);
        (void)usleep(1000);
    }
}
