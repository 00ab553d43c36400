/*
 * Machine code for the way into the struct: singular texts, bytes, and numbers, whether they are
 * stored as they are, noted in a slot, or converted.
 */
#include "translate/unpack_make.h"

#if CODE_HAVE

/* ---- Texts and bytes ---- */

/* run_keep(), of the text at NEXT. */
static void make_keep_text(struct maker *m, uint16_t slot)
{
    struct assembler *as = &m->as;
    asm_load(as, 8, RSI, IN_HERE(slots));
    asm_store_imm(as, 1, IN_SLOT(RSI, slot, seen), 1);
    asm_store(as, 8, IN_SLOT(RSI, slot, data), NEXT);
    asm_store(as, 4, IN_SLOT(RSI, slot, bytes), RCX);
}

void unpack_make_string(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    unpack_make_read_text(m, field);
    asm_store(as, 8, in_message(field->way->offset), NEXT);
    if (field->way->way == QUICK_NOTED)
        make_keep_text(m, field->way->slot);
    asm_alu(as, ASM_ADD, 8, NEXT, RCX);
    make_end_later(m);
    make_count(m);
}

/* What was stored nowhere is no end of what a carrier may still get. */
void unpack_make_growing(struct maker *m)
{
    struct assembler *as = &m->as;
    struct asm_label other = {0};
    asm_alu_load(as, ASM_CMP, 8, AT, IN_U(growing.at));
    asm_jump_if(as, ASM_NE, &other);
    asm_store(as, 8, IN_U(growing.at), NEXT);
    asm_bind(as, &other);
}

void unpack_make_slot_text(struct maker *m, struct field *field)
{
    unpack_make_read_text(m, field);
    make_keep_text(m, field->way->slot);
    asm_alu(&m->as, ASM_ADD, 8, NEXT, RCX);
    unpack_make_growing(m);
    make_count(m);
}

void unpack_make_bytes(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    const struct quick *way = field->way;
    unpack_make_read_length(m, field);
    asm_alu(as, ASM_XOR, 4, RAX, RAX);
    asm_test(as, 4, RCX, RCX);
    asm_cmov(as, ASM_E, 8, RDI, RAX);
    if (way->quantifier != way->offset)
        asm_store_imm(as, 4, in_message(way->quantifier), 1);
    asm_store(as, 8, in_message(way->offset + offsetof(ProtobufCBinaryData, len)), RCX);
    asm_store(as, 8, in_message(way->offset + offsetof(ProtobufCBinaryData, data)), RDI);
    make_count(m);
}

/* ---- Numbers ---- */

/* Of 4 or 8 bytes, and that there is one. */
static void make_store(struct maker *m, struct field *field, unsigned bytes, enum asm_reg value)
{
    const struct quick *way = field->way;
    if (way->quantifier != way->offset)
        asm_store_imm(&m->as, 4, in_message(way->quantifier), 1);
    asm_store(&m->as, bytes, in_message(way->offset), value);
    make_count(m);
}

/* RAX = RAX >> 1 ^ -(RAX & 1) */
static void make_unzigzag(struct maker *m, unsigned bytes)
{
    struct assembler *as = &m->as;
    asm_mov(as, bytes, RCX, RAX);
    asm_alu_imm(as, ASM_AND, 4, RCX, 1);
    asm_unary(as, ASM_NEG, bytes, RCX);
    asm_shift(as, ASM_SHR, bytes, RAX, 1);
    asm_alu(as, ASM_XOR, bytes, RAX, RCX);
}

void unpack_make_number(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    const uint8_t way = field->way->way;
    const bool is64 = way == QUICK_INT64 || way == QUICK_SINT64;
    unpack_make_read_varint(m, field);
    if (way == QUICK_SINT32 || way == QUICK_SINT64)
        make_unzigzag(m, is64 ? 8 : 4);
    if (way == QUICK_BOOL) {
        asm_test(as, 8, RAX, RAX);
        asm_setcc(as, ASM_NE, RAX);
        asm_extend(as, 1, RAX, RAX);
    }
    make_store(m, field, is64 ? 8 : 4, RAX);
}

void unpack_make_fixed(struct maker *m, struct field *field)
{
    const int bytes = field->way->way == QUICK_FIXED64 ? 8 : 4;
    asm_load(&m->as, (unsigned)bytes, RAX, in_value(field, 0));
    asm_lea(&m->as, NEXT, in_value(field, bytes));
    make_store(m, field, (unsigned)bytes, RAX);
}

static bool keeps_number(const struct maker *m, const struct field *field)
{
    return m->waits && !m->calm && field->way->slot != PROGRAM_SLOT_NONE;
}

enum lost { LOST_NOT, LOST_R8, LOST };

/* RAX was converted to RDI. @lost: whether something was lost, or: that is in R8. */
static void make_keep_number(struct maker *m, const struct field *field, enum lost lost)
{
    static_assert(offsetof(struct slot, lost) == offsetof(struct slot, seen) + 1, "stored at once");
    struct assembler *as = &m->as;
    const uint16_t slot = field->way->slot;
    if (!keeps_number(m, field))
        return;
    asm_load(as, 8, RSI, IN_HERE(slots));
    asm_store_imm(as, 2, IN_SLOT(RSI, slot, seen), lost == LOST ? 0x101 : 0x001);
    if (lost == LOST_R8)
        asm_store(as, 1, IN_SLOT(RSI, slot, lost), R8);
    asm_store(as, 8, IN_SLOT(RSI, slot, value), RAX);
    asm_store(as, 8, IN_SLOT(RSI, slot, mapped), RDI);
    asm_mov(as, 4, RAX, NEXT);
    asm_alu(as, ASM_SUB, 4, RAX, AT);
    asm_store(as, 8, IN_SLOT(RSI, slot, data), AT);
    asm_store(as, 4, IN_SLOT(RSI, slot, bytes), RAX);
}

static void make_at_most(struct maker *m, struct field *field, uint64_t most)
{
    struct assembler *as = &m->as;
    if (most <= INT32_MAX) {
        asm_alu_imm(as, ASM_CMP, 8, RAX, (int32_t)most);
    } else {
        asm_mov_imm(as, RCX, most);
        asm_alu(as, ASM_CMP, 8, RAX, RCX);
    }
    jump_undo(m, ASM_A, field);
}

void unpack_make_multiply(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    const struct fast_number *number = &field->way->u.number;
    unpack_make_read_varint(m, field);
    make_at_most(m, field, number->most);
    if (number->factor <= INT32_MAX) {
        asm_imul_imm(as, 8, RDI, RAX, (int32_t)number->factor);
    } else {
        asm_mov_imm(as, RDI, number->factor);
        asm_imul(as, 8, RDI, RAX);
    }
    make_keep_number(m, field, LOST_NOT);
    make_store(m, field, field->way->way == QUICK_MULTIPLY64 ? 8 : 4, RDI);
}

/* There is a remainder, or it is too much. As fast_divide(): the quotient, or one less, by the
 * reciprocal. */
static void make_beside_remainder(struct maker *m, struct beside *beside)
{
    struct assembler *as = &m->as;
    const struct fast_number *number = &beside->field->way->u.number;
    if (!keeps_number(m, beside->field)) {
        asm_jump(as, &beside->field->undo);
        return;
    }
    make_at_most(m, beside->field, number->most);
    asm_mov(as, 8, R9, NEXT);
    asm_mov(as, 8, R10, RAX);
    asm_mov(as, 8, R11, RAX);
    asm_mov_imm(as, RCX, number->reciprocal);
    asm_unary(as, ASM_MUL, 8, RCX);
    asm_mov_imm(as, RCX, number->factor);
    asm_mov(as, 8, RDI, RDX);
    asm_imul(as, 8, RDX, RCX);
    asm_alu(as, ASM_SUB, 8, R11, RDX); /* the remainder, or more by the factor */
    asm_alu(as, ASM_CMP, 8, R11, RCX);
    asm_alu_imm(as, ASM_SBB, 8, RDI, -1); /* one more, then */
    asm_mov(as, 8, NEXT, R9);
    asm_mov(as, 8, RAX, R10);
    make_keep_number(m, beside->field, LOST);
    asm_jump(as, &beside->to);
}

/* The inverse of an odd number, modulo 2^64: each step doubles how many of its bits are right. */
static uint64_t inverse_of(uint64_t odd)
{
    uint64_t inverse = odd;
    for (unsigned bits = 3; bits < 64; bits *= 2)
        inverse *= 2 - odd * inverse;
    return inverse;
}

/* A multiple of the factor, times the inverse of the factor's odd part and turned by its power of
 * two, is the quotient; no other number comes to anything as small as that. */
void unpack_make_divide(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    const struct fast_number *number = &field->way->u.number;
    const unsigned twos = (unsigned)__builtin_ctzll(number->factor);
    const uint64_t most = number->most / number->factor;
    struct beside *beside = unpack_make_beside(m, make_beside_remainder, field);
    unpack_make_read_varint(m, field);
    asm_mov_imm(as, RDI, inverse_of(number->factor >> twos));
    asm_imul(as, 8, RDI, RAX);
    if (twos > 0)
        asm_shift(as, ASM_ROR, 8, RDI, twos);
    if (most <= INT32_MAX) {
        asm_alu_imm(as, ASM_CMP, 8, RDI, (int32_t)most);
    } else {
        asm_mov_imm(as, RCX, most);
        asm_alu(as, ASM_CMP, 8, RDI, RCX);
    }
    asm_jump_if(as, ASM_A, &beside->from);
    make_keep_number(m, field, LOST_NOT);
    asm_bind(as, &beside->to);
    make_store(m, field, field->way->way == QUICK_DIVIDE64 ? 8 : 4, RDI);
}

void unpack_make_map(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    const struct quick_map *map = field->way->u.map;
    const bool keeps = keeps_number(m, field);
    unpack_make_read_varint(m, field);
    make_at_most(m, field, QUICK_MAP_COUNT - 1);
    asm_mov_imm(as, RCX, map->known & ~(m->calm ? map->lost : 0));
    asm_shift_by(as, ASM_SHR, 4, RCX, RCX, RAX);
    asm_test_imm(as, 1, RCX, 1);
    jump_undo(m, ASM_E, field);
    asm_mov_imm(as, RCX, (uintptr_t)map->targets);
    asm_load_signed(as, 4, RDI, asm_at_index(RCX, RAX, 4, 0));
    if (map->lost && keeps) {
        asm_mov_imm(as, R8, map->lost);
        asm_shift_by(as, ASM_SHR, 4, R8, R8, RAX);
        asm_alu_imm(as, ASM_AND, 4, R8, 1);
    }
    make_keep_number(m, field, map->lost ? LOST_R8 : LOST_NOT);
    make_store(m, field, 4, RDI);
}

#endif
