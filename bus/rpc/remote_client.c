/*
 * What stands for services in a remote endpoint: the other ends of its clients' channels.
 *
 * Open goes to the broker with the client's descriptor set, and comes back as a contract. The
 * client is then told of one instance for each version on offer: that is what a call's own range
 * chooses among. Any other call leaves the choice to the broker, whichever of the channels it comes
 * by. A request is taken out of the client's ring when it is on its way; while there is no room, or
 * no contract, it stays there, and so is not executed.
 *
 * A contract that is not used lapses at the broker, so that it is opened again from time to time,
 * and at once if the broker does not know it. A broker where nothing is published yet is asked
 * again.
 */
#include "rpc/frames.h"
#include "rpc/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "rpc/offers.h"
#include "rpc/refs.h"

#define CONTRACT_TEXT_BYTES 17

/* Its channel is dead. */
static void far_free(struct far *far)
{
    LIST_REMOVE(far, entry);
    if (far->channel)
        far->channel->far = NULL;
    free(far);
}

/* ---- Calls ---- */

/* A call's own range, as the versions on offer that suit it as well as the one that the channel
 * stands for: the broker chooses among them by weights. @text: of
 * SEMVER_RANGE_BYTES_MAX + 1. */
static void write_range(const struct far *far, const struct call *call, char *text)
{
    const struct parley_client *client = far->client->client;
    struct semver own;
    size_t used = (size_t)snprintf(text, SEMVER_RANGE_BYTES_MAX + 1, "%s", far->version);
    if (!call || !call->ranges || semver_parse(far->version, &own) != 0)
        return;
    int rank = semver_ranges_match(call->ranges, &own);
    for (size_t i = 0; i < client->offer_count; i++) {
        const struct offer *offer = &client->offers[i];
        size_t more = strlen(" || ") + strlen(offer->version);
        if (semver_ranges_match(call->ranges, &offer->semver) != rank ||
            strcmp(offer->version, far->version) == 0 || used + more > SEMVER_RANGE_BYTES_MAX)
            continue;
        used += (size_t)snprintf(text + used, more + 1, " || %s", offer->version);
    }
}

static int send_frame(struct far *far, const struct frame *frame, const uint8_t *payload,
                      size_t bytes)
{
    struct far_client *client = far->client;
    const struct call *call = endpoint_call_find(far->channel->endpoint, frame->header.call_id);
    char contract[CONTRACT_TEXT_BYTES], range[SEMVER_RANGE_BYTES_MAX + 1];
    struct bus_frame out = {
        .header = {.kind = frame->header.kind,
                   .call_id = frame->header.call_id,
                   .time_left_us = frame->header.time_left_us,
                   .method = frame->header.method},
        .metadata = frame->metadata,
        .metadata_bytes = frame->header.metadata_bytes,
        .payload_bytes = bytes,
    };
    (void)snprintf(contract, sizeof(contract), "%016llx", (unsigned long long)client->contract);
    out.contract = bus_text_of(contract);
    if (frame->header.flags & FRAME_IN_RANGE) {
        write_range(far, call, range);
        out.accept = bus_text_of(range);
    }
    client->used_ns = clock_now_ns();
    if (call) { /* it may have waited here */
        uint64_t left = clock_left(call->deadline_ns, client->used_ns) / NS_PER_US;
        out.header.time_left_us = left < UINT32_MAX ? (uint32_t)left + 1 : UINT32_MAX;
    }
    return remote_send(client->remote, &out, payload, ASK_CALL, far);
}

/* Ends it here, as a service would. */
static void refuse(struct far *far, uint64_t call_id, enum parley_status status, const char *text)
{
    struct frame_header header = {.kind = FRAME_RESPONSE,
                                  .call_id = call_id,
                                  .status = (uint8_t)status,
                                  .executed = PARLEY_EXECUTED_NO};
    struct body body = {.data = (const uint8_t *)text, .bytes = strlen(text)};
    if (channel_send_or_queue(far->channel, &header, &body, NULL) >= 0)
        channel_ring_if_asleep(far->channel);
}

/* Return: as struct channel_ops' frame(). */
static int request(struct far *far, const struct frame *frame)
{
    struct channel *channel = far->channel;
    if (frame->header.kind == FRAME_REQUEST &&
        !endpoint_call_find(channel->endpoint, frame->header.call_id)) {
        channel_consume(channel, frame); /* given up while it waited here */
        return 0;
    }
    if (far->client->contract == 0 || far->client->remote->calls >= REMOTE_CALLS_AT_ONCE) {
        channel->paused = true;
        return CHANNEL_E_FULL;
    }
    _cleanup_(freep) uint8_t *expanded = NULL;
    const uint8_t *payload = frame->payload;
    size_t bytes = frame->header.payload_bytes;
    int r = frame->refs->count > 0 ? refs_expand(frame, &expanded, &bytes) : 0;
    if (r == 0)
        r = send_frame(far, frame, expanded ? expanded : payload, bytes);
    if (r == CHANNEL_E_FULL || r == -EPIPE) {
        channel->paused = true;
        return CHANNEL_E_FULL; /* later, or the channel ends with the connection */
    }
    bool answered = frame->header.kind == FRAME_REQUEST;
    uint64_t call_id = frame->header.call_id;
    channel_consume(channel, frame);
    if (r < 0 && answered)
        refuse(far, call_id, PARLEY_RESOURCE_EXHAUSTED,
               r == -EMSGSIZE ? "the request and its metadata are too large for a frame"
                              : "no memory for a frame");
    else if (answered)
        channel->in_flight++;
    return 0;
}

static int cancel(struct far *far, const struct frame *frame)
{
    struct bus_frame out = {.header = {.kind = FRAME_CANCEL, .call_id = frame->header.call_id}};
    int r = remote_send(far->client->remote, &out, NULL, ASK_CANCEL, NULL);
    if (r == CHANNEL_E_FULL) {
        far->channel->paused = true;
        return CHANNEL_E_FULL;
    }
    channel_consume(far->channel, frame);
    return 0;
}

static int far_frame(struct channel *channel, const struct frame *frame, struct error_text *error)
{
    struct far *far = channel->far;
    switch (frame->header.kind) {
    case FRAME_REQUEST:
    case FRAME_ONE_WAY:
        return request(far, frame);
    case FRAME_CANCEL:
        return cancel(far, frame);
    default:
        return error_set(error, -EPROTO, "a frame of kind %u from a client", frame->header.kind);
    }
}

/* The client has been freed: what it called for is given up. */
static void cancel_all(struct far *far)
{
    struct remote *remote = far->client->remote;
    for (uint32_t i = 0; i < remote->ask_count; i++) {
        if (remote->asks[i].kind != ASK_CALL || remote->asks[i].owner != far)
            continue;
        struct bus_frame out = {.header = {.kind = FRAME_CANCEL, .call_id = remote->asks[i].id}};
        if (remote_send(remote, &out, NULL, ASK_CANCEL, NULL) != 0)
            return; /* no room, or no connection: their deadlines end them */
    }
}

static void far_dead(struct channel *channel, enum parley_status status, const char *text)
{
    struct far *far = channel->far;
    (void)status;
    (void)text;
    if (channel->in_flight > 0)
        cancel_all(far);
    remote_forget(far->client->remote, far);
    far_free(far);
}

static const struct channel_ops far_ops = {.frame = far_frame, .dead = far_dead};

/* ---- Their answers ---- */

static enum parley_translation translation_of(const struct bus_text *text)
{
    for (unsigned i = PARLEY_IDENTITY; i <= PARLEY_LOSSY; i++) {
        const char *name = parley_translation_name((enum parley_translation)i);
        if (strlen(name) == text->bytes && memcmp(name, text->text, text->bytes) == 0)
            return (enum parley_translation)i;
    }
    return PARLEY_IDENTITY;
}

/* Who served is what the answer says, not what the channel stands for. */
static void note_version(struct call *call, const struct bus_frame *frame)
{
    size_t bytes = frame->version.bytes < sizeof(call->told_version) ? frame->version.bytes : 0;
    if (bytes)
        memcpy(call->told_version, frame->version.text, bytes);
    call->told_version[bytes] = '\0';
    call->told_translation = translation_of(&frame->translation);
    call->told = call->extras = true;
}

static bool contract_is_unknown(const struct bus_frame *frame)
{
    static const char begins[] = "contract ";
    return frame->header.status == PARLEY_FAILED_PRECONDITION &&
           frame->header.executed == PARLEY_EXECUTED_NO &&
           frame->payload_bytes >= sizeof(begins) - 1 &&
           memcmp(frame->payload, begins, sizeof(begins) - 1) == 0;
}

void far_call_answered(struct far *far, const struct bus_frame *frame)
{
    struct channel *channel = far->channel;
    struct call *call = endpoint_call_find(channel->endpoint, frame->header.call_id);
    if (channel->in_flight > 0)
        channel->in_flight--;
    if (!call || call->one_way || !call->channel || call->channel->instance_id != far->instance_id)
        return; /* given up meanwhile */
    if (contract_is_unknown(frame)) {
        far->client->contract = 0;
        refuse(far, frame->header.call_id, PARLEY_UNAVAILABLE, "the broker forgot the contract");
        client_link_up(far->client->client);
        return;
    }
    note_version(call, frame);
    struct frame_header header = {.kind = FRAME_RESPONSE,
                                  .call_id = frame->header.call_id,
                                  .status = frame->header.status,
                                  .executed = frame->header.executed};
    struct body body = {.data = frame->payload, .bytes = frame->payload_bytes};
    channel_wake(call->channel); /* so that no bell is rung */
    int r = channel_send_or_queue(channel, &header, &body, NULL);
    if (r >= 0)
        channel_ring_if_asleep(channel);
    else
        channel_kill(channel, PARLEY_UNAVAILABLE, "a reply found no room: %s", strerror(-r));
}

/* ---- Channels ---- */

static int attach(struct far_client *client, struct far *far, int segment_fd, int *bell,
                  struct error_text *error)
{
    struct channel *channel;
    int r = channel_new(client->remote->endpoint, &far_ops, *bell, &channel, error);
    if (r < 0)
        return r;
    *bell = -1; /* the channel's */
    channel->service_side = true;
    channel->far = far;
    channel->instance_id = far->instance_id;
    far->channel = channel;
    r = channel_attach_peer(channel, segment_fd, error);
    struct bell_packet packet = {.kind = BELL_ACCEPT, .instance_id = far->instance_id};
    if (r == 0)
        r = channel_bell_send(channel, &packet, sizeof(packet), channel->ours.region.fd);
    if (r < 0) {
        channel_kill(channel, PARLEY_UNAVAILABLE, "%s", strerror(-r)); /* frees the far end */
        return 0; /* the client sees it hang up */
    }
    segment_sent(&channel->ours);
    return 0;
}

static struct far_client *find(struct remote *remote, uint64_t contract_id)
{
    struct far_client *client;
    LIST_FOREACH (client, &remote->clients, entry) {
        if (client->client->contract_id == contract_id)
            return client;
    }
    return NULL;
}

void far_client_connect(struct remote *remote, const Parley__Connect *message, int segment_fd,
                        int bell)
{
    struct far_client *client = find(remote, message->contract_id);
    const struct listed *listed =
        client ? client_listed(client->client, message->instance_id) : NULL;
    struct far *far = listed ? calloc(1, sizeof(*far)) : NULL;
    _cleanup_(fd_closep) int ours = far ? fcntl(bell, F_DUPFD_CLOEXEC, 3) : -1;
    if (ours < 0) {
        free(far);
        return; /* the client tries again */
    }
    far->client = client;
    far->instance_id = message->instance_id;
    memcpy(far->version, listed->version, sizeof(far->version));
    LIST_INSERT_HEAD(&client->fars, far, entry);
    struct error_text error = {0};
    if (attach(client, far, segment_fd, &ours, &error) < 0) {
        log_warn("%s: %s", client->client->spec.interface, error.text);
        far_free(far);
    }
}

void far_client_resume(struct far_client *client)
{
    struct far *far;
    LIST_FOREACH (far, &client->fars, entry) {
        if (!far->channel->paused)
            continue;
        far->channel->paused = false;
        channel_wake(far->channel);
    }
}

/* ---- The contract ---- */

void far_client_open(struct remote *remote, struct parley_client *client)
{
    struct far_client *far_client = find(remote, client->contract_id);
    if (!far_client) {
        far_client = calloc(1, sizeof(*far_client));
        if (!far_client)
            return; /* the client waits, and says so */
        far_client->remote = remote;
        far_client->client = client;
        far_client->retry_at_ns = CLOCK_NEVER;
        LIST_INIT(&far_client->fars);
        LIST_INSERT_HEAD(&remote->clients, far_client, entry);
    }
    if (far_client->asked)
        return;
    Parley__Bus__V1__OpenRequest request = PARLEY__BUS__V1__OPEN_REQUEST__INIT;
    request.interface = (char *)(uintptr_t)client->spec.interface;
    request.version = (char *)(uintptr_t)client->spec.version;
    request.accept = client->accept[0] ? client->accept : NULL;
    request.service = (char *)(uintptr_t)client->spec.service;
    request.has_descriptor_set = true;
    request.descriptor_set.data = (uint8_t *)(uintptr_t)client->spec.descriptor_set;
    request.descriptor_set.len = client->spec.descriptor_set_bytes;
    far_client->used_ns = clock_now_ns();
    far_client->retry_at_ns = CLOCK_NEVER;
    far_client->asked = true;
    far_client->stale = false;
    if (remote_ask(remote, "Open", &request.base, ASK_OPEN, far_client) != 0)
        far_client_failed(far_client);
}

/* One instance for each version. Those that there are already stay. */
static void list_versions(struct far_client *client, const Parley__Bus__V1__OpenReply *reply)
{
    Parley__Instance up[ROUTE_VERSION_MAX];
    Parley__Instance *pointers[ROUTE_VERSION_MAX];
    Parley__Instances message = PARLEY__INSTANCES__INIT;
    for (size_t i = 0; i < reply->n_offer && i < ROUTE_VERSION_MAX; i++) {
        struct far *far;
        uint64_t instance_id = 0;
        LIST_FOREACH (far, &client->fars, entry) {
            if (reply->offer[i]->version && strcmp(far->version, reply->offer[i]->version) == 0)
                instance_id = far->instance_id;
        }
        parley__instance__init(&up[i]);
        up[i].has_instance_id = true;
        up[i].instance_id = instance_id ? instance_id : ++client->remote->id_last;
        up[i].version = reply->offer[i]->version;
        pointers[message.n_up++] = &up[i];
    }
    message.up = pointers;
    client_instances(client->client, &message);
}

/* Versions that are on offer no longer, or again: what is under way there is answered as ever. */
static void relist_versions(struct far_client *client, const Parley__Bus__V1__OpenReply *reply)
{
    struct far *far;
    LIST_FOREACH (far, &client->fars, entry) {
        bool there = false;
        for (size_t i = 0; i < reply->n_offer; i++)
            there = there || (reply->offer[i]->version &&
                              strcmp(far->version, reply->offer[i]->version) == 0);
        struct channel *channel = client_channel(client->client, far->instance_id);
        if (channel && channel->goaway == there) {
            channel->goaway = !there;
            client_live_update(client->client);
        }
    }
}

static void tell_opened(struct far_client *client, const struct bus_frame *frame,
                        const Parley__Bus__V1__OpenReply *reply)
{
    Parley__Offer offers[ROUTE_VERSION_MAX];
    Parley__Offer *pointers[ROUTE_VERSION_MAX];
    Parley__Opened message = PARLEY__OPENED__INIT;
    char text[ERROR_TEXT_BYTES_MAX];
    message.has_status = true;
    message.status = frame->header.status;
    if (!reply) {
        remote_sentence(frame, text, sizeof(text));
        message.text = text;
        client_opened(client->client, &message);
        return;
    }
    for (size_t i = 0; i < reply->n_offer && i < ROUTE_VERSION_MAX; i++) {
        parley__offer__init(&offers[i]);
        offers[i].version = reply->offer[i]->version;
        offers[i].has_translation = true;
        offers[i].translation = (Parley__TranslationClass)reply->offer[i]->translation;
        pointers[message.n_offers++] = &offers[i];
    }
    message.offers = pointers;
    message.has_transcript = reply->has_transcript;
    message.transcript = reply->transcript;
    client_opened(client->client, &message);
}

/* A closure that ran meanwhile may have freed the client. */
static bool is_there(struct remote *remote, const struct far_client *client)
{
    const struct far_client *other;
    LIST_FOREACH (other, &remote->clients, entry) {
        if (other == client)
            return true;
    }
    return false;
}

static void opened(struct far_client *client, const struct bus_frame *frame,
                   const Parley__Bus__V1__OpenReply *reply)
{
    struct remote *remote = client->remote;
    client->contract = reply->contract;
    client->pause_ns = 0;
    tell_opened(client, frame, reply);
    if (!is_there(remote, client) || client->client->opened_status != PARLEY_OK)
        return;
    relist_versions(client, reply);
    list_versions(client, reply);
    if (is_there(remote, client))
        far_client_resume(client);
}

void far_client_stale(struct far_client *client)
{
    client->stale = true; /* one that is asked may have been answered before the change */
    if (client->remote->endpoint->welcomed && !client->asked)
        far_client_open(client->remote, client->client);
}

void far_client_opened(struct far_client *client, const struct bus_frame *frame)
{
    struct remote *remote = client->remote;
    client->asked = false;
    if (client->stale)
        client->retry_at_ns = clock_now_ns();
    if (frame->header.status != PARLEY_OK) {
        if (frame->header.status == PARLEY_UNAVAILABLE)
            remote_later(remote, &client->pause_ns, &client->retry_at_ns);
        tell_opened(client, frame, NULL);
        return;
    }
    ProtobufCMessage *message;
    if (wire_unpack(&parley__bus__v1__open_reply__descriptor, frame->payload, frame->payload_bytes,
                    NULL, &message, NULL) < 0) {
        far_client_failed(client);
        return;
    }
    opened(client, frame, (const Parley__Bus__V1__OpenReply *)message);
    wire_free(message);
    remote_timers_set(remote);
}

void far_client_failed(struct far_client *client)
{
    client->asked = false;
    remote_later(client->remote, &client->pause_ns, &client->retry_at_ns);
}

uint64_t far_client_timer(struct far_client *client, uint64_t now)
{
    if (!client->remote->endpoint->welcomed)
        return CLOCK_NEVER;
    uint64_t at = client->retry_at_ns;
    uint64_t idle = clock_add(client->used_ns, REMOTE_CONTRACT_IDLE_NS);
    if (client->contract && !client->asked && idle < at)
        at = idle;
    if (at > now)
        return at;
    far_client_open(client->remote, client->client);
    return client->retry_at_ns;
}

void far_client_lost(struct far_client *client)
{
    client->contract = 0;
    client->asked = false;
    client->retry_at_ns = CLOCK_NEVER;
    client->pause_ns = 0;
    struct far *far;
    while ((far = LIST_FIRST(&client->fars)))
        channel_kill(far->channel, PARLEY_UNAVAILABLE, "the connection to the broker was lost");
}

void far_client_free(struct far_client *client)
{
    far_client_lost(client);
    remote_forget(client->remote, client);
    LIST_REMOVE(client, entry);
    free(client);
}

void far_client_close(struct remote *remote, uint64_t contract_id)
{
    struct far_client *client = find(remote, contract_id);
    if (client)
        far_client_free(client);
}
