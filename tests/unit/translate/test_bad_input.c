/*
 * Bad input by name, each at its limit and one past it: bytes that are no message, values that have
 * no place, and rules that cannot be. A message is refused with the field and the place, and a rule
 * with its element and the way out. Versions are made by hand from the structs of tests/laws; what
 * the limits on depth, fields, elements and size do is in test_identity.c, rules' texts and names
 * in test_compile.c.
 */
#include "support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "laws/laws.h"

/* ---- Versions by hand ---- */

static struct field *add_field(struct version *version, int message, const char *name,
                               uint32_t number, int type, enum label label)
{
    struct message *into = &version->messages[message];
    struct field *field = &into->fields[into->field_count++];
    *field = (struct field){.number = number, .type = type, .label = label, .ref = REF_NONE};
    field->oneof = field->packed = -1;
    strcpy(field->name, name);
    return field;
}

static void add_message(struct version *version, const char *name)
{
    strcpy(version->messages[version->message_count++].name, name);
}

static void add_value(struct enumeration *enumeration, const char *name, int32_t number)
{
    struct value_name *value = &enumeration->values[enumeration->value_count++];
    *value = (struct value_name){.number = number};
    strcpy(value->name, name);
}

static struct schema *schema_of(const struct version *version)
{
    struct buffer set = {0};
    struct schema *schema = NULL;
    struct error_text error = {""};
    describe_set(version, &set);
    if (schema_new(set.data, set.bytes, NULL, &schema, &error) < 0)
        fail_msg("%s", error.text);
    buffer_free(&set);
    return schema;
}

/* Every kind of field, under other numbers in version 2. */
static void all_kinds(struct version *version, int index)
{
    uint32_t more = index ? 20 : 0;
    *version = (struct version){.index = index, .proto3 = true};
    add_message(version, "Root");
    strcpy(version->enums[0].name, "Kind");
    strcpy(version->enums[0].prefix, "KIND");
    add_value(&version->enums[0], "NONE", 0);
    add_value(&version->enums[0], "SOME", 1);
    version->enum_count = 1;
    add_field(version, 0, "number", more + 1, TYPE(UINT64), LABEL_PLAIN);
    add_field(version, 0, "text", more + 2, TYPE(STRING), LABEL_PLAIN);
    add_field(version, 0, "raw", more + 3, TYPE(BYTES), LABEL_PLAIN);
    add_field(version, 0, "child", more + 4, TYPE(MESSAGE), LABEL_PLAIN)->ref = 0;
    add_field(version, 0, "flags", more + 5, TYPE(BOOL), LABEL_REPEATED);
    add_field(version, 0, "small", more + 6, TYPE(FIXED32), LABEL_PLAIN);
    add_field(version, 0, "large", more + 7, TYPE(FIXED64), LABEL_PLAIN);
    add_field(version, 0, "map", more + 8, TYPE(STRING), LABEL_MAP)->key_type = TYPE(STRING);
    add_field(version, 0, "kind", more + 9, TYPE(ENUM), LABEL_PLAIN)->ref = 0;
    add_field(version, 0, "words", more + 10, TYPE(STRING), LABEL_REPEATED);
    add_field(version, 0, "list", more + 11, TYPE(FIXED32), LABEL_REPEATED);
    add_field(version, 0, "counts", more + 12, TYPE(INT32), LABEL_REPEATED);
}

static struct schema *v1, *v2;
static struct plan *plans[2]; /* one that copies, one that translates */

static int setup(void **state)
{
    (void)state;
    static struct version version;
    all_kinds(&version, 0);
    v1 = schema_of(&version);
    all_kinds(&version, 1);
    v2 = schema_of(&version);
    assert_int_equal(plan_compile(v1, v1, PLAN_REQUESTS, &plans[0], NULL), 0);
    assert_int_equal(plan_compile(v1, v2, PLAN_REQUESTS, &plans[1], NULL), 0);
    assert_int_equal(plan_class(plans[0]), PLAN_IDENTITY);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    plan_unref(plans[0]);
    plan_unref(plans[1]);
    schema_unref(v1);
    schema_unref(v2);
    return 0;
}

static int run(const struct plan *plan, const void *data, size_t bytes,
               struct plan_failure *ret_failure)
{
    size_t most = plan_output_bytes_max(plan, bytes), ret_bytes;
    uint8_t *source = must_alloc(bytes), *out = must_alloc(most);
    if (bytes > 0)
        memcpy(source, data, bytes);
    int r = plan_run(plan, 0, source, bytes, out, most, &ret_bytes, ret_failure);
    free(source);
    free(out);
    return r;
}

#define GOOD(bytes) assert_good("" bytes, sizeof(bytes) - 1)
#define BAD(bytes, offset, number) assert_bad("" bytes, sizeof(bytes) - 1, offset, number)

static void assert_good(const char *bytes, size_t count)
{
    struct plan_failure failure = {0, 0, "?"};
    for (int i = 0; i < 2; i++)
        if (run(plans[i], bytes, count, &failure) < 0)
            fail_msg("plan %d refuses it at %zu, field %u: %s", i, failure.offset, failure.number,
                     failure.what);
}

static void assert_bad(const char *bytes, size_t count, size_t offset, uint32_t number)
{
    for (int i = 0; i < 2; i++) {
        struct plan_failure failure = {0, 0, NULL};
        assert_int_equal(run(plans[i], bytes, count, &failure), -EBADMSG);
        assert_non_null(failure.what);
        if (failure.offset != offset || failure.number != number)
            fail_msg("plan %d: at %zu, field %u (%s), not at %zu, field %u", i, failure.offset,
                     failure.number, failure.what, offset, number);
    }
}

/* ---- Bytes ---- */

static void test_varint_has_at_most_ten_bytes_and_64_bits(void **state)
{
    (void)state;
    GOOD("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    GOOD("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00");
    BAD("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 0, 1);
    BAD("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 0, 1);
    BAD("\x08", 0, 1);
    BAD("\x08\x80", 0, 1);
}

static void test_tag_has_at_most_five_bytes_and_29_bits_of_number(void **state)
{
    (void)state;
    GOOD("\x88\x80\x80\x80\x00\x01");
    GOOD("\xf8\xff\xff\xff\x0f\x01");
    BAD("\xf8\xff\xff\xff\x1f\x01", 0, 0);
    BAD("\x88\x80\x80\x80\x80\x00\x01", 0, 0);
    BAD("\x00\x01", 0, 0);
    BAD("\x88", 0, 0);
}

static void test_length_ends_with_its_message_and_does_not_wrap(void **state)
{
    (void)state;
    GOOD("\x1a\x03"
         "abc");
    BAD("\x1a\x04"
        "abc",
        0, 3);
    BAD("\x08\x01\x1a\x01", 2, 3);
    BAD("\x1a\xff\xff\xff\xff\x0f"
        "abc",
        0, 3);
    BAD("\x1a\x80\x80\x80\x80\x10"
        "abc",
        0, 3);
    BAD("\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
        "abc",
        0, 3);
    BAD("\x1a\xfd\xff\xff\xff\xff\xff\xff\xff\xff\x01"
        "abc",
        0, 3);
    /* Inside a message, its end counts, not that of the one around it. */
    GOOD("\x22\x03\x1a\x01"
         "a"
         "\x08\x01");
    BAD("\x22\x03\x1a\x02"
        "a"
        "\x08\x01",
        2, 3);
}

static void test_fixed_values_have_all_their_bytes(void **state)
{
    (void)state;
    GOOD("\x35\x01\x02\x03\x04");
    BAD("\x35\x01\x02\x03", 0, 6);
    GOOD("\x39\x01\x02\x03\x04\x05\x06\x07\x08");
    BAD("\x39\x01\x02\x03\x04\x05\x06\x07", 0, 7);
    /* Unknown ones too. */
    GOOD("\xf5\x07\x01\x02\x03\x04");
    BAD("\xf5\x07\x01\x02\x03", 0, 126);
    BAD("\xf1\x07\x01\x02\x03\x04\x05\x06\x07", 0, 126);
}

static void test_wire_type_that_is_not_the_fields_is_refused(void **state)
{
    (void)state;
    static const uint8_t wires[] = {WIRE_VARINT, WIRE_BYTES, WIRE_BYTES, WIRE_BYTES,
                                    WIRE_VARINT, WIRE_32BIT, WIRE_64BIT, WIRE_BYTES,
                                    WIRE_VARINT, WIRE_BYTES, WIRE_32BIT, WIRE_VARINT};
    for (uint8_t number = 1; number <= 12; number++) {
        bool packable = number == 5 || number > 10;
        for (uint8_t wire = 0; wire < 8; wire++) {
            /* Right for each: a varint 0, a length 0, all bytes of fixed ones. */
            char bytes[9] = {(char)(number << 3 | wire)};
            size_t count = wire == WIRE_64BIT ? 9 : wire == WIRE_32BIT ? 5 : 2;
            if (wire == wires[number - 1] || (packable && wire == WIRE_BYTES))
                assert_good(bytes, count);
            else
                assert_bad(bytes, count, 0, number);
        }
    }
}

static void test_groups_are_refused_wherever_they_are(void **state)
{
    (void)state;
    BAD("\xf3\x07\xf4\x07", 0, 126);
    BAD("\x08\x01\xf4\x07", 2, 126);
    BAD("\x0b\x0c", 0, 1);
    BAD("\x22\x04\xf3\x07\xf4\x07", 2, 126);
    BAD("\x42\x06\x0a\x00\xf3\x07\xf4\x07", 4, 126);
}

static void test_strings_are_utf8_without_nul(void **state)
{
    (void)state;
    GOOD("\x12\x01\x01");
    BAD("\x12\x01\x00", 0, 2);
    BAD("\x12\x03"
        "a\0b",
        0, 2);
    GOOD("\x12\x01\x7f");
    BAD("\x12\x01\x80", 0, 2);
    GOOD("\x12\x02\xc2\x80");
    BAD("\x12\x02\xc1\xbf", 0, 2); /* overlong */
    BAD("\x12\x01\xc2", 0, 2);
    GOOD("\x12\x03\xe0\xa0\x80");
    BAD("\x12\x03\xe0\x9f\xbf", 0, 2);
    GOOD("\x12\x03\xed\x9f\xbf");
    BAD("\x12\x03\xed\xa0\x80", 0, 2); /* a surrogate */
    GOOD("\x12\x04\xf4\x8f\xbf\xbf");
    BAD("\x12\x04\xf4\x90\x80\x80", 0, 2); /* past U+10FFFF */
    GOOD("\x12\x04\xf0\x90\x80\x80");
    BAD("\x12\x04\xf0\x8f\xbf\xbf", 0, 2);
    /* Bytes are bytes. */
    GOOD("\x1a\x04\x00\xff\xed\xa0");
    /* A sequence does not go on in the next field. */
    BAD("\x12\x01\xc2\x12\x01\x80", 0, 2);
}

static void test_strings_are_checked_in_lists_and_maps_and_messages(void **state)
{
    (void)state;
    GOOD("\x52\x01"
         "a"
         "\x52\x00");
    BAD("\x52\x01"
        "a"
        "\x52\x01\x00",
        3, 10);
    GOOD("\x42\x06\x0a\x01"
         "k"
         "\x12\x01"
         "v");
    BAD("\x42\x06\x0a\x01\xff\x12\x01"
        "v",
        2, 1);
    BAD("\x42\x06\x0a\x01"
        "k"
        "\x12\x01\xff",
        5, 2);
    BAD("\x22\x03\x12\x01\xff", 2, 2);
}

static void test_packed_values_fill_their_length(void **state)
{
    (void)state;
    GOOD("\x2a\x02\x00\x01");
    BAD("\x2a\x02\x00\x02", 0, 5); /* protobuf-c reads each byte as one */
    BAD("\x2a\x02\x81\x00", 0, 5);
    GOOD("\x5a\x08\x01\x02\x03\x04\x05\x06\x07\x08");
    BAD("\x5a\x07\x01\x02\x03\x04\x05\x06\x07", 0, 11);
    BAD("\x5a\x09\x01\x02\x03\x04\x05\x06\x07\x08\x09", 0, 11);
    GOOD("\x62\x03\x01\x80\x01");
    BAD("\x62\x02\x01\x80\x01", 0, 12);
    GOOD("\x62\x00");
}

static void test_truncated_at_any_byte_a_message_is_refused_there(void **state)
{
    (void)state;
    /* Between two fields it is a message; inside one it is none, from where the field begins. */
    static const char whole[] = "\x08\x80\x01\x12\x02"
                                "ab"
                                "\x22\x05\x0a\x03\x08\x80\x01";
    static const char is_good[] = "1001000100000000";
    for (size_t bytes = 0; bytes + 1 < sizeof(whole) - 1; bytes++) {
        struct plan_failure failure = {0, 0, NULL};
        for (int i = 0; i < 2; i++) {
            int r = run(plans[i], whole, bytes, &failure);
            assert_int_equal(r, is_good[bytes] == '1' ? 0 : -EBADMSG);
            if (r < 0)
                assert_int_equal(failure.offset, bytes < 3 ? 0 : bytes < 7 ? 3 : 7);
        }
    }
}

/* ---- Values that have no place ---- */

static struct plan *between(struct version *older, struct version *newer, bool up)
{
    struct schema *a = schema_of(older), *b = schema_of(newer);
    struct plan *plan = NULL;
    struct error_text error = {""};
    if (plan_compile(up ? a : b, up ? b : a, PLAN_REQUESTS, &plan, &error) < 0)
        fail_msg("%s", error.text);
    schema_unref(a);
    schema_unref(b);
    return plan;
}

static void one_field(struct version *version, int index, int type, enum label label)
{
    *version = (struct version){.index = index, .proto3 = true};
    add_message(version, "Root");
    add_field(version, 0, "value", 1, type, label);
}

static void check_range(int from, int to, int64_t least, uint64_t most)
{
    static struct version older, newer;
    one_field(&older, 0, from, LABEL_PLAIN);
    one_field(&newer, 1, to, LABEL_PLAIN);
    struct plan *plan = between(&older, &newer, true);
    const uint64_t values[] = {most, most + 1, (uint64_t)least, (uint64_t)least - 1};
    for (unsigned i = 0; i < 4; i++) {
        struct buffer message = {0};
        struct plan_failure failure = {0, 0, NULL};
        buffer_field_varint(&message, 1, values[i]);
        assert_int_equal(run(plan, message.data, message.bytes, &failure), i & 1 ? -ERANGE : 0);
        if (i & 1)
            assert_true(failure.number == 1 && failure.offset == 0 && failure.what);
        buffer_free(&message);
    }
    plan_unref(plan);
}

static void test_integers_that_do_not_fit_are_refused_one_past_the_limit(void **state)
{
    (void)state;
    check_range(TYPE(INT64), TYPE(INT32), INT32_MIN, INT32_MAX);
    check_range(TYPE(INT64), TYPE(SFIXED32), INT32_MIN, INT32_MAX);
    check_range(TYPE(INT64), TYPE(UINT32), 0, UINT32_MAX);
    check_range(TYPE(INT64), TYPE(FIXED32), 0, UINT32_MAX);
}

static void test_product_that_does_not_fit_is_refused_one_past_the_limit(void **state)
{
    (void)state;
    static struct version older, newer;
    one_field(&older, 0, TYPE(UINT32), LABEL_PLAIN);
    one_field(&newer, 1, TYPE(INT32), LABEL_PLAIN);
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    rule.has_multiply = true;
    rule.multiply = 1000;
    option_add(&newer.messages[0].fields[0].rule, &rule);
    struct plan *plan = between(&older, &newer, true);
    for (uint64_t value = 2147483; value <= 2147484; value++) {
        struct buffer message = {0};
        buffer_field_varint(&message, 1, value);
        assert_int_equal(run(plan, message.data, message.bytes, NULL),
                         value == 2147483 ? 0 : -ERANGE);
        buffer_free(&message);
    }
    plan_unref(plan);
}

static void test_bytes_that_are_no_text_are_refused_where_a_string_is_read(void **state)
{
    (void)state;
    static struct version older, newer;
    one_field(&older, 0, TYPE(BYTES), LABEL_REPEATED);
    one_field(&newer, 1, TYPE(STRING), LABEL_REPEATED);
    struct plan *up = between(&older, &newer, true), *down = between(&older, &newer, false);
    struct plan_failure failure = {0, 0, NULL};
    assert_int_equal(run(up,
                         "\x0a\x01"
                         "a"
                         "\x0a\x01\xff",
                         6, &failure),
                     -EBADMSG);
    assert_int_equal(failure.offset, 3);
    assert_int_equal(run(up, "\x0a\x01\x00", 3, NULL), -EBADMSG);
    assert_int_equal(run(down, "\x0a\x01\xff", 3, NULL), -EBADMSG);
    assert_int_equal(run(down,
                         "\x0a\x01"
                         "a",
                         3, NULL),
                     0);
    plan_unref(up);
    plan_unref(down);
}

/* What a carrier has is the owner's fields, and is held to all of the above. */
static void test_carrier_is_checked_as_the_fields_that_it_has(void **state)
{
    (void)state;
    static struct version older, newer;
    one_field(&older, 0, TYPE(BYTES), LABEL_PLAIN);
    strcpy(older.messages[0].fields[0].name, "only");
    one_field(&newer, 1, TYPE(STRING), LABEL_PLAIN);
    struct plan *down = between(&older, &newer, false), *up = between(&older, &newer, true);
    size_t most = plan_output_bytes_max(down, 3), bytes;
    uint8_t *out = must_alloc(most);
    assert_int_equal(plan_run(down, 0,
                              (const uint8_t *)"\x0a\x01"
                                               "a",
                              3, out, most, &bytes, NULL),
                     0);
    assert_int_equal(run(up, out, bytes, NULL), 0);
    struct plan_failure failure = {0, 0, NULL};
    assert_int_equal(out[bytes - 1], 'a');
    out[bytes - 1] = 0xff;
    assert_int_equal(run(up, out, bytes, &failure), -EBADMSG);
    assert_true(failure.offset > 0 && failure.offset < bytes);
    out[bytes - 1] = 'a';
    out[bytes - 2] = 2; /* the length in it */
    assert_int_equal(run(up, out, bytes, NULL), -EBADMSG);
    free(out);
    plan_unref(up);
    plan_unref(down);
}

/* ---- Rules that cannot be ---- */

/* Two versions of a message with texts and numbers, which a test changes before they meet. */
static struct version older, newer;

static void two_versions(void)
{
    for (int i = 0; i < 2; i++) {
        struct version *version = i ? &newer : &older;
        *version = (struct version){.index = i, .proto3 = true};
        add_message(version, "Root");
        add_message(version, "Part");
        add_field(version, 0, "name", 1, TYPE(STRING), LABEL_PLAIN);
        add_field(version, 0, "size", 2, TYPE(INT32), LABEL_PLAIN);
        add_field(version, 0, "part", 3, TYPE(MESSAGE), LABEL_PLAIN)->ref = 1;
        add_field(version, 1, "first", 1, TYPE(STRING), LABEL_PLAIN);
        add_field(version, 1, "last", 2, TYPE(STRING), LABEL_PLAIN);
    }
}

static void assert_no_plan(const char *element, const char *says)
{
    struct schema *a = schema_of(&older), *b = schema_of(&newer);
    for (int i = 0; i < 4; i++) {
        struct plan *plan = NULL;
        struct error_text error = {""};
        int r = plan_compile(i & 1 ? a : b, i & 1 ? b : a, i & 2 ? PLAN_REQUESTS : PLAN_REPLIES,
                             &plan, &error);
        assert_int_equal(r, -EINVAL);
        assert_null(plan);
        /* The element, what is wrong, and behind it what to do. */
        if (!strstr(error.text, element) || !strstr(error.text, says))
            fail_msg("\"%s\" has no \"%s\" and \"%s\"", error.text, element, says);
    }
    schema_unref(a);
    schema_unref(b);
}

static void rule_on(int field, Parley__FieldRule rule)
{
    option_add(&newer.messages[0].fields[field].rule, &rule);
}

static void rule_on_message(Parley__MessageRule rule)
{
    option_add(&newer.messages[0].rule, &rule);
}

static char *text(const char *constant)
{
    return (char *)(uintptr_t)constant;
}

static Parley__FieldRule from(const char *name)
{
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    rule.from = text(name);
    return rule;
}

static void test_two_rules_for_one_field_are_refused(void **state)
{
    (void)state;
    Parley__MessageRule message = PARLEY__MESSAGE_RULE__INIT;
    Parley__Drop drop = PARLEY__DROP__INIT, *drops[] = {&drop};
    drop.from = text("name");
    drop.reason = text("gone");
    message.n_drop = 1;
    message.drop = drops;
    two_versions();
    rule_on_message(message); /* and the field is there */
    assert_no_plan("laws.v2.Root.name", "remove one");

    two_versions();
    rule_on(0, from("size"));
    newer.messages[0].fields[0].type = TYPE(INT32); /* both come from "size" */
    assert_no_plan("laws.v2.Root.", "only one may come from it");

    two_versions();
    Parley__Move move = PARLEY__MOVE__INIT, *moves[] = {&move};
    move.from = text("name");
    move.to = text("part.first");
    message = (Parley__MessageRule)PARLEY__MESSAGE_RULE__INIT;
    message.n_move = 1;
    message.move = moves;
    rule_on_message(message);
    assert_no_plan("laws.v2.Root", "move");
}

static void test_rules_that_exclude_each_other_are_refused(void **state)
{
    (void)state;
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    Parley__Split split = PARLEY__SPLIT__INIT;
    split.pattern = text("{first} {last}");
    split.otherwise = text("last");
    two_versions();
    rule.split = &split;
    rule.has_multiply = true;
    rule.multiply = 2;
    newer.messages[0].fields[0].type = TYPE(MESSAGE);
    newer.messages[0].fields[0].ref = 1;
    rule_on(0, rule); /* a step of its own, in which there are two strings */
    assert_no_plan("laws.v2.Root.name", "is for integers");
    two_versions();
    rule.has_multiply = false;
    rule.merge = &split;
    newer.messages[0].fields[0].type = TYPE(MESSAGE);
    newer.messages[0].fields[0].ref = 1;
    rule_on(0, rule);
    assert_no_plan("laws.v2.Root.name", "combined");
}

static void test_rules_that_name_nothing_are_refused(void **state)
{
    (void)state;
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    two_versions();
    rule_on(1, from("length"));
    assert_no_plan("laws.v2.Root.size", "length");

    two_versions();
    rule.wrap = text("third");
    newer.messages[0].fields[0].type = TYPE(MESSAGE);
    newer.messages[0].fields[0].ref = 1;
    rule_on(0, rule);
    assert_no_plan("laws.v2.Root.name", "names no field");

    two_versions();
    rule = (Parley__FieldRule)PARLEY__FIELD_RULE__INIT;
    Parley__Split split = PARLEY__SPLIT__INIT;
    split.pattern = text("{first} {middle}");
    split.otherwise = text("first");
    rule.split = &split;
    newer.messages[0].fields[0].type = TYPE(MESSAGE);
    newer.messages[0].fields[0].ref = 1;
    rule_on(0, rule);
    assert_no_plan("laws.v2.Root.name", "middle");

    two_versions();
    Parley__MessageRule message = PARLEY__MESSAGE_RULE__INIT;
    message.from = text("Piece");
    option_add(&newer.messages[1].rule, &message);
    assert_no_plan("laws.v2.Part", "(parley.message).from");
}

static void test_rules_that_cannot_be_undone_are_refused(void **state)
{
    (void)state;
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    Parley__Split split = PARLEY__SPLIT__INIT;
    static const char *const patterns[] = {"{first}{last}", "{first} {first}", "<{first}>"};
    for (unsigned i = 0; i < 3; i++) {
        two_versions();
        split.pattern = text(patterns[i]);
        split.otherwise = text("first");
        rule.split = &split;
        newer.messages[0].fields[0].type = TYPE(MESSAGE);
        newer.messages[0].fields[0].ref = 1;
        rule_on(0, rule);
        assert_no_plan("laws.v2.Root.name", "(parley.field).split");
    }
    two_versions();
    rule = (Parley__FieldRule)PARLEY__FIELD_RULE__INIT;
    rule.has_multiply = true;
    rule.multiply = 0; /* everything would become 0 */
    rule_on(1, rule);
    assert_no_plan("laws.v2.Root.size", "multiply");
}

static void test_types_that_no_rule_joins_are_refused(void **state)
{
    (void)state;
    two_versions();
    newer.messages[0].fields[0].type = TYPE(DOUBLE);
    assert_no_plan("laws.v2.Root.name", "; ");
    two_versions();
    newer.messages[0].fields[1].label = LABEL_REPEATED;
    assert_no_plan("laws.v2.Root.size", "; ");
    two_versions();
    newer.messages[0].fields[2].type = TYPE(INT32);
    newer.messages[0].fields[2].ref = REF_NONE;
    assert_no_plan("laws.v2.Root.part", "; ");
}

static void test_names_that_are_exchanged_are_no_cycle(void **state)
{
    (void)state;
    two_versions();
    strcpy(newer.messages[0].fields[1].name, "length");
    newer.messages[0].fields[1].type = TYPE(STRING);
    add_field(&older, 0, "length", 4, TYPE(STRING), LABEL_PLAIN);
    rule_on(0, from("length"));
    rule_on(1, from("name"));
    struct plan *plan = between(&older, &newer, true);
    size_t most = plan_output_bytes_max(plan, 6), bytes = 0;
    uint8_t *out = must_alloc(most);
    assert_int_equal(plan_run(plan, 0,
                              (const uint8_t *)"\x0a\x01"
                                               "n"
                                               "\x22\x01"
                                               "l",
                              6, out, most, &bytes, NULL),
                     0);
    assert_int_equal(bytes, 6);
    assert_memory_equal(out,
                        "\x12\x01"
                        "n"
                        "\x0a\x01"
                        "l",
                        6);
    free(out);
    plan_unref(plan);
}

static void replace(struct buffer *set, const char *what, const char *by)
{
    for (size_t i = 0; i + strlen(what) <= set->bytes; i++)
        if (memcmp(set->data + i, what, strlen(what)) == 0)
            memcpy(set->data + i, by, strlen(by));
}

static void test_versions_that_are_each_others_previous_are_refused(void **state)
{
    (void)state;
    struct buffer sets[2] = {{0}, {0}};
    struct schema *schemas[2];
    two_versions();
    older.index = 2; /* laws.v3, whose previous is laws.v2 */
    describe_set(&older, &sets[0]);
    replace(&sets[0], "laws.v3", "laws.v1");
    describe_set(&newer, &sets[1]);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(schema_new(sets[i].data, sets[i].bytes, NULL, &schemas[i], NULL), 0);
        buffer_free(&sets[i]);
    }
    for (int i = 0; i < 2; i++) {
        struct plan *plan = NULL;
        struct error_text error = {""};
        assert_int_equal(plan_compile(schemas[i], schemas[!i], PLAN_REQUESTS, &plan, &error),
                         -EINVAL);
        assert_non_null(strstr(error.text, "laws.v1"));
        assert_non_null(strstr(error.text, "previous"));
    }
    schema_unref(schemas[0]);
    schema_unref(schemas[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_varint_has_at_most_ten_bytes_and_64_bits),
        cmocka_unit_test(test_tag_has_at_most_five_bytes_and_29_bits_of_number),
        cmocka_unit_test(test_length_ends_with_its_message_and_does_not_wrap),
        cmocka_unit_test(test_fixed_values_have_all_their_bytes),
        cmocka_unit_test(test_wire_type_that_is_not_the_fields_is_refused),
        cmocka_unit_test(test_groups_are_refused_wherever_they_are),
        cmocka_unit_test(test_strings_are_utf8_without_nul),
        cmocka_unit_test(test_strings_are_checked_in_lists_and_maps_and_messages),
        cmocka_unit_test(test_packed_values_fill_their_length),
        cmocka_unit_test(test_truncated_at_any_byte_a_message_is_refused_there),
        cmocka_unit_test(test_integers_that_do_not_fit_are_refused_one_past_the_limit),
        cmocka_unit_test(test_product_that_does_not_fit_is_refused_one_past_the_limit),
        cmocka_unit_test(test_bytes_that_are_no_text_are_refused_where_a_string_is_read),
        cmocka_unit_test(test_carrier_is_checked_as_the_fields_that_it_has),
        cmocka_unit_test(test_two_rules_for_one_field_are_refused),
        cmocka_unit_test(test_rules_that_exclude_each_other_are_refused),
        cmocka_unit_test(test_rules_that_name_nothing_are_refused),
        cmocka_unit_test(test_rules_that_cannot_be_undone_are_refused),
        cmocka_unit_test(test_types_that_no_rule_joins_are_refused),
        cmocka_unit_test(test_names_that_are_exchanged_are_no_cycle),
        cmocka_unit_test(test_versions_that_are_each_others_previous_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
