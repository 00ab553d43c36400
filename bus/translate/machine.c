/*
 * Machine code for a table: a function for it as the outermost message, and one for each table that
 * is reached from it as a nested one, in one piece of code. See machine.h, and machine_make.h for
 * what the registers are.
 *
 * What is relied on: the program is verified and its records are made (fast.c), and neither changes
 * while the plan lives; so their addresses are in the code. The caller has asked for the room of
 * the whole (quick_fields()), so a value needs no question but whether it ends where the next field
 * may begin. The code reads only the private copy and writes only behind run->out, within what was
 * asked for.
 *
 * A nested function returns with its message done. If it cannot do it, nobody gets to know where it
 * was but run->stuck: `unwind` goes straight back to the outermost function's field, as the loop
 * forgets what it has written.
 */
#include "translate/machine_make.h"

#include <stdlib.h>

#include "translate/code.h"

#if CODE_HAVE

#define CALL_SAVED_COUNT 6
#define FRAME_BYTES ((int32_t)((sizeof(struct frame) + 31) & ~(size_t)31))

static_assert(sizeof(struct slot) % 16 == 0 && sizeof(struct slot) >= 32,
              "slots are cleared by stores of 32 bytes");
static_assert(sizeof(bool) == 1, "flags are asked as bytes");

struct machine_piece {
    struct machine_piece *next;
    struct code *code;
};

static const enum asm_reg saved[CALL_SAVED_COUNT] = {RBX, RBP, R12, R13, R14, R15};

/* relaxed everywhere: set by tests, before plans run */
static atomic_uint runs_wanted = MACHINE_RUNS;

void machine_set_runs(uint32_t runs)
{
    atomic_store_explicit(&runs_wanted, runs ? runs : MACHINE_RUNS, memory_order_relaxed);
}

/* ---- What all functions use ---- */

static void load_constants(struct maker *maker)
{
    struct assembler *as = &maker->as;
    asm_lea_label(as, RCX, &maker->constants);
    asm_vload(as, 32, VEC_ONES, asm_at(RCX, 0));
    asm_mov_imm(as, R10, UINT64_C(0x7f7f7f7f7f7f7f7f));
    asm_mov_imm(as, R11, UINT64_C(0x8080808080808080));
}

static void write_common(struct maker *maker)
{
    struct assembler *as = &maker->as;
    asm_bind(as, &maker->unwind); /* RBX: where a nested message is stuck */
    asm_store(as, 8, RUN(stuck), RBX);
    asm_load(as, 8, RSP, MACHINE(stack));
    asm_load(as, 8, RBX, MACHINE(at));
    asm_load(as, 8, R12, MACHINE(at_out));
    asm_load(as, 4, RAX, MACHINE(at_elements));
    asm_store(as, 4, MACHINE(elements), RAX);
    asm_bind(as, &maker->leave);
    asm_store(as, 8, MACHINE(pos), RBX);
    asm_store(as, 8, MACHINE(out), R12);
    asm_vzeroupper(as);
    for (unsigned i = CALL_SAVED_COUNT; i-- > 0;)
        asm_pop(as, saved[i]);
    asm_ret(as);

    asm_bind(as, &maker->call_c); /* RAX: the function; its arguments where C has them */
    asm_push(as, RBP);
    asm_mov(as, 8, RBP, RSP);
    asm_alu_imm(as, ASM_AND, 8, RSP, -16);
    asm_vzeroupper(as);
    asm_call_reg(as, RAX);
    asm_mov(as, 8, RSP, RBP);
    asm_pop(as, RBP);
    load_constants(maker);
    asm_ret(as);

    machine_write_encode(maker);
    uint8_t ones[32];
    memset(ones, 1, sizeof(ones));
    asm_align(as, 32);
    asm_bind(as, &maker->constants);
    asm_data(as, ones, sizeof(ones));
}

static void write_entry(struct maker *maker)
{
    struct assembler *as = &maker->as;
    for (unsigned i = 0; i < CALL_SAVED_COUNT; i++)
        asm_push(as, saved[i]);
    asm_mov(as, 8, R15, RDI);
    load_constants(maker);
    asm_load(as, 8, RBX, MACHINE(pos));
    asm_load(as, 8, R13, MACHINE(stop));
    if (!maker->checks) {
        asm_load(as, 8, R12, MACHINE(out));
        asm_load(as, 8, RBP, MACHINE(frame));
        asm_load(as, 8, R14, FRAME(slots));
    }
    asm_store(as, 8, MACHINE(stack), RSP);
}

/* ---- One function ---- */

static bool function_watches(const struct maker *maker)
{
    if (maker->checks)
        return false;
    for (uint32_t i = 0; i < maker->field_count; i++)
        if (maker->fields[i].way->joins)
            return true;
    return false;
}

/* A frame on the stack, as run_init_frame() leaves it. */
static void open_frame(struct maker *maker)
{
    struct assembler *as = &maker->as;
    asm_push(as, RBP);
    asm_alu_imm(as, ASM_SUB, 8, RSP, FRAME_BYTES);
    asm_mov(as, 8, RBP, RSP);
    asm_vop(as, ASM_PXOR, 32, 0, 0, 0);
    for (int32_t at = 0; at < FRAME_BYTES; at += 32)
        asm_vstore(as, 32, asm_at(RBP, at), 0);
    asm_mov_imm(as, RAX, (uint64_t)(uintptr_t)maker->table->table);
    asm_store(as, 8, FRAME(table), RAX);
    asm_store(as, 8, FRAME(slots), R14);
    asm_store(as, 8, FRAME(start), RBX);
    asm_store(as, 8, FRAME(end), R13);
    asm_mov_imm(as, RAX, WIRE_DEPTH_MAX);
    asm_alu_load(as, ASM_SUB, 4, RAX, MACHINE(depth_left));
    asm_store(as, 4, FRAME(depth), RAX);
    asm_store_imm(as, 4, FRAME(owner), (int32_t)maker->table->table->source_id);
}

static void open_slots(struct maker *maker)
{
    struct assembler *as = &maker->as;
    const int32_t count = (int32_t)maker->table->table->slot_count;
    const int32_t bytes = count * (int32_t)sizeof(struct slot);
    asm_push(as, R14);
    asm_load(as, 4, RAX, RUN(slots_used));
    asm_alu_imm(as, ASM_CMP, 4, RAX, RUN_SLOT_MAX - count);
    asm_jump_if(as, ASM_A, &maker->stuck);
    /* At the greatest depth nothing may be written at the end. */
    asm_alu_store_imm(as, ASM_CMP, 4, MACHINE(depth_left), 0);
    asm_jump_if(as, ASM_E, &maker->stuck);
    asm_imul_imm(as, 8, R14, RAX, (int32_t)sizeof(struct slot));
    asm_lea(as, R14, asm_at_index(R15, R14, 1, (int32_t)offsetof(struct run, slots)));
    if (count == 0)
        return;
    asm_alu_store_imm(as, ASM_ADD, 4, RUN(slots_used), count);
    asm_vop(as, ASM_PXOR, 32, 0, 0, 0);
    for (int32_t at = 0; at < bytes; at += 32)
        asm_vstore(as, 32, asm_at(R14, at + 32 <= bytes ? at : bytes - 32), 0);
}

static void write_prologue(struct maker *maker)
{
    struct assembler *as = &maker->as;
    asm_align(as, 16);
    asm_bind(as, &maker->nested[maker->table - maker->plan->fast]);
    if (maker->framed) {
        if (!maker->shared)
            open_slots(maker);
        open_frame(maker);
    } else if (function_watches(maker)) {
        asm_mov_imm(as, RAX, 0);
        asm_push(as, RAX);
    }
    asm_alu(as, ASM_CMP, 8, RBX, R13);
    asm_jump_if(as, ASM_AE, &maker->end);
}

/* Fields that come out of order: by their tag, which is in RAX. */
static void write_tree(struct maker *maker, const uint32_t *indexes, uint32_t count)
{
    struct assembler *as = &maker->as;
    struct asm_label lower = {0};
    if (count == 0) {
        asm_jump(as, &maker->stuck);
        return;
    }
    const uint32_t middle = count / 2;
    struct field *field = &maker->fields[indexes[middle]];
    asm_alu_imm(as, ASM_CMP, 4, RAX, field->way->source);
    asm_jump_if(as, ASM_E, &field->body);
    if (middle > 0)
        asm_jump_if(as, ASM_B, &lower);
    write_tree(maker, indexes + middle + 1, count - middle - 1);
    if (middle > 0) {
        asm_bind(as, &lower);
        write_tree(maker, indexes, middle);
    }
}

/* By number is by tag among those of a byte; among those of two, the first byte is the low one. */
static int compare_source(const struct maker *maker, uint32_t a, uint32_t b)
{
    return (int)maker->fields[a].way->source - (int)maker->fields[b].way->source;
}

static void write_dispatch(struct maker *maker)
{
    struct assembler *as = &maker->as;
    uint32_t sorted[FAST_NUMBER_MAX + 1], ones = 0;
    struct asm_label two = {0};
    for (uint32_t i = 0; i < maker->field_count; i++) {
        uint32_t at = i;
        for (; at > 0 && compare_source(maker, sorted[at - 1], i) > 0; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = i;
    }
    /* A tag of two bytes has the high bit of its first byte set, and a second: it is above 0xff,
     * for no number that is encoded with more bytes than it needs is known. */
    while (ones < maker->field_count && maker->fields[sorted[ones]].way->source < 0x80)
        ones++;
    asm_bind(as, &maker->dispatch);
    asm_load(as, 1, RAX, asm_at(RBX, 0));
    if (ones < maker->field_count) {
        asm_test(as, 1, RAX, RAX);
        asm_jump_if(as, ASM_S, &two);
    }
    write_tree(maker, sorted, ones);
    if (ones < maker->field_count) {
        asm_bind(as, &two);
        asm_load(as, 2, RAX, asm_at(RBX, 0));
        write_tree(maker, sorted + ones, maker->field_count - ones);
    }
}

/* The outermost message: all fields up to where they had to stop. */
static void write_root_end(struct maker *maker)
{
    struct assembler *as = &maker->as;
    struct asm_label whole = {0}, over = {0}, by_c = {0};
    const uint32_t added = machine_added_fields(maker->plan, maker->table->table);
    asm_bind(as, &maker->end_repeated);
    asm_alu_load(as, ASM_CMP, 8, RBX, MACHINE(end));
    asm_jump_if(as, ASM_BE, &whole);
    asm_alu_store_imm(as, ASM_SUB, 4, MACHINE(elements), 1);
    asm_jump(as, &over);
    asm_bind(as, &maker->end);
    asm_alu_load(as, ASM_CMP, 8, RBX, MACHINE(end));
    asm_jump_if(as, ASM_BE, &whole);
    asm_alu_store_imm(as, ASM_SUB, 4, MACHINE(fields), 1);
    asm_bind(as, &over); /* the last value passes the end */
    asm_load(as, 8, RBX, MACHINE(at));
    asm_load(as, 8, R12, MACHINE(at_out));
    asm_jump(as, &maker->leave);
    asm_bind(as, &whole);
    asm_jump_if(as, ASM_NE, &maker->leave); /* a limit of fields comes before the end */
    if (!maker->checks && maker->table->ends && added < WIRE_FIELDS_MAX) {
        asm_alu_store_imm(as, ASM_CMP, 1, MACHINE(may_end), 0);
        asm_jump_if(as, ASM_E, &maker->leave);
        asm_load(as, 4, RAX, MACHINE(fields));
        asm_alu_load(as, ASM_ADD, 4, RAX, FRAME(fields));
        asm_alu_imm(as, ASM_CMP, 4, RAX, (int32_t)(WIRE_FIELDS_MAX - added));
        asm_jump_if(as, ASM_A, &maker->leave);
        machine_write_end(maker, &by_c);
        asm_store_imm(as, 1, MACHINE(ended), 1);
        asm_jump(as, &maker->leave);
        asm_bind(as, &by_c);
        asm_load(as, 8, R12, MACHINE(end_out));
    }
    asm_jump(as, &maker->leave);
}

/* What is written at the end of a nested message must leave the room that was asked for. */
static void write_frame_end(struct maker *maker)
{
    struct assembler *as = &maker->as;
    struct asm_label by_c = {0}, written = {0};
    const int32_t slots = (int32_t)maker->table->table->slot_count;
    const uint32_t added = machine_added_fields(maker->plan, maker->table->table);
    maker->as.failed |= added >= WIRE_FIELDS_MAX;
    /* Fields that were read have not been counted: they have two bytes at least. */
    asm_mov(as, 8, RAX, R13);
    asm_alu_load(as, ASM_SUB, 8, RAX, FRAME(start));
    asm_shift(as, ASM_SHR, 8, RAX, 1);
    if (maker->table->carries)
        asm_alu_load(as, ASM_ADD, 4, RAX, FRAME(fields));
    asm_alu_imm(as, ASM_CMP, 4, RAX, (int32_t)(WIRE_FIELDS_MAX - added));
    asm_jump_if(as, ASM_A, &maker->past);
    machine_write_end(maker, &by_c);
    asm_bind(as, &written);
    if (slots > 0)
        asm_alu_store_imm(as, ASM_SUB, 4, RUN(slots_used), slots);
    asm_load(as, 8, RCX, RUN(budget));
    asm_alu(as, ASM_SUB, 8, RCX, R13);
    asm_load(as, 8, RAX, MACHINE(limit));
    asm_alu(as, ASM_SUB, 8, RAX, R12);
    asm_imul_imm(as, 8, RCX, RCX, QUICK_GROWTH_MAX);
    asm_alu(as, ASM_CMP, 8, RAX, RCX);
    asm_jump_if(as, ASM_L, &maker->past);
    asm_alu_imm(as, ASM_ADD, 8, RSP, FRAME_BYTES);
    asm_pop(as, RBP);
    asm_pop(as, R14);
    asm_ret(as);
    if (by_c.waiting) {
        asm_bind(as, &by_c);
        asm_mov(as, 8, RDI, R15);
        asm_mov(as, 8, RSI, RBP);
        asm_load(as, 8, RDX, MACHINE(end_out));
        call_c(maker, (void (*)(void))quick_end);
        asm_test(as, 8, RAX, RAX);
        asm_jump_if(as, ASM_E, &maker->past);
        asm_mov(as, 8, R12, RAX);
        asm_jump(as, &written);
    }
}

static void write_nested_end(struct maker *maker)
{
    struct assembler *as = &maker->as;
    struct asm_label over = {0};
    asm_bind(as, &maker->end); /* RBX has been compared with R13 */
    asm_jump_if(as, ASM_NE, &over);
    if (maker->framed && !maker->shared) {
        write_frame_end(maker);
    } else if (maker->framed) {
        asm_load(as, 8, RAX, FRAME(diverted));
        asm_load(as, 8, RDX, FRAME(touched));
        asm_alu_imm(as, ASM_ADD, 8, RSP, FRAME_BYTES);
        asm_pop(as, RBP);
        asm_ret(as);
    } else {
        if (function_watches(maker))
            asm_pop(as, RAX);
        asm_ret(as);
    }
    asm_bind(as, &over);
    asm_mov(as, 8, RBX, R13);
    asm_jump(as, &maker->past);
}

static void find_fields(struct maker *maker)
{
    const struct fast_table *table = maker->table;
    maker->field_count = 0;
    for (uint32_t i = 1; i < table->number_count; i++) {
        const struct fast *way = &table->by_number[i];
        if (way->source != FAST_NO_TAG && way->value != FAST_NONE &&
            (maker->checks || way->code != FAST_SLOW))
            maker->fields[maker->field_count++] = (struct field){.way = way};
    }
}

static void write_function(struct maker *maker, uint32_t index, bool root)
{
    struct assembler *as = &maker->as;
    const struct fast_table *table = &maker->plan->fast[index];
    const struct asm_label unbound = {0};
    maker->table = table;
    maker->root = root;
    maker->framed = !maker->checks && (root || table->framed);
    maker->shared = !root && (table->table->flags & TABLE_SHARED);
    maker->told = machine_told_slots(maker->plan, table->table);
    maker->end = maker->end_repeated = maker->dispatch = maker->stuck = maker->past = unbound;
    find_fields(maker);
    if (root)
        write_entry(maker);
    else
        write_prologue(maker);
    if (maker->field_count > 0) {
        asm_alu_store_imm(as, ASM_CMP, maker->fields[0].way->source & 0x80 ? 2 : 1, asm_at(RBX, 0),
                          maker->fields[0].way->source & 0x80
                              ? (int16_t)maker->fields[0].way->source
                              : (int8_t)maker->fields[0].way->source);
        asm_jump_if(as, ASM_NE, &maker->dispatch);
        machine_write_fields(maker);
    }
    write_dispatch(maker);
    if (root)
        write_root_end(maker);
    else
        write_nested_end(maker);
    machine_write_rare(maker);
    asm_bind(as, &maker->past); /* behind the last byte of a message that is not for us */
    asm_alu_imm(as, ASM_SUB, 8, RBX, 1);
    if (root)
        asm_jump(as, &maker->unwind);
    asm_bind(as, &maker->stuck);
    asm_jump(as, root ? &maker->leave : &maker->unwind);
}

/* ---- A piece ---- */

/* All functions that @root needs. Return: whether there is code. */
static bool write_piece(struct maker *maker, uint32_t root)
{
    write_function(maker, root, true);
    for (bool more = true; more && !maker->as.failed;) {
        more = false;
        for (uint32_t i = 0; i < maker->table_count; i++) {
            if (!maker->wanted[i] || maker->written[i])
                continue;
            maker->written[i] = more = true;
            write_function(maker, i, false);
        }
    }
    write_common(maker);
    return !maker->as.failed;
}

/* Return: bytes of code in @buffer; 0: it cannot be. */
static size_t assemble(const struct plan *plan, uint32_t root, bool checks, uint8_t *buffer,
                       size_t bytes)
{
    const uint32_t count = plan->header->count[SECTION_TABLE];
    struct maker *maker = calloc(1, sizeof(*maker));
    bool *flags = calloc(2 * (size_t)count, sizeof(*flags));
    struct asm_label *labels = calloc(count, sizeof(*labels));
    size_t used = 0;
    if (maker && flags && labels) {
        asm_init(&maker->as, buffer, bytes, true);
        maker->plan = plan;
        maker->table_count = count;
        maker->nested = labels;
        maker->wanted = flags;
        maker->written = flags + count;
        maker->checks = checks;
        maker->fast_bits = asm_cpu().fast_bits;
        if (write_piece(maker, root))
            used = maker->as.used;
    }
    free(labels);
    free(flags);
    free(maker);
    return used;
}

/* Takes @bytes of what a plan may have. */
static bool take_bytes(struct plan *plan, uint32_t bytes)
{
    /* relaxed: it is a number, and orders nothing */
    uint32_t before = atomic_fetch_add_explicit(&plan->piece_bytes, bytes, memory_order_relaxed);
    if (bytes <= MACHINE_BYTES_MAX && before <= MACHINE_BYTES_MAX - bytes)
        return true;
    (void)atomic_fetch_sub_explicit(&plan->piece_bytes, bytes, memory_order_relaxed);
    return false;
}

static machine_function make(struct plan *plan, uint32_t root, bool checks)
{
    uint8_t *buffer = malloc(MACHINE_BYTES_MAX);
    struct machine_piece *piece = calloc(1, sizeof(*piece));
    size_t bytes = buffer && piece ? assemble(plan, root, checks, buffer, MACHINE_BYTES_MAX) : 0;
    bool taken = bytes > 0 && take_bytes(plan, (uint32_t)bytes);
    if (!taken || code_new(buffer, bytes, &piece->code) < 0) {
        if (taken)
            (void)atomic_fetch_sub_explicit(&plan->piece_bytes, (uint32_t)bytes,
                                            memory_order_relaxed);
        free(piece);
        free(buffer);
        return NULL;
    }
    free(buffer);
    machine_function function = (machine_function)code_function(piece->code, 0);
    /* relaxed, and release: pairs with the acquire in machine_free(). */
    piece->next = atomic_load_explicit(&plan->pieces, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&plan->pieces, &piece->next, piece,
                                                  memory_order_release, memory_order_relaxed))
        ;
    return function;
}

bool machine_possible(void)
{
    const struct asm_cpu cpu = asm_cpu();
    /* `unwind` leaves nested functions without returning from them. */
    return code_allowed() && cpu.avx2 && cpu.bmi && !cpu.shadow_stack;
}

machine_function machine_count(const struct plan *plan, const struct fast_table *fast,
                               struct machine_code *code)
{
    /* relaxed: two threads may count one run as one, and both make the code; that is all. */
    uint32_t runs = atomic_load_explicit(&code->runs, memory_order_relaxed);
    if (runs == MACHINE_NEVER)
        return NULL;
    if (runs + 1 < atomic_load_explicit(&runs_wanted, memory_order_relaxed)) {
        atomic_store_explicit(&code->runs, runs + 1, memory_order_relaxed);
        return NULL;
    }
    machine_function made = NULL;
    if (machine_possible())
        made = make((struct plan *)(uintptr_t)plan, (uint32_t)(fast - plan->fast),
                    code == &fast->checks);
    atomic_store_explicit(&code->runs, MACHINE_NEVER, memory_order_relaxed);
    /* release: pairs with the acquire in machine_of(). */
    if (made)
        atomic_store_explicit(&code->made, made, memory_order_release);
    return made;
}

void machine_free(struct plan *plan)
{
    /* acquire: pairs with the release in make(). */
    struct machine_piece *piece = atomic_load_explicit(&plan->pieces, memory_order_acquire);
    while (piece) {
        struct machine_piece *next = piece->next;
        code_free(piece->code);
        free(piece);
        piece = next;
    }
}

#else /* CODE_HAVE */

void machine_set_runs(uint32_t runs)
{
    (void)runs;
}

bool machine_possible(void)
{
    return false;
}

machine_function machine_count(const struct plan *plan, const struct fast_table *fast,
                               struct machine_code *code)
{
    (void)plan;
    (void)fast;
    (void)code;
    return NULL;
}

void machine_free(struct plan *plan)
{
    (void)plan;
}

#endif

uint32_t machine_bytes(const struct plan *plan)
{
    return atomic_load_explicit(&((struct plan *)(uintptr_t)plan)->piece_bytes,
                                memory_order_relaxed);
}
