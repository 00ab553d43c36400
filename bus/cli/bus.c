/*
 * The same questions at a bus URL, which answers to frames: what there is, a descriptor set, a
 * call.
 *
 * Nothing in a URL tells what listens there. So the control request is sent first, and if a frame
 * comes back, that is a bus; what was asked for is then asked by frames, from then on at once. What
 * a bus does not answer, the user is told who does.
 */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/bus.h"
#include "control/bus_frame.h"
#include "control/nng.h"
#include "parley/bus.pb-c.h"
#include "parley/client.h"
#include "wire/wire.h"

#define BUS_INTERFACE "parley.bus"
#define TIME_LEFT_MAX UINT32_MAX /* us: that or longer */

bool bus_answers(const uint8_t *data, size_t bytes)
{
    struct bus_frame frame;
    struct error_text error;
    return bus_frame_is(data, bytes) && bus_frame_read(data, bytes, &frame, &error) == 0 &&
           frame.header.kind == FRAME_RESPONSE;
}

static struct bus_text text_of(const char *text)
{
    return text ? (struct bus_text){text, strlen(text)} : (struct bus_text){NULL, 0};
}

/* One frame there, one back. @ret_data: the caller's. Return: an exit code. */
static int exchange(struct cli *cli, struct bus_frame *frame, uint64_t timeout_ns,
                    uint8_t **ret_data, struct bus_frame *ret_frame)
{
    struct error_text error = {.text = "out of memory"};
    struct nng_asker *asker = NULL;
    const char *url = control_url(cli);
    size_t head_bytes = bus_frame_head_bytes(frame), bytes = 0;
    _cleanup_(freep) uint8_t *data = text_alloc(head_bytes + frame->payload_bytes);
    if (bus_frame_write(frame, data, head_bytes) < 0)
        return cli_usage(cli, "metadata and message are too large for one call");
    if (frame->payload_bytes > 0)
        memcpy(data + head_bytes, frame->payload, frame->payload_bytes);
    uint8_t *answer = NULL;
    int r = control_asker_new(cli, url, timeout_ns, &asker, &error);
    if (r == 0)
        r = nng_asker_ask(asker, data, head_bytes + frame->payload_bytes, &answer, &bytes, &error);
    nng_asker_free(asker);
    if (r < 0)
        return control_no_broker(cli, r, &error);
    if (!bus_answers(answer, bytes) || bus_frame_read(answer, bytes, ret_frame, &error) < 0) {
        free(answer);
        return cli_complain(cli, CLI_EXIT_BAD_REPLY, "what answered at %s is no Parley bus", url);
    }
    *ret_data = answer;
    return CLI_EXIT_OK;
}

/* A copy in one block, as control_exchange() gives it. */
static int make_reply(struct cli *cli, const Parley__ControlReply *reply,
                      Parley__ControlReply **ret_reply)
{
    struct error_text error;
    ProtobufCMessage *copy;
    size_t bytes = protobuf_c_message_get_packed_size(&reply->base);
    _cleanup_(freep) uint8_t *data = text_alloc(bytes);
    protobuf_c_message_pack(&reply->base, data);
    if (wire_unpack(&parley__control_reply__descriptor, data, bytes, NULL, &copy, &error) < 0)
        return cli_complain(cli, CLI_EXIT_BAD_REPLY, "the bus's answer: %s", error.text);
    *ret_reply = (Parley__ControlReply *)copy;
    return CLI_EXIT_OK;
}

/* Status and sentence of a response that is not OK. */
static char *take_end(const struct bus_frame *frame, Parley__ControlReply *reply)
{
    reply->has_status = true;
    reply->status = frame->header.status;
    if (reply->status == PARLEY_OK)
        return NULL;
    return reply->text =
               text_format("%.*s", (int)frame->payload_bytes, (const char *)frame->payload);
}

/* ---- parley.bus ---- */

int bus_ask(struct cli *cli, const char *method, const ProtobufCMessage *request,
            uint64_t timeout_ns, const ProtobufCMessageDescriptor *descriptor,
            ProtobufCMessage **ret_reply, Parley__ControlReply *ret_end)
{
    struct error_text error;
    struct bus_frame answer;
    _cleanup_(freep) uint8_t *data = NULL;
    size_t bytes = protobuf_c_message_get_packed_size(request);
    _cleanup_(freep) uint8_t *payload = text_alloc(bytes);
    protobuf_c_message_pack(request, payload);
    struct bus_frame frame = {
        .header = {.kind = FRAME_REQUEST, .method = BUS_FRAME_METHOD_BY_NAME},
        .interface = text_of(BUS_INTERFACE),
        .method = text_of(method),
        .payload = payload,
        .payload_bytes = bytes,
    };
    int code = exchange(cli, &frame, timeout_ns, &data, &answer);
    if (code != CLI_EXIT_OK)
        return code;
    *ret_reply = NULL;
    take_end(&answer, ret_end);
    if (answer.header.status != PARLEY_OK)
        return CLI_EXIT_OK;
    if (wire_unpack(descriptor, answer.payload, answer.payload_bytes, NULL, ret_reply, &error) < 0)
        return cli_complain(cli, CLI_EXIT_BAD_REPLY, "the bus's answer to %s: %s", method,
                            error.text);
    return CLI_EXIT_OK;
}

static int list(struct cli *cli, const Parley__ControlRequest *request, uint64_t timeout_ns,
                Parley__ControlReply **ret_reply)
{
    Parley__ControlReply end = PARLEY__CONTROL_REPLY__INIT;
    ProtobufCMessage *reply;
    int code = bus_ask(cli, "List", &request->list->base, timeout_ns,
                       &parley__list_reply__descriptor, &reply, &end);
    if (code == CLI_EXIT_OK) {
        end.body_case = reply ? PARLEY__CONTROL_REPLY__BODY_LIST : end.body_case;
        end.list = (Parley__ListReply *)reply;
        code = make_reply(cli, &end, ret_reply);
        wire_free(reply);
        free(end.text);
    }
    return code;
}

static int describe(struct cli *cli, const Parley__ControlRequest *request, uint64_t timeout_ns,
                    Parley__ControlReply **ret_reply)
{
    Parley__ControlReply end = PARLEY__CONTROL_REPLY__INIT;
    ProtobufCMessage *reply;
    int code = bus_ask(cli, "Describe", &request->describe->base, timeout_ns,
                       &parley__describe_reply__descriptor, &reply, &end);
    if (code == CLI_EXIT_OK) {
        end.body_case = reply ? PARLEY__CONTROL_REPLY__BODY_DESCRIBE : end.body_case;
        end.describe = (Parley__DescribeReply *)reply;
        code = make_reply(cli, &end, ret_reply);
        wire_free(reply);
        free(end.text);
    }
    return code;
}

/* ---- Calls ---- */

/* As they travel. Return: the block's length. */
static size_t write_metadata(const Parley__CallRequest *call, uint8_t *out)
{
    size_t used = 0;
    for (size_t i = 0; i < call->n_metadata; i++) {
        const Parley__MetadataPair *pair = call->metadata[i];
        size_t key_bytes = strlen(pair->key);
        out[used++] = (uint8_t)key_bytes;
        out[used++] = (uint8_t)(pair->value.len & 0xff);
        out[used++] = (uint8_t)(pair->value.len >> 8);
        memcpy(out + used, pair->key, key_bytes);
        memcpy(out + used + key_bytes, pair->value.data, pair->value.len);
        used += key_bytes + pair->value.len;
    }
    return used;
}

static uint32_t translation_of(const struct bus_text *name)
{
    for (uint32_t i = PARLEY_IDENTITY; i <= PARLEY_LOSSY; i++) {
        const char *known = parley_translation_name((enum parley_translation)i);
        if (strlen(known) == name->bytes && memcmp(known, name->text, name->bytes) == 0)
            return i;
    }
    return PARLEY_IDENTITY;
}

static int give_call(struct cli *cli, const struct bus_frame *answer,
                     Parley__ControlReply **ret_reply)
{
    Parley__ControlReply reply = PARLEY__CONTROL_REPLY__INIT;
    Parley__CallReply body = PARLEY__CALL_REPLY__INIT;
    _cleanup_(freep) char *text = take_end(answer, &reply);
    _cleanup_(freep) char *version = text_format("%.*s", (int)answer->version.bytes,
                                                 answer->version.bytes ? answer->version.text : "");
    body.has_executed = true;
    body.executed = answer->header.executed;
    body.served_by = answer->version.bytes ? version : NULL;
    body.has_translation = answer->version.bytes > 0;
    body.translation = translation_of(&answer->translation);
    body.has_payload = reply.status == PARLEY_OK;
    body.payload.data = (uint8_t *)(uintptr_t)answer->payload;
    body.payload.len = body.has_payload ? answer->payload_bytes : 0;
    reply.body_case = PARLEY__CONTROL_REPLY__BODY_CALL;
    reply.call = &body;
    return make_reply(cli, &reply, ret_reply);
}

static int call(struct cli *cli, const Parley__ControlRequest *request, uint64_t timeout_ns,
                Parley__ControlReply **ret_reply)
{
    const Parley__CallRequest *asked = request->call;
    uint64_t left_us = asked->timeout_ns / NS_PER_US;
    size_t metadata_bytes = 0;
    for (size_t i = 0; i < asked->n_metadata; i++)
        metadata_bytes += 3 + strlen(asked->metadata[i]->key) + asked->metadata[i]->value.len;
    _cleanup_(freep) uint8_t *metadata = text_alloc(metadata_bytes);
    struct bus_frame answer,
        frame = {
            .header = {.kind = asked->one_way ? FRAME_ONE_WAY : FRAME_REQUEST,
                       .method = BUS_FRAME_METHOD_BY_NAME,
                       .time_left_us = left_us < TIME_LEFT_MAX ? (uint32_t)left_us : TIME_LEFT_MAX},
            .interface = text_of(asked->interface),
            .version = text_of(asked->version),
            .method = text_of(asked->method),
            .accept = text_of(asked->accept),
            .metadata = metadata,
            .metadata_bytes = write_metadata(asked, metadata),
            .payload = asked->payload.data,
            .payload_bytes = asked->payload.len,
        };
    _cleanup_(freep) uint8_t *data = NULL;
    int code = exchange(cli, &frame, timeout_ns, &data, &answer);
    return code == CLI_EXIT_OK ? give_call(cli, &answer, ret_reply) : code;
}

int bus_exchange(struct cli *cli, const Parley__ControlRequest *request, uint64_t timeout_ns,
                 Parley__ControlReply **ret_reply)
{
    switch (request->body_case) {
    case PARLEY__CONTROL_REQUEST__BODY_LIST:
        return list(cli, request, timeout_ns, ret_reply);
    case PARLEY__CONTROL_REQUEST__BODY_DESCRIBE:
        return describe(cli, request, timeout_ns, ret_reply);
    case PARLEY__CONTROL_REQUEST__BODY_CALL:
        return call(cli, request, timeout_ns, ret_reply);
    default:
        return cli_complain(cli, CLI_EXIT_REFUSED,
                            "%s is a bus URL, which answers ls, describe, call and health; %s is "
                            "the control socket's to answer: --url ipc://DIR/control.ipc",
                            control_url(cli), cli->command ? cli->command->name : "this");
    }
}
