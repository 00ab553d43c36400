/* Every rule, by a smallest change that breaks it and one beside it that does not. */
#include "support/test.h"

#include "schema/diff.h"
#include "unit/schema/protos.h"

#define P3 "syntax = \"proto3\"; package t.v1;\n"
#define P2 "syntax = \"proto2\"; package t.v1;\n"

struct rule_case {
    const char *expected; /* "RULE element" a line, in order of their places */
    enum diff_category category;
    const char *old, *new, *near; /* @near: a change that breaks nothing */
};

static const struct rule_case cases[] = {
    /* Fields that go */
    {"FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED t.v1.M.b\n"
     "FIELD_NO_DELETE_UNLESS_NAME_RESERVED t.v1.M.b\n",
     DIFF_WIRE_JSON, P3 "message M { int32 a = 1; int32 b = 2; }", P3 "message M { int32 a = 1; }",
     P3 "message M { int32 a = 1; reserved 2; reserved \"b\"; }"},
    {"FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED t.v1.M.b\n", DIFF_WIRE_JSON,
     P3 "message M { int32 a = 1; int32 b = 5; }",
     P3 "message M { int32 a = 1; reserved 2 to 4, 6 to max; reserved \"b\"; }",
     P3 "message M { int32 a = 1; reserved 2 to 5; reserved \"b\", \"c\"; }"},
    {"FIELD_NO_DELETE_UNLESS_NAME_RESERVED t.v1.M.b\n", DIFF_WIRE_JSON,
     P3 "message M { int32 a = 1; int32 b = 2; }",
     P3 "message M { int32 a = 1; reserved 2; reserved \"c\"; }",
     P3 "message M { int32 a = 1; reserved 2; reserved \"a1\", \"b\", \"c\"; }"},
    {"FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED t.v1.M.b\n", DIFF_WIRE,
     P3 "message M { int32 a = 1; int32 b = 2; }", P3 "message M { int32 a = 1; }",
     P3 "message M { int32 a = 1; reserved 2; }"},
    /* Fields that change */
    {"FIELD_SAME_JSON_NAME t.v1.M.b\nFIELD_SAME_NAME t.v1.M.b\n", DIFF_WIRE_JSON,
     P3 "message M { int32 a = 1; }", P3 "message M { int32 b = 1; }",
     P3 "message M { int32 a = 1; int32 b = 2; }"},
    {"FIELD_SAME_NAME t.v1.M.b\n", DIFF_WIRE_JSON, P3 "message M { int32 a = 1; }",
     P3 "message M { int32 b = 1 [json_name = \"a\"]; }",
     P3 "message M { int32 a = 1 [json_name = \"a\"]; }"},
    {"FIELD_SAME_JSON_NAME t.v1.M.a_b\n", DIFF_WIRE_JSON, P3 "message M { int32 a_b = 1; }",
     P3 "message M { int32 a_b = 1 [json_name = \"a_b\"]; }",
     P3 "message M { int32 a_b = 1 [json_name = \"aB\"]; }"},
    {"FIELD_WIRE_JSON_COMPATIBLE_TYPE t.v1.M.a\n", DIFF_WIRE_JSON, P3 "message M { int32 a = 1; }",
     P3 "message M { int64 a = 1; }", P3 "message M { uint32 a = 1; }"},
    {"FIELD_WIRE_JSON_COMPATIBLE_TYPE t.v1.M.a\n", DIFF_WIRE_JSON, P3 "message M { string a = 1; }",
     P3 "message M { bytes a = 1; }", P3 "message M { string a = 1 [deprecated = true]; }"},
    {"FIELD_WIRE_JSON_COMPATIBLE_TYPE t.v1.M.a\n", DIFF_WIRE_JSON,
     P3 "message M { fixed64 a = 1; }", P3 "message M { double a = 1; }",
     P3 "message M { sfixed64 a = 1; }"},
    {"FIELD_WIRE_COMPATIBLE_TYPE t.v1.M.a\n", DIFF_WIRE, P3 "message M { int32 a = 1; }",
     P3 "message M { sint32 a = 1; }", P3 "message M { bool a = 1; }"},
    {"FIELD_WIRE_COMPATIBLE_TYPE t.v1.M.a\n", DIFF_WIRE, P3 "message M { bytes a = 1; }",
     P3 "message M { string a = 1; }", P3 "message M { bytes b = 1; }"},
    {"FIELD_WIRE_COMPATIBLE_TYPE t.v1.M.a\n", DIFF_WIRE, P3 "message M { string a = 1; }",
     P3 "message M { M a = 1; }", P3 "message M { bytes a = 1; }"},
    {"FIELD_WIRE_JSON_COMPATIBLE_TYPE t.v1.M.a\n", DIFF_WIRE_JSON,
     P3 "message A {} message B {} message M { A a = 1; }",
     P3 "message A {} message B {} message M { B a = 1; }",
     P3 "message B {} message A { B b = 1; } message M { A a = 1; }"},
    {"FIELD_WIRE_JSON_COMPATIBLE_TYPE t.v1.M.a\n", DIFF_WIRE_JSON,
     P3 "enum E { Z = 0; Y = 1; } message M { enum E { X = 0; } E a = 1; E b = 2; t.v1.E c = 3; }",
     P3 "enum E { Z = 0; Y = 1; } message M { enum E { X = 0; } t.v1.E a = 1; E b = 2; "
        "t.v1.E c = 3; }",
     P3 "enum E { Z = 0; Y = 1; } message M { enum E { X = 0; } E a = 1; E b = 2; "
        "N.E c = 3; } message N { enum E { Z = 0; W = 2; Y = 1; } }"},
    {"FIELD_WIRE_JSON_COMPATIBLE_TYPE t.v1.M.a\n", DIFF_WIRE_JSON,
     P3 "message M { map<string, int32> a = 1; }", P3 "message M { map<string, string> a = 1; }",
     P3 "message M { map<string, uint32> a = 1; }"},
    {"FIELD_SAME_JSON_NAME t.v1.M.b\nFIELD_SAME_NAME t.v1.M.b\n", DIFF_WIRE_JSON,
     P3 "message M { map<string, int32> a = 1; }", P3 "message M { map<string, int32> b = 1; }",
     P3 "message M { map<string, int32> a = 1; map<string, int32> b = 2; }"},
    {"FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY t.v1.M.a\n", DIFF_WIRE_JSON,
     P3 "message M { int32 a = 1; }", P3 "message M { repeated int32 a = 1; }",
     P3 "message M { optional int32 a = 1; }"},
    {"FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY t.v1.M.a\n", DIFF_WIRE_JSON,
     P3 "message M { map<string, string> a = 1; }",
     P3 "message M { message AEntry { string key = 1; string value = 2; } repeated AEntry a = 1; }",
     P3 "message M { map<string, string> a = 1; map<string, string> b = 2; }"},
    {"FIELD_WIRE_COMPATIBLE_CARDINALITY t.v1.M.b\n", DIFF_WIRE,
     P3 "message M { map<string, string> a = 1; int32 b = 2; }",
     P3 "message M { message AEntry { string key = 1; string value = 2; } repeated AEntry a = 1; "
        "repeated int32 b = 2; }",
     P3 "message M { message AEntry { string key = 1; string value = 2; } repeated AEntry a = 1; "
        "int32 b = 2; }"},
    {"FIELD_SAME_ONEOF t.v1.M.a\n", DIFF_WIRE_JSON, P3 "message M { int32 a = 1; }",
     P3 "message M { oneof o { int32 a = 1; } }",
     P3 "message M { int32 a = 1; oneof o { int32 b = 2; } }"},
    {"FIELD_SAME_ONEOF t.v1.M.a\n", DIFF_WIRE,
     P3 "message M { oneof o { int32 a = 1; int32 b = 2; } }",
     P3 "message M { int32 a = 1; oneof o { int32 b = 2; } }",
     P3 "message M { oneof o { int32 a = 1; int32 b = 2; int32 c = 3; } }"},
    {"FIELD_SAME_ONEOF t.v1.M.a\nFIELD_SAME_ONEOF t.v1.M.b\n", DIFF_WIRE,
     P3 "message M { oneof o { int32 a = 1; int32 b = 2; } }",
     P3 "message M { oneof p { int32 a = 1; int32 b = 2; } }",
     P3 "message M { oneof p { int32 c = 3; } oneof o { int32 a = 1; int32 b = 2; } }"},
    {"FIELD_SAME_DEFAULT t.v1.M.a\n", DIFF_WIRE,
     P2 "message M { optional int32 a = 1 [default = 1]; }",
     P2 "message M { optional int32 a = 1 [default = 2]; }",
     P2 "message M { optional int64 a = 1 [default = 1]; }"},
    {"FIELD_SAME_DEFAULT t.v1.M.a\nFIELD_SAME_DEFAULT t.v1.M.e\nFIELD_SAME_DEFAULT t.v1.M.s\n",
     DIFF_WIRE_JSON,
     P2 "enum E { A = 0; B = 1; }\nmessage M { optional float a = 1;\noptional E e = 2;\n"
        "optional string s = 3 [default = \"x\"]; }",
     P2 "enum E { A = 0; B = 1; }\nmessage M { optional float a = 1 [default = nan];\n"
        "optional E e = 2 [default = B];\noptional string s = 3; }",
     P2 "enum E { A = 0; B = 1; }\nmessage M { optional float a = 1 [default = 0.0];\n"
        "optional E e = 2 [default = A];\noptional string s = 3 [default = \"x\"]; }"},
    {"FIELD_SAME_DEFAULT t.v1.M.a\n", DIFF_WIRE,
     P2 "message M { optional uint64 a = 1 [default = 18446744073709551615]; "
        "optional double b = 2 [default = nan]; optional bytes c = 3; }",
     P2 "message M { optional uint64 a = 1 [default = 18446744073709551614]; "
        "optional double b = 2 [default = nan]; optional bytes c = 3; }",
     P2 "message M { optional uint64 a = 1 [default = 18446744073709551615]; "
        "optional double b = 2 [default = nan]; optional bytes c = 3 [default = \"\"]; }"},
    /* Messages and enums */
    {"MESSAGE_SAME_REQUIRED_FIELDS t.v1.M.b\n", DIFF_WIRE_JSON,
     P2 "message M { optional int32 a = 1; }",
     P2 "message M { optional int32 a = 1; required int32 b = 2; }",
     P2 "message M { optional int32 a = 1; optional int32 b = 2; }"},
    {"MESSAGE_SAME_REQUIRED_FIELDS t.v1.M.b\n", DIFF_WIRE,
     P2 "message M { required int32 a = 1; required int32 b = 2; }",
     P2 "message M { required int32 a = 1; reserved 2; }",
     P2 "message M { required int32 a = 1; required int32 b = 2; reserved 3; }"},
    {"FIELD_WIRE_COMPATIBLE_CARDINALITY t.v1.M.a\nMESSAGE_SAME_REQUIRED_FIELDS t.v1.M.a\n",
     DIFF_WIRE, P2 "message M { required int32 a = 1; }", P2 "message M { optional int32 a = 1; }",
     P2 "message M { required uint32 a = 1; }"},
    {"MESSAGE_SAME_JSON_FORMAT t.v1.M\n", DIFF_WIRE_JSON, P3 "message M { optional int32 a = 1; }",
     P2 "message M { optional int32 a = 1; }",
     P3 "message N {} message M { optional int32 a = 1; }"},
    {"MESSAGE_SAME_MESSAGE_SET_WIRE_FORMAT t.v1.M\n", DIFF_WIRE,
     P2 "message M { option message_set_wire_format = true; extensions 4 to max; }",
     P2 "message M { extensions 4 to max; }",
     P2 "message M { option message_set_wire_format = true; extensions 1 to max; }"},
    {"ENUM_SAME_JSON_FORMAT t.v1.E\n", DIFF_WIRE_JSON, P3 "enum E { A = 0; }",
     P2 "enum E { A = 0; }", P3 "enum E { A = 0; B = 1; }"},
    {"RESERVED_MESSAGE_NO_DELETE t.v1.M\n", DIFF_WIRE, P3 "message M { reserved 2 to 9; }",
     P3 "message M { reserved 2 to 4, 6 to 9; }", P3 "message M { reserved 2 to 4, 5, 6 to 20; }"},
    {"RESERVED_MESSAGE_NO_DELETE t.v1.M\n", DIFF_WIRE_JSON,
     P3 "message M { reserved \"a\", \"b\"; }", P3 "message M { reserved \"b\", \"c\"; }",
     P3 "message M { reserved \"c\", \"b\", \"a\"; }"},
    {"RESERVED_ENUM_NO_DELETE t.v1.E\n", DIFF_WIRE, P3 "enum E { A = 0; reserved -5 to -1, 3; }",
     P3 "enum E { A = 0; reserved -5 to -2, 3; }",
     P3 "enum E { A = 0; reserved -9 to -1, 2 to 3; }"},
    {"RESERVED_ENUM_NO_DELETE t.v1.E\n", DIFF_WIRE_JSON,
     P3 "enum E { A = 0; reserved 3 to max; reserved \"B\"; }",
     P3 "enum E { A = 0; reserved 3 to max; }",
     P3 "enum E { A = 0; reserved 1, 3 to max; reserved \"B\", \"C\"; }"},
    {"ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED t.v1.E.B\n"
     "ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED t.v1.E.B\n",
     DIFF_WIRE_JSON, P3 "enum E { A = 0; B = 1; }", P3 "enum E { A = 0; }",
     P3 "enum E { A = 0; reserved 1; reserved \"B\"; }"},
    {"ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED t.v1.E.B\n", DIFF_WIRE,
     P3 "enum E { A = 0; B = -1; }", P3 "enum E { A = 0; reserved 1; reserved \"B\"; }",
     P3 "enum E { A = 0; reserved -1; }"},
    {"ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED t.v1.E.C\n", DIFF_WIRE_JSON,
     P3 "enum E { option allow_alias = true; A = 0; B = 1; C = 1; }",
     P3 "enum E { A = 0; reserved 1; reserved \"B\"; }",
     P3 "enum E { A = 0; reserved 1; reserved \"B\", \"C\"; }"},
    {"ENUM_VALUE_SAME_NAME t.v1.E.C\n", DIFF_WIRE_JSON, P3 "enum E { A = 0; B = 1; }",
     P3 "enum E { A = 0; C = 1; }",
     P3 "enum E { option allow_alias = true; A = 0; C = 1; B = 1; D = 2; }"},
    {"ENUM_VALUE_SAME_NAME t.v1.E.B\n", DIFF_WIRE_JSON,
     P3 "enum E { option allow_alias = true; A = 0; B = 1; C = 1; }", P3 "enum E { A = 0; B = 1; }",
     P3 "enum E { option allow_alias = true; A = 0; C = 1; B = 1; }"},
    /* Methods */
    {"RPC_SAME_REQUEST_TYPE t.v1.S.F\n", DIFF_WIRE,
     P3 "message A {} message B {} service S { rpc F(A) returns (A); }",
     P3 "message A {} message B {} service S { rpc F(B) returns (A); }",
     P3 "message A { B b = 1; } message B {} service S { rpc F(A) returns (A); }"},
    {"RPC_SAME_RESPONSE_TYPE t.v1.S.F\n", DIFF_WIRE_JSON,
     P3 "message A {} message B {} service S { rpc F(A) returns (A); }",
     P3 "message A {} message B {} service S { rpc F(A) returns (B); }",
     P3 "message A {} message B {} service S { rpc F(A) returns (A); rpc G(A) returns (B); }"},
    {"RPC_SAME_CLIENT_STREAMING t.v1.S.F\n", DIFF_WIRE,
     P3 "message A {} service S { rpc F(A) returns (A); }",
     P3 "message A {} service S { rpc F(stream A) returns (A); }",
     P3 "message A {} service S { rpc F(A) returns (A); rpc G(stream A) returns (A); }"},
    {"RPC_SAME_SERVER_STREAMING t.v1.S.F\n", DIFF_WIRE_JSON,
     P3 "message A {} service S { rpc F(A) returns (stream A); }",
     P3 "message A {} service S { rpc F(A) returns (A); }",
     P3 "message A {} service S { rpc F(A) returns (stream A); rpc G(A) returns (A); }"},
    {"RPC_SAME_IDEMPOTENCY_LEVEL t.v1.S.F\n", DIFF_WIRE,
     P3
     "message A {} service S { rpc F(A) returns (A) { option idempotency_level = IDEMPOTENT; } }",
     P3 "message A {} service S { rpc F(A) returns (A); }",
     P3 "message A {} service S { rpc F(A) returns (A) { option deprecated = true; "
        "option idempotency_level = IDEMPOTENT; } }"},
    {"RPC_NO_DELETE t.v1.S.G\n", DIFF_WIRE_JSON,
     P3 "message A {} service S { rpc F(A) returns (A); rpc G(A) returns (A); }",
     P3 "message A {} service S { rpc F(A) returns (A); }",
     P3
     "message A {} service S { rpc H(A) returns (A); rpc G(A) returns (A); rpc F(A) returns (A); "
     "}"},
    /* What goes as a whole */
    {"PACKAGE_SERVICE_NO_DELETE t.v1.T\n", DIFF_WIRE,
     P3 "message A {} service S {} service T { rpc G(A) returns (A); }",
     P3 "message A {} service S {}",
     P3 "message A {} service U {} service T { rpc G(A) returns (A); } service S {}"},
    {"PACKAGE_MESSAGE_NO_DELETE t.v1.M\n", DIFF_WIRE,
     P3 "message M { message N { message O {} } } message P {}", P3 "message P {}",
     P3 "message P { message M {} } message M { message N { message O {} } }"},
    {"PACKAGE_MESSAGE_NO_DELETE t.v1.M.N\n", DIFF_WIRE_JSON,
     P3 "message M { message N { map<int32, string> a = 1; } }", P3 "message M { message O {} }",
     P3 "message M { message N { map<int32, string> a = 1; } message O {} }"},
    {"FILE_SAME_PACKAGE t.v1\n", DIFF_WIRE, P3 "message M { int32 a = 1; }",
     "syntax = \"proto3\"; package t.v2; message M { int32 a = 1; }",
     "syntax = \"proto3\"; package t.v1; message M { int32 c = 1; }"},
    {"PARLEY_INTERFACE_SAME_NAME t.v1.S\n", DIFF_WIRE,
     P3 "import \"parley/options.proto\"; service S {} "
        "option (parley.interface) = { name: \"s\" version: \"1.0.0\" };",
     P3 "import \"parley/options.proto\"; service S {} "
        "option (parley.interface) = { name: \"t\" version: \"1.1.0\" };",
     P3 "import \"parley/options.proto\"; service S {} "
        "option (parley.interface) = { name: \"s\" version: \"1.1.0\" };"},
};

static struct diff *compare(const char *old, const char *new, enum diff_category category)
{
    struct schema *before = schema_of(proto_compile(old)), *after = schema_of(proto_compile(new));
    struct diff *diff = NULL;
    struct error_text error;
    assert_int_equal(
        diff_compare(before, after, &(struct diff_options){.category = category}, &diff, &error),
        0);
    schema_unref(before);
    schema_unref(after);
    return diff;
}

static void assert_findings(const struct diff *diff, const char *expected, const char *text)
{
    char found[4096] = "";
    size_t count, used = 0;
    const struct diff_finding *findings = diff_findings(diff, &count);
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(found + used, sizeof(found) - used, "%s %s\n",
                                 diff_rule_name(findings[i].rule), findings[i].element);
    if (strcmp(found, expected) != 0)
        fail_msg("%s\n-- expected:\n%s-- found:\n%s", text, expected, found);
}

static void test_each_rule_finds_what_breaks_it_and_nothing_else(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct diff *diff = compare(cases[i].old, cases[i].new, cases[i].category);
        assert_findings(diff, cases[i].expected, cases[i].new);
        assert_true(diff_break_count(diff) > 0);
        diff_free(diff);
    }
}

static void test_a_change_beside_each_rule_breaks_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct diff *diff = compare(cases[i].old, cases[i].near, cases[i].category);
        assert_findings(diff, "", cases[i].near);
        assert_int_equal(diff_break_count(diff), 0);
        diff_free(diff);
    }
}

static void test_each_rule_has_a_case(void **state)
{
    (void)state;
    for (int rule = 0; rule < DIFF_RULE_COUNT; rule++) {
        const char *name = diff_rule_name((enum diff_rule)rule);
        bool found = rule == DIFF_PACKAGE_NO_DELETE || rule > DIFF_PARLEY_INTERFACE_SAME_NAME;
        char start[64];
        snprintf(start, sizeof(start), "%s ", name);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !found; i++) {
            const char *at = strstr(cases[i].expected, start);
            found = at && (at == cases[i].expected || at[-1] == '\n');
        }
        if (!found)
            fail_msg("no case for %s", name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_rule_finds_what_breaks_it_and_nothing_else),
        cmocka_unit_test(test_a_change_beside_each_rule_breaks_nothing),
        cmocka_unit_test(test_each_rule_has_a_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
