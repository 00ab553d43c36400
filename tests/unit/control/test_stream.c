/*
 * What only the stream backend of the replier does: limits in time, holding back, hanging up. The
 * clock is the test's, so that nobody waits. What all backends do is in
 * tests/conformance/test_replier.c.
 */
#include "support/test.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sanitized.h"
#include "control/stream.h"
#include "support/fds.h"
#include "support/folder.h"
#include "support/sp.h"
#include "support/until.h"

#define HELD_MAX 64

static char folder[] = "/tmp/parley-stream-XXXXXX";
static uint64_t ahead_ns; /* of where the clock stands: it goes on by pass() only */

static uint64_t test_now_ns(void)
{
    static uint64_t begun_ns;
    if (begun_ns == 0)
        begun_ns = until_now_ns();
    return begun_ns + ahead_ns;
}

struct fixture {
    char url[128];
    struct replier *replier;
    struct replier_request *held[HELD_MAX];
    size_t held_count;
    unsigned came, gone;
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

static void start(struct fixture *f, struct replier_options options)
{
    static unsigned number;
    if (!options.dial) /* else it is of who listens */
        snprintf(f->url, sizeof(f->url), "ipc://%s/%u.ipc", folder, number++);
    const char *urls[] = {f->url};
    struct error_text error = {""};
    options.urls = urls;
    options.url_count = 1;
    options.bytes_max = options.bytes_max ? options.bytes_max : 1u << 20;
    options.backend = "stream";
    options.came = on_came;
    options.gone = on_gone;
    options.data = f;
    if (replier_new(&options, &f->replier, &error) != 0)
        fail_msg("%s", error.text);
}

static void take(struct fixture *f)
{
    const uint8_t *data;
    size_t bytes;
    struct replier_request *request;
    int r = replier_receive(f->replier, &request, &data, &bytes);
    if (r == REPLIER_E_AGAIN)
        return;
    assert_int_equal(r, 0);
    assert_true(f->held_count < HELD_MAX);
    f->held[f->held_count++] = request;
}

/* Everything that there is to do now. */
static void settle(struct fixture *f)
{
    size_t before;
    struct pollfd ready = {.fd = replier_fd(f->replier), .events = POLLIN};
    do {
        before = f->held_count;
        take(f);
    } while (f->held_count > before || poll(&ready, 1, 0) > 0);
}

static struct sp *peer_of(struct fixture *f)
{
    struct sp *sp = sp_connect(f->url);
    sp_send_hello(sp, SP_REQ);
    UNTIL(take(f), sp_has_hello(sp));
    assert_int_equal(sp_take_hello(sp), SP_REP);
    return sp;
}

static bool hung_up(struct fixture *f, struct sp *sp)
{
    settle(f);
    (void)sp_has_message(sp);
    return sp->hung_up;
}

/* A deadline may be due to what has not come; then it is known to who waits for it. */
static void pass(struct fixture *f, uint64_t ns)
{
    ahead_ns += ns;
    if (replier_next_deadline_ns(f->replier) <= test_now_ns())
        take(f);
}

static void answer(struct fixture *f, const void *data, size_t bytes)
{
    assert_true(f->held_count > 0);
    assert_int_equal(replier_answer(f->held[0], data, bytes), 0);
    memmove(f->held, f->held + 1, --f->held_count * sizeof(f->held[0]));
}

static int set_up(void **state)
{
    clock_set(test_now_ns);
    *state = calloc(1, sizeof(struct fixture));
    return *state ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < f->held_count; i++)
        replier_drop(f->held[i]);
    replier_free(f->replier);
    free(f);
    clock_set(NULL);
    return 0;
}

/* ---- Time ---- */

static void test_who_does_not_greet_is_hung_up_on(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){0});
    struct sp *silent = sp_connect(f->url);
    struct sp *slow = sp_connect(f->url);
    sp_write(slow, "\0SP\0\0\x30\0", 7);
    settle(f);
    pass(f, STREAM_HELLO_NS - NS_PER_S);
    assert_false(hung_up(f, silent));
    assert_false(hung_up(f, slow));
    pass(f, NS_PER_S);
    assert_true(hung_up(f, silent));
    assert_true(hung_up(f, slow));
    assert_int_equal(f->came, 0);
    assert_int_equal(f->gone, 0);
    sp_free(silent);
    sp_free(slow);
}

static void test_a_head_that_never_ends_is_hung_up_on(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){0});
    struct sp *sp = peer_of(f);
    for (int i = 0; i < 6; i++) { /* a byte now and then does not help */
        sp_write(sp, i == 0 ? "\1" : "\0", 1);
        assert_false(hung_up(f, sp));
        pass(f, STREAM_MESSAGE_NS / 6);
    }
    assert_true(hung_up(f, sp));
    assert_int_equal(f->gone, 1);
    sp_free(sp);
}

static void test_a_body_that_never_ends_is_hung_up_on(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){0});
    struct sp *sp = peer_of(f);
    sp_write(sp, "\1\0\0\0\0\0\x02\0\0\x80\0\0\1", 13); /* 128 KiB are to come: two seconds more */
    for (int i = 0; i < 32; i++) {
        sp_write(sp, "x", 1);
        assert_false(hung_up(f, sp));
        pass(f, NS_PER_S);
    }
    assert_true(hung_up(f, sp));
    assert_int_equal(f->held_count, 0);
    sp_free(sp);
}

static void test_an_idle_connection_is_kept(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){0});
    struct sp *sp = peer_of(f);
    sp_ask(sp, 1, "one", 3);
    UNTIL(take(f), f->held_count == 1);
    pass(f, 86400 * NS_PER_S); /* that the answer takes a day is not the asker's fault */
    assert_false(hung_up(f, sp));
    answer(f, "two", 3);
    UNTIL(take(f), sp_has_message(sp));
    pass(f, 86400 * NS_PER_S);
    assert_false(hung_up(f, sp));
    assert_true(replier_next_deadline_ns(f->replier) > test_now_ns());
    sp_free(sp);
}

/* ---- Holding back ---- */

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

static void read_answer(struct fixture *f, struct sp *sp, size_t bytes)
{
    uint8_t *got;
    size_t got_bytes;
    UNTIL(take(f), sp_has_message(sp));
    sp_take_message(sp, &got, &got_bytes);
    assert_int_equal(got_bytes, 4 + bytes);
    free(got);
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
    snprintf(f->url, sizeof(f->url), "ipc://%s/dialled.ipc", folder);
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
        uint8_t *got;
        size_t bytes;
        UNTIL(take(f), sp_has_message(sp));
        sp_take_message(sp, &got, &bytes);
        assert_int_equal(bytes, 4 + large);
        free(got);
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
        uint8_t *got;
        size_t bytes;
        UNTIL(take(f), sp_has_message(sp));
        sp_take_message(sp, &got, &bytes);
        assert_int_equal(bytes, 4 + large);
        free(got);
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

/* ---- Crowds ---- */

static void test_strangers_past_the_limit_go_oldest_first(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){0});
    static struct sp *strangers[STREAM_HELLOS_MAX + 1];
    for (size_t i = 0; i < STREAM_HELLOS_MAX; i++) {
        strangers[i] = sp_connect(f->url);
        settle(f);
    }
    assert_false(hung_up(f, strangers[0]));
    strangers[STREAM_HELLOS_MAX] = sp_connect(f->url);
    settle(f);
    assert_true(hung_up(f, strangers[0]));
    assert_false(hung_up(f, strangers[1]));
    assert_false(hung_up(f, strangers[STREAM_HELLOS_MAX]));
    struct sp *sp = peer_of(f); /* who greets at once is always let in */
    UNTIL(take(f), f->came == 1);
    sp_free(sp);
    for (size_t i = 0; i <= STREAM_HELLOS_MAX; i++)
        sp_free(strangers[i]);
}

static void test_without_descriptors_it_listens_on_later(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){0});
    struct sp *sp = sp_connect(f->url);
    struct rlimit before, now;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int highest = dup(0);
    close(highest);
    now = before;
    now.rlim_cur = (rlim_t)highest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
    take(f);
    struct pollfd ready = {.fd = replier_fd(f->replier), .events = POLLIN};
    assert_int_equal(poll(&ready, 1, 0), 0); /* it does not spin */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(replier_next_deadline_ns(f->replier) < CLOCK_NEVER);
    pass(f, NS_PER_S);
    sp_send_hello(sp, SP_REQ);
    UNTIL(take(f), f->came == 1);
    sp_free(sp);
}

static void test_nothing_is_left_behind(void **state)
{
    struct fixture *f = *state;
    unsigned before = open_fd_count();
    start(f, (struct replier_options){0});
    struct sp *sp = peer_of(f);
    struct sp *stranger = sp_connect(f->url);
    sp_ask(sp, 1, "ask", 3);
    sp_write(sp, "\1\0\0", 3);
    settle(f);
    replier_drop(f->held[--f->held_count]);
    f->replier = replier_free(f->replier);
    sp_free(sp);
    sp_free(stranger);
    assert_int_equal(open_fd_count(), before);
    assert_int_equal(access(f->url + strlen("ipc://"), F_OK), -1);
}

static void test_a_file_of_somebody_else_is_left_alone(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){0});
    const char *path = f->url + strlen("ipc://");
    assert_return_code(unlink(path), errno);
    int fd = open(path, O_CREAT | O_EXCL | O_CLOEXEC | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    f->replier = replier_free(f->replier);
    assert_int_equal(access(path, F_OK), 0);
    struct replier *replier;
    struct error_text error = {""};
    const char *urls[] = {f->url};
    const struct replier_options options = {
        .urls = urls, .url_count = 1, .bytes_max = 1000, .backend = "stream"};
    assert_int_equal(replier_new(&options, &replier, &error), -EADDRINUSE);
    assert_int_equal(access(path, F_OK), 0);
}

/* ---- Lengths ---- */

static void test_lengths_past_the_limit_are_not_believed(void **state)
{
    static const uint64_t lengths[] = {0,
                                       3,
                                       1000 + 4 * STREAM_HOPS_MAX + 1,
                                       UINT64_C(1) << 32,
                                       UINT64_C(1) << 63,
                                       UINT64_MAX,
                                       UINT64_MAX - 8};
    struct fixture *f = *state;
    start(f, (struct replier_options){.bytes_max = 1000});
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct sp *sp = peer_of(f);
        uint8_t head[9 + 3] = {1};
        for (int j = 0; j < 8; j++)
            head[1 + j] = (uint8_t)(lengths[i] >> (56 - 8 * j));
        sp_write(sp, head, lengths[i] == 3 ? 12 : 9);
        UNTIL(take(f), hung_up(f, sp));
        sp_free(sp);
    }
    assert_int_equal(f->held_count, 0);
    struct replier_counts counts;
    replier_counts(f->replier, &counts);
    assert_int_equal(counts.too_large, 5);
}

static void test_a_way_back_of_the_most_hops_is_taken_and_one_more_is_not(void **state)
{
    struct fixture *f = *state;
    start(f, (struct replier_options){.bytes_max = 8});
    uint32_t words[STREAM_HOPS_MAX + 1] = {0};
    words[STREAM_HOPS_MAX - 1] = UINT32_C(0x80000001);
    struct sp *sp = peer_of(f);
    sp_send(sp, words, STREAM_HOPS_MAX, "12345678", 8);
    UNTIL(take(f), f->held_count == 1);
    answer(f, "ok", 2);
    UNTIL(take(f), sp_has_message(sp));
    words[STREAM_HOPS_MAX - 1] = 0;
    words[STREAM_HOPS_MAX] = UINT32_C(0x80000001);
    sp_send(sp, words, STREAM_HOPS_MAX + 1, "", 0);
    UNTIL(take(f), hung_up(f, sp));
    assert_int_equal(f->held_count, 0);
    sp_free(sp);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_who_does_not_greet_is_hung_up_on),
        TEST(test_a_head_that_never_ends_is_hung_up_on),
        TEST(test_a_body_that_never_ends_is_hung_up_on),
        TEST(test_an_idle_connection_is_kept),
        TEST(test_too_many_unanswered_are_read_no_further),
        TEST(test_who_is_held_back_and_hangs_up_is_gone),
        TEST(test_who_does_not_read_is_held_back_then_hung_up_on),
        TEST(test_requests_under_way_are_so_many_bytes_at_most),
        TEST(test_requests_count_as_much_as_answers_had_of_late),
        TEST(test_who_was_dialled_may_have_more_unread),
        TEST(test_who_reads_again_is_read_on),
        TEST(test_one_answer_may_be_larger_than_what_may_wait),
        TEST(test_memory_of_a_large_message_is_used_again),
        TEST(test_who_reads_nothing_for_long_is_hung_up_on),
        TEST(test_gathered_answers_go_when_they_are_told_to),
        TEST(test_gathered_answers_to_who_is_gone_are_nobodys),
        TEST(test_no_more_than_may_wait_is_gathered),
        TEST(test_gathered_answers_are_whole_and_in_order),
        TEST(test_strangers_past_the_limit_go_oldest_first),
        TEST(test_without_descriptors_it_listens_on_later),
        TEST(test_nothing_is_left_behind),
        TEST(test_a_file_of_somebody_else_is_left_alone),
        TEST(test_lengths_past_the_limit_are_not_believed),
        TEST(test_a_way_back_of_the_most_hops_is_taken_and_one_more_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return folder_run(folder, run_all);
}
