/* What keeps two majors from being bridged, with the option to add; and what does not. */
#include "support/test.h"

#include "translate/bridge.h"
#include "unit/schema/protos.h"

#define HEAD1                                                                                      \
    "syntax = \"proto3\"; package t.v1; import \"parley/options.proto\";\n"                        \
    "option (parley.interface) = { name: \"t\" version: \"1.0.0\" };\n"                            \
    "service S { rpc F(M) returns (M); }\n"
#define HEAD2_WITH(accept)                                                                         \
    "syntax = \"proto3\"; package t.v2; import \"parley/options.proto\";\n"                        \
    "option (parley.interface) = { name: \"t\" version: \"2.0.0\" previous: \"t.v1\" " accept      \
    "};\n"
#define HEAD2 HEAD2_WITH("") "service S { rpc F(M) returns (M); }\n"

struct bridge_case {
    const char *expected; /* "RULE element" a line */
    const char *option;   /* in the first finding's sentence */
    const char *old, *new, *near;
};

static const struct bridge_case cases[] = {
    {"PARLEY_FIELD_NEEDS_RULE t.v2.M.synopsis\n", "[(parley.field).from = \"summary\"]",
     HEAD1 "message M { string summary = 10; }", HEAD2 "message M { string synopsis = 9; }",
     HEAD2 "message M { string synopsis = 9 [(parley.field).from = \"summary\"]; }"},
    {"PARLEY_FIELD_NEEDS_RULE t.v2.M.b\n", "drop = { from: \"a\" reason:",
     HEAD1 "message M { int32 a = 1; }", HEAD2 "message M { int32 b = 1; }",
     HEAD2 "message M { option (parley.message).drop = { from: \"a\" reason: \"gone\" }; "
           "int32 b = 1; }"},
    {"PARLEY_FIELD_NEEDS_RULE t.v2.M.c\n", "[(parley.field).from = \"a\"]",
     HEAD1 "message M { int32 a = 2; }",
     HEAD2 "message M { int32 b = 1; int32 c = 2; }", /* the one of its number */
     HEAD2 "message M { string b = 1; repeated int32 c = 2; }"},
    {"PARLEY_FIELD_NEEDS_RULE t.v2.M.b\n", "has its type (others: c, d); if",
     HEAD1 "message M { int32 a = 5; }",
     HEAD2 "message M { int32 b = 1; int32 c = 2; int32 d = 3; }",
     HEAD2 "message M { int32 b = 1; int32 c = 2; int32 d = 3 [(parley.field).from = \"a\"]; }"},
    {"PARLEY_MESSAGE_NEEDS_RULE t.v2.M\n",
     "t.v1.M has no field \"nme\" (did you mean \"name\"?); name one that it has",
     HEAD1 "message M { string name = 1; int32 b = 2; }",
     HEAD2 "message M { string who = 1 [(parley.field).from = \"nme\"]; int32 b = 2; }",
     HEAD2 "message M { string who = 1 [(parley.field).from = \"name\"]; int32 b = 2; }"},
    {"PARLEY_FIELD_NEEDS_RULE t.v2.M.a\n", "[(parley.field).pick = PICK_FIRST]",
     HEAD1 "message M { repeated int32 a = 1; }", HEAD2 "message M { int32 a = 1; }",
     HEAD2 "message M { int32 a = 1 [(parley.field).pick = PICK_FIRST]; }"},
    {"PARLEY_FIELD_NEEDS_RULE t.v2.M.a\n", "[(parley.field).split = { pattern: \"{x} {y}\" ",
     HEAD1 "message M { string a = 1; }",
     HEAD2 "message M { N a = 1; } message N { string x = 1; string y = 2; }",
     HEAD2 "message M { N a = 1 [(parley.field).split = { pattern: \"{x} {y}\" otherwise: \"x\" }];"
           " } message N { string x = 1; string y = 2; }"},
    {"PARLEY_FIELD_NEEDS_RULE t.v2.M.a\n", "[(parley.field).wrap = \"value\"]",
     HEAD1 "message M { int32 a = 1; }",
     HEAD2 "message M { N a = 1; } message N { int32 value = 1; }",
     HEAD2 "message M { N a = 1 [(parley.field).wrap = \"value\"]; }"
           " message N { int32 value = 1; }"},
    {"PARLEY_FIELD_NEEDS_RULE t.v2.M.a\nPARLEY_FIELD_NEEDS_RULE t.v2.M.b\n",
     "[(parley.field).unwrap = \"value\"]",
     HEAD1 "message M { N a = 1; N b = 2; } message N { int32 value = 1; }",
     HEAD2 "message M { int32 a = 1;\nint32 b = 2; }", /* all of them, not the first alone */
     HEAD2 "message M { int32 a = 1 [(parley.field).unwrap = \"value\"];"
           " int32 b = 2 [(parley.field).unwrap = \"value\"]; }"},
    {"PARLEY_FIELD_NEEDS_RULE t.v2.M.a\n", "[(parley.field).entries = { key: \"k\" value: \"v\" }]",
     HEAD1 "message M { repeated N a = 1; } message N { string k = 1; int32 v = 2; }",
     HEAD2 "message M { map<string, int32> a = 1; }",
     HEAD2 "message M { map<string, int32> a = 1 "
           "[(parley.field).entries = { key: \"k\" value: \"v\" }]; }"},
    {"PARLEY_VALUE_NEEDS_RULE t.v2.E.E_C\n", "[(parley.value).to = \"",
     HEAD1 "message M { E a = 1; repeated E b = 2; } enum E { E_Z = 0; E_A = 1; E_B = 2; }",
     HEAD2
     "message M { E a = 1; repeated E b = 2; } enum E { E_Z = 0; E_A = 3; E_B = 1; E_C = 2; }",
     HEAD2
     "message M { E a = 1; repeated E b = 2; } enum E { E_Z = 0; E_A = 1; E_B = 2; E_C = 3; }"},
    {"PARLEY_FIELD_NEEDS_RULE t.v2.M.a\n", "[(parley.field).convert = { unit: TIME_UNIT_SECONDS }]",
     HEAD1 "message M { int64 a = 1; }",
     HEAD2 "import \"google/protobuf/timestamp.proto\";\n"
           "message M { google.protobuf.Timestamp a = 1; }",
     HEAD2 "import \"google/protobuf/timestamp.proto\";\n"
           "message M { google.protobuf.Timestamp a = 1 "
           "[(parley.field).convert = { unit: TIME_UNIT_SECONDS }]; }"},
    {"PARLEY_FIELD_NEEDS_RULE t.v2.M.a\n", "[(parley.field).convert = { otherwise: \"E_Z\" }]",
     HEAD1 "message M { string a = 1; }",
     HEAD2 "message M { E a = 1; } enum E { E_Z = 0; E_A = 1; }",
     HEAD2 "message M { E a = 1 [(parley.field).convert = { otherwise: \"E_Z\" }]; }"
           " enum E { E_Z = 0; E_A = 1; }"},
    {"PARLEY_FIELD_NEEDS_RULE t.v2.M.a\n", "convert {}", HEAD1 "message M { string a = 1; }",
     HEAD2 "message M { int32 a = 1; }",
     HEAD2 "message M { int32 a = 1 [(parley.field) = { convert {} }]; }"},
    {"PARLEY_FIELD_NEEDS_RULE t.v2.M.a\n", "option (parley.message).from = \"K\" to t.v2.L",
     HEAD1 "message M { K a = 1; } message K {}", HEAD2 "message M { L a = 1; } message L {}",
     HEAD2 "message M { L a = 1; } message L { option (parley.message).from = \"K\"; }"},
    {"PARLEY_MESSAGE_NEEDS_RULE t.v2.M\n", "(parley.field).from",
     HEAD1 "message M { int32 a = 1; }",
     HEAD2 "message M { int64 a = 1 [(parley.field).from = \"z\"]; }",
     HEAD2 "message M { int64 a = 1 [(parley.field).from = \"a\"]; }"},
    {"PARLEY_METHOD_NEEDS_RULE t.v2.S.F\n", "option (parley.method).from = \"F\"",
     HEAD1 "message M {}", HEAD2_WITH("") "service S { rpc G(M) returns (M); }\nmessage M {}",
     HEAD2_WITH("") "service S { rpc G(M) returns (M) { option (parley.method).from = \"F\"; } }\n"
                    "message M {}"},
    {"PARLEY_METHOD_NEEDS_RULE t.v2.S.F\n", "streaming", HEAD1 "message M {}",
     HEAD2_WITH("") "service S { rpc F(stream M) returns (M); }\nmessage M {}",
     HEAD2_WITH(
         "") "service S { rpc F(M) returns (M); rpc G(stream M) returns (M); }\nmessage M {}"},
    {"PARLEY_METHOD_NEEDS_RULE t.v2.S.F\n", "(parley.message).from", HEAD1 "message M {}",
     HEAD2_WITH("") "service S { rpc F(N) returns (N); }\nmessage N {}",
     HEAD2_WITH("") "service S { rpc F(N) returns (N); }\n"
                    "message N { option (parley.message).from = \"M\"; }"},
};

static struct diff *bridge(const char *old, const char *new)
{
    struct schema *before = schema_of(proto_compile(old)), *after = schema_of(proto_compile(new));
    struct diff *diff = NULL;
    struct error_text error = {""};
    assert_int_equal(diff_new(before, after, &(struct diff_options){.bridges = true}, &diff), 0);
    if (diff_bridges(diff, before, after, &error) < 0 || diff_finish(diff, &error) < 0)
        fail_msg("%s", error.text);
    schema_unref(before);
    schema_unref(after);
    return diff;
}

static void assert_findings(const struct diff *diff, const char *expected, const char *text)
{
    char found[8192] = "", sentences[8192] = "";
    size_t count, used = 0, said = 0;
    const struct diff_finding *findings = diff_findings(diff, &count);
    for (size_t i = 0; i < count && used < 4096 && said < 4096; i++) {
        used += (size_t)snprintf(found + used, sizeof(found) - used, "%s %s\n",
                                 diff_rule_name(findings[i].rule), findings[i].element);
        said += (size_t)snprintf(sentences + said, sizeof(sentences) - said, "%s\n",
                                 findings[i].sentence);
    }
    if (strcmp(found, expected) != 0)
        fail_msg("%s\n-- expected:\n%s-- found:\n%s%s", text, expected, found, sentences);
}

static void test_what_the_compiler_refuses_is_a_finding_with_the_option_to_add(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct diff *diff = bridge(cases[i].old, cases[i].new);
        assert_findings(diff, cases[i].expected, cases[i].new);
        size_t count;
        const struct diff_finding *findings = diff_findings(diff, &count);
        if (!strstr(findings[0].sentence, cases[i].option))
            fail_msg("%s\n-- not in:\n%s", cases[i].option, findings[0].sentence);
        assert_true(findings[0].line > 0);
        diff_free(diff);
    }
}

static void test_what_a_rule_or_the_translator_bridges_is_none(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct diff *diff = bridge(cases[i].old, cases[i].near);
        assert_findings(diff, "", cases[i].near);
        diff_free(diff);
    }
}

static void test_a_bridge_that_is_missing_can_be_accepted(void **state)
{
    (void)state;
    struct diff *diff =
        bridge(HEAD1 "message M {}",
               HEAD2_WITH("accept { rule: \"PARLEY_METHOD_NEEDS_RULE\" element: \"t.v2.S.F\" "
                          "reason: \"nobody calls it\" }") "service S {}\nmessage M {}");
    size_t count;
    const struct diff_finding *findings = diff_findings(diff, &count);
    assert_int_equal(count, 1);
    assert_int_equal(findings[0].severity, DIFF_ACCEPTED);
    assert_string_equal(findings[0].reason, "nobody calls it");
    assert_int_equal(diff_break_count(diff), 0);
    diff_free(diff);
}

static void test_the_older_version_is_found_beside_the_newer_one(void **state)
{
    (void)state;
    const struct proto_file both[] = {
        {"one.proto", HEAD1 "message M { int32 a = 1; }"},
        {"two.proto", HEAD2 "message M { int32 b = 1; }"},
    };
    struct schema *before = schema_of(protos_compile(both, 1));
    struct schema *after = schema_of(protos_compile(both, 2));
    struct diff *diff = NULL;
    struct error_text error = {""};
    assert_int_equal(diff_new(after, after, &(struct diff_options){.bridges = true}, &diff), 0);
    assert_int_equal(diff_bridges(diff, before, after, &error), 0);
    assert_int_equal(diff_finish(diff, &error), 0);
    assert_findings(diff, "PARLEY_FIELD_NEEDS_RULE t.v2.M.b\n", "");
    diff_free(diff);
    schema_unref(before);
    schema_unref(after);
}

static void test_a_version_that_is_related_to_none_is_a_finding(void **state)
{
    (void)state;
    static const char *const newer[] = {"", "previous: \"t.v0\"", "previous: \"t.v1\""};
    for (size_t i = 0; i < 3; i++) {
        char text[512];
        snprintf(text, sizeof(text),
                 "syntax = \"proto3\"; package t.v2; import \"parley/options.proto\";\n"
                 "option (parley.interface) = { name: \"t\" version: \"2.0.0\" %s };\n"
                 "service S { rpc F(M) returns (M); } message M {}",
                 newer[i]);
        const struct proto_file both[] = {{"one.proto", HEAD1 "message M {}"}, {"two.proto", text}};
        struct schema *before = schema_of(protos_compile(both, 1));
        struct schema *after = schema_of(protos_compile(both, 2));
        struct diff *diff = NULL;
        struct error_text error = {""};
        assert_int_equal(diff_new(before, after, &(struct diff_options){.bridges = true}, &diff),
                         0);
        assert_int_equal(diff_bridges(diff, before, after, &error), 0);
        assert_int_equal(diff_finish(diff, &error), 0);
        assert_findings(diff, i < 2 ? "PARLEY_VERSION_NEEDS_RULE t.v2.S\n" : "", text);
        size_t count;
        const struct diff_finding *findings = diff_findings(diff, &count);
        if (i < 2) {
            assert_non_null(strstr(findings[0].sentence, "add previous: \"t.v1\""));
            assert_string_equal(findings[0].file, "two.proto");
            assert_int_equal(findings[0].line, 2);
        }
        diff_free(diff);
        schema_unref(before);
        schema_unref(after);
    }
}

static void test_the_demos_two_versions_are_bridged(void **state)
{
    (void)state;
    struct set one = set_read(CATALOG_V1_SET), two = set_read(CATALOG_V2_SET);
    struct schema *before = schema_of(one), *after = schema_of(two);
    struct diff *diff = NULL;
    struct error_text error = {""};
    assert_int_equal(diff_new(before, after, &(struct diff_options){.bridges = true}, &diff), 0);
    assert_int_equal(diff_bridges(diff, before, after, &error), 0);
    assert_int_equal(diff_finish(diff, &error), 0);
    assert_findings(diff, "", "catalog");
    diff_free(diff);
    schema_unref(before);
    schema_unref(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_compiler_refuses_is_a_finding_with_the_option_to_add),
        cmocka_unit_test(test_what_a_rule_or_the_translator_bridges_is_none),
        cmocka_unit_test(test_a_bridge_that_is_missing_can_be_accepted),
        cmocka_unit_test(test_the_older_version_is_found_beside_the_newer_one),
        cmocka_unit_test(test_a_version_that_is_related_to_none_is_a_finding),
        cmocka_unit_test(test_the_demos_two_versions_are_bridged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
