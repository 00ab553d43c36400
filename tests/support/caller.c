#include "support/test.h"

#include "support/caller.h"

#include <errno.h>

#include "rpc/remote.h"
#include "support/echoes.h"

static bool has_channels(void *argument)
{
    const struct caller *caller = ((void **)argument)[0];
    return parley_client_channel_count(caller->client) >= *(size_t *)((void **)argument)[1];
}

void caller_connect(struct caller *caller, size_t instances)
{
    caller->endpoint = bus_endpoint(&caller->bus, "test");
    assert_int_equal(
        parley_client_new(caller->endpoint, &echo__v1__echo__interface, NULL, &caller->client),
        PARLEY_OK);
    void *argument[] = {caller, &instances};
    assert_true(bus_wait(caller->endpoint, has_channels, argument));
}

void caller_leave(struct caller *caller)
{
    caller->endpoint = parley_endpoint_free(caller->endpoint);
    caller->client = NULL;
}

static bool has_reached(void *argument)
{
    const size_t *const *numbers = argument;
    return *numbers[0] >= *numbers[1];
}

void caller_await(struct caller *caller, const size_t *number, size_t value)
{
    const size_t *numbers[] = {number, &value};
    if (!bus_wait(caller->endpoint, has_reached, numbers))
        fail_msg("%zu instead of %zu", *number, value);
}

void tally(const Echo__V1__Message *reply, void *data)
{
    struct tally *tally = data;
    const struct parley_call *call = parley_call_current();
    tally->ended++;
    tally->ok += call->status == PARLEY_OK;
    tally->last = reply ? reply->number : 0;
    tally->status = call->status;
    tally->executed = call->executed;
}

/* Whether its frame is with the broker, or it has ended: what a call is at once by shared memory.
 */
static bool is_on_its_way(const struct caller *caller, uint64_t id)
{
    const struct remote *remote = caller->endpoint->remote;
    if (!remote || !endpoint_call_find(caller->endpoint, id))
        return true;
    for (uint32_t i = 0; i < remote->ask_count; i++)
        if (remote->asks[i].kind == ASK_CALL && remote->asks[i].id == id)
            return true;
    return false;
}

uint64_t caller_start(struct caller *caller, unsigned method, const Echo__V1__Message *request,
                      const struct parley_call *call, struct tally *data)
{
    static const Echo__V1__Message empty = ECHO__V1__MESSAGE__INIT;
    uint64_t id =
        parley_client_start(caller->client, method, request ? &request->base : &empty.base, call,
                            (ProtobufCClosure)tally, data);
    for (int i = 0; i < 10000 && caller->client && !is_on_its_way(caller, id); i++)
        (void)parley_dispatch(caller->endpoint, 100000);
    return id;
}

/* ---- The service ---- */

struct served {
    Echo__V1__Echo_Service *implementation;
    struct parley_endpoint_options options;
};

static struct parley_endpoint *serving;

static int serve(struct bus *bus, void *argument)
{
    struct served *served = argument;
    served->options.broker = bus_broker(bus);
    served->options.name = "echo";
    served->options.connect_timeout_ns = 10000000000;
    if (parley_endpoint_new(&served->options, &serving) != PARLEY_OK)
        return 2;
    struct parley_service *service;
    if (parley_service_new(serving, &echo__v1__echo__interface, &served->implementation->base, NULL,
                           &service) != PARLEY_OK)
        return 3;
    return bus_serve(serving, service);
}

const struct parley_endpoint *caller_serving(void)
{
    return serving;
}

pid_t caller_fork(struct bus *bus, Echo__V1__Echo_Service *implementation,
                  const struct parley_endpoint_options *options)
{
    struct served served = {.implementation = implementation};
    if (options)
        served.options = *options;
    return bus_fork(bus, serve, &served);
}

int caller_reap(struct caller *caller, pid_t service)
{
    for (int i = 0; i < 5000 && !bus_has_ended(service); i++)
        (void)parley_dispatch(caller->endpoint, 2000000);
    return bus_reap(&caller->bus, service);
}

Echo__V1__Echo_Service caller_echo = ECHO_SERVICE(.echo = echo_returned);

/* ---- All of it ---- */

pid_t caller_begin(struct caller *caller, Echo__V1__Echo_Service *implementation)
{
    bus_start(&caller->bus);
    pid_t service = caller_fork(&caller->bus, implementation, NULL);
    caller_connect(caller, 1);
    return service;
}

void caller_end(struct caller *caller)
{
    caller_leave(caller);
    bus_stop(&caller->bus);
}
