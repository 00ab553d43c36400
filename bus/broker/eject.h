/*
 * Outlier ejection, as arithmetic: who is ejected, for how long, and when it is back. Knows neither
 * broker nor clock; eject.c says how, ejector.c feeds it.
 */
#ifndef PARLEY_BROKER_EJECT_H
#define PARLEY_BROKER_EJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "shm/layout.h"

struct eject_settings {
    bool off;
    uint64_t interval_ns; /* between two looks */
    uint32_t failures;    /* in a row, that one client has seen */
    uint32_t volume;      /* calls, below which rates are not compared; a fifth for latency */
    double points;        /* by which the rate of failures must be above the others': 0..1 */
    double slow;          /* times the others' median latency */
    uint64_t slow_ns;     /* and so much more than it */
    uint64_t base_ns;     /* the first ejection; the n-th in a row lasts n times as long */
    uint64_t longest_ns;
    double share; /* of a version's instances, at most: 0..1; of two or more always one */
};

#define EJECT_DEFAULTS                                                                             \
    {                                                                                              \
        .interval_ns = UINT64_C(1000000000), .failures = 5, .volume = 50, .points = 0.1,           \
        .slow = 4, .slow_ns = UINT64_C(2000000), .base_ns = UINT64_C(10000000000),                 \
        .longest_ns = UINT64_C(300000000000), .share = 0.1                                         \
    }

/* "off", "on", or KEY=VALUE with commas between: interval, failures, volume, points, slow,
 * slow-by, base, longest, share. Keys that are not named keep their defaults. Return: 0; -EINVAL
 * with a sentence. */
int eject_parse(const char *text, struct eject_settings *ret_settings, struct error_text *error);

/* What was seen of one instance in an interval. */
struct eject_figures {
    uint64_t ended, failed;
    uint32_t in_a_row; /* failures up to now, the most that one client has seen */
    uint32_t bucket[STATS_INSTANCE_BUCKETS];
};

enum eject_reason { EJECT_NONE, EJECT_IN_A_ROW, EJECT_RATE, EJECT_SLOW };

/* Each instance beside all others of one version.
 * @latest: of the last interval; @window: of it and some before, for who has few calls
 * @ret_reasons: one an instance */
void eject_compare(const struct eject_settings *settings, const struct eject_figures *latest,
                   const struct eject_figures *window, size_t count,
                   enum eject_reason *ret_reasons);
/* The bound of the bucket that the median is in, in nanoseconds; 0: there is none. */
uint64_t eject_median_ns(const struct eject_figures *figures);

struct eject_state {
    bool ejected;
    uint32_t times;    /* ejections that are not forgiven yet */
    uint64_t until_ns; /* ejected: its end; else when the next of `times` is forgiven */
};

/* Lets back in whose time is over. Return: whether it did. */
bool eject_restore(const struct eject_settings *settings, uint64_t now_ns,
                   struct eject_state *state);
/* Whether one more of @up instances may be ejected, of which @ejected are. */
bool eject_may(const struct eject_settings *settings, size_t up, size_t ejected);
/* Return: for how long, in nanoseconds. */
uint64_t eject_begin(const struct eject_settings *settings, uint64_t now_ns,
                     struct eject_state *state);

#endif
