/*
 * The requester: one REP socket that dials, libnng's or one that does what none should; and over
 * TLS only who is expected.
 */
#include "support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/supplemental/tls/tls.h>

#include "base/clock.h"
#include "control/nng.h"
#include "control/requester.h"
#include "control/stream.h"
#include "support/certificates.h"
#include "support/folder.h"
#include "support/sp.h"

#define PATIENCE_NS (20 * NS_PER_S)
#define BYTES_MAX (4u << 20)

static char folder[] = "/tmp/parley-requester-XXXXXX";

struct seen {
    unsigned came, refused, gone;
    struct replier_peer peer;
    const char *expected; /* its identity; NULL: anybody */
};

static bool on_came(const struct replier_peer *peer, void *data)
{
    struct seen *seen = data;
    if (seen->expected && strcmp(seen->expected, peer->identity) != 0) {
        seen->refused++;
        return false;
    }
    seen->came++;
    seen->peer = *peer;
    return true;
}

static void on_gone(void *data)
{
    ((struct seen *)data)->gone++;
}

static const char *new_url(void)
{
    static char url[128];
    static unsigned number;
    snprintf(url, sizeof(url), "ipc://%s/%u.ipc", folder, number++);
    return url;
}

static struct requester *requester_on(const char *url, const struct tls_settings *tls,
                                      struct seen *seen)
{
    const struct requester_options options = {.url = url,
                                              .bytes_max = BYTES_MAX,
                                              .tls = tls,
                                              .mode = 0600,
                                              .came = on_came,
                                              .gone = on_gone,
                                              .data = seen};
    struct requester *requester;
    struct error_text error = {""};
    if (requester_new(&options, &requester, &error) != 0)
        fail_msg("%s", error.text);
    return requester;
}

static void step(struct requester *requester)
{
    uint64_t left = clock_left(requester_next_deadline_ns(requester), clock_now_ns());
    int timeout = left > NS_PER_MS ? 1 : 0;
    struct pollfd ready = {.fd = requester_fd(requester), .events = POLLIN};
    assert_true(poll(&ready, 1, timeout) >= 0);
    assert_int_equal(requester_turn(requester), 0);
}

#define UNTIL(requester, condition)                                                                \
    do {                                                                                           \
        uint64_t until_ = clock_now_ns() + PATIENCE_NS;                                            \
        while (!(condition)) {                                                                     \
            assert_true(clock_now_ns() < until_);                                                  \
            step(requester);                                                                       \
        }                                                                                          \
    } while (0)

static int send_bytes(struct requester *requester, uint32_t request, const void *data, size_t bytes)
{
    uint8_t *room;
    assert_int_equal(requester_send_begin(requester, bytes + 100, &room), 0);
    if (bytes > 0)
        memcpy(room, data, bytes);
    return requester_send_end(requester, bytes, request);
}

static int send_text(struct requester *requester, uint32_t request, const char *text)
{
    return send_bytes(requester, request, text, strlen(text));
}

static bool answered(struct requester *requester, uint32_t request, const char *text)
{
    uint32_t number;
    const uint8_t *data;
    size_t bytes;
    if (requester_receive(requester, &number, &data, &bytes) == REQUESTER_E_AGAIN)
        return false;
    assert_int_equal(number, request);
    assert_int_equal(bytes, strlen(text));
    assert_memory_equal(data, text, bytes);
    return true;
}

static struct sp *rep_at(struct requester *requester, const struct seen *seen)
{
    unsigned before = seen->came;
    struct sp *sp = sp_connect(requester_url(requester));
    sp_send_hello(sp, SP_REP);
    UNTIL(requester, sp_has_hello(sp) && seen->came > before);
    assert_int_equal(sp_take_hello(sp), SP_REQ);
    return sp;
}

/* ---- libnng's REP ---- */

static nng_socket rep_to(const char *url)
{
    nng_socket socket;
    assert_int_equal(nng_rep0_open_raw(&socket), 0);
    assert_int_equal(nng_dial(socket, url, NULL, NNG_FLAG_NONBLOCK), 0);
    return socket;
}

static nng_msg *take(struct requester *requester, nng_socket socket)
{
    nng_msg *message = NULL;
    UNTIL(requester, nng_recvmsg(socket, &message, NNG_FLAG_NONBLOCK) == 0);
    return message;
}

static void test_a_rep_socket_answers_in_any_order(void **state)
{
    (void)state;
    const char *urls[] = {new_url(), "tcp://127.0.0.1:0"};
    for (size_t i = 0; i < 2; i++) {
        struct seen seen = {0};
        struct requester *requester = requester_on(urls[i], NULL, &seen);
        nng_socket socket = rep_to(requester_url(requester));
        UNTIL(requester, requester_connected(requester));
        assert_false(seen.peer.off_host);
        assert_int_equal(seen.peer.local, i == 0);
        if (i == 0)
            assert_int_equal(seen.peer.uid, getuid());
        else
            assert_non_null(strstr(seen.peer.text, "127.0.0.1:"));
        assert_int_equal(send_text(requester, 7, "one"), 0);
        assert_int_equal(send_text(requester, 0x7fffffff, "two"), 0);
        nng_msg *first = take(requester, socket), *second = take(requester, socket);
        assert_int_equal(nng_sendmsg(socket, second, 0), 0);
        UNTIL(requester, answered(requester, 0x7fffffff, "two"));
        assert_int_equal(nng_sendmsg(socket, first, 0), 0);
        UNTIL(requester, answered(requester, 7, "one"));
        (void)nng_close_socket(socket.id);
        UNTIL(requester, seen.gone == 1);
        assert_false(requester_connected(requester));
        requester_free(requester);
    }
}

static void test_there_is_one_peer_and_then_the_next(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct requester *requester = requester_on(new_url(), NULL, &seen);
    assert_int_equal(send_text(requester, 1, "to nobody"), REQUESTER_E_AGAIN);
    struct sp *first = rep_at(requester, &seen);
    struct sp *second = sp_connect(requester_url(requester));
    sp_send_hello(second, SP_REP);
    UNTIL(requester, sp_has_ended(second));
    assert_int_equal(send_text(requester, 1, "to the first"), 0);
    UNTIL(requester, sp_has_message(first));
    sp_free(first);
    UNTIL(requester, seen.gone == 1);
    first = rep_at(requester, &seen);
    assert_int_equal(seen.came, 2);
    assert_false(sp_has_message(first)); /* of what was sent to the one before */
    sp_free(first);
    sp_free(second);
    requester_free(requester);
}

static void test_answers_before_the_end_come_before_it(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct requester *requester = requester_on(new_url(), NULL, &seen);
    struct sp *sp = rep_at(requester, &seen);
    for (uint32_t i = 0; i < 50; i++)
        sp_ask(sp, i, "yes", 3);
    sp_free(sp);
    for (uint32_t i = 0; i < 50; i++) {
        UNTIL(requester, answered(requester, i, "yes"));
        assert_int_equal(seen.gone, 0);
    }
    UNTIL(requester, seen.gone == 1);
    requester_free(requester);
}

static void test_who_hangs_up_in_the_handshake_keeps_nobody_out(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct requester *requester = requester_on(new_url(), NULL, &seen);
    for (unsigned i = 0; i < 60; i++) {
        static const uint8_t head[] = {0, 'S', 'P', 0, 0, 0x31, 0, 0};
        struct sp *sp = sp_connect(requester_url(requester));
        sp_write(sp, head, i % 3 == 1 ? 4 : i % 3 == 2 ? sizeof(head) : 0);
        sp_free(sp);
    }
    nng_socket socket = rep_to(requester_url(requester));
    nng_msg *message = NULL;
    UNTIL(requester, send_text(requester, 1, "who") <= 1 &&
                         nng_recvmsg(socket, &message, NNG_FLAG_NONBLOCK) == 0);
    nng_msg_free(message);
    (void)nng_close_socket(socket.id);
    requester_free(requester);
}

/* ---- Who does as none should ---- */

static void test_strangers_past_the_limit_go_oldest_first(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct requester *requester = requester_on(new_url(), NULL, &seen);
    struct sp *strangers[REQUESTER_STRANGERS_MAX];
    for (unsigned i = 0; i < REQUESTER_STRANGERS_MAX; i++) {
        strangers[i] = sp_connect(requester_url(requester));
        UNTIL(requester, sp_has_hello(strangers[i]));
    }
    assert_false(sp_has_ended(strangers[0]));
    struct sp *sp = rep_at(requester, &seen);
    assert_true(sp_has_ended(strangers[0]));
    assert_false(sp_has_ended(strangers[1]));
    struct sp *another = sp_connect(requester_url(requester)); /* the 16th, as one has greeted */
    UNTIL(requester, sp_has_hello(another));
    assert_false(sp_has_ended(strangers[1]));
    assert_int_equal(send_text(requester, 1, "go on"), 0);
    UNTIL(requester, sp_has_message(sp));
    for (unsigned i = 0; i < REQUESTER_STRANGERS_MAX; i++)
        sp_free(strangers[i]);
    sp_free(another);
    sp_free(sp);
    requester_free(requester);
}

static void test_what_is_no_answer_ends_the_connection(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct requester *requester = requester_on(new_url(), NULL, &seen);
    for (unsigned i = 0; i < 4; i++) {
        struct sp *sp = rep_at(requester, &seen);
        const uint32_t words[] = {1, UINT32_C(0x80000001)};
        if (i == 0) /* an answer to somebody behind us, which there cannot be */
            sp_send(sp, words, 2, "x", 1);
        else if (i == 1) /* no word */
            sp_send(sp, NULL, 0, "xxx", 3);
        else if (i == 2) /* nothing */
            sp_send(sp, NULL, 0, "", 0);
        else
            sp_write(sp, "\2", 1);
        UNTIL(requester, sp_has_ended(sp));
        UNTIL(requester, seen.gone == i + 1);
        sp_free(sp);
    }
    struct sp *asker = sp_connect(requester_url(requester));
    sp_send_hello(asker, SP_REQ);
    UNTIL(requester, sp_has_ended(asker));
    sp_free(asker);
    requester_free(requester);
}

static void test_an_answer_larger_than_allowed_ends_the_connection(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct requester *requester = requester_on(new_url(), NULL, &seen);
    nng_socket socket = rep_to(requester_url(requester));
    UNTIL(requester, requester_connected(requester));
    for (size_t over = 0; over < 2; over++) {
        uint32_t number;
        const uint8_t *data;
        size_t bytes;
        assert_int_equal(send_text(requester, 1, "x"), 0);
        nng_msg *message = take(requester, socket);
        assert_int_equal(nng_msg_realloc(message, BYTES_MAX + over), 0);
        assert_int_equal(nng_sendmsg(socket, message, 0), 0);
        if (over) {
            UNTIL(requester, seen.gone == 1);
            assert_int_equal(requester_receive(requester, &number, &data, &bytes),
                             REQUESTER_E_AGAIN);
            break;
        }
        UNTIL(requester, requester_receive(requester, &number, &data, &bytes) == 0);
        assert_int_equal(bytes, BYTES_MAX);
    }
    (void)nng_close_socket(socket.id);
    requester_free(requester);
}

static void test_what_is_not_read_waits_up_to_a_limit(void **state)
{
    (void)state;
    static uint8_t data[65536];
    struct seen seen = {0};
    struct requester *requester = requester_on(new_url(), NULL, &seen);
    struct sp *sp = rep_at(requester, &seen);
    uint32_t sent = 0;
    while (send_bytes(requester, sent, data, sizeof(data)) == 0)
        assert_true(++sent < 1000);
    assert_in_range(sent, STREAM_OUT_BYTES_HOLD / sizeof(data), 1000);
    assert_int_equal(send_bytes(requester, sent, data, 1), 0); /* there is so much room still */
    assert_int_equal(send_bytes(requester, sent, data, sizeof(data)), REQUESTER_E_AGAIN);
    uint8_t *kept;
    assert_int_equal(requester_send_begin(requester, sizeof(data), &kept), 0);
    assert_memory_equal(kept, data, sizeof(data));
    for (uint32_t i = 0; i <= sent;) {
        step(requester);
        while (i <= sent && sp_has_message(sp)) {
            uint8_t *message;
            size_t bytes;
            sp_take_message(sp, &message, &bytes);
            assert_int_equal(bytes, 4 + (i == sent ? 1 : sizeof(data)));
            free(message);
            i++;
        }
    }
    assert_int_equal(requester_send_end(requester, sizeof(data), 1), 0);
    UNTIL(requester, sp_has_message(sp));
    sp_free(sp);
    requester_free(requester);
}

static void test_one_request_may_be_larger_than_what_may_wait(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct requester *requester = requester_on(new_url(), NULL, &seen);
    struct sp *sp = rep_at(requester, &seen);
    uint8_t *data = calloc(1, 3u << 20), *message;
    size_t bytes;
    assert_int_equal(send_bytes(requester, 1, data, 3u << 20), 0);
    assert_int_equal(send_bytes(requester, 2, data, 1), REQUESTER_E_AGAIN);
    UNTIL(requester, sp_has_message(sp));
    sp_take_message(sp, &message, &bytes);
    assert_int_equal(bytes, 4 + (3u << 20));
    free(message);
    free(data);
    sp_free(sp);
    requester_free(requester);
}

static void test_the_mode_of_its_socket_is_set_and_the_socket_is_removed(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct requester *requester = requester_on(new_url(), NULL, &seen);
    char path[128];
    snprintf(path, sizeof(path), "%s", requester_url(requester) + strlen("ipc://"));
    struct stat status;
    assert_return_code(stat(path, &status), errno);
    assert_int_equal(status.st_mode & 0777, 0600);
    requester_free(requester);
    assert_int_equal(access(path, F_OK), -1);
}

/* ---- Certificates ---- */

static const char *pem(const char *name)
{
    return certificate_path(folder, name);
}

static nng_socket rep_with(const char *url, const char *certificate)
{
    nng_socket socket;
    nng_dialer dialer;
    nng_tls_config *tls;
    assert_int_equal(nng_tls_config_alloc(&tls, NNG_TLS_MODE_CLIENT), 0);
    assert_int_equal(nng_tls_config_ca_file(tls, pem("authority")), 0);
    assert_int_equal(nng_tls_config_server_name(tls, "127.0.0.1"), 0);
    assert_int_equal(nng_tls_config_auth_mode(tls, NNG_TLS_AUTH_MODE_NONE), 0);
    if (certificate)
        assert_int_equal(nng_tls_config_cert_key_file(tls, pem(certificate), NULL), 0);
    assert_int_equal(nng_rep0_open_raw(&socket), 0);
    assert_int_equal(nng_dialer_create(&dialer, socket, url), 0);
    assert_int_equal(nng_dialer_set_ptr(dialer, NNG_OPT_TLS_CONFIG, tls), 0);
    assert_int_equal(nng_dialer_start(dialer, NNG_FLAG_NONBLOCK), 0);
    nng_tls_config_free(tls);
    return socket;
}

static void test_only_who_is_expected_is_let_in(void **state)
{
    (void)state;
    certificate_make(folder, "authority", &(struct certificate_wish){.name = "us", .seconds = 900});
    static const char *const names[] = {"server", "shop", "till"};
    for (size_t i = 0; i < 3; i++)
        certificate_make(folder, names[i],
                         &(struct certificate_wish){.name = names[i],
                                                    .address = "127.0.0.1",
                                                    .authority = "authority",
                                                    .seconds = 900});
    certificate_make(folder, "other", &(struct certificate_wish){.name = "shop", .seconds = 900});
    struct seen seen = {.expected = "shop"};
    const struct tls_settings tls = {.ca = pem("authority"), .certificate = pem("server")};
    struct requester *requester = requester_on("tls+tcp://127.0.0.1:0", &tls, &seen);
    nng_socket nobody = rep_with(requester_url(requester), NULL);
    nng_socket forged = rep_with(requester_url(requester), "other"); /* of that name, by itself */
    nng_socket till = rep_with(requester_url(requester), "till");
    UNTIL(requester, seen.refused > 0);
    assert_int_equal(seen.came, 0);
    nng_socket shop = rep_with(requester_url(requester), "shop");
    UNTIL(requester, seen.came == 1);
    assert_string_equal(seen.peer.identity, "shop");
    assert_true(seen.peer.encrypted);
    assert_int_equal(send_text(requester, 5, "for the shop"), 0);
    nng_msg *message = take(requester, shop);
    assert_int_equal(nng_sendmsg(shop, message, 0), 0);
    UNTIL(requester, answered(requester, 5, "for the shop"));
    assert_int_equal(seen.came, 1);
    (void)nng_close_socket(nobody.id);
    (void)nng_close_socket(forged.id);
    (void)nng_close_socket(till.id);
    (void)nng_close_socket(shop.id);
    requester_free(requester);
}

/* ---- A loop that is told of an edge once, as the broker's is ---- */

#define ANSWERS 200 /* a turn reads 16 records of TLS */

struct edges {
    struct requester *requester;
    int epoll;
};

static void edge_step(const struct edges *edges)
{
    struct epoll_event event;
    uint64_t due_ns = requester_next_deadline_ns(edges->requester);
    int timeout = clock_left(due_ns, clock_now_ns()) > NS_PER_MS ? 1 : 0;
    int n = epoll_wait(edges->epoll, &event, 1, timeout);
    assert_in_range(n, 0, 1);
    if (n == 1 || due_ns <= clock_now_ns())
        assert_int_equal(requester_turn(edges->requester), 0);
}

static int tls_dial(const char *url)
{
    const char *port = strrchr(url, ':');
    const struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons((uint16_t)strtoul(port + 1, NULL, 10)),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(fd, errno);
    assert_return_code(connect(fd, (const struct sockaddr *)&address, sizeof(address)), errno);
    assert_return_code(fcntl(fd, F_SETFL, O_NONBLOCK), errno);
    return fd;
}

/* A REP socket that has greeted. */
static struct tls_session *tls_rep(const struct edges *edges, const struct seen *seen,
                                   struct tls_context *context, int fd)
{
    static const uint8_t hello[] = {0, 'S', 'P', 0, 0, SP_REP, 0, 0};
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    struct tls_session *session;
    struct error_text error = {""};
    size_t sent;
    assert_int_equal(tls_session_new(context, fd, &session), 0);
    for (int r; (r = tls_session_handshake(session, &error)) != 0; edge_step(edges)) {
        if (r != TLS_E_AGAIN)
            fail_msg("%s", error.text);
        assert_true(clock_now_ns() < until);
    }
    assert_int_equal(tls_session_write(session, hello, sizeof(hello), &sent), 0);
    assert_int_equal(sent, sizeof(hello));
    while (seen->came == 0) {
        assert_true(clock_now_ns() < until);
        edge_step(edges);
    }
    return session;
}

/* All of them are with the kernel, each a record of TLS, before any is read. */
static void write_answers(struct tls_session *session)
{
    for (uint32_t i = 0; i < ANSWERS; i++) {
        const uint8_t answer[] = {0, 0, 0, 0, 0, 0, 0, 5, 0x80, 0, 0, (uint8_t)i, 'x'};
        size_t sent;
        assert_int_equal(tls_session_write(session, answer, sizeof(answer), &sent), 0);
        assert_int_equal(sent, sizeof(answer));
    }
}

static void test_an_edge_is_enough_for_all_that_has_come(void **state)
{
    (void)state;
    certificate_make(
        folder, "server",
        &(struct certificate_wish){.name = "server", .address = "127.0.0.1", .seconds = 900});
    struct seen seen = {0};
    const struct tls_settings ours = {.certificate = pem("server"), .optional = true};
    struct edges edges = {.requester = requester_on("tls+tcp://127.0.0.1:0", &ours, &seen)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    edges.epoll = epoll_create1(EPOLL_CLOEXEC);
    assert_return_code(epoll_ctl(edges.epoll, EPOLL_CTL_ADD, requester_fd(edges.requester), &event),
                       errno);
    const struct tls_settings theirs = {.ca = pem("server")};
    struct tls_context *context;
    struct error_text error = {""};
    if (tls_context_new(&theirs, "127.0.0.1", &context, &error) != 0)
        fail_msg("%s", error.text);
    int fd = tls_dial(requester_url(edges.requester));
    struct tls_session *session = tls_rep(&edges, &seen, context, fd);
    edge_step(&edges); /* nothing is left of the greeting */
    write_answers(session);
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    for (uint32_t seen_count = 0; seen_count < ANSWERS; edge_step(&edges)) {
        uint32_t number;
        const uint8_t *data;
        size_t bytes;
        if (clock_now_ns() >= until)
            fail_msg("%u answers of %d, and no more is told of", seen_count, ANSWERS);
        while (requester_receive(edges.requester, &number, &data, &bytes) == 0) {
            assert_int_equal(number, seen_count++);
            assert_int_equal(bytes, 1);
        }
    }
    tls_session_free(session);
    tls_context_free(context);
    (void)close(fd);
    (void)close(edges.epoll);
    requester_free(edges.requester);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_rep_socket_answers_in_any_order),
        cmocka_unit_test(test_there_is_one_peer_and_then_the_next),
        cmocka_unit_test(test_answers_before_the_end_come_before_it),
        cmocka_unit_test(test_who_hangs_up_in_the_handshake_keeps_nobody_out),
        cmocka_unit_test(test_strangers_past_the_limit_go_oldest_first),
        cmocka_unit_test(test_what_is_no_answer_ends_the_connection),
        cmocka_unit_test(test_an_answer_larger_than_allowed_ends_the_connection),
        cmocka_unit_test(test_what_is_not_read_waits_up_to_a_limit),
        cmocka_unit_test(test_one_request_may_be_larger_than_what_may_wait),
        cmocka_unit_test(test_the_mode_of_its_socket_is_set_and_the_socket_is_removed),
        cmocka_unit_test(test_only_who_is_expected_is_let_in),
        cmocka_unit_test(test_an_edge_is_enough_for_all_that_has_come),
    };
    pid_t guard = folder_guard(folder);
    if (guard < 0)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    static const char *const files[] = {"authority", "server", "shop", "till", "other"};
    for (size_t i = 0; i < 5; i++)
        (void)unlink(pem(files[i]));
    (void)rmdir(folder);
    folder_unguard(guard);
    return failed;
}
