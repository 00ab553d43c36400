/*
 * What every backend of the wait room does with words of shared memory that are watched for a
 * descriptor. One that has no such thing says so.
 */
#include "conformance/waits.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Two, that may only be read. */
static _Atomic uint32_t *words;
static const _Atomic uint32_t *words_there;

static void words_make(void)
{
    int file = memfd_create("words", MFD_CLOEXEC);
    assert_return_code(file, errno);
    assert_return_code(ftruncate(file, 4096), errno);
    words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    words_there = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
    assert_true(words != MAP_FAILED && words_there != MAP_FAILED);
    close(file);
}

/* False: this backend has no such thing, and says so. */
static bool watch(struct fixture *f, unsigned word)
{
    int r = wait_watch(f->wait, f->ours, &words_there[word]);
    if (r == -ENOSYS)
        return false;
    assert_int_equal(r, 0);
    return true;
}

static void *wake_words(void *argument)
{
    const _Atomic int *enough = argument;
    while (!*enough) {
        wait_words_wake(&words_there[0]);
        (void)poll(NULL, 0, 1);
    }
    return NULL;
}

/* It is not changed, so it is the wake-up that makes the event. */
static void test_waking_a_watched_word_makes_an_event(struct fixture *f)
{
    pthread_t thread;
    _Atomic int enough = 0;
    words_make();
    add(f, WAIT_IN);
    if (!watch(f, 0))
        return;
    assert_int_equal(pthread_create(&thread, NULL, wake_words, &enough), 0);
    assert_int_equal(expect(f, &f->tag), WAIT_WORD);
    enough = 1;
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void test_a_watched_word_that_is_not_0_makes_one_event(struct fixture *f)
{
    words_make();
    words[0] = 1;
    add(f, WAIT_IN);
    if (!watch(f, 0))
        return;
    assert_int_equal(expect(f, &f->tag), WAIT_WORD);
    expect_nothing(f);
    wait_words_wake(&words_there[0]);
    expect_nothing(f);
    assert_true(watch(f, 0)); /* and again */
    assert_int_equal(expect(f, &f->tag), WAIT_WORD);
}

static void test_descriptors_are_seen_beside_a_watched_word(struct fixture *f)
{
    words_make();
    add(f, WAIT_IN);
    if (!watch(f, 0))
        return;
    send_byte(f->peers);
    assert_int_equal(expect(f, &f->tag), WAIT_IN);
    drain(f->ours);
    words[0] = 1;
    wait_words_wake(&words_there[0]); /* it is still watched */
    assert_int_equal(expect(f, &f->tag), WAIT_WORD);
}

static void test_another_word_takes_the_place_of_the_first(struct fixture *f)
{
    words_make();
    add(f, WAIT_IN);
    if (!watch(f, 0))
        return;
    expect_nothing(f);
    words[0] = words[1] = 1;
    assert_true(watch(f, 1));
    assert_int_equal(expect(f, &f->tag), WAIT_WORD);
    wait_words_wake(&words_there[0]);
    expect_nothing(f);
}

/* The end of the first one is not taken for that of the third. */
static void test_words_that_were_not_polled_for_leave_nothing_behind(struct fixture *f)
{
    words_make();
    add(f, WAIT_IN);
    if (!watch(f, 0))
        return;
    expect_nothing(f);
    assert_true(watch(f, 1));
    assert_true(watch(f, 0));
    expect_nothing(f);
    words[0] = 1;
    wait_words_wake(&words_there[0]);
    assert_int_equal(expect(f, &f->tag), WAIT_WORD);
}

static void *watch_and_leave(void *argument)
{
    struct fixture *f = argument;
    struct wait_event event;
    bool can = watch(f, 0);
    if (can)
        assert_int_equal(wait_poll(f->wait, &event, 1, 1), 0);
    return can ? f : NULL;
}

/* Its end may make an event, too; then it is to be watched again. */
static void test_a_watch_outlives_the_thread_that_made_it(struct fixture *f)
{
    pthread_t thread;
    void *can;
    struct wait_event event;
    words_make();
    add(f, WAIT_IN);
    assert_int_equal(pthread_create(&thread, NULL, watch_and_leave, f), 0);
    assert_int_equal(pthread_join(thread, &can), 0);
    if (!can)
        return;
    if (wait_poll(f->wait, &event, 1, 0) == 1)
        assert_true(watch(f, 0));
    words[0] = 1;
    wait_words_wake(&words_there[0]);
    assert_int_equal(expect(f, &f->tag), WAIT_WORD);
}

static void test_a_watch_goes_with_its_registration(struct fixture *f)
{
    words_make();
    words[0] = 1;
    add(f, WAIT_IN);
    if (!watch(f, 0))
        return;
    assert_int_equal(wait_remove(f->wait, f->ours), 0);
    expect_nothing(f);
    assert_int_equal(wait_watch(f->wait, f->ours, &words_there[0]), -ENOENT);
    assert_int_equal(wait_add(f->wait, f->ours, WAIT_IN, &f->other_tag), 0);
    expect_nothing(f);
}

int main(void)
{
    static const struct test_case cases[] = {
        CASE(test_waking_a_watched_word_makes_an_event),
        CASE(test_a_watched_word_that_is_not_0_makes_one_event),
        CASE(test_descriptors_are_seen_beside_a_watched_word),
        CASE(test_another_word_takes_the_place_of_the_first),
        CASE(test_words_that_were_not_polled_for_leave_nothing_behind),
        CASE(test_a_watch_outlives_the_thread_that_made_it),
        CASE(test_a_watch_goes_with_its_registration),
    };
    return run_cases(cases, sizeof(cases) / sizeof(cases[0]));
}
