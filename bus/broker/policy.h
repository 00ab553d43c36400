/*
 * Who may do what: the policy file. Without one everything is allowed to whoever reaches a socket.
 */
#ifndef PARLEY_BROKER_POLICY_H
#define PARLEY_BROKER_POLICY_H

#include <stdbool.h>

#include "base/error.h"
#include "control/replier.h"

struct policy;

enum policy_action {
    POLICY_CALL = 0,    /* an interface */
    POLICY_PUBLISH = 1, /* an interface */
    POLICY_LOOK = 2,    /* list, describe, health, events */
    POLICY_CONTROL = 3, /* what the control API changes */
};

/* Return: 0; -EINVAL with file, line and column; -errno. */
int policy_load(const char *path, struct policy **ret_policy, struct error_text *error);
struct policy *policy_free(struct policy *policy);
/* @policy NULL: true. @interface NULL: not about one. False: @error says who may not do what. */
bool policy_allows(const struct policy *policy, const struct replier_peer *peer,
                   enum policy_action action, const char *interface, struct error_text *error);

#endif
