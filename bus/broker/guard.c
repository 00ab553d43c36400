/*
 * Where the policy meets the broker: who asks is made the one kind of peer that a policy knows,
 * whether it came by the link, an NNG socket or HTTP, and what was denied is counted and written
 * down in one place.
 *
 * HTTP knows nobody: whoever reaches it is "anybody", and a policy that lets anybody look lets it.
 * Who listens to events is looked at when it connects (subscribers.c).
 */
#include "broker/guard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "broker/subscribers.h"

static const char *const topics[] = {"audit.call", "audit.publish", "audit.look", "audit.control"};
static const char *const asked[] = {"a call", "a publication", "a look", "a change"};

static bool allows(struct broker *broker, const struct replier_peer *peer,
                   enum policy_action action, const char *interface, struct error_text *error)
{
    bool allowed = policy_allows(broker->policy, peer, action, interface, error);
    broker->policy_denied += !allowed;
    return allowed;
}

static void refused(struct broker *broker, const struct replier_peer *peer, const char *topic,
                    const struct refusal *about, const char *why)
{
    struct refusal refusal = *about;
    refusal.topic = topic;
    refusal.known = peer->local;
    refusal.who = (struct ucred){.pid = peer->pid, .uid = peer->uid, .gid = peer->gid};
    refusal.from = peer->identity[0] ? peer->identity : peer->text;
    audit_refused(broker, &refusal, "%s", why);
}

void guard_limited(struct broker *broker, const struct replier_peer *peer, const char *what,
                   const char *why)
{
    const struct refusal about = {.asked = what, .status = PARLEY_RESOURCE_EXHAUSTED};
    refused(broker, peer, "audit.limit", &about, why);
}

bool guard_allows(struct broker *broker, const struct replier_peer *peer, enum policy_action action,
                  const char *interface, const char *version, struct error_text *error)
{
    if (allows(broker, peer, action, interface, error))
        return true;
    const struct refusal about = {
        .asked = asked[action],
        .interface = interface,
        .version = version,
        .status = PARLEY_PERMISSION_DENIED,
    };
    refused(broker, peer, topics[action], &about, error->text);
    return false;
}

bool guard_allows_endpoint(const struct endpoint *endpoint, enum policy_action action,
                           const char *interface, struct error_text *error)
{
    struct replier_peer peer = {
        .local = true,
        .uid = endpoint->peer.uid,
        .gid = endpoint->peer.gid,
        .pid = endpoint->peer.pid,
    };
    if (endpoint->internal || !endpoint->broker->policy)
        return true;
    (void)snprintf(peer.text, sizeof(peer.text), "user %u (pid %d)", (unsigned)peer.uid,
                   (int)peer.pid);
    return allows(endpoint->broker, &peer, action, interface, error);
}

bool guard_allows_http(struct broker *broker, enum policy_action action,
                       struct http_response *response)
{
    static const struct replier_peer nobody = {.text = "whoever asks over HTTP"};
    struct error_text error = {""};
    if (allows(broker, &nobody, action, NULL, &error))
        return true;
    http_response_say(response, 403, "%s", error.text);
    return false;
}

/* ---- The control API ---- */

const struct replier_peer *guard_peer(const struct replier_request *asker)
{
    static struct replier_peer here = {.local = true, .text = "this process"};
    here.uid = geteuid();
    here.gid = getegid();
    here.pid = getpid();
    return asker ? replier_request_peer(asker) : &here;
}

/* What is not known to do no harm is taken for a change. */
static enum policy_action action_of(const Parley__ControlRequest *request, const char **interface)
{
    *interface = NULL;
    switch (request->body_case) {
    case PARLEY__CONTROL_REQUEST__BODY_LIST:
    case PARLEY__CONTROL_REQUEST__BODY_STATS:
    case PARLEY__CONTROL_REQUEST__BODY_SCHEMAS:
    case PARLEY__CONTROL_REQUEST__BODY_EVENTS:
        return POLICY_LOOK;
    case PARLEY__CONTROL_REQUEST__BODY_DESCRIBE:
        *interface = request->describe->interface;
        return POLICY_LOOK;
    case PARLEY__CONTROL_REQUEST__BODY_CALL:
        *interface = request->call->interface;
        return POLICY_CALL;
    case PARLEY__CONTROL_REQUEST__BODY_PUBLISH:
        *interface = request->publish->interface;
        return POLICY_PUBLISH;
    case PARLEY__CONTROL_REQUEST__BODY_ROUTE:
        *interface = request->route->interface;
        return request->route->n_weight > 0 ? POLICY_CONTROL : POLICY_LOOK;
    case PARLEY__CONTROL_REQUEST__BODY_TRACE:
        return request->trace->has_rate_per_100000 || request->trace->has_off ? POLICY_CONTROL
                                                                              : POLICY_LOOK;
    case PARLEY__CONTROL_REQUEST__BODY_ROLLOUT:
        return request->rollout->action == PARLEY__ROLLOUT_ACTION__ROLLOUT_LIST ||
                       request->rollout->action == PARLEY__ROLLOUT_ACTION__ROLLOUT_SHOW
                   ? POLICY_LOOK
                   : POLICY_CONTROL;
    default:
        return POLICY_CONTROL;
    }
}

bool guard_allows_control(struct broker *broker, const Parley__ControlRequest *request,
                          const struct replier_request *asker, struct error_text *error)
{
    const char *interface;
    if (!broker->policy || !asker) /* nobody: this process itself */
        return true;
    if (request->body_case == PARLEY__CONTROL_REQUEST__BODY_WITHDRAW)
        return true; /* who withdraws what is its own has published it */
    enum policy_action action = action_of(request, &interface);
    return allows(broker, guard_peer(asker), action, interface,
                  error); /* control.c audits its refusals */
}

/* ---- The file ---- */

int guard_init(struct broker *broker, const char *path, struct error_text *error)
{
    struct policy *policy = NULL;
    int r = path ? policy_load(path, &policy, error) : 0;
    if (r < 0)
        return r;
    policy_free(broker->policy);
    broker->policy = policy;
    broker->policy_path = path;
    return 0;
}

void guard_reload(struct broker *broker)
{
    struct error_text error = {""};
    if (!broker->policy_path)
        return;
    if (guard_init(broker, broker->policy_path, &error) < 0) {
        log_error("%s; the policy stays as it was", error.text);
        const struct event event = {.topic = "policy.bad", .quiet = true};
        event_publish(broker, &event, "%s; the policy stays as it was", error.text);
        return;
    }
    subscribers_review(broker); /* who may not look any more does not hear what comes now */
    const struct event event = {.topic = "policy"};
    event_publish(broker, &event, "the policy was read from %s", broker->policy_path);
    policy_review(broker);
}

/* ---- URLs ---- */

/* The host of "[::1]:7400" or "127.0.0.1:7400": whether only this machine reaches it. */
static bool is_loopback(const char *host, size_t bytes)
{
    char text[64];
    struct in_addr v4;
    struct in6_addr v6;
    if (bytes >= 2 && host[0] == '[' && host[bytes - 1] == ']') {
        host++;
        bytes -= 2;
    }
    if (bytes >= sizeof(text))
        return false;
    memcpy(text, host, bytes);
    text[bytes] = '\0';
    if (inet_pton(AF_INET, text, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return strcmp(text, "localhost") == 0 ||
           (inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6));
}

/* Whether it begins with one of them; a NULL ends the list. */
static bool begins_with(const char *url, const char *const *schemes)
{
    for (; *schemes; schemes++)
        if (strncmp(url, *schemes, strlen(*schemes)) == 0)
            return true;
    return false;
}

int guard_url(const char *url, bool insecure, struct error_text *error)
{
    static const char *const safe[] = {"ipc://",  "unix://", "abstract://", "inproc://",
                                       "tls+tcp", "wss",     NULL};
    static const char *const plain[] = {"tcp", "ws", "http://", NULL};
    const char *host = strstr(url, "://");
    if (!host || insecure)
        return 0; /* what is no URL is refused by who listens */
    if (begins_with(url, safe))
        return 0;
    if (!begins_with(url, plain))
        return error_set(error, -EINVAL,
                         "cannot listen on %s: use ipc://, tls+tcp://, or tcp:// of loopback", url);
    host += 3;
    size_t bytes = strcspn(host, "/");
    const char *colon = memrchr(host, ':', bytes);
    if (colon && (host[0] != '[' || colon[-1] == ']'))
        bytes = (size_t)(colon - host);
    if (is_loopback(host, bytes))
        return 0;
    return error_set(error, -EPERM,
                     "%s can be reached by other machines, and is not encrypted: use tls+tcp:// "
                     "with --tls-cert, an address of loopback, or say --insecure",
                     url);
}

int guard_urls(const char *const *urls, size_t count, bool insecure, struct error_text *error)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < count; i++)
        r = guard_url(urls[i], insecure, error);
    return r;
}
