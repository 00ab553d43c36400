/*
 * A service at a URL, and a broker there that does what no right one does; and how few system calls
 * the service makes for a right one. The broker is the test itself: it says only what the test
 * wants, when the test wants it.
 */
#include "support/test.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/sockios.h>

#include "rpc/remote.h"
#include "support/folder.h"
#include "support/frames.h"
#include "support/sp.h"
#include "support/until.h"
#include "ware_v1.parley.h"
#include "wire/wire.h"

#define BATCH 8
#define PIECES 500

static char folder[] = "/tmp/parley-remote-XXXXXX";
static char bus_url[128], serve_url[128];
static atomic_bool over;
static _Atomic uint64_t passed_ns;

static uint64_t now_ns(void)
{
    return until_now_ns() + atomic_load(&passed_ns);
}

/* ---- The program that serves: its endpoint is its thread's ---- */

static _Thread_local bool serves; /* this thread */
static atomic_uint writes;        /* of it, to connections */
static _Atomic uint64_t bells;    /* that its endpoint has rung */
static atomic_int status;         /* of its publication; -1: none yet */
static char text[512];            /* ... and what was said of it */

static void count_write(int fd)
{
    int type = 0;
    socklen_t bytes = sizeof(type);
    if (serves && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 && type == SOCK_STREAM)
        atomic_fetch_add(&writes, 1);
}

/* In the place of the C library's. */
ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    count_write(fd);
    return syscall(SYS_sendmsg, fd, message, flags);
}

ssize_t send(int fd, const void *data, size_t bytes, int flags)
{
    count_write(fd);
    return syscall(SYS_sendto, fd, data, bytes, flags, NULL, 0);
}

/* What the peer says meanwhile, and how deep it goes. */
static _Atomic(struct sp *) dribble_to;
static atomic_uint pieces, deepest;
void __real_remote_timers_set(struct remote *remote);
void __wrap_remote_timers_set(struct remote *remote);
void __wrap_remote_timers_set(struct remote *remote)
{
    static _Thread_local unsigned depth;
    struct sp *to = atomic_load(&dribble_to);
    if (to && atomic_load(&pieces) > 0) {
        sp_write(to, "piece by piece..", 16);
        atomic_fetch_sub(&pieces, 1);
    }
    if (++depth > atomic_load(&deepest))
        atomic_store(&deepest, depth);
    __real_remote_timers_set(remote);
    depth--;
}

/* One more call comes whenever the last has been taken. */
static _Atomic(struct sp *) flood;
int __real_replier_receive(struct replier *replier, struct replier_request **ret_request,
                           const uint8_t **ret_data, size_t *ret_bytes);
int __wrap_replier_receive(struct replier *replier, struct replier_request **ret_request,
                           const uint8_t **ret_data, size_t *ret_bytes);
static size_t put_call(uint8_t *out, uint32_t number);
int __wrap_replier_receive(struct replier *replier, struct replier_request **ret_request,
                           const uint8_t **ret_data, size_t *ret_bytes)
{
    static uint32_t number;
    uint8_t out[256];
    struct sp *to = atomic_load(&over) ? atomic_load(&flood) : NULL;
    int unread = 0;
    if (to && ioctl(to->fd, SIOCOUTQ, &unread) == 0 && unread == 0)
        sp_write(to, out, put_call(out, ++number & 0xffff));
    return __real_replier_receive(replier, ret_request, ret_data, ret_bytes);
}

static void *serve(void *unused)
{
    static Ware__V1__Store_Service store = {
        {.descriptor = &ware__v1__store__descriptor, .invoke = protobuf_c_service_invoke_internal}};
    const struct parley_endpoint_options options = {.broker = bus_url,
                                                    .connect_timeout_ns = PATIENCE_NS};
    struct parley_endpoint *endpoint;
    struct parley_service *service;
    (void)unused;
    serves = true;
    if (parley_endpoint_new(&options, &endpoint) != PARLEY_OK)
        return (void *)(uintptr_t)parley_error_text();
    enum parley_status published =
        parley_service_new(endpoint, &ware__v1__store__interface, &store.base, NULL, &service);
    (void)snprintf(text, sizeof(text), "%s", published == PARLEY_OK ? "" : parley_error_text());
    atomic_store(&status, (int)published);
    while (published == PARLEY_OK && !atomic_load(&over)) {
        (void)parley_dispatch(endpoint, 1000000);
        atomic_store(&bells, endpoint->stats.header->doorbells);
    }
    parley_endpoint_free(endpoint);
    return NULL;
}

/* ---- The broker ---- */

static struct fake {
    int listener, serve_listener;
    struct sp *bus, *line;
    bool greeted;
    bool tcp;           /* not ipc */
    bool mute;          /* says nothing of a publication */
    size_t token_bytes; /* that it tells */
    char *url;          /* ... instead of serve_url */
    pthread_t thread;
    bool joined;
    size_t publications;
    uint64_t instance_id; /* of the last */
} fake;

static void listen_to(const struct sp *sp)
{
    struct pollfd ready = {.fd = sp->fd, .events = POLLIN};
    (void)poll(&ready, 1, 20);
}

static void answer(uint32_t word, uint64_t call_id, const ProtobufCMessage *reply)
{
    uint8_t out[1024];
    struct bus_frame frame = {
        .header = {.kind = FRAME_RESPONSE, .call_id = call_id, .executed = PARLEY_EXECUTED_YES}};
    size_t head = bus_frame_head_bytes(&frame);
    frame.payload_bytes = protobuf_c_message_get_packed_size(reply);
    assert_true(head + frame.payload_bytes <= sizeof(out));
    assert_return_code(bus_frame_write(&frame, out, head), 0);
    protobuf_c_message_pack(reply, out + head);
    sp_send(fake.bus, &word, 1, out, head + frame.payload_bytes);
}

static void publication_came(uint32_t word, const struct bus_frame *frame)
{
    static uint8_t token[REMOTE_TOKEN_BYTES_MAX + 1];
    Parley__PublishReply reply = PARLEY__PUBLISH_REPLY__INIT;
    ProtobufCMessage *message;
    assert_int_equal(wire_unpack(&parley__publish_request__descriptor, frame->payload,
                                 frame->payload_bytes, NULL, &message, NULL),
                     0);
    fake.instance_id = ((const Parley__PublishRequest *)message)->instance_id;
    wire_free(message);
    fake.publications++;
    if (fake.mute)
        return;
    reply.has_instance_id = true;
    reply.instance_id = fake.instance_id;
    reply.has_token = fake.token_bytes > 0;
    reply.token = (ProtobufCBinaryData){fake.token_bytes, token};
    reply.url = fake.url ? fake.url : serve_url;
    answer(word, frame->header.call_id, &reply.base);
}

static void bus_comes(void)
{
    fake.bus = sp_accept(fake.listener, !fake.tcp);
    fake.greeted = false;
    sp_send_hello(fake.bus, SP_REP);
}

static void hang_up(struct sp **line)
{
    *line = sp_free(*line);
}

/* Answers what comes at the bus URL. */
static void serve_bus(void)
{
    if (sp_has_ended(fake.bus)) {
        hang_up(&fake.bus);
        bus_comes();
    }
    if (!fake.greeted && sp_has_hello(fake.bus)) {
        assert_int_equal(sp_take_hello(fake.bus), SP_REQ);
        fake.greeted = true;
    }
    if (!fake.greeted || !sp_has_message(fake.bus)) {
        listen_to(fake.bus);
        return;
    }
    struct bus_frame frame;
    uint8_t *data;
    uint32_t word;
    size_t bytes;
    sp_take_message(fake.bus, &data, &bytes);
    assert_true(bytes > sizeof(word));
    memcpy(&word, data, sizeof(word));
    word = be32toh(word);
    assert_return_code(bus_frame_read(data + sizeof(word), bytes - sizeof(word), &frame, NULL), 0);
    if (bus_text_is(&frame.method, "Publish")) {
        publication_came(word, &frame);
    } else { /* a ping; or what nobody waits for */
        Parley__Bus__V1__PingReply reply = PARLEY__BUS__V1__PING_REPLY__INIT;
        answer(word, frame.header.call_id, &reply.base);
    }
    free(data);
}

/* The service dials, and is up. */
static void come(void)
{
    UNTIL(serve_bus(), poll(&(struct pollfd){.fd = fake.serve_listener, .events = POLLIN}, 1, 0));
    fake.line = sp_accept(fake.serve_listener, !fake.tcp);
    sp_send_hello(fake.line, SP_REQ);
    UNTIL(listen_to(fake.line), sp_has_hello(fake.line));
    assert_int_equal(sp_take_hello(fake.line), SP_REP);
}

/* At a port that is free. */
static int listen_tcp(char *url)
{
    struct sockaddr_in address;
    socklen_t bytes = sizeof(address);
    int fd = sp_listen("tcp://127.0.0.1:0");
    assert_return_code(getsockname(fd, (struct sockaddr *)&address, &bytes), errno);
    (void)snprintf(url, sizeof(bus_url), "tcp://127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}

/* @state: not NULL: by tcp. */
static int setup(void **state)
{
    const bool tcp = *state != NULL;
    atomic_store(&over, false);
    atomic_store(&status, -1);
    (void)snprintf(bus_url, sizeof(bus_url), "ipc://%s/bus", folder);
    (void)snprintf(serve_url, sizeof(serve_url), "ipc://%s/serve", folder);
    fake = (struct fake){.tcp = tcp,
                         .listener = tcp ? listen_tcp(bus_url) : sp_listen(bus_url),
                         .serve_listener = tcp ? listen_tcp(serve_url) : sp_listen(serve_url)};
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
    close(fake.listener); /* so that nobody waits for who dials now */
    close(fake.serve_listener);
    assert_int_equal(fake.joined ? 0 : pthread_join(fake.thread, &failed), 0);
    if (!fake.joined && failed)
        fail_msg("%s", (const char *)failed);
    if (!fake.tcp) {
        (void)unlink(serve_url + strlen("ipc://"));
        (void)unlink(bus_url + strlen("ipc://"));
    }
    return 0;
}

/* ---- Tests ---- */

/* A call of a method that there is none of: the service answers that, as it would any. */
static size_t put_call(uint8_t *out, uint32_t number)
{
    const struct bus_frame frame = {
        .header = {.kind = FRAME_REQUEST, .method = BUS_FRAME_METHOD_BY_NAME, .call_id = number},
        .method = {"Nothing", 7}};
    const uint32_t word = htobe32(number | UINT32_C(0x80000000));
    size_t head = bus_frame_head_bytes(&frame);
    const uint64_t bytes = htobe64(sizeof(word) + head);
    out[0] = 1; /* SP's mark on ipc */
    memcpy(out + 1, &bytes, sizeof(bytes));
    memcpy(out + 9, &word, sizeof(word));
    assert_return_code(bus_frame_write(&frame, out + 13, head), 0);
    return 13 + head;
}

static void test_answers_of_a_turn_leave_in_one_write_and_no_bell_is_rung(void **state)
{
    (void)state;
    uint8_t out[BATCH * 256];
    size_t bytes = 0;
    come();
    UNTIL(serve_bus(), atomic_load(&status) == PARLEY_OK);
    for (uint32_t i = 1; i <= BATCH; i++)
        bytes += put_call(out + bytes, i);
    unsigned before = atomic_load(&writes);
    sp_write(fake.line, out, bytes);
    for (uint32_t i = 0; i < BATCH; i++) {
        uint8_t *data;
        UNTIL(listen_to(fake.line), sp_has_message(fake.line));
        sp_take_message(fake.line, &data, &bytes);
        free(data);
    }
    assert_int_equal(atomic_load(&writes), before + 1);
    assert_int_equal(atomic_load(&bells), 0);
}

static void test_a_message_that_comes_piece_by_piece_is_taken_without_going_deeper(void **state)
{
    (void)state;
    uint8_t begin[9] = {1};
    const uint64_t bytes = htobe64(1 << 20);
    come();
    UNTIL(serve_bus(), atomic_load(&status) == PARLEY_OK);
    memcpy(begin + 1, &bytes, sizeof(bytes));
    atomic_store(&deepest, 0);
    atomic_store(&pieces, PIECES);
    sp_write(fake.line, begin, sizeof(begin));
    atomic_store(&dribble_to,
                 fake.line); /* from now on the serving thread's own, but for one piece */
    sp_write(fake.line, "piece by piece..", 16);
    UNTIL(serve_bus(), atomic_load(&pieces) == 0);
    atomic_store(&dribble_to, NULL);
    assert_true(atomic_load(&deepest) < 4);
}

static void test_a_token_that_is_longer_than_may_be_is_refused(void **state)
{
    (void)state;
    fake.token_bytes = REMOTE_TOKEN_BYTES_MAX + 1;
    UNTIL(serve_bus(), atomic_load(&status) >= 0);
    assert_int_not_equal(atomic_load(&status), PARLEY_OK);
    assert_non_null(strstr(text, "token is too long"));
}

static void test_a_token_of_the_greatest_length_is_taken(void **state)
{
    (void)state;
    fake.token_bytes = REMOTE_TOKEN_BYTES_MAX;
    come();
    atomic_fetch_add(&passed_ns, 2 * REMOTE_ASK_TIMEOUT_NS); /* and nobody asks for it */
    UNTIL(serve_bus(), atomic_load(&status) >= 0);
}

static void test_a_broker_that_names_a_url_of_another_transport_is_refused(void **state)
{
    (void)state;
    static char url[] = "ws://127.0.0.1:1/serve";
    fake.url = url;
    UNTIL(serve_bus(), atomic_load(&status) >= 0);
    assert_int_not_equal(atomic_load(&status), PARLEY_OK);
    assert_non_null(strstr(text, url));
}

/* It listens at all of its addresses, and does not know by which of them it is reached. */
static void test_a_broker_that_names_no_host_is_dialled_where_it_was_reached(void **state)
{
    (void)state;
    static char url[64];
    (void)snprintf(url, sizeof(url), "tcp://*%s", strrchr(serve_url, ':'));
    fake.url = url;
    come();
    UNTIL(serve_bus(), atomic_load(&status) == PARLEY_OK);
}

static void test_a_broker_that_never_stops_asking_holds_up_no_end(void **state)
{
    (void)state;
    come();
    UNTIL(serve_bus(), atomic_load(&status) == PARLEY_OK);
    char answers[65536];
    void *failed = NULL;
    uint8_t out[256];
    sp_write(fake.line, out, put_call(out, 1));
    UNTIL(listen_to(fake.line), sp_has_message(fake.line)); /* it has answered a moment ago */
    atomic_store(&flood, fake.line);
    atomic_store(&over, true); /* who does not read its answers would be read no more */
    UNTIL((void)recv(fake.line->fd, answers, sizeof(answers), MSG_DONTWAIT),
          pthread_tryjoin_np(fake.thread, &failed) == 0);
    atomic_store(&flood, NULL);
    fake.joined = true;
}

/* Of the second one: nobody waits for the first so long. */
static void test_a_broker_that_says_nothing_of_a_publication_is_asked_again(void **state)
{
    (void)state;
    come();
    UNTIL(serve_bus(), atomic_load(&status) == PARLEY_OK);
    uint64_t instance_id = fake.instance_id;
    fake.mute = true;
    hang_up(&fake.bus);
    hang_up(&fake.line);
    bus_comes();
    UNTIL(serve_bus(), fake.publications == 2);
    fake.mute = false;
    atomic_fetch_add(&passed_ns, REMOTE_ASK_TIMEOUT_NS);
    come();
    assert_int_equal(fake.publications, 3);
    assert_int_equal(fake.instance_id, instance_id);
}

static void test_a_broker_that_dies_before_it_has_answered_a_publication_is_told_anew(void **state)
{
    (void)state;
    fake.mute = true;
    UNTIL(serve_bus(), fake.publications == 1);
    uint64_t instance_id = fake.instance_id;
    fake.mute = false;
    hang_up(&fake.bus);
    bus_comes();
    come();
    UNTIL(serve_bus(), atomic_load(&status) == PARLEY_OK);
    assert_int_equal(fake.publications, 2);
    assert_int_equal(fake.instance_id, instance_id);
}

/* Numbers of nobody, also beyond the table's end, and each of them twice. */
static void test_answers_to_what_was_never_asked_are_nobodys(void **state)
{
    (void)state;
    static const uint32_t numbers[] = {0, 1, 2, 15, 1u << 18, (1u << 31) - 1};
    Parley__Bus__V1__PingReply reply = PARLEY__BUS__V1__PING_REPLY__INIT;
    come();
    UNTIL(serve_bus(), atomic_load(&status) == PARLEY_OK);
    for (size_t i = 0; i < 2 * sizeof(numbers) / sizeof(numbers[0]); i++)
        answer(numbers[i / 2] | UINT32_C(0x80000000), i, &reply.base);
    atomic_fetch_add(&passed_ns, REMOTE_PING_NS);
    uint8_t out[256];
    size_t bytes = put_call(out, 7);
    sp_write(fake.line, out, bytes);
    UNTIL(serve_bus(), sp_has_message(fake.line)); /* it is up, and was not lost meanwhile */
    assert_int_equal(fake.publications, 1);
}

#define remote_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define tcp_test(f) cmocka_unit_test_prestate_setup_teardown(f, setup, teardown, &fake)

static int run(void)
{
    clock_set(now_ns);
    const struct CMUnitTest tests[] = {
        remote_test(test_answers_of_a_turn_leave_in_one_write_and_no_bell_is_rung),
        remote_test(test_a_message_that_comes_piece_by_piece_is_taken_without_going_deeper),
        remote_test(test_a_token_of_the_greatest_length_is_taken),
        remote_test(test_a_token_that_is_longer_than_may_be_is_refused),
        remote_test(test_a_broker_that_names_a_url_of_another_transport_is_refused),
        tcp_test(test_a_broker_that_names_no_host_is_dialled_where_it_was_reached),
        remote_test(test_a_broker_that_never_stops_asking_holds_up_no_end),
        remote_test(test_a_broker_that_says_nothing_of_a_publication_is_asked_again),
        remote_test(test_a_broker_that_dies_before_it_has_answered_a_publication_is_told_anew),
        remote_test(test_answers_to_what_was_never_asked_are_nobodys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return folder_run(folder, run);
}
