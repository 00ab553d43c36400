/*
 * The replier on libnng: a REP socket with contexts, for every URL that libnng can serve.
 *
 * A context receives one request, has it until it is answered, sends the answer, and may receive
 * again; what is asked for later is received by others. (A raw REP socket would do without, but
 * drops an answer, without a word, if 64 wait for its asker.) Contexts receive in the order in
 * which they were told to, all by the caller's thread, so requests come in their order; RECEIVERS
 * of them do at any time. If requests_max have a request or wait to send, nobody is read.
 *
 * NNG cannot stop reading one connection. So that one which does not read its answers cannot use
 * up the contexts, or memory, it is hung up on: if an answer waits too long, if too many bytes wait
 * for it, or if there is no context left and the most of them wait for it.
 *
 * NNG runs threads of its own. They tell of connections that come and go (on_pipe()), and of
 * contexts that have received or sent (on_done()), under a lock: a connection is known, with who it
 * is, before its first message can be received. An eventfd wakes the caller up, and everything else
 * happens in its thread. Connections that nobody has been told of are counted with those that there
 * are, so that a peer which comes and goes makes no queue grow.
 *
 * On ipc, 1.5.2 goes mad if a peer hangs up just as it is accepted: its thread spins on a hang-up
 * that nobody waits for, and the listener accepts nobody any more
 * (tests/conformance/test_replier*.c).
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <uthash.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/nng.h"
#include "control/replier_ops.h"
#include "control/replier_urls.h"

#define RECEIVERS 64 /* contexts that receive; what they have may be a queue that long */
/* Answers that wait for one asker; one may always wait, and short ones, which say that there is no
 * room for more. */
#define OUT_BYTES_MAX (UINT32_C(32) << 20)
#define OUT_BYTES_SHORT (UINT32_C(4) << 20)
#define OUT_BYTES_MAX_DIALLED (UINT32_C(1) << 30) /* see STREAM_OUT_BYTES_MAX_DIALLED */
#define BYTES_A_SECOND 65536 /* so much longer an answer may wait, for what goes before it */

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
    uint32_t references; /* the hash, the two changes that are queued, requests, answers */
    uint32_t sending;    /* answers that wait for it */
    size_t out_bytes;    /* of them */
    bool closing;        /* it is being hung up on */
    struct change came, gone;
    UT_hash_handle hh;
};

struct nng_part {
    struct replier_part part;
    struct replier_options options; /* only limits and callbacks are valid */
    nng_socket socket;
    bool opened;
    int bell;                      /* an eventfd: something has come, or changed */
    struct nng_ask *first, **last; /* contexts that receive, in their order */
    uint32_t receiving, ask_count; /* ... how many they are; of all */
    struct nng_ask *asks;          /* all, by `other` */
    struct nng_urls *urls;
    struct replier_counts counts; /* but for those of connections: the caller's thread's */

    _Atomic bool rung;    /* the bell; it is not rung again before somebody looks */
    pthread_mutex_t lock; /* of all that follows */
    _Atomic bool changed; /* what is queued; read without the lock */
    struct change *changes, **changes_last;
    struct nng_ask *idle; /* contexts that do nothing */
    bool starved;         /* there was none: the next one rings */
    struct line *lines;   /* by pipe */
    uint32_t line_count;  /* in the hash */
    uint32_t alive_count; /* not freed */
    uint64_t came_count, refused_count;
};

/* A context, and the request that it has. */
struct nng_ask {
    struct replier_request request;
    struct nng_part *part;
    struct nng_ask *next; /* of those that receive, or are idle */
    struct nng_ask *other;
    nng_ctx context;
    nng_aio *aio;
    bool sending;
    _Atomic bool came; /* what it received, or that it cannot */
    struct line *line; /* NULL: it has hung up */
    nng_msg *message;
    nng_msg *answer; /* answer_begin() */
    size_t out_bytes;
};

static const struct replier_peer nobody = {.text = "somebody who hung up", .off_host = true};

static void ring(struct nng_part *part)
{
    /* acq_rel: pairs with that in hush() */
    if (!atomic_exchange_explicit(&part->rung, true, memory_order_acq_rel))
        (void)eventfd_write(part->bell, 1);
}

/* ---- Connections; NNG's threads ---- */

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
    *part->changes_last = change;
    part->changes_last = &change->next;
    /* release: pairs with the acquire in take_changes() */
    atomic_store_explicit(&part->changed, true, memory_order_release);
    ring(part);
}

/* Return: whether it may stay. */
static bool line_new(struct nng_part *part, nng_pipe pipe)
{
    struct line *line = malloc(sizeof(*line));
    if (!line)
        return false;
    *line = (struct line){.pipe = (uint32_t)nng_pipe_id(pipe), .references = 1};
    nng_pipe_peer(pipe, &line->peer);
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

/* Whether the dialer has a connection. */
static bool has_line_of(uint32_t dialer, void *data)
{
    struct nng_part *part = data;
    bool has = false;
    pthread_mutex_lock(&part->lock);
    for (const struct line *line = part->lines; line && !has; line = line->hh.next)
        has = line->dialer == dialer;
    pthread_mutex_unlock(&part->lock);
    return has;
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

/* Whatever happens from now on rings again. */
static void hush(struct nng_part *part)
{
    eventfd_t count;
    if (!atomic_load_explicit(&part->rung, memory_order_relaxed))
        return;
    (void)eventfd_read(part->bell, &count);
    /* acq_rel: pairs with that in ring(): who does not ring, we see what it has done */
    (void)atomic_exchange_explicit(&part->rung, false, memory_order_acq_rel);
}

static void take_changes(struct nng_part *part)
{
    /* acquire: pairs with the release in tell() */
    if (!atomic_load_explicit(&part->changed, memory_order_acquire))
        return;
    pthread_mutex_lock(&part->lock);
    struct change *change = part->changes;
    part->changes = NULL;
    part->changes_last = &part->changes;
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

/* ---- Contexts ---- */

/* Under the lock. */
static void now_idle(struct nng_ask *ask)
{
    struct nng_part *part = ask->part;
    ask->next = part->idle;
    part->idle = ask;
    if (part->starved)
        ring(part);
    part->starved = false;
}

/* What it has received, or could not send. @ret_message: ours; NULL: it is freed. */
static void take_message(struct nng_ask *ask, nng_msg **ret_message)
{
    nng_msg *message = nng_aio_get_msg(ask->aio);
    nng_aio_set_msg(ask->aio, NULL);
    if (ret_message)
        *ret_message = message;
    else
        nng_msg_free(message);
}

/* In a thread of NNG's. */
static void sent(struct nng_ask *ask)
{
    struct nng_part *part = ask->part;
    int n = nng_aio_result(ask->aio);
    uint32_t pipe = ask->line->pipe;
    if (n != 0)
        take_message(ask, NULL);
    pthread_mutex_lock(&part->lock);
    ask->line->sending--;
    ask->line->out_bytes -= ask->out_bytes;
    line_unref(part, ask->line);
    ask->line = NULL;
    ask->sending = false;
    now_idle(ask);
    pthread_mutex_unlock(&part->lock);
    if (n == NNG_ETIMEDOUT) /* it does not read its answers */
        (void)nng_pipe_close((nng_pipe){.id = pipe});
}

static void on_done(void *data)
{
    struct nng_ask *ask = data;
    if (ask->sending) {
        sent(ask);
        return;
    }
    /* release: pairs with the acquire in has_come() */
    atomic_store_explicit(&ask->came, true, memory_order_release);
    ring(ask->part);
}

static bool has_come(struct nng_ask *ask)
{
    /* acquire: pairs with the release in on_done() */
    return ask && atomic_load_explicit(&ask->came, memory_order_acquire);
}

static struct nng_ask *ask_new(struct nng_part *part)
{
    struct nng_ask *ask = calloc(1, sizeof(*ask));
    if (!ask)
        return NULL;
    int n = nng_ctx_open(&ask->context, part->socket);
    if (n == 0 && nng_aio_alloc(&ask->aio, on_done, ask) != 0) {
        (void)nng_ctx_close(ask->context);
        n = NNG_ENOMEM;
    }
    if (n != 0) {
        free(ask);
        return NULL;
    }
    ask->part = part;
    ask->other = part->asks;
    part->asks = ask;
    part->ask_count++;
    return ask;
}

/* Of a socket that is closed. */
static void ask_free(struct nng_ask *ask)
{
    nng_aio_stop(ask->aio);
    take_message(ask, NULL); /* one that nobody has taken */
    nng_aio_free(ask->aio);
    nng_msg_free(ask->message);
    nng_msg_free(ask->answer);
    free(ask);
}

/* Who has the most answers waiting is hung up on, so that their contexts are free. */
static void hang_up_on_worst(struct nng_part *part)
{
    struct line *worst = NULL;
    pthread_mutex_lock(&part->lock);
    for (struct line *line = part->lines; line; line = line->hh.next)
        if (!line->closing && line->sending > (worst ? worst->sending : 0))
            worst = line;
    uint32_t pipe = worst ? worst->pipe : 0;
    if (worst)
        worst->closing = true;
    pthread_mutex_unlock(&part->lock);
    if (pipe)
        (void)nng_pipe_close((nng_pipe){.id = pipe});
}

/* NULL: all have something to do. */
static struct nng_ask *idle_ask(struct nng_part *part)
{
    bool room = part->ask_count < part->options.requests_max;
    pthread_mutex_lock(&part->lock);
    struct nng_ask *ask = part->idle;
    if (ask)
        part->idle = ask->next;
    part->starved = !ask;
    pthread_mutex_unlock(&part->lock);
    return ask || !room ? ask : ask_new(part);
}

static void receive_next(struct nng_part *part, struct nng_ask *ask)
{
    ask->next = NULL;
    *part->last = ask;
    part->last = &ask->next;
    part->receiving++;
    atomic_store_explicit(&ask->came, false, memory_order_relaxed); /* nobody looks yet */
    nng_aio_set_timeout(ask->aio, NNG_DURATION_INFINITE);
    nng_ctx_recv(ask->context, ask->aio);
}

/* Has as many receive as may. */
static void fill(struct nng_part *part)
{
    while (part->receiving < RECEIVERS) {
        struct nng_ask *ask = idle_ask(part);
        if (ask) {
            receive_next(part, ask);
            continue;
        }
        if (part->receiving == 0)
            hang_up_on_worst(part);
        return;
    }
}

/* Its request is answered, or dropped. */
static void request_over(struct nng_ask *ask)
{
    struct nng_part *part = ask->part;
    if (ask->line) {
        pthread_mutex_lock(&part->lock);
        line_unref(part, ask->line);
        pthread_mutex_unlock(&part->lock);
        ask->line = NULL;
    }
    part->counts.unanswered_now--;
    nng_msg_free(ask->message);
    ask->message = NULL;
}

/* ---- Life ---- */

static int set_up_socket(struct nng_part *part, struct error_text *error)
{
    /* What NNG limits has the way back in it, which is a word if the asker is next to us. */
    size_t bytes_max = part->options.bytes_max + sizeof(uint32_t);
    int n = nng_rep0_open(&part->socket);
    if (n != 0)
        return nng_urls_fail(error, n, "open", "an NNG socket");
    part->opened = true;
    n = nng_socket_set_size(part->socket, NNG_OPT_RECVMAXSZ, bytes_max);
    if (n == 0)
        n = nng_pipe_notify(part->socket, NNG_PIPE_EV_ADD_PRE, on_pipe, part);
    if (n == 0)
        n = nng_pipe_notify(part->socket, NNG_PIPE_EV_REM_POST, on_pipe, part);
    return n == 0 ? 0 : nng_urls_fail(error, n, "set up", "an NNG socket");
}

static void part_free(struct replier_part *base)
{
    struct nng_part *part = (struct nng_part *)base;
    if (part->opened && !nng_close_socket(part->socket.id))
        return; /* its threads may still call back: left to the end of the process */
    for (struct nng_ask *ask = part->asks, *other; ask; ask = other) {
        other = ask->other;
        ask_free(ask);
    }
    struct line *line, *next;
    HASH_ITER (hh, part->lines, line, next) {
        HASH_DEL(part->lines, line);
        line_unref(part, line);
    }
    for (struct change *change = part->changes, *after; change; change = after) {
        after = change->next;
        line_unref(part, change->line);
    }
    nng_urls_free(part->urls);
    fd_close(part->bell);
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
    part->last = &part->first;
    part->changes_last = &part->changes;
    pthread_mutex_init(&part->lock, NULL);
    part->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = part->bell < 0
                ? error_set(error, -errno, "cannot wait for requests: %s", strerror(errno))
                : set_up_socket(part, error);
    if (r == 0) {
        fill(part);
        if (!part->first)
            r = error_set(error, -ENOMEM, "out of memory");
    }
    if (r == 0)
        r = nng_urls_new(part->socket, options, &part->urls, error);
    if (r < 0) {
        part_free(&part->part);
        return r;
    }
    *ret_part = &part->part;
    return 0;
}

static int part_fd(const struct replier_part *part)
{
    return ((const struct nng_part *)part)->bell;
}

static uint64_t next_deadline_ns(const struct replier_part *base)
{
    return nng_urls_deadline_ns(((const struct nng_part *)base)->urls);
}

static const char *part_url(const struct replier_part *base, size_t index)
{
    return nng_urls_get(((const struct nng_part *)base)->urls, index);
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
    nng_msg_free(ask->answer);
    ask->answer = NULL;
    request_over(ask);
    pthread_mutex_lock(&part->lock);
    now_idle(ask);
    pthread_mutex_unlock(&part->lock);
}

static int receive(struct replier_part *base, struct replier_request **ret_request,
                   const uint8_t **ret_data, size_t *ret_bytes)
{
    struct nng_part *part = (struct nng_part *)base;
    nng_urls_redial(part->urls, has_line_of, part);
    fill(part);
    if (!has_come(part->first)) {
        hush(part);
        if (!part->first)
            fill(part); /* one may have become idle, and rung, meanwhile */
    }
    /* Those of before a request has come are taken before it: who asks is known. */
    bool come = has_come(part->first);
    take_changes(part);
    if (!come)
        return REPLIER_E_AGAIN;
    struct nng_ask *ask = part->first;
    part->first = ask->next;
    if (!part->first)
        part->last = &part->first;
    part->receiving--;
    int n = nng_aio_result(ask->aio);
    if (n != 0) {
        receive_next(part, ask);
        return nng_errno(n);
    }
    take_message(ask, &ask->message);
    pthread_mutex_lock(&part->lock);
    ask->line = line_find(part, (uint32_t)nng_pipe_id(nng_msg_get_pipe(ask->message)));
    if (ask->line)
        ask->line->references++;
    pthread_mutex_unlock(&part->lock);
    ask->request = (struct replier_request){.ops = &replier_nng_ops,
                                            .peer = ask->line ? &ask->line->peer : &nobody};
    part->counts.requests++;
    part->counts.unanswered_now++;
    *ret_request = &ask->request;
    *ret_data = nng_msg_body(ask->message);
    *ret_bytes = nng_msg_len(ask->message);
    return 0;
}

static int answer_begin(struct replier_request *request, size_t bytes, uint8_t **ret_data)
{
    struct nng_ask *ask = (struct nng_ask *)request;
    int n = ask->answer ? nng_msg_realloc(ask->answer, bytes) : nng_msg_alloc(&ask->answer, bytes);
    if (n != 0)
        return nng_errno(n);
    *ret_data = nng_msg_body(ask->answer);
    return 0;
}

static bool fits(const struct nng_ask *ask, size_t bytes, size_t more)
{
    const struct line *line = ask->line;
    const size_t most = ask->part->options.dial ? OUT_BYTES_MAX_DIALLED : OUT_BYTES_MAX;
    return line->sending == 0 || line->out_bytes + bytes <= most + more;
}

static bool has_room(const struct replier_request *request, size_t bytes)
{
    const struct nng_ask *ask = (const struct nng_ask *)request;
    if (!ask->line)
        return true;
    pthread_mutex_lock(&ask->part->lock);
    bool there = fits(ask, bytes, 0);
    pthread_mutex_unlock(&ask->part->lock);
    return there;
}

/* How long it may wait; 0: it may not, and its line is hung up on. */
static uint64_t may_send(struct nng_ask *ask, size_t bytes)
{
    struct line *line = ask->line;
    uint64_t wait_ns = 0;
    pthread_mutex_lock(&ask->part->lock);
    if (line && !line->closing) {
        if (fits(ask, bytes, OUT_BYTES_SHORT)) {
            line->references++;
            line->sending++;
            line->out_bytes += bytes;
            wait_ns = ask->part->options.unread_ns + line->out_bytes / BYTES_A_SECOND * NS_PER_S;
        } else {
            line->closing = true;
        }
    }
    pthread_mutex_unlock(&ask->part->lock);
    if (line && line->closing && wait_ns == 0)
        (void)nng_pipe_close((nng_pipe){.id = line->pipe});
    return wait_ns;
}

static int answer_end(struct replier_request *request, size_t bytes)
{
    struct nng_ask *ask = (struct nng_ask *)request;
    struct line *line = ask->line;
    uint64_t wait_ns = may_send(ask, bytes);
    if (wait_ns == 0) {
        drop(request);
        return 0;
    }
    (void)nng_msg_chop(ask->answer, nng_msg_len(ask->answer) - bytes);
    request_over(ask);
    ask->part->counts.answers++;
    ask->line = line;
    ask->sending = true;
    ask->out_bytes = bytes;
    nng_aio_set_msg(ask->aio, steal_ptr(&ask->answer));
    nng_aio_set_timeout(ask->aio, (nng_duration)(wait_ns / NS_PER_MS) + 1);
    nng_ctx_send(ask->context, ask->aio);
    return 0;
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
    .has_room = has_room,
    .hang_up = hang_up,
    .counts = part_counts,
};
