/*
 * Regular expressions of metadata values: PCRE2's, on whole values, in bounded time and memory.
 */
#ifndef PARLEY_BASE_PATTERN_H
#define PARLEY_BASE_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define PATTERN_BYTES_MAX 1024
#define PATTERN_NESTING_MAX 32   /* of parentheses */
#define PATTERN_STEPS_MAX 10000  /* of PCRE2's matching, for one value: PCRE2's match limit */
#define PATTERN_HEAP_KIB_MAX 256 /* for one value */

struct pattern;

/**
 * pattern_new() - compile
 * @text:  need not be NUL-terminated
 * @bytes: 1..PATTERN_BYTES_MAX
 *
 * Return: 0; -EINVAL with a sentence that tells what is wrong and at which byte; -ENOMEM.
 */
int pattern_new(const char *text, size_t bytes, struct pattern **ret_pattern,
                struct error_text *error);
struct pattern *pattern_free(struct pattern *pattern);

/* Whether it fits all of @text. One that needs more than the limits above does not. Allocates
 * nothing for most patterns. One thread at a time. */
bool pattern_fits(struct pattern *pattern, const char *text, size_t bytes);

#endif
