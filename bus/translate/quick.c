/*
 * The short way: fields that need little, in one loop that keeps its state in registers.
 *
 * Most fields of most messages come in order, and are checked and copied, noted for the message's
 * end, or converted from one varint to another. Most messages have nothing else. This loop does
 * those, by the records that fast.c made, and stops before a field that it does not know, or that
 * has anything wrong or unusual: the long way (frame.c) deals with that one, says what is wrong
 * with it, and comes back.
 *
 * A nested message is done here as a whole, with what waits for its end (quick_end.c), or not at
 * all: if the loop stops inside, what it wrote is forgotten, and the message goes the long way from
 * its beginning. Where it stopped is kept (`stuck`), so that the messages around that field, and
 * those within these, are not tried again.
 *
 * What makes it short: the source has readable bytes behind it (RUN_BEHIND_BYTES), and all limits
 * are worked out before it begins, as a place to stop. So values are loaded eight, sixteen,
 * thirty-two bytes at once and written so too, with nothing to ask between; a length is below 0x80
 * if so many plain bytes follow it; and whether a value has passed the end is asked once, where the
 * next field would begin.
 */
#include "translate/machine.h"

#include <assert.h>

static_assert(FAST_READ_BYTES >= 2 + 2 + TEXT_SHORT_BYTES_MAX &&
                  FAST_READ_BYTES <= RUN_BEHIND_BYTES,
              "a tag and a length of two bytes each, and a text");

static inline void put32(uint8_t *out, uint32_t bytes)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(out, &bytes, 4);
#else
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(bytes >> (8 * i));
#endif
}

static inline uint8_t *put_tag(uint8_t *out, const struct fast *way)
{
    put32(out, way->tag);
    return out + way->tag_bytes;
}

/* Copies, in steps that may pass the end of what is short. */
static inline uint8_t *copy(uint8_t *out, const uint8_t *data, size_t bytes)
{
    if (__builtin_expect(bytes <= 32, 1)) {
        memcpy(out, data, 16);
        memcpy(out + 16, data + 16, 16);
    } else {
        memcpy(out, data, bytes);
    }
    return out + bytes;
}

/* Copies a varint, however long. NULL: it is none. */
static inline const uint8_t *copy_varint(const uint8_t *pos, uint8_t **out)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t raw;
    memcpy(&raw, pos, 8);
    memcpy(*out, &raw, 8);
    uint64_t stops = ~raw & UINT64_C(0x8080808080808080);
    if (__builtin_expect(stops != 0, 1)) {
        unsigned bytes = (unsigned)__builtin_ctzll(stops) / 8 + 1;
        *out += bytes;
        return pos + bytes;
    }
#endif
    uint64_t value;
    const uint8_t *after = run_read_varint(pos, pos + 10, &value);
    if (after) {
        memcpy(*out, pos, 16);
        *out += after - pos;
    }
    return after;
}

static inline uint8_t *write_varint(uint8_t *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *out++ = (uint8_t)(value | 0x80);
    *out++ = (uint8_t)value;
    return out;
}

/* ---- Values ---- */

/* A text that is long, or not plain. Return: its end; NULL: it is not for us. */
static inline const uint8_t *read_text(const uint8_t *pos, const uint8_t *end, bool string,
                                       const uint8_t **ret_data)
{
    uint32_t bytes;
    const uint8_t *data = run_read_length(pos, end, &bytes);
    if (!data || (string && !text_is_string(data, bytes, TEXT_SHORT_BYTES_MAX)))
        return NULL;
    *ret_data = data;
    return data + bytes;
}

/* From its length on, which is at @pos. Copies it. */
static inline __attribute__((always_inline)) const uint8_t *
put_string(const uint8_t *pos, const uint8_t *end, const uint8_t **ret_data, uint8_t **out)
{
    const uint8_t *data = pos + 1;
    size_t bytes = *pos;
    if (__builtin_expect(text_is_plain(data, bytes), 1)) {
        uint8_t *to = *out;
        *to = (uint8_t)bytes;
        memcpy(to + 1, data, 16);
        memcpy(to + 17, data + 16, 16);
        *out = to + bytes + 1;
        *ret_data = data;
        return data + bytes;
    }
    const uint8_t *after = read_text(pos, end, true, ret_data);
    if (after)
        *out = copy(*out, pos, (size_t)(after - pos));
    return after;
}

/* The same, without a copy. */
static inline const uint8_t *take_text(const uint8_t *pos, const uint8_t *end, bool string,
                                       const uint8_t **ret_data)
{
    *ret_data = pos + 1;
    if (string && __builtin_expect(text_is_plain(pos + 1, *pos), 1))
        return pos + 1 + *pos;
    return read_text(pos, end, string, ret_data);
}

static inline void note_number(struct frame *frame, const struct fast *way, uint64_t value,
                               uint64_t mapped, const uint8_t *at, const uint8_t *after)
{
    if (!frame || way->slot == PROGRAM_SLOT_NONE)
        return;
    struct slot *slot = &frame->slots[way->slot];
    slot->lost = false;
    slot->value = (int64_t)value;
    slot->mapped = (int64_t)mapped;
    run_keep(slot, at, (uint32_t)(after - at));
}

/* A conversion that is not worked out. NULL: it is not for us. */
static uint8_t *put_scalar(const struct run *run, struct frame *frame, const struct fast *way,
                           uint64_t raw, const uint8_t *at, const uint8_t *after, uint8_t *out)
{
    const struct program_op *op = way->op;
    struct slot value;
    if (!fast_convert(run->plan, op, raw, &value) || (!frame && value.lost))
        return NULL;
    note_number(frame, way, (uint64_t)value.value, (uint64_t)value.mapped, at, after);
    if (frame && way->slot != PROGRAM_SLOT_NONE)
        frame->slots[way->slot].lost = value.lost;
    raw = (uint64_t)value.mapped;
    if (op->written == KIND_SINT32 || op->written == KIND_SINT64)
        raw = raw << 1 ^ (uint64_t)(value.mapped >> 63);
    return write_varint(put_tag(out, way), raw);
}

/* A varint that is converted. NULL: it is not for us. */
static inline __attribute__((always_inline)) uint8_t *
convert(const struct run *run, struct frame *frame, const struct fast *way, uint64_t raw,
        const uint8_t *at, const uint8_t *after, uint8_t *out)
{
    const struct fast_scalar *scalar = way->scalar;
    uint64_t mapped;
    if (way->code == FAST_SCALAR || __builtin_expect(raw > scalar->number.most, 0))
        return put_scalar(run, frame, way, raw, at, after, out);
    if (way->code == FAST_MULTIPLY) {
        mapped = raw * scalar->number.factor;
    } else if (way->code == FAST_DIVIDE) {
        mapped = fast_divide(&scalar->number, raw);
        if (__builtin_expect(mapped * scalar->number.factor != raw, 0))
            return put_scalar(run, frame, way, raw, at, after, out);
    } else {
        if (__builtin_expect(scalar->map[raw] == FAST_MAP_ASK, 0))
            return put_scalar(run, frame, way, raw, at, after, out);
        mapped = (uint64_t)scalar->map[raw];
    }
    note_number(frame, way, raw, mapped, at, after);
    return write_varint(put_tag(out, way), mapped);
}

/* The bytes of the carrier's tag. */
#define CARRIER_TAG_FIRST                                                                          \
    ((CARRIER_TAG & 0x7fu) | (CARRIER_TAG >> 7 & 0x7fu) << 8 | (CARRIER_TAG >> 14 & 0x7fu) << 16 | \
     (CARRIER_TAG >> 21 & 0x7fu) << 24 | UINT32_C(0x80808080))
#define CARRIER_TAG_LAST ((uint8_t)(CARRIER_TAG >> 28))

/* A record to the carrier, as run_carry() does it. */
static uint8_t *carry(struct frame *frame, const struct fast *way, const uint8_t *at, size_t bytes,
                      uint8_t *out)
{
    if (way->op->owner)
        frame->owner = way->op->owner;
    if (frame->carrier && frame->carrier_end == out && frame->carrier_owner == frame->owner) {
        uint64_t before = 0;
        uint8_t *content =
            frame->carrier + (fast_read_varint(frame->carrier, &before) - frame->carrier);
        uint8_t *moved = frame->carrier + wire_varint_size(before + bytes);
        if (moved != content) {
            memmove(moved, content, before);
            out += moved - content;
        }
        (void)write_varint(frame->carrier, before + bytes);
    } else {
        put32(out, CARRIER_TAG_FIRST);
        out[4] = CARRIER_TAG_LAST;
        out += CARRIER_TAG_BYTES;
        frame->carrier = out;
        out = write_varint(out, bytes + CARRIER_OWNER_BYTES);
        *out++ = CARRIER_PLAIN_TAG;
        memcpy(out, &frame->owner, 4);
        out += 4;
        frame->fields++;
    }
    memcpy(out, at, bytes);
    frame->carrier_end = out + bytes;
    frame->carrier_owner = frame->owner;
    return out + bytes;
}

/* ---- The loop ---- */

#define FRAME_MAX 8 /* nested, with frames of their own: more go the long way */

/* A message that the loop is in, and the one in it. */
struct level {
    const struct fast_table *table;
    struct frame *frame;    /* NULL: the table needs none */
    const struct fast *way; /* of the field that begins at `at` */
    const uint8_t *at;
    uint8_t *out;              /* where what it becomes is written */
    const uint8_t *stop, *end; /* no value passes the end; no field begins behind `stop` */
    uint64_t seen;
    uint32_t counts[2];        /* fields; elements of repeated ones */
    uint32_t inner;            /* elements in nested messages */
    uint8_t *length, *content; /* of the message itself: the length is written at its end */
};

struct loop {
    struct run *run;
    uint64_t watched; /* all bits, or none */
    unsigned depth;   /* of the outermost message */
    unsigned frame_count;
    const struct level *last; /* behind those that there may be */
    struct level levels[WIRE_DEPTH_MAX];
    struct frame frames[FRAME_MAX];
};

static inline void note(struct frame *frame, const struct fast *way, const uint8_t *data,
                        const uint8_t *after)
{
    if (way->slot != PROGRAM_SLOT_NONE && frame)
        run_keep(&frame->slots[way->slot], data, (uint32_t)(after - data));
}

/* A frame for a nested message; its table shares @slots, if any. NULL: there is none for it. */
static struct frame *open_frame(struct loop *loop, const struct fast_table *table,
                                struct slot *slots, const uint8_t *start, const uint8_t *end,
                                unsigned depth)
{
    struct run *run = loop->run;
    const struct program_table *program = table->table;
    if (loop->frame_count == FRAME_MAX ||
        (!slots && (!table->ends || program->slot_count > RUN_SLOT_MAX - run->slots_used)))
        return NULL;
    struct frame *frame = &loop->frames[loop->frame_count++];
    run_init_frame(frame, program, slots ? slots : run->slots + run->slots_used, start, end, depth);
    if (slots)
        return frame;
    for (uint32_t i = 0; i < program->slot_count; i++)
        run_init_slot(&frame->slots[i]);
    run->slots_used += program->slot_count;
    return frame;
}

/* What waited for the end of a nested message, of which @fields were read. Return: behind what is
 * written; NULL: it is not for us. */
static uint8_t *close_frame(struct loop *loop, struct frame *frame, uint32_t fields, uint8_t *out)
{
    struct run *run = loop->run;
    frame->fields += fields;
    out = quick_end(run, frame, out);
    run->slots_used -= frame->table->slot_count;
    loop->frame_count--;
    bool room =
        out && (run->limit - out - FAST_WRITE_BYTES) / QUICK_GROWTH_MAX >= run->budget - frame->end;
    return room ? out : NULL;
}

/* A message of which all fields have gone to the slots of the one around it: ACTION_RESIDUE,
 * ACTION_JOIN. False: it is not for us. */
static bool close_shared(struct loop *loop, struct frame *frame, const struct fast *way,
                         const struct frame *inner)
{
    loop->frame_count--;
    if (way->code == FAST_JOIN) {
        frame->slots[way->slot].seen = true;
        return true;
    }
    if (inner->diverted == 0)
        return false; /* it is not told by what goes elsewhere */
    frame->diverted = (frame->diverted & ~inner->touched) | inner->diverted;
    frame->touched |= inner->touched;
    return true;
}

/* What the loop does not do itself, of the field at @at, with its value at @pos. Return: its end;
 * NULL: it is not for us. */
static const uint8_t *uncommon(struct frame *frame, const struct fast *way, const uint8_t *at,
                               const uint8_t *pos, const uint8_t *end, uint8_t **out)
{
    const uint8_t *data, *after = NULL;
    switch (way->code) {
    case FAST_PUT_FIXED:
        *out = put_tag(*out, way);
        memcpy(*out, pos, 8);
        after = pos + (way->value == FAST_FIXED32 ? 4 : 8);
        *out += after - pos;
        break;
    case FAST_PUT_BYTES:
        after = read_text(pos, end, false, &data);
        if (after) {
            *out = put_tag(*out, way);
            *out = copy(*out, pos, (size_t)(after - pos));
            note(frame, way, data, after);
        }
        break;
    case FAST_TAKE_BYTES:
        after = frame ? read_text(pos, end, false, &data) : NULL;
        if (after)
            run_note_text(frame, way->op, data, (uint32_t)(after - data));
        break;
    case FAST_CARRY:
        after = frame ? take_text(pos, end, way->value == FAST_STRING, &data) : NULL;
        after = after && after <= end ? after : NULL;
        if (after)
            *out = carry(frame, way, at, (size_t)(after - at), *out);
        break;
    default:
        break;
    }
    return after;
}

/* The length of a nested message is known: room for one byte was left, or for two. */
static inline uint8_t *close_message(uint8_t *length, uint8_t *content, uint8_t *out)
{
    const size_t written = (size_t)(out - content);
    if (__builtin_expect(written < 0x80 && content == length + 1, 1)) {
        *length = (uint8_t)written;
        return out;
    }
    const size_t size = wire_varint_size(written);
    if (length + size != content)
        memmove(length + size, content, written);
    (void)write_varint(length, written);
    return length + size + written;
}

/* Goes into the message in the field at level->at, whose length is at @pos. Return: its content;
 * NULL: it is not for us. */
static inline __attribute__((always_inline)) const uint8_t *
enter(struct loop *loop, struct level *level, const uint8_t *pos, uint8_t **out)
{
    const struct fast *way = level->way;
    struct level *inner = level + 1;
    struct slot *slots = NULL;
    const uint8_t *after;
    pos = fast_read_message(loop->run, pos, level->end, &after);
    if (!pos || level == loop->last ||
        (way->joins && (level->seen & fast_message_bit(way->op->number) & loop->watched)))
        return NULL;
    inner->length = inner->content = level->out;
    if (way->code == FAST_PUT_MESSAGE) {
        inner->length = put_tag(level->out, way);
        inner->content = inner->length + (after - pos < 0x80 ? 1 : 2);
    } else if (level->frame) {
        slots = level->frame->slots;
    } else {
        return NULL;
    }
    inner->table = way->table;
    inner->way = way->table->by_number;
    inner->stop = inner->end = after;
    inner->seen = 0;
    inner->counts[0] = inner->counts[1] = inner->inner = 0;
    inner->frame = NULL;
    if (way->table->framed) {
        inner->frame = open_frame(loop, way->table, slots, pos, after,
                                  loop->depth + (unsigned)(inner - loop->levels));
        if (!inner->frame)
            return NULL;
    }
    *out = inner->content;
    return pos;
}

/* Back from the message in @inner, at its end, to the one around it. Return: behind what is
 * written; NULL: it is not for us. */
static inline __attribute__((always_inline)) uint8_t *leave(struct loop *loop, struct level *inner,
                                                            uint8_t *out)
{
    struct level *level = inner - 1;
    const struct fast *way = level->way;
    if (__builtin_expect(way->code != FAST_PUT_MESSAGE, 0)) {
        if (out != inner->content || !close_shared(loop, level->frame, way, inner->frame))
            return NULL;
    } else {
        if (inner->frame)
            out = close_frame(loop, inner->frame, inner->counts[0], out);
        if (!out)
            return NULL;
        out = close_message(inner->length, inner->content, out);
    }
    level->inner += inner->counts[1] + inner->inner;
    level->counts[way->repeated]++;
    if (way->joins)
        level->seen |= fast_message_bit(way->op->number) & loop->watched;
    return out;
}

/* All fields from @pos to @stop, or up to the first that is not for us: run->pos; no value passes
 * @end. Nested messages are done in the same loop, on a stack of levels: a call for each would cost
 * as much as their fields. Return: behind what is written. */
static uint8_t *fields(struct run *run, struct frame *outermost, const struct fast_table *table,
                       const uint8_t *pos, const uint8_t *stop, const uint8_t *end, uint8_t *out)
{
    const bool own = outermost->table == table->table; /* and not of a carrier's content */
    const uint32_t slots_used = run->slots_used;
    struct loop loop;
    struct level *level = loop.levels;
    const uint8_t *data;
    *level = (struct level){
        .table = table,
        .frame = outermost,
        .way = table->by_number,
        .stop = stop,
        .end = end,
        .seen = own ? outermost->seen : 0,
    };
    loop.run = run;
    loop.watched = run->watches && !run->origin && own ? UINT64_MAX : 0;
    loop.depth = outermost->depth;
    loop.frame_count = 0;
    loop.last = level + (WIRE_DEPTH_MAX - loop.depth);
    for (;;) {
        if (__builtin_expect(pos >= level->stop, 0)) {
            if (level == loop.levels)
                break;
            if (pos != level->stop || !(out = leave(&loop, level, out)))
                goto stuck;
            level--;
            continue;
        }
        level->at = pos;
        level->out = out;
        const struct fast *way = fast_find(level->table, level->way, &pos);
        if (__builtin_expect(!way, 0))
            goto stuck;
        level->way = way;
        if (way->code == FAST_PUT_STRING) {
            out = put_tag(out, way);
            pos = put_string(pos, level->end, &data, &out);
            if (!pos)
                goto stuck;
            note(level->frame, way, data, pos);
        } else if (way->code == FAST_PUT_VARINT) {
            out = put_tag(out, way);
            pos = copy_varint(pos, &out);
            if (!pos)
                goto stuck;
        } else if (way->code >= FAST_MULTIPLY) {
            uint64_t raw;
            pos = fast_read_varint(pos, &raw);
            out = pos ? convert(run, level->frame, way, raw, level->at, pos, out) : NULL;
            if (!out)
                goto stuck;
        } else if (way->code >= FAST_PUT_MESSAGE) {
            pos = enter(&loop, level, pos, &out);
            if (!pos)
                goto stuck;
            level++;
            continue;
        } else if (way->code == FAST_TAKE_STRING && level->frame) {
            pos = take_text(pos, level->end, true, &data);
            if (!pos)
                goto stuck;
            run_note_text(level->frame, way->op, data, (uint32_t)(pos - data));
        } else {
            pos = uncommon(level->frame, way, level->at, pos, level->end, &out);
            if (!pos)
                goto stuck;
        }
        level->counts[way->repeated]++;
    }
    if (__builtin_expect(pos <= end, 1)) {
        level->at = pos;
        level->out = out;
        goto done;
    }
    level->counts[level->way->repeated]--;
stuck:
    if (level != loop.levels) {
        run->stuck = level->at;
        run->slots_used = slots_used;
        level = loop.levels;
    }
done:
    if (own)
        outermost->seen = level->seen;
    outermost->fields += level->counts[0];
    run->elements += level->counts[1] + level->inner;
    run->pos = level->at;
    return level->out;
}

/* ---- For machine code ---- */

const uint8_t *quick_value(struct run *run, struct frame *frame, const struct fast *way,
                           const uint8_t *at, const uint8_t *end, uint8_t **ret_out)
{
    const uint8_t *pos = at + ((way->source & 0x80) ? 2 : 1), *data;
    uint8_t *out = *ret_out;
    if (way->code == FAST_PUT_STRING) {
        out = put_tag(out, way);
        pos = put_string(pos, end, &data, &out);
        if (pos)
            note(frame, way, data, pos);
    } else if (way->code == FAST_PUT_VARINT) {
        out = put_tag(out, way);
        pos = copy_varint(pos, &out);
    } else if (way->code >= FAST_MULTIPLY) {
        uint64_t raw;
        pos = fast_read_varint(pos, &raw);
        out = pos ? convert(run, frame, way, raw, at, pos, out) : NULL;
        if (!out)
            pos = NULL;
    } else if (way->code == FAST_TAKE_STRING && frame) {
        pos = take_text(pos, end, true, &data);
        if (pos)
            run_note_text(frame, way->op, data, (uint32_t)(pos - data));
    } else {
        pos = uncommon(frame, way, at, pos, end, &out);
    }
    if (pos)
        *ret_out = out;
    return pos;
}

uint8_t *quick_close(uint8_t *length, uint8_t *content, uint8_t *out)
{
    return close_message(length, content, out);
}

/* The same as fields(), by the table's code. */
static bool run_machine(struct run *run, struct frame *frame, machine_function code,
                        const uint8_t *pos, ptrdiff_t stop, bool may_end)
{
    struct machine *machine = &run->machine;
    const uint32_t slots_used = run->slots_used;
    machine->pos = pos;
    machine->stop = pos + stop;
    machine->end = run->budget;
    machine->out = run->out;
    machine->limit = run->limit - FAST_WRITE_BYTES;
    machine->frame = frame;
    machine->seen = frame->seen;
    machine->fields = machine->elements = machine->at_elements = 0;
    machine->depth_left = (int32_t)(WIRE_DEPTH_MAX - frame->depth);
    machine->watched = run->watches;
    machine->may_end = may_end && run->budget == frame->end && frame->depth < WIRE_DEPTH_MAX;
    machine->ended = false;
    code(run);
    if (run->watches)
        frame->seen = machine->seen;
    frame->fields += machine->fields;
    run->elements += machine->elements;
    run->slots_used = slots_used;
    run->pos = machine->pos;
    run->out = machine->out;
    return machine->ended;
}

bool quick_fields(struct run *run, struct frame *frame, const struct program_table *table,
                  const uint8_t **pos, const uint8_t *end, bool fresh)
{
    struct fast_table *fast = &run->plan->fast[table - run->plan->tables];
    bool ended = false;
    /* What the loop need not ask: there is room for so many bytes of the source, of which a field
     * has two at least; and something to read behind them. */
    ptrdiff_t room = (run->limit - run->out - FAST_WRITE_BYTES) / QUICK_GROWTH_MAX;
    /* And one that is carried may be two: it may open a carrier. */
    ptrdiff_t stop = (fast->carries ? 1 : 2) * (ptrdiff_t)(WIRE_FIELDS_MAX - frame->fields);
    ptrdiff_t elements = 2 * (ptrdiff_t)(WIRE_ELEMENTS_MAX - run->elements);
    ptrdiff_t readable = run->readable - *pos - FAST_READ_BYTES;
    room = room < elements ? room : elements;
    room = room < readable ? room : readable;
    room = room < end - *pos ? room : end - *pos;
    stop = stop < room ? stop : room;
    if (stop <= 0)
        return false;
    run->budget = *pos + room;
    /* Where something ahead is known not to go this way, the loop knows how to get there. */
    bool ahead = (uintptr_t)run->stuck >= (uintptr_t)*pos;
    machine_function code = NULL;
    if (table == frame->table && !run->origin && !ahead)
        code = machine_of(run->plan, fast, &fast->translates);
    if (code)
        ended = run_machine(run, frame, code, *pos, stop, fresh && fast->ends && !run->divert);
    else
        run->out = fields(run, frame, fast, *pos, *pos + stop, *pos + room, run->out);
    *pos = run->pos;
    return ended;
}
