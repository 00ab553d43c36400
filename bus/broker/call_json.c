/*
 * JSON around a relayed call: the request is encoded by the schema that the broker holds, the
 * relay makes the call on bytes, and its reply, in the same version, becomes JSON again. All of
 * that is done in the broker's loop, so both texts are bounded (CALL_JSON_BYTES_MAX).
 *
 * A call in JSON that was refused before it was made ends in the same way as one that came back:
 * one function tells everything.
 */
#include "broker/call_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "broker/broker.h"
#include "rpc/rpc.h"
#include "schema/schema.h"

struct json_call {
    struct broker *broker;
    struct schema_entry *schema; /* one of its users; NULL: not found yet */
    const struct schema_method *method;
    uint8_t *payload; /* the request */
    bool one_way;
    void (*ended)(struct call_json_end *end, void *userdata);
    void *userdata;
};

static void end_call(struct json_call *call, struct call_json_end *end)
{
    end->version = call->schema ? schema_service(call->schema->schema)->interface->version : "";
    call->ended(end, call->userdata);
    free(end->reply);
    if (call->schema)
        schema_entry_drop(&call->broker->negotiator, call->schema);
    free(call->payload);
    free(call);
}

static void refuse(struct json_call *call, enum parley_status status,
                   const struct error_text *error)
{
    struct call_json_end end = {.status = status,
                                .executed = PARLEY_EXECUTED_NO,
                                .served_by = "",
                                .text =
                                    error->text[0] ? error->text : "the broker is out of memory"};
    end_call(call, &end);
}

static void bad_reply(struct call_json_end *end, int code, struct error_text *error)
{
    if (code == -E2BIG)
        error_set(error, 0,
                  "the reply takes more than %zu MiB as JSON: ask for less, or use frames",
                  CALL_JSON_BYTES_MAX >> 20);
    end->status = code == -ENOMEM || code == -E2BIG ? PARLEY_RESOURCE_EXHAUSTED : PARLEY_INTERNAL;
    end->text = error->text;
}

static void on_ended(const struct relay_end *relayed, void *userdata)
{
    struct json_call *call = userdata;
    struct error_text error = {"the broker is out of memory"};
    struct call_json_end end = {.status = relayed->status,
                                .executed = relayed->executed,
                                .translation = relayed->translation,
                                .served_by = relayed->version,
                                .text = relayed->text};
    if (end.status == PARLEY_OK && !call->one_way) {
        int r = json_from_wire(call->method->output, relayed->payload, relayed->payload_bytes, 0,
                               false, &end.reply, &error);
        if (r == 0 && strlen(end.reply) > CALL_JSON_BYTES_MAX)
            r = -E2BIG;
        if (r < 0) {
            free(end.reply);
            end.reply = NULL;
            bad_reply(&end, r, &error);
        }
    }
    end_call(call, &end);
}

/* ---- Which version ---- */

/* The best version of the interface by the ranges: the first that any fits, the highest in it. */
static const char *best_version(const struct interface *interface,
                                const struct semver_ranges *ranges)
{
    const struct version *best = NULL;
    int best_range = -1;
    for (uint32_t i = 0; i < ROUTE_VERSION_MAX; i++) {
        const struct version *version = interface->versions[i];
        int range = version && version->schema ? semver_ranges_match(ranges, &version->semver) : -1;
        if (range < 0 || (best && range > best_range))
            continue;
        if (best && range == best_range && semver_compare(&version->semver, &best->semver) < 0)
            continue;
        best = version;
        best_range = range;
    }
    return best ? best->name : NULL;
}

/* Return: PARLEY_OK; @ret_version: borrowed; NULL: the one with most calls. */
static enum parley_status choose_version(struct broker *broker, const struct call_json_ask *ask,
                                         const char **ret_version, struct error_text *error)
{
    struct semver exact;
    const char *asked = ask->version && ask->version[0] ? ask->version : NULL;
    const struct interface *interface = directory_find(&broker->directory, ask->interface);
    *ret_version = asked;
    if (!asked || !interface || semver_parse(asked, &exact) == 0)
        return PARLEY_OK; /* relay_find() says what is wrong */
    struct semver_ranges *ranges;
    if (semver_ranges_new(asked, &ranges, error) < 0)
        return PARLEY_INVALID_ARGUMENT;
    *ret_version = best_version(interface, ranges);
    semver_ranges_free(ranges);
    if (*ret_version)
        return PARLEY_OK;
    char here[256];
    interface_describe(interface, here, sizeof(here));
    error_set(error, 0, "no version of %s is in the range \"%.80s\"; there is: %s", ask->interface,
              asked, here);
    return PARLEY_NOT_FOUND;
}

static enum parley_status find(struct json_call *call, const struct call_json_ask *ask,
                               size_t *ret_method, struct error_text *error)
{
    const char *version;
    struct schema_entry *schema;
    enum parley_status status = choose_version(call->broker, ask, &version, error);
    if (status == PARLEY_OK)
        status = relay_find(call->broker, ask->interface, version, &schema, error);
    if (status == PARLEY_OK)
        status = relay_method(schema, ask->method, ret_method, error);
    if (status != PARLEY_OK)
        return status;
    schema_entry_keep(&call->broker->negotiator, schema);
    call->schema = schema;
    call->method = &schema_service(schema->schema)->methods[*ret_method];
    return PARLEY_OK;
}

/* ---- Starting ---- */

static enum parley_status encode(struct json_call *call, const struct call_json_ask *ask,
                                 struct relay_ask *relay,
                                 uint8_t metadata[RPC_METADATA_BLOCK_BYTES_MAX],
                                 struct error_text *error)
{
    int r = metadata_encode(ask->metadata, ask->metadata_count, metadata,
                            RPC_METADATA_BLOCK_BYTES_MAX, &relay->metadata_bytes, error);
    relay->metadata = metadata;
    if (r < 0)
        return PARLEY_INVALID_ARGUMENT;
    json_t *nothing = ask->body ? NULL : json_object();
    const json_t *body = ask->body ? ask->body : nothing;
    r = body ? json_value_to_wire(call->method->input, body, &call->payload, &relay->payload_bytes,
                                  error)
             : -ENOMEM;
    json_decref(nothing);
    relay->payload = call->payload;
    relay->payload_stays = true;
    if (r == 0)
        return PARLEY_OK;
    if (r == -ENOMEM)
        return PARLEY_RESOURCE_EXHAUSTED;
    error_prefix(error, r, "the body is no %s", call->method->input->name);
    return PARLEY_INVALID_ARGUMENT;
}

uint64_t call_json_start(struct broker *broker, const struct call_json_ask *ask)
{
    struct error_text error = {""};
    uint8_t metadata[RPC_METADATA_BLOCK_BYTES_MAX];
    struct json_call *call = malloc(sizeof(*call));
    if (!call) {
        struct call_json_end end = {.status = PARLEY_RESOURCE_EXHAUSTED,
                                    .served_by = "",
                                    .version = "",
                                    .text = "the broker is out of memory"};
        ask->ended(&end, ask->userdata);
        return 0;
    }
    *call = (struct json_call){
        .broker = broker, .one_way = ask->one_way, .ended = ask->ended, .userdata = ask->userdata};
    struct relay_ask relay = {.accept = ask->accept,
                              .timeout_ns = ask->timeout_ns,
                              .one_way = ask->one_way,
                              .peer = ask->peer,
                              .ended = on_ended,
                              .userdata = call};
    enum parley_status status = find(call, ask, &relay.method, &error);
    if (status == PARLEY_OK)
        status = encode(call, ask, &relay, metadata, &error);
    relay.schema = call->schema;
    uint64_t id = status == PARLEY_OK ? relay_start(broker, &relay, &status, &error) : 0;
    if (id == 0)
        refuse(call, status, &error);
    return id;
}
