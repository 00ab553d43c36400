/*
 * The diff of any two schemas: it ends, within its limits, and what it says is whole. Of one schema
 * and itself it finds nothing that breaks. What it says of bridging is what the compiler says.
 */
#include "pairs.h"

#include <errno.h>

#include "translate/bridge.h"

static void check_findings(const struct diff *diff)
{
    size_t count, breaks = 0;
    const struct diff_finding *findings = diff_findings(diff, &count);
    FUZZ_CHECK(count <= DIFF_FINDING_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct diff_finding *finding = &findings[i];
        char line[4 * DIFF_SENTENCE_BYTES_MAX];
        FUZZ_CHECK(finding->file[0] && finding->sentence[0] && finding->element);
        FUZZ_CHECK((finding->severity == DIFF_ACCEPTED) == (finding->reason != NULL));
        FUZZ_CHECK(diff_describe(finding, line, sizeof(line)) > 0 && !strchr(line, '\n'));
        breaks += finding->severity == DIFF_BREAK;
    }
    FUZZ_CHECK(breaks <= diff_break_count(diff));
    FUZZ_CHECK(diff_break_count(diff) <= breaks + diff_omitted_count(diff));
    struct error_text summary = {""};
    diff_summarize(diff, &summary);
    FUZZ_CHECK((summary.text[0] != '\0') == (diff_break_count(diff) > 0));
}

static void compare(const struct schema *old, const struct schema *new)
{
    static const enum diff_category categories[] = {DIFF_WIRE, DIFF_WIRE_JSON};
    for (int i = 0; i < 2; i++) {
        struct diff *diff = NULL;
        struct error_text error = {""};
        const struct diff_options options = {.category = categories[i], .bridges = true};
        FUZZ_CHECK(diff_new(old, new, &options, &diff) == 0);
        if (old != new)
            FUZZ_CHECK(diff_bridges(diff, old, new, &error) == 0);
        FUZZ_CHECK(diff_finish(diff, &error) == 0 || error.text[0]);
        check_findings(diff);
        size_t count;
        const struct diff_finding *findings = diff_findings(diff, &count);
        for (size_t k = 0; k < count && old == new; k++)
            FUZZ_CHECK(findings[k].rule == DIFF_PARLEY_ACCEPT_INVALID ||
                       findings[k].rule == DIFF_PARLEY_ACCEPT_UNUSED);
        diff_free(diff);
    }
}

static void complain(void *context, const struct plan_complaint *complaint)
{
    FUZZ_CHECK(complaint->sentence[0]);
    ++*(size_t *)context;
}

/* Both stop at the same: one at the first, one behind the last. */
static void check_plans(const struct schema *a, const struct schema *b, enum plan_payload payload)
{
    struct plan *plan = NULL;
    struct error_text error = {""};
    size_t complaints = 0;
    int r = plan_check(a, b, payload, complain, &complaints, &error);
    FUZZ_CHECK((r == -EINVAL) == (complaints > 0));
    int compiled = plan_compile(a, b, payload, &plan, &error);
    FUZZ_CHECK(r != 0 ? compiled < 0 : compiled == 0 || compiled == -E2BIG);
    plan_unref(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct schema *schemas[2];
    take_pair(&input, schemas);
    for (int i = 0; i < 2 && schemas[0] && schemas[1]; i++) {
        compare(schemas[i], schemas[!i]);
        compare(schemas[i], schemas[i]);
        check_plans(schemas[i], schemas[!i], PLAN_REQUESTS);
        check_plans(schemas[i], schemas[!i], PLAN_REPLIES);
    }
    schema_unref(schemas[0]);
    schema_unref(schemas[1]);
    uint8_t *bare = NULL;
    size_t bytes = 0;
    if (diff_strip_positions(data, size, &bare, &bytes) == 0)
        FUZZ_CHECK(bytes <= size);
    free(bare);
    return 0;
}
