/*
 * NNG behind four small objects, each one socket: what is asked for, published, heard, and
 * surveyed. Who answers requests is replier.c's.
 *
 * The respondent is a raw socket: it hands out each survey with its header, the way back to the
 * surveyor, and sends whatever carries such a header; so a survey has as many answers as there are,
 * whenever they are there. A header is NNG's own, made on this side of the wire.
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
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/protocol/survey0/respond.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/nng_tls.h"

/* Answers that NNG holds between us and its threads, which never wait for an asker. */
#define NNG_ANSWER_BUFFER 1024
/* What an answer may wait for NNG's own thread. Only a stopped machine takes that long. */
#define NNG_SEND_TIMEOUT_MS 100
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

static const char *listen_advice(int nng_code)
{
    switch (nng_code) {
    case NNG_EADDRINUSE:
        return "stop the program that listens there, or choose another URL";
    case NNG_EADDRINVAL:
    case NNG_EINVAL:
        return "use a URL such as ipc:///run/parley/control.ipc or tcp://127.0.0.1:7400";
    case NNG_ENOTSUP:
        return "this libnng has no such transport: use ipc:// or tcp://";
    case NNG_ENOENT:
        return "make the folder first";
    default:
        return NULL;
    }
}

static const char *dial_advice(int nng_code)
{
    switch (nng_code) {
    case NNG_ECONNREFUSED:
    case NNG_ENOENT:
        return "is parleyd running, with that URL?";
    case NNG_EADDRINVAL:
    case NNG_EINVAL:
        return "use a URL such as ipc:///run/parley/control.ipc or tcp://HOST:7400";
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

static int listen_all(nng_socket socket, const char *const *urls, size_t url_count,
                      struct error_text *error)
{
    if (url_count == 0)
        return error_set(error, -EINVAL, "no URL to listen on");
    for (size_t i = 0; i < url_count; i++) {
        int n = nng_listen(socket, urls[i], NULL, 0);
        if (n != 0)
            return fail(error, n, "listen on", urls[i], listen_advice(n));
    }
    return 0;
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

/* ---- Respondent ---- */

/* A body under the header that names the way back. */
static int make_answer(const nng_msg *asked, const uint8_t *data, size_t bytes, nng_msg **ret)
{
    nng_msg *answer;
    int n = nng_msg_alloc(&answer, 0);
    if (n != 0)
        return n;
    n = nng_msg_header_append(answer, nng_msg_header((nng_msg *)(uintptr_t)asked),
                              nng_msg_header_len(asked));
    if (n == 0)
        n = nng_msg_append(answer, data, bytes);
    if (n != 0) {
        nng_msg_free(answer);
        return n;
    }
    *ret = answer;
    return 0;
}

struct nng_respondent {
    nng_socket socket;
    int fd;
};

struct nng_survey {
    nng_socket socket;
    nng_msg *message;
};

int nng_respondent_new(const char *const *urls, size_t url_count, struct nng_respondent **ret,
                       struct error_text *error)
{
    struct nng_respondent *respondent = calloc(1, sizeof(*respondent));
    if (!respondent)
        return -ENOMEM;
    int n = nng_respondent0_open_raw(&respondent->socket);
    if (n != 0) {
        free(respondent);
        return fail(error, n, "open", "an NNG socket", NULL);
    }
    n = nng_socket_set_size(respondent->socket, NNG_OPT_RECVMAXSZ, NNG_SURVEY_BYTES_MAX);
    if (n == 0)
        n = nng_socket_set_int(respondent->socket, NNG_OPT_SENDBUF, NNG_ANSWER_BUFFER);
    if (n == 0)
        n = nng_socket_set_ms(respondent->socket, NNG_OPT_SENDTIMEO, NNG_SEND_TIMEOUT_MS);
    if (n == 0)
        n = nng_socket_get_int(respondent->socket, NNG_OPT_RECVFD, &respondent->fd);
    int r = n != 0 ? fail(error, n, "set up", "an NNG socket", NULL)
                   : listen_all(respondent->socket, urls, url_count, error);
    if (r < 0) {
        nng_respondent_free(respondent);
        return r;
    }
    *ret = respondent;
    return 0;
}

struct nng_respondent *nng_respondent_free(struct nng_respondent *respondent)
{
    if (respondent) {
        socket_close(respondent->socket);
        free(respondent);
    }
    return NULL;
}

int nng_respondent_fd(const struct nng_respondent *respondent)
{
    return respondent->fd;
}

int nng_respondent_receive(struct nng_respondent *respondent, struct nng_survey **ret_survey,
                           const uint8_t **ret_data, size_t *ret_bytes)
{
    nng_msg *message;
    int n = nng_recvmsg(respondent->socket, &message, NNG_FLAG_NONBLOCK);
    if (n == NNG_EAGAIN)
        return NNG_E_AGAIN;
    if (n != 0)
        return nng_errno(n);
    struct nng_survey *survey = malloc(sizeof(*survey));
    if (!survey) {
        nng_msg_free(message);
        return -ENOMEM;
    }
    *survey = (struct nng_survey){.socket = respondent->socket, .message = message};
    *ret_survey = survey;
    *ret_data = nng_msg_body(message);
    *ret_bytes = nng_msg_len(message);
    return 0;
}

int nng_survey_answer(struct nng_survey *survey, const char *data, size_t bytes)
{
    nng_msg *answer;
    int n = make_answer(survey->message, (const uint8_t *)data, bytes, &answer);
    if (n != 0)
        return nng_errno(n);
    n = nng_sendmsg(survey->socket, answer, 0);
    if (n != 0)
        nng_msg_free(answer);
    return n == 0 ? 0 : nng_errno(n);
}

struct nng_survey *nng_survey_free(struct nng_survey *survey)
{
    if (survey) {
        nng_msg_free(survey->message);
        free(survey);
    }
    return NULL;
}

/* ---- Publisher ---- */

struct nng_publisher {
    nng_socket socket;
};

int nng_publisher_new(const char *const *urls, size_t url_count, struct nng_publisher **ret,
                      struct error_text *error)
{
    struct nng_publisher *publisher = calloc(1, sizeof(*publisher));
    if (!publisher)
        return -ENOMEM;
    int n = nng_pub0_open(&publisher->socket);
    if (n != 0) {
        free(publisher);
        return fail(error, n, "open", "an NNG socket", NULL);
    }
    int r = listen_all(publisher->socket, urls, url_count, error);
    if (r < 0) {
        nng_publisher_free(publisher);
        return r;
    }
    *ret = publisher;
    return 0;
}

struct nng_publisher *nng_publisher_free(struct nng_publisher *publisher)
{
    if (publisher) {
        socket_close(publisher->socket);
        free(publisher);
    }
    return NULL;
}

int nng_publisher_send(struct nng_publisher *publisher, const uint8_t *data, size_t bytes)
{
    nng_msg *message;
    int n = nng_msg_alloc(&message, 0);
    if (n != 0)
        return nng_errno(n);
    n = nng_msg_append(message, data, bytes);
    if (n == 0)
        n = nng_sendmsg(publisher->socket, message, NNG_FLAG_NONBLOCK);
    if (n != 0) {
        nng_msg_free(message);
        return nng_errno(n);
    }
    return 0;
}

/* ---- Asker ---- */

struct nng_asker {
    nng_socket socket;
    nng_tls_config *tls; /* NULL: a URL without */
    uint64_t timeout_ns;
    char url[256];
};

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

static int asker_dial(struct nng_asker *asker)
{
    nng_dialer dialer;
    int n = nng_dialer_create(&dialer, asker->socket, asker->url);
    if (n == 0 && asker->tls)
        n = nng_dialer_set_ptr(dialer, NNG_OPT_TLS_CONFIG, asker->tls);
    return n == 0 ? nng_dialer_start(dialer, 0) : n;
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
        n = asker_dial(asker);
    if (n != 0) {
        nng_asker_free(asker);
        return fail(error, n, "connect to", url, dial_advice(n));
    }
    *ret = asker;
    return 0;
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
    struct nng_subscriber *subscriber = calloc(1, sizeof(*subscriber));
    if (!subscriber)
        return -ENOMEM;
    int n = nng_sub0_open(&subscriber->socket);
    if (n != 0) {
        free(subscriber);
        return fail(error, n, "open", "an NNG socket", NULL);
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
        n = nng_dial(subscriber->socket, url, &subscriber->dialer, 0);
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
        (void)nng_dial(subscriber->socket, subscriber->url, &subscriber->dialer,
                       NNG_FLAG_NONBLOCK); /* or the next time */
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
