/*
 * A service: an instance of one version, and the calls that it serves.
 *
 * The broker passes a client's segment and doorbell on (Attach); we map and verify them, make our
 * own segment, and answer on the doorbell. The requests that then come are served in serve.c.
 *
 * Closing is a conversation, so that no call is lost: we say GOAWAY on every channel, each client
 * answers BYE behind its last request, and when that is answered we hang up.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"
#include "rpc/offers.h"

/* ---- Withdrawing ---- */

enum leave { LEAVE_CLOSING, LEAVE_GONE, LEAVE_DRAINED };

static void withdraw(struct parley_service *service, enum leave leave)
{
    Parley__Withdraw body = PARLEY__WITHDRAW__INIT;
    body.has_instance_id = true;
    body.instance_id = service->instance_id;
    body.has_gone = true;
    body.gone = leave == LEAVE_GONE;
    body.has_drained = leave == LEAVE_DRAINED;
    body.drained = service->drain_order;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_WITHDRAW;
    message.withdraw = &body;
    (void)endpoint_send(service->endpoint, &message, NULL, 0);
}

/* Of an order of the broker it wants to know when it is done. */
static void tell_if_drained(struct parley_service *service)
{
    if (!service->closing || service->freed || service->drain_order == 0 || service->drain_told ||
        service->channel_count > 0)
        return;
    service->drain_told = true;
    withdraw(service, LEAVE_DRAINED);
}

static void service_channel_dead(struct channel *channel, enum parley_status status,
                                 const char *text)
{
    struct parley_service *service = channel->service;
    (void)status;
    log_debug("channel of a client of %s %s ended: %s", service->interface->name,
              service->interface->version, text);
    channel->serving = 0;
    LIST_REMOVE(channel, owner_entry);
    service->channel_count--;
    contexts_orphan(channel);
    tell_if_drained(service);
}

const struct channel_ops service_channel_ops = {
    .frame = service_frame,
    .dead = service_channel_dead,
};

/* ---- Attaching ---- */

static void reject(int bell, enum parley_status status, const char *text)
{
    struct bell_packet packet = {.kind = BELL_REJECT, .status = (uint8_t)status};
    (void)snprintf(packet.text, sizeof(packet.text), "%.239s", text);
    (void)send(bell, &packet, sizeof(packet), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void say_goaway(struct channel *channel)
{
    if (channel->goaway_sent)
        return;
    channel->goaway_sent = true;
    struct frame_header header = {.kind = FRAME_GOAWAY};
    struct body body = {0};
    if (channel_send_or_queue(channel, &header, &body, NULL) >= 0)
        channel_ring_if_asleep(channel);
}

static int attach(struct parley_service *service, const Parley__Attach *message, int segment_fd,
                  int *bell, struct error_text *error)
{
    struct parley_endpoint *endpoint = service->endpoint;
    const struct plan_entry *plan = plans_find(endpoint, message->plan_id);
    if (!plan && message->plan_id != 0)
        return error_set(error, -EPROTO, "the broker named a plan that it never sent");
    if (service->closing)
        return error_set(error, -EPIPE, "the instance is draining");
    if (service->channel_count >= RPC_CHANNELS_MAX)
        return error_set(error, -EMFILE, "the instance has %d clients already", RPC_CHANNELS_MAX);
    struct channel *channel;
    int r = channel_new(endpoint, &service_channel_ops, *bell, &channel, error);
    if (r < 0)
        return r;
    *bell = -1; /* the channel's */
    channel->service_side = true;
    channel->service = service;
    channel->instance_id = service->instance_id;
    channel->peer_id = (struct parley_peer){
        .pid = (pid_t)message->pid, .uid = (uid_t)message->uid, .gid = (gid_t)message->gid};
    channel->relayed = message->relayed;
    (void)snprintf(channel->client_version, sizeof(channel->client_version), "%.31s",
                   message->client_version ? message->client_version : "");
    LIST_INSERT_HEAD(&service->channels, channel, owner_entry);
    service->channel_count++;
    channel->cells = calloc(service->interface->service->n_methods, sizeof(*channel->cells));
    channel->contexts = contexts_new();
    channel->held = held_new(plan, service->identity);
    r = channel->cells && channel->contexts && channel->held
            ? service_bind(channel, channel->held, error)
            : error_set(error, -ENOMEM, "out of memory");
    if (r == 0)
        r = channel_attach_peer(channel, segment_fd, error);
    struct bell_packet packet = {.kind = BELL_ACCEPT, .instance_id = service->instance_id};
    if (r == 0)
        r = channel_bell_send(channel, &packet, sizeof(packet), channel->ours.region.fd);
    if (r < 0) {
        reject(channel->bell, status_from_errno(r), error->text);
        log_warn("a client of %s %s (pid %u) was turned away: %s", service->interface->name,
                 service->interface->version, message->pid, error->text);
        channel_kill(channel, PARLEY_UNAVAILABLE, "%s", error->text);
        return 0; /* said already */
    }
    segment_sent(&channel->ours);
    service_prepare(channel);
    return 0;
}

void service_attach(struct parley_service *service, const Parley__Attach *message, int segment_fd,
                    int bell)
{
    struct error_text error = {.text = "the service could not attach"};
    int r = attach(service, message, segment_fd, &bell, &error);
    if (r < 0) {
        log_info("a client of %s %s (pid %u) was turned away: %s", service->interface->name,
                 service->interface->version, message->pid, error.text);
        reject(bell, status_from_errno(r), error.text);
    }
    fd_close(bell);
}

/* ---- The broker ---- */

void service_link_down(struct parley_service *service)
{
    if (service->route_known)
        (void)route_refresh(&service->view, &service->endpoint->route, service->route_slot);
}

/* Tells the broker of this instance; and one that has just started what the weights were. */
void service_link_up(struct parley_service *service)
{
    Parley__Weight weights[ROUTE_VERSION_MAX];
    Parley__Weight *weight_pointers[ROUTE_VERSION_MAX];
    struct route_view *view = &service->view;
    uint32_t below = 0;
    for (uint32_t i = 0; i < view->version_count; i++) {
        parley__weight__init(&weights[i]);
        weights[i].version = view->version[i];
        weights[i].has_per_100000 = true;
        weights[i].per_100000 = view->threshold[i] > below ? view->threshold[i] - below : 0;
        below = view->threshold[i] > below ? view->threshold[i] : below;
        weight_pointers[i] = &weights[i];
    }
    Parley__Publish body = PARLEY__PUBLISH__INIT;
    body.has_instance_id = true;
    body.instance_id = service->instance_id;
    body.interface = (char *)(uintptr_t)service->interface->name;
    body.version = (char *)(uintptr_t)service->interface->version;
    body.service = (char *)(uintptr_t)service->interface->service->name;
    body.has_descriptor_set = true;
    body.descriptor_set.data = (uint8_t *)(uintptr_t)service->interface->descriptor_set;
    body.descriptor_set.len = service->interface->descriptor_set_bytes;
    body.has_positions = service->interface->positions_bytes > 0;
    body.positions.data = (uint8_t *)(uintptr_t)service->interface->positions;
    body.positions.len = service->interface->positions_bytes;
    body.has_route_generation = view->version_count > 0;
    body.route_generation = view->generation;
    body.n_weights = view->version_count;
    body.weights = weight_pointers;
    body.has_draining = true;
    body.draining = service->closing;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_PUBLISH;
    message.publish = &body;
    service->route_known = false;
    (void)endpoint_send(service->endpoint, &message, NULL, 0); /* a lost link publishes again */
}

void service_published(struct parley_service *service, const Parley__Published *message)
{
    service->answered = true;
    service->status = (enum parley_status)message->status;
    (void)snprintf(service->text, sizeof(service->text), "%s", message->text ? message->text : "");
    if (service->status == PARLEY_OK) {
        service->route_slot = message->route_slot;
        service->route_known = true;
        service->view.sequence = 1;
        service->drain_told = false; /* this broker may not know */
        tell_if_drained(service);
        service_tell_callers(service);
    } else {
        log_error("the broker refused %s %s: %s: %s", service->interface->name,
                  service->interface->version, parley_status_name(service->status), service->text);
    }
    if (service->status == PARLEY_PERMISSION_DENIED)
        service_denied(service);
    if (service->raw)
        raw_published(service);
}

/* ---- The public side ---- */

static enum parley_status publish_and_wait(struct parley_service *service)
{
    struct parley_endpoint *endpoint = service->endpoint;
    uint64_t deadline = clock_add(clock_now_ns(), RPC_WAIT_TIMEOUT_NS);
    if (endpoint->welcomed)
        service_link_up(service);
    while (!service->answered && clock_now_ns() < deadline) {
        int r = endpoint_turn(endpoint, deadline);
        if (r < 0)
            return status_fail(status_from_errno(r), "waiting for the broker failed: %s",
                               strerror(-r));
    }
    if (!service->answered)
        return status_fail(PARLEY_UNAVAILABLE,
                           "the broker at %s did not answer: is parleyd running?",
                           endpoint->broker);
    if (service->status != PARLEY_OK)
        return status_fail(service->status, "%s %s was refused: %s", service->interface->name,
                           service->interface->version, service->text);
    return PARLEY_OK;
}

void service_join(struct parley_service *service, struct parley_endpoint *endpoint,
                  const struct parley_service_options *options)
{
    service->endpoint = endpoint;
    if (service->instance_id == 0)
        service->instance_id = random_id();
    service->calls_max = options->calls_max ? options->calls_max : RPC_SERVING_MAX;
    service->drain_timeout_ns =
        options->drain_timeout_ns ? options->drain_timeout_ns : RPC_DRAIN_TIMEOUT_NS;
    service->view.sequence = 1;
    LIST_INIT(&service->channels);
    LIST_INIT(&service->orphans);
    LIST_INIT(&service->untold);
    TAILQ_INSERT_TAIL(&endpoint->services, service, entry);
}

enum parley_status parley_service_new(struct parley_endpoint *endpoint,
                                      const struct parley_interface *interface,
                                      ProtobufCService *implementation,
                                      const struct parley_service_options *options,
                                      struct parley_service **ret_service)
{
    static const struct parley_service_options defaults;
    if (endpoint_forked(endpoint))
        return status_forked();
    options = options ? options : &defaults;
    if (!interface || interface->abi != PARLEY_INTERFACE_ABI)
        return status_fail(PARLEY_INVALID_ARGUMENT,
                           "the interface was generated for another version of Parley: run "
                           "protoc-gen-parley again");
    if (!implementation || implementation->descriptor != interface->service)
        return status_fail(PARLEY_INVALID_ARGUMENT, "the implementation is not a service of %s %s",
                           interface->name, interface->version);
    struct plan *identity;
    struct wire_packer *packer = NULL;
    struct error_text error = {0};
    int r = plan_identity(interface->service, PLAN_REQUESTS, &identity, &error);
    if (r < 0)
        return status_fail(status_from_errno(r), "%s %s: %s", interface->name, interface->version,
                           error.text);
    struct parley_service *service = calloc(1, sizeof(*service));
    if (!service || packer_of(interface->service, PLAN_REPLIES, &packer, &error) < 0) {
        plan_unref(identity);
        free(service);
        return status_fail(PARLEY_RESOURCE_EXHAUSTED, "out of memory for a service");
    }
    service->interface = interface;
    service->implementation = implementation;
    service->identity = identity;
    service->packer = packer;
    service_join(service, endpoint, options);
    enum parley_status status = publish_and_wait(service);
    endpoint_leave(endpoint);
    if (status != PARLEY_OK) {
        parley_service_free(service);
        return status;
    }
    *ret_service = service;
    return PARLEY_OK;
}

static void begin_closing(struct parley_service *service)
{
    struct parley_endpoint *endpoint = service->endpoint;
    service->closing = true;
    service->closing_since_ns = clock_now_ns();
    uint64_t hang_up_at_ns = clock_add(service->closing_since_ns, RPC_BYE_GRACE_NS);
    if (hang_up_at_ns < endpoint->hang_up_at_ns)
        endpoint->hang_up_at_ns = hang_up_at_ns;
    struct channel *channel, *next;
    for (channel = LIST_FIRST(&service->channels); channel; channel = next) {
        next = LIST_NEXT(channel, owner_entry);
        say_goaway(channel);
    }
}

void parley_service_close(struct parley_service *service)
{
    if (endpoint_forked(service->endpoint))
        return;
    service->drain_order = 0; /* for good, whoever began */
    if (service->closing)
        return;
    withdraw(service, LEAVE_CLOSING);
    begin_closing(service);
    endpoint_leave(service->endpoint);
}

/* The broker has told the clients already. What it takes back is its own order, no more. */
void service_drain_ordered(struct parley_service *service, const Parley__Drain *message)
{
    bool by_itself = service->closing && service->drain_order == 0;
    if (service->freed || by_itself) {
        if (message->undo)
            withdraw(service, LEAVE_CLOSING);
        return;
    }
    service->drain_order = message->order;
    service->drain_told = false;
    log_info("%s %s %s, by an operator's order", service->interface->name,
             service->interface->version, message->undo ? "serves again" : "drains");
    if (message->undo) {
        service->closing = false;
        service->drain_order = 0;
        return; /* those that were sent away will come again */
    }
    if (!service->closing)
        begin_closing(service);
    tell_if_drained(service);
}

void service_hang_up_silent(struct parley_service *service)
{
    if (clock_now_ns() < clock_add(service->closing_since_ns, RPC_BYE_GRACE_NS))
        return;
    struct channel *channel, *next;
    for (channel = LIST_FIRST(&service->channels); channel; channel = next) {
        next = LIST_NEXT(channel, owner_entry);
        if (!channel->goaway_sent)
            continue;
        /* A program that only calls now and then does not read its channels in between. It loses
         * nothing: what it sends from now on is never consumed, and so sent again elsewhere. */
        if (channel->serving == 0 && channel->queue.count == 0 && !ring_pending(&channel->peer))
            channel_kill(channel, PARLEY_UNAVAILABLE, "drained, and the client is silent");
    }
}

static bool sent_somebody_away(const struct parley_service *service)
{
    const struct channel *channel;
    LIST_FOREACH (channel, &service->channels, owner_entry) {
        if (channel->goaway_sent)
            return true;
    }
    return false;
}

void services_hang_up_due(struct parley_endpoint *endpoint, uint64_t now)
{
    struct parley_service *service;
    endpoint->hang_up_at_ns = CLOCK_NEVER;
    TAILQ_FOREACH (service, &endpoint->services, entry) {
        service_hang_up_silent(service);
        if (sent_somebody_away(service))
            endpoint->hang_up_at_ns = clock_add(now, RPC_BYE_GRACE_NS);
    }
}

bool parley_service_drained(const struct parley_service *service)
{
    return service->closing && service->channel_count == 0;
}

struct parley_service *parley_service_free(struct parley_service *service)
{
    if (!service || service->freed || endpoint_forked(service->endpoint))
        return NULL;
    struct parley_endpoint *endpoint = service->endpoint;
    service->freed = true;
    service->closing = true;
    withdraw(service, LEAVE_GONE);
    struct channel *channel;
    while ((channel = LIST_FIRST(&service->channels)))
        channel_kill(channel, PARLEY_UNAVAILABLE, "the service was closed");
    /* Handlers that have not answered keep their contexts, and find neither caller nor service. */
    contexts_disown(service);
    TAILQ_REMOVE(&endpoint->services, service, entry);
    if (endpoint->turns)
        TAILQ_INSERT_TAIL(&endpoint->dead_services, service, entry);
    else
        service_destroy(service);
    return NULL;
}

void service_destroy(struct parley_service *service)
{
    plan_unref(service->identity);
    wire_packer_free(service->packer);
    raw_free(service->raw);
    free(service);
}
