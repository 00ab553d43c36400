/*
 * Machine code for the way into the struct: how a value is read.
 *
 * A text of up to 32 plain bytes, and a number or a length of one byte, are read where they are
 * wanted. What is longer is read beside the way, by two routines that all functions share, and by C
 * if those do not know it either. Each leaves in NEXT where the value ends, or for texts and
 * messages where it begins, and looks no further than what is readable behind the private copy.
 */
#include "translate/unpack_make.h"

#if CODE_HAVE

/* ---- Routines ---- */

/* unpack_read_text(): NEXT is its data, or NULL, and RCX its length. */
static void make_any_text(struct maker *m)
{
    struct assembler *as = &m->as;
    asm_mov(as, 8, RDI, U);
    asm_mov(as, 8, RDX, R8);
    asm_vzeroupper(as);
    asm_call_function(as, RAX, FUNCTION(unpack_read_text));
    unpack_make_ones(m, RCX);
    asm_mov(as, 8, RCX, RDX);
    asm_mov(as, 8, NEXT, RAX);
    asm_ret(as);
}

/* One of at most 32 bytes, not all plain. */
static void make_short_text(struct maker *m)
{
    struct assembler *as = &m->as;
    struct asm_label wrong = {0};
    asm_mov(as, 8, RDI, NEXT);
    asm_mov(as, 8, RSI, RCX);
    asm_push(as, NEXT);
    asm_push(as, RCX);
    asm_vzeroupper(as);
    asm_call_function(as, RAX, FUNCTION(text_check_short_avx2));
    unpack_make_ones(m, RCX);
    asm_pop(as, RCX);
    asm_pop(as, NEXT);
    asm_test(as, 4, RAX, RAX);
    asm_jump_if(as, ASM_NE, &wrong);
    asm_ret(as);
    asm_bind(as, &wrong);
    asm_alu(as, ASM_XOR, 4, NEXT, NEXT);
    asm_ret(as);
}

/* A text of which the first RAX bytes are plain, of 32. If it has up to 64, and all are, or if it
 * is short, that is seen here. */
void unpack_make_text_routine(struct maker *m)
{
    struct assembler *as = &m->as;
    struct asm_label any = {0}, is_short = {0};
    asm_bind(as, &m->text);
    asm_lea(as, R9, asm_at_index(NEXT, RCX, 1, 0));
    asm_alu(as, ASM_CMP, 8, R9, R8);
    asm_jump_if(as, ASM_A, &any);
    asm_alu_imm(as, ASM_CMP, 4, RCX, 32);
    asm_jump_if(as, ASM_BE, &is_short);
    asm_alu_imm(as, ASM_CMP, 4, RCX, 64);
    asm_jump_if(as, ASM_A, &any);
    asm_alu_imm(as, ASM_CMP, 4, RAX, 32);
    asm_jump_if(as, ASM_NE, &any);
    asm_vop_mem(as, ASM_PCMPGTB, 32, 0, ONES, asm_at(R9, -32));
    asm_vmask(as, 32, RAX, 0);
    asm_test(as, 4, RAX, RAX);
    asm_jump_if(as, ASM_NE, &any);
    asm_ret(as);
    asm_bind(as, &is_short);
    make_short_text(m);
    asm_bind(as, &any);
    make_any_text(m);
}

/* to = (to & mask) >> shift | (to & ~mask's) : pairs of groups of bits move together. */
static void make_closer(struct maker *m, uint64_t high, uint64_t low, unsigned shift)
{
    struct assembler *as = &m->as;
    asm_mov_imm(as, RCX, high);
    asm_mov_imm(as, RSI, low);
    asm_alu(as, ASM_AND, 8, RCX, RAX);
    asm_alu(as, ASM_AND, 8, RAX, RSI);
    asm_shift(as, ASM_SHR, 8, RCX, shift);
    asm_alu(as, ASM_OR, 8, RAX, RCX);
}

/* As fast_read_varint(). NEXT is 0: it is longer than eight bytes. */
void unpack_make_varint_routine(struct maker *m)
{
    struct assembler *as = &m->as;
    struct asm_label longer = {0}, too_long = {0};
    asm_bind(as, &m->varint);
    asm_load(as, 1, RCX, asm_at(NEXT, 0));
    asm_test(as, 1, RCX, RCX);
    asm_jump_if(as, ASM_S, &longer);
    asm_alu_imm(as, ASM_AND, 4, RAX, 0x7f);
    asm_shift(as, ASM_SHL, 4, RCX, 7);
    asm_alu(as, ASM_OR, 4, RAX, RCX);
    asm_alu_imm(as, ASM_ADD, 8, NEXT, 1);
    asm_ret(as);
    asm_bind(as, &longer);
    asm_load(as, 8, RAX, asm_at(NEXT, -1));
    asm_mov_imm(as, RCX, UINT64_C(0x8080808080808080));
    asm_andn(as, 8, RCX, RAX, RCX);
    asm_jump_if(as, ASM_E, &too_long);
    asm_scan(as, ASM_TZCNT, 8, RCX, RCX);
    asm_lea(as, RSI, asm_at(RCX, 1));
    asm_bzhi(as, 8, RAX, RAX, RSI);
    asm_shift(as, ASM_SHR, 4, RCX, 3);
    asm_alu(as, ASM_ADD, 8, NEXT, RCX);
    make_closer(m, UINT64_C(0x7f007f007f007f00), UINT64_C(0x007f007f007f007f), 1);
    make_closer(m, UINT64_C(0x3fff00003fff0000), UINT64_C(0x00003fff00003fff), 2);
    make_closer(m, UINT64_C(0x0fffffff00000000), UINT64_C(0x000000000fffffff), 4);
    asm_ret(as);
    asm_bind(as, &too_long);
    asm_alu(as, ASM_XOR, 4, NEXT, NEXT);
    asm_ret(as);
}

/* ---- Values ---- */

struct beside *unpack_make_beside(struct maker *m, make_aside *make, struct field *field)
{
    struct beside *beside = &m->besides[m->beside_count++];
    *beside = (struct beside){.make = make, .field = field};
    return beside;
}

static void make_beside_text(struct maker *m, struct beside *beside)
{
    struct assembler *as = &m->as;
    asm_lea(as, RSI, in_value(beside->field, 0));
    make_load_end(m, R8);
    asm_call(as, &m->text);
    asm_test(as, 8, NEXT, NEXT);
    jump_undo(m, ASM_E, beside->field);
    asm_jump(as, &beside->to);
}

/* The text: NEXT becomes its data, RCX its length. */
void unpack_make_read_text(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    struct beside *beside = unpack_make_beside(m, make_beside_text, field);
    asm_load(as, 1, RCX, in_value(field, 0));
    asm_vop_mem(as, ASM_PCMPGTB, 32, 0, ONES, in_value(field, 1)); /* not 0x01..0x7f */
    asm_vmask(as, 32, RAX, 0);
    asm_lea(as, NEXT, in_value(field, 1));
    asm_scan(as, ASM_TZCNT, 4, RAX, RAX); /* 32 if all are */
    asm_alu(as, ASM_CMP, 4, RAX, RCX);
    asm_jump_if(as, ASM_B, &beside->from);
    asm_bind(as, &beside->to);
}

static void make_beside_varint(struct maker *m, struct beside *beside)
{
    asm_call(&m->as, &m->varint);
    asm_test(&m->as, 8, NEXT, NEXT);
    jump_undo(m, ASM_E, beside->field);
    asm_jump(&m->as, &beside->to);
}

/* To RAX. */
void unpack_make_read_varint(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    struct beside *beside = unpack_make_beside(m, make_beside_varint, field);
    asm_load(as, 1, RAX, in_value(field, 0));
    asm_lea(as, NEXT, in_value(field, 1));
    asm_test(as, 1, RAX, RAX);
    asm_jump_if(as, ASM_S, &beside->from);
    asm_bind(as, &beside->to);
}

/* A length of two bytes. */
static void make_beside_length(struct maker *m, struct beside *beside)
{
    struct assembler *as = &m->as;
    asm_load(as, 1, RAX, in_value(beside->field, 1));
    asm_lea(as, RDI, in_value(beside->field, 2));
    asm_test(as, 1, RAX, RAX);
    jump_undo(m, ASM_S, beside->field);
    asm_alu_imm(as, ASM_AND, 4, RCX, 0x7f);
    asm_shift(as, ASM_SHL, 4, RAX, 7);
    asm_alu(as, ASM_OR, 4, RCX, RAX);
    asm_alu_imm(as, ASM_CMP, 4, RCX, UNPACK_CODE_BYTES_MAX);
    jump_undo(m, ASM_A, beside->field);
    asm_jump(as, &beside->to);
}

/* The content of bytes, or of a message: from RDI up to NEXT, RCX of them, which are within the
 * message around it. */
void unpack_make_read_length(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    struct beside *beside = unpack_make_beside(m, make_beside_length, field);
    asm_load(as, 1, RCX, in_value(field, 0));
    asm_lea(as, RDI, in_value(field, 1));
    asm_test(as, 1, RCX, RCX);
    asm_jump_if(as, ASM_S, &beside->from);
    asm_bind(as, &beside->to);
    asm_lea(as, NEXT, asm_at_index(RDI, RCX, 1, 0));
    if (m->waits)
        asm_alu_load(as, ASM_CMP, 8, NEXT, IN_HERE(end));
    else
        asm_alu(as, ASM_CMP, 8, NEXT, STOP);
    jump_undo(m, ASM_A, field);
}

#endif
