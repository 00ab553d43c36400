/*
 * The code for fields that are numbers: as they are, converted, or only checked.
 *
 * Of a varint the code for one byte stands in its field's way, that for more with what is seldom
 * run; what is longer than eight bytes is C's. A conversion is one of a few instructions, by the
 * numbers that fast.c has chosen, or C's.
 */
#include "translate/machine_field.h"

#include "translate/code.h"

#if CODE_HAVE

void machine_write_fixed(struct maker *maker, const struct fast *way)
{
    struct assembler *as = &maker->as;
    const int32_t size = way->value == FAST_FIXED32 ? 4 : 8, tag = way->tag_bytes;
    asm_load(as, 8, RAX, asm_at(RBX, (int32_t)tag_size(way)));
    write_tag(maker, way->tag, way->tag_bytes);
    asm_store(as, 8, asm_at(R12, tag), RAX);
    asm_alu_imm(as, ASM_ADD, 8, RBX, (int32_t)tag_size(way) + size);
    asm_alu_imm(as, ASM_ADD, 8, R12, tag + size);
}

/* One byte; more is rare. */
void machine_write_varint(struct maker *maker, struct field *field)
{
    struct assembler *as = &maker->as;
    const struct fast *way = field->way;
    asm_load(as, 1, RAX, asm_at(RBX, (int32_t)tag_size(way)));
    asm_test(as, 1, RAX, RAX);
    asm_jump_if(as, ASM_S, &field->rare);
    write_tag(maker, way->tag, way->tag_bytes);
    asm_store(as, 1, asm_at(R12, way->tag_bytes), RAX);
    asm_alu_imm(as, ASM_ADD, 8, R12, way->tag_bytes + 1);
    asm_alu_imm(as, ASM_ADD, 8, RBX, (int32_t)tag_size(way) + 1);
}

/* The eight bytes behind the tag to RAX, the index of the varint's last bit to RCX; what is longer
 * is C's. */
static void load_varint(struct maker *maker, struct field *field)
{
    struct assembler *as = &maker->as;
    asm_load(as, 8, RAX, asm_at(RBX, (int32_t)tag_size(field->way)));
    asm_andn(as, 8, RCX, RAX, R11);
    asm_jump_if(as, ASM_E, &field->by_c);
    asm_scan(as, ASM_TZCNT, 8, RCX, RCX);
}

void machine_write_long_varint(struct maker *maker, struct field *field)
{
    struct assembler *as = &maker->as;
    const struct fast *way = field->way;
    load_varint(maker, field);
    asm_shift(as, ASM_SHR, 4, RCX, 3);
    if (!maker->checks) {
        write_tag(maker, way->tag, way->tag_bytes);
        asm_store(as, 8, asm_at(R12, way->tag_bytes), RAX);
        asm_lea(as, R12, asm_at_index(R12, RCX, 1, way->tag_bytes + 1));
    }
    asm_lea(as, RBX, asm_at_index(RBX, RCX, 1, (int32_t)tag_size(way) + 1));
}

/* The seven bits of each byte of RAX, moved together. Uses RDX. */
static void gather_bits(struct maker *maker)
{
    struct assembler *as = &maker->as;
    static const uint64_t masks[3][2] = {
        {UINT64_C(0x7f007f007f007f00), UINT64_C(0x007f007f007f007f)},
        {UINT64_C(0x3fff00003fff0000), UINT64_C(0x00003fff00003fff)},
        {UINT64_C(0x0fffffff00000000), UINT64_C(0x000000000fffffff)},
    };
    if (maker->fast_bits) {
        asm_pext(as, 8, RAX, RAX, R10);
        return;
    }
    for (unsigned i = 0; i < 3; i++) {
        asm_mov_imm(as, RDX, masks[i][0]);
        asm_alu(as, ASM_AND, 8, RDX, RAX);
        asm_shift(as, ASM_SHR, 8, RDX, 1u << i);
        asm_mov_imm(as, RDI, masks[i][1]);
        asm_alu(as, ASM_AND, 8, RAX, RDI);
        asm_alu(as, ASM_OR, 8, RAX, RDX);
    }
}

/* RAX, which is at most `most`, to what it becomes; uses RCX, RDX and RDI. */
static void write_conversion(struct maker *maker, struct field *field)
{
    struct assembler *as = &maker->as;
    const struct fast *way = field->way;
    const struct fast_number *number = &way->scalar->number;
    struct asm_label exact = {0};
    if (way->code == FAST_MAP) {
        asm_mov_imm(as, RCX, (uint64_t)(uintptr_t)way->scalar->map);
        asm_load(as, 1, RAX, asm_at_index(RCX, RAX, 1, 0));
        asm_test(as, 1, RAX, RAX);
        asm_jump_if(as, ASM_S, &field->by_c); /* FAST_MAP_ASK: all others are not negative */
    } else if (way->code == FAST_MULTIPLY && number->factor != 1) {
        if (number->factor <= INT32_MAX) {
            asm_imul_imm(as, 8, RAX, RAX, (int32_t)number->factor);
        } else {
            asm_mov_imm(as, RCX, number->factor);
            asm_imul(as, 8, RAX, RCX);
        }
    } else if (way->code == FAST_DIVIDE) {
        asm_mov(as, 8, RDI, RAX);
        asm_mov_imm(as, RCX, number->reciprocal);
        asm_unary(as, ASM_MUL, 8, RCX);
        asm_mov(as, 8, RAX, RDX);
        asm_mov_imm(as, RCX, number->factor);
        asm_imul(as, 8, RDX, RCX);
        asm_alu(as, ASM_SUB, 8, RDI, RDX); /* what is left: 0, or the factor */
        asm_jump_if(as, ASM_E, &exact);
        asm_alu_imm(as, ASM_ADD, 8, RAX, 1);
        asm_alu(as, ASM_CMP, 8, RDI, RCX);
        asm_jump_if(as, ASM_NE, &field->by_c); /* it loses something */
        asm_bind(as, &exact);
    }
}

/* R8: as the source has it; RSI: bytes of the value. */
static void note_number(struct maker *maker, const struct fast *way, bool rare)
{
    struct assembler *as = &maker->as;
    if (!has_note(maker, way))
        return;
    asm_store_imm(as, 1, SLOT(way->slot, lost), 0);
    if (!maker->root && !(maker->told >> way->slot & 1))
        return; /* nobody asks more */
    asm_store_imm(as, 1, SLOT(way->slot, seen), 1);
    asm_store(as, 8, SLOT(way->slot, value), R8);
    asm_store(as, 8, SLOT(way->slot, mapped), RAX);
    asm_store(as, 8, SLOT(way->slot, data), RBX);
    if (rare) {
        asm_lea(as, RCX, asm_at(RSI, (int32_t)tag_size(way)));
        asm_store(as, 4, SLOT(way->slot, bytes), RCX);
    } else {
        asm_store_imm(as, 4, SLOT(way->slot, bytes), (int32_t)tag_size(way) + 1);
    }
}

/* Of a varint of one byte; if @rare, of more. */
void machine_write_number(struct maker *maker, struct field *field, bool rare)
{
    struct assembler *as = &maker->as;
    const struct fast *way = field->way;
    const uint64_t most = way->scalar->number.most;
    struct asm_label longer = {0}, written = {0};
    if (rare) {
        load_varint(maker, field);
        asm_lea(as, RSI, asm_at(RCX, 1));
        asm_bzhi(as, 8, RAX, RAX, RSI);
        gather_bits(maker);
        asm_shift(as, ASM_SHR, 4, RSI, 3);
    } else {
        asm_load(as, 1, RAX, asm_at(RBX, (int32_t)tag_size(way)));
        asm_test(as, 1, RAX, RAX);
        asm_jump_if(as, ASM_S, &field->rare);
    }
    if (rare || most < 0x7f) {
        if (most <= INT32_MAX) {
            asm_alu_imm(as, ASM_CMP, 8, RAX, (int32_t)most);
        } else {
            asm_mov_imm(as, RCX, most);
            asm_alu(as, ASM_CMP, 8, RAX, RCX);
        }
        asm_jump_if(as, ASM_A, &field->by_c);
    }
    if (has_note(maker, way))
        asm_mov(as, 8, R8, RAX);
    write_conversion(maker, field);
    note_number(maker, way, rare);
    write_tag(maker, way->tag, way->tag_bytes);
    bool small = way->code == FAST_MAP || (!rare && way->code == FAST_DIVIDE) ||
                 (!rare && way->scalar->number.factor == 1);
    if (!small) {
        asm_alu_imm(as, ASM_CMP, 8, RAX, 0x80);
        asm_jump_if(as, ASM_AE, &longer);
    }
    asm_store(as, 1, asm_at(R12, way->tag_bytes), RAX);
    asm_alu_imm(as, ASM_ADD, 8, R12, way->tag_bytes + 1);
    if (!small) {
        asm_jump(as, &written);
        asm_bind(as, &longer);
        asm_lea(as, RDX, asm_at(R12, way->tag_bytes));
        asm_call(as, &maker->encode);
        asm_mov(as, 8, R12, RDX);
        asm_bind(as, &written);
    }
    if (rare)
        asm_lea(as, RBX, asm_at_index(RBX, RSI, 1, (int32_t)tag_size(way)));
    else
        asm_alu_imm(as, ASM_ADD, 8, RBX, (int32_t)tag_size(way) + 1);
}

void machine_write_encode(struct maker *maker)
{
    struct assembler *as = &maker->as;
    struct asm_label again = {0}, large = {0};
    asm_bind(as, &maker->encode);
    if (maker->fast_bits) {
        asm_scan(as, ASM_BSR, 8, RCX, RAX); /* not 0: more than a byte */
        asm_alu_imm(as, ASM_CMP, 4, RCX, 56);
        asm_jump_if(as, ASM_AE, &large);
        asm_lea(as, RCX, asm_at_index(RCX, RCX, 8, 73));
        asm_shift(as, ASM_SHR, 4, RCX, 6); /* as wire_varint_size() */
        asm_pdep(as, 8, RAX, RAX, R10);
        asm_mov(as, 4, R9, RCX);
        asm_shift(as, ASM_SHL, 4, R9, 3);
        asm_alu_imm(as, ASM_SUB, 4, R9, 8); /* bits of all bytes but the last */
        asm_bzhi(as, 8, R9, R11, R9);
        asm_alu(as, ASM_OR, 8, RAX, R9);
        asm_store(as, 8, asm_at(RDX, 0), RAX);
        asm_alu(as, ASM_ADD, 8, RDX, RCX);
        asm_ret(as);
        asm_bind(as, &large);
    }
    asm_bind(as, &again);
    asm_mov(as, 4, RCX, RAX);
    asm_alu_imm(as, ASM_OR, 4, RCX, 0x80);
    asm_store(as, 1, asm_at(RDX, 0), RCX);
    asm_alu_imm(as, ASM_ADD, 8, RDX, 1);
    asm_shift(as, ASM_SHR, 8, RAX, 7);
    asm_alu_imm(as, ASM_CMP, 8, RAX, 0x80);
    asm_jump_if(as, ASM_AE, &again);
    asm_store(as, 1, asm_at(RDX, 0), RAX);
    asm_alu_imm(as, ASM_ADD, 8, RDX, 1);
    asm_ret(as);
}

void machine_check_varint(struct maker *maker, struct field *field)
{
    struct assembler *as = &maker->as;
    asm_load(as, 1, RAX, asm_at(RBX, (int32_t)tag_size(field->way)));
    asm_test(as, 1, RAX, RAX);
    asm_jump_if(as, ASM_S, &field->rare);
    asm_alu_imm(as, ASM_ADD, 8, RBX, (int32_t)tag_size(field->way) + 1);
}

#endif /* CODE_HAVE */
