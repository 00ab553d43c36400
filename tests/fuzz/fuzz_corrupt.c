/*
 * The verifier on corrupted plans, and the runner on what it lets pass. The input picks a plan that
 * the generator of tests/laws has made, with any of the rules, changes words of it, and goes on as
 * the message. fuzz_load does the same with a program that is all the fuzzer's own.
 */
#include "fuzz.h"

#include "laws/laws.h"

#define CASE_MAX 64
#define PATCH_BYTES 6 /* where, a word; what, a word */

static struct law_case *cases[CASE_MAX];

static const struct plan *pick(uint8_t which)
{
    struct law_case **place = &cases[which % CASE_MAX];
    if (!*place) {
        struct law_counts counts = {0};
        struct law_failure failure = {0};
        *place = must_alloc(sizeof(**place));
        case_plan(*place, which % CASE_MAX + UINT64_C(1));
        FUZZ_CHECK(case_build(*place, true, &counts, &failure) == 0);
    }
    return which & CASE_MAX ? (*place)->up[0] : (*place)->down[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t program[PLAN_BYTES_MAX];
    if (size < 2)
        return 0;
    size_t bytes, patches = data[1] % 8;
    const struct plan *plan = pick(data[0]);
    const uint8_t *original = plan_program(plan, &bytes);
    memcpy(program, original, bytes);
    data += 2;
    size -= 2;
    for (; patches > 0 && size >= PATCH_BYTES; patches--) {
        size_t word = ((size_t)data[0] << 8 | data[1]) % (bytes / 4);
        memcpy(program + 4 * word, data + 2, 4);
        data += PATCH_BYTES;
        size -= PATCH_BYTES;
    }
    struct plan *loaded = NULL;
    struct error_text error = {""};
    if (plan_load(program, bytes, &loaded, &error) < 0) {
        FUZZ_CHECK(error.text[0]);
        return 0;
    }
    size_t ret_bytes;
    free(fuzz_run(loaded, 0, data, size, &ret_bytes));
    plan_unref(loaded);
    return 0;
}
