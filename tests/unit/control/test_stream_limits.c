/*
 * What only the stream backend of the replier does: limits in time, of strangers and of lengths,
 * and what it leaves behind.
 */
#include "streams.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "support/fds.h"

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

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        stream_test(test_who_does_not_greet_is_hung_up_on),
        stream_test(test_a_head_that_never_ends_is_hung_up_on),
        stream_test(test_a_body_that_never_ends_is_hung_up_on),
        stream_test(test_an_idle_connection_is_kept),
        stream_test(test_strangers_past_the_limit_go_oldest_first),
        stream_test(test_without_descriptors_it_listens_on_later),
        stream_test(test_nothing_is_left_behind),
        stream_test(test_a_file_of_somebody_else_is_left_alone),
        stream_test(test_lengths_past_the_limit_are_not_believed),
        stream_test(test_a_way_back_of_the_most_hops_is_taken_and_one_more_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return folder_run(streams_folder, run_all);
}
