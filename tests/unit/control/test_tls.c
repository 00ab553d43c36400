/*
 * TLS between a replier and its askers: who is let in, and as whom. Certificates are made here.
 */
#include "support/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/tls/tls.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/nng.h"
#include "control/replier.h"
#include "control/tls.h"
#include "support/certificates.h"
#include "support/folder.h"

#define PATIENCE_NS (20 * NS_PER_S)

static char folder[] = "/tmp/parley-tls-XXXXXX";

static const char *pem(const char *name)
{
    return certificate_path(folder, name);
}

struct fixture {
    struct replier *replier;
    struct replier_peer came;
    unsigned came_count;
    struct replier_request *request;
    const uint8_t *data;
    size_t bytes;
};

static void on_came(const struct replier_peer *peer, void *data)
{
    struct fixture *f = data;
    f->came = *peer;
    f->came_count++;
}

static int start_with(struct fixture *f, const struct tls_settings *tls, struct error_text *error)
{
    static const char *const urls[] = {"tls+tcp://127.0.0.1:0"};
    const struct replier_options options = {.urls = urls,
                                            .url_count = 1,
                                            .bytes_max = 4u << 20,
                                            .backend = "stream",
                                            .tls = tls,
                                            .came = on_came,
                                            .data = f};
    return replier_new(&options, &f->replier, error);
}

static void start(struct fixture *f, bool optional)
{
    const struct tls_settings tls = {
        .ca = pem("authority"), .certificate = pem("server"), .optional = optional};
    struct error_text error = {""};
    if (start_with(f, &tls, &error) != 0)
        fail_msg("%s", error.text);
}

static void turn(struct fixture *f)
{
    if (!f->request && replier_receive(f->replier, &f->request, &f->data, &f->bytes) != 0)
        f->request = NULL;
}

static int connect_to(const struct fixture *f)
{
    unsigned port;
    assert_int_equal(sscanf(replier_url(f->replier, 0), "tls+tcp://127.0.0.1:%u", &port), 1);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(connect(fd, (struct sockaddr *)&address, sizeof(address)), errno);
    assert_return_code(fcntl(fd, F_SETFL, O_NONBLOCK), errno);
    return fd;
}

/* Greets with this certificate. Return: whether it was let in. */
static bool try(struct fixture *f, const char *certificate, const char *server_name)
{
    const struct tls_settings settings = {.ca = pem("authority"),
                                          .certificate = certificate ? pem(certificate) : NULL};
    struct tls_context *context;
    struct tls_session *session;
    struct error_text error = {""};
    if (tls_context_new(&settings, server_name, &context, &error) != 0)
        fail_msg("%s", error.text);
    int fd = connect_to(f);
    assert_int_equal(tls_session_new(context, fd, &session), 0);
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    unsigned before = f->came_count;
    bool shaken = false, greeted = false;
    int r = TLS_E_AGAIN;
    while ((r == TLS_E_AGAIN || r == 0) && f->came_count == before) {
        assert_true(clock_now_ns() < until);
        turn(f);
        uint8_t in[8];
        size_t n;
        if (!shaken) {
            r = tls_session_handshake(session, &error);
            shaken = r == 0;
            continue;
        }
        if (!greeted)
            greeted = tls_session_write(session, "\0SP\0\0\x30\0\0", 8, &n) == 0;
        r = tls_session_read(session, in, sizeof(in), &n);
    }
    tls_session_free(session);
    tls_context_free(context);
    close(fd);
    return f->came_count > before;
}

/* ---- Askers ---- */

static void test_a_certificate_says_who_asks(void **state)
{
    struct fixture *f = *state;
    start(f, false);
    assert_true(try(f, "client", "127.0.0.1"));
    assert_string_equal(f->came.identity, "orders-client");
    assert_true(f->came.encrypted);
    assert_false(f->came.local);
}

static void test_who_has_no_certificate_is_not_let_in(void **state)
{
    struct fixture *f = *state;
    start(f, false);
    assert_false(try(f, NULL, "127.0.0.1"));
}

static void test_who_need_not_have_one_is_nobody_in_particular(void **state)
{
    struct fixture *f = *state;
    start(f, true);
    assert_true(try(f, NULL, "127.0.0.1"));
    assert_string_equal(f->came.identity, "");
    assert_true(f->came.encrypted);
    assert_true(try(f, "client", "127.0.0.1"));
    assert_string_equal(f->came.identity, "orders-client");
}

static void test_certificates_that_prove_nothing_are_refused(void **state)
{
    static const char *const wrong[] = {"stranger",  "self", "expired", "nameless",
                                        "two_names", "zero", "control"};
    struct fixture *f = *state;
    start(f, true);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (try(f, wrong[i], "127.0.0.1"))
            fail_msg("%s was let in, as \"%s\"", wrong[i], f->came.identity);
}

static void test_a_client_believes_only_the_server_that_it_dialled(void **state)
{
    struct fixture *f = *state;
    start(f, true);
    assert_false(try(f, "client", "127.0.0.2"));
    assert_false(try(f, "client", "orders.example"));
    assert_true(try(f, "client", "127.0.0.1"));
}

static void test_what_is_no_tls_is_hung_up_on(void **state)
{
    static const char *const texts[] = {"\0SP\0\0\x30\0\0", "GET / HTTP/1.0\r\n\r\n",
                                        "\x16\x03\x01\xff\xff",
                                        "\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff"};
    static const size_t bytes[] = {8, 18, 5, 10};
    struct fixture *f = *state;
    start(f, true);
    for (size_t i = 0; i < 4; i++) {
        int fd = connect_to(f);
        assert_true(send(fd, texts[i], bytes[i], MSG_NOSIGNAL) > 0);
        assert_return_code(shutdown(fd, SHUT_WR), errno);
        uint64_t until = clock_now_ns() + PATIENCE_NS;
        char in[256];
        ssize_t n;
        do {
            assert_true(clock_now_ns() < until);
            turn(f);
            n = recv(fd, in, sizeof(in), MSG_DONTWAIT);
        } while (n > 0 || (n < 0 && errno == EAGAIN));
        close(fd);
    }
    assert_int_equal(f->came_count, 0);
    assert_true(try(f, "client", "127.0.0.1"));
}

/* ---- libnng ---- */

static char *text_of(const char *path)
{
    char *text = calloc(1, 16384);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_true(fread(text, 1, 16383, file) > 0);
    fclose(file);
    return text;
}

static _Atomic bool aio_done;

static void on_aio(void *data)
{
    (void)data;
    aio_done = true;
}

/* It waits for a connection, which needs us. */
static int send_turning(struct fixture *f, nng_socket socket, nng_aio *aio, nng_msg *message)
{
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    nng_aio_set_msg(aio, message);
    aio_done = false;
    nng_send_aio(socket, aio);
    while (!aio_done) {
        assert_true(clock_now_ns() < until);
        turn(f);
    }
    return nng_aio_result(aio);
}

static void test_libnng_asks_over_tls(void **state)
{
    struct fixture *f = *state;
    start(f, false);
    nng_socket socket;
    nng_dialer dialer;
    nng_tls_config *config;
    char *own = text_of(pem("client"));
    assert_int_equal(nng_req0_open(&socket), 0);
    if (nng_tls_config_alloc(&config, NNG_TLS_MODE_CLIENT) != 0)
        skip(); /* this libnng has no TLS */
    assert_int_equal(nng_tls_config_ca_file(config, pem("authority")), 0);
    assert_int_equal(nng_tls_config_own_cert(config, own, own, NULL), 0);
    assert_int_equal(nng_tls_config_server_name(config, "localhost"), 0);
    assert_int_equal(nng_tls_config_auth_mode(config, NNG_TLS_AUTH_MODE_NONE), 0);
    assert_int_equal(nng_dialer_create(&dialer, socket, replier_url(f->replier, 0)), 0);
    assert_int_equal(nng_dialer_set_ptr(dialer, NNG_OPT_TLS_CONFIG, config), 0);
    assert_int_equal(nng_dialer_start(dialer, NNG_FLAG_NONBLOCK), 0);
    static const size_t sizes[] = {1, 70000, 3u << 20};
    nng_aio *aio;
    assert_int_equal(nng_aio_alloc(&aio, on_aio, NULL), 0);
    for (size_t i = 0; i < 3; i++) {
        nng_msg *message;
        uint64_t until = clock_now_ns() + PATIENCE_NS;
        assert_int_equal(nng_msg_alloc(&message, sizes[i]), 0);
        memset(nng_msg_body(message), 'a' + (int)i, sizes[i]);
        assert_int_equal(send_turning(f, socket, aio, message), 0);
        while (!f->request) {
            assert_true(clock_now_ns() < until);
            turn(f);
        }
        assert_int_equal(f->bytes, sizes[i]);
        assert_int_equal(f->data[sizes[i] - 1], 'a' + (int)i);
        assert_string_equal(replier_request_peer(f->request)->identity, "orders-client");
        assert_int_equal(replier_answer(f->request, f->data, f->bytes), 0);
        f->request = NULL;
        aio_done = false;
        nng_recv_aio(socket, aio);
        while (!aio_done) {
            assert_true(clock_now_ns() < until);
            turn(f);
        }
        assert_int_equal(nng_aio_result(aio), 0);
        message = nng_aio_get_msg(aio);
        assert_int_equal(nng_msg_len(message), sizes[i]);
        nng_msg_free(message);
    }
    nng_aio_free(aio);
    (void)nng_close_socket(socket.id);
    nng_tls_config_free(config);
    free(own);
}

/* ---- Settings ---- */

static void test_wrong_settings_are_refused_by_name(void **state)
{
    struct fixture *f = *state;
    const struct {
        struct tls_settings tls;
        const char *word;
    } cases[] = {
        {{.ca = pem("authority")}, "needs a certificate"},
        {{.certificate = "/nowhere/x.pem"}, "/nowhere/x.pem"},
        {{.certificate = pem("server"), .key = "/nowhere/key.pem"}, "/nowhere/key.pem"},
        {{.certificate = pem("server"), .ca = "/nowhere/ca.pem"}, "/nowhere/ca.pem"},
        {{.certificate = pem("server"), .key = pem("client")}, "client.pem"},
        {{.certificate = "/etc/hostname"}, "/etc/hostname"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error_text error = {""};
        assert_true(start_with(f, &cases[i].tls, &error) < 0);
        if (!strstr(error.text, cases[i].word))
            fail_msg("case %zu: \"%s\"", i, error.text);
    }
    struct error_text error = {""};
    assert_true(start_with(f, NULL, &error) < 0);
    assert_non_null(strstr(error.text, "needs certificates"));
}

static int set_up(void **state)
{
    *state = calloc(1, sizeof(struct fixture));
    return *state ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    replier_drop(f->request);
    replier_free(f->replier);
    free(f);
    return 0;
}

static int make_certificates(void **state)
{
    (void)state;
    const struct {
        const char *file;
        struct certificate_wish wish;
    } all[] = {
        {"authority", {.name = "an authority"}},
        {"other", {.name = "another authority"}},
        {"server", {.name = "bus", .address = "127.0.0.1", .authority = "authority"}},
        {"client", {.name = "orders-client", .authority = "authority"}},
        {"stranger", {.name = "orders-client", .authority = "other"}},
        {"self", {.name = "orders-client"}},
        {"expired", {.name = "orders-client", .authority = "authority", .seconds = -3600}},
        {"nameless", {.authority = "authority"}},
        {"two_names", {.name = "a", .other_name = "orders-client", .authority = "authority"}},
        {"zero", {.name = "orders\0client", .name_bytes = 13, .authority = "authority"}},
        {"control", {.name = "orders\nclient", .authority = "authority"}},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        certificate_make(folder, all[i].file, &all[i].wish);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_certificate_says_who_asks),
        TEST(test_who_has_no_certificate_is_not_let_in),
        TEST(test_who_need_not_have_one_is_nobody_in_particular),
        TEST(test_certificates_that_prove_nothing_are_refused),
        TEST(test_a_client_believes_only_the_server_that_it_dialled),
        TEST(test_what_is_no_tls_is_hung_up_on),
        TEST(test_libnng_asks_over_tls),
        TEST(test_wrong_settings_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, make_certificates, NULL);
}

int main(void)
{
    return folder_run(folder, run_all);
}
