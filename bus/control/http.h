/*
 * An HTTP server on libnng's: requests wait until the caller's own thread takes them. No type of
 * NNG's shows here. One thread, and one descriptor for an event loop.
 *
 * For monitoring, a page that shows it, and calls: every connection carries one request, and has
 * little time for it. There is neither TLS nor a password; it is meant for loopback, or a proxy in
 * front.
 */
#ifndef PARLEY_CONTROL_HTTP_H
#define PARLEY_CONTROL_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define HTTP_URL_BYTES 96
#define HTTP_BODY_BYTES_MAX 65536            /* of a request; more: 400 */
#define HTTP_LARGE_BODY_BYTES_MAX (4U << 20) /* below http_options.large_path; more: 400 */
#define HTTP_LATER_MAX 64                    /* answers that are not there yet */
#define HTTP_QUEUE_MAX 64                    /* requests that wait for us; more: 503 */
#define HTTP_CONNECTION_MAX 64               /* open at a time; of more the oldest are hung up on */
#define HTTP_CONNECTION_LIFE_NS (UINT64_C(10) * 1000000000)
#define HTTP_ROUTE_MAX 32
#define HTTP_PATH_BYTES 256 /* of a request's path, decoded: 255 and a NUL; more: 414 */
#define HTTP_HEADER_MAX 8   /* that a handler may set */
#define HTTP_HEADER_BYTES 256

struct http_server;
struct http_request;
struct http_response;

typedef void http_handler(void *data, const struct http_request *request,
                          struct http_response *response);

struct http_options {
    const char *url;        /* "http://127.0.0.1:7480"; port 0: any free one */
    const char *large_path; /* "/call": requests below it may be larger; NULL: none */
    bool insecure;          /* an address that is not loopback is fine */
    http_handler *refused;  /* hears of each answer that is 403, before it is sent; NULL */
    void *refused_data;
    uint32_t connection_max;     /* 0: HTTP_CONNECTION_MAX, which is the most */
    uint64_t connection_life_ns; /* 0: HTTP_CONNECTION_LIFE_NS */
};

/* Borrowed while the handler runs. */
struct http_request {
    const char *method; /* "GET"; a HEAD comes as GET, its answer's body is left out */
    const char *path;   /* decoded, without the query */
    const char *rest;   /* what follows the route's path, if that ends in '/'; else "" */
    const char *query;  /* what is behind the '?', as it came; "": nothing */
    const void *body;
    size_t body_bytes;
    void *message, *aio; /* http.c's */
    struct http_server *server;
};

/* NULL: not there. */
const char *http_request_header(const struct http_request *request, const char *name);
/* Of "since=5&x": "5". False: not there, or not fit for @buffer. Decodes %XX and '+'. */
bool http_request_value(const struct http_request *request, const char *name, char *buffer,
                        size_t bytes);

struct http_header {
    const char *name; /* a literal */
    char value[HTTP_HEADER_BYTES];
};

/* Zeroed but for status (200) and type ("text/plain; charset=utf-8"). */
struct http_response {
    unsigned status;
    const char *type; /* a literal */
    const void *body;
    size_t body_bytes;
    void *owned;              /* body, if it is ours to free() */
    struct http_later *later; /* http.c's */
    size_t header_count;
    struct http_header headers[HTTP_HEADER_MAX];
};

/* The body, which is the response's afterwards: free(). */
void http_response_take(struct http_response *response, const char *type, void *body, size_t bytes);
/* A body that lives on: a literal, say. */
void http_response_lend(struct http_response *response, const char *type, const void *body,
                        size_t bytes);
/* One line of plain text. */
void http_response_say(struct http_response *response, unsigned status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Set before the server's own (Cache-Control: no-store, X-Content-Type-Options,
 * Content-Security-Policy, Referrer-Policy), whose place it takes. What is past the limits, or has
 * a control character in it, is left out. */
void http_response_header(struct http_response *response, const char *name, const char *value);

/* ---- Answers that come later ---- */

struct http_later;

/* For a handler: what it has put into the response does not count; http_later_answer() gives the
 * answer, once. Return: ours until then; NULL: too many wait, or no memory: answer now. */
struct http_later *http_response_later(const struct http_request *request,
                                       struct http_response *response);
/* To fill in. Borrowed. */
struct http_response *http_later_response(struct http_later *later);
/* Sends it, and frees @later. After http_server_free() nobody hears. */
void http_later_answer(struct http_later *later);

/**
 * http_server_new() - listen; nothing is answered before http_server_turn()
 * Return: 0; -EADDRINUSE, -EINVAL, -EPERM (not loopback), ... with a sentence.
 */
int http_server_new(const struct http_options *options, struct http_server **ret_server,
                    struct error_text *error);
struct http_server *http_server_free(struct http_server *server); /* NULL is fine; returns NULL */

/* @path: "/metrics"; one that ends in '/' (but "/" itself) is for all that is below it, and the
 * longest that fits counts. Literals. Return: 0; -ENOSPC. */
int http_server_route(struct http_server *server, const char *method, const char *path,
                      http_handler *handler, void *data);
const char *http_server_url(const struct http_server *server); /* with the port that it has */
int http_server_fd(const struct http_server *server);          /* readable: http_server_turn() */
/* Answers what waits; hangs up on who takes too long. */
void http_server_turn(struct http_server *server);

#endif
