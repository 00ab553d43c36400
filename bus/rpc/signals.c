/*
 * SIGTERM and SIGINT as the end of parley_run(), for programs that ask for it.
 *
 * The library installs no signal handler by itself. A program that calls parley_stop_on_signals()
 * gets one for the process, for as long as any of its endpoints wants it; then what was there
 * before is there again. The handler tells every such endpoint to stop, in whatever thread the
 * kernel runs it: parley_stop() may be called anywhere.
 *
 * The table is an array of atomic pointers, so that the handler can walk it at any moment. An
 * endpoint is taken out before it is freed, and who takes it out waits until no handler that may
 * have seen it is running (`running`; both seq_cst, so that either the handler sees the empty place
 * or we see the handler). The handler itself never waits.
 *
 * A second SIGINT ends the process at once, as somebody at a terminal expects; further SIGTERMs
 * change nothing, for supervisors repeat it. A child of fork() has no endpoint of its own in the
 * table: there, a signal does what it did before.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#define SIGNALS_ENDPOINT_MAX 256

static struct {
    _Atomic(struct parley_endpoint *) endpoints[SIGNALS_ENDPOINT_MAX];
    _Atomic unsigned running; /* handlers */
    _Atomic unsigned interrupts;
    pthread_mutex_t lock;        /* of the two below; never taken by the handler */
    _Atomic uint32_t generation; /* of the process that filled it in: base/fork.h */
    unsigned count;
    struct sigaction before[2]; /* read by the handler: written before it is installed */
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const int numbers[2] = {SIGTERM, SIGINT};

/* What the signal would have done. It is blocked while the handler runs, so it comes after it. */
static void pass_on(int number)
{
    (void)sigaction(number, &table.before[number == SIGINT], NULL);
    (void)raise(number);
}

static void on_signal(int number)
{
    int saved_errno = errno;
    unsigned told = 0;
    if (atomic_load(&table.generation) == fork_generation()) {
        atomic_fetch_add(&table.running, 1);
        for (unsigned i = 0; i < SIGNALS_ENDPOINT_MAX; i++) {
            struct parley_endpoint *endpoint = atomic_load(&table.endpoints[i]);
            if (endpoint)
                parley_stop(endpoint);
            told += endpoint != NULL;
        }
        atomic_fetch_sub(&table.running, 1);
    }
    if (told == 0 || (number == SIGINT && atomic_fetch_add(&table.interrupts, 1) > 0))
        pass_on(number);
    errno = saved_errno;
}

/* A signal that is ignored stays so: whoever started us wants that (nohup, a shell's `&`). */
static void install(void)
{
    atomic_store(&table.interrupts, 0);
    for (unsigned i = 0; i < 2; i++) {
        struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
        sigemptyset(&action.sa_mask);
        struct sigaction now;
        (void)sigaction(numbers[i], NULL, &now);
        if (now.sa_handler != on_signal) /* which a child of fork() has inherited */
            table.before[i] = now;
        if (now.sa_handler != SIG_IGN)
            (void)sigaction(numbers[i], &action, NULL);
    }
}

/* Unless the program has put another one there meanwhile. */
static void restore(void)
{
    for (unsigned i = 0; i < 2; i++) {
        struct sigaction now;
        (void)sigaction(numbers[i], NULL, &now);
        if (now.sa_handler == on_signal)
            (void)sigaction(numbers[i], &table.before[i], NULL);
    }
}

static int place_of(struct parley_endpoint *wanted)
{
    for (int i = 0; i < SIGNALS_ENDPOINT_MAX; i++)
        if (atomic_load(&table.endpoints[i]) == wanted)
            return i;
    return -1;
}

/* In a child of fork() the table is the parent's, and its lock may be held by nobody for ever. */
static void begin_anew(void)
{
    if (atomic_load(&table.generation) == fork_generation())
        return;
    for (unsigned i = 0; i < SIGNALS_ENDPOINT_MAX; i++)
        atomic_store(&table.endpoints[i], NULL);
    (void)pthread_mutex_init(&table.lock, NULL);
    atomic_store(&table.running, 0);
    table.count = 0;
    atomic_store(&table.generation, fork_generation());
}

enum parley_status parley_stop_on_signals(struct parley_endpoint *endpoint)
{
    if (endpoint_forked(endpoint))
        return status_forked();
    enum parley_status status = PARLEY_OK;
    begin_anew();
    pthread_mutex_lock(&table.lock);
    if (place_of(endpoint) < 0) {
        int place = place_of(NULL);
        if (place < 0)
            status =
                status_fail(PARLEY_RESOURCE_EXHAUSTED,
                            "%d endpoints are stopped by signals already", SIGNALS_ENDPOINT_MAX);
        else
            atomic_store(&table.endpoints[place], endpoint);
        if (place >= 0 && table.count++ == 0)
            install();
    }
    pthread_mutex_unlock(&table.lock);
    return status;
}

void signals_forget(struct parley_endpoint *endpoint)
{
    if (endpoint_forked(endpoint) || atomic_load(&table.generation) != fork_generation())
        return;
    pthread_mutex_lock(&table.lock);
    int place = place_of(endpoint);
    if (place >= 0) {
        atomic_store(&table.endpoints[place], NULL);
        if (--table.count == 0)
            restore();
    }
    pthread_mutex_unlock(&table.lock);
    while (place >= 0 && atomic_load(&table.running) > 0)
        spin_pause();
}
