/*
 * The fake broker: one thread around the real replier and publisher of bus/control.
 *
 * PUB drops what nobody has subscribed to yet, and nothing tells a publisher that somebody has. So
 * what a test publishes is published again every few milliseconds until the end, and the test
 * counts on seeing it, not on when.
 */
#include "support/test.h"

#include "support/fake_broker.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "control/nng.h"
#include "control/publisher.h"
#include "control/replier.h"
#include "wire/wire.h"

#define PUBLISH_EVERY_MS 5
#define PUBLISHED_MAX 8

struct fake_broker {
    fake_broker_answer answer;
    void *userdata;
    char dir[32];
    char url[64], events_url[64];
    struct replier *replier;
    struct publisher *publisher;
    int stop_fd;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards the two below */
    struct {
        uint8_t *data;
        size_t bytes;
    } published[PUBLISHED_MAX];
    size_t published_count;
};

static pthread_mutex_t answering = PTHREAD_MUTEX_INITIALIZER;

void fake_broker_settle(void)
{
    pthread_mutex_lock(&answering);
    pthread_mutex_unlock(&answering);
}

static void answer_request(struct fake_broker *broker, struct replier_request *request,
                           const uint8_t *data, size_t bytes)
{
    struct fake_answer answer = {.silent = broker->answer == NULL};
    ProtobufCMessage *message = NULL;
    uint8_t *packed = NULL;
    pthread_mutex_lock(&answering);
    if (broker->answer &&
        wire_unpack(&parley__control_request__descriptor, data, bytes, NULL, &message, NULL) == 0)
        broker->answer(broker->userdata, (Parley__ControlRequest *)message, &answer);
    if (answer.reply) {
        answer.bytes = protobuf_c_message_get_packed_size(&answer.reply->base);
        packed = malloc(answer.bytes + 1);
        protobuf_c_message_pack(&answer.reply->base, packed);
        answer.data = packed;
    }
    pthread_mutex_unlock(&answering);
    if (answer.silent)
        replier_drop(request);
    else
        replier_answer(request, answer.data, answer.bytes);
    free(packed);
    wire_free(message);
}

static void publish(struct fake_broker *broker)
{
    pthread_mutex_lock(&broker->mutex);
    for (size_t i = 0; i < broker->published_count; i++)
        publisher_send(broker->publisher, broker->published[i].data, broker->published[i].bytes);
    pthread_mutex_unlock(&broker->mutex);
}

static void *serve(void *userdata)
{
    struct fake_broker *broker = userdata;
    for (;;) {
        struct pollfd fds[] = {
            {.fd = broker->stop_fd, .events = POLLIN},
            {.fd = replier_fd(broker->replier), .events = POLLIN},
            {.fd = publisher_fd(broker->publisher), .events = POLLIN},
        };
        poll(fds, 3, PUBLISH_EVERY_MS);
        if (fds[0].revents)
            return NULL;
        publisher_turn(broker->publisher);
        publish(broker);
        struct replier_request *request;
        const uint8_t *data;
        size_t bytes;
        while (replier_receive(broker->replier, &request, &data, &bytes) == 0)
            answer_request(broker, request, data, bytes);
    }
}

struct fake_broker *fake_broker_new(fake_broker_answer answer, void *userdata)
{
    struct fake_broker *broker = calloc(1, sizeof(*broker));
    struct error_text error = {.text = ""};
    assert_non_null(broker);
    broker->answer = answer;
    broker->userdata = userdata;
    pthread_mutex_init(&broker->mutex, NULL);
    strcpy(broker->dir, "/tmp/parley-fake-XXXXXX");
    assert_non_null(mkdtemp(broker->dir));
    snprintf(broker->url, sizeof(broker->url), "ipc://%s/control.ipc", broker->dir);
    snprintf(broker->events_url, sizeof(broker->events_url), "ipc://%s/events.ipc", broker->dir);
    const char *url = broker->url, *events_url = broker->events_url;
    const struct replier_options options = {
        .urls = &url, .url_count = 1, .bytes_max = NNG_REQUEST_BYTES_MAX};
    const struct publisher_options events = {.urls = &events_url, .url_count = 1};
    if (replier_new(&options, &broker->replier, &error) != 0 ||
        publisher_new(&events, &broker->publisher, &error) != 0)
        fail_msg("the fake broker cannot start: %s", error.text);
    broker->stop_fd = eventfd(0, EFD_CLOEXEC);
    assert_true(broker->stop_fd >= 0);
    assert_int_equal(pthread_create(&broker->thread, NULL, serve, broker), 0);
    return broker;
}

struct fake_broker *fake_broker_free(struct fake_broker *broker)
{
    uint64_t one = 1;
    if (!broker)
        return NULL;
    assert_int_equal(write(broker->stop_fd, &one, sizeof(one)), sizeof(one));
    pthread_join(broker->thread, NULL);
    replier_free(broker->replier);
    publisher_free(broker->publisher);
    close(broker->stop_fd);
    unlink(broker->url + strlen("ipc://"));
    unlink(broker->events_url + strlen("ipc://"));
    rmdir(broker->dir);
    pthread_mutex_destroy(&broker->mutex);
    for (size_t i = 0; i < broker->published_count; i++)
        free(broker->published[i].data);
    free(broker);
    return NULL;
}

const char *fake_broker_url(const struct fake_broker *broker)
{
    return broker->url;
}

const char *fake_broker_events_url(const struct fake_broker *broker)
{
    return broker->events_url;
}

void fake_broker_publish(struct fake_broker *broker, const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes + 1);
    assert_non_null(copy);
    memcpy(copy, data, bytes);
    pthread_mutex_lock(&broker->mutex);
    assert_true(broker->published_count < PUBLISHED_MAX);
    broker->published[broker->published_count].data = copy;
    broker->published[broker->published_count++].bytes = bytes;
    pthread_mutex_unlock(&broker->mutex);
}
