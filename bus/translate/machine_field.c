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
#include "translate/machine_field.h"

#include "translate/code.h"

#if CODE_HAVE

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
    give_up_past_end(maker);
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

/* ---- Checking alone ---- */

static void check_body(struct maker *maker, struct field *field)
{
    struct assembler *as = &maker->as;
    const struct fast *way = field->way;
    const int32_t tag = (int32_t)tag_size(way);
    switch (way->value) {
    case FAST_STRING:
        machine_write_text(maker, field);
        break;
    case FAST_BYTES: /* that it passes the end is seen there */
        asm_load(as, 1, LENGTH, asm_at(RBX, tag));
        asm_test(as, 1, LENGTH, LENGTH);
        asm_jump_if(as, ASM_S, &field->by_c);
        asm_lea(as, RBX, asm_at_index(RBX, LENGTH, 1, tag + 1));
        break;
    case FAST_VARINT:
        machine_check_varint(maker, field);
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
        machine_write_text(maker, field);
        break;
    case FAST_TAKE_STRING:
    case FAST_TAKE_BYTES:
        if (maker->framed)
            machine_write_text(maker, field);
        else
            asm_jump(as, &maker->stuck);
        break;
    case FAST_PUT_FIXED:
        machine_write_fixed(maker, way);
        break;
    case FAST_PUT_VARINT:
        machine_write_varint(maker, field);
        break;
    case FAST_MULTIPLY:
    case FAST_DIVIDE:
    case FAST_MAP:
        machine_write_number(maker, field, false);
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
        if (machine_is_carried(maker, way))
            machine_write_carried(maker, field, false);
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
                machine_write_rare_text(maker, field);
            else if (maker->checks || way->code == FAST_PUT_VARINT)
                machine_write_long_varint(maker, field);
            else
                machine_write_number(maker, field, true);
            asm_jump(as, &field->done);
        }
        if (field->large.waiting) {
            asm_bind(as, &field->large);
            if (way->value == FAST_MESSAGE)
                write_message(maker, field, true);
            else
                machine_write_carried(maker, field, true);
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
