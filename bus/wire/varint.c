/*
 * The reader and writer of protobuf's encoding: varints, tags, lengths, and UTF-8.
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
 *
 * The UTF-8 check is one loop over runs of plain ASCII, sixteen bytes at a step where the machine
 * has SSE2 (every x86-64), eight elsewhere, and a decoder for the rest. RFC 3629, table 3-7 of the
 * Unicode standard: the second byte's range depends on the first, which excludes overlongs,
 * surrogates and what lies past U+10FFFF.
 */
#include "wire/wire.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

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

#define HIGH_BITS UINT64_C(0x8080808080808080)
#define LOW_BITS UINT64_C(0x7f7f7f7f7f7f7f7f)

/* Whether all eight bytes are 0x01..0x7f. x + 0x7f sets a byte's top bit unless the byte is 0; a
 * carry comes only out of a byte whose own top bit is set, and that one has failed already. */
static inline bool is_plain_word(uint64_t x)
{
    return ((x | ~(x + LOW_BITS)) & HIGH_BITS) == 0;
}

static inline uint64_t load_word(const uint8_t *data)
{
    uint64_t x;
    memcpy(&x, data, sizeof(x));
    return x;
}

/* Fewer than sixteen bytes, all 0x01..0x7f? Loads overlap in the middle. */
static inline bool is_plain_short(const uint8_t *data, size_t bytes)
{
    if (bytes >= 8)
        return is_plain_word(load_word(data)) && is_plain_word(load_word(data + bytes - 8));
    if (bytes >= 4) {
        uint32_t first, last;
        memcpy(&first, data, 4);
        memcpy(&last, data + bytes - 4, 4);
        return is_plain_word((uint64_t)first << 32 | last);
    }
    for (size_t i = 0; i < bytes; i++)
        if (data[i] == 0 || data[i] >= 0x80)
            return false;
    return true;
}

/* Bytes at the front that are all 0x01..0x7f: a multiple of a step, or all of them. */
static inline size_t plain_prefix(const uint8_t *data, size_t bytes)
{
    size_t i = 0;
#if defined(__SSE2__)
    const __m128i zero = _mm_setzero_si128();
    for (; bytes - i >= 64; i += 64) {
        /* As signed bytes, plain ones are those above zero. */
        const __m128i *at = (const __m128i *)(const void *)(data + i);
        __m128i ab = _mm_min_epu8(_mm_loadu_si128(at), _mm_loadu_si128(at + 1));
        __m128i cd = _mm_min_epu8(_mm_loadu_si128(at + 2), _mm_loadu_si128(at + 3));
        __m128i high = _mm_or_si128(_mm_or_si128(_mm_loadu_si128(at), _mm_loadu_si128(at + 1)),
                                    _mm_or_si128(_mm_loadu_si128(at + 2), _mm_loadu_si128(at + 3)));
        __m128i bad = _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(ab, cd), zero), high);
        if (_mm_movemask_epi8(bad) != 0)
            break;
    }
    for (; bytes - i >= 16; i += 16) {
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)(data + i));
        if (_mm_movemask_epi8(_mm_cmpgt_epi8(a, zero)) != 0xffff)
            return i;
    }
#else
    for (; bytes - i >= 16; i += 16)
        if (!is_plain_word(load_word(data + i)) || !is_plain_word(load_word(data + i + 8)))
            return i;
#endif
    /* What is left, or the last fifteen with it. */
    if (i > 0 && i < bytes)
        return is_plain_short(data + bytes - 15, 15) ? bytes : i;
    return is_plain_short(data + i, bytes - i) ? bytes : i;
}

/* Bytes of the well-formed character at the front: 1..4, or 0. Its first byte is not ASCII. */
static size_t character_bytes(const uint8_t *data, size_t bytes)
{
    uint8_t first = data[0], low = 0x80, high = 0xbf;
    size_t size;
    if (first >= 0xc2 && first <= 0xdf) {
        size = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        size = 3;
        low = first == 0xe0 ? 0xa0 : 0x80;
        high = first == 0xed ? 0x9f : 0xbf;
    } else if (first >= 0xf0 && first <= 0xf4) {
        size = 4;
        low = first == 0xf0 ? 0x90 : 0x80;
        high = first == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }
    if (bytes < size || data[1] < low || data[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++)
        if ((data[i] & 0xc0) != 0x80)
            return 0;
    return size;
}

/* From where it is no plain text any more. Out of line: most text never gets here. */
__attribute__((noinline)) static int check_slowly(const uint8_t *data, size_t bytes, uint8_t lowest)
{
    size_t i = 0;
    while (i < bytes) {
        /* Up to eight characters one by one, then try for a run again. */
        for (unsigned n = 0; n < 8 && i < bytes; n++) {
            if (data[i] < 0x80) {
                if (data[i] < lowest)
                    return -EBADMSG;
                i++;
                continue;
            }
            size_t size = character_bytes(data + i, bytes - i);
            if (size == 0)
                return -EBADMSG;
            i += size;
        }
        i += plain_prefix(data + i, bytes - i);
    }
    return 0;
}

static inline int check_text(const uint8_t *data, size_t bytes, uint8_t lowest)
{
    size_t plain = plain_prefix(data, bytes);
    return plain == bytes ? 0 : check_slowly(data + plain, bytes - plain, lowest);
}

int wire_check_utf8(const uint8_t *data, size_t bytes)
{
    return check_text(data, bytes, 0);
}

int wire_check_string(const uint8_t *data, size_t bytes)
{
    return check_text(data, bytes, 1);
}
