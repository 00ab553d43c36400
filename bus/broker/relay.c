/*
 * Calls for askers on the control API.
 */
#include "broker/broker.h"

#include <stdlib.h>

#include "base/clock.h"

struct relay {
    uint64_t unused;
};

enum parley_status relay_call(struct broker *broker, const Parley__CallRequest *call,
                              struct nng_request *request, struct error_text *error)
{
    (void)broker;
    (void)request;
    error_set(error, 0, "this broker cannot call %s/%s for you yet: call from a program",
              call->interface ? call->interface : "", call->method ? call->method : "");
    return PARLEY_UNIMPLEMENTED;
}

struct relay *relay_free(struct relay *relay)
{
    free(relay);
    return NULL;
}

uint64_t relay_next_deadline_ns(const struct relay *relay)
{
    (void)relay;
    return CLOCK_NEVER;
}

void relay_turn(struct broker *broker)
{
    (void)broker;
}
