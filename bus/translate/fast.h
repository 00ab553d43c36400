/*
 * Inside the plan runner: the short way through fields that need little.
 *
 * Most fields have a tag of one byte, come unpacked, and are checked and copied, or copied behind
 * another tag. For these a plan has, made from the program when it is loaded (fast.c) and not part
 * of it, a record for each tag byte of each table: what to check, and what to do. A field that is
 * not as expected in any way (malformed, past a limit) is left to the long way, which says what is
 * wrong.
 */
#ifndef PARLEY_TRANSLATE_FAST_H
#define PARLEY_TRANSLATE_FAST_H

#include "translate/run.h"

#define FAST_TAG_COUNT 128 /* tags of one byte: numbers 1..15 */

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
    FAST_NOTE, /* too, and is noted in a slot */
    FAST_RENUMBER,
    FAST_SLOT, /* a text for a slot */
    FAST_SCALAR,
    FAST_TRANSLATE, /* a message */
};

struct fast {
    uint8_t value;
    uint8_t action;
    uint16_t op; /* in the table */
};

struct fast_table {
    struct fast by_tag[FAST_TAG_COUNT];
};

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

#endif
