/*
 * Inside the plan runner: the values of fields that ACTION_DEFER has left for the end of their
 * message, one by one.
 */
#ifndef PARLEY_TRANSLATE_SHAPE_H
#define PARLEY_TRANSLATE_SHAPE_H

#include "translate/run.h"

/* A value: of a record of its own, or of a packed one. */
struct element {
    const uint8_t *at;          /* its record */
    const uint8_t *value, *end; /* without the tag, with the length */
    enum wire_type type;
};

struct elements {
    const uint8_t *pos, *end;
    const uint8_t *at, *packed, *packed_end;
    uint32_t number;
    enum wire_type wire; /* of one that is not packed */
};

/* All values that the slot of a deferred field has of @number. */
struct elements elements_of(const struct slot *slot, uint32_t number, enum wire_type wire);
/* Return: 1: there is one; 0: no more; or an error. */
int elements_next(struct run *run, struct elements *elements, struct element *ret_element);

/* The op of an emit's table, or its first. */
const struct program_op *shape_op(const struct run *run, const struct program_emit *emit);
/* Whether the target gets its default. */
bool shape_is_default(struct run *run, const struct program_op *op, const struct element *element);
/* Whether it is the source's. */
bool shape_is_zero(const struct program_op *op, const struct element *element);
/* Writes it as the op says. */
int shape_write(struct run *run, struct frame *frame, const struct program_op *op,
                const struct element *element);

/* EMIT_ONEOF (oneof.c). */
int emit_oneof(struct run *run, struct frame *frame, const struct program_emit *emit,
               const struct slot *slot);

#endif
