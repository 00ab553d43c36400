/*
 * When the broker's policy is another one.
 *
 * The broker is not on the road of calls, and knows no channels: those who may still serve, or
 * call, hang up on those who may not. So each service tells who has channels to it, after each
 * change of the policy and when a broker that may have another one takes it in, and is told whom to
 * hang up on (Cut). A client is told which instances may not serve any more (Instances.cut,
 * client.c). Who is refused is told so as well, and ends what it has itself; but nobody relies on
 * that.
 *
 * Nothing of it is for ever: whoever was refused asks again when the policy changes the next time.
 */
#include "rpc/offers.h"

#include <string.h>

#include "base/log.h"

/* ---- Services ---- */

static bool has(Parley__Caller *const *callers, size_t count, const struct parley_peer *peer)
{
    for (size_t i = count; i > 0; i--) /* neighbours are mostly of one user */
        if (callers[i - 1]->uid == peer->uid && callers[i - 1]->gid == peer->gid)
            return true;
    return false;
}

static size_t collect(const struct parley_service *service, Parley__Caller *callers,
                      Parley__Caller **pointers)
{
    const struct channel *channel;
    size_t count = 0;
    LIST_FOREACH (channel, &service->channels, owner_entry) {
        const struct parley_peer *peer = &channel->peer_id;
        if (channel->relayed || has(pointers, count, peer))
            continue;
        Parley__Caller *caller = &callers[count];
        parley__caller__init(caller);
        caller->has_uid = caller->has_gid = caller->has_pid = true;
        caller->uid = peer->uid;
        caller->gid = peer->gid;
        caller->pid = (uint32_t)peer->pid;
        pointers[count++] = caller;
    }
    return count;
}

void service_tell_callers(struct parley_service *service)
{
    if (service->channel_count == 0)
        return;
    _cleanup_(freep) Parley__Caller *callers = calloc(service->channel_count, sizeof(*callers));
    _cleanup_(freep) Parley__Caller **pointers = calloc(service->channel_count, sizeof(*pointers));
    if (!callers || !pointers) {
        log_error("out of memory: the broker is not told who calls %s", service->interface->name);
        return;
    }
    Parley__Callers body = PARLEY__CALLERS__INIT;
    body.has_instance_id = true;
    body.instance_id = service->instance_id;
    body.n_callers = collect(service, callers, pointers);
    body.callers = pointers;
    Parley__LinkMessage message = PARLEY__LINK_MESSAGE__INIT;
    message.body_case = PARLEY__LINK_MESSAGE__BODY_CALLERS;
    message.callers = &body;
    if (body.n_callers > 0)
        (void)endpoint_send(service->endpoint, &message, NULL, 0); /* a lost link publishes again */
}

/* @whom NULL: everybody. */
static void hang_up(struct parley_service *service, const Parley__Cut *whom, const char *text)
{
    struct channel *channel, *next;
    for (channel = LIST_FIRST(&service->channels); channel; channel = next) {
        const struct parley_peer *peer = &channel->peer_id;
        next = LIST_NEXT(channel, owner_entry);
        if (!whom || (!channel->relayed && peer->uid == whom->uid && peer->gid == whom->gid))
            channel_kill(channel, PARLEY_PERMISSION_DENIED, "%s", text);
    }
}

void service_cut(struct parley_service *service, const Parley__Cut *message)
{
    const char *text = message->text ? message->text : "the policy does not allow it any more";
    log_info("%s %s hangs up on a client: %s", service->interface->name,
             service->interface->version, text);
    hang_up(service, message, text);
}

void service_denied(struct parley_service *service)
{
    hang_up(service, NULL, service->text);
}

/* ---- Clients ---- */

void client_denied(struct parley_client *client)
{
    struct channel *channel;
    client->listed_count = 0;
    while (!client->freed && (channel = LIST_FIRST(&client->channels)))
        channel_kill(channel, PARLEY_PERMISSION_DENIED, "%s", client->opened_text);
}

void client_cut(struct parley_client *client, uint64_t instance_id)
{
    struct listed *listed = client_listed(client, instance_id);
    struct channel *channel = client_channel(client, instance_id);
    if (listed)
        *listed = client->listed[--client->listed_count];
    if (channel)
        channel_kill(channel, PARLEY_UNAVAILABLE, "the instance may not serve any more");
}

/* ---- Both ---- */

void endpoint_review(struct parley_endpoint *endpoint)
{
    struct parley_service *service;
    TAILQ_FOREACH (service, &endpoint->services, entry) {
        if (service->answered && service->status == PARLEY_PERMISSION_DENIED) {
            service->answered = false; /* once, however often the policy changes meanwhile */
            service_link_up(service);
        } else {
            service_tell_callers(service);
        }
    }
    struct parley_client *client;
    TAILQ_FOREACH (client, &endpoint->clients, entry) {
        if (client->answered && client->opened_status == PARLEY_PERMISSION_DENIED) {
            client->answered = false; /* calls wait until it is */
            client_link_up(client);
        }
    }
}
