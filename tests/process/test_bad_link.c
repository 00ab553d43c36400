/*
 * Garbage to the broker: over its unix socket, out of turn or with wrong descriptors; schemas that
 * do not parse; over its control socket. Each gets an answer that says what is wrong, the broker's
 * log has a line, and somebody else's calls go on.
 */
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/nng.h"
#include "echo.parley.h"
#include "parley/control.pb-c.h"
#include "support/beside.h"
#include "support/rogue.h"
#include "wire/wire.h"

static void assert_logged(const char *text)
{
    if (!bus_log_has(&bus, text))
        fail_msg("expected '%s' in the broker's log", text);
}

/* The end of a rogue who has just done something. */
static void assert_farewell(struct rogue *rogue, enum parley_status status, const char *text)
{
    rogue_expect_farewell(rogue, status, text);
    rogue_leave(rogue);
    assert_logged(text);
    steady_check(&steady);
}

/* ---- Packets ---- */

static void test_garbage_on_the_link_is_answered_with_a_farewell(void **state)
{
    (void)state;
    struct rogue rogue;
    rogue_connect(&rogue, &bus);
    rogue_send_raw(&rogue, "GET / HTTP/1.1\r\n\r\n", 18, NULL, 0);
    assert_farewell(&rogue, PARLEY_INVALID_ARGUMENT, "");
    rogue_join(&rogue, &bus);
    rogue_send_raw(&rogue, "\xff\xff\xff\xff\xff\xff", 6, NULL, 0);
    rogue_expect_farewell(&rogue, PARLEY_INVALID_ARGUMENT, "");
    rogue_leave(&rogue);
    assert_logged("rogue (pid");
    steady_check(&steady);
}

static void test_a_message_before_hello_is_refused(void **state)
{
    (void)state;
    struct rogue rogue;
    Parley__Close body = PARLEY__CLOSE__INIT;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_CLOSE;
    message.close = &body;
    rogue_connect(&rogue, &bus);
    rogue_send(&rogue, &message, NULL, 0);
    assert_farewell(&rogue, PARLEY_INVALID_ARGUMENT, "a message before Hello");
}

static void test_a_second_hello_is_refused(void **state)
{
    (void)state;
    struct rogue rogue;
    rogue_join(&rogue, &bus);
    Parley__Hello hello = rogue_hello(&rogue);
    rogue_say_hello(&rogue, &hello, &rogue.stats.fd, 1);
    assert_farewell(&rogue, PARLEY_INVALID_ARGUMENT, "a second Hello");
}

static void test_a_message_of_the_brokers_own_is_refused(void **state)
{
    (void)state;
    struct rogue rogue;
    Parley__Welcome body = PARLEY__WELCOME__INIT;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_WELCOME;
    message.welcome = &body;
    rogue_join(&rogue, &bus);
    rogue_send(&rogue, &message, NULL, 0);
    assert_farewell(&rogue, PARLEY_INVALID_ARGUMENT, "is the broker's to send");
}

static void test_more_descriptors_than_belong_are_refused_and_closed(void **state)
{
    (void)state;
    struct rogue rogue;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    Parley__Close body = PARLEY__CLOSE__INIT;
    uint8_t packed[64];
    int pipes[2];
    char byte;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_CLOSE;
    message.close = &body;
    size_t bytes = parley__link_message__pack(&message, packed);
    for (size_t count = 1; count <= 8; count++) {
        int fds[8];
        rogue_join(&rogue, &bus);
        assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
        for (size_t i = 0; i < count; i++)
            fds[i] = pipes[1];
        rogue_send_raw(&rogue, packed, bytes, fds, count);
        close(pipes[1]);
        rogue_expect_farewell(&rogue, PARLEY_INVALID_ARGUMENT, "descriptors");
        rogue_leave(&rogue);
        /* Ours was closed: the pipe ends once the broker has closed all of its. */
        assert_int_equal(read(pipes[0], &byte, 1), 0);
        close(pipes[0]);
    }
    assert_logged("descriptors");
    steady_check(&steady);
}

static void test_a_body_in_an_unsealed_memfd_is_refused(void **state)
{
    (void)state;
    struct rogue rogue;
    uint8_t packet[9] = {0, 0x00, 0x00, 0x01}; /* mark; length, little-endian */
    int fd = memfd_create("body", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, 65536), 0);
    packet[3] = 1; /* 65536 */
    rogue_join(&rogue, &bus);
    rogue_send_raw(&rogue, packet, sizeof(packet), &fd, 1);
    close(fd);
    assert_farewell(&rogue, PARLEY_INVALID_ARGUMENT, "seal");
}

/* ---- Hello ---- */

static void assert_hello_refused(Parley__Hello *hello, struct rogue *rogue, int fd,
                                 enum parley_status status, const char *text)
{
    rogue_say_hello(rogue, hello, &fd, fd >= 0);
    assert_farewell(rogue, status, text);
}

static void test_another_protocol_is_refused_by_number(void **state)
{
    (void)state;
    struct rogue rogue;
    rogue_connect(&rogue, &bus);
    Parley__Hello hello = rogue_hello(&rogue);
    hello.protocol = 99;
    assert_hello_refused(&hello, &rogue, rogue.stats.fd, PARLEY_FAILED_PRECONDITION, "protocol 99");
}

static void test_a_hello_without_statistics_is_refused(void **state)
{
    (void)state;
    struct rogue rogue;
    rogue_connect(&rogue, &bus);
    Parley__Hello hello = rogue_hello(&rogue);
    assert_hello_refused(&hello, &rogue, -1, PARLEY_INVALID_ARGUMENT, "descriptors");
}

static void test_a_name_that_would_forge_a_log_line_is_refused(void **state)
{
    (void)state;
    struct rogue rogue;
    rogue_connect(&rogue, &bus);
    Parley__Hello hello = rogue_hello(&rogue);
    hello.name = (char *)"evil\nparleyd: info: all is well";
    assert_hello_refused(&hello, &rogue, rogue.stats.fd, PARLEY_INVALID_ARGUMENT, "printable");
}

static void test_an_unsealed_statistics_region_is_refused(void **state)
{
    (void)state;
    struct rogue rogue;
    rogue_connect(&rogue, &bus);
    Parley__Hello hello = rogue_hello(&rogue);
    int fd = memfd_create("stats", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(posix_fallocate(fd, 0, (off_t)rogue.stats.bytes), 0);
    assert_hello_refused(&hello, &rogue, fd, PARLEY_INVALID_ARGUMENT, "lacks seals");
    close(fd);
}

static void test_a_truncated_statistics_region_is_refused(void **state)
{
    (void)state;
    struct rogue rogue;
    struct region region;
    struct error_text error;
    rogue_connect(&rogue, &bus);
    Parley__Hello hello = rogue_hello(&rogue);
    assert_int_equal(region_create(&region, "stats", 4096, &error), 0);
    assert_hello_refused(&hello, &rogue, region.fd, PARLEY_INVALID_ARGUMENT, "truncated");
    region_deinit(&region);
}

static void test_somebody_elses_statistics_region_is_refused(void **state)
{
    (void)state;
    struct rogue rogue;
    rogue_connect(&rogue, &bus);
    Parley__Hello hello = rogue_hello(&rogue);
    hello.endpoint_id++;
    assert_hello_refused(&hello, &rogue, rogue.stats.fd, PARLEY_INVALID_ARGUMENT,
                         "not this endpoint's");
}

static void test_endpoints_that_leave_in_mid_handshake_harm_nobody(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 32; i++) {
        struct rogue rogue;
        rogue_connect(&rogue, &bus);
        if (i % 2) {
            Parley__Hello hello = rogue_hello(&rogue);
            rogue_say_hello(&rogue, &hello, &rogue.stats.fd, 1);
        }
        rogue_leave(&rogue);
    }
    struct rogue rogue;
    rogue_join(&rogue, &bus);
    rogue_leave(&rogue);
    steady_check(&steady);
}

/* ---- Schemas ---- */

static Parley__Publish a_publication(void)
{
    Parley__Publish body = PARLEY__PUBLISH__INIT;
    body.has_instance_id = true;
    body.instance_id = 4711;
    body.interface = (char *)"echo";
    body.version = (char *)"9.0.0";
    body.service = (char *)"echo.v1.Echo";
    body.has_descriptor_set = true;
    return body;
}

/* Refused, with the link still up. */
static void assert_publish_refused(Parley__Publish *body, const char *text)
{
    struct rogue rogue;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_PUBLISH;
    message.publish = body;
    rogue_join(&rogue, &bus);
    for (unsigned i = 0; i < 2; i++) {
        rogue_send(&rogue, &message, NULL, 0);
        assert_int_equal(rogue_receive(&rogue), PARLEY__LINK_MESSAGE__BODY_PUBLISHED);
        const Parley__Published *published = rogue.message->published;
        assert_string_equal(parley_status_name((enum parley_status)published->status),
                            "INVALID_ARGUMENT");
        if (!published->text || !strstr(published->text, text))
            fail_msg("expected '%s' in the refusal: %s", text,
                     published->text ? published->text : "");
    }
    rogue_leave(&rogue);
    assert_logged("may not publish");
    assert_logged(text);
    steady_check(&steady);
}

static void test_a_schema_that_does_not_parse_is_refused(void **state)
{
    (void)state;
    Parley__Publish body = a_publication();
    body.descriptor_set.data = (uint8_t *)(uintptr_t) "\x0a\x7fthis is no FileDescriptorSet";
    body.descriptor_set.len = 30;
    assert_publish_refused(&body, "descriptor");
}

static void test_half_a_schema_is_refused(void **state)
{
    (void)state;
    Parley__Publish body = a_publication();
    body.version = (char *)"1.0.0";
    body.descriptor_set.data = (uint8_t *)(uintptr_t)echo__v1__echo__interface.descriptor_set;
    body.descriptor_set.len = echo__v1__echo__interface.descriptor_set_bytes / 2;
    assert_publish_refused(&body, "");
}

static void test_no_schema_is_refused(void **state)
{
    (void)state;
    Parley__Publish body = a_publication();
    assert_publish_refused(&body, "");
}

static void test_a_schema_of_another_version_is_refused(void **state)
{
    (void)state;
    Parley__Publish body = a_publication();
    body.descriptor_set.data = (uint8_t *)(uintptr_t)echo__v1__echo__interface.descriptor_set;
    body.descriptor_set.len = echo__v1__echo__interface.descriptor_set_bytes;
    assert_publish_refused(&body, "9.0.0");
}

static void test_a_name_that_is_none_is_refused(void **state)
{
    (void)state;
    Parley__Publish body = a_publication();
    body.interface = (char *)"../Echo";
    assert_publish_refused(&body, "is no name of an interface");
}

static void test_a_client_with_a_schema_that_does_not_parse_is_refused(void **state)
{
    (void)state;
    struct rogue rogue;
    Parley__Open body = PARLEY__OPEN__INIT;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_OPEN;
    message.open = &body;
    body.has_contract_id = true;
    body.contract_id = 1;
    body.interface = (char *)"echo";
    body.version = (char *)"1.0.0";
    body.service = (char *)"echo.v1.Echo";
    body.has_descriptor_set = true;
    body.descriptor_set.data = (uint8_t *)(uintptr_t) "\xff\xff\xff";
    body.descriptor_set.len = 3;
    rogue_join(&rogue, &bus);
    rogue_send(&rogue, &message, NULL, 0);
    assert_int_equal(rogue_receive(&rogue), PARLEY__LINK_MESSAGE__BODY_OPENED);
    assert_int_equal(rogue.message->opened->status, PARLEY_INVALID_ARGUMENT);
    assert_true(rogue.message->opened->text && *rogue.message->opened->text);
    rogue_leave(&rogue);
    assert_logged("may not open a contract");
    steady_check(&steady);
}

static void test_connecting_to_nobody_fails_by_name(void **state)
{
    (void)state;
    struct rogue rogue;
    int bells[2];
    rogue_open(&rogue, &bus);
    rogue_hello(&rogue);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, bells), 0);
    rogue.instance_id++;
    rogue_say_connect(&rogue, rogue.stats.fd, bells[1]);
    assert_int_equal(rogue_receive(&rogue), PARLEY__LINK_MESSAGE__BODY_CONNECT_FAILED);
    assert_string_equal(rogue.message->connect_failed->text, "the instance has left");
    close(bells[1]);
    /* The broker has closed the doorbell that it did not pass on. */
    assert_int_equal(rogue_bell(bells[0], NULL).kind, 0);
    close(bells[0]);
    rogue_leave(&rogue);
    steady_check(&steady);
}

/* ---- The control socket ---- */

static Parley__ControlReply *ask(const void *data, size_t bytes)
{
    struct error_text error = {.text = ""};
    struct nng_asker *asker;
    ProtobufCMessage *reply;
    uint8_t *answer = NULL;
    size_t answer_bytes = 0;
    char url[128];
    snprintf(url, sizeof(url), "ipc://%s/control.ipc", bus.dir);
    if (nng_asker_new(url, 10 * NS_PER_S, &asker, &error) != 0 ||
        nng_asker_ask(asker, data, bytes, &answer, &answer_bytes, &error) != 0)
        fail_msg("%s", error.text);
    nng_asker_free(asker);
    assert_int_equal(
        wire_unpack(&parley__control_reply__descriptor, answer, answer_bytes, NULL, &reply, &error),
        0);
    free(answer);
    return (Parley__ControlReply *)reply;
}

static void assert_answer(const void *data, size_t bytes, enum parley_status status,
                          const char *text)
{
    Parley__ControlReply *reply = ask(data, bytes);
    assert_string_equal(parley_status_name((enum parley_status)reply->status),
                        parley_status_name(status));
    if (!reply->text || !strstr(reply->text, text))
        fail_msg("expected '%s' in the answer: %s", text, reply->text ? reply->text : "");
    wire_free(reply);
}

static void test_a_control_message_that_is_garbage_is_answered(void **state)
{
    (void)state;
    assert_answer("\xff\xff\xff\xff", 4, PARLEY_INVALID_ARGUMENT, "no ControlRequest");
    assert_answer("{\"list\": {}}", 12, PARLEY_INVALID_ARGUMENT, "no ControlRequest");
    assert_answer("\x1a\x05\x0a", 3, PARLEY_INVALID_ARGUMENT, "no ControlRequest"); /* cut */
    assert_logged("the request is no ControlRequest");
    assert_answer("", 0, PARLEY_UNIMPLEMENTED, "empty");
    steady_check(&steady);
}

static void test_a_control_message_without_sense_is_answered(void **state)
{
    (void)state;
    Parley__ControlRequest request = PARLEY__CONTROL_REQUEST__INIT;
    Parley__RouteRequest route = PARLEY__ROUTE_REQUEST__INIT;
    Parley__RouteWeight weight = PARLEY__ROUTE_WEIGHT__INIT, *weights[] = {&weight};
    uint8_t packed[128];
    request.body_case = PARLEY__CONTROL_REQUEST__BODY_ROUTE;
    request.route = &route;
    route.interface = (char *)"echo";
    route.n_weight = 1;
    route.weight = weights;
    weight.version = (char *)"1.0.0";
    weight.has_weight = true;
    static const double senseless[] = {0, -1, 0.0 / 0.0, 1.0 / 0.0};
    for (size_t i = 0; i < sizeof(senseless) / sizeof(senseless[0]); i++) {
        weight.weight = senseless[i];
        size_t bytes = parley__control_request__pack(&request, packed);
        assert_answer(packed, bytes, PARLEY_INVALID_ARGUMENT, "");
    }
    weight.weight = 1;
    weight.version = (char *)"7.7.7";
    assert_answer(packed, parley__control_request__pack(&request, packed), PARLEY_NOT_FOUND,
                  "7.7.7");
    steady_check(&steady); /* and everything still goes to version 1.0.0 */
}

static void test_what_is_no_nng_on_the_control_socket_is_hung_up_on(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char byte;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/control.ipc", bus.dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval watchdog = {.tv_sec = 10};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &watchdog, sizeof(watchdog)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL), 18);
    ssize_t n;
    while ((n = recv(fd, &byte, 1, 0)) > 0)
        ; /* NNG's own greeting, then the end */
    assert_true(n == 0 || errno == ECONNRESET);
    close(fd);
    assert_answer("\xff", 1, PARLEY_INVALID_ARGUMENT, "no ControlRequest");
    steady_check(&steady);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_garbage_on_the_link_is_answered_with_a_farewell),
        cmocka_unit_test(test_a_message_before_hello_is_refused),
        cmocka_unit_test(test_a_second_hello_is_refused),
        cmocka_unit_test(test_a_message_of_the_brokers_own_is_refused),
        cmocka_unit_test(test_more_descriptors_than_belong_are_refused_and_closed),
        cmocka_unit_test(test_a_body_in_an_unsealed_memfd_is_refused),
        cmocka_unit_test(test_another_protocol_is_refused_by_number),
        cmocka_unit_test(test_a_hello_without_statistics_is_refused),
        cmocka_unit_test(test_a_name_that_would_forge_a_log_line_is_refused),
        cmocka_unit_test(test_an_unsealed_statistics_region_is_refused),
        cmocka_unit_test(test_a_truncated_statistics_region_is_refused),
        cmocka_unit_test(test_somebody_elses_statistics_region_is_refused),
        cmocka_unit_test(test_endpoints_that_leave_in_mid_handshake_harm_nobody),
        cmocka_unit_test(test_a_schema_that_does_not_parse_is_refused),
        cmocka_unit_test(test_half_a_schema_is_refused),
        cmocka_unit_test(test_no_schema_is_refused),
        cmocka_unit_test(test_a_schema_of_another_version_is_refused),
        cmocka_unit_test(test_a_name_that_is_none_is_refused),
        cmocka_unit_test(test_a_client_with_a_schema_that_does_not_parse_is_refused),
        cmocka_unit_test(test_connecting_to_nobody_fails_by_name),
        cmocka_unit_test(test_a_control_message_that_is_garbage_is_answered),
        cmocka_unit_test(test_a_control_message_without_sense_is_answered),
        cmocka_unit_test(test_what_is_no_nng_on_the_control_socket_is_hung_up_on),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
