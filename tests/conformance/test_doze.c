/*
 * Dozing: a short wait for a reply, on the word in the peer's ring where it will begin.
 *
 * wait_words() and wait_words_wake() are defined here, before the library's own: the kernel's
 * side of a doze is ours, so that what ends one is known, and nothing here depends on how long
 * anything takes.
 */
#include "support/test.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
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
    HELD,    /* until it is woken here, whatever the word is */
} dozes_are;
static _Atomic unsigned dozes;
static _Atomic uintptr_t held_on;
static atomic_bool was_woken;
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
    if (dozes_are == HELD)
        held_on = (uintptr_t)words[0];
    for (unsigned i = 0; i < NAPS_MAX; i++) {
        if (dozes_are == HELD ? was_woken : !is_zero(words[0]))
            break;
        nap();
    }
    return was_woken ? 1 : 0;
}

void wait_words_wake(const void *word)
{
    if ((uintptr_t)word == held_on)
        was_woken = true;
    if (!wakes_nobody)
        (void)syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static int setup(void **state)
{
    (void)state;
    dozes_are = REFUSED;
    dozes = 0;
    held_on = 0;
    was_woken = wakes_nobody = false;
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
    if (dozes == 0)
        skip(); /* no call was slept for: each was met awake */
    assert_int_equal(dozes, CHANNEL_DEAF_MAX);
}

/* ---- parley_stop() ---- */

static void *stop_who_dozes(void *argument)
{
    (void)argument;
    while (!held_on)
        nap();
    parley_stop(caller.endpoint);
    return NULL;
}

static void handle_never(Echo__V1__Echo_Service *service, const Echo__V1__Message *input,
                         Echo__V1__Message_Closure closure, void *data)
{
    (void)service, (void)input, (void)closure, (void)data;
}

static void test_who_dozes_is_stopped_at_once(void **state)
{
    (void)state;
    Echo__V1__Echo_Service implementation = {
        .base = {.descriptor = &echo__v1__echo__descriptor,
                 .invoke = protobuf_c_service_invoke_internal},
        .never = handle_never,
    };
    struct tally ended = {0};
    pthread_t thread;
    caller_fork(&caller.bus, &implementation, NULL);
    caller_connect(&caller, 1);
    dozes_are = HELD;
    caller_start(&caller, METHOD_NEVER, NULL, NULL, &ended);
    assert_int_equal(pthread_create(&thread, NULL, stop_who_dozes, NULL), 0);
    assert_int_equal(parley_run(caller.endpoint), PARLEY_OK);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(was_woken);
    assert_int_equal(dozes, 1);
}

#define doze_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    if (bus_must_skip())
        return BUS_EXIT_SKIP;
    const struct CMUnitTest tests[] = {
        doze_test(test_who_is_never_woken_by_word_is_rung_for_by_the_bell),
        doze_test(test_who_dozes_is_stopped_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
