/* Descriptor sets for tests: from a file, and taken apart, changed and put together again. */
#ifndef PARLEY_TESTS_SCHEMA_SETS_H
#define PARLEY_TESTS_SCHEMA_SETS_H

#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema/schema.h"
#include "wire/wire.h"

struct set {
    uint8_t *data;
    size_t bytes;
};

static inline struct set set_read(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    struct set set = {malloc(1 << 20), 0};
    assert_non_null(set.data);
    set.bytes = fread(set.data, 1, 1 << 20, file);
    assert_true(set.bytes > 0 && set.bytes < 1 << 20);
    (void)fclose(file);
    return set;
}

static inline Google__Protobuf__FileDescriptorSet *set_unpack(const struct set *set)
{
    ProtobufCMessage *message = NULL;
    struct error_text error = {""};
    assert_int_equal(wire_unpack(&google__protobuf__file_descriptor_set__descriptor, set->data,
                                 set->bytes, NULL, &message, &error),
                     0);
    return (Google__Protobuf__FileDescriptorSet *)message;
}

static inline struct set set_pack(const Google__Protobuf__FileDescriptorSet *files)
{
    struct set set = {NULL, protobuf_c_message_get_packed_size(&files->base)};
    set.data = malloc(set.bytes + 1);
    assert_non_null(set.data);
    assert_int_equal(protobuf_c_message_pack(&files->base, set.data), set.bytes);
    return set;
}

static inline struct schema *schema_read(const char *path)
{
    struct set set = set_read(path);
    struct schema *schema = NULL;
    struct error_text error = {""};
    int r = schema_new(set.data, set.bytes, NULL, &schema, &error);
    if (r < 0)
        fail_msg("%s: %s", path, error.text);
    free(set.data);
    return schema;
}

#endif
