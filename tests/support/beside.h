/*
 * The set-up of tests that misbehave on a bus: it, and somebody else there who must not notice.
 */
#ifndef PARLEY_TESTS_SUPPORT_BESIDE_H
#define PARLEY_TESTS_SUPPORT_BESIDE_H

#include "support/bus.h"
#include "support/steady.h"

extern struct bus bus;
extern struct steady steady;

/* As cmocka wants them. */
int set_up(void **state);
int tear_down(void **state);

#endif
