/*
 * The endpoint's link to the broker.
 *
 * Said hello to with the statistics region, the broker answers with the route page; then every
 * service is published and every contract opened, again after each reconnection. What it sends is
 * checked before it is believed, like anybody's; a message that no broker sends ends the link, and
 * nothing else. While the link is down, channels, route page and the plans that channels hold stay
 * as they are, and a broker is looked for with jittered, growing pauses.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/random.h"
#include "rpc/offers.h"

#define LINK_BATCH_MAX 256
#define RECONNECT_NS_MIN (10 * NS_PER_MS)
#define RECONNECT_NS_MAX NS_PER_S

/* ---- The link ---- */

static void reconnect_later(struct parley_endpoint *endpoint)
{
    if (!endpoint->reconnects) {
        endpoint->reconnect_at_ns = CLOCK_NEVER;
        return;
    }
    uint32_t shift = endpoint->reconnect_attempt < 7 ? endpoint->reconnect_attempt : 7;
    uint64_t pause = RECONNECT_NS_MIN << shift;
    if (pause > RECONNECT_NS_MAX)
        pause = RECONNECT_NS_MAX;
    /* Anywhere in its second half, so that endpoints do not come back in step. */
    pause = pause / 2 + random_next(&endpoint->random) % (pause / 2);
    endpoint->reconnect_attempt++;
    endpoint->reconnect_at_ns = clock_now_ns() + pause;
}

static void link_lost(struct parley_endpoint *endpoint, const char *why)
{
    if (!endpoint->link)
        return;
    if (endpoint->welcomed)
        log_warn("lost the broker at %s (%s); channels go on, looking for it again",
                 endpoint->broker, why);
    endpoint_link_down(endpoint);
    wait_remove(endpoint->wait, link_fd(endpoint->link));
    endpoint->link = link_free(endpoint->link);
    endpoint->welcomed = false;
    endpoint->spans.from = endpoint->spans.written;
    endpoint->link_out = false;
    plans_drop(endpoint);
    reconnect_later(endpoint);
}

static void link_watch(struct parley_endpoint *endpoint)
{
    bool out = link_queued(endpoint->link);
    if (out == endpoint->link_out)
        return;
    endpoint->link_out = out;
    wait_modify(endpoint->wait, link_fd(endpoint->link), WAIT_IN | (out ? WAIT_OUT : 0));
}

int endpoint_send(struct parley_endpoint *endpoint, const Parley__LinkMessage *message,
                  const int *fds, size_t fd_count)
{
    return endpoint->uplink->send(endpoint, message, fds, fd_count);
}

static int uplink_send(struct parley_endpoint *endpoint, const Parley__LinkMessage *message,
                       const int *fds, size_t fd_count)
{
    bool greets = message->body_case == PARLEY__LINK_MESSAGE__BODY_HELLO;
    if (!endpoint->link || !(endpoint->welcomed || greets))
        return -EPIPE;
    int r = link_send(endpoint->link, message, fds, fd_count);
    if (r < 0)
        /* The loop then reads the end of it, where it may take the link down. */
        shutdown(link_fd(endpoint->link), SHUT_RDWR);
    else
        link_watch(endpoint);
    return r;
}

static int welcome_received(struct parley_endpoint *endpoint, const Parley__Welcome *message,
                            int fd, struct error_text *error)
{
    if (message->protocol != LINK_PROTOCOL)
        return error_set(error, -EPROTO, "the broker speaks protocol %u, this library %d",
                         message->protocol, LINK_PROTOCOL);
    size_t bytes = ROUTE_PAGE_BYTES;
    struct region route = REGION_NONE;
    int r = region_map(&route, fd, bytes, bytes + LAYOUT_PAGE_BYTES, error);
    if (r == 0)
        r = route_check(&route, error);
    if (r < 0) {
        region_deinit(&route);
        return error_prefix(error, r, "the broker's route page");
    }
    region_deinit(&endpoint->route);
    endpoint->route = route;
    spans_routed(&endpoint->spans, &endpoint->route);
    endpoint->welcomed = true;
    spans_hand_over(endpoint);
    endpoint->reconnect_attempt = 0;
    endpoint->farewell_status = PARLEY_OK;
    endpoint_link_up(endpoint);
    return 0;
}

static void attach_received(struct parley_endpoint *endpoint, const Parley__Attach *message,
                            int fds[LINK_FD_MAX])
{
    struct parley_service *service = endpoint_service(endpoint, message->instance_id);
    /* An instance that is gone: the client learns it from the doorbell's end. */
    if (service)
        service_attach(service, message, fds[0], steal_fd(&fds[1]));
}

static void farewell_received(struct parley_endpoint *endpoint, const Parley__Farewell *message)
{
    endpoint->farewell_status =
        message->status ? (enum parley_status)message->status : PARLEY_UNAVAILABLE;
    (void)snprintf(endpoint->farewell_text, sizeof(endpoint->farewell_text), "%s",
                   message->text ? message->text : "");
    log_warn("the broker ended the connection: %s", endpoint->farewell_text);
}

/* Which messages come with descriptors, and how many. */
static size_t fds_wanted(const Parley__LinkMessage *message)
{
    switch (message->body_case) {
    case PARLEY__LINK_MESSAGE__BODY_WELCOME:
        return 1;
    case PARLEY__LINK_MESSAGE__BODY_ATTACH:
        return 2;
    default:
        return 0;
    }
}

static void ping_received(struct parley_endpoint *endpoint, const Parley__Ping *ping)
{
    Parley__Pong body = PARLEY__PONG__INIT;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    body.has_number = true;
    body.number = ping->number;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_PONG;
    message.pong = &body;
    (void)endpoint_send(endpoint, &message, NULL, 0);
}

static int message_received(struct parley_endpoint *endpoint, const Parley__LinkMessage *message,
                            int fds[LINK_FD_MAX], size_t fd_count, struct error_text *error)
{
    struct parley_client *client;
    struct parley_service *service;
    if (fd_count != fds_wanted(message))
        return error_set(error, -EPROTO, "a message with %zu descriptors instead of %zu", fd_count,
                         fds_wanted(message));
    if (!endpoint->welcomed && message->body_case != PARLEY__LINK_MESSAGE__BODY_WELCOME &&
        message->body_case != PARLEY__LINK_MESSAGE__BODY_FAREWELL)
        return error_set(error, -EPROTO, "a message before Welcome");
    switch (message->body_case) {
    case PARLEY__LINK_MESSAGE__BODY_WELCOME:
        return welcome_received(endpoint, message->welcome, fds[0], error);
    case PARLEY__LINK_MESSAGE__BODY_FAREWELL:
        farewell_received(endpoint, message->farewell);
        return 0;
    case PARLEY__LINK_MESSAGE__BODY_PLAN:
        return plans_received(endpoint, message->plan, error);
    case PARLEY__LINK_MESSAGE__BODY_PUBLISHED:
        if ((service = endpoint_service(endpoint, message->published->instance_id)))
            service_published(service, message->published);
        return 0;
    case PARLEY__LINK_MESSAGE__BODY_DRAIN:
        if ((service = endpoint_service(endpoint, message->drain->instance_id)))
            service_drain_ordered(service, message->drain);
        return 0;
    case PARLEY__LINK_MESSAGE__BODY_PING:
        ping_received(endpoint, message->ping);
        return 0;
    case PARLEY__LINK_MESSAGE__BODY_REVIEW:
        endpoint_review(endpoint);
        return 0;
    case PARLEY__LINK_MESSAGE__BODY_CUT:
        if ((service = endpoint_service(endpoint, message->cut->instance_id)))
            service_cut(service, message->cut);
        return 0;
    case PARLEY__LINK_MESSAGE__BODY_ATTACH:
        attach_received(endpoint, message->attach, fds);
        return 0;
    case PARLEY__LINK_MESSAGE__BODY_OPENED:
        if ((client = endpoint_client(endpoint, message->opened->contract_id)))
            client_opened(client, message->opened);
        return 0;
    case PARLEY__LINK_MESSAGE__BODY_INSTANCES:
        if ((client = endpoint_client(endpoint, message->instances->contract_id)))
            client_instances(client, message->instances);
        return 0;
    case PARLEY__LINK_MESSAGE__BODY_CONNECT_FAILED:
        if ((client = endpoint_client(endpoint, message->connect_failed->contract_id)))
            client_connect_failed(client, message->connect_failed);
        return 0;
    default:
        return error_set(error, -EPROTO, "a message that no broker sends (%d)",
                         (int)message->body_case);
    }
}

void uplink_ready(struct source *source, uint32_t events)
{
    struct parley_endpoint *endpoint =
        (struct parley_endpoint *)((uint8_t *)source -
                                   offsetof(struct parley_endpoint, link_source));
    if (!endpoint->link)
        return;
    if ((events & WAIT_OUT) && link_flush(endpoint->link) == 0)
        link_watch(endpoint);
    for (unsigned i = 0; i < LINK_BATCH_MAX && endpoint->link; i++) {
        Parley__LinkMessage *message = NULL;
        int fds[LINK_FD_MAX] = {-1, -1};
        size_t fd_count = 0;
        struct error_text error = {.text = "it hung up"};
        int r = link_receive(endpoint->link, &message, fds, &fd_count, &error);
        if (r == LINK_E_AGAIN)
            return;
        if (r == 0)
            r = message_received(endpoint, message, fds, fd_count, &error);
        wire_free(message);
        for (size_t f = 0; f < LINK_FD_MAX; f++)
            fd_close(fds[f]);
        if (r < 0) {
            if (r != -EPIPE) {
                log_error("the broker at %s: %s", endpoint->broker, error.text);
                if (endpoint->farewell_status == PARLEY_OK) {
                    endpoint->farewell_status = PARLEY_FAILED_PRECONDITION;
                    (void)snprintf(endpoint->farewell_text, sizeof(endpoint->farewell_text), "%s",
                                   error.text);
                }
            }
            link_lost(endpoint, error.text);
            return;
        }
    }
    /* More may be there, and an edge-triggered backend will not say so again. */
    wait_wake(endpoint->wait);
    wait_modify(endpoint->wait, link_fd(endpoint->link),
                WAIT_IN | (endpoint->link_out ? WAIT_OUT : 0));
}

/* Takes a connected link over and says hello. */
int uplink_begin(struct parley_endpoint *endpoint, struct link *link)
{
    int r = wait_add(endpoint->wait, link_fd(link), WAIT_IN, &endpoint->link_source);
    if (r < 0) {
        link_free(link);
        return r;
    }
    endpoint->link = link;
    Parley__Hello body = PARLEY__HELLO__INIT;
    body.has_protocol = true;
    body.protocol = LINK_PROTOCOL;
    body.has_endpoint_id = true;
    body.endpoint_id = endpoint->endpoint_id;
    body.name = endpoint->name;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_HELLO;
    message.hello = &body;
    return endpoint_send(endpoint, &message, &endpoint->stats.region.fd, 1);
}

/* Connects to endpoint->broker; on failure uplink_error says why, and the next try is set. */
static int uplink_try(struct parley_endpoint *endpoint)
{
    struct link *link;
    endpoint->uplink_error.text[0] = '\0';
    int r = link_connect(endpoint->broker, &link, &endpoint->uplink_error);
    if (r == 0)
        r = uplink_begin(endpoint, link);
    if (r < 0)
        reconnect_later(endpoint);
    return r;
}

static void uplink_end(struct parley_endpoint *endpoint)
{
    if (!endpoint->link)
        return;
    (void)link_flush(endpoint->link);
    wait_remove(endpoint->wait, link_fd(endpoint->link));
}

static void uplink_free(struct parley_endpoint *endpoint)
{
    endpoint->link = link_free(endpoint->link);
}

const struct uplink_ops link_uplink = {
    .turn = uplink_try,
    .send = uplink_send,
    .end = uplink_end,
    .free = uplink_free,
};
