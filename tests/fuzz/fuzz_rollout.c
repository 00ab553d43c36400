/*
 * Documents of rollouts, and states: what is read as a spec is in bounds, reads the same again, and
 * its controller's state comes back. Input that begins with '{' is a state.
 */
#include "fuzz.h"

#include "rollout/rollout.h"

static const struct rollout_time now = {.ns = 1000, .wall_ms = 1};

static void check_spec(const struct rollout_spec *spec)
{
    FUZZ_CHECK(spec->stage_count >= 1 && spec->stage_count <= ROLLOUT_STEP_MAX);
    FUZZ_CHECK(spec->match_count <= ROLLOUT_MATCH_MAX && spec->header_count <= ROLLOUT_HEADER_MAX);
    FUZZ_CHECK(spec->stable && spec->canary && spec->name[0] && spec->interface[0]);
    for (uint32_t i = 0; i < spec->stage_count; i++) {
        FUZZ_CHECK(spec->stages[i].buckets <= ROLLOUT_BUCKETS);
        FUZZ_CHECK(spec->stages[i].hold_ns <= ROLLOUT_HOLD_NS_MAX);
        FUZZ_CHECK(i == 0 || spec->stages[i].buckets >= spec->stages[i - 1].buckets);
    }
    for (uint32_t i = 0; i < spec->match_count; i++) {
        const struct rollout_match *match = &spec->matches[i];
        FUZZ_CHECK(match->header_count >= 1 && match->index < spec->match_count);
        FUZZ_CHECK(match->first_header + match->header_count <= spec->header_count);
        FUZZ_CHECK(i == 0 || match->header_count <= spec->matches[i - 1].header_count);
    }
}

/* There and back: the same state; and nothing that it is told makes it fall over. */
static void check_controller(struct rollout *rollout)
{
    static const char *const versions[] = {"1.0.0", "1.4.2", "2.0.0", "2.1.0-rc.1", "3.0.0", "?"};
    static struct rollout_figures stable, canary;
    struct rollout_decision decision;
    struct error_text error;
    for (int i = 0; i < 2 * ROLLOUT_VERB_COUNT; i++) {
        struct rollout *again = NULL;
        rollout_offer(rollout, versions + i % 3, 3, now);
        stable.calls += 1000;
        canary.calls += 100;
        rollout_step(rollout, (struct rollout_time){.ns = now.ns + (uint64_t)i * 10000000000},
                     &stable, &canary, &decision);
        FUZZ_CHECK(decision.canary_buckets <= ROLLOUT_BUCKETS);
        (void)rollout_order(rollout, (enum rollout_verb)(i % ROLLOUT_VERB_COUNT), "fuzz", NULL, now,
                            &error);
        json_t *json = rollout_to_json(rollout, now);
        FUZZ_CHECK(json && rollout_from_json(json, now, &again, &error) == 0);
        json_t *other = rollout_to_json(again, now);
        FUZZ_CHECK(json_equal(json, other));
        json_decref(json);
        json_decref(other);
        (void)rollout_free(again);
    }
}

static void try_state(const uint8_t *data, size_t size)
{
    struct rollout *rollout = NULL;
    struct error_text error = {""};
    json_t *json = json_loadb((const char *)data, size, 0, NULL);
    int r = json ? rollout_from_json(json, now, &rollout, &error) : 0;
    FUZZ_CHECK(r == 0 || (error.text[0] && !rollout));
    json_decref(json);
    if (rollout)
        check_controller(rollout);
    (void)rollout_free(rollout);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rollout_spec *spec = NULL;
    struct rollout *rollout = NULL;
    struct error_text error = {""};
    if (size > 0 && data[0] == '{')
        try_state(data, size);
    int r = rollout_spec_parse((const char *)data, size, "fuzz", &spec, &error);
    FUZZ_CHECK((r == 0) == (spec != NULL));
    FUZZ_CHECK(r == 0 || strncmp(error.text, "fuzz:", 5) == 0);
    if (r < 0)
        return 0;
    check_spec(spec);
    FUZZ_CHECK(rollout_new(spec, "fuzz", now, &rollout) == 0);
    check_controller(rollout);
    (void)rollout_free(rollout);
    return 0;
}
