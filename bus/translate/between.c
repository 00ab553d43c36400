/*
 * A version between two: rules on a field's value together with rules on its structure.
 *
 * "The text is a number now, and it has moved" is two changes. Either alone is a rule with an exact
 * meaning (converts.c; shapes.c, moves.c, regroup.c, rules.c), and a path over two steps does what
 * its steps do, one after another. So where a field has both, the compiler makes the version that
 * would have stood between the two had they been made one at a time, and compiles the path over it:
 * all that holds for paths holds for these, and nothing here knows what any rule does to a message.
 *
 * That version is the older one in a package of its own, with changes to the fields in question.
 * The value is converted where it is bare, or one of the fewest, so that no type that other fields
 * use as well has to be in two forms, and nothing is converted that is only carried:
 *
 *   convert, then restructure   wrap, split, pick from a singular value, entries of a map, oneofs,
 * move restructure, then convert   unwrap, merge, pick from a list, entries to a map
 *
 * What is divided so is taken out of the newer version's rules, and stands in the one between.
 * Names of packages are part of what carriers say, so the one between is named after the newer one.
 *
 * Works on descriptors as protobuf-c has them: copies, in which pointers are set to memory of our
 * own, packed and read again as any schema is.
 */
#include "translate/between.h"

#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "translate/compile.h"

#define OPTION_NUMBER 51030 /* of all extensions in parley/options.proto */
#define FIELD_MAX 256       /* that are divided */
#define TYPE(name) GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_##name
#define LABEL(name) GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_##name

typedef Google__Protobuf__FileDescriptorSet Files;
typedef Google__Protobuf__FileDescriptorProto File;
typedef Google__Protobuf__DescriptorProto Message;
typedef Google__Protobuf__FieldDescriptorProto Field;
typedef Google__Protobuf__EnumDescriptorProto Enum;

struct piece {
    struct piece *next;
    alignas(max_align_t) char data[];
};

struct maker {
    const struct schema *older, *newer;
    Files *before, *after; /* copies: of the older one, to be the one between; of the newer one */
    struct piece *pieces;  /* what was added to them */
    char package[SCHEMA_NAME_BYTES_MAX + 1];
    unsigned divided, enums; /* fields; types made for them */
    bool failed;             /* out of memory */
    struct error_text *error;
};

/* A field of both versions, its messages, and whose value is converted into what. */
struct pair {
    const struct schema_message *older_message, *newer_message;
    const struct schema_field *older, *newer;
    const struct schema_field *from, *to;
    bool first; /* converted before the structure changes */
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

/* Takes Parley's option out, and puts @rule there instead, if it is not NULL. */
static void set_option(struct maker *maker, ProtobufCMessage *options, const ProtobufCMessage *rule)
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

static void set_field_rule(struct maker *maker, Field *field, const Parley__FieldRule *rule)
{
    if (!field->options) {
        field->options = take(maker, sizeof(*field->options));
        if (maker->failed)
            return;
        google__protobuf__field_options__init(field->options);
    }
    set_option(maker, &field->options->base, &rule->base);
}

static void strip_enum(struct maker *maker, Enum *enumeration)
{
    if (enumeration->options)
        set_option(maker, &enumeration->options->base, NULL);
    for (size_t i = 0; i < enumeration->n_value; i++)
        if (enumeration->value[i]->options)
            set_option(maker, &enumeration->value[i]->options->base, NULL);
}

static void strip_message(struct maker *maker, Message *message)
{
    if (message->options)
        set_option(maker, &message->options->base, NULL);
    for (size_t i = 0; i < message->n_field; i++)
        if (message->field[i]->options)
            set_option(maker, &message->field[i]->options->base, NULL);
    for (size_t i = 0; i < message->n_enum_type; i++)
        strip_enum(maker, message->enum_type[i]);
    for (size_t i = 0; i < message->n_nested_type; i++)
        strip_message(maker, message->nested_type[i]);
}

static void strip_file(struct maker *maker, File *file)
{
    if (file->options)
        set_option(maker, &file->options->base, NULL);
    for (size_t i = 0; i < file->n_message_type; i++)
        strip_message(maker, file->message_type[i]);
    for (size_t i = 0; i < file->n_enum_type; i++)
        strip_enum(maker, file->enum_type[i]);
    for (size_t i = 0; i < file->n_service; i++)
        for (size_t j = 0; j < file->service[i]->n_method; j++)
            if (file->service[i]->method[j]->options)
                set_option(maker, &file->service[i]->method[j]->options->base, NULL);
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
            set_option(maker, &file->options->base, &interface.base);
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

static Field *find_field(Files *files, const struct schema_message *message,
                         const struct schema_field *field)
{
    Message *copy = find_message(files, message);
    for (size_t i = 0; copy && i < copy->n_field; i++)
        if (strcmp(copy->field[i]->name, field->name) == 0)
            return copy->field[i];
    return NULL;
}

static const struct schema_message *find_older(const struct maker *maker,
                                               const struct schema_message *newer)
{
    char full[2 * SCHEMA_NAME_BYTES_MAX + 2];
    const char *name = newer->rule && newer->rule->from ? newer->rule->from : newer->local;
    const char *package = schema_service(maker->older)->package;
    (void)snprintf(full, sizeof(full), "%s%s%s", package, *package ? "." : "", name);
    const struct schema_message *older = schema_message_find(maker->older, full);
    return older && strcmp(older->package, package) == 0 ? older : NULL;
}

static bool is_map(const struct schema_field *field)
{
    return field->message && field->message->map_entry;
}

static const struct schema_field *source_of(const struct schema_message *older,
                                            const struct schema_field *newer)
{
    const char *from = newer->rule ? newer->rule->from : NULL;
    return schema_field_find(older, from ? from : newer->name);
}

static size_t member_count(const struct schema_message *message, const struct schema_field *field)
{
    size_t count = 0;
    for (size_t i = 0; i < message->field_count && field->oneof >= 0; i++)
        count += message->fields[i].oneof == field->oneof;
    return count;
}

/* Whether the field is in a oneof that does not have the same members in both versions. */
static bool is_regrouped(const struct pair *pair)
{
    const struct schema_message *older = pair->older_message, *newer = pair->newer_message;
    size_t before = member_count(older, pair->older), now = member_count(newer, pair->newer);
    if (before <= 1 && now <= 1)
        return false;
    size_t pairs = 0;
    for (size_t i = 0; i < newer->field_count && pair->newer->oneof >= 0; i++) {
        const struct schema_field *field = &newer->fields[i];
        const struct schema_field *source =
            field->oneof == pair->newer->oneof ? source_of(older, field) : NULL;
        pairs += source && pair->older->oneof >= 0 && source->oneof == pair->older->oneof;
    }
    return pairs != before || pairs != now;
}

static const struct schema_field *inside(const struct schema_field *field, const char *name)
{
    return field->message && name ? schema_field_find(field->message, name) : NULL;
}

/* What the one rule on structure that the pair has takes apart; pair->from NULL: it has none, or
 * what it names is not there, which the compiler says. */
static void classify(struct pair *pair)
{
    static const Parley__FieldRule none = PARLEY__FIELD_RULE__INIT;
    const Parley__FieldRule *rule = pair->newer->rule ? pair->newer->rule : &none;
    const struct schema_field *older = pair->older, *newer = pair->newer;
    pair->from = older;
    pair->to = newer;
    pair->first = true;
    if (rule->wrap) {
        pair->to = inside(newer, rule->wrap);
    } else if (rule->unwrap) {
        pair->from = inside(older, rule->unwrap);
        pair->first = false;
    } else if (rule->split || rule->merge) {
        pair->first = rule->split != NULL;
    } else if (rule->has_pick && rule->pick != PARLEY__PICK__PICK_NONE) {
        pair->first = !older->repeated;
    } else if (rule->entries) {
        pair->first = is_map(older);
        pair->from =
            is_map(older) ? &older->message->fields[1] : inside(older, rule->entries->value);
        pair->to = is_map(newer) ? &newer->message->fields[1] : inside(newer, rule->entries->value);
    } else if (!is_regrouped(pair)) {
        pair->from = NULL;
    }
    if (!pair->to)
        pair->from = NULL;
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
        set_option(maker, &options->base, NULL);
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

static int divide_error(const struct maker *maker, const struct pair *pair, const char *what)
{
    return error_set(maker->error, -EINVAL, "%s.%s: (parley.field).%s: %s",
                     pair->newer_message->name, pair->newer->name,
                     pair->newer->rule && pair->newer->rule->has_multiply ? "multiply" : "convert",
                     what);
}

/* Gives a field of the one between the type of the newer version's value. */
static int set_newer_type(struct maker *maker, const struct pair *pair, Field *field)
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
            return divide_error(maker, pair,
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
    if (!holder->map_entry && holder != pair->newer_message && find_older(maker, holder))
        return error_set(maker->error, -EINVAL,
                         "%s.%s: its value is of enum %s, in message %s, which the version before "
                         "has as well; give the message that wraps the value a name of its own",
                         pair->newer_message->name, pair->newer->name, to->enumeration->local,
                         holder->local);
    Field *after = find_field(maker->after, holder, to);
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

/* Makes a field of the one between what it is in the newer version, but for the type of its value.
 */
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

static void set_older_value(struct maker *maker, const struct pair *pair, Field *field)
{
    const struct schema_field *from = pair->from;
    const Parley__FieldRule *rule = pair->newer->rule;
    if (is_map(pair->newer)) {
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

/* ---- Who else reads a field ---- */

/* The field at the end of a path, and the message that it is in; NULL: none, which the compiler
 * says. */
static const struct schema_field *follow(const struct schema_message *message, const char *path,
                                         const struct schema_message **ret_message)
{
    for (;;) {
        char name[SCHEMA_NAME_BYTES_MAX + 1];
        size_t bytes = path ? strcspn(path, ".") : sizeof(name);
        if (bytes >= sizeof(name))
            return NULL;
        memcpy(name, path, bytes);
        name[bytes] = '\0';
        const struct schema_field *field = schema_field_find(message, name);
        *ret_message = message;
        if (!field || path[bytes] == '\0')
            return field;
        if (!field->message)
            return NULL;
        message = field->message;
        path += bytes + 1;
    }
}

static bool mentions(const char *pattern, const char *name)
{
    size_t bytes = strlen(name);
    for (const char *at = pattern ? strchr(pattern, '{') : NULL; at; at = strchr(at + 1, '{'))
        if (strncmp(at + 1, name, bytes) == 0 && at[1 + bytes] == '}')
            return true;
    return false;
}

/* Whether a rule on a field that comes from such a message takes the older field out of it. */
static bool takes_out(const Parley__FieldRule *rule, const char *name)
{
    const char *names[] = {rule->unwrap, rule->entries ? rule->entries->key : NULL,
                           rule->entries ? rule->entries->value : NULL};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i] && strcmp(names[i], name) == 0)
            return true;
    return rule->merge && mentions(rule->merge->pattern, name);
}

/* How many rules, and pairs of fields, read the older field. One that is in another form in the
 * version between must be read by none but the one that is divided. */
static size_t reader_count(const struct maker *maker, const struct pair *pair)
{
    size_t count, readers = 0;
    const struct schema_message *const *messages = schema_messages(maker->newer, &count);
    for (size_t i = 0; i < count; i++) {
        const struct schema_message *newer = messages[i], *older;
        if (strcmp(newer->package, schema_service(maker->newer)->package) != 0 || newer->map_entry)
            continue;
        older = find_older(maker, newer);
        for (size_t k = 0; older && k < newer->field_count; k++) {
            const struct schema_field *source = source_of(older, &newer->fields[k]);
            const Parley__FieldRule *rule = newer->fields[k].rule;
            readers += source == pair->older;
            readers += source && rule && source->message == pair->older_message &&
                       takes_out(rule, pair->older->name);
        }
        for (size_t k = 0; older && newer->rule && k < newer->rule->n_move; k++) {
            const struct schema_message *at;
            readers += follow(older, newer->rule->move[k]->from, &at) == pair->older;
        }
    }
    return readers;
}

/* ---- Dividing a field's rules ---- */

/* The rules on the value go into @ret_value, those on the structure into @ret_shape. */
static void divide_rules(const Parley__FieldRule *rule, Parley__FieldRule *ret_value,
                         Parley__FieldRule *ret_shape)
{
    parley__field_rule__init(ret_value);
    *ret_shape = *rule;
    ret_value->has_multiply = rule->has_multiply;
    ret_value->multiply = rule->multiply;
    ret_value->convert = rule->convert;
    ret_value->lossy = rule->lossy;
    ret_shape->has_multiply = false;
    ret_shape->convert = NULL;
    ret_shape->lossy = NULL;
    ret_shape->from = NULL;
}

static int divide(struct maker *maker, const struct pair *pair)
{
    if (maker->divided == FIELD_MAX)
        return divide_error(maker, pair,
                            "more than 256 fields change both value and structure; change them in "
                            "two versions");
    if (reader_count(maker, pair) > 1)
        return divide_error(maker, pair,
                            "the field changes both its value and its structure, and another rule "
                            "takes it as it was; change the value in one version and the structure "
                            "in the next");
    maker->divided++;
    if (!maker->before) /* only to know whether there is anything to divide */
        return 0;
    Field *before = find_field(maker->before, pair->older_message, pair->older);
    Field *after = find_field(maker->after, pair->newer_message, pair->newer);
    Parley__FieldRule value, shape;
    int r = 0;
    if (!before || !after)
        return 0;
    divide_rules(pair->newer->rule ? pair->newer->rule
                                   : &(Parley__FieldRule)PARLEY__FIELD_RULE__INIT,
                 &value, &shape);
    if (pair->first) {
        Field *of = is_map(pair->older)
                        ? find_field(maker->before, pair->older->message, pair->from)
                        : before;
        r = of ? set_newer_type(maker, pair, of) : 0;
        set_field_rule(maker, before, &value);
        shape.from = (char *)(uintptr_t)pair->older->name;
        if (pair->newer->rule && !maker->failed)
            set_field_rule(maker, after, &shape);
    } else {
        set_older_value(maker, pair, before);
        set_field_rule(maker, before, &shape);
        value.from = (char *)(uintptr_t)pair->older->name;
        set_field_rule(maker, after, &value);
    }
    return r;
}

/* Whether values of the two enums have to be carried along, which rules on structure cannot. */
static bool is_mapped(const struct maker *maker, const struct pair *pair)
{
    struct error_text text;
    bool mapped = false;
    for (int up = 0; up < 2 && !mapped; up++) {
        struct compiler compiler = {.error = &text,
                                    .newer_is_target = up,
                                    .newer_package = schema_service(maker->newer)->package,
                                    .older_package = schema_service(maker->older)->package};
        struct pairing pairing = {.compiler = &compiler,
                                  .source = up ? pair->older_message : pair->newer_message,
                                  .target = up ? pair->newer_message : pair->older_message,
                                  .newer = pair->newer_message,
                                  .older = pair->older_message};
        struct enum_map map;
        mapped = rules_enum(&pairing, up ? pair->from : pair->to, up ? pair->to : pair->from, true,
                            &map) == -EINVAL;
        builder_deinit(&compiler.builder);
    }
    return mapped;
}

/* Whether the field has rules of both kinds. */
static bool has_both(const struct maker *maker, const struct pair *pair)
{
    const Parley__FieldRule *rule = pair->newer->rule;
    bool told = rule && (rule->convert || rule->has_multiply);
    if (!pair->from ||
        (!told && !(pair->from->enumeration && pair->to->enumeration && is_mapped(maker, pair))))
        return false;
    return true;
}

static int divide_fields(struct maker *maker, const struct schema_message *newer,
                         const struct schema_message *older)
{
    int r = 0;
    for (size_t i = 0; i < newer->field_count && r == 0; i++) {
        struct pair pair = {.older_message = older,
                            .newer_message = newer,
                            .older = source_of(older, &newer->fields[i]),
                            .newer = &newer->fields[i]};
        if (!pair.older)
            continue;
        classify(&pair);
        if (has_both(maker, &pair))
            r = divide(maker, &pair);
    }
    return r;
}

static int divide_moves(struct maker *maker, const struct schema_message *newer,
                        const struct schema_message *older)
{
    int r = 0;
    for (size_t i = 0; newer->rule && i < newer->rule->n_move && r == 0; i++) {
        const Parley__Move *move = newer->rule->move[i];
        struct pair pair = {.first = true};
        pair.older = follow(older, move->from, &pair.older_message);
        pair.newer = follow(newer, move->to, &pair.newer_message);
        pair.from = pair.older;
        pair.to = pair.newer;
        if (!pair.older || !pair.newer || pair.newer->message || is_map(pair.older) ||
            !has_both(maker, &pair))
            continue;
        r = divide(maker, &pair);
        Field *after =
            maker->after ? find_field(maker->after, pair.newer_message, pair.newer) : NULL;
        if (after && after->options) /* the move says where it comes from */
            set_option(maker, &after->options->base, NULL);
    }
    return r;
}

/* ---- The two schemas ---- */

static int unpack(const struct schema *schema, Files **ret_files, struct error_text *error)
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

static int read_again(const Files *files, const char *package, const struct schema *like,
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

static void begin(struct maker *maker)
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

static int divide_all(struct maker *maker)
{
    size_t count;
    const struct schema_message *const *messages = schema_messages(maker->newer, &count);
    int r = 0;
    for (size_t i = 0; i < count && r == 0; i++) {
        const struct schema_message *newer = messages[i], *older;
        if (strcmp(newer->package, schema_service(maker->newer)->package) != 0 || newer->map_entry)
            continue;
        older = find_older(maker, newer);
        if (older)
            r = divide_fields(maker, newer, older);
        if (older && r == 0)
            r = divide_moves(maker, newer, older);
    }
    return r;
}

static int make(struct maker *maker, struct between *ret_between)
{
    int r = divide_all(maker);
    if (r < 0 || maker->divided == 0)
        return r;
    r = unpack(maker->older, &maker->before, maker->error);
    if (r == 0)
        r = unpack(maker->newer, &maker->after, maker->error);
    if (r < 0)
        return r;
    begin(maker);
    maker->divided = 0;
    r = divide_all(maker);
    if (maker->failed)
        return error_set(maker->error, -ENOMEM, "out of memory while compiling a plan");
    if (r < 0)
        return r;
    r = read_again(maker->before, maker->package, maker->older, &ret_between->before, maker->error);
    if (r == 0)
        r = read_again(maker->after, schema_service(maker->newer)->package, maker->newer,
                       &ret_between->newer, maker->error);
    return r < 0 ? r : 1;
}

int between_make(const struct schema *older, const struct schema *newer,
                 struct between *ret_between, struct error_text *error)
{
    struct maker maker = {.older = older, .newer = newer, .error = error};
    *ret_between = (struct between){0};
    int n = snprintf(maker.package, sizeof(maker.package), "%s" BETWEEN_SUFFIX,
                     schema_service(newer)->package);
    int r = n < (int)sizeof(maker.package) ? make(&maker, ret_between) : 0;
    if (r <= 0)
        between_deinit(ret_between);
    wire_free(maker.before);
    wire_free(maker.after);
    while (maker.pieces) {
        struct piece *piece = maker.pieces;
        maker.pieces = piece->next;
        free(piece);
    }
    return r;
}

void between_deinit(struct between *between)
{
    schema_unref(between->before);
    schema_unref(between->newer);
    *between = (struct between){0};
}
