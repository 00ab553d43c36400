/*
 * Plans as objects: loaded, counted, asked. A plan is immutable once plan_load() has returned it,
 * so that threads may share it; the count of references alone changes, and what machine.c adds to it.
 *
 * What a program is made of: program.h. Who makes one: identity.c, compile.c. Who checks it:
 * verify.c, always, also what this process has built itself.
 */
#include "translate/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct plan *plan_free(struct plan *plan)
{
    machine_free(plan);
    free(plan->fast);
    free(plan->program);
    free(plan);
    return NULL;
}

/* Points the plan at its arrays. Return: 0; -EBADMSG if they are not what the length says. */
static int lay_out(struct plan *plan, size_t bytes, struct error_text *error)
{
    const struct program_header *header = plan->header;
    const void *arrays[SECTION_COUNT];
    size_t at = sizeof(*header);
    for (size_t i = 0; i < SECTION_COUNT; i++) {
        arrays[i] = plan->program + at;
        if (header->count[i] > (bytes - at) / program_element_bytes[i])
            return error_set(error, -EBADMSG, "plan: section %zu at byte %zu is past the end", i,
                             at);
        size_t size = (header->count[i] * program_element_bytes[i] + 7) & ~(size_t)7;
        if (size > bytes - at)
            return error_set(error, -EBADMSG, "plan: section %zu at byte %zu is past the end", i,
                             at);
        at += size;
    }
    if (at != bytes)
        return error_set(error, -EBADMSG, "plan: %zu bytes behind the last section", bytes - at);
    plan->entries = arrays[SECTION_ENTRY];
    plan->tables = arrays[SECTION_TABLE];
    plan->ops = arrays[SECTION_OP];
    plan->dense = arrays[SECTION_DENSE];
    plan->emits = arrays[SECTION_EMIT];
    plan->converts = arrays[SECTION_CONVERT];
    plan->maps = arrays[SECTION_MAP];
    plan->pairs = arrays[SECTION_PAIR];
    plan->templates = arrays[SECTION_TEMPLATE];
    plan->parts = arrays[SECTION_PART];
    plan->nodes = arrays[SECTION_NODE];
    plan->owners = arrays[SECTION_OWNER];
    plan->members = arrays[SECTION_MEMBER];
    plan->names = arrays[SECTION_NAME];
    plan->steps = arrays[SECTION_STEP];
    plan->text = arrays[SECTION_TEXT];
    return 0;
}

static int check_header(const struct program_header *header, size_t bytes, struct error_text *error)
{
    if (header->magic != PROGRAM_MAGIC)
        return error_set(error, -EBADMSG, "plan: byte 0: not a plan of this machine's byte order");
    if (header->version != PROGRAM_VERSION)
        return error_set(error, -EBADMSG,
                         "plan: byte 4: version %u, this reader knows %u; use the same release of "
                         "Parley in the broker and in the programs",
                         header->version, PROGRAM_VERSION);
    if (header->class > PLAN_LOSSY || header->bytes != bytes)
        return error_set(error, -EBADMSG, "plan: byte 6: impossible class or length");
    if (header->count[SECTION_ENTRY] > PLAN_ENTRY_MAX)
        return error_set(error, -EBADMSG, "plan: byte 12: more methods than %u", PLAN_ENTRY_MAX);
    return 0;
}

int plan_load(const uint8_t *program, size_t bytes, struct plan **ret_plan,
              struct error_text *error)
{
    if (bytes < sizeof(struct program_header) || bytes > PLAN_BYTES_MAX || bytes % 8 != 0)
        return error_set(error, -EBADMSG, "plan: %zu bytes, which no plan has", bytes);
    struct plan *plan = calloc(1, sizeof(*plan));
    if (!plan)
        return error_set(error, -ENOMEM, "out of memory while loading a plan");
    atomic_init(&plan->references, 1);
    atomic_init(&plan->pieces, NULL);
    atomic_init(&plan->piece_bytes, 0);
    plan->program = malloc(bytes);
    if (!plan->program) {
        plan_free(plan);
        return error_set(error, -ENOMEM, "out of memory while loading a plan");
    }
    memcpy(plan->program, program, bytes);
    plan->header = (const struct program_header *)(const void *)plan->program;
    int r = check_header(plan->header, bytes, error);
    if (r == 0)
        r = lay_out(plan, bytes, error);
    if (r == 0)
        r = program_verify(plan, error);
    if (r == 0 && fast_make(plan) < 0)
        r = error_set(error, -ENOMEM, "out of memory while loading a plan");
    if (r < 0) {
        plan_free(plan);
        return r;
    }
    *ret_plan = plan;
    return 0;
}

struct plan *plan_ref(struct plan *plan)
{
    /* relaxed: who refers to it already keeps it alive. */
    atomic_fetch_add_explicit(&plan->references, 1, memory_order_relaxed);
    return plan;
}

struct plan *plan_unref(struct plan *plan)
{
    /* acq_rel: pairs with itself in other threads, so that the last one frees after all have read.
     */
    if (plan && atomic_fetch_sub_explicit(&plan->references, 1, memory_order_acq_rel) == 1)
        plan_free(plan);
    return NULL;
}

const uint8_t *plan_program(const struct plan *plan, size_t *ret_bytes)
{
    *ret_bytes = plan->header->bytes;
    return plan->program;
}

enum plan_class plan_class(const struct plan *plan)
{
    return (enum plan_class)plan->header->class;
}

uint32_t plan_entry_count(const struct plan *plan)
{
    return plan->header->count[SECTION_ENTRY];
}

uint32_t plan_method(const struct plan *plan, uint32_t entry)
{
    if (entry >= plan_entry_count(plan))
        return PLAN_METHOD_NONE;
    return plan->entries[entry].method;
}
