/*
 * The carrier: what one version has and the other has not travels through it in one field, of a
 * number that nobody may declare, as bytes:
 *
 *     0d owner            records...      restored whenever the message comes back
 *     15 owner 19 guard   records...      restored if what stands for them was not edited meanwhile
 *
 * Records are fields of the owner, just as they were. The owner is the type that they belong to, so
 * that a message may carry the fields of several versions, and a version takes only its own out;
 * the others it passes on, as any unknown field. To a protobuf decoder a carrier is a message.
 *
 * A guard is a hash of what the other version got in place of the records: the mapped value, the
 * joined text, the text that a template gives. When the message comes back the same thing is hashed
 * again; if somebody has changed it, the change wins and the records are dropped.
 *
 * Neighbouring records without a guard share a carrier: it is extended while nothing else has been
 * written behind it.
 */
#include "translate/convert.h"
#include "translate/shape.h"

int run_carry_begin(struct run *run, struct frame *frame, const uint64_t *guard, size_t guess,
                    struct open_length *ret_open)
{
    if (!guard && frame->carrier && frame->carrier_end == run->out &&
        frame->carrier_owner == frame->owner) {
        unsigned bytes = 1;
        while (frame->carrier[bytes - 1] & 0x80)
            bytes++;
        *ret_open = (struct open_length){frame->carrier, bytes};
        return 0;
    }
    uint8_t head[CARRIER_OWNER_BYTES + CARRIER_GUARD_BYTES];
    size_t head_bytes = guard ? sizeof(head) : CARRIER_OWNER_BYTES;
    head[0] = guard ? CARRIER_GUARDED_TAG : CARRIER_PLAIN_TAG;
    memcpy(head + 1, &frame->owner, 4);
    if (guard) {
        head[CARRIER_OWNER_BYTES] = CARRIER_GUARD_TAG;
        memcpy(head + CARRIER_OWNER_BYTES + 1, guard, 8);
    }
    int r = run_count_field(run, frame, frame->start, CARRIER_NUMBER);
    if (r == 0)
        r = run_write_tag(run, CARRIER_TAG);
    if (r == 0)
        r = run_open_length(run, guess + head_bytes, ret_open);
    if (r == 0)
        r = run_write_bytes(run, head, head_bytes);
    return r;
}

int run_carry_end(struct run *run, struct frame *frame, const struct open_length *open,
                  const uint64_t *guard)
{
    int r = run_close_length(run, open);
    if (!guard) {
        frame->carrier = open->at;
        frame->carrier_end = run->out;
        frame->carrier_owner = frame->owner;
    }
    return r;
}

int run_carry(struct run *run, struct frame *frame, const uint8_t *data, size_t bytes,
              const uint64_t *guard)
{
    struct open_length open;
    if (frame->carry)
        return run_carry_as(run, frame, data, bytes, frame->carry, guard);
    int r = run_carry_begin(run, frame, guard, bytes, &open);
    if (r == 0)
        r = run_write_bytes(run, data, bytes);
    if (r == 0)
        r = run_carry_end(run, frame, &open, guard);
    return r;
}

/* Writes a record under another number. */
static int write_as(struct run *run, const uint8_t *data, size_t bytes, uint32_t number)
{
    uint32_t tag = 0;
    const uint8_t *value = run_read_u32(data, data + bytes, &tag);
    if (!value || tag >> 3 == number)
        return run_write_bytes(run, data, bytes);
    int r = run_write_tag(run, number << 3 | (tag & 7));
    return r < 0 ? r : run_write_bytes(run, value, (size_t)(data + bytes - value));
}

int run_carry_as(struct run *run, struct frame *frame, const uint8_t *data, size_t bytes,
                 uint32_t number, const uint64_t *guard)
{
    struct open_length open;
    int r = run_carry_begin(run, frame, guard, bytes, &open);
    if (r == 0)
        r = write_as(run, data, bytes, number);
    if (r == 0)
        r = run_carry_end(run, frame, &open, guard);
    return r;
}

uint32_t run_restore_of(const struct run *run, const struct frame *frame, uint32_t owner)
{
    const struct program_table *table = frame->table;
    if (owner == table->target_id)
        return table->restore;
    for (uint32_t i = 0; i < table->owner_count; i++)
        if (run->plan->owners[table->owner_first + i].id == owner)
            return run->plan->owners[table->owner_first + i].table;
    return PROGRAM_NONE;
}

bool run_carried(const struct run *run, const struct frame *frame, const uint8_t *data,
                 size_t bytes, struct carried *ret_carried)
{
    if (bytes < CARRIER_OWNER_BYTES)
        return false;
    memcpy(&ret_carried->owner, data + 1, 4);
    ret_carried->table = run_restore_of(run, frame, ret_carried->owner);
    if (ret_carried->table == PROGRAM_NONE)
        return false;
    size_t head = CARRIER_OWNER_BYTES;
    ret_carried->has_guard = data[0] == CARRIER_GUARDED_TAG;
    if (ret_carried->has_guard) {
        if (bytes < head + CARRIER_GUARD_BYTES || data[head] != CARRIER_GUARD_TAG)
            return false;
        memcpy(&ret_carried->guard, data + head + 1, 8);
        head += CARRIER_GUARD_BYTES;
    } else if (data[0] != CARRIER_PLAIN_TAG) {
        return false;
    }
    ret_carried->records = data + head;
    ret_carried->end = data + bytes;
    return true;
}

/* ---- At the end of a message: its records once more ---- */

int run_next_record(struct run *run, const uint8_t **pos, const uint8_t *end,
                    struct run_record *ret_record)
{
    *ret_record = (struct run_record){.at = *pos};
    ret_record->value = run_read_u32(*pos, end, &ret_record->tag);
    if (!ret_record->value)
        return run_fail(run, -EBADMSG, *pos, 0, "truncated or malformed tag");
    int r = run_skip_unknown(run, ret_record->tag, *pos, ret_record->value, end, pos);
    ret_record->end = *pos;
    return r;
}

/* The record at *pos, as a carrier of ours; ret_carried->records is NULL if it is none. */
static int next_carrier(struct run *run, const struct frame *frame, struct carried *ret_carried,
                        const uint8_t **pos)
{
    struct run_record record;
    uint32_t bytes;
    int r = run_next_record(run, pos, frame->end, &record);
    if (r < 0)
        return r;
    *ret_carried = (struct carried){.records = NULL};
    const uint8_t *data =
        record.tag == CARRIER_TAG ? run_read_length(record.value, *pos, &bytes) : NULL;
    if (!data || !run_carried(run, frame, data, bytes, ret_carried))
        ret_carried->records = NULL;
    return 0;
}

static uint64_t guard_of(const struct run *run, const struct frame *frame,
                         const struct program_op *op)
{
    struct slot *slot = &frame->slots[op->slot];
    if (!slot->has_guard) {
        if (op->template != PROGRAM_NONE)
            slot->guard = run_guard_template(run, frame->slots, op->template);
        else if (program_wire_type((enum kind)op->written) == WIRE_BYTES)
            slot->guard = run_guard_text(slot->data, slot->bytes);
        else
            slot->guard = run_guard_value(slot->value);
        slot->has_guard = true;
    }
    return slot->guard;
}

/* A field that tells absent from default was given the one or the other in place of the records; if
 * it is not that any more, somebody has edited it, although its value may be the same. */
static bool still_told(const struct frame *frame, const struct program_op *op)
{
    const struct slot *slot = &frame->slots[op->slot];
    if (!(op->flags & OP_TELLS))
        return true;
    return slot->seen == ((op->flags & OP_OWN_PRESENCE) || slot->value != 0);
}

static int guard_holds(struct run *run, const struct frame *frame, const struct program_op *op,
                       uint64_t guard, bool *ret_holds)
{
    if (op->flags & OP_LATER)
        return convert_holds(run, frame, op, guard, ret_holds);
    *ret_holds = guard_of(run, frame, op) == guard && still_told(frame, op);
    return 0;
}

static int restore_record(struct run *run, struct frame *frame, const struct program_op *op,
                          const struct run_record *record, const uint8_t *end)
{
    const uint8_t *after;
    int r = run_count_field(run, frame, record->at, op->number);
    if (r == 0)
        r = run_check_value(run, op, (enum wire_type)(record->tag & 7), record->at, record->value,
                            end, frame->depth, &after);
    if (r < 0)
        return r;
    frame->slots[op->slot].restored = true;
    /* Where absent and default are the same, absent says it. (A number that does not wait may have
     * been written already, and then it is the last that counts.) */
    const struct element value = {record->at, record->value, after, (enum wire_type)op->wire};
    if (!(op->flags & (OP_OWN_PRESENCE | OP_REPEATED)) &&
        (op->kind == KIND_STRING || (op->flags & OP_LATER)) && shape_is_zero(op, &value))
        return 0;
    if (op->required != PROGRAM_REQUIRED_NONE)
        frame->required |= UINT64_C(1) << op->required;
    const struct counted before = {frame->fields - 1, run->elements};
    uint8_t *begin = run->out;
    r = write_as(run, record->at, (size_t)(after - record->at), op->tag >> 3);
    return r < 0 || !op->pipe ? r : run_pipe(run, frame, op->pipe, begin, record->at, before);
}

static int restore_carried(struct run *run, struct frame *frame, const struct carried *carried)
{
    const struct program_table *table = &run->plan->tables[carried->table];
    const uint8_t *pos = carried->records;
    while (pos < carried->end) {
        struct run_record record;
        int r = run_next_record(run, &pos, carried->end, &record);
        if (r < 0)
            return r;
        const struct program_op *op = run_find(run->plan, table, record.tag >> 3);
        bool holds = false;
        if (op && op->action == ACTION_GUARDED)
            r = guard_holds(run, frame, op, carried->guard, &holds);
        if (r < 0)
            return r;
        if (!holds)
            continue;
        r = restore_record(run, frame, op, &record, pos);
        if (r < 0)
            return r;
    }
    return 0;
}

int run_restore_guarded(struct run *run, struct frame *frame, uint32_t owner)
{
    const uint8_t *pos = frame->start;
    if (frame->table->slot_count == 0)
        return 0; /* without a slot there is no guard; see `waits` in bind.h as well */
    while (pos < frame->end) {
        struct carried carried;
        int r = next_carrier(run, frame, &carried, &pos);
        bool wanted = owner == 0 || carried.owner == owner;
        if (r == 0 && carried.records && carried.has_guard && wanted)
            r = restore_carried(run, frame, &carried);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The records of numbers[0] in there, and in them those of numbers[1], and so on. */
static int gather(struct run *run, struct frame *frame, const uint8_t *pos, const uint8_t *end,
                  const uint32_t *numbers, unsigned count, unsigned depth,
                  const struct program_table *table, bool *ret_any)
{
    while (pos < end) {
        struct run_record record;
        uint32_t bytes;
        int r = run_next_record(run, &pos, end, &record);
        if (r < 0)
            return r;
        if (record.tag != (numbers[0] << 3 | WIRE_BYTES))
            continue;
        const uint8_t *data = run_read_length(record.value, pos, &bytes);
        if (!data || depth > WIRE_DEPTH_MAX)
            return run_fail(run, -E2BIG, record.at, numbers[0],
                            "messages nested deeper than the limit");
        struct frame nested;
        if (count > 1) {
            r = gather(run, frame, data, data + bytes, numbers + 1, count - 1, depth + 1, table,
                       ret_any);
        } else {
            *ret_any = true;
            r = run_translate(run, table, frame->slots, data, data + bytes, depth, &nested);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

int run_restore_gathered(struct run *run, struct frame *frame, uint32_t owner,
                         const uint32_t *numbers, unsigned count, const struct program_table *table,
                         bool *ret_any)
{
    const uint8_t *pos = frame->start;
    while (pos < frame->end) {
        struct carried carried;
        int r = next_carrier(run, frame, &carried, &pos);
        if (r == 0 && carried.records && !carried.has_guard && carried.owner == owner)
            r = gather(run, frame, carried.records, carried.end, numbers, count, frame->depth + 1,
                       table, ret_any);
        if (r < 0)
            return r;
    }
    return 0;
}

int run_held_next(struct run *run, const struct frame *frame, struct run_held *held,
                  uint32_t number, struct run_record *ret_record)
{
    for (;;) {
        while (held->in < held->in_end) {
            int r = run_next_record(run, &held->in, held->in_end, ret_record);
            if (r < 0 || number == 0 || ret_record->tag >> 3 == number)
                return r < 0 ? r : 1;
        }
        if (held->pos == frame->end)
            return 0;
        struct carried carried;
        int r = next_carrier(run, frame, &carried, &held->pos);
        if (r < 0)
            return r;
        bool wanted =
            held->guard ? carried.has_guard && carried.guard == *held->guard : !carried.has_guard;
        if (!carried.records || !wanted || carried.owner != frame->opens)
            continue;
        held->in = carried.records;
        held->in_end = carried.end;
    }
}

int run_carry_records(struct run *run, struct frame *frame, uint32_t number, uint64_t guard)
{
    const uint32_t carry = frame->carry ? frame->carry : number;
    struct open_length open;
    int r = run_carry_begin(run, frame, &guard, 0, &open);
    const uint8_t *pos = frame->start;
    while (r == 0 && pos < frame->end) {
        struct run_record record;
        r = run_next_record(run, &pos, frame->end, &record);
        if (r == 0 && record.tag >> 3 == number)
            r = write_as(run, record.at, (size_t)(pos - record.at), carry);
    }
    return r < 0 ? r : run_carry_end(run, frame, &open, &guard);
}
