/*
 * Events: what happened, for whoever subscribes, as TOPIC '\n' and a packed Event; and the same as
 * a line in the log. A subscriber that does not keep up loses events, never holds us up.
 */
#include "broker/broker.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"

static uint64_t unix_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void send_event(struct nng_publisher *publisher, const struct event *event, const char *text)
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

    size_t topic_bytes = strlen(event->topic);
    size_t bytes = topic_bytes + 1 + parley__event__get_packed_size(&message);
    uint8_t *data = malloc(bytes);
    if (!data)
        return;
    memcpy(data, event->topic, topic_bytes);
    data[topic_bytes] = '\n';
    parley__event__pack(&message, data + topic_bytes + 1);
    int r = nng_publisher_send(publisher, data, bytes);
    if (r < 0)
        log_debug("an event was not published: %s", strerror(-r));
    free(data);
}

/* Texts quote what peers sent: it must not make lines or escape sequences of its own. */
static void clean(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
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
    log_write(strcmp(event->topic, "refused") == 0 ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "%s", text);
    if (broker->publisher)
        send_event(broker->publisher, event, text);
}
