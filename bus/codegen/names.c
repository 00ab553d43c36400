/*
 * The names that protoc-gen-c gives to what is in a .proto.
 *
 * What we generate stands beside its output and refers to it, so a name must come out the same to
 * the letter. Its rules, found by giving it odd names (tests/unit/codegen/odd.proto holds them):
 *
 * - a full name is cut at the dots, each part is converted, and they are joined by "__";
 * - for functions and variables, an upper-case letter becomes lower-case, with "_" before it unless
 *   it is the first or stands behind another upper-case letter: HTTPGet -> httpget, getX_Y ->
 *   get_x__y, V2List -> v2_list;
 * - for constants and macros, the same in capitals: MY_PKG, V2_LIST;
 * - for types, "_" goes and the letter behind it, like the first, becomes upper-case: my_pkg ->
 *   MyPkg;
 * - option (pb_c_file).c_package stands in for the package.
 */
#include "codegen/codegen.h"

#include <string.h>

#include "wire/wire.h"

#define PB_C_FILE 1019 /* the extension of FileOptions in protobuf-c/protobuf-c.proto */
#define C_PACKAGE 6    /* in it */

typedef void segment_fn(struct text *text, const char *name, size_t bytes);

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static void lower_segment(struct text *text, const char *name, size_t bytes)
{
    bool was_upper = true; /* no "_" before the first letter */
    for (size_t i = 0; i < bytes; i++) {
        char c = name[i];
        if (is_upper(c) && !was_upper)
            text_add_bytes(text, "_", 1);
        was_upper = is_upper(c);
        c = is_upper(c) ? (char)(c - 'A' + 'a') : c;
        text_add_bytes(text, &c, 1);
    }
}

static void upper_segment(struct text *text, const char *name, size_t bytes)
{
    size_t start = text->bytes;
    lower_segment(text, name, bytes);
    for (size_t i = start; i < text->bytes; i++) {
        if (text->data[i] >= 'a' && text->data[i] <= 'z')
            text->data[i] = (char)(text->data[i] - 'a' + 'A');
    }
}

static void type_segment(struct text *text, const char *name, size_t bytes)
{
    bool capital = true;
    for (size_t i = 0; i < bytes; i++) {
        char c = name[i];
        if (c == '_') {
            capital = true;
            continue;
        }
        if (capital && c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        capital = false;
        text_add_bytes(text, &c, 1);
    }
}

static void add_segments(struct text *text, const char *name, segment_fn *segment)
{
    for (;;) {
        size_t n = strcspn(name, ".");
        segment(text, name, n);
        if (name[n] == '\0')
            return;
        text_add_bytes(text, "__", 2);
        name += n + 1;
    }
}

void names_lower(struct text *text, const char *name)
{
    lower_segment(text, name, strlen(name));
}

void names_upper(struct text *text, const char *name)
{
    upper_segment(text, name, strlen(name));
}

static void add_full(struct text *text, const char *package, const char *local, segment_fn *segment)
{
    if (package[0]) {
        add_segments(text, package, segment);
        text_add_bytes(text, "__", 2);
    }
    add_segments(text, local, segment);
}

void names_full_lower(struct text *text, const char *package, const char *local)
{
    add_full(text, package, local, lower_segment);
}

void names_full_upper(struct text *text, const char *package, const char *local)
{
    add_full(text, package, local, upper_segment);
}

void names_full_type(struct text *text, const char *package, const char *local)
{
    add_full(text, package, local, type_segment);
}

/* Field C_PACKAGE in one occurrence of the option, into @buffer. */
static bool read_c_package(const ProtobufCMessageUnknownField *option, char *buffer, size_t room)
{
    struct wire_reader outer = {option->data, option->data + option->len}, reader;
    size_t bytes;
    bool found = false;
    if (wire_read_bytes(&outer, &reader.pos, &bytes) < 0)
        return false;
    reader.end = reader.pos + bytes;
    while (reader.pos < reader.end) {
        uint32_t number;
        enum wire_type type;
        const uint8_t *data;
        if (wire_read_tag(&reader, &number, &type) < 0)
            return false;
        if (number != C_PACKAGE || type != WIRE_BYTES) {
            if (wire_skip(&reader, number, type) < 0)
                return false;
            continue;
        }
        if (wire_read_bytes(&reader, &data, &bytes) < 0 || bytes >= room)
            return false;
        memcpy(buffer, data, bytes);
        buffer[bytes] = '\0';
        found = true;
    }
    return found;
}

const char *names_c_package(const Google__Protobuf__FileDescriptorProto *file, char *buffer,
                            size_t room)
{
    const char *package = file->package ? file->package : "";
    for (unsigned i = 0; file->options && i < file->options->base.n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *option = &file->options->base.unknown_fields[i];
        if (option->tag == PB_C_FILE && option->wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED &&
            read_c_package(option, buffer, room))
            package = buffer;
    }
    return package;
}
