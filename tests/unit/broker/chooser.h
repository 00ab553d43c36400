/*
 * What a client of the library makes of a slot of the route page. In a file of its own, because the
 * library's private header and the broker's have names in common.
 */
#ifndef PARLEY_TESTS_UNIT_BROKER_CHOOSER_H
#define PARLEY_TESTS_UNIT_BROKER_CHOOSER_H

#include <parley/parley.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/shm.h"

struct chooser;
struct chooser *chooser_new(const struct region *page, uint32_t slot);
void chooser_free(struct chooser *chooser);
/* Where a call goes that begins now: a version's name; "" for none. */
const char *chooser_version(struct chooser *chooser, const struct parley_metadata *metadata,
                            size_t count);
/* How often it has compiled rules. */
unsigned chooser_compiled(const struct chooser *chooser);
uint32_t chooser_mirrored(struct chooser *chooser, const char **ret_version);

#endif
