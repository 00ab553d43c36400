/*
 * What one connection of the stream backend is sent: answers wait in its list, and go out as many
 * at once as one system call takes, now or, if the part gathers them, at stream_flush().
 *
 * Who does not read keeps what it is sent waiting: that is bounded by its being read no more
 * (stream_line.c), by no room for further answers, and in the end by hanging up.
 */
#include <errno.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "control/stream.h"

#define ANSWERS_AT_ONCE 64 /* with one system call */

/* TLS has no writing of several pieces. */
static ssize_t write_tls(struct stream_line *line)
{
    const struct stream_answer *first = line->first;
    size_t n;
    int r = tls_session_write(line->tls, first->data + first->begin + first->sent,
                              first->bytes - first->sent, &n);
    if (r == TLS_E_AGAIN)
        return -EAGAIN;
    return r == 0 ? (ssize_t)n : -EPIPE;
}

/* As much of what waits as one system call takes. */
static ssize_t write_some(struct stream_line *line)
{
    struct iovec pieces[ANSWERS_AT_ONCE];
    size_t count = 0;
    if (line->tls)
        return write_tls(line);
    for (struct stream_answer *answer = line->first; answer && count < ANSWERS_AT_ONCE;
         answer = answer->next)
        pieces[count++] = (struct iovec){answer->data + answer->begin + answer->sent,
                                         answer->bytes - answer->sent};
    const struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
    ssize_t n = count == 1 ? send(line->fd, pieces[0].iov_base, pieces[0].iov_len,
                                  MSG_DONTWAIT | MSG_NOSIGNAL)
                           : sendmsg(line->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

static void pop_answer(struct stream_line *line)
{
    struct stream_answer *answer = line->first;
    line->out_bytes -= answer->bytes;
    line->first = answer->next;
    if (!line->first)
        line->last = &line->first;
    stream_memory_give(&line->part->memory, answer);
}

static void sent(struct stream_line *line, size_t bytes)
{
    while (bytes > 0) {
        struct stream_answer *answer = line->first;
        size_t rest = answer->bytes - answer->sent;
        if (bytes < rest) {
            answer->sent += bytes;
            return;
        }
        bytes -= rest;
        pop_answer(line);
    }
}

bool stream_line_flush(struct stream_line *line)
{
    bool moved = false;
    while (line->first) {
        ssize_t n = write_some(line);
        if (n == -EAGAIN || n == -EINTR)
            break;
        if (n < 0) {
            stream_line_end(line, "it is gone");
            return false;
        }
        moved = true;
        sent(line, (size_t)n);
    }
    if (!line->first) {
        line->out_deadline_ns = CLOCK_NEVER;
    } else if (moved || line->out_deadline_ns == CLOCK_NEVER) {
        line->out_deadline_ns = clock_add(clock_now_ns(), STREAM_UNREAD_NS);
        stream_check_at(line->part, line->out_deadline_ns);
    }
    return true;
}

/* What it has to be sent goes with what else there will be by stream_flush(). */
static void flush_later(struct stream_line *line)
{
    if (line->unsent)
        return;
    line->unsent = true;
    line->references++;
    line->unsent_next = line->part->unsent;
    line->part->unsent = line;
}

void stream_flush(struct stream_part *part)
{
    struct stream_line *line;
    while ((line = part->unsent)) {
        part->unsent = line->unsent_next;
        line->unsent = false;
        if (line->state != STREAM_DEAD && stream_line_flush(line)) {
            stream_line_release(line);
            stream_line_watch(line);
        }
        stream_line_unref(line);
    }
}

/* Before its first large answer. Not of TCP: the kernel finds out what its buffers should be,
 * unless it is told. */
static void widen(struct stream_line *line)
{
    const int bytes = STREAM_SEND_BYTES;
    if (line->wide || !line->door->parsed.ipc)
        return;
    line->wide = true;
    (void)setsockopt(line->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

static size_t out_bytes_max(const struct stream_line *line)
{
    return line->part->options.dial ? STREAM_OUT_BYTES_MAX_DIALLED : STREAM_OUT_BYTES_MAX;
}

bool stream_line_has_room(const struct stream_line *line, size_t bytes)
{
    return !line->first || line->out_bytes + bytes <= out_bytes_max(line);
}

/* Large ones are believed at once, and small ones by and by. */
static void learn_answer(struct stream_line *line, size_t bytes)
{
    if (bytes >= line->answer_bytes)
        line->answer_bytes = bytes;
    else
        line->answer_bytes -= (line->answer_bytes - bytes + 15) / 16;
}

void stream_line_send(struct stream_line *line, struct stream_answer *answer)
{
    if (line->state == STREAM_DEAD) {
        stream_memory_give(&line->part->memory, answer);
        return;
    }
    learn_answer(line, answer->bytes);
    if (!stream_line_has_room(line, answer->bytes) &&
        line->out_bytes + answer->bytes > out_bytes_max(line) + STREAM_OUT_BYTES_SHORT) {
        stream_memory_give(&line->part->memory, answer);
        stream_line_end(line, "too many answers wait for it");
        return;
    }
    if (answer->bytes >= STREAM_LARGE_BYTES)
        widen(line);
    bool stuck = line->first && !line->unsent;
    answer->next = NULL;
    *line->last = answer;
    line->last = &answer->next;
    line->out_bytes += answer->bytes;
    if (stuck)
        return; /* epoll tells when there is room */
    if (line->part->options.gather && line->state == STREAM_OPEN &&
        line->out_bytes < STREAM_OUT_BYTES_HOLD)
        flush_later(line);
    else if (stream_line_flush(line))
        stream_line_watch(line);
}
