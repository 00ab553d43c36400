/* The controller's state. rollout/ only. */
#ifndef PARLEY_ROLLOUT_INTERNAL_H
#define PARLEY_ROLLOUT_INTERNAL_H

#include "rollout/judge.h"
#include "rollout/rollout.h"

#define VERSION_BYTES (SEMVER_BYTES_MAX + 1)
#define OFFER_MAX 64         /* versions of an interface; more are not looked at */
#define REASON_BYTES_MAX 383 /* longer than any range */

/* What was in force before: to be undone to. */
struct past {
    uint32_t revision;
    enum rollout_phase phase; /* as it ended */
    char stable[VERSION_BYTES], canary[VERSION_BYTES];
    char *document; /* NUL-terminated; owned */
};

/* The last figures, from which differences are taken. */
struct baseline {
    bool known;
    struct rollout_figures stable, canary;
};

struct rollout {
    struct rollout_spec *spec;
    char applied[sizeof(((struct rollout_spec *)0)->digest)]; /* the last document that came */
    uint32_t revision;
    uint32_t past_count;
    struct past past[ROLLOUT_REVISION_MAX]; /* the oldest first */

    char offer[OFFER_MAX][VERSION_BYTES];
    uint32_t offer_count;
    char stable[VERSION_BYTES], canary[VERSION_BYTES]; /* "": none yet */
    char promoted[VERSION_BYTES]; /* what a completed rollout left in force: the stable one now */
    char newest[VERSION_BYTES];   /* the best canary that this document has had a rollout of */
    bool stable_here, canary_here;
    bool restored; /* and not all instances are back yet: they count as there until then: */
    uint64_t restored_until_ns;

    enum rollout_phase phase;
    char reason[REASON_BYTES_MAX + 1];
    uint32_t stage;
    uint64_t held_ns;
    uint64_t stepped_ns, look_ns;        /* when time was last counted; when to look next */
    uint64_t stable_calls, canary_calls; /* of this step */
    uint64_t exposed_calls;
    uint64_t canary_latency[HISTOGRAM_BUCKET_COUNT]; /* of this step; to be looked at */
    uint32_t failures, successes;
    struct judge judge;
    struct baseline baseline;
    bool rebase; /* the next figures begin a window */
    bool changed;

    uint64_t history_serial;
    uint32_t history_first, history_count;
    struct rollout_entry history[ROLLOUT_HISTORY_MAX]; /* a ring */
};

/* history.c */
/* For JSON, which is UTF-8: other bytes, as of a character that was cut, become question marks. */
void text_make_printable(char *text);
void history_add(struct rollout *rollout, struct rollout_time now, const char *who,
                 const char *what, const char *why, ...) __attribute__((format(printf, 5, 6)));

/* versions.c: what of the offer the ranges mean; "" if nothing. */
const char *versions_canary(const struct rollout *rollout);
const char *versions_stable(const struct rollout *rollout, const char *canary);
bool versions_has(const struct rollout *rollout, const char *version);
/* Whether the document's canary ranges prefer @a to @b, which is "" or one of theirs. */
bool versions_better(const struct rollout_spec *spec, const char *a, const char *b);
bool versions_fits(const struct semver_ranges *ranges, const char *version);

/* rollout.c */
void rollout_begin(struct rollout *rollout, struct rollout_time now);
void rollout_enter(struct rollout *rollout, enum rollout_phase phase, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void rollout_enter_stage(struct rollout *rollout, uint32_t stage);
/* Keeps what is in force as past, and counts the revision up. */
int rollout_revise(struct rollout *rollout);
void rollout_complete(struct rollout *rollout, const char *why);
uint32_t rollout_buckets(const struct rollout *rollout);
/* The versions as the offer and the document have them now; begins if both are there. */
void rollout_resolve(struct rollout *rollout, struct rollout_time now);

#endif
