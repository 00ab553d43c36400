/*
 * The second pass over a descriptor set: what the names stand for.
 *
 * Fills in what load.c has declared: fields with the types that they refer to, enum values,
 * methods, rules. Every check of protoc that a user of a schema relies on is made again here,
 * because a peer can send what no protoc would write: numbers in range and unique, one kind of
 * label where another would make no sense, maps and oneofs of the right shape.
 *
 * What comes out of it is normal: fields ascend by number, so that a number is found by bisection;
 * a proto3 `optional` field is a field with presence, not a oneof with one member.
 */
#include "schema/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/wire.h"

/* A message under construction. */
struct build {
    struct load *load;
    struct schema_message *message;
    const Google__Protobuf__DescriptorProto *proto;
    const Google__Protobuf__FileDescriptorProto *file;
    bool proto3;
    int32_t *oneofs; /* by index in the descriptor: index among those that are real, or -1 */
};

__attribute__((format(printf, 3, 4))) static int
field_error(const struct build *build, const Google__Protobuf__FieldDescriptorProto *proto,
            const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return error_set(build->load->error, -EINVAL, "%s: message %s: field %s %s", build->file->name,
                     build->message->name, PRINTABLE(proto->name), text);
}

static bool is_proto3(const Google__Protobuf__FileDescriptorProto *file)
{
    return file->syntax && strcmp(file->syntax, "proto3") == 0;
}

static bool is_message_type(Google__Protobuf__FieldDescriptorProto__Type type)
{
    return type == TYPE(MESSAGE) || type == TYPE(GROUP);
}

static bool is_packable(Google__Protobuf__FieldDescriptorProto__Type type)
{
    return !is_message_type(type) && type != TYPE(STRING) && type != TYPE(BYTES);
}

/* ---- Types ---- */

/* What a fully qualified type name (".package.Name") stands for; NULL: nothing of this kind. */
static const struct symbol *find_type(const struct schema *schema, const char *type_name,
                                      enum symbol_kind kind)
{
    if (!type_name || type_name[0] != '.')
        return NULL;
    const struct symbol *symbol = symbol_find(schema, type_name + 1);
    return symbol && symbol->kind == kind ? symbol : NULL;
}

static int resolve_type(const struct build *build,
                        const Google__Protobuf__FieldDescriptorProto *proto,
                        struct schema_field *field)
{
    const struct schema *schema = build->load->schema;
    if (!proto->has_type || proto->type < TYPE(DOUBLE) || proto->type > TYPE(SINT64))
        return field_error(build, proto, "has no known type");
    field->type = proto->type;
    bool is_message = is_message_type(field->type);
    if (!is_message && field->type != TYPE(ENUM)) {
        if (proto->type_name)
            return field_error(build, proto, "is a scalar that names a type");
        return 0;
    }
    const struct symbol *symbol =
        find_type(schema, proto->type_name, is_message ? SYMBOL_MESSAGE : SYMBOL_ENUM);
    if (!symbol)
        return field_error(build, proto,
                           "is of %s \"%s\", which is not in the descriptor set (protoc puts "
                           "imports there with --include_imports)",
                           is_message ? "message" : "enum", PRINTABLE(proto->type_name));
    if (is_message)
        field->message = &schema->messages[symbol->index];
    else
        field->enumeration = &schema->enums[symbol->index];
    if (field->type == TYPE(GROUP) && build->proto3)
        return field_error(build, proto, "is a group, which proto3 does not have");
    return 0;
}

/* ---- Fields ---- */

static int check_number(const struct build *build,
                        const Google__Protobuf__FieldDescriptorProto *proto)
{
    if (!proto->has_number || proto->number < 1 || (uint32_t)proto->number > WIRE_NUMBER_MAX)
        return field_error(build, proto, "has number %d; 1 to %u may be", proto->number,
                           (unsigned)WIRE_NUMBER_MAX);
    if (proto->number >= 19000 && proto->number <= 19999)
        return field_error(build, proto, "has number %d; protobuf reserves 19000 to 19999",
                           proto->number);
    return 0;
}

static int read_label(const struct build *build,
                      const Google__Protobuf__FieldDescriptorProto *proto,
                      struct schema_field *field)
{
    switch (proto->label) {
    case LABEL(OPTIONAL):
        return 0;
    case LABEL(REPEATED):
        field->repeated = true;
        return 0;
    case LABEL(REQUIRED):
        field->required = true;
        if (build->proto3)
            return field_error(build, proto, "is required, which proto3 does not have");
        return 0;
    default:
        return field_error(build, proto, "has label %d, which is not known", (int)proto->label);
    }
}

static int read_packed(const struct build *build,
                       const Google__Protobuf__FieldDescriptorProto *proto,
                       struct schema_field *field)
{
    bool can = field->repeated && is_packable(field->type);
    field->packed = can && build->proto3;
    if (!proto->options || !proto->options->has_packed)
        return 0;
    if (proto->options->packed && !can)
        return field_error(build, proto, "is packed, but only repeated numbers can be");
    field->packed = proto->options->packed;
    return 0;
}

static int read_oneof(const struct build *build,
                      const Google__Protobuf__FieldDescriptorProto *proto,
                      struct schema_field *field)
{
    field->oneof = -1;
    if (!proto->has_oneof_index) {
        if (proto->proto3_optional)
            return field_error(build, proto, "is marked as `optional` without a oneof of its own");
        return 0;
    }
    if (proto->oneof_index < 0 || (size_t)proto->oneof_index >= build->proto->n_oneof_decl)
        return field_error(build, proto, "is in oneof %d, which its message does not have",
                           proto->oneof_index);
    if (field->repeated || field->required)
        return field_error(build, proto,
                           "is in a oneof, and must be neither repeated nor required");
    field->oneof = build->oneofs[proto->oneof_index];
    return 0;
}

static int read_json_name(const struct build *build,
                          const Google__Protobuf__FieldDescriptorProto *proto,
                          struct schema_field *field)
{
    field->json_name = proto->json_name;
    if (!proto->json_name) {
        field->json_name = json_name_of(&build->load->schema->pool, proto->name);
        return field->json_name ? 0 : -ENOMEM;
    }
    if (strlen(proto->json_name) > SCHEMA_NAME_BYTES_MAX)
        return field_error(build, proto, "has a json_name longer than %d bytes",
                           SCHEMA_NAME_BYTES_MAX);
    return 0;
}

static int read_default(const struct build *build,
                        const Google__Protobuf__FieldDescriptorProto *proto,
                        struct schema_field *field)
{
    field->default_value = proto->default_value;
    if (!proto->default_value)
        return 0;
    if (build->proto3 || field->repeated || is_message_type(field->type))
        return field_error(build, proto, "has a default value, which it cannot have");
    /* An enum's values may not be read yet: check_message() looks at these. */
    if (field->type != TYPE(ENUM) && !default_is_valid(field, proto->default_value))
        return field_error(build, proto, "has the default \"%s\", which is no value of its type",
                           PRINTABLE(proto->default_value));
    return 0;
}

/* In a map a number or text that is not there is its default, whatever the syntax: nobody can tell
 * the two apart by key. (Of an enum if that is 0; its values may not be read yet.) */
static bool is_default_in_map(const struct build *build, const struct schema_field *field)
{
    if (!build->message->map_entry || is_message_type(field->type) || field->default_value)
        return false;
    if (!field->enumeration)
        return true;
    const struct enum_source *source =
        &build->load->enums[field->enumeration - build->load->schema->enums];
    return source->proto->n_value > 0 && source->proto->value[0]->number == 0;
}

static bool tells_presence(const struct build *build,
                           const Google__Protobuf__FieldDescriptorProto *proto,
                           const struct schema_field *field)
{
    if (field->repeated || is_default_in_map(build, field))
        return false;
    return !build->proto3 || is_message_type(field->type) || proto->has_oneof_index;
}

static int read_field(const struct build *build,
                      const Google__Protobuf__FieldDescriptorProto *proto,
                      struct schema_field *field)
{
    if (!proto->name || !name_is_identifier(proto->name))
        return field_error(build, proto, "has a name that is no identifier");
    if (strlen(proto->name) > SCHEMA_NAME_BYTES_MAX)
        return field_error(build, proto, "has a name longer than %d bytes", SCHEMA_NAME_BYTES_MAX);
    if (proto->extendee)
        return field_error(build, proto, "is an extension, which cannot be in a message");
    field->name = proto->name;
    field->number = (uint32_t)proto->number;
    int r = check_number(build, proto);
    if (r == 0)
        r = resolve_type(build, proto, field);
    if (r == 0)
        r = read_label(build, proto, field);
    if (r == 0)
        r = read_packed(build, proto, field);
    if (r == 0)
        r = read_oneof(build, proto, field);
    if (r == 0)
        r = read_json_name(build, proto, field);
    if (r == 0)
        r = read_default(build, proto, field);
    if (r < 0)
        return r;
    field->presence = tells_presence(build, proto, field);
    char what[2 * SCHEMA_NAME_BYTES_MAX + 32];
    (void)snprintf(what, sizeof(what), "message %s: field %s", build->message->name, field->name);
    const void *rule;
    r = options_rule(build->load, proto->options ? &proto->options->base : NULL,
                     &parley__field_rule__descriptor, build->file, what, &rule);
    if (r == 0)
        field->rule = rule;
    return r;
}

/* ---- Oneofs ---- */

/* How many members each has, and whether it is the synthetic one of an `optional` field. */
static int count_oneof_members(const struct build *build, uint32_t *members, bool *synthetic)
{
    for (size_t i = 0; i < build->proto->n_field; i++) {
        const Google__Protobuf__FieldDescriptorProto *field = build->proto->field[i];
        if (!field->has_oneof_index || field->oneof_index < 0 ||
            (size_t)field->oneof_index >= build->proto->n_oneof_decl)
            continue; /* read_oneof() refuses it */
        members[field->oneof_index]++;
        if (field->proto3_optional) {
            if (!build->proto3)
                return field_error(build, field,
                                   "is marked as proto3's `optional` in a proto2 file");
            synthetic[field->oneof_index] = true;
        }
    }
    return 0;
}

static int read_oneofs(struct build *build)
{
    struct pool *pool = &build->load->schema->pool;
    size_t count = build->proto->n_oneof_decl;
    uint32_t *members = pool_array(pool, count, sizeof(*members));
    bool *synthetic = pool_array(pool, count, sizeof(*synthetic));
    const char **names = pool_array(pool, count, sizeof(*names));
    build->oneofs = pool_array(pool, count, sizeof(*build->oneofs));
    if (!members || !synthetic || !names || !build->oneofs)
        return -ENOMEM;
    int r = count_oneof_members(build, members, synthetic);
    if (r < 0)
        return r;
    struct schema_message *message = build->message;
    for (size_t i = 0; i < count; i++) {
        const char *name = build->proto->oneof_decl[i]->name;
        if (!name || !name_is_identifier(name) || strlen(name) > SCHEMA_NAME_BYTES_MAX)
            return error_set(build->load->error, -EINVAL,
                             "%s: message %s: \"%s\" is no name for a oneof", build->file->name,
                             message->name, PRINTABLE(name));
        if (members[i] == 0 || (synthetic[i] && members[i] != 1))
            return error_set(build->load->error, -EINVAL,
                             "%s: message %s: oneof %s has %" PRIu32 " members%s",
                             build->file->name, message->name, name, members[i],
                             synthetic[i] ? ", one of them an `optional` field" : "");
        build->oneofs[i] = synthetic[i] ? -1 : (int32_t)message->oneof_count;
        if (!synthetic[i])
            names[message->oneof_count++] = name;
    }
    message->oneofs = names;
    return 0;
}

/* ---- Messages ---- */

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = ((const struct schema_field *)a)->number;
    uint32_t y = ((const struct schema_field *)b)->number;
    return (x > y) - (x < y);
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts @names, and returns one that is there twice, or NULL. */
static const char *sort_and_find_duplicate(const char **names, size_t count)
{
    qsort(names, count, sizeof(*names), compare_strings);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(names[i - 1], names[i]) == 0)
            return names[i];
    }
    return NULL;
}

static int check_fields_unique(const struct build *build)
{
    const struct schema_message *message = build->message;
    for (size_t i = 1; i < message->field_count; i++) {
        if (message->fields[i - 1].number == message->fields[i].number)
            return error_set(build->load->error, -EINVAL,
                             "%s: message %s: fields %s and %s both have number %" PRIu32,
                             build->file->name, message->name, message->fields[i - 1].name,
                             message->fields[i].name, message->fields[i].number);
    }
    const char **names =
        pool_array(&build->load->schema->pool, message->field_count, sizeof(*names));
    if (!names)
        return -ENOMEM;
    for (size_t i = 0; i < message->field_count; i++)
        names[i] = message->fields[i].name;
    const char *twice = sort_and_find_duplicate(names, message->field_count);
    if (twice)
        return error_set(build->load->error, -EINVAL, "%s: message %s: two fields are named %s",
                         build->file->name, message->name, twice);
    if (!build->proto3)
        return 0; /* proto2 lets two fields share a JSON name; the first one gets it */
    for (size_t i = 0; i < message->field_count; i++)
        names[i] = message->fields[i].json_name;
    twice = sort_and_find_duplicate(names, message->field_count);
    if (twice)
        return error_set(build->load->error, -EINVAL,
                         "%s: message %s: two fields are \"%s\" in JSON", build->file->name,
                         message->name, PRINTABLE(twice));
    return 0;
}

static int resolve_message(struct load *load, size_t index)
{
    const struct message_source *source = &load->messages[index];
    struct build build = {
        .load = load,
        .message = &load->schema->messages[index],
        .proto = source->proto,
        .file = source->file,
        .proto3 = is_proto3(source->file),
    };
    struct schema_message *message = build.message;
    if (source->proto->n_field > SCHEMA_FIELD_MAX)
        return error_set(load->error, -E2BIG, "%s: message %s has %zu fields; at most %d may be",
                         source->file->name, message->name, source->proto->n_field,
                         SCHEMA_FIELD_MAX);
    if (load->interface && source->proto->options &&
        source->proto->options->message_set_wire_format)
        return error_set(load->error, -EINVAL,
                         "%s: message %s is in the message set format, which is not supported",
                         source->file->name, message->name);
    struct schema_field *fields =
        pool_array(&load->schema->pool, source->proto->n_field, sizeof(*fields));
    if (!fields)
        return -ENOMEM;
    int r = read_oneofs(&build);
    for (size_t i = 0; r == 0 && i < source->proto->n_field; i++)
        r = read_field(&build, source->proto->field[i], &fields[i]);
    if (r < 0)
        return r;
    qsort(fields, source->proto->n_field, sizeof(*fields), compare_numbers);
    message->fields = fields;
    message->field_count = source->proto->n_field;
    message->file = source->file;
    message->proto = source->proto;
    r = check_fields_unique(&build);
    if (r < 0)
        return r;
    char what[SCHEMA_NAME_BYTES_MAX + 16];
    (void)snprintf(what, sizeof(what), "message %s", message->name);
    const void *rule;
    r = options_rule(load, source->proto->options ? &source->proto->options->base : NULL,
                     &parley__message_rule__descriptor, source->file, what, &rule);
    if (r == 0)
        message->rule = rule;
    return r;
}

/* ---- What needs all messages and enums to be read: maps, defaults ---- */

static bool is_map_key(const struct schema_field *field)
{
    return field->number == 1 && strcmp(field->name, "key") == 0 && !field->repeated &&
           field->oneof < 0 && field->type != TYPE(DOUBLE) && field->type != TYPE(FLOAT) &&
           field->type != TYPE(BYTES) && field->type != TYPE(ENUM) && !is_message_type(field->type);
}

static bool is_map_value(const struct schema_field *field)
{
    return field->number == 2 && strcmp(field->name, "value") == 0 && !field->repeated &&
           field->oneof < 0 && field->type != TYPE(GROUP) &&
           !(field->message && field->message->map_entry);
}

static int check_map_entry(const struct load *load, const struct schema_message *message)
{
    if (message->field_count == 2 && is_map_key(&message->fields[0]) &&
        is_map_value(&message->fields[1]))
        return 0;
    return error_set(load->error, -EINVAL,
                     "%s: message %s is marked as a map's entry, but has not a key and a value",
                     load->messages[message->index].file->name, message->name);
}

static int check_message(const struct load *load, const struct schema_message *message)
{
    const char *file = load->messages[message->index].file->name;
    for (size_t i = 0; i < message->field_count; i++) {
        const struct schema_field *field = &message->fields[i];
        if (field->message && field->message->map_entry &&
            (!field->repeated || field->type == TYPE(GROUP)))
            return error_set(load->error, -EINVAL,
                             "%s: message %s: field %s is of a map's entry, but not repeated", file,
                             message->name, field->name);
        if (field->enumeration && field->default_value &&
            !default_is_valid(field, field->default_value))
            return error_set(load->error, -EINVAL,
                             "%s: message %s: field %s has the default \"%s\", which %s has not",
                             file, message->name, field->name, PRINTABLE(field->default_value),
                             field->enumeration->name);
    }
    return message->map_entry ? check_map_entry(load, message) : 0;
}

/* ---- Enums ---- */

static int compare_int32(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static int check_values_unique(struct load *load, const struct enum_source *source,
                               const struct schema_enum *enumeration)
{
    struct pool *pool = &load->schema->pool;
    const char **names = pool_array(pool, enumeration->value_count, sizeof(*names));
    int32_t *numbers = pool_array(pool, enumeration->value_count, sizeof(*numbers));
    if (!names || !numbers)
        return -ENOMEM;
    for (size_t i = 0; i < enumeration->value_count; i++) {
        names[i] = enumeration->values[i].name;
        numbers[i] = enumeration->values[i].number;
    }
    const char *twice = sort_and_find_duplicate(names, enumeration->value_count);
    if (twice)
        return error_set(load->error, -EINVAL, "%s: enum %s: two values are named %s",
                         source->file->name, enumeration->name, twice);
    if (source->proto->options && source->proto->options->allow_alias)
        return 0;
    qsort(numbers, enumeration->value_count, sizeof(*numbers), compare_int32);
    for (size_t i = 1; i < enumeration->value_count; i++) {
        if (numbers[i - 1] == numbers[i])
            return error_set(load->error, -EINVAL,
                             "%s: enum %s: two values are %" PRId32
                             "; if that is meant, say option "
                             "allow_alias = true",
                             source->file->name, enumeration->name, numbers[i]);
    }
    return 0;
}

static int read_value(struct load *load, const struct enum_source *source,
                      const struct schema_enum *enumeration,
                      const Google__Protobuf__EnumValueDescriptorProto *proto,
                      struct schema_enum_value *value)
{
    if (!proto->name || !name_is_identifier(proto->name) ||
        strlen(proto->name) > SCHEMA_NAME_BYTES_MAX || !proto->has_number)
        return error_set(load->error, -EINVAL,
                         "%s: enum %s: value \"%s\" is no identifier of at most %d bytes with a "
                         "number",
                         source->file->name, enumeration->name, PRINTABLE(proto->name),
                         SCHEMA_NAME_BYTES_MAX);
    char what[2 * SCHEMA_NAME_BYTES_MAX + 32];
    (void)snprintf(what, sizeof(what), "enum %s: value %s", enumeration->name, proto->name);
    const void *rule;
    int r = options_rule(load, proto->options ? &proto->options->base : NULL,
                         &parley__value_rule__descriptor, source->file, what, &rule);
    if (r < 0)
        return r;
    *value = (struct schema_enum_value){proto->name, proto->number, rule};
    return 0;
}

static int resolve_enum(struct load *load, size_t index)
{
    const struct enum_source *source = &load->enums[index];
    struct schema_enum *enumeration = &load->schema->enums[index];
    size_t count = source->proto->n_value;
    if (count == 0 || count > SCHEMA_VALUE_MAX)
        return error_set(load->error, count == 0 ? -EINVAL : -E2BIG,
                         "%s: enum %s has %zu values; 1 to %d may be", source->file->name,
                         enumeration->name, count, SCHEMA_VALUE_MAX);
    struct schema_enum_value *values = pool_array(&load->schema->pool, count, sizeof(*values));
    if (!values)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        int r = read_value(load, source, enumeration, source->proto->value[i], &values[i]);
        if (r < 0)
            return r;
    }
    enumeration->values = values;
    enumeration->value_count = count;
    enumeration->closed = !is_proto3(source->file);
    if (!enumeration->closed && values[0].number != 0)
        return error_set(load->error, -EINVAL, "%s: enum %s: the first value must be 0 in proto3",
                         source->file->name, enumeration->name);
    enumeration->file = source->file;
    enumeration->proto = source->proto;
    char what[SCHEMA_NAME_BYTES_MAX + 16];
    (void)snprintf(what, sizeof(what), "enum %s", enumeration->name);
    const void *rule;
    int r = options_rule(load, source->proto->options ? &source->proto->options->base : NULL,
                         &parley__enum_rule__descriptor, source->file, what, &rule);
    if (r < 0)
        return r;
    enumeration->rule = rule;
    return check_values_unique(load, source, enumeration);
}

/* ---- Services ---- */

static int resolve_method(struct load *load, const struct service_source *source,
                          const struct schema_service *service,
                          const Google__Protobuf__MethodDescriptorProto *proto,
                          struct schema_method *method)
{
    const struct schema *schema = load->schema;
    const char *file = source->file->name;
    if (!proto->name || !name_is_identifier(proto->name) ||
        strlen(proto->name) > SCHEMA_NAME_BYTES_MAX)
        return error_set(load->error, -EINVAL,
                         "%s: service %s: method \"%s\" is no identifier of at most %d bytes", file,
                         service->name, PRINTABLE(proto->name), SCHEMA_NAME_BYTES_MAX);
    const struct symbol *input = find_type(schema, proto->input_type, SYMBOL_MESSAGE);
    const struct symbol *output = find_type(schema, proto->output_type, SYMBOL_MESSAGE);
    if (!input || !output)
        return error_set(load->error, -EINVAL,
                         "%s: service %s: method %s %s \"%s\", which is no message in the "
                         "descriptor set (protoc puts imports there with --include_imports)",
                         file, service->name, proto->name, input ? "returns" : "takes",
                         PRINTABLE(input ? proto->output_type : proto->input_type));
    uint32_t idempotency = proto->options ? (uint32_t)proto->options->idempotency_level : 0;
    if (idempotency > 2)
        return error_set(load->error, -EINVAL,
                         "%s: service %s: method %s has idempotency_level %" PRIu32
                         ", which is not known",
                         file, service->name, proto->name, idempotency);
    char what[2 * SCHEMA_NAME_BYTES_MAX + 32];
    (void)snprintf(what, sizeof(what), "service %s: method %s", service->name, proto->name);
    const void *rule;
    int r = options_rule(load, proto->options ? &proto->options->base : NULL,
                         &parley__method_rule__descriptor, source->file, what, &rule);
    if (r < 0)
        return r;
    *method = (struct schema_method){
        .name = proto->name,
        .input = &schema->messages[input->index],
        .output = &schema->messages[output->index],
        .client_streaming = proto->client_streaming,
        .server_streaming = proto->server_streaming,
        .idempotency = idempotency,
        .rule = rule,
    };
    if (method->input->map_entry || method->output->map_entry)
        return error_set(load->error, -EINVAL,
                         "%s: service %s: method %s takes or returns a map's entry", file,
                         service->name, proto->name);
    return 0;
}

static int resolve_service(struct load *load, size_t index)
{
    const struct service_source *source = &load->services[index];
    struct schema_service *service = &load->schema->services[index];
    size_t count = source->proto->n_method;
    if (count > SCHEMA_METHOD_MAX)
        return error_set(load->error, -E2BIG, "%s: service %s has %zu methods; at most %d may be",
                         source->file->name, service->name, count, SCHEMA_METHOD_MAX);
    struct schema_method *methods = pool_array(&load->schema->pool, count, sizeof(*methods));
    const char **names = pool_array(&load->schema->pool, count, sizeof(*names));
    if (!methods || !names)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        int r = resolve_method(load, source, service, source->proto->method[i], &methods[i]);
        if (r < 0)
            return r;
        names[i] = methods[i].name;
    }
    const char *twice = sort_and_find_duplicate(names, count);
    if (twice)
        return error_set(load->error, -EINVAL, "%s: service %s: two methods are named %s",
                         source->file->name, service->name, twice);
    service->methods = methods;
    service->method_count = count;
    service->file = source->file;
    service->proto = source->proto;
    return options_interface(load, source->file, &service->interface);
}

int load_resolve(struct load *load)
{
    const struct schema *schema = load->schema;
    int r = 0;
    for (size_t i = 0; r == 0 && i < schema->enum_count; i++)
        r = resolve_enum(load, i);
    for (size_t i = 0; r == 0 && i < schema->message_count; i++)
        r = resolve_message(load, i);
    for (size_t i = 0; r == 0 && i < schema->message_count; i++)
        r = check_message(load, &schema->messages[i]);
    for (size_t i = 0; r == 0 && i < schema->service_count; i++)
        r = resolve_service(load, i);
    return r;
}
