/*
 * Fields whose values change their type, or their meaning, and fields that one version lacks but
 * knows the value of.
 *
 * Such a field cannot be written where it is met. What the other version could not hold of it may
 * be in a carrier, which may come behind it, and is to be restored *instead*: in a repeated field
 * or a oneof one cannot write first and correct later. So ACTION_LATER only checks its values, and
 * at the end of the message they are looked at a second time, in the private copy (run.c), which
 * nobody changes:
 *
 *  - a carrier that was guarded by just these values has been restored: nothing is to be written;
 *  - a member of a oneof behind which another member came is not what the oneof holds: nothing;
 *  - else each value is converted and written, and if one of them would not come back from what was
 *    written, all records of the field go to the carrier, guarded by what was written.
 *
 * The guard of a singular field is the hash of its value; of a repeated one, the hash of the hashes
 * of its values, in their order; of a map, the sum over its entries of a hash of key and value,
 * since a program may write them in another order. Of entries with the same key the last one
 * counts.
 *
 * Absent. Where the source cannot tell absent from default, the default is absent on the other
 * side as well, whatever the rule would make of "" or 0: there is no text for a number that nobody
 * set. The one exception is a linear rule with an offset, where 0 is a value like any other.
 */
#include "translate/convert_inner.h"

/* ---- The pass ---- */

int convert_later(struct frame *frame, const struct program_op *op, const uint8_t *at,
                  const uint8_t *after)
{
    struct slot *slot = &frame->slots[op->slot];
    /* All of it, from the first on, where all of it counts; else the last. */
    bool all = (op->flags & OP_REPEATED) || op->kind == KIND_MESSAGE;
    if (!slot->seen || !all)
        slot->data = at;
    slot->bytes = (uint32_t)(after - slot->data);
    slot->seen = true;
    return 0;
}

/* ---- The second look ---- */

/* The next value, of a packed record or of one of its own. Return: as above. */
static int next_value(struct run *run, const struct program_op *op, struct look *look,
                      struct value *value)
{
    while (look->packed == look->closed) {
        enum wire_type type = WIRE_VARINT;
        const uint8_t *pos = NULL, *after = NULL;
        uint32_t bytes;
        int r = convert_next_record(run, op, look, &type, &pos, &after);
        if (r <= 0)
            return r;
        look->packed = look->closed = NULL;
        scalar_clear(value);
        if (type != WIRE_BYTES || op->wire == WIRE_BYTES) {
            r = convert_read(run, op, (enum kind)op->kind, pos, after, value, &pos);
            return r < 0 ? r : 1;
        }
        look->packed = run_read_length(pos, after, &bytes);
        look->closed = look->packed ? after : NULL;
    }
    scalar_clear(value);
    int r = convert_read(run, op, (enum kind)op->kind, look->packed, look->closed, value,
                         &look->packed);
    return r < 0 ? r : 1;
}

/* ---- Singular fields ---- */

static int read_single(struct run *run, const struct program_op *op, const struct slot *slot,
                       struct value *value)
{
    convert_reset_to(value, (enum kind)op->kind);
    if (!slot->seen)
        return 0;
    struct look look = look_at(slot);
    for (;;) {
        enum wire_type type = WIRE_VARINT;
        const uint8_t *pos = NULL, *after = NULL;
        int r = convert_next_record(run, op, &look, &type, &pos, &after);
        if (r <= 0)
            return r;
        if ((uint8_t)type != op->wire)
            continue;
        r = convert_read(run, op, (enum kind)op->kind, pos, after, value, &pos);
        if (r < 0)
            return r;
    }
}

/* The op of the last member of the oneof from @pos on; NULL: there is none. */
static int last_of_oneof(struct run *run, const struct frame *frame, uint16_t oneof,
                         const uint8_t *pos, const struct program_op **ret_op)
{
    *ret_op = NULL;
    while (pos < frame->end) {
        struct run_record record;
        int r = run_next_record(run, &pos, frame->end, &record);
        if (r < 0)
            return r;
        const struct program_op *op = run_find(run->plan, frame->table, record.tag >> 3);
        if (op && op->oneof == oneof)
            *ret_op = op;
    }
    return 0;
}

/* Whether a member of the oneof came behind this one. */
static int is_overridden(struct run *run, const struct frame *frame, const struct program_op *op,
                         const struct slot *slot, bool *ret_overridden)
{
    const struct program_op *last = NULL;
    const uint8_t *pos = slot->seen ? slot->data + slot->bytes : frame->start;
    int r = op->oneof ? last_of_oneof(run, frame, op->oneof, pos, &last) : 0;
    *ret_overridden = last && last != op;
    return r;
}

int convert_yields(struct run *run, const struct frame *frame, const struct program_op *op,
                   bool *ret_yields)
{
    struct slot *slot = &frame->slots[op->later];
    /* Looked for once in a message: 1: it does not, 2: it does. */
    if (slot->mapped == 0) {
        const struct program_op *last;
        int r = last_of_oneof(run, frame, op->oneof, frame->start, &last);
        if (r < 0)
            return r;
        slot->mapped = last && last->action == ACTION_LATER ? 2 : 1;
    }
    *ret_yields = slot->mapped == 2;
    return 0;
}

/* All records of the field as they came; of one that is not there, its default. */
int convert_carry_field(struct run *run, struct frame *frame, const struct program_op *op,
                        const struct slot *slot, uint64_t guard)
{
    if (slot->seen && !(op->flags & OP_REPEATED) && op->kind != KIND_MESSAGE)
        return run_carry(run, frame, slot->data, slot->bytes, &guard);
    if (slot->seen)
        return run_carry_records(run, frame, op->number, guard);
    uint8_t record[16] = {0};
    uint8_t *end = wire_write_varint(record, op->number << 3 | op->wire);
    end += op->wire == WIRE_64BIT ? 8 : op->wire == WIRE_32BIT ? 4 : 1;
    return run_carry(run, frame, record, (size_t)(end - record), &guard);
}

static int write_single(struct run *run, struct frame *frame, const struct program_emit *emit,
                        const struct value *value)
{
    if (value->form == VALUE_TIME && frame->depth == WIRE_DEPTH_MAX)
        return run_fail(run, -E2BIG, frame->end, emit->number,
                        "messages nested deeper than the limit");
    int r = run_add_field(run, frame, emit);
    if (r == 0)
        r = run_write_tag(run, emit->tag);
    return r < 0 ? r : convert_write(run, (enum kind)emit->written, value);
}

static int convert_single(struct run *run, struct frame *frame, const struct program_emit *emit,
                          const struct program_op *op, const struct slot *slot)
{
    const struct program_convert *convert = convert_of(run, op);
    struct value in, out;
    bool lost = false;
    if (!slot->seen && !(emit->flags & EMIT_COUNTS))
        return 0;
    int r = read_single(run, op, slot, &in);
    if (r < 0)
        return r;
    if (scalar_is_default(&in) && !(emit->flags & (EMIT_SOURCE_PRESENCE | EMIT_COUNTS)))
        return 0;
    r = convert_resolve(run, op, convert, &in, slot->seen ? slot->data : frame->end, &out, &lost);
    if (r < 0)
        return r;
    if (r == 1)
        scalar_default(convert, &out); /* what absence is, where it cannot be told */
    bool told = r == 0 || !(emit->flags & EMIT_PRESENCE);
    uint64_t guard = told ? scalar_guard(&out) : RUN_GUARD_ABSENT;
    if (r == 0) {
        bool tells = emit->flags & EMIT_PRESENCE, zero = scalar_is_default(&out);
        lost |= !tells && zero && !(emit->flags & EMIT_COUNTS);
        if (tells || !zero)
            r = write_single(run, frame, emit, &out);
    }
    if (r < 0 || !lost || (emit->flags & EMIT_LOSSY))
        return r < 0 ? r : 0;
    return convert_carry_field(run, frame, op, slot, guard);
}

/* ---- Repeated fields ---- */

static uint64_t chain(uint64_t state, const struct value *value)
{
    uint64_t guard = scalar_guard(value);
    return run_guard_more(state, &guard, sizeof(guard));
}

/* The guard of all values, as they are or as they are written. */
static int list_guard(struct run *run, const struct program_op *op, const struct slot *slot,
                      bool written, uint64_t *ret_guard)
{
    struct look look = look_at(slot);
    struct value in, out;
    uint64_t state = run_guard_text(NULL, 0);
    bool lost = false;
    int r = 0;
    while (slot->seen && (r = next_value(run, op, &look, &in)) == 1) {
        if (!written) {
            state = chain(state, &in);
            continue;
        }
        r = convert_resolve(run, op, convert_of(run, op), &in, slot->data, &out, &lost);
        if (r < 0)
            return r;
        if (r == 0)
            state = chain(state, &out);
    }
    *ret_guard = state;
    return r;
}

/* One record: packed as it came, if the target's kind can be. */
static int write_record(struct run *run, const struct program_op *op, enum wire_type type,
                        const uint8_t *pos, const uint8_t *after, bool *lost)
{
    enum kind kind = (enum kind)op->written;
    bool many = type == WIRE_BYTES && op->wire != WIRE_BYTES;
    bool packs = many && program_wire_type(kind) != WIRE_BYTES;
    struct open_length open;
    struct value in, out;
    uint32_t bytes;
    int r = 0;
    if (many) {
        pos = run_read_length(pos, after, &bytes);
        if (!pos)
            return run_fail(run, -EBADMSG, after, op->number, "length past the end");
    }
    if (packs) {
        r = run_write_tag(run, (op->tag & ~UINT32_C(7)) | WIRE_BYTES);
        if (r == 0)
            r = run_open_length(run, bytes, &open);
    }
    while (r == 0 && pos < after) {
        const uint8_t *at = pos;
        scalar_clear(&in);
        r = convert_read(run, op, (enum kind)op->kind, pos, after, &in, &pos);
        if (r == 0)
            r = convert_resolve(run, op, convert_of(run, op), &in, at, &out, lost);
        if (r == 1) {
            r = 0;
            continue;
        }
        if (r == 0 && !packs)
            r = run_write_tag(run, op->tag);
        if (r == 0)
            r = convert_write(run, kind, &out);
    }
    return r == 0 && packs ? run_close_length(run, &open) : r;
}

static int convert_list(struct run *run, struct frame *frame, const struct program_emit *emit,
                        const struct program_op *op, const struct slot *slot)
{
    struct look look = look_at(slot);
    bool lost = false;
    if (!slot->seen)
        return 0;
    if (op->written == KIND_MESSAGE && frame->depth == WIRE_DEPTH_MAX)
        return run_fail(run, -E2BIG, slot->data, op->number,
                        "messages nested deeper than the limit");
    for (;;) {
        enum wire_type type = WIRE_VARINT;
        const uint8_t *pos = NULL, *after = NULL;
        int r = convert_next_record(run, op, &look, &type, &pos, &after);
        if (r == 0)
            break;
        if (r == 1)
            r = write_record(run, op, type, pos, after, &lost);
        if (r < 0)
            return r;
    }
    if (!lost || (emit->flags & EMIT_LOSSY))
        return 0;
    uint64_t guard;
    int r = list_guard(run, op, slot, true, &guard);
    return r < 0 ? r : convert_carry_field(run, frame, op, slot, guard);
}

/* ---- Constants: fields that one version lacks ---- */

/* In a carrier, a record of the wrong wire type: there was no such field. */
static uint32_t absent_tag(const struct program_op *op)
{
    return op->number << 3 | (op->wire == WIRE_BYTES ? WIRE_VARINT : WIRE_BYTES);
}

int convert_told(struct run *run, struct frame *frame, const struct program_op *op,
                 enum wire_type type, const uint8_t *at, const uint8_t *pos, const uint8_t *end,
                 const uint8_t **ret_pos)
{
    uint32_t tag = op->number << 3 | (uint32_t)type;
    int r;
    frame->slots[op->slot].restored = true;
    if (tag == absent_tag(op))
        return run_skip_unknown(run, tag, at, pos, end, ret_pos);
    frame->slots[op->slot].seen = true;
    r = run_check_value(run, op, type, at, pos, end, frame->depth, ret_pos);
    return r < 0 ? r : run_write_bytes(run, at, (size_t)(*ret_pos - at));
}

static int emit_constant(struct run *run, struct frame *frame, const struct program_emit *emit,
                         const struct slot *slot)
{
    struct value value;
    if (slot->seen && emit->required != PROGRAM_REQUIRED_NONE)
        frame->required |= UINT64_C(1) << emit->required;
    if (slot->restored)
        return 0;
    scalar_otherwise(run->plan, &run->plan->converts[emit->node], &value);
    return write_single(run, frame, emit, &value);
}

static int emit_unusual(struct run *run, struct frame *frame, const struct program_op *op,
                        const struct slot *slot)
{
    struct value value, usual;
    int r = read_single(run, op, slot, &value);
    if (r < 0)
        return r;
    scalar_otherwise(run->plan, convert_of(run, op), &usual);
    if (slot->seen && scalar_equals(&value, &usual))
        return 0;
    if (slot->seen)
        return run_carry(run, frame, slot->data, slot->bytes, NULL);
    uint8_t record[8] = {0};
    uint8_t *end = wire_write_varint(record, absent_tag(op)) + 1;
    return run_carry(run, frame, record, (size_t)(end - record), NULL);
}

/* ---- The end of a message ---- */

int convert_emit(struct run *run, struct frame *frame, const struct program_emit *emit)
{
    const struct slot *slot = &frame->slots[emit->slot];
    if (emit->kind == EMIT_CONSTANT)
        return emit_constant(run, frame, emit, slot);
    const struct program_op *op = run_find(run->plan, frame->table, emit->number);
    if (!op || op->action != ACTION_LATER)
        return 0;
    if (emit->kind == EMIT_UNUSUAL)
        return emit_unusual(run, frame, op, slot);
    bool overridden;
    int r = is_overridden(run, frame, op, slot, &overridden);
    if (r < 0 || overridden || slot->restored)
        return r;
    if (convert_of(run, op)->mode == CONVERT_ENTRY)
        return convert_map(run, frame, emit, op, slot);
    return op->flags & OP_REPEATED ? convert_list(run, frame, emit, op, slot)
                                   : convert_single(run, frame, emit, op, slot);
}

int convert_holds(struct run *run, const struct frame *frame, const struct program_op *guarded,
                  uint64_t guard, bool *ret_holds)
{
    struct slot *slot = &frame->slots[guarded->slot];
    const struct program_op *op = NULL;
    for (uint32_t i = 0; i < frame->table->op_count && !op; i++) {
        const struct program_op *other = &run->plan->ops[frame->table->op_first + i];
        if (other->action == ACTION_LATER && other->slot == guarded->slot)
            op = other;
    }
    *ret_holds = false;
    if (!op)
        return 0;
    if (!slot->has_guard) {
        struct value value;
        int r = is_overridden(run, frame, op, slot, &slot->overridden);
        if (r < 0 || slot->overridden)
            ;
        else if (convert_of(run, op)->mode == CONVERT_ENTRY)
            r = convert_map_guard(run, op, slot, WALK_SOURCE, &slot->guard);
        else if (op->flags & OP_REPEATED)
            r = list_guard(run, op, slot, false, &slot->guard);
        else if (!slot->seen && (guarded->flags & OP_TELLS))
            slot->guard = RUN_GUARD_ABSENT;
        else if ((r = read_single(run, op, slot, &value)) == 0)
            slot->guard = scalar_guard(&value);
        if (r < 0)
            return r;
        slot->has_guard = true;
    }
    *ret_holds = !slot->overridden && slot->guard == guard;
    return 0;
}
