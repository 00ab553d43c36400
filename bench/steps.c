/*
 * How many instructions does a call take, and in which part? For callgrind, which counts the same
 * every time, where a clock on a shared machine does not.
 *
 * Client and service are two endpoints of one thread, which gives them turns: so many calls are
 * started, the service takes them and answers, the client takes the replies; nobody spins and
 * nobody sleeps. Each of the three is a function of its own, whose inclusive count, divided by the
 * number of calls, is what the program prints how to get. What two cores do to each other's caches
 * is not in it: that is ./run bench pipeline.
 *
 * With REFERRED bytes it is another call: one after the other, which wait, of one endpoint that is
 * client and service at once, so that such a wait serves; so many bytes are in buffers there and
 * back, or, if they are 64 or fewer, in the message. All of it is steps_counted().
 *
 * With BYTES so many are in the message, there and back, and copied; whatever REFERRED says, but
 * for whether calls wait.
 *
 * Asleep, the two are threads with the default options, and a call is made each millisecond, so
 * that each side sleeps until the other wakes it: steps_asleep_call() is what the client does for
 * it, and steps_asleep_serve() the service, waits and all. With --dump-before=steps_asleep_call,
 * steps_pause and answer_echo, callgrind writes each call of each side down for itself: the median
 * of them is without those in which the descriptors were looked at, for time passes faster there.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "echo.parley.h"
#include "parley_call.h"
#include "tracing.h"

#define PAYLOAD_BYTES 62 /* 64 on the wire; if BYTES does not say otherwise */
#define PAYLOAD_BYTES_MAX (1 << 20)
#define PLAIN_BYTES_MAX 64
#define WARM_CALLS 1000

static struct parley_endpoint *client_endpoint, *service_endpoint;
static struct parley_client *client;
static uint32_t in_flight, started, ended;
static uint8_t payload[PAYLOAD_BYTES_MAX];
static size_t payload_bytes = PAYLOAD_BYTES;
static bool copies;                  /* all bytes, however many */
static ProtobufCBinaryData referred; /* no bytes: calls do not wait */

__attribute__((noinline)) static void answer_echo(Bench__V1__Echo_Service *service,
                                                  const Bench__V1__EchoMessage *request,
                                                  Bench__V1__EchoMessage_Closure closure,
                                                  void *closure_data)
{
    (void)service;
    if (copies || request->payload.len <= PLAIN_BYTES_MAX) {
        closure(request, closure_data);
        return;
    }
    Bench__V1__EchoMessage reply = BENCH__V1__ECHO_MESSAGE__INIT;
    void *data;
    if (parley_context_buffer(parley_context_current(), request->payload.len, &data) == PARLEY_OK)
        reply.payload = (ProtobufCBinaryData){.len = request->payload.len, .data = data};
    closure(&reply, closure_data);
}

static void take_reply(const Bench__V1__EchoMessage *reply, void *userdata)
{
    (void)userdata;
    if (reply && reply->payload.len == payload_bytes)
        ended++;
}

/* As short as a wait can be that may find nothing. */
static void turn(struct parley_endpoint *endpoint)
{
    if (parley_dispatch(endpoint, 1) != PARLEY_OK)
        exit(1);
}

/* ---- What is counted ---- */

__attribute__((noinline)) static void steps_start(void)
{
    Bench__V1__EchoMessage request = BENCH__V1__ECHO_MESSAGE__INIT;
    request.payload = (ProtobufCBinaryData){.len = payload_bytes, .data = payload};
    while (started - ended < in_flight) {
        bench__v1__echo__echo(parley_client_service(client), &request, take_reply, NULL);
        started++;
    }
}

__attribute__((noinline)) static void steps_serve(void)
{
    turn(service_endpoint);
}

__attribute__((noinline)) static void steps_take(void)
{
    turn(client_endpoint);
}

static struct step {
    const char *name;
    void (*run)(void);
    uint64_t ns;
} steps[] = {{"start", steps_start, 0}, {"serve", steps_serve, 0}, {"take", steps_take, 0}};

__attribute__((noinline)) static void steps_until(uint32_t calls)
{
    uint64_t last = clock_now_ns();
    for (uint32_t end = ended + calls; (int32_t)(end - ended) > 0;) {
        for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
            steps[i].run();
            uint64_t now = clock_now_ns();
            steps[i].ns += now - last;
            last = now;
        }
    }
}

/* One call that waits. */
static void call_referred(ProtobufCBinaryData bytes)
{
    Bench__V1__EchoMessage request = BENCH__V1__ECHO_MESSAGE__INIT;
    Bench__V1__EchoMessage *reply = NULL;
    request.payload = bytes;
    if (bench__v1__echo__echo_call(client, &request, &reply, NULL) != PARLEY_OK ||
        reply->payload.len != bytes.len) {
        fprintf(stderr, "%s\n", parley_error_text());
        exit(1);
    }
    parley_reply_free(reply);
}

__attribute__((noinline)) static void steps_counted(uint32_t calls)
{
    if (!referred.data)
        steps_until(calls);
    for (uint32_t i = 0; referred.data && i < calls; i++)
        call_referred(referred);
    __asm__ volatile("");
}

/* ---- Asleep ---- */

__attribute__((noinline)) static void steps_asleep_call(void)
{
    Bench__V1__EchoMessage request = BENCH__V1__ECHO_MESSAGE__INIT;
    ProtobufCMessage *reply = NULL;
    request.payload = (ProtobufCBinaryData){.len = PAYLOAD_BYTES, .data = payload};
    if (parley_client_call(client, 0, &request.base, &reply, NULL) == PARLEY_OK)
        ended++;
    parley_reply_free(reply);
    __asm__ volatile("");
}

static void *steps_asleep_serve(void *unused)
{
    (void)unused;
    (void)parley_run(service_endpoint);
    return NULL;
}

__attribute__((noinline)) static void steps_pause(void)
{
    const struct timespec pause = {.tv_nsec = NS_PER_MS};
    (void)nanosleep(&pause, NULL);
}

static void steps_asleep(uint32_t calls)
{
    for (uint32_t i = 0; i < calls; i++) {
        steps_asleep_call();
        steps_pause();
    }
}

static int run_asleep(uint32_t calls)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, steps_asleep_serve, NULL) != 0)
        return -1;
    steps_asleep(calls);
    parley_stop(service_endpoint);
    (void)pthread_join(thread, NULL);
    printf("%u calls, a millisecond apart\n", ended);
    return ended == calls ? 0 : -1;
}

/* ---- The program ---- */

static _Atomic bool attached;

/* The client waits for an instance when it is made; so somebody has to turn the service. */
static void *serve_until_attached(void *unused)
{
    (void)unused;
    while (!attached) {
        if (parley_dispatch(service_endpoint, NS_PER_MS) != PARLEY_OK)
            break;
    }
    return NULL;
}

/* @alone: one endpoint is both. */
static int join(const char *folder, bool alone, uint64_t spin_ns_max)
{
    static Bench__V1__Echo_Service implementation = BENCH__V1__ECHO__INIT(answer_);
    struct parley_service *service;
    const struct parley_client_options options = {0};
    pthread_t thread;
    if (alone) {
        if (parley_call_join(folder, "steps", spin_ns_max, &service_endpoint) != PARLEY_OK ||
            bench__v1__echo__serve(service_endpoint, &implementation, NULL, &service) != PARLEY_OK)
            return -1;
        return parley_client_new(service_endpoint, &bench__v1__echo__interface, &options, &client);
    }
    if (parley_call_join(folder, "steps-service", spin_ns_max, &service_endpoint) != PARLEY_OK ||
        parley_call_join(folder, "steps-client", spin_ns_max, &client_endpoint) != PARLEY_OK ||
        bench__v1__echo__serve(service_endpoint, &implementation, NULL, &service) != PARLEY_OK ||
        pthread_create(&thread, NULL, serve_until_attached, NULL) != 0)
        return -1;
    enum parley_status status =
        parley_client_new(client_endpoint, &bench__v1__echo__interface, &options, &client);
    attached = true;
    (void)pthread_join(thread, NULL);
    return status == PARLEY_OK ? 0 : -1;
}

static int run_referred(size_t bytes, uint32_t calls)
{
    struct parley_buffer *buffer = NULL;
    referred = (ProtobufCBinaryData){.len = bytes, .data = payload};
    if (bytes > PLAIN_BYTES_MAX && !copies) {
        if (parley_buffer_new(client, bytes, &buffer) != PARLEY_OK)
            return -1;
        referred.data = parley_buffer_data(buffer);
    }
    for (uint32_t i = 0; i < WARM_CALLS; i++)
        call_referred(referred);
    steps_counted(calls);
    printf("%u calls of %zu bytes\n", calls, bytes);
    (void)parley_buffer_free(buffer);
    return 0;
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/parley-steps-XXXXXX", command[64];
    const bool asleep = argc > 1 && strcmp(argv[1], "asleep") == 0;
    uint32_t depth = argc > 1 && !asleep ? (uint32_t)strtoul(argv[1], NULL, 10) : 1;
    uint32_t calls = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 100000;
    int traced = argc > 3 ? (int)strtol(argv[3], NULL, 10) : -1;
    size_t referred_bytes = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
    if (argc > 5) {
        payload_bytes = strtoul(argv[5], NULL, 10);
        copies = true;
    }
    struct tracing tracing;
    struct error_text error = {0};
    if (depth == 0 || depth > 60000 || calls == 0 || traced > 100000 || argc > 6 ||
        referred_bytes > PARLEY_BUFFER_BYTES_MAX || payload_bytes > sizeof(payload)) {
        fprintf(
            stderr,
            "usage: %s [IN-FLIGHT|asleep [CALLS [TRACED-OF-100000 [REFERRED [BYTES]]]]]\n\nunder"
            " valgrind --tool=callgrind --toggle-collect=steps_counted, or, asleep,"
            " --separate-threads=yes '--toggle-collect=steps_asleep_*'\n",
            argv[0]);
        return 2;
    }
    /* valgrind knows no io_uring, and its ring is one thread's. */
    (void)setenv("PARLEY_WAIT", "epoll", 0);
    if (!mkdtemp(folder) || parley_call_begin(folder, &error) != 0) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    int r = join(folder, referred_bytes > 0, asleep ? 0 : PARLEY_FOREVER);
    if (r == 0 && traced >= 0)
        r = tracing_set(folder, traced, &tracing, &error);
    if (r == 0 && asleep) {
        r = run_asleep(calls);
    } else if (r == 0 && referred_bytes > 0) {
        r = run_referred(copies ? payload_bytes : referred_bytes, calls);
    } else if (r == 0) {
        in_flight = depth;
        steps_until(2 * depth + WARM_CALLS);
        for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
            steps[i].ns = 0;
        steps_counted(calls);
        printf("%u calls, %u in flight, nanoseconds a call:", calls, depth);
        for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
            printf(" %s %.1f", steps[i].name, (double)steps[i].ns / calls);
        printf("\n");
    } else {
        fprintf(stderr, "%s\n", parley_error_text());
    }
    parley_endpoint_free(client_endpoint);
    parley_endpoint_free(service_endpoint);
    parley_call_end();
    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command) == 0 && r == 0 ? 0 : 1;
}
