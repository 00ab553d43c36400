/*
 * Findings: what becomes of them, and how they are told.
 *
 * A finding is judged when it is reported: whether the category asks for its rule, whether an
 * exception of the new set accepts it, whether there is room to keep it. So what is past the limit
 * still counts as what it is, and a thousand accepted findings cannot hide a break behind them:
 * half of the room is for breaks alone. Positions are looked up at the end, for all in one pass.
 */
#include "schema/diff_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number of FileDescriptorProto's options. */
#define FILE_OPTIONS 8

static bool equal(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* ---- Findings ---- */

/* Whether the rule is one that this diff asks for. */
static bool wants(const struct diff *diff, enum diff_rule rule)
{
    return diff_rule_applies(rule, diff->options.category);
}

/* A copy without control characters, cut at a character's end. */
static const char *keep_text(struct diff *diff, const char *text)
{
    size_t bytes = strnlen(text, DIFF_SENTENCE_BYTES_MAX);
    while (text[bytes] && bytes > 0 && ((unsigned char)text[bytes] & 0xc0) == 0x80)
        bytes--;
    char *copy = pool_alloc(&diff->pool, bytes + 1);
    if (!copy)
        return NULL;
    for (size_t i = 0; i < bytes; i++)
        copy[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i];
    return copy;
}

static bool room_for(struct diff *diff, enum diff_severity severity)
{
    size_t max = severity == DIFF_BREAK ? DIFF_FINDING_MAX : DIFF_FINDING_MAX / 2;
    if (diff->count >= max)
        return false;
    if (diff->count < diff->capacity)
        return true;
    size_t capacity = 2 * diff->capacity + 16;
    struct diff_entry *entries = realloc(diff->entries, capacity * sizeof(*entries));
    if (!entries) {
        diff->error = -ENOMEM;
        return false;
    }
    diff->entries = entries;
    diff->capacity = capacity;
    return true;
}

static struct diff_accept *find_accept(struct diff *diff, enum diff_rule rule, const char *element)
{
    struct diff_accept *found = NULL;
    for (size_t i = 0; i < diff->accept_count; i++) {
        struct diff_accept *accept = &diff->accepts[i];
        if (!accept->valid || accept->rule != rule ||
            (accept->option->element && !equal(accept->option->element, element)))
            continue;
        accept->used = true;
        if (!found)
            found = accept;
    }
    return found;
}

static enum diff_severity judge(struct diff *diff, enum diff_rule rule, const char *element,
                                const char **ret_reason)
{
    *ret_reason = NULL;
    if (rule == DIFF_PARLEY_ACCEPT_UNUSED)
        return DIFF_NOTE;
    if (rule == DIFF_PARLEY_ACCEPT_INVALID)
        return DIFF_BREAK;
    const struct diff_accept *accept = find_accept(diff, rule, element);
    if (!accept)
        return DIFF_BREAK;
    *ret_reason = accept->option->reason;
    return DIFF_ACCEPTED;
}

static const Google__Protobuf__FileDescriptorProto *file_of(const struct diff_place *place)
{
    return place->file          ? place->file
           : place->message     ? place->message->file
           : place->enumeration ? place->enumeration->file
                                : place->service->file;
}

static int add(struct diff *diff, enum diff_rule rule, const struct diff_place *place,
               const char *element, const char *sentence)
{
    const char *reason;
    enum diff_severity severity = judge(diff, rule, element, &reason);
    diff->break_count += severity == DIFF_BREAK;
    if (!room_for(diff, severity)) {
        diff->omitted_count++;
        return diff->error;
    }
    struct diff_entry entry = {
        .finding = {.rule = rule,
                    .severity = severity,
                    .element = keep_text(diff, element),
                    .file = keep_text(diff, file_of(place)->name),
                    .sentence = keep_text(diff, sentence),
                    .reason = reason ? keep_text(diff, reason) : NULL},
        .order = (uint32_t)diff->count,
    };
    if (!entry.finding.element || !entry.finding.file || !entry.finding.sentence ||
        (reason && !entry.finding.reason) || diff_path_of(diff, place, &entry.path) < 0)
        return diff->error = -ENOMEM;
    diff->entries[diff->count++] = entry;
    return 0;
}

int diff_report(struct diff *diff, enum diff_rule rule, const struct diff_place *place,
                const char *scope, const char *leaf, const char *format, ...)
{
    if (!wants(diff, rule))
        return 0;
    char element[2 * SCHEMA_NAME_BYTES_MAX + 2], sentence[DIFF_SENTENCE_BYTES_MAX + 1];
    (void)snprintf(element, sizeof(element), "%s%s%s", scope, leaf ? "." : "", leaf ? leaf : "");
    va_list args;
    va_start(args, format);
    (void)vsnprintf(sentence, sizeof(sentence), format, args);
    va_end(args);
    return add(diff, rule, place, element, sentence);
}

/* ---- Exceptions ---- */

static void check_accept(struct diff *diff, const struct schema_service *service,
                         struct diff_accept *accept)
{
    const Parley__Accept *option = accept->option;
    const char *name = option->rule ? option->rule : "";
    const struct diff_place *place = DIFF_PLACE(.file = accept->file, .part = FILE_OPTIONS);
    accept->rule = diff_rule_find(name);
    if (accept->rule == DIFF_RULE_COUNT) {
        diff_report(diff, DIFF_PARLEY_ACCEPT_INVALID, place, service->package, NULL,
                    "(parley.interface).accept names the rule \"%s\", which does not exist; name "
                    "one as the diff prints it, like FIELD_SAME_NAME",
                    PRINTABLE(name));
        return;
    }
    if (!option->reason || option->reason[strspn(option->reason, " \t\r\n")] == '\0') {
        diff_report(diff, DIFF_PARLEY_ACCEPT_INVALID, place, service->package, NULL,
                    "(parley.interface).accept of %s%s%s gives no reason, and so accepts nothing; "
                    "add reason: \"...\" for those who read the diff",
                    name, option->element ? " on " : "",
                    option->element ? PRINTABLE(option->element) : "");
        return;
    }
    accept->valid = true;
}

/* Services of one file have the same interface option, each its own copy. */
static bool is_first_of_file(const struct schema *schema, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (schema->services[i].file == schema->services[index].file)
            return false;
    return true;
}

int diff_collect_accepts(struct diff *diff)
{
    diff->accepts = pool_array(&diff->pool, DIFF_ACCEPT_MAX, sizeof(*diff->accepts));
    if (!diff->accepts)
        return -ENOMEM;
    for (size_t i = 0; i < diff->new->service_count; i++) {
        const struct schema_service *service = &diff->new->services[i];
        if (!service->interface || !is_first_of_file(diff->new, i))
            continue;
        for (size_t k = 0; k < service->interface->n_accept; k++) {
            if (diff->accept_count == DIFF_ACCEPT_MAX) {
                diff_report(diff, DIFF_PARLEY_ACCEPT_INVALID,
                            DIFF_PLACE(.file = service->file, .part = FILE_OPTIONS),
                            service->package, NULL,
                            "there are more than %d (parley.interface).accept; remove those that "
                            "are of earlier versions",
                            DIFF_ACCEPT_MAX);
                return 0;
            }
            struct diff_accept *accept = &diff->accepts[diff->accept_count++];
            *accept = (struct diff_accept){.option = service->interface->accept[k],
                                           .file = service->file};
            check_accept(diff, service, accept);
        }
    }
    return 0;
}

static bool was_asked_for(const struct diff *diff, enum diff_rule rule)
{
    bool bridge = rule >= DIFF_PARLEY_FIELD_NEEDS_RULE && rule <= DIFF_PARLEY_VERSION_NEEDS_RULE;
    return wants(diff, rule) && (diff->options.bridges || !bridge);
}

static void report_unused(struct diff *diff)
{
    for (size_t i = 0; i < diff->accept_count; i++) {
        const struct diff_accept *accept = &diff->accepts[i];
        if (!accept->valid || accept->used || !was_asked_for(diff, accept->rule))
            continue;
        const char *element = accept->option->element;
        diff_report(
            diff, DIFF_PARLEY_ACCEPT_UNUSED, DIFF_PLACE(.file = accept->file, .part = FILE_OPTIONS),
            accept->file->package ? accept->file->package : "", NULL,
            "(parley.interface).accept of %s%s%s matches nothing; correct the element's "
            "name, or remove it if the change is older than what this is compared with",
            diff_rule_name(accept->rule), element ? " on " : "", element ? PRINTABLE(element) : "");
    }
}

/* ---- The end ---- */

static int compare_entries(const void *a, const void *b)
{
    const struct diff_entry *x = a, *y = b;
    int r = strcmp(x->finding.file, y->finding.file);
    if (r == 0)
        r = (x->finding.line > y->finding.line) - (x->finding.line < y->finding.line);
    if (r == 0)
        r = (x->finding.column > y->finding.column) - (x->finding.column < y->finding.column);
    return r ? r : (x->order > y->order) - (x->order < y->order);
}

int diff_finish(struct diff *diff, struct error_text *error)
{
    report_unused(diff);
    if (diff->error)
        return error_set(error, diff->error, "no memory to compare schemas");
    diff->findings = calloc(diff->count + 1, sizeof(*diff->findings));
    if (!diff->findings)
        return error_set(error, -ENOMEM, "no memory to compare schemas");
    int r = diff_locate(diff, error);
    if (r < 0)
        return r;
    if (diff->count > 0)
        qsort(diff->entries, diff->count, sizeof(*diff->entries), compare_entries);
    for (size_t i = 0; i < diff->count; i++)
        diff->findings[i] = diff->entries[i].finding;
    diff->old = diff->new = NULL;
    return 0;
}

const struct diff_finding *diff_findings(const struct diff *diff, size_t *ret_count)
{
    *ret_count = diff->count;
    return diff->findings;
}

size_t diff_break_count(const struct diff *diff)
{
    return diff->break_count;
}

size_t diff_omitted_count(const struct diff *diff)
{
    return diff->omitted_count;
}

/* ---- For people ---- */

int diff_describe(const struct diff_finding *finding, char *text, size_t bytes)
{
    char place[32] = "";
    if (finding->line > 0)
        (void)snprintf(place, sizeof(place), ":%u:%u", finding->line, finding->column);
    bool accepted = finding->severity == DIFF_ACCEPTED;
    return snprintf(text, bytes, "%s%s: %s%s%s%s%s: %s: %s", finding->file, place,
                    finding->severity == DIFF_NOTE ? "note: " : "", diff_rule_name(finding->rule),
                    accepted ? " (accepted: " : "", accepted ? finding->reason : "",
                    accepted ? ")" : "", finding->element, finding->sentence);
}

void diff_summarize(const struct diff *diff, struct error_text *error)
{
    size_t used = 0, shown = 0;
    error->text[0] = '\0';
    for (size_t i = 0; i < diff->count; i++) {
        if (diff->findings[i].severity != DIFF_BREAK)
            continue;
        char line[2 * DIFF_SENTENCE_BYTES_MAX];
        (void)diff_describe(&diff->findings[i], line, sizeof(line));
        /* Leave room for the count behind the last one. */
        if (shown > 0 && used + strlen(line) + 40 > sizeof(error->text))
            break;
        int n = snprintf(error->text + used, sizeof(error->text) - used, "%s%s",
                         shown > 0 ? "; " : "", line);
        shown++;
        used += (size_t)n;
        if (used + 40 > sizeof(error->text))
            break;
    }
    if (diff->break_count == shown)
        return;
    if (used + 40 > sizeof(error->text))
        used = sizeof(error->text) - 40;
    (void)snprintf(error->text + used, sizeof(error->text) - used, "%s; and %zu more",
                   used == sizeof(error->text) - 40 ? "..." : "", diff->break_count - shown);
}
