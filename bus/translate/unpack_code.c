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
 * The function of a table that only checks, or whose rules add no field, counts none: a message of
 * at most UNPACK_CODE_BYTES_MAX cannot have too many of them. Else they are counted, in RBP. If
 * what has been read is looked at again at the end (`waits`), or if something is carried, there is
 * a struct reading on the stack, as in the loop, which C's functions work on.
 *
 * Many a table waits only for numbers that are converted, in case one has lost something, or in
 * case a carrier comes back with what one had lost. If it has but texts, bytes and numbers, reading
 * it twice comes to the same as reading it once, and its function is *calm*: it has no slots and
 * counts nothing, as if nothing could be lost; and when something is, or when a carrier or anything
 * else unexpected comes, it gives up by leaving the whole message to the loop, from the beginning.
 *
 * This file has the functions as a whole, and what goes around them; the pieces are in the others
 * (unpack_make.h).
 *
 * Registers: there. Between these functions RBX and R15 stay; others are for who wants them. On
 * entry, and inside, RSP is 8 more than a multiple of 16; C is called through `call_c`.
 */
#include "translate/unpack_make.h"

#include <stdlib.h>

#if CODE_HAVE

void unpack_make_ones(struct maker *m, enum asm_reg scratch)
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
    unpack_make_ones(m, RCX);
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
    unpack_make_ones(m, RCX);
    asm_ret(&m->as);
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
    asm_mov_imm(&m->as, RAX, (uintptr_t)FUNCTION(unpack_message_late));
    asm_push(&m->as, RAX); /* any: C wants RSP a multiple of 16 */
    asm_call_reg(&m->as, RAX);
    asm_pop(&m->as, RCX);
    unpack_make_ones(m, RCX);
    asm_ret(&m->as);
}

/* ---- Functions ---- */

static make_way *const makes[QUICK_COUNT] = {
    [QUICK_STRING] = unpack_make_string,
    [QUICK_NOTED] = unpack_make_string,
    [QUICK_TEXT] = unpack_make_slot_text,
    [QUICK_STRINGS] = unpack_make_strings,
    [QUICK_BYTES] = unpack_make_bytes,
    [QUICK_INT32] = unpack_make_number,
    [QUICK_SINT32] = unpack_make_number,
    [QUICK_INT64] = unpack_make_number,
    [QUICK_SINT64] = unpack_make_number,
    [QUICK_BOOL] = unpack_make_number,
    [QUICK_FIXED32] = unpack_make_fixed,
    [QUICK_FIXED64] = unpack_make_fixed,
    [QUICK_MULTIPLY32] = unpack_make_multiply,
    [QUICK_MULTIPLY64] = unpack_make_multiply,
    [QUICK_DIVIDE32] = unpack_make_divide,
    [QUICK_DIVIDE64] = unpack_make_divide,
    [QUICK_MAP] = unpack_make_map,
    [QUICK_MESSAGE] = unpack_make_submessage,
    [QUICK_MESSAGES] = unpack_make_messages,
    [QUICK_TAKEN] = unpack_make_taken,
    [QUICK_CARRIED] = unpack_make_carried,
};

static bool ends_text(const struct quick *way)
{
    return way->way == QUICK_STRING || way->way == QUICK_STRINGS || way->way == QUICK_MESSAGE ||
           way->way == QUICK_MESSAGES; /* whose last field may be one */
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

/* What C wants to know of `here` besides, `next` excepted. RAX is lost. */
static void make_here(struct maker *m)
{
    struct assembler *as = &m->as;
    asm_mov_imm(as, RAX, (uintptr_t)m->table);
    asm_store(as, 8, IN_HERE(table), RAX);
    asm_store(as, 8, IN_HERE(message), MESSAGE);
    asm_store_imm(as, 8, IN_HERE(frame), 0);
    asm_store_imm(as, 8, IN_HERE(required), 0);
    asm_store_imm(as, 4, IN_HERE(owner), (int32_t)m->table->owner);
    if (!m->pieces)
        asm_store_imm(as, 8, IN_HERE(pieces), 0);
    if (m->waits)
        return;
    asm_store(as, 8, IN_HERE(end), STOP);
    asm_store(as, 4, IN_HERE(depth), DEPTH);
    asm_store_imm(as, 8, IN_HERE(slots), 0);
}

void unpack_make_show(struct maker *m)
{
    asm_store(&m->as, 4, IN_HERE(fields), FIELDS);
    if (m->waits)
        asm_store(&m->as, 8, IN_U(terminators_end), LATER);
    if (!m->shown)
        make_here(m);
}

/* As far as RAX says, a struct reading or NULL. */
static void call_loop(struct maker *m)
{
    struct assembler *as = &m->as;
    asm_vzeroupper(as);
    asm_push(as, RAX);
    asm_call_function(as, R10, m->waits ? FUNCTION(unpack_waiting) : FUNCTION(unpack_at_once_late));
    asm_pop(as, RCX);
    unpack_make_ones(m, RCX);
}

/* The loop does all of it. Nobody has seen yet which strings were to be ended. */
static void make_again(struct maker *m)
{
    struct assembler *as = &m->as;
    asm_bind(as, &m->other);
    asm_bind(as, &m->give_up);
    asm_load(as, 8, AT, IN_HERE(start));
    asm_load(as, 8, STOP, IN_HERE(end));
    asm_load(as, 4, DEPTH, IN_HERE(depth));
    make_c_arguments(m, m->table);
    asm_alu(as, ASM_XOR, 4, RAX, RAX);
    call_loop(m);
    asm_jump(as, &m->fail);
}

/* The loop does the rest, from AT on. */
static void make_give_up(struct maker *m)
{
    struct assembler *as = &m->as;
    if (m->calm) {
        make_again(m);
        return;
    }
    asm_bind(as, &m->other);
    if (!m->waits)
        asm_store(as, 1, asm_at(AT, 0), RAX);
    asm_bind(as, &m->give_up);
    if (m->counted)
        unpack_make_show(m);
    if (m->waits) {
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
    if (m->counted || m->calm)
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

/* What `here` is at the beginning, as far as it is used on the way; `fields` is in FIELDS
 * meanwhile.
 */
static void make_open(struct maker *m)
{
    struct assembler *as = &m->as;
    asm_alu_imm(as, ASM_SUB, 8, RSP, HERE_BYTES);
    asm_alu(as, ASM_XOR, 4, FIELDS, FIELDS);
    asm_store(as, 8, IN_HERE(start), AT);
    if (m->pieces)
        asm_store(as, 8, IN_HERE(pieces), FIELDS);
    if (m->waits) {
        asm_store(as, 8, IN_HERE(end), STOP);
        asm_store(as, 4, IN_HERE(depth), DEPTH);
        make_open_slots(m);
    }
    if (m->shown)
        make_here(m);
}

/* What make_again() and the end want to know. */
static void make_open_calmly(struct maker *m)
{
    struct assembler *as = &m->as;
    asm_alu_imm(as, ASM_SUB, 8, RSP, HERE_BYTES);
    asm_store(as, 8, IN_HERE(start), AT);
    asm_store(as, 8, IN_HERE(end), STOP);
    asm_store(as, 4, IN_HERE(depth), DEPTH);
    asm_load(as, 8, LATER, IN_U(terminators_end));
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
    if (m->calm)
        make_open_calmly(m);
    else if (m->counted)
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
    unpack_make_dispatch(m, 0, false);
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
    m->shown |= way->way == QUICK_TAKEN || way->way == QUICK_CARRIED;
    m->pieces |= (way->way == QUICK_MESSAGE || way->way == QUICK_TAKEN) && way->u.message.piece;
    return true;
}

static void collect_fields(struct maker *m)
{
    const struct bound_table *table = m->table;
    m->count = m->beside_count = 0;
    m->wide = m->pieces = m->shown = false;
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
        unpack_make_next(m, i, ends_text(field->way));
    }
    for (size_t i = 0; i < m->beside_count; i++) {
        asm_bind(&m->as, &m->besides[i].from);
        m->besides[i].make(m, &m->besides[i]);
    }
    for (size_t i = 0; i < m->count; i++) {
        unpack_make_edge(m, &m->fields[i].edge, &m->fields[i].next, &m->fields[i].undo);
        unpack_make_undo(m, &m->fields[i]);
    }
    unpack_make_edge(m, &m->empty, &m->begin, &m->done);
    unpack_make_chain(m);
    if (m->waits)
        make_more(m);
    make_give_up(m);
    make_return(m);
}

/* ---- The whole ---- */

/* Whether its function can be a calm one: nothing of the message is left at its end but what was
 * lost, and each of its fields may be stored twice. */
static bool is_calm(const struct maker *m)
{
    const struct bound_table *table = m->table;
    bool calm = table->waits;
    for (uint32_t i = 0; calm && i < table->table->emit_count; i++)
        calm = table->emits[i].make == MAKE_LOST;
    for (size_t i = 0; calm && i < m->count; i++) {
        const uint8_t way = m->fields[i].way->way;
        calm = way == QUICK_STRING || (way >= QUICK_BYTES && way <= QUICK_MAP);
    }
    return calm;
}

/* Whether a message in the source's version has as many fields as one in the target's, or more. */
static bool adds_fields(const struct maker *m)
{
    const struct plan *plan = m->binding->plan;
    const struct program_table *table = m->table->table;
    bool adds = m->waits || (table->flags & TABLE_MARK);
    for (uint32_t i = 0; i < table->op_count && !adds; i++) {
        const struct program_op *op = &plan->ops[table->op_first + i];
        adds = op->pipe != 0 || (op->action != ACTION_VERBATIM && op->action != ACTION_RENUMBER &&
                                 op->action != ACTION_MESSAGE && op->action != ACTION_SCALAR &&
                                 op->action != ACTION_OPEN);
    }
    return adds;
}

/* Whether @table has a function of its own. Sets which of its fields are in it. */
static bool begin_table(struct maker *m, const struct bound_table *table)
{
    if (table->staged || table->required_count > 0 || !table->table ||
        (table->translated && table->table->slot_count > SLOT_CLEARED_MAX))
        return false;
    m->table = table;
    m->waits = table->waits;
    collect_fields(m);
    m->calm = is_calm(m);
    m->counted = table->translated && !m->calm && (m->pieces || adds_fields(m));
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
    unpack_make_text_routine(m);
    unpack_make_varint_routine(m);
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
