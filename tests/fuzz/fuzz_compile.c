/*
 * The compiler. The first byte says how the two versions come about: two descriptor sets that the
 * input has, or two that the generator of tests/laws makes from a seed and that the input then
 * patches, which gets deeper: most of such a pair is still sense. What compiles is run, both ways,
 * on what is left of the input.
 */
#include "fuzz.h"

#include "laws/laws.h"

struct input {
    const uint8_t *data;
    size_t bytes;
};

static uint32_t take(struct input *input, unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes && input->bytes > 0; i++, input->data++, input->bytes--)
        value = value << 8 | *input->data;
    return value;
}

static void take_sets(struct input *input, struct buffer sets[2])
{
    for (int i = 0; i < 2; i++) {
        size_t bytes = take(input, 2);
        bytes = bytes < input->bytes ? bytes : input->bytes;
        buffer_add(&sets[i], input->data, bytes);
        input->data += bytes;
        input->bytes -= bytes;
    }
}

static void make_sets(struct input *input, struct buffer sets[2])
{
    static struct version versions[2];
    version_random(&versions[0], take(input, 2));
    version_next(&versions[1], &versions[0]);
    for (uint32_t n = take(input, 1) % 8; n > 0; n--) {
        struct edit edit = {.kind = take(input, 1) % edit_kind_count(), .seed = take(input, 2)};
        (void)edit_apply(&edit, &versions[0], &versions[1]);
    }
    for (int i = 0; i < 2; i++)
        describe_set(&versions[i], &sets[i]);
    for (uint32_t n = take(input, 1) % 8; n > 0; n--) {
        struct buffer *set = &sets[take(input, 1) & 1];
        size_t at = take(input, 2) % set->bytes;
        set->data[at] = (uint8_t)take(input, 1);
    }
}

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
    struct buffer sets[2] = {{0}, {0}};
    struct schema *schemas[2] = {NULL, NULL};
    if (take(&input, 1) & 1)
        take_sets(&input, sets);
    else
        make_sets(&input, sets);
    for (int i = 0; i < 2; i++) {
        struct error_text error = {""};
        int r = schema_new(sets[i].data, sets[i].bytes, NULL, &schemas[i], &error);
        FUZZ_CHECK(r == 0 || error.text[0]);
        buffer_free(&sets[i]);
    }
    for (int i = 0; i < 4 && schemas[0] && schemas[1]; i++)
        compile(schemas[i & 1], schemas[!(i & 1)], i & 2 ? PLAN_REPLIES : PLAN_REQUESTS, &input);
    schema_unref(schemas[0]);
    schema_unref(schemas[1]);
    return 0;
}
