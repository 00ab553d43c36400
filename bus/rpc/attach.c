/*
 * A client's channels to the instances that the broker lists.
 *
 * We make our segment and a doorbell socketpair, the broker passes both on (Connect), the service
 * answers on the doorbell. Whatever becomes of that, an instance that is still listed is tried
 * again, later each time: the broker may have died with our Connect in its hands, and then nobody
 * else would tell. A channel that is up needs the broker for nothing.
 */
#include "rpc/frames.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/random.h"
#include "rpc/offers.h"

struct offer *client_offer(struct parley_client *client, const char *version)
{
    for (size_t i = 0; i < client->offer_count; i++) {
        if (strcmp(client->offers[i].version, version) == 0)
            return &client->offers[i];
    }
    return NULL;
}

struct channel *client_channel(struct parley_client *client, uint64_t instance_id)
{
    struct channel *channel;
    LIST_FOREACH (channel, &client->channels, owner_entry) {
        if (channel->instance_id == instance_id && channel->state != CHANNEL_DEAD)
            return channel;
    }
    return NULL;
}

struct listed *client_listed(struct parley_client *client, uint64_t instance_id)
{
    for (uint32_t i = 0; i < client->listed_count; i++) {
        if (client->listed[i].instance_id == instance_id)
            return &client->listed[i];
    }
    return NULL;
}

bool client_attaching(const struct parley_client *client)
{
    for (uint32_t i = 0; i < client->listed_count; i++) {
        if (client->listed[i].retry_at_ns && client->listed[i].attempts <= RPC_ATTACH_HOPES)
            return true;
    }
    struct channel *channel;
    LIST_FOREACH (channel, &client->channels, owner_entry) {
        if (channel->state == CHANNEL_CONNECTING)
            return true;
    }
    return false;
}

/* Which version of the route it is, and whether calls may go there but for ejection. */
static bool channel_place(struct channel *channel, const struct route_view *view,
                          enum route_instance_state *ret_state)
{
    *ret_state = route_state(view, channel->instance_id);
    channel->draining = *ret_state == ROUTE_INSTANCE_DRAINING;
    channel->route_version = ROUTE_NOBODY;
    channel->weighted = true;
    for (uint32_t i = 0; i < view->version_count; i++) {
        if (strcmp(view->version[i], channel->version) != 0)
            continue;
        channel->route_version = i;
        channel->weighted = view->threshold[i] > (i ? view->threshold[i - 1] : 0);
    }
    return channel->state == CHANNEL_UP && !channel->goaway && !channel->draining;
}

static int compare_versions(const void *a, const void *b)
{
    const uint32_t x = (*(struct channel *const *)a)->route_version;
    const uint32_t y = (*(struct channel *const *)b)->route_version;
    return (x > y) - (x < y);
}

/* Those of a version together, and where they are. */
static void live_group(struct parley_client *client)
{
    qsort(client->live, client->live_count, sizeof(client->live[0]), compare_versions);
    memset(client->live_of, 0, sizeof(client->live_of));
    client->live_alike = true;
    for (uint32_t i = client->live_count; i-- > 0;) {
        const struct channel *channel = client->live[i];
        client->live_alike = client->live_alike && channel->weighted &&
                             channel->route_version == client->live[0]->route_version;
        if (channel->route_version < ROUTE_VERSION_MAX) {
            client->live_of[channel->route_version].first = (uint8_t)i;
            client->live_of[channel->route_version].count++;
        }
    }
    client->live_plain = !client->methods_missing && client->live_count > 0 &&
                         (client->live_alike || client->live_count > 1);
}

/*
 * Which channels a new call may use, and which version of the route each one is. An instance that
 * is ejected is left out, as long as at least half of the instances of its version are not: else
 * those would get more than they were made for, and all are used alike. That is Envoy's panic
 * threshold, 50 % by default.
 */
void client_live_update(struct parley_client *client)
{
    struct channel *channel, *ejected[ROUTE_INSTANCE_MAX];
    uint32_t ejected_count = 0;
    uint32_t healthy[ROUTE_VERSION_MAX + 1] = {0}, ill[ROUTE_VERSION_MAX + 1] = {0};
    client->live_count = 0;
    LIST_FOREACH (channel, &client->channels, owner_entry) {
        enum route_instance_state state;
        if (!channel_place(channel, &client->view, &state) ||
            client->live_count + ejected_count >= ROUTE_INSTANCE_MAX)
            continue;
        uint32_t version =
            channel->route_version < ROUTE_VERSION_MAX ? channel->route_version : ROUTE_VERSION_MAX;
        if (state == ROUTE_INSTANCE_EJECTED) {
            ill[version]++;
            ejected[ejected_count++] = channel;
        } else {
            healthy[version]++;
            client->live[client->live_count++] = channel;
        }
    }
    for (uint32_t i = 0; i < ejected_count; i++) {
        uint32_t version = ejected[i]->route_version < ROUTE_VERSION_MAX ? ejected[i]->route_version
                                                                         : ROUTE_VERSION_MAX;
        if (healthy[version] < ill[version])
            client->live[client->live_count++] = ejected[i];
    }
    live_group(client);
}

#define RULES_READS_MAX 8

void client_route_changed(struct parley_client *client)
{
    const struct region *page = &client->endpoint->route;
    struct route_rules rules;
    for (unsigned i = 0;
         i < RULES_READS_MAX && client->matcher_sequence != client->view.matches_sequence; i++) {
        if (route_rules_copy(&client->view, page, client->route_slot, &rules)) {
            matcher_free(client->matcher);
            client->matcher = matcher_new(&rules);
            client->matcher_sequence = client->view.matches_sequence;
        } else {
            (void)route_refresh(&client->view, page, client->route_slot);
        }
    }
    client_live_update(client);
}

/* The instance is listed, but the channel to it came to nothing or ended: try again, later each
 * time. The broker may have died with our Connect, or the instance may be about to be unlisted. */
static void attach_later(struct parley_client *client, uint64_t instance_id)
{
    struct listed *listed = client_listed(client, instance_id);
    if (!listed || client->freed)
        return;
    uint32_t shift = listed->attempts < 7 ? listed->attempts : 7;
    uint64_t pause = RPC_ATTACH_NS_MIN << shift;
    if (pause > RPC_ATTACH_NS_MAX)
        pause = RPC_ATTACH_NS_MAX;
    listed->attempts++;
    listed->retry_at_ns =
        clock_now_ns() + pause / 2 + random_next(&client->endpoint->random) % (pause / 2);
    if (listed->retry_at_ns < client->endpoint->attach_at_ns)
        client->endpoint->attach_at_ns = listed->retry_at_ns;
}

static int connect_send(struct channel *channel, int theirs)
{
    Parley__Connect body = PARLEY__CONNECT__INIT;
    body.has_contract_id = true;
    body.contract_id = channel->client->contract_id;
    body.has_instance_id = true;
    body.instance_id = channel->instance_id;
    body.has_plan_id = true;
    body.plan_id = channel->held->plan_id;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_CONNECT;
    message.connect = &body;
    const int fds[] = {channel->ours.region.fd, theirs};
    return endpoint_send(channel->endpoint, &message, fds, 2);
}

/* Return: 0, and the channel is connecting (or dead already, and will be tried again); or -errno.
 */
static int connect_instance(struct parley_client *client, struct listed *listed,
                            const struct offer *offer, struct error_text *error)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return error_set(error, -errno, "no doorbell: %s", strerror(errno));
    _cleanup_(fd_closep) int ours = pair[0];
    _cleanup_(fd_closep) int theirs = pair[1];
    _cleanup_(freep) struct stats_cell **cells = calloc(client->spec.method_count, sizeof(*cells));
    if (!cells)
        return error_set(error, -ENOMEM, "out of memory");
    struct channel *channel;
    int r = channel_new(client->endpoint, &client_channel_ops, ours, &channel, error);
    if (r < 0)
        return r;
    ours = -1; /* the channel's */
    channel->state = CHANNEL_CONNECTING;
    channel->connecting_since_ns = clock_now_ns();
    uint64_t answer_by = clock_add(channel->connecting_since_ns, RPC_ATTACH_TIMEOUT_NS);
    if (answer_by < client->endpoint->attach_at_ns)
        client->endpoint->attach_at_ns = answer_by;
    channel->client = client;
    channel->instance_id = listed->instance_id;
    channel->held = held_keep(offer->held);
    channel->cells = steal_ptr(&cells);
    memcpy(channel->version, listed->version, sizeof(channel->version));
    LIST_INSERT_HEAD(&client->channels, channel, owner_entry);
    client->channel_count++;
    listed->retry_at_ns = 0;
    if (client->descriptor && channel_bind(channel, channel->held, client->descriptor, error) < 0) {
        log_warn("%s %s: %s", client->spec.interface, listed->version, error->text);
        channel_kill(channel, PARLEY_FAILED_PRECONDITION, "%s", error->text);
        return 0;
    }
    r = connect_send(channel, theirs);
    if (r < 0)
        channel_kill(channel, PARLEY_UNAVAILABLE, "cannot ask the broker to connect: %s",
                     strerror(-r));
    else
        segment_sent(&channel->ours);
    return 0;
}

void client_attach(struct parley_client *client, struct listed *listed)
{
    struct offer *offer = client_offer(client, listed->version);
    if (!offer || client->channel_count >= ROUTE_INSTANCE_MAX)
        return;
    struct error_text error = {0};
    uint64_t instance_id = listed->instance_id;
    if (connect_instance(client, listed, offer, &error) < 0) {
        log_warn("cannot attach to an instance of %s %s: %s", client->spec.interface,
                 listed->version, error.text);
        attach_later(client, instance_id);
    }
}

/* An instance that does not answer at all (a stopped process, say) counts as a failed attempt, so
 * that calls do not wait for it instead of going elsewhere. */
uint64_t client_attach_due(struct parley_client *client, uint64_t now)
{
    uint64_t next = CLOCK_NEVER;
    for (uint32_t i = 0; i < client->listed_count; i++) {
        struct listed *listed = &client->listed[i];
        if (listed->retry_at_ns && listed->retry_at_ns <= now) {
            listed->retry_at_ns = 0;
            if (!client_channel(client, listed->instance_id))
                client_attach(client, listed);
        }
        struct channel *channel = client_channel(client, listed->instance_id);
        uint64_t answer_by = CLOCK_NEVER;
        if (channel && channel->state == CHANNEL_CONNECTING)
            answer_by = clock_add(channel->connecting_since_ns, RPC_ATTACH_TIMEOUT_NS);
        if (answer_by <= now)
            channel_kill(channel, PARLEY_UNAVAILABLE, "the instance did not answer in time");
        else if (answer_by < next)
            next = answer_by;
        if (listed->retry_at_ns && listed->retry_at_ns < next)
            next = listed->retry_at_ns;
    }
    return next;
}

/* What the first call would have to do first. A failure is that call's. */
static void first_call_prepare(struct parley_client *client, const struct channel *channel)
{
    struct parley_endpoint *endpoint = client->endpoint;
    client_route_read(client);
    wire_block_prepare(RPC_FIRST_MESSAGE_BYTES);
    held_prepare(channel->held);
    if (endpoint->call_free_count == 0)
        (void)endpoint_calls_grow(endpoint);
}

static void client_attached(struct channel *channel)
{
    log_debug("attached to %s %s, instance %016llx", channel->client->spec.interface,
              channel->version, (unsigned long long)channel->instance_id);
    struct listed *listed = client_listed(channel->client, channel->instance_id);
    if (listed)
        listed->attempts = 0;
    channel->figures = stats_instance_take(&channel->endpoint->stats, channel->instance_id);
    first_call_prepare(channel->client, channel);
    client_live_update(channel->client);
    calls_resume(channel->client);
}

static void client_channel_dead(struct channel *channel, enum parley_status status,
                                const char *text)
{
    struct parley_client *client = channel->client;
    LIST_REMOVE(channel, owner_entry);
    client->channel_count--;
    client_live_update(client);
    attach_later(client, channel->instance_id);
    log_debug("channel to %s %s, instance %016llx, ended: %s", client->spec.interface,
              channel->version, (unsigned long long)channel->instance_id, text);

    /* What the service has not taken, by the position that it published, it never ran: it
     * publishes before it calls a handler. */
    uint64_t consumed =
        channel->peer.region.base ? peer_consumed(&channel->ours, &channel->peer) : 0;
    channel_gather_calls(channel);
    struct call *call;
    while ((call = TAILQ_FIRST(&channel->calls))) {
        bool taken = !call->queued && call->ring_end != 0 && consumed >= call->ring_end;
        /* Takes it off this channel, to its end or to another channel. */
        call_fail_attempt(call, status, taken ? PARLEY_EXECUTED_UNKNOWN : PARLEY_EXECUTED_NO, text);
    }
    stats_instance_drop(channel->figures);
    channel->figures = NULL;
    calls_resume(client);
}

static void say_bye(struct channel *channel)
{
    struct frame_header header = {.kind = FRAME_BYE};
    struct body body = {0};
    int r = channel_send_or_queue(channel, &header, &body, NULL);
    if (r >= 0)
        channel_ring_if_asleep(channel);
}

int client_told(struct channel *channel, const struct frame *frame, struct error_text *error)
{
    switch (frame->header.kind) {
    case FRAME_GOAWAY:
        channel_consume(channel, frame);
        if (!channel->goaway) {
            channel->goaway = true;
            client_live_update(channel->client);
            say_bye(channel);
        }
        return 0;
    default:
        return error_set(error, -EPROTO, "a frame of kind %u from a service", frame->header.kind);
    }
}

const struct channel_ops client_channel_ops = {
    .frame = client_frame,
    .attached = client_attached,
    .dead = client_channel_dead,
};
