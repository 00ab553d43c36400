/*
 * The laws, for one message on its way through versions.
 *
 *   well-formed   what a plan writes is read by the reference reader, and is within its bound
 *   forward       it is what the reference model says
 *   GetPut        there and back, unedited, is what it was; also through a program in the other
 *                 version that reads it and writes it anew
 *   edit          edited in the middle: coming back and going there again gives the edited message.
 *                 That is PutGet, and says that a carrier brings back nothing that was changed, and
 *                 no message that was deleted
 *   kept          edited in the middle: what does not depend on the edited field comes back as it
 *                 was
 *   path          one plan over several versions does what the single steps do: the same there,
 *                 also with carriers of versions in between, and the same back; also damaged
 *   struct        a plan that ends in a struct gives what unpacking the translated bytes gives, by
 *                 machine code and without
 *   spoilt        a message that is damaged is refused, or well-formed when it comes out
 *   short         the runner's short way does what its long way does, byte by byte
 *   machine       machine code does what the short way's loop does, byte by byte, and touches
 * nothing outside of its buffers
 *
 * Every check begins with the bytes of one message, so that shrinking only has to repeat it.
 */
#include "laws.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "support/both_ways.h"
#include "support/same_structs.h"
#include "translate/between.h"
#include "ways.h"

const char *const law_names[LAW_COUNT] = {
    [LAW_COMPILE] = "what compiles one way compiles the other way, and refusals say why",
    [LAW_GETPUT] = "GetPut: there and back is the same",
    [LAW_GETPUT_PROGRAM] = "GetPut through a program that reads and writes it",
    [LAW_FORWARD] = "forward: what the other version sees is what the rules say",
    [LAW_EDIT] = "an edit wins: back, and there again, is the edited message",
    [LAW_KEPT] = "what does not depend on an edit comes back as it was",
    [LAW_WELL_FORMED] = "what comes out is well-formed and bounded",
    [LAW_PATH] = "a path: one plan over all versions does what its steps do",
    [LAW_STRUCT] = "a struct is what unpacking the translated bytes gives",
    [LAW_SPOILT] = "damaged messages are refused, or come out well-formed",
    [LAW_MACHINE] = "machine code and the loop give the same bytes, and the same errors",
    [LAW_SHORT] = "the short way and the long way give the same bytes, and the same errors",
};

/* ---- Making a case ---- */

void case_plan(struct law_case *c, uint64_t seed)
{
    uint64_t random = seed;
    memset(c, 0, sizeof(*c));
    c->seed = seed;
    c->version_count = 2;
    if (random_below(&random, 4) == 0)
        c->version_count = 3 + (int)random_below(&random, LAWS_VERSION_MAX - 2);
    for (int i = 0; i < c->version_count - 1; i++) {
        c->edit_counts[i] = 1 + (int)random_below(&random, LAWS_EDIT_MAX);
        for (int j = 0; j < c->edit_counts[i]; j++)
            c->edits[i][j] = (struct edit){.kind = random_below(&random, edit_kind_count()),
                                           .seed = random_next(&random)};
    }
}

static void remove_gone(struct law_case *c)
{
    for (int i = 0; i < c->versions[0].message_count; i++) {
        struct message *message = &c->versions[0].messages[i];
        for (int j = message->field_count - 1; j >= 0; j--) {
            if (!(c->base_gone[i] >> j & 1))
                continue;
            memmove(&message->fields[j], &message->fields[j + 1],
                    (size_t)(message->field_count - j - 1) * sizeof(struct field));
            message->field_count--;
        }
        for (int oneof = message->oneof_count - 1; oneof >= 0; oneof--) {
            bool used = false;
            for (int j = 0; j < message->field_count; j++)
                used |= message->fields[j].oneof == oneof;
            if (!used && oneof == message->oneof_count - 1)
                message->oneof_count--;
        }
    }
}

static struct schema *load(const struct version *version)
{
    struct buffer set = {0};
    struct schema *schema = NULL;
    struct error_text error = {""};
    describe_set(version, &set);
    if (schema_new(set.data, set.bytes, NULL, &schema, &error) < 0) {
        describe_proto(version, stderr);
        die("a generated schema cannot be read: %s", error.text);
    }
    buffer_free(&set);
    return schema;
}

static void unload(struct law_case *c, int step)
{
    c->up[step] = plan_unref(c->up[step]);
    c->down[step] = plan_unref(c->down[step]);
    c->schemas[step + 1] = schema_unref(c->schemas[step + 1]);
}

static int compile_step(struct law_case *c, int step, struct error_text *error)
{
    c->schemas[step + 1] = load(&c->versions[step + 1]);
    int r =
        plan_compile(c->schemas[step], c->schemas[step + 1], PLAN_REQUESTS, &c->up[step], error);
    if (r == 0)
        r = plan_compile(c->schemas[step + 1], c->schemas[step], PLAN_REQUESTS, &c->down[step],
                         error);
    return r;
}

static int compile_paths(struct law_case *c, struct error_text *error)
{
    for (int from = 0; from < c->version_count; from++) {
        for (int to = 0; to < c->version_count; to++) {
            const struct schema *versions[LAWS_VERSION_MAX];
            size_t count = 0;
            if (from - to <= 1 && to - from <= 1)
                continue;
            for (int at = from;; at += from < to ? 1 : -1) {
                versions[count++] = c->schemas[at];
                if (at == to)
                    break;
            }
            int r = plan_compile_path(versions, count, PLAN_REQUESTS, &c->paths[from][to], error);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static void apply_edits(struct law_case *c, int step, int count)
{
    version_next(&c->versions[step + 1], &c->versions[step]);
    for (int i = 0; i < count; i++) {
        struct edit *edit = &c->edits[step][i];
        if (!edit->off && !edit_apply(edit, &c->versions[step], &c->versions[step + 1]))
            edit->off = true;
    }
}

static int broken(struct law_failure *failure, enum law law, int from, int to, const char *format,
                  ...) __attribute__((format(printf, 5, 6)));

static int broken(struct law_failure *failure, enum law law, int from, int to, const char *format,
                  ...)
{
    va_list args;
    failure->law = law;
    failure->from = from;
    failure->to = to;
    va_start(args, format);
    (void)vsnprintf(failure->why.text, sizeof(failure->why.text), format, args);
    va_end(args);
    return -1;
}

/* One edit at a time, and none stays that the compiler refuses. */
static int settle_step(struct law_case *c, int step, struct law_counts *counts,
                       struct law_failure *failure)
{
    for (int i = 0; i <= c->edit_counts[step]; i++) {
        struct error_text error = {""};
        apply_edits(c, step, i);
        if (i > 0 && c->edits[step][i - 1].off)
            continue;
        int r = compile_step(c, step, &error);
        unload(c, step);
        if (r == -EINVAL && error.text[0] && i > 0) {
            struct edit *edit = &c->edits[step][i - 1];
            edit->off = true;
            counts->edits_refused[edit->kind]++;
            counts->compiles_refused++;
            if (getenv("PARLEY_LAWS_REFUSALS"))
                (void)fprintf(stderr, "%s: %s\n", edit_kind_name(edit->kind), error.text);
        } else if (r < 0) {
            return broken(failure, LAW_COMPILE, step, step + 1, "plan_compile: %d: %s", r,
                          error.text);
        } else if (i > 0) {
            counts->edits[c->edits[step][i - 1].kind]++;
        }
    }
    return 0;
}

int case_build(struct law_case *c, bool settle, struct law_counts *counts,
               struct law_failure *ret_failure)
{
    ways_begin();
    version_random(&c->versions[0], c->seed);
    remove_gone(c);
    c->schemas[0] = load(&c->versions[0]);
    for (int step = 0; step < c->version_count - 1; step++) {
        struct error_text error = {""};
        if (settle && settle_step(c, step, counts, ret_failure) < 0)
            return -1;
        apply_edits(c, step, c->edit_counts[step]);
        int r = compile_step(c, step, &error);
        if (r < 0)
            return broken(ret_failure, LAW_COMPILE, step, step + 1, "plan_compile: %d: %s", r,
                          error.text);
    }
    struct error_text error = {""};
    int r = compile_paths(c, &error);
    if (r < 0)
        return broken(ret_failure, LAW_COMPILE, 0, c->version_count - 1, "a path: %d: %s", r,
                      error.text);
    return 0;
}

void case_clear(struct law_case *c)
{
    for (int i = 0; i < LAWS_VERSION_MAX; i++)
        for (int j = 0; j < LAWS_VERSION_MAX; j++)
            c->paths[i][j] = plan_unref(c->paths[i][j]);
    for (int step = 0; step < LAWS_VERSION_MAX - 1; step++)
        unload(c, step);
    c->schemas[0] = schema_unref(c->schemas[0]);
}

/* ---- Running ---- */

struct check {
    const struct law_case *c;
    int from, to;
    struct arena arena;
    struct law_counts *counts;
    struct law_failure *failure;
};

static const struct schema_message *root(const struct check *check, int version)
{
    return schema_service(check->c->schemas[version])->methods[0].input;
}

/* The other ways do what the plan's own has done. */
static int check_way(struct check *check, enum way way, const struct plan *plan, int from, int to,
                     const struct buffer *in, int own_r, const uint8_t *own_out, size_t own_bytes,
                     const struct plan_failure *own_failure)
{
    size_t max = plan_output_bytes_max(plan, in->bytes), bytes = 0;
    uint8_t *out = must_alloc(max);
    struct plan_failure failure = {0, 0, NULL};
    int r = way_run(way, plan, 0, in->data, in->bytes, out, max, &bytes, &failure);
    bool same = r == own_r &&
                (r < 0 ? failure.offset == own_failure->offset &&
                             strcmp(failure.what, own_failure->what) == 0
                       : bytes == own_bytes && (bytes == 0 || memcmp(out, own_out, bytes) == 0));
    free(out);
    if (same)
        return 0;
    return broken(check->failure, way == WAY_LONG ? LAW_SHORT : LAW_MACHINE, from, to,
                  "the plan: %d (%s at %zu), this way: %d (%s at %zu)", own_r,
                  own_r < 0 ? own_failure->what : "bytes",
                  own_r < 0 ? own_failure->offset : own_bytes, r, r < 0 ? failure.what : "bytes",
                  r < 0 ? failure.offset : bytes) -
           1000;
}

/* One plan, in memory of exactly the promised size. The output is the arena's. */
static int run_plan(struct check *check, const struct plan *plan, int from, int to,
                    const struct buffer *in, struct buffer *ret_out)
{
    struct plan_failure failure = {0, 0, NULL};
    const uint8_t *out;
    size_t bytes = 0;
    int r = way_run_guarded(plan, 0, in->data, in->bytes, &out, &bytes, &failure);
    check->counts->checks++;
    *ret_out = (struct buffer){arena_alloc(&check->arena, bytes), bytes, 0};
    if (r == 0 && bytes > 0)
        memcpy(ret_out->data, out, bytes);
    for (int way = 0; way < WAY_COUNT; way++) {
        int same =
            check_way(check, (enum way)way, plan, from, to, in, r, ret_out->data, bytes, &failure);
        if (same < 0)
            return same;
    }
    if (r < 0 && (!failure.what || failure.offset > in->bytes))
        return broken(check->failure, LAW_WELL_FORMED, from, to,
                      "error %d does not say what or where", r) -
               1000;
    if (bytes > 4 * in->bytes + 4096)
        return broken(check->failure, LAW_WELL_FORMED, from, to, "%zu bytes became %zu", in->bytes,
                      bytes) -
               1000;
    return r;
}

static int run_step(struct check *check, int from, int to, const struct buffer *in,
                    struct buffer *ret_out)
{
    return run_plan(check, from < to ? check->c->up[from] : check->c->down[to], from, to, in,
                    ret_out);
}

/* All steps from one version to another. */
static int run_path(struct check *check, int from, int to, const struct buffer *in,
                    struct buffer *ret_out)
{
    struct buffer now = *in;
    for (int at = from; at != to;) {
        int next = at < to ? at + 1 : at - 1;
        int r = run_step(check, at, next, &now, ret_out);
        if (r < 0)
            return r;
        now = *ret_out;
        at = next;
    }
    return 0;
}

static struct tree *read_as(struct check *check, int version, const struct buffer *in,
                            const char **ret_why)
{
    return tree_read(&check->arena, root(check, version), in->data, in->bytes, ret_why);
}

static struct buffer write_tree(struct check *check, const struct tree *tree, bool unknown_first)
{
    struct buffer out = {0};
    tree_write(tree, unknown_first, &out);
    uint8_t *kept = arena_alloc(&check->arena, out.bytes);
    if (out.bytes > 0)
        memcpy(kept, out.data, out.bytes);
    struct buffer result = {kept, out.bytes, 0};
    buffer_free(&out);
    return result;
}

/* A refusal that is in the message's form alone: of two occurrences, the first has no place. */
static bool form_alone(struct check *check, const struct buffer *in, const struct tree *tree,
                       struct buffer *ret_there)
{
    struct buffer plain = write_tree(check, tree, false);
    (void)in;
    return run_path(check, check->from, check->to, &plain, ret_there) == 0;
}

/* ---- The laws ---- */

/* Whether absence is a value that is converted: then also in messages that another rule makes. */
static bool has_offset(const struct schema *schema)
{
    size_t count;
    const struct schema_message *const *messages = schema_messages(schema, &count);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < messages[i]->field_count; k++) {
            const Parley__FieldRule *rule = messages[i]->fields[k].rule;
            if (rule && rule->convert && rule->convert->has_offset)
                return true;
        }
    return false;
}

/* Whether the step goes over a version in between, in which values that the model only sees carried
 * along are of another type already, and may have no place there. */
static bool is_divided(const struct check *check)
{
    const struct schema *from = check->c->schemas[check->from], *to = check->c->schemas[check->to];
    struct between between;
    bool up = check->from < check->to;
    int r = between_make(up ? from : to, up ? to : from, &between, NULL);
    between_deinit(&between);
    return r == 1;
}

static int check_forward(struct check *check, const struct tree *source, int r,
                         const struct buffer *there, const struct tree *result)
{
    struct tree *expected = NULL;
    struct error_text where = {""};
    int model = 0;
    const struct tree *now = source;
    for (int at = check->from; at != check->to && model == 0;) {
        int next = at < check->to ? at + 1 : at - 1;
        /* Past the first step there may be carriers, of which the model knows nothing. */
        if (at != check->from)
            return 0;
        model = forward_message(&check->arena, now, check->c->schemas[at], check->c->schemas[next],
                                &expected);
        if (next != check->to)
            return 0;
        at = next;
    }
    (void)there;
    if (model == -ENOTSUP || (model == 0 && r == -ERANGE && is_divided(check)))
        return 0;
    if ((model < 0) != (r < 0))
        return broken(check->failure, LAW_FORWARD, check->from, check->to,
                      model < 0 ? "should be refused (%d), and is not"
                                : "refused with %d, and should not be",
                      model < 0 ? model : r);
    if (model == 0 && !tree_equal(expected, result, COMPARE_NO_CARRIERS, &where) &&
        !(is_divided(check) &&
          has_offset(check->c->schemas[check->from < check->to ? check->to : check->from])))
        return broken(check->failure, LAW_FORWARD, check->from, check->to, "%s", where.text);
    return 0;
}

static int check_back(struct check *check, enum law law, const struct tree *source,
                      const struct buffer *there)
{
    struct buffer back;
    struct error_text where = {""};
    const char *why;
    int r = run_path(check, check->to, check->from, there, &back);
    if (r < 0)
        return r < -1000 ? -1
                         : broken(check->failure, law, check->to, check->from,
                                  "the way back is refused: %d", r);
    struct tree *returned = read_as(check, check->from, &back, &why);
    if (!returned)
        return broken(check->failure, LAW_WELL_FORMED, check->to, check->from,
                      "what comes back is not well-formed: %s", why);
    if (!tree_equal(source, returned, 0, &where))
        return broken(check->failure, law, check->from, check->to, "%s", where.text);
    return 0;
}

static int check_edit(struct check *check, const struct tree *source, const struct buffer *there,
                      uint64_t seed)
{
    const char *why;
    struct error_text where = {""};
    struct buffer back, again;
    struct tree *edited = read_as(check, check->to, there, &why);
    int index = message_edit(&check->arena, edited, seed);
    if (index < 0)
        return 0;
    struct buffer written = write_tree(check, edited, seed & 1);
    edited = read_as(check, check->to, &written, &why);
    int r = run_path(check, check->to, check->from, &written, &back);
    if (r == -ERANGE || r == -EBADMSG) {
        check->counts->refused++;
        return 0; /* it has no place there */
    }
    if (r == 0)
        r = run_path(check, check->from, check->to, &back, &again);
    if (r < 0)
        return r < -1000 ? -1
                         : broken(check->failure, LAW_EDIT, check->to, check->from,
                                  "the edited message is refused: %d", r);
    struct tree *returned = read_as(check, check->from, &back, &why);
    struct tree *result = read_as(check, check->to, &again, &why);
    if (!returned || !result)
        return broken(check->failure, LAW_WELL_FORMED, check->to, check->from, "%s", why);
    if (!tree_equal(edited, result, COMPARE_NO_CARRIERS, &where))
        return broken(check->failure, LAW_EDIT, check->from, check->to, "%s (edited: %s)",
                      where.text, root(check, check->to)->fields[index].name);
    if (check->to - check->from != 1 && check->from - check->to != 1)
        return 0;
    for (size_t i = 0; i < source->type->field_count; i++) {
        const struct schema_field *field = &source->type->fields[i];
        if (forward_depends(field, source->type, &edited->type->fields[index], edited->type,
                            check->from > check->to))
            continue;
        if (!values_equal(field, &source->fields[i], &returned->fields[i], 0, &where))
            return broken(check->failure, LAW_KEPT, check->from, check->to, "%s (edited: %s)",
                          where.text, edited->type->fields[index].name);
    }
    return 0;
}

/* One plan from @from to @to for @message does what the steps do, which gave @r and @want. */
static int check_path(struct check *check, int from, int to, const struct buffer *message, int r,
                      const struct buffer *want, struct buffer *ret_out)
{
    const char *why = "";
    struct error_text where = {""};
    int q = run_plan(check, check->c->paths[from][to], from, to, message, ret_out);
    if (q < -1000)
        return -1;
    /* Limits are of the whole: of its output, and of what waits in all steps together. */
    if (q == -E2BIG && r == 0)
        return 0;
    /* Of two things that are wrong, another may be found first. */
    if ((q < 0) != (r < 0))
        return broken(check->failure, LAW_PATH, check->from, check->to,
                      "v%d to v%d: the steps: %d, one plan: %d", from + 1, to + 1, r, q);
    if (r < 0)
        return 0;
    struct tree *result = read_as(check, to, ret_out, &why);
    struct tree *expected = read_as(check, to, want, &why);
    if (!result || !expected)
        return broken(check->failure, LAW_PATH, check->from, check->to,
                      "v%d to v%d: what comes out is malformed: %s", from + 1, to + 1, why);
    if (!tree_equal(expected, result, COMPARE_NO_CARRIERS, &where))
        return broken(check->failure, LAW_PATH, check->from, check->to, "v%d to v%d: %s", from + 1,
                      to + 1, where.text);
    return 1;
}

/* Over several versions: there, back from what it gave and from what the steps gave, in the middle,
 * and damaged. */
static int check_paths(struct check *check, const struct buffer *message, int r,
                       const struct buffer *there, uint64_t seed)
{
    struct buffer fused, back, want;
    int from = check->from, to = check->to;
    if (!check->c->paths[from][to])
        return 0;
    int q = check_path(check, from, to, message, r, there, &fused);
    if (q <= 0)
        return q;
    for (int i = 0; i < 3; i++) {
        const struct buffer *in = i == 0 ? there : &fused;
        struct buffer damaged = {0};
        if (i == 2) {
            buffer_add(&damaged, in->data, in->bytes);
            message_mutate(seed, &damaged);
            in = &damaged;
        }
        r = run_path(check, to, from, in, &want);
        q = r < -1000 ? -1 : check_path(check, to, from, in, r, &want, &back);
        buffer_free(&damaged);
        if (q < 0)
            return -1;
    }
    return 0;
}

static int say_difference(struct check *check, const struct tree *tree,
                          const ProtobufCMessage *message, int from, int to)
{
    const char *why = "cannot be read";
    struct error_text where = {"in what packing does not show"};
    struct buffer packed = {NULL, protobuf_c_message_get_packed_size(message), 0};
    packed.data = arena_alloc(&check->arena, packed.bytes);
    (void)protobuf_c_message_pack(message, packed.data);
    struct tree *result = read_as(check, to, &packed, &why);
    if (result)
        (void)tree_equal(tree, result, 0, &where);
    return broken(check->failure, LAW_STRUCT, from, to, "v%d to v%d: the struct's %s%s", from + 1,
                  to + 1, result ? where.text : "bytes: ", result ? "" : why);
}

static int compare_structs(struct check *check, struct plan_binding *binding,
                           const ProtobufCMessageDescriptor *type, int from, int to,
                           const struct buffer *in)
{
    struct buffer bytes;
    const char *why = "";
    ProtobufCMessage *direct = NULL, *unpacked = NULL;
    struct plan_failure failure = {0, 0, NULL};
    const char *differs = NULL;
    int q = unpack_both_ways(binding, 0, in->data, in->bytes, &direct, &failure, &differs);
    int r = run_plan(check, plan_binding_plan(binding), from, to, in, &bytes);
    int result = 0;
    if (r < -1000)
        result = -1;
    else if (differs)
        result = broken(check->failure, LAW_STRUCT, from, to, "%s", differs);
    else if ((q < 0) != (r < 0) && q != -E2BIG && r != -E2BIG) /* limits are of other things */
        result =
            broken(check->failure, LAW_STRUCT, from, to, "the bytes: %d, the struct: %d", r, q);
    else if (q < 0 && (!failure.what || failure.offset > in->bytes))
        result =
            broken(check->failure, LAW_STRUCT, from, to, "error %d does not say what or where", q);
    if (result == 0 && q == 0 && r == 0) {
        struct tree *tree = read_as(check, to, &bytes, &why);
        /* Of messages in pieces protobuf-c loses what is in all but the last. */
        if (tree && !tree_in_pieces(tree) &&
            (wire_unpack_checked(type, bytes.data, bytes.bytes, &unpacked) < 0 ||
             !same_structs(direct, unpacked)))
            result = say_difference(check, tree, direct, from, to);
    }
    wire_free(unpacked);
    wire_free(direct);
    return result;
}

static int check_struct(struct check *check, int from, int to, const struct buffer *in)
{
    bool step = to - from == 1 || from - to == 1;
    struct plan *plan = !step       ? check->c->paths[from][to]
                        : from < to ? check->c->up[from]
                                    : check->c->down[to];
    if (!plan)
        return 0;
    struct structs *structs = structs_new(check->c->schemas[to]);
    const ProtobufCServiceDescriptor *service = structs_service(structs);
    struct plan_binding *binding = NULL;
    struct error_text error = {""};
    int r = plan_bind(plan, service, PLAN_REQUESTS, &binding, &error);
    if (r < 0)
        r = broken(check->failure, LAW_STRUCT, from, to, "plan_bind: %d: %s", r, error.text);
    else
        r = compare_structs(check, binding, service->methods[0].input, from, to, in);
    plan_binding_unref(binding);
    structs_free(structs);
    return r;
}

/* @version: whose reader gets it, and passes it on to @to. */
static int check_damage(struct check *check, int version, int to, const struct buffer *message,
                        uint64_t seed)
{
    struct buffer damaged = {0}, out;
    const char *why = NULL, *what = NULL;
    buffer_add(&damaged, message->data, message->bytes);
    if (seed & 1)
        what = message_spoil(root(check, version), seed, &damaged);
    else
        message_mutate(seed, &damaged);
    int r = run_step(check, version, to, &damaged, &out);
    if (r >= -1000 && check_struct(check, version, to, &damaged) < 0)
        r = -2000;
    buffer_free(&damaged);
    if (r < -1000)
        return -1;
    check->counts->refused += r < 0;
    if (what && r == 0)
        return broken(check->failure, LAW_SPOILT, version, to, "%s is not refused", what);
    if (r == 0 && !read_as(check, to, &out, &why))
        return broken(check->failure, LAW_SPOILT, version, to, "comes out malformed: %s", why);
    if (r < 0 && r != -EBADMSG && r != -ERANGE && r != -E2BIG)
        return broken(check->failure, LAW_SPOILT, version, to, "refused with %d", r);
    return 0;
}

/* Whether a rule on the way gives up to come back. */
static bool is_lossy(const struct check *check)
{
    int first = check->from < check->to ? check->from : check->to;
    int last = check->from + check->to - first;
    for (int step = first; step < last; step++)
        if (plan_class(check->c->up[step]) == PLAN_LOSSY ||
            plan_class(check->c->down[step]) == PLAN_LOSSY)
            return true;
    return false;
}

/* A list edited on the other side of a map, and a list on this side: the order of an edited list is
 * not kept through a map in between that also has to keep the order of another. */
static bool has_entries_twice(const struct check *check)
{
    int first = check->from < check->to ? check->from : check->to;
    int last = check->from + check->to - first, steps = 0;
    for (int version = first + 1; version <= last; version++) {
        size_t count;
        bool has = false;
        const struct schema_message *const *messages =
            schema_messages(check->c->schemas[version], &count);
        for (size_t i = 0; i < count; i++)
            for (size_t j = 0; j < messages[i]->field_count; j++)
                has |= messages[i]->fields[j].rule && messages[i]->fields[j].rule->entries;
        steps += has;
    }
    return steps > 1;
}

static int check_message(struct check *check, const struct buffer *message, uint64_t variant)
{
    const char *why;
    struct buffer there = {0};
    struct tree *source = read_as(check, check->from, message, &why), *result = NULL;
    if (!source)
        return 0; /* shrunk to something that is no message */
    int r = run_path(check, check->from, check->to, message, &there);
    if (r < -1000 || check_paths(check, message, r, &there, variant) < 0)
        return -1;
    if (r < 0 && form_alone(check, message, source, &there))
        r = 0;
    if (r == 0) {
        result = read_as(check, check->to, &there, &why);
        if (!result)
            return broken(check->failure, LAW_WELL_FORMED, check->from, check->to,
                          "what comes out is not well-formed: %s", why);
    }
    if (!tree_is_plain(source))
        return 0;
    if (check_forward(check, source, r, &there, result) < 0)
        return -1;
    if (r < 0) {
        check->counts->refused++;
        return 0;
    }
    struct buffer rewritten = write_tree(check, result, variant & 1);
    int next = check->from < check->to ? check->from + 1 : check->from - 1;
    int before = check->from < check->to ? check->to - 1 : check->to + 1;
    if (!is_lossy(check) &&
        (check_back(check, LAW_GETPUT, source, &there) < 0 ||
         check_back(check, LAW_GETPUT_PROGRAM, source, &rewritten) < 0 ||
         (!has_entries_twice(check) && check_edit(check, source, &there, variant) < 0)))
        return -1;
    if (check_struct(check, check->from, check->to, message) < 0 ||
        check_struct(check, check->to, check->from, &rewritten) < 0 ||
        check_damage(check, check->from, next, message, variant) < 0 ||
        check_damage(check, check->to, before, &there, variant + 1) < 0)
        return -1;
    return 0;
}

int case_check(const struct law_case *c, int from, int to, const struct buffer *message,
               uint64_t variant, struct law_counts *counts, struct law_failure *ret_failure)
{
    struct check check = {
        .c = c,
        .from = from,
        .to = to,
        .counts = counts,
        .failure = ret_failure,
    };
    ret_failure->variant = variant;
    int r = check_message(&check, message, variant);
    /* Wherever on the way it was broken: to see it again is to go this way again. */
    ret_failure->from = from;
    ret_failure->to = to;
    arena_free(&check.arena);
    return r;
}
