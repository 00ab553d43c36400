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
} dozes_are;
static unsigned dozes;
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
    for (unsigned i = 0; i < NAPS_MAX && is_zero(words[0]); i++)
        nap();
    return 0;
}

/* Nor one that sees descriptors. */
int wait_doze(struct wait *wait, const void *const *words, unsigned count, uint64_t timeout_ns)
{
    (void)wait, (void)words, (void)count, (void)timeout_ns;
    return -ENOSYS;
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
    dozes = 0;
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

#define doze_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        doze_test(test_who_is_never_woken_by_word_is_rung_for_by_the_bell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
