/*
 * Packing: whatever a program may put into a struct, the bytes are those that protobuf-c writes.
 *
 * PARLEY_LAWS_COUNT says how many messages of each type, and how many generated versions.
 */
#include "support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../schema/sets.h"
#include "catalog_v1.pb-c.h"
#include "catalog_v2.pb-c.h"
#include "google/protobuf/descriptor.pb-c.h"
#include "laws/laws.h"
#include "shapes_v1.pb-c.h"
#include "shapes_v2.pb-c.h"
#include "support/random_struct.h"
#include "wire/wire.h"

#define GUARD 0xa5
#define GUARD_BYTES 64

static struct wire_packing *packing;

static int setup(void **state)
{
    (void)state;
    assert_int_equal(wire_packing_new(&packing), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    packing = wire_packing_free(packing);
    return 0;
}

static unsigned long how_many(void)
{
    const char *count = getenv("PARLEY_LAWS_COUNT");
    return count ? strtoul(count, NULL, 10) : 300;
}

static struct wire_packer *packer_of(const ProtobufCMessageDescriptor *type)
{
    struct wire_packer *packer = NULL;
    assert_int_equal(wire_packer_new(&type, 1, &packer), 0);
    return packer;
}

static uint8_t *theirs(const ProtobufCMessage *message, size_t *ret_bytes)
{
    *ret_bytes = protobuf_c_message_get_packed_size(message);
    uint8_t *data = malloc(*ret_bytes + 1);
    assert_non_null(data);
    assert_int_equal(protobuf_c_message_pack(message, data), *ret_bytes);
    return data;
}

/* Packs it to a place of so many bytes. True: the bytes are those, and little more was written;
 * false: the place is too small, and nothing was written outside of it. */
static bool check_at(const struct wire_packer *packer, size_t type, const ProtobufCMessage *message,
                     size_t room, const uint8_t *expected, size_t expected_bytes)
{
    size_t bytes = 0;
    uint8_t *out = malloc(room + GUARD_BYTES);
    assert_non_null(out);
    memset(out, GUARD, room + GUARD_BYTES);
    int r = wire_pack_at(packing, packer, type, message, out, room, &bytes);
    size_t touched = r == 0 ? bytes + WIRE_PACK_AT_OVER : room;
    assert_true(r == 0 || r == -ENOBUFS);
    for (size_t i = touched < room ? touched : room; i < room + GUARD_BYTES; i++)
        assert_int_equal(out[i], GUARD);
    if (r == 0) {
        assert_int_equal(bytes, expected_bytes);
        assert_memory_equal(out, expected, bytes);
    }
    free(out);
    return r == 0;
}

static void check_in_place(const struct wire_packer *packer, size_t type,
                           const ProtobufCMessage *message, const uint8_t *expected, size_t bytes)
{
    bool fits = check_at(packer, type, message, bytes + WIRE_PACK_AT_SLACK, expected, bytes);
    assert_true(fits || bytes >= 4096); /* long bytes may want a place of their own */
    size_t rooms[] = {WIRE_PACK_AT_SLACK, bytes / 2 + WIRE_PACK_AT_SLACK,
                      bytes > 0 ? bytes - 1 + WIRE_PACK_AT_SLACK : WIRE_PACK_AT_SLACK};
    for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++)
        (void)check_at(packer, type, message, rooms[i], expected, bytes);
}

/* The same bytes, and nothing behind them. */
static void check_with(const struct wire_packer *packer, size_t type,
                       const ProtobufCMessage *message)
{
    size_t expected_bytes, bytes = 0;
    uint8_t *expected = theirs(message, &expected_bytes);
    assert_int_equal(wire_pack(packing, packer, type, message, &bytes), 0);
    assert_int_equal(bytes, expected_bytes);
    uint8_t *out = malloc(bytes + GUARD_BYTES);
    assert_non_null(out);
    memset(out, GUARD, bytes + GUARD_BYTES);
    assert_int_equal(wire_pack_write(packing, out), 0);
    assert_memory_equal(out, expected, bytes);
    for (size_t i = 0; i < GUARD_BYTES; i++)
        assert_int_equal(out[bytes + i], GUARD);
    free(out);
    if (expected_bytes <= WIRE_PACK_WINDOW_BYTES)
        check_in_place(packer, type, message, expected, expected_bytes);
    free(expected);
}

static void check(const ProtobufCMessage *message)
{
    struct wire_packer *packer = packer_of(message->descriptor);
    check_with(packer, 0, message);
    wire_packer_free(packer);
}

/* ---- Any message ---- */

static void check_random(const ProtobufCMessageDescriptor *type, uint64_t seed, unsigned long count)
{
    struct random_structs structs = {.random = seed};
    struct wire_packer *packer = packer_of(type);
    for (unsigned long i = 0; i < count; i++) {
        structs.large_of_1000 = i % 10 == 0 ? 100 : 0;
        check_with(packer, 0, random_struct(&structs, type, i % 5));
        structs.used = 0;
    }
    wire_packer_free(packer);
}

static void test_packs_any_struct_as_protobuf_c(void **state)
{
    (void)state;
    static const ProtobufCMessageDescriptor *const types[] = {
        &catalog__v1__package__descriptor,
        &catalog__v2__list_reply__descriptor,
        &shapes__v1__shape__descriptor,
        &shapes__v2__shape__descriptor,
        &shapes__v1__plain__descriptor,
        &google__protobuf__file_descriptor_proto__descriptor,
        &google__protobuf__field_options__descriptor,
        &google__protobuf__uninterpreted_option__descriptor,
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        check_random(types[i], i, how_many());
}

static void test_packs_every_kind_of_proto2_and_proto3(void **state)
{
    (void)state;
    static const char *const sets[] = {KINDS_SET, KINDS2_SET};
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        struct schema *schema = schema_read(sets[i]);
        struct structs *structs = structs_new(schema);
        check_random(structs_service(structs)->methods[0].input, 10 + i, 4 * how_many());
        structs_free(structs);
        schema_unref(schema);
    }
}

static void test_packs_generated_types(void **state)
{
    (void)state;
    for (unsigned long seed = 0; seed < how_many(); seed++) {
        static struct version version;
        struct buffer set = {0};
        struct schema *schema = NULL;
        version_random(&version, seed);
        describe_set(&version, &set);
        assert_int_equal(schema_new(set.data, set.bytes, NULL, &schema, NULL), 0);
        struct structs *structs = structs_new(schema);
        check_random(structs_service(structs)->methods[0].input, seed, 12);
        structs_free(structs);
        schema_unref(schema);
        buffer_free(&set);
    }
}

/* Messages, too, may be required, and NULL all the same. */
static void test_required_fields_are_always_there(void **state)
{
    (void)state;
    ProtobufCMessageDescriptor type = catalog__v2__package__descriptor;
    ProtobufCFieldDescriptor *fields = must_alloc(type.n_fields * sizeof(*fields));
    memcpy(fields, type.fields, type.n_fields * sizeof(*fields));
    for (unsigned i = 0; i < type.n_fields; i++)
        if (fields[i].label == PROTOBUF_C_LABEL_NONE)
            fields[i].label = PROTOBUF_C_LABEL_REQUIRED;
    type.fields = fields;
    struct random_structs structs = {.random = 3};
    for (unsigned long i = 0; i < how_many(); i++) {
        ProtobufCMessage *message =
            random_struct(&structs, &catalog__v2__package__descriptor, i % 3);
        message->descriptor = &type;
        check(message);
        structs.used = 0;
    }
    Catalog__V2__Package empty = {.base = {.descriptor = &type}};
    check(&empty.base);
    free(fields);
}

static void test_packs_what_was_unpacked(void **state)
{
    (void)state;
    struct schema *schema = schema_read(CATALOG_V2_SET);
    const ProtobufCMessageDescriptor *type = &catalog__v2__package__descriptor;
    const struct schema_message *message_type = schema_service(schema)->methods[0].output;
    struct wire_packer *packer = packer_of(type);
    for (unsigned long seed = 0; seed < how_many(); seed++) {
        struct buffer wire = {0};
        ProtobufCMessage *message = NULL;
        message_random(message_type, seed, 10, &wire);
        if (wire_unpack(type, wire.data, wire.bytes, NULL, &message, NULL) == 0)
            check_with(packer, 0, message);
        wire_free(message);
        buffer_free(&wire);
    }
    wire_packer_free(packer);
    schema_unref(schema);
}

static void test_one_packer_serves_many_types(void **state)
{
    (void)state;
    const ProtobufCMessageDescriptor *const types[] = {&catalog__v1__package__descriptor,
                                                       &catalog__v1__list_reply__descriptor,
                                                       &catalog__v1__package__descriptor};
    struct wire_packer *packer = NULL;
    assert_int_equal(wire_packer_new(types, 3, &packer), 0);
    struct random_structs structs = {.random = 7};
    for (size_t i = 0; i < 3; i++)
        check_with(packer, i, random_struct(&structs, types[i], 2));
    wire_packer_free(packer);
}

static void test_empty_message_needs_no_place(void **state)
{
    (void)state;
    Catalog__V1__Package package = CATALOG__V1__PACKAGE__INIT;
    struct wire_packer *packer = packer_of(package.base.descriptor);
    size_t bytes = 1;
    assert_int_equal(wire_pack(packing, packer, 0, &package.base, &bytes), 0);
    assert_int_equal(bytes, 0);
    assert_int_equal(wire_pack_write(packing, NULL), 0);
    wire_packer_free(packer);
}

/* ---- Texts ---- */

static void test_text_may_end_where_its_page_ends(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(pages != MAP_FAILED);
    assert_int_equal(mprotect(pages + page, page, PROT_NONE), 0);
    memset(pages, 'x', page);
    pages[page - 1] = '\0';
    Catalog__V1__Package package = CATALOG__V1__PACKAGE__INIT;
    for (size_t bytes = 0; bytes < 200; bytes++) {
        package.name = pages + page - 1 - bytes;
        check(&package.base);
    }
    assert_int_equal(munmap(pages, 2 * page), 0);
}

static void test_text_may_begin_where_its_page_ends(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *pages = aligned_alloc(page, 2 * page);
    assert_non_null(pages);
    Catalog__V1__Package package = CATALOG__V1__PACKAGE__INIT;
    for (size_t before = 0; before <= 80; before++) {
        package.name = pages + page - before;
        for (size_t bytes = 0; bytes <= 150; bytes++) {
            for (size_t i = 0; i < bytes; i++)
                package.name[i] = (char)('a' + (before + i) % 26);
            package.name[bytes] = '\0';
            check(&package.base);
        }
    }
    free(pages);
}

static void test_text_of_any_length_is_packed(void **state)
{
    (void)state;
    static char text[WIRE_PACK_WINDOW_BYTES + 5000];
    memset(text, 'x', sizeof(text));
    Catalog__V1__Package package = CATALOG__V1__PACKAGE__INIT;
    package.id = text;
    package.summary = (char *)"behind it";
    for (size_t bytes = 0; bytes < sizeof(text); bytes += bytes < 300 ? 1 : 197) {
        text[bytes] = '\0';
        check(&package.base);
        text[bytes] = 'x';
    }
}

/* ---- In place: where another process may look ---- */

/* Of the memory around a text, in capitals, nothing is seen. */
static void assert_shows_no_more(const struct wire_packer *packer, char *text)
{
    uint8_t out[1024] = {0};
    size_t bytes;
    Catalog__V1__Package package = CATALOG__V1__PACKAGE__INIT;
    package.name = package.id = text;
    assert_int_equal(wire_pack_at(packing, packer, 0, &package.base, out, sizeof(out), &bytes), 0);
    for (size_t i = bytes; i < sizeof(out); i++)
        assert_false(out[i] >= 'A' && out[i] <= 'Z');
}

static void test_in_place_nothing_is_shown_that_is_not_in_the_message(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *pages = aligned_alloc(page, 2 * page);
    struct wire_packer *packer = packer_of(&catalog__v1__package__descriptor);
    assert_non_null(pages);
    for (size_t before = 0; before <= 100; before++) {
        for (size_t bytes = 0; bytes <= 80; bytes++) {
            char *text = pages + page - before;
            memset(pages, 'S', 2 * page);
            memset(text, 't', bytes);
            text[bytes] = '\0';
            assert_shows_no_more(packer, text);
        }
    }
    wire_packer_free(packer);
    free(pages);
}

static void test_in_place_a_message_of_another_type_is_left_to_who_says_so(void **state)
{
    (void)state;
    uint8_t out[WIRE_PACK_AT_SLACK];
    size_t bytes;
    struct wire_packer *packer = packer_of(&catalog__v1__package__descriptor);
    Catalog__V2__Package other = CATALOG__V2__PACKAGE__INIT;
    assert_int_equal(wire_pack_at(packing, packer, 0, &other.base, out, sizeof(out), &bytes),
                     -ENOBUFS);
    assert_int_equal(wire_pack(packing, packer, 0, &other.base, &bytes), -EINVAL);
    /* And the packing is as it was. */
    Catalog__V1__Package package = CATALOG__V1__PACKAGE__INIT;
    package.name = (char *)"after it";
    check_with(packer, 0, &package.base);
    wire_packer_free(packer);
}

/* ---- Small and large ---- */

/* Nested messages of that many bytes. */
static void check_nested(size_t bytes)
{
    char *text = malloc(bytes + 1);
    assert_non_null(text);
    memset(text, 'n', bytes);
    text[bytes] = '\0';
    Catalog__V2__Contact contact = CATALOG__V2__CONTACT__INIT;
    contact.name = text;
    contact.email = (char *)"a@b";
    Catalog__V2__Package package = CATALOG__V2__PACKAGE__INIT,
                         *packages[3] = {&package, &package, &package};
    package.maintainer = &contact;
    package.synopsis = (char *)"short";
    Catalog__V2__ListReply reply = CATALOG__V2__LIST_REPLY__INIT;
    reply.n_package = 3;
    reply.package = packages;
    check(&reply.base);
    free(text);
}

static void test_length_of_a_nested_message_takes_what_it_needs(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 400; bytes++)
        check_nested(bytes);
    for (size_t bytes = WIRE_PACK_WINDOW_BYTES / 3 - 100; bytes < WIRE_PACK_WINDOW_BYTES / 3 + 100;
         bytes++)
        check_nested(bytes);
    for (size_t bytes = WIRE_PACK_WINDOW_BYTES - 200; bytes < WIRE_PACK_WINDOW_BYTES + 200; bytes++)
        check_nested(bytes);
    check_nested((2 << 20) - 20);
    check_nested((2 << 20) + 20);
}

/* What does not fit into the window fits into it in pieces, wherever the cut is. */
static void test_many_small_fields_make_a_large_message(void **state)
{
    (void)state;
    enum { COUNT = 12000, BYTES = 17 /* of each, with tag and length */ };
    static char *depends[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        depends[i] = (char *)&"0123456789012345678901234567890"[i % 31];
    Catalog__V1__Package package = CATALOG__V1__PACKAGE__INIT;
    package.depends = depends;
    for (size_t i = 0; i < 300; i++) {
        package.n_depends = WIRE_PACK_WINDOW_BYTES / BYTES - 150 + i;
        check(&package.base);
    }
    package.n_depends = COUNT;
    check(&package.base);
}

static void test_arrays_of_numbers_of_any_width_are_packed(void **state)
{
    (void)state;
    struct schema *schema = schema_read(KINDS_SET);
    struct structs *structs = structs_new(schema);
    const ProtobufCMessageDescriptor *type = structs_service(structs)->methods[0].input;
    const ProtobufCFieldDescriptor *numbers = protobuf_c_message_descriptor_get_field(type, 19);
    ProtobufCMessage *message = must_alloc(type->sizeof_message);
    enum { COUNT = 70000 };
    int32_t *array = must_alloc(COUNT * sizeof(*array));
    type->message_init(message);
    memcpy((uint8_t *)message + numbers->offset, &array, sizeof(array));
    static const int32_t values[] = {0, 127, 128, 16384, INT32_MAX, -1, INT32_MIN};
    for (size_t value = 0; value < sizeof(values) / sizeof(values[0]); value++) {
        for (size_t i = 0; i < COUNT; i++)
            array[i] = values[value];
        for (size_t count = 1; count <= COUNT; count = count < 200 ? count + 1 : 6 * count) {
            memcpy((uint8_t *)message + numbers->quantifier_offset, &count, sizeof(count));
            check(message);
        }
    }
    free(array);
    free(message);
    structs_free(structs);
    schema_unref(schema);
}

/* ---- Limits ---- */

/* A message of exactly that many bytes, one nested in it. */
static int pack_bytes(size_t bytes, bool nested)
{
    Google__Protobuf__UninterpretedOption option = GOOGLE__PROTOBUF__UNINTERPRETED_OPTION__INIT,
                                          *options[] = {&option};
    Google__Protobuf__FieldOptions field = GOOGLE__PROTOBUF__FIELD_OPTIONS__INIT;
    field.n_uninterpreted_option = 1;
    field.uninterpreted_option = options;
    size_t head = 1 + 4 + (nested ? 2 + 4 : 0);
    option.has_string_value = true;
    option.string_value.len = bytes - head;
    option.string_value.data = calloc(1, bytes);
    assert_non_null(option.string_value.data);
    const ProtobufCMessage *message = nested ? &field.base : &option.base;
    assert_int_equal(protobuf_c_message_get_packed_size(message), bytes);
    struct wire_packer *packer = packer_of(message->descriptor);
    size_t packed = 0;
    int r = wire_pack(packing, packer, 0, message, &packed);
    if (r == 0) {
        assert_int_equal(packed, bytes);
        uint8_t *out = malloc(bytes);
        assert_non_null(out);
        assert_int_equal(wire_pack_write(packing, out), 0);
        free(out);
    }
    wire_packer_free(packer);
    free(option.string_value.data);
    return r;
}

static void test_largest_message_is_packed_and_one_larger_is_not(void **state)
{
    (void)state;
    for (int nested = 0; nested < 2; nested++) {
        assert_int_equal(pack_bytes(WIRE_MESSAGE_BYTES_MAX, nested), 0);
        assert_int_equal(pack_bytes(WIRE_MESSAGE_BYTES_MAX + 1, nested), -E2BIG);
    }
}

/* Messages in messages, @depth of them; @cyclic: the innermost holds the outermost. */
static int pack_tree(size_t depth, bool cyclic, size_t padding)
{
    Shapes__V1__Tree trees[WIRE_DEPTH_MAX + 2], *pointers[WIRE_DEPTH_MAX + 2];
    assert_true(depth <= sizeof(trees) / sizeof(trees[0]));
    uint8_t *unknown = calloc(1, padding + 1);
    assert_non_null(unknown);
    ProtobufCMessageUnknownField field = {
        .tag = 9, .wire_type = PROTOBUF_C_WIRE_TYPE_32BIT, .len = padding, .data = unknown};
    for (size_t i = 0; i < depth; i++) {
        shapes__v1__tree__init(&trees[i]);
        pointers[i] = &trees[(i + 1) % depth];
        trees[i].tree = &pointers[i];
        trees[i].n_tree = i + 1 < depth || cyclic;
    }
    trees[depth - 1].base.n_unknown_fields = 1;
    trees[depth - 1].base.unknown_fields = &field;
    struct wire_packer *packer = packer_of(&shapes__v1__tree__descriptor);
    size_t bytes = 0;
    int r = wire_pack(packing, packer, 0, &trees[0].base, &bytes);
    if (r == 0)
        check_with(packer, 0, &trees[0].base);
    wire_packer_free(packer);
    free(unknown);
    return r;
}

static void test_deepest_message_is_packed_and_one_deeper_is_not(void **state)
{
    (void)state;
    static const size_t paddings[] = {0, 100, 3000, 90000};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pack_tree(1, false, paddings[i]), 0);
        assert_int_equal(pack_tree(WIRE_DEPTH_MAX, false, paddings[i]), 0);
        assert_int_equal(pack_tree(WIRE_DEPTH_MAX + 1, false, paddings[i]), -ELOOP);
    }
}

static void test_message_that_holds_itself_is_an_error(void **state)
{
    (void)state;
    for (size_t depth = 1; depth < 5; depth++)
        assert_int_equal(pack_tree(depth, true, 0), -ELOOP);
}

/* Each level holds the next many times: the number of nested messages is that of the struct's. */
static void test_many_nested_messages_are_packed(void **state)
{
    (void)state;
    enum { COUNT = 500 };
    Shapes__V1__Tree outer = SHAPES__V1__TREE__INIT, inner = outer, leaf = outer;
    static Shapes__V1__Tree *inners[COUNT], *leaves[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        inners[i] = &inner;
        leaves[i] = &leaf;
    }
    outer.n_tree = inner.n_tree = COUNT;
    outer.tree = inners;
    inner.tree = leaves;
    check(&outer.base);
}

/* ---- What is no such message ---- */

static void test_message_of_another_type_is_refused(void **state)
{
    (void)state;
    size_t bytes;
    struct wire_packer *packer = packer_of(&catalog__v2__package__descriptor);
    Catalog__V1__Package other = CATALOG__V1__PACKAGE__INIT;
    assert_int_equal(wire_pack(packing, packer, 0, &other.base, &bytes), -EINVAL);
    Catalog__V2__Package package = CATALOG__V2__PACKAGE__INIT;
    package.maintainer = (Catalog__V2__Contact *)(void *)&other;
    assert_int_equal(wire_pack(packing, packer, 0, &package.base, &bytes), -EINVAL);
    Catalog__V2__Contact forgotten = {.name = (char *)"not initialized"};
    package.maintainer = &forgotten;
    assert_int_equal(wire_pack(packing, packer, 0, &package.base, &bytes), -EINVAL);
    wire_packer_free(packer);
}

static void test_another_copy_of_the_same_type_is_taken(void **state)
{
    (void)state;
    ProtobufCMessageDescriptor copy = catalog__v2__contact__descriptor;
    Catalog__V2__Contact contact = CATALOG__V2__CONTACT__INIT;
    contact.base.descriptor = &copy;
    contact.name = (char *)"Ann";
    Catalog__V2__Package package = CATALOG__V2__PACKAGE__INIT;
    package.maintainer = &contact;
    check(&package.base);
}

static void test_message_that_changes_meanwhile_is_found_out(void **state)
{
    (void)state;
    enum { COUNT = 2 * WIRE_PACK_WINDOW_BYTES };
    static char text[COUNT + 200];
    memset(text, 'x', sizeof(text) - 1);
    static uint8_t out[2 * sizeof(text)];
    Catalog__V2__Contact contact = CATALOG__V2__CONTACT__INIT;
    Catalog__V2__Package package = CATALOG__V2__PACKAGE__INIT;
    contact.name = text;
    package.maintainer = &contact;
    struct wire_packer *packer = packer_of(package.base.descriptor);
    for (int change = 0; change < 4; change++) {
        size_t bytes = 0;
        contact.email = (char *)"";
        package.maintainer = &contact;
        package.synopsis = (char *)"";
        text[COUNT] = '\0';
        assert_int_equal(wire_pack(packing, packer, 0, &package.base, &bytes), 0);
        memset(out, GUARD, sizeof(out));
        if (change == 0)
            text[COUNT] = 'x'; /* longer */
        else if (change == 1)
            text[COUNT / 2] = '\0'; /* shorter */
        else if (change == 2)
            package.maintainer = NULL;
        else
            package.synopsis = (char *)"more";
        assert_int_equal(wire_pack_write(packing, out), -ESTALE);
        for (size_t i = bytes; i < sizeof(out); i++)
            assert_int_equal(out[i], GUARD);
        text[COUNT / 2] = 'x';
    }
    wire_packer_free(packer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packs_any_struct_as_protobuf_c),
        cmocka_unit_test(test_packs_every_kind_of_proto2_and_proto3),
        cmocka_unit_test(test_packs_generated_types),
        cmocka_unit_test(test_required_fields_are_always_there),
        cmocka_unit_test(test_packs_what_was_unpacked),
        cmocka_unit_test(test_one_packer_serves_many_types),
        cmocka_unit_test(test_empty_message_needs_no_place),
        cmocka_unit_test(test_text_may_end_where_its_page_ends),
        cmocka_unit_test(test_text_may_begin_where_its_page_ends),
        cmocka_unit_test(test_text_of_any_length_is_packed),
        cmocka_unit_test(test_in_place_nothing_is_shown_that_is_not_in_the_message),
        cmocka_unit_test(test_in_place_a_message_of_another_type_is_left_to_who_says_so),
        cmocka_unit_test(test_length_of_a_nested_message_takes_what_it_needs),
        cmocka_unit_test(test_many_small_fields_make_a_large_message),
        cmocka_unit_test(test_arrays_of_numbers_of_any_width_are_packed),
        cmocka_unit_test(test_largest_message_is_packed_and_one_larger_is_not),
        cmocka_unit_test(test_deepest_message_is_packed_and_one_deeper_is_not),
        cmocka_unit_test(test_message_that_holds_itself_is_an_error),
        cmocka_unit_test(test_many_nested_messages_are_packed),
        cmocka_unit_test(test_message_of_another_type_is_refused),
        cmocka_unit_test(test_another_copy_of_the_same_type_is_taken),
        cmocka_unit_test(test_message_that_changes_meanwhile_is_found_out),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
