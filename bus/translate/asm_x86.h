/*
 * Inside the translate room: a small assembler for x86-64.
 *
 * It writes instructions one by one into memory of the caller's, which has a fixed size. What does
 * not fit, or cannot be encoded, sets `failed`, and nothing is written from then on: who has
 * finished asks that once. The code refers to its own places relative to itself, so it may be
 * copied elsewhere before it runs.
 *
 * Sizes are in bytes: 1, 2, 4 or 8 for integers, 16 or 32 for vectors. Loads and moves of 4 bytes
 * and less leave zeros above; other operations of 1 and 2 bytes leave the rest as it was.
 */
#ifndef PARLEY_TRANSLATE_ASM_X86_H
#define PARLEY_TRANSLATE_ASM_X86_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum asm_reg {
    RAX,
    RCX,
    RDX,
    RBX,
    RSP,
    RBP,
    RSI,
    RDI,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    ASM_REG_NONE,
};

/* The vector registers 0..15, of 16 bytes or, with AVX2, 32. */
typedef unsigned asm_vec;
#define ASM_VEC_COUNT 16u

/* [base + index * scale + disp] */
struct asm_mem {
    enum asm_reg base, index; /* ASM_REG_NONE: no index, which must not be RSP either */
    unsigned scale;           /* 1, 2, 4 or 8 */
    int32_t disp;
};

static inline struct asm_mem asm_at(enum asm_reg base, int32_t disp)
{
    return (struct asm_mem){base, ASM_REG_NONE, 1, disp};
}

static inline struct asm_mem asm_at_index(enum asm_reg base, enum asm_reg index, unsigned scale,
                                          int32_t disp)
{
    return (struct asm_mem){base, index, scale, disp};
}

/* The numbers are those of the encodings. */
enum asm_alu { ASM_ADD, ASM_OR, ASM_ADC, ASM_SBB, ASM_AND, ASM_SUB, ASM_XOR, ASM_CMP };
enum asm_shift { ASM_ROL, ASM_ROR, ASM_SHL = 4, ASM_SHR, ASM_SAR = 7 };
enum asm_unary { ASM_NOT = 2, ASM_NEG, ASM_MUL, ASM_DIV = 6 }; /* MUL, DIV: of RDX:RAX */
enum asm_bit { ASM_BT = 4, ASM_BTS, ASM_BTR, ASM_BTC };
enum asm_cond {
    ASM_O,
    ASM_NO,
    ASM_B,
    ASM_AE,
    ASM_E,
    ASM_NE,
    ASM_BE,
    ASM_A,
    ASM_S,
    ASM_NS,
    ASM_P,
    ASM_NP,
    ASM_L,
    ASM_GE,
    ASM_LE,
    ASM_G,
};
enum asm_scan { ASM_BSF, ASM_BSR, ASM_TZCNT };
/* AVX's names; without `avx` they are SSE2's, whose result goes to the first operand. */
enum asm_vop {
    ASM_PCMPEQB = 0x74,
    ASM_PCMPGTB = 0x64,
    ASM_PMINUB = 0xda,
    ASM_PAND = 0xdb,
    ASM_PANDN = 0xdf,
    ASM_POR = 0xeb,
    ASM_PXOR = 0xef,
    ASM_PADDB = 0xfc,
    ASM_PSUBB = 0xf8,
};

/* What the processor has beyond x86-64 as it was. */
struct asm_cpu {
    bool avx2;
    bool fast_bits;    /* PEXT and PDEP are one operation, not a loop inside the processor */
    bool shadow_stack; /* this thread has one: code must return as it was called */
    bool bmi;          /* BMI1 and BMI2: TZCNT, ANDN, BZHI, PEXT, shifts by a register */
};
struct asm_cpu asm_cpu(void);

struct assembler {
    uint8_t *code;
    size_t capacity, used;
    bool failed;
    bool avx; /* vectors by AVX's encodings; the caller then ends with asm_vzeroupper() */
};

/* A place in the code. Jumps to it may come before it is bound; those wait in a list that goes
 * through their own displacements. Every label that is jumped to has to be bound. */
struct asm_label {
    uint32_t at;      /* + 1; 0: not bound yet */
    uint32_t waiting; /* + 1, of the last displacement that waits */
};

void asm_init(struct assembler *as, uint8_t *code, size_t bytes, bool avx);

/* ---- Moves ---- */
void asm_mov(struct assembler *as, unsigned bytes, enum asm_reg to, enum asm_reg from); /* 4, 8 */
void asm_mov_imm(struct assembler *as, enum asm_reg to, uint64_t value); /* leaves the flags */
void asm_load(struct assembler *as, unsigned bytes, enum asm_reg to, struct asm_mem from);
void asm_load_signed(struct assembler *as, unsigned bytes, enum asm_reg to, struct asm_mem from);
void asm_store(struct assembler *as, unsigned bytes, struct asm_mem to, enum asm_reg from);
/* Of 8 bytes: the value's 32 bits, and its sign above them. */
void asm_store_imm(struct assembler *as, unsigned bytes, struct asm_mem to, int32_t value);
void asm_extend(struct assembler *as, unsigned bytes, enum asm_reg to,
                enum asm_reg from); /* 1, 2 */
void asm_lea(struct assembler *as, enum asm_reg to, struct asm_mem place);
void asm_push(struct assembler *as, enum asm_reg reg);
void asm_pop(struct assembler *as, enum asm_reg reg);

/* ---- Integers ---- */
void asm_alu(struct assembler *as, enum asm_alu op, unsigned bytes, enum asm_reg to,
             enum asm_reg from);
void asm_alu_imm(struct assembler *as, enum asm_alu op, unsigned bytes, enum asm_reg to,
                 int32_t value);
void asm_alu_load(struct assembler *as, enum asm_alu op, unsigned bytes, enum asm_reg to,
                  struct asm_mem from);
void asm_alu_store(struct assembler *as, enum asm_alu op, unsigned bytes, struct asm_mem to,
                   enum asm_reg from);
void asm_alu_store_imm(struct assembler *as, enum asm_alu op, unsigned bytes, struct asm_mem to,
                       int32_t value);
void asm_test(struct assembler *as, unsigned bytes, enum asm_reg a, enum asm_reg b);
void asm_test_imm(struct assembler *as, unsigned bytes, enum asm_reg reg, int32_t value);
void asm_shift(struct assembler *as, enum asm_shift op, unsigned bytes, enum asm_reg reg,
               unsigned count);
void asm_unary(struct assembler *as, enum asm_unary op, unsigned bytes, enum asm_reg reg);
void asm_imul(struct assembler *as, unsigned bytes, enum asm_reg to, enum asm_reg from);
void asm_imul_imm(struct assembler *as, unsigned bytes, enum asm_reg to, enum asm_reg from,
                  int32_t value);
void asm_setcc(struct assembler *as, enum asm_cond cond, enum asm_reg reg); /* its low byte */
void asm_cmov(struct assembler *as, enum asm_cond cond, unsigned bytes, enum asm_reg to,
              enum asm_reg from);
void asm_scan(struct assembler *as, enum asm_scan op, unsigned bytes, enum asm_reg to,
              enum asm_reg from);
/* Bit @index of an integer of 4 or 8 bytes. */
void asm_bit(struct assembler *as, enum asm_bit op, unsigned bytes, enum asm_reg reg,
             unsigned index);
void asm_bit_mem(struct assembler *as, enum asm_bit op, unsigned bytes, struct asm_mem mem,
                 unsigned index);
/* BMI: to = ~a & b; to = the low @bits bits of a; to = the bits of a that @mask has, moved
 * together; to = a << or >> count */
void asm_andn(struct assembler *as, unsigned bytes, enum asm_reg to, enum asm_reg a,
              enum asm_reg b);
void asm_bzhi(struct assembler *as, unsigned bytes, enum asm_reg to, enum asm_reg a,
              enum asm_reg bits);
void asm_pext(struct assembler *as, unsigned bytes, enum asm_reg to, enum asm_reg a,
              enum asm_reg mask);
/* The other way round: the low bits of a to where @mask has some. */
void asm_pdep(struct assembler *as, unsigned bytes, enum asm_reg to, enum asm_reg a,
              enum asm_reg mask);
void asm_shift_by(struct assembler *as, enum asm_shift op, unsigned bytes, enum asm_reg to,
                  enum asm_reg a, enum asm_reg count);

/* ---- Vectors ---- */
void asm_vload(struct assembler *as, unsigned bytes, asm_vec to, struct asm_mem from);
void asm_vstore(struct assembler *as, unsigned bytes, struct asm_mem to, asm_vec from);
void asm_vop(struct assembler *as, enum asm_vop op, unsigned bytes, asm_vec to, asm_vec a,
             asm_vec b);
/* The same with an operand in memory: AVX only, for SSE2 wants it aligned. */
void asm_vop_mem(struct assembler *as, enum asm_vop op, unsigned bytes, asm_vec to, asm_vec a,
                 struct asm_mem b);
void asm_vmask(struct assembler *as, unsigned bytes, enum asm_reg to, asm_vec from); /* PMOVMSKB */
void asm_vfrom(struct assembler *as, unsigned bytes, asm_vec to,
               enum asm_reg from); /* MOVD, MOVQ */
void asm_vspread(struct assembler *as, asm_vec to,
                 asm_vec from);            /* its lowest byte, to all 32: AVX2 */
void asm_vzeroupper(struct assembler *as); /* nothing without AVX */

/* ---- Control ---- */
void asm_bind(struct assembler *as, struct asm_label *label);
void asm_jump(struct assembler *as, struct asm_label *label);
void asm_jump_if(struct assembler *as, enum asm_cond cond, struct asm_label *label);
void asm_call(struct assembler *as, struct asm_label *label);
/* A function of C's, by its address. @scratch holds that. */
void asm_call_function(struct assembler *as, enum asm_reg scratch, void (*function)(void));
void asm_call_reg(struct assembler *as, enum asm_reg reg);
void asm_lea_label(struct assembler *as, enum asm_reg to, struct asm_label *label);
void asm_ret(struct assembler *as);
void asm_align(struct assembler *as, unsigned bytes);
void asm_data(struct assembler *as, const void *data, size_t bytes);

#endif
