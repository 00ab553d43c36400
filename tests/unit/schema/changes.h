/* A descriptor set with something changed that no protoc would write, and what is said to it. */
#ifndef PARLEY_TESTS_SCHEMA_CHANGES_H
#define PARLEY_TESTS_SCHEMA_CHANGES_H

#include "sets.h"

#define FILES Google__Protobuf__FileDescriptorSet
#define TYPE(name) GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_##name

/* change_NAME(): for changed() and expect_refusal(). */
#define CHANGE(name, statement)                                                                    \
    static void change_##name(FILES *files)                                                        \
    {                                                                                              \
        statement;                                                                                 \
    }

static inline Google__Protobuf__FileDescriptorProto *own_file(FILES *files)
{
    return files->file[files->n_file - 1]; /* protoc puts imports first */
}

/* Field @name of the first message of the set's own file. */
static inline Google__Protobuf__FieldDescriptorProto *proto_of(FILES *files, const char *name)
{
    Google__Protobuf__DescriptorProto *message = own_file(files)->message_type[0];
    for (size_t i = 0; i < message->n_field; i++) {
        if (strcmp(message->field[i]->name, name) == 0)
            return message->field[i];
    }
    fail_msg("no field %s", name);
    return NULL;
}

/* What schema_new() says to the set at @path after @change. */
static inline int changed(const char *path, void (*change)(FILES *files), const char *service,
                          struct error_text *error)
{
    struct set set = set_read(path);
    FILES *files = set_unpack(&set);
    change(files);
    struct set altered = set_pack(files);
    struct schema *schema = NULL;
    error->text[0] = '\0';
    int r = schema_new(altered.data, altered.bytes, service, &schema, error);
    schema_unref(schema);
    free(altered.data);
    wire_free(files);
    free(set.data);
    return r;
}

static inline void expect_refusal(const char *path, void (*change)(FILES *files), int code,
                                  const char *sentence)
{
    struct error_text error;
    int r = changed(path, change, NULL, &error);
    if (r != code || !strstr(error.text, sentence))
        fail_msg("%d \"%s\" instead of %d \"%s\"", r, error.text, code, sentence);
}

#endif
