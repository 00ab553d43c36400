/*
 * Asking the broker of a bus for spans, by its control API. Fork services first: the asker brings
 * NNG's threads.
 */
#ifndef PARLEY_TESTS_SUPPORT_TRACING_H
#define PARLEY_TESTS_SUPPORT_TRACING_H

#include "parley/control.pb-c.h"
#include "support/bus.h"

/* @rate: per 100,000; negative: off. */
void tracing_set(const struct bus *bus, int rate);
/* The spans with this number and higher ones; wire_free(). */
Parley__ControlReply *tracing_read(const struct bus *bus, uint64_t since);
/* Waits until there are so many spans, and returns them; fails the test after 10 s. */
Parley__ControlReply *tracing_await(const struct bus *bus, uint64_t since, size_t count);

#endif
