/*
 * Inside the plan runner: the short way through fields that need little.
 *
 * Most fields come unpacked, have a tag of one byte or two, and are checked and copied, copied
 * behind another tag, noted for the message's end, or converted from one varint to another. For
 * these a plan has, made from the program when it is loaded (fast.c) and not part of it, a record
 * for each such number of each table: how to check, and what to do, with all that can be worked out
 * before. A field that is not as expected in any way (malformed, past a limit) is left to the long
 * way, which says what is wrong.
 */
#ifndef PARLEY_TRANSLATE_FAST_H
#define PARLEY_TRANSLATE_FAST_H

#include <stdalign.h>

#include "translate/run.h"

#define FAST_NUMBER_COUNT 16    /* numbers that fit a tag of one byte: every table has as many */
#define FAST_NUMBER_MAX 255     /* that go this way; two bytes hold 2,047 */
#define FAST_NO_TAG UINT16_C(0) /* no field has this one: its number would be 0 */
#define FAST_READ_BYTES 48      /* from a field's tag on: what may be read without asking */
#define FAST_WRITE_BYTES 64     /* what may be written beyond what is counted */

/* The most bytes that are written for one that is read: a tag of four and ten for a varint of one,
 * behind a tag of one. */
#define QUICK_GROWTH_MAX 7

/* How a value is checked. */
enum fast_value {
    FAST_NONE, /* the long way */
    FAST_STRING,
    FAST_BYTES,
    FAST_VARINT,
    FAST_FIXED32,
    FAST_FIXED64,
    FAST_MESSAGE,
};

/* What is done with it. */
enum fast_code {
    FAST_SLOW,       /* the long way */
    FAST_PUT_STRING, /* copied, behind its tag; noted, if it has a slot */
    FAST_PUT_VARINT,
    FAST_PUT_BYTES,
    FAST_PUT_FIXED,
    FAST_TAKE_STRING, /* for a slot; nothing is written */
    FAST_TAKE_BYTES,
    FAST_CARRY,       /* text or bytes, to the carrier */
    FAST_PUT_MESSAGE, /* translated, or checked, by its table */
    FAST_RESIDUE,     /* a message of which nothing is left: all its fields go to slots */
    FAST_JOIN,        /* a message that becomes text: fields to slots */
    FAST_MULTIPLY,    /* a varint, not negative, by what struct fast_scalar says */
    FAST_DIVIDE,
    FAST_MAP,
    FAST_SCALAR, /* another conversion from varint to varint */
};

#define FAST_MAP_COUNT 32     /* numbers from 0 on, in a map that is looked up */
#define FAST_MAP_ASK INT8_MIN /* not in it, or it would not come back */

/* A conversion of integers that are not negative, worked out. */
struct fast_number {
    uint64_t most; /* the largest that goes this way: it and its result fit their kinds */
    uint64_t factor;
    uint64_t reciprocal; /* FAST_DIVIDE: (2^64 - 1) / factor; factor > 1 */
};

struct fast_scalar {
    struct fast_number number;
    int8_t map[FAST_MAP_COUNT];
};

/* fast.c: what an ACTION_SCALAR is for those. FAST_MULTIPLY or FAST_DIVIDE; FAST_MAP, of which
 * ret_number->most is what both kinds hold; FAST_SCALAR: none of them. */
enum fast_code fast_number_of(const struct plan *plan, const struct program_op *op,
                              struct fast_number *ret_number);

/* The quotient, or one less, is what the reciprocal gives. */
static inline uint64_t fast_divide(const struct fast_number *number, uint64_t value)
{
    uint64_t quotient = (uint64_t)((uint128)value * number->reciprocal >> 64);
    return quotient + (value - quotient * number->factor >= number->factor);
}

struct fast {
    uint16_t source; /* its tag's bytes, the first one low; FAST_NO_TAG: none */
    uint8_t value;
    uint8_t code;
    uint8_t tag_bytes; /* of the tag to write */
    bool repeated;
    uint16_t slot; /* where a text or a number is noted; PROGRAM_SLOT_NONE: nowhere */
    uint32_t tag;  /* to write: its bytes, the first one low */
    bool joins;    /* its pieces have to be one message */
    const struct program_op *op;
    union {
        const struct fast_table *table;   /* of a message */
        const struct fast_scalar *scalar; /* MULTIPLY, DIVIDE, MAP */
    };
};

/* machine.h: does what run->machine says. */
typedef void (*machine_function)(struct run *run);

struct machine_code {
    _Atomic(machine_function) made; /* NULL: not yet, or never */
    atomic_uint runs;               /* without it; MACHINE_NEVER */
};

struct fast_table {
    const struct program_table *table;
    const struct fast *by_number; /* of FAST_NUMBER_COUNT at least, and an empty one behind */
    uint32_t number_count;
    bool framed;       /* has slots or carries: needs a frame; without one nothing is lost */
    bool carries;      /* has fields that are carried */
    bool ends;         /* quick_end() may deal with what waits for its message's end */
    bool whole;        /* its message has to be translated in one piece */
    bool joins;        /* has messages of such tables in it, at any depth */
    uint64_t messages; /* fast_message_bit()s of the fields that are, or have, such messages */
    struct machine_code translates, checks;
};

static inline uint64_t fast_message_bit(uint32_t number)
{
    return UINT64_C(1) << (number & 63);
}

/* pieces.c: fills `whole`, `joins` and `messages` of all tables. */
void fast_find_joins(struct plan *plan, uint32_t count);
/* After that: whether the field's pieces have to be one message. */
bool fast_joins(const struct plan *plan, const struct program_table *table,
                const struct program_op *op);

/* The way of the field that begins at *pos, of which two bytes can be read: moves *pos behind the
 * tag.
 * @before: the one before it, or that of number 0; fields come by ascending number, mostly. NULL:
 * the long one. */
static inline const struct fast *fast_find(const struct fast_table *table,
                                           const struct fast *before, const uint8_t **pos)
{
    const uint8_t *at = *pos;
    unsigned source = at[0], number = source >> 3;
    if (__builtin_expect(before[1].source == source, 1)) {
        *pos = at + 1;
        return before + 1;
    }
    if (__builtin_expect(source >= 0x80, 0)) {
        source |= (unsigned)at[1] << 8;
        number = (source >> 3 & 15) | (unsigned)at[1] << 4;
        if (number >= table->number_count) /* also if there is a third byte */
            return NULL;
        at++;
    }
    const struct fast *way = &table->by_number[number];
    *pos = at + 1;
    return way->source == source ? way : NULL;
}

/* quick.c: as many fields as go the short way, from *pos on, in the frame of @table, which does not
 * mark. Whatever is before *pos has been dealt with. Stops before a field that does not go this
 * way, whatever the reason. Never fails.
 * @fresh: all of the frame's message, which nothing has been done with.
 * Return: whether what waits for the message's end has been done, too; only if @fresh. */
bool quick_fields(struct run *run, struct frame *frame, const struct program_table *table,
                  const uint8_t **pos, const uint8_t *end, bool fresh);
/* One field that begins at @at, by its record, which is not of a message. Return: its end; NULL: it
 * is not for us, and *out is as it was. @frame: NULL: its table needs none. */
const uint8_t *quick_value(struct run *run, struct frame *frame, const struct fast *way,
                           const uint8_t *at, const uint8_t *end, uint8_t **out);

/* check.c: one field that begins at @at, by its record, which is not of a message. Return: its end;
 * NULL: it is not for us. */
const uint8_t *quick_check(struct run *run, const struct fast *way, const uint8_t *at,
                           const uint8_t *end);

/* quick_end.c: what waits for the message's end, from @out on, where that is simple, and has room.
 * Return: behind what is written; NULL, and nothing has changed: the long way. */
uint8_t *quick_end(struct run *run, struct frame *frame, uint8_t *out);
/* One emit of it, without asking whether the message's end is one that it may do. Return: as above.
 */
uint8_t *quick_emit(struct run *run, struct frame *frame, const struct program_emit *emit,
                    uint8_t *out);
/* The length of a message between @content and @out, for which there is room at @length, of one
 * byte or two. Return: behind the message, which may have moved. */
uint8_t *quick_close(uint8_t *length, uint8_t *content, uint8_t *out);

/* Bytes that may be read from @pos on. */
static inline size_t fast_room(const struct run *run, const uint8_t *pos)
{
    return (size_t)(run->readable - pos);
}
/* A varint of at most eight bytes, which can be read from @pos on; NULL: it is longer. */
static inline const uint8_t *fast_read_varint(const uint8_t *pos, uint64_t *ret_value)
{
    if (*pos < 0x80) {
        *ret_value = *pos;
        return pos + 1;
    }
    if (pos[1] < 0x80) {
        *ret_value = (*pos & 0x7fu) | (uint32_t)pos[1] << 7;
        return pos + 2;
    }
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t raw;
    memcpy(&raw, pos, 8);
    uint64_t stops = ~raw & UINT64_C(0x8080808080808080);
    if (stops == 0)
        return NULL;
    unsigned bits = (unsigned)__builtin_ctzll(stops); /* 23, 31, ... 63 */
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

#define FAST_NESTED_BYTES_MAX (2 * WIRE_FIELDS_MAX) /* so it has no more fields than it may */

/* The content of a nested message whose length is at @pos. NULL: it goes the long way. */
static inline const uint8_t *fast_read_message(const struct run *run, const uint8_t *pos,
                                               const uint8_t *end, const uint8_t **ret_after)
{
    ptrdiff_t bytes = *pos++;
    if (bytes >= 0x80) {
        bytes = (bytes & 0x7f) | *pos << 7;
        if (*pos++ >= 0x80 || bytes > FAST_NESTED_BYTES_MAX)
            return NULL;
    }
    *ret_after = pos + bytes;
    bool stuck = (uintptr_t)run->stuck - (uintptr_t)pos < (uintptr_t)bytes;
    return bytes <= end - pos && !stuck ? pos : NULL;
}

/* The end of a value that is not a message and that begins at @pos; NULL if anything is the matter.
 */
static inline const uint8_t *fast_check(const struct run *run, unsigned value, const uint8_t *pos,
                                        const uint8_t *end)
{
    uint32_t bytes;
    uint64_t raw;
    switch (value) {
    case FAST_STRING:
        pos = run_read_length(pos, end, &bytes);
        return pos && text_is_string(pos, bytes, fast_room(run, pos)) ? pos + bytes : NULL;
    case FAST_BYTES:
        pos = run_read_length(pos, end, &bytes);
        return pos ? pos + bytes : NULL;
    case FAST_VARINT:
        return run_read_varint(pos, end, &raw);
    case FAST_FIXED32:
        return end - pos >= 4 ? pos + 4 : NULL;
    case FAST_FIXED64:
        return end - pos >= 8 ? pos + 8 : NULL;
    default:
        return NULL;
    }
}

/* Counts a field, or an element of a repeated one. False at the limit. */
static inline bool fast_count(struct run *run, const struct program_op *op, uint32_t *fields)
{
    uint32_t *count = op->flags & OP_REPEATED ? &run->elements : fields;
    uint32_t most = op->flags & OP_REPEATED ? WIRE_ELEMENTS_MAX : WIRE_FIELDS_MAX;
    if (__builtin_expect(*count >= most, 0))
        return false;
    ++*count;
    return true;
}

#define FAST_PAIR_COUNT_MAX 16 /* of a map that is searched from its beginning */

/* The integer that is encoded; false if it needs more than 63 bits and a sign, or is none. */
static inline bool fast_decode(unsigned kind, uint64_t raw, int64_t *ret_value)
{
    switch (kind) {
    case KIND_INT32:
    case KIND_ENUM:
    case KIND_SFIXED32:
        *ret_value = (int32_t)(uint32_t)raw;
        return true;
    case KIND_SINT32:
        raw = (uint32_t)raw;
        *ret_value = (int64_t)(raw >> 1 ^ (0 - (raw & 1)));
        return true;
    case KIND_SINT64:
        *ret_value = (int64_t)(raw >> 1 ^ (0 - (raw & 1)));
        return true;
    case KIND_UINT32:
    case KIND_FIXED32:
        *ret_value = (uint32_t)raw;
        return true;
    case KIND_BOOL:
        *ret_value = raw != 0;
        return true;
    case KIND_INT64:
    case KIND_SFIXED64:
        *ret_value = (int64_t)raw;
        return true;
    case KIND_UINT64:
    case KIND_FIXED64:
        *ret_value = (int64_t)raw;
        return raw <= INT64_MAX;
    default:
        return false;
    }
}

static inline bool fast_fits(unsigned kind, int64_t value)
{
    switch (kind) {
    case KIND_INT32:
    case KIND_ENUM:
    case KIND_SFIXED32:
    case KIND_SINT32:
        return value >= INT32_MIN && value <= INT32_MAX;
    case KIND_UINT32:
    case KIND_FIXED32:
        return value >= 0 && value <= UINT32_MAX;
    case KIND_BOOL:
        return value >= 0 && value <= 1;
    case KIND_UINT64:
    case KIND_FIXED64:
        return value >= 0;
    case KIND_INT64:
    case KIND_SINT64:
    case KIND_SFIXED64:
        return true;
    default:
        return false;
    }
}

/* What run_decode() does with a value of ACTION_SCALAR, where 64 bits are enough for it. False: ask
 * run_decode(), nothing has been changed. */
static inline bool fast_convert(const struct plan *plan, const struct program_op *op, uint64_t raw,
                                struct slot *ret_value)
{
    int64_t value, mapped;
    bool lost = false;
    if (!fast_decode(op->kind, raw, &value))
        return false;
    mapped = value;
    if (op->convert != PROGRAM_NONE) {
        const struct program_convert *convert = &plan->converts[op->convert];
        const int64_t factor = (int64_t)convert->factor; /* verified: 1..INT64_MAX */
        if (convert->mode == CONVERT_MULTIPLY) {
            if (__builtin_mul_overflow(value, factor, &mapped))
                return false;
        } else if (convert->mode == CONVERT_DIVIDE) {
            mapped = value / factor;
            lost = mapped * factor != value;
        } else if (convert->mode == CONVERT_MAP) {
            const struct program_map *map = &plan->maps[convert->map];
            const struct program_pair *pairs = &plan->pairs[map->pair_first];
            if (map->pair_count > FAST_PAIR_COUNT_MAX ||
                (map->flags & (MAP_OTHERWISE | MAP_ONE_WAY)))
                return false;
            bool found = false;
            for (uint32_t i = 0; i < map->pair_count && pairs[i].source <= value; i++) {
                if (pairs[i].source == value) {
                    found = true;
                    mapped = pairs[i].target;
                    lost = (pairs[i].flags & PAIR_LOST) != 0;
                }
            }
            if (!found && (map->flags & MAP_OTHERWISE))
                return false;
        } else if (convert->mode != CONVERT_NONE) {
            return false;
        }
    }
    if (!fast_fits(op->written, mapped) ||
        (lost && (op->slot == PROGRAM_SLOT_NONE || (op->flags & OP_STRICT))))
        return false;
    ret_value->lost = lost || ((op->flags & OP_OWN_PRESENCE) && mapped == 0);
    ret_value->value = value;
    ret_value->mapped = mapped;
    return true;
}

#endif
