/*
 * Inside the conversion of fields: what convert.c, convert_wire.c and convert_map.c share.
 */
#ifndef PARLEY_TRANSLATE_CONVERT_INNER_H
#define PARLEY_TRANSLATE_CONVERT_INNER_H

#include "translate/convert.h"

/* A second look at the records of a field. */
struct look {
    const uint8_t *pos, *end;       /* records */
    const uint8_t *packed, *closed; /* values in the current one, if it is packed */
};

static inline struct look look_at(const struct slot *slot)
{
    const uint8_t *end = slot->data ? slot->data + slot->bytes : NULL;
    return (struct look){slot->data, end, NULL, NULL};
}

/* What a guard of a map is made over. */
enum walk {
    WALK_COUNT,   /* nothing: the entries are counted */
    WALK_WRITE,   /* nothing: they are written */
    WALK_SOURCE,  /* what they are */
    WALK_WRITTEN, /* what is written of them */
};

/* ---- convert_wire.c ---- */

/* The value of @kind at @pos, which was checked. @value: what has been read of a time so far. */
int convert_read(struct run *run, const struct program_op *op, enum kind kind, const uint8_t *pos,
                 const uint8_t *end, struct value *value, const uint8_t **ret_pos);
/* What a field that is not there has. */
void convert_reset_to(struct value *value, enum kind kind);
/* Without its tag. */
int convert_write(struct run *run, enum kind kind, const struct value *value);
/* What is written for @in, and whether it would not come back. Return: 0; 1: nothing is; < 0. */
int convert_resolve(struct run *run, const struct program_op *op,
                    const struct program_convert *convert, const struct value *in,
                    const uint8_t *at, struct value *out, bool *lost);
const struct program_convert *convert_of(const struct run *run, const struct program_op *op);
/* The next record of the field. Return: 1: there is one; 0: none; < 0. */
int convert_next_record(struct run *run, const struct program_op *op, struct look *look,
                        enum wire_type *ret_type, const uint8_t **ret_value,
                        const uint8_t **ret_after);

/* ---- convert.c ---- */

/* All records of the field as they came; of one that is not there, its default. */
int convert_carry_field(struct run *run, struct frame *frame, const struct program_op *op,
                        const struct slot *slot, uint64_t guard);

/* ---- convert_map.c ---- */

int convert_map(struct run *run, struct frame *frame, const struct program_emit *emit,
                const struct program_op *op, const struct slot *slot);
/* @walk: WALK_SOURCE or WALK_WRITTEN. */
int convert_map_guard(struct run *run, const struct program_op *op, const struct slot *slot,
                      enum walk walk, uint64_t *ret_guard);

#endif
