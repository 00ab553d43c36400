/*
 * The descriptor set that a generated interface carries: what it publishes to the broker.
 *
 * The file with the service and what it imports, in the order of protoc's request, where imports
 * come before their users. Comments and positions (source_code_info) stay behind: they would make
 * two builds of the same schema differ by a comment.
 *
 * The positions go beside it, so that the broker can say where a schema breaks its own minor
 * version, as `parley diff` does: of the files of the file's own package, and of those only the
 * places that a finding can be at (schema/diff.h), as a set of its own. A part that begins where
 * its element does needs no entry, since a finding is then given the element's place.
 */
#include "codegen/codegen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "schema/diff.h"

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

/* ---- Positions ---- */

typedef Google__Protobuf__SourceCodeInfo__Location Location;

static bool same_start(const Location *a, const Location *b)
{
    return a->n_span >= 3 && b->n_span >= 3 && a->span[0] == b->span[0] && a->span[1] == b->span[1];
}

/* Whether @part is a part of @element and begins where it does. */
static bool is_at_element(const Location *part, const Location *element)
{
    return element && part->n_path == element->n_path + 1 && same_start(part, element) &&
           memcmp(part->path, element->path, element->n_path * sizeof(*element->path)) == 0;
}

/* The locations that a finding can be at, without their comments. @copies, @list: room for all.
 * Paths of elements have an even length, and parts come right behind their element. */
static size_t keep_locations(const Google__Protobuf__SourceCodeInfo *info, Location *copies,
                             Location **list)
{
    const Location *element = NULL;
    size_t kept = 0;
    for (size_t i = 0; i < info->n_location; i++) {
        const Location *location = info->location[i];
        if (location->n_span < 3 || !diff_points_to(location->path, location->n_path) ||
            is_at_element(location, element))
            continue;
        if (location->n_path % 2 == 0)
            element = location;
        google__protobuf__source_code_info__location__init(&copies[kept]);
        copies[kept].n_path = location->n_path;
        copies[kept].path = location->path;
        copies[kept].n_span = location->n_span;
        copies[kept].span = location->span;
        list[kept] = &copies[kept];
        kept++;
    }
    return kept;
}

/* The positions of one file, as a file of which nothing else is left; packed into @output. */
static int append_positions(const File *file, uint8_t **data, size_t *bytes)
{
    const Google__Protobuf__SourceCodeInfo *info = file->source_code_info;
    _cleanup_(freep) Location *copies = calloc(info->n_location + 1, sizeof(*copies));
    _cleanup_(freep) Location **list = calloc(info->n_location + 1, sizeof(*list));
    if (!copies || !list)
        return -ENOMEM;
    Google__Protobuf__SourceCodeInfo kept = GOOGLE__PROTOBUF__SOURCE_CODE_INFO__INIT;
    kept.location = list;
    kept.n_location = keep_locations(info, copies, list);
    File named = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT;
    named.name = file->name;
    named.source_code_info = &kept;
    File *files[] = {&named};
    Google__Protobuf__FileDescriptorSet set = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_SET__INIT;
    set.n_file = 1;
    set.file = files;
    /* Two sets behind each other are one set of both files. */
    size_t more = google__protobuf__file_descriptor_set__get_packed_size(&set);
    uint8_t *grown = realloc(*data, *bytes + more);
    if (!grown)
        return -ENOMEM;
    *data = grown;
    *bytes += google__protobuf__file_descriptor_set__pack(&set, grown + *bytes);
    return 0;
}

int embed_positions(const Request *request, const File *file, uint8_t **ret_data, size_t *ret_bytes)
{
    _cleanup_(freep) bool *needed = calloc(request->n_proto_file, sizeof(*needed));
    _cleanup_(freep) uint8_t *data = NULL;
    size_t bytes = 0;
    if (!needed)
        return -ENOMEM;
    embed_mark(request, file, needed);
    for (size_t i = 0; i < request->n_proto_file; i++) {
        const File *one = request->proto_file[i];
        const char *package = one->package ? one->package : "";
        if (!needed[i] || !one->source_code_info ||
            strcmp(package, file->package ? file->package : "") != 0)
            continue;
        int r = append_positions(one, &data, &bytes);
        if (r < 0)
            return r;
    }
    *ret_data = steal_ptr(&data);
    *ret_bytes = bytes;
    return 0;
}

/* ---- Messages ---- */

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
