/*
 * Inside making machine code for the way into the struct (unpack_code.c): the function that is
 * being made, and what its files make for each other.
 *
 *   unpack_code.c        the whole; functions; from one field to the next; values
 *   unpack_code_end.c    what a message that waits does at its end
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

/* What is beside the way: behind the function. */
enum beside_what {
    BESIDE_TEXT,
    BESIDE_VARINT,
    BESIDE_LENGTH,
    BESIDE_NEW,
    BESIDE_APPEND,
    BESIDE_EXISTS,
    BESIDE_TAKEN,
};

struct beside {
    enum beside_what what;
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
    bool wide; /* has tags of two bytes */
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

/* A function of C's. Its arguments are where they belong; all but what functions leave is lost. */
void unpack_make_call(struct maker *m, any_function *function);
/* new_message(), as RSI, if there is room for one that is not large. RAX is lost. False: it is
 * large, and nothing was made. */
bool unpack_make_new(struct maker *m, const struct bound_table *table, struct asm_label *no_room);

/* What waited, at `done` of a table that waits; returns. And what that needs behind the function.
 */
void unpack_make_end(struct maker *m);

#endif
