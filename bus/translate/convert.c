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
 * counts; that is looked for in maps of up to MAP_KEYS_MAX entries.
 *
 * Absent. Where the source cannot tell absent from default, the default is absent on the other
 * side as well, whatever the rule would make of "" or 0: there is no text for a number that nobody
 * set. The one exception is a linear rule with an offset, where 0 is a value like any other.
 */
#include "translate/convert.h"

#define MAP_KEYS_MAX 256

/* ---- Values on the wire ---- */

/* Seconds and nanos, field by field: pieces of a message merge. */
static int read_time(struct run *run, const struct program_op *op, const uint8_t *pos,
                     const uint8_t *end, struct value *value)
{
    while (pos < end) {
        const uint8_t *at = pos;
        uint32_t tag;
        uint64_t bits;
        pos = run_read_u32(pos, end, &tag);
        if (!pos)
            return run_fail(run, -EBADMSG, at, op->number, "truncated or malformed tag");
        const uint8_t *after;
        int r = run_skip_unknown(run, tag, at, pos, end, &after);
        if (r < 0)
            return r;
        if (tag == (1u << 3 | WIRE_VARINT) && run_read_varint(pos, after, &bits))
            value->number = (int64_t)bits;
        else if (tag == (2u << 3 | WIRE_VARINT) && run_read_varint(pos, after, &bits))
            value->nanos = (int32_t)(uint32_t)bits;
        else
            value->extra = true;
        pos = after;
    }
    return 0;
}

/* The value of @kind at @pos, which was checked. @value: what has been read of a time so far. */
static int read_value(struct run *run, const struct program_op *op, enum kind kind,
                      const uint8_t *pos, const uint8_t *end, struct value *value,
                      const uint8_t **ret_pos)
{
    uint32_t bytes = 0;
    value->coding = CODING_NONE;
    value->inexact = false;
    switch (kind) {
    case KIND_STRING:
    case KIND_BYTES:
    case KIND_MESSAGE:
        pos = run_read_length(pos, end, &bytes);
        if (!pos)
            return run_fail(run, -EBADMSG, end, op->number, "length past the end");
        *ret_pos = pos + bytes;
        if (kind == KIND_MESSAGE) {
            value->form = VALUE_TIME;
            return read_time(run, op, pos, pos + bytes, value);
        }
        value->form = VALUE_TEXT;
        value->data = pos;
        value->bytes = bytes;
        return 0;
    case KIND_FLOAT:
    case KIND_DOUBLE:
        value->form = VALUE_REAL;
        value->bits = run_bits(program_wire_type(kind), pos, ret_pos);
        if (kind == KIND_FLOAT) {
            uint32_t narrow = (uint32_t)value->bits;
            float single;
            memcpy(&single, &narrow, sizeof(single));
            value->real = (double)single;
        } else {
            memcpy(&value->real, &value->bits, sizeof(value->real));
        }
        return 0;
    default:
        value->form = VALUE_NUMBER;
        value->number = run_number(kind, run_bits(program_wire_type(kind), pos, ret_pos));
        return 0;
    }
}

static void reset(struct value *value)
{
    value->form = VALUE_NUMBER;
    value->number = 0;
    value->real = 0;
    value->bits = 0;
    value->nanos = 0;
    value->extra = value->inexact = false;
    value->data = value->scratch;
    value->bytes = 0;
    value->coding = CODING_NONE;
}

/* What a field that is not there has. */
static void reset_to(struct value *value, enum kind kind)
{
    reset(value);
    value->form = kind == KIND_STRING || kind == KIND_BYTES   ? VALUE_TEXT
                  : kind == KIND_FLOAT || kind == KIND_DOUBLE ? VALUE_REAL
                  : kind == KIND_MESSAGE                      ? VALUE_TIME
                                                              : VALUE_NUMBER;
}

static int write_text(struct run *run, const struct value *value)
{
    struct open_length open;
    uint8_t chunk[TEXT_CHUNK_BYTES];
    int r = run_open_length(run, text_coded_bytes(value), &open);
    if (r == 0 && value->coding == CODING_NONE)
        r = run_write_bytes(run, value->data, value->bytes);
    size_t offset = 0;
    for (size_t bytes; r == 0 && (bytes = text_chunk(value, &offset, chunk)) > 0;)
        r = run_write_bytes(run, chunk, bytes);
    return r < 0 ? r : run_close_length(run, &open);
}

static int write_time(struct run *run, const struct value *value)
{
    uint8_t buffer[24], *end = buffer + 1;
    if (value->number != 0) {
        *end++ = 1 << 3 | WIRE_VARINT;
        end = wire_write_varint(end, (uint64_t)(int64_t)value->number);
    }
    if (value->nanos != 0) {
        *end++ = 2 << 3 | WIRE_VARINT;
        end = wire_write_varint(end, (uint64_t)(int64_t)value->nanos);
    }
    buffer[0] = (uint8_t)(end - buffer - 1);
    return run_write_bytes(run, buffer, (size_t)(end - buffer));
}

/* Without its tag. */
static int write_content(struct run *run, enum kind kind, const struct value *value)
{
    uint8_t buffer[10];
    if (value->form == VALUE_TEXT)
        return write_text(run, value);
    if (value->form == VALUE_TIME)
        return write_time(run, value);
    if (kind == KIND_FLOAT || kind == KIND_DOUBLE)
        kind = kind == KIND_FLOAT ? KIND_FIXED32 : KIND_FIXED64;
    int64_t bits = value->form == VALUE_REAL ? (int64_t)value->bits : (int64_t)value->number;
    uint8_t *end = run_encode(buffer, kind, bits);
    return run_write_bytes(run, buffer, (size_t)(end - buffer));
}

/* ---- One value by the rule ---- */

/* What is written for @in, and whether it would not come back. Return: 0; 1: nothing is; < 0. */
static int resolve(struct run *run, const struct program_op *op,
                   const struct program_convert *convert, const struct value *in, const uint8_t *at,
                   struct value *out, bool *lost)
{
    enum domain domain = scalar_convert(run->plan, convert, false, in, out);
    if (domain == DOMAIN_GOOD) {
        *lost |= !scalar_comes_back(run->plan, convert, in, out);
        return 0;
    }
    *lost = true;
    if (domain == DOMAIN_ALIEN || domain == DOMAIN_ABSENT)
        return 1;
    if (domain == DOMAIN_NOTHING && (convert->flags & CONVERT_OTHERWISE)) {
        scalar_otherwise(run->plan, convert, out);
        return 0;
    }
    if (domain == DOMAIN_RANGE && convert->out_of_domain == 1)
        return 0; /* the nearest */
    if (convert->out_of_domain != 0) {
        scalar_default(convert, out);
        return 0;
    }
    return run_fail(run, -ERANGE, at, op->number, "the value has no place in this version");
}

static const struct program_convert *convert_of(const struct run *run, const struct program_op *op)
{
    return &run->plan->converts[op->convert];
}

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

struct look {
    const uint8_t *pos, *end;       /* records */
    const uint8_t *packed, *closed; /* values in the current one, if it is packed */
};

static struct look look_at(const struct slot *slot)
{
    return (struct look){slot->data, slot->data + slot->bytes, NULL, NULL};
}

/* The next record of the field. Return: 1: there is one; 0: none; < 0. */
static int next_record(struct run *run, const struct program_op *op, struct look *look,
                       enum wire_type *ret_type, const uint8_t **ret_value,
                       const uint8_t **ret_after)
{
    while (look->pos < look->end) {
        const uint8_t *at = look->pos, *after;
        uint32_t tag;
        const uint8_t *value = run_read_u32(at, look->end, &tag);
        if (!value)
            return run_fail(run, -EBADMSG, at, op->number, "truncated or malformed tag");
        int r = run_skip_unknown(run, tag, at, value, look->end, &after);
        if (r < 0)
            return r;
        look->pos = after;
        if (tag >> 3 != op->number)
            continue;
        *ret_type = (enum wire_type)(tag & 7);
        *ret_value = value;
        *ret_after = after;
        return 1;
    }
    return 0;
}

/* The next value, of a packed record or of one of its own. Return: as above. */
static int next_value(struct run *run, const struct program_op *op, struct look *look,
                      struct value *value)
{
    while (look->packed == look->closed) {
        enum wire_type type = WIRE_VARINT;
        const uint8_t *pos = NULL, *after = NULL;
        uint32_t bytes;
        int r = next_record(run, op, look, &type, &pos, &after);
        if (r <= 0)
            return r;
        look->packed = look->closed = NULL;
        reset(value);
        if (type != WIRE_BYTES || op->wire == WIRE_BYTES) {
            r = read_value(run, op, (enum kind)op->kind, pos, after, value, &pos);
            return r < 0 ? r : 1;
        }
        look->packed = run_read_length(pos, after, &bytes);
        look->closed = look->packed ? after : NULL;
    }
    reset(value);
    int r =
        read_value(run, op, (enum kind)op->kind, look->packed, look->closed, value, &look->packed);
    return r < 0 ? r : 1;
}

/* ---- Singular fields ---- */

static int read_single(struct run *run, const struct program_op *op, const struct slot *slot,
                       struct value *value)
{
    reset_to(value, (enum kind)op->kind);
    if (!slot->seen)
        return 0;
    struct look look = look_at(slot);
    for (;;) {
        enum wire_type type = WIRE_VARINT;
        const uint8_t *pos = NULL, *after = NULL;
        int r = next_record(run, op, &look, &type, &pos, &after);
        if (r <= 0)
            return r;
        if ((uint8_t)type != op->wire)
            continue;
        r = read_value(run, op, (enum kind)op->kind, pos, after, value, &pos);
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
static int carry_field(struct run *run, struct frame *frame, const struct program_op *op,
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
    return r < 0 ? r : write_content(run, (enum kind)emit->written, value);
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
    r = resolve(run, op, convert, &in, slot->seen ? slot->data : frame->end, &out, &lost);
    if (r < 0)
        return r;
    if (r == 1)
        scalar_default(convert, &out); /* what absence is, where it cannot be told */
    bool told = r == 0 || !(emit->flags & EMIT_PRESENCE);
    uint64_t guard = told ? scalar_guard(&out) : RUN_GUARD_ABSENT;
    if (r == 0) {
        bool tells = emit->flags & EMIT_PRESENCE, zero = scalar_is_default(&out);
        bool vanishes = !tells && (zero || (out.form == VALUE_REAL && out.real == 0));
        lost |= vanishes && !(emit->flags & EMIT_COUNTS);
        if (tells || !zero)
            r = write_single(run, frame, emit, &out);
    }
    if (r < 0 || !lost || (emit->flags & EMIT_LOSSY))
        return r < 0 ? r : 0;
    return carry_field(run, frame, op, slot, guard);
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
        r = resolve(run, op, convert_of(run, op), &in, slot->data, &out, &lost);
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
        reset(&in);
        r = read_value(run, op, (enum kind)op->kind, pos, after, &in, &pos);
        if (r == 0)
            r = resolve(run, op, convert_of(run, op), &in, at, &out, lost);
        if (r == 1) {
            r = 0;
            continue;
        }
        if (r == 0 && !packs)
            r = run_write_tag(run, op->tag);
        if (r == 0)
            r = write_content(run, kind, &out);
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
        int r = next_record(run, op, &look, &type, &pos, &after);
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
    return r < 0 ? r : carry_field(run, frame, op, slot, guard);
}

/* ---- Maps ---- */

struct entry {
    const uint8_t *key, *key_end; /* NULL: the default */
    struct value value;
};

/* The fields of the entry at @pos, a length and what it is of. */
static int read_entry(struct run *run, const struct program_op *op,
                      const struct program_convert *entries, const uint8_t *pos,
                      const uint8_t *after, struct entry *ret)
{
    const struct program_convert *convert = &run->plan->converts[entries->value];
    enum kind kind = (enum kind)convert->kind;
    uint32_t bytes, tag;
    pos = run_read_length(pos, after, &bytes);
    if (!pos)
        return run_fail(run, -EBADMSG, after, op->number, "length past the end");
    ret->key = ret->key_end = NULL;
    reset_to(&ret->value, kind);
    ret->value.number = kind == KIND_ENUM ? entries->first : 0;
    bool extra = false;
    for (const uint8_t *end = pos + bytes, *next; pos < end; pos = next) {
        const uint8_t *value = run_read_u32(pos, end, &tag);
        if (!value)
            return run_fail(run, -EBADMSG, pos, op->number, "truncated or malformed tag");
        int r = run_skip_unknown(run, tag, pos, value, end, &next);
        if (r < 0)
            return r;
        if (tag == (1u << 3 | (uint32_t)program_wire_type((enum kind)entries->key))) {
            ret->key = value;
            ret->key_end = next;
        } else if (tag == (2u << 3 | (uint32_t)program_wire_type(kind))) {
            r = read_value(run, op, kind, value, next, &ret->value, &value);
            if (r < 0)
                return r;
        } else {
            extra = true;
        }
    }
    ret->value.extra |= extra;
    return 0;
}

static void read_key(const struct program_convert *entries, const struct entry *entry,
                     struct value *key)
{
    uint32_t bytes = 0;
    const uint8_t *pos = entry->key;
    reset(key);
    if (entries->key == KIND_STRING) {
        key->form = VALUE_TEXT;
        pos = pos ? run_read_length(pos, entry->key_end, &bytes) : NULL;
        key->data = pos ? pos : key->scratch;
        key->bytes = pos ? bytes : 0;
    } else if (pos) {
        key->number = run_number((enum kind)entries->key,
                                 run_bits(program_wire_type((enum kind)entries->key), pos, &pos));
    }
}

static int write_entry(struct run *run, const struct program_op *op,
                       const struct program_convert *entries, const struct entry *entry,
                       const uint8_t *at, bool *lost)
{
    const struct program_convert *convert = &run->plan->converts[entries->value];
    enum kind key_kind = (enum kind)entries->key_written, kind = (enum kind)convert->written;
    struct value key, out;
    struct open_length open;
    read_key(entries, entry, &key);
    int r = resolve(run, op, convert, &entry->value, at, &out, lost);
    if (r < 0)
        return r;
    *lost |= r == 1;
    if (r == 1)
        return 0;
    if (key.form == VALUE_NUMBER && !scalar_fits(key_kind, key.number))
        return run_fail(run, -ERANGE, at, op->number, "the key has no place in this version");
    r = run_write_tag(run, op->tag);
    if (r == 0)
        r = run_open_length(run, 16, &open);
    if (r == 0)
        r = run_write_tag(run, 1u << 3 | (uint32_t)program_wire_type(key_kind));
    if (r == 0)
        r = write_content(run, key_kind, &key);
    if (r == 0)
        r = run_write_tag(run, 2u << 3 | (uint32_t)program_wire_type(kind));
    if (r == 0)
        r = write_content(run, kind, &out);
    return r < 0 ? r : run_close_length(run, &open);
}

/* Whether an entry with that key comes behind; @written: and is not left out. */
static int has_later(struct run *run, const struct program_op *op, struct look look,
                     const struct value *key, bool written, bool *ret_later)
{
    const struct program_convert *convert = &run->plan->converts[convert_of(run, op)->value];
    const struct program_convert *entries = convert_of(run, op);
    enum wire_type type = WIRE_BYTES;
    const uint8_t *pos = NULL, *after = NULL;
    struct entry entry;
    struct value other;
    int r;
    *ret_later = false;
    while ((r = next_record(run, op, &look, &type, &pos, &after)) == 1) {
        r = read_entry(run, op, entries, pos, after, &entry);
        if (r < 0)
            return r;
        read_key(entries, &entry, &other);
        if (!scalar_equals(key, &other))
            continue;
        bool lost;
        struct value out;
        r = written ? resolve(run, op, convert, &entry.value, pos, &out, &lost) : 0;
        *ret_later = r == 0;
        if (r <= 0)
            return r;
    }
    return r;
}

enum walk {
    WALK_COUNT,   /* the entries */
    WALK_WRITE,   /* them */
    WALK_SOURCE,  /* for the guard of what they are */
    WALK_WRITTEN, /* for the guard of what is written of them */
};

struct map_walk {
    uint32_t count; /* of entries; 0: not known yet */
    bool lost;
    uint64_t guard;
};

static int walk_entry(struct run *run, const struct program_op *op, enum walk walk,
                      const struct entry *entry, const uint8_t *at, struct map_walk *ret)
{
    const struct program_convert *entries = convert_of(run, op);
    const struct program_convert *convert = &run->plan->converts[entries->value];
    struct value key, out;
    int r = 0;
    if (walk == WALK_WRITE)
        return write_entry(run, op, entries, entry, at, &ret->lost);
    if (walk == WALK_WRITTEN)
        r = resolve(run, op, convert, &entry->value, at, &out, &ret->lost);
    if (r != 0)
        return r < 0 ? r : 0;
    read_key(entries, entry, &key);
    uint64_t guards[] = {scalar_guard(&key),
                         scalar_guard(walk == WALK_WRITTEN ? &out : &entry->value)};
    ret->guard += run_guard_more(run_guard_text(NULL, 0), guards, sizeof(guards));
    return 0;
}

static int walk_map(struct run *run, const struct program_op *op, const struct slot *slot,
                    enum walk walk, struct map_walk *ret)
{
    struct look look = look_at(slot);
    enum wire_type type = WIRE_BYTES;
    const uint8_t *pos = NULL, *after = NULL;
    struct entry entry;
    struct value key;
    uint32_t count = 0;
    int r = 0;
    ret->guard = 0;
    while (slot->seen && (r = next_record(run, op, &look, &type, &pos, &after)) == 1) {
        count++;
        if (walk == WALK_COUNT)
            continue;
        bool later = false;
        r = read_entry(run, op, convert_of(run, op), pos, after, &entry);
        if (r == 0 && walk != WALK_WRITE && ret->count <= MAP_KEYS_MAX) {
            read_key(convert_of(run, op), &entry, &key);
            r = has_later(run, op, look, &key, walk == WALK_WRITTEN, &later);
        }
        if (r == 0 && !later)
            r = walk_entry(run, op, walk, &entry, pos, ret);
        if (r < 0)
            return r;
    }
    ret->count = count;
    return r;
}

static int map_guard(struct run *run, const struct program_op *op, const struct slot *slot,
                     enum walk walk, uint64_t *ret_guard)
{
    struct map_walk map = {0};
    int r = walk_map(run, op, slot, WALK_COUNT, &map);
    if (r == 0)
        r = walk_map(run, op, slot, walk, &map);
    *ret_guard = map.guard;
    return r;
}

static int convert_map(struct run *run, struct frame *frame, const struct program_emit *emit,
                       const struct program_op *op, const struct slot *slot)
{
    struct map_walk map = {0};
    uint64_t guard;
    if (!slot->seen)
        return 0;
    int r = walk_map(run, op, slot, WALK_WRITE, &map);
    if (r < 0 || !map.lost || (emit->flags & EMIT_LOSSY))
        return r;
    r = map_guard(run, op, slot, WALK_WRITTEN, &guard);
    return r < 0 ? r : carry_field(run, frame, op, slot, guard);
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
            r = map_guard(run, op, slot, WALK_SOURCE, &slot->guard);
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
