/*
 * A version between two adjacent ones, for fields that change both their value and their structure.
 */
#ifndef PARLEY_TRANSLATE_BETWEEN_H
#define PARLEY_TRANSLATE_BETWEEN_H

#include "schema/schema.h"

#define BETWEEN_SUFFIX "_before" /* of the newer one's package, for the name of the one between */

struct between {
    struct schema *before; /* stands between the older and the newer one */
    struct schema *newer;  /* in place of the newer one: its rules are those since @before */
};

/**
 * between_make() - divide the rules of a version in two steps
 * @newer: names @older as its `previous`
 *
 * Return: 1 and the two, between_deinit(); 0: no field has rules of both kinds; -EINVAL with the
 * field and the way out if they cannot be divided; -E2BIG past a schema's limits; -ENOMEM.
 */
int between_make(const struct schema *older, const struct schema *newer,
                 struct between *ret_between, struct error_text *error);
void between_deinit(struct between *between);

#endif
