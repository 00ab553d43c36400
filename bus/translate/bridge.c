/*
 * Bridging as findings: the compiler's complaints, put where they belong.
 *
 * Both versions are compiled four times, as client and as service, requests and replies, which
 * makes all tables that negotiation could ask for. What one field does wrong is usually said in
 * both directions: the first sentence is kept, for the older version's name comes first in it.
 *
 * A field that vanished is a matter of judgement. The compiler carries it, and nothing is lost; but
 * if it was renamed and nobody wrote so, programs of the two versions no longer see each other's
 * values, which is what a rule is for. So it is a finding if the newer message has a field of the
 * same type that came from nowhere: then either `from` or `drop` must say what happened. A field
 * without such a neighbour is plainly gone.
 */
#include "translate/bridge.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "translate/plan.h"

#define TYPE(name) GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_##name
#define SEEN_MAX DIFF_FINDING_MAX

/* What was said of a field or a method is said once; of messages and versions, each sentence. */
struct seen {
    const void *element;
    uint64_t sentence; /* hash; 0: any */
};

struct bridge {
    struct diff *diff;
    const struct schema *older, *newer;
    struct seen *seen;
    size_t seen_count;
};

static bool equal(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* ---- The option to add ---- */

static bool is_map(const struct schema_field *field)
{
    return field->message && field->message->map_entry;
}

static bool is_time(const struct schema_field *field)
{
    return field->message && (equal(field->message->name, "google.protobuf.Timestamp") ||
                              equal(field->message->name, "google.protobuf.Duration"));
}

/* The name that a message of the newer version has in the version before. */
static const char *from_of(const struct schema_message *newer)
{
    return newer->rule && newer->rule->from ? newer->rule->from : newer->local;
}

/* The first singular field of that type, behind @after if that is given. */
static const struct schema_field *member(const struct schema_message *message,
                                         Google__Protobuf__FieldDescriptorProto__Type type,
                                         const struct schema_field *after)
{
    for (size_t i = after ? (size_t)(after - message->fields) + 1 : 0; i < message->field_count;
         i++)
        if (message->fields[i].type == type && !message->fields[i].repeated)
            return &message->fields[i];
    return NULL;
}

/* A bare value on one side, @message on the other. */
static void suggest_wrap(const struct schema_field *bare, const struct schema_message *message,
                         bool wraps, char *text, size_t bytes)
{
    const struct schema_field *first = member(message, bare->type, NULL);
    const struct schema_field *second = first ? member(message, bare->type, first) : NULL;
    if (first && second && bare->type == TYPE(STRING))
        (void)snprintf(text, bytes,
                       "[(parley.field).%s = { pattern: \"{%s} {%s}\" otherwise: \"%s\" }]",
                       wraps ? "split" : "merge", first->name, second->name, first->name);
    else if (first)
        (void)snprintf(text, bytes, "[(parley.field).%s = \"%s\"]", wraps ? "wrap" : "unwrap",
                       first->name);
}

/* @list: repeated messages on one side; @entry: the map's on the other. */
static void suggest_entries(const struct schema_field *list, const struct schema_message *entry,
                            char *text, size_t bytes)
{
    if (!list->message)
        return;
    const struct schema_field *key = member(list->message, entry->fields[0].type, NULL);
    const struct schema_field *value = entry->fields[1].message
                                           ? NULL /* the whole message */
                                           : member(list->message, entry->fields[1].type, NULL);
    if (value && value == key)
        value = member(list->message, entry->fields[1].type, key);
    (void)snprintf(text, bytes, "[(parley.field).entries = { key: \"%s\"%s%s%s }]",
                   key ? key->name : "key", value ? " value: \"" : "", value ? value->name : "",
                   value ? "\"" : "");
}

/* What a plain `convert` leaves open; for numbers and text the compiler's sentence has it. */
static void suggest_convert(const struct schema_field *older, const struct schema_field *newer,
                            char *text, size_t bytes)
{
    if (is_time(older) || is_time(newer))
        (void)snprintf(text, bytes, "[(parley.field).convert = { unit: TIME_UNIT_SECONDS }]");
    else if (newer->enumeration)
        (void)snprintf(text, bytes, "[(parley.field).convert = { otherwise: \"%s\" }]",
                       newer->enumeration->values[0].name);
}

static bool has_structure_rule(const Parley__FieldRule *rule)
{
    return rule && (rule->split || rule->merge || rule->convert || rule->wrap || rule->unwrap ||
                    rule->has_pick || rule->entries || rule->has_multiply);
}

/* Messages of the interface itself, in two versions, that nothing pairs. */
static bool could_be_renamed(const struct schema_message *older, const struct schema_message *newer)
{
    return older && newer && !older->map_entry && !newer->map_entry &&
           !equal(older->package, newer->package) && !equal(older->package, "google.protobuf") &&
           !equal(newer->package, "google.protobuf") && !equal(from_of(newer), older->local);
}

/* The option that could bridge a pair of fields; "" if it has one already, or none would. */
static void suggest(const struct schema_field *older, const struct schema_field *newer, char *text,
                    size_t bytes)
{
    text[0] = '\0';
    if (has_structure_rule(newer->rule))
        return;
    if (is_map(older) != is_map(newer))
        suggest_entries(is_map(older) ? newer : older,
                        is_map(older) ? older->message : newer->message, text, bytes);
    else if (older->repeated != newer->repeated)
        (void)snprintf(text, bytes, "[(parley.field).pick = PICK_FIRST]");
    else if (is_time(older) != is_time(newer))
        suggest_convert(older, newer, text, bytes);
    else if (!older->message && newer->message)
        suggest_wrap(older, newer->message, true, text, bytes);
    else if (older->message && !newer->message)
        suggest_wrap(newer, older->message, false, text, bytes);
    else if (!older->message && older->type != newer->type)
        suggest_convert(older, newer, text, bytes);
    else if (could_be_renamed(older->message, newer->message))
        (void)snprintf(text, bytes, "option (parley.message).from = \"%s\" to %s",
                       older->message->local, newer->message->name);
}

/* ---- Complaints ---- */

/* FNV-1a */
static uint64_t hash(const char *text)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return h;
}

/* The value of the newer enum that the sentence begins with, "catalog.v2.Priority.EXTRA: ...". */
static const struct schema_enum_value *value_of(const struct plan_complaint *complaint)
{
    const struct schema_enum *enumeration = complaint->newer_field->enumeration;
    size_t n = enumeration ? strlen(enumeration->name) : 0;
    if (n == 0 || strncmp(complaint->sentence, enumeration->name, n) != 0 ||
        complaint->sentence[n] != '.')
        return NULL;
    const char *name = complaint->sentence + n + 1;
    size_t length = strcspn(name, ": ");
    for (size_t i = 0; i < enumeration->value_count; i++)
        if (strlen(enumeration->values[i].name) == length &&
            strncmp(enumeration->values[i].name, name, length) == 0)
            return &enumeration->values[i];
    return NULL;
}

/* The newer version's form of a client's method. */
static const struct schema_method *in_newer(const struct bridge *bridge,
                                            const struct schema_method *method)
{
    const struct schema_service *newer = schema_service(bridge->newer);
    for (size_t i = 0; i < newer->method_count; i++) {
        const struct schema_method *candidate = &newer->methods[i];
        const char *from =
            candidate->rule && candidate->rule->from ? candidate->rule->from : candidate->name;
        if (candidate == method || equal(from, method->name))
            return candidate;
    }
    return NULL;
}

static bool is_new(struct bridge *bridge, const struct plan_complaint *complaint)
{
    struct seen seen = {.element = complaint->newer};
    if (complaint->newer_field) {
        const struct schema_enum_value *value = value_of(complaint);
        seen.element = value ? (const void *)value : complaint->newer_field;
    } else if (complaint->method) {
        seen.element = in_newer(bridge, complaint->method);
    } else {
        seen.sentence = hash(complaint->sentence);
    }
    for (size_t i = 0; i < bridge->seen_count; i++)
        if (bridge->seen[i].element == seen.element && bridge->seen[i].sentence == seen.sentence)
            return false;
    if (bridge->seen_count < SEEN_MAX)
        bridge->seen[bridge->seen_count++] = seen;
    return true;
}

static void on_field(struct bridge *bridge, const struct plan_complaint *complaint)
{
    const struct schema_enum_value *value = value_of(complaint);
    if (value) {
        const struct schema_enum *enumeration = complaint->newer_field->enumeration;
        diff_report(bridge->diff, DIFF_PARLEY_VALUE_NEEDS_RULE,
                    &(struct diff_place){.enumeration = enumeration, .value = value},
                    enumeration->name, value->name, "%s", complaint->sentence);
        return;
    }
    char option[2 * SCHEMA_NAME_BYTES_MAX + 128];
    suggest(complaint->older_field, complaint->newer_field, option, sizeof(option));
    diff_report(bridge->diff, DIFF_PARLEY_FIELD_NEEDS_RULE,
                &(struct diff_place){.message = complaint->newer, .field = complaint->newer_field},
                complaint->newer->name, complaint->newer_field->name, "%s%s%s", complaint->sentence,
                option[0] ? "; or add " : "", option);
}

static void on_method(struct bridge *bridge, const struct plan_complaint *complaint)
{
    const struct schema_service *newer = schema_service(bridge->newer);
    const struct schema_method *method = in_newer(bridge, complaint->method);
    diff_report(bridge->diff, DIFF_PARLEY_METHOD_NEEDS_RULE,
                &(struct diff_place){.service = newer, .method = method}, newer->name,
                method ? method->name : complaint->method->name, "%s", complaint->sentence);
}

static void complain(void *context, const struct plan_complaint *complaint)
{
    struct bridge *bridge = context;
    if (!is_new(bridge, complaint))
        return;
    const struct schema_service *newer = schema_service(bridge->newer);
    if (complaint->newer_field)
        on_field(bridge, complaint);
    else if (complaint->newer)
        diff_report(bridge->diff, DIFF_PARLEY_MESSAGE_NEEDS_RULE,
                    &(struct diff_place){.message = complaint->newer}, complaint->newer->name, NULL,
                    "%s", complaint->sentence);
    else if (complaint->method)
        on_method(bridge, complaint);
    else
        diff_report(bridge->diff, DIFF_PARLEY_VERSION_NEEDS_RULE,
                    &(struct diff_place){.service = newer}, newer->name, NULL, "%s",
                    complaint->sentence);
}

static int check_plans(struct bridge *bridge, struct error_text *error)
{
    for (int i = 0; i < 4; i++) {
        bool up = i < 2;
        int r = plan_check(up ? bridge->older : bridge->newer, up ? bridge->newer : bridge->older,
                           i % 2 ? PLAN_REPLIES : PLAN_REQUESTS, complain, bridge, error);
        if (r == -ENOMEM)
            return r;
        if (r < 0 && r != -EINVAL)
            complain(bridge, &(struct plan_complaint){.sentence = error->text});
    }
    return 0;
}

/* ---- What has no counterpart ---- */

static void check_methods(struct bridge *bridge)
{
    const struct schema_service *older = schema_service(bridge->older);
    const struct schema_service *newer = schema_service(bridge->newer);
    for (size_t i = 0; i < older->method_count; i++) {
        const struct schema_method *method = &older->methods[i];
        if (in_newer(bridge, method))
            continue;
        diff_report(bridge->diff, DIFF_PARLEY_METHOD_NEEDS_RULE,
                    &(struct diff_place){.service = newer}, newer->name, method->name,
                    "method \"%s\" of %s has no counterpart here, and calls of it end as "
                    "UNIMPLEMENTED; if it was renamed, add option (parley.method).from = \"%s\" to "
                    "the new one",
                    method->name, older->name, method->name);
    }
}

/* Whether @path begins with @name: "homepage", or "links.homepage" and "links". */
static bool path_begins(const char *path, const char *name)
{
    size_t n = strlen(name);
    return path && strncmp(path, name, n) == 0 && (path[n] == '\0' || path[n] == '.');
}

static bool template_has(const char *template, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = template ? strchr(template, '{') : NULL; at; at = strchr(at + 1, '{'))
        if (strncmp(at + 1, name, n) == 0 && (at[n + 1] == '}' || at[n + 1] == '.'))
            return true;
    return false;
}

/* Whether the newer message says what became of a field of the older one. */
static bool is_accounted_for(const struct schema_message *newer, const char *name)
{
    for (size_t i = 0; i < newer->field_count; i++) {
        const struct schema_field *field = &newer->fields[i];
        const char *from = field->rule && field->rule->from ? field->rule->from : field->name;
        if (path_begins(from, name) || (field->rule && template_has(field->rule->computed, name)))
            return true;
    }
    for (size_t i = 0; newer->rule && i < newer->rule->n_drop; i++)
        if (newer->rule->drop[i]->from && equal(newer->rule->drop[i]->from, name))
            return true;
    for (size_t i = 0; newer->rule && i < newer->rule->n_move; i++)
        if (path_begins(newer->rule->move[i]->from, name))
            return true;
    return false;
}

static bool came_from_nowhere(const struct schema_message *older,
                              const struct schema_message *newer, const struct schema_field *field)
{
    if (field->rule || schema_field_find(older, field->name))
        return false;
    for (size_t i = 0; newer->rule && i < newer->rule->n_move; i++)
        if (path_begins(newer->rule->move[i]->to, field->name))
            return false;
    return true;
}

static bool could_hold(const struct schema_field *older, const struct schema_field *newer)
{
    if (older->type != newer->type || older->repeated != newer->repeated ||
        is_map(older) != is_map(newer))
        return false;
    if (older->enumeration)
        return equal(older->enumeration->local,
                     newer->enumeration->rule && newer->enumeration->rule->from
                         ? newer->enumeration->rule->from
                         : newer->enumeration->local);
    return !older->message || is_map(older) ||
           equal(from_of(newer->message), older->message->local);
}

static bool may_have_become(const struct schema_message *older, const struct schema_message *newer,
                            const struct schema_field *field, const struct schema_field *candidate)
{
    return could_hold(field, candidate) && came_from_nowhere(older, newer, candidate);
}

#define OTHERS_BYTES 160

/* The field that the older one most likely became: one of its number, else the first. @others are
 * the further ones that it may have become: " (others: who, nick)", or "". */
static const struct schema_field *likely(const struct schema_message *older,
                                         const struct schema_message *newer,
                                         const struct schema_field *field,
                                         char others[OTHERS_BYTES])
{
    const struct schema_field *found = NULL;
    for (size_t i = 0; i < newer->field_count; i++) {
        const struct schema_field *candidate = &newer->fields[i];
        if (may_have_become(older, newer, field, candidate) &&
            (!found || candidate->number == field->number))
            found = candidate;
    }
    size_t used = 0;
    for (size_t i = 0; i < newer->field_count && used < OTHERS_BYTES; i++) {
        const struct schema_field *candidate = &newer->fields[i];
        if (candidate != found && may_have_become(older, newer, field, candidate))
            used += (size_t)snprintf(others + used, OTHERS_BYTES - used, "%s%s",
                                     used ? ", " : " (others: ", candidate->name);
    }
    if (used >= OTHERS_BYTES - 1)
        strcpy(others + OTHERS_BYTES - 5, "...)");
    else
        strcpy(others + used, used ? ")" : "");
    return found;
}

static void check_fields(struct bridge *bridge, const struct schema_message *older,
                         const struct schema_message *newer)
{
    for (size_t i = 0; i < older->field_count; i++) {
        const struct schema_field *field = &older->fields[i];
        if (is_accounted_for(newer, field->name))
            continue;
        char others[OTHERS_BYTES];
        const struct schema_field *heir = likely(older, newer, field, others);
        if (!heir)
            continue;
        diff_report(bridge->diff, DIFF_PARLEY_FIELD_NEEDS_RULE,
                    &(struct diff_place){.message = newer, .field = heir}, newer->name, heir->name,
                    "nothing says what became of %s.%s, and this new field has its type%s; if it "
                    "is the same, add [(parley.field).from = \"%s\"]; if not, add option "
                    "(parley.message).drop = { from: \"%s\" reason: \"...\" } to the message",
                    older->name, field->name, others, field->name, field->name);
    }
}

static void check_messages(struct bridge *bridge)
{
    const char *package = schema_service(bridge->newer)->package;
    const char *before = schema_service(bridge->older)->package;
    size_t count;
    const struct schema_message *const *messages = schema_messages(bridge->newer, &count);
    for (size_t i = 0; i < count; i++) {
        char name[2 * SCHEMA_NAME_BYTES_MAX + 2];
        if (messages[i]->map_entry || !equal(messages[i]->package, package))
            continue;
        (void)snprintf(name, sizeof(name), "%s%s%s", before, before[0] ? "." : "",
                       from_of(messages[i]));
        const struct schema_message *older = schema_message_find(bridge->older, name);
        if (older && !older->map_entry)
            check_fields(bridge, older, messages[i]);
    }
}

int diff_bridge(struct diff *diff, const struct schema *older, const struct schema *newer,
                struct error_text *error)
{
    struct bridge bridge = {
        .diff = diff,
        .older = older,
        .newer = newer,
        .seen = calloc(SEEN_MAX, sizeof(*bridge.seen)),
    };
    if (!bridge.seen)
        return error_set(error, -ENOMEM, "no memory to compare schemas");
    int r = check_plans(&bridge, error);
    if (r == 0) {
        check_methods(&bridge);
        check_messages(&bridge);
    }
    free(bridge.seen);
    return r;
}
