/*
 * The short way: fields that need little, in one loop that keeps its state in registers.
 *
 * Most fields of most messages have a tag and a length of one byte each, come in order, and are
 * checked and copied, noted for a template, or converted from one varint to another. Most messages
 * have nothing else. This loop does those, by the records that fast.c made, and stops before a
 * field that it does not know, or that has anything wrong or unusual: the long way (frame.c) deals
 * with that one, says what is wrong with it, and comes back.
 *
 * A nested message needs no frame if nothing in it waits for its end (`plain`). It is done here as
 * a whole or not at all: if the loop stops inside, what it wrote is forgotten, and the message goes
 * the long way from its beginning. Where it stopped is kept (`stuck`), so that the messages around
 * that field, and those within these, are not tried again.
 *
 * What makes it short: the source has readable bytes behind it (RUN_BEHIND_BYTES), and all limits
 * are worked out before it begins, as a place to stop. So values are loaded eight, sixteen, thirty-two
 * bytes at once, masked, and written so too, with nothing to ask between.
 */
#include "translate/fast.h"

/* Behind a field's tag: what is read at once, and what is written beyond what is counted. */
#define READ_BYTES (2 + TEXT_SHORT_BYTES_MAX)
#define WRITE_BYTES 64
/* The most bytes that are written for one that is read: a tag, and eleven for a varint of one. */
#define GROWTH_MAX 6
#define NESTED_BYTES_MAX (2 * WIRE_FIELDS_MAX) /* so it has no more fields than it may */

struct state {
    const uint8_t *pos;    /* the next field */
    const uint8_t *copied; /* from here to it the source goes over as it is */
    uint8_t *out;
    uint32_t fields, elements; /* seen */
};

/* Copies, in steps that may pass the end. */
static inline uint8_t *copy(uint8_t *out, const uint8_t *data, size_t bytes)
{
    if (__builtin_expect(bytes <= 32, 1)) {
        memcpy(out, data, 16);
        memcpy(out + 16, data + 16, 16);
    } else {
        memcpy(out, data, bytes);
    }
    return out + bytes;
}

/* A varint of at most eight bytes, which can be read from @pos on; NULL: it is longer. */
static inline const uint8_t *read_varint(const uint8_t *pos, uint64_t *ret_value)
{
    if (*pos < 0x80) {
        *ret_value = *pos;
        return pos + 1;
    }
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t raw;
    memcpy(&raw, pos, 8);
    uint64_t stops = ~raw & UINT64_C(0x8080808080808080);
    if (stops == 0)
        return NULL;
    unsigned bits = (unsigned)__builtin_ctzll(stops); /* 15, 23, ... 63 */
    raw &= (UINT64_C(2) << bits) - 1;
    raw &= UINT64_C(0x7f7f7f7f7f7f7f7f);
    /* Seven bits of each byte become fourteen of each two, and so on. */
    raw = (raw & UINT64_C(0x7f007f007f007f00)) >> 1 | (raw & UINT64_C(0x007f007f007f007f));
    raw = (raw & UINT64_C(0x3fff00003fff0000)) >> 2 | (raw & UINT64_C(0x00003fff00003fff));
    *ret_value = (raw & UINT64_C(0x0fffffff00000000)) >> 4 | (raw & UINT64_C(0x000000000fffffff));
    return pos + bits / 8 + 1;
#else
    return run_read_varint(pos, pos + 8, ret_value);
#endif
}

static inline uint8_t *write_varint(uint8_t *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *out++ = (uint8_t)(value | 0x80);
    *out++ = (uint8_t)value;
    return out;
}

/* A converted varint. NULL: it is not for us. */
static inline uint8_t *put_scalar(const struct run *run, struct frame *frame,
                                  const struct program_op *op, const struct fast *way, uint64_t raw,
                                  const uint8_t *at, const uint8_t *after, uint8_t *out)
{
    struct slot value;
    if (!fast_convert(run->plan, op, raw, &value))
        return NULL;
    if (!frame && value.lost)
        return NULL;
    if (frame && way->slot != PROGRAM_SLOT_NONE) {
        struct slot *slot = &frame->slots[way->slot];
        slot->lost = value.lost;
        slot->value = value.value;
        slot->mapped = value.mapped;
        run_keep(slot, at, (uint32_t)(after - at));
    }
    raw = (uint64_t)value.mapped;
    if (op->written == KIND_SINT32 || op->written == KIND_SINT64)
        raw = raw << 1 ^ (uint64_t)(value.mapped >> 63);
    *out++ = way->tag;
    return write_varint(out, raw);
}

static bool plain_fields(struct run *run, const struct program_table *table,
                         const uint8_t *end, unsigned depth, struct state *state);

/* A nested message, whole. False: it is not for us. */
static inline bool put_message(struct run *run, uint32_t index, uint8_t tag,
                               const uint8_t *end, unsigned depth, struct state *state)
{
    const uint8_t *pos = state->pos + 1;
    uint32_t bytes = *pos++;
    if (bytes >= 0x80) {
        if (*pos >= 0x80)
            return false;
        bytes = (bytes & 0x7f) | (uint32_t)*pos++ << 7;
    }
    if (depth >= WIRE_DEPTH_MAX || (ptrdiff_t)bytes > end - pos || bytes > NESTED_BYTES_MAX ||
        !run->plan->fast[index].plain || (uintptr_t)run->stuck - (uintptr_t)pos < bytes)
        return false;
    uint8_t *out = state->out;
    if (state->pos != state->copied)
        out = copy(out, state->copied, (size_t)(state->pos - state->copied));
    *out++ = tag;
    uint8_t *content = out + (bytes < 0x80 ? 1 : 2);
    struct state nested = {pos, pos, content, 0, state->elements};
    if (!plain_fields(run, &run->plan->tables[index], pos + bytes, depth + 1, &nested)) {
        if ((uintptr_t)run->stuck - (uintptr_t)pos >= bytes)
            run->stuck = nested.pos;
        return false;
    }
    size_t length = (size_t)(nested.out - content), size = wire_varint_size(length);
    if (__builtin_expect(out + size != content, 0)) {
        memmove(out + size, content, length);
        nested.out = out + size + length;
    }
    (void)write_varint(out, length);
    state->pos = state->copied = nested.pos;
    state->out = nested.out;
    state->elements = nested.elements;
    return true;
}

/* A value that is no message, of the field at @pos. Return: its end; NULL: it is not for us. @raw: of a
 * varint; @data, @bytes: of a text. */
static inline __attribute__((always_inline)) const uint8_t *
check(const struct fast *way, const uint8_t *pos, const uint8_t *end, uint64_t *ret_raw,
      const uint8_t **ret_data, uint32_t *ret_bytes)
{
    const uint8_t *data = pos + 2, *after = data;
    uint32_t bytes = pos[1];
    *ret_raw = bytes;
    if (way->value == FAST_STRING) {
        if (__builtin_expect(bytes >= 0x80, 0)) {
            if (*data >= 0x80)
                return NULL;
            bytes = (bytes & 0x7f) | (uint32_t)*data++ << 7;
        }
        if ((ptrdiff_t)bytes > end - data || !text_is_string(data, bytes, TEXT_SHORT_BYTES_MAX))
            return NULL;
        after = data + bytes;
    } else if (way->value == FAST_VARINT) {
        if (bytes >= 0x80)
            after = read_varint(pos + 1, ret_raw);
        return after && after <= end ? after : NULL;
    } else if (way->value == FAST_BYTES) {
        if (bytes >= 0x80 || (ptrdiff_t)bytes > end - data)
            return NULL;
        after = data + bytes;
    } else {
        bytes = way->value == FAST_FIXED32 ? 4 : 8;
        if ((ptrdiff_t)bytes > end - (pos + 1))
            return NULL;
        after = pos + 1 + bytes;
    }
    *ret_data = data;
    *ret_bytes = bytes;
    return after;
}

/* The loop, up to @stop; no value passes @end. @frame NULL: of a plain table. */
static inline __attribute__((always_inline)) void
fields(struct run *run, struct frame *frame, const struct program_table *table,
       const uint8_t *stop, const uint8_t *end, unsigned depth, struct state *state)
{
    const struct fast_table *const fast = &run->plan->fast[table - run->plan->tables];
    const struct program_op *const ops = run->plan->ops + table->op_first;
    const uint8_t *pos = state->pos, *copied = state->copied;
    uint8_t *out = state->out;
    uint32_t count = state->fields, elements = state->elements;
    while (pos < stop) {
        const struct fast *way = fast_find(fast, *pos);
        if (!way || way->action == FAST_SLOW)
            break;
        if (way->value == FAST_MESSAGE) {
            struct state here = {pos, copied, out, 0, elements};
            if (!put_message(run, ops[way->op].table, way->tag, end, depth, &here))
                break;
            pos = copied = here.pos;
            out = here.out;
            elements = here.elements + way->repeated;
            count += !way->repeated;
            continue;
        }
        uint64_t raw;
        const uint8_t *data = NULL;
        uint32_t bytes = 0;
        const uint8_t *after = check(way, pos, end, &raw, &data, &bytes);
        if (!after)
            break;
        if (way->action != FAST_KEEP) {
            if (pos != copied)
                out = copy(out, copied, (size_t)(pos - copied));
            copied = pos;
            if (way->action == FAST_PUT) {
                *out++ = way->tag;
                out = copy(out, pos + 1, (size_t)(after - pos - 1));
            } else if (way->action == FAST_SCALAR) {
                uint8_t *next = put_scalar(run, frame, &ops[way->op], way, raw, pos, after, out);
                if (!next)
                    break;
                out = next;
            }
            copied = after;
        }
        if (frame && way->slot != PROGRAM_SLOT_NONE && way->action != FAST_SCALAR) {
            if (way->action == FAST_TAKE)
                run_note_text(frame, &ops[way->op], data, bytes);
            else
                run_keep(&frame->slots[way->slot], data, bytes);
        }
        pos = after;
        elements += way->repeated;
        count += !way->repeated;
    }
    *state = (struct state){pos, copied, out, count, elements};
}

/* Whether all of it went this way; also what is to be copied is copied then. */
static bool plain_fields(struct run *run, const struct program_table *table,
                         const uint8_t *end, unsigned depth, struct state *state)
{
    fields(run, NULL, table, end, end, depth, state);
    if (state->pos != end)
        return false;
    if (end != state->copied)
        state->out = copy(state->out, state->copied, (size_t)(end - state->copied));
    return true;
}

void fast_fields(struct run *run, struct frame *frame, const struct program_table *table,
                 const uint8_t **pos, const uint8_t *end, const uint8_t **copied)
{
    /* What the loop need not ask: there is room for so many bytes of the source, of which a field
     * has two at least; and something to read behind them. */
    ptrdiff_t room = (run->limit - run->out - (*pos - *copied) - WRITE_BYTES) / GROWTH_MAX;
    ptrdiff_t stop = 2 * (ptrdiff_t)(WIRE_FIELDS_MAX - frame->fields);
    ptrdiff_t elements = 2 * (ptrdiff_t)(WIRE_ELEMENTS_MAX - run->elements);
    ptrdiff_t readable = run->readable - *pos - READ_BYTES;
    room = room < elements ? room : elements;
    room = room < readable ? room : readable;
    room = room < end - *pos ? room : end - *pos;
    stop = stop < room ? stop : room;
    if (stop <= 0)
        return;
    struct state state = {*pos, *copied, run->out, frame->fields, run->elements};
    fields(run, frame, table, *pos + stop, *pos + room, frame->depth, &state);
    *pos = state.pos;
    *copied = state.copied;
    run->out = state.out;
    run->elements = state.elements;
    frame->fields = state.fields;
}
