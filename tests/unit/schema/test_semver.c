#include "support/test.h"

#include <errno.h>
#include <string.h>

#include "schema/schema.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Versions ---- */

static void test_versions_parse(void **state)
{
    (void)state;
    struct semver version;
    assert_int_equal(semver_parse("1.20.300", &version), 0);
    assert_int_equal(version.major, 1);
    assert_int_equal(version.minor, 20);
    assert_int_equal(version.patch, 300);
    assert_string_equal(version.prerelease, "");
    assert_int_equal(semver_parse("1.0.0-rc.1+build.5", &version), 0);
    assert_string_equal(version.prerelease, "rc.1");
    assert_int_equal(semver_parse("4294967295.0.0", &version), 0);
    assert_int_equal(version.major, UINT32_MAX);
    assert_int_equal(semver_parse("1.0.0+001", &version), 0);
    assert_int_equal(semver_parse("1.0.0---", &version), 0);
    assert_string_equal(version.prerelease, "--");
}

static void test_what_is_no_version_is_refused(void **state)
{
    (void)state;
    const char *const bad[] = {
        "",          "1",          "1.2",      "1.2.3.4",
        "01.2.3",    "1.02.3",     "1.2.03",   "v1.2.3",
        " 1.2.3",    "1.2.3 ",     "1.2.x",    "1.2.3-",
        "1.2.3-01",  "1.2.3-a..b", "1.2.3-a.", "1.2.3+",
        "1.2.3+a+b", "1.2.3-a_b",  "-1.2.3",   "4294967296.0.0",
        "1..3",      "1.2.-3",     "1.2.3\n",  "99999999999999999999.0.0",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct semver version;
        if (semver_parse(bad[i], &version) != -EINVAL)
            fail_msg("\"%s\" was taken for a version", bad[i]);
    }
}

static void test_longest_version_parses_and_one_more_byte_does_not(void **state)
{
    (void)state;
    struct semver version;
    char text[] = "1.0.0-aaaaaaaaaaaaaaaaaaaaaaaaaa";
    assert_int_equal(strlen(text), SEMVER_BYTES_MAX + 1);
    assert_int_equal(semver_parse(text, &version), -EINVAL);
    text[SEMVER_BYTES_MAX] = '\0';
    assert_int_equal(semver_parse(text, &version), 0);
}

static void test_precedence_is_as_semver_org_lists_it(void **state)
{
    (void)state;
    const char *const ascending[] = {
        "0.0.0",       "0.0.1",         "0.1.0",
        "1.0.0-0",     "1.0.0-2",       "1.0.0-11",
        "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta",
        "1.0.0-beta",  "1.0.0-beta.2",  "1.0.0-beta.11",
        "1.0.0-rc.1",  "1.0.0",         "1.0.1",
        "1.2.0",       "1.10.0",        "2.0.0",
    };
    for (size_t i = 0; i < COUNT(ascending); i++) {
        for (size_t k = 0; k < COUNT(ascending); k++) {
            struct semver a, b;
            assert_int_equal(semver_parse(ascending[i], &a), 0);
            assert_int_equal(semver_parse(ascending[k], &b), 0);
            int order = semver_compare(&a, &b);
            if ((order > 0) - (order < 0) != (i > k) - (i < k))
                fail_msg("%s against %s", ascending[i], ascending[k]);
        }
    }
}

static void test_build_metadata_does_not_count(void **state)
{
    (void)state;
    struct semver a, b;
    assert_int_equal(semver_parse("1.0.0+a", &a), 0);
    assert_int_equal(semver_parse("1.0.0+b", &b), 0);
    assert_int_equal(semver_compare(&a, &b), 0);
}

/* ---- Ranges ---- */

static int match(const char *text, const char *version_text)
{
    struct semver_ranges *ranges = NULL;
    struct semver version;
    struct error_text error = {""};
    if (semver_ranges_new(text, &ranges, &error) < 0)
        fail_msg("\"%s\": %s", text, error.text);
    assert_int_equal(semver_parse(version_text, &version), 0);
    int index = semver_ranges_match(ranges, &version);
    assert_null(semver_ranges_free(ranges));
    return index;
}

struct row {
    const char *range, *in, *out; /* versions by space */
};

static void expect_all(const char *range, const char *versions, bool expected)
{
    char copy[256];
    assert_true(strlen(versions) < sizeof(copy));
    memcpy(copy, versions, strlen(versions) + 1);
    for (char *rest, *v = strtok_r(copy, " ", &rest); v; v = strtok_r(NULL, " ", &rest)) {
        if ((match(range, v) >= 0) != expected)
            fail_msg("\"%s\" %s %s", range, expected ? "does not match" : "matches", v);
    }
}

static void expect_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        expect_all(rows[i].range, rows[i].in, true);
        expect_all(rows[i].range, rows[i].out, false);
    }
}

/* The tables follow the documentation of node-semver (README, "Ranges" and "Advanced Range
 * Syntax"). */
static void test_comparators(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"1.2.3", "1.2.3", "1.2.2 1.2.4 2.2.3"},
        {"=1.2.3", "1.2.3", "1.2.4"},
        {"v1.2.3", "1.2.3", "1.2.4"},
        {"= v1.2.3", "1.2.3", "1.2.4"},
        {">=1.2.7", "1.2.7 1.2.8 2.5.3 1.3.9", "1.2.6 1.1.0"},
        {">= 1.2.7", "1.2.7 1.2.8", "1.2.6"},
        {">1.2.7", "1.2.8", "1.2.7"},
        {"<1.2.7", "1.2.6 0.0.0", "1.2.7"},
        {"<=1.2.7", "1.2.7 1.2.6", "1.2.8"},
        {">=1.2.7 <1.3.0", "1.2.7 1.2.8 1.2.99", "1.2.6 1.3.0 1.1.0"},
        {"1.2.7 || >=1.2.9 <2.0.0", "1.2.7 1.2.9 1.4.6", "1.2.8 2.0.0"},
        {">1.2", "1.3.0 2.0.0", "1.2.0 1.2.9"},
        {">1", "2.0.0", "1.0.0 1.9.9"},
        {">=1.2", "1.2.0 1.2.9 2.0.0", "1.1.9"},
        {"<1.2", "1.1.9", "1.2.0 1.2.0-rc.1"},
        {"<1", "0.9.9", "1.0.0 1.0.0-rc.1"},
        {"<=1.2", "1.2.0 1.2.9", "1.3.0 1.3.0-rc.1"},
        {"<=1", "1.9.9", "2.0.0"},
        {">*", "", "0.0.0 1.0.0"},
        {"<*", "", "0.0.0 1.0.0"},
        {">=*", "0.0.0 1.0.0", ""},
        {"<=*", "0.0.0 1.0.0", ""},
        {"=1.2", "1.2.0 1.2.9", "1.3.0 1.1.0"},
        {">=1.0.0 2.0.0", "2.0.0", "1.0.0"},
        {"1.0.0 2.0.0", "", "1.0.0 2.0.0"},
    };
    expect_rows(rows, COUNT(rows));
}

static void test_hyphen_ranges(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"1.2.3 - 2.3.4", "1.2.3 1.9.0 2.3.4", "1.2.2 2.3.5"},
        {"1.2 - 2.3.4", "1.2.0 2.3.4", "1.1.9 2.3.5"},
        {"1.2.3 - 2.3", "1.2.3 2.3.0 2.3.99", "1.2.2 2.4.0 2.4.0-rc.1"},
        {"1.2.3 - 2", "1.2.3 2.99.99", "1.2.2 3.0.0 3.0.0-rc.1"},
        {"* - 2", "0.0.0 2.9.9", "3.0.0"},
        {"1.2 - *", "1.2.0 9.0.0", "1.1.9"},
        {"1.2.3-beta - 2.0.0", "1.2.3-beta 1.2.3-rc 1.2.3 2.0.0", "1.2.3-alpha 1.3.0-beta"},
        {"1.0.0  -  1.5.0 || 3.x", "1.2.0 3.1.0", "1.6.0 2.0.0"},
    };
    expect_rows(rows, COUNT(rows));
}

static void test_x_ranges(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"*", "0.0.0 1.2.3 99.0.0", "1.0.0-rc.1"},
        {"", "0.0.0 1.2.3", "1.0.0-rc.1"},
        {"  ", "0.0.0 1.2.3", ""},
        {"x", "1.2.3", ""},
        {"X", "1.2.3", ""},
        {"1.x", "1.0.0 1.9.9", "0.9.9 2.0.0 2.0.0-rc.1"},
        {"1.2.x", "1.2.0 1.2.99", "1.1.9 1.3.0"},
        {"1.2.*", "1.2.0 1.2.99", "1.1.9 1.3.0"},
        {"1.X.x", "1.0.0 1.9.9", "2.0.0"},
        {"1.x.3", "1.0.0 1.9.9", "2.0.0"},
        {"1", "1.0.0 1.9.9", "0.9.9 2.0.0"},
        {"1.2", "1.2.0 1.2.9", "1.3.0"},
        {"*.1", "0.0.0 5.0.0", ""},
    };
    expect_rows(rows, COUNT(rows));
}

static void test_tilde_ranges(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"~1.2.3", "1.2.3 1.2.99", "1.2.2 1.3.0 1.3.0-rc.1"},
        {"~1.2", "1.2.0 1.2.99", "1.1.9 1.3.0"},
        {"~1", "1.0.0 1.9.9", "0.9.9 2.0.0"},
        {"~0.2.3", "0.2.3 0.2.9", "0.2.2 0.3.0"},
        {"~0.2", "0.2.0 0.2.9", "0.3.0"},
        {"~0", "0.0.0 0.9.9", "1.0.0"},
        {"~1.2.3-beta.2", "1.2.3-beta.2 1.2.3-beta.4 1.2.3 1.2.9",
         "1.2.3-beta.1 1.2.4-beta.2 1.3.0"},
        {"~> 1.2", "1.2.0 1.2.9", "1.3.0"},
        {"~ 1.2.3", "1.2.3", "1.3.0"},
        {"~*", "1.2.3", ""},
        {"~1.x", "1.0.0 1.9.9", "2.0.0"},
    };
    expect_rows(rows, COUNT(rows));
}

static void test_caret_ranges(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"^1.2.3", "1.2.3 1.9.9", "1.2.2 2.0.0 2.0.0-rc.1"},
        {"^0.2.3", "0.2.3 0.2.9", "0.2.2 0.3.0"},
        {"^0.0.3", "0.0.3", "0.0.2 0.0.4"},
        {"^1.2.3-beta.2", "1.2.3-beta.2 1.2.3-beta.4 1.2.3 1.9.0", "1.2.3-beta.1 1.2.4-beta.2"},
        {"^0.0.3-beta", "0.0.3-beta 0.0.3-pr.2 0.0.3", "0.0.3-alpha 0.0.4"},
        {"^1.2.x", "1.2.0 1.9.9", "1.1.9 2.0.0"},
        {"^0.0.x", "0.0.0 0.0.9", "0.1.0"},
        {"^0.0", "0.0.0 0.0.9", "0.1.0"},
        {"^1.x", "1.0.0 1.9.9", "2.0.0 0.9.9"},
        {"^0.x", "0.0.0 0.9.9", "1.0.0"},
        {"^0", "0.0.0 0.9.9", "1.0.0"},
        {"^0.1", "0.1.0 0.1.9", "0.2.0 0.0.9"},
        {"^ 1.2", "1.2.0 1.3.0", "2.0.0"},
        {"^*", "1.2.3", ""},
    };
    expect_rows(rows, COUNT(rows));
}

static void test_prereleases_match_only_where_they_are_asked_for(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {">1.2.3-alpha.3", "1.2.3-alpha.7 1.2.3 3.4.5", "3.4.5-alpha.9 1.2.3-alpha.3"},
        {">=1.0.0", "1.0.0 2.0.0", "2.0.0-rc.1 1.0.0-rc.1"},
        {"1.0.0-rc.1", "1.0.0-rc.1", "1.0.0-rc.2 1.0.0"},
        {">=1.0.0-rc.1 <2.0.0", "1.0.0-rc.1 1.0.0-rc.9 1.5.0", "1.5.0-rc.1 2.0.0-rc.1"},
        {">=1.0.0-rc.1 <2.0.0-rc.1", "1.0.0-rc.1 2.0.0-alpha", "2.0.0-rc.1 1.5.0-rc.1"},
        {"1.x || 2.0.0-rc.1", "1.5.0 2.0.0-rc.1", "2.0.0-rc.2 1.5.0-rc.1 2.0.0"},
    };
    expect_rows(rows, COUNT(rows));
}

static void test_prereleases_at_the_edges_are_as_node_semver_has_them(void **state)
{
    (void)state;
    static const struct row rows[] = {
        /* A pre-release of the upper end is above everything, and below its release. */
        {"^1.2.3", "1.8.1", "1.2.3-pre 1.2.3-beta 2.0.0-rc1"},
        {"^1.2", "1.4.2", "1.2.0-pre 2.0.0-alpha"},
        {"^1.2 ^1", "1.4.2", "1.1.9 1.4.2-pre"},
        {"^1.2.3-alpha", "1.2.3-pre 1.2.3 1.9.0", "1.2.4-pre 2.0.0-pre"},
        {"^1.2.0-alpha", "1.2.0-pre 1.2.0", "1.2.1-pre"},
        {"^0.0.1-alpha", "0.0.1-beta 0.0.1", "0.0.2-alpha 0.0.2"},
        {"^0.1.1-alpha", "0.1.1-beta 0.1.2", "0.1.2-beta 0.2.0"},
        {"^0.0.1", "0.0.1", "0.0.1-alpha 0.0.2-alpha 0.0.2"},
        {"~v0.5.4-pre", "0.5.4 0.5.5 0.5.4-rc", "0.5.5-rc 0.6.0-pre"},
        {">1.2", "1.3.0", "1.3.0-beta"},
        {"<=1.2.3", "1.2.3", "1.2.3-beta"},
        {"<1.2.3-rc.2", "1.2.3-rc.1 1.2.2", "1.2.3-rc.2 1.2.2-rc.1"},
        {"=0.7.x", "0.7.2", "0.7.0-asdf"},
        {">=0.7.x", "0.7.2 8.0.0", "0.7.0-asdf"},
        {"<=0.7.x", "0.7.2 0.6.2", "0.7.0-asdf 0.8.0-asdf"},
        {"1 - 2", "1.0.0 2.9.9", "1.0.0-pre 2.0.0-pre 3.0.0-pre"},
        {"1.0 - 2", "1.0.0", "1.0.0-pre"},
        {"1.1.x", "1.1.0", "1.0.0-a 1.1.0-a 1.2.0-a"},
        {"1.x", "1.0.0", "1.0.0-a 1.1.0-a 1.2.0-a 2.0.0-a"},
        {">=1.0.0 <1.1.0", "1.0.0", "1.1.0 1.1.0-pre"},
        {">=1.0.0 <1.1.0-pre", "1.0.0", "1.1.0-pre 1.1.0"},
        {">=1.0.0 <1.1.0-pre", "1.1.0-alpha", "1.0.5-alpha"},
        {"*", "1.2.3", "1.2.3-foo"},
        {"x - 1.x", "0.9.7 1.9.9", "2.0.0-rc.1 1.0.0-rc.1"},
        /* Only the set of comparators that it is in lets a pre-release through. */
        {">=1.2.3-beta || <1.0.0", "1.2.3-rc 0.9.0", "0.9.0-rc 1.3.0-rc"},
        {"~1.2.1 >=1.2.3-rc.1", "1.2.3-rc.1 1.2.3", "1.2.2 1.2.4-rc.1 1.2.1-rc.1"},
        /* Build metadata is nothing, on both sides. */
        {"^1.2.3+build", "1.2.3 1.3.0 1.2.3+other", "2.0.0 1.2.0"},
        {"1.2.3-pre+asdf - 2.4.3-pre+asdf", "1.2.3 1.2.3-pre.2 2.4.3-alpha", "2.4.3"},
        {"1.2.3+asdf - 2.4.3+asdf", "1.2.3 2.4.3", "1.2.3-pre.2 2.4.3-alpha"},
    };
    expect_rows(rows, COUNT(rows));
}

static void test_commas_separate_alternatives_in_order(void **state)
{
    (void)state;
    assert_int_equal(match("~2.1, ~1.4", "2.1.5"), 0);
    assert_int_equal(match("~2.1, ~1.4", "1.4.0"), 1);
    assert_int_equal(match("~2.1, ~1.4", "1.5.0"), -1);
    assert_int_equal(match("~2.1,~1.4,*", "0.1.0"), 2);
    assert_int_equal(match("1.x || 3.x, 2.x || 3.x", "3.0.0"), 0);
    assert_int_equal(match("1.x || 3.x, 2.x || 4.x", "4.0.0"), 1);
    assert_int_equal(match(">=1 <2, >=2 <3", "2.5.0"), 1);
    assert_int_equal(match("1.x ||, 2.x", "9.0.0"), 0); /* nothing is everything */
}

static void test_what_is_no_range_is_refused_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *place;
    } rows[] = {
        {"~", "byte 2"},          {"1.2.3.4", "byte 6"},    {"a", "byte 1"},
        {"1.2.3-", "byte 7"},     {"~1.2,", "byte 6"},      {",~1.2", "byte 1"},
        {"~1.2,,~1.3", "byte 6"}, {"1 | 2", "byte 3"},      {">=", "byte 3"},
        {"><1", "byte 2"},        {"01.2.3", "byte 1"},     {"1.2.3 -2", "byte 7"},
        {"1.2.3- 2", "byte 7"},   {"4294967296", "byte 1"}, {"~4294967295", "byte 12"},
        {"1.", "byte 3"},         {"1.2.3-a_b", "byte 8"},  {"latest", "byte 1"},
        {"1.2.3 - ", "byte 9"},   {"==>1", "byte 3"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct semver_ranges *ranges = NULL;
        struct error_text error = {""};
        if (semver_ranges_new(rows[i].text, &ranges, &error) != -EINVAL)
            fail_msg("\"%s\" was taken for ranges", rows[i].text);
        assert_null(ranges);
        if (!strstr(error.text, rows[i].place))
            fail_msg("\"%s\": no \"%s\" in: %s", rows[i].text, rows[i].place, error.text);
    }
    struct semver_ranges *ranges = NULL;
    assert_int_equal(semver_ranges_new("1.2\n", &ranges, NULL), -EINVAL);
    assert_int_equal(semver_ranges_new("1.2\xc3\xa9", &ranges, NULL), -EINVAL);
}

static void test_longest_ranges_parse_and_one_more_byte_does_not(void **state)
{
    (void)state;
    char text[SEMVER_RANGE_BYTES_MAX + 2];
    for (size_t i = 0; i <= SEMVER_RANGE_BYTES_MAX; i++)
        text[i] = i % 2 ? ' ' : '1';
    text[SEMVER_RANGE_BYTES_MAX + 1] = '\0';
    struct semver_ranges *ranges = NULL;
    assert_int_equal(semver_ranges_new(text, &ranges, NULL), -EINVAL);
    text[SEMVER_RANGE_BYTES_MAX] = '\0';
    assert_int_equal(semver_ranges_new(text, &ranges, NULL), 0);
    struct semver version = {1, 9, 9, ""};
    assert_int_equal(semver_ranges_match(ranges, &version), 0);
    semver_ranges_free(ranges);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions_parse),
        cmocka_unit_test(test_what_is_no_version_is_refused),
        cmocka_unit_test(test_longest_version_parses_and_one_more_byte_does_not),
        cmocka_unit_test(test_precedence_is_as_semver_org_lists_it),
        cmocka_unit_test(test_build_metadata_does_not_count),
        cmocka_unit_test(test_comparators),
        cmocka_unit_test(test_hyphen_ranges),
        cmocka_unit_test(test_x_ranges),
        cmocka_unit_test(test_tilde_ranges),
        cmocka_unit_test(test_caret_ranges),
        cmocka_unit_test(test_prereleases_match_only_where_they_are_asked_for),
        cmocka_unit_test(test_prereleases_at_the_edges_are_as_node_semver_has_them),
        cmocka_unit_test(test_commas_separate_alternatives_in_order),
        cmocka_unit_test(test_what_is_no_range_is_refused_with_its_place),
        cmocka_unit_test(test_longest_ranges_parse_and_one_more_byte_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
