/*
 * An interface as proto-like text, from its descriptors.
 *
 * What a .proto file would say, for people who are about to write JSON: the service, then every
 * message in reach of its methods in the order in which they are first met, then the enums by
 * name. Types of the service's own package go by their local name. The rules by which the version
 * maps to the one before stand behind the fields as comments.
 *
 * The schema was checked, but its author is not trusted with the terminal: names went through
 * schema_new(), texts of options go through text_print(). Messages are found with a queue, not by
 * recursion, so that no schema can exhaust the stack.
 */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#include "schema/schema.h"

struct proto {
    FILE *out;
    const struct schema *schema;
    const char *package;
    bool *met; /* by schema_message.index */
    const struct schema_message **queue;
    size_t queue_count;
    const struct schema_enum **enums; /* met more than once, perhaps */
    size_t enum_count, enum_room;
};

static const char *scalar_name(Google__Protobuf__FieldDescriptorProto__Type type)
{
    static const char *const names[] = {
        [1] = "double",  [2] = "float",     [3] = "int64",     [4] = "uint64",  [5] = "int32",
        [6] = "fixed64", [7] = "fixed32",   [8] = "bool",      [9] = "string",  [12] = "bytes",
        [13] = "uint32", [15] = "sfixed32", [16] = "sfixed64", [17] = "sint32", [18] = "sint64",
    };
    size_t index = (size_t)type;
    return index < sizeof(names) / sizeof(names[0]) && names[index] ? names[index] : "?";
}

static void meet_message(struct proto *proto, const struct schema_message *message)
{
    if (proto->met[message->index])
        return;
    proto->met[message->index] = true;
    proto->queue[proto->queue_count++] = message;
}

static void meet_enum(struct proto *proto, const struct schema_enum *enumeration)
{
    if (proto->enum_count == proto->enum_room) {
        size_t room = proto->enum_room ? 2 * proto->enum_room : 16;
        const struct schema_enum **enums = text_alloc(room * sizeof(*enums));
        if (proto->enum_count > 0)
            memcpy(enums, proto->enums, proto->enum_count * sizeof(*enums));
        free(proto->enums);
        proto->enums = enums;
        proto->enum_room = room;
    }
    proto->enums[proto->enum_count++] = enumeration;
}

static void meet_fields(struct proto *proto, const struct schema_message *message)
{
    for (size_t i = 0; i < message->field_count; i++) {
        if (message->fields[i].message)
            meet_message(proto, message->fields[i].message);
        if (message->fields[i].enumeration)
            meet_enum(proto, message->fields[i].enumeration);
    }
}

static const char *shown_name(const struct proto *proto, const char *package, const char *local,
                              const char *full)
{
    return strcmp(package, proto->package) == 0 ? local : full;
}

static const char *message_name(const struct proto *proto, const struct schema_message *message)
{
    return shown_name(proto, message->package, message->local, message->name);
}

static const char *enum_name(const struct proto *proto, const struct schema_enum *enumeration)
{
    return shown_name(proto, enumeration->package, enumeration->local, enumeration->name);
}

static const char *type_name(const struct proto *proto, const struct schema_field *field)
{
    if (field->message)
        return message_name(proto, field->message);
    if (field->enumeration)
        return enum_name(proto, field->enumeration);
    return scalar_name(field->type);
}

static void print_field_rule(FILE *out, const Parley__FieldRule *rule)
{
    const char *comma = "";
    if (!rule)
        return;
    fputs(" //", out);
    if (rule->from) {
        fputs(" was ", out);
        text_print(out, rule->from);
        comma = ",";
    }
    if (rule->has_multiply) {
        fprintf(out, "%s times %llu", comma, (unsigned long long)rule->multiply);
        comma = ",";
    }
    if (rule->split) {
        fprintf(out, "%s one string before: ", comma);
        text_print(out, rule->split->pattern ? rule->split->pattern : "");
    }
}

static bool is_map(const struct schema_field *field)
{
    return field->repeated && field->message && field->message->map_entry &&
           field->message->field_count == 2;
}

static const char *label_of(const struct schema_field *field)
{
    if (is_map(field))
        return "";
    if (field->repeated)
        return "repeated ";
    if (field->required)
        return "required ";
    return field->presence && field->oneof < 0 && !field->message ? "optional " : "";
}

static void print_field(const struct proto *proto, const struct schema_field *field,
                        const char *indent)
{
    fprintf(proto->out, "%s%s", indent, label_of(field));
    if (is_map(field))
        fprintf(proto->out, "map<%s, %s>", type_name(proto, &field->message->fields[0]),
                type_name(proto, &field->message->fields[1]));
    else
        fputs(type_name(proto, field), proto->out);
    fprintf(proto->out, " %s = %u", field->name, (unsigned)field->number);
    if (field->default_value) {
        bool quoted = field->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_STRING ||
                      field->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_BYTES;
        fputs(quoted ? " [default = \"" : " [default = ", proto->out);
        text_print(proto->out, field->default_value);
        fputs(quoted ? "\"]" : "]", proto->out);
    }
    fputc(';', proto->out);
    print_field_rule(proto->out, field->rule);
    fputc('\n', proto->out);
}

static void print_oneof(const struct proto *proto, const struct schema_message *message,
                        int32_t oneof)
{
    fprintf(proto->out, "  oneof %s {\n", message->oneofs[oneof]);
    for (size_t i = 0; i < message->field_count; i++) {
        if (message->fields[i].oneof == oneof)
            print_field(proto, &message->fields[i], "    ");
    }
    fputs("  }\n", proto->out);
}

static void print_message_rule(FILE *out, const Parley__MessageRule *rule)
{
    if (!rule)
        return;
    if (rule->from) {
        fputs("  // was ", out);
        text_print(out, rule->from);
        fputc('\n', out);
    }
    for (size_t i = 0; i < rule->n_move; i++) {
        fputs("  // moved: ", out);
        text_print(out, rule->move[i]->from ? rule->move[i]->from : "");
        fputs(" to ", out);
        text_print(out, rule->move[i]->to ? rule->move[i]->to : "");
        fputc('\n', out);
    }
    for (size_t i = 0; i < rule->n_drop; i++) {
        fputs("  // dropped: ", out);
        text_print(out, rule->drop[i]->from ? rule->drop[i]->from : "");
        fputs(": ", out);
        text_print(out, rule->drop[i]->reason ? rule->drop[i]->reason : "");
        fputc('\n', out);
    }
}

static void print_message(const struct proto *proto, const struct schema_message *message)
{
    bool *printed = text_alloc(message->oneof_count * sizeof(*printed));
    fprintf(proto->out, "\nmessage %s {\n", message_name(proto, message));
    print_message_rule(proto->out, message->rule);
    for (size_t i = 0; i < message->field_count; i++) {
        const struct schema_field *field = &message->fields[i];
        if (field->oneof < 0) {
            print_field(proto, field, "  ");
        } else if (!printed[field->oneof]) {
            printed[field->oneof] = true;
            print_oneof(proto, message, field->oneof);
        }
    }
    fputs("}\n", proto->out);
    free(printed);
}

static void print_enum(const struct proto *proto, const struct schema_enum *enumeration)
{
    fprintf(proto->out, "\nenum %s {\n", enum_name(proto, enumeration));
    for (size_t i = 0; i < enumeration->value_count; i++) {
        const struct schema_enum_value *value = &enumeration->values[i];
        fprintf(proto->out, "  %s = %d;", value->name, (int)value->number);
        if (value->rule && value->rule->from) {
            fputs(" // was ", proto->out);
            text_print(proto->out, value->rule->from);
        }
        if (value->rule && value->rule->to) {
            fputs(" // new; before: ", proto->out);
            text_print(proto->out, value->rule->to);
        }
        fputc('\n', proto->out);
    }
    fputs("}\n", proto->out);
}

static void print_method(const struct proto *proto, const struct schema_method *method)
{
    static const char *const levels[] = {"", " // NO_SIDE_EFFECTS: may be retried",
                                         " // IDEMPOTENT: may be retried"};
    fprintf(proto->out, "  rpc %s(%s%s) returns (%s%s);%s\n", method->name,
            method->client_streaming ? "stream " : "", message_name(proto, method->input),
            method->server_streaming ? "stream " : "", message_name(proto, method->output),
            method->idempotency < 3 ? levels[method->idempotency] : "");
}

static void print_service(struct proto *proto, const struct schema_method *only)
{
    const struct schema_service *service = schema_service(proto->schema);
    const char *name = strrchr(service->name, '.');
    fprintf(proto->out, "service %s {\n", name ? name + 1 : service->name);
    for (size_t i = 0; i < service->method_count; i++) {
        const struct schema_method *method = &service->methods[i];
        if (only && only != method)
            continue;
        print_method(proto, method);
        meet_message(proto, method->input);
        meet_message(proto, method->output);
    }
    fputs("}\n", proto->out);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct schema_enum *const *)a)->name,
                  (*(const struct schema_enum *const *)b)->name);
}

static void print_enums(struct proto *proto)
{
    if (proto->enum_count > 0)
        qsort(proto->enums, proto->enum_count, sizeof(*proto->enums), by_name);
    for (size_t i = 0; i < proto->enum_count; i++) {
        if (i == 0 || proto->enums[i] != proto->enums[i - 1])
            print_enum(proto, proto->enums[i]);
    }
}

void proto_print(FILE *out, const struct schema *schema, const char *interface, const char *version,
                 const struct schema_method *method)
{
    size_t count;
    schema_messages(schema, &count);
    struct proto proto = {.out = out, .schema = schema};
    proto.package = schema_service(schema)->package;
    proto.met = text_alloc(count * sizeof(*proto.met));
    proto.queue = text_alloc(count * sizeof(*proto.queue));
    fputs("// ", out);
    text_print(out, interface);
    fputc(' ', out);
    text_print(out, version);
    fprintf(out, "\npackage %s;\n\n", proto.package);
    print_service(&proto, method);
    for (size_t i = 0; i < proto.queue_count; i++) {
        meet_fields(&proto, proto.queue[i]);
        if (!proto.queue[i]->map_entry)
            print_message(&proto, proto.queue[i]);
    }
    print_enums(&proto);
    free(proto.met);
    free(proto.queue);
    free(proto.enums);
}
