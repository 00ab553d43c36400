/*
 * The files of a version between two (between.c says what that is), and those of the newer one.
 *
 * Works on descriptors as protobuf-c has them: copies, in which pointers are set to memory of our
 * own, packed and read again as any schema is. What runs out of memory sets maker->failed, and is
 * looked at once, at the end.
 */
#include "translate/between_inner.h"

#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define OPTION_NUMBER 51030 /* of all extensions in parley/options.proto */
#define TYPE(name) GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_##name
#define LABEL(name) GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_##name

struct piece {
    struct piece *next;
    alignas(max_align_t) char data[];
};

static void *take(struct maker *maker, size_t bytes)
{
    static alignas(max_align_t) char nowhere[4096]; /* zero, and never read */
    struct piece *piece = calloc(1, sizeof(*piece) + bytes);
    if (!piece) {
        maker->failed = true;
        return bytes <= sizeof(nowhere) ? nowhere : NULL;
    }
    piece->next = maker->pieces;
    maker->pieces = piece;
    return piece->data;
}

static char *join(struct maker *maker, const char *a, const char *b, const char *c)
{
    size_t bytes = strlen(a) + strlen(b) + strlen(c) + 1;
    char *text = take(maker, bytes);
    if (text && !maker->failed)
        (void)snprintf(text, bytes, "%s%s%s", a, b, c);
    return text;
}

/* @list with one more element; it has @count. */
static void *append(struct maker *maker, void *list, size_t count, void *element)
{
    void **longer = take(maker, (count + 1) * sizeof(void *));
    if (maker->failed)
        return list;
    if (count > 0)
        memcpy(longer, list, count * sizeof(void *));
    longer[count] = element;
    return longer;
}

/* ---- Options ---- */

void between_set_option(struct maker *maker, ProtobufCMessage *options,
                        const ProtobufCMessage *rule)
{
    size_t kept = 0, bytes = rule ? protobuf_c_message_get_packed_size(rule) : 0;
    ProtobufCMessageUnknownField *fields =
        take(maker, (options->n_unknown_fields + 1) * sizeof(*fields));
    uint8_t *data = take(maker, bytes + 10);
    if (maker->failed)
        return;
    for (unsigned i = 0; i < options->n_unknown_fields; i++)
        if (options->unknown_fields[i].tag != OPTION_NUMBER)
            fields[kept++] = options->unknown_fields[i];
    if (rule) {
        uint8_t *end = wire_write_varint(data, bytes);
        end += protobuf_c_message_pack(rule, end);
        fields[kept++] = (ProtobufCMessageUnknownField){
            OPTION_NUMBER, PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, (size_t)(end - data), data};
    }
    options->unknown_fields = fields;
    options->n_unknown_fields = (unsigned)kept;
}

void between_set_rule(struct maker *maker, Field *field, const Parley__FieldRule *rule)
{
    if (!field->options) {
        field->options = take(maker, sizeof(*field->options));
        if (maker->failed)
            return;
        google__protobuf__field_options__init(field->options);
    }
    between_set_option(maker, &field->options->base, &rule->base);
}

static void strip_enum(struct maker *maker, Enum *enumeration)
{
    if (enumeration->options)
        between_set_option(maker, &enumeration->options->base, NULL);
    for (size_t i = 0; i < enumeration->n_value; i++)
        if (enumeration->value[i]->options)
            between_set_option(maker, &enumeration->value[i]->options->base, NULL);
}

static void strip_message(struct maker *maker, Message *message)
{
    if (message->options)
        between_set_option(maker, &message->options->base, NULL);
    for (size_t i = 0; i < message->n_field; i++)
        if (message->field[i]->options)
            between_set_option(maker, &message->field[i]->options->base, NULL);
    for (size_t i = 0; i < message->n_enum_type; i++)
        strip_enum(maker, message->enum_type[i]);
    for (size_t i = 0; i < message->n_nested_type; i++)
        strip_message(maker, message->nested_type[i]);
}

static void strip_file(struct maker *maker, File *file)
{
    if (file->options)
        between_set_option(maker, &file->options->base, NULL);
    for (size_t i = 0; i < file->n_message_type; i++)
        strip_message(maker, file->message_type[i]);
    for (size_t i = 0; i < file->n_enum_type; i++)
        strip_enum(maker, file->enum_type[i]);
    for (size_t i = 0; i < file->n_service; i++)
        for (size_t j = 0; j < file->service[i]->n_method; j++)
            if (file->service[i]->method[j]->options)
                between_set_option(maker, &file->service[i]->method[j]->options->base, NULL);
}

/* ---- Names ---- */

/* The name of a type of the older version in the one between; others are what they are. */
static char *between_name(struct maker *maker, char *name)
{
    if (!name || name[0] != '.')
        return name;
    const struct schema_message *message = schema_message_find(maker->older, name + 1);
    const struct schema_enum *enumeration = schema_enum_find(maker->older, name + 1);
    const char *package = message ? message->package : enumeration ? enumeration->package : "";
    if (strcmp(package, schema_service(maker->older)->package) != 0)
        return name;
    char *prefix = join(maker, ".", maker->package, ".");
    return maker->failed ? name
                         : join(maker, prefix, message ? message->local : enumeration->local, "");
}

static void rename_types(struct maker *maker, Message *message)
{
    for (size_t i = 0; i < message->n_field; i++)
        message->field[i]->type_name = between_name(maker, message->field[i]->type_name);
    for (size_t i = 0; i < message->n_nested_type; i++)
        rename_types(maker, message->nested_type[i]);
}

static void rename_file(struct maker *maker, File *file)
{
    for (size_t i = 0; i < file->n_message_type; i++)
        rename_types(maker, file->message_type[i]);
    for (size_t i = 0; i < file->n_service; i++)
        for (size_t j = 0; j < file->service[i]->n_method; j++) {
            Google__Protobuf__MethodDescriptorProto *method = file->service[i]->method[j];
            method->input_type = between_name(maker, method->input_type);
            method->output_type = between_name(maker, method->output_type);
        }
}

static void set_interface(struct maker *maker, Files *files, const struct schema *schema,
                          const char *previous)
{
    const struct schema_service *service = schema_service(schema);
    Parley__Interface interface = *service->interface;
    interface.previous = (char *)(uintptr_t)previous;
    for (size_t i = 0; i < files->n_file; i++) {
        File *file = files->file[i];
        if (strcmp(file->name, service->file->name) == 0 && file->options)
            between_set_option(maker, &file->options->base, &interface.base);
    }
}

/* ---- Finding what to change ---- */

static File *find_file(Files *files, const char *name)
{
    for (size_t i = 0; i < files->n_file; i++)
        if (strcmp(files->file[i]->name, name) == 0)
            return files->file[i];
    return NULL;
}

/* The copy of a message: that is in the file of the same name, under the same local name. */
static Message *find_message(Files *files, const struct schema_message *message)
{
    File *file = find_file(files, message->file->name);
    size_t count = file ? file->n_message_type : 0;
    Message **list = file ? file->message_type : NULL;
    for (const char *local = message->local;;) {
        size_t bytes = strcspn(local, "."), i = 0;
        while (i < count &&
               (strncmp(list[i]->name, local, bytes) != 0 || list[i]->name[bytes] != '\0'))
            i++;
        if (i == count)
            return NULL;
        if (local[bytes] == '\0')
            return list[i];
        local += bytes + 1;
        count = list[i]->n_nested_type;
        list = list[i]->nested_type;
    }
}

Field *between_find_field(Files *files, const struct schema_message *message,
                          const struct schema_field *field)
{
    Message *copy = find_message(files, message);
    for (size_t i = 0; copy && i < copy->n_field; i++)
        if (strcmp(copy->field[i]->name, field->name) == 0)
            return copy->field[i];
    return NULL;
}

const struct schema_message *between_find_older(const struct maker *maker,
                                                const struct schema_message *newer)
{
    char full[2 * SCHEMA_NAME_BYTES_MAX + 2];
    const char *name = newer->rule && newer->rule->from ? newer->rule->from : newer->local;
    const char *package = schema_service(maker->older)->package;
    (void)snprintf(full, sizeof(full), "%s%s%s", package, *package ? "." : "", name);
    const struct schema_message *older = schema_message_find(maker->older, full);
    return older && strcmp(older->package, package) == 0 ? older : NULL;
}

/* ---- Types ---- */

/* An enum of the newer version, with its rules or without, in a file of its own: whether it is
 * closed depends on the file's syntax. Returns its name, for type_name. */
static char *add_enum(struct maker *maker, Files *files, const struct schema_enum *enumeration,
                      const char *package, bool with_rules)
{
    char number[16];
    (void)snprintf(number, sizeof(number), "%u", maker->enums++);
    File *file = take(maker, sizeof(*file));
    Enum *copy = take(maker, sizeof(*copy));
    Google__Protobuf__EnumValueDescriptorProto **values =
        take(maker, (enumeration->proto->n_value + 1) * sizeof(void *));
    char *name = join(maker, "Parley_", number, with_rules ? "_before" : "_after");
    if (maker->failed)
        return name;
    google__protobuf__file_descriptor_proto__init(file);
    *copy = *enumeration->proto;
    copy->name = name;
    copy->value = values;
    for (size_t i = 0; i < copy->n_value; i++) {
        values[i] = take(maker, sizeof(*values[i]));
        if (maker->failed)
            return name;
        *values[i] = *enumeration->proto->value[i];
        if (!with_rules)
            values[i]->options = NULL;
    }
    if (!with_rules && copy->options) {
        Google__Protobuf__EnumOptions *options = take(maker, sizeof(*options));
        if (maker->failed)
            return name;
        *options = *copy->options;
        copy->options = options;
        between_set_option(maker, &options->base, NULL);
    }
    file->name = join(maker, "parley/between/", name, ".proto");
    file->package = (char *)(uintptr_t)package;
    file->syntax = enumeration->file->syntax;
    file->enum_type = append(maker, NULL, 0, copy);
    file->n_enum_type = 1;
    files->file = append(maker, files->file, files->n_file, file);
    files->n_file += !maker->failed;
    char *prefix = join(maker, ".", package, ".");
    return maker->failed ? name : join(maker, prefix, name, "");
}

/* The file that declares a message of another package that both have, or the newer one alone. */
static void need_file(struct maker *maker, const struct schema_message *message)
{
    if (schema_message_find(maker->older, message->name) ||
        find_file(maker->before, message->file->name))
        return;
    maker->before->file =
        append(maker, maker->before->file, maker->before->n_file, (void *)(uintptr_t)message->file);
    maker->before->n_file += !maker->failed;
}

int between_error(const struct maker *maker, const struct pair *pair, const char *what)
{
    return error_set(maker->error, -EINVAL, "%s.%s: (parley.field).%s: %s",
                     pair->newer_message->name, pair->newer->name,
                     pair->newer->rule && pair->newer->rule->has_multiply ? "multiply" : "convert",
                     what);
}

int between_set_newer_type(struct maker *maker, const struct pair *pair, Field *field)
{
    const struct schema_field *to = pair->to;
    field->type = to->type;
    field->type_name = NULL;
    field->default_value = NULL;
    if (field->options)
        field->options->has_packed = false;
    if (pair->newer->rule && pair->newer->rule->split) {
        field->type = TYPE(STRING);
        return 0;
    }
    if (to->message) {
        if (strcmp(to->message->package, schema_service(maker->newer)->package) == 0)
            return between_error(maker, pair,
                                 "no rule converts to a message of this version; keep the type");
        need_file(maker, to->message);
        field->type_name = join(maker, ".", to->message->name, "");
    }
    if (!to->enumeration)
        return 0;
    /* Values become those of the newer enum on the way to the one between, and stay from there on.
     */
    const struct schema_message *holder =
        to == pair->newer ? pair->newer_message : pair->newer->message;
    if (!holder->map_entry && holder != pair->newer_message && between_find_older(maker, holder))
        return error_set(maker->error, -EINVAL,
                         "%s.%s: its value is of enum %s, in message %s, which the version before "
                         "has as well; give the message that wraps the value a name of its own",
                         pair->newer_message->name, pair->newer->name, to->enumeration->local,
                         holder->local);
    Field *after = between_find_field(maker->after, holder, to);
    if (!after)
        return 0;
    field->type_name = add_enum(maker, maker->before, to->enumeration, maker->package, true);
    after->type_name = add_enum(maker, maker->after, to->enumeration,
                                schema_service(maker->newer)->package, false);
    return 0;
}

/* Lets a field of the one between tell absence if the newer one's does. */
static void set_presence(struct maker *maker, const struct pair *pair, Field *field)
{
    const File *file = find_file(maker->before, pair->older_message->file->name);
    Message *message = find_message(maker->before, pair->older_message);
    bool proto3 = file && file->syntax && strcmp(file->syntax, "proto3") == 0;
    if (!proto3 || !message || !pair->newer->presence || field->has_oneof_index ||
        pair->to->message)
        return;
    Google__Protobuf__OneofDescriptorProto *oneof = take(maker, sizeof(*oneof));
    char *name = join(maker, "parley_", field->name, "");
    if (maker->failed)
        return;
    google__protobuf__oneof_descriptor_proto__init(oneof);
    oneof->name = name;
    field->has_oneof_index = field->has_proto3_optional = field->proto3_optional = true;
    field->oneof_index = (int32_t)message->n_oneof_decl;
    message->oneof_decl = append(maker, message->oneof_decl, message->n_oneof_decl, oneof);
    message->n_oneof_decl += !maker->failed;
}

/* As between_set_older_value(), of a map. */
static void set_map(struct maker *maker, const struct pair *pair, Field *field)
{
    Message *message = find_message(maker->before, pair->older_message);
    const Message *map = pair->newer->message->proto;
    Message *entry = take(maker, sizeof(*entry));
    Field *key = take(maker, sizeof(*key)), *value = take(maker, sizeof(*value));
    char *prefix = join(maker, ".", maker->package, ".");
    if (maker->failed || !message)
        return;
    *entry = *map;
    entry->name = join(maker, "Parley_", field->name, "_entry");
    *key = *map->field[0];
    *value = *map->field[1];
    if (map->field[0]->number != 1) { /* written in the other order */
        *key = *map->field[1];
        *value = *map->field[0];
    }
    value->type = pair->from->type;
    value->type_name = NULL;
    if (pair->from->message)
        value->type_name = between_name(maker, join(maker, ".", pair->from->message->name, ""));
    else if (pair->from->enumeration)
        value->type_name = between_name(maker, join(maker, ".", pair->from->enumeration->name, ""));
    entry->field = append(maker, append(maker, NULL, 0, key), 1, value);
    entry->n_field = 2;
    message->nested_type = append(maker, message->nested_type, message->n_nested_type, entry);
    message->n_nested_type += !maker->failed;
    char *scope = join(maker, prefix, pair->older_message->local, ".");
    field->type_name = maker->failed ? NULL : join(maker, scope, entry->name, "");
}

void between_set_older_value(struct maker *maker, const struct pair *pair, Field *field)
{
    const struct schema_field *from = pair->from;
    const Parley__FieldRule *rule = pair->newer->rule;
    if (between_is_map(pair->newer)) {
        set_map(maker, pair, field);
        return;
    }
    field->type = rule->merge ? TYPE(STRING) : from->type;
    field->type_name = NULL;
    if (!rule->merge && from->message)
        field->type_name = between_name(maker, join(maker, ".", from->message->name, ""));
    else if (!rule->merge && from->enumeration)
        field->type_name = between_name(maker, join(maker, ".", from->enumeration->name, ""));
    if (!pair->newer->repeated)
        field->label = LABEL(OPTIONAL);
    if (field->options)
        field->options->has_packed = false;
    if (!pair->newer->repeated)
        set_presence(maker, pair, field);
}

/* ---- The two schemas ---- */

int between_unpack(const struct schema *schema, Files **ret_files, struct error_text *error)
{
    size_t bytes;
    const uint8_t *set = schema_set(schema, &bytes);
    ProtobufCMessage *message;
    int r = wire_unpack(&google__protobuf__file_descriptor_set__descriptor, set, bytes, NULL,
                        &message, error);
    if (r == 0)
        *ret_files = (Files *)message;
    return r;
}

int between_read(const Files *files, const char *package, const struct schema *like,
                 struct schema **ret_schema, struct error_text *error)
{
    const struct schema_service *service = schema_service(like);
    char name[2 * SCHEMA_NAME_BYTES_MAX + 2];
    size_t bytes = google__protobuf__file_descriptor_set__get_packed_size(files);
    _cleanup_(freep) uint8_t *set = malloc(bytes + 1);
    if (!set)
        return error_set(error, -ENOMEM, "out of memory while compiling a plan");
    google__protobuf__file_descriptor_set__pack(files, set);
    size_t skipped = strlen(service->package);
    (void)snprintf(name, sizeof(name), "%s%s", package, service->name + skipped);
    return schema_new(set, bytes, name, ret_schema, error);
}

void between_begin(struct maker *maker)
{
    const char *package = schema_service(maker->older)->package;
    for (size_t i = 0; i < maker->before->n_file; i++) {
        File *file = maker->before->file[i];
        rename_file(maker, file);
        if (!file->package || strcmp(file->package, package) != 0)
            continue;
        strip_file(maker, file);
        file->package = maker->package;
    }
    set_interface(maker, maker->before, maker->older, package);
    set_interface(maker, maker->after, maker->newer, maker->package);
}

void between_free_pieces(struct maker *maker)
{
    while (maker->pieces) {
        struct piece *piece = maker->pieces;
        maker->pieces = piece->next;
        free(piece);
    }
}
