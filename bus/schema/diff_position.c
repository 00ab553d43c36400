/*
 * Where a finding is in its .proto.
 *
 * protoc describes positions by paths through the descriptor: [4, 0, 2, 3, 1] is the name (1) of
 * field 3 (2) of message 0 (4) of a file. A finding is given such a path when it is reported. When
 * all are there, they are sorted, the source_code_info of every file is read once, straight from
 * the wire, and each of its locations is offered to the findings whose path begins with the
 * location's: a range of the sorted list. The longest wins, so that what has no position of its own
 * (an absent json_name, the entry of a map) gets that of the nearest element around it.
 *
 * With positions a set is several times as large as without, and far over the limits of a schema;
 * that is why they are read here, from a set that need not be the one that the schema was made of.
 */
#include "schema/diff_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "wire/wire.h"

/* Numbers in descriptor.proto. */
#define SET_FILE 1
#define FILE_NAME 1
#define FILE_MESSAGE 4
#define FILE_ENUM 5
#define FILE_SERVICE 6
#define FILE_OPTIONS 8
#define FILE_POSITIONS 9
#define MESSAGE_FIELD 2
#define MESSAGE_NESTED 3
#define MESSAGE_ENUM 4
#define ENUM_VALUE 2
#define SERVICE_METHOD 2
#define POSITIONS_LOCATION 1
#define LOCATION_PATH 1
#define LOCATION_SPAN 2
#define INTERFACE_OPTION 51030

#define PATH_MAX_LENGTH (2 * WIRE_DEPTH_MAX + 4)

struct draft {
    int32_t at[PATH_MAX_LENGTH];
    uint32_t length;
};

/* ---- The path of an element ---- */

static void push(struct draft *draft, int32_t number)
{
    if (draft->length < PATH_MAX_LENGTH)
        draft->at[draft->length++] = number;
}

/* Each appends the path to @target and returns true, or appends nothing. */
static bool find_message(struct draft *draft, Google__Protobuf__DescriptorProto *const *list,
                         size_t count, int32_t number,
                         const Google__Protobuf__DescriptorProto *target)
{
    uint32_t length = draft->length;
    for (size_t i = 0; i < count; i++) {
        push(draft, number);
        push(draft, (int32_t)i);
        if (list[i] == target || find_message(draft, list[i]->nested_type, list[i]->n_nested_type,
                                              MESSAGE_NESTED, target))
            return true;
        draft->length = length;
    }
    return false;
}

static bool find_enum(struct draft *draft, Google__Protobuf__EnumDescriptorProto *const *list,
                      size_t count, int32_t number,
                      const Google__Protobuf__EnumDescriptorProto *target)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i] != target)
            continue;
        push(draft, number);
        push(draft, (int32_t)i);
        return true;
    }
    return false;
}

static bool find_nested_enum(struct draft *draft, Google__Protobuf__DescriptorProto *const *list,
                             size_t count, int32_t number,
                             const Google__Protobuf__EnumDescriptorProto *target)
{
    uint32_t length = draft->length;
    for (size_t i = 0; i < count; i++) {
        push(draft, number);
        push(draft, (int32_t)i);
        if (find_enum(draft, list[i]->enum_type, list[i]->n_enum_type, MESSAGE_ENUM, target) ||
            find_nested_enum(draft, list[i]->nested_type, list[i]->n_nested_type, MESSAGE_NESTED,
                             target))
            return true;
        draft->length = length;
    }
    return false;
}

static void path_of_message(struct draft *draft, const struct diff_place *place)
{
    const struct schema_message *message = place->message;
    if (!find_message(draft, message->file->message_type, message->file->n_message_type,
                      FILE_MESSAGE, message->proto))
        return;
    for (size_t i = 0; place->field && i < message->proto->n_field; i++) {
        if (strcmp(message->proto->field[i]->name, place->field->name) != 0)
            continue;
        push(draft, MESSAGE_FIELD);
        push(draft, (int32_t)i);
        break;
    }
}

static void path_of_enum(struct draft *draft, const struct diff_place *place)
{
    const struct schema_enum *enumeration = place->enumeration;
    const Google__Protobuf__FileDescriptorProto *file = enumeration->file;
    if (!find_enum(draft, file->enum_type, file->n_enum_type, FILE_ENUM, enumeration->proto) &&
        !find_nested_enum(draft, file->message_type, file->n_message_type, FILE_MESSAGE,
                          enumeration->proto))
        return;
    if (place->value) { /* values are as declared */
        push(draft, ENUM_VALUE);
        push(draft, (int32_t)(place->value - enumeration->values));
    }
}

static void path_of_service(struct draft *draft, const struct diff_place *place)
{
    const struct schema_service *service = place->service;
    for (size_t i = 0; i < service->file->n_service; i++) {
        if (service->file->service[i] != service->proto)
            continue;
        push(draft, FILE_SERVICE);
        push(draft, (int32_t)i);
        if (place->method) { /* methods are as declared */
            push(draft, SERVICE_METHOD);
            push(draft, (int32_t)(place->method - service->methods));
        }
    }
}

int diff_path_of(struct diff *diff, const struct diff_place *place, struct diff_path *ret_path)
{
    struct draft draft = {.length = 0};
    if (place->message)
        path_of_message(&draft, place);
    else if (place->enumeration)
        path_of_enum(&draft, place);
    else if (place->service)
        path_of_service(&draft, place);
    if (place->part)
        push(&draft, place->part);
    if (!place->message && !place->enumeration && !place->service && place->part == FILE_OPTIONS)
        push(&draft, INTERFACE_OPTION);
    assert(draft.length == 0 || diff_points_to(draft.at, draft.length));
    int32_t *at = pool_array(&diff->pool, draft.length, sizeof(*at));
    if (!at)
        return -ENOMEM;
    memcpy(at, draft.at, draft.length * sizeof(*at));
    *ret_path = (struct diff_path){draft.length, at};
    return 0;
}

/* The parts of a message, field, enum, value, service or method, that a finding may be at, are
 * those that DIFF_PLACE() is given as .part, anywhere; of the rest the element's place is told. */
static bool is_one_of(int32_t number, const int32_t *numbers)
{
    while (*numbers != 0 && *numbers != number)
        numbers++;
    return *numbers != 0;
}

static bool points_to_leaf(const int32_t *path, size_t length, const int32_t *parts)
{
    return length == 0 || (length == 1 && is_one_of(path[0], parts));
}

static bool points_into_enum(const int32_t *path, size_t length)
{
    static const int32_t value_parts[] = {1 /* name */, 0};
    return length == 0 || (length >= 2 && path[0] == ENUM_VALUE &&
                           points_to_leaf(path + 2, length - 2, value_parts));
}

static bool points_into_message(const int32_t *path, size_t length)
{
    static const int32_t message_parts[] = {7 /* options */, 0};
    static const int32_t field_parts[] = {1 /* name */,    5 /* type */,       6 /* type_name */,
                                          7 /* default */, 10 /* json_name */, 0};
    for (; length >= 2 && path[0] == MESSAGE_NESTED; length -= 2)
        path += 2;
    if (points_to_leaf(path, length, message_parts))
        return true;
    if (length < 2)
        return false;
    return path[0] == MESSAGE_FIELD  ? points_to_leaf(path + 2, length - 2, field_parts)
           : path[0] == MESSAGE_ENUM ? points_into_enum(path + 2, length - 2)
                                     : false;
}

static bool points_into_service(const int32_t *path, size_t length)
{
    static const int32_t method_parts[] = {2 /* input */, 3 /* output */, 0};
    return length == 0 || (length >= 2 && path[0] == SERVICE_METHOD &&
                           points_to_leaf(path + 2, length - 2, method_parts));
}

bool diff_points_to(const int32_t *path, size_t length)
{
    static const int32_t file_parts[] = {2 /* package */, FILE_OPTIONS, 0};
    if (length == 0 || length >= PATH_MAX_LENGTH)
        return false;
    if (length == 2 && path[0] == FILE_OPTIONS)
        return path[1] == INTERFACE_OPTION;
    if (length < 2)
        return points_to_leaf(path, length, file_parts);
    switch (path[0]) {
    case FILE_MESSAGE:
        return points_into_message(path + 2, length - 2);
    case FILE_ENUM:
        return points_into_enum(path + 2, length - 2);
    case FILE_SERVICE:
        return points_into_service(path + 2, length - 2);
    default:
        return false;
    }
}

/* ---- The position of a path ---- */

struct located {
    struct diff_entry **entries; /* by file, then path */
    size_t count;
};

static int compare_paths(const struct diff_path *a, const struct diff_path *b)
{
    for (uint32_t i = 0; i < a->length && i < b->length; i++)
        if (a->at[i] != b->at[i])
            return a->at[i] < b->at[i] ? -1 : 1;
    return (a->length > b->length) - (a->length < b->length);
}

static int compare_places(const void *a, const void *b)
{
    const struct diff_entry *x = *(struct diff_entry *const *)a;
    const struct diff_entry *y = *(struct diff_entry *const *)b;
    int r = strcmp(x->finding.file, y->finding.file);
    return r ? r : compare_paths(&x->path, &y->path);
}

static bool begins_with(const struct diff_path *path, const struct diff_path *prefix)
{
    return path->length >= prefix->length &&
           memcmp(path->at, prefix->at, prefix->length * sizeof(*prefix->at)) == 0;
}

/* @span: line, column, [line,] column, from 0 */
static void offer(const struct located *file, const struct diff_path *path,
                  const struct draft *span)
{
    size_t low = 0, high = file->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_paths(&file->entries[middle]->path, path) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < file->count && begins_with(&file->entries[low]->path, path); low++) {
        struct diff_entry *entry = file->entries[low];
        if (path->length <= entry->found)
            continue;
        entry->found = path->length;
        entry->finding.line = (uint32_t)span->at[0] + 1;
        entry->finding.column = (uint32_t)span->at[1] + 1;
    }
}

/* Numbers packed or not; those past the longest path that a finding may have are dropped, and the
 * path is then no prefix of any. */
static int read_numbers(struct wire_reader *reader, enum wire_type type, struct draft *draft)
{
    uint64_t value = 0;
    if (type == WIRE_VARINT) {
        int r = wire_read_varint(reader, &value);
        if (r == 0)
            push(draft, (int32_t)value);
        return r;
    }
    const uint8_t *data = NULL;
    size_t bytes = 0;
    if (type != WIRE_BYTES || wire_read_bytes(reader, &data, &bytes) < 0)
        return -EBADMSG;
    struct wire_reader packed = {data, data + bytes};
    while (packed.pos < packed.end) {
        int r = wire_read_varint(&packed, &value);
        if (r < 0)
            return r;
        push(draft, (int32_t)value);
    }
    return 0;
}

static int read_location(struct wire_reader reader, const struct located *file)
{
    struct draft path = {.length = 0}, span = {.length = 0};
    while (reader.pos < reader.end) {
        uint32_t number = 0;
        enum wire_type type = WIRE_VARINT;
        int r = wire_read_tag(&reader, &number, &type);
        if (r == 0 && number == LOCATION_PATH)
            r = read_numbers(&reader, type, &path);
        else if (r == 0 && number == LOCATION_SPAN)
            r = read_numbers(&reader, type, &span);
        else if (r == 0)
            r = wire_skip(&reader, number, type);
        if (r < 0)
            return r;
    }
    bool sane = span.length >= 3 && span.at[0] >= 0 && span.at[1] >= 0;
    if (sane && path.length > 0 && path.length < PATH_MAX_LENGTH)
        offer(file, &(struct diff_path){path.length, path.at}, &span);
    return 0;
}

/* Calls @each for the content of every field @wanted of a message. */
typedef int each_function(struct wire_reader content, void *context);

static int for_each(struct wire_reader reader, uint32_t wanted, each_function *each, void *context)
{
    while (reader.pos < reader.end) {
        uint32_t number = 0;
        enum wire_type type = WIRE_VARINT;
        const uint8_t *data = NULL;
        size_t bytes = 0;
        int r = wire_read_tag(&reader, &number, &type);
        if (r < 0)
            return r;
        if (number != wanted || type != WIRE_BYTES) {
            r = wire_skip(&reader, number, type);
        } else {
            r = wire_read_bytes(&reader, &data, &bytes);
            if (r == 0)
                r = each((struct wire_reader){data, data + bytes}, context);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static int each_location(struct wire_reader content, void *context)
{
    return read_location(content, context);
}

static int each_positions(struct wire_reader content, void *context)
{
    return for_each(content, POSITIONS_LOCATION, each_location, context);
}

static int each_name(struct wire_reader content, void *context)
{
    *(struct wire_reader *)context = content;
    return 0;
}

static int each_file(struct wire_reader content, void *context)
{
    const struct located *all = context;
    struct wire_reader name = {NULL, NULL};
    int r = for_each(content, FILE_NAME, each_name, &name);
    size_t bytes = (size_t)(name.end - name.pos);
    if (r < 0 || bytes == 0)
        return r;
    struct located file = {.entries = NULL};
    for (size_t i = 0; i < all->count; i++) {
        const char *at = all->entries[i]->finding.file;
        if (strlen(at) != bytes || memcmp(at, name.pos, bytes) != 0)
            continue;
        if (!file.entries)
            file.entries = &all->entries[i];
        file.count++;
    }
    return file.count > 0 ? for_each(content, FILE_POSITIONS, each_positions, &file) : 0;
}

int diff_locate(struct diff *diff, struct error_text *error)
{
    if (diff->count == 0)
        return 0;
    size_t bytes = diff->options.positions_bytes;
    const uint8_t *set = diff->options.positions;
    if (!set)
        set = schema_set(diff->new, &bytes);
    _cleanup_(freep) struct diff_entry **entries = calloc(diff->count, sizeof(struct diff_entry *));
    if (!entries)
        return error_set(error, -ENOMEM, "no memory to compare schemas");
    for (size_t i = 0; i < diff->count; i++)
        entries[i] = &diff->entries[i];
    qsort(entries, diff->count, sizeof(struct diff_entry *), compare_places);
    struct located all = {entries, diff->count};
    int r = for_each((struct wire_reader){set, set + bytes}, SET_FILE, each_file, &all);
    return r < 0 ? error_set(error, r, "the positions in the descriptor set cannot be read") : 0;
}

/* ---- A set without positions ---- */

struct output {
    uint8_t *data;
    size_t bytes;
};

static void put(struct output *output, const uint8_t *from, const uint8_t *to)
{
    memcpy(output->data + output->bytes, from, (size_t)(to - from));
    output->bytes += (size_t)(to - from);
}

/* Appends a file's content without its positions. */
static int strip_file(struct wire_reader reader, struct output *output)
{
    while (reader.pos < reader.end) {
        const uint8_t *from = reader.pos;
        uint32_t number = 0;
        enum wire_type type = WIRE_VARINT;
        int r = wire_read_tag(&reader, &number, &type);
        if (r == 0)
            r = wire_skip(&reader, number, type);
        if (r < 0)
            return r;
        if (number != FILE_POSITIONS)
            put(output, from, reader.pos);
    }
    return 0;
}

/* The length of a file is known when it has been copied: it is made behind the place for it. */
static int each_stripped(struct wire_reader content, void *context)
{
    struct output *output = context;
    struct output file = {.data = output->data + output->bytes + 6};
    int r = strip_file(content, &file);
    if (r < 0)
        return r;
    uint8_t *out = wire_write_tag(output->data + output->bytes, SET_FILE, WIRE_BYTES);
    out = wire_write_varint(out, file.bytes);
    memmove(out, file.data, file.bytes);
    output->bytes = (size_t)(out + file.bytes - output->data);
    return 0;
}

int diff_strip_positions(const uint8_t *set, size_t bytes, uint8_t **ret_set, size_t *ret_bytes)
{
    if (bytes > DIFF_POSITIONS_BYTES_MAX)
        return -E2BIG;
    /* A length may be written longer than it needs to be read, but not shorter: what comes out is
     * never longer than what went in, apart from the gap that the last file is made behind. */
    _cleanup_(freep) uint8_t *data = malloc(bytes + 8);
    if (!data)
        return -ENOMEM;
    struct output output = {.data = data};
    int r = for_each((struct wire_reader){set, set + bytes}, SET_FILE, each_stripped, &output);
    if (r < 0)
        return r;
    *ret_set = steal_ptr(&data);
    *ret_bytes = output.bytes;
    return 0;
}
