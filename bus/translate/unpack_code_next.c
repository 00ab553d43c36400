/*
 * Machine code for the way into the struct: from one field to the next.
 *
 * Behind a field there is one comparison with the tag of the one that follows by its number (and,
 * of a repeated one, with its own). If it is neither, the fields behind are tried one after the
 * other, as they come by ascending numbers mostly; then all of them, by halves; then it is for the
 * loop.
 */
#include "translate/unpack_make.h"

#if CODE_HAVE

static void compare_tag(struct maker *m, const struct field *field)
{
    if (field->tag_bytes == 1)
        asm_alu_imm(&m->as, ASM_CMP, 1, RAX, (int8_t)field->tag);
    else
        asm_alu_imm(&m->as, ASM_CMP, 4, RAX, (int32_t)field->tag);
}

/* To where the tag in RAX is looked for, from field @index on. */
static struct asm_label *chain_from(struct maker *m, size_t index)
{
    return index < m->count ? &m->fields[index].chain : &m->search;
}

/* The field at NEXT, which is before STOP, after field @index - 1. */
void unpack_make_dispatch(struct maker *m, size_t index, bool ends_text)
{
    struct assembler *as = &m->as;
    asm_load(as, m->wide ? 2 : 1, RAX, asm_at(NEXT, 0));
    if (ends_text && !m->waits)
        asm_store_imm(as, 1, asm_at(NEXT, 0), 0);
    asm_mov(as, 8, AT, NEXT);
    if (index > 0 && m->fields[index - 1].repeated) {
        compare_tag(m, &m->fields[index - 1]);
        asm_jump_if(as, ASM_E, &m->fields[index - 1].start);
    }
    if (index < m->count) {
        compare_tag(m, &m->fields[index]);
        asm_jump_if(as, ASM_NE, chain_from(m, index + 1));
    } else {
        asm_jump(as, &m->search);
    }
}

void unpack_make_next(struct maker *m, size_t index, bool ends_text)
{
    struct field *field = &m->fields[index];
    asm_bind(&m->as, &field->next);
    asm_alu(&m->as, ASM_CMP, 8, NEXT, STOP);
    asm_jump_if(&m->as, ASM_AE, &field->edge);
    unpack_make_dispatch(m, index + 1, ends_text);
}

/* Fields first .. first + count - 1, by halves. Their tags have as many bytes each. */
static void make_halves(struct maker *m, size_t first, size_t count)
{
    struct assembler *as = &m->as;
    if (count <= 4) {
        for (size_t i = first; i < first + count; i++) {
            compare_tag(m, &m->fields[i]);
            asm_jump_if(as, ASM_E, &m->fields[i].start);
        }
        asm_jump(as, &m->other);
        return;
    }
    struct asm_label lower = {0};
    size_t half = count / 2;
    compare_tag(m, &m->fields[first + half]);
    asm_jump_if(as, ASM_B, &lower);
    make_halves(m, first + half, count - half);
    asm_bind(as, &lower);
    make_halves(m, first, half);
}

/* Any field, by the tag in RAX. */
static void make_search(struct maker *m)
{
    struct assembler *as = &m->as;
    struct asm_label wide = {0};
    size_t short_count = 0;
    while (short_count < m->count && m->fields[short_count].tag_bytes == 1)
        short_count++;
    asm_bind(as, &m->search);
    if (m->wide) {
        asm_test(as, 1, RAX, RAX);
        asm_jump_if(as, ASM_S, &wide);
    }
    make_halves(m, 0, short_count);
    if (m->wide) {
        asm_bind(as, &wide);
        make_halves(m, short_count, m->count - short_count);
    }
}

/* Behind the fields: which one is it, if it is none of those that follow? */
void unpack_make_chain(struct maker *m)
{
    struct assembler *as = &m->as;
    for (size_t i = 0; i < m->count; i++) {
        asm_bind(as, &m->fields[i].chain);
        compare_tag(m, &m->fields[i]);
        asm_jump_if(as, ASM_E, &m->fields[i].start);
    }
    make_search(m);
}

/* The end of this stretch of fields: of the message, or of the room in `terminators`. */
void unpack_make_edge(struct maker *m, struct asm_label *edge, struct asm_label *next,
                      struct asm_label *past)
{
    struct assembler *as = &m->as;
    asm_bind(as, edge);
    if (m->waits) {
        asm_alu_load(as, ASM_CMP, 8, NEXT, IN_HERE(end));
        asm_jump_if(as, ASM_E, &m->done);
        asm_jump_if(as, ASM_A, past);
        asm_call(as, &m->more);
        asm_test(as, 8, RAX, RAX);
        asm_jump_if(as, ASM_NE, next);
        asm_jump(as, &m->full);
        return;
    }
    asm_jump_if(as, ASM_E, &m->done); /* of the comparison with STOP */
    asm_jump(as, past);
}

void unpack_make_undo(struct maker *m, struct field *field)
{
    asm_bind(&m->as, &field->undo);
    asm_mov_imm(&m->as, RAX, field->way->tag);
    asm_jump(&m->as, &m->other);
}

#endif
