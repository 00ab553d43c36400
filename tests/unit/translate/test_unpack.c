/*
 * Plans that end in structs: what plan_unpack() gives is, field by field, what protobuf-c reads of
 * what plan_run() writes, for random messages, their carriers, and what is wrong with them.
 *
 * PARLEY_LAWS_COUNT says how many messages.
 */
#include "structs.h"

#include "forms_v1.pb-c.h"
#include "forms_v2.pb-c.h"
#include "steps_v1.pb-c.h"
#include "steps_v6.pb-c.h"
#include "translate/asm_x86.h"
#include "translate/bind.h"
#include "translate/compile.h"
#include "translate/unpack_code.h"

#include <pthread.h>

static struct versions catalog, shapes, forms;

struct way {
    const char *name;
    struct plan *plan;
    struct plan_binding *binding;
    uint32_t entry;
    const ProtobufCMessageDescriptor *from, *to;
    struct plan *before; /* gives messages of `from` with carriers; NULL: none does */
    uint32_t before_entry;
    const ProtobufCMessageDescriptor *before_from;
};

#define WAYS_MAX 64
static struct way ways[WAYS_MAX];
static size_t way_count;

static void add(const char *name, struct plan *plan, const ProtobufCServiceDescriptor *service,
                enum plan_payload payload, uint32_t entry, const ProtobufCMessageDescriptor *from,
                const ProtobufCMessageDescriptor *to, struct plan *before, uint32_t before_entry)
{
    assert_true(way_count < WAYS_MAX);
    ways[way_count++] = (struct way){
        .name = name,
        .plan = plan,
        .binding = must_bind(plan, service, payload),
        .entry = entry,
        .from = from,
        .to = to,
        .before = before,
        .before_entry = before_entry,
        .before_from = to,
    };
}

/* descriptor.proto's types as a service's: proto2, required fields, defaults, recursion. */
static const ProtobufCMethodDescriptor proto2_methods[] = {
    {"File", &google__protobuf__file_descriptor_proto__descriptor,
     &google__protobuf__file_descriptor_proto__descriptor},
    {"Options", &google__protobuf__field_options__descriptor,
     &google__protobuf__field_options__descriptor},
    {"Option", &google__protobuf__uninterpreted_option__descriptor,
     &google__protobuf__uninterpreted_option__descriptor},
};
static const ProtobufCServiceDescriptor proto2_service = {
    .name = "proto2", .n_methods = 3, .methods = proto2_methods};

static void add_identity(const char *name, const ProtobufCServiceDescriptor *service,
                         uint32_t entry)
{
    struct plan *plan = NULL;
    assert_int_equal(plan_identity(service, PLAN_REQUESTS, &plan, NULL), 0);
    const ProtobufCMessageDescriptor *type = service->methods[entry].input;
    add(name, plan, service, PLAN_REQUESTS, entry, type, type, NULL, 0);
    plan_unref(plan);
}

/* Over a path of six versions, fused as far as possible, and in stages: both ways. */
static void add_paths(void)
{
    static const char *const sets[] = {STEPS_V1_SET, STEPS_V2_SET, STEPS_V3_SET,
                                       STEPS_V4_SET, STEPS_V5_SET, STEPS_V6_SET};
    const struct schema *up[6], *down[6];
    for (size_t i = 0; i < 6; i++)
        up[i] = down[5 - i] = schema_read(sets[i]);
    for (int staged = 0; staged < 2; staged++) {
        struct plan *there = NULL, *back = NULL;
        assert_int_equal(chain_compile(up, 6, PLAN_REQUESTS, staged, &there, NULL), 0);
        assert_int_equal(chain_compile(down, 6, PLAN_REQUESTS, staged, &back, NULL), 0);
        add(staged ? "steps up, staged" : "steps up, fused", there, &steps__v6__steps__descriptor,
            PLAN_REQUESTS, 1, &steps__v1__record__descriptor, &steps__v6__record__descriptor, back,
            1);
        add(staged ? "steps down, staged" : "steps down, fused", back,
            &steps__v1__steps__descriptor, PLAN_REQUESTS, 1, &steps__v6__record__descriptor,
            &steps__v1__record__descriptor, there, 1);
        plan_unref(there); /* the bindings keep them */
        plan_unref(back);
    }
    for (size_t i = 0; i < 6; i++)
        schema_unref((struct schema *)(uintptr_t)up[i]);
}

/* forms: messages of one rule each. */
static void add_forms(void)
{
    const ProtobufCServiceDescriptor *f1 = &forms__v1__forms__descriptor,
                                     *f2 = &forms__v2__forms__descriptor;
    for (uint32_t i = 0; i < f1->n_methods; i++) {
        uint32_t in_v2 = plan_method(forms.up_requests, i);
        if (in_v2 == PLAN_METHOD_NONE)
            continue;
        const ProtobufCMessageDescriptor *older = f1->methods[i].input;
        const ProtobufCMessageDescriptor *newer = f2->methods[in_v2].input;
        add(older->name, forms.up_requests, f2, PLAN_REQUESTS, i, older, newer, forms.down_requests,
            in_v2);
        add(newer->name, forms.down_requests, f1, PLAN_REQUESTS, in_v2, newer, older,
            forms.up_requests, i);
    }
}

static int setup(void **state)
{
    (void)state;
    versions_init(&catalog, CATALOG_V1_SET, CATALOG_V2_SET);
    versions_init(&shapes, SHAPES_V1_SET, SHAPES_V2_SET);
    versions_init(&forms, FORMS_V1_SET, FORMS_V2_SET);
    const ProtobufCServiceDescriptor *c1 = &catalog__v1__catalog__descriptor,
                                     *c2 = &catalog__v2__catalog__descriptor,
                                     *s1 = &shapes__v1__shapes__descriptor,
                                     *s2 = &shapes__v2__shapes__descriptor;
    add("catalog v1 Package", catalog.up_replies, c2, PLAN_REPLIES, 0,
        &catalog__v1__package__descriptor, &catalog__v2__package__descriptor, catalog.down_replies,
        0);
    add("catalog v2 Package", catalog.down_replies, c1, PLAN_REPLIES, 0,
        &catalog__v2__package__descriptor, &catalog__v1__package__descriptor, catalog.up_replies,
        0);
    add("catalog v1 ListReply", catalog.up_replies, c2, PLAN_REPLIES, 1,
        &catalog__v1__list_reply__descriptor, &catalog__v2__list_reply__descriptor,
        catalog.down_replies, 1);
    add("catalog v2 ListReply", catalog.down_replies, c1, PLAN_REPLIES, 1,
        &catalog__v2__list_reply__descriptor, &catalog__v1__list_reply__descriptor,
        catalog.up_replies, 1);
    add("catalog v1 ListRequest", catalog.up_requests, c2, PLAN_REQUESTS, 1,
        &catalog__v1__list_request__descriptor, &catalog__v2__list_request__descriptor,
        catalog.down_requests, 1);
    add("catalog v2 ListRequest", catalog.down_requests, c1, PLAN_REQUESTS, 1,
        &catalog__v2__list_request__descriptor, &catalog__v1__list_request__descriptor,
        catalog.up_requests, 1);
    add("shapes v1 Shape", shapes.up_requests, s2, PLAN_REQUESTS, 0, &shapes__v1__shape__descriptor,
        &shapes__v2__shape__descriptor, shapes.down_requests, 1);
    add("shapes v2 Shape", shapes.down_requests, s1, PLAN_REQUESTS, 1,
        &shapes__v2__shape__descriptor, &shapes__v1__shape__descriptor, shapes.up_requests, 0);
    add("shapes v1 Plain", shapes.up_requests, s2, PLAN_REQUESTS, 1, &shapes__v1__plain__descriptor,
        &shapes__v2__plain__descriptor, NULL, 0);
    add("shapes v2 Tree", shapes.down_requests, s1, PLAN_REQUESTS, 4, &shapes__v2__tree__descriptor,
        &shapes__v1__tree__descriptor, NULL, 0);
    add_paths();
    add_forms();
    add_identity("shapes v1 Shape, identity", s1, 0);
    add_identity("shapes v2 Shape, identity", s2, 1);
    add_identity("proto2 file, identity", &proto2_service, 0);
    add_identity("proto2 field options, identity", &proto2_service, 1);
    add_identity("proto2 option, identity", &proto2_service, 2);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < way_count; i++)
        plan_binding_unref(ways[i].binding);
    versions_deinit(&catalog);
    versions_deinit(&shapes);
    versions_deinit(&forms);
    return 0;
}

/* What protobuf-c reads of the bytes, with pieces of messages put together before. */
static bool same_as_bytes(const ProtobufCMessageDescriptor *type, const ProtobufCMessage *message,
                          struct bytes wire)
{
    struct bytes whole = merged(type, wire);
    ProtobufCMessage *want = protobuf_c_message_unpack(type, NULL, whole.bytes, whole.data);
    assert_non_null(want);
    bool same = same_structs(message, want);
    protobuf_c_message_free_unpacked(want, NULL);
    free(whole.data);
    return same;
}

/* Return: whether it was translated at all. */
static bool check_way(const struct way *way, struct bytes in)
{
    struct bytes out = {NULL, 0};
    ProtobufCMessage *message = NULL;
    struct plan_failure failure = {0, 0, "?"}, wanted = {0, 0, "?"};
    int want = run(way->plan, way->entry, in, &out, &wanted);
    int r = unpack(way->binding, way->entry, in, &message, &failure);
    if (r != want) {
        print_bytes("message", in);
        fail_msg("%s: plan_run %d (%s, byte %zu), plan_unpack %d (%s, byte %zu)", way->name, want,
                 wanted.what, wanted.offset, r, failure.what, failure.offset);
    }
    if (r < 0) {
        assert_true(failure.offset <= in.bytes);
        return false;
    }
    if (!same_as_bytes(way->to, message, out)) {
        print_bytes("message", in);
        print_bytes("translated", out);
        struct bytes packed = pack(message);
        print_bytes("the struct, packed", packed);
        free(packed.data);
        fail_msg("%s: not the same struct", way->name);
    }
    wire_free(message);
    free(out.data);
    return true;
}

static uint64_t count_from_env(void)
{
    const char *text = getenv("PARLEY_LAWS_COUNT");
    return text ? strtoull(text, NULL, 0) : 2000;
}

/* A message of the type that the way begins with; every other time one that has been elsewhere. */
static struct bytes message_for(const struct way *way, uint64_t seed, unsigned wild)
{
    struct bytes in, out = {NULL, 0};
    if (!way->before || seed % 2 == 0)
        return generate(way->from, seed, wild);
    in = generate(way->before_from, seed, wild);
    if (run(way->before, way->before_entry, in, &out, NULL) < 0)
        return in;
    free(in.data);
    return out;
}

static void test_struct_is_what_protobuf_c_reads_of_the_translation(void **state)
{
    (void)state;
    uint64_t count = count_from_env();
    for (size_t i = 0; i < way_count; i++) {
        uint64_t read = 0;
        for (uint64_t seed = 1; seed <= count; seed++) {
            struct bytes in = message_for(&ways[i], seed, seed % 5 == 0 ? 5 : 0);
            read += check_way(&ways[i], in);
            free(in.data);
        }
        if (read < count / 8)
            fail_msg("%s: only %llu of %llu messages could be read", ways[i].name,
                     (unsigned long long)read, (unsigned long long)count);
    }
}

static void test_broken_messages_are_refused_alike(void **state)
{
    (void)state;
    uint64_t random = 42;
    unsigned refused = 0, passed = 0;
    for (uint64_t i = 0; i < 20 * count_from_env(); i++) {
        const struct way *way = &ways[i % way_count];
        struct bytes in = message_for(way, i / 8 + 1, 10);
        if (in.bytes > 0 && i % 3 == 0)
            in.bytes = random_below(&random, (uint32_t)in.bytes);
        else
            for (uint32_t n = 1 + random_below(&random, 3); n > 0 && in.bytes > 0; n--)
                in.data[random_below(&random, (uint32_t)in.bytes)] ^=
                    (uint8_t)(1u << random_below(&random, 8));
        *(check_way(way, in) ? &passed : &refused) += 1;
        free(in.data);
    }
    assert_true(refused > 1000);
    assert_true(passed > 1000);
}

static const struct way *find(const char *name)
{
    for (size_t i = 0; i < way_count; i++)
        if (strcmp(ways[i].name, name) == 0)
            return &ways[i];
    fail_msg("no way %s", name);
    return NULL;
}

/* A message of fields that are all like @field, @count of them. */
static struct bytes many(const void *field, size_t bytes, size_t count)
{
    struct bytes all = {malloc(bytes * count + 1), bytes * count};
    assert_non_null(all.data);
    for (size_t i = 0; i < count; i++)
        memcpy(all.data + i * bytes, field, bytes);
    return all;
}

static void test_more_strings_than_can_wait_for_the_end_are_read(void **state)
{
    (void)state;
    /* words = "word", in a message that waits; leaves, each with a text at its end. */
    static const uint8_t word[] = {0x5a, 4, 'w', 'o', 'r', 'd'};
    static const uint8_t leaf[] = {0x92, 0x01, 4, 0x0a, 2, 'h', 'i'};
    for (size_t count = 126; count <= 130; count++) {
        struct bytes words = many(word, sizeof(word), count);
        struct bytes leaves = many(leaf, sizeof(leaf), count);
        assert_true(check_way(find("shapes v1 Shape"), words));
        assert_true(check_way(find("shapes v1 Shape"), leaves));
        assert_true(check_way(find("shapes v1 Shape, identity"), words));
        free(words.data);
        free(leaves.data);
    }
}

static void test_arrays_grow_packed_and_not(void **state)
{
    (void)state;
    static const uint8_t one[] = {0x50, 7}, three[] = {0x52, 3, 1, 2, 3}, none[] = {0x52, 0};
    for (size_t count = 0; count < 70; count++) {
        struct bytes a = many(one, sizeof(one), count), b = many(three, sizeof(three), count % 7);
        struct bytes c = many(none, sizeof(none), 2);
        struct bytes all = {malloc(2 * a.bytes + b.bytes + c.bytes + 1), 0};
        assert_non_null(all.data);
        const struct bytes *parts[] = {&a, &c, &b, &a};
        for (size_t i = 0; i < 4; i++) {
            memcpy(all.data + all.bytes, parts[i]->data, parts[i]->bytes);
            all.bytes += parts[i]->bytes;
        }
        assert_true(check_way(find("shapes v1 Shape"), all));
        assert_true(check_way(find("shapes v1 Shape, identity"), all));
        free(a.data);
        free(b.data);
        free(c.data);
        free(all.data);
    }
}

static void test_last_member_of_a_oneof_wins(void **state)
{
    (void)state;
    /* pick_text = "a", pick_number = 5, pick_text = "b", and back again. */
    static const uint8_t in[] = {0xa2, 1, 1, 'a', 0xa8, 1, 5, 0xa2, 1, 1, 'b', 0xa8, 1, 6};
    for (size_t bytes = 4; bytes <= sizeof(in); bytes += bytes % 7 == 4 ? 3 : 4) {
        assert_true(check_way(find("shapes v1 Shape"), (struct bytes){(uint8_t *)in, bytes}));
        assert_true(
            check_way(find("shapes v1 Shape, identity"), (struct bytes){(uint8_t *)in, bytes}));
    }
}

static void test_a_message_in_pieces_is_merged(void **state)
{
    (void)state;
    /* leaf = {text: "a", number: 1}, then leaf = {number: 2, unknown 30: 3} */
    static const uint8_t in[] = {0x8a, 1, 5, 0x0a, 1, 'a',  0x10, 1,
                                 0x8a, 1, 5, 0x10, 2, 0xf0, 1,    3};
    const struct way *way = find("shapes v1 Shape");
    ProtobufCMessage *message = NULL;
    assert_int_equal(
        unpack(way->binding, way->entry, (struct bytes){(uint8_t *)in, sizeof(in)}, &message, NULL),
        0);
    const Shapes__V2__Shape *shape = (const Shapes__V2__Shape *)(const void *)message;
    assert_non_null(shape->leaf);
    assert_string_equal(shape->leaf->text, "a");
    assert_int_equal(shape->leaf->number, 2);
    assert_int_equal(shape->leaf->base.n_unknown_fields, 1);
    wire_free(message);
}

static struct bytes of(const uint8_t *data, size_t bytes)
{
    return (struct bytes){(uint8_t *)(uintptr_t)data, bytes};
}
#define OF(array) of(array, sizeof(array))

static void test_pieces_that_have_to_be_one_are_translated_as_one(void **state)
{
    (void)state;
    /* maintainer = {name: "N"}, links = {homepage: "h"}, maintainer = {email: "e"}, links = {bugs:
     * "b"}: the first becomes a text, of the other a field moves. */
    static const uint8_t in[] = {0x3a, 3, 0x0a, 1, 'N', 0x42, 3, 0x0a, 1, 'h',
                                 0x3a, 3, 0x12, 1, 'e', 0x42, 3, 0x12, 1, 'b'};
    const struct way *way = find("catalog v2 Package");
    ProtobufCMessage *message = NULL;
    assert_true(check_way(way, OF(in)));
    assert_int_equal(unpack(way->binding, way->entry, OF(in), &message, NULL), 0);
    const Catalog__V1__Package *package = (const Catalog__V1__Package *)(const void *)message;
    assert_string_equal(package->maintainer, "N <e>");
    assert_string_equal(package->homepage, "h");
    wire_free(message);
}

static void test_what_is_wrong_in_a_message_in_pieces_is_said_of_the_whole(void **state)
{
    (void)state;
    /* As above, and a name that is no UTF-8. */
    static const uint8_t in[] = {0x3a, 3, 0x0a, 1, 'N', 0x3a, 3, 0x12, 1, 'e', 0x0a, 1, 0xff};
    const struct way *way = find("catalog v2 Package");
    ProtobufCMessage *message = NULL;
    struct plan_failure failure = {0};
    assert_false(check_way(way, OF(in)));
    assert_int_equal(unpack(way->binding, way->entry, OF(in), &message, &failure), -EBADMSG);
    assert_string_equal(failure.what, "not UTF-8 without NUL");
    assert_int_equal(failure.number, 1);
}

static void test_carried_neighbours_share_a_carrier(void **state)
{
    (void)state;
    /* description, source; then with a text for a slot between, and with one that is stored. */
    static const uint8_t next[] = {0x52, 1, 'd', 0x62, 1, 's'};
    static const uint8_t taken[] = {0x52, 1, 'd', 0x42, 3, 0x0a, 1, 'h', 0x62, 1, 's'};
    static const uint8_t stored[] = {0x52, 1, 'd', 0x5a, 1, 'x', 0x62, 1, 's'};
    static const uint8_t again[] = {0x52, 1, 'd', 0x62, 1, 's', 0x62, 2, 't', 'u', 0x62, 1, 'v'};
    const struct way *way = find("catalog v2 Package");
    ProtobufCMessage *message = NULL;
    assert_true(check_way(way, OF(next)));
    assert_true(check_way(way, OF(taken)));
    assert_true(check_way(way, OF(stored)));
    assert_true(check_way(way, OF(again)));
    assert_int_equal(unpack(way->binding, way->entry, OF(taken), &message, NULL), 0);
    assert_int_equal(message->n_unknown_fields, 1);
    wire_free(message);
    assert_int_equal(unpack(way->binding, way->entry, OF(stored), &message, NULL), 0);
    assert_int_equal(message->n_unknown_fields, 2);
    wire_free(message);
}

static void test_a_carrier_grows_past_what_its_length_took(void **state)
{
    (void)state;
    struct bytes sources =
        many("\x62\x06source", 8, 3000); /* the length has one, two, three bytes */
    for (size_t count = 1; count < 3000; count += count / 8 + 1)
        assert_true(check_way(find("catalog v2 Package"), of(sources.data, 8 * count)));
    free(sources.data);
}

/* `name` of @bytes bytes. */
static struct bytes named(const uint8_t *text, size_t bytes)
{
    struct bytes in = {malloc(bytes + 2), bytes + 2};
    assert_non_null(in.data);
    assert_true(bytes < 0x80);
    in.data[0] = 0x0a;
    in.data[1] = (uint8_t)bytes;
    memcpy(in.data + 2, text, bytes);
    return in;
}

static void test_texts_are_checked_to_their_last_byte(void **state)
{
    (void)state;
    static const uint8_t bad[] = {0, 0x80, 0xc3};
    static const char *const names[] = {"catalog v2 Package", "shapes v1 Shape, identity"};
    uint8_t text[80];
    for (size_t bytes = 0; bytes < sizeof(text); bytes++) {
        for (size_t way = 0; way < 2; way++) {
            memset(text, 'a', sizeof(text));
            struct bytes in = named(text, bytes);
            assert_true(check_way(find(names[way]), in));
            for (size_t at = 0; at < bytes; at++) {
                in.data[2 + at] = bad[at % sizeof(bad)];
                assert_false(check_way(find(names[way]), in));
                if (at + 1 < bytes) {
                    memcpy(in.data + 2 + at, "\xc3\xa4", 2);
                    assert_true(check_way(find(names[way]), in));
                    in.data[2 + at + 1] = 'a';
                }
                in.data[2 + at] = 'a';
            }
            free(in.data);
        }
    }
}

static void test_nothing_passes_the_end_of_its_message(void **state)
{
    (void)state;
    /* A list of one package, and more behind it; what is in the package would end in there. */
    static const uint8_t text[] = {0x0a, 3, 0x0a, 3, 'n', 0x10, 1, 0x10, 1};
    static const uint8_t number[] = {0x0a, 2, 0x30, 0x80, 0x10, 1, 0x10, 1};
    static const uint8_t number_in_the_middle[] = {0x0a, 3, 0x30, 0x80, 0x80, 0x10, 1, 0x10, 1};
    static const uint8_t tag[] = {0x0a, 1, 0x82, 0x10, 1, 0x10, 1};
    static const uint8_t packed[] = {0x0a, 1, 0x5a, 0x10, 1, 0x10, 1};
    static const char *const names[] = {"catalog v1 ListReply", "catalog v2 ListReply"};
    for (size_t i = 0; i < 2; i++) {
        assert_false(check_way(find(names[i]), OF(text)));
        assert_false(check_way(find(names[i]), OF(number)));
        assert_false(check_way(find(names[i]), OF(number_in_the_middle)));
        assert_false(check_way(find(names[i]), OF(tag)));
        assert_false(check_way(find(names[i]), OF(packed)));
    }
}

static void test_tags_may_be_longer_than_they_need_be(void **state)
{
    (void)state;
    static const uint8_t in[] = {0x8a, 0x00, 1, 'n', 0xd2, 0x80, 0x00, 1, 'd', 0xe2, 0x00, 1, 's'};
    assert_true(check_way(find("catalog v2 Package"), OF(in)));
    assert_true(check_way(find("shapes v1 Shape, identity"), OF(in)));
}

static void test_limits_are_those_of_the_runner(void **state)
{
    (void)state;
    static const uint8_t name[] = {0x0a, 1, 'n'};
    static const char *const names[] = {"shapes v1 Shape", "shapes v1 Shape, identity"};
    for (size_t i = 0; i < 2; i++) {
        struct bytes most = many(name, sizeof(name), WIRE_FIELDS_MAX - 1);
        struct bytes over = many(name, sizeof(name), WIRE_FIELDS_MAX + 1);
        assert_true(check_way(find(names[i]), most));
        assert_false(check_way(find(names[i]), over));
        free(most.data);
        free(over.data);
    }
    /* Trees: field 2 in v2, messages to the 32nd level and past it. */
    uint8_t nested[200];
    for (unsigned levels = WIRE_DEPTH_MAX - 1; levels <= WIRE_DEPTH_MAX; levels++) {
        uint8_t *at = nested + sizeof(nested);
        for (unsigned i = 0; i < levels; i++) {
            uint8_t bytes = (uint8_t)(nested + sizeof(nested) - at);
            *--at = bytes;
            *--at = 0x12;
        }
        struct bytes in = {at, (size_t)(nested + sizeof(nested) - at)};
        assert_int_equal(check_way(find("shapes v2 Tree"), in), levels < WIRE_DEPTH_MAX);
    }
}

static void test_a_large_source_has_room_for_what_rules_make(void **state)
{
    (void)state;
    /* Past what the scratch on the stack is for: a homepage, which moves. */
    for (size_t bytes = 900; bytes < 5000; bytes += 700) {
        struct bytes in = {malloc(bytes + 3), bytes + 3};
        assert_non_null(in.data);
        in.data[0] = 0x4a;
        in.data[1] = (uint8_t)(bytes | 0x80);
        in.data[2] = (uint8_t)(bytes >> 7);
        memset(in.data + 3, 'h', bytes);
        assert_true(check_way(find("catalog v1 Package"), in));
        free(in.data);
    }
}

static void test_a_plan_for_other_structs_is_refused(void **state)
{
    (void)state;
    struct plan_binding *binding = NULL;
    struct error_text error = {""};
    assert_int_equal(plan_bind(catalog.up_replies, &catalog__v1__catalog__descriptor, PLAN_REPLIES,
                               &binding, &error),
                     -EBADMSG);
    assert_non_null(strstr(error.text, "catalog.v1.Package."));
    assert_null(binding);
}

static void test_no_such_method_is_an_error(void **state)
{
    (void)state;
    const struct way *way = find("shapes v1 Shape");
    ProtobufCMessage *message = NULL;
    struct plan_failure failure = {0};
    struct bytes nothing = {NULL, 0};
    /* Old is not in v2; there is no sixth. */
    assert_int_equal(unpack(way->binding, 2, nothing, &message, &failure), -EINVAL);
    assert_int_equal(unpack(way->binding, 5, nothing, &message, &failure), -EINVAL);
    assert_string_equal(failure.what, "no such method");
    assert_true(check_way(way, nothing));
}

/* ---- Machine code. All tests above compare it with the loop, where there is some. ---- */

static bool has_code(const struct plan_binding *binding)
{
    return atomic_load(&binding->code) != NULL;
}

static void unpack_a_name(const struct plan_binding *binding, uint32_t entry)
{
    static const uint8_t name[] = {0x0a, 1, 'n'};
    ProtobufCMessage *message = NULL;
    assert_int_equal(plan_unpack(binding, entry, name, sizeof(name), &message, NULL), 0);
    wire_free(message);
}

static bool may_have_code(void)
{
#if CODE_HAVE
    return code_allowed() && asm_cpu().avx2 && asm_cpu().bmi && !asm_cpu().shadow_stack;
#else
    return false;
#endif
}

static void test_machine_code_comes_when_a_plan_is_used_again(void **state)
{
    (void)state;
    const struct way *way = find("catalog v2 Package");
    plan_binding_use_code(way->binding, UNPACK_CODE_AT_ONCE);
    unpack_a_name(way->binding, way->entry);
    assert_int_equal(has_code(way->binding), may_have_code());
    plan_binding_use_code(way->binding, UNPACK_CODE_NEVER);
    unpack_a_name(way->binding, way->entry);
    assert_false(has_code(way->binding));
    struct plan_binding *fresh =
        must_bind(catalog.up_requests, &catalog__v2__catalog__descriptor, PLAN_REQUESTS);
    for (int i = 0; i < UNPACK_CODE_USES_BEFORE; i++)
        unpack_a_name(fresh, 0);
    assert_false(has_code(fresh));
    unpack_a_name(fresh, 0);
    assert_int_equal(has_code(fresh), may_have_code());
    plan_binding_unref(fresh);
}

static void test_without_machine_code_the_loop_does_it(void **state)
{
    (void)state;
    static const enum code_switch none[] = {CODE_OFF, CODE_REFUSED};
    const struct way *way = find("catalog v2 Package");
    for (size_t i = 0; i < 2; i++) {
        plan_binding_use_code(way->binding, UNPACK_CODE_NEVER);
        code_set_switch(none[i]);
        plan_binding_use_code(way->binding, UNPACK_CODE_AT_ONCE);
        unpack_a_name(way->binding, way->entry);
        code_set_switch(CODE_AS_SET);
        assert_false(has_code(way->binding));
    }
}

/* Messages as they are sent, cut off after each byte, and with each byte changed. */
static void test_every_truncation_and_changed_byte_is_alike(void **state)
{
    (void)state;
    for (size_t i = 0; i < way_count; i++) {
        for (uint64_t seed = 1; seed <= 12; seed++) {
            struct bytes in = message_for(&ways[i], seed, 0), cut = in;
            for (size_t at = 0; at < in.bytes && at < 400; at++) {
                static const uint8_t changes[] = {1, 2, 8, 0x20, 0x80, 0xff};
                const uint8_t byte = in.data[at];
                cut.bytes = at;
                (void)check_way(&ways[i], cut);
                in.data[at] ^= changes[(at + seed) % sizeof(changes)];
                (void)check_way(&ways[i], in);
                in.data[at] = byte;
            }
            free(in.data);
        }
    }
}

/* A package in a list, around the length that machine code takes, and around one of two bytes. */
static void test_nested_messages_of_any_length(void **state)
{
    (void)state;
    static const size_t lengths[] = {126,
                                     127,
                                     128,
                                     129,
                                     UNPACK_CODE_BYTES_MAX - 1,
                                     UNPACK_CODE_BYTES_MAX,
                                     UNPACK_CODE_BYTES_MAX + 1,
                                     1500,
                                     4000,
                                     7500,
                                     16383,
                                     16384};
    static const char *const names[] = {"catalog v1 ListReply", "catalog v2 ListReply"};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        uint8_t *data = malloc(lengths[i] + 16), *out = data;
        assert_non_null(data);
        *out++ = 0x0a;
        out = wire_write_varint(out, lengths[i]);
        for (size_t left = lengths[i]; left > 0;) {
            size_t bytes = left < 36 ? left : left == 36 ? 30 : 34; /* never one byte alone */
            *out++ = 0x12;
            *out++ = (uint8_t)(bytes - 2);
            memset(out, 'n', bytes - 2);
            out += bytes - 2;
            left -= bytes;
        }
        *out++ = 0x10;
        *out++ = 7;
        for (size_t j = 0; j < 2; j++)
            assert_true(check_way(find(names[j]), (struct bytes){data, (size_t)(out - data)}));
        free(data);
    }
}

/* Bytes with lengths of one, two and three bytes, which may be longer than they need be, in front
 * of another field and at the end; and that are not all there. */
static void test_bytes_of_any_length(void **state)
{
    (void)state;
    enum { BYTES_MAX = 16500 };
    static const size_t lengths[] = {0,   1,     126,   127,   128,   129, 255,
                                     256, 16382, 16383, 16384, 16385, 300};
    static uint8_t data[BYTES_MAX];
    const struct way *way = find("shapes v1 Shape, identity");
    for (size_t i = 0; i < 2 * sizeof(lengths) / sizeof(lengths[0]); i++) {
        const size_t bytes = lengths[i / 2];
        uint8_t *out = data;
        *out++ = 0x62; /* raw */
        out = wire_write_varint(out, bytes);
        if (i % 2 == 1) {
            out[-1] |= 0x80;
            *out++ = 0;
        }
        memset(out, 0xc3, bytes);
        out += bytes;
        *out++ = 0x30; /* size_kib */
        *out++ = 7;
        for (size_t less = 0; less <= 3; less++) /* with the number; cut; without it; not whole */
            assert_int_equal(check_way(way, (struct bytes){data, (size_t)(out - data) - less}),
                             less % 2 == 0);
    }
}

/* Around the lengths from which on a message needs another block, or goes another way. */
static void test_messages_as_long_as_blocks(void **state)
{
    (void)state;
    static uint8_t data[16384];
    const struct way *way = find("shapes v1 Shape, identity");
    const struct bound_table *table = way->binding->entries[way->entry];
    const size_t ends[] = {table->short_end, table->long_end, table->direct_end};
    assert_true(ends[0] > 0 && ends[0] < ends[1] && ends[1] < ends[2] && ends[2] > 4096 &&
                ends[2] < sizeof(data));
    for (size_t i = 0; i < 4 * sizeof(ends) / sizeof(ends[0]); i++) {
        const size_t bytes = ends[i / 4] - 2 + i % 4;
        data[0] = 0x62; /* raw, with a length of two bytes */
        (void)wire_write_varint(data + 1, bytes - 3);
        memset(data + 3, 0xc3, bytes - 3);
        assert_true(check_way(way, (struct bytes){data, bytes}));
        assert_false(check_way(way, (struct bytes){data, bytes - 1}));
    }
}

static void *unpack_often(void *binding)
{
    for (int i = 0; i < 2000; i++)
        unpack_a_name(binding, 0);
    return NULL;
}

static void test_threads_share_a_binding_while_its_code_is_made(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        struct plan_binding *binding =
            must_bind(catalog.up_requests, &catalog__v2__catalog__descriptor, PLAN_REQUESTS);
        pthread_t threads[4];
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, unpack_often, binding), 0);
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(has_code(binding), may_have_code());
        plan_binding_unref(binding);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_struct_is_what_protobuf_c_reads_of_the_translation),
        cmocka_unit_test(test_broken_messages_are_refused_alike),
        cmocka_unit_test(test_more_strings_than_can_wait_for_the_end_are_read),
        cmocka_unit_test(test_arrays_grow_packed_and_not),
        cmocka_unit_test(test_last_member_of_a_oneof_wins),
        cmocka_unit_test(test_a_message_in_pieces_is_merged),
        cmocka_unit_test(test_pieces_that_have_to_be_one_are_translated_as_one),
        cmocka_unit_test(test_what_is_wrong_in_a_message_in_pieces_is_said_of_the_whole),
        cmocka_unit_test(test_carried_neighbours_share_a_carrier),
        cmocka_unit_test(test_a_carrier_grows_past_what_its_length_took),
        cmocka_unit_test(test_texts_are_checked_to_their_last_byte),
        cmocka_unit_test(test_nothing_passes_the_end_of_its_message),
        cmocka_unit_test(test_tags_may_be_longer_than_they_need_be),
        cmocka_unit_test(test_limits_are_those_of_the_runner),
        cmocka_unit_test(test_a_large_source_has_room_for_what_rules_make),
        cmocka_unit_test(test_a_plan_for_other_structs_is_refused),
        cmocka_unit_test(test_no_such_method_is_an_error),
        cmocka_unit_test(test_machine_code_comes_when_a_plan_is_used_again),
        cmocka_unit_test(test_without_machine_code_the_loop_does_it),
        cmocka_unit_test(test_every_truncation_and_changed_byte_is_alike),
        cmocka_unit_test(test_nested_messages_of_any_length),
        cmocka_unit_test(test_bytes_of_any_length),
        cmocka_unit_test(test_messages_as_long_as_blocks),
        cmocka_unit_test(test_threads_share_a_binding_while_its_code_is_made),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
