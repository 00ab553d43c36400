/*
 * What every backend of the replier does with connections, on every transport that it has: how many
 * and how large, peers that are none, where it listens and whom it dials. See test_replier.c.
 */
#include "conformance/repliers.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Limits ---- */

static void test_the_largest_request_is_taken_and_a_larger_one_is_not(struct fixture *f)
{
    f->options.bytes_max = 1000;
    start(f);
    char text[1002];
    memset(text, 'x', sizeof(text));
    struct sp *sp = peer_of(f);
    sp_ask(sp, 1, text, 1000);
    UNTIL(f, -1, f->held_count == 1);
    assert_int_equal(f->held[0].bytes, 1000);
    answer(f, 0, "fits");
    expect_answer(f, sp, 1, "fits");
    sp_ask(sp, 2, text, 1001);
    expect_hung_up(f, sp);
    assert_int_equal(f->held_count, 0);
    UNTIL(f, -1, f->gone_count == 1);
    sp_free(sp);
    expect_alive(f);
}

static void test_connections_past_the_limit_are_hung_up_on(struct fixture *f)
{
    f->options.connections_max = 2;
    start(f);
    struct sp *a = peer_of(f);
    struct sp *b = peer_of(f);
    UNTIL(f, -1, f->came_count == 2);
    struct sp *c = sp_connect(f->url);
    sp_send_hello(c, SP_REQ);
    ask(c, 1, "let me in");
    expect_hung_up(f, c);
    sp_free(c);
    assert_int_equal(f->came_count, 2);
    assert_int_equal(f->held_count, 0);
    struct replier_counts counts;
    replier_counts(f->replier, &counts);
    assert_int_equal(counts.refused, 1);
    sp_free(a);
    UNTIL(f, -1, f->gone_count == 1);
    expect_alive(f); /* there is room again */
    sp_free(b);
}

/* ---- Peers that are none ---- */

static void test_another_protocol_is_hung_up_on(struct fixture *f)
{
    start(f);
    static const uint16_t protocols[] = {0, 0x10, 0x20, 0x21, SP_REP, 0x62, 0x130, 0xffff};
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
        struct sp *sp = sp_connect(f->url);
        sp_send_hello(sp, protocols[i]);
        expect_hung_up(f, sp);
        sp_free(sp);
    }
    assert_int_equal(f->held_count, 0);
    expect_alive(f);
}

static void test_each_byte_of_the_greeting_counts(struct fixture *f)
{
    start(f);
    for (size_t i = 0; i < 8; i++) {
        uint8_t hello[8] = {0, 'S', 'P', 0, 0, SP_REQ, 0, 0};
        hello[i] ^= 0x40;
        struct sp *sp = sp_connect(f->url);
        sp_write(sp, hello, sizeof(hello));
        expect_hung_up(f, sp);
        sp_free(sp);
    }
    expect_alive(f);
}

/* All that a peer sends that asks "hello", as request 1. */
static size_t greeting_and_request(const struct fixture *f, uint8_t whole[64])
{
    memset(whole, 0, 64);
    memcpy(whole, "\0SP\0\0", 5);
    whole[5] = SP_REQ;
    size_t n = 8;
    if (is_ipc(f))
        whole[n++] = 1;
    whole[n + 7] = 4 + 5;
    n += 8;
    memcpy(whole + n, "\x80\0\0\1hello", 9);
    return n + 9;
}

static void test_who_hangs_up_in_the_middle_is_gone(struct fixture *f)
{
    skip_if_hang_ups_harm(f);
    start(f);
    uint8_t whole[64];
    size_t n = greeting_and_request(f, whole);
    for (size_t cut = 0; cut < n; cut++) {
        struct sp *sp = sp_connect(f->url);
        sp_write(sp, whole, cut);
        sp_free(sp);
    }
    assert_int_equal(f->held_count, 0);
    expect_alive(f);
    UNTIL(f, -1, f->gone_count == f->came_count);
    f->held_count = 0;
}

static void test_a_request_that_comes_byte_by_byte_is_whole(struct fixture *f)
{
    start(f);
    struct sp *sp = sp_connect(f->url);
    uint8_t whole[64];
    size_t n = greeting_and_request(f, whole);
    for (size_t i = 0; i < n; i++) {
        struct held none;
        sp_write(sp, whole + i, 1);
        if (i + 1 < n)
            assert_int_equal(replier_receive(f->replier, &none.request, &none.data, &none.bytes),
                             REPLIER_E_AGAIN);
    }
    expect_request(f, 0, "hello");
    answer(f, 0, "whole");
    expect_hello(f, sp);
    expect_answer(f, sp, 1, "whole");
    sp_free(sp);
}

static void test_a_request_without_a_way_back_is_no_request(struct fixture *f)
{
    static const uint32_t words[] = {1, 2, 3};
    start(f);
    for (size_t i = 0; i <= 3; i++) {
        struct sp *sp = peer_of(f);
        sp_send(sp, words, i, "\0\0\0", 3);
        expect_hung_up(f, sp);
        sp_free(sp);
    }
    assert_int_equal(f->held_count, 0);
    expect_alive(f);
}

/* ---- Addresses ---- */

static void test_a_url_that_is_taken_is_refused_with_advice(struct fixture *f)
{
    skip_if_hang_ups_harm(f);
    start(f);
    struct replier *other;
    struct error_text error = {""};
    assert_int_equal(replier_new(&f->options, &other, &error), -EADDRINUSE);
    assert_non_null(strstr(error.text, f->url));
    assert_non_null(strstr(error.text, "choose another"));
    expect_alive(f);
}

static void test_a_socket_that_nobody_listens_on_is_replaced(struct fixture *f)
{
    if (!is_ipc(f))
        return;
    url_for(f, "bus", f->url);
    close(sp_listen(f->url));
    start(f);
    expect_alive(f);
}

static void test_mode_is_that_of_the_socket(struct fixture *f)
{
    if (!is_ipc(f))
        return;
    f->options.mode = 0620;
    start(f);
    struct stat status;
    assert_return_code(stat(f->url + strlen("ipc://"), &status), errno);
    assert_int_equal(status.st_mode & 0777, 0620);
}

static void test_what_is_no_url_is_refused(struct fixture *f)
{
    static const char *const wrong[] = {
        "", "nonsense", "ipc://", "tcp://127.0.0.1:99999", "tcp://:::1", "carrier-pigeon://coop"};
    f->options.bytes_max = 1000;
    f->options.backend = f->backend;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct replier *replier;
        struct error_text error = {""};
        f->options.urls = &wrong[i];
        f->options.url_count = 1;
        int r = replier_new(&f->options, &replier, &error);
        if (r >= 0)
            fail_msg("\"%s\" was accepted", wrong[i]);
        assert_true(error.text[0] != '\0');
    }
}

static void test_several_urls_are_served_at_once(struct fixture *f)
{
    char a[128], b[128];
    const char *urls[] = {a, b};
    url_for(f, "a", a);
    url_for(f, "b", b);
    f->options.urls = urls;
    f->options.url_count = 2;
    f->options.bytes_max = 1000;
    f->options.backend = f->backend;
    struct error_text error = {""};
    if (replier_new(&f->options, &f->replier, &error) != 0)
        fail_msg("%s", error.text);
    for (size_t i = 0; i < 2; i++) {
        snprintf(f->url, sizeof(f->url), "%s", replier_url(f->replier, i));
        expect_alive(f);
    }
    assert_null(replier_url(f->replier, 2));
}

/* ---- Dialling ---- */

/* In f->url one that a peer may listen at later. */
static void find_url(struct fixture *f)
{
    if (is_ipc(f)) {
        url_for(f, "out", f->url);
    } else { /* a port that is free */
        start(f);
        stop(f);
    }
}

static void test_it_dials_and_dials_again(struct fixture *f)
{
    find_url(f);
    int listener = sp_listen(f->url);
    f->options.dial = true;
    start(f);
    for (int i = 0; i < 2; i++) {
        struct pollfd ready = {.fd = listener, .events = POLLIN};
        UNTIL(f, listener, poll(&ready, 1, 0) == 1);
        struct sp *sp = sp_accept(listener, is_ipc(f));
        sp_send_hello(sp, SP_REQ);
        expect_hello(f, sp);
        converse(f, sp, 5, "served?", "yes");
        assert_int_equal(f->came_count, i + 1);
        sp_free(sp);
        UNTIL(f, -1, f->gone_count == (size_t)i + 1);
    }
    close(listener);
}

static void test_who_is_dialled_may_come_later(struct fixture *f)
{
    find_url(f);
    f->options.dial = true;
    start(f);
    for (int i = 0; i < 3; i++) {
        assert_false(take(f));
        rest(f, -1);
    }
    int listener = sp_listen(f->url);
    struct pollfd ready = {.fd = listener, .events = POLLIN};
    UNTIL(f, listener, poll(&ready, 1, 0) == 1);
    close(listener);
}

/* ---- Running ---- */

static const struct test_case cases[] = {
    CASE(test_the_largest_request_is_taken_and_a_larger_one_is_not),
    CASE(test_connections_past_the_limit_are_hung_up_on),
    CASE(test_another_protocol_is_hung_up_on),
    CASE(test_each_byte_of_the_greeting_counts),
    CASE(test_who_hangs_up_in_the_middle_is_gone),
    CASE(test_a_request_that_comes_byte_by_byte_is_whole),
    CASE(test_a_request_without_a_way_back_is_no_request),
    CASE(test_a_url_that_is_taken_is_refused_with_advice),
    CASE(test_a_socket_that_nobody_listens_on_is_replaced),
    CASE(test_mode_is_that_of_the_socket),
    CASE(test_what_is_no_url_is_refused),
    CASE(test_several_urls_are_served_at_once),
    CASE(test_it_dials_and_dials_again),
    CASE(test_who_is_dialled_may_come_later),
};

int main(void)
{
    return run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
