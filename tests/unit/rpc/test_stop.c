/*
 * parley_stop() by one thread, while the other, which it stops, frees its endpoint at once. The
 * linker puts our wait_wake() and sched_yield() in place of the library's (--wrap): the first holds
 * the stopping thread back where the other is awake already, until that one waits, or has freed the
 * endpoint below its feet.
 */
#include "support/test.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "support/served.h"
#include "support/until.h"
#include "wait/wait.h"

static struct parley_endpoint *endpoint;
static _Atomic bool waits, freed, freed_below;
static _Thread_local bool stopping, freeing;

int __real_sched_yield(void);
int __wrap_sched_yield(void);
void __real_wait_wake(struct wait *wait);
void __wrap_wait_wake(struct wait *wait);

int __wrap_sched_yield(void)
{
    if (freeing)
        atomic_store(&waits, true);
    return __real_sched_yield();
}

void __wrap_wait_wake(struct wait *wait)
{
    __real_wait_wake(wait);
    if (!stopping)
        return;
    UNTIL(__real_sched_yield(), atomic_load(&waits) || atomic_load(&freed));
    atomic_store(&freed_below, atomic_load(&freed));
}

static void *run(void *data)
{
    *(enum parley_status *)data = parley_run(endpoint);
    freeing = true;
    parley_endpoint_free(endpoint);
    atomic_store(&freed, true);
    return NULL;
}

static void test_an_endpoint_is_freed_when_who_stops_it_is_done_with_it(void **state)
{
    (void)state;
    const struct parley_endpoint_options options = {.broker = served.socket};
    enum parley_status status = PARLEY_INTERNAL;
    pthread_t thread;
    assert_int_equal(parley_endpoint_new(&options, &endpoint), PARLEY_OK);
    assert_int_equal(pthread_create(&thread, NULL, run, &status), 0);
    stopping = true;
    parley_stop(endpoint);
    stopping = false;
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(status, PARLEY_OK);
    assert_false(atomic_load(&freed_below));
}

static int begin(void **state)
{
    (void)state;
    served_prepare();
    served_begin(&(struct broker_options){0});
    return 0;
}

static int end(void **state)
{
    (void)state;
    return served_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_endpoint_is_freed_when_who_stops_it_is_done_with_it),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
