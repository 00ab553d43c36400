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
/* What reads the value that the op has written, in the target's message. */
struct program_op shape_inner(const struct program_op *op);
/* Whether the target gets its default. */
bool shape_is_default(struct run *run, const struct program_op *op, const struct element *element);
/* Whether it is the source's. */
bool shape_is_zero(const struct program_op *op, const struct element *element);
/* Of a message. */
bool shape_is_empty(const struct element *element);
/* Writes it as the op says. */
int shape_write(struct run *run, struct frame *frame, const struct program_op *op,
                const struct element *element);

/* The pieces of a message as one. */
int shape_write_whole(struct run *run, struct frame *frame, const struct program_op *op,
                      struct elements pieces);
/* Writes the default of a value that is not there. Of a message, an empty one, unless that is no
 * message of its type. */
int shape_write_default(struct run *run, const struct program_op *op, const uint8_t *at);
int shape_check_depth(struct run *run, const struct frame *frame, uint32_t number);
/* Fields of a message (of the target's field @number) that is put together count as if it had come
 * in one piece. *fields: so far. */
int shape_count_inside(struct run *run, const struct frame *frame, uint32_t number,
                       const struct run_record *field, uint32_t *fields);

/* What lies in the pieces of a message: its value, and whether there is anything else. */
struct wrapped {
    struct element value; /* the last one */
    bool has_value, has_rest;
};
/* Adds what is in the content of one piece. */
int shape_look_inside(struct run *run, const struct element *piece, const struct program_op *op,
                      struct wrapped *wrapped);

/* list.c */
int emit_wrap_each(struct run *run, struct frame *frame, const struct program_emit *emit,
                   const struct slot *slot);
int emit_unwrap_each(struct run *run, struct frame *frame, const struct program_emit *emit,
                     const struct slot *slot);
/* entries.c */
int emit_entries(struct run *run, struct frame *frame, const struct program_emit *emit,
                 const struct slot *slot);
/* oneof.c */
int emit_oneof(struct run *run, struct frame *frame, const struct program_emit *emit,
               const struct slot *slot);

#endif
