/*
 * What every backend of the replier does, on every transport that it has: one suite.
 *
 * The peer is a plain socket that speaks SP (support/sp.h), in this thread, for what has to be
 * exact; and libnng's REQ, in a thread of its own, for what has to work with others. Who waits
 * here turns the replier meanwhile, and fails after PATIENCE_MS, which a right program never uses.
 */
#include "support/test.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/nng.h"
#include "control/replier.h"
#include "support/fds.h"
#include "support/folder.h"
#include "support/sp.h"

#define PATIENCE_MS 20000
#define BYTES_MAX (2u << 20)
#define HELD_MAX 64

static char folder[] = "/tmp/parley-replier-XXXXXX";

struct held {
    struct replier_request *request;
    const uint8_t *data;
    size_t bytes;
};

struct fixture {
    const char *backend;
    const char *scheme;
    struct replier_options options;
    char url[128];
    const char *urls[1];
    struct replier *replier;
    struct held held[HELD_MAX]; /* requests that are not answered yet, as they came */
    size_t held_count;
    struct replier_peer came[HELD_MAX];
    size_t came_count;
    uint64_t gone[HELD_MAX];
    size_t gone_count;
};

static bool is_ipc(const struct fixture *f)
{
    return strcmp(f->scheme, "ipc") == 0;
}

/* A peer that hangs up as it is accepted ends the listening of libnng 1.5.2 on ipc; its own look
 * whether an address is taken is such a peer. */
static void skip_if_hang_ups_harm(const struct fixture *f)
{
    if (is_ipc(f) && strcmp(f->backend, "nng") == 0) {
        print_message("libnng's ipc does not bear this\n");
        skip();
    }
}

static void on_came(const struct replier_peer *peer, void *data)
{
    struct fixture *f = data;
    assert_true(f->came_count < HELD_MAX);
    f->came[f->came_count++] = *peer;
}

static void on_gone(uint64_t connection, void *data)
{
    struct fixture *f = data;
    assert_true(f->gone_count < HELD_MAX);
    f->gone[f->gone_count++] = connection;
}

static void url_for(const struct fixture *f, const char *name, char url[128])
{
    static unsigned number; /* what a failed test leaves behind is in nobody's way */
    if (is_ipc(f))
        snprintf(url, 128, "ipc://%s/%s-%u.ipc", folder, name, number++);
    else
        snprintf(url, 128, "%s://127.0.0.1:0", f->scheme);
}

/* With what is in f->options. */
static void start(struct fixture *f)
{
    struct error_text error = {""};
    if (!f->url[0])
        url_for(f, "bus", f->url);
    f->urls[0] = f->url;
    f->options.urls = f->urls;
    f->options.url_count = 1;
    f->options.backend = f->backend;
    f->options.came = on_came;
    f->options.gone = on_gone;
    f->options.data = f;
    if (f->options.bytes_max == 0)
        f->options.bytes_max = BYTES_MAX;
    if (replier_new(&f->options, &f->replier, &error) != 0)
        fail_msg("%s", error.text);
    snprintf(f->url, sizeof(f->url), "%s", replier_url(f->replier, 0));
}

static void stop(struct fixture *f)
{
    for (size_t i = 0; i < f->held_count; i++)
        replier_drop(f->held[i].request);
    f->held_count = 0;
    f->replier = replier_free(f->replier);
}

/* ---- Turning ---- */

/* Takes one request, if there is one. */
static bool take(struct fixture *f)
{
    struct held next;
    int r = replier_receive(f->replier, &next.request, &next.data, &next.bytes);
    if (r == REPLIER_E_AGAIN)
        return false;
    assert_int_equal(r, 0);
    assert_true(f->held_count < HELD_MAX);
    f->held[f->held_count++] = next;
    return true;
}

/* Waits for the replier, or @fd. */
static void rest(struct fixture *f, int fd)
{
    struct pollfd ready[] = {{.fd = replier_fd(f->replier), .events = POLLIN},
                             {.fd = fd, .events = POLLIN}};
    uint64_t left = clock_left(replier_next_deadline_ns(f->replier), clock_now_ns());
    int ms = left < PATIENCE_MS * NS_PER_MS ? (int)(left / NS_PER_MS) + 1 : PATIENCE_MS;
    int n = poll(ready, fd >= 0 ? 2 : 1, ms);
    if (n == 0 && ms == PATIENCE_MS)
        fail_msg("nothing happens");
}

#define UNTIL(f, fd, condition)                                                                    \
    do {                                                                                           \
        uint64_t until_ns_ = clock_now_ns() + PATIENCE_MS * NS_PER_MS;                             \
        while (!(condition)) {                                                                     \
            assert_true(clock_now_ns() < until_ns_);                                               \
            if (!take(f) && !(condition))                                                          \
                rest(f, fd);                                                                       \
        }                                                                                          \
    } while (0)

static struct sp *peer_of(struct fixture *f)
{
    struct sp *sp = sp_connect(f->url);
    sp_send_hello(sp, SP_REQ);
    UNTIL(f, sp->fd, sp_has_hello(sp));
    assert_int_equal(sp_take_hello(sp), SP_REP);
    return sp;
}

/* The next answer is to @id, and says @text. */
static void expect_answer(struct fixture *f, struct sp *sp, uint32_t id, const char *text)
{
    uint8_t *data;
    size_t bytes;
    UNTIL(f, sp->fd, sp_has_message(sp));
    sp_take_message(sp, &data, &bytes);
    assert_int_equal(bytes, 4 + strlen(text));
    const uint8_t word[4] = {(uint8_t)(0x80 | id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8),
                             (uint8_t)id};
    assert_memory_equal(data, word, 4);
    assert_memory_equal(data + 4, text, strlen(text));
    free(data);
}

static void ask(struct sp *sp, uint32_t id, const char *text)
{
    sp_ask(sp, id, text, strlen(text));
}

static void answer(struct fixture *f, size_t index, const char *text)
{
    assert_true(index < f->held_count);
    assert_int_equal(replier_answer(f->held[index].request, (const uint8_t *)text, strlen(text)),
                     0);
    f->held_count--;
    memmove(&f->held[index], &f->held[index + 1], (f->held_count - index) * sizeof(f->held[0]));
}

static void expect_request(struct fixture *f, size_t index, const char *text)
{
    UNTIL(f, -1, f->held_count > index);
    assert_int_equal(f->held[index].bytes, strlen(text));
    assert_memory_equal(f->held[index].data, text, strlen(text));
}

static void expect_hung_up(struct fixture *f, struct sp *sp)
{
    UNTIL(f, sp->fd, (sp_has_message(sp), sp->hung_up));
}

/* Somebody else is served. */
static void expect_alive(struct fixture *f)
{
    size_t before = f->held_count;
    struct sp *sp = peer_of(f);
    ask(sp, 7, "alive?");
    expect_request(f, before, "alive?");
    answer(f, before, "yes");
    expect_answer(f, sp, 7, "yes");
    sp_free(sp);
}

/* ---- Requests and answers ---- */

static void test_a_request_is_answered(struct fixture *f)
{
    start(f);
    struct sp *sp = peer_of(f);
    ask(sp, 1, "ping");
    expect_request(f, 0, "ping");
    answer(f, 0, "pong");
    expect_answer(f, sp, 1, "pong");
    sp_free(sp);
}

static void test_answers_go_in_any_order(struct fixture *f)
{
    start(f);
    struct sp *a = peer_of(f);
    ask(a, 1, "a one");
    ask(a, 2, "a two");
    expect_request(f, 0, "a one");
    expect_request(f, 1, "a two");
    struct sp *b = peer_of(f);
    ask(b, 1, "b one");
    expect_request(f, 2, "b one");
    answer(f, 1, "to a two");
    answer(f, 1, "to b one");
    answer(f, 0, "to a one");
    expect_answer(f, b, 1, "to b one");
    expect_answer(f, a, 2, "to a two");
    expect_answer(f, a, 1, "to a one");
    sp_free(a);
    sp_free(b);
}

static void test_many_requests_come_in_order_and_whole(struct fixture *f)
{
    start(f);
    struct sp *sp = peer_of(f);
    char text[32];
    for (uint32_t i = 0; i < 2000; i++) {
        snprintf(text, sizeof(text), "request %u", i);
        ask(sp, i, text);
        if (i % 16 != 15)
            continue;
        for (uint32_t j = i - 15; j <= i; j++) {
            snprintf(text, sizeof(text), "request %u", j);
            expect_request(f, 0, text);
            answer(f, 0, text);
        }
        for (uint32_t j = i - 15; j <= i; j++) {
            snprintf(text, sizeof(text), "request %u", j);
            expect_answer(f, sp, j, text);
        }
    }
    sp_free(sp);
}

static void test_an_answer_may_be_empty_as_its_request(struct fixture *f)
{
    start(f);
    struct sp *sp = peer_of(f);
    ask(sp, 0x7fffffff, "");
    expect_request(f, 0, "");
    answer(f, 0, "");
    expect_answer(f, sp, 0x7fffffff, "");
    sp_free(sp);
}

static void test_room_for_an_answer_grows_and_shrinks(struct fixture *f)
{
    start(f);
    struct sp *sp = peer_of(f);
    ask(sp, 1, "room");
    expect_request(f, 0, "room");
    struct replier_request *request = f->held[0].request;
    f->held_count = 0;
    uint8_t *out;
    assert_int_equal(replier_answer_begin(request, 4, &out), 0);
    memcpy(out, "kept", 4);
    assert_int_equal(replier_answer_begin(request, 100000, &out), 0);
    assert_memory_equal(out, "kept", 4);
    memset(out + 4, '.', 100000 - 4);
    assert_int_equal(replier_answer_begin(request, 8, &out), 0);
    assert_memory_equal(out, "kept....", 8);
    assert_int_equal(replier_answer_end(request, 6), 0);
    expect_answer(f, sp, 1, "kept..");
    sp_free(sp);
}

static void test_a_dropped_request_is_never_answered(struct fixture *f)
{
    start(f);
    struct sp *sp = peer_of(f);
    ask(sp, 1, "first");
    ask(sp, 2, "second");
    expect_request(f, 0, "first");
    expect_request(f, 1, "second");
    uint8_t *out;
    assert_int_equal(replier_answer_begin(f->held[0].request, 10, &out), 0);
    replier_drop(f->held[0].request);
    f->held[0] = f->held[1];
    f->held_count = 1;
    answer(f, 0, "to second");
    expect_answer(f, sp, 2, "to second");
    sp_free(sp);
}

static void test_a_way_back_over_several_hops_is_kept(struct fixture *f)
{
    start(f);
    struct sp *sp = peer_of(f);
    const uint32_t words[] = {0x11, 0x22222222, 0x80000033};
    sp_send(sp, words, 3, "far", 3);
    expect_request(f, 0, "far");
    answer(f, 0, "back");
    uint8_t *data;
    size_t bytes;
    UNTIL(f, sp->fd, sp_has_message(sp));
    sp_take_message(sp, &data, &bytes);
    const uint8_t expected[] = "\0\0\0\x11\x22\x22\x22\x22\x80\0\0\x33"
                               "back";
    assert_int_equal(bytes, sizeof(expected) - 1);
    assert_memory_equal(data, expected, bytes);
    free(data);
    sp_free(sp);
}

/* ---- libnng's REQ ---- */

struct asking {
    pthread_t thread;
    char url[128];
    size_t bytes;
    _Atomic bool ended;
    int result;
    uint8_t *sent, *answer;
    size_t answer_bytes;
    struct error_text error;
};

static void *asking_run(void *data)
{
    struct asking *asking = data;
    struct nng_asker *asker;
    asking->result = nng_asker_new(asking->url, PATIENCE_MS * NS_PER_MS, &asker, &asking->error);
    if (asking->result == 0) {
        asking->result = nng_asker_ask(asker, asking->sent, asking->bytes, &asking->answer,
                                       &asking->answer_bytes, &asking->error);
        nng_asker_free(asker);
    }
    asking->ended = true;
    return NULL;
}

static void test_libnng_asks(struct fixture *f)
{
    static const size_t sizes[] = {0, 1, 100, 4096, 65536, 1u << 20, BYTES_MAX - 16};
    start(f);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct asking asking = {.bytes = sizes[i]};
        snprintf(asking.url, sizeof(asking.url), "%s", f->url);
        asking.sent = malloc(sizes[i] + 1);
        for (size_t j = 0; j < sizes[i]; j++)
            asking.sent[j] = (uint8_t)(j * 7 + j / 255);
        assert_int_equal(pthread_create(&asking.thread, NULL, asking_run, &asking), 0);
        UNTIL(f, -1, f->held_count == 1);
        assert_int_equal(f->held[0].bytes, sizes[i]);
        assert_memory_equal(f->held[0].data, asking.sent, sizes[i]);
        assert_int_equal(replier_answer(f->held[0].request, asking.sent, sizes[i]), 0);
        f->held_count = 0;
        while (!asking.ended) { /* what is left of the answer is sent meanwhile */
            struct held none;
            assert_int_equal(replier_receive(f->replier, &none.request, &none.data, &none.bytes),
                             REPLIER_E_AGAIN);
            struct pollfd ready = {.fd = replier_fd(f->replier), .events = POLLIN};
            poll(&ready, 1, 1);
        }
        pthread_join(asking.thread, NULL);
        if (asking.result != 0)
            fail_msg("%s", asking.error.text);
        assert_int_equal(asking.answer_bytes, sizes[i]);
        assert_memory_equal(asking.answer, asking.sent, sizes[i]);
        free(asking.sent);
        free(asking.answer);
    }
}

/* ---- Who ---- */

static void test_who_asks_is_known_before_the_first_request(struct fixture *f)
{
    start(f);
    struct sp *sp = peer_of(f);
    ask(sp, 1, "who am I?");
    UNTIL(f, -1, f->held_count == 1);
    assert_int_equal(f->came_count, 1);
    const struct replier_peer *peer = replier_request_peer(f->held[0].request);
    assert_memory_equal(peer, &f->came[0], sizeof(*peer));
    assert_true(peer->connection != 0);
    assert_false(peer->off_host);
    assert_false(peer->encrypted);
    assert_string_equal(peer->identity, "");
    assert_int_equal(peer->local, is_ipc(f));
    if (is_ipc(f)) {
        assert_int_equal(peer->uid, getuid());
        assert_int_equal(peer->gid, getgid());
        assert_int_equal(peer->pid, getpid());
        assert_non_null(strstr(peer->text, "user "));
    } else {
        assert_non_null(strstr(peer->text, "127.0.0.1:"));
    }
    sp_free(sp);
}

static void test_each_connection_has_a_number_of_its_own(struct fixture *f)
{
    start(f);
    struct sp *a = peer_of(f);
    struct sp *b = peer_of(f);
    ask(a, 1, "a");
    expect_request(f, 0, "a");
    ask(b, 1, "b");
    expect_request(f, 1, "b");
    uint64_t number = replier_request_peer(f->held[0].request)->connection;
    uint64_t other = replier_request_peer(f->held[1].request)->connection;
    assert_true(number != other);
    sp_free(b);
    UNTIL(f, -1, f->gone_count == 1);
    assert_true(f->gone[0] == other);
    sp_free(a);
    UNTIL(f, -1, f->gone_count == 2);
    assert_true(f->gone[1] == number);
    struct replier_counts counts;
    replier_counts(f->replier, &counts);
    assert_int_equal(counts.connections, 2);
    assert_int_equal(counts.connections_now, 0);
    assert_int_equal(counts.unanswered_now, 2);
}

static void test_an_asker_that_is_gone_is_no_error(struct fixture *f)
{
    start(f);
    struct sp *sp = peer_of(f);
    ask(sp, 1, "answer me");
    expect_request(f, 0, "answer me");
    sp_free(sp);
    UNTIL(f, -1, f->gone_count == 1);
    /* The request and its peer are still there. */
    assert_memory_equal(f->held[0].data, "answer me", 9);
    assert_true(replier_request_peer(f->held[0].request)->connection == f->gone[0]);
    answer(f, 0, "too late");
    expect_alive(f);
}

static void test_requests_and_answers_are_counted(struct fixture *f)
{
    start(f);
    struct sp *sp = peer_of(f);
    ask(sp, 1, "one");
    ask(sp, 2, "two");
    ask(sp, 3, "three");
    expect_request(f, 0, "one");
    expect_request(f, 2, "three");
    answer(f, 0, "1");
    expect_answer(f, sp, 1, "1");
    struct replier_counts counts;
    replier_counts(f->replier, &counts);
    assert_int_equal(counts.connections, 1);
    assert_int_equal(counts.connections_now, 1);
    assert_int_equal(counts.requests, 3);
    assert_int_equal(counts.answers, 1);
    assert_int_equal(counts.unanswered_now, 2);
    sp_free(sp);
}

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

static void test_who_hangs_up_in_the_middle_is_gone(struct fixture *f)
{
    skip_if_hang_ups_harm(f);
    start(f);
    uint8_t whole[64] = {0, 'S', 'P', 0, 0, SP_REQ, 0, 0};
    size_t n = 8;
    if (is_ipc(f))
        whole[n++] = 1;
    whole[n + 7] = 4 + 5;
    n += 8;
    memcpy(whole + n, "\x80\0\0\1hello", 9);
    n += 9;
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
    uint8_t whole[64] = {0, 'S', 'P', 0, 0, SP_REQ, 0, 0};
    size_t n = 8;
    if (is_ipc(f))
        whole[n++] = 1;
    whole[n + 7] = 4 + 5;
    n += 8;
    memcpy(whole + n, "\x80\0\0\1hello", 9);
    n += 9;
    for (size_t i = 0; i < n; i++) {
        struct held none;
        sp_write(sp, whole + i, 1);
        if (i + 1 < n)
            assert_int_equal(replier_receive(f->replier, &none.request, &none.data, &none.bytes),
                             REPLIER_E_AGAIN);
    }
    expect_request(f, 0, "hello");
    answer(f, 0, "whole");
    UNTIL(f, sp->fd, sp_has_hello(sp));
    assert_int_equal(sp_take_hello(sp), SP_REP);
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

static void test_it_dials_and_dials_again(struct fixture *f)
{
    char url[128];
    if (is_ipc(f)) {
        url_for(f, "out", url);
    } else { /* a port that is free */
        start(f);
        snprintf(url, sizeof(url), "%s", f->url);
        stop(f);
    }
    int listener = sp_listen(url);
    snprintf(f->url, sizeof(f->url), "%s", url);
    f->options.dial = true;
    start(f);
    for (int i = 0; i < 2; i++) {
        struct pollfd ready = {.fd = listener, .events = POLLIN};
        UNTIL(f, listener, poll(&ready, 1, 0) == 1);
        struct sp *sp = sp_accept(listener, is_ipc(f));
        sp_send_hello(sp, SP_REQ);
        UNTIL(f, sp->fd, sp_has_hello(sp));
        assert_int_equal(sp_take_hello(sp), SP_REP);
        ask(sp, 5, "served?");
        expect_request(f, 0, "served?");
        assert_int_equal(f->came_count, i + 1);
        answer(f, 0, "yes");
        expect_answer(f, sp, 5, "yes");
        sp_free(sp);
        UNTIL(f, -1, f->gone_count == (size_t)i + 1);
    }
    close(listener);
}

static void test_who_is_dialled_may_come_later(struct fixture *f)
{
    char url[128];
    if (is_ipc(f)) {
        url_for(f, "later", url);
        (void)unlink(url + strlen("ipc://"));
    } else {
        start(f);
        snprintf(url, sizeof(url), "%s", f->url);
        stop(f);
    }
    snprintf(f->url, sizeof(f->url), "%s", url);
    f->options.dial = true;
    start(f);
    for (int i = 0; i < 3; i++) {
        assert_false(take(f));
        rest(f, -1);
    }
    int listener = sp_listen(url);
    struct pollfd ready = {.fd = listener, .events = POLLIN};
    UNTIL(f, listener, poll(&ready, 1, 0) == 1);
    close(listener);
}

/* ---- Running ---- */

struct test_case {
    const char *name;
    void (*run)(struct fixture *f);
};

#define CASE(function)                                                                             \
    {                                                                                              \
#function, function                                                                        \
    }
static const struct test_case cases[] = {
    CASE(test_a_request_is_answered),
    CASE(test_answers_go_in_any_order),
    CASE(test_many_requests_come_in_order_and_whole),
    CASE(test_an_answer_may_be_empty_as_its_request),
    CASE(test_room_for_an_answer_grows_and_shrinks),
    CASE(test_a_dropped_request_is_never_answered),
    CASE(test_a_way_back_over_several_hops_is_kept),
    CASE(test_libnng_asks),
    CASE(test_who_asks_is_known_before_the_first_request),
    CASE(test_each_connection_has_a_number_of_its_own),
    CASE(test_an_asker_that_is_gone_is_no_error),
    CASE(test_requests_and_answers_are_counted),
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
#define CASE_COUNT (sizeof(cases) / sizeof(cases[0]))

static const struct kind {
    const char *backend;
    const char *scheme;
} kinds[] = {{"nng", "ipc"}, {"nng", "tcp"}, {"stream", "ipc"}, {"stream", "tcp"}};
#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

struct run {
    const struct test_case *test_case;
    const struct kind *kind;
};

static void run_case(void **state)
{
    const struct run *run = *state;
    struct fixture f = {.backend = run->kind->backend, .scheme = run->kind->scheme};
    run->test_case->run(&f);
    stop(&f);
}

static int run_all(void)
{
    static struct run runs[KIND_COUNT * CASE_COUNT];
    static char names[KIND_COUNT * CASE_COUNT][120];
    struct CMUnitTest tests[KIND_COUNT * CASE_COUNT];
    if (getenv("TEST_FILTER")) /* "stream, tcp: *dials*" */
        cmocka_set_test_filter(getenv("TEST_FILTER"));
    size_t n = 0;
    for (size_t k = 0; k < KIND_COUNT; k++) {
        for (size_t c = 0; c < CASE_COUNT; c++, n++) {
            runs[n] = (struct run){&cases[c], &kinds[k]};
            snprintf(names[n], sizeof(names[n]), "%s, %s: %s", kinds[k].backend, kinds[k].scheme,
                     cases[c].name);
            tests[n] = (struct CMUnitTest){names[n], run_case, NULL, NULL, &runs[n]};
        }
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return folder_run(folder, run_all);
}
