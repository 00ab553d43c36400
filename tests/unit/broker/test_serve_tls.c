/*
 * REP sockets that serve over TLS: only the certificate that has published may.
 */
#include "guests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nng/protocol/reqrep0/rep.h>

#include "base/clock.h"
#include "support/certificates.h"
#include "support/folder.h"
#include "wire/wire.h"

static char folder[] = "/tmp/parley-serve-tls-XXXXXX";
static const char *const names[] = {"server", "shop", "till"};
static const uint8_t seven[] = {0x10, 7}; /* a Message whose number is 7 */

static char paths[4][512]; /* of these, and of the authority; the broker borrows them */

static const char *pem(const char *name)
{
    size_t i = 0;
    while (i < 3 && strcmp(names[i], name) != 0)
        i++;
    snprintf(paths[i], sizeof(paths[i]), "%s/%s.pem", folder, name);
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

static int end(void **state)
{
    (void)state;
    guests_end();
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
    nng_close(other);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_another_certificate_of_the_same_authority_does_not_serve, begin, end),
        cmocka_unit_test_setup_teardown(test_another_certificate_does_not_withdraw, begin, end),
    };
    pid_t guard = folder_guard(folder);
    if (guard < 0)
        return 1;
    make_certificates();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(pem("authority"));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        (void)unlink(pem(names[i]));
    (void)rmdir(folder);
    folder_unguard(guard);
    return failed;
}
