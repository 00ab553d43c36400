/*
 * Expanding: a message in which stand-ins are where bytes should be, into the message that it
 * stands for.
 *
 * Where the stand-ins are is all that is known; of the message's type nothing is. But a field that
 * has a length and contains one, and more than it, can only be a message on the way to it. So the
 * way is found from the outside, and what changes is the length of each field on it. Everything
 * else is copied in as few pieces as there are stand-ins.
 *
 * It takes two passes over the ways: the first finds out the new lengths, innermost first, and
 * notes them in the order in which the fields begin; the second writes. The message is private
 * memory, and its lengths are what it was checked with; what the references point to may be another
 * process's, and is copied once, without a look at it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/copy.h"
#include "wire/wire.h"

#define SIZES_MAX (WIRE_REFS_MAX * WIRE_DEPTH_MAX)

struct expansion {
    const uint8_t *message;
    const struct wire_ref *refs;
    size_t count;
    size_t next;  /* reference */
    uint8_t *out; /* NULL: measuring */
    uint32_t sizes[SIZES_MAX];
    size_t size_count;
};

static void put(struct expansion *x, const uint8_t *from, const uint8_t *to)
{
    if (x->out && to > from) {
        copy_bytes(x->out, from, (size_t)(to - from));
        x->out += to - from;
    }
}

static void put_ref(struct expansion *x, const struct wire_ref *ref)
{
    if (x->out) {
        x->out = wire_write_varint(x->out, ref->bytes);
        put(x, ref->data, ref->data + ref->bytes);
    }
}

static const uint8_t *place_of(const struct expansion *x)
{
    return x->next < x->count ? x->message + x->refs[x->next].place : NULL;
}

/* Finds the field with a length that has @place in it: @ret_length is where its length is. */
static int find_field(struct wire_reader *reader, const uint8_t *place, const uint8_t **ret_length,
                      struct wire_reader *ret_content)
{
    while (reader->pos <= place) {
        uint32_t number;
        enum wire_type type;
        int r = wire_read_tag(reader, &number, &type);
        if (r < 0)
            return r;
        const uint8_t *length = reader->pos, *data;
        size_t bytes;
        r = type == WIRE_BYTES ? wire_read_bytes(reader, &data, &bytes)
                               : wire_skip(reader, number, type);
        if (r < 0)
            return r;
        if (reader->pos <= place)
            continue;
        if (type != WIRE_BYTES || data > place || bytes < WIRE_REF_BYTES)
            return -EBADMSG;
        *ret_length = length;
        *ret_content = (struct wire_reader){data, data + bytes};
        return 0;
    }
    return -EBADMSG;
}

static int expand_fields(struct expansion *x, struct wire_reader content, unsigned depth,
                         uint64_t *ret_bytes);

/* A message on the way. @ret_bytes: with its length. */
static int expand_nested(struct expansion *x, struct wire_reader content, unsigned depth,
                         uint64_t *ret_bytes)
{
    if (x->size_count == SIZES_MAX)
        return -EBADMSG;
    size_t index = x->size_count++;
    uint64_t bytes;
    if (x->out)
        x->out = wire_write_varint(x->out, x->sizes[index]);
    int r = expand_fields(x, content, depth + 1, &bytes);
    if (r < 0)
        return r;
    x->sizes[index] = (uint32_t)bytes;
    *ret_bytes = wire_varint_size(bytes) + bytes;
    return 0;
}

static int expand_fields(struct expansion *x, struct wire_reader content, unsigned depth,
                         uint64_t *ret_bytes)
{
    struct wire_reader reader = content;
    const uint8_t *copied = content.pos, *place;
    uint64_t bytes = 0;
    if (depth > WIRE_DEPTH_MAX)
        return -EBADMSG;
    while ((place = place_of(x)) && place < content.end) {
        const uint8_t *length;
        struct wire_reader inner;
        uint64_t added;
        int r = find_field(&reader, place, &length, &inner);
        if (r < 0)
            return r;
        put(x, copied, length);
        bytes += (uint64_t)(length - copied);
        copied = inner.end;
        if (inner.pos == place && inner.end - inner.pos == WIRE_REF_BYTES) {
            const struct wire_ref *ref = &x->refs[x->next++];
            put_ref(x, ref);
            added = wire_varint_size(ref->bytes) + ref->bytes;
        } else {
            r = expand_nested(x, inner, depth, &added);
            if (r < 0)
                return r;
        }
        bytes += added;
        if (bytes > WIRE_MESSAGE_BYTES_MAX)
            return -E2BIG;
    }
    put(x, copied, content.end);
    bytes += (uint64_t)(content.end - copied);
    *ret_bytes = bytes;
    return bytes > WIRE_MESSAGE_BYTES_MAX ? -E2BIG : 0;
}

/* Both passes begin so. */
static int expand(struct expansion *x, size_t bytes, uint64_t *ret_bytes)
{
    x->next = x->size_count = 0;
    int r = expand_fields(x, (struct wire_reader){x->message, x->message + bytes}, 1, ret_bytes);
    if (r < 0)
        return r;
    return x->next == x->count ? 0 : -EBADMSG; /* it lies behind the end */
}

int wire_expand(const uint8_t *message, size_t bytes, const struct wire_ref *refs, size_t count,
                uint8_t **ret_message, size_t *ret_bytes)
{
    struct expansion x = {.message = message, .refs = refs, .count = count};
    uint64_t expanded;
    if (count > WIRE_REFS_MAX)
        return -E2BIG;
    int r = expand(&x, bytes, &expanded);
    if (r < 0)
        return r;
    uint8_t *out = x.out = malloc(expanded + 1);
    if (!out)
        return -ENOMEM;
    (void)expand(&x, bytes, &expanded);
    *ret_message = out;
    *ret_bytes = expanded;
    return 0;
}
