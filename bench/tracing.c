#include "tracing.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "control/nng.h"
#include "parley/control.pb-c.h"

int tracing_set(const char *folder, int rate, struct tracing *ret_tracing, struct error_text *error)
{
    char url[256];
    uint8_t data[128], *answer = NULL;
    size_t bytes;
    struct nng_asker *asker = NULL;
    Parley__TraceRequest trace = PARLEY__TRACE_REQUEST__INIT;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    trace.has_rate_per_100000 = rate >= 0;
    trace.rate_per_100000 = rate >= 0 ? (uint32_t)rate : 0;
    trace.has_off = trace.off = rate < 0;
    trace.has_limit = true;
    trace.limit = 1;
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_TRACE;
    request.trace = &trace;
    (void)snprintf(url, sizeof(url), "ipc://%s/control.ipc", folder);
    int r = nng_asker_new(url, 10 * NS_PER_S, &asker, error);
    if (r == 0)
        r = nng_asker_ask(asker, data, parley__control_request__pack(&request, data), &answer,
                          &bytes, error);
    nng_asker_free(asker);
    if (r < 0)
        return r;
    Parley__ControlReply *reply = parley__control_reply__unpack(NULL, bytes, answer);
    free(answer);
    if (!reply || reply->status != 0 || !reply->trace)
        r = error_set(error, -EPROTO, "the broker did not take the rate");
    else
        *ret_tracing = (struct tracing){.read = reply->trace->read, .lost = reply->trace->lost};
    parley__control_reply__free_unpacked(reply, NULL);
    return r;
}
