/*
 * What every backend of the replier does with requests, on every transport that it has, and what it
 * knows of who asks: one suite, of which test_replier_connections.c is the other half.
 *
 * The peer is a plain socket that speaks SP (support/sp.h), in this thread, for what has to be
 * exact; and libnng's REQ, in a thread of its own, for what has to work with others.
 */
#include "conformance/repliers.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/nng.h"

/* ---- Requests and answers ---- */

static void test_a_request_is_answered(struct fixture *f)
{
    start(f);
    struct sp *sp = peer_of(f);
    converse(f, sp, 1, "ping", "pong");
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
    converse(f, sp, 0x7fffffff, "", "");
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

/* ---- Running ---- */

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
};

int main(void)
{
    return run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
