/*
 * The control API's Publish and Withdraw: what parley.bus has of the same names, for who asks
 * there.
 */
#include "broker/serve.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Who asks, in the terms of the bus. */
static void peer_of(const struct nng_request *asker, struct replier_peer *peer)
{
    struct nng_peer known = {.known = true, .local = true, .uid = geteuid(), .pid = getpid()};
    (void)snprintf(known.text, sizeof(known.text), "this process");
    if (asker)
        nng_request_peer(asker, &known);
    *peer = (struct replier_peer){
        .local = known.local, .uid = known.uid, .gid = (gid_t)-1, .pid = known.pid};
    (void)snprintf(peer->text, sizeof(peer->text), "%s", known.text);
}

static int fail(Parley__ControlReply *reply, enum parley_status status, struct error_text *error,
                uint8_t **ret_data, size_t *ret_bytes)
{
    reply->status = status;
    reply->text = error->text;
    return control_pack(reply, ret_data, ret_bytes);
}

int control_publish(struct broker *broker, const Parley__PublishRequest *request,
                    const struct nng_request *asker, Parley__ControlReply *reply,
                    uint8_t **ret_data, size_t *ret_bytes)
{
    struct error_text error = {""};
    struct replier_peer peer;
    struct serve_published published;
    peer_of(asker, &peer);
    enum parley_status status = serve_publish(broker, request, &peer, &published, &error);
    if (status != PARLEY_OK)
        return fail(reply, status, &error, ret_data, ret_bytes);
    Parley__PublishReply body = PARLEY__PUBLISH_REPLY__INIT;
    body.has_instance_id = body.has_dial_within_ms = true;
    body.instance_id = published.instance_id;
    body.dial_within_ms = published.dial_within_ms;
    body.url = published.url;
    reply->body_case = PARLEY__CONTROL_REPLY__BODY_PUBLISH;
    reply->publish = &body;
    return control_pack(reply, ret_data, ret_bytes);
}

int control_withdraw(struct broker *broker, const Parley__WithdrawRequest *request,
                     const struct nng_request *asker, Parley__ControlReply *reply,
                     uint8_t **ret_data, size_t *ret_bytes)
{
    struct error_text error = {""};
    struct replier_peer peer;
    peer_of(asker, &peer);
    enum parley_status status = serve_withdraw(broker, request, &peer, &error);
    if (status != PARLEY_OK)
        return fail(reply, status, &error, ret_data, ret_bytes);
    Parley__WithdrawReply body = PARLEY__WITHDRAW_REPLY__INIT;
    reply->body_case = PARLEY__CONTROL_REPLY__BODY_WITHDRAW;
    reply->withdraw = &body;
    return control_pack(reply, ret_data, ret_bytes);
}
