/*
 * What the broker says of itself, as JSON: the same from the broker (/stats, /events, events for
 * who has no protobuf) and from the command line (--json).
 */
#ifndef PARLEY_REPORT_REPORT_H
#define PARLEY_REPORT_REPORT_H

#include <stdint.h>

#include <jansson.h>

#include "parley/control.pb-c.h"
#include "parley/stats.pb-c.h"

/* All of these are the caller's: json_decref(). What is not told is left out. */

/* All but the methods. */
json_t *report_stats(const Parley__Stats *stats);
/* Without the buckets of its latency. */
json_t *report_method(const Parley__MethodStats *method);
json_t *report_event(const Parley__Event *event);

/* Calls that did not end as OK. */
uint64_t report_errors(const Parley__MethodStats *method);

#endif
