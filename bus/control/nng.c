/*
 * NNG behind two small objects, each one socket: who asks, and who hears events. Who answers
 * requests is replier.c's, who publishes publisher.c's.
 *
 * NNG runs threads of its own, which never call us: all that this file does, but for closing,
 * happens in the caller's thread, on sockets that do not block. Its sizes are limited before a peer
 * is believed: NNG_OPT_RECVMAXSZ makes NNG drop a connection that announces more.
 *
 * Errors are NNG's numbers turned into -errno, and its own words (nng_strerror) in the sentence.
 */
#include "control/nng.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <nng/nng.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/req.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/nng_tls.h"

/* What closing a socket may take before it is left to itself. */
#define NNG_CLOSE_TIMEOUT_NS NS_PER_S
#define NNG_TIMEOUT_MS_MAX 86400000 /* a day: far inside nng_duration */

/* ---- Closing ---- */

/* Shared by who closes and who waits for it; the last of the two frees it. */
struct closing {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    nng_socket socket;
    bool done;
    bool abandoned;
};

static struct closing *closing_free(struct closing *closing)
{
    pthread_cond_destroy(&closing->ended);
    pthread_mutex_destroy(&closing->lock);
    free(closing);
    return NULL;
}

static void *closing_run(void *argument)
{
    struct closing *closing = argument;
    nng_close(closing->socket);
    pthread_mutex_lock(&closing->lock);
    closing->done = true;
    bool last = closing->abandoned;
    pthread_cond_signal(&closing->ended);
    pthread_mutex_unlock(&closing->lock);
    if (last)
        closing_free(closing);
    return NULL;
}

/*
 * Closes a socket, but does not wait for ever. In NNG 1.5.2, nng_close() of a SUB socket that is
 * being sent to sometimes never returns (seen on a busy machine, in tests/unit/cli/test_events.c).
 * Such a socket is left behind, with the thread that closes it; the process that does this is about
 * to end.
 */
static void socket_close(nng_socket socket)
{
    (void)nng_close_socket(socket.id);
}

bool nng_close_socket(uint32_t id)
{
    struct closing *closing = calloc(1, sizeof(*closing));
    if (!closing)
        return false; /* left to the end of the process */
    closing->socket = (nng_socket){.id = id};
    pthread_mutex_init(&closing->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&closing->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_t thread;
    if (pthread_create(&thread, NULL, closing_run, closing) != 0) {
        closing_free(closing);
        return false;
    }
    pthread_detach(thread);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(NNG_CLOSE_TIMEOUT_NS / NS_PER_S);
    pthread_mutex_lock(&closing->lock);
    int r = 0;
    while (!closing->done && r == 0)
        r = pthread_cond_timedwait(&closing->ended, &closing->lock, &until);
    bool done = closing->done;
    closing->abandoned = !done;
    pthread_mutex_unlock(&closing->lock);
    if (done)
        closing_free(closing);
    return done;
}

/* ---- Errors ---- */

int nng_errno(int nng_code)
{
    static const struct {
        int nng;
        int code;
    } table[] = {
        {NNG_EINTR, EINTR},
        {NNG_ENOMEM, ENOMEM},
        {NNG_EINVAL, EINVAL},
        {NNG_EBUSY, EBUSY},
        {NNG_ETIMEDOUT, ETIMEDOUT},
        {NNG_ECONNREFUSED, ECONNREFUSED},
        {NNG_ECLOSED, EPIPE},
        {NNG_EAGAIN, EAGAIN},
        {NNG_ENOTSUP, EOPNOTSUPP},
        {NNG_EADDRINUSE, EADDRINUSE},
        {NNG_ENOENT, ENOENT},
        {NNG_EPROTO, EPROTO},
        {NNG_EUNREACHABLE, EHOSTUNREACH},
        {NNG_EADDRINVAL, EINVAL},
        {NNG_EPERM, EACCES},
        {NNG_EPEERAUTH, EACCES},
        {NNG_ECRYPTO, EPROTO},
        {NNG_EMSGSIZE, EMSGSIZE},
        {NNG_ECONNABORTED, ECONNABORTED},
        {NNG_ECONNRESET, ECONNRESET},
        {NNG_ECANCELED, ECANCELED},
        {NNG_ENOFILES, EMFILE},
        {NNG_ENOSPC, ENOSPC},
        {NNG_EEXIST, EEXIST},
        {NNG_ECONNSHUT, ECONNRESET},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].nng == nng_code)
            return -table[i].code;
    /* NNG_ESYSERR + errno; NNG_ETRANERR and the rest have no better name. */
    if (nng_code > NNG_ESYSERR && nng_code < NNG_ESYSERR + 4096)
        return -(nng_code - NNG_ESYSERR);
    return -EIO;
}

static int fail(struct error_text *error, int nng_code, const char *what, const char *url,
                const char *advice)
{
    return error_set(error, nng_errno(nng_code), "cannot %s %s: %s%s%s", what, url,
                     nng_strerror(nng_code), advice ? ": " : "", advice ? advice : "");
}

static const char *dial_advice(int nng_code)
{
    switch (nng_code) {
    case NNG_ECONNREFUSED:
    case NNG_ENOENT:
        return "is parleyd running, with that URL?";
    case NNG_EADDRINVAL:
    case NNG_EINVAL:
        return "check the host's name, and use a URL such as ipc:///run/parley/control.ipc "
               "or tcp://HOST:7400";
    case NNG_EPERM:
        return "ask for access to that socket (parleyd --mode, and its group)";
    case NNG_EPEERAUTH:
    case NNG_ECRYPTO:
        return "its certificate is for another name, or by nobody who is believed, or ours is "
               "refused";
    case NNG_ENOTSUP:
        return "this libnng has no such transport: use ipc:// or tcp://";
    default:
        return NULL;
    }
}

static nng_duration milliseconds(uint64_t ns)
{
    uint64_t ms = ns / NS_PER_MS + (ns % NS_PER_MS != 0);
    return (nng_duration)(ms < NNG_TIMEOUT_MS_MAX ? ms : NNG_TIMEOUT_MS_MAX);
}

/* A private copy, so that what the caller frees is the caller's allocator's. */
static int copy_out(nng_msg *message, uint8_t **ret_data, size_t *ret_bytes)
{
    size_t bytes = nng_msg_len(message);
    uint8_t *data = malloc(bytes ? bytes : 1);
    if (!data)
        return -ENOMEM;
    memcpy(data, nng_msg_body(message), bytes);
    *ret_data = data;
    *ret_bytes = bytes;
    return 0;
}

/* @tls: NULL: a URL without */
static int dialer_new(nng_socket socket, const char *url, nng_tls_config *tls,
                      nng_dialer *ret_dialer)
{
    int n = nng_dialer_create(ret_dialer, socket, url);
    return n == 0 && tls ? nng_dialer_set_ptr(*ret_dialer, NNG_OPT_TLS_CONFIG, tls) : n;
}

static int dial(nng_socket socket, const char *url, nng_tls_config *tls, int flags,
                nng_dialer *ret_dialer)
{
    int n = dialer_new(socket, url, tls, ret_dialer);
    return n == 0 ? nng_dialer_start(*ret_dialer, flags) : n;
}

/* ---- Asker ---- */

struct nng_asker {
    nng_socket socket;
    nng_tls_config *tls; /* NULL: a URL without */
    uint64_t timeout_ns;
    char url[256];
};

/* A dialer that has so much time; libnng gives whoever accepts and never greets 10 s. */
struct dialling {
    nng_dialer dialer;
    nng_aio *timer;
    bool late; /* written by NNG's thread; read when the timer has stopped */
};

static void on_late(void *data)
{
    struct dialling *dialling = data;
    if (nng_aio_result(dialling->timer) != 0)
        return; /* it was stopped */
    dialling->late = true;
    (void)nng_dialer_close(dialling->dialer); /* ends nng_dialer_start() */
}

static int dial_in_time(struct nng_asker *asker)
{
    struct dialling dialling = {.late = false};
    int n = dialer_new(asker->socket, asker->url, asker->tls, &dialling.dialer);
    if (n == 0)
        n = nng_aio_alloc(&dialling.timer, on_late, &dialling);
    if (n != 0)
        return n;
    nng_sleep_aio(milliseconds(asker->timeout_ns), dialling.timer);
    n = nng_dialer_start(dialling.dialer, 0);
    nng_aio_stop(dialling.timer);
    nng_aio_free(dialling.timer);
    return dialling.late ? NNG_ETIMEDOUT : n;
}

/* Never ask again by itself: a request may be a call that must not run twice. */
static int asker_set_up(struct nng_asker *asker)
{
    nng_duration timeout = milliseconds(asker->timeout_ns);
    int n = nng_socket_set_ms(asker->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
    if (n == 0)
        n = nng_socket_set_ms(asker->socket, NNG_OPT_SENDTIMEO, timeout);
    if (n == 0)
        n = nng_socket_set_ms(asker->socket, NNG_OPT_RECVTIMEO, timeout);
    if (n == 0)
        n = nng_socket_set_size(asker->socket, NNG_OPT_RECVMAXSZ, NNG_REQUEST_BYTES_MAX);
    return n;
}

int nng_asker_new(const char *url, uint64_t timeout_ns, struct nng_asker **ret,
                  struct error_text *error)
{
    return nng_asker_new_tls(url, NULL, timeout_ns, ret, error);
}

int nng_asker_new_tls(const char *url, const struct tls_settings *tls, uint64_t timeout_ns,
                      struct nng_asker **ret, struct error_text *error)
{
    struct nng_asker *asker = calloc(1, sizeof(*asker));
    if (!asker)
        return -ENOMEM;
    asker->timeout_ns = timeout_ns;
    if (strlen(url) >= sizeof(asker->url)) {
        free(asker);
        return error_set(error, -EINVAL, "a URL of more than %zu bytes", sizeof(asker->url) - 1);
    }
    memcpy(asker->url, url, strlen(url) + 1);
    int n = nng_req0_open(&asker->socket);
    if (n != 0) {
        free(asker);
        return fail(error, n, "open", "an NNG socket", NULL);
    }
    if (nng_tls_url(url)) {
        int r = nng_tls_new(tls, url, false, &asker->tls, error);
        if (r < 0) {
            nng_asker_free(asker);
            return r;
        }
    }
    n = asker_set_up(asker);
    if (n == 0)
        n = dial_in_time(asker);
    if (n == 0) {
        *ret = asker;
        return 0;
    }
    nng_asker_free(asker);
    if (n == NNG_ETIMEDOUT)
        return error_set(error, -ETIMEDOUT, "no connection to %s within %.1f s: is it parleyd's?",
                         url, (double)timeout_ns / (double)NS_PER_S);
    return fail(error, n, "connect to", url, dial_advice(n));
}

struct nng_asker *nng_asker_free(struct nng_asker *asker)
{
    if (asker) {
        socket_close(asker->socket);
        if (asker->tls)
            nng_tls_config_free(asker->tls);
        free(asker);
    }
    return NULL;
}

int nng_asker_ask(struct nng_asker *asker, const uint8_t *data, size_t bytes, uint8_t **ret_data,
                  size_t *ret_bytes, struct error_text *error)
{
    nng_msg *message;
    int n = nng_msg_alloc(&message, 0);
    if (n != 0)
        return fail(error, n, "ask", asker->url, NULL);
    n = nng_msg_append(message, data, bytes);
    if (n == 0)
        n = nng_sendmsg(asker->socket, message, 0);
    if (n != 0) {
        nng_msg_free(message);
        return fail(error, n, "ask", asker->url, NULL);
    }
    n = nng_recvmsg(asker->socket, &message, 0);
    if (n == NNG_ETIMEDOUT)
        return error_set(error, -ETIMEDOUT, "no answer from %s within %.1f s: is parleyd running?",
                         asker->url, (double)asker->timeout_ns / (double)NS_PER_S);
    if (n != 0)
        return fail(error, n, "get an answer from", asker->url, NULL);
    int r = copy_out(message, ret_data, ret_bytes);
    nng_msg_free(message);
    return r;
}

/* ---- Subscriber ---- */

/* libnng 1.5.2 waits a random time before it connects again, one in 200 of them for ever: its
 * random number is signed, and -1 means without end. So who has no connection for a while is
 * dialled anew. */
#define SUBSCRIBER_REDIAL_NS (500 * NS_PER_MS)

struct nng_subscriber {
    nng_socket socket;
    nng_dialer dialer;
    nng_tls_config *tls; /* NULL: a URL without */
    char *url;
    _Atomic int pipes;   /* counted by NNG's threads */
    uint64_t dialled_ns; /* when there was a connection, or when it was dialled, last */
};

static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *data)
{
    (void)pipe;
    struct nng_subscriber *subscriber = data;
    atomic_fetch_add(&subscriber->pipes, event == NNG_PIPE_EV_ADD_POST ? 1 : -1);
}

static int subscriber_set_up(nng_socket socket, const char *const *topics, size_t topic_count)
{
    int n = nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, NNG_REQUEST_BYTES_MAX);
    if (n == 0 && topic_count == 0)
        n = nng_socket_set(socket, NNG_OPT_SUB_SUBSCRIBE, "", 0);
    for (size_t i = 0; n == 0 && i < topic_count; i++)
        n = nng_socket_set(socket, NNG_OPT_SUB_SUBSCRIBE, topics[i], strlen(topics[i]));
    return n;
}

int nng_subscriber_new(const char *url, const char *const *topics, size_t topic_count,
                       struct nng_subscriber **ret, struct error_text *error)
{
    return nng_subscriber_new_tls(url, NULL, topics, topic_count, ret, error);
}

int nng_subscriber_new_tls(const char *url, const struct tls_settings *tls,
                           const char *const *topics, size_t topic_count,
                           struct nng_subscriber **ret, struct error_text *error)
{
    struct nng_subscriber *subscriber = calloc(1, sizeof(*subscriber));
    if (!subscriber)
        return -ENOMEM;
    int n = nng_sub0_open(&subscriber->socket);
    if (n != 0) {
        free(subscriber);
        return fail(error, n, "open", "an NNG socket", NULL);
    }
    int r = nng_tls_url(url) ? nng_tls_new(tls, url, false, &subscriber->tls, error) : 0;
    if (r < 0) {
        nng_subscriber_free(subscriber);
        return r;
    }
    n = subscriber_set_up(subscriber->socket, topics, topic_count);
    subscriber->url = strdup(url);
    subscriber->dialled_ns = clock_now_ns();
    if (!subscriber->url)
        n = NNG_ENOMEM;
    if (n == 0)
        n = nng_pipe_notify(subscriber->socket, NNG_PIPE_EV_ADD_POST, on_pipe, subscriber);
    if (n == 0)
        n = nng_pipe_notify(subscriber->socket, NNG_PIPE_EV_REM_POST, on_pipe, subscriber);
    if (n == 0)
        n = dial(subscriber->socket, url, subscriber->tls, 0, &subscriber->dialer);
    if (n != 0) {
        nng_subscriber_free(subscriber);
        return fail(error, n, "connect to", url, dial_advice(n));
    }
    *ret = subscriber;
    return 0;
}

struct nng_subscriber *nng_subscriber_free(struct nng_subscriber *subscriber)
{
    if (subscriber) {
        (void)nng_pipe_notify(subscriber->socket, NNG_PIPE_EV_ADD_POST, NULL, NULL);
        (void)nng_pipe_notify(subscriber->socket, NNG_PIPE_EV_REM_POST, NULL, NULL);
        socket_close(subscriber->socket);
        if (subscriber->tls)
            nng_tls_config_free(subscriber->tls);
        free(subscriber->url);
        free(subscriber);
    }
    return NULL;
}

static void redial(struct nng_subscriber *subscriber)
{
    uint64_t now = clock_now_ns();
    if (atomic_load(&subscriber->pipes) > 0) {
        subscriber->dialled_ns = now;
    } else if (now - subscriber->dialled_ns >= SUBSCRIBER_REDIAL_NS) {
        subscriber->dialled_ns = now;
        (void)nng_dialer_close(subscriber->dialer);
        (void)dial(subscriber->socket, subscriber->url, subscriber->tls, NNG_FLAG_NONBLOCK,
                   &subscriber->dialer); /* or the next time */
    }
}

int nng_subscriber_receive(struct nng_subscriber *subscriber, uint64_t timeout_ns,
                           uint8_t **ret_data, size_t *ret_bytes)
{
    redial(subscriber);
    int n = nng_socket_set_ms(subscriber->socket, NNG_OPT_RECVTIMEO, milliseconds(timeout_ns));
    if (n != 0)
        return nng_errno(n);
    nng_msg *message;
    n = nng_recvmsg(subscriber->socket, &message, timeout_ns == 0 ? NNG_FLAG_NONBLOCK : 0);
    if (n == NNG_EAGAIN)
        return -ETIMEDOUT;
    if (n != 0)
        return nng_errno(n);
    int r = copy_out(message, ret_data, ret_bytes);
    nng_msg_free(message);
    return r;
}
