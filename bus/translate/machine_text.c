/*
 * The code for fields that are texts or bytes.
 *
 * What most are is up to 32 bytes, all plain (0x01..0x7f): it is in one vector, which is compared
 * and stored, and what is stored too much is overwritten by what follows. Up to 64 there are two; a
 * longer one, or one that is not plain, is C's, of which the code calls the least that will do.
 */
#include "translate/machine_field.h"

#include "translate/code.h"

#if CODE_HAVE

static void note_given(struct maker *maker, const struct fast *way)
{
    struct assembler *as = &maker->as;
    struct asm_label given = {0}, out = {0};
    if (!maker->root && !maker->shared)
        return; /* nobody asks */
    asm_bit_mem(as, ASM_BTS, 8, FRAME(touched), way->slot);
    if (!(way->op->flags & OP_OWN_PRESENCE)) {
        asm_test(as, 4, LENGTH, LENGTH);
        asm_jump_if(as, ASM_NE, &given);
        asm_bit_mem(as, ASM_BTR, 8, FRAME(diverted), way->slot);
        asm_jump(as, &out);
    }
    asm_bind(as, &given);
    asm_bit_mem(as, ASM_BTS, 8, FRAME(diverted), way->slot);
    asm_bind(as, &out);
}

/* A text of LENGTH bytes is right: in the first vector, or if @wide in the first two. */
static void use_text(struct maker *maker, const struct fast *way, bool put, bool wide)
{
    struct assembler *as = &maker->as;
    const int32_t text = (int32_t)tag_size(way) + 1, tag = way->tag_bytes;
    if (has_note(maker, way)) {
        asm_lea(as, RDX, asm_at(RBX, text));
        asm_store_imm(as, 1, SLOT(way->slot, seen), 1);
        asm_store(as, 8, SLOT(way->slot, data), RDX);
        asm_store(as, 4, SLOT(way->slot, bytes), LENGTH);
    }
    if (maker->checks) {
        asm_lea(as, RBX, asm_at_index(RBX, LENGTH, 1, text));
        return;
    }
    if (put) {
        write_tag(maker, way->tag, way->tag_bytes);
        asm_store(as, 1, asm_at(R12, tag), LENGTH);
        asm_vstore(as, 32, asm_at(R12, tag + 1), 0);
        if (wide)
            asm_vstore(as, 32, asm_at(R12, tag + 33), 1);
        asm_lea(as, R12, asm_at_index(R12, LENGTH, 1, tag + 1));
    } else {
        note_given(maker, way);
    }
    asm_lea(as, RBX, asm_at_index(RBX, LENGTH, 1, text));
}

static bool is_put(const struct maker *maker, const struct fast *way)
{
    return !maker->checks && (way->code == FAST_PUT_STRING || way->code == FAST_PUT_BYTES);
}

void machine_write_text(struct maker *maker, struct field *field)
{
    struct assembler *as = &maker->as;
    const struct fast *way = field->way;
    const int32_t text = (int32_t)tag_size(way) + 1;
    const bool put = is_put(maker, way);
    asm_load(as, 1, LENGTH, asm_at(RBX, text - 1));
    if (put)
        asm_vload(as, 32, 0, asm_at(RBX, text));
    if (way->value == FAST_STRING) {
        /* As signed bytes 0x01..0x7f are those that 1 is not above of. */
        if (put)
            asm_vop(as, ASM_PCMPGTB, 32, 1, VEC_ONES, 0);
        else
            asm_vop_mem(as, ASM_PCMPGTB, 32, 1, VEC_ONES, asm_at(RBX, text));
        asm_vmask(as, 32, RCX, 1);
        asm_scan(as, ASM_TZCNT, 4, RCX, RCX); /* 32: all are plain */
        asm_alu(as, ASM_CMP, 4, LENGTH, RCX);
    } else {
        asm_alu_imm(as, ASM_CMP, 4, LENGTH, TEXT_SHORT_BYTES_MAX);
    }
    asm_jump_if(as, ASM_A, &field->rare);
    asm_bind(as, &field->plain);
    use_text(maker, way, put, false);
}

/* A text that is only checked, with a length of two bytes: by the C that looks at it, and no other.
 */
static void check_long_text(struct maker *maker, struct field *field)
{
    struct assembler *as = &maker->as;
    const int32_t tag = (int32_t)tag_size(field->way);
    asm_test(as, 1, LENGTH, LENGTH);
    asm_jump_if(as, ASM_NS, &field->by_c);
    asm_load(as, 1, RSI, asm_at(RBX, tag + 1));
    asm_alu_imm(as, ASM_AND, 4, LENGTH, 0x7f);
    asm_alu_imm(as, ASM_CMP, 4, RSI, 0x80);
    asm_jump_if(as, ASM_AE, &field->by_c);
    asm_shift(as, ASM_SHL, 4, RSI, 7);
    asm_alu(as, ASM_OR, 4, RSI, LENGTH);
    asm_lea(as, RDI, asm_at(RBX, tag + 2));
    asm_lea(as, RDX, asm_at_index(RDI, RSI, 1, 0));
    give_up_past_end(maker);
    asm_store(as, 8, MACHINE(open), RDX); /* nothing is put together there while we check */
    asm_mov_imm(as, RDX, TEXT_NO_NUL);
    call_c(maker, (void (*)(void))text_check);
    asm_test(as, 4, RAX, RAX);
    asm_jump_if(as, ASM_NE, &maker->stuck);
    asm_load(as, 8, RBX, MACHINE(open));
    asm_jump(as, &field->done);
}

/* Up to 64 plain bytes, more than 32: so what is read passes their end by less than that, and their
 * end is looked at before. */
static void write_wide_text(struct maker *maker, struct field *field)
{
    struct assembler *as = &maker->as;
    const struct fast *way = field->way;
    const int32_t text = (int32_t)tag_size(way) + 1;
    struct asm_label is_long = {0};
    const bool checked = maker->checks && way->value == FAST_STRING;
    asm_alu_imm(as, ASM_CMP, 4, LENGTH, 2 * TEXT_SHORT_BYTES_MAX);
    asm_jump_if(as, ASM_A, checked ? &is_long : &field->by_c);
    asm_lea(as, RDX, asm_at_index(RBX, LENGTH, 1, text));
    give_up_past_end(maker);
    asm_vload(as, 32, 0, asm_at(RBX, text));
    asm_vload(as, 32, 1, asm_at(RBX, text + 32));
    if (way->value == FAST_STRING) {
        asm_vop(as, ASM_PCMPGTB, 32, 2, VEC_ONES, 0);
        asm_vop(as, ASM_PCMPGTB, 32, 3, VEC_ONES, 1);
        asm_vmask(as, 32, RCX, 2);
        asm_vmask(as, 32, RDX, 3);
        asm_shift(as, ASM_SHL, 8, RDX, 32);
        asm_alu(as, ASM_OR, 8, RCX, RDX);
        asm_scan(as, ASM_TZCNT, 8, RCX, RCX);
        asm_alu(as, ASM_CMP, 8, LENGTH, RCX);
        asm_jump_if(as, ASM_A, &field->by_c);
    }
    use_text(maker, way, is_put(maker, way), true);
    asm_jump(as, &field->done);
    if (checked) {
        asm_bind(as, &is_long);
        check_long_text(maker, field);
    }
}

/* Not plain, or long. */
void machine_write_rare_text(struct maker *maker, struct field *field)
{
    struct assembler *as = &maker->as;
    const int32_t text = (int32_t)tag_size(field->way) + 1;
    if (field->way->value == FAST_STRING) {
        struct asm_label wide = {0};
        asm_alu_imm(as, ASM_CMP, 4, LENGTH, TEXT_SHORT_BYTES_MAX);
        asm_jump_if(as, ASM_A, &wide);
        asm_lea(as, RDI, asm_at(RBX, text));
        asm_mov(as, 4, RSI, LENGTH);
        call_c(maker, (void (*)(void))text_check_short_avx2);
        asm_test(as, 4, RAX, RAX);
        asm_jump_if(as, ASM_NE, &maker->stuck);
        asm_load(as, 1, LENGTH, asm_at(RBX, text - 1));
        asm_vload(as, 32, 0, asm_at(RBX, text));
        asm_jump(as, &field->plain);
        asm_bind(as, &wide);
    }
    write_wide_text(maker, field);
}

#endif /* CODE_HAVE */
