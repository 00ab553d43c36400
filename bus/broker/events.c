/*
 * Events: what happened, for whoever subscribes, as TOPIC '\n' and a packed Event, and once more as
 * "json." TOPIC '\n' and JSON; and the same as a line in the log. A subscriber that does not keep
 * up loses events, never holds us up.
 *
 * The last ones are kept, packed, for who comes later: EVENTS_KEPT_MAX, and EVENTS_KEPT_BYTES_MAX
 * of them, whichever is less, for some texts quote what peers sent. Each has a sequence, so that
 * who has seen some asks for those behind it only.
 */
#include "broker/broker.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/log.h"
#include "broker/subscribers.h"
#include "report/report.h"
#include "wire/wire.h"

static uint64_t unix_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ---- Keeping ---- */

struct event_kept {
    uint64_t sequence;
    size_t topic_bytes; /* with the newline: the packed Event is behind it */
    size_t bytes;       /* of `data` */
    uint8_t data[];
};

static struct event_kept **kept_at(struct events *events, uint64_t sequence)
{
    return &events->kept[sequence % EVENTS_KEPT_MAX];
}

static void drop_oldest(struct events *events)
{
    struct event_kept **oldest = kept_at(events, events->last - events->count + 1);
    events->bytes -= (*oldest)->bytes;
    free(*oldest);
    *oldest = NULL;
    events->count--;
}

/* Takes it over. */
static void keep(struct events *events, struct event_kept *event)
{
    while (events->count > 0 && (events->count == EVENTS_KEPT_MAX ||
                                 events->bytes + event->bytes > EVENTS_KEPT_BYTES_MAX))
        drop_oldest(events);
    events->last = event->sequence;
    events->bytes += event->bytes;
    events->count++;
    *kept_at(events, event->sequence) = event;
}

void events_deinit(struct events *events)
{
    while (events->count > 0)
        drop_oldest(events);
}

/* ---- Publishing ---- */

/* For who has no protobuf: the topic with "json." before it, and the event as JSON. */
static void publish_json(struct broker *broker, const Parley__Event *event)
{
    json_t *object = report_event(event);
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    char *message = NULL;
    int bytes = text ? asprintf(&message, EVENTS_JSON "%s\n%s", event->topic, text) : -1;
    if (bytes > 0)
        subscribers_send(broker, message, (size_t)bytes);
    if (bytes >= 0)
        free(message);
    free(text);
    json_decref(object);
}

/* NULL: no memory. */
static struct event_kept *pack(struct broker *broker, const struct event *event, const char *text,
                               uint64_t sequence)
{
    Parley__Event message = PARLEY__EVENT__INIT;
    message.topic = (char *)(uintptr_t)event->topic;
    message.has_time_unix_ns = true;
    message.time_unix_ns = unix_now_ns();
    message.interface = (char *)(uintptr_t)event->interface;
    message.version = (char *)(uintptr_t)event->version;
    message.text = (char *)(uintptr_t)text;
    message.has_instance_id = event->instance_id != 0;
    message.instance_id = event->instance_id;
    message.has_pid = event->pid != 0;
    message.pid = (uint32_t)event->pid;
    message.has_sequence = true;
    message.sequence = sequence;
    message.program = event->program && *event->program ? (char *)(uintptr_t)event->program : NULL;
    if (event->who) {
        message.has_uid = true;
        message.uid = event->who->uid;
        message.has_gid = event->who->gid != (gid_t)-1;
        message.gid = event->who->gid;
    }

    size_t topic_bytes = strlen(event->topic);
    size_t bytes = topic_bytes + 1 + parley__event__get_packed_size(&message);
    struct event_kept *kept = malloc(sizeof(*kept) + bytes);
    if (!kept)
        return NULL;
    *kept = (struct event_kept){sequence, topic_bytes + 1, bytes};
    memcpy(kept->data, event->topic, topic_bytes);
    kept->data[topic_bytes] = '\n';
    parley__event__pack(&message, kept->data + topic_bytes + 1);
    if (broker->subscribers)
        publish_json(broker, &message);
    return kept;
}

static void publish(struct broker *broker, const struct event *event, const char *text)
{
    struct event_kept *kept = pack(broker, event, text, broker->events.last + 1);
    if (!kept)
        return;
    if (broker->subscribers)
        subscribers_send(broker, kept->data, kept->bytes);
    keep(&broker->events, kept);
}

/* Texts quote what peers sent: it must not make lines or escape sequences of its own, and what was
 * cut in the middle of a letter is no text. */
static void clean(char *text)
{
    bool utf8 = wire_check_utf8((const uint8_t *)text, strlen(text)) == 0;
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f || (!utf8 && (unsigned char)*text > 0x7f))
            *text = '?';
}

void event_publish(struct broker *broker, const struct event *event, const char *format, ...)
{
    char text[ERROR_TEXT_BYTES_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    clean(text);
    bool bad =
        strcmp(event->topic, "refused") == 0 || strcmp(event->topic, "rollout.rollback") == 0;
    if (!event->quiet)
        log_write(bad ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "%s", text);
    publish(broker, event, text);
}

/* ---- Telling later ---- */

int events_since(const struct events *events, uint64_t since, struct events_list *ret_list)
{
    *ret_list = (struct events_list){.items = calloc(events->count + 1, sizeof(Parley__Event *))};
    if (!ret_list->items)
        return -ENOMEM;
    uint64_t gone = events->last - events->count; /* the last that is not kept */
    for (uint64_t i = since > gone ? since : gone; i < events->last;) {
        const struct event_kept *event = events->kept[++i % EVENTS_KEPT_MAX];
        ProtobufCMessage *message;
        int r = wire_unpack(&parley__event__descriptor, event->data + event->topic_bytes,
                            event->bytes - event->topic_bytes, NULL, &message, NULL);
        if (r < 0) {
            events_list_free(ret_list);
            return r;
        }
        ret_list->items[ret_list->count++] = (Parley__Event *)message;
    }
    return 0;
}

void events_list_free(struct events_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        wire_free(list->items[i]);
    free(list->items);
    *list = (struct events_list){0};
}

char *events_json(const struct broker *broker, uint64_t since)
{
    struct events_list list;
    if (events_since(&broker->events, since, &list) < 0)
        return NULL;
    json_t *root = json_object(), *events = json_array();
    for (size_t i = 0; i < list.count; i++)
        json_array_append_new(events, report_event(list.items[i]));
    events_list_free(&list);
    json_object_set_new(root, "broker", json_sprintf("%016" PRIx64, broker->id));
    json_object_set_new(root, "last", json_integer((json_int_t)broker->events.last));
    json_object_set_new(root, "events", events);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

int control_events(struct broker *broker, const Parley__EventsRequest *request,
                   Parley__ControlReply *reply, uint8_t **ret_data, size_t *ret_bytes)
{
    Parley__EventsReply events = PARLEY__EVENTS_REPLY__INIT;
    struct events_list list;
    int r = events_since(&broker->events, request->since, &list);
    if (r < 0)
        return r;
    events.has_broker_id = events.has_last = true;
    events.broker_id = broker->id;
    events.last = broker->events.last;
    events.n_event = list.count;
    events.event = list.items;
    reply->body_case = PARLEY__CONTROL_REPLY__BODY_EVENTS;
    reply->events = &events;
    r = control_pack(reply, ret_data, ret_bytes);
    events_list_free(&list);
    return r;
}
