/*
 * Fusing what two steps do to one field: a reads it, b reads what a has written.
 *
 * Most of it is simple, because at least one of the two only copies. Where both do something, their
 * ops can seldom be one: then a's op gets a pipe to all that b does (struct program_op, pipe),
 * which costs a copy of that field's records, and nothing for any other. If what a restores or
 * emits at the end of a message is something that b waits for, then b's end comes after a's
 * (TABLE_ORDERED). What cannot be piped is what goes over the records of the source once more. Then
 * the whole message is done in stages.
 *
 * What is not known here, an action, a kind of emit or a flag, is refused and so done in stages: a
 * rule works on paths before this file has heard of it.
 */
#include "translate/fuse.h"

/* Not OP_YIELDS: which member of a oneof wins depends on all of them. */
#define OP_KNOWN (OP_REPEATED | OP_OWN_PRESENCE | OP_GATHERED | OP_TELLS | OP_STRICT | OP_LATER)

__extension__ typedef __int128 int128;

bool fuse_knows_op(const struct program_op *op)
{
    if (op->flags & ~OP_KNOWN)
        return false;
    switch (op->action) {
    case ACTION_VERBATIM:
    case ACTION_RENUMBER:
    case ACTION_MESSAGE:
    case ACTION_SCALAR:
    case ACTION_CARRY:
    case ACTION_ALIEN:
    case ACTION_OPEN:
    case ACTION_SLOT:
    case ACTION_RESIDUE:
    case ACTION_JOIN:
    case ACTION_MARK:
    case ACTION_GUARDED:
    case ACTION_SKIP:
    case ACTION_DEFER:
    case ACTION_HELD:
    case ACTION_LATER:
    case ACTION_TOLD:
        return true;
    default:
        return false;
    }
}

static bool is_made(const struct program_emit *emit)
{
    switch (emit->kind) {
    case EMIT_PICK:
    case EMIT_UNPICK:
    case EMIT_WRAP:
    case EMIT_UNWRAP:
    case EMIT_WRAP_EACH:
    case EMIT_UNWRAP_EACH:
    case EMIT_ENTRIES:
    case EMIT_ONEOF:
    case EMIT_CONVERT:
    case EMIT_CONSTANT:
        return true;
    default:
        return false;
    }
}

static bool knows_emit(const struct program_emit *emit)
{
    switch (emit->kind) {
    case EMIT_MOVE:
    case EMIT_GATHER:
    case EMIT_SPLIT:
    case EMIT_TEXT:
    case EMIT_JOIN:
    case EMIT_LOST:
    case EMIT_DROPPED:
    case EMIT_RESTORE:
    case EMIT_UNUSUAL:
        return true;
    default:
        return is_made(emit);
    }
}

/* ---- Kinds ---- */

static bool is_text(uint8_t kind)
{
    return kind == KIND_STRING || kind == KIND_BYTES;
}

static uint8_t as_integer(uint8_t kind)
{
    return kind == KIND_FLOAT ? KIND_FIXED32 : kind == KIND_DOUBLE ? KIND_FIXED64 : kind;
}

static void range_of(uint8_t kind, int128 *ret_least, int128 *ret_most)
{
    switch (kind) {
    case KIND_BOOL:
        *ret_least = 0;
        *ret_most = 1;
        return;
    case KIND_UINT32:
    case KIND_FIXED32:
        *ret_least = 0;
        *ret_most = UINT32_MAX;
        return;
    case KIND_UINT64:
    case KIND_FIXED64:
        *ret_least = 0;
        *ret_most = UINT64_MAX;
        return;
    case KIND_INT64:
    case KIND_SINT64:
    case KIND_SFIXED64:
        *ret_least = INT64_MIN;
        *ret_most = INT64_MAX;
        return;
    default:
        *ret_least = INT32_MIN;
        *ret_most = INT32_MAX;
    }
}

/* Whether every integer of the one has a place in the other. */
static bool holds(uint8_t outer, uint8_t inner)
{
    int128 least, most, inner_least, inner_most;
    range_of(outer, &least, &most);
    range_of(inner, &inner_least, &inner_most);
    return least <= inner_least && inner_most <= most;
}

/* ---- Parts that all ops share ---- */

/* The tag of @as with the wire type of @kind. */
static uint32_t tag_of(uint32_t as, uint8_t kind)
{
    return (as & ~UINT32_C(7)) | (uint32_t)program_wire_type((enum kind)kind);
}

static bool merge_required(const struct mix *mix, uint8_t a, uint8_t b, uint8_t *ret_bit)
{
    *ret_bit = a == PROGRAM_REQUIRED_NONE ? b : mix->required[a];
    return a == PROGRAM_REQUIRED_NONE || b == PROGRAM_REQUIRED_NONE || *ret_bit == b;
}

/* Copies what it reads, whatever else happens to the field. */
static bool copies(const struct program_op *op)
{
    return (op->action == ACTION_VERBATIM || op->action == ACTION_RENUMBER) &&
           op->slot == PROGRAM_SLOT_NONE && op->pipe == 0;
}

static bool is_nested(const struct program_op *op)
{
    return op->action == ACTION_VERBATIM || op->action == ACTION_RENUMBER ||
           op->action == ACTION_MESSAGE;
}

/* Goes over the records of its field once more, where they lay in the source: what is piped does
 * not lie there. */
static bool looks_back(const struct program_op *op)
{
    return op->action == ACTION_JOIN || op->action == ACTION_DEFER || op->action == ACTION_LATER;
}

/* What b's op is needed for does not depend on when it is done. Behind a pipe anything may wait. */
static bool waits_for_nothing(const struct program_op *op)
{
    return op->slot == PROGRAM_SLOT_NONE && op->pipe == 0 &&
           (is_nested(op) || op->action == ACTION_SCALAR || op->action == ACTION_CARRY);
}

/* All that b does, as a table for pipes: without carriers, which a has opened already, and what no
 * pipe leads to. */
static uint32_t pipe_of(struct mix *mix)
{
    struct builder *builder = mix->builder;
    if (mix->pipe)
        return mix->pipe;
    struct program_table table = {
        .flags = TABLE_SHARED,
        .slot_count = mix->b.slot_count,
        .required_count = mix->b.required_count,
        .source_id = mix->b.source_id,
        .target_id = mix->b.target_id,
        .restore = PROGRAM_NONE,
        .level = mix->b.level,
    };
    uint32_t index = builder_add(builder, SECTION_TABLE, 1);
    if (!builder->error)
        *(struct program_table *)builder_at(builder, SECTION_TABLE, index) = table;
    uint32_t first = builder_add(builder, SECTION_OP, mix->b.op_count), count = 0;
    for (uint32_t i = 0; i < mix->b.op_count && !builder->error; i++) {
        struct program_op op = fuse_op_at(builder, mix->b.op_first + i);
        if (op.action == ACTION_OPEN || looks_back(&op))
            continue;
        *(struct program_op *)builder_at(builder, SECTION_OP, first + count++) = op;
    }
    builder_index_ops(builder, index, first, count);
    mix->pipe = index + 1;
    return mix->pipe;
}

static bool fuse_by_pipe(struct mix *mix, const struct program_op *a, const struct program_op *b,
                         struct program_op *ret_op)
{
    if (!fuse_knows_op(b) || looks_back(b) || a->pipe)
        return false;
    *ret_op = *a;
    if (!rebase_op(mix, ret_op))
        return false;
    if (ret_op->action == ACTION_VERBATIM)
        ret_op->action = ACTION_RENUMBER;
    if (a->required != PROGRAM_REQUIRED_NONE)
        ret_op->required = mix->required[a->required];
    ret_op->pipe = pipe_of(mix);
    return true;
}

/* ---- Checks ---- */

/* Pairs of tables that are being compared. */
struct pairs {
    uint32_t list[32][2];
    unsigned count;
};

/* Whether what @own has checked needs no check by @b: one of two steps may want a string where the
 * version between has bytes. */
static bool checks_no_more(struct builder *builder, uint32_t own, uint32_t b, struct pairs *pairs)
{
    for (unsigned i = 0; i < pairs->count; i++)
        if (pairs->list[i][0] == own && pairs->list[i][1] == b)
            return true;
    if (own == b)
        return true;
    if (pairs->count == sizeof(pairs->list) / sizeof(pairs->list[0]))
        return false;
    pairs->list[pairs->count][0] = own;
    pairs->list[pairs->count++][1] = b;
    struct program_table table = *(struct program_table *)builder_at(builder, SECTION_TABLE, b);
    struct program_table checked = *(struct program_table *)builder_at(builder, SECTION_TABLE, own);
    for (uint32_t i = 0; i < table.op_count; i++) {
        struct program_op op = fuse_op_at(builder, table.op_first + i), before;
        if (!fuse_find(builder, &checked, op.number, &before) || op.kind != before.kind ||
            op.required != before.required)
            return false;
        if (op.kind == KIND_MESSAGE && !checks_no_more(builder, before.table, op.table, pairs))
            return false;
    }
    return true;
}

/* ---- The ops ---- */

/* Bytes that a passes on and b needs as text: in what a leaves out, as a oneof's member that
 * another one has replaced, or a carrier's whose guard does not hold, they may be anything. So b
 * may look only at what a has written. A table that only checks leaves nothing out. */
static bool is_text_later(const struct mix *mix, const struct program_op *a,
                          const struct program_op *b)
{
    return a->kind == KIND_BYTES && b->kind == KIND_STRING && !(mix->a.flags & TABLE_VERBATIM);
}

/* The kind by which a value is checked that both have a view of. False: they cannot be one. */
static bool merge_kind(const struct program_op *a, const struct program_op *b, uint8_t *ret_kind)
{
    *ret_kind = b->kind;
    if (a->kind == b->kind || as_integer(a->kind) == b->kind)
        return true;
    if (!is_text(a->kind) || !is_text(b->kind))
        return false;
    *ret_kind = KIND_STRING; /* of one of them */
    return true;
}

/* a copies. */
static bool fuse_copied(struct mix *mix, const struct program_op *a, const struct program_op *b,
                        bool in_carrier, struct program_op *ret_op)
{
    struct pairs pairs = {.count = 0};
    uint8_t kind;
    if ((a->flags ^ b->flags) & OP_REPEATED)
        return false;
    if (looks_back(b) && in_carrier)
        return false;
    if (is_text_later(mix, a, b) || !merge_kind(a, b, &kind))
        return fuse_by_pipe(mix, a, b, ret_op);
    *ret_op = *b;
    ret_op->number = a->number;
    ret_op->oneof = a->oneof;
    ret_op->kind = kind;
    ret_op->flags |= a->flags & OP_GATHERED;
    if (!merge_required(mix, a->required, b->required, &ret_op->required))
        return false;
    switch (b->action) {
    case ACTION_VERBATIM:
    case ACTION_RENUMBER:
    case ACTION_MESSAGE:
        if (kind == KIND_MESSAGE && b->pipe)
            return fuse_by_pipe(mix, a, b, ret_op);
        if (kind == KIND_MESSAGE) {
            ret_op->action = ACTION_MESSAGE;
            ret_op->table = fuse_tables(mix->fuser, a->table, b->table);
        } else {
            bool stays = !b->pipe && ret_op->tag == (a->number << 3 | ret_op->wire);
            ret_op->action = stays ? ACTION_VERBATIM : ACTION_RENUMBER;
        }
        return true;
    case ACTION_CARRY:
    case ACTION_DEFER:
        if (kind == KIND_MESSAGE)
            ret_op->table = fuse_tables(mix->fuser, a->table, b->table);
        /* The emit of what is deferred knows it by its number. */
        return b->action == ACTION_CARRY || a->number == b->number;
    case ACTION_LATER:
        if (kind == KIND_MESSAGE && !checks_no_more(mix->builder, b->table, a->table, &pairs))
            return false;
        return kind == b->kind && b->oneof == 0;
    case ACTION_RESIDUE:
        return checks_no_more(mix->builder, b->table, a->table, &pairs) ||
               fuse_by_pipe(mix, a, b, ret_op);
    case ACTION_JOIN:
        return checks_no_more(mix->builder, b->table, a->table, &pairs);
    case ACTION_SCALAR:
    case ACTION_SLOT:
        return true;
    default:
        return false;
    }
}

/* a copies, and notes the text. */
static bool fuse_noted(struct mix *mix, const struct program_op *a, const struct program_op *b,
                       struct program_op *ret_op)
{
    uint8_t kind;
    if (is_text_later(mix, a, b) || !copies(b) || !merge_kind(a, b, &kind) || !is_text(kind) ||
        ((a->flags ^ b->flags) & OP_REPEATED))
        return fuse_by_pipe(mix, a, b, ret_op);
    *ret_op = *a;
    ret_op->kind = kind;
    ret_op->tag = tag_of(b->tag, a->written);
    ret_op->action = ret_op->tag >> 3 == a->number ? ACTION_VERBATIM : ACTION_RENUMBER;
    return merge_required(mix, a->required, b->required, &ret_op->required) &&
           rebase_op(mix, ret_op);
}

static bool fuse_message(struct mix *mix, const struct program_op *a, const struct program_op *b,
                         struct program_op *ret_op)
{
    if ((a->flags ^ b->flags) & OP_REPEATED)
        return false;
    if (!is_nested(b) || b->kind != KIND_MESSAGE || b->slot != PROGRAM_SLOT_NONE || b->pipe)
        return fuse_by_pipe(mix, a, b, ret_op);
    *ret_op = *a;
    ret_op->tag = b->tag;
    ret_op->table = fuse_tables(mix->fuser, a->table, b->table);
    return merge_required(mix, a->required, b->required, &ret_op->required);
}

/* Only the width or the sign changes. */
static bool is_width(const struct program_op *op)
{
    return op->action == ACTION_SCALAR && op->convert == PROGRAM_NONE &&
           op->slot == PROGRAM_SLOT_NONE && !(op->flags & OP_OWN_PRESENCE) && op->pipe == 0;
}

static bool fuse_scalar(struct mix *mix, const struct program_op *a, const struct program_op *b,
                        struct program_op *ret_op)
{
    if ((a->flags ^ b->flags) & OP_REPEATED)
        return false;
    bool read = is_width(a) && b->action == ACTION_SCALAR && b->slot == PROGRAM_SLOT_NONE &&
                b->pipe == 0 && a->written == b->kind && holds(a->written, a->kind);
    bool written = is_width(b) && a->written == b->kind && holds(a->written, b->written);
    if (read) {
        *ret_op = *b;
        ret_op->number = a->number;
        ret_op->oneof = a->oneof;
        ret_op->kind = a->kind;
        ret_op->wire = a->wire;
        return merge_required(mix, a->required, b->required, &ret_op->required);
    }
    if (!written && !(copies(b) && as_integer(b->kind) == a->written))
        return fuse_by_pipe(mix, a, b, ret_op);
    *ret_op = *a;
    ret_op->written = written ? b->written : a->written;
    ret_op->tag = tag_of(b->tag, ret_op->written);
    return merge_required(mix, a->required, b->required, &ret_op->required) &&
           rebase_op(mix, ret_op);
}

static bool fuse_guarded(struct mix *mix, const struct program_op *a, const struct program_op *b,
                         struct program_op *ret_op)
{
    if (!copies(b) || is_text_later(mix, a, b)) {
        mix->ordered |= !waits_for_nothing(b);
        return fuse_by_pipe(mix, a, b, ret_op);
    }
    if ((a->flags ^ b->flags) & OP_REPEATED)
        return false;
    *ret_op = *a;
    if (!merge_kind(a, b, &ret_op->kind))
        return false;
    ret_op->tag = (b->tag & ~UINT32_C(7)) | (a->tag & 7);
    if (a->kind == KIND_MESSAGE)
        ret_op->table = fuse_tables(mix->fuser, a->table, b->table);
    return merge_required(mix, a->required, b->required, &ret_op->required) &&
           rebase_op(mix, ret_op);
}

/* a writes what a carrier has, or nothing, while the carrier is read. */
static bool fuse_told(struct mix *mix, const struct program_op *a, const struct program_op *b,
                      struct program_op *ret_op)
{
    if (!copies(b) || b->tag >> 3 != a->number || b->kind != a->kind ||
        b->required != PROGRAM_REQUIRED_NONE)
        return fuse_by_pipe(mix, a, b, ret_op);
    *ret_op = *a;
    if (a->required != PROGRAM_REQUIRED_NONE)
        ret_op->required = mix->required[a->required];
    return rebase_op(mix, ret_op);
}

static bool fuse_alone(struct mix *mix, const struct program_op *a, struct program_op *ret_op)
{
    *ret_op = *a;
    if (a->required != PROGRAM_REQUIRED_NONE)
        ret_op->required = mix->required[a->required];
    return rebase_op(mix, ret_op);
}

bool fuse_op(struct mix *mix, const struct program_op *a, bool in_carrier,
             struct program_op *ret_op)
{
    struct program_op b;
    if (!fuse_knows_op(a))
        return false;
    bool writes = is_nested(a) || a->action == ACTION_SCALAR || a->action == ACTION_GUARDED ||
                  a->action == ACTION_TOLD;
    if (!writes || !fuse_find(mix->builder, &mix->b, a->tag >> 3, &b))
        return fuse_alone(mix, a, ret_op);
    if (!fuse_knows_op(&b))
        return false;
    switch (a->action) {
    case ACTION_VERBATIM:
    case ACTION_RENUMBER:
        return a->slot == PROGRAM_SLOT_NONE ? fuse_copied(mix, a, &b, in_carrier, ret_op)
                                            : fuse_noted(mix, a, &b, ret_op);
    case ACTION_MESSAGE:
        return fuse_message(mix, a, &b, ret_op);
    case ACTION_SCALAR:
        return fuse_scalar(mix, a, &b, ret_op);
    case ACTION_TOLD:
        return in_carrier && fuse_told(mix, a, &b, ret_op);
    default:
        return in_carrier && fuse_guarded(mix, a, &b, ret_op);
    }
}

/* ---- The emits ---- */

/* b takes what the emit writes as it is, behind the same or another tag. */
static bool emits_into(struct mix *mix, const struct program_emit *a, const struct program_op *b)
{
    if (!copies(b) || (b->flags & OP_REPEATED))
        return false;
    if (a->kind != EMIT_GATHER)
        return !(a->written == KIND_BYTES && b->kind == KIND_STRING);
    const struct program_node *node = builder_at(mix->builder, SECTION_NODE, a->node);
    struct pairs pairs = {.count = 0};
    /* Its number is what carriers know it by. */
    return b->tag == a->tag && !mix->builder->error &&
           checks_no_more(mix->builder, node->table, b->table, &pairs);
}

enum passes { PASSES, PASSES_BY_PIPE, PASSES_NOT };

/* How b gets the field of that tag, of a message or a list that the emit has put together. */
static enum passes made_passes(struct mix *mix, const struct program_emit *a, uint32_t tag)
{
    struct program_op b;
    if (!fuse_find(mix->builder, &mix->b, tag >> 3, &b))
        return PASSES;
    bool required =
        b.required == PROGRAM_REQUIRED_NONE ||
        (a->required != PROGRAM_REQUIRED_NONE && mix->required[a->required] == b.required);
    bool checks = (b.kind == KIND_STRING && a->written != KIND_STRING) || b.kind == KIND_MESSAGE;
    if (required && copies(&b) && b.tag >> 3 == tag >> 3 && !checks)
        return PASSES;
    if (!fuse_knows_op(&b) || looks_back(&b))
        return PASSES_NOT;
    mix->ordered |= !waits_for_nothing(&b);
    return PASSES_BY_PIPE;
}

/* What carriers have for it is written as it is. */
static enum passes held_passes(struct mix *mix, const struct program_emit *a, enum passes worst)
{
    struct builder *builder = mix->builder;
    if (mix->a.restore == PROGRAM_NONE)
        return worst;
    struct program_table restore =
        *(struct program_table *)builder_at(builder, SECTION_TABLE, mix->a.restore);
    for (uint32_t i = 0; i < restore.op_count; i++) {
        struct program_op op = fuse_op_at(builder, restore.op_first + i);
        if (op.action != ACTION_HELD || op.slot != a->slot)
            continue;
        enum passes passes = made_passes(mix, a, op.number << 3);
        if (passes > worst)
            worst = passes;
    }
    return worst;
}

/* Emits that make a field of another shape, or several. */
static bool fuse_made(struct mix *mix, const struct program_emit *a, struct program_emit *ret_emit)
{
    struct builder *builder = mix->builder;
    struct program_table table = {.op_count = 0};
    bool many = a->kind == EMIT_ONEOF;
    if (many)
        table = *(struct program_table *)builder_at(builder, SECTION_TABLE, a->table);
    enum passes worst = many ? PASSES : made_passes(mix, a, a->tag);
    for (uint32_t i = 0; i < table.op_count && many; i++) {
        struct program_op op = fuse_op_at(builder, table.op_first + i);
        enum passes passes = op.action == ACTION_CARRY ? PASSES : made_passes(mix, a, op.tag);
        if (passes > worst)
            worst = passes;
    }
    worst = held_passes(mix, a, worst);
    if (worst == PASSES_NOT)
        return false;
    if (worst == PASSES_BY_PIPE)
        ret_emit->pipe = pipe_of(mix);
    return rebase_emit(mix, ret_emit);
}

bool fuse_emit(struct mix *mix, const struct program_emit *a, struct program_emit *ret_emit)
{
    struct program_op b;
    /* Which of a oneof's members are set is a guard, and that is not the same over several steps.
     */
    if (!knows_emit(a) || a->kind == EMIT_ONEOF)
        return false;
    *ret_emit = *a;
    bool carries = a->kind == EMIT_LOST || a->kind == EMIT_DROPPED || a->kind == EMIT_UNUSUAL;
    if (a->required != PROGRAM_REQUIRED_NONE)
        ret_emit->required = mix->required[a->required];
    if (is_made(a))
        return fuse_made(mix, a, ret_emit);
    if (carries || !fuse_find(mix->builder, &mix->b, a->tag >> 3, &b))
        return rebase_emit(mix, ret_emit);
    /* `required` also says what an emit does: it cannot be only b's. */
    bool required = b.required == PROGRAM_REQUIRED_NONE || ret_emit->required == b.required;
    if (required && emits_into(mix, a, &b)) {
        ret_emit->tag = tag_of(b.tag, a->written);
        if (a->kind != EMIT_JOIN)
            ret_emit->number = b.tag >> 3;
        return rebase_emit(mix, ret_emit);
    }
    if (!fuse_knows_op(&b) || looks_back(&b))
        return false;
    mix->ordered |= !waits_for_nothing(&b);
    ret_emit->pipe = pipe_of(mix);
    return rebase_emit(mix, ret_emit);
}

/* The op of a that copies what becomes b's field @number; false: none does. */
static bool find_copy(struct mix *mix, uint32_t number, struct program_op *ret_op)
{
    for (uint32_t i = 0; i < mix->a.op_count; i++) {
        *ret_op = fuse_op_at(mix->builder, mix->a.op_first + i);
        if (is_nested(ret_op) && ret_op->tag >> 3 == number)
            return copies(ret_op);
    }
    return false;
}

bool fuse_emit_behind(struct mix *mix, const struct program_emit *b, struct program_emit *ret_emit)
{
    struct program_op copy;
    if (!knows_emit(b))
        return false;
    *ret_emit = *b;
    if (b->kind != EMIT_JOIN && b->kind != EMIT_CONVERT && b->kind != EMIT_UNUSUAL)
        return true;
    /* It goes over the records of the source. */
    if (!find_copy(mix, b->number, &copy))
        return false;
    ret_emit->number = copy.number;
    if (!b->carry)
        ret_emit->carry = b->number;
    return true;
}
