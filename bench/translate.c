/*
 * What does it cost to translate a message, and how does that compare with the ways there are?
 *
 * The order and the record (messages.h) are translated in both directions, wire to wire, and beside
 * it: copied; copied with all checks (the identity plan, which every message goes through that is
 * not translated); converted by hand with protobuf-c, from malloc() and from a bump allocator, and
 * with C++ protobuf in an arena. Long texts show what the checks alone cost.
 *
 * All of it is hot: the same message again and again, in the first-level cache, every branch
 * foreseen. That flatters everybody, protobuf-c's malloc most.
 */
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog_v1.parley.h"
#include "catalog_v2.parley.h"
#include "chain_v1.parley.h"
#include "chain_v2.parley.h"
#include "chain_v3.parley.h"
#include "chain_v4.parley.h"
#include "chain_v5.parley.h"
#include "chain_v6.parley.h"
#include "compare.h"
#include "messages.h"
#include "once_v1.parley.h"
#include "once_v6.parley.h"
#include "order_v1.parley.h"
#include "order_v2.parley.h"
#include "translate/plan.h"
#include "translate_cpp.h"

#define TEXT_BYTES_MAX (64 << 10)
#define OUT_BYTES (4 * TEXT_BYTES_MAX + (16 << 10))
#define GOAL_FASTER_THAN_PROTOBUF_C 8
#define GOAL_TIMES_IDENTITY 2
#define GOAL_STRUCT_FASTER_THAN_UNPACK 3
#define GOAL_IDENTITY_TIMES_COPY 3
#define GOAL_CHAIN_TIMES_STEP 1.1
#define CHAIN_COUNT 6

static alignas(64) uint8_t out[OUT_BYTES];

/* What a case works on. */
struct work {
    const uint8_t *in;
    size_t bytes;
    const struct plan *plan; /* entry 0 */
    const struct plan_binding *binding;
    convert_by_hand *convert;
    ProtobufCAllocator *allocator;
    size_t (*convert_cpp)(const uint8_t *in, size_t bytes, uint8_t *out);
    const ProtobufCMessageDescriptor *type; /* of what comes out */
    const struct packed *expected;          /* what has to come out */
};

static struct compare_case cases[COMPARE_CASE_MAX];
static struct work works[COMPARE_CASE_MAX];
static size_t case_count;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

/* ---- What is measured ---- */

static void run_copy(void *data, uint32_t count)
{
    const struct work *work = data;
    for (uint32_t i = 0; i < count; i++) {
        compare_use(work->in);
        memcpy(out, work->in, work->bytes);
        compare_use(out);
    }
}

static void run_plan(void *data, uint32_t count)
{
    const struct work *work = data;
    size_t bytes;
    for (uint32_t i = 0; i < count; i++) {
        if (plan_run(work->plan, 0, work->in, work->bytes, out, sizeof(out), &bytes, NULL) != 0)
            abort();
        compare_use(out);
    }
}

static void run_hand(void *data, uint32_t count)
{
    const struct work *work = data;
    for (uint32_t i = 0; i < count; i++) {
        messages_bump_reset();
        if (work->convert(work->allocator, work->in, work->bytes, out) == 0)
            abort();
        compare_use(out);
    }
}

static void run_unpack(void *data, uint32_t count)
{
    const struct work *work = data;
    for (uint32_t i = 0; i < count; i++) {
        ProtobufCMessage *message =
            protobuf_c_message_unpack(work->type, NULL, work->bytes, work->in);
        if (!message)
            abort();
        compare_use(message);
        protobuf_c_message_free_unpacked(message, NULL);
    }
}

static void run_struct(void *data, uint32_t count)
{
    const struct work *work = data;
    for (uint32_t i = 0; i < count; i++) {
        ProtobufCMessage *message;
        if (plan_unpack(work->binding, 0, work->in, work->bytes, &message, NULL) != 0)
            abort();
        compare_use(message);
        wire_free(message);
    }
}

static void run_cpp(void *data, uint32_t count)
{
    const struct work *work = data;
    for (uint32_t i = 0; i < count; i++) {
        if (work->convert_cpp(work->in, work->bytes, out) == 0)
            abort();
        compare_use(out);
    }
}

/* ---- Whether it is right ---- */

/* As protobuf-c writes it: fields by number. What the version does not know, the carrier among it,
 * is left out: by hand nobody carries anything. */
static const char *check_struct(const struct work *work, ProtobufCMessage *message)
{
    static struct packed canonical;
    unsigned unknown = message->n_unknown_fields;
    message->n_unknown_fields = 0;
    messages_pack(message, &canonical);
    message->n_unknown_fields = unknown;
    if (canonical.bytes != work->expected->bytes ||
        memcmp(canonical.data, work->expected->data, canonical.bytes) != 0)
        return "it is another message than the conversion by hand gives";
    return NULL;
}

static const char *check_message(const struct work *work, size_t bytes)
{
    ProtobufCMessage *message = protobuf_c_message_unpack(work->type, NULL, bytes, out);
    if (!message)
        return "protobuf-c cannot read it";
    const char *wrong = check_struct(work, message);
    protobuf_c_message_free_unpacked(message, NULL);
    return wrong;
}

static const char *check_binding(void *data)
{
    const struct work *work = data;
    struct plan_failure failure;
    ProtobufCMessage *message = NULL;
    if (plan_unpack(work->binding, 0, work->in, work->bytes, &message, &failure) != 0)
        return failure.what;
    const char *wrong = check_struct(work, message);
    wire_free(message);
    return wrong;
}

static const char *check_plan(void *data)
{
    const struct work *work = data;
    struct plan_failure failure;
    size_t bytes = 0;
    if (plan_run(work->plan, 0, work->in, work->bytes, out, sizeof(out), &bytes, &failure) != 0)
        return failure.what;
    if (work->expected)
        return check_message(work, bytes);
    return bytes == work->bytes && memcmp(out, work->in, bytes) == 0 ? NULL : "it is no copy";
}

static const char *check_hand(void *data)
{
    const struct work *work = data;
    messages_bump_reset();
    return check_message(work, work->convert(work->allocator, work->in, work->bytes, out));
}

static const char *check_cpp(void *data)
{
    const struct work *work = data;
    return check_message(work, work->convert_cpp(work->in, work->bytes, out));
}

/* ---- Cases ---- */

/* What stays until the end. */
static struct {
    void *blocks[8 * COMPARE_CASE_MAX];
    struct plan *plans[COMPARE_CASE_MAX];
    struct plan_binding *bindings[COMPARE_CASE_MAX];
    size_t block_count, plan_count, binding_count;
} kept;

static void *keep(void *block)
{
    if (!block || kept.block_count == sizeof(kept.blocks) / sizeof(kept.blocks[0]))
        die("translate", "no memory");
    return kept.blocks[kept.block_count++] = block;
}

static struct plan *keep_plan(struct plan *plan)
{
    if (kept.plan_count == COMPARE_CASE_MAX)
        die("translate", "one plan too many");
    return kept.plans[kept.plan_count++] = plan;
}

static void free_kept(void)
{
    for (size_t i = 0; i < kept.binding_count; i++)
        (void)plan_binding_unref(kept.bindings[i]);
    for (size_t i = 0; i < kept.plan_count; i++)
        (void)plan_unref(kept.plans[i]);
    for (size_t i = 0; i < kept.block_count; i++)
        free(kept.blocks[i]);
}

__attribute__((format(printf, 1, 2))) static char *text(const char *format, ...)
{
    char *made = NULL;
    va_list args;
    va_start(args, format);
    int bytes = vasprintf(&made, format, args);
    va_end(args);
    return keep(bytes < 0 ? NULL : made);
}

static struct compare_case *add(const char *name, const char *about, struct work work)
{
    if (case_count == COMPARE_CASE_MAX)
        die(name, "one case too many");
    works[case_count] = work;
    cases[case_count] = (struct compare_case){
        .name = name,
        .about = about,
        .bytes = work.bytes,
        .data = &works[case_count],
        .check = work.convert       ? check_hand
                 : work.convert_cpp ? check_cpp
                 : work.binding     ? check_binding
                 : work.plan        ? check_plan
                                    : NULL,
        .run = work.convert       ? run_hand
               : work.convert_cpp ? run_cpp
               : work.binding     ? run_struct
               : work.plan        ? run_plan
               : work.type        ? run_unpack
                                  : run_copy,
    };
    return &cases[case_count++];
}

static void against(struct compare_case *compared, const char *prefix, const char *name,
                    double goal_most, double goal_faster)
{
    for (size_t i = 0; i < COMPARE_AGAINST_MAX; i++) {
        if (compared->against[i].name)
            continue;
        compared->against[i] =
            (struct compare_against){text("%s/%s", prefix, name), goal_most, goal_faster};
        return;
    }
    die(name, "one comparison too many");
}

/* A message in both of its versions, and how it is converted. */
struct pair {
    const char *name;
    const struct parley_interface *v1, *v2;
    const ProtobufCMessageDescriptor *v1_type, *v2_type;
    void (*make_v1)(struct packed *ret_packed);
    void (*make_v2)(struct packed *ret_packed);
    convert_by_hand *up, *down;
    size_t (*up_cpp)(const uint8_t *in, size_t bytes, uint8_t *out);
    size_t (*down_cpp)(const uint8_t *in, size_t bytes, uint8_t *out);
    /* In both versions. */
    struct packed v1_bytes, v2_bytes;
    struct packed up_expected, down_expected;
};

static struct schema *load_schema(const struct parley_interface *interface)
{
    struct schema *schema = NULL;
    struct error_text error = {""};
    if (schema_new(interface->descriptor_set, interface->descriptor_set_bytes,
                   interface->service->name, &schema, &error) < 0)
        die(interface->name, error.text);
    return schema;
}

/* Of replies, from the last of @versions to the first, over all in between. */
static struct plan *compile_path(const struct parley_interface *const *versions, size_t count)
{
    struct schema *schemas[CHAIN_COUNT];
    struct plan *plan = NULL;
    struct error_text error = {""};
    for (size_t i = 0; i < count; i++)
        schemas[i] = load_schema(versions[i]);
    if (plan_compile_path((const struct schema *const *)schemas, count, PLAN_REPLIES, &plan,
                          &error) < 0)
        die(versions[0]->name, error.text);
    for (size_t i = 0; i < count; i++)
        schema_unref(schemas[i]);
    return keep_plan(plan);
}

static struct plan *identity(const struct parley_interface *interface)
{
    struct plan *plan = NULL;
    struct error_text error = {""};
    if (plan_identity(interface->service, PLAN_REPLIES, &plan, &error) < 0)
        die(interface->name, error.text);
    return keep_plan(plan);
}

/* One direction, "v1" to "v2" or back: by plan, by hand, and into the struct. */
struct direction {
    const char *from, *to;
    const struct parley_interface *source, *target;
    const ProtobufCMessageDescriptor *source_type;
    const struct packed *given; /* what comes in */
    struct work work;           /* without a plan */
    convert_by_hand *convert;
    size_t (*convert_cpp)(const uint8_t *in, size_t bytes, uint8_t *out);
};

static void add_wire(const char *name, const struct direction *direction, struct work work)
{
    const char *way = text("%s-%s", direction->from, direction->to);
    struct compare_case *translated =
        add(text("%s/%s", name, way), text("%s, %s: translated", name, way), work);
    against(translated, name, text("protobuf-c-%s", way), 0, GOAL_FASTER_THAN_PROTOBUF_C);
    against(translated, name, text("identity-%s", direction->from), GOAL_TIMES_IDENTITY, 0);
    if (direction->convert_cpp)
        against(translated, name, text("cpp-%s", way), 0, 0);
    work.plan = NULL;
    work.convert = direction->convert;
    work.allocator = &messages_malloc;
    add(text("%s/protobuf-c-%s", name, way), text("%s, %s: protobuf-c by hand, malloc", name, way),
        work);
    work.allocator = &messages_bump;
    add(text("%s/protobuf-c-bump-%s", name, way),
        text("%s, %s: protobuf-c by hand, bump allocator", name, way), work);
    work.convert = NULL;
    work.convert_cpp = direction->convert_cpp;
    if (work.convert_cpp)
        add(text("%s/cpp-%s", name, way), text("%s, %s: C++ protobuf by hand, arena", name, way),
            work);
}

static const struct plan_binding *bind(const char *name, struct plan *plan,
                                       const struct parley_interface *target)
{
    struct plan_binding *binding = NULL;
    struct error_text error = {""};
    if (plan_bind(plan, target->service, PLAN_REPLIES, &binding, &error) < 0)
        die(name, error.text);
    return kept.bindings[kept.binding_count++] = binding; /* no more than plans */
}

static void add_struct(const char *name, const struct direction *direction, struct work work,
                       struct plan *plan)
{
    work.plan = NULL;
    work.binding = bind(name, plan, direction->target);
    against(
        add(text("%s/%s-struct-%s", name, direction->from, direction->to),
            text("%s, %s: translated into the struct of %s", name, direction->from, direction->to),
            work),
        name, text("unpack-%s", direction->to), 0, GOAL_STRUCT_FASTER_THAN_UNPACK);
    add(text("%s/unpack-%s", name, direction->to),
        text("%s, %s: protobuf_c_message_unpack(), malloc", name, direction->to),
        (struct work){.in = work.expected->data, .bytes = work.expected->bytes, .type = work.type});
}

/* Of equal versions: checked, not translated. */
static void add_same_struct(const char *name, const struct direction *direction, struct plan *plan)
{
    struct work work = direction->work;
    work.binding = bind(name, plan, direction->source);
    work.type = direction->source_type;
    work.expected = direction->given;
    against(
        add(text("%s/%s-struct-%s", name, direction->from, direction->from),
            text("%s, %s: checked, into the struct of %s", name, direction->from, direction->from),
            work),
        name, text("unpack-%s", direction->from), 0, GOAL_STRUCT_FASTER_THAN_UNPACK);
}

static void add_direction(const char *name, const struct direction *direction)
{
    struct work work = direction->work;
    struct plan *same = identity(direction->source);
    work.expected = NULL;
    work.plan = same;
    against(add(text("%s/identity-%s", name, direction->from),
                text("%s, %s: identity plan, the checked copy", name, direction->from), work),
            name, text("memcpy-%s", direction->from), 0, 0);
    add_same_struct(name, direction, same);
    work.plan = NULL;
    work.type = NULL;
    add(text("%s/memcpy-%s", name, direction->from), text("%s, %s: memcpy", name, direction->from),
        work);
    struct plan *plan = compile_path(
        (const struct parley_interface *const[]){direction->target, direction->source}, 2);
    work = direction->work;
    work.plan = plan;
    add_wire(name, direction, work);
    add_struct(name, direction, work, plan);
}

static void add_pair(struct pair *pair)
{
    pair->make_v1(&pair->v1_bytes);
    pair->make_v2(&pair->v2_bytes);
    pair->up_expected.bytes = pair->up(&messages_malloc, pair->v1_bytes.data, pair->v1_bytes.bytes,
                                       pair->up_expected.data);
    pair->down_expected.bytes = pair->down(&messages_malloc, pair->v2_bytes.data,
                                           pair->v2_bytes.bytes, pair->down_expected.data);
    const struct direction up = {
        .from = "v1",
        .to = "v2",
        .source = pair->v1,
        .target = pair->v2,
        .source_type = pair->v1_type,
        .given = &pair->v1_bytes,
        .work = {.in = pair->v1_bytes.data,
                 .bytes = pair->v1_bytes.bytes,
                 .type = pair->v2_type,
                 .expected = &pair->up_expected},
        .convert = pair->up,
        .convert_cpp = pair->up_cpp,
    };
    const struct direction down = {
        .from = "v2",
        .to = "v1",
        .source = pair->v2,
        .target = pair->v1,
        .source_type = pair->v2_type,
        .given = &pair->v2_bytes,
        .work = {.in = pair->v2_bytes.data,
                 .bytes = pair->v2_bytes.bytes,
                 .type = pair->v1_type,
                 .expected = &pair->down_expected},
        .convert = pair->down,
        .convert_cpp = pair->down_cpp,
    };
    add_direction(pair->name, &up);
    add_direction(pair->name, &down);
}

/* ---- Texts ---- */

/* A package whose dependencies are texts of 1,000 bytes, together about @bytes. */
static struct work make_text(const char *sample, size_t bytes)
{
    static const struct plan *plan;
    char line[1008];
    char *lines[TEXT_BYTES_MAX / 1000];
    size_t used = 0, sample_bytes = strlen(sample);
    while (used + sample_bytes <= 1000) {
        memcpy(line + used, sample, sample_bytes);
        used += sample_bytes;
    }
    line[used] = '\0';
    Catalog__V1__Package package = CATALOG__V1__PACKAGE__INIT;
    package.depends = lines;
    for (; package.n_depends < bytes / 1000; package.n_depends++)
        lines[package.n_depends] = line;
    uint8_t *data = keep(malloc(bytes + 4096));
    if (!plan)
        plan = identity(&catalog__v1__catalog__interface);
    return (struct work){
        .in = data, .bytes = catalog__v1__package__pack(&package, data), .plan = plan};
}

static void add_texts(void)
{
    static const struct {
        const char *name, *about, *sample;
    } kinds[] = {
        {"ascii", "ASCII", "fast, scalable, distributed revision control system. "},
        {"utf8", "half non-ASCII",
         "schnell \303\274ber gro\303\237e Netze, "
         "\316\263\316\273\317\216\317\203\317\203\316\261, "
         "\346\227\245\346\234\254\350\252\236 und so weiter. "},
    };
    static const struct {
        const char *name;
        size_t bytes;
    } sizes[] = {{"4k", 5 << 10}, {"16k", 16 << 10}, {"64k", 64 << 10}};
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        for (size_t size = 0; size < sizeof(sizes) / sizeof(sizes[0]); size++) {
            char *name = text("text-%s-%s", kinds[kind].name, sizes[size].name);
            char *about =
                text("strings of 1,000 bytes, %s, %s", kinds[kind].about, sizes[size].name);
            struct work work = make_text(kinds[kind].sample, sizes[size].bytes), copy = work;
            copy.plan = NULL;
            add(text("%s/memcpy", name), text("%s: memcpy", about), copy);
            against(add(text("%s/identity", name), text("%s: identity plan", about), work), name,
                    "memcpy", GOAL_IDENTITY_TIMES_COPY, 0);
        }
    }
}

/* ---- Six versions ---- */

/* By all steps and by one that has all rules, from the last of @versions to the first. */
static void add_chain(const char *way, const struct parley_interface *const *versions,
                      const struct parley_interface *const *once, struct work work)
{
    work.plan = compile_path(once, 2);
    add(text("chain/once-%s", way), text("record, %s: one step of the same rules", way), work);
    work.plan = compile_path(versions, CHAIN_COUNT);
    against(add(text("chain/%s", way), text("record, %s: five steps, one program", way), work),
            "chain", text("once-%s", way), GOAL_CHAIN_TIMES_STEP, 0);
}

static void add_chains(void)
{
    static struct packed first, last;
    static const struct parley_interface *const up[CHAIN_COUNT] = {
        &chain__v6__chain__interface, &chain__v5__chain__interface, &chain__v4__chain__interface,
        &chain__v3__chain__interface, &chain__v2__chain__interface, &chain__v1__chain__interface};
    static const struct parley_interface *const down[CHAIN_COUNT] = {
        &chain__v1__chain__interface, &chain__v2__chain__interface, &chain__v3__chain__interface,
        &chain__v4__chain__interface, &chain__v5__chain__interface, &chain__v6__chain__interface};
    static const struct parley_interface *const once_up[] = {&once__v6__chain__interface,
                                                             &once__v1__chain__interface};
    static const struct parley_interface *const once_down[] = {&once__v1__chain__interface,
                                                               &once__v6__chain__interface};
    chain_first(&first);
    chain_last(&last);
    add_chain("v1-v6", up, once_up,
              (struct work){.in = first.data,
                            .bytes = first.bytes,
                            .type = &chain__v6__package__descriptor,
                            .expected = &last});
    add_chain("v6-v1", down, once_down,
              (struct work){.in = last.data,
                            .bytes = last.bytes,
                            .type = &chain__v1__package__descriptor,
                            .expected = &first});
}

int main(int argc, char **argv)
{
    static struct pair order = {
        .name = "order",
        .v1 = &order__v1__orders__interface,
        .v2 = &order__v2__orders__interface,
        .v1_type = &order__v1__order__descriptor,
        .v2_type = &order__v2__order__descriptor,
        .make_v1 = order_v1,
        .make_v2 = order_v2,
        .up = order_up,
        .down = order_down,
        .up_cpp = CPP(cpp_order_up),
        .down_cpp = CPP(cpp_order_down),
    };
    static struct pair record = {
        .name = "record",
        .v1 = &catalog__v1__catalog__interface,
        .v2 = &catalog__v2__catalog__interface,
        .v1_type = &catalog__v1__package__descriptor,
        .v2_type = &catalog__v2__package__descriptor,
        .make_v1 = record_v1,
        .make_v2 = record_v2,
        .up = record_up,
        .down = record_down,
        .up_cpp = CPP(cpp_record_up),
        .down_cpp = CPP(cpp_record_down),
    };
    static const char *const skipped[] = {
#if !HAVE_CPP_PEER
        "C++ protobuf: no C++ compiler, or no libprotobuf-dev, when this was built",
#endif
        NULL
    };
    add_pair(&order);
    add_pair(&record);
    add_chains();
    add_texts();
    const struct compare compare = {
        .name = "translate",
        .question = "What does it cost to translate a message?",
        .cases = cases,
        .case_count = case_count,
        .skipped = skipped,
        .skipped_count = sizeof(skipped) / sizeof(skipped[0]) - 1,
    };
    int r = compare_main(argc, argv, &compare);
    free_kept();
    return r;
}
