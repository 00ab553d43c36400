/*
 * Machine code for the way into the struct: what the loop does (unpack_loop.h), one function for
 * each table, of the same records.
 *
 * A field's code begins where its tag has been seen, at AT. It reads the value, checks it, stores
 * it where the struct has it, and leaves in RDX where the next field begins. Fields mostly come by
 * ascending number: so their code lies in that order, each compares the next tag with that of the
 * field behind it, and only then with others. Texts of up to 32 plain bytes, and numbers of one
 * byte, take no jump. What is a little longer is read beside the way and comes back to it.
 *
 * Whatever is not as expected *gives up*: the tag is put back and the loop does the rest of this
 * message, beginning with that field, exactly as if it had done all of it. (Messages in it come
 * back here.) So nothing unusual and no error is decided here; and as in the loop, what a value may
 * do past the message's end is to be read.
 *
 * The function of a table that only checks counts no fields: a message of at most
 * UNPACK_CODE_BYTES_MAX cannot have too many of them. Of one that translates they are counted, in
 * RBP, since rules may add some. If what has been read is looked at again at the end (`waits`), or
 * if something is carried, there is a struct reading on the stack, as in the loop, which C's
 * functions work on.
 *
 * Registers: below. Between these functions RBX and R15 stay; others are for who wants them. On
 * entry, and inside, RSP is 8 more than a multiple of 16; C is called through `call_c`.
 */
#include "translate/unpack_make.h"

#include <stdlib.h>

#if CODE_HAVE

static void load_ones(struct maker *m, enum asm_reg scratch)
{
    asm_lea_label(&m->as, scratch, &m->ones);
    asm_vload(&m->as, 32, ONES, asm_at(scratch, 0));
}

void unpack_make_call(struct maker *m, any_function *function)
{
    asm_mov_imm(&m->as, RAX, (uintptr_t)function);
    asm_call(&m->as, &m->call_c);
}

/* ---- Shared ---- */

/* unpack_enter() */
static void make_enter(struct maker *m)
{
    static const enum asm_reg saved[] = {RBX, RBP, R12, R13, R14, R15};
    struct assembler *as = &m->as;
    for (size_t i = 0; i < 6; i++)
        asm_push(as, saved[i]);
    asm_push(as, R9);
    asm_mov(as, 8, U, RDI);
    asm_mov(as, 8, MESSAGE, RSI);
    asm_mov(as, 8, AT, RDX);
    asm_mov(as, 8, STOP, RCX);
    asm_mov(as, 4, DEPTH, R8);
    load_ones(m, RCX);
    asm_call_reg(as, R9);
    asm_vzeroupper(as);
    asm_pop(as, R9);
    for (size_t i = 6; i-- > 0;)
        asm_pop(as, saved[i]);
    asm_ret(as);
}

static void make_call_c(struct maker *m)
{
    asm_bind(&m->as, &m->call_c);
    asm_vzeroupper(&m->as);
    asm_call_reg(&m->as, RAX);
    load_ones(m, RCX);
    asm_ret(&m->as);
}

/* unpack_read_text(): NEXT is its data, or NULL, and RCX its length. */
static void make_any_text(struct maker *m)
{
    struct assembler *as = &m->as;
    asm_mov(as, 8, RDI, U);
    asm_mov(as, 8, RDX, R8);
    asm_vzeroupper(as);
    asm_call_function(as, RAX, FUNCTION(unpack_read_text));
    load_ones(m, RCX);
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
    load_ones(m, RCX);
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
static void make_text(struct maker *m)
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
static void make_varint(struct maker *m)
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

/* A message for C, which is in AT .. STOP: a table without code, or all of one that must not be
 * begun here. */
static void make_c_arguments(struct maker *m, const struct bound_table *table)
{
    struct assembler *as = &m->as;
    asm_mov(as, 8, RDI, U);
    asm_mov_imm(as, RSI, (uintptr_t)table);
    asm_mov(as, 8, RDX, MESSAGE);
    asm_mov(as, 8, RCX, AT);
    asm_mov(as, 8, R8, STOP);
    asm_mov(as, 4, R9, DEPTH);
}

static void make_without_code(struct maker *m, const struct bound_table *table)
{
    make_c_arguments(m, table);
    asm_vzeroupper(&m->as);
    asm_mov_imm(&m->as, RAX, (uintptr_t)FUNCTION(unpack_message));
    asm_push(&m->as, RAX); /* any: C wants RSP a multiple of 16 */
    asm_call_reg(&m->as, RAX);
    asm_pop(&m->as, RCX);
    load_ones(m, RCX);
    asm_ret(&m->as);
}

/* ---- From one field to the next ---- */

static void compare_tag(struct maker *m, const struct field *field)
{
    if (field->tag_bytes == 1)
        asm_alu_imm(&m->as, ASM_CMP, 1, RAX, (int8_t)field->tag);
    else
        asm_alu_imm(&m->as, ASM_CMP, 4, RAX, (int32_t)field->tag);
}

/* To where the tag in RAX is looked for, from field @index on. */
static struct asm_label *chain_from(struct maker *m, size_t index)
{
    return index < m->count ? &m->fields[index].chain : &m->search;
}

/* The field at NEXT, which is before STOP, after field @index - 1. */
static void make_dispatch(struct maker *m, size_t index, bool ends_text)
{
    struct assembler *as = &m->as;
    asm_load(as, m->wide ? 2 : 1, RAX, asm_at(NEXT, 0));
    if (ends_text && !m->waits)
        asm_store_imm(as, 1, asm_at(NEXT, 0), 0);
    asm_mov(as, 8, AT, NEXT);
    if (index > 0 && m->fields[index - 1].repeated) {
        compare_tag(m, &m->fields[index - 1]);
        asm_jump_if(as, ASM_E, &m->fields[index - 1].start);
    }
    if (index < m->count) {
        compare_tag(m, &m->fields[index]);
        asm_jump_if(as, ASM_NE, chain_from(m, index + 1));
    } else {
        asm_jump(as, &m->search);
    }
}

static void make_next(struct maker *m, size_t index, bool ends_text)
{
    struct field *field = &m->fields[index];
    asm_bind(&m->as, &field->next);
    asm_alu(&m->as, ASM_CMP, 8, NEXT, STOP);
    asm_jump_if(&m->as, ASM_AE, &field->edge);
    make_dispatch(m, index + 1, ends_text);
}

/* Fields first .. first + count - 1, by halves. Their tags have as many bytes each. */
static void make_halves(struct maker *m, size_t first, size_t count)
{
    struct assembler *as = &m->as;
    if (count <= 4) {
        for (size_t i = first; i < first + count; i++) {
            compare_tag(m, &m->fields[i]);
            asm_jump_if(as, ASM_E, &m->fields[i].start);
        }
        asm_jump(as, &m->other);
        return;
    }
    struct asm_label lower = {0};
    size_t half = count / 2;
    compare_tag(m, &m->fields[first + half]);
    asm_jump_if(as, ASM_B, &lower);
    make_halves(m, first + half, count - half);
    asm_bind(as, &lower);
    make_halves(m, first, half);
}

/* Any field, by the tag in RAX. */
static void make_search(struct maker *m)
{
    struct assembler *as = &m->as;
    struct asm_label wide = {0};
    size_t short_count = 0;
    while (short_count < m->count && m->fields[short_count].tag_bytes == 1)
        short_count++;
    asm_bind(as, &m->search);
    if (m->wide) {
        asm_test(as, 1, RAX, RAX);
        asm_jump_if(as, ASM_S, &wide);
    }
    make_halves(m, 0, short_count);
    if (m->wide) {
        asm_bind(as, &wide);
        make_halves(m, short_count, m->count - short_count);
    }
}

/* Behind the fields: which one is it, if it is none of those that follow? */
static void make_chain(struct maker *m)
{
    struct assembler *as = &m->as;
    for (size_t i = 0; i < m->count; i++) {
        asm_bind(as, &m->fields[i].chain);
        compare_tag(m, &m->fields[i]);
        asm_jump_if(as, ASM_E, &m->fields[i].start);
    }
    make_search(m);
}

/* ---- Values ---- */

static void jump_undo(struct maker *m, enum asm_cond cond, struct field *field)
{
    asm_jump_if(&m->as, cond, &field->undo);
}

static void make_count(struct maker *m)
{
    if (m->counted)
        asm_alu_imm(&m->as, ASM_ADD, 4, FIELDS, 1);
}

static void make_end_later(struct maker *m)
{
    if (!m->waits)
        return;
    asm_store(&m->as, 8, asm_at(LATER, 0), NEXT);
    asm_alu_imm(&m->as, ASM_ADD, 8, LATER, 8);
}

static void make_load_end(struct maker *m, enum asm_reg reg)
{
    if (m->waits)
        asm_load(&m->as, 8, reg, IN_HERE(end));
    else
        asm_mov(&m->as, 8, reg, STOP);
}

/* A value's first byte is behind the tag. */
static struct asm_mem in_value(const struct field *field, int bytes)
{
    return asm_at(AT, field->tag_bytes + bytes);
}

static struct beside *put_beside(struct maker *m, enum beside_what what, struct field *field)
{
    struct beside *beside = &m->besides[m->beside_count++];
    *beside = (struct beside){.what = what, .field = field};
    return beside;
}

/* The text: NEXT becomes its data, RCX its length. */
static void make_read_text(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    struct beside *beside = put_beside(m, BESIDE_TEXT, field);
    asm_load(as, 1, RCX, in_value(field, 0));
    asm_vop_mem(as, ASM_PCMPGTB, 32, 0, ONES, in_value(field, 1)); /* not 0x01..0x7f */
    asm_vmask(as, 32, RAX, 0);
    asm_lea(as, NEXT, in_value(field, 1));
    asm_scan(as, ASM_TZCNT, 4, RAX, RAX); /* 32 if all are */
    asm_alu(as, ASM_CMP, 4, RAX, RCX);
    asm_jump_if(as, ASM_B, &beside->from);
    asm_bind(as, &beside->to);
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

/* To RAX. */
static void make_read_varint(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    struct beside *beside = put_beside(m, BESIDE_VARINT, field);
    asm_load(as, 1, RAX, in_value(field, 0));
    asm_lea(as, NEXT, in_value(field, 1));
    asm_test(as, 1, RAX, RAX);
    asm_jump_if(as, ASM_S, &beside->from);
    asm_bind(as, &beside->to);
}

static void make_beside_varint(struct maker *m, struct beside *beside)
{
    asm_call(&m->as, &m->varint);
    asm_test(&m->as, 8, NEXT, NEXT);
    jump_undo(m, ASM_E, beside->field);
    asm_jump(&m->as, &beside->to);
}

/* A message's content: from RDI up to NEXT, which are within the message around it. */
static void make_read_length(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    struct beside *beside = put_beside(m, BESIDE_LENGTH, field);
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

/* ---- Fields: texts and bytes ---- */

/* run_keep(), of the text at NEXT. */
static void make_keep_text(struct maker *m, uint16_t slot)
{
    struct assembler *as = &m->as;
    asm_load(as, 8, RSI, IN_HERE(slots));
    asm_store_imm(as, 1, IN_SLOT(RSI, slot, seen), 1);
    asm_store(as, 8, IN_SLOT(RSI, slot, data), NEXT);
    asm_store(as, 4, IN_SLOT(RSI, slot, bytes), RCX);
}

static void make_string(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    make_read_text(m, field);
    asm_store(as, 8, in_message(field->way->offset), NEXT);
    if (field->way->way == QUICK_NOTED)
        make_keep_text(m, field->way->slot);
    asm_alu(as, ASM_ADD, 8, NEXT, RCX);
    make_end_later(m);
    make_count(m);
}

/* What was stored nowhere is no end of what a carrier may still get. */
static void make_growing(struct maker *m)
{
    struct assembler *as = &m->as;
    struct asm_label other = {0};
    asm_alu_load(as, ASM_CMP, 8, AT, IN_U(growing.at));
    asm_jump_if(as, ASM_NE, &other);
    asm_store(as, 8, IN_U(growing.at), NEXT);
    asm_bind(as, &other);
}

static void make_slot_text(struct maker *m, struct field *field)
{
    make_read_text(m, field);
    make_keep_text(m, field->way->slot);
    asm_alu(&m->as, ASM_ADD, 8, NEXT, RCX);
    make_growing(m);
    make_count(m);
}

static void make_bytes(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    const struct quick *way = field->way;
    asm_load(as, 1, RCX, in_value(field, 0));
    asm_lea(as, RSI, in_value(field, 1));
    asm_test(as, 1, RCX, RCX);
    jump_undo(m, ASM_S, field);
    asm_lea(as, NEXT, asm_at_index(RSI, RCX, 1, 0));
    if (m->waits)
        asm_alu_load(as, ASM_CMP, 8, NEXT, IN_HERE(end));
    else
        asm_alu(as, ASM_CMP, 8, NEXT, STOP);
    jump_undo(m, ASM_A, field);
    asm_alu(as, ASM_XOR, 4, RAX, RAX);
    asm_test(as, 4, RCX, RCX);
    asm_cmov(as, ASM_E, 8, RSI, RAX);
    if (way->quantifier != way->offset)
        asm_store_imm(as, 4, in_message(way->quantifier), 1);
    asm_store(as, 8, in_message(way->offset + offsetof(ProtobufCBinaryData, len)), RCX);
    asm_store(as, 8, in_message(way->offset + offsetof(ProtobufCBinaryData, data)), RSI);
    make_count(m);
}

/* ---- Fields: numbers ---- */

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

static void make_number(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    const uint8_t way = field->way->way;
    const bool is64 = way == QUICK_INT64 || way == QUICK_SINT64;
    make_read_varint(m, field);
    if (way == QUICK_SINT32 || way == QUICK_SINT64)
        make_unzigzag(m, is64 ? 8 : 4);
    if (way == QUICK_BOOL) {
        asm_test(as, 8, RAX, RAX);
        asm_setcc(as, ASM_NE, RAX);
        asm_extend(as, 1, RAX, RAX);
    }
    make_store(m, field, is64 ? 8 : 4, RAX);
}

static void make_fixed(struct maker *m, struct field *field)
{
    const int bytes = field->way->way == QUICK_FIXED64 ? 8 : 4;
    asm_load(&m->as, (unsigned)bytes, RAX, in_value(field, 0));
    asm_lea(&m->as, NEXT, in_value(field, bytes));
    make_store(m, field, (unsigned)bytes, RAX);
}

/* RAX was converted to RDI; whether something was lost is in R8, or: it was not. */
static void make_keep_number(struct maker *m, const struct field *field, bool may_lose)
{
    struct assembler *as = &m->as;
    const uint16_t slot = field->way->slot;
    if (!m->waits || slot == PROGRAM_SLOT_NONE)
        return;
    asm_load(as, 8, RSI, IN_HERE(slots));
    if (may_lose)
        asm_store(as, 1, IN_SLOT(RSI, slot, lost), R8);
    else
        asm_store_imm(as, 1, IN_SLOT(RSI, slot, lost), 0);
    asm_store(as, 8, IN_SLOT(RSI, slot, value), RAX);
    asm_store(as, 8, IN_SLOT(RSI, slot, mapped), RDI);
    asm_mov(as, 4, RAX, NEXT);
    asm_alu(as, ASM_SUB, 4, RAX, AT);
    asm_store_imm(as, 1, IN_SLOT(RSI, slot, seen), 1);
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

static void make_multiply(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    const struct fast_number *number = &field->way->u.number;
    make_read_varint(m, field);
    make_at_most(m, field, number->most);
    if (number->factor <= INT32_MAX) {
        asm_imul_imm(as, 8, RDI, RAX, (int32_t)number->factor);
    } else {
        asm_mov_imm(as, RDI, number->factor);
        asm_imul(as, 8, RDI, RAX);
    }
    make_keep_number(m, field, false);
    make_store(m, field, field->way->way == QUICK_MULTIPLY64 ? 8 : 4, RDI);
}

/* As fast_divide(): the quotient, or one less, by the reciprocal. */
static void make_divide(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    const struct fast_number *number = &field->way->u.number;
    make_read_varint(m, field);
    make_at_most(m, field, number->most);
    asm_mov(as, 8, R9, NEXT);
    asm_mov(as, 8, R10, RAX);
    asm_mov(as, 8, R11, RAX);
    asm_mov_imm(as, RCX, number->reciprocal);
    asm_unary(as, ASM_MUL, 8, RCX);
    asm_mov_imm(as, RCX, number->factor);
    asm_mov(as, 8, RDI, RDX);
    asm_imul(as, 8, RDX, RCX);
    asm_alu(as, ASM_SUB, 8, R11, RDX); /* the remainder, or more by the factor */
    asm_mov(as, 8, RDX, R11);
    asm_alu(as, ASM_SUB, 8, RDX, RCX);
    asm_cmov(as, ASM_AE, 8, R11, RDX);
    asm_alu_imm(as, ASM_SBB, 8, RDI, -1); /* one more, then */
    asm_mov(as, 8, NEXT, R9);
    asm_test(as, 8, R11, R11);
    if (!m->waits || field->way->slot == PROGRAM_SLOT_NONE)
        jump_undo(m, ASM_NE, field);
    asm_setcc(as, ASM_NE, R8);
    asm_mov(as, 8, RAX, R10);
    make_keep_number(m, field, true);
    make_store(m, field, field->way->way == QUICK_DIVIDE64 ? 8 : 4, RDI);
}

static void make_map(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    const struct quick_map *map = field->way->u.map;
    make_read_varint(m, field);
    make_at_most(m, field, QUICK_MAP_COUNT - 1);
    asm_mov_imm(as, RCX, map->known);
    asm_shift_by(as, ASM_SHR, 4, RCX, RCX, RAX);
    asm_test_imm(as, 1, RCX, 1);
    jump_undo(m, ASM_E, field);
    asm_mov_imm(as, RCX, (uintptr_t)map->targets);
    asm_load_signed(as, 4, RDI, asm_at_index(RCX, RAX, 4, 0));
    if (map->lost) {
        asm_mov_imm(as, R8, map->lost);
        asm_shift_by(as, ASM_SHR, 4, R8, R8, RAX);
        asm_alu_imm(as, ASM_AND, 4, R8, 1);
    }
    make_keep_number(m, field, map->lost != 0);
    make_store(m, field, 4, RDI);
}

/* ---- Fields: arrays and messages ---- */

static void make_count_element(struct maker *m, struct field *field)
{
    asm_alu_store_imm(&m->as, ASM_CMP, 4, IN_U(run.elements), WIRE_ELEMENTS_MAX);
    jump_undo(m, ASM_AE, field);
    asm_alu_store_imm(&m->as, ASM_ADD, 4, IN_U(run.elements), 1);
}

/* append() of a pointer: its place becomes R8. Keeps RCX, RDX and RDI. */
static void make_append(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    struct beside *beside = put_beside(m, BESIDE_APPEND, field);
    asm_load(as, 8, RAX, in_message(field->way->quantifier));
    asm_lea(as, R8, asm_at(RAX, -1));
    asm_test(as, 8, RAX, R8);
    asm_jump_if(as, ASM_E, &beside->from); /* 0, or a power of two: array_is_full(), mostly */
    asm_load(as, 8, R8, in_message(field->way->offset));
    asm_lea(as, R8, asm_at_index(R8, RAX, 8, 0));
    asm_alu_imm(as, ASM_ADD, 8, RAX, 1);
    asm_store(as, 8, in_message(field->way->quantifier), RAX);
    asm_bind(as, &beside->to);
}

static uint8_t *append_pointer(struct unpack *u, uint8_t *member, uint8_t *counter)
{
    return append(u, member, counter, sizeof(void *));
}

static const enum asm_reg kept[] = {RCX, RDX, RDI, R8};

static void keep_registers(struct maker *m)
{
    for (size_t i = 0; i < 4; i++)
        asm_push(&m->as, kept[i]);
}

static void give_registers_back(struct maker *m)
{
    for (size_t i = 4; i-- > 0;)
        asm_pop(&m->as, kept[i]);
}

static void make_beside_append(struct maker *m, struct beside *beside)
{
    struct assembler *as = &m->as;
    const struct quick *way = beside->field->way;
    const int32_t bytes = ARRAY_COUNT_MIN * sizeof(void *);
    struct asm_label full = {0};
    asm_test(as, 8, RAX, RAX);
    asm_jump_if(as, ASM_NE, &full);
    asm_load(as, 8, R8, IN_U(bump.pos));
    asm_lea(as, RAX, asm_at(R8, bytes));
    asm_alu_load(as, ASM_CMP, 8, RAX, IN_U(bump.end));
    asm_jump_if(as, ASM_A, &full);
    asm_store(as, 8, IN_U(bump.pos), RAX);
    asm_store(as, 8, in_message(way->offset), R8);
    asm_store_imm(as, 8, in_message(way->quantifier), 1);
    asm_jump(as, &beside->to);
    asm_bind(as, &full);
    keep_registers(m);
    asm_mov(as, 8, RDI, U);
    asm_lea(as, RSI, in_message(beside->field->way->offset));
    asm_lea(as, RDX, in_message(beside->field->way->quantifier));
    unpack_make_call(m, FUNCTION(append_pointer));
    give_registers_back(m);
    asm_mov(as, 8, R8, RAX);
    asm_test(as, 8, RAX, RAX);
    asm_jump_if(as, ASM_E, &m->no_memory);
    asm_jump(as, &beside->to);
}

static void make_strings(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    make_read_text(m, field);
    make_count_element(m, field);
    make_append(m, field);
    asm_store(as, 8, asm_at(R8, 0), NEXT);
    asm_alu(as, ASM_ADD, 8, NEXT, RCX);
    make_end_later(m);
}

bool unpack_make_new(struct maker *m, const struct bound_table *table, struct asm_label *no_room)
{
    struct assembler *as = &m->as;
    if (table->image_bytes > IMAGE_BYTES_MAX)
        return false;
    asm_load(as, 8, RSI, IN_U(bump.pos));
    asm_lea(as, RAX, asm_at(RSI, (int32_t)table->image_bytes));
    asm_alu_load(as, ASM_CMP, 8, RAX, IN_U(bump.end));
    asm_jump_if(as, ASM_A, no_room);
    asm_lea(as, RAX, asm_at(RSI, (int32_t)table->message_bytes));
    asm_store(as, 8, IN_U(bump.pos), RAX);
    asm_mov_imm(as, RAX, (uintptr_t)table->image);
    for (uint32_t i = 0; i < table->image_bytes; i += 32) {
        const uint8_t *image = table->image + i;
        if (i == 0 || memcmp(image, image - 32, 32) != 0)
            asm_vload(as, 32, 0, asm_at(RAX, (int32_t)i));
        asm_vstore(as, 32, asm_at(RSI, (int32_t)i), 0);
    }
    return true;
}

/* new_message(): becomes RSI. Keeps RCX, RDX, RDI and R8. */
static void make_new(struct maker *m, struct field *field)
{
    struct beside *beside = put_beside(m, BESIDE_NEW, field);
    if (!unpack_make_new(m, field->way->u.message.table, &beside->from))
        asm_jump(&m->as, &beside->from);
    asm_bind(&m->as, &beside->to);
}

static uint8_t *make_message(struct unpack *u, const struct bound_table *table)
{
    return new_message(u, table);
}

static void make_beside_new(struct maker *m, struct beside *beside)
{
    struct assembler *as = &m->as;
    keep_registers(m);
    asm_mov(as, 8, RDI, U);
    asm_mov_imm(as, RSI, (uintptr_t)beside->field->way->u.message.table);
    unpack_make_call(m, FUNCTION(make_message));
    give_registers_back(m);
    asm_mov(as, 8, RSI, RAX);
    asm_test(as, 8, RAX, RAX);
    asm_jump_if(as, ASM_E, &m->no_memory);
    asm_jump(as, &beside->to);
}

/* The message of @table from RDI to NEXT, into RSI. */
static void make_nested(struct maker *m, const struct bound_table *table)
{
    struct assembler *as = &m->as;
    struct asm_label *entry = &m->entries[table - m->binding->tables];
    if (m->waits)
        asm_store(as, 8, IN_U(terminators_end), LATER);
    if (m->counted)
        asm_store(as, 4, IN_HERE(fields), FIELDS);
    if (m->waits)
        asm_load(as, 4, DEPTH, IN_HERE(depth));
    asm_push(as, NEXT);
    asm_push(as, MESSAGE);
    asm_push(as, STOP);
    asm_alu_imm(as, ASM_ADD, 4, DEPTH, 1);
    asm_mov(as, 8, AT, RDI);
    asm_mov(as, 8, MESSAGE, RSI);
    asm_mov(as, 8, STOP, NEXT);
    asm_call(as, entry);
    asm_pop(as, STOP);
    asm_pop(as, MESSAGE);
    asm_pop(as, NEXT);
    if (m->waits)
        asm_load(as, 8, LATER, IN_U(terminators_end));
    else
        asm_alu_imm(as, ASM_SUB, 4, DEPTH, 1);
    if (m->counted)
        asm_load(as, 4, FIELDS, IN_HERE(fields));
    asm_test(as, 4, RAX, RAX);
    asm_jump_if(as, ASM_NE, &m->fail);
}

static void make_check_depth(struct maker *m, struct field *field)
{
    if (m->waits)
        asm_alu_store_imm(&m->as, ASM_CMP, 4, IN_HERE(depth), WIRE_DEPTH_MAX);
    else
        asm_alu_imm(&m->as, ASM_CMP, 4, DEPTH, WIRE_DEPTH_MAX);
    jump_undo(m, ASM_AE, field);
}

/* The last thing that may be undone, for then the bit must not be set. */
static void make_check_piece(struct maker *m, struct field *field)
{
    const uint64_t piece = field->way->u.message.piece;
    if (!piece)
        return;
    asm_bit_mem(&m->as, ASM_BTS, 8, IN_HERE(pieces), (unsigned)__builtin_ctzll(piece));
    jump_undo(m, ASM_B, field);
}

static void make_submessage(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    struct beside *exists = put_beside(m, BESIDE_EXISTS, field);
    make_read_length(m, field);
    make_check_depth(m, field);
    make_check_piece(m, field);
    make_count(m);
    asm_alu_store_imm(as, ASM_CMP, 8, in_message(field->way->offset), 0);
    asm_jump_if(as, ASM_NE, &exists->from);
    make_new(m, field);
    asm_store(as, 8, in_message(field->way->offset), RSI);
    asm_bind(as, &exists->to);
    make_nested(m, field->way->u.message.table);
    make_end_later(m);
}

static void make_beside_exists(struct maker *m, struct beside *beside)
{
    asm_load(&m->as, 8, RSI, in_message(beside->field->way->offset));
    asm_jump(&m->as, &beside->to);
}

static void make_messages(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    make_read_length(m, field);
    make_check_depth(m, field);
    make_count_element(m, field);
    make_append(m, field);
    make_new(m, field);
    asm_store(as, 8, asm_at(R8, 0), RSI);
    make_nested(m, field->way->u.message.table);
    make_end_later(m);
}

/* ---- Fields that C does ---- */

/* A function of C's, of @third, RCX and R8 besides `here`. NEXT stays. */
static void call_with_here(struct maker *m, any_function *function, const void *third)
{
    struct assembler *as = &m->as;
    asm_store(as, 8, IN_HERE(next), NEXT);
    if (m->waits)
        asm_store(as, 8, IN_U(terminators_end), LATER);
    asm_store(as, 4, IN_HERE(fields), FIELDS);
    asm_mov(as, 8, RDI, U);
    asm_mov(as, 8, RSI, RSP);
    asm_mov_imm(as, RDX, (uintptr_t)third);
    unpack_make_call(m, function);
    asm_load(as, 4, FIELDS, IN_HERE(fields));
    if (m->waits)
        asm_load(as, 8, LATER, IN_U(terminators_end));
    asm_load(as, 8, NEXT, IN_HERE(next));
}

/* A message whose fields go to slots: C looks through it. */
static void make_beside_taken(struct maker *m, struct beside *beside)
{
    struct assembler *as = &m->as;
    asm_mov(as, 8, RCX, R8);
    asm_mov(as, 8, R8, NEXT);
    call_with_here(m, FUNCTION(unpack_take), beside->field->way);
    asm_test(as, 1, RAX, RAX);
    jump_undo(m, ASM_E, beside->field);
    asm_jump(as, &beside->to);
}

/* As find_taken() of unpack_quick.c. */
static bool is_taken(const struct program_op *op)
{
    return op->number < QUICK_NUMBER_COUNT && op->action == ACTION_SLOT &&
           op->kind == KIND_STRING && op->pipe == 0 && op->required == PROGRAM_REQUIRED_NONE &&
           !(op->flags & (OP_REPEATED | OP_YIELDS | OP_GATHERED));
}

/* The text at RDI, before NEXT, for its slot, of those at RSI. R10: the slots that got something.
 */
static void make_taken_text(struct maker *m, const struct program_op *op, struct asm_label *in_c)
{
    struct assembler *as = &m->as;
    struct asm_label empty = {0};
    asm_load(as, 1, RCX, asm_at(RDI, 1));
    asm_vop_mem(as, ASM_PCMPGTB, 32, 0, ONES, asm_at(RDI, 2));
    asm_vmask(as, 32, RAX, 0);
    asm_alu_imm(as, ASM_ADD, 8, RDI, 2);
    asm_scan(as, ASM_TZCNT, 4, RAX, RAX);
    asm_alu(as, ASM_CMP, 4, RAX, RCX);
    asm_jump_if(as, ASM_B, in_c);
    asm_store_imm(as, 1, IN_SLOT(RSI, op->slot, seen), 1);
    asm_store(as, 8, IN_SLOT(RSI, op->slot, data), RDI);
    asm_store(as, 4, IN_SLOT(RSI, op->slot, bytes), RCX);
    asm_alu(as, ASM_ADD, 8, RDI, RCX);
    asm_alu(as, ASM_CMP, 8, RDI, NEXT);
    asm_jump_if(as, ASM_A, in_c);
    if (!(op->flags & OP_OWN_PRESENCE)) {
        asm_bit(as, ASM_BTR, 8, R10, op->slot % 64);
        asm_test(as, 4, RCX, RCX);
        asm_jump_if(as, ASM_E, &empty);
    }
    asm_bit(as, ASM_BTS, 8, R10, op->slot % 64);
    asm_bind(as, &empty);
}

/* What unpack_take() does when all of it has been read. */
static void make_taken_end(struct maker *m, struct field *field, struct asm_label *in_c)
{
    struct assembler *as = &m->as;
    const struct program_op *op = field->way->u.message.op->op;
    const uint64_t piece = field->way->u.message.piece;
    if (op->action == ACTION_RESIDUE) {
        asm_test(as, 8, R10, R10);
        asm_jump_if(as, ASM_E, in_c);
    }
    if (op->action == ACTION_JOIN)
        asm_store_imm(as, 1, IN_SLOT(RSI, op->slot, seen), 1);
    if (op->owner)
        asm_store_imm(as, 4, IN_HERE(owner), (int32_t)op->owner);
    if (piece)
        asm_bit_mem(as, ASM_BTS, 8, IN_HERE(pieces), (unsigned)__builtin_ctzll(piece));
}

static void make_taken(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    struct beside *beside = put_beside(m, BESIDE_TAKEN, field);
    const struct plan *plan = m->binding->plan;
    const struct program_table *table = &plan->tables[field->way->u.message.op->op->table];
    const struct program_op *ops = plan->ops + table->op_first;
    const uint64_t piece = field->way->u.message.piece;
    struct asm_label end = {0};
    make_read_length(m, field);
    asm_mov(as, 8, R8, RDI);
    make_check_depth(m, field);
    if (piece) {
        asm_bit_mem(as, ASM_BT, 8, IN_HERE(pieces), (unsigned)__builtin_ctzll(piece));
        jump_undo(m, ASM_B, field);
    }
    asm_load(as, 8, RSI, IN_HERE(slots));
    asm_alu(as, ASM_XOR, 4, R10, R10);
    asm_alu(as, ASM_CMP, 8, RDI, NEXT);
    asm_jump_if(as, ASM_AE, &end);
    for (uint32_t i = 0; i < table->op_count && i < QUICK_NUMBER_COUNT; i++) {
        struct asm_label other = {0};
        if (!is_taken(&ops[i]))
            continue;
        asm_alu_store_imm(as, ASM_CMP, 1, asm_at(RDI, 0),
                          (int8_t)(ops[i].number << 3 | WIRE_BYTES));
        asm_jump_if(as, ASM_NE, &other);
        make_taken_text(m, &ops[i], &beside->from);
        asm_alu(as, ASM_CMP, 8, RDI, NEXT);
        asm_jump_if(as, ASM_AE, &end);
        asm_bind(as, &other);
    }
    asm_jump(as, &beside->from); /* another one, or out of order */
    asm_bind(as, &end);
    make_taken_end(m, field, &beside->from);
    asm_bind(as, &beside->to);
    make_growing(m);
    make_count(m);
}

/* A carrier counts as a field as well: the rest must not have more of them than there may be. */
static void make_check_fields(struct maker *m)
{
    struct assembler *as = &m->as;
    struct asm_label enough = {0};
    make_load_end(m, RCX);
    asm_alu(as, ASM_SUB, 8, RCX, NEXT);
    asm_lea(as, RCX, asm_at_index(RCX, FIELDS, 2, 0));
    asm_alu_imm(as, ASM_CMP, 8, RCX, 2 * WIRE_FIELDS_MAX);
    asm_jump_if(as, ASM_LE, &enough);
    asm_mov(as, 8, AT, NEXT);
    asm_jump(as, &m->give_up);
    asm_bind(as, &enough);
}

static void make_carried(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    make_read_text(m, field);
    asm_alu(as, ASM_ADD, 8, NEXT, RCX);
    make_count(m);
    if (!m->waits)
        asm_store_imm(as, 1, asm_at(AT, 0), (int8_t)field->way->tag);
    asm_mov(as, 8, RCX, AT);
    asm_mov(as, 8, R8, NEXT);
    call_with_here(m, FUNCTION(unpack_carry), field->way->u.message.op->op);
    asm_test(as, 4, RAX, RAX);
    asm_jump_if(as, ASM_NE, &m->fail);
    if (!m->waits)
        asm_store_imm(as, 1, asm_at(AT, 0), 0);
    make_check_fields(m);
}

/* ---- Functions ---- */

/* What is one after the other, of a function. */
typedef void make_way(struct maker *m, struct field *field);

static make_way *const makes[QUICK_COUNT] = {
    [QUICK_STRING] = make_string,
    [QUICK_NOTED] = make_string,
    [QUICK_TEXT] = make_slot_text,
    [QUICK_STRINGS] = make_strings,
    [QUICK_BYTES] = make_bytes,
    [QUICK_INT32] = make_number,
    [QUICK_SINT32] = make_number,
    [QUICK_INT64] = make_number,
    [QUICK_SINT64] = make_number,
    [QUICK_BOOL] = make_number,
    [QUICK_FIXED32] = make_fixed,
    [QUICK_FIXED64] = make_fixed,
    [QUICK_MULTIPLY32] = make_multiply,
    [QUICK_MULTIPLY64] = make_multiply,
    [QUICK_DIVIDE32] = make_divide,
    [QUICK_DIVIDE64] = make_divide,
    [QUICK_MAP] = make_map,
    [QUICK_MESSAGE] = make_submessage,
    [QUICK_MESSAGES] = make_messages,
    [QUICK_TAKEN] = make_taken,
    [QUICK_CARRIED] = make_carried,
};

static bool ends_text(const struct quick *way)
{
    return way->way == QUICK_STRING || way->way == QUICK_STRINGS || way->way == QUICK_MESSAGE ||
           way->way == QUICK_MESSAGES; /* whose last field may be one */
}

static void make_beside(struct maker *m, struct beside *beside)
{
    static void (*const make[])(struct maker *, struct beside *) = {
        [BESIDE_TEXT] = make_beside_text,     [BESIDE_VARINT] = make_beside_varint,
        [BESIDE_LENGTH] = make_beside_length, [BESIDE_NEW] = make_beside_new,
        [BESIDE_APPEND] = make_beside_append, [BESIDE_EXISTS] = make_beside_exists,
        [BESIDE_TAKEN] = make_beside_taken,
    };
    asm_bind(&m->as, &beside->from);
    make[beside->what](m, beside);
}

/* The end of this stretch of fields: of the message, or of the room in `terminators`. */
static void make_edge(struct maker *m, struct asm_label *edge, struct asm_label *next,
                      struct asm_label *past)
{
    struct assembler *as = &m->as;
    asm_bind(as, edge);
    if (m->waits) {
        asm_alu_load(as, ASM_CMP, 8, NEXT, IN_HERE(end));
        asm_jump_if(as, ASM_E, &m->done);
        asm_jump_if(as, ASM_A, past);
        asm_call(as, &m->more);
        asm_test(as, 8, RAX, RAX);
        asm_jump_if(as, ASM_NE, next);
        asm_jump(as, &m->full);
        return;
    }
    asm_jump_if(as, ASM_E, &m->done); /* of the comparison with STOP */
    asm_jump(as, past);
}

static void make_undo(struct maker *m, struct field *field)
{
    asm_bind(&m->as, &field->undo);
    asm_mov_imm(&m->as, RAX, field->way->tag);
    asm_jump(&m->as, &m->other);
}

/* To RAX: how far the next fields may go, each with a string that ends. */
static void make_load_waiting(struct maker *m)
{
    struct assembler *as = &m->as;
    asm_lea(as, RAX, IN_U(terminators[TERMINATOR_MAX]));
    asm_alu(as, ASM_SUB, 8, RAX, LATER);
    asm_shift(as, ASM_SHR, 8, RAX, 2); /* two bytes for each */
}

/* A call that comes back with another STOP. RAX is 0: there is no room for another string. */
static void make_more(struct maker *m)
{
    struct assembler *as = &m->as;
    asm_bind(as, &m->more);
    asm_load(as, 8, STOP, asm_at(RSP, 8 + (int32_t)offsetof(struct reading, end)));
    make_load_waiting(m);
    asm_lea(as, RCX, asm_at_index(NEXT, RAX, 1, 0));
    asm_alu(as, ASM_CMP, 8, RCX, STOP);
    asm_cmov(as, ASM_B, 8, STOP, RCX);
    asm_ret(as);
    asm_bind(as, &m->full); /* the loop copies strings, then */
    asm_mov(as, 8, AT, NEXT);
    asm_jump(as, &m->give_up);
}

/* As far as RAX says, a struct reading or NULL. */
static void call_loop(struct maker *m)
{
    struct assembler *as = &m->as;
    asm_vzeroupper(as);
    asm_push(as, RAX);
    asm_call_function(as, R10, m->waits ? FUNCTION(unpack_waiting) : FUNCTION(unpack_at_once));
    asm_pop(as, RCX);
    load_ones(m, RCX);
}

/* The loop does the rest, from AT on. */
static void make_give_up(struct maker *m)
{
    struct assembler *as = &m->as;
    asm_bind(as, &m->other);
    if (!m->waits)
        asm_store(as, 1, asm_at(AT, 0), RAX);
    asm_bind(as, &m->give_up);
    if (m->counted)
        asm_store(as, 4, IN_HERE(fields), FIELDS);
    if (m->waits) {
        asm_store(as, 8, IN_U(terminators_end), LATER);
        asm_load(as, 8, STOP, IN_HERE(end));
        asm_load(as, 4, DEPTH, IN_HERE(depth));
    }
    make_c_arguments(m, m->table);
    if (m->counted)
        asm_mov(as, 8, RAX, RSP);
    else
        asm_alu(as, ASM_XOR, 4, RAX, RAX);
    call_loop(m);
    asm_jump(as, &m->fail);
}

/* Returns RAX. */
static void make_return(struct maker *m)
{
    struct assembler *as = &m->as;
    asm_bind(as, &m->no_memory);
    asm_mov(as, 8, RDI, U);
    unpack_make_call(m, FUNCTION(unpack_no_memory));
    asm_jump(as, &m->fail);
    asm_bind(as, &m->done);
    if (m->waits)
        unpack_make_end(m);
    else
        asm_alu(as, ASM_XOR, 4, RAX, RAX);
    asm_bind(as, &m->fail);
    if (m->counted)
        asm_alu_imm(as, ASM_ADD, 8, RSP, HERE_BYTES);
    asm_ret(as);
}

/* As unpack_open(). */
static void make_open_slots(struct maker *m)
{
    struct assembler *as = &m->as;
    const uint32_t count = m->table->table->slot_count;
    asm_load(as, 8, LATER, IN_U(terminators_end));
    asm_store(as, 8, IN_HERE(terminators), LATER);
    asm_load(as, 8, RAX, IN_U(run.limit));
    asm_store(as, 8, IN_HERE(limit), RAX);
    asm_load(as, 4, RAX, IN_U(run.slots_used));
    asm_store(as, 4, IN_HERE(slots_used), RAX);
    asm_imul_imm(as, 8, RCX, RAX, sizeof(struct slot));
    asm_lea(as, RCX, asm_at_index(U, RCX, 1, offsetof(struct unpack, run.slots)));
    asm_store(as, 8, IN_HERE(slots), RCX);
    asm_alu_imm(as, ASM_ADD, 4, RAX, (int32_t)count);
    asm_store(as, 4, IN_U(run.slots_used), RAX);
    if (count > 0)
        asm_vop(as, ASM_PXOR, 32, 0, 0, 0);
    const int32_t bytes = (int32_t)(count * sizeof(struct slot));
    int32_t i = 0;
    for (; i + 32 <= bytes; i += 32)
        asm_vstore(as, 32, asm_at(RCX, i), 0);
    if (i < bytes)
        asm_vstore(as, 16, asm_at(RCX, i), 0);
}

/* What `here` is at the beginning; `fields` is in FIELDS meanwhile, `next` nowhere. */
static void make_open(struct maker *m)
{
    struct assembler *as = &m->as;
    asm_alu_imm(as, ASM_SUB, 8, RSP, HERE_BYTES);
    asm_alu(as, ASM_XOR, 4, FIELDS, FIELDS);
    asm_mov_imm(as, RAX, (uintptr_t)m->table);
    asm_store(as, 8, IN_HERE(table), RAX);
    asm_store(as, 8, IN_HERE(message), MESSAGE);
    asm_store(as, 8, IN_HERE(start), AT);
    asm_store(as, 8, IN_HERE(end), STOP);
    asm_store(as, 8, IN_HERE(frame), FIELDS);
    asm_store(as, 8, IN_HERE(slots), FIELDS);
    asm_store(as, 8, IN_HERE(required), FIELDS);
    asm_store(as, 8, IN_HERE(pieces), FIELDS);
    asm_store_imm(as, 4, IN_HERE(owner), (int32_t)m->table->owner);
    asm_store(as, 4, IN_HERE(depth), DEPTH);
    if (m->waits)
        make_open_slots(m);
}

/* Of a table that waits: it begins only if there is room for its slots; the loop says so if not. */
static void make_check_slots(struct maker *m)
{
    struct assembler *as = &m->as;
    struct asm_label begin = {0};
    const int32_t most = (int32_t)(RUN_SLOT_MAX - m->table->table->slot_count);
    asm_alu_store_imm(as, ASM_CMP, 4, IN_U(run.slots_used), most);
    asm_jump_if(as, ASM_BE, &begin);
    make_c_arguments(m, m->table);
    asm_alu(as, ASM_XOR, 4, RAX, RAX);
    call_loop(m);
    asm_ret(as);
    asm_bind(as, &begin);
}

static void make_begin(struct maker *m)
{
    struct assembler *as = &m->as;
    if (m->waits)
        make_check_slots(m);
    if (m->counted)
        make_open(m);
    asm_mov(as, 8, NEXT, AT);
    if (m->waits) {
        make_load_waiting(m);
        asm_alu(as, ASM_ADD, 8, RAX, AT);
        asm_alu(as, ASM_CMP, 8, RAX, STOP);
        asm_cmov(as, ASM_B, 8, STOP, RAX);
    }
    asm_bind(as, &m->begin);
    asm_alu(as, ASM_CMP, 8, NEXT, STOP);
    asm_jump_if(as, ASM_AE, &m->empty);
    make_dispatch(m, 0, false);
}

static bool add_field(struct maker *m, const struct quick *way, uint32_t number)
{
    if (way->way == QUICK_NONE)
        return false;
    struct field *field = &m->fields[m->count++];
    *field = (struct field){
        .way = way,
        .tag = number < QUICK_NUMBER_COUNT ? way->tag : way->tag | (number >> 4) << 8,
        .tag_bytes = number < QUICK_NUMBER_COUNT ? 1 : 2,
        .repeated = way->way == QUICK_STRINGS || way->way == QUICK_MESSAGES,
    };
    return true;
}

static void collect_fields(struct maker *m)
{
    const struct bound_table *table = m->table;
    m->count = m->beside_count = 0;
    m->wide = false;
    for (uint32_t i = 0; i < QUICK_NUMBER_COUNT; i++)
        (void)add_field(m, &table->quick[i], i);
    for (uint32_t i = 0; i < table->wide_count; i++)
        m->wide |= add_field(m, &table->wide[i], i + QUICK_NUMBER_COUNT);
}

static void make_function(struct maker *m)
{
    static const struct asm_label unbound = {0, 0};
    m->done = m->fail = m->other = m->give_up = m->search = unbound;
    m->no_memory = m->more = m->full = m->begin = m->empty = unbound;
    make_begin(m);
    for (size_t i = 0; i < m->count; i++) {
        struct field *field = &m->fields[i];
        asm_bind(&m->as, &field->start);
        makes[field->way->way](m, field);
        make_next(m, i, ends_text(field->way));
    }
    for (size_t i = 0; i < m->beside_count; i++)
        make_beside(m, &m->besides[i]);
    for (size_t i = 0; i < m->count; i++) {
        make_edge(m, &m->fields[i].edge, &m->fields[i].next, &m->fields[i].undo);
        make_undo(m, &m->fields[i]);
    }
    make_edge(m, &m->empty, &m->begin, &m->done);
    make_chain(m);
    if (m->waits)
        make_more(m);
    make_give_up(m);
    make_return(m);
}

/* ---- The whole ---- */

/* Whether @table has a function of its own. Sets which of its fields are in it. */
static bool begin_table(struct maker *m, const struct bound_table *table)
{
    if (table->staged || table->required_count > 0 || !table->table ||
        (table->translated && table->table->slot_count > SLOT_CLEARED_MAX))
        return false;
    m->table = table;
    m->counted = table->translated;
    m->waits = table->waits;
    collect_fields(m);
    const uint32_t emits = table->translated ? table->table->emit_count : 0;
    const size_t most = TABLE_CODE_BYTES_MAX + m->count * FIELD_CODE_BYTES_MAX +
                        (emits < EMIT_CODE_MAX ? emits : EMIT_CODE_MAX) * EMIT_CODE_BYTES_MAX;
    return m->count > 0 && most <= m->as.capacity - m->as.used;
}

static void make_all(struct maker *m, bool *has_code)
{
    static const uint8_t ones[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                     1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    make_enter(m);
    make_call_c(m);
    make_text(m);
    make_varint(m);
    asm_align(&m->as, 32);
    asm_bind(&m->as, &m->ones);
    asm_data(&m->as, ones, sizeof(ones));
    for (uint32_t i = 0; i < m->binding->table_count; i++) {
        const struct bound_table *table = &m->binding->tables[i];
        has_code[i] = begin_table(m, table);
        asm_align(&m->as, 16);
        asm_bind(&m->as, &m->entries[i]);
        if (has_code[i])
            make_function(m);
        else if (table->table)
            make_without_code(m, table);
    }
}

static struct unpack_code *publish(const struct maker *m, const bool *has_code)
{
    struct unpack_code *made = calloc(1, sizeof(*made));
    if (!made || m->as.failed || code_new(m->as.code, m->as.used, &made->code) < 0) {
        free(made);
        return NULL;
    }
    made->enter = (unpack_enter *)code_function(made->code, 0);
    made->base = (const uint8_t *)(uintptr_t)code_function(made->code, 0);
    for (uint32_t i = 0; i < m->binding->table_count; i++)
        m->binding->tables[i].code_at = has_code[i] ? m->entries[i].at - 1 : 0;
    return made;
}

struct unpack_code *unpack_code_new(const struct plan_binding *binding)
{
    const struct asm_cpu cpu = asm_cpu();
    if (!cpu.avx2 || !cpu.bmi || cpu.shadow_stack || !code_allowed())
        return NULL;
    struct unpack_code *made = NULL;
    struct maker *m = calloc(1, sizeof(*m));
    uint8_t *code = malloc(CODE_BYTES_MAX);
    struct asm_label *entries = calloc(binding->table_count + 1, sizeof(*entries));
    bool *has_code = calloc(binding->table_count + 1, sizeof(*has_code));
    if (m && code && entries && has_code) {
        m->binding = binding;
        m->entries = entries;
        asm_init(&m->as, code, CODE_BYTES_MAX, true);
        make_all(m, has_code);
        made = publish(m, has_code);
    }
    free(has_code);
    free(entries);
    free(code);
    free(m);
    return made;
}

struct unpack_code *unpack_code_free(struct unpack_code *code)
{
    if (code)
        code_free(code->code);
    free(code);
    return NULL;
}

#else

struct unpack_code *unpack_code_new(const struct plan_binding *binding)
{
    (void)binding;
    return NULL;
}

struct unpack_code *unpack_code_free(struct unpack_code *code)
{
    (void)code;
    return NULL;
}

#endif
