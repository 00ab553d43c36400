/*
 * Inside machine*.c: what is shared by those that write the code.
 *
 * Registers while it runs:
 *   RBX  where the source is read, at the tag of a field until that is done
 *   R12  where is written
 *   R13  the end of the message; of the outermost, behind which no field begins (run->machine.stop)
 *   RBP  the message's frame, and R14 its slots, in functions that have one
 *   R15  the run
 *   R10  0x7f7f7f7f7f7f7f7f, and R11 0x8080808080808080; VEC_ONES: 1 in each byte
 * The others are nobody's. Functions of C's are called through `call_c`, which restores what C does
 * not keep.
 */
#ifndef PARLEY_TRANSLATE_MACHINE_MAKE_H
#define PARLEY_TRANSLATE_MACHINE_MAKE_H

#include <stddef.h>

#include "translate/asm_x86.h"
#include "translate/machine.h"

#define VEC_ONES 15

/* Places in the run, in a frame, in a slot. */
#define RUN(member) asm_at(R15, (int32_t)offsetof(struct run, member))
#define MACHINE(member) RUN(machine.member)
#define FRAME(member) asm_at(RBP, (int32_t)offsetof(struct frame, member))
#define SLOT(index, member)                                                                        \
    asm_at(R14, (int32_t)((index) * sizeof(struct slot) + offsetof(struct slot, member)))

/* A field of the function that is being written. */
struct field {
    const struct fast *way;
    struct asm_label body;
    struct asm_label rare;  /* by C, or by more code: a value that is long, or not plain */
    struct asm_label plain; /* of a text that is right: it goes on here */
    struct asm_label large; /* a message with a length of two bytes */
    struct asm_label close; /* whose length has another size than was left for it */
    struct asm_label large_close;
    struct asm_label by_c; /* quick_value() */
    struct asm_label done;
};

struct maker {
    struct assembler as;
    const struct plan *plan;
    uint32_t table_count;
    struct asm_label *nested; /* the functions of tables as nested messages */
    bool *wanted, *written;
    bool checks;    /* all that is made checks, and writes nothing */
    bool fast_bits; /* PEXT and PDEP are fast */
    struct asm_label call_c, constants, unwind, leave, encode;
    /* The function that is being written. */
    const struct fast_table *table;
    bool root;   /* of the outermost message: counts fields, knows where to begin again */
    bool framed; /* has a frame */
    bool shared; /* has the slots of the one around it */
    uint32_t field_count;
    struct field fields[FAST_NUMBER_MAX + 1];
    struct asm_label end, end_repeated, dispatch, stuck, past;
    uint64_t told; /* slots of which the emits ask more than whether they lost something */
};

static inline void write_tag(struct maker *maker, uint32_t tag, unsigned bytes)
{
    /* What is too much is overwritten by what follows. */
    asm_store_imm(&maker->as, bytes < 3 ? bytes : 4, asm_at(R12, 0), (int32_t)tag);
}

/* Calls a function of C's, whose arguments are where C has them. */
static inline void call_c(struct maker *maker, void (*function)(void))
{
    asm_mov_imm(&maker->as, RAX, (uint64_t)(uintptr_t)function);
    asm_call(&maker->as, &maker->call_c);
}

/* machine_field.c: all bodies of fields, by their numbers; and what of them is seldom run. */
void machine_write_fields(struct maker *maker);
void machine_write_rare(struct maker *maker);
/* machine_number.c: the routine at maker->encode: RAX as a varint to RDX; RDX: behind it. */
void machine_write_encode(struct maker *maker);

/* machine_end.c: what waits for the message's end, from R12 on. Goes to @by_c, with nothing
 * written, if C's quick_end() has to do it. */
void machine_write_end(struct maker *maker, struct asm_label *by_c);
/* Slots whose texts or numbers the table's emits use. */
uint64_t machine_told_slots(const struct plan *plan, const struct program_table *table);
/* The most fields that the emits add. */
uint32_t machine_added_fields(const struct plan *plan, const struct program_table *table);

#endif
