/*
 * Machine code for what a message does at its end (unpack_emit.c), straight into the struct.
 *
 * Each emit that bind_emit.c has found to need no wire bytes has code of its own, which first sees
 * whether all is as it mostly is: texts that are short, room for them, nothing lost, nothing to
 * carry. If anything is not, it has done nothing yet, and C does this emit and all behind it.
 * (Slots point into the private copy: no carrier has been opened, for that is C's, and so nothing
 * was restored.) Some emits are left to C altogether: those of required fields, of presence that is
 * noted, of templates without fields.
 *
 * Texts are compared, searched, and put together 32 bytes at a step, of which as many may be read
 * behind the private copy, and behind the plan's text; as many are asked for behind what is
 * written.
 */
#include "translate/unpack_make.h"

#if CODE_HAVE

#define SLOTS AT /* a message's end has no field to be at */
#define STEP_BYTES 32
#define LITERAL_BYTES_MAX 16
#define SPLIT_BYTES_MAX 64 /* a text that is taken apart here */
#define CUT_MAX 3          /* and into how many, less one */

/* A template whose texts come from slots. */
struct shape {
    const struct program_part *parts;
    uint32_t count;
    uint32_t literal_bytes;
    uint32_t fields;
};

/* False: it is for C. */
static bool shape_of(const struct maker *m, uint32_t index, struct shape *ret_shape)
{
    const struct plan *plan = m->binding->plan;
    const struct program_template *template = &plan->templates[index];
    *ret_shape = (struct shape){plan->parts + template->part_first, template->part_count, 0, 0};
    for (uint32_t i = 0; i < ret_shape->count; i++) {
        const struct program_part *part = &ret_shape->parts[i];
        if (part->text_bytes > LITERAL_BYTES_MAX)
            return false;
        ret_shape->literal_bytes += part->text_bytes;
        ret_shape->fields += part->slot != PROGRAM_SLOT_NONE;
    }
    return ret_shape->fields > 0;
}

static const uint8_t *literal_of(const struct maker *m, const struct program_part *part)
{
    return m->binding->text + part->text_first;
}

/* 32 times @byte, into the vector register 1. False: too many different ones. */
static bool make_constant(struct maker *m, uint8_t byte, enum asm_reg scratch)
{
    size_t i = 0;
    while (i < m->constant_count && m->constants[i].byte != byte)
        i++;
    if (i == CONSTANT_MAX)
        return false;
    if (i == m->constant_count)
        m->constants[m->constant_count++] = (struct constant){.byte = byte};
    asm_lea_label(&m->as, scratch, &m->constants[i].at);
    asm_vload(&m->as, STEP_BYTES, 1, asm_at(scratch, 0));
    return true;
}

/* Room for that many fields and strings more. */
static void make_check_room(struct maker *m, uint32_t fields, uint32_t strings,
                            struct asm_label *slow)
{
    struct assembler *as = &m->as;
    asm_alu_imm(as, ASM_CMP, 4, FIELDS, (int32_t)(WIRE_FIELDS_MAX - fields));
    asm_jump_if(as, ASM_A, slow);
    if (strings == 0)
        return;
    asm_lea(as, RAX,
            asm_at(U, (int32_t)(offsetof(struct unpack, terminators) +
                                (TERMINATOR_MAX - strings) * sizeof(uint8_t *))));
    asm_alu(as, ASM_CMP, 8, LATER, RAX);
    asm_jump_if(as, ASM_A, slow);
}

/* Something is stored: a carrier cannot grow any more. */
static void make_fields(struct maker *m, uint32_t count)
{
    asm_alu_imm(&m->as, ASM_ADD, 4, FIELDS, (int32_t)count);
    asm_store_imm(&m->as, 8, IN_U(growing.at), 0);
}

/* RCX bytes at RDX are the string at @member, and are ended later. Both are lost. */
static void make_put_text(struct maker *m, struct asm_mem member)
{
    struct assembler *as = &m->as;
    asm_store(as, 8, member, RDX);
    asm_alu(as, ASM_ADD, 8, RDX, RCX);
    asm_store(as, 8, asm_at(LATER, 0), RDX);
    asm_alu_imm(as, ASM_ADD, 8, LATER, 8);
}

/* ---- Moved ---- */

static bool make_moved_text(struct maker *m, const struct bound_emit *bound, struct asm_label *slow)
{
    struct assembler *as = &m->as;
    struct asm_label nothing = {0};
    if (bound->emit->required != PROGRAM_REQUIRED_NONE ||
        (bound->emit->flags & EMIT_SOURCE_PRESENCE))
        return false;
    asm_load(as, 4, RCX, IN_SLOT(SLOTS, bound->slot, bytes));
    asm_test(as, 4, RCX, RCX);
    asm_jump_if(as, ASM_E, &nothing);
    make_check_room(m, 1, 1, slow);
    asm_load(as, 8, RDX, IN_SLOT(SLOTS, bound->slot, data));
    make_put_text(m, in_message(bound->field->offset));
    make_fields(m, 1);
    asm_bind(as, &nothing);
    return true;
}

static bool make_moved_number(struct maker *m, const struct bound_emit *bound,
                              struct asm_label *slow)
{
    struct assembler *as = &m->as;
    const struct bound_op *field = bound->field;
    struct asm_label nothing = {0};
    if (bound->emit->required != PROGRAM_REQUIRED_NONE ||
        (bound->emit->flags & EMIT_SOURCE_PRESENCE))
        return false;
    asm_load(as, 8, RCX, IN_SLOT(SLOTS, bound->slot, mapped));
    asm_test(as, 8, RCX, RCX);
    asm_jump_if(as, ASM_E, &nothing);
    make_check_room(m, 1, 0, slow);
    if (field->quantifier != 0)
        asm_store_imm(as, 4, in_message(field->quantifier), 1);
    asm_store(as, field->size == 4 ? 4 : 8, in_message(field->offset), RCX);
    make_fields(m, 1);
    asm_bind(as, &nothing);
    return true;
}

/* The message that an emit makes: RSI. False: it is for C. */
static bool make_made(struct maker *m, const struct bound_op *field, uint32_t fields,
                      uint32_t strings, struct asm_label *slow)
{
    struct assembler *as = &m->as;
    make_check_room(m, fields, strings, slow);
    asm_alu_store_imm(as, ASM_CMP, 4, IN_HERE(depth), WIRE_DEPTH_MAX);
    asm_jump_if(as, ASM_AE, slow);
    asm_alu_store_imm(as, ASM_CMP, 8, in_message(field->offset), 0);
    asm_jump_if(as, ASM_NE, slow);
    if (!unpack_make_new(m, field->table, slow))
        return false;
    asm_store(as, 8, in_message(field->offset), RSI);
    return true;
}

static bool make_gathered(struct maker *m, const struct bound_emit *bound, struct asm_label *slow)
{
    struct assembler *as = &m->as;
    const struct plan *plan = m->binding->plan;
    const struct program_node *node = &plan->nodes[bound->emit->node];
    const struct program_emit *leaves = &plan->emits[node->leaf_first];
    struct asm_label nothing = {0};
    if (node->leaf_count == 0)
        return false;
    for (uint32_t i = 0; i < node->leaf_count; i++)
        if (leaves[i].required != PROGRAM_REQUIRED_NONE || (leaves[i].flags & EMIT_SOURCE_PRESENCE))
            return false;
    asm_load(as, 4, RAX, IN_SLOT(SLOTS, leaves[0].slot, bytes));
    for (uint32_t i = 1; i < node->leaf_count; i++)
        asm_alu_load(as, ASM_OR, 4, RAX, IN_SLOT(SLOTS, leaves[i].slot, bytes));
    asm_test(as, 4, RAX, RAX);
    asm_jump_if(as, ASM_E, &nothing);
    bool made = make_made(m, bound->field, node->leaf_count + 1, node->leaf_count, slow);
    for (uint32_t i = 0; i < node->leaf_count && made; i++) {
        struct asm_label empty = {0};
        asm_load(as, 4, RCX, IN_SLOT(SLOTS, leaves[i].slot, bytes));
        asm_test(as, 4, RCX, RCX);
        asm_jump_if(as, ASM_E, &empty);
        asm_load(as, 8, RDX, IN_SLOT(SLOTS, leaves[i].slot, data));
        make_put_text(m, asm_at(RSI, (int32_t)bound->parts[i]->offset));
        asm_alu_imm(as, ASM_ADD, 4, FIELDS, 1);
        asm_bind(as, &empty);
    }
    if (made)
        make_fields(m, 1);
    asm_bind(as, &nothing);
    return made;
}

static bool make_lost(struct maker *m, const struct bound_emit *bound, struct asm_label *slow)
{
    asm_alu_store_imm(&m->as, ASM_CMP, 1, IN_SLOT(SLOTS, bound->slot, lost), 0);
    asm_jump_if(&m->as, ASM_NE, slow);
    return true;
}

/* ---- Texts put together ---- */

/* RAX: of all fields together, and its flags. */
static void make_measure(struct maker *m, const struct shape *shape)
{
    struct assembler *as = &m->as;
    asm_alu(as, ASM_XOR, 4, RAX, RAX);
    for (uint32_t i = 0; i < shape->count; i++)
        if (shape->parts[i].slot != PROGRAM_SLOT_NONE)
            asm_alu_load(as, ASM_ADD, 4, RAX, IN_SLOT(SLOTS, shape->parts[i].slot, bytes));
    asm_test(as, 4, RAX, RAX);
}

/* @bytes of @literal at most 4 at once. Returns how many. */
static uint32_t next_chunk(const uint8_t *literal, uint32_t bytes, int32_t *ret_chunk)
{
    uint32_t count = bytes >= 4 ? 4 : bytes >= 2 ? 2 : 1;
    uint32_t chunk = 0;
    memcpy(&chunk, literal, count);
    *ret_chunk = count == 2 ? (int16_t)chunk : count == 1 ? (int8_t)chunk : (int32_t)chunk;
    return count;
}

static void make_compare_literal(struct maker *m, const uint8_t *literal, uint32_t bytes,
                                 struct asm_mem at, struct asm_label *differs)
{
    while (bytes > 0) {
        int32_t chunk;
        uint32_t count = next_chunk(literal, bytes, &chunk);
        asm_alu_store_imm(&m->as, ASM_CMP, count, at, chunk);
        asm_jump_if(&m->as, ASM_NE, differs);
        at.disp += (int32_t)count;
        literal += count;
        bytes -= count;
    }
}

/* As equals(): slow if it is not, or cannot be seen in a few steps. */
static bool make_dropped(struct maker *m, const struct bound_emit *bound, struct asm_label *slow)
{
    struct assembler *as = &m->as;
    struct asm_label nothing = {0}, filled = {0};
    struct shape shape;
    if (!shape_of(m, bound->emit->template, &shape))
        return false;
    make_measure(m, &shape);
    asm_jump_if(as, ASM_NE, &filled);
    asm_alu_store_imm(as, ASM_CMP, 4, IN_SLOT(SLOTS, bound->slot, bytes), 0);
    asm_jump_if(as, ASM_NE, slow);
    asm_jump(as, &nothing);
    asm_bind(as, &filled);
    asm_alu_imm(as, ASM_ADD, 4, RAX, (int32_t)shape.literal_bytes);
    asm_alu_load(as, ASM_CMP, 4, RAX, IN_SLOT(SLOTS, bound->slot, bytes));
    asm_jump_if(as, ASM_NE, slow);
    asm_load(as, 8, RDX, IN_SLOT(SLOTS, bound->slot, data));
    for (uint32_t i = 0; i < shape.count; i++) {
        const struct program_part *part = &shape.parts[i];
        struct asm_label empty = {0};
        make_compare_literal(m, literal_of(m, part), part->text_bytes, asm_at(RDX, 0), slow);
        if (part->text_bytes > 0)
            asm_alu_imm(as, ASM_ADD, 8, RDX, (int32_t)part->text_bytes);
        if (part->slot == PROGRAM_SLOT_NONE)
            continue;
        asm_load(as, 4, RCX, IN_SLOT(SLOTS, part->slot, bytes));
        asm_test(as, 4, RCX, RCX);
        asm_jump_if(as, ASM_E, &empty);
        asm_alu_imm(as, ASM_CMP, 4, RCX, STEP_BYTES);
        asm_jump_if(as, ASM_A, slow);
        asm_load(as, 8, RDI, IN_SLOT(SLOTS, part->slot, data));
        asm_vload(as, STEP_BYTES, 0, asm_at(RDI, 0));
        asm_vop_mem(as, ASM_PCMPEQB, STEP_BYTES, 0, 0, asm_at(RDX, 0));
        asm_vmask(as, STEP_BYTES, RAX, 0);
        asm_unary(as, ASM_NOT, 4, RAX);
        asm_bzhi(as, 4, RAX, RAX, RCX);
        asm_jump_if(as, ASM_NE, slow);
        asm_alu(as, ASM_ADD, 8, RDX, RCX);
        asm_bind(as, &empty);
    }
    asm_bind(as, &nothing);
    return true;
}

static void make_put_literal(struct maker *m, const uint8_t *literal, uint32_t bytes)
{
    int32_t at = 0;
    while (bytes > 0) {
        int32_t chunk;
        uint32_t count = next_chunk(literal, bytes, &chunk);
        asm_store_imm(&m->as, count, asm_at(RSI, at), chunk);
        at += (int32_t)count;
        literal += count;
        bytes -= count;
    }
    if (at > 0)
        asm_alu_imm(&m->as, ASM_ADD, 8, RSI, at);
}

/* The slot's text to RSI, a step at least. */
static void make_put_slot(struct maker *m, uint16_t slot)
{
    struct assembler *as = &m->as;
    struct asm_label empty = {0}, again = {0};
    asm_load(as, 4, RCX, IN_SLOT(SLOTS, slot, bytes));
    asm_load(as, 8, RDI, IN_SLOT(SLOTS, slot, data));
    asm_test(as, 4, RCX, RCX);
    asm_jump_if(as, ASM_E, &empty);
    asm_bind(as, &again);
    asm_vload(as, STEP_BYTES, 0, asm_at(RDI, 0));
    asm_vstore(as, STEP_BYTES, asm_at(RSI, 0), 0);
    asm_alu_imm(as, ASM_ADD, 8, RDI, STEP_BYTES);
    asm_alu_imm(as, ASM_ADD, 8, RSI, STEP_BYTES);
    asm_alu_imm(as, ASM_SUB, 8, RCX, STEP_BYTES);
    asm_jump_if(as, ASM_A, &again);
    asm_alu(as, ASM_ADD, 8, RSI, RCX); /* back to the text's end */
    asm_bind(as, &empty);
}

/* The template's text, of RAX bytes without literals, in new memory. */
static void make_put_made(struct maker *m, const struct bound_op *field, const struct shape *shape,
                          struct asm_label *slow)
{
    struct assembler *as = &m->as;
    const int32_t bytes = (int32_t)shape->literal_bytes;
    make_check_room(m, 1, 0, slow);
    asm_load(as, 8, RSI, IN_U(bump.pos));
    asm_lea(as, RDX, asm_at_index(RSI, RAX, 1, bytes + STEP_BYTES + 8));
    asm_alu_load(as, ASM_CMP, 8, RDX, IN_U(bump.end));
    asm_jump_if(as, ASM_A, slow);
    asm_lea(as, RDX, asm_at_index(RSI, RAX, 1, bytes + 8));
    asm_alu_imm(as, ASM_AND, 8, RDX, -8);
    asm_store(as, 8, IN_U(bump.pos), RDX);
    asm_store(as, 8, in_message(field->offset), RSI);
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct program_part *part = &shape->parts[i];
        make_put_literal(m, literal_of(m, part), part->text_bytes);
        if (part->slot != PROGRAM_SLOT_NONE)
            make_put_slot(m, part->slot);
    }
    asm_store_imm(as, 1, asm_at(RSI, 0), 0);
    make_fields(m, 1);
}

static bool make_template(struct maker *m, const struct bound_emit *bound, struct asm_label *slow)
{
    struct asm_label nothing = {0};
    struct shape shape;
    if (bound->emit->required != PROGRAM_REQUIRED_NONE ||
        !shape_of(m, bound->emit->template, &shape))
        return false;
    make_measure(m, &shape);
    asm_jump_if(&m->as, ASM_E, &nothing);
    make_put_made(m, bound->field, &shape, slow);
    asm_bind(&m->as, &nothing);
    return true;
}

/* As comes_apart(): no field's text has the last byte of the literal before it. */
static bool make_comes_apart(struct maker *m, const struct shape *shape, struct asm_label *slow)
{
    struct assembler *as = &m->as;
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct program_part *part = &shape->parts[i];
        if (part->slot == PROGRAM_SLOT_NONE)
            continue;
        asm_load(as, 4, RCX, IN_SLOT(SLOTS, part->slot, bytes));
        asm_test(as, 4, RCX, RCX);
        asm_jump_if(as, ASM_E, slow); /* not all are filled */
        if (i == 0)
            continue;
        if (part->text_bytes == 0 ||
            !make_constant(m, literal_of(m, part)[part->text_bytes - 1], RDX))
            return false;
        asm_alu_imm(as, ASM_CMP, 4, RCX, STEP_BYTES);
        asm_jump_if(as, ASM_A, slow);
        asm_load(as, 8, RDX, IN_SLOT(SLOTS, part->slot, data));
        asm_vop_mem(as, ASM_PCMPEQB, STEP_BYTES, 0, 1, asm_at(RDX, 0));
        asm_vmask(as, STEP_BYTES, RAX, 0);
        asm_bzhi(as, 4, RAX, RAX, RCX);
        asm_jump_if(as, ASM_NE, slow);
    }
    return true;
}

static bool make_joined(struct maker *m, const struct bound_emit *bound, struct asm_label *slow)
{
    struct assembler *as = &m->as;
    struct asm_label nothing = {0};
    struct shape shape;
    if (bound->emit->required != PROGRAM_REQUIRED_NONE ||
        !shape_of(m, bound->emit->template, &shape))
        return false;
    asm_alu_store_imm(as, ASM_CMP, 1, IN_SLOT(SLOTS, bound->slot, seen), 0);
    asm_jump_if(as, ASM_E, &nothing);
    asm_alu_store_imm(as, ASM_CMP, 1, IN_SLOT(SLOTS, bound->slot, marked), 0);
    asm_jump_if(as, ASM_NE, slow);
    bool apart = make_comes_apart(m, &shape, slow);
    if (apart) {
        make_measure(m, &shape);
        make_put_made(m, bound->field, &shape, slow);
    }
    asm_bind(as, &nothing);
    return apart;
}

/* ---- Texts taken apart ---- */

/* RAX: where @byte is in the 64 bytes at RDX. */
static bool make_find(struct maker *m, uint8_t byte)
{
    struct assembler *as = &m->as;
    if (!make_constant(m, byte, RDI))
        return false;
    asm_vop_mem(as, ASM_PCMPEQB, STEP_BYTES, 0, 1, asm_at(RDX, 0));
    asm_vmask(as, STEP_BYTES, RAX, 0);
    asm_vop_mem(as, ASM_PCMPEQB, STEP_BYTES, 0, 1, asm_at(RDX, STEP_BYTES));
    asm_vmask(as, STEP_BYTES, RDI, 0);
    asm_shift(as, ASM_SHL, 8, RDI, STEP_BYTES);
    asm_alu(as, ASM_OR, 8, RAX, RDI);
    return true;
}

/* As cut_at_last(), of the first RCX bytes at RDX: @cut is where the literal begins. */
static bool make_cut(struct maker *m, const uint8_t *literal, uint32_t bytes, enum asm_reg cut,
                     struct asm_label *slow)
{
    struct assembler *as = &m->as;
    if (bytes == 0)
        return false;
    for (uint32_t i = 0; i < bytes; i++) {
        if (!make_find(m, literal[i]))
            return false;
        if (i > 0)
            asm_shift(as, ASM_SHR, 8, RAX, i);
        if (i > 0)
            asm_alu(as, ASM_AND, 8, cut, RAX);
        else
            asm_mov(as, 8, cut, RAX);
    }
    asm_alu_imm(as, ASM_SUB, 4, RCX, (int32_t)bytes);
    asm_jump_if(as, ASM_BE, slow);
    asm_bzhi(as, 8, cut, cut, RCX);       /* a byte behind it */
    asm_alu_imm(as, ASM_AND, 8, cut, -2); /* and one before */
    asm_jump_if(as, ASM_E, slow);
    asm_scan(as, ASM_BSR, 8, cut, cut);
    asm_mov(as, 4, RCX, cut);
    return true;
}

/* As run_take_apart(): R8 becomes the length up to the last literal, and the cuts what make_cut()
 * gives. RDX is the text, RCX its length. */
static bool make_take_apart(struct maker *m, const struct shape *shape, const enum asm_reg *cuts,
                            struct asm_label *slow)
{
    struct assembler *as = &m->as;
    const struct program_part *first = &shape->parts[0];
    uint32_t count = shape->count;
    asm_alu_imm(as, ASM_CMP, 4, RCX, SPLIT_BYTES_MAX);
    asm_jump_if(as, ASM_A, slow);
    if (shape->parts[count - 1].slot == PROGRAM_SLOT_NONE) {
        const struct program_part *last = &shape->parts[--count];
        asm_alu_imm(as, ASM_SUB, 4, RCX, (int32_t)last->text_bytes);
        asm_jump_if(as, ASM_B, slow);
        make_compare_literal(m, literal_of(m, last), last->text_bytes, asm_at_index(RDX, RCX, 1, 0),
                             slow);
    }
    if (count < 2 || count > CUT_MAX + 1)
        return false;
    asm_mov(as, 4, R8, RCX);
    for (uint32_t i = count; i-- > 1;)
        if (shape->parts[i].slot == PROGRAM_SLOT_NONE ||
            !make_cut(m, literal_of(m, &shape->parts[i]), shape->parts[i].text_bytes, cuts[i - 1],
                      slow))
            return false;
    if (first->text_bytes > 0) {
        asm_alu_imm(as, ASM_CMP, 4, RCX, (int32_t)first->text_bytes);
        asm_jump_if(as, ASM_BE, slow);
        make_compare_literal(m, literal_of(m, first), first->text_bytes, asm_at(RDX, 0), slow);
    }
    return first->slot != PROGRAM_SLOT_NONE;
}

static bool make_split(struct maker *m, const struct bound_emit *bound, struct asm_label *slow)
{
    static const enum asm_reg cuts[CUT_MAX] = {R9, R10, R11};
    struct assembler *as = &m->as;
    struct asm_label nothing = {0};
    struct shape shape;
    if (bound->emit->required != PROGRAM_REQUIRED_NONE ||
        (bound->emit->flags & EMIT_SOURCE_PRESENCE) || !shape_of(m, bound->emit->template, &shape))
        return false;
    asm_load(as, 4, RCX, IN_SLOT(SLOTS, bound->slot, bytes));
    asm_test(as, 4, RCX, RCX);
    asm_jump_if(as, ASM_E, &nothing);
    asm_load(as, 8, RDX, IN_SLOT(SLOTS, bound->slot, data));
    bool made =
        make_take_apart(m, &shape, cuts, slow) && make_made(m, bound->field, 1, shape.fields, slow);
    asm_mov(as, 8, RDI, RDX);
    for (uint32_t i = 0; i < shape.fields && made; i++) {
        const int32_t literal = (int32_t)shape.parts[i].text_bytes;
        const enum asm_reg end = i + 1 < shape.fields ? cuts[i] : R8;
        asm_mov(as, 4, RCX, end);
        if (i > 0)
            asm_alu(as, ASM_SUB, 4, RCX, cuts[i - 1]);
        if (literal > 0)
            asm_alu_imm(as, ASM_SUB, 4, RCX, literal);
        if (i > 0)
            asm_lea(as, RDX, asm_at_index(RDI, cuts[i - 1], 1, literal));
        else
            asm_lea(as, RDX, asm_at(RDI, literal));
        make_put_text(m, asm_at(RSI, (int32_t)bound->parts[i]->offset));
    }
    if (made)
        make_fields(m, 1);
    asm_bind(as, &nothing);
    return made;
}

/* ---- The whole ---- */

/* False: it is for C. What was made for it then only leads there: it does nothing, and all its
 * labels are bound. */
static bool make_emit(struct maker *m, const struct bound_emit *bound, struct asm_label *slow)
{
    switch (bound->make) {
    case MAKE_LOST:
        return make_lost(m, bound, slow);
    case MAKE_DROPPED:
        return make_dropped(m, bound, slow);
    case MAKE_TEXT:
        return make_template(m, bound, slow);
    case MAKE_JOIN:
        return make_joined(m, bound, slow);
    case MAKE_MOVED_TEXT:
        return make_moved_text(m, bound, slow);
    case MAKE_MOVED_NUMBER:
        return make_moved_number(m, bound, slow);
    case MAKE_SPLIT:
        return make_split(m, bound, slow);
    case MAKE_GATHERED:
        return make_gathered(m, bound, slow);
    default:
        return false;
    }
}

/* unpack_end_strings(), of those noted from RSI on, two at a step: behind the last one is one that
 * does no harm. RAX becomes 0. */
static void make_end_strings(struct maker *m)
{
    struct assembler *as = &m->as;
    struct asm_label again = {0}, none = {0};
    asm_alu(as, ASM_CMP, 8, RSI, LATER);
    asm_jump_if(as, ASM_E, &none);
    asm_load(as, 8, RDX, IN_HERE(end));
    asm_load(as, 1, RCX, asm_at(RDX, 0));
    asm_store(as, 8, asm_at(LATER, 0), RDX);
    asm_bind(as, &again);
    asm_load(as, 8, RAX, asm_at(RSI, 0));
    asm_load(as, 8, RDI, asm_at(RSI, 8));
    asm_store_imm(as, 1, asm_at(RAX, 0), 0);
    asm_store_imm(as, 1, asm_at(RDI, 0), 0);
    asm_alu_imm(as, ASM_ADD, 8, RSI, 16);
    asm_alu(as, ASM_CMP, 8, RSI, LATER);
    asm_jump_if(as, ASM_B, &again);
    asm_store(as, 1, asm_at(RDX, 0), RCX); /* for the message around it */
    asm_bind(as, &none);
    asm_alu(as, ASM_XOR, 4, RAX, RAX);
    asm_load(as, 4, DEPTH, IN_HERE(depth));
}

/* That, and what unpack_close() puts back. */
static void make_close(struct maker *m)
{
    struct assembler *as = &m->as;
    asm_load(as, 8, RSI, IN_HERE(terminators));
    asm_load(as, 4, RAX, IN_HERE(slots_used));
    asm_store(as, 4, IN_U(run.slots_used), RAX);
    asm_store(as, 8, IN_U(terminators_end), RSI);
    make_end_strings(m);
}

/* C does all emits from the one on whose number is in RDX. */
static void make_slow_close(struct maker *m)
{
    struct assembler *as = &m->as;
    asm_bind(as, &m->slow_close);
    unpack_make_show(m);
    asm_mov(as, 8, RDI, U);
    asm_mov(as, 8, RSI, RSP);
    unpack_make_call(m, FUNCTION(unpack_close_from));
    asm_load(as, 4, DEPTH, IN_HERE(depth));
    asm_jump(as, &m->fail);
}

void unpack_make_end(struct maker *m)
{
    struct assembler *as = &m->as;
    const struct bound_table *table = m->table;
    const uint32_t count = table->table->emit_count;
    struct asm_label returns = {0};
    uint32_t made = 0;
    bool all = true;
    if (m->calm) {
        asm_load(as, 8, RSI, IN_U(terminators_end));
        make_end_strings(m);
        return;
    }
    m->slow_close = (struct asm_label){0};
    m->constant_count = 0;
    if (count > 0)
        asm_load(as, 8, SLOTS, IN_HERE(slots));
    for (; made < count && made < EMIT_CODE_MAX && all; made++) {
        m->slow[made] = (struct asm_label){0};
        all = make_emit(m, &table->emits[made], &m->slow[made]);
        if (!all)
            asm_jump(as, &m->slow[made]);
    }
    if (all && made < count) {
        asm_mov_imm(as, RDX, made);
        asm_jump(as, &m->slow_close);
    } else if (all) {
        make_close(m);
        asm_jump(as, &returns);
    }
    for (uint32_t i = 0; i < made; i++) {
        asm_bind(as, &m->slow[i]);
        asm_mov_imm(as, RDX, i);
        asm_jump(as, &m->slow_close);
    }
    make_slow_close(m);
    for (size_t i = 0; i < m->constant_count; i++) {
        uint8_t bytes[STEP_BYTES];
        memset(bytes, m->constants[i].byte, sizeof(bytes));
        asm_bind(as, &m->constants[i].at);
        asm_data(as, bytes, sizeof(bytes));
    }
    asm_bind(as, &returns); /* what returns follows */
}

#endif
