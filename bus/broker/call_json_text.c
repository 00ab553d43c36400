/*
 * The JSON form of a whole call, as docs/PROTOCOL.md has it. Every member is checked by name and
 * type, and one that is not known is an error: a misspelt "acept" would else be obeyed by nobody.
 */
#include "broker/call_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/duration.h"
#include "rpc/rpc.h"
#include "schema/schema.h"

struct text_call {
    call_json_answered *answered;
    void *userdata;
};

/* ---- The answer ---- */

static int set_text(json_t *object, const char *key, const char *text)
{
    json_t *value = json_string(text); /* NULL if it is no UTF-8 */
    return json_object_set_new(object, key, value ? value : json_string("?"));
}

static json_t *end_object(const struct call_json_end *end)
{
    json_t *object = json_object();
    if (!object)
        return NULL;
    int r = set_text(object, "status", parley_status_name(end->status));
    if (end->status != PARLEY_OK)
        r |= set_text(object, "text", end->text ? end->text : "");
    r |= set_text(object, "executed", parley_executed_name(end->executed));
    if (end->version[0])
        r |= set_text(object, "version", end->version);
    if (end->served_by[0]) {
        r |= set_text(object, "served_by", end->served_by);
        r |= set_text(object, "translation", parley_translation_name(end->translation));
    }
    if (r == 0)
        return object;
    json_decref(object);
    return NULL;
}

/* The object, with the reply's own text put in as its last member. */
static char *end_text(const struct call_json_end *end, size_t *ret_bytes)
{
    json_t *object = end_object(end);
    _cleanup_(freep) char *head = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    if (!head)
        return NULL;
    size_t head_bytes = strlen(head), reply_bytes = end->reply ? strlen(end->reply) : 0;
    char *text = malloc(head_bytes + reply_bytes + sizeof(",\"reply\":}"));
    if (!text)
        return NULL;
    memcpy(text, head, head_bytes + 1);
    size_t bytes = head_bytes;
    if (end->reply) {
        static const char key[] = ",\"reply\":";
        bytes--; /* the brace */
        memcpy(text + bytes, key, sizeof(key) - 1);
        bytes += sizeof(key) - 1;
        memcpy(text + bytes, end->reply, reply_bytes);
        bytes += reply_bytes;
        text[bytes++] = '}';
        text[bytes] = '\0';
    }
    *ret_bytes = bytes;
    return text;
}

static void on_ended(struct call_json_end *end, void *userdata)
{
    struct text_call *call = userdata;
    size_t bytes = 0;
    char *text = end_text(end, &bytes);
    call->answered(text, bytes, call->userdata);
    free(call);
}

static void refuse(struct text_call *call, const struct error_text *error)
{
    struct call_json_end end = {.status = PARLEY_INVALID_ARGUMENT,
                                .executed = PARLEY_EXECUTED_NO,
                                .served_by = "",
                                .version = "",
                                .text = error->text};
    on_ended(&end, call);
}

/* ---- The request ---- */

struct reading {
    struct call_json_ask *ask;
    struct parley_metadata *pairs; /* room for RPC_METADATA_PAIRS_MAX */
    struct error_text *error;
};

static int wrong(const struct reading *reading, const char *key, const char *expected)
{
    return error_set(reading->error, -EINVAL, "\"%s\" is not %s", key, expected);
}

static int read_text(const struct reading *reading, const char *key, const json_t *value,
                     const char **ret)
{
    const char *text = json_string_value(value);
    if (!text || json_string_length(value) == 0)
        return wrong(reading, key, "a string with something in it");
    if (strlen(text) != json_string_length(value))
        return wrong(reading, key, "text: it has a byte 0");
    *ret = text;
    return 0;
}

static int read_interface(struct reading *reading, const char *key, const json_t *value)
{
    return read_text(reading, key, value, &reading->ask->interface);
}

static int read_method(struct reading *reading, const char *key, const json_t *value)
{
    return read_text(reading, key, value, &reading->ask->method);
}

static int read_version(struct reading *reading, const char *key, const json_t *value)
{
    return read_text(reading, key, value, &reading->ask->version);
}

static int read_accept(struct reading *reading, const char *key, const json_t *value)
{
    return read_text(reading, key, value, &reading->ask->accept);
}

static int read_body(struct reading *reading, const char *key, const json_t *value)
{
    if (!json_is_object(value))
        return wrong(reading, key, "an object, the request's message");
    reading->ask->body = value;
    return 0;
}

static int read_one_way(struct reading *reading, const char *key, const json_t *value)
{
    if (!json_is_boolean(value))
        return wrong(reading, key, "true or false");
    reading->ask->one_way = json_is_true(value);
    return 0;
}

static int read_timeout(struct reading *reading, const char *key, const json_t *value)
{
    const char *text = json_string_value(value);
    if (!text || duration_parse(text, CALL_JSON_TIMEOUT_NS_MAX, &reading->ask->timeout_ns) < 0)
        return wrong(reading, key, "a duration: \"2s\", \"150ms\", up to \"1h\"");
    return 0;
}

static int read_metadata(struct reading *reading, const char *key, const json_t *value)
{
    if (!json_is_object(value))
        return wrong(reading, key, "an object of keys and strings");
    if (json_object_size(value) > RPC_METADATA_PAIRS_MAX)
        return error_set(reading->error, -EINVAL, "\"metadata\" has %zu members: at most %d",
                         json_object_size(value), RPC_METADATA_PAIRS_MAX);
    const char *name;
    json_t *text;
    json_object_foreach((json_t *)(uintptr_t)value, name, text)
    {
        if (!json_is_string(text))
            return error_set(reading->error, -EINVAL, "\"metadata\": \"%.64s\" is no string", name);
        reading->pairs[reading->ask->metadata_count++] = (struct parley_metadata){
            .key = name, .value = json_string_value(text), .value_bytes = json_string_length(text)};
    }
    reading->ask->metadata = reading->pairs;
    return 0;
}

static const struct member {
    const char *key;
    int (*read)(struct reading *reading, const char *key, const json_t *value);
} members[] = {
    {"interface", read_interface}, {"method", read_method},   {"version", read_version},
    {"accept", read_accept},       {"timeout", read_timeout}, {"metadata", read_metadata},
    {"body", read_body},           {"one_way", read_one_way},
};

static int read_members(struct reading *reading, json_t *root)
{
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        size_t i = 0;
        while (i < sizeof(members) / sizeof(members[0]) && strcmp(members[i].key, key) != 0)
            i++;
        if (i == sizeof(members) / sizeof(members[0]))
            return error_set(reading->error, -EINVAL,
                             "\"%.64s\" is not known; there is: interface, method, version, "
                             "accept, timeout, metadata, body, one_way",
                             key);
        int r = members[i].read(reading, key, value);
        if (r < 0)
            return r;
    }
    if (!reading->ask->interface || !reading->ask->method)
        return error_set(reading->error, -EINVAL,
                         "\"%s\" is missing: a call looks like {\"interface\": \"catalog\", "
                         "\"method\": \"Get\", \"body\": {}}",
                         reading->ask->interface ? "method" : "interface");
    return 0;
}

static json_t *parse(const uint8_t *text, size_t bytes, struct error_text *error)
{
    json_error_t where;
    if (bytes > CALL_JSON_BYTES_MAX) {
        error_set(error, -E2BIG, "%zu bytes of JSON: at most %zu MiB; larger calls are frames",
                  bytes, CALL_JSON_BYTES_MAX >> 20);
        return NULL;
    }
    json_t *root = json_loadb((const char *)text, bytes, JSON_REJECT_DUPLICATES, &where);
    if (!root)
        error_set(error, -EINVAL, "neither a frame nor JSON: line %d, column %d: %s", where.line,
                  where.column, where.text);
    else if (!json_is_object(root))
        error_set(error, -EINVAL, "the JSON is no object");
    if (!json_is_object(root)) {
        json_decref(root);
        return NULL;
    }
    return root;
}

uint64_t call_json_text(struct broker *broker, const uint8_t *text, size_t bytes,
                        const struct replier_peer *peer, call_json_answered *answered,
                        void *userdata)
{
    struct error_text error = {""};
    struct text_call *call = malloc(sizeof(*call));
    if (!call) {
        answered(NULL, 0, userdata);
        return 0;
    }
    *call = (struct text_call){.answered = answered, .userdata = userdata};
    struct call_json_ask ask = {.peer = peer, .ended = on_ended, .userdata = call};
    struct parley_metadata pairs[RPC_METADATA_PAIRS_MAX];
    struct reading reading = {.ask = &ask, .pairs = pairs, .error = &error};
    json_t *root = parse(text, bytes, &error);
    uint64_t id = 0;
    if (root && read_members(&reading, root) == 0)
        id = call_json_start(broker, &ask);
    else
        refuse(call, &error);
    json_decref(root);
    return id;
}
