/*
 * Calls by libparley at a URL, and services: generated stubs, and public headers only. Each call
 * has a number in it, and its reply is compared with it after it was timed; of many at once one in
 * FLOW_TIMED is compared byte by byte, for that takes as long as the call does.
 */
#include "nng_library.h"

#include <stdlib.h>
#include <unistd.h>

#include <parley/parley.h>

#include "echo.parley.h"
#include "messages.h"
#include "order_v1.parley.h"
#include "order_v2.parley.h"

#define WAIT_NS (10 * NS_PER_S)

static int fail(struct bench_run *run)
{
    return error_set(run->error, -1, "%s: %s", run->name, parley_error_text());
}

/* ---- Orders ---- */

static Order__V1__Order *order;

static bool is_order(const Order__V1__Order *reply, uint32_t number, bool whole)
{
    uint8_t sent[MESSAGE_BYTES_MAX], came[MESSAGE_BYTES_MAX];
    if (!reply || reply->created_s != number)
        return false;
    if (!whole)
        return true;
    order->created_s = number;
    size_t bytes = order__v1__order__pack(order, sent);
    return order__v1__order__get_packed_size(reply) == bytes &&
           order__v1__order__pack(reply, came) == bytes && memcmp(sent, came, bytes) == 0;
}

static int ask_orders(struct bench_run *run, struct parley_client *client)
{
    for (uint32_t i = 0; i < run->sample_count; i++) {
        Order__V1__Order *reply = NULL;
        order->created_s = i + 1;
        uint64_t from = clock_now_ns();
        if (order__v1__orders__echo_call(client, order, &reply, NULL) != PARLEY_OK)
            return fail(run);
        run->samples_ns[i] = bench_sample(from, clock_now_ns());
        bool good = is_order(reply, i + 1, true);
        parley_reply_free(reply);
        if (!good)
            return error_set(run->error, -1, "%s: another answer came", run->name);
    }
    return 0;
}

static struct {
    struct flow flow;
    bool failed;
} many;

/* @userdata: the call's number, and 1. */
static void take_order(const Order__V1__Order *reply, void *userdata)
{
    uint32_t number = (uint32_t)(uintptr_t)userdata;
    if (!is_order(reply, number, number % FLOW_TIMED == 1) || flow_end(&many.flow, number - 1) != 0)
        many.failed = true;
}

static int ask_many(struct bench_run *run, struct parley_endpoint *endpoint,
                    struct parley_client *client)
{
    ProtobufCService *service = parley_client_service(client);
    flow_init(&many.flow, run);
    while (!many.failed && !flow_done(&many.flow)) {
        while (flow_may_start(&many.flow)) {
            uint32_t number = flow_start(&many.flow) + 1;
            order->created_s = number;
            order__v1__orders__echo(service, order, take_order, (void *)(uintptr_t)number);
        }
        if (parley_dispatch(endpoint, PARLEY_FOREVER) != PARLEY_OK)
            return fail(run);
    }
    return many.failed ? error_set(run->error, -1, "%s: a call failed", run->name) : 0;
}

/* ---- Large ---- */

static int ask_large(struct bench_run *run, struct parley_client *client, size_t bytes)
{
    Bench__V1__EchoMessage request = BENCH__V1__ECHO_MESSAGE__INIT, *reply;
    request.payload = (ProtobufCBinaryData){.len = bytes, .data = calloc(1, bytes)};
    int r = request.payload.data ? 0 : error_set(run->error, -1, "no memory");
    for (uint32_t i = 0; r == 0 && i < run->sample_count; i++) {
        peer_mark(request.payload.data, bytes, i);
        uint64_t from = clock_now_ns();
        if (bench__v1__echo__echo_call(client, &request, &reply, NULL) != PARLEY_OK) {
            r = fail(run);
            break;
        }
        run->samples_ns[i] = bench_sample(from, clock_now_ns());
        if (reply->payload.len != bytes || memcmp(reply->payload.data, request.payload.data, bytes))
            r = error_set(run->error, -1, "%s: another answer came", run->name);
        parley_reply_free(reply);
    }
    free(request.payload.data);
    return r;
}

/* ---- Both sides ---- */

int nng_library_ask(struct bench_run *run, const char *url, size_t large_bytes)
{
    const struct parley_endpoint_options options = {
        .broker = url, .name = "bench-client", .connect_timeout_ns = WAIT_NS};
    const struct parley_client_options client_options = {.wait_ns = WAIT_NS};
    struct parley_endpoint *endpoint = NULL;
    struct parley_client *client = NULL;
    struct packed packed;
    order_v1(&packed);
    order = order__v1__order__unpack(NULL, packed.bytes, packed.data);
    if (!order || parley_endpoint_new(&options, &endpoint) != PARLEY_OK ||
        parley_client_new(endpoint,
                          large_bytes ? &bench__v1__echo__interface : &order__v1__orders__interface,
                          &client_options, &client) != PARLEY_OK)
        return fail(run);
    int r = large_bytes           ? ask_large(run, client, large_bytes)
            : run->load.in_flight ? ask_many(run, endpoint, client)
                                  : ask_orders(run, client);
    parley_client_free(client);
    parley_endpoint_free(endpoint);
    order__v1__order__free_unpacked(order, NULL);
    return r;
}

static void answer_orders_echo(Order__V2__Orders_Service *service, const Order__V2__Order *request,
                               Order__V2__Order_Closure closure, void *closure_data)
{
    (void)service;
    closure(request, closure_data);
}

static void answer_bytes_echo(Bench__V1__Echo_Service *service,
                              const Bench__V1__EchoMessage *request,
                              Bench__V1__EchoMessage_Closure closure, void *closure_data)
{
    (void)service;
    closure(request, closure_data);
}

int nng_library_serve(const char *broker, int ready)
{
    static Order__V2__Orders_Service orders = ORDER__V2__ORDERS__INIT(answer_orders_);
    static Bench__V1__Echo_Service bytes = BENCH__V1__ECHO__INIT(answer_bytes_);
    const struct parley_endpoint_options options = {
        .broker = broker, .name = "bench-service", .connect_timeout_ns = WAIT_NS};
    struct parley_endpoint *endpoint = NULL;
    struct parley_service *service = NULL;
    enum parley_status status = parley_endpoint_new(&options, &endpoint);
    if (status == PARLEY_OK)
        status = order__v2__orders__serve(endpoint, &orders, NULL, &service);
    if (status == PARLEY_OK)
        status = bench__v1__echo__serve(endpoint, &bytes, NULL, &service);
    if (status == PARLEY_OK && write(ready, "r", 1) == 1)
        status = parley_run(endpoint);
    fprintf(stderr, "service: %s\n", parley_error_text());
    return -1;
}
