/*
 * Options that protobuf-c defines in protobuf-c/protobuf-c.proto and protoc-gen-c obeys.
 *
 * They are extensions, (pb_c_file), (pb_c_msg) and (pb_c_field), which our descriptor.pb-c.h does
 * not know: they arrive as unknown fields of the options, all with the same number. An option that
 * is written in several pieces counts as protobuf merges it: the last value wins.
 */
#include "codegen/codegen.h"

#include "wire/wire.h"

#define PB_C_EXTENSION 1019 /* of FileOptions, MessageOptions and FieldOptions */

/* The last varint with this number in one occurrence of the option. */
static int read_flag(const ProtobufCMessageUnknownField *option, uint32_t wanted, int flag)
{
    struct wire_reader outer = {option->data, option->data + option->len}, reader;
    size_t bytes;
    if (wire_read_bytes(&outer, &reader.pos, &bytes) < 0)
        return flag;
    reader.end = reader.pos + bytes;
    while (reader.pos < reader.end) {
        uint32_t number;
        enum wire_type type;
        uint64_t value;
        if (wire_read_tag(&reader, &number, &type) < 0)
            break;
        if (number != wanted || type != WIRE_VARINT) {
            if (wire_skip(&reader, number, type) < 0)
                break;
        } else if (wire_read_varint(&reader, &value) < 0) {
            break;
        } else {
            flag = value != 0;
        }
    }
    return flag;
}

int pb_c_flag(const ProtobufCMessage *options, uint32_t number)
{
    int flag = -1;
    for (unsigned i = 0; options && i < options->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *option = &options->unknown_fields[i];
        if (option->tag == PB_C_EXTENSION &&
            option->wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
            flag = read_flag(option, number, flag);
    }
    return flag;
}
