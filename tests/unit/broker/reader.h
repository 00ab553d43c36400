/* A reader of slot 0 of a route page, as the rpc room has it; apart, for the two rooms' own headers
 * do not go together. */
#ifndef PARLEY_TESTS_UNIT_BROKER_READER_H
#define PARLEY_TESTS_UNIT_BROKER_READER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "shm/shm.h"

struct reading {
    const struct region *page;
    _Atomic bool done;
    _Atomic unsigned changes, torn;
};

/* Reads until done. In each view: two versions and two instances, the first threshold is the
 * generation, the second all; else it counts as torn. @data: struct reading. */
void *read_on(void *data);
/* Of a rollout whose rule has the canary's buckets as its value, in five digits; none if they are a
 * multiple of 7. */
void *read_rules_on(void *data);

#endif
