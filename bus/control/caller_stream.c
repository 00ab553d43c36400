/*
 * The caller's backend on sockets of our own: one door of the stream backend that dials
 * (replier_stream.c has the essay), and the line that it has now. No thread but the caller's.
 * Answers have the form that requests to a replier have, a word and a body, and come through the
 * same queue, which is emptied before more is read; `gone` waits until it is empty.
 *
 * What was not sent when a line ends goes with the line, so nothing is sent late on the next.
 *
 * fork(2): a child closes its copies of the descriptors, and no more. Who ends a line says goodbye
 * by TLS, and takes it out of the epoll set: both are the parent's, too. The memory is left.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fork.h"
#include "control/caller_ops.h"
#include "control/stream.h"

#define REQUEST_BIT UINT32_C(0x80000000) /* marks the last word of SP's way back */

struct stream_caller {
    struct caller caller;
    struct caller_options options; /* only callbacks are valid */
    uint32_t generation;           /* of fork(2) */
    struct stream_part *part;
    struct stream_line *line; /* NULL: none has greeted */
    bool ending;              /* it has ended; `gone` has not run yet */
    struct stream_answer *outgoing;
    struct stream_ask *incoming;
    char problem[256];
};

static struct stream_caller *stream_of(const struct caller *base)
{
    return (struct stream_caller *)(uintptr_t)base;
}

static void on_came(const struct replier_peer *peer, void *data)
{
    struct stream_caller *caller = data;
    caller->line = caller->part->doors[0].line;
    caller->problem[0] = '\0';
    if (caller->options.came)
        caller->options.came(peer, caller->options.data);
}

static void on_gone(uint64_t connection, void *data)
{
    struct stream_caller *caller = data;
    struct stream_door *door = &caller->part->doors[0];
    (void)connection;
    caller->line = NULL;
    caller->ending = true;
    door->why[0] = '\0';
    (void)snprintf(caller->problem, sizeof(caller->problem), "%.128s: the connection was lost",
                   door->url);
}

static int stream_new(const struct caller_options *options, struct caller **ret_caller,
                      struct error_text *error)
{
    struct stream_caller *caller = calloc(1, sizeof(*caller));
    if (!caller)
        return error_set(error, -ENOMEM, "out of memory");
    caller->options = *options;
    caller->generation = fork_generation();
    const struct replier_options stream = {
        .urls = &options->url,
        .url_count = 1,
        .dial = true,
        .bytes_max = options->bytes_max,
        .connections_max = 1,
        .unanswered_max = UINT32_MAX, /* the queue is emptied first */
        .gather = options->gather,
        .tls = options->tls,
        .came = on_came,
        .gone = on_gone,
        .data = caller,
    };
    int r = stream_part_new(&stream_req, &stream, &caller->part, error);
    if (r < 0) {
        free(caller);
        return r;
    }
    *ret_caller = &caller->caller;
    return 0;
}

static void end_incoming(struct stream_caller *caller)
{
    if (caller->incoming)
        stream_ask_end(steal_ptr(&caller->incoming));
}

static void stream_free(struct caller *base)
{
    struct stream_caller *caller = stream_of(base);
    if (caller->generation == fork_generation()) {
        end_incoming(caller);
        stream_memory_give(&caller->part->memory, caller->outgoing);
        stream_part_free(caller->part);
    } else {
        for (struct stream_line *line = caller->part->lines; line; line = line->next)
            fd_close(line->fd);
        if (caller->part->doors[0].lookup)
            fd_close(stream_lookup_fd(caller->part->doors[0].lookup));
        fd_close(caller->part->set);
    }
    free(caller);
}

static int stream_fd(const struct caller *base)
{
    return stream_of(base)->part->set;
}

static uint64_t stream_next_deadline_ns(const struct caller *base)
{
    const struct stream_caller *caller = stream_of(base);
    return caller->ending ? 0 : stream_part_next_ns(caller->part);
}

static bool stream_connected(const struct caller *base)
{
    const struct stream_caller *caller = stream_of(base);
    return caller->line && caller->line->state == STREAM_OPEN;
}

static const char *stream_problem(const struct caller *base)
{
    struct stream_caller *caller = stream_of(base);
    const struct stream_door *door = &caller->part->doors[0];
    const char *advice = "";
    if (caller->line || !door->why[0])
        return caller->problem;
    if (door->error == -ECONNREFUSED || door->error == -ENOENT)
        advice = ": is parleyd running, with that URL?";
    else if (door->error == -EHOSTUNREACH)
        advice = ": check the host's name";
    (void)snprintf(caller->problem, sizeof(caller->problem), "cannot connect to %.90s: %.100s%s",
                   door->url, door->why, advice);
    return caller->problem;
}

static void stream_hang_up(struct caller *base)
{
    struct stream_caller *caller = stream_of(base);
    if (caller->line)
        stream_line_end(caller->line, "it seems dead, or is no bus");
}

static void stream_turn(struct caller *base)
{
    struct stream_caller *caller = stream_of(base);
    if (caller->part->first)
        return;
    stream_flush(caller->part);
    (void)stream_part_turn(caller->part);
    if (caller->ending && !caller->part->first) {
        caller->ending = false;
        if (caller->options.gone)
            caller->options.gone(caller->options.data);
    }
}

static int stream_send_begin(struct caller *base, size_t bytes, uint8_t **ret_data)
{
    struct stream_caller *caller = stream_of(base);
    return stream_message_room(caller->part, &caller->outgoing, bytes, ret_data);
}

static int stream_send_end(struct caller *base, size_t bytes, uint32_t request)
{
    struct stream_caller *caller = stream_of(base);
    struct stream_line *line = caller->line;
    const uint32_t word = htobe32(request | REQUEST_BIT);
    if (line && line->unsent && line->out_bytes + bytes > STREAM_OUT_BYTES_HOLD)
        stream_flush(caller->part); /* else nothing would tell that there is room */
    if (!stream_connected(base) || (line->first && line->out_bytes + bytes > STREAM_OUT_BYTES_HOLD))
        return CALLER_E_AGAIN;
    stream_message_send(line, steal_ptr(&caller->outgoing), (const uint8_t *)&word, sizeof(word),
                        bytes);
    return 0;
}

static void flush_requests(struct caller *base)
{
    stream_flush(stream_of(base)->part);
}

static int stream_receive(struct caller *base, uint32_t *ret_request, const uint8_t **ret_data,
                          size_t *ret_bytes)
{
    struct stream_caller *caller = stream_of(base);
    uint32_t word;
    end_incoming(caller);
    struct stream_ask *ask = stream_part_pop(caller->part);
    if (!ask)
        return CALLER_E_AGAIN;
    caller->incoming = ask;
    memcpy(&word, ask->data, sizeof(word));
    *ret_request = be32toh(word) & ~REQUEST_BIT;
    *ret_data = ask->data + ask->way_bytes;
    *ret_bytes = ask->bytes - ask->way_bytes;
    return 0;
}

const struct caller_ops caller_stream_ops = {
    .name = "stream",
    .new = stream_new,
    .free = stream_free,
    .fd = stream_fd,
    .next_deadline_ns = stream_next_deadline_ns,
    .connected = stream_connected,
    .problem = stream_problem,
    .hang_up = stream_hang_up,
    .turn = stream_turn,
    .send_begin = stream_send_begin,
    .send_end = stream_send_end,
    .flush = flush_requests,
    .receive = stream_receive,
};
