/*
 * Dozing: a short wait for a reply, on the word in the peer's ring where it will begin.
 *
 * wait_words() and its like are defined here, before the library's own: the kernel's
 * side of a doze is ours, so that what ends one is known, and nothing here depends on how long
 * anything takes.
 */
#include "support/test.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "rpc/internal.h"
#include "support/caller.h"
#include "wait/wait.h"

#define NAP_NS 100000
#define NAPS_MAX 100000 /* 10 s: then it would not have ended */

static struct caller caller;

static enum {
    REFUSED, /* as a kernel would that cannot */
    STARVED, /* the word changes, and nobody wakes it: the time ends it */
    SEEN,    /* a descriptor ends it at once, if it sees them, and the time if not */
} dozes_are;
static unsigned dozes, looks; /* blind ones; those that see descriptors */
static bool wakes_nobody;

static void nap(void)
{
    const struct timespec time = {.tv_nsec = NAP_NS};
    (void)nanosleep(&time, NULL);
}

static bool is_zero(const void *word)
{
    return atomic_load((const _Atomic uint32_t *)word) == 0;
}

int wait_words(const void *const *words, unsigned count, uint64_t timeout_ns)
{
    (void)count, (void)timeout_ns;
    if (dozes_are == REFUSED)
        return -ENOSYS;
    dozes++;
    if (dozes_are == SEEN)
        return 0;
    for (unsigned i = 0; i < NAPS_MAX && is_zero(words[0]); i++)
        nap();
    return 0;
}

int wait_doze(struct wait *wait, const void *const *words, unsigned count, uint64_t timeout_ns)
{
    (void)wait, (void)words, (void)count, (void)timeout_ns;
    if (dozes_are != SEEN)
        return -ENOSYS;
    looks++;
    return 1;
}

void wait_words_wake(const void *word)
{
    if (!wakes_nobody)
        (void)syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static int setup(void **state)
{
    (void)state;
    dozes_are = REFUSED;
    dozes = looks = 0;
    wakes_nobody = false;
    bus_start(&caller.bus);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    caller_end(&caller);
    return 0;
}

/* ---- A peer that never wakes a word ---- */

static void test_who_is_never_woken_by_word_is_rung_for_by_the_bell(void **state)
{
    (void)state;
    wakes_nobody = true; /* the service */
    caller_fork(&caller.bus, &caller_echo, NULL);
    wakes_nobody = false;
    caller_connect(&caller, 1);
    dozes_are = STARVED;
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    for (unsigned i = 0; i < 10 * CHANNEL_DEAF_MAX; i++) {
        assert_int_equal(echo__v1__echo__echo_call(caller.client, &request, &reply, NULL),
                         PARLEY_OK);
        parley_reply_free(reply);
    }
    assert_true(dozes <= CHANNEL_DEAF_MAX); /* fewer, where replies were met awake */
}

/* It says nothing of when the next record comes, however short the wait was. */
static void test_a_descriptor_that_ends_a_doze_does_not_make_the_next_one_blind(void **state)
{
    (void)state;
    caller_fork(&caller.bus, &caller_echo, NULL);
    dozes_are = SEEN;
    caller_connect(&caller, 1);
    Echo__V1__Message request = ECHO__V1__MESSAGE__INIT, *reply;
    assert_int_equal(echo__v1__echo__echo_call(caller.client, &request, &reply, NULL), PARLEY_OK);
    parley_reply_free(reply);
    spin_init(&caller.endpoint->spin[false], 0, CLOCK_NEVER); /* its last wait was long */
    dozes = looks = 0;
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(parley_dispatch(caller.endpoint, NS_PER_S), PARLEY_OK);
    assert_int_equal(dozes, 0);
    assert_int_equal(looks, 10);
}

#define doze_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        doze_test(test_who_is_never_woken_by_word_is_rung_for_by_the_bell),
        doze_test(test_a_descriptor_that_ends_a_doze_does_not_make_the_next_one_blind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
