/*
 * The word that somebody meant who has mistyped one.
 */
#ifndef PARLEY_BASE_NEAREST_H
#define PARLEY_BASE_NEAREST_H

#include <stddef.h>

#define NEAREST_BYTES_MAX 64 /* of a word; a longer one is near to none */

/* The one of @count names that is nearest to @word, or NULL if none is near: about a third of it may
 * be wrong, or missing at the end. Letters' case aside. */
const char *nearest(const char *word, const char *const *names, size_t count);

#endif
