/*
 * Packing: protobuf-c's structs into wire bytes, as protobuf_c_message_pack() writes them.
 *
 * One loop (pack_fields.c) goes over a message's fields as its table (pack_table.c) has them, and
 * writes forwards. A nested message is a frame on a short stack, not a call. The loop writes into a
 * window, memory of its own, so that a field needs one question whether there is room, and may
 * write a little more than it has: sixteen bytes where five are text, and the next field goes over
 * the rest.
 *
 * How long a nested message is shows when it has been written. What is done about that depends on
 * how large the whole is:
 *
 *   small     It fits the window: that is what messages are, mostly, and it is done in one pass. A
 *             nested message is given one byte for its length; what needs more moves.
 *   measured  It does not fit. The same loop goes over it once more, throws away what it writes,
 *             and notes how long nested messages are, in the order in which they begin. Bulk (long
 *             texts, bytes, arrays of fixed size) is only counted.
 *   written   The third time it writes, with those lengths, and empties the window to where the
 *             message goes, whenever it is full. Bulk goes there directly: it is copied once.
 *
 * So there is one implementation of what is written, and its measure differs from it only if the
 * program changes the message meanwhile. That is found out, and nothing is written outside of the
 * place that was measured. Only finished bytes leave the window, for the place may be memory that
 * another process reads while we write.
 *
 * Bytes may be referred to instead (pack_refers()): a stand-in of fixed length is written, which is
 * the caller's, and its place noted, which a nested message that moves takes along. Where it is in
 * a large message shows when it is written.
 *
 * A short text is measured and copied at once, sixteen bytes at a time, the last of which may lie
 * behind its end: in the same page, so that they can be read, and they go no further than the
 * window. Who watches each read (sanitizers, memcheck) cannot know that; for them all texts are
 * long ones.
 */
#include "wire/pack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/call_path.h"
#include "base/copy.h"

#define BULK_MIN 4096    /* what is as long passes the window by */
#define PIECE_BYTES 4096 /* of the window, for large messages: stays in the first-level cache */
#define SIZES_KEPT_MAX 16384

/* ---- The window ---- */

__attribute__((cold)) uint8_t *pack_fail(struct wire_packing *packing, int error)
{
    packing->error = error;
    return NULL;
}

static uint64_t position(const struct wire_packing *packing, const uint8_t *pos)
{
    return packing->emptied + (uint64_t)(pos - packing->begin);
}

static int copy_out(struct wire_packing *packing, const void *data, size_t bytes)
{
    if (bytes > (size_t)(packing->out_end - packing->out))
        return -ESTALE; /* more than was measured */
    copy_over(packing->out, data, bytes);
    packing->out += bytes;
    return 0;
}

uint8_t *pack_empty(struct wire_packing *packing, const uint8_t *pos)
{
    size_t bytes = (size_t)(pos - packing->window);
    if (packing->mode == PACK_SMALL)
        return pack_fail(packing, -ENOBUFS);
    if (packing->mode == PACK_WRITE && copy_out(packing, packing->window, bytes) < 0)
        return pack_fail(packing, -ESTALE);
    packing->emptied += bytes;
    if (packing->emptied > WIRE_MESSAGE_BYTES_MAX)
        return pack_fail(packing, -E2BIG);
    return packing->window;
}

uint8_t *pack_bulk(struct wire_packing *packing, uint8_t *pos, const void *data, size_t bytes)
{
    size_t left = (size_t)(packing->end - pos);
    if (bytes <= left && (bytes < BULK_MIN || packing->begin != packing->window)) {
        if (bytes > 0)
            copy_over(pos, data, bytes);
        return pos + bytes;
    }
    if (bytes > WIRE_MESSAGE_BYTES_MAX)
        return pack_fail(packing, -E2BIG);
    pos = pack_empty(packing, pos);
    if (!pos)
        return NULL;
    if (packing->mode == PACK_WRITE && copy_out(packing, data, bytes) < 0)
        return pack_fail(packing, -ESTALE);
    packing->emptied += bytes;
    return pos;
}

/* ---- References ---- */

bool pack_refers(struct wire_packing *packing, uint8_t *pos, const ProtobufCBinaryData *bytes)
{
    size_t count = packing->ref_count;
    if (!packing->refers || count == WIRE_REFS_MAX || bytes->len > WIRE_MESSAGE_BYTES_MAX ||
        !packing->refers(packing->userdata, bytes->data, bytes->len, count, pos))
        return false;
    packing->places[count] = (uint32_t)position(packing, pos);
    packing->referred_bytes += bytes->len;
    packing->ref_count = count + 1;
    return true;
}

/* What begins at @from has moved on by @bytes. */
static void refs_move(struct wire_packing *packing, const uint8_t *from, size_t bytes)
{
    for (size_t i = packing->ref_count; i > 0; i--) {
        uint32_t *place = &packing->places[i - 1];
        if (packing->begin + *place < from)
            return;
        *place += (uint32_t)bytes;
    }
}

/* Whether a message of so many bytes is too large with what it refers to. */
static bool refers_to_too_much(const struct wire_packing *packing, uint64_t bytes)
{
    return bytes + packing->referred_bytes > WIRE_MESSAGE_BYTES_MAX;
}

/* ---- Nested messages ---- */

static int size_add(struct wire_packing *packing, size_t *ret_index)
{
    if (packing->size_count == packing->size_max) {
        size_t max = packing->size_max ? 2 * packing->size_max : 256;
        uint32_t *sizes = realloc(packing->sizes, max * sizeof(*sizes));
        if (!sizes)
            return -ENOMEM;
        packing->sizes = sizes;
        packing->size_max = max;
    }
    *ret_index = packing->size_count++;
    return 0;
}

uint8_t *pack_begin(struct wire_packing *packing, struct pack_frame *frame, uint8_t *pos)
{
    if (packing->mode == PACK_MEASURE) {
        frame->at = position(packing, pos);
        return size_add(packing, &frame->size_index) < 0 ? pack_fail(packing, -ENOMEM) : pos;
    }
    if (packing->size_next == packing->size_count)
        return pack_fail(packing, -ESTALE);
    uint32_t bytes = packing->sizes[packing->size_next++];
    pos = pack_varint(pos, bytes);
    frame->at = position(packing, pos) + bytes;
    return pos;
}

uint8_t *pack_end(struct wire_packing *packing, struct pack_frame *frame, uint8_t *pos)
{
    if (packing->mode == PACK_WRITE)
        return position(packing, pos) == frame->at ? pos : pack_fail(packing, -ESTALE);
    uint64_t bytes = position(packing, pos) - frame->at;
    packing->sizes[frame->size_index] = (uint32_t)bytes;
    packing->emptied += wire_varint_size(bytes); /* its length, which is not in the window */
    return pos;
}

uint8_t *pack_length(struct wire_packing *packing, uint8_t *start, size_t width, uint8_t *pos)
{
    size_t bytes = (size_t)(pos - start) - width, needed = wire_varint_size(bytes);
    if (needed != width) {
        pos = pack_room(packing, pos);
        if (!pos)
            return NULL;
        memmove(start + needed, start + width, bytes);
        refs_move(packing, start + width, needed - width);
    }
    wire_write_varint(start, bytes);
    return start + needed + bytes;
}

/* ---- The room's side ---- */

static void begin(struct wire_packing *packing, enum pack_mode mode)
{
    packing->mode = mode;
    packing->begin = packing->window;
    packing->limit = packing->window + (mode == PACK_SMALL ? WIRE_PACK_WINDOW_BYTES : PIECE_BYTES);
    packing->end = packing->window + sizeof(packing->window);
    packing->emptied = 0;
}

static inline void refer_to_nothing(struct wire_packing *packing)
{
    packing->ref_count = 0;
    packing->referred_bytes = 0;
}

/* One pass over a large message. @ret_bytes: of it; @ret_rest: those that are left in the window.
 */
static int pass(struct wire_packing *packing, enum pack_mode mode, uint64_t *ret_bytes,
                size_t *ret_rest)
{
    begin(packing, mode);
    refer_to_nothing(packing);
    const uint8_t *end = pack_fields(packing, packing->table, packing->message);
    *ret_rest = end ? (size_t)(end - packing->window) : 0;
    *ret_bytes = packing->emptied + *ret_rest;
    begin(packing, PACK_SMALL);
    return end ? 0 : packing->error;
}

/* What did not go as most do: too large for the window, or not to be packed at all. */
__attribute__((noinline, cold)) static int measure(struct wire_packing *packing, size_t *ret_bytes)
{
    uint64_t bytes = 0;
    size_t rest;
    if (packing->error != -ENOBUFS)
        return packing->error;
    packing->size_count = 0;
    int r = pass(packing, PACK_MEASURE, &bytes, &rest);
    if (r == 0 && bytes > WIRE_MESSAGE_BYTES_MAX)
        r = -E2BIG;
    packing->packed = (struct wire_packed){NULL, (size_t)bytes};
    if (r == 0 && refers_to_too_much(packing, bytes))
        r = -E2BIG;
    if (r == 0)
        *ret_bytes = packing->packed.bytes;
    return r;
}

/* Part of its callers: one of them is on the way of each message. */
static inline __attribute__((always_inline)) int
pack(struct wire_packing *packing, const struct pack_table *table, const ProtobufCMessage *message,
     wire_refers refers, void *userdata, size_t *ret_bytes)
{
    packing->table = table;
    packing->message = message;
    packing->refers = refers;
    packing->userdata = userdata;
    refer_to_nothing(packing);
    begin(packing, PACK_SMALL); /* the window may have been somewhere else: pack_at() */
    if (!pack_is_of(message, table))
        return -EINVAL;
    const uint8_t *end = pack_fields(packing, table, message);
    if (__builtin_expect(!end, 0))
        return measure(packing, ret_bytes);
    packing->packed.data = packing->window;
    *ret_bytes = packing->packed.bytes = (size_t)(end - packing->window);
    return refers && refers_to_too_much(packing, *ret_bytes) ? -E2BIG : 0;
}

int wire_pack(struct wire_packing *packing, const struct wire_packer *packer, size_t type,
              const ProtobufCMessage *message, size_t *ret_bytes)
{
    return pack(packing, packer->entries[type], message, NULL, NULL, ret_bytes);
}

static inline __attribute__((always_inline)) int
pack_at(struct wire_packing *packing, const struct pack_table *table,
        const ProtobufCMessage *message, wire_refers refers, void *userdata, uint8_t *out,
        size_t room, size_t *ret_bytes)
{
    if (!pack_is_of(message, table))
        return -ENOBUFS;
    packing->refers = refers;
    packing->userdata = userdata;
    refer_to_nothing(packing);
    packing->begin = out;
    packing->limit = out + room - PACK_SLACK_BYTES;
    packing->end = out + room;
    const uint8_t *end = pack_fields(packing, table, message);
    if (__builtin_expect(!end, 0))
        return -ENOBUFS;
    *ret_bytes = (size_t)(end - out);
    return refers && refers_to_too_much(packing, *ret_bytes) ? -ENOBUFS : 0;
}

CALL_PATH int wire_pack_at(struct wire_packing *packing, const struct wire_packer *packer,
                           size_t type, const ProtobufCMessage *message, uint8_t *out, size_t room,
                           size_t *ret_bytes)
{
    return pack_at(packing, packer->entries[type], message, NULL, NULL, out, room, ret_bytes);
}

int wire_pack_refs_at(struct wire_packing *packing, const struct wire_packer *packer, size_t type,
                      const ProtobufCMessage *message, wire_refers refers, void *userdata,
                      uint8_t *out, size_t room, size_t *ret_bytes)
{
    return pack_at(packing, packer->entries[type], message, refers, userdata, out, room, ret_bytes);
}

int wire_pack_again(struct wire_packing *packing, size_t *ret_bytes)
{
    return pack(packing, packing->table, packing->message, NULL, NULL, ret_bytes);
}

const uint32_t *wire_packed_places(const struct wire_packing *packing, size_t *ret_count)
{
    *ret_count = packing->ref_count;
    return packing->places;
}

int wire_pack_refs(struct wire_packing *packing, const struct wire_packer *packer, size_t type,
                   const ProtobufCMessage *message, wire_refers refers, void *userdata,
                   size_t *ret_bytes)
{
    return pack(packing, packer->entries[type], message, refers, userdata, ret_bytes);
}

static void forget_sizes(struct wire_packing *packing)
{
    free(packing->sizes);
    packing->sizes = NULL;
    packing->size_max = 0;
}

int wire_pack_write(struct wire_packing *packing, uint8_t *out)
{
    const struct wire_packed *packed = &packing->packed;
    if (packed->data) {
        if (packed->bytes > 0)
            copy_over(out, packed->data, packed->bytes);
        return 0;
    }
    packing->out = out;
    packing->out_end = out + packed->bytes;
    packing->size_next = 0;
    uint64_t bytes;
    size_t rest;
    int r = pass(packing, PACK_WRITE, &bytes, &rest);
    if (r == 0)
        r = copy_out(packing, packing->window, rest);
    if (packing->size_max > SIZES_KEPT_MAX)
        forget_sizes(packing);
    return r == 0 && packing->out != packing->out_end ? -ESTALE : r;
}

/* Whether somebody reports reads behind a block's end, even of bytes that nobody uses. */
static bool reads_are_watched(void)
{
    const char *preloaded = getenv("LD_PRELOAD"); /* which valgrind sets */
    return !PACK_BY_SIXTEEN || (preloaded && strstr(preloaded, "/vgpreload_memcheck"));
}

int wire_packing_new(struct wire_packing **ret_packing)
{
    struct wire_packing *packing = aligned_alloc(alignof(struct wire_packing), sizeof(*packing));
    if (!packing)
        return -ENOMEM;
    packing->text_reach = reads_are_watched() ? 0 : PACK_PAGE_BYTES - 16 + 1;
    packing->sizes = NULL;
    packing->size_max = 0;
    packing->packed = (struct wire_packed){packing->window, 0};
    begin(packing, PACK_SMALL);
    *ret_packing = packing;
    return 0;
}

struct wire_packing *wire_packing_free(struct wire_packing *packing)
{
    if (packing) {
        free(packing->sizes);
        free(packing);
    }
    return NULL;
}
