/*
 * The verifier on any bytes: as long as the program says that it is, the rest is a message for
 * every entry of it. What the verifier passes must not leave its buffers.
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t program_bytes;
    if (size < 16)
        return 0;
    memcpy(&program_bytes, data + 8, sizeof(program_bytes));
    if (program_bytes > size)
        program_bytes = (uint32_t)size;
    struct plan *plan = NULL;
    if (plan_load(data, program_bytes, &plan, NULL) < 0)
        return 0;
    uint32_t count = plan_entry_count(plan);
    for (uint32_t i = 0; i < count && i < 8; i++) {
        size_t bytes;
        free(fuzz_run(plan, i, data + program_bytes, size - program_bytes, &bytes));
    }
    plan_unref(plan);
    return 0;
}
