/*
 * The state as JSON, and back. What is read may have been edited, cut short or be of another time:
 * each value is checked as a document's are, and a state is restored whole or not at all.
 *
 * Not kept: the offer, figures, and what is usual for the stable version. They come again.
 * Evidence is: a step at one call a second collects it for hours.
 */
#include "rollout/internal.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define STATE_FORMAT 1
#define COUNT_MAX (UINT64_C(1) << 53) /* of calls, of entries: JSON's numbers are exact up to it   \
                                       */
#define SMALL_MAX (UINT64_C(1) << 30) /* of revisions, rounds, failures: none is near it */
/* After a restart instances come back one after another. */
#define RETURN_NS (UINT64_C(30) * 1000000000)

DEFINE_CLEANUP(struct rollout *, rollout_free);

/* ---- Writing ---- */

static json_t *test_to_json(const struct judge_test *test)
{
    json_t *harm = json_array();
    for (int i = 0; i < JUDGE_RATIO_COUNT; i++)
        (void)json_array_append_new(harm, json_real(test->harm[i]));
    return json_pack("{s:f, s:f, s:f, s:f, s:s, s:o}", "stableCalls", test->stable_calls,
                     "stableHits", test->stable_hits, "canaryCalls", test->canary_calls,
                     "canaryHits", test->canary_hits, "verdict",
                     rollout_verdict_name(test->verdict), "harm", harm);
}

static json_t *past_to_json(const struct past *past)
{
    return json_pack("{s:I, s:s, s:s, s:s, s:s}", "revision", (json_int_t)past->revision, "phase",
                     rollout_phase_name(past->phase), "stable", past->stable, "canary",
                     past->canary, "document", past->document);
}

static json_t *entry_to_json(const struct rollout_entry *entry)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:s}", "serial",
                     (json_int_t)entry->serial, "wallMs", (json_int_t)entry->wall_ms, "revision",
                     (json_int_t)entry->revision, "step", (json_int_t)entry->stage, "buckets",
                     (json_int_t)entry->canary_buckets, "phase", rollout_phase_name(entry->phase),
                     "who", entry->who, "what", entry->what, "why", entry->why);
}

static json_t *pasts_to_json(const struct rollout *rollout)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < rollout->past_count; i++)
        (void)json_array_append_new(list, past_to_json(&rollout->past[i]));
    return list;
}

static json_t *history_to_json(const struct rollout *rollout)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < rollout->history_count; i++)
        (void)json_array_append_new(list, entry_to_json(rollout_history(rollout, i)));
    return list;
}

json_t *rollout_to_json(const struct rollout *rollout, struct rollout_time now)
{
    /* Time since the last step is held, too. */
    bool held = rollout->phase == ROLLOUT_PROGRESSING && rollout->canary_here &&
                rollout->stable_here && !rollout->restored && now.ns > rollout->stepped_ns;
    uint64_t held_ns = rollout->held_ns + (held ? now.ns - rollout->stepped_ns : 0);
    return json_pack(
        "{s:i, s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
        "s:I, s:o, s:o, s:o, s:o}",
        "format", STATE_FORMAT, "document", rollout->spec->document, "applied", rollout->applied,
        "revision", (json_int_t)rollout->revision, "phase", rollout_phase_name(rollout->phase),
        "reason", rollout->reason, "stable", rollout->stable, "canary", rollout->canary, "promoted",
        rollout->promoted, "newest", rollout->newest, "step", (json_int_t)rollout->stage, "heldNs",
        (json_int_t)held_ns, "stableCalls", (json_int_t)rollout->stable_calls, "canaryCalls",
        (json_int_t)rollout->canary_calls, "exposedCalls", (json_int_t)rollout->exposed_calls,
        "failures", (json_int_t)rollout->failures, "successes", (json_int_t)rollout->successes,
        "round", (json_int_t)rollout->judge.round, "errors", test_to_json(&rollout->judge.errors),
        "p99", test_to_json(&rollout->judge.p99), "past", pasts_to_json(rollout), "history",
        history_to_json(rollout));
}

/* ---- Reading: the first thing that is wrong is told, and ends it ---- */

struct source {
    const json_t *json;
    int code;
    struct error_text *error;
};

static void wrong(struct source *source, const char *key, const char *what)
{
    if (source->code == 0)
        source->code =
            error_set(source->error, -EINVAL, "rollout state: \"%s\": %s was expected", key, what);
}

static uint64_t get_number(struct source *source, const char *key, uint64_t max)
{
    const json_t *value = json_object_get(source->json, key);
    json_int_t number = json_integer_value(value);
    char what[64];
    if (json_is_integer(value) && number >= 0 && (uint64_t)number <= max)
        return (uint64_t)number;
    (void)snprintf(what, sizeof(what), "a whole number up to %llu", (unsigned long long)max);
    wrong(source, key, what);
    return 0;
}

/* A count or a logarithm: finite, and of a size that sums stay so. */
static double check_real(struct source *source, const char *key, const json_t *value, double min)
{
    double real = json_number_value(value);
    if (json_is_number(value) && isfinite(real) && real >= min && real <= 1e18)
        return real;
    wrong(source, key, min < 0 ? "a number" : "a number from 0");
    return 0;
}

static double get_real(struct source *source, const char *key)
{
    return check_real(source, key, json_object_get(source->json, key), 0);
}

static void get_text(struct source *source, const char *key, size_t size, char *ret_text)
{
    const json_t *value = json_object_get(source->json, key);
    const char *text = json_string_value(value);
    ret_text[0] = '\0';
    if (!text || json_string_length(value) >= size || strlen(text) != json_string_length(value))
        wrong(source, key, "text, not too long,");
    else
        memcpy(ret_text, text, strlen(text) + 1);
}

static void get_version(struct source *source, const char *key, char *ret_version)
{
    struct semver parsed;
    get_text(source, key, VERSION_BYTES, ret_version);
    if (ret_version[0] && semver_parse(ret_version, &parsed) < 0)
        wrong(source, key, "a version, or nothing,");
}

static int get_name(struct source *source, const char *key, int count, const char *(*name)(int))
{
    char text[32];
    get_text(source, key, sizeof(text), text);
    for (int i = 0; i < count; i++)
        if (strcmp(name(i), text) == 0)
            return i;
    wrong(source, key, "one of its names");
    return 0;
}

static const char *phase_name(int phase)
{
    return rollout_phase_name((enum rollout_phase)phase);
}

static const char *verdict_name(int verdict)
{
    return rollout_verdict_name((enum rollout_verdict)verdict);
}

/* The list @key, of @max entries at most; NULL if there is none. */
static const json_t *get_list(struct source *source, const char *key, size_t max)
{
    const json_t *list = json_object_get(source->json, key);
    if (json_is_array(list) && json_array_size(list) <= max)
        return list;
    wrong(source, key, "a list, not too long,");
    return NULL;
}

static struct source inner(struct source *source, const json_t *json)
{
    return (struct source){.json = json, .code = source->code, .error = source->error};
}

static void get_test(struct source *source, const char *key, struct judge_test *test)
{
    struct source in = inner(source, json_object_get(source->json, key));
    test->stable_calls = get_real(&in, "stableCalls");
    test->stable_hits = get_real(&in, "stableHits");
    test->canary_calls = get_real(&in, "canaryCalls");
    test->canary_hits = get_real(&in, "canaryHits");
    test->verdict = (enum rollout_verdict)get_name(&in, "verdict", ROLLOUT_FAIL + 1, verdict_name);
    const json_t *harm = get_list(&in, "harm", JUDGE_RATIO_COUNT);
    for (size_t i = 0; harm && i < JUDGE_RATIO_COUNT; i++)
        test->harm[i] = check_real(&in, "harm", json_array_get(harm, i), -1e18);
    if (in.code == 0 &&
        (test->stable_hits > test->stable_calls || test->canary_hits > test->canary_calls))
        wrong(&in, key, "no more hits than calls");
    source->code = in.code;
}

static void get_past(struct source *source, const json_t *json, struct rollout *rollout)
{
    struct source in = inner(source, json);
    struct past *past = &rollout->past[rollout->past_count];
    past->revision = (uint32_t)get_number(&in, "revision", SMALL_MAX);
    past->phase = (enum rollout_phase)get_name(&in, "phase", ROLLOUT_PHASE_COUNT, phase_name);
    get_version(&in, "stable", past->stable);
    get_version(&in, "canary", past->canary);
    const json_t *document = json_object_get(json, "document");
    if (!json_is_string(document) || json_string_length(document) > ROLLOUT_DOCUMENT_BYTES_MAX)
        wrong(&in, "document", "a document");
    past->document = in.code == 0 ? strdup(json_string_value(document)) : NULL;
    if (past->document)
        rollout->past_count++;
    else if (in.code == 0)
        in.code = error_set(source->error, -ENOMEM, "rollout state: no memory");
    source->code = in.code;
}

static void get_entry(struct source *source, const json_t *json, struct rollout *rollout)
{
    struct source in = inner(source, json);
    struct rollout_entry *entry = &rollout->history[rollout->history_count++];
    entry->serial = get_number(&in, "serial", COUNT_MAX);
    entry->wall_ms = (int64_t)get_number(&in, "wallMs", INT64_MAX);
    entry->revision = (uint32_t)get_number(&in, "revision", SMALL_MAX);
    entry->stage = (uint32_t)get_number(&in, "step", ROLLOUT_STEP_MAX);
    entry->canary_buckets = (uint32_t)get_number(&in, "buckets", ROLLOUT_BUCKETS);
    entry->phase = (enum rollout_phase)get_name(&in, "phase", ROLLOUT_PHASE_COUNT, phase_name);
    get_text(&in, "who", sizeof(entry->who), entry->who);
    get_text(&in, "what", sizeof(entry->what), entry->what);
    get_text(&in, "why", sizeof(entry->why), entry->why);
    rollout->history_serial = entry->serial;
    source->code = in.code;
}

static void get_lists(struct source *source, struct rollout *rollout)
{
    const json_t *list = get_list(source, "past", ROLLOUT_REVISION_MAX);
    for (size_t i = 0; list && source->code == 0 && i < json_array_size(list); i++)
        get_past(source, json_array_get(list, i), rollout);
    list = get_list(source, "history", ROLLOUT_HISTORY_MAX);
    for (size_t i = 0; list && source->code == 0 && i < json_array_size(list); i++)
        get_entry(source, json_array_get(list, i), rollout);
}

static void get_document(struct source *source, struct rollout *rollout)
{
    const json_t *document = json_object_get(source->json, "document");
    if (!json_is_string(document)) {
        wrong(source, "document", "a document");
        return;
    }
    int r = rollout_spec_parse(json_string_value(document), json_string_length(document),
                               "rollout state: document", &rollout->spec, source->error);
    source->code = r < 0 ? r : source->code;
}

static void get_scalars(struct source *source, struct rollout *rollout)
{
    get_text(source, "applied", sizeof(rollout->applied), rollout->applied);
    rollout->revision = (uint32_t)get_number(source, "revision", SMALL_MAX);
    rollout->phase = (enum rollout_phase)get_name(source, "phase", ROLLOUT_PHASE_COUNT, phase_name);
    get_text(source, "reason", sizeof(rollout->reason), rollout->reason);
    get_version(source, "stable", rollout->stable);
    get_version(source, "canary", rollout->canary);
    get_version(source, "promoted", rollout->promoted);
    get_version(source, "newest", rollout->newest);
    rollout->stage = (uint32_t)get_number(source, "step", ROLLOUT_STEP_MAX);
    rollout->held_ns = get_number(source, "heldNs", (uint64_t)1 << 60);
    rollout->stable_calls = get_number(source, "stableCalls", COUNT_MAX);
    rollout->canary_calls = get_number(source, "canaryCalls", COUNT_MAX);
    rollout->exposed_calls = get_number(source, "exposedCalls", COUNT_MAX);
    rollout->failures = (uint32_t)get_number(source, "failures", SMALL_MAX);
    rollout->successes = (uint32_t)get_number(source, "successes", SMALL_MAX);
    rollout->judge.round = (uint32_t)get_number(source, "round", SMALL_MAX);
}

/* What no controller would have written. */
static void check_sense(struct source *source, const struct rollout *rollout)
{
    if (source->code < 0)
        return;
    if (rollout->revision == 0)
        wrong(source, "revision", "a number from 1");
    if (rollout->phase != ROLLOUT_WAITING && (!rollout->stable[0] || !rollout->canary[0]))
        wrong(source, "phase", "Waiting, without both versions,");
    if (rollout->stage >= rollout->spec->stage_count && rollout->phase != ROLLOUT_COMPLETED)
        wrong(source, "step", "a step of the document");
    if (rollout->phase != ROLLOUT_WAITING && rollout->judge.round == 0 &&
        rollout->phase != ROLLOUT_COMPLETED)
        wrong(source, "round", "a number from 1");
}

int rollout_from_json(const json_t *json, struct rollout_time now, struct rollout **ret_rollout,
                      struct error_text *error)
{
    struct source source = {.json = json, .error = error};
    _cleanup_(rollout_freep) struct rollout *rollout = calloc(1, sizeof(*rollout));
    if (!rollout)
        return error_set(error, -ENOMEM, "rollout state: no memory");
    (void)get_number(&source, "format", STATE_FORMAT);
    get_document(&source, rollout);
    get_scalars(&source, rollout);
    get_test(&source, "errors", &rollout->judge.errors);
    get_test(&source, "p99", &rollout->judge.p99);
    get_lists(&source, rollout);
    check_sense(&source, rollout);
    if (source.code < 0)
        return source.code;
    rollout->stepped_ns = now.ns;
    rollout->stable_here = rollout->stable[0] != '\0';
    rollout->canary_here = rollout->canary[0] != '\0';
    rollout->restored = rollout->canary_here && rollout->stable_here;
    rollout->restored_until_ns = now.ns + RETURN_NS;
    rollout->rebase = rollout->changed = true;
    *ret_rollout = steal_ptr(&rollout);
    return 0;
}
