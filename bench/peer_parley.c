/*
 * Parley among its peers, as any program would use it: generated stubs, a service made with
 * protobuf-c's INIT macro, a broker that has nothing to do.
 *
 * Twice: with sides that never sleep, as whoever has a core to spare would have it, and with the
 * default options. Asleep, or at a rate, there is only the second. A flow of many calls starts them
 * with protobuf-c's asynchronous function, while there is room for more in flight, and then
 * dispatches what has come back.
 */
#include "peer.h"

#include <stdlib.h>

#include "echo.parley.h"
#include "floors.h"
#include "parley_call.h"

static void answer_echo(Bench__V1__Echo_Service *service, const Bench__V1__EchoMessage *request,
                        Bench__V1__EchoMessage_Closure closure, void *closure_data)
{
    (void)service;
    closure(request, closure_data);
}

static enum parley_status serve_echo(struct parley_endpoint *endpoint,
                                     struct parley_service **ret_service)
{
    static Bench__V1__Echo_Service service = BENCH__V1__ECHO__INIT(answer_);
    return bench__v1__echo__serve(endpoint, &service, NULL, ret_service);
}

/* ---- One after the other ---- */

struct caller {
    struct parley_client *client;
    Bench__V1__EchoMessage request;
};

static int caller_init(struct caller *caller, struct bench_run *run, struct parley_client *client)
{
    const uint32_t bytes = peer_payload_bytes(run);
    caller->client = client;
    bench__v1__echo_message__init(&caller->request);
    caller->request.payload = (ProtobufCBinaryData){.len = bytes, .data = calloc(1, bytes)};
    return caller->request.payload.data ? 0 : error_set(run->error, -1, "no memory");
}

static bool is_echo(const struct caller *caller, const Bench__V1__EchoMessage *reply, uint32_t i)
{
    return peer_is_marked(reply->payload.data, reply->payload.len, caller->request.payload.len, i);
}

static int call(struct bench_run *run, void *data, uint32_t i)
{
    struct caller *caller = data;
    Bench__V1__EchoMessage *reply = NULL;
    peer_mark(caller->request.payload.data, caller->request.payload.len, i);
    if (bench__v1__echo__echo_call(caller->client, &caller->request, &reply, NULL) != PARLEY_OK)
        return error_set(run->error, -1, "call %u: %s", i, parley_error_text());
    bool same = is_echo(caller, reply, i);
    parley_reply_free(reply);
    return same ? 0 : error_set(run->error, -1, "call %u: another message came back", i);
}

static int drive_echo(struct bench_run *run, struct parley_endpoint *endpoint,
                      struct parley_client *client)
{
    struct caller caller;
    (void)endpoint;
    int r = caller_init(&caller, run, client);
    if (r == 0)
        r = peer_time(run, call, &caller);
    free(caller.request.payload.data);
    return r;
}

/* ---- Many at once ---- */

struct stream {
    struct caller caller;
    struct flow flow;
    bool failed;
};

static struct stream stream;

/* @userdata: the call's number; there is one stream in a process. */
static void take_reply(const Bench__V1__EchoMessage *reply, void *userdata)
{
    uint32_t number = (uint32_t)(uintptr_t)userdata;
    if (!reply || !is_echo(&stream.caller, reply, number))
        stream.failed = true;
    else if (flow_end(&stream.flow, number) != 0)
        stream.failed = true;
}

static int drive_flow(struct bench_run *run, struct parley_endpoint *endpoint,
                      struct parley_client *client)
{
    ProtobufCService *service = parley_client_service(client);
    Bench__V1__EchoMessage *request = &stream.caller.request;
    int r = caller_init(&stream.caller, run, client);
    flow_init(&stream.flow, run);
    while (r == 0 && !stream.failed && !flow_done(&stream.flow)) {
        while (flow_may_start(&stream.flow)) {
            uint32_t number = flow_start(&stream.flow);
            peer_mark(request->payload.data, request->payload.len, number);
            bench__v1__echo__echo(service, request, take_reply, (void *)(uintptr_t)number);
        }
        if (parley_dispatch(endpoint, PARLEY_FOREVER) != PARLEY_OK)
            stream.failed = true;
    }
    if (stream.failed && !run->error->text[0])
        r = error_set(run->error, -1, "a call failed, or another message came back");
    return stream.failed ? -1 : r;
}

/* ---- A futex between such processes ---- */

/*
 * What waking up costs a program depends on the program too: the more memory it has touched, the
 * longer the kernel (or a hypervisor) takes to get back to it after a pause. So a floor for a call
 * is a futex between processes that have joined the bus, called and answered, as a call's have.
 */
#define CALLS_BEFORE 100
#define LOOK_NS (10 * NS_PER_MS)

static struct floor_word *word;

static enum parley_status serve_within(struct parley_endpoint *endpoint,
                                       struct parley_service **ret_service)
{
    enum parley_status status = serve_echo(endpoint, ret_service);
    while (status == PARLEY_OK && !floor_word_is_called(word))
        status = parley_dispatch(endpoint, LOOK_NS);
    if (status != PARLEY_OK)
        return status;
    *ret_service = parley_service_free(*ret_service); /* who else calls such a service goes on */
    floor_word_serve(word);
    return PARLEY_OK;
}

static int call_within(struct bench_run *run, void *data, uint32_t i)
{
    return floor_word_call(run, data, i + 1);
}

static int drive_within(struct bench_run *run, struct parley_endpoint *endpoint,
                        struct parley_client *client)
{
    struct caller caller;
    (void)endpoint;
    int r = caller_init(&caller, run, client);
    for (uint32_t i = 0; r == 0 && i < CALLS_BEFORE; i++)
        r = call(run, &caller, i);
    if (r == 0)
        r = floor_word_call(run, word, 0); /* from now on the service has nothing else to do */
    return r == 0 ? peer_time(run, call_within, word) : r;
}

/* ---- At a rate ---- */

struct paced {
    struct caller caller;
    struct pace pace;
    bool failed;
};

static struct paced paced;

static void take_paced(const Bench__V1__EchoMessage *reply, void *userdata)
{
    uint32_t number = (uint32_t)(uintptr_t)userdata;
    if (!reply || !is_echo(&paced.caller, reply, number))
        paced.failed = true;
    else if (pace_end(&paced.pace, number) != 0)
        paced.failed = true;
}

static int drive_paced(struct bench_run *run, struct parley_endpoint *endpoint,
                       struct parley_client *client)
{
    ProtobufCService *service = parley_client_service(client);
    Bench__V1__EchoMessage *request = &paced.caller.request;
    int r = caller_init(&paced.caller, run, client);
    if (r == 0)
        r = pace_init(&paced.pace, run);
    while (r == 0 && !paced.failed && pace_goes_on(&paced.pace)) {
        while (pace_may_start(&paced.pace)) {
            uint32_t number = pace_start(&paced.pace);
            peer_mark(request->payload.data, request->payload.len, number);
            bench__v1__echo__echo(service, request, take_paced, (void *)(uintptr_t)number);
        }
        if (parley_dispatch(endpoint, pace_left_ns(&paced.pace)) != PARLEY_OK)
            paced.failed = true;
    }
    if (r == 0 && !paced.failed)
        pace_finish(&paced.pace);
    else if (!run->error->text[0])
        (void)error_set(run->error, -1, "a call failed, or another message came back");
    pace_deinit(&paced.pace);
    return paced.failed ? -1 : r;
}

/* ---- The peers ---- */

static const struct parley_call_kind echo_kind = {
    .interface = &bench__v1__echo__interface,
    .serve = serve_echo,
    .drive = drive_echo,
};

static const struct parley_call_kind flow_kind = {
    .interface = &bench__v1__echo__interface,
    .serve = serve_echo,
    .drive = drive_flow,
};

static const struct parley_call_kind paced_kind = {
    .interface = &bench__v1__echo__interface,
    .serve = serve_echo,
    .drive = drive_paced,
    .client_never_sleeps = true,
};

static const struct parley_call_kind within_kind = {
    .interface = &bench__v1__echo__interface,
    .serve = serve_within,
    .drive = drive_within,
};

static int echo_within(struct bench_run *run)
{
    word = floor_word_new();
    if (!word)
        return error_set(run->error, -1, "mmap failed");
    return parley_call_run(run, &within_kind, 0);
}

static int echo_spinning(struct bench_run *run)
{
    return parley_call_run(run, &echo_kind, PARLEY_FOREVER);
}

static int echo_default(struct bench_run *run)
{
    return parley_call_run(run, &echo_kind, 0);
}

static int flow_spinning(struct bench_run *run)
{
    return parley_call_run(run, &flow_kind, PARLEY_FOREVER);
}

static int flow_default(struct bench_run *run)
{
    return parley_call_run(run, &flow_kind, 0);
}

static int paced_default(struct bench_run *run)
{
    return parley_call_run(run, &paced_kind, 0);
}

const struct peer peer_parley = {
    .name = "parley",
    .about = "Parley, never sleeping",
    .placements = PEER_APART, /* two that spin need two cores */
    .echo_count = 50000,
    .flow_count = 15000,
    .bytes_max = PEER_BYTES_MAX,
    .echo = echo_spinning,
    .flow = flow_spinning,
};

const struct peer peer_parley_default = {
    .name = "parley-default",
    .about = "Parley, default options",
    .placements = PEER_ALL,
    .echo_count = 20000,
    .flow_count = 10000,
    .bytes_max = 64,
    .echo = echo_default,
    .asleep = echo_default,
    .flow = flow_default,
    .paced = paced_default,
    .paced_placement = BENCH_APART,
};

const struct peer peer_futex_within = {
    .name = "futex-within",
    .about = "a futex, in Parley's processes",
    .placements = PEER_ALL,
    .bytes_max = 64,
    .asleep = echo_within,
};
