/*
 * Inside of between.c: the two schemas while they are made, and what is done to their files.
 */
#ifndef PARLEY_TRANSLATE_BETWEEN_INNER_H
#define PARLEY_TRANSLATE_BETWEEN_INNER_H

#include <stdbool.h>
#include <stddef.h>

#include "translate/between.h"
#include "translate/compile.h"

typedef Google__Protobuf__FileDescriptorSet Files;
typedef Google__Protobuf__FileDescriptorProto File;
typedef Google__Protobuf__DescriptorProto Message;
typedef Google__Protobuf__FieldDescriptorProto Field;
typedef Google__Protobuf__EnumDescriptorProto Enum;

struct piece;

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

static inline bool between_is_map(const struct schema_field *field)
{
    return field->message && field->message->map_entry;
}

/* The version before of a message, or NULL. */
const struct schema_message *between_find_older(const struct maker *maker,
                                                const struct schema_message *newer);

/* The copy in @files of a field of that message, or NULL. */
Field *between_find_field(Files *files, const struct schema_message *message,
                          const struct schema_field *field);

/* Takes Parley's option out, and puts @rule there instead, if it is not NULL. */
void between_set_option(struct maker *maker, ProtobufCMessage *options,
                        const ProtobufCMessage *rule);
void between_set_rule(struct maker *maker, Field *field, const Parley__FieldRule *rule);

/* Gives a field of the one between the type of the newer version's value. Return: 0, or -EINVAL
 * with maker->error set. */
int between_set_newer_type(struct maker *maker, const struct pair *pair, Field *field);

/* Makes a field of the one between what it is in the newer version, but for the type of its value.
 */
void between_set_older_value(struct maker *maker, const struct pair *pair, Field *field);

/* Sets maker->error: the pair's field and rule, and @what. Return: -EINVAL. */
int between_error(const struct maker *maker, const struct pair *pair, const char *what);

/* A copy of the schema's files, for wire_free(). */
int between_unpack(const struct schema *schema, Files **ret_files, struct error_text *error);

/* Names the one between, takes its rules out, and says of both what came before them. */
void between_begin(struct maker *maker);

/* The schema that the files are now; its service is @like's, in @package. */
int between_read(const Files *files, const char *package, const struct schema *like,
                 struct schema **ret_schema, struct error_text *error);

/* Frees what was added to the files. */
void between_free_pieces(struct maker *maker);

#endif
