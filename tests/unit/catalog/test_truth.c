/*
 * dpkg.c against dpkg itself: over this machine's packages, and over a database made for it, with
 * what a machine seldom has. And the questions: that each has the answer that is expected of it.
 */
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dpkg.h"
#include "query.h"
#include "truth.h"

static void same(const struct dpkg_package *got, const struct truth_package *want)
{
    assert_string_equal(got->id, want->id);
    assert_string_equal(got->name, want->name);
    assert_string_equal(got->architecture, want->architecture);
    assert_string_equal(got->version, want->version);
    assert_string_equal(got->section, want->section);
    assert_string_equal(got->priority, want->priority);
    assert_string_equal(got->maintainer, want->maintainer);
    assert_string_equal(got->homepage, want->homepage);
    assert_string_equal(got->bugs, want->bugs);
    assert_string_equal(got->origin, want->origin);
    assert_string_equal(got->source, want->source);
    assert_string_equal(got->summary, want->summary);
    assert_string_equal(got->description, want->description);
    assert_int_equal(got->installed_kib, want->installed_kib);
    assert_int_equal(got->essential, want->essential);
    assert_int_equal(got->depends_count, want->depends_count);
    for (size_t i = 0; i < got->depends_count; i++)
        assert_string_equal(got->depends[i], want->depends[i]);
}

static void check_database(const char *admindir, size_t least)
{
    struct dpkg_db *db = NULL;
    struct dpkg_error error;
    struct truth truth;
    char path[256], text[256];
    snprintf(path, sizeof(path), "%s/status", admindir);
    assert_int_equal(dpkg_load(path, NULL, &db, &error), 0);
    assert_int_equal(truth_ask(admindir, &truth, text), 0);
    assert_int_equal(dpkg_count(db), truth.count);
    assert_true(truth.count >= least);
    for (size_t i = 0; i < truth.count; i++)
        same(dpkg_at(db, i), &truth.packages[i]);
    truth_deinit(&truth);
    dpkg_free(db);
}

static void test_this_machine_is_read_as_dpkg_reads_it(void **state)
{
    (void)state;
    if (access(DPKG_STATUS_FILE, R_OK) < 0) {
        print_message("no %s on this machine\n", DPKG_STATUS_FILE);
        skip();
    }
    check_database("/var/lib/dpkg", 1);
}

static const char odd[] =
    "Package: two-words\nStatus: hold ok installed\nPriority: extra\nSection: contrib/x11\n"
    "Installed-Size: 7\nMaintainer: Nobody At All\nArchitecture: all\nVersion: 1:2~rc1-3\n"
    "Source: other (4)\nBugs: debbugs://bugs.example.org\nOrigin: Example\n"
    "Depends: a (>= 1), b | c (<< 2:3), d\n"
    "Description: one line only\n"
    "\n"
    "Package: lib\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\n"
    "Version: 1\nMaintainer: \xe9t\xe9 <e@example.org>\nHomepage: https://example.org/?a=b&c\n"
    "Description: trailing blank \n first\n .\n  indented\n .\n .\n last\n"
    "\n"
    "Package: lib\nStatus: install ok installed\nArchitecture: i386\nMulti-Arch: same\n"
    "Version: 1\nMaintainer: \xc3\xa9t\xc3\xa9 <e@example.org>\nEssential: yes\n"
    "Description: x\n"
    "\n"
    "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n"
    "Maintainer: X <x@example.org>\nDescription: y\n"
    "\n";

static void test_odd_packages_are_read_as_dpkg_reads_them(void **state)
{
    (void)state;
    char folder[] = "/tmp/test_truth_XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/status", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(odd, file);
    fclose(file);
    /* dpkg-query looks for the architectures and for updates beside it. */
    snprintf(path, sizeof(path), "%s/arch", folder);
    file = fopen(path, "w");
    fputs("amd64\ni386\n", file);
    fclose(file);
    snprintf(path, sizeof(path), "%s/updates", folder);
    mkdir(path, 0700);
    check_database(folder, 3);
    rmdir(path);
    snprintf(path, sizeof(path), "%s/arch", folder);
    unlink(path);
    snprintf(path, sizeof(path), "%s/status", folder);
    unlink(path);
    rmdir(folder);
}

static void test_a_database_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    struct truth truth;
    char error[256] = "";
    assert_true(truth_ask("/nonexistent", &truth, error) < 0);
    assert_true(strlen(error) > 0);
}

/* Two architectures of one name, and an extra package. */
static struct truth_package packages[] = {
    {.name = "a", .id = "a:amd64", .section = "libs", .priority = "optional",
     .summary = "A package", .twin = true},
    {.name = "a", .id = "a:i386", .section = "libs", .priority = "extra",
     .summary = "A package", .twin = true},
    {.name = "b", .id = "b:all", .section = "admin", .priority = "required",
     .summary = "Another", .installed_kib = 9},
};
static const struct truth small = {.packages = packages, .count = 3};

static void test_every_kind_of_question_is_asked_and_fits_its_truth(void **state)
{
    (void)state;
    uint64_t dice = 1;
    unsigned asked[QUERY_VISIT + 1] = {0};
    for (int i = 0; i < 20000; i++) {
        struct query query;
        query_make(&query, &small, &dice, 10);
        asked[query.kind]++;
        bool of_package = query.kind == QUERY_GET || query.kind == QUERY_VISIT;
        assert_int_equal(query_status(&query) == PARLEY_OK, query.kind != QUERY_GET_MISSING &&
                                                                query.kind != QUERY_GET_NOTHING);
        if (of_package && query.package->twin)
            assert_string_equal(query.text, query.package->id);
        if (query.kind == QUERY_SEARCH)
            assert_true(strlen(query.text) > 0 && strlen(query.text) <= 256);
        assert_string_not_equal(query.priority, "extra");
    }
    for (int kind = 0; kind <= QUERY_VISIT; kind++)
        assert_true(asked[kind] > 0);
    assert_true(asked[QUERY_VISIT] > 1700 && asked[QUERY_VISIT] < 2300);
}

static void test_optional_lists_extra_packages_too(void **state)
{
    (void)state;
    struct query query = {.kind = QUERY_LIST, .section = "", .priority = "optional"};
    assert_true(query_lists(&query, &packages[0]));
    assert_true(query_lists(&query, &packages[1]));
    assert_false(query_lists(&query, &packages[2]));
}

static void test_a_list_filters_by_size_and_section(void **state)
{
    (void)state;
    struct query query = {.kind = QUERY_LIST, .section = "admin", .priority = "", .kib_min = 9};
    assert_true(query_lists(&query, &packages[2]));
    assert_false(query_lists(&query, &packages[0]));
    query.kib_min = 10;
    assert_false(query_lists(&query, &packages[2]));
}

static void test_only_the_first_difference_is_kept(void **state)
{
    (void)state;
    struct difference difference = {0};
    difference_text(&difference, "a", "name", "x", "x");
    difference_number(&difference, "a", "size", 1, 1);
    assert_false(difference.found);
    difference_number(&difference, "a", "size", 1, 2);
    difference_text(&difference, "a", "name", "x", "y");
    assert_true(difference.found);
    assert_string_equal(difference.text, "a: size is 1, dpkg says 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_this_machine_is_read_as_dpkg_reads_it),
        cmocka_unit_test(test_odd_packages_are_read_as_dpkg_reads_them),
        cmocka_unit_test(test_a_database_that_is_not_there_is_an_error),
        cmocka_unit_test(test_every_kind_of_question_is_asked_and_fits_its_truth),
        cmocka_unit_test(test_optional_lists_extra_packages_too),
        cmocka_unit_test(test_a_list_filters_by_size_and_section),
        cmocka_unit_test(test_only_the_first_difference_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
