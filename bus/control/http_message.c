/*
 * What is in a request, and in a response: NNG's words taken apart, and put together.
 */
#include "control/http_message.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- Requests ---- */

const char *http_request_header(const struct http_request *request, const char *name)
{
    return nng_http_req_get_header(request->message, name);
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Up to @end. Return: 0; -ENAMETOOLONG; -EBADMSG: a broken %, or a control character. */
static int decode(const char *text, const char *end, bool plus, char *out, size_t bytes)
{
    size_t used = 0;
    while (text < end) {
        char c = *text++;
        if (c == '%') {
            int high = text < end ? hex(text[0]) : -1;
            int low = high >= 0 && text + 1 < end ? hex(text[1]) : -1;
            if (low < 0)
                return -EBADMSG;
            c = (char)(high * 16 + low);
            text += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if ((unsigned char)c < 0x20 || c == 0x7f)
            return -EBADMSG;
        if (used + 1 >= bytes)
            return -ENAMETOOLONG;
        out[used++] = c;
    }
    out[used] = '\0';
    return 0;
}

bool http_request_value(const struct http_request *request, const char *name, char *buffer,
                        size_t bytes)
{
    size_t length = strlen(name);
    for (const char *at = request->query; *at;) {
        const char *end = strchrnul(at, '&');
        if ((size_t)(end - at) > length && strncmp(at, name, length) == 0 && at[length] == '=')
            return decode(at + length + 1, end, true, buffer, bytes) == 0;
        at = *end ? end + 1 : end;
    }
    return false;
}

bool http_message_read(nng_http_req *message, char path[HTTP_PATH_BYTES], struct http_request *ret,
                       struct http_response *response)
{
    void *body = NULL;
    size_t bytes = 0;
    const char *uri = nng_http_req_get_uri(message);
    const char *method = nng_http_req_get_method(message);
    const char *end = strchrnul(uri, '?');
    nng_http_req_get_data(message, &body, &bytes);
    int r = uri[0] == '/' ? decode(uri, end, false, path, HTTP_PATH_BYTES) : -EBADMSG;
    if (r == -ENAMETOOLONG)
        http_response_say(response, 414, "a path of more than %d bytes", HTTP_PATH_BYTES - 1);
    else if (r < 0)
        http_response_say(response, 400,
                          "not a path: it begins with '/', and %%XX is no control "
                          "character");
    *ret = (struct http_request){
        .method = strcmp(method, "HEAD") == 0 ? "GET" : method,
        .path = path,
        .rest = "",
        .query = *end ? end + 1 : end,
        .body = body,
        .body_bytes = bytes,
        .message = message,
    };
    return r == 0;
}

/* ---- Responses ---- */

void http_response_take(struct http_response *response, const char *type, void *body, size_t bytes)
{
    http_response_lend(response, type, body, bytes);
    response->owned = body;
}

void http_response_lend(struct http_response *response, const char *type, const void *body,
                        size_t bytes)
{
    free(response->owned);
    response->owned = NULL;
    response->type = type;
    response->body = body;
    response->body_bytes = bytes;
}

void http_response_say(struct http_response *response, unsigned status, const char *format, ...)
{
    char *text;
    va_list arguments;
    va_start(arguments, format);
    int n = vasprintf(&text, format, arguments);
    va_end(arguments);
    response->status = status;
    if (n < 0)
        return;
    http_response_take(response, "text/plain; charset=utf-8", text, (size_t)n);
    text[n] = '\n'; /* in the NUL's place: the length counts */
    response->body_bytes++;
}

void http_response_header(struct http_response *response, const char *name, const char *value)
{
    if (response->header_count == HTTP_HEADER_MAX || strlen(value) >= HTTP_HEADER_BYTES)
        return;
    for (const char *c = value; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return;
    struct http_header *header = &response->headers[response->header_count++];
    header->name = name;
    (void)snprintf(header->value, sizeof(header->value), "%s", value);
}

static bool has_header(const struct http_response *response, const char *name)
{
    for (size_t i = 0; i < response->header_count; i++)
        if (strcasecmp(response->headers[i].name, name) == 0)
            return true;
    return false;
}

static int set_headers(nng_http_res *res, const struct http_response *response)
{
    static const char *const ours[][2] = {
        {"Cache-Control", "no-store"},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"},
    };
    int n = nng_http_res_set_header(res, "Content-Type", response->type);
    if (n == 0)
        n = nng_http_res_set_header(res, "Connection", "close");
    for (size_t i = 0; n == 0 && i < sizeof(ours) / sizeof(ours[0]); i++)
        if (!has_header(response, ours[i][0]))
            n = nng_http_res_set_header(res, ours[i][0], ours[i][1]);
    for (size_t i = 0; n == 0 && i < response->header_count; i++)
        n = nng_http_res_set_header(res, response->headers[i].name, response->headers[i].value);
    return n;
}

int http_message_make(const struct http_response *response, nng_http_res **ret)
{
    nng_http_res *res;
    int n = nng_http_res_alloc(&res);
    if (n != 0)
        return n;
    n = nng_http_res_set_status(res, (uint16_t)response->status);
    if (n == 0)
        n = set_headers(res, response);
    if (n == 0)
        n = nng_http_res_copy_data(res, response->body ? response->body : "", response->body_bytes);
    if (n != 0) {
        nng_http_res_free(res);
        return n;
    }
    *ret = res;
    return 0;
}
