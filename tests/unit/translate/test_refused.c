/* Rules on values that cannot be: refused when two versions meet, in both directions, with the
 * element, what is wrong and what to do. */
#include "support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "laws/laws.h"

/* One field, "f", in two versions; and an enum, and a string beside it that stays. */
static struct version older, newer;

static struct field *add_field(struct version *version, const char *name, uint32_t number, int type,
                               enum label label, int ref)
{
    struct field *field = &version->messages[0].fields[version->messages[0].field_count++];
    *field = (struct field){.number = number, .type = type, .label = label, .ref = ref};
    field->oneof = field->packed = -1;
    strcpy(field->name, name);
    return field;
}

static void add_value(struct enumeration *enumeration, const char *name, int32_t number)
{
    struct value_name *value = &enumeration->values[enumeration->value_count++];
    *value = (struct value_name){.number = number};
    strcpy(value->name, name);
}

static int ref_of(int type, int ref)
{
    return ref != REF_NONE ? ref : type == TYPE(ENUM) ? 0 : REF_NONE;
}

static void begin(int from, int from_ref, int to, int to_ref, enum label label)
{
    for (int i = 0; i < 2; i++) {
        struct version *version = i ? &newer : &older;
        *version =
            (struct version){.index = i, .proto3 = true, .message_count = 1, .enum_count = 1};
        strcpy(version->messages[0].name, "Root");
        strcpy(version->enums[0].name, "Kind");
        strcpy(version->enums[0].prefix, "KIND");
        add_value(&version->enums[0], "NONE", 0);
        add_value(&version->enums[0], "SOME", 1);
        int type = i ? to : from;
        add_field(version, "f", 1, type, label, ref_of(type, i ? to_ref : from_ref));
        add_field(version, "text", 2, TYPE(STRING), LABEL_PLAIN, REF_NONE);
    }
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

static void meet(const char *element, const char *says)
{
    struct schema *a = schema_of(&older), *b = schema_of(&newer);
    for (int i = 0; i < 4; i++) {
        struct plan *plan = NULL;
        struct error_text error = {""};
        int r = plan_compile(i & 1 ? a : b, i & 1 ? b : a, i & 2 ? PLAN_REQUESTS : PLAN_REPLIES,
                             &plan, &error);
        if (!says) {
            if (r < 0)
                fail_msg("%d: %s", r, error.text);
            plan_unref(plan);
            continue;
        }
        if (r != -EINVAL || !strstr(error.text, element) || !strstr(error.text, says))
            fail_msg("%d: \"%s\" has no \"%s\" and \"%s\"", r, error.text, element, says);
        assert_null(plan);
    }
    schema_unref(a);
    schema_unref(b);
}

static char *text(const char *constant)
{
    return (char *)(uintptr_t)constant;
}

#define CONVERT(...)                                                                               \
    (Parley__Convert)                                                                              \
    {                                                                                              \
        .base = PROTOBUF_C_MESSAGE_INIT(&parley__convert__descriptor), __VA_ARGS__                 \
    }

/* @says NULL: it compiles. */
static void convert_of(int from, int from_ref, int to, int to_ref, enum label label,
                       Parley__Convert convert, const char *says)
{
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    rule.convert = &convert;
    begin(from, from_ref, to, to_ref, label);
    option_add(&newer.messages[0].fields[0].rule, &rule);
    meet("laws.v2.Root.f", says);
}

static void convert(int from, int to, Parley__Convert rule, const char *says)
{
    convert_of(from, REF_NONE, to, REF_NONE, LABEL_PLAIN, rule, says);
}

static void test_types_that_have_no_conversion_are_refused(void **state)
{
    (void)state;
    static const int all[] = {TYPE(INT32), TYPE(UINT64), TYPE(DOUBLE), TYPE(BOOL),
                              TYPE(ENUM),  TYPE(STRING), TYPE(BYTES)};
    /* integer, integer, real, bool, enum, string, bytes */
    static const char sensible[7][8] = {"1111110", "1111110", "1110010", "1100010",
                                        "1100010", "1111101", "0000010"};
    for (size_t i = 0; i < 7; i++)
        for (size_t j = 0; j < 7; j++)
            convert(all[i], all[j], CONVERT(.has_multiply = 0),
                    sensible[i][j] == '1'                          ? NULL
                    : all[i] == TYPE(ENUM) && all[j] == TYPE(ENUM) ? "(parley.enumeration)"
                                                                   : "no conversion between");
}

static void test_another_type_needs_a_rule(void **state)
{
    (void)state;
    begin(TYPE(INT32), REF_NONE, TYPE(STRING), REF_NONE, LABEL_PLAIN);
    meet("laws.v2.Root.f", "convert {}");
    begin(TYPE(DOUBLE), REF_NONE, TYPE(INT32), REF_NONE, LABEL_PLAIN);
    meet("laws.v2.Root.f", "convert {}");
}

static void test_scales_that_nothing_comes_back_from_are_refused(void **state)
{
    (void)state;
    convert(TYPE(INT32), TYPE(INT64), CONVERT(.has_multiply = 1, .multiply = 0), "must not be 0");
    convert(TYPE(INT32), TYPE(INT64), CONVERT(.has_divide = 1, .divide = 0), "must not be 0");
    convert(TYPE(INT32), TYPE(BOOL), CONVERT(.has_multiply = 1, .multiply = 2), "for numbers");
    convert(TYPE(STRING), TYPE(BYTES), CONVERT(.has_offset = 1, .offset = 2), "for numbers");
    convert(TYPE(STRING), TYPE(INT32), CONVERT(.has_offset = 1, .offset = 2), "presence");
    convert(TYPE(INT32), TYPE(INT32), CONVERT(.has_multiply = 1, .multiply = -2), NULL);
}

static void test_what_says_nothing_for_these_types_is_refused(void **state)
{
    (void)state;
    convert(TYPE(INT32), TYPE(INT64), CONVERT(.has_unit = 1, .unit = 1), "unit is for");
    convert(TYPE(INT32), TYPE(INT64), CONVERT(.has_bytes = 1, .bytes = 1), "bytes is for");
    convert(TYPE(INT32), TYPE(ENUM), CONVERT(.has_exact_names = 1, .exact_names = 1),
            "exact_names is for");
}

static void test_a_time_needs_its_unit_beside_an_integer(void **state)
{
    (void)state;
    convert_of(TYPE(INT64), REF_NONE, TYPE(MESSAGE), REF_TIMESTAMP, LABEL_PLAIN,
               CONVERT(.has_unit = 0), "needs its unit");
    convert_of(TYPE(MESSAGE), REF_DURATION, TYPE(INT64), REF_NONE, LABEL_PLAIN,
               CONVERT(.has_unit = 1, .unit = 2), NULL);
    convert_of(TYPE(MESSAGE), REF_DURATION, TYPE(STRING), REF_NONE, LABEL_REPEATED,
               CONVERT(.has_unit = 1, .unit = 2), "unit is for");
    convert_of(TYPE(MESSAGE), REF_DURATION, TYPE(MESSAGE), REF_TIMESTAMP, LABEL_PLAIN,
               CONVERT(.has_unit = 0), "no conversion between");
    convert_of(TYPE(MESSAGE), REF_DURATION, TYPE(DOUBLE), REF_NONE, LABEL_PLAIN,
               CONVERT(.has_unit = 0), "no conversion between");
}

static void test_values_that_do_not_parse_are_refused(void **state)
{
    (void)state;
    convert(TYPE(STRING), TYPE(INT32), CONVERT(.otherwise = text("many")), "no value of");
    convert(TYPE(STRING), TYPE(INT32), CONVERT(.otherwise = text("2147483648")), "no value of");
    convert(TYPE(STRING), TYPE(INT32), CONVERT(.otherwise = text("2147483647")), NULL);
    convert(TYPE(ENUM), TYPE(STRING), CONVERT(.otherwise_before = text("KIND_ANY")), "KIND_ANY");
    convert(TYPE(ENUM), TYPE(STRING), CONVERT(.otherwise_before = text("SOME")), NULL);
    convert(TYPE(STRING), TYPE(BOOL), CONVERT(.otherwise = text("yes")), "\"yes\"");
}

static void test_contradicting_rules_are_refused(void **state)
{
    (void)state;
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    Parley__Convert none = CONVERT(.has_unit = 0);
    rule.convert = &none;
    rule.has_multiply = 1;
    rule.multiply = 2;
    begin(TYPE(INT32), REF_NONE, TYPE(INT64), REF_NONE, LABEL_PLAIN);
    option_add(&newer.messages[0].fields[0].rule, &rule);
    meet("laws.v2.Root.f", "cannot be combined");

    rule = (Parley__FieldRule)PARLEY__FIELD_RULE__INIT;
    rule.default_ = text("1");
    begin(TYPE(INT32), REF_NONE, TYPE(INT64), REF_NONE, LABEL_PLAIN);
    option_add(&newer.messages[0].fields[0].rule, &rule);
    meet("laws.v2.Root.f", "has one of that name");
}

static void add_news(int type, enum label label, const Parley__FieldRule *rule, const char *says)
{
    begin(TYPE(INT32), REF_NONE, TYPE(INT32), REF_NONE, LABEL_PLAIN);
    struct field *field = add_field(&newer, "added", 3, type, label, ref_of(type, REF_NONE));
    option_add(&field->rule, rule);
    meet("laws.v2.Root.added", says);
}

static void test_defaults_that_are_no_values_are_refused(void **state)
{
    (void)state;
    static const struct {
        int type;
        enum label label;
        const char *value, *says;
    } rows[] = {
        {TYPE(INT32), LABEL_PLAIN, "2147483647", NULL},
        {TYPE(INT32), LABEL_PLAIN, "2147483648", "no value of"},
        {TYPE(UINT32), LABEL_PLAIN, "-1", "no value of"},
        {TYPE(BOOL), LABEL_PLAIN, "1", "no value of"},
        {TYPE(ENUM), LABEL_PLAIN, "KIND_SOME", NULL},
        {TYPE(ENUM), LABEL_PLAIN, "KIND_LIKE", "no value of"},
        {TYPE(DOUBLE), LABEL_PLAIN, "1.5x", "no value of"},
        {TYPE(DOUBLE), LABEL_OPTIONAL, "-1.5e3", NULL},
        {TYPE(INT32), LABEL_REPEATED, "1", "singular"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
        rule.default_ = text(rows[i].value);
        add_news(rows[i].type, rows[i].label, &rule, rows[i].says);
    }
}

static void test_computed_text_needs_strings_of_both_versions(void **state)
{
    (void)state;
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    rule.computed = text("<{text}>");
    add_news(TYPE(STRING), LABEL_PLAIN, &rule, NULL);
    add_news(TYPE(INT32), LABEL_PLAIN, &rule, "singular string");
    rule.computed = text("<{f}>");
    add_news(TYPE(STRING), LABEL_PLAIN, &rule, "{f} must be");
    rule.computed = text("nothing");
    add_news(TYPE(STRING), LABEL_PLAIN, &rule, "no field in it");
    rule.computed = text("{nobody}");
    add_news(TYPE(STRING), LABEL_PLAIN, &rule, "{nobody}");
}

static void test_losing_something_needs_a_reason(void **state)
{
    (void)state;
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    rule.lossy = text("nobody needs it");
    add_news(TYPE(STRING), LABEL_PLAIN, &rule, NULL);
    rule.lossy = text("");
    add_news(TYPE(STRING), LABEL_PLAIN, &rule, "needs a reason");
}

static void rule_on_enum(const char *from, const char *otherwise, const char *before,
                         const char *says)
{
    Parley__EnumRule rule = PARLEY__ENUM_RULE__INIT;
    rule.from = text(from);
    rule.otherwise = text(otherwise);
    rule.otherwise_before = text(before);
    begin(TYPE(ENUM), REF_NONE, TYPE(ENUM), REF_NONE, LABEL_REPEATED);
    option_add(&newer.enums[0].rule, &rule);
    meet("laws.v2.Kind", says);
}

static void test_an_otherwise_that_names_nothing_is_refused(void **state)
{
    (void)state;
    rule_on_enum("Kind", "KIND_SOME", "SOME", NULL);
    rule_on_enum("Sort", NULL, NULL, "had another enum");
    rule_on_enum(NULL, "KIND_ANY", NULL, "this version has no such value");
    rule_on_enum(NULL, NULL, "KIND_ANY", "the version before has no such value");
}

static void test_names_that_are_one_in_lower_case_need_exact_names(void **state)
{
    (void)state;
    for (int exact = 0; exact < 2; exact++) {
        Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
        Parley__Convert names = CONVERT(.has_exact_names = exact, .exact_names = exact);
        rule.convert = &names;
        begin(TYPE(STRING), REF_NONE, TYPE(ENUM), REF_NONE, LABEL_PLAIN);
        add_value(&newer.enums[0], "some", 2);
        option_add(&newer.messages[0].fields[0].rule, &rule);
        meet("laws.v2.Root.f", exact ? NULL : "exact_names");
    }
}

/* ---- Value and structure at once ---- */

static struct message *add_message(struct version *version, const char *name)
{
    struct message *message = &version->messages[version->message_count++];
    *message = (struct message){.field_count = 0};
    strcpy(message->name, name);
    return message;
}

static struct field *add_to(struct message *message, const char *name, uint32_t number, int type,
                            enum label label, int ref)
{
    struct field *field = &message->fields[message->field_count++];
    *field = (struct field){.number = number, .type = type, .label = label, .ref = ref};
    field->oneof = field->packed = -1;
    strcpy(field->name, name);
    return field;
}

/* Part.size is picked from, and converted; Root.f takes it as it was, if @taken. */
static void divide_beside(bool taken)
{
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    Parley__Convert convert_rule = PARLEY__CONVERT__INIT;
    begin(TYPE(MESSAGE), 1, taken ? TYPE(STRING) : TYPE(MESSAGE), taken ? REF_NONE : 1,
          LABEL_PLAIN);
    add_to(add_message(&older, "Part"), "size", 1, TYPE(STRING), LABEL_PLAIN, REF_NONE);
    struct field *size =
        add_to(add_message(&newer, "Part"), "size", 1, TYPE(INT32), LABEL_REPEATED, REF_NONE);
    add_field(&older, "part", 3, TYPE(MESSAGE), LABEL_PLAIN, 1);
    add_field(&newer, "part", 3, TYPE(MESSAGE), LABEL_PLAIN, 1);
    rule.convert = &convert_rule;
    rule.has_pick = true;
    rule.pick = PARLEY__PICK__PICK_FIRST;
    option_add(&size->rule, &rule);
    if (taken) {
        Parley__FieldRule unwrap = PARLEY__FIELD_RULE__INIT;
        unwrap.unwrap = text("size");
        option_add(&newer.messages[0].fields[0].rule, &unwrap);
    }
}

static void test_a_field_that_another_rule_takes_is_not_divided(void **state)
{
    (void)state;
    divide_beside(false);
    meet("", NULL);
    divide_beside(true);
    meet("laws.v2.Part.size", "another rule takes it as it was");
}

/* Root.f becomes a message Hold that wraps it; @shared: the older version has one, too. */
static void wrap_enum(bool shared)
{
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    Parley__ValueRule to = PARLEY__VALUE_RULE__INIT;
    begin(TYPE(ENUM), 0, TYPE(MESSAGE), 1, LABEL_PLAIN);
    if (shared)
        add_to(add_message(&older, "Hold"), "kind", 1, TYPE(ENUM), LABEL_PLAIN, 0);
    add_to(add_message(&newer, "Hold"), "kind", 1, TYPE(ENUM), LABEL_PLAIN, 0);
    add_value(&newer.enums[0], "MORE", 2);
    to.to = text("KIND_SOME");
    option_add(&newer.enums[0].values[2].rule, &to);
    rule.wrap = text("kind");
    option_add(&newer.messages[0].fields[0].rule, &rule);
}

static void test_an_enum_in_a_message_of_both_is_not_divided(void **state)
{
    (void)state;
    wrap_enum(false);
    meet("", NULL);
    wrap_enum(true);
    meet("laws.v2.Root.f", "a name of its own");
}

static void test_a_wrap_that_names_nothing_is_refused_beside_a_conversion(void **state)
{
    (void)state;
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    Parley__Convert convert_rule = PARLEY__CONVERT__INIT;
    begin(TYPE(STRING), REF_NONE, TYPE(MESSAGE), 1, LABEL_PLAIN);
    add_to(add_message(&newer, "Hold"), "kind", 1, TYPE(INT32), LABEL_PLAIN, REF_NONE);
    rule.convert = &convert_rule;
    rule.wrap = text("nope");
    option_add(&newer.messages[0].fields[0].rule, &rule);
    meet("laws.v2.Root.f", "what wrap names is not there");
    newer.messages[0].fields[0].rule.bytes = 0;
    rule.wrap = text("kind");
    option_add(&newer.messages[0].fields[0].rule, &rule);
    meet("", NULL);
}

static void test_errors_of_a_divided_field_name_the_versions_that_there_are(void **state)
{
    (void)state;
    Parley__FieldRule rule = PARLEY__FIELD_RULE__INIT;
    Parley__Convert convert_rule = CONVERT(.has_unit = true, .unit = 1);
    begin(TYPE(STRING), REF_NONE, TYPE(INT32), REF_NONE, LABEL_PLAIN);
    newer.messages[0].fields[0].label = LABEL_REPEATED;
    rule.convert = &convert_rule; /* of what is no time */
    rule.has_pick = true;
    rule.pick = PARLEY__PICK__PICK_FIRST;
    option_add(&newer.messages[0].fields[0].rule, &rule);
    meet("laws.v2.Root.f: (parley.field).convert", "unit");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types_that_have_no_conversion_are_refused),
        cmocka_unit_test(test_another_type_needs_a_rule),
        cmocka_unit_test(test_scales_that_nothing_comes_back_from_are_refused),
        cmocka_unit_test(test_what_says_nothing_for_these_types_is_refused),
        cmocka_unit_test(test_a_time_needs_its_unit_beside_an_integer),
        cmocka_unit_test(test_values_that_do_not_parse_are_refused),
        cmocka_unit_test(test_contradicting_rules_are_refused),
        cmocka_unit_test(test_defaults_that_are_no_values_are_refused),
        cmocka_unit_test(test_computed_text_needs_strings_of_both_versions),
        cmocka_unit_test(test_losing_something_needs_a_reason),
        cmocka_unit_test(test_an_otherwise_that_names_nothing_is_refused),
        cmocka_unit_test(test_names_that_are_one_in_lower_case_need_exact_names),
        cmocka_unit_test(test_a_field_that_another_rule_takes_is_not_divided),
        cmocka_unit_test(test_an_enum_in_a_message_of_both_is_not_divided),
        cmocka_unit_test(test_a_wrap_that_names_nothing_is_refused_beside_a_conversion),
        cmocka_unit_test(test_errors_of_a_divided_field_name_the_versions_that_there_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
