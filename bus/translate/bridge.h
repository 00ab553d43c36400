/*
 * What keeps two major versions from being bridged, as findings of a diff.
 *
 * The compiler is the authority: what it compiles, in both directions, is no break, and what it
 * refuses is a finding with the option to add. Two things more are found here, which the compiler
 * passes over because a message that lacks them is well-formed all the same: a method that has no
 * counterpart, and a field that has none although one of the new fields may be what it became.
 */
#ifndef PARLEY_TRANSLATE_BRIDGE_H
#define PARLEY_TRANSLATE_BRIDGE_H

#include "schema/diff.h"

/**
 * diff_bridge() - add to @diff what does not bridge two adjacent versions
 * @older, @newer: interfaces (schema_service()); @newer names the package of @older as `previous`.
 *                 Borrowed for the call. The files of @newer are of the diff's new set.
 * Return: 0, however many findings; -ENOMEM.
 */
int diff_bridge(struct diff *diff, const struct schema *older, const struct schema *newer,
                struct error_text *error);

/**
 * diff_bridges() - all pairs of adjacent versions that the new set takes part in
 * @old, @new: as given to diff_new(), with options.bridges; need not be interfaces
 *
 * The older version is looked for in the new set first, for that is what will be published beside
 * the newer one, then in the old set.
 * Return: 0; -ENOMEM; -EINVAL, -E2BIG if one of them is no interface.
 */
int diff_bridges(struct diff *diff, const struct schema *old, const struct schema *new,
                 struct error_text *error);

#endif
