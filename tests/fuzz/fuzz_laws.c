/*
 * The laws, with the fuzzer choosing the message: the first bytes are the case's seed and
 * direction, the rest is a message of it. What is no message must be refused; what is one must
 * obey.
 */
#include "fuzz.h"

#include "laws/laws.h"

#define CASE_MAX 256

static struct law_case *cases[CASE_MAX];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct law_counts counts = {0};
    struct law_failure failure = {0};
    struct law_case **place = &cases[data[0]];
    if (!*place) {
        *place = must_alloc(sizeof(**place));
        case_plan(*place, data[0] + UINT64_C(1));
        FUZZ_CHECK(case_build(*place, true, &counts, &failure) == 0);
    }
    struct buffer message = {0};
    buffer_add(&message, data + 2, size - 2);
    int r = case_check(*place, data[1] & 1, !(data[1] & 1), &message, data[1], &counts, &failure);
    if (r < 0) {
        shrink_and_print(*place, &message, &failure);
        (void)fflush(stdout);
        abort();
    }
    buffer_free(&message);
    return 0;
}
