/*
 * The replier on libnng: a raw REP socket, for every URL that libnng can serve.
 *
 * A cooked REP socket answers one request before it receives the next; a raw one hands out each
 * request with its header, the way back to the asker (NNG's pipe id and the request id), and sends
 * whatever carries such a header. So an answer may come later and in any order: a request keeps its
 * message, and the answer is a new body under the old header. A header is NNG's own, made on this
 * side of the wire; an asker cannot forge the pipe in it.
 *
 * NNG runs threads of its own. They tell of connections that come and go (on_pipe()), under a lock:
 * a connection is known, with who it is, before its first message can be received. What the caller
 * is to hear of is queued, and an eventfd wakes it up; everything else happens in the caller's
 * thread, on a socket that does not block. Connections that nobody has been told of are counted
 * with those that there are, so that a peer which comes and goes makes no queue grow.
 *
 * NNG reads on whatever we do, and drops answers for whom 64 of them wait already. On ipc, 1.5.2
 * goes mad if a peer hangs up just as it is accepted: its thread spins on a hang-up that nobody
 * waits for, and the listener accepts nobody any more (tests/conformance/test_replier.c).
 */
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/supplemental/tls/tls.h>
#include <uthash.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/nng.h"
#include "control/replier_ops.h"

/* Answers that NNG holds between us and its threads, which never wait for an asker. */
#define ANSWER_BUFFER 1024
/* What an answer may wait for NNG's own thread. Only a stopped machine takes that long. */
#define SEND_TIMEOUT_MS 100
/* libnng 1.5.2 waits a random time before it connects again, one in 200 of them for ever: its
 * random number is signed, and -1 means without end. So who has no connection for a while is
 * dialled anew. */
#define REDIAL_NS (500 * NS_PER_MS)
#define RECONNECT_MS_MIN 50
#define RECONNECT_MS_MAX 400

struct line;

/* What the caller is to be told of a line. */
struct change {
    struct change *next;
    struct line *line;
};

/* A connection. Under the part's lock. */
struct line {
    struct replier_peer peer;
    uint32_t pipe; /* NNG's number: the key */
    uint32_t dialer;
    uint32_t references; /* the hash, the two changes that are queued, requests */
    struct change came, gone;
    UT_hash_handle hh;
};

struct dialling {
    char *url;
    nng_tls_config *config; /* NULL: no TLS */
    nng_dialer dialer;
    uint64_t since_ns; /* when there was a connection, or when it was dialled, last */
};

struct nng_part {
    struct replier_part part;
    struct replier_options options; /* only limits and callbacks are valid */
    nng_socket socket;
    bool opened;
    int set; /* an epoll set of the two below */
    int receive_fd;
    int changed_fd;
    char **urls; /* of listeners */
    size_t url_count;
    struct dialling *dialled;
    size_t dialled_count;
    struct replier_counts counts; /* but for those of connections: the caller's thread's */

    pthread_mutex_t lock; /* of all that follows */
    _Atomic bool changed; /* what is queued; read without the lock */
    struct change *first, **last;
    struct line *lines;   /* by pipe */
    uint32_t line_count;  /* in the hash */
    uint32_t alive_count; /* not freed */
    uint64_t came_count, refused_count;
};

struct nng_ask {
    struct replier_request request;
    struct nng_part *part;
    struct line *line; /* NULL: it has hung up */
    nng_msg *message;
    nng_msg *answer; /* answer_begin() */
};

static const struct replier_peer nobody = {.text = "somebody who hung up", .off_host = true};

static int fail(struct error_text *error, int n, const char *what, const char *url)
{
    const char *advice = "";
    if (n == NNG_EADDRINUSE)
        advice = ": stop the program that listens there, or choose another URL";
    else if (n == NNG_EADDRINVAL || n == NNG_EINVAL)
        advice = ": use a URL such as ipc:///run/parley/bus.ipc or tcp://127.0.0.1:7433";
    else if (n == NNG_ENOTSUP)
        advice = ": this libnng has no such transport: use ipc://, tcp:// or ws://";
    else if (n == NNG_ENOENT)
        advice = ": make the folder first";
    return error_set(error, nng_errno(n), "cannot %s %s: %s%s", what, url, nng_strerror(n), advice);
}

/* ---- Connections; NNG's threads ---- */

static void who(nng_pipe pipe, struct replier_peer *peer)
{
    uint64_t uid, gid, pid;
    nng_sockaddr address;
    *peer = (struct replier_peer){.off_host = true, .text = "an unknown peer"};
    if (nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_UID, &uid) == 0 &&
        nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_GID, &gid) == 0 &&
        nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_PID, &pid) == 0) {
        peer->uid = (uid_t)uid;
        peer->gid = (gid_t)gid;
        peer->pid = (pid_t)pid;
        replier_peer_local(peer);
    } else if (nng_pipe_get_addr(pipe, NNG_OPT_REMADDR, &address) == 0) {
        struct sockaddr_in v4 = {.sin_family = AF_INET};
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
        if (address.s_family == NNG_AF_INET) {
            v4.sin_addr.s_addr = address.s_in.sa_addr;
            v4.sin_port = address.s_in.sa_port;
            replier_peer_address(peer, (const struct sockaddr *)&v4);
        } else if (address.s_family == NNG_AF_INET6) {
            memcpy(&v6.sin6_addr, address.s_in6.sa_addr, sizeof(v6.sin6_addr));
            v6.sin6_port = address.s_in6.sa_port;
            replier_peer_address(peer, (const struct sockaddr *)&v6);
        }
    }
    bool verified;
    peer->encrypted = nng_pipe_get_bool(pipe, NNG_OPT_TLS_VERIFIED, &verified) == 0;
}

/* Under the lock. */
static void line_unref(struct nng_part *part, struct line *line)
{
    if (--line->references == 0) {
        part->alive_count--;
        free(line);
    }
}

/* Under the lock. */
static void tell(struct nng_part *part, struct change *change, struct line *line)
{
    *change = (struct change){.line = line};
    line->references++;
    *part->last = change;
    part->last = &change->next;
    /* release: pairs with the acquire in take_changes() */
    if (!atomic_exchange_explicit(&part->changed, true, memory_order_release))
        (void)eventfd_write(part->changed_fd, 1);
}

/* Return: whether it may stay. */
static bool line_new(struct nng_part *part, nng_pipe pipe)
{
    struct line *line = malloc(sizeof(*line));
    if (!line)
        return false;
    *line = (struct line){.pipe = (uint32_t)nng_pipe_id(pipe), .references = 1};
    who(pipe, &line->peer);
    line->peer.connection = replier_connection_number();
    line->dialer = (uint32_t)nng_dialer_id(nng_pipe_dialer(pipe));
    pthread_mutex_lock(&part->lock);
    bool room = part->line_count < part->options.connections_max &&
                part->alive_count / 2 < part->options.connections_max;
    if (room) {
        part->alive_count++;
        part->line_count++;
        part->came_count++;
        HASH_ADD(hh, part->lines, pipe, sizeof(line->pipe), line);
        tell(part, &line->came, line);
    } else {
        part->refused_count++;
        free(line);
    }
    pthread_mutex_unlock(&part->lock);
    return room;
}

static struct line *line_find(struct nng_part *part, uint32_t pipe)
{
    struct line *line;
    HASH_FIND(hh, part->lines, &pipe, sizeof(pipe), line);
    return line;
}

static void line_end(struct nng_part *part, uint32_t pipe)
{
    pthread_mutex_lock(&part->lock);
    struct line *line = line_find(part, pipe);
    if (line) {
        HASH_DEL(part->lines, line);
        part->line_count--;
        tell(part, &line->gone, line);
        line_unref(part, line);
    }
    pthread_mutex_unlock(&part->lock);
}

static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *data)
{
    struct nng_part *part = data;
    if (event == NNG_PIPE_EV_REM_POST)
        line_end(part, (uint32_t)nng_pipe_id(pipe));
    else if (!line_new(part, pipe))
        (void)nng_pipe_close(pipe);
}

/* ---- ... and the caller's ---- */

static void take_changes(struct nng_part *part)
{
    /* acquire: pairs with the release in tell() */
    if (!atomic_load_explicit(&part->changed, memory_order_acquire))
        return;
    eventfd_t count;
    (void)eventfd_read(part->changed_fd, &count);
    pthread_mutex_lock(&part->lock);
    struct change *change = part->first;
    part->first = NULL;
    part->last = &part->first;
    atomic_store_explicit(&part->changed, false, memory_order_relaxed); /* under the lock */
    pthread_mutex_unlock(&part->lock);
    while (change) {
        struct change *next = change->next;
        struct line *line = change->line;
        bool gone = change == &line->gone;
        if (gone && part->options.gone)
            part->options.gone(line->peer.connection, part->options.data);
        else if (!gone && part->options.came)
            part->options.came(&line->peer, part->options.data);
        pthread_mutex_lock(&part->lock);
        line_unref(part, line);
        pthread_mutex_unlock(&part->lock);
        change = next;
    }
}

/* Of thousands this walks over all, but only for who misbehaves. */
static void hang_up(struct replier_part *base, uint64_t connection)
{
    struct nng_part *part = (struct nng_part *)base;
    uint32_t pipe = 0;
    pthread_mutex_lock(&part->lock);
    for (const struct line *line = part->lines; line && !pipe; line = line->hh.next)
        if (line->peer.connection == connection)
            pipe = line->pipe;
    pthread_mutex_unlock(&part->lock);
    if (pipe) /* NNG's threads take the lock: not under it */
        (void)nng_pipe_close((nng_pipe){.id = pipe});
}

/* ---- TLS ---- */

static bool begins(const char *url, const char *with)
{
    return strncmp(url, with, strlen(with)) == 0;
}

static int file_text(const char *path, char **ret_text, struct error_text *error)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(error, -errno, "cannot read %s: %s", path, strerror(errno));
    char *text = NULL;
    size_t room = 0;
    ssize_t n = getdelim(&text, &room, '\0', file);
    (void)fclose(file);
    if (n <= 0) {
        free(text);
        return error_set(error, -EINVAL, "%s is empty", path);
    }
    *ret_text = text;
    return 0;
}

static int set_up_certificate(nng_tls_config *config, const struct tls_settings *tls,
                              struct error_text *error)
{
    _cleanup_(freep) char *certificate = NULL;
    _cleanup_(freep) char *key = NULL;
    int r = file_text(tls->certificate, &certificate, error);
    if (r == 0)
        r = file_text(tls->key ? tls->key : tls->certificate, &key, error);
    if (r < 0)
        return r;
    int n = nng_tls_config_own_cert(config, certificate, key, NULL);
    return n == 0 ? 0 : fail(error, n, "use the certificate in", tls->certificate);
}

static int set_up_config(nng_tls_config *config, const struct replier_options *options,
                         struct error_text *error)
{
    const struct tls_settings *tls = options->tls;
    bool optional = !options->dial && tls->optional;
    int n = nng_tls_config_auth_mode(config, optional ? NNG_TLS_AUTH_MODE_OPTIONAL
                                                      : NNG_TLS_AUTH_MODE_REQUIRED);
    if (n == 0 && options->dial && tls->server_name)
        n = nng_tls_config_server_name(config, tls->server_name);
    if (n == 0)
        n = nng_tls_config_ca_file(config,
                                   tls->ca ? tls->ca : "/etc/ssl/certs/ca-certificates.crt");
    if (n != 0)
        return fail(error, n, "believe certificates of", tls->ca ? tls->ca : "the system");
    return tls->certificate ? set_up_certificate(config, tls, error) : 0;
}

/* @ret_config: NULL if the URL needs none. */
static int set_up_tls(const struct replier_options *options, const char *url,
                      nng_tls_config **ret_config, struct error_text *error)
{
    *ret_config = NULL;
    if (!begins(url, "tls+") && !begins(url, "wss"))
        return 0;
    if (!options->tls)
        return error_set(error, -EINVAL, "%s needs certificates: say where they are", url);
    nng_tls_config *config;
    int n =
        nng_tls_config_alloc(&config, options->dial ? NNG_TLS_MODE_CLIENT : NNG_TLS_MODE_SERVER);
    if (n != 0)
        return fail(error, n, "have TLS for", url);
    int r = set_up_config(config, options, error);
    if (r < 0) {
        nng_tls_config_free(config);
        return r;
    }
    *ret_config = config;
    return 0;
}

/* ---- Dialling ---- */

static bool dialled_is_up(struct nng_part *part, const struct dialling *dialling)
{
    bool up = false;
    pthread_mutex_lock(&part->lock);
    for (const struct line *line = part->lines; line && !up; line = line->hh.next)
        up = line->dialer == (uint32_t)nng_dialer_id(dialling->dialer);
    pthread_mutex_unlock(&part->lock);
    return up;
}

static int dial(struct nng_part *part, struct dialling *dialling, struct error_text *error)
{
    int n = nng_dialer_create(&dialling->dialer, part->socket, dialling->url);
    if (n == 0 && dialling->config)
        n = nng_dialer_set_ptr(dialling->dialer, NNG_OPT_TLS_CONFIG, dialling->config);
    if (n == 0)
        n = nng_dialer_set_ms(dialling->dialer, NNG_OPT_RECONNMINT, RECONNECT_MS_MIN);
    if (n == 0)
        n = nng_dialer_set_ms(dialling->dialer, NNG_OPT_RECONNMAXT, RECONNECT_MS_MAX);
    if (n == 0)
        n = nng_dialer_start(dialling->dialer, NNG_FLAG_NONBLOCK);
    dialling->since_ns = clock_now_ns();
    return n == 0 ? 0 : fail(error, n, "dial", dialling->url);
}

static void redial(struct nng_part *part)
{
    uint64_t now = part->dialled_count > 0 ? clock_now_ns() : 0;
    for (size_t i = 0; i < part->dialled_count; i++) {
        struct dialling *dialling = &part->dialled[i];
        if (now - dialling->since_ns < REDIAL_NS)
            continue;
        if (dialled_is_up(part, dialling)) {
            dialling->since_ns = now;
            continue;
        }
        (void)nng_dialer_close(dialling->dialer);
        (void)dial(part, dialling, NULL); /* or the next time */
        dialling->since_ns = now;
    }
}

static uint64_t next_deadline_ns(const struct replier_part *base)
{
    const struct nng_part *part = (const struct nng_part *)base;
    uint64_t deadline = CLOCK_NEVER;
    for (size_t i = 0; i < part->dialled_count; i++)
        if (part->dialled[i].since_ns + REDIAL_NS < deadline)
            deadline = part->dialled[i].since_ns + REDIAL_NS;
    return deadline;
}

static int dial_all(struct nng_part *part, const struct replier_options *options,
                    struct error_text *error)
{
    part->dialled = calloc(options->url_count, sizeof(*part->dialled));
    if (!part->dialled)
        return error_set(error, -ENOMEM, "out of memory");
    for (size_t i = 0; i < options->url_count; i++) {
        struct dialling *dialling = &part->dialled[i];
        dialling->url = strdup(options->urls[i]);
        if (!dialling->url)
            return error_set(error, -ENOMEM, "out of memory");
        part->dialled_count++;
        int r = set_up_tls(options, dialling->url, &dialling->config, error);
        if (r == 0)
            r = dial(part, dialling, error);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- Listening ---- */

/* With the port that it has. */
static int url_of(nng_listener listener, const char *asked, char **ret_url)
{
    char *told;
    if (nng_listener_get_string(listener, NNG_OPT_URL, &told) != 0) {
        *ret_url = strdup(asked);
    } else {
        *ret_url = strdup(told);
        nng_strfree(told);
    }
    return *ret_url ? 0 : -ENOMEM;
}

static int listen_on(struct nng_part *part, const struct replier_options *options, const char *url,
                     struct error_text *error)
{
    nng_listener listener;
    int n = nng_listener_create(&listener, part->socket, url);
    if (n != 0)
        return fail(error, n, "listen on", url);
    if (options->mode && begins(url, "ipc://"))
        n = nng_listener_set_int(listener, NNG_OPT_IPC_PERMISSIONS, (int)options->mode);
    nng_tls_config *config;
    int r = set_up_tls(options, url, &config, error);
    if (r < 0)
        return r;
    if (config && n == 0)
        n = nng_listener_set_ptr(listener, NNG_OPT_TLS_CONFIG, config);
    if (config)
        nng_tls_config_free(config);
    if (n == 0)
        n = nng_listener_start(listener, 0);
    if (n != 0)
        return fail(error, n, "listen on", url);
    r = url_of(listener, url, &part->urls[part->url_count]);
    if (r < 0)
        return error_set(error, r, "out of memory");
    part->url_count++;
    return 0;
}

static int listen_all(struct nng_part *part, const struct replier_options *options,
                      struct error_text *error)
{
    part->urls = calloc(options->url_count, sizeof(*part->urls));
    if (!part->urls)
        return error_set(error, -ENOMEM, "out of memory");
    for (size_t i = 0; i < options->url_count; i++) {
        int r = listen_on(part, options, options->urls[i], error);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- Life ---- */

static int set_up_socket(struct nng_part *part, struct error_text *error)
{
    /* What NNG limits has the way back in it, which is a word if the asker is next to us. */
    size_t bytes_max = part->options.bytes_max + sizeof(uint32_t);
    int n = nng_rep0_open_raw(&part->socket);
    if (n != 0)
        return fail(error, n, "open", "an NNG socket");
    part->opened = true;
    n = nng_socket_set_size(part->socket, NNG_OPT_RECVMAXSZ, bytes_max);
    if (n == 0)
        n = nng_socket_set_int(part->socket, NNG_OPT_SENDBUF, ANSWER_BUFFER);
    if (n == 0)
        n = nng_socket_set_ms(part->socket, NNG_OPT_SENDTIMEO, SEND_TIMEOUT_MS);
    if (n == 0)
        n = nng_socket_get_int(part->socket, NNG_OPT_RECVFD, &part->receive_fd);
    if (n == 0)
        n = nng_pipe_notify(part->socket, NNG_PIPE_EV_ADD_PRE, on_pipe, part);
    if (n == 0)
        n = nng_pipe_notify(part->socket, NNG_PIPE_EV_REM_POST, on_pipe, part);
    return n == 0 ? 0 : fail(error, n, "set up", "an NNG socket");
}

static int set_up_set(struct nng_part *part)
{
    part->changed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (part->changed_fd < 0)
        return -errno;
    part->set = epoll_create1(EPOLL_CLOEXEC);
    if (part->set < 0)
        return -errno;
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(part->set, EPOLL_CTL_ADD, part->changed_fd, &event) < 0 ||
        epoll_ctl(part->set, EPOLL_CTL_ADD, part->receive_fd, &event) < 0)
        return -errno;
    return 0;
}

static void part_free(struct replier_part *base)
{
    struct nng_part *part = (struct nng_part *)base;
    if (part->opened && !nng_close_socket(part->socket.id))
        return; /* its threads may still call back: left to the end of the process */
    struct line *line, *next;
    HASH_ITER (hh, part->lines, line, next) {
        HASH_DEL(part->lines, line);
        line_unref(part, line);
    }
    for (struct change *change = part->first, *after; change; change = after) {
        after = change->next;
        line_unref(part, change->line);
    }
    for (size_t i = 0; i < part->url_count; i++)
        free(part->urls[i]);
    for (size_t i = 0; i < part->dialled_count; i++) {
        if (part->dialled[i].config)
            nng_tls_config_free(part->dialled[i].config);
        free(part->dialled[i].url);
    }
    free(part->urls);
    free(part->dialled);
    fd_close(part->set);
    fd_close(part->changed_fd);
    pthread_mutex_destroy(&part->lock);
    free(part);
}

static int part_new(const struct replier_options *options, struct replier_part **ret_part,
                    struct error_text *error)
{
    struct nng_part *part = calloc(1, sizeof(*part));
    if (!part)
        return error_set(error, -ENOMEM, "out of memory");
    part->options = *options;
    part->options.urls = NULL;
    part->options.tls = NULL;
    part->set = part->changed_fd = -1;
    part->last = &part->first;
    pthread_mutex_init(&part->lock, NULL);
    int r = set_up_socket(part, error);
    if (r == 0) {
        r = set_up_set(part);
        if (r < 0)
            (void)error_set(error, r, "cannot wait for requests: %s", strerror(-r));
    }
    if (r == 0)
        r = options->dial ? dial_all(part, options, error) : listen_all(part, options, error);
    if (r < 0) {
        part_free(&part->part);
        return r;
    }
    *ret_part = &part->part;
    return 0;
}

static int part_fd(const struct replier_part *part)
{
    return ((const struct nng_part *)part)->set;
}

static const char *part_url(const struct replier_part *base, size_t index)
{
    const struct nng_part *part = (const struct nng_part *)base;
    return part->dialled ? part->dialled[index].url : part->urls[index];
}

static void part_counts(const struct replier_part *base, struct replier_counts *counts)
{
    struct nng_part *part = (struct nng_part *)(uintptr_t)base;
    pthread_mutex_lock(&part->lock);
    counts->connections += part->came_count;
    counts->connections_now += part->line_count;
    counts->refused += part->refused_count;
    pthread_mutex_unlock(&part->lock);
    counts->requests += part->counts.requests;
    counts->answers += part->counts.answers;
    counts->unanswered_now += part->counts.unanswered_now;
}

/* ---- Requests ---- */

static void drop(struct replier_request *request)
{
    struct nng_ask *ask = (struct nng_ask *)request;
    struct nng_part *part = ask->part;
    if (ask->line) {
        pthread_mutex_lock(&part->lock);
        line_unref(part, ask->line);
        pthread_mutex_unlock(&part->lock);
    }
    part->counts.unanswered_now--;
    nng_msg_free(ask->message);
    nng_msg_free(ask->answer);
    free(ask);
}

static int receive(struct replier_part *base, struct replier_request **ret_request,
                   const uint8_t **ret_data, size_t *ret_bytes)
{
    struct nng_part *part = (struct nng_part *)base;
    take_changes(part);
    redial(part);
    nng_msg *message;
    int n = nng_recvmsg(part->socket, &message, NNG_FLAG_NONBLOCK);
    if (n != 0)
        return n == NNG_EAGAIN ? REPLIER_E_AGAIN : nng_errno(n);
    struct nng_ask *ask = calloc(1, sizeof(*ask));
    if (!ask) {
        nng_msg_free(message);
        return -ENOMEM;
    }
    ask->part = part;
    ask->message = message;
    take_changes(part); /* the caller knows of a connection before its first request */
    pthread_mutex_lock(&part->lock);
    ask->line = line_find(part, (uint32_t)nng_pipe_id(nng_msg_get_pipe(message)));
    if (ask->line)
        ask->line->references++;
    pthread_mutex_unlock(&part->lock);
    ask->request = (struct replier_request){.ops = &replier_nng_ops,
                                            .peer = ask->line ? &ask->line->peer : &nobody};
    part->counts.requests++;
    part->counts.unanswered_now++;
    *ret_request = &ask->request;
    *ret_data = nng_msg_body(message);
    *ret_bytes = nng_msg_len(message);
    return 0;
}

static int answer_begin(struct replier_request *request, size_t bytes, uint8_t **ret_data)
{
    struct nng_ask *ask = (struct nng_ask *)request;
    int n;
    if (ask->answer) {
        n = nng_msg_realloc(ask->answer, bytes);
    } else {
        n = nng_msg_alloc(&ask->answer, bytes);
        if (n == 0)
            n = nng_msg_header_append(ask->answer, nng_msg_header(ask->message),
                                      nng_msg_header_len(ask->message));
    }
    if (n != 0)
        return nng_errno(n);
    *ret_data = nng_msg_body(ask->answer);
    return 0;
}

static int answer_end(struct replier_request *request, size_t bytes)
{
    struct nng_ask *ask = (struct nng_ask *)request;
    (void)nng_msg_chop(ask->answer, nng_msg_len(ask->answer) - bytes);
    int n = nng_sendmsg(ask->part->socket, ask->answer, 0);
    if (n == 0) {
        ask->answer = NULL; /* NNG's */
        ask->part->counts.answers++;
    }
    drop(request);
    return n == 0 ? 0 : nng_errno(n);
}

const struct replier_ops replier_nng_ops = {
    .name = "nng",
    .new = part_new,
    .free = part_free,
    .fd = part_fd,
    .next_deadline_ns = next_deadline_ns,
    .url = part_url,
    .receive = receive,
    .answer_begin = answer_begin,
    .answer_end = answer_end,
    .drop = drop,
    .hang_up = hang_up,
    .counts = part_counts,
};
