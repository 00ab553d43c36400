/*
 * What an operator wants, and another document.
 *
 * Undo is Argo Rollouts': back to the revision before this one, as it ended. While a rollout is
 * under way that means all to the stable version; after a completed one, all to what was in force
 * before it, without steps (as Argo has it within a rollbackWindow: those calls know that version).
 * If an older document was in force then, it is again; the file that was read last stays read, so
 * it does not come back by itself. Undoing is a new revision, so undoing twice is a redo.
 */
#include "rollout/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*order_taker)(struct rollout *rollout, struct rollout_time now, const char *who,
                           struct error_text *error);

static int refuse(const struct rollout *rollout, struct error_text *error, const char *what)
{
    return error_set(error, -EINVAL, "rollout %s is %s: %s", rollout->spec->name,
                     rollout_phase_name(rollout->phase), what);
}

static bool is_under_way(const struct rollout *rollout)
{
    return rollout->phase == ROLLOUT_PROGRESSING || rollout->phase == ROLLOUT_APPROVAL ||
           rollout->phase == ROLLOUT_PAUSED;
}

static int take_pause(struct rollout *rollout, struct rollout_time now, const char *who,
                      struct error_text *error)
{
    (void)now;
    if (rollout->phase != ROLLOUT_PROGRESSING && rollout->phase != ROLLOUT_APPROVAL)
        return refuse(rollout, error, "only a step that is under way can be paused");
    rollout_enter(rollout, ROLLOUT_PAUSED, "paused by %s", who);
    return 0;
}

/* Again from the first step, with what is on offer now. */
static int begin_again(struct rollout *rollout, struct rollout_time now, struct error_text *error)
{
    const char *canary = versions_canary(rollout);
    const char *stable = versions_stable(rollout, canary);
    if (!canary[0] || !stable[0])
        return refuse(rollout, error, "a version that fits is not there");
    (void)snprintf(rollout->canary, VERSION_BYTES, "%s", canary);
    (void)snprintf(rollout->stable, VERSION_BYTES, "%s", stable);
    judge_reset(&rollout->judge);
    rollout->exposed_calls = 0;
    rollout_begin(rollout, now);
    return 0;
}

static int take_resume(struct rollout *rollout, struct rollout_time now, const char *who,
                       struct error_text *error)
{
    if (rollout->phase == ROLLOUT_ROLLED_BACK)
        return begin_again(rollout, now, error);
    if (rollout->phase != ROLLOUT_PAUSED)
        return refuse(rollout, error, "only what is paused or rolled back can be resumed");
    rollout_enter(rollout, ROLLOUT_PROGRESSING, "resumed by %s", who);
    uint64_t held_ns = rollout->held_ns; /* what the step has done it has done */
    rollout_enter_stage(rollout, rollout->stage);
    rollout->held_ns = held_ns;
    return 0;
}

/* All to the canary. */
static int take_promote_full(struct rollout *rollout, struct rollout_time now, const char *who,
                             struct error_text *error)
{
    (void)now;
    if (!is_under_way(rollout))
        return refuse(rollout, error, "there is no step to promote");
    if (!rollout->canary_here)
        return refuse(rollout, error, "the canary version has no instance");
    char why[REASON_BYTES_MAX + 1];
    (void)snprintf(why, sizeof(why), "promoted by %s", who);
    rollout_complete(rollout, why);
    return 0;
}

static int take_promote(struct rollout *rollout, struct rollout_time now, const char *who,
                        struct error_text *error)
{
    if (!is_under_way(rollout) || rollout->stage + 1 == rollout->spec->stage_count)
        return take_promote_full(rollout, now, who, error);
    if (!rollout->canary_here)
        return refuse(rollout, error, "the canary version has no instance");
    rollout_enter(rollout, ROLLOUT_PROGRESSING, "promoted by %s", who);
    rollout_enter_stage(rollout, rollout->stage + 1);
    return 0;
}

static int take_approve(struct rollout *rollout, struct rollout_time now, const char *who,
                        struct error_text *error)
{
    if (rollout->phase != ROLLOUT_APPROVAL)
        return refuse(rollout, error, "no step waits for approval");
    return take_promote(rollout, now, who, error);
}

/* What was promoted is no longer in force; the stable version is, also if it fits no range. */
static void go_back(struct rollout *rollout, const char *verb, const char *who)
{
    if (rollout->stage == rollout->spec->stage_count)
        rollout_enter_stage(rollout, 0);
    rollout_enter(rollout, ROLLOUT_ROLLED_BACK, "%s by %s", verb, who);
    bool fits = versions_fits(rollout->spec->stable, rollout->stable);
    memcpy(rollout->promoted, fits ? "" : rollout->stable, fits ? 1 : VERSION_BYTES);
}

static int take_rollback(struct rollout *rollout, struct rollout_time now, const char *who,
                         struct error_text *error)
{
    (void)now;
    if (rollout->phase == ROLLOUT_ROLLED_BACK)
        return refuse(rollout, error, "all calls go to the stable version already");
    if (!is_under_way(rollout) && rollout->phase != ROLLOUT_COMPLETED)
        return refuse(rollout, error, "nothing has gone to a canary");
    if (!versions_has(rollout, rollout->stable))
        return refuse(rollout, error, "the stable version has no instance to go back to");
    go_back(rollout, "rolled back", who);
    return 0;
}

/* ---- Undo ---- */

/* All that can fail comes first. */
static int return_to(struct rollout *rollout, const struct past *past, const char *who,
                     struct error_text *error)
{
    struct rollout_spec *spec = NULL;
    bool completed = past->phase == ROLLOUT_COMPLETED;
    const char *version = completed ? past->canary : past->stable;
    if (!versions_has(rollout, version))
        return error_set(error, -EINVAL,
                         "revision %u of rollout %s had %s in force, which has no instance now",
                         past->revision, rollout->spec->name, version[0] ? version : "no version");
    struct past target = *past;
    int r = rollout_spec_parse(past->document, strlen(past->document), rollout->spec->name, &spec,
                               error);
    if (r < 0)
        return r;
    r = rollout_revise(rollout); /* moves what @past points to */
    if (r < 0) {
        (void)rollout_spec_free(spec);
        return error_set(error, r, "no memory");
    }
    (void)rollout_spec_free(rollout->spec);
    rollout->spec = spec;
    memcpy(rollout->stable, target.stable, VERSION_BYTES);
    memcpy(rollout->canary, target.canary, VERSION_BYTES);
    rollout->stable_here = versions_has(rollout, rollout->stable);
    rollout->canary_here = rollout->canary[0] && versions_has(rollout, rollout->canary);
    /* What is on offer now does not begin by itself: somebody did not want it. */
    const char *best = versions_canary(rollout);
    const char *newest = versions_better(spec, best, target.canary) ? best : target.canary;
    (void)snprintf(rollout->newest, VERSION_BYTES, "%s", newest);
    judge_reset(&rollout->judge);
    rollout_enter_stage(rollout, 0);
    if (completed) {
        char why[REASON_BYTES_MAX + 1];
        (void)snprintf(why, sizeof(why), "undone by %s: as revision %u", who, target.revision);
        rollout_complete(rollout, why);
    } else {
        go_back(rollout, "undone", who);
    }
    return 0;
}

static int take_undo(struct rollout *rollout, struct rollout_time now, const char *who,
                     struct error_text *error)
{
    (void)now;
    if (rollout->past_count > 0)
        return return_to(rollout, &rollout->past[rollout->past_count - 1], who, error);
    if (!is_under_way(rollout) && rollout->phase != ROLLOUT_COMPLETED)
        return refuse(rollout, error, "nothing was in force before");
    if (!versions_has(rollout, rollout->stable))
        return refuse(rollout, error, "the stable version has no instance to go back to");
    go_back(rollout, "undone", who);
    return 0;
}

int rollout_order(struct rollout *rollout, enum rollout_verb verb, const char *who, const char *why,
                  struct rollout_time now, struct error_text *error)
{
    static const order_taker takers[ROLLOUT_VERB_COUNT] = {
        [ROLLOUT_PAUSE] = take_pause,       [ROLLOUT_RESUME] = take_resume,
        [ROLLOUT_APPROVE] = take_approve,   [ROLLOUT_PROMOTE] = take_promote,
        [ROLLOUT_UNDO] = take_undo,         [ROLLOUT_PROMOTE_FULL] = take_promote_full,
        [ROLLOUT_ROLLBACK] = take_rollback,
    };
    if ((unsigned)verb >= ROLLOUT_VERB_COUNT)
        return error_set(error, -EINVAL, "no such order: %d", (int)verb);
    int r = takers[verb](rollout, now, who, error);
    if (r == 0)
        history_add(rollout, now, who, rollout_verb_name(verb), "%s", why ? why : "");
    return r;
}

/* ---- Another document ---- */

static int check_other(const struct rollout *rollout, const struct rollout_spec *spec,
                       struct error_text *error)
{
    if (strcmp(rollout->spec->name, spec->name) != 0)
        return error_set(error, -EINVAL, "a document named %s is none of rollout %s", spec->name,
                         rollout->spec->name);
    if (strcmp(rollout->spec->interface, spec->interface) != 0)
        return error_set(error, -EINVAL,
                         "rollout %s is one of %s: remove it before %s has one of that name",
                         spec->name, rollout->spec->interface, spec->interface);
    return 0;
}

/* A completed rollout whose version the document still means has nothing to do. */
static void take_document(struct rollout *rollout, struct rollout_time now)
{
    bool still = rollout->phase == ROLLOUT_COMPLETED &&
                 versions_fits(rollout->spec->canary, rollout->canary);
    if (still) {
        rollout_complete(rollout, rollout->reason);
    } else {
        rollout->promoted[0] = rollout->newest[0] = rollout->canary[0] = '\0';
        rollout->canary_here = false;
        if (!versions_fits(rollout->spec->stable, rollout->stable))
            rollout->stable[0] = '\0';
        rollout_enter(rollout, ROLLOUT_WAITING, "another document");
        rollout->stage = 0;
        rollout_enter_stage(rollout, 0);
    }
    rollout->restored = false;
    rollout_resolve(rollout, now);
}

int rollout_apply(struct rollout *rollout, struct rollout_spec *spec, const char *who,
                  struct rollout_time now, struct error_text *error)
{
    int r = check_other(rollout, spec, error);
    if (r == 0 && strcmp(rollout->applied, spec->digest) == 0)
        r = ROLLOUT_E_SAME;
    if (r == 0 && rollout_revise(rollout) < 0)
        r = error_set(error, -ENOMEM, "no memory");
    if (r != 0) {
        (void)rollout_spec_free(spec);
        return r;
    }
    memcpy(rollout->applied, spec->digest, sizeof(rollout->applied));
    (void)rollout_spec_free(rollout->spec);
    rollout->spec = spec;
    history_add(rollout, now, who, "apply", "%s of %s", spec->canary_text, spec->interface);
    take_document(rollout, now);
    return 0;
}
