/*
 * Inside machine_field.c and those beside it: the bodies of fields, by their kinds.
 */
#ifndef PARLEY_TRANSLATE_MACHINE_FIELD_H
#define PARLEY_TRANSLATE_MACHINE_FIELD_H

#include "translate/machine_make.h"

#define LENGTH RAX /* of a text, until its field is done */

static inline unsigned tag_size(const struct fast *way)
{
    return way->source & 0x80 ? 2 : 1;
}

static inline bool has_note(const struct maker *maker, const struct fast *way)
{
    return maker->framed && way->slot != PROGRAM_SLOT_NONE;
}

/* Gives up if RDX is behind the end of the message, of the outermost its true end. */
static inline void give_up_past_end(struct maker *maker)
{
    struct assembler *as = &maker->as;
    if (maker->root)
        asm_alu_load(as, ASM_CMP, 8, RDX, MACHINE(end));
    else
        asm_alu(as, ASM_CMP, 8, RDX, R13);
    asm_jump_if(as, ASM_A, &maker->stuck);
}

/* machine_text.c: strings and bytes; a rare one is long, or not plain. */
void machine_write_text(struct maker *maker, struct field *field);
void machine_write_rare_text(struct maker *maker, struct field *field);

/* machine_carrier.c: a text, or bytes, that goes to a carrier, from its length on; @large: that has
 * two bytes. Only if it is carried: whether code can do it, in a frame of its own, for C forgets
 * the others. */
bool machine_is_carried(const struct maker *maker, const struct fast *way);
void machine_write_carried(struct maker *maker, struct field *field, bool large);

/* machine_number.c: a value that is copied, or converted; a rare one is a varint of more than a
 * byte. */
void machine_write_fixed(struct maker *maker, const struct fast *way);
void machine_write_varint(struct maker *maker, struct field *field);
void machine_write_long_varint(struct maker *maker, struct field *field);
void machine_check_varint(struct maker *maker, struct field *field);
void machine_write_number(struct maker *maker, struct field *field, bool rare);

#endif
