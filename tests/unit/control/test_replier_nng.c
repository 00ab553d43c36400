/*
 * What only the replier on libnng does: answers that wait for who reads late, what becomes of who
 * does not read at all, and whom it believes by wss. By ws, which nothing else serves; the asker is
 * libnng's raw REQ socket, which has any number of requests on their way, and whose queue here is
 * short: so it reads only as fast as it is asked for answers.
 */
#include "support/test.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/tls/tls.h>

#include "base/clock.h"
#include "control/nng.h"
#include "control/replier.h"
#include "control/tls.h"
#include "support/certificates.h"
#include "support/folder.h"
#include "support/until.h"

#define LAST_WORD UINT32_C(0x80000000)
#define ANSWER_BYTES 32768 /* more of them than all buffers between the two can hold */
#define LATE 1000
#define HELD_MAX 256

struct fixture {
    struct replier *replier;
    struct replier_request *held[HELD_MAX]; /* if `hold` */
    size_t held_count;
    bool hold;
    size_t answer_bytes;
    uint32_t came, gone, requests;
};

static void on_came(const struct replier_peer *peer, void *data)
{
    (void)peer;
    ((struct fixture *)data)->came++;
}

static void on_gone(uint64_t connection, void *data)
{
    (void)connection;
    ((struct fixture *)data)->gone++;
}

/* That nobody listens on now; libnng does not say which one it has by ws. */
static unsigned free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(address);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, bytes), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
    close(fd);
    return ntohs(address.sin_port);
}

/* By options.urls, if there are any; else it listens by ws. */
static void start(struct fixture *f, struct replier_options options)
{
    char url[64];
    const char *const urls[] = {url};
    snprintf(url, sizeof(url), "ws://127.0.0.1:%u/bus", free_port());
    struct error_text error = {""};
    if (!options.urls) {
        options.urls = urls;
        options.url_count = 1;
    }
    options.bytes_max = 1u << 20;
    options.came = on_came;
    options.gone = on_gone;
    options.data = f;
    f->answer_bytes = ANSWER_BYTES;
    if (replier_new(&options, &f->replier, &error) != 0)
        fail_msg("%s", error.text);
}

static void stop(struct fixture *f)
{
    for (size_t i = 0; i < f->held_count; i++)
        replier_drop(f->held[i]);
    f->replier = replier_free(f->replier);
}

/* The request's number, and bytes to fill. */
static void answer(const struct fixture *f, struct replier_request *request, const uint8_t *data)
{
    uint8_t *out;
    assert_int_equal(replier_answer_begin(request, f->answer_bytes, &out), 0);
    memset(out, 'a', f->answer_bytes);
    memcpy(out, data, 4);
    assert_int_equal(replier_answer_end(request, f->answer_bytes), 0);
}

static void turn(struct fixture *f)
{
    struct replier_request *request;
    const uint8_t *data;
    size_t bytes;
    int r = replier_receive(f->replier, &request, &data, &bytes);
    if (r == REPLIER_E_AGAIN) {
        struct pollfd ready = {.fd = replier_fd(f->replier), .events = POLLIN};
        (void)poll(&ready, 1, 1); /* the condition may come true without us */
        return;
    }
    assert_int_equal(r, 0);
    f->requests++;
    if (!f->hold) {
        answer(f, request, data);
        return;
    }
    assert_true(f->held_count < HELD_MAX);
    f->held[f->held_count++] = request;
}

/* ---- The asker ---- */

static nng_socket raw_req(void)
{
    nng_socket socket;
    assert_int_equal(nng_req0_open_raw(&socket), 0);
    assert_int_equal(nng_socket_set_int(socket, NNG_OPT_RECVBUF, 1), 0);
    assert_int_equal(nng_socket_set_int(socket, NNG_OPT_SENDBUF, 1), 0);
    assert_int_equal(nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, 1u << 20), 0);
    assert_int_equal(nng_socket_set_ms(socket, NNG_OPT_SENDTIMEO, 1), 0);
    assert_int_equal(nng_socket_set_ms(socket, NNG_OPT_RECVTIMEO, 1), 0);
    return socket;
}

static nng_socket asker(struct fixture *f)
{
    nng_socket socket = raw_req();
    uint32_t before = f->came;
    assert_int_equal(nng_dial(socket, replier_url(f->replier, 0), NULL, 0), 0);
    UNTIL(turn(f), f->came == before + 1);
    return socket;
}

/* Return: whether it is on its way. */
static bool try_ask(nng_socket socket, uint32_t number)
{
    nng_msg *message;
    assert_int_equal(nng_msg_alloc(&message, 0), 0);
    assert_int_equal(nng_msg_header_append_u32(message, LAST_WORD | number), 0);
    assert_int_equal(nng_msg_append_u32(message, number), 0);
    int n = nng_sendmsg(socket, message, 0);
    if (n == 0)
        return true;
    assert_int_equal(n, NNG_ETIMEDOUT);
    nng_msg_free(message);
    return false;
}

static void ask(struct fixture *f, nng_socket socket, uint32_t number)
{
    UNTIL(turn(f), try_ask(socket, number));
}

static bool try_hear(nng_socket socket, uint32_t number, size_t bytes)
{
    nng_msg *message;
    uint32_t word, text;
    int n = nng_recvmsg(socket, &message, 0);
    if (n == NNG_ETIMEDOUT)
        return false;
    assert_int_equal(n, 0);
    assert_int_equal(nng_msg_len(message), bytes);
    assert_int_equal(nng_msg_header_trim_u32(message, &word), 0);
    assert_int_equal(word, LAST_WORD | number);
    assert_int_equal(nng_msg_trim_u32(message, &text), 0);
    assert_int_equal(text, number);
    nng_msg_free(message);
    return true;
}

static void hear(struct fixture *f, nng_socket socket, uint32_t number)
{
    UNTIL(turn(f), try_hear(socket, number, f->answer_bytes));
}

static uint64_t answers(const struct fixture *f)
{
    struct replier_counts counts;
    replier_counts(f->replier, &counts);
    return counts.answers;
}

/* ---- Tests ---- */

static void test_who_reads_late_has_all_answers_in_order(void **state)
{
    (void)state;
    struct fixture f = {0};
    start(&f, (struct replier_options){0});
    nng_socket late = asker(&f);
    for (uint32_t i = 0; i < LATE; i++)
        ask(&f, late, i);
    UNTIL(turn(&f), answers(&f) == LATE);
    for (uint32_t i = 0; i < LATE; i++)
        hear(&f, late, i);
    assert_int_equal(f.gone, 0);
    (void)nng_close_socket(late.id);
    stop(&f);
}

static void test_who_does_not_read_holds_nobody_up(void **state)
{
    (void)state;
    struct fixture f = {0};
    start(&f, (struct replier_options){0});
    nng_socket late = asker(&f), other = asker(&f);
    for (uint32_t i = 0; i < LATE; i++)
        ask(&f, late, i);
    ask(&f, other, 7);
    hear(&f, other, 7);
    hear(&f, late, 0);
    (void)nng_close_socket(late.id);
    (void)nng_close_socket(other.id);
    stop(&f);
}

/* 32 MiB may wait, and what buffers hold; 1 MiB each, so that none ends in the middle. */
static void test_who_lets_too_many_bytes_wait_is_hung_up_on(void **state)
{
    (void)state;
    struct fixture f = {0};
    start(&f, (struct replier_options){0});
    f.answer_bytes = 1u << 20;
    nng_socket late = asker(&f), other = asker(&f);
    for (uint32_t i = 0; i < 32; i++)
        ask(&f, late, i);
    UNTIL(turn(&f), answers(&f) == 32);
    ask(&f, other, 1);
    hear(&f, other, 1);
    assert_int_equal(f.gone, 0);
    for (uint32_t i = 32; f.gone == 0; i++) {
        assert_true(i < 128);
        (void)try_ask(late, i); /* there is nobody to ask soon */
        turn(&f);
    }
    ask(&f, other, 2);
    hear(&f, other, 2);
    (void)nng_close_socket(late.id);
    (void)nng_close_socket(other.id);
    stop(&f);
}

static void test_who_reads_nothing_for_long_is_hung_up_on(void **state)
{
    (void)state;
    struct fixture f = {0};
    start(&f, (struct replier_options){.unread_ns = 50 * NS_PER_MS});
    nng_socket late = asker(&f), other = asker(&f);
    ask(&f, other, 1);
    hear(&f, other, 1);
    for (uint32_t i = 0; f.gone == 0; i++) {
        assert_true(i < 10 * LATE);
        (void)try_ask(late, i);
        turn(&f);
    }
    ask(&f, other, 2);
    hear(&f, other, 2);
    assert_int_equal(f.gone, 1);
    (void)nng_close_socket(late.id);
    (void)nng_close_socket(other.id);
    stop(&f);
}

static void test_no_more_requests_are_taken_than_may_be_under_way(void **state)
{
    (void)state;
    struct fixture f = {.hold = true};
    start(&f, (struct replier_options){.requests_max = 100});
    nng_socket socket = asker(&f);
    for (uint32_t i = 0; i < 100; i++)
        ask(&f, socket, i);
    UNTIL(turn(&f), f.requests == 100);
    (void)try_ask(socket, 100); /* waits in NNG's queue, or in the kernel's */
    for (int i = 0; i < 50; i++)
        turn(&f);
    assert_int_equal(f.requests, 100);
    struct pollfd ready = {.fd = replier_fd(f.replier), .events = POLLIN};
    assert_int_equal(poll(&ready, 1, 0), 0);
    replier_drop(f.held[--f.held_count]);
    assert_int_equal(poll(&ready, 1, 20000), 1); /* there is a context again */
    UNTIL(turn(&f), f.requests == 101);
    assert_int_equal(f.gone, 0);
    (void)nng_close_socket(socket.id);
    stop(&f);
}

static void test_who_uses_up_what_may_be_under_way_is_hung_up_on(void **state)
{
    (void)state;
    struct fixture f = {0};
    start(&f, (struct replier_options){.requests_max = 200});
    nng_socket late = asker(&f), other = asker(&f);
    for (uint32_t i = 0; f.gone == 0; i++) {
        assert_true(i < 10 * LATE);
        (void)try_ask(late, i);
        turn(&f);
    }
    ask(&f, other, 1);
    hear(&f, other, 1);
    assert_int_equal(f.gone, 1);
    (void)nng_close_socket(late.id);
    (void)nng_close_socket(other.id);
    stop(&f);
}

static void test_who_hangs_up_leaves_no_answers_behind(void **state)
{
    (void)state;
    struct fixture f = {0};
    start(&f, (struct replier_options){.requests_max = 200});
    for (int round = 0; round < 3; round++) { /* or the third finds no context */
        nng_socket late = asker(&f);
        f.answer_bytes = 1u << 18;
        for (uint32_t i = 0; i < 120; i++)
            ask(&f, late, i);
        (void)nng_close_socket(late.id);
        UNTIL(turn(&f), f.gone == (uint32_t)round + 1);
    }
    nng_socket other = asker(&f);
    ask(&f, other, 1);
    hear(&f, other, 1);
    (void)nng_close_socket(other.id);
    stop(&f);
}

static void test_it_ends_while_answers_wait_and_requests_come(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        struct fixture f = {0};
        start(&f, (struct replier_options){0});
        nng_socket late = asker(&f);
        for (uint32_t i = 0; i < 300; i++)
            ask(&f, late, i);
        UNTIL(turn(&f), answers(&f) >= 250);
        stop(&f);
        (void)nng_close_socket(late.id);
    }
}

/* ---- By wss ---- */

static char folder[] = "/tmp/parley-replier-nng-XXXXXX";

static const char *pem(const char *name)
{
    return certificate_path(folder, name);
}

/* Those of the authority "us", each with its common name. */
static void make_certificates(void)
{
    static const char *const names[] = {"localhost", "elsewhere", "orders"};
    certificate_make(folder, "us", &(struct certificate_wish){.name = "us"});
    certificate_make(folder, "stranger", &(struct certificate_wish){.name = "orders"});
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        certificate_make(folder, names[i],
                         &(struct certificate_wish){.name = names[i], .authority = "us"});
}

/* @certificate NULL: none. A server's asks for none; a client's believes "us" and checks no name.
 */
static nng_tls_config *tls_of(nng_tls_mode mode, const char *certificate)
{
    nng_tls_config *tls;
    assert_int_equal(nng_tls_config_alloc(&tls, mode), 0);
    assert_int_equal(nng_tls_config_auth_mode(tls, NNG_TLS_AUTH_MODE_NONE), 0);
    assert_int_equal(nng_tls_config_ca_file(tls, pem("us")), 0);
    if (certificate)
        assert_int_equal(nng_tls_config_cert_key_file(tls, pem(certificate), NULL), 0);
    return tls;
}

static nng_socket asker_on(const char *url, const char *certificate)
{
    nng_socket socket = raw_req();
    nng_listener listener;
    nng_tls_config *tls = tls_of(NNG_TLS_MODE_SERVER, certificate);
    assert_int_equal(nng_listener_create(&listener, socket, url), 0);
    assert_int_equal(nng_listener_set_ptr(listener, NNG_OPT_TLS_CONFIG, tls), 0);
    assert_int_equal(nng_listener_start(listener, 0), 0);
    nng_tls_config_free(tls);
    return socket;
}

static nng_socket asker_with(const char *url, const char *certificate)
{
    nng_socket socket = raw_req();
    nng_dialer dialer;
    nng_tls_config *tls = tls_of(NNG_TLS_MODE_CLIENT, certificate);
    assert_int_equal(nng_dialer_create(&dialer, socket, url), 0);
    assert_int_equal(nng_dialer_set_ptr(dialer, NNG_OPT_TLS_CONFIG, tls), 0);
    assert_int_equal(nng_dialer_start(dialer, NNG_FLAG_NONBLOCK), 0);
    nng_tls_config_free(tls);
    return socket;
}

static void test_by_wss_only_who_has_the_dialled_name_is_believed(void **state)
{
    (void)state;
    char urls[2][64];
    for (size_t i = 0; i < 2; i++)
        snprintf(urls[i], sizeof(urls[0]), "wss://localhost:%u/bus", free_port());
    const char *const both[] = {urls[0], urls[1]};
    const struct tls_settings tls = {.ca = pem("us")};
    struct fixture f = {0};
    nng_socket wrong = asker_on(urls[0], "elsewhere"), right = asker_on(urls[1], "localhost");
    start(&f, (struct replier_options){.urls = both, .url_count = 2, .dial = true, .tls = &tls});
    UNTIL(turn(&f), f.came == 1);
    ask(&f, right, 1);
    hear(&f, right, 1);
    (void)nng_close_socket(
        right.id); /* until it has dialled again, it has tried the other one as well */
    UNTIL(turn(&f), f.gone == 1);
    right = asker_on(urls[1], "localhost");
    UNTIL(turn(&f), f.came == 2);
    ask(&f, right, 2);
    hear(&f, right, 2);
    assert_int_equal(f.came, 2);
    (void)nng_close_socket(wrong.id);
    (void)nng_close_socket(right.id);
    stop(&f);
}

static void test_by_wss_who_has_no_certificate_is_not_let_in(void **state)
{
    (void)state;
    char url[64];
    const char *const urls[] = {url};
    snprintf(url, sizeof(url), "wss://localhost:%u/bus", free_port());
    const struct tls_settings tls = {.ca = pem("us"), .certificate = pem("localhost")};
    struct fixture f = {0};
    start(&f, (struct replier_options){.urls = urls, .url_count = 1, .tls = &tls});
    nng_socket nobody = asker_with(url, NULL), stranger = asker_with(url, "stranger");
    nng_socket orders = asker_with(url, "orders");
    UNTIL(turn(&f), f.came == 1);
    ask(&f, orders, 1);
    hear(&f, orders, 1);
    /* Not one of theirs is half way when the listener closes: libnng 1.5.2 panics then, seldom. */
    (void)nng_close_socket(nobody.id);
    (void)nng_close_socket(stranger.id);
    for (uint32_t id = 2; id < 10; id++) {
        ask(&f, orders, id);
        hear(&f, orders, id);
    }
    assert_int_equal(f.came, 1);
    (void)nng_close_socket(orders.id);
    stop(&f);
}

static void test_by_wss_there_have_to_be_certificates(void **state)
{
    (void)state;
    static const char *const urls[] = {"wss://localhost:7/bus"};
    static const struct tls_settings none = {0};
    const struct tls_settings missing = {.certificate = "/nowhere/x.pem"};
    const struct {
        const struct tls_settings *tls;
        const char *words;
    } rows[] = {{NULL, "needs certificates"}, {&none, "certificate"}, {&missing, "/nowhere/x.pem"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct replier *replier;
        struct error_text error = {""};
        const struct replier_options options = {
            .urls = urls, .url_count = 1, .bytes_max = 1024, .tls = rows[i].tls};
        assert_true(replier_new(&options, &replier, &error) < 0);
        assert_non_null(strstr(error.text, rows[i].words));
    }
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_reads_late_has_all_answers_in_order),
        cmocka_unit_test(test_who_does_not_read_holds_nobody_up),
        cmocka_unit_test(test_who_lets_too_many_bytes_wait_is_hung_up_on),
        cmocka_unit_test(test_who_reads_nothing_for_long_is_hung_up_on),
        cmocka_unit_test(test_no_more_requests_are_taken_than_may_be_under_way),
        cmocka_unit_test(test_who_uses_up_what_may_be_under_way_is_hung_up_on),
        cmocka_unit_test(test_who_hangs_up_leaves_no_answers_behind),
        cmocka_unit_test(test_it_ends_while_answers_wait_and_requests_come),
        cmocka_unit_test(test_by_wss_only_who_has_the_dialled_name_is_believed),
        cmocka_unit_test(test_by_wss_who_has_no_certificate_is_not_let_in),
        cmocka_unit_test(test_by_wss_there_have_to_be_certificates),
    };
    make_certificates();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return folder_run(folder, run_all);
}
