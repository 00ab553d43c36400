/*
 * What is answered by HTTP, from the broker's loop: whether it is alive and ready, and its
 * statistics. Each handler runs to its end before the next event is taken, so that it sees the
 * broker as a control request would.
 */
#include "broker/broker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "broker/call_http.h"
#include "broker/guard.h"
#include "broker/metrics.h"

static void on_http(struct source *source, uint32_t events)
{
    (void)events;
    struct broker *broker =
        (struct broker *)((uint8_t *)source - offsetof(struct broker, http_source));
    http_server_turn(broker->http);
}

/* That it answers is the answer: the loop turns. */
static void on_healthz(void *data, const struct http_request *request,
                       struct http_response *response)
{
    (void)data, (void)request;
    http_response_say(response, 200, "ok");
}

static void on_readyz(void *data, const struct http_request *request,
                      struct http_response *response)
{
    (void)request;
    const struct broker *broker = data;
    if (broker->stopping)
        http_response_say(response, 503, "the broker ends");
    else
        http_response_say(response, 200, "ok");
}

static void on_stats(void *data, const struct http_request *request, struct http_response *response)
{
    (void)request;
    Parley__Stats stats;
    if (!guard_allows_http(data, POLICY_LOOK, response))
        return;
    if (stats_reply(data, true, &stats) < 0) {
        http_response_say(response, 500, "out of memory");
        return;
    }
    http_response_take(response, "application/json", stats.json, strlen(stats.json));
    stats.json = NULL; /* the response's now */
    stats_reply_free(&stats);
}

/* Whoever has metrics: each writes whole families. Return: 0, -ENOMEM. */
static int (*const writers[])(struct metrics *metrics, struct broker *broker) = {
    metrics_stats,
    metrics_rollouts,
};

static void on_metrics(void *data, const struct http_request *request,
                       struct http_response *response)
{
    const char *accept = http_request_header(request, "Accept");
    struct metrics metrics = {.open_metrics =
                                  accept && strstr(accept, "application/openmetrics-text")};
    int r = 0;
    if (!guard_allows_http(data, POLICY_LOOK, response))
        return;
    for (size_t i = 0; r == 0 && i < sizeof(writers) / sizeof(writers[0]); i++)
        r = writers[i](&metrics, data);
    metrics_end(&metrics);
    if (r < 0 || metrics.failed) {
        metrics_deinit(&metrics);
        http_response_say(response, 500, "out of memory");
        return;
    }
    http_response_take(response,
                       metrics.open_metrics
                           ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                           : "text/plain; version=0.0.4; charset=utf-8",
                       metrics.text, metrics.bytes);
}

/* Who it was the server does not know: it is on this machine, or behind a proxy. */
static void on_refused(void *data, const struct http_request *request,
                       struct http_response *response)
{
    const char *origin = http_request_header(request, "Origin");
    char asked[HTTP_PATH_BYTES + 16];
    (void)snprintf(asked, sizeof(asked), "%s %s", request->method, request->path);
    const struct refusal refusal = {
        .topic = "audit.http",
        .from = origin ? origin : http_request_header(request, "Host"),
        .asked = asked,
        .status = PARLEY_PERMISSION_DENIED,
    };
    audit_refused(data, &refusal, "%.*s", (int)response->body_bytes, (const char *)response->body);
}

int watching_open(struct broker *broker, const struct broker_options *options,
                  struct error_text *error)
{
    static const struct {
        const char *path;
        http_handler *handler;
    } routes[] = {
        {"/healthz", on_healthz},
        {"/metrics", on_metrics},
        {"/readyz", on_readyz},
        {"/stats", on_stats},
    };
    const struct http_options http = {
        .url = options->http_url,
        .insecure = options->http_insecure,
        .refused = on_refused,
        .refused_data = broker,
        .large_path = options->allow_calls ? CALL_HTTP_PATH : NULL,
        .connection_life_ns = options->allow_calls ? CALL_HTTP_LIFE_NS : 0,
    };
    int r = http_server_new(&http, &broker->http, error);
    for (size_t i = 0; r == 0 && i < sizeof(routes) / sizeof(routes[0]); i++)
        r = http_server_route(broker->http, "GET", routes[i].path, routes[i].handler, broker);
    if (r == 0)
        r = page_open(broker, options->allow_control, error);
    if (r == 0 && options->allow_calls)
        r = call_http_open(broker);
    if (r < 0)
        return r;
    broker->http_source.ready = on_http;
    r = broker_watch(broker, http_server_fd(broker->http), WAIT_IN, &broker->http_source);
    return r < 0 ? error_set(error, r, "cannot wait for HTTP: %s", strerror(-r)) : 0;
}

void watching_close(struct broker *broker)
{
    if (!broker->http)
        return;
    broker_unwatch(broker, http_server_fd(broker->http), &broker->http_source);
    broker->http = http_server_free(broker->http);
}
