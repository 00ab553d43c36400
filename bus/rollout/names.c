/* What enums are called in documents, states and words. */
#include "rollout/rollout.h"

#include <assert.h>

#define NAME_OF(names, value)                                                                      \
    ((size_t)(value) < sizeof(names) / sizeof((names)[0]) ? (names)[value] : "unknown")

const char *rollout_phase_name(enum rollout_phase phase)
{
    static const char *const names[] = {"Waiting", "Progressing", "Approval",
                                        "Paused",  "RolledBack",  "Completed"};
    static_assert(sizeof(names) / sizeof(names[0]) == ROLLOUT_PHASE_COUNT, "one for each");
    return NAME_OF(names, phase);
}

const char *rollout_verdict_name(enum rollout_verdict verdict)
{
    static const char *const names[] = {"undecided", "pass", "fail"};
    return NAME_OF(names, verdict);
}

const char *rollout_verb_name(enum rollout_verb verb)
{
    static const char *const names[] = {"pause",        "resume",   "approve", "promote",
                                        "promote-full", "rollback", "undo"};
    static_assert(sizeof(names) / sizeof(names[0]) == ROLLOUT_VERB_COUNT, "one for each");
    return NAME_OF(names, verb);
}
