#include "support/test.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "google/protobuf/descriptor.pb-c.h"
#include "wire/wire.h"

/* descriptor.proto has what is needed here: proto2, required fields, recursion, packed numbers. */
#define FILE_TYPE &google__protobuf__file_descriptor_proto__descriptor
#define MESSAGE_TYPE &google__protobuf__descriptor_proto__descriptor
#define LOCATION_TYPE &google__protobuf__source_code_info__location__descriptor
#define OPTION_TYPE &google__protobuf__uninterpreted_option__descriptor
#define NAME_PART_TYPE &google__protobuf__uninterpreted_option__name_part__descriptor
#define FIELD_OPTIONS_TYPE &google__protobuf__field_options__descriptor

#define READER(bytes)                                                                              \
    {                                                                                              \
        (bytes), (bytes) + sizeof(bytes)                                                           \
    }

static int check(const ProtobufCMessageDescriptor *type, const void *data, size_t bytes)
{
    struct error_text error = {""};
    int r = wire_check(type, data, bytes, NULL, &error);
    assert_true((r == 0) == (error.text[0] == '\0'));
    if (r == 0) {
        ProtobufCMessage *message = NULL;
        assert_int_equal(wire_unpack_checked(type, data, bytes, &message), 0);
        assert_non_null(message);
        wire_free(message);
    }
    return r;
}

#define CHECK(type, ...)                                                                           \
    check(type, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void test_varints_survive_a_round_trip_at_every_size(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits <= 64; bits++) {
        uint64_t value = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - (bits & 1);
        uint8_t buffer[10];
        uint8_t *end = wire_write_varint(buffer, value);
        assert_int_equal(end - buffer, wire_varint_size(value));
        struct wire_reader reader = {buffer, end};
        uint64_t got = ~value;
        assert_int_equal(wire_read_varint(&reader, &got), 0);
        assert_true(got == value);
        assert_ptr_equal(reader.pos, end);
        reader = (struct wire_reader){buffer, end - 1};
        assert_int_equal(wire_read_varint(&reader, &got), -EBADMSG);
        assert_ptr_equal(reader.pos, buffer);
    }
}

static void test_padded_varint_is_read(void **state)
{
    (void)state;
    const uint8_t bytes[] = {0x81, 0x80, 0x00};
    struct wire_reader reader = READER(bytes);
    uint64_t value = 0;
    assert_int_equal(wire_read_varint(&reader, &value), 0);
    assert_int_equal(value, 1);
}

static void test_tenth_byte_may_hold_one_bit(void **state)
{
    (void)state;
    uint8_t bytes[10];
    memset(bytes, 0xff, sizeof(bytes));
    uint64_t value = 0;
    bytes[9] = 1;
    struct wire_reader reader = READER(bytes);
    assert_int_equal(wire_read_varint(&reader, &value), 0);
    assert_true(value == UINT64_MAX);
    bytes[9] = 2;
    reader = (struct wire_reader)READER(bytes);
    assert_int_equal(wire_read_varint(&reader, &value), -EBADMSG);
    bytes[9] = 0x81; /* an eleventh byte would follow */
    reader = (struct wire_reader)READER(bytes);
    assert_int_equal(wire_read_varint(&reader, &value), -EBADMSG);
}

static int read_tag(const uint8_t *bytes, size_t size, uint32_t *ret_number)
{
    struct wire_reader reader = {bytes, bytes + size};
    enum wire_type type;
    return wire_read_tag(&reader, ret_number, &type);
}

static void test_tags_have_a_number_and_a_known_type(void **state)
{
    (void)state;
    uint8_t bytes[10];
    uint32_t number = 0;
    uint8_t *end = wire_write_tag(bytes, WIRE_NUMBER_MAX, WIRE_BYTES);
    assert_int_equal(read_tag(bytes, (size_t)(end - bytes), &number), 0);
    assert_int_equal(number, WIRE_NUMBER_MAX);
    assert_int_equal(read_tag((const uint8_t[]){0x02}, 1, &number), -EBADMSG);
    assert_int_equal(read_tag((const uint8_t[]){0x0e}, 1, &number), -EBADMSG);
    assert_int_equal(read_tag((const uint8_t[]){0x0f}, 1, &number), -EBADMSG);
    const uint8_t past_32_bits[] = {0xfa, 0xff, 0xff, 0xff, 0x1f};
    assert_int_equal(read_tag(past_32_bits, 5, &number), -EBADMSG);
    const uint8_t six[] = {0x88, 0x80, 0x80, 0x80, 0x80, 0x00};
    assert_int_equal(read_tag(six, 6, &number), -EBADMSG);
    assert_int_equal(number, WIRE_NUMBER_MAX);
}

static void test_length_is_what_is_left_at_most(void **state)
{
    (void)state;
    const uint8_t exact[] = {3, 'a', 'b', 'c'}, past[] = {4, 'a', 'b', 'c'};
    const uint8_t wrap[] = {0xff, 0xff, 0xff, 0xff, 0x0f, 'a'};
    const uint8_t *data = NULL;
    size_t bytes = 0;
    struct wire_reader reader = READER(exact);
    assert_int_equal(wire_read_bytes(&reader, &data, &bytes), 0);
    assert_int_equal(bytes, 3);
    assert_ptr_equal(reader.pos, reader.end);
    reader = (struct wire_reader)READER(past);
    assert_int_equal(wire_read_bytes(&reader, &data, &bytes), -EBADMSG);
    reader = (struct wire_reader)READER(wrap);
    assert_int_equal(wire_read_bytes(&reader, &data, &bytes), -EBADMSG);
}

static void test_groups_are_skipped_with_their_nesting(void **state)
{
    (void)state;
    /* 1 { 2 { 3: 5 } 4: "x" } */
    const uint8_t good[] = {0x13, 0x18, 5, 0x14, 0x22, 1, 'x', 0x0c, 0x77};
    struct wire_reader reader = READER(good);
    assert_int_equal(wire_skip(&reader, 1, WIRE_GROUP_START), 0);
    assert_int_equal(reader.end - reader.pos, 1);
    const uint8_t crossed[] = {0x13, 0x0c, 0x14};
    reader = (struct wire_reader)READER(crossed);
    assert_int_equal(wire_skip(&reader, 1, WIRE_GROUP_START), -EBADMSG);
    reader = (struct wire_reader){good, good + 7};
    assert_int_equal(wire_skip(&reader, 1, WIRE_GROUP_START), -EBADMSG);
}

static void test_groups_nest_to_the_limit_and_not_one_further(void **state)
{
    (void)state;
    uint8_t bytes[2 * WIRE_DEPTH_MAX];
    for (unsigned inner = WIRE_DEPTH_MAX - 1; inner <= WIRE_DEPTH_MAX; inner++) {
        memset(bytes, 0x0b, inner);
        memset(bytes + inner, 0x0c, WIRE_DEPTH_MAX);
        struct wire_reader reader = READER(bytes);
        int r = wire_skip(&reader, 1, WIRE_GROUP_START);
        assert_int_equal(r, inner < WIRE_DEPTH_MAX ? 0 : -EBADMSG);
    }
}

struct text_case {
    const char *text;
    bool good;
};

static void test_utf8_is_what_rfc_3629_says(void **state)
{
    (void)state;
    const struct text_case cases[] = {
        {"", true},
        {"plain", true},
        {"\xc3\xa9", true},
        {"\xe2\x82\xac", true},
        {"\xf0\x9f\x98\x80", true},
        {"\xed\x9f\xbf", true},
        {"\xee\x80\x80", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"\xef\xbf\xbf", true},
        {"\x80", false},
        {"\xbf", false},
        {"\xc0\x80", false},
        {"\xc1\xbf", false},
        {"\xc3", false},
        {"\xc3\x28", false},
        {"\xe0\x9f\xbf", false},
        {"\xe2\x82", false},
        {"\xed\xa0\x80", false},
        {"\xed\xbf\xbf", false},
        {"\xf0\x8f\xbf\xbf", false},
        {"\xf0\x9f\x98", false},
        {"\xf4\x90\x80\x80", false},
        {"\xf5\x80\x80\x80", false},
        {"\xff", false},
        {"\xfe", false},
    };
    /* At every distance from the start of a step, with and without plain text behind. */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t before = 0; before < 80; before++) {
            uint8_t text[200];
            size_t bytes = strlen(cases[i].text);
            memset(text, 'a', sizeof(text));
            memcpy(text + before, cases[i].text, bytes);
            int want = cases[i].good ? 0 : -EBADMSG;
            assert_int_equal(wire_check_utf8(text, before + bytes), want);
            assert_int_equal(wire_check_utf8(text, sizeof(text)), want);
            assert_int_equal(wire_check_string(text, sizeof(text)), want);
        }
    }
}

static void test_a_string_has_no_nul_though_utf8_may(void **state)
{
    (void)state;
    for (size_t bytes = 1; bytes < 200; bytes++) {
        uint8_t text[200];
        memset(text, 'a', sizeof(text));
        assert_int_equal(wire_check_string(text, bytes), 0);
        text[bytes * 7 % bytes] = 0;
        text[bytes - 1] = 0;
        assert_int_equal(wire_check_string(text, bytes), -EBADMSG);
        assert_int_equal(wire_check_utf8(text, bytes), 0);
    }
}

static void test_well_formed_message_passes(void **state)
{
    (void)state;
    assert_int_equal(CHECK(FILE_TYPE, 0x0a, 1, 'f', 0x1a, 1, 'd', 0x1a, 1, 'e'), 0);
    assert_int_equal(check(FILE_TYPE, NULL, 0), 0);
}

static void test_truncation_is_refused_at_every_byte(void **state)
{
    (void)state;
    /* A file with a message with a field with options, and one unknown field of each type. */
    const uint8_t file[] = {0x0a, 1,    'f',  0x22, 12, 0x0a, 1,    'M', 0x12, 7,    0x0a, 1,
                            'f',  0x42, 2,    0x10, 1,  0xc0, 0x3e, 5,   0xc5, 0x3e, 1,    2,
                            3,    4,    0xc1, 0x3e, 1,  2,    3,    4,   5,    6,    7,    8};
    assert_int_equal(check(FILE_TYPE, file, sizeof(file)), 0);
    unsigned refused = 0;
    for (size_t bytes = 0; bytes < sizeof(file); bytes++)
        refused += check(FILE_TYPE, file, bytes) != 0;
    /* All but the borders between the five fields. */
    assert_int_equal(refused, sizeof(file) - 5);
}

static void test_wrong_wire_types_are_refused(void **state)
{
    (void)state;
    assert_int_equal(CHECK(FILE_TYPE, 0x08, 1), -EBADMSG);             /* string as varint */
    assert_int_equal(CHECK(FILE_TYPE, 0x25, 1, 2, 3, 4), -EBADMSG);    /* message as fixed32 */
    assert_int_equal(CHECK(FIELD_OPTIONS_TYPE, 0x12, 1, 1), -EBADMSG); /* a singular bool packed */
    assert_int_equal(CHECK(OPTION_TYPE, 0x35, 1, 2, 3, 4), -EBADMSG);  /* double as fixed32 */
}

static void test_strings_are_held_to_utf8_and_bytes_are_not(void **state)
{
    (void)state;
    assert_int_equal(CHECK(OPTION_TYPE, 0x1a, 1, 0xff), -EBADMSG);
    assert_int_equal(CHECK(OPTION_TYPE, 0x1a, 2, 'a', 0), -EBADMSG);
    assert_int_equal(CHECK(OPTION_TYPE, 0x3a, 2, 0xff, 0), 0);
}

static void test_required_fields_must_be_present_in_every_piece(void **state)
{
    (void)state;
    assert_int_equal(CHECK(NAME_PART_TYPE, 0x0a, 1, 'n', 0x10, 1), 0);
    assert_int_equal(CHECK(NAME_PART_TYPE, 0x0a, 1, 'n'), -EBADMSG);
    assert_int_equal(CHECK(OPTION_TYPE, 0x12, 2, 0x10, 1), -EBADMSG);
}

static void test_packed_and_unpacked_are_both_read(void **state)
{
    (void)state;
    const uint8_t packed[] = {0x0a, 3, 1, 0x80, 1}, unpacked[] = {0x08, 1, 0x08, 0x80, 1};
    ProtobufCMessage *a = NULL, *b = NULL;
    assert_int_equal(wire_unpack(LOCATION_TYPE, packed, sizeof(packed), NULL, &a, NULL), 0);
    assert_int_equal(wire_unpack(LOCATION_TYPE, unpacked, sizeof(unpacked), NULL, &b, NULL), 0);
    const Google__Protobuf__SourceCodeInfo__Location *x = (void *)a, *y = (void *)b;
    assert_int_equal(x->n_path, 2);
    assert_int_equal(y->n_path, 2);
    assert_int_equal(x->path[1], 128);
    assert_int_equal(y->path[1], 128);
    wire_free(a);
    wire_free(b);
    assert_int_equal(CHECK(LOCATION_TYPE, 0x0a, 2, 1, 0x80), -EBADMSG);
}

static void test_groups_are_refused_for_unpacking(void **state)
{
    (void)state;
    assert_int_equal(CHECK(FILE_TYPE, 0xc3, 0x3e, 0xc4, 0x3e), -EBADMSG);
    assert_int_equal(CHECK(FILE_TYPE, 0x0b, 0x0c), -EBADMSG);
}

/* @depth messages, each in field 3 of the one around it. */
static size_t nested(uint8_t *out, unsigned depth)
{
    size_t bytes = 0;
    for (unsigned i = 1; i < depth; i++) {
        memmove(out + 2, out, bytes);
        out[0] = 0x1a;
        out[1] = (uint8_t)bytes;
        bytes += 2;
    }
    return bytes;
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    uint8_t bytes[4 * WIRE_DEPTH_MAX];
    assert_int_equal(check(MESSAGE_TYPE, bytes, nested(bytes, WIRE_DEPTH_MAX)), 0);
    assert_int_equal(check(MESSAGE_TYPE, bytes, nested(bytes, WIRE_DEPTH_MAX + 1)), -E2BIG);
}

static void test_fields_are_bounded_known_and_unknown_together(void **state)
{
    (void)state;
    static uint8_t bytes[3 * (WIRE_FIELDS_MAX + 1)];
    size_t half = WIRE_FIELDS_MAX / 2, size = 0;
    for (size_t i = 0; i <= WIRE_FIELDS_MAX; i++) {
        uint8_t *end = wire_write_tag(bytes + size, i < half ? 1 : 15, WIRE_BYTES);
        *end = 0;
        size = (size_t)(end + 1 - bytes);
    }
    assert_int_equal(check(FILE_TYPE, bytes, size - 2), 0);
    assert_int_equal(check(FILE_TYPE, bytes, size), -E2BIG);
}

static void test_elements_are_bounded_over_the_whole_message(void **state)
{
    (void)state;
    struct wire_limits limits = {1 << 20, 32, 4096, 4};
    /* A file with an empty dependency, a message, and an empty field in it twice: four. */
    const uint8_t four[] = {0x1a, 0, 0x22, 4, 0x12, 0, 0x12, 0};
    assert_int_equal(wire_check(FILE_TYPE, four, sizeof(four), &limits, NULL), 0);
    limits.elements_max = 3;
    assert_int_equal(wire_check(FILE_TYPE, four, sizeof(four), &limits, NULL), -E2BIG);
    /* Packed elements count one by one, and an empty packed field counts as well. */
    const uint8_t packed[] = {0x0a, 2, 1, 2, 0x0a, 0};
    assert_int_equal(wire_check(LOCATION_TYPE, packed, sizeof(packed), &limits, NULL), 0);
    limits.elements_max = 2;
    assert_int_equal(wire_check(LOCATION_TYPE, packed, sizeof(packed), &limits, NULL), -E2BIG);
}

static void test_bytes_are_bounded(void **state)
{
    (void)state;
    struct wire_limits limits = {3, 32, 4096, 4};
    const uint8_t four[] = {0x0a, 2, 'a', 'b'};
    assert_int_equal(wire_check(FILE_TYPE, four, sizeof(four), &limits, NULL), -E2BIG);
    limits.bytes_max = 4;
    assert_int_equal(wire_check(FILE_TYPE, four, sizeof(four), &limits, NULL), 0);
}

static void test_default_limits_hold_for_elements(void **state)
{
    (void)state;
    size_t size = 2 * ((size_t)WIRE_ELEMENTS_MAX + 1);
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i += 2) {
        bytes[i] = 0x08;
        bytes[i + 1] = 1;
    }
    assert_int_equal(check(LOCATION_TYPE, bytes, size - 2), 0);
    assert_int_equal(check(LOCATION_TYPE, bytes, size), -E2BIG);
    free(bytes);
}

static void test_merging_pieces_cannot_take_all_memory(void **state)
{
    (void)state;
    /* One sub-message with many elements, then thousands of pieces with one: protobuf-c copies the
     * array for each piece. FileDescriptorProto.options is one, with uninterpreted_option. */
    size_t many = 200000, pieces = 4000, each = 3;
    uint8_t *bytes = malloc(16 + each * many + 8 * pieces);
    assert_non_null(bytes);
    uint8_t *at = wire_write_tag(bytes, 8, WIRE_BYTES);
    at = wire_write_varint(at, each * many);
    for (size_t i = 0; i < many; i++) {
        at = wire_write_tag(at, 999, WIRE_BYTES);
        *at++ = 0;
    }
    for (size_t i = 0; i < pieces; i++) {
        at = wire_write_tag(at, 8, WIRE_BYTES);
        at = wire_write_varint(at, each);
        at = wire_write_tag(at, 999, WIRE_BYTES);
        *at++ = 0;
    }
    size_t size = (size_t)(at - bytes);
    assert_int_equal(wire_check(FILE_TYPE, bytes, size, NULL, NULL), 0);
    ProtobufCMessage *message = NULL;
    assert_int_equal(wire_unpack_checked(FILE_TYPE, bytes, size, &message), -E2BIG);
    assert_null(message);
    free(bytes);
}

static void test_unpacked_message_equals_what_was_packed(void **state)
{
    (void)state;
    char *dependencies[300];
    for (size_t i = 0; i < 300; i++)
        dependencies[i] = (char *)"some/long/path/to/a/dependency.proto";
    Google__Protobuf__FileDescriptorProto file = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT;
    file.name = (char *)"x.proto";
    file.dependency = dependencies;
    file.n_dependency = 300;
    size_t size = protobuf_c_message_get_packed_size(&file.base);
    uint8_t *bytes = malloc(size), *again = malloc(size);
    assert_int_equal(protobuf_c_message_pack(&file.base, bytes), size);
    ProtobufCMessage *message = NULL;
    struct error_text error;
    assert_int_equal(wire_unpack(FILE_TYPE, bytes, size, NULL, &message, &error), 0);
    assert_int_equal(protobuf_c_message_get_packed_size(message), size);
    protobuf_c_message_pack(message, again);
    assert_memory_equal(bytes, again, size);
    assert_null(wire_free(message));
    assert_null(wire_free(NULL));
    free(bytes);
    free(again);
}

static void test_error_names_field_and_offset(void **state)
{
    (void)state;
    struct error_text error;
    const uint8_t bytes[] = {0x0a, 1, 'f', 0x1a, 1, 0xff};
    assert_int_equal(wire_check(FILE_TYPE, bytes, sizeof(bytes), NULL, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "FileDescriptorProto.dependency"));
    assert_non_null(strstr(error.text, "byte 3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_varints_survive_a_round_trip_at_every_size),
        cmocka_unit_test(test_padded_varint_is_read),
        cmocka_unit_test(test_tenth_byte_may_hold_one_bit),
        cmocka_unit_test(test_tags_have_a_number_and_a_known_type),
        cmocka_unit_test(test_length_is_what_is_left_at_most),
        cmocka_unit_test(test_groups_are_skipped_with_their_nesting),
        cmocka_unit_test(test_groups_nest_to_the_limit_and_not_one_further),
        cmocka_unit_test(test_utf8_is_what_rfc_3629_says),
        cmocka_unit_test(test_a_string_has_no_nul_though_utf8_may),
        cmocka_unit_test(test_well_formed_message_passes),
        cmocka_unit_test(test_truncation_is_refused_at_every_byte),
        cmocka_unit_test(test_wrong_wire_types_are_refused),
        cmocka_unit_test(test_strings_are_held_to_utf8_and_bytes_are_not),
        cmocka_unit_test(test_required_fields_must_be_present_in_every_piece),
        cmocka_unit_test(test_packed_and_unpacked_are_both_read),
        cmocka_unit_test(test_groups_are_refused_for_unpacking),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_fields_are_bounded_known_and_unknown_together),
        cmocka_unit_test(test_elements_are_bounded_over_the_whole_message),
        cmocka_unit_test(test_bytes_are_bounded),
        cmocka_unit_test(test_default_limits_hold_for_elements),
        cmocka_unit_test(test_merging_pieces_cannot_take_all_memory),
        cmocka_unit_test(test_unpacked_message_equals_what_was_packed),
        cmocka_unit_test(test_error_names_field_and_offset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
