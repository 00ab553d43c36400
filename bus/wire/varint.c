/*
 * The reader and writer of protobuf's encoding: varints, tags, lengths. Text: text.c.
 *
 * Every reader leaves its cursor where it was when it fails, never passes `end`, and accepts only
 * what protobuf-c accepts as well, so that what passes here cannot fail there for its framing:
 *
 *  - a varint has at most ten bytes, and the tenth is 0 or 1 (it holds bit 63 and nothing else);
 *  - a tag and a length have at most five bytes: protobuf-c reads no more;
 *  - a number is 1..2^29-1; a length is what is left at most, compared without adding to it;
 *  - padding ("80 00" for 0) within those sizes is read, as protobuf's own readers do.
 *
 * Groups are skipped with their nesting checked and bounded. protobuf-c cannot skip them, which is
 * why wire_check() and the plan runner refuse them; a reader that only wants to get past unknown
 * fields can use wire_skip().
 */
#include "wire/wire.h"

#include <errno.h>

#define TAG_BYTES_MAX 5
#define VARINT_BYTES_MAX 10

int wire_read_varint(struct wire_reader *reader, uint64_t *ret_value)
{
    const uint8_t *pos = reader->pos;
    uint64_t value = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && pos < reader->end; i++) {
        uint8_t byte = *pos++;
        if (i == VARINT_BYTES_MAX - 1 && byte > 1)
            return -EBADMSG;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80)) {
            reader->pos = pos;
            *ret_value = value;
            return 0;
        }
    }
    return -EBADMSG;
}

/* A varint that must fit 32 bits, in at most five bytes: a tag or a length. */
static int read_varint32(struct wire_reader *reader, uint32_t *ret_value)
{
    const uint8_t *pos = reader->pos;
    uint64_t value = 0;
    for (unsigned i = 0; i < TAG_BYTES_MAX && pos < reader->end; i++) {
        uint8_t byte = *pos++;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80)) {
            if (value > UINT32_MAX)
                return -EBADMSG;
            reader->pos = pos;
            *ret_value = (uint32_t)value;
            return 0;
        }
    }
    return -EBADMSG;
}

int wire_read_tag(struct wire_reader *reader, uint32_t *ret_number, enum wire_type *ret_type)
{
    struct wire_reader at = *reader;
    uint32_t tag;
    int r = read_varint32(&at, &tag);
    if (r < 0)
        return r;
    if (tag >> 3 == 0 || (tag & 7) > WIRE_32BIT)
        return -EBADMSG;
    *reader = at;
    *ret_number = tag >> 3;
    *ret_type = (enum wire_type)(tag & 7);
    return 0;
}

int wire_read_bytes(struct wire_reader *reader, const uint8_t **ret_data, size_t *ret_bytes)
{
    struct wire_reader at = *reader;
    uint32_t bytes;
    int r = read_varint32(&at, &bytes);
    if (r < 0)
        return r;
    if (bytes > (size_t)(at.end - at.pos))
        return -EBADMSG;
    *ret_data = at.pos;
    *ret_bytes = bytes;
    reader->pos = at.pos + bytes;
    return 0;
}

static int skip_fixed(struct wire_reader *reader, size_t bytes)
{
    if ((size_t)(reader->end - reader->pos) < bytes)
        return -EBADMSG;
    reader->pos += bytes;
    return 0;
}

static int skip_scalar(struct wire_reader *reader, enum wire_type type)
{
    const uint8_t *data;
    size_t bytes;
    uint64_t value;
    switch (type) {
    case WIRE_VARINT:
        return wire_read_varint(reader, &value);
    case WIRE_64BIT:
        return skip_fixed(reader, 8);
    case WIRE_32BIT:
        return skip_fixed(reader, 4);
    case WIRE_BYTES:
        return wire_read_bytes(reader, &data, &bytes);
    default:
        return -EBADMSG;
    }
}

int wire_skip(struct wire_reader *reader, uint32_t number, enum wire_type type)
{
    if (type != WIRE_GROUP_START)
        return skip_scalar(reader, type);
    struct wire_reader at = *reader;
    uint32_t open[WIRE_DEPTH_MAX];
    unsigned depth = 0;
    open[depth++] = number;
    while (depth > 0) {
        int r = wire_read_tag(&at, &number, &type);
        if (r < 0)
            return r;
        if (type == WIRE_GROUP_END) {
            if (open[--depth] != number)
                return -EBADMSG;
        } else if (type == WIRE_GROUP_START) {
            if (depth == WIRE_DEPTH_MAX)
                return -EBADMSG;
            open[depth++] = number;
        } else {
            r = skip_scalar(&at, type);
            if (r < 0)
                return r;
        }
    }
    *reader = at;
    return 0;
}

uint8_t *wire_write_varint(uint8_t *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

uint8_t *wire_write_tag(uint8_t *out, uint32_t number, enum wire_type type)
{
    return wire_write_varint(out, (uint64_t)number << 3 | (uint32_t)type);
}
