/*
 * The path names interface and method, the body is the request's message as JSON, headers are the
 * rest; what becomes of it is call_json.c's. The answer comes when the call has ended.
 *
 * libnng's server tells a header only to who knows its name. So the ones that become metadata are
 * listed here, and any other metadata come in one header of ours, written as W3C's baggage is:
 * KEY=VALUE, with commas between, %XX for what does not go into a header.
 *
 * A page of a stranger in somebody's browser cannot call: its Origin is refused (http.c), and a
 * form cannot have this content type.
 */
#include "broker/call_http.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "broker/broker.h"
#include "broker/call_json.h"
#include "control/http.h"
#include "rpc/rpc.h"

#define TIMEOUT_DIGITS_MAX 8 /* of gRPC's header */

unsigned call_http_status(enum parley_status status)
{
    static const unsigned short codes[PARLEY_STATUS_COUNT] = {
        [PARLEY_OK] = 200,
        [PARLEY_CANCELLED] = 499,
        [PARLEY_UNKNOWN] = 500,
        [PARLEY_INVALID_ARGUMENT] = 400,
        [PARLEY_DEADLINE_EXCEEDED] = 504,
        [PARLEY_NOT_FOUND] = 404,
        [PARLEY_ALREADY_EXISTS] = 409,
        [PARLEY_PERMISSION_DENIED] = 403,
        [PARLEY_RESOURCE_EXHAUSTED] = 429,
        [PARLEY_FAILED_PRECONDITION] = 400,
        [PARLEY_ABORTED] = 409,
        [PARLEY_OUT_OF_RANGE] = 400,
        [PARLEY_UNIMPLEMENTED] = 501,
        [PARLEY_INTERNAL] = 500,
        [PARLEY_UNAVAILABLE] = 503,
        [PARLEY_DATA_LOSS] = 500,
        [PARLEY_UNAUTHENTICATED] = 401,
    };
    return (unsigned)status < PARLEY_STATUS_COUNT ? codes[status] : 500;
}

/* ---- The answer ---- */

/* grpc-gateway's body of an error, and what Parley knows beside. */
static char *error_body(const struct call_json_end *end)
{
    json_t *text = json_string(end->text ? end->text : ""); /* NULL: no UTF-8 */
    json_t *object =
        json_pack("{s:i, s:o, s:s, s:s, s:[]}", "code", (int)end->status, "message",
                  text ? text : json_string("?"), "status", parley_status_name(end->status),
                  "executed", parley_executed_name(end->executed), "details");
    char *body = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return body;
}

static void describe(const struct call_json_end *end, struct http_response *response)
{
    if (end->served_by[0]) {
        http_response_header(response, "Parley-Served-By", end->served_by);
        http_response_header(response, "Parley-Translation",
                             parley_translation_name(end->translation));
    }
    if (end->version[0])
        http_response_header(response, "Parley-Version", end->version);
    http_response_header(response, "Parley-Status", parley_status_name(end->status));
    http_response_header(response, "Parley-Executed", parley_executed_name(end->executed));
    http_response_header(response, "Vary", "Accept-Version");
    if ((end->status == PARLEY_UNAVAILABLE || end->status == PARLEY_RESOURCE_EXHAUSTED) &&
        end->executed == PARLEY_EXECUTED_NO)
        http_response_header(response, "Retry-After", "1");
}

static void fill_in(struct call_json_end *end, struct http_response *response)
{
    describe(end, response);
    response->status = call_http_status(end->status);
    char *body = end->status != PARLEY_OK ? error_body(end) : end->reply;
    if (end->status == PARLEY_OK && body)
        end->reply = NULL; /* the response's now */
    else if (end->status == PARLEY_OK)
        body = strdup("{}"); /* one-way */
    if (body)
        http_response_take(response, "application/json", body, strlen(body));
    else
        http_response_say(response, 500, "out of memory");
}

static void on_ended(struct call_json_end *end, void *userdata)
{
    struct http_later *later = userdata;
    fill_in(end, http_later_response(later));
    http_later_answer(later);
}

static void refuse(struct http_response *response, enum parley_status status, const char *text)
{
    struct call_json_end end = {
        .status = status, .served_by = "", .version = "", .text = text, .reply = NULL};
    fill_in(&end, response);
}

/* ---- Headers ---- */

/* gRPC's: up to 8 digits and one of H M S m u n. Return: false: it is none. */
static bool read_timeout(const char *text, uint64_t *ret_ns)
{
    static const struct {
        char unit;
        uint64_t ns;
    } units[] = {{'H', 3600 * NS_PER_S}, {'M', 60 * NS_PER_S}, {'S', NS_PER_S},
                 {'m', NS_PER_MS},       {'u', 1000},          {'n', 1}};
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > TIMEOUT_DIGITS_MAX || !text[digits] || text[digits + 1])
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (units[i].unit != text[digits])
            continue;
        *ret_ns = strtoull(text, NULL, 10) * units[i].ns;
        return *ret_ns > 0;
    }
    return false;
}

struct pairs {
    size_t count;
    struct parley_metadata pairs[RPC_METADATA_PAIRS_MAX];
    char *texts; /* what Parley-Metadata was decoded to */
};

static void pairs_free(struct pairs *pairs)
{
    free(pairs->texts);
}

static const char *add(struct pairs *pairs, const char *key, const char *value, size_t bytes)
{
    if (pairs->count == RPC_METADATA_PAIRS_MAX)
        return "more metadata than the 32 pairs that travel with a call";
    pairs->pairs[pairs->count++] =
        (struct parley_metadata){.key = key, .value = value, .value_bytes = bytes};
    return NULL;
}

static int hex(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* In place. Return: its length, or -1: a broken %. */
static long decode(char *text)
{
    char *out = text;
    for (const char *in = text; *in; in++) {
        if (*in != '%') {
            *out++ = *in;
            continue;
        }
        if (!isxdigit((unsigned char)in[1]) || !isxdigit((unsigned char)in[2]))
            return -1;
        *out++ = (char)(hex(in[1]) * 16 + hex(in[2]));
        in += 2;
    }
    *out = '\0';
    return out - text;
}

static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t bytes = strlen(text);
    while (bytes > 0 && (text[bytes - 1] == ' ' || text[bytes - 1] == '\t'))
        bytes--;
    text[bytes] = '\0';
    return text;
}

/* "tenant=blue, gray.mark=a%20b". Return: NULL, or what is wrong. */
static const char *read_list(struct pairs *pairs, const char *list)
{
    pairs->texts = strdup(list);
    if (!pairs->texts)
        return "out of memory";
    char *rest = pairs->texts, *item;
    while ((item = strsep(&rest, ",")) != NULL) {
        item = trim(item);
        char *value = strchr(item, '=');
        if (!value)
            return "Parley-Metadata is KEY=VALUE, with commas between";
        *value++ = '\0';
        char *key = trim(item);
        value = trim(value);
        long bytes = decode(value);
        if (bytes < 0)
            return "Parley-Metadata: a % in a value is followed by two hexadecimal digits";
        const char *why = add(pairs, key, value, (size_t)bytes);
        if (why)
            return why;
    }
    return NULL;
}

static const char *read_metadata(const struct http_request *request, struct pairs *pairs)
{
    static const char *const headers[][2] = {
        {"traceparent", "traceparent"},
        {"tracestate", "tracestate"},
        {"baggage", "baggage"},
        {"X-Gray-Version", "gray.version"},
        {"X-Gray-User-Id", "gray.user.id"},
        {"X-Gray-Trace", "gray.trace"},
        {"X-Tenant", "tenant"},
        {"X-Request-Id", "x-request-id"},
        {"Authorization", "authorization"},
    };
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        const char *value = http_request_header(request, headers[i][0]);
        if (value)
            (void)add(pairs, headers[i][1], value, strlen(value)); /* fewer than fit */
    }
    const char *list = http_request_header(request, "Parley-Metadata");
    return list ? read_list(pairs, list) : NULL;
}

static bool is_json(const char *type)
{
    static const char name[] = "application/json";
    return type && strncasecmp(type, name, sizeof(name) - 1) == 0 &&
           (type[sizeof(name) - 1] == '\0' || strchr("; \t", type[sizeof(name) - 1]));
}

/* ---- The request ---- */

/* Return: NULL, or what is wrong. */
static const char *read_call(const struct http_request *request, struct call_json_ask *ask,
                             char names[HTTP_PATH_BYTES], struct pairs *pairs)
{
    const char *timeout = http_request_header(request, "Grpc-Timeout");
    const char *one_way = http_request_header(request, "Parley-One-Way");
    (void)snprintf(names, HTTP_PATH_BYTES, "%s", request->rest);
    char *slash = strchr(names, '/');
    if (!slash || slash == names || !slash[1] || strchr(slash + 1, '/'))
        return "the path is /call/INTERFACE/METHOD";
    *slash = '\0';
    ask->interface = names;
    ask->method = slash + 1;
    ask->version = http_request_header(request, "Accept-Version");
    ask->accept = http_request_header(request, "Parley-Accept");
    if (timeout && !read_timeout(timeout, &ask->timeout_ns))
        return "Grpc-Timeout is up to 8 digits and a unit of H M S m u n, as 500m";
    if (ask->timeout_ns > CALL_HTTP_TIMEOUT_NS_MAX)
        ask->timeout_ns = CALL_HTTP_TIMEOUT_NS_MAX;
    if (one_way && strcmp(one_way, "1") != 0 && strcmp(one_way, "0") != 0)
        return "Parley-One-Way is 1 or 0";
    ask->one_way = one_way && *one_way == '1';
    const char *why = read_metadata(request, pairs);
    ask->metadata = pairs->pairs;
    ask->metadata_count = pairs->count;
    return why;
}

static json_t *read_body(const struct http_request *request, struct error_text *error)
{
    json_error_t where;
    if (request->body_bytes == 0)
        return json_object();
    json_t *body = json_loadb(request->body, request->body_bytes, JSON_REJECT_DUPLICATES, &where);
    if (!body)
        error_set(error, 0, "the body, line %d, column %d: %s", where.line, where.column,
                  where.text);
    return body;
}

static void on_call(void *data, const struct http_request *request, struct http_response *response)
{
    struct broker *broker = data;
    struct error_text error = {"out of memory"};
    char names[HTTP_PATH_BYTES];
    const struct replier_peer peer = {.text = "somebody by HTTP"};
    struct call_json_ask ask = {.peer = &peer, .ended = on_ended};
    if (request->body_bytes > 0 && !is_json(http_request_header(request, "Content-Type"))) {
        refuse(response, PARLEY_INVALID_ARGUMENT,
               "the body is JSON: say Content-Type: application/json");
        response->status = 415;
        return;
    }
    _cleanup_(pairs_free) struct pairs pairs = {.count = 0};
    const char *why = read_call(request, &ask, names, &pairs);
    if (why) {
        refuse(response, PARLEY_INVALID_ARGUMENT, why);
        return;
    }
    json_t *body = read_body(request, &error);
    if (!body) {
        refuse(response, PARLEY_INVALID_ARGUMENT, error.text);
        return;
    }
    ask.body = body;
    ask.userdata = http_response_later(request, response);
    if (ask.userdata)
        (void)call_json_start(broker, &ask);
    else
        refuse(response, PARLEY_RESOURCE_EXHAUSTED, "too many calls by HTTP are under way");
    json_decref(body);
}

int call_http_open(struct broker *broker)
{
    return http_server_route(broker->http, "POST", CALL_HTTP_PATH "/", on_call, broker);
}
