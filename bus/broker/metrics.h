/*
 * Metrics as text for Prometheus (exposition format 0.0.4) and OpenMetrics 1.0: one writer for
 * both.
 *
 * A family is begun, and then all of its samples are written; no other may be in between. Whoever
 * has figures of its own adds a function to the list of writers in watching.c.
 */
#ifndef PARLEY_BROKER_METRICS_H
#define PARLEY_BROKER_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct broker;

struct metrics {
    bool open_metrics;
    bool failed; /* no memory: what there is is not all */
    char *text;
    size_t bytes, bytes_max;
    const char *name; /* of the family */
    bool counter;
};

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

/* @value NULL: the label is left out. */
struct label {
    const char *name, *value;
};

void metrics_deinit(struct metrics *metrics);
/* @name: a literal; a counter's without "_total". */
void metrics_family(struct metrics *metrics, const char *name, enum metric_type type,
                    const char *help);
void metrics_count(struct metrics *metrics, const struct label *labels, size_t label_count,
                   uint64_t value);
void metrics_value(struct metrics *metrics, const struct label *labels, size_t label_count,
                   double value);
void metrics_end(struct metrics *metrics);

/* The statistics of calls, of the bus and of the broker. Return: 0, -ENOMEM. */
int metrics_stats(struct metrics *metrics, struct broker *broker);
/* Rollouts and their gates (rollouts_metrics.c). Return: as above. */
int metrics_rollouts(struct metrics *metrics, struct broker *broker);

#endif
