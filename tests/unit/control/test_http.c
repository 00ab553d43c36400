#include "support/test.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/http.h"

#define PATIENCE_MS 20000
#define ANSWER_BYTES_MAX 200000

/* ---- A server, and a client in the same thread ---- */

struct fixture {
    struct http_server *server;
    unsigned port;
    unsigned calls; /* of on_echo() */
    unsigned refused;
    unsigned later_count;
    struct http_later *later[HTTP_LATER_MAX + 1];
};

static void on_echo(void *data, const struct http_request *request, struct http_response *response)
{
    struct fixture *fixture = data;
    char value[16] = "";
    fixture->calls++;
    (void)http_request_value(request, "since", value, sizeof(value));
    http_response_say(response, 200, "%s %s rest=%s since=%s body=%zu", request->method,
                      request->path, request->rest, value, request->body_bytes);
}

static void on_page(void *data, const struct http_request *request, struct http_response *response)
{
    (void)data, (void)request;
    http_response_header(response, "Content-Security-Policy", "default-src 'self'");
    http_response_header(response, "X-Bad", "a\r\nSet-Cookie: b");
    http_response_lend(response, "text/html", "<p>", 3);
}

static void on_later(void *data, const struct http_request *request, struct http_response *response)
{
    struct fixture *fixture = data;
    http_response_say(response, 500, "this does not count");
    struct http_later *later = http_response_later(request, response);
    if (later)
        fixture->later[fixture->later_count++] = later;
    else
        http_response_say(response, 503, "too many wait");
}

static void on_refused(void *data, const struct http_request *request,
                       struct http_response *response)
{
    struct fixture *fixture = data;
    assert_string_equal(request->path, "/echo");
    assert_int_equal(response->status, 403);
    assert_true(response->body_bytes > 0);
    fixture->refused++;
}

static void set_up_with(struct fixture *fixture, const struct http_options *options)
{
    struct error_text error = {""};
    struct http_options whole = *options;
    whole.large_path = "/large";
    whole.refused = on_refused;
    whole.refused_data = fixture;
    *fixture = (struct fixture){0};
    if (http_server_new(&whole, &fixture->server, &error) != 0)
        fail_msg("%s", error.text);
    const char *port = strrchr(http_server_url(fixture->server), ':');
    fixture->port = (unsigned)strtoul(port + 1, NULL, 10);
    assert_int_not_equal(fixture->port, 0);
    assert_int_equal(http_server_route(fixture->server, "GET", "/", on_page, fixture), 0);
    assert_int_equal(http_server_route(fixture->server, "GET", "/echo", on_echo, fixture), 0);
    assert_int_equal(http_server_route(fixture->server, "POST", "/echo", on_echo, fixture), 0);
    assert_int_equal(http_server_route(fixture->server, "GET", "/tree/", on_echo, fixture), 0);
    assert_int_equal(http_server_route(fixture->server, "POST", "/large/", on_echo, fixture), 0);
    assert_int_equal(http_server_route(fixture->server, "GET", "/later", on_later, fixture), 0);
}

static void set_up(struct fixture *fixture)
{
    const struct http_options options = {.url = "http://127.0.0.1:0"};
    set_up_with(fixture, &options);
}

static int dial(const struct fixture *fixture)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)fixture->port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* One turn, when there is something to do, or when the client hears something: true. */
static bool turn(const struct fixture *fixture, int client)
{
    struct pollfd ready[] = {{.fd = http_server_fd(fixture->server), .events = POLLIN},
                             {.fd = client, .events = POLLIN}};
    if (poll(ready, 2, PATIENCE_MS) <= 0)
        fail_msg("nothing happens");
    if (ready[0].revents)
        http_server_turn(fixture->server);
    return ready[1].revents != 0;
}

/* What the server says until it hangs up. */
static char *hear(const struct fixture *fixture, int client)
{
    char *answer = malloc(ANSWER_BYTES_MAX);
    size_t used = 0;
    for (;;) {
        if (!turn(fixture, client))
            continue;
        ssize_t n = recv(client, answer + used, ANSWER_BYTES_MAX - 1 - used, 0);
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    answer[used] = '\0';
    close(client);
    return answer;
}

static char *ask(const struct fixture *fixture, const char *text)
{
    int client = dial(fixture);
    assert_int_equal(send(client, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    return hear(fixture, client);
}

#define HOST "Host: 127.0.0.1\r\n"

static void expect(const struct fixture *fixture, const char *request, const char *part)
{
    _cleanup_(freep) char *answer = ask(fixture, request);
    if (!strstr(answer, part))
        fail_msg("no \"%s\" in the answer to \"%s\":\n%s", part, request, answer);
}

static void expect_not(const struct fixture *fixture, const char *request, const char *part)
{
    _cleanup_(freep) char *answer = ask(fixture, request);
    if (strstr(answer, part))
        fail_msg("\"%s\" in the answer to \"%s\":\n%s", part, request, answer);
}

/* ---- Routes ---- */

static void test_request_reaches_its_handler(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    expect(&f, "GET /echo HTTP/1.1\r\n" HOST "\r\n", "\r\n\r\nGET /echo rest= since= body=0\n");
    expect(&f, "GET /echo?a=1&since=2%35 HTTP/1.1\r\n" HOST "\r\n", "since=25 ");
    expect(&f, "GET /tree/a%20b/c HTTP/1.1\r\n" HOST "\r\n", "GET /tree/a b/c rest=a b/c");
    expect(&f, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc",
           "POST /echo rest= since= body=3");
    expect(&f, "GET /echo HTTP/1.0\r\n\r\n", " 200 OK\r\n");
    assert_int_equal(f.calls, 5);
    http_server_free(f.server);
}

static void test_head_has_no_body(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    expect(&f, "HEAD /echo HTTP/1.1\r\n" HOST "\r\n", "Content-Length: 30\r\n");
    expect_not(&f, "HEAD /echo HTTP/1.1\r\n" HOST "\r\n", "rest=");
    http_server_free(f.server);
}

static void test_what_is_not_there_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    expect(&f, "GET /nothing HTTP/1.1\r\n" HOST "\r\n", " 404 ");
    expect(&f, "GET /echo/more HTTP/1.1\r\n" HOST "\r\n", " 404 ");
    expect(&f, "DELETE /echo HTTP/1.1\r\n" HOST "\r\n", "Allow: GET, HEAD, POST\r\n");
    expect(&f, "DELETE /echo HTTP/1.1\r\n" HOST "\r\n", " 405 ");
    assert_int_equal(f.calls, 0);
    http_server_free(f.server);
}

static void test_headers_are_safe_unless_a_handler_sets_them(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    expect(&f, "GET /echo HTTP/1.1\r\n" HOST "\r\n", "Content-Security-Policy: default-src 'none'");
    expect(&f, "GET /echo HTTP/1.1\r\n" HOST "\r\n", "X-Content-Type-Options: nosniff");
    expect(&f, "GET /echo HTTP/1.1\r\n" HOST "\r\n", "Connection: close");
    expect(&f, "GET / HTTP/1.1\r\n" HOST "\r\n", "Content-Security-Policy: default-src 'self'\r\n");
    expect(&f, "GET / HTTP/1.1\r\n" HOST "\r\n", "Content-Type: text/html\r\n");
    expect_not(&f, "GET / HTTP/1.1\r\n" HOST "\r\n", "Set-Cookie");
    http_server_free(f.server);
}

/* ---- Limits ---- */

static void body_of(const struct fixture *fixture, const char *path, size_t bytes, const char *part)
{
    _cleanup_(freep) char *text = calloc(1, bytes + 200);
    int n = snprintf(text, 200,
                     "POST %s HTTP/1.1\r\n" HOST "Connection: close\r\nContent-Length: %zu\r\n\r\n",
                     path, bytes);
    memset(text + n, 'x', bytes);
    expect(fixture, text, part);
}

static void test_body_is_bounded(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    body_of(&f, "/echo", HTTP_BODY_BYTES_MAX, "body=65536\n");
    body_of(&f, "/echo", HTTP_BODY_BYTES_MAX + 1, " 400 ");
    assert_int_equal(f.calls, 1);
    http_server_free(f.server);
}

static void test_body_of_a_large_path_is_bounded(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    body_of(&f, "/large/a", HTTP_LARGE_BODY_BYTES_MAX, "body=4194304\n");
    expect(&f,
           "POST /large/a HTTP/1.1\r\n" HOST "Connection: close\r\nContent-Length: 4194305\r\n\r\n",
           " 400 ");
    assert_int_equal(f.calls, 1);
    http_server_free(f.server);
}

/* ---- Answers that come later ---- */

/* A client whose request has been taken and not been answered. */
static int ask_later(struct fixture *f)
{
    static const char request[] = "GET /later HTTP/1.1\r\n" HOST "\r\n";
    unsigned before = f->later_count;
    int client = dial(f);
    assert_int_equal(send(client, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    while (f->later_count == before)
        if (turn(f, client))
            fail_msg("an answer has come");
    return client;
}

static void test_answer_may_come_later_in_any_order(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    int first = ask_later(&f), second = ask_later(&f);
    expect(&f, "GET /echo HTTP/1.1\r\n" HOST "\r\n", " 200 ");
    http_response_say(http_later_response(f.later[1]), 201, "second");
    http_later_answer(f.later[1]);
    _cleanup_(freep) char *answer = hear(&f, second);
    assert_non_null(strstr(answer, " 201 "));
    assert_non_null(strstr(answer, "\r\n\r\nsecond\n"));
    http_response_say(http_later_response(f.later[0]), 200, "first");
    http_later_answer(f.later[0]);
    _cleanup_(freep) char *other = hear(&f, first);
    assert_non_null(strstr(other, "\r\n\r\nfirst\n"));
    assert_null(strstr(other, "does not count"));
    http_server_free(f.server);
}

static void test_later_answer_may_come_after_the_server(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    int client = ask_later(&f);
    http_server_free(f.server);
    http_response_say(http_later_response(f.later[0]), 200, "nobody hears");
    http_later_answer(f.later[0]);
    char byte;
    assert_true(recv(client, &byte, 1, 0) <= 0);
    close(client);
}

static void test_answers_that_wait_are_bounded(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    for (size_t i = 0; i < HTTP_LATER_MAX; i++)
        close(ask_later(&f)); /* its answer is awaited all the same */
    expect(&f, "GET /later HTTP/1.1\r\n" HOST "\r\n", " 503 ");
    http_later_answer(f.later[0]);
    close(ask_later(&f)); /* there is room again */
    for (size_t i = 1; i < f.later_count; i++)
        http_later_answer(f.later[i]);
    http_server_free(f.server);
}

static void test_path_is_bounded(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    char text[600];
    char name[HTTP_PATH_BYTES + 1];
    memset(name, 'a', sizeof(name));
    int most = HTTP_PATH_BYTES - 1 - 6; /* "/tree/" */
    snprintf(text, sizeof(text), "GET /tree/%.*s HTTP/1.1\r\n" HOST "\r\n", most, name);
    expect(&f, text, " 200 ");
    snprintf(text, sizeof(text), "GET /tree/%.*s HTTP/1.1\r\n" HOST "\r\n", most + 1, name);
    expect(&f, text, " 414 ");
    http_server_free(f.server);
}

static void test_broken_requests_are_refused(void **state)
{
    (void)state;
    const struct http_options options = {.url = "http://127.0.0.1:0",
                                         .connection_life_ns = 300 * NS_PER_MS};
    struct fixture f;
    set_up_with(&f, &options);
    expect(&f, "GET /echo%00 HTTP/1.1\r\n" HOST "\r\n", " 400 ");
    expect(&f, "GET /echo%4 HTTP/1.1\r\n" HOST "\r\n", " 400 ");
    expect_not(&f, "GET echo HTTP/1.1\r\n" HOST "\r\n", " 200 ");
    expect(&f, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           " 411 ");
    expect_not(&f, "nonsense\r\n\r\n", " 200 ");
    expect_not(&f, "GET /echo HTTP/9.9\r\n" HOST "\r\n", " 200 ");
    expect_not(&f, "GET /echo HTTP/1.1\r\n\r\n", " 200 "); /* no Host */
    expect_not(&f, "GET /echo HTTP/1.1\r\nHost\r\n\r\n", " 200 ");
    expect_not(&f, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", " 200 ");
    expect_not(&f, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5x\r\n\r\nabcde", " 200 ");
    static char long_line[20000];
    memset(long_line, 'a', sizeof(long_line) - 1);
    memcpy(long_line, "GET /", 5);
    expect_not(&f, long_line, " 200 ");
    assert_int_equal(f.calls, 0);
    expect(&f, "GET /echo HTTP/1.1\r\n" HOST "\r\n", " 200 "); /* it lives */
    http_server_free(f.server);
}

static void test_who_says_nothing_is_hung_up_on(void **state)
{
    (void)state;
    const struct http_options options = {.url = "http://127.0.0.1:0",
                                         .connection_life_ns = 50 * NS_PER_MS};
    struct fixture f;
    set_up_with(&f, &options);
    _cleanup_(freep) char *silent = hear(&f, dial(&f));
    assert_string_equal(silent, "");
    _cleanup_(freep) char *slow = ask(&f, "GET /echo HT");
    assert_string_equal(slow, "");
    http_server_free(f.server);
}

static void test_of_too_many_the_oldest_is_hung_up_on(void **state)
{
    (void)state;
    const struct http_options options = {.url = "http://127.0.0.1:0", .connection_max = 3};
    struct fixture f;
    set_up_with(&f, &options);
    int clients[4];
    for (size_t i = 0; i < 4; i++)
        clients[i] = dial(&f);
    /* They are seen together: any one goes, and one only. */
    bool gone = false;
    while (!gone) {
        struct pollfd ready[5] = {{.fd = http_server_fd(f.server), .events = POLLIN}};
        for (size_t i = 0; i < 4; i++)
            ready[i + 1] = (struct pollfd){.fd = clients[i], .events = POLLIN};
        assert_true(poll(ready, 5, PATIENCE_MS) > 0);
        if (ready[0].revents)
            http_server_turn(f.server);
        for (size_t i = 0; i < 4; i++)
            gone = gone || ready[i + 1].revents;
    }
    expect(&f, "GET /echo HTTP/1.1\r\n" HOST "\r\n", " 200 ");
    for (size_t i = 0; i < 4; i++)
        close(clients[i]);
    http_server_free(f.server);
}

static void on_much(void *data, const struct http_request *request, struct http_response *response)
{
    (void)data, (void)request;
    const size_t bytes = (size_t)16 << 20; /* more than sockets hold */
    void *body = calloc(1, bytes);
    assert_non_null(body);
    http_response_take(response, "application/octet-stream", body, bytes);
}

static void test_who_does_not_read_is_hung_up_on(void **state)
{
    (void)state;
    const struct http_options options = {.url = "http://127.0.0.1:0",
                                         .connection_life_ns = 200 * NS_PER_MS};
    struct fixture f;
    set_up_with(&f, &options);
    assert_int_equal(http_server_route(f.server, "GET", "/much", on_much, &f), 0);
    const char *text = "GET /much HTTP/1.1\r\n" HOST "\r\n";
    int client = dial(&f);
    assert_int_equal(send(client, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    /* Nothing is read until the other side has hung up. */
    struct pollfd ready[] = {{.fd = http_server_fd(f.server), .events = POLLIN},
                             {.fd = client, .events = POLLRDHUP}};
    while (!(ready[1].revents & (POLLRDHUP | POLLHUP | POLLERR))) {
        assert_true(poll(ready, 2, PATIENCE_MS) > 0);
        if (ready[0].revents)
            http_server_turn(f.server);
    }
    close(client);
    expect(&f, "GET /echo HTTP/1.1\r\n" HOST "\r\n", " 200 ");
    http_server_free(f.server);
}

/* Nobody turns the server: requests wait, and the one too many is answered all the same. */
static void test_requests_that_wait_are_bounded(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    const char *text = "GET /echo HTTP/1.1\r\n" HOST "\r\n";
    struct pollfd clients[HTTP_QUEUE_MAX + 1];
    for (size_t i = 0; i <= HTTP_QUEUE_MAX; i++) {
        clients[i] = (struct pollfd){.fd = dial(&f), .events = POLLIN};
        assert_int_equal(send(clients[i].fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    }
    assert_true(poll(clients, HTTP_QUEUE_MAX + 1, PATIENCE_MS) > 0);
    size_t answered = 0;
    for (size_t i = 0; i <= HTTP_QUEUE_MAX; i++) {
        char answer[64] = "";
        if (!clients[i].revents)
            continue;
        answered++;
        assert_true(recv(clients[i].fd, answer, sizeof(answer) - 1, 0) > 0);
        assert_non_null(strstr(answer, " 503 "));
    }
    assert_int_equal(answered, 1);
    http_server_turn(f.server);
    assert_int_equal(f.calls, HTTP_QUEUE_MAX);
    for (size_t i = 0; i <= HTTP_QUEUE_MAX; i++)
        close(clients[i].fd);
    http_server_free(f.server);
}

static void test_routes_are_bounded(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    for (int i = 6; i < HTTP_ROUTE_MAX; i++)
        assert_int_equal(http_server_route(f.server, "GET", "/more", on_echo, &f), 0);
    assert_int_equal(http_server_route(f.server, "GET", "/more", on_echo, &f), -ENOSPC);
    http_server_free(f.server);
}

/* ---- Strangers ---- */

static void test_another_host_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    expect(&f, "GET /echo HTTP/1.1\r\nHost: evil.example:80\r\n\r\n", " 403 ");
    expect(&f, "GET /echo HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n", " 403 ");
    expect(&f, "GET /echo HTTP/1.1\r\nHost: localhost:7480\r\n\r\n", " 200 ");
    expect(&f, "GET /echo HTTP/1.1\r\nHost: [::1]:7480\r\n\r\n", " 200 ");
    assert_int_equal(f.calls, 2);
    assert_int_equal(f.refused, 2);
    http_server_free(f.server);
}

static void test_another_origin_cannot_post(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    expect(&f, "POST /echo HTTP/1.1\r\n" HOST "Origin: http://evil.example\r\n\r\n", " 403 ");
    expect(&f, "POST /echo HTTP/1.1\r\n" HOST "Origin: null\r\n\r\n", " 403 ");
    expect(&f, "POST /echo HTTP/1.1\r\n" HOST "Origin: http://127.0.0.1\r\n\r\n", " 200 ");
    assert_int_equal(f.calls, 1);
    assert_int_equal(f.refused, 2);
    http_server_free(f.server);
}

/* ---- URLs ---- */

static void refuse(const char *url, bool insecure, int code, const char *part)
{
    const struct http_options options = {.url = url, .insecure = insecure};
    struct http_server *server = NULL;
    struct error_text error = {""};
    int r = http_server_new(&options, &server, &error);
    if (r != code || !strstr(error.text, part))
        fail_msg("%s: %d, \"%s\"", url, r, error.text);
    assert_null(server);
}

static void test_bad_urls_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "127.0.0.1:7480",
        "tcp://127.0.0.1:7480",
        "http://127.0.0.1",
        "http://127.0.0.1:",
        "http://127.0.0.1:65536",
        "http://127.0.0.1:+5",
        "http://127.0.0.1:99999999999999999999",
        "http://127.0.0.1:7480/metrics",
        "http://example.com:7480",
        "http://:7480",
        "http://[::1:7480",
        "http://::1:7480",
        "http://[127.0.0.1]:7480",
        "http://[]:7480",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refuse(bad[i], true, -EINVAL, "as http://127.0.0.1:7480");
    refuse("https://127.0.0.1:7480", false, -EINVAL, "no TLS");
    refuse("http://0.0.0.0:0", false, -EPERM, "--insecure-http");
    refuse("http://[::]:0", false, -EPERM, "--insecure-http");
    refuse("http://192.0.2.1:0", false, -EPERM, "no password");
}

static void test_any_address_if_insecure(void **state)
{
    (void)state;
    const struct http_options options = {.url = "http://0.0.0.0:0", .insecure = true};
    struct fixture f;
    set_up_with(&f, &options);
    expect(&f, "GET /echo HTTP/1.1\r\nHost: box.example\r\n\r\n", " 200 ");
    http_server_free(f.server);
}

static void test_port_in_use_is_said(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    char url[HTTP_URL_BYTES];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", f.port);
    refuse(url, false, -EADDRINUSE, url);
    expect(&f, "GET /echo HTTP/1.1\r\n" HOST "\r\n", " 200 ");
    http_server_free(f.server);
}

static void test_server_can_end_with_a_request_waiting(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    const char *text = "GET /echo HTTP/1.1\r\n" HOST "\r\n";
    int client = dial(&f);
    assert_int_equal(send(client, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    struct pollfd ready = {.fd = http_server_fd(f.server), .events = POLLIN};
    assert_true(poll(&ready, 1, PATIENCE_MS) > 0);
    http_server_free(f.server);
    ready = (struct pollfd){.fd = client, .events = POLLIN};
    assert_true(poll(&ready, 1, PATIENCE_MS) > 0);
    char byte;
    assert_true(recv(client, &byte, 1, 0) <= 0);
    close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_reaches_its_handler),
        cmocka_unit_test(test_head_has_no_body),
        cmocka_unit_test(test_what_is_not_there_is_refused),
        cmocka_unit_test(test_headers_are_safe_unless_a_handler_sets_them),
        cmocka_unit_test(test_body_is_bounded),
        cmocka_unit_test(test_body_of_a_large_path_is_bounded),
        cmocka_unit_test(test_answer_may_come_later_in_any_order),
        cmocka_unit_test(test_later_answer_may_come_after_the_server),
        cmocka_unit_test(test_answers_that_wait_are_bounded),
        cmocka_unit_test(test_path_is_bounded),
        cmocka_unit_test(test_broken_requests_are_refused),
        cmocka_unit_test(test_who_says_nothing_is_hung_up_on),
        cmocka_unit_test(test_of_too_many_the_oldest_is_hung_up_on),
        cmocka_unit_test(test_who_does_not_read_is_hung_up_on),
        cmocka_unit_test(test_requests_that_wait_are_bounded),
        cmocka_unit_test(test_routes_are_bounded),
        cmocka_unit_test(test_another_host_is_refused),
        cmocka_unit_test(test_another_origin_cannot_post),
        cmocka_unit_test(test_bad_urls_are_refused),
        cmocka_unit_test(test_any_address_if_insecure),
        cmocka_unit_test(test_port_in_use_is_said),
        cmocka_unit_test(test_server_can_end_with_a_request_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
