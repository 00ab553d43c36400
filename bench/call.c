/*
 * What does translation add to a call, awake?
 *
 * An order of about 300 bytes goes to a service and comes back, through everything that a call goes
 * through. Where client and service have different versions it is translated twice, once on each
 * side; where they have the same, each side makes a checked copy in its place. The goal is that
 * this costs no more than a tenth.
 */
#include <stdio.h>
#include <stdlib.h>

#include <parley/parley.h>

#include "bench.h"
#include "floors.h"
#include "messages.h"
#include "order_v1.parley.h"
#include "order_v2.parley.h"
#include "parley_call.h"

#define GOAL 1.1

enum { CACHE_LINE, CLOCK, SAME_V2, SAME_V1, UP, DOWN };

/* ---- Services ---- */

static void answer_v1_echo(Order__V1__Orders_Service *service, const Order__V1__Order *request,
                           Order__V1__Order_Closure closure, void *closure_data)
{
    (void)service;
    closure(request, closure_data);
}

static enum parley_status serve_v1(struct parley_endpoint *endpoint,
                                   struct parley_service **ret_service)
{
    static Order__V1__Orders_Service service = ORDER__V1__ORDERS__INIT(answer_v1_);
    return order__v1__orders__serve(endpoint, &service, NULL, ret_service);
}

static void answer_v2_echo(Order__V2__Orders_Service *service, const Order__V2__Order *request,
                           Order__V2__Order_Closure closure, void *closure_data)
{
    (void)service;
    closure(request, closure_data);
}

static enum parley_status serve_v2(struct parley_endpoint *endpoint,
                                   struct parley_service **ret_service)
{
    static Order__V2__Orders_Service service = ORDER__V2__ORDERS__INIT(answer_v2_);
    return order__v2__orders__serve(endpoint, &service, NULL, ret_service);
}

/* ---- Clients ---- */

static int call_v1(struct parley_client *client, uint32_t i)
{
    static Order__V1__Order *request;
    if (!request) {
        struct packed packed;
        order_v1(&packed);
        request = order__v1__order__unpack(NULL, packed.bytes, packed.data);
        if (!request)
            abort();
    }
    Order__V1__Order *reply = NULL;
    request->created_s = UINT64_C(1795378800) + i;
    if (order__v1__orders__echo_call(client, request, &reply, NULL) != PARLEY_OK)
        return -1;
    bool same = reply->created_s == request->created_s && reply->n_item == request->n_item;
    parley_reply_free(reply);
    return same ? 0 : 1;
}

static int call_v2(struct parley_client *client, uint32_t i)
{
    static Order__V2__Order *request;
    if (!request) {
        struct packed packed;
        order_v2(&packed);
        request = order__v2__order__unpack(NULL, packed.bytes, packed.data);
        if (!request)
            abort();
    }
    Order__V2__Order *reply = NULL;
    request->created_ms = (UINT64_C(1795378800) + i) * 1000;
    if (order__v2__orders__echo_call(client, request, &reply, NULL) != PARLEY_OK)
        return -1;
    bool same = reply->created_ms == request->created_ms && reply->n_line == request->n_line;
    parley_reply_free(reply);
    return same ? 0 : 1;
}

static const struct parley_interface *const v1 = &order__v1__orders__interface;
static const struct parley_interface *const v2 = &order__v2__orders__interface;

static int run_same_v2(struct bench_run *run)
{
    const struct parley_call_kind kind = {v2, serve_v2, call_v2};
    return parley_call_run(run, &kind, PARLEY_FOREVER);
}

static int run_same_v1(struct bench_run *run)
{
    const struct parley_call_kind kind = {v1, serve_v1, call_v1};
    return parley_call_run(run, &kind, PARLEY_FOREVER);
}

static int run_up(struct bench_run *run)
{
    const struct parley_call_kind kind = {v1, serve_v2, call_v1};
    return parley_call_run(run, &kind, PARLEY_FOREVER);
}

static int run_down(struct bench_run *run)
{
    const struct parley_call_kind kind = {v2, serve_v1, call_v2};
    return parley_call_run(run, &kind, PARLEY_FOREVER);
}

/* ---- The question ---- */

static const struct bench_subject subjects[] = {
    [CACHE_LINE] = FLOOR_CACHE_LINE,
    [CLOCK] = FLOOR_CLOCK,
    [SAME_V2] = {.name = "v2-v2",
                 .about = "client v2, service v2: no translation",
                 .sample_count = 30000,
                 .run = run_same_v2},
    [SAME_V1] = {.name = "v1-v1",
                 .about = "client v1, service v1: no translation",
                 .sample_count = 30000,
                 .run = run_same_v1},
    [UP] = {.name = "v1-v2",
            .about = "client v1, service v2: translated",
            .sample_count = 30000,
            .run = run_up},
    [DOWN] = {.name = "v2-v1",
              .about = "client v2, service v1: translated",
              .sample_count = 30000,
              .run = run_down},
};

static int conclude(const struct bench_result *results)
{
    double up = bench_ratio(&results[UP], &results[SAME_V2]);
    double down = bench_ratio(&results[DOWN], &results[SAME_V1]);
    printf("A call that is translated takes %.2f x one that is not, at p50 and within a round"
           " (%+.0f ns for two translations instead of two checked copies), the other way round"
           " %.2f x. The goal, %.1f x, is %s.\n",
           up, results[UP].ns[BENCH_P50] - results[SAME_V2].ns[BENCH_P50], down, GOAL,
           up <= GOAL ? "met" : "MISSED");
    return up <= GOAL ? 0 : 1;
}

static const struct bench bench = {
    .name = "call",
    .question = "What does translation add to a call with 300 bytes each way, awake?",
    .subjects = subjects,
    .subject_count = sizeof(subjects) / sizeof(subjects[0]),
    .begin = parley_call_begin,
    .end = parley_call_end,
    .conclude = conclude,
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, &bench);
}
