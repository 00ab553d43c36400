/* What becomes of a finding: its place, exceptions, limits, the text that people read. */
#include "support/test.h"

#include <errno.h>

#include "schema/diff.h"
#include "unit/schema/protos.h"

#define P3 "syntax = \"proto3\"; package t.v1;\n"
/* The option is on line 4. */
#define WITH(accepts)                                                                              \
    "syntax = \"proto3\";\npackage t.v1;\nimport \"parley/options.proto\";\n"                      \
    "option (parley.interface) = { name: \"t\" version: \"1.0.0\" " accepts " };\n"                \
    "service S {}\n"

static struct diff *compare_schemas(struct schema *old, struct schema *new,
                                    const struct diff_options *options)
{
    struct diff *diff = NULL;
    struct error_text error = {""};
    if (diff_compare(old, new, options, &diff, &error) < 0)
        fail_msg("%s", error.text);
    schema_unref(old);
    schema_unref(new);
    return diff;
}

static struct diff *compare(const char *old, const char *new)
{
    return compare_schemas(schema_of(proto_compile(old)), schema_of(proto_compile(new)), NULL);
}

static const struct diff_finding *find(const struct diff *diff, enum diff_rule rule,
                                       const char *element)
{
    size_t count;
    const struct diff_finding *findings = diff_findings(diff, &count);
    for (size_t i = 0; i < count; i++)
        if (findings[i].rule == rule && (!element || strcmp(findings[i].element, element) == 0))
            return &findings[i];
    fail_msg("no %s on %s", diff_rule_name(rule), element ? element : "anything");
    return NULL;
}

static void assert_at(const struct diff *diff, enum diff_rule rule, const char *element,
                      uint32_t line, uint32_t column)
{
    const struct diff_finding *finding = find(diff, rule, element);
    assert_string_equal(finding->file, "x.proto");
    if (finding->line != line || finding->column != column)
        fail_msg("%s on %s is at %u:%u, not %u:%u", diff_rule_name(rule), element, finding->line,
                 finding->column, line, column);
}

/* ---- Places ---- */

static void test_a_finding_is_where_the_new_element_is(void **state)
{
    (void)state;
    struct diff *diff =
        compare(P3 "message A {}\nmessage M { message N { enum E { Z = 0; B = 1; } int32 a = 1;\n"
                   "int32 b = 2; } int32 c = 3; map<string, int32> d = 4; }\n"
                   "service S { rpc F(A) returns (A); rpc G(A) returns (A); }",
                P3 "message A {}\n"                       /* 2 */
                   "\n"                                   /* 3 */
                   "message M {\n"                        /* 4 */
                   "  message N {\n"                      /* 5 */
                   "    enum E { Z = 0;\n"                /* 6 */
                   "      C = 1; }\n"                     /* 7 */
                   "    repeated string a = 1;\n"         /* 8 */
                   "  }\n"                                /* 9 */
                   "  int32 e = 3 [json_name = \"x\"];\n" /* 10 */
                   "  map<string, string> d = 4;\n"       /* 11 */
                   "}\n"                                  /* 12 */
                   "service S {\n"                        /* 13 */
                   "  rpc F(M) returns (A);\n"            /* 14 */
                   "}\n");
    assert_at(diff, DIFF_ENUM_VALUE_SAME_NAME, "t.v1.M.N.E.C", 7, 7);
    assert_at(diff, DIFF_FIELD_WIRE_JSON_COMPATIBLE_TYPE, "t.v1.M.N.a", 8, 14);
    assert_at(diff, DIFF_FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY, "t.v1.M.N.a", 8, 5);
    assert_at(diff, DIFF_FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED, "t.v1.M.N.b", 5, 3);
    assert_at(diff, DIFF_FIELD_SAME_NAME, "t.v1.M.e", 10, 9);
    assert_at(diff, DIFF_FIELD_SAME_JSON_NAME, "t.v1.M.e", 10, 16);
    assert_at(diff, DIFF_FIELD_WIRE_JSON_COMPATIBLE_TYPE, "t.v1.M.d", 11, 3);
    assert_at(diff, DIFF_RPC_SAME_REQUEST_TYPE, "t.v1.S.F", 14, 9);
    assert_at(diff, DIFF_RPC_NO_DELETE, "t.v1.S.G", 13, 1);
    diff_free(diff);
}

static void test_what_was_deleted_is_at_its_nearest_surviving_parent(void **state)
{
    (void)state;
    struct diff *diff = compare(P3 "message A { message B { message C {} } } message D {}"
                                   " service S {}",
                                "syntax = \"proto3\";\n\n  package t.v1;\n message A {\n"
                                "  message B {}\n}");
    assert_at(diff, DIFF_PACKAGE_MESSAGE_NO_DELETE, "t.v1.A.B.C", 5, 3);
    assert_at(diff, DIFF_PACKAGE_MESSAGE_NO_DELETE, "t.v1.D", 3, 3);
    assert_at(diff, DIFF_PACKAGE_SERVICE_NO_DELETE, "t.v1.S", 3, 3);
    diff_free(diff);
}

static void test_without_positions_there_is_none(void **state)
{
    (void)state;
    struct set set = proto_compile(P3 "message M { string a = 1; }");
    uint8_t *bare;
    size_t bytes;
    assert_int_equal(diff_strip_positions(set.data, set.bytes, &bare, &bytes), 0);
    assert_true(bytes < set.bytes);
    struct schema *old = schema_of(proto_compile(P3 "message M { int32 a = 1; }"));
    struct diff *diff = compare_schemas(old, schema_of((struct set){bare, bytes}), NULL);
    const struct diff_finding *finding = find(diff, DIFF_FIELD_WIRE_JSON_COMPATIBLE_TYPE, NULL);
    assert_int_equal(finding->line, 0);
    assert_int_equal(finding->column, 0);
    diff_free(diff);
    free(set.data);
}

static void test_positions_may_come_from_another_set(void **state)
{
    (void)state;
    struct set set = proto_compile(P3 "\n\nmessage M { string a = 1; }");
    uint8_t *bare;
    size_t bytes;
    assert_int_equal(diff_strip_positions(set.data, set.bytes, &bare, &bytes), 0);
    struct schema *old = schema_of(proto_compile(P3 "message M { int32 a = 1; }"));
    const struct diff_options options = {.positions = set.data, .positions_bytes = set.bytes};
    struct diff *diff = compare_schemas(old, schema_of((struct set){bare, bytes}), &options);
    assert_at(diff, DIFF_FIELD_WIRE_JSON_COMPATIBLE_TYPE, "t.v1.M.a", 4, 13);
    diff_free(diff);
    free(set.data);
}

static void test_a_set_without_positions_is_the_same_schema(void **state)
{
    (void)state;
    struct set set = proto_compile(WITH("") "message M { string a = 1; }");
    uint8_t *bare;
    size_t bytes;
    assert_int_equal(diff_strip_positions(set.data, set.bytes, &bare, &bytes), 0);
    struct set stripped = {bare, bytes};
    Google__Protobuf__FileDescriptorSet *files = set_unpack(&set), *same = set_unpack(&stripped);
    assert_int_equal(files->n_file, same->n_file);
    for (size_t i = 0; i < files->n_file; i++) {
        assert_non_null(files->file[i]->source_code_info);
        assert_null(same->file[i]->source_code_info);
        files->file[i]->source_code_info = NULL;
    }
    struct set packed = set_pack(files), again = set_pack(same);
    assert_int_equal(packed.bytes, again.bytes);
    assert_memory_equal(packed.data, again.data, packed.bytes);
    wire_free(files);
    wire_free(same);
    free(packed.data);
    free(again.data);
    free(set.data);
    free(bare);
}

static void test_a_set_cut_anywhere_is_refused_or_read(void **state)
{
    (void)state;
    struct set set = proto_compile(P3 "message M { string a = 1; }");
    for (size_t bytes = 0; bytes < set.bytes; bytes++) {
        uint8_t *exact = malloc(bytes + 1), *bare = NULL;
        size_t bare_bytes;
        memcpy(exact, set.data, bytes);
        int r = diff_strip_positions(exact, bytes, &bare, &bare_bytes);
        assert_true(r == 0 ? bytes == 0 : r == -EBADMSG);
        if (r == 0)
            free(bare);
        free(exact);
    }
    assert_int_equal(diff_strip_positions(set.data, DIFF_POSITIONS_BYTES_MAX + 1, NULL, NULL),
                     -E2BIG);
    free(set.data);
}

/* ---- Which packages ---- */

static void test_a_package_that_goes_without_a_successor_is_one_finding(void **state)
{
    (void)state;
    const struct proto_file old[] = {
        {"a.proto", "syntax = \"proto3\"; package a.v1; message M {} message N {} service S {}"},
        {"b.proto", "syntax = \"proto3\"; package a.v1; message O {}"},
        {"c.proto", "syntax = \"proto3\"; package c.v1; message P {}"},
    };
    struct diff *diff = compare_schemas(schema_of(protos_compile(old, 3)),
                                        schema_of(protos_compile(&old[2], 1)), NULL);
    assert_int_equal(diff_break_count(diff), 1);
    const struct diff_finding *finding = find(diff, DIFF_PACKAGE_NO_DELETE, "a.v1");
    assert_string_equal(finding->file, "a.proto");
    assert_non_null(strstr(finding->sentence, "(parley.interface).previous to \"a.v1\""));
    diff_free(diff);
}

static void test_a_package_that_a_newer_one_follows_was_not_deleted(void **state)
{
    (void)state;
    struct diff *diff =
        compare(P3 "message M {} service S {}",
                "syntax = \"proto3\"; package t.v2; import \"parley/options.proto\"; "
                "option (parley.interface) = { name: \"t\" version: \"2.0.0\" previous: \"t.v1\" };"
                " service S {}");
    assert_int_equal(diff_break_count(diff), 0);
    diff_free(diff);
}

static void test_a_service_without_a_counterpart_in_what_follows_was_deleted(void **state)
{
    (void)state;
    static const char old[] = WITH("") "service T {}";
    static const char head[] =
        "syntax = \"proto3\"; package t.v2; import \"parley/options.proto\"; "
        "option (parley.interface) = { name: \"t\" version: \"2.0.0\" previous: \"t.v1\" };";
    static const struct {
        const char *services;
        size_t breaks;
    } cases[] = {
        {" service T {} service S {}", 0},
        {" service S {}", 1},
        {" service S {} service U {}", 1},
    };
    for (size_t i = 0; i < 3; i++) {
        char text[512];
        snprintf(text, sizeof(text), "%s%s", head, cases[i].services);
        struct diff *diff = compare(old, text);
        assert_int_equal(diff_break_count(diff), cases[i].breaks);
        if (cases[i].breaks)
            assert_at(diff, DIFF_PACKAGE_SERVICE_NO_DELETE, "t.v1.T", 1, 20);
        diff_free(diff);
    }
    /* The only one may have another name. */
    char text[512];
    snprintf(text, sizeof(text), "%s%s", head, " service U {}");
    struct diff *diff = compare(WITH(""), text);
    assert_int_equal(diff_break_count(diff), 0);
    diff_free(diff);
}

static void test_elements_may_move_between_files_of_a_package(void **state)
{
    (void)state;
    const struct proto_file old[] = {
        {"a.proto", "syntax = \"proto3\"; package a.v1; message M { int32 a = 1; }"},
        {"b.proto", "syntax = \"proto3\"; package a.v1; enum E { Z = 0; } service S {}"},
    };
    const struct proto_file new[] = {
        {"c.proto", "syntax = \"proto3\"; package a.v1; service S {} message M { int32 a = 1; }"},
        {"a.proto", "syntax = \"proto3\"; package a.v1; enum E { Z = 0; }"},
    };
    struct diff *diff =
        compare_schemas(schema_of(protos_compile(old, 2)), schema_of(protos_compile(new, 2)), NULL);
    assert_int_equal(diff_break_count(diff), 0);
    diff_free(diff);
}

/* ---- Exceptions ---- */

static void test_an_exception_accepts_its_element_alone(void **state)
{
    (void)state;
    struct diff *diff =
        compare(WITH("") "message M { int32 a = 1; int32 b = 2; }",
                WITH("accept { rule: \"FIELD_WIRE_JSON_COMPATIBLE_TYPE\" element: \"t.v1.M.a\" "
                     "reason: \"nobody\\nreads it\" }") "message M { bool a = 1; bool b = 2; }");
    const struct diff_finding *a = find(diff, DIFF_FIELD_WIRE_JSON_COMPATIBLE_TYPE, "t.v1.M.a");
    const struct diff_finding *b = find(diff, DIFF_FIELD_WIRE_JSON_COMPATIBLE_TYPE, "t.v1.M.b");
    assert_int_equal(a->severity, DIFF_ACCEPTED);
    assert_string_equal(a->reason, "nobody reads it");
    assert_int_equal(b->severity, DIFF_BREAK);
    assert_null(b->reason);
    assert_int_equal(diff_break_count(diff), 1);
    diff_free(diff);
}

static void test_an_exception_without_an_element_accepts_all_of_its_rule(void **state)
{
    (void)state;
    struct diff *diff = compare(WITH("") "message M { int32 a = 1; int32 b = 2; }",
                                WITH("accept { rule: \"FIELD_WIRE_JSON_COMPATIBLE_TYPE\" reason: "
                                     "\"new\" }") "message M { bool a = 1; bool b = 2; }");
    size_t count;
    diff_findings(diff, &count);
    assert_int_equal(count, 2);
    assert_int_equal(diff_break_count(diff), 0);
    diff_free(diff);
}

static void test_an_exception_without_a_reason_accepts_nothing_and_is_a_break(void **state)
{
    (void)state;
    static const char *const accepts[] = {
        WITH("accept { rule: \"FIELD_WIRE_JSON_COMPATIBLE_TYPE\" }") "message M { bool a = 1; }",
        WITH("accept { rule: \"FIELD_WIRE_JSON_COMPATIBLE_TYPE\" reason: \" \\n\" }") "message M { "
                                                                                      "bool a = 1; "
                                                                                      "}",
    };
    for (size_t i = 0; i < 2; i++) {
        struct diff *diff = compare(WITH("") "message M { int32 a = 1; }", accepts[i]);
        assert_at(diff, DIFF_PARLEY_ACCEPT_INVALID, "t.v1", 4, 1);
        assert_int_equal(diff_break_count(diff), 2);
        diff_free(diff);
    }
}

static void test_an_exception_of_a_rule_that_does_not_exist_is_a_break(void **state)
{
    (void)state;
    struct diff *diff =
        compare(WITH("") "", WITH("accept { rule: \"FIELD_SAME_COLOUR\" reason: \"x\" }") "");
    const struct diff_finding *finding = find(diff, DIFF_PARLEY_ACCEPT_INVALID, "t.v1");
    assert_non_null(strstr(finding->sentence, "\"FIELD_SAME_COLOUR\", which does not exist"));
    assert_int_equal(diff_break_count(diff), 1);
    diff_free(diff);
}

static void test_an_exception_that_matches_nothing_is_a_note(void **state)
{
    (void)state;
    const char *accept = WITH("accept { rule: \"FIELD_SAME_NAME\" element: \"t.v1.M.z\" "
                              "reason: \"x\" }") "message M { int32 b = 1 [json_name = \"a\"]; }";
    struct diff *diff = compare(WITH("") "message M { int32 a = 1; }", accept);
    const struct diff_finding *note = find(diff, DIFF_PARLEY_ACCEPT_UNUSED, NULL);
    assert_int_equal(note->severity, DIFF_NOTE);
    assert_non_null(strstr(note->sentence, "FIELD_SAME_NAME on t.v1.M.z matches nothing"));
    assert_int_equal(diff_break_count(diff), 1);
    diff_free(diff);
    /* Once released, it is no longer needed, and no break. */
    diff = compare(accept, accept);
    find(diff, DIFF_PARLEY_ACCEPT_UNUSED, NULL);
    assert_int_equal(diff_break_count(diff), 0);
    diff_free(diff);
}

static void test_an_exception_of_a_rule_that_nobody_asked_for_is_not_mentioned(void **state)
{
    (void)state;
    const char *accept = WITH("accept { rule: \"FIELD_SAME_NAME\" reason: \"x\" } "
                              "accept { rule: \"PARLEY_FIELD_NEEDS_RULE\" reason: \"x\" }") "";
    struct diff *diff =
        compare_schemas(schema_of(proto_compile(accept)), schema_of(proto_compile(accept)),
                        &(struct diff_options){.category = DIFF_WIRE});
    size_t count;
    diff_findings(diff, &count);
    assert_int_equal(count, 0);
    diff_free(diff);
}

/* ---- Limits ---- */

/* An interface with @accepts exceptions and @fields fields of @type. */
static struct schema *many(const char *type, size_t fields, size_t accepts, const char *rule)
{
    char *text;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    fprintf(out, "syntax = \"proto3\"; package t.v1; import \"parley/options.proto\";\n"
                 "option (parley.interface) = { name: \"t\" version: \"1.0.0\"\n");
    for (size_t i = 0; i < accepts; i++)
        fprintf(out, "accept { rule: \"%s\" element: \"t.v1.M.f%zu\" reason: \"x\" }\n", rule, i);
    fprintf(out, "}; service S {} message M {\n");
    for (size_t i = 0; i < fields; i++)
        fprintf(out, "%s f%zu = %zu;\n", type, i, i + 1);
    fprintf(out, "}\n");
    fclose(out);
    struct schema *schema = schema_of(proto_compile(text));
    free(text);
    return schema;
}

static void test_findings_past_the_limit_are_counted(void **state)
{
    (void)state;
    for (size_t past = 0; past < 2; past++) {
        size_t count, fields = DIFF_FINDING_MAX + past;
        struct diff *diff =
            compare_schemas(many("int32", fields, 0, NULL), many("bool", fields, 0, NULL), NULL);
        diff_findings(diff, &count);
        assert_int_equal(count, DIFF_FINDING_MAX);
        assert_int_equal(diff_break_count(diff), fields);
        assert_int_equal(diff_omitted_count(diff), past);
        diff_free(diff);
    }
}

static void test_exceptions_past_the_limit_accept_nothing(void **state)
{
    (void)state;
    for (size_t past = 0; past < 2; past++) {
        size_t fields = DIFF_ACCEPT_MAX + past;
        struct diff *diff =
            compare_schemas(many("int32", fields, 0, NULL),
                            many("bool", fields, fields, "FIELD_WIRE_JSON_COMPATIBLE_TYPE"), NULL);
        assert_int_equal(diff_break_count(diff), 2 * past);
        if (past)
            find(diff, DIFF_PARLEY_ACCEPT_INVALID, NULL);
        diff_free(diff);
    }
}

/* ---- Text ---- */

static void test_a_finding_is_one_line(void **state)
{
    (void)state;
    const struct diff_finding finding = {
        .rule = DIFF_FIELD_SAME_NAME,
        .element = "t.v1.M.a",
        .file = "x.proto",
        .line = 3,
        .column = 5,
        .sentence = "it changed; do not",
    };
    char text[256];
    diff_describe(&finding, text, sizeof(text));
    assert_string_equal(text, "x.proto:3:5: FIELD_SAME_NAME: t.v1.M.a: it changed; do not");
    struct diff_finding accepted = finding;
    accepted.severity = DIFF_ACCEPTED;
    accepted.reason = "why not";
    accepted.line = 0;
    diff_describe(&accepted, text, sizeof(text));
    assert_string_equal(text, "x.proto: FIELD_SAME_NAME (accepted: why not): t.v1.M.a: "
                              "it changed; do not");
    struct diff_finding note = finding;
    note.severity = DIFF_NOTE;
    diff_describe(&note, text, sizeof(text));
    assert_string_equal(text, "x.proto:3:5: note: FIELD_SAME_NAME: t.v1.M.a: it changed; do not");
}

static void test_a_refusal_says_the_first_breaks_and_how_many_more(void **state)
{
    (void)state;
    struct error_text error = {"?"};
    struct diff *diff = compare(P3 "message M { int32 a = 1; }", P3 "message M { int32 a = 1; }");
    diff_summarize(diff, &error);
    assert_string_equal(error.text, "");
    diff_free(diff);
    diff = compare(P3 "message M { int32 a = 1; }", P3 "message M { bool a = 1; }");
    diff_summarize(diff, &error);
    assert_non_null(
        strstr(error.text, "x.proto:2:13: FIELD_WIRE_JSON_COMPATIBLE_TYPE: t.v1.M.a: "));
    assert_null(strstr(error.text, "more"));
    diff_free(diff);
    diff = compare_schemas(many("int32", 20, 0, NULL), many("bool", 20, 0, NULL), NULL);
    diff_summarize(diff, &error);
    assert_non_null(strstr(error.text, "t.v1.M.f0: "));
    const char *more = strstr(error.text, "; and 1");
    assert_non_null(more);
    assert_non_null(strstr(more, " more"));
    assert_true(strlen(error.text) < sizeof(error.text));
    diff_free(diff);
}

static void test_every_rule_has_a_name_a_meaning_and_a_category(void **state)
{
    (void)state;
    for (int i = 0; i < DIFF_RULE_COUNT; i++) {
        enum diff_rule rule = (enum diff_rule)i;
        assert_int_equal(diff_rule_find(diff_rule_name(rule)), rule);
        assert_true(strlen(diff_rule_meaning(rule)) > 10);
        assert_true(diff_rule_applies(rule, DIFF_WIRE) || diff_rule_applies(rule, DIFF_WIRE_JSON));
    }
    assert_int_equal(diff_rule_find("FIELD_SAME"), DIFF_RULE_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_finding_is_where_the_new_element_is),
        cmocka_unit_test(test_what_was_deleted_is_at_its_nearest_surviving_parent),
        cmocka_unit_test(test_without_positions_there_is_none),
        cmocka_unit_test(test_positions_may_come_from_another_set),
        cmocka_unit_test(test_a_set_without_positions_is_the_same_schema),
        cmocka_unit_test(test_a_set_cut_anywhere_is_refused_or_read),
        cmocka_unit_test(test_a_package_that_goes_without_a_successor_is_one_finding),
        cmocka_unit_test(test_a_package_that_a_newer_one_follows_was_not_deleted),
        cmocka_unit_test(test_a_service_without_a_counterpart_in_what_follows_was_deleted),
        cmocka_unit_test(test_elements_may_move_between_files_of_a_package),
        cmocka_unit_test(test_an_exception_accepts_its_element_alone),
        cmocka_unit_test(test_an_exception_without_an_element_accepts_all_of_its_rule),
        cmocka_unit_test(test_an_exception_without_a_reason_accepts_nothing_and_is_a_break),
        cmocka_unit_test(test_an_exception_of_a_rule_that_does_not_exist_is_a_break),
        cmocka_unit_test(test_an_exception_that_matches_nothing_is_a_note),
        cmocka_unit_test(test_an_exception_of_a_rule_that_nobody_asked_for_is_not_mentioned),
        cmocka_unit_test(test_findings_past_the_limit_are_counted),
        cmocka_unit_test(test_exceptions_past_the_limit_accept_nothing),
        cmocka_unit_test(test_a_finding_is_one_line),
        cmocka_unit_test(test_a_refusal_says_the_first_breaks_and_how_many_more),
        cmocka_unit_test(test_every_rule_has_a_name_a_meaning_and_a_category),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
