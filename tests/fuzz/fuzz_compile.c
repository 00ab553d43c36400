/*
 * The compiler. What compiles is run, both ways, on what is left of the input behind the two
 * versions.
 */
#include "pairs.h"

static void run_all(const struct plan *plan, const struct input *message)
{
    uint32_t count = plan_entry_count(plan);
    for (uint32_t i = 0; i < count && i < 4; i++) {
        size_t bytes;
        free(fuzz_run(plan, i, message->data, message->bytes, &bytes));
    }
}

static void compile(const struct schema *a, const struct schema *b, enum plan_payload payload,
                    const struct input *message)
{
    struct plan *plan = NULL;
    struct error_text error = {""};
    int r = plan_compile(a, b, payload, &plan, &error);
    FUZZ_CHECK((r == 0) == (plan != NULL) && (r == 0 || error.text[0]));
    if (r == 0)
        run_all(plan, message);
    plan_unref(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct schema *schemas[2];
    take_pair(&input, schemas);
    for (int i = 0; i < 4 && schemas[0] && schemas[1]; i++)
        compile(schemas[i & 1], schemas[!(i & 1)], i & 2 ? PLAN_REPLIES : PLAN_REQUESTS, &input);
    schema_unref(schemas[0]);
    schema_unref(schemas[1]);
    return 0;
}
