/*
 * Inside the plan runner: the short way through fields that need little.
 *
 * Most fields have a tag of one byte, come unpacked, and are checked and copied, or copied behind
 * another tag. For these a plan has, made from the program when it is loaded (fast.c) and not part
 * of it, a record for each such number of each table: what to check, and what to do. A field that is
 * not as expected in any way (malformed, past a limit) is left to the long way, which says what is
 * wrong.
 */
#ifndef PARLEY_TRANSLATE_FAST_H
#define PARLEY_TRANSLATE_FAST_H

#include <stdalign.h>

#include "translate/run.h"

#define FAST_NUMBER_COUNT 16 /* numbers that fit a tag of one byte */
#define FAST_TAG_COUNT (8 * FAST_NUMBER_COUNT)

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

/* What a table that translates does with it. */
enum fast_action {
    FAST_SLOW, /* the long way */
    FAST_KEEP, /* stays where it is */
    FAST_PUT,  /* the value's bytes, behind another tag */
    FAST_TAKE, /* a text for a slot; nothing is written */
    FAST_SCALAR,
    FAST_TRANSLATE, /* a message */
};

struct fast {
    alignas(16) uint16_t source; /* its tag byte; FAST_NO_TAG: none */
    uint8_t value;
    uint8_t action;
    uint8_t tag;   /* to write, of one byte; not FAST_KEEP, FAST_TAKE */
    bool repeated;
    uint16_t op;   /* in the table */
    uint16_t slot; /* where a text or a number is noted; PROGRAM_SLOT_NONE: nowhere */
};

#define FAST_NO_TAG UINT16_C(0x100)

struct fast_table {
    bool plain; /* no frame is needed, unless there are carriers, or a value loses something */
    bool whole; /* its message has to be translated in one piece */
    bool joins; /* has messages of such tables in it, at any depth */
    uint64_t messages; /* fast_message_bit()s of fields that are, or have, such messages */
    struct fast by_number[FAST_NUMBER_COUNT];
};

static inline uint64_t fast_message_bit(uint32_t number)
{
    return UINT64_C(1) << (number & 63);
}

/* pieces.c: fills `whole`, `joins` and `messages` of all tables. */
void fast_find_joins(struct plan *plan, uint32_t count);

/* The way of the field that begins with this byte; NULL: the long one. */
static inline const struct fast *fast_find(const struct fast_table *table, uint8_t tag)
{
    const struct fast *way = &table->by_number[tag >> 3 & (FAST_NUMBER_COUNT - 1)];
    return way->source == tag ? way : NULL;
}

/* quick.c: as many fields as go the short way, from *pos on, in the frame of @table, which does not
 * mark. *copied: up to where the source has been dealt with; what lies between it and *pos goes over
 * as it is. Stops before a field that does not go this way, whatever the reason. Never fails. */
void fast_fields(struct run *run, struct frame *frame, const struct program_table *table,
                 const uint8_t **pos, const uint8_t *end, const uint8_t **copied);

/* Bytes that may be read from @pos on. */
static inline size_t fast_room(const struct run *run, const uint8_t *pos)
{
    return (size_t)(run->readable - pos);
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
