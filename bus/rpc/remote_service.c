/*
 * What stands for clients in a remote endpoint: the other end of its service's one channel.
 *
 * Publish goes to the broker as a call, and comes back as a URL, at which a REP socket of ours
 * dials; by then there is a channel to the service, of our own making. The instance is up when that
 * connection is. Requests then go from the socket into the channel, replies from the channel into
 * the answer; the broker translates, so that all are in the service's own version.
 *
 * Draining: the service says GOAWAY, and the broker is told to send no more (Withdraw). What it has
 * sent until it answers that is served as ever; then the service gets its BYE, and hangs up when
 * all is answered.
 *
 * If the broker hangs up, or is lost, what is served has no caller any more, and the instance is
 * published again under the id that it had.
 */
#include "rpc/frames.h"
#include "rpc/remote.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "rpc/refs.h"

#define REMOTE_CALLS_MAX 1024 /* at once: the most that can be asked for */
#define REMOTE_REQUEST_BATCH 256

/* ---- Requests that are not answered ---- */

static uint32_t bucket_of(uint64_t call_id)
{
    return (uint32_t)(call_id * UINT64_C(0x9e3779b97f4a7c15) >> 32) % FAR_REQUEST_BUCKETS;
}

static struct far_request *request_find(struct far_service *service, uint64_t call_id)
{
    struct far_request *request;
    LIST_FOREACH (request, &service->requests[bucket_of(call_id)], entry) {
        if (request->call_id == call_id)
            return request;
    }
    return NULL;
}

static struct replier_request *request_take(struct far_service *service,
                                            struct far_request *request)
{
    struct replier_request *taken = request->request;
    LIST_REMOVE(request, entry);
    if (service->far)
        service->far->channel->in_flight--;
    free(request);
    return taken;
}

static void requests_drop(struct far_service *service)
{
    for (uint32_t i = 0; i < FAR_REQUEST_BUCKETS; i++) {
        struct far_request *request;
        while ((request = LIST_FIRST(&service->requests[i])))
            replier_drop(request_take(service, request));
    }
}

static void answer(struct replier_request *request, const struct frame_header *from,
                   const uint8_t *payload, size_t bytes)
{
    struct bus_frame frame = {
        .header = {.kind = FRAME_RESPONSE,
                   .call_id = from->call_id,
                   .status = from->status,
                   .executed = from->executed},
        .payload_bytes = bytes,
    };
    size_t head = bus_frame_head_bytes(&frame);
    uint8_t *room;
    if (replier_answer_begin(request, head + bytes, &room) < 0 ||
        bus_frame_write(&frame, room, head) < 0) {
        replier_drop(request); /* the broker's deadline ends it */
        return;
    }
    if (bytes)
        memcpy(room + head, payload, bytes);
    (void)replier_answer_end(request, head + bytes);
}

static void answer_call(struct far_service *service, struct replier_request *request,
                        const struct frame_header *from, const uint8_t *payload, size_t bytes)
{
    answer(request, from, payload, bytes);
    service->idle_since_ns = clock_now_ns();
}

static void refuse(struct replier_request *request, uint64_t call_id, enum parley_status status,
                   const char *text)
{
    struct frame_header header = {
        .call_id = call_id, .status = (uint8_t)status, .executed = PARLEY_EXECUTED_NO};
    answer(request, &header, (const uint8_t *)text, status == PARLEY_OK ? 0 : strlen(text));
}

/* ---- From the service ---- */

static int response(struct far_service *service, const struct frame *frame)
{
    struct channel *channel = service->far->channel;
    struct far_request *request = request_find(service, frame->header.call_id);
    struct frame_header header = frame->header;
    _cleanup_(freep) uint8_t *expanded = NULL;
    size_t bytes = header.payload_bytes;
    int r = request && frame->refs->count > 0 ? refs_expand(frame, &expanded, &bytes) : 0;
    if (request && r == 0)
        answer_call(service, request_take(service, request), &header,
                    expanded ? expanded : frame->payload, bytes);
    channel_consume(channel, frame);
    if (request && r < 0)
        refuse(request_take(service, request), header.call_id, PARLEY_RESOURCE_EXHAUSTED,
               "no memory for the reply");
    return 0;
}

static void say_bye(struct far_service *service)
{
    if (service->bye || !service->far)
        return;
    service->bye = true;
    struct frame_header header = {.kind = FRAME_BYE};
    struct body body = {0};
    struct channel *channel = service->far->channel;
    if (channel_send_or_queue(channel, &header, &body, NULL) >= 0)
        channel_ring_if_asleep(channel);
}

static int far_frame(struct channel *channel, const struct frame *frame, struct error_text *error)
{
    struct far_service *service = channel->far->service;
    switch (frame->header.kind) {
    case FRAME_RESPONSE:
        return response(service, frame);
    case FRAME_GOAWAY:
        channel_consume(channel, frame);
        if (!service->withdrawn)
            say_bye(service); /* the broker knows nothing of it any more */
        return 0;
    default:
        return error_set(error, -EPROTO, "a frame of kind %u from a service", frame->header.kind);
    }
}

static void replier_end(struct far_service *service);

static void far_dead(struct channel *channel, enum parley_status status, const char *text)
{
    struct far_service *service = channel->far->service;
    (void)status;
    (void)text;
    requests_drop(service);
    service->far = NULL;
    replier_end(service);
    channel->far->channel = NULL;
    free(channel->far);
    channel->far = NULL;
}

/* ---- To the service ---- */

static size_t method_of(const struct far_service *service, const struct bus_frame *frame)
{
    const struct parley_interface *interface = service->service->interface;
    if (!frame->method.bytes)
        return frame->header.method;
    for (size_t i = 0; i < interface->service->n_methods; i++) {
        const char *name = interface->methods[i].name;
        if (strlen(name) == frame->method.bytes &&
            memcmp(name, frame->method.text, frame->method.bytes) == 0)
            return i;
    }
    return BUS_FRAME_METHOD_BY_NAME - 1; /* it has none of that name, and says so */
}

/* Who calls, as the broker says, and what the caller said. @out: as bus_frame_metadata()'s. */
static size_t copy_metadata(const struct bus_frame *frame, uint8_t *out)
{
    size_t used = 0;
    for (size_t at = 0, bytes; at < frame->metadata_bytes; at += bytes) {
        const uint8_t *pair = frame->metadata + at;
        bytes = 3 + pair[0] + (pair[1] | (size_t)pair[2] << 8);
        if (pair[0] < 12 || memcmp(pair + 3, "parley.peer.", 12) != 0)
            continue;
        memcpy(out + used, pair, bytes);
        used += bytes;
    }
    return used + bus_frame_metadata(frame, out + used);
}

static int pass_on(struct far_service *service, const struct bus_frame *frame)
{
    uint8_t metadata[BUS_FRAME_METADATA_BYTES_MAX];
    struct frame_header header = {.kind = frame->header.kind,
                                  .call_id = frame->header.call_id,
                                  .time_left_us = frame->header.time_left_us,
                                  .method = (uint16_t)method_of(service, frame)};
    if (header.time_left_us == 0)
        header.time_left_us = (uint32_t)(RPC_CALL_TIMEOUT_NS / NS_PER_US);
    struct body body = {.metadata = metadata,
                        .metadata_bytes = copy_metadata(frame, metadata),
                        .data = frame->payload,
                        .bytes = frame->payload_bytes};
    struct channel *channel = service->far->channel;
    if (body.metadata_bytes > RPC_METADATA_BLOCK_BYTES_MAX)
        return -EMSGSIZE;
    channel_wake(channel); /* a fast answer rings no bell */
    int r = channel_send_or_queue(channel, &header, &body, NULL);
    if (r >= 0)
        channel_ring_if_asleep(channel);
    return r < 0 ? r : 0;
}

static void call_received(struct far_service *service, struct replier_request *request,
                          const struct bus_frame *frame)
{
    uint64_t call_id = frame->header.call_id;
    if (service->bye) {
        refuse(request, call_id, PARLEY_UNAVAILABLE, "the instance is draining");
        return;
    }
    bool one_way = frame->header.kind == FRAME_ONE_WAY;
    struct far_request *kept = one_way ? NULL : malloc(sizeof(*kept));
    int r = one_way || kept ? pass_on(service, frame) : -ENOMEM;
    if (r < 0) {
        free(kept);
        refuse(request, call_id,
               r == -EMSGSIZE ? PARLEY_INVALID_ARGUMENT : PARLEY_RESOURCE_EXHAUSTED,
               r == -EMSGSIZE ? "the metadata are too large" : "the instance has no room for it");
    } else if (one_way) {
        refuse(request, call_id, PARLEY_OK, "");
    } else {
        *kept = (struct far_request){.call_id = call_id, .request = request};
        LIST_INSERT_HEAD(&service->requests[bucket_of(call_id)], kept, entry);
        service->far->channel->in_flight++;
    }
}

static void cancel_received(struct far_service *service, struct replier_request *request,
                            uint64_t call_id)
{
    bool there = request_find(service, call_id);
    struct frame_header header = {.kind = FRAME_CANCEL, .call_id = call_id};
    struct body body = {0};
    if (there && channel_send_or_queue(service->far->channel, &header, &body, NULL) >= 0)
        channel_ring(service->far->channel);
    refuse(request, call_id, there ? PARLEY_OK : PARLEY_NOT_FOUND, "there is no such call");
    if (!there)
        return;
    /* The handler's answer to it goes nowhere: the channel sends none. */
    struct frame_header cancelled = {
        .call_id = call_id, .status = PARLEY_CANCELLED, .executed = PARLEY_EXECUTED_UNKNOWN};
    answer(request_take(service, request_find(service, call_id)), &cancelled, NULL, 0);
}

static bool text_is(const struct bus_text *text, const char *wanted)
{
    return text->bytes == strlen(wanted) && memcmp(text->text, wanted, text->bytes) == 0;
}

/* The broker asks who we are, before anything else. */
static bool is_prove(const struct far_service *service, const struct bus_frame *frame)
{
    return service->token_bytes && frame->header.kind == FRAME_REQUEST &&
           text_is(&frame->interface, "parley.bus") && text_is(&frame->method, "Prove");
}

static void prove(struct far_service *service, struct replier_request *request, uint64_t call_id)
{
    const struct frame_header header = {.call_id = call_id, .executed = PARLEY_EXECUTED_YES};
    answer(request, &header, service->token, service->token_bytes);
    service->token_bytes = 0;
}

static void received(struct far_service *service, struct replier_request *request,
                     const uint8_t *data, size_t bytes)
{
    struct bus_frame frame;
    struct error_text error = {.text = "it is no frame"};
    int r = bus_frame_is(data, bytes) ? bus_frame_read(data, bytes, &frame, &error) : -EBADMSG;
    if (r < 0)
        refuse(request, 0, PARLEY_INVALID_ARGUMENT, error.text);
    else if (is_prove(service, &frame))
        prove(service, request, frame.header.call_id);
    else if (!service->far)
        refuse(request, frame.header.call_id, PARLEY_UNAVAILABLE, "the instance is gone");
    else if (frame.header.kind == FRAME_REQUEST || frame.header.kind == FRAME_ONE_WAY)
        call_received(service, request, &frame);
    else if (frame.header.kind == FRAME_CANCEL)
        cancel_received(service, request, frame.header.call_id);
    else
        refuse(request, frame.header.call_id, PARLEY_INVALID_ARGUMENT,
               "a frame of a kind that is not for a service");
}

/* libnng drops what it has not sent when a socket is closed, and does not tell when it has. */
static void linger(struct far_service *service)
{
    uint64_t until = far_service_linger_ns(service);
    while (service->came && clock_now_ns() < until) {
        struct pollfd fd = {.fd = replier_fd(service->replier), .events = POLLIN};
        struct replier_request *request;
        const uint8_t *data;
        size_t bytes;
        (void)poll(&fd, 1, 10);
        for (unsigned i = 0; i < REMOTE_REQUEST_BATCH; i++) {
            if (replier_receive(service->replier, &request, &data, &bytes) != 0)
                break;
            received(service, request, data, bytes); /* refused */
        }
    }
}

static void replier_end(struct far_service *service)
{
    if (!service->replier)
        return;
    linger(service);
    wait_remove(service->remote->endpoint->wait, replier_fd(service->replier));
    service->replier = replier_free(service->replier);
    service->came = service->lost = service->told = false;
}

/* ---- The instance ---- */

static void tell_published(struct far_service *service, enum parley_status status, const char *text)
{
    Parley__Published message = PARLEY__PUBLISHED__INIT;
    message.has_instance_id = message.has_status = true;
    message.instance_id = service->service->instance_id;
    message.status = status;
    message.text = (char *)(uintptr_t)text;
    service_published(service->service, &message);
}

static void on_came(const struct replier_peer *peer, void *data)
{
    struct far_service *service = data;
    (void)peer;
    service->came = true;
}

static void on_gone(uint64_t connection, void *data)
{
    struct far_service *service = data;
    (void)connection;
    service->came = false;
    service->lost = true;
}

/* Whom the broker does not reach any more, it has forgotten: from the beginning. */
static void begin_again(struct far_service *service)
{
    service->lost = false;
    if (service->far)
        channel_kill(service->far->channel, PARLEY_UNAVAILABLE,
                     "the connection to the broker was lost");
    if (!service->withdrawn && service->remote->endpoint->welcomed)
        remote_later(service->remote, &service->pause_ns, &service->retry_at_ns);
}

/* Whatever else there is comes with the next turn. What the replier has read already makes its
 * descriptor readable no more: its deadline has passed instead, and is one of ours. */
static void look_again(struct far_service *service)
{
    struct parley_endpoint *endpoint = service->remote->endpoint;
    uint64_t at = replier_next_deadline_ns(service->replier);
    if (at < endpoint->reconnect_at_ns)
        endpoint->reconnect_at_ns = at;
    wait_wake(endpoint->wait);
    wait_modify(endpoint->wait, replier_fd(service->replier), WAIT_IN);
}

void far_service_look(struct far_service *service)
{
    struct replier_request *request;
    const uint8_t *data;
    size_t bytes;
    for (unsigned i = 0; i < REMOTE_REQUEST_BATCH && service->replier; i++) {
        if (replier_receive(service->replier, &request, &data, &bytes) != 0)
            break;
        received(service, request, data, bytes);
    }
    if (service->replier)
        look_again(service);
}

/* What has become of the connection. It is good once the broker need not ask who we are any more:
 * until then whoever hangs up has us wait longer each time. */
static void look_at_connection(struct far_service *service)
{
    if (service->lost) {
        begin_again(service);
    } else if (service->came && !service->told && service->token_bytes == 0) {
        service->told = true;
        service->pause_ns = 0;
        tell_published(service, PARLEY_OK, NULL);
        far_service_stale(service);
    }
    remote_timers_set(service->remote);
}

static void replier_ready(struct source *source, uint32_t events)
{
    struct far_service *service =
        (struct far_service *)((uint8_t *)source - offsetof(struct far_service, source));
    (void)events;
    for (unsigned i = 0; i < REMOTE_REQUEST_BATCH && service->replier; i++) {
        struct replier_request *request;
        const uint8_t *data;
        size_t bytes;
        int r = replier_receive(service->replier, &request, &data, &bytes);
        if (r != 0) {
            look_at_connection(service);
            return;
        }
        received(service, request, data, bytes);
    }
    if (service->replier)
        look_again(service);
}

/* The channel is there: calls may come. */
static void far_attached(struct channel *channel)
{
    struct far_service *service = channel->far->service;
    struct parley_endpoint *endpoint = service->remote->endpoint;
    const char *urls[] = {service->url};
    const struct replier_options options = {
        .urls = urls,
        .url_count = 1,
        .dial = true,
        .gather = true,
        .bytes_max = REMOTE_BYTES_MAX,
        .tls = &service->remote->tls,
        .came = on_came,
        .gone = on_gone,
        .data = service,
    };
    struct error_text error = {0};
    int r = replier_new(&options, &service->replier, &error);
    service->source.ready = replier_ready;
    if (r == 0)
        r = wait_add(endpoint->wait, replier_fd(service->replier), WAIT_IN, &service->source);
    if (r == 0) {
        replier_ready(&service->source, WAIT_IN);
        return;
    }
    service->replier = replier_free(service->replier);
    tell_published(service, status_from_errno(r),
                   error.text[0] ? error.text : "no connection to the broker for its calls");
}

static const struct channel_ops far_ops = {
    .frame = far_frame, .attached = far_attached, .dead = far_dead};

static int channel_make(struct far_service *service, struct error_text *error)
{
    struct parley_endpoint *endpoint = service->remote->endpoint;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return error_set(error, -errno, "no doorbell: %s", strerror(errno));
    struct far *far = calloc(1, sizeof(*far));
    int r = far ? channel_new(endpoint, &far_ops, pair[0], &far->channel, error) : -ENOMEM;
    if (r < 0) {
        free(far);
        fd_close(pair[0]);
        fd_close(pair[1]);
        return r;
    }
    far->channel->state = CHANNEL_CONNECTING;
    far->channel->instance_id = service->service->instance_id;
    far->channel->far = far;
    far->service = service;
    service->far = far;
    service->bye = false;
    Parley__Attach message = PARLEY__ATTACH__INIT;
    message.instance_id = service->service->instance_id;
    message.has_relayed = message.relayed = true; /* each call says for whom */
    service_attach(service->service, &message, far->channel->ours.region.fd, pair[1]);
    segment_sent(&far->channel->ours);
    return 0;
}

void far_service_published(struct far_service *service, const struct bus_frame *frame)
{
    char text[ERROR_TEXT_BYTES_MAX];
    ProtobufCMessage *message = NULL;
    service->asked = false;
    if (frame->header.status != PARLEY_OK) {
        remote_sentence(frame, text, sizeof(text));
        tell_published(service, (enum parley_status)frame->header.status, text);
        return;
    }
    struct error_text error = {0};
    int r = wire_unpack(&parley__publish_reply__descriptor, frame->payload, frame->payload_bytes,
                        NULL, &message, &error);
    const Parley__PublishReply *reply = (const Parley__PublishReply *)message;
    free(service->url);
    service->url = r == 0 && reply->url
                       ? replier_url_by(reply->url, service->remote->endpoint->broker)
                       : NULL;
    if (r == 0)
        service->instance_id = reply->instance_id;
    size_t token_bytes = r == 0 && reply->has_token ? reply->token.len : 0;
    service->token_bytes = 0;
    if (token_bytes > sizeof(service->token))
        r = error_set(&error, -EPROTO, "the broker's token is too long");
    else if (token_bytes)
        memcpy(service->token, reply->token.data, service->token_bytes = token_bytes);
    if (r == 0 && !service->url)
        r = error_set(&error, -EPROTO, "the broker names no URL to serve at");
    else if (r == 0 && !far_service_may_dial(service->remote->endpoint->broker, service->url))
        r = error_set(
            &error, -EPROTO,
            "the broker names %.128s to serve at, which is less safe than its own URL, or "
            "another transport",
            service->url);
    wire_free(message);
    if (r == 0 && !service->far)
        r = channel_make(service, &error);
    if (r < 0)
        tell_published(service, status_from_errno(r), error.text);
}

/* There is no route page here; so what a broker that starts anew is to be told is asked for, now
 * and when a ping says that something has changed. */
void far_service_stale(struct far_service *service)
{
    if (!service->service || !service->service->route_known || service->withdrawn)
        return;
    Parley__ListRequest request = PARLEY__LIST_REQUEST__INIT;
    request.interface = (char *)(uintptr_t)service->service->interface->name;
    (void)remote_ask(service->remote, "List", &request.base, ASK_LIST, service);
}

static void remember(struct parley_service *service, const Parley__InterfaceInfo *info)
{
    struct rpc_weights weights = {.generation = info->route_generation};
    if (strcmp(info->name ? info->name : "", service->interface->name) != 0)
        return;
    for (size_t i = 0; i < info->n_version && weights.count < ROUTE_VERSION_MAX; i++) {
        const Parley__VersionInfo *version = info->version[i];
        if (!version->version || strlen(version->version) >= sizeof(weights.of[0].version) ||
            version->weight_per_100000 > ROUTE_BUCKETS)
            return;
        strcpy(weights.of[weights.count].version, version->version);
        weights.of[weights.count++].per_100000 = version->weight_per_100000;
    }
    service_remember_weights(service, &weights);
}

/* Who may not look (PERMISSION_DENIED) knows no weights. */
void far_service_listed(struct far_service *service, const struct bus_frame *frame)
{
    ProtobufCMessage *message;
    if (frame->header.status != PARLEY_OK || !service->service || !service->service->route_known ||
        wire_unpack(&parley__list_reply__descriptor, frame->payload, frame->payload_bytes, NULL,
                    &message, NULL) < 0)
        return;
    const Parley__ListReply *list = (const Parley__ListReply *)message;
    for (size_t i = 0; i < list->n_interface; i++)
        remember(service->service, list->interface[i]);
    wire_free(message);
}

void far_service_failed(struct far_service *service)
{
    service->asked = false;
    if (!service->withdrawn)
        remote_later(service->remote, &service->pause_ns, &service->retry_at_ns);
}

static struct far_service *find(struct remote *remote, uint64_t instance_id)
{
    struct far_service *service;
    LIST_FOREACH (service, &remote->services, entry) {
        if (service->service && service->service->instance_id == instance_id)
            return service;
    }
    return NULL;
}

static struct far_service *take(struct remote *remote, struct parley_service *service)
{
    struct far_service *fresh = find(remote, service->instance_id);
    if (fresh)
        return fresh;
    fresh = calloc(1, sizeof(*fresh));
    if (!fresh)
        return NULL;
    fresh->remote = remote;
    fresh->service = service;
    fresh->retry_at_ns = CLOCK_NEVER;
    LIST_INSERT_HEAD(&remote->services, fresh, entry);
    return fresh;
}

void far_service_publish(struct remote *remote, struct parley_service *service,
                         const Parley__Publish *message)
{
    struct far_service *far_service = take(remote, service);
    if (!far_service || far_service->asked || far_service->withdrawn)
        return;
    Parley__PublishRequest request = PARLEY__PUBLISH_REQUEST__INIT;
    request.interface = message->interface;
    request.version = message->version;
    request.service = message->service;
    request.has_descriptor_set = true;
    request.descriptor_set = message->descriptor_set;
    request.name = remote->endpoint->name;
    request.has_calls_max = request.has_cancels = request.has_instance_id = true;
    request.calls_max =
        service->calls_max < REMOTE_CALLS_MAX ? service->calls_max : REMOTE_CALLS_MAX;
    request.cancels = true;
    request.has_proves = request.proves = true;
    request.instance_id = message->instance_id;
    request.has_route_generation = message->has_route_generation;
    request.route_generation = message->route_generation;
    request.n_weights = message->n_weights;
    request.weights = message->weights;
    far_service->retry_at_ns = CLOCK_NEVER;
    far_service->asked = true;
    if (remote_ask(remote, "Publish", &request.base, ASK_PUBLISH, far_service) != 0)
        far_service_failed(far_service);
}

uint64_t far_service_timer(struct far_service *service, uint64_t now)
{
    uint64_t at = service->replier ? replier_next_deadline_ns(service->replier) : CLOCK_NEVER;
    if (now > 0 && at <= now) {
        replier_ready(&service->source, WAIT_IN);
        at = service->replier ? replier_next_deadline_ns(service->replier) : CLOCK_NEVER;
    }
    if (service->retry_at_ns <= now && service->service && service->remote->endpoint->welcomed) {
        service->retry_at_ns = CLOCK_NEVER;
        service_link_up(service->service);
    }
    return service->retry_at_ns < at ? service->retry_at_ns : at;
}

/* What the service has answered before it went, and nobody has looked at. */
static void take_last_answers(const struct far_service *service)
{
    while (service->far && service->far->channel->state == CHANNEL_UP &&
           ring_pending(&service->far->channel->peer) &&
           channel_drain(service->far->channel, RPC_BATCH_MAX) > 0)
        ;
}

void far_service_withdraw(struct remote *remote, const Parley__Withdraw *message)
{
    struct far_service *service = find(remote, message->instance_id);
    if (!service || message->has_drained)
        return;
    Parley__WithdrawRequest request = PARLEY__WITHDRAW_REQUEST__INIT;
    request.has_instance_id = request.has_drain = true;
    request.instance_id = service->instance_id;
    request.drain = !message->gone;
    bool known = service->instance_id != 0;
    if (message->gone) {
        take_last_answers(service);
        service->bye = true; /* what still comes is refused */
        if (service->replier)
            linger(service); /* the broker would not wait for answers that are on their way */
        if (known && (service->came || !service->withdrawn))
            (void)remote_ask(remote, "Withdraw", &request.base, ASK_WITHDRAW, NULL);
        far_service_free(service);
        return;
    }
    service->idle_since_ns = clock_now_ns(); /* what it has not read yet is to be refused */
    service->drain_by_ns = clock_add(service->idle_since_ns, service->service->drain_timeout_ns);
    service->withdrawn =
        known && remote_ask(remote, "Withdraw", &request.base, ASK_WITHDRAW, service) == 0;
}

void far_service_withdrawn(struct far_service *service)
{
    say_bye(service);
}

void far_service_lost(struct far_service *service)
{
    service->asked = false;
    service->retry_at_ns = CLOCK_NEVER; /* published with the others */
    service->pause_ns = 0;
    service->instance_id = 0;
    if (service->far)
        channel_kill(service->far->channel, PARLEY_UNAVAILABLE,
                     "the connection to the broker was lost");
}

void far_service_free(struct far_service *service)
{
    far_service_lost(service);
    remote_forget(service->remote, service);
    LIST_REMOVE(service, entry);
    free(service->url);
    free(service);
}
