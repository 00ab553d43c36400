/*
 * A version as the descriptor set that protoc would make of it, and as the .proto that a person
 * reads when a law is broken. Both come from the same data; options are printed as protobuf's text
 * format by their descriptors, so that a new rule needs nothing here.
 */
#include "laws.h"

#include <stdlib.h>
#include <string.h>

#define OPTION_NUMBER 51030

void option_add(struct option *option, const void *message)
{
    size_t bytes = protobuf_c_message_get_packed_size(message);
    if (bytes > sizeof(option->data) - option->bytes)
        die("an option of more than %zu bytes", sizeof(option->data));
    option->bytes += protobuf_c_message_pack(message, option->data + option->bytes);
}

static const struct {
    int ref;
    const char *name, *file, *fields[2];
    int types[2];
} well_known[] = {
    {REF_ANY,
     "Any",
     "google/protobuf/any.proto",
     {"type_url", "value"},
     {TYPE(STRING), TYPE(BYTES)}},
    {REF_TIMESTAMP,
     "Timestamp",
     "google/protobuf/timestamp.proto",
     {"seconds", "nanos"},
     {TYPE(INT64), TYPE(INT32)}},
    {REF_DURATION,
     "Duration",
     "google/protobuf/duration.proto",
     {"seconds", "nanos"},
     {TYPE(INT64), TYPE(INT32)}},
};
#define WELL_KNOWN (sizeof(well_known) / sizeof(well_known[0]))

static void type_name(const struct version *version, const struct field *field, bool qualified,
                      char *ret_name)
{
    char package[32] = "";
    if (field->ref >= REF_ANY) {
        (void)snprintf(ret_name, 64, ".google.protobuf.%s", well_known[field->ref - REF_ANY].name);
        return;
    }
    if (qualified)
        (void)snprintf(package, sizeof(package), ".laws.v%d.", version->index + 1);
    (void)snprintf(ret_name, 64, "%s%s", package,
                   field->type == TYPE(MESSAGE) ? version->messages[field->ref].name
                                                : version->enums[field->ref].name);
}

/* ---- As a descriptor set ---- */

static void add_option(struct buffer *options, const struct option *option)
{
    if (option->bytes > 0)
        buffer_field_bytes(options, OPTION_NUMBER, option->data, option->bytes);
}

static void add_plain_field(struct buffer *message, const char *name, uint32_t number, int type)
{
    struct buffer field = {0};
    buffer_field_text(&field, 1, name);
    buffer_field_varint(&field, 3, number);
    buffer_field_varint(&field, 4, 1);
    buffer_field_varint(&field, 5, (uint64_t)type);
    buffer_field_message(message, 2, &field);
}

static void add_well_known(struct buffer *set, size_t which)
{
    struct buffer file = {0}, message = {0};
    buffer_field_text(&file, 1, well_known[which].file);
    buffer_field_text(&file, 2, "google.protobuf");
    buffer_field_text(&message, 1, well_known[which].name);
    for (uint32_t i = 0; i < 2; i++)
        add_plain_field(&message, well_known[which].fields[i], i + 1, well_known[which].types[i]);
    buffer_field_message(&file, 4, &message);
    buffer_field_text(&file, 12, "proto3");
    buffer_field_message(set, 1, &file);
}

static void entry_name(const struct field *field, char *ret_name)
{
    (void)snprintf(ret_name, LAWS_NAME_BYTES + 8, "%sEntry", field->name);
    ret_name[0] = (char)(ret_name[0] - 'a' + 'A');
}

static void add_entry(const struct version *version, const struct field *field,
                      struct buffer *message)
{
    struct buffer entry = {0}, key = {0}, value = {0}, options = {0};
    char name[64];
    entry_name(field, name);
    buffer_field_text(&entry, 1, name);
    add_plain_field(&entry, "key", 1, field->key_type);
    buffer_field_text(&value, 1, "value");
    buffer_field_varint(&value, 3, 2);
    buffer_field_varint(&value, 4, 1);
    buffer_field_varint(&value, 5, (uint64_t)field->type);
    if (field->ref != REF_NONE) {
        type_name(version, field, true, name);
        buffer_field_text(&value, 6, name);
    }
    buffer_field_message(&entry, 2, &value);
    buffer_field_varint(&options, 7, 1);
    buffer_field_message(&entry, 7, &options);
    buffer_field_message(message, 3, &entry);
    buffer_free(&key);
}

static void add_field(const struct version *version, const struct message *message,
                      const struct field *field, int synthetic, struct buffer *out)
{
    struct buffer encoded = {0}, options = {0};
    char name[128] = "";
    bool map = field->label == LABEL_MAP;
    buffer_field_text(&encoded, 1, field->name);
    buffer_field_varint(&encoded, 3, field->number);
    buffer_field_varint(&encoded, 4,
                        field->label == LABEL_REQUIRED          ? 2
                        : map || field->label == LABEL_REPEATED ? 3
                                                                : 1);
    buffer_field_varint(&encoded, 5, map ? TYPE(MESSAGE) : (uint64_t)field->type);
    if (map) {
        char entry[64];
        entry_name(field, entry);
        (void)snprintf(name, sizeof(name), ".laws.v%d.%s.%s", version->index + 1, message->name,
                       entry);
    } else if (field->ref != REF_NONE) {
        type_name(version, field, true, name);
    }
    if (name[0])
        buffer_field_text(&encoded, 6, name);
    if (field->default_value[0])
        buffer_field_text(&encoded, 7, field->default_value);
    if (field->packed >= 0)
        buffer_field_varint(&options, 2, (uint64_t)field->packed);
    add_option(&options, &field->rule);
    if (options.bytes > 0)
        buffer_field_message(&encoded, 8, &options);
    if (field->oneof >= 0 || synthetic >= 0)
        buffer_field_varint(&encoded, 9, (uint64_t)(field->oneof >= 0 ? field->oneof : synthetic));
    if (synthetic >= 0)
        buffer_field_varint(&encoded, 17, 1);
    buffer_field_message(out, 2, &encoded);
}

static bool is_synthetic(const struct version *version, const struct field *field)
{
    return version->proto3 && field->label == LABEL_OPTIONAL && field->oneof < 0 &&
           field->type != TYPE(MESSAGE);
}

static void add_oneof_name(struct buffer *out, const char *prefix, const char *name)
{
    struct buffer oneof = {0};
    char text[LAWS_NAME_BYTES + 2];
    (void)snprintf(text, sizeof(text), "%s%s", prefix, name);
    buffer_field_text(&oneof, 1, text);
    buffer_field_message(out, 8, &oneof);
}

static void add_message(const struct version *version, const struct message *message,
                        struct buffer *out)
{
    struct buffer encoded = {0}, options = {0};
    int synthetic = message->oneof_count;
    buffer_field_text(&encoded, 1, message->name);
    for (int i = 0; i < message->field_count; i++) {
        const struct field *field = &message->fields[i];
        bool own = is_synthetic(version, field);
        add_field(version, message, field, own ? synthetic++ : -1, &encoded);
        if (field->label == LABEL_MAP)
            add_entry(version, field, &encoded);
    }
    for (int i = 0; i < message->oneof_count; i++)
        add_oneof_name(&encoded, "", message->oneofs[i]);
    for (int i = 0; i < message->field_count; i++)
        if (is_synthetic(version, &message->fields[i]))
            add_oneof_name(&encoded, "_", message->fields[i].name);
    add_option(&options, &message->rule);
    if (options.bytes > 0)
        buffer_field_message(&encoded, 7, &options);
    buffer_field_message(out, 4, &encoded);
}

static void add_enum(const struct enumeration *enumeration, struct buffer *out)
{
    struct buffer encoded = {0}, options = {0};
    buffer_field_text(&encoded, 1, enumeration->name);
    for (int i = 0; i < enumeration->value_count; i++) {
        const struct value_name *value = &enumeration->values[i];
        struct buffer one = {0}, value_options = {0};
        char name[2 * LAWS_NAME_BYTES + 2];
        (void)snprintf(name, sizeof(name), "%s_%s", enumeration->prefix, value->name);
        buffer_field_text(&one, 1, name);
        buffer_field_varint(&one, 2, (uint64_t)(int64_t)value->number);
        add_option(&value_options, &value->rule);
        if (value_options.bytes > 0)
            buffer_field_message(&one, 3, &value_options);
        buffer_field_message(&encoded, 2, &one);
    }
    add_option(&options, &enumeration->rule);
    if (options.bytes > 0)
        buffer_field_message(&encoded, 3, &options);
    buffer_field_message(out, 5, &encoded);
}

static void interface_of(const struct version *version, char texts[2][32],
                         Parley__Interface *ret_interface)
{
    *ret_interface = (Parley__Interface)PARLEY__INTERFACE__INIT;
    (void)snprintf(texts[0], 32, "%d.0.0", version->index + 1);
    (void)snprintf(texts[1], 32, "laws.v%d", version->index);
    ret_interface->name = (char *)(uintptr_t) "laws";
    ret_interface->version = texts[0];
    ret_interface->previous = version->index > 0 ? texts[1] : NULL;
}

static void add_service(const struct version *version, struct buffer *file)
{
    struct buffer service = {0}, method = {0};
    char type[64];
    (void)snprintf(type, sizeof(type), ".laws.v%d.%s", version->index + 1,
                   version->messages[0].name);
    buffer_field_text(&service, 1, "Laws");
    buffer_field_text(&method, 1, "Obey");
    buffer_field_text(&method, 2, type);
    buffer_field_text(&method, 3, type);
    buffer_field_message(&service, 2, &method);
    buffer_field_message(file, 6, &service);
}

void describe_set(const struct version *version, struct buffer *ret_set)
{
    struct buffer file = {0}, options = {0};
    struct option interface_option = {.bytes = 0};
    Parley__Interface interface;
    char name[32], texts[2][32];
    for (size_t i = 0; i < WELL_KNOWN; i++)
        add_well_known(ret_set, i);
    (void)snprintf(name, sizeof(name), "v%d.proto", version->index + 1);
    buffer_field_text(&file, 1, name);
    (void)snprintf(name, sizeof(name), "laws.v%d", version->index + 1);
    buffer_field_text(&file, 2, name);
    for (size_t i = 0; i < WELL_KNOWN; i++)
        buffer_field_text(&file, 3, well_known[i].file);
    for (int i = 0; i < version->message_count; i++)
        add_message(version, &version->messages[i], &file);
    for (int i = 0; i < version->enum_count; i++)
        add_enum(&version->enums[i], &file);
    add_service(version, &file);
    interface_of(version, texts, &interface);
    option_add(&interface_option, &interface);
    add_option(&options, &interface_option);
    buffer_field_message(&file, 8, &options);
    buffer_field_text(&file, 12, version->proto3 ? "proto3" : "proto2");
    buffer_field_message(ret_set, 1, &file);
}

/* ---- As text ---- */

static void print_text(const ProtobufCMessage *message, FILE *out);

static void print_string(const char *text, FILE *out)
{
    (void)fputc('"', out);
    for (; *text; text++)
        (void)fprintf(out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    (void)fputc('"', out);
}

static void print_member(const ProtobufCFieldDescriptor *field, const void *member, FILE *out)
{
    (void)fprintf(out, " %s%s", field->name, field->type == PROTOBUF_C_TYPE_MESSAGE ? " {" : ": ");
    switch (field->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        print_text(*(const ProtobufCMessage *const *)member, out);
        (void)fputs(" }", out);
        break;
    case PROTOBUF_C_TYPE_STRING:
        print_string(*(const char *const *)member, out);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        (void)fputs(*(const protobuf_c_boolean *)member ? "true" : "false", out);
        break;
    case PROTOBUF_C_TYPE_ENUM:
        (void)fputs(
            protobuf_c_enum_descriptor_get_value(field->descriptor, *(const int *)member)->name,
            out);
        break;
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_INT64:
        (void)fprintf(out, "%lld", (long long)*(const int64_t *)member);
        break;
    case PROTOBUF_C_TYPE_UINT64:
        (void)fprintf(out, "%llu", (unsigned long long)*(const uint64_t *)member);
        break;
    default:
        (void)fprintf(out, "%d", *(const int *)member);
    }
}

static bool member_is_there(const ProtobufCFieldDescriptor *field, const uint8_t *base)
{
    if (field->type == PROTOBUF_C_TYPE_MESSAGE || field->type == PROTOBUF_C_TYPE_STRING)
        return *(void *const *)(const void *)(base + field->offset) != NULL;
    return *(const protobuf_c_boolean *)(base + field->quantifier_offset);
}

static void print_text(const ProtobufCMessage *message, FILE *out)
{
    const uint8_t *base = (const uint8_t *)message;
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        if (field->label != PROTOBUF_C_LABEL_REPEATED) {
            if (member_is_there(field, base))
                print_member(field, base + field->offset, out);
            continue;
        }
        size_t count = *(const size_t *)(const void *)(base + field->quantifier_offset);
        void *const *list = *(void *const *const *)(const void *)(base + field->offset);
        for (size_t j = 0; j < count; j++) /* messages or strings: pointers, both */
            print_member(field, &list[j], out);
    }
}

static void print_option(const struct option *option, const ProtobufCMessageDescriptor *type,
                         const char *before, const char *name, const char *after, FILE *out)
{
    ProtobufCMessage *message =
        option->bytes ? protobuf_c_message_unpack(type, NULL, option->bytes, option->data) : NULL;
    if (!message)
        return;
    (void)fprintf(out, "%s(parley.%s) = {", before, name);
    print_text(message, out);
    (void)fprintf(out, " }%s", after);
    protobuf_c_message_free_unpacked(message, NULL);
}

static const char *scalar_name(int type)
{
    static const char *const names[] = {
        [TYPE(DOUBLE)] = "double",     [TYPE(FLOAT)] = "float",   [TYPE(INT64)] = "int64",
        [TYPE(UINT64)] = "uint64",     [TYPE(INT32)] = "int32",   [TYPE(FIXED64)] = "fixed64",
        [TYPE(FIXED32)] = "fixed32",   [TYPE(BOOL)] = "bool",     [TYPE(STRING)] = "string",
        [TYPE(BYTES)] = "bytes",       [TYPE(UINT32)] = "uint32", [TYPE(SFIXED32)] = "sfixed32",
        [TYPE(SFIXED64)] = "sfixed64", [TYPE(SINT32)] = "sint32", [TYPE(SINT64)] = "sint64",
    };
    return names[type];
}

static void print_field(const struct version *version, const struct field *field, FILE *out)
{
    char name[64];
    if (field->ref == REF_NONE)
        (void)snprintf(name, sizeof(name), "%s", scalar_name(field->type));
    else
        type_name(version, field, false, name);
    static const char *const labels[] = {"", "optional ", "required ", "repeated ", ""};
    const char *label = labels[field->label];
    if (field->label == LABEL_PLAIN && !version->proto3 && field->oneof < 0)
        label = "optional ";
    (void)fprintf(out, "  %s%s", field->oneof >= 0 ? "  " : "", label);
    if (field->label == LABEL_MAP)
        (void)fprintf(out, "map<%s, %s>", scalar_name(field->key_type), name);
    else
        (void)fputs(name, out);
    (void)fprintf(out, " %s = %u", field->name, field->number);
    const char *separator = " [";
    if (field->packed >= 0) {
        (void)fprintf(out, "%spacked = %s", separator, field->packed ? "true" : "false");
        separator = ", ";
    }
    if (field->default_value[0]) {
        const char *quote = field->type == TYPE(STRING) ? "\"" : "";
        (void)fprintf(out, "%sdefault = %s%s%s", separator, quote, field->default_value, quote);
        separator = ", ";
    }
    print_option(&field->rule, &parley__field_rule__descriptor, separator, "field", "", out);
    bool any = separator[0] == ',' || field->rule.bytes > 0;
    (void)fprintf(out, "%s;\n", any ? "]" : "");
}

static void print_message(const struct version *version, const struct message *message, FILE *out)
{
    (void)fprintf(out, "message %s {\n", message->name);
    print_option(&message->rule, &parley__message_rule__descriptor, "  option ", "message", ";\n",
                 out);
    for (int i = 0; i < message->field_count; i++)
        if (message->fields[i].oneof < 0)
            print_field(version, &message->fields[i], out);
    for (int oneof = 0; oneof < message->oneof_count; oneof++) {
        (void)fprintf(out, "  oneof %s {\n", message->oneofs[oneof]);
        for (int i = 0; i < message->field_count; i++)
            if (message->fields[i].oneof == oneof)
                print_field(version, &message->fields[i], out);
        (void)fputs("  }\n", out);
    }
    (void)fputs("}\n", out);
}

static void print_enum(const struct enumeration *enumeration, FILE *out)
{
    (void)fprintf(out, "enum %s {\n", enumeration->name);
    print_option(&enumeration->rule, &parley__enum_rule__descriptor, "  option ", "enumeration",
                 ";\n", out);
    for (int i = 0; i < enumeration->value_count; i++) {
        const struct value_name *value = &enumeration->values[i];
        (void)fprintf(out, "  %s_%s = %d", enumeration->prefix, value->name, value->number);
        print_option(&value->rule, &parley__value_rule__descriptor, " [", "value", "]", out);
        (void)fputs(";\n", out);
    }
    (void)fputs("}\n", out);
}

void describe_proto(const struct version *version, FILE *out)
{
    Parley__Interface interface;
    char texts[2][32];
    (void)fprintf(out, "syntax = \"%s\";\npackage laws.v%d;\n",
                  version->proto3 ? "proto3" : "proto2", version->index + 1);
    (void)fputs("import \"parley/options.proto\";\n", out);
    for (size_t i = 0; i < WELL_KNOWN; i++)
        (void)fprintf(out, "import \"%s\";\n", well_known[i].file);
    interface_of(version, texts, &interface);
    (void)fputs("option (parley.interface) = {", out);
    print_text(&interface.base, out);
    (void)fputs(" };\n", out);
    for (int i = 0; i < version->message_count; i++)
        print_message(version, &version->messages[i], out);
    for (int i = 0; i < version->enum_count; i++)
        print_enum(&version->enums[i], out);
    (void)fprintf(out, "service Laws {\n  rpc Obey(%s) returns (%s);\n}\n",
                  version->messages[0].name, version->messages[0].name);
}
