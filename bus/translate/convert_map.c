/*
 * Maps whose values change: entry by entry. A carrier in an entry would be lost to most programs,
 * which read entries into maps of their own; so the field is guarded as a whole, by a sum over its
 * entries, since a program may write them in another order. Of entries with one key the last one
 * counts, for the others are gone when a program has written the map again; that is looked for in
 * maps of up to MAP_KEYS_MAX entries, since it takes the square of their number.
 */
#include "translate/convert_inner.h"

#define MAP_KEYS_MAX 64

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
    convert_reset_to(&ret->value, kind);
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
            r = convert_read(run, op, kind, value, next, &ret->value, &value);
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
    scalar_clear(key);
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
    int r = convert_resolve(run, op, convert, &entry->value, at, &out, lost);
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
        r = convert_write(run, key_kind, &key);
    if (r == 0)
        r = run_write_tag(run, 2u << 3 | (uint32_t)program_wire_type(kind));
    if (r == 0)
        r = convert_write(run, kind, &out);
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
    while ((r = convert_next_record(run, op, &look, &type, &pos, &after)) == 1) {
        r = read_entry(run, op, entries, pos, after, &entry);
        if (r < 0)
            return r;
        read_key(entries, &entry, &other);
        if (!scalar_equals(key, &other))
            continue;
        bool lost = false;
        struct value out;
        r = written ? convert_resolve(run, op, convert, &entry.value, pos, &out, &lost) : 0;
        *ret_later = r == 0;
        if (r <= 0)
            return r;
    }
    return r;
}

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
        r = convert_resolve(run, op, convert, &entry->value, at, &out, &ret->lost);
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
    while (slot->seen && (r = convert_next_record(run, op, &look, &type, &pos, &after)) == 1) {
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

int convert_map_guard(struct run *run, const struct program_op *op, const struct slot *slot,
                      enum walk walk, uint64_t *ret_guard)
{
    struct map_walk map = {0};
    int r = walk_map(run, op, slot, WALK_COUNT, &map);
    if (r == 0)
        r = walk_map(run, op, slot, walk, &map);
    *ret_guard = map.guard;
    return r;
}

int convert_map(struct run *run, struct frame *frame, const struct program_emit *emit,
                const struct program_op *op, const struct slot *slot)
{
    struct map_walk map = {0};
    uint64_t guard;
    if (!slot->seen)
        return 0;
    int r = walk_map(run, op, slot, WALK_WRITE, &map);
    if (r < 0 || !map.lost || (emit->flags & EMIT_LOSSY))
        return r;
    r = convert_map_guard(run, op, slot, WALK_WRITTEN, &guard);
    return r < 0 ? r : convert_carry_field(run, frame, op, slot, guard);
}
