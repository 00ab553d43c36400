/*
 * The page at `/`: its files, and what it asks for besides /stats: /list, /events, /rollouts, and
 * POST /rollouts/NAME/ACTION.
 *
 * The files are in the program, read-only: they cost no private memory, and NNG sends them from
 * where they are. So is chart.js, if libjs-chart.js was there when this was built; if not, a script
 * without anything in it has its place, and the page says so.
 *
 * Nothing changes anything here unless parleyd was given --allow-control. Then a POST must have the
 * header X-Parley-Control, which no page of another origin can send without asking us first (and we
 * never say yes), and if the browser tells where the request comes from (Sec-Fetch-Site; http.c
 * looks at Origin), it must come from this page. There are no passwords: whoever reaches the URL
 * may do it.
 */
#include "broker/broker.h"
#include "broker/guard.h"
#include "broker/rollouts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "page_files.h"

#define PAGE_CSP                                                                                   \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src "        \
    "'self'; "                                                                                     \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

#define PAGE_WHO "the page (HTTP)" /* HTTP tells no more of who asks */

/* ---- Files ---- */

static void on_file(void *data, const struct http_request *request, struct http_response *response)
{
    (void)request;
    const struct page_file *file = data;
    http_response_header(response, "Content-Security-Policy", PAGE_CSP);
    http_response_lend(response, file->type, file->data, file->bytes);
}

/* ---- What it asks for ---- */

/* @text: NULL: no memory */
static void answer_json(struct http_response *response, char *text)
{
    if (text)
        http_response_take(response, "application/json", text, strlen(text));
    else
        http_response_say(response, 500, "out of memory");
}

static void on_list(void *data, const struct http_request *request, struct http_response *response)
{
    (void)request;
    if (guard_allows_http(data, POLICY_LOOK, response))
        answer_json(response, control_list_json(data));
}

static void on_events(void *data, const struct http_request *request,
                      struct http_response *response)
{
    char text[24] = "";
    char *end = text;
    uint64_t since = 0;
    errno = 0;
    if (http_request_value(request, "since", text, sizeof(text)))
        since = strtoull(text, &end, 10);
    if (*end != '\0' || (request->query[0] && (text[0] < '0' || text[0] > '9')) ||
        errno == ERANGE) {
        http_response_say(response, 400, "/events takes ?since=N, the sequence of an event");
        return;
    }
    if (guard_allows_http(data, POLICY_LOOK, response))
        answer_json(response, events_json(data, since));
}

static char *dump(json_t *root)
{
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    json_decref(root);
    return text;
}

static void on_rollouts(void *data, const struct http_request *request,
                        struct http_response *response)
{
    (void)request;
    if (guard_allows_http(data, POLICY_LOOK, response))
        answer_json(response, dump(rollouts_json(data)));
}

/* ---- Acting ---- */

static void refuse(struct http_response *response, unsigned status, const char *text)
{
    char *body = dump(json_pack("{s:s}", "error", text));
    answer_json(response, body);
    if (body)
        response->status = status;
}

/* NULL: it may. */
static const char *why_not(const struct broker *broker, const struct http_request *request)
{
    const char *site = http_request_header(request, "Sec-Fetch-Site");
    if (!broker->allow_control)
        return "this parleyd lets nobody steer over HTTP: it was started without --allow-control";
    if (!http_request_header(request, "X-Parley-Control"))
        return "a request that changes something needs the header X-Parley-Control: 1";
    if (site && strcmp(site, "same-origin") != 0)
        return "the request comes from another page than this broker's";
    return NULL;
}

/* "NAME/ACTION" taken apart. Return: whether there is such an action. */
static bool parse_action(const char *rest, char name[ROLLOUT_NAME_BYTES_MAX + 1],
                         enum rollout_verb *ret_verb)
{
    static const enum rollout_verb verbs[] = {ROLLOUT_PAUSE, ROLLOUT_RESUME, ROLLOUT_APPROVE,
                                              ROLLOUT_PROMOTE, ROLLOUT_ROLLBACK};
    const char *slash = strchr(rest, '/');
    size_t bytes = slash ? (size_t)(slash - rest) : 0;
    if (bytes == 0 || bytes > ROLLOUT_NAME_BYTES_MAX)
        return false;
    memcpy(name, rest, bytes);
    name[bytes] = '\0';
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(slash + 1, rollout_verb_name(verbs[i])) == 0) {
            *ret_verb = verbs[i];
            return true;
        }
    }
    return false;
}

static void act(struct broker *broker, const struct http_request *request,
                struct http_response *response)
{
    char name[ROLLOUT_NAME_BYTES_MAX + 1];
    enum rollout_verb verb;
    struct error_text error = {""};
    if (!parse_action(request->rest, name, &verb)) {
        refuse(response, 404,
               "/rollouts/NAME/ACTION; actions: pause, resume, approve, promote, rollback");
        return;
    }
    enum parley_status status = rollouts_order(broker, name, verb, PAGE_WHO, NULL, &error);
    if (status == PARLEY_OK)
        answer_json(response, dump(rollouts_item_json(rollouts_find(broker, name))));
    else
        refuse(response, status == PARLEY_NOT_FOUND ? 404 : 409, error.text);
}

static void on_act(void *data, const struct http_request *request, struct http_response *response)
{
    const char *text = why_not(data, request);
    if (text)
        refuse(response, 403, text);
    else if (guard_allows_http(data, POLICY_CONTROL, response))
        act(data, request, response);
}

int page_open(struct broker *broker, bool allow_control, struct error_text *error)
{
    static const struct {
        const char *method, *path;
        http_handler *handler;
    } routes[] = {
        {"GET", "/list", on_list},
        {"GET", "/events", on_events},
        {"GET", "/rollouts", on_rollouts},
        {"POST", "/rollouts/", on_act},
    };
    int r = 0;
    broker->allow_control = allow_control;
    for (size_t i = 0; r == 0 && i < PAGE_FILE_COUNT; i++)
        r = http_server_route(broker->http, "GET", page_files[i].path, on_file,
                              (void *)(uintptr_t)&page_files[i]);
    for (size_t i = 0; r == 0 && i < sizeof(routes) / sizeof(routes[0]); i++)
        r = http_server_route(broker->http, routes[i].method, routes[i].path, routes[i].handler,
                              broker);
    return r < 0 ? error_set(error, r, "no room for the page's paths") : 0;
}
