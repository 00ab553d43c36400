/*
 * The broker's loop: one thread, one waiter, and what it waits for: the listening socket, one link
 * an endpoint, the NNG socket of the control API, and whatever main() and the relay add.
 *
 * Readiness may be told only once (io_uring's poll is edge-triggered), so each source is read until
 * it has no more; but no source may keep the others waiting, so it is read in batches, and one that
 * had more than a batch is put on a list and gets its next batch in the next turn, after the others
 * had theirs.
 *
 * Nothing that an endpoint sends frees anything at once. What is refused or lost is doomed, and
 * buried when the event has been dealt with; burying tells others of it, which may doom some of
 * them, and so on until nobody is left on the list.
 *
 * Idle, the broker sleeps in the kernel without a timer: the only timers are those of connections
 * that have not said Hello yet, the relay's, of rollouts that are under way, and of folders that
 * are not there.
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "broker/folder.h"
#include "broker/front.h"
#include "broker/health.h"
#include "broker/relay.h"
#include "broker/guard.h"
#include "broker/rollouts.h"
#include "broker/subscribers.h"

int broker_watch(struct broker *broker, int fd, uint32_t events, struct source *source)
{
    return wait_add(broker->wait, fd, events, source);
}

void broker_unwatch(struct broker *broker, int fd, struct source *source)
{
    (void)wait_remove(broker->wait, fd);
    if (source->queued) {
        TAILQ_REMOVE(&broker->again, source, again);
        source->queued = false;
    }
}

void broker_again(struct broker *broker, struct source *source)
{
    if (!source->queued) {
        TAILQ_INSERT_TAIL(&broker->again, source, again);
        source->queued = true;
    }
}

/* Frees what is doomed. */
static void bury(struct broker *broker)
{
    struct endpoint *endpoint;
    while ((endpoint = TAILQ_FIRST(&broker->doomed)) != NULL)
        session_free(endpoint);
}

/* ---- Sources ---- */

static void on_listener(struct source *source, uint32_t events)
{
    (void)events;
    struct broker *broker =
        (struct broker *)((uint8_t *)source - offsetof(struct broker, listener_source));
    for (unsigned i = 0; i < BROKER_BATCH_MAX; i++) {
        struct link *link;
        int r = link_accept(broker->listener, &link);
        if (r == LINK_E_AGAIN)
            return;
        if (r == -EMFILE || r == -ENFILE) {
            log_error("no descriptor left for a connection, which was closed: raise the limit "
                      "(ulimit -n)");
            continue;
        }
        if (r < 0) {
            log_error("cannot accept a connection: %s", strerror(-r));
            return;
        }
        struct endpoint *endpoint;
        r = session_new(broker, link, false, &endpoint);
        if (r < 0)
            log_error("cannot serve a connection: %s", strerror(-r));
    }
    broker_again(broker, source);
}

static void handle_request(struct broker *broker, struct replier_request *request, const uint8_t *data,
                           size_t bytes)
{
    uint8_t *reply;
    size_t reply_bytes;
    int r = control_handle(broker, data, bytes, request, &reply, &reply_bytes);
    if (r == CONTROL_E_LATER)
        return;
    if (r < 0) {
        log_error("a control request is not answered: %s", strerror(-r));
        replier_drop(request);
        return;
    }
    r = replier_answer(request, reply, reply_bytes);
    if (r < 0)
        log_warn("an answer on the control socket was not sent: %s", strerror(-r));
    free(reply);
}

static void on_control(struct source *source, uint32_t events)
{
    (void)events;
    struct broker *broker =
        (struct broker *)((uint8_t *)source - offsetof(struct broker, control_source));
    for (unsigned i = 0; i < BROKER_BATCH_MAX; i++) {
        struct replier_request *request;
        const uint8_t *data;
        size_t bytes;
        int r = replier_receive(broker->replier, &request, &data, &bytes);
        if (r == REPLIER_E_AGAIN)
            return;
        if (r < 0) {
            log_error("the control socket: %s", strerror(-r));
            return;
        }
        handle_request(broker, request, data, bytes);
    }
    broker_again(broker, source);
}

/* ---- Turning ---- */

static uint64_t next_deadline_ns(const struct broker *broker)
{
    const struct endpoint *oldest = TAILQ_FIRST(&broker->strangers);
    uint64_t deadline = oldest ? oldest->hello_by_ns : CLOCK_NEVER;
    uint64_t relay = broker->relay ? relay_next_deadline_ns(broker->relay) : CLOCK_NEVER;
    uint64_t rollout = rollouts_next_ns(broker);
    uint64_t guest = serve_next_ns(broker);
    deadline = guest < deadline ? guest : deadline;
    uint64_t trace = trace_next_ns(broker);
    deadline = rollout < deadline ? rollout : deadline;
    deadline = trace < deadline ? trace : deadline;
    uint64_t control =
        broker->replier ? replier_next_deadline_ns(broker->replier) : CLOCK_NEVER;
    deadline = control < deadline ? control : deadline;
    uint64_t events = subscribers_next_ns(broker);
    deadline = events < deadline ? events : deadline;
    uint64_t health = health_next_ns(broker);
    deadline = health < deadline ? health : deadline;
    uint64_t front = front_next_deadline_ns(broker);
    deadline = front < deadline ? front : deadline;
    uint64_t folder = folders_next_ns(broker);
    deadline = folder < deadline ? folder : deadline;
    uint64_t look = ejector_next_ns(broker);
    deadline = look < deadline ? look : deadline;
    return relay < deadline ? relay : deadline;
}

static void refuse_late(struct broker *broker, uint64_t now_ns)
{
    struct endpoint *endpoint;
    while ((endpoint = TAILQ_FIRST(&broker->strangers)) != NULL && endpoint->hello_by_ns <= now_ns)
        session_refuse(endpoint, PARLEY_DEADLINE_EXCEEDED, "no Hello within %llu s",
                       (unsigned long long)(BROKER_HELLO_TIMEOUT_NS / NS_PER_S));
}

/* The batch that a source is owed, once each: those that are put back wait for the next turn. */
static void run_again(struct broker *broker)
{
    unsigned count = 0;
    struct source *source;
    TAILQ_FOREACH (source, &broker->again, again)
        count++;
    while (count-- > 0 && (source = TAILQ_FIRST(&broker->again)) != NULL) {
        TAILQ_REMOVE(&broker->again, source, again);
        source->queued = false;
        source->ready(source, WAIT_IN);
    }
}

int broker_turn(struct broker *broker, uint64_t timeout_ns)
{
    uint64_t left_ns = clock_left(next_deadline_ns(broker), clock_now_ns());
    if (left_ns == CLOCK_NEVER)
        left_ns = WAIT_FOREVER;
    if (!TAILQ_EMPTY(&broker->again) || !TAILQ_EMPTY(&broker->doomed))
        left_ns = 0;
    struct wait_event events[BROKER_EVENT_MAX];
    relay_yield(broker);
    int n = wait_poll(broker->wait, events, BROKER_EVENT_MAX,
                      left_ns < timeout_ns ? left_ns : timeout_ns);
    if (n < 0)
        return n;
    uint64_t woken_ns = clock_now_ns();
    /* Endpoints are buried only after the walk: the tags stay valid. */
    for (int i = 0; i < n; i++) {
        struct source *source = events[i].tag;
        source->ready(source, events[i].events);
    }
    run_again(broker);
    refuse_late(broker, clock_now_ns());
    if (broker->replier && replier_next_deadline_ns(broker->replier) <= clock_now_ns())
        on_control(&broker->control_source, WAIT_IN);
    front_turn(broker);
    if (broker->relay)
        relay_turn(broker);
    front_flush(broker);
    serve_turn(broker, clock_now_ns());
    folders_turn(broker, clock_now_ns());
    rollouts_turn(broker);
    trace_turn(broker, clock_now_ns());
    health_turn(broker, clock_now_ns());
    subscribers_turn(broker, clock_now_ns());
    ejector_turn(broker, clock_now_ns());
    bury(broker);
    self_count_turn(broker, clock_now_ns() - woken_ns);
    return 0;
}

/* ---- Life ---- */

static int open_sockets(struct broker *broker, const struct broker_options *options,
                        struct error_text *error)
{
    int r = guard_urls(options->control_urls, options->control_url_count, options->insecure, error);
    if (r == 0)
        r = guard_urls(options->event_urls, options->event_url_count, options->insecure, error);
    if (r == 0)
        r = guard_urls(options->health_urls, options->health_url_count, options->insecure, error);
    if (r < 0)
        return r;
    if (options->socket) {
        r = link_listen(options->socket, options->socket_mode, &broker->listener, error);
        if (r < 0)
            return r;
        broker->listener_source.ready = on_listener;
        r = broker_watch(broker, link_listener_fd(broker->listener), WAIT_IN,
                         &broker->listener_source);
        if (r < 0)
            return error_set(error, r, "cannot wait for connections: %s", strerror(-r));
    }
    if (options->control_url_count > 0) {
        const struct replier_options replier = {
            .urls = options->control_urls,
            .url_count = options->control_url_count,
            .bytes_max = NNG_REQUEST_BYTES_MAX,
            .tls = options->tls.certificate ? &options->tls : NULL,
            .mode = options->socket_mode,
        };
        r = replier_new(&replier, &broker->replier, error);
        if (r < 0)
            return r;
        broker->control_source.ready = on_control;
        r = broker_watch(broker, replier_fd(broker->replier), WAIT_IN, &broker->control_source);
        if (r < 0)
            return error_set(error, r, "cannot wait for requests: %s", strerror(-r));
    }
    if (options->event_url_count > 0)
        return subscribers_open(broker, options, error);
    return 0;
}

int broker_new(const struct broker_options *options, struct broker **ret_broker,
               struct error_text *error)
{
    struct broker *broker = calloc(1, sizeof(*broker));
    if (!broker)
        return error_set(error, -ENOMEM, "out of memory");
    broker->id = random_id();
    broker->started_ns = clock_now_ns();
    broker->routes.region = REGION_NONE;
    broker->serve_options = options->serve;
    broker->bus_url_count = options->bus_url_count;
    broker->tls = options->tls;
    LIST_INIT(&broker->lost_folders);
    TAILQ_INIT(&broker->strangers);
    TAILQ_INIT(&broker->endpoints);
    TAILQ_INIT(&broker->doomed);
    TAILQ_INIT(&broker->again);
    admit_init(&broker->admit, &options->limits);
    quota_init(&broker->quota, &options->quota);
    negotiator_init(&broker->negotiator);
    ejector_init(&broker->ejector, options->eject);
    int r = audit_init(&broker->audit, options->audit, error);
    if (r == 0)
        r = guard_init(broker, options->policy, error);
    if (r == 0)
        r = wait_new(options->backend, &broker->wait, error);
    if (r == 0)
        r = routes_init(&broker->routes, broker->id, error);
    if (r == 0)
        r = open_sockets(broker, options, error);
    if (r == 0 && options->bus_url_count > 0)
        r = front_open(broker, options, error);
    if (r == 0 && options->health_url_count > 0)
        r = health_open(broker, options, error);
    if (r == 0 && options->http_url)
        r = watching_open(broker, options, error);
    if (r == 0 && options->schemas)
        r = shelf_new(broker, options->schemas, &broker->shelf, error);
    if (r == 0)
        r = rollouts_new(broker, options->rollouts, options->state, &broker->rollouts, error);
    if (r < 0) {
        broker_free(broker);
        return r;
    }
    *ret_broker = broker;
    return 0;
}

static void doom_all(struct broker *broker)
{
    struct endpoint *endpoint;
    while ((endpoint = TAILQ_FIRST(&broker->strangers)) != NULL ||
           (endpoint = TAILQ_FIRST(&broker->endpoints)) != NULL)
        session_doom(endpoint);
}

/* Links are closed without a word: endpoints take it for what it is, and look for us again. */
struct broker *broker_free(struct broker *broker)
{
    if (!broker)
        return NULL;
    broker->stopping = true;
    broker->rollouts = rollouts_free(broker->rollouts);
    watching_close(broker);
    if (broker->listener)
        broker_unwatch(broker, link_listener_fd(broker->listener), &broker->listener_source);
    if (broker->replier)
        broker_unwatch(broker, replier_fd(broker->replier), &broker->control_source);
    front_close(broker);
    health_free(broker);
    subscribers_close(broker);
    broker->serve = serve_free(broker->serve);
    doom_all(broker);
    bury(broker);
    relay_free(broker->relay);
    front_self_free(broker);
    bury(broker);
    directory_deinit(broker);
    shelf_free(broker->shelf);
    negotiator_deinit(&broker->negotiator);
    admit_deinit(&broker->admit);
    quota_deinit(&broker->quota);
    trace_deinit(broker);
    audit_deinit(&broker->audit);
    policy_free(broker->policy);
    routes_deinit(&broker->routes);
    stats_sums_deinit(&broker->left);
    events_deinit(&broker->events);
    stats_sums_deinit(&broker->brought);
    link_listener_free(broker->listener);
    replier_free(broker->replier);
    wait_free(broker->wait);
    free(broker);
    return NULL;
}
