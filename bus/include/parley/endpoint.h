/*
 * An endpoint: one thread's place on the bus.
 *
 * It holds one connection to the broker, and any number of clients and services. Everything made
 * from an endpoint belongs to the endpoint's thread: make more endpoints for more threads. The
 * library starts no thread, but libnng's where the broker is at a ws:// URL and one while a host's
 * name is looked up, and installs no signal handler unless parley_stop_on_signals() asks for it.
 *
 * A program either calls parley_run(), or watches parley_fd() in an event loop of its own and
 * calls parley_dispatch() when it is readable, as with sd-bus or Wayland.
 *
 * fork(). An endpoint stays with the process that made it, and works on there. In the child it is
 * inert, with its clients and services: what returns a status returns FAILED_PRECONDITION, what
 * returns nothing does nothing, no closure runs, and shared memory is not even mapped. The child
 * may make endpoints of its own. It should free those that it inherited, from outside of handlers
 * and closures: until it does, or executes another program (every descriptor is close-on-exec), or
 * ends, its copies of their sockets keep peers from noticing that the parent has died.
 */
#ifndef PARLEY_ENDPOINT_H
#define PARLEY_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include <parley/status.h>

#ifdef __cplusplus
extern "C" {
#endif

struct parley_endpoint;

#define PARLEY_FOREVER UINT64_MAX

struct parley_endpoint_options {
    /* Path of the broker's socket. NULL: $PARLEY_BROKER, else parleyd.sock in $PARLEY_DIR,
     * /run/parley (root), $XDG_RUNTIME_DIR/parley or /tmp/parley-UID. Or the URL of its bus, on this
     * host or another: "tls+tcp://bus.example:7433", tcp://, ipc://, ws://, wss://. */
    const char *broker;
    /* What `parley ls` shows; copied, and cut at 63 bytes. NULL: the program's name. */
    const char *name;
    /* How long parley_endpoint_new() waits for a broker, in nanoseconds. 0: one second. */
    uint64_t connect_timeout_ns;
    /* The longest time to spin before sleeping, in nanoseconds. 0: 100 microseconds, or none on one
     * CPU. PARLEY_FOREVER never sleeps while a call or a service waits: for benchmarks. 1: never
     * spins. Else a thread that may run on every CPU, and whose calls are served again and again on
     * its own one, leaves that by sched_setaffinity(2), for a moment: pin it to have that not. */
    uint64_t spin_ns_max;
    /* For URLs with TLS: files of PEM text. Whose certificates are believed (NULL: $PARLEY_TLS_CA,
     * else the system's); our own certificate, with its chain, and its key (NULL: $PARLEY_TLS_CERT,
     * $PARLEY_TLS_KEY, else none; a key may be in the certificate's file); the name that the broker's
     * certificate must have (NULL: $PARLEY_TLS_NAME, else the URL's host). */
    const char *tls_ca;
    const char *tls_certificate;
    const char *tls_key;
    const char *tls_server_name;
};

/**
 * parley_endpoint_new() - connect to the broker
 * @options:      NULL for the defaults
 * @ret_endpoint: the caller's; parley_endpoint_free()
 *
 * Once connected, a lost broker is found again by itself, with jitter; channels to services do not
 * need it meanwhile.
 *
 * Return: PARLEY_OK; UNAVAILABLE if no broker answers; PERMISSION_DENIED; FAILED_PRECONDITION if
 * the broker speaks another protocol; RESOURCE_EXHAUSTED.
 */
PARLEY_API enum parley_status parley_endpoint_new(const struct parley_endpoint_options *options,
                                                  struct parley_endpoint **ret_endpoint);

/* Frees the endpoint with all its clients and services; pending calls end as CANCELLED. In a child
 * of fork() it frees memory and closes descriptors, and the parent notices nothing; only what
 * another thread was using at that moment must not be freed there. NULL is fine. Returns NULL. */
PARLEY_API struct parley_endpoint *parley_endpoint_free(struct parley_endpoint *endpoint);

/* A descriptor that is readable when parley_dispatch() has something to do, also after other
 * functions of this library were called in between. Borrowed. With io_uring behind it, your own
 * epoll_wait() may return EINTR without a signal: call it again. */
PARLEY_API int parley_fd(struct parley_endpoint *endpoint);

/* When parley_dispatch() must be called even if the descriptor stays quiet: CLOCK_MONOTONIC in
 * nanoseconds, PARLEY_FOREVER for never. To be asked before each sleep, for any function of this
 * library may change it. */
PARLEY_API uint64_t parley_next_deadline_ns(const struct parley_endpoint *endpoint);

/**
 * parley_dispatch() - do what there is to do: run handlers and closures
 * @timeout_ns: how long to wait for something; 0 does not wait
 *
 * With 0 it expects that you sleep on parley_fd() next, if you have ever asked for that: it asks all
 * peers to ring, which costs both sides system calls. Who calls it again and again without sleeping
 * had better never ask for the descriptor, or give a time-out, for which the library waits awake.
 *
 * Return: PARLEY_OK, also when nothing was there; CANCELLED after parley_stop().
 */
PARLEY_API enum parley_status parley_dispatch(struct parley_endpoint *endpoint,
                                              uint64_t timeout_ns);

/**
 * parley_run() - serve until parley_stop()
 *
 * Then drains: services tell their clients to go elsewhere, and calls in flight are answered.
 * Return: PARLEY_OK after parley_stop().
 */
PARLEY_API enum parley_status parley_run(struct parley_endpoint *endpoint);

/*
 * Makes parley_run() end, and parley_dispatch() return CANCELLED. From any thread, and from a signal
 * handler. The thread that is stopped may free the endpoint at once: that waits until this call is
 * done with it.
 */
PARLEY_API void parley_stop(struct parley_endpoint *endpoint);

/**
 * parley_stop_on_signals() - SIGTERM and SIGINT stop this endpoint, as parley_stop() does
 *
 * For a service's main(): parley_run() then drains and returns, and no call is lost. Until the
 * endpoint is freed; then the process has the signal handlers back that it had. Several endpoints,
 * of several threads, are all stopped. A signal that is ignored when this is called stays ignored. A
 * second SIGINT does what it did before, and so does any signal in a child of fork(). Without this
 * call the library leaves signals alone; who has handlers already calls parley_stop() in them.
 *
 * Return: PARLEY_OK, also if it was called before; RESOURCE_EXHAUSTED beyond 256 endpoints.
 */
PARLEY_API enum parley_status parley_stop_on_signals(struct parley_endpoint *endpoint);

/* "io_uring" or "epoll": how this endpoint waits. PARLEY_WAIT=epoll|io_uring forces one. Static
 * memory. */
PARLEY_API const char *parley_wait_backend(const struct parley_endpoint *endpoint);
/* True while the broker is connected. */
PARLEY_API bool parley_connected(const struct parley_endpoint *endpoint);

#ifdef __cplusplus
}
#endif
#endif
