/*
 * The schema room: a version of an interface as data, semantic versions and ranges, and messages
 * as JSON.
 *
 * A schema is made from a serialized FileDescriptorSet that a peer or a file gave: bounded and
 * checked, every reference resolved, options read. It is immutable and may be shared by threads.
 */
#ifndef PARLEY_SCHEMA_SCHEMA_H
#define PARLEY_SCHEMA_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "google/protobuf/descriptor.pb-c.h"
#include "parley/options.pb-c.h"

#define SCHEMA_SET_BYTES_MAX (UINT32_C(4) << 20)
#define SCHEMA_FILE_MAX 256
#define SCHEMA_MESSAGE_MAX 4096
#define SCHEMA_ENUM_MAX 4096
#define SCHEMA_SERVICE_MAX 512
#define SCHEMA_FIELD_MAX 4096 /* of one message */
#define SCHEMA_VALUE_MAX 8192 /* of one enum */
#define SCHEMA_METHOD_MAX 512
#define SCHEMA_NAME_BYTES_MAX 255
#define SCHEMA_INTERFACE_BYTES_MAX 63               /* of an interface's name */
#define SCHEMA_ELEMENT_MAX (UINT32_C(1) << 17)      /* of all lists of a set together */
#define SCHEMA_RULE_MAX 8192                        /* Parley's options in a set */
#define SCHEMA_RULE_BYTES_MAX (UINT32_C(512) << 10) /* of all of them, encoded */

struct schema_enum_value {
    const char *name; /* "PRIORITY_EXTRA" */
    int32_t number;
    const Parley__ValueRule *rule; /* NULL: none */
};

struct schema_enum {
    const char *name;    /* full, "catalog.v2.Priority" */
    const char *local;   /* without the package, "Priority"; nested: "Package.Kind" */
    const char *package; /* "catalog.v2" */
    bool closed;         /* proto2: unknown values are unknown fields */
    size_t value_count;
    const struct schema_enum_value *values;            /* as declared */
    const Parley__EnumRule *rule;                      /* NULL: none */
    const Google__Protobuf__FileDescriptorProto *file; /* that declares it */
    const Google__Protobuf__EnumDescriptorProto *proto;
};

struct schema_message;

struct schema_field {
    const char *name;
    const char *json_name; /* lowerCamelCase, or what json_name says */
    uint32_t number;
    Google__Protobuf__FieldDescriptorProto__Type type;
    bool repeated;
    bool required;
    bool packed;   /* written packed by default or by option; both are read */
    bool presence; /* the wire tells absent from default: messages, proto2, oneofs, `optional`; not
                    * in entries of maps */
    int32_t oneof; /* index in the message's oneofs, -1: none (nor for proto3 `optional`) */
    const char *default_value;             /* proto2's, as text; NULL: none */
    const struct schema_message *message;  /* of TYPE_MESSAGE and TYPE_GROUP */
    const struct schema_enum *enumeration; /* of TYPE_ENUM */
    const Parley__FieldRule *rule;         /* NULL: none */
};

struct schema_message {
    const char *name;  /* full, "catalog.v2.Package" */
    const char *local; /* without the package */
    const char *package;
    uint32_t index; /* in schema_messages() */
    bool map_entry;
    size_t field_count;
    const struct schema_field *fields; /* by ascending number */
    size_t oneof_count;
    const char *const *oneofs;                         /* names */
    const Parley__MessageRule *rule;                   /* NULL: none */
    const Google__Protobuf__FileDescriptorProto *file; /* that declares it */
    const Google__Protobuf__DescriptorProto *proto;
};

struct schema_method {
    const char *name;
    const struct schema_message *input;
    const struct schema_message *output;
    bool client_streaming;
    bool server_streaming;
    uint32_t idempotency;           /* protobuf's IdempotencyLevel = enum parley_idempotency */
    const Parley__MethodRule *rule; /* NULL: none */
};

struct schema_service {
    const char *name;    /* full, "catalog.v2.Catalog" */
    const char *package; /* "catalog.v2" */
    size_t method_count;
    const struct schema_method *methods; /* as declared */
    const Parley__Interface *interface;  /* of its file; NULL: none; schema_service()'s has one */
    const Google__Protobuf__FileDescriptorProto *file;
    const Google__Protobuf__ServiceDescriptorProto *proto;
};

struct schema;

/**
 * schema_new() - read and check a descriptor set
 * @set:     private memory; copied
 * @service: full name of the service that this is the interface of; NULL: the only one in a file
 *           with (parley.interface), else -EINVAL
 *
 * Return: 0; -EINVAL or -EBADMSG with a sentence that names file and element (unresolved type,
 * duplicate name or number, no interface option, name or version that does not parse, ...);
 * -E2BIG past a limit; -ENOMEM.
 */
int schema_new(const uint8_t *set, size_t bytes, const char *service, struct schema **ret_schema,
               struct error_text *error);
/* The same of any set, which need not be an interface: schema_service() is NULL. For comparing
 * (schema/diff.h): messages in the message set format, which nothing here translates, pass. */
int schema_new_set(const uint8_t *set, size_t bytes, struct schema **ret_schema,
                   struct error_text *error);
struct schema *schema_ref(struct schema *schema);
struct schema *schema_unref(struct schema *schema); /* NULL is fine; returns NULL */

const struct schema_service *schema_service(const struct schema *schema);
/* All of them; those of files without (parley.interface) have no interface. */
const struct schema_service *const *schema_services(const struct schema *schema, size_t *ret_count);
const struct schema_message *const *schema_messages(const struct schema *schema, size_t *ret_count);
/* By full name; NULL: not there. */
const struct schema_message *schema_message_find(const struct schema *schema, const char *name);
const struct schema_enum *schema_enum_find(const struct schema *schema, const char *name);
const struct schema_field *schema_field_find(const struct schema_message *message,
                                             const char *name);
const struct schema_field *schema_field_number(const struct schema_message *message,
                                               uint32_t number);
const struct schema_method *schema_method_find(const struct schema *schema, const char *name,
                                               size_t *ret_index);
/* The set as it was given; borrowed. */
const uint8_t *schema_set(const struct schema *schema, size_t *ret_bytes);

/* 1..63 bytes of a-z 0-9 _ . - that begin with a letter. Return: 0 or -EINVAL. */
int schema_check_interface_name(const char *name);

/* ---- Semantic versions (semver.org 2.0.0) and ranges (as node-semver reads them) ---- */

#define SEMVER_BYTES_MAX 31
#define SEMVER_RANGE_BYTES_MAX 255

struct semver {
    uint32_t major, minor, patch;
    char prerelease[SEMVER_BYTES_MAX + 1]; /* "rc.1"; "": none */
};

/* Return: 0, -EINVAL. Build metadata (+...) is read and dropped. */
int semver_parse(const char *text, struct semver *ret_version);
/* <0, 0, >0 by precedence. */
int semver_compare(const struct semver *a, const struct semver *b);

struct semver_ranges;
/**
 * semver_ranges_new() - read ordered alternatives: "~2.1, ~1.4"
 *
 * A comma separates alternatives in order of preference; each alternative is a node-semver range:
 * space means AND, || means OR; tilde, caret, hyphen, x-ranges, pre-releases as node-semver.
 * Return: 0; -EINVAL with the place and what was expected.
 */
int semver_ranges_new(const char *text, struct semver_ranges **ret_ranges,
                      struct error_text *error);
/* One more user, in the same thread. */
struct semver_ranges *semver_ranges_ref(struct semver_ranges *ranges);
/* One user less. */
struct semver_ranges *semver_ranges_free(struct semver_ranges *ranges);
/* The index of the first alternative that @version satisfies, or -1. */
int semver_ranges_match(const struct semver_ranges *ranges, const struct semver *version);

/* ---- Messages as JSON (protobuf's JSON mapping), by descriptor ----
 *
 * google.protobuf.Timestamp, Duration, Any and the other well-known types are plain messages here:
 * {"seconds": "1", "nanos": 5}. Unknown fields are left out. A default of proto2 is not written for
 * a field that is not there. */

/**
 * json_to_wire() - encode a JSON object as a message
 * @json: NUL-terminated UTF-8
 * @ret_data: the caller's; free()
 * Return: 0; -EINVAL with line, column or the field's path, and what was expected; -E2BIG, -ENOMEM.
 */
int json_to_wire(const struct schema_message *message, const char *json, uint8_t **ret_data,
                 size_t *ret_bytes, struct error_text *error);

struct json_t;
/* The same of a value that was parsed (jansson); borrowed. */
int json_value_to_wire(const struct schema_message *message, const struct json_t *json,
                       uint8_t **ret_data, size_t *ret_bytes, struct error_text *error);

/**
 * json_from_wire() - decode a message into JSON text
 * @indent: spaces; 0: one line
 * @ret_json: the caller's; free(). Fields at their default are left out unless @all.
 * Return: 0; -EBADMSG, -E2BIG, -ENOMEM.
 */
int json_from_wire(const struct schema_message *message, const uint8_t *data, size_t bytes,
                   unsigned indent, bool all, char **ret_json, struct error_text *error);

#endif
