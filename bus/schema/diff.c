/*
 * The diff: which elements of two sets meet.
 *
 * Elements meet by full name, wherever in a package's files they are; only files meet by path. What
 * one set has alone is added, which never breaks anything, or deleted. A package that went because
 * a newer version names it as its `previous` was not deleted: it is bridged, and that is not
 * decided here.
 *
 * Both sets may be a peer's. Nothing here is worse than n log n in what they hold, apart from
 * loops over files, of which there are few.
 */
#include "schema/diff_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

DEFINE_CLEANUP(struct diff *, diff_free);

typedef Google__Protobuf__FileDescriptorProto file_proto;

/* The number of FileDescriptorProto's package. */
#define FILE_PACKAGE 2

static bool equal(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
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
    int r = diff_collect_accepts(diff);
    if (r < 0)
        return r;
    compare(diff);
    if (diff->error)
        return diff->error;
    *ret_diff = steal_ptr(&diff);
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
