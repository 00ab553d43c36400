/*
 * Calls by the control API: a CallRequest becomes a call of the relay's, and how that ends a
 * CallReply.
 */
#include "broker/guard.h"
#include "broker/broker.h"

#include <stdlib.h>

#include "base/log.h"
#include "broker/relay.h"
#include "rpc/rpc.h"

static void on_ended(const struct relay_end *end, void *userdata)
{
    struct replier_request *asker = userdata;
    Parley__CallReply body = PARLEY__CALL_REPLY__INIT;
    body.has_executed = true;
    body.executed = end->executed;
    body.has_translation = end->version[0] != '\0';
    body.translation = (uint32_t)end->translation;
    body.served_by = (char *)(uintptr_t)(end->version[0] ? end->version : NULL);
    body.has_payload = end->payload != NULL;
    body.payload.data = (uint8_t *)(uintptr_t)end->payload;
    body.payload.len = end->payload_bytes;
    Parley__ControlReply reply = PARLEY__CONTROL_REPLY__INIT;
    reply.has_status = true;
    reply.status = end->status;
    reply.text = (char *)(uintptr_t)(end->text[0] ? end->text : NULL);
    reply.body_case = PARLEY__CONTROL_REPLY__BODY_CALL;
    reply.call = &body;
    uint8_t *data = NULL;
    size_t data_bytes;
    if (!asker || control_pack(&reply, &data, &data_bytes) < 0)
        replier_drop(asker);
    else if (replier_answer(asker, data, data_bytes) < 0)
        log_warn("the answer to a relayed call was not sent");
    free(data);
}

static enum parley_status read_metadata(const Parley__CallRequest *request,
                                        uint8_t block[RPC_METADATA_BLOCK_BYTES_MAX],
                                        size_t *ret_bytes, struct error_text *error)
{
    struct parley_metadata pairs[RPC_METADATA_PAIRS_MAX];
    if (request->n_metadata > RPC_METADATA_PAIRS_MAX) {
        error_set(error, 0, "%zu pairs of metadata: at most %d", request->n_metadata,
                  RPC_METADATA_PAIRS_MAX);
        return PARLEY_INVALID_ARGUMENT;
    }
    for (size_t i = 0; i < request->n_metadata; i++)
        pairs[i] = (struct parley_metadata){
            .key = request->metadata[i]->key ? request->metadata[i]->key : "",
            .value = (const char *)request->metadata[i]->value.data,
            .value_bytes = request->metadata[i]->value.len,
        };
    return metadata_encode(pairs, request->n_metadata, block, RPC_METADATA_BLOCK_BYTES_MAX,
                           ret_bytes, error) < 0
               ? PARLEY_INVALID_ARGUMENT
               : PARLEY_OK;
}

enum parley_status control_call(struct broker *broker, const Parley__CallRequest *request,
                                struct replier_request *asker, struct error_text *error)
{
    uint8_t block[RPC_METADATA_BLOCK_BYTES_MAX];
    struct relay_ask ask = {
        .peer = guard_peer(asker),
        .accept = request->accept,
        .timeout_ns = request->timeout_ns,
        .metadata = block,
        .payload = request->payload.data,
        .payload_bytes = request->payload.len,
        .one_way = request->one_way,
        .ended = on_ended,
        .userdata = asker,
    };
    enum parley_status status =
        relay_find(broker, request->interface, request->version, &ask.schema, error);
    if (status == PARLEY_OK)
        status = relay_method(ask.schema, request->method, &ask.method, error);
    if (status == PARLEY_OK)
        status = read_metadata(request, block, &ask.metadata_bytes, error);
    if (status == PARLEY_OK)
        (void)relay_start(broker, &ask, &status, error);
    return status;
}
