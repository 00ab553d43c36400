/* Typed values of a document's nodes, with sentences about those that are wrong. rollout/ and
 * broker/policy.c. */
#ifndef PARLEY_ROLLOUT_FIELDS_H
#define PARLEY_ROLLOUT_FIELDS_H

#include "rollout/rollout.h"
#include "rollout/tree.h"

/* Where we are: what every sentence begins with. */
struct fields {
    const char *file;
    struct error_text *error;
};

/* "FILE:LINE:COLUMN: WHAT", at the node's value. Returns @code. */
int field_error(const struct fields *fields, const struct node *node, int code, const char *format,
                ...) __attribute__((format(printf, 4, 5)));

/**
 * fields_of() - the children of a mapping, by name
 * @where:  what the mapping is, for messages: "spec.gates"
 * @names:  what it may have, NULL-terminated
 * @ret:    one for each name, NULL where it is not there
 *
 * Return: 0; -EINVAL for another kind of node, and for a key that is none of these, with the
 * nearest one that is.
 */
int fields_of(const struct fields *fields, const struct node *node, const char *where,
              const char *const *names, const struct node **ret);

/* All of these: -EINVAL with what was expected. @where is the path of the field. */
int field_list(const struct fields *fields, const struct node *node, const char *where,
               uint32_t min, uint32_t max, uint32_t *ret_count);
int field_text(const struct fields *fields, const struct node *node, const char *where,
               size_t bytes_max, char *ret_text);
int field_bool(const struct fields *fields, const struct node *node, const char *where, bool *ret);
int field_u32(const struct fields *fields, const struct node *node, const char *where, uint32_t min,
              uint32_t max, uint32_t *ret);
/* "1h30m", "5m", "30s", "250ms", or "0". */
int field_duration(const struct fields *fields, const struct node *node, const char *where,
                   uint64_t min_ns, uint64_t *ret_ns);
/* "12.5" or "12.5%", as buckets of 100,000: up to three decimals. With @sign, only with "%". */
int field_percent(const struct fields *fields, const struct node *node, const char *where,
                  bool sign, uint32_t *ret_buckets);
/* "1.75", up to three decimals. */
int field_ratio(const struct fields *fields, const struct node *node, const char *where,
                uint32_t min_thousandths, uint32_t max_thousandths, double *ret);

#endif
