#include "support/test.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>

#include "base/clock.h"
#include "base/random.h"
#include "control/caller.h"
#include "control/nng.h"
#include "control/stream.h"
#include "support/folder.h"
#include "support/sp.h"
#include "support/until.h"

/* The peers are libnng's own sockets. Steps, so that nothing waits for ever. */

static char folder[] = "/tmp/parley-caller-XXXXXX";
static const char *backend;

static bool is_stream(void)
{
    return strcmp(backend, "stream") == 0;
}

struct seen {
    unsigned came, gone;
    struct replier_peer peer;
};

static void on_came(const struct replier_peer *peer, void *data)
{
    struct seen *seen = data;
    seen->came++;
    seen->peer = *peer;
}

static void on_gone(void *data)
{
    ((struct seen *)data)->gone++;
}

static const char *url_of(const char *name)
{
    static char url[128];
    snprintf(url, sizeof(url), "ipc://%s/%s.ipc", folder, name);
    return url;
}

static struct caller *caller_on(const char *url, struct seen *seen)
{
    struct caller_options options = {.url = url,
                                     .bytes_max = 1 << 20,
                                     .backend = backend,
                                     .came = on_came,
                                     .gone = on_gone,
                                     .data = seen};
    struct caller *caller;
    struct error_text error = {""};
    if (caller_new(&options, &caller, &error) != 0)
        fail_msg("%s", error.text);
    return caller;
}

/* A port that nobody listens on now. Who listens again does so there: libnng 1.5.2 does not hear on
 * ipc:// once somebody has hung up in a handshake. */
static const char *url_of_tcp(void)
{
    static char url[64];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(address);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, bytes), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
    close(fd);
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", ntohs(address.sin_port));
    return url;
}

static nng_socket rep_socket(void)
{
    nng_socket socket;
    assert_int_equal(nng_rep0_open_raw(&socket), 0);
    assert_int_equal(nng_socket_set_ms(socket, NNG_OPT_RECVTIMEO, 20000), 0);
    return socket;
}

static nng_socket rep_on(const char *url)
{
    nng_socket socket = rep_socket();
    assert_int_equal(nng_listen(socket, url, NULL, 0), 0);
    return socket;
}

/* One step of an event loop. */
static void step(struct caller *caller)
{
    uint64_t left = clock_left(caller_next_deadline_ns(caller), clock_now_ns());
    int timeout = left > 100 * NS_PER_MS ? 100 : (int)(left / NS_PER_MS) + 1;
    struct pollfd ready = {.fd = caller_fd(caller), .events = POLLIN};
    assert_true(poll(&ready, 1, timeout) >= 0);
    caller_turn(caller);
}

static int send_text(struct caller *caller, uint32_t request, const char *text)
{
    uint8_t *room;
    assert_int_equal(caller_send_begin(caller, 4096, &room), 0);
    memcpy(room, text, strlen(text));
    return caller_send_end(caller, strlen(text), request);
}

static uint32_t wait_answer(struct caller *caller, const char *text)
{
    uint64_t until = clock_now_ns() + PATIENCE_NS;
    for (;;) {
        uint32_t request;
        const uint8_t *data;
        size_t bytes;
        int r = caller_receive(caller, &request, &data, &bytes);
        if (r == 0) {
            assert_int_equal(bytes, strlen(text));
            assert_memory_equal(data, text, bytes);
            return request;
        }
        assert_int_equal(r, CALLER_E_AGAIN);
        assert_true(clock_now_ns() < until);
        step(caller);
    }
}

static nng_msg *take(nng_socket socket)
{
    nng_msg *message;
    assert_int_equal(nng_recvmsg(socket, &message, 0), 0);
    return message;
}

static void give(nng_socket socket, nng_msg *message)
{
    assert_int_equal(nng_sendmsg(socket, message, 0), 0);
}

static void test_answers_come_with_their_numbers_in_any_order(void **state)
{
    (void)state;
    struct seen seen = {0};
    nng_socket socket = rep_on(url_of("order"));
    struct caller *caller = caller_on(url_of("order"), &seen);
    UNTIL(step(caller), caller_connected(caller));
    assert_int_equal(send_text(caller, 7, "one"), 0);
    assert_int_equal(send_text(caller, 0x7fffffff, "two"), 0);
    nng_msg *first = take(socket), *second = take(socket);
    give(socket, second);
    assert_int_equal(wait_answer(caller, "two"), 0x7fffffff);
    give(socket, first);
    assert_int_equal(wait_answer(caller, "one"), 7);
    caller_free(caller);
    (void)nng_close_socket(socket.id);
}

static void test_the_peer_of_a_local_socket_is_what_the_kernel_says(void **state)
{
    (void)state;
    struct seen seen = {0};
    nng_socket socket = rep_on(url_of("peer"));
    struct caller *caller = caller_on(url_of("peer"), &seen);
    UNTIL(step(caller), seen.came == 1);
    assert_true(seen.peer.local);
    assert_int_equal(seen.peer.uid, getuid());
    assert_int_equal(seen.peer.pid, getpid());
    assert_true(seen.peer.connection != 0);
    assert_false(seen.peer.off_host);
    caller_free(caller);
    (void)nng_close_socket(socket.id);
}

static void test_nothing_is_sent_without_a_connection(void **state)
{
    (void)state;
    const char *url = url_of_tcp();
    struct seen seen = {0};
    struct caller *caller = caller_on(url, &seen);
    assert_int_equal(send_text(caller, 1, "lost"), CALLER_E_AGAIN);
    UNTIL(step(caller), caller_problem(caller)[0]);
    assert_non_null(strstr(caller_problem(caller), url));
    nng_socket socket = rep_on(url);
    UNTIL(step(caller), caller_connected(caller));
    assert_string_equal(caller_problem(caller), "");
    assert_int_equal(send_text(caller, 2, "kept"), 0);
    nng_msg *message = take(socket);
    assert_int_equal(nng_msg_len(message), 4);
    assert_memory_equal(nng_msg_body(message), "kept", 4);
    nng_msg_free(message);
    caller_free(caller);
    (void)nng_close_socket(socket.id);
}

static void test_a_lost_connection_is_told_and_dialled_anew(void **state)
{
    (void)state;
    const char *url = url_of_tcp();
    struct seen seen = {0};
    nng_socket socket = rep_on(url);
    struct caller *caller = caller_on(url, &seen);
    for (unsigned i = 1; i <= 3; i++) {
        UNTIL(step(caller), seen.came == i);
        assert_int_equal(send_text(caller, i, "x"), 0);
        nng_msg_free(take(socket));
        (void)nng_close_socket(socket.id);
        uint32_t request;
        const uint8_t *data;
        size_t bytes;
        UNTIL(step(caller),
              caller_receive(caller, &request, &data, &bytes) == CALLER_E_AGAIN && seen.gone == i);
        assert_false(caller_connected(caller));
        socket = rep_on(url);
    }
    caller_free(caller);
    (void)nng_close_socket(socket.id);
}

static void test_what_was_sent_on_one_connection_never_goes_out_on_the_next(void **state)
{
    (void)state;
    const char *url = url_of_tcp();
    struct seen seen = {0};
    nng_socket socket = rep_on(url);
    struct caller *caller = caller_on(url, &seen);
    UNTIL(step(caller), caller_connected(caller));
    /* The peer is gone, and nobody has told us yet: libnng keeps these. */
    (void)nng_close_socket(socket.id);
    for (uint32_t i = 0; i < 100; i++)
        (void)send_text(caller, i, "stale");
    socket = rep_on(url);
    uint32_t request;
    const uint8_t *data;
    size_t bytes;
    UNTIL(step(caller),
          caller_receive(caller, &request, &data, &bytes) == CALLER_E_AGAIN && seen.came == 2);
    assert_int_equal(send_text(caller, 1, "fresh"), 0);
    nng_msg *message = take(socket);
    assert_memory_equal(nng_msg_body(message), "fresh", 5);
    nng_msg_free(message);
    caller_free(caller);
    (void)nng_close_socket(socket.id);
}

/* What waits in the caller goes out in its turns. */
static nng_msg *take_in_turns(nng_socket socket, struct caller *caller)
{
    nng_msg *message = NULL;
    UNTIL(step(caller), nng_recvmsg(socket, &message, NNG_FLAG_NONBLOCK) == 0);
    return message;
}

static void test_a_full_queue_is_told_and_room_is_told_too(void **state)
{
    (void)state;
    struct seen seen = {0};
    nng_socket socket = rep_on(url_of("full"));
    struct caller *caller = caller_on(url_of("full"), &seen);
    UNTIL(step(caller), caller_connected(caller));
    uint32_t sent = 0;
    static char text[4096];
    memset(text, 'x', sizeof(text) - 1);
    while (send_text(caller, sent, text) == 0)
        assert_true(++sent < 1000000);
    for (uint32_t i = 0; i < sent; i++)
        nng_msg_free(take_in_turns(socket, caller));
    UNTIL(step(caller), send_text(caller, sent, "room") == 0);
    nng_msg *message = take_in_turns(socket, caller);
    assert_int_equal(nng_msg_len(message), 4);
    nng_msg_free(message);
    caller_free(caller);
    (void)nng_close_socket(socket.id);
}

static void test_an_answer_larger_than_allowed_ends_the_connection(void **state)
{
    (void)state;
    struct seen seen = {0};
    nng_socket socket = rep_on(url_of("large"));
    struct caller *caller = caller_on(url_of("large"), &seen);
    UNTIL(step(caller), caller_connected(caller));
    for (size_t over = 0; over < 2; over++) {
        assert_int_equal(send_text(caller, 1, "x"), 0);
        nng_msg *message = take(socket);
        /* To libnng the number counts, too: four bytes. */
        assert_int_equal(nng_msg_realloc(message, (1 << 20) - (is_stream() ? 0 : 4) + over), 0);
        give(socket, message);
        uint32_t request;
        const uint8_t *data;
        size_t bytes = 0;
        if (over)
            UNTIL(step(caller), caller_receive(caller, &request, &data, &bytes) == CALLER_E_AGAIN &&
                                    seen.gone >= 1);
        else
            UNTIL(step(caller), caller_receive(caller, &request, &data, &bytes) == 0);
    }
    caller_free(caller);
    (void)nng_close_socket(socket.id);
}

static void test_bad_urls_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const urls[] = {"",          "nonsense",      "xyz://a",
                                       "tcp://:0x", "tls+tcp://a:1", "ipc://"};
    const struct tls_settings tls = {.ca = "/nonexistent/ca.pem"};
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        struct caller_options options = {
            .url = urls[i], .bytes_max = 4096, .tls = &tls, .backend = backend};
        struct caller *caller;
        struct error_text error = {""};
        if (caller_new(&options, &caller, &error) == 0) {
            assert_string_equal(urls[i], "ipc://"); /* to libnng a socket without a name */
            assert_false(is_stream());
            caller_free(caller);
            continue;
        }
        const char *named = strncmp(urls[i], "tls", 3) == 0 ? tls.ca : urls[i];
        assert_non_null(strstr(error.text, named));
    }
}

static void test_a_connection_that_seems_dead_is_let_go(void **state)
{
    (void)state;
    const char *url = url_of_tcp();
    struct seen seen = {0};
    nng_socket socket = rep_on(url);
    struct caller *caller = caller_on(url, &seen);
    UNTIL(step(caller), seen.came == 1);
    caller_hang_up(caller);
    assert_false(caller_connected(caller));
    UNTIL(step(caller), seen.gone == 1);
    UNTIL(step(caller), seen.came == 2);
    caller_free(caller);
    (void)nng_close_socket(socket.id);
}

static void test_a_child_of_fork_lets_it_be_and_can_make_none_of_libnng(void **state)
{
    (void)state;
    struct seen seen = {0};
    nng_socket socket = rep_on(url_of("fork"));
    struct caller *caller = caller_on(url_of("fork"), &seen);
    UNTIL(step(caller), seen.came == 1);
    pid_t child = fork();
    if (child == 0) {
        caller_free(caller);
        struct caller_options options = {
            .url = url_of("fork"), .bytes_max = 4096, .backend = backend};
        struct error_text error = {""};
        int r = caller_new(&options, &caller, &error);
        if (is_stream())
            _exit(r == 0 && caller_free(caller) == NULL ? 0 : 1);
        _exit(r == -ENOSYS && strstr(error.text, "fork") ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(send_text(caller, 1, "on"), 0);
    give(socket, take(socket));
    assert_int_equal(wait_answer(caller, "on"), 1);
    caller_free(caller);
    (void)nng_close_socket(socket.id);
}

static int waiting(const struct sp *sp)
{
    int bytes = -1;
    assert_return_code(ioctl(sp->fd, FIONREAD, &bytes), errno);
    return bytes;
}

/* libnng sends at once. */
static void test_gathered_requests_go_when_told_or_when_they_are_many(void **state)
{
    (void)state;
    static char large[1 << 20];
    struct seen seen = {0};
    const struct caller_options options = {.url = url_of("gather"),
                                           .bytes_max = 4096,
                                           .gather = true,
                                           .backend = "stream",
                                           .came = on_came,
                                           .gone = on_gone,
                                           .data = &seen};
    struct caller *caller;
    struct error_text error = {""};
    int listener = sp_listen(options.url);
    assert_int_equal(caller_new(&options, &caller, &error), 0);
    struct sp *sp = sp_accept(listener, true);
    sp_send_hello(sp, SP_REP);
    UNTIL(step(caller), seen.came == 1);
    assert_true(sp_has_hello(sp));
    assert_int_equal(send_text(caller, 1, "one"), 0);
    assert_int_equal(send_text(caller, 2, "two"), 0);
    assert_int_equal(waiting(sp), 0);
    caller_flush(caller);
    assert_int_equal(waiting(sp), 2 * (9 + 4 + 3));
    assert_int_equal(send_text(caller, 3, "three"), 0);
    uint8_t *room;
    assert_int_equal(caller_send_begin(caller, sizeof(large), &room), 0);
    memcpy(room, large, sizeof(large));
    assert_int_equal(caller_send_end(caller, sizeof(large), 4), 0); /* and "three" before it */
    assert_true(waiting(sp) > 3 * (9 + 4 + 3));
    caller_free(caller);
    sp_free(sp);
    close(listener);
}

static void test_a_host_without_an_address_is_looked_for_again(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct caller *caller = caller_on("tcp://nowhere.invalid:7433", &seen);
    UNTIL(step(caller), strstr(caller_problem(caller), "check the host's name"));
    assert_non_null(strstr(caller_problem(caller), "nowhere.invalid"));
    assert_true(caller_next_deadline_ns(caller) != CLOCK_NEVER);
    caller_free(caller);
}

/* The socket here that is connected to that port; -1: none. */
static int connected_to(in_port_t port)
{
    for (int fd = 3; fd < 1024; fd++) {
        struct sockaddr_in peer;
        socklen_t bytes = sizeof(peer);
        if (getpeername(fd, (struct sockaddr *)&peer, &bytes) == 0 && peer.sin_family == AF_INET &&
            peer.sin_port == port)
            return fd;
    }
    return -1;
}

static int tcp_option(int fd, int option)
{
    int value = -1;
    socklen_t bytes = sizeof(value);
    assert_return_code(getsockopt(fd, IPPROTO_TCP, option, &value, &bytes), errno);
    return value;
}

/* Nobody here can make one; so only that the kernel was told. */
static void test_a_half_open_connection_is_given_up_in_half_a_minute(void **state)
{
    (void)state;
    if (!is_stream())
        skip(); /* libnng's own affair */
    const char *url = url_of_tcp();
    unsigned port;
    assert_int_equal(sscanf(url, "tcp://127.0.0.1:%u", &port), 1);
    struct seen seen = {0};
    int listener = sp_listen(url);
    struct caller *caller = caller_on(url, &seen);
    struct sp *sp = sp_accept(listener, false);
    sp_send_hello(sp, SP_REP);
    UNTIL(step(caller), seen.came == 1);
    int fd = connected_to(htons((in_port_t)port));
    assert_true(fd >= 0);
    int on = 0;
    socklen_t bytes = sizeof(on);
    assert_return_code(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &bytes), errno);
    assert_true(on);
    assert_int_equal(tcp_option(fd, TCP_KEEPIDLE) +
                         tcp_option(fd, TCP_KEEPCNT) * tcp_option(fd, TCP_KEEPINTVL),
                     STREAM_SILENT_S);
    assert_int_equal(tcp_option(fd, TCP_USER_TIMEOUT), STREAM_SILENT_S * 1000);
    caller_free(caller);
    sp_free(sp);
    close(listener);
}

/* A child that has not freed what its parent had open holds its sockets: closing one does not take
 * it out of the parent's set then, where it would stand for memory that is freed. */
static void test_a_connection_that_a_child_of_fork_holds_too_can_end(void **state)
{
    (void)state;
    if (!is_stream())
        skip(); /* libnng's own affair */
    const char *url = url_of("held");
    struct seen seen = {0};
    struct caller *caller = caller_on(url, &seen);
    int held[2];
    char byte;
    assert_return_code(pipe(held), errno);
    int listener = sp_listen(url);
    UNTIL(step(caller), poll(&(struct pollfd){.fd = listener, .events = POLLIN}, 1, 0) == 1);
    struct sp *sp = sp_accept(listener, true);
    sp_send_hello(sp, SP_REP);
    UNTIL(step(caller), seen.came == 1);
    pid_t pid = fork();
    assert_return_code(pid, errno);
    if (pid == 0) {
        close(held[1]);
        close(listener);
        close(sp->fd);
        _exit((int)read(held[0], &byte, 1)); /* until the parent lets go */
    }
    close(listener);
    sp_free(sp);
    UNTIL(step(caller), seen.gone == 1);
    struct pollfd set = {.fd = caller_fd(caller), .events = POLLIN};
    caller_turn(caller);
    assert_int_equal(poll(&set, 1, 0), 0); /* nobody is there, and nothing is to be told */
    caller_free(caller);
    close(held[0]);
    close(held[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_come_with_their_numbers_in_any_order),
        cmocka_unit_test(test_the_peer_of_a_local_socket_is_what_the_kernel_says),
        cmocka_unit_test(test_nothing_is_sent_without_a_connection),
        cmocka_unit_test(test_a_lost_connection_is_told_and_dialled_anew),
        cmocka_unit_test(test_what_was_sent_on_one_connection_never_goes_out_on_the_next),
        cmocka_unit_test(test_a_full_queue_is_told_and_room_is_told_too),
        cmocka_unit_test(test_an_answer_larger_than_allowed_ends_the_connection),
        cmocka_unit_test(test_bad_urls_are_refused_by_name),
        cmocka_unit_test(test_a_connection_that_seems_dead_is_let_go),
        cmocka_unit_test(test_a_child_of_fork_lets_it_be_and_can_make_none_of_libnng),
        cmocka_unit_test(test_a_half_open_connection_is_given_up_in_half_a_minute),
        cmocka_unit_test(test_a_connection_that_a_child_of_fork_holds_too_can_end),
        cmocka_unit_test(test_gathered_requests_go_when_told_or_when_they_are_many),
        cmocka_unit_test(test_a_host_without_an_address_is_looked_for_again),
    };
    backend = "stream";
    int failed = cmocka_run_group_tests_name("stream", tests, NULL, NULL);
    backend = "nng"; /* behind it: libnng's threads make a fork difficult */
    return failed + cmocka_run_group_tests_name("nng", tests, NULL, NULL);
}

int main(void)
{
    return folder_run(folder, run_all);
}
