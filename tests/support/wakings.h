/* What an endpoint has counted, for tests that also include the broker's headers. */
#ifndef PARLEY_TESTS_SUPPORT_WAKINGS_H
#define PARLEY_TESTS_SUPPORT_WAKINGS_H

#include <stdint.h>

#include <parley/parley.h>

/* Times that it has woken another that slept. */
uint64_t wakings_by(struct parley_endpoint *endpoint);

#endif
