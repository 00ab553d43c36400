/*
 * The code for a message's end: what quick_end.c does, emit by emit.
 *
 * It is for messages of which every field went the short way, from the first to the last: so slots
 * have nothing from carriers. Room is asked for once, for all. What would have to be carried, or
 * has no room, is left to quick_end(), which begins again where the end began.
 */
#include "translate/machine_make.h"

#include "translate/code.h"

#if CODE_HAVE

#define FIELD_BYTES_MAX 10 /* tag and length */

static uint32_t tag_bytes_of(uint32_t tag, unsigned *ret_count)
{
    uint8_t bytes[8] = {0};
    *ret_count = (unsigned)(wire_write_varint(bytes, tag) - bytes);
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

/* A tag, and room for a length of a byte behind it. Return: bytes of both. */
static int32_t open_field(struct maker *maker, uint32_t tag)
{
    unsigned count;
    uint32_t bytes = tag_bytes_of(tag, &count);
    maker->as.failed |= count > 4;
    write_tag(maker, bytes, count);
    return (int32_t)count + 1;
}

static uint8_t *copy_long(uint8_t *out, const uint8_t *data, size_t bytes)
{
    memcpy(out, data, bytes);
    return out + bytes;
}

/* RAX bytes, 64 at most, from [@from] to R12 + @behind, which moves behind them. What is read
 * passes their end by less than 32 bytes, and what is written by less than 64. */
static void write_short_copy(struct maker *maker, struct asm_mem from, int32_t behind)
{
    struct assembler *as = &maker->as;
    struct asm_label is_short = {0};
    struct asm_mem second = from;
    second.disp += 32;
    asm_vload(as, 32, 0, from);
    asm_vstore(as, 32, asm_at(R12, behind), 0);
    asm_alu_imm(as, ASM_CMP, 4, RAX, 32);
    asm_jump_if(as, ASM_BE, &is_short);
    asm_vload(as, 32, 0, second);
    asm_vstore(as, 32, asm_at(R12, behind + 32), 0);
    asm_bind(as, &is_short);
    asm_lea(as, R12, asm_at_index(R12, RAX, 1, behind));
}

/* RAX bytes from RCX to R12 + @behind, which moves behind them. */
static void write_copy(struct maker *maker, int32_t behind)
{
    struct assembler *as = &maker->as;
    struct asm_label is_short = {0}, done = {0};
    asm_alu_imm(as, ASM_CMP, 4, RAX, 64);
    asm_jump_if(as, ASM_BE, &is_short);
    asm_lea(as, RDI, asm_at(R12, behind));
    asm_mov(as, 8, RSI, RCX);
    asm_mov(as, 4, RDX, RAX);
    call_c(maker, (void (*)(void))copy_long);
    asm_mov(as, 8, R12, RAX);
    asm_jump(as, &done);
    asm_bind(as, &is_short);
    write_short_copy(maker, asm_at(RCX, 0), behind);
    asm_bind(as, &done);
}

/* The length of what lies between MACHINE(open) + @header and R12, and began with a tag there. */
static void close_field(struct maker *maker, int32_t header)
{
    struct assembler *as = &maker->as;
    struct asm_label is_short = {0}, done = {0};
    asm_load(as, 8, RCX, MACHINE(open));
    asm_mov(as, 8, RAX, R12);
    asm_alu(as, ASM_SUB, 8, RAX, RCX);
    asm_alu_imm(as, ASM_SUB, 8, RAX, header);
    asm_alu_imm(as, ASM_CMP, 8, RAX, 0x80);
    asm_jump_if(as, ASM_B, &is_short);
    asm_lea(as, RDI, asm_at(RCX, header - 1));
    asm_lea(as, RSI, asm_at(RCX, header));
    asm_mov(as, 8, RDX, R12);
    call_c(maker, (void (*)(void))quick_close);
    asm_mov(as, 8, R12, RAX);
    asm_jump(as, &done);
    asm_bind(as, &is_short);
    asm_store(as, 1, asm_at(RCX, header - 1), RAX);
    asm_bind(as, &done);
}

static void by_function(struct maker *maker, const struct program_emit *emit,
                        struct asm_label *by_c)
{
    struct assembler *as = &maker->as;
    asm_mov(as, 8, RDI, R15);
    asm_mov(as, 8, RSI, RBP);
    asm_mov_imm(as, RDX, (uint64_t)(uintptr_t)emit);
    asm_mov(as, 8, RCX, R12);
    call_c(maker, (void (*)(void))quick_emit);
    asm_test(as, 8, RAX, RAX);
    asm_jump_if(as, ASM_E, by_c);
    asm_mov(as, 8, R12, RAX);
}

/* ---- The emits ---- */

static void write_move(struct maker *maker, const struct program_emit *emit, struct asm_label *by_c)
{
    struct assembler *as = &maker->as;
    struct asm_label skip = {0}, empty = {0}, large = {0};
    if ((emit->tag & 7) != WIRE_BYTES) {
        by_function(maker, emit, by_c);
        return;
    }
    const bool presence = emit->flags & EMIT_SOURCE_PRESENCE;
    asm_load(as, 4, RAX, SLOT(emit->slot, bytes));
    if (presence) {
        asm_alu_store_imm(as, ASM_CMP, 1, SLOT(emit->slot, seen), 0);
        asm_jump_if(as, ASM_E, &skip);
        asm_test(as, 4, RAX, RAX);
        asm_jump_if(as, ASM_E, &empty);
    } else {
        asm_test(as, 4, RAX, RAX);
        asm_jump_if(as, ASM_E, &skip);
    }
    asm_load(as, 8, RCX, SLOT(emit->slot, data));
    int32_t header = open_field(maker, emit->tag);
    asm_alu_imm(as, ASM_CMP, 4, RAX, 0x80);
    asm_jump_if(as, ASM_AE, &large);
    asm_store(as, 1, asm_at(R12, header - 1), RAX);
    write_copy(maker, header);
    asm_jump(as, &skip);
    asm_bind(as, &large); /* its length may have any size */
    by_function(maker, emit, by_c);
    asm_jump(as, &skip);
    asm_bind(as, &empty);
    if (presence) {
        (void)open_field(maker, emit->tag);
        asm_store_imm(as, 1, asm_at(R12, header - 1), 0);
        asm_alu_imm(as, ASM_ADD, 8, R12, header);
    }
    asm_bind(as, &skip);
}

static void write_gather(struct maker *maker, const struct program_emit *emit,
                         struct asm_label *by_c)
{
    struct assembler *as = &maker->as;
    const struct program_node *node = &maker->plan->nodes[emit->node];
    struct asm_label none = {0}, done = {0};
    asm_store(as, 8, MACHINE(open), R12);
    int32_t header = open_field(maker, node->tag);
    asm_alu_imm(as, ASM_ADD, 8, R12, header);
    for (uint32_t i = 0; i < node->leaf_count; i++)
        write_move(maker, &maker->plan->emits[node->leaf_first + i], by_c);
    asm_load(as, 8, RCX, MACHINE(open));
    asm_lea(as, RAX, asm_at(RCX, header));
    asm_alu(as, ASM_CMP, 8, RAX, R12);
    asm_jump_if(as, ASM_E, &none);
    close_field(maker, header);
    asm_mov(as, 8, RAX, R12);
    asm_alu_load(as, ASM_SUB, 8, RAX, MACHINE(open));
    asm_alu_store(as, ASM_ADD, 8, MACHINE(moved_in), RAX);
    asm_jump(as, &done);
    asm_bind(as, &none);
    asm_mov(as, 8, R12, RCX);
    asm_bind(as, &done);
}

/* RAX: bytes of all slots of the template, ored. Return: whether it has any. */
static bool any_filled(struct maker *maker, const struct program_template *template)
{
    const struct program_part *parts = maker->plan->parts + template->part_first;
    bool any = false;
    for (uint32_t i = 0; i < template->part_count; i++) {
        if (parts[i].slot == PROGRAM_SLOT_NONE)
            continue;
        if (any)
            asm_alu_load(&maker->as, ASM_OR, 4, RAX, SLOT(parts[i].slot, bytes));
        else
            asm_load(&maker->as, 4, RAX, SLOT(parts[i].slot, bytes));
        any = true;
    }
    if (any)
        asm_test(&maker->as, 4, RAX, RAX);
    return any;
}

static uint64_t literal_bytes(const struct maker *maker, const struct program_part *part,
                              uint32_t at, unsigned *ret_count)
{
    const uint8_t *text = maker->plan->text + part->text_first + at;
    uint64_t value = 0;
    *ret_count = part->text_bytes - at < 8 ? part->text_bytes - at : 8;
    for (unsigned i = 0; i < *ret_count; i++)
        value |= (uint64_t)text[i] << (8 * i);
    return value;
}

static void write_literal(struct maker *maker, const struct program_part *part)
{
    struct assembler *as = &maker->as;
    unsigned count;
    for (uint32_t at = 0; at < part->text_bytes; at += 8) {
        uint64_t bytes = literal_bytes(maker, part, at, &count);
        if (count <= 4) {
            asm_store_imm(as, 4, asm_at(R12, (int32_t)at), (int32_t)(uint32_t)bytes);
        } else {
            asm_mov_imm(as, RAX, bytes);
            asm_store(as, 8, asm_at(R12, (int32_t)at), RAX);
        }
    }
    if (part->text_bytes > 0)
        asm_alu_imm(as, ASM_ADD, 8, R12, (int32_t)part->text_bytes);
}

/* The text of a template, where at least one of its slots has something, behind a tag. Return:
 * bytes of the tag and its length, which is still to be written. */
static int32_t put_template(struct maker *maker, const struct program_emit *emit)
{
    struct assembler *as = &maker->as;
    const struct program_template *template = &maker->plan->templates[emit->template];
    const struct program_part *parts = maker->plan->parts + template->part_first;
    asm_store(as, 8, MACHINE(open), R12);
    int32_t header = open_field(maker, emit->tag);
    asm_alu_imm(as, ASM_ADD, 8, R12, header);
    for (uint32_t i = 0; i < template->part_count; i++) {
        struct asm_label empty = {0};
        write_literal(maker, &parts[i]);
        if (parts[i].slot == PROGRAM_SLOT_NONE)
            continue;
        asm_load(as, 4, RAX, SLOT(parts[i].slot, bytes));
        asm_test(as, 4, RAX, RAX);
        asm_jump_if(as, ASM_E, &empty);
        asm_load(as, 8, RCX, SLOT(parts[i].slot, data));
        write_copy(maker, 0);
        asm_bind(as, &empty);
    }
    return header;
}

static void write_made(struct maker *maker, const struct program_emit *emit)
{
    const struct program_template *template = &maker->plan->templates[emit->template];
    const struct program_part *parts = maker->plan->parts + template->part_first;
    struct asm_label skip = {0};
    if (any_filled(maker, template))
        asm_jump_if(&maker->as, ASM_E, &skip);
    else if (parts[0].text_bytes == 0)
        return; /* nothing but an empty literal */
    int32_t header = put_template(maker, emit);
    close_field(maker, header);
    asm_bind(&maker->as, &skip);
}

/* Compares @part's literal with what is at [RSI + @index + disp]. */
static void compare_literal(struct maker *maker, const struct program_part *part,
                            enum asm_reg index, int32_t disp, struct asm_label *other)
{
    unsigned count;
    for (uint32_t at = 0; at < part->text_bytes;) {
        uint64_t value = literal_bytes(maker, part, at, &count);
        unsigned size = count >= 4 ? 4 : count >= 2 ? 2 : 1;
        int32_t imm = size == 4   ? (int32_t)(uint32_t)value
                      : size == 2 ? (int16_t)(uint16_t)value
                                  : (int8_t)(uint8_t)value;
        asm_alu_store_imm(&maker->as, ASM_CMP, size,
                          asm_at_index(RSI, index, 1, disp + (int32_t)at), imm);
        asm_jump_if(&maker->as, ASM_NE, other);
        at += size;
    }
}

/* RSI: the text, and RDI: its bytes: without the literal with which it begins. */
static void drop_literal(struct maker *maker, const struct program_part *part,
                         struct asm_label *by_c)
{
    struct assembler *as = &maker->as;
    const int32_t bytes = (int32_t)part->text_bytes;
    if (bytes == 0)
        return;
    asm_alu_imm(as, ASM_SUB, 4, RDI, bytes);
    asm_jump_if(as, ASM_B, by_c);
    compare_literal(maker, part, ASM_REG_NONE, 0, by_c);
    asm_alu_imm(as, ASM_ADD, 8, RSI, bytes);
}

/* Nothing is written: it is sure that the others say the same. */
static void write_dropped(struct maker *maker, const struct program_emit *emit,
                          struct asm_label *by_c)
{
    struct assembler *as = &maker->as;
    const struct program_template *template = &maker->plan->templates[emit->template];
    const struct program_part *parts = maker->plan->parts + template->part_first;
    struct asm_label compare = {0}, done = {0};
    asm_load(as, 4, RDI, SLOT(emit->slot, bytes));
    if (any_filled(maker, template)) {
        asm_jump_if(as, ASM_NE, &compare);
        asm_test(as, 4, RDI, RDI);
        asm_jump_if(as, ASM_NE, by_c);
        asm_jump(as, &done);
    }
    asm_bind(as, &compare);
    asm_load(as, 8, RSI, SLOT(emit->slot, data));
    for (uint32_t i = 0; i < template->part_count; i++) {
        struct asm_label empty = {0};
        drop_literal(maker, &parts[i], by_c);
        if (parts[i].slot == PROGRAM_SLOT_NONE)
            continue;
        asm_load(as, 4, RAX, SLOT(parts[i].slot, bytes));
        asm_test(as, 4, RAX, RAX);
        asm_jump_if(as, ASM_E, &empty);
        asm_alu(as, ASM_SUB, 4, RDI, RAX);
        asm_jump_if(as, ASM_B, by_c);
        asm_load(as, 8, RCX, SLOT(parts[i].slot, data));
        asm_vload(as, 32, 0, asm_at(RSI, 0));
        asm_vop_mem(as, ASM_PCMPEQB, 32, 0, 0, asm_at(RCX, 0));
        asm_vmask(as, 32, RCX, 0);
        asm_unary(as, ASM_NOT, 4, RCX);
        asm_scan(as, ASM_TZCNT, 4, RCX, RCX); /* so many are the same: 32 at most */
        asm_alu(as, ASM_CMP, 4, RAX, RCX);
        asm_jump_if(as, ASM_A, by_c);
        asm_alu(as, ASM_ADD, 8, RSI, RAX);
        asm_bind(as, &empty);
    }
    asm_test(as, 4, RDI, RDI);
    asm_jump_if(as, ASM_NE, by_c);
    asm_bind(as, &done);
}

/* ---- Text taken apart ---- */

static struct asm_mem piece(uint32_t index, size_t member)
{
    return asm_at(R15, (int32_t)(offsetof(struct run, machine.pieces) +
                                 index * sizeof(((struct run *)NULL)->machine.pieces[0]) + member));
}

#define PIECE_AT 0
#define PIECE_BYTES 4

#define SEARCHED_BYTES_MAX 4 /* of a literal between two fields */

/* Whether code can do it: literals between all fields. */
static bool is_searched(const struct plan *plan, const struct program_template *template)
{
    const struct program_part *parts = plan->parts + template->part_first;
    const uint32_t count = template->part_count;
    for (uint32_t i = 0; i < count; i++) {
        bool last = i > 0 && i == count - 1 && parts[i].slot == PROGRAM_SLOT_NONE;
        if (!last &&
            (parts[i].slot == PROGRAM_SLOT_NONE ||
             (i > 0 && (parts[i].text_bytes == 0 || parts[i].text_bytes > SEARCHED_BYTES_MAX))))
            return false;
    }
    return count > 0;
}

/* VEC 2: 0xff where @literal begins in the 32 bytes at RSI + @at. Uses RCX. */
static void find_literal(struct maker *maker, const uint8_t *literal, int32_t bytes, int32_t at)
{
    struct assembler *as = &maker->as;
    for (int32_t i = 0; i < bytes; i++) {
        asm_vec to = i == 0 ? 2 : 1;
        asm_mov_imm(as, RCX, literal[i]);
        asm_vfrom(as, 4, 1, RCX);
        asm_vspread(as, 1, 1);
        asm_vop_mem(as, ASM_PCMPEQB, 32, to, 1, asm_at(RSI, at + i));
        if (i > 0)
            asm_vop(as, ASM_PAND, 32, 2, 2, 1);
    }
}

/* The last @part of RDI bytes at RSI, and its literal before it. */
static void cut_at_last(struct maker *maker, const struct program_part *part, uint32_t index,
                        struct asm_label *other)
{
    struct assembler *as = &maker->as;
    const int32_t bytes = (int32_t)part->text_bytes;
    const uint8_t *literal = maker->plan->text + part->text_first;
    struct asm_label is_short = {0};
    asm_mov_imm(as, R8, 0);
    asm_alu_imm(as, ASM_CMP, 8, RDI, 32);
    asm_jump_if(as, ASM_BE, &is_short);
    find_literal(maker, literal, bytes, 32);
    asm_vmask(as, 32, R8, 2);
    asm_shift(as, ASM_SHL, 8, R8, 32);
    asm_bind(as, &is_short);
    find_literal(maker, literal, bytes, 0);
    asm_vmask(as, 32, RCX, 2);
    asm_alu(as, ASM_OR, 8, RCX, R8);
    /* A byte of a field is before it, and one behind. */
    asm_lea(as, RDX, asm_at(RDI, -bytes));
    asm_alu_imm(as, ASM_CMP, 8, RDX, 1);
    asm_jump_if(as, ASM_LE, other);
    asm_bzhi(as, 8, RCX, RCX, RDX);
    asm_alu_imm(as, ASM_AND, 8, RCX, -2);
    asm_jump_if(as, ASM_E, other);
    asm_scan(as, ASM_BSR, 8, RCX, RCX);
    asm_alu(as, ASM_SUB, 4, RDX, RCX);
    asm_store(as, 4, piece(index, PIECE_BYTES), RDX);
    asm_lea(as, RDX, asm_at(RCX, bytes));
    asm_store(as, 4, piece(index, PIECE_AT), RDX);
    asm_mov(as, 4, RDI, RCX);
}

/* As run_take_apart(), of RDI bytes at RSI, 64 at most: pieces from the right. */
static void take_apart(struct maker *maker, const struct program_template *template,
                       struct asm_label *other)
{
    struct assembler *as = &maker->as;
    const struct program_part *parts = maker->plan->parts + template->part_first;
    uint32_t count = template->part_count;
    if (parts[count - 1].slot == PROGRAM_SLOT_NONE) {
        const int32_t last = (int32_t)parts[--count].text_bytes;
        asm_alu_imm(as, ASM_SUB, 8, RDI, last);
        asm_jump_if(as, ASM_B, other);
        compare_literal(maker, &parts[count], RDI, 0, other);
    }
    for (uint32_t i = count - 1; i > 0; i--)
        cut_at_last(maker, &parts[i], i, other);
    const int32_t bytes = (int32_t)parts[0].text_bytes;
    asm_alu_imm(as, ASM_SUB, 8, RDI, bytes);
    asm_jump_if(as, ASM_BE, other);
    compare_literal(maker, &parts[0], ASM_REG_NONE, 0, other);
    asm_store_imm(as, 4, piece(0, PIECE_AT), bytes);
    asm_store(as, 4, piece(0, PIECE_BYTES), RDI);
}

/* RAX bytes at [RSI + RCX], 64 at most. */
static void put_piece(struct maker *maker, uint32_t tag)
{
    struct assembler *as = &maker->as;
    int32_t header = open_field(maker, tag);
    asm_store(as, 1, asm_at(R12, header - 1), RAX);
    write_short_copy(maker, asm_at_index(RSI, RCX, 1, 0), header);
}

static void write_split(struct maker *maker, const struct program_emit *emit,
                        struct asm_label *by_c)
{
    struct assembler *as = &maker->as;
    const struct program_template *template = &maker->plan->templates[emit->template];
    const struct program_part *parts = maker->plan->parts + template->part_first;
    struct asm_label skip = {0}, other = {0}, close = {0}, function = {0};
    if (is_searched(maker->plan, template)) {
        asm_load(as, 4, RDI, SLOT(emit->slot, bytes));
        asm_alu_store_imm(as, ASM_CMP, 1, SLOT(emit->slot, seen), 0);
        asm_jump_if(as, ASM_E, &skip);
        asm_test(as, 4, RDI, RDI);
        asm_jump_if(as, ASM_E, emit->flags & EMIT_SOURCE_PRESENCE ? &function : &skip);
        asm_alu_imm(as, ASM_CMP, 4, RDI, 64);
        asm_jump_if(as, ASM_A, &function);
        asm_load(as, 8, RSI, SLOT(emit->slot, data));
        asm_mov(as, 8, R9, R12);
        int32_t header = open_field(maker, emit->tag);
        take_apart(maker, template, &other);
        asm_alu_imm(as, ASM_ADD, 8, R12, header);
        for (uint32_t i = 0; i < template->part_count; i++) {
            if (parts[i].slot == PROGRAM_SLOT_NONE)
                continue;
            asm_load(as, 4, RCX, piece(i, PIECE_AT));
            asm_load(as, 4, RAX, piece(i, PIECE_BYTES));
            put_piece(maker, parts[i].tag);
        }
        asm_jump(as, &close);
        asm_bind(as, &other);
        asm_alu_imm(as, ASM_ADD, 8, R12, header);
        if (parts[template->otherwise].slot != PROGRAM_SLOT_NONE) {
            asm_load(as, 4, RAX, SLOT(emit->slot, bytes));
            asm_mov_imm(as, RCX, 0);
            put_piece(maker, parts[template->otherwise].tag);
        }
        asm_bind(as, &close); /* below 0x80: 64 bytes, and five for each part */
        asm_mov(as, 8, RAX, R12);
        asm_alu(as, ASM_SUB, 8, RAX, R9);
        asm_alu_imm(as, ASM_SUB, 4, RAX, header);
        asm_store(as, 1, asm_at(R9, header - 1), RAX);
        asm_jump(as, &skip);
        asm_bind(as, &function);
    }
    by_function(maker, emit, by_c);
    asm_bind(as, &skip);
}

/* To @unsure unless no field's text has the last byte of the literal before it: then no literal is
 * found behind its place, and so the text comes apart as it was put together. Keeps RSI and RDI. */
static void see_apart(struct maker *maker, const struct program_template *template,
                      struct asm_label *unsure)
{
    struct assembler *as = &maker->as;
    const struct program_part *parts = maker->plan->parts + template->part_first;
    for (uint32_t i = 1; i < template->part_count; i++) {
        const struct program_part *part = &parts[i];
        if (part->slot == PROGRAM_SLOT_NONE)
            continue;
        asm_load(as, 4, RAX, SLOT(part->slot, bytes));
        asm_alu_imm(as, ASM_CMP, 4, RAX, 32);
        asm_jump_if(as, ASM_A, unsure);
        asm_load(as, 8, RDX, SLOT(part->slot, data));
        asm_mov_imm(as, RCX, maker->plan->text[part->text_first + part->text_bytes - 1]);
        asm_vfrom(as, 4, 1, RCX);
        asm_vspread(as, 1, 1);
        asm_vop_mem(as, ASM_PCMPEQB, 32, 1, 1, asm_at(RDX, 0));
        asm_vmask(as, 32, RCX, 1);
        asm_bzhi(as, 4, RCX, RCX, RAX);
        asm_jump_if(as, ASM_NE, unsure);
    }
}

/* A message that becomes text, of which every field has something. That it comes back can be seen
 * by its fields, mostly, and is sure if taking the text apart gives pieces of the same lengths:
 * then they lie where they were put. */
static void write_join(struct maker *maker, const struct program_emit *emit, struct asm_label *by_c)
{
    struct assembler *as = &maker->as;
    const struct program_template *template = &maker->plan->templates[emit->template];
    const struct program_part *parts = maker->plan->parts + template->part_first;
    struct asm_label skip = {0}, function = {0}, large = {0}, unsure = {0};
    asm_alu_store_imm(as, ASM_CMP, 1, SLOT(emit->slot, seen), 0);
    asm_jump_if(as, ASM_E, &skip);
    if (is_searched(maker->plan, template)) {
        for (uint32_t i = 0; i < template->part_count; i++) {
            if (parts[i].slot == PROGRAM_SLOT_NONE)
                continue;
            asm_alu_store_imm(as, ASM_CMP, 4, SLOT(parts[i].slot, bytes), 0);
            asm_jump_if(as, ASM_E, &function);
        }
        asm_alu_store_imm(as, ASM_CMP, 1, SLOT(emit->slot, marked), 0);
        asm_jump_if(as, ASM_NE, by_c);
        int32_t header = put_template(maker, emit);
        asm_load(as, 8, RSI, MACHINE(open));
        asm_mov(as, 8, RDI, R12);
        asm_alu_imm(as, ASM_ADD, 8, RSI, header);
        asm_alu(as, ASM_SUB, 8, RDI, RSI);
        asm_alu_imm(as, ASM_CMP, 8, RDI, 64);
        asm_jump_if(as, ASM_A, &large);
        asm_store(as, 1, asm_at(RSI, -1), RDI);
        see_apart(maker, template, &unsure);
        asm_jump(as, &skip);
        asm_bind(as, &unsure);
        take_apart(maker, template, by_c);
        for (uint32_t i = 0; i < template->part_count; i++) {
            if (parts[i].slot == PROGRAM_SLOT_NONE)
                continue;
            asm_load(as, 4, RAX, piece(i, PIECE_BYTES));
            asm_alu_load(as, ASM_CMP, 4, RAX, SLOT(parts[i].slot, bytes));
            asm_jump_if(as, ASM_NE, by_c);
        }
        asm_jump(as, &skip);
        asm_bind(as, &large);
        asm_load(as, 8, R12, MACHINE(open));
        asm_bind(as, &function);
    }
    by_function(maker, emit, by_c);
    asm_bind(as, &skip);
}

static void write_emit(struct maker *maker, const struct program_emit *emit, struct asm_label *by_c)
{
    switch (emit->kind) {
    case EMIT_LOST:
        asm_alu_store_imm(&maker->as, ASM_CMP, 1, SLOT(emit->slot, lost), 0);
        asm_jump_if(&maker->as, ASM_NE, by_c);
        break;
    case EMIT_MOVE:
        write_move(maker, emit, by_c);
        break;
    case EMIT_GATHER:
        write_gather(maker, emit, by_c);
        break;
    case EMIT_TEXT:
        write_made(maker, emit);
        break;
    case EMIT_DROPPED:
        write_dropped(maker, emit, by_c);
        break;
    case EMIT_SPLIT:
        write_split(maker, emit, by_c);
        break;
    default: /* EMIT_JOIN */
        write_join(maker, emit, by_c);
    }
}

/* ---- What is asked before ---- */

static const struct program_template *template_of(const struct plan *plan,
                                                  const struct program_emit *emit)
{
    bool has = emit->kind == EMIT_SPLIT || emit->kind == EMIT_TEXT || emit->kind == EMIT_JOIN ||
               emit->kind == EMIT_DROPPED;
    return has ? &plan->templates[emit->template] : NULL;
}

/* What the emits may write, beside the texts. */
static uint32_t places_of(const struct plan *plan, const struct program_table *table,
                          uint32_t *ret_bytes)
{
    uint32_t all = 0;
    *ret_bytes = 0;
    for (uint32_t i = 0; i < table->emit_count; i++) {
        const struct program_emit *emit = &plan->emits[table->emit_first + i];
        const struct program_template *template = template_of(plan, emit);
        uint32_t places = 1;
        if (emit->kind == EMIT_GATHER)
            places = plan->nodes[emit->node].leaf_count;
        for (uint32_t j = 0; template && j < template->part_count; j++, places++)
            *ret_bytes += plan->parts[template->part_first + j].text_bytes;
        *ret_bytes += (places + 1) * FIELD_BYTES_MAX;
        all += places + 1;
    }
    return all;
}

uint32_t machine_added_fields(const struct plan *plan, const struct program_table *table)
{
    uint32_t bytes;
    return places_of(plan, table, &bytes);
}

/* RCX: more by the text that the emit writes from that slot. */
static void add_text(struct maker *maker, uint16_t slot)
{
    if (slot != PROGRAM_SLOT_NONE)
        asm_alu_load(&maker->as, ASM_ADD, 4, RCX, SLOT(slot, bytes));
}

#define END_BYTES_MAX (1 << 20) /* of a message whose end is done by code: so sums have 32 bits */

static void ask_for_room(struct maker *maker, struct asm_label *by_c)
{
    struct assembler *as = &maker->as;
    const struct plan *plan = maker->plan;
    const struct program_table *table = maker->table->table;
    uint32_t bytes;
    const uint32_t places = places_of(plan, table, &bytes);
    as->failed |= places > 2048 || bytes > END_BYTES_MAX;
    asm_load(as, 8, RAX, MACHINE(limit));
    if (maker->root) { /* nested ones have FAST_NESTED_BYTES_MAX */
        asm_mov(as, 8, RCX, RBX);
        asm_alu_load(as, ASM_SUB, 8, RCX, FRAME(start));
        asm_alu_imm(as, ASM_CMP, 8, RCX, END_BYTES_MAX);
        asm_jump_if(as, ASM_A, by_c);
    }
    asm_mov_imm(as, RCX, bytes);
    for (uint32_t i = 0; i < table->emit_count; i++) {
        const struct program_emit *emit = &plan->emits[table->emit_first + i];
        const struct program_template *template = template_of(plan, emit);
        const struct program_node *node =
            emit->kind == EMIT_GATHER ? &plan->nodes[emit->node] : NULL;
        if (emit->kind == EMIT_MOVE || emit->kind == EMIT_SPLIT)
            add_text(maker, emit->slot);
        else if (emit->kind == EMIT_TEXT || emit->kind == EMIT_JOIN)
            for (uint32_t j = 0; j < template->part_count; j++)
                add_text(maker, plan->parts[template->part_first + j].slot);
        for (uint32_t j = 0; node && j < node->leaf_count; j++)
            add_text(maker, plan->emits[node->leaf_first + j].slot);
    }
    asm_alu(as, ASM_SUB, 8, RAX, R12);
    asm_alu(as, ASM_CMP, 8, RAX, RCX);
    asm_jump_if(as, ASM_L, by_c);
}

uint64_t machine_told_slots(const struct plan *plan, const struct program_table *table)
{
    uint64_t told = 0;
    for (uint32_t i = 0; i < table->emit_count; i++) {
        const struct program_emit *emit = &plan->emits[table->emit_first + i];
        const struct program_template *template = template_of(plan, emit);
        const struct program_node *node =
            emit->kind == EMIT_GATHER ? &plan->nodes[emit->node] : NULL;
        if (emit->kind != EMIT_LOST && emit->slot < PROGRAM_SLOT_MAX)
            told |= UINT64_C(1) << emit->slot;
        for (uint32_t j = 0; template && j < template->part_count; j++)
            if (plan->parts[template->part_first + j].slot < PROGRAM_SLOT_MAX)
                told |= UINT64_C(1) << plan->parts[template->part_first + j].slot;
        for (uint32_t j = 0; node && j < node->leaf_count; j++)
            if (plan->emits[node->leaf_first + j].slot < PROGRAM_SLOT_MAX)
                told |= UINT64_C(1) << plan->emits[node->leaf_first + j].slot;
    }
    return told;
}

void machine_write_end(struct maker *maker, struct asm_label *by_c)
{
    struct assembler *as = &maker->as;
    const struct program_table *table = maker->table->table;
    bool gathers = false;
    if (table->emit_count == 0)
        return;
    asm_store(as, 8, MACHINE(end_out), R12);
    ask_for_room(maker, by_c);
    for (uint32_t i = 0; i < table->emit_count; i++)
        gathers |= maker->plan->emits[table->emit_first + i].kind == EMIT_GATHER;
    if (gathers)
        asm_store_imm(as, 8, MACHINE(moved_in), 0);
    for (uint32_t i = 0; i < table->emit_count; i++)
        write_emit(maker, &maker->plan->emits[table->emit_first + i], by_c);
    if (gathers) {
        asm_load(as, 8, RAX, MACHINE(moved_in));
        asm_alu_store(as, ASM_ADD, 8, FRAME(moved_in), RAX);
    }
}

#endif /* CODE_HAVE */
