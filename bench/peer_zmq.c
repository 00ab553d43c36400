/*
 * ZeroMQ over ipc://: REQ and REP one after the other, as its guide begins; DEALER and ROUTER with
 * many in flight, as it goes on for whoever wants throughput. Both queues' high-water marks are
 * above what is in flight, so that nothing blocks or is dropped.
 */
#include "peer.h"

#include <errno.h>
#include <stdlib.h>

#include <zmq.h>

#define URL_BYTES (sizeof(((struct peer_place *)0)->path) + 8)

static int fail(struct bench_run *run)
{
    return error_set(run->error, -1, "ZeroMQ: %s", zmq_strerror(zmq_errno()));
}

static void *open_socket(const struct peer_place *place, int type, bool listen)
{
    char url[URL_BYTES];
    const int unlimited = 0, patience_ms = PEER_TIMEOUT_MS, linger_ms = 0;
    void *context = zmq_ctx_new();
    void *socket = context ? zmq_socket(context, type) : NULL;
    (void)snprintf(url, sizeof(url), "ipc://%s", place->path);
    if (!socket || zmq_setsockopt(socket, ZMQ_SNDHWM, &unlimited, sizeof(unlimited)) != 0 ||
        zmq_setsockopt(socket, ZMQ_RCVHWM, &unlimited, sizeof(unlimited)) != 0 ||
        zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof(linger_ms)) != 0 ||
        (!listen && zmq_setsockopt(socket, ZMQ_RCVTIMEO, &patience_ms, sizeof(patience_ms)) != 0) ||
        (listen ? zmq_bind(socket, url) : zmq_connect(socket, url)) != 0)
        return NULL;
    return socket; /* it and its context end with the process */
}

/* ---- One after the other ---- */

static int serve(const struct bench_run *run, struct peer_place *place)
{
    void *socket = open_socket(place, ZMQ_REP, true);
    zmq_msg_t message;
    (void)run;
    if (!socket || zmq_msg_init(&message) != 0)
        return -1;
    peer_ready(place);
    while (zmq_msg_recv(&message, socket, 0) >= 0 && zmq_msg_send(&message, socket, 0) >= 0)
        continue;
    return -1;
}

struct requester {
    void *socket;
    char *out, *in;
};

static int call(struct bench_run *run, void *data, uint32_t i)
{
    struct requester *requester = data;
    const size_t bytes = run->load.bytes;
    peer_mark(requester->out, bytes, i);
    if (zmq_send(requester->socket, requester->out, bytes, 0) < 0)
        return fail(run);
    int got = zmq_recv(requester->socket, requester->in, bytes, 0);
    if (got < 0)
        return fail(run);
    if (!peer_is_marked(requester->in, (size_t)got, bytes, i))
        return error_set(run->error, -1, "ZeroMQ gave back another message");
    return 0;
}

static int ask(struct bench_run *run, struct peer_place *place)
{
    struct requester requester = {open_socket(place, ZMQ_REQ, false), calloc(1, run->load.bytes),
                                  calloc(1, run->load.bytes)};
    if (!requester.socket || !requester.out || !requester.in)
        return fail(run);
    int r = peer_time(run, call, &requester);
    free(requester.out);
    free(requester.in);
    return r;
}

static int echo(struct bench_run *run)
{
    return peer_run(run, serve, ask, NULL);
}

/* ---- Many at once ---- */

/* A ROUTER's message is the sender's identity, then what was sent. */
static int serve_flow(const struct bench_run *run, struct peer_place *place)
{
    void *socket = open_socket(place, ZMQ_ROUTER, true);
    zmq_msg_t identity, message;
    (void)run;
    if (!socket || zmq_msg_init(&identity) != 0 || zmq_msg_init(&message) != 0)
        return -1;
    peer_ready(place);
    while (zmq_msg_recv(&identity, socket, 0) >= 0 && zmq_msg_recv(&message, socket, 0) >= 0 &&
           zmq_msg_send(&identity, socket, ZMQ_SNDMORE) >= 0 &&
           zmq_msg_send(&message, socket, 0) >= 0)
        continue;
    return -1;
}

/* Return: 1 if one was taken, 0 if none is there, -1 if something is wrong. */
static int receive(struct bench_run *run, void *socket, char *in, int flags, uint32_t *ret_number)
{
    const size_t bytes = run->load.bytes;
    int got = zmq_recv(socket, in, bytes, flags);
    if (got < 0 && zmq_errno() == EAGAIN && flags)
        return 0;
    if (got < 0)
        return fail(run);
    memcpy(ret_number, in, sizeof(*ret_number));
    if (!peer_is_marked(in, (size_t)got, bytes, *ret_number))
        return error_set(run->error, -1, "ZeroMQ gave back another message");
    return 1;
}

static int take_reply(struct flow *flow, void *socket, char *in, int flags)
{
    uint32_t number;
    int r = receive(flow->run, socket, in, flags, &number);
    return r == 1 && flow_end(flow, number) != 0 ? -1 : r;
}

static int ask_flow(struct bench_run *run, struct peer_place *place)
{
    void *socket = open_socket(place, ZMQ_DEALER, false);
    char *out = calloc(1, run->load.bytes), *in = calloc(1, run->load.bytes);
    struct flow flow;
    int r = socket && out && in ? 0 : fail(run);
    flow_init(&flow, run);
    while (r >= 0 && !flow_done(&flow)) {
        while (r >= 0 && flow_may_start(&flow)) {
            peer_mark(out, run->load.bytes, flow_start(&flow));
            r = zmq_send(socket, out, run->load.bytes, 0) < 0 ? fail(run) : 0;
        }
        int flags = 0; /* waits for the first */
        while (r >= 0 && (r = take_reply(&flow, socket, in, flags)) == 1 && !flow_done(&flow))
            flags = ZMQ_DONTWAIT;
    }
    free(out);
    free(in);
    return r < 0 ? -1 : 0;
}

static int flow(struct bench_run *run)
{
    return peer_run(run, serve_flow, ask_flow, NULL);
}

/* ---- At a rate ---- */

/* In turns: what is due, then what has come, as long as there is any. */
static int turn(struct pace *pace, void *socket, char *out, char *in)
{
    struct bench_run *run = pace->run;
    uint32_t number;
    int r = 0;
    while (r >= 0 && pace_may_start(pace)) {
        peer_mark(out, run->load.bytes, pace_start(pace));
        r = zmq_send(socket, out, run->load.bytes, 0) < 0 ? fail(run) : 0;
    }
    if (r >= 0)
        r = receive(run, socket, in, ZMQ_DONTWAIT, &number);
    if (r == 0)
        pace_wait(pace);
    return r == 1 && pace_end(pace, number) != 0 ? -1 : r;
}

static int ask_paced(struct bench_run *run, struct peer_place *place)
{
    void *socket = open_socket(place, ZMQ_DEALER, false);
    char *out = calloc(1, run->load.bytes), *in = calloc(1, run->load.bytes);
    struct pace pace = {0};
    int r = socket && out && in ? pace_init(&pace, run) : fail(run);
    while (r >= 0 && pace_goes_on(&pace))
        r = turn(&pace, socket, out, in);
    if (r >= 0)
        pace_finish(&pace);
    pace_deinit(&pace);
    free(out);
    free(in);
    return r < 0 ? -1 : 0;
}

static int paced(struct bench_run *run)
{
    return peer_run(run, serve_flow, ask_paced, NULL);
}

const struct peer peer_zmq = {
    .name = "zmq-ipc",
    .about = "ZeroMQ, ipc://",
    .placements = PEER_ALL,
    .echo_count = 3000,
    .flow_count = 10000,
    .bytes_max = PEER_BYTES_MAX,
    .echo = echo,
    .asleep = echo,
    .flow = flow,
    .paced = paced,
    .paced_placement = BENCH_ANYWHERE,
};
