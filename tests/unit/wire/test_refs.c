/*
 * Bytes that are referred to: packed so, and expanded again, it is the message that was meant.
 */
#include "support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "google/protobuf/descriptor.pb-c.h"
#include "wire/wire.h"

#define MESSAGE_BYTES_MAX 65536
#define MIB ((size_t)1 << 20)

struct bytes {
    uint8_t data[MESSAGE_BYTES_MAX];
    size_t count;
};

static uint8_t *content; /* what is referred to */
static struct wire_packing *packing;

static int setup(void **state)
{
    (void)state;
    assert_int_equal(wire_packing_new(&packing), 0);
    content = malloc(65 * MIB);
    for (size_t i = 0; i < 65 * MIB; i++)
        content[i] = (uint8_t)(i * 2654435761u >> 13);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(content);
    packing = wire_packing_free(packing);
    return 0;
}

/* What stands for the bytes here. */
static void write_stand_in(uint8_t *out, size_t index)
{
    memset(out, 0xff, WIRE_REF_BYTES);
    out[WIRE_REF_BYTES - 1] = (uint8_t)index;
}

/* Puts a field with a length around what there is. */
static void wrap(uint8_t **message, size_t *bytes, uint32_t number)
{
    uint8_t *outer = malloc(*bytes + 16);
    uint8_t *pos = wire_write_varint(wire_write_tag(outer, number, WIRE_BYTES), *bytes);
    memcpy(pos, *message, *bytes);
    free(*message);
    *bytes = (size_t)(pos - outer) + *bytes;
    *message = outer;
}

/* A message of @depth - 1 messages around a field of that content. @ret_place: where it is. */
static uint8_t *nested(const uint8_t *data, size_t data_bytes, unsigned depth, size_t *ret_bytes,
                       size_t *ret_place)
{
    uint8_t *message = malloc(data_bytes + 1);
    size_t bytes = data_bytes;
    memcpy(message, data, bytes);
    for (unsigned i = 0; i < depth; i++)
        wrap(&message, &bytes, i + 1);
    *ret_bytes = bytes;
    *ret_place = bytes - data_bytes;
    return message;
}

static void assert_expands(size_t data_bytes, unsigned depth)
{
    uint8_t stand_in[WIRE_REF_BYTES], *expanded;
    size_t bytes, place, expected_bytes, expanded_bytes, unused;
    write_stand_in(stand_in, 0);
    uint8_t *message = nested(stand_in, sizeof(stand_in), depth, &bytes, &place);
    uint8_t *expected = nested(content, data_bytes, depth, &expected_bytes, &unused);
    struct wire_ref ref = {content, (uint32_t)data_bytes, (uint32_t)place};
    assert_int_equal(wire_expand(message, bytes, &ref, 1, &expanded, &expanded_bytes), 0);
    assert_int_equal(expanded_bytes, expected_bytes);
    assert_memory_equal(expanded, expected, expected_bytes);
    free(expanded);
    free(message);
    free(expected);
}

static void test_lengths_around_it_grow_from_one_byte_to_four(void **state)
{
    (void)state;
    static const size_t sizes[] = {0,     1,     16,      100,         127,    128,
                                   16383, 16384, 2097151, 2 * MIB + 1, 5 * MIB};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_expands(sizes[i], 1);
        assert_expands(sizes[i], 2);
        assert_expands(sizes[i], WIRE_DEPTH_MAX);
    }
}

/* ---- Several, with other fields around them ---- */

static void put(struct bytes *to, const void *data, size_t bytes)
{
    assert_true(bytes <= MESSAGE_BYTES_MAX - to->count);
    memcpy(to->data + to->count, data, bytes);
    to->count += bytes;
}

static void put_field(struct bytes *to, uint32_t number, const void *data, size_t bytes)
{
    uint8_t head[16];
    uint8_t *pos = wire_write_varint(wire_write_tag(head, number, WIRE_BYTES), bytes);
    put(to, head, (size_t)(pos - head));
    put(to, data, bytes);
}

static void put_others(struct bytes *to)
{
    static const uint8_t others[] = {0x08, 0x96, 0x01, 0x15, 1,    2,    3,    4,   0x19,
                                     1,    2,    3,    4,    5,    6,    7,    8,   0x22,
                                     0x03, 'a',  'b',  'c',  0x2b, 0x08, 0x01, 0x2c};
    put(to, others, sizeof(others));
}

/* A field, and one more in a message; both or none are stand-ins. @ret_place of the first is set.
 */
static void put_pair(struct bytes *to, bool whole, uint32_t index, struct wire_ref *refs)
{
    struct bytes *inner = calloc(1, sizeof(*inner));
    for (uint32_t i = 0; i < 2; i++) {
        uint8_t stand_in[WIRE_REF_BYTES];
        struct wire_ref *ref = &refs[index + i];
        struct bytes *message = i == 0 ? to : inner;
        write_stand_in(stand_in, index + i);
        put_others(message);
        *ref = (struct wire_ref){content + 64 * (index + i), 200 * (index + i), 0};
        if (whole)
            put_field(message, 7, ref->data, ref->bytes);
        else
            put_field(message, 7, stand_in, sizeof(stand_in));
        ref->place = (uint32_t)(message->count - sizeof(stand_in));
        put_others(message);
    }
    put_field(to, 9, inner->data, inner->count);
    refs[index + 1].place += (uint32_t)(to->count - inner->count);
    free(inner);
}

static void build(struct bytes *to, bool whole, struct wire_ref *refs)
{
    to->count = 0;
    for (uint32_t i = 0; i < WIRE_REFS_MAX; i += 2)
        put_pair(to, whole, i, refs);
}

static int expand(const struct bytes *message, const struct wire_ref *refs, size_t count,
                  struct bytes *expected)
{
    uint8_t *out = NULL;
    size_t bytes = 0;
    int r = wire_expand(message->data, message->count, refs, count, &out, &bytes);
    if (r == 0 && expected) {
        assert_int_equal(bytes, expected->count);
        assert_memory_equal(out, expected->data, bytes);
    }
    free(out);
    return r;
}

static void test_as_many_as_there_may_be_and_no_more(void **state)
{
    (void)state;
    struct wire_ref refs[WIRE_REFS_MAX + 1] = {0}, unused[WIRE_REFS_MAX];
    struct bytes *message = calloc(1, sizeof(*message)), *expected = calloc(1, sizeof(*expected));
    build(expected, true, unused);
    build(message, false, refs);
    assert_int_equal(expand(message, refs, WIRE_REFS_MAX, expected), 0);
    assert_int_equal(expand(message, refs, WIRE_REFS_MAX + 1, NULL), -E2BIG);
    free(message);
    free(expected);
}

static void test_a_place_that_is_no_field_s_content_is_refused(void **state)
{
    (void)state;
    struct wire_ref refs[WIRE_REFS_MAX];
    struct bytes *message = calloc(1, sizeof(*message));
    build(message, false, refs);
    uint32_t accepted = 0;
    for (uint32_t place = 0; place < message->count + 20; place++) {
        struct wire_ref ref = {content, 5000, place};
        int r = expand(message, &ref, 1, NULL);
        assert_true(r == 0 || r == -EBADMSG);
        bool right = false;
        for (size_t i = 0; i < WIRE_REFS_MAX; i++)
            right = right || refs[i].place == place;
        assert_int_equal(r == 0, right);
        accepted += r == 0;
    }
    assert_int_equal(accepted, WIRE_REFS_MAX);
    /* In another order, or twice. */
    struct wire_ref swapped[] = {refs[1], refs[0]}, twice[] = {refs[0], refs[0]};
    assert_int_equal(expand(message, swapped, 2, NULL), -EBADMSG);
    assert_int_equal(expand(message, twice, 2, NULL), -EBADMSG);
    free(message);
}

static void test_a_message_that_is_cut_off_is_refused_or_as_short(void **state)
{
    (void)state;
    struct wire_ref refs[WIRE_REFS_MAX];
    struct bytes *message = calloc(1, sizeof(*message));
    build(message, false, refs);
    size_t whole = message->count;
    uint8_t *exact;
    for (size_t cut = 0; cut < whole; cut++) {
        uint8_t *out = NULL;
        size_t bytes = 0;
        exact = malloc(cut + 1); /* so that a sanitizer sees what is read behind it */
        memcpy(exact, message->data, cut);
        int r = wire_expand(exact, cut, refs, WIRE_REFS_MAX, &out, &bytes);
        assert_int_equal(r, cut < refs[WIRE_REFS_MAX - 1].place + WIRE_REF_BYTES ? -EBADMSG : r);
        free(out);
        free(exact);
    }
    free(message);
}

static void test_too_deep_and_too_large_are_refused(void **state)
{
    (void)state;
    uint8_t stand_in[WIRE_REF_BYTES], *expanded = NULL;
    size_t bytes, place, expanded_bytes;
    write_stand_in(stand_in, 0);
    uint8_t *message = nested(stand_in, sizeof(stand_in), WIRE_DEPTH_MAX + 1, &bytes, &place);
    struct wire_ref ref = {content, 5000, (uint32_t)place};
    assert_int_equal(wire_expand(message, bytes, &ref, 1, &expanded, &expanded_bytes), -EBADMSG);
    free(message);
    message = nested(stand_in, sizeof(stand_in), 1, &bytes, &place);
    ref = (struct wire_ref){content, WIRE_MESSAGE_BYTES_MAX - 5, (uint32_t)place};
    assert_int_equal(wire_expand(message, bytes, &ref, 1, &expanded, &expanded_bytes), 0);
    assert_int_equal(expanded_bytes, WIRE_MESSAGE_BYTES_MAX);
    free(expanded);
    ref.bytes++;
    assert_int_equal(wire_expand(message, bytes, &ref, 1, &expanded, &expanded_bytes), -E2BIG);
    free(message);
}

/* ---- Packing with references ---- */

struct referring {
    const uint8_t *begin, *end;
    size_t asked, most;
    struct wire_ref refs[WIRE_REFS_MAX]; /* their places are not known yet */
};

static bool is_referred(void *userdata, const uint8_t *data, size_t bytes, size_t before,
                        uint8_t *stand_in)
{
    struct referring *referring = userdata;
    assert_true(bytes >= WIRE_REF_BYTES_MIN);
    referring->asked++;
    if (data < referring->begin || data + bytes > referring->end || before >= referring->most)
        return false;
    referring->refs[before] = (struct wire_ref){data, (uint32_t)bytes, 0};
    write_stand_in(stand_in, before);
    return true;
}

/* A file of messages in messages: @text makes lengths around the bytes what they are, @bulk makes
 * the message one that is measured. */
struct nest {
    Google__Protobuf__UninterpretedOption options[20];
    Google__Protobuf__UninterpretedOption *option_list[20];
    Google__Protobuf__FieldOptions field_options;
    Google__Protobuf__FieldDescriptorProto field, *field_list[1];
    Google__Protobuf__DescriptorProto message, *message_list[2], last;
    Google__Protobuf__FileDescriptorProto file;
};

static void nest_init(struct nest *nest, size_t count, const uint8_t *data, size_t bytes,
                      char *text, char *bulk)
{
    for (size_t i = 0; i < count; i++) {
        google__protobuf__uninterpreted_option__init(&nest->options[i]);
        nest->options[i].has_string_value = true;
        nest->options[i].string_value.data = (uint8_t *)(uintptr_t)data + i;
        nest->options[i].string_value.len = bytes;
        nest->options[i].identifier_value = i % 3 ? NULL : text;
        nest->option_list[i] = &nest->options[i];
    }
    google__protobuf__field_options__init(&nest->field_options);
    nest->field_options.n_uninterpreted_option = count;
    nest->field_options.uninterpreted_option = nest->option_list;
    google__protobuf__field_descriptor_proto__init(&nest->field);
    nest->field.name = text;
    nest->field.options = &nest->field_options;
    nest->field_list[0] = &nest->field;
    google__protobuf__descriptor_proto__init(&nest->message);
    nest->message.n_field = 1;
    nest->message.field = nest->field_list;
    nest->last = nest->message;
    nest->last.name = bulk;
    nest->message_list[0] = &nest->message;
    nest->message_list[1] = &nest->last;
    google__protobuf__file_descriptor_proto__init(&nest->file);
    nest->file.name = text;
    nest->file.n_message_type = bulk ? 2 : 1;
    nest->file.message_type = nest->message_list;
}

/* What is packed with references, and expanded, is what is packed without. */
static void check_refs(const ProtobufCMessage *message, struct referring *referring, size_t count)
{
    struct wire_packer *packer = NULL;
    assert_int_equal(wire_packer_new(&message->descriptor, 1, &packer), 0);
    size_t bytes = 0, expanded_bytes, expected_bytes, ref_count;
    uint8_t *expected = malloc(protobuf_c_message_get_packed_size(message) + 1), *expanded = NULL;
    expected_bytes = protobuf_c_message_pack(message, expected);
    assert_int_equal(wire_pack_refs(packing, packer, 0, message, is_referred, referring, &bytes),
                     0);
    uint8_t *out = malloc(bytes + 1);
    assert_int_equal(wire_pack_write(packing, out), 0);
    const uint32_t *places = wire_packed_places(packing, &ref_count);
    struct wire_ref *refs = referring->refs;
    assert_int_equal(ref_count, count);
    for (size_t i = 0; i < ref_count; i++)
        refs[i].place = places[i];
    assert_int_equal(wire_expand(out, bytes, refs, ref_count, &expanded, &expanded_bytes), 0);
    assert_int_equal(expanded_bytes, expected_bytes);
    assert_memory_equal(expanded, expected, expected_bytes);
    for (size_t i = 0; i < ref_count; i++) {
        uint8_t stand_in[WIRE_REF_BYTES];
        write_stand_in(stand_in, i);
        assert_memory_equal(out + refs[i].place, stand_in, sizeof(stand_in));
    }
    /* And without, again. */
    assert_int_equal(wire_pack_again(packing, &bytes), 0);
    assert_int_equal(bytes, expected_bytes);
    free(out);
    free(expanded);
    free(expected);
    wire_packer_free(packer);
}

static void test_references_are_where_they_are_said_to_be(void **state)
{
    (void)state;
    static const size_t texts[] = {0, 1, 60, 90, 100, 110, 120, 130, 5000, 16300, 16383, 17000};
    uint8_t *data = malloc(100000);
    memset(data, 'd', 100000);
    char *text = malloc(20001), *bulk = malloc(70001);
    memset(text, 't', 20000);
    memset(bulk, 'b', 70000);
    bulk[70000] = '\0';
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        for (size_t count = 0; count <= 20; count += 4) {
            struct nest nest;
            struct referring referring = {data, data + 100000, 0, WIRE_REFS_MAX, {{0}}};
            text[texts[i]] = '\0';
            nest_init(&nest, count, data, 50000, text, NULL);
            check_refs(&nest.file.base, &referring, count < WIRE_REFS_MAX ? count : WIRE_REFS_MAX);
            nest_init(&nest, count, data, 50000, text, bulk);
            check_refs(&nest.file.base, &referring,
                       2 * count < WIRE_REFS_MAX ? 2 * count : WIRE_REFS_MAX);
            text[texts[i]] = 't';
        }
    }
    free(data);
    free(text);
    free(bulk);
}

static void test_nobody_is_asked_about_what_is_short(void **state)
{
    (void)state;
    uint8_t data[WIRE_REF_BYTES_MIN + 8] = {0};
    struct referring referring = {data, data + sizeof(data), 0, WIRE_REFS_MAX, {{0}}};
    struct nest nest;
    nest_init(&nest, 1, data, WIRE_REF_BYTES_MIN - 1, NULL, NULL);
    check_refs(&nest.file.base, &referring, 0);
    assert_int_equal(referring.asked, 0);
    nest_init(&nest, 1, data, WIRE_REF_BYTES_MIN, NULL, NULL);
    check_refs(&nest.file.base, &referring, 1);
    nest_init(&nest, 1, data, WIRE_REF_BYTES_MIN, NULL, NULL);
    referring.most = 0;
    check_refs(&nest.file.base, &referring, 0);
}

static void test_what_is_referred_to_counts_for_the_limit(void **state)
{
    (void)state;
    uint8_t *data = malloc(WIRE_MESSAGE_BYTES_MAX / 2);
    struct referring referring = {data, data + WIRE_MESSAGE_BYTES_MAX / 2, 0, WIRE_REFS_MAX, {{0}}};
    struct nest nest;
    size_t bytes;
    const ProtobufCMessageDescriptor *type = &google__protobuf__file_descriptor_proto__descriptor;
    struct wire_packer *packer = NULL;
    assert_int_equal(wire_packer_new(&type, 1, &packer), 0);
    nest_init(&nest, 2, data, WIRE_MESSAGE_BYTES_MAX / 2 - 100, NULL, NULL);
    assert_int_equal(
        wire_pack_refs(packing, packer, 0, &nest.file.base, is_referred, &referring, &bytes), 0);
    assert_true(bytes < 200);
    nest_init(&nest, 3, data, WIRE_MESSAGE_BYTES_MAX / 2 - 100, NULL, NULL);
    assert_int_equal(
        wire_pack_refs(packing, packer, 0, &nest.file.base, is_referred, &referring, &bytes),
        -E2BIG);
    wire_packer_free(packer);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths_around_it_grow_from_one_byte_to_four),
        cmocka_unit_test(test_as_many_as_there_may_be_and_no_more),
        cmocka_unit_test(test_a_place_that_is_no_field_s_content_is_refused),
        cmocka_unit_test(test_a_message_that_is_cut_off_is_refused_or_as_short),
        cmocka_unit_test(test_too_deep_and_too_large_are_refused),
        cmocka_unit_test(test_references_are_where_they_are_said_to_be),
        cmocka_unit_test(test_nobody_is_asked_about_what_is_short),
        cmocka_unit_test(test_what_is_referred_to_counts_for_the_limit),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
