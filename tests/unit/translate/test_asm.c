/*
 * The assembler, by running what it makes. The memory that this runs in: test_code.c.
 *
 * Every form is tried with all registers that it can have, for what goes wrong is the prefix of the
 * upper eight, and the special encodings of RSP, RBP, R12 and R13 as a base.
 */
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

#include "translate/asm_x86.h"
#include "translate/code.h"

typedef uint64_t (*made)(uint64_t a, uint64_t b, uint8_t *memory);

static const enum asm_reg saved[] = {RBX, RBP, R12, R13, R14, R15};

static void begin(struct assembler *as, uint8_t *buffer, size_t bytes, bool avx)
{
    asm_init(as, buffer, bytes, avx);
    for (size_t i = 0; i < 6; i++)
        asm_push(as, saved[i]);
}

static void end(struct assembler *as)
{
    for (size_t i = 6; i-- > 0;)
        asm_pop(as, saved[i]);
    asm_vzeroupper(as);
    asm_ret(as);
}

static uint64_t run(const struct assembler *as, uint64_t a, uint64_t b, uint8_t *memory)
{
    struct code *code = NULL;
    assert_false(as->failed);
    assert_int_equal(code_new(as->code, as->used, &code), 0);
    uint64_t result = ((made)code_function(code, 0))(a, b, memory);
    code_free(code);
    return result;
}

static bool skipped(void)
{
    code_set_switch(CODE_AS_SET);
    if (!code_allowed())
        print_message("no machine code here: skipped\n");
    return !code_allowed();
}

/* All but RSP. The arguments are in RDI, RSI and RDX. */
#define EACH_REG(reg)                                                                              \
    for (enum asm_reg reg = RAX; reg <= R15; reg++)                                                \
        if (reg != RSP)

static const uint64_t A = UINT64_C(0x8123456789abcdef), B = UINT64_C(0x0fedcba987654321);

/* ---- Integers ---- */

static uint64_t expected_alu(enum asm_alu op, uint64_t a, uint64_t b)
{
    switch (op) {
    case ASM_ADD:
        return a + b;
    case ASM_OR:
        return a | b;
    case ASM_AND:
        return a & b;
    case ASM_SUB:
        return a - b;
    case ASM_XOR:
        return a ^ b;
    default:
        return a;
    }
}

/* What is left in a register of 64 bits by an operation on so many bytes of it. */
static uint64_t merged(uint64_t before, uint64_t after, unsigned bytes)
{
    uint64_t mask = bytes == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * bytes) - 1;
    return bytes == 4 ? after & mask : (before & ~mask) | (after & mask);
}

static void test_integers_of_all_sizes_in_all_registers(void **state)
{
    (void)state;
    uint8_t buffer[256];
    struct assembler as;
    static const enum asm_alu ops[] = {ASM_ADD, ASM_OR, ASM_AND, ASM_SUB, ASM_XOR};
    if (skipped())
        skip();
    for (size_t o = 0; o < 5; o++)
        for (unsigned bytes = 1; bytes <= 8; bytes *= 2)
            EACH_REG(to) EACH_REG(from)
            {
                if (to == from || to == RSI || from == RDI)
                    continue;
                begin(&as, buffer, sizeof(buffer), false);
                asm_mov(&as, 8, to, RDI);
                asm_mov(&as, 8, from, RSI);
                asm_alu(&as, ops[o], bytes, to, from);
                asm_mov(&as, 8, RAX, to);
                end(&as);
                uint64_t want = merged(A, expected_alu(ops[o], A, B), bytes);
                assert_int_equal(run(&as, A, B, NULL), want);
                begin(&as, buffer, sizeof(buffer), false);
                asm_mov(&as, 8, to, RDI);
                asm_alu_imm(&as, ops[o], bytes, to, from % 2 ? 0x45 : bytes == 1 ? -3 : -300);
                asm_mov(&as, 8, RAX, to);
                end(&as);
                int64_t imm = from % 2 ? 0x45 : bytes == 1 ? -3 : -300;
                want = merged(A, expected_alu(ops[o], A, (uint64_t)imm), bytes);
                assert_int_equal(run(&as, A, B, NULL), want);
            }
}

static void test_what_is_in_memory_by_all_bases_and_indexes(void **state)
{
    (void)state;
    uint8_t buffer[256], memory[1024], copy[1024];
    struct assembler as;
    static const int32_t disps[] = {0, 8, -120, 300};
    if (skipped())
        skip();
    for (size_t i = 0; i < sizeof(memory); i++)
        copy[i] = (uint8_t)(i * 37 + i / 256);
    for (unsigned bytes = 1; bytes <= 8; bytes *= 2)
        for (size_t d = 0; d < 4; d++)
            EACH_REG(base) EACH_REG(index)
            {
                if (base == index || index == RDX)
                    continue;
                const unsigned scale = 1u << (base + index) % 4;
                enum asm_reg value = RAX;
                while (value == base || value == index || value == RSP)
                    value++;
                struct asm_mem mem = index == RDI ? asm_at(base, disps[d])
                                                  : asm_at_index(base, index, scale, disps[d]);
                uint8_t *at = memory + 400 + (index == RDI ? 0 : 16 * scale) + disps[d];
                memcpy(memory, copy, sizeof(memory));
                begin(&as, buffer, sizeof(buffer), false);
                asm_mov(&as, 8, base, RDX);
                if (index != RDI)
                    asm_mov_imm(&as, index, 16);
                asm_load(&as, bytes, value, mem);
                asm_alu_store_imm(&as, ASM_ADD, bytes, mem, 3);
                asm_alu_load(&as, ASM_XOR, bytes, value, mem);
                asm_alu_store(&as, ASM_SUB, bytes, mem, value);
                asm_mov(&as, 8, RAX, value);
                end(&as);
                uint64_t was = 0, now = 0;
                memcpy(&was, at, bytes);
                uint64_t mask = merged(0, UINT64_MAX, bytes);
                uint64_t got = run(&as, 0, 0, memory + 400);
                memcpy(&now, at, bytes);
                assert_int_equal(got, (was ^ (was + 3)) & mask);
                assert_int_equal(now, (was + 3 - got) & mask);
                memset(at, 0, bytes);
                uint8_t other[1024];
                memcpy(other, copy, sizeof(other));
                memset(other + (at - memory), 0, bytes);
                assert_memory_equal(memory, other, sizeof(other)); /* nothing beside it */
            }
}

static void test_loads_and_stores_of_values(void **state)
{
    (void)state;
    uint8_t buffer[256], memory[64];
    struct assembler as;
    if (skipped())
        skip();
    EACH_REG(reg)
    {
        for (unsigned bytes = 1; bytes <= 8; bytes *= 2) {
            memset(memory, 0, sizeof(memory));
            memcpy(memory + 8, &A, 8);
            begin(&as, buffer, sizeof(buffer), false);
            if (bytes < 8)
                asm_load_signed(&as, bytes, reg, asm_at(RDX, 8));
            else
                asm_load(&as, bytes, reg, asm_at(RDX, 8));
            asm_mov(&as, 8, RAX, reg);
            end(&as);
            int64_t want = bytes == 1   ? (int8_t)A
                           : bytes == 2 ? (int16_t)A
                           : bytes == 4 ? (int32_t)A
                                        : (int64_t)A;
            assert_int_equal((int64_t)run(&as, 0, 0, memory), want);
            begin(&as, buffer, sizeof(buffer), false);
            if (reg != RDX) {
                asm_mov(&as, 8, reg, RSI);
                asm_store(&as, bytes, asm_at(RDX, 24), reg);
            }
            asm_store_imm(&as, bytes, asm_at(RDX, 40), -2);
            end(&as);
            (void)run(&as, 0, B, memory);
            uint8_t wanted[8] = {0};
            if (reg != RDX)
                memcpy(wanted, &B, bytes);
            assert_memory_equal(memory + 24, wanted, 8);
            memset(wanted, 0xff, bytes);
            memset(wanted + bytes, 0, 8 - bytes);
            wanted[0] = 0xfe;
            assert_memory_equal(memory + 40, wanted, 8);
        }
        static const uint64_t values[] = {0,
                                          1,
                                          0x7fffffff,
                                          0x80000000,
                                          0xffffffff,
                                          UINT64_C(0x100000000),
                                          UINT64_MAX,
                                          UINT64_C(0xffffffff80000000),
                                          UINT64_C(0xffffffff7fffffff)};
        for (size_t i = 0; i < sizeof(values) / 8; i++) {
            begin(&as, buffer, sizeof(buffer), false);
            asm_mov_imm(&as, reg, values[i]);
            asm_mov(&as, 8, RAX, reg);
            end(&as);
            assert_int_equal(run(&as, 0, 0, memory), values[i]);
        }
    }
}

static void test_what_changes_one_register(void **state)
{
    (void)state;
    uint8_t buffer[256];
    struct assembler as;
    if (skipped())
        skip();
    struct {
        uint64_t want;
        int what;
    } cases[] = {
        {A << 13, 0},
        {A >> 13, 1},
        {(uint64_t)((int64_t)A >> 13), 2},
        {A << 5 | A >> 59, 3},
        {~A, 4},
        {0 - A, 5},
        {A * B, 6},
        {A * 1000003, 7},
        {A & 0xff, 8},
        {A & 0xffff, 9},
        {A + 5 + 8 * B, 10},
        {A | UINT64_C(1) << 47, 11},
        {A & ~(UINT64_C(1) << 63), 12},
        {0, 13},
        {63, 14},
        {A, 15},
        {B, 16},
        {1, 17},
        {0, 18},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        EACH_REG(reg)
        {
            if (reg == RSI)
                continue;
            begin(&as, buffer, sizeof(buffer), false);
            asm_mov(&as, 8, reg, RDI);
            switch (cases[i].what) {
            case 0:
                asm_shift(&as, ASM_SHL, 8, reg, 13);
                break;
            case 1:
                asm_shift(&as, ASM_SHR, 8, reg, 13);
                break;
            case 2:
                asm_shift(&as, ASM_SAR, 8, reg, 13);
                break;
            case 3:
                asm_shift(&as, ASM_ROL, 8, reg, 5);
                break;
            case 4:
                asm_unary(&as, ASM_NOT, 8, reg);
                break;
            case 5:
                asm_unary(&as, ASM_NEG, 8, reg);
                break;
            case 6:
                asm_imul(&as, 8, reg, RSI);
                break;
            case 7:
                asm_imul_imm(&as, 8, reg, reg, 1000003);
                break;
            case 8:
                asm_extend(&as, 1, reg, reg);
                break;
            case 9:
                asm_extend(&as, 2, reg, reg);
                break;
            case 10:
                asm_lea(&as, reg, asm_at_index(reg, RSI, 8, 5));
                break;
            case 11:
                asm_bit(&as, ASM_BTS, 8, reg, 47);
                break;
            case 12:
                asm_bit(&as, ASM_BTR, 8, reg, 63);
                break;
            case 13:
                asm_scan(&as, ASM_BSF, 8, reg, reg);
                break;
            case 14:
                asm_scan(&as, ASM_BSR, 8, reg, reg);
                break;
            case 15: /* not below: stays */
                asm_alu(&as, ASM_CMP, 8, reg, RSI);
                asm_cmov(&as, ASM_B, 8, reg, RSI);
                break;
            case 16:
                asm_alu(&as, ASM_CMP, 8, reg, RSI);
                asm_cmov(&as, ASM_A, 8, reg, RSI);
                break;
            case 17:
                asm_test(&as, 8, reg, reg);
                asm_setcc(&as, ASM_S, reg);
                asm_extend(&as, 1, reg, reg);
                break;
            default:
                asm_test_imm(&as, 1, reg, 0x10); /* A has it not: ef is 1110 1111 */
                asm_setcc(&as, ASM_NE, reg);
                asm_extend(&as, 1, reg, reg);
            }
            asm_mov(&as, 8, RAX, reg);
            end(&as);
            uint64_t got = run(&as, A, B, NULL);
            if (got != cases[i].want)
                fail_msg("case %d, register %d: %llx, not %llx", cases[i].what, (int)reg,
                         (unsigned long long)got, (unsigned long long)cases[i].want);
        }
}

static void test_wide_products_and_quotients(void **state)
{
    (void)state;
    uint8_t buffer[256], memory[16];
    struct assembler as;
    if (skipped())
        skip();
    begin(&as, buffer, sizeof(buffer), false);
    asm_mov(&as, 8, R8, RDX);
    asm_mov(&as, 8, RAX, RDI);
    asm_unary(&as, ASM_MUL, 8, RSI);
    asm_store(&as, 8, asm_at(R8, 0), RDX);
    asm_store(&as, 8, asm_at(R8, 8), RAX);
    asm_unary(&as, ASM_DIV, 8, RSI);
    end(&as);
    assert_int_equal(run(&as, A, B, memory), A);
    __extension__ unsigned __int128 product = (unsigned __int128)A * B;
    uint64_t halves[2] = {(uint64_t)(product >> 64), (uint64_t)product};
    assert_memory_equal(memory, halves, 16);
}

static void test_bit_manipulation_where_the_processor_has_it(void **state)
{
    (void)state;
    uint8_t buffer[256];
    struct assembler as;
    if (skipped() || !asm_cpu().bmi)
        skip();
    EACH_REG(to) EACH_REG(a)
    {
        if (a == RSI)
            continue;
        for (int what = 0; what < 7; what++) {
            uint64_t second = what == 2 || what == 4 || what == 5 ? 23 : B, want;
            begin(&as, buffer, sizeof(buffer), false);
            asm_mov(&as, 8, a, RDI);
            if (what == 0) {
                asm_andn(&as, 8, to, a, RSI);
                want = ~A & B;
            } else if (what == 1) {
                asm_scan(&as, ASM_TZCNT, 8, to, a);
                want = 0;
            } else if (what == 2) {
                asm_bzhi(&as, 8, to, a, RSI);
                want = A & 0x7fffff;
            } else if (what == 3) {
                asm_pext(&as, 8, to, a, RSI);
                want = 0;
                for (unsigned i = 0, n = 0; i < 64; i++)
                    if (B >> i & 1)
                        want |= (A >> i & 1) << n++;
            } else if (what == 6) {
                asm_pdep(&as, 8, to, a, RSI);
                want = 0;
                for (unsigned i = 0, n = 0; i < 64; i++)
                    if (B >> i & 1)
                        want |= (A >> n++ & 1) << i;
            } else {
                asm_shift_by(&as, what == 4 ? ASM_SHL : ASM_SHR, 8, to, a, RSI);
                want = what == 4 ? A << 23 : A >> 23;
            }
            asm_mov(&as, 8, RAX, to);
            end(&as);
            assert_int_equal(run(&as, A, second, NULL), want);
        }
    }
}

static void test_bits_in_memory(void **state)
{
    (void)state;
    uint8_t buffer[256], memory[32] = {0};
    struct assembler as;
    if (skipped())
        skip();
    EACH_REG(base)
    {
        if (base == RAX)
            continue;
        begin(&as, buffer, sizeof(buffer), false);
        asm_mov(&as, 8, base, RDX);
        asm_bit_mem(&as, ASM_BTS, 8, asm_at(base, 8), 63);
        asm_bit_mem(&as, ASM_BT, 8, asm_at(base, 8), 63);
        asm_setcc(&as, ASM_B, RAX);
        asm_extend(&as, 1, RAX, RAX);
        end(&as);
        memset(memory, 0, sizeof(memory));
        assert_int_equal(run(&as, 0, 0, memory), 1);
        assert_int_equal(memory[15], 0x80);
    }
}

/* ---- Vectors ---- */

static void try_vectors(bool avx, unsigned bytes)
{
    static const enum asm_vop ops[] = {ASM_PCMPEQB, ASM_PCMPGTB, ASM_PMINUB, ASM_PAND, ASM_PANDN,
                                       ASM_POR,     ASM_PXOR,    ASM_PADDB,  ASM_PSUBB};
    uint8_t buffer[256], memory[160];
    struct assembler as;
    for (size_t o = 0; o < 9; o++)
        for (asm_vec x = 0; x < ASM_VEC_COUNT; x++)
            for (asm_vec y = 0; y < ASM_VEC_COUNT; y++) {
                if (x == y)
                    continue;
                for (size_t i = 0; i < sizeof(memory); i++)
                    memory[i] = (uint8_t)(i % 3 == 0 ? i : i * 73 + o);
                begin(&as, buffer, sizeof(buffer), avx);
                asm_vload(&as, bytes, x, asm_at(RDX, 1));
                asm_vload(&as, bytes, y, asm_at(RDX, 34));
                if (avx && y % 2)
                    asm_vop_mem(&as, ops[o], bytes, x, x, asm_at(RDX, 34));
                else
                    asm_vop(&as, ops[o], bytes, x, x, y);
                asm_vstore(&as, bytes, asm_at(RDX, 80), x);
                asm_vmask(&as, bytes, RAX, x);
                end(&as);
                uint32_t mask = 0;
                uint8_t want[32];
                for (unsigned i = 0; i < bytes; i++) {
                    uint8_t p = memory[1 + i], q = memory[34 + i];
                    want[i] = ops[o] == ASM_PCMPEQB   ? (p == q ? 0xff : 0)
                              : ops[o] == ASM_PCMPGTB ? ((int8_t)p > (int8_t)q ? 0xff : 0)
                              : ops[o] == ASM_PMINUB  ? (p < q ? p : q)
                              : ops[o] == ASM_PAND    ? p & q
                              : ops[o] == ASM_PANDN   ? (uint8_t)(~p & q)
                              : ops[o] == ASM_POR     ? p | q
                              : ops[o] == ASM_PXOR    ? p ^ q
                              : ops[o] == ASM_PADDB   ? (uint8_t)(p + q)
                                                      : (uint8_t)(p - q);
                    mask |= (uint32_t)(want[i] >> 7) << i;
                }
                assert_int_equal(run(&as, 0, 0, memory), mask);
                assert_memory_equal(memory + 80, want, bytes);
            }
    for (asm_vec x = 0; x < ASM_VEC_COUNT; x++)
        EACH_REG(reg)
        {
            for (unsigned from = 4; from <= 8; from += 4) {
                begin(&as, buffer, sizeof(buffer), avx);
                asm_mov(&as, 8, RCX, RDX);
                asm_mov(&as, 8, reg, RDI);
                asm_vfrom(&as, from, x, reg);
                asm_vstore(&as, 16, asm_at(reg == RCX ? RDX : RCX, 0), x);
                end(&as);
                memset(memory, 0xa5, 16);
                (void)run(&as, A, 0, memory);
                const uint64_t want[2] = {from == 8 ? A : A & 0xffffffff, 0};
                assert_memory_equal(memory, want, 16);
            }
        }
    for (asm_vec x = 0; x < ASM_VEC_COUNT && bytes == 32; x++)
        for (asm_vec y = 0; y < ASM_VEC_COUNT; y++) {
            uint8_t want[32];
            begin(&as, buffer, sizeof(buffer), avx);
            asm_vfrom(&as, 8, y, RDI);
            asm_vspread(&as, x, y);
            asm_vstore(&as, 32, asm_at(RDX, 1), x);
            end(&as);
            (void)run(&as, A, 0, memory);
            memset(want, (uint8_t)A, sizeof(want));
            assert_memory_equal(memory + 1, want, 32);
        }
}

static void test_vectors_of_all_sizes(void **state)
{
    (void)state;
    if (skipped())
        skip();
    try_vectors(false, 16);
    if (asm_cpu().avx2) {
        try_vectors(true, 16);
        try_vectors(true, 32);
    }
}

/* ---- Control ---- */

/* UD2: what must never be reached. */
static void trap(struct assembler *as)
{
    asm_data(as, (const uint8_t[]){0x0f, 0x0b}, 2);
}

static uint64_t helper(uint64_t a, uint64_t b)
{
    return a * 10 + b;
}

static void test_jumps_forth_and_back_near_and_far(void **state)
{
    (void)state;
    static uint8_t buffer[4096];
    struct assembler as;
    if (skipped())
        skip();
    for (unsigned padding = 0; padding < 400; padding += 13) {
        struct asm_label again = {0}, out = {0}, skip_over = {0};
        begin(&as, buffer, sizeof(buffer), false);
        asm_mov_imm(&as, RAX, 0);
        asm_bind(&as, &again);
        asm_alu_imm(&as, ASM_ADD, 8, RAX, 3);
        asm_jump(&as, &skip_over);
        trap(&as);
        for (unsigned i = 0; i < padding; i++)
            trap(&as);
        asm_bind(&as, &skip_over);
        asm_alu_imm(&as, ASM_SUB, 8, RDI, 1);
        asm_jump_if(&as, ASM_E, &out);
        asm_jump_if(&as, ASM_L, &out); /* two that wait for the same */
        asm_jump(&as, &again);
        trap(&as);
        asm_bind(&as, &out);
        end(&as);
        assert_int_equal(run(&as, 7, 0, NULL), 21);
    }
    static const struct {
        enum asm_cond cond;
        int64_t a, b;
        bool holds;
    } conds[] = {
        {ASM_B, 1, 2, true},   {ASM_B, -1, 2, false},       {ASM_AE, -1, 2, true},
        {ASM_BE, 2, 2, true},  {ASM_A, 2, 2, false},        {ASM_E, 5, 5, true},
        {ASM_NE, 5, 5, false}, {ASM_L, -1, 2, true},        {ASM_GE, -1, 2, false},
        {ASM_LE, 2, 2, true},  {ASM_G, 3, 2, true},         {ASM_S, 1, 2, true},
        {ASM_NS, 1, 2, false}, {ASM_O, INT64_MIN, 1, true}, {ASM_NO, 1, 1, true},
        {ASM_P, 3, 0, true},   {ASM_NP, 3, 0, false},
    };
    for (size_t i = 0; i < sizeof(conds) / sizeof(conds[0]); i++) {
        struct asm_label yes = {0};
        begin(&as, buffer, sizeof(buffer), false);
        asm_mov_imm(&as, RAX, 1);
        asm_alu(&as, ASM_CMP, 8, RDI, RSI);
        asm_jump_if(&as, conds[i].cond, &yes);
        asm_mov_imm(&as, RAX, 0);
        asm_bind(&as, &yes);
        end(&as);
        assert_int_equal(run(&as, (uint64_t)conds[i].a, (uint64_t)conds[i].b, NULL),
                         conds[i].holds);
    }
}

static void test_calls_and_data(void **state)
{
    (void)state;
    uint8_t buffer[512];
    struct assembler as;
    if (skipped())
        skip();
    EACH_REG(reg)
    {
        struct asm_label inner = {0}, base = {0}, out = {0};
        begin(&as, buffer, sizeof(buffer), false);
        asm_alu_imm(&as, ASM_SUB, 8, RSP, 8); /* aligned for the call: six are pushed */
        if (reg != RDI && reg != RSI)
            asm_call_function(&as, reg, (void (*)(void))helper);
        else
            asm_call_function(&as, RAX, (void (*)(void))helper);
        asm_alu_imm(&as, ASM_ADD, 8, RSP, 8);
        asm_call(&as, &inner);
        asm_jump(&as, &out);
        asm_align(&as, 16);
        asm_bind(&as, &inner);
        asm_alu_imm(&as, ASM_ADD, 8, RAX, 1000);
        asm_ret(&as);
        asm_bind(&as, &out);
        end(&as);
        assert_int_equal(run(&as, 4, 2, NULL), 1042);

        static const int32_t data[3] = {70, -71, 72};
        if (reg == RDI)
            continue;
        begin(&as, buffer, sizeof(buffer), false);
        memset(&out, 0, sizeof(out));
        asm_lea_label(&as, reg, &base);
        asm_load_signed(&as, 4, RAX, asm_at_index(reg, RDI, 4, 0));
        asm_jump(&as, &out);
        asm_align(&as, 4);
        asm_bind(&as, &base);
        asm_data(&as, data, sizeof(data));
        asm_bind(&as, &out);
        end(&as);
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(run(&as, i, 0, NULL), (uint64_t)(int64_t)data[i]);
    }
}

/* ---- What cannot be ---- */

static void test_code_past_the_buffer_fails_and_writes_nothing(void **state)
{
    (void)state;
    uint8_t buffer[128];
    for (size_t room = 0; room < 64; room++) {
        struct assembler as;
        struct asm_label label = {0};
        memset(buffer, 0xa5, sizeof(buffer));
        asm_init(&as, buffer, room, false);
        for (unsigned i = 0; i < 12; i++) {
            asm_alu_store_imm(&as, ASM_ADD, 8, asm_at_index(R13, R12, 8, 100000), 100000);
            asm_jump(&as, &label);
            asm_mov_imm(&as, R9, A);
            asm_push(&as, R9);
        }
        asm_bind(&as, &label);
        assert_true(as.failed);
        for (size_t i = room; i < sizeof(buffer); i++)
            assert_int_equal(buffer[i], 0xa5);
    }
}

static void test_what_cannot_be_encoded_fails(void **state)
{
    (void)state;
    uint8_t buffer[64];
    struct assembler as;
    asm_init(&as, buffer, sizeof(buffer), false);
    asm_load(&as, 3, RAX, asm_at(RAX, 0));
    assert_true(as.failed);
    asm_init(&as, buffer, sizeof(buffer), false);
    asm_load(&as, 8, RAX, asm_at_index(RAX, RSP, 1, 0));
    assert_true(as.failed);
    asm_init(&as, buffer, sizeof(buffer), false);
    asm_vload(&as, 32, 0, asm_at(RAX, 0)); /* without AVX */
    assert_true(as.failed);
    asm_init(&as, buffer, sizeof(buffer), false);
    asm_vop(&as, ASM_POR, 16, 0, 1, 2);
    assert_true(as.failed);
    asm_init(&as, buffer, sizeof(buffer), true);
    asm_vop(&as, ASM_POR, 16, 0, 1, 16);
    assert_true(as.failed);
    asm_init(&as, buffer, sizeof(buffer), false);
    asm_shift(&as, ASM_SHL, 4, RAX, 32);
    assert_true(as.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers_of_all_sizes_in_all_registers),
        cmocka_unit_test(test_what_is_in_memory_by_all_bases_and_indexes),
        cmocka_unit_test(test_loads_and_stores_of_values),
        cmocka_unit_test(test_what_changes_one_register),
        cmocka_unit_test(test_wide_products_and_quotients),
        cmocka_unit_test(test_bit_manipulation_where_the_processor_has_it),
        cmocka_unit_test(test_bits_in_memory),
        cmocka_unit_test(test_vectors_of_all_sizes),
        cmocka_unit_test(test_jumps_forth_and_back_near_and_far),
        cmocka_unit_test(test_calls_and_data),
        cmocka_unit_test(test_code_past_the_buffer_fails_and_writes_nothing),
        cmocka_unit_test(test_what_cannot_be_encoded_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
