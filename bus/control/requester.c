/*
 * A requester: a door and lines of the stream backend (replier_stream.c has the essay), of which
 * one, the first that is let in, is given requests. Its answers have the form that requests to a
 * replier have, a word and a body, so that they come through the same queue.
 *
 * The queue is emptied before more is read, so that it holds no more than one reading brings; and
 * `gone` waits until it is empty.
 */
#include "control/requester.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/stream.h"

#define CONNECTIONS_MAX (REQUESTER_STRANGERS_MAX + 2)
#define REQUEST_BIT UINT32_C(0x80000000) /* marks the last word of SP's way back */

struct requester {
    struct requester_options options; /* only callbacks are valid */
    struct stream_part *part;
    struct stream_line *line; /* who was let in; NULL: nobody is there */
    bool replaceable;         /* ... by who comes next */
    bool ending;              /* who was there has gone; `gone` has not run yet */
    struct stream_answer *outgoing;
    struct stream_ask *incoming;
};

static struct stream_line *line_of(const struct replier_peer *peer)
{
    return (struct stream_line *)((uintptr_t)peer - offsetof(struct stream_line, peer));
}

static void on_came(const struct replier_peer *peer, void *data)
{
    struct requester *requester = data;
    struct stream_line *line = line_of(peer);
    struct stream_line *before = requester->line;
    if ((before && !requester->replaceable) || requester->ending) {
        stream_line_end(line, "somebody else is there already");
        return;
    }
    requester->replaceable = false;
    if (!requester->options.came(peer, requester->options.data)) {
        stream_line_end(line, "it is not who is expected");
        requester->replaceable = before != NULL;
        return;
    }
    if (before)
        stream_line_end(before, "another came in its place");
    requester->line = line;
}

void requester_replaceable(struct requester *requester, bool yes)
{
    requester->replaceable = yes;
}

void requester_hang_up(struct requester *requester)
{
    struct stream_line *line = steal_ptr(&requester->line);
    if (line)
        stream_line_end(line, "it is not who is expected");
}

static void on_gone(uint64_t connection, void *data)
{
    struct requester *requester = data;
    if (!requester->line || requester->line->peer.connection != connection)
        return;
    requester->line = NULL;
    requester->ending = true;
}

int requester_new(const struct requester_options *options, struct requester **ret_requester,
                  struct error_text *error)
{
    struct requester *requester = calloc(1, sizeof(*requester));
    if (!requester)
        return error_set(error, -ENOMEM, "out of memory");
    requester->options = *options;
    const struct replier_options stream = {
        .urls = &options->url,
        .url_count = 1,
        .bytes_max = options->bytes_max,
        .connections_max = CONNECTIONS_MAX,
        .unanswered_max = UINT32_MAX, /* the queue is emptied first */
        .tls = options->tls,
        .mode = options->mode,
        .came = on_came,
        .gone = on_gone,
        .data = requester,
    };
    int r = stream_part_new(&stream_req, &stream, &requester->part, error);
    if (r < 0) {
        free(requester);
        return r;
    }
    requester->part->hellos_max = REQUESTER_STRANGERS_MAX;
    *ret_requester = requester;
    return 0;
}

static void end_incoming(struct requester *requester)
{
    if (requester->incoming)
        stream_ask_end(steal_ptr(&requester->incoming));
}

struct requester *requester_free(struct requester *requester)
{
    if (!requester)
        return NULL;
    end_incoming(requester);
    stream_memory_give(&requester->part->memory, requester->outgoing);
    stream_part_free(requester->part);
    free(requester);
    return NULL;
}

int requester_fd(const struct requester *requester)
{
    return requester->part->set;
}

uint64_t requester_next_deadline_ns(const struct requester *requester)
{
    return requester->ending ? 0 : stream_part_next_ns(requester->part);
}

const char *requester_url(const struct requester *requester)
{
    return requester->part->doors[0].url;
}

bool requester_connected(const struct requester *requester)
{
    return requester->line && requester->line->state == STREAM_OPEN;
}

int requester_turn(struct requester *requester)
{
    if (requester->part->first)
        return 0;
    int r = stream_part_turn(requester->part);
    if (requester->ending && !requester->part->first) {
        requester->ending = false;
        requester->options.gone(requester->options.data);
    }
    return r;
}

int requester_send_begin(struct requester *requester, size_t bytes, uint8_t **ret_data)
{
    return stream_message_room(requester->part, &requester->outgoing, bytes, ret_data);
}

int requester_send_end(struct requester *requester, size_t bytes, uint32_t request)
{
    struct stream_line *line = requester->line;
    const uint32_t word = htobe32(request | REQUEST_BIT);
    if (!requester_connected(requester) ||
        (line->first && line->out_bytes + bytes > STREAM_OUT_BYTES_HOLD))
        return REQUESTER_E_AGAIN;
    stream_message_send(line, steal_ptr(&requester->outgoing), (const uint8_t *)&word, sizeof(word),
                        bytes);
    return 0;
}

int requester_receive(struct requester *requester, uint32_t *ret_request, const uint8_t **ret_data,
                      size_t *ret_bytes)
{
    uint32_t word;
    end_incoming(requester);
    struct stream_ask *ask = stream_part_pop(requester->part);
    if (!ask)
        return REQUESTER_E_AGAIN;
    requester->incoming = ask;
    memcpy(&word, ask->data, sizeof(word));
    *ret_request = be32toh(word) & ~REQUEST_BIT;
    *ret_data = ask->data + ask->way_bytes;
    *ret_bytes = ask->bytes - ask->way_bytes;
    return 0;
}
