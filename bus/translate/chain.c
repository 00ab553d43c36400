/*
 * Plans over a path of versions: v1 -> v2 -> ... -> vN.
 *
 * Rules connect neighbours only. Each step of the path is compiled as it would be alone, one after
 * another into one builder; then the tables of each method's message are fused, from the reader's end
 * to the writer's: the last step as it is, the one before it with that, and so on (fuse.c). So what
 * the program means is defined by its single steps, and what the versions in between would have read
 * is what the next step works on, whether or not such a message ever lies in memory.
 *
 * The entries of the steps are followed from method to method, so a method may change its name on
 * the way. Its message passes the steps in the order of the data: for a reply that is the other way
 * round.
 */
#include "translate/compile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define STEP_MAX (PLAN_VERSION_MAX - 1)

struct chain {
    struct builder builder;
    size_t step_count;
    struct program_entry *entries[STEP_MAX]; /* of each step, by its client's methods */
    size_t entry_count[STEP_MAX];
    enum plan_class class;
};

static void chain_deinit(struct chain *chain)
{
    builder_deinit(&chain->builder);
    for (size_t i = 0; i < STEP_MAX; i++)
        free(chain->entries[i]);
}

/* Takes what a step has added as entries out of the builder again. */
static int take_entries(struct chain *chain, size_t step)
{
    size_t count = chain->builder.sections[SECTION_ENTRY].count;
    struct program_entry *entries = calloc(count + 1, sizeof(*entries));
    if (!entries)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        memcpy(&entries[i], builder_at(&chain->builder, SECTION_ENTRY, (uint32_t)i),
               sizeof(*entries));
    chain->entries[step] = entries;
    chain->entry_count[step] = chain->builder.error ? 0 : count;
    chain->builder.sections[SECTION_ENTRY].count = 0;
    return 0;
}

static int compile_steps(struct chain *chain, const struct schema *const *versions,
                         enum plan_payload payload, struct error_text *error)
{
    for (size_t i = 0; i < chain->step_count; i++) {
        enum plan_class class = PLAN_IDENTITY;
        uint32_t first = (uint32_t)chain->builder.sections[SECTION_TABLE].count;
        int r = compile_step(&chain->builder, versions[i], versions[i + 1], payload, &class, error);
        if (r < 0)
            return r;
        if (take_entries(chain, i) < 0)
            return error_set(error, -ENOMEM, "out of memory while compiling a plan");
        fuse_prepare(&chain->builder, first);
        if (class > chain->class)
            chain->class = class;
    }
    return 0;
}

/* Follows method @index of the client: *ret_method is the service's index, tables[i] its message's
 * table in the step i. False: a version on the way has no such method. */
static bool follow(const struct chain *chain, uint32_t index, uint32_t tables[STEP_MAX],
                   uint32_t *ret_method)
{
    for (size_t i = 0; i < chain->step_count; i++) {
        if (index >= chain->entry_count[i])
            return false;
        const struct program_entry *entry = &chain->entries[i][index];
        if (entry->table == PROGRAM_NONE)
            return false;
        tables[i] = entry->table;
        index = entry->method;
    }
    *ret_method = index;
    return true;
}

/* Fuses the tables of step @step, in the order of the data, with what is behind it. */
static int fuse_step(struct chain *chain, struct fuser *fuser, size_t step, bool last)
{
    size_t count = chain->builder.sections[SECTION_ENTRY].count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t tables[STEP_MAX], method;
        if (!follow(chain, i, tables, &method))
            continue;
        struct program_entry entry = {method, tables[step]};
        if (!last) {
            struct program_entry *before = builder_at(&chain->builder, SECTION_ENTRY, i);
            entry.table = fuse_tables(fuser, tables[step], before->table);
        }
        *(struct program_entry *)builder_at(&chain->builder, SECTION_ENTRY, i) = entry;
    }
    return fuse_all(fuser);
}

static int fuse_steps(struct chain *chain, enum plan_payload payload, bool stages_only, bool lean)
{
    struct fuser fuser = {.builder = &chain->builder, .stages_only = stages_only, .lean = lean};
    size_t count = chain->step_count, methods = chain->entry_count[0];
    builder_add(&chain->builder, SECTION_ENTRY, methods);
    for (uint32_t i = 0; i < methods && !chain->builder.error; i++)
        *(struct program_entry *)builder_at(&chain->builder, SECTION_ENTRY, i) =
            (struct program_entry){PLAN_METHOD_NONE, PROGRAM_NONE};
    int r = 0;
    for (size_t i = 0; i < count && r == 0 && !chain->builder.error; i++) {
        r = fuse_step(chain, &fuser, payload == PLAN_REQUESTS ? count - 1 - i : i, i == 0);
        if (!chain->builder.error)
            compile_mark_verbatim(&chain->builder);
    }
    fuser_deinit(&fuser);
    return r;
}

static int compile(const struct schema *const *versions, size_t count, enum plan_payload payload,
                   bool stages_only, bool lean, struct plan **ret_plan, struct error_text *error)
{
    _cleanup_(chain_deinit) struct chain chain = {.step_count = count - 1};
    /* All steps, and what they are fused to, lie side by side before most of it is left out. */
    chain.builder.bytes_max = 2 * PLAN_VERSION_MAX * (size_t)PLAN_BYTES_MAX;
    int r = compile_steps(&chain, versions, payload, error);
    if (r == 0 && (fuse_steps(&chain, payload, stages_only, lean) == -ENOMEM ||
                   collect(&chain.builder) == -ENOMEM))
        r = error_set(error, -ENOMEM, "out of memory while compiling a plan");
    if (r < 0)
        return r;
    /* The class promises it of the whole program. */
    bool identity = !chain.builder.error && compile_mark_verbatim(&chain.builder);
    if (chain.class == PLAN_IDENTITY && !identity)
        chain.class = PLAN_ISO;
    return builder_finish(&chain.builder, chain.class, ret_plan, error);
}

int chain_compile(const struct schema *const *versions, size_t count, enum plan_payload payload,
                  bool stages_only, struct plan **ret_plan, struct error_text *error)
{
    int r = compile(versions, count, payload, stages_only, false, ret_plan, NULL);
    if (r == 0)
        return 0;
    /* Smaller; or in stages, if the verifier has found what fusing has overlooked; or with what is
     * to be said. */
    return compile(versions, count, payload, stages_only || r == -EBADMSG, r == -E2BIG, ret_plan,
                   error);
}
