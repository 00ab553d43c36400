/*
 * The policy: rules in the order of the file, of which the first one that fits decides; what no
 * rule fits is denied. So a reader who stops at the first rule that speaks of somebody knows the
 * answer, and a file that says too little denies too much, never the other way round.
 *
 * Whom a rule speaks of is never what a peer says of itself: uid and gid are the kernel's, the
 * common name is of a certificate that TLS verified. Names of users and groups are looked up when
 * the file is read, and not again, so that a slow directory service holds up nobody later; a name
 * that is not there is an error, for a rule that silently fits nobody may be the one that denies.
 * Of a group are whoever has it as the process's group, and its members in the system's database.
 *
 * YAML and its bounds are the rollouts' (rollout/tree.h, rollout/fields.h).
 */
#include "broker/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "rollout/fields.h"
#include "rollout/tree.h"

#define NAMES_BYTES_MAX ((size_t)1 << 20) /* of one group's entry in the database */
#define ACTIONS_ALL ((1U << POLICY_ACTION_COUNT) - 1)

enum who_kind { WHO_ANYBODY, WHO_LOCAL, WHO_CERTIFIED, WHO_USER, WHO_GROUP, WHO_CERTIFICATE };

struct who {
    enum who_kind kind;
    uint32_t id;                     /* of a user or group */
    char name[POLICY_PATTERN_BYTES]; /* a certificate's, a pattern */
    uid_t *members;                  /* of a group, in order; NULL: none */
    size_t member_count;
};

struct rule {
    bool allow;
    unsigned actions; /* bits by policy_action */
    uint32_t line;
    struct who *whos;
    uint32_t who_count;
    char (*interfaces)[POLICY_PATTERN_BYTES]; /* NULL: all, and what is about none */
    uint32_t interface_count;
};

struct policy {
    struct rule rules[POLICY_RULE_MAX];
    uint32_t rule_count;
};

DEFINE_CLEANUP(struct node *, node_free);
DEFINE_CLEANUP(struct policy *, policy_free);

static const char *const action_names[] = {"call", "publish", "look", "control"};
static const char out_of_memory[] = "out of memory for the policy";

struct policy *policy_free(struct policy *policy)
{
    for (uint32_t i = 0; policy && i < policy->rule_count; i++) {
        struct rule *rule = &policy->rules[i];
        for (uint32_t j = 0; j < rule->who_count; j++)
            free(rule->whos[j].members);
        free(rule->whos);
        free(rule->interfaces);
    }
    free(policy);
    return NULL;
}

/* ---- Asking ---- */

/* '*' is any run of characters, none too. Only the last one is ever tried again: no more steps than
 * the product of both lengths. */
static bool fits(const char *pattern, const char *text)
{
    const char *star = NULL, *retry = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            retry = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star;
            text = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static int by_uid(const void *a, const void *b)
{
    uid_t left = *(const uid_t *)a, right = *(const uid_t *)b;
    return (left > right) - (left < right);
}

static bool who_fits(const struct who *who, const struct replier_peer *peer)
{
    switch (who->kind) {
    case WHO_ANYBODY:
        return true;
    case WHO_LOCAL:
        return peer->local;
    case WHO_CERTIFIED:
        return peer->identity[0] != '\0';
    case WHO_USER:
        return peer->local && peer->uid == who->id;
    case WHO_GROUP:
        return peer->local && (peer->gid == who->id ||
                               (who->members && bsearch(&peer->uid, who->members, who->member_count,
                                                        sizeof(uid_t), by_uid)));
    case WHO_CERTIFICATE:
        return peer->identity[0] != '\0' && fits(who->name, peer->identity);
    }
    return false;
}

static bool rule_fits(const struct rule *rule, const struct replier_peer *peer,
                      enum policy_action action, const char *interface)
{
    if (!(rule->actions & 1U << action))
        return false;
    bool about = !rule->interfaces;
    for (uint32_t i = 0; interface && !about && i < rule->interface_count; i++)
        about = fits(rule->interfaces[i], interface);
    for (uint32_t i = 0; about && i < rule->who_count; i++)
        if (who_fits(&rule->whos[i], peer))
            return true;
    return false;
}

bool policy_allows(const struct policy *policy, const struct replier_peer *peer,
                   enum policy_action action, const char *interface, struct error_text *error)
{
    const struct rule *rule = NULL;
    if (!policy)
        return true;
    for (uint32_t i = 0; i < policy->rule_count && !rule; i++)
        if (rule_fits(&policy->rules[i], peer, action, interface))
            rule = &policy->rules[i];
    if (rule && rule->allow)
        return true;
    const char *who = peer->identity[0] ? peer->identity : peer->text;
    char why[48] = "no rule of the broker's policy allows it";
    if (rule)
        (void)snprintf(why, sizeof(why), "the broker's policy denies it in line %u", rule->line);
    error_set(error, 0, "%s may not %s%s%.80s: %s", who[0] ? who : "whoever asks",
              action_names[action], interface ? " " : "", interface ? interface : "", why);
    return false;
}

/* ---- Users and groups ---- */

/* A number. False: it is none, or does not fit; -1 is nobody's. */
static bool read_id(const char *text, uint32_t *ret_id)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end || value >= UINT32_MAX)
        return false;
    *ret_id = (uint32_t)value;
    return true;
}

static int read_user(const struct fields *fields, const struct node *node, const char *name,
                     struct who *who)
{
    if (read_id(name, &who->id))
        return 0;
    const struct passwd *user = getpwnam(name);
    if (!user)
        return field_error(fields, node, -EINVAL,
                           "there is no user \"%s\" on this machine: a name or a number was "
                           "expected",
                           name);
    who->id = user->pw_uid;
    return 0;
}

/* Members of which the database knows no uid are nobody who could come. */
static int read_members(const struct fields *fields, const struct node *node,
                        const struct group *group, struct who *who)
{
    size_t count = 0;
    while (group->gr_mem[count])
        count++;
    if (count > POLICY_MEMBER_MAX)
        return field_error(fields, node, -E2BIG,
                           "the group has %zu members: at most %d are allowed", count,
                           POLICY_MEMBER_MAX);
    who->members = count > 0 ? calloc(count, sizeof(uid_t)) : NULL;
    if (count > 0 && !who->members)
        return field_error(fields, node, -ENOMEM, "%s", out_of_memory);
    for (size_t i = 0; i < count; i++) {
        const struct passwd *user = getpwnam(group->gr_mem[i]);
        if (user)
            who->members[who->member_count++] = user->pw_uid;
    }
    if (who->member_count > 0)
        qsort(who->members, who->member_count, sizeof(uid_t), by_uid);
    return 0;
}

static int read_group(const struct fields *fields, const struct node *node, const char *name,
                      struct who *who)
{
    struct group entry, *group = NULL;
    size_t bytes = 4096;
    _cleanup_(freep) char *buffer = NULL;
    bool number = read_id(name, &who->id);
    int r = ERANGE;
    while (r == ERANGE && bytes <= NAMES_BYTES_MAX) {
        free(buffer);
        buffer = malloc(bytes);
        if (!buffer)
            return field_error(fields, node, -ENOMEM, "%s", out_of_memory);
        r = number ? getgrgid_r(who->id, &entry, buffer, bytes, &group)
                   : getgrnam_r(name, &entry, buffer, bytes, &group);
        bytes *= 2;
    }
    if (r == ERANGE)
        return field_error(fields, node, -E2BIG, "the group \"%s\" is too large", name);
    if (!group && !number)
        return field_error(fields, node, -EINVAL,
                           "there is no group \"%s\" on this machine: a name or a number was "
                           "expected",
                           name);
    if (!group)
        return 0; /* a process may have it all the same */
    who->id = group->gr_gid;
    return read_members(fields, node, group, who);
}

static int read_who(const struct fields *fields, const struct node *node, const char *where,
                    struct who *who)
{
    static const struct {
        const char *text;
        enum who_kind kind;
        bool named;
    } kinds[] = {
        {"anybody", WHO_ANYBODY, false},     {"local", WHO_LOCAL, false},
        {"certified", WHO_CERTIFIED, false}, {"user:", WHO_USER, true},
        {"group:", WHO_GROUP, true},         {"certificate:", WHO_CERTIFICATE, true},
    };
    char text[POLICY_PATTERN_BYTES];
    int r = field_text(fields, node, where, sizeof(text) - 1, text);
    if (r < 0)
        return r;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t bytes = strlen(kinds[i].text);
        const char *name = text + bytes;
        if (strncmp(text, kinds[i].text, bytes) != 0 || (*name != '\0') != kinds[i].named)
            continue;
        who->kind = kinds[i].kind;
        (void)snprintf(who->name, sizeof(who->name), "%s", name);
        if (who->kind == WHO_USER)
            return read_user(fields, node, name, who);
        return who->kind == WHO_GROUP ? read_group(fields, node, name, who) : 0;
    }
    return field_error(fields, node, -EINVAL,
                       "%s is \"%s\": anybody, local, certified, user:NAME, group:NAME or "
                       "certificate:NAME was expected",
                       where, text);
}

/* ---- Rules ---- */

static int read_whos(const struct fields *fields, const struct node *node, const char *where,
                     struct rule *rule)
{
    uint32_t count;
    char path[128];
    int r = field_list(fields, node, where, 1, POLICY_WHO_MAX, &count);
    if (r < 0)
        return r;
    rule->whos = calloc(count, sizeof(*rule->whos));
    if (!rule->whos)
        return field_error(fields, node, -ENOMEM, "%s", out_of_memory);
    for (const struct node *child = node->first; r == 0 && child; child = child->next) {
        (void)snprintf(path, sizeof(path), "%s[%u]", where, rule->who_count);
        r = read_who(fields, child, path, &rule->whos[rule->who_count++]);
    }
    return r;
}

static int read_action(const struct fields *fields, const struct node *node, const char *where,
                       unsigned *actions)
{
    char text[32];
    int r = field_text(fields, node, where, sizeof(text) - 1, text);
    if (r < 0)
        return r;
    unsigned found = strcmp(text, "everything") == 0 ? ACTIONS_ALL : 0;
    for (unsigned i = 0; i < POLICY_ACTION_COUNT; i++)
        if (strcmp(text, action_names[i]) == 0)
            found = 1U << i;
    *actions |= found;
    return found ? 0
                 : field_error(fields, node, -EINVAL,
                               "%s is \"%s\": call, publish, look, control or everything was "
                               "expected",
                               where, text);
}

static int read_actions(const struct fields *fields, const struct node *node, const char *where,
                        struct rule *rule)
{
    uint32_t count, i = 0;
    char path[128];
    int r = field_list(fields, node, where, 1, POLICY_ACTION_COUNT + 1, &count);
    for (const struct node *child = node->first; r == 0 && child; child = child->next) {
        (void)snprintf(path, sizeof(path), "%s[%u]", where, i++);
        r = read_action(fields, child, path, &rule->actions);
    }
    return r;
}

static int read_interfaces(const struct fields *fields, const struct node *node, const char *where,
                           struct rule *rule)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_.-*";
    uint32_t count;
    char path[128];
    int r = field_list(fields, node, where, 1, POLICY_INTERFACE_MAX, &count);
    if (r < 0)
        return r;
    rule->interfaces = calloc(count, sizeof(*rule->interfaces));
    if (!rule->interfaces)
        return field_error(fields, node, -ENOMEM, "%s", out_of_memory);
    for (const struct node *child = node->first; r == 0 && child; child = child->next) {
        char *text = rule->interfaces[rule->interface_count];
        (void)snprintf(path, sizeof(path), "%s[%u]", where, rule->interface_count++);
        r = field_text(fields, child, path, POLICY_PATTERN_BYTES - 1, text);
        if (r == 0 && text[strspn(text, letters)])
            r = field_error(fields, child, -EINVAL,
                            "%s is \"%s\": the name of an interface was expected, with * for any "
                            "characters",
                            path, text);
    }
    return r;
}

static int read_rule(const struct fields *fields, const struct node *node, uint32_t index,
                     struct rule *rule)
{
    static const char *const names[] = {"who", "allow", "deny", "interfaces", NULL};
    const struct node *children[4];
    char where[32], path[96];
    (void)snprintf(where, sizeof(where), "rules[%u]", index);
    int r = fields_of(fields, node, where, names, children);
    if (r < 0)
        return r;
    if (!children[0])
        return field_error(fields, node, -EINVAL, "%s has no \"who\": it was expected", where);
    if (!children[1] == !children[2])
        return field_error(fields, node, -EINVAL, "%s: one of allow or deny was expected", where);
    rule->line = node->line;
    rule->allow = children[1];
    (void)snprintf(path, sizeof(path), "%s.who", where);
    r = read_whos(fields, children[0], path, rule);
    (void)snprintf(path, sizeof(path), "%s.%s", where, rule->allow ? "allow" : "deny");
    if (r == 0)
        r = read_actions(fields, children[rule->allow ? 1 : 2], path, rule);
    (void)snprintf(path, sizeof(path), "%s.interfaces", where);
    if (r == 0 && children[3])
        r = read_interfaces(fields, children[3], path, rule);
    return r;
}

/* ---- The document ---- */

static int read_word(const struct fields *fields, const struct node *root, const struct node *node,
                     const char *name, const char *word)
{
    char text[64];
    if (!node)
        return field_error(fields, root, -EINVAL, "the policy has no \"%s\": \"%s\" was expected",
                           name, word);
    int r = field_text(fields, node, name, sizeof(text) - 1, text);
    if (r == 0 && strcmp(text, word) != 0)
        r = field_error(fields, node, -EINVAL, "%s is \"%s\": \"%s\" was expected", name, text,
                        word);
    return r;
}

static int read_document(const struct fields *fields, const struct node *root,
                         struct policy *policy)
{
    static const char *const names[] = {"apiVersion", "kind", "rules", NULL};
    const struct node *children[3];
    uint32_t count;
    int r = fields_of(fields, root, "the policy", names, children);
    if (r == 0)
        r = read_word(fields, root, children[0], "apiVersion", "parley.dev/v1alpha1");
    if (r == 0)
        r = read_word(fields, root, children[1], "kind", "Policy");
    if (r == 0 && !children[2])
        r = field_error(fields, root, -EINVAL, "the policy has no \"rules\": they were expected");
    if (r == 0)
        r = field_list(fields, children[2], "rules", 0, POLICY_RULE_MAX, &count);
    for (const struct node *rule = r == 0 ? children[2]->first : NULL; r == 0 && rule;
         rule = rule->next) {
        uint32_t index = policy->rule_count++; /* counted first: half of a rule is freed, too */
        r = read_rule(fields, rule, index, &policy->rules[index]);
    }
    return r;
}

int policy_parse(const char *text, size_t bytes, const char *file, struct policy **ret_policy,
                 struct error_text *error)
{
    const struct fields fields = {.file = file, .error = error};
    _cleanup_(node_freep) struct node *root = NULL;
    _cleanup_(policy_freep) struct policy *policy = calloc(1, sizeof(*policy));
    if (!policy)
        return error_set(error, -ENOMEM, "%s", out_of_memory);
    int r = tree_read(text, bytes, file, &root, error);
    if (r == 0)
        r = read_document(&fields, root, policy);
    if (r == 0)
        *ret_policy = steal_ptr(&policy);
    return r;
}

/* Whoever may write the file may do everything. */
static int check_file(int fd, const char *path, struct error_text *error)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(error, -errno, "cannot look at %s: %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return error_set(error, -EINVAL, "%s is no file: the policy is one", path);
    if (status.st_mode & S_IWOTH)
        return error_set(error, -EPERM, "everybody may write %s: take that away (chmod o-w)", path);
    if (status.st_uid != 0 && status.st_uid != geteuid())
        return error_set(error, -EPERM,
                         "%s belongs to user %u: a policy of root or of the broker's user was "
                         "expected",
                         path, (unsigned)status.st_uid);
    return 0;
}

int policy_load(const char *path, struct policy **ret_policy, struct error_text *error)
{
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    _cleanup_(freep) char *text = malloc(POLICY_BYTES_MAX + 1);
    if (!text)
        return error_set(error, -ENOMEM, "%s", out_of_memory);
    if (fd < 0)
        return error_set(error, -errno, "cannot read the policy %s: %s", path, strerror(errno));
    int r = check_file(fd, path, error);
    if (r < 0)
        return r;
    size_t used = 0;
    ssize_t n = 1;
    while (n > 0 && used <= POLICY_BYTES_MAX) {
        n = read(fd, text + used, POLICY_BYTES_MAX + 1 - used);
        if (n < 0)
            return error_set(error, -errno, "cannot read the policy %s: %s", path, strerror(errno));
        used += (size_t)n;
    }
    if (used > POLICY_BYTES_MAX)
        return error_set(error, -E2BIG, "the policy %s has more than %d bytes", path,
                         POLICY_BYTES_MAX);
    return policy_parse(text, used, path, ret_policy, error);
}
