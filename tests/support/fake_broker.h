/*
 * A control server that says what a test tells it to, for programs that talk to a broker.
 *
 * It runs in a thread of the test and answers on an ipc:// URL of its own. The test gives a
 * function that fills in the answer to each request: a reply, bytes that are none, or silence.
 */
#ifndef PARLEY_TESTS_SUPPORT_FAKE_BROKER_H
#define PARLEY_TESTS_SUPPORT_FAKE_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley/control.pb-c.h"

struct fake_answer {
    const Parley__ControlReply *reply; /* else: */
    const uint8_t *data;
    size_t bytes;
    bool silent; /* nothing at all: the asker has to give up by itself */
};

/* Runs in the server's thread; what it points to lives until the next call. */
typedef void (*fake_broker_answer)(void *userdata, const Parley__ControlRequest *request,
                                   struct fake_answer *ret_answer);

struct fake_broker;

/* Fails the test if it cannot start. @answer NULL: silence. */
struct fake_broker *fake_broker_new(fake_broker_answer answer, void *userdata);
/* Returns when the thread is gone. */
struct fake_broker *fake_broker_free(struct fake_broker *broker);
const char *fake_broker_url(const struct fake_broker *broker);
const char *fake_broker_events_url(const struct fake_broker *broker);
/* What this thread did before, an answer that is made from now on sees; what answers did, this
 * thread sees. A socket in between orders them as well, but no sanitizer knows. */
void fake_broker_settle(void);
/* Publishes @data every few milliseconds from now on, for subscribers that join at any time; what
 * was given before too, in order. */
void fake_broker_publish(struct fake_broker *broker, const uint8_t *data, size_t bytes);

#endif
