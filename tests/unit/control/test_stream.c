/*
 * What only the stream backend of the replier does: it holds back who asks without reading, or
 * too much at once, and gathers answers. What all backends do is in
 * tests/conformance/test_replier.c.
 */
#include "streams.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sanitized.h"

/* ---- Holding back ---- */

/* Waits for the next answer, which has so many bytes. */
static void read_answer(struct fixture *f, struct sp *sp, size_t bytes)
{
    uint8_t *got;
    size_t got_bytes;
    UNTIL(take(f), sp_has_message(sp));
    sp_take_message(sp, &got, &got_bytes);
    assert_int_equal(got_bytes, 4 + bytes);
    free(got);
}

static void test_too_many_unanswered_are_read_no_further(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){.unanswered_max = 4});
    struct sp *sp = peer_of(f);
    for (uint32_t i = 0; i < 10; i++)
        sp_ask(sp, i, "ask", 3);
    UNTIL(take(f), f->held_count == 4);
    settle(f);
    assert_int_equal(f->held_count, 4);
    struct replier_counts counts;
    replier_counts(f->replier, &counts);
    assert_int_equal(counts.held_back, 1);
    struct sp *other = peer_of(f); /* which is no reason to hold others back */
    sp_ask(other, 1, "ask", 3);
    UNTIL(take(f), f->held_count == 5);
    replier_drop(f->held[--f->held_count]);
    for (unsigned i = 0; i < 10; i++) {
        answer(f, "answer", 6);
        settle(f);
        assert_int_equal(f->held_count, i < 6 ? 4 : 9 - i);
    }
    /* While it is held, time does not count against it. */
    for (uint32_t i = 0; i < 5; i++)
        sp_ask(sp, i, "ask", 3);
    settle(f);
    pass(f, 3600 * NS_PER_S);
    assert_false(hung_up(f, sp));
    assert_int_equal(f->held_count, 4);
    sp_free(sp);
    sp_free(other);
}

static void test_who_is_held_back_and_hangs_up_is_gone(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){.unanswered_max = 2});
    struct sp *sp = peer_of(f);
    for (uint32_t i = 0; i < 10; i++)
        sp_ask(sp, i, "ask", 3);
    UNTIL(take(f), f->held_count == 2);
    sp_free(sp);
    UNTIL(take(f), f->gone == 1);
    settle(f);
    assert_int_equal(f->held_count, 2);
}

static void test_who_does_not_read_is_held_back_then_hung_up_on(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){0});
    struct sp *sp = peer_of(f);
    size_t large = STREAM_OUT_BYTES_HOLD;
    uint8_t *data = calloc(1, large);
    for (uint32_t i = 0; i < 48; i++)
        sp_ask(sp, i, "ask", 3);
    UNTIL(take(f), f->held_count == 48);
    answer(f, data, large);
    answer(f, data, large); /* no more is read */
    sp_ask(sp, 99, "ask", 3);
    settle(f);
    assert_int_equal(f->held_count, 46);
    unsigned answered = 2;
    while (f->held_count > 0 && f->gone == 0) {
        if (answered <= STREAM_OUT_BYTES_MAX / large - 1)
            assert_true(replier_has_room(f->held[0], large - 64)); /* its head is no part of it */
        else if (answered > STREAM_OUT_BYTES_MAX / large + 1)
            assert_false(replier_has_room(f->held[0], large));
        answer(f, data, large);
        settle(f);
        answered++;
    }
    assert_int_equal(f->gone, 1);
    const size_t most = (STREAM_OUT_BYTES_MAX + STREAM_OUT_BYTES_SHORT) / large;
    assert_in_range(answered, most, most + 2);
    free(data);
    sp_free(sp);
}

/* As much of it as it is read of. Return: bytes. */
static size_t push(struct fixture *f, struct sp *sp, const uint8_t *data, size_t bytes)
{
    size_t sent = 0;
    for (unsigned refused = 0; refused < 2 && sent < bytes;) { /* it may have been full before */
        ssize_t n = send(sp->fd, data + sent, bytes - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        refused = n < 0 ? refused + 1 : 0;
        sent += n > 0 ? (size_t)n : 0;
        settle(f);
    }
    return sent;
}

static void test_requests_under_way_are_so_many_bytes_at_most(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){0});
    struct sp *sp = peer_of(f);
    enum { FIT = 16, COUNT = FIT + 6 };
    const uint64_t large = STREAM_TO_COME_BYTES_MAX / FIT, length = htobe64(large);
    const size_t whole = 9 + large;
    uint8_t *data = calloc(COUNT, whole);
    for (size_t i = 0; i < COUNT; i++) {
        data[i * whole] = 1;
        memcpy(data + i * whole + 1, &length, 8);
        data[i * whole + 9] = 0x80;
    }
    size_t sent = push(f, sp, data, COUNT * whole);
    assert_int_equal(f->held_count, FIT); /* the next one would be too many */
    assert_true(sent < (FIT + 2) * whole);
    pass(f, 3600 * NS_PER_S); /* which it may take its time for */
    for (unsigned i = 1; i <= FIT / 4; i++) {
        answer(f, "ok", 2);
        sent += push(f, sp, data + sent, COUNT * whole - sent);
        assert_int_equal(f->held_count, FIT - i);
    }
    answer(f, "ok", 2); /* a quarter is done, and there is room for one more */
    (void)push(f, sp, data + sent, COUNT * whole - sent);
    assert_int_equal(f->held_count, FIT);
    assert_int_equal(f->gone, 0);
    struct replier_counts counts;
    replier_counts(f->replier, &counts);
    assert_true(counts.held_back > 0);
    free(data);
    sp_free(sp);
}

static void test_requests_count_as_much_as_answers_had_of_late(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){0});
    struct sp *sp = peer_of(f);
    enum { FIT = 16, COUNT = 40 };
    const size_t large = STREAM_TO_COME_BYTES_MAX / FIT - 64;
    uint8_t *data = calloc(1, large);
    sp_ask(sp, 0, "ask", 3);
    UNTIL(take(f), f->held_count == 1);
    answer(f, data, large);
    read_answer(f, sp, large);
    for (uint32_t i = 0; i < COUNT; i++)
        sp_ask(sp, i, "ask", 3);
    for (size_t answered = 0; answered < COUNT;) {
        settle(f);
        assert_in_range(f->held_count, 1, FIT);
        size_t now = f->held_count;
        for (size_t i = 0; i < now; i++) {
            assert_true(replier_has_room(f->held[0], large));
            answer(f, data, large);
        }
        assert_false(hung_up(f, sp));
        for (size_t i = 0; i < now; i++)
            read_answer(f, sp, large);
        answered += now;
    }
    for (uint32_t i = 0; i < 300; i++) { /* and when they are small again, that is forgotten */
        sp_ask(sp, i, "ask", 3);
        UNTIL(take(f), f->held_count == 1);
        answer(f, data, 1);
        read_answer(f, sp, 1);
    }
    for (uint32_t i = 0; i < COUNT; i++)
        sp_ask(sp, i, "ask", 3);
    settle(f);
    assert_int_equal(f->held_count, COUNT);
    free(data);
    sp_free(sp);
}

/* What a service has been asked by the bus may all be answered before any of it is read. */
static void test_who_was_dialled_may_have_more_unread(void **state)
{
    struct fixture *f = *state;
    snprintf(f->url, sizeof(f->url), "ipc://%s/dialled.ipc", streams_folder);
    int listener = sp_listen(f->url);
    start(f, (struct replier_options){.dial = true});
    struct sp *sp = sp_accept(listener, true);
    sp_send_hello(sp, SP_REQ);
    UNTIL(take(f), sp_has_hello(sp));
    assert_int_equal(sp_take_hello(sp), SP_REP);
    const size_t large = STREAM_OUT_BYTES_HOLD, count = STREAM_OUT_BYTES_MAX / large + 8;
    uint8_t *data = calloc(1, large);
    for (uint32_t i = 0; i < count; i++)
        sp_ask(sp, i, "ask", 3);
    UNTIL(take(f), f->held_count == count);
    for (uint32_t i = 0; i < count; i++)
        answer(f, data, large);
    settle(f);
    assert_int_equal(f->gone, 0);
    for (uint32_t i = 0; i < count; i++) {
        read_answer(f, sp, large);
    }
    free(data);
    sp_free(sp);
    close(listener);
    (void)unlink(f->url + strlen("ipc://"));
}

static void test_who_reads_again_is_read_on(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){0});
    struct sp *sp = peer_of(f);
    size_t large = STREAM_OUT_BYTES_HOLD;
    uint8_t *data = calloc(1, large);
    sp_ask(sp, 0, "ask", 3);
    sp_ask(sp, 1, "ask", 3);
    UNTIL(take(f), f->held_count == 2);
    answer(f, data, large);
    answer(f, data, large);
    sp_ask(sp, 2, "ask", 3);
    settle(f);
    assert_int_equal(f->held_count, 0);
    for (int i = 0; i < 2; i++) {
        read_answer(f, sp, large);
    }
    UNTIL(take(f), f->held_count == 1);
    free(data);
    sp_free(sp);
}

static void test_one_answer_may_be_larger_than_what_may_wait(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){0});
    struct sp *sp = peer_of(f);
    size_t large = STREAM_OUT_BYTES_MAX + 1;
    uint8_t *data = calloc(1, large);
    sp_ask(sp, 0, "ask", 3);
    UNTIL(take(f), f->held_count == 1);
    answer(f, data, large);
    uint64_t read_bytes = 0;
    while (read_bytes < 9 + 4 + large) {
        uint8_t in[65536];
        ssize_t n = recv(sp->fd, in, sizeof(in), MSG_DONTWAIT);
        if (n > 0)
            read_bytes += (uint64_t)n;
        else
            assert_int_equal(errno, EAGAIN);
        settle(f);
    }
    assert_int_equal(f->gone, 0);
    free(data);
    sp_free(sp);
}

/* What a large message leaves behind is taken by the next one, and goes when none comes. */
static void test_memory_of_a_large_message_is_used_again(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){0});
    struct sp *sp = peer_of(f);
    const size_t large = 512u << 10;
    uint8_t *data = calloc(1, large), in[65536];
    for (int i = 0; i < 3; i++) {
        const uint8_t *at;
        size_t bytes, sent = 0, got = 0;
        struct replier_request *request;
        uint8_t head[9 + 4] = {1, [9] = 0x80};
        const uint64_t length = htobe64(4 + large);
        memcpy(head + 1, &length, sizeof(length));
        memset(data, 'a' + i, large);
        assert_int_equal(send(sp->fd, head, sizeof(head), MSG_NOSIGNAL), sizeof(head));
        int r;
        while ((r = replier_receive(f->replier, &request, &at, &bytes)) == REPLIER_E_AGAIN) {
            ssize_t n = send(sp->fd, data + sent, large - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
            sent += n > 0 ? (size_t)n : 0;
        }
        assert_int_equal(r, 0);
        assert_int_equal(bytes, large);
        assert_memory_equal(at, data, large);
        assert_int_equal(replier_answer(request, at, bytes), 0);
        while (got < 9 + 4 + large) {
            ssize_t n = recv(sp->fd, in, sizeof(in), MSG_DONTWAIT);
            got += n > 0 ? (size_t)n : 0;
            if (n > 0 && got > sizeof(in))
                assert_int_equal(in[n - 1], 'a' + i);
            settle(f);
        }
    }
    if (!SANITIZED)
        assert_true(replier_next_deadline_ns(f->replier) <= test_now_ns() + STREAM_SPARE_NS);
    pass(f, STREAM_SPARE_NS);
    assert_true(replier_next_deadline_ns(f->replier) > test_now_ns() + STREAM_SPARE_NS);
    free(data);
    sp_free(sp);
}

static void test_who_reads_nothing_for_long_is_hung_up_on(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){0});
    struct sp *sp = peer_of(f);
    size_t large = 8 * STREAM_OUT_BYTES_HOLD;
    uint8_t *data = calloc(1, large);
    sp_ask(sp, 0, "ask", 3);
    UNTIL(take(f), f->held_count == 1);
    answer(f, data, large);
    uint8_t in[STREAM_SCRATCH_BYTES];
    for (int i = 0; i < 4; i++) { /* some of it in time is enough */
        pass(f, STREAM_UNREAD_NS / 2);
        for (int j = 0; j < 8; j++) { /* the kernel would tell of room when there is more of it */
            (void)recv(sp->fd, in, sizeof(in), MSG_DONTWAIT);
            settle(f);
        }
        assert_int_equal(f->gone, 0);
    }
    pass(f, STREAM_UNREAD_NS); /* finds the room of the last time */
    settle(f);
    pass(f, STREAM_UNREAD_NS);
    settle(f);
    assert_int_equal(f->gone, 1);
    free(data);
    sp_free(sp);
}

/* ---- Many answers at once ---- */

/* Requests that wait here; nothing of their answers has been sent yet. */
static struct sp *ask_some(struct fixture *f, uint32_t count)
{
    start(f, (struct replier_options){.gather = true});
    struct sp *sp = peer_of(f);
    for (uint32_t i = 0; i < count; i++)
        sp_ask(sp, i, "ask", 3);
    UNTIL(take(f), f->held_count == count);
    settle(f); /* until nothing is found any more: no turn is due for that */
    assert_false(sp_has_message(sp));
    return sp;
}

static void expect_answers(struct sp *sp, uint32_t from, uint32_t to, size_t size)
{
    for (uint32_t i = from; i < to; i++) {
        uint8_t *data;
        size_t bytes;
        assert_true(sp_has_message(sp));
        sp_take_message(sp, &data, &bytes);
        assert_int_equal(bytes, 4 + size);
        assert_int_equal(data[3], i);
        free(data);
    }
    assert_false(sp_has_message(sp));
}

static void test_gathered_answers_go_when_they_are_told_to(void **state)
{
    struct fixture *f = *state;
    struct sp *sp = ask_some(f, 60);
    for (uint32_t i = 0; i < 40; i++)
        answer(f, "answer", 6);
    assert_false(sp_has_message(sp));
    assert_int_equal(replier_next_deadline_ns(f->replier), 0);
    replier_flush(f->replier);
    expect_answers(sp, 0, 40, 6);
    assert_int_not_equal(replier_next_deadline_ns(f->replier), 0);
    replier_flush(f->replier);
    for (uint32_t i = 40; i < 60; i++)
        answer(f, "answer", 6);
    take(f); /* the next receive does, too */
    expect_answers(sp, 40, 60, 6);
    sp_free(sp);
}

static void test_gathered_answers_to_who_is_gone_are_nobodys(void **state)
{
    struct fixture *f = *state;
    struct sp *sp = ask_some(f, 3);
    answer(f, "answer", 6);
    answer(f, "answer", 6);
    sp_free(sp);
    replier_flush(f->replier); /* finds that out */
    settle(f);
    assert_int_equal(f->gone, 1);
    answer(f, "answer", 6);
    replier_flush(f->replier);
}

static void test_no_more_than_may_wait_is_gathered(void **state)
{
    struct fixture *f = *state;
    const size_t size = STREAM_OUT_BYTES_HOLD / 16;
    struct sp *sp = ask_some(f, 17);
    uint8_t *data = calloc(1, size);
    for (uint32_t i = 0; i < 15; i++)
        answer(f, data, size);
    assert_false(sp_has_message(sp));
    answer(f, data, size); /* that is as much; not all of it finds room in the kernel */
    assert_true(sp_has_message(sp));
    answer(f, data, size);
    for (uint32_t i = 0; i < 17; i++) {
        uint8_t *got;
        size_t bytes;
        UNTIL(take(f), sp_has_message(sp));
        sp_take_message(sp, &got, &bytes);
        assert_int_equal(bytes, 4 + size);
        assert_int_equal(got[3], i);
        free(got);
    }
    free(data);
    sp_free(sp);
}

/* More than one system call takes, of which the kernel takes some, at any place. */
static void test_gathered_answers_are_whole_and_in_order(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){.gather = true});
    struct sp *sp = peer_of(f);
    uint8_t data[8000];
    for (uint32_t round = 0; round < 5; round++) {
        for (uint32_t i = 0; i < 250; i++) {
            size_t size = (size_t)(i * 7919 + round * 104729) % sizeof(data);
            sp_ask(sp, i & 0x7f, "ask", 3);
            UNTIL(take(f), f->held_count == 1);
            memset(data, (int)i, size);
            answer(f, data, i % 3 ? size % 64 : size);
        }
        replier_flush(f->replier);
        for (uint32_t i = 0; i < 250; i++) {
            size_t size = (size_t)(i * 7919 + round * 104729) % sizeof(data), bytes;
            uint8_t *got;
            UNTIL(take(f), sp_has_message(sp));
            sp_take_message(sp, &got, &bytes);
            size_t expected = i % 3 ? size % 64 : size;
            assert_int_equal(bytes, 4 + expected);
            assert_int_equal(got[3], i & 0x7f);
            if (expected > 0) {
                assert_int_equal(got[4], i);
                assert_int_equal(got[3 + expected], i);
            }
            free(got);
        }
    }
    sp_free(sp);
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        stream_test(test_too_many_unanswered_are_read_no_further),
        stream_test(test_who_is_held_back_and_hangs_up_is_gone),
        stream_test(test_who_does_not_read_is_held_back_then_hung_up_on),
        stream_test(test_requests_under_way_are_so_many_bytes_at_most),
        stream_test(test_requests_count_as_much_as_answers_had_of_late),
        stream_test(test_who_was_dialled_may_have_more_unread),
        stream_test(test_who_reads_again_is_read_on),
        stream_test(test_one_answer_may_be_larger_than_what_may_wait),
        stream_test(test_memory_of_a_large_message_is_used_again),
        stream_test(test_who_reads_nothing_for_long_is_hung_up_on),
        stream_test(test_gathered_answers_go_when_they_are_told_to),
        stream_test(test_gathered_answers_to_who_is_gone_are_nobodys),
        stream_test(test_no_more_than_may_wait_is_gathered),
        stream_test(test_gathered_answers_are_whole_and_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return folder_run(streams_folder, run_all);
}
