/*
 * Who listens to events: SUB sockets, on our own stream (control/publisher.h).
 *
 * Every event goes to each of them; it picks by the topic itself. One that reads too slowly loses
 * what its queue has no room for, and is counted; one that reads nothing at all is hung up on. We
 * never wait for one.
 *
 * To listen is to look, so the policy is asked of who comes, and again when it has changed: the
 * kernel says who it is, or a certificate; by tcp:// it is nobody in particular. A refusal is an
 * event itself, which must not be sent while the publisher walks over its lines: so who has come is
 * looked at when its turn is over, before anything is sent.
 */
#include "broker/subscribers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "broker/guard.h"

enum subscriber_state {
    SUBSCRIBER_NEW,
    SUBSCRIBER_FINE,
    SUBSCRIBER_REFUSED, /* hung up on */
    SUBSCRIBER_TOLD,    /* and that has been told to the others */
};

struct subscriber {
    LIST_ENTRY(subscriber) entry;
    enum subscriber_state state;
    struct replier_peer peer;
};

struct subscribers {
    struct source source; /* first */
    struct broker *broker;
    struct publisher *publisher;
    LIST_HEAD(, subscriber) all;
};

/* ---- Coming and going: in publisher_turn() ---- */

static void on_came(const struct replier_peer *peer, void *data)
{
    struct subscribers *subscribers = data;
    struct subscriber *subscriber = malloc(sizeof(*subscriber));
    if (!subscriber) {
        publisher_hang_up(subscribers->publisher, peer->connection);
        return;
    }
    *subscriber = (struct subscriber){.peer = *peer};
    LIST_INSERT_HEAD(&subscribers->all, subscriber, entry);
}

static void on_gone(uint64_t connection, void *data)
{
    struct subscribers *subscribers = data;
    struct subscriber *subscriber;
    LIST_FOREACH (subscriber, &subscribers->all, entry) {
        if (subscriber->peer.connection == connection)
            break;
    }
    if (subscriber)
        LIST_REMOVE(subscriber, entry);
    free(subscriber);
}

/* ---- Who may ---- */

/* That somebody is refused is an event, which it must not hear: so all of them are hung up on
 * first. That frees none, for they leave in a later turn. @anew: also those that have been looked
 * at. */
static void look(struct subscribers *subscribers, bool anew)
{
    const struct policy *policy = subscribers->broker->policy;
    struct subscriber *subscriber;
    struct error_text why;
    bool any = false;
    LIST_FOREACH (subscriber, &subscribers->all, entry) {
        if (subscriber->state != SUBSCRIBER_NEW && !(anew && subscriber->state == SUBSCRIBER_FINE))
            continue;
        subscriber->state = SUBSCRIBER_FINE;
        if (policy_allows(policy, &subscriber->peer, POLICY_LOOK, NULL, &why))
            continue;
        subscriber->state = SUBSCRIBER_REFUSED;
        publisher_hang_up(subscribers->publisher, subscriber->peer.connection);
        any = true;
    }
    for (subscriber = any ? LIST_FIRST(&subscribers->all) : NULL; subscriber;
         subscriber = LIST_NEXT(subscriber, entry)) {
        if (subscriber->state != SUBSCRIBER_REFUSED)
            continue;
        subscriber->state = SUBSCRIBER_TOLD;
        (void)guard_allows(subscribers->broker, &subscriber->peer, POLICY_LOOK, NULL, NULL, &why);
    }
}

void subscribers_review(struct broker *broker)
{
    if (broker->subscribers)
        look(broker->subscribers, true);
}

/* ---- The loop ---- */

static void turn(struct subscribers *subscribers)
{
    int r = publisher_turn(subscribers->publisher);
    if (r < 0)
        log_error("the sockets of events: %s", strerror(-r));
    look(subscribers, false);
}

static void on_ready(struct source *source, uint32_t events)
{
    (void)events;
    turn((struct subscribers *)source); /* its first member */
}

uint64_t subscribers_next_ns(const struct broker *broker)
{
    return broker->subscribers ? publisher_next_deadline_ns(broker->subscribers->publisher)
                               : CLOCK_NEVER;
}

void subscribers_turn(struct broker *broker, uint64_t now_ns)
{
    if (subscribers_next_ns(broker) <= now_ns)
        turn(broker->subscribers);
}

void subscribers_send(struct broker *broker, const void *data, size_t bytes)
{
    int r = publisher_send(broker->subscribers->publisher, data, bytes);
    if (r < 0)
        log_debug("an event was not published to all: %s", strerror(-r));
}

/* ---- Life ---- */

int subscribers_open(struct broker *broker, const struct broker_options *options,
                     struct error_text *error)
{
    struct subscribers *subscribers = calloc(1, sizeof(*subscribers));
    if (!subscribers)
        return error_set(error, -ENOMEM, "out of memory");
    subscribers->source.ready = on_ready;
    subscribers->broker = broker;
    LIST_INIT(&subscribers->all);
    const struct publisher_options publisher = {
        .urls = options->event_urls,
        .url_count = options->event_url_count,
        .tls = options->tls.certificate ? &options->tls : NULL,
        .mode = options->socket_mode,
        .came = on_came,
        .gone = on_gone,
        .data = subscribers,
    };
    int r = publisher_new(&publisher, &subscribers->publisher, error);
    if (r == 0) {
        r = broker_watch(broker, publisher_fd(subscribers->publisher), WAIT_IN,
                         &subscribers->source);
        if (r < 0)
            error_set(error, r, "cannot wait for subscribers: %s", strerror(-r));
    }
    if (r < 0) {
        publisher_free(subscribers->publisher);
        free(subscribers);
        return r;
    }
    broker->subscribers = subscribers;
    return 0;
}

void subscribers_close(struct broker *broker)
{
    struct subscribers *subscribers = broker->subscribers;
    if (!subscribers)
        return;
    broker->subscribers = NULL; /* what happens from now on nobody hears */
    broker_unwatch(broker, publisher_fd(subscribers->publisher), &subscribers->source);
    publisher_free(subscribers->publisher);
    struct subscriber *subscriber;
    while ((subscriber = LIST_FIRST(&subscribers->all)) != NULL) {
        LIST_REMOVE(subscriber, entry);
        free(subscriber);
    }
    free(subscribers);
}

const char *subscribers_url(const struct broker *broker, size_t index)
{
    return broker->subscribers ? publisher_url(broker->subscribers->publisher, index) : NULL;
}

void subscribers_counts(const struct broker *broker, struct publisher_counts *ret)
{
    *ret = (struct publisher_counts){0};
    if (broker->subscribers)
        publisher_counts(broker->subscribers->publisher, ret);
}
