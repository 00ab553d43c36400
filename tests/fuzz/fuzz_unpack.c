/*
 * Plans that end in structs, on any bytes: the first byte picks the plan, the second how many of
 * its program's bytes are corrupted, by three bytes each; the rest is the message.
 *
 * Machine code gives what the loop gives, touching no byte that it must not.
 *
 * A plan as it was made gives what it gives as bytes, read by the identity of its reader's version.
 * A corrupted one that the verifier passes, and that can be bound, gives any message, whose every
 * pointer can be followed; packing it does.
 */
#include "fuzz.h"

#include <errno.h>

#include "support/both_ways.h"

struct road {
    struct plan *plan;
    const ProtobufCServiceDescriptor *service;
    struct plan_binding *binding, *plain;
    uint32_t entry, plain_entry;
};

static struct road roads[12];
static size_t road_count;

static void add(struct plan *plan, const ProtobufCServiceDescriptor *service, uint32_t entry,
                uint32_t plain_entry)
{
    struct plan *identity = NULL;
    struct road *road = &roads[road_count++];
    *road =
        (struct road){.plan = plan, .service = service, .entry = entry, .plain_entry = plain_entry};
    FUZZ_CHECK(plan_identity(service, PLAN_REQUESTS, &identity, NULL) == 0);
    FUZZ_CHECK(plan_bind(plan, service, PLAN_REQUESTS, &road->binding, NULL) == 0);
    FUZZ_CHECK(plan_bind(identity, service, PLAN_REQUESTS, &road->plain, NULL) == 0);
    plan_unref(identity);
}

static struct plan *compile(const struct schema *client, const struct schema *service)
{
    struct plan *plan = NULL;
    FUZZ_CHECK(plan_compile(client, service, PLAN_REQUESTS, &plan, NULL) == 0);
    return plan;
}

static void make_roads(void)
{
    struct schema *v1 = fuzz_schema(SHAPES_V1_SET), *v2 = fuzz_schema(SHAPES_V2_SET);
    struct plan *up = compile(v1, v2), *down = compile(v2, v1), *identity = NULL;
    add(up, &shapes__v2__shapes__descriptor, 0, 1);
    add(down, &shapes__v1__shapes__descriptor, 1, 0);
    add(up, &shapes__v2__shapes__descriptor, 1, 2);
    add(down, &shapes__v1__shapes__descriptor, 4, 4);
    schema_unref(v1);
    schema_unref(v2);
    v1 = fuzz_schema(CATALOG_V1_SET);
    v2 = fuzz_schema(CATALOG_V2_SET);
    add(compile(v1, v2), &catalog__v2__catalog__descriptor, 1, 1);
    add(compile(v2, v1), &catalog__v1__catalog__descriptor, 1, 1);
    schema_unref(v1);
    schema_unref(v2);
    FUZZ_CHECK(plan_identity(&shapes__v1__shapes__descriptor, PLAN_REQUESTS, &identity, NULL) == 0);
    add(identity, &shapes__v1__shapes__descriptor, 0, 0);
}

/* Unpacks and packs. Returns what was packed, or NULL. */
static uint8_t *through_struct(struct plan_binding *binding, uint32_t entry, const uint8_t *data,
                               size_t size, int *ret_result, size_t *ret_bytes)
{
    ProtobufCMessage *message = NULL;
    struct plan_failure failure = {0, 0, NULL};
    const char *difference = NULL;
    *ret_result = unpack_both_ways(binding, entry, data, size, &message, &failure, &difference);
    FUZZ_CHECK(!difference);
    if (*ret_result < 0) {
        FUZZ_CHECK(failure.what && failure.offset <= size);
        return NULL;
    }
    *ret_bytes = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = malloc(*ret_bytes + 1);
    FUZZ_CHECK(packed);
    FUZZ_CHECK(protobuf_c_message_pack(message, packed) == *ret_bytes);
    wire_free(message);
    return packed;
}

static void check_sound(const struct road *road, const uint8_t *data, size_t size)
{
    size_t bytes = 0, direct_bytes = 0, again_bytes = 0;
    int result, again_result;
    uint8_t *direct =
        through_struct(road->binding, road->entry, data, size, &result, &direct_bytes);
    uint8_t *out = fuzz_run(road->plan, road->entry, data, size, &bytes);
    FUZZ_CHECK(!out || direct || result == -E2BIG); /* E2BIG: of memory */
    if (out && direct) {
        uint8_t *again =
            through_struct(road->plain, road->plain_entry, out, bytes, &again_result, &again_bytes);
        FUZZ_CHECK(again && again_bytes == direct_bytes &&
                   memcmp(again, direct, direct_bytes) == 0);
        free(again);
    }
    free(out);
    free(direct);
}

static void check_corrupted(const struct road *road, const uint8_t *program, size_t program_bytes,
                            const uint8_t *data, size_t size)
{
    struct plan *plan = NULL;
    struct plan_binding *binding = NULL;
    if (plan_load(program, program_bytes, &plan, NULL) < 0)
        return;
    if (plan_bind(plan, road->service, PLAN_REQUESTS, &binding, NULL) == 0) {
        for (uint32_t entry = 0; entry < plan_entry_count(plan); entry++) {
            size_t bytes;
            int result;
            free(through_struct(binding, entry, data, size, &result, &bytes));
        }
        plan_binding_unref(binding);
    }
    plan_unref(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (road_count == 0)
        make_roads();
    if (size < 2)
        return 0;
    const struct road *road = &roads[data[0] % road_count];
    size_t corruptions = data[1] % 8;
    data += 2;
    size -= 2;
    if (corruptions == 0) {
        check_sound(road, data, size);
        return 0;
    }
    size_t program_bytes;
    const uint8_t *program = plan_program(road->plan, &program_bytes);
    uint8_t *corrupted = malloc(program_bytes);
    FUZZ_CHECK(corrupted);
    memcpy(corrupted, program, program_bytes);
    for (; corruptions > 0 && size >= 3; corruptions--, data += 3, size -= 3)
        corrupted[((size_t)data[0] << 8 | data[1]) % program_bytes] ^= data[2];
    check_corrupted(road, corrupted, program_bytes, data, size);
    free(corrupted);
    return 0;
}
