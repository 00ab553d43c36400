/*
 * The alias header of an interface: NAME.parley.h, for a program that is written against names
 * without a version, and chooses the version by one define.
 *
 * protoc runs a plugin with the files that it is given, and a header that knew only the last of
 * them would change the default by accident. So the header is made only if asked for (parameter
 * `aliases`), of all versions in one run, and a version whose predecessor is not among the files is
 * refused unless the default is named as well.
 *
 * The number of a version is that of its package: catalog.v2 is 2. The default is the lowest, so
 * that a new version changes nothing in a program until somebody says so.
 */
#include "codegen/codegen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

typedef Google__Protobuf__Compiler__CodeGeneratorRequest Request;
typedef Google__Protobuf__FileDescriptorProto File;

#define FILE_NO_GENERATE 1 /* in ProtobufCFileOptions */
#define NUMBER_DIGIT_MAX 6

struct chooser_version {
    char *interface; /* "catalog" */
    char *version;   /* "2.0.0" */
    char *previous;  /* "catalog.v1"; "": none */
    char *package;   /* "catalog.v2" */
    char *root;      /* "catalog" */
    char *base;      /* "catalog_v2": its header is BASE.parley.h */
    unsigned number; /* 2 */
    struct aliases aliases;
};

/* ---- Collecting versions ---- */

/* "catalog.v2" -> 2, *ret_root "catalog"; 0 if the package does not end in a version. */
static unsigned split_package(const char *package, char **ret_root)
{
    const char *dot = strrchr(package, '.');
    const char *digits = dot && dot[1] == 'v' ? dot + 2 : "";
    size_t n = strspn(digits, "0123456789");
    if (n == 0 || n > NUMBER_DIGIT_MAX || digits[n] || digits[0] == '0')
        return 0;
    *ret_root = strndup(package, (size_t)(dot - package));
    return (unsigned)strtoul(digits, NULL, 10);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct alias *)a)->name, ((const struct alias *)b)->name);
}

/* An alias that is the true name of something else would hide it. */
static int check_hidden(const struct chooser_version *version, struct aliases *others,
                        const char *base, struct error_text *error)
{
    if (others->count > 0)
        qsort(others->list, others->count, sizeof(*others->list), compare_names);
    for (size_t i = 0; i < version->aliases.count; i++) {
        const struct alias *alias = &version->aliases.list[i];
        if (others->count > 0 &&
            bsearch(alias, others->list, others->count, sizeof(*others->list), compare_names))
            return error_set(error, -EINVAL,
                             "package %s: without its version, %s would be called %s, as something "
                             "of another package is that %s.proto has or imports: rename one of "
                             "them, or do without `aliases`",
                             version->package, alias->target, alias->name, base);
    }
    return 0;
}

/* The names of @file's package are aliased; those of other packages must not be hidden. */
static int collect(struct chooser_version *version, const Request *request, const File *file,
                   const struct emit *emit, struct error_text *error)
{
    _cleanup_(freep) bool *needed = calloc(request->n_proto_file + 1, sizeof(*needed));
    struct aliases others = {0};
    int r = needed ? 0 : -ENOMEM;
    if (r == 0)
        embed_mark(request, file, needed);
    for (size_t i = 0; i < request->n_proto_file && r == 0; i++) {
        const File *other = request->proto_file[i];
        if (!needed[i] ||
            (other->options && pb_c_flag(&other->options->base, FILE_NO_GENERATE) == 1))
            continue;
        if (other->package && strcmp(other->package, version->package) == 0)
            r = aliases_of_file(&version->aliases, other, version->root);
        else
            r = aliases_of_file(&others, other, NULL);
    }
    if (r == 0)
        r = aliases_of_stubs(&version->aliases, emit, file, version->root);
    if (r == 0)
        r = check_hidden(version, &others, version->base, error);
    aliases_deinit(&others);
    return r;
}

int chooser_add(struct chooser *chooser, const Request *request, const File *file,
                const struct emit *emit, struct error_text *error)
{
    const Parley__Interface *interface = emit->service->interface;
    const char *package = file->package ? file->package : "";
    struct chooser_version *list =
        realloc(chooser->versions, (chooser->count + 1) * sizeof(*chooser->versions));
    if (!list)
        return -ENOMEM;
    chooser->versions = list;
    struct chooser_version *version = &list[chooser->count++];
    *version = (struct chooser_version){
        .interface = strdup(interface->name),
        .version = strdup(interface->version),
        .previous = strdup(interface->previous ? interface->previous : ""),
        .package = strdup(package),
        .base = strdup(emit->base),
    };
    version->number = split_package(package, &version->root);
    if (version->number == 0)
        return error_set(error, -EINVAL,
                         "%s: package \"%s\" does not end in a version like \".v1\", so there are "
                         "no names without one: rename the package, or leave the file out of this "
                         "run, or do without `aliases`",
                         file->name, package);
    if (!version->interface || !version->version || !version->previous || !version->package ||
        !version->base || !version->root)
        return -ENOMEM;
    return collect(version, request, file, emit, error);
}

void chooser_deinit(struct chooser *chooser)
{
    for (size_t i = 0; i < chooser->count; i++) {
        struct chooser_version *version = &chooser->versions[i];
        free(version->interface);
        free(version->version);
        free(version->previous);
        free(version->package);
        free(version->root);
        free(version->base);
        aliases_deinit(&version->aliases);
    }
    free(chooser->versions);
}

/* ---- Whether they go together ---- */

static bool has_package(const struct chooser_version *versions, size_t count, const char *package)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(versions[i].package, package) == 0)
            return true;
    }
    return false;
}

/* A message V2 with one nested in it would have the alias of what is version 2's own name. */
static int check_targets(const struct chooser_version *version, const struct chooser_version *other,
                         struct error_text *error)
{
    struct aliases targets = {.list = calloc(other->aliases.count + 1, sizeof(struct alias))};
    if (!targets.list)
        return -ENOMEM;
    for (; targets.count < other->aliases.count; targets.count++) {
        const char *target = other->aliases.list[targets.count].target;
        targets.list[targets.count] =
            (struct alias){.name = strdup(target), .target = NULL, .element = NULL};
        targets.failed |= !targets.list[targets.count].name;
    }
    int r = targets.failed ? -ENOMEM : check_hidden(version, &targets, other->base, error);
    aliases_deinit(&targets);
    return r;
}

static int check_versions(const struct chooser_version *versions, size_t count, unsigned choice,
                          struct error_text *error)
{
    bool found = choice == 0;
    for (size_t i = 0; i < count; i++) {
        const struct chooser_version *version = &versions[i];
        found |= version->number == choice;
        if (strcmp(version->root, versions[0].root) != 0)
            return error_set(error, -EINVAL,
                             "interface %s: packages %s and %s have no name in common without "
                             "their versions: name them alike, or do without `aliases`",
                             version->interface, versions[0].package, version->package);
        if (i > 0 && version->number == versions[i - 1].number)
            return error_set(error, -EINVAL,
                             "interface %s: %s.proto and %s.proto are both version %u: give each "
                             "its own package",
                             version->interface, versions[i - 1].base, version->base,
                             version->number);
        if (choice == 0 && version->previous[0] && !has_package(versions, count, version->previous))
            return error_set(error, -EINVAL,
                             "interface %s: %s comes after %s, which is not among the files: give "
                             "protoc all versions in one run, or name the default, as in "
                             "--parley_opt=aliases,default=%u",
                             version->interface, version->package, version->previous,
                             version->number);
    }
    for (size_t i = 0; i < count * count; i++) {
        int r = i / count == i % count
                    ? 0
                    : check_targets(&versions[i / count], &versions[i % count], error);
        if (r < 0)
            return r;
    }
    if (!found)
        return error_set(error, -EINVAL,
                         "interface %s has no version %u to be the default: default= takes the "
                         "number of a package, %u for %s",
                         versions[0].interface, choice, versions[0].number, versions[0].package);
    return 0;
}

/* ---- Writing ---- */

/* "my-api" -> "MY_API_API". */
static void add_macro(struct text *text, const char *interface)
{
    for (const char *c = interface; *c; c++) {
        bool letter = *c >= 'a' && *c <= 'z', digit = *c >= '0' && *c <= '9';
        char upper = letter ? (char)(*c - 'a' + 'A') : digit ? *c : '_';
        text_add_bytes(text, &upper, 1);
    }
    text_add(text, "_API");
}

/* The folder that all of them are in, with its slash. */
static size_t folder_bytes(const struct chooser_version *versions, size_t count)
{
    const char *first = versions[0].base;
    size_t bytes = 0;
    for (size_t n = 0; first[n]; n++) {
        for (size_t i = 1; i < count; i++) {
            if (strncmp(first, versions[i].base, n + 1) != 0)
                return bytes;
        }
        bytes = first[n] == '/' ? n + 1 : bytes;
    }
    return bytes;
}

static void write_aliases(const struct aliases *aliases, const char *package, struct text *text)
{
    const char *element = "";
    for (size_t i = 0; i < aliases->count; i++) {
        const struct alias *alias = &aliases->list[i];
        if (strcmp(alias->element, element) != 0)
            text_add(text, "\n/* %s.%s */\n", package, alias->element);
        element = alias->element;
        text_add(text, "#define %s %s\n", alias->name, alias->target);
    }
}

static void write_top(const struct chooser_version *versions, size_t count, const char *base,
                      const char *macro, unsigned choice, struct text *text)
{
    const char *interface = versions[0].interface;
    text_add(text, "/* Generated by protoc-gen-parley from");
    for (size_t i = 0; i < count; i++)
        text_add(text, "%s %s.proto", i > 0 ? "," : "", versions[i].base);
    text_add(text, ". Do not edit. */\n#ifndef ");
    emit_guard(base, text);
    text_add(text, "\n#define ");
    emit_guard(base, text);
    text_add(text, "\n\n/* Interface \"%s\" by names without a version. %s says which they mean:\n",
             interface, macro);
    for (size_t i = 0; i < count; i++)
        text_add(text, " *   %u: %s, version %s%s\n", versions[i].number, versions[i].package,
                 versions[i].version, versions[i].number == choice ? " (if nothing is said)" : "");
    text_add(text,
             " * Other translation units of a program may choose otherwise, and the names with a\n"
             " * version are there as well. */\n"
             "#ifndef %s\n#define %s %u\n#endif\n",
             macro, macro, choice);
}

static void write_chooser(const struct chooser_version *versions, size_t count, const char *base,
                          unsigned choice, struct text *text)
{
    struct text macro = {0};
    add_macro(&macro, versions[0].interface);
    if (macro.failed) {
        text->failed = true;
        return;
    }
    write_top(versions, count, base, macro.data, choice, text);
    /* "+ 0": a define without a value, or with a word, comes out as unknown. */
    for (size_t i = 0; i < count; i++) {
        text_add(text, "\n#%s %s + 0 == %u\n\n#include \"%s.parley.h\"\n", i == 0 ? "if" : "elif",
                 macro.data, versions[i].number, versions[i].base);
        write_aliases(&versions[i].aliases, versions[i].package, text);
    }
    text_add(text,
             "\n#else\n#error \"%s is no version of interface %s that is known here: ", macro.data,
             versions[0].interface);
    for (size_t i = 0; i < count; i++)
        text_add(text, "%s%u (%s)", i > 0 ? ", " : "", versions[i].number, versions[i].version);
    text_add(text, "\"\n#endif\n\n#endif\n");
    free(macro.data);
}

static int compare_versions(const void *a, const void *b)
{
    const struct chooser_version *x = a, *y = b;
    int order = strcmp(x->interface, y->interface);
    return order ? order : (x->number > y->number) - (x->number < y->number);
}

/* @base: the header's name without ".parley.h", which no file of the run may have as well. */
static int check_base(const Request *request, const char *base, const char *interface,
                      struct error_text *error)
{
    size_t n = strlen(base);
    for (size_t i = 0; i < request->n_proto_file; i++) {
        const char *name = request->proto_file[i]->name;
        if (strncmp(name, base, n) == 0 && strcmp(name + n, ".proto") == 0)
            return error_set(error, -EINVAL,
                             "%s: its header and the one that aliases all versions of interface %s "
                             "would both be %s.parley.h: rename the file, to %s_v1.proto for "
                             "version 1",
                             name, interface, base, base);
    }
    return 0;
}

int chooser_write(struct chooser *chooser, const Request *request, unsigned choice,
                  chooser_output *output, void *data, struct error_text *error)
{
    if (chooser->count == 0)
        return error_set(error, -EINVAL,
                         "`aliases` was asked for, but no file of this run has a service");
    qsort(chooser->versions, chooser->count, sizeof(*chooser->versions), compare_versions);
    size_t count;
    for (size_t i = 0; i < chooser->count; i += count) {
        const struct chooser_version *first = &chooser->versions[i];
        for (count = 1; i + count < chooser->count; count++) {
            if (strcmp(first[count].interface, first->interface) != 0)
                break;
        }
        int r = check_versions(first, count, choice, error);
        if (r < 0)
            return r;
        struct text base = {0}, content = {0};
        text_add_bytes(&base, first->base, folder_bytes(first, count));
        text_add(&base, "%s", first->interface);
        _cleanup_(freep) char *path = text_take(&base);
        r = path ? check_base(request, path, first->interface, error) : -ENOMEM;
        if (r < 0)
            return r;
        write_chooser(first, count, path, choice ? choice : first->number, &content);
        r = output(data, path, "h", &content);
        if (r < 0)
            return r;
    }
    return 0;
}
