#include "sets.h"

#include <errno.h>

struct fixture {
    struct schema *kinds, *kinds2;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    fixture->kinds = schema_read(KINDS_SET);
    fixture->kinds2 = schema_read(KINDS2_SET);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    schema_unref(fixture->kinds);
    schema_unref(fixture->kinds2);
    free(fixture);
    return 0;
}

static const struct schema_message *kinds(void **state)
{
    const struct fixture *fixture = *state;
    return schema_message_find(fixture->kinds, "kinds.v1.Kinds");
}

static const struct schema_message *old(void **state)
{
    const struct fixture *fixture = *state;
    return schema_message_find(fixture->kinds2, "kinds.v2.Old");
}

static void expect_wire(const struct schema_message *message, const char *json, const char *wire,
                        size_t wire_bytes)
{
    uint8_t *data = NULL;
    size_t bytes = 0;
    struct error_text error = {""};
    if (json_to_wire(message, json, &data, &bytes, &error) < 0)
        fail_msg("%s: %s", json, error.text);
    if (bytes != wire_bytes || memcmp(data, wire, bytes) != 0) {
        char text[512] = "";
        for (size_t i = 0; i < bytes && i < 100; i++)
            (void)snprintf(text + 3 * i, sizeof(text) - 3 * i, "%02x ", data[i]);
        fail_msg("%s: %s", json, text);
    }
    free(data);
}
#define EXPECT_WIRE(message, json, wire) expect_wire(message, json, wire, sizeof(wire) - 1)

static void expect_refusal(const struct schema_message *message, const char *json,
                           const char *sentence)
{
    uint8_t *data = NULL;
    size_t bytes;
    struct error_text error = {""};
    int r = json_to_wire(message, json, &data, &bytes, &error);
    assert_null(data);
    if (r != -EINVAL || !strstr(error.text, sentence))
        fail_msg("%s: %d, \"%s\" instead of \"%s\"", json, r, error.text, sentence);
}

static void expect_json_flags(const struct schema_message *message, const char *wire, size_t bytes,
                              unsigned indent, bool all, const char *json)
{
    char *text = NULL;
    struct error_text error = {""};
    if (json_from_wire(message, (const uint8_t *)wire, bytes, indent, all, &text, &error) < 0)
        fail_msg("%s: %s", json, error.text);
    assert_string_equal(text, json);
    free(text);
}
#define EXPECT_JSON(message, wire, json)                                                           \
    expect_json_flags(message, wire, sizeof(wire) - 1, 0, false, json)

static void expect_same(const struct schema_message *message, const char *json)
{
    uint8_t *data = NULL;
    size_t bytes;
    struct error_text error = {""};
    if (json_to_wire(message, json, &data, &bytes, &error) < 0)
        fail_msg("%s: %s", json, error.text);
    expect_json_flags(message, (const char *)data, bytes, 0, false, json);
    free(data);
}

/* ---- Scalars ---- */

static void test_scalars_have_protobufs_encoding(void **state)
{
    const struct schema_message *m = kinds(state);
    EXPECT_WIRE(m, "{}", "");
    EXPECT_WIRE(m, "{\"doubleValue\":1}", "\x09\0\0\0\0\0\0\xf0\x3f");
    EXPECT_WIRE(m, "{\"floatValue\":-1.5}", "\x15\0\0\xc0\xbf");
    EXPECT_WIRE(m, "{\"int64Value\":-1}", "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    EXPECT_WIRE(m, "{\"uint64Value\":\"18446744073709551615\"}",
                "\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    EXPECT_WIRE(m, "{\"int32Value\":-2}", "\x28\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    EXPECT_WIRE(m, "{\"fixed64Value\":1}", "\x31\x01\0\0\0\0\0\0\0");
    EXPECT_WIRE(m, "{\"fixed32Value\":4294967295}", "\x3d\xff\xff\xff\xff");
    EXPECT_WIRE(m, "{\"boolValue\":true}", "\x40\x01");
    EXPECT_WIRE(m, "{\"stringValue\":\"\\u00e9\"}", "\x4a\x02\xc3\xa9");
    EXPECT_WIRE(m, "{\"bytesValue\":\"AAEC/w==\"}", "\x52\x04\0\x01\x02\xff");
    EXPECT_WIRE(m, "{\"sfixed32Value\":-1}", "\x65\xff\xff\xff\xff");
    EXPECT_WIRE(m, "{\"sint32Value\":-1}", "\x70\x01");
    EXPECT_WIRE(m, "{\"sint64Value\":2}", "\x78\x04");
    EXPECT_WIRE(m, "{\"colour\":\"COLOUR_BLUE\"}",
                "\x80\x01\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    EXPECT_WIRE(m, "{\"colour\":7}", "\x80\x01\x07");
}

static void test_scalars_go_both_ways(void **state)
{
    const struct schema_message *m = kinds(state);
    const char *const texts[] = {
        "{}",
        "{\"doubleValue\": 0.1}",
        "{\"doubleValue\": 1e+300}",
        "{\"doubleValue\": -4.94065645841247e-324}",
        "{\"doubleValue\": 0.30000000000000004}",
        "{\"doubleValue\": \"NaN\"}",
        "{\"doubleValue\": \"-Infinity\"}",
        "{\"doubleValue\": -0.0}",
        "{\"floatValue\": 0.1}",
        "{\"floatValue\": 3.4028235e+38}",
        "{\"floatValue\": \"Infinity\"}",
        "{\"int64Value\": \"-9223372036854775808\"}",
        "{\"int64Value\": \"9223372036854775807\"}",
        "{\"uint64Value\": \"18446744073709551615\"}",
        "{\"int32Value\": -2147483648}",
        "{\"int32Value\": 2147483647}",
        "{\"fixed64Value\": \"18446744073709551615\"}",
        "{\"fixed32Value\": 4294967295}",
        "{\"boolValue\": true}",
        "{\"stringValue\": \"\\\"\\\\\\n\\t\\u0001 / \xe2\x82\xac\"}",
        "{\"stringValue\": \"\\u007f\\u0080\\u009b[2J\\u009f\xc2\xa0\xc3\x80\"}",
        "{\"bytesValue\": \"AA==\"}",
        "{\"bytesValue\": \"AAE=\"}",
        "{\"bytesValue\": \"+/+/\"}",
        "{\"uint32Value\": 4294967295}",
        "{\"sfixed32Value\": -2147483648}",
        "{\"sfixed64Value\": \"-9223372036854775808\"}",
        "{\"sint32Value\": -2147483648}",
        "{\"sint64Value\": \"-9223372036854775808\"}",
        "{\"colour\": \"COLOUR_BLUE\"}",
        "{\"colour\": -77}",
        "{\"size\": \"SIZE_BIG\"}",
        "{\"inner\": {}}",
        "{\"inner\": {\"name\": \"a\", \"deep\": {\"text\": \"b\"}}}",
        "{\"numbers\": [0, 1, -1]}",
        "{\"texts\": [\"\", \"a\"]}",
        "{\"inners\": [{}, {\"name\": \"x\"}]}",
        "{\"loose\": [5, 0]}",
        "{\"counts\": {\"\": 0, \"a\": 1}}",
        "{\"byNumber\": {\"-9223372036854775808\": {\"name\": \"min\"}}}",
        "{\"byFlag\": {\"true\": \"yes\", \"false\": \"\"}}",
        "{\"maybe\": 0}",
        "{\"word\": \"\"}",
        "{\"digit\": 0}",
        "{\"thing\": {}}",
        "{\"@odd\": \"name\"}",
        "{\"reals\": [0, 0.5, \"NaN\"]}",
        "{\"colours\": [\"COLOUR_UNSPECIFIED\", \"COLOUR_RED\", 9]}",
        "{\"maybeText\": \"\"}",
        "{\"low\": \"last\"}",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        expect_same(m, texts[i]);
}

static void test_other_spellings_are_read(void **state)
{
    const struct schema_message *m = kinds(state);
    EXPECT_WIRE(m, "{\"int32_value\":\"7\"}", "\x28\x07");
    EXPECT_WIRE(m, "{\"int32Value\":7.0}", "\x28\x07");
    EXPECT_WIRE(m, "{\"int32Value\":\"7e0\"}", "\x28\x07");
    EXPECT_WIRE(m, "{\"int32Value\":1e2}", "\x28\x64");
    EXPECT_WIRE(m, "{\"int32Value\":null}", "");
    EXPECT_WIRE(m, "{\"doubleValue\":\"1\"}", "\x09\0\0\0\0\0\0\xf0\x3f");
    EXPECT_WIRE(m, "{\"bytesValue\":\"_-8\"}", "\x52\x02\xff\xef");
    EXPECT_WIRE(m, "{\"odd_name_\":\"a\"}",
                "\xf2\x01\x01"
                "a");
}

static void test_defaults_without_presence_are_not_sent(void **state)
{
    const struct schema_message *m = kinds(state);
    EXPECT_WIRE(m,
                "{\"int32Value\":0,\"stringValue\":\"\",\"boolValue\":false,\"doubleValue\":0,"
                "\"colour\":\"COLOUR_UNSPECIFIED\",\"bytesValue\":\"\",\"numbers\":[],"
                "\"counts\":{}}",
                "");
    EXPECT_WIRE(m, "{\"maybe\":0}", "\xd0\x01\0");
    EXPECT_WIRE(m, "{\"digit\":0}", "\xe0\x01\0");
}

static void test_fields_are_written_by_number(void **state)
{
    EXPECT_WIRE(kinds(state), "{\"low\":\"z\",\"boolValue\":true,\"int32Value\":1}",
                "\x28\x01\x40\x01\xc2\x3e\x01z");
}

static void test_lists_are_packed_where_the_schema_says(void **state)
{
    const struct schema_message *m = kinds(state);
    EXPECT_WIRE(m, "{\"numbers\":[1,300]}", "\x9a\x01\x03\x01\xac\x02");
    EXPECT_WIRE(m, "{\"loose\":[1,2]}", "\xb0\x01\x01\xb0\x01\x02");
    EXPECT_WIRE(old(state), "{\"name\":\"\",\"loose\":[1],\"tight\":[1,2]}",
                "\x0a\0\x20\x01\x2a\x02\x01\x02");
}

static void test_map_entries_always_have_both_parts(void **state)
{
    EXPECT_WIRE(kinds(state), "{\"counts\":{\"\":0}}", "\xba\x01\x04\x0a\0\x10\0");
}

/* ---- What is refused, and where ---- */

static void test_what_does_not_fit_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *json, *sentence;
    } rows[] = {
        {"", "the JSON text, line 1, column 0"},
        {"{", "the JSON text, line 1, column 1"},
        {"{\n \"inner\": }", "the JSON text, line 2"},
        {"[]", "the JSON text: an object was expected, not an array"},
        {"{\"int32Value\":1,\"int32Value\":2}", "duplicate"},
        {"{\"int64Value\":9223372036854775808}", "write large numbers as strings"},
        {"{\"nobody\":1}",
         "kinds.v1.Kinds has no field \"nobody\"; its fields: doubleValue, float"},
        {"{\"inner\":{\"nam\":1}}",
         "inner: kinds.v1.Kinds.Inner has no field \"nam\"; its fields: name, deep, next"},
        {"{\"inner\":{\"deep\":{\"text\":1}}}",
         "inner.deep.text: a string was expected, not a num"},
        {"{\"int32Value\":2147483648}", "int32Value: the number does not fit int32"},
        {"{\"int32Value\":-2147483649}", "int32Value: the number does not fit int32"},
        {"{\"uint32Value\":4294967296}", "uint32Value: the number does not fit uint32"},
        {"{\"uint32Value\":-1}", "uint32Value: the number does not fit uint32"},
        {"{\"uint64Value\":\"18446744073709551616\"}", "the number does not fit uint64"},
        {"{\"int64Value\":\"9223372036854775808\"}", "the number does not fit int64"},
        {"{\"int64Value\":\"-9223372036854775809\"}", "the number does not fit int64"},
        {"{\"int64Value\":1e19}", "the number does not fit int64"},
        {"{\"uint64Value\":1e20}", "the number does not fit uint64"},
        {"{\"int32Value\":1.5}", "int32Value: a whole number was expected, not 1.5"},
        {"{\"int32Value\":\"\"}", "a whole number was expected, not \"\""},
        {"{\"int32Value\":\"1x\"}", "a whole number was expected, not \"1x\""},
        {"{\"int32Value\":\" 1\"}", "a whole number was expected, not \" 1\""},
        {"{\"int32Value\":\"0x10\"}", "a whole number was expected, not \"0x10\""},
        {"{\"int32Value\":true}", "int32Value: a whole number was expected, not true"},
        {"{\"floatValue\":1e39}", "does not fit float"},
        {"{\"doubleValue\":\"1e999\"}", "a number was expected, not \"1e999\""},
        {"{\"doubleValue\":\"inf\"}", "a number was expected, not \"inf\""},
        {"{\"boolValue\":1}", "boolValue: true or false was expected, not a number"},
        {"{\"stringValue\":[]}", "stringValue: a string was expected, not an array"},
        {"{\"stringValue\":\"a\\u0000b\"}", "line 1"},
        {"{\"bytesValue\":\"A\"}", "bytesValue: the string is not base64"},
        {"{\"bytesValue\":\"A===\"}", "not base64"},
        {"{\"bytesValue\":\"AB==\"}", "not base64"},
        {"{\"bytesValue\":\"AA=A\"}", "not base64"},
        {"{\"bytesValue\":\"AA=\"}", "not base64"},
        {"{\"colour\":\"RED\"}",
         "colour: kinds.v1.Colour has no value \"RED\"; it has COLOUR_UNSPECIFIED, COLOUR_RED"},
        {"{\"numbers\":1}", "numbers: an array was expected, not a number"},
        {"{\"numbers\":[1,null]}", "numbers[1]: a whole number was expected, not null"},
        {"{\"inners\":[{},{\"name\":7}]}", "inners[1].name: a string was expected"},
        {"{\"counts\":[]}", "counts: an object was expected, not an array"},
        {"{\"counts\":{\"a\":null}}", "counts[\"a\"]: a whole number was expected, not null"},
        {"{\"byNumber\":{\"x\":{}}}", "byNumber[\"x\"]: a whole number was expected, not \"x\""},
        {"{\"byFlag\":{\"1\":\"\"}}", "byFlag[\"1\"]: true or false was expected"},
        {"{\"word\":\"a\",\"digit\":1}", "\"word\" and \"digit\" are both there; of oneof choice"},
        {"{\"int32Value\":1,\"int32_value\":2}", "field int32_value is there twice"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect_refusal(kinds(state), rows[i].json, rows[i].sentence);
}

static void test_required_fields_are_required_both_ways(void **state)
{
    expect_refusal(old(state), "{}", "kinds.v2.Old requires field \"name\"");
    char *text = NULL;
    struct error_text error = {""};
    assert_int_equal(json_from_wire(old(state), (const uint8_t *)"", 0, 0, false, &text, &error),
                     -EBADMSG);
    assert_non_null(strstr(error.text, "the required field name is not there"));
    assert_null(text);
}

static void test_closed_enums_take_only_their_values(void **state)
{
    expect_refusal(old(state), "{\"name\":\"\",\"shape\":3}",
                   "shape: kinds.v2.Shape has no value 3");
    expect_same(old(state), "{\"name\": \"\", \"shape\": \"SHAPE_SQUARE\"}");
    EXPECT_JSON(old(state), "\x0a\0\x10\x03\x30\x01\x30\x03\x30\x02",
                "{\"name\": \"\", \"shapes\": [\"SHAPE_ROUND\", \"SHAPE_SQUARE\"]}");
    EXPECT_JSON(old(state),
                "\x0a\0\x42\x05\x0a\x01"
                "a\x10\x03",
                "{\"name\": \"\", \"shapeOf\": {}}");
}

/* ---- From the wire ---- */

static void test_last_value_wins_and_messages_merge(void **state)
{
    const struct schema_message *m = kinds(state);
    EXPECT_JSON(m, "\x28\x01\x28\x02", "{\"int32Value\": 2}");
    EXPECT_JSON(m,
                "\x92\x01\x03\x0a\x01"
                "a\x92\x01\x05\x12\x03\x0a\x01"
                "b",
                "{\"inner\": {\"name\": \"a\", \"deep\": {\"text\": \"b\"}}}");
    EXPECT_JSON(m,
                "\xda\x01\x01"
                "a\xe0\x01\x05",
                "{\"digit\": 5}");
    EXPECT_JSON(m,
                "\xe0\x01\x05\xda\x01\x01"
                "a",
                "{\"word\": \"a\"}");
    EXPECT_JSON(m,
                "\xba\x01\x05\x0a\x01"
                "a\x10\x01\xba\x01\x05\x0a\x01"
                "a\x10\x02",
                "{\"counts\": {\"a\": 2}}");
    EXPECT_JSON(m, "\xba\x01\x02\x10\x05", "{\"counts\": {\"\": 5}}");
    EXPECT_JSON(m, "\xc2\x01\x02\x08\x05", "{\"byNumber\": {\"5\": {}}}");
}

static void test_packed_and_unpacked_are_both_read(void **state)
{
    const struct schema_message *m = kinds(state);
    EXPECT_JSON(m, "\x98\x01\x01\x9a\x01\x02\x02\x03", "{\"numbers\": [1, 2, 3]}");
    EXPECT_JSON(m, "\xb2\x01\x02\x02\x03\xb0\x01\x01", "{\"loose\": [2, 3, 1]}");
}

static void test_unknown_fields_are_left_out(void **state)
{
    EXPECT_JSON(kinds(state), "\xfa\x7f\x01z\x28\x07", "{\"int32Value\": 7}");
}

static void test_all_shows_defaults_without_presence(void **state)
{
    const struct fixture *fixture = *state;
    const struct schema_message *inner =
        schema_message_find(fixture->kinds, "kinds.v1.Kinds.Inner");
    expect_json_flags(inner, "", 0, 0, true, "{\"name\": \"\"}");
    char *text = NULL;
    assert_int_equal(json_from_wire(kinds(state), (const uint8_t *)"", 0, 0, true, &text, NULL), 0);
    const char *const expected[] = {
        "\"doubleValue\": 0",
        "\"uint64Value\": \"0\"",
        "\"boolValue\": false",
        "\"bytesValue\": \"\"",
        "\"colour\": \"COLOUR_UNSPECIFIED\"",
        "\"numbers\": []",
        "\"counts\": {}",
    };
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        if (!strstr(text, expected[i]))
            fail_msg("no %s in %s", expected[i], text);
    }
    assert_null(strstr(text, "maybe"));
    assert_null(strstr(text, "word"));
    assert_null(strstr(text, "inner\""));
    free(text);
}

static void test_indented_text_has_a_line_for_each_value(void **state)
{
    uint8_t *data = NULL;
    size_t bytes;
    assert_int_equal(json_to_wire(kinds(state),
                                  "{\"inner\":{\"name\":\"a\"},\"numbers\":[1,2],\"inners\":[{}]}",
                                  &data, &bytes, NULL),
                     0);
    expect_json_flags(kinds(state), (const char *)data, bytes, 2, false,
                      "{\n"
                      "  \"inner\": {\n"
                      "    \"name\": \"a\"\n"
                      "  },\n"
                      "  \"numbers\": [\n"
                      "    1,\n"
                      "    2\n"
                      "  ],\n"
                      "  \"inners\": [\n"
                      "    {}\n"
                      "  ]\n"
                      "}");
    free(data);
}

static void test_what_is_no_message_is_refused(void **state)
{
    static const struct {
        const char *wire;
        size_t bytes;
        const char *sentence;
    } rows[] = {
        {"\x28", 1, "message kinds.v1.Kinds: field int32_value cannot be read"},
        {"\x4a\x05"
         "a",
         3, "field string_value cannot be read"},
        {"\x4a\x01\xff", 3, "field string_value cannot be read"},
        {"\x4a\x01\0", 3, "field string_value cannot be read"},
        {"\x09\0\0", 3, "field double_value cannot be read"},
        {"\x92\x01\x02\x0a\x05", 5, "message kinds.v1.Kinds.Inner: field name cannot be read"},
        {"\x9a\x01\x01\xff", 4, "field numbers cannot be read"},
        {"\x00", 1, "a field's tag cannot be read"},
        {"\xfa\x7f\x05", 3, "unknown field 2047 cannot be read"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *text = NULL;
        struct error_text error = {""};
        int r = json_from_wire(kinds(state), (const uint8_t *)rows[i].wire, rows[i].bytes, 0, false,
                               &text, &error);
        assert_null(text);
        if (r != -EBADMSG || !strstr(error.text, rows[i].sentence))
            fail_msg("%zu: %d, %s", i, r, error.text);
    }
}

/* ---- Limits ---- */

static char *nested(unsigned depth) /* messages, the outermost counted */
{
    char *text = calloc(1, depth * 20 + 40);
    assert_non_null(text);
    strcat(text, "{\"inner\": ");
    for (unsigned i = 0; i < depth - 2; i++)
        strcat(text, "{\"next\": ");
    strcat(text, "{}");
    for (unsigned i = 0; i < depth - 1; i++)
        strcat(text, "}");
    return text;
}

static void test_deepest_message_goes_both_ways_and_one_deeper_does_not(void **state)
{
    char *text = nested(WIRE_DEPTH_MAX);
    expect_same(kinds(state), text);
    free(text);
    text = nested(WIRE_DEPTH_MAX + 1);
    uint8_t *data = NULL;
    size_t bytes;
    struct error_text error;
    assert_int_equal(json_to_wire(kinds(state), text, &data, &bytes, &error), -E2BIG);
    free(text);

    uint8_t wire[4 * WIRE_DEPTH_MAX]; /* the same from the wire: built from the inside */
    uint8_t *pos = wire + sizeof(wire);
    for (unsigned i = 0; i < WIRE_DEPTH_MAX - 1; i++) {
        size_t content = (size_t)(wire + sizeof(wire) - pos);
        pos -= wire_varint_size(content);
        (void)wire_write_varint(pos, content);
        *--pos = 0x1a; /* next */
    }
    size_t content = (size_t)(wire + sizeof(wire) - pos);
    pos -= wire_varint_size(content) + 2;
    (void)wire_write_varint(wire_write_tag(pos, 18, WIRE_BYTES), content);
    char *json = NULL;
    assert_int_equal(json_from_wire(kinds(state), pos, (size_t)(wire + sizeof(wire) - pos), 0,
                                    false, &json, &error),
                     -E2BIG);
    assert_null(json);
}

static void test_most_elements_go_both_ways_and_one_more_does_not(void **state)
{
    size_t count = (size_t)WIRE_ELEMENTS_MAX + 1;
    uint8_t *wire = malloc(count + 16);
    assert_non_null(wire);
    char *text = NULL;
    struct error_text error;
    uint8_t *pos = wire_write_varint(wire_write_tag(wire, 19, WIRE_BYTES), count);
    memset(pos, 1, count);
    assert_int_equal(
        json_from_wire(kinds(state), wire, (size_t)(pos - wire) + count, 0, false, &text, &error),
        -E2BIG);
    assert_non_null(strstr(error.text, "field numbers has too many elements"));
    pos = wire_write_varint(wire_write_tag(wire, 19, WIRE_BYTES), count - 1);
    memset(pos, 1, count - 1);
    size_t bytes = (size_t)(pos - wire) + count - 1;
    assert_int_equal(json_from_wire(kinds(state), wire, bytes, 0, false, &text, &error), 0);
    uint8_t *again = NULL;
    size_t again_bytes;
    assert_int_equal(json_to_wire(kinds(state), text, &again, &again_bytes, &error), 0);
    assert_int_equal(again_bytes, bytes);
    assert_memory_equal(again, wire, bytes);
    free(again);
    again = NULL;
    size_t length = strlen(text);
    char *more = malloc(length + 8);
    assert_non_null(more);
    memcpy(more, text, length - 2); /* "]}" */
    memcpy(more + length - 2, ",1]}", 5);
    assert_int_equal(json_to_wire(kinds(state), more, &again, &again_bytes, &error), -E2BIG);
    assert_null(again);
    free(more);
    free(text);
    free(wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars_have_protobufs_encoding),
        cmocka_unit_test(test_scalars_go_both_ways),
        cmocka_unit_test(test_other_spellings_are_read),
        cmocka_unit_test(test_defaults_without_presence_are_not_sent),
        cmocka_unit_test(test_fields_are_written_by_number),
        cmocka_unit_test(test_lists_are_packed_where_the_schema_says),
        cmocka_unit_test(test_map_entries_always_have_both_parts),
        cmocka_unit_test(test_what_does_not_fit_is_refused_with_its_place),
        cmocka_unit_test(test_required_fields_are_required_both_ways),
        cmocka_unit_test(test_closed_enums_take_only_their_values),
        cmocka_unit_test(test_last_value_wins_and_messages_merge),
        cmocka_unit_test(test_packed_and_unpacked_are_both_read),
        cmocka_unit_test(test_unknown_fields_are_left_out),
        cmocka_unit_test(test_all_shows_defaults_without_presence),
        cmocka_unit_test(test_indented_text_has_a_line_for_each_value),
        cmocka_unit_test(test_what_is_no_message_is_refused),
        cmocka_unit_test(test_deepest_message_goes_both_ways_and_one_deeper_does_not),
        cmocka_unit_test(test_most_elements_go_both_ways_and_one_more_does_not),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
