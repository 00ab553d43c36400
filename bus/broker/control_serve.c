/*
 * The control API's Publish and Withdraw: what parley.bus has of the same names, for who asks
 * there.
 */
#include "broker/guard.h"
#include "broker/serve.h"

static int fail(Parley__ControlReply *reply, enum parley_status status, struct error_text *error,
                uint8_t **ret_data, size_t *ret_bytes)
{
    reply->status = status;
    reply->text = error->text;
    return control_pack(reply, ret_data, ret_bytes);
}

int control_publish(struct broker *broker, const Parley__PublishRequest *request,
                    const struct replier_request *asker, Parley__ControlReply *reply,
                    uint8_t **ret_data, size_t *ret_bytes)
{
    struct error_text error = {""};
    struct serve_published published;
    enum parley_status status =
        serve_publish(broker, request, guard_peer(asker), &published, &error);
    if (status != PARLEY_OK)
        return fail(reply, status, &error, ret_data, ret_bytes);
    Parley__PublishReply body = serve_reply(&published);
    reply->body_case = PARLEY__CONTROL_REPLY__BODY_PUBLISH;
    reply->publish = &body;
    return control_pack(reply, ret_data, ret_bytes);
}

int control_withdraw(struct broker *broker, const Parley__WithdrawRequest *request,
                     const struct replier_request *asker, Parley__ControlReply *reply,
                     uint8_t **ret_data, size_t *ret_bytes)
{
    struct error_text error = {""};
    enum parley_status status = serve_withdraw(broker, request, guard_peer(asker), &error);
    if (status != PARLEY_OK)
        return fail(reply, status, &error, ret_data, ret_bytes);
    Parley__WithdrawReply body = PARLEY__WITHDRAW_REPLY__INIT;
    reply->body_case = PARLEY__CONTROL_REPLY__BODY_WITHDRAW;
    reply->withdraw = &body;
    return control_pack(reply, ret_data, ret_bytes);
}
