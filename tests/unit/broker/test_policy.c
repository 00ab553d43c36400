/* The policy: what a file may say, and who may do what by it. */
#include "support/test.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/policy.h"

#define HEAD "apiVersion: parley.dev/v1alpha1\nkind: Policy\n"

static struct policy *policy;
static struct error_text error;

static int begin(void **state)
{
    (void)state;
    policy = NULL;
    error.text[0] = '\0';
    return 0;
}

static int end(void **state)
{
    (void)state;
    policy = policy_free(policy);
    return 0;
}

/* Rules behind the head. */
static void with(const char *rules)
{
    char text[4096];
    (void)snprintf(text, sizeof(text), HEAD "%s", rules);
    policy = policy_free(policy);
    if (policy_parse(text, strlen(text), "p.yaml", &policy, &error) < 0)
        fail_msg("%s", error.text);
}

static void is_wrong(const char *text, int code, const char *words)
{
    struct policy *none = NULL;
    assert_int_equal(policy_parse(text, strlen(text), "p.yaml", &none, &error), code);
    assert_null(none);
    if (!strstr(error.text, words))
        fail_msg("\"%s\" does not say \"%s\"", error.text, words);
}

static const struct replier_peer alice = {
    .local = true, .uid = 4000001, .gid = 4000100, .text = "user 4000001 (pid 811)"};
static const struct replier_peer bob = {
    .local = true, .uid = 4000002, .gid = 4000200, .text = "user 4000002 (pid 812)"};
static const struct replier_peer orders = {
    .encrypted = true, .off_host = true, .identity = "orders-eu", .text = "10.1.2.3:4711"};
static const struct replier_peer nobody = {.text = "127.0.0.1:40312"};

static bool may(const struct replier_peer *peer, enum policy_action action, const char *interface)
{
    return policy_allows(policy, peer, action, interface, &error);
}

static void test_without_a_policy_everything_is_allowed(void **state)
{
    (void)state;
    assert_true(may(&nobody, POLICY_CONTROL, NULL));
}

static void test_what_no_rule_fits_is_denied(void **state)
{
    (void)state;
    with("rules: []\n");
    for (int action = 0; action < POLICY_ACTION_COUNT; action++)
        assert_false(may(&alice, (enum policy_action)action, "catalog"));
    assert_string_equal(error.text, "user 4000001 (pid 811) may not control catalog: no rule of "
                                    "the broker's policy allows it");
    assert_false(may(&nobody, POLICY_LOOK, NULL));
    assert_string_equal(error.text, "127.0.0.1:40312 may not look: no rule of the broker's policy "
                                    "allows it");
}

static void test_the_first_rule_that_fits_decides(void **state)
{
    (void)state;
    with("rules:\n"
         "- {who: ['user:4000001'], deny: [call], interfaces: [secret]}\n"
         "- {who: [anybody], allow: [call]}\n"
         "- {who: [anybody], deny: [everything]}\n");
    assert_false(may(&alice, POLICY_CALL, "secret"));
    assert_string_equal(error.text, "user 4000001 (pid 811) may not call secret: the broker's "
                                    "policy denies it in line 4");
    assert_true(may(&alice, POLICY_CALL, "catalog"));
    assert_true(may(&bob, POLICY_CALL, "secret"));
    assert_false(may(&bob, POLICY_LOOK, NULL));
}

static void test_whom_a_rule_speaks_of(void **state)
{
    (void)state;
    static const struct {
        const char *who;
        bool alice, bob, orders, nobody;
    } cases[] = {
        {"anybody", true, true, true, true},
        {"local", true, true, false, false},
        {"certified", false, false, true, false},
        {"user:4000001", true, false, false, false},
        {"group:4000200", false, true, false, false},
        {"certificate:orders-eu", false, false, true, false},
        {"certificate:orders-*", false, false, true, false},
        {"certificate:*", false, false, true, false},
        {"certificate:orders", false, false, false, false},
        {"user:0", false, false, false, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char rules[128];
        (void)snprintf(rules, sizeof(rules), "rules:\n- who: [\"%s\"]\n  allow: [call]\n",
                       cases[i].who);
        with(rules);
        if (may(&alice, POLICY_CALL, "x") != cases[i].alice ||
            may(&bob, POLICY_CALL, "x") != cases[i].bob ||
            may(&orders, POLICY_CALL, "x") != cases[i].orders ||
            may(&nobody, POLICY_CALL, "x") != cases[i].nobody)
            fail_msg("%s", cases[i].who);
    }
}

/* What a peer has no kernel's word for is nobody's uid, not root's. */
static void test_a_peer_that_is_not_local_has_no_uid(void **state)
{
    (void)state;
    with("rules:\n- {who: ['user:root', 'group:0'], allow: [everything]}\n");
    struct replier_peer claims = nobody;
    claims.uid = 0;
    claims.gid = 0;
    assert_false(may(&claims, POLICY_CONTROL, NULL));
    claims.local = true;
    assert_true(may(&claims, POLICY_CONTROL, NULL));
}

static void test_names_of_users_and_groups_are_the_systems(void **state)
{
    (void)state;
    const struct passwd *root = getpwuid(0);
    if (!root || strcmp(root->pw_name, "root") != 0)
        skip(); /* this machine has no root */
    with("rules:\n- {who: ['user:root'], allow: [call]}\n");
    struct replier_peer peer = alice;
    assert_false(may(&peer, POLICY_CALL, "x"));
    peer.uid = 0;
    assert_true(may(&peer, POLICY_CALL, "x"));
}

/* Somebody who is in a group by the database, and has another one as his own. */
static void test_members_of_a_group_belong_to_it(void **state)
{
    (void)state;
    char rules[256] = "";
    struct replier_peer member = alice;
    setgrent();
    for (const struct group *group; !rules[0] && (group = getgrent()) != NULL;) {
        const struct passwd *user = group->gr_mem[0] ? getpwnam(group->gr_mem[0]) : NULL;
        if (!user || user->pw_gid == group->gr_gid)
            continue;
        member.uid = user->pw_uid;
        (void)snprintf(rules, sizeof(rules), "rules:\n- {who: ['group:%u'], allow: [call]}\n",
                       (unsigned)group->gr_gid);
    }
    endgrent();
    if (!rules[0])
        skip(); /* no group here has a member that is not of it anyway */
    with(rules);
    assert_true(may(&member, POLICY_CALL, "x"));
    assert_false(may(&alice, POLICY_CALL, "x"));
}

static void test_patterns_of_interfaces(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool fits;
    } cases[] = {
        {"orders", "orders", true},        {"orders", "orders2", false},
        {"orders", "order", false},        {"orders.*", "orders.v1", true},
        {"orders.*", "orders", false},     {"orders*", "orders", true},
        {"*", "anything", true},           {"*.admin", "orders.admin", true},
        {"*.admin", "orders.adm", false},  {"a*b*c", "a-b-b-c", true},
        {"a*b*c", "a-b-b-cd", false},      {"**", "x", true},
        {"*a*a*a*b", "aaaaaaaaaa", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char rules[128];
        (void)snprintf(rules, sizeof(rules),
                       "rules:\n- {who: [anybody], allow: [call], interfaces: [\"%s\"]}\n",
                       cases[i].pattern);
        with(rules);
        if (may(&alice, POLICY_CALL, cases[i].name) != cases[i].fits)
            fail_msg("%s %s", cases[i].pattern, cases[i].name);
    }
}

static void test_a_rule_about_interfaces_says_nothing_of_the_rest(void **state)
{
    (void)state;
    with("rules:\n- {who: [anybody], allow: [everything], interfaces: ['*']}\n");
    assert_true(may(&alice, POLICY_PUBLISH, "catalog"));
    assert_false(may(&alice, POLICY_LOOK, NULL));
    with("rules:\n- {who: [anybody], allow: [look]}\n");
    assert_true(may(&alice, POLICY_LOOK, NULL));
    assert_true(may(&alice, POLICY_LOOK, "catalog"));
    assert_false(may(&alice, POLICY_PUBLISH, "catalog"));
}

static void test_what_is_wrong_is_said_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "p.yaml:1:1: the document is empty"},
        {"rules: []", "the policy has no \"apiVersion\""},
        {"apiVersion: v2\nkind: Policy\nrules: []", "p.yaml:1:13: apiVersion is \"v2\""},
        {"apiVersion: parley.dev/v1alpha1\nkind: Rollout\nrules: []", "kind is \"Rollout\""},
        {HEAD, "the policy has no \"rules\""},
        {HEAD "rules: {}", "rules is a mapping: a list was expected"},
        {HEAD "rules: [x]", "rules[0] is a scalar: a mapping was expected"},
        {HEAD "rule: []", "the policy has no key \"rule\": was \"rules\" meant?"},
        {HEAD "rules:\n- {who: [anybody]}", "p.yaml:4:3: rules[0]: one of allow or deny"},
        {HEAD "rules:\n- {who: [anybody], allow: [call], deny: [call]}",
         "rules[0]: one of allow or deny was expected"},
        {HEAD "rules:\n- {allow: [call]}", "rules[0] has no \"who\""},
        {HEAD "rules:\n- {who: [], allow: [call]}", "rules[0].who has 0 entries: 1 to 64"},
        {HEAD "rules:\n- {who: anybody, allow: [call]}", "rules[0].who is \"anybody\": a list"},
        {HEAD "rules:\n- {who: [alice], allow: [call]}",
         "rules[0].who[0] is \"alice\": anybody, local, certified, user:NAME"},
        {HEAD "rules:\n- {who: ['user:'], allow: [call]}", "rules[0].who[0] is \"user:\""},
        {HEAD "rules:\n- {who: ['anybody else'], allow: [call]}", "is \"anybody else\""},
        {HEAD "rules:\n- {who: ['user:no-such-user-here'], allow: [call]}",
         "p.yaml:4:10: there is no user \"no-such-user-here\" on this machine"},
        {HEAD "rules:\n- {who: ['user:4294967295'], allow: [call]}", "there is no user"},
        {HEAD "rules:\n- {who: ['group:no-such-group-here'], allow: [call]}",
         "there is no group \"no-such-group-here\""},
        {HEAD "rules:\n- {who: [anybody], allow: [shout]}",
         "rules[0].allow[0] is \"shout\": call, publish, look, control or everything"},
        {HEAD "rules:\n- {who: [anybody], deny: []}", "rules[0].deny has 0 entries"},
        {HEAD "rules:\n- {who: [anybody], allow: [call], interfaces: ['a b']}",
         "rules[0].interfaces[0] is \"a b\": the name of an interface was expected"},
        {HEAD "rules:\n- {who: [anybody], allow: [call], interfaces: []}",
         "rules[0].interfaces has 0 entries"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        is_wrong(cases[i].text, -EINVAL, cases[i].words);
}

/* @count of @item with commas between. */
static char *list_of(const char *before, const char *item, size_t count, const char *after)
{
    size_t bytes = strlen(before) + count * (strlen(item) + 1) + strlen(after) + 1;
    char *text = malloc(bytes);
    assert_non_null(text);
    (void)strcpy(text, before);
    for (size_t i = 0; i < count; i++)
        (void)strcat(strcat(text, item), i + 1 < count ? "," : "");
    return strcat(text, after);
}

static void check_limit(const char *before, const char *item, size_t max, const char *after,
                        const char *words)
{
    char *text = list_of(before, item, max, after);
    struct policy *at_limit = NULL;
    if (policy_parse(text, strlen(text), "p.yaml", &at_limit, &error) < 0)
        fail_msg("%s", error.text);
    policy_free(at_limit);
    free(text);
    text = list_of(before, item, max + 1, after);
    is_wrong(text, -E2BIG, words);
    free(text);
}

static void test_limits_hold_at_the_limit_and_one_past_it(void **state)
{
    (void)state;
    check_limit(HEAD "rules: [", "{who: [local], allow: [call]}", POLICY_RULE_MAX, "]",
                "rules has 257 entries: 0 to 256");
    check_limit(HEAD "rules: [{allow: [call], who: [", "anybody", POLICY_WHO_MAX, "]}]",
                "rules[0].who has 65 entries");
    check_limit(HEAD "rules: [{allow: [call], who: [local], interfaces: [", "a",
                POLICY_INTERFACE_MAX, "]}]", "rules[0].interfaces has 65 entries");
    char name[POLICY_PATTERN_BYTES + 16];
    (void)snprintf(name, sizeof(name), "certificate:%0*d", POLICY_PATTERN_BYTES - 13, 1);
    char *text = list_of(HEAD "rules: [{allow: [call], who: [\"", name, 1, "\"]}]");
    assert_int_equal(policy_parse(text, strlen(text), "p.yaml", &policy, &error), 0);
    free(text);
    (void)snprintf(name, sizeof(name), "certificate:%0*d", POLICY_PATTERN_BYTES - 12, 1);
    text = list_of(HEAD "rules: [{allow: [call], who: [\"", name, 1, "\"]}]");
    is_wrong(text, -E2BIG, "rules[0].who[0] has 128 bytes: at most 127");
    free(text);
}

static void write_file(const char *path, const char *text, size_t padding, mode_t mode)
{
    (void)unlink(path);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    (void)fputs(text, file);
    for (size_t i = 0; i < padding; i++)
        (void)fputc(i + 1 < padding ? ' ' : '\n', file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void load_fails(const char *path, int code, const char *words)
{
    assert_int_equal(policy_load(path, &policy, &error), code);
    if (!strstr(error.text, words))
        fail_msg("\"%s\" does not say \"%s\"", error.text, words);
}

static void test_a_file_is_read_if_only_the_right_ones_may_write_it(void **state)
{
    (void)state;
    static const char text[] = HEAD "rules: []\n# ";
    char path[64];
    (void)snprintf(path, sizeof(path), "/tmp/parley-policy-%d", (int)getpid());
    write_file(path, text, 0, 0644);
    assert_int_equal(policy_load(path, &policy, &error), 0);
    policy = policy_free(policy);
    write_file(path, text, 0, 0666);
    load_fails(path, -EPERM, "everybody may write");
    write_file(path, text, POLICY_BYTES_MAX - strlen(text), 0644);
    assert_int_equal(policy_load(path, &policy, &error), 0);
    policy = policy_free(policy);
    write_file(path, text, POLICY_BYTES_MAX - strlen(text) + 1, 0644);
    load_fails(path, -E2BIG, "has more than 65536 bytes");
    assert_int_equal(unlink(path), 0);
    load_fails(path, -ENOENT, "cannot read the policy /tmp/parley-policy-");
    load_fails("/tmp", -EINVAL, "is no file");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_without_a_policy_everything_is_allowed),
        TEST(test_what_no_rule_fits_is_denied),
        TEST(test_the_first_rule_that_fits_decides),
        TEST(test_whom_a_rule_speaks_of),
        TEST(test_a_peer_that_is_not_local_has_no_uid),
        TEST(test_names_of_users_and_groups_are_the_systems),
        TEST(test_members_of_a_group_belong_to_it),
        TEST(test_patterns_of_interfaces),
        TEST(test_a_rule_about_interfaces_says_nothing_of_the_rest),
        TEST(test_what_is_wrong_is_said_with_its_place),
        TEST(test_limits_hold_at_the_limit_and_one_past_it),
        TEST(test_a_file_is_read_if_only_the_right_ones_may_write_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
