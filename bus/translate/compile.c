/*
 * The compiler: from two schemas to a program. The broker runs it, once for a pair of versions.
 *
 * Two packages are related if they are equal (a minor version: protobuf's own rules bridge it, and
 * every table is VERBATIM), or if the newer interface names the other as its `previous`; the newer
 * one has the rules. From the methods' messages on, every pair of types that meet gets a table; a
 * table is reserved when its pair is first met and filled later, from a list, so that types may
 * refer to themselves and nothing recurses by the schema's will.
 *
 * When all tables are filled, those that only copy are found: a table is VERBATIM if all its ops
 * are, counting a nested message that stays where it is if *its* table is. That is a greatest fixed
 * point: assume it of all that could be, take back what does not hold until nothing changes.
 *
 * What cannot be bridged is an error, with the element, the rule, and the way out, here: never a
 * surprise when a call is made.
 */
#include "translate/compile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define TYPE(name) GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_##name

enum kind compile_kind(const struct schema_field *field)
{
    static const uint8_t kinds[] = {
        [TYPE(DOUBLE)] = KIND_DOUBLE,     [TYPE(FLOAT)] = KIND_FLOAT,
        [TYPE(INT64)] = KIND_INT64,       [TYPE(UINT64)] = KIND_UINT64,
        [TYPE(INT32)] = KIND_INT32,       [TYPE(FIXED64)] = KIND_FIXED64,
        [TYPE(FIXED32)] = KIND_FIXED32,   [TYPE(BOOL)] = KIND_BOOL,
        [TYPE(STRING)] = KIND_STRING,     [TYPE(GROUP)] = KIND_COUNT,
        [TYPE(MESSAGE)] = KIND_MESSAGE,   [TYPE(BYTES)] = KIND_BYTES,
        [TYPE(UINT32)] = KIND_UINT32,     [TYPE(ENUM)] = KIND_ENUM,
        [TYPE(SFIXED32)] = KIND_SFIXED32, [TYPE(SFIXED64)] = KIND_SFIXED64,
        [TYPE(SINT32)] = KIND_SINT32,     [TYPE(SINT64)] = KIND_SINT64,
    };
    if (field->type < 1 || (size_t)field->type >= sizeof(kinds))
        return KIND_COUNT;
    return (enum kind)kinds[field->type];
}

struct program_op compile_check_op(struct compiler *compiler, const struct schema_field *field)
{
    struct program_op op = program_op_default(field->number, compile_kind(field));
    if (field->repeated)
        op.flags |= OP_REPEATED;
    if (op.kind == KIND_MESSAGE)
        op.table = compile_table(compiler, field->message, field->message);
    return op;
}

static bool equal(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

int compile_go_on(struct compiler *compiler, int r, struct plan_complaint where)
{
    if (r != -EINVAL || !compiler->complain)
        return r;
    where.sentence = compiler->error->text;
    compiler->complain(compiler->complain_context, &where);
    compiler->complaint_count++;
    return 0;
}

bool compile_types_pair(const struct compiler *compiler, const struct schema_message *source,
                        const struct schema_message *target)
{
    if (equal(source->name, target->name))
        return true;
    const struct schema_message *newer = compiler->newer_is_target ? target : source;
    const struct schema_message *older = compiler->newer_is_target ? source : target;
    if (!equal(newer->package, compiler->newer_package) ||
        !equal(older->package, compiler->older_package))
        return false;
    /* The entries of maps have no names that anybody chose. */
    if (newer->map_entry || older->map_entry)
        return newer->map_entry && older->map_entry;
    return equal(newer->rule && newer->rule->from ? newer->rule->from : newer->local, older->local);
}

uint32_t compile_table(struct compiler *compiler, const struct schema_message *source,
                       const struct schema_message *target)
{
    for (size_t i = 0; i < compiler->job_count; i++)
        if (compiler->jobs[i].source == source && compiler->jobs[i].target == target &&
            !compiler->jobs[i].context)
            return compiler->jobs[i].table;
    return compile_context(compiler, source, target, NULL);
}

uint32_t compile_context(struct compiler *compiler, const struct schema_message *source,
                         const struct schema_message *target, const struct context *context)
{
    if (compiler->job_count == compiler->job_capacity) {
        size_t capacity = 2 * compiler->job_capacity + 16;
        struct job *jobs = realloc(compiler->jobs, capacity * sizeof(*jobs));
        if (!jobs) {
            compiler->builder.error = -ENOMEM;
            return 0;
        }
        compiler->jobs = jobs;
        compiler->job_capacity = capacity;
    }
    uint32_t table = builder_add(&compiler->builder, SECTION_TABLE, 1);
    compiler->jobs[compiler->job_count++] = (struct job){source, target, table, context};
    return table;
}

static int find_relation(struct compiler *compiler)
{
    const struct schema_service *source = schema_service(compiler->source);
    const struct schema_service *target = schema_service(compiler->target);
    const char *source_previous = source->interface ? source->interface->previous : NULL;
    const char *target_previous = target->interface ? target->interface->previous : NULL;
    bool target_is_newer = target_previous && equal(target_previous, source->package);
    bool source_is_newer = source_previous && equal(source_previous, target->package);
    compiler->newer_is_target = true;
    if (target_is_newer && source_is_newer)
        return error_set(compiler->error, -EINVAL,
                         "%s and %s: each is the other's (parley.interface).previous; take it away "
                         "from the older one",
                         source->name, target->name);
    if (target_is_newer) {
        compiler->newer_package = target->package;
        compiler->older_package = source->package;
    } else if (source_is_newer) {
        compiler->newer_is_target = false;
        compiler->newer_package = source->package;
        compiler->older_package = target->package;
    } else if (equal(source->package, target->package)) {
        compiler->newer_package = compiler->older_package = source->package;
    } else {
        return error_set(compiler->error, -EINVAL,
                         "%s and %s: no relation is declared between these versions; in the newer "
                         "one's file, set (parley.interface).previous to the package of the older",
                         source->name, target->name);
    }
    return 0;
}

static int add_entry(struct compiler *compiler, const struct schema_method *client,
                     const struct schema_method *service, uint32_t service_index,
                     uint32_t entry_index, enum plan_payload payload)
{
    const char *package = schema_service(compiler->source)->package;
    if (client->client_streaming != service->client_streaming ||
        client->server_streaming != service->server_streaming)
        return error_set(compiler->error, -EINVAL,
                         "%s: method %s is unary in one version and streaming in the other, which "
                         "nothing can bridge; give the new form another name",
                         package, client->name);
    const struct schema_message *source =
        payload == PLAN_REQUESTS ? client->input : service->output;
    const struct schema_message *target =
        payload == PLAN_REQUESTS ? service->input : client->output;
    if (!compile_types_pair(compiler, source, target))
        return error_set(compiler->error, -EINVAL,
                         "method %s: %s and %s are not versions of one message; if they are, set "
                         "(parley.message).from on the newer one",
                         client->name, source->name, target->name);
    uint32_t table = compile_table(compiler, source, target);
    struct program_entry *entry = builder_at(&compiler->builder, SECTION_ENTRY, entry_index);
    *entry = (struct program_entry){service_index, table};
    return 0;
}

/* The name that a method of the newer version has in the version before. */
static const char *name_before(const struct schema_method *newer)
{
    return newer->rule && newer->rule->from ? newer->rule->from : newer->name;
}

static const struct schema_method *came_from(const struct schema_service *newer, const char *name,
                                             size_t *ret_index)
{
    for (size_t i = 0; i < newer->method_count; i++) {
        *ret_index = i;
        if (equal(name_before(&newer->methods[i]), name))
            return &newer->methods[i];
    }
    return NULL;
}

/* Each method's (parley.method).from names one of the version before, and no two name the same. */
static int check_methods(struct compiler *compiler, const struct schema_service *newer,
                         const struct schema *older)
{
    for (size_t i = 0; i < newer->method_count; i++) {
        const struct schema_method *method = &newer->methods[i];
        size_t index;
        if (method->rule && method->rule->from &&
            !schema_method_find(older, method->rule->from, &index))
            return error_set(compiler->error, -EINVAL,
                             "%s.%s: (parley.method).from: %s has no method \"%s\"; name one that "
                             "it has, or take the rule away if the method is new",
                             newer->name, method->name, schema_service(older)->name,
                             method->rule->from);
        if (came_from(newer, name_before(method), &index) != method &&
            schema_method_find(older, name_before(method), &index))
            return error_set(compiler->error, -EINVAL,
                             "%s.%s: (parley.method).from: another method comes from %s.%s as "
                             "well; only one may (a method of that name needs no rule)",
                             newer->name, method->name, schema_service(older)->name,
                             name_before(method));
    }
    return 0;
}

/* The service's method that is the client's, by name or by the newer one's rule; NULL: none. */
static const struct schema_method *counterpart(const struct compiler *compiler,
                                               const struct schema_method *method,
                                               const struct schema *client,
                                               const struct schema *service, size_t *ret_index)
{
    const struct schema *newer = compiler->newer_is_target ? compiler->target : compiler->source;
    if (equal(compiler->newer_package, compiler->older_package))
        return schema_method_find(service, method->name, ret_index);
    if (newer == client)
        return schema_method_find(service, name_before(method), ret_index);
    return came_from(schema_service(service), method->name, ret_index);
}

static int add_entries(struct compiler *compiler, const struct schema *client,
                       const struct schema *service, enum plan_payload payload)
{
    const struct schema_service *from = schema_service(client);
    bool newer_is_client =
        (compiler->newer_is_target ? compiler->target : compiler->source) == client;
    int r = 0;
    if (!equal(compiler->newer_package, compiler->older_package))
        r = check_methods(compiler, schema_service(newer_is_client ? client : service),
                          newer_is_client ? service : client);
    r = compile_go_on(compiler, r, (struct plan_complaint){0});
    builder_add(&compiler->builder, SECTION_ENTRY, from->method_count);
    for (uint32_t i = 0; i < from->method_count && r == 0; i++) {
        size_t index;
        const struct schema_method *method = &from->methods[i];
        const struct schema_method *other = counterpart(compiler, method, client, service, &index);
        if (other) {
            r = add_entry(compiler, method, other, (uint32_t)index, i, payload);
            r = compile_go_on(compiler, r, (struct plan_complaint){.method = method});
        } else {
            struct program_entry *entry = builder_at(&compiler->builder, SECTION_ENTRY, i);
            *entry = (struct program_entry){PLAN_METHOD_NONE, PROGRAM_NONE};
        }
    }
    return r;
}

/* A copy of the ops of a table, as they are now. */
static struct program_op *ops_of(struct builder *builder, uint32_t table, uint32_t *ret_count)
{
    const struct program_table *t = builder_at(builder, SECTION_TABLE, table);
    *ret_count = t->op_count;
    return t->op_count ? builder_at(builder, SECTION_OP, t->op_first) : NULL;
}

static bool stays(const struct program_op *op)
{
    return op->tag == (op->number << 3 | op->wire);
}

static bool could_be_verbatim(struct builder *builder, uint32_t table)
{
    uint32_t count;
    const struct program_op *ops = ops_of(builder, table, &count);
    const struct program_table *t = builder_at(builder, SECTION_TABLE, table);
    if ((t->flags & TABLE_SHARED) || t->emit_count > 0 || t->next)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        bool verbatim = ops[i].action == ACTION_VERBATIM && ops[i].slot == PROGRAM_SLOT_NONE;
        if (!verbatim && !(ops[i].action == ACTION_MESSAGE && stays(&ops[i])))
            return false;
    }
    return true;
}

static bool is_verbatim(struct builder *builder, uint32_t table)
{
    const struct program_table *t = builder_at(builder, SECTION_TABLE, table);
    return t->flags & TABLE_VERBATIM;
}

static bool still_verbatim(struct builder *builder, uint32_t table)
{
    uint32_t count;
    const struct program_op *ops = ops_of(builder, table, &count);
    for (uint32_t i = 0; i < count; i++)
        if (ops[i].action == ACTION_MESSAGE && !is_verbatim(builder, ops[i].table))
            return false;
    return true;
}

bool compile_mark_verbatim(struct builder *builder)
{
    uint32_t count = (uint32_t)builder->sections[SECTION_TABLE].count;
    for (uint32_t i = 0; i < count; i++) {
        bool could = could_be_verbatim(builder, i);
        struct program_table *t = builder_at(builder, SECTION_TABLE, i);
        t->flags |= could ? TABLE_VERBATIM : 0;
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = 0; i < count; i++) {
            if (!is_verbatim(builder, i) || still_verbatim(builder, i))
                continue;
            struct program_table *t = builder_at(builder, SECTION_TABLE, i);
            t->flags &= ~TABLE_VERBATIM;
            changed = true;
        }
    }
    bool all = true;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t op_count;
        struct program_op *ops = ops_of(builder, i, &op_count);
        for (uint32_t j = 0; j < op_count; j++)
            if (ops[j].action == ACTION_MESSAGE && !ops[j].pipe &&
                is_verbatim(builder, ops[j].table))
                ops[j].action = stays(&ops[j]) && !(ops[j].flags & OP_YIELDS) ? ACTION_VERBATIM
                                                                              : ACTION_RENUMBER;
    }
    for (size_t i = 0; i < builder->sections[SECTION_ENTRY].count; i++) {
        const struct program_entry *entry = builder_at(builder, SECTION_ENTRY, (uint32_t)i);
        if (entry->table != PROGRAM_NONE)
            all = all && is_verbatim(builder, entry->table);
    }
    return all;
}

static int fill_tables(struct compiler *compiler)
{
    /* The list grows while it is worked off. */
    for (size_t i = 0; i < compiler->job_count && !compiler->builder.error; i++) {
        const struct job job = compiler->jobs[i];
        bool same = equal(job.source->package, job.target->package) && !job.context;
        int r = same ? pair_fill_same(compiler, &job) : pair_fill(compiler, &job);
        r = compile_go_on(compiler, r,
                          (struct plan_complaint){
                              .newer = compiler->newer_is_target ? job.target : job.source,
                              .older = compiler->newer_is_target ? job.source : job.target,
                          });
        if (r < 0)
            return r;
    }
    return 0;
}

static int compile(struct compiler *compiler, const struct schema *client,
                   const struct schema *service, enum plan_payload payload)
{
    compiler->source = payload == PLAN_REQUESTS ? client : service;
    compiler->target = payload == PLAN_REQUESTS ? service : client;
    int r = find_relation(compiler);
    if (r == 0)
        r = add_entries(compiler, client, service, payload);
    return r == 0 ? fill_tables(compiler) : r;
}

int compile_step(struct builder *builder, const struct schema *client, const struct schema *service,
                 enum plan_payload payload, enum plan_class *ret_class, struct error_text *error)
{
    struct compiler compiler = {.builder = *builder, .error = error};
    int r = compile(&compiler, client, service, payload);
    if (r == 0) {
        bool identity = !compiler.builder.error && compile_mark_verbatim(&compiler.builder);
        *ret_class = compiler.loses     ? PLAN_LOSSY
                     : identity         ? PLAN_IDENTITY
                     : compiler.carries ? PLAN_CARRIED
                                        : PLAN_ISO;
    }
    *builder = compiler.builder;
    moves_free(&compiler);
    free(compiler.jobs);
    return r;
}

int compile_pair(const struct schema *client, const struct schema *service,
                 enum plan_payload payload, struct plan **ret_plan, struct error_text *error)
{
    _cleanup_(builder_deinit) struct builder builder = {0};
    enum plan_class class = PLAN_IDENTITY;
    int r = compile_step(&builder, client, service, payload, &class, error);
    return r < 0 ? r : builder_finish(&builder, class, ret_plan, error);
}

int compile_check(const struct schema *client, const struct schema *service,
                  enum plan_payload payload, plan_complain *complain, void *context,
                  struct error_text *error)
{
    struct compiler compiler = {.error = error, .complain = complain, .complain_context = context};
    int r = compile(&compiler, client, service, payload);
    r = compile_go_on(&compiler, r, (struct plan_complaint){0});
    if (r == 0 && compiler.builder.error)
        r = error_set(error, compiler.builder.error, "out of memory while compiling a plan");
    builder_deinit(&compiler.builder);
    moves_free(&compiler);
    free(compiler.jobs);
    return r == 0 && compiler.complaint_count > 0 ? -EINVAL : r;
}
