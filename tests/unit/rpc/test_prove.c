/*
 * A service at an NNG URL that is asked for its token, and is hung up on before it has shown it.
 * The broker is the test itself: it says only what the test wants, when the test wants it.
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
#include "parley/bus.pb-c.h"
#include "support/folder.h"
#include "support/frames.h"
#include "support/sp.h"
#include "support/until.h"
#include "ware_v1.parley.h"
#include "wire/wire.h"

static char folder[] = "/tmp/parley-prove-XXXXXX";
static char bus_url[128], serve_url[2][128];
static const uint8_t token[2][16] = {"the first's", "the second's"};
static atomic_bool over;

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

static struct sp *greet(int listener, uint16_t ours, uint16_t theirs)
{
    struct sp *sp = sp_accept(listener, true);
    sp_send_hello(sp, ours);
    UNTIL(listen_to(sp), sp_has_hello(sp));
    assert_int_equal(sp_take_hello(sp), theirs);
    return sp;
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

/* Answers what comes at the bus URL. Return: whether it was a publication, the @nth. */
static bool publishes(struct sp *bus, size_t nth)
{
    struct bus_frame frame;
    uint32_t words[8];
    size_t n;
    if (!sp_has_message(bus))
        return false;
    uint8_t *data = take(bus, &frame, words, &n);
    bool is_publication = bus_text_is(&frame.method, "Publish");
    if (is_publication) {
        Parley__PublishReply reply = PARLEY__PUBLISH_REPLY__INIT;
        reply.has_instance_id = reply.has_token = true;
        reply.instance_id = 7 + nth;
        reply.url = serve_url[nth];
        reply.token = (ProtobufCBinaryData){sizeof(token[nth]), (uint8_t *)(uintptr_t)token[nth]};
        answer(bus, &frame, words, n, &reply.base);
    } else {
        answer(bus, &frame, words, n, NULL); /* a ping: it is a bus */
    }
    free(data);
    return is_publication;
}

static void expect_proves(struct sp *line, const uint8_t *wanted)
{
    static const char interface[] = "parley.bus", method[] = "Prove";
    const struct bus_frame question = {
        .header = {.kind = FRAME_REQUEST, .method = BUS_FRAME_METHOD_BY_NAME, .call_id = 1},
        .interface = {interface, sizeof(interface) - 1},
        .method = {method, sizeof(method) - 1}};
    struct bus_frame shown;
    uint8_t out[256];
    uint32_t words[8];
    size_t n, bytes = bus_frame_head_bytes(&question);
    assert_true(bytes <= sizeof(out));
    assert_return_code(bus_frame_write(&question, out, bytes), 0);
    sp_ask(line, 1, out, bytes);
    UNTIL(listen_to(line), sp_has_message(line));
    uint8_t *data = take(line, &shown, words, &n);
    assert_int_equal(shown.header.status, PARLEY_OK);
    assert_int_equal(shown.payload_bytes, sizeof(token[0]));
    assert_memory_equal(shown.payload, wanted, sizeof(token[0]));
    free(data);
}

static void test_who_is_hung_up_on_before_it_has_proved_publishes_anew(void **state)
{
    (void)state;
    pthread_t thread;
    void *failed;
    int at_bus = sp_listen(bus_url);
    int at[2] = {sp_listen(serve_url[0]), sp_listen(serve_url[1])};
    assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
    struct sp *bus = greet(at_bus, SP_REP, SP_REQ);
    UNTIL(listen_to(bus), publishes(bus, 0));
    sp_free(greet(at[0], SP_REQ, SP_REP)); /* never asked */
    UNTIL(listen_to(bus), publishes(bus, 1));
    struct sp *line = greet(at[1], SP_REQ, SP_REP);
    expect_proves(line, token[1]);
    atomic_store(&over, true);
    sp_free(line);
    sp_free(bus);
    assert_int_equal(pthread_join(thread, &failed), 0);
    if (failed)
        fail_msg("%s", (const char *)failed);
    close(at[0]);
    close(at[1]);
    close(at_bus);
}

static int run(void)
{
    (void)snprintf(bus_url, sizeof(bus_url), "ipc://%s/bus", folder);
    for (int i = 0; i < 2; i++)
        (void)snprintf(serve_url[i], sizeof(serve_url[i]), "ipc://%s/serve%d", folder, i);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_is_hung_up_on_before_it_has_proved_publishes_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return folder_run(folder, run);
}
