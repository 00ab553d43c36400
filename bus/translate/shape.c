/*
 * Fields that change their shape: repeated and singular, a bare value and a message around it.
 *
 * While its message is read, such a field is only checked, and where its records lie is kept in a
 * slot (ACTION_DEFER); its emit goes over them once more, in the private copy. So an emit knows all
 * of a field before it writes anything: which element is the last, what else a message holds.
 *
 * What the target has no place for goes to carriers without a guard, as whole fields of the source:
 * PICK leaves the other elements there, UNWRAP the message without its value. On the way back
 * UNPICK and WRAP put together what the other version has now and what a carrier has (ACTION_HELD).
 * An edited value therefore keeps its neighbours; and where the other version tells absence, a
 * value that was deleted takes them with it, since what it wrote was "nothing".
 *
 * Presence, for a message M around a value. If the field in M tells absence, that is the value's
 * own, and M itself travels in the carrier where the value does not show it. If it does not, M's
 * presence is the bare value's.
 */
#include "translate/shape.h"

/* ---- Values, one by one ---- */

int run_defer(struct run *run, struct frame *frame, const struct program_op *op,
              enum wire_type type, const uint8_t *at, const uint8_t *pos, const uint8_t *end,
              const uint8_t **ret_pos)
{
    uint32_t elements = run->elements;
    int r = run_check_value(run, op, type, at, pos, end, frame->depth, ret_pos);
    if (r < 0)
        return r;
    run->elements = elements; /* they are counted when they are written */
    struct slot *slot = &frame->slots[op->slot];
    if (!slot->seen)
        slot->data = at;
    slot->seen = true;
    slot->bytes = (uint32_t)(*ret_pos - slot->data);
    return 0;
}

struct elements elements_of(const struct slot *slot, uint32_t number, enum wire_type wire)
{
    return (struct elements){
        .pos = slot->data,
        .end = slot->data ? slot->data + slot->bytes : NULL,
        .number = number,
        .wire = wire,
    };
}

static int next_packed(struct run *run, struct elements *elements, struct element *ret_element)
{
    const uint8_t *pos = elements->packed;
    uint64_t value;
    if (elements->wire == WIRE_VARINT) {
        pos = run_read_varint(pos, elements->packed_end, &value);
    } else {
        ptrdiff_t bytes = elements->wire == WIRE_32BIT ? 4 : 8;
        pos = elements->packed_end - pos < bytes ? NULL : pos + bytes;
    }
    if (!pos)
        return run_fail(run, -EBADMSG, elements->at, elements->number, "malformed packed values");
    *ret_element = (struct element){elements->at, elements->packed, pos, elements->wire};
    elements->packed = pos;
    return 1;
}

int elements_next(struct run *run, struct elements *elements, struct element *ret_element)
{
    for (;;) {
        if (elements->packed != elements->packed_end)
            return next_packed(run, elements, ret_element);
        if (elements->pos == elements->end)
            return 0;
        struct run_record record;
        int r = run_next_record(run, &elements->pos, elements->end, &record);
        if (r < 0)
            return r;
        enum wire_type type = (enum wire_type)(record.tag & 7);
        if (record.tag >> 3 != elements->number)
            continue;
        if (type == WIRE_BYTES && elements->wire != WIRE_BYTES) {
            uint32_t bytes = 0;
            elements->at = record.at;
            elements->packed = run_read_length(record.value, record.end, &bytes);
            elements->packed_end = record.end;
        } else if (type == elements->wire) {
            *ret_element = (struct element){record.at, record.value, record.end, type};
            return 1;
        }
    }
}

const struct program_op *shape_op(const struct run *run, const struct program_emit *emit)
{
    return &run->plan->ops[run->plan->tables[emit->table].op_first];
}

struct program_op shape_inner(const struct program_op *op)
{
    struct program_op inner = *op;
    inner.number = op->tag >> 3;
    inner.kind = op->written;
    inner.wire = (uint8_t)program_wire_type((enum kind)op->written);
    inner.action = ACTION_RENUMBER;
    inner.convert = PROGRAM_NONE;
    return inner;
}

/* Of a varint, a kind of 32 bits is the lower half. */
static bool is_zero(enum kind kind, const uint8_t *pos, const uint8_t *end)
{
    enum wire_type wire = program_wire_type(kind);
    bool narrow =
        kind == KIND_INT32 || kind == KIND_UINT32 || kind == KIND_SINT32 || kind == KIND_ENUM;
    uint64_t value = 0;
    if (wire == WIRE_VARINT) {
        (void)run_read_varint(pos, end, &value);
        return (narrow ? (uint32_t)value : value) == 0;
    }
    if (wire == WIRE_BYTES)
        return run_read_varint(pos, end, &value) == end; /* its length, of which nothing follows */
    while (pos < end && *pos == 0)
        pos++;
    return pos == end;
}

bool shape_is_empty(const struct element *element)
{
    return is_zero(KIND_MESSAGE, element->value, element->end);
}

bool shape_is_zero(const struct program_op *op, const struct element *element)
{
    return op->kind != KIND_MESSAGE && is_zero((enum kind)op->kind, element->value, element->end);
}

bool shape_is_default(struct run *run, const struct program_op *op, const struct element *element)
{
    struct slot value = {0};
    if (op->kind == KIND_MESSAGE)
        return false;
    /* One that cannot be converted is refused when it is written. */
    if (op->action == ACTION_SCALAR)
        return run_decode(run, op, element->at, element->value, &value) == 0 && value.mapped == 0;
    return shape_is_zero(op, element);
}

int shape_write(struct run *run, struct frame *frame, const struct program_op *op,
                const struct element *element)
{
    struct program_op one = *op;
    const uint8_t *after;
    if (one.action == ACTION_VERBATIM) /* of a message that nothing changes in */
        one.action = ACTION_RENUMBER;
    return run_field(run, frame, &one, element->type, element->at, element->value, element->end,
                     &after);
}

/* All values as records of their own: the pieces of one message, which stay pieces. */
static int write_pieces(struct run *run, struct frame *frame, const struct program_op *op,
                        const struct slot *slot)
{
    struct elements elements = elements_of(slot, op->number, (enum wire_type)op->wire);
    struct element element;
    int r;
    while ((r = elements_next(run, &elements, &element)) > 0) {
        r = shape_write(run, frame, op, &element);
        if (r < 0)
            return r;
    }
    return r;
}

static bool is_given(const struct slot *slot, enum kind kind)
{
    return program_wire_type(kind) == WIRE_BYTES ? slot->bytes > 0 : slot->mapped != 0;
}

int shape_write_default(struct run *run, const struct program_op *op, const uint8_t *at)
{
    const struct slot none = {0};
    if (op->kind == KIND_MESSAGE && run->plan->tables[op->table].required_count > 0)
        return run_fail(run, -ERANGE, at, op->number,
                        "a message that is absent, and whose required fields this version needs");
    return run_write_slot(run, op->tag, (enum kind)op->written, &none);
}

int shape_check_depth(struct run *run, const struct frame *frame, uint32_t number)
{
    if (frame->depth == WIRE_DEPTH_MAX)
        return run_fail(run, -E2BIG, frame->end, number, "messages nested deeper than the limit");
    return 0;
}

/* ---- Repeated and singular ---- */

static int write_packed(struct run *run, uint32_t number, const uint8_t *pos, const uint8_t *end)
{
    struct open_length open;
    if (pos == end)
        return 0;
    int r = run_write_tag(run, number << 3 | WIRE_BYTES);
    if (r == 0)
        r = run_open_length(run, (size_t)(end - pos), &open);
    if (r == 0)
        r = run_write_bytes(run, pos, (size_t)(end - pos));
    return r < 0 ? r : run_close_length(run, &open);
}

/* A record without the picked value. */
static int write_others(struct run *run, const struct program_op *op,
                        const struct run_record *record, const struct element *picked)
{
    if (record->at != picked->at)
        return run_write_bytes(run, record->at, (size_t)(record->end - record->at));
    if ((record->tag & 7) != WIRE_BYTES || op->wire == WIRE_BYTES)
        return 0;
    uint32_t bytes = 0;
    const uint8_t *pos = run_read_length(record->value, record->end, &bytes);
    int r = write_packed(run, op->number, pos, picked->value);
    return r < 0 ? r : write_packed(run, op->number, picked->end, record->end);
}

static int carry_others(struct run *run, struct frame *frame, const struct program_op *op,
                        const struct slot *slot, const struct element *picked)
{
    struct open_length open;
    int r = run_carry_begin(run, frame, NULL, slot->bytes, &open);
    const uint8_t *pos = slot->data, *end = slot->data + slot->bytes;
    while (r == 0 && pos < end) {
        struct run_record record;
        r = run_next_record(run, &pos, end, &record);
        if (r == 0 && record.tag >> 3 == op->number)
            r = write_others(run, op, &record, picked);
    }
    return r < 0 ? r : run_carry_end(run, frame, &open, NULL);
}

/* What a value that is its default, and alone, is carried along for: the list was not empty. */
static uint64_t guard_of_default(const struct program_op *op)
{
    return op->wire == WIRE_BYTES ? run_guard_text(NULL, 0) : run_guard_value(0);
}

static int emit_pick(struct run *run, struct frame *frame, const struct program_emit *emit,
                     const struct slot *slot)
{
    const struct program_op *op = shape_op(run, emit);
    struct elements elements = elements_of(slot, op->number, (enum wire_type)op->wire);
    struct element element, picked = {0};
    uint32_t count = 0;
    int r;
    while ((r = elements_next(run, &elements, &element)) > 0)
        if (count++ == 0 || (emit->flags & EMIT_LAST))
            picked = element;
    if (r < 0 || count == 0)
        return r;
    if (count > 1 && (emit->flags & EMIT_ONLY))
        return run_fail(run, -ERANGE, picked.at, op->number,
                        "more than one element, and this version has room for one");
    bool told = (emit->flags & EMIT_PRESENCE) || !shape_is_default(run, op, &picked);
    if (told)
        r = run_add_field(run, frame, emit);
    if (told && r == 0)
        r = shape_write(run, frame, op, &picked);
    if (r == 0 && count > 1)
        r = carry_others(run, frame, op, slot, &picked);
    else if (r == 0 && !told)
        r = run_carry_records(run, frame, op->number, guard_of_default(op));
    return r;
}

int shape_write_whole(struct run *run, struct frame *frame, const struct program_op *op,
                      struct elements pieces)
{
    struct element element;
    struct open_length open;
    int r = shape_check_depth(run, frame, op->number);
    if (r == 0)
        r = run_write_tag(run, op->tag);
    if (r == 0)
        r = run_open_length(run, (size_t)(pieces.end - pieces.pos), &open);
    while (r == 0 && (r = elements_next(run, &pieces, &element)) > 0) {
        struct frame nested;
        uint32_t bytes = 0;
        const uint8_t *after, *data = run_read_length(element.value, element.end, &bytes);
        if (op->action == ACTION_MESSAGE)
            r = run_translate(run, &run->plan->tables[op->table], NULL, data, data + bytes,
                              frame->depth + 1, &nested);
        else /* it was checked as the source's; the pair's table may ask for more */
            r = run_check_value(run, op, WIRE_BYTES, element.at, element.value, element.end,
                                frame->depth, &after);
        if (r == 0 && op->action != ACTION_MESSAGE)
            r = run_write_bytes(run, data, bytes);
    }
    return r < 0 ? r : run_close_length(run, &open);
}

static int write_held(struct run *run, const struct frame *frame, uint32_t number)
{
    struct run_held held = {.pos = frame->start};
    struct run_record record;
    int r = 0;
    while (frame->gathers && (r = run_held_next(run, frame, &held, number, &record)) > 0) {
        r = run_write_bytes(run, record.at, (size_t)(record.end - record.at));
        if (r < 0)
            return r;
    }
    return r;
}

static int emit_unpick(struct run *run, struct frame *frame, const struct program_emit *emit,
                       const struct slot *slot)
{
    const struct program_op *op = shape_op(run, emit);
    bool message = op->kind == KIND_MESSAGE;
    bool presence = message || (emit->flags & EMIT_SOURCE_PRESENCE);
    bool told = presence ? slot->seen : is_given(slot, (enum kind)op->written);
    struct run_held held = {.pos = frame->start};
    struct run_record record;
    if (slot->restored || (!told && (presence || !frame->gathers)))
        return 0;
    int r = told ? 1 : run_held_next(run, frame, &held, emit->number, &record);
    if (r <= 0)
        return r;
    r = run_count_element(run, op, frame->end);
    if (r == 0 && (emit->flags & EMIT_LAST))
        r = write_held(run, frame, emit->number);
    if (r == 0)
        r = message ? shape_write_whole(run, frame, op, elements_of(slot, op->number, WIRE_BYTES))
                    : run_write_slot(run, op->tag, (enum kind)op->written, slot);
    if (r == 0 && !(emit->flags & EMIT_LAST))
        r = write_held(run, frame, emit->number);
    return r;
}

/* ---- A value and a message around it ---- */

int shape_count_inside(struct run *run, const struct frame *frame, uint32_t number,
                       const struct run_record *field, uint32_t *fields)
{
    const struct plan *plan = run->plan;
    uint32_t table = run_restore_of(run, frame, frame->opens);
    const struct program_op *held =
        table == PROGRAM_NONE ? NULL : run_find(plan, &plan->tables[table], number);
    const struct program_op *op = held && held->table != PROGRAM_NONE
                                      ? run_find(plan, &plan->tables[held->table], field->tag >> 3)
                                      : NULL;
    if (op && (op->flags & OP_REPEATED))
        return 0;
    if (++*fields > WIRE_FIELDS_MAX)
        return run_fail(run, -E2BIG, field->at, field->tag >> 3,
                        "more fields in one message than the limit");
    return 0;
}

/* What a carrier has of the message. Its value only where @defaults, and if it is one. */
static int write_rest(struct run *run, const struct frame *frame, uint32_t number,
                      const struct program_op *op, bool told, bool defaults, bool *ret_any)
{
    struct run_held held = {.pos = frame->start};
    struct run_record record, field;
    uint32_t fields = told;
    int r;
    while ((r = run_held_next(run, frame, &held, number, &record)) > 0) {
        uint32_t bytes = 0;
        const uint8_t *pos = run_read_length(record.value, record.end, &bytes);
        *ret_any = true;
        while (pos && pos < record.end) {
            r = run_next_record(run, &pos, record.end, &field);
            if (r < 0)
                return r;
            if (field.tag >> 3 == op->tag >> 3 &&
                !(defaults && is_zero((enum kind)op->written, field.value, field.end)))
                continue;
            r = shape_count_inside(run, frame, number, &field, &fields);
            if (r == 0)
                r = run_write_bytes(run, field.at, (size_t)(field.end - field.at));
            if (r < 0)
                return r;
        }
    }
    return r;
}

static int write_value(struct run *run, const struct frame *frame, const struct program_emit *emit,
                       const struct program_op *op, const struct slot *slot)
{
    struct frame inside = *frame;
    inside.depth++;
    if (op->kind == KIND_MESSAGE)
        return write_pieces(run, &inside, op, slot);
    if (!(emit->flags & EMIT_INNER_PRESENCE) && !is_given(slot, (enum kind)op->written))
        return 0;
    return run_write_slot(run, op->tag, (enum kind)op->written, slot);
}

static int emit_wrap(struct run *run, struct frame *frame, const struct program_emit *emit,
                     const struct slot *slot)
{
    const struct program_op *op = shape_op(run, emit);
    bool presence = op->kind == KIND_MESSAGE || (emit->flags & EMIT_SOURCE_PRESENCE);
    bool inner = emit->flags & EMIT_INNER_PRESENCE;
    bool told = presence ? slot->seen : is_given(slot, (enum kind)op->written), any = false;
    if (!told && (!frame->gathers || (presence && !inner)))
        return 0;
    uint8_t *before = run->out;
    struct open_length open;
    int r = shape_check_depth(run, frame, emit->number);
    if (r == 0)
        r = run_write_tag(run, emit->tag);
    if (r == 0)
        r = run_open_length(run, slot->bytes, &open);
    /* Behind the rest: a value that was set there wins over it. */
    if (r == 0 && frame->gathers)
        r = write_rest(run, frame, emit->number, op, told, !told && inner && !presence, &any);
    if (r == 0 && told)
        r = write_value(run, frame, emit, op, slot);
    if (r == 0 && (told || any))
        r = run_add_field(run, frame, emit);
    if (r < 0)
        return r;
    if (!told && !any) {
        run->out = before;
        return 0;
    }
    return run_close_length(run, &open);
}

int shape_look_inside(struct run *run, const struct element *piece, const struct program_op *op,
                      struct wrapped *wrapped)
{
    uint32_t bytes = 0;
    const uint8_t *pos = run_read_length(piece->value, piece->end, &bytes);
    while (pos && pos < piece->end) {
        struct run_record field;
        int r = run_next_record(run, &pos, piece->end, &field);
        if (r < 0)
            return r;
        enum wire_type type = (enum wire_type)(field.tag & 7);
        if (field.tag >> 3 != op->number || (uint8_t)type != op->wire) {
            wrapped->has_rest = true;
            continue;
        }
        wrapped->value = (struct element){field.at, field.value, field.end, type};
        wrapped->has_value = true;
    }
    return 0;
}

/* The fields of a piece: those of the value (of a message: pieces again) as the op says, or all
 * others as they are, and @keep. */
static int write_inside(struct run *run, struct frame *frame, const struct element *piece,
                        const struct program_op *op, bool value, const uint8_t *keep)
{
    uint32_t bytes = 0;
    const uint8_t *pos = run_read_length(piece->value, piece->end, &bytes);
    while (pos && pos < piece->end) {
        struct run_record field;
        int r = run_next_record(run, &pos, piece->end, &field);
        if (r < 0)
            return r;
        bool is_value = field.tag == (op->number << 3 | op->wire);
        struct element element = {field.at, field.value, field.end, (enum wire_type)op->wire};
        if (value && is_value)
            r = shape_write(run, frame, op, &element);
        else if (!value && (!is_value || field.at == keep))
            r = run_write_bytes(run, field.at, (size_t)(field.end - field.at));
        if (r < 0)
            return r;
    }
    return 0;
}

static int write_all_inside(struct run *run, struct frame *frame, const struct program_emit *emit,
                            const struct slot *slot, bool value, const uint8_t *keep)
{
    const struct program_op *op = shape_op(run, emit);
    struct elements pieces = elements_of(slot, emit->number, WIRE_BYTES);
    struct element piece;
    int r;
    while ((r = elements_next(run, &pieces, &piece)) > 0) {
        r = write_inside(run, frame, &piece, op, value, keep);
        if (r < 0)
            return r;
    }
    return r;
}

static int carry_rest(struct run *run, struct frame *frame, const struct program_emit *emit,
                      const struct slot *slot, const uint8_t *keep)
{
    struct open_length carrier, open;
    int r = run_carry_begin(run, frame, NULL, slot->bytes, &carrier);
    if (r == 0)
        r = run_write_tag(run, emit->number << 3 | WIRE_BYTES);
    if (r == 0)
        r = run_open_length(run, slot->bytes, &open);
    if (r == 0)
        r = write_all_inside(run, frame, emit, slot, false, keep);
    if (r == 0)
        r = run_close_length(run, &open);
    return r < 0 ? r : run_carry_end(run, frame, &carrier, NULL);
}

static int emit_unwrap(struct run *run, struct frame *frame, const struct program_emit *emit,
                       const struct slot *slot)
{
    const struct program_op *op = shape_op(run, emit);
    struct elements pieces = elements_of(slot, emit->number, WIRE_BYTES);
    struct element piece;
    struct wrapped wrapped = {.has_value = false};
    int r = 0;
    if (!slot->seen)
        return 0;
    while (r == 0 && (r = elements_next(run, &pieces, &piece)) > 0)
        r = shape_look_inside(run, &piece, op, &wrapped);
    if (r < 0)
        return r;
    bool message = op->kind == KIND_MESSAGE, inner = emit->flags & EMIT_INNER_PRESENCE;
    bool presence = message || (emit->flags & EMIT_PRESENCE);
    bool given = wrapped.has_value && !shape_is_default(run, op, &wrapped.value);
    bool told = inner ? wrapped.has_value && (presence || given) : presence || given;
    const struct slot none = {0};
    if (told)
        r = run_add_field(run, frame, emit);
    if (r == 0 && told && message)
        r = write_all_inside(run, frame, emit, slot, true, NULL);
    else if (r == 0 && told)
        r = wrapped.has_value ? shape_write(run, frame, op, &wrapped.value)
                              : run_write_slot(run, op->tag, (enum kind)op->written, &none);
    if (r < 0 || (told && !wrapped.has_rest))
        return r;
    return carry_rest(run, frame, emit, slot, !told && wrapped.has_value ? wrapped.value.at : NULL);
}

int run_emit_shape(struct run *run, struct frame *frame, const struct program_emit *emit)
{
    const struct slot *slot = &frame->slots[emit->slot];
    switch (emit->kind) {
    case EMIT_PICK:
        return emit_pick(run, frame, emit, slot);
    case EMIT_UNPICK:
        return emit_unpick(run, frame, emit, slot);
    case EMIT_WRAP:
        return emit_wrap(run, frame, emit, slot);
    case EMIT_ONEOF:
        return emit_oneof(run, frame, emit, slot);
    case EMIT_WRAP_EACH:
        return emit_wrap_each(run, frame, emit, slot);
    case EMIT_UNWRAP_EACH:
        return emit_unwrap_each(run, frame, emit, slot);
    case EMIT_ENTRIES:
        return emit_entries(run, frame, emit, slot);
    default:
        return emit_unwrap(run, frame, emit, slot);
    }
}
