/*
 * An endpoint whose broker is at an NNG URL.
 *
 * Nothing above knows: clients and services work on channels, as ever, whose other ends are in this
 * process (`struct far`), and instead of a service or a client there is what passes frames on by
 * NNG. So all that a call can end as, retries, cancelling, draining, buffers, is one implementation
 * for both kinds of endpoint; what it costs is a second copy, and a doorbell of our own, which a
 * network makes small.
 *
 * The joint is `struct uplink_ops`: what an endpoint tells its broker (Open, Connect, Publish,
 * Withdraw, Close) goes to uplink.c's socket or comes here, where it becomes a call of the broker's
 * interface "parley.bus", and the answer what the broker would have said on the link.
 *
 * A connection is good once a ping has been answered; then all is published and opened, again after
 * each reconnection. It is pinged when it has been silent, and given up if that changes nothing: a
 * half-open connection looks like a silent one. What was under way on a connection that is lost
 * ends with the channels, as if the service had died.
 *
 * fork(2): libnng must not be touched in a child; all of it is left there as it is.
 */
#include "rpc/remote.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"

#define REMOTE_BATCH_MAX 256 /* answers in a turn */
#define ASK_INDEX_BITS 18
#define ASK_INDEX_MAX (1u << ASK_INDEX_BITS)
#define ASK_GENERATION_MASK 0x1fffu /* 31 bits in all */
#define BUS_INTERFACE "parley.bus"
#define BUS_VERSION "1.0.0"

/* ---- Asks ---- */

static struct ask *ask_new(struct remote *remote, uint32_t *ret_number)
{
    if (!remote->ask_free) {
        if (remote->ask_count == ASK_INDEX_MAX)
            return NULL;
        if (remote->ask_count == remote->ask_max) {
            uint32_t max = remote->ask_max ? remote->ask_max * 2 : 16;
            struct ask *asks = realloc(remote->asks, max * sizeof(*asks));
            if (!asks)
                return NULL;
            remote->asks = asks;
            remote->ask_max = max;
        }
        remote->asks[remote->ask_count++] = (struct ask){0};
        remote->ask_free = remote->ask_count;
    }
    uint32_t index = remote->ask_free - 1;
    struct ask *ask = &remote->asks[index];
    remote->ask_free = ask->next;
    ask->generation = (ask->generation + 1) & ASK_GENERATION_MASK;
    *ret_number = (uint32_t)ask->generation << ASK_INDEX_BITS | index;
    return ask;
}

static void ask_free(struct remote *remote, struct ask *ask)
{
    if (ask->kind != ASK_FREE && ask->deadline_ns != CLOCK_NEVER)
        remote->asks_due--;
    remote->calls -= ask->kind == ASK_CALL;
    ask->kind = ASK_FREE;
    ask->owner = NULL;
    ask->next = remote->ask_free;
    remote->ask_free = (uint32_t)(ask - remote->asks) + 1;
}

static struct ask *ask_find(struct remote *remote, uint32_t number)
{
    uint32_t index = number & (ASK_INDEX_MAX - 1);
    if (index >= remote->ask_count)
        return NULL;
    struct ask *ask = &remote->asks[index];
    return ask->kind != ASK_FREE && ask->generation == number >> ASK_INDEX_BITS ? ask : NULL;
}

void remote_forget(struct remote *remote, const void *owner)
{
    for (uint32_t i = 0; i < remote->ask_count; i++)
        if (remote->asks[i].owner == owner)
            remote->asks[i].owner = NULL;
}

/* ---- Sending ---- */

int remote_send(struct remote *remote, const struct bus_frame *frame, const uint8_t *payload,
                enum ask_kind kind, void *owner)
{
    if (!caller_connected(remote->caller))
        return -EPIPE;
    uint32_t number;
    size_t head = bus_frame_head_bytes(frame);
    uint8_t *room;
    struct ask *ask = ask_new(remote, &number);
    if (!ask)
        return -ENOMEM;
    int r = caller_send_begin(remote->caller, head + frame->payload_bytes, &room);
    if (r == 0)
        r = bus_frame_write(frame, room, head);
    if (r == 0) {
        if (frame->payload_bytes)
            memcpy(room + head, payload, frame->payload_bytes);
        r = caller_send_end(remote->caller, head + frame->payload_bytes, number);
    }
    if (r != 0) {
        ask_free(remote, ask);
        return r == CALLER_E_AGAIN ? CHANNEL_E_FULL : r;
    }
    ask->kind = (uint8_t)kind;
    remote->calls += kind == ASK_CALL;
    ask->id = frame->header.call_id;
    ask->owner = owner;
    ask->deadline_ns = kind == ASK_CALL || kind == ASK_CANCEL
                           ? CLOCK_NEVER
                           : clock_add(clock_now_ns(), REMOTE_ASK_TIMEOUT_NS);
    remote->asks_due += ask->deadline_ns != CLOCK_NEVER;
    return 0;
}

int remote_ask(struct remote *remote, const char *method, const ProtobufCMessage *request,
               enum ask_kind kind, void *owner)
{
    size_t bytes = protobuf_c_message_get_packed_size(request);
    _cleanup_(freep) uint8_t *payload = malloc(bytes ? bytes : 1);
    if (!payload)
        return -ENOMEM;
    protobuf_c_message_pack(request, payload);
    struct bus_frame frame = {
        .header = {.kind = FRAME_REQUEST,
                   .method = BUS_FRAME_METHOD_BY_NAME,
                   .call_id = ++remote->id_last,
                   .time_left_us = (uint32_t)(REMOTE_ASK_TIMEOUT_NS / NS_PER_US)},
        .interface = bus_text_of(BUS_INTERFACE),
        .version = bus_text_of(BUS_VERSION),
        .method = bus_text_of(method),
        .payload_bytes = bytes,
    };
    int r = remote_send(remote, &frame, payload, kind, owner);
    remote_timers_set(remote);
    return r;
}

static void ping(struct remote *remote)
{
    Parley__Bus__V1__PingRequest request = PARLEY__BUS__V1__PING_REQUEST__INIT;
    remote->pinged = true;
    remote->pinged_ns = clock_now_ns();
    (void)remote_ask(remote, "Ping", &request.base, ASK_PING, remote);
}

/* ---- Answers ---- */

void remote_sentence(const struct bus_frame *frame, char *text, size_t bytes)
{
    size_t n = frame->payload_bytes < bytes - 1 ? frame->payload_bytes : bytes - 1;
    for (size_t i = 0; i < n; i++)
        text[i] = (char)(frame->payload[i] >= 0x20 && frame->payload[i] != 0x7f ? frame->payload[i]
                                                                                : ' ');
    text[n] = '\0';
}

/* It speaks, and it is a bus. */
static void welcome(struct remote *remote)
{
    struct parley_endpoint *endpoint = remote->endpoint;
    if (endpoint->welcomed)
        return;
    endpoint->welcomed = true;
    endpoint->farewell_status = PARLEY_OK;
    endpoint_link_up(endpoint);
}

/* What answers there is none of ours, or does not let us in. */
static void farewell(struct remote *remote, enum parley_status status, const char *text)
{
    struct parley_endpoint *endpoint = remote->endpoint;
    endpoint->farewell_status = status;
    (void)snprintf(endpoint->farewell_text, sizeof(endpoint->farewell_text), "%s", text);
    log_error("the broker at %s: %s", endpoint->broker, text);
    caller_hang_up(remote->caller);
}

/* A broker tells nobody by itself; contracts are opened anew when its number is another. */
static void note_changes(struct remote *remote, const struct bus_frame *frame)
{
    ProtobufCMessage *message;
    if (wire_unpack(&parley__bus__v1__ping_reply__descriptor, frame->payload, frame->payload_bytes,
                    NULL, &message, NULL) < 0)
        return;
    uint64_t changes = ((const Parley__Bus__V1__PingReply *)message)->changes;
    wire_free(message);
    if (changes == remote->changes)
        return;
    remote->changes = changes;
    struct far_client *client, *next;
    for (client = LIST_FIRST(&remote->clients); client; client = next) {
        next = LIST_NEXT(client, entry);
        far_client_stale(client);
    }
    struct far_service *service;
    LIST_FOREACH (service, &remote->services, entry) {
        far_service_stale(service);
    }
}

static void ping_answered(struct remote *remote, const struct bus_frame *frame)
{
    remote->pinged = false;
    if (frame->header.status == PARLEY_OK) {
        note_changes(remote, frame);
        welcome(remote);
        return;
    }
    char text[RPC_TEXT_BYTES];
    remote_sentence(frame, text, sizeof(text));
    if (!remote->endpoint->welcomed)
        farewell(remote, (enum parley_status)frame->header.status, text);
}

/* @frame NULL: there was no answer in time. */
static void ask_ended(struct remote *remote, const struct ask *ask, const struct bus_frame *frame)
{
    if (!ask->owner)
        return; /* nobody waits for it any more */
    switch ((enum ask_kind)ask->kind) {
    case ASK_CALL:
        far_call_answered(ask->owner, frame);
        return;
    case ASK_PING:
        if (frame)
            ping_answered(remote, frame);
        return;
    case ASK_OPEN:
        if (frame)
            far_client_opened(ask->owner, frame);
        else
            far_client_failed(ask->owner);
        return;
    case ASK_PUBLISH:
        if (frame)
            far_service_published(ask->owner, frame);
        else
            far_service_failed(ask->owner);
        return;
    case ASK_WITHDRAW:
        far_service_withdrawn(ask->owner);
        return;
    case ASK_LIST:
        if (frame)
            far_service_listed(ask->owner, frame);
        return;
    case ASK_CANCEL:
    case ASK_FREE:
        return;
    }
}

static void answer_received(struct remote *remote, uint32_t number, const uint8_t *data,
                            size_t bytes)
{
    struct bus_frame frame;
    struct error_text error = {.text = "it is no frame"};
    struct ask *ask = ask_find(remote, number);
    if (!ask)
        return; /* answered twice, or to somebody else */
    struct ask ended = *ask;
    int r = bus_frame_is(data, bytes) ? bus_frame_read(data, bytes, &frame, &error) : -EBADMSG;
    if (r == 0 && (frame.header.kind != FRAME_RESPONSE || frame.header.call_id != ended.id))
        r = error_set(&error, -EBADMSG, "it is of kind %u, or for another call", frame.header.kind);
    if (r < 0) {
        char text[RPC_TEXT_BYTES];
        (void)snprintf(text, sizeof(text), "what answers there is no bus: %.200s", error.text);
        farewell(remote, PARLEY_FAILED_PRECONDITION, text);
        return;
    }
    ask_free(remote, ask);
    ask_ended(remote, &ended, &frame);
}

/* ---- The connection ---- */

static void on_came(const struct replier_peer *peer, void *data)
{
    struct remote *remote = data;
    log_debug("connected to the broker at %s (%s)", remote->endpoint->broker, peer->text);
    remote->heard_ns = clock_now_ns();
    remote->endpoint->uplink_error.text[0] = '\0';
    ping(remote);
}

static void on_gone(void *data)
{
    struct remote *remote = data;
    struct parley_endpoint *endpoint = remote->endpoint;
    if (endpoint->welcomed)
        log_warn("lost the broker at %s; looking for it again", endpoint->broker);
    endpoint->welcomed = false;
    remote->pinged = false;
    for (uint32_t i = 0; i < remote->ask_count; i++)
        if (remote->asks[i].kind != ASK_FREE)
            ask_free(remote, &remote->asks[i]);
    endpoint_link_down(endpoint);
    /* What runs may free others, and so each is looked up anew; a lost one has no far ends. */
    struct far_service *far_service, *next_service;
    for (far_service = LIST_FIRST(&remote->services); far_service; far_service = next_service) {
        next_service = LIST_NEXT(far_service, entry);
        far_service_lost(far_service);
    }
    struct far_client *far_client, *next_client;
    for (far_client = LIST_FIRST(&remote->clients); far_client; far_client = next_client) {
        next_client = LIST_NEXT(far_client, entry);
        far_client_lost(far_client);
    }
}

/* Return: whether more may be there. */
static bool receive(struct remote *remote)
{
    for (unsigned i = 0; i < REMOTE_BATCH_MAX; i++) {
        uint32_t number;
        const uint8_t *data;
        size_t bytes;
        int r = caller_receive(remote->caller, &number, &data, &bytes);
        if (r == CALLER_E_AGAIN)
            return false;
        if (r < 0) {
            log_error("the broker at %s: %s", remote->endpoint->broker, strerror(-r));
            return false;
        }
        remote->heard_ns = clock_now_ns();
        answer_received(remote, number, data, bytes);
        if (endpoint_forked(remote->endpoint))
            return false;
    }
    return true;
}

static void asks_expire(struct remote *remote, uint64_t now)
{
    if (remote->asks_due == 0)
        return;
    for (uint32_t i = 0; i < remote->ask_count; i++) {
        struct ask ended = remote->asks[i];
        if (ended.kind == ASK_FREE || ended.deadline_ns > now)
            continue;
        ask_free(remote, &remote->asks[i]);
        ask_ended(remote, &ended, NULL);
    }
}

/* When a ping is due if none is under way; when the connection is given up if one is. */
static uint64_t heartbeat_next(const struct remote *remote)
{
    if (!caller_connected(remote->caller))
        return CLOCK_NEVER;
    uint64_t heard = clock_add(remote->heard_ns, REMOTE_PING_NS);
    uint64_t pinged = clock_add(remote->pinged_ns, REMOTE_PING_NS);
    if (remote->pinged)
        return heard > pinged ? heard : pinged;
    uint64_t look =
        LIST_EMPTY(&remote->clients) ? CLOCK_NEVER : clock_add(remote->pinged_ns, REMOTE_LOOK_NS);
    return look < heard ? look : heard;
}

static void heartbeat(struct remote *remote, uint64_t now)
{
    if (now < heartbeat_next(remote))
        return;
    if (!remote->pinged) {
        ping(remote);
    } else {
        log_warn("the broker at %s says nothing: dialling it anew", remote->endpoint->broker);
        caller_hang_up(remote->caller);
    }
}

/* Who finds that a connection has ended while sending is due at once. */
static bool flush(struct parley_endpoint *endpoint)
{
    struct remote *remote = endpoint->remote;
    caller_flush(remote->caller);
    uint64_t at = caller_next_deadline_ns(remote->caller), next;
    struct far_service *service;
    LIST_FOREACH (service, &remote->services, entry) {
        if (!service->replier)
            continue;
        replier_flush(service->replier);
        next = replier_next_deadline_ns(service->replier);
        at = next < at ? next : at;
    }
    if (at >= endpoint->reconnect_at_ns)
        return false;
    endpoint->reconnect_at_ns = at;
    return at == 0;
}

/* Does what has come, and sets when to look again. */
static void timers_run(struct remote *remote, bool run)
{
    (void)flush(remote->endpoint);
    uint64_t now = clock_now_ns(), at = caller_next_deadline_ns(remote->caller), next;
    if (run) {
        asks_expire(remote, now);
        heartbeat(remote, now);
    }
    for (uint32_t i = 0; remote->asks_due > 0 && i < remote->ask_count; i++)
        if (remote->asks[i].kind != ASK_FREE && remote->asks[i].deadline_ns < at)
            at = remote->asks[i].deadline_ns;
    if ((next = heartbeat_next(remote)) < at)
        at = next;
    struct far_client *client, *next_client;
    for (client = LIST_FIRST(&remote->clients); client; client = next_client) {
        next_client = LIST_NEXT(client, entry);
        if ((next = far_client_timer(client, run ? now : 0)) < at)
            at = next;
    }
    struct far_service *service, *next_service;
    for (service = LIST_FIRST(&remote->services); service; service = next_service) {
        next_service = LIST_NEXT(service, entry);
        if ((next = far_service_timer(service, run ? now : 0)) < at)
            at = next;
    }
    remote->endpoint->reconnect_at_ns = at;
}

void remote_timers_set(struct remote *remote)
{
    timers_run(remote, false);
}

void remote_later(struct remote *remote, uint64_t *pause_ns, uint64_t *ret_at_ns)
{
    uint64_t pause = *pause_ns < REMOTE_RETRY_NS_MIN ? REMOTE_RETRY_NS_MIN : *pause_ns;
    *ret_at_ns = clock_now_ns() + pause / 2 + random_next(&remote->endpoint->random) % (pause / 2);
    *pause_ns = 2 * pause > REMOTE_RETRY_NS_MAX ? REMOTE_RETRY_NS_MAX : 2 * pause;
    if (*ret_at_ns < remote->endpoint->reconnect_at_ns)
        remote->endpoint->reconnect_at_ns = *ret_at_ns;
}

static void note_problem(const struct remote *remote)
{
    struct error_text *error = &remote->endpoint->uplink_error;
    if (!caller_connected(remote->caller) && caller_problem(remote->caller)[0])
        (void)snprintf(error->text, sizeof(error->text), "%s", caller_problem(remote->caller));
}

static int turn(struct parley_endpoint *endpoint)
{
    struct remote *remote = endpoint->remote;
    caller_turn(remote->caller);
    bool more = receive(remote);
    if (endpoint_forked(endpoint))
        return 0;
    note_problem(remote);
    struct far_client *client;
    LIST_FOREACH (client, &remote->clients, entry) {
        far_client_resume(client);
    }
    timers_run(remote, true);
    if (more) {
        wait_wake(endpoint->wait);
        wait_modify(endpoint->wait, caller_fd(remote->caller), WAIT_IN);
    }
    return 0;
}

static void ready(struct source *source, uint32_t events)
{
    (void)events;
    (void)turn(((struct remote *)source)->endpoint);
}

/* ---- Uplink ---- */

/* What the endpoint says to its broker. */
static int told(struct parley_endpoint *endpoint, const Parley__LinkMessage *message,
                const int *fds, size_t fd_count)
{
    struct remote *remote = endpoint->remote;
    switch (message->body_case) {
    case PARLEY__LINK_MESSAGE__BODY_OPEN:
        far_client_open(remote, endpoint_client(endpoint, message->open->contract_id));
        return 0;
    case PARLEY__LINK_MESSAGE__BODY_CLOSE:
        far_client_close(remote, message->close->contract_id);
        return 0;
    case PARLEY__LINK_MESSAGE__BODY_CONNECT:
        if (!endpoint->welcomed || fd_count != 2)
            return -EPIPE;
        far_client_connect(remote, message->connect, fds[0], fds[1]);
        return 0;
    case PARLEY__LINK_MESSAGE__BODY_PUBLISH:
        far_service_publish(remote, endpoint_service(endpoint, message->publish->instance_id),
                            message->publish);
        return 0;
    case PARLEY__LINK_MESSAGE__BODY_WITHDRAW:
        far_service_withdraw(remote, message->withdraw);
        return 0;
    default:
        return 0; /* plans that were taken, spans, differences: a remote endpoint has none */
    }
}

static void look(struct parley_endpoint *endpoint)
{
    struct far_service *service;
    LIST_FOREACH (service, &endpoint->remote->services, entry) {
        far_service_look(service);
    }
}

static void end(struct parley_endpoint *endpoint)
{
    struct remote *remote = endpoint->remote;
    if (!remote)
        return;
    struct far_client *client;
    while ((client = LIST_FIRST(&remote->clients)))
        far_client_free(client);
    struct far_service *service;
    while ((service = LIST_FIRST(&remote->services)))
        far_service_free(service);
    if (remote->caller)
        wait_remove(endpoint->wait, caller_fd(remote->caller));
}

static void remote_free(struct parley_endpoint *endpoint)
{
    struct remote *remote = endpoint->remote;
    if (!remote)
        return;
    caller_free(remote->caller); /* knows of fork(2) */
    for (size_t i = 0; i < sizeof(remote->tls_texts) / sizeof(remote->tls_texts[0]); i++)
        free(remote->tls_texts[i]);
    free(remote->asks);
    free(remote);
    endpoint->remote = NULL;
}

const struct uplink_ops remote_uplink = {
    .turn = turn,
    .send = told,
    .look = look,
    .flush = flush,
    .end = end,
    .free = remote_free,
};

/* ---- Beginning ---- */

static char *option_or_env(const char *option, const char *variable)
{
    const char *text = option ? option : getenv(variable);
    return text && *text ? strdup(text) : NULL;
}

static void tls_read(struct remote *remote, const struct parley_endpoint_options *options)
{
    remote->tls.ca = remote->tls_texts[0] = option_or_env(options->tls_ca, "PARLEY_TLS_CA");
    remote->tls.certificate = remote->tls_texts[1] =
        option_or_env(options->tls_certificate, "PARLEY_TLS_CERT");
    remote->tls.key = remote->tls_texts[2] = option_or_env(options->tls_key, "PARLEY_TLS_KEY");
    remote->tls.server_name = remote->tls_texts[3] =
        option_or_env(options->tls_server_name, "PARLEY_TLS_NAME");
}

int remote_begin(struct parley_endpoint *endpoint, const struct parley_endpoint_options *options,
                 struct error_text *error)
{
    struct remote *remote = calloc(1, sizeof(*remote));
    if (!remote)
        return error_set(error, -ENOMEM, "out of memory for an endpoint");
    endpoint->remote = remote;
    endpoint->uplink = &remote_uplink;
    remote->endpoint = endpoint;
    remote->source.ready = ready;
    remote->id_last = UINT64_C(1) << 63; /* apart from the calls' */
    LIST_INIT(&remote->clients);
    LIST_INIT(&remote->services);
    /* What it waits for comes by descriptors, and libnng's threads need the CPU. */
    endpoint->doze_max = 0;
    endpoint->sees = false;
    endpoint->watches = false;
    endpoint->spin_ns_max = 1;
    spin_init(&endpoint->spin[false], 0, CLOCK_NEVER);
    spin_init(&endpoint->spin[true], 0, 0);
    tls_read(remote, options);
    const struct caller_options how = {
        .url = endpoint->broker,
        .bytes_max = REMOTE_BYTES_MAX,
        .gather = true,
        .tls = &remote->tls,
        .came = on_came,
        .gone = on_gone,
        .data = remote,
    };
    int r = caller_new(&how, &remote->caller, error);
    if (r < 0)
        return r;
    r = wait_add(endpoint->wait, caller_fd(remote->caller), WAIT_IN, &remote->source);
    if (r < 0)
        return error_set(error, r, "cannot watch the connection to %s: %s", endpoint->broker,
                         strerror(-r));
    note_problem(remote); /* who waits for it may hear of nothing else */
    remote_timers_set(remote);
    return 0;
}
