/* parley diff, from folders of .proto files to an exit code. */
#include "support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "cli/cli.h"
#include "schema/diff.h"
#include "unit/cli/run.h"
#include "unit/schema/protos.h"

#define HEAD                                                                                       \
    "syntax = \"proto3\";\npackage shop.v1;\nimport \"parley/options.proto\";\n"                   \
    "option (parley.interface) = { name: \"shop\" version: \"1.0.0\"\n"

static const char released[] = HEAD "};\n"
                                    "message Item {\n"
                                    "  int32 price = 1; // in cents: 5%, 10%\n"
                                    "  string name = 2;\n"
                                    "  string note = 3;\n"
                                    "}\n"
                                    "service Shop {\n"
                                    "  rpc Get(Item) returns (Item);\n"
                                    "}\n";

/* Two breaks, one that is accepted, one exception that nothing needs. */
static const char changed[] =
    HEAD "  accept { rule: \"FIELD_SAME_NAME\" element: \"shop.v1.Item.title\"\n"
         "    reason: \"100% of its readers, all of them, use numbers: none reads JSON\" }\n"
         "  accept { rule: \"RPC_NO_DELETE\" reason: \"of last year\" }\n"
         "};\n"
         "message Item {\n"
         "  sint32 price = 1;\n"
         "  string title = 2 [json_name = \"name\"];\n"
         "  reserved \"note\";\n"
         "}\n"
         "service Shop {\n"
         "  rpc Get(Item) returns (Item);\n"
         "}\n";

struct folders {
    char *old, *new;
};

static struct folders folders_make(const char *old, const char *new)
{
    struct folders folders = {folder_make(), folder_make()};
    file_write(folders.old, "shop.proto", old);
    file_write(folders.new, "shop.proto", new);
    return folders;
}

static void folders_remove(struct folders *folders)
{
    folder_remove(folders->old);
    folder_remove(folders->new);
}

static void assert_exit(const struct run *run, int code)
{
    if (run->code != code)
        fail_msg("exit %d, not %d:\n%s%s", run->code, code, run->out, run->err);
}

static void test_findings_look_as_they_always_do_in_each_format(void **state)
{
    (void)state;
    static const char *const formats[][2] = {
        {"text", "diff.txt"}, {"json", "diff.json"}, {"github", "diff.github"}};
    struct folders folders = folders_make(released, changed);
    for (size_t i = 0; i < 3; i++) {
        struct run run = RUN("diff", "--format", formats[i][0], folders.old, folders.new);
        assert_exit(&run, CLI_EXIT_REFUSED);
        assert_golden(run.out, formats[i][1]);
        assert_string_equal(run.err, "");
        run_free(&run);
    }
    folders_remove(&folders);
}

static void test_nothing_breaks_where_nothing_changed(void **state)
{
    (void)state;
    struct folders folders = folders_make(released, released);
    struct run run = RUN("diff", folders.old, folders.new);
    assert_exit(&run, CLI_EXIT_OK);
    assert_string_equal(run.out, "nothing breaks\n");
    run_free(&run);
    run = RUN("diff", "-f", "github", folders.old, folders.new);
    assert_exit(&run, CLI_EXIT_OK);
    assert_string_equal(run.out, "");
    run_free(&run);
    folders_remove(&folders);
}

static void test_the_category_says_what_is_looked_at(void **state)
{
    (void)state;
    struct folders folders = folders_make("syntax = \"proto3\"; message M { int32 a = 1; }",
                                          "syntax = \"proto3\"; message M { bool b = 1; }");
    struct run run = RUN("diff", "--category", "WIRE", folders.old, folders.new);
    assert_exit(&run, CLI_EXIT_OK);
    run_free(&run);
    run = RUN("diff", "--category=WIRE_JSON", folders.old, folders.new);
    assert_exit(&run, CLI_EXIT_REFUSED);
    run_free(&run);
    folders_remove(&folders);
}

static void test_the_demos_versions_are_bridged(void **state)
{
    (void)state;
    struct run run = RUN("diff", CATALOG_V1_SET, CATALOG_V2_SET);
    assert_exit(&run, CLI_EXIT_OK);
    assert_string_equal(run.out, "nothing breaks\n");
    run_free(&run);
    run = RUN("diff", PROTOC_SCHEMAS "/demo/catalog_v1.proto",
              PROTOC_SCHEMAS "/demo/catalog_v2.proto");
    assert_exit(&run, CLI_EXIT_OK);
    run_free(&run);
    run = RUN("diff", PROTOC_SCHEMAS, PROTOC_SCHEMAS);
    assert_exit(&run, CLI_EXIT_OK);
    run_free(&run);
}

static void test_a_missing_rule_between_majors_is_a_break(void **state)
{
    (void)state;
    struct folders folders = folders_make(
        released, "syntax = \"proto3\"; package shop.v2; import \"parley/options.proto\";\n"
                  "option (parley.interface) = { name: \"shop\" version: \"2.0.0\" "
                  "previous: \"shop.v1\" };\n"
                  "message Item { int64 price = 1; string name = 3; string remark = 2; }\n"
                  "service Shop { rpc Get(Item) returns (Item); }\n");
    struct run run = RUN("diff", folders.old, folders.new);
    assert_exit(&run, CLI_EXIT_REFUSED);
    assert_contains(run.out, "shop.proto:3:50: PARLEY_FIELD_NEEDS_RULE: shop.v2.Item.remark: ");
    assert_contains(run.out, "add [(parley.field).from = \"note\"]");
    run_free(&run);
    folders_remove(&folders);
}

static void test_folders_are_read_with_those_in_them(void **state)
{
    (void)state;
    struct folders folders =
        folders_make("syntax = \"proto3\"; import \"deep/er/type.proto\"; message M { T t = 1; }",
                     "syntax = \"proto3\"; import \"deep/er/type.proto\"; message M { T t = 1; }");
    const char *const both[] = {folders.old, folders.new};
    char deep[600], deeper[600];
    for (size_t i = 0; i < 2; i++) {
        snprintf(deep, sizeof(deep), "%s/deep", both[i]);
        snprintf(deeper, sizeof(deeper), "%s/deep/er", both[i]);
        assert_int_equal(mkdir(deep, 0700), 0);
        assert_int_equal(mkdir(deeper, 0700), 0);
        file_write(deeper, "type.proto",
                   i ? "syntax = \"proto3\";\nmessage T { int32 b = 2; }"
                     : "syntax = \"proto3\"; message T { int32 b = 1; }");
        file_write(deep, "notes.txt", "no schema");
        file_write(deep, ".hidden.proto", "no schema either");
    }
    struct run run = RUN("diff", "--prefix", "schemas/", folders.old, folders.new);
    assert_exit(&run, CLI_EXIT_REFUSED);
    assert_contains(run.out, "schemas/deep/er/type.proto:2:1: "
                             "FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED: T.b: ");
    run_free(&run);
    for (size_t i = 0; i < 2; i++) {
        snprintf(deep, sizeof(deep), "%s/deep", both[i]);
        snprintf(deeper, sizeof(deeper), "%s/deep/.hidden.proto", both[i]);
        assert_int_equal(unlink(deeper), 0);
        snprintf(deeper, sizeof(deeper), "%s/deep/er", both[i]);
        folder_remove(strdup(deeper));
        folder_remove(strdup(deep));
    }
    folders_remove(&folders);
}

static void test_a_file_s_name_is_never_an_option_of_protoc(void **state)
{
    (void)state;
    char *folder = folder_make(), path[600];
    file_write(folder, "--descriptor_set_out=taken.proto", "syntax = \"proto3\"; message A {}");
    file_write(folder, "@b.proto", "syntax = \"proto3\"; message B {}");
    struct run run = RUN("diff", folder, folder);
    assert_exit(&run, CLI_EXIT_OK);
    run_free(&run);
    snprintf(path, sizeof(path), "%s/@b.proto", folder);
    run = RUN("diff", path, path);
    assert_exit(&run, CLI_EXIT_OK);
    run_free(&run);
    snprintf(path, sizeof(path), "%s/taken.proto", folder);
    assert_int_equal(access(path, F_OK), -1);
    folder_remove(folder);
}

static void test_what_makes_no_sense_exits_with_2(void **state)
{
    (void)state;
    struct folders folders =
        folders_make(released, "syntax = \"proto3\"; message M { Nix n = 1; }");
    char *empty = folder_make(), text[600];
    file_write(empty, "set.bin", "this is no set");
    snprintf(text, sizeof(text), "%s/set.bin", empty);
    const struct {
        const char *old, *new, *sentence;
    } cases[] = {
        {folders.old, folders.new, "protoc refuses it:\n        shop.proto:1:32: \"Nix\" is not"},
        {folders.old, "/nowhere", "/nowhere: No such file or directory"},
        {"/dev/null", folders.old, "/dev/null: this is neither a folder nor a file"},
        {empty, folders.old, "no .proto file is in there"},
        {text, folders.old, "this is no descriptor set, nor does it end in .proto"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct run run = RUN("diff", cases[i].old, cases[i].new);
        assert_exit(&run, CLI_EXIT_USAGE);
        assert_string_equal(run.out, "");
        assert_contains(run.err, cases[i].sentence);
        run_free(&run);
    }
    folder_remove(empty);
    folders_remove(&folders);
}

static void test_senseless_arguments_are_refused_with_a_sentence(void **state)
{
    (void)state;
    struct run run = RUN("diff", "one");
    assert_exit(&run, CLI_EXIT_USAGE);
    assert_contains(run.err, "diff takes what was and what is: OLD NEW");
    run_free(&run);
    run = RUN("diff", "--format", "xml", "a", "b");
    assert_exit(&run, CLI_EXIT_USAGE);
    assert_contains(run.err, "--format: 'xml' is none; there are text, json and github");
    run_free(&run);
    run = RUN("diff", "--category", "FILE", "a", "b");
    assert_exit(&run, CLI_EXIT_USAGE);
    assert_contains(run.err, "--category: 'FILE' is none; there are WIRE and WIRE_JSON");
    run_free(&run);
}

static void test_a_missing_protoc_is_said_with_what_to_install(void **state)
{
    (void)state;
    struct folders folders = folders_make(released, released);
    assert_int_equal(unsetenv("PROTOC"), 0);
    char *path = strdup(getenv("PATH"));
    assert_int_equal(setenv("PATH", "/nowhere", 1), 0);
    struct run run = RUN("diff", folders.old, folders.new);
    assert_int_equal(setenv("PATH", path, 1), 0);
    free(path);
    assert_exit(&run, CLI_EXIT_USAGE);
    assert_contains(run.err, "apt-get install protobuf-compiler");
    run_free(&run);
    folders_remove(&folders);
}

static void test_another_protoc_may_be_named_by_a_relative_path(void **state)
{
    (void)state;
    struct folders folders = folders_make(released, released);
    char here[512], path[600];
    assert_non_null(getcwd(here, sizeof(here)));
    file_write(folders.old, "compiler", "#!/bin/sh\necho 'no, thank you' >&2\nexit 3\n");
    snprintf(path, sizeof(path), "%s/compiler", folders.old);
    assert_int_equal(chmod(path, 0700), 0);
    assert_int_equal(chdir(folders.old), 0);
    assert_int_equal(setenv("PROTOC", "./compiler", 1), 0);
    struct run run = RUN("diff", folders.new, folders.old);
    assert_int_equal(unsetenv("PROTOC"), 0);
    assert_int_equal(chdir(here), 0);
    assert_exit(&run, CLI_EXIT_USAGE);
    assert_contains(run.err, "protoc refuses it:\n        no, thank you\n");
    run_free(&run);
    folders_remove(&folders);
}

static void test_the_rules_are_listed(void **state)
{
    (void)state;
    struct run run = RUN("diff", "--rules", "--category", "WIRE");
    assert_exit(&run, CLI_EXIT_OK);
    assert_contains(run.out, "FIELD_WIRE_COMPATIBLE_TYPE ");
    assert_null(strstr(run.out, "FIELD_SAME_NAME"));
    run_free(&run);
    run = RUN("diff", "--rules", "--category", "WIRE", "--json");
    json_t *rules = json_loads(run.out, 0, NULL);
    assert_true(json_array_size(rules) > 10);
    assert_string_equal(json_string_value(json_object_get(json_array_get(rules, 0), "rule")),
                        "ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED");
    json_decref(rules);
    run_free(&run);
    run = RUN("diff", "--rules");
    assert_contains(run.out, "FIELD_SAME_NAME ");
    assert_null(strstr(run.out, "FIELD_WIRE_COMPATIBLE_TYPE"));
    run_free(&run);
}

static void test_more_than_the_limit_is_said(void **state)
{
    (void)state;
    char *text[2];
    for (size_t i = 0; i < 2; i++) {
        size_t bytes;
        FILE *out = open_memstream(&text[i], &bytes);
        fputs("syntax = \"proto3\";\nmessage M {\n", out);
        for (int k = 1; k <= 1001; k++)
            fprintf(out, "%s f%d = %d;\n", i ? "bool" : "string", k, k);
        fputs("}\n", out);
        fclose(out);
    }
    struct folders folders = folders_make(text[0], text[1]);
    struct run run = RUN("diff", folders.old, folders.new);
    assert_exit(&run, CLI_EXIT_REFUSED);
    assert_contains(run.out, "\nand 1 more\n1001 breaks\n");
    run_free(&run);
    run = RUN("diff", "--json", folders.old, folders.new);
    assert_contains(run.out, "\"breaks\": 1001,\n  \"omitted\": 1,");
    run_free(&run);
    run = RUN("diff", "--format=github", folders.old, folders.new);
    assert_contains(run.out, "::error title=parley diff::and 1 more\n");
    run_free(&run);
    folders_remove(&folders);
    free(text[0]);
    free(text[1]);
}

/* ---- Limits of a folder ---- */

static int diff_of(const char *folder, const char *sentence)
{
    struct run run = RUN("diff", folder, folder);
    if (run.code != CLI_EXIT_OK)
        assert_contains(run.err, sentence);
    int code = run.code;
    run_free(&run);
    return code;
}

static void test_a_folder_has_at_most_so_many_schemas(void **state)
{
    (void)state;
    char *folder = folder_make(), name[32];
    for (int i = 0; i < SCHEMA_FILE_MAX; i++) {
        snprintf(name, sizeof(name), "f%d.proto", i);
        file_write(folder, name, "syntax = \"proto3\";");
    }
    assert_int_equal(diff_of(folder, ""), CLI_EXIT_OK);
    file_write(folder, "g.proto", "syntax = \"proto3\";");
    assert_int_equal(diff_of(folder, "has more than 256 .proto files"), CLI_EXIT_USAGE);
    folder_remove(folder);
}

static void test_a_folder_has_at_most_so_many_files(void **state)
{
    (void)state;
    char *folder = folder_make(), name[32];
    file_write(folder, "f.proto", "syntax = \"proto3\";");
    for (int i = 1; i < 16384; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        file_write(folder, name, "");
    }
    assert_int_equal(diff_of(folder, ""), CLI_EXIT_OK);
    file_write(folder, "one more", "");
    assert_int_equal(diff_of(folder, "has more than 16384 files"), CLI_EXIT_USAGE);
    folder_remove(folder);
}

static void test_folders_are_nested_at_most_so_deep(void **state)
{
    (void)state;
    char *folder = folder_make(), *inner[17];
    char path[600];
    snprintf(path, sizeof(path), "%s", folder);
    for (int i = 0; i < 17; i++) {
        if (i == 16) {
            file_write(path, "f.proto", "syntax = \"proto3\";");
            assert_int_equal(diff_of(folder, ""), CLI_EXIT_OK);
        }
        strcat(path, "/d");
        assert_int_equal(mkdir(path, 0700), 0);
        inner[i] = strdup(path);
    }
    assert_int_equal(diff_of(folder, "is nested deeper than 16 folders"), CLI_EXIT_USAGE);
    for (int i = 16; i >= 0; i--)
        folder_remove(inner[i]);
    folder_remove(folder);
}

static void test_a_set_has_at_most_so_many_bytes(void **state)
{
    (void)state;
    char *folder = folder_make(), path[600];
    file_write(folder, "set.bin", "");
    snprintf(path, sizeof(path), "%s/set.bin", folder);
    assert_int_equal(truncate(path, DIFF_POSITIONS_BYTES_MAX), 0);
    assert_int_equal(diff_of(path, "this is no descriptor set"), CLI_EXIT_USAGE);
    assert_int_equal(truncate(path, DIFF_POSITIONS_BYTES_MAX + 1), 0);
    assert_int_equal(diff_of(path, "has more than 32 MiB as a descriptor set"), CLI_EXIT_USAGE);
    folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_findings_look_as_they_always_do_in_each_format),
        cmocka_unit_test(test_nothing_breaks_where_nothing_changed),
        cmocka_unit_test(test_the_category_says_what_is_looked_at),
        cmocka_unit_test(test_the_demos_versions_are_bridged),
        cmocka_unit_test(test_a_missing_rule_between_majors_is_a_break),
        cmocka_unit_test(test_folders_are_read_with_those_in_them),
        cmocka_unit_test(test_a_file_s_name_is_never_an_option_of_protoc),
        cmocka_unit_test(test_what_makes_no_sense_exits_with_2),
        cmocka_unit_test(test_senseless_arguments_are_refused_with_a_sentence),
        cmocka_unit_test(test_a_missing_protoc_is_said_with_what_to_install),
        cmocka_unit_test(test_another_protoc_may_be_named_by_a_relative_path),
        cmocka_unit_test(test_the_rules_are_listed),
        cmocka_unit_test(test_more_than_the_limit_is_said),
        cmocka_unit_test(test_a_folder_has_at_most_so_many_schemas),
        cmocka_unit_test(test_a_folder_has_at_most_so_many_files),
        cmocka_unit_test(test_folders_are_nested_at_most_so_deep),
        cmocka_unit_test(test_a_set_has_at_most_so_many_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
