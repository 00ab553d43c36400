#include "support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rollout/rollout.h"

static const char head[] = "apiVersion: parley.dev/v1alpha1\n"
                           "kind: Rollout\n"
                           "metadata:\n"
                           "  name: catalog\n"
                           "spec:\n";
static const char least[] = "  interface: catalog.Catalog\n"
                            "  stable: ~1.4\n"
                            "  canary: ^2.0\n"
                            "  steps:\n"
                            "  - weight: 5\n";

static struct error_text error;

static int parse(const char *text, struct rollout_spec **ret_spec)
{
    error.text[0] = '\0';
    *ret_spec = NULL;
    return rollout_spec_parse(text, strlen(text), "f.yaml", ret_spec, &error);
}

/* The least document with @more behind it. */
static int parse_with(const char *more, struct rollout_spec **ret_spec)
{
    static char text[ROLLOUT_DOCUMENT_BYTES_MAX + 1024];
    assert_true(strlen(more) + 512 < sizeof(text));
    (void)snprintf(text, sizeof(text), "%s%s%s", head, least, more);
    return parse(text, ret_spec);
}

static void expect_refused(int code, const char *words)
{
    if (!strstr(error.text, words))
        fail_msg("\"%s\" has no \"%s\"", error.text, words);
    if (strncmp(error.text, "f.yaml:", 7) != 0)
        fail_msg("\"%s\" names no file", error.text);
    assert_true(code < 0);
}

static void refuse_with(int code, const char *more, const char *words)
{
    struct rollout_spec *spec;
    int r = parse_with(more, &spec);
    if (r != code)
        fail_msg("%d instead of %d for:\n%s%s", r, code, more, error.text);
    assert_null(spec);
    expect_refused(r, words);
}

static struct rollout_spec *accept_with(const char *more)
{
    struct rollout_spec *spec;
    if (parse_with(more, &spec) != 0)
        fail_msg("%s", error.text);
    return spec;
}

/* ---- What is read ---- */

static void test_whole_document_is_read(void **state)
{
    (void)state;
    static const char text[] = "# upgrades the catalogue\n"
                               "apiVersion: parley.dev/v1alpha1\n"
                               "kind: Rollout\n"
                               "metadata:\n"
                               "  name: catalog-2\n"
                               "  labels: {team: shop}\n"
                               "  annotations:\n"
                               "    note: [any, thing]\n"
                               "spec:\n"
                               "  interface: catalog.Catalog\n"
                               "  stable: \">=1.4 <2\"\n"
                               "  canary: ^2.0\n"
                               "  match:\n"
                               "  - headers:\n"
                               "    - {name: gray.version, exact: '2'}\n"
                               "  - headers:\n"
                               "    - name: gray.user.id\n"
                               "      prefix: test-\n"
                               "    - name: tenant\n"
                               "      present: true\n"
                               "  - headers: [{name: tenant, regex: 'a|b'}]\n"
                               "  stickyKey: gray.user.id\n"
                               "  saltGroup: shop\n"
                               "  steps:\n"
                               "  - weight: 0.125%\n"
                               "    hold: 30s\n"
                               "  - approval: true\n"
                               "  - weight: 25\n"
                               "    hold: 1h30m\n"
                               "  gates:\n"
                               "    minCalls: 7\n"
                               "    maxErrorRate: 1.5%\n"
                               "    maxP99Ratio: 1.25\n"
                               "    interval: 250ms\n"
                               "    failureLimit: 2\n"
                               "    consecutiveSuccessLimit: 3\n"
                               "  onFailure: pause\n"
                               "  mirror: 10\n"
                               "status:\n"
                               "  whatever: [1, 2]\n";
    struct rollout_spec *spec;
    if (parse(text, &spec) != 0)
        fail_msg("%s", error.text);
    assert_string_equal(spec->name, "catalog-2");
    assert_string_equal(spec->interface, "catalog.Catalog");
    assert_string_equal(spec->stable_text, ">=1.4 <2");
    assert_int_equal(spec->match_count, 3);
    assert_int_equal(spec->header_count, 4);
    assert_string_equal(spec->sticky_key, "gray.user.id");
    assert_string_equal(spec->salt_group, "shop");
    assert_int_equal(spec->stage_count, 3);
    assert_int_equal(spec->stages[0].buckets, 125);
    assert_int_equal(spec->stages[0].hold_ns, UINT64_C(30000000000));
    assert_int_equal(spec->stages[1].buckets, 125);
    assert_true(spec->stages[1].approval);
    assert_int_equal(spec->stages[2].buckets, 25000);
    assert_int_equal(spec->stages[2].hold_ns, UINT64_C(5400000000000));
    assert_int_equal(spec->gates.min_calls, 7);
    assert_true(spec->gates.max_error_rate == 0.015);
    assert_true(spec->gates.max_p99_ratio == 1.25);
    assert_int_equal(spec->gates.interval_ns, 250000000);
    assert_int_equal(spec->gates.failure_limit, 2);
    assert_int_equal(spec->gates.consecutive_success_limit, 3);
    assert_int_equal(spec->on_failure, ROLLOUT_ON_FAILURE_PAUSE);
    assert_int_equal(spec->mirror_buckets, 10000);
    assert_string_equal(spec->document, text);
    assert_int_equal(strlen(spec->digest), 64);
    (void)rollout_spec_free(spec);
}

static void test_what_is_not_said_has_its_default(void **state)
{
    (void)state;
    struct rollout_spec *spec = accept_with("");
    assert_int_equal(spec->match_count, 0);
    assert_string_equal(spec->sticky_key, "");
    assert_int_equal(spec->gates.min_calls, ROLLOUT_MIN_CALLS);
    assert_true(spec->gates.max_error_rate == ROLLOUT_MAX_ERROR_RATE);
    assert_true(spec->gates.max_p99_ratio == ROLLOUT_MAX_P99_RATIO);
    assert_int_equal(spec->gates.interval_ns, ROLLOUT_INTERVAL_NS);
    assert_int_equal(spec->gates.failure_limit, 0);
    assert_int_equal(spec->gates.consecutive_success_limit, 1);
    assert_int_equal(spec->on_failure, ROLLOUT_ON_FAILURE_ROLLBACK);
    assert_int_equal(spec->mirror_buckets, 0);
    (void)rollout_spec_free(spec);
}

static void test_match_with_more_headers_takes_precedence(void **state)
{
    (void)state;
    struct rollout_spec *spec =
        accept_with("  match:\n"
                    "  - headers: [{name: a, exact: x}]\n"
                    "  - headers: [{name: b, exact: x}]\n"
                    "  - headers: [{name: a, exact: y}, {name: b, regex: y}]\n");
    static const uint32_t order[] = {2, 0, 1};
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(spec->matches[i].index, order[i]);
    assert_int_equal(spec->matches[0].header_count, 2);
    assert_string_equal(spec->headers[spec->matches[0].first_header].value, "y");
    assert_int_equal(spec->headers[spec->matches[0].first_header + 1].kind, ROLLOUT_MATCH_REGEX);
    (void)rollout_spec_free(spec);
}

static void test_salt_is_the_groups_or_the_names(void **state)
{
    (void)state;
    struct rollout_spec *plain = accept_with(""), *again = accept_with("  mirror: 1\n");
    struct rollout_spec *shop = accept_with("  saltGroup: shop\n");
    struct rollout_spec *named = accept_with("  saltGroup: catalog\n");
    assert_true(plain->salt == again->salt);
    assert_true(plain->salt != shop->salt);
    assert_true(plain->salt != named->salt);
    (void)rollout_spec_free(plain);
    (void)rollout_spec_free(again);
    (void)rollout_spec_free(shop);
    (void)rollout_spec_free(named);
}

/* ---- What is refused: the line is of what stands behind 10 lines of the least document ---- */

static void test_wrong_values_are_refused_with_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *more, *words;
    } cases[] = {
        {"  mirror: lots\n", "f.yaml:11:11: spec.mirror is \"lots\": a percentage like 12.5"},
        {"  mirror: 1.2345\n", "a percentage"},
        {"  mirror: 100.001\n", "a percentage"},
        {"  mirror: -1\n", "a percentage"},
        {"  mirror:\n", "f.yaml:11:10: spec.mirror is nothing"},
        {"  mirror: [1]\n", "spec.mirror is a list"},
        {"  miror: 1\n", "f.yaml:11:3: spec has no key \"miror\": was \"mirror\" meant?"},
        {"  OnFailure: pause\n", "was \"onFailure\" meant?"},
        {"  zzz: 1\n", "one of interface, stable, canary, match"},
        {"  onFailure: explode\n",
         "f.yaml:11:14: spec.onFailure is \"explode\": rollback or pause"},
        {"  onFailure: {}\n", "is a mapping: rollback or pause"},
        {"  stickyKey: Big\n", "a metadata key of a-z"},
        {"  saltGroup: -x\n", "a name of a-z"},
        {"  gates: 3\n", "f.yaml:11:10: spec.gates is a scalar: a mapping was expected"},
        {"  gates: {minCalls: 0}\n", "a whole number from 1 to 1000000000"},
        {"  gates: {minCalls: '5'}\n", "a whole number"},
        {"  gates: {minCalls: 1e3}\n", "a whole number"},
        {"  gates: {minCals: 1}\n",
         "f.yaml:11:11: spec.gates has no key \"minCals\": was \"minCalls\""},
        {"  gates: {maxErrorRate: 0.02}\n", "a percentage like 2%"},
        {"  gates: {maxErrorRate: 0.099%}\n", "0.1% or more"},
        {"  gates: {maxP99Ratio: 1.1}\n", "a number from 1.2 to 100"},
        {"  gates: {maxP99Ratio: nan}\n", "a number from 1.2 to 100"},
        {"  gates: {interval: 99ms}\n", "a duration like 30s, 5m or 1h30m, from 0.1s"},
        {"  gates: {interval: 10}\n", "a duration"},
        {"  gates: {interval: 5m1h}\n", "a duration"},
        {"  gates: {interval: 5m5m}\n", "a duration"},
        {"  gates: {interval: 5 m}\n", "a duration"},
        {"  match: {}\n", "spec.match is a mapping: a list was expected"},
        {"  match: [{}]\n", "spec.match[0] has no \"headers\""},
        {"  match: [{headers: []}]\n", "has 0 entries: 1 to 64"},
        {"  match: [{headers: [{exact: x}]}]\n", "spec.match[0].headers[0] has no \"name\""},
        {"  match: [{headers: [{name: a}]}]\n", "one of exact, prefix, regex or present"},
        {"  match: [{headers: [{name: a, exact: b, prefix: c}]}]\n", "one of exact, prefix, regex"},
        {"  match: [{headers: [{name: a, present: false}]}]\n", "is false: true was expected"},
        {"  match: [{headers: [{name: a, present: yes}]}]\n", "true or false was expected"},
        {"  match: [{headers: [{name: a, regex: 'a('}]}]\n",
         "f.yaml:11:39: spec.match[0].headers[0].regex"},
        {"  match: [{headers: [{name: a, exact: b}, {name: a, exact: c}]}]\n", "a second time"},
        {"  stable: ^1\n", "f.yaml:11:3: the key \"stable\" is there twice: it is in line 7"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        refuse_with(-EINVAL, cases[i].more, cases[i].words);
}

static void test_wrong_steps_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *more, *words;
    } cases[] = {
        {"  - weight: 5\n", "f.yaml:11:13: spec.steps[1].weight is 5: more than the 5 before it"},
        {"  - weight: 4.999\n", "more than the 5 before"},
        {"  - {}\n", "spec.steps[1] is empty"},
        {"  - hold: 721h\n", "from 0s to 720h"},
        {"  - 5\n", "spec.steps[1] is a scalar: a mapping was expected"},
        {"  - approval: maybe\n", "true or false"},
        {"  - wait: 5m\n", "has no key \"wait\""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        refuse_with(-EINVAL, cases[i].more, cases[i].words);
}

static void test_what_is_missing_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "f.yaml:1:1: the document is empty"},
        {"# nothing\n", "the document is empty"},
        {"42\n", "f.yaml:1:1: the document is a scalar: a mapping was expected"},
        {"kind: Rollout\n", "has no \"apiVersion\""},
        {"apiVersion: v1\nkind: Rollout\n",
         "f.yaml:1:13: apiVersion is v1: \"parley.dev/v1alpha1\""},
        {"apiVersion: parley.dev/v1alpha1\nkind: Rolout\n",
         "f.yaml:2:7: kind is Rolout: \"Rollout\""},
        {"apiVersion: parley.dev/v1alpha1\nkind: Rollout\nspec: {}\n", "has no \"metadata\""},
        {"apiVersion: parley.dev/v1alpha1\nkind: Rollout\nmetadata: {}\nspec: {}\n",
         "f.yaml:3:11: metadata has no \"name\""},
        {"apiVersion: parley.dev/v1alpha1\nkind: Rollout\nmetadata: {name: a}\nspec: {}\n",
         "f.yaml:4:7: spec has no \"interface\""},
        {"apiVersion: parley.dev/v1alpha1\nkind: Rollout\nmetadata: {name: A}\nspec: {}\n",
         "f.yaml:3:18: metadata.name is \"A\""},
        {"apiVersion: parley.dev/v1alpha1\nkind: Rollout\nmetadata: {name: a}\n"
         "spec: {interface: 'a b', stable: '1', canary: '2', steps: [{weight: 1}]}\n",
         "an interface's name was expected"},
        {"apiVersion: parley.dev/v1alpha1\nkind: Rollout\nmetadata: {name: a}\n"
         "spec: {interface: a, stable: '1..2', canary: '2', steps: [{weight: 1}]}\n",
         "f.yaml:4:30: spec.stable: the version ranges \"1..2\": at byte 3"},
        {"apiVersion: parley.dev/v1alpha1\nkind: Rollout\nmetadata: {name: a}\n"
         "spec: {interface: a, stable: '1', canary: '2', steps: []}\n",
         "spec.steps has 0 entries: 1 to 32"},
        {"apiVersion: parley.dev/v1alpha1\nkind: Rollout\nmetadata: {name: a}\n"
         "spec: {interface: a, stable: '1', canary: '2', steps: [{hold: 1m}]}\n",
         "spec.steps[0] has no \"weight\": the first step needs one"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rollout_spec *spec;
        assert_int_equal(parse(cases[i].text, &spec), -EINVAL);
        expect_refused(-EINVAL, cases[i].words);
    }
}

static void test_yaml_that_is_more_than_a_tree_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *more, *words;
    } cases[] = {
        {"  mirror: &m 1\n", "f.yaml:11:11: an anchor"},
        {"  mirror: *m\n", "f.yaml:11:11: an alias"},
        {"  mirror: !!int 1\n", "f.yaml:11:11: an anchor (&name) or a tag"},
        {"  *m : 1\n", "f.yaml:11:3: this key is a list, a mapping or an alias"},
        {"  <<: *m\n", "an alias"},
        {"  ? [a]\n  : 1\n", "this key is a list"},
        {"---\nkind: Rollout\n", "f.yaml:11:1: a second document"},
        {"  mirror: 1 : 2\n", "f.yaml:11:13: this is no YAML"},
        {"  mirror: [1\n", "this is no YAML"},
        {"\tmirror: 1\n", "this is no YAML"},
        {"  mirror: \"a\\0b\"\n", "a NUL character"},
        {"  \"a\\0b\": 1\n", "a NUL character in a key"},
        {"  mirror: \xff\n", "UTF-8 text was expected"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        refuse_with(-EINVAL, cases[i].more, cases[i].words);
}

/* ---- Limits: at, and one past ---- */

static void repeat(char *text, size_t size, const char *what, unsigned count)
{
    size_t bytes = strlen(text), more = strlen(what);
    for (unsigned i = 0; i < count; i++, bytes += more) {
        assert_true(bytes + more < size);
        memcpy(text + bytes, what, more + 1);
    }
}

static void test_document_may_have_64_kib(void **state)
{
    (void)state;
    static char text[ROLLOUT_DOCUMENT_BYTES_MAX + 2];
    struct rollout_spec *spec;
    int n = snprintf(text, sizeof(text), "%s%s#", head, least);
    memset(text + n, 'x', sizeof(text) - (size_t)n);
    error.text[0] = '\0';
    assert_int_equal(rollout_spec_parse(text, ROLLOUT_DOCUMENT_BYTES_MAX, "f.yaml", &spec, &error),
                     0);
    (void)rollout_spec_free(spec);
    assert_int_equal(
        rollout_spec_parse(text, ROLLOUT_DOCUMENT_BYTES_MAX + 1, "f.yaml", &spec, &error), -E2BIG);
    expect_refused(-E2BIG, "f.yaml:1:1: 65537 bytes");
}

static void test_steps_are_bounded(void **state)
{
    (void)state;
    char more[1024] = "";
    repeat(more, sizeof(more), "  - hold: 1s\n", ROLLOUT_STEP_MAX - 1);
    struct rollout_spec *spec = accept_with(more);
    assert_int_equal(spec->stage_count, ROLLOUT_STEP_MAX);
    (void)rollout_spec_free(spec);
    repeat(more, sizeof(more), "  - hold: 1s\n", 1);
    refuse_with(-E2BIG, more, "spec.steps has 33 entries: 1 to 32");
}

static void test_matches_are_bounded(void **state)
{
    (void)state;
    char more[2048] = "  match:\n";
    repeat(more, sizeof(more), "  - headers: [{name: a, exact: b}]\n", ROLLOUT_MATCH_MAX);
    (void)rollout_spec_free(accept_with(more));
    repeat(more, sizeof(more), "  - headers: [{name: a, exact: b}]\n", 1);
    refuse_with(-E2BIG, more, "spec.match has 17 entries: 0 to 16");
}

/* @count headers, of four to a match. */
static void write_headers(char *text, size_t size, unsigned count)
{
    size_t n = (size_t)snprintf(text, size, "  match:\n");
    for (unsigned i = 0; i < count; i++)
        n += (size_t)snprintf(text + n, size - n, "%s    - {name: k%u, present: true}\n",
                              i % 5 == 0 ? "  - headers:\n" : "", i);
}

static void test_headers_are_bounded(void **state)
{
    (void)state;
    char more[4096];
    write_headers(more, sizeof(more), ROLLOUT_HEADER_MAX);
    (void)rollout_spec_free(accept_with(more));
    write_headers(more, sizeof(more), ROLLOUT_HEADER_MAX + 1);
    refuse_with(-E2BIG, more, "more than 64 headers in all");
}

/* 14 headers of 1 + 252 bytes, and one that fills up to @total. */
static void write_texts(char *text, size_t size, unsigned total)
{
    size_t n = (size_t)snprintf(text, size, "  match:\n");
    for (unsigned i = 0; i < 14; i++, total -= 253)
        n += (size_t)snprintf(text + n, size - n, "  - headers: [{name: a, exact: %0252d}]\n", 1);
    (void)snprintf(text + n, size - n, "  - headers: [{name: a, exact: %0*d}]\n", (int)total - 1,
                   1);
}

static void test_text_of_matches_is_bounded(void **state)
{
    (void)state;
    char more[8192];
    write_texts(more, sizeof(more), ROLLOUT_MATCH_TEXT_BYTES_MAX);
    (void)rollout_spec_free(accept_with(more));
    write_texts(more, sizeof(more), ROLLOUT_MATCH_TEXT_BYTES_MAX + 1);
    refuse_with(-E2BIG, more, "more than 3552 bytes of names and values");
}

static void test_texts_are_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        int max;
    } cases[] = {
        {"  stickyKey: %0*d\n", ROLLOUT_KEY_BYTES_MAX},
        {"  saltGroup: %0*d\n", ROLLOUT_NAME_BYTES_MAX},
        {"  match: [{headers: [{name: %0*d, present: true}]}]\n", ROLLOUT_KEY_BYTES_MAX},
        {"  match: [{headers: [{name: a, exact: %0*d}]}]\n", ROLLOUT_VALUE_BYTES_MAX},
        {"  match: [{headers: [{name: a, regex: %0*d}]}]\n", ROLLOUT_VALUE_BYTES_MAX},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char more[512];
        char words[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        (void)snprintf(more, sizeof(more), cases[i].format, cases[i].max, 1);
        (void)rollout_spec_free(accept_with(more));
        (void)snprintf(more, sizeof(more), cases[i].format, cases[i].max + 1, 1);
#pragma GCC diagnostic pop
        (void)snprintf(words, sizeof(words), "at most %d were expected", cases[i].max);
        refuse_with(-E2BIG, more, words);
    }
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    char more[256] = "status: ";
    repeat(more, sizeof(more), "[", ROLLOUT_DEPTH_MAX - 1);
    repeat(more, sizeof(more), "]", ROLLOUT_DEPTH_MAX - 1);
    (void)rollout_spec_free(accept_with(more));
    memcpy(more, "status: ", 9);
    repeat(more, sizeof(more), "[", ROLLOUT_DEPTH_MAX);
    refuse_with(-E2BIG, more, "f.yaml:11:24: more than 16 lists and mappings in each other");
}

static void test_nodes_are_bounded(void **state)
{
    (void)state;
    static char more[16384];
    /* root, 4 keys and values, ...: what the least document has, and status with its list. */
    static const unsigned others = 1 + 8 + 2 + 8 + 1 + 2 + 2;
    memcpy(more, "status: [", 10);
    repeat(more, sizeof(more), "1,", ROLLOUT_NODE_MAX - others);
    repeat(more, sizeof(more), "]", 1);
    (void)rollout_spec_free(accept_with(more));
    memcpy(more, "status: [", 10);
    repeat(more, sizeof(more), "1,", ROLLOUT_NODE_MAX - others + 1);
    repeat(more, sizeof(more), "]", 1);
    refuse_with(-E2BIG, more, "more than 4096 keys, values and lists");
}

static void test_hold_of_30_days_is_the_longest(void **state)
{
    (void)state;
    struct rollout_spec *spec = accept_with("  - hold: 720h\n  - hold: 719h59m60s\n");
    assert_int_equal(spec->stages[1].hold_ns, ROLLOUT_HOLD_NS_MAX);
    assert_int_equal(spec->stages[2].hold_ns, ROLLOUT_HOLD_NS_MAX);
    (void)rollout_spec_free(spec);
    refuse_with(-EINVAL, "  - hold: 720h1ms\n", "to 720h");
    refuse_with(-EINVAL, "  - hold: 99999999999999999999s\n", "to 720h");
}

static void test_document_that_is_cut_anywhere_is_refused_or_read(void **state)
{
    (void)state;
    char text[1024];
    size_t bytes = (size_t)snprintf(
        text, sizeof(text), "%s%s  match: [{headers: [{name: a, regex: 'x+'}]}]\n", head, least);
    for (size_t i = 0; i <= bytes; i++) {
        struct rollout_spec *spec = NULL;
        error.text[0] = '\0';
        int r = rollout_spec_parse(text, i, "f.yaml", &spec, &error);
        assert_true((r == 0) == (spec != NULL) && (r == 0) == (error.text[0] == '\0'));
        (void)rollout_spec_free(spec);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_document_is_read),
        cmocka_unit_test(test_what_is_not_said_has_its_default),
        cmocka_unit_test(test_match_with_more_headers_takes_precedence),
        cmocka_unit_test(test_salt_is_the_groups_or_the_names),
        cmocka_unit_test(test_wrong_values_are_refused_with_their_place),
        cmocka_unit_test(test_wrong_steps_are_refused),
        cmocka_unit_test(test_what_is_missing_is_named),
        cmocka_unit_test(test_yaml_that_is_more_than_a_tree_is_refused),
        cmocka_unit_test(test_document_may_have_64_kib),
        cmocka_unit_test(test_steps_are_bounded),
        cmocka_unit_test(test_matches_are_bounded),
        cmocka_unit_test(test_headers_are_bounded),
        cmocka_unit_test(test_text_of_matches_is_bounded),
        cmocka_unit_test(test_texts_are_bounded),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_nodes_are_bounded),
        cmocka_unit_test(test_hold_of_30_days_is_the_longest),
        cmocka_unit_test(test_document_that_is_cut_anywhere_is_refused_or_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
