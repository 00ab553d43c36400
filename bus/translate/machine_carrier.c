/*
 * The code for texts and bytes that go to a carrier, as carry() in quick.c does it: the first field
 * that is carried opens one in the output, with its owner; one that would add to a carrier before
 * it is C's.
 */
#include "translate/machine_field.h"

#include "translate/code.h"

#if CODE_HAVE

/* Whether code can carry: to a frame of its own, for C forgets the others. */
bool machine_is_carried(const struct maker *maker, const struct fast *way)
{
    return !maker->checks && way->code == FAST_CARRY && maker->framed && !maker->shared;
}

/* 32 bytes of a text from [@from] to [@to], and to VEC @ret: which of them are not plain. */
static void carry_block(struct maker *maker, struct asm_mem from, struct asm_mem to, asm_vec ret,
                        bool string)
{
    struct assembler *as = &maker->as;
    asm_vload(as, 32, 0, from);
    asm_vstore(as, 32, to, 0);
    if (string)
        asm_vop(as, ASM_PCMPGTB, 32, ret, VEC_ONES, 0);
}

/* @count times 32 bytes from RSI to RDI, which move on; which are not plain, to VEC 2 as well. */
static void carry_blocks(struct maker *maker, int32_t count, bool string)
{
    struct assembler *as = &maker->as;
    for (int32_t i = 0; i < count; i++) {
        carry_block(maker, asm_at(RSI, 32 * i), asm_at(RDI, 32 * i), 1, string);
        if (string)
            asm_vop(as, ASM_POR, 32, 2, 2, 1);
    }
    asm_alu_imm(as, ASM_ADD, 8, RSI, 32 * count);
    asm_alu_imm(as, ASM_ADD, 8, RDI, 32 * count);
}

/* LENGTH bytes of text, from RSI to RDI, which end at RDX; a text that is not plain goes to by_c.
 * Uses RCX and R8. What is read and written passes the end by less than 32 bytes. */
static void carry_text(struct maker *maker, struct field *field)
{
    struct assembler *as = &maker->as;
    const bool string = field->way->value == FAST_STRING;
    struct asm_label is_short = {0}, last = {0}, again = {0}, two = {0}, done = {0};
    asm_alu_imm(as, ASM_CMP, 4, LENGTH, 32);
    asm_jump_if(as, ASM_BE, &is_short);
    asm_vop(as, ASM_PXOR, 32, 2, 2, 2);
    asm_lea(as, R8, asm_at(RDX, -64)); /* as long as there are 64, and more */
    asm_alu(as, ASM_CMP, 8, RSI, R8);
    asm_jump_if(as, ASM_AE, &last);
    asm_lea(as, RCX, asm_at(RDX, -128));
    asm_alu(as, ASM_CMP, 8, RSI, RCX);
    asm_jump_if(as, ASM_AE, &two);
    asm_bind(as, &again);
    carry_blocks(maker, 4, string);
    asm_alu(as, ASM_CMP, 8, RSI, RCX);
    asm_jump_if(as, ASM_B, &again);
    asm_alu(as, ASM_CMP, 8, RSI, R8);
    asm_jump_if(as, ASM_AE, &last);
    asm_bind(as, &two);
    carry_blocks(maker, 2, string);
    asm_bind(as, &last); /* 64 at most: its first 32, and the text's last 32, some of it again */
    asm_mov(as, 8, RCX, RDX);
    asm_alu(as, ASM_SUB, 8, RCX, RSI);
    if (string)
        asm_vload(as, 32, 0, asm_at(RSI, 0));
    else
        carry_block(maker, asm_at(RSI, 0), asm_at(RDI, 0), 1, false);
    if (string) {
        struct asm_label one = {0};
        asm_vstore(as, 32, asm_at(RDI, 0), 0);
        asm_alu_imm(as, ASM_CMP, 8, RCX, 32);
        asm_jump_if(as, ASM_BE, &one); /* what follows the text may be anything */
        asm_vop(as, ASM_PCMPGTB, 32, 1, VEC_ONES, 0);
        asm_vop(as, ASM_POR, 32, 2, 2, 1);
        asm_bind(as, &one);
    }
    carry_block(maker, asm_at(RDX, -32), asm_at_index(RDI, RCX, 1, -32), 1, string);
    if (string) {
        asm_vop(as, ASM_POR, 32, 2, 2, 1);
        asm_vmask(as, 32, RCX, 2);
        asm_test(as, 4, RCX, RCX);
        asm_jump_if(as, ASM_NE, &field->by_c);
    }
    asm_jump(as, &done);
    asm_bind(as, &is_short);
    carry_block(maker, asm_at(RSI, 0), asm_at(RDI, 0), 1, string);
    if (string) {
        asm_vmask(as, 32, RCX, 1);
        asm_scan(as, ASM_TZCNT, 4, RCX, RCX);
        asm_alu(as, ASM_CMP, 4, LENGTH, RCX);
        asm_jump_if(as, ASM_A, &field->by_c);
    }
    asm_bind(as, &done);
}

/* The carrier that is opened at R12, of R9 bytes behind its length; its content is at R12 +
 * @header. RDX: behind the record in the source. */
static void open_carrier(struct maker *maker, const struct fast *way, int32_t header, bool large)
{
    struct assembler *as = &maker->as;
    uint8_t tag[8] = {0};
    (void)wire_write_varint(tag, CARRIER_TAG);
    asm_store_imm(as, 4, asm_at(R12, 0),
                  (int32_t)((uint32_t)tag[0] | (uint32_t)tag[1] << 8 | (uint32_t)tag[2] << 16 |
                            (uint32_t)tag[3] << 24));
    asm_store_imm(as, 1, asm_at(R12, 4), (int8_t)tag[4]);
    asm_lea(as, RCX, asm_at(R12, CARRIER_TAG_BYTES));
    asm_store(as, 8, FRAME(carrier), RCX);
    asm_lea(as, RSI, asm_at_index(R12, R9, 1, header - CARRIER_OWNER_BYTES));
    asm_store(as, 8, FRAME(carrier_end), RSI);
    if (large) {
        asm_mov(as, 4, RAX, R9);
        asm_alu_imm(as, ASM_OR, 4, RAX, 0x80);
        asm_store(as, 1, asm_at(RCX, 0), RAX);
        asm_shift(as, ASM_SHR, 4, R9, 7);
        asm_store(as, 1, asm_at(RCX, 1), R9);
    } else {
        asm_store(as, 1, asm_at(RCX, 0), R9);
    }
    if (way->op->owner) {
        asm_mov_imm(as, RAX, way->op->owner);
        asm_store(as, 4, FRAME(owner), RAX);
    } else {
        asm_load(as, 4, RAX, FRAME(owner));
    }
    asm_store(as, 4, FRAME(carrier_owner), RAX);
    asm_store_imm(as, 1, asm_at(R12, header - CARRIER_OWNER_BYTES), CARRIER_PLAIN_TAG);
    asm_store(as, 4, asm_at(R12, header - 4), RAX);
    asm_alu_store_imm(as, ASM_ADD, 4, FRAME(fields), 1);
    asm_mov(as, 8, R12, RSI);
    asm_mov(as, 8, RBX, RDX);
}

/* A plain text, or bytes, to a carrier that it opens, as carry() in quick.c does it; one that goes
 * to the carrier before it is C's. From the length on; @large: that has two bytes, and so has the
 * carrier's. */
void machine_write_carried(struct maker *maker, struct field *field, bool large)
{
    struct assembler *as = &maker->as;
    const int32_t tag = (int32_t)tag_size(field->way), text = tag + (large ? 2 : 1);
    const int32_t header = CARRIER_TAG_BYTES + (large ? 2 : 1) + CARRIER_OWNER_BYTES;
    asm_load(as, 1, LENGTH, asm_at(RBX, tag));
    if (large) {
        asm_load(as, 1, RDX, asm_at(RBX, tag + 1));
        asm_alu_imm(as, ASM_AND, 4, LENGTH, 0x7f);
        asm_test(as, 1, RDX, RDX);
        asm_jump_if(as, ASM_S, &field->by_c);
        asm_shift(as, ASM_SHL, 4, RDX, 7);
        asm_alu(as, ASM_OR, 4, LENGTH, RDX);
    } else {
        asm_test(as, 1, LENGTH, LENGTH);
        asm_jump_if(as, ASM_S, &field->large);
    }
    asm_lea(as, R9, asm_at(LENGTH, text + CARRIER_OWNER_BYTES));
    if (large) {
        asm_lea(as, RCX, asm_at(R9, -0x80));
        asm_alu_imm(as, ASM_CMP, 4, RCX, 0x4000 - 0x80);
    } else {
        asm_alu_imm(as, ASM_CMP, 4, R9, 0x80);
    }
    asm_jump_if(as, ASM_AE, &field->by_c);
    asm_alu_load(as, ASM_CMP, 8, R12, FRAME(carrier_end));
    asm_jump_if(as, ASM_E, &field->by_c);
    asm_lea(as, RSI, asm_at(RBX, text));
    asm_lea(as, RDX, asm_at_index(RSI, LENGTH, 1, 0));
    give_up_past_end(maker);
    asm_load(as, 4, RCX, asm_at(RBX, 0)); /* tag and length: four bytes at most */
    asm_store(as, 4, asm_at(R12, header), RCX);
    asm_lea(as, RDI, asm_at(R12, header + text));
    carry_text(maker, field);
    open_carrier(maker, field->way, header, large);
}

#endif /* CODE_HAVE */
