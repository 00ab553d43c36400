/*
 * A document as a spec: each field has one reader, and a table says which field it reads. What is
 * not in a table is an unknown key. A spec is complete and in bounds, or it is not there at all.
 *
 * Matches are put in the order of their precedence here, so that who routes by them takes the first
 * one that fits: more headers before fewer, then the order of the document. That is the rule of
 * Gateway API's GRPCRoute for what can differ between our matches (they have no host or method).
 */
#include "rollout/fields.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/pattern.h"

#define API_VERSION "parley.dev/v1alpha1"
#define INTERVAL_NS_MIN (UINT64_C(100) * 1000000)

DEFINE_CLEANUP(struct node *, node_free);
DEFINE_CLEANUP(struct rollout_spec *, rollout_spec_free);

typedef int (*field_reader)(const struct fields *fields, const struct node *node,
                            struct rollout_spec *spec);

#define FIELD_MAX 16

/* One key of a mapping; without a reader, it is accepted and not looked at. */
struct field {
    const char *name;
    bool required;
    field_reader read;
};

static int read_fields(const struct fields *fields, const struct node *node, const char *where,
                       const struct field *table, struct rollout_spec *spec)
{
    const char *names[FIELD_MAX + 1] = {NULL};
    const struct node *children[FIELD_MAX];
    for (size_t i = 0; table[i].name; i++)
        names[i] = table[i].name;
    int r = fields_of(fields, node, where, names, children);
    for (size_t i = 0; r == 0 && table[i].name; i++) {
        if (!children[i] && table[i].required)
            r = field_error(fields, node, -EINVAL, "%s has no \"%s\": it was expected", where,
                            table[i].name);
        else if (children[i] && table[i].read)
            r = table[i].read(fields, children[i], spec);
    }
    return r;
}

/* ---- Names ---- */

static bool has_only(const char *text, const char *more, bool upper)
{
    for (; *text; text++) {
        char c = *text;
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr(more, c) ||
              (upper && c >= 'A' && c <= 'Z')))
            return false;
    }
    return true;
}

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* As Kubernetes names a resource: the beginning and the end are a letter or a digit. */
static int read_label(const struct fields *fields, const struct node *node, const char *where,
                      char *ret_label)
{
    int r = field_text(fields, node, where, ROLLOUT_NAME_BYTES_MAX, ret_label);
    if (r < 0)
        return r;
    if (!has_only(ret_label, ".-", false) || !is_alphanumeric(ret_label[0]) ||
        !is_alphanumeric(ret_label[strlen(ret_label) - 1]))
        return field_error(fields, node, -EINVAL,
                           "%s is \"%s\": a name of a-z, 0-9, '-' and '.' was expected", where,
                           ret_label);
    return 0;
}

static int read_key(const struct fields *fields, const struct node *node, const char *where,
                    char *ret_key)
{
    int r = field_text(fields, node, where, ROLLOUT_KEY_BYTES_MAX, ret_key);
    if (r == 0 && !has_only(ret_key, "._-", false))
        r = field_error(fields, node, -EINVAL,
                        "%s is \"%s\": a metadata key of a-z, 0-9, '.', '_' and '-' was expected",
                        where, ret_key);
    return r;
}

static int read_name(const struct fields *fields, const struct node *node,
                     struct rollout_spec *spec)
{
    return read_label(fields, node, "metadata.name", spec->name);
}

static int read_salt_group(const struct fields *fields, const struct node *node,
                           struct rollout_spec *spec)
{
    return read_label(fields, node, "spec.saltGroup", spec->salt_group);
}

static int read_sticky_key(const struct fields *fields, const struct node *node,
                           struct rollout_spec *spec)
{
    return read_key(fields, node, "spec.stickyKey", spec->sticky_key);
}

static int read_interface(const struct fields *fields, const struct node *node,
                          struct rollout_spec *spec)
{
    int r =
        field_text(fields, node, "spec.interface", ROLLOUT_INTERFACE_BYTES_MAX, spec->interface);
    if (r == 0 && !has_only(spec->interface, "._-/", true))
        r = field_error(fields, node, -EINVAL,
                        "spec.interface is \"%.64s\": an interface's name was expected",
                        spec->interface);
    return r;
}

/* ---- Ranges ---- */

static int read_range(const struct fields *fields, const struct node *node, const char *where,
                      char *text, struct semver_ranges **ret_ranges)
{
    struct error_text why = {""};
    int r = field_text(fields, node, where, SEMVER_RANGE_BYTES_MAX, text);
    if (r < 0)
        return r;
    r = semver_ranges_new(text, ret_ranges, &why);
    return r < 0 ? field_error(fields, node, r, "%s: %s", where, why.text) : 0;
}

static int read_stable(const struct fields *fields, const struct node *node,
                       struct rollout_spec *spec)
{
    return read_range(fields, node, "spec.stable", spec->stable_text, &spec->stable);
}

static int read_canary(const struct fields *fields, const struct node *node,
                       struct rollout_spec *spec)
{
    return read_range(fields, node, "spec.canary", spec->canary_text, &spec->canary);
}

/* ---- Matches ---- */

/* By the compiler that endpoints use, so that what is accepted here fits there. */
static int check_regex(const struct fields *fields, const struct node *node, const char *where,
                       const char *text)
{
    struct error_text why = {""};
    struct pattern *pattern = NULL;
    int r = pattern_new(text, strlen(text), &pattern, &why);
    (void)pattern_free(pattern);
    return r < 0 ? field_error(fields, node, r, "%s is \"%.64s\": %s", where, text, why.text) : 0;
}

/* The index of the one kind that a header has, in the order of the enum; -1: none, or several. */
static int kind_of(const struct node *const *kinds)
{
    int kind = -1, count = 0;
    for (int i = 0; i <= ROLLOUT_MATCH_PRESENT; i++) {
        if (kinds[i]) {
            kind = i;
            count++;
        }
    }
    return count == 1 ? kind : -1;
}

static int read_value(const struct fields *fields, const struct node *node, const char *where,
                      struct rollout_header *header)
{
    bool present = true;
    int r = 0;
    switch (header->kind) {
    case ROLLOUT_MATCH_PRESENT:
        r = field_bool(fields, node, where, &present);
        if (r == 0 && !present)
            r = field_error(fields, node, -EINVAL, "%s is false: true was expected", where);
        return r;
    case ROLLOUT_MATCH_REGEX:
        r = field_text(fields, node, where, ROLLOUT_VALUE_BYTES_MAX, header->value);
        return r < 0 ? r : check_regex(fields, node, where, header->value);
    default:
        return field_text(fields, node, where, ROLLOUT_VALUE_BYTES_MAX, header->value);
    }
}

static int read_header(const struct fields *fields, const struct node *node, const char *where,
                       struct rollout_header *header)
{
    static const char *const names[] = {"exact", "prefix", "regex", "present", "name", NULL};
    const struct node *children[5];
    char path[128];
    int r = fields_of(fields, node, where, names, children);
    if (r < 0)
        return r;
    if (!children[4])
        return field_error(fields, node, -EINVAL, "%s has no \"name\": it was expected", where);
    (void)snprintf(path, sizeof(path), "%s.name", where);
    r = read_key(fields, children[4], path, header->key);
    if (r < 0)
        return r;
    int kind = kind_of(children);
    if (kind < 0)
        return field_error(fields, node, -EINVAL,
                           "%s: one of exact, prefix, regex or present was expected", where);
    header->kind = (enum rollout_match_kind)kind;
    (void)snprintf(path, sizeof(path), "%s.%s", where, names[kind]);
    return read_value(fields, children[kind], path, header);
}

/* Of the headers of all matches so far. */
static size_t text_bytes(const struct rollout_spec *spec)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < spec->header_count; i++)
        bytes += strlen(spec->headers[i].key) + strlen(spec->headers[i].value);
    return bytes;
}

static int add_header(const struct fields *fields, const struct node *node, const char *where,
                      struct rollout_spec *spec, struct rollout_match *match)
{
    if (spec->header_count == ROLLOUT_HEADER_MAX)
        return field_error(fields, node, -E2BIG,
                           "spec.match has more than %d headers in all: fewer were expected",
                           ROLLOUT_HEADER_MAX);
    struct rollout_header *header = &spec->headers[spec->header_count];
    int r = read_header(fields, node, where, header);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < match->header_count; i++)
        if (strcmp(spec->headers[match->first_header + i].key, header->key) == 0)
            return field_error(fields, node, -EINVAL,
                               "%s has \"%s\" a second time: each name once was expected", where,
                               header->key);
    spec->header_count++;
    match->header_count++;
    if (text_bytes(spec) > ROLLOUT_MATCH_TEXT_BYTES_MAX)
        return field_error(fields, node, -E2BIG,
                           "spec.match has more than %d bytes of names and values: fewer were "
                           "expected",
                           ROLLOUT_MATCH_TEXT_BYTES_MAX);
    return 0;
}

static int read_match(const struct fields *fields, const struct node *node,
                      struct rollout_spec *spec)
{
    static const char *const names[] = {"headers", NULL};
    const struct node *headers;
    char where[64];
    uint32_t count;
    struct rollout_match *match = &spec->matches[spec->match_count];
    *match = (struct rollout_match){.index = spec->match_count, .first_header = spec->header_count};
    (void)snprintf(where, sizeof(where), "spec.match[%u]", match->index);
    int r = fields_of(fields, node, where, names, &headers);
    if (r < 0)
        return r;
    if (!headers)
        return field_error(fields, node, -EINVAL, "%s has no \"headers\": they were expected",
                           where);
    (void)snprintf(where, sizeof(where), "spec.match[%u].headers", match->index);
    r = field_list(fields, headers, where, 1, ROLLOUT_HEADER_MAX, &count);
    for (const struct node *child = headers->first; r == 0 && child; child = child->next) {
        (void)snprintf(where, sizeof(where), "spec.match[%u].headers[%u]", match->index,
                       match->header_count);
        r = add_header(fields, child, where, spec, match);
    }
    spec->match_count++;
    return r;
}

static int by_precedence(const void *a, const void *b)
{
    const struct rollout_match *left = a, *right = b;
    if (left->header_count != right->header_count)
        return left->header_count > right->header_count ? -1 : 1;
    return (left->index > right->index) - (left->index < right->index);
}

static int read_matches(const struct fields *fields, const struct node *node,
                        struct rollout_spec *spec)
{
    uint32_t count;
    int r = field_list(fields, node, "spec.match", 0, ROLLOUT_MATCH_MAX, &count);
    for (const struct node *child = node->first; r == 0 && child; child = child->next)
        r = read_match(fields, child, spec);
    qsort(spec->matches, spec->match_count, sizeof(spec->matches[0]), by_precedence);
    return r;
}

/* ---- Steps ---- */

static int read_weight(const struct fields *fields, const struct node *step,
                       const struct node *node, const char *where, struct rollout_spec *spec)
{
    struct rollout_stage *stage = &spec->stages[spec->stage_count];
    char path[64];
    uint32_t before = spec->stage_count > 0 ? stage[-1].buckets : 0;
    if (!node && spec->stage_count == 0)
        return field_error(fields, step, -EINVAL, "%s has no \"weight\": the first step needs one",
                           where);
    stage->buckets = before;
    if (!node)
        return 0;
    (void)snprintf(path, sizeof(path), "%s.weight", where);
    int r = field_percent(fields, node, path, false, &stage->buckets);
    if (r == 0 && spec->stage_count > 0 && stage->buckets <= before)
        r = field_error(fields, node, -EINVAL, "%s is %g: more than the %g before it was expected",
                        path, stage->buckets / 1e3, before / 1e3);
    return r;
}

static int read_step(const struct fields *fields, const struct node *node,
                     struct rollout_spec *spec)
{
    static const char *const names[] = {"weight", "hold", "approval", NULL};
    const struct node *children[3];
    char where[32], path[64];
    struct rollout_stage *stage = &spec->stages[spec->stage_count];
    (void)snprintf(where, sizeof(where), "spec.steps[%u]", spec->stage_count);
    int r = fields_of(fields, node, where, names, children);
    if (r < 0)
        return r;
    if (!children[0] && !children[1] && !children[2])
        return field_error(fields, node, -EINVAL,
                           "%s is empty: weight, hold or approval was expected", where);
    r = read_weight(fields, node, children[0], where, spec);
    (void)snprintf(path, sizeof(path), "%s.hold", where);
    if (r == 0 && children[1])
        r = field_duration(fields, children[1], path, 0, &stage->hold_ns);
    (void)snprintf(path, sizeof(path), "%s.approval", where);
    if (r == 0 && children[2])
        r = field_bool(fields, children[2], path, &stage->approval);
    spec->stage_count++;
    return r;
}

static int read_steps(const struct fields *fields, const struct node *node,
                      struct rollout_spec *spec)
{
    uint32_t count;
    int r = field_list(fields, node, "spec.steps", 1, ROLLOUT_STEP_MAX, &count);
    for (const struct node *child = node->first; r == 0 && child; child = child->next)
        r = read_step(fields, child, spec);
    return r;
}

/* ---- Gates, and the rest ---- */

static int read_min_calls(const struct fields *fields, const struct node *node,
                          struct rollout_spec *spec)
{
    return field_u32(fields, node, "spec.gates.minCalls", 1, 1000000000, &spec->gates.min_calls);
}

static int read_max_error_rate(const struct fields *fields, const struct node *node,
                               struct rollout_spec *spec)
{
    uint32_t buckets;
    int r = field_percent(fields, node, "spec.gates.maxErrorRate", true, &buckets);
    if (r == 0 && buckets < 100)
        r = field_error(fields, node, -EINVAL,
                        "spec.gates.maxErrorRate is %g%%: 0.1%% or more was expected, for less "
                        "takes too many calls to tell",
                        buckets / 1e3);
    if (r == 0)
        spec->gates.max_error_rate = (double)buckets / ROLLOUT_BUCKETS;
    return r;
}

static int read_max_p99_ratio(const struct fields *fields, const struct node *node,
                              struct rollout_spec *spec)
{
    return field_ratio(fields, node, "spec.gates.maxP99Ratio", 1200, 100000,
                       &spec->gates.max_p99_ratio);
}

static int read_interval(const struct fields *fields, const struct node *node,
                         struct rollout_spec *spec)
{
    return field_duration(fields, node, "spec.gates.interval", INTERVAL_NS_MIN,
                          &spec->gates.interval_ns);
}

static int read_failure_limit(const struct fields *fields, const struct node *node,
                              struct rollout_spec *spec)
{
    return field_u32(fields, node, "spec.gates.failureLimit", 0, 100, &spec->gates.failure_limit);
}

static int read_success_limit(const struct fields *fields, const struct node *node,
                              struct rollout_spec *spec)
{
    return field_u32(fields, node, "spec.gates.consecutiveSuccessLimit", 1, 100,
                     &spec->gates.consecutive_success_limit);
}

static int read_gates(const struct fields *fields, const struct node *node,
                      struct rollout_spec *spec)
{
    static const struct field table[] = {
        {"minCalls", false, read_min_calls},
        {"maxErrorRate", false, read_max_error_rate},
        {"maxP99Ratio", false, read_max_p99_ratio},
        {"interval", false, read_interval},
        {"failureLimit", false, read_failure_limit},
        {"consecutiveSuccessLimit", false, read_success_limit},
        {NULL},
    };
    return read_fields(fields, node, "spec.gates", table, spec);
}

static int read_on_failure(const struct fields *fields, const struct node *node,
                           struct rollout_spec *spec)
{
    char text[16] = "";
    bool scalar = node->kind == NODE_SCALAR && node->bytes < sizeof(text);
    if (scalar)
        memcpy(text, node->text, node->bytes + 1);
    spec->on_failure =
        strcmp(text, "pause") == 0 ? ROLLOUT_ON_FAILURE_PAUSE : ROLLOUT_ON_FAILURE_ROLLBACK;
    if (strcmp(text, "pause") == 0 || strcmp(text, "rollback") == 0)
        return 0;
    return field_error(fields, node, -EINVAL,
                       "spec.onFailure is %s%.32s%s: rollback or pause was expected",
                       node->kind == NODE_SCALAR ? "\"" : "",
                       node->kind == NODE_SCALAR ? node->text : node_kind_name(node),
                       node->kind == NODE_SCALAR ? "\"" : "");
}

static int read_mirror(const struct fields *fields, const struct node *node,
                       struct rollout_spec *spec)
{
    return field_percent(fields, node, "spec.mirror", false, &spec->mirror_buckets);
}

static int read_spec(const struct fields *fields, const struct node *node,
                     struct rollout_spec *spec)
{
    static const struct field table[] = {
        {"interface", true, read_interface},
        {"stable", true, read_stable},
        {"canary", true, read_canary},
        {"match", false, read_matches},
        {"stickyKey", false, read_sticky_key},
        {"saltGroup", false, read_salt_group},
        {"steps", true, read_steps},
        {"gates", false, read_gates},
        {"onFailure", false, read_on_failure},
        {"mirror", false, read_mirror},
        {NULL},
    };
    return read_fields(fields, node, "spec", table, spec);
}

/* What other tools write there is theirs. */
static int read_metadata(const struct fields *fields, const struct node *node,
                         struct rollout_spec *spec)
{
    static const struct field table[] = {
        {"name", true, read_name},      {"labels", false, NULL},
        {"annotations", false, NULL},   {"namespace", false, NULL},
        {"uid", false, NULL},           {"resourceVersion", false, NULL},
        {"generation", false, NULL},    {"creationTimestamp", false, NULL},
        {"managedFields", false, NULL}, {NULL},
    };
    return read_fields(fields, node, "metadata", table, spec);
}

static int want_word(const struct fields *fields, const struct node *node, const char *where,
                     const char *word)
{
    if (node->kind == NODE_SCALAR && strcmp(node->text, word) == 0)
        return 0;
    return field_error(fields, node, -EINVAL, "%s is %.64s: \"%s\" was expected", where,
                       node->kind == NODE_SCALAR ? node->text : node_kind_name(node), word);
}

static int read_api_version(const struct fields *fields, const struct node *node,
                            struct rollout_spec *spec)
{
    (void)spec;
    return want_word(fields, node, "apiVersion", API_VERSION);
}

static int read_kind(const struct fields *fields, const struct node *node,
                     struct rollout_spec *spec)
{
    (void)spec;
    return want_word(fields, node, "kind", "Rollout");
}

static int read_root(const struct fields *fields, const struct node *node,
                     struct rollout_spec *spec)
{
    static const struct field table[] = {
        {"apiVersion", true, read_api_version},
        {"kind", true, read_kind},
        {"metadata", true, read_metadata},
        {"spec", true, read_spec},
        {"status", false, NULL},
        {NULL},
    };
    return read_fields(fields, node, "the document", table, spec);
}

/* ---- The whole ---- */

/* Of the group, or of the name: each in a space of its own, so that no name is a group's. */
static uint64_t salt_of(const struct rollout_spec *spec)
{
    struct digest_state state;
    struct digest digest;
    uint64_t salt;
    digest_begin(&state);
    digest_add_text(&state, spec->salt_group[0] ? "salt group" : "rollout");
    digest_add_text(&state, spec->salt_group[0] ? spec->salt_group : spec->name);
    digest_end(&state, &digest);
    memcpy(&salt, digest.bytes, sizeof(salt));
    return salt;
}

static int keep_document(const char *text, size_t bytes, struct rollout_spec *spec)
{
    struct digest digest;
    spec->document = malloc(bytes + 1);
    if (!spec->document)
        return -ENOMEM;
    memcpy(spec->document, text, bytes);
    spec->document[bytes] = '\0';
    spec->document_bytes = bytes;
    digest_of(text, bytes, &digest);
    digest_text(&digest, spec->digest);
    return 0;
}

int rollout_spec_parse(const char *text, size_t bytes, const char *file,
                       struct rollout_spec **ret_spec, struct error_text *error)
{
    const struct fields fields = {.file = file, .error = error};
    _cleanup_(node_freep) struct node *root = NULL;
    if (bytes > ROLLOUT_DOCUMENT_BYTES_MAX)
        return error_set(error, -E2BIG, "%s:1:1: %zu bytes: a document of at most %d was expected",
                         file, bytes, ROLLOUT_DOCUMENT_BYTES_MAX);
    _cleanup_(rollout_spec_freep) struct rollout_spec *spec = calloc(1, sizeof(*spec));
    if (!spec || keep_document(text, bytes, spec) < 0)
        return error_set(error, -ENOMEM, "%s: no memory", file);
    spec->gates = (struct rollout_gates){
        .min_calls = ROLLOUT_MIN_CALLS,
        .max_error_rate = ROLLOUT_MAX_ERROR_RATE,
        .max_p99_ratio = ROLLOUT_MAX_P99_RATIO,
        .interval_ns = ROLLOUT_INTERVAL_NS,
        .consecutive_success_limit = 1,
    };
    int r = tree_read(text, bytes, file, &root, error);
    if (r == 0)
        r = read_root(&fields, root, spec);
    if (r < 0)
        return r;
    spec->salt = salt_of(spec);
    *ret_spec = steal_ptr(&spec);
    return 0;
}

struct rollout_spec *rollout_spec_free(struct rollout_spec *spec)
{
    if (!spec)
        return NULL;
    (void)semver_ranges_free(spec->stable);
    (void)semver_ranges_free(spec->canary);
    free(spec->document);
    free(spec);
    return NULL;
}
