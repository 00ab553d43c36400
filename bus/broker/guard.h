/*
 * The policy, as the broker asks it: who may not is told so, and the audit trail has it.
 */
#ifndef PARLEY_BROKER_GUARD_H
#define PARLEY_BROKER_GUARD_H

#include <stdbool.h>

#include "base/error.h"
#include "broker/broker.h"
#include "broker/policy.h"
#include "control/replier.h"

/**
 * guard_allows() - whether a peer of a NNG socket or of HTTP may
 * @interface, @version: what it is about; NULL: nothing
 * False: @error says who may not do what, for the answer (PERMISSION_DENIED), and it has been
 * audited: as "audit.call", "audit.publish", "audit.look", "audit.control".
 */
bool guard_allows(struct broker *broker, const struct replier_peer *peer, enum policy_action action,
                  const char *interface, const char *version, struct error_text *error);
/* The same for a native endpoint; who refuses it tells the audit trail. The broker's own may. */
bool guard_allows_endpoint(const struct endpoint *endpoint, enum policy_action action,
                           const char *interface, struct error_text *error);

/* Of whoever asks over HTTP, who is nobody in particular. False: @response is a 403 that says so.
 */
bool guard_allows_http(struct broker *broker, enum policy_action action,
                       struct http_response *response);
/* Who asks the control API; NULL: this process. Borrowed from the request. */
const struct replier_peer *guard_peer(const struct replier_request *asker);
/* Of the control API. @asker NULL: this process. False: as PERMISSION_DENIED, with @error. */
bool guard_allows_control(struct broker *broker, const Parley__ControlRequest *request,
                          const struct replier_request *asker, struct error_text *error);

/* @path: borrowed; NULL: there is no policy. Return: 0; -errno with a sentence. */
int guard_init(struct broker *broker, const char *path, struct error_text *error);
/* Reads the file anew; one that is not right leaves what there was, with a line in the log. */
void guard_reload(struct broker *broker);

/* Whether a URL may be listened on: one that other machines reach needs TLS, unless @insecure.
 * Return: 0; -EPERM with a sentence. */
int guard_url(const char *url, bool insecure, struct error_text *error);
int guard_urls(const char *const *urls, size_t count, bool insecure, struct error_text *error);
/* A limit of quota.h was passed, in a way that is worth a line of the audit trail. */
void guard_limited(struct broker *broker, const struct replier_peer *peer, const char *what,
                   const char *why);

#endif
