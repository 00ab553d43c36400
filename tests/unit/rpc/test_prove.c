/*
 * A service at an NNG URL: it is asked for its token, and hung up on before it has shown it or
 * later; and it remembers the weights for a broker that starts anew. The broker is the test itself:
 * it says only what the test wants, when the test wants it.
 */
#include "support/test.h"

#include <endian.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/bus_frame.h"
#include "rpc/remote.h"
#include "support/folder.h"
#include "support/frames.h"
#include "support/sp.h"
#include "support/until.h"
#include "ware_v1.parley.h"
#include "wire/wire.h"

#define SERVES_MAX 8

static char folder[] = "/tmp/parley-prove-XXXXXX";
static char bus_url[128], serve_urls[SERVES_MAX][128];
static atomic_bool over, published;
static _Atomic uint64_t pause_ns, passed_ns, remembered; /* a route's generation */

/* How long it would wait after the next one. */
void __real_remote_later(struct remote *remote, uint64_t *pause, uint64_t *ret_at_ns);
void __wrap_remote_later(struct remote *remote, uint64_t *pause, uint64_t *ret_at_ns);
void __wrap_remote_later(struct remote *remote, uint64_t *pause, uint64_t *ret_at_ns)
{
    __real_remote_later(remote, pause, ret_at_ns);
    atomic_store(&pause_ns, *pause);
}

void __real_service_remember_weights(struct parley_service *service,
                                     const struct rpc_weights *weights);
void __wrap_service_remember_weights(struct parley_service *service,
                                     const struct rpc_weights *weights);
void __wrap_service_remember_weights(struct parley_service *service,
                                     const struct rpc_weights *weights)
{
    __real_service_remember_weights(service, weights);
    atomic_store(&remembered, weights->generation);
}

static uint64_t now_ns(void)
{
    return until_now_ns() + atomic_load(&passed_ns);
}

/* The program that serves: its endpoint is its thread's. */
static void *serve(void *unused)
{
    static Ware__V1__Store_Service store = {
        {.descriptor = &ware__v1__store__descriptor, .invoke = protobuf_c_service_invoke_internal}};
    const struct parley_endpoint_options options = {.broker = bus_url,
                                                    .connect_timeout_ns = PATIENCE_NS};
    struct parley_endpoint *endpoint;
    struct parley_service *service;
    (void)unused;
    if (parley_endpoint_new(&options, &endpoint) != PARLEY_OK)
        return (void *)(uintptr_t)parley_error_text();
    enum parley_status status =
        parley_service_new(endpoint, &ware__v1__store__interface, &store.base, NULL, &service);
    atomic_store(&published, status == PARLEY_OK);
    while (status == PARLEY_OK && !atomic_load(&over))
        (void)parley_dispatch(endpoint, 1000000);
    parley_endpoint_free(endpoint);
    return NULL;
}

static void listen_to(const struct sp *sp)
{
    struct pollfd ready = {.fd = sp->fd, .events = POLLIN};
    (void)poll(&ready, 1, 100);
}

/* The frame of a message that is there; @ret_words: how many are before it. */
static uint8_t *take(struct sp *sp, struct bus_frame *ret_frame, uint32_t *words, size_t *ret_words)
{
    uint8_t *data;
    size_t bytes, n = 0;
    sp_take_message(sp, &data, &bytes);
    do {
        assert_true(n < 8 && 4 * (n + 1) <= bytes);
        memcpy(&words[n], data + 4 * n, 4);
        words[n] = be32toh(words[n]);
    } while (!(words[n++] & UINT32_C(0x80000000)));
    assert_return_code(bus_frame_read(data + 4 * n, bytes - 4 * n, ret_frame, NULL), 0);
    *ret_words = n;
    return data;
}

static void answer(struct sp *sp, const struct bus_frame *request, const uint32_t *words, size_t n,
                   const ProtobufCMessage *reply)
{
    uint8_t out[1024];
    struct bus_frame frame = {.header = {.kind = FRAME_RESPONSE,
                                         .call_id = request->header.call_id,
                                         .executed = PARLEY_EXECUTED_YES}};
    size_t head = bus_frame_head_bytes(&frame);
    frame.payload_bytes = reply ? protobuf_c_message_get_packed_size(reply) : 0;
    assert_true(head + frame.payload_bytes <= sizeof(out));
    assert_return_code(bus_frame_write(&frame, out, head), 0);
    if (reply)
        protobuf_c_message_pack(reply, out + head);
    sp_send(sp, words, n, out, head + frame.payload_bytes);
}

/* ---- The broker ---- */

struct told {
    uint64_t generation;
    uint32_t first, second; /* weights, per 100,000 */
};

static struct fake {
    int listener, serve_listener;
    struct sp *bus, *line;
    bool greeted; /* by who is on the bus */
    pthread_t thread;
    size_t publications;
    struct told told; /* in the last of them */
    struct told has;
    uint64_t changes;
    size_t lists;
} fake;

static void token_of(size_t nth, uint8_t token[16])
{
    memset(token, (int)nth + 1, 16);
}

static void publication_came(const struct bus_frame *frame, Parley__PublishReply *reply)
{
    static uint8_t token[16];
    ProtobufCMessage *message;
    assert_int_equal(wire_unpack(&parley__publish_request__descriptor, frame->payload,
                                 frame->payload_bytes, NULL, &message, NULL),
                     0);
    const Parley__PublishRequest *request = (const Parley__PublishRequest *)message;
    fake.told = (struct told){.generation = request->route_generation};
    if (request->n_weights == 2) {
        fake.told.first = request->weights[0]->per_100000;
        fake.told.second = request->weights[1]->per_100000;
    }
    wire_free(message);
    assert_true(fake.publications < SERVES_MAX);
    token_of(fake.publications, token);
    if (fake.serve_listener >= 0)
        close(fake.serve_listener);
    fake.serve_listener = sp_listen(serve_urls[fake.publications]);
    reply->has_instance_id = reply->has_token = true;
    reply->instance_id = 7;
    reply->url = serve_urls[fake.publications++];
    reply->token = (ProtobufCBinaryData){sizeof(token), token};
}

static void answer_list(struct sp *bus, const struct bus_frame *frame, const uint32_t *words,
                        size_t n)
{
    static char name[] = "ware", versions[2][8] = {"1.0.0", "2.0.0"};
    Parley__ListReply reply = PARLEY__LIST_REPLY__INIT;
    Parley__InterfaceInfo ware = PARLEY__INTERFACE_INFO__INIT, *interfaces[] = {&ware};
    Parley__VersionInfo infos[2], *pointers[] = {&infos[0], &infos[1]};
    for (size_t i = 0; i < 2; i++) {
        parley__version_info__init(&infos[i]);
        infos[i].version = versions[i];
        infos[i].has_weight_per_100000 = true;
        infos[i].weight_per_100000 = i ? fake.has.second : fake.has.first;
    }
    ware.name = name;
    ware.has_route_generation = true;
    ware.route_generation = fake.has.generation;
    ware.n_version = 2;
    ware.version = pointers;
    reply.n_interface = 1;
    reply.interface = interfaces;
    answer(bus, frame, words, n, &reply.base);
    fake.lists++;
}

static void bus_comes(void)
{
    fake.bus = sp_accept(fake.listener, true);
    fake.greeted = false;
    sp_send_hello(fake.bus, SP_REP);
}

/* Answers what comes at the bus URL. Who dials may let a connection go, and dial again. */
static void serve_bus(void)
{
    struct bus_frame frame;
    uint32_t words[8];
    size_t n;
    if (!fake.greeted && sp_has_hello(fake.bus)) {
        assert_int_equal(sp_take_hello(fake.bus), SP_REQ);
        fake.greeted = true;
    }
    if (sp_has_ended(fake.bus)) {
        sp_free(fake.bus);
        bus_comes();
        return;
    }
    if (!fake.greeted || !sp_has_message(fake.bus)) {
        listen_to(fake.bus);
        return;
    }
    uint8_t *data = take(fake.bus, &frame, words, &n);
    if (bus_text_is(&frame.method, "Publish")) {
        Parley__PublishReply reply = PARLEY__PUBLISH_REPLY__INIT;
        publication_came(&frame, &reply);
        answer(fake.bus, &frame, words, n, &reply.base);
    } else if (bus_text_is(&frame.method, "List")) {
        answer_list(fake.bus, &frame, words, n);
    } else { /* a ping */
        Parley__Bus__V1__PingReply reply = PARLEY__BUS__V1__PING_REPLY__INIT;
        reply.has_changes = true;
        reply.changes = fake.changes;
        answer(fake.bus, &frame, words, n, &reply.base);
    }
    free(data);
}

/* The broker dials for the @nth publication, and asks nothing yet. */
static void come(size_t nth)
{
    UNTIL(serve_bus(), fake.publications == nth);
    fake.line = sp_accept(fake.serve_listener, true);
    sp_send_hello(fake.line, SP_REQ);
    UNTIL(listen_to(fake.line), sp_has_hello(fake.line));
    assert_int_equal(sp_take_hello(fake.line), SP_REP);
}

static void hang_up(struct sp **line)
{
    *line = sp_free(*line);
}

static void expect_proves(void)
{
    static const char interface[] = "parley.bus", method[] = "Prove";
    const struct bus_frame question = {
        .header = {.kind = FRAME_REQUEST, .method = BUS_FRAME_METHOD_BY_NAME, .call_id = 1},
        .interface = {interface, sizeof(interface) - 1},
        .method = {method, sizeof(method) - 1}};
    struct bus_frame shown;
    uint8_t out[256], wanted[16];
    uint32_t words[8];
    size_t n, bytes = bus_frame_head_bytes(&question);
    assert_true(bytes <= sizeof(out));
    assert_return_code(bus_frame_write(&question, out, bytes), 0);
    sp_ask(fake.line, 1, out, bytes);
    UNTIL(listen_to(fake.line), sp_has_message(fake.line));
    uint8_t *data = take(fake.line, &shown, words, &n);
    token_of(fake.publications - 1, wanted);
    assert_int_equal(shown.header.status, PARLEY_OK);
    assert_int_equal(shown.payload_bytes, sizeof(wanted));
    assert_memory_equal(shown.payload, wanted, sizeof(wanted));
    free(data);
}

static int setup(void **state)
{
    (void)state;
    atomic_store(&over, false);
    atomic_store(&published, false);
    atomic_store(&remembered, 0);
    fake = (struct fake){.listener = sp_listen(bus_url), .serve_listener = -1};
    assert_int_equal(pthread_create(&fake.thread, NULL, serve, NULL), 0);
    bus_comes();
    return 0;
}

static int teardown(void **state)
{
    void *failed;
    (void)state;
    atomic_store(&over, true);
    hang_up(&fake.line);
    hang_up(&fake.bus);
    assert_int_equal(pthread_join(fake.thread, &failed), 0);
    if (failed)
        fail_msg("%s", (const char *)failed);
    close(fake.listener);
    close(fake.serve_listener);
    for (size_t i = 0; i < SERVES_MAX; i++)
        (void)unlink(serve_urls[i] + strlen("ipc://"));
    (void)unlink(bus_url + strlen("ipc://"));
    return 0;
}

#define prove_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* ---- Tests ---- */

static void test_who_is_hung_up_on_before_it_has_proved_publishes_later_each_time(void **state)
{
    (void)state;
    for (size_t i = 1; i <= 3; i++) {
        come(i);
        hang_up(&fake.line); /* never asked */
        UNTIL(serve_bus(), fake.publications == i + 1);
        assert_int_equal(atomic_load(&pause_ns), REMOTE_RETRY_NS_MIN << i);
        assert_false(atomic_load(&published));
    }
    come(4);
    expect_proves();
    UNTIL(serve_bus(), atomic_load(&published));
    hang_up(&fake.line);
    come(5);
    assert_int_equal(atomic_load(&pause_ns), REMOTE_RETRY_NS_MIN << 1);
    expect_proves();
}

/* It asks what the weights are, and has read the answer. */
static void lists(size_t count)
{
    UNTIL(serve_bus(), fake.lists == count && atomic_load(&remembered) == fake.has.generation);
}

/* The bus is lost, and who is there then is told. */
static void expect_tells(const struct told *wanted)
{
    size_t publications = fake.publications;
    hang_up(&fake.line);
    hang_up(&fake.bus);
    bus_comes();
    UNTIL(serve_bus(), fake.publications > publications);
    assert_memory_equal(&fake.told, wanted, sizeof(*wanted));
}

static void test_a_broker_that_starts_anew_is_told_the_weights_of_the_publication(void **state)
{
    const struct told nothing = {0};
    (void)state;
    fake.has = (struct told){3, 30000, 70000};
    come(1);
    assert_memory_equal(&fake.told, &nothing, sizeof(nothing));
    expect_proves();
    lists(1);
    expect_tells(&fake.has);
}

/* A broker that ends hangs up first: what it is told then, the next one has to be told again. */
static void test_weights_told_to_a_broker_that_ends_are_told_to_the_next(void **state)
{
    (void)state;
    fake.has = (struct told){3, 30000, 70000};
    come(1);
    expect_proves();
    lists(1);
    hang_up(&fake.line);
    come(2);
    assert_memory_equal(&fake.told, &fake.has, sizeof(fake.has));
    expect_tells(&fake.has);
}

/* The ping is due at once, for the test's clock says so. */
static void test_a_broker_that_starts_anew_is_told_the_weights_since_a_ping(void **state)
{
    (void)state;
    fake.has = (struct told){3, 30000, 70000};
    come(1);
    expect_proves();
    lists(1);
    fake.has = (struct told){4, 10000, 90000};
    fake.changes++;
    atomic_fetch_add(&passed_ns, REMOTE_PING_NS);
    lists(2);
    expect_tells(&fake.has);
}

static int run(void)
{
    (void)snprintf(bus_url, sizeof(bus_url), "ipc://%s/bus", folder);
    for (int i = 0; i < SERVES_MAX; i++)
        (void)snprintf(serve_urls[i], sizeof(serve_urls[i]), "ipc://%s/serve%d", folder, i);
    clock_set(now_ns);
    const struct CMUnitTest tests[] = {
        prove_test(test_who_is_hung_up_on_before_it_has_proved_publishes_later_each_time),
        prove_test(test_a_broker_that_starts_anew_is_told_the_weights_of_the_publication),
        prove_test(test_a_broker_that_starts_anew_is_told_the_weights_since_a_ping),
        prove_test(test_weights_told_to_a_broker_that_ends_are_told_to_the_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return folder_run(folder, run);
}
