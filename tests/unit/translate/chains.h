/* Six versions of two interfaces, and plans over all paths between them, fused and in stages. */
#ifndef PARLEY_TESTS_TRANSLATE_CHAINS_H
#define PARLEY_TESTS_TRANSLATE_CHAINS_H

#include "plans.h"

#include "chain_v1.pb-c.h"
#include "chain_v2.pb-c.h"
#include "chain_v3.pb-c.h"
#include "chain_v4.pb-c.h"
#include "chain_v5.pb-c.h"
#include "chain_v6.pb-c.h"
#include "steps_v1.pb-c.h"
#include "steps_v2.pb-c.h"
#include "steps_v3.pb-c.h"
#include "steps_v4.pb-c.h"
#include "steps_v5.pb-c.h"
#include "steps_v6.pb-c.h"
#include "translate/compile.h"

#define VERSION_COUNT 6

struct family {
    const char *name;
    const char *sets[VERSION_COUNT];
    const ProtobufCMessageDescriptor *types[VERSION_COUNT];
    const char *method; /* whose request it is */
    struct schema *schemas[VERSION_COUNT];
    /* From version to version; of neighbours single steps. */
    struct plan *fused[VERSION_COUNT][VERSION_COUNT], *staged[VERSION_COUNT][VERSION_COUNT];
    uint32_t entry[VERSION_COUNT];
};

static struct family families[] = {
    {"steps",
     {STEPS_V1_SET, STEPS_V2_SET, STEPS_V3_SET, STEPS_V4_SET, STEPS_V5_SET, STEPS_V6_SET},
     {&steps__v1__record__descriptor, &steps__v2__record__descriptor,
      &steps__v3__record__descriptor, &steps__v4__record__descriptor,
      &steps__v5__record__descriptor, &steps__v6__record__descriptor},
     "Put"},
    {"more",
     {STEPS_V1_SET, STEPS_V2_SET, STEPS_V3_SET, STEPS_V4_SET, STEPS_V5_SET, STEPS_V6_SET},
     {&steps__v1__more__descriptor, &steps__v2__more__descriptor, &steps__v3__more__descriptor,
      &steps__v4__more__descriptor, &steps__v5__more__descriptor, &steps__v6__more__descriptor},
     "Tell"},
    {"chain",
     {CHAIN_V1_SET, CHAIN_V2_SET, CHAIN_V3_SET, CHAIN_V4_SET, CHAIN_V5_SET, CHAIN_V6_SET},
     {&chain__v1__package__descriptor, &chain__v2__package__descriptor,
      &chain__v3__package__descriptor, &chain__v4__package__descriptor,
      &chain__v5__package__descriptor, &chain__v6__package__descriptor},
     "Put"},
};
#define FAMILY_COUNT (sizeof(families) / sizeof(families[0]))
static struct family *const steps = &families[0], *const chain = &families[2];

/* The versions from @from to @to, either of which may be the newer. */
static inline size_t path(struct schema *const *schemas, size_t from, size_t to,
                   const struct schema **ret_path)
{
    size_t count = 0;
    ret_path[count++] = schemas[from];
    while (from != to) {
        from = from < to ? from + 1 : from - 1;
        ret_path[count++] = schemas[from];
    }
    return count;
}

static inline struct plan *compile_path(struct schema *const *schemas, size_t from, size_t to, bool staged)
{
    const struct schema *versions[VERSION_COUNT];
    size_t count = path(schemas, from, to, versions);
    struct plan *plan = NULL;
    struct error_text error = {""};
    int r = staged && count > 2
                ? chain_compile(versions, count, PLAN_REQUESTS, true, &plan, &error)
                : plan_compile_path(versions, count, PLAN_REQUESTS, &plan, &error);
    if (r < 0)
        fail_msg("from %zu to %zu: %d: %s", from + 1, to + 1, r, error.text);
    return plan;
}

static inline int chains_setup(void **state)
{
    (void)state;
    for (size_t f = 0; f < FAMILY_COUNT; f++) {
        struct family *family = &families[f];
        for (size_t i = 0; i < VERSION_COUNT; i++) {
            size_t index;
            family->schemas[i] = schema_read(family->sets[i]);
            assert_non_null(schema_method_find(family->schemas[i], family->method, &index));
            family->entry[i] = (uint32_t)index;
        }
        for (size_t i = 0; i < VERSION_COUNT; i++) {
            for (size_t j = 0; j < VERSION_COUNT; j++) {
                family->fused[i][j] = compile_path(family->schemas, i, j, false);
                family->staged[i][j] = compile_path(family->schemas, i, j, true);
            }
        }
    }
    return 0;
}

static inline int chains_teardown(void **state)
{
    (void)state;
    for (size_t f = 0; f < FAMILY_COUNT; f++) {
        for (size_t i = 0; i < VERSION_COUNT; i++) {
            schema_unref(families[f].schemas[i]);
            for (size_t j = 0; j < VERSION_COUNT; j++) {
                plan_unref(families[f].fused[i][j]);
                plan_unref(families[f].staged[i][j]);
            }
        }
    }
    return 0;
}

/* How much of a plan is not fused. */
struct unfused {
    unsigned messages, fields; /* done in stages; piped */
};

static inline struct unfused count_unfused(const struct plan *plan)
{
    struct unfused count = {0, 0};
    for (uint32_t i = 0; i < plan->header->count[SECTION_TABLE]; i++)
        count.messages += plan->tables[i].next > 0;
    for (uint32_t i = 0; i < plan->header->count[SECTION_OP]; i++)
        count.fields += plan->ops[i].pipe > 0;
    for (uint32_t i = 0; i < plan->header->count[SECTION_EMIT]; i++)
        count.fields += plan->emits[i].pipe > 0;
    return count;
}

#endif
