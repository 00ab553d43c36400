/*
 * The assembler's encodings, from the processor's manual.
 *
 * All go through instruction(): an opcode (its bytes, whether its operand is of a byte, which
 * prefix it wants), a register field, and a register or a place in memory. So what is special about
 * an operand (RSP and R12 as a base need a byte of their own, RBP and R13 a displacement, SPL to
 * DIL a prefix) is said once.
 */
#include "translate/asm_x86.h"

#include <string.h>

#define INSTRUCTION_BYTES_MAX 15

enum map { MAP_NONE, MAP_0F, MAP_0F38, MAP_0F3A };
enum prefix { PREFIX_NONE, PREFIX_66, PREFIX_F3, PREFIX_F2 };

struct opcode {
    uint8_t prefix, map, byte;
    bool wide;      /* 64-bit operands */
    bool byte_regs; /* 1: register operands are of a byte */
    bool vex;
    bool vector32;   /* VEX.L */
    uint8_t operand; /* VEX.vvvv, a register */
};

struct asm_cpu asm_cpu(void)
{
#if defined(__x86_64__)
    /* RDSSPQ: does nothing where there is none. By its bytes, for old assemblers. */
    uint64_t shadow = 0;
    __asm__ volatile(".byte 0xf3, 0x48, 0x0f, 0x1e, 0xc8" : "+a"(shadow));
    return (struct asm_cpu){
        .avx2 = __builtin_cpu_supports("avx2"),
        .fast_bits = !__builtin_cpu_is("znver1") && !__builtin_cpu_is("znver2"),
        .shadow_stack = shadow != 0,
        .bmi = __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"),
    };
#else
    return (struct asm_cpu){false, false, false, false};
#endif
}

void asm_init(struct assembler *as, uint8_t *code, size_t bytes, bool avx)
{
    *as = (struct assembler){.code = code, .capacity = bytes, .avx = avx};
    if (bytes > INT32_MAX)
        as->capacity = INT32_MAX; /* displacements reach so far */
}

/* ---- Bytes ---- */

void asm_data(struct assembler *as, const void *data, size_t bytes)
{
    if (as->failed || bytes > as->capacity - as->used) {
        as->failed = true;
        return;
    }
    if (bytes > 0)
        memcpy(as->code + as->used, data, bytes);
    as->used += bytes;
}

static void put(struct assembler *as, uint8_t byte)
{
    asm_data(as, &byte, 1);
}

static void put_int(struct assembler *as, uint64_t value, unsigned bytes)
{
    uint8_t data[8];
    for (unsigned i = 0; i < bytes; i++)
        data[i] = (uint8_t)(value >> (8 * i));
    asm_data(as, data, bytes);
}

static void want(struct assembler *as, bool what)
{
    as->failed |= !what;
}

static bool is_size(unsigned bytes)
{
    return bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
}

/* ---- Operands ---- */

/* Where the operand is: in a register, or in memory. */
struct operand {
    bool in_memory;
    unsigned reg; /* a general or a vector one */
    struct asm_mem mem;
};

static struct operand in_reg(unsigned reg)
{
    return (struct operand){.reg = reg};
}

static struct operand in_mem(struct asm_mem mem)
{
    return (struct operand){.in_memory = true, .mem = mem};
}

static void put_prefixes(struct assembler *as, const struct opcode *op, unsigned reg,
                         const struct operand *operand)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
    unsigned base = operand->in_memory ? operand->mem.base : operand->reg;
    unsigned index =
        operand->in_memory && operand->mem.index != ASM_REG_NONE ? operand->mem.index : 0;
    unsigned r = reg >> 3, x = index >> 3, b = base >> 3;
    if (op->vex) {
        put(as, 0xc4);
        put(as, (uint8_t)((r ^ 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | op->map));
        put(as,
            (uint8_t)(op->wide << 7 | (op->operand ^ 15) << 3 | op->vector32 << 2 | op->prefix));
        return;
    }
    if (op->prefix != PREFIX_NONE)
        put(as, prefixes[op->prefix]);
    bool low = op->byte_regs &&
               ((reg >= RSP && reg <= RDI) || (!operand->in_memory && base >= RSP && base <= RDI));
    uint8_t rex = (uint8_t)(op->wide << 3 | r << 2 | x << 1 | b);
    if (rex || low)
        put(as, 0x40 | rex);
    if (op->map != MAP_NONE)
        put(as, 0x0f);
    if (op->map == MAP_0F38)
        put(as, 0x38);
    if (op->map == MAP_0F3A)
        put(as, 0x3a);
}

static void put_operand(struct assembler *as, unsigned reg, const struct operand *operand)
{
    const struct asm_mem *mem = &operand->mem;
    const uint8_t field = (uint8_t)((reg & 7) << 3);
    if (!operand->in_memory) {
        put(as, (uint8_t)(0xc0 | field | (operand->reg & 7)));
        return;
    }
    const unsigned base = mem->base & 7;
    const bool has_index = mem->index != ASM_REG_NONE, sib = has_index || base == RSP;
    uint8_t mod = mem->disp == 0 && base != RBP                    ? 0
                  : mem->disp >= INT8_MIN && mem->disp <= INT8_MAX ? 0x40
                                                                   : 0x80;
    unsigned log = mem->scale == 8 ? 3 : mem->scale / 2;
    want(as, mem->base <= R15 && mem->index != RSP && is_size(mem->scale));
    put(as, (uint8_t)(mod | field | (sib ? RSP : base)));
    if (sib)
        put(as, (uint8_t)(log << 6 | (has_index ? (mem->index & 7) : RSP) << 3 | base));
    if (mod == 0x40)
        put(as, (uint8_t)mem->disp);
    else if (mod == 0x80)
        put_int(as, (uint32_t)mem->disp, 4);
}

static void instruction(struct assembler *as, struct opcode op, unsigned reg,
                        struct operand operand)
{
    /* Displacements and immediates are short of it by far; so none is written in part. */
    if (as->failed || as->capacity - as->used < INSTRUCTION_BYTES_MAX) {
        as->failed = true;
        return;
    }
    put_prefixes(as, &op, reg, &operand);
    put(as, op.byte);
    put_operand(as, reg, &operand);
}

/* An opcode whose lowest bit says whether its operands are larger than a byte. */
static struct opcode sized(struct assembler *as, uint8_t byte, unsigned bytes)
{
    want(as, is_size(bytes));
    return (struct opcode){
        .prefix = bytes == 2 ? PREFIX_66 : PREFIX_NONE,
        .byte = (uint8_t)(byte | (bytes > 1)),
        .wide = bytes == 8,
        .byte_regs = bytes == 1,
    };
}

static struct opcode extended(enum prefix prefix, uint8_t byte, unsigned bytes)
{
    return (struct opcode){
        .prefix = (uint8_t)prefix, .map = MAP_0F, .byte = byte, .wide = bytes == 8};
}

static void put_imm(struct assembler *as, unsigned bytes, int32_t value)
{
    put_int(as, (uint64_t)(int64_t)value, bytes < 4 ? bytes : 4);
}

/* ---- Moves ---- */

void asm_mov(struct assembler *as, unsigned bytes, enum asm_reg to, enum asm_reg from)
{
    want(as, bytes == 4 || bytes == 8);
    instruction(as, sized(as, 0x88, bytes), from, in_reg(to));
}

void asm_mov_imm(struct assembler *as, enum asm_reg to, uint64_t value)
{
    if (value <= UINT32_MAX) {
        if (to >= R8)
            put(as, 0x41);
        put(as, (uint8_t)(0xb8 | (to & 7)));
        put_int(as, value, 4);
    } else if ((int64_t)value < 0 && (int64_t)value >= INT32_MIN) {
        instruction(as, sized(as, 0xc6, 8), 0, in_reg(to));
        put_int(as, value, 4);
    } else {
        put(as, to >= R8 ? 0x49 : 0x48);
        put(as, (uint8_t)(0xb8 | (to & 7)));
        put_int(as, value, 8);
    }
}

void asm_load(struct assembler *as, unsigned bytes, enum asm_reg to, struct asm_mem from)
{
    if (bytes >= 4)
        instruction(as, sized(as, 0x8a, bytes), to, in_mem(from));
    else
        instruction(as, extended(PREFIX_NONE, bytes == 1 ? 0xb6 : 0xb7, 4), to, in_mem(from));
    want(as, is_size(bytes));
}

void asm_load_signed(struct assembler *as, unsigned bytes, enum asm_reg to, struct asm_mem from)
{
    if (bytes == 4)
        instruction(as, (struct opcode){.byte = 0x63, .wide = true}, to, in_mem(from));
    else
        instruction(as, extended(PREFIX_NONE, bytes == 1 ? 0xbe : 0xbf, 8), to, in_mem(from));
    want(as, is_size(bytes) && bytes < 8);
}

void asm_store(struct assembler *as, unsigned bytes, struct asm_mem to, enum asm_reg from)
{
    instruction(as, sized(as, 0x88, bytes), from, in_mem(to));
}

void asm_store_imm(struct assembler *as, unsigned bytes, struct asm_mem to, int32_t value)
{
    instruction(as, sized(as, 0xc6, bytes), 0, in_mem(to));
    put_imm(as, bytes, value);
}

void asm_extend(struct assembler *as, unsigned bytes, enum asm_reg to, enum asm_reg from)
{
    want(as, bytes == 1 || bytes == 2);
    struct opcode op = extended(PREFIX_NONE, bytes == 1 ? 0xb6 : 0xb7, 4);
    op.byte_regs = bytes == 1;
    instruction(as, op, to, in_reg(from));
}

void asm_lea(struct assembler *as, enum asm_reg to, struct asm_mem place)
{
    instruction(as, (struct opcode){.byte = 0x8d, .wide = true}, to, in_mem(place));
}

void asm_push(struct assembler *as, enum asm_reg reg)
{
    if (reg >= R8)
        put(as, 0x41);
    put(as, (uint8_t)(0x50 | (reg & 7)));
}

void asm_pop(struct assembler *as, enum asm_reg reg)
{
    if (reg >= R8)
        put(as, 0x41);
    put(as, (uint8_t)(0x58 | (reg & 7)));
}

/* ---- Integers ---- */

void asm_alu(struct assembler *as, enum asm_alu op, unsigned bytes, enum asm_reg to,
             enum asm_reg from)
{
    instruction(as, sized(as, (uint8_t)(op << 3), bytes), from, in_reg(to));
}

static void alu_imm(struct assembler *as, enum asm_alu op, unsigned bytes, struct operand operand,
                    int32_t value)
{
    bool is_short = bytes > 1 && value >= INT8_MIN && value <= INT8_MAX;
    struct opcode opcode = sized(as, 0x80, bytes);
    if (is_short)
        opcode.byte = 0x83;
    instruction(as, opcode, op, operand);
    put_imm(as, is_short ? 1 : bytes, value);
}

void asm_alu_imm(struct assembler *as, enum asm_alu op, unsigned bytes, enum asm_reg to,
                 int32_t value)
{
    alu_imm(as, op, bytes, in_reg(to), value);
}

void asm_alu_load(struct assembler *as, enum asm_alu op, unsigned bytes, enum asm_reg to,
                  struct asm_mem from)
{
    instruction(as, sized(as, (uint8_t)(op << 3 | 2), bytes), to, in_mem(from));
}

void asm_alu_store(struct assembler *as, enum asm_alu op, unsigned bytes, struct asm_mem to,
                   enum asm_reg from)
{
    instruction(as, sized(as, (uint8_t)(op << 3), bytes), from, in_mem(to));
}

void asm_alu_store_imm(struct assembler *as, enum asm_alu op, unsigned bytes, struct asm_mem to,
                       int32_t value)
{
    alu_imm(as, op, bytes, in_mem(to), value);
}

void asm_test(struct assembler *as, unsigned bytes, enum asm_reg a, enum asm_reg b)
{
    instruction(as, sized(as, 0x84, bytes), b, in_reg(a));
}

void asm_test_imm(struct assembler *as, unsigned bytes, enum asm_reg reg, int32_t value)
{
    instruction(as, sized(as, 0xf6, bytes), 0, in_reg(reg));
    put_imm(as, bytes, value);
}

void asm_shift(struct assembler *as, enum asm_shift op, unsigned bytes, enum asm_reg reg,
               unsigned count)
{
    want(as, count < 8 * bytes);
    instruction(as, sized(as, 0xc0, bytes), op, in_reg(reg));
    put(as, (uint8_t)count);
}

void asm_unary(struct assembler *as, enum asm_unary op, unsigned bytes, enum asm_reg reg)
{
    instruction(as, sized(as, 0xf6, bytes), op, in_reg(reg));
}

void asm_imul(struct assembler *as, unsigned bytes, enum asm_reg to, enum asm_reg from)
{
    want(as, bytes == 4 || bytes == 8);
    instruction(as, extended(PREFIX_NONE, 0xaf, bytes), to, in_reg(from));
}

void asm_imul_imm(struct assembler *as, unsigned bytes, enum asm_reg to, enum asm_reg from,
                  int32_t value)
{
    want(as, bytes == 4 || bytes == 8);
    instruction(as, (struct opcode){.byte = 0x69, .wide = bytes == 8}, to, in_reg(from));
    put_int(as, (uint32_t)value, 4);
}

void asm_setcc(struct assembler *as, enum asm_cond cond, enum asm_reg reg)
{
    struct opcode op = extended(PREFIX_NONE, (uint8_t)(0x90 | cond), 1);
    op.byte_regs = true;
    instruction(as, op, 0, in_reg(reg));
}

void asm_cmov(struct assembler *as, enum asm_cond cond, unsigned bytes, enum asm_reg to,
              enum asm_reg from)
{
    want(as, bytes == 4 || bytes == 8);
    instruction(as, extended(PREFIX_NONE, (uint8_t)(0x40 | cond), bytes), to, in_reg(from));
}

void asm_scan(struct assembler *as, enum asm_scan op, unsigned bytes, enum asm_reg to,
              enum asm_reg from)
{
    want(as, bytes == 4 || bytes == 8);
    instruction(
        as, extended(op == ASM_TZCNT ? PREFIX_F3 : PREFIX_NONE, op == ASM_BSR ? 0xbd : 0xbc, bytes),
        to, in_reg(from));
}

static void bit(struct assembler *as, enum asm_bit op, unsigned bytes, struct operand operand,
                unsigned index)
{
    want(as, (bytes == 4 || bytes == 8) && index < 8 * bytes);
    instruction(as, extended(PREFIX_NONE, 0xba, bytes), op, operand);
    put(as, (uint8_t)index);
}

void asm_bit(struct assembler *as, enum asm_bit op, unsigned bytes, enum asm_reg reg,
             unsigned index)
{
    bit(as, op, bytes, in_reg(reg), index);
}

void asm_bit_mem(struct assembler *as, enum asm_bit op, unsigned bytes, struct asm_mem mem,
                 unsigned index)
{
    bit(as, op, bytes, in_mem(mem), index);
}

static void bmi(struct assembler *as, enum prefix prefix, uint8_t byte, unsigned bytes,
                enum asm_reg to, enum asm_reg operand, enum asm_reg last)
{
    want(as, bytes == 4 || bytes == 8);
    struct opcode op = {
        .prefix = (uint8_t)prefix,
        .map = MAP_0F38,
        .byte = byte,
        .wide = bytes == 8,
        .vex = true,
        .operand = (uint8_t)operand,
    };
    instruction(as, op, to, in_reg(last));
}

void asm_andn(struct assembler *as, unsigned bytes, enum asm_reg to, enum asm_reg a, enum asm_reg b)
{
    bmi(as, PREFIX_NONE, 0xf2, bytes, to, a, b);
}

void asm_bzhi(struct assembler *as, unsigned bytes, enum asm_reg to, enum asm_reg a,
              enum asm_reg bits)
{
    bmi(as, PREFIX_NONE, 0xf5, bytes, to, bits, a);
}

void asm_pext(struct assembler *as, unsigned bytes, enum asm_reg to, enum asm_reg a,
              enum asm_reg mask)
{
    bmi(as, PREFIX_F3, 0xf5, bytes, to, a, mask);
}

void asm_pdep(struct assembler *as, unsigned bytes, enum asm_reg to, enum asm_reg a,
              enum asm_reg mask)
{
    bmi(as, PREFIX_F2, 0xf5, bytes, to, a, mask);
}

void asm_shift_by(struct assembler *as, enum asm_shift op, unsigned bytes, enum asm_reg to,
                  enum asm_reg a, enum asm_reg count)
{
    want(as, op >= ASM_SHL);
    enum prefix prefix = op == ASM_SHL ? PREFIX_66 : op == ASM_SHR ? PREFIX_F2 : PREFIX_F3;
    bmi(as, prefix, 0xf7, bytes, to, count, a);
}

/* ---- Vectors ---- */

static void vector(struct assembler *as, enum prefix prefix, uint8_t byte, unsigned bytes,
                   unsigned reg, unsigned operand, struct operand last)
{
    want(as, (bytes == 16 || (bytes == 32 && as->avx)) && reg < ASM_VEC_COUNT &&
                 operand < ASM_VEC_COUNT);
    struct opcode op = {
        .prefix = (uint8_t)prefix,
        .map = MAP_0F,
        .byte = byte,
        .vex = as->avx,
        .vector32 = bytes == 32,
        .operand = (uint8_t)operand,
    };
    instruction(as, op, reg, last);
}

void asm_vload(struct assembler *as, unsigned bytes, asm_vec to, struct asm_mem from)
{
    vector(as, PREFIX_F3, 0x6f, bytes, to, 0, in_mem(from));
}

void asm_vstore(struct assembler *as, unsigned bytes, struct asm_mem to, asm_vec from)
{
    vector(as, PREFIX_F3, 0x7f, bytes, from, 0, in_mem(to));
}

void asm_vop(struct assembler *as, enum asm_vop op, unsigned bytes, asm_vec to, asm_vec a,
             asm_vec b)
{
    want(as, (as->avx || to == a) && b < ASM_VEC_COUNT);
    vector(as, PREFIX_66, (uint8_t)op, bytes, to, a, in_reg(b));
}

void asm_vop_mem(struct assembler *as, enum asm_vop op, unsigned bytes, asm_vec to, asm_vec a,
                 struct asm_mem b)
{
    want(as, as->avx);
    vector(as, PREFIX_66, (uint8_t)op, bytes, to, a, in_mem(b));
}

void asm_vmask(struct assembler *as, unsigned bytes, enum asm_reg to, asm_vec from)
{
    want(as, from < ASM_VEC_COUNT);
    vector(as, PREFIX_66, 0xd7, bytes, to, 0, in_reg(from));
}

void asm_vfrom(struct assembler *as, unsigned bytes, asm_vec to, enum asm_reg from)
{
    want(as, (bytes == 4 || bytes == 8) && to < ASM_VEC_COUNT);
    struct opcode op = extended(PREFIX_66, 0x6e, bytes);
    op.vex = as->avx;
    instruction(as, op, to, in_reg(from));
}

void asm_vspread(struct assembler *as, asm_vec to, asm_vec from)
{
    want(as, as->avx && to < ASM_VEC_COUNT && from < ASM_VEC_COUNT);
    struct opcode op = {
        .prefix = PREFIX_66,
        .map = MAP_0F38,
        .byte = 0x78,
        .vex = true,
        .vector32 = true,
    };
    instruction(as, op, to, in_reg(from));
}

void asm_vzeroupper(struct assembler *as)
{
    static const uint8_t code[] = {0xc5, 0xf8, 0x77};
    if (as->avx)
        asm_data(as, code, sizeof(code));
}

/* ---- Control ---- */

static void set_distance(struct assembler *as, size_t at, size_t target)
{
    uint32_t distance = (uint32_t)target - (uint32_t)(at + 4);
    for (unsigned i = 0; i < 4; i++)
        as->code[at + i] = (uint8_t)(distance >> (8 * i));
}

static uint32_t waiting_before(const struct assembler *as, size_t at)
{
    uint32_t before = 0;
    for (unsigned i = 0; i < 4; i++)
        before |= (uint32_t)as->code[at + i] << (8 * i);
    return before;
}

/* Four bytes: the distance from behind them to the label, now or when it is bound. */
static void put_distance(struct assembler *as, struct asm_label *label)
{
    size_t at = as->used;
    put_int(as, label->waiting, 4);
    if (as->failed)
        return;
    if (label->at)
        set_distance(as, at, label->at - 1);
    else
        label->waiting = (uint32_t)at + 1;
}

void asm_bind(struct assembler *as, struct asm_label *label)
{
    want(as, label->at == 0);
    if (as->failed)
        return;
    while (label->waiting) {
        size_t at = label->waiting - 1;
        label->waiting = waiting_before(as, at);
        set_distance(as, at, as->used);
    }
    label->at = (uint32_t)as->used + 1;
}

/* Whether a jump of two bytes gets there. */
static bool is_near(const struct assembler *as, const struct asm_label *label)
{
    return label->at && as->used + 2 - (label->at - 1) <= 128;
}

void asm_jump(struct assembler *as, struct asm_label *label)
{
    if (is_near(as, label)) {
        put(as, 0xeb);
        put(as, (uint8_t)(label->at - 2 - as->used));
        return;
    }
    put(as, 0xe9);
    put_distance(as, label);
}

void asm_jump_if(struct assembler *as, enum asm_cond cond, struct asm_label *label)
{
    if (is_near(as, label)) {
        put(as, (uint8_t)(0x70 | cond));
        put(as, (uint8_t)(label->at - 2 - as->used));
        return;
    }
    put(as, 0x0f);
    put(as, (uint8_t)(0x80 | cond));
    put_distance(as, label);
}

void asm_call(struct assembler *as, struct asm_label *label)
{
    put(as, 0xe8);
    put_distance(as, label);
}

void asm_call_function(struct assembler *as, enum asm_reg scratch, void (*function)(void))
{
    asm_mov_imm(as, scratch, (uint64_t)(uintptr_t)function);
    asm_call_reg(as, scratch);
}

void asm_call_reg(struct assembler *as, enum asm_reg reg)
{
    instruction(as, (struct opcode){.byte = 0xff}, 2, in_reg(reg));
}

void asm_lea_label(struct assembler *as, enum asm_reg to, struct asm_label *label)
{
    put(as, to >= R8 ? 0x4c : 0x48);
    put(as, 0x8d);
    put(as, (uint8_t)((to & 7) << 3 | 5));
    put_distance(as, label);
}

void asm_ret(struct assembler *as)
{
    put(as, 0xc3);
}

void asm_align(struct assembler *as, unsigned bytes)
{
    while (!as->failed && as->used % bytes != 0)
        put(as, 0xcc); /* INT3: not to be run through */
}
