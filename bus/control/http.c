/*
 * libnng's HTTP server, whose callbacks come in threads of NNG's. One handler takes every request
 * there is, and does nothing but put it into an inbox and ring an eventfd. The rest is done in the
 * caller's thread, in http_server_turn(): NNG leaves a request alone from the callback until its
 * nng_aio is finished, so that it need not be copied.
 *
 * The inbox lives as long as NNG's handler, which may be called a last time while the server is
 * being closed; each of the two has a reference.
 *
 * NNG sets no limit to connections, or to their time. So the answer closes the connection, which
 * thus needs no patience: connections.c hangs up on those that are still there after
 * HTTP_CONNECTION_LIFE_NS, and on the oldest if there are too many. It hears of new ones, looks a
 * little later, and then again only as long as there are some: with none the server costs no
 * wake-up.
 *
 * The eventfd, what connections.c hears, and the timer are behind one epoll descriptor.
 *
 * A page of a stranger in somebody's browser can reach our loopback, too. What it can't do is say
 * Host: 127.0.0.1 with a name of its own (DNS rebinding), or hide its Origin in a POST.
 */
#include "control/http.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/timerfd.h>

#include <nng/nng.h>
#include <nng/supplemental/http/http.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "control/connections.h"
#include "control/http_address.h"
#include "control/http_message.h"
#include "control/nng.h"

static_assert(HTTP_CONNECTION_MAX <= CONNECTIONS_MAX, "connections.c can count them");

/* From the first sign of a new connection to a look at it; most are closed by then. */
#define HTTP_SWEEP_NS (10 * NS_PER_MS)

struct inbox {
    atomic_uint references;
    pthread_mutex_t lock;
    bool closed;
    int bell;
    uint32_t first, count;
    nng_aio *waiting[HTTP_QUEUE_MAX];
};

struct route {
    const char *method, *path;
    http_handler *handler;
    void *data;
};

/* A request whose answer is not there yet. */
struct http_later {
    LIST_ENTRY(http_later) entry;
    struct http_server *server; /* NULL: it has gone */
    nng_aio *aio;
    struct http_response response;
};

struct http_server {
    nng_http_server *server;
    bool started;
    struct inbox *inbox;
    struct connections *connections;
    int epoll, timer;
    uint64_t sweep_at_ns; /* CLOCK_NEVER: the timer is off */
    bool loopback;
    http_handler *refused;
    void *refused_data;
    char url[HTTP_URL_BYTES];
    size_t route_count;
    struct route routes[HTTP_ROUTE_MAX];
    uint32_t later_count;
    LIST_HEAD(, http_later) later;
};

/* ---- The inbox ---- */

static struct inbox *inbox_new(int bell)
{
    struct inbox *inbox = calloc(1, sizeof(*inbox));
    if (!inbox)
        return NULL;
    atomic_init(&inbox->references, 1);
    pthread_mutex_init(&inbox->lock, NULL);
    inbox->bell = bell;
    return inbox;
}

static void inbox_unref(void *pointer)
{
    struct inbox *inbox = pointer;
    if (!inbox || atomic_fetch_sub(&inbox->references, 1) != 1)
        return;
    fd_close(inbox->bell);
    pthread_mutex_destroy(&inbox->lock);
    free(inbox);
}

static void answer_busy(nng_aio *aio)
{
    nng_http_res *res;
    int n = nng_http_res_alloc_error(&res, NNG_HTTP_STATUS_SERVICE_UNAVAILABLE);
    if (n == 0) {
        (void)nng_http_res_set_header(res, "Connection", "close");
        (void)nng_http_res_set_header(res, "Retry-After", "1");
        nng_aio_set_output(aio, 0, res);
    }
    nng_aio_finish(aio, n);
}

/* In a thread of NNG's. */
static void on_request(nng_aio *aio)
{
    struct inbox *inbox = nng_http_handler_get_data(nng_aio_get_input(aio, 1));
    pthread_mutex_lock(&inbox->lock);
    bool closed = inbox->closed;
    bool full = inbox->count == HTTP_QUEUE_MAX;
    if (!closed && !full)
        inbox->waiting[(inbox->first + inbox->count++) % HTTP_QUEUE_MAX] = aio;
    pthread_mutex_unlock(&inbox->lock);
    if (closed)
        nng_aio_finish(aio, NNG_ECLOSED);
    else if (full)
        answer_busy(aio);
    else
        (void)eventfd_write(inbox->bell, 1);
}

static nng_aio *inbox_take(struct inbox *inbox)
{
    nng_aio *aio = NULL;
    pthread_mutex_lock(&inbox->lock);
    if (inbox->count > 0) {
        aio = inbox->waiting[inbox->first];
        inbox->first = (inbox->first + 1) % HTTP_QUEUE_MAX;
        inbox->count--;
    }
    pthread_mutex_unlock(&inbox->lock);
    return aio;
}

static void inbox_close(struct inbox *inbox)
{
    pthread_mutex_lock(&inbox->lock);
    inbox->closed = true;
    pthread_mutex_unlock(&inbox->lock);
    nng_aio *aio;
    while ((aio = inbox_take(inbox)) != NULL)
        nng_aio_finish(aio, NNG_ECLOSED);
}

/* ---- Who may ask ---- */

/* "http://HOST" or, behind a proxy, "https://HOST". */
static bool same_origin(const char *origin, const char *host)
{
    const char *name = strstr(origin, "://");
    return name && host && strcasecmp(name + 3, host) == 0;
}

/* False: @response says why not. */
static bool may_ask(const struct http_server *server, const struct http_request *request,
                    struct http_response *response)
{
    const char *host = http_request_header(request, "Host");
    const char *origin = http_request_header(request, "Origin");
    char name[HTTP_HOST_BYTES];
    if (server->loopback && host && (!http_host_name(host, name) || !http_host_is_loopback(name))) {
        http_response_say(response, 403, "ask for localhost or 127.0.0.1, not for another host");
        return false;
    }
    if (strcmp(request->method, "GET") != 0 && origin && !same_origin(origin, host)) {
        http_response_say(response, 403, "a page of another origin may not change anything here");
        return false;
    }
    if (http_request_header(request, "Transfer-Encoding")) {
        http_response_say(response, 411, "send the body whole, with a Content-Length");
        return false;
    }
    return true;
}

/* ---- Answering ---- */

static bool route_fits(const struct route *route, const char *path)
{
    size_t bytes = strlen(route->path);
    if (bytes > 1 && route->path[bytes - 1] == '/')
        return strncmp(path, route->path, bytes) == 0;
    return strcmp(path, route->path) == 0;
}

/* The longest that fits; of those the one with the method. */
static const struct route *find_route(const struct http_server *server, const char *method,
                                      const char *path)
{
    const struct route *best = NULL;
    for (size_t i = 0; i < server->route_count; i++) {
        const struct route *route = &server->routes[i];
        if (!route_fits(route, path))
            continue;
        size_t bytes = strlen(route->path), most = best ? strlen(best->path) : 0;
        if (bytes > most || (bytes == most && strcmp(route->method, method) == 0))
            best = route;
    }
    return best;
}

static void allow(const struct http_server *server, const struct route *like,
                  struct http_response *response)
{
    char methods[HTTP_HEADER_BYTES] = "";
    size_t used = 0;
    for (size_t i = 0; i < server->route_count && used < sizeof(methods); i++) {
        const struct route *route = &server->routes[i];
        if (strcmp(route->path, like->path) != 0)
            continue;
        const char *head = strcmp(route->method, "GET") == 0 ? ", HEAD" : "";
        int n = snprintf(methods + used, sizeof(methods) - used, "%s%s%s", used ? ", " : "",
                         route->method, head);
        used += n > 0 ? (size_t)n : 0;
    }
    http_response_header(response, "Allow", methods);
    http_response_say(response, 405, "%s takes %s", like->path, methods);
}

static void respond(struct http_server *server, struct http_request *request,
                    struct http_response *response)
{
    if (!may_ask(server, request, response))
        return;
    const struct route *route = find_route(server, request->method, request->path);
    if (!route) {
        http_response_say(response, 404, "there is nothing here");
    } else if (strcmp(route->method, request->method) != 0) {
        allow(server, route, response);
    } else {
        size_t bytes = strlen(route->path);
        if (bytes > 1 && route->path[bytes - 1] == '/')
            request->rest = request->path + bytes;
        route->handler(route->data, request, response);
    }
}

#define HTTP_RESPONSE_INIT                                                                         \
    {                                                                                              \
        .status = 200, .type = "text/plain; charset=utf-8"                                         \
    }

static void finish(nng_aio *aio, struct http_response *response)
{
    nng_http_res *res;
    int n = http_message_make(response, &res);
    if (n == 0)
        nng_aio_set_output(aio, 0, res);
    nng_aio_finish(aio, n);
    free(response->owned);
}

static void answer(struct http_server *server, nng_aio *aio)
{
    char path[HTTP_PATH_BYTES] = "";
    struct http_request request;
    struct http_response response = HTTP_RESPONSE_INIT;
    bool readable = http_message_read(nng_aio_get_input(aio, 0), path, &request, &response);
    request.server = server;
    request.aio = aio;
    if (readable)
        respond(server, &request, &response);
    if (response.later) {
        free(response.owned);
        return;
    }
    if (response.status == 403 && server->refused)
        server->refused(server->refused_data, &request, &response);
    finish(aio, &response);
}

/* ---- Later ---- */

struct http_later *http_response_later(const struct http_request *request,
                                       struct http_response *response)
{
    struct http_server *server = request->server;
    if (server->later_count == HTTP_LATER_MAX)
        return NULL;
    struct http_later *later = malloc(sizeof(*later));
    if (!later)
        return NULL;
    *later =
        (struct http_later){.server = server, .aio = request->aio, .response = HTTP_RESPONSE_INIT};
    LIST_INSERT_HEAD(&server->later, later, entry);
    server->later_count++;
    response->later = later;
    return later;
}

struct http_response *http_later_response(struct http_later *later)
{
    return &later->response;
}

/* Its server need not think of it any more. */
static void later_leave(struct http_later *later)
{
    LIST_REMOVE(later, entry);
    later->server->later_count--;
    later->server = NULL;
}

void http_later_answer(struct http_later *later)
{
    if (later->server) {
        later_leave(later);
        finish(later->aio, &later->response);
    } else {
        free(later->response.owned);
    }
    free(later);
}

/* NNG waits for each of its requests before it closes. */
static void later_close(struct http_server *server)
{
    struct http_later *later;
    while ((later = LIST_FIRST(&server->later)) != NULL) {
        later_leave(later);
        nng_aio_finish(later->aio, NNG_ECLOSED);
    }
}

/* ---- Turning ---- */

enum bell { BELL_REQUEST, BELL_TIMER, BELL_CONNECTION, BELL_COUNT };

static void sweep_at(struct http_server *server, uint64_t at_ns, uint64_t now_ns)
{
    uint64_t left_ns = clock_left(at_ns, now_ns);
    struct itimerspec timer = {0};
    if (at_ns != CLOCK_NEVER) {
        left_ns = left_ns > 0 ? left_ns : 1; /* 0 would stop it */
        timer.it_value.tv_sec = (time_t)(left_ns / NS_PER_S);
        timer.it_value.tv_nsec = (long)(left_ns % NS_PER_S);
    }
    server->sweep_at_ns = at_ns;
    (void)timerfd_settime(server->timer, 0, &timer, NULL);
}

static void sweep(struct http_server *server)
{
    uint64_t now_ns = clock_now_ns();
    sweep_at(server, connections_sweep(server->connections, now_ns), now_ns);
}

static void hear(struct http_server *server, uint64_t bell)
{
    uint64_t count;
    uint64_t now_ns = clock_now_ns();
    switch (bell) {
    case BELL_REQUEST:
        (void)eventfd_read(server->inbox->bell, &count);
        break;
    case BELL_TIMER:
        if (read(server->timer, &count, sizeof(count)) == sizeof(count))
            sweep(server);
        break;
    default:
        connections_heard(server->connections);
        if (server->sweep_at_ns > now_ns + HTTP_SWEEP_NS)
            sweep_at(server, now_ns + HTTP_SWEEP_NS, now_ns);
    }
}

void http_server_turn(struct http_server *server)
{
    struct epoll_event events[BELL_COUNT];
    int n = epoll_wait(server->epoll, events, BELL_COUNT, 0);
    for (int i = 0; i < n; i++)
        hear(server, events[i].data.u64);
    nng_aio *aio;
    while ((aio = inbox_take(server->inbox)) != NULL)
        answer(server, aio);
}

int http_server_route(struct http_server *server, const char *method, const char *path,
                      http_handler *handler, void *data)
{
    if (server->route_count == HTTP_ROUTE_MAX)
        return -ENOSPC;
    server->routes[server->route_count++] =
        (struct route){.method = method, .path = path, .handler = handler, .data = data};
    return 0;
}

const char *http_server_url(const struct http_server *server)
{
    return server->url;
}

int http_server_fd(const struct http_server *server)
{
    return server->epoll;
}

/* ---- Life ---- */

static int fail(struct error_text *error, int n, const char *url)
{
    const char *advice =
        n == NNG_EADDRINUSE ? ": stop the program that listens there, or choose another port" : "";
    return error_set(error, nng_errno(n), "cannot listen on %s: %s%s", url, nng_strerror(n),
                     advice);
}

static int add_handler(struct http_server *server, const char *path, size_t body_bytes_max)
{
    nng_http_handler *handler;
    int n = nng_http_handler_alloc(&handler, path, on_request);
    if (n != 0)
        return n;
    n = nng_http_handler_set_method(handler, NULL); /* any */
    if (n == 0)
        n = nng_http_handler_set_tree(handler);
    if (n == 0)
        n = nng_http_handler_collect_body(handler, true, body_bytes_max);
    if (n == 0) {
        atomic_fetch_add(&server->inbox->references, 1);
        n = nng_http_handler_set_data(handler, server->inbox, inbox_unref);
        if (n != 0)
            inbox_unref(server->inbox);
    }
    if (n == 0)
        n = nng_http_server_add_handler(server->server, handler);
    if (n != 0)
        nng_http_handler_free(handler);
    return n;
}

static int start(struct http_server *server, const char *url, const char *large_path)
{
    nng_url *parsed;
    int n = nng_url_parse(&parsed, url);
    if (n != 0)
        return n;
    n = nng_http_server_hold(&server->server, parsed);
    nng_url_free(parsed);
    if (n == 0)
        n = add_handler(server, "/", HTTP_BODY_BYTES_MAX);
    if (n == 0 && large_path)
        n = add_handler(server, large_path, HTTP_LARGE_BODY_BYTES_MAX);
    if (n == 0)
        n = nng_http_server_start(server->server);
    server->started = n == 0;
    return n;
}

/* Where it listens: the port may have been 0. */
static int find_connections(struct http_server *server, const struct http_options *options,
                            struct http_address *address, struct error_text *error)
{
    nng_sockaddr where;
    int n = nng_http_server_get_addr(server->server, &where);
    if (n != 0)
        return fail(error, n, server->url);
    address->port = ntohs(address->v6 ? where.s_in6.sa_port : where.s_in.sa_port);
    http_address_url(address, server->url);
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)address->port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = v4.sin_port};
    (void)inet_pton(AF_INET, address->host, &v4.sin_addr);
    (void)inet_pton(AF_INET6, address->host, &v6.sin6_addr);
    uint32_t count = options->connection_max;
    uint64_t life_ns = options->connection_life_ns;
    return connections_new(address->v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4,
                           count ? count : HTTP_CONNECTION_MAX,
                           life_ns ? life_ns : HTTP_CONNECTION_LIFE_NS, &server->connections,
                           error);
}

static int listen_for(struct http_server *server, int fd, enum bell bell)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = bell};
    return epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int open_bells(struct http_server *server)
{
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    server->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    server->inbox = bell >= 0 ? inbox_new(bell) : NULL;
    if (!server->inbox || server->epoll < 0 || server->timer < 0) {
        int r = server->inbox || bell < 0 ? -errno : -ENOMEM;
        if (!server->inbox)
            fd_close(bell);
        return r;
    }
    int r = listen_for(server, bell, BELL_REQUEST);
    return r < 0 ? r : listen_for(server, server->timer, BELL_TIMER);
}

static int set_up(struct http_server *server, const struct http_options *options,
                  struct error_text *error)
{
    struct http_address address;
    int r = http_address_parse(options->url, &address, error);
    if (r < 0)
        return r;
    server->loopback = address.loopback;
    server->refused = options->refused;
    server->refused_data = options->refused_data;
    if (!address.loopback && !options->insecure)
        return error_set(
            error, -EPERM,
            "other machines reach %.100s, and whoever does may ask: there is no password "
            "and no TLS. Listen on 127.0.0.1 with a proxy in front, or say "
            "--insecure-http",
            options->url);
    http_address_url(&address, server->url);
    r = open_bells(server);
    if (r < 0)
        return error_set(error, r, "cannot set up HTTP: %s", strerror(-r));
    int n = start(server, server->url, options->large_path);
    if (n != 0)
        return fail(error, n, server->url);
    r = find_connections(server, options, &address, error);
    if (r < 0)
        return r;
    r = listen_for(server, connections_fd(server->connections), BELL_CONNECTION);
    return r < 0 ? error_set(error, r, "cannot wait for %s: %s", server->url, strerror(-r)) : 0;
}

int http_server_new(const struct http_options *options, struct http_server **ret_server,
                    struct error_text *error)
{
    struct http_server *server = calloc(1, sizeof(*server));
    if (!server)
        return error_set(error, -ENOMEM, "out of memory");
    server->epoll = server->timer = -1;
    server->sweep_at_ns = CLOCK_NEVER;
    LIST_INIT(&server->later);
    int r = set_up(server, options, error);
    if (r < 0) {
        http_server_free(server);
        return r;
    }
    *ret_server = server;
    return 0;
}

struct http_server *http_server_free(struct http_server *server)
{
    if (!server)
        return NULL;
    connections_free(server->connections);
    if (server->inbox)
        inbox_close(server->inbox);
    later_close(server);
    if (server->started)
        nng_http_server_stop(server->server);
    if (server->server)
        nng_http_server_release(server->server);
    inbox_unref(server->inbox);
    fd_close(server->epoll);
    fd_close(server->timer);
    free(server);
    return NULL;
}
