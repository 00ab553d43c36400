/*
 * The caller's backend for what only libnng speaks: a raw REQ socket of libnng's.
 *
 * A cooked one has one request under way, and sends it again by itself. A raw one sends what it is
 * given, under a number that the asker chose, and hands out answers with theirs.
 *
 * Such a socket has a queue that outlives connections: what was sent in the last moment of one
 * would go out on the next, when the asker has long been told that nobody answers, and may have
 * asked somebody else. So each connection has a socket of its own, a *line*: when it ends, the line
 * is closed with all that is in it.
 *
 * libnng's threads tell of connections (on_pipe()). All that they do is write it into the line,
 * under its lock, and ring an eventfd; the rest is done in the caller's thread, in caller_turn().
 *
 * Dialling is done here, too. libnng 1.5.2 waits a signed random time before it tries again, which
 * one in so many times is for ever, and says nothing of why it failed. So a dialer is started in a
 * thread of its own that waits for what becomes of it, once; the next try is another dialer.
 *
 * fork(2): libnng aborts in a child that uses it after its parent did. So a child never calls it.
 */
#include "control/caller_ops.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fork.h"
#include "base/random.h"
#include "control/nng.h"
#include "control/nng_tls.h"
#include "control/replier_ops.h"
#include "control/replier_urls.h"

#define CALLER_SEND_BUFFER 1024 /* requests that libnng holds */
#define CALLER_RECEIVE_BUFFER 128
#define CALLER_REQUEST_BIT UINT32_C(0x80000000) /* marks the last word of SP's backtrace */
/* Between a failure and the next dialer; doubles. */
#define CALLER_REDIAL_NS_MIN (20 * NS_PER_MS)
#define CALLER_REDIAL_NS_MAX (2 * NS_PER_S)
/* A dialer is given so long: names, far hosts, TLS. */
#define CALLER_DIAL_NS_MAX (10 * NS_PER_S)
#define CALLER_DIALER_PAUSE_MS 3600000 /* libnng's own, never meant to end */

/* One socket, and what libnng's threads say of it. */
struct line {
    atomic_uint references; /* the caller's, and of the thread that dials */
    pthread_mutex_t lock;
    nng_socket socket;
    int bell;        /* borrowed; -1: nobody hears it any more */
    bool one;        /* there is, or was, a connection: no other is let in */
    nng_pipe pipe;   /* of it */
    bool came, gone; /* not looked at yet */
    nng_dialer dialer;
    bool dialled; /* its thread has ended, with `dial_result`; not looked at yet */
    int dial_result;
    struct replier_peer peer;
};

struct nng_caller {
    struct caller caller;
    struct caller_options options;
    char *url;
    nng_tls_config *tls;
    uint32_t generation; /* of fork(2) */
    int epoll, bell;
    struct line *line;       /* NULL: none could be made; tried again at `redial_at_ns` */
    int receive_fd, send_fd; /* libnng's; send_fd -1: not watched */
    bool connected, ending;
    bool drained; /* `ending`, and all answers have been received */
    uint64_t came_ns, redial_at_ns, pause_ns;
    uint64_t random;
    nng_msg *outgoing, *incoming;
    char problem[256];
};

static _Atomic uint32_t nng_generation; /* the process's that used libnng first, and 1 */

/* ---- Lines ---- */

static void line_unref(struct line *line)
{
    if (atomic_fetch_sub(&line->references, 1) != 1)
        return;
    pthread_mutex_destroy(&line->lock);
    free(line);
}

/* Closes it; one that hangs is left to the end of the process, for libnng's threads may still tell
 * of it. */
static struct line *line_close(struct line *line)
{
    if (!line)
        return NULL;
    pthread_mutex_lock(&line->lock);
    line->bell = -1;
    pthread_mutex_unlock(&line->lock);
    if (nng_close_socket(line->socket.id))
        line_unref(line);
    return NULL;
}

/* In a thread of libnng's. */
static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *data)
{
    struct line *line = data;
    bool refuse = false;
    pthread_mutex_lock(&line->lock);
    if (event == NNG_PIPE_EV_ADD_PRE) {
        refuse = line->one;
        if (!refuse) {
            line->one = true;
            line->pipe = pipe;
        }
    } else if (nng_pipe_id(pipe) == nng_pipe_id(line->pipe)) {
        if (event == NNG_PIPE_EV_ADD_POST) {
            nng_pipe_peer(pipe, &line->peer);
            line->peer.connection = replier_connection_number();
            line->came = true;
        } else {
            line->gone = true;
        }
        if (line->bell >= 0)
            (void)eventfd_write(line->bell, 1);
    }
    pthread_mutex_unlock(&line->lock);
    if (refuse)
        nng_pipe_close(pipe);
}

static int line_set_up(const struct line *line, size_t bytes_max)
{
    static const nng_pipe_ev events[] = {NNG_PIPE_EV_ADD_PRE, NNG_PIPE_EV_ADD_POST,
                                         NNG_PIPE_EV_REM_POST};
    int n = nng_socket_set_size(line->socket, NNG_OPT_RECVMAXSZ, bytes_max);
    if (n == 0)
        n = nng_socket_set_int(line->socket, NNG_OPT_SENDBUF, CALLER_SEND_BUFFER);
    if (n == 0)
        n = nng_socket_set_int(line->socket, NNG_OPT_RECVBUF, CALLER_RECEIVE_BUFFER);
    if (n == 0)
        n = nng_socket_set_ms(line->socket, NNG_OPT_RECONNMINT, CALLER_DIALER_PAUSE_MS);
    for (size_t i = 0; n == 0 && i < sizeof(events) / sizeof(events[0]); i++)
        n = nng_pipe_notify(line->socket, events[i], on_pipe, (void *)(uintptr_t)line);
    return n;
}

static int line_new(const struct nng_caller *caller, struct line **ret_line)
{
    struct line *line = calloc(1, sizeof(*line));
    if (!line)
        return NNG_ENOMEM;
    int n = nng_req0_open_raw(&line->socket);
    if (n != 0) {
        free(line);
        return n;
    }
    line->bell = caller->bell;
    atomic_init(&line->references, 1);
    pthread_mutex_init(&line->lock, NULL);
    n = line_set_up(line, caller->options.bytes_max);
    if (n != 0) {
        line_close(line);
        return n;
    }
    *ret_line = line;
    return 0;
}

/* ---- Dialling ---- */

static const char *advice(int nng_code)
{
    switch (nng_code) {
    case NNG_EADDRINVAL:
    case NNG_EINVAL:
        return ": check the host's name, and use a URL such as "
               "ipc:///run/parley/bus.ipc or tls+tcp://HOST:7433";
    case NNG_ENOTSUP:
        return ": this libnng has no such transport";
    case NNG_ECONNREFUSED:
    case NNG_ENOENT:
        return ": is parleyd running, with that URL?";
    case NNG_EPEERAUTH:
        return ": the certificates do not fit: one side does not believe the other";
    default:
        return "";
    }
}

static int fail(struct error_text *error, int nng_code, const struct nng_caller *caller)
{
    return error_set(error, nng_errno(nng_code), "cannot connect to %s: %s%s", caller->url,
                     nng_strerror(nng_code), advice(nng_code));
}

static void next_look(struct nng_caller *caller)
{
    /* Anywhere in its second half, so that callers do not come back in step. */
    uint64_t pause = caller->pause_ns / 2 + random_next(&caller->random) % (caller->pause_ns / 2);
    caller->redial_at_ns = clock_add(clock_now_ns(), pause);
    caller->pause_ns *= 2;
    if (caller->pause_ns > CALLER_REDIAL_NS_MAX)
        caller->pause_ns = CALLER_REDIAL_NS_MAX;
}

static void *dial_run(void *argument)
{
    struct line *line = argument;
    int n = nng_dialer_start(line->dialer, 0);
    pthread_mutex_lock(&line->lock);
    line->dialled = true;
    line->dial_result = n;
    if (line->bell >= 0)
        (void)eventfd_write(line->bell, 1);
    pthread_mutex_unlock(&line->lock);
    line_unref(line);
    return NULL;
}

/* Begins to. Return: an error of NNG's only if the URL is wrong, or nothing goes any more. */
static int dial(struct nng_caller *caller)
{
    struct line *line = caller->line;
    int n = nng_dialer_create(&line->dialer, line->socket, caller->url);
    if (n == 0 && caller->tls)
        n = nng_dialer_set_ptr(line->dialer, NNG_OPT_TLS_CONFIG, caller->tls);
    if (n != 0)
        return n;
    pthread_t thread;
    atomic_fetch_add(&line->references, 1);
    if (pthread_create(&thread, NULL, dial_run, line) != 0) {
        atomic_fetch_sub(&line->references, 1);
        return NNG_ENOMEM;
    }
    pthread_detach(thread);
    caller->redial_at_ns = clock_add(clock_now_ns(), CALLER_DIAL_NS_MAX);
    return 0;
}

static void unwatch(struct nng_caller *caller, int *fd)
{
    if (*fd >= 0)
        (void)epoll_ctl(caller->epoll, EPOLL_CTL_DEL, *fd, NULL);
    *fd = -1;
}

static int watch(struct nng_caller *caller, const char *option, int *ret_fd)
{
    int fd;
    int n = nng_socket_get_int(caller->line->socket, option, &fd);
    if (n != 0)
        return n;
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(caller->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        return NNG_ESYSERR + errno;
    *ret_fd = fd;
    return 0;
}

static void line_drop(struct nng_caller *caller)
{
    unwatch(caller, &caller->receive_fd);
    unwatch(caller, &caller->send_fd);
    caller->line = line_close(caller->line);
    caller->connected = caller->ending = caller->drained = false;
}

static int line_begin(struct nng_caller *caller)
{
    int n = line_new(caller, &caller->line);
    if (n == 0)
        n = watch(caller, NNG_OPT_RECVFD, &caller->receive_fd);
    if (n == 0)
        n = dial(caller);
    if (n != 0)
        line_drop(caller);
    return n;
}

static void begin_anew(struct nng_caller *caller)
{
    line_drop(caller);
    int n = line_begin(caller);
    if (n == 0)
        return;
    struct error_text error;
    (void)fail(&error, n, caller);
    (void)snprintf(caller->problem, sizeof(caller->problem), "%.255s", error.text);
    next_look(caller);
}

static void dial_failed(struct nng_caller *caller, int nng_code)
{
    struct error_text error;
    (void)fail(&error, nng_code, caller);
    (void)snprintf(caller->problem, sizeof(caller->problem), "%.255s", error.text);
    line_drop(caller);
    next_look(caller);
}

/* ---- The caller ---- */

static int check_process(struct error_text *error)
{
    uint32_t mine = fork_generation() + 1, before = 0;
    if (atomic_compare_exchange_strong(&nng_generation, &before, mine) || before == mine)
        return 0;
    return error_set(
        error, -ENOSYS,
        "libnng does not work in a child of fork(2) whose parent used it: fork before the "
        "first endpoint of an NNG URL, or execute a program in the child");
}

static int open_files(struct nng_caller *caller)
{
    caller->epoll = epoll_create1(EPOLL_CLOEXEC);
    caller->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN};
    if (caller->epoll < 0 || caller->bell < 0 ||
        epoll_ctl(caller->epoll, EPOLL_CTL_ADD, caller->bell, &event) < 0)
        return -errno;
    return 0;
}

static void by_nng_free(struct caller *base)
{
    struct nng_caller *caller = (struct nng_caller *)base;
    if (caller->generation == fork_generation()) {
        line_drop(caller);
        if (caller->tls)
            nng_tls_config_free(caller->tls);
        nng_msg_free(caller->outgoing);
        nng_msg_free(caller->incoming);
    }
    fd_close(caller->epoll);
    fd_close(caller->bell);
    free(caller->url);
    free(caller);
}

static int caller_make(const struct caller_options *options, struct nng_caller **ret_caller)
{
    struct nng_caller *caller = calloc(1, sizeof(*caller));
    if (!caller)
        return -ENOMEM;
    caller->options = *options;
    caller->generation = fork_generation();
    caller->epoll = caller->bell = caller->receive_fd = caller->send_fd = -1;
    caller->redial_at_ns = CLOCK_NEVER;
    caller->pause_ns = CALLER_REDIAL_NS_MIN;
    caller->random = random_id();
    caller->url = strdup(options->url);
    int r = caller->url ? open_files(caller) : -ENOMEM;
    if (r < 0) {
        by_nng_free(&caller->caller);
        return r;
    }
    *ret_caller = caller;
    return 0;
}

static int by_nng_new(const struct caller_options *options, struct caller **ret_caller,
                      struct error_text *error)
{
    struct nng_caller *caller = NULL;
    int r = check_process(error);
    if (r == 0)
        r = caller_make(options, &caller);
    if (r < 0)
        return r;
    if (nng_tls_url(caller->url))
        r = nng_tls_new(options->tls, caller->url, false, &caller->tls, error);
    if (r == 0) {
        int n = line_begin(caller);
        r = n == 0 ? 0 : fail(error, n, caller);
    }
    if (r < 0) {
        by_nng_free(&caller->caller);
        return r;
    }
    *ret_caller = &caller->caller;
    return 0;
}

static int by_nng_fd(const struct caller *base)
{
    const struct nng_caller *caller = (const struct nng_caller *)base;
    return caller->epoll;
}

static uint64_t by_nng_next_deadline_ns(const struct caller *base)
{
    const struct nng_caller *caller = (const struct nng_caller *)base;
    return caller->redial_at_ns;
}

static bool by_nng_connected(const struct caller *base)
{
    const struct nng_caller *caller = (const struct nng_caller *)base;
    return caller->connected && !caller->ending;
}

static const char *by_nng_problem(const struct caller *base)
{
    const struct nng_caller *caller = (const struct nng_caller *)base;
    return caller->problem;
}

static void by_nng_hang_up(struct caller *base)
{
    struct nng_caller *caller = (struct nng_caller *)base;
    if (!caller->connected)
        return;
    caller->ending = caller->drained = true;
    (void)eventfd_write(caller->bell, 1);
}

static void connection_came(struct nng_caller *caller)
{
    caller->connected = true;
    caller->redial_at_ns = CLOCK_NEVER;
    caller->came_ns = clock_now_ns();
    caller->problem[0] = '\0';
    pthread_mutex_lock(&caller->line->lock);
    struct replier_peer peer = caller->line->peer;
    pthread_mutex_unlock(&caller->line->lock);
    peer.encrypted = caller->tls != NULL;
    if (caller->options.came)
        caller->options.came(&peer, caller->options.data);
}

static void end_line(struct nng_caller *caller)
{
    line_drop(caller);
    next_look(caller);
}

/* A pipe that was never in use. */
static void came_to_nothing(struct nng_caller *caller)
{
    (void)snprintf(caller->problem, sizeof(caller->problem),
                   "%.128s: who is there hangs up, or is no REP socket", caller->url);
    end_line(caller);
}

/* What was sent will not be answered, and what comes next is on another socket. */
static void connection_gone(struct nng_caller *caller)
{
    (void)snprintf(caller->problem, sizeof(caller->problem), "%.128s: the connection was lost",
                   caller->url);
    if (clock_now_ns() - caller->came_ns >= CALLER_REDIAL_NS_MAX)
        caller->pause_ns = CALLER_REDIAL_NS_MIN; /* else somebody may be hanging up on all */
    end_line(caller);
    if (caller->options.gone)
        caller->options.gone(caller->options.data);
}

/* What libnng's threads have said since the last look. */
static void look_at_line(struct nng_caller *caller)
{
    struct line *line = caller->line;
    pthread_mutex_lock(&line->lock);
    bool came = line->came, gone = line->gone, dialled = line->dialled;
    int dial_result = line->dial_result;
    line->came = line->gone = line->dialled = false;
    pthread_mutex_unlock(&line->lock);
    if (came)
        connection_came(caller);
    if (gone && caller->connected)
        caller->ending = true;
    else if (gone)
        came_to_nothing(caller);
    else if (dialled && dial_result != 0)
        dial_failed(caller, dial_result);
}

static void by_nng_turn(struct caller *base)
{
    struct nng_caller *caller = (struct nng_caller *)base;
    eventfd_t rung;
    (void)eventfd_read(caller->bell, &rung);
    unwatch(caller, &caller->send_fd);
    if (caller->line)
        look_at_line(caller);
    if (caller->drained)
        connection_gone(caller);
    if (clock_now_ns() < caller->redial_at_ns)
        return;
    if (!caller->line)
        begin_anew(caller);
    else
        dial_failed(caller, NNG_ETIMEDOUT);
}

static int by_nng_send_begin(struct caller *base, size_t bytes, uint8_t **ret_data)
{
    struct nng_caller *caller = (struct nng_caller *)base;
    if (!caller->outgoing && nng_msg_alloc(&caller->outgoing, bytes) != 0)
        return -ENOMEM;
    size_t there = nng_msg_len(caller->outgoing);
    if (there > bytes)
        (void)nng_msg_chop(caller->outgoing, there - bytes);
    else if (there < bytes && nng_msg_realloc(caller->outgoing, bytes) != 0)
        return -ENOMEM;
    *ret_data = nng_msg_body(caller->outgoing);
    return 0;
}

static int by_nng_send_end(struct caller *base, size_t bytes, uint32_t request)
{
    struct nng_caller *caller = (struct nng_caller *)base;
    nng_msg *message = steal_ptr(&caller->outgoing);
    int n = by_nng_connected(&caller->caller) ? 0 : NNG_EAGAIN;
    if (n == 0)
        n = nng_msg_chop(message, nng_msg_len(message) - bytes);
    if (n == 0)
        n = nng_msg_header_append_u32(message, request | CALLER_REQUEST_BIT);
    if (n == 0)
        n = nng_sendmsg(caller->line->socket, message, NNG_FLAG_NONBLOCK);
    if (n == 0)
        return 0;
    if (n != NNG_EAGAIN) {
        nng_msg_free(message);
        return nng_errno(n);
    }
    nng_msg_header_clear(message);
    caller->outgoing = message;
    /* Told when there is room. */
    if (by_nng_connected(&caller->caller) && caller->send_fd < 0)
        (void)watch(caller, NNG_OPT_SENDFD, &caller->send_fd);
    return CALLER_E_AGAIN;
}

/* All answers that came before the connection's end have been taken. */
static void note_drained(struct nng_caller *caller)
{
    if (!caller->ending || caller->drained)
        return;
    caller->drained = true;
    (void)eventfd_write(caller->bell, 1);
}

static int by_nng_receive(struct caller *base, uint32_t *ret_request, const uint8_t **ret_data,
                          size_t *ret_bytes)
{
    struct nng_caller *caller = (struct nng_caller *)base;
    nng_msg *message;
    uint32_t word;
    do {
        nng_msg_free(caller->incoming);
        caller->incoming = NULL;
        if (!caller->line)
            return CALLER_E_AGAIN;
        int n = nng_recvmsg(caller->line->socket, &message, NNG_FLAG_NONBLOCK);
        if (n == NNG_EAGAIN) {
            note_drained(caller);
            return CALLER_E_AGAIN;
        }
        if (n != 0)
            return nng_errno(n);
        caller->incoming = message;
    } while (nng_msg_header_len(message) != sizeof(word)); /* more words: not to us */
    memcpy(&word, nng_msg_header(message), sizeof(word));
    *ret_request = be32toh(word) & ~CALLER_REQUEST_BIT;
    *ret_data = nng_msg_body(message);
    *ret_bytes = nng_msg_len(message);
    return 0;
}

const struct caller_ops caller_nng_ops = {
    .name = "nng",
    .new = by_nng_new,
    .free = by_nng_free,
    .fd = by_nng_fd,
    .next_deadline_ns = by_nng_next_deadline_ns,
    .connected = by_nng_connected,
    .problem = by_nng_problem,
    .hang_up = by_nng_hang_up,
    .turn = by_nng_turn,
    .send_begin = by_nng_send_begin,
    .send_end = by_nng_send_end,
    .receive = by_nng_receive,
};
