/*
 * NNG: REQ and REP over ipc://, tcp:// on the loopback, and inproc://.
 *
 * One after the other, both sides are synchronous and reuse the message that they received. Many at
 * once, as its manual has it: a context for each call in flight, with an asynchronous I/O of its
 * own, and callbacks that run in NNG's threads; the replier has fewer contexts, for it never waits
 * for anything. inproc:// joins two threads of one process, which is another thing than a bus
 * between processes; it is shown because it is NNG's best.
 *
 * libnng must not be used across a fork: each side calls it after its own.
 */
#include "peer.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>

#define REPLIER_CONTEXTS 128
#define URL_BYTES 256

static int fail(struct bench_run *run, int r)
{
    return error_set(run->error, -1, "NNG: %s", nng_strerror(r));
}

/* ---- Both sides ---- */

static int listen_at(nng_socket socket, struct peer_place *place)
{
    const char *scheme = place->data;
    char url[URL_BYTES];
    nng_listener listener;
    int port = 0;
    bool tcp = strcmp(scheme, "tcp") == 0;
    (void)snprintf(url, sizeof(url), "%s://%s", scheme, tcp ? "127.0.0.1:0" : place->path);
    int r = nng_listen(socket, url, &listener, 0);
    if (r == 0 && tcp)
        r = nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port);
    place->port = (uint16_t)port;
    return r;
}

static int dial(nng_socket *ret_socket, const struct peer_place *place)
{
    const char *scheme = place->data;
    char url[URL_BYTES];
    if (strcmp(scheme, "tcp") == 0)
        (void)snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", place->port);
    else
        (void)snprintf(url, sizeof(url), "%s://%s", scheme, place->path);
    int r = nng_req0_open(ret_socket);
    if (r == 0)
        r = nng_socket_set_ms(*ret_socket, NNG_OPT_RECVTIMEO, PEER_TIMEOUT_MS);
    if (r == 0)
        r = nng_socket_set_size(*ret_socket, NNG_OPT_RECVMAXSZ, 2 * PEER_BYTES_MAX);
    return r == 0 ? nng_dial(*ret_socket, url, NULL, 0) : r;
}

static int open_replier(nng_socket *ret_socket, struct peer_place *place)
{
    int r = nng_rep0_open(ret_socket);
    if (r == 0)
        r = nng_socket_set_size(*ret_socket, NNG_OPT_RECVMAXSZ, 2 * PEER_BYTES_MAX);
    return r == 0 ? listen_at(*ret_socket, place) : r;
}

/* ---- One after the other ---- */

static void reply_forever(nng_socket socket)
{
    nng_msg *message = NULL;
    while (nng_recvmsg(socket, &message, 0) == 0 && nng_sendmsg(socket, message, 0) == 0)
        continue;
}

static int serve(const struct bench_run *run, struct peer_place *place)
{
    nng_socket socket;
    (void)run;
    if (open_replier(&socket, place) != 0)
        return -1;
    peer_ready(place);
    reply_forever(socket);
    return -1;
}

struct requester {
    nng_socket socket;
    nng_msg *message;
};

static int call(struct bench_run *run, void *data, uint32_t i)
{
    struct requester *requester = data;
    peer_mark(nng_msg_body(requester->message), run->load.bytes, i);
    int r = nng_sendmsg(requester->socket, requester->message, 0);
    if (r == 0)
        r = nng_recvmsg(requester->socket, &requester->message, 0);
    if (r != 0)
        return fail(run, r);
    if (!peer_is_marked(nng_msg_body(requester->message), nng_msg_len(requester->message),
                        run->load.bytes, i))
        return error_set(run->error, -1, "NNG gave back another message");
    return 0;
}

static int ask(struct bench_run *run, struct peer_place *place)
{
    struct requester requester;
    int r = dial(&requester.socket, place);
    if (r == 0)
        r = nng_msg_alloc(&requester.message, run->load.bytes);
    return r == 0 ? peer_time(run, call, &requester) : fail(run, r);
}

/* ---- Many at once: the replier ---- */

/* One context: receives, sends the same message back, receives. */
struct reply_context {
    nng_ctx context;
    nng_aio *aio;
    bool sending;
};

static void step_reply(void *data)
{
    struct reply_context *reply = data;
    if (nng_aio_result(reply->aio) != 0)
        return; /* the other side is gone, and so are we, soon */
    reply->sending = !reply->sending;
    if (reply->sending)
        nng_ctx_send(reply->context, reply->aio); /* the message is in there */
    else
        nng_ctx_recv(reply->context, reply->aio);
}

static int serve_flow(const struct bench_run *run, struct peer_place *place)
{
    static struct reply_context replies[REPLIER_CONTEXTS];
    nng_socket socket;
    (void)run;
    int r = open_replier(&socket, place);
    for (size_t i = 0; r == 0 && i < REPLIER_CONTEXTS; i++) {
        r = nng_ctx_open(&replies[i].context, socket);
        if (r == 0)
            r = nng_aio_alloc(&replies[i].aio, step_reply, &replies[i]);
        if (r == 0)
            nng_ctx_recv(replies[i].context, replies[i].aio);
    }
    if (r != 0)
        return -1;
    peer_ready(place);
    for (;;)
        (void)pause(); /* until it is killed */
}

/* ---- Many at once: the requester ---- */

struct stream {
    pthread_mutex_t lock; /* of the flow and `failed`: callbacks run in several threads */
    struct flow flow;
    bool failed;
    sem_t done;
};

/* One call in flight. */
struct request_context {
    nng_ctx context;
    nng_aio *aio;
    bool sending;
    uint32_t number;
    struct stream *stream;
};

/* Begins the context's next call with @message, or ends it. */
static void start_request(struct request_context *request, nng_msg *message)
{
    struct stream *stream = request->stream;
    pthread_mutex_lock(&stream->lock);
    bool more = !stream->failed && flow_may_start(&stream->flow);
    if (more)
        request->number = flow_start(&stream->flow);
    bool over = stream->failed || flow_done(&stream->flow);
    pthread_mutex_unlock(&stream->lock);
    if (over)
        (void)sem_post(&stream->done);
    if (!more) {
        nng_msg_free(message);
        return;
    }
    peer_mark(nng_msg_body(message), nng_msg_len(message), request->number);
    request->sending = true;
    nng_aio_set_msg(request->aio, message);
    nng_ctx_send(request->context, request->aio);
}

static void end_request(struct request_context *request)
{
    struct stream *stream = request->stream;
    nng_msg *message = nng_aio_get_msg(request->aio);
    bool right = peer_is_marked(nng_msg_body(message), nng_msg_len(message),
                                stream->flow.run->load.bytes, request->number);
    pthread_mutex_lock(&stream->lock);
    if (!right || flow_end(&stream->flow, request->number) != 0)
        stream->failed = true;
    pthread_mutex_unlock(&stream->lock);
    start_request(request, message);
}

static void step_request(void *data)
{
    struct request_context *request = data;
    struct stream *stream = request->stream;
    if (nng_aio_result(request->aio) != 0) {
        pthread_mutex_lock(&stream->lock);
        stream->failed = true;
        pthread_mutex_unlock(&stream->lock);
        (void)sem_post(&stream->done);
        return;
    }
    if (!request->sending) {
        end_request(request);
        return;
    }
    request->sending = false;
    nng_ctx_recv(request->context, request->aio);
}

static int open_request(struct request_context *request, nng_socket socket, uint32_t bytes)
{
    nng_msg *message = NULL;
    int r = nng_ctx_open(&request->context, socket);
    if (r == 0)
        r = nng_aio_alloc(&request->aio, step_request, request);
    if (r == 0)
        r = nng_msg_alloc(&message, bytes);
    if (r == 0)
        start_request(request, message);
    return r;
}

static int ask_flow(struct bench_run *run, struct peer_place *place)
{
    static struct stream stream;
    nng_socket socket;
    struct request_context *requests = calloc(run->load.in_flight, sizeof(*requests));
    if (!requests)
        return error_set(run->error, -1, "no memory");
    flow_init(&stream.flow, run);
    (void)pthread_mutex_init(&stream.lock, NULL);
    (void)sem_init(&stream.done, 0, 0);
    int r = dial(&socket, place);
    for (uint32_t i = 0; r == 0 && i < run->load.in_flight; i++) {
        requests[i].stream = &stream;
        r = open_request(&requests[i], socket, run->load.bytes);
    }
    if (r != 0)
        return fail(run, r);
    while (sem_wait(&stream.done) != 0)
        continue;
    /* The contexts are the process's last: NNG's threads may still look at them. */
    return stream.failed ? error_set(run->error, -1, "NNG lost a call, or mixed two up") : 0;
}

/* ---- At a rate ---- */

/* A context for each call that may be on its way; those that are not wait in a list. */
struct paced {
    pthread_mutex_t lock; /* of all of it: callbacks run in several threads */
    struct pace pace;
    struct paced_context *idle;
    bool failed;
};

struct paced_context {
    nng_ctx context;
    nng_aio *aio;
    nng_msg *message; /* while it is idle */
    bool sending;
    uint32_t number;
    struct paced *paced;
    struct paced_context *next; /* of the idle ones */
};

static void step_paced(void *data)
{
    struct paced_context *context = data;
    struct paced *paced = context->paced;
    bool right = nng_aio_result(context->aio) == 0;
    if (right && context->sending) {
        context->sending = false;
        nng_ctx_recv(context->context, context->aio);
        return;
    }
    if (right) {
        context->message = nng_aio_get_msg(context->aio);
        right = peer_is_marked(nng_msg_body(context->message), nng_msg_len(context->message),
                               paced->pace.run->load.bytes, context->number);
    }
    pthread_mutex_lock(&paced->lock);
    if (!right || pace_end(&paced->pace, context->number) != 0)
        paced->failed = true;
    context->next = paced->idle;
    paced->idle = context;
    pthread_mutex_unlock(&paced->lock);
}

static int open_contexts(struct paced *paced, nng_socket socket, struct paced_context *contexts,
                         const struct bench_run *run)
{
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < run->load.in_flight; i++) {
        struct paced_context *context = &contexts[i];
        r = nng_ctx_open(&context->context, socket);
        if (r == 0)
            r = nng_aio_alloc(&context->aio, step_paced, context);
        if (r == 0)
            r = nng_msg_alloc(&context->message, run->load.bytes);
        context->paced = paced;
        context->next = paced->idle;
        paced->idle = context;
    }
    return r;
}

/* Return: a context whose call begins; NULL: none is due now. */
static struct paced_context *begin_paced(struct paced *paced)
{
    struct paced_context *context = NULL;
    pthread_mutex_lock(&paced->lock);
    if (paced->idle && pace_may_start(&paced->pace)) {
        context = paced->idle;
        paced->idle = context->next;
        context->number = pace_start(&paced->pace);
    }
    pthread_mutex_unlock(&paced->lock);
    return context;
}

static bool paced_goes_on(struct paced *paced)
{
    pthread_mutex_lock(&paced->lock);
    bool on = !paced->failed && pace_goes_on(&paced->pace);
    pthread_mutex_unlock(&paced->lock);
    return on;
}

static int drive_paced(struct paced *paced)
{
    while (paced_goes_on(paced)) {
        struct paced_context *context = begin_paced(paced);
        if (!context) {
            pace_wait(&paced->pace);
            continue;
        }
        peer_mark(nng_msg_body(context->message), nng_msg_len(context->message), context->number);
        context->sending = true;
        nng_aio_set_msg(context->aio, context->message);
        nng_ctx_send(context->context, context->aio);
    }
    /* Never unlocked: from now on nobody else may look at it. */
    pthread_mutex_lock(&paced->lock);
    pace_finish(&paced->pace);
    if (paced->failed)
        return error_set(paced->pace.run->error, -1, "NNG lost a call, or mixed two up");
    return 0;
}

static int ask_paced(struct bench_run *run, struct peer_place *place)
{
    static struct paced paced;
    nng_socket socket;
    struct paced_context *contexts = calloc(run->load.in_flight, sizeof(*contexts));
    if (!contexts)
        return error_set(run->error, -1, "no memory");
    (void)pthread_mutex_init(&paced.lock, NULL);
    int r = dial(&socket, place);
    if (r == 0)
        r = open_contexts(&paced, socket, contexts, run);
    if (r != 0)
        return fail(run, r);
    /* The contexts and the schedule are the process's last: NNG's threads may look at them. */
    return pace_init(&paced.pace, run) == 0 ? drive_paced(&paced) : -1;
}

/* ---- The peers ---- */

static int echo_ipc(struct bench_run *run)
{
    return peer_run(run, serve, ask, (void *)"ipc");
}

static int flow_ipc(struct bench_run *run)
{
    return peer_run(run, serve_flow, ask_flow, (void *)"ipc");
}

static int paced_ipc(struct bench_run *run)
{
    return peer_run(run, serve_flow, ask_paced, (void *)"ipc");
}

static int echo_tcp(struct bench_run *run)
{
    return peer_run(run, serve, ask, (void *)"tcp");
}

static void *reply_here(void *data)
{
    nng_socket *socket = data;
    reply_forever(*socket);
    return NULL;
}

static int echo_inproc(struct bench_run *run)
{
    static nng_socket socket; /* of a thread that ends with the process */
    struct peer_place place = {.path = "echo", .data = (void *)"inproc"};
    pthread_t thread;
    int r = open_replier(&socket, &place);
    if (r != 0)
        return fail(run, r);
    if (pthread_create(&thread, NULL, reply_here, &socket) != 0)
        return error_set(run->error, -1, "no thread");
    (void)pthread_detach(thread);
    return ask(run, &place);
}

const struct peer peer_nng_ipc = {
    .name = "nng-ipc",
    .about = "NNG, ipc://",
    .placements = PEER_ALL,
    .echo_count = 3000,
    .flow_count = 2600,
    .bytes_max = PEER_BYTES_MAX,
    .echo = echo_ipc,
    .asleep = echo_ipc,
    .flow = flow_ipc,
    .paced = paced_ipc,
    .paced_placement = BENCH_ANYWHERE,
};

const struct peer peer_nng_tcp = {
    .name = "nng-tcp",
    .about = "NNG, tcp://127.0.0.1",
    .placements = PEER_ALL,
    .echo_count = 2000,
    .bytes_max = 64,
    .echo = echo_tcp,
};

const struct peer peer_nng_inproc = {
    .name = "nng-inproc",
    .about = "NNG, inproc://, in one process",
    .placements = PEER_TOGETHER | PEER_ANYWHERE,
    .echo_count = 3000,
    .bytes_max = 64,
    .echo = echo_inproc,
};
