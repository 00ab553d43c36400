/*
 * Machine code for the way into the struct: what needs memory, or another message. These are
 * arrays, messages, messages whose fields go to slots, and what is carried.
 *
 * Memory is taken from the block as long as there is some; C takes another one. A message within is
 * read by the function of its table, which is called as those of C would be, with its own
 * registers.
 */
#include "translate/unpack_make.h"

#if CODE_HAVE

/* ---- Arrays ---- */

static void make_count_element(struct maker *m, struct field *field)
{
    asm_alu_store_imm(&m->as, ASM_CMP, 4, IN_U(run.elements), WIRE_ELEMENTS_MAX);
    jump_undo(m, ASM_AE, field);
    asm_alu_store_imm(&m->as, ASM_ADD, 4, IN_U(run.elements), 1);
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

/* R8: the place behind those RAX that the array has, which has room. */
static void make_next_element(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    asm_load(as, 8, R8, in_message(field->way->offset));
    asm_lea(as, R8, asm_at_index(R8, RAX, 8, 0));
    asm_alu_imm(as, ASM_ADD, 8, RAX, 1);
    asm_store(as, 8, in_message(field->way->quantifier), RAX);
}

static void make_beside_append(struct maker *m, struct beside *beside)
{
    struct assembler *as = &m->as;
    const struct quick *way = beside->field->way;
    const int32_t bytes = ARRAY_COUNT_MIN * sizeof(void *);
    struct asm_label full = {0}, some = {0};
    asm_test(as, 8, RAX, RAX);
    asm_jump_if(as, ASM_NE, &some);
    asm_load(as, 8, R8, IN_U(bump.pos));
    asm_lea(as, RAX, asm_at(R8, bytes));
    asm_alu_load(as, ASM_CMP, 8, RAX, IN_U(bump.end));
    asm_jump_if(as, ASM_A, &full);
    asm_store(as, 8, IN_U(bump.pos), RAX);
    asm_store(as, 8, in_message(way->offset), R8);
    asm_store_imm(as, 8, in_message(way->quantifier), 1);
    asm_jump(as, &beside->to);
    asm_bind(as, &some); /* 1 and 2 are no capacities */
    asm_alu_imm(as, ASM_CMP, 8, RAX, ARRAY_COUNT_MIN);
    asm_jump_if(as, ASM_AE, &full);
    make_next_element(m, beside->field);
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

/* append() of a pointer: its place becomes R8. Keeps RCX, RDX and RDI. */
static void make_append(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    struct beside *beside = unpack_make_beside(m, make_beside_append, field);
    asm_load(as, 8, RAX, in_message(field->way->quantifier));
    asm_lea(as, R8, asm_at(RAX, -1));
    asm_test(as, 8, RAX, R8);
    asm_jump_if(as, ASM_E, &beside->from); /* 0, or a power of two: array_is_full(), mostly */
    make_next_element(m, field);
    asm_bind(as, &beside->to);
}

void unpack_make_strings(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    unpack_make_read_text(m, field);
    make_count_element(m, field);
    make_append(m, field);
    asm_store(as, 8, asm_at(R8, 0), NEXT);
    asm_alu(as, ASM_ADD, 8, NEXT, RCX);
    make_end_later(m);
}

/* ---- Messages ---- */

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

/* new_message(): becomes RSI. Keeps RCX, RDX, RDI and R8. */
static void make_new(struct maker *m, struct field *field)
{
    struct beside *beside = unpack_make_beside(m, make_beside_new, field);
    if (!unpack_make_new(m, field->way->u.message.table, &beside->from))
        asm_jump(&m->as, &beside->from);
    asm_bind(&m->as, &beside->to);
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

static void make_beside_exists(struct maker *m, struct beside *beside)
{
    asm_load(&m->as, 8, RSI, in_message(beside->field->way->offset));
    asm_jump(&m->as, &beside->to);
}

void unpack_make_submessage(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    struct beside *exists = unpack_make_beside(m, make_beside_exists, field);
    unpack_make_read_length(m, field);
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

void unpack_make_messages(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    unpack_make_read_length(m, field);
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

/* The text at RDI, before NEXT, for its slot, of those at RSI. R10, if @notes: the slots that got
 * something. */
static void make_taken_text(struct maker *m, const struct program_op *op, bool notes,
                            struct asm_label *in_c)
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
    if (!notes)
        return;
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

void unpack_make_taken(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    struct beside *beside = unpack_make_beside(m, make_beside_taken, field);
    const struct plan *plan = m->binding->plan;
    const struct program_table *table = &plan->tables[field->way->u.message.op->op->table];
    const struct program_op *ops = plan->ops + table->op_first;
    const uint64_t piece = field->way->u.message.piece;
    const bool notes = field->way->u.message.op->op->action == ACTION_RESIDUE;
    struct asm_label end = {0};
    unpack_make_read_length(m, field);
    asm_mov(as, 8, R8, RDI);
    make_check_depth(m, field);
    if (piece) {
        asm_bit_mem(as, ASM_BT, 8, IN_HERE(pieces), (unsigned)__builtin_ctzll(piece));
        jump_undo(m, ASM_B, field);
    }
    asm_load(as, 8, RSI, IN_HERE(slots));
    if (notes)
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
        make_taken_text(m, &ops[i], notes, &beside->from);
        asm_alu(as, ASM_CMP, 8, RDI, NEXT);
        asm_jump_if(as, ASM_AE, &end);
        asm_bind(as, &other);
    }
    asm_jump(as, &beside->from); /* another one, or out of order */
    asm_bind(as, &end);
    make_taken_end(m, field, &beside->from);
    asm_bind(as, &beside->to);
    unpack_make_growing(m);
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

void unpack_make_carried(struct maker *m, struct field *field)
{
    struct assembler *as = &m->as;
    unpack_make_read_text(m, field);
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

#endif
