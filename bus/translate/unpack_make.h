/*
 * Inside making machine code for the way into the struct (unpack_code.c): the function that is
 * being made, and what its files make for each other.
 *
 *   unpack_code.c          the whole; functions, from their beginning to what they return
 *   unpack_code_next.c     from one field to the next
 *   unpack_code_read.c     how values are read
 *   unpack_code_value.c    fields: texts, bytes, numbers
 *   unpack_code_message.c  fields: arrays, messages, what goes to slots, what is carried
 *   unpack_code_end.c      what a message that waits does at its end
 */
#ifndef PARLEY_TRANSLATE_UNPACK_MAKE_H
#define PARLEY_TRANSLATE_UNPACK_MAKE_H

#include "translate/asm_x86.h"
#include "translate/unpack.h"

#define U RBX       /* struct unpack */
#define AT R12      /* the field, or where a message begins */
#define MESSAGE R13 /* the struct */
#define STOP R14    /* no field begins from here on; a message's end when its function is called */
#define DEPTH R15   /* if the table does not wait */
#define LATER R15   /* if it does: where the next string's end is noted */
#define FIELDS RBP  /* if they are counted */
#define NEXT RDX    /* behind the value; before that, in texts, its data */
#define ONES 15u    /* 32 bytes of 1 */

#define FIELD_MAX QUICK_WIDE_MAX
#define FIELD_CODE_BYTES_MAX 1024
#define EMIT_CODE_BYTES_MAX 2048
#define TABLE_CODE_BYTES_MAX 4096 /* and those of its fields and emits */
#define IMAGE_BYTES_MAX 256       /* larger ones are made in C */
#define SLOT_CLEARED_MAX 32       /* tables with more have no code */

#define IN_U(member) asm_at(U, (int32_t)offsetof(struct unpack, member))
#define IN_HERE(member) asm_at(RSP, (int32_t)offsetof(struct reading, member))
#define HERE_BYTES ((int32_t)((sizeof(struct reading) + 15) & ~(size_t)15))

/* One that has a way. */
struct field {
    const struct quick *way;
    uint32_t tag; /* its bytes, the first one low */
    int tag_bytes;
    bool repeated;
    struct asm_label start; /* its tag has been seen */
    struct asm_label chain; /* is it this one? */
    struct asm_label next;  /* its value has been stored */
    struct asm_label edge;  /* it was the message's last, or goes past its end */
    struct asm_label undo;
};

struct maker;
struct beside;
typedef void make_way(struct maker *m, struct field *field); /* the field's code */
typedef void make_aside(struct maker *m, struct beside *beside);

/* What is beside the way: behind the function. It begins at `from`, and goes back to `to`. */
struct beside {
    make_aside *make;
    struct field *field;
    struct asm_label from, to;
};

#define BESIDE_MAX (4 * FIELD_MAX)
#define EMIT_CODE_MAX 32 /* of one table; more of them are made in C, all */
#define CONSTANT_MAX 16  /* different bytes in the literals that one function looks for */

struct maker {
    struct assembler as;
    struct asm_label *entries; /* by index of the table */
    struct asm_label call_c;   /* the function in RAX */
    struct asm_label text; /* the one at NEXT, of RCX bytes; its length is at RSI, the end in R8 */
    struct asm_label varint; /* of more than a byte: RAX is that, NEXT is behind it */
    struct asm_label ones;
    const struct plan_binding *binding;
    /* The function that is being made. */
    const struct bound_table *table;
    bool counted, waits;
    bool calm;   /* waits, mostly for nothing: what is not as expected is read again, all of it */
    bool wide;   /* has tags of two bytes */
    bool pieces; /* notes which messages have come */
    bool shown;  /* C works on `here` on the way, not only when this function is left for good */
    struct asm_label done, fail, other, give_up, search, no_memory, more, full, begin, empty;
    struct field fields[FIELD_MAX];
    size_t count;
    struct beside besides[BESIDE_MAX];
    size_t beside_count;
    /* What its end needs. */
    struct asm_label slow[EMIT_CODE_MAX], slow_close; /* the emit is for C, and all behind it */
    struct constant {
        uint8_t byte; /* 32 of it */
        struct asm_label at;
    } constants[CONSTANT_MAX];
    size_t constant_count;
};

typedef void any_function(void);
#define FUNCTION(name) ((any_function *)(uintptr_t)(name))

static inline struct asm_mem in_message(uint32_t offset)
{
    return asm_at(MESSAGE, (int32_t)offset);
}

/* The slot of that number, of those at @slots, and where in it. */
static inline struct asm_mem in_slot(enum asm_reg slots, uint16_t slot, size_t offset)
{
    return asm_at(slots, (int32_t)(slot * sizeof(struct slot) + offset));
}
#define IN_SLOT(slots, index, member) in_slot(slots, index, offsetof(struct slot, member))

/* ---- All inline ---- */

static inline void jump_undo(struct maker *m, enum asm_cond cond, struct field *field)
{
    asm_jump_if(&m->as, cond, &field->undo);
}

static inline void make_count(struct maker *m)
{
    if (m->counted)
        asm_alu_imm(&m->as, ASM_ADD, 4, FIELDS, 1);
}

static inline void make_end_later(struct maker *m)
{
    if (!m->waits)
        return;
    asm_store(&m->as, 8, asm_at(LATER, 0), NEXT);
    asm_alu_imm(&m->as, ASM_ADD, 8, LATER, 8);
}

static inline void make_load_end(struct maker *m, enum asm_reg reg)
{
    if (m->waits)
        asm_load(&m->as, 8, reg, IN_HERE(end));
    else
        asm_mov(&m->as, 8, reg, STOP);
}

/* A value's first byte is behind the tag. */
static inline struct asm_mem in_value(const struct field *field, int bytes)
{
    return asm_at(AT, field->tag_bytes + bytes);
}

/* ---- unpack_code.c ---- */

void unpack_make_ones(struct maker *m, enum asm_reg scratch);
/* A function of C's. Its arguments are where they belong; all but what functions leave is lost. */
void unpack_make_call(struct maker *m, any_function *function);
/* All of `here` in memory, for who goes on from here to the message's end. RAX is lost. */
void unpack_make_show(struct maker *m);

/* ---- unpack_code_next.c ---- */

/* The field at NEXT, which is before STOP; it is mostly that of @index. What is before it may have
 * been a text. */
void unpack_make_dispatch(struct maker *m, size_t index, bool ends_text);
/* The field of @index has been stored. */
void unpack_make_next(struct maker *m, size_t index, bool ends_text);
/* At @edge nothing begins before STOP: goes on at @next if there is only no room for more strings,
 * at @past if the last value has passed the message's end. */
void unpack_make_edge(struct maker *m, struct asm_label *edge, struct asm_label *next,
                      struct asm_label *past);
void unpack_make_undo(struct maker *m, struct field *field);
void unpack_make_chain(struct maker *m);

/* ---- unpack_code_read.c ---- */

void unpack_make_text_routine(struct maker *m);
void unpack_make_varint_routine(struct maker *m);
/* Something for the field that is beside the way. The caller binds `to`. */
struct beside *unpack_make_beside(struct maker *m, make_aside *make, struct field *field);
/* NEXT: the text's data; RCX: its length. */
void unpack_make_read_text(struct maker *m, struct field *field);
/* RAX; NEXT: behind it. */
void unpack_make_read_varint(struct maker *m, struct field *field);
/* The content of bytes, or of a message: from RDI up to NEXT, RCX of them, which are within the
 * message around it. */
void unpack_make_read_length(struct maker *m, struct field *field);

/* ---- unpack_code_value.c ---- */

make_way unpack_make_string, unpack_make_slot_text, unpack_make_bytes;
make_way unpack_make_number, unpack_make_fixed;
make_way unpack_make_multiply, unpack_make_divide, unpack_make_map;
/* What was stored nowhere is no end of what a carrier may still get. */
void unpack_make_growing(struct maker *m);

/* ---- unpack_code_message.c ---- */

make_way unpack_make_strings, unpack_make_submessage, unpack_make_messages;
make_way unpack_make_taken, unpack_make_carried;
/* new_message(), as RSI, if there is room for one that is not large. RAX is lost. False: it is
 * large, and nothing was made. */
bool unpack_make_new(struct maker *m, const struct bound_table *table, struct asm_label *no_room);

/* ---- unpack_code_end.c ---- */

/* What waited, at `done` of a table that waits; returns. And what that needs behind the function.
 */
void unpack_make_end(struct maker *m);

#endif
