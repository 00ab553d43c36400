/*
 * The replier on sockets of our own: SP's REP side over ipc, tcp and tls+tcp, as libnng's peers
 * speak it.
 *
 * What it has that libnng has not: no thread but the caller's, so a request costs no hand-over and
 * two system calls; an asker that does not read, or asks for too much at once, is read no further
 * until it has caught up; certificates name who asks; every step of a stranger has a deadline.
 *
 * On the wire (docs/PROTOCOL.md): both sides send a greeting of 8 bytes, which says what they are;
 * then messages, each with its length before it, on ipc with a byte 1 before that. A request begins
 * with its way back, words of 4 bytes of which the last has the top bit set; its answer repeats it.
 *
 * replier_stream.c is the table and the loop, stream_door.c has where connections come from,
 * stream_line.c what they say, stream_out.c what is said to them. All descriptors are in one epoll
 * set, level-triggered: what is not read at once is told again. A loop that watches the set
 * edge-triggered, as the broker's does, is not told again: so another turn is due until one has
 * found nothing (`more`). Lines that end while events are being handed out stay in memory until the
 * last one is, and requests keep their line for as long as they are unanswered.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/random.h"
#include "control/stream.h"

#define EVENTS_AT_ONCE 64

/* ---- Life ---- */

struct stream_part *stream_part_free(struct stream_part *part)
{
    if (!part)
        return NULL;
    part->options.gone = NULL; /* nobody is told any more */
    for (struct stream_ask *ask = part->first, *next; ask; ask = next) {
        next = ask->next;
        stream_line_unref(ask->line);
        stream_ask_free(part, ask);
    }
    stream_flush(part);
    while (part->lines)
        stream_line_end(part->lines, "the bus ends");
    stream_bury(part);
    for (size_t i = 0; i < part->door_count; i++)
        stream_door_close(&part->doors[i]);
    free(part->doors);
    fd_close(part->set);
    stream_memory_check(&part->memory, CLOCK_NEVER);
    free(part);
    return NULL;
}

static void part_free(struct replier_part *part)
{
    stream_part_free((struct stream_part *)part);
}

static int open_doors(struct stream_part *part, const struct replier_options *options,
                      struct error_text *error)
{
    part->set = epoll_create1(EPOLL_CLOEXEC);
    if (part->set < 0)
        return error_set(error, -errno, "cannot wait for requests: %s", strerror(errno));
    part->doors = calloc(options->url_count, sizeof(*part->doors));
    if (!part->doors)
        return error_set(error, -ENOMEM, "out of memory");
    for (size_t i = 0; i < options->url_count; i++) {
        struct stream_door *door = &part->doors[part->door_count++];
        *door = (struct stream_door){.kind = STREAM_DOOR, .part = part, .fd = -1};
        int r = stream_door_open(door, options, options->urls[i], error);
        if (r < 0)
            return r;
    }
    return 0;
}

int stream_part_new(const struct stream_protocol *protocol, const struct replier_options *options,
                    struct stream_part **ret_part, struct error_text *error)
{
    struct stream_part *part = malloc(sizeof(*part));
    if (!part)
        return error_set(error, -ENOMEM, "out of memory");
    memset(part, 0, offsetof(struct stream_part, scratch));
    part->part.ops = &replier_stream_ops;
    part->protocol = protocol;
    part->hellos_max = STREAM_HELLOS_MAX;
    part->options = *options;
    part->options.urls = NULL;
    part->options.tls = NULL;
    part->set = -1;
    part->last = &part->first;
    part->check_ns = CLOCK_NEVER;
    stream_memory_init(&part->memory);
    part->random = random_id();
    int r = open_doors(part, options, error);
    if (r < 0) {
        stream_part_free(part);
        return r;
    }
    *ret_part = part;
    return 0;
}

static int part_new(const struct replier_options *options, struct replier_part **ret_part,
                    struct error_text *error)
{
    struct stream_part *part;
    int r = stream_part_new(options->protocol == REPLIER_REP ? &stream_rep : &stream_respondent,
                            options, &part, error);
    if (r == 0)
        *ret_part = &part->part;
    return r;
}

static int part_fd(const struct replier_part *part)
{
    return ((const struct stream_part *)part)->set;
}

uint64_t stream_part_next_ns(const struct stream_part *part)
{
    if (part->first || part->dead || part->unsent || part->more)
        return 0;
    return part->check_ns < part->memory.until_ns ? part->check_ns : part->memory.until_ns;
}

static uint64_t next_deadline_ns(const struct replier_part *part)
{
    return stream_part_next_ns((const struct stream_part *)part);
}

static const char *part_url(const struct replier_part *part, size_t index)
{
    return ((const struct stream_part *)part)->doors[index].url;
}

static void part_counts(const struct replier_part *base, struct replier_counts *counts)
{
    const struct stream_part *part = (const struct stream_part *)base;
    counts->connections += part->counts.connections;
    counts->refused += part->counts.refused;
    counts->requests += part->counts.requests;
    counts->answers += part->counts.answers;
    counts->too_large += part->counts.too_large;
    counts->held_back += part->counts.held_back;
    counts->connections_now += part->line_count;
    counts->unanswered_now += part->counts.unanswered_now;
}

/* Of thousands this walks over all, but only for who misbehaves. NULL: it is gone. */
static struct stream_line *line_of(const struct replier_part *base, uint64_t connection)
{
    struct stream_line *line = ((const struct stream_part *)base)->lines;
    while (line && line->peer.connection != connection)
        line = line->next;
    return line;
}

static void hang_up(struct replier_part *base, uint64_t connection)
{
    struct stream_line *line = line_of(base, connection);
    if (line)
        stream_line_end(line, "as the bus wants");
}

static void hold(struct replier_part *base, uint64_t connection, uint64_t until_ns)
{
    struct stream_line *line = line_of(base, connection);
    if (line)
        stream_line_hold(line, until_ns);
}

/* ---- Requests ---- */

static void check(struct stream_part *part)
{
    if (part->check_ns == CLOCK_NEVER && part->memory.count == 0)
        return;
    uint64_t now = clock_now_ns();
    stream_memory_check(&part->memory, now);
    if (now < part->check_ns)
        return;
    part->check_ns = CLOCK_NEVER;
    for (struct stream_line *line = part->lines, *next; line; line = next) {
        next = line->next;
        stream_line_check(line, now);
    }
    for (size_t i = 0; i < part->door_count; i++)
        stream_door_check(&part->doors[i], now);
}

static int collect(struct stream_part *part)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    check(part);
    int n = epoll_wait(part->set, events, EVENTS_AT_ONCE, 0);
    part->more = n != 0;
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < n; i++) {
        enum stream_kind *kind = events[i].data.ptr;
        if (*kind == STREAM_DOOR)
            stream_door_ready((struct stream_door *)kind);
        else if (*kind == STREAM_LOOKUP)
            stream_door_found(kind);
        else
            stream_line_ready((struct stream_line *)kind, events[i].events);
    }
    return 0;
}

static void part_flush(struct replier_part *base)
{
    stream_flush((struct stream_part *)base);
}

int stream_part_turn(struct stream_part *part)
{
    int r = collect(part);
    stream_bury(part);
    return r;
}

struct stream_ask *stream_part_pop(struct stream_part *part)
{
    struct stream_ask *ask = part->first;
    if (!ask)
        return NULL;
    part->first = ask->next;
    if (!part->first)
        part->last = &part->first;
    return ask;
}

static int receive(struct replier_part *base, struct replier_request **ret_request,
                   const uint8_t **ret_data, size_t *ret_bytes)
{
    struct stream_part *part = (struct stream_part *)base;
    if (!part->first) {
        stream_flush(part);
        int r = collect(part);
        if (r < 0)
            return r;
    }
    stream_bury(part);
    struct stream_ask *ask = stream_part_pop(part);
    if (!ask)
        return REPLIER_E_AGAIN;
    *ret_request = &ask->request;
    *ret_data = ask->data + ask->way_bytes;
    *ret_bytes = ask->bytes - ask->way_bytes;
    return 0;
}

void stream_ask_end(struct stream_ask *ask)
{
    struct stream_line *line = ask->line;
    size_t bytes = ask->bytes;
    stream_ask_free(line->part, ask);
    line->part->counts.unanswered_now--;
    stream_line_answered(line, bytes);
    stream_line_unref(line);
}

static void drop(struct replier_request *request)
{
    stream_ask_end((struct stream_ask *)request);
}

/* ---- Messages out ---- */

int stream_message_room(struct stream_part *part, struct stream_answer **message, size_t bytes,
                        uint8_t **ret_body)
{
    struct stream_answer *answer = *message;
    if (!answer || answer->capacity < bytes) {
        const size_t before = sizeof(*answer) + STREAM_ROOM_BYTES;
        if (bytes > SIZE_MAX / 2)
            return -ENOMEM;
        size_t capacity = before + bytes;
        answer = answer ? stream_memory_grow(answer, capacity)
                        : stream_memory_take(&part->memory, capacity, capacity, &capacity);
        if (!answer)
            return -ENOMEM;
        answer->capacity = capacity - before;
        *message = answer;
    }
    *ret_body = answer->data + STREAM_ROOM_BYTES;
    return 0;
}

/* Head and way back end where the body begins. */
static void write_head(const struct stream_line *line, struct stream_answer *message,
                       const uint8_t *way, uint32_t way_bytes, size_t bytes)
{
    bool mark = line->door->parsed.ipc;
    const uint64_t length = htobe64(way_bytes + bytes);
    message->begin = (uint32_t)(STREAM_ROOM_BYTES - way_bytes - sizeof(length) - mark);
    message->bytes = mark + sizeof(length) + way_bytes + bytes;
    message->sent = 0;
    uint8_t *head = message->data + message->begin;
    if (mark)
        *head++ = 1;
    memcpy(head, &length, sizeof(length));
    if (way_bytes > 0)
        memcpy(head + sizeof(length), way, way_bytes);
}

void stream_message_send(struct stream_line *line, struct stream_answer *message,
                         const uint8_t *way, uint32_t way_bytes, size_t bytes)
{
    write_head(line, message, way, way_bytes, bytes);
    line->part->counts.answers++;
    stream_line_send(line, message);
}

static int answer_begin(struct replier_request *request, size_t bytes, uint8_t **ret_data)
{
    struct stream_ask *ask = (struct stream_ask *)request;
    return stream_message_room(ask->line->part, &ask->answer, bytes, ret_data);
}

static int answer_also(struct replier_request *request, size_t bytes)
{
    struct stream_ask *ask = (struct stream_ask *)request;
    stream_message_send(ask->line, steal_ptr(&ask->answer), ask->data, ask->way_bytes, bytes);
    return 0;
}

static int answer_end(struct replier_request *request, size_t bytes)
{
    (void)answer_also(request, bytes);
    drop(request);
    return 0;
}

static bool has_room(const struct replier_request *request, size_t bytes)
{
    return stream_line_has_room(((const struct stream_ask *)request)->line, bytes);
}

const struct replier_ops replier_stream_ops = {
    .name = "stream",
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
    .flush = part_flush,
    .answer_also = answer_also,
    .hang_up = hang_up,
    .hold = hold,
    .counts = part_counts,
};
