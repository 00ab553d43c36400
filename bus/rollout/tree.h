/*
 * A YAML document as a tree whose nodes know where they were written. rollout/ and
 * broker/policy.c.
 *
 * What a Kubernetes resource needs of YAML: mappings with plain keys, lists, scalars. Anchors,
 * aliases, merge keys, tags and several documents are refused, each by name and place; so are keys
 * that come twice. Nothing here grows with more than the document.
 */
#ifndef PARLEY_ROLLOUT_TREE_H
#define PARLEY_ROLLOUT_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum node_kind { NODE_SCALAR, NODE_MAPPING, NODE_LIST };

struct node {
    enum node_kind kind;
    uint32_t line, column; /* from 1; the column counts characters */
    bool plain;            /* a scalar without quotes */
    char *text;            /* of a scalar; NUL-terminated, without NULs in it */
    size_t bytes;
    char *key; /* in a mapping */
    uint32_t key_line, key_column;
    struct node *first, *last, *next; /* children; the next of the parent's */
};

/* Return: 0; -EINVAL, -E2BIG, -ENOMEM with "FILE:LINE:COLUMN: ..." in @error. */
int tree_read(const char *text, size_t bytes, const char *file, struct node **ret_root,
              struct error_text *error);
struct node *node_free(struct node *node);
/* Without a value: "key:", "~" or "null", unquoted. */
bool node_is_null(const struct node *node);
/* For messages: "a list". */
const char *node_kind_name(const struct node *node);

#endif
