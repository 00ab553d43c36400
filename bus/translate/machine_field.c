/*
 * The code for fields: what the loop of quick.c does with each, by its record.
 *
 * A body begins with RBX at the field's tag, which has been compared, and changes neither RBX nor
 * R12 before it is sure of the field: so giving up is a jump. It reads FAST_READ_BYTES from the tag
 * on at most, and writes FAST_WRITE_BYTES beyond what it counts, as the loop does, and as the loop
 * leaves it to the place where the next field begins to find that a value has passed the end.
 *
 * Behind a field there is the one comparison that fields in order need: is this the next one's tag?
 * If not, a tree of comparisons finds the field. What is seldom run lies behind all bodies.
 */
#include "translate/machine_make.h"

#include "translate/code.h"

#if CODE_HAVE

#define LENGTH RAX /* of a text, until its field is done */

static unsigned tag_size(const struct fast *way)
{
    return way->source & 0x80 ? 2 : 1;
}

static bool has_note(const struct maker *maker, const struct fast *way)
{
    return maker->framed && way->slot != PROGRAM_SLOT_NONE;
}

/* ---- From a field to the next ---- */

static void compare_tag(struct maker *maker, const struct fast *way)
{
    unsigned bytes = tag_size(way);
    asm_alu_store_imm(&maker->as, ASM_CMP, bytes, asm_at(RBX, 0),
                      bytes == 1 ? (int8_t)way->source : (int16_t)way->source);
}

/* The field is done: counts it, and goes on with the next. */
static void finish(struct maker *maker, uint32_t index)
{
    struct assembler *as = &maker->as;
    struct field *field = &maker->fields[index];
    const bool repeated = field->way->repeated;
    asm_bind(as, &field->done);
    if (repeated)
        asm_alu_store_imm(as, ASM_ADD, 4, MACHINE(elements), 1);
    else if (maker->root)
        asm_alu_store_imm(as, ASM_ADD, 4, MACHINE(fields), 1);
    asm_alu(as, ASM_CMP, 8, RBX, R13);
    asm_jump_if(as, ASM_AE, repeated && maker->root ? &maker->end_repeated : &maker->end);
    if (repeated) {
        compare_tag(maker, field->way);
        asm_jump_if(as, ASM_E, &field->body);
    }
    if (index + 1 == maker->field_count) {
        asm_jump(as, &maker->dispatch);
        return;
    }
    compare_tag(maker, maker->fields[index + 1].way);
    asm_jump_if(as, ASM_NE, &maker->dispatch);
    /* Its body is what follows. */
}

/* Where to begin again if more of the field turns out to be wrong. */
static void begin(struct maker *maker)
{
    if (!maker->root)
        return;
    asm_store(&maker->as, 8, MACHINE(at), RBX);
    if (!maker->checks)
        asm_store(&maker->as, 8, MACHINE(at_out), R12);
}

/* ---- Texts ---- */

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

static void write_text(struct maker *maker, struct field *field)
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
    if (maker->root)
        asm_alu_load(as, ASM_CMP, 8, RDX, MACHINE(end));
    else
        asm_alu(as, ASM_CMP, 8, RDX, R13);
    asm_jump_if(as, ASM_A, &maker->stuck);
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
    if (maker->root)
        asm_alu_load(as, ASM_CMP, 8, RDX, MACHINE(end));
    else
        asm_alu(as, ASM_CMP, 8, RDX, R13);
    asm_jump_if(as, ASM_A, &maker->stuck);
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
static void write_rare_text(struct maker *maker, struct field *field)
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

/* ---- Numbers ---- */

static void write_fixed(struct maker *maker, const struct fast *way)
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
static void write_varint(struct maker *maker, struct field *field)
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

static void write_long_varint(struct maker *maker, struct field *field)
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
static void write_number(struct maker *maker, uint32_t index, bool rare)
{
    struct assembler *as = &maker->as;
    struct field *field = &maker->fields[index];
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

/* ---- Messages ---- */

/* Where the function keeps which messages it has met. */
static struct asm_mem seen_place(const struct maker *maker)
{
    return maker->root ? MACHINE(seen) : maker->framed ? FRAME(seen) : asm_at(RSP, 0);
}

static unsigned message_bit(const struct fast *way)
{
    return way->op->number & 63;
}

/* Its second piece is not for us, if somebody watches. */
static void write_watch(struct maker *maker, const struct fast *way)
{
    struct assembler *as = &maker->as;
    struct asm_label first = {0};
    if (!way->joins)
        return;
    asm_bit_mem(as, ASM_BT, 8, seen_place(maker), message_bit(way));
    asm_jump_if(as, ASM_AE, &first);
    asm_alu_store_imm(as, ASM_CMP, 1, MACHINE(watched), 0);
    asm_jump_if(as, ASM_NE, &maker->stuck);
    asm_bind(as, &first);
}

/* The message is done; its content begins in the output at RCX, behind room for a length. */
static void write_close(struct maker *maker, struct field *field, bool large)
{
    struct assembler *as = &maker->as;
    asm_mov(as, 8, RAX, R12);
    asm_alu(as, ASM_SUB, 8, RAX, RCX);
    if (large) {
        asm_lea(as, RDX, asm_at(RAX, -0x80));
        asm_alu_imm(as, ASM_CMP, 8, RDX, 0x4000 - 0x80);
        asm_jump_if(as, ASM_AE, &field->large_close);
        asm_mov(as, 4, RDX, RAX);
        asm_alu_imm(as, ASM_OR, 4, RDX, 0x80);
        asm_shift(as, ASM_SHR, 4, RAX, 7);
        asm_store(as, 1, asm_at(RCX, -2), RDX);
    } else {
        asm_alu_imm(as, ASM_CMP, 8, RAX, 0x80);
        asm_jump_if(as, ASM_AE, &field->close);
    }
    asm_store(as, 1, asm_at(RCX, -1), RAX);
}

static void write_rare_close(struct maker *maker, struct field *field, bool large)
{
    struct assembler *as = &maker->as;
    asm_bind(as, large ? &field->large_close : &field->close);
    asm_lea(as, RDI, asm_at(RCX, large ? -2 : -1));
    asm_mov(as, 8, RSI, RCX);
    asm_mov(as, 8, RDX, R12);
    call_c(maker, (void (*)(void))quick_close);
    asm_mov(as, 8, R12, RAX);
    if (field->way->joins)
        asm_bit_mem(as, ASM_BTS, 8, seen_place(maker), message_bit(field->way));
    asm_jump(as, &field->done);
}

/* Its fields have gone to our slots: RAX: those that got a value; RDX: those that got any. */
static void write_close_shared(struct maker *maker, const struct fast *way)
{
    struct assembler *as = &maker->as;
    asm_alu(as, ASM_CMP, 8, R12, RCX);
    asm_jump_if(as, ASM_NE, &maker->past);
    if (way->code == FAST_JOIN) {
        asm_store_imm(as, 1, SLOT(way->slot, seen), 1);
        return;
    }
    asm_test(as, 8, RAX, RAX);
    asm_jump_if(as, ASM_E, &maker->past);
    asm_load(as, 8, RCX, FRAME(diverted));
    asm_alu_store(as, ASM_OR, 8, FRAME(touched), RDX);
    asm_unary(as, ASM_NOT, 8, RDX);
    asm_alu(as, ASM_AND, 8, RCX, RDX);
    asm_alu(as, ASM_OR, 8, RCX, RAX);
    asm_store(as, 8, FRAME(diverted), RCX);
}

/* Whether it is copied: else its fields go to our slots, or it is only checked. */
static bool is_put_message(const struct maker *maker, const struct fast *way)
{
    return !maker->checks && way->code == FAST_PUT_MESSAGE;
}

/* From its length on. @large: that has two bytes; the first is in RAX. */
static void write_message(struct maker *maker, struct field *field, bool large)
{
    struct assembler *as = &maker->as;
    const struct fast *way = field->way;
    const int32_t length = (int32_t)tag_size(way);
    const uint32_t table = (uint32_t)(way->table - maker->plan->fast);
    if (large) {
        asm_load(as, 1, RDX, asm_at(RBX, length + 1));
        asm_alu_imm(as, ASM_AND, 4, RAX, 0x7f);
        asm_test(as, 1, RDX, RDX);
        asm_jump_if(as, ASM_S, &maker->stuck);
        asm_shift(as, ASM_SHL, 4, RDX, 7);
        asm_alu(as, ASM_OR, 4, RAX, RDX);
        asm_alu_imm(as, ASM_CMP, 4, RAX, FAST_NESTED_BYTES_MAX);
        asm_jump_if(as, ASM_A, &maker->stuck);
    } else {
        asm_load(as, 1, RAX, asm_at(RBX, length));
        asm_test(as, 1, RAX, RAX);
        asm_jump_if(as, ASM_S, &field->large);
    }
    const int32_t content = length + (large ? 2 : 1);
    asm_lea(as, RDX, asm_at_index(RBX, RAX, 1, content));
    if (maker->root)
        asm_alu_load(as, ASM_CMP, 8, RDX, MACHINE(end));
    else
        asm_alu(as, ASM_CMP, 8, RDX, R13);
    asm_jump_if(as, ASM_A, &maker->stuck);
    asm_alu_store_imm(as, ASM_SUB, 4, MACHINE(depth_left), 1);
    asm_jump_if(as, ASM_S, &maker->stuck);
    if (maker->root) {
        asm_load(as, 4, RCX, MACHINE(elements));
        asm_store(as, 4, MACHINE(at_elements), RCX);
    }
    asm_push(as, R13);
    asm_mov(as, 8, R13, RDX);
    if (is_put_message(maker, way)) {
        write_tag(maker, way->tag, way->tag_bytes);
        asm_alu_imm(as, ASM_ADD, 8, R12, way->tag_bytes + (large ? 2 : 1));
    }
    if (!maker->checks)
        asm_push(as, R12);
    asm_alu_imm(as, ASM_ADD, 8, RBX, content);
    maker->wanted[table] = true;
    asm_call(as, &maker->nested[table]);
    if (!maker->checks)
        asm_pop(as, RCX);
    asm_pop(as, R13);
    asm_alu_store_imm(as, ASM_ADD, 4, MACHINE(depth_left), 1);
    if (maker->checks)
        return;
    if (way->code == FAST_PUT_MESSAGE)
        write_close(maker, field, large);
    else
        write_close_shared(maker, way);
    if (way->joins)
        asm_bit_mem(as, ASM_BTS, 8, seen_place(maker), message_bit(way));
}

/* ---- Carriers ---- */

/* Whether code can carry: to a frame of its own, for C forgets the others. */
static bool is_carried(const struct maker *maker, const struct fast *way)
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
static void write_carried(struct maker *maker, struct field *field, bool large)
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
    if (maker->root)
        asm_alu_load(as, ASM_CMP, 8, RDX, MACHINE(end));
    else
        asm_alu(as, ASM_CMP, 8, RDX, R13);
    asm_jump_if(as, ASM_A, &maker->stuck);
    asm_load(as, 4, RCX, asm_at(RBX, 0)); /* tag and length: four bytes at most */
    asm_store(as, 4, asm_at(R12, header), RCX);
    asm_lea(as, RDI, asm_at(R12, header + text));
    carry_text(maker, field);
    open_carrier(maker, field->way, header, large);
}

/* ---- Checking alone ---- */

static void check_varint(struct maker *maker, struct field *field)
{
    struct assembler *as = &maker->as;
    asm_load(as, 1, RAX, asm_at(RBX, (int32_t)tag_size(field->way)));
    asm_test(as, 1, RAX, RAX);
    asm_jump_if(as, ASM_S, &field->rare);
    asm_alu_imm(as, ASM_ADD, 8, RBX, (int32_t)tag_size(field->way) + 1);
}

static void check_body(struct maker *maker, struct field *field)
{
    struct assembler *as = &maker->as;
    const struct fast *way = field->way;
    const int32_t tag = (int32_t)tag_size(way);
    switch (way->value) {
    case FAST_STRING:
        write_text(maker, field);
        break;
    case FAST_BYTES: /* that it passes the end is seen there */
        asm_load(as, 1, LENGTH, asm_at(RBX, tag));
        asm_test(as, 1, LENGTH, LENGTH);
        asm_jump_if(as, ASM_S, &field->by_c);
        asm_lea(as, RBX, asm_at_index(RBX, LENGTH, 1, tag + 1));
        break;
    case FAST_VARINT:
        check_varint(maker, field);
        break;
    case FAST_MESSAGE: /* what is required is looked after by the long way */
        if (way->table->table->required_count > 0)
            asm_jump(as, &maker->stuck);
        else
            write_message(maker, field, false);
        break;
    default:
        asm_alu_imm(as, ASM_ADD, 8, RBX, tag + (way->value == FAST_FIXED32 ? 4 : 8));
    }
}

/* ---- All ---- */

static void write_body(struct maker *maker, uint32_t index)
{
    struct assembler *as = &maker->as;
    struct field *field = &maker->fields[index];
    const struct fast *way = field->way;
    asm_bind(as, &field->body);
    begin(maker);
    if (maker->checks) {
        check_body(maker, field);
        finish(maker, index);
        return;
    }
    switch (way->code) {
    case FAST_PUT_STRING:
    case FAST_PUT_BYTES:
        write_text(maker, field);
        break;
    case FAST_TAKE_STRING:
    case FAST_TAKE_BYTES:
        if (maker->framed)
            write_text(maker, field);
        else
            asm_jump(as, &maker->stuck);
        break;
    case FAST_PUT_FIXED:
        write_fixed(maker, way);
        break;
    case FAST_PUT_VARINT:
        write_varint(maker, field);
        break;
    case FAST_MULTIPLY:
    case FAST_DIVIDE:
    case FAST_MAP:
        write_number(maker, index, false);
        break;
    case FAST_PUT_MESSAGE:
    case FAST_RESIDUE:
    case FAST_JOIN:
        write_watch(maker, way);
        if (way->code == FAST_PUT_MESSAGE || maker->framed)
            write_message(maker, field, false);
        else
            asm_jump(as, &maker->stuck);
        break;
    default: /* FAST_CARRY, FAST_SCALAR */
        if (is_carried(maker, way))
            write_carried(maker, field, false);
        else
            asm_jump(as, &field->by_c);
    }
    finish(maker, index);
}

/* By the C that the loop has for it. */
static void write_by_c(struct maker *maker, struct field *field)
{
    struct assembler *as = &maker->as;
    const enum asm_reg end = maker->checks ? RCX : R8;
    asm_bind(as, &field->by_c);
    asm_mov(as, 8, RDI, R15);
    if (maker->root)
        asm_load(as, 8, end, MACHINE(end));
    else
        asm_mov(as, 8, end, R13);
    if (maker->checks) {
        asm_mov_imm(as, RSI, (uint64_t)(uintptr_t)field->way);
        asm_mov(as, 8, RDX, RBX);
        call_c(maker, (void (*)(void))quick_check);
    } else {
        if (maker->framed)
            asm_mov(as, 8, RSI, RBP);
        else
            asm_mov_imm(as, RSI, 0);
        asm_mov_imm(as, RDX, (uint64_t)(uintptr_t)field->way);
        asm_mov(as, 8, RCX, RBX);
        asm_store(as, 8, MACHINE(out), R12);
        asm_lea(as, R9, MACHINE(out));
        call_c(maker, (void (*)(void))quick_value);
    }
    asm_test(as, 8, RAX, RAX);
    asm_jump_if(as, ASM_E, &maker->stuck);
    asm_mov(as, 8, RBX, RAX);
    if (!maker->checks)
        asm_load(as, 8, R12, MACHINE(out));
    asm_jump(as, &field->done);
}

void machine_write_fields(struct maker *maker)
{
    for (uint32_t i = 0; i < maker->field_count; i++)
        write_body(maker, i);
}

void machine_write_rare(struct maker *maker)
{
    struct assembler *as = &maker->as;
    for (uint32_t i = 0; i < maker->field_count; i++) {
        struct field *field = &maker->fields[i];
        const struct fast *way = field->way;
        if (field->rare.waiting) {
            asm_bind(as, &field->rare);
            if (way->value == FAST_STRING || way->value == FAST_BYTES)
                write_rare_text(maker, field);
            else if (maker->checks || way->code == FAST_PUT_VARINT)
                write_long_varint(maker, field);
            else
                write_number(maker, i, true);
            asm_jump(as, &field->done);
        }
        if (field->large.waiting) {
            asm_bind(as, &field->large);
            if (way->value == FAST_MESSAGE)
                write_message(maker, field, true);
            else
                write_carried(maker, field, true);
            asm_jump(as, &field->done);
        }
        if (field->close.waiting)
            write_rare_close(maker, field, false);
        if (field->large_close.waiting)
            write_rare_close(maker, field, true);
        if (field->by_c.waiting)
            write_by_c(maker, field);
    }
}

#endif /* CODE_HAVE */
