/*
 * The C names of what a file declares, each with the name that it has without the version.
 *
 * What protoc-gen-c 1.4 writes into a header was found out by giving it everything that a .proto
 * can have (tests/golden/codegen/shop_v1.proto holds it), and is repeated here name by name, so that
 * no alias is there for what is not: not for pack helpers of nested messages, which only an option
 * brings, nor for the case of a oneof that `optional` stands for. A test compares the targets with
 * all that the headers declare.
 *
 * An alias is an object-like macro. The preprocessor replaces whole identifiers, so it does not
 * matter that Catalog__Package begins Catalog__Package__Kind; and it looks again at what it has put
 * in, so that an alias of a macro (CATALOG__PACKAGE__INIT) is a macro, with arguments if that has
 * some.
 */
#include "codegen/codegen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

typedef Google__Protobuf__FileDescriptorProto File;
typedef Google__Protobuf__DescriptorProto Message;
typedef Google__Protobuf__FieldDescriptorProto Field;
typedef Google__Protobuf__EnumDescriptorProto Enum;
typedef Google__Protobuf__ServiceDescriptorProto Service;

/* Numbers in protobuf-c's options. */
#define FILE_PACK_HELPERS 2
#define FILE_INIT_HELPERS 3
#define MESSAGE_PACK_HELPERS 1
#define MESSAGE_INIT_HELPERS 2
#define FIELD_STRING_AS_BYTES 1

typedef void spelling(struct text *text, const char *package, const char *local);

/* What a walk through a file takes along. */
struct walk {
    struct aliases *aliases;
    const char *from; /* package in C, "catalog.v1" */
    const char *to;   /* the same in aliases, "catalog" */
};

static void add_alias(struct walk *walk, const char *element, spelling *spell, const char *local,
                      const char *suffix)
{
    struct aliases *aliases = walk->aliases;
    if (aliases->count == aliases->room) {
        size_t room = 2 * aliases->room + 64;
        struct alias *list = realloc(aliases->list, room * sizeof(*list));
        if (!list) {
            aliases->failed = true;
            return;
        }
        aliases->list = list;
        aliases->room = room;
    }
    struct text name = {0}, target = {0}, of = {0};
    spell(&name, walk->to, local);
    text_add(&name, "%s", suffix);
    spell(&target, walk->from, local);
    text_add(&target, "%s", suffix);
    text_add(&of, "%s", element);
    aliases->failed |= name.failed || target.failed || of.failed;
    aliases->list[aliases->count++] =
        (struct alias){.name = name.data, .target = target.data, .element = of.data};
}

/* @first, a separator and @second as a new string; never NULL. */
static char *joined(const char *first, const char *separator, const char *second)
{
    struct text text = {0};
    text_add(&text, "%s%s%s", first, separator, second);
    return text_take(&text);
}

static void walk_enum(struct walk *walk, const Enum *type, const char *outer)
{
    _cleanup_(freep) char *local = joined(outer, outer[0] ? "." : "", type->name);
    if (!local) {
        walk->aliases->failed = true;
        return;
    }
    add_alias(walk, local, names_full_type, local, "");
    add_alias(walk, local, names_full_lower, local, "__descriptor");
    for (size_t i = 0; i < type->n_value; i++) {
        _cleanup_(freep) char *suffix = joined("__", "", type->value[i]->name);
        if (suffix)
            add_alias(walk, local, names_full_upper, local, suffix);
        walk->aliases->failed |= !suffix;
    }
}

/* The enum that says which member of a oneof is there. `optional` is a oneof without one. */
static void walk_oneof(struct walk *walk, const Message *message, const char *local, size_t index)
{
    _cleanup_(freep) char *path = joined(local, ".", message->oneof_decl[index]->name);
    struct text members = {0};
    for (size_t i = 0; path && i < message->n_field; i++) {
        const Field *field = message->field[i];
        if (!field->has_oneof_index || (size_t)field->oneof_index != index)
            continue;
        if (field->proto3_optional)
            return;
        if (!members.data) {
            add_alias(walk, local, names_full_type, path, "Case");
            add_alias(walk, local, names_full_upper, path, "__NOT_SET");
        }
        members.bytes = 0;
        text_add(&members, "_");
        names_upper(&members, field->name);
        if (!members.failed)
            add_alias(walk, local, names_full_upper, path, members.data);
    }
    walk->aliases->failed |= !path || members.failed;
    free(members.data);
}

static void walk_default(struct walk *walk, const Field *field, const char *local)
{
    bool bytes = field->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_BYTES;
    bool string = field->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_STRING;
    if (!field->default_value || (!bytes && !string))
        return;
    if (string && field->options)
        bytes = pb_c_flag(&field->options->base, FIELD_STRING_AS_BYTES) == 1;
    _cleanup_(freep) char *path = joined(local, ".", field->name);
    if (path)
        add_alias(walk, local, names_full_lower, path,
                  bytes ? "__default_value_data" : "__default_value");
    walk->aliases->failed |= !path;
}

/* @pack, @init: what options of the file or of outer messages say of helpers, -1: nothing. */
static void walk_message(struct walk *walk, const Message *message, const char *outer, int pack,
                         int init)
{
    static const char *const pack_helpers[] = {"__get_packed_size", "__pack", "__pack_to_buffer",
                                               "__unpack", "__free_unpacked"};
    _cleanup_(freep) char *local = joined(outer, outer[0] ? "." : "", message->name);
    if (!local) {
        walk->aliases->failed = true;
        return;
    }
    const ProtobufCMessage *options = message->options ? &message->options->base : NULL;
    int own_pack = pb_c_flag(options, MESSAGE_PACK_HELPERS);
    int own_init = pb_c_flag(options, MESSAGE_INIT_HELPERS);
    pack = own_pack >= 0 ? own_pack : pack;
    init = own_init >= 0 ? own_init : init;
    add_alias(walk, local, names_full_type, local, "");
    add_alias(walk, local, names_full_type, local, "_Closure");
    add_alias(walk, local, names_full_upper, local, "__INIT");
    add_alias(walk, local, names_full_lower, local, "__descriptor");
    if (init != 0)
        add_alias(walk, local, names_full_lower, local, "__init");
    bool packs = pack >= 0 ? pack == 1 : outer[0] == '\0'; /* undecided: if not nested */
    for (size_t i = 0; packs && i < sizeof(pack_helpers) / sizeof(*pack_helpers); i++)
        add_alias(walk, local, names_full_lower, local, pack_helpers[i]);
    for (size_t i = 0; i < message->n_field; i++)
        walk_default(walk, message->field[i], local);
    for (size_t i = 0; i < message->n_oneof_decl; i++)
        walk_oneof(walk, message, local, i);
    for (size_t i = 0; i < message->n_enum_type; i++)
        walk_enum(walk, message->enum_type[i], local);
    for (size_t i = 0; i < message->n_nested_type; i++)
        walk_message(walk, message->nested_type[i], local, pack, init);
}

static void walk_service(struct walk *walk, const Service *service)
{
    const char *local = service->name;
    add_alias(walk, local, names_full_type, local, "_Service");
    add_alias(walk, local, names_full_type, local, "_ServiceDestroy");
    add_alias(walk, local, names_full_upper, local, "__BASE_INIT");
    add_alias(walk, local, names_full_upper, local, "__INIT");
    add_alias(walk, local, names_full_lower, local, "__descriptor");
    add_alias(walk, local, names_full_lower, local, "__init");
    for (size_t i = 0; i < service->n_method; i++) {
        _cleanup_(freep) char *path = joined(local, ".", service->method[i]->name);
        if (path)
            add_alias(walk, local, names_full_lower, path, "");
        walk->aliases->failed |= !path;
    }
}

int aliases_of_file(struct aliases *aliases, const File *file, const char *to)
{
    char buffer[SCHEMA_NAME_BYTES_MAX + 1];
    struct walk walk = {
        .aliases = aliases, .from = names_c_package(file, buffer, sizeof(buffer)), .to = to};
    if (!to)
        walk.to = walk.from;
    const ProtobufCMessage *options = file->options ? &file->options->base : NULL;
    for (size_t i = 0; i < file->n_enum_type; i++)
        walk_enum(&walk, file->enum_type[i], "");
    for (size_t i = 0; i < file->n_message_type; i++)
        walk_message(&walk, file->message_type[i], "", pb_c_flag(options, FILE_PACK_HELPERS),
                     pb_c_flag(options, FILE_INIT_HELPERS));
    for (size_t i = 0; i < file->n_service; i++)
        walk_service(&walk, file->service[i]);
    return aliases->failed ? -ENOMEM : 0;
}

int aliases_of_stubs(struct aliases *aliases, const struct emit *emit, const File *file,
                     const char *to)
{
    char buffer[SCHEMA_NAME_BYTES_MAX + 1];
    const char *local = file->service[0]->name;
    struct walk walk = {
        .aliases = aliases, .from = names_c_package(file, buffer, sizeof(buffer)), .to = to};
    add_alias(&walk, local, names_full_lower, local, "__interface");
    for (size_t i = 0; i < emit->service->method_count; i++) {
        _cleanup_(freep) char *path = joined(local, ".", emit->service->methods[i].name);
        if (path)
            add_alias(&walk, local, names_full_lower, path, "_call");
        if (path && emit->methods[i].has_send)
            add_alias(&walk, local, names_full_lower, path, "_send");
        aliases->failed |= !path;
    }
    if (emit->has_connect)
        add_alias(&walk, local, names_full_lower, local, "__connect");
    if (emit->has_serve)
        add_alias(&walk, local, names_full_lower, local, "__serve");
    return aliases->failed ? -ENOMEM : 0;
}

void aliases_deinit(struct aliases *aliases)
{
    for (size_t i = 0; i < aliases->count; i++) {
        free(aliases->list[i].name);
        free(aliases->list[i].target);
        free(aliases->list[i].element);
    }
    free(aliases->list);
}
