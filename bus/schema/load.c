/*
 * The first pass over a descriptor set: what is declared, and by what full name.
 *
 * Counts first, so that every limit is checked before anything is allocated for it and each kind
 * of element gets one array; then names every message, enum and service in the order of their
 * declaration, nested ones behind the one that holds them; then sorts the names into a symbol
 * table, where a name that was declared twice meets itself.
 *
 * Imports are not required to be in the set: what counts is that every type is there that the
 * interface uses. (An import for options alone, parley/options.proto, is then no reason to refuse.)
 *
 * Recursion over nested messages ends because wire_unpack() has bounded the depth of the set.
 */
#include "schema/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct counts {
    size_t messages, enums, services;
};

static void count_message(const Google__Protobuf__DescriptorProto *proto, struct counts *counts)
{
    counts->messages++;
    counts->enums += proto->n_enum_type;
    for (size_t i = 0; i < proto->n_nested_type; i++)
        count_message(proto->nested_type[i], counts);
}

static struct counts count_set(const Google__Protobuf__FileDescriptorSet *set)
{
    struct counts counts = {0};
    for (size_t i = 0; i < set->n_file; i++) {
        const Google__Protobuf__FileDescriptorProto *file = set->file[i];
        counts.enums += file->n_enum_type;
        counts.services += file->n_service;
        for (size_t k = 0; k < file->n_message_type; k++)
            count_message(file->message_type[k], &counts);
    }
    return counts;
}

static int check_counts(const struct load *load, size_t files, const struct counts *counts)
{
    if (files > SCHEMA_FILE_MAX)
        return error_set(load->error, -E2BIG, "the descriptor set has %zu files; at most %d may be",
                         files, SCHEMA_FILE_MAX);
    if (counts->messages > SCHEMA_MESSAGE_MAX)
        return error_set(load->error, -E2BIG,
                         "the descriptor set has %zu messages; at most %d may be", counts->messages,
                         SCHEMA_MESSAGE_MAX);
    if (counts->enums > SCHEMA_ENUM_MAX)
        return error_set(load->error, -E2BIG, "the descriptor set has %zu enums; at most %d may be",
                         counts->enums, SCHEMA_ENUM_MAX);
    if (counts->services > SCHEMA_SERVICE_MAX)
        return error_set(load->error, -E2BIG,
                         "the descriptor set has %zu services; at most %d may be", counts->services,
                         SCHEMA_SERVICE_MAX);
    return 0;
}

static int load_alloc(struct load *load, const struct counts *counts)
{
    struct schema *schema = load->schema;
    struct pool *pool = &schema->pool;
    size_t symbols = counts->messages + counts->enums + counts->services;
    schema->messages = pool_array(pool, counts->messages, sizeof(*schema->messages));
    schema->message_list = pool_array(pool, counts->messages, sizeof(struct schema_message *));
    schema->enums = pool_array(pool, counts->enums, sizeof(*schema->enums));
    schema->services = pool_array(pool, counts->services, sizeof(*schema->services));
    schema->service_list = pool_array(pool, counts->services, sizeof(struct schema_service *));
    schema->symbols = pool_array(pool, symbols, sizeof(*schema->symbols));
    load->messages = pool_array(pool, counts->messages, sizeof(*load->messages));
    load->enums = pool_array(pool, counts->enums, sizeof(*load->enums));
    load->services = pool_array(pool, counts->services, sizeof(*load->services));
    if (!schema->messages || !schema->message_list || !schema->enums || !schema->services ||
        !schema->service_list || !schema->symbols || !load->messages || !load->enums ||
        !load->services)
        return -ENOMEM;
    return 0;
}

/* Makes the full name of an element and enters it into the symbol table, not yet sorted. */
static int declare_symbol(struct load *load, const Google__Protobuf__FileDescriptorProto *file,
                          const char *scope, const char *name, enum symbol_kind kind, size_t index,
                          const char **ret_full)
{
    static const char *const kinds[] = {"message", "enum", "service"};
    struct schema *schema = load->schema;
    if (!name || !name_is_identifier(name))
        return error_set(load->error, -EINVAL, "%s: \"%s\" in \"%s\" is no name for a%s %s",
                         file->name, PRINTABLE(name), PRINTABLE(scope),
                         kind == SYMBOL_ENUM ? "n" : "", kinds[kind]);
    if (strlen(scope) + 1 + strlen(name) > SCHEMA_NAME_BYTES_MAX + (scope[0] ? 0u : 1u))
        return error_set(load->error, -E2BIG, "%s: the full name of %s %s is longer than %d bytes",
                         file->name, kinds[kind], PRINTABLE(name), SCHEMA_NAME_BYTES_MAX);
    char *full = pool_join(&schema->pool, scope, name);
    if (!full)
        return -ENOMEM;
    schema->symbols[schema->symbol_count++] = (struct symbol){full, kind, (uint32_t)index};
    *ret_full = full;
    return 0;
}

/* The part of @full behind the package of @file. */
static const char *local_name(const Google__Protobuf__FileDescriptorProto *file, const char *full)
{
    return file->package && file->package[0] ? full + strlen(file->package) + 1 : full;
}

static const char *package_name(const Google__Protobuf__FileDescriptorProto *file)
{
    return file->package ? file->package : "";
}

static int declare_enum(struct load *load, const Google__Protobuf__FileDescriptorProto *file,
                        const char *scope, const Google__Protobuf__EnumDescriptorProto *proto)
{
    struct schema *schema = load->schema;
    size_t index = schema->enum_count;
    const char *full;
    int r = declare_symbol(load, file, scope, proto->name, SYMBOL_ENUM, index, &full);
    if (r < 0)
        return r;
    schema->enum_count++;
    load->enums[index] = (struct enum_source){proto, file};
    schema->enums[index] = (struct schema_enum){
        .name = full, .local = local_name(file, full), .package = package_name(file)};
    return 0;
}

static int declare_message(struct load *load, const Google__Protobuf__FileDescriptorProto *file,
                           const char *scope, const Google__Protobuf__DescriptorProto *proto)
{
    struct schema *schema = load->schema;
    size_t index = schema->message_count;
    const char *full;
    int r = declare_symbol(load, file, scope, proto->name, SYMBOL_MESSAGE, index, &full);
    if (r < 0)
        return r;
    schema->message_count++;
    load->messages[index] = (struct message_source){proto, file};
    schema->messages[index] = (struct schema_message){
        .name = full,
        .local = local_name(file, full),
        .package = package_name(file),
        .index = (uint32_t)index,
        .map_entry = proto->options && proto->options->map_entry,
    };
    schema->message_list[index] = &schema->messages[index];
    for (size_t i = 0; r == 0 && i < proto->n_nested_type; i++)
        r = declare_message(load, file, full, proto->nested_type[i]);
    for (size_t i = 0; r == 0 && i < proto->n_enum_type; i++)
        r = declare_enum(load, file, full, proto->enum_type[i]);
    return r;
}

static int declare_service(struct load *load, const Google__Protobuf__FileDescriptorProto *file,
                           const Google__Protobuf__ServiceDescriptorProto *proto)
{
    struct schema *schema = load->schema;
    size_t index = schema->service_count;
    const char *full;
    int r =
        declare_symbol(load, file, package_name(file), proto->name, SYMBOL_SERVICE, index, &full);
    if (r < 0)
        return r;
    schema->service_count++;
    load->services[index] = (struct service_source){proto, file};
    schema->services[index] = (struct schema_service){.name = full, .package = package_name(file)};
    schema->service_list[index] = &schema->services[index];
    return 0;
}

static int check_file(const struct load *load, const Google__Protobuf__FileDescriptorProto *file,
                      size_t index)
{
    if (!file->name || !file->name[0] || strlen(file->name) > SCHEMA_NAME_BYTES_MAX)
        return error_set(load->error, -EINVAL,
                         "file %zu of the descriptor set has no name, or one longer than %d bytes",
                         index + 1, SCHEMA_NAME_BYTES_MAX);
    for (const char *c = file->name; *c; c++) {
        if (*c < 0x20 || *c == 0x7f)
            return error_set(load->error, -EINVAL, "the file name \"%s\" is not printable ASCII",
                             PRINTABLE(file->name));
    }
    if (file->package && file->package[0] && !name_is_package(file->package))
        return error_set(load->error, -EINVAL, "%s: \"%s\" is no name for a package", file->name,
                         PRINTABLE(file->package));
    if (file->syntax && strcmp(file->syntax, "proto2") != 0 && strcmp(file->syntax, "proto3") != 0)
        return error_set(load->error, -EINVAL,
                         "%s: syntax \"%s\" is not supported; proto2 and proto3 are", file->name,
                         PRINTABLE(file->syntax));
    return 0;
}

static int declare_file(struct load *load, const Google__Protobuf__FileDescriptorProto *file,
                        size_t index)
{
    int r = check_file(load, file, index);
    for (size_t i = 0; r == 0 && i < file->n_message_type; i++)
        r = declare_message(load, file, package_name(file), file->message_type[i]);
    for (size_t i = 0; r == 0 && i < file->n_enum_type; i++)
        r = declare_enum(load, file, package_name(file), file->enum_type[i]);
    for (size_t i = 0; r == 0 && i < file->n_service; i++)
        r = declare_service(load, file, file->service[i]);
    return r;
}

static int check_file_names(const struct load *load, const Google__Protobuf__FileDescriptorSet *set)
{
    for (size_t i = 0; i < set->n_file; i++) { /* at most SCHEMA_FILE_MAX */
        for (size_t k = 0; k < i; k++) {
            if (strcmp(set->file[i]->name, set->file[k]->name) == 0)
                return error_set(load->error, -EINVAL, "%s is in the descriptor set twice",
                                 set->file[i]->name);
        }
    }
    return 0;
}

static int compare_symbols(const void *a, const void *b)
{
    return strcmp(((const struct symbol *)a)->name, ((const struct symbol *)b)->name);
}

static int sort_symbols(const struct load *load)
{
    struct symbol *symbols = load->schema->symbols;
    size_t count = load->schema->symbol_count;
    qsort(symbols, count, sizeof(*symbols), compare_symbols);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(symbols[i - 1].name, symbols[i].name) == 0)
            return error_set(load->error, -EINVAL, "%s is declared twice in the descriptor set",
                             symbols[i].name);
    }
    return 0;
}

int load_declare(struct load *load)
{
    const Google__Protobuf__FileDescriptorSet *set = load->schema->files;
    struct counts counts = count_set(set);
    int r = check_counts(load, set->n_file, &counts);
    if (r == 0)
        r = load_alloc(load, &counts);
    for (size_t i = 0; r == 0 && i < set->n_file; i++)
        r = declare_file(load, set->file[i], i);
    if (r == 0)
        r = check_file_names(load, set);
    if (r == 0)
        r = sort_symbols(load);
    return r;
}

const struct symbol *symbol_find(const struct schema *schema, const char *name)
{
    struct symbol key = {.name = name};
    return bsearch(&key, schema->symbols, schema->symbol_count, sizeof(key), compare_symbols);
}
