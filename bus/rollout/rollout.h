/*
 * Rollouts: the document, the judging of a canary, and the controller that steps forward or goes
 * back.
 *
 * Everything here is computed from what it is given: no clock, no thread, no file, no broker. The
 * broker reads documents, tells which versions are there and what they counted, puts decisions into
 * the route page, and keeps the state on disk. docs/ROLLOUT.md has what a user sees of it.
 *
 *     rollout_spec_parse()  a document -> a spec, or what is wrong with it and where
 *     rollout_new()         a controller for it          rollout_from_json()  the same, restored
 *     rollout_apply()       a changed document of the same name
 *     rollout_offer()       which versions are published, whenever that changes
 *     rollout_step()        figures in, decision out: at the latest when the last decision said
 *     rollout_order()       what an operator wants
 *     rollout_view()        how it stands               rollout_to_json()    all of it, to be kept
 *
 * A rollout belongs to one thread at a time. Strings that functions hand out are the rollout's, and
 * valid until the next call that changes it.
 */
#ifndef PARLEY_ROLLOUT_H
#define PARLEY_ROLLOUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/histogram.h"
#include "schema/schema.h"

/* ---- The document ---- */

#define ROLLOUT_DOCUMENT_BYTES_MAX (64 * 1024)
#define ROLLOUT_DEPTH_MAX 16  /* of mappings and lists in each other */
#define ROLLOUT_NODE_MAX 4096 /* scalars, mappings and lists in a document */
#define ROLLOUT_STEP_MAX 32
#define ROLLOUT_MATCH_MAX 16              /* matches, of which one must fit */
#define ROLLOUT_HEADER_MAX 64             /* conditions of all matches together */
#define ROLLOUT_MATCH_TEXT_BYTES_MAX 3552 /* keys and values of all of them */
#define ROLLOUT_NAME_BYTES_MAX 63
#define ROLLOUT_INTERFACE_BYTES_MAX 255
#define ROLLOUT_KEY_BYTES_MAX 63    /* a metadata key */
#define ROLLOUT_VALUE_BYTES_MAX 255 /* a metadata value, a prefix, a regular expression */
#define ROLLOUT_BUCKETS 100000      /* all of them: 100 % */
#define ROLLOUT_HOLD_NS_MAX (UINT64_C(30) * 24 * 3600 * 1000000000) /* 30 days */

enum rollout_match_kind {
    ROLLOUT_MATCH_EXACT,
    ROLLOUT_MATCH_PREFIX,
    ROLLOUT_MATCH_REGEX, /* the whole value must fit */
    ROLLOUT_MATCH_PRESENT,
};

struct rollout_header {
    enum rollout_match_kind kind;
    char key[ROLLOUT_KEY_BYTES_MAX + 1];
    char value[ROLLOUT_VALUE_BYTES_MAX + 1]; /* "" with PRESENT */
};

/* Fits when all of its headers do. Matches are in order of precedence. */
struct rollout_match {
    uint32_t header_count; /* 1..ROLLOUT_HEADER_MAX */
    uint32_t first_header; /* in rollout_spec.headers */
    uint32_t index;        /* its place in the document, from 0 */
};

struct rollout_stage {
    uint32_t buckets; /* of ROLLOUT_BUCKETS; what the stage before has, if it says nothing */
    uint64_t hold_ns; /* 0: only as long as the gates need */
    bool approval;    /* behind hold and gates, an operator must approve */
};

enum rollout_on_failure { ROLLOUT_ON_FAILURE_ROLLBACK, ROLLOUT_ON_FAILURE_PAUSE };

#define ROLLOUT_MIN_CALLS 50
#define ROLLOUT_MAX_ERROR_RATE 0.02
#define ROLLOUT_MAX_P99_RATIO 1.75
#define ROLLOUT_INTERVAL_NS (UINT64_C(10) * 1000000000)

/* What a document does not say is as above; no failure is borne, and one success is enough. */
struct rollout_gates {
    uint32_t min_calls;                 /* of the canary, in this step, before anything is judged */
    double max_error_rate;              /* how much above the stable version's; 0.02: 2 points */
    double max_p99_ratio;               /* the canary's p99 / the stable version's */
    uint64_t interval_ns;               /* between two looks */
    uint32_t failure_limit;             /* failures that are borne: 0: the first one counts */
    uint32_t consecutive_success_limit; /* successes in a row that a step needs */
};

/* Read-only for others. */
struct rollout_spec {
    char name[ROLLOUT_NAME_BYTES_MAX + 1];
    char interface[ROLLOUT_INTERFACE_BYTES_MAX + 1];
    char stable_text[SEMVER_RANGE_BYTES_MAX + 1];
    char canary_text[SEMVER_RANGE_BYTES_MAX + 1];
    struct semver_ranges *stable, *canary;
    uint32_t match_count;
    struct rollout_match matches[ROLLOUT_MATCH_MAX]; /* by precedence: the first that fits */
    uint32_t header_count;
    struct rollout_header headers[ROLLOUT_HEADER_MAX];
    char sticky_key[ROLLOUT_KEY_BYTES_MAX + 1];  /* "": buckets are drawn for each call */
    char salt_group[ROLLOUT_NAME_BYTES_MAX + 1]; /* "": none */
    uint64_t salt;        /* of the salt group, or of the rollout's name if there is none */
    uint32_t stage_count; /* 1..ROLLOUT_STEP_MAX */
    struct rollout_stage stages[ROLLOUT_STEP_MAX];
    struct rollout_gates gates;
    enum rollout_on_failure on_failure;
    uint32_t mirror_buckets; /* of the calls that go to the stable version */
    char *document;          /* as it was read, NUL-terminated */
    size_t document_bytes;
    char digest[65]; /* SHA-256 of the document, in hex */
};

/**
 * rollout_spec_parse() - read a document
 * @text:     YAML, need not be NUL-terminated
 * @bytes:    its length; more than ROLLOUT_DOCUMENT_BYTES_MAX is refused
 * @file:     name for messages
 * @ret_spec: the caller's; rollout_spec_free()
 * @error:    "FILE:LINE:COLUMN: what is wrong: what was expected"
 *
 * Return: 0; -EINVAL, -E2BIG, -ENOMEM with @error.
 */
int rollout_spec_parse(const char *text, size_t bytes, const char *file,
                       struct rollout_spec **ret_spec, struct error_text *error);
struct rollout_spec *rollout_spec_free(struct rollout_spec *spec);

/* ---- What the controller is told ---- */

struct rollout_time {
    uint64_t ns;     /* monotone; holds and intervals are measured by it */
    int64_t wall_ms; /* since 1970; for the history only */
};

/* Cumulative: the controller takes differences. Counters that went down, as after a restart, begin
 * anew: what is between the two readings is not judged. */
struct rollout_figures {
    uint64_t calls;  /* ended */
    uint64_t errors; /* of these, with a status that is the server's fault */
    uint64_t latency[HISTOGRAM_BUCKET_COUNT]; /* of these, by base/histogram.h */
};

/* ---- What it decides ---- */

enum rollout_phase {
    ROLLOUT_WAITING,     /* the stable or the canary version is not there */
    ROLLOUT_PROGRESSING, /* in a step: held, or gates judged */
    ROLLOUT_APPROVAL,    /* an operator must approve the step */
    ROLLOUT_PAUSED,      /* by an operator, or by a failed gate with onFailure: pause */
    ROLLOUT_ROLLED_BACK, /* all to the stable version, until an operator resumes or a new version
                            comes */
    ROLLOUT_COMPLETED,   /* all to the canary version */
    ROLLOUT_PHASE_COUNT,
};
const char *rollout_phase_name(enum rollout_phase phase); /* "Progressing" */

struct rollout_decision {
    bool changed;                /* the state did: publish it, and keep rollout_to_json() */
    bool versions_known;         /* else nothing can be routed yet, and the rest is empty */
    const char *stable, *canary; /* versions as rollout_offer() named them; "": none */
    uint32_t canary_buckets;     /* the canary's share: buckets 0 up to this one */
    bool match;                  /* whether calls that fit a match go to the canary */
    uint32_t mirror_buckets;
    uint64_t next_ns; /* step again then, by rollout_time.ns; UINT64_MAX: nothing to wait for */
};

/* ---- How it stands ---- */

enum rollout_verdict {
    ROLLOUT_UNDECIDED, /* too little data */
    ROLLOUT_PASS,
    ROLLOUT_FAIL,
};
const char *rollout_verdict_name(enum rollout_verdict verdict); /* "undecided" */

/* One gate, over the window that it judges. */
struct rollout_gate_view {
    enum rollout_verdict verdict; /* the last one of this step */
    double stable, canary;        /* error rates, or p99 in ns; NAN: not known */
    double limit;                 /* the most for the canary, in the same unit; NAN: not known */
    double harm;                  /* evidence that the canary is worse, 0..1; at 1 it fails */
    double health;                /* evidence that it is not, 0..1; at 1 it passes */
};

struct rollout_view {
    const struct rollout_spec *spec;
    uint32_t revision; /* from 1 */
    enum rollout_phase phase;
    const char *reason;          /* why it is in this phase, a sentence */
    const char *stable, *canary; /* versions; "": none */
    uint32_t stage;              /* from 0; spec->stage_count: all are done */
    uint32_t canary_buckets;
    uint64_t held_ns;                    /* in this step */
    uint64_t stable_calls, canary_calls; /* in this step */
    uint32_t failures, successes;        /* in this step: counted, in a row */
    struct rollout_gate_view errors, p99;
    uint64_t exposed_calls; /* calls that the canary served in this revision */
    uint32_t history_count;
};

/* ---- The history ---- */

#define ROLLOUT_HISTORY_MAX 128 /* the oldest go first */
#define ROLLOUT_REVISION_MAX 8  /* earlier documents that are kept */
#define ROLLOUT_WHO_BYTES_MAX 63
#define ROLLOUT_WHAT_BYTES_MAX 31
#define ROLLOUT_WHY_BYTES_MAX 255

struct rollout_entry {
    int64_t wall_ms;
    uint64_t serial;                          /* counts all entries of this rollout, from 1 */
    uint32_t revision, stage, canary_buckets; /* behind it */
    enum rollout_phase phase;                 /* behind it */
    char who[ROLLOUT_WHO_BYTES_MAX + 1];      /* "controller", or as rollout_order() was told */
    char what[ROLLOUT_WHAT_BYTES_MAX + 1]; /* "apply", "begin", "step", "pause", "rollback", ... */
    char why[ROLLOUT_WHY_BYTES_MAX + 1];
};

/* ---- The controller ---- */

struct rollout;

enum rollout_verb {
    ROLLOUT_PAUSE,        /* stay as it is */
    ROLLOUT_RESUME,       /* goes on; after a rollback, begins again at the first step */
    ROLLOUT_APPROVE,      /* the step that waits for it */
    ROLLOUT_PROMOTE,      /* the next step now, whatever hold, gates and approval say */
    ROLLOUT_PROMOTE_FULL, /* all to the canary now */
    ROLLOUT_ROLLBACK,     /* all to the stable version now */
    ROLLOUT_UNDO,         /* what was in force before this revision */
    ROLLOUT_VERB_COUNT,
};
const char *rollout_verb_name(enum rollout_verb verb); /* "promote" */

/**
 * rollout_new() - a controller for a document
 * @spec: taken over, also when it fails
 * @who:  for the history: who brought the document
 *
 * Return: 0 or -ENOMEM.
 */
int rollout_new(struct rollout_spec *spec, const char *who, struct rollout_time now,
                struct rollout **ret_rollout);
struct rollout *rollout_free(struct rollout *rollout);

/**
 * rollout_apply() - another document of the same name
 * @spec: taken over, also when it fails
 *
 * The same bytes as the last that was applied are no change, also after an undo: so a file may be
 * read again. Else it is a new revision, which begins at its first step; if it was completed, and
 * names the same versions, it stays so.
 * Return: 0; ROLLOUT_E_SAME; -EINVAL if the name or the interface is another one, with @error.
 */
int rollout_apply(struct rollout *rollout, struct rollout_spec *spec, const char *who,
                  struct rollout_time now, struct error_text *error);
#define ROLLOUT_E_SAME 1

/**
 * rollout_offer() - which versions have an instance now
 * @versions: their names; what is no semantic version is left out
 *
 * Whenever that changes, and before the first rollout_step(). Figures are then those of the
 * versions that rollout_view() names: step again at once.
 */
void rollout_offer(struct rollout *rollout, const char *const *versions, size_t count,
                   struct rollout_time now);

/**
 * rollout_step() - judge and decide
 * @stable: figures of the version that rollout_view() calls so; NULL if none are known
 * @canary: the same
 *
 * May be called at any time; gates are looked at each `interval`.
 */
void rollout_step(struct rollout *rollout, struct rollout_time now,
                  const struct rollout_figures *stable, const struct rollout_figures *canary,
                  struct rollout_decision *ret_decision);

/**
 * rollout_order() - what an operator wants
 * @who: for the history, as the kernel knows them; @why may be NULL
 *
 * Step afterwards, for the decision.
 * Return: 0; -EINVAL if that cannot be done in this phase, with @error.
 */
int rollout_order(struct rollout *rollout, enum rollout_verb verb, const char *who, const char *why,
                  struct rollout_time now, struct error_text *error);

void rollout_view(const struct rollout *rollout, struct rollout_view *ret_view);
/* @index: from 0, the oldest that is kept; NULL past the last one. */
const struct rollout_entry *rollout_history(const struct rollout *rollout, uint32_t index);

/**
 * rollout_to_json() - all that must survive a restart
 *
 * Documents, revisions, the step, how long it was held, the evidence so far, the history.
 * Return: the caller's reference; NULL: no memory.
 */
json_t *rollout_to_json(const struct rollout *rollout, struct rollout_time now);

/**
 * rollout_from_json() - a controller in the step where it was
 *
 * Time that has gone by meanwhile is not counted as held. The first figures are only compared with.
 * Return: 0; -EINVAL with the key that is wrong in @error; -ENOMEM.
 */
int rollout_from_json(const json_t *json, struct rollout_time now, struct rollout **ret_rollout,
                      struct error_text *error);

#endif
