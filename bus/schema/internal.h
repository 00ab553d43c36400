/*
 * What the files of the schema room share; nothing outside includes it.
 */
#ifndef PARLEY_SCHEMA_INTERNAL_H
#define PARLEY_SCHEMA_INTERNAL_H

#include "schema/schema.h"

#include <stdatomic.h>

#define TYPE(name) GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_##name
#define LABEL(name) GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_##name

/* Everything of a schema that is not protobuf-c's comes from one pool and goes with it. */
struct pool {
    struct pool_chunk *chunks;
    char *pos, *end;
};

void *pool_alloc(struct pool *pool,
                 size_t bytes); /* zeroed, aligned for anything; NULL: no memory */
void *pool_array(struct pool *pool, size_t count, size_t bytes); /* the same; count 0 is fine */
char *pool_join(struct pool *pool, const char *prefix, const char *name); /* "prefix.name" */
void pool_deinit(struct pool *pool);

enum symbol_kind {
    SYMBOL_MESSAGE,
    SYMBOL_ENUM,
    SYMBOL_SERVICE,
};

struct symbol {
    const char *name; /* full, without the leading dot */
    enum symbol_kind kind;
    uint32_t index; /* in the array of its kind */
};

/* A rule or interface that options.c unpacked. */
struct unpacked {
    struct unpacked *next;
    ProtobufCMessage *message;
};

struct schema {
    atomic_uint refs;
    uint8_t *set; /* as given */
    size_t set_bytes;
    struct pool pool;
    Google__Protobuf__FileDescriptorSet *files; /* names point into it */
    struct unpacked *unpacked;
    struct schema_message *messages;
    const struct schema_message **message_list;
    size_t message_count;
    struct schema_enum *enums;
    size_t enum_count;
    struct schema_service *services;
    const struct schema_service **service_list;
    size_t service_count;
    struct symbol *symbols; /* by name */
    size_t symbol_count;
    const struct schema_service *service; /* the one that this is the interface of */
};

/* What a message, enum or service was declared by; parallel to the schema's arrays. */
struct message_source {
    const Google__Protobuf__DescriptorProto *proto;
    const Google__Protobuf__FileDescriptorProto *file;
};
struct enum_source {
    const Google__Protobuf__EnumDescriptorProto *proto;
    const Google__Protobuf__FileDescriptorProto *file;
};
struct service_source {
    const Google__Protobuf__ServiceDescriptorProto *proto;
    const Google__Protobuf__FileDescriptorProto *file;
};

/* A schema under construction. */
struct load {
    struct schema *schema;
    struct message_source *messages;
    struct enum_source *enums;
    struct service_source *services;
    bool interface;                /* else any set, which is compared and not translated */
    size_t rule_count, rule_bytes; /* so far */
    struct error_text *error;
};

/* load.c: the names of everything, and the symbol table. */
int load_declare(struct load *load);
const struct symbol *symbol_find(const struct schema *schema, const char *name);
/* resolve.c: what the names stand for. */
int load_resolve(struct load *load);
/* options.c: Parley's options. Each sets *ret_rule to NULL if there is none. */
int options_interface(struct load *load, const Google__Protobuf__FileDescriptorProto *file,
                      const Parley__Interface **ret_interface);
/* @options: the options message, or NULL; @what: the element, for errors. */
int options_rule(struct load *load, const ProtobufCMessage *options,
                 const ProtobufCMessageDescriptor *descriptor,
                 const Google__Protobuf__FileDescriptorProto *file, const char *what,
                 const void **ret_rule);
/* check.c: what may be a name, and what may be printed. */
bool name_is_identifier(const char *name);
bool name_is_package(const char *name); /* identifiers joined by dots */
/* Cut at 80 bytes, without control characters: what a peer sent and a person will read. */
struct printable {
    char text[84];
};
#define PRINTABLE(name) (printable(&(struct printable){{0}}, name))
const char *printable(struct printable *buffer, const char *name);
/* Whether @text is a default value for this scalar type, as protoc writes them. */
bool default_is_valid(const struct schema_field *field, const char *text);

/* A name in protobuf's lowerCamelCase. */
char *json_name_of(struct pool *pool, const char *name);

#endif
