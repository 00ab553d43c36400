/*
 * One connection of the stream backend: SP's greeting, and messages in. What goes out is
 * stream_out.c's.
 *
 * Bytes are read into the part's scratch memory and taken from there, many small requests with one
 * system call. A request that is not whole by then gets memory of its own, which grows with what
 * has come, never with what was announced, or that of an earlier one (stream_memory.h), and is read
 * into directly: the bytes of a large one are moved once, by the kernel. What can be neither, a
 * part of a head or what is held back, is kept.
 *
 * A peer may send what it likes: lengths are bounded before anything is done about them, every
 * state but an idle open one has a deadline, and what waits for a peer that does not read is
 * bounded by reading no more from it, and in the end by hanging up.
 */
#include <endian.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "control/stream.h"

#define FIRST_CAPACITY (UINT32_C(1) << 18) /* of a request of which nothing has come yet */
#define READS_AT_ONCE 16                   /* then it is somebody else's turn */

static void write_hello(uint8_t *hello, uint8_t number)
{
    const uint8_t text[STREAM_HELLO_BYTES] = {0, 'S', 'P', 0, 0, number, 0, 0};
    memcpy(hello, text, sizeof(text));
}

/* ---- Deadlines ---- */

void stream_check_at(struct stream_part *part, uint64_t deadline_ns)
{
    if (deadline_ns < part->check_ns)
        part->check_ns = deadline_ns;
}

static void set_in_deadline(struct stream_line *line, uint64_t after_ns)
{
    line->in_deadline_ns = clock_add(clock_now_ns(), after_ns);
    stream_check_at(line->part, line->in_deadline_ns);
}

void stream_line_hold(struct stream_line *line, uint64_t until_ns)
{
    line->hold_ns = until_ns;
    stream_check_at(line->part, until_ns);
}

/* Who reads slowly makes room long before the kernel tells of it: that counts as reading. */
void stream_line_check(struct stream_line *line, uint64_t now_ns)
{
    if (line->hold_ns && line->hold_ns <= now_ns) {
        line->hold_ns = 0;
        if (line->state == STREAM_OPEN)
            stream_line_release(line);
        if (line->state == STREAM_OPEN)
            stream_line_watch(line);
    }
    if (line->in_deadline_ns <= now_ns)
        stream_line_end(line, line->state == STREAM_OPEN ? "a request took too long to come"
                                                         : "it did not greet in time");
    else if (line->out_deadline_ns <= now_ns && stream_line_flush(line) &&
             line->out_deadline_ns <= now_ns)
        stream_line_end(line, "it does not read its answers");
    if (line->state == STREAM_DEAD)
        return;
    stream_check_at(line->part, line->in_deadline_ns);
    stream_check_at(line->part, line->out_deadline_ns);
    if (line->hold_ns)
        stream_check_at(line->part, line->hold_ns);
}

/* ---- Life ---- */

static void list_add(struct stream_line **list, struct stream_line *line)
{
    line->prev = NULL;
    line->next = *list;
    if (line->next)
        line->next->prev = line;
    *list = line;
}

static void list_remove(struct stream_line **list, struct stream_line *line)
{
    if (line->next)
        line->next->prev = line->prev;
    if (line->prev)
        line->prev->next = line->next;
    else
        *list = line->next;
}

static void watch(struct stream_line *line, uint32_t events)
{
    if (events == line->events)
        return;
    struct epoll_event event = {.events = events | EPOLLRDHUP, .data.ptr = line};
    (void)epoll_ctl(line->part->set, EPOLL_CTL_MOD, line->fd, &event);
    line->events = events;
}

void stream_line_watch(struct stream_line *line)
{
    if (line->state == STREAM_CONNECTING)
        watch(line, EPOLLOUT);
    else if (line->state == STREAM_SECURING)
        watch(line, tls_session_wants_write(line->tls) ? EPOLLOUT : EPOLLIN);
    else if (line->state != STREAM_DEAD)
        watch(line, (line->held ? 0 : (uint32_t)EPOLLIN) |
                        (line->first && !line->unsent ? (uint32_t)EPOLLOUT : 0));
}

void stream_ask_free(struct stream_part *part, struct stream_ask *ask)
{
    if (!ask)
        return;
    stream_memory_give(&part->memory, ask->answer);
    stream_memory_give(&part->memory, ask);
}

void stream_line_end(struct stream_line *line, const char *why)
{
    struct stream_part *part = line->part;
    if (line->state == STREAM_DEAD)
        return;
    log_debug("%s: %s hung up on: %s", line->door->url,
              line->peer.text[0] ? line->peer.text : "somebody", why);
    bool was_open = line->state == STREAM_OPEN;
    if (!was_open)
        part->hello_count--;
    line->state = STREAM_DEAD;
    line->tls = tls_session_free(line->tls);
    /* Closing it is not enough: a child of fork(2) may hold it, too. */
    (void)epoll_ctl(part->set, EPOLL_CTL_DEL, line->fd, NULL);
    line->fd = fd_close(line->fd);
    stream_ask_free(part, line->arriving);
    line->arriving = NULL;
    free(line->kept);
    line->kept = NULL;
    line->kept_bytes = 0;
    for (struct stream_answer *next; line->first; line->first = next) {
        next = line->first->next;
        stream_memory_give(&part->memory, line->first);
    }
    line->last = &line->first;
    line->in_deadline_ns = line->out_deadline_ns = CLOCK_NEVER;
    list_remove(&part->lines, line);
    part->line_count--;
    list_add(&part->dead, line);
    if (line->door->line == line)
        stream_door_lost(line->door, was_open, why);
}

void stream_line_unref(struct stream_line *line)
{
    if (--line->references == 0)
        free(line);
}

void stream_bury(struct stream_part *part)
{
    struct stream_line *line;
    while ((line = part->dead)) {
        list_remove(&part->dead, line);
        if (line->came && part->options.gone)
            part->options.gone(line->peer.connection, part->options.data);
        stream_line_unref(line);
    }
}

/* ---- Held back ---- */

/* Whether its answers, with those of requests under way and of the next, are more than may be to
 * come. */
static bool much_to_come(const struct stream_line *line)
{
    const size_t most =
        line->held ? STREAM_TO_COME_BYTES_MAX / 4 * 3 : (size_t)STREAM_TO_COME_BYTES_MAX;
    size_t usual = (line->unanswered + (size_t)1) * line->answer_bytes;
    size_t asked = line->in_bytes + line->next_bytes;
    return line->unanswered && !line->part->options.dial &&
           (usual > asked ? usual : asked) + line->out_bytes > most;
}

static bool full(const struct stream_line *line)
{
    return line->hold_ns || line->unanswered >= line->part->options.unanswered_max ||
           line->out_bytes >= STREAM_OUT_BYTES_HOLD || much_to_come(line);
}

static void hold_back(struct stream_line *line)
{
    line->part->counts.held_back += !line->held;
    line->held = true;
    line->in_deadline_ns = CLOCK_NEVER;
}

static void take_kept(struct stream_line *line);
static void read_line(struct stream_line *line);

void stream_line_release(struct stream_line *line)
{
    if (!line->held || full(line))
        return;
    line->held = false;
    take_kept(line);
    /* TLS may hold what the socket does not tell of any more. */
    if (line->state == STREAM_OPEN && !line->held && line->tls && tls_session_pending(line->tls))
        read_line(line);
}

void stream_line_answered(struct stream_line *line, size_t bytes)
{
    line->unanswered--;
    line->in_bytes -= bytes;
    if (line->state != STREAM_OPEN)
        return;
    stream_line_release(line);
    stream_line_watch(line);
}

/* ---- Requests in ---- */

static struct stream_ask *ask_new(struct stream_line *line, size_t bytes, size_t capacity)
{
    struct stream_ask *ask = stream_memory_take(&line->part->memory, sizeof(*ask) + capacity,
                                                sizeof(*ask) + bytes, &capacity);
    if (!ask)
        return NULL;
    ask->request = (struct replier_request){.ops = line->part->part.ops, .peer = &line->peer};
    ask->line = line;
    ask->next = NULL;
    ask->answer = NULL;
    capacity -= sizeof(*ask);
    ask->capacity = capacity < bytes ? capacity : bytes; /* what is kept may be larger */
    ask->bytes = bytes;
    ask->have = 0;
    ask->way_bytes = 0;
    return ask;
}

/* The words before the body, the last of which has its top bit set. 0: there is no such. */
static uint32_t way_of(const uint8_t *data, size_t bytes, uint32_t words_max)
{
    for (uint32_t i = 0; i < words_max && bytes - 4 * i >= 4; i++)
        if (data[4 * i] & 0x80)
            return 4 * (i + 1);
    return 0;
}

/* A whole message has come. Return: whether the line lives on. */
static bool ask_arrived(struct stream_line *line, struct stream_ask *ask)
{
    struct stream_part *part = line->part;
    ask->way_bytes = way_of(ask->data, ask->bytes, part->protocol->words_max);
    bool too_large = ask->way_bytes > 0 && ask->bytes - ask->way_bytes > part->options.bytes_max;
    if (ask->way_bytes == 0 || too_large) {
        stream_ask_free(part, ask);
        part->counts.too_large += too_large;
        stream_line_end(line, too_large ? "a request is too large" : "a request has no way back");
        return false;
    }
    line->references++;
    line->unanswered++;
    line->in_bytes += ask->bytes;
    part->counts.requests++;
    part->counts.unanswered_now++;
    *part->last = ask;
    part->last = &ask->next;
    return true;
}

/* More of the message that is arriving. Return: bytes taken. */
static size_t feed(struct stream_line *line, const uint8_t *data, size_t bytes)
{
    struct stream_ask *ask = line->arriving;
    size_t rest = ask->capacity - ask->have;
    size_t n = bytes < rest ? bytes : rest;
    memcpy(ask->data + ask->have, data, n);
    ask->have += n;
    return n;
}

/* After more of it has come. Return: whether the line lives on. */
static bool arriving_moved(struct stream_line *line)
{
    struct stream_ask *ask = line->arriving;
    if (ask->have == ask->bytes) {
        line->arriving = NULL;
        line->in_deadline_ns = CLOCK_NEVER;
        return ask_arrived(line, ask);
    }
    if (ask->have < ask->capacity)
        return true;
    size_t capacity = ask->bytes / 4 < ask->capacity ? ask->bytes : 4 * ask->capacity;
    struct stream_ask *larger = stream_memory_grow(ask, sizeof(*ask) + capacity);
    if (!larger) {
        stream_line_end(line, "there is no memory for a request");
        return false;
    }
    larger->capacity = capacity;
    line->arriving = larger;
    return true;
}

static int message_begins(struct stream_line *line, uint64_t bytes, size_t there)
{
    size_t max = line->part->options.bytes_max + 4 * STREAM_HOPS_MAX;
    if (line->part->protocol->words_max == 0) {
        stream_line_end(line, "it is to listen, and says something");
        return -EPROTO;
    }
    if (bytes > max) {
        line->part->counts.too_large++;
        stream_line_end(line, "a request is too large");
        return -EMSGSIZE;
    }
    line->next_bytes = (size_t)bytes;
    if (full(line)) {
        hold_back(line);
        return -EAGAIN;
    }
    line->next_bytes = 0;
    bool whole = there >= bytes;
    size_t capacity = whole || bytes < FIRST_CAPACITY ? bytes : FIRST_CAPACITY;
    line->arriving = ask_new(line, bytes, capacity);
    if (!line->arriving) {
        stream_line_end(line, "there is no memory for a request");
        return -ENOMEM;
    }
    if (!whole)
        set_in_deadline(line, STREAM_MESSAGE_NS + bytes / STREAM_BYTES_A_SECOND * NS_PER_S);
    return 0;
}

/* A greeting of the other side; then it is one of us. Return: bytes taken; 0: more are needed. */
static size_t take_hello(struct stream_line *line, const uint8_t *data, size_t bytes)
{
    struct stream_part *part = line->part;
    uint8_t their_hello[STREAM_HELLO_BYTES];
    size_t known = bytes < STREAM_HELLO_BYTES ? bytes : STREAM_HELLO_BYTES;
    write_hello(their_hello, part->protocol->peer);
    if (memcmp(data, their_hello, known) != 0) {
        stream_line_end(line, part->protocol->no_peer);
        return 0;
    }
    if (bytes < STREAM_HELLO_BYTES)
        return 0;
    line->state = STREAM_OPEN;
    line->in_deadline_ns = CLOCK_NEVER;
    line->came = true;
    line->door->opened_ns = clock_now_ns();
    part->hello_count--;
    part->counts.connections++;
    if (part->options.came)
        part->options.came(&line->peer, part->options.data);
    return STREAM_HELLO_BYTES;
}

/* The beginning of a message. Return: bytes taken; 0: more are needed, or it is held, or dead. */
static size_t take_head(struct stream_line *line, const uint8_t *data, size_t bytes)
{
    size_t mark = line->door->parsed.ipc;
    if (mark && bytes > 0 && data[0] != 1) {
        stream_line_end(line, "what it sends is no message");
        return 0;
    }
    if (bytes < mark + 8)
        return 0;
    uint64_t length;
    memcpy(&length, data + mark, sizeof(length));
    size_t there = bytes - mark - 8;
    return message_begins(line, be64toh(length), there) < 0 ? 0 : mark + 8;
}

/* Takes what it can of @data, and keeps the rest. */
static void take(struct stream_line *line, const uint8_t *data, size_t bytes)
{
    while (bytes > 0 || (line->arriving && line->arriving->bytes == line->arriving->have)) {
        size_t n;
        if (line->arriving) {
            n = feed(line, data, bytes);
            (void)arriving_moved(line);
        } else if (line->state == STREAM_GREETING) {
            n = take_hello(line, data, bytes);
        } else if (full(line)) {
            hold_back(line);
            break;
        } else {
            n = take_head(line, data, bytes);
        }
        if (line->state == STREAM_DEAD)
            return;
        if (n == 0 && !line->arriving)
            break; /* the rest of a head is to come */
        data += n;
        bytes -= n;
    }
    if (bytes == 0)
        return;
    if (!line->held && line->state == STREAM_OPEN && line->in_deadline_ns == CLOCK_NEVER)
        set_in_deadline(line, STREAM_MESSAGE_NS);
    line->kept = malloc(bytes);
    if (!line->kept) {
        stream_line_end(line, "there is no memory for a request");
        return;
    }
    memcpy(line->kept, data, bytes);
    line->kept_bytes = bytes;
}

static void take_kept(struct stream_line *line)
{
    _cleanup_(freep) uint8_t *kept = steal_ptr(&line->kept);
    size_t bytes = line->kept_bytes;
    line->kept_bytes = 0;
    if (bytes > 0)
        take(line, kept, bytes);
}

/* Into the message that is arriving, and scratch memory behind it. */
static ssize_t read_some(struct stream_line *line, size_t kept, size_t *ret_asked)
{
    struct stream_ask *ask = line->arriving;
    uint8_t *scratch = line->part->scratch + kept;
    struct iovec to[2];
    size_t n = 0;
    if (ask)
        to[n++] = (struct iovec){ask->data + ask->have, ask->capacity - ask->have};
    if (!ask || ask->capacity == ask->bytes)
        to[n++] = (struct iovec){scratch, STREAM_SCRATCH_BYTES - kept};
    *ret_asked = to[0].iov_len + (n > 1 ? to[1].iov_len : 0);
    if (!line->tls) {
        ssize_t got = n == 1 ? recv(line->fd, to[0].iov_base, to[0].iov_len, MSG_DONTWAIT)
                             : readv(line->fd, to, (int)n);
        return got < 0 ? -errno : got;
    }
    size_t got;
    int r = tls_session_read(line->tls, to[0].iov_base, to[0].iov_len, &got);
    if (r == TLS_E_AGAIN)
        return -EAGAIN;
    *ret_asked = 0; /* TLS may have more, without the socket being readable */
    return r == 0 ? (ssize_t)got : r == TLS_E_END ? 0 : -EPIPE;
}

/* Return: whether there may be more, which epoll will not tell of if it is TLS's. */
static bool read_once(struct stream_line *line)
{
    size_t kept = line->kept_bytes, asked;
    if (kept > 0) { /* a part of a head: it goes before what is read now */
        memcpy(line->part->scratch, line->kept, kept);
        free(line->kept);
        line->kept = NULL;
        line->kept_bytes = 0;
    }
    ssize_t n = read_some(line, kept, &asked);
    if (n == 0) {
        stream_line_end(line, "it has hung up");
        return false;
    }
    if (n < 0 && n != -EAGAIN && n != -EINTR) {
        stream_line_end(line, "it is gone");
        return false;
    }
    size_t got = n > 0 ? (size_t)n : 0, direct = 0;
    if (line->arriving && got > 0) {
        size_t rest = line->arriving->capacity - line->arriving->have;
        direct = got < rest ? got : rest;
        line->arriving->have += direct;
        if (!arriving_moved(line))
            return false;
    }
    if (kept + got - direct > 0)
        take(line, line->part->scratch, kept + got - direct);
    return n > 0 && line->state != STREAM_DEAD && !line->held && got >= asked;
}

static void read_line(struct stream_line *line)
{
    for (int i = 0; i < READS_AT_ONCE || (line->tls && tls_session_pending(line->tls)); i++)
        if (!read_once(line))
            return;
}

/* ---- States ---- */

static void say_hello(struct stream_line *line)
{
    struct stream_answer *hello;
    size_t bytes = sizeof(*hello) + STREAM_HELLO_BYTES;
    hello = stream_memory_take(&line->part->memory, bytes, bytes, &bytes);
    if (!hello) {
        stream_line_end(line, "there is no memory for a greeting");
        return;
    }
    *hello = (struct stream_answer){.bytes = STREAM_HELLO_BYTES};
    write_hello(hello->data, line->part->protocol->own);
    line->state = STREAM_GREETING;
    stream_line_send(line, hello);
}

static void secure(struct stream_line *line)
{
    struct error_text error = {""};
    int r = tls_session_handshake(line->tls, &error);
    if (r == TLS_E_AGAIN) {
        stream_line_watch(line);
        return;
    }
    if (r == 0) {
        r = tls_session_identity(line->tls, line->peer.identity);
        if (r < 0)
            (void)error_set(&error, r, "its certificate has no common name that can be used");
    }
    if (r < 0) {
        log_info("%s: %s has no TLS connection: %s", line->door->url, line->peer.text, error.text);
        stream_line_end(line, error.text);
        return;
    }
    line->peer.encrypted = true;
    say_hello(line);
}

/* Who has vanished without a word is hung up on after some half a minute: the kernel asks who is
 * silent, and gives up on what is not acknowledged. Its own times are hours and a quarter of one.
 */
static void set_up_tcp(int fd)
{
    const int on = 1, idle_s = STREAM_SILENT_S / 2, between_s = STREAM_SILENT_S / 6, probes = 3,
              unread_ms = STREAM_SILENT_S * 1000;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between_s, sizeof(between_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unread_ms, sizeof(unread_ms));
}

static void connected(struct stream_line *line)
{
    if (!line->door->parsed.ipc)
        set_up_tcp(line->fd);
    if (!line->door->tls) {
        say_hello(line);
        return;
    }
    if (tls_session_new(line->door->tls, line->fd, &line->tls) < 0) {
        stream_line_end(line, "there is no memory for TLS");
        return;
    }
    line->state = STREAM_SECURING;
    secure(line);
}

static void connecting(struct stream_line *line)
{
    int r = 0;
    socklen_t bytes = sizeof(r);
    if (getsockopt(line->fd, SOL_SOCKET, SO_ERROR, &r, &bytes) < 0 || r != 0) {
        line->door->error = -(r ? r : errno);
        stream_line_end(line, strerror(-line->door->error));
        return;
    }
    stream_line_describe(line);
    connected(line);
}

static struct stream_line *oldest_stranger(const struct stream_part *part)
{
    struct stream_line *found = NULL;
    for (struct stream_line *line = part->lines; line; line = line->next)
        if (line->state != STREAM_OPEN && line->door->line != line)
            found = line;
    return found;
}

int stream_line_new(struct stream_door *door, int fd, bool is_connected)
{
    struct stream_part *part = door->part;
    struct stream_line *line = calloc(1, sizeof(*line));
    if (!line) {
        fd_close(fd);
        return -ENOMEM;
    }
    *line = (struct stream_line){.kind = STREAM_LINE,
                                 .state = STREAM_CONNECTING,
                                 .part = part,
                                 .door = door,
                                 .fd = fd,
                                 .references = 1,
                                 .in_deadline_ns = CLOCK_NEVER,
                                 .out_deadline_ns = CLOCK_NEVER};
    line->last = &line->first;
    line->events = is_connected ? EPOLLIN : EPOLLOUT;
    struct epoll_event event = {.events = line->events | EPOLLRDHUP, .data.ptr = line};
    if (epoll_ctl(part->set, EPOLL_CTL_ADD, fd, &event) < 0) {
        int r = -errno;
        fd_close(fd);
        free(line);
        return r;
    }
    if (part->hello_count >= part->hellos_max) {
        struct stream_line *stranger = oldest_stranger(part);
        if (stranger)
            stream_line_end(stranger, "too many have not greeted yet");
    }
    list_add(&part->lines, line);
    part->line_count++;
    part->hello_count++;
    set_in_deadline(line, STREAM_HELLO_NS);
    if (door->parsed.ipc || is_connected)
        stream_line_describe(line);
    if (is_connected)
        connected(line);
    return 0;
}

void stream_line_ready(struct stream_line *line, uint32_t events)
{
    if (line->state == STREAM_DEAD)
        return;
    if (line->state == STREAM_CONNECTING) {
        connecting(line);
        return;
    }
    if (line->state == STREAM_SECURING) {
        secure(line);
        return;
    }
    if (events & EPOLLOUT) {
        if (!stream_line_flush(line))
            return;
        stream_line_release(line);
    }
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) && line->held)
        stream_line_end(line, "it has hung up");
    else if ((events & ~(uint32_t)EPOLLOUT) && !line->held)
        read_line(line);
    stream_line_watch(line);
}
