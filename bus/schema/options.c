/*
 * Parley's options in a descriptor set.
 *
 * An option is an extension of protobuf's own options messages. protobuf-c knows no extensions: it
 * keeps them as unknown fields, which is all that is needed to read them. protoc writes one
 * occurrence for each statement in the .proto (`[(parley.field).from = "a", (parley.field).multiply
 * = 2]` makes two), and encodings of a message that follow each other are the encoding of their
 * merger, so the occurrences are put together and read as one.
 *
 * What options.c hands out has passed wire_unpack(). What rules mean, and whether they fit the
 * version before, is for the translator to say, which has both versions.
 */
#include "schema/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "wire/wire.h"

#define OPTION_NUMBER 51030 /* of all extensions in parley/options.proto */

static bool is_ours(const ProtobufCMessageUnknownField *field)
{
    return field->tag == OPTION_NUMBER && field->wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
}

/* The content of all occurrences; *ret_data is NULL if there is none. */
static int collect(const ProtobufCMessage *options, uint8_t **ret_data, size_t *ret_bytes)
{
    size_t room = 0;
    bool found = false;
    for (unsigned i = 0; i < options->n_unknown_fields; i++) {
        if (is_ours(&options->unknown_fields[i])) {
            room += options->unknown_fields[i].len;
            found = true;
        }
    }
    *ret_data = NULL;
    *ret_bytes = 0;
    if (!found)
        return 0;
    _cleanup_(freep) uint8_t *data = malloc(room + 1);
    if (!data)
        return -ENOMEM;
    size_t bytes = 0;
    for (unsigned i = 0; i < options->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *field = &options->unknown_fields[i];
        if (!is_ours(field))
            continue;
        struct wire_reader reader = {field->data, field->data + field->len};
        const uint8_t *part;
        size_t part_bytes;
        int r = wire_read_bytes(&reader, &part, &part_bytes);
        if (r < 0)
            return r;
        memcpy(data + bytes, part, part_bytes);
        bytes += part_bytes;
    }
    *ret_data = steal_ptr(&data);
    *ret_bytes = bytes;
    return 0;
}

static int keep(struct schema *schema, ProtobufCMessage *message)
{
    struct unpacked *unpacked = pool_alloc(&schema->pool, sizeof(*unpacked));
    if (!unpacked) {
        wire_free(message);
        return -ENOMEM;
    }
    unpacked->message = message;
    unpacked->next = schema->unpacked;
    schema->unpacked = unpacked;
    return 0;
}

/* Rules are bounded together: each is small, but a set can have one for every field and value, and
 * unpacked they take many times what they are made from. */
static int count_rule(struct load *load, const char *file, const char *what, size_t bytes)
{
    if (load->rule_count == SCHEMA_RULE_MAX)
        return error_set(load->error, -E2BIG,
                         "%s: %s: the descriptor set has more than %d Parley options", file, what,
                         SCHEMA_RULE_MAX);
    if (bytes > SCHEMA_RULE_BYTES_MAX - load->rule_bytes)
        return error_set(load->error, -E2BIG,
                         "%s: %s: the Parley options of the descriptor set have more than %u bytes",
                         file, what, (unsigned)SCHEMA_RULE_BYTES_MAX);
    load->rule_count++;
    load->rule_bytes += bytes;
    return 0;
}

int options_rule(struct load *load, const ProtobufCMessage *options,
                 const ProtobufCMessageDescriptor *descriptor,
                 const Google__Protobuf__FileDescriptorProto *file, const char *what,
                 const void **ret_rule)
{
    *ret_rule = NULL;
    if (!options)
        return 0;
    _cleanup_(freep) uint8_t *data = NULL;
    size_t bytes;
    int r = collect(options, &data, &bytes);
    if (r < 0)
        return error_set(load->error, r, "%s: %s: its Parley option is cut off", file->name, what);
    if (!data)
        return 0;
    r = count_rule(load, file->name, what, bytes);
    if (r < 0)
        return r;
    ProtobufCMessage *message;
    r = wire_unpack(descriptor, data, bytes, NULL, &message, load->error);
    if (r < 0)
        return error_prefix(load->error, r, "%s: %s: its Parley option cannot be read", file->name,
                            what);
    r = keep(load->schema, message);
    if (r == 0)
        *ret_rule = message;
    return r;
}

static int check_interface(const struct load *load,
                           const Google__Protobuf__FileDescriptorProto *file,
                           const Parley__Interface *interface)
{
    if (!interface->name || schema_check_interface_name(interface->name) < 0)
        return error_set(load->error, -EINVAL,
                         "%s: option (parley.interface): the name \"%s\" is not 1 to %d of a-z 0-9 "
                         "_ . - that begin with a letter",
                         file->name, PRINTABLE(interface->name), SCHEMA_INTERFACE_BYTES_MAX);
    struct semver version;
    if (!interface->version || semver_parse(interface->version, &version) < 0)
        return error_set(load->error, -EINVAL,
                         "%s: option (parley.interface): the version \"%s\" is not a semantic "
                         "version of at most %d bytes, like \"1.0.0\"",
                         file->name, PRINTABLE(interface->version), SEMVER_BYTES_MAX);
    if (interface->previous && (!name_is_package(interface->previous) ||
                                strlen(interface->previous) > SCHEMA_NAME_BYTES_MAX))
        return error_set(load->error, -EINVAL,
                         "%s: option (parley.interface): previous: \"%s\" is not a package, like "
                         "\"catalog.v1\"",
                         file->name, PRINTABLE(interface->previous));
    return 0;
}

int options_interface(struct load *load, const Google__Protobuf__FileDescriptorProto *file,
                      const Parley__Interface **ret_interface)
{
    const void *rule;
    int r = options_rule(load, file->options ? &file->options->base : NULL,
                         &parley__interface__descriptor, file, "option (parley.interface)", &rule);
    if (r < 0)
        return r;
    if (rule) {
        r = check_interface(load, file, rule);
        if (r < 0)
            return r;
    }
    *ret_interface = rule;
    return 0;
}
