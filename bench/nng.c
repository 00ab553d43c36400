/*
 * What does the bus cost a program that speaks NNG, and nothing else?
 *
 * A REQ socket of libnng asks a REP socket of libnng: bare NNG, which only sends the bytes back.
 * And it asks the bus: the same order as a frame in version 1, which the broker relays to a service
 * of libparley in version 2 and back, so each way it is checked and translated, and the service
 * unpacks and packs it. By both ways that the broker has to listen (PARLEY_REPLIER), over ipc and
 * tcp, one call after the other, many at once, and with 1 MiB of bytes, where versions are equal.
 *
 * Beside them a copy of 1 MiB is timed, in one process: what 1 MiB by the bus costs more than bare
 * is said in such copies.
 *
 * A third asks a bare REP without libnng, by epoll and by io_uring: whether a ring would be better
 * for the broker's stream.
 *
 * And libparley at the bus's URL calls (library), and serves as well (remote), with the same orders
 * and bytes: what a C program on another machine pays.
 *
 * A round measures each in PASSES slices, which take turns, and takes the median of them.
 *
 * libnng has threads of its own and three processes share what cores there are, so nobody is
 * pinned. libnng must not be used across a fork: each side calls it after its own.
 */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>

#include "control/bus_frame.h"
#include "echo.parley.h"
#include "messages.h"
#include "nng_library.h"
#include "order_v1.parley.h"
#include "sp_echo.h"

#define PASSES 5
#define SAMPLES 2000
#define FLOWS 1000 /* FLOW_TIMED calls each */
#define LARGES 60
#define LARGE_BYTES (1u << 20)
#define IN_FLIGHT 64
#define TRIES_NS (10 * NS_PER_S) /* until the service is there */
#define LATENCY_GOAL 1.25
#define RATE_GOAL 0.8

/* Bare NNG; relayed, by both ways that the broker has; bare again, but without libnng (sp_echo.h);
 * relayed, by the broker's stream, between programs with libparley: one, or both at its URL. */
enum way { BARE, BY_STREAM, BY_NNG, BY_EPOLL, BY_URING, LIBRARY, REMOTE, WAYS };
#define BROKERS (BY_NNG + 1) /* the first is none */
enum scheme { IPC, TCP, SCHEMES };
enum what { ONE, MANY, LARGE, WHATS };

static const char *const way_names[] = {"bare",  "stream",  "nng",   "epoll",
                                        "uring", "library", "remote"};
static const char *const way_texts[] = {
    "bare NNG",          "relayed, by stream", "relayed, by nng",           "bare, by epoll",
    "bare, by io_uring", "libparley calls",    "libparley calls and serves"};

/* Whose broker it is; BARE: none. */
static enum way broker_of(enum way way)
{
    return way == LIBRARY || way == REMOTE     ? BY_STREAM
           : way == BY_STREAM || way == BY_NNG ? way
                                               : BARE;
}

static bool is_relayed(enum way way)
{
    return broker_of(way) != BARE;
}

static const char *const scheme_names[] = {"ipc", "tcp"};

static const char *const what_texts[] = {"one at a time", "64 in flight", "1 MiB"};

#define CALLS (WHATS * SCHEMES * WAYS)
#define COPY CALLS /* a copy of 1 MiB, and no call */
#define SUBJECTS (CALLS + 1)

static size_t index_of(enum what what, enum scheme scheme, enum way way)
{
    return (size_t)((what * SCHEMES + scheme) * WAYS + way);
}

/* ---- Brokers ---- */

static pid_t brokers[BROKERS];
static char urls[BROKERS][SCHEMES][128];

/* Nobody serves version 1 here: the broker knows it from a folder. */
static bool write_schema(const char *folder)
{
    const struct parley_interface *interface = &order__v1__orders__interface;
    char path[2 * BENCH_PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s/order_v1.set", folder);
    FILE *file = fopen(path, "we");
    if (!file)
        return false;
    size_t n = fwrite(interface->descriptor_set, 1, interface->descriptor_set_bytes, file);
    return fclose(file) == 0 && n == interface->descriptor_set_bytes;
}

static void run_broker(const char *program, const char *folder, enum way way)
{
    char dir[BENCH_PATH_BYTES + 16], log[BENCH_PATH_BYTES + 40];
    char schemas[BENCH_PATH_BYTES + 40];
    (void)snprintf(dir, sizeof(dir), "%s/%s", folder, way_names[way]);
    (void)snprintf(log, sizeof(log), "%s/parleyd.log", dir);
    (void)snprintf(schemas, sizeof(schemas), "%s/schemas", dir);
    if (mkdir(dir, 0700) != 0 || mkdir(schemas, 0700) != 0 || !write_schema(schemas))
        _exit(126);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0 ||
        setenv("PARLEY_REPLIER", way_names[way], 1) != 0)
        _exit(126);
    (void)execl(program, program, "--dir", dir, "--bus", "tcp://127.0.0.1:0", "--schemas", schemas,
                (char *)NULL);
    _exit(127);
}

/* Where it listens, as it says itself. */
static bool read_urls(const char *folder, enum way way)
{
    char path[BENCH_PATH_BYTES + 40], text[4096] = "";
    (void)snprintf(path, sizeof(path), "%s/%s/parleyd.log", folder, way_names[way]);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t n = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    text[n] = '\0';
    const char *ipc = strstr(text, " bus=ipc://"), *tcp = strstr(text, " bus=tcp://");
    return ipc && tcp && sscanf(ipc, " bus=%127s", urls[way][IPC]) == 1 &&
           sscanf(tcp, " bus=%127s", urls[way][TCP]) == 1;
}

static int begin(const char *folder, struct error_text *error)
{
    const char *program = getenv("PARLEYD");
    pid_t parent = getpid();
    if (!program)
        program = BENCH_PARLEYD;
    for (enum way way = BY_STREAM; way < BROKERS; way++) {
        brokers[way] = fork();
        if (brokers[way] < 0)
            return error_set(error, -errno, "cannot start the broker: %s", strerror(errno));
        if (brokers[way] == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() == parent)
                run_broker(program, folder, way);
            _exit(1);
        }
        uint64_t until = clock_now_ns() + TRIES_NS;
        while (!read_urls(folder, way)) {
            if (clock_now_ns() > until)
                return error_set(error, -1, "the broker does not say where it listens");
            (void)usleep(10000);
        }
    }
    return 0;
}

static void end(void)
{
    for (enum way way = BY_STREAM; way < BROKERS; way++) {
        if (brokers[way] <= 0)
            continue;
        (void)kill(brokers[way], SIGKILL);
        while (waitpid(brokers[way], NULL, 0) < 0 && errno == EINTR)
            continue;
        brokers[way] = 0;
    }
}

/* ---- The service, and bare NNG's ---- */

struct place {
    enum what what;
    enum scheme scheme;
    enum way way;
    char socket[128]; /* of the broker, or its URL: where the service is */
    char url[128];
    int ready[2];
};

/* As its manual has it: contexts, each with an operation of its own. */
struct reply_context {
    nng_ctx context;
    nng_aio *aio;
    bool sending;
};

static void step_reply(void *data)
{
    struct reply_context *reply = data;
    if (nng_aio_result(reply->aio) != 0)
        return;
    reply->sending = !reply->sending;
    if (reply->sending)
        nng_ctx_send(reply->context, reply->aio);
    else
        nng_ctx_recv(reply->context, reply->aio);
}

static int serve_many(nng_socket socket, const struct place *place)
{
    static struct reply_context replies[2 * IN_FLIGHT];
    int r = 0;
    for (size_t i = 0; r == 0 && i < 2 * IN_FLIGHT; i++) {
        r = nng_ctx_open(&replies[i].context, socket);
        if (r == 0)
            r = nng_aio_alloc(&replies[i].aio, step_reply, &replies[i]);
        if (r == 0)
            nng_ctx_recv(replies[i].context, replies[i].aio);
    }
    if (r != 0 || write(place->ready[1], "r", 1) != 1)
        return -1;
    for (;;)
        (void)pause();
}

static int serve_bare(struct place *place)
{
    nng_socket socket;
    nng_msg *message = NULL;
    if (nng_rep0_open(&socket) != 0 || nng_listen(socket, place->url, NULL, 0) != 0)
        return -1;
    if (place->what == MANY)
        return serve_many(socket, place);
    if (write(place->ready[1], "r", 1) != 1)
        return -1;
    while (nng_recvmsg(socket, &message, 0) == 0 && nng_sendmsg(socket, message, 0) == 0)
        continue;
    return -1;
}

static int serve(const struct bench_run *run, void *userdata)
{
    struct place *place = userdata;
    (void)run;
    if (is_relayed(place->way))
        return nng_library_serve(place->socket, place->ready[1]);
    return place->way == BARE ? serve_bare(place)
                              : sp_echo(place->url, place->way == BY_URING, place->ready[1]);
}

/* ---- The asker ---- */

/* A request, as it is sent; bare NNG's is as long. */
struct request {
    uint8_t *data;
    size_t bytes, head_bytes;
};

static struct bus_text text(const char *text)
{
    return (struct bus_text){text, strlen(text)};
}

static int request_make(const struct place *place, struct request *ret)
{
    static uint8_t large[LARGE_BYTES + 16];
    struct packed order;
    struct bus_frame frame = {.header = {.kind = FRAME_REQUEST, .method = BUS_FRAME_METHOD_BY_NAME},
                              .interface = text(place->what == LARGE ? "bench" : "bench-orders"),
                              .version = text("1.0.0"),
                              .method = text("Echo")};
    const uint8_t *payload = order.data;
    if (place->what == LARGE) {
        Bench__V1__EchoMessage message = BENCH__V1__ECHO_MESSAGE__INIT;
        message.payload = (ProtobufCBinaryData){.len = LARGE_BYTES, .data = calloc(1, LARGE_BYTES)};
        if (!message.payload.data)
            return -1;
        frame.payload_bytes = bench__v1__echo_message__pack(&message, large);
        payload = large;
        free(message.payload.data);
    } else {
        order_v1(&order);
        frame.payload_bytes = order.bytes;
    }
    ret->head_bytes = bus_frame_head_bytes(&frame);
    ret->bytes = ret->head_bytes + frame.payload_bytes;
    ret->data = malloc(ret->bytes);
    if (!ret->data || bus_frame_write(&frame, ret->data, ret->head_bytes) != 0)
        return -1;
    memcpy(ret->data + ret->head_bytes, payload, frame.payload_bytes);
    return 0;
}

/* Each call has a number, which is also in the answer, at the same place. */
static void put_number(nng_msg *message, uint64_t number)
{
    memcpy((uint8_t *)nng_msg_body(message) + offsetof(struct frame_header, call_id), &number,
           sizeof(number));
}

static nng_msg *message_of(const struct request *request, uint64_t number)
{
    nng_msg *message;
    if (nng_msg_alloc(&message, request->bytes) != 0)
        abort();
    memcpy(nng_msg_body(message), request->data, request->bytes);
    put_number(message, number);
    return message;
}

/* The same order: it went through another version, and its fields may come in another order. */
static bool is_order(const uint8_t *data, size_t bytes, const uint8_t *wanted, size_t wanted_bytes)
{
    uint8_t again[MESSAGE_BYTES_MAX];
    Order__V1__Order *order = order__v1__order__unpack(NULL, bytes, data);
    bool is = order && order__v1__order__get_packed_size(order) == wanted_bytes &&
              order__v1__order__pack(order, again) == wanted_bytes &&
              memcmp(again, wanted, wanted_bytes) == 0;
    order__v1__order__free_unpacked(order, NULL);
    return is;
}

/* It brought the number back, a status that is good, and the same order or bytes. Of many at once
 * one in FLOW_TIMED of the orders is compared, for that takes as long as a call. */
static bool is_answer(const struct place *place, const struct request *request, nng_msg *message,
                      uint64_t number)
{
    const uint8_t *body = nng_msg_body(message);
    size_t bytes = nng_msg_len(message);
    size_t payload = request->bytes - request->head_bytes;
    struct frame_header header;
    if (bytes < sizeof(header))
        return false;
    memcpy(&header, body, sizeof(header));
    if (header.call_id != number)
        return false;
    if (is_relayed(place->way) && (header.kind != FRAME_RESPONSE || header.status != 0))
        return false;
    if (is_relayed(place->way) && place->what == MANY && number % FLOW_TIMED)
        return header.payload_bytes >= payload;
    if (is_relayed(place->way) && place->what != LARGE)
        return header.payload_bytes <= bytes &&
               is_order(body + bytes - header.payload_bytes, header.payload_bytes,
                        request->data + request->head_bytes, payload);
    return bytes >= payload &&
           memcmp(body + bytes - payload, request->data + request->head_bytes, payload) == 0;
}

static int ask_once(nng_socket socket, const struct request *request, uint64_t number,
                    nng_msg **ret_answer)
{
    nng_msg *message = message_of(request, number);
    int r = nng_sendmsg(socket, message, 0);
    if (r != 0) {
        nng_msg_free(message);
        return r;
    }
    return nng_recvmsg(socket, ret_answer, 0);
}

static int connect_to(struct bench_run *run, struct place *place, const struct request *request,
                      nng_socket *ret_socket)
{
    char byte;
    if (read(place->ready[0], &byte, 1) != 1)
        return error_set(run->error, -1, "the other side is not there");
    int r = nng_req0_open(ret_socket);
    if (r == 0)
        r = nng_socket_set_ms(*ret_socket, NNG_OPT_RECVTIMEO, PEER_TIMEOUT_MS);
    if (r == 0)
        r = nng_socket_set_size(*ret_socket, NNG_OPT_RECVMAXSZ, 4 * LARGE_BYTES);
    if (r == 0)
        r = nng_dial(*ret_socket, place->url, NULL, 0);
    uint64_t until = clock_now_ns() + TRIES_NS;
    bool good = false;
    while (r == 0 && !good) {
        nng_msg *answer;
        r = ask_once(*ret_socket, request, 1, &answer);
        if (r != 0)
            break;
        good = is_answer(place, request, answer, 1);
        if (!good && clock_now_ns() > until) {
            size_t bytes = nng_msg_len(answer);
            const char *body = nng_msg_body(answer);
            r = error_set(run->error, -1, "%s: %.*s", place->url,
                          (int)(bytes > 32 ? bytes - 32 : 0), body + 32);
        }
        nng_msg_free(answer);
        if (!good)
            (void)usleep(20000);
    }
    if (r > 0)
        return error_set(run->error, -1, "%s: %s", place->url, nng_strerror(r));
    return r;
}

static int ask_in_turn(struct bench_run *run, struct place *place, const struct request *request,
                       nng_socket socket)
{
    for (uint32_t i = 0; i < run->sample_count; i++) {
        nng_msg *answer;
        uint64_t from = clock_now_ns();
        int r = ask_once(socket, request, i, &answer);
        uint64_t to = clock_now_ns();
        if (r != 0)
            return error_set(run->error, -1, "%s: %s", place->url, nng_strerror(r));
        bool good = is_answer(place, request, answer, i);
        nng_msg_free(answer);
        if (!good)
            return error_set(run->error, -1, "%s: another answer came", place->url);
        run->samples_ns[i] = bench_sample(from, to);
    }
    return 0;
}

/* ---- Many at once ---- */

struct many {
    pthread_mutex_t lock; /* of the flow and `failed`: callbacks run in several threads */
    struct flow flow;
    bool failed;
    sem_t done;
    const struct place *place;
    const struct request *request;
};

struct request_context {
    nng_ctx context;
    nng_aio *aio;
    bool sending;
    uint32_t number;
    struct many *many;
};

static void start_request(struct request_context *context)
{
    struct many *many = context->many;
    pthread_mutex_lock(&many->lock);
    bool more = !many->failed && flow_may_start(&many->flow);
    if (more)
        context->number = flow_start(&many->flow);
    bool over = many->failed || flow_done(&many->flow);
    pthread_mutex_unlock(&many->lock);
    if (over)
        (void)sem_post(&many->done);
    if (!more)
        return;
    context->sending = true;
    nng_aio_set_msg(context->aio, message_of(many->request, context->number));
    nng_ctx_send(context->context, context->aio);
}

static void step_request(void *data)
{
    struct request_context *context = data;
    struct many *many = context->many;
    bool failed = nng_aio_result(context->aio) != 0;
    if (!failed && context->sending) {
        context->sending = false;
        nng_ctx_recv(context->context, context->aio);
        return;
    }
    if (!failed) {
        nng_msg *answer = nng_aio_get_msg(context->aio);
        failed = !is_answer(many->place, many->request, answer, context->number);
        nng_msg_free(answer);
    }
    pthread_mutex_lock(&many->lock);
    if (failed || flow_end(&many->flow, context->number) != 0)
        many->failed = true;
    pthread_mutex_unlock(&many->lock);
    start_request(context);
}

static int ask_many(struct bench_run *run, struct place *place, const struct request *request,
                    nng_socket socket)
{
    static struct many many = {.lock = PTHREAD_MUTEX_INITIALIZER};
    static struct request_context contexts[IN_FLIGHT];
    many.place = place;
    many.request = request;
    flow_init(&many.flow, run);
    if (sem_init(&many.done, 0, 0) != 0)
        return error_set(run->error, -1, "no semaphore");
    int r = 0;
    for (size_t i = 0; r == 0 && i < run->load.in_flight; i++) {
        contexts[i].many = &many;
        r = nng_ctx_open(&contexts[i].context, socket);
        if (r == 0)
            r = nng_aio_alloc(&contexts[i].aio, step_request, &contexts[i]);
        if (r == 0)
            nng_aio_set_timeout(contexts[i].aio, PEER_TIMEOUT_MS);
    }
    if (r != 0)
        return error_set(run->error, -1, "%s: %s", place->url, nng_strerror(r));
    for (size_t i = 0; i < run->load.in_flight; i++)
        start_request(&contexts[i]);
    while (sem_wait(&many.done) != 0)
        continue;
    return many.failed ? error_set(run->error, -1, "%s: a call failed", place->url) : 0;
}

/* ---- A copy ---- */

/* Memory of which no core's own cache holds much, as what comes from another process. */
static int copy_in_turn(struct bench_run *run)
{
    enum { BUFFERS = 16 };
    uint8_t *memory = malloc((size_t)2 * BUFFERS * LARGE_BYTES);
    if (!memory)
        return error_set(run->error, -1, "no memory");
    memset(memory, 1, (size_t)2 * BUFFERS * LARGE_BYTES);
    for (uint32_t i = 0; i < run->sample_count; i++) {
        uint8_t *from = memory + (size_t)(i % BUFFERS) * LARGE_BYTES;
        uint8_t *to = from + (size_t)BUFFERS * LARGE_BYTES;
        uint64_t start = clock_now_ns();
        memcpy(to, from, LARGE_BYTES);
        __asm__ volatile("" : : "r"(to) : "memory"); /* nobody reads it */
        run->samples_ns[i] = bench_sample(start, clock_now_ns());
    }
    free(memory);
    return 0;
}

/* ---- Subjects ---- */

static int ask_by_nng(struct bench_run *run, struct place *place, const struct request *request)
{
    nng_socket socket;
    int r = connect_to(run, place, request, &socket);
    if (r != 0)
        return r;
    return place->what == MANY ? ask_many(run, place, request, socket)
                               : ask_in_turn(run, place, request, socket);
}

static int ask_by_library(struct bench_run *run, const struct place *place)
{
    char byte;
    if (read(place->ready[0], &byte, 1) != 1)
        return error_set(run->error, -1, "the service is not there");
    return nng_library_ask(run, place->url, place->what == LARGE ? LARGE_BYTES : 0);
}

static struct bench_subject subjects[SUBJECTS];

static int run_subject(struct bench_run *run)
{
    struct place place = {0};
    size_t i = 0;
    while (i < SUBJECTS && strcmp(subjects[i].name, run->name) != 0)
        i++;
    if (i == COPY)
        return copy_in_turn(run);
    place.way = (enum way)(i % WAYS);
    place.scheme = (enum scheme)(i / WAYS % SCHEMES);
    place.what = (enum what)(i / WAYS / SCHEMES);
    enum way broker = broker_of(place.way);
    if (broker != BARE)
        (void)snprintf(place.url, sizeof(place.url), "%s", urls[broker][place.scheme]);
    if (place.way == REMOTE)
        memcpy(place.socket, place.url, sizeof(place.socket));
    else if (broker != BARE)
        (void)snprintf(place.socket, sizeof(place.socket), "%s/%s/parleyd.sock", run->folder,
                       way_names[broker]);
    else if (place.scheme == IPC)
        (void)snprintf(place.url, sizeof(place.url), "ipc://%s/bare-%zu-%d.ipc", run->folder, i,
                       run->round);
    else
        (void)snprintf(place.url, sizeof(place.url), "tcp://127.0.0.1:%u",
                       20000 + (unsigned)(getpid() % 20000));
    struct request request;
    if (pipe(place.ready) != 0 || request_make(&place, &request) != 0)
        return error_set(run->error, -1, "no pipe, or no memory");
    pid_t pid = bench_peer_start(run, serve, &place);
    if (pid < 0)
        return error_set(run->error, -1, "fork failed");
    close(place.ready[1]);
    int r = place.way == LIBRARY || place.way == REMOTE ? ask_by_library(run, &place)
                                                        : ask_by_nng(run, &place, &request);
    bench_peer_stop(pid);
    free(request.data);
    return r;
}

static void make_subjects(void)
{
    static const char *const modes[] = {"", "/many", "/large"};
    static char names[CALLS][32], about[CALLS][64];
    static const uint32_t counts[] = {SAMPLES, FLOWS, LARGES};
    for (size_t i = 0; i < CALLS; i++) {
        size_t way = i % WAYS, scheme = i / WAYS % SCHEMES, what = i / WAYS / SCHEMES;
        (void)snprintf(names[i], sizeof(names[i]), "%s-%s%s", way_names[way], scheme_names[scheme],
                       modes[what]);
        (void)snprintf(about[i], sizeof(about[i]), "%s, %s%s", way_texts[way], scheme_names[scheme],
                       what == MANY    ? ", 64 in flight"
                       : what == LARGE ? ", 1 MiB"
                                       : "");
        subjects[i] = (struct bench_subject){.name = names[i],
                                             .about = about[i],
                                             .sample_count = counts[what],
                                             .passes = PASSES,
                                             .placement = BENCH_ANYWHERE,
                                             .load = {.in_flight = what == MANY ? IN_FLIGHT : 0},
                                             .run = run_subject};
    }
    subjects[COPY] = (struct bench_subject){.name = "copy",
                                            .about = "a copy of 1 MiB, in one process",
                                            .sample_count = 10 * LARGES,
                                            .passes = PASSES,
                                            .placement = BENCH_ANYWHERE,
                                            .run = run_subject};
}

/* ---- What it says ---- */

static double times(const struct bench_result *results, enum what what, enum scheme scheme,
                    enum way way)
{
    const struct bench_result *result = &results[index_of(what, scheme, way)];
    const struct bench_result *bare = &results[index_of(what, scheme, BARE)];
    if (!result->measured || !bare->measured)
        return 0;
    return what == MANY ? bench_rate_ratio(result, bare) : bench_ratio(result, bare);
}

static void print(const struct bench_result *results)
{
    printf("%-34s %10s %10s %10s %12s  times bare NNG\n", "", "p50", "p90", "p99", "calls/s");
    for (size_t i = 0; i < SUBJECTS; i++) {
        const struct bench_result *result = &results[i];
        if (!result->measured)
            continue;
        size_t way = i % WAYS, scheme = i / WAYS % SCHEMES, what = i / WAYS / SCHEMES;
        printf("%-34s %7.1f us %7.1f us %7.1f us", subjects[i].about, result->ns[BENCH_P50] / 1e3,
               result->ns[BENCH_P90] / 1e3, result->ns[BENCH_P99] / 1e3);
        if (i != COPY)
            printf(" %12.0f  %.2f", what == MANY ? result->per_s : 1e9 / result->ns[BENCH_P50],
                   times(results, (enum what)what, (enum scheme)scheme, (enum way)way));
        printf("\n");
    }
}

static void write_rows(const struct bench_result *results, FILE *file)
{
    static const char *const modes[] = {"sync", "pipelined", "large", "copy"};
    const char *separator = "\n";
    fprintf(file, "\"rows\":[");
    for (size_t i = 0; i < SUBJECTS; i++) {
        const struct bench_result *result = &results[i];
        size_t what = i / WAYS / SCHEMES;
        if (!result->measured)
            continue;
        fprintf(file,
                "%s{\"bench\":\"nng\",\"peer\":\"%s\",\"mode\":\"%s\",\"clients\":1,"
                "\"in_flight\":%u,\"p50_ns\":%.1f,\"p90_ns\":%.1f,\"p99_ns\":%.1f,"
                "\"p999_ns\":%.1f,\"calls_per_s\":%.0f}",
                separator, subjects[i].name, modes[what], what == MANY ? IN_FLIGHT : 1,
                result->ns[BENCH_P50], result->ns[BENCH_P90], result->ns[BENCH_P99],
                result->ns[BENCH_P999], what == MANY ? result->per_s : 1e9 / result->ns[BENCH_P50]);
        separator = ",\n";
    }
    fprintf(file, "\n]");
}

/* A call's body goes there and back, so there are two. */
static void say_copies(const struct bench_result *results, enum scheme scheme)
{
    const struct bench_result *copy = &results[COPY];
    const struct bench_result *bare = &results[index_of(LARGE, scheme, BARE)];
    const struct bench_result *relayed = &results[index_of(LARGE, scheme, BY_STREAM)];
    if (!copy->measured || !bare->measured || !relayed->measured)
        return;
    double more_ns = relayed->ns[BENCH_P50] - bare->ns[BENCH_P50];
    printf(
        "%s: a body of 1 MiB, there and back, takes %.1f us more than bare: %.2f copies of it for "
        "each way.\n",
        scheme_names[scheme], more_ns / 1e3, more_ns / copy->ns[BENCH_P50] / 2);
}

static int conclude(const struct bench_result *results)
{
    int missed = 0;
    printf("\n");
    for (enum scheme scheme = IPC; scheme < SCHEMES; scheme++) {
        double latency = times(results, ONE, scheme, BY_STREAM);
        double rate = times(results, MANY, scheme, BY_STREAM);
        if (latency > 0)
            printf("%s: a relayed call takes %.2f times a bare one; the goal, %.2f, is %s.\n",
                   scheme_names[scheme], latency, LATENCY_GOAL,
                   latency <= LATENCY_GOAL ? "met" : "MISSED");
        if (rate > 0)
            printf("%s: of many at once, %.2f times as many a second; the goal, %.1f, is %s.\n",
                   scheme_names[scheme], rate, RATE_GOAL, rate >= RATE_GOAL ? "met" : "MISSED");
        say_copies(results, scheme);
        for (enum what what = ONE; what < WHATS; what++) {
            const struct bench_result *ring = &results[index_of(what, scheme, BY_URING)];
            const struct bench_result *set = &results[index_of(what, scheme, BY_EPOLL)];
            if (ring->measured && set->measured)
                printf("%s, %s: a bare REP on io_uring is %.2f times as fast as by epoll.\n",
                       scheme_names[scheme], what_texts[what],
                       what == MANY ? bench_rate_ratio(ring, set) : bench_ratio(set, ring));
        }
        missed |= latency > LATENCY_GOAL || (rate > 0 && rate < RATE_GOAL);
    }
    return missed;
}

int main(int argc, char **argv)
{
    static const struct bench bench = {
        .name = "nng",
        .question = "What does a call through the bus cost a program that speaks only NNG?",
        .subjects = subjects,
        .subject_count = SUBJECTS,
        .round_count = 3,
        .tries = 1,
        .partial = true,
        .begin = begin,
        .end = end,
        .print = print,
        .write_rows = write_rows,
        .conclude = conclude,
    };
    make_subjects();
    return bench_main(argc, argv, &bench);
}
