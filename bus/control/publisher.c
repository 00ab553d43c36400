/*
 * A publisher: the stream backend's doors and lines (replier_stream.c has the essay), by which
 * nothing comes, and each message goes to all.
 *
 * Each line has a queue of its own, and its own copy of a message: so a slow subscriber holds up
 * nobody, costs at most unread_bytes_max, and can be let go at any time. What finds no room there
 * is lost to that subscriber, as SP's PUB has it.
 */
#include "control/publisher.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control/stream.h"

struct publisher {
    struct stream_part *part;
    size_t unread_bytes_max;
    uint64_t sent, lost;
};

int publisher_new(const struct publisher_options *options, struct publisher **ret_publisher,
                  struct error_text *error)
{
    struct publisher *publisher = calloc(1, sizeof(*publisher));
    if (!publisher)
        return error_set(error, -ENOMEM, "out of memory");
    const uint32_t connections = options->connections_max;
    const size_t unread = options->unread_bytes_max;
    publisher->unread_bytes_max = unread ? unread : PUBLISHER_UNREAD_BYTES_MAX;
    const struct replier_options stream = {
        .urls = options->urls,
        .url_count = options->url_count,
        .bytes_max = 1,
        .connections_max = connections ? connections : PUBLISHER_CONNECTIONS_MAX,
        .unanswered_max = 1,
        .tls = options->tls,
        .mode = options->mode,
        .came = options->came,
        .gone = options->gone,
        .data = options->data,
    };
    int r = stream_part_new(&stream_pub, &stream, &publisher->part, error);
    if (r < 0) {
        free(publisher);
        return r;
    }
    *ret_publisher = publisher;
    return 0;
}

struct publisher *publisher_free(struct publisher *publisher)
{
    if (publisher)
        stream_part_free(publisher->part);
    free(publisher);
    return NULL;
}

int publisher_fd(const struct publisher *publisher)
{
    return publisher->part->set;
}

uint64_t publisher_next_deadline_ns(const struct publisher *publisher)
{
    return stream_part_next_ns(publisher->part);
}

const char *publisher_url(const struct publisher *publisher, size_t index)
{
    const struct stream_part *part = publisher->part;
    return index < part->door_count ? part->doors[index].url : NULL;
}

int publisher_turn(struct publisher *publisher)
{
    return stream_part_turn(publisher->part);
}

void publisher_hang_up(struct publisher *publisher, uint64_t connection)
{
    replier_stream_ops.hang_up(&publisher->part->part, connection);
}

static int send_to(struct publisher *publisher, struct stream_line *line, const uint8_t *data,
                   size_t bytes)
{
    struct stream_answer *message = NULL;
    uint8_t *body;
    if (line->first && line->out_bytes + bytes > publisher->unread_bytes_max) {
        publisher->lost++;
        return 0;
    }
    int r = stream_message_room(publisher->part, &message, bytes, &body);
    if (r < 0) {
        publisher->lost++;
        return r;
    }
    if (bytes > 0)
        memcpy(body, data, bytes);
    publisher->sent++;
    stream_message_send(line, message, NULL, 0, bytes);
    return 0;
}

int publisher_send(struct publisher *publisher, const uint8_t *data, size_t bytes)
{
    int result = 0;
    for (struct stream_line *line = publisher->part->lines, *next; line; line = next) {
        next = line->next; /* a line that turns out to be gone leaves the list */
        int r = line->state == STREAM_OPEN ? send_to(publisher, line, data, bytes) : 0;
        result = r < 0 ? r : result;
    }
    return result;
}

void publisher_counts(const struct publisher *publisher, struct publisher_counts *ret_counts)
{
    const struct replier_counts *counts = &publisher->part->counts;
    uint32_t hearing = 0;
    for (const struct stream_line *line = publisher->part->lines; line; line = line->next)
        hearing += line->state == STREAM_OPEN;
    *ret_counts = (struct publisher_counts){
        .sent = publisher->sent,
        .lost = publisher->lost,
        .connections = counts->connections,
        .refused = counts->refused,
        .connections_now = hearing,
    };
}
