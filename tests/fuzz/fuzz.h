/* What the fuzz targets share: the plans and types that the input picks from. */
#ifndef PARLEY_TESTS_FUZZ_FUZZ_H
#define PARLEY_TESTS_FUZZ_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_check.h"

#include "catalog_v1.pb-c.h"
#include "catalog_v2.pb-c.h"
#include "google/protobuf/descriptor.pb-c.h"
#include "shapes_v1.pb-c.h"
#include "shapes_v2.pb-c.h"
#include "laws/ways.h"
#include "translate/plan.h"

static inline struct schema *fuzz_schema(const char *path)
{
    static uint8_t set[1 << 20];
    FILE *file = fopen(path, "rb");
    FUZZ_CHECK(file);
    size_t bytes = fread(set, 1, sizeof(set), file);
    (void)fclose(file);
    struct schema *schema = NULL;
    FUZZ_CHECK(schema_new(set, bytes, NULL, &schema, NULL) == 0);
    return schema;
}

/* Runs a plan in memory of exactly the promised size, between pages that may not be touched: with
 * machine code, and without, which give the same. Returns the output, or NULL. */
static inline uint8_t *fuzz_run(const struct plan *plan, uint32_t entry, const uint8_t *data,
                                size_t size, size_t *ret_bytes)
{
    size_t max = plan_output_bytes_max(plan, size), bytes = 0;
    struct plan_failure failure = {0, 0, NULL}, other = {0, 0, NULL};
    const uint8_t *made;
    uint8_t *out = malloc(max + (max == 0));
    FUZZ_CHECK(out);
    ways_begin();
    int r = way_run_guarded(plan, entry, data, size, &made, ret_bytes, &failure);
    FUZZ_CHECK(way_run(WAY_LOOP, plan, entry, data, size, out, max, &bytes, &other) == r);
    if (r == 0) {
        FUZZ_CHECK(bytes == *ret_bytes && memcmp(out, made, bytes) == 0);
        return out;
    }
    FUZZ_CHECK(failure.what && failure.offset <= size && failure.offset == other.offset);
    free(out);
    return NULL;
}

#endif
