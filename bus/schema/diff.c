/*
 * The diff: which elements of two sets meet, and what becomes of a finding.
 *
 * Elements meet by full name, wherever in a package's files they are; only files meet by path. What
 * one set has alone is added, which never breaks anything, or deleted. A package that went because
 * a newer version names it as its `previous` was not deleted: it is bridged, and that is not
 * decided here.
 *
 * A finding is judged when it is reported: whether the category asks for its rule, whether an
 * exception of the new set accepts it, whether there is room to keep it. So what is past the limit
 * still counts as what it is, and a thousand accepted findings cannot hide a break behind them:
 * half of the room is for breaks alone. Positions are looked up at the end, for all in one pass.
 *
 * Both sets may be a peer's. Nothing here is worse than n log n in what they hold, apart from
 * loops over files, of which there are few.
 */
#include "schema/diff_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

DEFINE_CLEANUP(struct diff *, diff_free);

typedef Google__Protobuf__FileDescriptorProto file_proto;

/* Numbers of FileDescriptorProto's fields: the `package` statement, the options. */
#define FILE_PACKAGE 2
#define FILE_OPTIONS 8

static bool equal(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* ---- Findings ---- */

bool diff_wants(const struct diff *diff, enum diff_rule rule)
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

static const file_proto *file_of(const struct diff_place *place)
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
    if (!diff_wants(diff, rule))
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

static int collect_accepts(struct diff *diff)
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
    return diff_wants(diff, rule) && (diff->options.bridges || !bridge);
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

/* ---- Files and packages ---- */

static const char *package_of(const file_proto *file)
{
    return file->package ? file->package : "";
}

bool diff_file_is_proto3(const file_proto *file)
{
    return file->syntax && equal(file->syntax, "proto3");
}

/* protobuf's own files and the options are in a set because something imports them. */
static bool is_import(const file_proto *file)
{
    return strncmp(file->name, "google/protobuf/", 16) == 0 ||
           equal(file->name, "parley/options.proto");
}

static const file_proto *file_named(const struct schema *schema, const char *name)
{
    for (size_t i = 0; i < schema->files->n_file; i++)
        if (equal(schema->files->file[i]->name, name))
            return schema->files->file[i];
    return NULL;
}

/* The first file of a package, NULL: none. */
static const file_proto *file_in(const struct schema *schema, const char *package)
{
    for (size_t i = 0; i < schema->files->n_file; i++)
        if (equal(package_of(schema->files->file[i]), package))
            return schema->files->file[i];
    return NULL;
}

/* Whether @package of the new set came from @previous. */
static bool is_successor(const struct diff *diff, const char *package, const char *previous)
{
    for (size_t i = 0; i < diff->new->service_count; i++) {
        const struct schema_service *service = &diff->new->services[i];
        if ((!package || equal(service->package, package)) && service->interface &&
            service->interface->previous && equal(service->interface->previous, previous))
            return true;
    }
    return false;
}

/* Where to say that something of @old went: its file, or one of its package, or the old one. */
static const file_proto *home_of(const struct diff *diff, const file_proto *old)
{
    const file_proto *file = file_named(diff->new, old->name);
    if (!file)
        file = file_in(diff->new, package_of(old));
    return file ? file : old;
}

static void compare_file(struct diff *diff, const file_proto *old)
{
    const file_proto *new = file_named(diff->new, old->name);
    const char *package = package_of(old);
    if (new && !equal(package, package_of(new)) && !is_successor(diff, package_of(new), package)) {
        diff_report(diff, DIFF_FILE_SAME_PACKAGE, DIFF_PLACE(.file = new, .part = FILE_PACKAGE),
                    package, NULL,
                    "the file changed its package from \"%s\" to \"%s\", so that all of its names "
                    "changed; if that is a new major version, set (parley.interface).previous to "
                    "\"%s\", else keep the package",
                    package, package_of(new), package);
        return;
    }
    bool other =
        diff->old->service && diff->new->service && !equal(package, diff->old->service->package);
    if (new || other || file_in(diff->old, package) != old || file_in(diff->new, package) ||
        is_successor(diff, NULL, package))
        return;
    diff_report(diff, DIFF_PACKAGE_NO_DELETE, DIFF_PLACE(.file = old), package, NULL,
                "package \"%s\" was deleted, and no newer version takes its place; keep it, or set "
                "(parley.interface).previous to \"%s\" in the version that follows it",
                package, package);
}

static bool is_compared(const struct diff *diff, const file_proto *old)
{
    return !is_import(old) && file_in(diff->new, package_of(old));
}

/* ---- Elements ---- */

/* The nearest enclosing message of @full that is (still) in @schema; NULL: none. @full is cut. */
static const struct schema_message *enclosing(const struct schema *schema, char *full)
{
    for (char *dot = strrchr(full, '.'); dot; dot = strrchr(full, '.')) {
        *dot = '\0';
        const struct schema_message *message = schema_message_find(schema, full);
        if (message)
            return message;
    }
    return NULL;
}

static void report_deleted(struct diff *diff, const struct schema_message *old)
{
    char name[SCHEMA_NAME_BYTES_MAX + 1];
    (void)snprintf(name, sizeof(name), "%s", old->name);
    const struct schema_message *outer = enclosing(diff->old, name);
    if (outer && !schema_message_find(diff->new, outer->name))
        return; /* went with it */
    struct diff_place place = {.message =
                                   outer ? schema_message_find(diff->new, outer->name) : NULL};
    if (!place.message)
        place = (struct diff_place){.file = home_of(diff, old->file), .part = FILE_PACKAGE};
    diff_report(diff, DIFF_PACKAGE_MESSAGE_NO_DELETE, &place, old->name, NULL,
                "message \"%s\" was deleted from package \"%s\", where others may still send it; "
                "keep it, and mark it as deprecated",
                old->local, old->package);
}

static void compare_message(struct diff *diff, const struct schema_message *old)
{
    const struct schema_message *new = schema_message_find(diff->new, old->name);
    if (new && !(old->map_entry && new->map_entry)) /* which are compared as what holds them */
        diff_message_pair(diff, old, new);
    else if (!new && !old->map_entry)
        report_deleted(diff, old);
}

static const char *local_name(const struct schema_service *service)
{
    return service->package[0] ? service->name + strlen(service->package) + 1 : service->name;
}

static void compare_service(struct diff *diff, const struct schema_service *old)
{
    const struct symbol *symbol = symbol_find(diff->new, old->name);
    if (symbol && symbol->kind == SYMBOL_SERVICE) {
        diff_service_pair(diff, old, &diff->new->services[symbol->index]);
        return;
    }
    diff_report(diff, DIFF_PACKAGE_SERVICE_NO_DELETE,
                DIFF_PLACE(.file = home_of(diff, old->file), .part = FILE_PACKAGE), old->name, NULL,
                "service \"%s\" was deleted from package \"%s\", and its callers have nowhere to "
                "go; keep it until a new major version",
                local_name(old), old->package);
}

/* How many services with (parley.interface) @package of @schema has. */
static size_t count_services(const struct schema *schema, const char *package)
{
    size_t count = 0;
    for (size_t i = 0; i < schema->service_count; i++)
        count += schema->services[i].interface && equal(schema->services[i].package, package);
    return count;
}

/* @old is of a package that only newer versions have taken the place of: one of these has a service
 * of its name, or it was the only one, and so is what followed it. */
static void check_successor(struct diff *diff, const struct schema_service *old)
{
    const struct schema_service *follower = NULL;
    bool only = count_services(diff->old, old->package) == 1;
    for (size_t i = 0; i < diff->new->service_count; i++) {
        const struct schema_service *new = &diff->new->services[i];
        if (!new->interface || !new->interface->previous ||
            !equal(new->interface->previous, old->package))
            continue;
        if (equal(local_name(new), local_name(old)) ||
            (only && count_services(diff->new, new->package) == 1))
            return;
        follower = new;
    }
    if (follower)
        diff_report(diff, DIFF_PACKAGE_SERVICE_NO_DELETE,
                    DIFF_PLACE(.file = follower->file, .part = FILE_PACKAGE), old->name, NULL,
                    "service \"%s\" has no counterpart in package \"%s\", which takes the place of "
                    "\"%s\", and its callers have nowhere to go; keep it, or keep the package",
                    local_name(old), follower->package, old->package);
}

static void compare(struct diff *diff)
{
    const struct schema *old = diff->old;
    for (size_t i = 0; i < old->files->n_file; i++)
        if (!is_import(old->files->file[i]))
            compare_file(diff, old->files->file[i]);
    for (size_t i = 0; i < old->enum_count && !diff->error; i++) {
        const struct schema_enum *new = schema_enum_find(diff->new, old->enums[i].name);
        if (new && !is_import(old->enums[i].file))
            diff_enum_pair(diff, &old->enums[i], new);
    }
    for (size_t i = 0; i < old->message_count && !diff->error; i++)
        if (is_compared(diff, old->messages[i].file))
            compare_message(diff, &old->messages[i]);
    for (size_t i = 0; i < old->service_count && !diff->error; i++)
        if (is_compared(diff, old->services[i].file))
            compare_service(diff, &old->services[i]);
        else if (old->services[i].interface)
            check_successor(diff, &old->services[i]);
}

/* ---- The diff ---- */

struct diff *diff_free(struct diff *diff)
{
    if (!diff)
        return NULL;
    pool_deinit(&diff->pool);
    free(diff->entries);
    free(diff->findings);
    free(diff);
    return NULL;
}

int diff_new(const struct schema *old, const struct schema *new, const struct diff_options *options,
             struct diff **ret_diff)
{
    _cleanup_(diff_freep) struct diff *diff = calloc(1, sizeof(*diff));
    if (!diff)
        return -ENOMEM;
    diff->old = old;
    diff->new = new;
    if (options)
        diff->options = *options;
    int r = collect_accepts(diff);
    if (r < 0)
        return r;
    compare(diff);
    if (diff->error)
        return diff->error;
    *ret_diff = steal_ptr(&diff);
    return 0;
}

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

int diff_compare(const struct schema *old, const struct schema *new,
                 const struct diff_options *options, struct diff **ret_diff,
                 struct error_text *error)
{
    _cleanup_(diff_freep) struct diff *diff = NULL;
    int r = diff_new(old, new, options, &diff);
    if (r < 0)
        return error_set(error, r, "no memory to compare schemas");
    r = diff_finish(diff, error);
    if (r == 0)
        *ret_diff = steal_ptr(&diff);
    return r;
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
