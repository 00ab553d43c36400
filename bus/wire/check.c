/*
 * Whether protobuf-c can unpack a message safely, by its descriptor.
 *
 * protobuf_c_message_unpack() scans a message twice, trusts the first scan's counts in the second,
 * recurses as deep as the bytes say and allocates what they ask for. It is sound on bytes that
 * nobody changes meanwhile, provided that somebody has bounded them: this file does. One pass, no
 * allocation, recursion of `depth_max` frames at most.
 *
 * What is counted, for a peer pays little for each and we pay much:
 *  - occurrences of fields in one message (a singular field may come again and again, and unknown
 *    fields each take an entry);
 *  - elements of repeated fields over the whole message, packed ones one by one, for two bytes of
 *    empty sub-message become a whole struct. A packed field counts as one at least.
 *
 * Stricter than protobuf-c where it would read something else than what was meant: strings must be
 * UTF-8 without NUL, a tenth byte of a varint must be 0 or 1. Exactly as strict where it refuses:
 * packed booleans are single bytes 0 or 1, tags and lengths have five bytes at most, groups are not
 * known, and each piece of a split sub-message has the required fields.
 */
#include "wire/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

struct check {
    struct wire_limits limits;
    uint32_t elements;
    const uint8_t *start;
    struct error_text *error;
};

/* What one message has had so far. */
struct frame {
    const ProtobufCMessageDescriptor *descriptor;
    struct wire_reader reader;
    uint32_t fields;
    uint64_t seen[WIRE_DECLARED_MAX / 64]; /* required ones; by index in the descriptor */
};

static const struct wire_limits defaults = {
    .bytes_max = WIRE_MESSAGE_BYTES_MAX,
    .depth_max = WIRE_DEPTH_MAX,
    .fields_max = WIRE_FIELDS_MAX,
    .elements_max = WIRE_ELEMENTS_MAX,
};

static int fail(const struct check *check, int code, const struct frame *frame, const uint8_t *at,
                const ProtobufCFieldDescriptor *field, const char *what)
{
    return error_set(check->error, code, "%s%s%s at byte %zu: %s", frame->descriptor->name,
                     field ? "." : "", field ? field->name : "", (size_t)(at - check->start), what);
}

static enum wire_type wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_32BIT;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_64BIT;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_BYTES;
    default:
        return WIRE_VARINT;
    }
}

/* Counts the elements of a packed field. Returns 0 or -EBADMSG. */
static int count_packed(ProtobufCType type, const uint8_t *data, size_t bytes, size_t *ret_count)
{
    enum wire_type wire_type = wire_type_of(type);
    if (wire_type == WIRE_32BIT || wire_type == WIRE_64BIT) {
        size_t size = wire_type == WIRE_32BIT ? 4 : 8;
        *ret_count = bytes / size;
        return bytes % size == 0 ? 0 : -EBADMSG;
    }
    struct wire_reader reader = {data, data + bytes};
    size_t count = 0;
    for (; reader.pos < reader.end; count++) {
        const uint8_t *before = reader.pos;
        uint64_t value;
        int r = wire_read_varint(&reader, &value);
        if (r < 0)
            return r;
        if (type == PROTOBUF_C_TYPE_BOOL && (value > 1 || reader.pos - before != 1))
            return -EBADMSG;
    }
    *ret_count = count;
    return 0;
}

static int check_message(struct check *check, const ProtobufCMessageDescriptor *descriptor,
                         const uint8_t *data, size_t bytes, uint32_t depth);

static int count_elements(struct check *check, const struct frame *frame, const uint8_t *at,
                          const ProtobufCFieldDescriptor *field, size_t count)
{
    if (count > check->limits.elements_max - check->elements)
        return fail(check, -E2BIG, frame, at, field, "more repeated elements than the limit");
    check->elements += (uint32_t)count;
    return 0;
}

/* A length-prefixed value of a known field. */
static int check_bytes(struct check *check, struct frame *frame, const uint8_t *at,
                       const ProtobufCFieldDescriptor *field, uint32_t depth)
{
    const uint8_t *data;
    size_t bytes, count = 1;
    bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
    bool packed = wire_type_of(field->type) != WIRE_BYTES;
    if (packed && !repeated)
        return fail(check, -EBADMSG, frame, at, field, "wrong wire type");
    if (wire_read_bytes(&frame->reader, &data, &bytes) < 0)
        return fail(check, -EBADMSG, frame, at, field, "length past the end");
    if (packed && count_packed(field->type, data, bytes, &count) < 0)
        return fail(check, -EBADMSG, frame, at, field, "malformed packed values");
    if (repeated) {
        int r = count_elements(check, frame, at, field, count ? count : 1);
        if (r < 0)
            return r;
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return check_message(check, field->descriptor, data, bytes, depth + 1);
    if (field->type == PROTOBUF_C_TYPE_STRING && wire_check_string(data, bytes) < 0)
        return fail(check, -EBADMSG, frame, at, field, "not UTF-8 without NUL");
    return 0;
}

static int check_known(struct check *check, struct frame *frame, const uint8_t *at,
                       const ProtobufCFieldDescriptor *field, enum wire_type type, uint32_t depth)
{
    if (field->label == PROTOBUF_C_LABEL_REQUIRED) {
        size_t index = (size_t)(field - frame->descriptor->fields);
        frame->seen[index / 64] |= UINT64_C(1) << index % 64;
    }
    if (type == WIRE_BYTES)
        return check_bytes(check, frame, at, field, depth);
    if (type != wire_type_of(field->type))
        return fail(check, -EBADMSG, frame, at, field, "wrong wire type");
    if (wire_skip(&frame->reader, field->id, type) < 0)
        return fail(check, -EBADMSG, frame, at, field, "truncated or malformed value");
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return count_elements(check, frame, at, field, 1);
    return 0;
}

static int check_required(struct check *check, const struct frame *frame)
{
    for (unsigned i = 0; i < frame->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &frame->descriptor->fields[i];
        if (field->label == PROTOBUF_C_LABEL_REQUIRED && !(frame->seen[i / 64] >> i % 64 & 1))
            return fail(check, -EBADMSG, frame, frame->reader.end, field,
                        "required field is missing");
    }
    return 0;
}

static int check_field(struct check *check, struct frame *frame,
                       const ProtobufCFieldDescriptor **last, uint32_t depth)
{
    const uint8_t *at = frame->reader.pos;
    uint32_t number;
    enum wire_type type;
    if (wire_read_tag(&frame->reader, &number, &type) < 0)
        return fail(check, -EBADMSG, frame, at, NULL, "truncated or malformed tag");
    if (type == WIRE_GROUP_START || type == WIRE_GROUP_END)
        return fail(check, -EBADMSG, frame, at, NULL, "a group, which cannot be unpacked");
    const ProtobufCFieldDescriptor *field = *last;
    if (!field || field->id != number)
        field = protobuf_c_message_descriptor_get_field(frame->descriptor, number);
    if (!field || field->label != PROTOBUF_C_LABEL_REPEATED) {
        if (frame->fields == check->limits.fields_max)
            return fail(check, -E2BIG, frame, at, field,
                        "more fields in one message than the limit");
        frame->fields++;
    }
    if (field) {
        *last = field;
        return check_known(check, frame, at, field, type, depth);
    }
    if (wire_skip(&frame->reader, number, type) < 0)
        return fail(check, -EBADMSG, frame, at, NULL, "truncated or malformed unknown field");
    return 0;
}

static int check_message(struct check *check, const ProtobufCMessageDescriptor *descriptor,
                         const uint8_t *data, size_t bytes, uint32_t depth)
{
    struct frame frame;
    frame.descriptor = descriptor;
    frame.reader = (struct wire_reader){data, data + bytes};
    frame.fields = 0;
    if (depth > check->limits.depth_max)
        return fail(check, -E2BIG, &frame, data, NULL, "messages nested deeper than the limit");
    if (descriptor->n_fields > WIRE_DECLARED_MAX)
        return fail(check, -E2BIG, &frame, data, NULL, "a type with more fields than the limit");
    memset(frame.seen, 0, (descriptor->n_fields + 63) / 64 * sizeof(frame.seen[0]));
    const ProtobufCFieldDescriptor *last = NULL;
    while (frame.reader.pos < frame.reader.end) {
        int r = check_field(check, &frame, &last, depth);
        if (r < 0)
            return r;
    }
    return check_required(check, &frame);
}

int wire_check(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t bytes,
               const struct wire_limits *limits, struct error_text *error)
{
    if (bytes == 0)
        data = (const uint8_t *)""; /* whatever NULL it was */
    struct check check = {
        .limits = limits ? *limits : defaults,
        .start = data,
        .error = error,
    };
    if (bytes > check.limits.bytes_max)
        return error_set(error, -E2BIG, "%s: %zu bytes, the limit is %" PRIu32, descriptor->name,
                         bytes, check.limits.bytes_max);
    return check_message(&check, descriptor, data, bytes, 1);
}
