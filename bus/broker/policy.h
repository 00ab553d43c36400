/*
 * Who may do what: the policy file. Without one everything is allowed to whoever reaches a socket.
 * docs/SECURITY.md has the file as an operator sees it. guard.h is how the broker asks.
 */
#ifndef PARLEY_BROKER_POLICY_H
#define PARLEY_BROKER_POLICY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "control/replier.h"

#define POLICY_BYTES_MAX (64 * 1024) /* of the file */
#define POLICY_RULE_MAX 256
#define POLICY_WHO_MAX 64        /* of one rule */
#define POLICY_INTERFACE_MAX 64  /* of one rule */
#define POLICY_PATTERN_BYTES 128 /* of a name or a pattern: 127 and a NUL */
#define POLICY_MEMBER_MAX 1024   /* of a group, as the system's database has them */

struct policy;

enum policy_action {
    POLICY_CALL = 0,    /* an interface */
    POLICY_PUBLISH = 1, /* an interface */
    POLICY_LOOK = 2,    /* list, describe, statistics, health, events */
    POLICY_CONTROL = 3, /* what the control API changes */
};
#define POLICY_ACTION_COUNT 4

/* Reads the file, and the system's database of users for the names in it, which may take as long as
 * that takes. Return: 0; -EINVAL, -E2BIG with file, line and column; -errno with a sentence. */
int policy_load(const char *path, struct policy **ret_policy, struct error_text *error);
/* The same of a text; @file: for sentences. */
int policy_parse(const char *text, size_t bytes, const char *file, struct policy **ret_policy,
                 struct error_text *error);
struct policy *policy_free(struct policy *policy); /* NULL is fine; returns NULL */
/* @policy NULL: true. @interface NULL: not about one. False: @error says who may not do what. */
bool policy_allows(const struct policy *policy, const struct replier_peer *peer,
                   enum policy_action action, const char *interface, struct error_text *error);

#endif
