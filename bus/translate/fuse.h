/*
 * Inside the fusing of tables: what fuse.c (tables), fuse_field.c (ops and emits) and rebase.c share.
 */
#ifndef PARLEY_TRANSLATE_FUSE_H
#define PARLEY_TRANSLATE_FUSE_H

#include "translate/compile.h"

/* Two tables that become one. Whatever returns false cannot be fused: then they are two stages. */
struct mix {
    struct fuser *fuser;
    struct builder *builder;
    struct program_table a, b; /* as they were */
    uint8_t required[PROGRAM_REQUIRED_MAX]; /* the bit that each of a's is now */
    uint32_t required_count;
    uint32_t pipe; /* b as a table for pipes, + 1; 0: not made yet */
    bool ordered;  /* what a does at the end must be done before b begins with that */
    struct program_op *ops;
    struct program_emit *emits;
    size_t op_count, op_capacity, emit_count, emit_capacity;
};

/* The op of a table for a number; false: none. */
bool fuse_find(struct builder *builder, const struct program_table *table, uint32_t number,
               struct program_op *ret_op);
struct program_op fuse_op_at(struct builder *builder, uint32_t index);
struct program_emit fuse_emit_at(struct builder *builder, uint32_t index);

/* ---- fuse_field.c ---- */

/* An op of a, and what b does to what it writes. @in_carrier: of a's table for carriers. */
bool fuse_op(struct mix *mix, const struct program_op *a, bool in_carrier,
             struct program_op *ret_op);
bool fuse_emit(struct mix *mix, const struct program_emit *a, struct program_emit *ret_emit);
/* An emit of b, in a message that is a's now. */
bool fuse_emit_behind(struct mix *mix, const struct program_emit *b, struct program_emit *ret_emit);
/* Whether anything of b is unknown here. */
bool fuse_knows_op(const struct program_op *op);

/* ---- rebase.c: a's slots lie behind b's ---- */

bool rebase_op(struct mix *mix, struct program_op *op);
bool rebase_emit(struct mix *mix, struct program_emit *emit);

#endif
