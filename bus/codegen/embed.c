/*
 * The descriptor set that a generated interface carries: what it publishes to the broker.
 *
 * The file with the service and what it imports, in the order of protoc's request, where imports
 * come before their users. Comments and positions (source_code_info) stay behind: they would be
 * most of the bytes, and would make two builds of the same schema differ by a comment.
 */
#include "codegen/codegen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

typedef Google__Protobuf__Compiler__CodeGeneratorRequest Request;
typedef Google__Protobuf__FileDescriptorProto File;

static bool imports(const File *file, const char *name)
{
    for (size_t i = 0; i < file->n_dependency; i++) {
        if (strcmp(file->dependency[i], name) == 0)
            return true;
    }
    return false;
}

/* Going backwards: all users of a file stand behind it. */
void embed_mark(const Request *request, const File *file, bool *needed)
{
    for (size_t i = request->n_proto_file; i-- > 0;) {
        needed[i] = request->proto_file[i] == file;
        for (size_t k = i + 1; !needed[i] && k < request->n_proto_file; k++)
            needed[i] = needed[k] && imports(request->proto_file[k], request->proto_file[i]->name);
    }
}

int embed_pack(const Request *request, const File *file, uint8_t **ret_data, size_t *ret_bytes)
{
    _cleanup_(freep) bool *needed = calloc(request->n_proto_file, sizeof(*needed));
    _cleanup_(freep) File *copies = calloc(request->n_proto_file, sizeof(*copies));
    _cleanup_(freep) File **list = calloc(request->n_proto_file, sizeof(*list));
    if (!needed || !copies || !list)
        return -ENOMEM;
    embed_mark(request, file, needed);
    Google__Protobuf__FileDescriptorSet set = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_SET__INIT;
    set.file = list;
    for (size_t i = 0; i < request->n_proto_file; i++) {
        if (!needed[i])
            continue;
        copies[i] = *request->proto_file[i]; /* borrows all but what is left out */
        copies[i].source_code_info = NULL;
        list[set.n_file++] = &copies[i];
    }
    size_t bytes = google__protobuf__file_descriptor_set__get_packed_size(&set);
    uint8_t *data = malloc(bytes + 1);
    if (!data)
        return -ENOMEM;
    *ret_bytes = google__protobuf__file_descriptor_set__pack(&set, data);
    *ret_data = data;
    return 0;
}

/* Whether one of the messages, or one nested in them, has the name @local, "Outer.Inner". */
static bool declares(Google__Protobuf__DescriptorProto *const *messages, size_t count,
                     const char *local)
{
    size_t n = strcspn(local, ".");
    for (size_t i = 0; i < count; i++) {
        const char *name = messages[i]->name;
        if (!name || strlen(name) != n || strncmp(name, local, n) != 0)
            continue;
        return local[n] == '\0' ||
               declares(messages[i]->nested_type, messages[i]->n_nested_type, local + n + 1);
    }
    return false;
}

const File *embed_find_message(const Request *request, const char *name)
{
    for (size_t i = 0; i < request->n_proto_file; i++) {
        const File *file = request->proto_file[i];
        size_t n = file->package ? strlen(file->package) : 0;
        if (n > 0 && (strncmp(file->package, name, n) != 0 || name[n] != '.'))
            continue;
        if (declares(file->message_type, file->n_message_type, n > 0 ? name + n + 1 : name))
            return file;
    }
    return NULL;
}
