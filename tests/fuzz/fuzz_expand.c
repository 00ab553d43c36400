/*
 * wire_expand() and plan_passes() on any message and any places in it: a byte for how many
 * references there are, four for each, the message. What is expanded is as long as it has to be,
 * and a place that passes is expanded by itself.
 */
#include "fuzz.h"

#include <errno.h>

#include "wire/wire.h"

static uint8_t referred[UINT16_MAX];

static struct plan *the_plan(void)
{
    static struct plan *plan;
    if (!plan)
        FUZZ_CHECK(plan_identity(&shapes__v1__shapes__descriptor, PLAN_REQUESTS, &plan, NULL) == 0);
    return plan;
}

static uint32_t two_bytes(const uint8_t *data)
{
    return (uint32_t)data[0] << 8 | data[1];
}

static void check_passing(const uint8_t *message, size_t bytes, struct wire_ref ref)
{
    uint8_t *out = NULL;
    size_t out_bytes;
    if (ref.place >= bytes ||
        !plan_passes(the_plan(), 0, message, bytes, ref.place, WIRE_REF_BYTES))
        return;
    FUZZ_CHECK(wire_expand(message, bytes, &ref, 1, &out, &out_bytes) == 0);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_ref refs[WIRE_REFS_MAX + 1];
    size_t count = size > 0 ? data[0] % (WIRE_REFS_MAX + 2) : 0, referred_bytes = 0, out_bytes = 0;
    if (size < 1 + 4 * count)
        return 0;
    const uint8_t *message = data + 1 + 4 * count;
    size_t bytes = size - 1 - 4 * count;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *at = data + 1 + 4 * i;
        refs[i] = (struct wire_ref){referred, two_bytes(at + 2), two_bytes(at)};
        referred_bytes += refs[i].bytes;
        check_passing(message, bytes, refs[i]);
    }
    uint8_t *out = NULL;
    int r = wire_expand(message, bytes, refs, count, &out, &out_bytes);
    FUZZ_CHECK(r == 0 || r == -EBADMSG || r == -E2BIG);
    /* Lengths on the way take between 1 and 10 bytes, before and after. */
    const size_t slack = count * WIRE_DEPTH_MAX * 9, put = bytes + referred_bytes;
    if (r == 0)
        FUZZ_CHECK(out_bytes + count * WIRE_REF_BYTES + slack >= put &&
                   out_bytes + count * WIRE_REF_BYTES <= put + slack);
    free(out);
    return 0;
}
