#include "support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dpkg.h"

static struct dpkg_db *db;
static struct dpkg_error error;

static int load_fixture(void **state)
{
    (void)state;
    return dpkg_load(CATALOG_FIXTURE, NULL, &db, &error);
}

static int free_db(void **state)
{
    (void)state;
    db = dpkg_free(db);
    return 0;
}

static const struct dpkg_package *find(const char *name)
{
    size_t index = SIZE_MAX;
    assert_int_equal(dpkg_find(db, name, &index), 0);
    return dpkg_at(db, index);
}

/* A status file of one stanza for each of @count packages named p0, p1, ... */
static char *many(size_t count)
{
    char *text = calloc(count + 1, 80);
    char *at = text;
    for (size_t i = 0; i < count; i++)
        at += sprintf(at, "Package: p%zu\nStatus: install ok installed\nArchitecture: all\n"
                          "Version: 1\n\n",
                      i);
    return text;
}

static int parse(const char *text, const struct dpkg_limits *limits)
{
    return dpkg_parse(text, strlen(text), limits, &db, &error);
}

static void test_every_field_is_read(void **state)
{
    (void)state;
    const struct dpkg_package *package = find("base-files");
    assert_string_equal(package->id, "base-files:amd64");
    assert_string_equal(package->name, "base-files");
    assert_string_equal(package->architecture, "amd64");
    assert_string_equal(package->version, "12.4+deb12u5");
    assert_string_equal(package->section, "admin");
    assert_string_equal(package->priority, "required");
    assert_string_equal(package->maintainer, "Santiago Vila <sanvila@debian.org>");
    assert_string_equal(package->homepage, "https://example.org/base");
    assert_string_equal(package->bugs, "mailto:bugs@example.org");
    assert_string_equal(package->origin, "Example");
    assert_string_equal(package->source, "base-files");
    assert_int_equal(package->installed_kib, 341);
    assert_true(package->essential);
}

static void test_depends_is_split_at_commas_and_trimmed(void **state)
{
    (void)state;
    const struct dpkg_package *package = find("base-files");
    assert_int_equal(package->depends_count, 3);
    assert_string_equal(package->depends[0], "libc6 (>= 2.14)");
    assert_string_equal(package->depends[1], "libcrypt1 | libcrypt2");
    assert_string_equal(package->depends[2], "zlib1g (>= 1:1.2)");
}

static void test_description_loses_its_indent_and_dots(void **state)
{
    (void)state;
    const struct dpkg_package *package = find("base-files");
    assert_string_equal(package->summary, "Debian base system miscellaneous files");
    assert_string_equal(package->description,
                        "This package contains the basic filesystem hierarchy.\n"
                        "\n"
                        " * indented: one blank stays\n"
                        "Last line.");
}

static void test_missing_fields_are_empty(void **state)
{
    (void)state;
    const struct dpkg_package *package = find("libc6-dev");
    assert_string_equal(package->section, "");
    assert_string_equal(package->maintainer, "");
    assert_string_equal(package->homepage, "");
    assert_string_equal(package->summary, "");
    assert_string_equal(package->description, "");
    assert_string_equal(package->source, "libc6-dev");
    assert_int_equal(package->installed_kib, 0);
    assert_int_equal(package->depends_count, 0);
    assert_false(package->essential);
}

static void test_packages_that_are_not_installed_are_left_out(void **state)
{
    (void)state;
    size_t index;
    assert_int_equal(dpkg_find(db, "removed-with-config", &index), DPKG_E_NONE);
    assert_int_equal(dpkg_find(db, "half-way", &index), DPKG_E_NONE);
}

static void test_a_name_of_two_architectures_needs_the_id(void **state)
{
    (void)state;
    size_t index;
    assert_int_equal(dpkg_find(db, "libc6", &index), DPKG_E_AMBIGUOUS);
    assert_string_equal(find("libc6:amd64")->source, "glibc");
    assert_string_equal(find("libc6:i386")->priority, "extra");
    assert_int_equal(dpkg_find(db, "libc6:arm64", &index), DPKG_E_NONE);
}

static void test_a_prefix_of_a_name_is_not_found(void **state)
{
    (void)state;
    size_t index;
    assert_int_equal(dpkg_find(db, "libc", &index), DPKG_E_NONE);
    assert_int_equal(dpkg_find(db, "libc6-", &index), DPKG_E_NONE);
    assert_int_equal(dpkg_find(db, "", &index), DPKG_E_NONE);
    assert_int_equal(dpkg_find(db, ":", &index), DPKG_E_NONE);
    assert_int_equal(dpkg_find(db, "zzz", &index), DPKG_E_NONE);
}

static void test_order_is_of_ids(void **state)
{
    (void)state;
    assert_true(dpkg_count(db) > 1);
    for (size_t i = 1; i < dpkg_count(db); i++)
        assert_true(strcmp(dpkg_at(db, i - 1)->id, dpkg_at(db, i)->id) < 0);
}

static void test_broken_stanzas_are_counted_and_harm_no_other(void **state)
{
    (void)state;
    /* A line that is no field, no architecture, Version twice, a continuation first, a name with a
     * blank, one package twice. */
    assert_int_equal(dpkg_skipped(db), 6);
    assert_non_null(strstr(dpkg_skipped_text(db), "no field"));
    assert_string_equal(find("same")->version, "1");
    size_t index;
    assert_int_equal(dpkg_find(db, "orphan", &index), DPKG_E_NONE);
    assert_int_equal(dpkg_find(db, "twice", &index), DPKG_E_NONE);
    assert_string_equal(find("last-without-newline")->description, "of the file");
    assert_int_equal(dpkg_count(db), 7);
}

static void test_bytes_that_are_not_utf8_become_question_marks(void **state)
{
    (void)state;
    assert_string_equal(find("latin")->maintainer, "J?rg <j@example.org>");
    assert_string_equal(find("latin")->summary, "na\xc3\xafve");
    assert_int_equal(find("latin")->installed_kib, 0);
}

static void test_overlong_surrogate_and_nul_are_not_utf8(void **state)
{
    (void)state;
    static const char text[] = "Package: x\nStatus: install ok installed\nArchitecture: all\n"
                               "Version: \xc0\x80|\xed\xa0\x80|\xf4\x90\x80\x80|\0|\xe2\x82\n";
    assert_int_equal(dpkg_parse(text, sizeof(text) - 1, NULL, &db, &error), 0);
    assert_string_equal(find("x")->version, "??|???|????|?|??");
}

static void test_an_empty_file_has_no_packages(void **state)
{
    (void)state;
    assert_int_equal(dpkg_parse("", 0, NULL, &db, &error), 0);
    assert_int_equal(dpkg_count(db), 0);
    size_t index;
    assert_int_equal(dpkg_find(db, "x", &index), DPKG_E_NONE);
}

static void test_a_missing_file_is_named_in_the_error(void **state)
{
    (void)state;
    assert_int_equal(dpkg_load("/nonexistent/status", NULL, &db, &error), -ENOENT);
    assert_non_null(strstr(error.text, "/nonexistent/status"));
}

static void test_a_folder_is_no_status_file(void **state)
{
    (void)state;
    assert_int_equal(dpkg_load("/", NULL, &db, &error), -EISDIR);
}

static void test_package_limit(void **state)
{
    (void)state;
    struct dpkg_limits limits = DPKG_LIMITS_DEFAULT;
    limits.packages = 100;
    char *text = many(100);
    assert_int_equal(parse(text, &limits), 0);
    assert_int_equal(dpkg_count(db), 100);
    free(text);
    db = dpkg_free(db);
    text = many(101);
    assert_int_equal(parse(text, &limits), -EFBIG);
    assert_non_null(strstr(error.text, "100 packages"));
    free(text);
}

static void test_default_package_limit(void **state)
{
    (void)state;
    size_t max = DPKG_LIMITS_DEFAULT.packages;
    char *text = many(max + 1);
    assert_int_equal(parse(text, NULL), -EFBIG);
    free(text);
    text = many(max);
    assert_int_equal(parse(text, NULL), 0);
    assert_int_equal(dpkg_count(db), max);
    free(text);
}

static void test_file_limit(void **state)
{
    (void)state;
    char *text = many(3);
    struct dpkg_limits limits = DPKG_LIMITS_DEFAULT;
    limits.file_bytes = strlen(text);
    assert_int_equal(parse(text, &limits), 0);
    db = dpkg_free(db);
    limits.file_bytes--;
    assert_int_equal(parse(text, &limits), -EFBIG);
    free(text);
}

static void test_file_limit_holds_while_reading(void **state)
{
    (void)state;
    char path[] = "/tmp/test_dpkg_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct dpkg_limits limits = DPKG_LIMITS_DEFAULT;
    limits.file_bytes = 4096;
    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_int_equal(dpkg_load(path, &limits, &db, &error), 0);
    db = dpkg_free(db);
    assert_int_equal(ftruncate(fd, 4097), 0);
    assert_int_equal(dpkg_load(path, &limits, &db, &error), -EFBIG);
    close(fd);
    unlink(path);
}

static void one_with(char *text, size_t bytes, const char *field, const char *fill, size_t count)
{
    char *at = text + snprintf(text, bytes,
                               "Status: install ok installed\nVersion: 1\nArchitecture: all\n%s",
                               field);
    for (size_t i = 0; i < count; i++)
        at = stpcpy(at, fill);
    strcpy(at, "\n");
}

static void check_one_limit(struct dpkg_limits limits, const char *field, const char *fill,
                            size_t max)
{
    static char text[16384];
    one_with(text, sizeof(text), field, fill, max);
    assert_int_equal(parse(text, &limits), 0);
    assert_int_equal(dpkg_count(db), 1);
    db = dpkg_free(db);
    one_with(text, sizeof(text), field, fill, max + 1);
    assert_int_equal(parse(text, &limits), 0);
    assert_int_equal(dpkg_count(db), 0);
    assert_int_equal(dpkg_skipped(db), 1);
    db = dpkg_free(db);
}

static void test_name_limit(void **state)
{
    (void)state;
    struct dpkg_limits limits = DPKG_LIMITS_DEFAULT;
    check_one_limit(limits, "Package: ", "n", limits.name_bytes);
}

static void test_value_limit(void **state)
{
    (void)state;
    struct dpkg_limits limits = DPKG_LIMITS_DEFAULT;
    limits.value_bytes = 500;
    check_one_limit(limits, "Package: x\nDescription:", "d", 500);
}

static void test_depends_limit(void **state)
{
    (void)state;
    struct dpkg_limits limits = DPKG_LIMITS_DEFAULT;
    check_one_limit(limits, "Package: x\nDepends: ", "a,", limits.depends);
}

static void test_contains_ignores_the_case_of_ascii_only(void **state)
{
    (void)state;
    assert_true(dpkg_contains("GNU C Library", "c lib"));
    assert_true(dpkg_contains("gnu", "GNU"));
    assert_true(dpkg_contains("aab", "ab"));
    assert_true(dpkg_contains("x", ""));
    assert_false(dpkg_contains("gnu", "gnus"));
    assert_false(dpkg_contains("", "a"));
    assert_false(dpkg_contains("\xc3\xa4", "\xc3\x84"));
    assert_false(dpkg_contains("@", "`"));
}

int main(void)
{
#define WITH_FIXTURE(f) cmocka_unit_test_setup_teardown(f, load_fixture, free_db)
#define ALONE(f) cmocka_unit_test_teardown(f, free_db)
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(test_every_field_is_read),
        WITH_FIXTURE(test_depends_is_split_at_commas_and_trimmed),
        WITH_FIXTURE(test_description_loses_its_indent_and_dots),
        WITH_FIXTURE(test_missing_fields_are_empty),
        WITH_FIXTURE(test_packages_that_are_not_installed_are_left_out),
        WITH_FIXTURE(test_a_name_of_two_architectures_needs_the_id),
        WITH_FIXTURE(test_a_prefix_of_a_name_is_not_found),
        WITH_FIXTURE(test_order_is_of_ids),
        WITH_FIXTURE(test_broken_stanzas_are_counted_and_harm_no_other),
        WITH_FIXTURE(test_bytes_that_are_not_utf8_become_question_marks),
        ALONE(test_overlong_surrogate_and_nul_are_not_utf8),
        ALONE(test_an_empty_file_has_no_packages),
        ALONE(test_a_missing_file_is_named_in_the_error),
        ALONE(test_a_folder_is_no_status_file),
        ALONE(test_package_limit),
        ALONE(test_default_package_limit),
        ALONE(test_file_limit),
        ALONE(test_file_limit_holds_while_reading),
        ALONE(test_name_limit),
        ALONE(test_value_limit),
        ALONE(test_depends_limit),
        ALONE(test_contains_ignores_the_case_of_ascii_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
