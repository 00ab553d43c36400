/*
 * Over TLS: only the certificate that has published serves by a REP socket, and a service knows
 * whose certificate calls it.
 */
#include "guests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>

#include "base/clock.h"
#include "control/nng.h"
#include "support/certificates.h"
#include "support/echoes.h"
#include "support/folder.h"
#include "wire/wire.h"

static char folder[] = "/tmp/parley-serve-tls-XXXXXX";
static const char *const names[] = {"server", "shop", "till"};

static char paths[4][512]; /* of these, and of the authority; the broker borrows them */

static const char *pem(const char *name)
{
    size_t i = 0;
    while (i < 3 && strcmp(names[i], name) != 0)
        i++;
    snprintf(paths[i], sizeof(paths[i]), "%s", certificate_path(folder, name));
    return paths[i];
}

static void make_certificates(void)
{
    certificate_make(folder, "authority", &(struct certificate_wish){.name = "us", .seconds = 900});
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        certificate_make(folder, names[i],
                         &(struct certificate_wish){.name = names[i],
                                                    .address = "127.0.0.1",
                                                    .authority = "authority",
                                                    .seconds = 900});
}

static int begin(void **state)
{
    (void)state;
    const struct tls_settings tls = {.ca = pem("authority"), .certificate = pem("server")};
    guests_begin_tls(&tls);
    return 0;
}

static void publish_as(const char *name, Parley__PublishReply **ret_reply)
{
    guests.as = (struct guest_certificate){pem("authority"), pem(name)};
    Parley__PublishRequest request = guests_request(&echo__v1__echo__interface);
    ProtobufCMessage *reply = NULL;
    assert_int_equal(
        guests_bus_call("Publish", &request.base, &parley__publish_reply__descriptor, &reply),
        PARLEY_OK);
    *ret_reply = (Parley__PublishReply *)reply;
    assert_memory_equal((*ret_reply)->url, "tls+tcp://127.0.0.1:", 20);
}

static void test_another_certificate_of_the_same_authority_does_not_serve(void **state)
{
    (void)state;
    Parley__PublishReply *reply;
    publish_as("shop", &reply);
    const struct guest_certificate till = {guests.as.authority, pem("till")};
    nng_socket other;
    assert_int_equal(nng_rep0_open_raw(&other), 0);
    guests_connect(other, reply->url, &till);
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    while (!guests_audited("till dialled in place of shop"))
        assert_true(clock_now_ns() < until);
    guests_await_counter("instances", 0);

    /* It costs the publisher nothing, and it goes on trying for as long as its socket is open. */
    struct guest_socket guest;
    struct guest_ask ask;
    struct guest_call_end answered = {0};
    guests_dial(&guest, reply);
    guests_await_counter("instances", 1);
    struct parley_client *client = guests_client(&echo__v1__echo__interface);
    guests_start(client, 0, 0, &answered);
    guests_take(&guest, &ask);
    guests_reply(&guest, &ask, PARLEY_OK, PARLEY_EXECUTED_YES, seven, sizeof(seven));
    guests_await(&answered, 1);
    assert_int_equal(answered.status, PARLEY_OK);
    nng_msg *message;
    assert_int_equal(nng_recvmsg(other, &message, NNG_FLAG_NONBLOCK), NNG_EAGAIN);
    (void)nng_close_socket(other.id);
    guests_leave(&guest);
    wire_free(reply);
}

static void test_another_certificate_does_not_withdraw(void **state)
{
    (void)state;
    Parley__PublishReply *reply;
    ProtobufCMessage *withdrawn = NULL;
    publish_as("shop", &reply);
    const char *shop = guests.as.certificate;
    Parley__WithdrawRequest request = PARLEY__WITHDRAW_REQUEST__INIT;
    request.has_instance_id = true;
    request.instance_id = reply->instance_id;
    guests.as.certificate = pem("till");
    assert_int_equal(
        guests_bus_call("Withdraw", &request.base, &parley__withdraw_reply__descriptor, &withdrawn),
        PARLEY_PERMISSION_DENIED);
    guests.as.certificate = shop;
    assert_int_equal(
        guests_bus_call("Withdraw", &request.base, &parley__withdraw_reply__descriptor, &withdrawn),
        PARLEY_OK);
    wire_free(withdrawn);
    wire_free(reply);
}

/* ---- Who calls ---- */

static void handle_context(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                           Echo__V1__Message_Closure closure, void *data)
{
    (void)service;
    char text[128] = "(none)";
    size_t bytes;
    const char *value = parley_context_metadata(parley_context_current(), input->text, &bytes);
    if (value)
        snprintf(text, sizeof(text), "%.*s", (int)bytes, value);
    Echo__V1__Message reply = ECHO__V1__MESSAGE__INIT;
    reply.text = text;
    closure(&reply, data);
}

static void serve_natively(struct parley_service **ret_service)
{
    static Echo__V1__Echo_Service echo = ECHO_SERVICE(.context = handle_context);
    const struct parley_service_options quick = {.drain_timeout_ns = NS_PER_MS};
    assert_int_equal(parley_service_new(guests.endpoint, &echo__v1__echo__interface, &echo.base,
                                        &quick, ret_service),
                     PARLEY_OK);
}

static struct bus_text text_of(const char *text)
{
    return (struct bus_text){text, strlen(text)};
}

/* What the service's handler finds under @key if @name asks over TLS, and claims @claim of itself.
 * Return: the call's status. */
static enum parley_status handler_sees(const char *name, char *key, const char *claim,
                                       char ret_text[128])
{
    static const char identity[] = "parley.peer.identity";
    uint8_t block[128] = {sizeof(identity) - 1, claim ? (uint8_t)strlen(claim) : 0, 0};
    struct bus_frame frame = {.header = {.kind = FRAME_REQUEST, .method = BUS_FRAME_METHOD_BY_NAME},
                              .interface = text_of("echo"),
                              .method = text_of("Context")};
    if (claim) {
        memcpy(block + 3, identity, sizeof(identity) - 1);
        memcpy(block + 2 + sizeof(identity), claim, strlen(claim));
        frame.metadata = block;
        frame.metadata_bytes = 2 + sizeof(identity) + strlen(claim);
    }
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT;
    request.text = key;
    frame.payload_bytes = echo__v1__message__get_packed_size(&request);
    size_t head = bus_frame_head_bytes(&frame);
    nng_socket socket;
    nng_msg *message;
    const struct guest_certificate as = {pem("authority"), pem(name)};
    assert_int_equal(nng_req0_open(&socket), 0);
    guests_connect(socket, guests.bus, &as);
    assert_int_equal(nng_msg_alloc(&message, head + frame.payload_bytes), 0);
    assert_int_equal(bus_frame_write(&frame, nng_msg_body(message), head), 0);
    echo__v1__message__pack(&request, (uint8_t *)nng_msg_body(message) + head);
    assert_int_equal(nng_sendmsg(socket, message, 0), 0);
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    int n;
    while ((n = nng_recvmsg(socket, &message, NNG_FLAG_NONBLOCK)) == NNG_EAGAIN) {
        assert_true(clock_now_ns() < until);
        guests_turn();
    }
    assert_int_equal(n, 0);
    struct error_text error = {""};
    if (bus_frame_read(nng_msg_body(message), nng_msg_len(message), &frame, &error) < 0)
        fail_msg("%s", error.text);
    if (frame.header.status == PARLEY_OK) {
        Echo__V1__Message *reply =
            echo__v1__message__unpack(NULL, frame.payload_bytes, frame.payload);
        assert_non_null(reply);
        snprintf(ret_text, 128, "%s", reply->text);
        echo__v1__message__free_unpacked(reply, NULL);
    }
    enum parley_status status = (enum parley_status)frame.header.status;
    nng_msg_free(message);
    (void)nng_close_socket(socket.id);
    return status;
}

static void test_a_native_handler_sees_whose_certificate_asks(void **state)
{
    (void)state;
    struct parley_service *service;
    char text[128] = "", key[] = "parley.peer.identity", uid[] = "parley.peer.uid";
    serve_natively(&service);
    assert_int_equal(handler_sees("shop", key, NULL, text), PARLEY_OK);
    assert_string_equal(text, "shop");
    assert_int_equal(handler_sees("till", key, NULL, text), PARLEY_OK);
    assert_string_equal(text, "till");
    assert_int_equal(handler_sees("shop", uid, NULL, text), PARLEY_OK);
    assert_string_equal(text, "(none)"); /* not the broker's, by whose channel it comes */
    assert_int_equal(handler_sees("till", key, "shop", text), PARLEY_INVALID_ARGUMENT);
    parley_service_free(service);
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_another_certificate_of_the_same_authority_does_not_serve, begin, guests_tear_down),
        cmocka_unit_test_setup_teardown(test_another_certificate_does_not_withdraw, begin,
                                        guests_tear_down),
        cmocka_unit_test_setup_teardown(test_a_native_handler_sees_whose_certificate_asks, begin,
                                        guests_tear_down),
    };
    make_certificates();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return folder_run(folder, run_all);
}
