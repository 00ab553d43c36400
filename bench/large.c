/*
 * The interface is made here, not compiled from a .proto: 25 methods, each with a tree of eight
 * messages, one in the other, so that every message is reached by a plan; nine fields in each. The
 * rules of version 2 are those of an ordinary change: renumbered, renamed, another unit, an enum
 * with other numbers and a value more, a string split, a field dropped, a field added.
 */
#include "large.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "google/protobuf/descriptor.pb-c.h"
#include "parley/options.pb-c.h"

#define EXTENSION 51030 /* of all options in parley/options.proto */
#define TREE 8          /* messages of a method's request: one in the other */
#define METHOD_COUNT (LARGE_MESSAGE_COUNT / TREE)
#define FIELD_MAX 10
#define VALUE_COUNT 12
#define TYPE(name) GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_##name

typedef Google__Protobuf__DescriptorProto Message;
typedef Google__Protobuf__FieldDescriptorProto Field;
typedef Google__Protobuf__EnumDescriptorProto Enum;
typedef Google__Protobuf__EnumValueDescriptorProto Value;
typedef Google__Protobuf__MethodDescriptorProto Method;

/* All that a set is made of; freed as a whole. */
struct builder {
    enum large_version version;
    const char *package;
    void **blocks;
    size_t block_count, block_max;
};

static void *keep(struct builder *builder, void *block)
{
    if (builder->block_count == builder->block_max) {
        builder->block_max = 2 * builder->block_max + 64;
        builder->blocks = realloc(builder->blocks, builder->block_max * sizeof(void *));
    }
    if (!block || !builder->blocks)
        abort();
    return builder->blocks[builder->block_count++] = block;
}

static void *make(struct builder *builder, size_t count, size_t bytes)
{
    return keep(builder, calloc(count, bytes));
}

__attribute__((format(printf, 2, 3))) static char *text(struct builder *builder, const char *format,
                                                        ...)
{
    char *made = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&made, format, args) < 0)
        abort();
    va_end(args);
    return keep(builder, made);
}

static bool is_newer(const struct builder *builder)
{
    return builder->version >= LARGE_2_0_0;
}

/* Puts @rule into @options as the extension that it is, which they do not know. */
static void attach(struct builder *builder, ProtobufCMessage *options, const ProtobufCMessage *rule)
{
    size_t bytes = protobuf_c_message_get_packed_size(rule);
    uint8_t *data = make(builder, 1, bytes + 2);
    ProtobufCMessageUnknownField *field = make(builder, 1, sizeof(*field));
    size_t prefix = bytes < 0x80 ? 1 : 2;
    data[0] = (uint8_t)(bytes < 0x80 ? bytes : (bytes & 0x7f) | 0x80);
    if (prefix == 2)
        data[1] = (uint8_t)(bytes >> 7);
    (void)protobuf_c_message_pack(rule, data + prefix);
    *field = (ProtobufCMessageUnknownField){.tag = EXTENSION,
                                            .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
                                            .len = prefix + bytes,
                                            .data = data};
    options->unknown_fields = field;
    options->n_unknown_fields = 1;
}

/* ---- Fields ---- */

static Field *add_field(struct builder *builder, Message *message, const char *name, int number,
                        Google__Protobuf__FieldDescriptorProto__Type type, const char *type_name)
{
    Field *field = make(builder, 1, sizeof(*field));
    google__protobuf__field_descriptor_proto__init(field);
    field->name = (char *)name;
    field->has_number = 1;
    field->number = is_newer(builder) ? number + 20 : number;
    field->has_type = 1;
    field->type = type;
    field->type_name = (char *)type_name;
    field->has_label = 1;
    field->label = GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_OPTIONAL;
    if (!message->field)
        message->field = make(builder, FIELD_MAX, sizeof(Field *));
    if (message->n_field == FIELD_MAX)
        abort();
    return message->field[message->n_field++] = field;
}

static void add_rule(struct builder *builder, Field *field, const Parley__FieldRule *rule)
{
    field->options = make(builder, 1, sizeof(*field->options));
    google__protobuf__field_options__init(field->options);
    attach(builder, &field->options->base, &rule->base);
}

static void add_older_fields(struct builder *builder, Message *message)
{
    (void)add_field(builder, message, "name", 1, TYPE(STRING), NULL);
    (void)add_field(builder, message, "size_kib", 2, TYPE(UINT32), NULL);
    (void)add_field(builder, message, "contact", 6, TYPE(STRING), NULL);
    (void)add_field(builder, message, "note", 8, TYPE(STRING), NULL);
    if (builder->version == LARGE_1_1_0)
        (void)add_field(builder, message, "extra", 10, TYPE(STRING), NULL);
}

static void add_newer_fields(struct builder *builder, Message *message)
{
    Parley__FieldRule renamed = PARLEY__FIELD_RULE__INIT, unit = renamed, whole = renamed;
    Parley__Split split = PARLEY__SPLIT__INIT;
    renamed.from = (char *)"name";
    add_rule(builder, add_field(builder, message, "title", 1, TYPE(STRING), NULL), &renamed);
    unit.from = (char *)"size_kib";
    unit.has_multiply = 1;
    unit.multiply = builder->version == LARGE_2_0_0 ? 1000 : 1024;
    add_rule(builder, add_field(builder, message, "size_bytes", 2, TYPE(UINT64), NULL), &unit);
    split.pattern = (char *)"{name} <{email}>";
    split.otherwise = (char *)"name";
    whole.split = &split;
    add_rule(builder,
             add_field(builder, message, "contact", 6, TYPE(MESSAGE),
                       text(builder, ".%s.Contact", builder->package)),
             &whole);
    (void)add_field(builder, message, "extra", 10, TYPE(STRING), NULL);
    Parley__MessageRule rule = PARLEY__MESSAGE_RULE__INIT;
    Parley__Drop drop = PARLEY__DROP__INIT, *drops[] = {&drop};
    drop.from = (char *)"note";
    drop.reason = (char *)"nobody read it";
    rule.drop = drops;
    rule.n_drop = 1;
    message->options = make(builder, 1, sizeof(*message->options));
    google__protobuf__message_options__init(message->options);
    attach(builder, &message->options->base, &rule.base);
}

static Message *make_message(struct builder *builder, size_t index)
{
    Message *message = make(builder, 1, sizeof(*message));
    google__protobuf__descriptor_proto__init(message);
    message->name = text(builder, "Message%03zu", index);
    if (is_newer(builder))
        add_newer_fields(builder, message);
    else
        add_older_fields(builder, message);
    if (index % TREE != TREE - 1)
        (void)add_field(builder, message, "child", 3, TYPE(MESSAGE),
                        text(builder, ".%s.Message%03zu", builder->package, index + 1));
    add_field(builder, message, "tags", 4, TYPE(STRING), NULL)->label =
        GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REPEATED;
    (void)add_field(builder, message, "kind", 5, TYPE(ENUM),
                    text(builder, ".%s.Kind", builder->package));
    (void)add_field(builder, message, "created", 7, TYPE(FIXED64), NULL);
    (void)add_field(builder, message, "active", 9, TYPE(BOOL), NULL);
    return message;
}

static Message *make_contact(struct builder *builder)
{
    Message *message = make(builder, 1, sizeof(*message));
    google__protobuf__descriptor_proto__init(message);
    message->name = (char *)"Contact";
    (void)add_field(builder, message, "name", 1, TYPE(STRING), NULL);
    (void)add_field(builder, message, "email", 2, TYPE(STRING), NULL);
    return message;
}

/* ---- The rest ---- */

static Value *make_value(struct builder *builder, const char *name, int number)
{
    Value *value = make(builder, 1, sizeof(*value));
    google__protobuf__enum_value_descriptor_proto__init(value);
    value->name = (char *)name;
    value->has_number = 1;
    value->number = number;
    return value;
}

static Enum *make_kind(struct builder *builder)
{
    Enum *kind = make(builder, 1, sizeof(*kind));
    google__protobuf__enum_descriptor_proto__init(kind);
    kind->name = (char *)"Kind";
    kind->value = make(builder, VALUE_COUNT + 1, sizeof(Value *));
    for (int i = 0; i < VALUE_COUNT; i++)
        kind->value[kind->n_value++] =
            make_value(builder, text(builder, "KIND_%c", 'A' + i),
                       is_newer(builder) && i > 0 ? VALUE_COUNT + 1 - i : i);
    if (builder->version == LARGE_1_1_0)
        kind->value[kind->n_value++] = make_value(builder, "KIND_MORE", VALUE_COUNT);
    if (is_newer(builder)) {
        Value *more = make_value(builder, "KIND_MORE", 1);
        Parley__ValueRule rule = PARLEY__VALUE_RULE__INIT;
        rule.to = (char *)"KIND_B";
        more->options = make(builder, 1, sizeof(*more->options));
        google__protobuf__enum_value_options__init(more->options);
        attach(builder, &more->options->base, &rule.base);
        kind->value[kind->n_value++] = more;
    }
    return kind;
}

static void add_methods(struct builder *builder, Google__Protobuf__ServiceDescriptorProto *service)
{
    size_t count = METHOD_COUNT + (builder->version == LARGE_1_1_0);
    service->method = make(builder, count, sizeof(Method *));
    for (size_t i = 0; i < count; i++) {
        Method *method = make(builder, 1, sizeof(*method));
        google__protobuf__method_descriptor_proto__init(method);
        method->name = text(builder, "Put%02zu", i);
        method->input_type =
            text(builder, ".%s.Message%03zu", builder->package, i * TREE % LARGE_MESSAGE_COUNT);
        method->output_type = method->input_type;
        service->method[service->n_method++] = method;
    }
}

static void add_options(struct builder *builder, Google__Protobuf__FileDescriptorProto *file)
{
    Parley__Interface interface = PARLEY__INTERFACE__INIT;
    interface.name = (char *)LARGE_INTERFACE;
    interface.version = (char *)(is_newer(builder)                 ? "2.0.0"
                                 : builder->version == LARGE_1_1_0 ? "1.1.0"
                                                                   : "1.0.0");
    if (is_newer(builder))
        interface.previous = (char *)"large.v1";
    file->options = make(builder, 1, sizeof(*file->options));
    google__protobuf__file_options__init(file->options);
    attach(builder, &file->options->base, &interface.base);
}

void large_set(enum large_version version, uint8_t **ret_set, size_t *ret_bytes)
{
    struct builder builder = {.version = version};
    builder.package = version >= LARGE_2_0_0 ? "large.v2" : "large.v1";
    Google__Protobuf__FileDescriptorProto file = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT;
    Google__Protobuf__FileDescriptorProto *files[] = {&file};
    Google__Protobuf__FileDescriptorSet set = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_SET__INIT;
    Google__Protobuf__ServiceDescriptorProto service =
        GOOGLE__PROTOBUF__SERVICE_DESCRIPTOR_PROTO__INIT;
    Google__Protobuf__ServiceDescriptorProto *services[] = {&service};
    Enum *kinds[] = {make_kind(&builder)};
    file.name = (char *)(version >= LARGE_2_0_0 ? "large_v2.proto" : "large_v1.proto");
    file.package = (char *)builder.package;
    file.syntax = (char *)"proto3";
    file.message_type = make(&builder, LARGE_MESSAGE_COUNT + 1, sizeof(Message *));
    for (size_t i = 0; i < LARGE_MESSAGE_COUNT; i++)
        file.message_type[file.n_message_type++] = make_message(&builder, i);
    if (version >= LARGE_2_0_0)
        file.message_type[file.n_message_type++] = make_contact(&builder);
    file.enum_type = kinds;
    file.n_enum_type = 1;
    service.name = (char *)"Large";
    add_methods(&builder, &service);
    file.service = services;
    file.n_service = 1;
    add_options(&builder, &file);
    set.file = files;
    set.n_file = 1;
    *ret_set = malloc(google__protobuf__file_descriptor_set__get_packed_size(&set) + 1);
    if (!*ret_set)
        abort();
    *ret_bytes = google__protobuf__file_descriptor_set__pack(&set, *ret_set);
    for (size_t i = 0; i < builder.block_count; i++)
        free(builder.blocks[i]);
    free(builder.blocks);
}
