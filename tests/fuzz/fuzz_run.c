/*
 * The plan runner on any bytes: the first byte picks the plan, the rest is the message. What comes
 * out is well-formed for its reader, and comes back the other way.
 */
#include "fuzz.h"

struct road {
    struct plan *there, *back; /* NULL: there is none */
    uint32_t there_entry, back_entry;
    const ProtobufCMessageDescriptor *type;
};

static struct road roads[12];
static size_t road_count;

static void add(const struct schema *client, const struct schema *service, uint32_t entry,
                uint32_t back_entry, const ProtobufCMessageDescriptor *type)
{
    struct road *road = &roads[road_count++];
    road->there_entry = entry;
    road->back_entry = back_entry;
    road->type = type;
    FUZZ_CHECK(plan_compile(client, service, PLAN_REQUESTS, &road->there, NULL) == 0);
    FUZZ_CHECK(plan_compile(service, client, PLAN_REQUESTS, &road->back, NULL) == 0);
}

static void add_identity(const ProtobufCServiceDescriptor *service, uint32_t entry,
                         const ProtobufCMessageDescriptor *type)
{
    struct road *road = &roads[road_count++];
    road->there_entry = entry;
    road->type = type;
    FUZZ_CHECK(plan_identity(service, PLAN_REPLIES, &road->there, NULL) == 0);
}

static void make_roads(void)
{
    struct schema *v1 = fuzz_schema(SHAPES_V1_SET), *v2 = fuzz_schema(SHAPES_V2_SET);
    add(v1, v2, 0, 1, &shapes__v2__shape__descriptor);
    add(v2, v1, 1, 0, &shapes__v1__shape__descriptor);
    add(v1, v2, 1, 2, &shapes__v2__plain__descriptor);
    schema_unref(v1);
    schema_unref(v2);
    v1 = fuzz_schema(CATALOG_V1_SET);
    v2 = fuzz_schema(CATALOG_V2_SET);
    add(v1, v2, 1, 1, &catalog__v2__list_request__descriptor);
    add(v2, v1, 1, 1, &catalog__v1__list_request__descriptor);
    schema_unref(v1);
    schema_unref(v2);
    add_identity(&shapes__v1__shapes__descriptor, 0, &shapes__v1__shape__descriptor);
    add_identity(&catalog__v2__catalog__descriptor, 1, &catalog__v2__list_reply__descriptor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (road_count == 0)
        make_roads();
    if (size == 0)
        return 0;
    const struct road *road = &roads[data[0] % road_count];
    size_t bytes = 0, back_bytes = 0;
    uint8_t *out = fuzz_run(road->there, road->there_entry, data + 1, size - 1, &bytes);
    if (!out)
        return 0;
    FUZZ_CHECK(wire_check(road->type, out, bytes, NULL, NULL) == 0);
    if (!road->back)
        FUZZ_CHECK(bytes == size - 1 && memcmp(out, data + 1, bytes) == 0);
    else
        free(fuzz_run(road->back, road->back_entry, out, bytes, &back_bytes));
    free(out);
    return 0;
}
