/*
 * One endpoint's link: its messages in, the answers out.
 *
 * A stranger has said nothing yet and may only say Hello, within BROKER_HELLO_TIMEOUT_NS. Who it is
 * was known before: the kernel told when it connected. From then on every message is one step of
 * docs/PROTOCOL.md, with exactly the descriptors that belong to it.
 *
 * Two kinds of wrong are kept apart. A request that cannot be granted (a schema that does not
 * parse, a quota, an instance that has just left) is answered with a status and a sentence, and the
 * link goes on. What no correct endpoint sends (garbage, a message out of turn, missing
 * descriptors) ends the link: Farewell with the reason, a line in the log, an event; nobody else
 * notices.
 *
 * Descriptors are borrowed by the handlers and closed here, in one place, whatever a handler did.
 * A link that hangs up takes along what its endpoint had: instances, contracts, its counters (whose
 * sums are kept).
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "broker/health.h"
#include "wire/wire.h"

enum parley_status session_status(int code)
{
    switch (code) {
    case -EINVAL:
    case -EBADMSG:
    case -E2BIG:
        return PARLEY_INVALID_ARGUMENT;
    case -EACCES:
        return PARLEY_PERMISSION_DENIED;
    case -ENOMEM:
    case -ENOSPC:
    case -EDQUOT:
    case -EMFILE:
    case -ENFILE:
    case -ETOOMANYREFS:
    case -ENOBUFS:
        return PARLEY_RESOURCE_EXHAUSTED;
    default:
        return PARLEY_INTERNAL;
    }
}

/* ---- Sending ---- */

static void watch_writable(struct endpoint *endpoint)
{
    bool wanted = link_queued(endpoint->link);
    if (wanted == endpoint->waits_to_write)
        return;
    endpoint->waits_to_write = wanted;
    (void)wait_modify(endpoint->broker->wait, link_fd(endpoint->link),
                      WAIT_IN | (wanted ? WAIT_OUT : 0));
}

int session_send(struct endpoint *endpoint, const Parley__LinkMessage *message, const int *fds,
                 size_t fd_count)
{
    if (endpoint->doomed)
        return -EPIPE;
    int r = link_send(endpoint->link, message, fds, fd_count);
    if (r == 0) {
        watch_writable(endpoint);
        return 0;
    }
    if (r == -ENOBUFS)
        log_warn("%s (pid %d) does not read what the broker sends: its link is closed",
                 endpoint->name, (int)endpoint->peer.pid);
    else if (r != -EPIPE)
        log_warn("%s (pid %d): cannot send: %s", endpoint->name, (int)endpoint->peer.pid,
                 strerror(-r));
    /* Descriptors that could not be passed are a matter of that message only. */
    if (fd_count == 0 || r == -ENOBUFS || r == -EPIPE)
        session_doom(endpoint);
    return r;
}

static void send_farewell(struct endpoint *endpoint, enum parley_status status, const char *text)
{
    Parley__Farewell body = PARLEY__FAREWELL__INIT;
    body.has_status = true;
    body.status = status;
    body.text = (char *)(uintptr_t)text;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_FAREWELL;
    message.farewell = &body;
    (void)link_send(endpoint->link, &message, NULL, 0); /* as far as it goes */
}

void session_refuse(struct endpoint *endpoint, enum parley_status status, const char *format, ...)
{
    struct error_text text;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text.text, sizeof(text.text), format, args);
    va_end(args);
    if (endpoint->doomed)
        return;
    send_farewell(endpoint, status, text.text);
    const struct event event = {.topic = "refused", .pid = endpoint->peer.pid};
    event_publish(endpoint->broker, &event, "%s (pid %d, uid %u) is refused: %s", endpoint->name,
                  (int)endpoint->peer.pid, (unsigned)endpoint->peer.uid, text.text);
    audit_refused_peer(endpoint, "audit.link", "a link", NULL, NULL, status, text.text);
    session_doom(endpoint);
}

/* ---- Hello ---- */

bool session_name_is_fine(const char *name)
{
    size_t bytes = name ? strlen(name) : 0;
    if (bytes == 0 || bytes >= BROKER_NAME_BYTES)
        return false;
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return false; /* it goes into log lines and onto terminals */
    return true;
}

static void drop_holdings(struct endpoint *endpoint)
{
    struct broker *broker = endpoint->broker;
    struct contract *contract;
    struct contract *next;
    HASH_ITER(hh, endpoint->contracts, contract, next)
        contract_free(broker, contract);
    struct instance *instance;
    while ((instance = LIST_FIRST(&endpoint->instances)) != NULL)
        session_instance_gone(broker, instance, "is gone");
}

/* The same process, come back before we saw it leave: it replaces itself. Anybody else is refused.
 */
static bool take_place(struct endpoint *endpoint, uint64_t id)
{
    struct broker *broker = endpoint->broker;
    struct endpoint *old;
    HASH_FIND(hh, broker->endpoints_by_id, &id, sizeof(id), old);
    if (!old)
        return true;
    if (old->internal || old->peer.pid != endpoint->peer.pid ||
        old->peer.uid != endpoint->peer.uid) {
        session_refuse(endpoint, PARLEY_ALREADY_EXISTS,
                       "endpoint %016llx is connected already, from pid %d", (unsigned long long)id,
                       (int)old->peer.pid);
        return false;
    }
    log_info("%s (pid %d) connected anew", old->name, (int)old->peer.pid);
    drop_holdings(old);
    session_doom(old);
    return true;
}

static int send_welcome(struct endpoint *endpoint)
{
    struct broker *broker = endpoint->broker;
    Parley__Welcome body = PARLEY__WELCOME__INIT;
    body.has_protocol = true;
    body.protocol = LINK_PROTOCOL;
    body.has_broker_id = true;
    body.broker_id = broker->id;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_WELCOME;
    message.welcome = &body;
    return session_send(endpoint, &message, &broker->routes.region.fd, 1);
}

static void become_known(struct endpoint *endpoint, const Parley__Hello *hello)
{
    struct broker *broker = endpoint->broker;
    (void)snprintf(endpoint->name, sizeof(endpoint->name), "%s", hello->name);
    endpoint->id = hello->endpoint_id;
    TAILQ_REMOVE(&broker->strangers, endpoint, entry);
    TAILQ_INSERT_TAIL(&broker->endpoints, endpoint, entry);
    HASH_ADD(hh, broker->endpoints_by_id, id, sizeof(endpoint->id), endpoint);
}

static void on_hello(struct endpoint *endpoint, const Parley__Hello *hello, const int *fds)
{
    struct broker *broker = endpoint->broker;
    struct error_text error = {""};
    if (hello->protocol != LINK_PROTOCOL) {
        session_refuse(endpoint, PARLEY_FAILED_PRECONDITION,
                       "the endpoint speaks link protocol %u, this broker %d: upgrade the older of "
                       "the two",
                       hello->protocol, LINK_PROTOCOL);
        return;
    }
    if (hello->endpoint_id == 0 || !session_name_is_fine(hello->name)) {
        session_refuse(endpoint, PARLEY_INVALID_ARGUMENT,
                       "a Hello needs an id and a name of 1 to %d printable bytes",
                       BROKER_NAME_BYTES - 1);
        return;
    }
    if (endpoint->account &&
        admit_registration(&broker->admit, endpoint->account, clock_now_ns(), &error) < 0) {
        session_refuse(endpoint, PARLEY_RESOURCE_EXHAUSTED, "%s", error.text);
        return;
    }
    int r = stats_map(&endpoint->stats, fds[0], hello->endpoint_id, &error);
    if (r < 0) {
        session_refuse(endpoint, PARLEY_INVALID_ARGUMENT, "the statistics region: %s",
                       error.text[0] ? error.text : strerror(-r));
        return;
    }
    if (!take_place(endpoint, hello->endpoint_id))
        return;
    become_known(endpoint, hello);
    if (stats_any(&endpoint->stats))
        stats_add(&broker->brought, &endpoint->stats, true);
    r = send_welcome(endpoint);
    if (r < 0) {
        session_refuse(endpoint, PARLEY_RESOURCE_EXHAUSTED, "the route page cannot be sent: %s",
                       strerror(-r));
        return;
    }
    log_debug("%s (pid %d, uid %u) is connected", endpoint->name, (int)endpoint->peer.pid,
              (unsigned)endpoint->peer.uid);
}

int session_check_names(const char *interface, const char *version, const char *service,
                        struct error_text *error)
{
    struct semver semver;
    if (!interface || schema_check_interface_name(interface) < 0)
        return error_set(
            error, -EINVAL,
            "\"%.80s\" is no name of an interface: 1 to %d bytes of a-z 0-9 _ . - that "
            "begin with a letter",
            interface ? interface : "", BROKER_NAME_BYTES - 1);
    if (!version || strlen(version) >= BROKER_VERSION_BYTES || semver_parse(version, &semver) < 0)
        return error_set(error, -EINVAL, "\"%.80s\" is no semantic version of at most %d bytes",
                         version ? version : "", BROKER_VERSION_BYTES - 1);
    if (!service || strlen(service) > SCHEMA_NAME_BYTES_MAX || service[0] == '\0')
        return error_set(error, -EINVAL, "the protobuf service has no name, or one over %d bytes",
                         SCHEMA_NAME_BYTES_MAX);
    return 0;
}

/* ---- Receiving ---- */

static size_t fds_that_belong(const Parley__LinkMessage *message)
{
    switch (message->body_case) {
    case PARLEY__LINK_MESSAGE__BODY_HELLO:
    case PARLEY__LINK_MESSAGE__BODY_SPANS:
        return 1;
    case PARLEY__LINK_MESSAGE__BODY_CONNECT:
        return 2;
    default:
        return 0;
    }
}

static void handle(struct endpoint *endpoint, const Parley__LinkMessage *message, const int *fds,
                   size_t fd_count)
{
    bool hello = message->body_case == PARLEY__LINK_MESSAGE__BODY_HELLO;
    if (hello != (endpoint->id == 0)) {
        session_refuse(endpoint, PARLEY_INVALID_ARGUMENT, "%s",
                       hello ? "a second Hello" : "a message before Hello");
        return;
    }
    if (fd_count != fds_that_belong(message)) {
        session_refuse(endpoint, PARLEY_INVALID_ARGUMENT,
                       "%zu descriptors came with message %d, %zu belong to it", fd_count,
                       (int)message->body_case, fds_that_belong(message));
        return;
    }
    switch (message->body_case) {
    case PARLEY__LINK_MESSAGE__BODY_HELLO:
        on_hello(endpoint, message->hello, fds);
        break;
    case PARLEY__LINK_MESSAGE__BODY_PUBLISH:
        session_on_publish(endpoint, message->publish);
        break;
    case PARLEY__LINK_MESSAGE__BODY_WITHDRAW:
        session_on_withdraw(endpoint, message->withdraw);
        break;
    case PARLEY__LINK_MESSAGE__BODY_OPEN:
        session_on_open(endpoint, message->open);
        break;
    case PARLEY__LINK_MESSAGE__BODY_CLOSE:
        session_on_close(endpoint, message->close);
        break;
    case PARLEY__LINK_MESSAGE__BODY_CONNECT:
        session_on_connect(endpoint, message->connect, fds);
        break;
    case PARLEY__LINK_MESSAGE__BODY_MIRROR_DIFFERS:
        session_on_mirror_differs(endpoint, message->mirror_differs);
        break;
    case PARLEY__LINK_MESSAGE__BODY_PLAN_TAKEN:
        session_on_plan_taken(endpoint, message->plan_taken);
        break;
    case PARLEY__LINK_MESSAGE__BODY_CALLERS:
        session_on_callers(endpoint, message->callers);
        break;
    case PARLEY__LINK_MESSAGE__BODY_PONG:
        health_on_pong(endpoint, message->pong);
        break;
    case PARLEY__LINK_MESSAGE__BODY_SPANS:
        trace_on_spans(endpoint, message->spans, fds[0]);
        break;
    default:
        session_refuse(endpoint, PARLEY_INVALID_ARGUMENT,
                       "message %d is the broker's to send, not an endpoint's",
                       (int)message->body_case);
        break;
    }
}

/* Return: whether there may be more. */
static bool take_one(struct endpoint *endpoint)
{
    Parley__LinkMessage *message;
    int fds[LINK_FD_MAX];
    size_t fd_count;
    struct error_text error = {""};
    int r = link_receive(endpoint->link, &message, fds, &fd_count, &error);
    if (r == LINK_E_AGAIN)
        return false;
    if (r == -EPIPE) {
        log_debug("%s (pid %d) hung up", endpoint->name, (int)endpoint->peer.pid);
        session_doom(endpoint);
        return false;
    }
    if (r < 0) {
        session_refuse(endpoint, r == -EBADMSG ? PARLEY_INVALID_ARGUMENT : session_status(r), "%s",
                       error.text[0] ? error.text : strerror(-r));
        return false;
    }
    handle(endpoint, message, fds, fd_count);
    for (size_t i = 0; i < fd_count; i++)
        fd_close(fds[i]);
    wire_free(message);
    return !endpoint->doomed;
}

static void on_link(struct source *source, uint32_t events)
{
    struct endpoint *endpoint =
        (struct endpoint *)((uint8_t *)source - offsetof(struct endpoint, source));
    if (endpoint->doomed)
        return;
    if (events & WAIT_OUT) {
        if (link_flush(endpoint->link) < 0) {
            session_doom(endpoint);
            return;
        }
        watch_writable(endpoint);
    }
    for (unsigned i = 0; i < BROKER_BATCH_MAX; i++)
        if (!take_one(endpoint))
            return;
    broker_again(endpoint->broker, source);
}

/* ---- Life ---- */

static int admit(struct endpoint *endpoint, struct error_text *error)
{
    struct broker *broker = endpoint->broker;
    if (endpoint->internal)
        return 0;
    endpoint->account = admit_account(&broker->admit, endpoint->peer.uid, clock_now_ns());
    if (!endpoint->account)
        return error_set(error, -ENOMEM, "the broker is out of memory");
    int r = admit_endpoint(&broker->admit, endpoint->account, error);
    if (r < 0)
        endpoint->account = NULL; /* not counted */
    return r;
}

int session_new(struct broker *broker, struct link *link, bool internal,
                struct endpoint **ret_endpoint)
{
    struct endpoint *endpoint = calloc(1, sizeof(*endpoint));
    if (!endpoint) {
        link_free(link);
        return -ENOMEM;
    }
    endpoint->source.ready = on_link;
    endpoint->broker = broker;
    endpoint->link = link;
    endpoint->internal = internal;
    endpoint->stats = REGION_NONE;
    endpoint->hello_by_ns = clock_add(clock_now_ns(), BROKER_HELLO_TIMEOUT_NS);
    link_peer(link, &endpoint->peer);
    (void)snprintf(endpoint->name, sizeof(endpoint->name), "(unnamed)");
    LIST_INIT(&endpoint->instances);
    TAILQ_INSERT_TAIL(&broker->strangers, endpoint, entry);
    broker->endpoint_count++;

    struct error_text error = {""};
    int r = broker_watch(broker, link_fd(link), WAIT_IN, &endpoint->source);
    if (r < 0) {
        session_doom(endpoint);
        return r;
    }
    r = admit(endpoint, &error);
    if (r < 0)
        session_refuse(endpoint, PARLEY_RESOURCE_EXHAUSTED, "%s", error.text);
    *ret_endpoint = endpoint; /* even if refused: it is buried with the others */
    return 0;
}

void session_doom(struct endpoint *endpoint)
{
    struct broker *broker = endpoint->broker;
    if (endpoint->doomed)
        return;
    endpoint->doomed = true;
    broker_unwatch(broker, link_fd(endpoint->link), &endpoint->source);
    if (endpoint->id != 0) {
        TAILQ_REMOVE(&broker->endpoints, endpoint, entry);
        HASH_DEL(broker->endpoints_by_id, endpoint);
    } else {
        TAILQ_REMOVE(&broker->strangers, endpoint, entry);
    }
    TAILQ_INSERT_TAIL(&broker->doomed, endpoint, entry);
}

void session_free(struct endpoint *endpoint)
{
    struct broker *broker = endpoint->broker;
    TAILQ_REMOVE(&broker->doomed, endpoint, entry);
    drop_holdings(endpoint);
    trace_endpoint_gone(endpoint);
    if (endpoint->stats.base)
        stats_add(&broker->left, &endpoint->stats, true);
    region_deinit(&endpoint->stats);
    if (endpoint->account) {
        endpoint->account->endpoints--;
        admit_settle(&broker->admit, endpoint->account, clock_now_ns());
    }
    broker->endpoint_count--;
    link_free(endpoint->link);
    free(endpoint->plans_sent);
    free(endpoint->seen);
    free(endpoint);
}
