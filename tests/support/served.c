#include "support/served.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

struct served served;

/* ---- The broker ---- */

static pthread_t broker_thread;
static _Atomic int broker_stop;

static void *run_broker(void *data)
{
    while (!atomic_load(&broker_stop))
        if (broker_turn(served.broker, WAIT_FOREVER) < 0)
            abort();
    return data;
}

void served_go(void)
{
    atomic_store(&broker_stop, 0);
    assert_int_equal(pthread_create(&broker_thread, NULL, run_broker, NULL), 0);
}

void served_hold(void)
{
    atomic_store(&broker_stop, 1);
    wait_wake(served.broker->wait);
    pthread_join(broker_thread, NULL);
}

void served_prepare(void)
{
    strcpy(served.folder, "/tmp/parley-test-XXXXXX");
    assert_non_null(mkdtemp(served.folder));
    (void)snprintf(served.socket, sizeof(served.socket), "%s/parleyd.sock", served.folder);
}

void served_begin(const struct broker_options *options)
{
    struct broker_options all = *options;
    struct error_text error = {""};
    all.socket = served.socket;
    all.socket_mode = 0600;
    if (broker_new(&all, &served.broker, &error) < 0)
        fail_msg("%s", error.text);
    served_go();
}

/* ---- The services ---- */

static struct thread {
    const struct served_service *service;
    pthread_t thread;
    struct parley_endpoint *_Atomic endpoint;
} threads[SERVICES_MAX];

static void *run_service(void *data)
{
    struct thread *thread = data;
    const struct served_service *service = thread->service;
    const struct parley_endpoint_options options = {.broker = served.socket, .name = service->name};
    struct parley_endpoint *endpoint;
    if (parley_endpoint_new(&options, &endpoint) != PARLEY_OK ||
        service->serve(endpoint) != PARLEY_OK)
        abort();
    atomic_store(&thread->endpoint, endpoint);
    (void)parley_run(endpoint);
    if (service->end)
        service->end();
    parley_endpoint_free(endpoint);
    return NULL;
}

void served_start(size_t i, const struct served_service *service)
{
    struct thread *thread = &threads[i];
    assert_true(i < SERVICES_MAX);
    thread->service = service;
    assert_int_equal(pthread_create(&thread->thread, NULL, run_service, thread), 0);
    for (uint64_t until = clock_now_ns() + PATIENCE_NS; !atomic_load(&thread->endpoint);) {
        assert_true(clock_now_ns() < until);
        sched_yield();
    }
}

void served_stop(size_t i)
{
    struct thread *thread = &threads[i];
    if (!atomic_load(&thread->endpoint))
        return;
    parley_stop(atomic_load(&thread->endpoint));
    pthread_join(thread->thread, NULL);
    atomic_store(&thread->endpoint, NULL);
}

int served_end(void)
{
    for (size_t i = SERVICES_MAX; i-- > 0;)
        served_stop(i);
    served_hold();
    served.broker = broker_free(served.broker);
    return rmdir(served.folder);
}
